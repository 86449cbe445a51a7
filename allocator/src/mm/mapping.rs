//! Files and shared memory that areas map (`struct address_space`).
//!
//! **What.** Pages by index, in the page cache with one reference; each mapping of a page holds
//! another. Shared mappings are what a reaper passes over in every release.
//!
//! **Source.** mm/filemap.c: filemap_fault, filemap_add_folio; mm/shmem.c; mm/truncate.c.
//!
//! **Differs.** Files have no contents and no size. Pages of shared memory are not swapped. Reclaim
//! drops pages of files that nobody maps; mapped ones stay.

use std::collections::BTreeMap;

use crate::ids::Pfn;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, Mutex, Weak};

/// A frame's reverse-map slot names a mapping, not a page-table entry.
pub(crate) const MAPPING_SLOT: u32 = 1 << 31;

/// A file, or a piece of shared memory.
#[derive(Debug)]
pub struct Mapping {
    id: u32,
    shmem: bool,
    pages: Mutex<CachedPages>,
}

#[derive(Debug, Default)]
struct CachedPages {
    by_index: BTreeMap<u32, Pfn>,
    by_pfn: BTreeMap<Pfn, u32>,
}

/// All mappings by number.
#[derive(Debug, Default)]
pub struct Mappings {
    next_id: AtomicU32,
    by_id: Mutex<BTreeMap<u32, Weak<Mapping>>>,
}

impl Mapping {
    /// Is it shared memory (tmpfs), whose pages count as shmem-rss?
    pub fn is_shmem(&self) -> bool {
        self.shmem
    }

    /// Pages in memory.
    pub fn nr_pages(&self) -> usize {
        self.pages.lock().by_index.len()
    }
}

impl Kernel {
    /// A new file, or new shared memory. Its pages are given back by
    /// [`Kernel::truncate_mapping`].
    pub fn new_mapping(&self, shmem: bool) -> Arc<Mapping> {
        let mappings = &self.mm.mappings;
        let id = mappings.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let mapping = Arc::new(Mapping { id, shmem, pages: Mutex::default() });
        let mut by_id = mappings.by_id.lock();
        by_id.retain(|_, mapping| mapping.strong_count() > 0);
        by_id.insert(id, Arc::downgrade(&mapping));
        mapping
    }

    /// The cached page at `index`, with a reference for the caller; made by `alloc` if it is missing.
    /// None: no memory.
    pub(crate) fn find_or_add_page(
        &self,
        cx: &Cx,
        mapping: &Mapping,
        index: u32,
        alloc: impl FnOnce() -> Option<Pfn>,
    ) -> Option<Pfn> {
        if let Some(pfn) = self.find_get_page(mapping, index) {
            return Some(pfn);
        }
        let new = alloc()?;
        let mut pages = mapping.pages.lock();
        if let Some(&pfn) = pages.by_index.get(&index) {
            let got = self.frames.get(pfn).get_unless_zero();
            drop(pages);
            self.free_pages(cx, new, 0);
            return got.then_some(pfn);
        }
        pages.by_index.insert(index, new);
        pages.by_pfn.insert(new, index);
        let frame = self.frames.get(new);
        frame.rmap.store(MAPPING_SLOT | mapping.id, Ordering::Relaxed);
        let got = frame.get_unless_zero();
        debug_assert!(got, "a new page has a reference");
        self.add_nr_file_pages(new, 1);
        drop(pages);
        if mapping.shmem {
            self.lru_add_anon(cx, new);
        } else {
            self.lru_add_file(cx, new);
        }
        Some(new)
    }

    fn find_get_page(&self, mapping: &Mapping, index: u32) -> Option<Pfn> {
        let pages = mapping.pages.lock();
        let &pfn = pages.by_index.get(&index)?;
        // Never 0: the cache's own reference goes under this lock.
        self.frames.get(pfn).get_unless_zero().then_some(pfn)
    }

    fn add_nr_file_pages(&self, pfn: Pfn, by: i64) {
        let Some(node) = self.page_node(pfn) else { return };
        let counter = &self.reclaim.nodes[node.index()].nr_file_pages;
        counter.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }

    /// Takes an isolated page out of its file's cache if only the cache and the isolation hold it.
    /// The cache's reference is the caller's then.
    pub(crate) fn remove_from_mapping(&self, pfn: Pfn) -> bool {
        const CACHE_AND_ISOLATION: u32 = 2;
        let slot = self.frames.get(pfn).rmap.load(Ordering::Relaxed);
        if slot & MAPPING_SLOT == 0 {
            // A page of the anonymous page cache, which keeps no index.
            return true;
        }
        let id = slot & !MAPPING_SLOT;
        let mapping = self.mm.mappings.by_id.lock().get(&id).and_then(Weak::upgrade);
        let Some(mapping) = mapping else { return false };
        let mut pages = mapping.pages.lock();
        if self.frames.get(pfn).state().refs() != CACHE_AND_ISOLATION {
            return false;
        }
        let Some(index) = pages.by_pfn.remove(&pfn) else { return false };
        pages.by_index.remove(&index);
        self.frames.get(pfn).rmap.store(0, Ordering::Relaxed);
        true
    }

    /// Puts `new` in the place of an isolated cached page that nobody maps. The references of the
    /// cache move: `old`'s is the caller's, `new`'s was.
    pub(crate) fn replace_in_mapping(&self, old: Pfn, new: Pfn) -> bool {
        const CACHE_AND_ISOLATION: u32 = 2;
        let slot = self.frames.get(old).rmap.load(Ordering::Relaxed);
        let id = slot & !MAPPING_SLOT;
        let mapping = self.mm.mappings.by_id.lock().get(&id).and_then(Weak::upgrade);
        let Some(mapping) = mapping.filter(|_| slot & MAPPING_SLOT != 0) else { return false };
        let mut pages = mapping.pages.lock();
        if self.frames.get(old).state().refs() != CACHE_AND_ISOLATION {
            return false;
        }
        let Some(index) = pages.by_pfn.remove(&old) else { return false };
        pages.by_pfn.insert(new, index);
        pages.by_index.insert(index, new);
        self.frames.get(new).rmap.store(slot, Ordering::Relaxed);
        self.frames.get(old).rmap.store(0, Ordering::Relaxed);
        self.add_nr_file_pages(old, -1);
        self.add_nr_file_pages(new, 1);
        true
    }

    /// Drops all pages of a file from the cache; those that are mapped go with their last mapping.
    pub fn truncate_mapping(&self, cx: &Cx, mapping: &Mapping) {
        let pages = std::mem::take(&mut *mapping.pages.lock());
        for &pfn in pages.by_index.values() {
            self.frames.get(pfn).rmap.store(0, Ordering::Relaxed);
            self.add_nr_file_pages(pfn, -1);
            self.put_page(cx, pfn);
        }
    }
}
