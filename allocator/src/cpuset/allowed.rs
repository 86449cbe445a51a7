//! What a request asks of its cpuset.
//!
//! **What.** The test per zone (docs/kernel/cpusets.md#c5), the cookies (C.2), and the masks that
//! others ask for.
//!
//! **Why unlocked.** Current reads its own mems_allowed while cpuset code rewrites them; only the
//! sequence count tells, and only whoever looks.
//!
//! **Source.** kernel/cgroup/cpuset.c: cpuset_node_allowed, cpuset_mems_allowed,
//! guarantee_online_mems, nearest_hardwall_ancestor; include/linux/cpuset.h:
//! read_mems_allowed_begin and _retry.
//!
//! **Differs.** Nothing.

use super::Cpuset;
use crate::gfp::Gfp;
use crate::ids::NodeId;
use crate::nodemask::NodeMask;
use crate::policy::cpuset::mems_of;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Task, count, pf};
use crate::sync::Arc;
use crate::zone::Zone;

impl Kernel {
    /// May the request take from this zone (`cpuset_zone_allowed`)? Asked only while cpusets are
    /// enabled and ALLOC_CPUSET is set.
    #[inline]
    pub fn cpuset_zone_allowed(&self, cx: &Cx, zone: &Zone, gfp: Gfp) -> bool {
        self.cpuset_node_allowed(cx, zone.node(), gfp)
    }

    /// May the request take from this node (`cpuset_node_allowed`)?
    #[inline]
    pub fn cpuset_node_allowed(&self, cx: &Cx, node: NodeId, gfp: Gfp) -> bool {
        let allowed = self.request_allowed(cx);
        if cx.in_interrupt() || mems_of(allowed.as_deref(), cx).test(node) {
            return true;
        }
        self.passes_cpuset_otherwise(cx, node, gfp)
    }

    #[cold]
    fn passes_cpuset_otherwise(&self, cx: &Cx, node: NodeId, gfp: Gfp) -> bool {
        if self.victim_leaves_cpuset(cx) {
            return true;
        }
        if gfp.contains(Gfp::HARDWALL) {
            return false;
        }
        if cx.task.has(pf::EXITING) {
            return true;
        }
        let mut cs = Arc::clone(&cx.task.cpuset.lock());
        let _callback = self.cpusets.callback_lock.lock();
        while !cs.is_wall() {
            let Some(parent) = cs.parent() else { break };
            cs = parent;
        }
        cs.mems_allowed.test(node)
    }

    /// Is current an OOM victim that the cpuset no longer holds? Up to 4.13 the marked thread,
    /// later its whole group.
    pub fn victim_leaves_cpuset(&self, cx: &Cx) -> bool {
        if self.policy.release.victim_group_passes_cpuset() {
            cx.task.process.is_oom_victim()
        } else {
            cx.task.has(pf::TIF_MEMDIE)
        }
    }

    /// S1 (`read_mems_allowed_begin`): 0 while cpusets are not enabled; spins while odd.
    #[inline]
    pub fn read_mems_allowed_begin(&self, cx: &Cx) -> u32 {
        if !self.cpusets.is_pre_enabled() {
            return 0;
        }
        cx.task.mems_allowed_seq.read_begin(|_| {
            count(&cx.stats.seq_spins, 1);
            !self.clock.is_aborted()
        })
    }

    /// C2 (`read_mems_allowed_retry`).
    #[inline]
    pub fn read_mems_allowed_retry(&self, cx: &Cx, cookie: u32) -> bool {
        self.cpusets_enabled() && cx.task.mems_allowed_seq.read_retry(cookie)
    }

    /// Do the nodes meet current's mems (`cpuset_nodemask_valid_mems_allowed`)?
    pub fn cpuset_nodemask_valid_mems_allowed(&self, cx: &Cx, nodes: &NodeMask) -> bool {
        cx.task.mems_allowed.intersects(nodes)
    }

    /// The nodes that a task's cpuset gives it (`cpuset_mems_allowed`), which may differ from
    /// `task.mems_allowed` while an update is under way.
    pub fn cpuset_mems_allowed(&self, task: &Task) -> NodeMask {
        let cs = Arc::clone(&task.cpuset.lock());
        let _callback = self.cpusets.callback_lock.lock();
        self.guarantee_online_mems(&cs)
    }

    /// Effective mems with memory, of the cpuset or the nearest ancestor that has some. The caller
    /// holds cpuset_mutex or callback_lock.
    pub(super) fn guarantee_online_mems(&self, cs: &Arc<Cpuset>) -> NodeMask {
        let n_memory = self.n_memory.load();
        let mut cs = Arc::clone(cs);
        loop {
            let mems = cs.effective_mems().and(&n_memory);
            if !mems.is_empty() {
                return mems;
            }
            // The root's mems follow N_MEMORY, which is never empty; for a moment of a hotplug they
            // may disagree.
            let Some(parent) = cs.parent() else { return n_memory };
            cs = parent;
        }
    }

    /// Is current's cpuset between T1 and T4 (`current_cpuset_is_being_rebound`)?
    pub fn is_current_cpuset_being_rebound(&self, cx: &Cx) -> bool {
        let cs = Arc::clone(&cx.task.cpuset.lock());
        let rebound = self.cpusets.being_rebound.load(crate::sync::atomic::Ordering::Relaxed);
        rebound == Arc::as_ptr(&cs).addr()
    }
}
