//! A table for pages and issues.

use super::numbers::{change, value};
use super::robot;
use crate::schema::Comparison;

/// The whole table.
pub(super) fn table(c: &Comparison) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ");
    let mut out = format!(
        "**{}**, {} threads, host {}, {} against {} rounds{}\n\n",
        cell(&c.base.workload),
        c.base.threads,
        cell(&c.base.host),
        c.base.rounds,
        c.new.rounds,
        if c.interleaved { ", interleaved" } else { "" }
    );
    out.push_str(&format!(
        "| metric | {} | {} | change | 95% interval | p (Holm) | |\n",
        cell(&c.base.label),
        cell(&c.new.label)
    ));
    out.push_str("|---|--:|--:|--:|:-:|--:|---|\n");
    for row in &c.metrics {
        let range =
            row.interval_percent.map(|i| robot::interval(&i)).unwrap_or_else(|| "-".to_owned());
        let p = row.p_holm.map_or("-".to_owned(), |p| format!("{p:.4}"));
        out.push_str(&format!(
            "| {} | {} | {} | {} | {range} | {p} | {} |\n",
            cell(&row.name),
            value(row.base.mean),
            value(row.new.mean),
            change(row.change_percent),
            cell(robot::marks(row).trim()).replace('*', "\\*"),
        ));
    }
    for count in &c.counts {
        let side = |s: &crate::schema::CountSide| format!("{}:{}", s.events, s.attempts);
        out.push_str(&format!(
            "| {} | {} | {} | | | | |\n",
            count.name,
            side(&count.base),
            side(&count.new)
        ));
    }
    for note in &c.notes {
        out.push_str(&format!("\n> {}\n", cell(note)));
    }
    out
}
