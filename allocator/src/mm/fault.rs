//! Page faults: how a process gets its pages (docs/kernel/environment.md#h3, steps A1 to A9).
//!
//! **What.** Anonymous memory, the zero page, swap-in, private and shared files. The fault holds
//! mmap_lock for reading from A1 to A9, across the allocation; from 6.4 on mostly the area's lock
//! alone.
//!
//! **Why it matters.** A fault that loops in the allocator keeps every writer of mmap_lock out, a
//! cpuset update's rebind of the area's policy among them: that is change 1's race. And a writer
//! that waits keeps the reaper out.
//!
//! **Source.** mm/memory.c: handle_mm_fault, do_anonymous_page, do_swap_page, do_fault;
//! arch/x86/mm/fault.c: do_user_addr_fault; mm/oom_kill.c: pagefault_out_of_memory.
//!
//! **Differs.** No memory cgroups (A6), no huge pages, no write protection but the zero page's. The
//! anon_vma costs nothing. Waiting for mmap_lock is not killable.

use crate::gfp::Gfp;
use crate::ids::Pfn;
use crate::mm::address_space::{Rss, mmf};
use crate::mm::page_table::{Pte, PteTable};
use crate::mm::vma::VmaLocked;
use crate::mm::{Mapping, Mm, VmFlags, Vma, Vpn};
use crate::oom::OomControl;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role};
use crate::zone::frame::flag;

/// What a fault came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fault {
    /// The page is mapped now.
    Mapped,
    /// It was mapped already.
    Present,
    /// No area there (SIGSEGV).
    SegmentationFault,
    /// The reaper has been here (SIGBUS).
    BusError,
    /// VM_FAULT_OOM: no memory; nothing was mapped.
    NoMemory,
    /// A SIGKILL is pending: the task goes on to its exit.
    Killed,
}

impl Kernel {
    /// Touches a page of current's address space as a process does: nothing if it is mapped, else
    /// faults until there is a page or a signal.
    pub fn access(&self, cx: &Cx, mm: &Arc<Mm>, vpn: Vpn, write: bool) -> Fault {
        match mm.page_table.entry(vpn) {
            Pte::Anon(_) | Pte::Shmem(_) => return Fault::Present,
            Pte::File(_) | Pte::Zero if !write => return Fault::Present,
            Pte::None | Pte::File(_) | Pte::Zero | Pte::Swap(_) => {}
        }
        let _role = As::role(Role::Fault);
        loop {
            // On the way back to user mode a fatal signal is delivered.
            if cx.task.process.is_killed() {
                return Fault::Killed;
            }
            match self.handle_mm_fault(cx, mm, vpn, write) {
                Fault::NoMemory => self.pagefault_out_of_memory(cx),
                done @ (Fault::Mapped
                | Fault::Present
                | Fault::SegmentationFault
                | Fault::BusError
                | Fault::Killed) => return done,
            }
            if self.clock.is_aborted() {
                return Fault::Killed;
            }
        }
    }

    /// One fault.
    pub fn handle_mm_fault(&self, cx: &Cx, mm: &Arc<Mm>, vpn: Vpn, write: bool) -> Fault {
        self.cpus[cx.cpu().index()].vm.pgfault.fetch_add(1, Ordering::Relaxed);
        if let Some(fault) = self.fault_under_vma_lock(cx, mm, vpn, write) {
            return fault;
        }
        // A1'
        self.point(cx, Point::A1MmapLock);
        let fault = {
            let tree = mm.mmap_read_lock();
            match tree.find(vpn) {
                Some(vma) => {
                    let locked = vma.lock.read();
                    let fault = self.fault_in_vma(cx, mm, vma, &locked, vpn, write);
                    vma.set_anon_vma();
                    fault
                }
                None => Fault::SegmentationFault,
            }
        };
        self.point(cx, Point::A9Unlock);
        fault
    }

    /// A1: the fault under the area's own lock (6.4+). None: to be done under mmap_lock.
    fn fault_under_vma_lock(&self, cx: &Cx, mm: &Arc<Mm>, vpn: Vpn, write: bool) -> Option<Fault> {
        let vma = mm.vma_index.as_ref()?.find(vpn)?;
        // An area's first fault makes its anon_vma, under mmap_lock.
        let is_anonymous = vma.is_anonymous();
        if !is_anonymous && self.policy.release.vma_lock_faults_are_anonymous()
            || is_anonymous && !vma.has_anon_vma()
        {
            return None;
        }
        self.point(cx, Point::A1MmapLock);
        let fault = {
            let locked = vma.lock.try_read()?;
            // Unmapped or cut meanwhile: what was found is not what is there.
            if vma.is_detached() || vpn < vma.start() || vpn >= vma.end() {
                return None;
            }
            self.fault_in_vma(cx, mm, &vma, &locked, vpn, write)
        };
        self.point(cx, Point::A9Unlock);
        Some(fault)
    }

    /// A2 to A8, under the area's lock.
    fn fault_in_vma(
        &self,
        cx: &Cx,
        mm: &Arc<Mm>,
        vma: &Vma,
        locked: &VmaLocked,
        vpn: Vpn,
        write: bool,
    ) -> Fault {
        // A2
        let Some(table) = self.pte_alloc(cx, mm, vpn) else { return Fault::NoMemory };
        let place = Place { mm, vma, locked, vpn, table: &table };
        let entry = table.ptl.lock()[PteTable::idx(vpn)];
        match entry {
            Pte::Anon(_) | Pte::Shmem(_) => Fault::Present,
            Pte::Zero | Pte::File(_) if !write => Fault::Present,
            Pte::File(_) if vma.has(VmFlags::SHARED) => Fault::Present,
            Pte::File(_) | Pte::Zero => self.anonymous_page(cx, &place, entry),
            Pte::Swap(_) => self.anonymous_page(cx, &place, entry),
            Pte::None => match vma.mapping() {
                Some(mapping) => self.mapping_fault(cx, &place, mapping, write),
                None if write => self.anonymous_page(cx, &place, entry),
                None => self.zero_page(cx, &place),
            },
        }
    }

    /// A3: a read of memory that was never written.
    fn zero_page(&self, cx: &Cx, place: &Place<'_>) -> Fault {
        self.point(cx, Point::A7Ptl);
        let mut entries = place.table.ptl.lock();
        let entry = &mut entries[PteTable::idx(place.vpn)];
        if *entry != Pte::None {
            return Fault::Present;
        }
        if place.mm.has(mmf::UNSTABLE) {
            return Fault::BusError;
        }
        *entry = Pte::Zero;
        Fault::Mapped
    }

    /// A page for the area at this place, by its policy (D.3): A5.
    fn alloc_for(&self, cx: &Cx, place: &Place<'_>) -> Option<Pfn> {
        self.point(cx, Point::A5Alloc);
        let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::ZERO;
        let index = u64::from(place.vma.index_of(place.vpn));
        self.alloc_pages_vma(cx, gfp, 0, place.locked.policy.as_deref(), index)
    }

    /// A5 to A8: a page of the process's own in the place of `old`, which is nothing, the zero
    /// page, a file's page of a private mapping, or a swap entry.
    fn anonymous_page(&self, cx: &Cx, place: &Place<'_>, old: Pte) -> Fault {
        let Some(pfn) = self.alloc_for(cx, place) else { return Fault::NoMemory };
        let fault = self.map_anonymous(cx, place, old, pfn);
        if fault != Fault::Mapped {
            self.free_pages(cx, pfn, 0);
            return fault;
        }
        match old {
            Pte::File(file_page) => {
                self.put_page(cx, file_page);
            }
            Pte::Swap(slot) => {
                self.reclaim.swap.free(slot);
                self.cpus[cx.cpu().index()].vm.pswpin.fetch_add(1, Ordering::Relaxed);
            }
            Pte::None | Pte::Zero | Pte::Anon(_) | Pte::Shmem(_) => {}
        }
        fault
    }

    /// A7 and A8.
    fn map_anonymous(&self, cx: &Cx, place: &Place<'_>, old: Pte, pfn: Pfn) -> Fault {
        let Place { mm, vma, table, vpn, .. } = *place;
        let idx = PteTable::idx(vpn);
        self.point(cx, Point::A7Ptl);
        let mut entries = table.ptl.lock();
        if entries[idx] != old {
            return Fault::Present;
        }
        // Swap-in brings back what was there: only fresh pages would be lies.
        if mm.has(mmf::UNSTABLE) && !matches!(old, Pte::Swap(_)) {
            return Fault::BusError;
        }
        match old {
            Pte::File(_) => mm.add_rss(Rss::File, -1),
            Pte::Swap(_) => mm.add_rss(Rss::Swap, -1),
            Pte::None | Pte::Zero | Pte::Anon(_) | Pte::Shmem(_) => {}
        }
        mm.add_rss(Rss::Anon, 1);
        let frame = self.frames.get(pfn);
        frame.rmap.store(table.slot(idx), Ordering::Relaxed);
        if vma.has(VmFlags::LOCKED) {
            frame.set_flags(flag::MLOCKED);
        }
        entries[idx] = Pte::Anon(pfn);
        self.lru_add_anon(cx, pfn);
        Fault::Mapped
    }

    /// A fault in a file or in shared memory.
    fn mapping_fault(
        &self,
        cx: &Cx,
        place: &Place<'_>,
        mapping: &Arc<Mapping>,
        write: bool,
    ) -> Fault {
        let index = place.vma.index_of(place.vpn);
        let found = self.find_or_add_page(cx, mapping, index, || self.alloc_for(cx, place));
        let Some(pfn) = found else { return Fault::NoMemory };
        let shared = place.vma.has(VmFlags::SHARED);
        if write && !shared {
            // The copy of a private mapping; the file's page was only needed to read from.
            let fault = self.anonymous_page(cx, place, Pte::None);
            self.put_page(cx, pfn);
            return fault;
        }
        let fault = self.map_file_page(cx, place, mapping, pfn, shared);
        if fault != Fault::Mapped {
            self.put_page(cx, pfn);
        }
        fault
    }

    fn map_file_page(
        &self,
        cx: &Cx,
        place: &Place<'_>,
        mapping: &Mapping,
        pfn: Pfn,
        shared: bool,
    ) -> Fault {
        self.point(cx, Point::A7Ptl);
        let mut entries = place.table.ptl.lock();
        let entry = &mut entries[PteTable::idx(place.vpn)];
        if *entry != Pte::None {
            return Fault::Present;
        }
        if place.mm.has(mmf::UNSTABLE) && !shared {
            return Fault::BusError;
        }
        if mapping.is_shmem() {
            *entry = Pte::Shmem(pfn);
            place.mm.add_rss(Rss::Shmem, 1);
        } else {
            *entry = Pte::File(pfn);
            place.mm.add_rss(Rss::File, 1);
        }
        if place.vma.has(VmFlags::LOCKED) {
            self.mlock_page(cx, pfn);
        }
        Fault::Mapped
    }

    /// VM_FAULT_OOM reached the handler: up to 5.15 it calls the OOM killer, later it only goes
    /// back to the instruction (`pagefault_out_of_memory`).
    pub fn pagefault_out_of_memory(&self, cx: &Cx) {
        if !self.policy.release.page_fault_oom_kills() {
            return;
        }
        let Some(_guard) = self.oom.lock.try_lock() else { return };
        let mut oc = OomControl::for_page_fault();
        self.out_of_memory(cx, &mut oc);
    }
}

/// Where a fault is.
#[derive(Clone, Copy)]
struct Place<'a> {
    mm: &'a Arc<Mm>,
    vma: &'a Vma,
    locked: &'a VmaLocked,
    vpn: Vpn,
    table: &'a Arc<PteTable>,
}
