//! 72 columns of plain text for a mailing list: host, table, what is behind it, how to repeat it.

use indexmap::IndexSet;

use super::numbers::{change, fit, rate, value};
use super::stats;
use crate::schema::{Comparison, CountSide, Run};

/// Text of all comparisons, with host and commands of the runs behind them.
pub(super) fn text(comparisons: &[Comparison], runs: &[&Run]) -> String {
    let mut out = String::new();
    let hosts: IndexSet<String> =
        runs.iter().map(|run| crate::text::host_line(&run.host)).collect();
    for host in hosts {
        out.push_str(&wrap(&format!("Host: {host}"), "      "));
    }
    for c in comparisons {
        out.push('\n');
        out.push_str(&table(c));
    }
    let commands: IndexSet<String> =
        runs.iter().map(|run| crate::text::command(&run.command_line)).collect();
    if !commands.is_empty() {
        out.push_str("\nTo repeat:\n");
        for command in commands {
            out.push_str(&wrap(&format!("  $ {command}"), "      "));
        }
    }
    out
}

fn table(c: &Comparison) -> String {
    let order = if c.interleaved { ", interleaved" } else { "" };
    let mut out = format!(
        "{}, {} threads, {} pairs of rounds{order}\n",
        c.base.workload, c.base.threads, c.pairs
    );
    out.push_str(&format!(
        "{:<24}{:>12}{:>12}{:>8}  {}\n",
        "",
        fit(&c.base.label, 11),
        fit(&c.new.label, 11),
        "change",
        "95% interval"
    ));
    for row in &c.metrics {
        let range = row
            .interval_percent
            .map_or(String::new(), |i| format!("{:+.1}..{:+.1}", i.low, i.high));
        let star = if row.significant { "*" } else { "" };
        let line = format!(
            "{:<24}{:>12}{:>12}{:>8}{:1} {range}",
            fit(&row.name, 24),
            value(row.base.mean),
            value(row.new.mean),
            change(row.change_percent),
            star,
        );
        out.push_str(line.trim_end());
        out.push('\n');
        if let (Some(gate), Some(verdict)) = (&row.gate, row.verdict) {
            out.push_str(&format!("    {} {gate}\n", verdict.outcome().text()));
        }
    }
    for count in &c.counts {
        let side = |s: &CountSide| match stats::bound_of_none(s.attempts) {
            Some(bound) if s.events == 0 => {
                format!("0 in {} (under {}, 95%)", s.attempts, rate(bound))
            }
            _ => format!("{} in {}", s.events, s.attempts),
        };
        out.push_str(&wrap(
            &format!("{}: {}; {}", count.name, side(&count.base), side(&count.new)),
            "    ",
        ));
    }
    for note in &c.notes {
        out.push_str(&wrap(&format!("Note: {note}"), "      "));
    }
    out
}

/// Lines of 72 columns, as mailing lists like them.
pub(crate) fn wrap(text: &str, indent: &str) -> String {
    crate::format::wrap(text, indent, 72)
}
