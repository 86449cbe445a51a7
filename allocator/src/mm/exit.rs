//! The end of an address space: exit_mm, mmput, and the steps that exit_mmap consists of.
//!
//! **What.** docs/kernel/oom.md#e6 (exit_mm) and E.8: munlock, unmap, free_pgtables, finish. Labels
//! Q1 to Q8 are E.8's. The axis `exit` puts the steps in order: [`crate::policy::exit`].
//!
//! **Why.** The reaper may be walking the same areas. What keeps the two apart, and when
//! MMF_OOM_SKIP hides the mm from the next victim search, is change 2.
//!
//! **Source.** kernel/exit.c: exit_mm; kernel/fork.c: __mmput; mm/mmap.c: exit_mmap, by release.
//!
//! **Differs.** exit_aio, ksm_exit and khugepaged_exit are one race point; there are no notifiers.

use crate::mm::address_space::SkipBy;
use crate::mm::gather::MmuGather;
use crate::mm::page_table::Pte;
use crate::mm::{Mm, VmFlags, Vma, Vpn};
use crate::oracle::FindingKind;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Process, pf};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role};

impl Kernel {
    /// Ends current's use of its address space (`exit_mm`); the last user tears it down.
    pub fn exit_mm(&self, cx: &Cx) {
        let Some(mm) = cx.task.mm() else { return };
        {
            let _areas = mm.mmap_read_lock();
            cx.task.alloc_lock.lock().mm = None;
        }
        self.point_event(cx, Point::QExitMm, [u64::from(mm.users() - 1), 0, 0]);
        self.mmput(cx, mm);
        if cx.task.clear(pf::TIF_MEMDIE) & pf::TIF_MEMDIE != 0 {
            self.exit_oom_victim();
        }
    }

    /// Ends the task (`do_exit`). Its leader stays on the task list until
    /// [`Kernel::release_process`], as a zombie does.
    pub fn do_exit(&self, cx: &Cx) {
        cx.task.set(pf::EXITING);
        self.exit_mm(cx);
        cx.task.alloc_lock.lock().mempolicy = None;
        *cx.mempolicy.borrow_mut() = None;
        self.cpuset_exit(&cx.task);
        if cx.task.pid != cx.task.process.tgid {
            cx.task.process.threads.lock().retain(|t| !Arc::ptr_eq(t, &cx.task));
        }
    }

    /// Takes a process whose threads have all exited off the task list (`wait`, `release_task`).
    pub fn release_process(&self, process: &Arc<Process>) {
        self.tasks.remove(process);
        process.threads.lock().clear();
    }

    /// Drops a user of an address space; the last one tears it down (`mmput`).
    pub fn mmput(&self, cx: &Cx, mm: Arc<Mm>) {
        if mm.drop_user() {
            self.mmput_last(cx, &mm);
        }
    }

    /// As [`Kernel::mmput`], with the teardown left to a worker (`mmput_async`). Without a thread
    /// on this CPU the caller does it.
    pub fn mmput_async(&self, cx: &Cx, mm: Arc<Mm>) {
        if !mm.drop_user() {
            return;
        }
        let cpu = &self.cpus[cx.cpu().index()];
        if cpu.has_thread.load(Ordering::Relaxed) {
            let done = Arc::default();
            cpu.work.queue(Box::new(move |k: &Kernel, cx: &Cx| k.mmput_last(cx, &mm)), &done);
        } else {
            self.mmput_last(cx, &mm);
        }
    }

    /// `__mmput`.
    fn mmput_last(&self, cx: &Cx, mm: &Arc<Mm>) {
        self.point(cx, Point::QSlow);
        self.exit_mmap(cx, mm);
        mm.freed_at_ns.store(self.clock.now().0.max(1), Ordering::Relaxed);
    }

    fn exit_mmap(&self, cx: &Cx, mm: &Mm) {
        let _role = As::role(Role::Exit);
        self.policy.exit.tear_down(Teardown::new(self, cx, mm));
    }
}

/// A teardown in progress: the steps that the variants put in order.
pub(crate) struct Teardown<'a> {
    pub(crate) k: &'a Kernel,
    pub(crate) cx: &'a Cx,
    pub(crate) mm: &'a Mm,
    /// The areas. With mm_users 0 nobody changes them any more.
    areas: Vec<Arc<Vma>>,
    gather: Option<MmuGather>,
    generation: u32,
}

impl<'a> Teardown<'a> {
    fn new(k: &'a Kernel, cx: &'a Cx, mm: &'a Mm) -> Self {
        // Not a step of the kernel's: it reads `mm->mmap` without a lock here.
        let areas = mm.mmap_read_lock().iter().cloned().collect();
        let generation = k.mm.next_generation();
        Self { k, cx, mm, areas, gather: Some(k.tlb_gather()), generation }
    }

    pub(crate) fn notifier_release(&self) {
        self.k.point(self.cx, Point::Q1Notifier);
    }

    /// mmap_lock for writing.
    pub(crate) fn write_lock(&self) -> crate::mm::MmapWriteGuard<'a> {
        self.k.point(self.cx, Point::QLock);
        let guard = self.mm.mmap_write_lock_in_exit();
        self.k.point_event(self.cx, Point::QLocked, [0; 3]);
        guard
    }

    pub(crate) fn unlocks(&self) {
        self.k.point_event(self.cx, Point::QUnlock, [0; 3]);
    }

    pub(crate) fn skip(&self, by: SkipBy) {
        self.mm.set_oom_skip(by);
        self.k.point_event(self.cx, Point::QSkip, [0; 3]);
    }

    /// The exiting task does the reaper's work on its own mm, without mmap_lock.
    pub(crate) fn reap_itself(&self) {
        self.k.point_event(self.cx, Point::QReap, [0; 3]);
        self.k.reap_areas(self.cx, self.mm, self.areas.iter());
    }

    /// Ends the locks of mlocked areas, page by page, before the unmap (up to 5.17).
    pub(crate) fn munlock(&self) {
        for vma in self.areas.iter().filter(|vma| vma.has(VmFlags::LOCKED)) {
            // From here on the area looks reapable to a reaper.
            vma.set_flags(vma.flags() - VmFlags::LOCKED);
            self.k.point_event(self.cx, Point::QMunlock, [u64::from(vma.start().0), 0, 0]);
            self.munlock_area(vma);
        }
    }

    fn munlock_area(&self, vma: &Vma) {
        let (k, cx, mm) = (self.k, self.cx, self.mm);
        let mut looked_up: Vec<(Vpn, Pte)> = Vec::new();
        k.walk_present(mm, (vma.start(), vma.end()), |vpn, entry| {
            if entry.pfn().is_some() {
                looked_up.push((vpn, entry));
            }
            true
        });
        for (vpn, entry) in looked_up {
            // The page was looked up without a reference; a reaper that zaps the area now frees it
            // under munlock's hands.
            k.point(cx, Point::QMunlock);
            let still = mm.page_table.entry(vpn) == entry;
            match entry.pfn() {
                Some(pfn) if still => k.munlock_page(cx, pfn),
                Some(_) | None => {
                    let report = [
                        format!("munlock of mm {} has looked up vpn {vpn:#x} ({entry:?})", mm.id),
                        "a reaper that saw VM_LOCKED cleared has unmapped and freed the page"
                            .into(),
                    ];
                    let title = "munlock works on a page that the reaper freed";
                    k.find(cx, FindingKind::UseAfterFree, title, &report);
                    return;
                }
            }
        }
    }

    /// U: unmap_vmas. The last pages stay in the batch until [`Teardown::finish`].
    pub(crate) fn unmap(&mut self) {
        let Some(gather) = &mut self.gather else { return };
        for vma in &self.areas {
            let range = (vma.start(), vma.end());
            self.k.unmap_page_range(self.cx, self.mm, vma, range, gather);
        }
        for vma in &self.areas {
            self.k.check_unmapped(self.mm, (vma.start(), vma.end()));
        }
        self.k.point_event(self.cx, Point::QUnmapDone, [gather.unmapped, 0, 0]);
    }

    /// P: the page tables become tombstones, their pages wait in the batch.
    pub(crate) fn free_pgtables(&mut self) {
        let (Some(first), Some(last)) = (self.areas.first(), self.areas.last()) else { return };
        let Some(gather) = &mut self.gather else { return };
        let range = (first.start(), last.end());
        let everywhere = (Vpn(0), Vpn(u32::MAX));
        let mut tables = Vec::new();
        self.k.free_pgtables(self.mm, range, everywhere, Some(self.generation), &mut tables);
        self.k.charge_unmap(self.cx, tables.len() as u64);
        for page in tables {
            gather.push(page);
        }
        self.k.point_event(self.cx, Point::QPgtables, [0; 3]);
    }

    /// F: the last batch is freed, the areas become tombstones, their slab is given back.
    pub(crate) fn finish(&mut self) {
        if let Some(gather) = self.gather.take() {
            self.k.tlb_finish(self.cx, gather);
        }
        for vma in &self.areas {
            vma.bury(self.generation);
        }
        let slab = self.mm.take_slab();
        for page in slab {
            self.k.free_pages(self.cx, page, 0);
        }
        self.mm.total_vm.store(0, Ordering::Relaxed);
        self.mm.locked_vm.store(0, Ordering::Relaxed);
        self.k.victim_memory_freed(self.mm);
        self.mm.generation.store(self.generation, Ordering::Relaxed);
        self.k.point_event(self.cx, Point::QFinish, [0; 3]);
    }

    /// `mm->mmap = NULL`, or the tree is destroyed: walks that begin later find nothing.
    pub(crate) fn forget_areas(&self) {
        self.mm.areas_gone.store(true, Ordering::Relaxed);
    }
}
