//! loom's side of the door: what the modules that loom reads need, and no more.
//!
//! **Why.** loom runs every order that the memory model allows, store buffers included, which the
//! explorer, being sequentially consistent, can't show. It is too slow for more than a few words, so
//! only the sequence counter, the pcp section with count and high, and the frame's state word come
//! here.

use super::ObjId;

/// A mutual exclusion lock.
#[derive(Debug)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// Guard of a [`Mutex`].
pub type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

/// The lock of a pcp section.
pub type Section<T> = Mutex<T>;
/// Guard of a [`Section`].
pub type SectionGuard<'a, T> = MutexGuard<'a, T>;

impl<T> Mutex<T> {
    /// A free lock.
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("a loom thread panicked inside a lock")
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }

    /// Is it held just now?
    pub fn is_locked(&self) -> bool {
        self.0.try_lock().is_err()
    }
}

/// One round of a spin: somebody else runs first.
pub fn relax(_obj: ObjId, _rounds: u32) -> bool {
    loom::thread::yield_now();
    false
}

/// Says that `obj` was written. loom looks for itself.
pub fn touched(_obj: ObjId) {}
