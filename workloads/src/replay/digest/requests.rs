//! What was asked for and given back: A, F and B.

use allocator::gfp::MigrateType;
use allocator::ids::{CpuId, Pfn};

use super::super::event::{Event, NO_SLOT, Op};
use super::super::evidence::is_pcp_order;
use super::super::kernel_figures::Served;
use super::super::lists::ListId;
use super::super::trace::Packed;
use super::{Digesting, NO_EVENT, Place, Slot};

impl Digesting<'_> {
    pub(super) fn alloc(
        &mut self,
        index: usize,
        record: &Packed,
        of: MigrateType,
    ) -> Result<(), String> {
        let (pfn, cpu) = (Pfn(record.pfn), CpuId(record.cpu));
        let list = ListId::of(cpu, record.order, of).filter(|_| is_pcp_order(record.order));
        self.take_back(pfn);
        self.was_on_pcp(pfn);
        let place = self.place[pfn.index()];
        let served = match place {
            Place::Held => {
                self.was_freed(record)?;
                Served::Unknown
            }
            Place::Pcp => {
                let on = self.lists.of(pfn);
                if let Some(on) = on.filter(|on| on.cpu() != cpu) {
                    self.went_over(record, on)?;
                }
                // Straight from the free lists, as if it had been a refill of one.
                let straight = self.last_take[usize::from(record.cpu)]
                    == (record.pfn, self.last_record[usize::from(record.cpu)]);
                if let Some(on) = on.filter(|on| Some(*on) == list && !straight) {
                    self.missing(on, Some(pfn));
                }
                self.lists.remove(pfn);
                Served::OwnPcp
            }
            Place::Unknown => {
                if let Some(list) = list.filter(|list| !self.refilled.contains(list)) {
                    self.missing(list, None);
                }
                Served::Unknown
            }
            Place::Buddy => {
                self.was_taken(record, of);
                Served::FreeLists
            }
            Place::Taken => Served::Taken,
        };
        if is_pcp_order(record.order) && self.is_in_window() && index < self.trace.end {
            self.figures.served(served);
        }
        let slot = self.slots.len() as u32;
        let event = self.push(Self::event(record, Op::Alloc, slot, record.extra));
        self.slots.push(Slot {
            pfn,
            at_ns: record.at_ns,
            event,
            freed: NO_EVENT,
            cpu,
            order: record.order,
            is_split: false,
            is_implied: false,
        });
        self.set_place(pfn, record.order, Place::Held, slot);
        Ok(())
    }

    pub(super) fn free(&mut self, record: &Packed) {
        let (pfn, order) = (Pfn(record.pfn), record.order);
        self.bulk_had_taken(record);
        let place = self.place[pfn.index()];
        let event = match place {
            Place::Held => Some(self.free_held(record)),
            Place::Unknown => {
                self.figures.free_of_unknown(self.is_in_window());
                Some(self.push(Self::event(record, Op::Free, NO_SLOT, 0)))
            }
            Place::Pcp => {
                // The bulk allocator had taken it, at the latest now.
                let freed = self.owner[pfn.index()];
                self.lists.remove(pfn).map(|list| {
                    self.implied(pfn, list, freed);
                    let slot = self.owner[pfn.index()];
                    self.figures.free_of_unknown(self.is_in_window());
                    self.push(Self::event(record, Op::Free, slot, 0))
                })
            }
            Place::Buddy if self.was_allocated(record) => {
                let slot = self.owner[pfn.index()];
                self.figures.free_of_unknown(self.is_in_window());
                Some(self.push(Self::event(record, Op::Free, slot, 0)))
            }
            Place::Buddy | Place::Taken => None,
        };
        // What can't be fed is followed all the same.
        self.puzzles.frees += u64::from(event.is_none());
        let event = event.unwrap_or(NO_EVENT);
        let of = self.types[pfn.pageblock()].unwrap_or(MigrateType::Movable);
        match ListId::of(CpuId(record.cpu), order, of).filter(|_| is_pcp_order(order)) {
            Some(list) => {
                self.lists.remove(pfn);
                self.set_place(pfn, order, Place::Pcp, event);
                self.lists.push_head(list, pfn);
            }
            None => self.set_place(pfn, order, Place::Buddy, NO_EVENT),
        }
    }

    pub(super) fn free_held(&mut self, record: &Packed) -> u32 {
        let (pfn, index) = (Pfn(record.pfn), self.owner[record.pfn as usize]);
        let slot = self.slots[index as usize];
        if slot.is_implied {
            self.figures.free_of_unknown(self.is_in_window());
        } else {
            let lived = record.at_ns.saturating_sub(slot.at_ns);
            let crossed = slot.cpu.0 != record.cpu;
            self.figures.free_of_known(self.is_in_window(), lived, crossed);
        }
        if slot.pfn == pfn && slot.order == record.order && !slot.is_split {
            return self.push(Self::event(record, Op::Free, index, 0));
        }
        if !slot.is_split {
            self.slots[index as usize].is_split = true;
            let split = Event { order: slot.order, ..Self::event(record, Op::Split, index, 0) };
            self.push(Event { pfn: slot.pfn.0, ..split });
        }
        let part = record.pfn - slot.pfn.0;
        self.push(Event { pfn: part, ..Self::event(record, Op::FreePart, index, 0) })
    }

    /// Only now does the page of a batch enter its list.
    pub(super) fn batched(&mut self, record: &Packed) {
        let pfn = Pfn(record.pfn);
        if self.place[pfn.index()] == Place::Pcp
            && let Some(list) = self.lists.of(pfn)
            && list.cpu().0 == record.cpu
            && !self.lists.is_head(pfn)
        {
            self.lists.remove(pfn);
            self.lists.push_head(list, pfn);
        }
    }
}
