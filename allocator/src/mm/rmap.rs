//! The reverse map: from a frame back to the page-table entry that maps it (`mm/rmap.c`).
//!
//! **What.** A frame's slot is the number of its PTE table times 512 plus the entry's. The arena
//! finds tables by number; numbers are given out per CPU, so that faults don't meet here.
//!
//! **Why not a slot per page.** A table knows its address space and its first page, so 8 bytes per
//! table of 512 entries do what {mm, vpn} per page would.
//!
//! **Source.** mm/rmap.c: try_to_unmap, rmap_walk.
//!
//! **Differs.** An anonymous page has one mapping at most (no fork, no KSM). Pages of files are found
//! through their [`super::Mapping`] and are not unmapped by reclaim. A slot that was read without a
//! lock may be stale; whoever follows it verifies the entry under the page-table lock.

use crossbeam::utils::CachePadded;

use crate::ids::{CpuId, Pfn};
use crate::mm::address_space::Rss;
use crate::mm::page_table::{PTRS_PER_PTE, Pte, PteTable};
use crate::reclaim::swap::SwapEntry;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Mutex, Weak};

/// Most shards that an arena has.
const MAX_SHARDS: usize = 64;

#[derive(Debug, Default)]
struct Shard {
    tables: Vec<Weak<PteTable>>,
    free: Vec<u32>,
}

/// All PTE tables by number.
#[derive(Debug)]
pub struct RmapArena {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
}

impl RmapArena {
    /// An empty arena.
    pub fn new(nr_cpus: usize) -> Self {
        let shards = nr_cpus.clamp(1, MAX_SHARDS);
        Self { shards: (0..shards).map(|_| CachePadded::default()).collect() }
    }

    fn locate(&self, id: u32) -> (&Mutex<Shard>, usize) {
        let id = (id - 1) as usize;
        (&self.shards[id % self.shards.len()], id / self.shards.len())
    }

    /// Gives the table that `make` builds a number; 0 is never one.
    pub(crate) fn register(
        &self,
        cpu: CpuId,
        make: impl FnOnce(u32) -> Arc<PteTable>,
    ) -> Arc<PteTable> {
        let nr_shards = self.shards.len();
        let shard_no = cpu.index() % nr_shards;
        let mut shard = self.shards[shard_no].lock();
        let local = shard.free.pop().unwrap_or(shard.tables.len() as u32);
        let table = make(1 + local * nr_shards as u32 + shard_no as u32);
        match shard.tables.get_mut(local as usize) {
            Some(place) => *place = Arc::downgrade(&table),
            None => shard.tables.push(Arc::downgrade(&table)),
        }
        table
    }

    /// Takes a number back.
    pub(crate) fn unregister(&self, id: u32) {
        let (shard, local) = self.locate(id);
        let mut shard = shard.lock();
        shard.tables[local] = Weak::new();
        shard.free.push(local as u32);
    }

    /// The table and entry of a slot, as far as they still exist.
    pub(crate) fn find(&self, slot: u32) -> Option<(Arc<PteTable>, usize)> {
        let id = slot / PTRS_PER_PTE;
        if id == 0 {
            return None;
        }
        let (shard, local) = self.locate(id);
        let table = shard.lock().tables.get(local)?.upgrade()?;
        Some((table, (slot % PTRS_PER_PTE) as usize))
    }

    /// Bytes that the arena takes, reported beside the frame table.
    pub fn bytes(&self) -> usize {
        let entries = self.shards.iter().map(|s| s.lock().tables.capacity());
        size_of::<Weak<PteTable>>() * entries.sum::<usize>()
    }
}

/// References of a page that only its entry and one isolation hold.
const MAPPED_AND_ISOLATED: u32 = 2;

impl Kernel {
    /// Replaces the mapping of an isolated anonymous page by a swap entry (`try_to_unmap`), which
    /// takes a reference to the slot. False: it is mapped no more, or somebody else holds the page.
    pub fn try_to_unmap(&self, cx: &Cx, pfn: Pfn, entry: SwapEntry) -> bool {
        let frame = self.frames.get(pfn);
        let Some((table, idx)) = self.mm.rmap.find(frame.rmap.load(Ordering::Relaxed)) else {
            return false;
        };
        let Some(mm) = table.mm.upgrade() else { return false };
        {
            let mut entries = table.ptl.lock();
            if entries[idx] != Pte::Anon(pfn) || frame.state().refs() != MAPPED_AND_ISOLATED {
                return false;
            }
            self.reclaim.swap.dup(entry);
            entries[idx] = Pte::Swap(entry);
            frame.rmap.store(0, Ordering::Relaxed);
            mm.add_rss(Rss::Anon, -1);
            mm.add_rss(Rss::Swap, 1);
        }
        // The isolation still holds the page.
        self.put_page(cx, pfn);
        true
    }
}
