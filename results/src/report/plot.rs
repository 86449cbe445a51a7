//! Plots in the terminal: latency percentiles, and figures over nights.
//!
//! Differs: letters instead of braille dots, since a plot gets pasted into mail; each trace has its
//! own mark, so that nothing hangs on colour.

use crate::error::{Error, Result};
use crate::format::{fit, ns, plain};
use crate::histogram::{Histogram, enough_samples};
use crate::schema::Run;

/// How values are laid out on the vertical axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps.
    Linear,
    /// Equal ratios; values that are not positive have no place.
    Log,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Name.
    pub label: String,
    /// Points in order of x.
    pub points: Vec<(f64, f64)>,
}

const MARKS: [char; 8] = ['*', 'o', '+', 'x', '#', '@', '%', '='];

/// `stress plot`: latency percentiles of one operation, all runs in one picture. The horizontal axis
/// stretches towards the tail: each step is ten times rarer.
///
/// # Errors
/// No run has the operation, or its histogram does not decode.
pub fn percentiles(runs: &[&Run], op: &str, width: usize, height: usize) -> Result<String> {
    let mut traces = Vec::new();
    for run in runs {
        if let Some(histogram) = histogram_of(run, op)? {
            traces.push(Trace { label: run.label(), points: percentile_points(&histogram) });
        }
    }
    if traces.is_empty() {
        let names = operations(runs).join(" ");
        return Err(Error::Input(format!("plot: no latencies of '{op}'; operations: {names}")));
    }
    let title = format!("{op}: latency by percentile");
    let reach = traces.iter().filter_map(|t| t.points.last()).map(|p| p.0).fold(0.0, f64::max);
    Ok(chart(&title, &traces, Scale::Log, &ns, &percentile_ticks(reach), width, height))
}

/// Operations with latencies, in the order of the records.
#[must_use]
pub fn operations(runs: &[&Run]) -> Vec<String> {
    let timed = runs.iter().flat_map(|run| &run.ops).filter(|(_, op)| op.hdr.is_some());
    timed.map(|(name, _)| name.clone()).collect::<indexmap::IndexSet<_>>().into_iter().collect()
}

/// Where a percentile axis has names: the median and each further nine that is reached.
pub(crate) fn percentile_ticks(reach: f64) -> Vec<(f64, String)> {
    let levels = [0.0, 2_f64.log10(), 1.0, 2.0, 3.0, 4.0, 5.0];
    levels.into_iter().filter(|n| *n <= reach + 1e-9).map(|n| (n, percentile_name(n))).collect()
}

/// The histogram of an operation; `None` if the run has none.
pub(crate) fn histogram_of(run: &Run, op: &str) -> Result<Option<Histogram>> {
    let text = run.ops.get(op).and_then(|o| o.hdr.as_ref());
    text.map(|text| Histogram::decode(text, &format!("{}: ops.{op}.hdr", run.run_id))).transpose()
}

/// Points (nines, ns): 0 is the minimum, 1 is p90, 2 is p99 ...; no further than samples reach.
pub(crate) fn percentile_points(histogram: &Histogram) -> Vec<(f64, f64)> {
    let count = histogram.count();
    let steps = (0..=100).map(|i| f64::from(i) * 0.05);
    steps
        .map(|nines| (nines, 1.0 - 10_f64.powf(-nines)))
        .take_while(|(_, q)| enough_samples(*q, count))
        .map(|(nines, q)| (nines, histogram.quantile(q).max(1) as f64))
        .collect()
}

/// `p50`, `p90`, `p99.9` for a number of nines.
pub(crate) fn percentile_name(nines: f64) -> String {
    let percent = (1.0 - 10_f64.powf(-nines)) * 100.0;
    let digits = (nines.floor() as usize).saturating_sub(2) + 1;
    let text = format!("{percent:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "0" { "min".to_owned() } else { format!("p{text}") }
}

/// A picture of curves with both axes, `width` columns by `height` lines and a legend below.
#[must_use]
pub fn chart(
    title: &str,
    traces: &[Trace],
    scale: Scale,
    value_name: &dyn Fn(f64) -> String,
    ticks: &[(f64, String)],
    width: usize,
    height: usize,
) -> String {
    const MARGIN: usize = 10;
    let (columns, rows) = (width.clamp(30, 400) - MARGIN, height.clamp(6, 100) - 3);
    let place = |v: f64| if scale == Scale::Log { v.ln() } else { v };
    let usable = |(x, y): &&(f64, f64)| {
        x.is_finite() && y.is_finite() && (scale == Scale::Linear || *y > 0.0)
    };
    let points = || traces.iter().flat_map(|t| &t.points).filter(usable);
    let (x_low, x_high) = bounds(points().map(|p| p.0));
    let (y_low, y_high) = bounds(points().map(|p| place(p.1)));
    if points().next().is_none() {
        return format!("{}\nno points to plot\n", plain(title));
    }
    let mut grid = vec![vec![' '; columns]; rows];
    for (i, trace) in traces.iter().enumerate() {
        for (x, y) in trace.points.iter().filter(usable) {
            let column = ((x - x_low) / (x_high - x_low) * (columns - 1) as f64).round() as usize;
            let row = ((place(*y) - y_low) / (y_high - y_low) * (rows - 1) as f64).round() as usize;
            grid[rows - 1 - row.min(rows - 1)][column.min(columns - 1)] = MARKS[i % MARKS.len()];
        }
    }
    let mut out = format!("{}\n", fit(&plain(title), width));
    for (i, line) in grid.iter().enumerate() {
        let labelled = i % 4 == 0 || i + 1 == rows;
        let at = y_low + (y_high - y_low) * (rows - 1 - i) as f64 / (rows - 1) as f64;
        let value = if scale == Scale::Log { at.exp() } else { at };
        let name = if labelled { value_name(value) } else { String::new() };
        let text: String = line.iter().collect();
        out.push_str(format!("{name:>8} |{}", text.trim_end()).trim_end());
        out.push('\n');
    }
    out.push_str(&format!("{:>8} +{}\n", "", "-".repeat(columns)));
    out.push_str(&x_axis(columns, x_low, x_high, ticks));
    for (i, trace) in traces.iter().enumerate() {
        out.push_str(&format!(
            "{:>9} {}\n",
            MARKS[i % MARKS.len()],
            fit(&plain(&trace.label), width.saturating_sub(MARGIN))
        ));
    }
    out
}

/// Least and greatest value, never equal, so that a single value has a place.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low < high { (low, high) } else { (low - 0.5, low + 0.5) }
}

fn x_axis(columns: usize, low: f64, high: f64, ticks: &[(f64, String)]) -> String {
    let mut line = vec![' '; columns + 10];
    let mut free_from = 0;
    for (x, name) in ticks.iter().filter(|(x, _)| (low..=high).contains(x)) {
        let label: Vec<char> = name.chars().collect();
        let middle = 10 + ((x - low) / (high - low) * (columns - 1) as f64) as usize;
        let start =
            middle.saturating_sub(label.len() / 2).min(line.len().saturating_sub(label.len()));
        // A name that would run into the one before is left out.
        if start >= free_from {
            free_from = start + label.len() + 1;
            line.iter_mut().skip(start).zip(label).for_each(|(cell, c)| *cell = c);
        }
    }
    let text: String = line.into_iter().collect();
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    #[test]
    fn percentiles_of_two_variants() {
        let (a, b) = (
            Sample::default().run(),
            Sample { variant: "v4.13", slowdown: 2.0, ..Sample::default() }.run(),
        );
        insta::assert_snapshot!(percentiles(&[&a, &b], "fault", 72, 20).unwrap());
    }

    #[test]
    fn an_unknown_operation_names_the_known_ones() {
        let message =
            percentiles(&[&Sample::default().run()], "alloc", 80, 20).unwrap_err().to_string();
        assert_eq!(message, "plot: no latencies of 'alloc'; operations: fault mems_update");
    }

    #[test]
    fn the_curve_ends_where_samples_do() {
        let mut h = Histogram::new(crate::histogram::Config::default());
        (1..=1000).for_each(|i| h.record(i * 1000));
        let points = percentile_points(&h);
        assert!(
            (points.last().unwrap().0 - 2.3).abs() < 0.01,
            "1,000 samples reach p99.5: {points:?}"
        );
        assert!(points.windows(2).all(|w| w[0].1 <= w[1].1));
    }

    #[test]
    fn odd_input_is_no_panic() {
        for points in [
            vec![],
            vec![(1.0, 5.0)],
            vec![(0.0, -1.0), (f64::NAN, 3.0)],
            vec![(0.0, 2.0), (1.0, 2.0)],
        ] {
            for scale in [Scale::Linear, Scale::Log] {
                let trace = Trace { label: "a\u{1b}b".into(), points: points.clone() };
                let text = chart("t", &[trace], scale, &ns, &percentile_ticks(3.0), 0, 0);
                assert!(!text.contains('\u{1b}'));
            }
        }
        assert_eq!(percentile_name(0.0), "min");
        assert_eq!(percentile_name(1.0), "p90");
        assert_eq!(percentile_name(3.0), "p99.9");
    }
}
