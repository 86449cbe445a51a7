//! Writing cpuset.mems and a cpuset's flags.
//!
//! **What.** Steps W1 to W6 (docs/kernel/cpusets.md#c3), with the rules of v1 and v2.
//!
//! **Source.** kernel/cgroup/cpuset.c: update_nodemask, update_nodemasks_hier, validate_change,
//! update_flag.
//!
//! **Differs.** That a child may not keep nodes that its parent loses is v1's rule in every
//! release; early v2 had it too.

use super::{Cpuset, CpusetError, CpusetFlag};
use crate::nodemask::{AtomicNodeMask, NodeMask};
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role};

/// A cpuset as it would be after a change.
struct Trial<'a> {
    cs: &'a Arc<Cpuset>,
    mems: NodeMask,
    exclusive: bool,
}

impl Kernel {
    /// Writes cpuset.mems: returns when every task and address space of the cpuset and of those
    /// below has been updated, and migration (if asked for) is done.
    ///
    /// # Errors
    /// What the kernel refuses; nothing has changed then.
    pub fn cpuset_write_mems(
        &self,
        cx: &Cx,
        cs: &Arc<Cpuset>,
        mems: &NodeMask,
    ) -> Result<(), CpusetError> {
        let _role = As::role(Role::Writer);
        let result = {
            // W1
            let _mutex = self.cpusets.mutex.lock();
            self.update_nodemask(cx, cs, mems)
        };
        self.flush_cpuset_migrations(cx);
        result
    }

    fn update_nodemask(
        &self,
        cx: &Cx,
        cs: &Arc<Cpuset>,
        mems: &NodeMask,
    ) -> Result<(), CpusetError> {
        if cs.is_root() {
            return Err(CpusetError::Root(cs.name.clone()));
        }
        if !cs.online.load(Ordering::Relaxed) {
            return Err(CpusetError::Removed(cs.name.clone()));
        }
        // W2
        let nodes = mems.andnot(&self.cpusets.top.mems_allowed());
        if !nodes.is_empty() {
            return Err(CpusetError::NotInRoot { name: cs.name.clone(), nodes: Box::new(nodes) });
        }
        // W3: no sequence count moves.
        if cs.mems_allowed() == *mems {
            return Ok(());
        }
        // W4
        let exclusive = cs.has(CpusetFlag::MemExclusive);
        self.validate_change(&Trial { cs, mems: *mems, exclusive })?;
        self.check_insane_mems_config(mems);
        // W5
        let old = cs.mems_allowed();
        self.store_mask(&cs.mems_allowed, mems);
        self.point_event(cx, Point::W5Mems, [mems.low_word(), 0, 0]);
        // W6
        let updated = self.update_nodemasks_hier(cx, cs);
        if updated.is_err() {
            // So that writing the same again is no empty write (W3).
            self.store_mask(&cs.mems_allowed, &old);
        }
        updated
    }

    fn store_mask(&self, mask: &AtomicNodeMask, nodes: &NodeMask) {
        let _callback = self.cpusets.callback_lock.lock();
        mask.store(nodes);
    }

    /// W6: the cpuset and its descendants, parents first.
    fn update_nodemasks_hier(&self, cx: &Cx, cs: &Arc<Cpuset>) -> Result<(), CpusetError> {
        let Some(parent) = cs.parent() else { return Ok(()) };
        let above = parent.effective_mems();
        let mut effective = cs.mems_allowed().and(&above);
        if self.cpusets.is_v2() && effective.is_empty() {
            effective = above;
        }
        // Nothing changes below either.
        let old = cs.effective_mems();
        if effective == old {
            return Ok(());
        }
        self.store_mask(&cs.effective_mems, &effective);
        self.point_event(cx, Point::W6Effective, [effective.low_word(), 0, 0]);
        let below =
            || cs.children().iter().try_for_each(|child| self.update_nodemasks_hier(cx, child));
        let updated = self.update_tasks_nodemask(cx, cs).and_then(|()| below());
        if updated.is_err() {
            self.store_mask(&cs.effective_mems, &old);
        }
        updated
    }

    /// W4 (`validate_change`).
    fn validate_change(&self, trial: &Trial<'_>) -> Result<(), CpusetError> {
        let cs = trial.cs;
        let name = || cs.name.clone();
        let v1 = !self.cpusets.is_v2();
        let within =
            |inner: &NodeMask, inner_exclusive: bool, outer: &NodeMask, outer_exclusive| {
                inner.is_subset(outer) && (!inner_exclusive || outer_exclusive)
            };
        if v1 {
            for child in cs.children() {
                let exclusive = child.has(CpusetFlag::MemExclusive);
                if !within(&child.mems_allowed(), exclusive, &trial.mems, trial.exclusive) {
                    return Err(CpusetError::ChildUses(name()));
                }
            }
        }
        let Some(parent) = cs.parent() else { return Ok(()) };
        let parent_exclusive = parent.has(CpusetFlag::MemExclusive) || parent.is_root();
        if v1 && !within(&trial.mems, trial.exclusive, &parent.mems_allowed(), parent_exclusive) {
            return Err(CpusetError::NotInParent(name()));
        }
        for sibling in parent.children().iter().filter(|c| !Arc::ptr_eq(c, cs)) {
            let exclusive = trial.exclusive || sibling.has(CpusetFlag::MemExclusive);
            if exclusive && trial.mems.intersects(&sibling.mems_allowed()) {
                return Err(CpusetError::Exclusive(name()));
            }
        }
        let loses_all = trial.mems.is_empty() && !cs.mems_allowed().is_empty();
        if loses_all && cs.has_threads() {
            return Err(CpusetError::NoNodes(name()));
        }
        Ok(())
    }

    /// Remembers for good that some cpuset has only nodes whose memory is all Movable, where
    /// requests for lower zones can't be served (5.16).
    pub(super) fn check_insane_mems_config(&self, mems: &NodeMask) {
        let movable_only = !mems.is_empty() && !self.have_memory_below_movable(mems);
        if self.policy.release.has_insane_cpuset_test() && movable_only {
            self.cpusets.keys.insane.store(true, Ordering::Relaxed);
        }
    }

    /// Was ever a cpuset given Movable memory only (`cpusets_insane_config`)?
    #[inline]
    pub fn cpusets_insane_config(&self) -> bool {
        self.cpusets.keys.insane.load(Ordering::Relaxed)
    }

    /// Sets or clears a flag file of a v1 cpuset.
    ///
    /// # Errors
    /// mem_exclusive that a relative stands against.
    pub fn cpuset_write_flag(
        &self,
        cs: &Arc<Cpuset>,
        flag: CpusetFlag,
        on: bool,
    ) -> Result<(), CpusetError> {
        let _mutex = self.cpusets.mutex.lock();
        if flag == CpusetFlag::MemExclusive {
            self.validate_change(&Trial { cs, mems: cs.mems_allowed(), exclusive: on })?;
        }
        let _callback = self.cpusets.callback_lock.lock();
        if on {
            cs.flags.fetch_or(flag.bit(), Ordering::Relaxed);
        } else {
            cs.flags.fetch_and(!flag.bit(), Ordering::Relaxed);
        }
        Ok(())
    }
}
