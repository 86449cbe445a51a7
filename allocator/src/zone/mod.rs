//! The room of memory itself: zones and what they consist of.
//!
//! **Rooms.** [`setup`] makes zones at boot, [`pageblock`] and [`frame`] say what each frame is,
//! [`buddy`] keeps the free ones, [`pcp`] (sizes in [`pcp_sizes`], emptied by [`drain`]) lies before it,
//! [`watermark`] says who may take from a zone.
//!
//! **Locks.** zone->lock guards free areas, marks and isolated pageblocks; the section of a [`pcp`]
//! guards its lists; pcp_batch_high_lock who sets their sizes; mem_hotplug_lock spans and sizes.
//! **Callers.** [`crate::page_alloc`], [`crate::hotplug`], [`crate::reclaim`] and the oracle, which
//! only reads. Nothing here calls back into them, but that a drain runs on the kernel's CPUs.
//!
//! This file: `struct zone` with its spans, counters, marks, free areas and pcplists, docs/kernel/zones-and-buddy.md#a1 and #a2. Fields are grouped by what guards them:
//!
//! | field | written under | read |
//! |---|---|---|
//! | span, present, managed | mem_hotplug_lock (span: and its sequence) | anywhere, unlocked |
//! | marks, lowmem_reserve, boost | the zone's lock | anywhere, unlocked |
//! | free areas, nr_isolate_pageblock, nr_reserved_highatomic | the zone's lock | tests, unlocked |
//! | nr_free_pages (global part) and the deltas | the zone's lock | anywhere, unlocked |
//! | pcp high and batch | pcp_batch_high_lock | pcp sections, unlocked |
//!
//! **Differs.** Counters of frames that the kernel changes with interrupts off under zone->lock
//! (NR_FREE_PAGES) are plain stores here for the same reason.

pub mod buddy;
pub mod drain;
pub mod frame;
mod frame_lists;
pub mod migratetype;
pub mod pageblock;
pub mod pcp;
pub mod pcp_sizes;
pub mod setup;
pub mod watermark;

use crate::gfp::MigrateType;
pub use crate::gfp::Wmark;
use crate::ids::{CpuId, MAX_NR_ZONES, NR_PAGE_ORDERS, NodeId, Pfn, ZoneId, ZoneIdx};
use crate::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};
use crate::sync::lock::named;
use crate::sync::{Lock, LockGuard, SeqCount};
use crate::zone::frame::FrameList;
use crate::zone::pcp::Pcp;

/// Number of migratetypes that have free lists.
pub const NR_FREE_LISTS: usize = crate::gfp::MIGRATE_TYPES;

/// zone->flags.
pub mod zone_flag {
    /// Its last reclaim boosted the marks: kswapd is to be woken (ZONE_BOOSTED_WATERMARK).
    pub const BOOSTED_WATERMARK: u32 = 1 << 0;
    /// kswapd or a direct reclaimer is at it (ZONE_RECLAIM_ACTIVE).
    pub const RECLAIM_ACTIVE: u32 = 1 << 1;
    /// Free pages fell below the high mark (ZONE_BELOW_HIGH, 6.7+).
    pub const BELOW_HIGH: u32 = 1 << 2;
}

/// Free blocks of one order.
#[derive(Debug, Default)]
pub struct FreeArea {
    /// A list for each migratetype.
    pub free_list: [FrameList; NR_FREE_LISTS],
    /// Blocks on all of them together.
    nr_free: AtomicU32,
}

impl FreeArea {
    /// Blocks of this order, all types, ISOLATE included.
    #[inline]
    pub fn nr_free(&self) -> u32 {
        self.nr_free.load(Ordering::Relaxed)
    }

    /// Adds to nr_free; under the zone's lock.
    #[inline]
    pub fn add_nr_free(&self, by: i32) {
        self.nr_free.store(self.nr_free().wrapping_add_signed(by), Ordering::Relaxed);
    }

    /// nr_free is what is on the lists. Under the zone's lock; only with debug assertions.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn check_nr_free(&self) {
        #[cfg(debug_assertions)]
        {
            let on_lists: u32 = self.free_list.iter().map(FrameList::len).sum();
            let nr_free = self.nr_free();
            assert_eq!(nr_free, on_lists, "nr_free and the blocks on the free lists differ");
        }
    }

    /// The list of a type.
    #[inline]
    pub fn list(&self, migratetype: MigrateType) -> &FrameList {
        &self.free_list[migratetype as usize]
    }
}

/// What only the holder of the zone's lock may touch; also the proof that it is held.
#[derive(Debug, Default)]
pub struct ZoneLocked(());

/// A zone. Unpopulated ones exist too, with nothing in them.
#[derive(Debug)]
#[repr(align(128))]
pub struct Zone {
    /// Which zone of the machine.
    pub id: ZoneId,
    /// Per-CPU lists by model CPU; empty for a zone that never can have memory.
    pub pcp: Box<[Pcp]>,

    managed: AtomicU64,
    watermark: [AtomicU64; 4],
    watermark_boost: AtomicU64,
    /// `lowmem_reserve` by the request's highest zone.
    lowmem_reserve: [AtomicU64; MAX_NR_ZONES],
    /// Global part of NR_FREE_PAGES.
    nr_free_pages: AtomicI64,
    /// Delta at which a CPU folds into the global part.
    pub stat_threshold: AtomicI32,
    /// [`zone_flag`]s.
    pub flags: AtomicU32,
    /// Above this the safe variants sum the deltas.
    pub percpu_drift_mark: AtomicU64,

    /// zone->lock.
    pub lock: ZoneLock,
    /// Free lists by order; changed under the lock.
    pub free_area: [FreeArea; NR_PAGE_ORDERS],
    /// NR_FREE_PAGES without the per-CPU lag; changed under the lock. The oracle's counter.
    nr_free_exact: AtomicI64,
    /// Pageblocks of type ISOLATE.
    pub nr_isolate_pageblock: AtomicU32,
    /// Pages of HIGHATOMIC pageblocks.
    pub nr_reserved_highatomic: AtomicU64,
    /// Free pages among them (6.10+).
    pub nr_free_highatomic: AtomicI64,

    start_pfn: AtomicU32,
    spanned: AtomicU64,
    present: AtomicU64,
    /// Odd while the span changes.
    pub span_seq: SeqCount,

    /// Anonymous and file pages on the LRU lists and isolated, for zone_reclaimable_pages.
    pub nr_lru: [AtomicI64; 5],
    /// Pages that reclaim has taken off the LRU.
    pub nr_isolated: [AtomicI64; 2],
    /// pcp high, high_min, high_max, batch that the zone's pcplists have when enabled.
    pub pageset: PagesetSizes,
}

/// zone->pageset_high and _batch.
#[derive(Debug, Default)]
pub struct PagesetSizes {
    /// Lowest value of the tuned high; the fixed high up to 6.6.
    pub high_min: AtomicU32,
    /// Highest value of the tuned high.
    pub high_max: AtomicU32,
    /// Pages moved at once.
    pub batch: AtomicU32,
}

/// zone->lock, which counts the waits for a holder.
#[derive(Debug, Default)]
pub struct ZoneLock(Lock<named::Zone, ZoneLocked>);

impl ZoneLock {
    /// Takes the lock; `waited` is called if somebody held it.
    #[inline]
    pub fn lock(&self, waited: impl FnOnce()) -> LockGuard<'_, named::Zone, ZoneLocked> {
        // Who takes it between the look and the lock is waited for and not counted: some ns.
        if self.0.is_locked() {
            waited();
        }
        self.0.lock()
    }
}

impl Zone {
    /// A zone without memory; `nr_cpus` pcplists if it ever can have any.
    pub fn new(id: ZoneId, nr_cpus: usize) -> Self {
        Self {
            id,
            pcp: (0..nr_cpus).map(|_| Pcp::new()).collect(),
            managed: AtomicU64::new(0),
            watermark: Default::default(),
            watermark_boost: AtomicU64::new(0),
            lowmem_reserve: Default::default(),
            nr_free_pages: AtomicI64::new(0),
            stat_threshold: AtomicI32::new(0),
            flags: AtomicU32::new(0),
            percpu_drift_mark: AtomicU64::new(0),
            lock: ZoneLock::default(),
            free_area: Default::default(),
            nr_free_exact: AtomicI64::new(0),
            nr_isolate_pageblock: AtomicU32::new(0),
            nr_reserved_highatomic: AtomicU64::new(0),
            nr_free_highatomic: AtomicI64::new(0),
            start_pfn: AtomicU32::new(0),
            spanned: AtomicU64::new(0),
            present: AtomicU64::new(0),
            span_seq: SeqCount::new(),
            nr_lru: Default::default(),
            nr_isolated: Default::default(),
            pageset: PagesetSizes::default(),
        }
    }

    /// The zone's node.
    #[inline]
    pub fn node(&self) -> NodeId {
        self.id.node()
    }

    /// The zone's index in its node.
    #[inline]
    pub fn idx(&self) -> ZoneIdx {
        self.id.zone_idx()
    }

    /// `present_pages != 0`: in zonelists (5.18+) and drained.
    #[inline]
    pub fn is_populated(&self) -> bool {
        self.present_pages() != 0
    }

    /// `managed_pages != 0`: reclaimed by kswapd.
    #[inline]
    pub fn is_managed(&self) -> bool {
        self.managed_pages() != 0
    }

    /// Pages handed to the buddy.
    #[inline]
    pub fn managed_pages(&self) -> u64 {
        self.managed.load(Ordering::Relaxed)
    }

    /// Pages that exist.
    #[inline]
    pub fn present_pages(&self) -> u64 {
        self.present.load(Ordering::Relaxed)
    }

    /// Pages from the first to the last.
    pub fn spanned_pages(&self) -> u64 {
        self.spanned.load(Ordering::Relaxed)
    }

    /// First frame of the span.
    pub fn start_pfn(&self) -> Pfn {
        Pfn(self.start_pfn.load(Ordering::Relaxed))
    }

    /// First frame behind the span.
    pub fn end_pfn(&self) -> Pfn {
        Pfn((u64::from(self.start_pfn().0) + self.spanned_pages()) as u32)
    }

    /// Changes managed and present; under mem_hotplug_lock or at boot.
    pub fn set_sizes(&self, present: u64, managed: u64) {
        self.managed.store(managed, Ordering::Relaxed);
        self.present.store(present, Ordering::Relaxed);
    }

    /// managed <= present <= spanned, and nothing is free that isn't managed (`adjust_managed_page_count`,
    /// `adjust_present_page_count`). Under mem_hotplug_lock, at a point where all three are settled.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn check_sizes(&self) {
        let (managed, present, spanned) =
            (self.managed_pages(), self.present_pages(), self.spanned_pages());
        debug_assert!(managed <= present, "{managed} pages managed and {present} present");
        debug_assert!(present <= spanned, "{present} pages present and {spanned} spanned");
        debug_assert!(
            self.nr_free_exact.load(Ordering::Relaxed) >= 0,
            "fewer than no pages are free"
        );
        debug_assert!(
            self.free_pages_exact() <= managed,
            "{} pages free and {managed} managed",
            self.free_pages_exact()
        );
    }

    /// Changes the span; under mem_hotplug_lock or at boot.
    pub fn set_span(&self, start: Pfn, spanned: u64) {
        self.span_seq.write_begin();
        self.start_pfn.store(start.0, Ordering::Relaxed);
        self.spanned.store(spanned, Ordering::Relaxed);
        self.span_seq.write_end();
    }

    /// A mark with the boost on top (min_wmark_pages and its kin).
    #[inline]
    pub fn wmark_pages(&self, mark: Wmark) -> u64 {
        self.wmark_unboosted(mark) + self.watermark_boost()
    }

    /// A mark without the boost.
    #[inline]
    pub fn wmark_unboosted(&self, mark: Wmark) -> u64 {
        self.watermark[mark as usize].load(Ordering::Relaxed)
    }

    /// The promo mark (5.18+).
    pub fn promo_wmark(&self) -> u64 {
        self.watermark[3].load(Ordering::Relaxed)
    }

    /// Sets min, low, high and promo and takes the boost away; under the zone's lock.
    pub fn set_watermarks(&self, _locked: &ZoneLocked, marks: [u64; 4]) {
        for (to, from) in self.watermark.iter().zip(marks) {
            to.store(from, Ordering::Relaxed);
        }
        self.watermark_boost.store(0, Ordering::Relaxed);
    }

    /// The boost now.
    #[inline]
    pub fn watermark_boost(&self) -> u64 {
        self.watermark_boost.load(Ordering::Relaxed)
    }

    /// Changes the boost; under the zone's lock.
    pub fn set_watermark_boost(&self, _locked: &ZoneLocked, pages: u64) {
        self.watermark_boost.store(pages, Ordering::Relaxed);
    }

    /// Pages kept from requests whose highest zone is `highest`.
    #[inline]
    pub fn lowmem_reserve(&self, highest: ZoneIdx) -> u64 {
        self.lowmem_reserve[highest.index()].load(Ordering::Relaxed)
    }

    /// Sets the reserves.
    pub fn set_lowmem_reserve(&self, reserve: [u64; MAX_NR_ZONES]) {
        for (to, from) in self.lowmem_reserve.iter().zip(reserve) {
            to.store(from, Ordering::Relaxed);
        }
    }

    /// NR_FREE_PAGES as the allocation path reads it: the global part only.
    #[inline]
    pub fn free_pages(&self) -> u64 {
        u64::try_from(self.nr_free_pages.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// NR_FREE_PAGES with all deltas (zone_page_state_snapshot).
    pub fn free_pages_snapshot(&self) -> u64 {
        let deltas: i64 =
            self.pcp.iter().map(|p| i64::from(p.free_delta.load(Ordering::Relaxed))).sum();
        u64::try_from(self.nr_free_pages.load(Ordering::Relaxed) + deltas).unwrap_or(0)
    }

    /// NR_FREE_PAGES without lag.
    #[inline]
    pub fn free_pages_exact(&self) -> u64 {
        u64::try_from(self.nr_free_exact.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Adds to NR_FREE_PAGES on this CPU (`__mod_zone_page_state`), under the zone's lock: the
    /// delta is folded into the global part once it passes the threshold.
    #[inline]
    pub fn add_free_pages(&self, _locked: &mut ZoneLocked, cpu: CpuId, by: i64) {
        // Relaxed plain updates: all writers hold the zone's lock.
        self.nr_free_exact
            .store(self.nr_free_exact.load(Ordering::Relaxed) + by, Ordering::Relaxed);
        let delta_cell = &self.pcp[cpu.index()].free_delta;
        let delta = i64::from(delta_cell.load(Ordering::Relaxed)) + by;
        let threshold = i64::from(self.stat_threshold.load(Ordering::Relaxed));
        if delta.abs() > threshold {
            let global = self.nr_free_pages.load(Ordering::Relaxed) + delta;
            self.nr_free_pages.store(global, Ordering::Relaxed);
            delta_cell.store(0, Ordering::Relaxed);
        } else {
            delta_cell.store(delta as i32, Ordering::Relaxed);
        }
    }

    /// What `blocks` calls of [`Zone::add_free_pages`] with `each` pages (more than 0) come to:
    /// frees under one hold of the lock are counted at its end.
    pub fn add_free_blocks(&self, locked: &mut ZoneLocked, cpu: CpuId, each: i64, blocks: i64) {
        let cell = &self.pcp[cpu.index()].free_delta;
        let delta = i64::from(cell.load(Ordering::Relaxed));
        let threshold = i64::from(self.stat_threshold.load(Ordering::Relaxed));
        if delta < -threshold {
            // The threshold has been lowered below an old delta.
            (0..blocks).for_each(|_| self.add_free_pages(locked, cpu, each));
            return;
        }
        let pages = each * blocks;
        // Which block takes the delta past the threshold, and how many more do it again.
        let first = (threshold - delta).max(0) / each + 1;
        let again = threshold / each + 1;
        let left = if blocks < first { delta + pages } else { (blocks - first) % again * each };
        cell.store(left as i32, Ordering::Relaxed);
        let add = |cell: &AtomicI64, by: i64| {
            cell.store(cell.load(Ordering::Relaxed) + by, Ordering::Relaxed);
        };
        add(&self.nr_free_pages, delta + pages - left);
        add(&self.nr_free_exact, pages);
    }

    /// Folds all deltas into the global part (refresh_cpu_vm_stats, quiet_vmstat); under the
    /// zone's lock.
    pub fn fold_free_pages(&self, _locked: &mut ZoneLocked) {
        self.nr_free_pages.store(self.nr_free_exact.load(Ordering::Relaxed), Ordering::Relaxed);
        for pcp in &self.pcp {
            pcp.free_delta.store(0, Ordering::Relaxed);
        }
    }

    /// Is a [`zone_flag`] set?
    #[inline]
    pub fn has_flag(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Sets a [`zone_flag`].
    pub fn set_flag(&self, flag: u32) {
        self.flags.fetch_or(flag, Ordering::Relaxed);
    }

    /// Clears a [`zone_flag`].
    pub fn clear_flag(&self, flag: u32) {
        self.flags.fetch_and(!flag, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(feature = "explore")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CPU: CpuId = CpuId(0);

    proptest! {
        #[test]
        fn blocks_counted_together_come_to_what_they_come_to_one_by_one(
            threshold in 0..130i32, delta in -140..140i32, order in 0..10u32, blocks in 0..200i64,
        ) {
            let counted = |add: &dyn Fn(&Zone, &mut ZoneLocked)| {
                let zone = Zone::new(ZoneId(0), 1);
                zone.stat_threshold.store(threshold, Ordering::Relaxed);
                zone.pcp[0].free_delta.store(delta, Ordering::Relaxed);
                add(&zone, &mut zone.lock.lock(|| {}));
                let left = zone.pcp[0].free_delta.load(Ordering::Relaxed);
                (left, zone.nr_free_pages.load(Ordering::Relaxed), zone.free_pages_exact())
            };
            let each = 1i64 << order;
            let together = counted(&|zone, l| zone.add_free_blocks(l, CPU, each, blocks));
            let one_by_one = counted(&|zone, l| {
                (0..blocks).for_each(|_| zone.add_free_pages(l, CPU, each));
            });
            prop_assert_eq!(together, one_by_one);
        }
    }
}
