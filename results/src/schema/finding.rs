//! What the oracle found, with its evidence.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One finding. The story is told by `report` and `events`; `replay` does it again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Number in this run, from 1; the files `finding-N.*` beside the record go by it.
    pub number: u32,
    /// `premature-oom`, `premature-failure`, `extra-victim`, `use-after-free`, `lockup`, `panic`,
    /// `conservation`, `reserves`, `isolation`, `spurious-ebusy`, `misplaced-page` ...
    pub kind: String,
    /// How sure the verdict is; null where the kind knows no grades.
    pub class: Option<Class>,
    /// Whether it counts for the exit code (transient and time-scaled verdicts do not).
    pub counts: bool,
    /// One line: what happened.
    pub title: String,
    /// Index in `rounds`; null if it happened outside a round.
    pub round: Option<u32>,
    /// Seconds since that round's measured phase began.
    pub time_s: f64,
    /// The task that is wronged or wrong; null if it is none in particular.
    pub task: Option<String>,
    /// The report in the kernel's own form, line by line, 72 columns.
    pub report: String,
    /// What the decision was made from, by name (nodemask, mems_allowed, constraint, sequence ...).
    pub evidence: IndexMap<String, String>,
    /// The last events of the tasks involved, merged in order.
    pub events: Vec<TimelineEvent>,
    /// Why it happened, in a sentence or two; null if the tool can't tell.
    pub why: Option<String>,
    /// The variant that excludes it and how that is known; null if none is known.
    pub excluded_by: Option<String>,
    /// Command line that does it again; null if it can't be replayed.
    pub replay: Option<String>,
    /// What shrinking left over (`2 tasks, 7 steps (from 64 tasks, 18,402 steps)`); null without.
    pub smaller: Option<String>,
}

/// How sure a verdict is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It holds at every look since the last retry began.
    Definite,
    /// It holds at the moment of the decision only.
    Transient,
}

/// A finding in brief, where the full one stands elsewhere in the record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindingRef {
    /// Its number in the record's `findings`.
    pub number: u32,
    /// Its kind.
    pub kind: String,
    /// How sure the verdict is.
    pub class: Option<Class>,
    /// Seconds since its round's measured phase began.
    pub time_s: f64,
    /// One line: what happened.
    pub title: String,
}

/// One step of a timeline: one box of its swim lane.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEvent {
    /// Place in the merged order, from 1.
    pub step: u32,
    /// Nanoseconds since the first event; null under exploration, where time is virtual.
    pub time_ns: Option<u64>,
    /// Task or thread (`task17`, `kswapd0`, `oom_reaper`).
    pub task: String,
    /// Model CPU that it ran on; null if unknown.
    pub cpu: Option<u32>,
    /// Label of the step in the fact sheet (`T3a`, `S19a`); null if it has none.
    pub label: Option<String>,
    /// What happened, in kernel terms; lines are kept.
    pub text: String,
    /// Whether this step is the reason for the finding.
    pub reason: bool,
}

impl Finding {
    /// The finding in brief.
    #[must_use]
    pub fn brief(&self) -> FindingRef {
        FindingRef {
            number: self.number,
            kind: self.kind.clone(),
            class: self.class,
            time_s: self.time_s,
            title: self.title.clone(),
        }
    }
}
