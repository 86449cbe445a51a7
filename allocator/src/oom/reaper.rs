//! The OOM reaper: frees a victim's memory without waiting for the victim.
//!
//! **What.** `wake_oom_reaper` (`queue_oom_reaper`), the kernel thread's loop, one attempt
//! (docs/kernel/oom.md#e7, steps R1 to R7). The walk itself is in [`super::reap_mm`].
//!
//! **Why.** A victim may be stuck behind a lock that somebody holds who waits for memory. The
//! reaper only trylocks; after ten tries it gives the victim up and lets the next one be chosen.
//!
//! **Source.** mm/oom_kill.c: wake_oom_reaper, queue_oom_reaper, oom_reaper, oom_reap_task,
//! oom_reap_task_mm; frozen by the axis `exit` as ARCHITECTURE.md#what-a-variant-is says.
//!
//! **Differs.** The timer of the 2 s delay is looked after by the reaper itself: a victim whose
//! time comes while it is busy is queued as soon as it is not. No mmu notifiers.

use crate::mm::Mm;
use crate::mm::address_space::{Rss, SkipBy, mmf};
use crate::oom::reap_mm::Reaped;
use crate::race::Point;
use crate::run::clock::NS_PER_MS;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Task, pf};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::lock::{As, Role};
use crate::sync::{Arc, Condvar, Mutex};

/// MAX_OOM_REAP_RETRIES.
pub const MAX_OOM_REAP_RETRIES: u32 = 10;
/// The pause after an attempt that failed (HZ/10).
const PAUSE_NS: u64 = 100 * NS_PER_MS;
/// OOM_REAPER_DELAY (5.18+).
pub(crate) const DELAY_NS: u64 = 2_000 * NS_PER_MS;

/// How the reaper of a variant behaves: E.7's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaperRules {
    /// How long a victim has before it is queued.
    pub delay_ns: u64,
    /// Queued once per mm (5.0+), else unless it is in the queue now.
    pub once_per_mm: bool,
    /// oom_lock is held during an attempt.
    pub holds_oom_lock: bool,
    /// An attempt needs mm_users; 0 counts as done.
    pub needs_users: bool,
    /// MMF_OOM_SKIP seen under the lock counts as done.
    pub tests_skip: bool,
    /// Mlocked areas are reaped too (5.18+).
    pub reaps_mlocked: bool,
    /// SKIP set meanwhile silences "unable to reap".
    pub skip_silences: bool,
    /// What process_mrelease pins and tests.
    pub mrelease: Mrelease,
}

/// Forms of process_mrelease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mrelease {
    /// There is no such call.
    None,
    /// Holds mm_users (5.15).
    HoldsUsers,
    /// Holds mm_count only and tests MMF_OOM_SKIP (5.17+).
    HoldsCount,
}

/// A thread that was marked, and the mm that its group was chosen for.
#[derive(Clone, Debug)]
struct Victim {
    task: Arc<Task>,
    mm: Arc<Mm>,
}

#[derive(Debug, Default)]
struct Queue {
    /// oom_reaper_list: the last one in is the first one out.
    ready: Vec<Victim>,
    /// Victims whose timer runs: when it fires, in model ns.
    timers: Vec<(u64, Victim)>,
    stop: bool,
}

/// Counts of what the reaper did.
#[derive(Debug, Default)]
pub struct ReaperStats {
    /// Victims queued.
    pub queued: AtomicU64,
    /// Victims that were dropped when their timer fired, because SKIP was set.
    pub dropped: AtomicU64,
    /// Attempts.
    pub attempts: AtomicU64,
    /// Attempts whose trylock failed.
    pub trylock_failed: AtomicU64,
    /// Victims whose areas were walked.
    pub reaped: AtomicU64,
    /// Pages unmapped by it.
    pub reaped_pages: AtomicU64,
    /// Victims with mm_users 0: "done" without a look.
    pub no_users: AtomicU64,
    /// Victims that had SKIP set when it came.
    pub found_skip: AtomicU64,
    /// Victims given up after ten attempts.
    pub unable: AtomicU64,
    /// process_mrelease calls that walked.
    pub mreleased: AtomicU64,
}

/// The reaper's queue and counts.
#[derive(Debug, Default)]
pub struct ReaperState {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Counts.
    pub stats: ReaperStats,
}

impl ReaperState {
    /// Is nobody queued, timers included?
    pub fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        queue.ready.is_empty() && queue.timers.is_empty()
    }
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// What an attempt came to.
enum Attempt {
    Done,
    Failed,
}

impl Kernel {
    pub(super) fn reaper_rules(&self) -> ReaperRules {
        self.policy.exit.reaper_rules()
    }

    /// V11 (`wake_oom_reaper`, `queue_oom_reaper`): hands the mm of a marked thread to the reaper.
    pub fn queue_oom_reaper(&self, _cx: &Cx, task: &Arc<Task>, mm: &Arc<Mm>) {
        let rules = self.reaper_rules();
        let victim = Victim { task: Arc::clone(task), mm: Arc::clone(mm) };
        let mut queue = self.oom.reaper.queue.lock();
        if rules.once_per_mm {
            if mm.set(mmf::OOM_REAP_QUEUED) & mmf::OOM_REAP_QUEUED != 0 {
                return;
            }
        } else if queue.ready.iter().any(|queued| Arc::ptr_eq(&queued.task, task)) {
            return;
        }
        add(&self.oom.reaper.stats.queued, 1);
        if rules.delay_ns == 0 {
            queue.ready.push(victim);
        } else {
            queue.timers.push((self.clock.now().0 + rules.delay_ns, victim));
        }
        drop(queue);
        self.oom.reaper.wake.notify_all();
    }

    /// The body of the reaper's thread: returns when the run is aborted, or after
    /// [`Kernel::stop_oom_reaper`] once nothing is queued.
    pub fn oom_reaper_main(&self, cx: &Cx) {
        cx.task.set(pf::KTHREAD);
        while let Some(victim) = self.next_to_reap() {
            self.oom_reap_task(cx, &victim);
        }
    }

    /// Reaps what is queued, or due, now and returns: for worlds without a reaper thread.
    pub fn run_oom_reaper(&self, cx: &Cx) {
        loop {
            let victim = {
                let mut queue = self.oom.reaper.queue.lock();
                self.fire_timers(&mut queue, self.clock.now().0);
                queue.ready.pop()
            };
            let Some(victim) = victim else { return };
            self.oom_reap_task(cx, &victim);
        }
    }

    /// Lets the reaper's thread end once nobody is queued, timers included.
    pub fn stop_oom_reaper(&self) {
        self.oom.reaper.queue.lock().stop = true;
        self.oom.reaper.wake.notify_all();
    }

    fn next_to_reap(&self) -> Option<Victim> {
        // The abort flag rings no bell of ours.
        const LOOK_AGAIN_NS: u64 = 1_000 * NS_PER_MS;
        let mut queue = self.oom.reaper.queue.lock();
        loop {
            if self.clock.is_aborted() {
                return None;
            }
            let now = self.clock.now().0;
            self.fire_timers(&mut queue, now);
            if let Some(victim) = queue.ready.pop() {
                return Some(victim);
            }
            if queue.stop && queue.timers.is_empty() {
                return None;
            }
            match queue.timers.iter().map(|(due, _)| *due).min() {
                Some(due) => {
                    let sleep = (due - now).min(LOOK_AGAIN_NS);
                    self.clock.wait_timeout(&self.oom.reaper.wake, &mut queue, sleep);
                }
                None => self.oom.reaper.wake.wait(&mut queue),
            }
        }
    }

    fn fire_timers(&self, queue: &mut Queue, now: u64) {
        let (due, running) = std::mem::take(&mut queue.timers)
            .into_iter()
            .partition::<Vec<_>, _>(|(due, _)| *due <= now);
        queue.timers = running;
        for (_, victim) in due {
            // The victim may have freed itself in time.
            if victim.mm.has(mmf::OOM_SKIP) {
                add(&self.oom.reaper.stats.dropped, 1);
            } else {
                queue.ready.push(victim);
            }
        }
    }

    /// `oom_reap_task`: up to ten attempts, then SKIP in any case.
    fn oom_reap_task(&self, cx: &Cx, Victim { task, mm }: &Victim) {
        let _role = As::role(Role::Reaper);
        let rules = self.reaper_rules();
        let mut by = SkipBy::ReaperWalked;
        let mut done = false;
        for attempt in 1..=MAX_OOM_REAP_RETRIES {
            match self.oom_reap_task_mm(cx, task, mm, rules, &mut by) {
                Attempt::Done => {
                    done = true;
                    break;
                }
                Attempt::Failed => {
                    self.point_event(cx, Point::R5Pause, [u64::from(attempt), 0, 0]);
                    self.clock.sleep(PAUSE_NS);
                }
            }
        }
        let silent = done || rules.skip_silences && mm.has(mmf::OOM_SKIP);
        if !silent {
            add(&self.oom.reaper.stats.unable, 1);
            self.point_event(cx, Point::R6Unable, [0; 3]);
            let (pid, comm) = (task.pid, &task.process.comm);
            self.printk(cx, &format!("oom_reaper: unable to reap pid:{pid} ({comm})"));
        }
        // oom_lock, if it was held, is free again: a killer may be looking at the mm now.
        self.point(cx, Point::R7Skip);
        mm.set_oom_skip(by);
        self.point_event(cx, Point::R7Skip, [0; 3]);
    }

    /// One attempt (`oom_reap_task_mm`).
    fn oom_reap_task_mm(
        &self,
        cx: &Cx,
        task: &Task,
        mm: &Arc<Mm>,
        rules: ReaperRules,
        by: &mut SkipBy,
    ) -> Attempt {
        let stats = &self.oom.reaper.stats;
        add(&stats.attempts, 1);
        let oom_lock = rules.holds_oom_lock.then(|| self.oom.lock.lock());
        // R1
        let exit_was_writing = mm.is_exit_writing();
        let areas = mm.mmap_read_trylock();
        self.point_event(cx, Point::R1Trylock, [u64::from(areas.is_some()), 0, 0]);
        let Some(areas) = areas else {
            add(&stats.trylock_failed, 1);
            *by = if exit_was_writing || mm.is_exit_writing() {
                mm.kept_out_by_exit.fetch_add(1, Ordering::Relaxed);
                SkipBy::ReaperKeptOutByExit
            } else {
                mm.kept_out_by_writer.fetch_add(1, Ordering::Relaxed);
                SkipBy::ReaperKeptOutByWriter
            };
            return Attempt::Failed;
        };
        // R2
        let skip = mm.has(mmf::OOM_SKIP);
        self.point_event(cx, Point::R2Tests, [u64::from(mm.users()), u64::from(skip), 0]);
        if rules.needs_users && !mm.mmget_not_zero() {
            *by = SkipBy::ReaperNoUsers;
            add(&stats.no_users, 1);
            return Attempt::Done;
        }
        *by = SkipBy::ReaperWalked;
        if rules.tests_skip && skip {
            add(&stats.found_skip, 1);
            return Attempt::Done;
        }
        // R3
        let reaped = if mm.areas_gone.load(Ordering::Relaxed) {
            Reaped::default()
        } else {
            self.reap_areas(cx, mm, areas.iter())
        };
        add(&stats.reaped, 1);
        add(&stats.reaped_pages, reaped.pages);
        // R4
        if mm.rss_pages() == 0 {
            self.victim_memory_freed(mm);
        }
        let [anon, file, shmem] = rss_kb(mm);
        let (pid, comm) = (task.pid, &task.process.comm);
        self.printk(
            cx,
            &format!(
                "oom_reaper: reaped process {pid} ({comm}), now anon-rss:{anon}kB, \
                 file-rss:{file}kB, shmem-rss:{shmem}kB"
            ),
        );
        self.point_event(cx, Point::R4Unlock, [reaped.pages, 0, 0]);
        drop(areas);
        drop(oom_lock);
        if rules.needs_users {
            self.mmput_async(cx, Arc::clone(mm));
        }
        Attempt::Done
    }
}

/// The three figures of the line "reaped process", in kB: anon, file, shmem.
fn rss_kb(mm: &Mm) -> [u64; 3] {
    [Rss::Anon, Rss::File, Rss::Shmem].map(|kind| mm.rss(kind) * (crate::ids::PAGE_SIZE / 1024))
}
