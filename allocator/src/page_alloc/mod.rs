//! The page allocator: `__alloc_pages`, the walk over zones, the slow path.
//!
//! **What.** KERNEL-FACTS B. Read in the order in which a request meets them: this file (entry and
//! fast path), [`rmqueue`] (a zone's pcplists and buddy), [`slow`] (the numbered steps S1 to S22),
//! [`retry`] (the tests that send a request back), [`reserve`] (the OOM step and last resorts),
//! [`free`] (the way back).
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

use std::cell::Cell;

use crate::cpuset::swap::mems_of;
use crate::gfp::{AllocFlags, Gfp, MigrateType};
use crate::ids::{NodeId, Pfn, ZoneId, ZoneIdx};
use crate::kernel::Kernel;
use crate::nodemask::{AtomicNodeMask, MaskWords, NodeMask};
use crate::oracle::{Looked, RequestLog};
use crate::page_alloc::rmqueue::Rmqueue;
use crate::policy::release::FastPathCpuset;
use crate::race::Point;
use crate::sync;
use crate::sync::atomic::Ordering;
use crate::task::Cx;
use crate::zone::{Wmark, Zone, zone_flag};
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
    /// The zonelist that the caller's nid gives, for S10's reset.
    pub order: u8,
}

impl AllocContext<'_> {
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
        self.with_newest_allowed(cx, || {
            if self.instrumented {
                self.allocator_enter(cx);
                let page = self.alloc_pages_inner::<true>(cx, gfp, order, preferred_nid, nodemask);
                self.allocator_leave(cx);
                page
            } else {
                self.alloc_pages_inner::<false>(cx, gfp, order, preferred_nid, nodemask)
            }
        })
    }

    #[inline]
    fn alloc_pages_inner<const R: bool>(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        preferred_nid: NodeId,
        nodemask: Nodemask<'_>,
    ) -> Option<Pfn> {
        let start = if cx.observer.is_some() { sync::stamp() } else { 0 };
        let highest_zoneidx = gfp.zone();
        let migratetype = gfp.migratetype(!self.grouping_disabled.load(Ordering::Relaxed));
        let zonelist = self.node_zonelist(preferred_nid, gfp);
        let mut flags = AllocFlags::WMARK_LOW;
        let mut fast_gfp = gfp;
        let mut fast_mask = nodemask;
        let allowed = self.request_allowed(cx);
        // `swap`: the allowed zones alone, of which none has to be tested.
        let mut own_list = None;
        if self.cpusets_enabled() {
            // User or kernel, the fast path stays within current's cpuset; a null nodemask becomes
            // a pointer to the live mems_allowed, filtered word by word while it may change.
            fast_gfp |= Gfp::HARDWALL;
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
                fast_mask = Nodemask::Live(mems_of(allowed.as_deref(), cx));
            }
            if flagged && own_list.is_none() {
                flags |= AllocFlags::CPUSET;
            }
        }
        let fast_list = own_list.unwrap_or(zonelist);
        if self.rules.has_alloc_kswapd && gfp.contains(Gfp::KSWAPD_RECLAIM) {
            flags |= AllocFlags::KSWAPD;
        }
        let preferred = self.first_zones_zonelist::<R>(cx, fast_list, highest_zoneidx, fast_mask);
        let ac = AllocContext {
            zonelist: Cell::new(fast_list),
            nodemask: Cell::new(fast_mask),
            preferred_zoneref: Cell::new(preferred),
            migratetype,
            highest_zoneidx,
            order,
        };
        if self.rules.nofragment && self.prefers_nofragment(&ac) {
            flags |= AllocFlags::NOFRAGMENT;
        }
        if let Some(pfn) = self.get_page_from_freelist::<R>(cx, fast_gfp, order, flags, &ac) {
            if let Some(observer) = &cx.observer {
                observer.alloc_fast(start);
            }
            return Some(pfn);
        }
        ac.nodemask.set(nodemask);
        if own_list.is_some() {
            ac.zonelist.set(zonelist);
            let mems = Nodemask::Live(mems_of(allowed.as_deref(), cx));
            let first = self.first_zones_zonelist::<R>(cx, zonelist, highest_zoneidx, mems);
            ac.preferred_zoneref.set(first);
        }
        let page = self.alloc_pages_slowpath(cx, gfp, order, preferred_nid, nodemask, &ac);
        if let Some(observer) = &cx.observer {
            observer.alloc_slow(start);
        }
        page
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
        let grouping = !self.grouping_disabled.load(Ordering::Relaxed);
        let zonelist = self.node_zonelist(preferred_nid, gfp);
        let highest_zoneidx = gfp.zone();
        let preferred = self.first_zones_zonelist::<true>(cx, zonelist, highest_zoneidx, nodemask);
        let ac = AllocContext {
            zonelist: Cell::new(zonelist),
            nodemask: Cell::new(nodemask),
            preferred_zoneref: Cell::new(preferred),
            migratetype: gfp.migratetype(grouping),
            highest_zoneidx,
            order,
        };
        let page = self.alloc_pages_slowpath(cx, gfp, order, preferred_nid, nodemask, &ac);
        self.allocator_leave(cx);
        page
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
        let highest_zoneidx = gfp.zone();
        let zonelist = self.node_zonelist(preferred_nid, gfp);
        let preferred = self.first_zones_zonelist::<true>(cx, zonelist, highest_zoneidx, nodemask);
        let ac = AllocContext {
            zonelist: Cell::new(zonelist),
            nodemask: Cell::new(nodemask),
            preferred_zoneref: Cell::new(preferred),
            migratetype: gfp.migratetype(!self.grouping_disabled.load(Ordering::Relaxed)),
            highest_zoneidx,
            order: 0,
        };
        let req = slow::Request { gfp, order: 0, preferred_nid, nodemask };
        let before = cx.request.replace(RequestLog::new(&req, highest_zoneidx));
        self.allocator_enter(cx);
        self.look(cx, &req, Looked::Retry);
        let result = self.may_oom(cx, &req, &ac);
        self.allocator_leave(cx);
        cx.request.replace(before);
        result
    }

    /// ALLOC_NOFRAGMENT's condition: the preferred zone is Normal and DMA32 stands behind it on
    /// the same node (`alloc_flags_nofragment`, 5.0+).
    #[inline]
    fn prefers_nofragment(&self, ac: &AllocContext<'_>) -> bool {
        ac.preferred_zone().is_some_and(|id| {
            id.zone_idx() == ZoneIdx::Normal
                && self.zone_of(id.node(), ZoneIdx::Dma32).is_populated()
        })
    }

    /// Position of the first zoneref with an index up to `highest` on a node of the mask, the
    /// terminator's if there is none (`first_zones_zonelist`).
    #[inline]
    pub fn first_zones_zonelist<const R: bool>(
        &self,
        cx: &Cx,
        zonelist: &Zonelist,
        highest: ZoneIdx,
        nodemask: Nodemask<'_>,
    ) -> usize {
        self.next_zones_zonelist::<R>(cx, zonelist, 0, highest, nodemask)
    }

    /// As [`Kernel::first_zones_zonelist`], from position `from` on (`next_zones_zonelist`).
    #[inline]
    pub fn next_zones_zonelist<const R: bool>(
        &self,
        cx: &Cx,
        zonelist: &Zonelist,
        from: usize,
        highest: ZoneIdx,
        nodemask: Nodemask<'_>,
    ) -> usize {
        let mut position = from;
        loop {
            let idx = zonelist.idx(position);
            match zonelist.zone(position) {
                // The null zone ends the list whatever index it has been given so far; an entry
                // above the highest zone is passed over before its zone is looked at.
                None if idx <= highest as u32 => return position,
                Some(zone) if idx <= highest as u32 => {
                    if R && matches!(nodemask, Nodemask::Live(_)) {
                        self.point(cx, Point::B3CpusetWord);
                    }
                    if nodemask.has(zone.node()) {
                        return position;
                    }
                }
                None | Some(_) => {}
            }
            if zonelist.is_end(position) {
                return position;
            }
            position += 1;
        }
    }

    /// Walks the zones from the preferred zoneref on and takes a block from the first that the
    /// flags let it (`get_page_from_freelist`, KERNEL-FACTS B.3).
    #[inline]
    pub fn get_page_from_freelist<const R: bool>(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        mut flags: AllocFlags,
        ac: &AllocContext<'_>,
    ) -> Option<Pfn> {
        loop {
            let mut preferred = None;
            let mut position = ac.preferred_zoneref.get();
            let zonelist = ac.zonelist.get();
            let mut start_over = false;
            // The zone at the preferred zoneref is not filtered again (KERNEL-FACTS F.1).
            while let Some(id) = zonelist.zone(position) {
                let zone = &self.zones[id.index()];
                let first = *preferred.get_or_insert(id.node());
                if R {
                    // The slow path's looks would fill the ring in a run that is not instrumented.
                    if self.instrumented {
                        cx.event(Point::B3FastZone, [u64::from(id.0), 0, 0]);
                    }
                    self.point(cx, Point::B3FastZone);
                }
                if self.is_cpuset_hurdle(cx, zone, gfp, flags) {
                    position = self.next_zoneref::<R>(cx, zonelist, position, ac);
                    continue;
                }
                if flags.contains(AllocFlags::NOFRAGMENT)
                    && zone.node() != first
                    && self.nr_online_nodes() > 1
                {
                    flags.remove(AllocFlags::NOFRAGMENT);
                    start_over = true;
                    break;
                }
                if self.zone_passes(zone, order, flags, ac.highest_zoneidx) {
                    let req = Rmqueue {
                        order,
                        migratetype: ac.migratetype,
                        alloc_flags: flags,
                        preferred: first,
                    };
                    if let Some(pfn) = self.rmqueue::<R>(cx, zone, req) {
                        if zone.idx() > ac.highest_zoneidx {
                            self.took_from_above(cx, zone, pfn);
                        }
                        if order > 0 {
                            self.maybe_reserve_highatomic(cx, zone, pfn, order, flags);
                        }
                        // The fast path's marks are above the reserve.
                        if R && flags.wmark() == Wmark::Min {
                            self.note_reserve(cx, zone, gfp, flags, order);
                        }
                        return Some(pfn);
                    }
                }
                position = self.next_zoneref::<R>(cx, zonelist, position, ac);
            }
            if start_over {
                continue;
            }
            if flags.contains(AllocFlags::NOFRAGMENT) {
                flags.remove(AllocFlags::NOFRAGMENT);
                continue;
            }
            return None;
        }
    }

    /// The first zone is not filtered again by its index: a rebuild may have put a higher one there
    /// (J4-e).
    #[cold]
    fn took_from_above(&self, cx: &Cx, zone: &Zone, pfn: Pfn) {
        let why = format!(
            "pfn {pfn:#x} of zone {} serves a request whose highest zone is below: the zoneref was taken \
             before a rebuild put that zone in its place.",
            zone.idx()
        );
        let title = "unmovable page from ZONE_MOVABLE";
        self.find(cx, crate::oracle::FindingKind::UnmovableInMovable, title, &[why]);
    }

    /// The zoneref behind `position`; if that was the array's last entry, it again (null).
    #[inline]
    fn next_zoneref<const R: bool>(
        &self,
        cx: &Cx,
        zonelist: &Zonelist,
        position: usize,
        ac: &AllocContext<'_>,
    ) -> usize {
        if zonelist.is_end(position) {
            return position;
        }
        let mask = ac.nodemask.get();
        self.next_zones_zonelist::<R>(cx, zonelist, position + 1, ac.highest_zoneidx, mask)
    }

    #[inline]
    fn is_cpuset_hurdle(&self, cx: &Cx, zone: &Zone, gfp: Gfp, flags: AllocFlags) -> bool {
        flags.contains(AllocFlags::CPUSET)
            && self.cpusets_enabled()
            && !self.cpuset_zone_allowed(cx, zone, gfp)
    }

    /// Steps 4 and 5 of B.3: the watermark that the flags name, or none at all.
    #[inline]
    fn zone_passes(&self, zone: &Zone, order: u8, flags: AllocFlags, highest: ZoneIdx) -> bool {
        if self.rules.below_high && !zone.has_flag(zone_flag::BELOW_HIGH) {
            if self.zone_watermark_fast(zone, order, Wmark::High, highest, flags) {
                return true;
            }
            zone.set_flag(zone_flag::BELOW_HIGH);
        }
        self.zone_watermark_fast(zone, order, flags.wmark(), highest, flags)
            || flags.contains(AllocFlags::NO_WATERMARKS)
    }
}
