//! mmtests' layout: value and gain, a minus always means worse, stars where it is significant.

use super::numbers::{fit, value};
use super::stats;
use crate::schema::{Comparison, CountRow, MetricRow};

/// The whole table.
pub(super) fn table(c: &Comparison) -> String {
    let mut out =
        format!("{:<26}{:>24}{:>24}\n", "", fit(&c.base.label, 22), fit(&c.new.label, 22));
    for row in &c.metrics {
        let (kind, name) = name(row);
        let (base, new) = if kind == "Hmean" {
            (stats::harmonic_mean(&row.base.samples), stats::harmonic_mean(&row.new.samples))
        } else {
            (row.base.mean, row.new.mean)
        };
        let gain = gain(base, new, row.better.as_deref());
        out.push_str(&line(kind, &name, &value(base), &value(new), gain, row.significant));
    }
    for count in c.counts.iter().filter(|count| count.attempt == "round") {
        let CountRow { base, new, .. } = count;
        let gain = gain(Some(base.events as f64), Some(new.events as f64), Some("lower"));
        let name = count.name.trim_end_matches(".rounds").replace('_', "-");
        out.push_str(&line(
            "Ops",
            &name,
            &base.events.to_string(),
            &new.events.to_string(),
            gain,
            false,
        ));
    }
    for note in &c.notes {
        out.push_str(&format!("note  {note}\n"));
    }
    out
}

fn line(
    kind: &str,
    name: &str,
    base: &str,
    new: &str,
    gain: Option<f64>,
    significant: bool,
) -> String {
    let (open, close) = if significant { ('*', '*') } else { ('(', ')') };
    let gain = gain.map_or("      -".to_owned(), |g| format!("{g:>7.2}%"));
    format!("{kind:<9} {name:<16}{base:>14} ({:>7.2}%){new:>14} {open}{gain}{close}\n", 0.0)
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
