//! Exploration as people read it: verdicts with what was and was not covered, the story of a find.

use std::fmt::Write as _;

use allocator_explore::explore::{Report, Scheduler};
use results::format::{self, thousands, wrap};

use super::kept::{Searched, point_name};
use super::search::{Done, Told, Verdict};
use super::timeline::{self, WIDTH};

/// Lines of a story at most, timeline included.
const STORY_LINES: usize = 40;
/// Lines of the oracle's report in a story at most.
const REPORT_LINES: usize = 7;

/// What stands below a label.
const MARGIN: &str = "          ";

fn plural(n: u64, word: &str) -> String {
    format!("{} {word}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// `premature_oom: 1 preemption, 2 switches`.
pub fn find_line(done: &Done, told: &Told) -> String {
    let find = &told.find;
    format!(
        "{}  {}  {}: {}, {}",
        done.subject.name(),
        done.policy,
        find.kind,
        plural(u64::from(find.preemptions), "preemption"),
        plural(u64::from(find.switches), "switch").replace("switchs", "switches"),
    )
}

/// How schedules were chosen, in words.
pub fn scheduler(report: &Report) -> String {
    match report.scheduler {
        Scheduler::Bounded { preemptions } => {
            format!("bounded, up to {}", plural(u64::from(preemptions), "preemption"))
        }
        Scheduler::Random => "random walk".to_owned(),
        Scheduler::Pct { depth } => format!("PCT of depth {depth}"),
    }
}

/// What a search came to: the verdict, what it rests on, what was covered.
pub fn verdict(done: &Done) -> String {
    let Done { report, subject, .. } = done;
    let mut text = labelled(subject.name(), subject.about());
    for told in &done.told {
        let find = &told.find;
        let line = format!(
            "{}: {}, {}; shown by {} of {} schedules",
            find.kind,
            plural(u64::from(find.preemptions), "preemption"),
            plural(u64::from(find.switches), "switch").replace("switchs", "switches"),
            thousands(find.runs),
            thousands(report.schedules)
        );
        text += &labelled("  FOUND", &line);
    }
    if done.told.is_empty() {
        text += &wrap(&format!("  {}", nothing_found(report)), MARGIN, WIDTH);
    }
    text + &labelled("  covered", &covered(done))
}

/// Text behind a label, wrapped beside it.
fn labelled(label: &str, text: &str) -> String {
    let text = wrap(text, "", WIDTH - MARGIN.len());
    let mut lines = text.lines();
    let width = MARGIN.len() - 1;
    let first = format!("{label:<width$} {}\n", lines.next().unwrap_or(""));
    first + &lines.map(|line| format!("{MARGIN}{line}\n")).collect::<String>()
}

fn nothing_found(report: &Report) -> String {
    let all = thousands(report.schedules);
    match (Verdict::of(report), report.scheduler) {
        (Verdict::Excluded, _) if report.unbounded => {
            format!("excluded: by all {all} schedules there are (no bound was hit)")
        }
        (Verdict::Excluded, Scheduler::Bounded { preemptions }) => {
            let k = plural(u64::from(preemptions), "preemption");
            format!("excluded: by all {all} schedules with up to {k}")
        }
        (Verdict::NotFound, _) => {
            let bound = report.coverage.miss_bound.unwrap_or(1.0);
            let mut text = format!(
                "not found in {all} samples: what they did not show has at most {:.2e} a sample \
                 (95 %)",
                bound
            );
            if let (Scheduler::Pct { depth }, Some(miss)) =
                (report.scheduler, report.coverage.pct_miss)
            {
                let _ = if miss < 0.995 {
                    write!(
                        text,
                        "; a bug that takes {depth} ordering constraints was missed with a chance \
                         of {miss:.2} at most"
                    )
                } else {
                    write!(text, "; too few for a promise of PCT at depth {depth}")
                };
            }
            text
        }
        (Verdict::Found | Verdict::Excluded | Verdict::NotExhaustive, _) => {
            format!("NOT exhaustive, nothing found: {}", report.gaps.join("; "))
        }
    }
}

fn covered(done: &Done) -> String {
    let Done { report, elapsed, .. } = done;
    let coverage = &report.coverage;
    let mut parts: Vec<String> = Vec::new();
    if report.bounds.is_empty() {
        parts.push(plural(report.schedules, "sample"));
    } else {
        let bounds = report.bounds.iter().map(|b| {
            let cut = if b.complete { "" } else { " of more" };
            format!("K={} {}{cut}", b.preemptions, thousands(b.schedules))
        });
        parts.push(format!("{} schedules", bounds.collect::<Vec<_>>().join(", ")));
    }
    let rate = report.executed as f64 / elapsed.as_secs_f64().max(1e-6);
    parts.push(format!("{}/s", format::count(rate.round())));
    parts.push(plural(coverage.tasks as u64, "task"));
    parts.push(format!(
        "{:.0} race points a schedule ({} at most)",
        coverage.points, coverage.most_points
    ));
    parts.push(format!("{} orders", thousands(coverage.distinct)));
    if let Some(unseen) = coverage.unseen {
        parts.push(format!("a next sample is new with {:.0} %", unseen * 100.0));
    }
    if coverage.cut > 0 {
        parts.push(format!("{} cut", thousands(coverage.cut)));
    }
    if coverage.diverged > 0 {
        parts.push(format!("{} diverged", thousands(coverage.diverged)));
    }
    parts.join("; ")
}

/// What bounds and small worlds leave out, once for all searches.
pub fn not_covered(scene: bool) -> String {
    let small = if scene {
        "tasks, steps and machine are as few as asked for"
    } else {
        "the worlds are small (MAX_RECLAIM_RETRIES 2 of 16, batches of a few pages)"
    };
    wrap(
        &format!(
            "switched at: the race points (stress list points), where a task blocks, spins or ends. \
             Not covered: other switch points, store buffers (scripts/test loom); {small}."
        ),
        "",
        WIDTH,
    )
}

/// The story of a find: what happened, what the oracle says, the timeline, who excludes it, how to
/// see it again.
pub fn story(done: &Done, told: &Told) -> String {
    let Told { find, replay, finding, file } = told;
    let mut head = vec![format!("FINDING  {}", find_line(done, told))];
    head.extend(lines(done.subject.about(), ""));
    let opened = head.len() + 1;
    head.push(String::new());
    match finding {
        Some(finding) => {
            head.extend(reasons(&finding.report));
            if head.len() == opened {
                head.extend(lines(&finding.title, ""));
            }
        }
        None => head.extend(lines(&find.text, "  ")),
    }
    head.push(String::new());
    let mut tail = vec![String::new()];
    let is_first = done.told.first().is_some_and(|first| first.find.kind == find.kind);
    if let Some(by) = done.excluded_by.as_ref().filter(|_| is_first) {
        let commit = by.commit.map_or(String::new(), |c| format!(" ({c})"));
        let k = plural(u64::from(by.preemptions), "preemption");
        let all = thousands(by.schedules);
        let text =
            format!("Excluded by {}{commit}: all {all} schedules with up to {k}.", by.choice);
        tail.extend(lines(&text, "         "));
    }
    let choices = replay.made.to_text(point_name);
    let mut choices = choices.lines();
    tail.push(match choices.next() {
        None => "Schedule the default one: no choice differs".to_owned(),
        Some(first) => format!("Schedule {first}"),
    });
    tail.extend(choices.by_ref().take(4).map(|c| format!("         {c}")));
    let more = choices.count();
    if more > 0 {
        tail.push(format!("         and {more} more choices in the file"));
    }
    match (file, &done.searched) {
        (Some(file), _) => {
            tail.push(format!("Replay   stress explore --replay {}", file.display()));
            if crate::confirm::recipe::find(done.subject.name()).is_some() {
                tail.push(format!("Confirm  stress confirm {} --kernel DIR", file.display()));
            }
        }
        (None, Searched::Family(name)) => {
            tail.push(format!("Again    stress explore --family {name} --variant {}", done.policy));
        }
        (None, Searched::Scene(_)) => {}
    }
    let most = STORY_LINES.saturating_sub(head.len() + tail.len());
    let columns = timeline::columns(replay, find.kind, most);
    [head, columns, tail].concat().join("\n") + "\n"
}

fn lines(text: &str, indent: &str) -> Vec<String> {
    wrap(text, indent, WIDTH).lines().map(str::to_owned).collect()
}

/// Whether the oracle's sentence begins here: why a kill was premature, or only looks so.
fn is_verdict(line: &str) -> bool {
    ["Premature:", "Drift:", "Transient:"].iter().any(|word| line.starts_with(word))
}

/// The lines of a report, the oracle's sentence as one: a report is laid out for its own width.
fn whole_sentences<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in lines {
        match all.last_mut().filter(|last| is_verdict(last) && !last.ends_with('.')) {
            Some(last) => *last = format!("{last} {line}"),
            None => all.push(line.to_owned()),
        }
    }
    all
}

/// The lines of the oracle's report that hold the reason.
fn reasons(report: &[String]) -> Vec<String> {
    let all = whole_sentences(report.iter().flat_map(|l| l.lines()));
    let tells = |line: &&String| {
        line.contains("invoked oom-killer")
            || line.contains("<==")
            || is_verdict(line)
            || line.contains("Kernel panic")
    };
    let mut chosen: Vec<String> = all.iter().filter(tells).cloned().collect();
    if chosen.is_empty() {
        chosen = all;
    }
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = |of: Vec<&String>| -> Vec<String> {
        of.into_iter().flat_map(|line| lines(&squeezed(line), "  ")).collect()
    };
    let (verdict, rest) = chosen.iter().partition(|line| is_verdict(line));
    let (verdict, mut out) = (told(verdict), told(rest));
    let room = REPORT_LINES.saturating_sub(verdict.len());
    if out.len() > room {
        out.truncate(room.saturating_sub(1));
        out.push("  ...".to_owned());
    }
    // Whatever has to be left out: never the sentence that says why it is a finding.
    out.extend(verdict);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_told_in_whole_sentences_whatever_is_left_out() {
        let zone = |n: u32| format!("Node {n} Normal free:8192kB min:256kB   <== may be used");
        let mut report = vec!["A invoked oom-killer: order=0".to_owned()];
        report.extend((0..9).map(zone));
        report.push("Premature: at every look since the last retry began, a zone that".to_owned());
        report.push("the request may use was above its high mark.".to_owned());
        let told = reasons(&report);
        assert!(told.len() <= REPORT_LINES, "{told:?}");
        let text = told.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.ends_with(
                "Premature: at every look since the last retry began, a zone that the request may \
                 use was above its high mark."
            ),
            "{text}"
        );
        assert!(text.contains("..."), "{text}");
    }
}
