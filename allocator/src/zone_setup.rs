//! Setting zones up: watermarks, reserves, pcp sizes, zonelists at boot and after hotplug; and the
//! watermark check on a zone.
//!
//! **What.** `init_per_zone_wmark_min`, `setup_per_zone_wmarks`, `zone_pcp_update`,
//! `zone_watermark_ok`, `zone_watermark_fast` (KERNEL-FACTS A.6, A.8). The formulas are pure
//! functions in [`crate::watermark`] and [`crate::pcp_sizes`]; here they meet the zones.

use crate::gfp::{AllocFlags, MIGRATE_PCPTYPES, MigrateType};
use crate::ids::{MAX_PAGE_ORDER, ZoneIdx};
use crate::kernel::Kernel;
use crate::policy::release::WatermarkColumn;
use crate::sync::atomic::Ordering;
use crate::zone::{Wmark, Zone};

impl Kernel {
    /// Builds all zonelists at boot.
    pub fn build_all_zonelists_boot(&self) {
        self.policy_zone.store(ZoneIdx::Normal.index(), Ordering::Relaxed);
    }

    /// `init_per_zone_wmark_min`: min_free_kbytes, marks, reserves, pcp sizes of all zones.
    pub fn init_per_zone_wmark_min(&self) {
        let total: u64 = self.populated_zones().map(Zone::managed_pages).sum();
        let kbytes = ((total * 4 * 16) as f64).sqrt() as u64;
        self.min_free_kbytes.store(kbytes, Ordering::Relaxed);
        for zone in self.populated_zones() {
            let tmp = (kbytes >> 2) * zone.managed_pages() / total.max(1);
            let dist = (tmp >> 2).max(zone.managed_pages() / 1000);
            let locked = zone.lock.lock(|| {});
            zone.set_watermarks(&locked, [tmp, tmp + dist, tmp + 2 * dist, tmp + 3 * dist]);
            drop(locked);
            let high = ((tmp + dist) / self.cpus.len() as u64).max(4 * 63) as u32;
            for pcp in &zone.pcp {
                pcp.update(&self.pcp_rules, high, high * 8, 63);
            }
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
    #[inline]
    pub fn zone_watermark_fast(
        &self,
        zone: &Zone,
        order: u8,
        mark: Wmark,
        highest: ZoneIdx,
        flags: AllocFlags,
    ) -> bool {
        let free = zone.free_pages();
        let pages = zone.wmark_pages(mark);
        if order == 0 {
            let unusable = zone.nr_reserved_highatomic.load(Ordering::Relaxed);
            if free.saturating_sub(unusable) > pages + zone.lowmem_reserve(highest) {
                return true;
            }
        }
        self.zone_watermark_ok_free(zone, order, pages, highest, flags, free)
    }

    /// `__zone_watermark_ok` for a given free count (KERNEL-FACTS A.8).
    pub fn zone_watermark_ok_free(
        &self,
        zone: &Zone,
        order: u8,
        mark: u64,
        highest: ZoneIdx,
        flags: AllocFlags,
        free: u64,
    ) -> bool {
        let mut min = mark as i64;
        let mut free = free as i64 - ((1i64 << order) - 1);
        let harder = match self.rules.watermark.column {
            WatermarkColumn::Fractions => flags.intersects(AllocFlags::RESERVES),
            WatermarkColumn::HighHarder => flags.contains(AllocFlags::HARDER),
            WatermarkColumn::HighHarderOom => {
                flags.intersects(AllocFlags::HARDER | AllocFlags::OOM)
            }
        };
        if flags.contains(AllocFlags::HIGH) {
            min -= min / 2;
        }
        if harder {
            min -= if flags.contains(AllocFlags::OOM) { min / 2 } else { min / 4 };
        } else {
            free -= zone.nr_reserved_highatomic.load(Ordering::Relaxed) as i64;
        }
        if free <= min + zone.lowmem_reserve(highest) as i64 {
            return false;
        }
        order == 0
            || (order..=MAX_PAGE_ORDER).any(|o| {
                let area = &zone.free_area[usize::from(o)];
                MigrateType::ALL[..MIGRATE_PCPTYPES].iter().any(|t| !area.list(*t).is_empty())
            })
    }
}
