//! The page allocator: `__alloc_pages`, the walk over zones, the slow path.
//!
//! **What.** docs/kernel/requests.md. Read in the order in which a request meets them: this file
//! (entry and fast path), [`rmqueue`] (a zone's pcplists and buddy), [`slow`] (the numbered steps
//! S1 to S22), [`retry`] (the tests that send a request back), [`reserve`] (the OOM step and last
//! resorts), [`free`] (the way back).
//!
//! **Why two copies.** The fast path is compiled twice: without race points (what users measure)
//! and with them (`--amplify`, exploration). `Kernel::instrumented` chooses once per request.
//!
//! **Differs.** `ac->nodemask` is a reference to the live mask ([`Nodemask`]) as the kernel's is a
//! pointer; no dirty limits, no memcg, no compaction but the merging that freeing does.

pub mod free;
pub mod reserve;
pub mod retry;
pub mod rmqueue;
pub mod slow;
pub mod walk;

use std::cell::Cell;

use crate::gfp::{AllocFlags, Gfp, MigrateType};
use crate::ids::{NodeId, Pfn, ZoneId, ZoneIdx};
use crate::nodemask::{AtomicNodeMask, MaskWords, NodeMask};
use crate::oracle::RequestLog;
use crate::page_alloc::slow::Request;
use crate::page_alloc::walk::{Look, Walk};
use crate::policy::cpuset::mems_of;
use crate::policy::release::FastPathCpuset;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync;
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role};
use crate::zonelist::Zonelist;

/// `ac->nodemask`: nothing, the live mask of a policy or of the task, or a mask of the caller's.
#[derive(Clone, Copy, Debug)]
pub enum Nodemask<'a> {
    /// NULL: any node.
    None,
    /// A mask that others rewrite in place while it is read word by word.
    Live(&'a AtomicNodeMask),
    /// A mask that nobody changes.
    Fixed(&'a NodeMask),
}

impl Nodemask<'_> {
    /// Is it NULL?
    pub fn is_none(self) -> bool {
        matches!(self, Self::None)
    }

    /// Is the node in it (NULL holds all)?
    #[inline]
    pub fn has(self, node: NodeId) -> bool {
        match self {
            Self::None => true,
            Self::Live(mask) => mask.test(node),
            Self::Fixed(mask) => mask.test(node),
        }
    }

    /// Word `i`; all bits of a NULL.
    #[inline]
    pub fn word(self, i: usize) -> u64 {
        match self {
            Self::None => u64::MAX,
            Self::Live(mask) => mask.word(i),
            Self::Fixed(mask) => mask.word(i),
        }
    }

    /// A copy, word by word.
    pub fn load(self) -> Option<NodeMask> {
        match self {
            Self::None => None,
            Self::Live(mask) => Some(mask.load()),
            Self::Fixed(mask) => Some(*mask),
        }
    }
}

/// `struct alloc_context`, as far as it lives through one request.
#[derive(Debug)]
pub struct AllocContext<'a> {
    /// The zonelist walked.
    pub zonelist: Cell<&'a Zonelist>,
    /// The nodemask in force.
    pub nodemask: Cell<Nodemask<'a>>,
    /// Position of the preferred zoneref in the zonelist: kept while the array is rewritten.
    pub preferred_zoneref: Cell<usize>,
    /// Type wanted.
    pub migratetype: MigrateType,
    /// Highest zone allowed.
    pub highest_zoneidx: ZoneIdx,
}

impl<'a> AllocContext<'a> {
    /// As a request begins: the zonelist and nodemask that its walk starts with, and where.
    pub fn first(walk: &Walk<'a>, preferred_zoneref: usize) -> Self {
        Self {
            zonelist: Cell::new(walk.zonelist),
            nodemask: Cell::new(walk.nodemask),
            preferred_zoneref: Cell::new(preferred_zoneref),
            migratetype: walk.migratetype,
            highest_zoneidx: walk.highest_zoneidx,
        }
    }

    /// The zone at the preferred zoneref now; None at the terminator.
    pub fn preferred_zone(&self) -> Option<ZoneId> {
        self.zonelist.get().zone(self.preferred_zoneref.get())
    }
}

impl Kernel {
    /// Allocates a block of 2^order pages (`__alloc_pages`): from `preferred_nid`'s zonelist,
    /// restricted to `nodemask`. None: the request failed.
    #[inline]
    pub fn alloc_pages(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        preferred_nid: NodeId,
        nodemask: Nodemask<'_>,
    ) -> Option<Pfn> {
        if self.plain_requests {
            return self.request::<false, false>(cx, gfp, order, preferred_nid, nodemask);
        }
        self.alloc_pages_watched(cx, gfp, order, preferred_nid, nodemask)
    }

    /// As [`Kernel::alloc_pages`], with race points or with a snapshot of the allowed nodes.
    #[inline(never)]
    fn alloc_pages_watched(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        preferred_nid: NodeId,
        nodemask: Nodemask<'_>,
    ) -> Option<Pfn> {
        self.with_newest_allowed(cx, || {
            if self.instrumented {
                self.allocator_enter(cx);
                let _role = As::role_if_none(Role::Alloc);
                let page = self.request::<true, true>(cx, gfp, order, preferred_nid, nodemask);
                self.allocator_leave(cx);
                page
            } else {
                self.request::<false, true>(cx, gfp, order, preferred_nid, nodemask)
            }
        })
    }

    /// The fast path. `R`: with race points; `S`: there may be a snapshot (`swap`).
    #[inline]
    fn request<const R: bool, const S: bool>(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        preferred_nid: NodeId,
        nodemask: Nodemask<'_>,
    ) -> Option<Pfn> {
        let start = if cx.observer.is_some() { sync::stamp() } else { 0 };
        let zonelist = self.node_zonelist(preferred_nid, gfp);
        let mut walk = Walk {
            zonelist,
            nodemask,
            gfp,
            order,
            flags: AllocFlags::WMARK_LOW,
            migratetype: gfp.migratetype(!self.grouping_disabled.load(Ordering::Relaxed)),
            highest_zoneidx: gfp.zone(),
        };
        let allowed = if S { self.request_allowed(cx) } else { None };
        // `swap`: the allowed zones alone, of which none has to be tested.
        let mut own_list = None;
        if self.cpusets_enabled() {
            // User or kernel, the fast path stays within current's cpuset; a null nodemask becomes
            // a pointer to the live mems_allowed, filtered word by word while it may change.
            walk.gfp |= Gfp::HARDWALL;
            let in_task = !cx.in_interrupt();
            let (masks, flagged) = match self.rules.fast_path_cpuset {
                FastPathCpuset::FlagAlways => (nodemask.is_none(), true),
                FastPathCpuset::MaskOrFlag => (nodemask.is_none(), !nodemask.is_none()),
                FastPathCpuset::MaskInTaskContext => {
                    let masks = nodemask.is_none() && in_task;
                    (masks, !masks)
                }
            };
            if masks {
                own_list = allowed.as_ref().and_then(|a| a.lists.fallback(preferred_nid, gfp));
            }
            if masks && own_list.is_none() {
                walk.nodemask = Nodemask::Live(mems_of(allowed.as_deref(), cx));
            }
            if flagged && own_list.is_none() {
                walk.flags |= AllocFlags::CPUSET;
            }
            walk.zonelist = own_list.unwrap_or(zonelist);
        }
        if self.rules.has_alloc_kswapd && gfp.contains(Gfp::KSWAPD_RECLAIM) {
            walk.flags |= AllocFlags::KSWAPD;
        }
        let preferred = self.first_zoneref::<R>(cx, &walk);
        if self.rules.nofragment && self.prefers_nofragment(walk.zonelist.zone(preferred)) {
            walk.flags |= AllocFlags::NOFRAGMENT;
        }
        // Nearly always the first zone has a page.
        let page = match walk.zonelist.zone(preferred) {
            None => None,
            Some(id) => match self.look_at_zone::<R>(cx, id, id.node(), &walk) {
                Look::Got(pfn) => Some(pfn),
                Look::Next | Look::StartOver => {
                    self.walk_behind::<R>(cx, &walk, preferred, id.node())
                }
            },
        };
        if page.is_some() {
            if let Some(observer) = &cx.observer {
                observer.alloc_fast(start);
            }
            return page;
        }
        let own_mems = own_list.map(|_| mems_of(allowed.as_deref(), cx));
        let page =
            self.fast_path_failed(cx, gfp, preferred_nid, nodemask, &walk, preferred, own_mems);
        if let Some(observer) = &cx.observer {
            observer.alloc_slow(start);
        }
        page
    }

    /// On to the slow path, with what the fast path has found; `own_mems`: it walked a list of its
    /// own, which holds these nodes.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "what the fast path has at hand")]
    fn fast_path_failed(
        &self,
        cx: &Cx,
        gfp: Gfp,
        preferred_nid: NodeId,
        nodemask: Nodemask<'_>,
        walk: &Walk<'_>,
        preferred: usize,
        own_mems: Option<&AtomicNodeMask>,
    ) -> Option<Pfn> {
        let walk = Walk { zonelist: self.node_zonelist(preferred_nid, gfp), nodemask, ..*walk };
        let live = |mems| Walk { nodemask: Nodemask::Live(mems), ..walk };
        let preferred = match own_mems {
            None => preferred,
            Some(mems) if self.instrumented => self.first_zoneref::<true>(cx, &live(mems)),
            Some(mems) => self.first_zoneref::<false>(cx, &live(mems)),
        };
        let req = Request { gfp, order: walk.order, preferred_nid, nodemask };
        self.alloc_pages_slowpath(cx, &req, &AllocContext::first(&walk, preferred))
    }

    /// A request that goes straight to the slow path, as if the fast path had just failed: for
    /// interrupts that are to meet S1 (`--irq-slow-path`).
    pub fn alloc_pages_forced_slow(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        preferred_nid: NodeId,
        nodemask: Nodemask<'_>,
    ) -> Option<Pfn> {
        self.allocator_enter(cx);
        let req = Request { gfp, order, preferred_nid, nodemask };
        let page = self.alloc_pages_slowpath(cx, &req, &self.context_of(cx, &req));
        self.allocator_leave(cx);
        page
    }

    /// The context of a request whose fast path is left out.
    fn context_of<'a>(&'a self, cx: &Cx, req: &Request<'a>) -> AllocContext<'a> {
        let walk = Walk {
            zonelist: self.node_zonelist(req.preferred_nid, req.gfp),
            nodemask: req.nodemask,
            gfp: req.gfp,
            order: req.order,
            flags: AllocFlags::empty(),
            migratetype: req.gfp.migratetype(!self.grouping_disabled.load(Ordering::Relaxed)),
            highest_zoneidx: req.gfp.zone(),
        };
        AllocContext::first(&walk, self.first_zoneref::<true>(cx, &walk))
    }

    /// S19b by itself, as a request comes to it that reclaim has not helped: for worlds in which
    /// only the decision to kill matters. Returns a page, and whether there was progress.
    pub fn oom_step(
        &self,
        cx: &Cx,
        gfp: Gfp,
        preferred_nid: NodeId,
        nodemask: Nodemask<'_>,
    ) -> (Option<Pfn>, bool) {
        let req = Request { gfp, order: 0, preferred_nid, nodemask };
        let ac = self.context_of(cx, &req);
        let before = cx.request.replace(RequestLog::new(&req, ac.highest_zoneidx));
        self.allocator_enter(cx);
        self.look(cx, &req);
        let result = self.may_oom(cx, &req, &ac);
        self.allocator_leave(cx);
        cx.request.replace(before);
        result
    }

    /// ALLOC_NOFRAGMENT's condition: the preferred zone is Normal and DMA32 stands behind it on
    /// the same node (`alloc_flags_nofragment`, 5.0+).
    #[inline]
    fn prefers_nofragment(&self, preferred: Option<ZoneId>) -> bool {
        preferred.is_some_and(|id| {
            id.zone_idx() == ZoneIdx::Normal
                && self.zone_of(id.node(), ZoneIdx::Dma32).is_populated()
        })
    }
}
