//! The OS threads of a round: tasks, CPU threads, node threads.
//!
//! **What.** A task thread makes its body's steps, pinned to the host CPU of its model CPU. A CPU
//! thread runs what the kernel runs on that CPU outside the tasks (queued drains) and sleeps
//! otherwise. kswapd has a thread for each node with memory, the oom_reaper one; `--irq-rate` is a
//! timer that raises interrupts on every CPU.
//!
//! **Why.** The race is between real threads on real CPUs; a thread that the host moves about would
//! meet the others' caches by chance.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use allocator::ids::{CpuId, NodeId};
use allocator::machine::Machine;
use allocator::run::kernel::Kernel;
use allocator::run::task::{Cx, CxStats, Task};
use allocator::sync::{Arc, stamp};
use results::histogram::{Config, OpHistograms, OpNames};
use workloads::{Env, Step, TaskBody, TaskSpec};

use super::control::{Control, Phase, Slot, lock};
use crate::cli::exit::Stop;
use crate::machine::{affinity, metadata};
use crate::record::clock::Ticks;
use crate::record::locks::LockBox;
use crate::record::preemption::Usage;
use crate::record::recorder::{Outbox, PathObserver, Paths, ThreadRecorder};

/// Stack of the threads that only wait for work; tasks get the default.
const SERVICE_STACK: usize = 512 << 10;

/// How long a task keeps a host CPU that it shares with others, in ns, before it gives it away
/// between two steps.
///
/// A kernel does not preempt a task inside a fault either; a host that did would leave mmap_lock or
/// a zone lock held for as many slices as there are tasks. So turns are shorter than the host's
/// slices, and short enough that all tasks of a CPU get theirs within some milliseconds.
pub fn turn_ns(tasks: usize, host_cpus: usize) -> Option<u64> {
    const CYCLE_NS: u64 = 4_000_000;
    let sharing = (tasks as u64).div_ceil(host_cpus.max(1) as u64);
    (sharing > 1).then(|| (CYCLE_NS / sharing).clamp(50_000, 500_000))
}

/// Counters of one or more contexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that reached S1.
    pub slow_entries: u64,
    /// Passes through S7 after the first of a request.
    pub slow_retries: u64,
    /// Passes of OOM victims without a right to the reserve.
    pub bare_victim_passes: u64,
    /// Jumps to S1.
    pub restarts: u64,
    /// Requests that failed.
    pub failures: u64,
    /// Waits for a zone lock.
    pub zone_lock_waits: u64,
    /// Waits for a pcp section that another task of the model CPU was in.
    pub pcp_section_waits: u64,
    /// Rounds spent spinning on a sequence counter.
    pub seq_spins: u64,
    /// Interrupts delivered.
    pub irqs: u64,
}

impl Stats {
    /// Of one context, so far.
    pub fn of(stats: &CxStats) -> Self {
        Self {
            slow_entries: stats.slow_entries.get(),
            slow_retries: stats.slow_retries.get(),
            bare_victim_passes: stats.bare_victim_passes.get(),
            restarts: stats.restarts.get(),
            failures: stats.failures.get(),
            zone_lock_waits: stats.zone_lock_waits.get(),
            pcp_section_waits: stats.pcp_section_waits.get(),
            seq_spins: stats.seq_spins.get(),
            irqs: stats.irqs.get(),
        }
    }

    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            slow_entries: f(self.slow_entries, other.slow_entries),
            slow_retries: f(self.slow_retries, other.slow_retries),
            bare_victim_passes: f(self.bare_victim_passes, other.bare_victim_passes),
            restarts: f(self.restarts, other.restarts),
            failures: f(self.failures, other.failures),
            zone_lock_waits: f(self.zone_lock_waits, other.zone_lock_waits),
            pcp_section_waits: f(self.pcp_section_waits, other.pcp_section_waits),
            seq_spins: f(self.seq_spins, other.seq_spins),
            irqs: f(self.irqs, other.irqs),
        }
    }

    /// What was counted since an earlier look.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.zip(earlier, |a, b| a.saturating_sub(b))
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

/// What a task thread leaves of its measured phase.
#[derive(Debug)]
pub struct TaskLeft {
    /// Its operations.
    pub ops: OpHistograms,
    /// The allocator's paths on it, if they were observed.
    pub paths: Option<Paths>,
    /// Its counters.
    pub stats: Stats,
    /// CPU time and involuntary switches.
    pub usage: Usage,
}

/// What all task threads need to know.
#[derive(Clone, Debug)]
pub struct TaskSetup {
    /// The model.
    pub kernel: Arc<Kernel>,
    /// The round's control.
    pub control: Arc<Control>,
    /// Names of the workload's operations.
    pub names: OpNames,
    /// Are the allocator's paths timed?
    pub observes_paths: bool,
    /// Seed of the contexts.
    pub seed: u64,
    /// How long a task keeps its host CPU, if it shares that with others.
    pub turn_ns: Option<u64>,
    /// Share of its own time by which each operation is slowed down on purpose.
    pub slow: Vec<f64>,
    /// Where lock times go, if they are wanted.
    pub locks: Option<LockBox>,
}

/// A started task thread. A panic comes back as the thread's result.
pub type TaskHandle = JoinHandle<std::thread::Result<TaskLeft>>;

/// Starts the tasks; all of them wait at the gate.
///
/// # Errors
/// If the host refuses a thread; those already started end.
pub fn start_tasks(setup: &TaskSetup, tasks: Vec<TaskSpec>) -> Result<Vec<TaskHandle>, Stop> {
    let wanted = tasks.len();
    let mut handles: Vec<TaskHandle> = Vec::with_capacity(wanted);
    for (index, spec) in tasks.into_iter().enumerate() {
        let thread_setup = setup.clone();
        let body = move || {
            let run = || {
                let _hears = thread_setup.locks.as_ref().map(LockBox::hear);
                TaskThread::new(&thread_setup, index, spec.task).run(spec.body)
            };
            let result = catch_unwind(AssertUnwindSafe(run));
            thread_setup.control.slots[index].done.store(1, Ordering::Relaxed);
            thread_setup.control.nudge();
            result
        };
        match Builder::new().name(format!("task{}", index + 1)).spawn(body) {
            Ok(handle) => handles.push(handle),
            Err(e) => {
                // First, while those that have started still hold what is short.
                let stop = refused(&e, index, wanted);
                setup.control.begin(Phase::Stop);
                handles.into_iter().for_each(|h| drop(h.join()));
                return Err(stop);
            }
        }
    }
    Ok(handles)
}

/// The host refused a thread.
fn refused(error: &io::Error, started: usize, wanted: usize) -> Stop {
    // The system says the same (EAGAIN) for each of its limits.
    let limit = if metadata::address_space_left().is_some_and(|left| left < 64 << 20) {
        "ulimit -v"
    } else {
        "ulimit -u (or the cgroup's pids.max)"
    };
    Stop::cannot_run(format!(
        "the host refused thread {} of {wanted} ({error}): take fewer --threads, or raise {limit}",
        started + 1
    ))
}

/// One task thread.
struct TaskThread<'a> {
    setup: &'a TaskSetup,
    slot: &'a Slot,
    cx: Cx,
    recorder: ThreadRecorder,
    /// What was recorded in intervals that are over.
    total: OpHistograms,
    ticks: Ticks,
    outbox: Outbox,
    /// Counters and usage when the measured phase began.
    from: (Stats, Usage),
    answered: u32,
    measures: bool,
}

impl<'a> TaskThread<'a> {
    /// Pins the thread and waits at the gate.
    fn new(setup: &'a TaskSetup, index: usize, task: Arc<Task>) -> Self {
        pin_to(&setup.kernel.machine, CpuId(task.cpu.load(Ordering::Relaxed) as u16));
        let ticks = Ticks::default();
        let ops = OpHistograms::new(setup.names.clone(), Config::default());
        let recorder = ThreadRecorder::new(ops.clone(), &ticks, setup.slow.clone());
        setup.control.wait_for_start();
        let mut this = Self {
            setup,
            slot: &setup.control.slots[index],
            cx: Cx::new(task, setup.seed),
            recorder,
            total: ops,
            ticks,
            outbox: Outbox::default(),
            from: (Stats::default(), Usage::of_this_thread()),
            answered: 0,
            measures: false,
        };
        this.observe();
        this
    }

    /// A new observer, if any; what the old one saw is in the outbox.
    fn observe(&mut self) {
        if self.setup.observes_paths {
            let observer = PathObserver::new(&self.ticks, self.recorder.switches(), &self.outbox);
            self.cx.observer = Some(Box::new(observer));
        }
    }

    fn run(mut self, mut body: Box<dyn TaskBody>) -> TaskLeft {
        self.make_steps(&mut *body);
        self.cx.observer = None;
        if self.measures {
            self.end_interval();
        } else {
            // It never came to measuring: nothing is left of the warm-up.
            self.begin_measuring();
            self.cx.observer = None;
        }
        let left = TaskLeft {
            stats: Stats::of(&self.cx.stats).since(self.from.0),
            usage: Usage::of_this_thread().since(&self.from.1),
            ops: self.total.take(),
            paths: self.outbox.take(),
        };
        let kernel = &self.setup.kernel;
        body.finish(&mut Env { kernel, cx: &mut self.cx, recorder: &mut workloads::NoRecorder });
        left
    }

    fn make_steps(&mut self, body: &mut dyn TaskBody) {
        let control = &self.setup.control;
        let kernel = &self.setup.kernel;
        let mut steps = 0;
        let mut counted = 0;
        let mut task = Arc::as_ptr(&self.cx.task);
        let Some(schedule) = control.schedule() else { return };
        let turn = self.setup.turn_ns.map_or(u64::MAX, |ns| self.ticks.in_ns(ns));
        let mut turn_began = stamp();
        loop {
            let word = control.word();
            let now = stamp();
            let is_told = word.phase() == Phase::Stop;
            match if is_told { Phase::Stop } else { schedule.phase(now) } {
                Phase::Stop => return,
                Phase::Measure if !self.measures => {
                    self.measures = true;
                    self.begin_measuring();
                }
                Phase::Wait | Phase::WarmUp | Phase::Measure => {}
            }
            if now.wrapping_sub(turn_began) >= turn {
                std::thread::yield_now();
                turn_began = stamp();
                // The switch was ours: the next sample must not be blamed on the host.
                self.recorder.switches().refresh(turn_began);
            }
            if word.snapshot() != self.answered {
                self.answered = word.snapshot();
                self.publish();
            }
            let recorder = &mut self.recorder;
            let step = body.step(&mut Env { kernel, cx: &mut self.cx, recorder });
            steps += 1;
            // Relaxed: a sign of life, nothing is published by it.
            self.slot.steps.store(steps, Ordering::Relaxed);
            if !std::ptr::eq(task, Arc::as_ptr(&self.cx.task)) {
                task = Arc::as_ptr(&self.cx.task);
                *lock(&self.slot.task) = Arc::clone(&self.cx.task);
            }
            if self.measures && control.ops_left.is_some() {
                let done = self.total.count(0) + self.recorder.ops().count(0);
                if control.spend(done - counted) {
                    control.nudge();
                }
                counted = done;
            }
            if step == Step::Done {
                return;
            }
        }
    }

    /// What was done so far only warmed up.
    fn begin_measuring(&mut self) {
        drop(self.recorder.take());
        self.observe();
        self.from = (Stats::of(&self.cx.stats), Usage::of_this_thread());
    }

    /// Answers the coordinator; it gets a copy, so that nothing is shared.
    fn publish(&mut self) {
        if !self.measures {
            return;
        }
        if self.setup.control.wants_intervals {
            self.end_interval();
            lock(&self.slot.snapshot).primary = self.total.get(0).cloned();
        } else {
            lock(&self.slot.snapshot).primary = self.recorder.ops().get(0).cloned();
        }
    }

    /// What was recorded since the last call joins the total and, if wanted, the interval log.
    fn end_interval(&mut self) {
        let part = self.recorder.take();
        self.total.merge(&part);
        if self.setup.control.wants_intervals {
            let interval = &mut lock(&self.slot.snapshot).interval;
            match interval {
                Some(old) => old.merge(&part),
                None => *interval = Some(part),
            }
        }
    }
}

/// Pins the calling thread to the host CPU of a model CPU. A host that refuses costs precision
/// only, and the plan has placed CPUs where the process may run.
fn pin_to(machine: &Machine, cpu: CpuId) {
    if let Some(host_cpu) = machine.cpus[cpu.index()].host_cpu {
        let _ = affinity::pin(host_cpu);
    }
}

/// The threads that belong to the machine: one for each CPU, and those of the nodes.
#[derive(Debug)]
pub struct Service {
    kernel: Arc<Kernel>,
    stop: Arc<AtomicBool>,
    cpu_threads: Vec<JoinHandle<()>>,
    node_threads: Vec<JoinHandle<()>>,
    timer: Option<JoinHandle<()>>,
    /// CPUs whose thread is to run the interrupts that are due, since no task does.
    idle_irqs: Arc<[AtomicBool]>,
    /// Where lock times go, if they are wanted.
    locks: Option<LockBox>,
}

impl Service {
    /// Starts them.
    ///
    /// # Errors
    /// If the host refuses a thread; those already started end.
    pub fn start(
        kernel: &Arc<Kernel>,
        irq_rate: Option<u64>,
        locks: Option<LockBox>,
    ) -> Result<Self, Stop> {
        let mut service = Self {
            kernel: Arc::clone(kernel),
            stop: Arc::default(),
            cpu_threads: Vec::new(),
            node_threads: Vec::new(),
            timer: None,
            idle_irqs: (0..kernel.cpus.len()).map(|_| AtomicBool::new(false)).collect(),
            locks,
        };
        let wanted = kernel.cpus.len();
        for cpu in 0..wanted {
            let (kernel, stop) = (Arc::clone(kernel), Arc::clone(&service.stop));
            let irqs = Arc::clone(&service.idle_irqs);
            let locks = service.locks.clone();
            let body = move || {
                let _hears = locks.as_ref().map(LockBox::hear);
                run_cpu(&kernel, CpuId(cpu as u16), &stop, &irqs[cpu]);
            };
            let builder = Builder::new().name(format!("cpu{cpu}")).stack_size(SERVICE_STACK);
            match builder.spawn(body) {
                Ok(handle) => service.cpu_threads.push(handle),
                Err(e) => return Err(refused(&e, cpu, wanted)),
            }
        }
        service.start_node_threads()?;
        service.start_reaper()?;
        if let Some(hz) = irq_rate.filter(|hz| *hz > 0) {
            service.start_timer(hz)?;
        }
        Ok(service)
    }

    /// The oom_reaper; it may run on any CPU.
    fn start_reaper(&mut self) -> Result<(), Stop> {
        let kernel = Arc::clone(&self.kernel);
        let locks = self.locks.clone();
        let body = move || {
            let _hears = locks.as_ref().map(LockBox::hear);
            let cx = kernel.kernel_thread("oom_reaper", CpuId(0));
            kernel.oom_reaper_main(&cx);
        };
        match Builder::new().name("oom_reaper".to_owned()).spawn(body) {
            Ok(handle) => self.node_threads.push(handle),
            Err(e) => return Err(refused(&e, 0, 1)),
        }
        Ok(())
    }

    /// Raises interrupts on every CPU at a rate.
    fn start_timer(&mut self, hz: u64) -> Result<(), Stop> {
        let (kernel, stop) = (Arc::clone(&self.kernel), Arc::clone(&self.stop));
        let idle = Arc::clone(&self.idle_irqs);
        let body = move || run_timer(&kernel, hz, &stop, &idle);
        match Builder::new().name("timer".to_owned()).spawn(body) {
            Ok(handle) => self.timer = Some(handle),
            Err(e) => return Err(refused(&e, 0, 1)),
        }
        Ok(())
    }

    /// kswapd of each node with memory, on the host CPUs of its node.
    fn start_node_threads(&mut self) -> Result<(), Stop> {
        let with_memory = self.kernel.n_memory.load();
        let nodes: Vec<NodeId> = with_memory.iter().filter(|_| self.kernel.config.kswapd).collect();
        for (index, node) in nodes.iter().copied().enumerate() {
            let kernel = Arc::clone(&self.kernel);
            let locks = self.locks.clone();
            let body = move || {
                let _hears = locks.as_ref().map(LockBox::hear);
                let _ = affinity::pin_to_any(&affinity::host_cpus_of(&kernel.machine, node));
                let cpu = kernel.cpus.iter().find(|c| c.node == node).map_or(CpuId(0), |c| c.id);
                let cx = kernel.kernel_thread(&format!("kswapd{node}"), cpu);
                kernel.kswapd_main(&cx, node);
            };
            match Builder::new().name(format!("kswapd{node}")).spawn(body) {
                Ok(handle) => self.node_threads.push(handle),
                Err(e) => return Err(refused(&e, index, nodes.len())),
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        // Node threads first: they may wait for work that CPU threads do.
        self.kernel.stop_kswapds();
        self.kernel.stop_oom_reaper();
        join_all(&mut self.node_threads);
        self.stop.store(true, Ordering::Relaxed);
        for cpu in &self.kernel.cpus {
            cpu.has_thread.store(false, Ordering::Relaxed);
            cpu.work.ring();
        }
        join_all(&mut self.cpu_threads);
        self.timer.take().into_iter().for_each(|timer| drop(timer.join()));
    }
}

fn join_all(threads: &mut Vec<JoinHandle<()>>) {
    for handle in threads.drain(..) {
        if let Err(panic) = handle.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop.store(true, Ordering::Relaxed);
        } else {
            self.end();
        }
    }
}

fn run_cpu(kernel: &Arc<Kernel>, cpu: CpuId, stop: &AtomicBool, idle_irqs: &AtomicBool) {
    pin_to(&kernel.machine, cpu);
    let cx = kernel.kernel_thread(&format!("kworker/{}", cpu.0), cpu);
    let work = &kernel.cpus[cpu.index()].work;
    kernel.cpus[cpu.index()].has_thread.store(true, Ordering::Relaxed);
    while !stop.load(Ordering::Relaxed) {
        work.wait(|| stop.load(Ordering::Relaxed) || idle_irqs.load(Ordering::Relaxed));
        kernel.run_cpu_work(&cx);
        if idle_irqs.swap(false, Ordering::Relaxed) {
            kernel.irq_point(&cx);
        }
    }
    // Work that was queued while the flag was still up.
    kernel.run_cpu_work(&cx);
}

/// Interrupts of all CPUs. One that no task has taken by the tenth look after it is for the CPU's
/// own thread: the CPU is idle.
fn run_timer(kernel: &Kernel, hz: u64, stop: &AtomicBool, idle_irqs: &[AtomicBool]) {
    const LOOKS: u32 = 10;
    let tick = Duration::from_secs_f64(1.0 / hz.min(20_000) as f64);
    let begun = Instant::now();
    let mut raised = 0;
    let mut waited = vec![0; kernel.cpus.len()];
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(tick.min(Duration::from_millis(50)));
        let due = (begun.elapsed().as_secs_f64() * hz as f64) as u64;
        for (cpu, waited) in kernel.cpus.iter().zip(&mut waited) {
            *waited = if cpu.pending_irqs.load(Ordering::Relaxed) > 0 { *waited + 1 } else { 0 };
            if *waited >= LOOKS {
                idle_irqs[cpu.id.index()].store(true, Ordering::Relaxed);
                cpu.work.ring();
            }
            // A host that was away for long owes no flood.
            (raised..due.min(raised + 64)).for_each(|_| kernel.raise_irq(cpu.id));
        }
        raised = due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_for_tasks_that_share_a_cpu_and_shorter_in_a_crowd() {
        let check = |tasks, cpus, expected| assert_eq!(turn_ns(tasks, cpus), expected);
        check(2, 2, None);
        check(1, 64, None);
        check(3, 2, Some(500_000));
        check(64, 2, Some(125_000));
        check(512, 2, Some(50_000));
    }
}
