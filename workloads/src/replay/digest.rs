//! From records to what is fed: requests, frees, and what the records imply.
//!
//! **What.** Follows each frame through the trace: on which pcplist it lies, who holds it. That gives
//! each free its allocation, and finds what fires no event of its own: pages that the bulk allocator
//! took (a page that lay on a pcplist is freed, or one below it is allocated), and frees in interrupts
//! that found the pcp section taken and went straight to the free lists (a page that was never drained
//! leaves the free lists, or is missing from its list).
//!
//! **Why.** A replay by request may not know which page the kernel chose, only what was asked of it.
//!
//! **Differs.** A guess that a later record contradicts is taken back. Pages that the bulk allocator
//! took off what lay on a pcplist at the start, and that are never freed, stay unknown.

use allocator::gfp::MigrateType;
use allocator::ids::{CpuId, PAGEBLOCK_ORDER, Pfn};

use super::event::{Event, NO_SLOT, Op};
use super::evidence::{Evidence, is_pcp_order};
use super::kernel_figures::{KernelFigures, Served};
use super::lists::{ListId, Lists};
use super::record::{Context, TraceError};
use super::snapshot::Snapshot;
use super::trace::{Kind, Packed, Trace};

/// Where a frame is, as far as the trace has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Place {
    /// Nothing was heard of it.
    Unknown = 0,
    /// In a free block.
    Buddy,
    /// On a pcplist.
    Pcp,
    /// Allocated; `owner` is its slot.
    Held,
    /// Left the free lists for a requester whose A has not come yet.
    Taken,
}

/// An allocation.
#[derive(Clone, Copy, Debug)]
struct Slot {
    pfn: Pfn,
    at_ns: u64,
    /// The event that allocated it, for taking it back.
    event: u32,
    /// The free that had put its page on the pcplist; `NO_EVENT` if a refill did.
    freed: u32,
    cpu: CpuId,
    order: u8,
    is_split: bool,
    /// Taken by the bulk allocator, as far as can be told.
    is_implied: bool,
}

const NO_EVENT: u32 = u32::MAX;
/// More pages than that missing from a list at once are not the bulk allocator's doing.
const MOST_MISSING: usize = 512;
/// The vmstat worker's period.
const VMSTAT_NS: u64 = 1_000_000_000;

/// What the digest could not make sense of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Puzzles {
    /// Frees of pages that were not allocated as far as is known; left out.
    pub frees: u64,
    /// Drains of pages that were on no pcplist as far as is known; left out.
    pub drains: u64,
    /// Times that more was missing from a pcplist than anybody could have taken.
    pub gaps: u64,
    /// Guesses that were taken back.
    pub taken_back: u64,
    /// Records that contradict others (only where the recorder says that some were lost).
    pub contradictions: u64,
}

/// The digest of a trace.
#[derive(Debug)]
pub struct Digest {
    /// What is fed, in the recorded order.
    pub events: Vec<Event>,
    /// Index of the first event of the window.
    pub window: usize,
    /// Number of slots.
    pub slots: u32,
    /// The kernel's figures.
    pub figures: KernelFigures,
    /// What made no sense.
    pub puzzles: Puzzles,
}

struct Digesting<'a> {
    trace: &'a Trace,
    state: &'a Snapshot,
    types: Vec<Option<MigrateType>>,
    lists: Lists,
    place: Vec<Place>,
    /// Of a held frame: its slot. Of the head of a block on a pcplist: the event of its free.
    owner: Vec<u32>,
    slots: Vec<Slot>,
    events: Vec<Event>,
    figures: KernelFigures,
    puzzles: Puzzles,
    /// Per list: has it been refilled?
    refilled: Vec<ListId>,
    /// Per CPU: frame and record of the last Z, unless it went on a run of Z.
    last_take: Vec<(u32, usize)>,
    /// Per CPU: index of its last record.
    last_record: Vec<usize>,
    /// Per CPU: when its vmstat worker runs next.
    next_vmstat_ns: Vec<u64>,
    /// Records that are frees inside an interrupted pcp section.
    inside: Vec<bool>,
    tolerant: bool,
    window: Option<usize>,
}

/// Digests a trace. `lost`: the recorder says that events were lost, so contradictions are counted
/// instead of refused.
///
/// # Errors
/// A record that contradicts an earlier one, with its line.
pub fn digest(
    trace: &Trace,
    state: &Snapshot,
    evidence: &Evidence,
    max_pfn: u64,
    nr_cpus: usize,
    lost: bool,
) -> Result<Digest, TraceError> {
    let start_ns = trace.records.first().map_or(0, |r| r.at_ns);
    let mut this = Digesting {
        trace,
        state,
        types: evidence.types.clone(),
        lists: Lists::new(nr_cpus, max_pfn),
        place: vec![Place::Unknown; max_pfn as usize],
        owner: vec![0; max_pfn as usize],
        slots: Vec::new(),
        events: Vec::new(),
        figures: KernelFigures::new(nr_cpus, trace),
        puzzles: Puzzles::default(),
        refilled: Vec::new(),
        last_take: vec![(u32::MAX, usize::MAX); nr_cpus],
        last_record: vec![usize::MAX; nr_cpus],
        next_vmstat_ns: vmstat_clocks(&evidence.vmstat_ns, start_ns),
        inside: inside_sections(&trace.records[..trace.end], nr_cpus),
        tolerant: lost,
        window: None,
    };
    for (index, record) in trace.records[..trace.end].iter().enumerate() {
        this.decay_until(record.at_ns);
        if index == trace.window {
            this.window = Some(this.events.len());
        }
        this.figures.see(index, record);
        this.step(index, record).map_err(|what| TraceError { line: record.line.into(), what })?;
        this.last_record[usize::from(record.cpu)] = index;
    }
    this.figures.finish();
    Ok(Digest {
        window: this.window.unwrap_or(this.events.len()),
        slots: this.slots.len() as u32,
        events: this.events,
        figures: this.figures,
        puzzles: this.puzzles,
    })
}

/// Frees in interrupts that came while the task on the CPU was inside a pcp section, where the
/// section's trylock fails: after a refill took its blocks (Z) and before the request was served (A),
/// or between two pages of a batch that is freed (B, D).
fn inside_sections(records: &[Packed], nr_cpus: usize) -> Vec<bool> {
    let mut inside = vec![false; records.len()];
    let mut last: Vec<Option<(Kind, u32)>> = vec![None; nr_cpus];
    let mut pending: Vec<Vec<usize>> = vec![Vec::new(); nr_cpus];
    for (index, record) in records.iter().enumerate() {
        let cpu = usize::from(record.cpu);
        if record.kind == Kind::Marker {
            continue;
        }
        if record.context != Context::Task {
            if record.kind == Kind::Free {
                pending[cpu].push(index);
            }
            continue;
        }
        let open = last[cpu].is_some_and(|(kind, pid)| {
            pid == record.pid
                && match kind {
                    Kind::TakeForPcp => matches!(record.kind, Kind::TakeForPcp | Kind::Alloc),
                    Kind::FreeBatched | Kind::Drain => {
                        matches!(record.kind, Kind::FreeBatched | Kind::Drain)
                    }
                    Kind::Alloc
                    | Kind::AllocFailed
                    | Kind::Free
                    | Kind::TakeDirect
                    | Kind::Claim
                    | Kind::Steal
                    | Kind::Marker => false,
                }
        });
        for free in pending[cpu].drain(..) {
            inside[free] = open;
        }
        last[cpu] = Some((record.kind, record.pid));
    }
    inside
}

/// When each CPU's vmstat worker runs first. One phase holds for all: they are rounded to whole
/// seconds of the tick. Where none was seen, half a second after the start.
fn vmstat_clocks(seen: &[Option<u64>], start_ns: u64) -> Vec<u64> {
    let any = seen.iter().flatten().next().copied();
    let first = |seen: &Option<u64>| match seen.or(any) {
        Some(at) => {
            let phase = at % VMSTAT_NS;
            let base = start_ns / VMSTAT_NS * VMSTAT_NS + phase;
            if base < start_ns { base + VMSTAT_NS } else { base }
        }
        None => start_ns + VMSTAT_NS / 2,
    };
    seen.iter().map(first).collect()
}

impl Digesting<'_> {
    fn decay_until(&mut self, now_ns: u64) {
        for cpu in 0..self.next_vmstat_ns.len() {
            while self.next_vmstat_ns[cpu] <= now_ns {
                self.next_vmstat_ns[cpu] += VMSTAT_NS;
                let cpu = CpuId(cpu as u16);
                self.push(Event {
                    pfn: 0,
                    slot: NO_SLOT,
                    cpu,
                    op: Op::Decay,
                    order: 0,
                    tag: 0,
                    in_interrupt: false,
                });
            }
        }
    }

    fn push(&mut self, event: Event) -> u32 {
        self.events.push(event);
        (self.events.len() - 1) as u32
    }

    fn event(record: &Packed, op: Op, slot: u32, tag: u8) -> Event {
        Event {
            pfn: record.pfn,
            slot,
            cpu: CpuId(record.cpu),
            op,
            order: record.order,
            tag,
            in_interrupt: record.context != Context::Task,
        }
    }

    fn is_in_window(&self) -> bool {
        self.window.is_some()
    }

    fn set_place(&mut self, pfn: Pfn, order: u8, place: Place, owner: u32) {
        let range = pfn.index()..pfn.index() + (1 << order);
        self.place[range.clone()].fill(place);
        self.owner[range].fill(owner);
    }

    fn step(&mut self, index: usize, record: &Packed) -> Result<(), String> {
        let Some(of) = self.state.migratetype(record.migratetype) else {
            return Err(format!(
                "migratetype {} is none that pagetypeinfo names",
                record.migratetype
            ));
        };
        match record.kind {
            Kind::Alloc => self.alloc(index, record, of),
            Kind::Free => {
                self.free(record);
                if self.inside[index] {
                    self.free_was_inside(Pfn(record.pfn));
                }
                Ok(())
            }
            Kind::FreeBatched => {
                self.batched(record);
                Ok(())
            }
            Kind::Drain => self.drain(record, of),
            Kind::TakeForPcp | Kind::TakeDirect => self.take(index, record, of),
            Kind::Claim => {
                self.claim(record, of);
                Ok(())
            }
            Kind::AllocFailed | Kind::Steal | Kind::Marker => Ok(()),
        }
    }

    /// A record that can't be: refused, or counted where some were lost.
    fn contradiction(&mut self, record: &Packed, what: &str) -> Result<(), String> {
        if self.tolerant {
            self.puzzles.contradictions += 1;
            return Ok(());
        }
        let letter = record.kind.letter();
        Err(format!(
            "{letter} of pfn {:x}, {what}: a record is missing, or this one is not as recorded (--tolerant counts such)",
            record.pfn
        ))
    }

    fn alloc(&mut self, index: usize, record: &Packed, of: MigrateType) -> Result<(), String> {
        let (pfn, cpu) = (Pfn(record.pfn), CpuId(record.cpu));
        let list = ListId::of(cpu, record.order, of).filter(|_| is_pcp_order(record.order));
        self.take_back(pfn);
        self.was_on_pcp(pfn);
        let served = match self.place[pfn.index()] {
            Place::Held => {
                self.contradiction(record, "which is allocated")?;
                Served::Unknown
            }
            Place::Pcp => {
                let on = self.lists.of(pfn);
                if on.is_some_and(|on| on.cpu() != cpu) {
                    self.contradiction(record, "which lies on another CPU's pcplist")?;
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
            Place::Buddy => Served::FreeLists,
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

    /// The blocks of a list before `below` have left it without a record.
    fn missing(&mut self, list: ListId, below: Option<Pfn>) {
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
    fn free_was_inside(&mut self, pfn: Pfn) {
        let freed = self.owner[pfn.index()];
        if self.place[pfn.index()] == Place::Pcp && freed != NO_EVENT {
            self.lists.remove(pfn);
            self.went_straight(pfn, freed);
        }
    }

    /// If the page was thought to have gone straight to the free lists: it lay on its pcplist.
    fn was_on_pcp(&mut self, pfn: Pfn) {
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
    fn went_straight(&mut self, pfn: Pfn, freed: u32) {
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
    fn implied(&mut self, pfn: Pfn, list: ListId, freed: u32) {
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
        if self.is_in_window() {
            self.figures.bulk_allocs += 1;
        }
    }

    /// If the page was thought to be the bulk allocator's: it was on its list all the while.
    fn take_back(&mut self, pfn: Pfn) -> Option<Slot> {
        if self.place[pfn.index()] != Place::Held {
            return None;
        }
        let slot = self.slots[self.owner[pfn.index()] as usize];
        if !slot.is_implied {
            return None;
        }
        self.events[slot.event as usize].op = Op::Nop;
        self.puzzles.taken_back += 1;
        if self.is_in_window() {
            self.figures.bulk_allocs = self.figures.bulk_allocs.saturating_sub(1);
        }
        self.set_place(pfn, 0, Place::Unknown, NO_EVENT);
        Some(slot)
    }

    fn free(&mut self, record: &Packed) {
        let (pfn, order) = (Pfn(record.pfn), record.order);
        self.bulk_had_taken(record);
        let event = match self.place[pfn.index()] {
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

    /// A page is freed that was thought to have gone straight to the free lists: it lay on its pcplist,
    /// and the bulk allocator had taken it from there.
    fn bulk_had_taken(&mut self, record: &Packed) {
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

    fn free_held(&mut self, record: &Packed) -> u32 {
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
    fn batched(&mut self, record: &Packed) {
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

    fn drain(&mut self, record: &Packed, of: MigrateType) -> Result<(), String> {
        let pfn = Pfn(record.pfn);
        self.take_back(pfn);
        self.was_on_pcp(pfn);
        let mut cpu = CpuId(record.cpu);
        match self.place[pfn.index()] {
            Place::Pcp => cpu = self.lists.remove(pfn).map_or(cpu, ListId::cpu),
            Place::Unknown => {}
            Place::Held => self.contradiction(record, "which is allocated")?,
            Place::Buddy | Place::Taken => {
                self.puzzles.drains += 1;
                return Ok(());
            }
        }
        self.set_place(pfn, record.order, Place::Buddy, NO_EVENT);
        self.push(Event { cpu, ..Self::event(record, Op::Drain, NO_SLOT, of as u8) });
        Ok(())
    }

    fn take(&mut self, index: usize, record: &Packed, of: MigrateType) -> Result<(), String> {
        let (pfn, cpu) = (Pfn(record.pfn), CpuId(record.cpu));
        for frame in 0..1u32 << record.order {
            let frame = pfn.add(frame);
            if let Some(slot) = self.take_back(frame)
                && slot.freed != NO_EVENT
            {
                self.went_straight(frame, slot.freed);
            }
            match self.place[frame.index()] {
                Place::Held => self.contradiction(record, "which is allocated")?,
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

    fn claim(&mut self, record: &Packed, of: MigrateType) {
        let blocks = 1 << record.order.saturating_sub(PAGEBLOCK_ORDER);
        let first = Pfn(record.pfn).pageblock();
        for known in self.types.iter_mut().skip(first).take(blocks) {
            *known = Some(of);
        }
        let from = self.state.migratetype(record.extra).unwrap_or(MigrateType::Movable);
        self.push(Self::event(record, Op::Claim, from as u32, of as u8));
    }
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
