//! Whoever writes cpuset.mems: flips between disjoint node sets, as fast as it can or at an interval.

use allocator::cpuset::Cpuset;
use allocator::ids::NodeId;
use allocator::machine::Machine;
use allocator::nodemask::NodeMask;
use allocator::sync::Arc;
use allocator::sync::atomic::{AtomicU64, Ordering};

use crate::{Env, OptionKind, OptionSpec, Options, Step, TaskBody, WorkloadError};

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

/// The task that writes.
pub(crate) struct MemsWriter {
    cs: Arc<Cpuset>,
    sets: Vec<NodeMask>,
    next: usize,
    interval_ns: u64,
    left: Option<u64>,
    /// The operation that a write is timed as.
    op: usize,
    writes: Arc<AtomicU64>,
}

impl MemsWriter {
    /// The next write is of the second set: the scene has written the first.
    pub(crate) fn new(cs: &Arc<Cpuset>, sets: Vec<NodeMask>, options: &Options, op: usize) -> Self {
        Self {
            cs: Arc::clone(cs),
            sets,
            next: 1,
            interval_ns: options.number("update-interval").unwrap_or(0),
            left: options.number("updates"),
            op,
            writes: Arc::default(),
        }
    }

    /// How many writes it has made.
    pub(crate) fn writes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.writes)
    }
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
