//! Work that OS threads share: parts of a tree of schedules.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs, and how many of them are being worked on: each may bring more.
pub(crate) struct WorkPool<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// Workers that wait for a job. Relaxed: only a hint to split.
    hungry: AtomicUsize,
}

struct State<T> {
    jobs: Vec<T>,
    in_work: usize,
    closed: bool,
}

impl<T> WorkPool<T> {
    pub(crate) fn new(job: T) -> Self {
        let state = State { jobs: vec![job], in_work: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), hungry: AtomicUsize::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job; waits for one while others may still bring some. None: all is done, or closed.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                state.in_work += 1;
                return Some(job);
            }
            if state.in_work == 0 {
                return None;
            }
            self.hungry.fetch_add(1, Ordering::Relaxed);
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            self.hungry.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The job that was taken is done.
    pub(crate) fn done(&self) {
        self.state().in_work -= 1;
        self.changed.notify_all();
    }

    /// Does anybody wait for a job?
    pub(crate) fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn put(&self, job: T) {
        self.state().jobs.push(job);
        self.changed.notify_one();
    }

    /// Nobody gets a job any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }
}
