//! Which list each frame is on, in builds that check (`debug_assertions`).
//!
//! **What.** A word beside each frame: the address of the [`FrameList`] whose links run through it,
//! or 0. Every push, pop and removal checks and changes it, so that a block that goes onto a second
//! list, or is taken off a list that it isn't on, is caught at that very step (CONFIG_DEBUG_LIST,
//! `VM_BUG_ON_PAGE`) and not by the census at the end of a round.
//!
//! **Guarded by** the lock of the list, as the links are. No task's steps hang on these words, so
//! they are std's atomics in every world and no access of the explorer's.
//!
//! **Cost.** Nothing in `release`: the table is empty and the checks are not compiled.

#[cfg(debug_assertions)]
use crate::zone::frame::FrameList;

/// The words of all frames.
#[derive(Debug)]
pub(crate) struct FrameLists {
    #[cfg(debug_assertions)]
    on: Box<[crate::sync::unobserved::AtomicUsize]>,
}

#[cfg(not(debug_assertions))]
impl FrameLists {
    pub(crate) fn new(_frames: usize) -> Option<Self> {
        Some(Self {})
    }
}

#[cfg(debug_assertions)]
impl FrameLists {
    /// Words for `frames` frames that are on no list; none if the host has no address space.
    pub(crate) fn new(frames: usize) -> Option<Self> {
        let on = bytemuck::allocation::try_zeroed_slice_box(frames).ok()?;
        Some(Self { on })
    }

    /// A block goes onto a list.
    #[track_caller]
    pub(crate) fn enter(&self, pfn: u32, list: &FrameList) {
        use crate::sync::unobserved::Ordering::Relaxed;
        let was = self.on[pfn as usize].swap(name(list), Relaxed);
        assert!(was == 0, "pfn {pfn:#x} goes onto a second list");
    }

    /// A block is taken off a list.
    #[track_caller]
    pub(crate) fn leave(&self, pfn: u32, list: &FrameList) {
        use crate::sync::unobserved::Ordering::Relaxed;
        let was = self.on[pfn as usize].swap(0, Relaxed);
        assert!(was != 0, "pfn {pfn:#x} is taken off a list and is on none");
        assert!(was == name(list), "pfn {pfn:#x} is taken off a list that it is not on");
    }

    /// Is the block on any list?
    pub(crate) fn is_on_any(&self, pfn: u32) -> bool {
        self.on[pfn as usize].load(crate::sync::unobserved::Ordering::Relaxed) != 0
    }
}

/// A list is known by where it lives: lists with blocks on them never move.
#[cfg(debug_assertions)]
fn name(list: &FrameList) -> usize {
    std::ptr::from_ref(list).addr()
}
