//! What the tasks do: one file for each workload, and the contract by which both worlds drive it.
//!
//! **What.** A [`Workload`] is registered in [`all`] and describes itself as data: name, axes that
//! it stresses, operations that it times, options. From a booted kernel it makes a [`Scene`]: the
//! cpusets, processes and shared state of one round, and a [`TaskBody`] for each of its tasks.
//!
//! **Why steps.** A task is driven step by step ([`TaskBody::step`]), each bounded, so that the same
//! source runs for ten seconds on real threads and for a few steps under the explorer.
//!
//! **Who records.** A body times what it does through [`Env`]; the harness brings the
//! [`Recorder`], the explorer none.

pub mod cpuset01;
pub mod mbind_churn;
mod mems_writer;
pub mod offline_free;
pub mod oom_storm;
pub mod options;
pub mod page_alloc;
pub mod replay;
pub mod worlds;
pub mod zonelist_rebuild;

use std::fmt;

use allocator::machine::Machine;
use allocator::policy::Policy;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Task};
use allocator::sync::Arc;

pub use options::{OptionKind, OptionSpec, OptionValue, Options, WorkloadError};

/// A workload as data.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Axes whose variants it tells apart.
    pub axes: &'static [&'static str],
    /// Figures by which variants are told apart, as `fault.mid_ns`: a comparison tests these together
    /// and stars no others. Few, since each one more asks for more rounds.
    pub primary: &'static [&'static str],
    /// Operations that it times, in the order of the tables. Names as in results.
    pub ops: &'static [&'static str],
    /// Its own options.
    pub options: &'static [OptionSpec],
    /// Nodes with memory that it needs; missing ones are made with a fake NUMA split.
    pub nodes: u32,
    /// Does it need ZONE_MOVABLE (made by itself where the machine has none)?
    pub movable: Movable,
    /// Most memory a node that is modelled unless --memory says otherwise, in bytes.
    pub memory_per_node: Option<u64>,
}

/// What a workload wants of ZONE_MOVABLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movable {
    /// Nothing.
    None,
    /// A share of each node, in percent.
    Percent(u8),
    /// One memory block of the last node.
    OneBlock,
}

/// A workload.
pub trait Workload: Send + Sync + fmt::Debug {
    /// What it is.
    fn info(&self) -> &'static Info;

    /// Refuses options, thread counts or machines that it can't run with; called before anything
    /// starts.
    ///
    /// # Errors
    /// In one line: what is wrong and how to mend it.
    fn check(
        &self,
        machine: &Machine,
        policy: &Policy,
        options: &Options,
        threads: u32,
    ) -> Result<(), WorkloadError>;

    /// Nodes with memory that it needs with these options.
    fn nodes(&self, _options: &Options) -> u32 {
        self.info().nodes
    }

    /// Interrupts a second on each CPU, unless the user says otherwise.
    fn irq_rate(&self) -> Option<u64> {
        None
    }

    /// Changes what the workload needs otherwise of the kernel around the allocator; called once,
    /// before booting.
    fn configure(&self, _config: &mut KernelConfig, _options: &Options) {}

    /// The option that names a recording which the workload replays. Whoever starts it reads that
    /// recording and runs the workload that it makes instead.
    fn recording_option(&self) -> Option<&'static str> {
        None
    }

    /// Number of tasks, if the workload runs with no other.
    fn fixed_threads(&self, _machine: &Machine, _options: &Options) -> Option<u32> {
        None
    }

    /// Sets up one round on a booted kernel. `cx` is a kernel thread's context.
    ///
    /// # Errors
    /// As [`Workload::check`].
    fn scene(
        &self,
        kernel: &Arc<Kernel>,
        cx: &Cx,
        options: &Options,
        threads: u32,
        seed: u64,
    ) -> Result<Box<dyn Scene>, WorkloadError>;
}

/// One round of a workload: its tasks and what they share.
pub trait Scene: Send {
    /// The tasks, one OS thread each, in the order of their threads. Called once.
    fn tasks(&mut self) -> Vec<TaskSpec>;

    /// Figures that are neither operations nor kernel counters, as (name, value, unit).
    fn figures(&self) -> Vec<(&'static str, f64, &'static str)> {
        Vec::new()
    }

    /// What the user has to know about this round's figures, one line each.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// The model beside a real kernel, if the workload has a real twin; asked after all bodies have
    /// finished by themselves.
    fn fidelity(&self, _kernel: &Kernel) -> Option<Fidelity> {
        None
    }

    /// Ends the round after all bodies have finished: gives back what the scene itself holds.
    fn finish(&mut self, kernel: &Arc<Kernel>, cx: &Cx);
}

/// The model held against a real kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fidelity {
    /// Where the kernel's figures come from.
    pub source: String,
    /// One row for each figure.
    pub rows: Vec<FidelityRow>,
}

/// One figure of the model beside the kernel's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FidelityRow {
    /// What is compared, with its unit.
    pub figure: String,
    /// The kernel's value.
    pub kernel: Option<f64>,
    /// The model's value.
    pub model: Option<f64>,
    /// Largest relative difference that counts as equal; none: for information only.
    pub tolerance: Option<f64>,
    /// How well it is defined: E, S, U or P (see [`replay::fidelity`]).
    pub defined: &'static str,
    /// What can move it, or what it leaves out.
    pub reason: Option<String>,
}

/// A task to start.
pub struct TaskSpec {
    /// The task; its thread is pinned to the host CPU of `task.cpu`.
    pub task: Arc<Task>,
    /// What it does.
    pub body: Box<dyn TaskBody>,
}

impl fmt::Debug for TaskSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSpec").field("pid", &self.task.pid).finish_non_exhaustive()
    }
}

/// Goes on or is through?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call again.
    Continue,
    /// The task has nothing more to do.
    Done,
}

/// What a task does.
pub trait TaskBody: Send {
    /// One bounded step.
    fn step(&mut self, env: &mut Env<'_>) -> Step;

    /// Gives back everything (exits its mm). Called once, after the last step.
    fn finish(&mut self, env: &mut Env<'_>);
}

/// Takes the times of operations. Op numbers index [`Info::ops`].
pub trait Recorder {
    /// The clock now, in its own ticks.
    fn now(&self) -> u64;
    /// An operation took from `start` to now.
    fn record(&mut self, op: usize, start: u64);
    /// An operation that somebody else timed, in model ns.
    fn record_ns(&mut self, op: usize, ns: u64);
    /// An operation that was not timed.
    fn count(&mut self, op: usize, operations: u64);
}

/// Records nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecorder;

impl Recorder for NoRecorder {
    fn now(&self) -> u64 {
        0
    }
    fn record(&mut self, _op: usize, _start: u64) {}
    fn record_ns(&mut self, _op: usize, _ns: u64) {}
    fn count(&mut self, _op: usize, _operations: u64) {}
}

/// What a step works with.
pub struct Env<'a> {
    /// The model.
    pub kernel: &'a Arc<Kernel>,
    /// The context of the thread; a body whose task died brings a new one by
    /// [`Env::become_task`].
    pub cx: &'a mut Cx,
    /// Who takes the times.
    pub recorder: &'a mut dyn Recorder,
}

impl fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("cx", &self.cx).finish_non_exhaustive()
    }
}

impl Env<'_> {
    /// Times `work` as an operation.
    #[inline]
    pub fn time<R>(&mut self, op: usize, work: impl FnOnce(&Arc<Kernel>, &Cx) -> R) -> R {
        let start = self.recorder.now();
        let result = work(self.kernel, self.cx);
        self.recorder.record(op, start);
        result
    }

    /// The thread goes on as another task (the old one was killed). Counters, observer and random
    /// stream are kept.
    pub fn become_task(&mut self, task: Arc<Task>) {
        self.cx.become_task(task);
    }
}

/// All workloads, in the order of `stress list`.
pub fn all() -> &'static [&'static dyn Workload] {
    static ALL: &[&dyn Workload] = &[
        &cpuset01::Cpuset01,
        &mbind_churn::MbindChurn,
        &offline_free::OfflineFree,
        &oom_storm::OomStorm,
        &zonelist_rebuild::ZonelistRebuild,
        &page_alloc::PageAlloc,
        &replay::REPLAY,
    ];
    ALL
}

/// The workload with this name.
pub fn find(name: &str) -> Option<&'static dyn Workload> {
    all().iter().copied().find(|w| w.info().name == name)
}
