//! Swap space: slots, and who refers to them.
//!
//! **What.** A slot holds one page's contents: none here, only the fact that it is taken. Its count
//! is the number of page-table entries that name it, plus one while a page is on its way out
//! (`swap_map`).
//!
//! **Differs.** No I/O and no swap cache: a page is out when its last mapping is replaced, and a
//! fault brings it back by itself.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A swap slot, as a page-table entry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SwapEntry(pub u32);

/// The swap area.
#[derive(Debug)]
pub struct SwapArea {
    total: u64,
    /// Free slots; changed under the lock, read without it.
    free: AtomicU64,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// Counts of the slots handed out so far.
    count: Vec<u16>,
    /// Slots given back.
    free: Vec<u32>,
}

impl SwapArea {
    /// An area of so many pages; 0: no swap.
    pub fn new(pages: u64) -> Self {
        Self { total: pages, free: AtomicU64::new(pages), slots: Mutex::default() }
    }

    /// Its size in pages (`total_swap_pages`).
    pub fn total_pages(&self) -> u64 {
        self.total
    }

    /// Free slots (`nr_swap_pages`).
    pub fn free_pages(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Takes a slot with count 1. None: swap is full.
    pub fn alloc(&self) -> Option<SwapEntry> {
        let mut slots = self.slots.lock();
        let slot = match slots.free.pop() {
            Some(slot) => slot,
            None if (slots.count.len() as u64) < self.total => {
                slots.count.push(0);
                (slots.count.len() - 1) as u32
            }
            None => return None,
        };
        slots.count[slot as usize] = 1;
        self.free.fetch_sub(1, Ordering::Relaxed);
        Some(SwapEntry(slot))
    }

    /// One more page-table entry names the slot (`swap_duplicate`).
    pub fn dup(&self, entry: SwapEntry) {
        let mut slots = self.slots.lock();
        let count = &mut slots.count[entry.0 as usize];
        debug_assert!(*count > 0, "swap slot {} is free", entry.0);
        *count += 1;
    }

    /// Drops one reference to the slot; true if it is free now (`swap_free`).
    pub fn free(&self, entry: SwapEntry) -> bool {
        let mut slots = self.slots.lock();
        let count = &mut slots.count[entry.0 as usize];
        assert!(*count > 0, "swap slot {} is freed twice", entry.0);
        *count -= 1;
        let last = *count == 0;
        if last {
            slots.free.push(entry.0);
            self.free.fetch_add(1, Ordering::Relaxed);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_when_its_last_reference_goes() {
        let swap = SwapArea::new(2);
        let a = swap.alloc().unwrap();
        let b = swap.alloc().unwrap();
        assert_ne!(a, b);
        assert_eq!((swap.alloc(), swap.free_pages()), (None, 0));
        swap.dup(a);
        assert!(!swap.free(a));
        assert!(swap.free(a));
        assert_eq!((swap.free_pages(), swap.alloc()), (1, Some(a)));
    }
}
