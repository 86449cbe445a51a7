//! Axis `reserves`: how deep OOM victims may dig.
//!
//! **What.** Which right to the reserve a victim's request has, which threads have it, and whether
//! it replaces or joins the request's other flags (docs/kernel/watermarks.md#a8, requests.md#b2,
//! oom.md#e9; step S9).
//!
//! **Why.** Victims must get on to free their memory, but reclaim needs what is left of the
//! reserve.
//!
//! **Source.** mm/page_alloc.c: __gfp_pfmemalloc_flags, gfp_to_alloc_flags.
//!
//! **Differs.** `none`, `full-group` and `half-or` are from the discussion or ours. The watermark
//! arithmetic of the share goes with the axis (`fractions` is 6.3's), all else with the release.

use super::Expect::{Counted, Excluded, Shows};
use super::Family::{J3a, J3b, J3bMany, J3c, J3d, J3e};
use super::axis::{VariantInfo, axis};
use super::{Expect, Family, Release};
use crate::gfp::AllocFlags;

/// How deep OOM victims may dig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservesPolicy {
    /// No right at all.
    None,
    /// All reserves, for the thread that carries TIF_MEMDIE. Up to 4.13.
    FullThread,
    /// All reserves, for every thread of the victim.
    FullGroup,
    /// ALLOC_OOM: half of min, every thread; replaces the other flags. cd04ae1e2dc8, 4.14.
    Half,
    /// The same, or-ed to the other flags, as the review suggested.
    HalfOr,
    /// Half of min by the arithmetic of 6.3 (MIN_RESERVE, NON_BLOCK, HIGHATOMIC). 1ebbb21811b7.
    Fractions,
}

axis!(ReservesPolicy, Reserves, reserves, [None, FullThread, FullGroup, Half, HalfOr, Fractions]);

impl ReservesPolicy {
    fn describe(self) -> VariantInfo {
        match self {
            Self::None => VariantInfo {
                word: "none",
                summary: "victims have no right to the reserve",
                commit: None,
                releases: "",
                expect: const { &cells([Shows, Excluded, Excluded, Shows, Excluded]) },
            },
            Self::FullThread => VariantInfo {
                word: "full-thread",
                summary: "all reserves for the marked thread (TIF_MEMDIE)",
                commit: None,
                releases: "up to 4.13",
                expect: const { &cells([Shows, Excluded, Shows, Excluded, Excluded]) },
            },
            Self::FullGroup => VariantInfo {
                word: "full-group",
                summary: "all reserves for every thread of the victim",
                commit: None,
                releases: "",
                expect: const { &cells([Excluded, Shows, Shows, Excluded, Excluded]) },
            },
            Self::Half => VariantInfo {
                word: "half",
                summary: "half of min for every thread (ALLOC_OOM); replaces other rights",
                commit: Some("cd04ae1e2dc8"),
                releases: "4.14 to 6.2",
                expect: const { &cells([Excluded, Excluded, Excluded, Excluded, Shows]) },
            },
            Self::HalfOr => VariantInfo {
                word: "half-or",
                summary: "the same, added to other rights (the review's |=)",
                commit: None,
                releases: "",
                expect: const { &cells([Excluded, Excluded, Excluded, Excluded, Excluded]) },
            },
            Self::Fractions => VariantInfo {
                word: "fractions",
                summary: "half of min; MIN_RESERVE, NON_BLOCK and HIGHATOMIC beside it",
                commit: Some("1ebbb21811b7"),
                releases: "from 6.3 on",
                expect: const { &cells([Excluded, Excluded, Excluded, Excluded, Shows]) },
            },
        }
    }

    fn choice(release: Release) -> Self {
        if release >= Release::V6_4 {
            Self::Fractions
        } else if release >= Release::V4_14 {
            Self::Half
        } else {
            Self::FullThread
        }
    }

    /// S9: what an OOM victim may take of the reserve: empty, OOM or NO_WATERMARKS. `group`: its
    /// thread group was chosen; `memdie`: this thread carries TIF_MEMDIE.
    #[inline]
    pub fn victim_right(self, group: bool, memdie: bool) -> AllocFlags {
        let (has, right) = match self {
            Self::None => (false, AllocFlags::empty()),
            Self::FullThread => (memdie, AllocFlags::NO_WATERMARKS),
            Self::FullGroup => (group, AllocFlags::NO_WATERMARKS),
            Self::Half | Self::HalfOr | Self::Fractions => (group, AllocFlags::OOM),
        };
        if has { right } else { AllocFlags::empty() }
    }

    /// S9: do rights join the request's other flags? Else they replace them.
    #[inline]
    pub fn adds_rights(self) -> bool {
        self == Self::HalfOr
    }

    /// Are the rights those of 6.3: MIN_RESERVE, NON_BLOCK and HIGHATOMIC, and OOM takes half of
    /// what they leave? Else HIGH, HARDER and OOM.
    #[inline]
    pub fn has_fractions(self) -> bool {
        self == Self::Fractions
    }

    /// The right by which a request of order > 0 uses and makes the highatomic reserve.
    #[inline]
    pub fn highatomic_flag(self) -> AllocFlags {
        if self.has_fractions() { AllocFlags::HIGHATOMIC } else { AllocFlags::HARDER }
    }

    /// The right that __GFP_NOFAIL gets as its last resort (S21).
    #[inline]
    pub fn nofail_flag(self) -> AllocFlags {
        if self.has_fractions() { AllocFlags::MIN_RESERVE } else { AllocFlags::HARDER }
    }
}

/// J3-e is recorded for every variant.
const fn cells(a_to_d: [Expect; 5]) -> [(Family, Expect); 6] {
    [
        (J3a, a_to_d[0]),
        (J3b, a_to_d[1]),
        (J3bMany, a_to_d[2]),
        (J3c, a_to_d[3]),
        (J3d, a_to_d[4]),
        (J3e, Counted),
    ]
}
