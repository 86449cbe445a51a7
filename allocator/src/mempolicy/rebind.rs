//! How a policy's nodes follow the cpuset (`mpol_rebind_policy`).
//!
//! **What.** docs/kernel/mempolicies.md#d5: the new nodes of a policy when the allowed nodes
//! change, for each mode and flag, as pure functions; and their writing in place, in one step or in
//! two (C.5).
//!
//! **Why pure.** What the axis `rebind` changes is a table of masks; it is tested as one.
//!
//! **Source.** mm/mempolicy.c: mpol_rebind_nodemask, mpol_rebind_preferred, mpol_rebind_policy,
//! mpol_relative_nodemask.
//!
//! **Differs.** MPOL_F_REBINDING does not exist: nobody can copy a task policy between its two
//! steps, since both the copy and the steps hold task_lock.

use super::{Mempolicy, Mode, ModeFlags};
use crate::nodemask::NodeMask;
use crate::policy::{Policy, RebindPolicy};

/// `mpol_relative_nodemask`: node k of `user` becomes the k-th node of `rel`, k modulo its weight.
pub fn relative(user: &NodeMask, rel: &NodeMask) -> NodeMask {
    user.fold(rel.weight()).onto(rel)
}

/// What decides how nodes move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebindRules {
    /// The axis.
    pub rebind: RebindPolicy,
    /// Is the node of PREFERRED moved (up to 5.13)?
    pub moves_preferred: bool,
}

impl RebindRules {
    /// The rules of a policy.
    pub fn of(policy: &Policy) -> Self {
        Self { rebind: policy.rebind, moves_preferred: policy.release.rebind_moves_preferred() }
    }
}

/// A policy's masks, as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// `pol->nodes`.
    pub nodes: NodeMask,
    /// The union `w`: the user's nodes, or the base of the next remap.
    pub user_or_base: NodeMask,
}

/// The masks after a rebind to `new` ("once"; a two-step rebind ends at the same). None: nothing
/// is to be done.
pub fn rebound(
    mode: Mode,
    flags: ModeFlags,
    old: &Bound,
    new: &NodeMask,
    rules: RebindRules,
) -> Option<Bound> {
    if flags.is_empty() && old.user_or_base == *new {
        return None;
    }
    match mode {
        Mode::Default | Mode::Local => None,
        Mode::Bind | Mode::Interleave | Mode::WeightedInterleave => {
            Some(rebound_nodemask(flags, old, new, rules.rebind))
        }
        Mode::Preferred if rules.moves_preferred => Some(rebound_preferred(flags, old, new)),
        // The node stays; only the union is written, even over the user's nodes, which this mode
        // never looks at again.
        Mode::Preferred | Mode::PreferredMany => {
            Some(Bound { nodes: old.nodes, user_or_base: *new })
        }
    }
}

fn rebound_nodemask(flags: ModeFlags, old: &Bound, new: &NodeMask, rebind: RebindPolicy) -> Bound {
    let (nodes, user_or_base) = if flags.contains(ModeFlags::STATIC_NODES) {
        (old.user_or_base.and(new), old.user_or_base)
    } else if flags.contains(ModeFlags::RELATIVE_NODES) {
        (relative(&old.user_or_base, new), old.user_or_base)
    } else {
        let moved = old.nodes.remap(&old.user_or_base, new);
        // If the result is the base, the nodes that the policy happens to have stand for the whole
        // cpuset from now on: the next remap has lost their positions.
        let base = if rebind.remaps_from_result() { moved } else { *new };
        (moved, base)
    };
    Bound { nodes: if nodes.is_empty() { *new } else { nodes }, user_or_base }
}

/// The preferred node; an empty mask is its "act as LOCAL".
fn rebound_preferred(flags: ModeFlags, old: &Bound, new: &NodeMask) -> Bound {
    let user = old.user_or_base;
    if flags.contains(ModeFlags::STATIC_NODES) {
        let node = user.first().filter(|node| new.test(*node));
        Bound { nodes: node.into_iter().collect(), user_or_base: user }
    } else if flags.contains(ModeFlags::RELATIVE_NODES) {
        let node = relative(&user, new).first();
        Bound { nodes: node.into_iter().collect(), user_or_base: user }
    } else {
        let node = old.nodes.first().map(|node| NodeMask::remap_node(node, &user, new));
        Bound { nodes: node.into_iter().collect(), user_or_base: *new }
    }
}

impl Mempolicy {
    /// Its masks now. Callers hold what excludes rebinding.
    pub fn bound(&self) -> Bound {
        Bound { nodes: self.nodes.load(), user_or_base: self.user_or_base.load() }
    }

    /// Rebinds in place ("once"): a hook runs before each word of the nodes is stored. Returns the
    /// new nodes, None if nothing had to be done.
    pub fn rebind_once(
        &self,
        new: &NodeMask,
        rules: RebindRules,
        hook: impl FnMut(usize),
    ) -> Option<NodeMask> {
        let bound = rebound(self.mode, self.flags, &self.bound(), new, rules)?;
        self.user_or_base.store(&bound.user_or_base);
        self.nodes.store_with(&bound.nodes, hook);
        Some(bound.nodes)
    }

    /// MPOL_REBIND_STEP1 (up to 4.12): adds the new nodes to the old ones and returns what step 2
    /// will write.
    pub fn rebind_step1(
        &self,
        new: &NodeMask,
        rules: RebindRules,
        hook: impl FnMut(usize),
    ) -> Option<Bound> {
        let bound = rebound(self.mode, self.flags, &self.bound(), new, rules)?;
        match self.mode {
            Mode::Bind | Mode::Interleave | Mode::WeightedInterleave => {
                self.nodes.or_with(&bound.nodes, hook);
            }
            // A node number is written at once, in the first step.
            Mode::Preferred | Mode::PreferredMany | Mode::Default | Mode::Local => {
                self.nodes.store_with(&bound.nodes, hook);
            }
        }
        Some(bound)
    }

    /// MPOL_REBIND_STEP2: only the new nodes stay.
    pub fn rebind_step2(&self, bound: &Bound, hook: impl FnMut(usize)) {
        self.user_or_base.store(&bound.user_or_base);
        self.nodes.store_with(&bound.nodes, hook);
    }
}
