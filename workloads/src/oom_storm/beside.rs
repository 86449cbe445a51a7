//! Who else is there in a storm: readers, process_mrelease, reclaim, bystanders, the sampler.
//!
//! **What.** Each is a task of its own that no OOM killer takes. The bystanders are processes that do
//! nothing; `init` starts those anew that were killed, on their behalf.

use allocator::gfp::Gfp;
use allocator::ids::Pfn;
use allocator::run::kernel::Kernel;
use allocator::run::task::Cx;
use allocator::sync::Arc;
use allocator::sync::atomic::Ordering;

use super::{KILL_TO_FREE, MEMALLOC, MEMALLOC_FAILED, MRELEASE, Shared};
use crate::{Env, Step, TaskBody};

const NS_PER_US: u64 = 1_000;

/// A step that ends when the round does.
fn go_on(env: &Env<'_>, pause_ns: u64) -> Step {
    if env.kernel.clock.is_aborted() {
        return Step::Done;
    }
    env.kernel.irq_point(env.cx);
    env.kernel.clock.sleep(pause_ns);
    Step::Continue
}

/// Looks at other processes' address spaces as readers of /proc/PID/maps do.
pub(super) struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }
}

impl TaskBody for Reader {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        let at = env.cx.random() as usize % self.shared.groups.len();
        if let Some(life) = self.shared.groups[at].life()
            && life.mm.mmget_not_zero()
        {
            let areas = life.mm.mmap_read_lock().iter().count() as u64;
            // Formatting and copying to the user: mm_users is held meanwhile, no lock.
            env.kernel.clock.sleep((20 + areas.min(100)) * NS_PER_US);
            env.kernel.mmput(env.cx, Arc::clone(&life.mm));
        }
        go_on(env, 100 * NS_PER_US)
    }

    fn finish(&mut self, _env: &mut Env<'_>) {}
}

/// Calls process_mrelease on everybody who dies, as Android's lmkd does.
pub(super) struct Releaser {
    shared: Arc<Shared>,
}

impl Releaser {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }
}

impl TaskBody for Releaser {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        for group in &self.shared.groups {
            if let Some(life) = group.life().filter(|life| life.process.is_killed()) {
                let start = env.recorder.now();
                if env.kernel.process_mrelease(env.cx, &life.process).is_ok() {
                    env.recorder.record(MRELEASE, start);
                }
            }
        }
        go_on(env, 200 * NS_PER_US)
    }

    fn finish(&mut self, _env: &mut Env<'_>) {}
}

/// Writes pages out, which needs some: PF_MEMALLOC.
pub(super) struct Reclaimer {
    shared: Arc<Shared>,
    held: Vec<Pfn>,
}

impl Reclaimer {
    /// Pages of a batch: SWAP_CLUSTER_MAX.
    const BATCH: usize = 32;

    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), held: Vec::new() }
    }

    fn give_back(&mut self, env: &Env<'_>) {
        for pfn in self.held.drain(..) {
            env.kernel.free_pages(env.cx, pfn, 0);
        }
    }
}

impl TaskBody for Reclaimer {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        let gfp = (Gfp::KERNEL & !(Gfp::IO | Gfp::FS)) | Gfp::NOWARN;
        let node = self.shared.settings.nodes.first().unwrap_or_default();
        for _ in 0..Self::BATCH {
            let start = env.recorder.now();
            let nodes = allocator::page_alloc::Nodemask::None;
            let page = env.kernel.alloc_pages(env.cx, gfp, 0, node, nodes);
            env.recorder.record(if page.is_some() { MEMALLOC } else { MEMALLOC_FAILED }, start);
            self.held.extend(page);
        }
        env.kernel.clock.sleep(200 * NS_PER_US);
        self.give_back(env);
        go_on(env, 1_000 * NS_PER_US)
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        self.give_back(env);
    }
}

/// Processes that do nothing, and `init`, which starts them.
pub(super) struct Bystanders {
    shared: Arc<Shared>,
    idle: Vec<Cx>,
}

impl Bystanders {
    pub(super) fn new(kernel: &Kernel, cx: &Cx, shared: &Arc<Shared>) -> Self {
        let idle =
            (0..shared.settings.bystanders).map(|_| start_bystander(kernel, cx, shared)).collect();
        Self { shared: Arc::clone(shared), idle }
    }
}

/// A process of one thread and no pages of its own, the last that anybody would choose.
fn start_bystander(kernel: &Kernel, cx: &Cx, shared: &Shared) -> Cx {
    let (task, _mm) = kernel.new_user_process("idle", -900, cx.cpu());
    if let Some(cpuset) = &shared.cpuset {
        let attached = kernel.cpuset_attach(cx, cpuset, std::slice::from_ref(&task));
        debug_assert_eq!(attached, Ok(()), "the cpuset has a node with memory");
    }
    Cx::new(task, cx.random())
}

impl TaskBody for Bystanders {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        for cx in &mut self.idle {
            if !cx.task.process.is_killed() {
                continue;
            }
            let process = Arc::clone(&cx.task.process);
            env.kernel.do_exit(cx);
            env.kernel.release_process(&process);
            self.shared.counts.bystanders.fetch_add(1, Ordering::Relaxed);
            *cx = start_bystander(env.kernel, env.cx, &self.shared);
        }
        go_on(env, 1_000 * NS_PER_US)
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        for cx in self.idle.drain(..) {
            let process = Arc::clone(&cx.task.process);
            env.kernel.do_exit(&cx);
            env.kernel.release_process(&process);
        }
    }
}

/// Looks whether anybody makes progress, and collects how long kills took to free memory.
pub(super) struct Sampler {
    shared: Arc<Shared>,
    seen: u64,
    /// When that was seen first, in model ns; 0 at the first look.
    since_ns: u64,
    last_ns: u64,
}

impl Sampler {
    /// Pause between two looks.
    const LOOK_NS: u64 = 2_000 * NS_PER_US;

    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), seen: 0, since_ns: 0, last_ns: 0 }
    }
}

impl TaskBody for Sampler {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        for ns in env.kernel.oom.stats.take_kill_to_free_ns() {
            env.recorder.record_ns(KILL_TO_FREE, ns);
        }
        let now = env.kernel.clock.now().0;
        let served = self.shared.served.load(Ordering::Relaxed);
        let counts = &self.shared.counts;
        if served != self.seen || self.since_ns == 0 {
            (self.seen, self.since_ns) = (served, now);
        } else {
            counts.no_progress_ns.fetch_add(now - self.last_ns, Ordering::Relaxed);
            counts.no_progress_longest_ns.fetch_max(now - self.since_ns, Ordering::Relaxed);
        }
        self.last_ns = now;
        go_on(env, Self::LOOK_NS)
    }

    fn finish(&mut self, _env: &mut Env<'_>) {}
}
