//! `cpuset=swap`: allowed nodes and policies as snapshots that are swapped, never rewritten.
//!
//! **What.** The redesign that the author of 902b62810a57 describes and could not finish
//! (docs/kernel/cpusets.md#c6, "the alternative not built"): a task's allowed nodes and its policy
//! are one immutable [`Allowed`]; an update makes a new one and publishes it. A request takes the
//! newest at its start, sees that pair and no other to its end, and starts again if it finds before
//! the OOM killer, or before failing, that a newer one exists. With the pair come zonelists that
//! hold the zones of the allowed nodes only ([`AllowedLists`]), so that a fast path without a
//! nodemask tests no node at all; all tasks of a cpuset share them.
//!
//! **How it is reclaimed.** The task keeps a counted reference in its own context and looks at a
//! generation number before each request: while nothing changes a request costs one load, no count
//! is touched and nothing is pinned. The old snapshot goes when its last holder lets go. Epochs
//! (crossbeam) would pin at each request, a fence that costs more than the variant saves: see
//! Decisions in ARCHITECTURE.md.
//!
//! **What the price is.** Each update of a task, and of each VMA with a policy, needs memory for a
//! copy. When it runs out half-way the write fails with -ENOMEM: whoever was reached before has the
//! new nodes, the rest the old ones, as with an mbind that fails half-way; cpuset.mems reads as
//! before, so that writing it again reaches all.
//!
//! **Source.** The discussion of "cpuset/mempolicies related fixes and cleanups" (May 2017).
//!
//! **Differs.** It never existed. `task.mems_allowed` is still kept up to date, under the sequence
//! count, for those who look at other tasks (the OOM killer, the oracle, set_mempolicy). Lists that
//! a rebuild (memory hotplug) has made old are made anew before the next request.

use std::cell::{Cell, Ref, RefCell};

use crate::cpuset::CpusetError;
use crate::gfp::Gfp;
use crate::ids::{NodeId, ZoneId, ZoneIdx};
use crate::mempolicy::Mempolicy;
use crate::mempolicy::rebind::RebindRules;
use crate::mm::Mm;
use crate::mm::vma::{Vma, VmaLocked};
use crate::nodemask::{AtomicNodeMask, NodeMask};
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Task, TaskLocked, count};
use crate::sync::atomic::Ordering;
use crate::sync::lock::named;
use crate::sync::{Arc, RwSemWriteGuard};
use crate::zonelist::{Nodes, Zonelist};

/// What a task may use, as of one moment.
#[derive(Debug)]
pub struct Allowed {
    /// Its number in the task, from 1.
    pub generation: u32,
    /// The nodes. Never written again.
    pub mems: AtomicNodeMask,
    /// The task policy. Its nodes are never written again.
    pub mempolicy: Option<Arc<Mempolicy>>,
    /// The zones of `mems`, as the fallback lists name them.
    pub lists: Arc<AllowedLists>,
}

/// Fallback lists with the zones of some nodes only.
#[derive(Debug)]
pub struct AllowedLists {
    mems: NodeMask,
    /// [`Zonelists::version`](crate::zonelist::Zonelists::version) when they were made.
    version: u32,
    of_node: Box<[Option<Zonelist>]>,
}

impl AllowedLists {
    /// The list of requests that prefer a node; None for __GFP_THISNODE, which has its own.
    #[inline]
    pub(crate) fn fallback(&self, node: NodeId, gfp: Gfp) -> Option<&Zonelist> {
        if gfp.contains(Gfp::THISNODE) {
            return None;
        }
        self.of_node.get(node.index())?.as_ref()
    }

    /// The zones that requests which prefer a node may use, in their order.
    pub fn zones(&self, node: NodeId) -> Vec<ZoneId> {
        let list = self.of_node.get(node.index()).and_then(Option::as_ref);
        list.map_or(Vec::new(), |list| list.walk(ZoneIdx::Movable, Nodes::Any).collect())
    }
}

/// What a context carries for the variants of the axis.
#[derive(Debug, Default)]
pub(crate) struct CpusetCx {
    /// The snapshot that requests use.
    allowed: RefCell<Option<Arc<Allowed>>>,
    /// Its number.
    generation: Cell<u32>,
    /// The rebuild of the zonelists that its lists were made from.
    lists_version: Cell<u32>,
    /// Is a request under way?
    request_depth: Cell<u32>,
    /// Did that end because a newer snapshot exists?
    pub(crate) is_stale: Cell<bool>,
}

/// The nodes that current may use: those of its request's snapshot, or the live mask.
#[inline]
pub(crate) fn mems_of<'a>(allowed: Option<&'a Allowed>, cx: &'a Cx) -> &'a AtomicNodeMask {
    allowed.map_or(&cx.task.mems_allowed, |allowed| &allowed.mems)
}

impl Kernel {
    /// The snapshot of the request in progress; None in the other variants and outside of requests.
    #[inline]
    pub(crate) fn request_allowed<'c>(&self, cx: &'c Cx) -> Option<Ref<'c, Allowed>> {
        if !self.swaps_policies() || cx.cpuset.request_depth.get() == 0 {
            return None;
        }
        Ref::filter_map(cx.cpuset.allowed.borrow(), |allowed| allowed.as_deref()).ok()
    }

    /// Are policies and allowed nodes swapped?
    #[inline]
    pub fn swaps_policies(&self) -> bool {
        self.policy.cpuset.swaps()
    }

    /// Publishes a task's nodes and policy as they are under its task_lock.
    pub(crate) fn publish_allowed(&self, task: &Task, locked: &mut TaskLocked, mems: &NodeMask) {
        // Relaxed: written under task_lock only; the snapshot itself is read under it, too.
        let generation = task.allowed_generation.load(Ordering::Relaxed).wrapping_add(1).max(1);
        locked.allowed = Some(Arc::new(Allowed {
            generation,
            mems: AtomicNodeMask::holding(self.nr_node_ids(), mems),
            mempolicy: locked.mempolicy.clone(),
            lists: self.allowed_lists(mems),
        }));
        task.allowed_generation.store(generation, Ordering::Relaxed);
    }

    /// The lists of these nodes as the zonelists are now; those made last, if they still hold.
    fn allowed_lists(&self, mems: &NodeMask) -> Arc<AllowedLists> {
        // Read before the lists: a rebuild meanwhile leaves a copy that counts as old.
        let version = self.zonelists.version();
        let mut last = self.cpusets.last_lists.lock();
        let known = last.as_ref().filter(|l| l.version == version && l.mems == *mems);
        if let Some(lists) = known {
            return Arc::clone(lists);
        }
        let of_node = self.zonelists.restricted_to(mems);
        let lists = Arc::new(AllowedLists { mems: *mems, version, of_node });
        *last = Some(Arc::clone(&lists));
        lists
    }

    /// Takes current's newest snapshot. Not inside a request, which keeps the one that it began
    /// with.
    #[inline]
    pub(crate) fn take_newest_allowed(&self, cx: &Cx) {
        let newest = cx.task.allowed_generation.load(Ordering::Relaxed);
        let is_old = self.zonelists.version() != cx.cpuset.lists_version.get();
        if newest == 0 || newest != cx.cpuset.generation.get() || is_old {
            self.take_newest_allowed_slow(cx);
        }
    }

    #[cold]
    fn take_newest_allowed_slow(&self, cx: &Cx) {
        let mut locked = cx.task.alloc_lock.lock();
        let version = self.zonelists.version();
        if locked.allowed.as_ref().is_none_or(|allowed| allowed.lists.version != version) {
            self.publish_allowed(&cx.task, &mut locked, &cx.task.mems_allowed.load());
        }
        let Some(allowed) = locked.allowed.clone() else { return };
        drop(locked);
        cx.mempolicy.borrow_mut().clone_from(&allowed.mempolicy);
        cx.cpuset.generation.set(allowed.generation);
        cx.cpuset.lists_version.set(allowed.lists.version);
        *cx.cpuset.allowed.borrow_mut() = Some(allowed);
    }

    /// S19a, S20: has an update made a newer snapshot than the request's own?
    #[inline]
    pub(crate) fn newer_allowed_exists(&self, cx: &Cx) -> bool {
        cx.task.allowed_generation.load(Ordering::Relaxed) != cx.cpuset.generation.get()
    }

    /// Runs a request that starts again, with the newest snapshot, when it says that it is stale.
    /// In the other variants it just runs.
    #[inline]
    pub(crate) fn with_newest_allowed<R>(
        &self,
        cx: &Cx,
        mut request: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if !self.swaps_policies() || cx.in_interrupt() || cx.cpuset.request_depth.get() > 0 {
            return request();
        }
        loop {
            self.take_newest_allowed(cx);
            cx.cpuset.is_stale.set(false);
            cx.cpuset.request_depth.set(1);
            let result = request();
            cx.cpuset.request_depth.set(0);
            if result.is_some() || !cx.cpuset.is_stale.get() || self.clock.is_aborted() {
                return result;
            }
            count(&cx.stats.restarts, 1);
        }
    }

    /// Makes the copies that an update of the task needs, publishes them, and keeps the live mask
    /// that others look at in step (T3a).
    pub(crate) fn swap_task_nodemask(
        &self,
        cx: &Cx,
        task: &Task,
        newmems: &NodeMask,
    ) -> Result<(), CpusetError> {
        debug_assert!(!newmems.is_empty(), "a task is left without a node (T3a)");
        let mut locked = task.alloc_lock.lock();
        let old = task.mems_allowed.load();
        self.charge_copy()?;
        if let Some(policy) = locked.mempolicy.clone() {
            let before = policy.nodes.load();
            if let Some(copy) = self.rebound_copy(&policy, newmems)? {
                let after = copy.nodes.load();
                locked.mempolicy = Some(copy);
                let args = [before.low_word(), after.low_word(), u64::from(task.pid)];
                self.point_event(cx, Point::T3aPolicyWritten, args);
            }
        }
        {
            let _irqs_off = self.irqs_off(cx);
            task.mems_allowed_seq.write_begin();
            task.mems_allowed.store(newmems);
            task.mems_allowed_seq.write_end();
        }
        self.publish_allowed(task, &mut locked, newmems);
        let args = [old.low_word(), newmems.low_word(), u64::from(task.pid)];
        self.point_event(cx, Point::T3aMemsWritten, args);
        Ok(())
    }

    /// T3c for one VMA: its policy is swapped for a rebound copy. The caller holds mmap_lock for
    /// writing, and gets the VMA's lock to hold on.
    pub(crate) fn swap_vma_policy<'v>(
        &self,
        cx: &Cx,
        mm: &Mm,
        vma: &'v Vma,
        mems: &NodeMask,
    ) -> Result<RwSemWriteGuard<'v, named::Vma, VmaLocked>, CpusetError> {
        let mut own = vma.lock.write();
        let Some(policy) = own.policy.clone() else { return Ok(own) };
        if let Some(copy) = self.rebound_copy(&policy, mems)? {
            let (before, after) = (policy.nodes.load(), copy.nodes.load());
            let args = [before.low_word(), after.low_word(), u64::from(mm.id)];
            own.policy = Some(copy);
            self.point_event(cx, Point::T3cVmaRebound, args);
        }
        Ok(own)
    }

    /// A copy of a policy, rebound to `mems`; None if it stays as it is.
    fn rebound_copy(
        &self,
        policy: &Mempolicy,
        mems: &NodeMask,
    ) -> Result<Option<Arc<Mempolicy>>, CpusetError> {
        let copy = policy.duplicate(self.nr_node_ids());
        if copy.rebind_once(mems, RebindRules::of(&self.policy), |_| {}).is_none() {
            return Ok(None);
        }
        self.charge_copy()?;
        Ok(Some(Arc::new(copy)))
    }

    /// Memory for one more copy, unless a failure is injected.
    fn charge_copy(&self) -> Result<(), CpusetError> {
        let left = &self.cpusets.copies_left;
        // Relaxed: copies are made under cpuset_mutex.
        let n = left.load(Ordering::Relaxed);
        if n == 0 {
            return Err(CpusetError::NoMemory);
        }
        if n != u64::MAX {
            left.store(n - 1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// From now on this many copies succeed, and then none (failslab's `times`); None: all do.
    pub fn fail_policy_copies_after(&self, copies: Option<u64>) {
        self.cpusets.copies_left.store(copies.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
