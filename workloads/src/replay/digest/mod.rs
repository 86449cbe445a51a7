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

mod clock;
mod guesses;
mod moves;
mod requests;
mod sections;
mod untraced;

use allocator::gfp::MigrateType;
use allocator::ids::{CpuId, Pfn};

use super::event::{Event, Op};
use super::evidence::Evidence;
use super::kernel_figures::KernelFigures;
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
    /// Blocks that a task of which nothing is recorded has freed.
    pub untraced_frees: u64,
    /// Pages that such a task has taken off the free lists.
    pub untraced_takes: u64,
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
    /// Per CPU: events before the end of what it last did unrecorded; 0: nothing.
    untraced: Vec<u32>,
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
        next_vmstat_ns: clock::vmstat_clocks(&evidence.vmstat_ns, start_ns),
        inside: sections::inside_sections(&trace.records[..trace.end], nr_cpus),
        untraced: vec![0; nr_cpus],
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

impl Digesting<'_> {
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
            Kind::Untraced => {
                self.untraced[usize::from(record.cpu)] = self.events.len() as u32;
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
}

#[cfg(test)]
mod tests;
