//! Why memory is short: everywhere, in a cpuset, or for a memory policy (`constrained_alloc`).
//!
//! **What.** docs/kernel/oom.md#e2: the constraint and the number of pages that badness is measured
//! by.
//!
//! **Source.** mm/oom_kill.c: constrained_alloc, enum oom_constraint.
//!
//! **Differs.** No memory cgroups.

use crate::gfp::Gfp;
use crate::ids::NodeId;
use crate::oom::OomControl;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;

/// `enum oom_constraint`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Constraint {
    /// The whole machine.
    #[default]
    None = 0,
    /// The nodes of current's cpuset.
    Cpuset = 1,
    /// The nodes of the request's nodemask.
    MemoryPolicy = 2,
}

impl Constraint {
    /// As the summary line names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "CONSTRAINT_NONE",
            Self::Cpuset => "CONSTRAINT_CPUSET",
            Self::MemoryPolicy => "CONSTRAINT_MEMORY_POLICY",
        }
    }
}

impl Kernel {
    /// X5: the constraint of a request, and totalpages.
    pub fn constrained_alloc(&self, cx: &Cx, oc: &OomControl<'_>) -> (Constraint, u64) {
        let swap = self.reclaim.swap.total_pages();
        let all = self.totalram_pages.load(Ordering::Relaxed) + swap;
        let Some(zonelist) = oc.zonelist else { return (Constraint::None, all) };
        if oc.gfp.contains(Gfp::THISNODE) {
            return (Constraint::None, all);
        }
        let nodemask = oc.nodemask.load();
        if let Some(nodes) = nodemask.filter(|nodes| !self.n_memory.load().is_subset(nodes)) {
            let pages = nodes.iter().map(|node| self.oom_node_pages(node)).sum::<u64>();
            return (Constraint::MemoryPolicy, pages + swap);
        }
        let mut at = self.first_zones_zonelist::<false>(cx, zonelist, oc.highest, oc.nodemask);
        let mut is_limited = false;
        while let Some(id) = zonelist.zone(at) {
            let zone = &self.zones[id.index()];
            is_limited |= self.cpusets_enabled() && !self.cpuset_zone_allowed(cx, zone, oc.gfp);
            if is_limited || zonelist.is_end(at) {
                break;
            }
            at = self.next_zones_zonelist::<false>(cx, zonelist, at + 1, oc.highest, oc.nodemask);
        }
        if is_limited {
            let mems = cx.task.mems_allowed.load();
            let pages = mems.iter().map(|node| self.oom_node_pages(node)).sum::<u64>();
            return (Constraint::Cpuset, pages + swap);
        }
        (Constraint::None, all)
    }

    /// Pages of a node as totalpages counts them: those that exist (5.8+), or that it spans.
    fn oom_node_pages(&self, node: NodeId) -> u64 {
        if node.index() >= self.nr_node_ids() {
            return 0;
        }
        if self.policy.release.oom_counts_present_pages() {
            return self.zones_of(node).map(crate::zone::Zone::present_pages).sum();
        }
        let zones = || self.zones_of(node).filter(|z| z.spanned_pages() > 0);
        let start = zones().map(|z| z.start_pfn().0).min().unwrap_or(0);
        let end = zones().map(|z| z.end_pfn().0).max().unwrap_or(0);
        u64::from(end - start)
    }
}
