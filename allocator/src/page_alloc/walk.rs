//! The walk over a zonelist, zone by zone.
//!
//! **What.** `first_zones_zonelist`, `next_zones_zonelist`, `get_page_from_freelist` with the tests
//! of a zone (docs/kernel/requests.md#b3).
//!
//! **Why the first zone apart.** Nearly all requests end there: it is inlined into the fast path,
//! and the walk over the rest, which keeps more in mind, is not.
//!
//! **Differs.** No dirty limits, no node_reclaim, no deferred pages.

use crate::gfp::{AllocFlags, Gfp, MigrateType};
use crate::ids::{NodeId, Pfn, ZoneId, ZoneIdx};
use crate::page_alloc::rmqueue::Rmqueue;
use crate::page_alloc::{AllocContext, Nodemask};
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::zone::{Wmark, Zone, zone_flag};
use crate::zonelist::Zonelist;

/// What a walk looks for, and by which rules.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    /// The zonelist walked.
    pub zonelist: &'a Zonelist,
    /// The nodemask in force.
    pub nodemask: Nodemask<'a>,
    /// The request's flags.
    pub gfp: Gfp,
    /// Order of the block.
    pub order: u8,
    /// How zones are tested.
    pub flags: AllocFlags,
    /// Type wanted.
    pub migratetype: MigrateType,
    /// Highest zone allowed.
    pub highest_zoneidx: ZoneIdx,
}

/// What came of a look at a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A block.
    Got(Pfn),
    /// Nothing: on to the next zone.
    Next,
    /// ALLOC_NOFRAGMENT ends where the preferred node does: from the beginning, without it.
    StartOver,
}

impl Kernel {
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

    /// Position of the first zoneref that a walk may use.
    #[inline]
    pub(super) fn first_zoneref<const R: bool>(&self, cx: &Cx, walk: &Walk<'_>) -> usize {
        self.first_zones_zonelist::<R>(cx, walk.zonelist, walk.highest_zoneidx, walk.nodemask)
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
    /// flags let it (`get_page_from_freelist`, docs/kernel/requests.md#b3). The slow path's: always with
    /// race points, which cost nothing beside it.
    #[inline(never)]
    pub fn get_page_from_freelist(
        &self,
        cx: &Cx,
        gfp: Gfp,
        order: u8,
        flags: AllocFlags,
        ac: &AllocContext<'_>,
    ) -> Option<Pfn> {
        let walk = Walk {
            zonelist: ac.zonelist.get(),
            nodemask: ac.nodemask.get(),
            gfp,
            order,
            flags,
            migratetype: ac.migratetype,
            highest_zoneidx: ac.highest_zoneidx,
        };
        self.walk_from::<true>(cx, walk, ac.preferred_zoneref.get())
    }

    /// The walk of the fast path behind its first zone, which had nothing.
    #[cold]
    #[inline(never)]
    pub(super) fn walk_behind<const R: bool>(
        &self,
        cx: &Cx,
        walk: &Walk<'_>,
        preferred: usize,
        first: NodeId,
    ) -> Option<Pfn> {
        let mut walk = *walk;
        let behind = self.next_zoneref::<R>(cx, preferred, &walk);
        match self.walk_on::<R>(cx, &walk, behind, Some(first)) {
            Look::Got(pfn) => Some(pfn),
            Look::Next | Look::StartOver if walk.flags.contains(AllocFlags::NOFRAGMENT) => {
                walk.flags.remove(AllocFlags::NOFRAGMENT);
                self.walk_from::<R>(cx, walk, preferred)
            }
            Look::Next | Look::StartOver => None,
        }
    }

    /// A walk from the preferred zoneref on, and once more without ALLOC_NOFRAGMENT.
    fn walk_from<const R: bool>(
        &self,
        cx: &Cx,
        mut walk: Walk<'_>,
        preferred: usize,
    ) -> Option<Pfn> {
        loop {
            if let Look::Got(pfn) = self.walk_on::<R>(cx, &walk, preferred, None) {
                return Some(pfn);
            }
            if !walk.flags.contains(AllocFlags::NOFRAGMENT) {
                return None;
            }
            walk.flags.remove(AllocFlags::NOFRAGMENT);
        }
    }

    /// One pass from `position` to the end; `first`: node of the zone that it began with.
    fn walk_on<const R: bool>(
        &self,
        cx: &Cx,
        walk: &Walk<'_>,
        mut position: usize,
        mut first: Option<NodeId>,
    ) -> Look {
        // The zone at the preferred zoneref is not filtered again (docs/kernel/zonelists.md#f1).
        while let Some(id) = walk.zonelist.zone(position) {
            let first = *first.get_or_insert(id.node());
            match self.look_at_zone::<R>(cx, id, first, walk) {
                Look::Next => position = self.next_zoneref::<R>(cx, position, walk),
                end @ (Look::Got(_) | Look::StartOver) => return end,
            }
        }
        Look::Next
    }

    /// Tests a zone and takes a block from it; `first` is the node of the walk's first zone.
    #[inline(always)]
    pub(super) fn look_at_zone<const R: bool>(
        &self,
        cx: &Cx,
        id: ZoneId,
        first: NodeId,
        walk: &Walk<'_>,
    ) -> Look {
        let zone = &self.zones[id.index()];
        let &Walk { gfp, order, flags, .. } = walk;
        if R {
            // The slow path's looks would fill the ring in a run that is not instrumented.
            if self.instrumented {
                cx.event(Point::B3FastZone, [u64::from(id.0), 0, 0]);
            }
            self.point(cx, Point::B3FastZone);
        }
        if self.is_cpuset_hurdle(cx, zone, gfp, flags) {
            return Look::Next;
        }
        if flags.contains(AllocFlags::NOFRAGMENT)
            && id.node() != first
            && self.nr_online_nodes() > 1
        {
            return Look::StartOver;
        }
        if !self.zone_passes(zone, order, flags, walk.highest_zoneidx) {
            return Look::Next;
        }
        let req = Rmqueue {
            order,
            migratetype: walk.migratetype,
            alloc_flags: flags,
            is_preferred: id.node() == first,
        };
        let Some(pfn) = self.rmqueue::<R>(cx, zone, req) else { return Look::Next };
        if id.zone_idx() > walk.highest_zoneidx {
            self.took_from_above(cx, zone, pfn);
        }
        if order > 0 && flags.intersects(self.rules.highatomic_flags) {
            self.maybe_reserve_highatomic(cx, zone, pfn, order, flags);
        }
        // The fast path's marks are above the reserve.
        if R && flags.wmark() == Wmark::Min {
            self.note_reserve(cx, zone, gfp, flags, order);
        }
        Look::Got(pfn)
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
    fn next_zoneref<const R: bool>(&self, cx: &Cx, position: usize, walk: &Walk<'_>) -> usize {
        if walk.zonelist.is_end(position) {
            return position;
        }
        let &Walk { zonelist, nodemask, highest_zoneidx, .. } = walk;
        self.next_zones_zonelist::<R>(cx, zonelist, position + 1, highest_zoneidx, nodemask)
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
        self.passes_wmark(zone, order, flags, highest)
    }

    /// The test against the mark that the flags name.
    #[inline(never)]
    fn passes_wmark(&self, zone: &Zone, order: u8, flags: AllocFlags, highest: ZoneIdx) -> bool {
        self.zone_watermark_fast(zone, order, flags.wmark(), highest, flags)
            || flags.contains(AllocFlags::NO_WATERMARKS)
    }
}
