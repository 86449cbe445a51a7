//! The types of the run record, version 1.
//!
//! What: one JSON document for each variant of a run ([`Run`]), or several with their comparison
//! ([`RunSet`], what `--format json` prints for two or more variants).
//! Why: results outlive the tool. Names are stable, units stand in the key (`_ns`, `_s`,
//! `_bytes`, `_per_s`, `_pages`), numbers are numbers, and every key is always there: `null`
//! means unknown, an absent key means a damaged or foreign file.
//! Source: `results/SCHEMA.md` is the contract, `results/run.schema.json` is generated from here.
//! Differs: readers accept keys that they don't know, so that a later 1.x may add some; a change
//! of meaning raises [`VERSION`], and then older tools refuse the file.

mod comparison;
mod finding;
mod host;
mod machine;
mod oom;
mod ops;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use comparison::{
    Comparison, CountRow, CountSide, Difference, GateOutcome, Interval, MetricRow, MetricSide,
    RunSide, Summary, Verdict,
};
pub use finding::{Class, Finding, FindingRef, TimelineEvent};
pub use host::{Host, HostNode, Load, Mitigation, Pressure};
pub use machine::{Machine, MachineNode, MachineZone};
pub use oom::{ByClass, Oom, Premature, Reserves, SlowPath, ZoneLow};
pub use ops::{Figure, LatencyNs, Op, Window};

/// The version of the record that this build writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// One variant of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Version of the record's format; 1.
    pub schema: u32,
    /// Name of this record, unique over runs, variants and machines: history and merge go by it.
    pub run_id: String,
    /// Shared by the variants that were interleaved in one run, so that their rounds pair up;
    /// equal to `run_id` when there was one variant.
    pub session: String,
    /// The tool that wrote the record.
    pub tool: Tool,
    /// The whole command line, one argument each.
    pub command_line: Vec<String>,
    /// Wall-clock start, RFC 3339 in UTC.
    pub started: String,
    /// The machine that ran it.
    pub host: Host,
    /// The machine that was modelled.
    pub machine: Machine,
    /// Workload name.
    pub workload: String,
    /// The workload's own options that were in force, defaults included, as text.
    pub options: IndexMap<String, String>,
    /// The policy under test.
    pub variant: Variant,
    /// Tasks of the workload (`--threads`).
    pub threads: u32,
    /// Seed of every random choice.
    pub seed: u64,
    /// What was measured and what only warmed up.
    pub phases: Phases,
    /// The clock that took the latencies, and what it costs.
    pub clock: Clock,
    /// Operations by name, in the workload's order, over all whole rounds.
    pub ops: IndexMap<String, Op>,
    /// The slow path of the page allocator.
    pub slow_path: SlowPath,
    /// The OOM killer and the oracle's verdict on it.
    pub oom: Oom,
    /// How deep the reserves were dug.
    pub reserves: Reserves,
    /// Counters under the kernel's names, as at the end of the last round.
    pub vmstat: IndexMap<String, i64>,
    /// Figures of the workload that are neither operations nor kernel counters.
    pub figures: IndexMap<String, Figure>,
    /// Race points by name: how often passed, how long the window was.
    pub windows: IndexMap<String, Window>,
    /// Model beside a real kernel, figure by figure; null unless the workload has a real twin.
    pub fidelity: Option<Fidelity>,
    /// What the oracle checked, and what did not hold.
    pub invariants: Invariants,
    /// Everything the oracle found, in order of time, with its evidence.
    pub findings: Vec<Finding>,
    /// Finished rounds in order; when interrupted, an unfinished last one is marked so.
    pub rounds: Vec<Round>,
    /// Rounds that were planned.
    pub planned_rounds: u32,
    /// Figures by which the workload's variants are told apart, as `fault.mid_ns`; empty in records of
    /// earlier versions, where all are.
    #[serde(default)]
    pub primary: Vec<String>,
    /// Whether a signal, a time limit or `--stop-on-finding` ended the run before its time.
    pub interrupted: bool,
    /// What ended it before its time; null if nothing did, and in records of earlier versions.
    #[serde(default)]
    pub ended_by: Option<EndedBy>,
    /// What the run wants its reader to know, one line each (turbo is on, a node was made ...).
    pub notes: Vec<String>,
    /// Exit code that this variant alone would have given.
    pub exit: i32,
    /// Runs that were merged into this one, by `run_id`; empty for a run as it was measured.
    #[serde(default)]
    pub merged_from: Vec<String>,
}

/// What ended a run before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// A signal: Ctrl-C, a time limit, a lost connection.
    Signal,
    /// `--stop-on-finding`.
    Finding,
    /// Threads that could not be ended.
    Wedged,
}

/// Several variants of one run and their comparison: what `--format json` prints for them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunSet {
    /// Version of the record's format; 1.
    pub schema: u32,
    /// One record for each variant, in the order of the command line; the first is the base.
    pub runs: Vec<Run>,
    /// The base against each other variant; null if there is one variant only.
    pub comparison: Option<Vec<Comparison>>,
}

/// The tool that wrote a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `stress`.
    pub name: String,
    /// Version of the package.
    pub version: String,
    /// Commit that it was built from, with `-dirty` if the tree had changes; null outside git.
    pub git: Option<String>,
    /// Compiler release; null if unknown.
    pub compiler: Option<String>,
    /// Build profile (`release`, `verify`, `dev`); null if unknown.
    pub profile: Option<String>,
}

/// The policy under test, as resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Variant {
    /// The specification as the user wrote it: `v4.11`, `mainline,exit=mm-users`.
    pub name: String,
    /// The release that gives all facts which are no axis.
    pub release: String,
    /// The choice on every axis.
    pub axes: IndexMap<String, String>,
}

/// How long the phases took, in seconds of wall time, summed over rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Phases {
    /// Warm-up, which no figure contains.
    pub warmup_s: f64,
    /// Measured time.
    pub measured_s: f64,
}

/// The clock that took the latencies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// `tsc`, or the fallback that was used.
    pub source: String,
    /// Smallest step that the clock was seen to make; null if not measured.
    pub step_ns: Option<f64>,
    /// Cost of one reading; null if not measured.
    pub read_ns: Option<f64>,
    /// Cost of recording one sample, readings included; null if not measured.
    pub record_ns: Option<f64>,
    /// Factor by which model time ran faster than wall time (`--time-scale`).
    pub time_scale: f64,
}

/// The model held against a real kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fidelity {
    /// Where the kernel's figures come from (trace, dump, kernel release).
    pub source: String,
    /// One row for each figure.
    pub rows: Vec<FidelityRow>,
}

/// One figure of the model beside the kernel's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FidelityRow {
    /// What is compared, with its unit.
    pub figure: String,
    /// The kernel's value; null if the trace does not say.
    pub kernel: Option<f64>,
    /// The model's value.
    pub model: Option<f64>,
    /// Largest relative difference that counts as equal (0.1 is 10 %); null for information only.
    pub tolerance: Option<f64>,
    /// How well defined the figure is: `E`, `S`, `U` or `P` as the traces' README says.
    pub defined: Option<String>,
    /// Why a row outside its band is right after all, or what the figure leaves out.
    pub reason: Option<String>,
}

/// What the oracle checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invariants {
    /// Number of checks made.
    pub checked: u64,
    /// The invariants that did not hold.
    pub violated: Vec<Violation>,
}

/// One invariant that did not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// Name of the invariant (`conservation`, `reserves`, `isolation` ...).
    pub name: String,
    /// The values that disagree.
    pub detail: String,
    /// Number of the finding that carries the evidence; null if it has none.
    pub finding: Option<u32>,
}

/// One round of one variant: the sample that comparisons are made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Round {
    /// Place in the whole session, counted over all variants: A B B A gives A 0, 3 and B 1, 2.
    pub order: u32,
    /// Seconds from the session's start to the start of its measured phase.
    pub start_s: f64,
    /// Measured seconds.
    pub measured_s: f64,
    /// CPU time that the tasks used in the measured phase; null if unknown.
    pub cpu_s: Option<f64>,
    /// Whether the round ran to its end; one that did not is left out of every test.
    pub complete: bool,
    /// Operations by name; `hdr` is null here as a rule, to keep files small.
    pub ops: IndexMap<String, Op>,
    /// The OOM killer; `findings` here holds those of this round.
    pub oom: Oom,
    /// The slow path.
    pub slow_path: SlowPath,
    /// Figures of the workload.
    pub figures: IndexMap<String, Figure>,
    /// Seconds from the round's start to its first finding; null if there was none.
    pub first_finding_s: Option<f64>,
}

impl Run {
    /// Whether rounds ended and not one operation did in any of them: whatever was asked of the run,
    /// What ended it before its time, in words; None if nothing did.
    #[must_use]
    pub fn cut_short(&self) -> Option<&'static str> {
        self.interrupted.then_some(match self.ended_by {
            Some(EndedBy::Finding) => "ended by a finding",
            Some(EndedBy::Wedged) => "ended by threads that hang",
            Some(EndedBy::Signal) | None => "interrupted",
        })
    }

    /// it does not know.
    #[must_use]
    pub fn measured_nothing(&self) -> bool {
        let mut rounds = self.whole_rounds().peekable();
        rounds.peek().is_some() && rounds.all(|r| r.ops.values().all(|op| op.count == 0))
    }

    /// Rounds that ran to their end: the only ones that a test or a gate looks at.
    pub fn whole_rounds(&self) -> impl Iterator<Item = &Round> {
        self.rounds.iter().filter(|round| round.complete)
    }

    /// The findings that count as readers want them: the first of each kind before the second of any.
    #[must_use]
    pub fn findings_by_weight(&self) -> Vec<&Finding> {
        let mut seen: IndexMap<&str, u32> = IndexMap::new();
        let mut ranked: Vec<(u32, &Finding)> = Vec::new();
        for finding in self.findings.iter().filter(|f| f.counts) {
            let rank = seen.entry(&finding.kind).or_default();
            ranked.push((*rank, finding));
            *rank += 1;
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, finding)| finding).collect()
    }

    /// Examples kept of what was seen and is no finding, by kind.
    #[must_use]
    pub fn seen_by_kind(&self) -> IndexMap<&str, usize> {
        let mut kinds = IndexMap::new();
        for finding in self.findings.iter().filter(|f| !f.counts) {
            *kinds.entry(finding.kind.as_str()).or_default() += 1;
        }
        kinds
    }

    /// How a reader recognises the run in one line.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}/{}", self.workload, self.variant.name)
    }
}

/// The JSON Schema of everything that [`crate::store::load`] accepts, as pretty JSON.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    let generator =
        schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Document>();
    schema.insert("title".into(), "mm-stress run record".into());
    schema.to_value()
}

/// One record, or several with their comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "read once and taken apart at once")]
pub enum Document {
    /// Several variants.
    Set(RunSet),
    /// One variant.
    One(Run),
}

#[cfg(test)]
mod tests;
