//! An answer as text: the answer first, then the request, the zones, and what follows.

use std::fmt::Write as _;

use super::zones::Row;
use super::{Class, Judged};

/// Columns that text is wrapped at.
const WIDTH: usize = 100;
/// Where a paragraph's text begins.
const INDENT: usize = 10;

/// The whole answer, with the arithmetic if wished.
pub fn text(judged: &Judged, explain: bool) -> String {
    let mut text = String::new();
    paragraph(&mut text, "report", &head(judged));
    paragraph(&mut text, "ANSWER", judged.class.title());
    paragraph(&mut text, "why", &judged.why);
    if !judged.also.is_empty() {
        let also: Vec<&str> = judged.also.iter().map(|c| c.aside()).collect();
        paragraph(&mut text, "also", &also.join("; "));
    }
    paragraph(&mut text, "request", &request(judged));
    table(&mut text, judged);
    if explain {
        let lines = super::explain::text(judged);
        if !lines.is_empty() {
            text += "  the test, zone by zone:\n";
            text += &lines;
            text.push('\n');
        }
    }
    let parts = [("mend", &judged.mends), ("note", &judged.notes), ("missing", &judged.missing)];
    for (word, lines) in parts {
        for line in lines {
            paragraph(&mut text, word, line);
        }
    }
    for race in &judged.races {
        paragraph(&mut text, "race", &race.text);
    }
    if let Some(victim) = &judged.victim {
        paragraph(&mut text, "victim", &victim.text);
    }
    if !judged.not_told.is_empty() {
        paragraph(&mut text, "not told", &judged.not_told.join("; "));
    }
    text
}

/// The answer for a reply to a list: what was said, quoted, and the answer under it.
pub fn mail(judged: &Judged) -> String {
    let mut text = format!("> {}\n", head(judged));
    let _ = writeln!(text, "> {}\n", request(judged));
    for line in wrapped(&judged.headline, 72) {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
    for line in judged.mends.iter().chain(&judged.notes).chain(&judged.missing) {
        for (i, line) in wrapped(line, 70).iter().enumerate() {
            let _ = writeln!(text, "{} {line}", if i == 0 { "-" } else { " " });
        }
    }
    for race in &judged.races {
        let _ = writeln!(text, "- {}", race.text);
    }
    if let Some(victim) = &judged.victim {
        let _ = writeln!(text, "- {}", victim.text);
    }
    let arithmetic = super::explain::text(judged);
    if !arithmetic.is_empty() {
        text.push('\n');
        text += &arithmetic;
    }
    text
}

/// How many of each class, over all reports.
pub fn summary(reports: &[(Class, &'static str)], files: usize, without: usize) -> String {
    let mut text = format!("{} reports in {files} logs\n", reports.len());
    for class in Class::ALL {
        let of = |kind: &str| reports.iter().filter(|(c, k)| *c == class && *k == kind).count();
        let (kills, failures, stalls) = (of("kill"), of("failure"), of("stall"));
        if kills + failures + stalls > 0 {
            let _ = writeln!(
                text,
                "{:>7}  {:<18} {kills} kills, {failures} failures, {stalls} stalls",
                kills + failures + stalls,
                class.word()
            );
        }
    }
    if without > 0 {
        let _ = writeln!(text, "{without:>7}  logs without a report");
    }
    text
}

fn head(judged: &Judged) -> String {
    let time = judged.time.map_or_else(String::new, |t| format!(", at {t:.6} s of the log"));
    let pid = judged.request.pid.map_or_else(String::new, |p| format!(" ({p})"));
    let who = if judged.request.comm.is_empty() { "somebody" } else { &judged.request.comm };
    let what = match judged.kind {
        "kill" => "invoked the killer",
        "failure" => "failed to allocate",
        _ => "waits to allocate",
    };
    let release = judged.release.as_deref().unwrap_or("release not told");
    format!("{} line {}: {who}{pid} {what}, {release}{time}", judged.source, judged.line)
}

fn request(judged: &Judged) -> String {
    let r = &judged.request;
    let mut parts = Vec::new();
    match (&r.printed, &r.gfp) {
        (Some(printed), Some(names)) if !printed.contains('(') => {
            parts.push(format!("{printed} = {names}"))
        }
        (Some(printed), _) => parts.push(printed.clone()),
        (None, _) => parts.push("gfp not told".to_owned()),
    }
    match r.order {
        Some(order @ 0..=40) => {
            let kb = r.page_kb << order;
            parts.push(format!(
                "order {order} ({kb} kB, {})",
                r.migratetype.unwrap_or("type not told")
            ));
        }
        Some(order) => parts.push(format!("order {order}")),
        None => parts.push("order not told".to_owned()),
    }
    if let Some(zone) = &r.highest_zone {
        parts.push(format!("highest zone {zone} of {}", r.zones_built.join(" ")));
    }
    if let Some(constraint) = r.constraint {
        parts.push(format!("constraint {constraint}"));
    }
    if let Some(nodes) = &r.nodemask {
        parts.push(format!("nodemask {}", super::request::node_list(nodes)));
    }
    if let Some(nodes) = &r.mems_allowed {
        let cpuset = r.cpuset.as_ref().map_or_else(String::new, |c| format!(" (cpuset {c})"));
        parts.push(format!("mems_allowed {}{cpuset}", super::request::node_list(nodes)));
    }
    parts.join(", ")
}

fn table(text: &mut String, judged: &Judged) {
    if judged.zones.is_empty() {
        return;
    }
    let kb = judged.request.page_kb;
    let width = judged.zones.iter().map(|r| r.zone.len()).max().unwrap_or(0).max(12);
    let _ = writeln!(
        text,
        "\n  {:<width$} {:>10} {:>9} {:>9} {:>10} {:>10} {:>11}  {:<5} says",
        "kB", "free", "- cma", "- highat", "= usable", "min+resrv", "high+resrv", "block"
    );
    for row in &judged.zones {
        let value = |pages: Option<u64>| {
            pages.map_or_else(|| "?".to_owned(), |p| p.saturating_mul(kb).to_string())
        };
        let signed = |pages: i64| pages.saturating_mul(kb as i64).to_string();
        let (min, high) = (row.min.map(|_| row.needed_min), row.high.map(|_| row.needed_high));
        let needed = |n: Option<i64>| n.map_or_else(|| "?".to_owned(), signed);
        let movable = judged.request.migratetype == Some("movable");
        let _ = writeln!(
            text,
            "  {:<width$} {:>10} {:>9} {:>9} {:>10} {:>10} {:>11}  {:<5} {}",
            row.zone,
            value(row.free),
            value(Some(if movable { 0 } else { row.cma })),
            value(row.highatomic),
            signed(row.usable),
            needed(min),
            needed(high),
            match row.has_block {
                Some(true) => "yes",
                Some(false) => "no",
                None => "?",
            },
            says(row),
        );
        if row.boost > 0 {
            let _ = writeln!(
                text,
                "  {:<width$} of the marks {} kB are boost",
                "",
                row.boost.saturating_mul(kb)
            );
        }
    }
    text.push('\n');
}

fn says(row: &Row) -> String {
    if let Some(why) = &row.out_of_reach {
        return format!("out: {why}");
    }
    match (row.at_high, row.at_min) {
        (Some(true), _) => "passes high".to_owned(),
        (_, Some(true)) => "passes min, not high".to_owned(),
        (_, Some(false)) if row.marks_min == Some(true) => "marks pass, no block".to_owned(),
        (_, Some(false)) => "fails min".to_owned(),
        (_, None) => "not decided".to_owned(),
    }
}

fn paragraph(text: &mut String, word: &str, line: &str) {
    for (i, part) in wrapped(line, WIDTH - INDENT).iter().enumerate() {
        let word = if i == 0 { word } else { "" };
        let _ = writeln!(text, "{word:<INDENT$}{part}");
    }
}

/// Lines of at most `width` characters, broken at blanks.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(last) = lines.last_mut() else { break };
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}
