//! How a request notices a rebuild, by the variants of the axis `zonelist`.
//!
//! **What.** zonelist_iter_begin at S1 and check_retry_zonelist beside the test of the cpuset
//! (docs/kernel/zonelists.md#f2).
//!
//! **Why.** A reader that waits for the writer may wait for the code that it interrupted; one that
//! does not wait has to be told in another way.
//!
//! **Source.** mm/page_alloc.c: zonelist_iter_begin, check_retry_zonelist.
//!
//! **Differs.** `lockless` is the alternative of 9 August 2023 (v2), not merged.

use super::ZonelistPolicy;
use crate::gfp::Gfp;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;

impl Kernel {
    /// `zonelist_iter_begin`: spins while a rebuild is inside (`lockless`: never).
    pub fn zonelist_iter_begin(&self, cx: &Cx) -> u32 {
        let start = cx.observer.as_ref().map(|_| crate::sync::stamp());
        let cookie = match self.policy.zonelist {
            ZonelistPolicy::StopMachine | ZonelistPolicy::Unprotected => return 0,
            ZonelistPolicy::Lockless => self.zonelist_update_seq.raw(),
            ZonelistPolicy::Seqlock
            | ZonelistPolicy::SeqlockDeferredPrintk
            | ZonelistPolicy::SeqlockIrqsave => self.zonelist_seq_begin(cx),
        };
        if let (Some(observer), Some(start)) = (&cx.observer, start) {
            observer.span("slow_entry", start);
        }
        self.point_event(cx, Point::F2Begin, [u64::from(cookie), 0, 0]);
        cookie
    }

    /// `check_retry_zonelist`: has a rebuild been inside since the cookie was taken?
    pub fn check_retry_zonelist(&self, gfp: Gfp, cookie: u32) -> bool {
        match self.policy.zonelist {
            ZonelistPolicy::StopMachine | ZonelistPolicy::Unprotected => false,
            ZonelistPolicy::Lockless => {
                let now = self.zonelist_update_seq.raw();
                gfp.contains(Gfp::DIRECT_RECLAIM) && (now != cookie || now & 1 == 1)
            }
            ZonelistPolicy::Seqlock
            | ZonelistPolicy::SeqlockDeferredPrintk
            | ZonelistPolicy::SeqlockIrqsave => self.zonelist_update_seq.read_retry(cookie),
        }
    }
}
