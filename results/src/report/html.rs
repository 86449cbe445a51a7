//! The page: one self-contained HTML file of runs.
//!
//! What: environment, verdicts, comparisons, latency by percentile and
//! over time, throughput, OOM and reserves, findings as swim lanes, history.
//! Why: an engineer opens it offline, in the dark, prints it, mails it: no script, no network, no
//! font, and every figure stands in a `data-value` next to what it is, so that tests (and readers)
//! can hold the page against the record.
//! Differs: the template escapes all text; only our own SVG goes in as it is.

use std::path::Path;

use askama::Template;
use indexmap::{IndexMap, IndexSet};

use super::lanes::{self, Lanes};
use super::plot::{histogram_of, percentile_points, percentile_ticks};
use super::svg::{Bar, Line, LineChart, bars};
use crate::compare::{self, stats};
use crate::error::{Error, Result};
use crate::export::hlog;
use crate::find_time;
use crate::format::{count, ns, plural, thousands};
use crate::history::Series;
use crate::schema::{Comparison, Fidelity, Finding, GateOutcome, Round, Run, Verdict};
use crate::store::Loaded;
use crate::text;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: String,
    schema: u32,
    hosts: Vec<HostView>,
    verdicts: Vec<VerdictView>,
    comparisons: Vec<ComparisonView>,
    sections: Vec<Section>,
    findings: Vec<FindingView<'a>>,
    more_findings: usize,
    fidelity: Vec<(String, &'a Fidelity)>,
    trends: Vec<(String, String)>,
    commands: Vec<String>,
}

struct HostView {
    name: String,
    line: String,
    facts: Vec<(&'static str, String)>,
    notes: Vec<String>,
}

struct VerdictView {
    run_id: String,
    label: String,
    state: &'static str,
    word: String,
    facts: Vec<String>,
}

struct ComparisonView {
    title: String,
    base: String,
    new: String,
    rows: Vec<ComparisonRow>,
    counts: Vec<(String, String, String)>,
    notes: Vec<String>,
}

struct ComparisonRow {
    name: String,
    base: String,
    base_value: f64,
    new: String,
    new_value: f64,
    change: String,
    change_value: f64,
    interval: String,
    p: String,
    word: &'static str,
    class: &'static str,
    gate: String,
}

/// Runs of one workload on one machine: drawn into the same charts.
struct Section {
    title: String,
    operations: Vec<OperationView>,
    oom: String,
    reserves: String,
    windows: Vec<(String, String, String, String, String, String)>,
}

struct OperationView {
    label: String,
    percentiles: String,
    over_time: String,
    throughput: String,
    rows: Vec<OperationRow>,
}

struct OperationRow {
    run_id: String,
    label: String,
    cells: Vec<(String, Option<f64>, String)>,
}

struct FindingView<'a> {
    finding: &'a Finding,
    run: String,
    open: bool,
    lanes: Option<Lanes>,
    /// Lines of the report.
    lines: usize,
    /// Whether it is shown without being asked for.
    short_report: bool,
}

/// Findings that are shown in full; the rest is counted.
const MOST_FINDINGS: usize = 40;

/// Lines of a report that is no burden: the kernel's own on a storm has a hundred.
const SHORT_REPORT: usize = 25;

pub(super) fn page(
    loaded: &[Loaded],
    comparisons: &[Comparison],
    trends: &[(String, Vec<Series>)],
    warnings: &mut Vec<String>,
) -> Result<String> {
    let runs: Vec<&Run> = loaded.iter().map(|l| &l.run).collect();
    let mut groups: IndexMap<String, Vec<&Loaded>> = IndexMap::new();
    for one in loaded {
        let run = &one.run;
        let key = format!(
            "{}, {} threads, {} on {}",
            run.workload, run.threads, run.machine.source, run.host.name
        );
        groups.entry(key).or_default().push(one);
    }
    let sections = groups
        .into_iter()
        .map(|(title, runs)| section(title, &runs, warnings))
        .collect::<Result<_>>()?;
    let mut all: Vec<(&Run, &Finding)> =
        runs.iter().flat_map(|run| run.findings.iter().map(move |f| (*run, f))).collect();
    all.sort_by_key(|(_, finding)| !finding.counts);
    let findings = all
        .iter()
        .take(MOST_FINDINGS)
        .enumerate()
        .map(|(i, (run, finding))| FindingView {
            finding,
            run: run.label(),
            open: i < 3,
            lanes: lanes::of(finding),
            lines: finding.report.lines().count(),
            short_report: finding.report.lines().count() <= SHORT_REPORT,
        })
        .collect();
    let workloads: IndexSet<&str> = runs.iter().map(|run| run.workload.as_str()).collect();
    let page = Page {
        title: format!("stress: {}", workloads.into_iter().collect::<Vec<_>>().join(", ")),
        schema: crate::schema::VERSION,
        hosts: hosts(&runs),
        verdicts: runs
            .iter()
            .map(|run| verdict(run, &threads_of(&runs, run.threads), comparisons))
            .collect(),
        comparisons: comparisons
            .iter()
            .map(|c| comparison(c, &threads_of(&runs, c.base.threads)))
            .collect(),
        sections,
        findings,
        more_findings: all.len().saturating_sub(MOST_FINDINGS),
        fidelity: runs
            .iter()
            .filter_map(|run| Some((run.label(), run.fidelity.as_ref()?)))
            .collect(),
        trends: trends
            .iter()
            .map(|(figure, series)| (figure.clone(), trend(figure, series)))
            .collect(),
        commands: runs
            .iter()
            .map(|run| text::command(&run.command_line))
            .collect::<IndexSet<_>>()
            .into_iter()
            .collect(),
    };
    page.render().map_err(|e| Error::Input(format!("report: the page can't be made: {e}")))
}

fn hosts(runs: &[&Run]) -> Vec<HostView> {
    let mut views: IndexMap<(String, String), HostView> = IndexMap::new();
    for run in runs {
        let host = &run.host;
        let view =
            views.entry((host.name.clone(), host.fingerprint.clone())).or_insert_with(|| {
                let known = |v: &Option<String>| v.clone().unwrap_or_else(|| "unknown".to_owned());
                let flag = |v: Option<bool>| {
                    v.map_or("unknown", |on| if on { "on" } else { "off" }).to_owned()
                };
                HostView {
                    name: host.name.clone(),
                    line: text::host_line(host),
                    facts: vec![
                        ("governor", known(&host.governor)),
                        ("turbo", flag(host.turbo)),
                        ("SMT", flag(host.smt)),
                        ("huge pages", known(&host.thp)),
                        ("clocksource", known(&host.clocksource)),
                        (
                            "load at the start",
                            host.load.avg1.map_or("unknown".to_owned(), |l| format!("{l:.2}")),
                        ),
                        (
                            "clock",
                            format!(
                                "{}, {} a reading",
                                run.clock.source,
                                run.clock.read_ns.map_or("unknown".to_owned(), ns)
                            ),
                        ),
                        (
                            "tool",
                            format!(
                                "{} {}",
                                run.tool.version,
                                run.tool.git.as_deref().unwrap_or("")
                            ),
                        ),
                        ("fingerprint", host.fingerprint.clone()),
                    ],
                    notes: Vec::new(),
                }
            });
        for note in &run.notes {
            if !view.notes.contains(note) {
                view.notes.push(note.clone());
            }
        }
    }
    views.into_values().collect()
}

/// `, 16 threads` where that tells runs of a page apart.
fn threads_of(runs: &[&Run], threads: u32) -> String {
    let several = runs.iter().any(|run| run.threads != threads);
    if several { format!(", {threads} threads") } else { String::new() }
}

/// The worst outcome of the gates that a run was held against; none without gates.
fn gates_of(run: &Run, comparisons: &[Comparison]) -> Option<(GateOutcome, String)> {
    let rows = comparisons
        .iter()
        .filter(|c| c.new.run_ids.contains(&run.run_id))
        .flat_map(|c| &c.metrics)
        .filter_map(|row| Some((row.verdict?.outcome(), row.gate.clone()?)));
    let rank = |outcome: &GateOutcome| match outcome {
        GateOutcome::Held => 0,
        GateOutcome::NotJudged(_) => 1,
        GateOutcome::Suspect => 2,
        GateOutcome::Failed => 3,
    };
    rows.max_by_key(|(outcome, _)| rank(outcome))
}

fn verdict(run: &Run, threads: &str, judged: &[Comparison]) -> VerdictView {
    let found = run.findings.iter().filter(|f| f.counts).count();
    let (state, word) = match found {
        0 if run.interrupted => (
            "suspect",
            format!(
                "{} after {} of {} rounds",
                run.cut_short().unwrap_or("interrupted"),
                run.whole_rounds().count(),
                run.planned_rounds
            ),
        ),
        0 if run.measured_nothing() => ("suspect", "nothing was measured".to_owned()),
        0 => match gates_of(run, judged) {
            None => ("ok", "nothing found".to_owned()),
            Some((GateOutcome::Held, _)) => ("ok", "nothing found, gates held".to_owned()),
            Some((GateOutcome::Failed, gate)) => ("fail", format!("FAIL {gate}")),
            Some((outcome, gate)) => ("suspect", format!("{} {gate}", outcome.text())),
        },
        1 => ("fail", "1 finding".to_owned()),
        n => ("fail", format!("{n} findings")),
    };
    let mut facts = vec![text::kills(run)];
    if run.oom.premature.definite == 0 {
        facts.push(text::worth(run));
    }
    facts.extend(find_time::of(run).filter(|t| t.found > 0).map(|t| format!("found {}", t.text())));
    if !run.invariants.violated.is_empty() {
        facts.push(format!("{} invariants violated", run.invariants.violated.len()));
    }
    facts.push(format!(
        "{}, {:.1} s measured, seed {:#x}, {}",
        plural(run.whole_rounds().count(), "round"),
        run.phases.measured_s,
        run.seed,
        run.started
    ));
    let label = format!("{}{threads}", run.label());
    VerdictView { run_id: run.run_id.clone(), label, state, word, facts }
}

fn comparison(c: &Comparison, threads: &str) -> ComparisonView {
    let row = |row: &crate::schema::MetricRow| {
        let better = row.better.as_deref() == Some("higher");
        let gain = row.change_percent.is_some_and(|p| (p > 0.0) == better);
        let (word, class) = match (row.significant, gain) {
            _ if row.gate.is_some() => gate_word(row),
            _ if row.below_clock => ("below the clock", "quiet"),
            (true, true) if row.better.is_some() => ("better", "ok"),
            (true, false) if row.better.is_some() => ("worse", "fail"),
            (true, _) => ("differs", "suspect"),
            (false, _) => ("", ""),
        };
        let shown = |v: Option<f64>| {
            v.map_or("-".to_owned(), |v| if row.name.ends_with("_ns") { ns(v) } else { count(v) })
        };
        ComparisonRow {
            name: row.name.clone(),
            base: shown(row.base.mean),
            base_value: row.base.mean.unwrap_or(f64::NAN),
            new: shown(row.new.mean),
            new_value: row.new.mean.unwrap_or(f64::NAN),
            change: row.change_percent.map_or("-".to_owned(), |p| format!("{p:+.1}%")),
            change_value: row.change_percent.unwrap_or(f64::NAN),
            interval: row
                .interval_percent
                .map_or("-".to_owned(), |i| format!("{:+.1}% to {:+.1}%", i.low, i.high)),
            p: row.p_holm.map_or("-".to_owned(), |p| format!("{p:.4}")),
            word,
            class,
            gate: row.gate.clone().unwrap_or_default(),
        }
    };
    let side = |s: &crate::schema::CountSide| {
        format!("{} in {}", thousands(s.events), thousands(s.attempts))
    };
    ComparisonView {
        title: format!(
            "{}{threads}: {} against {}, {} pairs of rounds",
            c.base.workload, c.new.label, c.base.label, c.pairs
        ),
        base: c.base.label.clone(),
        new: c.new.label.clone(),
        rows: c.metrics.iter().map(row).collect(),
        counts: c.counts.iter().map(|n| (n.name.clone(), side(&n.base), side(&n.new))).collect(),
        notes: c.notes.clone(),
    }
}

/// How the gate on a row ended.
fn gate_word(row: &crate::schema::MetricRow) -> (&'static str, &'static str) {
    let Some(outcome) = row.verdict.map(Verdict::outcome) else { return ("not judged", "quiet") };
    let class = match outcome {
        GateOutcome::Held => "ok",
        GateOutcome::Failed => "fail",
        GateOutcome::Suspect | GateOutcome::NotJudged(_) => "suspect",
    };
    (outcome.word(), class)
}

/// Names of the runs of a section: the variant, and the start where variants repeat.
fn labels(runs: &[&Loaded]) -> Vec<String> {
    let times = |name: &str| runs.iter().filter(|l| l.run.variant.name == name).count();
    let label = |l: &&Loaded| {
        let name = &l.run.variant.name;
        if times(name) == 1 {
            name.clone()
        } else {
            format!("{name} {}", l.run.started.get(5..19).unwrap_or("").replace('T', " "))
        }
    };
    runs.iter().map(label).collect()
}

fn section(title: String, runs: &[&Loaded], warnings: &mut Vec<String>) -> Result<Section> {
    let labels = labels(runs);
    let names: IndexSet<&String> = runs
        .iter()
        .flat_map(|l| l.run.ops.iter().filter(|(_, op)| op.count > 0).map(|(n, _)| n))
        .collect();
    let in_file = |l: &Loaded| runs.iter().filter(|o| o.path == l.path).count();
    let place = |i: usize| runs[..i].iter().filter(|o| o.path == runs[i].path).count();
    let logs: Vec<Vec<hlog::Interval>> = (0..runs.len())
        .map(|i| {
            interval_log(
                &crate::store::hlog_path(&runs[i].path, place(i), in_file(runs[i])),
                warnings,
            )
        })
        .collect();
    let operations =
        names.into_iter().map(|op| operation(op, runs, &labels, &logs)).collect::<Result<_>>()?;
    let bar = |i: usize, value: f64, note: String| Bar {
        label: labels[i].clone(),
        style: i,
        value,
        interval: None,
        note,
    };
    let oom: Vec<Bar> = runs
        .iter()
        .enumerate()
        .filter(|(_, l)| l.run.oom.kills > 0)
        .map(|(i, l)| {
            let oom = &l.run.oom;
            let extra = match oom.extra_victims {
                0 => String::new(),
                n => format!(", {} extra victims", thousands(n)),
            };
            let (kills, premature) = (thousands(oom.kills), thousands(oom.premature.definite));
            bar(i, oom.kills as f64, format!("{kills} kills, {premature} premature{extra}"))
        })
        .collect();
    let mut reserves = Vec::new();
    for (i, l) in runs.iter().enumerate() {
        let percent = |share: f64| format!("{:.0}% of min", share * 100.0);
        // Without classes the lowest of all is what there is.
        let lowest = l.run.reserves.lowest_share_of_min;
        reserves.extend(
            lowest
                .filter(|_| l.run.reserves.by_class.is_empty())
                .map(|share| bar(i, share, percent(share))),
        );
        for (class, c) in &l.run.reserves.by_class {
            reserves.extend(
                c.lowest_share_of_min.map(|s| Bar {
                    label: format!("{} {class}", labels[i]),
                    ..bar(i, s, percent(s))
                }),
            );
        }
    }
    let windows = runs.iter().zip(&labels).flat_map(|(l, label)| {
        l.run.windows.iter().map(move |(point, w)| {
            let time = |ns_value: Option<u64>| ns_value.map_or("-".to_owned(), |v| ns(v as f64));
            (
                label.clone(),
                point.clone(),
                thousands(w.passes),
                thousands(w.entered),
                time(w.p50_ns),
                time(w.max_ns),
            )
        })
    });
    Ok(Section {
        operations,
        oom: if oom.is_empty() { String::new() } else { bars("Victims killed", &oom) },
        reserves: if reserves.is_empty() {
            String::new()
        } else {
            bars("Lowest free pages as a share of the min watermark", &reserves)
        },
        windows: windows.collect(),
        title,
    })
}

/// The interval log beside a record, if there is one that can be read.
fn interval_log(path: &Path, warnings: &mut Vec<String>) -> Vec<hlog::Interval> {
    if !path.exists() {
        return Vec::new();
    }
    match hlog::read(path) {
        Ok((intervals, _)) => intervals,
        Err(error) => {
            warnings.push(format!("report: {error}; its rounds are shown instead"));
            Vec::new()
        }
    }
}

fn operation(
    op: &str,
    runs: &[&Loaded],
    labels: &[String],
    logs: &[Vec<hlog::Interval>],
) -> Result<OperationView> {
    let mut view = OperationView {
        label: runs
            .iter()
            .find_map(|l| l.run.ops.get(op))
            .map_or(op.to_owned(), |o| o.label.clone()),
        percentiles: String::new(),
        over_time: String::new(),
        throughput: String::new(),
        rows: Vec::new(),
    };
    let (mut percentiles, mut over_time, mut throughput) = (Vec::new(), Vec::new(), Vec::new());
    for (i, loaded) in runs.iter().enumerate() {
        let run = &loaded.run;
        let Some(o) = run.ops.get(op) else { continue };
        let line = |points: Vec<(f64, f64)>, marked: bool| Line {
            label: labels[i].clone(),
            style: i,
            points,
            marked,
        };
        if let Some(histogram) = histogram_of(run, op)? {
            percentiles.push(line(percentile_points(&histogram), false));
        }
        let points = p99_over_time(op, run, &logs[i]);
        let marked = points.len() <= 40;
        over_time.push(line(points, marked));
        let rates: Vec<f64> =
            run.whole_rounds().filter_map(|r| Some(r.ops.get(op)?.rate_per_s)).collect();
        let interval = stats::bootstrap(&[&rates], 1).map(|v| (v[0].low, v[0].high));
        let value = stats::mean(&rates).unwrap_or(o.rate_per_s);
        throughput.push(Bar {
            label: labels[i].clone(),
            style: i,
            value,
            interval,
            note: format!("{}/s", count(value)),
        });
        view.rows.push(operation_row(run, &labels[i], o));
    }
    let reach =
        percentiles.iter().filter_map(|l: &Line| l.points.last()).map(|p| p.0).fold(0.0, f64::max);
    let chart = |title: &str, lines: &[Line], x_ticks| {
        LineChart { title, lines, x_ticks, value_name: ns, log: true }.svg()
    };
    view.percentiles = chart(
        &format!("{}: latency by percentile", view.label),
        &percentiles,
        percentile_ticks(reach),
    );
    let seconds =
        time_ticks(over_time.iter().flat_map(|l| &l.points).map(|p| p.0).fold(0.0, f64::max));
    // A single round is no course of time.
    if over_time.iter().any(|line| line.points.len() > 1) {
        view.over_time = chart(&format!("{}: p99 over time", view.label), &over_time, seconds);
    }
    view.throughput = bars(&format!("{}: operations per second", view.label), &throughput);
    Ok(view)
}

/// Names for a time axis: about six, at round seconds.
fn time_ticks(last: f64) -> Vec<(f64, String)> {
    let steps = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
        14_400.0,
    ];
    let step = steps.into_iter().find(|s| last / s <= 7.0).unwrap_or(86_400.0);
    (0..)
        .map(|i| f64::from(i) * step)
        .take_while(|t| *t <= last)
        .take(20)
        .map(|t| (t, format!("{}s", (t * 10.0).round() / 10.0)))
        .collect()
}

fn operation_row(run: &Run, label: &str, op: &crate::schema::Op) -> OperationRow {
    let mut cells = vec![("count".to_owned(), Some(op.count as f64), count(op.count as f64))];
    let figures: IndexMap<&str, f64> = compare::op_figures(op).collect();
    for figure in ["ops_per_s", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns"] {
        let value = figures.get(figure).copied();
        let shown = value
            .map_or("-".to_owned(), |v| if figure.ends_with("_ns") { ns(v) } else { count(v) });
        cells.push((figure.to_owned(), value, shown));
    }
    OperationRow { run_id: run.run_id.clone(), label: label.to_owned(), cells }
}

/// p99 by interval if there is a log, else by round; no more than 300 points, each the worst of its
/// share.
fn p99_over_time(op: &str, run: &Run, log: &[hlog::Interval]) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = log
        .iter()
        .filter(|i| i.tag == op && i.samples > 0)
        .map(|i| (i.start_s, i.p99_ns as f64))
        .collect();
    if points.is_empty() {
        let of = |r: &Round| Some((r.start_s, r.ops.get(op)?.latency_ns?.p99 as f64));
        points = run.rounds.iter().filter_map(of).collect();
    }
    let share = points.len().div_ceil(300).max(1);
    let worst = |part: &[(f64, f64)]| part.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(share).filter_map(worst).collect()
}

fn trend(figure: &str, series: &[Series]) -> String {
    let lines: Vec<Line> = series
        .iter()
        .enumerate()
        .map(|(i, s)| Line {
            label: s.label.clone(),
            style: i,
            points: s.points.iter().enumerate().map(|(night, p)| (night as f64, p.value)).collect(),
            marked: s.points.len() <= 60,
        })
        .collect();
    let longest = series.iter().max_by_key(|s| s.points.len());
    let dates = longest.into_iter().flat_map(|s| s.points.iter().enumerate());
    let x_ticks =
        dates.map(|(i, p)| (i as f64, p.run.started.get(..10).unwrap_or("").to_owned())).collect();
    let value_name = if compare::full_name(figure).ends_with("_ns") { ns } else { count };
    LineChart {
        title: &format!("{figure} over nights"),
        lines: &lines,
        x_ticks,
        value_name,
        log: false,
    }
    .svg()
}

#[cfg(test)]
mod tests;
