//! The smallest worlds in which each race of docs/kernel/interleavings.md can show itself.
//!
//! **What.** A [`World`] boots a machine of a few thousand frames, starts the two or three tasks
//! that the race needs, waits for them, and says what the oracle found. The explorer runs it under
//! every schedule; on real threads it is one try.
//!
//! **Why apart from the workloads.** A workload is load: many tasks, for long. An exhaustive search
//! wants the opposite. Both use the same mechanisms and the same oracle.
//!
//! **Smaller than life**: MAX_RECLAIM_RETRIES is [`RETRIES`] instead of 16, batches are a few
//! pages.

pub mod cpuset;
pub mod exit;
pub mod matrix;
pub mod offline;
pub mod reserves;
#[cfg(feature = "explore")]
pub mod scene;
#[cfg(feature = "explore")]
pub mod search;
pub mod zonelist;

use allocator::ids::{CpuId, ZoneIdx};
use allocator::machine::{Machine, Zone};
use allocator::oracle::{Finding, FindingKind};
use allocator::policy::{Family, Policy};
use allocator::race::Point;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;
use allocator::sync::{self, Arc, JoinHandle};

/// Passes of S17 without progress before a request goes on to the OOM killer.
pub const RETRIES: u32 = 2;

/// A world for one family of interleavings.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// The family that it can show.
    pub family: Family,
    /// What happens in it, in one line.
    pub about: &'static str,
    /// The kinds of findings, or verdicts of the explorer (`deadlock`, `livelock`), that show it.
    pub shows: &'static [&'static str],
    /// Context switches that docs/kernel/interleavings.md#j7 counts for it: no fewer preemptions
    /// are needed.
    pub switches: u32,
    /// Runs it once.
    pub run: fn(Policy) -> Outcome,
}

/// What one run of a world came to.
#[derive(Debug)]
pub struct Outcome {
    /// The model at the end, with nobody running in it.
    pub kernel: Arc<Kernel>,
}

impl Outcome {
    /// Everything that the oracle kept, and what the recount says.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = self.kernel.findings.take();
        let census = self.kernel.census();
        if !census.violations.is_empty() {
            findings.push(Finding {
                kind: FindingKind::Conservation,
                at: self.kernel.clock.now(),
                pid: 0,
                title: "frames unaccounted for".to_owned(),
                report: census.violations,
                timeline: Vec::new(),
                scaled: false,
            });
        }
        findings
    }
}

/// All worlds, in the order of the families.
pub fn all() -> impl Iterator<Item = &'static World> {
    let older = cpuset::WORLDS.iter().chain(exit::WORLDS).chain(reserves::WORLDS);
    older.chain(zonelist::WORLDS).chain(offline::WORLDS)
}

/// The world of a family.
pub fn find(family: Family) -> Option<&'static World> {
    all().find(|w| w.family == family)
}

/// The larger world of a family, where there is one.
pub fn find_larger(family: Family) -> Option<&'static World> {
    let mut all = cpuset::LARGER.iter().chain(zonelist::LARGER).chain(offline::LARGER);
    all.find(|w| w.family == family)
}

/// A machine of `nodes` equal nodes with one CPU and `pages` pages each, at low frame numbers.
fn small_machine(nodes: u16, pages: u64) -> Machine {
    let mut machine = Machine::uniform(nodes, 1, pages);
    let base = machine.nodes[0].zones[0].start_pfn - 2048;
    for node in &mut machine.nodes {
        for zone in &mut node.zones {
            zone.start_pfn -= base;
        }
    }
    machine
}

/// One node of two CPUs: a small Normal, and Movable of so many memory blocks in front of it.
fn movable_machine(blocks: u64) -> Machine {
    const BLOCK_PAGES: u32 = 512;
    let mut machine = small_machine(1, 2048);
    let cpu = machine.cpus[0];
    machine.cpus.push(cpu);
    machine.block_pages = BLOCK_PAGES;
    let end = machine.max_pfn();
    let movable = Zone::whole(ZoneIdx::Movable, end, blocks * u64::from(BLOCK_PAGES));
    machine.nodes[0].zones.push(movable);
    machine
}

/// A process with one thread, and its context.
fn task_on(kernel: &Kernel, name: &str, cpu: u16, flags: u32) -> Cx {
    let process = kernel.new_process(name, 0);
    Cx::new(kernel.new_task(&process, CpuId(cpu), flags), 1)
}

/// Settings of a small world.
fn small_config() -> KernelConfig {
    KernelConfig {
        max_reclaim_retries: RETRIES,
        kswapd: false,
        gather_pages: 8,
        ..KernelConfig::default()
    }
}

fn boot(machine: Machine, policy: Policy, config: KernelConfig) -> Arc<Kernel> {
    Kernel::boot(machine, policy, config).expect("a small world is a valid machine")
}

/// Starts a task of the world.
fn start(
    kernel: &Arc<Kernel>,
    name: &str,
    cx: Cx,
    body: impl FnOnce(&Arc<Kernel>, &Cx) + Send + 'static,
) -> JoinHandle<()> {
    let kernel = Arc::clone(kernel);
    sync::spawn(name, move || {
        // The explorer offers no switch at a task's first point: it has touched nothing yet.
        kernel.point(&cx, Point::TaskStart);
        body(&kernel, &cx);
    })
}

/// Waits for all tasks of a world.
fn join(handles: Vec<JoinHandle<()>>) {
    for handle in handles {
        // A task that panicked is a finding of the explorer's; on real threads it is ours.
        handle.join().expect("a task of the world panicked");
    }
}

/// A kernel thread on CPU 0 that belongs to no cpuset.
fn writer(kernel: &Kernel) -> Cx {
    kernel.kernel_thread("writer", CpuId(0))
}
