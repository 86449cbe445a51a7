//! A schedule told as kernel changelogs draw a race: a column for each task, time downwards, 72
//! columns wide.
//!
//! **What is left out.** Points that every allocation passes, unless a task was switched away from
//! there; repeated passes of a loop, of which the last is shown with their number; and if it is
//! still too long, what lies furthest from a switch and from the finding. The Chrome trace has all.

use allocator_explore::explore::{Event, EventKind, Replay};
use allocator_explore::race::Point;
use results::schema::TimelineEvent;

/// Columns of a line.
pub const WIDTH: usize = 72;
/// Tasks that can stand side by side; more are told as a list.
const MOST_COLUMNS: usize = 3;

/// One step of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    task: usize,
    /// The point; none for waits, the clock and notes.
    point: Option<Point>,
    text: String,
    /// How much it matters: 0 is left out.
    weight: u8,
    /// How often the task passed here in a row.
    times: u32,
    is_finding: bool,
}

impl Step {
    fn label(&self) -> &'static str {
        self.point.map_or("", Point::label)
    }

    fn words(&self) -> String {
        let times = if self.times > 1 { format!(" ({} times)", self.times) } else { String::new() };
        format!("{} {}{times}", self.label(), self.text).trim().to_owned()
    }
}

/// What the tasks did, in order; main's setting up and looking after are left out.
pub fn steps(trace: &[Event]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut clock_ns = 0;
    for (index, event) in trace.iter().enumerate() {
        if event.task == 0 {
            clock_ns = event.clock_ns;
            continue;
        }
        let step = |point: Option<Point>, text: String, weight| Step {
            task: event.task,
            point,
            text,
            weight,
            times: 1,
            is_finding: false,
        };
        let passed = event.clock_ns.saturating_sub(clock_ns);
        if passed >= 1_000_000 {
            steps.push(step(None, format!("... {} ms later ...", passed / 1_000_000), 3));
        }
        clock_ns = event.clock_ns;
        let next = trace.get(index + 1);
        match &event.kind {
            EventKind::Step { label, text } => {
                let point = Point::from_number(*label);
                steps.push(step(point, text.clone(), point.map_or(1, weight)));
            }
            EventKind::Point { label } => {
                let point = Point::from_number(*label);
                let told = steps.last().is_some_and(|s| s.task == event.task && s.point == point);
                if !told {
                    let text = point.map_or("", Point::story);
                    let text = if text.contains('{') { "" } else { text };
                    let has_words = !text.is_empty();
                    let weight = point.filter(|_| has_words).map_or(0, weight);
                    steps.push(step(point, text.to_owned(), weight));
                }
            }
            EventKind::Preempted { .. } => {
                if let Some(last) = steps.last_mut().filter(|s| s.task == event.task) {
                    last.weight = last.weight.max(4);
                }
            }
            EventKind::Waits | EventKind::Spins => {
                if next.is_some_and(|next| next.task != event.task) {
                    let word = if event.kind == EventKind::Spins { "spins" } else { "has to wait" };
                    steps.push(step(None, word.to_owned(), 3));
                }
            }
            EventKind::Note { text } => {
                let finding = text.starts_with("FOUND");
                let note = step(None, text.clone(), if finding { 5 } else { 2 });
                steps.push(Step { is_finding: finding, ..note });
            }
            EventKind::Report { kind, text } => {
                let report = step(None, format!("FOUND {kind}: {text}"), 5);
                steps.push(Step { is_finding: true, ..report });
            }
            EventKind::Clock | EventKind::Ended => {}
        }
    }
    steps
}

/// How much a point tells: 0 for what every allocation and fault passes.
fn weight(point: Point) -> u8 {
    let is_passed_by_all = matches!(
        point,
        Point::TaskStart
            | Point::B3FastZone
            | Point::B3CpusetWord
            | Point::C1MaskWord
            | Point::S4WakeKswapd
            | Point::S15Compact
            | Point::P2Enter
            | Point::P4Count
            | Point::P5Leave
            | Point::PrRefilled
            | Point::A7Ptl
            | Point::A9Unlock
    );
    let decides = matches!(
        point,
        Point::D4Nodemask
            | Point::S1Cookies
            | Point::S10Reset
            | Point::S19aCheck
            | Point::S20Nopage
            | Point::O2LastTry
            | Point::T3aPolicyWritten
            | Point::T3aMemsWritten
            | Point::T3cVmaRebound
            | Point::V6Kill
            | Point::E4Skip
            | Point::R2Tests
            | Point::R7Skip
            | Point::QSkip
            | Point::P1Type
            | Point::I4Type
            | Point::L7Test
            | Point::Z1Lock
            | Point::Z5Unlock
    );
    match point.label().as_bytes().first() {
        _ if is_passed_by_all => 0,
        _ if decides => 3,
        _ if matches!(point, Point::S11Try | Point::S17Retry) => 2,
        // Who changes what others hang on.
        Some(b'T' | b'Z' | b'I' | b'L' | b'R' | b'Q' | b'M' | b'D') => 2,
        _ => 1,
    }
}

/// The steps that are shown: no more than `most`.
fn shown(steps: &[Step], most: usize) -> (Vec<Step>, usize) {
    let mut kept: Vec<Step> = Vec::new();
    // The rounds of a loop while nobody else runs: the last one, with their number.
    for step in steps.iter().filter(|s| s.weight > 0) {
        let segment = kept.iter().rposition(|s| s.task != step.task).map_or(0, |at| at + 1);
        let again = |s: &Step| {
            s.point.is_some() && s.point == step.point && (s.weight < 4 || s.text == step.text)
        };
        let earlier = kept[segment..].iter().position(again).map(|at| segment + at);
        let times = earlier.map_or(0, |at| kept.remove(at).times);
        kept.push(Step { times: times + step.times, ..step.clone() });
    }
    let all = kept.len();
    for (index, step) in kept.iter_mut().enumerate() {
        step.weight = step.weight.max(u8::from(index == 0) * 3);
    }
    while kept.len() > most {
        let edge = |index: usize| {
            let other = |at: Option<usize>| {
                at.and_then(|at| kept.get(at)).is_none_or(|s| s.task != kept[index].task)
            };
            other(index.checked_sub(1)) || other(Some(index + 1))
        };
        let rank = |index: &usize| {
            let step: &Step = &kept[*index];
            // Of those that tell as little, the earlier ones go.
            (step.weight + 2 * u8::from(edge(*index)), *index)
        };
        let Some(least) = (0..kept.len()).min_by_key(rank) else { break };
        kept.remove(least);
    }
    let left_out = all - kept.len();
    (kept, left_out)
}

/// The timeline up to the finding of this kind, `most` lines long at most.
pub fn columns(replay: &Replay, kind: &str, most: usize) -> Vec<String> {
    let mut steps = steps(&replay.trace);
    let words = format!("FOUND {kind}");
    let found = steps.iter().position(|s| s.is_finding && s.text.starts_with(&words));
    steps.truncate(found.map_or(steps.len(), |at| at + 1));
    let mut tasks: Vec<usize> = steps.iter().filter(|s| s.weight > 0).map(|s| s.task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let name = |task: usize| replay.tasks.get(task).map_or("?", String::as_str);
    // Lines wrap, so fewer steps than lines fit; try from the most.
    let mut rows = most;
    loop {
        let (kept, left_out) = shown(&steps, rows);
        let mut lines = if tasks.len() <= MOST_COLUMNS {
            side_by_side(&kept, &tasks, name)
        } else {
            one_below_the_other(&kept, name)
        };
        if left_out > 0 {
            lines.push(format!(" ({left_out} steps left out; the trace has all)"));
        }
        if lines.len() <= most || rows <= 4 {
            return lines;
        }
        rows -= 1;
    }
}

fn side_by_side<'a>(
    steps: &[Step],
    tasks: &[usize],
    name: impl Fn(usize) -> &'a str,
) -> Vec<String> {
    let gaps = tasks.len().saturating_sub(1) * 2;
    let width = (WIDTH - 1 - gaps) / tasks.len().max(1);
    let row = |cells: Vec<String>| {
        let padded: Vec<String> = cells.iter().map(|c| format!("{c:<width$}")).collect();
        format!(" {}", padded.join("  ")).trim_end().to_owned()
    };
    let mut lines = vec![
        row(tasks.iter().map(|t| name(*t).to_owned()).collect()),
        row(tasks.iter().map(|_| "-".repeat(width)).collect()),
    ];
    for (number, step) in (1..).zip(steps) {
        let column = tasks.iter().position(|t| *t == step.task).unwrap_or(0);
        for (index, part) in wrapped(&step.words(), width - 3).into_iter().enumerate() {
            let head = if index == 0 { format!("{number:>2} ") } else { "   ".to_owned() };
            let mut cells = vec![String::new(); tasks.len()];
            cells[column] = head + &part;
            lines.push(row(cells));
        }
    }
    lines
}

fn one_below_the_other<'a>(steps: &[Step], name: impl Fn(usize) -> &'a str) -> Vec<String> {
    let who = steps.iter().map(|s| name(s.task).chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (number, step) in (1..).zip(steps) {
        for (index, part) in wrapped(&step.words(), WIDTH - who - 6).into_iter().enumerate() {
            let who = if index == 0 {
                format!("{number:>3} {:<who$}", name(step.task))
            } else {
                " ".repeat(who + 4)
            };
            lines.push(format!(" {who} {part}"));
        }
    }
    lines
}

/// Lines of at most so many columns, broken at spaces where there are some.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        loop {
            let line = lines.last_mut().expect("one line at least");
            let space = usize::from(!line.is_empty());
            if line.chars().count() + space + word.chars().count() <= width {
                if space == 1 {
                    line.push(' ');
                }
                line.push_str(&word);
                break;
            }
            if line.is_empty() {
                let rest = word.chars().skip(width).collect();
                *line = word.chars().take(width).collect();
                word = rest;
            }
            lines.push(String::new());
        }
    }
    lines
}

/// All steps, for the JSON document and the Chrome trace.
pub fn events(replay: &Replay) -> Vec<TimelineEvent> {
    let name = |task: usize| replay.tasks.get(task).cloned().unwrap_or_default();
    let steps = steps(&replay.trace);
    let numbered = steps.iter().zip(1..);
    numbered
        .map(|(step, number)| TimelineEvent {
            step: number,
            time_ns: None,
            task: name(step.task),
            cpu: None,
            label: step.point.map(|p| p.label().to_owned()),
            text: match step.point {
                Some(point) if step.text.is_empty() => point.name().to_owned(),
                Some(_) | None => step.text.clone(),
            },
            reason: step.is_finding,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(trace: Vec<Event>) -> Replay {
        Replay {
            findings: Vec::new(),
            outcomes: Vec::new(),
            preemptions: 1,
            switches: 2,
            hash: 0,
            trace,
            tasks: ["main", "A", "U"].map(str::to_owned).to_vec(),
            made: allocator_explore::explore::Schedule::default(),
            misfits: Vec::new(),
        }
    }

    fn event(task: usize, kind: EventKind) -> Event {
        Event { task, clock_ns: 0, kind }
    }

    fn did(task: usize, point: Point, text: &str) -> [Event; 2] {
        let label = point as u16;
        [
            event(task, EventKind::Step { label, text: text.to_owned() }),
            event(task, EventKind::Point { label }),
        ]
    }

    fn race() -> Replay {
        let mut trace = vec![event(0, EventKind::Note { text: "set up".to_owned() })];
        trace.extend(did(1, Point::D4Nodemask, "nodemask = {0} of the policy; mems {0}"));
        trace.extend(did(1, Point::B3FastZone, "fast path looks at node 0 Normal"));
        trace.extend(did(1, Point::S1Cookies, "cookies taken: cpuset 8, zonelist 0"));
        trace.push(event(1, EventKind::Preempted { to: 2 }));
        trace.extend(did(2, Point::T3aMemsWritten, "mems {0} -> {1} (task 2)"));
        trace.push(event(2, EventKind::Point { label: Point::T3cMmapLock as u16 }));
        trace.push(event(2, EventKind::Waits));
        for pass in 1..=3 {
            trace.extend(did(1, Point::S7Retry, &format!("retry, pass {pass}")));
            trace.extend(did(1, Point::S17Retry, &format!("should_reclaim_retry: yes, {pass}")));
        }
        trace.push(event(1, EventKind::Note { text: "FOUND premature-oom".to_owned() }));
        replay(trace)
    }

    #[test]
    fn a_race_stands_in_a_column_for_each_task() {
        let lines = columns(&race(), "premature-oom", 30);
        assert!(lines.iter().all(|l| l.chars().count() <= WIDTH), "{lines:#?}");
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn what_lies_far_from_switches_and_findings_goes_first() {
        let lines = columns(&race(), "premature-oom", 9).join("\n");
        assert!(lines.lines().count() <= 9, "{lines}");
        for kept in ["S1", "T3a", "FOUND", "left out"] {
            assert!(lines.contains(kept), "{kept} in\n{lines}");
        }
    }

    #[test]
    fn the_trace_has_every_step() {
        let events = events(&race());
        assert_eq!(events.iter().filter(|e| e.label.as_deref() == Some("S7")).count(), 3);
        assert!(events.iter().any(|e| e.label.as_deref() == Some("B3")));
        assert!(events.last().is_some_and(|e| e.reason && e.task == "A"));
    }

    #[test]
    fn more_tasks_than_columns_are_told_as_a_list() {
        let mut many = race();
        many.tasks.extend(["B".to_owned(), "C".to_owned()]);
        many.trace.extend(did(3, Point::S1Cookies, "cookies taken: cpuset 2, zonelist 0"));
        many.trace.extend(did(4, Point::S1Cookies, "cookies taken: cpuset 2, zonelist 0"));
        let lines = columns(&many, "lockup", 30);
        assert!(lines[0].starts_with("   1 A D4 nodemask"), "{lines:#?}");
    }

    #[test]
    fn long_words_break_and_short_ones_stay_whole() {
        assert_eq!(wrapped("ab cdefgh i", 4), ["ab", "cdef", "gh i"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
