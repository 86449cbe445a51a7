//! Did the host take the CPU away while a sample was taken?
//!
//! **What.** The thread's count of involuntary context switches, refreshed when 1 ms has passed. A
//! long sample is [`Verdict::Preempted`] only if the count moved since a refresh less than 1 ms
//! before it began; if the refresh is older nobody knows, and it is [`Verdict::Unknown`].
//!
//! **Why.** Sections that can't be preempted in the kernel can be here. Samples in which they were
//! are kept apart, so that p99.9 speaks of the policy; only known ones are, so that nothing real is
//! cleaned away. An operation that is preempted as a rule is longer than the host's slices: its
//! samples go back ([`results::histogram::OpHistograms::keep_frequent_preemptions`]).
//!
//! **Source.** getrusage(RUSAGE_THREAD), `ru_nivcsw`.

use std::sync::atomic::{AtomicU64, Ordering};

use allocator::sync::{Stamp, stamp};

use super::clock::Ticks;

/// How old the count may be.
const REFRESH_NS: u64 = 1_000_000;
/// Samples from here on are long: a slice of the host's scheduler is, a quick operation is not.
const LONG_NS: u64 = 100_000;

/// What is known of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The host did not interfere, or the sample is too short for that.
    Clean,
    /// The host descheduled the thread meanwhile.
    Preempted,
    /// It may have.
    Unknown,
}

/// The count of one thread. Only that thread uses it; the atomics are for the type system, since it
/// hangs on contexts that could move.
#[derive(Debug)]
pub struct Switches {
    count: AtomicU64,
    refreshed: AtomicU64,
    refresh_ticks: u64,
    long_ticks: u64,
    read: fn() -> u64,
}

impl Switches {
    /// The calling thread's count.
    pub fn new(ticks: &Ticks) -> Self {
        Self::with(ticks, involuntary_switches)
    }

    fn with(ticks: &Ticks, read: fn() -> u64) -> Self {
        Self {
            count: AtomicU64::new(read()),
            refreshed: AtomicU64::new(stamp()),
            refresh_ticks: ticks.in_ns(REFRESH_NS),
            long_ticks: ticks.in_ns(LONG_NS),
            read,
        }
    }

    /// Is the count older than it should be when a sample begins?
    #[inline]
    pub fn is_stale(&self, now: Stamp) -> bool {
        now.wrapping_sub(self.refreshed.load(Ordering::Relaxed)) >= self.refresh_ticks
    }

    /// Reads the count anew.
    #[cold]
    pub fn refresh(&self, now: Stamp) {
        self.count.store((self.read)(), Ordering::Relaxed);
        self.refreshed.store(now, Ordering::Relaxed);
    }

    /// Judges a sample that ends now.
    #[inline]
    pub fn judge(&self, start: Stamp, now: Stamp) -> Verdict {
        if now.wrapping_sub(start) < self.long_ticks {
            return Verdict::Clean;
        }
        self.judge_long(start, now)
    }

    #[cold]
    fn judge_long(&self, start: Stamp, now: Stamp) -> Verdict {
        let before = self.count.load(Ordering::Relaxed);
        let refreshed = self.refreshed.load(Ordering::Relaxed);
        self.refresh(now);
        if self.count.load(Ordering::Relaxed) == before {
            Verdict::Clean
        } else if start.wrapping_sub(refreshed) < self.refresh_ticks {
            Verdict::Preempted
        } else {
            Verdict::Unknown
        }
    }
}

/// What the host says about the calling thread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time in seconds.
    pub cpu_s: f64,
    /// Involuntary context switches.
    pub involuntary_switches: u64,
}

impl Usage {
    /// The calling thread's, so far.
    pub fn of_this_thread() -> Self {
        let usage = rusage();
        let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
        Self {
            cpu_s: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            involuntary_switches: usage.ru_nivcsw as u64,
        }
    }

    /// What was used since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu_s: self.cpu_s - earlier.cpu_s,
            involuntary_switches: self.involuntary_switches - earlier.involuntary_switches,
        }
    }
}

fn involuntary_switches() -> u64 {
    rusage().ru_nivcsw as u64
}

fn rusage() -> libc::rusage {
    // SAFETY: 1. `rusage` is plain data for which all zeroes is a value; 2. the pointer is to a
    // local of the right type, which the call writes and does not keep.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    std::thread_local! { static COUNT: Cell<u64> = const { Cell::new(0) }; }

    fn counted() -> u64 {
        COUNT.with(Cell::get)
    }

    /// A sample of `length_us` that begins `after_us` after a refresh, with or without a switch.
    fn check(after_us: u64, length_us: u64, switched: bool, expected: Verdict) {
        COUNT.with(|c| c.set(5));
        let ticks = Ticks::default();
        let switches = Switches::with(&ticks, counted);
        let start = switches.refreshed.load(Ordering::Relaxed) + ticks.in_ns(after_us * 1000);
        let end = start + ticks.in_ns(length_us * 1000);
        COUNT.with(|c| c.set(5 + u64::from(switched)));
        assert_eq!(switches.judge(start, end), expected, "{after_us} {length_us} {switched}");
    }

    #[test]
    fn only_a_fresh_count_convicts_the_host() {
        check(10, 3_000, true, Verdict::Preempted);
        check(10, 3_000, false, Verdict::Clean);
        check(5_000, 3_000, true, Verdict::Unknown);
        check(5_000, 3_000, false, Verdict::Clean);
        check(10, 20, true, Verdict::Clean);
    }

    #[test]
    fn a_verdict_refreshes_the_count() {
        COUNT.with(|c| c.set(1));
        let ticks = Ticks::default();
        let switches = Switches::with(&ticks, counted);
        COUNT.with(|c| c.set(2));
        let start = switches.refreshed.load(Ordering::Relaxed) + 1;
        let end = start + ticks.in_ns(2_000_000);
        assert_eq!(switches.judge(start, end), Verdict::Preempted);
        assert!(!switches.is_stale(end) && switches.is_stale(end + ticks.in_ns(1_100_000)));
        assert_eq!(switches.judge(end, end + ticks.in_ns(2_000_000)), Verdict::Clean);
    }

    #[test]
    fn a_spinning_thread_uses_cpu_time() {
        let before = Usage::of_this_thread();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(30);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        let used = Usage::of_this_thread().since(&before);
        assert!(used.cpu_s > 0.0 && used.cpu_s < 10.0, "{used:?}");
    }
}
