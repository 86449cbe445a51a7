//! The classes of an answer.

use serde::Serialize;

/// Was the kill right, and if so, why did it come?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A zone that the request may use stands above its high mark: definite.
    Premature,
    /// No zone passes its min mark, and nothing else explains it.
    Justified,
    /// Above min, below high: the last look is made at high.
    Transient,
    /// Cpuset or policy leave no zone: no kill can help.
    NoZone,
    /// Free memory is on nodes that cpuset or policy exclude.
    Bound,
    /// The marks pass, no block of the order is free.
    Fragmented,
    /// lowmem_reserve keeps a zone for lower requests.
    KeptForLower,
    /// What is free is CMA, which the request may not take.
    CmaOnly,
    /// What is free is counted as highatomic reserve.
    Highatomic,
    /// What is missing is on pcplists.
    OnPcplists,
    /// A victim's memory came free between the last look and the report.
    LateKill,
    /// Plenty was left to reclaim.
    GaveUpEarly,
    /// The limit of a memory cgroup.
    Memcg,
    /// No allocation: sysrq, MGLRU's min_ttl_ms, the page-fault handler.
    NotAnAllocation,
    /// The kernel's own figures can't be right.
    Broken,
    /// What decides is missing.
    Unknown,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 16] = [
        Self::Premature,
        Self::Justified,
        Self::Transient,
        Self::NoZone,
        Self::Bound,
        Self::Fragmented,
        Self::KeptForLower,
        Self::CmaOnly,
        Self::Highatomic,
        Self::OnPcplists,
        Self::LateKill,
        Self::GaveUpEarly,
        Self::Memcg,
        Self::NotAnAllocation,
        Self::Broken,
        Self::Unknown,
    ];

    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Premature => "premature",
            Self::Justified => "justified",
            Self::Transient => "transient",
            Self::NoZone => "no-zone",
            Self::Bound => "bound",
            Self::Fragmented => "fragmented",
            Self::KeptForLower => "kept-for-lower",
            Self::CmaOnly => "cma-only",
            Self::Highatomic => "highatomic",
            Self::OnPcplists => "on-pcplists",
            Self::LateKill => "late-kill",
            Self::GaveUpEarly => "gave-up-early",
            Self::Memcg => "memcg",
            Self::NotAnAllocation => "not-an-allocation",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
        }
    }

    /// As the screen says it of what holds beside the main class.
    pub fn aside(self) -> &'static str {
        match self {
            Self::KeptForLower => "lowmem_reserve keeps a zone that would pass",
            Self::OnPcplists => "with what is on pcplists a zone would pass min",
            Self::GaveUpEarly => "plenty was left to reclaim: premature in effect",
            Self::Highatomic => "a zone would pass but for the highatomic reserve",
            Self::CmaOnly => "free CMA pages that the request may not take",
            Self::Bound => "bound to some nodes",
            Self::Premature
            | Self::Justified
            | Self::Transient
            | Self::NoZone
            | Self::Fragmented
            | Self::LateKill
            | Self::Memcg
            | Self::NotAnAllocation
            | Self::Broken
            | Self::Unknown => self.title(),
        }
    }

    /// As the screen says it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Premature => "PREMATURE (definite)",
            Self::Justified => "justified",
            Self::Transient => "justified, but transient",
            Self::NoZone => "NO ZONE ALLOWED: the kill can't help",
            Self::Bound => "justified, bound to some nodes",
            Self::Fragmented => "fragmented",
            Self::KeptForLower => "kept for lower requests (lowmem_reserve)",
            Self::CmaOnly => "CMA only: justified by the marks",
            Self::Highatomic => "premature in effect: in the highatomic reserve",
            Self::OnPcplists => "premature in effect: on pcplists",
            Self::LateKill => "late second kill (extra victim)",
            Self::GaveUpEarly => "reclaim gave up early",
            Self::Memcg => "memory cgroup: not the page allocator's",
            Self::NotAnAllocation => "not an allocation",
            Self::Broken => "the kernel's own accounting is broken",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_word() {
        for class in Class::ALL {
            let json = serde_json::to_value(class).unwrap();
            assert_eq!(json, class.word());
        }
    }
}
