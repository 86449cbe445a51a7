//! Pages on nodes that their policy excludes.
//!
//! **What.** A request under MPOL_BIND that was given a nodemask got a page of another node.
//! Explained, and no finding, is: mems or the policy changed under the request (its cookie moved),
//! they don't meet, or the request has a right to reserves, for which S10 drops the nodemask.
//!
//! **Why here and not by a walk.** A page that was there before an mbind without MPOL_MF_MOVE, or
//! before a rebind, stays where it is by right. Only the moment of the allocation can tell.
//!
//! **A rebuild.** A walk doesn't test the zone that it starts from again. A request that has found
//! its preferred zoneref keeps its position; when a node's Movable zone goes off before the walk,
//! the lists shift, and a zone of another node stands there (J4-f). The page is handed out, nobody
//! looks again: in every release, and counted apart from what has no explanation.
//!
//! **Source.** docs/kernel/mempolicies.md#d4, S10, C.6, F.1.

use crate::gfp::Gfp;
use crate::ids::Pfn;
use crate::mempolicy::Mempolicy;
use crate::oracle::FindingKind;
use crate::policy::cpuset::mems_of;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, pf};

/// What a request saw before D.4 looked at the masks.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// The task's mems_allowed_seq.
    pub cookie: u32,
    /// [`Zonelists::version`](crate::zonelist::Zonelists::version).
    pub zonelists: u32,
}

impl Kernel {
    /// Judges a page that a request bound by `policy` got.
    #[cold]
    pub fn judge_placement(
        &self,
        cx: &Cx,
        gfp: Gfp,
        policy: &Mempolicy,
        before: Placement,
        pfn: Pfn,
    ) -> Option<FindingKind> {
        let nodes = policy.nodes.load();
        let node = self.page_node(pfn).filter(|node| !nodes.test(*node))?;
        let mems = mems_of(self.request_allowed(cx).as_deref(), cx).load();
        let has_rights = cx.in_interrupt()
            || cx.task.process.is_killed()
            || cx.task.has(pf::MEMALLOC | pf::EXITING)
            || !gfp.contains(Gfp::DIRECT_RECLAIM);
        let Placement { cookie, zonelists } = before;
        let moved = cookie & 1 == 1 || cx.task.mems_allowed_seq.raw() != cookie;
        if has_rights || moved || !nodes.intersects(&mems) {
            return None;
        }
        let now = self.zonelists.version();
        let (kind, why) = if now & 1 == 1 || now != zonelists {
            (FindingKind::MisplacedByRebuild, "zonelists were rebuilt under the request")
        } else {
            (FindingKind::MisplacedPage, "nothing changed since D.4")
        };
        let report = [format!("Policy nodes {nodes}, mems {mems}: they meet, and {why}.")];
        let title = format!("page {:#x} of node {node} for a policy of {nodes}", pfn.0);
        self.find(cx, kind, &title, &report);
        Some(kind)
    }
}
