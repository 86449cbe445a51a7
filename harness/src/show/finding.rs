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
        let own = finding.task.as_deref().filter(|t| finding.events.iter().any(|e| e.task == *t));
        text += &match own {
            Some(task) => lanes(&finding.events, task),
            None => timeline(&finding.events),
        };
    }
    if let Some(excluded) = &finding.excluded_by {
        let _ = write!(text, "\nExcluded by {excluded}\n");
    }
    if let Some(replay) = &finding.replay {
        let _ = write!(text, "\nAgain: {replay}\n");
    }
    text
}

/// Two columns, as kernel changelogs draw a race: the task that is wronged, and who else did
/// something; time downwards.
fn lanes(events: &[TimelineEvent], task: &str) -> String {
    const COLUMN: usize = (WIDTH - 2) / 2;
    let skipped = events.len().saturating_sub(SHOWN);
    let cpu = |e: &TimelineEvent| e.cpu.map_or(String::new(), |c| format!(" (CPU {c})"));
    let own = events.iter().find(|e| e.task == task).map_or(String::new(), cpu);
    let rule = "-".repeat(COLUMN);
    let mut text = format!(" {:<COLUMN$} others\n {rule} {rule}\n", format!("{task}{own}"));
    if skipped > 0 {
        let _ = writeln!(text, " ({skipped} earlier events are in the record)");
    }
    let mut last_other = "";
    for event in &events[skipped..] {
        let label = event.label.as_deref().unwrap_or("-");
        let mark = if event.reason { " <==" } else { "" };
        let mut words = format!("{} {label} {}{mark}", event.step, event.text);
        let is_own = event.task == task;
        if !is_own && event.task != last_other {
            last_other = &event.task;
            words = format!(
                "{} {}{}: {label} {}{mark}",
                event.step,
                event.task,
                cpu(event),
                event.text
            );
        }
        for line in wrapped(&words, COLUMN) {
            let line = if is_own { line } else { format!("{:COLUMN$} {line}", "") };
            let _ = writeln!(text, " {line}");
        }
    }
    if let (Some(first), Some(last)) = (events.first(), events.last())
        && let (Some(from), Some(to)) = (first.time_ns, last.time_ns)
    {
        let took = results::format::ns(to.saturating_sub(from) as f64);
        let _ = writeln!(text, " steps {} to {}: {took}", first.step, last.step);
    }
    text
}

/// Lines of at most so many columns; those after the first are indented.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let is_first = line.trim().is_empty();
        if !is_first && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, format!("    {word}")));
        } else {
            let space = if line.is_empty() { "" } else { " " };
            line += &format!("{space}{word}");
        }
    }
    lines.push(line);
    lines
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(step: u32, task: &str, label: &str, text: &str) -> TimelineEvent {
        TimelineEvent {
            step,
            time_ns: Some(u64::from(step) * 1000),
            task: task.to_owned(),
            cpu: Some(u32::from(task != "hog/17")),
            label: Some(label.to_owned()),
            text: text.to_owned(),
            reason: step == 3,
        }
    }

    #[test]
    fn a_race_is_drawn_as_changelogs_draw_it() {
        let finding = Finding {
            number: 1,
            title: "premature OOM (definite)  v4.11  hog killed hog (23)".to_owned(),
            task: Some("hog/17".to_owned()),
            report: "hog invoked oom-killer".to_owned(),
            events: vec![
                event(1, "hog/17", "D4", "nodemask = {1} of the policy; mems {0-1}"),
                event(2, "writer/5", "T3a", "mems {1} -> {0} (task 17)"),
                event(3, "writer/5", "T3c", "mpol_rebind_mm: waits for mmap_lock"),
                event(4, "hog/17", "S1", "cookies taken: cpuset 8, zonelist 0"),
            ],
            replay: Some("stress cpuset01 --seed 0x7".to_owned()),
            ..Finding::default()
        };
        let text = text(&Run { workload: "cpuset01".to_owned(), ..Run::default() }, &finding);
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn without_a_task_of_its_own_it_is_a_list() {
        let events = vec![event(1, "hog/17", "S7", "retry, pass 3")];
        let finding = Finding { events, ..Finding::default() };
        let text = text(&Run::default(), &finding);
        assert!(text.contains("-0ns  hog/17 CPU0   S7    retry, pass 3"), "{text}");
    }
}
