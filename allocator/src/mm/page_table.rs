//! Page tables: entries by page, in tables of 512 that each cost a page.
//!
//! **What.** PTE tables and the PMD tables above them, allocated by the first fault (A2) and freed by
//! `free_pgtables` where no neighbouring area needs them. Each PTE table has its own page-table lock.
//!
//! **Why tombstones.** A freed table stays findable until the address space is gone, marked: who
//! walks it then is reported as a use after free (J2-c).
//!
//! **Source.** mm/memory.c: __pte_alloc, free_pgd_range; mm/mmap.c: free_pgtables.
//!
//! **Differs.** No PUD, P4D and PGD tables: they add at most a page each to an address space of
//! usual size.

use std::collections::BTreeMap;

use crate::gfp::Gfp;
use crate::ids::Pfn;
use crate::mm::{Mm, Vpn};
use crate::reclaim::swap::SwapEntry;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::lock::named;
use crate::sync::{Arc, Lock, RwSem, Weak};

/// Entries of a table.
pub const PTRS_PER_PTE: u32 = 512;
/// Pages below one PMD table.
pub const PMD_TABLE_PAGES: u64 = (PTRS_PER_PTE as u64) * (PTRS_PER_PTE as u64);

/// A page-table entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pte {
    /// Nothing.
    #[default]
    None,
    /// An anonymous page.
    Anon(Pfn),
    /// A page of a file.
    File(Pfn),
    /// A page of shared memory.
    Shmem(Pfn),
    /// The zero page, after a read fault.
    Zero,
    /// A page that is in swap.
    Swap(SwapEntry),
}

impl Pte {
    /// The frame mapped, if the entry owns a reference to one.
    pub fn pfn(self) -> Option<Pfn> {
        match self {
            Self::Anon(pfn) | Self::File(pfn) | Self::Shmem(pfn) => Some(pfn),
            Self::None | Self::Zero | Self::Swap(_) => None,
        }
    }
}

/// A PTE table.
#[derive(Debug)]
pub struct PteTable {
    /// Its number in the reverse-map arena.
    pub(crate) id: u32,
    /// The page that it lives in.
    pub frame: Pfn,
    /// First page that it maps.
    pub first: Vpn,
    /// Whose it is.
    pub(crate) mm: Weak<Mm>,
    /// Entries, under the page-table lock.
    pub ptl: Lock<named::Ptl, Box<[Pte; PTRS_PER_PTE as usize]>>,
    /// Generation in which it was freed; 0: alive.
    freed: AtomicU32,
}

impl PteTable {
    /// The entry's number of a page in this table.
    #[inline]
    pub fn idx(vpn: Vpn) -> usize {
        (vpn.0 % PTRS_PER_PTE) as usize
    }

    /// Was it freed, and in which generation?
    pub fn freed(&self) -> Option<u32> {
        let generation = self.freed.load(Ordering::Relaxed);
        (generation != 0).then_some(generation)
    }

    /// Slot of a page's mapping in the reverse-map arena.
    #[inline]
    pub(crate) fn slot(&self, idx: usize) -> u32 {
        self.id * PTRS_PER_PTE + idx as u32
    }
}

#[derive(Debug, Default)]
struct Tables {
    /// PTE tables by vpn / 512; tombstones included.
    ptes: BTreeMap<u32, Arc<PteTable>>,
    /// Pages of PMD tables by vpn / 512 / 512.
    pmds: BTreeMap<u32, Pfn>,
}

/// The tables of an address space.
#[derive(Debug, Default)]
pub struct PageTable {
    /// page_table_lock: guards which tables there are, not what is in them.
    tables: RwSem<named::PageTable, Tables>,
    nr_ptes: AtomicU64,
    nr_pmds: AtomicU64,
}

impl PageTable {
    /// PTE tables.
    pub fn nr_ptes(&self) -> u64 {
        self.nr_ptes.load(Ordering::Relaxed)
    }

    /// Counts tables that are not there, for tests of what reads the count.
    #[cfg(test)]
    pub(crate) fn pretend_nr_ptes(&self, nr: u64) {
        self.nr_ptes.store(nr, Ordering::Relaxed);
    }

    /// PMD tables.
    pub fn nr_pmds(&self) -> u64 {
        self.nr_pmds.load(Ordering::Relaxed)
    }

    /// The PTE table of a page, tombstones included.
    #[inline]
    pub fn table(&self, vpn: Vpn) -> Option<Arc<PteTable>> {
        self.tables.read().ptes.get(&(vpn.0 / PTRS_PER_PTE)).map(Arc::clone)
    }

    /// The first PTE table that maps a page in `from..end`, tombstones included.
    pub fn next_table(&self, from: Vpn, end: Vpn) -> Option<Arc<PteTable>> {
        if from >= end {
            return None;
        }
        let range = from.0 / PTRS_PER_PTE..=(end.0 - 1) / PTRS_PER_PTE;
        self.tables.read().ptes.range(range).next().map(|(_, table)| Arc::clone(table))
    }

    /// The entry of a page now.
    pub fn entry(&self, vpn: Vpn) -> Pte {
        match self.table(vpn) {
            Some(table) if table.freed().is_none() => table.ptl.lock()[PteTable::idx(vpn)],
            Some(_) | None => Pte::None,
        }
    }
}

impl Kernel {
    /// A page for the kernel's own structures of an address space, by the task's policy.
    pub(crate) fn alloc_kernel_page(&self, cx: &Cx) -> Option<Pfn> {
        self.alloc_pages_current(cx, Gfp::KERNEL_ACCOUNT, 0)
    }

    /// A2 (`pte_alloc`): the PTE table of a page, made if it is missing. None: no memory.
    pub(crate) fn pte_alloc(&self, cx: &Cx, mm: &Arc<Mm>, vpn: Vpn) -> Option<Arc<PteTable>> {
        if let Some(table) = mm.page_table.table(vpn) {
            return Some(table);
        }
        let pmd_key = vpn.0 / PTRS_PER_PTE / PTRS_PER_PTE;
        if !mm.page_table.tables.read().pmds.contains_key(&pmd_key) {
            let page = self.alloc_kernel_page(cx)?;
            let mut tables = mm.page_table.tables.write();
            let lost = tables.pmds.contains_key(&pmd_key);
            if !lost {
                tables.pmds.insert(pmd_key, page);
                mm.page_table.nr_pmds.fetch_add(1, Ordering::Relaxed);
            }
            drop(tables);
            if lost {
                self.free_pages(cx, page, 0);
            }
        }
        let page = self.alloc_kernel_page(cx)?;
        let table = self.mm.rmap.register(cx.cpu(), |id| {
            Arc::new(PteTable {
                id,
                frame: page,
                first: Vpn(vpn.0 / PTRS_PER_PTE * PTRS_PER_PTE),
                mm: Arc::downgrade(mm),
                ptl: Lock::new(Box::new([Pte::None; PTRS_PER_PTE as usize])),
                freed: AtomicU32::new(0),
            })
        });
        let mut tables = mm.page_table.tables.write();
        let there = tables.ptes.get(&(vpn.0 / PTRS_PER_PTE)).map(Arc::clone);
        if there.is_none() {
            tables.ptes.insert(vpn.0 / PTRS_PER_PTE, Arc::clone(&table));
            mm.page_table.nr_ptes.fetch_add(1, Ordering::Relaxed);
        }
        drop(tables);
        if there.is_some() {
            self.mm.rmap.unregister(table.id);
            self.free_pages(cx, page, 0);
        }
        there.or(Some(table))
    }

    /// Frees the tables of `start..end` that nothing between `floor` and `ceiling` needs any more
    /// (`free_pgtables`): their pages go to `freed`. With `tombstones` (exit) they stay findable.
    pub(crate) fn free_pgtables(
        &self,
        mm: &Mm,
        (start, end): (Vpn, Vpn),
        (floor, ceiling): (Vpn, Vpn),
        tombstones: Option<u32>,
        freed: &mut Vec<Pfn>,
    ) {
        let fits = |first: u64, pages: u64| {
            first >= u64::from(floor.0) && first + pages <= u64::from(ceiling.0)
        };
        let mut tables = mm.page_table.tables.write();
        let per = u64::from(PTRS_PER_PTE);
        let keys: Vec<u32> = tables
            .ptes
            .range(start.0 / PTRS_PER_PTE..=(end.0 - 1) / PTRS_PER_PTE)
            .filter(|(key, table)| table.freed().is_none() && fits(u64::from(**key) * per, per))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let table = &tables.ptes[&key];
            freed.push(table.frame);
            self.mm.rmap.unregister(table.id);
            mm.page_table.nr_ptes.fetch_sub(1, Ordering::Relaxed);
            match tombstones {
                Some(generation) => table.freed.store(generation, Ordering::Relaxed),
                None => {
                    tables.ptes.remove(&key);
                }
            }
        }
        let pmd_range =
            start.0 / PTRS_PER_PTE / PTRS_PER_PTE..=(end.0 - 1) / PTRS_PER_PTE / PTRS_PER_PTE;
        let pmds: Vec<u32> = tables
            .pmds
            .range(pmd_range)
            .filter(|(key, _)| fits(u64::from(**key) * PMD_TABLE_PAGES, PMD_TABLE_PAGES))
            .map(|(key, _)| *key)
            .collect();
        for key in pmds {
            freed.extend(tables.pmds.remove(&key));
            mm.page_table.nr_pmds.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
