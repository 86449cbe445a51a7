//! The buddy system: free lists by order and type, split, merge, fallback and stealing.
//!
//! **What.** `__free_one_page`, `expand`, `__rmqueue_smallest`, `__rmqueue`, `rmqueue_bulk`,
//! `move_freepages_block`, `steal_suitable_fallback` (mm/page_alloc.c;
//! docs/kernel/zones-and-buddy.md#a3, #a4).
//!
//! **Why a struct of references.** The same code serves every zone, and tests run it on a zone and
//! a frame table alone. A `&mut ZoneLocked` argument is the proof that zone->lock is held.
//!
//! **Differs.** [`Buddy::rmqueue_bulk`] takes a block that the following requests would empty as
//! a whole instead of splitting it to pieces that it takes at once: lists and order of the pages
//! end up the same (a property test compares them). CMA is not configured.

use crate::gfp::{MIGRATE_PCPTYPES, MigrateType};
use crate::ids::{CpuId, MAX_PAGE_ORDER, PAGEBLOCK_NR_PAGES, PAGEBLOCK_ORDER, Pfn};
use crate::sync::atomic::Ordering;
use crate::zone::frame::{FrameKind, FrameList, FrameState, FrameTable};
use crate::zone::pageblock::PageblockTable;
use crate::zone::{Zone, ZoneLocked};

/// What the release decides about merging and stealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuddyRules {
    /// Blocks of different unmergeable types never merge (newer); before, only isolation kept
    /// pageblocks apart, and only while the zone had isolated ones.
    pub merges_by_type: bool,
    /// A pageblock is claimed only when half of it is free or alike, else a single block is taken
    /// off the other type's list (6.12 as shipped, 6.15+).
    pub claims_then_steals: bool,
    /// A movable request that would break up another type's large block looks for the smallest
    /// one instead (4.13+).
    pub finds_smallest: bool,
    /// A fallback boosts the watermark (5.0+), in ten-thousandths of the high mark; 0: off.
    pub boost_factor: u32,
    /// page_group_by_mobility_disabled: everything counts as UNMOVABLE.
    pub grouping_disabled: bool,
}

impl BuddyRules {
    /// The newest rules.
    pub const NEWEST: Self = Self {
        merges_by_type: true,
        claims_then_steals: true,
        finds_smallest: true,
        boost_factor: 15000,
        grouping_disabled: false,
    };
}

/// Where a freed block goes on its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeTo {
    /// The head, unless the block looks about to merge.
    Head,
    /// The tail (FPI_TO_TAIL: undo of isolation, online).
    Tail,
}

/// What a request for a block got besides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fallback {
    /// Blocks that came from another type's list.
    pub fallbacks: u32,
    /// Pageblocks that changed their type for it.
    pub claimed: u32,
}

/// Freed blocks of one order that NR_FREE_PAGES is still to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreedBlocks {
    /// All that count as free: not those of isolated pageblocks.
    pub counted: i64,
    /// Those of HIGHATOMIC pageblocks among them.
    pub highatomic: i64,
}

/// Blocks of one order and type that follow each other and are freed in this or the opposite order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The lowest frame.
    pub first: Pfn,
    /// How many blocks.
    pub blocks: u32,
    /// Order of each.
    pub order: u8,
    /// The type to whose lists they go.
    pub migratetype: MigrateType,
    /// The highest is freed first.
    pub descends: bool,
}

impl Run {
    /// A run of one block.
    #[inline]
    pub fn new(first: Pfn, order: u8, migratetype: MigrateType) -> Self {
        Self { first, blocks: 1, order, migratetype, descends: false }
    }

    /// The run with one more block, if that is the next.
    #[inline]
    pub fn and(self, pfn: Pfn, migratetype: MigrateType) -> Option<Self> {
        let Self { first, blocks, order, descends, .. } = self;
        if migratetype != self.migratetype {
            return None;
        }
        let more = Self { blocks: blocks + 1, ..self };
        if pfn.0 + (1 << order) == first.0 && (descends || blocks == 1) {
            return Some(Self { first: pfn, descends: true, ..more });
        }
        (pfn.0 == first.0 + (blocks << order) && !descends).then_some(more)
    }
}

impl FreedBlocks {
    /// One more, of a type.
    #[inline]
    pub fn add(&mut self, migratetype: MigrateType) {
        self.counted += i64::from(migratetype != MigrateType::Isolate);
        self.highatomic += i64::from(migratetype == MigrateType::HighAtomic);
    }
}

/// The buddy of one zone.
#[derive(Clone, Copy, Debug)]
pub struct Buddy<'a> {
    /// The frame table.
    pub frames: &'a FrameTable,
    /// The pageblock table.
    pub pageblocks: &'a PageblockTable,
    /// The zone.
    pub zone: &'a Zone,
    /// The release's rules.
    pub rules: BuddyRules,
}

/// Types that a request falls back to, best first (all releases read).
fn fallbacks(of: MigrateType) -> [MigrateType; 2] {
    use MigrateType::{Movable, Reclaimable, Unmovable};
    match of {
        Movable => [Reclaimable, Unmovable],
        Reclaimable => [Unmovable, Movable],
        Unmovable | MigrateType::HighAtomic | MigrateType::Cma | MigrateType::Isolate => {
            [Reclaimable, Movable]
        }
    }
}

fn is_mergeable(migratetype: MigrateType) -> bool {
    (migratetype as usize) < MIGRATE_PCPTYPES
}

impl Buddy<'_> {
    fn list(&self, order: u8, migratetype: MigrateType) -> &FrameList {
        self.zone.free_area[usize::from(order)].list(migratetype)
    }

    fn add_to_list(&self, pfn: Pfn, order: u8, migratetype: MigrateType, to: FreeTo) {
        self.frames.get(pfn).set_state(FrameState::free(order, migratetype));
        let list = self.list(order, migratetype);
        match to {
            FreeTo::Head => {
                list.push_head(self.frames, pfn);
            }
            FreeTo::Tail => list.push_tail(self.frames, pfn),
        }
        let area = &self.zone.free_area[usize::from(order)];
        area.add_nr_free(1);
        area.check_nr_free();
        self.check_list_type(pfn, order, migratetype);
    }

    /// A free block is on the list of its pageblock's type: the consolidated accounting of 6.10
    /// relies on it (`account_freepages`), where a stale type up to 6.8 only misplaced a page.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    fn check_list_type(&self, pfn: Pfn, order: u8, on: MigrateType) {
        if cfg!(debug_assertions) && self.rules.merges_by_type && self.rules.claims_then_steals {
            for first in (pfn.0..pfn.0 + (1 << order)).step_by(PAGEBLOCK_NR_PAGES as usize) {
                let of = self.pageblocks.of(Pfn(first));
                debug_assert_eq!(of.migratetype(), on, "pfn {first:#x} is on another type's list");
                debug_assert_eq!(of.zone(), Some(self.zone.id), "pfn {first:#x} is another zone's");
            }
        }
    }

    /// Puts a block that was taken off with [`Buddy::del_from_list`] back as it is.
    pub fn put_back(&self, pfn: Pfn, order: u8, migratetype: MigrateType, to: FreeTo) {
        self.add_to_list(pfn, order, migratetype, to);
    }

    /// Takes a free block off the list that its state names, leaving its frame without marks.
    /// Returns the type of that list (it may differ from the pageblock's up to 6.8, when a stale
    /// type was used to free it).
    pub fn del_from_list(&self, _l: &mut ZoneLocked, pfn: Pfn) -> MigrateType {
        let state = self.frames.get(pfn).state();
        debug_assert_eq!(state.kind(), FrameKind::Buddy, "pfn {pfn:#x} is on no free list");
        let on = state.cached_type();
        self.list(state.order(), on).remove(self.frames, pfn);
        self.frames.get(pfn).set_state(FrameState(0));
        let area = &self.zone.free_area[usize::from(state.order())];
        area.add_nr_free(-1);
        area.check_nr_free();
        on
    }

    /// Adds to NR_FREE_PAGES for blocks that enter or leave lists of this type.
    pub fn account(&self, l: &mut ZoneLocked, cpu: CpuId, pages: i64, migratetype: MigrateType) {
        if migratetype == MigrateType::Isolate {
            return;
        }
        self.zone.add_free_pages(l, cpu, pages);
        if migratetype == MigrateType::HighAtomic {
            let cell = &self.zone.nr_free_highatomic;
            cell.store(cell.load(Ordering::Relaxed) + pages, Ordering::Relaxed);
        }
    }

    /// [`Buddy::account`] for `blocks` freed blocks of an order, as if one by one.
    pub fn account_blocks(&self, l: &mut ZoneLocked, cpu: CpuId, order: u8, freed: FreedBlocks) {
        self.zone.add_free_blocks(l, cpu, 1 << order, freed.counted);
        if freed.highatomic > 0 {
            let cell = &self.zone.nr_free_highatomic;
            cell.store(
                cell.load(Ordering::Relaxed) + (freed.highatomic << order),
                Ordering::Relaxed,
            );
        }
    }

    /// Frees a block to the list of `migratetype`, merging it with its free buddies
    /// (`__free_one_page`).
    pub fn free_one_page(
        &self,
        l: &mut ZoneLocked,
        cpu: CpuId,
        pfn: Pfn,
        order: u8,
        migratetype: MigrateType,
        to: FreeTo,
    ) {
        self.account(l, cpu, 1 << order, migratetype);
        self.merge(l, pfn, order, migratetype, to);
    }

    /// As [`Buddy::free_one_page`]; NR_FREE_PAGES is the caller's to change.
    pub fn merge(
        &self,
        l: &mut ZoneLocked,
        mut pfn: Pfn,
        mut order: u8,
        migratetype: MigrateType,
        to: FreeTo,
    ) {
        self.frames.get(pfn).set_state(FrameState(0));
        while order < MAX_PAGE_ORDER {
            let buddy = pfn.buddy(order);
            if !self.frames.state_of(buddy).is_buddy_of(order) {
                break;
            }
            // Below the pageblock order both halves lie in one pageblock, of one zone and type.
            if order >= PAGEBLOCK_ORDER {
                let Some(buddy_type) = self.may_merge(buddy, migratetype) else { break };
                self.del_from_list(l, buddy);
                if buddy_type != migratetype {
                    self.pageblocks.set_migratetype(buddy, migratetype);
                }
            } else {
                self.del_from_list(l, buddy);
            }
            pfn = Pfn(pfn.0 & buddy.0);
            order += 1;
        }
        let to =
            if to == FreeTo::Head && self.is_merge_likely(pfn, order) { FreeTo::Tail } else { to };
        self.add_to_list(pfn, order, migratetype, to);
    }

    /// What [`Buddy::merge`] of each block of a run comes to, one after the other in the run's
    /// order: an aligned part of the run is whole once its last block is there, and only then meets
    /// others.
    pub fn merge_run(&self, l: &mut ZoneLocked, run: Run) {
        let Run { mut first, blocks, order, migratetype, descends } = run;
        let mut end = first.0 + (blocks << order);
        if blocks > 1 {
            let pages = self.frames.range(first, end - first.0);
            pages.iter().step_by(1 << order).for_each(|frame| frame.set_state(FrameState(0)));
        }
        while first.0 < end {
            // Types are compared where pageblocks meet, so no part is larger than one.
            let fits = (end - first.0).ilog2() as u8;
            if descends {
                let order = (end.trailing_zeros() as u8).min(fits).min(PAGEBLOCK_ORDER);
                end -= 1 << order;
                self.merge(l, Pfn(end), order, migratetype, FreeTo::Head);
            } else {
                let order = (first.0.trailing_zeros() as u8).min(fits).min(PAGEBLOCK_ORDER);
                self.merge(l, first, order, migratetype, FreeTo::Head);
                first = first.add(1 << order);
            }
        }
    }

    /// May a block of type `mine` merge with the free one at `buddy`, of the pageblock order or
    /// above? Returns the type of its pageblock.
    fn may_merge(&self, buddy: Pfn, mine: MigrateType) -> Option<MigrateType> {
        let other = self.pageblocks.of(buddy);
        if other.zone() != Some(self.zone.id) {
            return None;
        }
        let theirs = other.migratetype();
        if theirs == mine {
            return Some(theirs);
        }
        let keeps_apart = if self.rules.merges_by_type {
            !(is_mergeable(mine) && is_mergeable(theirs))
        } else {
            let isolates = self.zone.nr_isolate_pageblock.load(Ordering::Relaxed) != 0;
            isolates && (mine == MigrateType::Isolate || theirs == MigrateType::Isolate)
        };
        (!keeps_apart).then_some(theirs)
    }

    /// `buddy_merge_likely`: the block that this one and its buddy would merge with is free, so
    /// keep this one at the tail where it is not handed out soon.
    fn is_merge_likely(&self, pfn: Pfn, order: u8) -> bool {
        if order >= MAX_PAGE_ORDER - 1 {
            return false;
        }
        let parent = Pfn(pfn.0 & pfn.buddy(order).0);
        let higher = parent.buddy(order + 1);
        self.frames.state_of(higher).is_buddy_of(order + 1)
            && (order + 1 < PAGEBLOCK_ORDER || self.pageblocks.zone(higher) == Some(self.zone.id))
    }

    /// Puts the upper halves of a block of `high` on the lists until `low` is left (`expand`).
    fn expand(&self, pfn: Pfn, low: u8, mut high: u8, migratetype: MigrateType) {
        while high > low {
            high -= 1;
            self.add_to_list(pfn.add(1 << high), high, migratetype, FreeTo::Head);
        }
    }

    /// Takes exactly the block of `order` at `pfn` out of the free block that holds it, whose other
    /// parts stay free on the same list (`break_down_buddy_pages`). Returns the type of that list
    /// and the order of the block that was there; None if the block is not free as a whole.
    /// NR_FREE_PAGES is the caller's to change.
    pub fn take_block(&self, l: &mut ZoneLocked, pfn: Pfn, order: u8) -> Option<(MigrateType, u8)> {
        let head_of = |order: u8| Pfn(pfn.0 & !((1 << order) - 1));
        let found = (order..=MAX_PAGE_ORDER).find(|&order| {
            let head = head_of(order);
            head.index() < self.frames.len() && self.frames.get(head).state().is_buddy_of(order)
        })?;
        let on = self.del_from_list(l, head_of(found));
        // At each order the half without the block goes back.
        for half in (order..found).rev() {
            self.add_to_list(head_of(half).buddy(half), half, on, FreeTo::Head);
        }
        Some((on, found))
    }

    /// The smallest order from `order` on with a block of this type.
    fn smallest(&self, order: u8, migratetype: MigrateType) -> Option<u8> {
        (order..=MAX_PAGE_ORDER).find(|o| !self.list(*o, migratetype).is_empty())
    }

    /// Takes a block of `order` off the lists of `migratetype` (`__rmqueue_smallest`).
    /// NR_FREE_PAGES is the caller's to change.
    pub fn rmqueue_smallest(
        &self,
        l: &mut ZoneLocked,
        order: u8,
        migratetype: MigrateType,
    ) -> Option<Pfn> {
        let found = self.smallest(order, migratetype)?;
        let pfn = self.list(found, migratetype).head()?;
        self.del_from_list(l, pfn);
        self.expand(pfn, order, found, migratetype);
        Some(pfn)
    }

    /// Takes a block of `order`, from another type's pageblocks if need be (`__rmqueue`). Returns
    /// it and the type of the list that it was counted on.
    pub fn rmqueue(
        &self,
        l: &mut ZoneLocked,
        order: u8,
        migratetype: MigrateType,
        no_fragment: bool,
        fallback: &mut Fallback,
    ) -> Option<(Pfn, MigrateType)> {
        let migratetype =
            if self.rules.grouping_disabled { MigrateType::Unmovable } else { migratetype };
        if let Some(pfn) = self.rmqueue_smallest(l, order, migratetype) {
            return Some((pfn, migratetype));
        }
        self.rmqueue_fallback(l, order, migratetype, no_fragment, fallback)
    }

    #[cold]
    fn rmqueue_fallback(
        &self,
        l: &mut ZoneLocked,
        order: u8,
        start: MigrateType,
        no_fragment: bool,
        fallback: &mut Fallback,
    ) -> Option<(Pfn, MigrateType)> {
        let min_order = if no_fragment { order.max(PAGEBLOCK_ORDER) } else { order };
        for current in (min_order..=MAX_PAGE_ORDER).rev() {
            let Some(from) = self.find_fallback(current, start) else { continue };
            if !self.can_steal(current, start) && self.rules.claims_then_steals {
                break;
            }
            let breaks_up =
                !self.can_steal(current, start) && start == MigrateType::Movable && current > order;
            let (current, from) = if breaks_up && self.rules.finds_smallest {
                let smallest = (order..=MAX_PAGE_ORDER)
                    .find_map(|o| self.find_fallback(o, start).map(|from| (o, from)));
                smallest.unwrap_or((current, from))
            } else {
                (current, from)
            };
            if self.steal_suitable(l, current, from, start, fallback) {
                fallback.fallbacks += 1;
                return self.rmqueue_smallest(l, order, start).map(|pfn| (pfn, start));
            }
        }
        if !self.rules.claims_then_steals || no_fragment {
            return None;
        }
        // The newer "steal" pass: one block off the other type's own list, no type changes.
        let (current, from) = (order..=MAX_PAGE_ORDER)
            .find_map(|o| self.find_fallback(o, start).map(|from| (o, from)))?;
        let pfn = self.list(current, from).head()?;
        self.del_from_list(l, pfn);
        self.expand(pfn, order, current, from);
        fallback.fallbacks += 1;
        Some((pfn, from))
    }

    /// The first fallback type with a block of this order.
    fn find_fallback(&self, order: u8, start: MigrateType) -> Option<MigrateType> {
        fallbacks(start).into_iter().find(|t| !self.list(order, *t).is_empty())
    }

    /// May the whole pageblock change hands (`can_steal_fallback`)?
    fn can_steal(&self, order: u8, start: MigrateType) -> bool {
        order >= PAGEBLOCK_ORDER / 2
            || matches!(start, MigrateType::Reclaimable | MigrateType::Unmovable)
            || self.rules.grouping_disabled
    }

    /// Moves the head block of (`order`, `from`), or its pageblock, to the lists of `start`
    /// (`steal_suitable_fallback`). False: nothing was moved.
    fn steal_suitable(
        &self,
        l: &mut ZoneLocked,
        order: u8,
        from: MigrateType,
        start: MigrateType,
        fallback: &mut Fallback,
    ) -> bool {
        let Some(pfn) = self.list(order, from).head() else { return false };
        if order >= PAGEBLOCK_ORDER {
            for block in 0..1 << (order - PAGEBLOCK_ORDER) {
                self.pageblocks.set_migratetype(pfn.add(block * PAGEBLOCK_NR_PAGES), start);
                fallback.claimed += 1;
            }
            self.move_to_list(pfn, start);
            return true;
        }
        let whole_block = self.can_steal(order, start);
        self.boost_watermark(l);
        if !whole_block {
            self.move_to_list(pfn, start);
            return true;
        }
        let block = Pfn(pfn.0 & !(PAGEBLOCK_NR_PAGES - 1));
        let (free, movable) = self.count_pageblock(block);
        let alike = match (start, from) {
            (MigrateType::Movable, _) => movable,
            (_, MigrateType::Movable) => PAGEBLOCK_NR_PAGES.saturating_sub(free + movable),
            _ => 0,
        };
        let claims = free + alike >= PAGEBLOCK_NR_PAGES / 2 || self.rules.grouping_disabled;
        if self.rules.claims_then_steals && !claims {
            return false;
        }
        self.move_freepages_block(l, block, start);
        if claims {
            self.pageblocks.set_migratetype(block, start);
            fallback.claimed += 1;
        }
        true
    }

    /// Moves a free block to the tail of another type's list (`move_to_free_list`).
    fn move_to_list(&self, pfn: Pfn, to: MigrateType) {
        let state = self.frames.get(pfn).state();
        self.list(state.order(), state.cached_type()).remove(self.frames, pfn);
        self.frames.get(pfn).set_state(FrameState::free(state.order(), to));
        self.list(state.order(), to).push_tail(self.frames, pfn);
    }

    /// Free pages of a pageblock, and movable pages in use.
    fn count_pageblock(&self, block: Pfn) -> (u32, u32) {
        let (mut free, mut movable) = (0, 0);
        for (_, state) in self.blocks_of(block, PAGEBLOCK_NR_PAGES) {
            match state.kind() {
                FrameKind::Buddy => free += 1 << state.order(),
                FrameKind::Allocated if state.has(crate::zone::frame::flag::LRU) => {
                    movable += 1 << state.order();
                }
                FrameKind::Allocated
                | FrameKind::None
                | FrameKind::Pcp
                | FrameKind::Offline
                | FrameKind::Taken => {}
            }
        }
        (free, movable)
    }

    /// Heads of blocks in a range, skipping what free and allocated blocks cover.
    pub fn blocks_of(
        &self,
        first: Pfn,
        pages: u32,
    ) -> impl Iterator<Item = (Pfn, FrameState)> + use<'_> {
        let end = (first.0 + pages).min(self.frames.len() as u32);
        let mut next = first.0;
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let pfn = Pfn(next);
            let state = self.frames.get(pfn).state();
            next += match state.kind() {
                FrameKind::Buddy | FrameKind::Allocated | FrameKind::Pcp => 1 << state.order(),
                FrameKind::None | FrameKind::Offline | FrameKind::Taken => 1,
            };
            Some((pfn, state))
        })
    }

    /// Moves all free blocks of a pageblock to the lists of `to`, at the tail; returns the pages
    /// moved (`move_freepages_block`).
    pub fn move_freepages_block(&self, _l: &mut ZoneLocked, block: Pfn, to: MigrateType) -> u32 {
        let mut moved = 0;
        for (pfn, state) in self.blocks_of(block, PAGEBLOCK_NR_PAGES) {
            if state.kind() == FrameKind::Buddy {
                self.move_to_list(pfn, to);
                moved += 1 << state.order();
            }
        }
        moved
    }

    /// Raises the watermark after a fallback, so that kswapd makes room for whole pageblocks
    /// (`boost_watermark`, 5.0+).
    fn boost_watermark(&self, l: &mut ZoneLocked) {
        let zone = self.zone;
        let high = zone.wmark_unboosted(crate::zone::Wmark::High);
        if self.rules.boost_factor == 0
            || zone.managed_pages() < 4 * u64::from(PAGEBLOCK_NR_PAGES)
            || high == 0
        {
            return;
        }
        let block = u64::from(PAGEBLOCK_NR_PAGES);
        let max = (high * u64::from(self.rules.boost_factor) / 10000).max(block);
        zone.set_watermark_boost(l, (zone.watermark_boost() + block).min(max));
        zone.set_flag(crate::zone::zone_flag::BOOSTED_WATERMARK);
    }

    /// Takes up to `count` blocks of `order` and appends them to `list` in the order in which
    /// single requests would get them (`rmqueue_bulk`); returns how many. Watermarks are not
    /// looked at: one passed check lets the whole batch leave the zone.
    #[expect(clippy::too_many_arguments, reason = "the kernel's own signature and the CPU")]
    pub fn rmqueue_bulk(
        &self,
        l: &mut ZoneLocked,
        cpu: CpuId,
        order: u8,
        count: u32,
        list: &FrameList,
        migratetype: MigrateType,
        no_fragment: bool,
        fallback: &mut Fallback,
    ) -> u32 {
        let wanted =
            if self.rules.grouping_disabled { MigrateType::Unmovable } else { migratetype };
        let on_pcp = FrameState::on_pcp(order, migratetype);
        let mut got = 0;
        // Pages by type of the list that they leave: the wanted one, and others one by one.
        let mut from_wanted = 0;
        while got < count {
            if let Some(found) = self.smallest(order, wanted) {
                let Some(pfn) = self.list(found, wanted).head() else { break };
                self.del_from_list(l, pfn);
                let taken = (count - got).min(1 << (found - order));
                list.push_tail_run(self.frames, pfn, taken, 1 << order, |frame| {
                    frame.set_state(on_pcp);
                });
                self.free_rest(pfn, taken << order, found, wanted);
                got += taken;
                from_wanted += taken;
            } else if let Some((pfn, from)) =
                self.rmqueue_fallback(l, order, wanted, no_fragment, fallback)
            {
                self.frames.get(pfn).set_state(on_pcp);
                list.push_tail(self.frames, pfn);
                got += 1;
                if from == wanted {
                    from_wanted += 1;
                } else {
                    self.account(l, cpu, -(1 << order), from);
                }
            } else {
                break;
            }
        }
        if from_wanted > 0 {
            self.account(l, cpu, -i64::from(from_wanted << order), wanted);
        }
        got
    }

    /// Puts what is left of a block of `order` behind its first `taken` pages back, as the largest
    /// aligned blocks: what splitting for one request after the other leaves.
    fn free_rest(&self, pfn: Pfn, taken: u32, order: u8, migratetype: MigrateType) {
        let mut at = taken;
        while at < 1 << order {
            let piece = at.trailing_zeros() as u8;
            self.add_to_list(pfn.add(at), piece, migratetype, FreeTo::Head);
            at += 1 << piece;
        }
    }
}

#[cfg(all(test, not(feature = "explore")))]
#[path = "buddy_tests.rs"]
mod tests;
