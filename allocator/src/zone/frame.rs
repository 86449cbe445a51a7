//! The frame table (`struct page`, vmemmap): 16 bytes for every 4 KiB frame.
//!
//! **What.** Two list links, a reverse-map slot and one state word, indexed by pfn. Which state a
//! frame is in, and who may change it (docs/kernel/zones-and-buddy.md#a2):
//!
//! | kind | meaning | on list | guarded by |
//! |---|---|---|---|
//! | `None` | hole, inside of a free or allocated block, or in transit without marks | none | whoever owns the block |
//! | `Buddy` | head of a free block | `free_area[order]` list | zone->lock |
//! | `Pcp` | head of a block on a pcplist | pcp list | the pcp lock |
//! | `Allocated` | head of an allocated block, refcount >= 1 | LRU or none | owner; links: lru_lock |
//! | `Offline` | section not online | none | mem_hotplug_lock |
//! | `Taken` | hwpoison or off the lists for ever | none | zone->lock |
//!
//! **Why atomics.** Scanners (has_unmovable_pages, test_pages_isolated, the conservation check)
//! read frames of which they own nothing, as the kernel's do. All accesses are Relaxed: the locks
//! above order them, and scanners take what they see.
//!
//! **Differs.** The table is one lazily committed array from pfn 0 to the last, as vmemmap is one
//! virtual range: untouched frames cost address space only.

use crate::ids::Pfn;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::zone::frame_lists::FrameLists;
use crate::zone::migratetype::MigrateType;

/// "No frame" in a link, list head or slot.
pub const NIL: u32 = u32::MAX;

/// A frame. See the module's table.
#[derive(Debug)]
#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
#[repr(C, align(16))]
pub struct Frame {
    /// Next block on the list that this one is on.
    pub next: AtomicU32,
    /// Previous block on the list.
    pub prev: AtomicU32,
    /// Slot in the reverse-map arena; 0: none.
    pub rmap: AtomicU32,
    state: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Frame>() == 16, "a frame has at most 16 bytes");

/// What a frame is, see the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FrameKind {
    /// Nothing of its own.
    None = 0,
    /// Head of a free block in the buddy.
    Buddy = 1,
    /// Head of a block on a pcplist.
    Pcp = 2,
    /// Head of an allocated block.
    Allocated = 3,
    /// Not online.
    Offline = 4,
    /// Poisoned and off all lists.
    Taken = 5,
}

/// Bits of the state word above kind, order and type.
pub mod flag {
    /// A driver can move it (PG_movable, movable_operations): the rmap slot is the driver's.
    pub const MOVABLE_OPS: u32 = 1 << 10;
    /// On an LRU list (PG_lru).
    pub const LRU: u32 = 1 << 11;
    /// On an active list (PG_active).
    pub const ACTIVE: u32 = 1 << 12;
    /// Mlocked, on the unevictable list (PG_mlocked, PG_unevictable).
    pub const MLOCKED: u32 = 1 << 13;
    /// Anonymous (PG_swapbacked); file otherwise.
    pub const ANON: u32 = 1 << 14;
    /// PG_hwpoison.
    pub const HWPOISON: u32 = 1 << 15;
    /// Taken off the LRU by reclaim or migration (NR_ISOLATED_*).
    pub const ISOLATED: u32 = 1 << 16;
    /// Pinned: has a reference that migration can't drop.
    pub const PINNED: u32 = 1 << 17;
    /// In a per-CPU LRU add batch: has a reference and no LRU mark yet.
    pub const LRU_BATCH: u32 = 1 << 18;
    /// Handed out with ALLOC_NO_WATERMARKS (page->pfmemalloc).
    pub const PFMEMALLOC: u32 = 1 << 19;
}

const KIND_MASK: u32 = 0x7;
const ORDER_SHIFT: u32 = 3;
const ORDER_MASK: u32 = 0xf << ORDER_SHIFT;
const TYPE_SHIFT: u32 = 7;
const REFS_SHIFT: u32 = 20;
const REFS_ONE: u32 = 1 << REFS_SHIFT;
/// Largest reference count; it saturates there and the frame is never freed by it again.
pub const REFS_MAX: u32 = 0xfff;

/// A state word that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameState(pub u32);

impl FrameState {
    /// A state word.
    #[inline]
    pub fn new(kind: FrameKind, order: u8) -> Self {
        Self(kind as u32 | u32::from(order) << ORDER_SHIFT)
    }

    /// The state word of an allocated block with one reference.
    #[inline]
    pub fn allocated(order: u8) -> Self {
        Self(Self::new(FrameKind::Allocated, order).0 | REFS_ONE)
    }

    /// The state word of a block on a pcplist, with the type that was read for it.
    #[inline]
    pub fn on_pcp(order: u8, migratetype: MigrateType) -> Self {
        Self(Self::new(FrameKind::Pcp, order).0 | (migratetype as u32) << TYPE_SHIFT)
    }

    /// The state word of a free block on the list of `migratetype`.
    #[inline]
    pub fn free(order: u8, migratetype: MigrateType) -> Self {
        Self(Self::new(FrameKind::Buddy, order).0 | (migratetype as u32) << TYPE_SHIFT)
    }

    /// What the frame is.
    #[inline]
    pub fn kind(self) -> FrameKind {
        match self.0 & KIND_MASK {
            1 => FrameKind::Buddy,
            2 => FrameKind::Pcp,
            3 => FrameKind::Allocated,
            4 => FrameKind::Offline,
            5 => FrameKind::Taken,
            _ => FrameKind::None,
        }
    }

    /// Order of the block that this frame heads.
    #[inline]
    pub fn order(self) -> u8 {
        ((self.0 & ORDER_MASK) >> ORDER_SHIFT) as u8
    }

    /// Type of the free list that the block is on, or the type cached when it went onto a pcplist
    /// (page->index up to 6.8).
    #[inline]
    pub fn cached_type(self) -> MigrateType {
        MigrateType::from_bits(self.0 >> TYPE_SHIFT)
    }

    /// References to an allocated block (page_count).
    #[inline]
    pub fn refs(self) -> u32 {
        self.0 >> REFS_SHIFT
    }

    /// Are all of these [`flag`]s set?
    #[inline]
    pub fn has(self, flags: u32) -> bool {
        self.0 & flags == flags
    }

    /// Is it the head of a free block of exactly this order?
    #[inline]
    pub fn is_buddy_of(self, order: u8) -> bool {
        self.0 & (KIND_MASK | ORDER_MASK) == Self::new(FrameKind::Buddy, order).0
    }
}

impl Frame {
    /// The state word.
    #[inline]
    pub fn state(&self) -> FrameState {
        // Relaxed, as all accesses here: see the module's comment.
        FrameState(self.state.load(Ordering::Relaxed))
    }

    /// Replaces the state word. The caller owns the frame by the table's last column.
    #[inline]
    pub fn set_state(&self, state: FrameState) {
        self.state.store(state.0, Ordering::Relaxed);
    }

    /// Sets flags atomically (others may take references meanwhile).
    pub fn set_flags(&self, flags: u32) -> FrameState {
        FrameState(self.state.fetch_or(flags, Ordering::Relaxed))
    }

    /// Clears flags atomically; returns the word before.
    pub fn clear_flags(&self, flags: u32) -> FrameState {
        FrameState(self.state.fetch_and(!flags, Ordering::Relaxed))
    }

    /// Takes a reference unless there is none (get_page_unless_zero); saturates.
    pub fn get_unless_zero(&self) -> bool {
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let state = FrameState(word);
                match (state.kind(), state.refs()) {
                    (FrameKind::Allocated, 1..REFS_MAX) => Some(word + REFS_ONE),
                    (FrameKind::Allocated, REFS_MAX) => Some(word),
                    _ => None,
                }
            })
            .is_ok()
    }

    /// Drops a reference (put_page_testzero); true if it was the last one, and the block is the
    /// caller's to free.
    #[inline]
    pub fn put_testzero(&self) -> bool {
        let word = self.state.load(Ordering::Relaxed);
        // The common case without a locked operation: one reference, and it is the caller's, so
        // that nobody else can find the frame but by get_unless_zero, which scanners retry.
        debug_assert!(FrameState(word).refs() > 0, "put of a frame without references: {word:#x}");
        if FrameState(word).refs() == REFS_MAX {
            return false;
        }
        let before = self.state.fetch_sub(REFS_ONE, Ordering::AcqRel);
        FrameState(before).refs() == 1
    }
}

#[cfg(not(loom))]
use bytemuck::allocation::try_zeroed_slice_box as zeroed;

/// loom's atomics are no zeroed words.
#[cfg(loom)]
fn zeroed(count: usize) -> Result<Box<[Frame]>, ()> {
    let word = || AtomicU32::new(0);
    let frame = |_| Frame { next: word(), prev: word(), rmap: word(), state: word() };
    Ok((0..count).map(frame).collect())
}

/// All frames of the machine.
#[derive(Debug)]
pub struct FrameTable {
    frames: Box<[Frame]>,
    /// Which list each is on; empty in `release`.
    lists: FrameLists,
}

/// The frame table did not fit into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for the metadata of {frames} frames ({} MiB)", frames * 16 / (1 << 20))]
pub struct FrameTableError {
    /// Frames asked for.
    pub frames: u64,
}

impl FrameTable {
    /// A table of `frames` zeroed frames, committed by the host when they are first written.
    ///
    /// # Errors
    /// If the host has no address space for it.
    pub fn new(frames: u64) -> Result<Self, FrameTableError> {
        let count = usize::try_from(frames).map_err(|_| FrameTableError { frames })?;
        let lists = FrameLists::new(count).ok_or(FrameTableError { frames })?;
        zeroed(count).map(|frames| Self { frames, lists }).map_err(|()| FrameTableError { frames })
    }

    /// The frame with this number.
    #[inline]
    pub fn get(&self, pfn: Pfn) -> &Frame {
        &self.frames[pfn.index()]
    }

    /// The state of a frame that may lie behind the table's end, where there is nothing.
    #[inline]
    pub fn state_of(&self, pfn: Pfn) -> FrameState {
        self.frames.get(pfn.index()).map_or(FrameState(0), Frame::state)
    }

    /// The frame with this raw number, as links hold it.
    #[inline]
    pub fn at(&self, pfn: u32) -> &Frame {
        &self.frames[pfn as usize]
    }

    /// Is the block on any list? Only builds with debug assertions know.
    #[cfg(debug_assertions)]
    pub(crate) fn is_on_a_list(&self, pfn: Pfn) -> bool {
        self.lists.is_on_any(pfn.0)
    }

    /// Number of frames, holes included.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Is the table empty?
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames of a range, for binding their memory to a node.
    pub fn range(&self, first: Pfn, pages: u32) -> &[Frame] {
        &self.frames[first.index()..first.index() + pages as usize]
    }
}

/// Head and tail of an intrusive list through the frames' links. Changed under the lock of what
/// it belongs to; the head may be read without it (`list_empty`).
///
/// The last block's `next` is NIL. The first block's `prev` is anything, and so is `tail` while the
/// head is NIL: a block is taken off the head without a touch of the one behind it.
#[derive(Debug)]
pub struct FrameList {
    head: AtomicU32,
    tail: AtomicU32,
    /// Blocks on it, for the checks of nr_free and of pcp counts.
    #[cfg(debug_assertions)]
    len: crate::sync::unobserved::AtomicU32,
}

impl Default for FrameList {
    fn default() -> Self {
        Self {
            head: AtomicU32::new(NIL),
            tail: AtomicU32::new(NIL),
            #[cfg(debug_assertions)]
            len: Default::default(),
        }
    }
}

impl FrameList {
    /// Blocks on it. Only builds with debug assertions count them; under the list's lock.
    #[cfg(debug_assertions)]
    pub(crate) fn len(&self) -> u32 {
        self.len.load(crate::sync::unobserved::Ordering::Relaxed)
    }

    /// A block comes onto the list.
    #[inline(always)]
    #[track_caller]
    fn note_enter(&self, _frames: &FrameTable, _pfn: u32) {
        #[cfg(debug_assertions)]
        {
            _frames.lists.enter(_pfn, self);
            self.len.fetch_add(1, crate::sync::unobserved::Ordering::Relaxed);
        }
    }

    /// A block leaves it.
    #[inline(always)]
    #[track_caller]
    fn note_leave(&self, _frames: &FrameTable, _pfn: u32) {
        #[cfg(debug_assertions)]
        {
            _frames.lists.leave(_pfn, self);
            self.len.fetch_sub(1, crate::sync::unobserved::Ordering::Relaxed);
        }
    }

    /// Nothing on it, as far as an unlocked reader can tell?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == NIL
    }

    /// The block at the head.
    #[inline]
    pub fn head(&self) -> Option<Pfn> {
        let head = self.head.load(Ordering::Relaxed);
        (head != NIL).then_some(Pfn(head))
    }

    /// The block at the tail.
    #[inline]
    pub fn tail(&self) -> Option<Pfn> {
        (!self.is_empty()).then(|| Pfn(self.tail.load(Ordering::Relaxed)))
    }

    /// Puts a block at the head; returns its frame.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn push_head<'f>(&self, frames: &'f FrameTable, pfn: Pfn) -> &'f Frame {
        self.note_enter(frames, pfn.0);
        let frame = frames.get(pfn);
        let old = self.head.load(Ordering::Relaxed);
        frame.next.store(old, Ordering::Relaxed);
        if old == NIL {
            self.tail.store(pfn.0, Ordering::Relaxed);
        } else {
            frames.at(old).prev.store(pfn.0, Ordering::Relaxed);
        }
        self.head.store(pfn.0, Ordering::Relaxed);
        frame
    }

    /// Puts a block at the tail.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn push_tail(&self, frames: &FrameTable, pfn: Pfn) {
        self.push_tail_run(frames, pfn, 1, 1, |_| {});
    }

    /// Puts blocks that follow each other, `step` frames apart, at the tail in their order; `each`
    /// is called with the frame of each.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn push_tail_run(
        &self,
        frames: &FrameTable,
        first: Pfn,
        blocks: u32,
        step: u32,
        each: impl Fn(&Frame),
    ) {
        if blocks == 0 {
            return;
        }
        let last = first.0 + (blocks - 1) * step;
        let mut prev = NIL;
        if self.is_empty() {
            self.head.store(first.0, Ordering::Relaxed);
        } else {
            prev = self.tail.load(Ordering::Relaxed);
            frames.at(prev).next.store(first.0, Ordering::Relaxed);
        }
        let mut at = first.0;
        while at <= last {
            self.note_enter(frames, at);
            let frame = frames.at(at);
            each(frame);
            frame.prev.store(prev, Ordering::Relaxed);
            frame.next.store(at + step, Ordering::Relaxed);
            prev = at;
            at += step;
        }
        frames.at(last).next.store(NIL, Ordering::Relaxed);
        self.tail.store(last, Ordering::Relaxed);
    }

    /// Takes the block at the head off; returns it and its frame.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn pop_head<'f>(&self, frames: &'f FrameTable) -> Option<(Pfn, &'f Frame)> {
        let head = self.head()?;
        self.note_leave(frames, head.0);
        let frame = frames.get(head);
        self.head.store(frame.next.load(Ordering::Relaxed), Ordering::Relaxed);
        Some((head, frame))
    }

    /// Takes the block at the tail off; returns it and its frame.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn pop_tail<'f>(&self, frames: &'f FrameTable) -> Option<(Pfn, &'f Frame)> {
        let tail = self.tail()?;
        self.note_leave(frames, tail.0);
        let frame = frames.get(tail);
        if self.head.load(Ordering::Relaxed) == tail.0 {
            self.head.store(NIL, Ordering::Relaxed);
        } else {
            let prev = frame.prev.load(Ordering::Relaxed);
            frames.at(prev).next.store(NIL, Ordering::Relaxed);
            self.tail.store(prev, Ordering::Relaxed);
        }
        Some((tail, frame))
    }

    /// Takes a block that is on this list off.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn remove(&self, frames: &FrameTable, pfn: Pfn) {
        self.note_leave(frames, pfn.0);
        let frame = frames.get(pfn);
        let next = frame.next.load(Ordering::Relaxed);
        if self.head.load(Ordering::Relaxed) == pfn.0 {
            self.head.store(next, Ordering::Relaxed);
            return;
        }
        let prev = frame.prev.load(Ordering::Relaxed);
        frames.at(prev).next.store(next, Ordering::Relaxed);
        if next == NIL {
            self.tail.store(prev, Ordering::Relaxed);
        } else {
            frames.at(next).prev.store(prev, Ordering::Relaxed);
        }
    }

    /// The blocks from the head on. Only under the list's lock.
    pub fn iter<'a>(&self, frames: &'a FrameTable) -> impl Iterator<Item = Pfn> + 'a {
        std::iter::successors(self.head(), |pfn| {
            let next = frames.get(*pfn).next.load(Ordering::Relaxed);
            (next != NIL).then_some(Pfn(next))
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_order_at_both_ends() {
        let frames = FrameTable::new(16).unwrap();
        let list = FrameList::default();
        for n in [3, 4, 5] {
            list.push_tail(&frames, Pfn(n));
        }
        list.push_head(&frames, Pfn(2));
        list.remove(&frames, Pfn(4));
        assert_eq!(list.iter(&frames).map(|p| p.0).collect::<Vec<_>>(), [2, 3, 5]);
        let popped = |block: Option<(Pfn, &Frame)>| block.map(|(pfn, _)| pfn.0);
        assert_eq!(popped(list.pop_tail(&frames)), Some(5));
        assert_eq!(popped(list.pop_head(&frames)), Some(2));
        assert_eq!(popped(list.pop_head(&frames)), Some(3));
        assert_eq!((popped(list.pop_head(&frames)), list.tail()), (None, None));
    }

    /// Both ends, both kinds of links, single blocks and runs, against a deque.
    #[test]
    fn a_list_is_what_a_deque_would_be() {
        let frames = FrameTable::new(256).unwrap();
        let (list, mut deque) = (FrameList::default(), std::collections::VecDeque::new());
        let mut rng = 1u32;
        for round in 0..20_000 {
            rng = rng.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let pick = rng >> 16;
            let free = (0..256u32).find(|n| !deque.contains(n));
            match (pick % 8, free) {
                (0 | 1, Some(n)) => {
                    list.push_head(&frames, Pfn(n));
                    deque.push_front(n);
                }
                (2, Some(n)) => {
                    list.push_tail(&frames, Pfn(n));
                    deque.push_back(n);
                }
                (3, Some(n)) => {
                    let step = 1 + pick % 3;
                    let fits = |b: &u32| n + b * step < 256 && !deque.contains(&(n + b * step));
                    let blocks = (0..pick % 12).take_while(fits).count() as u32;
                    list.push_tail_run(&frames, Pfn(n), blocks, step, |_| {});
                    deque.extend((0..blocks).map(|b| n + b * step));
                }
                (4, _) => {
                    let popped = list.pop_head(&frames).map(|(pfn, _)| pfn.0);
                    assert_eq!(popped, deque.pop_front());
                }
                (5, _) => {
                    let popped = list.pop_tail(&frames).map(|(pfn, _)| pfn.0);
                    assert_eq!(popped, deque.pop_back());
                }
                (_, _) if !deque.is_empty() => {
                    let n = deque.remove(pick as usize % deque.len()).unwrap();
                    list.remove(&frames, Pfn(n));
                }
                (_, _) => {}
            }
            if round % 16 == 0 {
                assert!(list.iter(&frames).map(|p| p.0).eq(deque.iter().copied()));
            }
            assert_eq!(list.tail().map(|p| p.0), deque.back().copied());
        }
    }

    #[test]
    fn the_state_word_keeps_its_parts_apart() {
        let s = FrameState::on_pcp(9, MigrateType::Movable);
        assert_eq!(
            (s.kind(), s.order(), s.cached_type()),
            (FrameKind::Pcp, 9, MigrateType::Movable)
        );
        let frame: Frame = bytemuck::Zeroable::zeroed();
        assert!(!frame.get_unless_zero());
        frame.set_state(FrameState::allocated(3));
        frame.set_flags(flag::LRU | flag::ANON);
        assert!(frame.get_unless_zero());
        assert!(!frame.put_testzero());
        assert!(frame.put_testzero());
        assert!(frame.state().has(flag::LRU | flag::ANON));
    }

    #[test]
    fn a_saturated_count_never_falls() {
        let frame: Frame = bytemuck::Zeroable::zeroed();
        frame.set_state(FrameState::allocated(0));
        for _ in 0..REFS_MAX + 10 {
            assert!(frame.get_unless_zero());
        }
        for _ in 0..2 * REFS_MAX {
            assert!(!frame.put_testzero());
        }
    }
}
