//! Kernel time: ticks, and the sleeps that the mechanisms ask for.
//!
//! **What.** `jiffies`, `schedule_timeout`, `msleep`: the reaper's 100 ms between tries, its 2 s
//! delay, kswapd's 100 ms, the throttle's 1 s (docs/kernel/oom.md#e7, environment.md#h1,
//! slow-path.md#b6), and time charged for bulk work (ARCHITECTURE.md#the-execution-model, "Kernel
//! time").
//!
//! **Differs.** Real threads sleep for model time divided by the time scale; explored time is
//! virtual. Every sleep ends early when the run is aborted.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, monotonic_ns};

/// Nanoseconds in a millisecond.
pub const NS_PER_MS: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// Model time, in nanoseconds since the model was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ktime(pub u64);

/// The model's clock and the abort flag that every wait obeys.
#[derive(Debug)]
pub struct Clock {
    start_ns: u64,
    /// Model nanoseconds per host nanosecond.
    scale: f64,
    tick_ns: u64,
    aborted: AtomicBool,
    sleepers: Mutex<()>,
    wake: Condvar,
}

impl Clock {
    /// A clock of `hz` ticks a second that runs `scale` times as fast as the host's.
    pub fn new(hz: u32, scale: f64) -> Self {
        Self {
            start_ns: monotonic_ns(),
            scale,
            tick_ns: NS_PER_S / u64::from(hz.max(1)),
            aborted: AtomicBool::new(false),
            sleepers: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Now.
    pub fn now(&self) -> Ktime {
        Ktime(self.to_model(monotonic_ns().saturating_sub(self.start_ns)))
    }

    /// Length of a tick in model nanoseconds.
    pub fn tick_ns(&self) -> u64 {
        self.tick_ns
    }

    /// Does time run at the host's speed? If not, verdicts that hang on it are marked `scaled`.
    pub fn is_real_time(&self) -> bool {
        self.scale == 1.0
    }

    #[expect(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "scaled clock")]
    fn to_model(&self, host_ns: u64) -> u64 {
        if self.is_real_time() { host_ns } else { (host_ns as f64 * self.scale) as u64 }
    }

    #[expect(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "scaled clock")]
    fn to_host(&self, model_ns: u64) -> u64 {
        if self.is_real_time() { model_ns } else { (model_ns as f64 / self.scale) as u64 }
    }

    /// Sleeps for `model_ns`; returns early when the run is aborted.
    pub fn sleep(&self, model_ns: u64) {
        let deadline = monotonic_ns() + self.to_host(model_ns);
        let mut guard = self.sleepers.lock();
        while !self.is_aborted() && monotonic_ns() < deadline {
            self.wake.wait_until(&mut guard, deadline);
        }
    }

    /// Sleeps for `n` ticks (`schedule_timeout_uninterruptible`).
    pub fn sleep_ticks(&self, n: u64) {
        self.sleep(n * self.tick_ns);
    }

    /// Waits on `queue` for at most `model_ns`; true if the time ran out. Spurious wake-ups are
    /// the caller's to handle.
    pub fn wait_timeout<T: ?Sized>(
        &self,
        queue: &Condvar,
        guard: &mut MutexGuard<'_, T>,
        model_ns: u64,
    ) -> bool {
        queue.wait_until(guard, monotonic_ns() + self.to_host(model_ns))
    }

    /// Has the run been aborted (a lockup was found, or the run is over)? Every loop that could
    /// go on for ever asks.
    #[inline]
    pub fn is_aborted(&self) -> bool {
        // Relaxed: only ends loops sooner; nothing is published by it.
        self.aborted.load(Ordering::Relaxed)
    }

    /// Ends all sleeps and spins. Conservation is checked as ever afterwards.
    pub fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
        let _guard = self.sleepers.lock();
        self.wake.notify_all();
    }
}
