//! Giving blocks back: to the pcplist of this CPU, or straight to the buddy.
//!
//! **What.** `__free_pages`, `free_unref_page` (6.14+ `free_frozen_pages`), its commit,
//! `free_pcppages_bulk`, `free_one_page` (docs/kernel/pcplists.md#a6, #a7). The steps P1 to P5 are
//! race 5: P1 reads the pageblock's type without any lock, and by P4 it may be stale.

use crate::gfp::{MIGRATE_PCPTYPES, MigrateType};
use crate::ids::Pfn;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, count};
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role, SectionHold, add_pages};
use crate::zone::buddy::{FreeTo, FreedBlocks, Run};
use crate::zone::frame::{FrameKind, FrameState, flag};
use crate::zone::pcp::{Pcp, PcpLists, PcpRules};
use crate::zone::{Zone, zone_flag};

impl Kernel {
    /// Drops a reference to a block and frees it if it was the last (`put_page`). Returns true if
    /// it was freed.
    pub fn put_page(&self, cx: &Cx, pfn: Pfn) -> bool {
        let frame = self.frames.get(pfn);
        let order = frame.state().order();
        let last = frame.put_testzero();
        if last {
            if frame.state().has(flag::LRU) {
                self.lru_del(cx, pfn);
            }
            self.free_unref_page(cx, pfn, order);
        }
        last
    }

    /// Frees a block that the caller alone holds (`__free_pages`).
    #[inline]
    pub fn free_pages(&self, cx: &Cx, pfn: Pfn, order: u8) {
        debug_assert_eq!(self.frames.get(pfn).state().kind(), FrameKind::Allocated, "{pfn:#x}");
        debug_assert_eq!(self.frames.get(pfn).state().order(), order, "{pfn:#x}");
        self.free_unref_page(cx, pfn, order);
    }

    /// Frees a block without references (`free_unref_page`).
    #[inline]
    pub fn free_unref_page(&self, cx: &Cx, pfn: Pfn, order: u8) {
        if self.instrumented {
            self.allocator_enter(cx);
            let _role = As::role_if_none(Role::Free);
            self.free_unref_page_inner::<true>(cx, pfn, order);
            self.allocator_leave(cx);
        } else {
            self.free_unref_page_inner::<false>(cx, pfn, order);
        }
    }

    /// What a block must be when it is given back (`free_pages_prepare`, `bad_page`): allocated,
    /// of this order, on no list, with no reference but the caller's.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    fn check_free_page(&self, pfn: Pfn, order: u8) {
        if !cfg!(debug_assertions) {
            return;
        }
        let state = self.frames.get(pfn).state();
        assert_eq!(state.kind(), FrameKind::Allocated, "pfn {pfn:#x} is freed and not in use");
        assert_eq!(state.order(), order, "pfn {pfn:#x} is freed with another order");
        assert!(state.refs() <= 1, "pfn {pfn:#x} is freed with {} references", state.refs());
        assert!(!state.has(flag::LRU), "pfn {pfn:#x} is freed and on an LRU list");
        assert!(!state.has(flag::LRU_BATCH), "pfn {pfn:#x} is freed and in an LRU batch");
        #[cfg(debug_assertions)]
        assert!(!self.frames.is_on_a_list(pfn), "pfn {pfn:#x} is freed and on a list");
    }

    #[inline]
    fn free_unref_page_inner<const R: bool>(&self, cx: &Cx, pfn: Pfn, order: u8) {
        self.check_free_page(pfn, order);
        if R {
            // In transit: off all lists, no reference.
            self.frames.get(pfn).set_state(FrameState::new(FrameKind::None, order));
        }
        // P1: no lock. By the time that the block reaches a list this may be stale.
        let block = self.pageblocks.of(pfn);
        let zone =
            &self.zones[block.zone().expect("a frame that was allocated has a zone").index()];
        let mut migratetype = block.migratetype();
        if R {
            self.point_event(cx, Point::P1Type, [u64::from(pfn.0), migratetype as u64, 0]);
        }
        if migratetype as usize >= MIGRATE_PCPTYPES {
            if migratetype == MigrateType::Isolate {
                return self.free_one_page(cx, zone, pfn, order, migratetype);
            }
            // HIGHATOMIC pages go onto the MOVABLE list.
            migratetype = MigrateType::Movable;
        }
        let Some(pindex) = self.pcp_rules.pindex(order, migratetype) else {
            return self.free_one_page(cx, zone, pfn, order, block.migratetype());
        };
        let pcp = &zone.pcp[cx.cpu().index()];
        if R {
            self.point(cx, Point::P2Enter);
        }
        let Some(mut lists) = self.pcp_enter(cx, zone, pcp) else {
            cx.event(Point::PfTrylock, [u64::from(pfn.0), 0, 0]);
            return self.free_one_page(cx, zone, pfn, order, block.migratetype());
        };
        let held = R.then(|| SectionHold::entered(pcp));
        let left =
            self.free_commit::<R>(cx, zone, pcp, &mut lists, pfn, order, pindex, migratetype);
        pcp.check_count(&lists);
        drop(lists);
        drop(held);
        if R {
            self.point(cx, Point::P5Leave);
        }
        if left > 0 {
            self.free_further_batches(cx, zone, pcp, left, pindex);
        }
    }

    /// What a free beyond high has still to give back after its first batch: one section for each
    /// batch, until somebody else has it (`free_frozen_page_commit` from 91e691296646 on).
    ///
    /// An explored schedule can switch before the second batch (P5) and not again between later
    /// ones: small worlds free hundreds of batches, and a point for each hid J2g-exit behind 850,000
    /// schedules.
    #[cold]
    #[inline(never)]
    fn free_further_batches(&self, cx: &Cx, zone: &Zone, pcp: &Pcp, mut left: u32, pindex: usize) {
        let batch = pcp.batch.load(Ordering::Relaxed).max(1);
        while left > 0 {
            let Some(mut lists) = self.pcp_enter(cx, zone, pcp) else { break };
            let held = SectionHold::entered(pcp);
            if pcp.count() == 0 {
                break;
            }
            let step = left.min(batch);
            self.free_pcppages_bulk(cx, zone, pcp, &mut lists, step, pindex);
            left -= step;
            drop(lists);
            drop(held);
        }
        self.clear_below_high(zone);
    }

    /// P4 (`free_unref_page_commit`). Returns the pages that are still to be given back after the
    /// section was left.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "all of it is at hand in registers")]
    fn free_commit<const R: bool>(
        &self,
        cx: &Cx,
        zone: &Zone,
        pcp: &Pcp,
        lists: &mut PcpLists,
        pfn: Pfn,
        order: u8,
        pindex: usize,
        migratetype: MigrateType,
    ) -> u32 {
        let rules = &self.pcp_rules;
        let pages = 1u32 << order;
        if rules.auto_tune {
            lists.alloc_factor >>= 1;
        }
        let frame = lists.list(pindex).push_head(&self.frames, pfn);
        frame.set_state(FrameState::on_pcp(order, migratetype));
        let _mark = R.then(|| cx.mark_pcp_section(zone.id));
        if R {
            self.point_event(cx, Point::P4Add, [u64::from(pfn.0), 0, 0]);
        }
        pcp.add_count(pages as i32);
        lists.events.pgfree += u64::from(pages);
        // A burst of frees of orders 1 to 3: pages that others would wait for (5.19+).
        let free_high = if rules.auto_tune {
            let burst = pcp.is_burst(lists, rules, order);
            let batch = pcp.batch.load(Ordering::Relaxed);
            if lists.free_count < batch << crate::zone::pcp::PCP_BATCH_SCALE_MAX {
                lists.free_count += pages;
            }
            burst
        } else {
            rules.free_high && lists.free_factor > 0 && (1..=3).contains(&order)
        };
        let flags = zone_flag::RECLAIM_ACTIVE | zone_flag::BELOW_HIGH;
        if !R && pcp.is_below_high(rules, free_high, zone.has_flag(flags)) {
            return 0;
        }
        self.free_against_high::<R>(cx, zone, pcp, lists, pindex, free_high)
    }

    /// The end of P4: tunes high, and gives pages back if there are more on the lists: all of them,
    /// or the first batch. Returns what is left of them.
    #[cold]
    #[inline(never)]
    fn free_against_high<const R: bool>(
        &self,
        cx: &Cx,
        zone: &Zone,
        pcp: &Pcp,
        lists: &mut PcpLists,
        pindex: usize,
        free_high: bool,
    ) -> u32 {
        let rules = &self.pcp_rules;
        let high = pcp.high_for_free(
            lists,
            rules,
            free_high,
            zone.has_flag(zone_flag::RECLAIM_ACTIVE),
            zone.has_flag(zone_flag::BELOW_HIGH),
        );
        if R {
            self.point_event(cx, Point::P4Count, [u64::from(pcp.count()), u64::from(high), 0]);
        }
        if pcp.count() < high {
            return 0;
        }
        let spill = pcp.spill_pages(lists, rules, high, free_high);
        let batch = pcp.batch.load(Ordering::Relaxed).max(1);
        let step = if rules.frees_in_batches { spill.min(batch) } else { spill };
        self.free_pcppages_bulk(cx, zone, pcp, lists, step, pindex);
        if step == spill || pcp.count() == 0 {
            self.clear_below_high(zone);
            return 0;
        }
        spill - step
    }

    /// After a bulk free: is the zone above its high mark again (6.7+)?
    fn clear_below_high(&self, zone: &Zone) {
        if zone.has_flag(zone_flag::BELOW_HIGH)
            && zone.free_pages() > zone.wmark_pages(crate::zone::Wmark::High)
        {
            zone.clear_flag(zone_flag::BELOW_HIGH);
        }
    }

    /// Gives `pages` pages from the tails of the lists back to the buddy.
    #[cold]
    pub fn free_pcppages_bulk(
        &self,
        cx: &Cx,
        zone: &Zone,
        pcp: &Pcp,
        lists: &mut PcpLists,
        pages: u32,
        pindex: usize,
    ) {
        let pages = pages.min(pcp.count());
        if pages == 0 {
            return;
        }
        let _role = As::role_if_none(Role::Free);
        let (freed, blocks) = if self.pcp_rules.bulk_under_lock {
            self.bulk_from(cx, zone, lists, pages, pindex)
        } else {
            self.bulk_collect(cx, zone, lists, pages)
        };
        pcp.add_count(-(freed as i32));
        pcp.check_count(lists);
        lists.events.drains += 1;
        lists.events.drain_pages += u64::from(freed);
        lists.events.drain_blocks += u64::from(blocks);
    }

    /// 5.18+: under zone->lock throughout, list by list, the one just freed to first. Returns the
    /// pages and blocks freed.
    fn bulk_from(
        &self,
        cx: &Cx,
        zone: &Zone,
        lists: &PcpLists,
        pages: u32,
        first: usize,
    ) -> (u32, u32) {
        let nr_lists = self.pcp_rules.nr_lists();
        let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        let buddy = self.buddy(zone);
        let rereads = self.rereads_type(zone);
        let (mut left, mut taken, mut blocks) = (pages, 0, 0);
        for pindex in (first..nr_lists).chain(0..first) {
            let order = PcpRules::order_of(pindex);
            let mut freed = FreedBlocks::default();
            let mut run: Option<Run> = None;
            while left > 0 {
                let Some((pfn, frame)) = lists.list(pindex).pop_tail(&self.frames) else { break };
                let cached = frame.state().cached_type();
                let migratetype = self.type_to_free_to(pfn, cached, rereads);
                freed.add(migratetype);
                run = run
                    .and_then(|run| {
                        run.and(pfn, migratetype).or_else(|| {
                            buddy.merge_run(&mut locked, run);
                            None
                        })
                    })
                    .or_else(|| Some(Run::new(pfn, order, migratetype)));
                left = left.saturating_sub(1 << order);
                blocks += 1;
                taken += 1 << order;
            }
            if let Some(run) = run {
                buddy.merge_run(&mut locked, run);
            }
            buddy.account_blocks(&mut locked, cx.cpu(), order, freed);
            if left == 0 {
                break;
            }
        }
        add_pages(u64::from(taken));
        (taken, blocks)
    }

    /// Up to 5.17: collected round robin before zone->lock is taken, fuller lists giving more.
    /// Returns the pages and blocks freed.
    fn bulk_collect(&self, cx: &Cx, zone: &Zone, lists: &PcpLists, pages: u32) -> (u32, u32) {
        let nr_lists = self.pcp_rules.nr_lists();
        let collected = crate::zone::frame::FrameList::default();
        let (mut pindex, mut batch_free, mut freed) = (0, 0usize, 0);
        while freed < pages && (0..nr_lists).any(|i| !lists.list(i).is_empty()) {
            loop {
                batch_free += 1;
                pindex = (pindex + 1) % nr_lists;
                if !lists.list(pindex).is_empty() {
                    break;
                }
            }
            // The only list with anything left gives all the rest.
            let mut blocks = if batch_free >= nr_lists { usize::MAX } else { batch_free };
            batch_free = 0;
            while blocks > 0 && freed < pages {
                let Some((pfn, _)) = lists.list(pindex).pop_tail(&self.frames) else { break };
                freed += 1 << PcpRules::order_of(pindex);
                collected.push_tail(&self.frames, pfn);
                blocks -= 1;
            }
        }
        let mut freed_blocks = 0;
        let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        while let Some((pfn, frame)) = collected.pop_head(&self.frames) {
            let state = frame.state();
            self.free_under_lock(cx, zone, &mut locked, pfn, state.order(), state.cached_type());
            freed_blocks += 1;
        }
        add_pages(u64::from(freed));
        (freed, freed_blocks)
    }

    /// Does whoever holds the zone's lock have to read a pageblock's type again before a free?
    #[inline]
    fn rereads_type(&self, zone: &Zone) -> bool {
        self.pcp_rules.always_rereads || zone.nr_isolate_pageblock.load(Ordering::Relaxed) != 0
    }

    /// The type to whose list a block goes, under the zone's lock; `cached` was read without it.
    #[inline]
    fn type_to_free_to(&self, pfn: Pfn, cached: MigrateType, rereads: bool) -> MigrateType {
        if rereads || cached == MigrateType::Isolate {
            self.pageblocks.of(pfn).migratetype()
        } else {
            cached
        }
    }

    /// Merges one block into the free lists; the type is read again under the lock if the release
    /// or an isolated pageblock asks for it.
    pub fn free_under_lock(
        &self,
        cx: &Cx,
        zone: &Zone,
        locked: &mut crate::zone::ZoneLocked,
        pfn: Pfn,
        order: u8,
        cached: MigrateType,
    ) {
        let migratetype = self.type_to_free_to(pfn, cached, self.rereads_type(zone));
        self.buddy(zone).free_one_page(locked, cx.cpu(), pfn, order, migratetype, FreeTo::Head);
    }

    /// Frees a block straight to the buddy (`free_one_page`).
    #[cold]
    pub fn free_one_page(
        &self,
        cx: &Cx,
        zone: &Zone,
        pfn: Pfn,
        order: u8,
        migratetype: MigrateType,
    ) {
        let _role = As::role_if_none(Role::Free);
        let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        self.free_under_lock(cx, zone, &mut locked, pfn, order, migratetype);
        add_pages(1 << order);
        drop(locked);
        let vm = &self.cpus[cx.cpu().index()].vm;
        vm.pgfree.fetch_add(1 << order, Ordering::Relaxed);
        cx.event(Point::PrFree, [u64::from(pfn.0), migratetype as u64, 0]);
    }
}
