//! One figure over nights, as a table and as a plot in the terminal.

use indexmap::{IndexMap, IndexSet};

use super::{Filter, History, RunRow};
use crate::error::{Error, Result};
use crate::report::plot::{Scale, Trace, chart};

/// A figure over the nights of one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Workload, variant, threads, host.
    pub label: String,
    /// Nights in order.
    pub points: Vec<Point>,
}

/// One night.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The run.
    pub run: RunRow,
    /// Mean over its rounds.
    pub value: f64,
    /// Its rounds.
    pub samples: Vec<f64>,
}

/// The figure's series, one for each cell; aliases as in gates (`fault.p99`).
///
/// # Errors
/// No run has such a figure: the ones that there are, are named.
pub fn trend(history: &History, figure: &str, filter: &Filter) -> Result<Vec<Series>> {
    let name = crate::compare::full_name(figure);
    let mut values: IndexMap<String, (f64, Vec<f64>)> =
        history.database.metric(&name)?.into_iter().map(|(id, v, s)| (id, (v, s))).collect();
    let mut series: IndexMap<String, Series> = IndexMap::new();
    for run in history.list(filter)? {
        if let Some((value, samples)) = values.swap_remove(&run.run_id).filter(|_| !run.interrupted)
        {
            let label =
                format!("{} {} {} threads {}", run.workload, run.variant, run.threads, run.host);
            let series = series
                .entry(run.cell.clone())
                .or_insert_with(|| Series { label, points: Vec::new() });
            series.points.push(Point { run, value, samples });
        }
    }
    if series.is_empty() {
        let names = history.database.metrics()?;
        return Err(Error::Input(format!(
            "history: no figure '{figure}' in the chosen runs; {}",
            what_there_is(&name, &names)
        )));
    }
    Ok(series.into_values().collect())
}

/// The figures of the same operation or, if there is no such operation, what there are figures of.
fn what_there_is(name: &str, names: &[String]) -> String {
    if names.is_empty() {
        return "there are none yet: stress history add".to_owned();
    }
    if names.iter().any(|known| known == name) {
        return "it is in others, or has too few samples here".to_owned();
    }
    let op = |name: &str| name.rsplit_once('.').map_or(name, |(op, _)| op).to_owned();
    let of_op: Vec<&str> =
        names.iter().filter(|known| op(known) == op(name)).map(String::as_str).collect();
    if of_op.is_empty() {
        let ops: IndexSet<String> = names.iter().map(|known| op(known)).collect();
        format!("there are figures of: {}", ops.into_iter().collect::<Vec<_>>().join(" "))
    } else {
        format!("there are: {}", of_op.join(" "))
    }
}

/// Night by night: value, spread over rounds, change against the night before, what else changed.
#[must_use]
pub fn trend_table(figure: &str, series: &[Series]) -> String {
    let mut out = String::new();
    for one in series {
        out.push_str(&format!("{figure}  {}\n", crate::format::plain(&one.label)));
        let mut before: Option<&Point> = None;
        for point in &one.points {
            let change = before.filter(|b| b.value != 0.0).map_or("      -".to_owned(), |b| {
                format!("{:>+6.1}%", (point.value / b.value - 1.0) * 100.0)
            });
            let spread = crate::compare::stats::stddev_percent(&point.samples)
                .map_or(String::new(), |s| format!("± {s:>2.0}%"));
            let mut other = Vec::new();
            if let Some(b) = before {
                for (what, old, new) in [
                    ("kernel", &b.run.kernel, &point.run.kernel),
                    ("tool", &b.run.tool, &point.run.tool),
                ] {
                    if old != new {
                        other.push(format!("{what} {new}"));
                    }
                }
            }
            let started = point.run.started.get(..16).unwrap_or(&point.run.started);
            let started = format!("{started}Z");
            let line = format!(
                "  {started}  {:>14.2} {spread:<6} {change}  {}",
                point.value,
                other.join(", ")
            );
            out.push_str(line.trim_end());
            out.push('\n');
            before = Some(point);
        }
    }
    out
}

/// The same as a plot, `width` columns wide.
#[must_use]
pub fn plot(figure: &str, series: &[Series], width: usize, height: usize) -> String {
    let traces: Vec<Trace> = series
        .iter()
        .map(|s| Trace {
            label: s.label.clone(),
            points: s.points.iter().enumerate().map(|(i, p)| (i as f64, p.value)).collect(),
        })
        .collect();
    let nights = series.iter().map(|s| s.points.len()).max().unwrap_or(0);
    let value = |v: f64| {
        if figure.ends_with("_ns") || crate::compare::full_name(figure).ends_with("_ns") {
            crate::format::ns(v)
        } else {
            crate::format::count(v)
        }
    };
    let date = |i: usize| {
        let longest = series.iter().max_by_key(|s| s.points.len())?;
        Some((i as f64, longest.points.get(i)?.run.started.get(..10)?.to_owned()))
    };
    let ticks: Vec<(f64, String)> = (0..nights).filter_map(date).collect();
    chart(figure, &traces, Scale::Linear, &value, &ticks, width, height)
}
