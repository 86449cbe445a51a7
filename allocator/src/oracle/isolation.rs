//! Isolation: no frame of an isolated pageblock is handed out.
//!
//! **What.** ARCHITECTURE.md#the-oracle. Called where a frame leaves a pcplist or the buddy for a
//! requester, inside the pcp section or under zone->lock, and only while the zone has isolated
//! pageblocks. A frame that was in transit at I1 (its pcp section was open when the range was
//! isolated) is counted and no finding (J5-f).

use crate::gfp::MigrateType;
use crate::ids::Pfn;
use crate::oracle::FindingKind;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;
use crate::zone::Zone;

impl Kernel {
    /// A frame is being handed to a requester, from this CPU's pcplist or from the buddy.
    #[cold]
    pub fn isolation_handed_out(&self, cx: &Cx, zone: &Zone, pfn: Pfn, from_pcp: bool) {
        if self.pageblocks.of(pfn).migratetype() != MigrateType::Isolate {
            return;
        }
        let in_transit = {
            let isolations = self.hotplug.isolations.lock();
            // No record yet: the isolation is between I4 and its end, and the section is older.
            isolations.iter().find(|i| i.holds(pfn)).is_none_or(|isolation| {
                let cpu = cx.cpu().index();
                let now = zone.pcp[cpu].sections.load(Ordering::Relaxed);
                from_pcp && isolation.open_sections[cpu] == Some(now)
            })
        };
        if in_transit {
            self.hotplug.in_transit.fetch_add(1, Ordering::Relaxed);
            let why = format!(
                "pfn {pfn:#x} was on its way to a requester when its pageblock was isolated."
            );
            self.find(
                cx,
                FindingKind::InTransit,
                "page in transit handed out after isolation",
                &[why],
            );
            return;
        }
        let list = if from_pcp { "a pcplist" } else { "a free list" };
        let why = format!(
            "pfn {pfn:#x} was handed out from {list} after its pageblock had been isolated: the \
             offline has no guarantee of progress."
        );
        let title = "page of an isolated pageblock handed out";
        self.find(cx, FindingKind::IsolatedHandedOut, title, &[why]);
    }
}
