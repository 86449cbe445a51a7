//! oom-storm: groups of tasks allocate until the OOM killer comes, again and again.
//!
//! **What.** The threads are dealt out to processes of one or many threads, which fault in memory,
//! some of it mlocked, and make system calls that take kernel pages in a loop. Some exit by
//! themselves, the others grow until they are killed; then all threads exit and the process is
//! started anew, so that the storm goes on (`process.rs`). Beside them: /proc readers that hold
//! mm_users, a process_mrelease daemon, a PF_MEMALLOC reclaimer, idle processes that die of extra
//! kills, and one who looks whether anybody makes progress (`beside.rs`). Interrupts make
//! GFP_ATOMIC requests.
//!
//! **Why.** What happens after the killer has chosen: the reaper against exit_mmap, and how deep
//! victims dig while reclaim and interrupts need the same reserve (docs/kernel/oom.md, J.2, J.3).
//!
//! **Differs.** A thread that waits for its process to be started anew is asleep, as a supervisor
//! that waits for its child is. Idle processes share one OS thread.

mod beside;
mod process;

use std::fmt;

use allocator::cpuset::Cpuset;
use allocator::ids::{CpuId, NodeId, PAGE_SIZE};
use allocator::machine::Machine;
use allocator::nodemask::NodeMask;
use allocator::policy::Policy;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, pf};
use allocator::sync::Arc;
use allocator::sync::atomic::{AtomicU64, Ordering};
use allocator::zone::Wmark;

use crate::{
    Info, Movable, OptionKind, OptionSpec, Options, Scene, TaskBody, TaskSpec, Workload,
    WorkloadError,
};
use beside::{Bystanders, Reader, Reclaimer, Releaser, Sampler};
use process::{Group, StormThread};

const FAULT: usize = 0;
const SYSCALL: usize = 1;
const SYSCALL_FAILED: usize = 2;
const EXIT: usize = 3;
const KILL_TO_FREE: usize = 4;
const MEMALLOC: usize = 5;
const MEMALLOC_FAILED: usize = 6;
const MRELEASE: usize = 7;

/// Interrupts a second on each CPU unless `--irq-rate` says otherwise.
const IRQ_RATE: u64 = 1_000;

/// What unmapping and freeing a page costs unless `--unmap-ns-per-page` says otherwise: a process
/// of 1 GiB takes 65 ms to exit then, about as on a real machine. The model's own few ns would hide
/// what is looked for.
const UNMAP_NS_PER_PAGE: u64 = 250;

/// The workload.
#[derive(Clone, Copy, Debug)]
pub struct OomStorm;

impl Workload for OomStorm {
    fn info(&self) -> &'static Info {
        &Info {
            name: "oom-storm",
            about: "many victims: the reaper races exit_mmap, victims dig into the reserves",
            axes: &["exit", "reserves"],
            primary: &["fault.ops_per_s", "fault.mid_ns", "exit.mid_ns", "kill_to_free.mid_ns"],
            ops: &[
                "fault",
                "syscall",
                "syscall_failed",
                "exit",
                "kill_to_free",
                "memalloc",
                "memalloc_failed",
                "mrelease",
            ],
            options: OPTIONS,
            nodes: 1,
            movable: Movable::None,
            memory_per_node: Some(1 << 30),
        }
    }

    fn nodes(&self, options: &Options) -> u32 {
        if Constraint::of(options) == Constraint::None { 1 } else { 2 }
    }

    fn irq_rate(&self) -> Option<u64> {
        Some(IRQ_RATE)
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
                "oom-storm needs --threads 2 or more: a victim, and one who goes on".to_owned(),
            ));
        }
        Settings::new(machine, options, threads).map(|_| ())
    }

    fn configure(&self, config: &mut KernelConfig, _options: &Options) {
        // What an interrupt needs for a node's slab it asks that node for: others are no way out.
        config.irq_this_node = true;
        if config.unmap_ns_per_page == 0 {
            config.unmap_ns_per_page = UNMAP_NS_PER_PAGE;
        }
    }

    fn scene(
        &self,
        kernel: &Arc<Kernel>,
        cx: &Cx,
        options: &Options,
        threads: u32,
        _seed: u64,
    ) -> Result<Box<dyn Scene>, WorkloadError> {
        let settings = Settings::new(&kernel.machine, options, threads)?;
        let fail = |error: &dyn fmt::Display| WorkloadError::CantRun(error.to_string());
        let mut cpuset = None;
        if settings.constraint == Constraint::Cpuset {
            let cs = kernel.cpusets.create(&kernel.cpusets.top, "storm").map_err(|e| fail(&e))?;
            kernel.cpuset_write_mems(cx, &cs, &settings.nodes).map_err(|e| fail(&e))?;
            cpuset = Some(cs);
        }
        let sizes = deal(cx, threads, settings.victim_threads);
        let mean = settings.memory_pages / sizes.len() as u64;
        let victim_pages = settings.victim_pages.unwrap_or(mean).max(64);
        let shared = Arc::new(Shared {
            settings,
            cpuset,
            victim_pages,
            groups: sizes.iter().map(|threads| Group::new(*threads)).collect(),
            served: AtomicU64::new(0),
            counts: Counts::default(),
        });
        let mut tasks = Tasks { kernel, next_cpu: 0, specs: Vec::new() };
        for group in 0..shared.groups.len() {
            for (task, body) in StormThread::of_group(kernel, cx, &shared, group) {
                let spec = TaskSpec { task, body };
                // Neighbours in a process run on different CPUs.
                spec.task.cpu.store(u32::from(tasks.next_cpu().0), Ordering::Relaxed);
                tasks.specs.push(spec);
            }
        }
        for _ in 0..shared.settings.readers {
            tasks.add("reader", 0, Box::new(Reader::new(&shared)));
        }
        if shared.settings.mrelease {
            tasks.add("lmkd", 0, Box::new(Releaser::new(&shared)));
        }
        tasks.add("writeback", pf::MEMALLOC, Box::new(Reclaimer::new(&shared)));
        tasks.add("init", 0, Box::new(Bystanders::new(kernel, cx, &shared)));
        tasks.add("sampler", 0, Box::new(Sampler::new(&shared)));
        let kernel = Arc::clone(kernel);
        Ok(Box::new(StormScene { kernel, shared, tasks: tasks.specs }))
    }
}

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "constraint",
        value: "WHAT",
        kind: OptionKind::Choice(&["none", "cpuset", "mempolicy"]),
        default: "none",
        help: "what runs out: the machine, or the node of a cpuset or of a mempolicy",
    },
    OptionSpec {
        name: "victim-threads",
        value: "N|MIN-MAX",
        kind: OptionKind::Text,
        default: "1-64",
        help: "threads of a process, drawn log-uniformly, at most a quarter of --threads",
    },
    OptionSpec {
        name: "victim-size",
        value: "SIZE",
        kind: OptionKind::Size,
        default: "",
        help: "median size of a process, drawn from a quarter to four times it [default: its share \
               of the memory]",
    },
    OptionSpec {
        name: "syscall-size",
        value: "SIZE",
        kind: OptionKind::Size,
        default: "",
        help: "kernel memory that a long system call takes page by page, at most [default: four \
               times a thread's share of the memory, a quarter of it at most]",
    },
    OptionSpec {
        name: "syscall-share",
        value: "SHARE",
        kind: OptionKind::Share,
        default: "50%",
        help: "share of the processes whose threads make such calls between their faults",
    },
    OptionSpec {
        name: "mlocked-share",
        value: "SHARE",
        kind: OptionKind::Share,
        default: "10%",
        help: "share of the mapped areas that are mlocked",
    },
    OptionSpec {
        name: "exit-share",
        value: "SHARE",
        kind: OptionKind::Share,
        default: "10%",
        help: "share of the processes that exit by themselves when they have their size",
    },
    OptionSpec {
        name: "mm-readers",
        value: "N",
        kind: OptionKind::Count,
        default: "1",
        help: "tasks that hold mm_users of others for moments, as readers of /proc do",
    },
    OptionSpec {
        name: "mrelease",
        value: "",
        kind: OptionKind::Flag,
        default: "",
        help: "a daemon calls process_mrelease on dying processes",
    },
    OptionSpec {
        name: "bystanders",
        value: "N",
        kind: OptionKind::Count,
        default: "8",
        help: "idle processes that are killed only when nobody else is left to choose",
    },
];

/// What memory runs out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Constraint {
    None,
    Cpuset,
    Mempolicy,
}

impl Constraint {
    fn of(options: &Options) -> Self {
        match options.text("constraint") {
            "cpuset" => Self::Cpuset,
            "mempolicy" => Self::Mempolicy,
            _ => Self::None,
        }
    }
}

/// The options, with what the machine makes of them.
#[derive(Clone, Debug)]
struct Settings {
    constraint: Constraint,
    /// Where the storm allocates.
    nodes: NodeMask,
    /// Pages there.
    memory_pages: u64,
    victim_threads: (u32, u32),
    victim_pages: Option<u64>,
    syscall_pages: u64,
    syscall_share: f64,
    mlocked_share: f64,
    exit_share: f64,
    readers: u64,
    mrelease: bool,
    bystanders: u64,
}

impl Settings {
    fn new(machine: &Machine, options: &Options, threads: u32) -> Result<Self, WorkloadError> {
        let usage = |text: String| Err(WorkloadError::Usage(text));
        let constraint = Constraint::of(options);
        let all: Vec<(NodeId, u64)> = machine
            .nodes
            .iter()
            .map(|n| (n.id, n.zones.iter().map(|z| z.managed_pages).sum()))
            .filter(|(_, pages)| *pages > 0)
            .collect();
        let bound: &[(NodeId, u64)] = match constraint {
            Constraint::None => &all,
            Constraint::Cpuset | Constraint::Mempolicy if all.len() < 2 => {
                let word = options.text("constraint");
                return usage(format!(
                    "--constraint {word} needs a node to be bound to and another: --fake-numa 2"
                ));
            }
            Constraint::Cpuset | Constraint::Mempolicy => &all[all.len() - 1..],
        };
        let share = |name: &str| {
            let share = options.share(name);
            if (0.0..=1.0).contains(&share) {
                Ok(share)
            } else {
                Err(WorkloadError::Usage(format!("--{name} {share}: want a share from 0 to 1")))
            }
        };
        let memory_pages: u64 = bound.iter().map(|(_, pages)| pages).sum();
        let victim_pages = options.number("victim-size").map(|bytes| bytes / PAGE_SIZE);
        // Long enough that the threads of one victim can use up a zone's reserve in their calls.
        let long = (memory_pages * 4 / u64::from(threads)).min(memory_pages / 4);
        let syscall_pages = options.number("syscall-size").map_or(long, |bytes| bytes / PAGE_SIZE);
        if victim_pages.is_some_and(|pages| pages < 16 || pages > memory_pages) {
            return usage(format!(
                "--victim-size {}K: want 64K to the {} MiB that the processes share",
                victim_pages.unwrap_or(0) * 4,
                memory_pages >> 8
            ));
        }
        if syscall_pages > memory_pages / 4 {
            return usage(format!(
                "--syscall-size {}K: want a quarter of the {} MiB that the processes share, or less",
                syscall_pages * 4,
                memory_pages >> 8
            ));
        }
        Ok(Self {
            constraint,
            nodes: NodeMask::of(bound.iter().map(|(id, _)| *id)),
            memory_pages,
            victim_threads: thread_range(options.text("victim-threads"))?,
            victim_pages,
            syscall_pages,
            syscall_share: share("syscall-share")?,
            mlocked_share: share("mlocked-share")?,
            exit_share: share("exit-share")?,
            readers: options.number("mm-readers").unwrap_or(0),
            mrelease: options.flag("mrelease"),
            bystanders: options.number("bystanders").unwrap_or(0),
        })
    }
}

/// `8` or `1-64`.
fn thread_range(text: &str) -> Result<(u32, u32), WorkloadError> {
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    match (min.trim().parse(), max.trim().parse()) {
        (Ok(min), Ok(max)) if 1 <= min && min <= max => Ok((min, max)),
        _ => Err(WorkloadError::Usage(format!(
            "--victim-threads '{text}': want a number or a range, such as 8 or 1-64"
        ))),
    }
}

/// A random number between two bounds, each factor equally likely.
fn log_uniform(cx: &Cx, min: f64, max: f64) -> f64 {
    let unit = (cx.random() >> 11) as f64 / (1u64 << 53) as f64;
    min * (max / min).powf(unit)
}

/// True in this share of the cases.
fn chance(cx: &Cx, share: f64) -> bool {
    ((cx.random() >> 11) as f64) < share * (1u64 << 53) as f64
}

/// Deals threads out to processes: at least two of them.
fn deal(cx: &Cx, threads: u32, (min, max): (u32, u32)) -> Vec<u32> {
    let most = max.min((threads / 4).max(1));
    let mut left = threads;
    let mut sizes = Vec::new();
    while left > 0 {
        let drawn = log_uniform(cx, f64::from(min.min(most)), f64::from(most) + 0.99) as u32;
        let size = drawn.clamp(1, left);
        sizes.push(size);
        left -= size;
    }
    sizes
}

/// What the storm counted beside the kernel.
#[derive(Debug, Default)]
struct Counts {
    /// Processes that were killed and started anew.
    killed: AtomicU64,
    /// Processes that had exited by themselves.
    exited: AtomicU64,
    /// Threads that were in a system call when their process was killed.
    in_syscall: AtomicU64,
    /// Pages that those took before they returned.
    dug: AtomicU64,
    /// Idle processes that were killed.
    bystanders: AtomicU64,
    /// Time in which nobody was served, in ns.
    no_progress_ns: AtomicU64,
    /// The longest such time.
    no_progress_longest_ns: AtomicU64,
}

/// What all tasks of a round share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    cpuset: Option<Arc<Cpuset>>,
    /// Median size of a process.
    victim_pages: u64,
    groups: Vec<Group>,
    /// Steps in which somebody got memory or gave some back.
    served: AtomicU64,
    counts: Counts,
}

impl Shared {
    /// Somebody was served.
    fn progress(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }
}

struct Tasks<'a> {
    kernel: &'a Arc<Kernel>,
    next_cpu: u32,
    specs: Vec<TaskSpec>,
}

impl Tasks<'_> {
    fn next_cpu(&mut self) -> CpuId {
        let cpu = CpuId((self.next_cpu % self.kernel.cpus.len() as u32) as u16);
        self.next_cpu += 1;
        cpu
    }

    /// A task that no OOM killer takes.
    fn add(&mut self, comm: &str, flags: u32, body: Box<dyn TaskBody>) {
        let process = self.kernel.new_process(comm, -1000);
        let cpu = self.next_cpu();
        let task = self.kernel.new_task(&process, cpu, flags);
        self.specs.push(TaskSpec { task, body });
    }
}

struct StormScene {
    kernel: Arc<Kernel>,
    shared: Arc<Shared>,
    tasks: Vec<TaskSpec>,
}

/// Says so if refills and unlocked checks blur what the levels of the reserves are: the oracle
/// allows for them, and a reader of `lowest.victim` must, too.
fn blurred_floor(kernel: &Kernel) -> Option<String> {
    let zone = kernel.populated_zones().max_by_key(|z| z.wmark_unboosted(Wmark::Min))?;
    let (min, slack) = (zone.wmark_unboosted(Wmark::Min), kernel.reserve_slack(zone, 0));
    (slack >= min / 8).then(|| {
        format!(
            "refills and unlocked checks of {} CPUs may take {} {}% of min deeper than a right allows",
            kernel.cpus.len(),
            zone.idx(),
            slack * 100 / min.max(1),
        )
    })
}

impl Scene for StormScene {
    fn tasks(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.tasks)
    }

    fn figures(&self) -> Vec<(&'static str, f64, &'static str)> {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        let counts = &self.shared.counts;
        let oom = &self.kernel.oom;
        let reaper = &oom.reaper.stats;
        vec![
            ("processes_killed", get(&counts.killed), "processes"),
            ("processes_exited", get(&counts.exited), "processes"),
            ("bystanders_killed", get(&counts.bystanders), "processes"),
            ("killed_in_syscall", get(&counts.in_syscall), "threads"),
            ("taken_after_kill", get(&counts.dug), "pages"),
            ("marked_without_kill", get(&oom.stats.silent_marks), "threads"),
            ("searches_stopped", get(&oom.stats.aborted_searches), "searches"),
            ("no_progress_ms", get(&counts.no_progress_ns) / 1e6, "ms"),
            ("no_progress_longest_ms", get(&counts.no_progress_longest_ns) / 1e6, "ms"),
            ("reaper_queued", get(&reaper.queued), "victims"),
            ("reaper_dropped", get(&reaper.dropped), "victims"),
            ("reaper_reaped", get(&reaper.reaped), "victims"),
            ("reaper_reaped_pages", get(&reaper.reaped_pages), "pages"),
            ("reaper_no_users", get(&reaper.no_users), "victims"),
            ("reaper_found_skip", get(&reaper.found_skip), "victims"),
            ("reaper_retries", get(&reaper.trylock_failed), "tries"),
            ("reaper_unable", get(&reaper.unable), "victims"),
            ("mreleased", get(&reaper.mreleased), "calls"),
        ]
    }

    fn remarks(&self) -> Vec<String> {
        let unmap = self.kernel.config.unmap_ns_per_page;
        let mut remarks = vec![format!("unmapping is charged {unmap} ns a page")];
        remarks.extend(blurred_floor(&self.kernel));
        if self.shared.counts.killed.load(Ordering::Relaxed) == 0 {
            remarks.push("nobody was killed: this round proves nothing".to_owned());
        }
        remarks
    }

    fn finish(&mut self, _kernel: &Arc<Kernel>, _cx: &Cx) {}
}
