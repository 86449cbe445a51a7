//! Samples: a random walk, and PCT.
//!
//! **What.** Each sample has a seed of its own, made of the search's seed and the sample's number, so
//! that workers make the same samples however they share them.
//!
//! **Why the walk draws its rate.** A walk that preempts at every other point never lets a task run
//! for long, one that hardly preempts never interrupts a short window; the rate is drawn for each
//! sample from 1/2 to 1/32.

use crate::sync::Arc;
use crate::sync::At;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::engine::{Decision, RunEnd, Strategy};

/// `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Clone, Copy, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64, sample: u64) -> Self {
        let mut rng = Self(seed);
        let seed = rng.next();
        Self(seed ^ sample.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Below `end`, which is small against 2^64.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// Numbers of the samples, shared by the workers.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    pub(super) seed: u64,
    pub(super) count: u64,
    /// The next sample's number. Relaxed: only its value counts.
    pub(super) next: Arc<AtomicU64>,
}

impl Samples {
    fn take(&self) -> Option<Rng> {
        let sample = self.next.fetch_add(1, Ordering::Relaxed);
        (sample < self.count).then(|| Rng::new(self.seed, sample))
    }
}

/// The random walk.
pub(super) struct Walk {
    samples: Samples,
    rng: Rng,
    /// A preemption in this many points.
    rarity: u64,
}

impl Walk {
    pub(super) fn new(samples: Samples) -> Self {
        Self { samples, rng: Rng(0), rarity: 2 }
    }
}

impl Strategy for Walk {
    fn begin(&mut self) -> bool {
        let Some(rng) = self.samples.take() else { return false };
        self.rng = rng;
        self.rarity = 2 << self.rng.below(5);
        true
    }

    fn choose(&mut self, decision: &Decision<'_>) -> usize {
        let count = decision.candidates.len() as u64;
        let free = decision.candidates.iter().filter(|candidate| candidate.cost == 0).count();
        // Candidates that cost something are taken at the run's rate, at a point and at a block.
        let index = if (free as u64) < count && self.rng.below(self.rarity) == 0 {
            free as u64 + self.rng.below(count - free as u64)
        } else {
            self.rng.below(free as u64)
        };
        usize::try_from(index).unwrap_or(0)
    }

    fn end(&mut self, _: &RunEnd<'_>) {}
}

/// Probabilistic concurrency testing: the task of the highest priority runs; at `depth - 1` points
/// drawn from all, the running task falls below all others.
pub(super) struct Pct {
    samples: Samples,
    depth: u32,
    /// Points of an execution, as measured on the default schedule.
    length: u64,
    rng: Rng,
    /// By task; higher runs first.
    priorities: Vec<u64>,
    /// Points at which the running task's priority falls, descending.
    falls: Vec<u64>,
    point: u64,
}

impl Pct {
    pub(super) fn new(samples: Samples, depth: u32, length: u64) -> Self {
        Self {
            samples,
            depth,
            length,
            rng: Rng(0),
            priorities: Vec::new(),
            falls: Vec::new(),
            point: 0,
        }
    }

    fn highest(&self, decision: &Decision<'_>) -> usize {
        let by_priority = |index: &usize| {
            let candidate = decision.candidates[*index];
            // PCT knows no early timers.
            let priority = self.priorities.get(candidate.task).copied().unwrap_or(0);
            if candidate.early { 0 } else { priority + 1 }
        };
        (0..decision.candidates.len()).max_by_key(by_priority).unwrap_or(0)
    }
}

impl Strategy for Pct {
    fn begin(&mut self) -> bool {
        let Some(rng) = self.samples.take() else { return false };
        self.rng = rng;
        self.priorities.clear();
        self.point = 0;
        let falls = self.depth.saturating_sub(1);
        self.falls = (0..falls).map(|_| 1 + self.rng.below(self.length)).collect();
        self.falls.sort_unstable_by(|a, b| b.cmp(a));
        true
    }

    fn spawned(&mut self, task: usize) {
        // Above all priorities that falls give.
        let priority = (1 << 32) + self.rng.below(1 << 32);
        self.priorities.resize(task + 1, 0);
        self.priorities[task] = priority;
    }

    fn choose(&mut self, decision: &Decision<'_>) -> usize {
        if decision.at == At::Point {
            self.point += 1;
            while self.falls.last().is_some_and(|fall| *fall <= self.point) {
                self.falls.pop();
                self.priorities[decision.task] = self.falls.len() as u64;
            }
        }
        self.highest(decision)
    }

    fn end(&mut self, _: &RunEnd<'_>) {}
}

/// The least chance of one PCT sample to find a bug of this depth.
pub(super) fn pct_chance(tasks: usize, points: u64, depth: u32) -> f64 {
    let exponent = i32::try_from(depth.saturating_sub(1)).unwrap_or(i32::MAX);
    let points = (points.max(1) as f64).powi(exponent);
    1.0 / (tasks.max(1) as f64 * points)
}
