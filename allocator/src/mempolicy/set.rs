//! set_mempolicy, and copies of policies.
//!
//! **What.** docs/kernel/mempolicies.md#d6 (set_mempolicy), D.2 under the right lock, C.7
//! (`mpol_dup`).
//!
//! **Why here.** Whoever makes a policy takes the task's mems_allowed into account and must not
//! miss a cpuset update that is under way.
//!
//! **Source.** mm/mempolicy.c: do_set_mempolicy, mpol_set_nodemask, __mpol_dup.

use super::{Mempolicy, MempolicyError, Mode, PolicySpec};
use crate::mempolicy::rebind::RebindRules;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::Arc;

impl Kernel {
    /// Makes a policy for current (`mpol_new` and `mpol_set_nodemask`); None for MPOL_DEFAULT. The
    /// caller holds task_lock or mmap_lock for writing.
    ///
    /// # Errors
    /// -EINVAL, with its reason.
    pub fn mpol_new(
        &self,
        cx: &Cx,
        spec: &PolicySpec,
    ) -> Result<Option<Arc<Mempolicy>>, MempolicyError> {
        let mode = spec.check(self.policy.release)?;
        if mode == Mode::Default {
            return Ok(None);
        }
        let mems_allowed = cx.task.mems_allowed.load();
        let n_memory = self.n_memory.load();
        let policy = Mempolicy::create(spec, mode, &mems_allowed, &n_memory, self.nr_node_ids())?;
        Ok(Some(Arc::new(policy)))
    }

    /// Sets current's task policy. Only current allocates by it, so no sequence count moves.
    ///
    /// # Errors
    /// -EINVAL, with its reason; the old policy stays.
    pub fn set_mempolicy(&self, cx: &Cx, spec: &PolicySpec) -> Result<(), MempolicyError> {
        let new;
        {
            let mut locked = cx.task.alloc_lock.lock();
            new = self.mpol_new(cx, spec)?;
            locked.mempolicy.clone_from(&new);
            if self.swaps_policies() {
                let mems = cx.task.mems_allowed.load();
                self.publish_allowed(&cx.task, &mut locked, &mems);
            }
        }
        self.start_interleaving(cx, new.as_deref());
        *cx.mempolicy.borrow_mut() = new;
        Ok(())
    }

    /// Copies a policy, for a fork, a VMA split or mbind. While current's cpuset is being rebound
    /// the copy is rebound at once: the walk may have passed its place already.
    pub fn mpol_dup(&self, cx: &Cx, old: &Arc<Mempolicy>) -> Arc<Mempolicy> {
        let copy = {
            // The task's own policy is rewritten under task_lock; a VMA's can't be now, because the
            // caller holds mmap_lock.
            let locked = cx.task.alloc_lock.lock();
            let own = locked.mempolicy.as_ref().is_some_and(|own| Arc::ptr_eq(own, old));
            if own {
                old.duplicate(self.nr_node_ids())
            } else {
                drop(locked);
                old.duplicate(self.nr_node_ids())
            }
        };
        if self.is_current_cpuset_being_rebound(cx) {
            let mems = self.cpuset_mems_allowed(&cx.task);
            copy.rebind_once(&mems, RebindRules::of(&self.policy), |_| {});
        }
        Arc::new(copy)
    }
}
