//! Axis `cpuset`: how an allocation notices that its allowed nodes changed under it.
//!
//! **What.** Where the slow path looks at the mems_allowed cookie, and what it does when the nodes
//! that it was given no longer meet the cpuset (docs/kernel/cpusets.md#c6; steps S7, S19a, S20, C1
//! to C3).
//!
//! **Why.** A request keeps pointers into masks that a cpuset write changes in place; one that
//! looks too late kills a task although other nodes are free.
//!
//! **Source.** mm/page_alloc.c: check_retry_cpuset, and the cookie in the slow path.
//!
//! **Differs.** `swap` is the redesign that the author of the 4.13 series described; it never
//! existed in the kernel.

mod recheck;
pub mod swap;

use super::Expect::{Counted, Excluded, Shows};
use super::Family::{J1aTask, J1aVma, J1b, J1c, J1d, J1e};
use super::axis::{VariantInfo, axis};
use super::{Expect, Family, Release};
pub use swap::AllowedLists;
pub(crate) use swap::{CpusetCx, mems_of};

/// How an allocation notices that its allowed nodes changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CpusetPolicy {
    /// The cookie is taken around the whole allocation and looked at only after it failed, that is
    /// after the kill. Up to 4.9.
    NoRecheck,
    /// The cookie is taken at S1 and looked at before the kill (S19a) and before failing (S20).
    /// e47483bca2cc, 4.10.
    CookieRecheck,
    /// There, also the nodemask is tested against the cpuset; if they don't meet it is dropped.
    /// 902b62810a57, 4.13.
    IntersectionRecheck,
    /// Both tests (and the zonelist's) also at the top of the retry loop (S7). e05741fb10c3, 2025.
    RecheckEachRetry,
    /// Policies and allowed nodes are immutable snapshots that are swapped atomically; an
    /// allocation keeps one pair and restarts when a newer one exists.
    Swap,
}

axis!(
    CpusetPolicy,
    Cpuset,
    cpuset,
    [NoRecheck, CookieRecheck, IntersectionRecheck, RecheckEachRetry, Swap]
);

impl CpusetPolicy {
    fn describe(self) -> VariantInfo {
        match self {
            Self::NoRecheck => VariantInfo {
                word: "no-recheck",
                summary: "looks at the mems_allowed cookie only after the allocation failed",
                commit: None,
                releases: "up to 4.9",
                expect: const { &cells([Shows, Shows, Shows], Counted) },
            },
            Self::CookieRecheck => VariantInfo {
                word: "cookie-recheck",
                summary: "looks at the cookie before the OOM killer and before failing",
                commit: Some("e47483bca2cc"),
                releases: "4.10 to 4.12",
                expect: const { &cells([Shows, Excluded, Shows], Counted) },
            },
            Self::IntersectionRecheck => VariantInfo {
                word: "intersection-recheck",
                summary: "there, also drops a nodemask that does not meet the cpuset",
                commit: Some("902b62810a57"),
                releases: "4.13 to 6.14",
                expect: const { &cells([Excluded, Excluded, Shows], Counted) },
            },
            Self::RecheckEachRetry => VariantInfo {
                word: "recheck-each-retry",
                summary: "makes these tests also at the top of each retry",
                commit: Some("e05741fb10c3"),
                releases: "from 6.15 on",
                expect: const { &cells([Excluded, Excluded, Excluded], Counted) },
            },
            Self::Swap => VariantInfo {
                word: "swap",
                summary: "swaps immutable snapshots of policies and allowed nodes",
                commit: None,
                releases: "",
                expect: &SWAP,
            },
        }
    }

    /// Does a request keep one snapshot of its policy and allowed nodes, and start again when there
    /// is a newer one?
    pub fn swaps(self) -> bool {
        self == Self::Swap
    }

    fn choice(release: Release) -> Self {
        if release >= Release::V6_18 {
            Self::RecheckEachRetry
        } else if release >= Release::V4_13 {
            Self::IntersectionRecheck
        } else if release >= Release::V4_11 {
            Self::CookieRecheck
        } else {
            Self::NoRecheck
        }
    }
}

const fn cells(a_b: [Expect; 3], torn: Expect) -> [(Family, Expect); 6] {
    [
        (J1aVma, a_b[0]),
        (J1aTask, a_b[1]),
        (J1b, a_b[2]),
        (J1c, Counted),
        (J1d, Counted),
        (J1e, torn),
    ]
}

/// A snapshot is never torn: J1-e does not apply.
const SWAP: [(Family, Expect); 5] =
    [(J1aVma, Excluded), (J1aTask, Excluded), (J1b, Excluded), (J1c, Counted), (J1d, Counted)];
