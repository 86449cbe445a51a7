//! Operations and their latencies, race windows, and a workload's own figures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One kind of operation: how many, how fast, how long each took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Op {
    /// Name for people (`cpuset.mems write`); the key is the name for gates and scripts.
    pub label: String,
    /// Operations done.
    pub count: u64,
    /// Operations per second of measured wall time.
    pub rate_per_s: f64,
    /// Operations per second of CPU time, which a shared host disturbs least; null if unknown.
    pub rate_per_cpu_s: Option<f64>,
    /// Latency; null if this operation is counted only.
    pub latency_ns: Option<LatencyNs>,
    /// The histogram in nanoseconds: base64 of HdrHistogram's V2 format, deflated.
    pub hdr: Option<String>,
    /// Samples during which the host is known to have descheduled the thread: not in `hdr`.
    pub preempted: u64,
    /// Histogram of the preempted samples; null if there were none or none was kept.
    pub preempted_hdr: Option<String>,
    /// Long samples of which it is not known whether the host interfered: they are in `hdr`.
    pub unknown: u64,
}

/// Latency in nanoseconds, read from the histogram: each value is the upper end of its bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyNs {
    /// Samples in the histogram; less than the operation's count if only some were timed.
    pub count: u64,
    /// Shortest sample.
    pub min: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Mean of the middle half: what to gate fast operations by, since a percentile can't tell what the
    /// clock's steps hide. Null in records from before it was kept.
    #[serde(default)]
    pub mid: Option<f64>,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// 99.99th percentile.
    pub p9999: u64,
    /// Longest sample.
    pub max: u64,
}

/// A figure of a workload's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// The value; null if it could not be taken.
    pub value: Option<f64>,
    /// Unit (`ns`, `pages`, `per_update`, empty for a count).
    pub unit: String,
    /// Which way is better: `lower`, `higher`, or null if neither.
    pub better: Option<String>,
}

/// A race point: how wide its window is and how often somebody else stepped into it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// How often the point was passed.
    pub passes: u64,
    /// How often another task did, while the window was open, what the race needs.
    pub entered: u64,
    /// Median length of the window; null if it was not timed.
    pub p50_ns: Option<u64>,
    /// Longest window; null if it was not timed.
    pub max_ns: Option<u64>,
    /// Probability and delay that `--amplify` gave it; null without.
    pub amplified: Option<String>,
}
