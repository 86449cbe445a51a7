//! Isolating pageblocks: nothing may be allocated from them any more.
//!
//! **What.** `start_isolate_page_range`, `set_migratetype_isolate`, `has_unmovable_pages`,
//! `undo_isolate_page_range`, `test_pages_isolated` (docs/kernel/hotplug.md#g2; steps I1 to I7).
//!
//! **Why it can fail to keep pages out.** Pages on pcplists and in transit have no reference and
//! are on no free list: I3 passes over them, and only the final test sees them.

use crate::gfp::MigrateType;
use crate::hotplug::HotplugError;
use crate::ids::{MAX_PAGE_ORDER, PAGEBLOCK_NR_PAGES, PAGEBLOCK_ORDER, Pfn, ZoneIdx};
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, count};
use crate::sync::atomic::Ordering;
use crate::zone::buddy::FreeTo;
use crate::zone::frame::{FrameKind, flag};
use crate::zone::{Zone, ZoneLocked};

/// An isolated range, as the oracle remembers it.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// First frame.
    pub first: Pfn,
    /// Pages.
    pub pages: u32,
    /// By CPU: the number of the pcp section that was open when the last pageblock was isolated.
    pub open_sections: Vec<Option<u32>>,
}

impl Isolation {
    /// Is the frame in the range?
    pub fn holds(&self, pfn: Pfn) -> bool {
        (self.first.0..self.first.0 + self.pages).contains(&pfn.0)
    }
}

impl Kernel {
    /// Isolates all pageblocks of a range, the ends first if the release does so
    /// (`start_isolate_page_range`). `drains`: drain the zone's pcplists after each (I7).
    ///
    /// # Errors
    /// -EBUSY for an unmovable page; what was isolated is undone.
    pub fn start_isolate_page_range(
        &self,
        cx: &Cx,
        zone: &Zone,
        first: Pfn,
        pages: u32,
        drains: bool,
    ) -> Result<u32, HotplugError> {
        let blocks = pages / PAGEBLOCK_NR_PAGES;
        let mut order: Vec<u32> = (0..blocks).collect();
        if self.policy.release.isolates_ends_first() && blocks > 1 {
            let last = order.pop().unwrap_or(0);
            order.insert(1, last);
        }
        let mut nr_drains = 0;
        for (done, block) in order.iter().enumerate() {
            let at = first.add(block * PAGEBLOCK_NR_PAGES);
            if let Err(unmovable) = self.set_migratetype_isolate(cx, zone, at) {
                for block in &order[..done] {
                    let at = first.add(block * PAGEBLOCK_NR_PAGES);
                    self.unset_migratetype_isolate(cx, zone, at);
                }
                self.window_given_up(cx, Point::I6Unlock);
                return Err(HotplugError::Unmovable(unmovable.0));
            }
            if drains {
                self.point(cx, Point::I7Drain);
                self.drain_all_pages(cx, Some(zone.id));
                nr_drains += 1;
            }
        }
        let open_sections = zone.pcp.iter().map(crate::zone::pcp::Pcp::open_section).collect();
        let isolation = Isolation { first, pages, open_sections };
        self.hotplug.isolations.lock().push(isolation);
        Ok(nr_drains)
    }

    /// I1 to I6 for one pageblock.
    fn set_migratetype_isolate(&self, cx: &Cx, zone: &Zone, block: Pfn) -> Result<(), Pfn> {
        self.point_event(cx, Point::I1Lock, [u64::from(block.0), 0, 0]);
        let moved = {
            let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
            if self.pageblocks.of(block).migratetype() == MigrateType::Isolate {
                return Err(block);
            }
            if let Some(unmovable) = self.has_unmovable_pages(zone, block) {
                cx.event(Point::I3Unmovable, [u64::from(unmovable.0), 0, 0]);
                return Err(unmovable);
            }
            self.split_larger_block(&mut locked, zone, block);
            let from = self.pageblocks.of(block).migratetype();
            self.pageblocks.set_migratetype(block, MigrateType::Isolate);
            zone.nr_isolate_pageblock.fetch_add(1, Ordering::Relaxed);
            cx.event(Point::I4Type, [u64::from(block.0), 0, 0]);
            let buddy = self.buddy(zone);
            let moved = buddy.move_freepages_block(&mut locked, block, MigrateType::Isolate);
            buddy.account(&mut locked, cx.cpu(), -i64::from(moved), from);
            moved
        };
        self.point_event(cx, Point::I6Unlock, [u64::from(moved), 0, 0]);
        Ok(())
    }

    /// A free block larger than a pageblock that covers this one is taken apart first, so that the
    /// other pageblock stays as it is (6.10+; before, ranges are aligned so that both go).
    fn split_larger_block(&self, l: &mut ZoneLocked, zone: &Zone, block: Pfn) {
        let head = Pfn(block.0 & !((1 << MAX_PAGE_ORDER) - 1));
        let state = self.frames.get(head).state();
        if !state.is_buddy_of(MAX_PAGE_ORDER) {
            return;
        }
        let buddy = self.buddy(zone);
        let on = buddy.del_from_list(l, head);
        for half in 0..1 << (MAX_PAGE_ORDER - PAGEBLOCK_ORDER) {
            buddy.put_back(head.add(half * PAGEBLOCK_NR_PAGES), PAGEBLOCK_ORDER, on, FreeTo::Tail);
        }
    }

    /// The first page of a pageblock that can't be moved (`has_unmovable_pages`).
    pub fn has_unmovable_pages(&self, zone: &Zone, block: Pfn) -> Option<Pfn> {
        let takes_all =
            zone.idx() == ZoneIdx::Movable && self.policy.release.movable_zone_isolates_all();
        if takes_all {
            return None;
        }
        let buddy = self.buddy(zone);
        let found = buddy.blocks_of(block, PAGEBLOCK_NR_PAGES).find(|(_, state)| {
            state.kind() == FrameKind::Allocated
                && state.refs() > 0
                && !state.has(flag::LRU)
                && !state.has(flag::MOVABLE_OPS)
                && !state.has(flag::LRU_BATCH)
                && !state.has(flag::HWPOISON)
        });
        found.map(|(pfn, _)| pfn)
    }

    /// Makes a range allocatable again (`undo_isolate_page_range`).
    pub fn undo_isolate_page_range(&self, cx: &Cx, zone: &Zone, first: Pfn, pages: u32) {
        for block in 0..pages / PAGEBLOCK_NR_PAGES {
            self.unset_migratetype_isolate(cx, zone, first.add(block * PAGEBLOCK_NR_PAGES));
        }
        self.forget_isolation(first);
    }

    /// The oracle forgets an isolation that ended.
    pub fn forget_isolation(&self, first: Pfn) {
        self.hotplug.isolations.lock().retain(|i| i.first != first);
    }

    /// One pageblock back to Movable; its free blocks to the tail, a whole one merged anew.
    pub fn unset_migratetype_isolate(&self, cx: &Cx, zone: &Zone, block: Pfn) {
        let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        if self.pageblocks.of(block).migratetype() != MigrateType::Isolate {
            return;
        }
        let buddy = self.buddy(zone);
        let whole = self.frames.get(block).state().is_buddy_of(PAGEBLOCK_ORDER);
        if whole {
            buddy.del_from_list(&mut locked, block);
            self.pageblocks.set_migratetype(block, MigrateType::Movable);
            zone.nr_isolate_pageblock.fetch_sub(1, Ordering::Relaxed);
            buddy.free_one_page(
                &mut locked,
                cx.cpu(),
                block,
                PAGEBLOCK_ORDER,
                MigrateType::Movable,
                FreeTo::Tail,
            );
            return;
        }
        let moved = buddy.move_freepages_block(&mut locked, block, MigrateType::Movable);
        buddy.account(&mut locked, cx.cpu(), i64::from(moved), MigrateType::Movable);
        self.pageblocks.set_migratetype(block, MigrateType::Movable);
        zone.nr_isolate_pageblock.fetch_sub(1, Ordering::Relaxed);
    }

    /// Are all pages of a range free and isolated (`test_pages_isolated`)? Err: the first that is
    /// not: on a pcplist, in transit or allocated.
    pub fn test_pages_isolated(
        &self,
        cx: &Cx,
        zone: &Zone,
        first: Pfn,
        pages: u32,
    ) -> Result<(), Pfn> {
        let end = first.0 + pages;
        let _locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        let mut at = first.0;
        while at < end {
            let state = self.frames.at(at).state();
            match state.kind() {
                FrameKind::Buddy => at += 1 << state.order(),
                FrameKind::Taken => at += 1,
                FrameKind::None | FrameKind::Pcp | FrameKind::Allocated | FrameKind::Offline => {
                    return Err(Pfn(at));
                }
            }
        }
        Ok(())
    }
}
