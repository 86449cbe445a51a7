//! Exploring the schedules of a world.
//!
//! **What.** [`run`] executes a closure again and again, each time with other choices of who runs at
//! the race points and where a task can't go on, and reports what it found: findings of the model's
//! own oracles ([`report`]), panics, deadlocks, livelocks; the fewest preemptions that each took; and
//! what was covered. [`replay`] executes one schedule again and tells it.
//!
//! **Schedulers.** *Bounded* enumerates every schedule with at most K preemptions, for K = 0, 1, 2,
//! ... from scratch, since the last K dominates and so the first find has the fewest. *Random* and
//! *PCT* sample through the same points.
//!
//! **Complete** means: the tree of the last K is exhausted, no run was cut by a limit, none diverged
//! from what the same choices led to before, and nothing stopped the search. A finding does not stop
//! it unless asked for.
//!
//! **Source.** The default at a point is to go on, where a task can't go on the lowest that can; a
//! schedule is the short list of choices that differ. Preemption bounding is due to Musuvathi and
//! Qadeer (PLDI 2007), PCT to Burckhardt et al. (ASPLOS 2010).

mod bounded;
mod event;
mod random;
mod report;
mod schedule;
mod search;
mod shrink;
mod tally;

pub use crate::sync::{At, Choice};
pub use event::{Event, EventKind};
pub use report::{BoundFigures, Coverage, Find, Report};
pub use schedule::{Replay, Schedule, ScheduleError, replay};
pub use search::{Progress, run};
pub use shrink::shrink;

use crate::sync::engine::{Limits, with as with_execution};

/// Kind of finding: a task of ours panicked. (The kernel's own panic is the model's to report.)
pub const MODEL_PANIC: &str = "model_panic";
/// Kind of finding: nobody can run, and nobody spins.
pub const DEADLOCK: &str = "deadlock";
/// Kind of finding: who could run only spins.
pub const LIVELOCK: &str = "livelock";
/// Kind of finding: only timers run, for more model time than allowed.
pub const STALL: &str = "stall";

/// How schedules are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Every schedule with at most `preemptions` preemptions.
    Bounded {
        /// The largest K.
        preemptions: u32,
    },
    /// A walk that preempts at each point with a probability drawn for each run.
    Random,
    /// Random priorities, lowered at `depth - 1` random points: finds a bug that takes `depth`
    /// ordering constraints with a probability of at least 1 / (n k^(depth-1)) a run, for n tasks and
    /// k points.
    Pct {
        /// Ordering constraints.
        depth: u32,
    },
}

/// What to explore, and how far.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How schedules are chosen.
    pub scheduler: Scheduler,
    /// Executions at most; for samples this is their number, for the bounded search a limit for
    /// each K, and running into it means not complete.
    pub max_schedules: u64,
    /// Seed of the samples.
    pub seed: u64,
    /// OS threads; the tree or the samples are spread over them.
    pub workers: usize,
    /// Points, blocks and spins of one execution before it is cut.
    pub max_steps: u64,
    /// Virtual time up to which an execution may live on timers alone, in ns.
    pub max_clock_ns: u64,
    /// Let the next timer expire early, at the price of a preemption.
    pub early_expiry: bool,
    /// Stop at the first find instead of going on to the end of the tree or the samples.
    pub stop_at_find: bool,
    /// Shrink the schedules that samples found.
    pub shrink: bool,
}

impl Config {
    pub(crate) fn limits(&self) -> Limits {
        let Self { max_steps, max_clock_ns, early_expiry, .. } = *self;
        Limits { max_steps, max_clock_ns, early_expiry }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler: Scheduler::Bounded { preemptions: 2 },
            max_schedules: u64::MAX,
            seed: 0,
            workers: 1,
            max_steps: 100_000,
            max_clock_ns: 3_600_000_000_000,
            early_expiry: false,
            stop_at_find: false,
            shrink: true,
        }
    }
}

/// Reports a finding of the running execution. Only the first of each kind counts. Outside of an
/// exploration this does nothing.
pub fn report(kind: &'static str, text: String) {
    with_execution(|core| core.report(kind, text));
}

/// Labels the running execution with something that happened, so that the report can count how many
/// schedules led there.
pub fn outcome(label: &str) {
    with_execution(|core| core.outcome(label));
}

/// Adds a line to the timeline. The text is only made when a schedule is told.
pub fn note(text: impl FnOnce() -> String) {
    if with_execution(|core| core.traced()) == Some(true) {
        let text = text();
        with_execution(|core| core.note(EventKind::Note { text }));
    }
}

/// Adds what a task did at a point to the timeline. The text is only made when a schedule is told.
#[inline]
pub fn step(label: u16, text: impl FnOnce() -> String) {
    if with_execution(|core| core.traced()) == Some(true) {
        let text = text();
        with_execution(|core| core.note(EventKind::Step { label, text }));
    }
}

/// Is this execution being given up, so that its tasks are unwound? A destructor that checks
/// something has nothing to check then.
pub fn is_torn_down() -> bool {
    with_execution(|core| core.tearing_down()).unwrap_or(false)
}
