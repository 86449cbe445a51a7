//! What a trace tells about the state that it began with.
//!
//! **What.** Which blocks lay on which pcplist (their first event is an allocation or a drain that
//! nothing put them there for), which were allocated (their first event is a free), of which type
//! pageblocks are (each A, Z and D names the type of a list), and when each CPU's vmstat worker ran
//! (a drain by a thread that was not freeing). And what was free when the reading of the frames'
//! flags began, which takes a while.
//!
//! **Why.** The proc files know all of these in sum only, or not at all.
//!
//! **Differs.** Blocks on pcplists that the trace never touches stay unknown.

use allocator::gfp::MigrateType;
use allocator::ids::{CpuId, PAGEBLOCK_NR_PAGES, PAGEBLOCK_ORDER, Pfn};

use super::frame_set::FrameSet;
use super::snapshot::Snapshot;
use super::trace::{Kind, Packed, Trace};

/// May pcplists hold blocks of this order (mainline)?
pub fn is_pcp_order(order: u8) -> bool {
    order <= 3 || order == PAGEBLOCK_ORDER
}

/// A block on a pcplist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnPcp {
    /// The CPU.
    pub cpu: CpuId,
    /// First frame.
    pub pfn: Pfn,
    /// Order.
    pub order: u8,
    /// Type of the list.
    pub migratetype: MigrateType,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Blocks on pcplists at the start, in the order in which they left: for blocks that were
    /// allocated, that is from the head of their list on.
    pub on_pcp: Vec<OnPcp>,
    /// Blocks that were allocated at the start and freed later.
    pub allocated: Vec<(Pfn, u8)>,
    /// Frames that some event names.
    pub touched: FrameSet,
    /// Frames that were touched while the flags of all were being read, and were free before.
    pub was_free: FrameSet,
    /// The same that were not.
    pub was_used: FrameSet,
    /// Types of pageblocks at the start, by number of the pageblock.
    pub types: Vec<Option<MigrateType>>,
    /// Lists (CPU, order, type) that ran empty: their first refill ended what was on them.
    pub refilled: Vec<(CpuId, u8, MigrateType)>,
    /// Nanoseconds, by CPU, at which its vmstat worker was seen to drain.
    pub vmstat_ns: Vec<Option<u64>>,
    /// Refills in a row so far, by CPU, as a shift of the batch: what the first refill of order 0
    /// shows, unless frees stood before it.
    pub alloc_factors: Vec<Option<u8>>,
    /// Events of a type other than the one known for the pageblock.
    pub type_conflicts: u64,
}

impl Evidence {
    /// Looks through a trace.
    pub fn of(trace: &Trace, state: &Snapshot, max_pfn: u64, nr_cpus: usize) -> Self {
        let blocks = max_pfn.div_ceil(u64::from(PAGEBLOCK_NR_PAGES)) as usize;
        let mut this = Self {
            touched: FrameSet::new(max_pfn),
            was_free: FrameSet::new(max_pfn),
            was_used: FrameSet::new(max_pfn),
            types: vec![None; blocks],
            vmstat_ns: vec![None; nr_cpus],
            ..Self::default()
        };
        for (index, record) in trace.records.iter().enumerate() {
            let Some(of) = state.migratetype(record.migratetype) else { continue };
            if index < trace.window {
                this.look_back(record);
            }
            if index < trace.end {
                this.look(record, of, state);
            }
        }
        this.find_vmstat_workers(trace);
        this.find_alloc_factors(trace, state, nr_cpus);
        this
    }

    /// kpageflags has each frame as it was when its turn came; the state before is what the first
    /// event says: what leaves the free lists was on them.
    fn look_back(&mut self, record: &Packed) {
        let was = match record.kind {
            Kind::TakeForPcp | Kind::TakeDirect => &mut self.was_free,
            Kind::Alloc | Kind::Free | Kind::Drain => &mut self.was_used,
            Kind::Claim
            | Kind::Steal
            | Kind::FreeBatched
            | Kind::AllocFailed
            | Kind::Untraced
            | Kind::Marker => return,
        };
        for frame in 0..1 << record.order {
            let pfn = u64::from(record.pfn) + frame;
            if !self.touched.has(pfn) {
                was.add(pfn);
            }
        }
    }

    fn look(&mut self, record: &Packed, of: MigrateType, state: &Snapshot) {
        let (pfn, order) = (Pfn(record.pfn), record.order);
        let cpu = CpuId(record.cpu);
        match record.kind {
            Kind::Alloc => {
                let first = self.touched.add_block(record.pfn, order);
                if is_pcp_order(order) {
                    self.learn(pfn, 0, of);
                    if first {
                        self.on_pcp.push(OnPcp { cpu, pfn, order, migratetype: of });
                    }
                }
            }
            Kind::Free => {
                if self.touched.add_block(record.pfn, order) {
                    self.allocated.push((pfn, order));
                }
            }
            Kind::Drain => {
                self.learn(pfn, 0, of);
                if self.touched.add_block(record.pfn, order) {
                    self.on_pcp.push(OnPcp { cpu, pfn, order, migratetype: of });
                }
            }
            Kind::TakeForPcp => {
                self.learn(pfn, 0, of);
                self.touched.add_block(record.pfn, order);
                if !self.refilled.contains(&(cpu, order, of)) {
                    self.refilled.push((cpu, order, of));
                }
            }
            Kind::TakeDirect => {
                self.learn(pfn, order, of);
                self.touched.add_block(record.pfn, order);
            }
            Kind::Claim => {
                if let Some(from) = state.migratetype(record.extra) {
                    self.learn(pfn, order, from);
                }
            }
            Kind::Steal | Kind::FreeBatched | Kind::AllocFailed | Kind::Untraced | Kind::Marker => {
            }
        }
    }

    /// The first that is heard of a pageblock is what it was at the start.
    fn learn(&mut self, pfn: Pfn, order: u8, of: MigrateType) {
        let first = pfn.pageblock();
        let blocks = 1 << order.saturating_sub(PAGEBLOCK_ORDER);
        for known in self.types.iter_mut().skip(first).take(blocks) {
            match known {
                None => *known = Some(of),
                Some(other) if *other != of => self.type_conflicts += 1,
                Some(_) => {}
            }
        }
    }

    /// The first refill of order 0 on a CPU is the batch, shifted by the refills in a row before it.
    fn find_alloc_factors(&mut self, trace: &Trace, state: &Snapshot, nr_cpus: usize) {
        self.alloc_factors = vec![None; nr_cpus];
        for (cpu, factor) in self.alloc_factors.iter_mut().enumerate() {
            let own = trace.records[..trace.end].iter().filter(|r| usize::from(r.cpu) == cpu);
            let mut own = own.skip_while(|r| {
                matches!(
                    r.kind,
                    Kind::Alloc
                        | Kind::AllocFailed
                        | Kind::TakeDirect
                        | Kind::Untraced
                        | Kind::Marker
                )
            });
            let Some(first) = own.next().filter(|r| r.kind == Kind::TakeForPcp && r.order == 0)
            else {
                continue;
            };
            let same = |r: &&Packed| {
                r.kind == Kind::TakeForPcp && (r.order, r.migratetype) == (0, first.migratetype)
            };
            let size = 1 + own.take_while(same).count() as u32;
            let holds = |z: &&super::snapshot::ZoneState| {
                (z.start_pfn..z.end_pfn).contains(&u64::from(first.pfn))
            };
            let zone = state.zones.iter().find(holds);
            let batch = zone.and_then(|z| z.pcp.get(cpu)).map_or(0, |p| p.batch);
            *factor = (0..=5u8).find(|shift| batch > 0 && size == batch << shift);
        }
    }

    /// A run of drains that no free by the same thread stands before is the vmstat worker's.
    fn find_vmstat_workers(&mut self, trace: &Trace) {
        // The last record of each CPU: its kind and thread.
        let mut last: Vec<Option<(Kind, u32)>> = vec![None; self.vmstat_ns.len()];
        for record in &trace.records {
            let cpu = usize::from(record.cpu);
            if record.kind == Kind::Drain {
                let freeing = matches!(last[cpu],
                    Some((Kind::Free | Kind::FreeBatched | Kind::Drain, pid)) if pid == record.pid);
                if !freeing && last[cpu].is_some() && self.vmstat_ns[cpu].is_none() {
                    self.vmstat_ns[cpu] = Some(record.at_ns);
                }
            }
            last[cpu] = Some((record.kind, record.pid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::tests::{HEAD, read};
    use super::*;
    use MigrateType::{Movable, Unmovable};

    fn evidence(body: &str) -> Evidence {
        let text = format!("{HEAD}{body}0 0t 9 M SNAP1 begin\n");
        Evidence::of(&read(&text).unwrap(), &Snapshot::default(), 0x1_0000, 2)
    }

    #[test]
    fn a_page_that_nothing_put_there_lay_on_the_list_at_the_start() {
        let found = evidence(
            "0 0t 1 A 10 0 1 8\n0 0t 1 F 10 0\n0 0t 1 A 10 0 1 8\n0 1t 2 Z 20 0 1 1\n0 1t 2 A 20 0 1 8\n0 0t 1 D 400 1 0\n",
        );
        let on = |cpu, pfn, order, migratetype| OnPcp {
            cpu: CpuId(cpu),
            pfn: Pfn(pfn),
            order,
            migratetype,
        };
        assert_eq!(found.on_pcp, [on(0, 0x10, 0, Movable), on(0, 0x400, 1, Unmovable)]);
        assert_eq!(found.refilled, [(CpuId(1), 0, Movable)]);
        assert!(found.touched.has(0x401) && !found.touched.has(0x402));
        assert_eq!(
            (found.types[0], found.types[2], found.types[1]),
            (Some(Movable), Some(Unmovable), None)
        );
    }

    #[test]
    fn a_block_whose_first_event_is_a_free_was_allocated() {
        let found = evidence("0 0t 1 F 40 2\n0 0t 1 A 40 2 0 0\n0 0t 1 F 40 2\n");
        assert_eq!(found.allocated, [(Pfn(0x40), 2)]);
        assert!(found.on_pcp.is_empty());
    }

    #[test]
    fn what_was_free_before_the_flags_were_read_is_what_the_first_event_says() {
        let text = "0 0t 9 M SNAP0 begin\n0 0t 9 M SNAP0 kpageflags\n0 0t 1 Z 10 1 0 1\n0 0t 1 A 10 1 0 8\n\
            0 0t 1 F 20 0\n0 0t 1 Z 20 0 0 1\n0 0t 9 M SNAP0 end\n0 0t 1 Z 30 0 0 1\n0 0t 9 M SNAP1 begin\n";
        let found = Evidence::of(&read(text).unwrap(), &Snapshot::default(), 0x1_0000, 2);
        assert_eq!(found.was_free.ranges(0, 0x100), [(0x10, 2)]);
        assert_eq!(found.was_used.ranges(0, 0x100), [(0x20, 1)]);
    }

    #[test]
    fn a_claimed_block_was_of_the_other_type_before() {
        let found = evidence("0 0t 1 X 400 0 10 0 1 1\n0 0t 1 Z 400 0 0 1\n");
        assert_eq!((found.types[2], found.types[3]), (Some(Movable), Some(Movable)));
    }

    #[test]
    fn a_drain_by_a_thread_that_was_not_freeing_is_the_vmstat_workers() {
        let found = evidence(
            "0 0t 5 F 10 0\n1 0t 5 B 10\n1 0t 5 D 20 0 1\n5 0t 5 A 30 0 1 8\n7 0t 11 D 21 0 1\n1 0t 11 D 22 0 1\n",
        );
        // Two lines of the head carry 1 ns each.
        assert_eq!(found.vmstat_ns, [Some(2 + 1 + 1 + 5 + 7), None]);
    }
}
