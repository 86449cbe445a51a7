//! Searching the schedules of a world, and what a cell's search says about its variant.
//!
//! **What.** [`run`] searches a [`Subject`], [`tell`] replays one schedule of it, and [`judge`] does
//! for a cell of the matrix what its expectation asks for: a race that must show is looked for until
//! it does; one that is excluded costs the whole tree, and samples on top. The tests and `stress
//! explore --all` both go through here.
//!
//! **What shows a family.** Only the kinds that its world names; damage of any other kind
//! ([`NEVER`]) is wrong wherever it turns up. What is left are the same variant's other families (a
//! stray page in J5-f's world, say).

use std::fmt;
use std::ops::ControlFlow;

use allocator::explore::{self, Config, Find, Progress, Replay, Report, Schedule, Scheduler};
use allocator::oracle::Finding;
use allocator::policy::{Expect, Policy};
use allocator::sync::Arc;

use super::matrix::Cell;
use super::scene::SceneWorld;
use super::{Outcome, World, find_larger};

/// Kinds that no world may show unless that is what it is about.
pub const NEVER: &[&str] = &[
    "conservation",
    "use-after-free",
    "reserve",
    "panic",
    explore::MODEL_PANIC,
    explore::DEADLOCK,
    explore::LIVELOCK,
    explore::STALL,
];

/// What is searched.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The smallest world of a family.
    World(&'static World),
    /// A workload's own tasks, for some steps.
    Scene(Arc<SceneWorld>),
}

impl Subject {
    /// The family's name, or the workload's.
    pub fn name(&self) -> &'static str {
        match self {
            Self::World(world) => world.family.name(),
            Self::Scene(scene) => scene.workload.info().name,
        }
    }

    /// What happens in it, in one line.
    pub fn about(&self) -> &'static str {
        match self {
            Self::World(world) => world.about,
            Self::Scene(scene) => scene.workload.info().about,
        }
    }

    /// Is a finding of this kind what is looked for?
    pub fn shows(&self, kind: &str) -> bool {
        match self {
            Self::World(world) => world.shows.contains(&kind),
            Self::Scene(_) => true,
        }
    }

    /// The preemptions that a bounded search has to allow, at least.
    pub fn bound(&self) -> u32 {
        match self {
            Self::World(world) => world.switches.max(2),
            Self::Scene(_) => 2,
        }
    }

    /// Does a finding matter here?
    fn matters(&self, finding: &Finding) -> bool {
        match self {
            Self::World(_) => {
                let kind = finding.kind.word();
                self.shows(kind) || NEVER.contains(&kind)
            }
            Self::Scene(_) => finding.kind.is_finding(false),
        }
    }

    fn execute(&self, policy: Policy) -> Outcome {
        match self {
            Self::World(world) => (world.run)(policy),
            Self::Scene(scene) => scene.run(policy),
        }
    }

    /// One execution; `keep` gets the findings that matter.
    fn world(
        &self,
        policy: Policy,
        keep: impl Fn(&Finding) + Send + Sync + Clone + 'static,
    ) -> impl Fn() + Send + Sync + Clone + 'static {
        let subject = self.clone();
        move || {
            let outcome = subject.execute(policy);
            for finding in outcome.findings().iter().filter(|f| subject.matters(f)) {
                keep(finding);
                explore::report(finding.kind.word(), finding.title.clone());
            }
        }
    }
}

/// Searches a subject under a policy.
pub fn run(
    subject: &Subject,
    policy: Policy,
    config: &Config,
    watch: impl Fn(&Progress) -> ControlFlow<()> + Send + Sync + 'static,
) -> Report {
    explore::run(config, watch, subject.world(policy, |_| {}))
}

/// Replays a schedule; `keep` gets the findings whole.
pub fn tell(
    subject: &Subject,
    policy: Policy,
    config: &Config,
    schedule: &Schedule,
    keep: impl Fn(&Finding) + Send + Sync + Clone + 'static,
) -> Replay {
    explore::replay(config, schedule, subject.world(policy, keep))
}

/// How much is done for a cell.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Preemptions beyond the family's number.
    pub extra_preemptions: u32,
    /// Samples on top of what has to be excluded.
    pub samples: u64,
    /// Seed of the samples.
    pub seed: u64,
    /// Schedules of one bound at most: more is "not exhaustive".
    pub max_schedules: u64,
    /// OS threads.
    pub workers: usize,
    /// The larger worlds, where there are some.
    pub larger: bool,
}

/// A cell, searched.
#[derive(Debug)]
pub struct Judged {
    /// The cell.
    pub cell: Cell,
    /// Its world.
    pub world: &'static World,
    /// The largest number of preemptions allowed.
    pub bound: u32,
    /// The bounded search.
    pub report: Report,
    /// The samples on top.
    pub samples: Option<Report>,
}

/// Searches a cell as far as its expectation asks for. `world` is the cell's own, the smallest.
pub fn judge(
    cell: Cell,
    world: &'static World,
    effort: &Effort,
    watch: impl Fn(&Progress) -> ControlFlow<()> + Send + Sync + Clone + 'static,
) -> Judged {
    let larger = find_larger(cell.family).filter(|_| effort.larger);
    let world = larger.unwrap_or(world);
    let subject = Subject::World(world);
    let bound = subject.bound() + effort.extra_preemptions;
    let config = Config {
        scheduler: Scheduler::Bounded { preemptions: bound },
        max_schedules: effort.max_schedules,
        workers: effort.workers,
        // A race that is there needs its first find only; one that is not needs the whole tree.
        stop_at_find: cell.expect.must_be_found(),
        ..Config::default()
    };
    let report = run(&subject, cell.policy, &config, watch.clone());
    let sampled = cell.expect == Expect::Excluded && report.complete && effort.samples > 0;
    let samples = sampled.then(|| {
        let config = Config {
            scheduler: Scheduler::Random,
            max_schedules: effort.samples,
            seed: effort.seed,
            stop_at_find: true,
            ..config
        };
        run(&subject, cell.policy, &config, watch)
    });
    Judged { cell, world, bound, report, samples }
}

impl Judged {
    fn finds(&self) -> impl Iterator<Item = &Find> {
        self.report.finds.iter().chain(self.samples.iter().flat_map(|s| &s.finds))
    }

    /// The family's finding with the fewest preemptions.
    pub fn found(&self) -> Option<&Find> {
        let shows = self.finds().filter(|f| self.world.shows.contains(&f.kind));
        shows.min_by_key(|f| f.preemptions)
    }

    /// What should not show in any world.
    pub fn stray(&self) -> Option<&Find> {
        let never = |f: &&Find| NEVER.contains(&f.kind) && !self.world.shows.contains(&f.kind);
        self.finds().find(never)
    }

    /// Schedules executed, samples included.
    pub fn executed(&self) -> u64 {
        self.report.executed + self.samples.as_ref().map_or(0, |s| s.executed)
    }

    /// Why the cell is not as expected; None if it is.
    pub fn wrong(&self) -> Option<String> {
        if let Some(stray) = self.stray() {
            return Some(format!("found {} besides: {}", stray.kind, stray.text));
        }
        match (self.cell.expect, self.found()) {
            (Expect::Shows | Expect::Residual, Some(find)) => (find.preemptions
                > self.world.switches)
                .then(|| format!("needs {} preemptions: too many", find.preemptions)),
            (Expect::Shows | Expect::Residual, None) => {
                Some(format!("not found in {} schedules", self.executed()))
            }
            (Expect::Excluded, Some(find)) => Some(format!("found {}: {}", find.kind, find.text)),
            (Expect::Excluded, None) => (!self.report.complete)
                .then(|| format!("not exhaustive: {}", self.report.gaps.join("; "))),
            (Expect::Late | Expect::Counted, _) => None,
        }
    }

    /// What was found, in some words.
    pub fn told(&self) -> String {
        let plural = |n: u32| if n == 1 { "" } else { "s" };
        match self.found() {
            Some(find) => {
                let n = find.preemptions;
                format!("found, {n} preemption{}", plural(n))
            }
            None if self.report.complete => {
                let more = self.samples.as_ref();
                let more = more.map_or(String::new(), |s| format!(" + {} samples", s.executed));
                let by = if self.report.unbounded {
                    "without a bound".to_owned()
                } else {
                    format!("K = {}", self.bound)
                };
                format!("none in all {}, {by}{more}", self.report.schedules)
            }
            None => format!("none in {} of more", self.executed()),
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { family, axis, variant, expect, .. } = self.cell;
        write!(f, "{family} {axis}={variant}: expected {expect}, {}", self.told())?;
        self.wrong().map_or(Ok(()), |wrong| write!(f, "  DIFFERS: {wrong}"))
    }
}
