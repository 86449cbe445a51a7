//! The OOM killer (`out_of_memory`, docs/kernel/oom.md).
//!
//! **What.** The steps X1 to X11 and the state that is global in the kernel. [`constraint`] says
//! why memory is short, [`badness`] who is to go, [`kill`] does it (V1 to V13), [`reaper`] takes
//! the victim's memory, [`dump`] and [`mem_info`] build the report, [`usage`] is what an address
//! space is measured by.
//!
//! **Why the labels.** E.4 step 2 before step 4, V6 before V7, X3 before X4: each order is the
//! subject of a race, and timelines name the steps.
//!
//! **Source.** mm/oom_kill.c.
//!
//! **Differs.** No memory cgroups, so no oom.group; no notifier chain (X2). Processes have no
//! parents, so that nobody is sacrificed for one (V3, up to 5.0).

pub mod badness;
pub mod constraint;
pub mod dump;
pub mod kill;
pub mod mem_info;
pub mod ratelimit;
pub mod reap_mm;
pub mod reaper;
pub mod usage;

#[cfg(test)]
mod report_tests;
#[cfg(test)]
mod tests;

use crate::gfp::Gfp;
use crate::ids::ZoneIdx;
use crate::mm::Mm;
use crate::mm::address_space::mmf;
use crate::oom::badness::OOM_SCORE_ADJ_MIN;
use crate::oom::constraint::Constraint;
use crate::oom::ratelimit::RateLimit;
use crate::oom::reaper::ReaperState;
use crate::oracle::FindingKind;
use crate::page_alloc::slow::Request;
use crate::page_alloc::{AllocContext, Nodemask};
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Process, WaitQueue, pf};
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use crate::sync::lock::named;
use crate::sync::{self, Arc, Lock, Mutex, Stamp};
use crate::zonelist::Zonelist;

/// Global state of the OOM killer.
#[derive(Debug, Default)]
pub struct OomState {
    /// oom_lock: only trylocked by the allocator.
    pub lock: Lock<named::Oom, ()>,
    /// oom_killer_disabled: no kills while the machine is frozen.
    pub disabled: AtomicBool,
    /// oom_victims: marked threads that still have their mm.
    pub victims: AtomicI64,
    /// Who waits for it to become 0.
    pub(crate) victims_wait: WaitQueue,
    /// vm.panic_on_oom: 0, 1, 2.
    pub panic_on_oom: AtomicU32,
    /// vm.oom_kill_allocating_task.
    pub kill_allocating_task: AtomicBool,
    /// The process that plays init: never killed; 0: none.
    pub init_tgid: AtomicU32,
    /// Limits the reports.
    pub(crate) ratelimit: RateLimit,
    /// Counters beside vmstat's oom_kill.
    pub stats: OomStats,
    /// The reaper.
    pub reaper: ReaperState,
}

/// What the record tells about OOM kills beside vmstat.
#[derive(Debug, Default)]
pub struct OomStats {
    /// Requests that killed at least once: all kills of one request are one episode.
    pub episodes: AtomicU64,
    /// Kills that the oracle calls premature; findings count the first one of an episode.
    pub premature_kills: AtomicU64,
    /// Dying tasks marked without a kill (X3, V1).
    pub silent_marks: AtomicU64,
    /// Searches that stopped at a victim in flight (E.4 step 2).
    pub aborted_searches: AtomicU64,
    /// Victims whose memory has not been seen free yet: mm and time of the kill, in model ns.
    dying: Mutex<Vec<(u32, u64)>>,
    /// From kill to memory freed, in model ns.
    kill_to_free_ns: Mutex<Vec<u64>>,
}

impl OomStats {
    /// V6: the clock of this victim starts.
    pub(crate) fn note_kill(&self, mm: &Mm, now_ns: u64) {
        let mut dying = self.dying.lock();
        if dying.iter().all(|(id, _)| *id != mm.id) {
            dying.push((mm.id, now_ns));
        }
    }

    /// Takes the times from kill to memory freed, in model ns.
    pub fn take_kill_to_free_ns(&self) -> Vec<u64> {
        std::mem::take(&mut *self.kill_to_free_ns.lock())
    }
}

/// `oc->chosen`.
#[derive(Clone, Debug, Default)]
pub enum Chosen {
    /// Nobody.
    #[default]
    None,
    /// -1: a victim is still dying, so nobody else is to go.
    Abort,
    /// A process and its points.
    Victim(Arc<Process>, i64),
}

/// `struct oom_control`.
#[derive(Debug)]
pub struct OomControl<'a> {
    /// The request that could not be served, for the oracle; None for sysrq.
    pub req: Option<Request<'a>>,
    /// Its zonelist.
    pub zonelist: Option<&'a Zonelist>,
    /// `ac->nodemask` as it is now; X5 may drop it.
    pub nodemask: Nodemask<'a>,
    /// Its flags.
    pub gfp: Gfp,
    /// Its order; -1: sysrq.
    pub order: i32,
    /// Its highest zone.
    pub highest: ZoneIdx,
    /// What X5 found.
    pub constraint: Constraint,
    /// Pages that badness is measured by.
    pub totalpages: u64,
    /// Whom X8 chose.
    pub chosen: Chosen,
    /// When the last look for a page (O2) had failed.
    pub since: Stamp,
}

impl<'a> OomControl<'a> {
    /// For a request in the slow path (O4).
    pub fn for_request(req: &Request<'a>, ac: &AllocContext<'a>) -> Self {
        Self {
            req: Some(*req),
            zonelist: Some(ac.zonelist.get()),
            nodemask: ac.nodemask.get(),
            gfp: req.gfp,
            order: i32::from(req.order),
            highest: ac.highest_zoneidx,
            ..Self::bare(req.gfp, ac.highest_zoneidx)
        }
    }

    /// For sysrq-f: order -1, GFP_KERNEL, the zonelist of a node with memory.
    pub fn for_sysrq(zonelist: &'a Zonelist) -> Self {
        Self { zonelist: Some(zonelist), ..Self::bare(Gfp::KERNEL, Gfp::KERNEL.zone()) }
    }

    /// For the page-fault handler (up to 5.15): no request, no zonelist, gfp 0.
    pub fn for_page_fault() -> Self {
        Self { order: 0, ..Self::bare(Gfp::empty(), ZoneIdx::Movable) }
    }

    fn bare(gfp: Gfp, highest: ZoneIdx) -> Self {
        Self {
            req: None,
            zonelist: None,
            nodemask: Nodemask::None,
            gfp,
            order: -1,
            highest,
            constraint: Constraint::None,
            totalpages: 0,
            chosen: Chosen::None,
            since: sync::stamp(),
        }
    }

    /// Was it asked for by hand (`is_sysrq_oom`)?
    pub fn is_sysrq(&self) -> bool {
        self.order == -1
    }
}

impl Kernel {
    /// Chooses and kills (X1 to X11, docs/kernel/oom.md#e1). True: progress.
    pub fn out_of_memory(&self, cx: &Cx, oc: &mut OomControl<'_>) -> bool {
        // X1. X2: there is no notifier chain.
        if self.oom.disabled.load(Ordering::Relaxed) {
            return false;
        }
        // X3: a dying task gets its way out instead of a victim.
        if let Some(mm) = cx.task.mm()
            && self.task_will_free_mem(&cx.task.process, &mm)
        {
            self.point_event(cx, Point::X3WillFree, [u64::from(cx.task.pid), 0, 0]);
            self.mark_silently(cx, &cx.task);
            return true;
        }
        // X4: the page-fault handler's 0 is no mask.
        if !oc.gfp.is_empty() && !oc.gfp.contains(Gfp::FS) {
            return true;
        }
        // X5
        (oc.constraint, oc.totalpages) = self.constrained_alloc(cx, oc);
        if oc.constraint != Constraint::MemoryPolicy {
            oc.nodemask = Nodemask::None;
        }
        self.point_event(cx, Point::X5Constraint, [oc.constraint as u64, oc.totalpages, 0]);
        // X6
        if self.panics_on_oom(oc) {
            self.oom_panic(cx, oc, "Out of memory: compulsory panic_on_oom");
            return false;
        }
        // X7
        if self.oom.kill_allocating_task.load(Ordering::Relaxed)
            && !oc.is_sysrq()
            && self.may_kill_current(cx, oc)
        {
            oc.chosen = Chosen::Victim(Arc::clone(&cx.task.process), 0);
            self.oom_kill_process(cx, oc, "Out of memory (oom_kill_allocating_task)");
            return true;
        }
        // X8
        self.point_event(cx, Point::X8Select, [0; 3]);
        self.select_bad_process(cx, oc);
        match &oc.chosen {
            // X9
            Chosen::None => {
                if !oc.is_sysrq() {
                    let message = if self.policy.release.no_victim_is_reported() {
                        "System is deadlocked on memory"
                    } else {
                        "Out of memory and no killable processes..."
                    };
                    self.oom_panic(cx, oc, message);
                }
                false
            }
            Chosen::Abort => {
                self.oom.stats.aborted_searches.fetch_add(1, Ordering::Relaxed);
                true
            }
            // X10
            Chosen::Victim(..) => {
                let message =
                    if oc.is_sysrq() { "Manual (sysrq) OOM kill" } else { "Out of memory" };
                self.oom_kill_process(cx, oc, message);
                if self.policy.release.oom_sleeps_after_kill() {
                    self.clock.sleep_ticks(1);
                }
                true
            }
        }
    }

    fn panics_on_oom(&self, oc: &OomControl<'_>) -> bool {
        match self.oom.panic_on_oom.load(Ordering::Relaxed) {
            0 => false,
            1 => oc.constraint == Constraint::None && !oc.is_sysrq(),
            _ => !oc.is_sysrq(),
        }
    }

    fn may_kill_current(&self, cx: &Cx, oc: &OomControl<'_>) -> bool {
        let process = &cx.task.process;
        cx.task.mm().is_some()
            && !self.is_oom_unkillable(process)
            && self.is_oom_eligible(cx, process, oc)
            && process.oom_score_adj.load(Ordering::Relaxed) != OOM_SCORE_ADJ_MIN
    }

    /// The end: the report, the finding `panic`, and the run is aborted.
    fn oom_panic(&self, cx: &Cx, oc: &OomControl<'_>, message: &str) {
        let mut report = self.dump_header(cx, oc, None);
        if self.policy.release.no_victim_is_reported() && matches!(oc.chosen, Chosen::None) {
            report.push("Out of memory and no killable processes...".to_owned());
        }
        report.push(format!("Kernel panic - not syncing: {message}"));
        for line in &report {
            self.printk(cx, line);
        }
        self.find(cx, FindingKind::Panic, message, &report);
        self.clock.abort();
    }

    /// sysrq-f: kills the worst process of the machine. True: one was killed, or is dying.
    pub fn sysrq_oom_kill(&self, cx: &Cx) -> bool {
        let node = self.n_memory.load().first().unwrap_or_default();
        let _guard = self.oom.lock.lock();
        let mut oc = OomControl::for_sysrq(self.zonelists.fallback(node));
        self.out_of_memory(cx, &mut oc)
    }

    /// Will the process free its memory by itself soon (`task_will_free_mem`)? `mm` is its.
    pub fn task_will_free_mem(&self, process: &Process, mm: &Arc<Mm>) -> bool {
        if !is_group_exiting(process) || mm.has(mmf::OOM_SKIP) {
            return false;
        }
        // Nobody else can hold the memory.
        if mm.users() <= 1 {
            return true;
        }
        let others = self.tasks.snapshot();
        others
            .iter()
            .filter(|p| p.tgid != process.tgid && shares_mm(p, mm))
            .all(|p| is_group_exiting(p))
    }

    /// A thread has given up its mm in exit_mm, and its TIF_MEMDIE (`exit_oom_victim`).
    pub fn exit_oom_victim(&self) {
        let left = self.oom.victims.fetch_sub(1, Ordering::Relaxed) - 1;
        debug_assert!(left >= 0, "more victims left than were marked");
        if left == 0 {
            self.oom.victims_wait.wake_all();
        }
    }

    /// Stops the OOM killer for a freeze: waits until no marked thread has an mm any more. False:
    /// it took longer than `timeout_ns` of model time, and the killer is on again.
    pub fn oom_killer_disable(&self, timeout_ns: u64) -> bool {
        {
            let _guard = self.oom.lock.lock();
            self.oom.disabled.store(true, Ordering::Relaxed);
        }
        let deadline = self.clock.now().0 + timeout_ns;
        let wait = &self.oom.victims_wait;
        let mut guard = wait.lock.lock();
        while self.oom.victims.load(Ordering::Relaxed) > 0 {
            let now = self.clock.now().0;
            if now >= deadline || self.clock.is_aborted() {
                self.oom.disabled.store(false, Ordering::Relaxed);
                return false;
            }
            self.clock.wait_timeout(&wait.queue, &mut guard, deadline - now);
        }
        true
    }

    /// Lets the OOM killer work again.
    pub fn oom_killer_enable(&self) {
        self.oom.disabled.store(false, Ordering::Relaxed);
    }

    /// A victim's memory is free (its reaper or its exit path has unmapped the last page): tells
    /// the record how long it took since the kill. Later calls say nothing.
    pub fn victim_memory_freed(&self, mm: &Mm) {
        let stats = &self.oom.stats;
        let mut dying = stats.dying.lock();
        if let Some(at) = dying.iter().position(|(id, _)| *id == mm.id) {
            let (_, killed_ns) = dying.swap_remove(at);
            stats.kill_to_free_ns.lock().push(self.clock.now().0.saturating_sub(killed_ns));
        }
    }
}

/// Is a SIGKILL queued to the group, or is it a single thread that exits; and no core dump?
fn is_group_exiting(process: &Process) -> bool {
    let threads = process.threads.lock();
    if threads.iter().any(|t| t.has(pf::DUMPCORE)) {
        return false;
    }
    process.is_killed() || (threads.len() == 1 && threads[0].has(pf::EXITING))
}

/// Does the process use the mm (`process_shares_mm`: its first thread that has one)?
pub(crate) fn shares_mm(process: &Process, mm: &Arc<Mm>) -> bool {
    process.find_task_mm().is_some_and(|(_, own)| Arc::ptr_eq(&own, mm))
}
