//! What a replay feeds: the events of a trace in 16 bytes each.
//!
//! **What.** Both ways of replaying read the same list. By request, an allocation fills a slot and a
//! free names it; by pfn, each event names its frames. What only one of them needs, the other passes
//! over.

use allocator::ids::CpuId;

/// No slot: the block was allocated before the trace.
pub const NO_SLOT: u32 = u32::MAX;

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// Nothing: it was taken back.
    Nop,
    /// A request; `tag` is the index of its gfp flags.
    Alloc,
    /// The bulk allocator took a page of type `tag`.
    Bulk,
    /// A block goes back.
    Free,
    /// The same, past the pcplists: their section was interrupted.
    FreeStraight,
    /// The block in the slot is freed in parts from now on.
    Split,
    /// A part goes back: `pfn` counts from the block's first frame on.
    FreePart,
    /// The vmstat worker lets the limits of its CPU's pcplists sink.
    Decay,
    /// By pfn: a block leaves the free lists for the pcplist of type `tag`.
    Take,
    /// By pfn: a block leaves the free lists of type `tag` for the requester.
    TakeDirect,
    /// By pfn: a block goes from its pcplist to the free lists.
    Drain,
    /// By pfn: pageblocks change from type `slot` to `tag`.
    Claim,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// First frame as recorded.
    pub pfn: u32,
    /// Where the model's block is kept.
    pub slot: u32,
    /// The CPU.
    pub cpu: CpuId,
    /// What is done.
    pub op: Op,
    /// Order of the block.
    pub order: u8,
    /// Depends on `op`.
    pub tag: u8,
    /// Did it happen in an interrupt?
    pub in_interrupt: bool,
}

const _: () = assert!(size_of::<Event>() <= 16, "a replay holds millions of them");
