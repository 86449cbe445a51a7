//! Exploration as one JSON document: `--format json`, and `explore.json` beside kept schedules.

use std::collections::BTreeMap;

use results::schema::{TimelineEvent, Tool};
use serde::Serialize;

use super::kept::point_name;
use super::matrix::Row;
use super::search::{Done, Told};
use super::{text, timeline};
use crate::record::document::tool;

/// Version of these documents; a change that readers notice raises it.
pub const VERSION: u32 = 1;

/// One call of `stress explore`.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// [`VERSION`].
    pub schema: u32,
    /// What this binary is.
    pub tool: Tool,
    /// Seed of samples.
    pub seed: u64,
    /// Searches, in the order in which they were made.
    pub searches: Vec<Search>,
    /// Cells of the matrix (`--all`).
    pub matrix: Vec<Row>,
    /// Did a signal end it before its time?
    pub interrupted: bool,
    /// The exit code.
    pub exit: u8,
}

impl Document {
    /// A document of searches.
    pub fn of(done: &[Done], seed: u64) -> Self {
        Self {
            schema: VERSION,
            tool: tool(),
            seed,
            searches: done.iter().map(search).collect(),
            matrix: Vec::new(),
            interrupted: false,
            exit: 0,
        }
    }
}

/// One search.
#[derive(Clone, Debug, Serialize)]
pub struct Search {
    /// The family or the workload.
    pub subject: String,
    /// What happens in its world.
    pub about: String,
    /// The policy's spec.
    pub variant: String,
    /// How schedules were chosen, in words.
    pub scheduler: String,
    /// `found`, `excluded` (a proof), `not-found` (samples), `not-exhaustive`.
    pub verdict: &'static str,
    /// The tree was exhausted, nothing was cut, nothing diverged.
    pub complete: bool,
    /// No preemption was ever forbidden.
    pub unbounded: bool,
    /// Why it is not complete.
    pub gaps: Vec<String>,
    /// Schedules of the last bound, or samples.
    pub schedules: u64,
    /// Schedules of all bounds.
    pub executed: u64,
    /// How long it took, in seconds.
    pub elapsed_s: f64,
    /// For each bound.
    pub bounds: Vec<Bound>,
    /// What was covered.
    pub coverage: Coverage,
    /// How many schedules came to what, by the model's own labels.
    pub outcomes: BTreeMap<String, u64>,
    /// What was found.
    pub finds: Vec<FindDocument>,
    /// A variant that excludes the first find, proven in the same run; null if none is known.
    pub excluded_by: Option<ExcludedByDocument>,
}

/// The search at one bound.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// K.
    pub preemptions: u32,
    /// Schedules.
    pub schedules: u64,
    /// Schedules with a finding.
    pub violating: u64,
    /// Was the tree exhausted?
    pub complete: bool,
}

/// What a search covered.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Tasks.
    pub tasks: usize,
    /// Race points of the average schedule.
    pub points: f64,
    /// Race points of the longest.
    pub most_points: u64,
    /// Distinct orders of the points.
    pub distinct: u64,
    /// Schedules that a limit cut.
    pub cut: u64,
    /// Schedules that went another way than the same choices had led before.
    pub diverged: u64,
    /// Samples: the chance that one more is new.
    pub unseen: Option<f64>,
    /// Samples: what none showed has at most this chance a sample (95 %).
    pub miss_bound: Option<f64>,
    /// PCT: the most that the chance can be to have missed a bug of the depth.
    pub pct_miss: Option<f64>,
}

/// One kind of finding and its simplest schedule.
#[derive(Clone, Debug, Serialize)]
pub struct FindDocument {
    /// The kind.
    pub kind: String,
    /// The finding's title, or who waits for whom.
    pub text: String,
    /// Preemptions of the schedule.
    pub preemptions: u32,
    /// Switches, preemptions included.
    pub switches: u32,
    /// Schedules that showed it.
    pub runs: u64,
    /// The choices that differ from the default, one a line.
    pub schedule: Vec<String>,
    /// The order of the points, hashed.
    pub hash: String,
    /// The oracle's report.
    pub report: Vec<String>,
    /// What the tasks did.
    pub events: Vec<TimelineEvent>,
    /// The file that `--replay` takes; null if none was written.
    pub file: Option<String>,
}

/// Who excludes a find.
#[derive(Clone, Debug, Serialize)]
pub struct ExcludedByDocument {
    /// `axis=variant`.
    pub choice: String,
    /// Its commit.
    pub commit: Option<String>,
    /// Schedules tried: all.
    pub schedules: u64,
    /// With at most so many preemptions.
    pub preemptions: u32,
}

/// A find as a document.
pub fn find(told: &Told) -> FindDocument {
    let Told { find, replay, finding, file } = told;
    FindDocument {
        kind: find.kind.to_owned(),
        text: find.text.clone(),
        preemptions: find.preemptions,
        switches: find.switches,
        runs: find.runs,
        schedule: replay.made.to_text(point_name).lines().map(str::to_owned).collect(),
        hash: format!("{:#018x}", replay.hash),
        report: finding.as_ref().map_or(Vec::new(), |f| f.report.clone()),
        events: timeline::events(replay),
        file: file.as_ref().map(|f| f.display().to_string()),
    }
}

fn search(done: &Done) -> Search {
    let Done { subject, policy, report, elapsed, told, excluded_by, .. } = done;
    let coverage = &report.coverage;
    let bounds = report.bounds.iter().map(|b| Bound {
        preemptions: b.preemptions,
        schedules: b.schedules,
        violating: b.violating,
        complete: b.complete,
    });
    Search {
        subject: subject.name().to_owned(),
        about: subject.about().to_owned(),
        variant: policy.to_string(),
        scheduler: text::scheduler(report),
        verdict: done.verdict().word(),
        complete: report.complete,
        unbounded: report.unbounded,
        gaps: report.gaps.clone(),
        schedules: report.schedules,
        executed: report.executed,
        elapsed_s: elapsed.as_secs_f64(),
        bounds: bounds.collect(),
        coverage: Coverage {
            tasks: coverage.tasks,
            points: coverage.points,
            most_points: coverage.most_points,
            distinct: coverage.distinct,
            cut: coverage.cut,
            diverged: coverage.diverged,
            unseen: coverage.unseen,
            miss_bound: coverage.miss_bound,
            pct_miss: coverage.pct_miss,
        },
        outcomes: report.outcomes.clone(),
        finds: told.iter().map(find).collect(),
        excluded_by: excluded_by.as_ref().map(|by| ExcludedByDocument {
            choice: by.choice.clone(),
            commit: by.commit.map(str::to_owned),
            schedules: by.schedules,
            preemptions: by.preemptions,
        }),
    }
}
