//! Two sides, compared: what changed, how sure that is, and whether it passes a gate.
//!
//! What: [`run`] is `stress compare`; [`compare_runs`] does one pair of sides in memory, as the
//! harness needs it at the end of a run with several variants.
//! Why: a round is the sample. Rounds pair by position, so that what the machine did meanwhile hits
//! both sides; a gate needs size and confidence, because one on the bare mean fails by chance.
//! Source: the layouts are those that mm people read every week, the kernel test robot's and
//! mmtests'.
//! Differs: unlike both, it refuses sides whose host, machine, threads or workload differ.

mod comparable;
mod figures;
mod gate;
mod mail;
mod markdown;
mod mmtests;
mod numbers;
mod robot;
mod sides;
pub mod stats;

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::schema::{
    Comparison, CountRow, CountSide, MetricRow, MetricSide, Run, RunSide, Summary, VERSION, Verdict,
};
use crate::store;

pub use comparable::{differences, rounds_for};
pub use figures::{op_figure_directions, op_figures};
pub use gate::{Gate, full_name};
pub(crate) use mail::wrap;
pub use numbers::rate;
pub use sides::{Pair, pair_up, variants_of_sessions};

use figures::Column;
use stats::FEWEST_PAIRS;

/// How a comparison is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// The kernel test robot's table.
    #[default]
    Robot,
    /// mmtests' table.
    Mmtests,
    /// A table for pages and issues.
    Markdown,
    /// The [`Comparison`]s.
    Json,
    /// 72 columns of plain text: host, table, findings, commands.
    Mail,
}

/// What `stress compare` was asked for.
#[derive(Debug, Clone, Default)]
pub struct Args {
    /// Base: a file, a run directory or a directory of runs.
    pub base: PathBuf,
    /// The others, each compared with the base; none compares the variants of one run with each other.
    pub new: Vec<PathBuf>,
    /// Gates as typed (`fault.p99>5%`, `max>2ms`).
    pub fail_on: Vec<String>,
    /// Layout.
    pub style: Style,
    /// Compare what is not comparable, and say so.
    pub force: bool,
    /// All figures, not only the usual ones.
    pub all_figures: bool,
    /// Seed of the resampling; 1 unless given, so that the same files give the same text.
    pub seed: Option<u64>,
}

/// How one pair of sides is compared.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Gates.
    pub gates: Vec<Gate>,
    /// Compare what is not comparable, and say so.
    pub force: bool,
    /// All figures, not only the usual ones.
    pub all_figures: bool,
    /// Seed of the resampling.
    pub seed: u64,
    /// Column heads; by themselves the variants, or what else tells the sides apart.
    pub labels: Option<(String, String)>,
}

/// What a comparison gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// One for each pair of sides.
    pub comparisons: Vec<Comparison>,
    /// The document for stdout.
    pub text: String,
    /// Lines for stderr: what was left out, which gate could not be judged.
    pub warnings: Vec<String>,
    /// 0; 5 if a gate was crossed; 6 if one is suspect or could not be judged.
    pub exit: i32,
}

/// `stress compare`.
///
/// # Errors
/// Files that can't be read, sides that can't be compared, gates that name nothing.
pub fn run(args: &Args) -> Result<Outcome> {
    let gates = args.fail_on.iter().map(|text| text.parse()).collect::<Result<Vec<Gate>>>()?;
    let base = store::load(&args.base)?;
    let mut warnings = Vec::new();
    let pairs = match args.new.as_slice() {
        [] => variants_of_sessions(base)?,
        [new] => pair_up(base, store::load(new)?, &mut warnings)?,
        several => {
            let mut pairs = Vec::new();
            for new in several {
                pairs.extend(pair_up(base.clone(), store::load(new)?, &mut warnings)?);
            }
            // Those of one base stand together.
            pairs.sort_by(|a, b| a.base[0].run.run_id.cmp(&b.base[0].run.run_id));
            pairs
        }
    };
    let options = Options {
        gates,
        force: args.force,
        all_figures: args.all_figures,
        seed: args.seed.unwrap_or(1),
        labels: None,
    };
    let comparisons = compare_all(&pairs, &options)?;
    let runs: Vec<&Run> =
        pairs.iter().flat_map(|pair| pair.base.iter().chain(&pair.new)).map(|l| &l.run).collect();
    Ok(outcome(comparisons, args.style, warnings, &runs))
}

/// All pairs, on all CPUs; the error of the first pair that has one.
fn compare_all(pairs: &[Pair], options: &Options) -> Result<Vec<Comparison>> {
    let workers =
        std::thread::available_parallelism().map_or(1, |n| n.get()).min(pairs.len().max(1));
    let share = pairs.len().div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        let handles: Vec<_> = pairs
            .chunks(share)
            .map(|pairs| {
                scope.spawn(move || {
                    pairs.iter().map(|p| compare_pair(p, options)).collect::<Vec<_>>()
                })
            })
            .collect();
        handles
            .into_iter()
            .flat_map(|h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn compare_pair(pair: &Pair, options: &Options) -> Result<Comparison> {
    let base: Vec<&Run> = pair.base.iter().map(|l| &l.run).collect();
    let new: Vec<&Run> = pair.new.iter().map(|l| &l.run).collect();
    let differing = differences(base[0], new[0]);
    if !differing.is_empty() && !options.force {
        return Err(comparable::refusal(&pair.base[0].path, &pair.new[0].path, &differing));
    }
    let labels = options.labels.clone().unwrap_or_else(|| sides::labels(pair));
    compare_runs(&base, &new, &Options { labels: Some(labels), ..options.clone() })
}

/// The document and the exit code for comparisons that were made.
#[must_use]
pub fn outcome(
    comparisons: Vec<Comparison>,
    style: Style,
    mut warnings: Vec<String>,
    runs: &[&Run],
) -> Outcome {
    let text = show(&comparisons, style, runs);
    let mut exit = 0;
    for comparison in &comparisons {
        if comparison.metrics.iter().all(|row| row.gate.is_none()) {
            continue;
        }
        let sides = format!("{} against {}", comparison.new.label, comparison.base.label);
        let why = match comparison.verdict {
            Verdict::Ok | Verdict::Fail => None,
            Verdict::Suspect => Some(
                "a gated figure is past its limit, but not for sure; use more rounds".to_owned(),
            ),
            Verdict::BelowClock => Some(
                "the clock's step hides whether a gate held; gate a mean, as in 'alloc.mid>5%'"
                    .to_owned(),
            ),
            Verdict::TooFewRounds if (comparison.pairs as usize) < FEWEST_PAIRS => Some(format!(
                "{} pairs of rounds, {FEWEST_PAIRS} needed to judge a gate; use --rounds 10",
                comparison.pairs
            )),
            Verdict::TooFewRounds => Some(
                "a gated figure is missing or 0 in too many rounds to be judged; use longer rounds"
                    .to_owned(),
            ),
            Verdict::Interrupted => {
                Some("a run was interrupted, so no gate is judged; run it again".to_owned())
            }
        };
        warnings.extend(why.map(|why| format!("compare: {sides}: {why}")));
        exit = worse(exit, comparison.verdict.outcome().exit());
    }
    Outcome { comparisons, text, warnings, exit }
}

/// The worse of two exit codes of gates: what failed hides what was not judged.
#[must_use]
pub fn worse(one: i32, other: i32) -> i32 {
    let rank = |code: i32| match code {
        0 => 0,
        6 => 1,
        _ => 2,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// The document in one of the layouts.
#[must_use]
pub fn show(comparisons: &[Comparison], style: Style, runs: &[&Run]) -> String {
    let each = |layout: fn(&Comparison) -> String| {
        comparisons.iter().map(layout).collect::<Vec<_>>().join("\n")
    };
    match style {
        Style::Robot => each(robot::table),
        Style::Mmtests => mmtests::tables(comparisons),
        Style::Markdown => each(markdown::table),
        Style::Mail => mail::text(comparisons, runs),
        Style::Json => {
            store::to_json(&serde_json::json!({ "schema": VERSION, "comparison": comparisons }))
        }
    }
}

/// Compares two sides of one or more runs each; the first of each speaks for its side.
///
/// # Errors
/// Sides that can't be compared (unless forced), gates that name no figure, sides without runs.
pub fn compare_runs(base: &[&Run], new: &[&Run], options: &Options) -> Result<Comparison> {
    let (Some(first), Some(second)) = (base.first(), new.first()) else {
        return Err(Error::Input("compare: a side has no run".to_owned()));
    };
    let forced = differences(first, second);
    if !forced.is_empty() && !options.force {
        return Err(comparable::refusal("base".as_ref(), "new".as_ref(), &forced));
    }
    let pairs = sides::round_pairs(base, new);
    // Old records name none; then all figures are.
    let both = |name: &&String| second.primary.is_empty() || second.primary.contains(name);
    let primary: Vec<&str> = first.primary.iter().filter(both).map(String::as_str).collect();
    let columns = figures::columns(&pairs, &options.gates, &primary, options.all_figures);
    let interrupted = base.iter().chain(new).any(|run| run.interrupted);
    let mut metrics = rows(&columns, first, options);
    let step = |run: &Run| run.clock.step_ns.unwrap_or(0.0);
    let step_ns = step(first).max(step(second));
    for gate in &options.gates {
        gate.judge(&mut metrics, interrupted, step_ns, options.seed)?;
    }
    holm_over_family(&mut metrics, !options.gates.is_empty(), &primary);
    let labels = options
        .labels
        .clone()
        .unwrap_or_else(|| (first.variant.name.clone(), second.variant.name.clone()));
    let mut comparison = Comparison {
        base: side(base, labels.0),
        new: side(new, labels.1),
        interleaved: sides::interleaved(first, second),
        pairs: pairs.len() as u32,
        seed: options.seed,
        verdict: worst_verdict(&metrics, pairs.len(), interrupted),
        forced,
        notes: Vec::new(),
        rates: rates(&columns, &primary, options.seed),
        counts: counts(base, new),
        metrics,
    };
    comparison.notes = comparable::notes(base, new, &comparison);
    Ok(comparison)
}

fn side(runs: &[&Run], label: String) -> RunSide {
    let first = runs[0];
    RunSide {
        label,
        run_ids: runs.iter().map(|run| run.run_id.clone()).collect(),
        workload: first.workload.clone(),
        variant: first.variant.name.clone(),
        threads: first.threads,
        host: first.host.name.clone(),
        kernel: first.host.kernel.clone(),
        seed: first.seed,
        rounds: runs.iter().map(|run| run.whole_rounds().count() as u32).sum(),
    }
}

fn rows(columns: &[Column], first: &Run, options: &Options) -> Vec<MetricRow> {
    let changes: Vec<Vec<f64>> = columns.iter().map(Column::log_ratios).collect();
    let mut intervals = vec![None; columns.len()];
    // Figures with the same pairs share the draws; those with fewer pairs get their own.
    let mut lengths: Vec<usize> = changes.iter().map(Vec::len).collect();
    lengths.sort_unstable();
    lengths.dedup();
    for length in lengths {
        let members: Vec<usize> =
            (0..columns.len()).filter(|&i| changes[i].len() == length).collect();
        let group: Vec<&[f64]> = members.iter().map(|&i| changes[i].as_slice()).collect();
        for (i, interval) in
            members.into_iter().zip(stats::bootstrap(&group, options.seed).unwrap_or_default())
        {
            intervals[i] = Some(percent_interval(interval));
        }
    }
    columns
        .iter()
        .zip(changes)
        .zip(intervals)
        .map(|((column, change), interval)| {
            // What goes to 0 has no ratio; its differences flip their signs as well.
            let tested = if change.is_empty() { column.differences() } else { change.clone() };
            let p = (tested.len() >= FEWEST_PAIRS)
                .then(|| stats::sign_flip(&tested, options.seed))
                .flatten();
            MetricRow {
                name: column.name.clone(),
                better: column.better.clone(),
                base: metric_side(&column.base),
                new: metric_side(&column.new),
                change_percent: stats::mean(&change)
                    .map(percent)
                    .or_else(|| column.change_of_means()),
                interval_percent: interval,
                p,
                p_holm: None,
                significant: false,
                below_clock: column.below_clock(&first.clock),
                gate: None,
                verdict: None,
            }
        })
        .collect()
}

fn metric_side(samples: &[f64]) -> MetricSide {
    MetricSide {
        mean: stats::mean(samples),
        stddev_percent: stats::stddev_percent(samples),
        samples: samples.to_vec(),
    }
}

/// A mean of log ratios as a change in percent.
pub(crate) fn percent(log_ratio: f64) -> f64 {
    log_ratio.exp_m1() * 100.0
}

fn percent_interval(log: crate::schema::Interval) -> crate::schema::Interval {
    crate::schema::Interval { low: percent(log.low), high: percent(log.high) }
}

/// Holm over the gated figures; over the primary ones if none is gated; over all if none is primary
/// either.
fn holm_over_family(metrics: &mut [MetricRow], gated: bool, primary: &[&str]) {
    let belongs = |row: &MetricRow| match gated {
        true => row.gate.is_some(),
        false => primary.is_empty() || primary.contains(&row.name.as_str()),
    };
    let family: Vec<usize> =
        (0..metrics.len()).filter(|&i| metrics[i].p.is_some() && belongs(&metrics[i])).collect();
    let ps: Vec<f64> = family.iter().filter_map(|&i| metrics[i].p).collect();
    for (i, p) in family.into_iter().zip(stats::holm(&ps)) {
        metrics[i].p_holm = Some(p);
        metrics[i].significant = p < 0.05 && !metrics[i].below_clock;
    }
}

/// Outcome over all gates.
pub(crate) fn worst_verdict(metrics: &[MetricRow], pairs: usize, interrupted: bool) -> Verdict {
    let any = |want: Verdict| metrics.iter().any(|row| row.verdict == Some(want));
    if interrupted {
        Verdict::Interrupted
    } else if any(Verdict::Fail) {
        Verdict::Fail
    } else if pairs < FEWEST_PAIRS || any(Verdict::TooFewRounds) {
        Verdict::TooFewRounds
    } else if any(Verdict::BelowClock) {
        Verdict::BelowClock
    } else if any(Verdict::Suspect) {
        Verdict::Suspect
    } else {
        Verdict::Ok
    }
}

/// Mean over the main rates: failures and rare slow paths are rates, too, and no throughput.
fn rates(columns: &[Column], primary: &[&str], seed: u64) -> Option<Summary> {
    let is_main = |c: &&Column| primary.is_empty() || primary.contains(&c.name.as_str());
    let rates = columns.iter().filter(|c| c.name.ends_with(".ops_per_s")).filter(is_main);
    let pairs = rates.clone().map(|c| c.base.len()).max()?;
    // What did not happen in some round has no ratio there, and speaks for no other round.
    let all: Vec<Vec<f64>> =
        rates.map(Column::log_ratios).filter(|ratios| ratios.len() == pairs).collect();
    if pairs == 0 || all.is_empty() {
        return None;
    }
    let together: Vec<f64> = (0..pairs)
        .map(|pair| all.iter().map(|c| c[pair]).sum::<f64>() / all.len() as f64)
        .collect();
    Some(Summary {
        figures: all.len() as u32,
        change_percent: percent(stats::mean(&together)?),
        interval_percent: stats::bootstrap(&[&together], seed).map(|i| percent_interval(i[0])),
    })
}

fn counts(base: &[&Run], new: &[&Run]) -> Vec<CountRow> {
    let row = |count: &figures::Count| {
        let side = |runs: &[&Run]| {
            let sum = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
            let (events, attempts) = runs.iter().map(|run| (count.count)(run)).fold((0, 0), sum);
            CountSide { events, attempts, interval: stats::clopper_pearson(events, attempts) }
        };
        CountRow {
            name: count.name.to_owned(),
            attempt: count.attempt.to_owned(),
            base: side(base),
            new: side(new),
        }
    };
    let mut rows: Vec<CountRow> = Vec::new();
    for count in &figures::COUNTS {
        let row = row(count);
        // Premature OOMs are what it is all about; the others are silent while nothing happens or
        // while they say the same again (all findings were premature OOMs).
        let silent = row.base.events + row.new.events == 0;
        let again = rows
            .iter()
            .any(|old| (&old.attempt, &old.base, &old.new) == (&row.attempt, &row.base, &row.new));
        if rows.is_empty() || !(silent || again) {
            rows.push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests;
