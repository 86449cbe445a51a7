//! What a scheduler is asked, and what it hears about a run.
//!
//! **What.** [`Strategy`] is the interface between the execution ([`super::core`]) and the
//! schedulers of [`crate::explore`]: bounded, random, PCT and replay all see the same points.

/// A task of one execution: 0 is main, the others are numbered as they are spawned.
pub(crate) type TaskIndex = usize;

/// Where a choice is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// At a race point: the task could go on.
    Point,
    /// Where the task can't go on: it blocks, spins, yields or has ended.
    Block,
}

/// One task that may run next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) task: TaskIndex,
    /// Preemptions that choosing it costs.
    pub(crate) cost: u32,
    /// It waits for the clock, which would jump.
    pub(crate) early: bool,
}

/// A question to the scheduler. The default is the first candidate: the task itself at a point, the
/// lowest task where it can't go on. Candidates that cost nothing come first.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) at: At,
    pub(crate) task: TaskIndex,
    /// How many points (or blocks) this task has come to in this run, this one included.
    pub(crate) ordinal: u32,
    /// The point; at a block the last point that the task has passed.
    pub(crate) label: u16,
    pub(crate) candidates: &'a [Candidate],
    /// Preemptions used so far.
    pub(crate) used: u32,
}

/// What one execution came to.
#[derive(Debug)]
pub(crate) struct RunEnd<'a> {
    pub(crate) findings: &'a [(&'static str, String)],
    pub(crate) outcomes: &'a [String],
    pub(crate) choices: &'a [Choice],
    pub(crate) preemptions: u32,
    pub(crate) switches: u32,
    /// Race points passed by all tasks but main.
    pub(crate) points: u64,
    pub(crate) tasks: usize,
    /// The order in which tasks passed their points, hashed.
    pub(crate) hash: u64,
    /// The step limit ended the run.
    pub(crate) cut: bool,
}

/// One choice that differs from the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Choice {
    /// At a point, or where the task could not go on.
    pub at: At,
    /// The task that ran, in the order of spawning; 0 is main.
    pub task: usize,
    /// How many points (blocks) it had come to, this one included.
    pub ordinal: u32,
    /// The point; at a block the last that it had passed, 0 if none.
    pub label: u16,
    /// The task that runs next.
    pub to: usize,
}

/// A scheduler.
pub(crate) trait Strategy {
    /// A new execution begins; false if there is none to make.
    fn begin(&mut self) -> bool;
    /// The index of the candidate to run. Asked only if there are two or more.
    fn choose(&mut self, decision: &Decision<'_>) -> usize;
    /// A task that did not exist yet was spawned.
    fn spawned(&mut self, _task: TaskIndex) {}
    /// The execution is over.
    fn end(&mut self, run: &RunEnd<'_>);
}
