//! Axis `zonelist`: how readers notice a rebuild of the zonelists.
//!
//! **What.** What stands around build_all_zonelists, and what an allocation looks at before it
//! gives up (docs/kernel/zonelists.md#f1 to #f4; steps Z1, Z5, S1, S7, S19a, S20).
//!
//! **Why.** A zonelist is rewritten in place under its readers: one that is not told takes a full
//! node for an empty one, one that waits for the writer can wait for ever.
//!
//! **Source.** mm/page_alloc.c: __build_all_zonelists, zonelist_iter_begin, check_retry_zonelist.
//!
//! **Differs.** `lockless` is the alternative of 9 August 2023 (v2), not merged.

mod reader;
mod writer;

use super::Expect::{Excluded, Residual, Shows};
use super::Family::{J4a, J4b, J4c, J4d, J4e, J4f};
use super::axis::{VariantInfo, axis};
use super::{Expect, Family, Release};
pub(crate) use writer::Around;

/// How readers notice a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZonelistPolicy {
    /// All CPUs are stopped; who was preempted or slept resumes with a stale position. Up to 4.13.
    StopMachine,
    /// A spinlock among writers, nothing for readers. 11cd8638c37f, 4.14.
    Unprotected,
    /// A seqlock with interrupts on; readers spin while it is odd. 3d36424b3b58, 6.0.
    Seqlock,
    /// Interrupts off and printk deferred, then the seqlock. 1007843a9190, 6.4.
    SeqlockDeferredPrintk,
    /// The seqlock taken with interrupts off, then printk deferred. a2ebb51575828, 6.6.
    SeqlockIrqsave,
    /// A plain sequence that no reader waits for; requests that can't reclaim don't look.
    Lockless,
}

axis!(
    ZonelistPolicy,
    Zonelist,
    zonelist,
    [StopMachine, Unprotected, Seqlock, SeqlockDeferredPrintk, SeqlockIrqsave, Lockless]
);

impl ZonelistPolicy {
    fn describe(self) -> VariantInfo {
        match self {
            Self::StopMachine => VariantInfo {
                word: "stop-machine",
                summary: "rebuilds with all CPUs stopped; sleepers keep stale positions",
                commit: None,
                releases: "up to 4.13",
                expect: const { &cells([Shows, Excluded, Excluded, Excluded]) },
            },
            Self::Unprotected => VariantInfo {
                word: "unprotected",
                summary: "readers walk while the entries are rewritten",
                commit: Some("11cd8638c37f"),
                releases: "4.14 to 5.19",
                expect: const { &cells([Shows, Excluded, Excluded, Excluded]) },
            },
            Self::Seqlock => VariantInfo {
                word: "seqlock",
                summary: "a seqlock with interrupts on; readers spin while it is odd",
                commit: Some("3d36424b3b58"),
                releases: "6.0 to 6.3",
                expect: const { &cells([Excluded, Shows, Shows, Excluded]) },
            },
            Self::SeqlockDeferredPrintk => VariantInfo {
                word: "seqlock-deferred-printk",
                summary: "interrupts off, printk deferred, then the seqlock",
                commit: Some("1007843a9190"),
                releases: "6.4 and 6.5",
                expect: const { &cells([Excluded, Excluded, Excluded, Excluded]) },
            },
            Self::SeqlockIrqsave => VariantInfo {
                word: "seqlock-irqsave",
                summary: "the seqlock with interrupts off, then printk deferred",
                commit: Some("a2ebb51575828"),
                releases: "from 6.6 on",
                expect: const { &cells([Excluded, Excluded, Excluded, Excluded]) },
            },
            Self::Lockless => VariantInfo {
                word: "lockless",
                summary: "no reader waits; requests that can't reclaim are never retried",
                commit: None,
                releases: "",
                expect: const { &cells([Excluded, Excluded, Excluded, Shows]) },
            },
        }
    }

    /// Do readers take the sequence as it is, odd or not, instead of waiting, and compare it only
    /// if they can reclaim?
    pub fn readers_only_look(self) -> bool {
        self == Self::Lockless
    }

    fn choice(release: Release) -> Self {
        if release >= Release::V6_6 {
            Self::SeqlockIrqsave
        } else if release >= Release::V6_4 {
            Self::SeqlockDeferredPrintk
        } else if release >= Release::V6_1 {
            Self::Seqlock
        } else if release >= Release::V4_14 {
            Self::Unprotected
        } else {
            Self::StopMachine
        }
    }
}

/// Success is never checked again, so J4-e and J4-f are left in all of them.
const fn cells([a, b, c, d]: [Expect; 4]) -> [(Family, Expect); 6] {
    [(J4a, a), (J4b, b), (J4c, c), (J4d, d), (J4e, Residual), (J4f, Residual)]
}
