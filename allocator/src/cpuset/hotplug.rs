//! cpusets follow the nodes that have memory.
//!
//! **What.** `cpuset_track_online_nodes` and its work (docs/kernel/cpusets.md#c4, last paragraph;
//! checked.md).
//!
//! **Why it matters.** Between N_MEMORY's change and this update tasks have mems without memory:
//! their requests fail the cpuset test in every zone although other nodes are free (J.6).
//!
//! **Source.** kernel/cgroup/cpuset.c: cpuset_hotplug_workfn, cpuset_hotplug_update_tasks,
//! remove_tasks_in_empty_cpuset.
//!
//! **Differs.** Without a thread of the CPU (small worlds) the work is done at once.

use super::{Cpuset, CpusetError};
use crate::run::cpu::Completion;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;

impl Kernel {
    /// Called when N_MEMORY has changed: updates cpusets at once (6.10+) or queues the work on this
    /// CPU; the completion says when it is done.
    pub fn cpuset_track_online_nodes(&self, cx: &Cx) -> Arc<Completion> {
        let done = Arc::new(Completion::default());
        let cpu = &self.cpus[cx.cpu().index()];
        let at_once = self.policy.release.hotplug_updates_cpusets_at_once();
        if at_once || !cpu.has_thread.load(Ordering::Relaxed) {
            self.cpuset_hotplug_update(cx);
            done.complete();
        } else {
            cpu.work.queue(Box::new(|kernel, cx| kernel.cpuset_hotplug_update(cx)), &done);
        }
        done
    }

    /// `cpuset_hotplug_workfn`: the root takes over N_MEMORY, then each cpuset below, parents
    /// first.
    pub fn cpuset_hotplug_update(&self, cx: &Cx) {
        let top = Arc::clone(&self.cpusets.top);
        {
            let _mutex = self.cpusets.mutex.lock();
            let new = self.n_memory.load();
            if top.effective_mems() != new {
                {
                    let _callback = self.cpusets.callback_lock.lock();
                    if !self.cpusets.is_v2() {
                        top.mems_allowed.store(&new);
                    }
                    top.effective_mems.store(&new);
                }
                self.report_update(self.update_tasks_nodemask(cx, &top));
            }
        }
        let mut below = top.children();
        below.reverse();
        while let Some(cs) = below.pop() {
            self.cpuset_hotplug_update_tasks(cx, &cs);
            below.extend(cs.children().into_iter().rev());
        }
        self.flush_cpuset_migrations(cx);
    }

    fn cpuset_hotplug_update_tasks(&self, cx: &Cx, cs: &Arc<Cpuset>) {
        let _mutex = self.cpusets.mutex.lock();
        let Some(parent) = cs.parent() else { return };
        let v2 = self.cpusets.is_v2();
        let above = parent.effective_mems();
        let mut new = cs.mems_allowed().and(&above);
        let updated = new != cs.effective_mems();
        if v2 && new.is_empty() {
            new = above;
        }
        {
            let _callback = self.cpusets.callback_lock.lock();
            // v1 forgets what was configured: a node that comes back does not return.
            if !v2 {
                cs.mems_allowed.store(&new);
            }
            cs.effective_mems.store(&new);
        }
        if !new.is_empty() {
            self.check_insane_mems_config(&new);
            if updated {
                self.report_update(self.update_tasks_nodemask(cx, cs));
            }
            return;
        }
        self.remove_tasks_in_empty_cpuset(cx, cs);
    }

    /// Nobody waits for this work: an update that ran out of memory (`swap` only) is logged.
    fn report_update(&self, result: Result<(), CpusetError>) {
        if let Err(error) = result {
            self.log(&format!("cpuset: {error}"));
        }
    }

    /// v1: tasks of a cpuset without memory go to the nearest ancestor that has some.
    fn remove_tasks_in_empty_cpuset(&self, cx: &Cx, cs: &Arc<Cpuset>) {
        let mut target = cs.parent();
        while let Some(ancestor) = target {
            if !ancestor.effective_mems().is_empty() {
                let tasks = cs.threads();
                if !tasks.is_empty() {
                    self.report_update(self.attach_locked(cx, &ancestor, &tasks));
                }
                return;
            }
            target = ancestor.parent();
        }
    }
}
