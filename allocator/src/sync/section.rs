//! The lock of a pcp section: taken by one locked instruction, given back by a plain store.
//!
//! **What.** Whether somebody is inside, and whether anybody waits for it asleep. Unlike
//! parking_lot's, whose unlock has to find out by a compare-exchange that nobody sleeps, this unlock
//! stores and then looks: half of the locked instructions, of which a section on a hit consists
//! (5.5 of 11 ns where it was measured).
//!
//! **Why it may.** A look that follows a store may be satisfied before others see the store, so that
//! a waiter which says that it waits just then could find the lock held and be seen by nobody. So the
//! first waiter has membarrier(2) run a barrier on all CPUs that run this process, between its word
//! and its last test: an unlock that looked before has its store seen, one that looks later sees the
//! word. That costs microseconds, and who has to wait waits for a holder that the host has preempted:
//! milliseconds. Where membarrier is refused a waiter looks again every [`LOOKS_AGAIN`].
//!
//! **Why others may do without the barrier.** A waiter that finds the word said sleeps only while it
//! stands, which is looked at under the queue's lock; and it is taken back under that lock only, by a
//! wake-up that leaves nobody behind. The first waiter gets in, or sleeps behind a holder that sees
//! the word: either one's unlock wakes the next.
//!
//! **Differs.** The kernel's section is preempt_disable and a trylock: nobody waits asleep there, see
//! [`crate::pcp`].

use std::sync::OnceLock;
use std::sync::atomic::compiler_fence;
use std::time::{Duration, Instant};

use lock_api::GuardNoSend;
use parking_lot_core::{DEFAULT_PARK_TOKEN, DEFAULT_UNPARK_TOKEN, UnparkResult};
use rustix::thread::{MembarrierCommand, membarrier};

use super::atomic::{AtomicBool, Ordering};

/// When a waiter looks again by itself, where it has no other way to be sure.
const LOOKS_AGAIN: Duration = Duration::from_micros(250);
/// Looks of a waiter before it sleeps: as long as a refill or a drain may take.
const SPINS: u32 = 64;

/// The lock itself.
#[derive(Debug)]
pub struct RawSection {
    held: AtomicBool,
    /// Somebody waits asleep, or is about to. Taken back under the queue's lock only.
    is_awaited: AtomicBool,
}

impl RawSection {
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    #[cold]
    fn lock_slow(&self) {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if !self.is_held() && self.enter() {
                return;
            }
        }
        while !self.enter() {
            // SeqCst, and the barrier on all CPUs: pairs with the compiler's fence in unlock.
            let is_first = !self.is_awaited.swap(true, Ordering::SeqCst);
            self.sleep(!is_first || barrier_on_all_cpus());
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door to the host's clock")]
    fn sleep(&self, is_sure: bool) {
        let deadline = (!is_sure).then(|| Instant::now() + LOOKS_AGAIN);
        // SAFETY:
        // 1. The key is the address of a lock of this module, which nobody else parks on.
        // 2. The three closures neither panic nor call into parking_lot.
        unsafe {
            parking_lot_core::park(
                self.key(),
                || self.is_held() && self.is_awaited.load(Ordering::Relaxed),
                || {},
                |_, _| {},
                DEFAULT_PARK_TOKEN,
                deadline,
            );
        }
    }

    #[cold]
    fn wake_one(&self) {
        let woken = |result: UnparkResult| {
            if !result.have_more_threads {
                self.is_awaited.store(false, Ordering::Relaxed);
            }
            DEFAULT_UNPARK_TOKEN
        };
        // SAFETY: the key is the address of a lock of this module, and the closure neither panics nor
        // calls into parking_lot.
        unsafe {
            parking_lot_core::unpark_one(self.key(), woken);
        }
    }

    #[inline]
    fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    #[inline]
    fn enter(&self) -> bool {
        // Acquire: pairs with the Release of the context that left.
        self.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

/// Runs a full barrier on every CPU that runs a thread of this process; false if the host can't.
fn barrier_on_all_cpus() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let register = || membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok();
    *REGISTERED.get_or_init(register) && membarrier(MembarrierCommand::PrivateExpedited).is_ok()
}

// SAFETY: the trait asks for mutual exclusion.
// 1. A context is inside only between the compare-exchange that sets `held`, which needs it false,
//    and the store that clears it, which only `unlock` makes.
// 2. Acquire on entry pairs with Release on exit, so what was written inside is seen inside.
unsafe impl lock_api::RawMutex for RawSection {
    const INIT: Self = Self { held: AtomicBool::new(false), is_awaited: AtomicBool::new(false) };

    type Guard = GuardNoSend;

    #[inline]
    fn lock(&self) -> GuardNoSend {
        if !self.enter() {
            self.lock_slow();
        }
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardNoSend> {
        self.enter().then_some(GuardNoSend::new())
    }

    #[inline]
    unsafe fn unlock(&self, _: GuardNoSend) {
        // Release: pairs with the Acquire of whoever enters next.
        self.held.store(false, Ordering::Release);
        // The look stays behind the store as far as the compiler goes: pairs with the barrier that
        // waiters make all CPUs run.
        compiler_fence(Ordering::SeqCst);
        if self.is_awaited.load(Ordering::Relaxed) {
            self.wake_one();
        }
    }

    fn is_locked(&self) -> bool {
        self.is_held()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    type Section<T> = lock_api::Mutex<RawSection, T>;

    #[test]
    fn one_at_a_time_and_nobody_sleeps_for_ever() {
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
        assert!(!unsafe { section.raw() }.is_awaited.load(Ordering::Relaxed), "a wake-up is left");
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
