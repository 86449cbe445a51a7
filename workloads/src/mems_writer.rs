//! Whoever writes cpuset.mems: flips between disjoint node sets, as fast as it can or at an interval.

use allocator::cpuset::Cpuset;
use allocator::ids::{CpuId, NodeId};
use allocator::machine::Machine;
use allocator::nodemask::NodeMask;
use allocator::run::kernel::Kernel;
use allocator::run::task::Cx;
use allocator::sync::Arc;
use allocator::sync::atomic::{AtomicU64, Ordering};

use crate::{Env, OptionKind, OptionSpec, Options, Step, TaskBody, TaskSpec, WorkloadError};

/// `--mems-sets`.
pub(crate) const SETS: OptionSpec = OptionSpec {
    name: "mems-sets",
    value: "SETS",
    kind: OptionKind::Text,
    default: "",
    help: "node sets that mems flips between, such as 0-1;2-3 (default: first;second node)",
};

/// `--update-interval`.
pub(crate) const INTERVAL: OptionSpec = OptionSpec {
    name: "update-interval",
    value: "TIME",
    kind: OptionKind::Duration,
    default: "0",
    help: "pause between two writes of mems; 'never' is --updates 0",
};

/// `--updates`.
pub(crate) const UPDATES: OptionSpec = OptionSpec {
    name: "updates",
    value: "N",
    kind: OptionKind::Count,
    default: "",
    help: "stop writing mems after N writes; 0: the writer only watches",
};

/// The sets to flip between: disjoint, with memory on every node.
pub(crate) fn sets(
    workload: &str,
    machine: &Machine,
    options: &Options,
) -> Result<Vec<NodeMask>, WorkloadError> {
    let with_memory: Vec<NodeId> = machine
        .nodes
        .iter()
        .filter(|n| n.zones.iter().any(|z| z.managed_pages > 0))
        .map(|n| n.id)
        .collect();
    let text = options.text("mems-sets");
    if text.is_empty() {
        return match with_memory.as_slice() {
            [first, second, ..] => Ok(vec![NodeMask::of([*first]), NodeMask::of([*second])]),
            _ => Err(WorkloadError::Usage(format!(
                "{workload} needs two nodes with memory: --fake-numa 2 makes them"
            ))),
        };
    }
    let known = NodeMask::of(with_memory);
    let mut sets = Vec::new();
    for part in text.split(';') {
        let set = NodeMask::parse(part.trim())
            .map_err(|e| WorkloadError::Usage(format!("--mems-sets '{text}': {e}")))?;
        if set.is_empty() || !set.is_subset(&known) {
            return Err(WorkloadError::Usage(format!(
                "--mems-sets '{text}': nodes with memory are {known}, '{part}' is none of them"
            )));
        }
        if sets.iter().any(|other: &NodeMask| other.intersects(&set)) {
            return Err(WorkloadError::Usage(format!(
                "--mems-sets '{text}': sets must be disjoint, '{part}' meets another"
            )));
        }
        sets.push(set);
    }
    if sets.len() < 2 {
        return Err(WorkloadError::Usage(format!(
            "--mems-sets '{text}': want two sets or more, such as 0;1"
        )));
    }
    Ok(sets)
}

/// A cpuset whose mems will flip.
pub(crate) struct Flipping {
    /// Its mems are the first set.
    pub(crate) cs: Arc<Cpuset>,
    /// All nodes of the sets.
    pub(crate) nodes: NodeMask,
    /// Who writes mems: nobody that the OOM killer would take.
    pub(crate) writer: TaskSpec,
    /// How many writes it has made.
    pub(crate) writes: Arc<AtomicU64>,
}

/// Makes the cpuset and its writer, both named after the workload; a write is timed as operation `op`.
pub(crate) fn flipping(
    workload: &'static str,
    kernel: &Arc<Kernel>,
    cx: &Cx,
    options: &Options,
    op: usize,
) -> Result<Flipping, WorkloadError> {
    let sets = sets(workload, &kernel.machine, options)?;
    let fail = |error: &dyn std::fmt::Display| WorkloadError::CantRun(error.to_string());
    let cs = kernel.cpusets.create(&kernel.cpusets.top, workload).map_err(|e| fail(&e))?;
    kernel.cpuset_write_mems(cx, &cs, &sets[0]).map_err(|e| fail(&e))?;
    let nodes = sets.iter().fold(NodeMask::EMPTY, |all, set| all.or(set));
    let writes = Arc::default();
    let body = Box::new(MemsWriter {
        cs: Arc::clone(&cs),
        sets,
        next: 1,
        interval_ns: options.number("update-interval").unwrap_or(0),
        left: options.number("updates"),
        op,
        writes: Arc::clone(&writes),
    });
    let task = kernel.new_task(&kernel.new_process(workload, -1000), CpuId(0), 0);
    Ok(Flipping { cs, nodes, writer: TaskSpec { task, body }, writes })
}

/// The task that writes.
struct MemsWriter {
    cs: Arc<Cpuset>,
    sets: Vec<NodeMask>,
    /// The set that is written next; the first was written with the cpuset.
    next: usize,
    interval_ns: u64,
    left: Option<u64>,
    /// The operation that a write is timed as.
    op: usize,
    writes: Arc<AtomicU64>,
}

impl TaskBody for MemsWriter {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        match &mut self.left {
            Some(0) => {
                env.kernel.clock.sleep(10_000_000);
                return Step::Continue;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let mems = self.sets[self.next];
        self.next = (self.next + 1) % self.sets.len();
        let cs = &self.cs;
        let written = env.time(self.op, |kernel, cx| kernel.cpuset_write_mems(cx, cs, &mems));
        debug_assert_eq!(written, Ok(()), "nodes with memory");
        self.writes.fetch_add(1, Ordering::Relaxed);
        if self.interval_ns > 0 {
            env.kernel.clock.sleep(self.interval_ns);
        }
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        env.kernel.do_exit(env.cx);
    }
}
