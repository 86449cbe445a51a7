//! Direct reclaim: a request that found nothing frees pages itself (`try_to_free_pages`).
//!
//! **What.** S14 of the slow path (docs/kernel/slow-path.md#b6): first the throttle that waits for
//! kswapd while the node is nearly empty, then priorities 12 to 0 over the nodes of the zonelist,
//! until 32 pages are reclaimed.
//!
//! **Differs.** "Compaction is ready" never ends it: see [`crate::page_alloc::slow`].

use crate::gfp::Gfp;
use crate::ids::{NodeId, ZoneIdx};
use crate::page_alloc::AllocContext;
use crate::race::Point;
use crate::reclaim::scan::{DEF_PRIORITY, SWAP_CLUSTER_MAX, ScanControl};
use crate::run::clock::{NS_PER_MS, NS_PER_S};
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, pf};
use crate::sync::atomic::Ordering;
use crate::zone::Wmark;

impl Kernel {
    /// S14: pages reclaimed. A throttled request that is killed meanwhile says 1 without having
    /// reclaimed anything.
    pub fn try_to_free_pages(&self, cx: &Cx, gfp: Gfp, _order: u8, ac: &AllocContext<'_>) -> u64 {
        if self.throttle_direct_reclaim(cx, gfp, ac) {
            return 1;
        }
        let vm = &self.cpus[cx.cpu().index()].vm;
        vm.allocstall[ac.highest_zoneidx.index()].fetch_add(1, Ordering::Relaxed);
        let before = cx.task.set(pf::MEMALLOC);
        let mut sc = ScanControl {
            gfp,
            highest: ac.highest_zoneidx,
            nr_to_reclaim: SWAP_CLUSTER_MAX,
            priority: DEF_PRIORITY,
            nr_reclaimed: 0,
            nr_scanned: 0,
            is_kswapd: false,
        };
        loop {
            self.shrink_zones(cx, &mut sc, ac);
            if sc.nr_reclaimed >= sc.nr_to_reclaim || sc.priority == 0 || self.clock.is_aborted() {
                break;
            }
            sc.priority -= 1;
        }
        if before & pf::MEMALLOC == 0 {
            cx.task.clear(pf::MEMALLOC);
        }
        sc.nr_reclaimed
    }

    /// Each node of zonelist and nodemask once, without zones that the cpuset forbids.
    fn shrink_zones(&self, cx: &Cx, sc: &mut ScanControl, ac: &AllocContext<'_>) {
        let mut last: Option<NodeId> = None;
        self.for_each_zone_of(cx, ac, |zone| {
            let allowed = !self.cpusets_enabled()
                || self.cpuset_zone_allowed(cx, zone, Gfp::KERNEL | Gfp::HARDWALL);
            if allowed && last != Some(zone.node()) {
                last = Some(zone.node());
                self.shrink_node(cx, zone.node(), sc);
            }
            true
        });
    }

    /// Calls `each` for every zone of the request's zonelist and nodemask from the head on, until
    /// it returns false (`for_each_zone_zonelist_nodemask`).
    pub(crate) fn for_each_zone_of<'k>(
        &'k self,
        cx: &Cx,
        ac: &AllocContext<'_>,
        mut each: impl FnMut(&'k crate::zone::Zone) -> bool,
    ) {
        let zonelist = ac.zonelist.get();
        let (mask, highest) = (ac.nodemask.get(), ac.highest_zoneidx);
        let mut at = self.first_zones_zonelist::<false>(cx, zonelist, highest, mask);
        while let Some(id) = zonelist.zone(at) {
            if !each(&self.zones[id.index()]) || zonelist.is_end(at) {
                break;
            }
            at = self.next_zones_zonelist::<false>(cx, zonelist, at + 1, highest, mask);
        }
    }

    /// Waits for kswapd while the node's free pages are under half of its min marks
    /// (`throttle_direct_reclaim`). True: killed meanwhile.
    fn throttle_direct_reclaim(&self, cx: &Cx, gfp: Gfp, ac: &AllocContext<'_>) -> bool {
        if cx.task.has(pf::KTHREAD) || cx.task.process.is_killed() {
            return false;
        }
        let mut node = None;
        self.for_each_zone_of(cx, ac, |zone| {
            if zone.idx() > ZoneIdx::Normal {
                return true;
            }
            node = Some(zone.node());
            false
        });
        let Some(node) = node else { return false };
        if self.allow_direct_reclaim(node) {
            return false;
        }
        let vm = &self.cpus[cx.cpu().index()].vm;
        vm.pgscan_direct_throttle.fetch_add(1, Ordering::Relaxed);
        self.point_event(cx, Point::ThrottleWait, [u64::from(node.0), 0, 0]);
        let pgdat = &self.reclaim.nodes[node.index()];
        let may_wait_long = gfp.contains(Gfp::FS);
        let deadline = self.clock.now().0 + NS_PER_S;
        pgdat.nr_throttled.fetch_add(1, Ordering::Relaxed);
        let mut asleep = pgdat.pfmemalloc_wait.lock.lock();
        while !self.allow_direct_reclaim(node)
            && !cx.task.process.is_killed()
            && !self.clock.is_aborted()
            && (may_wait_long || self.clock.now().0 < deadline)
        {
            // Woken by kswapd; the short timeout notices a kill, which wakes no queue here.
            let timeout = 10 * NS_PER_MS;
            self.clock.wait_timeout(&pgdat.pfmemalloc_wait.queue, &mut asleep, timeout);
        }
        drop(asleep);
        pgdat.nr_throttled.fetch_sub(1, Ordering::Relaxed);
        cx.task.process.is_killed()
    }

    /// May direct reclaimers go on by themselves (`allow_direct_reclaim`, older
    /// `pfmemalloc_watermark_ok`)? Wakes kswapd if not.
    pub(crate) fn allow_direct_reclaim(&self, node: NodeId) -> bool {
        let pgdat = &self.reclaim.nodes[node.index()];
        if !pgdat.kswapd.is_running() || pgdat.kswapd.is_hopeless() {
            return true;
        }
        let (mut reserve, mut free) = (0, 0);
        for zone in self.zones_of(node).filter(|z| z.idx() <= ZoneIdx::Normal) {
            let counts = self.zone_reclaimable_pages(zone) > 0
                || self.policy.release.throttle_counts_exhausted()
                    && zone.free_pages_snapshot() == 0;
            if zone.is_managed() && counts {
                reserve += zone.wmark_pages(Wmark::Min);
                free += zone.free_pages();
            }
        }
        // Nothing reclaimable: nothing to wait for.
        let allowed = reserve == 0 || free > reserve / 2;
        if !allowed {
            pgdat.kswapd.wake(ZoneIdx::Normal, 0);
        }
        allowed
    }
}
