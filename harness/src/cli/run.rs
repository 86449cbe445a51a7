//! A run: `stress --workload NAME ...`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use results::compare::{self, Gate, Style};
use results::export::ktap;
use results::report::curve;
use results::schema::{Comparison, GateOutcome, Run, RunSet, VERSION, Verdict};
use results::store;
use workloads::Workload;

use super::args::{Format, RunArgs, VerdictArgs};
use super::baseline::{self, Judged};
use super::exit::{Exit, Stop, print};
use super::suggest;
use super::values::Threads;
use crate::plan::Plan;
use crate::record::document::{self, Heading};
use crate::record::{clock, findings, hlog, trace};
use crate::run::rounds::{self, Session};
use crate::run::signals::Signals;
use crate::show::progress::Progress;
use crate::show::say;
use crate::show::{color, dry_run, finding, log, summary};

impl From<results::Error> for Stop {
    fn from(error: results::Error) -> Self {
        // A full disk is not the user's mistake.
        match error.exit_code() {
            3 => Self::cannot_run(error.to_string()),
            _ => Self::usage(error.to_string()),
        }
    }
}

/// Runs what was asked for.
///
/// # Errors
/// Bad input, or a machine that can't run it.
pub fn run(args: &RunArgs) -> Result<Exit, Stop> {
    log::set(args.output.verbose);
    let all: Vec<RunArgs> =
        std::iter::once(args).chain(&args.more).flat_map(for_each_thread_count).collect();
    let mut jobs = Vec::new();
    for args in &all {
        let workloads = chosen(args)?;
        let plans: Vec<Plan> =
            workloads.into_iter().map(|w| Plan::new(w, args)).collect::<Result<_, _>>()?;
        let gates = gates(args, &plans)?;
        jobs.extend(plans.into_iter().map(|plan| Job { plan, args, gates: gates.clone() }));
    }
    if args.output.dry_run {
        let texts: Vec<String> = jobs.iter().map(|job| dry_run::text(&job.plan)).collect();
        print(&texts.join("\n"))?;
        return Ok(Exit::Ok);
    }
    check_baseline(&args.verdict)?;
    check_output(&jobs)?;
    let signals = Signals::catch().map_err(|e| Stop::cannot_run(format!("signals: {e}")))?;
    let mut outcomes = Vec::new();
    for job in &jobs {
        let (name, threads) = (job.plan.workload.info().name, job.plan.threads);
        log::step(|| format!("{name} with {threads} threads on {}", places(&job.plan)));
        let outcome = one(job, &signals)?;
        let is_cut = outcome.session.signal.is_some() || outcome.is_wedged();
        outcomes.push(outcome);
        if is_cut {
            break;
        }
    }
    let shown = show(args, &outcomes);
    let exit = exit_of(&outcomes, args.verdict.lenient);
    if exit != Exit::Findings
        && let Some(lost) = outcomes.iter_mut().find_map(|o| o.lost.take())
    {
        return Err(lost);
    }
    // A finding is not hidden by a stdout that is full.
    match shown {
        Err(why) if exit != Exit::Findings => return Err(why),
        Err(why) => say(format_args!("stress: {}", why.message)),
        Ok(()) => {}
    }
    if outcomes.iter().any(Outcome::is_wedged) {
        // Threads that can't end must not keep the process.
        std::process::exit(i32::from(exit.code()));
    }
    Ok(exit)
}

/// The model's CPUs and the host's, for the log.
fn places(plan: &Plan) -> String {
    let (cpus, nodes) = (plan.machine.cpus.len(), plan.machine.nodes.len());
    format!("{cpus} model CPUs of {nodes} nodes, host CPUs {}", plan.host_cpus())
}

/// One workload with its flags.
struct Job<'a> {
    plan: Plan,
    args: &'a RunArgs,
    gates: Vec<Gate>,
}

/// What one plan gave.
struct Outcome {
    session: Session,
    runs: Vec<Run>,
    comparisons: Vec<Comparison>,
    /// 0, 5 or 6 as the gates say.
    gate: i32,
    /// What the baseline said.
    baseline: Judged,
    file: Option<PathBuf>,
    /// Something that was to be kept or judged, and why it could not be.
    lost: Option<Stop>,
}

impl Outcome {
    fn is_wedged(&self) -> bool {
        self.session.rounds.iter().any(|r| r.is_wedged)
    }
}

/// What a bare `stress` runs.
const DEFAULT_WORKLOAD: &str = "cpuset01";

/// One set of flags for each number of threads, several for a scalability curve.
fn for_each_thread_count(args: &RunArgs) -> Vec<RunArgs> {
    let Some(Threads::List(list)) = &args.threads else { return vec![args.clone()] };
    let with = |n: &u32| RunArgs { threads: Some(Threads::Count(*n)), ..args.clone() };
    list.iter().map(with).collect()
}

/// The workloads that the flags name.
///
/// # Errors
/// An unknown name, with the nearest.
pub(crate) fn chosen(args: &RunArgs) -> Result<Vec<&'static dyn Workload>, Stop> {
    let names = if args.workload.is_empty() { &args.name } else { &args.workload };
    let default = [DEFAULT_WORKLOAD.to_owned()];
    let names = if names.is_empty() { &default[..] } else { names };
    let find = |name: &String| {
        workloads::find(name).ok_or_else(|| {
            let known = workloads::all().iter().map(|w| w.info().name);
            Stop::usage(suggest::unknown("workload", name, known, "stress list workloads"))
        })
    };
    names.iter().map(find).collect()
}

fn gates(args: &RunArgs, plans: &[Plan]) -> Result<Vec<Gate>, Stop> {
    let verdict = &args.verdict;
    let alone = verdict.baseline.is_none() && plans.iter().any(|p| p.variants.len() < 2);
    if !verdict.fail_on.is_empty() && alone {
        return Err(Stop::usage(
            "--fail-on needs something to compare with: a second --variant, --baseline, or stress compare",
        ));
    }
    let gates: Vec<Gate> =
        verdict.fail_on.iter().map(|text| text.parse()).collect::<results::error::Result<_>>()?;
    let ops = || plans.iter().flat_map(|p| p.workload.info().ops.iter().copied());
    for gate in &gates {
        if let Some(op) = gate.op()
            && !ops().any(|known| known == op)
        {
            let whole = suggest::unknown("operation", op, ops(), "see --help of the workload");
            return Err(Stop::usage(format!("--fail-on '{}': {whole}", gate.text())));
        }
    }
    Ok(gates)
}

/// Refuses a baseline that nobody has saved, before anything is run for it. `--lenient` lets a first
/// night through, and a run that saves it makes it.
fn check_baseline(verdict: &VerdictArgs) -> Result<(), Stop> {
    let Some(name) = &verdict.baseline else { return Ok(()) };
    let is_first = verdict.lenient || verdict.save_baseline.as_ref() == Some(name);
    if is_first || results::history::has_baseline(Path::new(store::RUNS_DIR), name)? {
        return Ok(());
    }
    Err(Stop::usage(format!(
        "no baseline '{name}': make it with --save-baseline {name}, or allow a first night with --lenient"
    )))
}

/// Refuses a place for the results before anything is run for them.
fn check_output(jobs: &[Job<'_>]) -> Result<(), Stop> {
    let mut places: Vec<PathBuf> = Vec::new();
    for job in jobs {
        let extras = [&job.args.output.hlog, &job.args.output.timeline];
        for path in extras.into_iter().flatten() {
            store::check_place(path)?;
        }
        let Some(path) = &job.args.output.output else {
            store::check_place(&Path::new(store::RUNS_DIR).join(store::RUN_FILE))?;
            continue;
        };
        let file = if is_directory(path) { path.join(store::RUN_FILE) } else { path.clone() };
        store::check_place(&file)?;
        let taken = std::fs::metadata(&file).is_ok_and(|m| m.is_file());
        if taken && !job.args.output.force {
            return Err(results::Error::Exists { path: file }.into());
        }
        if places.contains(&file) {
            let place = file.display();
            return Err(Stop::usage(format!(
                "-o {place}: {} runs can't share one file: leave it out, or run them apart",
                jobs.len()
            )));
        }
        places.push(file);
    }
    Ok(())
}

/// Is a place for results a directory, or named as one?
fn is_directory(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn one(job: &Job<'_>, signals: &Signals) -> Result<Outcome, Stop> {
    let (args, gates) = (job.args, &job.gates);
    let heading = heading(args);
    let mut plan = job.plan.clone();
    let notes = host_notes(&heading, plan.threads);
    if args.verdict.strict_host && !notes.is_empty() {
        return Err(Stop::cannot_run(format!("--strict-host: {}", notes.join("; "))));
    }
    plan.notes.extend(notes);
    let mut progress =
        Progress::new(args.output.progress, args.output.status_interval, args.output.quiet);
    if let Some(why) = plan.too_few_rounds(gates.len()) {
        say(format_args!("stress: note: {why}"));
    }
    progress.begin(&plan);
    let mut keeper = Keeper::new(args);
    let mut session = rounds::run(&plan, signals, &mut progress, |session| {
        keeper.keep(&document::runs(&plan, session, &heading), &[]);
        Ok(())
    })?;
    // With a baseline the gates are about it, not about the variants among themselves.
    let among = if args.verdict.baseline.is_some() { &[][..] } else { gates };
    let more = args.verdict.more_rounds;
    if more > 0
        && !session.is_cut
        && let Some(suspect) = suspect(&document::runs(&plan, &session, &heading), among, &plan)?
    {
        plan.notes.push(format!("{suspect} was suspect after {} rounds: {more} more", plan.rounds));
        say(format_args!("stress: {suspect} is suspect: {more} more rounds of each variant"));
        plan.rounds += more;
        rounds::go_on(&plan, &mut session, signals, &mut progress, |session| {
            keeper.keep(&document::runs(&plan, session, &heading), &[]);
            Ok(())
        })?;
    }
    progress.end();
    let plan = &plan;
    let extras = write_extras(plan, args, &session, heading.started);
    let mut runs = document::runs(plan, &session, &heading);
    for run in &mut runs {
        run.host.load_after = Some(results::host::load());
    }
    let (comparisons, gate) = compare(&runs, among, plan.seed)?;
    keeper.keep_last(&runs, &comparisons);
    let judged = keeper.file.as_ref().map(|file| baseline::judge(&args.verdict, &runs, file));
    // What was measured is shown whatever could not be kept or judged.
    let (baseline, unjudged) = match judged.transpose() {
        Ok(judged) => (judged.unwrap_or_default(), None),
        Err(why) => (Judged::default(), Some(why)),
    };
    let unkept = keeper.failed.take().or(extras.err());
    let lost = unkept.map(|why| Stop::cannot_run(why.message)).or(unjudged);
    Ok(Outcome { session, runs, comparisons, gate, baseline, file: keeper.file, lost })
}

/// The gate that more rounds may settle: its figure is past the limit, and the interval is not.
pub(crate) fn suspect(runs: &[Run], gates: &[Gate], plan: &Plan) -> Result<Option<String>, Stop> {
    // Past another gate for sure, or a finding: the verdict stands, whatever the rest would say.
    if gates.is_empty() || runs.iter().any(|run| run.exit == 1) {
        return Ok(None);
    }
    let outcome = compared(runs, gates, plan.seed)?;
    if outcome.exit == 5 {
        return Ok(None);
    }
    let mut rows = outcome.comparisons.iter().flat_map(|c| &c.metrics);
    let row = rows.find(|row| row.verdict == Some(Verdict::Suspect));
    Ok(row.map(|row| format!("{} ({})", row.gate.as_deref().unwrap_or_default(), row.name)))
}

/// The interval log and the timeline, if they were asked for.
fn write_extras(
    plan: &Plan,
    args: &RunArgs,
    session: &Session,
    started: SystemTime,
) -> Result<(), Stop> {
    if let Some(path) = &args.output.hlog {
        let log = hlog::text(plan, session, started)
            .map_err(|e| Stop::cannot_run(format!("--hlog {}: {e}", path.display())))?;
        store::write_atomic(path, &log)?;
    }
    if let Some(path) = &args.output.timeline {
        let all: Vec<_> = session.rounds.iter().flat_map(|r| r.timeline.iter().cloned()).collect();
        let trace = trace::document(&findings::events(&all));
        store::write_atomic(path, store::to_json(&trace).as_bytes())?;
    }
    Ok(())
}

fn heading(args: &RunArgs) -> Heading {
    let started = SystemTime::now();
    Heading {
        session: store::new_run_id(started),
        started,
        // A name that is no UTF-8 stands as it can be shown.
        command_line: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
        host: results::host::read(),
        clock: clock::measure(),
        allow_findings: args.verdict.allow_findings,
    }
}

fn host_notes(heading: &Heading, threads: u32) -> Vec<String> {
    results::host::notes(&heading.host, Some(threads)).into_iter().map(|n| n.text).collect()
}

/// The base against each other variant; what could not be judged is told.
fn compare(runs: &[Run], gates: &[Gate], seed: u64) -> Result<(Vec<Comparison>, i32), Stop> {
    let outcome = compared(runs, gates, seed)?;
    outcome.warnings.iter().for_each(|w| say(format_args!("stress: {w}")));
    Ok((outcome.comparisons, outcome.exit))
}

fn compared(runs: &[Run], gates: &[Gate], seed: u64) -> Result<compare::Outcome, Stop> {
    let (base, others) = runs.split_at(runs.len().min(1));
    let options = compare::Options { gates: gates.to_vec(), seed, ..Default::default() };
    let comparisons: Vec<Comparison> = others
        .iter()
        .map(|new| compare::compare_runs(&[&base[0]], &[new], &options))
        .collect::<results::error::Result<_>>()?;
    let all: Vec<&Run> = runs.iter().collect();
    Ok(compare::outcome(comparisons, Style::Robot, Vec::new(), &all))
}

/// Keeps the record up to date on disk.
struct Keeper<'a> {
    args: &'a RunArgs,
    /// The record; findings lie beside it.
    file: Option<PathBuf>,
    /// Why the record could not be kept where it was meant to be, at its last try.
    failed: Option<Stop>,
}

impl<'a> Keeper<'a> {
    fn new(args: &'a RunArgs) -> Self {
        Self { args, file: None, failed: None }
    }

    /// Keeps what there is so far. What can't be written is no end of a run that may still find
    /// something: it is told once, and tried again after the next round.
    fn keep(&mut self, runs: &[Run], comparisons: &[Comparison]) {
        let kept = self.write(runs, comparisons);
        if let (Err(why), None) = (&kept, &self.failed) {
            say(format_args!("stress: note: {}", why.message));
        }
        self.failed = kept.err();
    }

    /// The last state, if need be in another place, which is named then.
    fn keep_last(&mut self, runs: &[Run], comparisons: &[Comparison]) {
        self.keep(runs, comparisons);
        if self.failed.is_none() {
            return;
        }
        let bases = [PathBuf::from(store::RUNS_DIR), std::env::temp_dir().join(store::RUNS_DIR)];
        for base in bases {
            self.file = run_dir(&base, runs).ok().map(|dir| dir.join(store::RUN_FILE));
            if self.file.is_some() && self.write(runs, comparisons).is_ok() {
                let place = self.file.as_deref().unwrap_or(&base).display();
                say(format_args!("stress: the record is kept in {place} instead"));
                return;
            }
        }
        self.file = None;
        say(format_args!(
            "stress: the record could not be kept anywhere: what follows is all of it"
        ));
    }

    fn write(&mut self, runs: &[Run], comparisons: &[Comparison]) -> Result<(), Stop> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.place(runs)?,
        };
        match runs {
            [run] => store::save(run, &file, self.args.output.force)?,
            _ => store::save_set(&set(runs, comparisons), &file, self.args.output.force)?,
        }
        write_findings(&file, runs)?;
        log::detail(|| format!("kept in {}", file.display()));
        self.file = Some(file);
        Ok(())
    }

    fn place(&self, runs: &[Run]) -> Result<PathBuf, Stop> {
        match &self.args.output.output {
            None => Ok(run_dir(Path::new(store::RUNS_DIR), runs)?.join(store::RUN_FILE)),
            Some(path) if is_directory(path) => Ok(path.join(store::RUN_FILE)),
            Some(path) => Ok(path.clone()),
        }
    }
}

/// A new directory for these runs.
fn run_dir(base: &Path, runs: &[Run]) -> Result<PathBuf, Stop> {
    let mut named = runs[0].clone();
    let names: Vec<&str> = runs.iter().map(|r| r.variant.name.as_str()).collect();
    named.variant.name = names.join("+");
    Ok(store::new_run_dir(base, SystemTime::now(), &named)?)
}

/// What stands before `finding-N.txt` beside a record: nothing beside a run.json, else the record's
/// name, as several may share a directory. None for a device.
fn beside(file: &Path) -> Option<PathBuf> {
    if file.file_name().is_some_and(|name| name == store::RUN_FILE) {
        return Some(file.with_file_name(""));
    }
    let mut name = file.file_stem()?.to_owned();
    name.push(".");
    std::fs::metadata(file).is_ok_and(|m| m.is_file()).then(|| file.with_file_name(name))
}

/// `finding-N.txt` and `.json` beside the record; with several variants each names its own.
fn write_findings(file: &Path, runs: &[Run]) -> Result<(), Stop> {
    let Some(beside) = beside(file) else { return Ok(()) };
    for (index, run) in runs.iter().enumerate() {
        let of = if runs.len() > 1 { format!("{}-", index + 1) } else { String::new() };
        for found in &run.findings {
            let mut path = beside.clone().into_os_string();
            path.push(format!("finding-{of}{}.txt", found.number));
            let path = PathBuf::from(path);
            store::write_atomic(&path, finding::text(run, found).as_bytes())?;
            let path = path.with_extension("json");
            store::write_atomic(&path, store::to_json(found).as_bytes())?;
            let path = path.with_extension("trace.json");
            let trace = trace::document(&found.events);
            store::write_atomic(&path, store::to_json(&trace).as_bytes())?;
        }
    }
    Ok(())
}

fn set(runs: &[Run], comparisons: &[Comparison]) -> RunSet {
    let comparison = (!comparisons.is_empty()).then(|| comparisons.to_vec());
    RunSet { schema: VERSION, runs: runs.to_vec(), comparison }
}

fn show(args: &RunArgs, outcomes: &[Outcome]) -> Result<(), Stop> {
    match args.output.format {
        Format::Text => {
            for (index, outcome) in outcomes.iter().enumerate() {
                let text = if args.output.quiet {
                    outcome.runs.iter().map(|run| verdict_line(run, outcome)).collect()
                } else {
                    let (runs, file) = (&outcome.runs, outcome.file.as_deref());
                    let percentiles = &args.output.percentiles;
                    summary::text(runs, &outcome.comparisons, file, percentiles)
                };
                let between = if index > 0 { "\n" } else { "" };
                let mut text = format!("{between}{text}");
                if !outcome.baseline.text.is_empty() {
                    text += &format!("\n{}", outcome.baseline.text);
                }
                print(&color::paint(&text, args.output.color))?;
            }
            let runs: Vec<&Run> = outcomes.iter().flat_map(|o| &o.runs).collect();
            let curves = curve::text(&runs);
            if !curves.is_empty() && !args.output.quiet {
                print(&format!("\n{curves}"))?;
            }
        }
        Format::Json => print(&json(outcomes))?,
        Format::Ktap => {
            let runs: Vec<&Run> = outcomes.iter().flat_map(|o| &o.runs).collect();
            let compared: Vec<Comparison> =
                outcomes.iter().flat_map(|o| o.comparisons.clone()).collect();
            print(&ktap::document(&runs, &compared))?;
        }
    }
    Ok(())
}

fn json(outcomes: &[Outcome]) -> String {
    if let [Outcome { runs, .. }] = outcomes
        && let [run] = runs.as_slice()
    {
        return store::to_json(run);
    }
    let runs: Vec<Run> = outcomes.iter().flat_map(|o| o.runs.clone()).collect();
    let comparisons: Vec<Comparison> =
        outcomes.iter().flat_map(|o| o.comparisons.clone()).collect();
    store::to_json(&set(&runs, &comparisons))
}

/// Workload, variant and the worst that is known of the run, in the words of its exit code.
fn verdict_line(run: &Run, outcome: &Outcome) -> String {
    let counted = run.findings.iter().filter(|f| f.counts).count();
    let gates = outcome
        .comparisons
        .iter()
        .filter(|c| c.new.run_ids.contains(&run.run_id))
        .filter(|c| c.metrics.iter().any(|row| row.gate.is_some()));
    let gate = gates.map(|c| c.verdict.outcome()).max_by_key(|o| o.exit() % 6);
    let verdict = match counted {
        0 if run.interrupted => "interrupted".to_owned(),
        0 if run.measured_nothing() => "not judged (nothing was measured)".to_owned(),
        0 => match gate {
            Some(GateOutcome::Held) | None => match outcome.baseline.gate {
                0 => "ok".to_owned(),
                5 => "FAIL (past a gate against the baseline)".to_owned(),
                _ => "not judged (against the baseline)".to_owned(),
            },
            Some(outcome) => outcome.text(),
        },
        n => format!("{n} found"),
    };
    format!("{}  {}  {verdict}\n", run.workload, run.variant.name)
}

fn exit_of(outcomes: &[Outcome], lenient: bool) -> Exit {
    if let Some(signal) = outcomes.iter().find_map(|o| o.session.signal) {
        return signal;
    }
    let runs = outcomes.iter().flat_map(|o| o.runs.iter().map(|r| r.exit));
    let gates = outcomes.iter().flat_map(|o| [o.gate, o.baseline.gate]);
    let codes: Vec<i32> = runs.chain(gates).collect();
    let is = |exit: Exit| codes.contains(&i32::from(exit.code()));
    // What is wrong for sure hides what nobody knows.
    let order = [Exit::Findings, Exit::Regression, Exit::Usage, Exit::NotJudged];
    match order.into_iter().find(|exit| is(*exit)) {
        Some(Exit::NotJudged) if lenient => Exit::Ok,
        found => found.unwrap_or(Exit::Ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_lie_beside_their_record_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("night.json");
        std::fs::write(&named, "").unwrap();
        assert_eq!(beside(&named), Some(dir.path().join("night.")));
        assert_eq!(beside(&dir.path().join("run.json")), Some(dir.path().join("")));
        assert_eq!(beside(Path::new("/dev/null")), None, "a device has no neighbours of ours");
    }
}
