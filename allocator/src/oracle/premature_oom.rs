//! Premature OOM and premature failure: could some zone have served the request all along?
//!
//! **What.** Sampled at the requester's S7, S11, S14, S17, S19a, O2 and V6, with exact counters. A
//! zone counts if the request may use it *by the rules in force at that moment*: index at most its
//! highest, node in its cpuset (HARDWALL), node in the nodemask that the caller passed unless that
//! does not meet mems_allowed, and free pages above the *high* mark, so that even the last attempt
//! (O2) should have succeeded.
//!
//! **Classes** (ARCHITECTURE.md#the-oracle): `definite`: at every sample since the last S7 some
//! such zone, not always the same, by the exact and by the global counter; `drift`: by the exact
//! one alone; `transient`: only a zone above its *min* mark, at the decision only (J1-d: legitimate
//! by what was known). `premature-failure`: a failed request that had such a zone at every look
//! since S1.
//!
//! **Differs from the allocator on purpose**: all zones of the machine are looked at, not those of
//! the zonelist being walked: a zonelist that lost a zone must not hide it from the oracle.

use crate::gfp::{AllocFlags, Gfp};
use crate::ids::{ZoneId, ZoneIdx};
use crate::oracle::finding::FindingKind;
use crate::page_alloc::AllocContext;
use crate::page_alloc::slow::Request;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync;
use crate::zone::{Wmark, Zone};

/// What the oracle remembers of the request in progress.
#[derive(Clone, Debug)]
pub struct RequestLog {
    /// When the request entered the slow path.
    pub since: u64,
    /// Highest zone of the request.
    pub highest: ZoneIdx,
    /// Has a zone passed at every look since the last S7, by both counters?
    usable_since_s7: bool,
    /// The same by the exact counter.
    exact_since_s7: bool,
    /// The same by both counters since S1.
    usable_since_s1: bool,
    /// A zone that passed at the last look.
    pub zone: Option<ZoneId>,
    /// zonelist_update_seq at S1.
    zonelist_seq: u32,
    /// Looks since S7.
    looks: u32,
    /// Kills by this request so far: together one episode.
    pub kills: u32,
    /// Was any of them premature?
    pub premature: bool,
    /// Has S11 failed by a victim's right where the request's own flags would have passed?
    pub victim_denied: bool,
}

impl Default for RequestLog {
    fn default() -> Self {
        Self {
            since: 0,
            highest: ZoneIdx::Normal,
            usable_since_s7: true,
            exact_since_s7: true,
            usable_since_s1: true,
            zone: None,
            zonelist_seq: 0,
            looks: 0,
            kills: 0,
            premature: false,
            victim_denied: false,
        }
    }
}

impl RequestLog {
    /// The log of a request that enters the slow path.
    pub fn new(_req: &Request<'_>, highest: ZoneIdx) -> Self {
        Self { since: sync::stamp(), highest, ..Self::default() }
    }

    /// S1, with zonelist_update_seq as it is then.
    pub fn restart(&mut self, zonelist_seq: u32) {
        self.zonelist_seq = zonelist_seq;
        self.usable_since_s1 = true;
        self.pass();
    }

    /// S7.
    pub fn pass(&mut self) {
        self.usable_since_s7 = true;
        self.exact_since_s7 = true;
        self.looks = 0;
    }

    fn note(&mut self, usable: Usable) {
        self.looks += 1;
        self.usable_since_s7 &= usable.by_both.is_some();
        self.exact_since_s7 &= usable.by_exact.is_some();
        self.usable_since_s1 &= usable.by_both.is_some();
        self.zone = usable.by_both.or(usable.by_exact);
    }
}

/// Zones that could serve a request now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usable {
    /// Above the high mark by the exact and by the global counter.
    pub by_both: Option<ZoneId>,
    /// Above it by the exact counter.
    pub by_exact: Option<ZoneId>,
    /// Above the min mark by the exact counter.
    pub above_min: Option<ZoneId>,
}

impl Kernel {
    /// Looks at all zones for a request and notes what it saw in the request's log: at S7, S11, S14,
    /// S17, S19a, O2 and V6.
    pub fn look(&self, cx: &Cx, req: &Request<'_>) -> Usable {
        let highest = cx.request.borrow().highest;
        let usable = self.usable_zones(cx, req, highest);
        cx.request.borrow_mut().note(usable);
        usable
    }

    fn usable_zones(&self, cx: &Cx, req: &Request<'_>, highest: ZoneIdx) -> Usable {
        let mems = cx.task.mems_allowed.load();
        let enabled = self.cpusets_enabled();
        let nodes = req.nodemask.load().filter(|nodes| !enabled || nodes.intersects(&mems));
        let victim = self.victim_leaves_cpuset(cx);
        let mut usable = Usable::default();
        for zone in self.populated_zones() {
            let node = zone.node();
            let allowed = zone.idx() <= highest
                && (!enabled || cx.in_interrupt() || victim || mems.test(node))
                && nodes.as_ref().is_none_or(|n| n.test(node))
                && (!req.gfp.contains(Gfp::THISNODE) || node == req.preferred_nid);
            if !allowed {
                continue;
            }
            if self.passes(zone, req, highest, Wmark::High, zone.free_pages_exact()) {
                usable.by_exact = usable.by_exact.or(Some(zone.id));
                if self.passes(zone, req, highest, Wmark::High, zone.free_pages()) {
                    usable.by_both = Some(zone.id);
                    usable.above_min = Some(zone.id);
                    return usable;
                }
            }
            if self.passes(zone, req, highest, Wmark::Min, zone.free_pages_exact()) {
                usable.above_min = usable.above_min.or(Some(zone.id));
            }
        }
        usable
    }

    fn passes(
        &self,
        zone: &Zone,
        req: &Request<'_>,
        highest: ZoneIdx,
        mark: Wmark,
        free: u64,
    ) -> bool {
        let mark = zone.wmark_pages(mark);
        // O2's flags: no right to any reserve.
        self.zone_watermark_ok_free(zone, req.order, mark, highest, AllocFlags::empty(), free)
    }

    /// V6: judges a kill that is about to happen. None: justified.
    pub fn judge_kill(&self, cx: &Cx, req: &Request<'_>) -> Option<FindingKind> {
        let usable = self.look(cx, req);
        let mut log = cx.request.borrow_mut();
        log.kills += 1;
        let kind = if log.usable_since_s7 {
            Some(FindingKind::PrematureOom)
        } else if log.exact_since_s7 {
            Some(FindingKind::Drift)
        } else if usable.above_min.is_some() {
            Some(FindingKind::TransientOom)
        } else {
            None
        };
        log.premature |= kind == Some(FindingKind::PrematureOom);
        kind
    }

    /// S22: judges a failed request.
    pub fn request_failed(&self, cx: &Cx, req: &Request<'_>, ac: &AllocContext<'_>) {
        if self.clock.is_aborted() {
            return;
        }
        let usable = self.usable_zones(cx, req, ac.highest_zoneidx);
        let log = cx.request.borrow().clone();
        self.note_spurious_failure(cx, req, &log, usable);
        // Victims, and requests that may not wait, fail by right; a request without reclaim that
        // looked once proves nothing: its one look may have met a moment.
        let may_fail = cx.task.process.is_killed() || log.looks == 0 || !req.gfp.may_reclaim();
        if usable.by_both.is_none() || !log.usable_since_s1 || may_fail {
            return;
        }
        let reason = "Premature: a zone that the request may use was above its high mark at every look since S1.";
        self.find(
            cx,
            FindingKind::PrematureFailure,
            "page allocation failure",
            &[reason.to_owned()],
        );
    }

    /// `lockless` lets a request that can't wait fail while zonelists are rebuilt: its price,
    /// counted.
    fn note_spurious_failure(&self, cx: &Cx, req: &Request<'_>, log: &RequestLog, usable: Usable) {
        if !self.policy.zonelist.readers_only_look()
            || req.gfp.contains(Gfp::DIRECT_RECLAIM)
            || usable.by_both.is_none()
        {
            return;
        }
        let now = self.zonelist_update_seq.raw();
        if now & 1 == 1 || now != log.zonelist_seq {
            let why = "A zonelist was rebuilt while the request walked it; it can't reclaim, so it is not \
                       sent back.";
            let title = "atomic allocation failed during a zonelist rebuild";
            self.find(cx, FindingKind::SpuriousFailure, title, &[why.to_owned()]);
        }
    }
}
