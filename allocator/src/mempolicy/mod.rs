//! Memory policies (`struct mempolicy`): on which nodes a task or a VMA wants its pages.
//!
//! **What.** Modes, flags, creation and comparison (docs/kernel/mempolicies.md#d1, #d2, #d6). Read
//! on in [`apply`] (from a policy to a node and a nodemask, D.3 and D.4), [`rebind`] (how nodes
//! follow the cpuset, D.5) and [`set`] (set_mempolicy, copies).
//!
//! **Why the nodes are live.** An allocation gets a reference to the policy's own mask, and a
//! rebind rewrites that mask in place, word by word: change 1 is about just that.
//!
//! **Source.** mm/mempolicy.c, include/uapi/linux/mempolicy.h.
//!
//! **Differs.** LOCAL is a mode of its own in every release (up to 5.13 it is PREFERRED with a
//! flag); PREFERRED keeps its node in the mask. Policies of shared memory objects and
//! MPOL_F_NUMA_BALANCING do not exist.

pub mod apply;
pub mod rebind;
pub mod set;

#[cfg(test)]
mod tests;

use bitflags::bitflags;

use crate::ids::{MAX_NUMNODES, NodeId};
use crate::nodemask::{AtomicNodeMask, NodeMask};
use crate::policy::Release;
use crate::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// `MPOL_*`, by the ABI's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mode {
    /// No policy: the next level decides.
    Default = 0,
    /// One node first, then by distance.
    Preferred = 1,
    /// Only these nodes.
    Bind = 2,
    /// One node after the other.
    Interleave = 3,
    /// The node of the CPU.
    Local = 4,
    /// These nodes first, then all (5.15).
    PreferredMany = 5,
    /// One node after the other, each as often as its weight says (6.9).
    WeightedInterleave = 6,
}

impl Mode {
    /// All modes by number.
    pub const ALL: [Self; 7] = [
        Self::Default,
        Self::Preferred,
        Self::Bind,
        Self::Interleave,
        Self::Local,
        Self::PreferredMany,
        Self::WeightedInterleave,
    ];

    /// The word for it on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Preferred => "preferred",
            Self::Bind => "bind",
            Self::Interleave => "interleave",
            Self::Local => "local",
            Self::PreferredMany => "preferred-many",
            Self::WeightedInterleave => "weighted-interleave",
        }
    }

    /// The mode with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word)
    }

    /// Does the release have it?
    pub fn exists_in(self, release: Release) -> bool {
        match self {
            Self::PreferredMany => release.has_preferred_many(),
            Self::WeightedInterleave => release.has_weighted_interleave(),
            Self::Default | Self::Preferred | Self::Bind | Self::Interleave | Self::Local => true,
        }
    }
}

bitflags! {
    /// Mode flags, by the ABI's bits.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ModeFlags: u16 {
        /// MPOL_F_RELATIVE_NODES: node k is the k-th node of the cpuset.
        const RELATIVE_NODES = 1 << 14;
        /// MPOL_F_STATIC_NODES: the nodes are meant as written, whatever the cpuset.
        const STATIC_NODES = 1 << 15;
    }
}

/// A policy as a caller asks for it, before the cpuset has had its say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicySpec {
    /// The mode.
    pub mode: Mode,
    /// Its flags.
    pub flags: ModeFlags,
    /// The nodes asked for.
    pub nodes: NodeMask,
}

impl PolicySpec {
    /// A mode without flags.
    pub fn new(mode: Mode, nodes: NodeMask) -> Self {
        Self { mode, flags: ModeFlags::empty(), nodes }
    }

    /// MPOL_DEFAULT.
    pub fn default_policy() -> Self {
        Self::new(Mode::Default, NodeMask::EMPTY)
    }

    /// The same with flags.
    #[must_use]
    pub fn with(mut self, flags: ModeFlags) -> Self {
        self.flags |= flags;
        self
    }

    /// The mode that it comes to (an empty PREFERRED is LOCAL), checked as `mpol_new` does.
    ///
    /// # Errors
    /// What the kernel answers with -EINVAL.
    pub fn check(&self, release: Release) -> Result<Mode, MempolicyError> {
        if !self.mode.exists_in(release) {
            return Err(MempolicyError::UnknownMode(self.mode, release));
        }
        if self.flags.is_all() {
            return Err(MempolicyError::StaticAndRelative);
        }
        match self.mode {
            Mode::Default | Mode::Local if !self.nodes.is_empty() => {
                Err(MempolicyError::NodesGiven(self.mode))
            }
            Mode::Local if !self.flags.is_empty() => Err(MempolicyError::FlagsGiven(self.mode)),
            Mode::Default | Mode::Local => Ok(self.mode),
            Mode::Preferred if self.nodes.is_empty() && self.flags.is_empty() => Ok(Mode::Local),
            Mode::Preferred
            | Mode::Bind
            | Mode::Interleave
            | Mode::PreferredMany
            | Mode::WeightedInterleave => {
                if self.nodes.is_empty() {
                    Err(MempolicyError::NoNodes(self.mode))
                } else {
                    Ok(self.mode)
                }
            }
        }
    }
}

/// Why a policy can't be. Every one is -EINVAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MempolicyError {
    /// The release does not have the mode.
    #[error("there is no memory policy {} in {}", .0.word(), .1)]
    UnknownMode(Mode, Release),
    /// STATIC_NODES and RELATIVE_NODES exclude each other.
    #[error("static and relative nodes exclude each other")]
    StaticAndRelative,
    /// The mode takes no nodes.
    #[error("the memory policy {} takes no nodes", .0.word())]
    NodesGiven(Mode),
    /// The mode takes no flags.
    #[error("the memory policy {} takes no flags", .0.word())]
    FlagsGiven(Mode),
    /// The mode needs nodes.
    #[error("the memory policy {} needs nodes", .0.word())]
    NoNodes(Mode),
    /// None of the nodes is allowed and has memory.
    #[error("none of the policy's nodes is in the cpuset and has memory")]
    NoAllowedNode,
}

impl MempolicyError {
    /// The error number's name.
    pub fn errno(self) -> &'static str {
        "EINVAL"
    }
}

/// No home node.
const NO_NODE: u32 = u32::MAX;

/// A policy in force.
///
/// `nodes` and the remap base are rewritten by rebinding under task_lock and mems_allowed_seq (a
/// task's policy) or under mmap_lock for writing (a VMA's).
#[derive(Debug)]
pub struct Mempolicy {
    /// Its mode; never Default.
    pub mode: Mode,
    /// Its flags.
    pub flags: ModeFlags,
    /// Its nodes now; allocations hold references to this mask.
    pub nodes: AtomicNodeMask,
    /// The union `w`: with STATIC or RELATIVE the nodes that the user wrote, else the cpuset's mask
    /// that the next remap starts from.
    pub(crate) user_or_base: AtomicNodeMask,
    home_node: AtomicU32,
}

impl Mempolicy {
    /// A policy with exactly these nodes, base and flags; [`set`] makes those that tasks ask for.
    pub(crate) fn from_parts(
        mode: Mode,
        flags: ModeFlags,
        nodes: &NodeMask,
        user_or_base: &NodeMask,
        nr_node_ids: usize,
    ) -> Self {
        Self {
            mode,
            flags,
            nodes: AtomicNodeMask::holding(nr_node_ids, nodes),
            // What a user writes may name nodes that the machine does not have.
            user_or_base: AtomicNodeMask::holding(MAX_NUMNODES, user_or_base),
            home_node: AtomicU32::new(NO_NODE),
        }
    }

    /// `mpol_set_nodemask` (D.2) for a spec of mode `mode` that [`PolicySpec::check`] gave:
    /// `mems_allowed` are current's, `n_memory` the nodes with memory.
    ///
    /// # Errors
    /// No node is left.
    pub fn create(
        spec: &PolicySpec,
        mode: Mode,
        mems_allowed: &NodeMask,
        n_memory: &NodeMask,
        nr_node_ids: usize,
    ) -> Result<Self, MempolicyError> {
        let allowed = mems_allowed.and(n_memory);
        let mut nodes = if spec.flags.contains(ModeFlags::RELATIVE_NODES) {
            rebind::relative(&spec.nodes, &allowed)
        } else {
            spec.nodes.and(&allowed)
        };
        if mode == Mode::Local {
            nodes = NodeMask::EMPTY;
        } else if nodes.is_empty() {
            return Err(MempolicyError::NoAllowedNode);
        }
        if mode == Mode::Preferred {
            nodes = nodes.first().into_iter().collect();
        }
        let user_or_base = if spec.flags.is_empty() { mems_allowed } else { &spec.nodes };
        Ok(Self::from_parts(mode, spec.flags, &nodes, user_or_base, nr_node_ids))
    }

    /// Does it keep what the user wrote (STATIC or RELATIVE)?
    pub fn stores_user_nodes(&self) -> bool {
        !self.flags.is_empty()
    }

    /// The node that its searches start from, if one was set (5.17).
    #[inline]
    pub fn home_node(&self) -> Option<NodeId> {
        let node = self.home_node.load(Ordering::Relaxed);
        (node != NO_NODE).then_some(NodeId(node as u16))
    }

    /// Sets the home node (`set_mempolicy_home_node`), before the policy is published.
    pub fn set_home_node(&self, node: Option<NodeId>) {
        self.home_node.store(node.map_or(NO_NODE, |n| u32::from(n.0)), Ordering::Relaxed);
    }

    /// A copy as it is now (the plain part of `mpol_dup`).
    pub(crate) fn duplicate(&self, nr_node_ids: usize) -> Self {
        let copy = Self::from_parts(
            self.mode,
            self.flags,
            &self.nodes.load(),
            &self.user_or_base.load(),
            nr_node_ids,
        );
        copy.set_home_node(self.home_node());
        copy
    }
}

/// `mpol_equal`: may neighbouring VMAs with these policies merge?
pub fn mpol_equal(a: Option<&Mempolicy>, b: Option<&Mempolicy>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            std::ptr::eq(a, b)
                || a.mode == b.mode
                    && a.flags == b.flags
                    && a.home_node() == b.home_node()
                    && (!a.stores_user_nodes() || a.user_or_base.load() == b.user_or_base.load())
                    && a.nodes.load() == b.nodes.load()
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// The system's weights for weighted interleaving (/sys/kernel/mm/mempolicy/weighted_interleave).
#[derive(Debug)]
pub struct InterleaveWeights {
    weights: Box<[AtomicU8]>,
}

impl InterleaveWeights {
    /// Weight 1 for every node.
    pub fn new(nr_node_ids: usize) -> Self {
        Self { weights: (0..nr_node_ids).map(|_| AtomicU8::new(1)).collect() }
    }

    /// A node's weight, 1 at least.
    pub fn of(&self, node: NodeId) -> u8 {
        self.weights.get(node.index()).map_or(1, |w| w.load(Ordering::Relaxed).max(1))
    }

    /// Sets a node's weight; 0 means 1.
    pub fn set(&self, node: NodeId, weight: u8) {
        if let Some(w) = self.weights.get(node.index()) {
            w.store(weight, Ordering::Relaxed);
        }
    }
}
