//! What all axes have in common: words, sources and expectations of their variants.

use super::{Expect, Family, Policy, Release};

/// The seven axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AxisName {
    /// How the allocator notices that nodes changed under it.
    Cpuset,
    /// How policies follow a change of allowed nodes.
    Rebind,
    /// How exit_mmap and the OOM reaper meet.
    Exit,
    /// How deep OOM victims may dig.
    Reserves,
    /// How zonelist rebuilds are kept from readers.
    Zonelist,
    /// How pcplists are kept out of an offline.
    Offline,
    /// How pcplists are sized and locked.
    Pcp,
}

impl AxisName {
    /// All axes in the order of a spec.
    pub const ALL: [Self; 7] = [
        Self::Cpuset,
        Self::Rebind,
        Self::Exit,
        Self::Reserves,
        Self::Zonelist,
        Self::Offline,
        Self::Pcp,
    ];

    /// The word in specs and records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpuset => "cpuset",
            Self::Rebind => "rebind",
            Self::Exit => "exit",
            Self::Reserves => "reserves",
            Self::Zonelist => "zonelist",
            Self::Offline => "offline",
            Self::Pcp => "pcp",
        }
    }

    /// What is decided on this axis.
    pub fn what(self) -> &'static str {
        match self {
            Self::Cpuset => "how an allocation notices that its allowed nodes changed",
            Self::Rebind => "how a policy's nodes follow a change of allowed nodes",
            Self::Exit => "how exit_mmap and the OOM reaper keep out of each other's way",
            Self::Reserves => "how deep OOM victims may dig into the reserve",
            Self::Zonelist => "how readers notice a zonelist rebuild",
            Self::Offline => "how pages on pcplists are kept out of an offline",
            Self::Pcp => "how pcplists are sized and locked",
        }
    }
}

impl std::fmt::Display for AxisName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// What is known of a variant; `stress list variants` prints it.
#[derive(Clone, Copy, Debug)]
pub struct VariantInfo {
    /// Its word in specs and records.
    pub word: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// The commit that brought it, if one did.
    pub commit: Option<&'static str>,
    /// Releases that shipped it; empty: none (posted, or ours).
    pub releases: &'static str,
    /// What is expected of it.
    pub expect: &'static [(Family, Expect)],
}

impl VariantInfo {
    /// Did no release ship it?
    pub fn is_extra(&self) -> bool {
        self.releases.is_empty()
    }
}

/// One axis: an enum of variants, the oldest first.
pub trait Axis: Copy + Eq + std::fmt::Debug + Sized + 'static {
    /// Which axis.
    const NAME: AxisName;
    /// All variants, the oldest first.
    const ALL: &'static [Self];

    /// What is known of the variant.
    fn info(self) -> VariantInfo;
    /// The choice of a release.
    fn of_release(release: Release) -> Self;
    /// The choice of a policy.
    fn of(policy: &Policy) -> Self;
    /// Puts the choice into a policy.
    fn put(self, policy: &mut Policy);

    /// The variant with this word.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|v| v.info().word == word)
    }
}

/// Implements [`Axis`] and Display for an enum whose `info` and `choice` are written out.
macro_rules! axis {
    ($ty:ident, $name:ident, $field:ident, [$($variant:ident),+ $(,)?]) => {
        impl $crate::policy::Axis for $ty {
            const NAME: $crate::policy::AxisName = $crate::policy::AxisName::$name;
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn info(self) -> $crate::policy::VariantInfo {
                self.describe()
            }
            fn of_release(release: $crate::policy::Release) -> Self {
                Self::choice(release)
            }
            fn of(policy: &$crate::policy::Policy) -> Self {
                policy.$field
            }
            fn put(self, policy: &mut $crate::policy::Policy) {
                policy.$field = self;
            }
        }

        impl $ty {
            /// The word in specs and records.
            pub fn word(self) -> &'static str {
                self.describe().word
            }
        }

        impl std::fmt::Display for $ty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}
pub(crate) use axis;
