//! Conservation: at a quiescent point each frame is in exactly one place, and counters equal
//! recounts.
//!
//! **What.** Walks the managed ranges block by block (heads name their order) and the free lists
//! and pcplists link by link, and compares both with the counters.
//!
//! **When.** Only while nobody allocates or frees: between rounds and at the end.

use crate::gfp::MigrateType;
use crate::ids::Pfn;
use crate::run::kernel::Kernel;
use crate::sync::atomic::Ordering;
use crate::zone::Zone;
use crate::zone::frame::FrameKind;
use crate::zone::pcp::NR_PCP_LISTS;

/// Where the frames of the machine are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Frames looked at.
    pub frames: u64,
    /// In the buddy, on lists other than ISOLATE.
    pub free: u64,
    /// In the buddy, on ISOLATE lists.
    pub isolated: u64,
    /// On pcplists.
    pub pcp: u64,
    /// Allocated.
    pub allocated: u64,
    /// Offline.
    pub offline: u64,
    /// Poisoned or taken off for ever.
    pub taken: u64,
    /// What does not fit, in words.
    pub violations: Vec<String>,
}

impl Census {
    fn violation(&mut self, text: String) {
        if self.violations.len() < 20 {
            self.violations.push(text);
        }
    }
}

impl Kernel {
    /// Recounts everything. The caller guarantees that nobody allocates or frees.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for range in self.managed_ranges.lock().iter() {
            self.count_range(range.first, range.pages, &mut census);
        }
        for zone in self.populated_zones() {
            self.check_zone(zone, &mut census);
        }
        census
    }

    fn count_range(&self, first: Pfn, pages: u32, census: &mut Census) {
        let end = first.0 + pages;
        let mut at = first.0;
        census.frames += u64::from(pages);
        while at < end {
            let state = self.frames.at(at).state();
            let size = 1u32 << state.order();
            let (place, size) = match state.kind() {
                FrameKind::Buddy if state.cached_type() == MigrateType::Isolate => {
                    (&mut census.isolated, size)
                }
                FrameKind::Buddy => (&mut census.free, size),
                FrameKind::Pcp => (&mut census.pcp, size),
                FrameKind::Allocated => (&mut census.allocated, size),
                FrameKind::Offline => (&mut census.offline, 1),
                FrameKind::Taken => (&mut census.taken, 1),
                FrameKind::None => {
                    census
                        .violation(format!("frame {at:#x} is in no place (state {:#x})", state.0));
                    at += 1;
                    continue;
                }
            };
            *place += u64::from(size);
            if at + size > end {
                census.violation(format!("the block at {at:#x} reaches past its range"));
            }
            at += size;
        }
    }

    fn check_zone(&self, zone: &Zone, census: &mut Census) {
        let name = format!("node {} {}", zone.node(), zone.idx());
        let mut free = 0u64;
        for (order, area) in zone.free_area.iter().enumerate() {
            let mut blocks = 0;
            for migratetype in MigrateType::ALL {
                for pfn in area.list(migratetype).iter(&self.frames) {
                    let state = self.frames.get(pfn).state();
                    if !state.is_buddy_of(order as u8) || state.cached_type() != migratetype {
                        census.violation(format!(
                            "{name}: {pfn:#x} on the list of order {order} has state {:#x}",
                            state.0
                        ));
                    }
                    blocks += 1;
                    if migratetype != MigrateType::Isolate {
                        free += 1 << order;
                    }
                }
            }
            if blocks != area.nr_free() {
                census.violation(format!(
                    "{name}: nr_free of order {order} is {}, the lists hold {blocks}",
                    area.nr_free()
                ));
            }
        }
        if free != zone.free_pages_exact() || free != zone.free_pages_snapshot() {
            census.violation(format!(
                "{name}: nr_free_pages is {} ({} with deltas), the lists hold {free}",
                zone.free_pages_exact(),
                zone.free_pages_snapshot()
            ));
        }
        for (cpu, pcp) in zone.pcp.iter().enumerate() {
            let lists = pcp.enter();
            let mut pages = 0;
            for pindex in 0..NR_PCP_LISTS {
                for pfn in lists.list(pindex).iter(&self.frames) {
                    let state = self.frames.get(pfn).state();
                    if state.kind() != FrameKind::Pcp {
                        census.violation(format!(
                            "{name}: {pfn:#x} on the pcplist of CPU {cpu} has state {:#x}",
                            state.0
                        ));
                    }
                    pages += 1 << state.order();
                }
            }
            if pages != pcp.count() {
                census.violation(format!(
                    "{name}: pcp count of CPU {cpu} is {}, the lists hold {pages}",
                    pcp.count.load(Ordering::Relaxed)
                ));
            }
        }
    }
}
