//! How tasks and address spaces follow their cpuset.
//!
//! **What.** Steps T1 to T4 (docs/kernel/cpusets.md#c4), `cpuset_change_task_nodemask` in the
//! variants of the axis `rebind` (C.5), attach, and memory migration.
//!
//! **Why word by word.** T3a writes masks that the task reads meanwhile without a lock; between any
//! two stores the explorer may let it read.
//!
//! **Source.** kernel/cgroup/cpuset.c: update_tasks_nodemask, cpuset_change_task_nodemask,
//! cpuset_attach, cpuset_migrate_mm; mm/mempolicy.c: mpol_rebind_mm.
//!
//! **Differs.** The work of cpuset_migrate_mm_wq is done by whoever flushes it.

use super::{Cpuset, CpusetError, CpusetFlag};
use crate::mempolicy::Mempolicy;
use crate::mempolicy::rebind::RebindRules;
use crate::mm::Mm;
use crate::nodemask::NodeMask;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Task};
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role};
use crate::sync::{self, Arc};

/// Pages of an address space that are to follow its cpuset (T3d).
#[derive(Clone, Debug)]
pub struct Migration {
    /// Whose pages; holds mm_users.
    pub mm: Arc<Mm>,
    /// Nodes that they leave.
    pub from: NodeMask,
    /// Nodes that they go to.
    pub to: NodeMask,
}

impl Kernel {
    /// T3b (`get_task_mm`): a task's mm with one user more, for [`Kernel::mmput`]; none of kernel
    /// threads and of tasks past exit_mm.
    pub fn get_task_mm(&self, task: &Task) -> Option<Arc<Mm>> {
        let locked = task.alloc_lock.lock();
        locked.mm.as_ref().filter(|mm| mm.mmget_not_zero()).map(Arc::clone)
    }

    /// T1 to T4 (`update_tasks_nodemask`). The caller holds cpuset_mutex.
    pub(super) fn update_tasks_nodemask(
        &self,
        cx: &Cx,
        cs: &Arc<Cpuset>,
    ) -> Result<(), CpusetError> {
        // T1
        self.cpusets.being_rebound.store(Arc::as_ptr(cs).addr(), Ordering::Relaxed);
        self.point(cx, Point::T1Rebound);
        // T2
        let newmems = self.guarantee_online_mems(cs);
        // T3
        let updated = self.update_each_task(cx, cs, &newmems);
        // T4
        if updated.is_ok() {
            cs.old_mems_allowed.store(&newmems);
        }
        self.cpusets.being_rebound.store(0, Ordering::Relaxed);
        self.point_event(cx, Point::T4Done, [newmems.low_word(), 0, 0]);
        updated
    }

    fn update_each_task(
        &self,
        cx: &Cx,
        cs: &Arc<Cpuset>,
        newmems: &NodeMask,
    ) -> Result<(), CpusetError> {
        let mut at = None;
        while let Some((number, task)) = cs.next_thread(at) {
            at = Some(number);
            self.cpuset_change_task_nodemask(cx, &task, newmems)?;
            // T3b
            let Some(mm) = self.get_task_mm(&task) else { continue };
            let vma_mems = if self.policy.release.vma_rebind_uses_effective_mems() {
                cs.effective_mems()
            } else {
                cs.mems_allowed()
            };
            let rebound = self.mpol_rebind_mm(cx, &mm, &vma_mems);
            // T3d
            if rebound.is_ok() && cs.has(CpusetFlag::MemoryMigrate) {
                self.queue_migration(mm, cs.old_mems_allowed.load(), *newmems);
            } else {
                self.mmput(cx, mm);
            }
            rebound?;
        }
        Ok(())
    }

    /// T3a (`cpuset_change_task_nodemask`): a task's mems and its task policy.
    ///
    /// # Errors
    /// `swap` only: no memory for a copy; the task keeps its old nodes.
    pub fn cpuset_change_task_nodemask(
        &self,
        cx: &Cx,
        task: &Task,
        newmems: &NodeMask,
    ) -> Result<(), CpusetError> {
        // Spinlocks are held: no place to be stopped at.
        cx.atomic_depth.set(cx.atomic_depth.get() + 1);
        let result = if self.swaps_policies() {
            self.swap_task_nodemask(cx, task, newmems)
        } else {
            self.rewrite_task_nodemask(cx, task, newmems);
            Ok(())
        };
        cx.atomic_depth.set(cx.atomic_depth.get() - 1);
        result
    }

    fn rewrite_task_nodemask(&self, cx: &Cx, task: &Task, newmems: &NodeMask) {
        let locked = task.alloc_lock.lock();
        let old = task.mems_allowed.load();
        let policy = locked.mempolicy.as_deref();
        let need_loop = policy.is_some() || !old.intersects(newmems);
        if !need_loop && !self.policy.rebind.moves_sequence_always() {
            // No reader can notice.
            self.change_mems(cx, task, policy, &old, newmems);
            return;
        }
        let _irqs_off = self.irqs_off(cx);
        task.mems_allowed_seq.write_begin();
        self.point(cx, Point::T3aSeqOdd);
        self.change_mems(cx, task, policy, &old, newmems);
        task.mems_allowed_seq.write_end();
        self.point(cx, Point::T3aSeqEven);
    }

    fn change_mems(
        &self,
        cx: &Cx,
        task: &Task,
        policy: Option<&Mempolicy>,
        old: &NodeMask,
        new: &NodeMask,
    ) {
        let (from, to) = (old.low_word(), new.low_word());
        task.mems_allowed.or_with(new, |i| self.between_words(cx, Point::T3aMemsOr, i));
        self.point_event(cx, Point::T3aMemsOr, [from, to, u64::from(task.pid)]);
        if let Some(policy) = policy {
            self.rebind_task_policy(cx, task, policy, new);
        }
        debug_assert!(!new.is_empty(), "a task is left without a node (T3a)");
        task.mems_allowed.store_with(new, |i| self.between_words(cx, Point::T3aMemsWritten, i));
        self.point_event(cx, Point::T3aMemsWritten, [from, to, u64::from(task.pid)]);
    }

    /// `mpol_rebind_task`: once, or in two steps.
    fn rebind_task_policy(&self, cx: &Cx, task: &Task, policy: &Mempolicy, new: &NodeMask) {
        let rules = RebindRules::of(&self.policy);
        let pid = u64::from(task.pid);
        let before = policy.nodes.load().low_word();
        let hook = |i| self.between_words(cx, Point::T3aPolicyWritten, i);
        let after = if self.policy.rebind.has_two_steps() {
            policy.rebind_step1(new, rules, hook).map(|bound| {
                let both = policy.nodes.load().low_word();
                self.point_event(cx, Point::T3aPolicyWritten, [before, both, pid]);
                policy.rebind_step2(&bound, hook);
                bound.nodes
            })
        } else {
            policy.rebind_once(new, rules, hook)
        };
        if let Some(nodes) = after {
            self.rebinding_moves_own_turn(cx, &nodes);
            self.point_event(cx, Point::T3aPolicyWritten, [before, nodes.low_word(), pid]);
        }
    }

    /// Up to 4.12 a rebind moves the interleave position, but of the task that writes the cpuset.
    fn rebinding_moves_own_turn(&self, cx: &Cx, nodes: &NodeMask) {
        if !self.policy.release.interleave_keeps_next() || cx.il_prev.get() == u16::MAX {
            return;
        }
        let next = crate::ids::NodeId(cx.il_prev.get());
        if !nodes.test(next) {
            cx.il_prev.set(nodes.next_in(next).map_or(u16::MAX, |n| n.0));
        }
    }

    /// A switch point between two words of a mask, where more than the first can hold a node.
    fn between_words(&self, cx: &Cx, point: Point, word: usize) {
        if word > 0 && self.nr_node_ids() > word * 64 {
            self.point(cx, point);
        }
    }

    /// T3c (`mpol_rebind_mm`): the policies of an address space's VMAs, under mmap_lock for
    /// writing, which waits for every fault in progress.
    ///
    /// # Errors
    /// `swap` only: no memory for a copy; VMAs before it have the new nodes.
    pub fn mpol_rebind_mm(&self, cx: &Cx, mm: &Mm, mems: &NodeMask) -> Result<(), CpusetError> {
        let start = cx.observer.as_ref().map(|_| sync::stamp());
        self.point_event(cx, Point::T3cMmapLock, [0, 0, u64::from(mm.id)]);
        let rebound = {
            let vmas = mm.mmap_write_lock();
            // From 6.5 on each VMA stays write-locked until mmap_lock is released; before, a fault
            // under the VMA's lock (6.4) may run beside the rebind.
            let mut locked = Vec::new();
            vmas.iter().try_for_each(|vma| {
                if self.swaps_policies() {
                    locked.push(self.swap_vma_policy(cx, mm, vma, mems)?);
                    return Ok(());
                }
                let policy = if self.policy.release.rebind_locks_vmas() {
                    let own = vma.lock.write();
                    let policy = own.policy.clone();
                    locked.push(own);
                    policy
                } else {
                    vma.policy()
                };
                if let Some(policy) = policy {
                    self.rebind_vma_policy(cx, mm, &policy, mems);
                }
                Ok(())
            })
        };
        self.point_event(cx, Point::T3cDone, [0, 0, u64::from(mm.id)]);
        if let (Some(observer), Some(start)) = (&cx.observer, start) {
            observer.span("rebind", start);
        }
        rebound
    }

    fn rebind_vma_policy(&self, cx: &Cx, mm: &Mm, policy: &Mempolicy, mems: &NodeMask) {
        let before = policy.nodes.load().low_word();
        let hook = |i| self.between_words(cx, Point::T3cVmaRebound, i);
        let rules = RebindRules::of(&self.policy);
        if let Some(nodes) = policy.rebind_once(mems, rules, hook) {
            let args = [before, nodes.low_word(), u64::from(mm.id)];
            self.point_event(cx, Point::T3cVmaRebound, args);
        }
    }

    /// Moves threads to a cpuset (a write to its cgroup.procs: all threads of a process; or tasks:
    /// one), rebinds the address spaces of the group leaders among them, and migrates.
    ///
    /// # Errors
    /// v1: the cpuset has no nodes.
    pub fn cpuset_attach(
        &self,
        cx: &Cx,
        cs: &Arc<Cpuset>,
        tasks: &[Arc<Task>],
    ) -> Result<(), CpusetError> {
        let _role = As::role(Role::Writer);
        let result = {
            let _mutex = self.cpusets.mutex.lock();
            if !cs.online.load(Ordering::Relaxed) {
                Err(CpusetError::Removed(cs.name.clone()))
            } else if !self.cpusets.is_v2() && cs.mems_allowed().is_empty() {
                Err(CpusetError::NoNodes(cs.name.clone()))
            } else {
                self.attach_locked(cx, cs, tasks)
            }
        };
        self.flush_cpuset_migrations(cx);
        result
    }

    /// `cpuset_attach` itself. The caller holds cpuset_mutex.
    pub(super) fn attach_locked(
        &self,
        cx: &Cx,
        cs: &Arc<Cpuset>,
        tasks: &[Arc<Task>],
    ) -> Result<(), CpusetError> {
        let mut old_mems = None;
        for task in tasks {
            let old = std::mem::replace(&mut *task.cpuset.lock(), Arc::clone(cs));
            old.remove_thread(task);
            cs.add_thread(task);
            old_mems.get_or_insert_with(|| old.old_mems_allowed.load());
        }
        let newmems = self.guarantee_online_mems(cs);
        for task in tasks {
            self.cpuset_change_task_nodemask(cx, task, &newmems)?;
        }
        let effective = cs.effective_mems();
        let from = old_mems.unwrap_or(effective);
        for leader in tasks.iter().filter(|task| task.is_leader()) {
            let Some(mm) = self.get_task_mm(leader) else { continue };
            let rebound = self.mpol_rebind_mm(cx, &mm, &effective);
            if rebound.is_ok() && cs.has(CpusetFlag::MemoryMigrate) {
                self.queue_migration(mm, from, effective);
            } else {
                self.mmput(cx, mm);
            }
            rebound?;
        }
        cs.old_mems_allowed.store(&effective);
        Ok(())
    }

    fn queue_migration(&self, mm: Arc<Mm>, from: NodeMask, to: NodeMask) {
        self.cpusets.migrations.lock().push(Migration { mm, from, to });
    }

    /// Does the migrations that are queued; a write waits for them after it released cpuset_mutex.
    pub(super) fn flush_cpuset_migrations(&self, cx: &Cx) {
        loop {
            let Some(migration) = self.cpusets.migrations.lock().pop() else { return };
            self.do_migrate_pages(cx, &migration.mm, &migration.from, &migration.to);
            self.mmput(cx, migration.mm);
        }
    }
}
