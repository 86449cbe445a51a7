//! What a worker has seen: counts, outcomes, the best schedule of each kind of finding.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::Choice;
use crate::sync::engine::RunEnd;

/// Distinct executions that are told apart; more are only counted as schedules.
const MAX_HASHES: usize = 4 << 20;

/// A finding and the simplest schedule that led to it so far.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) choices: Vec<Choice>,
    pub(super) preemptions: u32,
    pub(super) switches: u32,
    /// Schedules that led to this kind of finding.
    pub(super) runs: u64,
}

impl Found {
    /// Simpler first; the order of the workers has no say.
    fn rank(&self) -> (u32, usize, &[Choice]) {
        (self.preemptions, self.choices.len(), &self.choices)
    }

    fn merge(&mut self, other: Self) {
        let runs = self.runs + other.runs;
        if other.rank() < self.rank() {
            *self = other;
        }
        self.runs = runs;
    }
}

/// Counts of some executions.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) schedules: u64,
    pub(super) violating: u64,
    pub(super) points: u64,
    pub(super) most_points: u64,
    pub(super) most_tasks: usize,
    pub(super) cut: u64,
    pub(super) diverged: u64,
    /// The bound forbade a preemption at least once.
    pub(super) bound_hit: bool,
    pub(super) finds: BTreeMap<&'static str, Found>,
    pub(super) outcomes: BTreeMap<String, u64>,
    /// Hash of an execution -> seen only once.
    hashes: HashMap<u64, bool, BuildHasherDefault<Same>>,
}

impl Tally {
    pub(super) fn add(&mut self, run: &RunEnd<'_>) {
        self.schedules += 1;
        self.points += run.points;
        self.most_points = self.most_points.max(run.points);
        self.most_tasks = self.most_tasks.max(run.tasks);
        self.cut += u64::from(run.cut);
        self.violating += u64::from(!run.findings.is_empty());
        for (kind, text) in run.findings {
            let better = self.finds.get(kind).is_none_or(|found| {
                (run.preemptions, run.choices.len(), run.choices) < found.rank()
            });
            if better {
                let found = Found {
                    text: text.clone(),
                    choices: run.choices.to_vec(),
                    preemptions: run.preemptions,
                    switches: run.switches,
                    runs: 1,
                };
                self.find(kind, found);
            } else if let Some(found) = self.finds.get_mut(kind) {
                found.runs += 1;
            }
        }
        for outcome in run.outcomes {
            match self.outcomes.get_mut(outcome) {
                Some(runs) => *runs += 1,
                None => {
                    self.outcomes.insert(outcome.clone(), 1);
                }
            }
        }
        self.saw(run.hash, true);
    }

    fn saw(&mut self, hash: u64, once: bool) {
        if let Some(seen) = self.hashes.get_mut(&hash) {
            *seen = false;
        } else if self.hashes.len() < MAX_HASHES {
            self.hashes.insert(hash, once);
        }
    }

    fn find(&mut self, kind: &'static str, found: Found) {
        match self.finds.entry(kind) {
            Entry::Vacant(entry) => {
                entry.insert(found);
            }
            Entry::Occupied(entry) => entry.into_mut().merge(found),
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.violating += other.violating;
        self.points += other.points;
        self.most_points = self.most_points.max(other.most_points);
        self.most_tasks = self.most_tasks.max(other.most_tasks);
        self.cut += other.cut;
        self.diverged += other.diverged;
        self.bound_hit |= other.bound_hit;
        for (kind, found) in other.finds {
            self.find(kind, found);
        }
        for (outcome, runs) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += runs;
        }
        for (hash, once) in other.hashes {
            self.saw(hash, once);
        }
    }

    /// Distinct orders of the points; at least that many if there are very many.
    pub(super) fn distinct(&self) -> u64 {
        self.hashes.len() as u64
    }

    /// Orders of the points that were seen only once.
    pub(super) fn singletons(&self) -> u64 {
        self.hashes.values().filter(|once| **once).count() as u64
    }
}

/// The keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
