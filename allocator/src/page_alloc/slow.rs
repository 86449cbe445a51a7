//! The slow path, step by step (`__alloc_pages_slowpath`, docs/kernel/slow-path.md#b5: the labels
//! are its).
//!
//! **Why it reads as one list.** The races are about the order of these steps; each stands once, in
//! the kernel's order, and what differs between releases is asked from the rules.
//!
//! **Differs.** Compaction is what merging gives: S6 and S15 try nothing and S18 answers as a
//! kernel without CONFIG_COMPACTION does.

use crate::gfp::{AllocFlags, Gfp};
use crate::ids::{NodeId, PAGE_ALLOC_COSTLY_ORDER, Pfn};
use crate::oracle::RequestLog;
use crate::page_alloc::retry::{Cookies, RetryState};
use crate::page_alloc::{AllocContext, Nodemask};
use crate::policy::cpuset::mems_of;
use crate::policy::release::VictimExit;
use crate::race::Point;
use crate::race::timeline::NO_ZONE;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, count, pf};

/// What the caller asked for, unchanged through all restarts.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Flags, without the fast path's HARDWALL.
    pub gfp: Gfp,
    /// Order.
    pub order: u8,
    /// Node whose zonelist is walked.
    pub preferred_nid: NodeId,
    /// The nodemask that was passed: a policy's live nodes, an explicit mask, or NULL.
    pub nodemask: Nodemask<'a>,
}

/// Where a pass through the steps ends.
enum Outcome {
    Got(Pfn),
    Restart,
    NoPage,
}

impl Kernel {
    /// The slow path: until a page, or S22.
    #[cold]
    #[inline(never)]
    pub fn alloc_pages_slowpath<'a>(
        &'a self,
        cx: &Cx,
        req: &Request<'a>,
        ac: &AllocContext<'a>,
    ) -> Option<Pfn> {
        count(&cx.stats.slow_entries, 1);
        // A request in an interrupt must not disturb the log of the one that it interrupted.
        let interrupted = cx.request.replace(RequestLog::new(req, ac.highest_zoneidx));
        if !self.instrumented && matches!(req.nodemask, Nodemask::Live(_)) {
            let [mask, mems] = cx.seen_at_d4.get();
            cx.event(Point::D4Nodemask, [mask, mems, 0]);
        }
        let page = self.slowpath_restarts(cx, req, ac);
        cx.request.replace(interrupted);
        page
    }

    fn slowpath_restarts<'a>(
        &'a self,
        cx: &Cx,
        req: &Request<'a>,
        ac: &AllocContext<'a>,
    ) -> Option<Pfn> {
        let mut restarts = 0u64;
        loop {
            // S1. Up to 4.9 the caller's cookie is older and looked at only after a failure.
            let mut state = RetryState::new(Cookies {
                cpuset: self.cpuset_cookie(cx),
                zonelist: self.zonelist_iter_begin(cx),
            });
            cx.request.borrow_mut().restart(self.zonelist_update_seq.raw());
            let cookies = [u64::from(state.cookies.cpuset), u64::from(state.cookies.zonelist), 0];
            self.point_event(cx, Point::S1Cookies, cookies);
            match self.slowpath_steps(cx, req, ac, &mut state) {
                Outcome::Got(pfn) => {
                    if cx.task.process.is_oom_victim() && self.cpusets_enabled() {
                        self.note_victim_page(cx, pfn);
                    }
                    return Some(pfn);
                }
                Outcome::Restart => {}
                Outcome::NoPage => {
                    // S20
                    let again = self.recheck_before_end(cx, req, ac, &state.cookies);
                    self.point_event(cx, Point::S20Nopage, [u64::from(again), 0, 0]);
                    if !again {
                        match self.nofail_last_resort(cx, req, ac) {
                            Some(pfn) => return Some(pfn),
                            None => return self.fail(cx, req, ac),
                        }
                    }
                }
            }
            // `swap`: the caller begins again with the newest snapshot.
            if cx.cpuset.is_stale.get() && !cx.in_interrupt() {
                return None;
            }
            count(&cx.stats.restarts, 1);
            restarts += 1;
            self.note_restarts(cx, restarts);
            if self.clock.is_aborted() {
                return self.fail(cx, req, ac);
            }
        }
    }

    /// S2 to S19d.
    fn slowpath_steps<'a>(
        &'a self,
        cx: &Cx,
        req: &Request<'a>,
        ac: &AllocContext<'a>,
        state: &mut RetryState,
    ) -> Outcome {
        let Request { gfp, order, .. } = *req;
        // S2
        let mut flags = self.gfp_to_alloc_flags(cx, gfp, order);
        // S3: fresh position (not up to 4.9) for the zonelist and nodemask as they are: what C1 or
        // S10 dropped stays dropped.
        if self.takes_new_position() {
            ac.preferred_zoneref.set(self.first_zones_zonelist::<true>(
                cx,
                ac.zonelist.get(),
                ac.highest_zoneidx,
                ac.nodemask.get(),
            ));
        }
        self.preferred_event(cx, Point::S3Preferred, ac);
        if ac.preferred_zone().is_none() && self.takes_new_position() {
            return Outcome::NoPage;
        }
        // S3b
        if self.cpusets_insane_config()
            && gfp.contains(Gfp::HARDWALL)
            && self.has_no_zone_in_mems(cx, ac)
        {
            return Outcome::NoPage;
        }
        // S4
        if gfp.contains(Gfp::KSWAPD_RECLAIM) {
            self.wake_all_kswapds(cx, gfp, order, ac);
            self.point(cx, Point::S4WakeKswapd);
        }
        // S5
        let page = self.get_page_from_freelist(cx, gfp, order, flags, ac);
        cx.event(Point::S5Try, [u64::from(page.is_some()), 0, 0]);
        if let Some(pfn) = page {
            return Outcome::Got(pfn);
        }
        let may_reclaim = gfp.contains(Gfp::DIRECT_RECLAIM);
        // S6: costly NORETRY requests give up when compaction is deferred; here it always is.
        if may_reclaim && order > PAGE_ALLOC_COSTLY_ORDER && gfp.contains(Gfp::NORETRY) {
            return Outcome::NoPage;
        }
        loop {
            // S7
            state.passes += 1;
            cx.request.borrow_mut().pass();
            self.look(cx, req);
            self.point_event(cx, Point::S7Retry, [u64::from(state.passes), 0, 0]);
            if state.passes > 1 {
                count(&cx.stats.slow_retries, 1);
            }
            if self.recheck_at_retry(cx, req, ac, &state.cookies) {
                return Outcome::Restart;
            }
            self.note_passes(cx, req, ac, state);
            if self.clock.is_aborted() {
                return Outcome::NoPage;
            }
            // S8
            if gfp.contains(Gfp::KSWAPD_RECLAIM) {
                self.wake_all_kswapds(cx, gfp, order, ac);
            }
            // S9: reserve flags replace the others, CPUSET among them.
            let reserve = self.reserve_flags(cx, gfp);
            if !reserve.is_empty() {
                flags = self.with_reserve_flags(gfp, flags, reserve);
                cx.event(Point::S9Reserve, [u64::from(reserve.bits()), 0, 0]);
            } else if cx.task.process.is_oom_victim() {
                count(&cx.stats.bare_victim_passes, 1);
            }
            // S10
            if !flags.contains(AllocFlags::CPUSET) || !reserve.is_empty() {
                self.reset_to_any_node(cx, req, ac);
            }
            // S11
            let page = self.get_page_from_freelist(cx, gfp, order, flags, ac);
            self.look(cx, req);
            self.point_event(cx, Point::S11Try, [u64::from(page.is_some()), 0, 0]);
            if let Some(pfn) = page {
                return Outcome::Got(pfn);
            }
            if !reserve.is_empty() && cx.task.process.is_oom_victim() {
                self.note_victim_right(cx, req, ac, flags);
            }
            // S12, S13
            if !may_reclaim || cx.task.has(pf::MEMALLOC) {
                return Outcome::NoPage;
            }
            if self.rules.victim_exit == VictimExit::BeforeReclaim
                && cx.task.has(pf::TIF_MEMDIE)
                && !gfp.contains(Gfp::NOFAIL)
            {
                return Outcome::NoPage;
            }
            // S14
            let progress = match self.direct_reclaim(cx, req, flags, ac) {
                Ok(pfn) => return Outcome::Got(pfn),
                Err(progress) => progress,
            };
            self.look(cx, req);
            self.point_event(cx, Point::S14Reclaim, [progress, 0, 0]);
            // S16
            if gfp.contains(Gfp::NORETRY)
                || order > PAGE_ALLOC_COSTLY_ORDER && !gfp.contains(Gfp::RETRY_MAYFAIL)
            {
                return Outcome::NoPage;
            }
            // S17
            let again = self.should_reclaim_retry(cx, req, ac, flags, progress > 0, state);
            self.look(cx, req);
            let loops = u64::from(state.no_progress_loops);
            self.point_event(cx, Point::S17Retry, [u64::from(again), loops, 0]);
            if again {
                continue;
            }
            // S18
            if progress > 0 && self.should_compact_retry(order, ac) {
                continue;
            }
            // S19a
            let changed = self.recheck_before_end(cx, req, ac, &state.cookies);
            self.look(cx, req);
            self.point_event(cx, Point::S19aCheck, [u64::from(changed), 0, 0]);
            if changed {
                return Outcome::Restart;
            }
            // S19b
            self.point(cx, Point::S19bMayOom);
            let (page, progress) = self.may_oom(cx, req, ac);
            if let Some(pfn) = page {
                return Outcome::Got(pfn);
            }
            // S19c
            if self.victim_exit(cx, gfp, flags) {
                return Outcome::NoPage;
            }
            // S19d
            if !progress {
                return Outcome::NoPage;
            }
            state.no_progress_loops = 0;
            self.point(cx, Point::S19dProgress);
        }
    }

    /// Has the zonelist no zone for the request on a node of current's mems (S3b)?
    fn has_no_zone_in_mems(&self, cx: &Cx, ac: &AllocContext<'_>) -> bool {
        let zonelist = ac.zonelist.get();
        let allowed = self.request_allowed(cx);
        let mems = Nodemask::Live(mems_of(allowed.as_deref(), cx));
        let first = self.first_zones_zonelist::<true>(cx, zonelist, ac.highest_zoneidx, mems);
        zonelist.zone(first).is_none()
    }

    fn preferred_event(&self, cx: &Cx, point: Point, ac: &AllocContext<'_>) {
        let zone = ac.preferred_zone().map_or(NO_ZONE, |z| u64::from(z.0));
        self.point_event(cx, point, [ac.preferred_zoneref.get() as u64, zone, 0]);
    }

    /// S10: a request that may go to any node starts again from the head of a zonelist.
    fn reset_to_any_node<'a>(&'a self, cx: &Cx, req: &Request<'a>, ac: &AllocContext<'a>) {
        if self.rules.s10_drops_nodemask {
            ac.nodemask.set(Nodemask::None);
        } else {
            ac.zonelist.set(self.node_zonelist(self.cpu_node(cx.cpu()), req.gfp));
        }
        ac.preferred_zoneref.set(self.first_zones_zonelist::<true>(
            cx,
            ac.zonelist.get(),
            ac.highest_zoneidx,
            ac.nodemask.get(),
        ));
        self.preferred_event(cx, Point::S10Reset, ac);
    }

    /// S22.
    fn fail(&self, cx: &Cx, req: &Request<'_>, ac: &AllocContext<'_>) -> Option<Pfn> {
        count(&cx.stats.failures, 1);
        self.note_failed(cx, req.gfp);
        self.point(cx, Point::S22Fail);
        self.request_failed(cx, req, ac);
        None
    }
}
