//! The kernel test robot's layout: base left, change in the middle, name right.

use super::numbers::{change, fit, signed, value};
use crate::schema::{Comparison, Interval, MetricRow, MetricSide, Verdict};

/// The whole table, 80 columns as a rule.
pub(super) fn table(c: &Comparison) -> String {
    let mut out = head(c);
    out.push_str(&format!("{:>17}  {:>30}\n", fit(&c.base.label, 17), fit(&c.new.label, 30)));
    out.push_str("----------------  ------------------------------\n");
    out.push_str("         %stddev     %change   95% interval       %stddev   metric\n");
    let widest =
        c.metrics.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).clamp(20, 40);
    for row in &c.metrics {
        let line = format!(
            "{}  {:>9}   {:<16} {}   {:<widest$} {}",
            with_spread(&row.base),
            change(row.change_percent),
            row.interval_percent.map(|i| interval(&i)).unwrap_or_default(),
            with_spread(&row.new),
            row.name,
            marks(row),
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for count in c.counts.iter().filter(|count| count.attempt == "round") {
        let fails = |side: &crate::schema::CountSide| format!("{}:{}", side.events, side.attempts);
        out.push_str(&format!(
            "{:>9} {:>38} {:>13}{}\n",
            fails(&count.base),
            fails(&count.new),
            "",
            count.name
        ));
    }
    out.push_str(&foot(c));
    out
}

fn head(c: &Comparison) -> String {
    let order = if c.interleaved { ", interleaved ABBA" } else { "" };
    let host = if c.base.host == c.new.host {
        c.base.host.clone()
    } else {
        format!("{} against {}", c.base.host, c.new.host)
    };
    let rounds = if c.base.rounds == c.new.rounds {
        format!("{} rounds each", c.base.rounds)
    } else {
        format!("{} and {} rounds", c.base.rounds, c.new.rounds)
    };
    format!(
        "{}/{} threads/host {host}/{rounds}{order}, seed {}\n\n",
        c.base.workload, c.base.threads, c.base.seed
    )
}

fn with_spread(side: &MetricSide) -> String {
    let spread =
        side.stddev_percent.map_or("     ".to_owned(), |s| format!("± {:>2.0}%", s.min(999.0)));
    format!("{:>9} {spread}", value(side.mean))
}

pub(super) fn interval(i: &Interval) -> String {
    let bound = |percent: f64| {
        // Both bounds keep their sign column, so that zeros line up too.
        if percent.abs() < 0.05 { "+0.0%".to_owned() } else { signed(percent) }
    };
    format!("[{:>6},{:>6}]", bound(i.low), bound(i.high))
}

pub(super) fn marks(row: &MetricRow) -> String {
    let star = if row.significant { "*" } else { " " };
    let gate = row.gate.as_deref().unwrap_or("");
    let word = row.verdict.map_or(String::new(), |v| format!("{} {gate}", v.outcome().text()));
    let clock = if row.below_clock { "~ " } else { "" };
    format!("{star} {clock}{word}").trim_end().to_owned()
}

fn foot(c: &Comparison) -> String {
    let mut out = String::new();
    if let Some(rates) = &c.rates
        && rates.figures > 1
    {
        let range = rates
            .interval_percent
            .map(|i| format!("  [{}, {}]", signed(i.low), signed(i.high)))
            .unwrap_or_default();
        out.push_str(&format!(
            "Geometric mean of {} rates: {}{range}\n",
            rates.figures,
            signed(rates.change_percent)
        ));
    }
    for note in &c.notes {
        for (i, line) in crate::format::wrap(note, "", 74).lines().enumerate() {
            out.push_str(&format!("{}{line}\n", if i == 0 { "note  " } else { "      " }));
        }
    }
    let has = |is: fn(&MetricRow) -> bool| c.metrics.iter().any(is);
    let mut legend = Vec::new();
    if c.metrics.iter().any(|row| row.p.is_some()) {
        legend.push("*  sign-flip test over rounds, p < 0.05 after Holm");
    }
    if has(|row| row.verdict == Some(Verdict::Fail)) {
        legend.push("FAIL  gate crossed by the whole interval");
    }
    if has(|row| row.verdict == Some(Verdict::Suspect)) {
        legend.push("suspect  past the gate, but not the whole interval: 10 more rounds");
    }
    if has(|row| row.below_clock) {
        legend.push("~  less than the clock can tell");
    }
    for pair in legend.chunks(2) {
        out.push_str(&pair.join("      "));
        out.push('\n');
    }
    out
}
