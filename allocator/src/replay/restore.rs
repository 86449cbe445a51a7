//! A booted model takes up a state that was recorded from a real kernel.
//!
//! **What.** [`Kernel::restore`] replaces what boot made of the free lists: each frame of the machine
//! becomes part of a free block, of a block on a pcplist, or of an allocated one, and each pageblock
//! gets its type. Sizes and marks are set to what the recorded kernel had.
//!
//! **Why.** A replay is held against what the kernel did next; it has to begin where the kernel was.
//!
//! **Source.** /proc/kpageflags (free blocks), /proc/zoneinfo (pcp counts, high, marks),
//! /proc/pagetypeinfo (types).
//!
//! **Differs.** No file says in which order blocks stand on a free list: here they stand by frame
//! number. What was allocated has no owner: nobody frees it but a replayed event that names it.

use crate::gfp::MigrateType;
use crate::ids::{CpuId, Pfn, ZoneId};
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;
use crate::zone::buddy::FreeTo;
use crate::zone::frame::{FrameKind, FrameState};
use crate::zone::pcp::PCP_BATCH_SCALE_MAX;

/// What to take up. Frames that are named nowhere become allocated pages of order 0.
#[derive(Clone, Debug, Default)]
pub struct RecordedState {
    /// Pageblocks whose type is not Movable, by their first frame.
    pub types: Vec<(Pfn, MigrateType)>,
    /// Free blocks, by frame number.
    pub free: Vec<(Pfn, u8)>,
    /// Allocated blocks of order 1 and up.
    pub allocated: Vec<(Pfn, u8)>,
    /// pcplists.
    pub pcp: Vec<RecordedPcp>,
    /// min, low, high and promo marks of zones.
    pub marks: Vec<(ZoneId, [u64; 4])>,
}

/// A limit that tunes itself, and the batch that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunedHigh {
    /// The limit.
    pub high: u32,
    /// Its least value.
    pub high_min: u32,
    /// Its largest value.
    pub high_max: u32,
    /// Pages moved at once.
    pub batch: u32,
}

/// One CPU's lists of a zone.
#[derive(Clone, Debug)]
pub struct RecordedPcp {
    /// The zone.
    pub zone: ZoneId,
    /// The CPU.
    pub cpu: CpuId,
    /// The tuned limit, if the kernel has one (6.7+), and what it is tuned between.
    pub high: Option<TunedHigh>,
    /// Blocks from the head of their list on, with the type of the list.
    pub blocks: Vec<(Pfn, u8, MigrateType)>,
    /// Refills of order 0 in a row so far, as a shift of the batch.
    pub alloc_factor: u8,
    /// Pages freed in a row so far.
    pub free_count: u32,
}

impl Kernel {
    /// Takes up a recorded state. The caller guarantees that nobody else uses the model, and that
    /// nothing has been allocated since boot.
    ///
    /// Returns the blocks that could not be placed because another one holds their frames, or
    /// because they are no frames of the machine.
    pub fn restore(&self, state: &RecordedState) -> Vec<(Pfn, u8)> {
        self.take_all();
        let mut refused = Vec::new();
        for &(pfn, migratetype) in &state.types {
            if self.pageblocks.zone(pfn).is_some() {
                self.pageblocks.set_migratetype(pfn, migratetype);
            }
        }
        for &(pfn, order) in &state.free {
            if !self.restore_free(pfn, order) {
                refused.push((pfn, order));
            }
        }
        for pcp in &state.pcp {
            self.restore_pcp(pcp, &mut refused);
        }
        for &(pfn, order) in &state.allocated {
            if self.covers_allocated(pfn, order) {
                self.mark_inner(pfn, order);
                self.frames.get(pfn).set_state(FrameState::allocated(order));
            } else {
                refused.push((pfn, order));
            }
        }
        for &(zone, marks) in &state.marks {
            let zone = &self.zones[zone.index()];
            let locked = zone.lock.lock(|| {});
            zone.set_watermarks(&locked, marks);
        }
        for zone in self.populated_zones() {
            let mut locked = zone.lock.lock(|| {});
            zone.fold_free_pages(&mut locked);
        }
        refused
    }

    /// Frees every allocated block, whoever holds it: a replay is over. The caller guarantees that
    /// nobody else uses the model.
    pub fn free_all(&self, cx: &Cx) {
        let ranges = self.managed_ranges.lock().clone();
        for range in ranges {
            let mut at = range.first.0;
            while at < range.first.0 + range.pages {
                let state = self.frames.get(Pfn(at)).state();
                let (pages, is_held) = match state.kind() {
                    FrameKind::Allocated => (1 << state.order(), true),
                    FrameKind::Buddy | FrameKind::Pcp => (1 << state.order(), false),
                    FrameKind::None | FrameKind::Offline | FrameKind::Taken => (1, false),
                };
                if is_held {
                    self.free_pages(cx, Pfn(at), state.order());
                }
                at += pages;
            }
        }
    }

    /// Empties all free lists and makes each managed frame an allocated page.
    fn take_all(&self) {
        for zone in self.populated_zones() {
            let mut locked = zone.lock.lock(|| {});
            let buddy = self.buddy(zone);
            for (order, area) in zone.free_area.iter().enumerate() {
                for migratetype in MigrateType::ALL {
                    while let Some(pfn) = area.list(migratetype).head() {
                        buddy.del_from_list(&mut locked, pfn);
                        buddy.account(&mut locked, CpuId(0), -(1 << order), migratetype);
                    }
                }
            }
        }
        for range in self.managed_ranges.lock().iter() {
            for pfn in range.first.0..range.first.0 + range.pages {
                self.frames.get(Pfn(pfn)).set_state(FrameState::allocated(0));
            }
        }
    }

    /// Are all frames of the block allocated pages of one zone?
    pub(crate) fn covers_allocated(&self, pfn: Pfn, order: u8) -> bool {
        let end = u64::from(pfn.0) + (1 << order);
        let zone = self.pageblocks.zone(pfn);
        let is_page = |frame: u32| {
            self.pageblocks.zone(Pfn(frame)) == zone
                && self.frames.get(Pfn(frame)).state() == FrameState::allocated(0)
        };
        zone.is_some() && end <= self.frames.len() as u64 && (pfn.0..end as u32).all(is_page)
    }

    /// The frames behind the head of a block have no marks of their own.
    pub(crate) fn mark_inner(&self, pfn: Pfn, order: u8) {
        for inner in 1..1u32 << order {
            self.frames.get(pfn.add(inner)).set_state(FrameState::new(FrameKind::None, 0));
        }
    }

    fn restore_free(&self, pfn: Pfn, order: u8) -> bool {
        if !self.covers_allocated(pfn, order) {
            return false;
        }
        let Some(zone) = self.page_zone(pfn) else { return false };
        let migratetype = self.pageblocks.of(pfn).migratetype();
        self.mark_inner(pfn, order);
        let mut locked = zone.lock.lock(|| {});
        let buddy = self.buddy(zone);
        buddy.put_back(pfn, order, migratetype, FreeTo::Tail);
        buddy.account(&mut locked, CpuId(0), 1 << order, migratetype);
        true
    }

    fn restore_pcp(&self, recorded: &RecordedPcp, refused: &mut Vec<(Pfn, u8)>) {
        let zone = &self.zones[recorded.zone.index()];
        let Some(pcp) = zone.pcp.get(recorded.cpu.index()) else { return };
        let mut lists = pcp.enter();
        for &(pfn, order, migratetype) in &recorded.blocks {
            let pindex = self.pcp_rules.pindex(order, migratetype);
            let Some(pindex) = pindex.filter(|_| self.covers_allocated(pfn, order)) else {
                refused.push((pfn, order));
                continue;
            };
            self.mark_inner(pfn, order);
            self.frames.get(pfn).set_state(FrameState::on_pcp(order, migratetype));
            lists.list(pindex).push_tail(&self.frames, pfn);
            pcp.add_count(1 << order);
        }
        if self.pcp_rules.auto_tune {
            if let Some(tuned) = recorded.high {
                pcp.update(&self.pcp_rules, tuned.high_min, tuned.high_max, tuned.batch);
                pcp.high.store(tuned.high, Ordering::Relaxed);
            }
            lists.alloc_factor = recorded.alloc_factor.min(PCP_BATCH_SCALE_MAX as u8);
            lists.free_count = recorded.free_count;
        }
    }
}
