//! Who may be chosen, and how bad it is (`oom_badness`, `select_bad_process`).
//!
//! **What.** docs/kernel/oom.md#e3 to #e5: eligibility by task policy or cpuset of *some* thread,
//! the search that stops at a victim in flight, and the points.
//!
//! **Source.** mm/oom_kill.c: oom_unkillable_task, oom_cpuset_eligible, oom_evaluate_task,
//! oom_badness; mm/mempolicy.c: mempolicy_in_oom_domain.
//!
//! **Differs.** uid 0 stands for CAP_SYS_ADMIN (4.14 and older take 3 % off). Page tables are known
//! by bytes alone: nr_ptes + nr_pmds is their number of pages. vfork does not exist.

use crate::mempolicy::Mode;
use crate::mm::Mm;
use crate::mm::address_space::mmf;
use crate::nodemask::NodeMask;
use crate::oom::usage::MmUsage;
use crate::oom::{Chosen, OomControl};
use crate::policy::release::{Badness, OomDomain};
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Process, Task, pf};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;

/// oom_score_adj of a process that is never killed.
pub const OOM_SCORE_ADJ_MIN: i32 = -1000;

/// Points by a release's formula; the adjustment is in thousandths of `totalpages`, divided before
/// it is multiplied.
pub fn badness_points(form: Badness, usage: &MmUsage, is_root: bool, adj: i32, total: u64) -> i64 {
    let used = usage.rss() + usage.swapents + usage.pgtables_bytes / crate::ids::PAGE_SIZE;
    let used = used as i64;
    let adjustment = i64::from(adj) * (total / 1000) as i64;
    match form {
        Badness::RootBonus => {
            let bonus = if is_root { used * 3 / 100 } else { 0 };
            (used - bonus + adjustment).max(1)
        }
        Badness::Floor1 => (used + adjustment).max(1),
        Badness::Signed => used + adjustment,
    }
}

impl Process {
    /// The first thread that still has an mm, and the mm (`find_lock_task_mm` without the lock).
    pub fn find_task_mm(&self) -> Option<(Arc<Task>, Arc<Mm>)> {
        let threads = self.threads.lock().clone();
        threads.into_iter().find_map(|t| {
            let mm = t.mm()?;
            Some((t, mm))
        })
    }

    /// Does it run without user memory, as kernel threads do?
    pub fn is_kthread(&self) -> bool {
        self.threads.lock().iter().any(|t| t.has(pf::KTHREAD))
    }
}

impl Kernel {
    /// Global init, kernel threads: never killed (`oom_unkillable_task`).
    pub fn is_oom_unkillable(&self, process: &Process) -> bool {
        self.oom.init_tgid.load(Ordering::Relaxed) == process.tgid || process.is_kthread()
    }

    /// May killing it help: does some thread allocate where memory is short (E.3)?
    pub fn is_oom_eligible(&self, cx: &Cx, process: &Process, oc: &OomControl<'_>) -> bool {
        let nodemask = oc.nodemask.load();
        let mems = cx.task.mems_allowed.load();
        process.threads.lock().iter().any(|thread| match &nodemask {
            Some(nodes) => self.is_in_oom_domain(thread, nodes),
            // Plain reads, maybe in the middle of an update: more nodes for a moment, never fewer.
            None => thread.mems_allowed.load().intersects(&mems),
        })
    }

    /// `mempolicy_in_oom_domain`: task policies only, whatever the VMAs' say.
    fn is_in_oom_domain(&self, thread: &Task, nodes: &NodeMask) -> bool {
        let Some(policy) = thread.alloc_lock.lock().mempolicy.clone() else { return true };
        let is_compared = match (policy.mode, self.policy.release.oom_domain()) {
            (Mode::Bind, _) | (Mode::Interleave, OomDomain::BindAndInterleave) => true,
            (
                Mode::Default
                | Mode::Preferred
                | Mode::Interleave
                | Mode::Local
                | Mode::PreferredMany
                | Mode::WeightedInterleave,
                _,
            ) => false,
        };
        !is_compared || policy.nodes.load().intersects(nodes)
    }

    /// Points of a process; None: not to be killed (`oom_badness`).
    pub fn oom_badness(&self, process: &Process, totalpages: u64) -> Option<i64> {
        if self.is_oom_unkillable(process) {
            return None;
        }
        let (_, mm) = process.find_task_mm()?;
        let adj = process.oom_score_adj.load(Ordering::Relaxed);
        if adj == OOM_SCORE_ADJ_MIN || mm.has(mmf::OOM_SKIP) {
            return None;
        }
        let form = self.policy.release.badness();
        let is_root = process.uid == 0;
        Some(badness_points(form, &MmUsage::of(&mm), is_root, adj, totalpages))
    }

    /// X8: looks through the task list for the worst process (`select_bad_process`).
    pub fn select_bad_process(&self, cx: &Cx, oc: &mut OomControl<'_>) {
        oc.chosen = Chosen::None;
        for process in self.tasks.snapshot() {
            if !self.oom_evaluate_task(cx, oc, &process) {
                break;
            }
        }
    }

    /// One step of the search; false: it ends here.
    fn oom_evaluate_task(&self, cx: &Cx, oc: &mut OomControl<'_>, process: &Arc<Process>) -> bool {
        if self.is_oom_unkillable(process) || !self.is_oom_eligible(cx, process, oc) {
            return true;
        }
        let tgid = u64::from(process.tgid);
        if !oc.is_sysrq()
            && let Some(mm) = process.oom_mm()
        {
            if mm.has(mmf::OOM_SKIP) {
                self.point_event(cx, Point::E4Skip, [tgid, 0, 0]);
                return true;
            }
            self.point_event(cx, Point::E4Abort, [tgid, 0, 0]);
            oc.chosen = Chosen::Abort;
            return false;
        }
        if process.threads.lock().first().is_some_and(|t| t.has(pf::OOM_ORIGIN)) {
            oc.chosen = Chosen::Victim(Arc::clone(process), i64::MAX);
            return true;
        }
        let Some(points) = self.oom_badness(process, oc.totalpages) else { return true };
        let is_worse = match &oc.chosen {
            Chosen::None | Chosen::Abort => true,
            Chosen::Victim(_, best) if self.policy.release.oom_tie_goes_to_later() => {
                points >= *best
            }
            Chosen::Victim(_, best) => points > *best,
        };
        if is_worse {
            oc.chosen = Chosen::Victim(Arc::clone(process), points);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(rss: u64, swapents: u64, pgtables_bytes: u64) -> MmUsage {
        MmUsage { anon: rss, swapents, pgtables_bytes, ..MmUsage::default() }
    }

    /// docs/kernel/oom.md#e5, row by row.
    #[test]
    fn points_follow_each_release_s_formula() {
        let u = usage(1000, 50, 3 * 4096 + 17);
        for (form, is_root, adj, total, points) in [
            (Badness::RootBonus, false, 0, 100_000, 1053),
            (Badness::RootBonus, true, 0, 100_000, 1053 - 31),
            (Badness::RootBonus, true, -500, 100_000, 1),
            (Badness::Floor1, true, 0, 100_000, 1053),
            (Badness::Floor1, true, 10, 100_999, 1053 + 1000),
            (Badness::Floor1, true, -20, 100_000, 1),
            (Badness::Signed, true, -20, 100_000, 1053 - 2000),
            (Badness::Signed, true, 300, 999, 1053),
        ] {
            assert_eq!(badness_points(form, &u, is_root, adj, total), points, "{form:?} {adj}");
        }
    }
}
