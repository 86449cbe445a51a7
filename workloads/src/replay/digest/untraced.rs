//! What tasks did of which the kernel records nothing.
//!
//! **What.** Some hosts keep a task out of every trace. What it allocates and frees shows only in what
//! happens to the frames next: a page that is held is allocated again. Where U says that a CPU has run
//! such a task since the page was allocated, its free is fed just before; else the trace is refused.
//!
//! **Why not always.** A record that somebody took out or changed looks the same.
//!
//! **Differs.** The free is later than it was, by as long as nobody asked for the page.

use allocator::gfp::MigrateType;
use allocator::ids::{CpuId, Pfn};

use super::super::event::{Event, NO_SLOT, Op};
use super::super::lists::ListId;
use super::super::trace::{Kind, Packed};
use super::{Digesting, NO_EVENT, Place};

/// Where a block went that was freed without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freed {
    /// Onto the pcplist of the record's CPU.
    OntoPcp,
    /// To the free lists.
    Straight,
}

impl Digesting<'_> {
    /// Has the CPU run an untraced task since the event?
    fn ran_untraced(&self, cpu: CpuId, since: u32) -> bool {
        self.untraced[cpu.index()] > since
    }

    /// The same of any CPU.
    fn any_ran_untraced(&self, since: u32) -> bool {
        self.untraced.iter().any(|until| *until > since)
    }

    /// A held block is allocated or drained: it was freed before that, onto the list of this CPU.
    pub(super) fn was_freed(&mut self, record: &Packed) -> Result<Freed, String> {
        let (pfn, cpu) = (Pfn(record.pfn), CpuId(record.cpu));
        let index = self.owner[pfn.index()];
        let slot = self.slots[index as usize];
        if (slot.pfn, slot.order, slot.is_split) != (pfn, record.order, false) {
            self.was_freed_straight(record, pfn)?;
            return Ok(Freed::Straight);
        }
        // A drain may be of another CPU's list.
        let explained = if record.kind == Kind::Drain {
            self.any_ran_untraced(slot.event)
        } else {
            self.ran_untraced(cpu, slot.event)
        };
        self.unless(explained, record, "which is allocated")?;
        self.push(Event { in_interrupt: false, ..Self::event(record, Op::Free, index, 0) });
        self.set_place(pfn, record.order, Place::Unknown, NO_EVENT);
        Ok(Freed::OntoPcp)
    }

    /// A frame of a held block is in a free block: the held one was freed before that.
    pub(super) fn was_freed_straight(&mut self, record: &Packed, frame: Pfn) -> Result<(), String> {
        let index = self.owner[frame.index()];
        let slot = self.slots[index as usize];
        self.unless(self.any_ran_untraced(slot.event), record, "which is allocated")?;
        let free = Event { in_interrupt: false, ..Self::event(record, Op::FreeStraight, index, 0) };
        if slot.is_split {
            let part = frame.0 - slot.pfn.0;
            self.push(Event { pfn: part, op: Op::FreePart, order: 0, ..free });
            self.set_place(frame, 0, Place::Buddy, NO_EVENT);
        } else {
            self.push(Event { pfn: slot.pfn.0, order: slot.order, ..free });
            self.set_place(slot.pfn, slot.order, Place::Buddy, NO_EVENT);
        }
        Ok(())
    }

    fn unless(&mut self, explained: bool, record: &Packed, what: &str) -> Result<(), String> {
        if explained {
            self.puzzles.untraced_frees += 1;
            return Ok(());
        }
        self.contradiction(record, what)
    }

    /// A page that lay on another CPU's pcplist is allocated here: it was taken there and freed here.
    pub(super) fn went_over(&mut self, record: &Packed, from: ListId) -> Result<(), String> {
        let pfn = Pfn(record.pfn);
        let freed = self.owner[pfn.index()];
        let since = if freed == NO_EVENT { 0 } else { freed };
        let explained = record.order == 0
            && self.ran_untraced(from.cpu(), since)
            && self.any_ran_untraced(since);
        self.unless(explained, record, "which lies on another CPU's pcplist")?;
        if record.order == 0 {
            self.lists.remove(pfn);
            self.implied(pfn, from, freed);
            let slot = self.owner[pfn.index()];
            self.push(Event { in_interrupt: false, ..Self::event(record, Op::Free, slot, 0) });
        }
        Ok(())
    }

    /// A free block is allocated from a pcplist: an untraced task had refilled the list.
    pub(super) fn was_taken(&mut self, record: &Packed, of: MigrateType) {
        if self.ran_untraced(CpuId(record.cpu), 0) {
            self.puzzles.untraced_takes += 1;
            self.push(Self::event(record, Op::Take, NO_SLOT, of as u8));
        }
    }

    /// A free page is freed: an untraced task had refilled a list with it, and taken it from there.
    pub(super) fn was_allocated(&mut self, record: &Packed) -> bool {
        let (pfn, cpu) = (Pfn(record.pfn), CpuId(record.cpu));
        let of = self.types[pfn.pageblock()].unwrap_or(MigrateType::Movable);
        let Some(list) = ListId::of(cpu, 0, of) else { return false };
        let explained = record.order == 0 && self.any_ran_untraced(0);
        if explained {
            self.was_taken(record, of);
            self.implied(pfn, list, NO_EVENT);
        }
        explained
    }
}
