//! Is it time to look again? The tests that send a request back to S1 or S7.
//!
//! **What.** `check_retry_cpuset`, `check_retry_zonelist`, `should_reclaim_retry`,
//! `should_compact_retry`, and direct reclaim with the look that follows it
//! (docs/kernel/slow-path.md#b5 to B.8, C.6).
//!
//! The axis `cpuset` has its own part of these, in [`crate::policy::cpuset`].

use crate::gfp::{AllocFlags, Gfp};
use crate::ids::{PAGE_ALLOC_COSTLY_ORDER, Pfn};
use crate::page_alloc::AllocContext;
use crate::page_alloc::slow::Request;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, pf};
use crate::zone::Wmark;

/// What S1 remembers of the two sequence counters.
#[derive(Clone, Copy, Debug)]
pub struct Cookies {
    /// Of current's mems_allowed_seq.
    pub cpuset: u32,
    /// Of zonelist_update_seq.
    pub zonelist: u32,
}

/// What lives from one S1 to the next.
#[derive(Clone, Copy, Debug)]
pub struct RetryState {
    /// Taken at S1.
    pub cookies: Cookies,
    /// Passes through S7.
    pub passes: u32,
    /// Passes in a row without progress.
    pub no_progress_loops: u32,
    /// Passes since the task's mm was first seen hidden by MMF_OOM_SKIP, once there were very many.
    pub hidden_passes: u64,
}

impl RetryState {
    /// As S1 sets it.
    pub fn new(cookies: Cookies) -> Self {
        Self { cookies, passes: 0, no_progress_loops: 0, hidden_passes: 0 }
    }
}

impl Kernel {
    /// `check_retry_cpuset` or, in older variants, the bare cookie test; and
    /// `check_retry_zonelist`. True: back to S1.
    pub fn check_retry(
        &self,
        cx: &Cx,
        req: &Request<'_>,
        ac: &AllocContext<'_>,
        cookies: &Cookies,
    ) -> bool {
        self.check_retry_cpuset(cx, ac, cookies.cpuset)
            || self.check_retry_zonelist(req.gfp, cookies.zonelist)
    }

    /// S14: reclaims, looks, and once drains the pcplists and looks again
    /// (`__alloc_pages_direct_reclaim`). Err: the pages reclaimed.
    pub fn direct_reclaim<'a>(
        &'a self,
        cx: &Cx,
        req: &Request<'a>,
        flags: AllocFlags,
        ac: &AllocContext<'a>,
    ) -> Result<Pfn, u64> {
        let progress = self.try_to_free_pages(cx, req.gfp, req.order, ac);
        if progress == 0 {
            return Err(0);
        }
        for drained in [false, true] {
            let page = self.get_page_from_freelist(cx, req.gfp, req.order, flags, ac);
            if let Some(pfn) = page {
                return Ok(pfn);
            }
            if !drained {
                self.unreserve_highatomic_pageblock(cx, ac, false);
                self.drain_all_pages(cx, None);
            }
        }
        Err(progress)
    }

    /// S17 (`should_reclaim_retry`).
    pub fn should_reclaim_retry(
        &self,
        cx: &Cx,
        req: &Request<'_>,
        ac: &AllocContext<'_>,
        flags: AllocFlags,
        progress: bool,
        state: &mut RetryState,
    ) -> bool {
        if progress && req.order <= PAGE_ALLOC_COSTLY_ORDER {
            state.no_progress_loops = 0;
        } else {
            state.no_progress_loops += 1;
        }
        if state.no_progress_loops > self.config.max_reclaim_retries {
            return self.unreserve_highatomic_pageblock(cx, ac, true);
        }
        // From the head of the list: other than gpfl a stale zoneref doesn't matter here.
        let zonelist = ac.zonelist.get();
        let mask = ac.nodemask.get();
        let mut at = self.first_zones_zonelist::<false>(cx, zonelist, ac.highest_zoneidx, mask);
        while let Some(id) = zonelist.zone(at) {
            let zone = &self.zones[id.index()];
            let hidden = self.rules.s17_asks_cpuset
                && flags.contains(AllocFlags::CPUSET)
                && self.cpusets_enabled()
                && !self.cpuset_zone_allowed(cx, zone, req.gfp);
            if !hidden {
                let available = self.zone_reclaimable_pages(zone) + zone.free_pages_snapshot();
                let min = zone.wmark_pages(Wmark::Min);
                if self.zone_watermark_ok_free(
                    zone,
                    req.order,
                    min,
                    ac.highest_zoneidx,
                    flags,
                    available,
                ) {
                    if cx.task.has(pf::WQ_WORKER) {
                        self.sleep_ticks_in_allocator(cx, 1);
                    }
                    return true;
                }
            }
            if zonelist.is_end(at) {
                break;
            }
            at = self.next_zones_zonelist::<false>(cx, zonelist, at + 1, ac.highest_zoneidx, mask);
        }
        self.rules.s17_unreserves && self.unreserve_highatomic_pageblock(cx, ac, true)
    }

    /// S18 without compaction: some zone has order-0 pages above its min mark.
    pub fn should_compact_retry(&self, order: u8, ac: &AllocContext<'_>) -> bool {
        if order == 0 || order > PAGE_ALLOC_COSTLY_ORDER {
            return false;
        }
        let zonelist = ac.zonelist.get();
        let mask = ac.nodemask.get();
        (0..).map_while(|at| (!zonelist.is_end(at)).then(|| zonelist.zone(at))).flatten().any(
            |id| {
                let zone = &self.zones[id.index()];
                id.zone_idx() <= ac.highest_zoneidx
                    && mask.has(id.node())
                    && self.zone_watermark_ok(
                        zone,
                        0,
                        zone.wmark_pages(Wmark::Min),
                        ac.highest_zoneidx,
                        AllocFlags::empty(),
                    )
            },
        )
    }

    /// S21: a request that must not fail digs deeper than anybody, then goes on.
    pub fn nofail_last_resort<'a>(
        &'a self,
        cx: &Cx,
        req: &Request<'a>,
        ac: &AllocContext<'a>,
    ) -> Option<Pfn> {
        if !req.gfp.contains(Gfp::NOFAIL | Gfp::DIRECT_RECLAIM) {
            return None;
        }
        let deeper = self.rules.nofail_flags;
        loop {
            for flags in [deeper | AllocFlags::CPUSET, deeper] {
                let page = self.get_page_from_freelist(cx, req.gfp, req.order, flags, ac);
                if page.is_some() || self.clock.is_aborted() {
                    return page;
                }
            }
            if self.clock.is_aborted() {
                return None;
            }
            if let Ok(pfn) = self.direct_reclaim(cx, req, deeper, ac) {
                return Some(pfn);
            }
            self.sleep_ticks_in_allocator(cx, 1);
        }
    }
}
