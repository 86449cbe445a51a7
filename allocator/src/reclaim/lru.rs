//! LRU lists of a node, and the per-CPU batches on the way to them.
//!
//! **What.** `folio_add_lru`, `lru_add_drain`, `lru_add_drain_all`, `lru_cache_disable`,
//! `folio_isolate_lru`, `folio_putback_lru`, `release_pages` (docs/kernel/environment.md#h2).
//!
//! **Why the batches matter.** A page in a batch has a reference and no LRU mark: offline can't
//! see it as movable and reclaim can't see it at all (J5-g).
//!
//! | frame flag | meaning | changed under |
//! |---|---|---|
//! | LRU | on a list of its node | lru_lock of the node |
//! | LRU_BATCH | in a batch, which holds a reference | the batch's lock |
//! | ISOLATED | taken off by reclaim or migration, which hold a reference | whoever took it off |
//!
//! **Source.** mm/swap.c, mm/vmscan.c, mm/internal.h.
//!
//! **Differs.** A batch is flushed for another CPU under the batch's lock, not by work on that CPU.
//! Pages whose owner has let go of them while they were in a batch are freed without a detour over
//! the list.

use crate::ids::{CpuId, NodeId, Pfn};
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;
use crate::sync::lock::named;
use crate::sync::{Lock, LockGuard};
use crate::zone::Zone;
use crate::zone::frame::{FrameList, FrameState, flag};

/// The LRU lists (`enum lru_list`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lru {
    /// Anonymous pages that are next to go.
    InactiveAnon = 0,
    /// Anonymous pages in use.
    ActiveAnon = 1,
    /// Page cache that is next to go.
    InactiveFile = 2,
    /// Page cache in use.
    ActiveFile = 3,
    /// Mlocked pages: never scanned.
    Unevictable = 4,
}

/// Number of LRU lists.
pub const NR_LRU_LISTS: usize = 5;

impl Lru {
    /// All lists.
    pub const ALL: [Self; NR_LRU_LISTS] = [
        Self::InactiveAnon,
        Self::ActiveAnon,
        Self::InactiveFile,
        Self::ActiveFile,
        Self::Unevictable,
    ];

    /// The list for a frame with these flags.
    pub fn of(state: FrameState) -> Self {
        let anon = state.has(flag::ANON);
        let active = state.has(flag::ACTIVE);
        match (state.has(flag::MLOCKED), anon, active) {
            (true, _, _) => Self::Unevictable,
            (false, true, false) => Self::InactiveAnon,
            (false, true, true) => Self::ActiveAnon,
            (false, false, false) => Self::InactiveFile,
            (false, false, true) => Self::ActiveFile,
        }
    }

    /// Does it hold file pages?
    pub fn is_file(self) -> bool {
        matches!(self, Self::InactiveFile | Self::ActiveFile)
    }
}

/// The lists of a node.
#[derive(Debug, Default)]
pub struct NodeLru {
    /// lru_lock.
    lock: Lock<named::Lru, ()>,
    /// Changed under the lock; the most recent page is at the head.
    lists: [FrameList; NR_LRU_LISTS],
}

/// The lists of a node with their lock held.
#[derive(Debug)]
pub struct LruLocked<'a> {
    lists: &'a [FrameList; NR_LRU_LISTS],
    _guard: LockGuard<'a, named::Lru, ()>,
}

impl NodeLru {
    /// Takes lru_lock.
    pub fn lock(&self) -> LruLocked<'_> {
        LruLocked { lists: &self.lists, _guard: self.lock.lock() }
    }
}

impl LruLocked<'_> {
    /// A list.
    pub fn list(&self, lru: Lru) -> &FrameList {
        &self.lists[lru as usize]
    }
}

/// A CPU's pages on their way to the LRU.
#[derive(Debug)]
#[repr(align(128))]
pub struct LruBatch {
    pages: Lock<named::LruBatch, Vec<Pfn>>,
}

impl LruBatch {
    /// An empty batch.
    pub fn new(pages: usize) -> Self {
        Self { pages: Lock::new(Vec::with_capacity(pages)) }
    }
}

/// Adds to a zone's counter of pages on a list; under lru_lock of its node.
pub(crate) fn add_nr_lru(zone: &Zone, lru: Lru, pages: i64) {
    zone.nr_lru[lru as usize].fetch_add(pages, Ordering::Relaxed);
}

/// A zone's pages on a list (NR_ZONE_*).
pub fn zone_lru_pages(zone: &Zone, lru: Lru) -> u64 {
    u64::try_from(zone.nr_lru[lru as usize].load(Ordering::Relaxed)).unwrap_or(0)
}

impl Kernel {
    /// Pages of a node on a list, up to zone `highest` (`lruvec_lru_size`).
    pub fn node_lru_pages(&self, node: NodeId, lru: Lru) -> u64 {
        self.zones_of(node).map(|z| zone_lru_pages(z, lru)).sum()
    }

    /// The zones of a node, populated or not, from the lowest.
    pub fn zones_of(&self, node: NodeId) -> impl Iterator<Item = &Zone> {
        crate::ids::ZoneIdx::ALL.iter().map(move |&idx| self.zone_of(node, idx))
    }

    /// The zone of a frame that has been allocated.
    pub(crate) fn lru_zone(&self, pfn: Pfn) -> &Zone {
        self.page_zone(pfn).expect("a frame that was allocated has a zone")
    }

    fn node_lru(&self, node: NodeId) -> &NodeLru {
        &self.reclaim.nodes[node.index()].lru
    }

    /// Puts a new anonymous page on its way to the LRU. The batch takes a reference of its own;
    /// from now on the page is given back by [`Kernel::put_page`].
    pub fn lru_add_anon(&self, cx: &Cx, pfn: Pfn) {
        let active = if self.reclaim.anon_starts_inactive { 0 } else { flag::ACTIVE };
        self.lru_add(cx, pfn, flag::ANON | active);
    }

    /// Puts a new page-cache page on its way to the LRU.
    pub fn lru_add_file(&self, cx: &Cx, pfn: Pfn) {
        self.lru_add(cx, pfn, 0);
    }

    fn lru_add(&self, cx: &Cx, pfn: Pfn, flags: u32) {
        let frame = self.frames.get(pfn);
        frame.set_flags(flags | flag::LRU_BATCH);
        let got = frame.get_unless_zero();
        debug_assert!(got, "{pfn:#x} goes to the LRU without a reference");
        let mut batch = self.reclaim.batches[cx.cpu().index()].pages.lock();
        batch.push(pfn);
        let full = batch.len() >= self.reclaim.batch_pages;
        if full || self.reclaim.lru_disabled.load(Ordering::Relaxed) > 0 {
            self.flush_batch(cx, &mut batch);
        }
    }

    /// Moves a batch onto the lists and drops its references. Under the batch's lock throughout, so
    /// that whoever drains it knows that its pages are on the lists afterwards.
    fn flush_batch(&self, cx: &Cx, batch: &mut Vec<Pfn>) {
        let mut locked: Option<(NodeId, LruLocked<'_>)> = None;
        for &pfn in batch.iter() {
            let frame = self.frames.get(pfn);
            let state = frame.clear_flags(flag::LRU_BATCH);
            if state.refs() == 1 {
                continue;
            }
            let zone = self.lru_zone(pfn);
            let lists = self.relock(&mut locked, zone.node());
            self.list_add(lists, zone, pfn);
        }
        drop(locked);
        for pfn in batch.drain(..) {
            self.put_page(cx, pfn);
        }
    }

    /// Holds the lru_lock of `node`, and of no other node.
    fn relock<'a, 'b>(
        &'a self,
        locked: &'b mut Option<(NodeId, LruLocked<'a>)>,
        node: NodeId,
    ) -> &'b LruLocked<'a> {
        if locked.as_ref().is_some_and(|(held, _)| *held != node) {
            *locked = None;
        }
        &locked.get_or_insert_with(|| (node, self.node_lru(node).lock())).1
    }

    /// Puts a frame at the head of the list that its flags name.
    pub(crate) fn list_add(&self, lists: &LruLocked<'_>, zone: &Zone, pfn: Pfn) {
        let frame = self.frames.get(pfn);
        let state = frame.set_flags(flag::LRU);
        let lru = Lru::of(state);
        lists.list(lru).push_head(&self.frames, pfn);
        add_nr_lru(zone, lru, 1 << state.order());
    }

    /// Takes a frame off its list. The caller has seen the LRU flag under this lock.
    pub(crate) fn list_del(&self, lists: &LruLocked<'_>, zone: &Zone, pfn: Pfn) {
        let state = self.frames.get(pfn).clear_flags(flag::LRU);
        let lru = Lru::of(state);
        lists.list(lru).remove(&self.frames, pfn);
        add_nr_lru(zone, lru, -(1 << state.order()));
    }

    /// Takes a page without references off the LRU (`__page_cache_release`).
    pub fn lru_del(&self, _cx: &Cx, pfn: Pfn) {
        let zone = self.lru_zone(pfn);
        let lists = self.node_lru(zone.node()).lock();
        if self.frames.get(pfn).state().has(flag::LRU) {
            self.list_del(&lists, zone, pfn);
        }
    }

    /// Drops a reference to each of many pages and frees those that nobody holds any more; takes
    /// lru_lock once for a run of pages of a node (`release_pages`).
    pub fn release_pages(&self, cx: &Cx, pages: &[Pfn]) {
        const CHUNK: usize = 32;
        for chunk in pages.chunks(CHUNK) {
            let mut locked: Option<(NodeId, LruLocked<'_>)> = None;
            let mut last = [(Pfn(0), 0u8); CHUNK];
            let mut nr_last = 0;
            for &pfn in chunk {
                let frame = self.frames.get(pfn);
                if !frame.put_testzero() {
                    continue;
                }
                if frame.state().has(flag::LRU) {
                    let zone = self.lru_zone(pfn);
                    let lists = self.relock(&mut locked, zone.node());
                    if frame.state().has(flag::LRU) {
                        self.list_del(lists, zone, pfn);
                    }
                }
                last[nr_last] = (pfn, frame.state().order());
                nr_last += 1;
            }
            drop(locked);
            for &(pfn, order) in &last[..nr_last] {
                self.free_unref_page(cx, pfn, order);
            }
        }
    }

    /// Flushes this CPU's batch (`lru_add_drain`).
    pub fn lru_add_drain(&self, cx: &Cx) {
        self.lru_add_drain_cpu(cx, cx.cpu());
    }

    /// Flushes a CPU's batch.
    pub fn lru_add_drain_cpu(&self, cx: &Cx, cpu: CpuId) {
        let mut batch = self.reclaim.batches[cpu.index()].pages.lock();
        if !batch.is_empty() {
            self.flush_batch(cx, &mut batch);
        }
    }

    /// Flushes all CPUs' batches (`lru_add_drain_all`).
    pub fn lru_add_drain_all(&self, cx: &Cx) {
        for cpu in &self.cpus {
            self.lru_add_drain_cpu(cx, cpu.id);
        }
    }

    /// From now on no page stays in a batch (`lru_cache_disable`, 5.14+); nests.
    pub fn lru_cache_disable(&self, cx: &Cx) {
        self.reclaim.lru_disabled.fetch_add(1, Ordering::Relaxed);
        // A page added before the count was seen is in a batch whose lock we wait for here.
        self.lru_add_drain_all(cx);
    }

    /// Ends one [`Kernel::lru_cache_disable`].
    pub fn lru_cache_enable(&self) {
        self.reclaim.lru_disabled.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a page off the LRU for migration or reclaim, with a reference (`folio_isolate_lru`).
    /// False: it is on no list.
    pub fn isolate_lru_page(&self, cx: &Cx, pfn: Pfn) -> bool {
        let frame = self.frames.get(pfn);
        if !frame.state().has(flag::LRU) || !frame.get_unless_zero() {
            return false;
        }
        let zone = self.lru_zone(pfn);
        let lists = self.node_lru(zone.node()).lock();
        let taken = frame.state().has(flag::LRU);
        if taken {
            self.list_del(&lists, zone, pfn);
            self.mark_isolated(zone, pfn);
        }
        drop(lists);
        if !taken {
            self.put_page(cx, pfn);
        }
        taken
    }

    /// Counts a page that has just been taken off its list.
    pub(crate) fn mark_isolated(&self, zone: &Zone, pfn: Pfn) {
        let state = self.frames.get(pfn).set_flags(flag::ISOLATED);
        let file = usize::from(!state.has(flag::ANON));
        zone.nr_isolated[file].fetch_add(1 << state.order(), Ordering::Relaxed);
    }

    /// Ends the isolation of a page that will not go back to the LRU: the caller frees it, or has
    /// put another in its place.
    pub fn clear_isolated(&self, pfn: Pfn) {
        let zone = self.lru_zone(pfn);
        let state = self.frames.get(pfn).clear_flags(flag::ISOLATED);
        let file = usize::from(!state.has(flag::ANON));
        zone.nr_isolated[file].fetch_sub(1 << state.order(), Ordering::Relaxed);
    }

    /// Gives an isolated page back to the LRU and drops the isolation's reference
    /// (`folio_putback_lru`).
    pub fn putback_lru_page(&self, cx: &Cx, pfn: Pfn) {
        let zone = self.lru_zone(pfn);
        self.clear_isolated(pfn);
        {
            let lists = self.node_lru(zone.node()).lock();
            self.list_add(&lists, zone, pfn);
        }
        self.put_page(cx, pfn);
    }

    /// Marks a page as mlocked; if it is on the LRU it goes to the unevictable list.
    pub fn mlock_page(&self, cx: &Cx, pfn: Pfn) {
        self.set_mlocked(cx, pfn, true);
    }

    /// Takes the mlock mark away again; the page goes to the list that its other flags name.
    pub fn munlock_page(&self, cx: &Cx, pfn: Pfn) {
        self.set_mlocked(cx, pfn, false);
    }

    fn set_mlocked(&self, _cx: &Cx, pfn: Pfn, mlocked: bool) {
        let zone = self.lru_zone(pfn);
        let frame = self.frames.get(pfn);
        let lists = self.node_lru(zone.node()).lock();
        let on_list = frame.state().has(flag::LRU);
        if on_list {
            self.list_del(&lists, zone, pfn);
        }
        if mlocked {
            frame.set_flags(flag::MLOCKED);
        } else {
            frame.clear_flags(flag::MLOCKED);
        }
        if on_list {
            self.list_add(&lists, zone, pfn);
        }
    }
}
