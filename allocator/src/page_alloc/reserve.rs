//! The OOM step and the rights to the reserve.
//!
//! **What.** `__alloc_pages_may_oom` (O1 to O5, docs/kernel/slow-path.md#b9), `gfp_to_alloc_flags`,
//! `__gfp_pfmemalloc_flags`, the exit of victims (S19c), the highatomic reserve (A.5).

use crate::gfp::{AllocFlags, Gfp, MIGRATE_PCPTYPES, MigrateType};
use crate::ids::{PAGE_ALLOC_COSTLY_ORDER, PAGEBLOCK_NR_PAGES, Pfn, ZoneIdx};
use crate::oom::OomControl;
use crate::page_alloc::AllocContext;
use crate::page_alloc::slow::Request;
use crate::policy::release::{HighatomicLimit, VictimExit};
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, count, pf};
use crate::sync::atomic::Ordering;
use crate::sync::{ObjId, touched};
use crate::zone::Zone;
use crate::zone::frame::{FrameKind, FrameState};

impl Kernel {
    /// S19b. Returns a page, and whether there was progress.
    pub fn may_oom<'a>(
        &'a self,
        cx: &Cx,
        req: &Request<'a>,
        ac: &AllocContext<'a>,
    ) -> (Option<Pfn>, bool) {
        let (gfp, order) = (req.gfp, req.order);
        // O1: somebody else is killing already; that counts as progress.
        let locked = self.oom.lock.try_lock();
        self.point_event(cx, Point::O1Trylock, [u64::from(locked.is_some()), 0, 0]);
        let Some(guard) = locked else {
            self.sleep_ticks_in_allocator(cx, 1);
            return (None, true);
        };
        // O2: at the high marks, to catch a parallel kill's pages; without reclaim, within the
        // cpuset, with the same ac.
        let last_gfp = (gfp | Gfp::HARDWALL) & !Gfp::DIRECT_RECLAIM;
        let flags = AllocFlags::WMARK_HIGH | AllocFlags::CPUSET;
        let page = self.get_page_from_freelist(cx, last_gfp, order, flags, ac);
        self.look(cx, req);
        self.point_event(cx, Point::O2LastTry, [u64::from(page.is_some()), 0, 0]);
        let mut result = (page, false);
        // O3: requests for which nobody is killed.
        let spares = cx.task.has(pf::DUMPCORE)
            || order > PAGE_ALLOC_COSTLY_ORDER
            || gfp.intersects(Gfp::RETRY_MAYFAIL | Gfp::THISNODE)
            || ac.highest_zoneidx < ZoneIdx::Normal;
        if page.is_none() && !spares {
            // O4
            let mut oc = OomControl::for_request(req, ac);
            if self.out_of_memory(cx, &mut oc) || gfp.contains(Gfp::NOFAIL) {
                result.1 = true;
                if gfp.contains(Gfp::NOFAIL) {
                    let all = AllocFlags::NO_WATERMARKS;
                    for flags in [all | AllocFlags::CPUSET, all] {
                        result.0 = result
                            .0
                            .or_else(|| self.get_page_from_freelist(cx, gfp, order, flags, ac));
                    }
                }
            }
        }
        // O5
        drop(guard);
        touched(ObjId::of(&self.oom.lock));
        self.point(cx, Point::O5Unlock);
        result
    }

    /// S2 (`gfp_to_alloc_flags`).
    pub fn gfp_to_alloc_flags(&self, cx: &Cx, gfp: Gfp, order: u8) -> AllocFlags {
        let is_rt = cx.task.has(pf::RT);
        crate::gfp::gfp_to_alloc_flags(&self.policy, gfp, order, is_rt, cx.in_interrupt())
    }

    /// S9 (`__gfp_pfmemalloc_flags`): what the task may take of the reserves.
    pub fn reserve_flags(&self, cx: &Cx, gfp: Gfp) -> AllocFlags {
        let rights = crate::gfp::ReserveRights {
            in_interrupt: cx.in_interrupt(),
            in_softirq: false,
            pf_memalloc: cx.task.has(pf::MEMALLOC),
            group_victim: cx.task.process.is_oom_victim(),
            tif_memdie: cx.task.has(pf::TIF_MEMDIE),
        };
        crate::gfp::pfmemalloc_flags(self.policy.reserves, gfp, rights)
    }

    /// S9: reserve flags replace the others; `half-or` adds them instead.
    pub fn with_reserve_flags(
        &self,
        gfp: Gfp,
        flags: AllocFlags,
        reserve: AllocFlags,
    ) -> AllocFlags {
        crate::gfp::apply_reserve_flags(&self.policy, gfp, flags, reserve)
    }

    /// S19c: a victim that got nothing from its reserve leaves the loop. Whose mark counts and
    /// which flag is looked for follows the `reserves` axis; the form of the test the release.
    pub fn victim_exit(&self, cx: &Cx, gfp: Gfp, flags: AllocFlags) -> bool {
        let victim = cx.task.process.is_oom_victim();
        let right = self.policy.reserves.victim_right(victim, cx.task.has(pf::TIF_MEMDIE));
        let nomemalloc = gfp.contains(Gfp::NOMEMALLOC);
        !right.is_empty()
            && match self.rules.victim_exit {
                VictimExit::BeforeReclaim => false,
                VictimExit::Memdie => true,
                // `==` in the kernel, but half-or needs `&` (ARCHITECTURE.md#what-a-variant-is).
                VictimExit::MemdieNoWatermarks
                | VictimExit::FlagsEqualOom
                | VictimExit::FlagsHoldOom => flags.contains(right) || nomemalloc,
            }
    }

    /// After a successful high-order atomic request: makes the block's pageblock HIGHATOMIC while
    /// the reserve is below its limit (`reserve_highatomic_pageblock`,
    /// docs/kernel/zones-and-buddy.md#a5).
    #[cold]
    pub fn maybe_reserve_highatomic(
        &self,
        cx: &Cx,
        zone: &Zone,
        pfn: Pfn,
        order: u8,
        flags: AllocFlags,
    ) {
        if order == 0 || !flags.intersects(self.rules.highatomic_flags) {
            return;
        }
        let block = u64::from(PAGEBLOCK_NR_PAGES);
        let percent = zone.managed_pages() / 100;
        let limit = match self.policy.release.highatomic_limit() {
            HighatomicLimit::PercentPlusBlock => percent + block,
            HighatomicLimit::PercentOrNone if percent < block => 0,
            HighatomicLimit::PercentOrNone => percent.next_multiple_of(block),
        };
        let reserved = || zone.nr_reserved_highatomic.load(Ordering::Relaxed);
        if reserved() >= limit {
            return;
        }
        let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        let block = self.pageblocks.of(pfn);
        if reserved() >= limit || block.migratetype() as usize >= MIGRATE_PCPTYPES {
            return;
        }
        let first = Pfn(pfn.0 & !(PAGEBLOCK_NR_PAGES - 1));
        self.pageblocks.set_migratetype(first, MigrateType::HighAtomic);
        let moved =
            self.buddy(zone).move_freepages_block(&mut locked, first, MigrateType::HighAtomic);
        let free = zone.nr_free_highatomic.load(Ordering::Relaxed) + i64::from(moved);
        zone.nr_free_highatomic.store(free, Ordering::Relaxed);
        zone.nr_reserved_highatomic
            .store(reserved() + u64::from(PAGEBLOCK_NR_PAGES), Ordering::Relaxed);
    }

    /// Gives a HIGHATOMIC pageblock with free pages back (`unreserve_highatomic_pageblock`); true
    /// if pages were moved.
    pub fn unreserve_highatomic_pageblock(
        &self,
        cx: &Cx,
        ac: &AllocContext<'_>,
        force: bool,
    ) -> bool {
        let zonelist = ac.zonelist.get();
        let mut at = 0;
        while !zonelist.is_end(at) {
            let Some(id) = zonelist.zone(at) else { return false };
            at += 1;
            if id.zone_idx() > ac.highest_zoneidx || !ac.nodemask.get().has(id.node()) {
                continue;
            }
            let zone = &self.zones[id.index()];
            let reserved = zone.nr_reserved_highatomic.load(Ordering::Relaxed);
            if reserved == 0 || !force && reserved <= u64::from(PAGEBLOCK_NR_PAGES) {
                continue;
            }
            if self.unreserve_in(cx, zone, ac.migratetype) {
                return true;
            }
        }
        false
    }

    fn unreserve_in(&self, cx: &Cx, zone: &Zone, to: MigrateType) -> bool {
        let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        let head = zone.free_area.iter().find_map(|a| a.list(MigrateType::HighAtomic).head());
        let Some(pfn) = head else { return false };
        debug_assert_eq!(self.frames.get(pfn).state().kind(), FrameKind::Buddy);
        let first = Pfn(pfn.0 & !(PAGEBLOCK_NR_PAGES - 1));
        if self.pageblocks.of(first).migratetype() != MigrateType::HighAtomic {
            return false;
        }
        self.pageblocks.set_migratetype(first, to);
        let moved = self.buddy(zone).move_freepages_block(&mut locked, first, to);
        let free = zone.nr_free_highatomic.load(Ordering::Relaxed) - i64::from(moved);
        zone.nr_free_highatomic.store(free, Ordering::Relaxed);
        let reserved = zone.nr_reserved_highatomic.load(Ordering::Relaxed);
        let left = reserved.saturating_sub(u64::from(PAGEBLOCK_NR_PAGES));
        zone.nr_reserved_highatomic.store(left, Ordering::Relaxed);
        moved > 0
    }

    /// The state word of a frame, for tests and scanners.
    pub fn frame_state(&self, pfn: Pfn) -> FrameState {
        self.frames.get(pfn).state()
    }
}
