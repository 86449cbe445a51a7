//! What happened in one execution, in order: the material of a timeline.

/// One entry of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The task that it happened to; 0 is main.
    pub task: usize,
    /// The virtual clock, in ns.
    pub clock_ns: u64,
    /// What happened.
    pub kind: EventKind,
}

/// Kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The task came to this race point. If it is preempted there, what it does next happens only
    /// after its next event.
    Point {
        /// The point.
        label: u16,
    },
    /// It noted what it did, at the point that comes next.
    Step {
        /// The point.
        label: u16,
        /// What, in kernel terms.
        text: String,
    },
    /// It was at a point and could have gone on, but another task runs.
    Preempted {
        /// Who runs instead.
        to: usize,
    },
    /// It has to wait for a lock, a notification, another task's end or the clock, or it yields.
    Waits,
    /// It spins until a word changes.
    Spins,
    /// The virtual clock has jumped to a deadline.
    Clock,
    /// It has ended.
    Ended,
    /// Something worth telling.
    Note {
        /// What.
        text: String,
    },
    /// An oracle spoke.
    Report {
        /// The finding's kind.
        kind: &'static str,
        /// Its text.
        text: String,
    },
}
