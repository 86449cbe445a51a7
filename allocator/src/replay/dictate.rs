//! Doing what a recorded kernel did, block by block.
//!
//! **What.** A replay by pfn dictates which block leaves and which enters which list; the model does
//! the rest: splits, merges, counts. Also the splitting of allocated blocks, for both ways to replay.
//!
//! **Why.** It checks the buddy's arithmetic and the accounting apart from all choices: every block
//! that the kernel took must be free in the model, and in the end the same blocks must be.
//!
//! **Differs.** Nothing is decided here: no watermarks, no limits of pcplists.

use crate::gfp::{MIGRATE_PCPTYPES, MigrateType};
use crate::ids::{PAGEBLOCK_NR_PAGES, PAGEBLOCK_ORDER, Pfn};
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, count};
use crate::zone::buddy::FreeTo;
use crate::zone::frame::{FrameKind, FrameState};

/// What was found where the trace said a free block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Within a free block of this order, on the list of this type.
    Free(u8, MigrateType),
    /// On a pcplist.
    OnPcp,
    /// Allocated.
    Allocated,
    /// In several places: nothing was changed.
    Nowhere,
}

impl Kernel {
    /// A block leaves the free lists: for this CPU's pcplist of a type (its tail, as a refill), or for
    /// the requester. Where the model has it elsewhere, it is taken from there.
    pub fn dictate_take(&self, cx: &Cx, pfn: Pfn, order: u8, to_pcp: Option<MigrateType>) -> Taken {
        let Some(zone) = self.page_zone(pfn) else { return Taken::Nowhere };
        let mut found = {
            let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
            let buddy = self.buddy(zone);
            buddy.take_block(&mut locked, pfn, order).map_or(Taken::Nowhere, |(of, from)| {
                buddy.account(&mut locked, cx.cpu(), -(1 << order), of);
                Taken::Free(from, of)
            })
        };
        let state = self.frames.get(pfn).state();
        if found == Taken::Nowhere {
            if state.kind() == FrameKind::Pcp && state.order() == order {
                self.leave_pcp(cx, pfn);
                found = Taken::OnPcp;
            } else if self.covers_allocated(pfn, order) {
                found = Taken::Allocated;
            } else {
                return found;
            }
        }
        self.mark_inner(pfn, order);
        match to_pcp.and_then(|of| Some((of, self.pcp_rules.pindex(order, pcp_type(of))?))) {
            Some((of, pindex)) => {
                let pcp = &zone.pcp[cx.cpu().index()];
                let lists = pcp.enter();
                self.frames.get(pfn).set_state(FrameState::on_pcp(order, pcp_type(of)));
                lists.list(pindex).push_tail(&self.frames, pfn);
                pcp.add_count(1 << order);
            }
            None => self.frames.get(pfn).set_state(FrameState::allocated(order)),
        }
        found
    }

    /// A block that lies on this CPU's pcplist goes to a requester. False, and nothing done, if it
    /// is on no pcplist and was not taken for a requester either.
    pub fn dictate_alloc(&self, cx: &Cx, pfn: Pfn, order: u8) -> bool {
        let state = self.frames.get(pfn).state();
        match state.kind() {
            FrameKind::Pcp if state.order() == order => {
                self.leave_pcp(cx, pfn);
                self.frames.get(pfn).set_state(FrameState::allocated(order));
                true
            }
            FrameKind::Allocated => state.order() == order,
            FrameKind::Buddy
            | FrameKind::None
            | FrameKind::Pcp
            | FrameKind::Offline
            | FrameKind::Taken => {
                // Stolen singly: no record of it leaving the free lists.
                matches!(self.dictate_take(cx, pfn, order, None), Taken::Free(..))
            }
        }
    }

    /// A block goes to the head of this CPU's pcplist, or straight to the free lists. False, and
    /// nothing done, if it is not allocated.
    pub fn dictate_free(&self, cx: &Cx, pfn: Pfn, order: u8, straight: bool) -> bool {
        if self.frames.get(pfn).state() != FrameState::allocated(order) {
            return false;
        }
        let Some(zone) = self.page_zone(pfn) else { return false };
        let of = self.pageblocks.of(pfn).migratetype();
        let pindex = self.pcp_rules.pindex(order, pcp_type(of));
        match pindex.filter(|_| !straight && of != MigrateType::Isolate) {
            None => self.free_one_page(cx, zone, pfn, order, of),
            Some(pindex) => {
                let pcp = &zone.pcp[cx.cpu().index()];
                let lists = pcp.enter();
                self.frames.get(pfn).set_state(FrameState::on_pcp(order, pcp_type(of)));
                lists.list(pindex).push_head(&self.frames, pfn);
                pcp.add_count(1 << order);
            }
        }
        true
    }

    /// A block goes from this CPU's pcplist to the free lists of a type. False, and nothing done, if
    /// it is on no pcplist.
    pub fn dictate_drain(&self, cx: &Cx, pfn: Pfn, order: u8, to: MigrateType) -> bool {
        let state = self.frames.get(pfn).state();
        let Some(zone) = self.page_zone(pfn) else { return false };
        if state.kind() != FrameKind::Pcp || state.order() != order {
            return false;
        }
        self.leave_pcp(cx, pfn);
        let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        self.buddy(zone).free_one_page(&mut locked, cx.cpu(), pfn, order, to, FreeTo::Head);
        true
    }

    /// The pageblocks of a free block change their type, and what is free in them its list.
    pub fn dictate_claim(&self, cx: &Cx, pfn: Pfn, order: u8, to: MigrateType) {
        let Some(zone) = self.page_zone(pfn) else { return };
        let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        let buddy = self.buddy(zone);
        let first = Pfn(pfn.0 & !(PAGEBLOCK_NR_PAGES - 1));
        for block in 0..1 << order.saturating_sub(PAGEBLOCK_ORDER) {
            let block = first.add(block * PAGEBLOCK_NR_PAGES);
            if self.pageblocks.zone(block) == Some(zone.id) {
                self.pageblocks.set_migratetype(block, to);
                buddy.move_freepages_block(&mut locked, block, to);
            }
        }
    }

    /// The frames of an allocated block become allocated pages of their own (`split_page`).
    pub fn split_page(&self, pfn: Pfn, order: u8) {
        for frame in 0..1 << order {
            self.frames.get(pfn.add(frame)).set_state(FrameState::allocated(0));
        }
    }

    /// Allocated pages become a block again, to be freed as one. False, and nothing done, if some
    /// are none.
    pub fn join_pages(&self, pfn: Pfn, order: u8) -> bool {
        let joins = self.covers_allocated(pfn, order);
        if joins {
            self.mark_inner(pfn, order);
            self.frames.get(pfn).set_state(FrameState::allocated(order));
        }
        joins
    }

    /// Takes a block off this CPU's pcplist.
    fn leave_pcp(&self, cx: &Cx, pfn: Pfn) {
        let state = self.frames.get(pfn).state();
        let pindex = self.pcp_rules.pindex(state.order(), state.cached_type());
        let (Some(zone), Some(pindex)) = (self.page_zone(pfn), pindex) else { return };
        let pcp = &zone.pcp[cx.cpu().index()];
        let lists = pcp.enter();
        lists.list(pindex).remove(&self.frames, pfn);
        pcp.add_count(-(1 << state.order()));
    }
}

/// The type of the pcplist for a type: HIGHATOMIC pages lie on the Movable one.
fn pcp_type(of: MigrateType) -> MigrateType {
    if (of as usize) < MIGRATE_PCPTYPES { of } else { MigrateType::Movable }
}
