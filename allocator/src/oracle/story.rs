//! Tells a finding: who did what last, merged into one timeline.
//!
//! **What.** The events of the task that the finding happened to, from the moment on when its
//! request entered the slow path, and what every other task did to it in that window.
//!
//! **Differs.** A task whose ring has wrapped since contributes what is left. What D.4 saw carries
//! no time in the default copy (a clock reading there would cost every fault): its place is just
//! before the first write that it did not see.

use crate::oracle::finding::{Finding, FindingKind, TimelineEvent};
use crate::oracle::fold::{Stretch, fold, without_numbers};
use crate::race::Point;
use crate::race::timeline::Event;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Task};
use crate::sync::{Arc, Stamp};

/// Lines of a story: the last ones, if there are more; half of them are the requester's.
const STORY_LINES: usize = 96;
/// Lines of the requester before its window, where the window does not explain itself.
const LINES_BEFORE: usize = 8;

impl Kernel {
    /// Counts a finding and keeps it whole, with its timeline.
    pub fn find(&self, cx: &Cx, kind: FindingKind, title: &str, report: &[String]) {
        self.find_with(cx, kind, title, || report.to_vec());
    }

    /// As [`Kernel::find`]; the report is built only if the finding is kept.
    pub fn find_with(
        &self,
        cx: &Cx,
        kind: FindingKind,
        title: &str,
        report: impl FnOnce() -> Vec<String>,
    ) {
        #[cfg(feature = "explore")]
        crate::explore::note(|| format!("FOUND {}: {title}", kind.word()));
        if !self.findings.count(kind) {
            return;
        }
        self.findings.keep(Finding {
            kind,
            at: self.clock.now(),
            pid: cx.task.pid,
            title: title.to_owned(),
            report: report(),
            timeline: self.story(cx, kind),
            scaled: !self.clock.is_real_time(),
        });
    }

    /// The merged timeline of the request in progress: half of the room is the requester's own.
    fn story(&self, cx: &Cx, kind: FindingKind) -> Vec<TimelineEvent> {
        let mut own = events_of(&cx.task, kind);
        let request = own.partition_point(|e| e.stamp < cx.request.borrow().since);
        let before = if is_about_zones(kind) { 0 } else { LINES_BEFORE };
        own.drain(..request.saturating_sub(before));
        // A try: the story must be told whatever the finder holds.
        let mm =
            cx.task.alloc_lock.try_lock().and_then(|l| l.mm.as_ref().map(|mm| u64::from(mm.id)));
        let mut others: Vec<(Arc<Task>, Event)> = Vec::new();
        for thread in self.tasks.all_threads().into_iter().filter(|t| t.pid != cx.task.pid) {
            let events = events_of(&thread, kind).into_iter();
            let matters = events.filter(|e| matters_to(cx.task.pid, mm, kind, e));
            others.extend(matters.map(|e| (Arc::clone(&thread), e)));
        }
        others.sort_by_key(|(_, e)| e.stamp);
        let reasons = place_what_was_seen(&mut own, others.iter().map(|(_, e)| e));
        if let Some(since) = own.iter().map(|e| e.stamp).min() {
            // The write of cpuset.mems that the window's steps belong to began before it.
            let begun =
                others.iter().rposition(|(_, e)| e.stamp < since && e.point == Point::W5Mems);
            let mut n = 0;
            others.retain(|(_, e)| {
                n += 1;
                e.stamp >= since || Some(n - 1) == begun
            });
        }
        let mut story = folded(&cx.task, &own);
        story.drain(..story.len().saturating_sub(STORY_LINES / 2));
        others.drain(..others.len().saturating_sub(STORY_LINES - story.len()));
        story.extend(others.iter().map(|(task, event)| TimelineEvent {
            reason: reasons.contains(&event.stamp),
            ..TimelineEvent::of(task, event)
        }));
        story.sort_by_key(|e| e.stamp);
        story
    }
}

/// Findings that hang on which zones a request could use.
fn is_about_zones(kind: FindingKind) -> bool {
    matches!(
        kind,
        FindingKind::PrematureOom
            | FindingKind::TransientOom
            | FindingKind::Drift
            | FindingKind::PrematureFailure
    )
}

/// Is a step of another task part of the story? Whether a zone could have served a request hangs on
/// who changed the requester's masks, zonelists and zones and who killed, not on other tasks' faults
/// and unmaps, nor on the rebinding of other tasks.
fn matters_to(pid: u32, mm: Option<u64>, kind: FindingKind, event: &Event) -> bool {
    let about = event.args[2];
    #[expect(clippy::wildcard_enum_match_arm, reason = "three groups of points out of all")]
    match event.point {
        _ if !is_about_zones(kind) => true,
        Point::T3aMemsOr | Point::T3aMemsWritten | Point::T3aPolicyWritten => {
            about == u64::from(pid)
        }
        Point::T3cMmapLock | Point::T3cVmaRebound | Point::T3cDone => Some(about) == mm,
        point => point.label().starts_with(['T', 'W', 'Z', 'L', 'I', 'G', 'O', 'X', 'V', 'R']),
    }
}

/// Moves what D.4 saw, which is noted at S1 only, before the write of mems that it did not see; gives
/// the stamps of that write's steps, which are the reason of what follows.
fn place_what_was_seen<'e>(
    own: &mut [Event],
    others: impl Iterator<Item = &'e Event>,
) -> Vec<Stamp> {
    let Some(at) = own.iter().rposition(|e| e.point == Point::D4Nodemask) else {
        return Vec::new();
    };
    let (seen, noted) = (own[at].args[1], own[at].stamp);
    let earliest = if at == 0 { 0 } else { own[at - 1].stamp };
    let mut steps = Vec::new();
    for event in others.filter(|e| e.stamp > earliest && e.stamp <= noted) {
        let [from, to, _] = event.args;
        let is_written = event.point == Point::T3aMemsWritten;
        if to == seen {
            continue;
        }
        if event.point == Point::T3aMemsOr && from == seen || is_written && from | to == seen {
            steps = vec![event.stamp];
        } else if is_written && from == seen {
            steps.push(event.stamp);
        }
    }
    if let Some(first) = steps.first() {
        own[at].stamp = first - 1;
    }
    steps
}

/// The requester's lines, with equal rounds of a loop told once.
fn folded(task: &Task, own: &[Event]) -> Vec<TimelineEvent> {
    let lines: Vec<TimelineEvent> =
        own.iter().map(|event| TimelineEvent::of(task, event)).collect();
    let keys: Vec<String> =
        lines.iter().map(|l| format!("{} {}", l.point, without_numbers(&l.text))).collect();
    let mut told = Vec::new();
    for stretch in fold(&keys) {
        match stretch {
            Stretch::Steps(from, to) => told.extend_from_slice(&lines[from..to]),
            Stretch::Rounds { from, rounds, steps } => {
                let labels: Vec<&str> = lines[from..from + steps].iter().map(|l| l.label).collect();
                let text = format!("to {} alike, {rounds} times more", labels[steps - 1]);
                told.push(TimelineEvent { text, ..lines[from].clone() });
            }
        }
    }
    told
}

/// What a task did, oldest first, without what tells nothing about this kind of finding.
fn events_of(task: &Task, kind: FindingKind) -> Vec<Event> {
    let is_about_frames = matches!(
        kind,
        FindingKind::IsolatedHandedOut
            | FindingKind::StrayPage
            | FindingKind::SpuriousEbusy
            | FindingKind::Conservation
    );
    let mut events = task.events.events();
    events.retain(|e| is_about_frames || !is_noise(e.point));
    events
}

/// Points that each allocation and free passes: they would fill the story of a kill.
fn is_noise(point: Point) -> bool {
    matches!(
        point,
        Point::B3FastZone
            | Point::B3CpusetWord
            | Point::P1Type
            | Point::P2Enter
            | Point::P4Add
            | Point::P4Count
            | Point::P5Leave
            | Point::PrTaken
            | Point::PrFree
            | Point::D3Count
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(stamp: Stamp, point: Point, args: [u64; 3]) -> Event {
        Event { stamp, number: stamp, point, args }
    }

    #[test]
    fn what_was_seen_stands_before_the_write_that_it_missed() {
        let mut own = [
            event(50, Point::S22Fail, [0; 3]),
            event(100, Point::D4Nodemask, [0b1, 0b1, 0]),
            event(101, Point::S1Cookies, [8, 0, 0]),
        ];
        let others = [
            event(60, Point::T3aMemsOr, [0b10, 0b1, 7]),
            event(61, Point::T3aMemsWritten, [0b10, 0b1, 7]),
            event(80, Point::T3aMemsOr, [0b1, 0b10, 7]),
            event(81, Point::T3aMemsWritten, [0b1, 0b10, 7]),
        ];
        assert_eq!(place_what_was_seen(&mut own, others.iter()), [80, 81]);
        assert_eq!(own[1].stamp, 79);
    }

    #[test]
    fn without_a_write_in_the_window_it_stays_where_it_was_noted() {
        let mut own = [event(100, Point::D4Nodemask, [0b1, 0b1, 0])];
        let others = [event(200, Point::T3aMemsWritten, [0b1, 0b10, 7])];
        assert!(place_what_was_seen(&mut own, others.iter()).is_empty());
        assert_eq!(own[0].stamp, 100);
    }
}
