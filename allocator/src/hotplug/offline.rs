//! offline_pages: a memory block goes away.
//!
//! **What.** docs/kernel/hotplug.md#g3 and #g4, steps L0 to L12, by the axis `offline`.
//!
//! **Why the loop.** Pages of the block are migrated away until the final test finds all of them
//! free and isolated. What the loop does about pages on pcplists is change 5.
//!
//! **Differs.** The sysfs layer is a function call. The notifiers are the calls that they lead to.

use crate::hotplug::{BlockId, HotplugError, OfflineBlock, OfflineStats};
use crate::ids::{MAX_PAGE_ORDER, PAGEBLOCK_NR_PAGES, Pfn};
use crate::oracle::FindingKind;
use crate::policy::offline::FailedCheck;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, count};
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role};
use crate::zone::Zone;
use crate::zone::buddy::FreeTo;
use crate::zone::frame::{FrameKind, FrameState, flag};

/// What the loop remembers between passes, for the oracle.
#[derive(Debug, Default)]
struct Strays {
    /// The page that failed the last test while on a pcplist with all sections closed.
    last: Option<Pfn>,
}

/// Is a page in use one that can be migrated: on the LRU, or a driver's that can move it?
fn can_move(state: FrameState) -> bool {
    state.has(flag::LRU) || state.has(flag::MOVABLE_OPS)
}

impl Kernel {
    /// Takes a memory block offline.
    ///
    /// # Errors
    /// The kernel's, with everything undone.
    pub fn offline_pages(&self, cx: &Cx, block: BlockId) -> Result<OfflineStats, HotplugError> {
        let mut stats = OfflineStats::default();
        self.offline_pages_noting(cx, block, &mut stats).map(|()| stats)
    }

    /// As [`Kernel::offline_pages`]; `stats` says what was done, also by an offline that failed.
    ///
    /// # Errors
    /// As [`Kernel::offline_pages`].
    pub fn offline_pages_noting(
        &self,
        cx: &Cx,
        block: BlockId,
        stats: &mut OfflineStats,
    ) -> Result<(), HotplugError> {
        let _role = As::role(Role::Writer);
        let _hotplug = self.mem_hotplug_lock.lock();
        let (first, pages) = self.block_range(block);
        let zone = self.online_zone_of(block)?;
        let disabled = self.policy.offline.disables_pcp().then(|| self.zone_pcp_disable(cx, zone));
        let lru_disabled = self.policy.release.offline_disables_lru_cache();
        if lru_disabled {
            self.lru_cache_disable(cx);
        }
        stats.drains = u32::from(disabled.is_some());
        let isolated = self.start_isolate_page_range(cx, zone, first, pages, disabled.is_none());
        let result = isolated.and_then(|drains| {
            stats.drains += drains;
            let done = self.offline_loop(cx, zone, first, pages, stats);
            if done.is_err() {
                self.undo_isolate_page_range(cx, zone, first, pages);
                self.point(cx, Point::LUndo);
            }
            done
        });
        if result.is_ok() {
            self.take_range(cx, zone, first, pages);
        }
        if lru_disabled {
            self.lru_cache_enable();
        }
        if let Some(disabled) = disabled {
            self.point(cx, Point::L11PcpEnable);
            self.zone_pcp_enable(cx, zone, disabled);
        }
        result?;
        self.offline_accounts(cx, zone, block);
        Ok(())
    }

    fn online_zone_of(&self, block: BlockId) -> Result<&Zone, HotplugError> {
        if self.hotplug.offline.lock().iter().any(|o| o.block == block) {
            return Err(HotplugError::SameState(block.0));
        }
        let (first, pages) = self.block_range(block);
        let ranges = self.managed_ranges.lock();
        let range =
            ranges.iter().find(|r| r.first.0 <= first.0 && first.0 + pages <= r.first.0 + r.pages);
        range.map(|r| &self.zones[r.zone.index()]).ok_or(HotplugError::Holes(block.0))
    }

    /// L5 to L8.
    fn offline_loop(
        &self,
        cx: &Cx,
        zone: &Zone,
        first: Pfn,
        pages: u32,
        stats: &mut OfflineStats,
    ) -> Result<(), HotplugError> {
        let policy = self.policy.offline;
        let mut strays = Strays::default();
        let mut migrated_since_drain = false;
        loop {
            stats.passes += 1;
            let mut from = first.0;
            loop {
                // L5a: any signal, not only fatal ones.
                let after = self.hotplug.signal_after_passes.load(Ordering::Relaxed);
                let signalled = after > 0 && stats.passes > after
                    || cx.task.process.has_signal(self.clock.now())
                    || self.clock.is_aborted();
                if signalled {
                    self.point(cx, Point::L5aSignal);
                    return Err(HotplugError::Signal);
                }
                // L5b
                if !self.policy.release.offline_disables_lru_cache() {
                    self.lru_add_drain_all(cx);
                }
                if policy.drains_before_scan(std::mem::take(&mut migrated_since_drain)) {
                    self.point(cx, Point::L5bDrain);
                    self.drain_all_pages(cx, Some(zone.id));
                    stats.drains += 1;
                }
                // L5c
                let Some(movable) = self.scan_movable_pages(Pfn(from), first.0 + pages) else {
                    break;
                };
                let failed = self.do_migrate_range(cx, movable, first.0 + pages, stats);
                migrated_since_drain = true;
                from = first.0;
                if failed {
                    // What can't be moved now is tried again, for ever; give others a chance.
                    self.clock.sleep_ticks(1);
                }
            }
            if policy.drains_before_check() {
                self.drain_all_pages(cx, Some(zone.id));
                stats.drains += 1;
            }
            // L7
            self.point(cx, Point::L7Test);
            let tested = self.test_pages_isolated(cx, zone, first, pages);
            let failing = tested.err();
            let shown = failing.map_or(0, |p| u64::from(p.0));
            cx.event(Point::L7Test, [u64::from(failing.is_none()), shown, 0]);
            let Some(pfn) = failing else { return Ok(()) };
            self.note_stray(cx, zone, pfn, &mut strays, stats);
            // L8
            match policy.after_failed_check() {
                FailedCheck::Busy => {
                    self.note_busy(cx, pfn);
                    return Err(HotplugError::Busy(pfn.0));
                }
                FailedCheck::DrainAndRetry => {
                    self.drain_all_pages(cx, Some(zone.id));
                    stats.drains += 1;
                }
                FailedCheck::Retry => {}
            }
            self.point_event(cx, Point::L8Again, [u64::from(stats.passes), 0, 0]);
            crate::sync::yield_now();
        }
    }

    /// The oracle at a failed L7: the same page twice on a pcplist, with all sections closed?
    fn note_stray(
        &self,
        cx: &Cx,
        zone: &Zone,
        pfn: Pfn,
        strays: &mut Strays,
        stats: &mut OfflineStats,
    ) {
        let on_pcp = self.frames.get(pfn).state().kind() == FrameKind::Pcp;
        let closed = zone.pcp.iter().all(|p| p.open_section().is_none());
        if !on_pcp {
            strays.last = None;
            return;
        }
        // With a section open the page may be on its way through it.
        if !closed {
            return;
        }
        stats.strays += 1;
        self.hotplug.strays.fetch_add(1, Ordering::Relaxed);
        if strays.last == Some(pfn) {
            let why = format!(
                "pfn {pfn:#x} failed test_pages_isolated twice while it was on a pcplist: it was freed \
                 there after its block had been isolated, and nothing drains it."
            );
            self.find(cx, FindingKind::StrayPage, "isolated page stranded on a pcplist", &[why]);
            strays.last = None;
        } else {
            strays.last = Some(pfn);
        }
    }

    fn note_busy(&self, cx: &Cx, pfn: Pfn) {
        if self.frames.get(pfn).state().kind() == FrameKind::Pcp {
            let why = format!(
                "pfn {pfn:#x} was on a pcplist at the final check: freed there after its block had \
                 been isolated and drained. The offline fails although the page is free."
            );
            self.find(cx, FindingKind::SpuriousEbusy, "memory offline failed: EBUSY", &[why]);
        }
    }

    /// The next page that can be moved, from `from` on (`scan_movable_pages`).
    fn scan_movable_pages(&self, from: Pfn, end: u32) -> Option<Pfn> {
        let mut at = from.0;
        while at < end {
            let state = self.frames.at(at).state();
            match state.kind() {
                FrameKind::Allocated if can_move(state) => return Some(Pfn(at)),
                FrameKind::Buddy | FrameKind::Allocated | FrameKind::Pcp => {
                    at += 1 << state.order();
                }
                FrameKind::None | FrameKind::Offline | FrameKind::Taken => at += 1,
            }
        }
        None
    }

    /// Migrates what is on the LRU in a range (`do_migrate_range`); true if any page failed.
    fn do_migrate_range(&self, cx: &Cx, from: Pfn, end: u32, stats: &mut OfflineStats) -> bool {
        let limit = self.policy.release.migrate_range_limit().unwrap_or(u32::MAX);
        let (mut at, mut tried, mut failed) = (from.0, 0, false);
        while at < end && tried < limit {
            let state = self.frames.at(at).state();
            match state.kind() {
                FrameKind::Allocated if can_move(state) => {
                    tried += 1;
                    if self.offline_migrate_page(cx, Pfn(at), state) {
                        stats.migrated += 1;
                        cx.event(Point::L5cMigrate, [u64::from(at), 0, 0]);
                    } else {
                        stats.migrate_failed += 1;
                        failed = true;
                    }
                    at += 1 << state.order();
                }
                FrameKind::Buddy | FrameKind::Allocated | FrameKind::Pcp => {
                    at += 1 << state.order();
                }
                FrameKind::None | FrameKind::Offline | FrameKind::Taken => at += 1,
            }
        }
        failed
    }

    /// L9 and L10: every block of the range leaves the ISOLATE list.
    fn take_range(&self, cx: &Cx, zone: &Zone, first: Pfn, pages: u32) {
        {
            let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
            let buddy = self.buddy(zone);
            let mut at = first.0;
            while at < first.0 + pages {
                let state = self.frames.at(at).state();
                if state.kind() == FrameKind::Buddy {
                    buddy.del_from_list(&mut locked, Pfn(at));
                    for frame in at..at + (1 << state.order()) {
                        self.frames.at(frame).set_state(FrameState::new(FrameKind::Offline, 0));
                    }
                    at += 1 << state.order();
                } else {
                    assert_eq!(state.kind(), FrameKind::Taken, "pfn {at:#x} at L9");
                    at += 1;
                }
            }
            let blocks = pages / PAGEBLOCK_NR_PAGES;
            for block in 0..blocks {
                let pfn = first.add(block * PAGEBLOCK_NR_PAGES);
                self.pageblocks.set_migratetype(pfn, crate::gfp::MigrateType::Movable);
            }
            zone.nr_isolate_pageblock.fetch_sub(blocks, Ordering::Relaxed);
        }
        self.forget_isolation(first);
        self.point(cx, Point::L9Taken);
    }

    /// L12 (docs/kernel/hotplug.md#g4, checked.md): sizes, watermarks, pcp, zonelists, N_MEMORY,
    /// cpusets, span.
    fn offline_accounts(&self, cx: &Cx, zone: &Zone, block: BlockId) {
        let pages = u64::from(self.machine.block_pages);
        self.hotplug.offline.lock().push(OfflineBlock { block, zone: zone.id });
        zone.set_sizes(zone.present_pages() - pages, zone.managed_pages() - pages);
        self.totalram_pages.fetch_sub(pages, Ordering::Relaxed);
        self.point_event(cx, Point::L12Accounts, [pages, 0, 0]);
        self.init_per_zone_wmark_min(|| {});
        let node = zone.node();
        let node_empty = self.zones_of_node(node).all(|z| !z.is_populated());
        if zone.is_populated() {
            if !self.policy.release.watermarks_set_pcp_sizes() {
                self.zone_pcp_update_all();
            }
        } else {
            self.zone_pcp_reset(zone);
            if node_empty && self.policy.release.node_leaves_before_rebuild() {
                self.n_memory.clear(node);
            }
            self.build_all_zonelists(cx);
        }
        if node_empty {
            self.n_memory.clear(node);
            self.kswapd_stop(node);
            let _followed = self.cpuset_track_online_nodes(cx);
        }
        if self.policy.release.offline_shrinks_span() {
            self.shrink_zone_span(zone);
        }
        self.check_zone_sizes(zone);
    }

    /// After a block left or came: the zone's sizes fit each other, and the zones' managed pages
    /// add up to totalram. Under mem_hotplug_lock.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(super) fn check_zone_sizes(&self, zone: &Zone) {
        zone.check_sizes();
        if cfg!(debug_assertions) {
            let managed: u64 = self.zones.iter().map(|zone| zone.managed_pages()).sum();
            let totalram = self.totalram_pages.load(Ordering::Relaxed);
            assert_eq!(managed, totalram, "managed pages of all zones, and totalram");
        }
    }

    /// An emptied zone's pcplists go back to the boot values (`zone_pcp_reset`).
    fn zone_pcp_reset(&self, zone: &Zone) {
        let _batch_high = self.pcp_batch_high_lock.lock();
        for value in [&zone.pageset.high_min, &zone.pageset.high_max, &zone.pageset.batch] {
            value.store(0, Ordering::Relaxed);
        }
        for pcp in &zone.pcp {
            pcp.update(&self.pcp_rules, 0, 0, 1);
        }
    }

    /// The span shrinks only from an end (`shrink_zone_span`).
    fn shrink_zone_span(&self, zone: &Zone) {
        let offline = self.hotplug.offline.lock();
        let pages = u64::from(self.machine.block_pages);
        let is_offline = |pfn: u64| {
            offline.iter().any(|o| o.zone == zone.id && u64::from(o.block.0) == pfn / pages)
        };
        let (mut start, mut end) =
            (u64::from(zone.start_pfn().0), u64::from(zone.start_pfn().0) + zone.spanned_pages());
        if !zone.is_populated() {
            zone.set_span(Pfn(0), 0);
            return;
        }
        while start < end && is_offline(start) {
            start = (start / pages + 1) * pages;
        }
        while end > start && is_offline(end - 1) {
            end = (end - 1) / pages * pages;
        }
        zone.set_span(Pfn(start as u32), end - start);
    }

    /// Frees a range to the buddy in blocks as large as they go, at the tail (online).
    pub fn free_range_to_buddy(&self, cx: &Cx, zone: &Zone, first: Pfn, pages: u32) {
        let buddy = self.buddy(zone);
        let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        let mut at = first.0;
        while at < first.0 + pages {
            let order = (at.trailing_zeros() as u8).min(MAX_PAGE_ORDER);
            let order = (0..=order).rev().find(|o| at + (1 << o) <= first.0 + pages).unwrap_or(0);
            for frame in at..at + (1 << order) {
                self.frames.at(frame).set_state(FrameState(0));
            }
            let migratetype = self.pageblocks.of(Pfn(at)).migratetype();
            buddy.free_one_page(&mut locked, cx.cpu(), Pfn(at), order, migratetype, FreeTo::Tail);
            at += 1 << order;
        }
    }
}
