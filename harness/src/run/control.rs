//! How the coordinator and the task threads talk while a round runs.
//!
//! **What.** One word that all threads read between steps (phase, and which snapshot is wanted), and
//! a slot for each thread that only it writes.
//!
//! **Why.** Threads share nothing that is written often: the word changes a few times a second, a
//! slot's cache lines belong to its thread.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use allocator::run::task::Task;
use allocator::sync::{Arc, Stamp};
use crossbeam::utils::CachePadded;
use results::histogram::{Histogram, OpHistograms};

/// What the tasks are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// Wait until all are there.
    Wait = 0,
    /// Work; nothing of it is kept.
    WarmUp = 1,
    /// Work; recorded.
    Measure = 2,
    /// Finish.
    Stop = 3,
}

const PHASE_BITS: u32 = 2;

/// The word as a task reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u32);

impl Word {
    /// The phase.
    #[inline]
    pub fn phase(self) -> Phase {
        match self.0 & ((1 << PHASE_BITS) - 1) {
            0 => Phase::Wait,
            1 => Phase::WarmUp,
            2 => Phase::Measure,
            _ => Phase::Stop,
        }
    }

    /// Number of the snapshot that is wanted.
    pub fn snapshot(self) -> u32 {
        self.0 >> PHASE_BITS
    }
}

/// What a thread published last.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Its histogram of the workload's first operation.
    pub primary: Option<Histogram>,
    /// What it recorded since the coordinator last collected, if intervals are wanted.
    pub interval: Option<OpHistograms>,
}

/// What one thread shows to the coordinator.
#[derive(Debug)]
pub struct Slot {
    /// Steps made.
    pub steps: AtomicU64,
    /// Is the thread past its last step?
    pub done: AtomicU32,
    /// The task that it runs as.
    pub task: Mutex<Arc<Task>>,
    /// Answers to snapshots.
    pub snapshot: Mutex<Snapshot>,
}

/// The phases by the clock, so that a coordinator that the host lets wait does not stretch them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The measured phase begins.
    pub measure_at: Stamp,
    /// It ends; `None` if something else ends it.
    pub stop_at: Option<Stamp>,
}

impl Schedule {
    /// The phase at a moment.
    #[inline]
    pub fn phase(&self, now: Stamp) -> Phase {
        if self.stop_at.is_some_and(|at| now >= at) {
            Phase::Stop
        } else if now >= self.measure_at {
            Phase::Measure
        } else {
            Phase::WarmUp
        }
    }
}

/// The control of one round.
#[derive(Debug)]
pub struct Control {
    word: CachePadded<AtomicU32>,
    gate: Mutex<()>,
    gate_opens: Condvar,
    /// Operations left until the round is full; `None` without `--ops`.
    pub ops_left: Option<CachePadded<AtomicI64>>,
    /// When, on the clock of [`allocator::sync::stamp`], tasks begin to measure and when they stop.
    schedule: Mutex<Option<Schedule>>,
    /// Do snapshots carry what was recorded in the interval (`--hlog`)?
    pub wants_intervals: bool,
    /// One for each task thread.
    pub slots: Box<[CachePadded<Slot>]>,
}

impl Control {
    /// For these tasks.
    pub fn new(tasks: impl Iterator<Item = Arc<Task>>, ops: Option<u64>) -> Self {
        let slot = |task| {
            CachePadded::new(Slot {
                steps: AtomicU64::new(0),
                done: AtomicU32::new(0),
                task: Mutex::new(task),
                snapshot: Mutex::default(),
            })
        };
        Self {
            word: CachePadded::new(AtomicU32::new(Phase::Wait as u32)),
            gate: Mutex::new(()),
            gate_opens: Condvar::new(),
            ops_left: ops
                .map(|n| CachePadded::new(AtomicI64::new(i64::try_from(n).unwrap_or(i64::MAX)))),
            schedule: Mutex::new(None),
            wants_intervals: false,
            slots: tasks.map(slot).collect(),
        }
    }

    /// Takes what the threads recorded since the last call.
    pub fn collect_interval(&self) -> Option<OpHistograms> {
        let parts = self.slots.iter().filter_map(|slot| lock(&slot.snapshot).interval.take());
        parts.reduce(|mut all, part| {
            all.merge(&part);
            all
        })
    }

    /// The word now.
    #[inline]
    pub fn word(&self) -> Word {
        // Relaxed: what threads leave behind is handed over when they are joined.
        Word(self.word.load(Ordering::Relaxed))
    }

    /// Opens the gate; from now on phases follow the schedule, until somebody begins
    /// [`Phase::Stop`].
    pub fn start(&self, schedule: Schedule) {
        *lock(&self.schedule) = Some(schedule);
        self.begin(Phase::WarmUp);
    }

    /// The schedule, once the gate is open.
    pub fn schedule(&self) -> Option<Schedule> {
        *lock(&self.schedule)
    }

    /// Begins a phase; opens the gate if it was closed.
    pub fn begin(&self, phase: Phase) {
        let _gate = lock(&self.gate);
        let snapshot = self.word().snapshot();
        self.word.store(snapshot << PHASE_BITS | phase as u32, Ordering::Relaxed);
        self.gate_opens.notify_all();
    }

    /// Asks all threads for a snapshot.
    pub fn ask(&self) {
        let _gate = lock(&self.gate);
        let word = self.word.load(Ordering::Relaxed);
        self.word.store(word.wrapping_add(1 << PHASE_BITS), Ordering::Relaxed);
    }

    /// Waits at the gate until the first phase begins, so that all tasks start together.
    pub fn wait_for_start(&self) {
        let mut gate = lock(&self.gate);
        while self.word().phase() == Phase::Wait {
            gate = self.gate_opens.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sleeps, but no longer than until somebody calls [`Control::nudge`].
    pub fn sleep(&self, most: Duration) {
        let gate = lock(&self.gate);
        let _ = self.gate_opens.wait_timeout(gate, most);
    }

    /// Wakes the coordinator: a thread is through, or `--ops` are.
    pub fn nudge(&self) {
        let _gate = lock(&self.gate);
        self.gate_opens.notify_all();
    }

    /// Takes operations off the budget; true if it is used up.
    pub fn spend(&self, operations: u64) -> bool {
        let Some(left) = &self.ops_left else { return false };
        let before = left.fetch_sub(operations as i64, Ordering::Relaxed);
        before <= operations as i64
    }

    /// Is the budget used up?
    pub fn is_spent(&self) -> bool {
        self.ops_left.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) <= 0)
    }

    /// Are all threads past their last step?
    pub fn all_done(&self) -> bool {
        self.slots.iter().all(|s| s.done.load(Ordering::Relaxed) != 0)
    }
}

/// Locks what a panicking thread may have left behind: the data is still whole.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_carries_phase_and_snapshot() {
        let control = Control::new(std::iter::empty(), Some(100));
        assert_eq!(control.word().phase(), Phase::Wait);
        control.begin(Phase::Measure);
        control.ask();
        control.ask();
        assert_eq!((control.word().phase(), control.word().snapshot()), (Phase::Measure, 2));
        control.begin(Phase::Stop);
        assert_eq!((control.word().phase(), control.word().snapshot()), (Phase::Stop, 2));
        assert!(control.all_done(), "without threads nobody is left");
    }

    #[test]
    fn phases_follow_the_clock() {
        let timed = Schedule { measure_at: 100, stop_at: Some(300) };
        let phases = [99, 100, 299, 300].map(|now| timed.phase(now));
        assert_eq!(phases, [Phase::WarmUp, Phase::Measure, Phase::Measure, Phase::Stop]);
        let endless = Schedule { measure_at: 0, stop_at: None };
        assert_eq!(endless.phase(u64::MAX), Phase::Measure);
    }

    #[test]
    fn the_budget_is_spent_once() {
        let control = Control::new(std::iter::empty(), Some(100));
        assert!(!control.spend(99) && !control.is_spent());
        assert!(control.spend(5) && control.is_spent());
        let endless = Control::new(std::iter::empty(), None);
        assert!(!endless.spend(u64::MAX >> 1) && !endless.is_spent());
    }
}
