//! A finding's timeline as swim lanes: a column for each task, time downwards.

use indexmap::IndexMap;

use crate::schema::Finding;

/// More columns than this are read by nobody; further tasks share the last one.
const MOST_LANES: usize = 6;

/// Steps that are shown: the last so many, and all from the first that is a reason.
const MOST_ROWS: usize = 48;

/// The table behind the lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lanes {
    /// Heads: task and CPU.
    pub(crate) heads: Vec<String>,
    /// Steps before the first that is shown.
    pub(crate) earlier: usize,
    /// Steps in order.
    pub(crate) rows: Vec<LaneRow>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaneRow {
    pub(crate) step: u32,
    pub(crate) time: String,
    pub(crate) reason: bool,
    /// One cell for each lane; only the task's own is filled.
    pub(crate) cells: Vec<Option<LaneCell>>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaneCell {
    pub(crate) label: String,
    pub(crate) text: String,
}

/// The lanes of a finding; none without events.
pub(crate) fn of(finding: &Finding) -> Option<Lanes> {
    let mut tasks: IndexMap<&str, Option<u32>> = IndexMap::new();
    for event in &finding.events {
        tasks.entry(&event.task).or_insert(event.cpu);
    }
    if tasks.is_empty() {
        return None;
    }
    let lanes = tasks.len().min(MOST_LANES);
    let shared = tasks.len() > MOST_LANES;
    let head = |(i, (task, cpu)): (usize, (&&str, &Option<u32>))| {
        if shared && i + 1 == lanes {
            format!("{} others", tasks.len() - lanes + 1)
        } else {
            cpu.map_or((*task).to_owned(), |cpu| format!("{task} (CPU {cpu})"))
        }
    };
    let heads = tasks.iter().enumerate().take(lanes).map(head).collect();
    let mut events: Vec<_> = finding.events.iter().collect();
    events.sort_by_key(|event| event.step);
    let reason = events.iter().position(|event| event.reason).unwrap_or(events.len());
    let earlier = events.len().saturating_sub(MOST_ROWS).min(reason);
    let rows = events[earlier..]
        .iter()
        .map(|event| {
            let index = tasks.get_index_of(event.task.as_str()).unwrap_or(0);
            let lane = index.min(lanes - 1);
            let whose = if shared && lane + 1 == lanes {
                format!("{}: ", event.task)
            } else {
                String::new()
            };
            let cell = LaneCell {
                label: event.label.clone().unwrap_or_default(),
                text: format!("{whose}{}", event.text),
            };
            LaneRow {
                step: event.step,
                time: event
                    .time_ns
                    .map_or(String::new(), |ns| format!("+{}", crate::format::ns(ns as f64))),
                reason: event.reason,
                cells: (0..lanes).map(|i| (i == lane).then(|| cell.clone())).collect(),
            }
        })
        .collect();
    Some(Lanes { heads, earlier, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use crate::schema::TimelineEvent;

    #[test]
    fn each_task_has_its_own_lane_in_order_of_steps() {
        let run = Sample { premature_rounds: 1, ..Sample::default() }.run();
        let lanes = of(&run.findings[0]).unwrap();
        assert_eq!(lanes.heads, ["task17 (CPU 1)", "task64 (CPU 0)"]);
        let filled: Vec<(u32, usize, bool)> = lanes
            .rows
            .iter()
            .map(|r| (r.step, r.cells.iter().position(Option::is_some).unwrap(), r.reason))
            .collect();
        assert_eq!(filled, [(1, 0, false), (2, 1, true), (3, 0, false), (4, 0, false)]);
    }

    #[test]
    fn of_many_steps_the_last_are_shown_and_no_reason_is_left_out() {
        let event = |i: u32, reason: bool| TimelineEvent {
            step: i,
            task: "t".into(),
            reason,
            ..TimelineEvent::default()
        };
        let of_steps = |reason: Option<u32>| {
            let events = (0..96).map(|i| event(i, Some(i) == reason)).collect();
            let lanes = of(&Finding { events, ..Finding::default() }).unwrap();
            (lanes.earlier, lanes.rows.len(), lanes.rows[0].step)
        };
        assert_eq!(of_steps(None), (48, 48, 48));
        assert_eq!(of_steps(Some(90)), (48, 48, 48));
        assert_eq!(of_steps(Some(10)), (10, 86, 10));
    }

    #[test]
    fn many_tasks_share_the_last_lane_by_name() {
        let event = |i: u32| TimelineEvent {
            step: 20 - i,
            task: format!("t{i}"),
            text: "x".into(),
            ..TimelineEvent::default()
        };
        let finding = Finding { events: (0..9).map(event).collect(), ..Finding::default() };
        let lanes = of(&finding).unwrap();
        assert_eq!((lanes.heads.len(), lanes.heads[5].as_str()), (6, "4 others"));
        assert_eq!(lanes.rows[0].cells[5].as_ref().unwrap().text, "t8: x");
        assert_eq!(of(&Finding::default()), None);
    }
}
