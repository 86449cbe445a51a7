//! Address spaces: what a process has mapped, how it gets its pages and how it gives them back.
//!
//! **What.** Read in the order in which a process meets the parts: [`address_space`] (`struct mm`,
//! mmap_lock, mm_users), [`vma`] (areas, their split and merge), [`map`] (mmap, munmap, mlock),
//! [`page_table`], [`fault`] (steps A), [`mbind`], [`rmap`] (from a frame back to its mapping), [`gather`]
//! (unmapping in batches), [`migrate`], [`mapping`] (files and shared memory), [`exit`] (steps Q).
//!
//! **Why it is here.** Two of the five changes are about nothing else: which lock the faults of an
//! address space hold while a cpuset update rebinds its policies, and who may still walk it while
//! it is torn down.
//!
//! **Source.** mm/mmap.c, mm/memory.c, mm/rmap.c, mm/mmu_gather.c, mm/migrate.c, kernel/fork.c,
//! kernel/exit.c.
//!
//! **Differs.** Page tables have two levels that cost memory (PTE and PMD tables); an address space
//! has 2^32 pages. No fork with copy-on-write, no huge pages, no mprotect.

pub mod address_space;
pub mod exit;
pub mod fault;
pub mod gather;
pub mod map;
pub mod mapping;
pub mod mbind;
pub mod migrate;
pub mod page_table;
pub mod rmap;
pub mod vma;
pub mod walk;

use std::fmt;

pub use address_space::{Mm, MmapReadGuard, MmapWriteGuard, SkipBy, mmf};
pub use fault::Fault;
pub use map::MapError;
pub use mapping::Mapping;
pub use vma::{VmFlags, Vma, VmaTree};

use crate::ids::PAGE_SHIFT;
use crate::mm::mapping::Mappings;
use crate::mm::rmap::RmapArena;
use crate::sync::atomic::{AtomicU32, Ordering};

/// A virtual page number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vpn(pub u32);

impl Vpn {
    /// The page `pages` further up.
    #[inline]
    #[must_use]
    pub fn plus(self, pages: u32) -> Self {
        Self(self.0 + pages)
    }

    /// The address of its first byte.
    pub fn addr(self) -> u64 {
        u64::from(self.0) << PAGE_SHIFT
    }
}

impl fmt::LowerHex for Vpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// What all address spaces share.
#[derive(Debug)]
pub struct MmState {
    /// From frames back to page tables.
    pub rmap: RmapArena,
    pub(crate) mappings: Mappings,
    next_id: AtomicU32,
    generations: AtomicU32,
}

impl MmState {
    /// No address spaces yet.
    pub fn new(nr_cpus: usize) -> Self {
        Self {
            rmap: RmapArena::new(nr_cpus),
            mappings: Mappings::default(),
            next_id: AtomicU32::new(0),
            generations: AtomicU32::new(0),
        }
    }

    /// A new generation of tombstones, from 1.
    fn next_generation(&self) -> u32 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn take_id(&self) -> u32 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }
}
