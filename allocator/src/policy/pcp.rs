//! Axis `pcp`: how pcplists are sized and locked.
//!
//! **What.** Which orders have lists, where high comes from, how a section is entered
//! (docs/kernel/pcplists.md#a6).
//!
//! **Why.** How many pages can sit on lists, and who can take them off, decides what drains have to
//! do; and it is most of the fast path's cost.
//!
//! **Source.** mm/page_alloc.c: rmqueue_pcplist, free_unref_page, zone_set_pageset_high_and_batch.
//!
//! **Differs.** Nothing.

use super::Release;
use super::axis::{VariantInfo, axis};

/// How pcplists are sized and locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PcpPolicy {
    /// Order 0 only; high = 6 x batch; always entered, drained by work on the CPU. Up to 5.12.
    Order0,
    /// Orders 0 to 3 and 9; high from the low mark. 5.13.
    MultiOrder,
    /// The same under a lock of its own that is only tried, and taken by remote drains.
    /// 443c2accd1b6, 6.0.
    MultiOrderTrylock,
    /// high between high_min and high_max, batches that grow. 6.7.
    AutoTune,
}

axis!(PcpPolicy, Pcp, pcp, [Order0, MultiOrder, MultiOrderTrylock, AutoTune]);

impl PcpPolicy {
    fn describe(self) -> VariantInfo {
        match self {
            Self::Order0 => VariantInfo {
                word: "order0",
                summary: "order 0 only, high = 6 x batch",
                commit: None,
                releases: "up to 5.12",
                expect: &[],
            },
            Self::MultiOrder => VariantInfo {
                word: "multi-order",
                summary: "lists for orders 0 to 3 and 9, high from the low watermark",
                commit: None,
                releases: "5.13 to 5.19",
                expect: &[],
            },
            Self::MultiOrderTrylock => VariantInfo {
                word: "multi-order-trylock",
                summary: "the same; sections by trylock, drains from afar",
                commit: Some("443c2accd1b6"),
                releases: "6.0 to 6.6",
                expect: &[],
            },
            Self::AutoTune => VariantInfo {
                word: "auto-tune",
                summary: "high between high_min and high_max, refills that grow",
                commit: None,
                releases: "from 6.7 on",
                expect: &[],
            },
        }
    }

    fn choice(release: Release) -> Self {
        if release >= Release::V6_12 {
            Self::AutoTune
        } else if release >= Release::V6_1 {
            Self::MultiOrderTrylock
        } else if release >= Release::V5_15 {
            Self::MultiOrder
        } else {
            Self::Order0
        }
    }

    /// Are there lists for orders above 0?
    #[inline]
    pub fn has_multi_order(self) -> bool {
        self >= Self::MultiOrder
    }

    /// Is a section entered by trylock, so that it can fail, and drained from afar?
    #[inline]
    pub fn has_trylock(self) -> bool {
        self >= Self::MultiOrderTrylock
    }

    /// Is high tuned between high_min and high_max?
    #[inline]
    pub fn has_auto_tune(self) -> bool {
        self == Self::AutoTune
    }
}
