//! Per-CPU page lists (`struct per_cpu_pages`): sections, list choice, how much moves at once.
//!
//! **What.** docs/kernel/pcplists.md#a6. One [`Pcp`] for each CPU and zone. `count`, `high` and
//! `batch` are read without the lock by drains and by whoever publishes new values; the lists only
//! inside a section.
//!
//! **Why a lock in every release.** Up to 5.19 a section is "interrupts off" or a local lock: only
//! that CPU gets in. Here several tasks of one model CPU can meet in it, as they can't on a real
//! CPU: the later one waits asleep and counts it. From 6.0 the section is a trylock that fails
//! against a remote drain, and against the context's own interrupted section.
//!
//! **Differs.** The waiting just said. Lists are intrusive through the frames, so a hit allocates
//! nothing and writes nothing that another CPU reads, but `count`.

use crate::ids::PAGEBLOCK_ORDER;
use crate::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use crate::sync::{Section, SectionGuard};
use crate::zone::frame::FrameList;
use crate::zone::migratetype::{MIGRATE_PCPTYPES, MigrateType};

/// Lists of a pcp: 3 types for each of the orders 0 to 3, and two for huge pages.
pub const NR_PCP_LISTS: usize = 14;
/// Largest shift of the batch by auto-tuning (CONFIG_PCP_BATCH_SCALE_MAX).
pub const PCP_BATCH_SCALE_MAX: u32 = 5;
/// Highest order below the pageblock order that has lists.
const MAX_LIST_ORDER: u8 = 3;

/// What the `pcp` axis and the release decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcpRules {
    /// Orders 1 to 3 and 9 have lists, too (5.13+).
    pub multi_order: bool,
    /// Huge pages have a list for movable and one for the rest (one list in 5.15).
    pub thp_lists: u8,
    /// Sections are entered by trylock (6.0+), and drains take the remote lock.
    pub trylock: bool,
    /// high and batch tune themselves (6.7+).
    pub auto_tune: bool,
    /// A burst of frees of orders 1 to 3 empties the list (5.19+).
    pub free_high: bool,
    /// With `auto_tune`, a burst is batch + high_min / 2 pages long (6.16+), not batch.
    pub long_bursts: bool,
    /// free_pcppages_bulk holds zone->lock throughout and starts with the list just freed to
    /// (5.18+); before, it collects round robin first.
    pub bulk_under_lock: bool,
    /// The section is left between batches of what the decay or a free beyond high gives back
    /// (6.19); before, all of it is freed in one.
    pub frees_in_batches: bool,
    /// The pageblock's type is always read again under zone->lock (6.10+); before, only while the
    /// zone has isolated pageblocks.
    pub always_rereads: bool,
    /// An empty pcplist that can't be refilled sends the request to the buddy (6.0+); before, it
    /// goes to the next zone.
    pub miss_tries_buddy: bool,
    /// pageset_update has barriers between its stores (up to 5.10).
    pub ordered_update: bool,
}

/// The per-CPU lists of one zone.
#[derive(Debug)]
#[repr(align(128))]
pub struct Pcp {
    /// The section.
    lists: Section<PcpLists>,
    /// Number of the section, so that the oracle can tell one from the next; written inside.
    pub sections: AtomicU32,
    /// Pages on the lists. Written inside the section; read by drains without it.
    pub count: AtomicU32,
    /// Above this frees spill. Tuned between the next two (6.7+).
    pub high: AtomicU32,
    /// Lowest value of high; 0: disabled.
    pub high_min: AtomicU32,
    /// Highest value of high.
    pub high_max: AtomicU32,
    /// Pages that move at once.
    pub batch: AtomicU32,
    /// A remote drain has the section or waits for it: trylocks fail (6.0+).
    pub draining: AtomicBool,
    /// This CPU's share of NR_FREE_PAGES not yet folded; under the zone's lock.
    pub free_delta: AtomicI32,
    /// Is the zone on the CPU's own node (numa_local)?
    pub is_local: bool,
}

/// What is inside the section.
#[derive(Debug, Default)]
pub struct PcpLists {
    lists: [FrameList; NR_PCP_LISTS],
    /// Frees grow, allocations shrink it (5.13 to 6.6).
    pub free_factor: u8,
    /// The batch is shifted by it while the CPU keeps allocating (6.7+).
    pub alloc_factor: u8,
    /// Pages freed in a row (6.7+).
    pub free_count: u32,
    /// The last bulk free spilled a high-order burst (PCPF_PREV_FREE_HIGH_ORDER).
    pub prev_free_high_order: bool,
    /// Events of this CPU in this zone.
    pub events: PcpEvents,
}

/// Counters kept inside the section, so that counting costs no locked operation. Names as in
/// /proc/vmstat and numastat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PcpEvents {
    /// Pages allocated.
    pub pgalloc: u64,
    /// Pages freed.
    pub pgfree: u64,
    /// From the preferred node.
    pub numa_hit: u64,
    /// From another node than preferred.
    pub numa_miss: u64,
    /// From the CPU's own node.
    pub numa_local: u64,
    /// From another node than the CPU's.
    pub numa_other: u64,
    /// Refills, and pages that they brought.
    pub refills: u64,
    /// Pages brought by refills.
    pub refill_pages: u64,
    /// Bulk frees to the buddy.
    pub drains: u64,
    /// Pages that left by them.
    pub drain_pages: u64,
    /// Blocks that left by them.
    pub drain_blocks: u64,
}

impl PcpEvents {
    /// Counts an allocated block. Hits are what nearly all are: a test and an increment each.
    #[inline]
    pub fn count_alloc(&mut self, pages: u32, is_preferred: bool, is_local: bool) {
        self.pgalloc += u64::from(pages);
        if is_preferred {
            self.numa_hit += 1;
        } else {
            self.numa_miss += 1;
        }
        if is_local {
            self.numa_local += 1;
        } else {
            self.numa_other += 1;
        }
    }

    /// Adds another CPU's.
    pub fn add(&mut self, other: &Self) {
        self.pgalloc += other.pgalloc;
        self.pgfree += other.pgfree;
        self.numa_hit += other.numa_hit;
        self.numa_miss += other.numa_miss;
        self.numa_local += other.numa_local;
        self.numa_other += other.numa_other;
        self.refills += other.refills;
        self.refill_pages += other.refill_pages;
        self.drains += other.drains;
        self.drain_pages += other.drain_pages;
        self.drain_blocks += other.drain_blocks;
    }
}

impl PcpRules {
    /// The list for blocks of this order and type, if there is one.
    #[inline]
    pub fn pindex(&self, order: u8, migratetype: MigrateType) -> Option<usize> {
        let of_type = migratetype as usize;
        debug_assert!(of_type < MIGRATE_PCPTYPES);
        if order == 0 {
            return Some(of_type);
        }
        if !self.multi_order {
            return None;
        }
        match order {
            1..=MAX_LIST_ORDER => Some(MIGRATE_PCPTYPES * usize::from(order) + of_type),
            PAGEBLOCK_ORDER if self.thp_lists == 2 && migratetype == MigrateType::Movable => {
                Some(NR_PCP_LISTS - 1)
            }
            PAGEBLOCK_ORDER => Some(NR_PCP_LISTS - 2),
            _ => None,
        }
    }

    /// Order of the blocks on a list.
    pub fn order_of(pindex: usize) -> u8 {
        if pindex >= NR_PCP_LISTS - 2 { PAGEBLOCK_ORDER } else { (pindex / MIGRATE_PCPTYPES) as u8 }
    }

    /// Number of lists in use.
    pub fn nr_lists(&self) -> usize {
        if self.multi_order {
            NR_PCP_LISTS - 2 + usize::from(self.thp_lists)
        } else {
            MIGRATE_PCPTYPES
        }
    }
}

impl Default for Pcp {
    fn default() -> Self {
        Self::new()
    }
}

impl Pcp {
    /// Empty lists with the boot values, high 0 and batch 1, of a CPU of the zone's node.
    pub fn new() -> Self {
        Self {
            lists: Section::new(PcpLists::default()),
            sections: AtomicU32::new(0),
            count: AtomicU32::new(0),
            high: AtomicU32::new(0),
            high_min: AtomicU32::new(0),
            high_max: AtomicU32::new(0),
            batch: AtomicU32::new(1),
            draining: AtomicBool::new(false),
            free_delta: AtomicI32::new(0),
            is_local: true,
        }
    }

    /// Publishes new sizes (`pageset_update`): plain stores, in the order of the release; readers
    /// cope with any mix (5.11+), or batch never exceeds high for them (up to 5.10).
    pub fn update(&self, rules: &PcpRules, high_min: u32, high_max: u32, batch: u32) {
        if rules.ordered_update {
            // Release: up to 5.10 barriers stand between the three stores.
            self.batch.store(1, Ordering::Release);
            self.high.store(high_min, Ordering::Release);
            self.batch.store(batch, Ordering::Release);
            return;
        }
        self.batch.store(batch, Ordering::Relaxed);
        self.high_min.store(high_min, Ordering::Relaxed);
        self.high_max.store(high_max, Ordering::Relaxed);
        if !rules.auto_tune {
            self.high.store(high_min, Ordering::Relaxed);
        }
    }

    /// Enters the section without waiting.
    #[inline]
    pub fn try_enter(&self) -> Option<SectionGuard<'_, PcpLists>> {
        let guard = self.lists.try_lock();
        if guard.is_some() {
            self.count_section();
        }
        guard
    }

    #[inline]
    fn count_section(&self) {
        self.sections
            .store(self.sections.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The number of the section that somebody is in now, if anybody is.
    pub fn open_section(&self) -> Option<u32> {
        self.lists.is_locked().then(|| self.sections.load(Ordering::Relaxed))
    }

    /// Enters the section, asleep while another context is inside.
    pub fn enter(&self) -> SectionGuard<'_, PcpLists> {
        let guard = self.lists.lock();
        self.count_section();
        guard
    }

    /// Pages on the lists, unlocked.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Adds to the count; inside the section.
    #[inline]
    pub fn add_count(&self, by: i32) {
        self.count.store(self.count().wrapping_add_signed(by), Ordering::Relaxed);
    }

    /// The count is what is on the lists, before the section is left; only with debug assertions.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn check_count(&self, _lists: &PcpLists) {
        #[cfg(debug_assertions)]
        {
            let blocks = _lists.lists.iter().map(FrameList::len).enumerate();
            let pages: u32 = blocks.map(|(i, blocks)| blocks << PcpRules::order_of(i)).sum();
            assert_eq!(self.count(), pages, "the count of a pcp and the pages on its lists differ");
        }
    }

    /// How many blocks a refill of `order` takes (`nr_pcp_alloc`, or batch >> order up to 6.6).
    pub fn refill_blocks(
        &self,
        lists: &mut PcpLists,
        rules: &PcpRules,
        order: u8,
        below_high: bool,
    ) -> u32 {
        let batch = self.batch.load(Ordering::Relaxed);
        if !rules.auto_tune {
            return if order == 0 || batch <= 1 { batch.max(1) } else { (batch >> order).max(2) };
        }
        let high_min = self.high_min.load(Ordering::Relaxed);
        let high_max = self.high_max.load(Ordering::Relaxed);
        let mut high = self.high.load(Ordering::Relaxed).clamp(high_min, high_max.max(high_min));
        self.high.store(high, Ordering::Relaxed);
        if high < batch {
            return 1;
        }
        let mut want = if order > 0 { batch } else { batch << lists.alloc_factor };
        if high_min != high_max && !below_high {
            high = (high + want).min(high_max);
            self.high.store(high, Ordering::Relaxed);
        }
        if order == 0 {
            let room = i64::from(high) - i64::from(self.count()) - i64::from(batch);
            let max = room.max(i64::from(batch)) as u32;
            if want <= max && u32::from(lists.alloc_factor) < PCP_BATCH_SCALE_MAX {
                lists.alloc_factor += 1;
            }
            want = want.min(max);
        }
        if want > 1 { (want >> order).max(2) } else { want }
    }

    /// Is what is on the lists so clearly below high that a free needs neither to tune it nor to
    /// spill? `zone_flags`: reclaim is active, or the zone is below its high mark.
    #[inline]
    pub fn is_below_high(&self, rules: &PcpRules, free_high: bool, zone_flags: bool) -> bool {
        let high = self.high.load(Ordering::Relaxed);
        let is_tuned = rules.auto_tune
            && (high < self.high_min.load(Ordering::Relaxed)
                || high > self.high_max.load(Ordering::Relaxed));
        self.count() < high && !is_tuned && !free_high && !zone_flags
    }

    /// The high that a free compares with (`nr_pcp_high`).
    pub fn high_for_free(
        &self,
        lists: &PcpLists,
        rules: &PcpRules,
        free_high: bool,
        reclaim_active: bool,
        below_high: bool,
    ) -> u32 {
        let batch = self.batch.load(Ordering::Relaxed);
        if !rules.auto_tune {
            let high = self.high.load(Ordering::Relaxed);
            return match (rules.multi_order, high) {
                (false, high) => high,
                (true, 0) => 0,
                (true, _) if free_high => 0,
                (true, high) if reclaim_active => high.min(4 * batch),
                (true, high) => high,
            };
        }
        let high_min = self.high_min.load(Ordering::Relaxed);
        let high_max = self.high_max.load(Ordering::Relaxed).max(high_min);
        let high = self.high.load(Ordering::Relaxed).clamp(high_min, high_max);
        let set = |high: u32| self.high.store(high, Ordering::Relaxed);
        set(high);
        if high == 0 {
            return 0;
        }
        let lowered = |by: u32| high.saturating_sub(by).max(high_min);
        if free_high {
            set(lowered(batch << PCP_BATCH_SCALE_MAX));
            return 0;
        }
        if reclaim_active {
            set(lowered(lists.free_count.max(batch)));
            return high.min(4 * batch);
        }
        if high_min == high_max {
            return high;
        }
        let count = self.count();
        if below_high {
            set(lowered(lists.free_count.max(batch)));
            return count.max(high_min);
        }
        if count >= high && high < lists.free_count + batch {
            set((lists.free_count + batch).clamp(high_min, high_max));
        }
        high
    }

    /// Is this free of `order`, the `free_count` of the ones before it counted, part of a burst of
    /// frees of orders 1 to 3, which others would have to wait for (6.7+)?
    #[inline]
    pub fn is_burst(&self, lists: &mut PcpLists, rules: &PcpRules, order: u8) -> bool {
        let is_high = (1..=MAX_LIST_ORDER).contains(&order);
        let follows = std::mem::replace(&mut lists.prev_free_high_order, is_high);
        if !is_high || !follows {
            return false;
        }
        let batch = self.batch.load(Ordering::Relaxed);
        let least = if rules.long_bursts {
            batch + self.high_min.load(Ordering::Relaxed) / 2
        } else {
            batch
        };
        lists.free_count >= least
    }

    /// Lowers high by an eighth, by no more than the largest batch below what is on the lists
    /// (`decay_pcp_high`, 6.7+; the vmstat worker does it about every second). Returns how many
    /// pages are now too many.
    pub fn decay_high(&self, rules: &PcpRules) -> u32 {
        let high_min = self.high_min.load(Ordering::Relaxed);
        let high = self.high.load(Ordering::Relaxed);
        if !rules.auto_tune {
            return 0;
        }
        let count = self.count();
        let mut decayed = high;
        if high > high_min {
            let largest = self.batch.load(Ordering::Relaxed) << PCP_BATCH_SCALE_MAX;
            decayed = count.saturating_sub(largest).max(high - (high >> 3)).max(high_min);
            self.high.store(decayed, Ordering::Relaxed);
        }
        count.saturating_sub(decayed)
    }

    /// How many pages a free beyond high gives back (`nr_pcp_free`).
    pub fn spill_pages(
        &self,
        lists: &mut PcpLists,
        rules: &PcpRules,
        high: u32,
        free_high: bool,
    ) -> u32 {
        let batch = self.batch.load(Ordering::Relaxed);
        if !rules.multi_order {
            return batch;
        }
        if free_high {
            return if rules.auto_tune {
                self.count().min(batch << PCP_BATCH_SCALE_MAX)
            } else {
                self.count()
            };
        }
        if high < batch {
            return 1;
        }
        let most = (high - batch).max(batch);
        if rules.auto_tune {
            return lists.free_count.clamp(batch, most);
        }
        let scaled = batch << lists.free_factor;
        if scaled < high - batch {
            lists.free_factor += 1;
        }
        scaled.clamp(batch, most)
    }
}

impl PcpLists {
    /// A list by its index.
    #[inline]
    pub fn list(&self, pindex: usize) -> &FrameList {
        &self.lists[pindex]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const AUTO: PcpRules = PcpRules {
        multi_order: true,
        thp_lists: 2,
        trylock: true,
        auto_tune: true,
        free_high: true,
        long_bursts: true,
        bulk_under_lock: true,
        frees_in_batches: true,
        always_rereads: true,
        miss_tries_buddy: true,
        ordered_update: false,
    };

    #[test]
    fn refills_double_while_a_cpu_keeps_allocating() {
        // docs/kernel/checked.md: 63, 126, 252, 504, 1008, 2016 on a 6.18 host.
        let pcp = Pcp::new();
        pcp.update(&AUTO, 5221, 48307, 63);
        let mut lists = PcpLists::default();
        let sizes: Vec<u32> =
            (0..7).map(|_| pcp.refill_blocks(&mut lists, &AUTO, 0, false)).collect();
        assert_eq!(sizes, [63, 126, 252, 504, 1008, 2016, 2016]);
        let by_order: Vec<u32> =
            (1..=3).map(|o| pcp.refill_blocks(&mut lists, &AUTO, o, false)).collect();
        assert_eq!(by_order, [31, 15, 7]);
    }

    #[test]
    fn a_disabled_pcp_takes_and_keeps_one_page_at_a_time() {
        let pcp = Pcp::new();
        let mut lists = PcpLists::default();
        for rules in [AUTO, PcpRules { auto_tune: false, ..AUTO }] {
            assert_eq!(pcp.refill_blocks(&mut lists, &rules, 0, false), 1);
            let high = pcp.high_for_free(&lists, &rules, false, false, false);
            assert_eq!(high, 0);
            assert_eq!(pcp.spill_pages(&mut lists, &rules, high, false), 1);
        }
    }

    #[test]
    fn every_list_has_its_place() {
        use MigrateType::{Movable, Reclaimable, Unmovable};
        let mut seen = Vec::new();
        for order in [0, 1, 2, 3] {
            for t in [Unmovable, Movable, Reclaimable] {
                let i = AUTO.pindex(order, t).unwrap();
                assert_eq!(PcpRules::order_of(i), order);
                seen.push(i);
            }
        }
        seen.extend([AUTO.pindex(9, Unmovable).unwrap(), AUTO.pindex(9, Movable).unwrap()]);
        assert_eq!(seen, (0..NR_PCP_LISTS).collect::<Vec<_>>());
        assert_eq!(AUTO.pindex(4, Movable), None);
        let order0 = PcpRules { multi_order: false, ..AUTO };
        assert_eq!((order0.pindex(0, Movable), order0.pindex(1, Movable)), (Some(1), None));
    }
}
