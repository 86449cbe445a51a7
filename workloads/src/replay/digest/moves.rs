//! What goes between the free lists and the pcplists: Z, D and X.

use allocator::gfp::MigrateType;
use allocator::ids::{CpuId, PAGEBLOCK_ORDER, Pfn};

use super::super::event::{Event, NO_SLOT, Op};
use super::super::evidence::is_pcp_order;
use super::super::lists::ListId;
use super::super::trace::{Kind, Packed};
use super::untraced::Freed;
use super::{Digesting, NO_EVENT, Place};

impl Digesting<'_> {
    pub(super) fn drain(&mut self, record: &Packed, of: MigrateType) -> Result<(), String> {
        let pfn = Pfn(record.pfn);
        self.take_back(pfn);
        self.was_on_pcp(pfn);
        let mut cpu = CpuId(record.cpu);
        let place = self.place[pfn.index()];
        match place {
            Place::Pcp => cpu = self.lists.remove(pfn).map_or(cpu, ListId::cpu),
            Place::Unknown => {}
            Place::Held if self.was_freed(record)? == Freed::Straight => return Ok(()),
            Place::Held => {}
            Place::Buddy | Place::Taken => {
                self.puzzles.drains += 1;
                return Ok(());
            }
        }
        self.set_place(pfn, record.order, Place::Buddy, NO_EVENT);
        self.push(Event { cpu, ..Self::event(record, Op::Drain, NO_SLOT, of as u8) });
        Ok(())
    }

    pub(super) fn take(
        &mut self,
        index: usize,
        record: &Packed,
        of: MigrateType,
    ) -> Result<(), String> {
        let (pfn, cpu) = (Pfn(record.pfn), CpuId(record.cpu));
        for frame in 0..1u32 << record.order {
            let frame = pfn.add(frame);
            if let Some(slot) = self.take_back(frame)
                && slot.freed != NO_EVENT
            {
                self.went_straight(frame, slot.freed);
            }
            let place = self.place[frame.index()];
            match place {
                Place::Held => self.was_freed_straight(record, frame)?,
                Place::Pcp if self.lists.of(frame).is_some() => {
                    self.lists.remove(frame);
                    let freed = self.owner[frame.index()];
                    if freed != NO_EVENT {
                        self.went_straight(frame, freed);
                    }
                }
                Place::Pcp if self.owner[frame.index()] != NO_EVENT => {
                    // It was in limbo, its type unknown.
                    self.went_straight(frame, self.owner[frame.index()]);
                }
                Place::Unknown | Place::Buddy | Place::Pcp | Place::Taken => {}
            }
        }
        let list = ListId::of(cpu, record.order, of);
        match list.filter(|_| record.kind == Kind::TakeForPcp && is_pcp_order(record.order)) {
            Some(list) => {
                self.set_place(pfn, record.order, Place::Pcp, NO_EVENT);
                self.lists.push_tail(list, pfn);
                if !self.refilled.contains(&list) {
                    self.refilled.push(list);
                }
                self.push(Self::event(record, Op::Take, NO_SLOT, of as u8));
            }
            None => {
                self.set_place(pfn, record.order, Place::Taken, NO_EVENT);
                self.push(Self::event(record, Op::TakeDirect, NO_SLOT, of as u8));
            }
        }
        let before = self.last_record[usize::from(record.cpu)];
        let goes_on = self.trace.records.get(before).is_some_and(|r| r.kind == record.kind);
        let of_run = if goes_on { usize::MAX } else { index };
        self.last_take[usize::from(record.cpu)] = (record.pfn, of_run);
        Ok(())
    }

    pub(super) fn claim(&mut self, record: &Packed, of: MigrateType) {
        let blocks = 1 << record.order.saturating_sub(PAGEBLOCK_ORDER);
        let first = Pfn(record.pfn).pageblock();
        for known in self.types.iter_mut().skip(first).take(blocks) {
            *known = Some(of);
        }
        let from = self.state.migratetype(record.extra).unwrap_or(MigrateType::Movable);
        self.push(Self::event(record, Op::Claim, from as u32, of as u8));
    }
}
