//! Keeping pages off the pcplists of a zone (`zone_pcp_disable`, `zone_pcp_enable`).
//!
//! **What.** docs/kernel/hotplug.md#g5, steps D1 to D5: high 0 and batch 1 on every possible CPU,
//! then one *forced* drain that waits for every CPU's section, also where the count reads 0; the
//! mutex is held until pcplists are enabled again, so that nobody publishes other sizes meanwhile.
//!
//! **Source.** mm/page_alloc.c, ec6e8c7e0314.

use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::LockGuard;
use crate::sync::atomic::Ordering;
use crate::sync::lock::named;
use crate::zone::Zone;

/// pcplists of a zone are disabled while this lives.
#[derive(Debug)]
pub struct PcpDisabled<'k> {
    _guard: LockGuard<'k, named::PcpBatchHigh, ()>,
}

impl Kernel {
    /// D1 to D3.
    pub fn zone_pcp_disable<'k>(&'k self, cx: &Cx, zone: &Zone) -> PcpDisabled<'k> {
        let guard = self.pcp_batch_high_lock.lock();
        self.point(cx, Point::D1Mutex);
        for (cpu, pcp) in zone.pcp.iter().enumerate() {
            pcp.update(&self.pcp_rules, 0, 0, 1);
            self.point_event(cx, Point::D2Disable, [cpu as u64, 0, 0]);
        }
        self.drain_all(cx, Some(zone.id), true);
        PcpDisabled { _guard: guard }
    }

    /// D4, D5.
    pub fn zone_pcp_enable(&self, cx: &Cx, zone: &Zone, disabled: PcpDisabled<'_>) {
        let high_min = zone.pageset.high_min.load(Ordering::Relaxed);
        let high_max = zone.pageset.high_max.load(Ordering::Relaxed);
        let batch = zone.pageset.batch.load(Ordering::Relaxed);
        for pcp in &zone.pcp {
            pcp.update(&self.pcp_rules, high_min, high_max, batch.max(1));
        }
        self.point(cx, Point::D4Enable);
        drop(disabled);
    }
}
