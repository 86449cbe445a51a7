//! Scanning a node's lists (`shrink_node`).
//!
//! **What.** At priority p each list gives size >> p pages, in batches of 32 (SWAP_CLUSTER_MAX),
//! from its tail; anonymous ones only while there is swap (docs/kernel/environment.md#h2).
//!
//! **Source.** mm/vmscan.c: get_scan_count, shrink_lruvec, shrink_inactive_list,
//! shrink_active_list, inactive_is_low, too_many_isolated.
//!
//! **Differs.** See the module [`super`]. A page that reclaim can't free (somebody holds it, or it
//! can't be unmapped) goes back to the head of its list.

use crate::gfp::Gfp;
use crate::ids::{NodeId, Pfn, ZoneIdx};
use crate::reclaim::lru::{Lru, add_nr_lru, zone_lru_pages};
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;
use crate::zone::Zone;
use crate::zone::frame::flag;

/// Pages isolated at once, and what a direct reclaimer is after.
pub const SWAP_CLUSTER_MAX: u64 = 32;
/// The first and mildest priority.
pub const DEF_PRIORITY: u32 = 12;
/// vm.swappiness.
const SWAPPINESS: u64 = 60;

/// `struct scan_control`.
#[derive(Clone, Copy, Debug)]
pub struct ScanControl {
    /// Flags of the request.
    pub gfp: Gfp,
    /// Highest zone that is worth freeing in.
    pub highest: ZoneIdx,
    /// Enough.
    pub nr_to_reclaim: u64,
    /// From [`DEF_PRIORITY`] down.
    pub priority: u32,
    /// Pages freed so far.
    pub nr_reclaimed: u64,
    /// Pages looked at so far.
    pub nr_scanned: u64,
    /// kswapd's: counted apart.
    pub is_kswapd: bool,
}

/// What was taken off a list.
#[derive(Debug, Default)]
pub struct Isolated {
    /// The pages, each with a reference.
    pub pages: Vec<Pfn>,
    /// Pages looked at.
    pub scanned: u64,
}

impl Kernel {
    /// Can anonymous pages of the node be reclaimed (`can_reclaim_anon_pages`)?
    pub fn can_reclaim_anon_pages(&self) -> bool {
        self.reclaim.swap.free_pages() > 0
    }

    /// What reclaim could free in a zone at best (`zone_reclaimable_pages`,
    /// docs/kernel/slow-path.md#b7).
    pub fn zone_reclaimable_pages(&self, zone: &Zone) -> u64 {
        let mut pages =
            zone_lru_pages(zone, Lru::InactiveFile) + zone_lru_pages(zone, Lru::ActiveFile);
        if self.can_reclaim_anon_pages() {
            pages +=
                zone_lru_pages(zone, Lru::InactiveAnon) + zone_lru_pages(zone, Lru::ActiveAnon);
        }
        pages
    }

    /// Takes up to `nr` pages of zones up to `highest` from a list's tail.
    pub(crate) fn isolate_lru_pages(
        &self,
        node: NodeId,
        lru: Lru,
        nr: u64,
        highest: ZoneIdx,
    ) -> Isolated {
        let mut isolated = Isolated::default();
        let lists = self.reclaim.nodes[node.index()].lru.lock();
        let list = lists.list(lru);
        let mut look_at = self.node_lru_pages(node, lru);
        while isolated.scanned < nr && look_at > 0 {
            let Some((pfn, _)) = list.pop_tail(&self.frames) else { break };
            let frame = self.frames.get(pfn);
            let zone = self.lru_zone(pfn);
            let pages = 1u64 << frame.state().order();
            look_at = look_at.saturating_sub(pages);
            // Zones above the highest don't count as scanned; a page without references is being
            // freed by somebody who waits for the lock.
            let wanted = zone.idx() <= highest;
            isolated.scanned += if wanted { pages } else { 0 };
            if !wanted || !frame.get_unless_zero() {
                list.push_head(&self.frames, pfn);
                continue;
            }
            frame.clear_flags(flag::LRU);
            add_nr_lru(zone, lru, -(pages as i64));
            self.mark_isolated(zone, pfn);
            isolated.pages.push(pfn);
        }
        isolated
    }

    /// Scans a node once at the given priority.
    pub(crate) fn shrink_node(&self, cx: &Cx, node: NodeId, sc: &mut ScanControl) {
        let before = sc.nr_reclaimed;
        // What waits in this CPU's batch is invisible to the scan.
        self.lru_add_drain(cx);
        let mut targets = self.scan_targets(node, sc);
        while targets.iter().any(|&(_, left)| left > 0) && sc.nr_reclaimed < sc.nr_to_reclaim {
            for (lru, left) in &mut targets {
                let nr = (*left).min(SWAP_CLUSTER_MAX);
                *left -= nr;
                if nr > 0 {
                    self.shrink_list(cx, node, *lru, nr, sc);
                }
            }
            if self.clock.is_aborted() {
                break;
            }
        }
        if self.can_reclaim_anon_pages() {
            self.age_active_anon(cx, node, sc);
        }
        if sc.nr_reclaimed > before {
            self.reclaim.nodes[node.index()].kswapd.failures.store(0, Ordering::Relaxed);
        }
    }

    /// How many pages of each list are to be scanned (`get_scan_count`).
    fn scan_targets(&self, node: NodeId, sc: &ScanControl) -> [(Lru, u64); 4] {
        let size = |lru| -> u64 {
            self.zones_of(node)
                .filter(|z| z.idx() <= sc.highest)
                .map(|z| zone_lru_pages(z, lru))
                .sum()
        };
        let files = size(Lru::InactiveFile) + size(Lru::ActiveFile);
        let swappable = self.can_reclaim_anon_pages();
        // Shares of anonymous and file pages, of 200.
        let (anon_share, file_share) = match (swappable, files) {
            (false, _) => (0, 200),
            (true, 0) => (200, 0),
            (true, _) if sc.priority == 0 => (200, 200),
            (true, _) => (SWAPPINESS, 200 - SWAPPINESS),
        };
        [Lru::InactiveAnon, Lru::ActiveAnon, Lru::InactiveFile, Lru::ActiveFile].map(|lru| {
            let size = size(lru);
            // Small lists give something at every priority.
            let scan = match size >> sc.priority {
                0 => size.min(SWAP_CLUSTER_MAX),
                scan => scan,
            };
            let share = if lru.is_file() { file_share } else { anon_share };
            (lru, scan * share / 200)
        })
    }

    fn shrink_list(&self, cx: &Cx, node: NodeId, lru: Lru, nr: u64, sc: &mut ScanControl) {
        match lru {
            Lru::ActiveAnon | Lru::ActiveFile => {
                if self.inactive_is_low(node, lru.is_file()) {
                    self.shrink_active_list(cx, node, lru, nr, sc);
                }
            }
            Lru::InactiveAnon | Lru::InactiveFile => {
                self.shrink_inactive_list(cx, node, lru, nr, sc);
            }
            Lru::Unevictable => {}
        }
    }

    /// Is the inactive list too short beside the active one? Up to 1 GiB they are to be equal, then
    /// the inactive one may be smaller by the root of ten times the GiB.
    fn inactive_is_low(&self, node: NodeId, file: bool) -> bool {
        let (inactive, active) = if file {
            (Lru::InactiveFile, Lru::ActiveFile)
        } else {
            (Lru::InactiveAnon, Lru::ActiveAnon)
        };
        let inactive = self.node_lru_pages(node, inactive);
        let active = self.node_lru_pages(node, active);
        let gib = (inactive + active) >> (30 - crate::ids::PAGE_SHIFT);
        let ratio = if gib > 0 { (10 * gib).isqrt() } else { 1 };
        inactive * ratio < active
    }

    /// Moves pages from an active list's tail to the inactive list (`shrink_active_list`).
    fn shrink_active_list(&self, cx: &Cx, node: NodeId, lru: Lru, nr: u64, sc: &mut ScanControl) {
        let isolated = self.isolate_lru_pages(node, lru, nr, sc.highest);
        for pfn in isolated.pages {
            self.frames.get(pfn).clear_flags(flag::ACTIVE);
            self.putback_lru_page(cx, pfn);
        }
    }

    /// kswapd and direct reclaim keep the inactive anonymous list filled.
    fn age_active_anon(&self, cx: &Cx, node: NodeId, sc: &mut ScanControl) {
        if self.inactive_is_low(node, false) {
            self.shrink_active_list(cx, node, Lru::ActiveAnon, SWAP_CLUSTER_MAX, sc);
        }
    }

    fn shrink_inactive_list(&self, cx: &Cx, node: NodeId, lru: Lru, nr: u64, sc: &mut ScanControl) {
        let mut waited = false;
        while self.too_many_isolated(node, lru.is_file(), sc) {
            if cx.task.process.is_killed() {
                // Progress, so that the victim gets on to its exit.
                sc.nr_reclaimed += SWAP_CLUSTER_MAX;
                return;
            }
            if waited || self.clock.is_aborted() {
                return;
            }
            self.clock.sleep(100 * crate::run::clock::NS_PER_MS);
            waited = true;
        }
        let isolated = self.isolate_lru_pages(node, lru, nr, sc.highest);
        let mut freed = 0;
        for pfn in isolated.pages {
            let pages = 1u64 << self.frames.get(pfn).state().order();
            let gone = if lru.is_file() {
                self.page_cache_remove(cx, pfn)
            } else {
                self.swap_out(cx, pfn)
            };
            if gone {
                freed += pages;
            } else {
                self.putback_lru_page(cx, pfn);
            }
        }
        sc.nr_scanned += isolated.scanned;
        sc.nr_reclaimed += freed;
        let vm = &self.cpus[cx.cpu().index()].vm;
        let (scan, steal) = if sc.is_kswapd {
            (&vm.pgscan_kswapd, &vm.pgsteal_kswapd)
        } else {
            (&vm.pgscan_direct, &vm.pgsteal_direct)
        };
        scan.fetch_add(isolated.scanned, Ordering::Relaxed);
        steal.fetch_add(freed, Ordering::Relaxed);
    }

    /// Do direct reclaimers hold more of the node than they leave on its inactive lists?
    fn too_many_isolated(&self, node: NodeId, file: bool, sc: &ScanControl) -> bool {
        if sc.is_kswapd {
            return false;
        }
        let isolated: i64 = self
            .zones_of(node)
            .map(|z| z.nr_isolated[usize::from(file)].load(Ordering::Relaxed))
            .sum();
        let inactive = if file { Lru::InactiveFile } else { Lru::InactiveAnon };
        let mut inactive = self.node_lru_pages(node, inactive);
        if sc.gfp.contains(Gfp::IO | Gfp::FS) {
            inactive >>= 3;
        }
        u64::try_from(isolated).unwrap_or(0) > inactive
    }

    /// Moves an isolated anonymous page to swap and frees it. False: it is still isolated.
    fn swap_out(&self, cx: &Cx, pfn: Pfn) -> bool {
        let frame = self.frames.get(pfn);
        let state = frame.state();
        if state.has(flag::MLOCKED) || state.has(flag::PINNED) {
            return false;
        }
        // Nobody but us: its owner has let go of it.
        if state.refs() > 1 {
            let Some(entry) = self.reclaim.swap.alloc() else { return false };
            let unmapped = self.try_to_unmap(cx, pfn, entry);
            // The slot lives on through the page-table entries that name it now.
            self.reclaim.swap.free(entry);
            if !unmapped {
                return false;
            }
            self.cpus[cx.cpu().index()].vm.pswpout.fetch_add(1, Ordering::Relaxed);
        }
        self.clear_isolated(pfn);
        self.put_page(cx, pfn);
        true
    }
}
