//! Pages on nodes that their policy excludes.
//!
//! **What.** A request under MPOL_BIND that was given a nodemask got a page of another node. Explained,
//! and no finding, is: mems or the policy changed under the request (its cookie moved), they don't
//! meet, or the request has a right to reserves, for which S10 drops the nodemask.
//!
//! **Why here and not by a walk.** A page that was there before an mbind without MPOL_MF_MOVE, or
//! before a rebind, stays where it is by right. Only the moment of the allocation can tell.
//!
//! **Source.** KERNEL-FACTS D.4, S10, C.6.

use crate::cpuset::swap::mems_of;
use crate::gfp::Gfp;
use crate::ids::Pfn;
use crate::kernel::Kernel;
use crate::mempolicy::Mempolicy;
use crate::oracle::FindingKind;
use crate::task::{Cx, pf};

impl Kernel {
    /// Judges a page that a request bound by `policy` got; `cookie` is the cpuset's sequence from
    /// before D.4 looked at the masks.
    #[cold]
    pub fn judge_placement(
        &self,
        cx: &Cx,
        gfp: Gfp,
        policy: &Mempolicy,
        cookie: u32,
        pfn: Pfn,
    ) -> Option<FindingKind> {
        let nodes = policy.nodes.load();
        let node = self.page_node(pfn).filter(|node| !nodes.test(*node))?;
        let mems = mems_of(self.request_allowed(cx).as_deref(), cx).load();
        let has_rights = cx.in_interrupt()
            || cx.task.process.is_killed()
            || cx.task.has(pf::MEMALLOC | pf::EXITING)
            || !gfp.contains(Gfp::DIRECT_RECLAIM);
        let moved = cookie & 1 == 1 || cx.task.mems_allowed_seq.raw() != cookie;
        if has_rights || moved || !nodes.intersects(&mems) {
            return None;
        }
        let report = [format!(
            "policy nodes {nodes}, mems {mems}: they meet, and neither changed since D.4"
        )];
        let title = format!("page {:#x} of node {node} for a policy of {nodes}", pfn.0);
        self.find(cx, FindingKind::MisplacedPage, &title, &report);
        Some(FindingKind::MisplacedPage)
    }
}
