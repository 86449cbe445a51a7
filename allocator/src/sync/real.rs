//! The real world's side of the door: parking_lot, std threads, the host's clock.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{MutexGuard, ObjId, SpinRounds};

#[path = "real_hooks.rs"]
pub(in crate::sync) mod hooks;

pub use super::rwsem::RawRwSem as RawRwLock;
pub use super::section::RawSection;
pub use parking_lot::RawMutex;

/// A reading of the fastest clock there is, in its own ticks (the TSC where it is stable).
pub type Stamp = u64;

/// Reads the timestamp counter, unserialised.
#[inline]
pub fn stamp() -> Stamp {
    clock().raw()
}

fn clock() -> &'static quanta::Clock {
    static CLOCK: OnceLock<quanta::Clock> = OnceLock::new();
    CLOCK.get_or_init(quanta::Clock::new)
}

#[expect(clippy::disallowed_methods, reason = "this is the door to the host's clock")]
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// Nanoseconds of host time since the first call.
pub fn monotonic_ns() -> u64 {
    u64::try_from(epoch().elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// One round of a spin on `obj`: a pause at first, then the CPU is yielded. Never knows that nobody
/// will end it: false.
#[inline]
pub fn relax(_obj: ObjId, rounds: u32) -> bool {
    if rounds < SpinRounds::BEFORE_YIELD {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
    false
}

/// Says that `obj` was written. Nothing to do here: spinners look for themselves.
#[inline]
pub fn touched(_obj: ObjId) {}

/// A place where the explorer may switch. Nothing to do here.
#[inline]
pub fn switch_point(_label: u16) {}

/// Gives up the rest of the time slice.
pub fn yield_now() {
    std::thread::yield_now();
}

/// A handle to wait for the end of a thread.
pub type JoinHandle<T> = std::thread::JoinHandle<T>;

/// Starts an OS thread with a name.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("the host refused to start a thread")
}

/// A condition variable, for wait queues.
#[derive(Debug, Default)]
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    /// A condition variable that nobody waits for.
    pub const fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    /// Releases the lock, sleeps until woken (or spuriously), takes the lock again.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        self.0.wait(guard);
    }

    /// As [`Condvar::wait`], at the latest until `deadline_ns` of [`monotonic_ns`]; true if it
    /// timed out.
    pub fn wait_until<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, deadline_ns: u64) -> bool {
        let deadline = epoch() + Duration::from_nanos(deadline_ns);
        self.0.wait_until(guard, deadline).timed_out()
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
