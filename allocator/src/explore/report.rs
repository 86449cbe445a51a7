//! What a search came to.

use std::collections::BTreeMap;

use super::{Replay, Schedule, Scheduler};

/// The result of [`super::run`].
#[derive(Clone, Debug)]
pub struct Report {
    /// How schedules were chosen.
    pub scheduler: Scheduler,
    /// The search of the largest bound was exhaustive. Never true for samples.
    pub complete: bool,
    /// No preemption was ever forbidden: the search was exhaustive without any bound.
    pub unbounded: bool,
    /// Why it is not complete, in plain words; empty if it is.
    pub gaps: Vec<String>,
    /// Executions of the last bound (bounded), or all samples.
    pub schedules: u64,
    /// Executions of all bounds; shrinking and replaying not counted.
    pub executed: u64,
    /// For each bound K = 0, 1, ... that was begun.
    pub bounds: Vec<BoundFigures>,
    /// One entry for each kind of finding, in the order of kinds.
    pub finds: Vec<Find>,
    /// Outcome labels and how many executions of the last bound, or samples, had them.
    pub outcomes: BTreeMap<String, u64>,
    /// What was covered.
    pub coverage: Coverage,
}

/// The search at one bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundFigures {
    /// K.
    pub preemptions: u32,
    /// Executions.
    pub schedules: u64,
    /// Executions with at least one finding.
    pub violating: u64,
    /// The tree was exhausted, nothing was cut, nothing diverged.
    pub complete: bool,
}

/// One kind of finding, and its simplest schedule.
#[derive(Clone, Debug)]
pub struct Find {
    /// The kind: one of the model's, or [`super::MODEL_PANIC`], [`super::DEADLOCK`],
    /// [`super::LIVELOCK`], [`super::STALL`].
    pub kind: &'static str,
    /// The finding's text in the execution of `schedule`.
    pub text: String,
    /// The simplest schedule known.
    pub schedule: Schedule,
    /// Preemptions of that schedule: the fewest there are, if the search was bounded.
    pub preemptions: u32,
    /// Its switches from one worker task to another, preemptions included.
    pub switches: u32,
    /// Executions of the last bound, or samples, that had a finding of this kind.
    pub runs: u64,
    /// That execution, told.
    pub replay: Replay,
}

/// What a search covered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coverage {
    /// Tasks of the largest execution, main not counted.
    pub tasks: usize,
    /// Race points of the average execution.
    pub points: f64,
    /// Race points of the longest.
    pub most_points: u64,
    /// Different orders of the points; at least that many if over 4 million.
    pub distinct: u64,
    /// Executions that a limit cut.
    pub cut: u64,
    /// Executions that went another way than the same choices had led before.
    pub diverged: u64,
    /// For samples: the estimated chance that one more sample shows an order of the points that none
    /// has shown (Good and Turing: orders seen once, over samples).
    pub unseen: Option<f64>,
    /// For samples: what showed in none of them has, with 95 % confidence, at most this chance to
    /// show in a sample.
    pub miss_bound: Option<f64>,
    /// For PCT: the most that the chance can be to miss a bug of the depth asked for in all samples.
    pub pct_miss: Option<f64>,
}

impl Report {
    /// The find of this kind.
    pub fn find(&self, kind: &str) -> Option<&Find> {
        self.finds.iter().find(|find| find.kind == kind)
    }
}
