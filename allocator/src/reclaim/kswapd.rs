//! kswapd: one thread per node that keeps free pages above the high mark.
//!
//! **What.** `wakeup_kswapd`, the sleep in two steps, `balance_pgdat` with boost, failures and the
//! queue of throttled reclaimers (docs/kernel/environment.md#h1).
//!
//! **Why it matters here.** A kswapd that gives up (16 runs without a page) leaves direct reclaim
//! on its own and ends throttling; whether an allocation waits, stalls or kills depends on it.
//!
//! **Differs.** kcompactd does not exist. A world without kswapd threads (small tests) behaves as
//! if every kswapd were hopeless.

use crate::gfp::{AllocFlags, Gfp};
use crate::ids::{NodeId, ZoneIdx};
use crate::page_alloc::AllocContext;
use crate::race::Point;
use crate::reclaim::scan::{DEF_PRIORITY, SWAP_CLUSTER_MAX, ScanControl};
use crate::run::clock::NS_PER_MS;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, pf};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::lock::{As, Role};
use crate::sync::{Condvar, Mutex};
use crate::zone::{Wmark, Zone, zone_flag};

/// Runs without a page after which kswapd gives up (MAX_RECLAIM_RETRIES).
pub const MAX_RECLAIM_FAILURES: u32 = 16;
/// The first, short sleep (HZ/10).
const SHORT_SLEEP_NS: u64 = 100 * NS_PER_MS;
/// "No zone" in `highest`.
const NO_INDEX: u32 = u32::MAX;

/// A node's kswapd, as others see it.
#[derive(Debug)]
pub struct KswapdState {
    /// kswapd_order and kswapd_highest_zoneidx: raised by wakers, taken by kswapd.
    order: AtomicU32,
    highest: AtomicU32,
    /// kswapd_failures.
    pub failures: AtomicU32,
    running: AtomicBool,
    /// Its node has no memory: it is stopped until some comes back.
    is_stopped: AtomicBool,
    /// Does it sleep on kswapd_wait? The lock orders that against wake-ups.
    sleeping: Mutex<bool>,
    is_sleeping: AtomicBool,
    wait: Condvar,
}

impl Default for KswapdState {
    fn default() -> Self {
        Self {
            order: AtomicU32::new(0),
            highest: AtomicU32::new(NO_INDEX),
            failures: AtomicU32::new(0),
            running: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            sleeping: Mutex::new(false),
            is_sleeping: AtomicBool::new(false),
            wait: Condvar::new(),
        }
    }
}

impl KswapdState {
    /// Has it a thread?
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) && !self.is_stopped.load(Ordering::Relaxed)
    }

    /// Has it given up?
    pub fn is_hopeless(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= MAX_RECLAIM_FAILURES
    }

    /// Asks for zones up to `highest` and blocks of `order`, and wakes it.
    pub(crate) fn wake(&self, highest: ZoneIdx, order: u8) {
        self.raise(highest, order);
        self.wake_up();
    }

    fn raise(&self, highest: ZoneIdx, order: u8) {
        // Racy on purpose, as the kernel's READ_ONCE and WRITE_ONCE are.
        let idx = self.highest.load(Ordering::Relaxed);
        if idx == NO_INDEX || idx < highest as u32 {
            self.highest.store(highest as u32, Ordering::Relaxed);
        }
        if self.order.load(Ordering::Relaxed) < u32::from(order) {
            self.order.store(u32::from(order), Ordering::Relaxed);
        }
    }

    fn wake_up(&self) {
        let mut sleeping = self.sleeping.lock();
        if *sleeping {
            *sleeping = false;
            self.is_sleeping.store(false, Ordering::Relaxed);
            self.wait.notify_all();
        }
    }

    /// What was asked for: highest zone (None: nothing) and order; forgotten unless `peek`.
    fn take_request(&self, peek: bool) -> (Option<ZoneIdx>, u8) {
        let idx = self.highest.load(Ordering::Relaxed);
        let order = self.order.load(Ordering::Relaxed) as u8;
        if !peek {
            self.highest.store(NO_INDEX, Ordering::Relaxed);
            self.order.store(0, Ordering::Relaxed);
        }
        (ZoneIdx::from_index(idx as usize), order)
    }
}

impl Kernel {
    /// S4, S8 (`wake_all_kswapds`): each node once along zonelist and nodemask.
    pub fn wake_all_kswapds(&self, cx: &Cx, gfp: Gfp, order: u8, ac: &AllocContext<'_>) {
        if !self.config.kswapd {
            return;
        }
        let mut last: Option<NodeId> = None;
        self.for_each_zone_of(cx, ac, |zone| {
            if zone.is_managed() && last != Some(zone.node()) {
                last = Some(zone.node());
                self.wakeup_kswapd(cx, zone, gfp, order, ac.highest_zoneidx);
            }
            true
        });
    }

    /// `wakeup_kswapd`.
    pub fn wakeup_kswapd(&self, cx: &Cx, zone: &Zone, gfp: Gfp, order: u8, highest: ZoneIdx) {
        let kswapd = &self.reclaim.nodes[zone.node().index()].kswapd;
        if !zone.is_managed() || !kswapd.is_running() {
            return;
        }
        let gfp =
            if self.policy.release.kswapd_tests_hardwall() { gfp | Gfp::HARDWALL } else { gfp };
        if self.cpusets_enabled() && !self.cpuset_zone_allowed(cx, zone, gfp) {
            return;
        }
        kswapd.raise(highest, order);
        if !kswapd.is_sleeping.load(Ordering::Relaxed)
            || kswapd.is_hopeless()
            || (self.is_pgdat_balanced(zone.node(), order, highest)
                && !self.is_pgdat_boosted(zone.node(), highest))
        {
            return;
        }
        kswapd.wake_up();
    }

    fn managed_zones(&self, node: NodeId, highest: ZoneIdx) -> impl Iterator<Item = &Zone> {
        self.zones_of(node).filter(move |z| z.idx() <= highest && z.is_managed())
    }

    /// Does one managed zone up to `highest` pass its high mark (`pgdat_balanced`)?
    pub fn is_pgdat_balanced(&self, node: NodeId, order: u8, highest: ZoneIdx) -> bool {
        let mut none = true;
        let mut zones = self.managed_zones(node, highest);
        let passed = zones.any(|zone| {
            none = false;
            let mark = zone.wmark_pages(Wmark::High);
            let free = self.zone_free_pages_safe(zone);
            let flags = AllocFlags::empty();
            self.zone_watermark_ok_free(zone, order, mark, highest, flags, free)
        });
        passed || none
    }

    /// The counter that the safe variant of the check reads: with all deltas once the global part
    /// is near enough to the marks to mislead.
    fn zone_free_pages_safe(&self, zone: &Zone) -> u64 {
        let free = zone.free_pages();
        let drift_mark = zone.percpu_drift_mark.load(Ordering::Relaxed);
        if drift_mark != 0 && free < drift_mark { zone.free_pages_snapshot() } else { free }
    }

    fn is_pgdat_boosted(&self, node: NodeId, highest: ZoneIdx) -> bool {
        self.managed_zones(node, highest).any(|z| z.watermark_boost() > 0)
    }

    /// The body of a node's kswapd thread: returns when the run is aborted or
    /// [`Kernel::stop_kswapds`] was called.
    pub fn kswapd_main(&self, cx: &Cx, node: NodeId) {
        let _role = As::role(Role::Kswapd);
        let kswapd = &self.reclaim.nodes[node.index()].kswapd;
        cx.task.set(pf::MEMALLOC | pf::KTHREAD);
        kswapd.running.store(true, Ordering::Relaxed);
        let (mut highest, mut order) = (ZoneIdx::Movable, 0);
        while !self.is_kswapd_over() {
            self.kswapd_try_to_sleep(cx, node, order, highest);
            if self.is_kswapd_over() {
                break;
            }
            let (asked, asked_order) = kswapd.take_request(false);
            highest = asked.unwrap_or(highest);
            order = asked_order;
            let freed = self.balance_pgdat(cx, node, order, highest);
            self.point_event(cx, Point::K2Balance, [u64::from(node.0), freed, 0]);
        }
        kswapd.running.store(false, Ordering::Relaxed);
        self.reclaim.nodes[node.index()].pfmemalloc_wait.wake_all();
    }

    /// Stops the kswapd of a node whose last memory went offline: nobody wakes it any more, and who
    /// is throttled for its sake is let go. (The thread is kept, asleep, for
    /// [`Kernel::kswapd_run`].)
    pub fn kswapd_stop(&self, node: NodeId) {
        let pgdat = &self.reclaim.nodes[node.index()];
        pgdat.kswapd.is_stopped.store(true, Ordering::Relaxed);
        pgdat.pfmemalloc_wait.wake_all();
    }

    /// Memory has come back to a node.
    pub fn kswapd_run(&self, node: NodeId) {
        let kswapd = &self.reclaim.nodes[node.index()].kswapd;
        kswapd.failures.store(0, Ordering::Relaxed);
        kswapd.is_stopped.store(false, Ordering::Relaxed);
    }

    fn is_kswapd_over(&self) -> bool {
        self.clock.is_aborted() || self.reclaim.stop.load(Ordering::Relaxed)
    }

    /// Ends all kswapd threads, and with them all throttling.
    pub fn stop_kswapds(&self) {
        self.reclaim.stop.store(true, Ordering::Relaxed);
        for node in &self.reclaim.nodes {
            node.kswapd.wake_up();
            node.pfmemalloc_wait.wake_all();
        }
    }

    /// Sleeps 100 ms, then until woken, if there is nothing to do (`kswapd_try_to_sleep`).
    fn kswapd_try_to_sleep(&self, cx: &Cx, node: NodeId, order: u8, highest: ZoneIdx) {
        let kswapd = &self.reclaim.nodes[node.index()].kswapd;
        let mut sleeping = kswapd.sleeping.lock();
        *sleeping = true;
        kswapd.is_sleeping.store(true, Ordering::Relaxed);
        let mut may_sleep = self.prepare_kswapd_sleep(node, order, highest);
        let (mut highest, mut order) = (highest, order);
        if may_sleep {
            let deadline = self.clock.now().0 + SHORT_SLEEP_NS;
            while *sleeping && !self.is_kswapd_over() {
                let now = self.clock.now().0;
                if now >= deadline {
                    break;
                }
                self.clock.wait_timeout(&kswapd.wait, &mut sleeping, deadline - now);
            }
            // Woken early: stay awake, and keep what was asked for.
            may_sleep = *sleeping;
            if !may_sleep {
                let (asked, asked_order) = kswapd.take_request(true);
                highest = asked.unwrap_or(highest);
                order = order.max(asked_order);
                kswapd.raise(highest, order);
            }
        }
        if may_sleep && self.prepare_kswapd_sleep(node, order, highest) {
            cx.event(Point::K1Sleep, [u64::from(node.0), 0, 0]);
            while *sleeping && !self.is_kswapd_over() {
                kswapd.wait.wait(&mut sleeping);
            }
        }
        *sleeping = false;
        kswapd.is_sleeping.store(false, Ordering::Relaxed);
    }

    /// May it sleep? Whoever is throttled is let go first.
    fn prepare_kswapd_sleep(&self, node: NodeId, order: u8, highest: ZoneIdx) -> bool {
        let pgdat = &self.reclaim.nodes[node.index()];
        // Without the queue's lock, under which throttled tasks wake kswapd: a wake-up that comes
        // too early for a waiter is made good by its short timeout.
        if pgdat.nr_throttled.load(Ordering::Relaxed) > 0 {
            pgdat.pfmemalloc_wait.queue.notify_all();
        }
        pgdat.kswapd.is_hopeless() || self.is_pgdat_balanced(node, order, highest)
    }

    /// Reclaims until a zone passes its high mark; pages reclaimed (`balance_pgdat`).
    fn balance_pgdat(&self, cx: &Cx, node: NodeId, order: u8, highest: ZoneIdx) -> u64 {
        let pgdat = &self.reclaim.nodes[node.index()];
        let vm = &self.cpus[cx.cpu().index()].vm;
        vm.pageoutrun.fetch_add(1, Ordering::Relaxed);
        let boosts: Vec<(&Zone, u64)> =
            self.managed_zones(node, highest).map(|z| (z, z.watermark_boost())).collect();
        let mut boost: u64 = boosts.iter().map(|(_, pages)| pages).sum();
        let is_boosted = boost > 0;
        for (zone, _) in &boosts {
            zone.set_flag(zone_flag::RECLAIM_ACTIVE);
        }
        let mut order = order;
        let target: u64 = boosts
            .iter()
            .map(|(zone, _)| zone.wmark_pages(Wmark::High).max(SWAP_CLUSTER_MAX))
            .sum();
        let mut sc = ScanControl {
            gfp: Gfp::KERNEL,
            highest,
            nr_to_reclaim: 0,
            priority: DEF_PRIORITY,
            nr_reclaimed: 0,
            nr_scanned: 0,
            is_kswapd: true,
        };
        let mut is_done = false;
        while sc.priority >= 1 && !self.is_kswapd_over() {
            let is_balanced = self.is_pgdat_balanced(node, order, highest);
            if !is_balanced && boost > 0 {
                // Short of pages for real: boosts are no reason any more.
                boost = 0;
                sc.priority = DEF_PRIORITY;
            }
            if boost == 0 && is_balanced {
                is_done = true;
                break;
            }
            let reclaimed_before = sc.nr_reclaimed;
            let scanned_before = sc.nr_scanned;
            sc.nr_to_reclaim = sc.nr_reclaimed + target;
            self.shrink_node(cx, node, &mut sc);
            if order > 0 && sc.nr_reclaimed >= 2 << order {
                order = 0;
            }
            if pgdat.nr_throttled.load(Ordering::Relaxed) > 0 && self.allow_direct_reclaim(node) {
                pgdat.pfmemalloc_wait.wake_all();
            }
            let freed = sc.nr_reclaimed - reclaimed_before;
            boost = boost.saturating_sub(freed);
            if boost > 0 && freed == 0 {
                break;
            }
            let scanned_enough = sc.nr_scanned - scanned_before >= target;
            if !scanned_enough || freed == 0 {
                sc.priority -= 1;
            }
        }
        if !is_done && sc.nr_reclaimed == 0 {
            pgdat.kswapd.failures.fetch_add(1, Ordering::Relaxed);
        }
        for (zone, given) in &boosts {
            if is_boosted && *given > 0 {
                let locked = zone.lock.lock(|| {});
                let left = zone.watermark_boost().saturating_sub(*given);
                zone.set_watermark_boost(&locked, left);
            }
            zone.clear_flag(zone_flag::RECLAIM_ACTIVE);
        }
        sc.nr_reclaimed
    }
}
