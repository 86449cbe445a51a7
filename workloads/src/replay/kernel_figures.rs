//! What the kernel did in the window of a trace, counted.
//!
//! **What.** The figures that a replay is held against: allocations and frees by order and type,
//! refills and drains and the sizes of their batches, who served what, how long blocks lived.
//!
//! **Why runs.** No event says "refill": a batch is a run of Z on one CPU with one order and type,
//! and a drain a run of D, broken by any other event of that CPU.

use std::collections::BTreeMap;

use allocator::ids::NR_PAGE_ORDERS;

use super::record::Context;
use super::trace::{Kind, Packed, Trace};

/// Where an allocation that pcplists may serve came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// From the pcplist of the same CPU.
    OwnPcp,
    /// From where it lay at the start; most likely the same.
    Unknown,
    /// From the free lists without a Z.
    FreeLists,
    /// From the free lists.
    Taken,
}

/// Batches by size.
pub type Batches = BTreeMap<u32, u64>;

/// Number of batches and blocks in all of them.
pub fn batch_sums(batches: &Batches) -> (u64, u64) {
    batches
        .iter()
        .fold((0, 0), |(n, blocks), (size, count)| (n + count, blocks + u64::from(*size) * count))
}

/// A run of Z or D that may go on.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    length: u32,
    order: u8,
    migratetype: u8,
}

/// The figures.
#[derive(Clone, Debug, Default)]
pub struct KernelFigures {
    /// Nanoseconds of the window.
    pub window_ns: u64,
    /// Records in it.
    pub records: u64,
    /// Records in softirqs.
    pub in_softirq: u64,
    /// Allocations (A) by order.
    pub allocs: [u64; NR_PAGE_ORDERS],
    /// Allocations that failed.
    pub failed: u64,
    /// Allocations by type wanted, in the kernel's numbers.
    pub allocs_of_type: [u64; 6],
    /// Allocations by gfp flags, indexed as [`Trace::gfps`].
    pub allocs_of_gfp: Vec<u64>,
    /// Frees (F) by order.
    pub frees: [u64; NR_PAGE_ORDERS],
    /// Blocks of order 0 taken off the free lists (Z).
    pub taken_0: u64,
    /// Blocks taken that pcplists don't hold (Z with percpu_refill 0).
    pub taken_direct: u64,
    /// Refills of order 0 by size.
    pub refills: Batches,
    /// Blocks drained (D).
    pub drained: u64,
    /// Drains by size.
    pub drains: Batches,
    /// Fallbacks (X), and those that claimed pageblocks.
    pub fallbacks: u64,
    /// See [`KernelFigures::fallbacks`].
    pub claims: u64,
    /// Allocations of orders that pcplists hold, by who served them.
    pub served_by_pcp: u64,
    /// From where they lay at the start.
    pub served_unknown: u64,
    /// Of other sources.
    pub served_other: u64,
    /// Frees whose allocation was traced.
    pub matched: u64,
    /// Frees of blocks from before the trace, or that the bulk allocator took.
    pub unmatched: u64,
    /// Matched frees on another CPU than the allocation.
    pub crossed: u64,
    /// Nanoseconds from allocation to free of matched ones; sorted at the end.
    pub lifetimes_ns: Vec<u64>,
    /// Pages of all allocations since the first snapshot, which vmstat counts from.
    pub pages_since_snapshot: u64,
    /// Pages that the bulk allocator is known to have taken since then.
    pub bulk_allocs: u64,
    /// Frees in interrupts that went straight to the free lists.
    pub straight_frees: u64,
    window: std::ops::Range<usize>,
    takes: Vec<Run>,
    drain_runs: Vec<u32>,
}

impl KernelFigures {
    /// No figures yet.
    pub fn new(nr_cpus: usize, trace: &Trace) -> Self {
        Self {
            window_ns: trace.window_ns(),
            allocs_of_gfp: vec![0; trace.gfps.len()],
            window: trace.window..trace.end,
            takes: vec![Run::default(); nr_cpus],
            drain_runs: vec![0; nr_cpus],
            ..Self::default()
        }
    }

    /// Counts a record, if it lies in the window.
    pub fn see(&mut self, index: usize, record: &Packed) {
        if record.kind == Kind::Alloc {
            self.pages_since_snapshot += 1 << record.order;
        }
        let is_event = !matches!(record.kind, Kind::Marker | Kind::Untraced);
        if !self.window.contains(&index) || !is_event {
            return;
        }
        self.records += 1;
        self.in_softirq += u64::from(record.context == Context::Softirq);
        self.runs(record);
        let order = usize::from(record.order);
        match record.kind {
            Kind::Alloc => {
                self.allocs[order] += 1;
                self.allocs_of_type[usize::from(record.migratetype)] += 1;
                self.allocs_of_gfp[usize::from(record.extra)] += 1;
            }
            Kind::AllocFailed => self.failed += 1,
            Kind::Free => self.frees[order] += 1,
            Kind::Drain => self.drained += 1,
            Kind::TakeForPcp => self.taken_0 += u64::from(order == 0),
            Kind::TakeDirect => self.taken_direct += 1,
            Kind::Claim => {
                self.fallbacks += 1;
                self.claims += 1;
            }
            Kind::Steal => self.fallbacks += 1,
            Kind::FreeBatched | Kind::Untraced | Kind::Marker => {}
        }
    }

    fn runs(&mut self, record: &Packed) {
        let cpu = usize::from(record.cpu);
        let is_take = matches!(record.kind, Kind::TakeForPcp | Kind::TakeDirect);
        let run = self.takes[cpu];
        let goes_on = is_take && run.order == record.order && run.migratetype == record.migratetype;
        if run.length > 0 && !goes_on && !matches!(record.kind, Kind::Claim | Kind::Steal) {
            self.end_take_run(cpu);
        }
        if is_take {
            let length = self.takes[cpu].length + 1;
            self.takes[cpu] = Run { length, order: record.order, migratetype: record.migratetype };
        }
        if record.kind == Kind::Drain {
            self.drain_runs[cpu] += 1;
        } else {
            self.end_drain_run(cpu);
        }
    }

    fn end_take_run(&mut self, cpu: usize) {
        let run = std::mem::take(&mut self.takes[cpu]);
        if run.length > 0 && run.order == 0 {
            *self.refills.entry(run.length).or_default() += 1;
        }
    }

    fn end_drain_run(&mut self, cpu: usize) {
        let length = std::mem::take(&mut self.drain_runs[cpu]);
        if length > 0 {
            *self.drains.entry(length).or_default() += 1;
        }
    }

    /// An allocation that pcplists may serve was served so.
    pub fn served(&mut self, by: Served) {
        match by {
            Served::OwnPcp => self.served_by_pcp += 1,
            Served::Unknown => self.served_unknown += 1,
            Served::FreeLists | Served::Taken => self.served_other += 1,
        }
    }

    /// A block whose allocation was traced is freed.
    pub fn free_of_known(&mut self, in_window: bool, lived_ns: u64, crossed: bool) {
        if in_window {
            self.matched += 1;
            self.crossed += u64::from(crossed);
            self.lifetimes_ns.push(lived_ns);
        }
    }

    /// A block is freed whose allocation was not.
    pub fn free_of_unknown(&mut self, in_window: bool) {
        self.unmatched += u64::from(in_window);
    }

    /// The window is over.
    pub fn finish(&mut self) {
        for cpu in 0..self.takes.len() {
            self.end_take_run(cpu);
            self.end_drain_run(cpu);
        }
        self.lifetimes_ns.sort_unstable();
    }

    /// All allocations.
    pub fn nr_allocs(&self) -> u64 {
        self.allocs.iter().sum()
    }

    /// All frees.
    pub fn nr_frees(&self) -> u64 {
        self.frees.iter().sum()
    }
}
