//! Memory policies (stub; being written).

use crate::nodemask::AtomicNodeMask;

/// A memory policy.
#[derive(Debug)]
pub struct Mempolicy {
    /// Its nodes, rewritten in place by rebinding.
    pub nodes: AtomicNodeMask,
}
