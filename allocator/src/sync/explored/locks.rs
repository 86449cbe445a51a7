//! Locks and the condition variable of the explorer's world.
//!
//! **What.** A lock is a word; who can't take it waits for its address, and an unlock wakes all that
//! do: whoever runs first takes it (it barges), as with parking_lot's. Taking a free lock and
//! unlocking are no switch points.
//!
//! **Why the read-write lock has two steps.** A writer first claims the lock, which stops new
//! readers, and then waits until the readers inside have left. So a waiting writer stops readers,
//! `try_read` included, as mmap_lock's does; writers queue for the claim. parking_lot's works so too.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lock_api::{GuardNoSend, RawRwLockDowngrade};

use super::core::{On, block_on, with, without_unwinding};
use crate::sync::MutexGuard;

// All accesses are Relaxed: one OS thread runs all tasks.

fn address<T>(place: &T) -> usize {
    std::ptr::from_ref(place).addr()
}

fn locked(lock: usize) {
    with(|core| core.locked(lock));
}

fn unlocked(lock: usize) {
    with(|core| core.unlocked(lock));
}

/// A mutex: held or not.
#[derive(Debug)]
pub struct RawMutex {
    held: AtomicBool,
}

impl RawMutex {
    fn take(&self) -> bool {
        let taken = !self.held.swap(true, Ordering::Relaxed);
        if taken {
            locked(address(self));
        }
        taken
    }
}

// SAFETY: a guard's state is made only after `take` has changed `held` from false to true, and only
// `unlock`, which wants that state back, makes it false again.
unsafe impl lock_api::RawMutex for RawMutex {
    const INIT: Self = Self { held: AtomicBool::new(false) };
    type Guard = GuardNoSend;

    fn lock(&self) -> GuardNoSend {
        while !self.take() {
            block_on(On::Lock(address(self)), None);
        }
        GuardNoSend::new()
    }

    fn try_lock(&self) -> Option<GuardNoSend> {
        self.take().then_some(GuardNoSend::new())
    }

    unsafe fn unlock(&self, _: GuardNoSend) {
        self.held.store(false, Ordering::Relaxed);
        unlocked(address(self));
    }

    fn is_locked(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }
}

/// A reader-writer lock: claimed by a writer or not, and the readers inside.
#[derive(Debug)]
pub struct RawRwLock {
    /// A writer is inside, or waits for the readers to leave.
    claimed: AtomicBool,
    readers: AtomicU32,
}

impl RawRwLock {
    fn enter(&self) -> bool {
        if self.claimed.load(Ordering::Relaxed) {
            return false;
        }
        self.readers.store(self.readers.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        true
    }
}

// SAFETY: a writer is inside only while it has `claimed` and `readers` is 0; readers enter only while
// nobody has claimed. `claimed` is cleared by its holder alone, `readers` is lowered once for each
// guard's state that `enter` has paid for.
unsafe impl lock_api::RawRwLock for RawRwLock {
    const INIT: Self = Self { claimed: AtomicBool::new(false), readers: AtomicU32::new(0) };
    type SharedGuard = GuardNoSend;
    type ExclusiveGuard = GuardNoSend;

    fn lock_shared(&self) -> GuardNoSend {
        while !self.enter() {
            block_on(On::Lock(address(self)), None);
        }
        GuardNoSend::new()
    }

    fn try_lock_shared(&self) -> Option<GuardNoSend> {
        self.enter().then_some(GuardNoSend::new())
    }

    unsafe fn unlock_shared(&self, _: GuardNoSend) {
        let left = self.readers.load(Ordering::Relaxed) - 1;
        self.readers.store(left, Ordering::Relaxed);
        if left == 0 {
            with(|core| core.readers_left(address(self)));
        }
    }

    fn lock_exclusive(&self) -> GuardNoSend {
        while self.claimed.swap(true, Ordering::Relaxed) {
            block_on(On::Lock(address(self)), None);
        }
        locked(address(self));
        // If the wait is unwound the claim is given back, or the readers' destructors would hang.
        let claim = Claim(self);
        while self.readers.load(Ordering::Relaxed) != 0 {
            block_on(On::Readers(address(self)), None);
        }
        std::mem::forget(claim);
        GuardNoSend::new()
    }

    fn try_lock_exclusive(&self) -> Option<GuardNoSend> {
        if self.is_locked() {
            return None;
        }
        self.claimed.store(true, Ordering::Relaxed);
        locked(address(self));
        Some(GuardNoSend::new())
    }

    unsafe fn unlock_exclusive(&self, _: GuardNoSend) {
        self.claimed.store(false, Ordering::Relaxed);
        unlocked(address(self));
    }

    fn is_locked(&self) -> bool {
        self.is_locked_exclusive() || self.readers.load(Ordering::Relaxed) != 0
    }

    fn is_locked_exclusive(&self) -> bool {
        self.claimed.load(Ordering::Relaxed)
    }
}

// SAFETY: the reader is counted before the claim is given up, so no writer can come in between.
unsafe impl RawRwLockDowngrade for RawRwLock {
    unsafe fn downgrade(&self, guard: GuardNoSend) -> GuardNoSend {
        self.readers.store(1, Ordering::Relaxed);
        self.claimed.store(false, Ordering::Relaxed);
        unlocked(address(self));
        guard
    }
}

/// A writer that waits for readers to leave.
struct Claim<'a>(&'a RawRwLock);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.claimed.store(false, Ordering::Relaxed);
        unlocked(address(self.0));
    }
}

/// A condition variable, for wait queues. Wakes in order of arrival.
#[derive(Debug, Default)]
pub struct Condvar {
    /// Gives it an address of its own.
    place: AtomicBool,
}

impl Condvar {
    /// A condition variable that nobody waits for.
    pub const fn new() -> Self {
        Self { place: AtomicBool::new(false) }
    }

    /// Releases the lock, sleeps until woken (or spuriously), takes the lock again.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        self.sleep(guard, None);
    }

    /// As [`Condvar::wait`], at the latest until `deadline_ns` of
    /// [`monotonic_ns`](super::monotonic_ns); true if it timed out.
    pub fn wait_until<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, deadline_ns: u64) -> bool {
        self.sleep(guard, Some(deadline_ns))
    }

    /// The guard's destructor will unlock, so the lock is taken again before an unwinding that
    /// may have become due meanwhile.
    fn sleep<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, deadline_ns: Option<u64>) -> bool {
        let on = On::Condvar(address(&self.place));
        let sleep = || MutexGuard::unlocked(guard, || block_on(on, deadline_ns));
        without_unwinding(sleep)
    }

    /// Wakes the waiter that came first.
    pub fn notify_one(&self) {
        with(|core| core.notify_one(address(&self.place)));
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        with(|core| core.notify_all(address(&self.place)));
    }
}
