//! mmtests' layout: value and gain, a minus always means worse, stars where it is significant.

use super::numbers::{fit, value};
use super::stats;
use crate::schema::{Comparison, MetricRow, MetricSide};

/// The tables: comparisons with the same base stand in one, a column for each.
pub(super) fn tables(comparisons: &[Comparison]) -> String {
    let same_base = |a: &Comparison, b: &Comparison| a.base.run_ids == b.base.run_ids;
    comparisons.chunk_by(same_base).map(table).collect::<Vec<_>>().join("\n")
}

/// One table; at least one comparison.
fn table(all: &[Comparison]) -> String {
    let Some(first) = all.first() else { return String::new() };
    let mut out = format!("{:<26}{:>24}", "", fit(&first.base.label, 22));
    all.iter().for_each(|c| out.push_str(&format!("{:>24}", fit(&c.new.label, 22))));
    out.push('\n');
    for row in &first.metrics {
        let (kind, name) = name(row);
        let is_rate = kind == "Hmean";
        let mean = |side: &MetricSide| {
            if is_rate { stats::harmonic_mean(&side.samples) } else { side.mean }
        };
        let base = mean(&row.base);
        let of = |c: &Comparison| {
            let Some(row) = c.metrics.iter().find(|r| r.name == row.name) else {
                return cell("-", None, false);
            };
            let new = mean(&row.new);
            cell(&value(new), gain(base, new, row.better.as_deref()), row.significant)
        };
        let cells = all.iter().map(of).collect();
        out.push_str(&line(kind, &name, &value(base), cells));
    }
    for count in first.counts.iter().filter(|count| count.attempt == "round") {
        let base = count.base.events;
        let of = |c: &Comparison| {
            let Some(count) = c.counts.iter().find(|n| n.name == count.name) else {
                return cell("-", None, false);
            };
            let new = count.new.events;
            cell(&new.to_string(), gain(Some(base as f64), Some(new as f64), Some("lower")), false)
        };
        let name = count.name.trim_end_matches(".rounds").replace('_', "-");
        out.push_str(&line("Ops", &name, &base.to_string(), all.iter().map(of).collect()));
    }
    let mut told: Vec<&String> = Vec::new();
    for note in all.iter().flat_map(|c| &c.notes) {
        if !told.contains(&note) {
            told.push(note);
            out.push_str(&format!("note  {note}\n"));
        }
    }
    out
}

fn line(kind: &str, name: &str, base: &str, cells: Vec<String>) -> String {
    format!("{kind:<9} {name:<16}{base:>14} ({:>7.2}%){}\n", 0.0, cells.concat())
}

fn cell(new: &str, gain: Option<f64>, significant: bool) -> String {
    let (open, close) = if significant { ('*', '*') } else { ('(', ')') };
    let gain = gain.map_or("      -".to_owned(), |g| format!("{g:>7.2}%"));
    format!("{new:>14} {open}{gain}{close}")
}

/// Percent of the base that was gained; a loss is negative whichever way the figure counts.
fn gain(base: Option<f64>, new: Option<f64>, better: Option<&str>) -> Option<f64> {
    let (base, new) = (base?, new?);
    if base == new {
        return Some(0.0);
    }
    let change = (base != 0.0).then(|| (new - base) / base * 100.0)?;
    Some(if better == Some("higher") { change } else { -change })
}

/// mmtests' word for the kind of figure, and the rest of the name.
fn name(row: &MetricRow) -> (&'static str, String) {
    let (op, figure) = row.name.rsplit_once('.').unwrap_or((&row.name, ""));
    let (kind, suffix) = match figure {
        "ops_per_s" => ("Hmean", "-rate"),
        "ops_per_cpu_s" => ("Hmean", "-cpu-rate"),
        "mean_ns" => ("Amean", ""),
        "mid_ns" => ("Mid 50%", ""),
        "p50_ns" => ("Lat 50%", ""),
        "p90_ns" => ("Lat 90%", ""),
        "p99_ns" => ("Lat 99%", ""),
        "p999_ns" => ("Lat 99.9%", ""),
        "p9999_ns" => ("Lat 99.99%", ""),
        "max_ns" => ("Max", ""),
        _ => return ("Amean", row.name.clone()),
    };
    (kind, format!("{op}{suffix}"))
}
