//! Timelines as Chrome trace events, which Perfetto and chrome://tracing open.

use results::schema::TimelineEvent;
use serde_json::{Value, json};

/// A document of instant events, one track for each task; `time_ns` counts from the first.
pub fn document<'a>(events: impl IntoIterator<Item = &'a TimelineEvent>) -> Value {
    let mut tracks: Vec<&str> = Vec::new();
    let mut all: Vec<Value> = Vec::new();
    for event in events {
        let track = tracks.iter().position(|t| *t == event.task).unwrap_or_else(|| {
            tracks.push(&event.task);
            tracks.len() - 1
        });
        all.push(json!({
            "name": format!("{} {}", event.label.as_deref().unwrap_or("-"), event.text),
            "ph": "i",
            "s": "t",
            "ts": event.time_ns.unwrap_or(u64::from(event.step) * 1000) as f64 / 1000.0,
            "pid": 1,
            "tid": track + 1,
            "args": { "step": event.step, "cpu": event.cpu, "reason": event.reason },
        }));
    }
    let named = tracks.iter().enumerate().map(|(i, name)| {
        json!({
            "name": "thread_name",
            "ph": "M",
            "pid": 1,
            "tid": i + 1,
            "args": { "name": name },
        })
    });
    let trace: Vec<Value> = named.chain(all).collect();
    json!({ "traceEvents": trace, "displayTimeUnit": "ns" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_is_a_track_of_its_own() {
        let event = |step, task: &str| TimelineEvent {
            step,
            time_ns: Some(u64::from(step) * 1500),
            task: task.to_owned(),
            cpu: Some(1),
            label: Some("T3a".to_owned()),
            text: "mems {0} -> {1}".to_owned(),
            reason: step == 2,
        };
        let events = [event(1, "hog/17"), event(2, "writer/1"), event(3, "hog/17")];
        let trace = document(&events);
        let all = trace["traceEvents"].as_array().unwrap();
        assert_eq!(all.len(), 5);
        assert_eq!(all[0]["args"]["name"], "hog/17");
        assert_eq!(all[4]["tid"], all[0]["tid"]);
        assert_eq!(all[3]["name"], "T3a mems {0} -> {1}");
        assert_eq!(all[3]["ts"], 3.0);
        assert_eq!(all[3]["args"]["reason"], true);
    }
}
