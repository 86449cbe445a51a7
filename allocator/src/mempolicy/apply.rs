//! From a policy to a node and a nodemask.
//!
//! **What.** Which policy governs an allocation (docs/kernel/mempolicies.md#d3), what it comes to
//! (D.4), and the callers that ask: `alloc_pages_current`, `alloc_pages_vma`.
//!
//! **Why references.** BIND passes a reference to its own live mask down into the allocator; a
//! rebind rewrites it there while the request is under way.
//!
//! **Source.** mm/mempolicy.c: get_vma_policy, policy_nodemask, policy_node, interleave_nodes,
//! offset_il_node, weighted_interleave_nodes, alloc_pages_vma (vma_alloc_folio), alloc_pages.
//!
//! **Differs.** Releases without a private copy of the mask could walk off its end while it was
//! rebound (and crash); here they take the CPU's node.

use super::{Mempolicy, Mode};
use crate::gfp::Gfp;
use crate::ids::{NodeId, PAGE_SHIFT, Pfn, ZoneIdx};
use crate::nodemask::{MaskWords, NodeMask};
use crate::oracle::placement::Placement;
use crate::page_alloc::Nodemask;
use crate::policy::cpuset::mems_of;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;

/// Where an allocation falls, for policies that go by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IlPosition {
    /// The task's own turn.
    Task,
    /// An index in a VMA, see [`vma_il_index`].
    Index(u64),
}

/// `(vm_pgoff >> order) + ((addr - vm_start) >> (PAGE_SHIFT + order))`.
#[inline]
pub fn vma_il_index(vm_pgoff: u64, vm_start: u64, addr: u64, order: u8) -> u64 {
    (vm_pgoff >> order) + ((addr - vm_start) >> (PAGE_SHIFT + u32::from(order)))
}

/// `il_prev` (or `il_next`) before any turn was taken.
const NO_TURN: u16 = u16::MAX;

impl Kernel {
    /// `alloc_pages`: a block by current's task policy; in an interrupt and with __GFP_THISNODE
    /// without any.
    #[inline]
    pub fn alloc_pages_current(&self, cx: &Cx, gfp: Gfp, order: u8) -> Option<Pfn> {
        if cx.in_interrupt() || gfp.contains(Gfp::THISNODE) {
            return self.alloc_pages(cx, gfp, order, self.cpu_node(cx.cpu()), Nodemask::None);
        }
        self.with_newest_allowed(cx, || {
            // Not counted: being current keeps the policy alive.
            let task_policy = cx.mempolicy.borrow();
            self.alloc_by_policy(cx, gfp, order, task_policy.as_deref(), IlPosition::Task)
        })
    }

    /// `alloc_pages_vma`: a block for a VMA with this policy of its own, at `il_index` (see
    /// [`vma_il_index`]). The caller holds mmap_lock, which keeps the policy alive.
    #[inline]
    pub fn alloc_pages_vma(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        vma_policy: Option<&Mempolicy>,
        il_index: u64,
    ) -> Option<Pfn> {
        self.with_newest_allowed(cx, || {
            let task_policy = cx.mempolicy.borrow();
            let policy = vma_policy.or(task_policy.as_deref());
            self.alloc_by_policy(cx, gfp, order, policy, IlPosition::Index(il_index))
        })
    }

    #[inline]
    fn alloc_by_policy(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        policy: Option<&Mempolicy>,
        position: IlPosition,
    ) -> Option<Pfn> {
        self.around_policy(cx, || self.alloc_by_policy_once(cx, gfp, order, policy, position))
    }

    #[inline]
    fn alloc_by_policy_once(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        policy: Option<&Mempolicy>,
        position: IlPosition,
    ) -> Option<Pfn> {
        let local = self.cpu_node(cx.cpu());
        let Some(policy) = policy else {
            return self.alloc_pages(cx, gfp, order, local, Nodemask::None);
        };
        match policy.mode {
            Mode::Interleave | Mode::WeightedInterleave => {
                let nid = self.interleave_nid(cx, policy, position).unwrap_or(local);
                let page = self.alloc_pages(cx, gfp, order, nid, Nodemask::None);
                if page.is_some_and(|pfn| self.page_node(pfn) == Some(nid)) {
                    let hits = &self.cpus[cx.cpu().index()].vm.numa_interleave;
                    hits.fetch_add(1, Ordering::Relaxed);
                }
                page
            }
            Mode::PreferredMany => self.alloc_preferred_many(cx, gfp, order, policy, local),
            Mode::Default | Mode::Preferred | Mode::Bind | Mode::Local => {
                // Before the test, so that they can't be newer than what passed.
                let before = Placement {
                    cookie: cx.task.mems_allowed_seq.raw(),
                    zonelists: self.zonelists.version(),
                };
                let mems = cx.task.mems_allowed.word(0);
                let (nid, nodemask) = self.policy_node_and_mask(cx, gfp, policy, local);
                if self.instrumented {
                    let mask = nodemask.load().map_or(0, |m| m.low_word());
                    self.point_event(cx, Point::D4Nodemask, [mask, mems, 0]);
                } else {
                    cx.seen_at_d4.set([nodemask.word(0), mems]);
                }
                let page = self.alloc_pages(cx, gfp, order, nid, nodemask);
                if let (Some(pfn), Nodemask::Live(mask)) = (page, nodemask)
                    && self.page_node(pfn).is_some_and(|node| !mask.test(node))
                {
                    self.judge_placement(cx, gfp, policy, before, pfn);
                }
                page
            }
        }
    }

    /// Pass 1 stays on the policy's nodes and neither reclaims nor complains; pass 2 is a request
    /// without a policy.
    fn alloc_preferred_many(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        policy: &Mempolicy,
        local: NodeId,
    ) -> Option<Pfn> {
        let nid = policy.home_node().unwrap_or(local);
        let first = (gfp | Gfp::NOWARN) - (Gfp::DIRECT_RECLAIM | Gfp::NOFAIL);
        let nodes = Nodemask::Live(&policy.nodes);
        let page = self.alloc_pages(cx, first, order, nid, nodes);
        // A stale snapshot (`swap`) says nothing about the nodes' memory: begin again.
        if page.is_some() || cx.cpuset.is_stale.get() {
            return page;
        }
        self.alloc_pages(cx, gfp, order, nid, Nodemask::None)
    }

    /// D.4 for the modes that need no turn: the node whose zonelist is walked, and the nodemask.
    #[inline]
    pub fn policy_node_and_mask<'p>(
        &self,
        cx: &Cx,
        gfp: Gfp,
        policy: &'p Mempolicy,
        local: NodeId,
    ) -> (NodeId, Nodemask<'p>) {
        match policy.mode {
            Mode::Default | Mode::Local | Mode::Interleave | Mode::WeightedInterleave => {
                (local, Nodemask::None)
            }
            Mode::Preferred => (policy.nodes.first().unwrap_or(local), Nodemask::None),
            Mode::Bind => {
                let allowed = self.request_allowed(cx);
                let applies = self.apply_policy_zone(policy, gfp.zone())
                    && policy.nodes.intersects(mems_of(allowed.as_deref(), cx));
                let nodes = if applies { Nodemask::Live(&policy.nodes) } else { Nodemask::None };
                (policy.home_node().unwrap_or(local), nodes)
            }
            Mode::PreferredMany => {
                (policy.home_node().unwrap_or(local), Nodemask::Live(&policy.nodes))
            }
        }
    }

    /// Does a BIND govern requests for this highest zone? Not those below the policy zone, which
    /// is Movable if the policy's nodes have nothing else.
    #[inline]
    pub fn apply_policy_zone(&self, policy: &Mempolicy, highest: ZoneIdx) -> bool {
        highest == ZoneIdx::Movable
            || highest as usize >= self.policy_zone.load(Ordering::Relaxed)
                && self.have_memory_below_movable(&policy.nodes.load())
    }

    /// Has one of the nodes memory that isn't Movable (N_HIGH_MEMORY)?
    pub(crate) fn have_memory_below_movable(&self, nodes: &NodeMask) -> bool {
        nodes.iter().any(|node| {
            [ZoneIdx::Dma, ZoneIdx::Dma32, ZoneIdx::Normal]
                .into_iter()
                .any(|idx| self.zone_of(node, idx).is_populated())
        })
    }

    /// The node whose turn it is; None if the policy has no nodes.
    pub fn interleave_nid(
        &self,
        cx: &Cx,
        policy: &Mempolicy,
        position: IlPosition,
    ) -> Option<NodeId> {
        let weighted = policy.mode == Mode::WeightedInterleave;
        match position {
            IlPosition::Task if weighted => self.weighted_interleave_nodes(cx, policy),
            IlPosition::Task => self.interleave_nodes(cx, policy),
            IlPosition::Index(index) if weighted => self.weighted_interleave_at(policy, index),
            IlPosition::Index(index) => self.interleave_at(policy, index),
        }
    }

    /// The task's next turn.
    fn interleave_nodes(&self, cx: &Cx, policy: &Mempolicy) -> Option<NodeId> {
        if self.policy.release.interleave_keeps_next() {
            let nid = match cx.il_prev.get() {
                NO_TURN => policy.nodes.first()?,
                next => NodeId(next),
            };
            if let Some(next) = next_in(policy, nid) {
                cx.il_prev.set(next.0);
            }
            return Some(nid);
        }
        let nid = if self.policy.release.task_interleave_retries() {
            self.with_stable_mems(cx, || next_in(policy, NodeId(cx.il_prev.get())))
        } else {
            next_in(policy, NodeId(cx.il_prev.get()))
        }?;
        cx.il_prev.set(nid.0);
        Some(nid)
    }

    /// Stays on `il_prev` while it has weight left and is still in the mask.
    fn weighted_interleave_nodes(&self, cx: &Cx, policy: &Mempolicy) -> Option<NodeId> {
        let node = self.with_stable_mems(cx, || {
            let prev = NodeId(cx.il_prev.get());
            let stays = cx.il_weight.get() > 0
                && prev.index() < self.nr_node_ids()
                && policy.nodes.test(prev);
            if stays {
                Some((prev, cx.il_weight.get()))
            } else {
                next_in(policy, prev).map(|n| (n, 0))
            }
        });
        let (nid, left) = node?;
        let left = if left > 0 { left } else { self.interleave_weights.of(nid) };
        cx.il_prev.set(nid.0);
        cx.il_weight.set(left - 1);
        Some(nid)
    }

    /// Runs `read` until no cpuset update was inside meanwhile.
    fn with_stable_mems<R>(&self, cx: &Cx, read: impl Fn() -> R) -> R {
        loop {
            let cookie = self.read_mems_allowed_begin(cx);
            let result = read();
            if !self.read_mems_allowed_retry(cx, cookie) || self.clock.is_aborted() {
                return result;
            }
        }
    }

    /// `offset_il_node`.
    fn interleave_at(&self, policy: &Mempolicy, index: u64) -> Option<NodeId> {
        if self.policy.release.vma_interleave_copies_mask() {
            let nodes = policy.nodes.load();
            let weight = nodes.weight() as u64;
            return if weight == 0 { None } else { nodes.nth((index % weight) as usize) };
        }
        // In place: the weight and the walk may see different masks.
        let weight = policy.nodes.weight() as u64;
        if weight == 0 {
            return None;
        }
        let mut nid = policy.nodes.first()?;
        for _ in 0..index % weight {
            nid = policy.nodes.next(nid)?;
        }
        Some(nid)
    }

    fn weighted_interleave_at(&self, policy: &Mempolicy, index: u64) -> Option<NodeId> {
        let nodes = policy.nodes.load();
        let weight = |node| u64::from(self.interleave_weights.of(node));
        let total: u64 = nodes.iter().map(weight).sum();
        let mut target = index.checked_rem(total)?;
        nodes.iter().find(|node| {
            let weight = weight(*node);
            let here = target < weight;
            target = target.saturating_sub(weight);
            here
        })
    }

    /// set_mempolicy's part of interleaving: the first turn is the lowest node's.
    pub(super) fn start_interleaving(&self, cx: &Cx, policy: Option<&Mempolicy>) {
        cx.il_weight.set(0);
        let interleaves =
            policy.filter(|p| matches!(p.mode, Mode::Interleave | Mode::WeightedInterleave));
        if let Some(policy) = interleaves {
            let next = policy.nodes.first().map_or(NO_TURN, |n| n.0);
            let keeps_next = self.policy.release.interleave_keeps_next();
            cx.il_prev.set(if keeps_next { next } else { NO_TURN });
        }
    }
}

/// `next_node_in`, on the live mask.
fn next_in(policy: &Mempolicy, node: NodeId) -> Option<NodeId> {
    policy.nodes.next(node).or_else(|| policy.nodes.first())
}
