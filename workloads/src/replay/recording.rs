//! A recording, ready to be replayed.
//!
//! **What.** Machine, start state, events to feed, and what the kernel did; made once, shared by all
//! rounds and variants.

use allocator::machine::Machine;

use super::digest::{Digest, digest};
use super::evidence::Evidence;
use super::record::TraceError;
use super::snapshot::{PageFlags, Snapshot};
use super::start::{Start, start};
use super::trace::Trace;

/// What a recording is made from.
#[derive(Clone, Debug)]
pub struct Input {
    /// What it is called: file or folder, kernel release.
    pub name: String,
    /// The machine, with its managed frames.
    pub machine: Machine,
    /// The state at the first snapshot.
    pub before: Snapshot,
    /// The frames at the first snapshot.
    pub flags: PageFlags,
    /// The state at the second.
    pub after: Snapshot,
    /// Pages that /proc/vmstat says were allocated meanwhile.
    pub pgalloc: Option<u64>,
    /// Events that the recorder says were lost.
    pub lost_events: u64,
    /// Count records that contradict others, though none is said to be lost?
    pub is_tolerant: bool,
}

/// A recording.
#[derive(Debug)]
pub struct Recording {
    /// What it is called.
    pub name: String,
    /// The machine.
    pub machine: Machine,
    /// The kernel's state at the end.
    pub after: Snapshot,
    /// Where the replay starts.
    pub start: Start,
    /// What it feeds, and what the kernel did.
    pub digest: Digest,
    /// Pages that /proc/vmstat says were allocated meanwhile.
    pub pgalloc: Option<u64>,
    /// Distinct gfp flags.
    pub gfps: Vec<u32>,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
}

impl Recording {
    /// Makes one.
    ///
    /// # Errors
    /// A record that contradicts an earlier one.
    pub fn new(input: Input, trace: Trace) -> Result<Self, TraceError> {
        let Input { name, machine, before, flags, after, pgalloc, lost_events, is_tolerant } =
            input;
        let (max_pfn, nr_cpus) = (machine.max_pfn(), machine.cpus.len());
        let evidence = Evidence::of(&trace, &before, max_pfn, nr_cpus);
        let digest =
            digest(&trace, &before, &evidence, max_pfn, nr_cpus, is_tolerant || lost_events > 0)?;
        let start = start(&machine, &before, &flags, &evidence);
        let mut notes = start.notes.clone();
        notes.extend(trace.outside.note());
        if lost_events > 0 {
            notes.push(format!("the recorder lost {lost_events} events: figures are of the rest"));
        }
        let puzzles = digest.puzzles;
        notes.extend(trace.untraced.note(puzzles.untraced_frees, puzzles.untraced_takes));
        for (count, what) in [
            (puzzles.contradictions, "records that contradict others"),
            (puzzles.frees, "frees of blocks that nobody held"),
            (puzzles.drains, "drains of blocks that were on no pcplist"),
            (puzzles.gaps, "times that a pcplist lacked more than anybody takes"),
        ] {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        }
        Ok(Self { name, machine, after, start, digest, pgalloc, gfps: trace.gfps, notes })
    }
}
