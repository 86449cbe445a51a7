//! A finding as text that can be pasted into mail: 72 columns, the reason first.

use std::fmt::Write as _;

use results::schema::{Finding, Run, TimelineEvent};

const WIDTH: usize = 72;
/// Events shown at most; the record has them all.
const SHOWN: usize = 60;

/// The file `finding-N.txt`.
pub fn text(run: &Run, finding: &Finding) -> String {
    let mut text = format!(
        "FINDING {}  {}\n{} {}  {}  {} threads  round {}  t={:.6}s  seed {:#x}\n",
        finding.number,
        finding.title,
        run.tool.name,
        run.tool.version,
        run.workload,
        run.threads,
        finding.round.map_or("-".to_owned(), |r| (r + 1).to_string()),
        finding.time_s,
        run.seed
    );
    if !finding.report.is_empty() {
        let _ = write!(text, "\n{}\n", finding.report);
    }
    if let Some(why) = &finding.why {
        let _ = write!(text, "\n{why}\n");
    }
    if !finding.events.is_empty() {
        text.push('\n');
        text += &timeline(&finding.events);
    }
    if let Some(excluded) = &finding.excluded_by {
        let _ = write!(text, "\nExcluded by {excluded}\n");
    }
    if let Some(replay) = &finding.replay {
        let _ = write!(text, "\nAgain: {replay}\n");
    }
    text
}

/// One line for each event: when, who, where, what; the last ones if there are many.
fn timeline(events: &[TimelineEvent]) -> String {
    let skipped = events.len().saturating_sub(SHOWN);
    let mut text = String::new();
    if skipped > 0 {
        let _ = writeln!(text, "({skipped} earlier events are in the record)");
    }
    let shown = &events[skipped..];
    let end = shown.last().and_then(|e| e.time_ns).unwrap_or(0);
    let who = shown.iter().map(|e| e.task.chars().count()).max().unwrap_or(0).min(20);
    for event in shown {
        let before = event.time_ns.map_or(String::new(), |t| {
            format!("-{}", results::format::ns(end.saturating_sub(t) as f64))
        });
        let cpu = event.cpu.map_or(String::new(), |c| format!("CPU{c}"));
        let label = event.label.as_deref().unwrap_or("");
        let mark = if event.reason { "  <==" } else { "" };
        let line =
            format!("{before:>8}  {:<who$} {cpu:<6} {label:<5} {}{mark}", event.task, event.text);
        let _ = writeln!(text, "{}", results::format::fit(&line, WIDTH + 8));
    }
    text
}
