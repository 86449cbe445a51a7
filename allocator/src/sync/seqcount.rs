//! Sequence counters (`seqcount_t`, include/linux/seqlock.h): a writer makes the count odd, writes
//! in place and makes it even again; a reader that saw two different or odd values looks again.
//!
//! **What.** `task->mems_allowed_seq` (docs/kernel/cpusets.md#c2) and `zonelist_update_seq` (F.2).
//!
//! **Why it lives here.** The orderings of the whole read-and-retry protocol stand in this file,
//! where loom reads them (`tests/loom.rs`); the data in between is Relaxed everywhere.
//!
//! **Differs.** [`SeqCount::read_begin`] spins while odd, as the kernel's does; the spin turns into
//! a yield and ends when `abort` says so, so that a lockup becomes a finding and not a hang.

use super::atomic::{AtomicU32, Ordering, fence};
use super::{ObjId, SpinRounds, touched};

/// A sequence counter. Writers exclude each other by a lock of their own.
#[derive(Debug)]
pub struct SeqCount {
    /// Even: no writer. Odd: a writer is between `write_begin` and `write_end`.
    sequence: AtomicU32,
}

impl Default for SeqCount {
    fn default() -> Self {
        Self::new()
    }
}

impl SeqCount {
    /// A counter at 0.
    pub fn new() -> Self {
        Self { sequence: AtomicU32::new(0) }
    }

    /// The value now, odd or even, without waiting (`raw_read_seqcount`).
    #[inline]
    pub fn raw(&self) -> u32 {
        // Acquire: pairs with the Release in write_end; what was written before the count became
        // even is visible to the reader that saw it even.
        self.sequence.load(Ordering::Acquire)
    }

    /// Waits until no writer is inside and returns the cookie (`read_seqcount_begin`). `spun` is
    /// called with the rounds waited so far, and ends the wait by returning false; the cookie is
    /// odd then and never valid.
    #[inline]
    pub fn read_begin(&self, mut spun: impl FnMut(u32) -> bool) -> u32 {
        let value = self.raw();
        if value & 1 == 0 {
            return value;
        }
        let mut spin = SpinRounds::default();
        loop {
            let rounds = spin.wait(ObjId::of(self));
            let value = self.raw();
            if value & 1 == 0 || !spun(rounds) {
                return value;
            }
        }
    }

    /// Has a writer been inside since `cookie` was taken (`read_seqcount_retry`)?
    #[inline]
    pub fn read_retry(&self, cookie: u32) -> bool {
        // Acquire fence: the data reads before it can't sink below the load of the count.
        fence(Ordering::Acquire);
        self.sequence.load(Ordering::Relaxed) != cookie
    }

    /// Makes the count odd (`write_seqcount_begin`). The caller holds the writers' lock.
    #[inline]
    pub fn write_begin(&self) {
        let value = self.sequence.load(Ordering::Relaxed);
        debug_assert!(value & 1 == 0, "two writers inside one seqcount ({value})");
        self.sequence.store(value.wrapping_add(1), Ordering::Relaxed);
        // Release fence: the odd count is visible before any of the data stores behind it.
        fence(Ordering::Release);
    }

    /// Makes the count even (`write_seqcount_end`).
    #[inline]
    pub fn write_end(&self) {
        let value = self.sequence.load(Ordering::Relaxed);
        debug_assert!(value & 1 == 1, "write_end without write_begin ({value})");
        // Release: pairs with the Acquire in raw; the data is visible before the even count.
        self.sequence.store(value.wrapping_add(1), Ordering::Release);
        touched(ObjId::of(self));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_until_a_writer_has_been_inside() {
        let seq = SeqCount::new();
        let cookie = seq.read_begin(|_| true);
        assert!(!seq.read_retry(cookie));
        seq.write_begin();
        assert!(seq.read_retry(cookie));
        seq.write_end();
        assert!(seq.read_retry(cookie));
    }

    #[test]
    fn a_reader_that_gives_up_gets_an_odd_cookie() {
        let seq = SeqCount::new();
        seq.write_begin();
        let cookie = seq.read_begin(|rounds| rounds < 3);
        assert_eq!(cookie & 1, 1);
        seq.write_end();
        assert!(seq.read_retry(cookie));
    }
}
