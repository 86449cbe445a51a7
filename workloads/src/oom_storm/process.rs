//! The storm's processes: from their start over growth and death to the next start.
//!
//! **What.** A [`Group`] is a number of threads that are always one process; a [`Life`] is one such
//! process. Its threads fault in the same areas, each a few pages at a time. When it dies, each
//! thread exits, and the last one starts the next life.
//!
//! **Why system calls.** A killed thread in user mode is gone at once, whatever its rights. Those
//! that are in a loop in the kernel go on to allocate: they are the ones who dig
//! (docs/kernel/interleavings.md#j3).

use allocator::gfp::Gfp;
use allocator::ids::{CpuId, Pfn};
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::mm::{Fault, Mm, VmFlags, Vpn};
use allocator::run::kernel::Kernel;
use allocator::run::task::{Cx, Process, Task};
use allocator::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use allocator::sync::{Arc, Mutex};

use super::{Constraint, EXIT, FAULT, SYSCALL, SYSCALL_FAILED, Shared, chance, log_uniform};
use crate::{Env, Step, TaskBody};

/// Pages that a thread faults in before it looks up.
const STEP_PAGES: u32 = 32;
/// Pages of a system call between two steps.
const SYSCALL_STEP: usize = 64;
/// Pages that count as progress.
const PROGRESS_PAGES: u32 = 4;
/// Share of a thread's steps that begin a long system call, in a process that makes any.
const CALL_SHARE: f64 = 0.1;
/// Areas that a process of its size consists of.
const AREAS: u32 = 8;
/// How often a thread looks whether its process has been started anew.
const LOOK_NS: u64 = 200_000;

/// Threads that are always one process.
#[derive(Debug)]
pub(super) struct Group {
    threads: u32,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    life: Option<Arc<Life>>,
    /// Lives so far.
    number: u64,
    /// The round is over: nobody is started any more.
    closed: bool,
}

impl Group {
    pub(super) fn new(threads: u32) -> Self {
        Self { threads, now: Mutex::default() }
    }

    /// The process as it is now, dying or not.
    pub(super) fn life(&self) -> Option<Arc<Life>> {
        self.now.lock().life.clone()
    }

    /// Starts the process; its threads come one by one.
    fn start(&self, kernel: &Kernel, cx: &Cx, shared: &Shared) {
        let mut now = self.now.lock();
        if now.closed {
            return;
        }
        now.life = Some(Arc::new(Life::new(kernel, cx, shared, self.threads)));
        now.number += 1;
    }
}

/// A process from its start to its end.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) process: Arc<Process>,
    pub(super) mm: Arc<Mm>,
    tasks: Vec<Arc<Task>>,
    /// Threads that have not exited.
    alive: AtomicU32,
    /// Pages that it wants.
    size: u32,
    /// Do its threads make long system calls?
    calls: bool,
    /// Does it exit when it has them? Else it goes on to grow.
    exits: bool,
    /// Pages handed out to threads for faulting.
    claimed: AtomicU32,
    area: Mutex<Area>,
    /// A thread is mapping the next area.
    is_mapping: AtomicBool,
}

/// What is left of the area that threads fault in.
#[derive(Clone, Copy, Debug, Default)]
struct Area {
    next: Vpn,
    left: u32,
}

impl Life {
    fn new(kernel: &Kernel, cx: &Cx, shared: &Shared, threads: u32) -> Self {
        // A fifth are preferred victims or spared ones, as services and batch jobs are.
        let adj = if chance(cx, 0.2) { (cx.random() % 801) as i32 - 400 } else { 0 };
        let process = kernel.new_process("storm", adj);
        let mm = kernel.mm_alloc();
        let tasks: Vec<Arc<Task>> = (0..threads)
            .map(|n| {
                let task = kernel.new_task(&process, CpuId(0), 0);
                if n > 0 {
                    mm.mmget();
                }
                task.alloc_lock.lock().mm = Some(Arc::clone(&mm));
                task
            })
            .collect();
        if let Some(cpuset) = &shared.cpuset {
            let attached = kernel.cpuset_attach(cx, cpuset, &tasks);
            debug_assert_eq!(attached, Ok(()), "the cpuset has a node with memory");
        }
        let median = shared.victim_pages as f64;
        Self {
            process,
            mm,
            tasks,
            alive: AtomicU32::new(threads),
            size: log_uniform(cx, median / 4.0, median * 4.0) as u32,
            calls: shared.settings.syscall_pages > 0 && chance(cx, shared.settings.syscall_share),
            exits: chance(cx, shared.settings.exit_share),
            claimed: AtomicU32::new(0),
            area: Mutex::default(),
            is_mapping: AtomicBool::new(false),
        }
    }

    /// Pages to fault in for one step.
    fn claim(&self) -> Option<(Vpn, u32)> {
        let mut area = self.area.lock();
        let pages = area.left.min(STEP_PAGES);
        if pages == 0 {
            return None;
        }
        let start = area.next;
        *area = Area { next: start.plus(pages), left: area.left - pages };
        self.claimed.fetch_add(pages, Ordering::Relaxed);
        Some((start, pages))
    }

    fn is_grown(&self) -> bool {
        self.claimed.load(Ordering::Relaxed) >= self.size
    }

    /// Maps the next area, unless another thread is about to.
    fn map(&self, env: &Env<'_>, mlocked_share: f64) {
        if self.is_mapping.swap(true, Ordering::Acquire) {
            return;
        }
        let pages = (self.size / AREAS).max(STEP_PAGES);
        let flags = if chance(env.cx, mlocked_share) { VmFlags::LOCKED } else { VmFlags::empty() };
        if let Ok(start) = env.kernel.mmap(env.cx, &self.mm, pages, flags, None) {
            *self.area.lock() = Area { next: start, left: pages };
        }
        self.is_mapping.store(false, Ordering::Release);
    }
}

/// A system call that takes kernel pages in a loop, as vmalloc or a large read does.
#[derive(Debug)]
struct Syscall {
    wanted: usize,
    began: u64,
    /// Pages that it had when its process was found killed.
    at_kill: Option<usize>,
}

/// A thread of a group.
pub(super) struct StormThread {
    shared: Arc<Shared>,
    group: usize,
    /// Which thread of its process.
    index: usize,
    /// The life that it is a thread of, while it is.
    life: Option<Arc<Life>>,
    /// Number of its last life.
    number: u64,
    bound: bool,
    syscall: Option<Syscall>,
    held: Vec<Pfn>,
}

impl StormThread {
    /// Starts a group's first process: its tasks with their bodies.
    pub(super) fn of_group(
        kernel: &Kernel,
        cx: &Cx,
        shared: &Arc<Shared>,
        group: usize,
    ) -> Vec<(Arc<Task>, Box<dyn TaskBody>)> {
        shared.groups[group].start(kernel, cx, shared);
        let life = shared.groups[group].life().expect("it was just started");
        let tasks = life.tasks.iter().enumerate();
        tasks
            .map(|(index, task)| {
                let body: Box<dyn TaskBody> = Box::new(Self {
                    shared: Arc::clone(shared),
                    group,
                    index,
                    life: Some(Arc::clone(&life)),
                    number: 1,
                    bound: false,
                    syscall: None,
                    held: Vec::new(),
                });
                (Arc::clone(task), body)
            })
            .collect()
    }

    /// The life that it lives, or the next one if that has begun.
    fn join(&mut self, env: &mut Env<'_>) -> Option<Arc<Life>> {
        if self.life.is_none() {
            let now = self.shared.groups[self.group].now.lock();
            if now.number > self.number {
                self.number = now.number;
                self.life = now.life.clone();
                self.bound = false;
            }
            drop(now);
            if let Some(life) = &self.life {
                env.become_task(Arc::clone(&life.tasks[self.index]));
            }
        }
        self.life.clone()
    }

    fn bind(&mut self, env: &Env<'_>) {
        if self.shared.settings.constraint == Constraint::Mempolicy {
            let spec = PolicySpec::new(Mode::Bind, self.shared.settings.nodes);
            let set = env.kernel.set_mempolicy(env.cx, &spec);
            debug_assert!(set.is_ok(), "{set:?}");
        }
        self.bound = true;
    }

    /// Faults in some pages.
    fn grow(&self, env: &mut Env<'_>, life: &Life) {
        if life.exits && life.is_grown() {
            // exit_group: the other threads see a SIGKILL.
            life.process.kill();
            return;
        }
        let Some((start, pages)) = life.claim() else {
            return life.map(env, self.shared.settings.mlocked_share);
        };
        for page in 0..pages {
            let vpn = start.plus(page);
            match env.time(FAULT, |kernel, cx| kernel.access(cx, &life.mm, vpn, true)) {
                Fault::Mapped | Fault::Present if page.is_multiple_of(PROGRESS_PAGES) => {
                    self.shared.progress();
                }
                Fault::Mapped | Fault::Present => {}
                // Killed, or reaped under its feet: SIGBUS, and the SIGKILL is pending.
                Fault::Killed | Fault::NoMemory | Fault::BusError | Fault::SegmentationFault => {
                    return;
                }
            }
        }
    }

    fn begin_syscall(&mut self, env: &Env<'_>) {
        let most = self.shared.settings.syscall_pages.max(1) as f64;
        let wanted = log_uniform(env.cx, (most / 32.0).max(1.0), most) as usize;
        self.syscall = Some(Syscall { wanted, began: env.recorder.now(), at_kill: None });
    }

    /// Goes on with the call: killed or not, it sees no signal before it returns.
    fn syscall(&mut self, env: &mut Env<'_>, life: &Life) {
        let Some(call) = &mut self.syscall else { return };
        let until = call.wanted.min(self.held.len() + SYSCALL_STEP);
        let mut failed = false;
        while self.held.len() < until && !failed {
            if call.at_kill.is_none() && life.process.is_oom_victim() {
                call.at_kill = Some(self.held.len());
            }
            match env.kernel.alloc_pages_current(env.cx, Gfp::KERNEL | Gfp::NOWARN, 0) {
                Some(pfn) => {
                    self.held.push(pfn);
                    if self.held.len().is_multiple_of(PROGRESS_PAGES as usize) {
                        self.shared.progress();
                    }
                }
                None => failed = true,
            }
        }
        if failed || self.held.len() >= call.wanted {
            env.recorder.record(if failed { SYSCALL_FAILED } else { SYSCALL }, call.began);
            if let Some(before) = call.at_kill {
                let counts = &self.shared.counts;
                counts.in_syscall.fetch_add(1, Ordering::Relaxed);
                counts.dug.fetch_add((self.held.len() - before) as u64, Ordering::Relaxed);
            }
            self.end_syscall(env);
        }
    }

    fn end_syscall(&mut self, env: &Env<'_>) {
        self.syscall = None;
        for pfn in self.held.drain(..) {
            env.kernel.free_pages(env.cx, pfn, 0);
        }
    }

    /// The thread exits; the last one of its process starts the next.
    fn exit(&mut self, env: &mut Env<'_>) {
        let Some(life) = self.life.take() else { return };
        env.time(EXIT, |kernel, cx| kernel.do_exit(cx));
        self.shared.progress();
        // AcqRel: the last one sees all others gone.
        if life.alive.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        env.kernel.release_process(&life.process);
        let counts = &self.shared.counts;
        let count: Option<&AtomicU64> = if life.process.is_oom_victim() {
            Some(&counts.killed)
        } else if life.process.is_killed() {
            Some(&counts.exited)
        } else {
            None
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.groups[self.group].start(env.kernel, env.cx, &self.shared);
    }
}

impl TaskBody for StormThread {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        if env.kernel.clock.is_aborted() {
            return Step::Done;
        }
        env.kernel.irq_point(env.cx);
        let Some(life) = self.join(env) else {
            env.kernel.clock.sleep(LOOK_NS);
            return Step::Continue;
        };
        if self.syscall.is_some() {
            self.syscall(env, &life);
            return Step::Continue;
        }
        if life.process.is_killed() {
            self.exit(env);
            return Step::Continue;
        }
        if !self.bound {
            self.bind(env);
        }
        if life.calls && chance(env.cx, CALL_SHARE) {
            self.begin_syscall(env);
        } else {
            self.grow(env, &life);
        }
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        self.end_syscall(env);
        self.shared.groups[self.group].now.lock().closed = true;
        // A process that another thread has just started has a task of ours, too.
        if self.join(env).is_some() {
            self.exit(env);
        }
    }
}
