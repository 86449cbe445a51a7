//! cpuset01: LTP's test, as a load. A cpuset's mems flip while its tasks map, write and unmap
//! memory under MPOL_BIND.
//!
//! **What.** One writer (oom_score_adj -1000) flips `cpuset.mems` between disjoint node sets as
//! fast as it can, first and second node as LTP does. The other tasks, each a process of its own,
//! map 10 pages, write each and unmap them, bound to all nodes of the sets by set_mempolicy (LTP's
//! way), by mbind on each mapping (the variant of change 1's author, in which the older bug shows),
//! or half of the tasks each.
//!
//! **Why.** Memory is never short: every OOM is premature by construction
//! (docs/kernel/environment.md#h5, interleavings.md#j1).
//!
//! **Differs.** LTP flips twice and ends; here it goes on. Hogs that the OOM killer takes are
//! counted and started anew.

use allocator::cpuset::Cpuset;
use allocator::ids::{CpuId, PAGE_SIZE};
use allocator::machine::Machine;
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::mm::mbind::MbindFlags;
use allocator::mm::{Fault, Mm, VmFlags, Vpn};
use allocator::nodemask::NodeMask;
use allocator::policy::Policy;
use allocator::run::kernel::Kernel;
use allocator::run::task::{Cx, Process, Task};
use allocator::sync::atomic::{AtomicU64, Ordering};
use allocator::sync::{Arc, Mutex};

use crate::mems_writer::{self, Flipping};
use crate::{
    Env, Info, Movable, OptionKind, OptionSpec, Options, Scene, Step, TaskBody, TaskSpec, Workload,
    WorkloadError,
};

const FAULT: usize = 0;
const UNMAP: usize = 1;
const MEMS_WRITE: usize = 2;
const MBIND: usize = 3;

/// Pages that a hog maps at once, as LTP's does.
const HOG_PAGES: u32 = 10;

/// The workload.
#[derive(Clone, Copy, Debug)]
pub struct Cpuset01;

/// How a hog binds its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    /// Not at all.
    None,
    /// set_mempolicy.
    Task,
    /// mbind of each mapping.
    Vma,
}

impl Workload for Cpuset01 {
    fn info(&self) -> &'static Info {
        &Info {
            name: "cpuset01",
            about: "LTP cpuset01: cpuset.mems flips under tasks bound by mempolicy",
            axes: &["cpuset", "rebind"],
            primary: &["fault.ops_per_s", "fault.mid_ns", "fault.p99_ns", "mems_write.mid_ns"],
            ops: &["fault", "unmap", "mems_write", "mbind"],
            options: &[
                OptionSpec {
                    name: "policy",
                    value: "WHERE",
                    kind: OptionKind::Choice(&["both", "task", "vma", "none"]),
                    default: "both",
                    help: "bind by set_mempolicy (task), by mbind (vma), half of the tasks each (both)",
                },
                mems_writer::SETS,
                mems_writer::INTERVAL,
                mems_writer::UPDATES,
            ],
            nodes: 2,
            movable: Movable::None,
            memory_per_node: None,
        }
    }

    fn check(
        &self,
        machine: &Machine,
        _policy: &Policy,
        options: &Options,
        threads: u32,
    ) -> Result<(), WorkloadError> {
        if threads < 2 {
            return Err(WorkloadError::Usage(
                "cpuset01 needs --threads 2 or more: one writes mems, the others fault".to_owned(),
            ));
        }
        mems_writer::sets("cpuset01", machine, options).map(|_| ())
    }

    fn scene(
        &self,
        kernel: &Arc<Kernel>,
        cx: &Cx,
        options: &Options,
        threads: u32,
        _seed: u64,
    ) -> Result<Box<dyn Scene>, WorkloadError> {
        let Flipping { cs, nodes, writer, writes } =
            mems_writer::flipping("cpuset01", kernel, cx, options, MEMS_WRITE)?;
        let shared =
            Arc::new(Shared { cs, nodes, killed: AtomicU64::new(0), dead: Mutex::new(Vec::new()) });
        let nr_cpus = kernel.cpus.len() as u32;
        let mut tasks = vec![writer];
        for n in 1..threads {
            let binding = match options.text("policy") {
                "none" => Binding::None,
                "task" => Binding::Task,
                "vma" => Binding::Vma,
                _ if n % 2 == 0 => Binding::Task,
                _ => Binding::Vma,
            };
            let cpu = CpuId((n % nr_cpus) as u16);
            let (task, mm) = spawn_hog(kernel, cx, &shared, cpu);
            let page = Box::new([0; PAGE_SIZE as usize]);
            let body =
                Hog { shared: Arc::clone(&shared), binding, bound: false, mm: Some(mm), page };
            tasks.push(TaskSpec { task, body: Box::new(body) });
        }
        Ok(Box::new(Cpuset01Scene { shared, writes, tasks }))
    }
}

/// What all tasks of a round share.
#[derive(Debug)]
struct Shared {
    cs: Arc<Cpuset>,
    /// All nodes of the sets: what hogs bind to.
    nodes: NodeMask,
    /// Hogs that the OOM killer took.
    killed: AtomicU64,
    /// Dead processes, kept until the end as a parent that has not waited yet would.
    dead: Mutex<Vec<Arc<Process>>>,
}

struct Cpuset01Scene {
    shared: Arc<Shared>,
    writes: Arc<AtomicU64>,
    tasks: Vec<TaskSpec>,
}

impl Scene for Cpuset01Scene {
    fn tasks(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.tasks)
    }

    fn figures(&self) -> Vec<(&'static str, f64, &'static str)> {
        let killed = self.shared.killed.load(Ordering::Relaxed);
        let writes = self.writes.load(Ordering::Relaxed);
        vec![("hogs_killed", killed as f64, "hogs"), ("mems_writes", writes as f64, "writes")]
    }

    fn finish(&mut self, _kernel: &Arc<Kernel>, _cx: &Cx) {
        self.shared.dead.lock().clear();
    }
}

/// A new hog: a process with one thread and an address space of its own, in the cpuset.
fn spawn_hog(kernel: &Arc<Kernel>, cx: &Cx, shared: &Shared, cpu: CpuId) -> (Arc<Task>, Arc<Mm>) {
    let (task, mm) = kernel.new_user_process("hog", 0, cpu);
    let attached = kernel.cpuset_attach(cx, &shared.cs, &[Arc::clone(&task)]);
    debug_assert_eq!(attached, Ok(()), "the cpuset always has mems");
    (task, mm)
}

struct Hog {
    shared: Arc<Shared>,
    binding: Binding,
    /// Has set_mempolicy been called?
    bound: bool,
    mm: Option<Arc<Mm>>,
    /// What the hog's memset writes for each page, as LTP's does: its time in user mode.
    page: Box<[u8; PAGE_SIZE as usize]>,
}

impl Hog {
    /// One mapping, written and unmapped. False: the hog was killed.
    fn map_write_unmap(&mut self, env: &mut Env<'_>) -> bool {
        let Some(mm) = &self.mm else { return false };
        let spec = PolicySpec::new(Mode::Bind, self.shared.nodes);
        if self.binding == Binding::Task && !self.bound {
            // The mask meets mems at any time, so that it can't be refused.
            self.bound = env.kernel.set_mempolicy(env.cx, &spec).is_ok();
        }
        let mapped = env.kernel.mmap(env.cx, mm, HOG_PAGES, VmFlags::empty(), None);
        let Ok(start) = mapped else { return false };
        if self.binding == Binding::Vma {
            let bound = env.time(MBIND, |kernel, cx| {
                let len = u64::from(HOG_PAGES) * PAGE_SIZE;
                kernel.mbind(cx, mm, start.addr(), len, &spec, MbindFlags::empty())
            });
            debug_assert!(bound.is_ok(), "{bound:?}");
        }
        for page in 0..HOG_PAGES {
            let vpn = Vpn(start.0 + page);
            let fault = env.time(FAULT, |kernel, cx| kernel.access(cx, mm, vpn, true));
            match fault {
                Fault::Mapped | Fault::Present => {
                    self.page.fill(page as u8);
                    std::hint::black_box(&self.page);
                }
                Fault::Killed | Fault::NoMemory | Fault::BusError | Fault::SegmentationFault => {
                    return false;
                }
            }
        }
        let unmapped = env.time(UNMAP, |kernel, cx| kernel.munmap(cx, mm, start, HOG_PAGES));
        unmapped.is_ok() && !env.cx.task.process.is_killed()
    }

    fn exit(&mut self, env: &mut Env<'_>) {
        self.mm = None;
        let process = Arc::clone(&env.cx.task.process);
        env.kernel.do_exit(env.cx);
        env.kernel.release_process(&process);
        self.shared.dead.lock().push(process);
    }
}

impl TaskBody for Hog {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        if self.map_write_unmap(env) {
            return Step::Continue;
        }
        if env.kernel.clock.is_aborted() {
            return Step::Done;
        }
        self.shared.killed.fetch_add(1, Ordering::Relaxed);
        self.exit(env);
        let (task, mm) = spawn_hog(env.kernel, env.cx, &self.shared, env.cx.cpu());
        env.become_task(task);
        self.mm = Some(mm);
        self.bound = false;
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        self.exit(env);
    }
}
