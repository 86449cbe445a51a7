//! A reader-writer lock that sleeps at once, as the kernel's rw_semaphore does behind a sleeping
//! owner.
//!
//! **What.** mmap_lock and the areas' own locks in the real world. A waiting writer stops new readers,
//! `try_read` included; a writer that leaves lets the readers in that waited for it.
//!
//! **Why not parking_lot's.** Its slow path yields the CPU several times before it parks. With dozens
//! of busy tasks on a CPU each yield costs a whole round of the host's scheduler, so that the wait of
//! a cpuset update for a preempted task's mmap_lock was some thirty times longer than the kernel's
//! (measured: 4 updates a second with 7 tasks on 2 CPUs, 0.3 with 31).
//!
//! **Differs.** No optimistic spinning, no hand-off.

use lock_api::GuardNoSend;
use parking_lot::{Condvar, Mutex};

use super::atomic::{AtomicU32, Ordering};

/// A writer holds the lock.
const WRITER: u32 = 1 << 31;
/// A writer waits: no new readers.
const QUEUED: u32 = 1 << 30;
/// Somebody waits: who unlocks has to wake.
const WAITERS: u32 = 1 << 29;
/// Readers inside.
const READERS: u32 = WAITERS - 1;

/// Who waits. The state's two waiting bits change only under this mutex.
#[derive(Debug)]
struct Waiting {
    readers: u32,
    writers: u32,
    /// Readers that may pass a queued writer: those that waited when the last one left.
    reader_turns: u32,
}

/// The lock itself.
#[derive(Debug)]
pub struct RawRwSem {
    state: AtomicU32,
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl RawRwSem {
    /// Takes the lock for reading if `state` allows it; `passes`: also past a queued writer.
    fn try_shared(&self, passes: bool) -> bool {
        let closed = if passes { WRITER } else { WRITER | QUEUED };
        self.state
            // Acquire: pairs with the Release of the writer that left.
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |s| {
                (s & closed == 0).then_some(s + 1)
            })
            .is_ok()
    }

    fn try_exclusive_now(&self) -> bool {
        self.state
            // Acquire: pairs with the Release of the readers and the writer that left.
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |s| {
                (s & (WRITER | READERS) == 0).then_some(s | WRITER)
            })
            .is_ok()
    }

    /// Sets the waiting bits from the counts; under the mutex.
    fn publish(&self, waiting: &Waiting) {
        let mut bits = 0;
        if waiting.writers > 0 {
            bits |= QUEUED;
        }
        if waiting.writers + waiting.readers > 0 {
            bits |= WAITERS;
        }
        let change = |s: u32| Some(s & !(QUEUED | WAITERS) | bits);
        // Relaxed: the bits only stop or wake others, who then take the mutex.
        let _before = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    #[cold]
    fn lock_shared_slow(&self) {
        let mut waiting = self.waiting.lock();
        waiting.readers += 1;
        self.publish(&waiting);
        loop {
            let passes = waiting.reader_turns > 0;
            if self.try_shared(passes) {
                if passes {
                    waiting.reader_turns -= 1;
                }
                break;
            }
            self.wake.wait(&mut waiting);
        }
        waiting.readers -= 1;
        self.publish(&waiting);
    }

    #[cold]
    fn lock_exclusive_slow(&self) {
        let mut waiting = self.waiting.lock();
        waiting.writers += 1;
        self.publish(&waiting);
        while !self.try_exclusive_now() {
            self.wake.wait(&mut waiting);
        }
        waiting.writers -= 1;
        self.publish(&waiting);
    }

    #[cold]
    fn wake_waiters(&self, was_writer: bool) {
        let mut waiting = self.waiting.lock();
        if was_writer {
            waiting.reader_turns = waiting.readers;
        }
        self.wake.notify_all();
    }
}

// SAFETY: the trait asks for mutual exclusion and for no more.
// 1. A writer is inside only between the CAS that sets WRITER, which needs no WRITER and no reader,
//    and the RMW that clears it, which only `unlock_exclusive` makes.
// 2. A reader is inside only between the CAS that adds 1, which needs no WRITER, and the RMW that
//    subtracts it. Both sides change one word, so the two can't overlap.
// 3. Acquire on entry pairs with Release on exit, so what was written inside is seen inside.
unsafe impl lock_api::RawRwLock for RawRwSem {
    const INIT: Self = Self {
        state: AtomicU32::new(0),
        waiting: Mutex::new(Waiting { readers: 0, writers: 0, reader_turns: 0 }),
        wake: Condvar::new(),
    };

    type SharedGuard = GuardNoSend;
    type ExclusiveGuard = GuardNoSend;

    #[inline]
    fn lock_shared(&self) -> GuardNoSend {
        if !self.try_shared(false) {
            self.lock_shared_slow();
        }
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock_shared(&self) -> Option<GuardNoSend> {
        self.try_shared(false).then_some(GuardNoSend::new())
    }

    #[inline]
    unsafe fn unlock_shared(&self, _: GuardNoSend) {
        // Release: pairs with the Acquire of the next writer.
        let before = self.state.fetch_sub(1, Ordering::Release);
        if before & WAITERS != 0 && before & READERS == 1 {
            self.wake_waiters(false);
        }
    }

    #[inline]
    fn lock_exclusive(&self) -> GuardNoSend {
        if let Some(guard) = self.try_lock_exclusive() {
            return guard;
        }
        self.lock_exclusive_slow();
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock_exclusive(&self) -> Option<GuardNoSend> {
        // Past no queued writer: whoever waits goes first.
        let taken =
            self.state.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok();
        taken.then_some(GuardNoSend::new())
    }

    fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) & (WRITER | READERS) != 0
    }

    fn is_locked_exclusive(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WRITER != 0
    }

    #[inline]
    unsafe fn unlock_exclusive(&self, _: GuardNoSend) {
        // Release: pairs with the Acquire of whoever enters next.
        let before = self.state.fetch_and(!WRITER, Ordering::Release);
        if before & WAITERS != 0 {
            self.wake_waiters(true);
        }
    }
}

// SAFETY: the writer becomes the one reader in one RMW, so that no other writer can come between.
unsafe impl lock_api::RawRwLockDowngrade for RawRwSem {
    unsafe fn downgrade(&self, _: GuardNoSend) -> GuardNoSend {
        // Release: what was written is visible to the readers that enter now.
        let before = self.state.fetch_sub(WRITER - 1, Ordering::Release);
        if before & WAITERS != 0 {
            self.wake_waiters(true);
        }
        GuardNoSend::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    type RwSem<T> = lock_api::RwLock<RawRwSem, T>;

    #[test]
    fn writers_exclude_everybody_and_nobody_sleeps_for_ever() {
        let lock = Arc::new(RwSem::new((0u64, 0u64)));
        let reads = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..6)
            .map(|n| {
                let (lock, reads) = (Arc::clone(&lock), Arc::clone(&reads));
                std::thread::spawn(move || {
                    for _ in 0..3000 {
                        if n % 3 == 0 {
                            let mut pair = lock.write();
                            pair.0 += 1;
                            std::thread::yield_now();
                            pair.1 += 1;
                        } else {
                            let pair = lock.read();
                            assert_eq!(pair.0, pair.1);
                            reads.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.join().unwrap();
        }
        assert_eq!(*lock.read(), (6000, 6000));
        assert_eq!(reads.load(Ordering::Relaxed), 12000);
    }

    #[test]
    fn a_waiting_writer_stops_new_readers() {
        let lock = Arc::new(RwSem::new(()));
        let reader = lock.read();
        let writer = {
            let lock = Arc::clone(&lock);
            std::thread::spawn(move || drop(lock.write()))
        };
        // The writer has queued once a reader is refused.
        while lock.try_read().is_some() {
            std::thread::yield_now();
        }
        assert!(lock.try_read().is_none());
        drop(reader);
        writer.join().unwrap();
        assert!(lock.try_read().is_some());
    }
}
