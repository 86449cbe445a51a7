//! mbind-churn: address spaces whose policies never rest. Tasks call mbind over random ranges and
//! set_mempolicy, others fault, and a cpuset writer moves the ground under all of them.
//!
//! **What.** The first task flips `cpuset.mems` between disjoint node sets. The others work in
//! groups of `--sharing` tasks, threads of one process over one address space of `--area` pages,
//! and do one thing a step: mostly they write random pages; they bind a random range with a random
//! mode, random nodes and flags (MPOL_MF_STRICT, MPOL_MF_MOVE), set their task policy, or map a
//! part anew, which gives its pages back and lets areas merge.
//!
//! **Why.** mbind splits and merges areas under mmap_lock for writing while a rebind waits for the
//! same lock; STRICT and MOVE fail with part of the range done; a policy may end up with nodes that
//! the cpuset has just taken away (docs/kernel/mempolicies.md#d6, T3c). Memory is never short:
//! every OOM is premature.
//!
//! **What counts besides.** A page on a node that its policy excludes is the oracle's finding
//! `misplaced-page`; refusals are counted by errno.

use allocator::cpuset::{Cpuset, CpusetFlag};
use allocator::ids::{CpuId, NodeId, PAGE_SIZE};
use allocator::machine::Machine;
use allocator::mempolicy::{Mode, ModeFlags, PolicySpec};
use allocator::mm::mbind::{MbindError, MbindFlags};
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
const MBIND: usize = 1;
const MBIND_FAILED: usize = 2;
const SET_MEMPOLICY: usize = 3;
const REMAP: usize = 4;
const MEMS_WRITE: usize = 5;

/// Pages that a step writes.
const WRITES: u32 = 8;
/// Largest part that is mapped anew, in pages.
const REMAP_PAGES: u64 = 32;

/// The workload.
#[derive(Clone, Copy, Debug)]
pub struct MbindChurn;

impl Workload for MbindChurn {
    fn info(&self) -> &'static Info {
        &Info {
            name: "mbind-churn",
            about: "mbind and set_mempolicy over random ranges while others fault and mems flip",
            axes: &["cpuset", "rebind"],
            primary: &["fault.ops_per_s", "fault.mid_ns", "fault.p99_ns", "mbind.mid_ns"],
            ops: &["fault", "mbind", "mbind_failed", "set_mempolicy", "remap", "mems_write"],
            options: &[
                OptionSpec {
                    name: "sharing",
                    value: "N",
                    kind: OptionKind::Count,
                    default: "4",
                    help: "tasks that share an address space; 1: each has its own",
                },
                OptionSpec {
                    name: "area",
                    value: "PAGES",
                    kind: OptionKind::Count,
                    default: "512",
                    help: "pages of each address space",
                },
                OptionSpec {
                    name: "bind-share",
                    value: "SHARE",
                    kind: OptionKind::Share,
                    default: "25%",
                    help: "steps that change a policy instead of writing pages",
                },
                OptionSpec {
                    name: "memory-migrate",
                    value: "",
                    kind: OptionKind::Flag,
                    default: "",
                    help: "cpuset.memory_migrate: pages follow mems",
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
                "mbind-churn needs --threads 2 or more: one writes mems, the others bind and fault"
                    .to_owned(),
            ));
        }
        let sharing = options.number("sharing").unwrap_or(1);
        if sharing == 0 {
            return Err(WorkloadError::Usage("--sharing 0: want 1 or more tasks".to_owned()));
        }
        let area = options.number("area").unwrap_or(0);
        if !(u64::from(WRITES)..=1 << 20).contains(&area) {
            return Err(WorkloadError::Usage(format!(
                "--area {area}: want {WRITES} to 1M pages for an address space"
            )));
        }
        // All pages may have to stand on the node with the least memory, which is to stay half
        // free.
        let sets = mems_writer::sets("mbind-churn", machine, options)?;
        let pages_of = |id: NodeId| {
            let nodes = machine.nodes.iter().filter(|n| n.id == id);
            nodes.flat_map(|n| &n.zones).map(|z| z.managed_pages).sum::<u64>()
        };
        let least = sets.iter().flat_map(|s| s.iter().map(pages_of).min()).min().unwrap_or(0);
        let wanted = u64::from(threads - 1).div_ceil(sharing) * area;
        if wanted > least / 2 {
            return Err(WorkloadError::Usage(format!(
                "{threads} tasks with --area {area} and --sharing {sharing} need {wanted} pages, half of \
                 the smallest node are {}: take a smaller --area or more --sharing",
                least / 2
            )));
        }
        Ok(())
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
            mems_writer::flipping("mbind-churn", kernel, cx, options, MEMS_WRITE)?;
        kernel
            .cpuset_write_flag(&cs, CpusetFlag::MemoryMigrate, options.flag("memory-migrate"))
            .map_err(|e| WorkloadError::CantRun(e.to_string()))?;
        let shared = Arc::new(Shared {
            cs,
            nodes,
            area: options.number("area").unwrap_or(512) as u32,
            bind_per_million: (options.share("bind-share") * 1e6) as u64,
            counts: Counts::default(),
            dead: Mutex::new(Vec::new()),
        });
        let mut tasks = vec![writer];
        let nr_cpus = kernel.cpus.len() as u32;
        let sharing = options.number("sharing").unwrap_or(1).max(1);
        let mut group: Option<Arc<Group>> = None;
        for n in 1..threads {
            let cpu = CpuId((n % nr_cpus) as u16);
            let own = match group.take().filter(|_| u64::from(n - 1) % sharing != 0) {
                Some(group) => group,
                None => Group::new(kernel),
            };
            let task = own.join(kernel, cx, &shared, cpu);
            group = Some(Arc::clone(&own));
            let body = Churner { shared: Arc::clone(&shared), group: own, start: None };
            tasks.push(TaskSpec { task, body: Box::new(body) });
        }
        Ok(Box::new(ChurnScene { shared, writes, tasks }))
    }
}

/// What became of system calls.
#[derive(Debug, Default)]
struct Counts {
    /// By the order of [`ERRNOS`].
    refused: [AtomicU64; 5],
    set_mempolicy_refused: AtomicU64,
    unmapped: AtomicU64,
    killed: AtomicU64,
    most_vmas: AtomicU64,
    vmas: AtomicU64,
    vmas_looks: AtomicU64,
}

/// Why an mbind may be refused.
const ERRNOS: [(&str, &str); 5] = [
    ("EIO", "mbind_eio"),
    ("ENOMEM", "mbind_enomem"),
    ("EINVAL", "mbind_einval"),
    ("EFAULT", "mbind_efault"),
    ("EPERM", "mbind_eperm"),
];

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// What all tasks of a round share.
#[derive(Debug)]
struct Shared {
    cs: Arc<Cpuset>,
    /// Nodes that policies are made of.
    nodes: NodeMask,
    area: u32,
    bind_per_million: u64,
    counts: Counts,
    /// Dead processes, kept until the end as a parent that has not waited yet would.
    dead: Mutex<Vec<Arc<Process>>>,
}

/// Threads over one address space.
#[derive(Debug)]
struct Group {
    process: Arc<Process>,
    /// Where the area begins; none before the first thread has mapped it.
    start: Mutex<Option<Vpn>>,
    mm: Arc<Mm>,
    /// Threads that have not exited.
    alive: AtomicU64,
}

impl Group {
    fn new(kernel: &Kernel) -> Arc<Self> {
        let process = kernel.new_process("churn", 0);
        let mm = kernel.mm_alloc();
        Arc::new(Self { process, start: Mutex::new(None), mm, alive: AtomicU64::new(0) })
    }

    /// One thread more.
    fn join(&self, kernel: &Kernel, cx: &Cx, shared: &Shared, cpu: CpuId) -> Arc<Task> {
        if self.alive.fetch_add(1, Ordering::Relaxed) > 0 {
            self.mm.mmget();
        }
        let task = kernel.new_task(&self.process, cpu, 0);
        task.alloc_lock.lock().mm = Some(Arc::clone(&self.mm));
        let attached = kernel.cpuset_attach(cx, &shared.cs, &[Arc::clone(&task)]);
        debug_assert_eq!(attached, Ok(()), "the cpuset always has mems");
        task
    }

    /// Where the area begins, mapped by whoever comes first.
    fn area(&self, kernel: &Kernel, cx: &Cx, pages: u32) -> Option<Vpn> {
        let mut start = self.start.lock();
        if start.is_none() {
            *start = kernel.mmap(cx, &self.mm, pages, VmFlags::empty(), None).ok();
        }
        *start
    }
}

struct ChurnScene {
    shared: Arc<Shared>,
    writes: Arc<AtomicU64>,
    tasks: Vec<TaskSpec>,
}

impl Scene for ChurnScene {
    fn tasks(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.tasks)
    }

    fn figures(&self) -> Vec<(&'static str, f64, &'static str)> {
        let Counts {
            refused,
            set_mempolicy_refused,
            unmapped,
            killed,
            most_vmas,
            vmas,
            vmas_looks,
        } = &self.shared.counts;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let mut figures = vec![
            ("mems_writes", of(&self.writes), "writes"),
            ("tasks_killed", of(killed), "tasks"),
            ("vmas_mean", of(vmas) / of(vmas_looks).max(1.0), "VMAs"),
            ("vmas_most", of(most_vmas), "VMAs"),
            ("set_mempolicy_refused", of(set_mempolicy_refused), "calls"),
            ("unmapped_writes", of(unmapped), "faults"),
        ];
        let refusals = ERRNOS.iter().zip(refused);
        figures.extend(refusals.map(|((_, name), refused)| (*name, of(refused), "calls")));
        figures
    }

    fn finish(&mut self, _kernel: &Arc<Kernel>, _cx: &Cx) {
        self.shared.dead.lock().clear();
    }
}

struct Churner {
    shared: Arc<Shared>,
    group: Arc<Group>,
    start: Option<Vpn>,
}

/// A number below `end`.
fn below(cx: &Cx, end: u64) -> u64 {
    (cx.random() >> 16) % end.max(1)
}

impl Churner {
    /// Modes that the release has, nodes of the sets, sometimes with a mode flag.
    fn policy(&self, env: &Env<'_>) -> PolicySpec {
        let release = env.kernel.policy.release;
        let mode = loop {
            let mode = Mode::ALL[below(env.cx, Mode::ALL.len() as u64) as usize];
            if mode.exists_in(release) {
                break mode;
            }
        };
        if matches!(mode, Mode::Default | Mode::Local) {
            return PolicySpec::new(mode, NodeMask::EMPTY);
        }
        let mut nodes = NodeMask::EMPTY;
        for node in self.shared.nodes.iter() {
            if below(env.cx, 2) == 0 {
                nodes.set(node);
            }
        }
        let spec = PolicySpec::new(mode, if nodes.is_empty() { self.shared.nodes } else { nodes });
        match below(env.cx, 4) {
            0 => spec.with(ModeFlags::STATIC_NODES),
            1 => spec.with(ModeFlags::RELATIVE_NODES),
            _ => spec,
        }
    }

    /// A random part of the area, of at most so many pages.
    fn part(&self, cx: &Cx, start: Vpn, most: u64) -> (Vpn, u32) {
        let area = u64::from(self.shared.area);
        let from = below(cx, area);
        let pages = 1 + below(cx, (area - from).min(most));
        (start.plus(from as u32), pages as u32)
    }

    fn mbind(&self, env: &mut Env<'_>, start: Vpn) {
        let spec = self.policy(env);
        let (from, pages) = self.part(env.cx, start, u64::from(self.shared.area));
        let flags = match below(env.cx, 6) {
            0 => MbindFlags::STRICT,
            1 => MbindFlags::MOVE,
            2 => MbindFlags::MOVE | MbindFlags::STRICT,
            _ => MbindFlags::empty(),
        };
        let began = env.recorder.now();
        let len = u64::from(pages) * PAGE_SIZE;
        let bound = env.kernel.mbind(env.cx, &self.group.mm, from.addr(), len, &spec, flags);
        env.recorder.record(if bound.is_ok() { MBIND } else { MBIND_FAILED }, began);
        let counts = &self.shared.counts;
        if let Err(error) = bound {
            let place = ERRNOS.iter().position(|(errno, _)| *errno == MbindError::errno(error));
            debug_assert!(place.is_some(), "{error}");
            place.iter().for_each(|at| count(&counts.refused[*at], 1));
        }
        let vmas = self.group.mm.mmap_read_lock().len() as u64;
        count(&counts.vmas, vmas);
        count(&counts.vmas_looks, 1);
        counts.most_vmas.fetch_max(vmas, Ordering::Relaxed);
    }

    /// One of the calls that change a policy or the areas.
    fn change(&self, env: &mut Env<'_>, start: Vpn) {
        match below(env.cx, 8) {
            0 => {
                let spec = self.policy(env);
                let set = env.time(SET_MEMPOLICY, |kernel, cx| kernel.set_mempolicy(cx, &spec));
                count(&self.shared.counts.set_mempolicy_refused, u64::from(set.is_err()));
            }
            1 => {
                let (from, pages) = self.part(env.cx, start, REMAP_PAGES);
                let mm = &self.group.mm;
                // Without memory for an area the part stays unmapped: later writes find that.
                let _mapped = env.time(REMAP, |kernel, cx| {
                    kernel.mmap_fixed(cx, mm, from, pages, VmFlags::empty(), None)
                });
            }
            _ => self.mbind(env, start),
        }
    }

    /// Writes some pages; false if the task is to die.
    fn write(&self, env: &mut Env<'_>, start: Vpn) -> bool {
        for _ in 0..WRITES {
            let vpn = start.plus(below(env.cx, u64::from(self.shared.area)) as u32);
            let mm = &self.group.mm;
            match env.time(FAULT, |kernel, cx| kernel.access(cx, mm, vpn, true)) {
                Fault::Mapped | Fault::Present => {}
                Fault::SegmentationFault => count(&self.shared.counts.unmapped, 1),
                Fault::Killed | Fault::NoMemory | Fault::BusError => return false,
            }
        }
        !env.cx.task.process.is_killed()
    }

    fn exit(&self, env: &mut Env<'_>) {
        env.kernel.do_exit(env.cx);
        // AcqRel: the last one sees the others' exits, and only it takes the process off the list.
        if self.group.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            env.kernel.release_process(&self.group.process);
            self.shared.dead.lock().push(Arc::clone(&self.group.process));
        }
    }
}

impl TaskBody for Churner {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        let start = match self.start {
            Some(start) => Some(start),
            None => self.group.area(env.kernel, env.cx, self.shared.area),
        };
        self.start = start;
        let goes_on = start.is_some_and(|start| {
            if below(env.cx, 1_000_000) < self.shared.bind_per_million {
                self.change(env, start);
                !env.cx.task.process.is_killed()
            } else {
                self.write(env, start)
            }
        });
        if goes_on {
            return Step::Continue;
        }
        if env.kernel.clock.is_aborted() {
            return Step::Done;
        }
        // Killed with its whole group: it comes back with an address space of its own.
        count(&self.shared.counts.killed, 1);
        self.exit(env);
        let group = Group::new(env.kernel);
        let task = group.join(env.kernel, env.cx, &self.shared, env.cx.cpu());
        env.become_task(task);
        (self.group, self.start) = (group, None);
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        self.exit(env);
    }
}
