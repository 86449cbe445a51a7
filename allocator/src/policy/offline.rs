//! Axis `offline`: how pages on pcplists are kept out of an offline.
//!
//! **What.** Where offline_pages drains pcplists, what it does when the final check fails, and
//! whether pcplists are disabled meanwhile (docs/kernel/hotplug.md#g3, #g5; steps L2, I7, L5b, L8,
//! D).
//!
//! **Why.** A free reads its pageblock's type without a lock, so a page can reach a pcplist after
//! its block was isolated and drained.
//!
//! **Source.** mm/memory_hotplug.c: offline_pages; mm/page_alloc.c: zone_pcp_disable.
//!
//! **Differs.** Nothing.

use super::Expect::{Counted, Excluded, Late, Residual, Shows};
use super::Family::{J5a, J5b, J5c, J5f, J5g, J5h};
use super::axis::{VariantInfo, axis};
use super::{Expect, Family, Release};

/// How pcplists are kept out of an offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OfflinePolicy {
    /// A drain for each pageblock and one before the final check; a failed check gives -EBUSY.
    /// Up to 4.14.
    BusyAtOnce,
    /// A drain in every pass; a failed check starts the next pass. 4.15 to 5.0.
    DrainEachPass,
    /// Only the drain for each pageblock. c52e75935f8d, 5.1.
    DrainOnce,
    /// That, and one after each failed check. 968318261221, 5.9.
    DrainRetry,
    /// pcplists are disabled and drained once before isolation. ec6e8c7e0314, 5.11.
    PcpDisable,
}

/// What an offline does when the final check has found a page (L8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedCheck {
    /// Gives up: -EBUSY.
    Busy,
    /// Drains the pcplists and looks at the range again.
    DrainAndRetry,
    /// Looks at the range again.
    Retry,
}

axis!(
    OfflinePolicy,
    Offline,
    offline,
    [BusyAtOnce, DrainEachPass, DrainOnce, DrainRetry, PcpDisable]
);

impl OfflinePolicy {
    fn describe(self) -> VariantInfo {
        match self {
            Self::BusyAtOnce => VariantInfo {
                word: "busy-at-once",
                summary: "a failed final check gives EBUSY",
                commit: None,
                releases: "up to 4.14",
                expect: const { &cells([Shows, Shows]) },
            },
            Self::DrainEachPass => VariantInfo {
                word: "drain-each-pass",
                summary: "drains in every pass, retries until a signal",
                commit: None,
                releases: "4.15 to 5.0",
                expect: const { &cells([Late, Shows]) },
            },
            Self::DrainOnce => VariantInfo {
                word: "drain-once",
                summary: "drains once for each pageblock, retries without",
                commit: Some("c52e75935f8d"),
                releases: "5.1 to 5.8",
                expect: const { &cells([Shows, Shows]) },
            },
            Self::DrainRetry => VariantInfo {
                word: "drain-retry",
                summary: "also drains after each failed check",
                commit: Some("968318261221"),
                releases: "5.9 and 5.10",
                expect: &DRAIN_RETRY,
            },
            Self::PcpDisable => VariantInfo {
                word: "pcp-disable",
                summary: "disables the zone's pcplists and drains every CPU before isolation",
                commit: Some("ec6e8c7e0314"),
                releases: "from 5.11 on",
                expect: &PCP_DISABLE,
            },
        }
    }

    /// Are the zone's pcplists disabled, and drained on every CPU, from before the isolation to
    /// after the offline (L2, L11)?
    pub fn disables_pcp(self) -> bool {
        self == Self::PcpDisable
    }

    /// L5b: is there a drain before this look at the range? `migrated`: pages have been moved away
    /// since the last one.
    pub fn drains_before_scan(self, migrated: bool) -> bool {
        match self {
            Self::DrainEachPass => true,
            Self::BusyAtOnce => migrated,
            Self::DrainOnce | Self::DrainRetry | Self::PcpDisable => false,
        }
    }

    /// Is there a drain before the final check (L7)?
    pub fn drains_before_check(self) -> bool {
        self == Self::BusyAtOnce
    }

    /// L8: what follows a failed check.
    pub fn after_failed_check(self) -> FailedCheck {
        match self {
            Self::BusyAtOnce => FailedCheck::Busy,
            Self::DrainRetry => FailedCheck::DrainAndRetry,
            Self::DrainEachPass | Self::DrainOnce | Self::PcpDisable => FailedCheck::Retry,
        }
    }

    fn choice(release: Release) -> Self {
        if release >= Release::V5_12 {
            Self::PcpDisable
        } else if release >= Release::V5_10 {
            Self::DrainRetry
        } else if release >= Release::V5_4 {
            Self::DrainOnce
        } else if release >= Release::V4_18 {
            Self::DrainEachPass
        } else {
            Self::BusyAtOnce
        }
    }
}

const fn cells(a_b: [Expect; 2]) -> [(Family, Expect); 5] {
    [(J5a, a_b[0]), (J5b, a_b[1]), (J5f, Residual), (J5g, Late), (J5h, Counted)]
}

/// Its drain looks at counts without a lock; the next round repairs what it missed.
const DRAIN_RETRY: [(Family, Expect); 6] =
    [(J5a, Late), (J5b, Shows), (J5c, Late), (J5f, Residual), (J5g, Late), (J5h, Counted)];
/// Its drain is forced on every CPU.
const PCP_DISABLE: [(Family, Expect); 6] = [
    (J5a, Excluded),
    (J5b, Excluded),
    (J5c, Excluded),
    (J5f, Residual),
    (J5g, Late),
    (J5h, Counted),
];
