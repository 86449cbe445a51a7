//! Walks over the pages that an address space has (`walk_page_range`).
//!
//! **What.** For mbind's search for misplaced pages, cpuset migration, mlock and tests.

use crate::mm::page_table::{PTRS_PER_PTE, Pte, PteTable};
use crate::mm::{Mm, Vpn};
use crate::run::kernel::Kernel;

impl Kernel {
    /// Calls `each` with every entry of a range that is not empty, under the page-table lock; stops
    /// when it returns false. The caller holds mmap_lock, or is the only user left.
    pub fn walk_present(
        &self,
        mm: &Mm,
        (start, end): (Vpn, Vpn),
        mut each: impl FnMut(Vpn, Pte) -> bool,
    ) {
        let mut at = start;
        while let Some(table) = mm.page_table.next_table(at, end) {
            at = at.max(table.first);
            let stop = end.min(table.first.plus(PTRS_PER_PTE));
            if table.freed().is_none() {
                let entries = table.ptl.lock();
                for vpn in at.0..stop.0 {
                    let entry = entries[PteTable::idx(Vpn(vpn))];
                    if entry != Pte::None && !each(Vpn(vpn), entry) {
                        return;
                    }
                }
            }
            at = stop;
        }
    }

    /// Nothing is mapped in a range whose areas were unmapped: what is, nobody would free. Only with
    /// debug assertions; a table whose lock somebody holds is passed over, so that looking is no wait.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn check_unmapped(&self, mm: &Mm, (start, end): (Vpn, Vpn)) {
        if !cfg!(debug_assertions) {
            return;
        }
        let mut at = start;
        while let Some(table) = mm.page_table.next_table(at, end) {
            at = at.max(table.first);
            let stop = end.min(table.first.plus(PTRS_PER_PTE));
            if let Some(entries) = table.ptl.try_lock().filter(|_| table.freed().is_none()) {
                for vpn in at.0..stop.0 {
                    let entry = entries[PteTable::idx(Vpn(vpn))];
                    assert_eq!(entry, Pte::None, "vpn {vpn:#x} is still mapped after its unmap");
                }
            }
            at = stop;
        }
    }

    /// Pages mapped in a range, without swapped ones.
    pub fn nr_present(&self, mm: &Mm, range: (Vpn, Vpn)) -> u64 {
        let mut present = 0;
        self.walk_present(mm, range, |_, entry| {
            present += u64::from(entry.pfn().is_some());
            true
        });
        present
    }
}
