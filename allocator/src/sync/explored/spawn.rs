//! Tasks: how they start, end, panic and are joined.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use super::carrier;
use super::choice::TaskIndex;
use super::core::{Core, On, TearDown, block_on, with};

type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// A handle to wait for the end of a task.
pub struct JoinHandle<T> {
    task: TaskIndex,
    /// Never contended: all tasks share one OS thread.
    outcome: Arc<Mutex<Option<Outcome<T>>>>,
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("task", &self.task).finish_non_exhaustive()
    }
}

impl<T> JoinHandle<T> {
    /// Waits for the task's end and returns what it returned, or what it panicked with.
    ///
    /// # Errors
    /// The payload of the task's panic, which has been noted as a finding before.
    pub fn join(self) -> Outcome<T> {
        while !self.is_finished() {
            block_on(On::Task(self.task), None);
        }
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.take().unwrap_or_else(|| Err(Box::new("the task was given up")))
    }

    /// Has the task ended?
    pub fn is_finished(&self) -> bool {
        with(|core| core.has_ended(self.task)).unwrap_or(true)
    }
}

/// Starts a task. It first runs when the running one can't go on, or at a point.
///
/// # Panics
/// Outside of an exploration.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let task = with(|core| core.add_task(name))
        .expect("tasks of the explorer's world live only inside explore::run");
    let outcome = Arc::new(Mutex::new(None));
    let result = Arc::clone(&outcome);
    carrier::start(move || {
        if let Some(done) = run_task(body) {
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        }
        with(Core::end_task);
    });
    JoinHandle { task, outcome }
}

/// Runs a task's body; none if the execution was given up under it. A panic is noted as a finding
/// and ends the execution.
pub(super) fn run_task<T>(body: impl FnOnce() -> T) -> Option<Outcome<T>> {
    if with(|core| core.tearing_down()) != Some(false) {
        return None;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => Some(Ok(value)),
        Err(payload) if payload.is::<TearDown>() => None,
        Err(payload) => {
            with(|core| core.panicked(carrier::panic_message(payload.as_ref())));
            Some(Err(payload))
        }
    }
}
