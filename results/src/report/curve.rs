//! The scalability curve: what each number of threads gets done.
//!
//! **What.** For each workload, variant and machine with runs of several numbers of threads: the rate
//! of the first operation, how many times the fewest threads' rate that is, what each thread still
//! does of its share, and the tail.
//! **Why.** The shape that mm engineers look for (will-it-scale): where more threads stop to pay.
//! **Differs.** The knee is the fewest threads that reach nine tenths of the best rate, which two
//! people read off a plot alike.

use std::fmt::Write as _;

use indexmap::IndexMap;

use crate::format::{count, ns};
use crate::histogram::enough_samples;
use crate::schema::{Op, Run};

/// Share of the best rate that makes the knee.
const KNEE: f64 = 0.9;
/// Columns of the bar.
const BAR: usize = 20;

/// The curves of these runs; empty if no workload was run with two numbers of threads.
#[must_use]
pub fn text(runs: &[&Run]) -> String {
    let mut groups: IndexMap<String, Vec<&Run>> = IndexMap::new();
    for run in runs {
        let key = format!("{}  {}  {}", run.workload, run.variant.name, run.host.name);
        groups.entry(key).or_default().push(run);
    }
    let mut out = String::new();
    for (title, mut runs) in groups {
        runs.sort_by_key(|run| run.threads);
        let points: Vec<(u32, &Op)> = runs
            .iter()
            .filter_map(|run| Some((run.threads, run.ops.values().find(|op| op.count > 0)?)))
            .collect();
        if points.first().map(|p| p.0) == points.last().map(|p| p.0) {
            continue;
        }
        let cpus = runs[0].host.cpus;
        curve(&mut out, &title, &points, cpus);
    }
    out
}

fn curve(out: &mut String, title: &str, points: &[(u32, &Op)], cpus: u32) {
    let best = points.iter().map(|(_, op)| op.rate_per_s).fold(0.0, f64::max);
    let knee = points.iter().position(|(_, op)| op.rate_per_s >= KNEE * best);
    let (fewest, first) = (points[0].0, points[0].1.rate_per_s);
    if !out.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "{title}: {}", points[0].1.label);
    let _ = writeln!(out, "threads   rate/s  speed-up  each thread      p99");
    for (i, (threads, op)) in points.iter().enumerate() {
        let speed_up = if first > 0.0 { op.rate_per_s / first } else { 0.0 };
        let each = speed_up * f64::from(fewest) / f64::from(*threads) * 100.0;
        let tail = op.latency_ns.filter(|l| enough_samples(0.99, l.count));
        let tail = tail.map_or("-".to_owned(), |l| ns(l.p99 as f64));
        let bar = if best > 0.0 { (op.rate_per_s / best * BAR as f64).round() as usize } else { 0 };
        let mark = if Some(i) == knee { "  <- knee" } else { "" };
        let _ = writeln!(
            out,
            "{threads:>7}  {:>7}  {speed_up:>7.2}x  {each:>10.0}%  {tail:>7}  {}{mark}",
            count(op.rate_per_s),
            "#".repeat(bar),
        );
    }
    let _ = writeln!(
        out,
        "knee: the fewest threads with 90 % of the best rate; the host has {cpus} CPU{}",
        if cpus == 1 { "" } else { "s" }
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    fn run(threads: u32, rate: f64) -> Run {
        let mut run = Run { threads, ..Sample::default().run() };
        run.ops[0].rate_per_s = rate;
        run
    }

    #[test]
    fn the_knee_is_where_more_threads_stop_to_pay() {
        let runs = [run(4, 3.7e6), run(1, 1e6), run(2, 1.9e6), run(8, 3.9e6)];
        let text = text(&runs.iter().collect::<Vec<_>>());
        let line = |threads: &str| {
            let is = |l: &&str| l.trim_start().split("  ").next() == Some(threads);
            text.lines().find(is).unwrap_or_else(|| panic!("{threads}: {text}")).to_owned()
        };
        assert!(line("4").contains("3.70x") && line("4").ends_with("<- knee"), "{text}");
        assert!(line("8").contains(" 49%") && !line("8").contains("knee"), "{text}");
        assert!(line("1").contains("1.00x") && line("1").contains("100%"), "{text}");
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    }

    #[test]
    fn one_number_of_threads_is_no_curve() {
        let runs = [run(4, 1e6), run(4, 2e6)];
        assert_eq!(text(&runs.iter().collect::<Vec<_>>()), "");
    }
}
