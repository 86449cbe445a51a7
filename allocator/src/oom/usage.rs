//! What a process uses, as badness and the report read it.

use crate::mm::Mm;
use crate::mm::address_space::Rss;
use crate::sync::atomic::Ordering;

/// A reading of an address space's counters, in pages but for the page tables. The counters are
/// read one after the other while they change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MmUsage {
    /// Anonymous pages.
    pub anon: u64,
    /// Pages of files.
    pub file: u64,
    /// Pages of shared memory.
    pub shmem: u64,
    /// Pages in swap.
    pub swapents: u64,
    /// Bytes of page tables.
    pub pgtables_bytes: u64,
    /// Pages of all VMAs.
    pub total_vm: u64,
}

impl MmUsage {
    /// What `mm` uses now.
    pub fn of(mm: &Mm) -> Self {
        Self {
            anon: mm.rss(Rss::Anon),
            file: mm.rss(Rss::File),
            shmem: mm.rss(Rss::Shmem),
            swapents: mm.rss(Rss::Swap),
            pgtables_bytes: mm.pgtables_bytes(),
            total_vm: mm.total_vm.load(Ordering::Relaxed),
        }
    }

    /// `get_mm_rss`.
    pub fn rss(&self) -> u64 {
        self.anon + self.file + self.shmem
    }
}
