//! Setting zones up: zonelists, watermarks, reserves, pcp sizes at boot and after hotplug; and the
//! watermark check on a zone.
//!
//! **What.** `init_per_zone_wmark_min`, `setup_per_zone_wmarks`, `zone_pcp_update`,
//! `zone_watermark_ok`, `zone_watermark_fast` (docs/kernel/pcplists.md#a6, watermarks.md#a8), what
//! zonelists are built from, and what is decided after a rebuild (Z6). The formulas are pure
//! functions in [`crate::zone::watermark`], [`crate::zone::pcp_sizes`] and [`crate::zonelist`]; here they meet
//! the zones.
//!
//! **Why.** Marks of every zone depend on the managed pages of all zones, so one block that goes
//! offline changes them everywhere; the same code serves boot.
//!
//! **Source.** mm/page_alloc.c of the release that the policy names.
//!
//! **Differs.** All CPUs of the machine are online.

use crate::gfp::{AllocFlags, MIGRATE_TYPES, MigrateType};
use crate::ids::{NodeId, PAGEBLOCK_NR_PAGES, ZoneId, ZoneIdx};
use crate::run::kernel::Kernel;
use crate::sync::atomic::Ordering;
use crate::zone::pcp_sizes::{OnlineCpus, PcpSizes, ZoneComputed, compute_from_marks};
use crate::zone::watermark::{
    Lists, WmarkPass, ZoneLevel, ZoneSizes, boot_wmarks, init_per_zone_wmark_min,
    nr_free_buffer_pages,
};
use crate::zone::{Wmark, Zone};
use crate::zonelist::{Distances, ZonelistView};

/// What zonelists are built from, as the machine is now.
#[derive(Debug)]
pub struct KernelView<'a> {
    kernel: &'a Kernel,
    nodes: Vec<NodeId>,
    distances: Distances,
    /// Are CPUs known to belong to nodes? Not yet at boot.
    cpus_known: bool,
}

impl ZonelistView for KernelView<'_> {
    fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    fn has_memory(&self, node: NodeId) -> bool {
        self.kernel.n_memory.test(node)
    }

    fn has_cpus(&self, node: NodeId) -> bool {
        self.cpus_known && self.kernel.machine.cpus_of(node).next().is_some()
    }

    fn distance(&self, from: NodeId, to: NodeId) -> u8 {
        self.distances.get(from, to)
    }

    fn zone_qualifies(&self, zone: ZoneId) -> bool {
        let zone = &self.kernel.zones[zone.index()];
        if self.kernel.policy.release.zonelists_hold_populated() {
            zone.is_populated()
        } else {
            zone.is_managed()
        }
    }
}

impl Kernel {
    /// What a rebuild at run time builds zonelists from.
    pub fn zonelist_view(&self) -> KernelView<'_> {
        KernelView {
            kernel: self,
            nodes: self.machine.nodes.iter().map(|n| n.id).collect(),
            distances: Distances::of(&self.machine),
            cpus_known: true,
        }
    }

    /// Builds all zonelists at boot, when no CPU is known yet and nobody looks.
    pub fn build_all_zonelists_boot(&self) {
        let view = KernelView { cpus_known: false, ..self.zonelist_view() };
        self.zonelists.rebuild(self.policy.release, &view, |_| {});
        self.zonelists_built();
    }

    /// Z6: what follows from the lists: policy_zone, and whether types are kept apart.
    pub fn zonelists_built(&self) {
        let view = self.zonelist_view();
        let highest = (0..ZoneIdx::Movable.index()).rev().find(|idx| {
            let idx = ZoneIdx::ALL[*idx];
            view.nodes.iter().any(|n| view.zone_qualifies(ZoneId::new(*n, idx)))
        });
        // It never falls (check_highest_zone).
        let before = self.policy_zone.load(Ordering::Relaxed);
        self.policy_zone.store(before.max(highest.unwrap_or(0)), Ordering::Relaxed);
        let grouping =
            self.vm_total_pages() >= u64::from(PAGEBLOCK_NR_PAGES) * MIGRATE_TYPES as u64;
        self.grouping_disabled.store(!grouping, Ordering::Relaxed);
    }

    /// Pages beyond the high marks of all zones (`nr_free_pagecache_pages`); `Total pages` in the
    /// line about built zonelists.
    pub fn vm_total_pages(&self) -> u64 {
        self.populated_zones()
            .map(|z| z.managed_pages().saturating_sub(z.wmark_pages(Wmark::High)))
            .sum()
    }

    /// Pages beyond the high marks of zones that GFP_USER may use.
    pub fn nr_free_buffer_pages(&self) -> u64 {
        let high = |z: &ZoneSizes| self.zone_of(z.node, z.idx).wmark_pages(Wmark::High);
        nr_free_buffer_pages(self.zone_sizes().into_iter().map(|z| (z, high(&z))))
    }

    /// Sizes of all zones, four for each node, as the formulas read them.
    pub fn zone_sizes(&self) -> Vec<ZoneSizes> {
        let of = |node, idx| {
            let zone = self.zone_of(node, idx);
            ZoneSizes {
                node,
                idx,
                managed: zone.managed_pages(),
                present: zone.present_pages(),
                spanned: zone.spanned_pages(),
            }
        };
        let nodes = self.machine.nodes.iter().map(|n| n.id);
        nodes.flat_map(|node| ZoneIdx::ALL.map(|idx| of(node, idx))).collect()
    }

    /// Watermarks, reserves and pcp sizes at boot.
    pub fn boot_wmarks(&self) {
        let sizes = self.zone_sizes();
        for pass in boot_wmarks(self.policy.release, &self.machine.settings, &sizes) {
            self.apply_wmarks(&sizes, &pass);
        }
        self.zones.iter().for_each(|zone| self.reserve_oracle.forget(zone));
        self.zone_pcp_update_all();
    }

    /// `init_per_zone_wmark_min`, after every on- and offline: min_free_kbytes, marks, reserves
    /// and, from 5.14 on, pcp sizes of all zones. `between` is called between the two passes, while
    /// the marks are those of the first. The caller must not hold pcp_batch_high_lock.
    pub fn init_per_zone_wmark_min(&self, mut between: impl FnMut()) {
        let sizes = self.zone_sizes();
        let high: Vec<u64> =
            sizes.iter().map(|z| self.zone_of(z.node, z.idx).wmark_pages(Wmark::High)).collect();
        let in_force = self.min_free_kbytes.load(Ordering::Relaxed);
        let (release, settings) = (self.policy.release, &self.machine.settings);
        let passes = init_per_zone_wmark_min(release, settings, &sizes, &high, in_force, false);
        for (i, pass) in passes.iter().enumerate() {
            if i > 0 {
                between();
            }
            self.apply_wmarks(&sizes, pass);
            if release.watermarks_set_pcp_sizes() {
                self.zone_pcp_update_all();
            }
        }
    }

    /// One pass: marks under each zone's lock, then thresholds and reserves.
    fn apply_wmarks(&self, sizes: &[ZoneSizes], pass: &WmarkPass) {
        self.min_free_kbytes.store(pass.min_free_kbytes, Ordering::Relaxed);
        for (size, marks) in sizes.iter().zip(&pass.marks) {
            let zone = self.zone_of(size.node, size.idx);
            let locked = zone.lock.lock(|| {});
            zone.set_watermarks(&locked, [marks.min, marks.low, marks.high, marks.promo]);
            self.reserve_oracle.marks_moved(zone);
        }
        for computed in self.computed(sizes, pass) {
            let zone = self.zone_of(computed.sizes.node, computed.sizes.idx);
            zone.stat_threshold.store(computed.stat_threshold as i32, Ordering::Relaxed);
            zone.percpu_drift_mark.store(computed.percpu_drift_mark, Ordering::Relaxed);
            let [dma, dma32, normal, movable, _device] = computed.protection;
            zone.set_lowmem_reserve([dma, dma32, normal, movable]);
        }
    }

    fn computed(&self, sizes: &[ZoneSizes], pass: &WmarkPass) -> Vec<ZoneComputed> {
        let cpus = OnlineCpus::of_machine(&self.machine);
        let (settings, batch) = (&self.machine.settings, self.config.pcp_batch);
        compute_from_marks(&self.policy, settings, sizes, &pass.marks, &cpus, batch)
    }

    /// Sets every zone's pcp sizes from its marks, under pcp_batch_high_lock.
    pub fn zone_pcp_update_all(&self) {
        let _batch_high = self.pcp_batch_high_lock.lock();
        let sizes = self.zone_sizes();
        let marks = sizes
            .iter()
            .map(|z| {
                let zone = self.zone_of(z.node, z.idx);
                crate::zone::watermark::Marks {
                    min: zone.wmark_unboosted(Wmark::Min),
                    low: zone.wmark_unboosted(Wmark::Low),
                    high: zone.wmark_unboosted(Wmark::High),
                    promo: zone.promo_wmark(),
                }
            })
            .collect();
        let pass = WmarkPass { min_free_kbytes: 0, log: None, marks };
        for computed in self.computed(&sizes, &pass) {
            let zone = self.zone_of(computed.sizes.node, computed.sizes.idx);
            self.set_zone_pcp_sizes(zone, computed.pcp);
        }
    }

    /// `zone_set_pageset_high_and_batch`: publishes sizes on all CPUs, unless they are in force.
    fn set_zone_pcp_sizes(&self, zone: &Zone, sizes: PcpSizes) {
        let PcpSizes { batch, high_min, high_max } = sizes;
        let set = &zone.pageset;
        let same = set.batch.load(Ordering::Relaxed) == batch
            && set.high_min.load(Ordering::Relaxed) == high_min
            && set.high_max.load(Ordering::Relaxed) == high_max;
        if same {
            return;
        }
        set.batch.store(batch, Ordering::Relaxed);
        set.high_min.store(high_min, Ordering::Relaxed);
        set.high_max.store(high_max, Ordering::Relaxed);
        for pcp in &zone.pcp {
            pcp.update(&self.pcp_rules, high_min, high_max, batch);
        }
    }

    /// `zone_watermark_ok` with the zone's own unlocked free count.
    #[inline]
    pub fn zone_watermark_ok(
        &self,
        zone: &Zone,
        order: u8,
        mark: u64,
        highest: ZoneIdx,
        flags: AllocFlags,
    ) -> bool {
        self.zone_watermark_ok_free(zone, order, mark, highest, flags, zone.free_pages())
    }

    /// `zone_watermark_fast`: order 0 above the plain mark passes at once.
    #[inline(always)]
    pub fn zone_watermark_fast(
        &self,
        zone: &Zone,
        order: u8,
        mark: Wmark,
        highest: ZoneIdx,
        flags: AllocFlags,
    ) -> bool {
        let boost = zone.watermark_boost();
        let mark = zone.wmark_unboosted(mark) + boost;
        let level = self.zone_level(zone, mark, highest, zone.free_pages());
        let has_block = |order, lists| has_block(zone, order, lists);
        crate::zone::watermark::zone_watermark_fast(
            &self.rules.watermark,
            order,
            level,
            flags,
            boost,
            has_block,
        )
    }

    /// `__zone_watermark_ok` for a given free count (docs/kernel/watermarks.md#a8).
    pub fn zone_watermark_ok_free(
        &self,
        zone: &Zone,
        order: u8,
        mark: u64,
        highest: ZoneIdx,
        flags: AllocFlags,
        free: u64,
    ) -> bool {
        let level = self.zone_level(zone, mark, highest, free);
        let has_block = |order, lists| has_block(zone, order, lists);
        crate::zone::watermark::zone_watermark_ok(
            &self.rules.watermark,
            order,
            &level,
            flags,
            has_block,
        )
    }

    #[inline]
    fn zone_level(&self, zone: &Zone, mark: u64, highest: ZoneIdx, free: u64) -> ZoneLevel {
        let highatomic = if self.rules.watermark.counts_free_highatomic() {
            zone.nr_free_highatomic.load(Ordering::Relaxed).max(0) as u64
        } else {
            zone.nr_reserved_highatomic.load(Ordering::Relaxed)
        };
        ZoneLevel {
            free: free as i64,
            mark,
            reserve: zone.lowmem_reserve(highest),
            highatomic,
            free_cma: 0,
        }
    }
}

/// Has the order a free block on one of the lists? Read without the lock.
fn has_block(zone: &Zone, order: u8, lists: Lists) -> bool {
    let area = &zone.free_area[usize::from(order)];
    if area.nr_free() == 0 {
        return false;
    }
    lists == Lists::Any
        || MigrateType::ALL.into_iter().any(|mt| lists.holds(mt) && !area.list(mt).is_empty())
}
