//! Policies: a release and a choice on each of seven axes.
//!
//! **What.** [`Policy`] says how the model behaves: [`Release`] holds every release-dependent fact
//! that is no axis, and each axis is an enum with its own file, words, sources and expectations.
//! A spec names one: `v4.11`, or `mainline,exit=mm-users`.
//!
//! **Why.** What a variant does is written here, too: as facts that a mechanism asks for, or as the
//! steps themselves where variants differ in kind (`cpuset/recheck.rs`, `exit/order.rs`,
//! `zonelist/reader.rs`). All matches are exhaustive, no other code names a variant, and a new one
//! touches this folder only (`harness/tests/tidy.rs` sees to that).
//!
//! **Source.** The releases named; the choices that each shipped are the preset table, which is
//! each axis's `choice`.
//!
//! **Differs.** Releases are what was tagged; fixes from stable are left out.

pub mod axis;
pub mod cpuset;
pub mod exit;
pub mod expect;
pub mod number;
pub mod offline;
pub mod pcp;
pub mod rebind;
pub mod release;
pub mod reserves;
pub mod spec;
pub mod zonelist;

pub use axis::{Axis, AxisName, VariantInfo};
pub use cpuset::CpusetPolicy;
pub use exit::ExitPolicy;
pub use expect::{Expect, Family};
pub use number::Number;
pub use offline::OfflinePolicy;
pub use pcp::PcpPolicy;
pub use rebind::RebindPolicy;
pub use release::Release;
pub use reserves::ReservesPolicy;
pub use spec::SpecError;
pub use zonelist::ZonelistPolicy;

/// How the model behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// All release-dependent facts that are no axis.
    pub release: Release,
    /// How an allocation notices that its nodes changed.
    pub cpuset: CpusetPolicy,
    /// How policies follow allowed nodes.
    pub rebind: RebindPolicy,
    /// How exit_mmap and the reaper meet.
    pub exit: ExitPolicy,
    /// How deep victims may dig.
    pub reserves: ReservesPolicy,
    /// How readers notice a rebuild.
    pub zonelist: ZonelistPolicy,
    /// How pcplists are kept out of an offline.
    pub offline: OfflinePolicy,
    /// How pcplists are sized and locked.
    pub pcp: PcpPolicy,
}

impl Policy {
    /// What the release shipped.
    pub fn preset(release: Release) -> Self {
        Self {
            release,
            cpuset: CpusetPolicy::of_release(release),
            rebind: RebindPolicy::of_release(release),
            exit: ExitPolicy::of_release(release),
            reserves: ReservesPolicy::of_release(release),
            zonelist: ZonelistPolicy::of_release(release),
            offline: OfflinePolicy::of_release(release),
            pcp: PcpPolicy::of_release(release),
        }
    }

    /// The newest preset.
    pub fn mainline() -> Self {
        Self::preset(Release::NEWEST)
    }

    /// The word chosen on an axis.
    pub fn word(&self, axis: AxisName) -> &'static str {
        match axis {
            AxisName::Cpuset => self.cpuset.word(),
            AxisName::Rebind => self.rebind.word(),
            AxisName::Exit => self.exit.word(),
            AxisName::Reserves => self.reserves.word(),
            AxisName::Zonelist => self.zonelist.word(),
            AxisName::Offline => self.offline.word(),
            AxisName::Pcp => self.pcp.word(),
        }
    }

    /// All axes with the words chosen.
    pub fn words(&self) -> [(AxisName, &'static str); 7] {
        AxisName::ALL.map(|axis| (axis, self.word(axis)))
    }

    /// Axes on which it differs from another policy.
    pub fn differing_axes(&self, other: &Self) -> Vec<AxisName> {
        AxisName::ALL.into_iter().filter(|axis| self.word(*axis) != other.word(*axis)).collect()
    }

    /// The same with another policy's choice on an axis.
    pub fn with_axis_of(self, axis: AxisName, other: &Self) -> Self {
        match axis {
            AxisName::Cpuset => Self { cpuset: other.cpuset, ..self },
            AxisName::Rebind => Self { rebind: other.rebind, ..self },
            AxisName::Exit => Self { exit: other.exit, ..self },
            AxisName::Reserves => Self { reserves: other.reserves, ..self },
            AxisName::Zonelist => Self { zonelist: other.zonelist, ..self },
            AxisName::Offline => Self { offline: other.offline, ..self },
            AxisName::Pcp => Self { pcp: other.pcp, ..self },
        }
    }

    /// What is known of the variants chosen.
    pub fn infos(&self) -> [(AxisName, VariantInfo); 7] {
        AxisName::ALL.map(|axis| {
            let info = match axis {
                AxisName::Cpuset => self.cpuset.info(),
                AxisName::Rebind => self.rebind.info(),
                AxisName::Exit => self.exit.info(),
                AxisName::Reserves => self.reserves.info(),
                AxisName::Zonelist => self.zonelist.info(),
                AxisName::Offline => self.offline.info(),
                AxisName::Pcp => self.pcp.info(),
            };
            (axis, info)
        })
    }

    /// What the policy states about a family, if it does.
    pub fn expects(&self, family: Family) -> Option<Expect> {
        self.infos()
            .into_iter()
            .flat_map(|(_, info)| info.expect)
            .find(|(f, _)| *f == family)
            .map(|(_, expect)| *expect)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::mainline()
    }
}

/// One axis with all that is known of its variants, the oldest first.
#[derive(Clone, Debug)]
pub struct AxisDescription {
    /// The axis.
    pub axis: AxisName,
    /// Its variants.
    pub variants: Vec<VariantInfo>,
}

/// All axes and variants: what `stress list variants` prints and what completions offer.
pub fn describe() -> Vec<AxisDescription> {
    fn variants<A: Axis>() -> Vec<VariantInfo> {
        A::ALL.iter().map(|v| v.info()).collect()
    }
    AxisName::ALL
        .into_iter()
        .map(|axis| AxisDescription {
            axis,
            variants: match axis {
                AxisName::Cpuset => variants::<CpusetPolicy>(),
                AxisName::Rebind => variants::<RebindPolicy>(),
                AxisName::Exit => variants::<ExitPolicy>(),
                AxisName::Reserves => variants::<ReservesPolicy>(),
                AxisName::Zonelist => variants::<ZonelistPolicy>(),
                AxisName::Offline => variants::<OfflinePolicy>(),
                AxisName::Pcp => variants::<PcpPolicy>(),
            },
        })
        .collect()
}

/// All presets, the oldest first.
pub fn presets() -> impl Iterator<Item = Policy> {
    Release::ALL.into_iter().map(Policy::preset)
}

#[cfg(test)]
mod tests;
