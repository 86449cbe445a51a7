//! One search with its progress: verdict, finds told and kept, and who excludes them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use allocator_explore::explore::{
    Config, Coverage, Find, Progress, Replay, Report, Schedule, Scheduler,
};
use allocator_explore::oracle::Finding;
use allocator_explore::policy::{Expect, Policy, describe};
use results::{format, store};
use workloads_explore::worlds::matrix;
use workloads_explore::worlds::search::{self as engine, Subject};

use super::kept::{Kept, Searched};
use super::{text, timeline};
use crate::cli::exit::{Exit, Stop};
use crate::record::trace;
use crate::run::signals::Signals;
use crate::show::live::Live;

/// Schedules that the search for an excluding variant may take for each bound.
const PROOF_LIMIT: u64 = 200_000;

/// Shows progress and listens for signals while searches run.
#[derive(Clone, Debug)]
pub struct Watcher(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    signals: Signals,
    shown: Mutex<Shown>,
}

#[derive(Debug)]
struct Shown {
    live: Live,
    what: String,
    since: Instant,
}

impl Watcher {
    /// Nothing is watched yet.
    pub fn new(live: Live, signals: Signals) -> Self {
        let shown = Shown { live, what: String::new(), since: Instant::now() };
        Self(Arc::new(Watched { signals, shown: Mutex::new(shown) }))
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        // A worker that panicked has left a line behind, nothing that could be broken.
        self.0.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A search begins.
    pub fn begin(&self, what: String) {
        let mut shown = self.shown();
        (shown.what, shown.since) = (what, Instant::now());
    }

    /// No more progress lines.
    pub fn end(&self) {
        self.shown().live.end();
    }

    /// The exit code of the signal that came, if one did.
    pub fn interrupted(&self) -> Option<Exit> {
        self.0.signals.interrupted()
    }

    /// What a search calls from time to time.
    pub fn watch(&self) -> impl Fn(&Progress) -> ControlFlow<()> + Send + Sync + Clone + 'static {
        let own = self.clone();
        move |progress| {
            own.look(progress);
            match own.interrupted() {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        }
    }

    fn look(&self, progress: &Progress) {
        let asked = self.0.signals.wants_status();
        // Whoever comes while another worker draws goes on.
        let Ok(mut shown) = self.0.shown.try_lock() else { return };
        let due = shown.live.is_due(Duration::ZERO) || asked;
        if due || shown.live.is_redrawn() {
            let line = progress_line(&shown.what, progress, shown.since.elapsed());
            if due {
                shown.live.restart();
                shown.live.print(&line);
            }
            shown.live.redraw(line);
        }
    }
}

/// ` J1a-vma v4.11  K=2  12,345 schedules  31.2k/s  FOUND 3`
fn progress_line(what: &str, progress: &Progress, elapsed: Duration) -> String {
    let rate = progress.executed as f64 / elapsed.as_secs_f64().max(1e-3);
    let bound = progress.preemptions.map_or("samples".to_owned(), |k| format!("K={k}"));
    format!(
        " {what}  {bound}  {} schedules  {}/s  FOUND {}",
        format::thousands(progress.schedules),
        format::count(rate),
        progress.violating
    )
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A schedule shows it.
    Found,
    /// Every schedule of the bound was tried: none shows it. A proof.
    Excluded,
    /// Samples did not show it.
    NotFound,
    /// A bounded search was cut short: says nothing about what it did not try.
    NotExhaustive,
}

impl Verdict {
    /// The word in documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Excluded => "excluded",
            Self::NotFound => "not-found",
            Self::NotExhaustive => "not-exhaustive",
        }
    }

    /// Of a report.
    pub fn of(report: &Report) -> Self {
        match report.scheduler {
            _ if !report.finds.is_empty() => Self::Found,
            Scheduler::Bounded { .. } if report.complete => Self::Excluded,
            Scheduler::Bounded { .. } => Self::NotExhaustive,
            Scheduler::Random | Scheduler::Pct { .. } => Self::NotFound,
        }
    }
}

/// A find with its story.
#[derive(Debug)]
pub struct Told {
    /// What the search said of it.
    pub find: Find,
    /// Its execution.
    pub replay: Replay,
    /// The oracle's finding; none for a verdict of the explorer (deadlock, panic of the model).
    pub finding: Option<Finding>,
    /// Where it was kept: the schedule's file.
    pub file: Option<PathBuf>,
}

/// Who excludes what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExcludedBy {
    /// `axis=variant`.
    pub choice: String,
    /// Its commit.
    pub commit: Option<&'static str>,
    /// Schedules that were tried, all there are.
    pub schedules: u64,
    /// With at most so many preemptions.
    pub preemptions: u32,
}

/// A search that is done.
#[derive(Debug)]
pub struct Done {
    /// What was searched.
    pub subject: Subject,
    /// As it stands in schedule files.
    pub searched: Searched,
    /// The policy.
    pub policy: Policy,
    /// How far.
    pub config: Config,
    /// What came out.
    pub report: Report,
    /// How long it took.
    pub elapsed: Duration,
    /// The finds, what the subject is about first, then by preemptions.
    pub told: Vec<Told>,
    /// Who excludes the first of them.
    pub excluded_by: Option<ExcludedBy>,
}

/// Searches.
pub fn run(
    subject: &Subject,
    searched: &Searched,
    policy: Policy,
    config: &Config,
    watcher: &Watcher,
) -> Done {
    watcher.begin(format!("{} {policy}", subject.name()));
    let start = Instant::now();
    let report = engine::run(subject, policy, config, watcher.watch());
    let elapsed = start.elapsed();
    let mut told: Vec<Told> = report
        .finds
        .iter()
        .map(|find| {
            let (replay, finding) = tell(subject, policy, config, &find.schedule, find.kind);
            Told { find: find.clone(), replay, finding, file: None }
        })
        .collect();
    told.sort_by_key(|t| (!subject.shows(t.find.kind), t.find.preemptions));
    let excluded_by = match (told.is_empty(), watcher.interrupted()) {
        (false, None) => excluded_by(subject, policy, config, watcher),
        (true, _) | (_, Some(_)) => None,
    };
    Done {
        subject: subject.clone(),
        searched: searched.clone(),
        policy,
        config: *config,
        report,
        elapsed,
        told,
        excluded_by,
    }
}

/// Replays a kept schedule.
pub fn retell(subject: &Subject, kept: &Kept, policy: Policy, config: &Config) -> Told {
    let (replay, finding) = tell(subject, policy, config, &kept.schedule, &kept.kind);
    let found = replay.findings.iter().find(|(kind, _)| *kind == kept.kind);
    let (kind, text) = found.cloned().unwrap_or_default();
    let find = Find {
        kind,
        text,
        schedule: kept.schedule.clone(),
        preemptions: replay.preemptions,
        switches: replay.switches,
        runs: 1,
        replay: replay.clone(),
    };
    Told { find, replay, finding, file: None }
}

/// A replay as a search of one schedule, for its story.
pub fn retold(subject: &Subject, kept: &Kept, policy: Policy, config: &Config, told: Told) -> Done {
    let report = Report {
        scheduler: config.scheduler,
        complete: false,
        unbounded: false,
        gaps: vec!["a replay is one schedule".to_owned()],
        schedules: 1,
        executed: 1,
        bounds: Vec::new(),
        finds: vec![told.find.clone()],
        outcomes: std::collections::BTreeMap::new(),
        coverage: Coverage::default(),
    };
    Done {
        subject: subject.clone(),
        searched: kept.searched.clone(),
        policy,
        config: *config,
        report,
        elapsed: Duration::ZERO,
        told: vec![told],
        excluded_by: None,
    }
}

/// Replays a schedule; the finding of this kind comes with it.
pub fn tell(
    subject: &Subject,
    policy: Policy,
    config: &Config,
    schedule: &Schedule,
    kind: &str,
) -> (Replay, Option<Finding>) {
    let findings = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&findings);
    let replay = engine::tell(subject, policy, config, schedule, move |finding| {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(finding.clone());
    });
    let mut findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
    let own = findings.iter().position(|f| f.kind.word() == kind);
    (replay, own.map(|at| findings.swap_remove(at)))
}

/// The nearest newer variant of the family's axis, else the nearest older one, that is stated to
/// exclude it and for which that is proven here and now.
fn excluded_by(
    subject: &Subject,
    policy: Policy,
    config: &Config,
    watcher: &Watcher,
) -> Option<ExcludedBy> {
    let Subject::World(world) = subject else { return None };
    let cells: Vec<_> = matrix::cells().into_iter().filter(|c| c.family == world.family).collect();
    let axis = cells.first()?.axis;
    let all = describe().into_iter().find(|a| a.axis == axis)?.variants;
    let own = all.iter().position(|v| v.word == policy.word(axis))?;
    let newer_first = all[own + 1..].iter().chain(all[..own].iter().rev());
    let bound = match config.scheduler {
        Scheduler::Bounded { preemptions } => preemptions.min(subject.bound() + 1),
        Scheduler::Random | Scheduler::Pct { .. } => subject.bound(),
    };
    let excludes =
        |word: &str| cells.iter().any(|c| c.variant == word && c.expect == Expect::Excluded);
    let variant = newer_first.into_iter().find(|v| excludes(v.word))?;
    let with = policy.with_axis_of(axis, &matrix::policy_with(axis, variant.word));
    let config = Config {
        scheduler: Scheduler::Bounded { preemptions: bound },
        max_schedules: PROOF_LIMIT,
        stop_at_find: true,
        ..*config
    };
    watcher.begin(format!("{} {with}", subject.name()));
    let report = engine::run(subject, with, &config, watcher.watch());
    (report.complete && report.finds.is_empty()).then(|| ExcludedBy {
        choice: format!("{axis}={}", variant.word),
        commit: variant.commit,
        schedules: report.schedules,
        preemptions: bound,
    })
}

impl Done {
    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(&self.report)
    }

    /// Writes each find: schedule, text, document and Chrome trace. `first` numbers the files.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn keep(&mut self, dir: &Path, first: usize) -> Result<(), Stop> {
        for index in 0..self.told.len() {
            let path = dir.join(format!("finding-{}.schedule", first + index));
            self.told[index].file = Some(path.clone());
            let told = &self.told[index];
            let kept = Kept {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                searched: self.searched.clone(),
                variant: self.policy.to_string(),
                kind: told.find.kind.to_owned(),
                hash: told.replay.hash,
                early_expiry: self.config.early_expiry,
                schedule: told.replay.made.clone(),
            };
            let head = text::find_line(self, told);
            store::write_atomic(&path, kept.to_text(&head).as_bytes())?;
            let story = text::story(self, told);
            store::write_atomic(&path.with_extension("txt"), story.as_bytes())?;
            let document = super::document::find(told);
            let json = store::to_json(&document);
            store::write_atomic(&path.with_extension("json"), json.as_bytes())?;
            let chrome = trace::document(&timeline::events(&told.replay));
            let json = store::to_json(&chrome);
            store::write_atomic(&path.with_extension("trace.json"), json.as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_line_says_how_far_and_how_fast() {
        let progress =
            Progress { preemptions: Some(2), schedules: 12_345, executed: 62_400, violating: 3 };
        let line = progress_line("J1a-vma v4.11", &progress, Duration::from_secs(2));
        assert_eq!(line, " J1a-vma v4.11  K=2  12,345 schedules  31.2k/s  FOUND 3");
        let samples = Progress { preemptions: None, ..progress };
        assert!(progress_line("x", &samples, Duration::from_secs(2)).contains("samples"));
    }
}
