//! Tells a finding: who did what last, merged into one timeline.
//!
//! **What.** The events of the task that the finding happened to, from the moment on when its
//! request entered the slow path, and what every other task did in that window.
//!
//! **Differs.** A task whose ring has wrapped since contributes what is left.

use crate::kernel::Kernel;
use crate::oracle::finding::{Finding, FindingKind, TimelineEvent};
use crate::race::Point;
use crate::sync::Stamp;
use crate::sync::atomic::Ordering;
use crate::task::{Cx, Task};

/// Lines of a story: the last ones, if there are more; half of them are the requester's.
const STORY_LINES: usize = 96;
/// Lines of the requester before its window, so that the story says how it came here.
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
        let since = cx.request.borrow().since;
        let mut own = events_of(&cx.task, 0, kind);
        let before = own.iter().filter(|e| e.stamp < since).count();
        own.drain(..before.saturating_sub(LINES_BEFORE));
        // What made the fast path fail happened before the slow path was entered.
        let since = own.first().map_or(since, |e| e.stamp.min(since));
        own.drain(..own.len().saturating_sub(STORY_LINES / 2));
        let mut others = Vec::new();
        for process in self.tasks.snapshot().into_iter().chain(self.tasks.kthreads()) {
            let threads = process.threads.lock().clone();
            for thread in threads.iter().filter(|t| t.pid != cx.task.pid) {
                others.extend(events_of(thread, since, kind));
            }
        }
        others.retain(|e| matters_of_others(kind, e.label));
        others.sort_by_key(|e| e.stamp);
        others.drain(..others.len().saturating_sub(STORY_LINES - own.len()));
        own.extend(others);
        own.sort_by_key(|e| e.stamp);
        own
    }
}

/// Is a step of another task part of the story? Whether a zone could have served a request hangs on
/// who changed masks, zonelists and zones and who killed, not on other tasks' faults and unmaps.
fn matters_of_others(kind: FindingKind, label: &str) -> bool {
    let is_about_zones = matches!(
        kind,
        FindingKind::PrematureOom
            | FindingKind::TransientOom
            | FindingKind::Drift
            | FindingKind::PrematureFailure
    );
    !is_about_zones || label.starts_with(['T', 'W', 'Z', 'L', 'I', 'G', 'O', 'X', 'V', 'R'])
}

/// What a task did since, without what tells nothing about this kind of finding.
fn events_of(task: &Task, since: Stamp, kind: FindingKind) -> Vec<TimelineEvent> {
    let is_about_frames = matches!(
        kind,
        FindingKind::IsolatedHandedOut
            | FindingKind::StrayPage
            | FindingKind::SpuriousEbusy
            | FindingKind::Conservation
    );
    let cpu = task.cpu.load(Ordering::Relaxed) as u16;
    task.events
        .events()
        .iter()
        .filter(|e| e.stamp >= since && (is_about_frames || !is_noise(e.point)))
        .map(|e| TimelineEvent {
            stamp: e.stamp,
            pid: task.pid,
            comm: task.process.comm.clone(),
            cpu,
            label: e.point.label(),
            point: e.point.name(),
            text: e.describe(),
        })
        .collect()
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
