//! Killing the chosen process (`oom_kill_process`, docs/kernel/oom.md#e6, steps V1 to V13).
//!
//! **What.** The silent case V1, the report V2, the thread with the mm V5, SIGKILL V6 *before* the
//! mark V7 (no reserves for user code), sharers V10, the reaper V11.
//!
//! **Why task_lock matters.** exit_mm needs it, so a victim can't give up its mm between V5 and V9.
//!
//! **Source.** mm/oom_kill.c: oom_kill_process, __oom_kill_process, mark_oom_victim.
//!
//! **Differs.** task_will_free_mem of V1 is asked before task_lock is taken, since it looks at
//! other processes' threads; that the mm is still there is tested under the lock.

use crate::mm::Mm;
use crate::mm::address_space::{SkipBy, mmf};
use crate::oom::usage::MmUsage;
use crate::oom::{Chosen, OomControl, shares_mm};
use crate::oracle::FindingKind;
use crate::policy::release::OomKillLine;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Process, Task, TaskLocked, pf};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;

impl Kernel {
    /// V1 to V13 for the process that was chosen.
    pub fn oom_kill_process(&self, cx: &Cx, oc: &OomControl<'_>, message: &str) {
        let Chosen::Victim(process, points) = &oc.chosen else { return };
        let tgid = u64::from(process.tgid);
        self.point_event(cx, Point::V5Victim, [tgid, points.unsigned_abs(), 0]);
        // V1
        let leader = process.threads.lock().first().cloned();
        if let Some(leader) = leader
            && let Some(mm) = leader.mm()
            && self.task_will_free_mem(process, &mm)
        {
            self.mark_silently(cx, &leader);
            return;
        }
        // V2
        if self.oom.ratelimit.allows(self.clock.now().0) {
            for line in self.dump_header(cx, oc, Some(process)) {
                self.printk(cx, &line);
            }
        }
        if self.policy.release.oom_kill_line() == OomKillLine::KillAndKilled {
            self.printk(cx, &kill_line(message, process, *points, oc.totalpages));
        }
        // V3 and V4: see the module [`super`].
        self.do_oom_kill_process(cx, oc, process, message);
    }

    /// X3, V1: a task that is dying anyway is marked, and its mm queued for the reaper.
    pub(crate) fn mark_silently(&self, cx: &Cx, task: &Arc<Task>) {
        let mut locked = task.alloc_lock.lock();
        let Some(mm) = locked.mm.clone() else { return };
        self.oom.stats.silent_marks.fetch_add(1, Ordering::Relaxed);
        self.mark_oom_victim(cx, task, &mut locked, &mm);
        drop(locked);
        self.queue_oom_reaper(cx, task, &mm);
    }

    /// V5 to V12 (`__oom_kill_process`).
    fn do_oom_kill_process(
        &self,
        cx: &Cx,
        oc: &OomControl<'_>,
        process: &Arc<Process>,
        message: &str,
    ) {
        // The oracle looks before task_lock is taken: the report reads all tasks.
        if process.find_task_mm().is_some() {
            self.judge(cx, oc, process, message);
        }
        // V5: the first thread that still has an mm; its task_lock is held until V9.
        let threads = process.threads.lock().clone();
        let found = threads.iter().find_map(|t| {
            let locked = t.alloc_lock.lock();
            let mm = locked.mm.clone()?;
            Some((t, locked, mm))
        });
        let Some((task, mut locked, mm)) = found else {
            if self.policy.release.reports_exiting_victim() {
                self.printk(cx, &already_exiting_line(message, process));
            }
            return;
        };
        // V6
        self.point_event(cx, Point::V6Kill, [u64::from(process.tgid), 0, 0]);
        self.cpus[cx.cpu().index()].vm.oom_kill.fetch_add(1, Ordering::Relaxed);
        let now_ns = self.clock.now().0;
        process.killed_at_ns.store(now_ns, Ordering::Relaxed);
        self.oom.stats.note_kill(&mm, now_ns);
        process.kill();
        // V7
        self.mark_oom_victim(cx, task, &mut locked, &mm);
        // V8
        self.printk(cx, &self.killed_line(message, process, &mm));
        // V9
        drop(locked);
        // V10
        let mut is_reapable = true;
        for other in self.tasks.snapshot() {
            if other.tgid == process.tgid || !shares_mm(&other, &mm) {
                continue;
            }
            if self.oom.init_tgid.load(Ordering::Relaxed) == other.tgid {
                is_reapable = false;
                mm.set_oom_skip(SkipBy::SharedWithInit);
                self.printk(cx, &pinned_line(process, &other));
                continue;
            }
            if !other.is_kthread() {
                self.point_event(cx, Point::V10Sharer, [u64::from(other.tgid), 0, 0]);
                other.kill();
            }
        }
        // V11
        if is_reapable {
            self.point_event(cx, Point::V11Wake, [u64::from(process.tgid), 0, 0]);
            self.queue_oom_reaper(cx, task, &mm);
        }
    }

    /// V7 (`mark_oom_victim`), under task_lock of the task: the thread gets TIF_MEMDIE, the group
    /// its oom_mm, once.
    pub(crate) fn mark_oom_victim(
        &self,
        cx: &Cx,
        task: &Task,
        _locked: &mut TaskLocked,
        mm: &Arc<Mm>,
    ) {
        if task.set(pf::TIF_MEMDIE) & pf::TIF_MEMDIE != 0 {
            return;
        }
        task.process.set_oom_mm(mm);
        mm.set(mmf::OOM_VICTIM);
        self.oom.victims.fetch_add(1, Ordering::Relaxed);
        self.point_event(cx, Point::V7Mark, [u64::from(task.pid), 0, 0]);
    }

    /// The oracle's look at a kill that is about to happen.
    fn judge(&self, cx: &Cx, oc: &OomControl<'_>, process: &Arc<Process>, message: &str) {
        if let Some(req) = &oc.req {
            let was_premature = cx.request.borrow().premature;
            let kind = self.judge_kill(cx, req);
            let (kills, zone) = {
                let log = cx.request.borrow();
                (log.kills, log.zone)
            };
            if kills == 1 {
                self.oom.stats.episodes.fetch_add(1, Ordering::Relaxed);
            }
            if kind == Some(FindingKind::PrematureOom) {
                self.oom.stats.premature_kills.fetch_add(1, Ordering::Relaxed);
            }
            // All kills of a request are one episode, told once.
            if let Some(kind) = kind.filter(|k| *k != FindingKind::PrematureOom || !was_premature) {
                let comm = &cx.task.process.comm;
                let title = format!("{comm} killed {} ({})", process.comm, process.tgid);
                self.find_with(cx, kind, &title, || {
                    let mut report = self.dump_header(cx, oc, Some(process));
                    report.push(self.kill_summary(message, process));
                    report.extend(self.why_premature(kind, zone));
                    report
                });
            }
        }
        self.judge_extra_victim(cx, oc, process, message);
    }

    /// The line that tells the kill, in the release's form.
    pub(crate) fn kill_summary(&self, message: &str, process: &Process) -> String {
        match process.find_task_mm() {
            Some((_, mm)) => self.killed_line(message, process, &mm),
            None => format!("Killed process {} ({})", process.tgid, process.comm),
        }
    }

    /// V8's line.
    fn killed_line(&self, message: &str, process: &Process, mm: &Mm) -> String {
        let u = MmUsage::of(mm);
        let kb = |pages: u64| pages << 2;
        let sizes = format!(
            "Killed process {} ({}) total-vm:{}kB, anon-rss:{}kB, file-rss:{}kB, shmem-rss:{}kB",
            process.tgid,
            process.comm,
            kb(u.total_vm),
            kb(u.anon),
            kb(u.file),
            kb(u.shmem),
        );
        match self.policy.release.oom_kill_line() {
            OomKillLine::KillAndKilled => sizes,
            OomKillLine::Killed => format!(
                "{message}: {sizes}, UID:{} pgtables:{}kB oom_score_adj:{}",
                process.uid,
                u.pgtables_bytes >> 10,
                process.oom_score_adj.load(Ordering::Relaxed),
            ),
        }
    }
}

/// V3's line up to 5.0: the score is in thousandths.
fn kill_line(message: &str, process: &Process, points: i64, totalpages: u64) -> String {
    let score = points.saturating_mul(1000) / (totalpages.max(1) as i64);
    let (tgid, comm) = (process.tgid, &process.comm);
    format!("{message}: Kill process {tgid} ({comm}) score {score} or sacrifice child")
}

fn already_exiting_line(message: &str, process: &Process) -> String {
    let (tgid, comm) = (process.tgid, &process.comm);
    format!("{message}: OOM victim {tgid} ({comm}) is already exiting. Skip killing the task")
}

fn pinned_line(victim: &Process, by: &Process) -> String {
    format!(
        "oom killer {} ({}) has mm pinned by {} ({})",
        victim.tgid, victim.comm, by.tgid, by.comm
    )
}
