//! Who becomes ready when something is unlocked, touched or notified.

use super::{Core, On, State};

impl Core {
    /// Makes whoever spins on the object ready.
    pub(crate) fn touched(&mut self, object: usize) {
        self.wake_if(|on| on == On::Spin(object));
    }

    /// The last reader has left a lock.
    pub(crate) fn readers_left(&mut self, lock: usize) {
        self.wake_if(|on| on == On::Readers(lock));
    }

    /// A lock is free: whoever waits for it may try again.
    pub(crate) fn unlocked(&mut self, lock: usize) {
        for task in &mut self.tasks {
            if let State::Waiting { on: On::Lock(on), .. } = task.state
                && on == lock
            {
                task.state = State::Ready;
                task.retries = Some(lock);
            }
        }
    }

    /// A lock was taken: who was woken to try it and has not run yet would only wait again, so it is
    /// no candidate until the next unlock.
    pub(crate) fn locked(&mut self, lock: usize) {
        if self.tearing_down {
            return;
        }
        for (index, task) in self.tasks.iter_mut().enumerate() {
            if task.retries == Some(lock) && index != self.running {
                task.retries = None;
                task.state = State::Waiting { on: On::Lock(lock), deadline_ns: None, arrival: 0 };
            }
        }
    }

    /// Wakes the waiter of a condition variable that came first.
    pub(crate) fn notify_one(&mut self, condvar: usize) {
        let first = self
            .tasks
            .iter_mut()
            .filter_map(|task| match task.state {
                State::Waiting { on, arrival, .. } if on == On::Condvar(condvar) => {
                    Some((arrival, task))
                }
                State::Waiting { .. } | State::Ready | State::Ended => None,
            })
            .min_by_key(|(arrival, _)| *arrival);
        if let Some((_, task)) = first {
            task.state = State::Ready;
        }
    }

    /// Wakes all waiters of a condition variable.
    pub(crate) fn notify_all(&mut self, condvar: usize) {
        self.wake_if(|on| on == On::Condvar(condvar));
    }

    pub(super) fn wake_if(&mut self, hits: impl Fn(On) -> bool) {
        for task in &mut self.tasks {
            if let State::Waiting { on, .. } = task.state
                && hits(on)
            {
                task.state = State::Ready;
            }
        }
    }
}
