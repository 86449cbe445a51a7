//! Walking a dying address space to free its memory, and process_mrelease, which asks for that.
//!
//! **What.** R3 of docs/kernel/oom.md#e7: which areas a release reaps, and what it finds if it
//! comes too late. The reaper, exit_mmap's own reaping and process_mrelease share it.
//!
//! **Source.** mm/oom_kill.c: __oom_reap_task_mm, process_mrelease.
//!
//! **Differs.** A freed area or table is a tombstone: the walk reports it and stops.

use crate::mm::address_space::mmf;
use crate::mm::gather::Unmapped;
use crate::mm::{Mm, VmFlags, Vma};
use crate::oom::reaper::{Mrelease, ReaperRules, add};
use crate::oracle::FindingKind;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Process};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role};

/// What a walk over a dying mm did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Pages unmapped.
    pub pages: u64,
    /// Pages that it passed over by the rules of its release.
    pub left: u64,
    /// It came upon something freed, which was reported.
    pub tombstone: bool,
}

/// Why process_mrelease did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MreleaseError {
    /// The release has no such call.
    #[error("process_mrelease does not exist in this release (ENOSYS)")]
    Missing,
    /// The process has no mm any more.
    #[error("the process has no address space any more (ESRCH)")]
    Gone,
    /// The process is not dying.
    #[error("the process is not dying (EINVAL)")]
    NotDying,
}

impl Kernel {
    /// R3 (`__oom_reap_task_mm`): unmaps what may be unmapped of each area in turn, from 6.18 on the
    /// last one first. The caller holds mmap_lock for reading, or is exit_mmap itself.
    pub(crate) fn reap_areas<'a>(
        &self,
        cx: &Cx,
        mm: &Mm,
        areas: impl DoubleEndedIterator<Item = &'a Arc<Vma>>,
    ) -> Reaped {
        let rules = self.reaper_rules();
        mm.set(mmf::UNSTABLE);
        let mut reaped = Reaped::default();
        let (mut areas, reverse) = (areas, self.policy.release.reaps_in_reverse());
        while let Some(vma) = if reverse { areas.next_back() } else { areas.next() } {
            if let Some(generation) = vma.freed() {
                self.report_dead_area(cx, mm, vma, generation);
                reaped.tombstone = true;
                break;
            }
            let range = (vma.start(), vma.end());
            self.point_event(cx, Point::R3Vma, [u64::from(range.0.0), u64::from(vma.pages()), 0]);
            if !is_reapable(vma, rules) {
                reaped.left += self.nr_present(mm, range);
                continue;
            }
            let mut gather = self.tlb_gather();
            let walked = self.unmap_page_range(cx, mm, vma, range, &mut gather);
            reaped.pages += gather.unmapped;
            self.tlb_finish(cx, gather);
            if walked == Unmapped::Tombstone {
                reaped.tombstone = true;
                break;
            }
        }
        mm.left_by_reaper.store(reaped.left, Ordering::Relaxed);
        reaped
    }

    fn report_dead_area(&self, cx: &Cx, mm: &Mm, vma: &Vma, generation: u32) {
        self.point_event(cx, Point::UafWalk, [u64::from(vma.start().0), 0, 0]);
        let report = [
            format!(
                "area {:#x}-{:#x} of mm {} was freed by exit_mmap (teardown {generation})",
                vma.start(),
                vma.end(),
                mm.id
            ),
            format!("{} (pid {}) walks it", cx.task.process.comm, cx.task.pid),
            format!("MMF_OOM_SKIP was set by {}", mm.skip_by().describe()),
        ];
        self.find(cx, FindingKind::UseAfterFree, "a freed VMA is walked", &report);
    }

    /// `process_mrelease`: reaps a dying process from another one. Returns the pages unmapped.
    ///
    /// # Errors
    /// [`MreleaseError`].
    pub fn process_mrelease(&self, cx: &Cx, victim: &Arc<Process>) -> Result<u64, MreleaseError> {
        let _role = As::role(Role::Mrelease);
        let rules = self.reaper_rules();
        let holds_users = match rules.mrelease {
            Mrelease::None => return Err(MreleaseError::Missing),
            Mrelease::HoldsUsers => true,
            Mrelease::HoldsCount => false,
        };
        let mm = self.find_mm(victim).ok_or(MreleaseError::Gone)?;
        if !self.task_will_free_mem(victim, &mm) {
            // Hidden already: there is nothing left to do (5.17+).
            let done = !holds_users && mm.has(mmf::OOM_SKIP);
            return if done { Ok(0) } else { Err(MreleaseError::NotDying) };
        }
        if holds_users && !mm.mmget_not_zero() {
            return Err(MreleaseError::Gone);
        }
        let mut pages = 0;
        self.point_event(cx, Point::MrGrab, [u64::from(victim.tgid), 0, 0]);
        // MMF_OOM_SKIP was seen clear above; the next look is under the lock, with none between.
        let areas = mm.mmap_read_lock();
        let hidden = !holds_users && mm.has(mmf::OOM_SKIP);
        let gone = mm.areas_gone.load(Ordering::Relaxed);
        self.point_event(cx, Point::MrLocked, [u64::from(hidden || gone), 0, 0]);
        if !hidden && !gone {
            pages = self.reap_areas(cx, &mm, areas.iter()).pages;
            add(&self.oom.reaper.stats.mreleased, 1);
        }
        drop(areas);
        if holds_users {
            self.mmput(cx, mm);
        }
        Ok(pages)
    }

    /// The mm of the first thread that still has one (`find_lock_task_mm`).
    fn find_mm(&self, process: &Process) -> Option<Arc<Mm>> {
        let threads = process.threads.lock().clone();
        threads.iter().find_map(|thread| thread.mm())
    }
}

/// May the walk unmap this area?
fn is_reapable(vma: &Vma, rules: ReaperRules) -> bool {
    let spared = vma.has(VmFlags::HUGETLB) || !rules.reaps_mlocked && vma.has(VmFlags::LOCKED);
    !spared && (vma.is_anonymous() || !vma.has(VmFlags::SHARED))
}
