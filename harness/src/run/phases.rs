//! One round of one variant: boot, start, warm up, measure, stop, take stock.
//!
//! **What.** All tasks start together; by the clock, each thread empties its histograms at its first
//! step after the warm-up, and stops at its first step after the measured phase. Then it gives
//! everything back. Then nobody allocates any more, and each frame is counted.
//!
//! **Differs.** Kills and findings count from the start of the warm-up: a finding is one whenever it
//! happens. Figures are of the measured phase alone.

use std::time::{Duration, Instant};

use allocator::ids::CpuId;
use allocator::oracle::conservation::Census;
use allocator::oracle::finding::TimelineEvent;
use allocator::oracle::{Finding, FindingKind};
use allocator::run::clock::Ktime;
use allocator::run::kernel::{BootError, Kernel, KernelConfig};
use allocator::sync::lock::set_watched;
use allocator::sync::{Arc, stamp};
use results::histogram::{Histogram, OpHistograms};

use super::control::{Control, Phase, Schedule, lock};
use super::signals::Signals;
use super::threads::{self, Service, Stats, TaskHandle, TaskLeft, TaskSetup};
use super::watchdog::{self, Limits, Watchdog};
use crate::cli::exit::{Exit, Stop};
use crate::cli::slow_down;
use crate::machine::{Notes, metadata};
use crate::plan::{Length, Plan, Turn};
use crate::record::clock::Ticks;
use crate::record::locks::LockBox;
use crate::record::preemption::Usage;
use crate::record::recorder::{Recorded, observes_paths, op_names};
use crate::record::stock::{self, Stock};

/// The coordinator looks this often.
const LOOK: Duration = Duration::from_millis(50);
/// Snapshots for the progress line are taken this often.
const SNAPSHOT: Duration = Duration::from_millis(900);

/// How long tasks may take to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Before the round is aborted.
    pub finish: Duration,
    /// After that, before they are given up.
    pub give_up: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { finish: Duration::from_secs(30), give_up: Duration::from_secs(10) }
    }
}

/// Why the measured phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As planned: its time was up, or its operations were done.
    Planned,
    /// All tasks had nothing more to do.
    AllDone,
    /// A signal.
    Signal(Exit),
    /// `--stop-on-finding`.
    Finding,
    /// "No killable processes".
    Panic,
    /// A hang.
    Lockup,
}

impl End {
    /// Is the round a sample?
    pub fn is_complete(self) -> bool {
        match self {
            Self::Planned | Self::AllDone => true,
            Self::Signal(_) | Self::Finding | Self::Panic | Self::Lockup => false,
        }
    }

    /// Does the whole run end with it?
    pub fn ends_run(self) -> bool {
        match self {
            Self::Signal(_) | Self::Finding => true,
            Self::Planned | Self::AllDone | Self::Panic | Self::Lockup => false,
        }
    }
}

/// A round that was run.
#[derive(Debug)]
pub struct RoundLeft {
    /// Which one.
    pub turn: Turn,
    /// Place in the whole session.
    pub order: u32,
    /// Seconds from the session's start to the measured phase.
    pub start_s: f64,
    /// Seconds of warm-up.
    pub warmup_s: f64,
    /// Seconds measured.
    pub measured_s: f64,
    /// How it ended.
    pub end: End,
    /// What the tasks recorded.
    pub recorded: Recorded,
    /// Their counters.
    pub stats: Stats,
    /// Their CPU time and involuntary switches.
    pub usage: Usage,
    /// What the model's counters say.
    pub stock: Stock,
    /// What the census found.
    pub census: Census,
    /// Findings kept whole, each with seconds since the measured phase began.
    pub findings: Vec<(f64, Finding)>,
    /// Seconds from the round's start to its first finding.
    pub first_finding_s: Option<f64>,
    /// The workload's own figures.
    pub figures: Vec<(&'static str, f64, &'static str)>,
    /// What the workload says about its figures.
    pub remarks: Vec<String>,
    /// The model beside a real kernel, if the workload has a real twin.
    pub fidelity: Option<workloads::Fidelity>,
    /// What was recorded in each interval of `--hlog`.
    pub intervals: Vec<Interval>,
    /// The last events of all threads, for `--timeline`.
    pub timeline: Vec<TimelineEvent>,
    /// Threads that never ended: the process can't go on with them.
    pub is_wedged: bool,
}

/// What was recorded between two moments of the measured phase.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Seconds since the measured phase began.
    pub start_s: f64,
    /// The same of its end.
    pub end_s: f64,
    /// The workload's operations.
    pub ops: OpHistograms,
}

/// What is going on, for the progress line.
#[derive(Clone, Debug)]
pub struct Status<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The turn.
    pub turn: Turn,
    /// Its place in the session.
    pub order: u32,
    /// Does it still warm up?
    pub warms_up: bool,
    /// Time in this phase.
    pub elapsed: Duration,
    /// Histogram of the first operation, and the measured seconds that it covers.
    pub primary: Option<&'a (Histogram, f64)>,
    /// Victims killed in this round.
    pub kills: u64,
    /// Findings of the whole run so far.
    pub found: u64,
}

/// Who shows it.
pub trait Show {
    /// Called some times a second.
    fn status(&mut self, status: &Status<'_>);
    /// Are figures wanted (a terminal is there, or lines are due)?
    fn wants_figures(&self) -> bool;
    /// A line is wanted now.
    fn ask_line(&mut self);
}

/// What a round needs besides the plan.
pub struct Surroundings<'a> {
    /// When the session began.
    pub session: Instant,
    /// Who may interrupt it.
    pub signals: &'a Signals,
    /// Who shows it.
    pub show: &'a mut dyn Show,
    /// Findings of the rounds before.
    pub found_before: u64,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("found_before", &self.found_before).finish()
    }
}

impl From<BootError> for Stop {
    fn from(error: BootError) -> Self {
        match error {
            BootError::Machine(_) => Self::usage(error.to_string()),
            BootError::Frames(_) => Self::cannot_run(error.to_string()),
        }
    }
}

/// Boots a variant's model.
///
/// # Errors
/// If it can't come up.
pub fn boot(plan: &Plan, turn: Turn) -> Result<Arc<Kernel>, Stop> {
    let config = KernelConfig { seed: plan.round_seed(turn.round), ..plan.config.clone() };
    let policy = plan.variants[turn.variant].policy;
    let kernel = Kernel::boot(plan.machine.clone(), policy, config)?;
    let ranges: Vec<_> = kernel.managed_ranges.lock().clone();
    let frames = ranges.iter().map(|r| (r.zone.node(), kernel.frames.range(r.first, r.pages)));
    metadata::bind_ranges(&plan.machine, frames, &mut Notes::default());
    Ok(kernel)
}

/// Runs one round.
///
/// # Errors
/// If it can't start. What goes wrong later is in the result.
pub fn round(
    plan: &Plan,
    turn: Turn,
    order: u32,
    around: &mut Surroundings<'_>,
) -> Result<RoundLeft, Stop> {
    let kernel = boot(plan, turn)?;
    let locks = plan.locks.then(LockBox::default);
    let service = Service::start(&kernel, plan.irq_rate, locks.clone())?;
    let cx = kernel.kernel_thread("stress", CpuId(0));
    let seed = plan.round_seed(turn.round);
    let mut scene = plan.workload.scene(&kernel, &cx, &plan.options, plan.threads, seed)?;
    let tasks = scene.tasks();
    let ops = match plan.length {
        Length::Ops(ops) => Some(ops),
        Length::Time(_) | Length::Whole => None,
    };
    let mut control = Control::new(tasks.iter().map(|t| Arc::clone(&t.task)), ops);
    control.wants_intervals = plan.interval.is_some();
    let control = Arc::new(control);
    let info = plan.workload.info();
    let setup = TaskSetup {
        kernel: Arc::clone(&kernel),
        control: Arc::clone(&control),
        names: op_names(info),
        observes_paths: observes_paths(info),
        seed,
        turn_ns: threads::turn_ns(control.slots.len(), plan.host_cpus().len()),
        slow: slow_down::shares(&plan.slow_down, turn.variant, info.ops),
        locks: locks.clone(),
    };
    let handles = threads::start_tasks(&setup, tasks)?;
    let mut running = Running::new(plan, turn, order, &kernel, &control, around);
    let end = running.both_phases();
    let times = running.times();
    let mut intervals = running.intervals;
    let (left, is_wedged) = join(&kernel, &control, plan.patience, handles, end);
    let measured_s = times.end.duration_since(times.measured).as_secs_f64();
    if let Some(ops) = control.collect_interval() {
        let start_s = intervals.last().map_or(0.0, |i| i.end_s);
        intervals.push(Interval { start_s, end_s: measured_s.max(start_s), ops });
    }
    let mut recorded = Recorded::new(info);
    let (mut stats, mut usage) = (Stats::default(), Usage::default());
    for task in left {
        recorded.add_thread(&task.ops, task.paths);
        stats = stats.plus(task.stats);
        usage.cpu_s += task.usage.cpu_s;
        usage.involuntary_switches += task.usage.involuntary_switches;
    }
    let (mut figures, remarks) = (scene.figures(), scene.remarks());
    let fidelity = if end == End::AllDone && !is_wedged { scene.fidelity(&kernel) } else { None };
    let timeline = if plan.wants_timeline { stock::events_of_all(&kernel) } else { Vec::new() };
    let census = if is_wedged {
        // Somebody may still hold frames and locks: nothing can be counted.
        std::mem::forget(service);
        Census::default()
    } else {
        scene.finish(&kernel, &cx);
        drop(service);
        kernel.clock.abort();
        stock::census(&kernel, &cx)
    };
    if let Some(locks) = locks {
        let times = locks.take();
        recorded.add_spans(&times.spans);
        figures.extend(times.figures());
    }
    recorded.keep_frequent_preemptions();
    let stock = Stock::take(&kernel);
    let model_s =
        |at: Ktime, from: Ktime| (at.0 as f64 - from.0 as f64) / 1e9 / plan.config.time_scale;
    let findings = kernel.findings.take();
    let first = findings.iter().filter(|f| f.kind.is_finding(plan.strict)).map(|f| f.at).min();
    Ok(RoundLeft {
        turn,
        order,
        start_s: times.measured.duration_since(around.session).as_secs_f64(),
        warmup_s: times.measured.duration_since(times.start).as_secs_f64(),
        measured_s,
        end,
        recorded,
        stats,
        usage,
        stock,
        census,
        first_finding_s: first.map(|at| model_s(at, times.start_model).max(0.0)),
        findings: findings.into_iter().map(|f| (model_s(f.at, times.measured_model), f)).collect(),
        figures,
        remarks,
        fidelity,
        intervals,
        timeline,
        is_wedged,
    })
}

/// When the phases began.
#[derive(Clone, Copy, Debug)]
struct Times {
    start: Instant,
    start_model: Ktime,
    measured: Instant,
    measured_model: Ktime,
    end: Instant,
}

/// A round while its tasks run.
struct Running<'a, 'b> {
    plan: &'a Plan,
    turn: Turn,
    order: u32,
    kernel: &'a Kernel,
    control: &'a Control,
    around: &'a mut Surroundings<'b>,
    dog: Watchdog,
    times: Times,
    asked: Option<Instant>,
    primary: Option<(Histogram, f64)>,
    intervals: Vec<Interval>,
}

impl<'a, 'b> Running<'a, 'b> {
    /// Opens the gate.
    fn new(
        plan: &'a Plan,
        turn: Turn,
        order: u32,
        kernel: &'a Kernel,
        control: &'a Control,
        around: &'a mut Surroundings<'b>,
    ) -> Self {
        let (tasks, cpus) = (control.slots.len(), plan.host_cpus().len());
        let limits = plan.lockup.unwrap_or_else(|| Limits::of(plan.config.time_scale, tasks, cpus));
        let (now, model) = (Instant::now(), kernel.clock.now());
        let times = Times {
            start: now,
            start_model: model,
            measured: now,
            measured_model: model,
            end: now,
        };
        let dog = Watchdog::new(limits, tasks, now);
        Self {
            plan,
            turn,
            order,
            kernel,
            control,
            around,
            dog,
            times,
            asked: None,
            primary: None,
            intervals: Vec::new(),
        }
    }

    fn times(&self) -> Times {
        self.times
    }

    /// Both phases; afterwards the tasks have been told to stop.
    fn both_phases(&mut self) -> End {
        let ticks = Ticks::default();
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX >> 1);
        let length = match self.plan.length {
            Length::Time(length) => Some(length),
            Length::Ops(_) | Length::Whole => None,
        };
        self.times.start = Instant::now();
        self.times.start_model = self.kernel.clock.now();
        let measure_at = stamp() + ticks.in_ns(ns(self.plan.warmup));
        let stop_at = length.map(|l| measure_at + ticks.in_ns(ns(l)));
        self.control.start(Schedule { measure_at, stop_at });
        let start = self.times.start;
        self.times.measured = start + self.plan.warmup;
        let warmup_ns = self.plan.warmup.as_nanos() as f64 * self.plan.config.time_scale;
        self.times.measured_model = Ktime(self.times.start_model.0 + warmup_ns as u64);
        let mut end = End::Planned;
        if !self.plan.warmup.is_zero() {
            end = self.watch(start, Some(self.plan.warmup), true);
        }
        if end == End::Planned {
            set_watched(self.plan.locks);
            end = self.watch(self.times.measured, length, false);
            set_watched(false);
            self.times.end = match length {
                Some(length) if end == End::Planned => self.times.measured + length,
                Some(_) | None => Instant::now().max(self.times.measured),
            };
        } else {
            // It never came to measuring.
            self.times.measured = Instant::now();
            self.times.end = self.times.measured;
        }
        self.control.begin(Phase::Stop);
        end
    }

    fn watch(&mut self, from: Instant, length: Option<Duration>, warms_up: bool) -> End {
        loop {
            let now = Instant::now();
            if let Some(end) = self.event() {
                return end;
            }
            let elapsed = now.duration_since(from);
            let left = length.map(|l| l.saturating_sub(elapsed));
            if left == Some(Duration::ZERO) || (!warms_up && self.control.is_spent()) {
                return End::Planned;
            }
            if self.control.all_done() {
                return End::AllDone;
            }
            if let Some(stuck) = self.dog.look(self.control, now) {
                report_lockup(self.kernel, self.control, &stuck);
                return End::Lockup;
            }
            self.show(now, elapsed, warms_up);
            self.control.sleep(left.map_or(LOOK, |l| l.min(LOOK)));
        }
    }

    /// Something that ends the round before its time.
    fn event(&self) -> Option<End> {
        if let Some(exit) = self.around.signals.interrupted() {
            return Some(End::Signal(exit));
        }
        if self.kernel.findings.nr(FindingKind::Panic) > 0 {
            return Some(End::Panic);
        }
        let found = self.kernel.findings.nr_findings(self.plan.strict);
        (self.plan.stop_on_finding && found > 0).then_some(End::Finding)
    }

    fn show(&mut self, now: Instant, elapsed: Duration, warms_up: bool) {
        if self.around.signals.wants_status() {
            self.around.show.ask_line();
        }
        self.snapshots(now, elapsed, warms_up);
        let found = self.around.found_before + self.kernel.findings.nr_findings(self.plan.strict);
        self.around.show.status(&Status {
            plan: self.plan,
            turn: self.turn,
            order: self.order,
            warms_up,
            elapsed,
            primary: self.primary.as_ref(),
            kills: stock::kills(self.kernel),
            found,
        });
    }

    /// Collects the answers to the last question and asks anew.
    fn snapshots(&mut self, now: Instant, elapsed: Duration, warms_up: bool) {
        if warms_up || !(self.plan.interval.is_some() || self.around.show.wants_figures()) {
            return;
        }
        let every = self.plan.interval.unwrap_or(SNAPSHOT);
        if self.asked.is_some_and(|at| now.duration_since(at) < every) {
            return;
        }
        self.collect_interval(now);
        let mut all: Option<Histogram> = None;
        for slot in &self.control.slots {
            if let Some(theirs) = &lock(&slot.snapshot).primary {
                all.get_or_insert_with(|| Histogram::new(results::histogram::Config::default()))
                    .merge(theirs);
            }
        }
        if let (Some(all), Some(asked)) = (all, self.asked) {
            let age = now.duration_since(asked);
            self.primary = Some((all, elapsed.saturating_sub(age).as_secs_f64()));
        }
        self.asked = Some(now);
        self.control.ask();
    }
}

impl Running<'_, '_> {
    /// The answers to the last question make an interval; threads that have not answered yet
    /// deliver with the next.
    fn collect_interval(&mut self, now: Instant) {
        let Some(ops) = self.control.collect_interval() else { return };
        let start_s = self.intervals.last().map_or(0.0, |i| i.end_s);
        let asked = self.asked.unwrap_or(now);
        let end_s = asked.duration_since(self.times.measured).as_secs_f64().max(start_s);
        self.intervals.push(Interval { start_s, end_s, ops });
    }
}

/// Ends all spins and sleeps, and keeps where each task was.
fn report_lockup(kernel: &Kernel, control: &Control, stuck: &[usize]) {
    let report = watchdog::story(control, stuck);
    kernel.clock.abort();
    let of_all = if stuck.len() == control.slots.len() {
        "all".to_owned()
    } else {
        format!("{} of", stuck.len())
    };
    let title = format!("lockup: {of_all} {} tasks made no step", control.slots.len());
    stock::keep(
        kernel,
        FindingKind::Lockup,
        title,
        report,
        stuck.iter().map(|i| Arc::clone(&lock(&control.slots[*i].task))),
    );
}

/// Waits for the tasks; aborts the round if they don't end, and gives them up if that doesn't help.
fn join(
    kernel: &Kernel,
    control: &Control,
    patience: Patience,
    handles: Vec<TaskHandle>,
    end: End,
) -> (Vec<TaskLeft>, bool) {
    if !wait_done(control, patience.finish) {
        if end != End::Lockup {
            let stuck: Vec<usize> = (0..control.slots.len())
                .filter(|i| control.slots[*i].done.load(std::sync::atomic::Ordering::Relaxed) == 0)
                .collect();
            report_lockup(kernel, control, &stuck);
        }
        kernel.clock.abort();
        if !wait_done(control, patience.give_up) {
            return (Vec::new(), true);
        }
    }
    let mut left = Vec::with_capacity(handles.len());
    for handle in handles {
        match handle.join().and_then(|inner| inner) {
            Ok(task) => left.push(task),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    (left, false)
}

fn wait_done(control: &Control, most: Duration) -> bool {
    let until = Instant::now() + most;
    while !control.all_done() {
        if Instant::now() >= until {
            return false;
        }
        control.sleep(LOOK);
    }
    true
}
