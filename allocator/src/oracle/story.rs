//! Tells a finding: who did what last, merged into one timeline.

use crate::kernel::Kernel;
use crate::oracle::finding::{Finding, FindingKind, TimelineEvent};
use crate::task::{Cx, Task};

impl Kernel {
    /// Counts a finding and keeps it whole, with the last events of the task itself.
    pub fn find(&self, cx: &Cx, kind: FindingKind, title: &str, report: &[String]) {
        if !self.findings.count(kind) {
            return;
        }
        let mut timeline = events_of(&cx.task);
        timeline.sort_by_key(|e| e.stamp);
        self.findings.keep(Finding {
            kind,
            at: self.clock.now(),
            pid: cx.task.pid,
            title: title.to_owned(),
            report: report.to_vec(),
            timeline,
            scaled: !self.clock.is_real_time(),
        });
    }
}

fn events_of(task: &Task) -> Vec<TimelineEvent> {
    let cpu = task.cpu.load(crate::sync::atomic::Ordering::Relaxed) as u16;
    task.events
        .events()
        .iter()
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
