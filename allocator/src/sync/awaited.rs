//! The protocol of the section lock: held or not, awaited or not, and who may sleep how.
//!
//! **What.** Two words, and what lock and unlock do with them; where threads sleep and how a barrier
//! reaches other CPUs is brought by [`Park`], so that loom runs this same code on sleeps of its own.
//!
//! **Why unlock may be a plain store.** A look that follows a store may be satisfied before others
//! see the store, so that a waiter which says that it waits just then could find the lock held and
//! be seen by nobody. So the first waiter has a barrier run on all CPUs that run this process,
//! between its word and its last test: an unlock that looked before has its store seen, one that
//! looks later sees the word. That costs microseconds, and who has to wait waits for a holder that
//! the host has preempted: milliseconds.
//!
//! **Why others may do without the barrier.** A waiter that finds the word said sleeps only while it
//! stands, which is looked at under the queue's lock; and it is taken back under that lock only, by a
//! wake-up that leaves nobody behind. The first waiter gets in, or sleeps behind a holder that sees
//! the word: either one's unlock wakes the next.
//!
//! **Where the barrier is refused** nobody may sleep untimed: the first waiter, woken by an unlock,
//! may find the lock taken again and the word still said, and so be no first one any more; whoever
//! sleeps then sleeps behind a holder that perhaps never saw the word. So every sleep is timed.

use super::atomic::{AtomicBool, Ordering};

/// Where waiters sleep.
pub trait Park {
    /// Sleeps if `still_waits` holds under the queue's lock, until woken; if `timed`, no longer than
    /// until the next look.
    fn park(&self, still_waits: impl FnOnce() -> bool, timed: bool);

    /// Wakes one sleeper, if there is one. `leaves_others` is told under the queue's lock whether
    /// more sleep.
    fn unpark_one(&self, leaves_others: impl FnOnce(bool));

    /// Runs a full barrier on every CPU that runs a thread of this process; false if the host can't.
    fn barrier_on_all_cpus(&self) -> bool;

    /// Whether such a barrier can be had at all.
    fn has_barrier(&self) -> bool;

    /// Looks of a waiter before it sleeps.
    const SPINS: u32;
}

/// Whether somebody is inside, and whether anybody waits asleep.
#[derive(Debug)]
pub struct Awaited {
    held: AtomicBool,
    /// Somebody waits asleep, or is about to. Taken back under the queue's lock only.
    is_awaited: AtomicBool,
}

impl Awaited {
    /// Free, and awaited by nobody.
    #[cfg(not(loom))]
    #[expect(clippy::declare_interior_mutable_const, reason = "what a static lock begins as")]
    pub const FREE: Self =
        Self { held: AtomicBool::new(false), is_awaited: AtomicBool::new(false) };

    /// Free, and awaited by nobody.
    #[cfg(loom)]
    #[expect(clippy::new_without_default, reason = "FREE in all other worlds")]
    pub fn new() -> Self {
        Self { held: AtomicBool::new(false), is_awaited: AtomicBool::new(false) }
    }

    /// Enters if nobody is inside.
    #[inline]
    pub fn enter(&self) -> bool {
        // Acquire: pairs with the Release of the context that left.
        self.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Enters, however long it takes.
    #[cold]
    pub fn enter_slow<P: Park>(&self, place: &P) {
        for _ in 0..P::SPINS {
            std::hint::spin_loop();
            if !self.is_held() && self.enter() {
                return;
            }
        }
        while !self.enter() {
            // SeqCst, and the barrier on all CPUs: pairs with the compiler's fence in leave.
            let is_first = !self.is_awaited.swap(true, Ordering::SeqCst);
            let is_sure = if is_first { place.barrier_on_all_cpus() } else { place.has_barrier() };
            let still_waits = || self.is_held() && self.is_awaited.load(Ordering::Relaxed);
            place.park(still_waits, !is_sure);
        }
    }

    /// Leaves, and wakes one who waits.
    #[inline]
    pub fn leave<P: Park>(&self, place: &P) {
        // Release: pairs with the Acquire of whoever enters next.
        self.held.store(false, Ordering::Release);
        // The look stays behind the store as far as the compiler goes: pairs with the barrier that
        // waiters make all CPUs run.
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        if self.is_awaited.load(Ordering::Relaxed) {
            self.wake_one(place);
        }
    }

    #[cold]
    fn wake_one<P: Park>(&self, place: &P) {
        place.unpark_one(|leaves_others| {
            if !leaves_others {
                self.is_awaited.store(false, Ordering::Relaxed);
            }
        });
    }

    /// Is somebody inside?
    #[inline]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Does anybody wait asleep?
    #[cfg(test)]
    pub fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }
}
