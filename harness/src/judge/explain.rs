//! `--explain`: the watermark arithmetic of each zone in reach, line by line.

use std::fmt::Write as _;

use super::Judged;
use super::zones::Row;

/// The lines for one report; empty where no zone was asked.
pub fn text(judged: &Judged) -> String {
    let mut text = String::new();
    for row in judged.zones.iter().filter(|r| r.out_of_reach.is_none()) {
        zone(&mut text, judged, row);
    }
    text
}

fn line(text: &mut String, what: &str, value: impl std::fmt::Display) {
    let value = value.to_string();
    let _ = writeln!(text, "    {what:<44} {value:>16}");
}

fn zone(text: &mut String, judged: &Judged, row: &Row) {
    let order = judged.request.order.unwrap_or(0).clamp(0, 40);
    let number = |n: Option<u64>| n.map_or_else(|| "not told".to_owned(), |n| n.to_string());
    let highest = judged.request.highest_zone.as_deref().unwrap_or("?");
    let _ = writeln!(
        text,
        "  {} (line {}), pages of {} kB",
        row.zone, row.line, judged.request.page_kb
    );
    let movable = judged.request.migratetype == Some("movable");
    line(text, "free", number(row.free));
    line(text, &format!("- (2^{order} - 1)"), (1_i64 << order) - 1);
    line(text, "- highatomic reserve", number(row.highatomic));
    line(text, "- free CMA (movable requests keep it)", if movable { 0 } else { row.cma });
    line(text, "= usable", row.usable);
    for (mark, value, needed, passes) in [
        ("min", row.min, row.needed_min, row.at_min),
        ("high", row.high, row.needed_high, row.at_high),
    ] {
        // The look before a kill never counts CMA.
        let usable = if mark == "high" && movable {
            line(text, "- free CMA, at the last look", row.cma);
            row.usable.saturating_sub(row.cma.min(1 << 60) as i64)
        } else {
            row.usable
        };
        line(text, mark, number(value));
        if row.boost > 0 {
            line(text, "  of which boost", row.boost);
        }
        let reserve = row.reserve.unwrap_or(0).min(1 << 60) as i64;
        let left = needed.saturating_sub(reserve);
        if value.is_some_and(|v| v.min(1 << 60) as i64 != left) {
            line(text, "  left of it by the request's rights", left);
        }
        line(text, &format!("+ lowmem_reserve[{highest}]"), number(row.reserve));
        line(text, "= must be less than usable", needed);
        let sign = if usable > needed { ">" } else { "<=" };
        let block = match (order, row.has_block) {
            (0, _) => "",
            (_, Some(true)) => ", a block of the order is free",
            (_, Some(false)) => ", no block of the order that it may take",
            (_, None) => ", blocks not told",
        };
        let answer = match passes {
            Some(true) => "passes",
            Some(false) => "fails",
            None => "not decided",
        };
        let _ = writeln!(text, "    {usable} {sign} {needed}{block}: {answer} at {mark}");
    }
}
