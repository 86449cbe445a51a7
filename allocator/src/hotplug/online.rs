//! online_pages: a memory block comes back.
//!
//! **What.** docs/kernel/hotplug.md#g6, checked.md: the span grows, pages go to the buddy (isolated
//! first in newer releases), present grows, zonelists are rebuilt if the zone was empty, then the
//! pageblocks become allocatable, then watermarks and pcp sizes.

use crate::gfp::MigrateType;
use crate::hotplug::{BlockId, HotplugError};
use crate::ids::PAGEBLOCK_NR_PAGES;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, count};
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role};
use crate::zone::Zone;
use crate::zone::frame::FrameKind;

impl Kernel {
    /// Brings an offline block back into the zone that it was in.
    ///
    /// # Errors
    /// -EINVAL if it is online, -EHWPOISON if a page of it is poisoned (6.2+).
    pub fn online_pages(&self, cx: &Cx, block: BlockId) -> Result<(), HotplugError> {
        let _role = As::role(Role::Writer);
        let _hotplug = self.mem_hotplug_lock.lock();
        let found = self.hotplug.offline.lock().iter().find(|o| o.block == block).copied();
        let Some(offline) = found else { return Err(HotplugError::SameState(block.0)) };
        let zone = &self.zones[offline.zone.index()];
        let (first, pages) = self.block_range(block);
        let poisoned = (first.0..first.0 + pages)
            .find(|&pfn| self.frames.at(pfn).state().kind() == FrameKind::Taken);
        if let Some(pfn) = poisoned {
            return Err(HotplugError::Poisoned(pfn));
        }
        let was_empty = !zone.is_populated();
        self.grow_zone_span(zone, u64::from(first.0), u64::from(pages));
        let blocks = pages / PAGEBLOCK_NR_PAGES;
        let isolates = self.policy.release.online_isolates_first();
        let migratetype = if isolates { MigrateType::Isolate } else { MigrateType::Movable };
        {
            let _locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
            for b in 0..blocks {
                self.pageblocks.set_migratetype(first.add(b * PAGEBLOCK_NR_PAGES), migratetype);
            }
            if isolates {
                zone.nr_isolate_pageblock.fetch_add(blocks, Ordering::Relaxed);
            }
        }
        if was_empty {
            self.zone_pcp_update_all();
        }
        self.free_range_to_buddy(cx, zone, first, pages);
        let grown = u64::from(pages);
        zone.set_sizes(zone.present_pages() + grown, zone.managed_pages() + grown);
        self.totalram_pages.fetch_add(grown, Ordering::Relaxed);
        self.hotplug.offline.lock().retain(|o| o.block != block);
        let node_was_empty = !self.n_memory.test(zone.node());
        if node_was_empty {
            self.n_memory.set(zone.node());
            self.kswapd_run(zone.node());
        }
        if was_empty {
            self.build_all_zonelists(cx);
        }
        if isolates {
            self.undo_isolate_page_range(cx, zone, first, pages);
        }
        self.init_per_zone_wmark_min(|| {});
        if !self.policy.release.watermarks_set_pcp_sizes() {
            self.zone_pcp_update_all();
        }
        if node_was_empty {
            let _followed = self.cpuset_track_online_nodes(cx);
        }
        self.check_zone_sizes(zone);
        self.point_event(cx, Point::G6Online, [grown, 0, 0]);
        Ok(())
    }

    fn grow_zone_span(&self, zone: &Zone, first: u64, pages: u64) {
        if zone.spanned_pages() == 0 {
            zone.set_span(crate::ids::Pfn(first as u32), pages);
            return;
        }
        let start = u64::from(zone.start_pfn().0).min(first);
        let end = (u64::from(zone.start_pfn().0) + zone.spanned_pages()).max(first + pages);
        zone.set_span(crate::ids::Pfn(start as u32), end - start);
    }
}
