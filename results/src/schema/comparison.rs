//! The outcome of a comparison, as it stands in JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One base against one other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// What is compared with.
    pub base: RunSide,
    /// What is compared.
    pub new: RunSide,
    /// Whether the rounds of both were interleaved in one session (then they pair by position).
    pub interleaved: bool,
    /// Pairs of rounds that the tests stand on.
    pub pairs: u32,
    /// Seed of the bootstrap, and of the random signs above 12 pairs.
    pub seed: u64,
    /// Outcome over all gates.
    pub verdict: Verdict,
    /// What differs although it should not, and was compared by force.
    pub forced: Vec<Difference>,
    /// What differs and may (kernel release, tool build), and other remarks.
    pub notes: Vec<String>,
    /// Figures that are samples, one for each round.
    pub metrics: Vec<MetricRow>,
    /// Geometric mean over the rates; null without rates.
    pub rates: Option<Summary>,
    /// Findings and other events that are counted.
    pub counts: Vec<CountRow>,
}

/// One side of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunSide {
    /// Column head: the variant, or the file when the variants are equal.
    pub label: String,
    /// Records by id.
    pub run_ids: Vec<String>,
    /// Workload.
    pub workload: String,
    /// Variant.
    pub variant: String,
    /// Tasks.
    pub threads: u32,
    /// Host name.
    pub host: String,
    /// Kernel release of the host.
    pub kernel: String,
    /// Seed.
    pub seed: u64,
    /// Whole rounds.
    pub rounds: u32,
}

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No gate was given, or all held.
    Ok,
    /// Past a gate, but its interval is not wholly past it: measure more rounds.
    Suspect,
    /// Wholly past a gate.
    Fail,
    /// Fewer than 6 pairs: no test can tell.
    TooFewRounds,
    /// Within the clock's step of a gate's limit: no number of rounds can tell.
    BelowClock,
    /// A side was interrupted: nothing is judged.
    Interrupted,
}

/// What became of a gate. Every rendering takes its word and the exit code from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateOutcome {
    /// Not past its limit.
    Held,
    /// Past its limit, for sure.
    Failed,
    /// Past its limit, but not for sure: more rounds may tell.
    Suspect,
    /// Nothing can be said, because of this.
    NotJudged(&'static str),
}

impl Verdict {
    /// The outcome that stands behind it.
    #[must_use]
    pub fn outcome(self) -> GateOutcome {
        match self {
            Self::Ok => GateOutcome::Held,
            Self::Fail => GateOutcome::Failed,
            Self::Suspect => GateOutcome::Suspect,
            Self::TooFewRounds => GateOutcome::NotJudged("too few rounds"),
            Self::BelowClock => GateOutcome::NotJudged("less than the clock can tell"),
            Self::Interrupted => GateOutcome::NotJudged("a run was interrupted"),
        }
    }
}

impl GateOutcome {
    /// The word for it, the same in every rendering.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed => "FAIL",
            Self::Suspect => "suspect",
            Self::NotJudged(_) => "not judged",
        }
    }

    /// Word and reason.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::NotJudged(why) => format!("not judged ({why})"),
            Self::Held | Self::Failed | Self::Suspect => self.word().to_owned(),
        }
    }

    /// The exit code that it asks for: 0; 5 if it failed; 6 if nobody knows.
    #[must_use]
    pub fn exit(self) -> i32 {
        match self {
            Self::Held => 0,
            Self::Failed => 5,
            Self::Suspect | Self::NotJudged(_) => 6,
        }
    }
}

/// A key that differs between the sides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Path in the record (`host.cpus`).
    pub key: String,
    /// Base's value.
    pub base: String,
    /// The other's value.
    pub new: String,
}

/// Bounds of an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// One figure compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricRow {
    /// `OP.FIGURE` (`alloc.p99_ns`), as gates name it.
    pub name: String,
    /// Which way is better: `lower` or `higher`; null if neither.
    pub better: Option<String>,
    /// Base's rounds.
    pub base: MetricSide,
    /// The other's rounds.
    pub new: MetricSide,
    /// Geometric mean of the paired ratios, less 1, in percent; null if no pair has both values.
    pub change_percent: Option<f64>,
    /// 95 % bootstrap interval of the same; null under 6 pairs.
    pub interval_percent: Option<Interval>,
    /// Two-sided p of the sign-flip test, as computed; null under 6 pairs.
    pub p: Option<f64>,
    /// The same after Holm over the family (the gated figures, or all if none is); null as `p`.
    pub p_holm: Option<f64>,
    /// Whether `p_holm` is below 0.05.
    pub significant: bool,
    /// Whether the difference is below what the clock can tell.
    pub below_clock: bool,
    /// The gate on this figure, as it was given; null without.
    pub gate: Option<String>,
    /// How that gate ended; null without.
    pub verdict: Option<Verdict>,
}

/// One figure on one side.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSide {
    /// Arithmetic mean over rounds; null without samples.
    pub mean: Option<f64>,
    /// Standard deviation in percent of the mean; null under 2 samples.
    pub stddev_percent: Option<f64>,
    /// The samples, one for each whole round that has the figure.
    pub samples: Vec<f64>,
}

/// Several figures in one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Figures in it.
    pub figures: u32,
    /// Geometric mean of the ratios, less 1, in percent.
    pub change_percent: f64,
    /// 95 % bootstrap interval; null under 6 pairs.
    pub interval_percent: Option<Interval>,
}

/// Events that are counted: how often on each side, and what that is worth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CountRow {
    /// Name (`premature_oom.rounds`).
    pub name: String,
    /// What one attempt is (`round`, `slow-path entry`).
    pub attempt: String,
    /// Base.
    pub base: CountSide,
    /// The other.
    pub new: CountSide,
}

/// Events in attempts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CountSide {
    /// Events.
    pub events: u64,
    /// Attempts; 0 if they were not counted.
    pub attempts: u64,
    /// 95 % Clopper-Pearson interval of the rate; null without attempts.
    pub interval: Option<Interval>,
}
