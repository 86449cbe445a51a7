//! The figures of a record that can be compared: one sample for each round.

use indexmap::IndexSet;

use super::gate::Gate;
use crate::histogram::enough_samples;
use crate::schema::{Clock, LatencyNs, Op, Round, Run};

/// One figure of an operation, by the name that stands behind the dot.
pub(crate) struct OpFigure {
    pub(crate) name: &'static str,
    pub(crate) better: &'static str,
    /// Shown without being asked for.
    usual: bool,
    value: fn(&Op) -> Option<f64>,
}

pub(crate) const OP_FIGURES: [OpFigure; 10] = [
    OpFigure { name: "ops_per_s", better: "higher", usual: true, value: |op| Some(op.rate_per_s) },
    OpFigure {
        name: "ops_per_cpu_s",
        better: "higher",
        usual: false,
        value: |op| op.rate_per_cpu_s,
    },
    OpFigure {
        name: "mean_ns",
        better: "lower",
        usual: false,
        value: |op| op.latency_ns.map(|l| l.mean),
    },
    OpFigure {
        name: "mid_ns",
        better: "lower",
        usual: false,
        value: |op| op.latency_ns.and_then(|l| l.mid),
    },
    OpFigure { name: "p50_ns", better: "lower", usual: true, value: |op| tail(op, 0.5, |l| l.p50) },
    OpFigure {
        name: "p90_ns",
        better: "lower",
        usual: false,
        value: |op| tail(op, 0.9, |l| l.p90),
    },
    OpFigure {
        name: "p99_ns",
        better: "lower",
        usual: true,
        value: |op| tail(op, 0.99, |l| l.p99),
    },
    OpFigure {
        name: "p999_ns",
        better: "lower",
        usual: true,
        value: |op| tail(op, 0.999, |l| l.p999),
    },
    OpFigure {
        name: "p9999_ns",
        better: "lower",
        usual: false,
        value: |op| tail(op, 0.9999, |l| l.p9999),
    },
    OpFigure {
        name: "max_ns",
        better: "lower",
        usual: true,
        value: |op| op.latency_ns.map(|l| l.max as f64),
    },
];

/// All figures of an operation that have a value (and samples enough for it), by name.
pub fn op_figures(op: &Op) -> impl Iterator<Item = (&'static str, f64)> + '_ {
    OP_FIGURES.iter().filter_map(|figure| Some((figure.name, (figure.value)(op)?)))
}

/// Names of the figures that operations have, and which way each is better.
pub fn op_figure_directions() -> impl Iterator<Item = (&'static str, &'static str)> {
    OP_FIGURES.iter().map(|figure| (figure.name, figure.better))
}

fn tail(op: &Op, quantile: f64, value: fn(&LatencyNs) -> u64) -> Option<f64> {
    op.latency_ns.filter(|l| enough_samples(quantile, l.count)).map(|l| value(&l) as f64)
}

/// The samples of one figure on both sides, pair by pair.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) better: Option<String>,
    /// Samples of pairs that have both.
    pub(super) base: Vec<f64>,
    pub(super) new: Vec<f64>,
}

impl Column {
    /// Log ratio of each pair. A pair of zeros is no change; a pair with one zero has no ratio. Empty if
    /// more than one pair in twenty has none: the rest would speak for the wrong rounds.
    pub(super) fn log_ratios(&self) -> Vec<f64> {
        let ratio = |(b, n): (&f64, &f64)| match (*b > 0.0, *n > 0.0) {
            (true, true) => Some((n / b).ln()),
            (false, false) => Some(0.0),
            (true, false) | (false, true) => None,
        };
        let ratios: Vec<f64> = self.base.iter().zip(&self.new).filter_map(ratio).collect();
        let without = self.base.len() - ratios.len();
        if without * 20 > self.base.len() { Vec::new() } else { ratios }
    }

    /// New less base of each pair.
    pub(super) fn differences(&self) -> Vec<f64> {
        self.base.iter().zip(&self.new).map(|(b, n)| n - b).collect()
    }

    /// Change of the means in percent, where pairs have no ratios; `None` from nothing.
    pub(super) fn change_of_means(&self) -> Option<f64> {
        let (base, new) = (super::stats::mean(&self.base)?, super::stats::mean(&self.new)?);
        (base > 0.0).then(|| (new / base - 1.0) * 100.0)
    }

    /// Whether the difference of latencies is less than the clock can tell: five of its steps, or
    /// the cost of reading it. Means are of many readings: steps even out in them, and the cost is
    /// in both sides.
    pub(super) fn below_clock(&self, clock: &Clock) -> bool {
        let resolution = (clock.step_ns.unwrap_or(0.0) * 5.0).max(clock.read_ns.unwrap_or(0.0));
        let (Some(base), Some(new)) =
            (super::stats::mean(&self.base), super::stats::mean(&self.new))
        else {
            return false;
        };
        let is_mean = self.name.ends_with(".mid_ns") || self.name.ends_with(".mean_ns");
        self.name.ends_with("_ns") && !is_mean && base != new && (new - base).abs() < resolution
    }
}

/// All figures that both sides have, in the order of the base's record.
pub(super) fn columns(
    pairs: &[(&Round, &Round)],
    gates: &[Gate],
    primary: &[&str],
    all: bool,
) -> Vec<Column> {
    let mut columns = Vec::new();
    let ops: IndexSet<&String> = pairs.iter().flat_map(|(base, _)| base.ops.keys()).collect();
    for op in ops {
        for figure in &OP_FIGURES {
            let name = format!("{op}.{}", figure.name);
            let is_wanted = figure.usual || all || primary.contains(&name.as_str());
            if !is_wanted && !gates.iter().any(|gate| gate.names(&name)) {
                continue;
            }
            let value = |round: &Round| {
                round.ops.get(op).filter(|op| op.count > 0).and_then(|op| (figure.value)(op))
            };
            columns.extend(column(name, Some(figure.better.to_owned()), pairs, value));
        }
    }
    let per_update = |round: &Round| round.slow_path.per_1000_updates;
    columns.extend(column("slow_path.per_1000_updates".to_owned(), None, pairs, per_update));
    let figures: IndexSet<&String> =
        pairs.iter().flat_map(|(base, _)| base.figures.keys()).collect();
    let own_from = columns.len();
    for name in figures {
        let better = pairs.iter().find_map(|(base, _)| base.figures.get(name)?.better.clone());
        columns.extend(column(name.clone(), better, pairs, |round| round.figures.get(name)?.value));
    }
    drop_repeated(&mut columns, own_from, gates);
    // What never happened on either side is no figure, and would only weaken the others' test.
    columns.retain(|c: &Column| {
        c.base.iter().chain(&c.new).any(|v| *v != 0.0)
            || gates.iter().any(|gate| gate.names(&c.name))
    });
    columns
}

/// A figure of the workload that says what the one before it said (the lowest of one zone, on a
/// machine with one zone) would only weaken the others' test.
fn drop_repeated(columns: &mut Vec<Column>, from: usize, gates: &[Gate]) {
    let mut index = columns.len();
    while index > from + 1 {
        index -= 1;
        let (last, before) = (&columns[index], &columns[index - 1]);
        let repeats = (&last.base, &last.new) == (&before.base, &before.new);
        if repeats && !gates.iter().any(|gate| gate.names(&last.name)) {
            columns.remove(index);
        }
    }
}

fn column(
    name: String,
    better: Option<String>,
    pairs: &[(&Round, &Round)],
    value: impl Fn(&Round) -> Option<f64>,
) -> Option<Column> {
    let both = |(base, new): &(&Round, &Round)| Some((value(base)?, value(new)?));
    let (base, new): (Vec<f64>, Vec<f64>) = pairs.iter().filter_map(both).unzip();
    (!base.is_empty()).then_some(Column { name, better, base, new })
}

/// Something that is counted in attempts.
pub(super) struct Count {
    pub(super) name: &'static str,
    pub(super) attempt: &'static str,
    /// Events and attempts of a run.
    pub(super) count: fn(&Run) -> (u64, u64),
}

pub(super) const COUNTS: [Count; 6] = [
    Count {
        name: "premature_oom.rounds",
        attempt: "round",
        count: |run| rounds(run, |r| r.oom.premature.definite > 0),
    },
    Count {
        name: "premature_failure.rounds",
        attempt: "round",
        count: |run| rounds(run, |r| r.oom.premature_failures > 0),
    },
    Count {
        name: "extra_victim.rounds",
        attempt: "round",
        count: |run| rounds(run, |r| r.oom.extra_victims > 0),
    },
    Count {
        name: "finding.rounds",
        attempt: "round",
        count: |run| rounds(run, |r| r.first_finding_s.is_some()),
    },
    Count {
        name: "premature_oom.kills",
        attempt: "slow-path entry",
        count: |run| (run.oom.premature.definite, run.slow_path.entries),
    },
    Count {
        name: "alloc_stalls",
        attempt: "slow-path entry",
        count: |run| (stalls(run), run.slow_path.entries),
    },
];

/// Rounds of which something is true, among those that say anything: a round that a finding ended
/// early is no sample of a latency, but it did show the finding.
fn rounds(run: &Run, is: fn(&Round) -> bool) -> (u64, u64) {
    let counted = run.rounds.iter().filter(|r| r.complete || is(r));
    counted.fold((0, 0), |(events, all), round| (events + u64::from(is(round)), all + 1))
}

fn stalls(run: &Run) -> u64 {
    run.vmstat
        .iter()
        .filter(|(name, _)| name.starts_with("allocstall"))
        .map(|(_, n)| u64::try_from(*n).unwrap_or(0))
        .fold(0, u64::saturating_add)
}
