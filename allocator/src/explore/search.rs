//! The search: bounds one after the other, workers, limits, progress, and the report.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::bounded::{Bounded, Part};
use super::random::{Pct, Samples, Walk, pct_chance};
use super::report::{BoundFigures, Coverage, Find, Report};
use super::schedule::{Replay, Schedule, replay};
use super::tally::Tally;
use super::{Config, Scheduler, shrink};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::engine::{Core, Decision, RunEnd, Strategy, WorkPool, drive, on_os_threads};
use crate::sync::{Arc, At};

/// Executions between two calls of the watcher.
const WATCH_EVERY: u64 = 64;

/// How far a search is, for progress lines and time limits.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The bound being searched; none for samples.
    pub preemptions: Option<u32>,
    /// Executions of this bound, or samples.
    pub schedules: u64,
    /// Executions of all bounds.
    pub executed: u64,
    /// Executions with a finding, of all bounds.
    pub violating: u64,
}

type Watch = dyn Fn(&Progress) -> ControlFlow<()> + Send + Sync;

/// What the workers share. All atomics are Relaxed: counts and flags that are only looked at.
struct Shared {
    config: Config,
    preemptions: Option<u32>,
    executed_before: u64,
    violating_before: u64,
    schedules: AtomicU64,
    violating: AtomicU64,
    stop: AtomicBool,
    /// The watcher said stop.
    stopped: AtomicBool,
    /// `max_schedules` was reached with more to do.
    limited: AtomicBool,
    watch: Arc<Watch>,
}

impl Shared {
    fn new(config: &Config, preemptions: Option<u32>, before: &Report, watch: &Arc<Watch>) -> Self {
        Self {
            config: *config,
            preemptions,
            executed_before: before.executed,
            violating_before: before.bounds.iter().map(|bound| bound.violating).sum(),
            schedules: AtomicU64::new(0),
            violating: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            limited: AtomicBool::new(false),
            watch: Arc::clone(watch),
        }
    }
}

/// A scheduler with what every worker does around it: limits, counts, the watcher.
struct Worker<S> {
    scheduler: S,
    shared: Arc<Shared>,
    tally: Rc<RefCell<Tally>>,
    /// Lets the other workers go when this one stops early.
    release: Box<dyn Fn()>,
}

impl<S: Strategy> Strategy for Worker<S> {
    fn begin(&mut self) -> bool {
        let shared = &self.shared;
        if shared.stop.load(Ordering::Relaxed) {
            (self.release)();
            return false;
        }
        if !self.scheduler.begin() {
            return false;
        }
        if shared.preemptions.is_some()
            && shared.schedules.load(Ordering::Relaxed) >= shared.config.max_schedules
        {
            shared.limited.store(true, Ordering::Relaxed);
            shared.stop.store(true, Ordering::Relaxed);
            (self.release)();
            return false;
        }
        true
    }

    fn choose(&mut self, decision: &Decision<'_>) -> usize {
        self.scheduler.choose(decision)
    }

    fn spawned(&mut self, task: usize) {
        self.scheduler.spawned(task);
    }

    fn end(&mut self, run: &RunEnd<'_>) {
        self.tally.borrow_mut().add(run);
        self.scheduler.end(run);
        let shared = &self.shared;
        let schedules = shared.schedules.fetch_add(1, Ordering::Relaxed) + 1;
        if !run.findings.is_empty() {
            shared.violating.fetch_add(1, Ordering::Relaxed);
            if shared.config.stop_at_find {
                shared.stop.store(true, Ordering::Relaxed);
            }
        }
        if schedules.is_multiple_of(WATCH_EVERY) {
            let progress = Progress {
                preemptions: shared.preemptions,
                schedules,
                executed: shared.executed_before + schedules,
                violating: shared.violating_before + shared.violating.load(Ordering::Relaxed),
            };
            if (shared.watch)(&progress).is_break() {
                shared.stopped.store(true, Ordering::Relaxed);
                shared.stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Explores `world`, which builds a world, spawns its tasks, joins them and checks; it runs once for
/// each schedule, and has to do the same in each but for the schedule. `watch` hears of the progress
/// now and then and can stop the search; time limits are its business, since only it may look at a
/// clock.
pub fn run(
    config: &Config,
    watch: impl Fn(&Progress) -> ControlFlow<()> + Send + Sync + 'static,
    world: impl Fn() + Send + Sync + Clone + 'static,
) -> Report {
    let watch: Arc<Watch> = Arc::new(watch);
    let mut report = Report {
        scheduler: config.scheduler,
        complete: false,
        unbounded: false,
        gaps: Vec::new(),
        schedules: 0,
        executed: 0,
        bounds: Vec::new(),
        finds: Vec::new(),
        outcomes: std::collections::BTreeMap::new(),
        coverage: Coverage::default(),
    };
    match config.scheduler {
        Scheduler::Bounded { preemptions } => {
            for bound in 0..=preemptions {
                if !search_bound(config, bound, &watch, &world, &mut report) {
                    break;
                }
            }
        }
        Scheduler::Random => {
            let walk = |samples: Samples| Walk::new(samples);
            sample(config, &watch, &world, &mut report, walk);
        }
        Scheduler::Pct { depth } => {
            let length = points_of_the_default(config, world.clone());
            let pct = |samples: Samples| Pct::new(samples, depth, length);
            sample(config, &watch, &world, &mut report, pct);
            let Coverage { tasks, .. } = report.coverage;
            let chance = pct_chance(tasks, length, depth);
            let misses = (1.0 - chance).powf(report.schedules as f64);
            report.coverage.pct_miss = Some(misses);
        }
    }
    for find in &mut report.finds {
        find.replay = replay(config, &find.schedule, world.clone());
    }
    report
}

/// Searches one bound; false if the search ends here.
fn search_bound(
    config: &Config,
    bound: u32,
    watch: &Arc<Watch>,
    world: &(impl Fn() + Send + Sync + Clone + 'static),
    report: &mut Report,
) -> bool {
    let shared = Arc::new(Shared::new(config, Some(bound), report, watch));
    let pool = Arc::new(WorkPool::new(Part::whole()));
    let tally = work(config, &shared, world, |tally| {
        let release = Arc::clone(&pool);
        (Bounded::new(bound, Arc::clone(&pool), tally), Box::new(move || release.close()))
    });
    let gaps = gaps(config, &shared, &tally);
    let complete = gaps.is_empty();
    report.executed += tally.schedules;
    report.bounds.push(BoundFigures {
        preemptions: bound,
        schedules: tally.schedules,
        violating: tally.violating,
        complete,
    });
    let Scheduler::Bounded { preemptions } = config.scheduler else { return false };
    let last = bound == preemptions || !tally.bound_hit;
    report.complete = complete && last;
    report.unbounded = complete && !tally.bound_hit;
    report.gaps = gaps;
    take_figures(report, tally);
    complete && !last
}

fn sample<S: Strategy + 'static>(
    config: &Config,
    watch: &Arc<Watch>,
    world: &(impl Fn() + Send + Sync + Clone + 'static),
    report: &mut Report,
    scheduler: impl Fn(Samples) -> S + Sync,
) {
    let shared = Arc::new(Shared::new(config, None, report, watch));
    let next = Arc::new(AtomicU64::new(0));
    let tally = work(config, &shared, world, |_| {
        let count = config.max_schedules;
        let samples = Samples { seed: config.seed, count, next: Arc::clone(&next) };
        (scheduler(samples), Box::new(|| {}))
    });
    report.executed += tally.schedules;
    report.gaps = gaps(config, &shared, &tally);
    report.gaps.insert(0, "samples prove nothing about what they did not show".to_owned());
    let samples = tally.schedules.max(1) as f64;
    let unseen = tally.singletons() as f64 / samples;
    take_figures(report, tally);
    report.coverage.unseen = Some(unseen);
    report.coverage.miss_bound = Some(1.0 - 0.05_f64.powf(1.0 / samples));
    if config.shrink {
        for find in &mut report.finds {
            let schedule = shrink(config, find.kind, &find.schedule, world.clone());
            let told = replay(config, &schedule, world.clone());
            (find.preemptions, find.switches) = (told.preemptions, told.switches);
            find.schedule = schedule;
        }
    }
}

/// Runs the workers and adds their tallies up.
fn work<S: Strategy + 'static>(
    config: &Config,
    shared: &Arc<Shared>,
    world: &(impl Fn() + Send + Sync + Clone + 'static),
    scheduler: impl Fn(Rc<RefCell<Tally>>) -> (S, Box<dyn Fn()>) + Sync,
) -> Tally {
    let tallies = on_os_threads(config.workers.max(1), |_| {
        let tally = Rc::new(RefCell::new(Tally::default()));
        let (scheduler, release) = scheduler(Rc::clone(&tally));
        let shared = Arc::clone(shared);
        let worker = Worker { scheduler, shared, tally: Rc::clone(&tally), release };
        drop(drive(Core::new(Box::new(worker), config.limits(), false), world.clone()));
        tally.take()
    });
    let mut sum = Tally::default();
    for tally in tallies {
        sum.merge(tally);
    }
    sum
}

/// Why a search is not exhaustive.
fn gaps(config: &Config, shared: &Shared, tally: &Tally) -> Vec<String> {
    let mut gaps = Vec::new();
    if tally.cut > 0 {
        gaps.push(format!("{} schedules were cut after {} steps", tally.cut, config.max_steps));
    }
    if tally.diverged > 0 {
        gaps.push(format!(
            "{} schedules diverged: something outlives an execution",
            tally.diverged
        ));
    }
    if shared.limited.load(Ordering::Relaxed) {
        gaps.push(format!("stopped after {} schedules", tally.schedules));
    } else if shared.stopped.load(Ordering::Relaxed) {
        gaps.push(format!("stopped from outside after {} schedules", tally.schedules));
    } else if config.stop_at_find && tally.violating > 0 {
        gaps.push("stopped at the first find".to_owned());
    }
    gaps
}

/// Takes over the figures of the last bound, and finds that no smaller bound has had.
fn take_figures(report: &mut Report, tally: Tally) {
    report.schedules = tally.schedules;
    report.coverage = Coverage {
        tasks: tally.most_tasks.saturating_sub(1),
        points: tally.points as f64 / tally.schedules.max(1) as f64,
        most_points: tally.most_points,
        distinct: tally.distinct(),
        cut: tally.cut,
        diverged: tally.diverged,
        unseen: None,
        miss_bound: None,
        pct_miss: None,
    };
    for find in &mut report.finds {
        find.runs = 0;
    }
    for (kind, found) in tally.finds {
        if let Some(known) = report.finds.iter_mut().find(|find| find.kind == kind) {
            known.runs = found.runs;
            continue;
        }
        report.finds.push(Find {
            kind,
            text: found.text,
            schedule: Schedule { choices: found.choices },
            preemptions: found.preemptions,
            switches: found.switches,
            runs: found.runs,
            replay: Replay::nothing(),
        });
    }
    report.finds.sort_by_key(|find| find.kind);
    report.outcomes = tally.outcomes;
}

/// Points at which the default schedule had a choice, and a quarter more: PCT's k.
fn points_of_the_default(config: &Config, world: impl Fn() + Send + Sync + 'static) -> u64 {
    struct Probe(Rc<RefCell<u64>>, bool);
    impl Strategy for Probe {
        fn begin(&mut self) -> bool {
            !std::mem::replace(&mut self.1, true)
        }
        fn choose(&mut self, decision: &Decision<'_>) -> usize {
            *self.0.borrow_mut() += u64::from(decision.at == At::Point);
            0
        }
        fn end(&mut self, _: &RunEnd<'_>) {}
    }
    let count = Rc::new(RefCell::new(0));
    let probe = Probe(Rc::clone(&count), false);
    drop(drive(Core::new(Box::new(probe), config.limits(), false), world));
    let count = *count.borrow();
    count + count / 4 + 1
}
