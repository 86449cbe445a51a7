//! The lock of a pcp section: taken by one locked instruction, given back by a plain store.
//!
//! **What.** Whether somebody is inside, and whether anybody waits for it asleep. Unlike
//! parking_lot's, whose unlock has to find out by a compare-exchange that nobody sleeps, this unlock
//! stores and then looks: half of the locked instructions, of which a section on a hit consists
//! (5.5 of 11 ns where it was measured).
//!
//! **Why it may.** See [`super::awaited`], which is the protocol; here are the host's sleeps and its
//! membarrier(2). Where that is refused a waiter looks again every [`LOOKS_AGAIN`].
//!
//! **Differs.** The kernel's section is preempt_disable and a trylock: nobody waits asleep there, see
//! [`crate::zone::pcp`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lock_api::GuardNoSend;
use parking_lot_core::{DEFAULT_PARK_TOKEN, DEFAULT_UNPARK_TOKEN, UnparkResult};
use rustix::thread::{MembarrierCommand, membarrier};

use super::awaited::{Awaited, Park};

/// When a waiter looks again by itself, where it has no other way to be sure.
const LOOKS_AGAIN: Duration = Duration::from_micros(250);

/// The lock itself.
#[derive(Debug)]
pub struct RawSection(Awaited);

/// The host's queue of one lock: threads parked on its address.
struct HostQueue(usize);

impl RawSection {
    #[inline]
    fn queue(&self) -> HostQueue {
        HostQueue(std::ptr::from_ref(self).addr())
    }
}

impl Park for HostQueue {
    /// As long as a refill or a drain may take.
    const SPINS: u32 = 64;

    #[expect(clippy::disallowed_methods, reason = "this is the door to the host's clock")]
    fn park(&self, still_waits: impl FnOnce() -> bool, timed: bool) {
        let deadline = timed.then(|| Instant::now() + LOOKS_AGAIN);
        // SAFETY:
        // 1. The key is the address of a lock of this module, which nobody else parks on.
        // 2. The three closures neither panic nor call into parking_lot.
        unsafe {
            parking_lot_core::park(
                self.0,
                still_waits,
                || {},
                |_, _| {},
                DEFAULT_PARK_TOKEN,
                deadline,
            );
        }
    }

    fn unpark_one(&self, leaves_others: impl FnOnce(bool)) {
        let woken = |result: UnparkResult| {
            leaves_others(result.have_more_threads);
            DEFAULT_UNPARK_TOKEN
        };
        // SAFETY: the key is the address of a lock of this module, and the closure neither panics nor
        // calls into parking_lot.
        unsafe {
            parking_lot_core::unpark_one(self.0, woken);
        }
    }

    fn barrier_on_all_cpus(&self) -> bool {
        let ran = self.has_barrier() && membarrier(MembarrierCommand::PrivateExpedited).is_ok();
        if !ran {
            // One that was refused may be so again: from now on nobody relies on it.
            REFUSED.store(true, Ordering::Relaxed);
        }
        ran
    }

    fn has_barrier(&self) -> bool {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        let register = || membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok();
        !REFUSED.load(Ordering::Relaxed) && *REGISTERED.get_or_init(register)
    }
}

/// membarrier(2) was refused once.
static REFUSED: AtomicBool = AtomicBool::new(false);

// SAFETY: the trait asks for mutual exclusion.
// 1. A context is inside only between the compare-exchange that sets `held`, which needs it false,
//    and the store that clears it, which only `unlock` makes.
// 2. Acquire on entry pairs with Release on exit, so what was written inside is seen inside.
unsafe impl lock_api::RawMutex for RawSection {
    const INIT: Self = Self(Awaited::FREE);

    type Guard = GuardNoSend;

    #[inline]
    fn lock(&self) -> GuardNoSend {
        if !self.0.enter() {
            self.0.enter_slow(&self.queue());
        }
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardNoSend> {
        self.0.enter().then_some(GuardNoSend::new())
    }

    #[inline]
    unsafe fn unlock(&self, _: GuardNoSend) {
        self.0.leave(&self.queue());
    }

    fn is_locked(&self) -> bool {
        self.0.is_held()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    type Section<T> = lock_api::Mutex<RawSection, T>;

    #[test]
    fn one_at_a_time_and_nobody_sleeps_for_ever() {
        crowd();
    }

    #[test]
    fn without_membarrier_every_sleep_is_timed() {
        // For the rest of this process: what others test then holds without it, too.
        REFUSED.store(true, Ordering::Relaxed);
        let section = RawSection(Awaited::FREE);
        assert!(!section.queue().has_barrier() && !section.queue().barrier_on_all_cpus());
        crowd();
    }

    fn crowd() {
        // More tasks than CPUs, some of which lose theirs inside.
        let section = Arc::new(Section::new((0u64, 0u64)));
        let tasks: Vec<_> = (0..8u64)
            .map(|n| {
                let section = Arc::clone(&section);
                std::thread::spawn(move || {
                    for i in 0..3000u64 {
                        let mut pair = section.lock();
                        pair.0 += 1;
                        if (i + n) % 64 == 0 {
                            std::thread::yield_now();
                        }
                        pair.1 += 1;
                        assert_eq!(pair.0, pair.1, "two inside");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.join().unwrap();
        }
        assert_eq!(*section.lock(), (24_000, 24_000));
        // SAFETY: looked at only.
        assert!(!unsafe { section.raw() }.0.is_awaited(), "a wake-up is left");
    }

    #[test]
    fn a_held_section_is_refused_and_seen() {
        let section = Section::new(());
        let inside = section.try_lock();
        assert!(inside.is_some() && section.try_lock().is_none() && section.is_locked());
        drop(inside);
        assert!(section.try_lock().is_some() && !section.is_locked());
    }
}
