//! The one door to threads, locks, atomics and time.
//!
//! **What.** Everything by which one thread of the model can notice another goes through here,
//! so that the same source runs in three worlds: the real one (parking_lot, std), the explorer's
//! (feature `explore`, which only the packages under `explore/` have: tasks are coroutines of
//! shuttle's, and a scheduler of ours chooses who runs), and loom's (`cfg(loom)`: only the
//! sequence counter, the pcp lock with count and high, and the frame state).
//!
//! **Why.** A race that was found by the explorer is worth nothing if the source that was explored
//! is not the source that runs.
//!
//! **Rules.** Outside this folder nothing names `std::sync`, `std::thread`, `std::time`,
//! `thread_local!` or parking_lot (a tidy test checks). An [`atomic`] is a plain atomic in both
//! worlds: all tasks of an exploration share one OS thread, and the explorer switches only at race
//! points ([`crate::race`]) and where a task blocks, never at an atomic.
//!
//! **Differs.** Locks of the explorer's world barge as ours and parking_lot's do: an unlock wakes
//! the waiters, and whoever runs first takes the lock.

pub mod atomic;
#[cfg(any(not(feature = "explore"), loom))]
pub mod awaited;
#[cfg(not(loom))]
pub mod lock;
#[cfg(not(any(feature = "explore", loom)))]
mod rwsem;
#[cfg(not(any(feature = "explore", loom)))]
mod section;
pub mod seqcount;

/// Std's atomics in every world, for what no task's steps hang on: checks of debug builds. The
/// explorer takes them for no access.
pub(crate) mod unobserved {
    #[cfg(debug_assertions)]
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
}

#[cfg(all(feature = "explore", not(loom)))]
#[path = "explored/mod.rs"]
mod world;
#[cfg(loom)]
#[path = "loomed.rs"]
mod world;
#[cfg(not(any(feature = "explore", loom)))]
#[path = "real.rs"]
mod world;

pub use seqcount::SeqCount;
/// Reference counts are no switch points, and the same in every world.
pub use std::sync::{Arc, OnceLock, Weak};
#[cfg(all(feature = "explore", not(loom)))]
pub(crate) use world::engine;
#[cfg(all(feature = "explore", not(loom)))]
pub use world::{At, Choice};
#[cfg(not(loom))]
pub use world::{
    Condvar, JoinHandle, RawMutex, RawRwLock, RawSection, Stamp, monotonic_ns, relax, spawn, stamp,
    switch_point, touched, yield_now,
};
#[cfg(loom)]
pub use world::{Mutex, MutexGuard, Section, SectionGuard, relax, touched};

/// A mutual exclusion lock, for what the kernel guards by a mutex or by a spinlock.
///
/// Here both sleep when they have to wait: a holder can be descheduled by the host, and a real
/// spin would burn the time slice that it needs.
#[cfg(not(loom))]
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;
/// Guard of a [`Mutex`].
#[cfg(not(loom))]
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;
/// A [`Mutex`] that stands for a kernel lock, with its name ([`lock::named`]).
#[cfg(not(loom))]
pub type Lock<N, T> = lock_api::Mutex<lock::Classed<RawMutex, N>, T>;
/// Guard of a [`Lock`].
#[cfg(not(loom))]
pub type LockGuard<'a, N, T> = lock_api::MutexGuard<'a, lock::Classed<RawMutex, N>, T>;
/// The lock of a pcp section: a [`Lock`] that costs half where nobody waits.
#[cfg(not(loom))]
pub type Section<T> = lock_api::Mutex<lock::Classed<RawSection, lock::named::Pcp>, T>;
/// Guard of a [`Section`].
#[cfg(not(loom))]
pub type SectionGuard<'a, T> =
    lock_api::MutexGuard<'a, lock::Classed<RawSection, lock::named::Pcp>, T>;
/// A reader-writer lock whose waiting writer stops new readers, `try_read` included, as the
/// kernel's rw_semaphore does (docs/kernel/interleavings.md#j6).
#[cfg(not(loom))]
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;
/// Guard of a write-locked [`RwLock`].
#[cfg(not(loom))]
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;
/// An [`RwLock`] that stands for a kernel lock, with its name. Used for mmap_lock.
#[cfg(not(loom))]
pub type RwSem<N, T> = lock_api::RwLock<lock::Classed<RawRwLock, N>, T>;
/// Guard of a read-locked [`RwSem`].
#[cfg(not(loom))]
pub type RwSemReadGuard<'a, N, T> = lock_api::RwLockReadGuard<'a, lock::Classed<RawRwLock, N>, T>;
/// Guard of a write-locked [`RwSem`].
#[cfg(not(loom))]
pub type RwSemWriteGuard<'a, N, T> = lock_api::RwLockWriteGuard<'a, lock::Classed<RawRwLock, N>, T>;

/// What a spinning task waits for: the address of the word that has to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjId(pub usize);

impl ObjId {
    /// The object that lives at `place`.
    pub fn of<T: ?Sized>(place: &T) -> Self {
        Self(std::ptr::from_ref(place).cast::<u8>().addr())
    }
}

/// Counts the rounds of one spin, so that it can turn from spinning to yielding.
#[derive(Debug, Default)]
pub struct SpinRounds {
    rounds: u32,
}

impl SpinRounds {
    /// Rounds after which a spin yields its CPU: some microseconds, as long as the short write
    /// sections take that readers wait for.
    pub const BEFORE_YIELD: u32 = 256;

    /// Rounds that mean: nobody is left who could end this wait. Only the explorer knows.
    pub const HOPELESS: u32 = 1 << 30;

    /// One round of waiting for `obj` to change. Real: a pause, later a yield. Explored: the task
    /// is no option for the scheduler until another task has called [`touched`] for `obj`. Returns
    /// the rounds so far, or [`SpinRounds::HOPELESS`] if no other task can run: the time for the
    /// caller to see why and to say so.
    #[inline]
    pub fn wait(&mut self, obj: ObjId) -> u32 {
        if relax(obj, self.rounds) {
            return Self::HOPELESS;
        }
        self.rounds = self.rounds.saturating_add(1);
        self.rounds
    }
}
