//! What is done at locks of the explorer's world: each task's list of what it holds.
//!
//! **What.** The same functions as the real world's (`../real_hooks.rs`). Who holds what is a fact of
//! the execution: it stands in the task, and goes with it.

use super::core::with;
use crate::sync::lock::{Role, Site};

/// What the running task does.
pub fn role() -> Role {
    with(|core| *core.locks_mut().1).unwrap_or_default()
}

/// Sets it; returns what it was.
pub(in crate::sync) fn set_role(role: Role) -> Option<Role> {
    with(|core| {
        let (_, mine) = core.locks_mut();
        std::mem::replace(mine, role)
    })
}

/// Pages are not counted here.
#[inline]
pub fn add_pages(_pages: u64) {}

/// What the running task holds, the innermost last; nothing outside of an execution.
pub fn held() -> Vec<Site> {
    with(|core| core.locks_mut().0.clone()).unwrap_or_default()
}

/// Is anything to be done at a lock?
#[inline]
pub(in crate::sync) fn looks() -> bool {
    true
}

/// A lock is wanted, come what may. (One's own is a deadlock, which the scheduler finds.)
pub(in crate::sync) fn wants(_site: Site) {}

/// The lock was taken.
pub(in crate::sync) fn acquired(site: Site) {
    with(|core| core.locks_mut().0.push(site));
}

/// A trylock found it taken.
pub(in crate::sync) fn refused(_site: Site) {}

/// A wait that has begun.
pub(in crate::sync) struct Waits;

/// Somebody has it.
pub(in crate::sync) fn waits(_site: Site) -> Waits {
    Waits
}

/// The wait is over.
pub(in crate::sync) fn waited(_waits: Waits) {}

/// A lock that is being given back.
pub(in crate::sync) struct Releases;

/// The lock is about to be given back.
pub(in crate::sync) fn releasing(site: Site) -> Releases {
    with(|core| {
        let (held, _) = core.locks_mut();
        if let Some(at) = held.iter().rposition(|s| *s == site) {
            held.remove(at);
        }
    });
    Releases
}

/// It was given back.
pub(in crate::sync) fn released(_releases: Releases) {}

/// Sections are looked at by themselves here.
#[derive(Debug)]
pub struct SectionHold;

impl SectionHold {
    /// Nothing.
    #[inline]
    pub fn entered<T>(_pcp: &T) -> Self {
        Self
    }
}

/// Left when it is dropped, as in the real world.
impl Drop for SectionHold {
    fn drop(&mut self) {}
}
