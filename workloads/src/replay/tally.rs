//! What the model did in the window of a replay, counted.

use allocator::ids::NR_PAGE_ORDERS;

use super::kernel_figures::Batches;

/// Counts of one task, merged when it ends.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Events fed, in and before the window.
    pub events: u64,
    /// Allocations by order.
    pub allocs: [u64; NR_PAGE_ORDERS],
    /// Requests that the model failed.
    pub failed: u64,
    /// Frees.
    pub frees: u64,
    /// Refills of order 0 by size.
    pub refills: Batches,
    /// Allocations of orders that pcplists don't hold.
    pub direct: u64,
    /// Drains by size in pages.
    pub drains: Batches,
    /// Blocks that had been drained when the window began, on all CPUs of this task.
    pub drained_before: u64,
    /// Fallbacks before the window.
    pub fallbacks_before: u64,
    /// Events that could not be done: what they name was never allocated, or is elsewhere.
    pub left_out: u64,
    /// By pfn: what was found where the kernel took a block.
    pub takes: Takes,
    /// By pfn: drains done.
    pub drained: u64,
}

/// By pfn: blocks that the kernel took off its free lists, from the replay's start on.
#[derive(Clone, Debug, Default)]
pub struct Takes {
    /// All.
    pub all: u64,
    /// Free in the model.
    pub free: u64,
    /// Free, and on the list of the type that the kernel took it from.
    pub of_type: u64,
    /// Free, by how many orders the block had to be split.
    pub splits: [u64; NR_PAGE_ORDERS],
    /// On a pcplist in the model.
    pub on_pcp: u64,
    /// Allocated in the model.
    pub allocated: u64,
    /// The first that was not free.
    pub first_missed: Option<u32>,
}

fn add(to: &mut Batches, from: &Batches) {
    for (size, n) in from {
        *to.entry(*size).or_default() += n;
    }
}

impl Tally {
    /// Adds another task's.
    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.allocs.iter_mut().zip(other.allocs).for_each(|(a, b)| *a += b);
        self.failed += other.failed;
        self.frees += other.frees;
        add(&mut self.refills, &other.refills);
        self.direct += other.direct;
        add(&mut self.drains, &other.drains);
        self.drained_before += other.drained_before;
        self.fallbacks_before += other.fallbacks_before;
        self.left_out += other.left_out;
        self.takes.all += other.takes.all;
        self.takes.free += other.takes.free;
        self.takes.of_type += other.takes.of_type;
        self.takes.splits.iter_mut().zip(other.takes.splits).for_each(|(a, b)| *a += b);
        self.takes.on_pcp += other.takes.on_pcp;
        self.takes.allocated += other.takes.allocated;
        self.takes.first_missed = self.takes.first_missed.or(other.takes.first_missed);
        self.drained += other.drained;
    }
}
