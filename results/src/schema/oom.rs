//! Slow path, OOM killer and reserves: what the memory shortage did.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FindingRef;

/// The slow path of the page allocator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlowPath {
    /// Requests that left the fast path.
    pub entries: u64,
    /// Passes of the retry loop after the first.
    pub retries: u64,
    /// Entries per 1,000 updates (of mems, zonelists ...); null where nothing is updated.
    pub per_1000_updates: Option<f64>,
}

/// The OOM killer and the oracle's verdicts on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Oom {
    /// Victims killed.
    pub kills: u64,
    /// Chains of kills by one requester.
    pub episodes: u64,
    /// Kills while an allowed zone could have served the request.
    pub premature: Premature,
    /// Failed requests that an allowed zone could have served.
    pub premature_failures: u64,
    /// Victims chosen although an earlier one still had memory to give.
    pub extra_victims: u64,
    /// Victims chosen after the earlier one's pages were gone already: counted, no finding.
    pub late_kills: u64,
    /// Victims that no reaper could enter.
    pub unreapable: u64,
    /// Pages that the reaper passes over in this release.
    pub left_by_reaper: u64,
    /// Cases in which only the exact counters, not the global ones, called it premature.
    pub drift: u64,
    /// The findings that are about OOM; the evidence is in the record's own `findings`.
    pub findings: Vec<FindingRef>,
}

/// Premature OOMs by how sure the verdict is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Premature {
    /// Some allowed zone passed its high mark at every look since the last retry began.
    pub definite: u64,
    /// Some allowed zone passed its min mark at the decision only.
    pub transient: u64,
}

/// How deep the reserves were dug.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reserves {
    /// Fewest free pages that any zone was seen with; null if none was looked at.
    pub lowest_free_pages: Option<u64>,
    /// Lowest free pages as a share of min that requests of victims reached; null if none.
    pub lowest_share_of_min: Option<f64>,
    /// The same by zone, over all requesters.
    pub zones: Vec<ZoneLow>,
    /// By class of requester: `victim`, `atomic`, `memalloc`, `other`.
    pub by_class: IndexMap<String, ByClass>,
}

/// Lowest point of one zone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneLow {
    /// Node of the zone.
    pub node: u32,
    /// Kernel's name of the zone.
    pub zone: String,
    /// Fewest free pages.
    pub lowest_free_pages: u64,
    /// The same as a share of the zone's min; null if min is 0.
    pub lowest_share_of_min: Option<f64>,
}

/// What one class of requester took from the reserves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ByClass {
    /// Requests served below the min mark.
    pub below_min: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Fewest free pages left by a request of this class; null if there was none.
    pub lowest_free_pages: Option<u64>,
    /// The same as a share of min; null if there was none.
    pub lowest_share_of_min: Option<f64>,
    /// By zone.
    pub zones: Vec<ZoneLow>,
}
