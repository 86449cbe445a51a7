//! `stress explore`: every schedule of a small world within a bound of preemptions, or samples.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use allocator_explore::explore::{Config, Scheduler};
use clap::{Args, ValueEnum};
use results::schema::{self, Run};
use results::store;
use workloads_explore::worlds::search::{Effort, Subject};

use super::args::{TextOrJson, When};
use super::exit::{Exit, Stop, print};
use super::values;
use crate::explore::document::Document;
use crate::explore::kept::{Kept, Searched};
use crate::explore::matrix::{self, Matrix, Planted};
use crate::explore::search::{self, Done, Told, Watcher};
use crate::explore::subject::{self, SceneSpec};
use crate::explore::{text, timeline};
use crate::run::signals::Signals;
use crate::show::live::Live;
use crate::show::say;

/// Steps of each task of a workload unless told otherwise.
const STEPS: u32 = 2;
/// Tasks of a workload unless told otherwise.
const THREADS: u32 = 3;
/// Samples unless told otherwise.
const SAMPLES: u64 = 10_000;

/// `stress explore`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExploreCommand {
    /// Search the families of this workload's axes, each in its smallest world
    #[arg(long, value_name = "NAME", conflicts_with_all = ["family", "all", "replay"])]
    pub workload: Option<String>,
    /// Search these families: J1a-vma, J5b, ... (`stress list variants`)
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',', conflicts_with = "replay")]
    pub family: Vec<String>,
    /// Search every family (or those of --family) under every variant of its axis, and compare with what is expected
    #[arg(long, conflicts_with_all = ["variant", "replay"])]
    pub all: bool,
    /// Worlds with a task more, where there are some
    #[arg(long, requires = "all")]
    pub larger: bool,
    /// Policy [default: mainline]
    #[arg(long, value_name = "SPEC", conflicts_with = "replay")]
    pub variant: Option<String>,
    /// How schedules are chosen
    #[arg(long, value_enum, default_value_t = SchedulerWord::Bounded)]
    pub scheduler: SchedulerWord,
    /// Preemptions allowed, tried from 0 on [default: what the family takes, at least 2]; with --all: that many more
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(0..=32))]
    pub preemptions: Option<u32>,
    /// Ordering constraints that PCT looks for
    #[arg(long, value_name = "D", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub depth: u32,
    /// Schedules at most: samples [default: 10k], or for each K [default: no limit]; with --all: samples on top
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub schedules: Option<u64>,
    /// Seed of samples and of a workload's own choices
    #[arg(long, value_name = "N", value_parser = values::seed, default_value = "0")]
    pub seed: u64,
    /// Search the workload's own tasks, so many
    #[arg(long, value_name = "N", requires = "workload", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: Option<u32>,
    /// Search the workload's own tasks, for so many steps each
    #[arg(long, value_name = "N", requires = "workload", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub steps: Option<u32>,
    /// An option of the workload for its own tasks, as in policy=vma
    #[arg(long, value_name = "OPTION=VALUE", requires = "workload")]
    pub set: Vec<String>,
    /// Let the next timer expire early, at the price of a preemption
    #[arg(long)]
    pub early_expiry: bool,
    /// Stop each search at its first finding
    #[arg(long, alias = "abort")]
    pub stop_on_finding: bool,
    /// Tell a kept schedule again
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// OS threads to search with [default: all allowed CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Directory for schedules, stories and traces [default: one under stress-runs/ if anything is found]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// What stdout carries
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
    /// Live progress on stderr
    #[arg(long, alias = "eta", value_enum, default_value_t = When::Auto)]
    pub progress: When,
    /// Leave with 0 in spite of findings
    #[arg(long)]
    pub allow_findings: bool,
    /// Only the verdicts
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// The stories of all finds, not only of the first
    #[arg(short, long)]
    pub verbose: bool,
    /// Try the cells of AXIS=VARIANT with another policy: a bug planted to see the matrix fail
    #[arg(long, hide = true, value_name = "AXIS=VARIANT:SPEC", requires = "all")]
    pub plant: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  stress explore --workload cpuset01 --variant v4.11
  stress explore --family J1a-vma --variant mainline --preemptions 3
  stress explore --workload mbind-churn --threads 3 --scheduler pct --schedules 100k
  stress explore --replay stress-runs/.../finding-1.schedule
  stress explore --all

A bounded search that is exhausted is a proof for its world and its bound; samples prove nothing.
Exit codes: 0 nothing found; 1 findings, or cells that differ; 2 usage or bad input.";

/// How schedules are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchedulerWord {
    /// Every schedule with at most K preemptions.
    Bounded,
    /// A random walk.
    Random,
    /// Random priorities that fall at random points.
    Pct,
}

/// Does what was asked for.
///
/// # Errors
/// Bad input, or files that can't be written.
pub fn run(args: &ExploreCommand) -> Result<Exit, Stop> {
    if let Some(path) = &args.replay {
        return replay(args, path);
    }
    let signals = Signals::catch().map_err(|e| Stop::cannot_run(format!("signals: {e}")))?;
    let watcher = Watcher::new(Live::new(args.progress, None, args.quiet), signals);
    if args.all {
        return all(args, &watcher);
    }
    let policy = subject::policy(args.variant.as_deref().unwrap_or("mainline"))?;
    let mut done = Vec::new();
    for (searched, subject) in subjects(args, &policy)? {
        let config = config(args, &subject);
        done.push(search::run(&subject, &searched, policy, &config, &watcher));
        if watcher.interrupted().is_some() {
            break;
        }
    }
    watcher.end();
    keep(args, &mut done)?;
    let found = done.iter().any(|d| !d.told.is_empty());
    let exit = match watcher.interrupted() {
        Some(exit) => exit,
        None if found && !args.allow_findings => Exit::Findings,
        None => Exit::Ok,
    };
    let mut document = Document::of(&done, args.seed);
    document.interrupted = watcher.interrupted().is_some();
    document.exit = exit.code();
    if let Some(dir) = directory(&done).or(args.output.clone()) {
        store::write_atomic(&dir.join("explore.json"), store::to_json(&document).as_bytes())?;
    }
    match args.format {
        TextOrJson::Json => print(&(store::to_json(&document) + "\n"))?,
        TextOrJson::Text => print(&report(args, &done, document.interrupted))?,
    }
    Ok(exit)
}

/// OS threads: those asked for, or the CPUs that the process may use.
pub(super) fn workers(asked: Option<u16>) -> usize {
    let allowed = || std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or_else(allowed, usize::from)
}

fn subjects(
    args: &ExploreCommand,
    policy: &allocator_explore::policy::Policy,
) -> Result<Vec<(Searched, Subject)>, Stop> {
    let of_family = |s: Subject| (Searched::Family(s.name().to_owned()), s);
    let own = args.threads.is_some() || args.steps.is_some() || !args.set.is_empty();
    match &args.workload {
        Some(name) if own => {
            let spec = SceneSpec {
                workload: name.clone(),
                threads: args.threads.unwrap_or(THREADS),
                steps: args.steps.unwrap_or(STEPS),
                seed: args.seed,
                options: args.set.clone(),
            };
            let subject = subject::scene(&spec, policy)?;
            Ok(vec![(Searched::Scene(spec), subject)])
        }
        Some(name) => Ok(subject::workload(name)?.into_iter().map(of_family).collect()),
        None if args.family.is_empty() => Err(Stop::usage(
            "nothing to explore: name --workload, --family or --all, as in stress explore --workload \
             cpuset01 --variant v4.11",
        )),
        None => args.family.iter().map(|name| subject::family(name).map(of_family)).collect(),
    }
}

fn config(args: &ExploreCommand, subject: &Subject) -> Config {
    let preemptions = args.preemptions.unwrap_or_else(|| subject.bound());
    let (scheduler, schedules) = match args.scheduler {
        SchedulerWord::Bounded => (Scheduler::Bounded { preemptions }, u64::MAX),
        SchedulerWord::Random => (Scheduler::Random, SAMPLES),
        SchedulerWord::Pct => (Scheduler::Pct { depth: args.depth }, SAMPLES),
    };
    Config {
        scheduler,
        max_schedules: args.schedules.unwrap_or(schedules),
        seed: args.seed,
        workers: workers(args.workers),
        early_expiry: args.early_expiry,
        stop_at_find: args.stop_on_finding,
        ..Config::default()
    }
}

fn directory(done: &[Done]) -> Option<PathBuf> {
    let file = done.iter().flat_map(|d| &d.told).find_map(|t| t.file.as_ref())?;
    file.parent().map(Path::to_owned)
}

/// Writes what was found.
fn keep(args: &ExploreCommand, done: &mut [Done]) -> Result<(), Stop> {
    if done.iter().all(|d| d.told.is_empty()) {
        return Ok(());
    }
    let dir = match &args.output {
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .map_err(|e| Stop::usage(format!("-o {}: {e}", dir.display())))?;
            dir.clone()
        }
        None => {
            let what = args.workload.clone().unwrap_or_else(|| args.family.join("+"));
            let variant = args.variant.clone().unwrap_or_else(|| "mainline".to_owned());
            let run = Run {
                workload: format!("explore-{what}"),
                variant: schema::Variant { name: variant, ..schema::Variant::default() },
                host: results::host::read(),
                ..Run::default()
            };
            store::new_run_dir(Path::new("stress-runs"), SystemTime::now(), &run)?
        }
    };
    let mut first = 1;
    for one in done {
        one.keep(&dir, first)?;
        first += one.told.len();
    }
    Ok(())
}

fn report(args: &ExploreCommand, done: &[Done], interrupted: bool) -> String {
    let mut report = String::new();
    if interrupted {
        report += "INTERRUPTED: what follows is partial\n";
    }
    if let Some(first) = done.first() {
        report += &format!(
            "stress {}  explore  {}  {}\n\n",
            env!("CARGO_PKG_VERSION"),
            first.policy,
            text::scheduler(&first.report)
        );
    }
    for one in done {
        report += &text::verdict(one);
    }
    if args.quiet {
        return report;
    }
    let scene = done.iter().any(|d| matches!(d.subject, Subject::Scene(_)));
    report += &text::not_covered(scene);
    let finds: Vec<(&Done, &Told)> =
        done.iter().flat_map(|d| d.told.iter().map(move |t| (d, t))).collect();
    let told = if args.verbose { finds.len() } else { 1 };
    for (done, told) in finds.iter().take(told) {
        report += "\n";
        report += &text::story(done, told);
    }
    let rest: Vec<String> = finds
        .iter()
        .skip(told)
        .filter_map(|(_, t)| t.file.as_ref())
        .map(|f| format!("\n  {}", f.with_extension("txt").display()))
        .collect();
    if !rest.is_empty() {
        report += &format!("\nThe other stories:{}\n", rest.concat());
    }
    if interrupted {
        report += "\nINTERRUPTED: partial\n";
    }
    report
}

/// `--all`.
fn all(args: &ExploreCommand, watcher: &Watcher) -> Result<Exit, Stop> {
    let planted: Vec<Planted> =
        args.plant.iter().map(|p| Planted::parse(p)).collect::<Result<_, _>>()?;
    let effort = Effort {
        extra_preemptions: args.preemptions.unwrap_or(0),
        samples: args.schedules.unwrap_or(2_000),
        seed: args.seed,
        max_schedules: u64::MAX,
        workers: workers(args.workers),
        larger: args.larger,
    };
    for name in &args.family {
        subject::family(name)?;
    }
    let start = Instant::now();
    let as_text = args.format == TextOrJson::Text;
    if as_text {
        print(&matrix::heading())?;
    }
    let found = matrix::run(&effort, &args.family, &planted, watcher, |row| {
        if as_text && (!args.quiet || row.differs.is_some()) {
            print(&matrix::line(row))?;
        }
        Ok(())
    })?;
    watcher.end();
    let differs = found.rows.iter().any(|r| r.differs.is_some());
    let exit = match watcher.interrupted() {
        Some(exit) => exit,
        None if differs && !args.allow_findings => Exit::Findings,
        None => Exit::Ok,
    };
    let seconds = start.elapsed().as_secs_f64();
    let summary = matrix::summary(&found, &effort, seconds, watcher.interrupted().is_some());
    let Matrix { rows, .. } = found;
    let mut document = Document { matrix: rows, ..Document::of(&[], args.seed) };
    document.interrupted = watcher.interrupted().is_some();
    document.exit = exit.code();
    if let Some(dir) = &args.output {
        std::fs::create_dir_all(dir)
            .map_err(|e| Stop::usage(format!("-o {}: {e}", dir.display())))?;
        store::write_atomic(&dir.join("explore.json"), store::to_json(&document).as_bytes())?;
    }
    match args.format {
        TextOrJson::Json => print(&(store::to_json(&document) + "\n"))?,
        TextOrJson::Text => print(&summary)?,
    }
    Ok(exit)
}

/// `--replay FILE`.
fn replay(args: &ExploreCommand, path: &Path) -> Result<Exit, Stop> {
    let kept = Kept::load(path)?;
    let at = |stop: Stop| Stop { message: format!("{}: {}", path.display(), stop.message), ..stop };
    let policy = subject::policy(&kept.variant).map_err(at)?;
    let subject = kept.searched.subject(&policy).map_err(at)?;
    let config = Config {
        early_expiry: kept.early_expiry,
        scheduler: Scheduler::Bounded { preemptions: 0 },
        ..Config::default()
    };
    if kept.version != env!("CARGO_PKG_VERSION") {
        say(format_args!(
            "stress: note: {} was kept by stress {}, this is {}",
            path.display(),
            kept.version,
            env!("CARGO_PKG_VERSION")
        ));
    }
    let told = search::retell(&subject, &kept, policy, &config);
    let same = told.replay.hash == kept.hash;
    let shows = told.replay.findings.iter().any(|(kind, _)| *kind == kept.kind);
    for (choice, why) in &told.replay.misfits {
        let point = crate::explore::kept::point_name(choice.label);
        say(format_args!(
            "stress: {}: the choice of task {} at {point} no longer fits: {why}",
            path.display(),
            choice.task
        ));
    }
    let verdict = match (shows, same) {
        (true, true) => format!("replayed: {} again, in the same order of points", kept.kind),
        (true, false) => format!(
            "replayed: {} again, but in another order of points: the sources have changed since",
            kept.kind
        ),
        (false, _) => format!("replayed: {} does not show any more", kept.kind),
    };
    let exit = match (shows, told.replay.misfits.is_empty()) {
        (true, _) if args.allow_findings => Exit::Ok,
        (true, _) => Exit::Findings,
        (false, true) => Exit::Ok,
        // It says nothing about the variant.
        (false, false) => Exit::Usage,
    };
    match args.format {
        TextOrJson::Json => {
            let document = crate::explore::document::find(&told);
            print(&(store::to_json(&document) + "\n"))?;
        }
        TextOrJson::Text => {
            let hash = told.replay.hash;
            let mut text = format!("{verdict} (hash {hash:#018x})\n");
            if !args.quiet {
                text += "\n";
                text += &if shows {
                    let done = search::retold(&subject, &kept, policy, &config, told);
                    text::story(&done, &done.told[0])
                } else {
                    timeline::columns(&told.replay, &kept.kind, 30).join("\n") + "\n"
                };
            }
            print(&text)?;
        }
    }
    Ok(exit)
}
