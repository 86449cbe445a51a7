//! Pages that are on no LRU list, but whose driver can move them (`movable_operations`).
//!
//! **What.** A driver (zsmalloc, a balloon) keeps its pages in numbered places; migration asks it to
//! put another frame into a place. The frame's rmap slot is the place + 1.
//!
//! **Why.** Whoever holds such a page finds it by its place, never by its frame, so the frame may
//! change under him at any time; blocks of every order can be held so.
//!
//! **Source.** include/linux/migrate.h: isolate_page, migrate_page, putback_page.
//!
//! **Differs.** The lock of a place is what isolation gives: nobody takes the page meanwhile.

use crate::ids::Pfn;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::zone::frame::{FrameTable, flag};

/// What is in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// First frame of the block.
    pub pfn: Pfn,
    /// Its order.
    pub order: u8,
    /// Somebody else holds it too: it can't be moved now.
    pub is_pinned: bool,
}

/// A driver's places.
#[derive(Debug)]
pub struct MovablePages {
    places: Box<[Mutex<Option<Held>>]>,
}

impl MovablePages {
    /// Empty places.
    pub fn new(places: usize) -> Self {
        Self { places: (0..places).map(|_| Mutex::new(None)).collect() }
    }

    /// Number of places.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Are there no places at all?
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Puts an allocated block into an empty place.
    pub fn put(&self, frames: &FrameTable, place: usize, held: Held) {
        let mut at = self.places[place].lock();
        debug_assert!(at.is_none(), "place {place} is taken");
        mark(frames, place, held.pfn);
        *at = Some(held);
    }

    /// Takes the block out of a place; it is the caller's to free.
    pub fn take(&self, frames: &FrameTable, place: usize) -> Option<Held> {
        let held = self.places[place].lock().take()?;
        unmark(frames, held.pfn);
        Some(held)
    }

    /// What is in a place now.
    pub fn peek(&self, place: usize) -> Option<Held> {
        *self.places[place].lock()
    }

    /// Puts `new` where `old` is. False: `old` is no longer there, or pinned. Afterwards `old` is the
    /// caller's to free.
    pub(crate) fn replace(&self, frames: &FrameTable, old: Pfn, new: Pfn) -> bool {
        let slot = frames.get(old).rmap.load(Ordering::Relaxed) as usize;
        let Some(place) = slot.checked_sub(1).filter(|&p| p < self.places.len()) else {
            return false;
        };
        let mut at = self.places[place].lock();
        match &mut *at {
            Some(held) if held.pfn == old && !held.is_pinned => {
                held.pfn = new;
                unmark(frames, old);
                mark(frames, place, new);
                true
            }
            Some(_) | None => false,
        }
    }
}

fn mark(frames: &FrameTable, place: usize, pfn: Pfn) {
    let frame = frames.get(pfn);
    frame.rmap.store(place as u32 + 1, Ordering::Relaxed);
    frame.set_flags(flag::MOVABLE_OPS);
}

fn unmark(frames: &FrameTable, pfn: Pfn) {
    let frame = frames.get(pfn);
    frame.clear_flags(flag::MOVABLE_OPS);
    frame.rmap.store(0, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::frame::FrameState;

    #[test]
    fn a_page_moves_unless_it_is_pinned_or_gone() {
        let frames = FrameTable::new(64).unwrap();
        for pfn in 1..4 {
            frames.get(Pfn(pfn)).set_state(FrameState::allocated(0));
        }
        let pages = MovablePages::new(2);
        let held = |pfn, is_pinned| Held { pfn: Pfn(pfn), order: 0, is_pinned };
        pages.put(&frames, 0, held(1, false));
        pages.put(&frames, 1, held(2, true));
        assert!(frames.get(Pfn(1)).state().has(flag::MOVABLE_OPS));
        assert!(!pages.replace(&frames, Pfn(2), Pfn(3)), "pinned");
        assert!(pages.replace(&frames, Pfn(1), Pfn(3)));
        assert!(!frames.get(Pfn(1)).state().has(flag::MOVABLE_OPS));
        assert!(!pages.replace(&frames, Pfn(1), Pfn(3)), "it is there no more");
        assert_eq!(pages.take(&frames, 0), Some(held(3, false)));
        assert_eq!((pages.take(&frames, 0), pages.peek(1)), (None, Some(held(2, true))));
    }
}
