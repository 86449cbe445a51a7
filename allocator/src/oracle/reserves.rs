//! Reserves: did an allocation take a zone below the share of min that its flags allow?
//!
//! **What.** After every allocation of the slow path: the zone's exact free pages, by class of
//! requester, as the lowest number and the lowest share of min; and the invariant below.
//!
//! **The invariant.** A zone whose free pages are at depth d below min has since its last recovery
//! served a request that was allowed to go to d (docs/kernel/watermarks.md#a8, "Lowest level each
//! request can reach"), give or take the slack of the kernel's own unlocked check: each CPU may be
//! one refill and one counter delta ahead of it, and each task one block.
//!
//! **Why since its last recovery.** The check takes no lock, so a request that passed it rightly
//! may find the zone emptied by one with more rights; only the lowest right seen can be held
//! against the depth.
//!
//! **Differs.** Nothing is said while a zone has isolated pageblocks or memory goes on- or offline:
//! pages and marks then change without any allocation. The floors are computed here from the table
//! of docs/kernel/watermarks.md, not by the allocator's own zone_watermark_ok; lowmem_reserve and
//! boost only raise what the allocator demands and are left out.

use crate::gfp::{AllocFlags, Gfp};
use crate::ids::Pfn;
use crate::oracle::FindingKind;
use crate::page_alloc::AllocContext;
use crate::page_alloc::slow::Request;
use crate::policy::ReservesPolicy;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, pf};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::zone::{Wmark, Zone};

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReserveClass {
    /// An OOM victim by its right as one.
    Victim = 0,
    /// A request that can't wait.
    Atomic = 1,
    /// PF_MEMALLOC or __GFP_MEMALLOC: reclaim.
    Memalloc = 2,
    /// Everybody else.
    Other = 3,
}

impl ReserveClass {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::Victim, Self::Atomic, Self::Memalloc, Self::Other];

    /// The word in results.
    pub fn word(self) -> &'static str {
        match self {
            Self::Victim => "victim",
            Self::Atomic => "atomic",
            Self::Memalloc => "memalloc",
            Self::Other => "other",
        }
    }
}

/// "Nothing yet" in the minima below.
const NONE: u64 = u64::MAX;

/// How deep a zone has been.
#[derive(Debug)]
pub struct ZoneReserve {
    /// Lowest exact free pages after an allocation, by class.
    lowest_free: [AtomicU64; 4],
    /// Lowest share of min, in thousandths, by class.
    lowest_share: [AtomicU64; 4],
    /// Lowest floor of those served since the zone was last at min or above.
    floor: AtomicU64,
}

impl Default for ZoneReserve {
    fn default() -> Self {
        let none = || [0; 4].map(|_| AtomicU64::new(NONE));
        Self { lowest_free: none(), lowest_share: none(), floor: AtomicU64::new(NONE) }
    }
}

/// A reading of a [`ZoneReserve`] for one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReserveDepth {
    /// Lowest free pages.
    pub free_pages: u64,
    /// Lowest free pages in thousandths of min.
    pub share_of_min: u64,
}

/// The reserves oracle's memory.
#[derive(Debug)]
pub struct ReserveOracle {
    zones: Box<[ZoneReserve]>,
    /// Requests served below min, by class.
    below_min: [AtomicU64; 4],
    /// Requests that failed (S22), by class.
    failed: [AtomicU64; 4],
}

impl ReserveOracle {
    /// Nothing seen yet.
    pub fn new(nr_zones: usize) -> Self {
        Self {
            zones: (0..nr_zones).map(|_| ZoneReserve::default()).collect(),
            below_min: Default::default(),
            failed: Default::default(),
        }
    }

    /// Requests of a class that were served below min.
    pub fn below_min(&self, class: ReserveClass) -> u64 {
        self.below_min[class as usize].load(Ordering::Relaxed)
    }

    /// Requests of a class that failed.
    pub fn failed(&self, class: ReserveClass) -> u64 {
        self.failed[class as usize].load(Ordering::Relaxed)
    }

    /// A zone's marks were set anew. Up to now another min was in force (twelve times lower between
    /// the two passes of a recomputation), and who passed it may have gone as deep: nothing can be
    /// held against anybody until the zone has recovered.
    pub fn marks_moved(&self, zone: &Zone) {
        self.zones[zone.id.index()].floor.store(0, Ordering::Relaxed);
    }

    /// Forgets what a zone was taken to: a round has ended.
    pub fn forget(&self, zone: &Zone) {
        let reserve = &self.zones[zone.id.index()];
        reserve.floor.store(NONE, Ordering::Relaxed);
        for cell in reserve.lowest_free.iter().chain(&reserve.lowest_share) {
            cell.store(NONE, Ordering::Relaxed);
        }
    }

    /// How deep a class has taken a zone below its min mark; None: never.
    pub fn depth(&self, zone: &Zone, class: ReserveClass) -> Option<ReserveDepth> {
        let reserve = &self.zones[zone.id.index()];
        let free_pages = reserve.lowest_free[class as usize].load(Ordering::Relaxed);
        let share_of_min = reserve.lowest_share[class as usize].load(Ordering::Relaxed);
        (free_pages != NONE).then_some(ReserveDepth { free_pages, share_of_min })
    }
}

/// The level that a request with these flags may take a zone with this min mark to
/// (docs/kernel/watermarks.md#a8, boost and lowmem_reserve 0, order 0).
pub fn reserve_floor(policy: ReservesPolicy, flags: AllocFlags, min: u64) -> u64 {
    if flags.contains(AllocFlags::NO_WATERMARKS) {
        return 0;
    }
    let half = min - min / 2;
    let mut level = min;
    if policy.has_fractions() {
        if flags.contains(AllocFlags::MIN_RESERVE) {
            level = half;
            if flags.contains(AllocFlags::NON_BLOCK) {
                level -= level / 4;
            }
        }
        return if flags.contains(AllocFlags::OOM) { level - level / 2 } else { level };
    }
    if flags.contains(AllocFlags::HIGH) {
        level = half;
    }
    if flags.contains(AllocFlags::OOM) {
        level - level / 2
    } else if flags.contains(AllocFlags::HARDER) {
        level - level / 4
    } else {
        level
    }
}

impl Kernel {
    /// Who a request is; `as_victim`: it has what an OOM victim may have.
    fn reserve_class(&self, cx: &Cx, gfp: Gfp, as_victim: bool) -> ReserveClass {
        if cx.in_interrupt() || !gfp.contains(Gfp::DIRECT_RECLAIM) {
            return ReserveClass::Atomic;
        }
        if cx.task.has(pf::MEMALLOC) || gfp.contains(Gfp::MEMALLOC) {
            ReserveClass::Memalloc
        } else if as_victim && cx.task.process.is_oom_victim() {
            ReserveClass::Victim
        } else {
            ReserveClass::Other
        }
    }

    /// A request fails (S22).
    pub fn note_failed(&self, cx: &Cx, gfp: Gfp) {
        let class = self.reserve_class(cx, gfp, true);
        self.reserve_oracle.failed[class as usize].fetch_add(1, Ordering::Relaxed);
        if self.clock.is_aborted() {
            return;
        }
        if class == ReserveClass::Memalloc && !gfp.contains(Gfp::NOMEMALLOC) {
            let why = "A request that may use all reserves found none: what it was to free stays.";
            self.find(cx, FindingKind::ReserveEmpty, "the reserve is used up", &[why.to_owned()]);
        }
        if cx.request.borrow().victim_denied {
            let why = "At S11 a zone passed by the request's own flags, but not by the victim's right that \
                       had replaced them at S9.";
            let title = "a victim's right replaces a better one";
            self.find(cx, FindingKind::VictimDenied, title, &[why.to_owned()]);
        }
    }

    /// S11 has failed under a victim's right: would the request's own flags have done better?
    #[cold]
    pub fn note_victim_right(
        &self,
        cx: &Cx,
        req: &Request<'_>,
        ac: &AllocContext<'_>,
        flags: AllocFlags,
    ) {
        let own = self.gfp_to_alloc_flags(cx, req.gfp, req.order);
        let passes = |zone: &Zone, flags| {
            let mark = zone.wmark_pages(Wmark::Min);
            self.zone_watermark_ok(zone, req.order, mark, ac.highest_zoneidx, flags)
        };
        let is_worse = |zone: &&Zone| {
            !flags.contains(AllocFlags::NO_WATERMARKS)
                && zone.idx() <= ac.highest_zoneidx
                && passes(zone, own)
                && !passes(zone, flags)
        };
        if self.populated_zones().any(|zone| is_worse(&zone)) {
            cx.request.borrow_mut().victim_denied = true;
        }
    }

    /// A victim has got a page in the slow path.
    #[cold]
    pub fn note_victim_page(&self, cx: &Cx, pfn: Pfn) {
        let Some(node) = self.page_node(pfn) else { return };
        let mems = cx.task.mems_allowed.load();
        if mems.test(node) {
            return;
        }
        let title = format!("a victim of mems {mems} took a page of node {node}");
        self.find(cx, FindingKind::CpusetEscape, &title, &[]);
    }

    /// An allocation of the slow path has just taken 2^order pages from `zone` with these flags.
    #[inline]
    pub fn note_reserve(&self, cx: &Cx, zone: &Zone, gfp: Gfp, flags: AllocFlags, order: u8) {
        let min = zone.wmark_unboosted(Wmark::Min);
        let free = zone.free_pages_exact();
        if free >= min {
            let floor = &self.reserve_oracle.zones[zone.id.index()].floor;
            if floor.load(Ordering::Relaxed) != NONE {
                self.note_recovery(zone, floor);
            }
            return;
        }
        self.note_depth(cx, zone, gfp, flags, order, min, free);
    }

    /// A zone is at min again: by a mark that is about to move that would say nothing.
    #[cold]
    fn note_recovery(&self, zone: &Zone, floor: &AtomicU64) {
        let settled = !self.config.hotplug || self.mem_hotplug_lock.try_lock().is_some();
        if settled && zone.free_pages_exact() >= zone.wmark_unboosted(Wmark::Min) {
            floor.store(NONE, Ordering::Relaxed);
        }
    }

    #[cold]
    #[expect(clippy::too_many_arguments, reason = "what the caller has just read")]
    fn note_depth(
        &self,
        cx: &Cx,
        zone: &Zone,
        gfp: Gfp,
        flags: AllocFlags,
        order: u8,
        min: u64,
        free: u64,
    ) {
        let right = flags.intersects(AllocFlags::OOM | AllocFlags::NO_WATERMARKS);
        let class = self.reserve_class(cx, gfp, right);
        self.reserve_oracle.below_min[class as usize].fetch_add(1, Ordering::Relaxed);
        let reserve = &self.reserve_oracle.zones[zone.id.index()];
        reserve.lowest_free[class as usize].fetch_min(free, Ordering::Relaxed);
        let share = free * 1000 / min;
        reserve.lowest_share[class as usize].fetch_min(share, Ordering::Relaxed);
        let own = reserve_floor(self.policy.reserves, flags, min);
        let floor = reserve.floor.fetch_min(own, Ordering::Relaxed).min(own);
        if free + self.reserve_slack(zone, order) >= floor || self.clock.is_aborted() {
            return;
        }
        // Isolation takes free pages out of the count, and hotplug moves the marks themselves.
        let is_hotplug = zone.nr_isolate_pageblock.load(Ordering::Relaxed) > 0
            || self.mem_hotplug_lock.try_lock().is_none();
        if is_hotplug {
            return;
        }
        let (node, idx, slack) = (zone.node(), zone.idx(), self.reserve_slack(zone, order));
        let title = format!("node {node} {idx} at {free} pages of a reserve of {min}");
        self.find_with(cx, FindingKind::Reserve, &title, || {
            vec![format!(
                "Reserve: an allocation of class {} (alloc flags {:#x}) left {free} free pages; no \
                 request served since the zone was last at min ({min} pages) may go below {floor}, \
                 less a slack of {slack} pages.",
                class.word(),
                flags.bits(),
            )]
        });
    }

    /// Pages by which the unlocked check and batch refills may take a zone below what a request's
    /// flags allow: a refill and a counter delta for each CPU, a block for each task.
    pub fn reserve_slack(&self, zone: &Zone, order: u8) -> u64 {
        let scale =
            if self.pcp_rules.auto_tune { crate::zone::pcp::PCP_BATCH_SCALE_MAX } else { 0 };
        let batch = u64::from(zone.pageset.batch.load(Ordering::Relaxed));
        let refill = (batch << scale).max(2 << order);
        let delta = u64::from(zone.stat_threshold.load(Ordering::Relaxed).unsigned_abs());
        let tasks = self.tasks.nr_threads() as u64;
        self.cpus.len() as u64 * (refill + delta) + (tasks << order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gfp::{ReserveRights, apply_reserve_flags, gfp_to_alloc_flags, pfmemalloc_flags};
    use crate::policy::{Policy, Release};

    const M: u64 = 1000;

    fn floor(release: Release, gfp: Gfp, is_rt: bool, who: ReserveRights) -> u64 {
        let policy = Policy::preset(release);
        let flags = gfp_to_alloc_flags(&policy, gfp, 0, is_rt, who.in_interrupt);
        let rights = pfmemalloc_flags(policy.reserves, gfp, who);
        let flags = apply_reserve_flags(&policy, gfp, flags, rights);
        reserve_floor(policy.reserves, flags, M)
    }

    /// docs/kernel/watermarks.md#a8, the table "Lowest level each request can reach", column by
    /// column.
    #[test]
    fn the_floor_of_each_request_is_the_table_s() {
        let releases = [Release::V4_13, Release::V4_14, Release::V6_4];
        let nobody = ReserveRights::default();
        let victim = ReserveRights { group_victim: true, ..nobody };
        let memdie = ReserveRights { tif_memdie: true, ..victim };
        let memalloc = ReserveRights { pf_memalloc: true, ..nobody };
        for (n, release) in releases.into_iter().enumerate() {
            let atomic = Gfp::atomic(release);
            let check = |what: &str, gfp, is_rt, who, expected: [u64; 3]| {
                assert_eq!(floor(release, gfp, is_rt, who), expected[n], "{release}: {what}");
            };
            check("GFP_KERNEL", Gfp::KERNEL, false, nobody, [M; 3]);
            check("HIGH", Gfp::KERNEL | Gfp::HIGH, false, nobody, [M / 2; 3]);
            check("NOWAIT", Gfp::nowait(release), false, nobody, [M; 3]);
            check("ATOMIC", atomic, false, nobody, [M * 3 / 8; 3]);
            check("real time", Gfp::KERNEL, true, nobody, [M * 3 / 4, M * 3 / 4, M / 2]);
            let nomemalloc = atomic | Gfp::NOMEMALLOC;
            check("ATOMIC without MEMALLOC", nomemalloc, false, nobody, [M / 2; 3]);
            check("victim", Gfp::KERNEL, false, victim, [M, M / 2, M / 2]);
            check("victim with HIGH", Gfp::KERNEL | Gfp::HIGH, false, victim, [M / 2; 3]);
            check("marked thread", Gfp::KERNEL, false, memdie, [0, M / 2, M / 2]);
            check("PF_MEMALLOC", Gfp::KERNEL, false, memalloc, [0; 3]);
            check("MEMALLOC", Gfp::KERNEL | Gfp::MEMALLOC, false, nobody, [0; 3]);
        }
    }

    /// The review's |= on 4.14: OOM, HIGH and HARDER together reach a quarter.
    #[test]
    fn or_ed_flags_reach_a_quarter() {
        let flags = AllocFlags::OOM | AllocFlags::HIGH | AllocFlags::HARDER;
        assert_eq!(reserve_floor(ReservesPolicy::HalfOr, flags, M), M / 4);
    }
}
