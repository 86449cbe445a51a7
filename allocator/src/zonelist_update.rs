//! zonelist_update_seq: rebuilding zonelists, and how walkers notice (KERNEL-FACTS F).
//!
//! **What.** `build_all_zonelists` (Z1 to Z6), `zonelist_iter_begin`, `check_retry_zonelist`, by the
//! axis `zonelist`.
//!
//! **Differs.** See [`crate::zonelist`] for the arrays and the order of stores.

use crate::gfp::Gfp;
use crate::kernel::Kernel;
use crate::policy::ZonelistPolicy;
use crate::race::Point;
use crate::sync::atomic::Ordering;
use crate::task::{Cx, count};

impl Kernel {
    /// `zonelist_iter_begin`: spins while a rebuild is inside (`lockless`: never).
    pub fn zonelist_iter_begin(&self, cx: &Cx) -> u32 {
        let cookie = match self.policy.zonelist {
            ZonelistPolicy::StopMachine | ZonelistPolicy::Unprotected => return 0,
            ZonelistPolicy::Lockless => self.zonelist_update_seq.raw(),
            ZonelistPolicy::Seqlock
            | ZonelistPolicy::SeqlockDeferredPrintk
            | ZonelistPolicy::SeqlockIrqsave => self.zonelist_update_seq.read_begin(|rounds| {
                if rounds == 1 {
                    cx.event(Point::F2Spin, [0; 3]);
                }
                count(&cx.stats.seq_spins, 1);
                !self.clock.is_aborted()
            }),
        };
        self.point_event(cx, Point::F2Begin, [u64::from(cookie), 0, 0]);
        cookie
    }

    /// `check_retry_zonelist`: has a rebuild been inside since the cookie was taken?
    pub fn check_retry_zonelist(&self, cx: &Cx, gfp: Gfp, cookie: u32) -> bool {
        let _ = cx;
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

    /// Where a stop-machine rebuild parks tasks: at entry and end of every alloc and free, in
    /// that variant alone.
    #[inline]
    pub fn stop_machine_point(&self, cx: &Cx) {
        if self.stop_machine.load(Ordering::Relaxed) != 0 {
            self.park_for_stop_machine(cx);
        }
    }

    #[cold]
    fn park_for_stop_machine(&self, _cx: &Cx) {}
}
