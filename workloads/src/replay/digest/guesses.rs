//! What fires no event, guessed from what happens to the frames later, and guesses taken back.

use allocator::gfp::MigrateType;
use allocator::ids::Pfn;

use super::super::event::{Event, Op};
use super::super::lists::ListId;
use super::super::trace::Packed;
use super::{Digesting, NO_EVENT, Place, Slot};

/// More pages than that missing from a list at once are not the bulk allocator's doing.
const MOST_MISSING: usize = 512;

impl Digesting<'_> {
    /// The blocks of a list before `below` have left it without a record.
    pub(super) fn missing(&mut self, list: ListId, below: Option<Pfn>) {
        if below.is_some_and(|pfn| self.lists.is_head(pfn)) {
            return;
        }
        let Some(gone) = self.lists.above(list, below, MOST_MISSING) else {
            self.puzzles.gaps += 1;
            return;
        };
        // The uppermost went first.
        for pfn in gone {
            self.lists.remove(pfn);
            // Else its type was a guess: it lies on another list.
            if self.types[pfn.pageblock()].is_some() {
                let freed = self.owner[pfn.index()];
                self.implied(pfn, list, freed);
            }
        }
    }

    /// A free found the pcp section taken, as far as can be told.
    pub(super) fn free_was_inside(&mut self, pfn: Pfn) {
        let freed = self.owner[pfn.index()];
        if self.place[pfn.index()] == Place::Pcp && freed != NO_EVENT {
            self.lists.remove(pfn);
            self.went_straight(pfn, freed);
        }
    }

    /// If the page was thought to have gone straight to the free lists: it lay on its pcplist.
    pub(super) fn was_on_pcp(&mut self, pfn: Pfn) {
        let freed = self.owner[pfn.index()];
        if self.place[pfn.index()] != Place::Buddy || freed == NO_EVENT {
            return;
        }
        let event = &mut self.events[freed as usize];
        event.op = Op::Free;
        let order = event.order;
        self.puzzles.taken_back += 1;
        if self.is_in_window() {
            self.figures.straight_frees = self.figures.straight_frees.saturating_sub(1);
        }
        self.set_place(pfn, order, Place::Unknown, NO_EVENT);
    }

    /// A free had gone to the free lists.
    pub(super) fn went_straight(&mut self, pfn: Pfn, freed: u32) {
        let event = &mut self.events[freed as usize];
        if event.op == Op::Free {
            event.op = Op::FreeStraight;
        }
        let order = event.order;
        self.set_place(pfn, order, Place::Buddy, freed);
        if self.is_in_window() {
            self.figures.straight_frees += 1;
        }
    }

    /// The bulk allocator has taken a page.
    pub(super) fn implied(&mut self, pfn: Pfn, list: ListId, freed: u32) {
        let slot = self.slots.len() as u32;
        let event = self.push(Event {
            pfn: pfn.0,
            slot,
            cpu: list.cpu(),
            op: Op::Bulk,
            order: 0,
            tag: list.migratetype() as u8,
            in_interrupt: false,
        });
        self.slots.push(Slot {
            pfn,
            at_ns: 0,
            event,
            freed,
            cpu: list.cpu(),
            order: 0,
            is_split: false,
            is_implied: true,
        });
        self.set_place(pfn, 0, Place::Held, slot);
        self.figures.bulk_allocs += 1;
    }

    /// If the page was thought to be the bulk allocator's: it was on its list all the while.
    pub(super) fn take_back(&mut self, pfn: Pfn) -> Option<Slot> {
        if self.place[pfn.index()] != Place::Held {
            return None;
        }
        let slot = self.slots[self.owner[pfn.index()] as usize];
        if !slot.is_implied {
            return None;
        }
        self.events[slot.event as usize].op = Op::Nop;
        self.puzzles.taken_back += 1;
        self.figures.bulk_allocs -= 1;
        self.set_place(pfn, 0, Place::Unknown, NO_EVENT);
        Some(slot)
    }

    /// A page is freed that was thought to have gone straight to the free lists: it lay on its pcplist,
    /// and the bulk allocator had taken it from there.
    pub(super) fn bulk_had_taken(&mut self, record: &Packed) {
        let pfn = Pfn(record.pfn);
        let freed = self.owner[pfn.index()];
        if self.place[pfn.index()] == Place::Buddy && freed != NO_EVENT && record.order == 0 {
            let cpu = self.events[freed as usize].cpu;
            self.was_on_pcp(pfn);
            let of = self.types[pfn.pageblock()].unwrap_or(MigrateType::Unmovable);
            if let Some(list) = ListId::of(cpu, 0, of) {
                self.implied(pfn, list, freed);
            }
        }
    }
}
