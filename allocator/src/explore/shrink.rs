//! Makes a found schedule simpler while it still shows the same kind of finding.
//!
//! **What.** Drops choices by halves, quarters, ... down to single ones; then looks for a schedule with
//! fewer preemptions by a bounded search below what is left, because lists that can lose no choice
//! singly are often not the shortest.

use std::ops::ControlFlow;

use super::schedule::{Schedule, replay};
use super::{Config, Scheduler, run};

/// Executions that the bounded search may take for each bound.
const SEARCH_LIMIT: u64 = 20_000;

/// The simplest schedule found that leads to a finding of the same kind; `schedule` itself if it no
/// longer does.
pub fn shrink(
    config: &Config,
    kind: &str,
    schedule: &Schedule,
    world: impl Fn() + Send + Sync + Clone + 'static,
) -> Schedule {
    // What was really made, and its preemptions, if the finding shows.
    let attempt = |schedule: &Schedule| {
        let told = replay(config, schedule, world.clone());
        let shows = told.findings.iter().any(|(found, _)| *found == kind);
        shows.then_some((told.made, told.preemptions))
    };
    let Some((mut best, mut preemptions)) = attempt(schedule) else {
        return schedule.clone();
    };
    let mut size = best.choices.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        let mut shrunk = false;
        while from < best.choices.len() {
            let to = (from + size).min(best.choices.len());
            let mut fewer = best.clone();
            fewer.choices.drain(from..to);
            match attempt(&fewer) {
                Some((made, used)) if made.choices.len() < best.choices.len() => {
                    (best, preemptions) = (made, used);
                    shrunk = true;
                }
                Some(_) | None => from = to,
            }
        }
        if size == 1 && !shrunk {
            break;
        }
        size = if size == 1 { 1 } else { size.div_ceil(2) };
    }
    if preemptions == 0 {
        return best;
    }
    let below = Config {
        scheduler: Scheduler::Bounded { preemptions: preemptions - 1 },
        max_schedules: SEARCH_LIMIT,
        shrink: false,
        ..*config
    };
    let report = run(&below, |_| ControlFlow::Continue(()), world);
    report.find(kind).map_or(best, |find| find.schedule.clone())
}
