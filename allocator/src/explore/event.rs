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
    /// The step behind this race point is made now.
    Point {
        /// The point.
        label: u16,
    },
    /// The task came to this point, and another one runs first.
    Preempted {
        /// The point.
        label: u16,
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
