//! The nightly gate: a new run against a named baseline or the last equal nights.

use std::path::PathBuf;

use super::{Filter, History, RunRow, baseline, database};
use crate::compare::{self, Gate, Options, Style, stats};
use crate::error::{Error, Result};
use crate::schema::{Comparison, MetricRow, Round, Run, Verdict};
use crate::store::{self, Loaded};

/// Nights from which the spread between nights is known well enough to count.
const ENOUGH_NIGHTS: usize = 5;

/// What `stress history check` was asked for.
#[derive(Debug, Clone, Default)]
pub struct CheckArgs {
    /// The new runs; none means the newest run of each cell.
    pub inputs: Vec<PathBuf>,
    /// A named baseline; without one, the last nights.
    pub baseline: Option<String>,
    /// How many equal nights make the baseline; 10 unless given.
    pub last: Option<usize>,
    /// Runs, by id, that are no baseline: the other new ones, which may be of the same cell.
    pub except: Vec<String>,
    /// Gates.
    pub fail_on: Vec<String>,
    /// What can't be judged, as a first night without any baseline, is well.
    pub lenient: bool,
    /// Layout.
    pub style: Style,
}

/// What a check gave.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckOutcome {
    /// One for each new run that has a baseline.
    pub comparisons: Vec<Comparison>,
    /// The document.
    pub text: String,
    /// Lines for stderr.
    pub warnings: Vec<String>,
    /// 0, 5 past a gate, 6 if something could not be judged.
    pub exit: i32,
}

/// `stress history check`.
///
/// # Errors
/// Bad gates, files, index.
pub fn check(history: &History, args: &CheckArgs) -> Result<CheckOutcome> {
    let gates = args.fail_on.iter().map(|text| text.parse()).collect::<Result<Vec<Gate>>>()?;
    let rows = history.list(&Filter::default())?;
    let new = new_runs(history, &rows, &args.inputs)?;
    if new.is_empty() {
        return Err(Error::Input(format!(
            "history: no runs in {}; add some",
            history.dir().display()
        )));
    }
    let (mut comparisons, mut warnings, mut missing) = (Vec::new(), Vec::new(), false);
    for Loaded { run, .. } in &new {
        let nights = nights(history, &rows, run, args)?;
        if nights.is_empty() {
            warnings.push(no_baseline(run, args));
            missing = true;
            continue;
        }
        let label = args.baseline.clone().unwrap_or_else(|| match nights.len() {
            1 => format!("night of {}", nights[0].started.get(..10).unwrap_or(&nights[0].started)),
            n => format!("last {n} nights"),
        });
        let new_label = run.started.get(..16).unwrap_or(&run.started).to_owned();
        let labels = Some((label, new_label));
        // A machine that grew overnight is no mistake of whoever asks: its gates can't be judged.
        let differing = compare::differences(&nights[nights.len() - 1], run);
        if !differing.is_empty() {
            warnings.push(not_comparable(run, &differing));
            missing = true;
            continue;
        }
        let options = Options { gates: gates.clone(), seed: 1, labels, ..Options::default() };
        let mut comparison = compare::compare_runs(&[&pooled(&nights)], &[run], &options)?;
        comparison.base.run_ids = nights.iter().map(|n| n.run_id.clone()).collect();
        heed_spread_between_nights(&mut comparison, &nights, &gates);
        comparisons.push(comparison);
    }
    let runs: Vec<&Run> = new.iter().map(|l| &l.run).collect();
    let outcome = compare::outcome(comparisons, args.style, warnings, &runs);
    let exit = match compare::worse(outcome.exit, if missing { 6 } else { 0 }) {
        6 if args.lenient => 0,
        exit => exit,
    };
    Ok(CheckOutcome {
        comparisons: outcome.comparisons,
        text: outcome.text,
        warnings: outcome.warnings,
        exit,
    })
}

/// The given runs, or the newest of each cell.
fn new_runs(history: &History, rows: &[RunRow], inputs: &[PathBuf]) -> Result<Vec<Loaded>> {
    if inputs.is_empty() {
        let newest = |row: &&RunRow| rows.iter().rev().find(|r| r.cell == row.cell) == Some(row);
        return rows.iter().filter(newest).map(|row| history.load(row)).collect();
    }
    let mut new = Vec::new();
    for input in inputs {
        new.extend(store::load(input)?);
    }
    Ok(new)
}

/// The baseline's runs, oldest first; none if there is none.
fn nights(history: &History, rows: &[RunRow], run: &Run, args: &CheckArgs) -> Result<Vec<Run>> {
    if let Some(name) = &args.baseline {
        let id = baseline::baseline_of(history.dir(), name, run)?;
        let row = id.and_then(|id| rows.iter().find(|row| row.run_id == id));
        return row.map(|row| history.load(row).map(|l| l.run)).into_iter().collect();
    }
    let cell = database::cell(run);
    let equal = |row: &&RunRow| {
        let before = (&row.started, &row.run_id) < (&run.started, &run.run_id);
        let is_base = before && !args.except.contains(&row.run_id);
        row.cell == cell && is_base && !row.interrupted && row.rounds > 0
    };
    let mut found: Vec<&RunRow> = rows.iter().filter(equal).collect();
    let keep = args.last.unwrap_or(10).max(1);
    let mut nights = Vec::new();
    for row in found.split_off(found.len().saturating_sub(keep)) {
        nights.push(history.load(row)?.run);
    }
    Ok(nights)
}

fn no_baseline(run: &Run, args: &CheckArgs) -> String {
    let what = args
        .baseline
        .as_ref()
        .map_or("no earlier equal night".to_owned(), |name| format!("no baseline '{name}'"));
    let mend = match &args.baseline {
        Some(name) => format!("make it with --save-baseline {name}, or"),
        None => "run another night, or".to_owned(),
    };
    let lenient = if args.lenient {
        "taken as a first night"
    } else {
        &format!("{mend} allow a first night with --lenient")
    };
    format!("{what} for {} {} on {}; {lenient}", run.workload, run.variant.name, run.host.name)
}

/// Why a base is none for this run, and how to keep it one.
fn not_comparable(run: &Run, differing: &[crate::schema::Difference]) -> String {
    let keys: Vec<&str> = differing.iter().map(|d| d.key.as_str()).collect();
    let mend = if keys.iter().any(|key| key.starts_with("machine.")) {
        ": pin the machine by --machine FILE (stress machine --capture DIR makes one)"
    } else {
        ""
    };
    format!(
        "gates of {} {} on {} are not judged, because {} differs from the night before{mend}",
        run.workload,
        run.variant.name,
        run.host.name,
        keys.join(", ")
    )
}

/// One run whose rounds are, position by position, the geometric mean of all nights' rounds.
fn pooled(nights: &[Run]) -> Run {
    let Some((newest, _)) = nights.split_last() else { return Run::default() };
    let mut pooled = newest.clone();
    if nights.len() == 1 {
        return pooled;
    }
    let rounds = nights.iter().map(|n| n.whole_rounds().count()).min().unwrap_or(0);
    let position = |i: usize| -> Vec<&Round> {
        nights.iter().filter_map(|n| n.whole_rounds().nth(i)).collect()
    };
    pooled.rounds = (0..rounds).map(|i| mean_round(&position(i))).collect();
    pooled
}

fn mean_round(rounds: &[&Round]) -> Round {
    let Some(last) = rounds.last() else { return Round::default() };
    let mut mean = (*last).clone();
    for (name, op) in &mut mean.ops {
        let all = |value: fn(&crate::schema::Op) -> Option<f64>| -> Option<f64> {
            let values: Vec<f64> = rounds
                .iter()
                .filter_map(|r| value(r.ops.get(name)?))
                .filter(|v| *v > 0.0)
                .collect();
            stats::mean(&values.iter().map(|v| v.ln()).collect::<Vec<_>>()).map(f64::exp)
        };
        op.rate_per_s = all(|o| Some(o.rate_per_s)).unwrap_or(op.rate_per_s);
        op.rate_per_cpu_s = all(|o| o.rate_per_cpu_s);
        if let Some(latency) = &mut op.latency_ns {
            let whole = |v: Option<f64>, old: u64| v.map_or(old, |v| v.round() as u64);
            latency.mean = all(|o| Some(o.latency_ns?.mean)).unwrap_or(latency.mean);
            latency.mid = all(|o| o.latency_ns?.mid);
            latency.p50 = whole(all(|o| Some(o.latency_ns?.p50 as f64)), latency.p50);
            latency.p90 = whole(all(|o| Some(o.latency_ns?.p90 as f64)), latency.p90);
            latency.p99 = whole(all(|o| Some(o.latency_ns?.p99 as f64)), latency.p99);
            latency.p999 = whole(all(|o| Some(o.latency_ns?.p999 as f64)), latency.p999);
            latency.p9999 = whole(all(|o| Some(o.latency_ns?.p9999 as f64)), latency.p9999);
            latency.max = whole(all(|o| Some(o.latency_ns?.max as f64)), latency.max);
        }
    }
    mean
}

/// Nights differ by more than their rounds do (another memory layout, a warmer room). From five
/// nights on, a gate fails only if the new night also lies past its limit by more than nights
/// differ: the bound of a 95 % prediction interval. Else it is suspect.
fn heed_spread_between_nights(comparison: &mut Comparison, nights: &[Run], gates: &[Gate]) {
    if nights.len() < ENOUGH_NIGHTS {
        return;
    }
    let mut relieved = false;
    for row in comparison.metrics.iter_mut().filter(|row| row.verdict == Some(Verdict::Fail)) {
        let Some(gate) = gates.iter().find(|g| row.gate.as_deref() == Some(g.text())) else {
            continue;
        };
        let Some((low, high)) = prediction(row, nights) else { continue };
        if !(gate.past_percent(low) && gate.past_percent(high)) {
            row.verdict = Some(Verdict::Suspect);
            relieved = true;
        }
    }
    if relieved {
        comparison
            .notes
            .push("nights differ by as much as this one does: suspect, not failed".to_owned());
        comparison.verdict =
            compare::worst_verdict(&comparison.metrics, comparison.pairs as usize, false);
    }
}

/// Change of the new night against the mean night, widened by the spread of nights, in percent.
fn prediction(row: &MetricRow, nights: &[Run]) -> Option<(f64, f64)> {
    let (op, figure) = row.name.rsplit_once('.')?;
    let night = |run: &Run| {
        let value = |round: &Round| {
            compare::op_figures(round.ops.get(op)?)
                .find(|(name, _)| *name == figure)
                .map(|(_, v)| v)
        };
        let logs: Vec<f64> =
            run.whole_rounds().filter_map(value).filter(|v| *v > 0.0).map(f64::ln).collect();
        stats::mean(&logs)
    };
    let logs: Vec<f64> = nights.iter().filter_map(night).collect();
    let new: Vec<f64> = row.new.samples.iter().filter(|v| **v > 0.0).map(|v| v.ln()).collect();
    let (change, margin) =
        (stats::mean(&new)? - stats::mean(&logs)?, stats::prediction_margin(&logs)?);
    Some((compare::percent(change - margin), compare::percent(change + margin)))
}
