//! Axis `rebind`: how a policy's nodes follow a change of allowed nodes.
//!
//! **What.** cpuset_change_task_nodemask and mpol_rebind_policy (docs/kernel/cpusets.md#c5,
//! mempolicies.md#d5; step T3a).
//!
//! **Why.** Which changes move the sequence count decides what a reader can notice.
//!
//! **Source.** kernel/cgroup/cpuset.c, mm/mempolicy.c.
//!
//! **Differs.** Nothing.

use super::Release;
use super::axis::{VariantInfo, axis};

/// How a policy's nodes follow a change of allowed nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RebindPolicy {
    /// First old and new nodes, then the new ones; under the sequence count only if the task has a
    /// policy or old and new nodes don't meet. 708c1bbc9d0c, 2.6.35.
    TwoStep,
    /// One step, always under the sequence count; the remapped nodes become the base of the next
    /// remap, so that positions get lost. 213980c0f23b, 4.13.
    OneStepRemapBase,
    /// One step; the base of the next remap is the mask that was applied. 5.2.
    OneStep,
}

axis!(RebindPolicy, Rebind, rebind, [TwoStep, OneStepRemapBase, OneStep]);

impl RebindPolicy {
    fn describe(self) -> VariantInfo {
        match self {
            Self::TwoStep => VariantInfo {
                word: "two-step",
                summary: "rebinds in two steps; moves the sequence count only when needed",
                commit: Some("708c1bbc9d0c"),
                releases: "2.6.35 to 4.12",
                expect: &[],
            },
            Self::OneStepRemapBase => VariantInfo {
                word: "one-step-remap-base",
                summary: "always under the sequence count; the result is the next remap's base",
                commit: Some("213980c0f23b"),
                releases: "4.13 to 5.1",
                expect: &[],
            },
            Self::OneStep => VariantInfo {
                word: "one-step",
                summary: "always under the sequence count; the applied mask is the next base",
                commit: None,
                releases: "from 5.2 on",
                expect: &[],
            },
        }
    }

    /// Does a rebind first write old and new nodes, then the new ones?
    pub fn has_two_steps(self) -> bool {
        self == Self::TwoStep
    }

    /// Does the sequence count move although the task has no policy and its old and new nodes meet,
    /// so that no reader needs to notice?
    pub fn moves_sequence_always(self) -> bool {
        !self.has_two_steps()
    }

    /// Is the result of a remap the base of the next? Else the mask that was applied is.
    pub fn remaps_from_result(self) -> bool {
        self == Self::OneStepRemapBase
    }

    fn choice(release: Release) -> Self {
        if release >= Release::V5_4 {
            Self::OneStep
        } else if release >= Release::V4_13 {
            Self::OneStepRemapBase
        } else {
            Self::TwoStep
        }
    }
}
