//! Unmapping a range, and the batches in which its pages are freed (`struct mmu_gather`).
//!
//! **What.** Entries are cleared table by table under the page-table lock; the pages wait in a
//! batch until it is full or the unmap is over, because other CPUs may still have them in their
//! TLBs. A page in a batch is mapped nowhere and free for nobody.
//!
//! **Why it matters.** The batch is the part of a victim's memory that every release hides before
//! it is free (docs/kernel/oom.md#e8); the oracle does not count it.
//!
//! **Source.** mm/memory.c: unmap_page_range, zap_pte_range; mm/mmu_gather.c.
//!
//! **Differs.** The time of unmapping is charged to the model clock table by table.

use crate::ids::Pfn;
use crate::mm::address_space::Rss;
use crate::mm::page_table::{PTRS_PER_PTE, Pte, PteTable};
use crate::mm::{Mm, VmFlags, Vma, Vpn};
use crate::oracle::FindingKind;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::sync::lock::add_pages;
use crate::zone::frame::flag;

/// Pages on their way out.
#[derive(Debug)]
pub struct MmuGather {
    pages: Vec<Pfn>,
    max: usize,
    /// Pages unmapped so far, flushed ones included.
    pub unmapped: u64,
}

impl MmuGather {
    /// Pages in the batch.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Is the batch empty?
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Adds a page that is no longer mapped, or a page of a table.
    pub(crate) fn push(&mut self, pfn: Pfn) {
        self.pages.push(pfn);
    }

    fn is_full(&self) -> bool {
        self.pages.len() >= self.max
    }
}

/// What an unmap of a range met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmapped {
    /// All of it is unmapped.
    All,
    /// The walk came upon a freed table and stopped there; it was reported.
    Tombstone,
}

impl Kernel {
    /// `tlb_gather_mmu`.
    pub fn tlb_gather(&self) -> MmuGather {
        let max = self.config.gather_pages.max(1) as usize;
        MmuGather { pages: Vec::new(), max, unmapped: 0 }
    }

    /// Frees the batch (`tlb_flush_mmu`).
    pub fn tlb_flush(&self, cx: &Cx, gather: &mut MmuGather) {
        if !gather.pages.is_empty() {
            self.release_pages(cx, &gather.pages);
            gather.pages.clear();
        }
    }

    /// `tlb_finish_mmu`.
    pub fn tlb_finish(&self, cx: &Cx, mut gather: MmuGather) {
        self.tlb_flush(cx, &mut gather);
    }

    /// Clears all entries of `start..end` within an area and gathers the pages
    /// (`unmap_page_range`).
    pub fn unmap_page_range(
        &self,
        cx: &Cx,
        mm: &Mm,
        vma: &Vma,
        (start, end): (Vpn, Vpn),
        gather: &mut MmuGather,
    ) -> Unmapped {
        let mut at = start.max(vma.start());
        let end = end.min(vma.end());
        while let Some(table) = mm.page_table.next_table(at, end) {
            if table.freed().is_some() {
                self.report_dead_table(cx, mm, &table);
                return Unmapped::Tombstone;
            }
            at = at.max(table.first);
            let stop = end.min(table.first.plus(PTRS_PER_PTE));
            while at < stop {
                let before = at;
                at = self.zap_pte_range(cx, mm, vma, &table, (at, stop), gather);
                if gather.is_full() {
                    self.tlb_flush(cx, gather);
                }
                self.charge_unmap(cx, u64::from(at.0 - before.0));
            }
            self.point_event(cx, Point::QUnmap, [gather.unmapped, 0, 0]);
        }
        Unmapped::All
    }

    /// Clears entries of one table from `at` to `stop`, or until the batch is full; returns how far
    /// it came.
    fn zap_pte_range(
        &self,
        cx: &Cx,
        mm: &Mm,
        vma: &Vma,
        table: &Arc<PteTable>,
        (mut at, stop): (Vpn, Vpn),
        gather: &mut MmuGather,
    ) -> Vpn {
        let locked_area = vma.has(VmFlags::LOCKED);
        let mut gone = [0i64; 4];
        let unmapped_before = gather.unmapped;
        let mut entries = table.ptl.lock();
        while at < stop && !gather.is_full() {
            let entry = std::mem::take(&mut entries[PteTable::idx(at)]);
            at = at.plus(1);
            let (kind, pfn) = match entry {
                Pte::None | Pte::Zero => continue,
                Pte::Swap(slot) => {
                    self.reclaim.swap.free(slot);
                    gone[Rss::Swap as usize] += 1;
                    continue;
                }
                Pte::Anon(pfn) => {
                    self.frames.get(pfn).rmap.store(0, Ordering::Relaxed);
                    (Rss::Anon, pfn)
                }
                Pte::File(pfn) => (Rss::File, pfn),
                Pte::Shmem(pfn) => (Rss::Shmem, pfn),
            };
            if locked_area && kind != Rss::Anon && self.frame_state(pfn).has(flag::MLOCKED) {
                self.munlock_page(cx, pfn);
            }
            gone[kind as usize] += 1;
            gather.unmapped += 1;
            gather.push(pfn);
        }
        add_pages(gather.unmapped - unmapped_before);
        for kind in [Rss::File, Rss::Anon, Rss::Swap, Rss::Shmem] {
            if gone[kind as usize] != 0 {
                mm.add_rss(kind, -gone[kind as usize]);
            }
        }
        at
    }

    /// Unmapping takes time in the kernel.
    pub(crate) fn charge_unmap(&self, cx: &Cx, pages: u64) {
        let ns = self.config.unmap_ns_per_page * pages;
        if ns > 0 {
            self.charge(cx, ns);
        }
    }

    fn report_dead_table(&self, cx: &Cx, mm: &Mm, table: &PteTable) {
        self.point_event(cx, Point::UafWalk, [u64::from(table.first.0), 0, 0]);
        let report = [
            format!("page table of mm {} at vpn {:#x} was freed by exit_mmap", mm.id, table.first),
            format!("{} (pid {}) walks it", cx.task.process.comm, cx.task.pid),
            format!("MMF_OOM_SKIP was set by {}", mm.skip_by().describe()),
        ];
        self.find(cx, FindingKind::UseAfterFree, "a freed page table is walked", &report);
    }
}
