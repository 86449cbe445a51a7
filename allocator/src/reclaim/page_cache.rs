//! A page cache of clean pages: what fills memory and can be had back.
//!
//! **What.** Pages are added on a node and live on its file lists with one reference, the cache's.
//! Reclaim drops them; [`Kernel::drop_caches`] drops them all.
//!
//! **Differs.** No files and no index: nobody looks a page up again, so a page is known only by its
//! frame, and migration may replace one by another frame without telling anybody.

use crate::gfp::Gfp;
use crate::ids::{NodeId, Pfn};
use crate::page_alloc::Nodemask;
use crate::reclaim::lru::Lru;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;

/// References of a page that only the cache and one isolation hold.
const CACHE_AND_ISOLATION: u32 = 2;

impl Kernel {
    /// Reads a page into the cache: allocates it by `gfp` from `nid`'s zonelist within `nodemask`.
    /// None: the allocation failed.
    pub fn page_cache_add(
        &self,
        cx: &Cx,
        gfp: Gfp,
        nid: NodeId,
        nodemask: Nodemask<'_>,
    ) -> Option<Pfn> {
        let pfn = self.alloc_pages(cx, gfp, 0, nid, nodemask)?;
        let node = self.lru_zone(pfn).node();
        self.reclaim.nodes[node.index()].nr_file_pages.fetch_add(1, Ordering::Relaxed);
        self.lru_add_file(cx, pfn);
        Some(pfn)
    }

    /// Drops an isolated page from the cache if nobody else holds it: both references, the cache's
    /// and the isolation's. False: it is still isolated.
    pub(crate) fn page_cache_remove(&self, cx: &Cx, pfn: Pfn) -> bool {
        let frame = self.frames.get(pfn);
        if frame.state().refs() != CACHE_AND_ISOLATION || !self.remove_from_mapping(pfn) {
            return false;
        }
        let node = self.lru_zone(pfn).node();
        self.reclaim.nodes[node.index()].nr_file_pages.fetch_sub(1, Ordering::Relaxed);
        self.clear_isolated(pfn);
        // A scanner may hold the page for a moment; then it frees it.
        self.put_page(cx, pfn);
        self.put_page(cx, pfn);
        true
    }

    /// Puts `new` where the isolated page `old` is; the cache's reference to `old` is the caller's to
    /// drop. False: somebody else holds it.
    pub(crate) fn replace_in_page_cache(&self, old: Pfn, new: Pfn) -> bool {
        if self.frames.get(old).state().refs() != CACHE_AND_ISOLATION {
            return false;
        }
        let count = |pfn| &self.reclaim.nodes[self.lru_zone(pfn).node().index()].nr_file_pages;
        count(new).fetch_add(1, Ordering::Relaxed);
        count(old).fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Drops the whole page cache (`/proc/sys/vm/drop_caches`); returns the pages dropped.
    pub fn drop_caches(&self, cx: &Cx) -> u64 {
        self.lru_add_drain_all(cx);
        let mut dropped = 0;
        for node in &self.machine.nodes {
            for lru in [Lru::InactiveFile, Lru::ActiveFile] {
                dropped += self.drop_list(cx, node.id, lru);
            }
        }
        dropped
    }

    fn drop_list(&self, cx: &Cx, node: NodeId, lru: Lru) -> u64 {
        let mut left = self.node_lru_pages(node, lru);
        let mut dropped = 0;
        while left > 0 {
            let taken =
                self.isolate_lru_pages(node, lru, left.min(32), crate::ids::ZoneIdx::Movable);
            if taken.pages.is_empty() {
                break;
            }
            for pfn in taken.pages {
                left -= 1;
                if self.page_cache_remove(cx, pfn) {
                    dropped += 1;
                } else {
                    self.putback_lru_page(cx, pfn);
                }
            }
        }
        dropped
    }

    /// Pages in the cache of a node.
    pub fn nr_file_pages(&self, node: NodeId) -> u64 {
        self.reclaim.nodes[node.index()].nr_file_pages.load(Ordering::Relaxed)
    }
}
