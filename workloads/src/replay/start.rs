//! The state that a replay starts from.
//!
//! **What.** Free blocks exactly as kpageflags has them; pcplists with the recorded count and limits;
//! pageblock types that add up to pagetypeinfo's sums.
//!
//! **Why.** How much is refilled and drained hangs on what the lists held and how far their limits
//! were away.
//!
//! **Differs.** Some of it is deduced. A pageblock that the trace names has the type that it names;
//! the others are given types so that the free blocks by order and type come as near as may be to
//! pagetypeinfo's. Blocks on pcplists that the trace never touches are any of the zone's plain pages;
//! they lie on a list that is never refilled in the trace, since a refill would have meant that it
//! was empty. How many refills stood in a row is what the first one shows, if no free stands before
//! it; else, and for frees, none.

use allocator::gfp::MigrateType;
use allocator::ids::{CpuId, NR_PAGE_ORDERS, PAGEBLOCK_NR_PAGES, PAGEBLOCK_ORDER, Pfn};
use allocator::machine::Machine;
use allocator::replay::restore::{RecordedPcp, RecordedState, TunedHigh};

use super::evidence::{Evidence, OnPcp};
use super::frame_set::FrameSet;
use super::snapshot::{PageFlags, PcpState, Snapshot, Usage, ZoneState};

/// A start state, and what had to be assumed for it.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The state.
    pub state: RecordedState,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
}

/// Types that ordinary pageblocks have.
const TYPES: [MigrateType; 3] =
    [MigrateType::Unmovable, MigrateType::Movable, MigrateType::Reclaimable];

/// Builds the state.
pub fn start(
    machine: &Machine,
    before: &Snapshot,
    flags: &PageFlags,
    evidence: &Evidence,
) -> Start {
    let mut start = Start::default();
    let mut used = evidence.touched.clone();
    for zone in &before.zones {
        let free = flags.free_blocks(zone, evidence);
        check_blocks(zone, &free, &mut start.notes);
        let types = types_of(machine, zone, flags, &free, evidence);
        for (cpu, pcp) in zone.pcp.iter().enumerate() {
            let cpu = CpuId(cpu as u16);
            let recorded = pcp_of(machine, zone, cpu, pcp, flags, evidence, &types, &mut used);
            start.state.pcp.push(recorded);
        }
        let free = free.iter().map(|&(pfn, order)| (Pfn(pfn as u32), order));
        start.state.free.extend(free);
        start.state.types.extend(types);
        start.state.marks.push((zone.id, zone.marks));
    }
    start.state.allocated = evidence.allocated.iter().copied().filter(|(_, o)| *o > 0).collect();
    start
}

/// Do the blocks of kpageflags add up to buddyinfo's?
fn check_blocks(zone: &ZoneState, free: &[(u64, u8)], notes: &mut Vec<String>) {
    let Some(said) = zone.blocks else { return };
    let mut found = [0u64; NR_PAGE_ORDERS];
    free.iter().for_each(|(_, order)| found[usize::from(*order)] += 1);
    if found != said {
        notes.push(format!(
            "zone {}: kpageflags has other free blocks than buddyinfo by order ({found:?}, {said:?})",
            zone.id.zone_idx()
        ));
    }
}

/// What is left to give to pageblocks of one type.
struct Left {
    of: MigrateType,
    pageblocks: i64,
    free: [i64; NR_PAGE_ORDERS],
}

/// Types of a zone's pageblocks that are not Movable.
fn types_of(
    machine: &Machine,
    zone: &ZoneState,
    flags: &PageFlags,
    free: &[(u64, u8)],
    evidence: &Evidence,
) -> Vec<(Pfn, MigrateType)> {
    let mut free_in = FreeIn::new(zone, free);
    let mut left: Vec<Left> = TYPES
        .iter()
        .map(|&of| Left {
            of,
            pageblocks: zone.pageblocks.iter().find(|(t, _)| *t == of).map_or(0, |b| b.1 as i64),
            free: zone
                .free_by_type
                .iter()
                .find(|(t, _)| *t == of)
                .map_or([0; NR_PAGE_ORDERS], |(_, n)| n.map(|n| n as i64)),
        })
        .collect();
    let mut types = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for block in pageblocks(machine, zone) {
        // The second half of a free block of the largest order goes with the first.
        let known = evidence.types.get(free_in.leader(block)).copied().flatten();
        match known.or_else(|| evidence.types.get(block).copied().flatten()) {
            Some(of) => give(&mut left, &mut types, block, of, free_in.of(block)),
            None => open.push(block),
        }
    }
    // The blocks with most free memory say most about their type.
    open.sort_by_key(|block| std::cmp::Reverse(free_in.pages(*block)));
    let mut given: std::collections::BTreeMap<usize, MigrateType> = Default::default();
    for block in open {
        let leader = free_in.leader(block);
        let of = match given.get(&leader).filter(|_| leader != block) {
            Some(of) => *of,
            None => best(&left, free_in.of(block), flags.usage(block as u64)),
        };
        given.insert(block, of);
        give(&mut left, &mut types, block, of, free_in.of(block));
    }
    types
}

fn give(
    left: &mut [Left],
    types: &mut Vec<(Pfn, MigrateType)>,
    block: usize,
    of: MigrateType,
    free: &[u16; NR_PAGE_ORDERS],
) {
    if let Some(left) = left.iter_mut().find(|l| l.of == of) {
        left.pageblocks -= 1;
        left.free.iter_mut().zip(free).for_each(|(left, n)| *left -= i64::from(*n));
    }
    if of != MigrateType::Movable {
        types.push((Pfn((block << PAGEBLOCK_ORDER) as u32), of));
    }
}

/// The type whose free blocks still lack most of these, of those that lack pageblocks. Pages of
/// users lie in Movable pageblocks, slabs and page tables in others, as long as there are any.
fn best(left: &[Left], free: &[u16; NR_PAGE_ORDERS], usage: Usage) -> MigrateType {
    let fits = |l: &Left| -> i64 {
        let per_order = l.free.iter().zip(free).enumerate();
        per_order.map(|(order, (left, n))| i64::from(*n).min((*left).max(0)) << order).sum()
    };
    let suits = |l: &Left| {
        let (own, other) = (usage.movable, usage.kernel);
        if l.of == MigrateType::Movable { own >= other } else { other >= own }
    };
    let lacking = left.iter().filter(|l| l.pageblocks > 0);
    lacking.max_by_key(|l| (suits(l), fits(l), l.pageblocks)).map_or(MigrateType::Movable, |l| l.of)
}

/// Numbers of a zone's pageblocks.
fn pageblocks(machine: &Machine, zone: &ZoneState) -> Vec<usize> {
    let mut blocks: Vec<usize> = Vec::new();
    let block = u64::from(PAGEBLOCK_NR_PAGES);
    for (first, pages) in managed(machine, zone) {
        for at in first / block..(first + pages).div_ceil(block) {
            if blocks.last() != Some(&(at as usize)) {
                blocks.push(at as usize);
            }
        }
    }
    blocks
}

/// The managed frames of a zone.
pub fn managed(machine: &Machine, zone: &ZoneState) -> Vec<(u64, u64)> {
    let node = machine.node(zone.id.node());
    let found = node.and_then(|n| n.zones.iter().find(|z| z.idx == zone.id.zone_idx()));
    found.map(allocator::machine::Zone::managed_ranges).unwrap_or_default()
}

/// Free blocks by pageblock.
struct FreeIn {
    first: usize,
    blocks: Vec<[u16; NR_PAGE_ORDERS]>,
}

impl FreeIn {
    fn new(zone: &ZoneState, free: &[(u64, u8)]) -> Self {
        let number = |pfn: u64| (pfn >> PAGEBLOCK_ORDER) as usize;
        let first = number(zone.start_pfn);
        let count = free.last().map_or(1, |(pfn, _)| number(*pfn) + 1 - first);
        let mut blocks = vec![[0; NR_PAGE_ORDERS]; count];
        for &(pfn, order) in free {
            blocks[number(pfn) - first][usize::from(order)] += 1;
        }
        Self { first, blocks }
    }

    fn of(&self, block: usize) -> &[u16; NR_PAGE_ORDERS] {
        const NONE: [u16; NR_PAGE_ORDERS] = [0; NR_PAGE_ORDERS];
        block.checked_sub(self.first).and_then(|at| self.blocks.get(at)).unwrap_or(&NONE)
    }

    fn pages(&self, block: usize) -> u64 {
        (0..).zip(self.of(block)).map(|(order, n)| u64::from(*n) << order).sum()
    }

    /// The first pageblock of the free block of the largest order that covers this one, or itself.
    fn leader(&mut self, block: usize) -> usize {
        let even = block & !1;
        if even != block && self.of(even)[NR_PAGE_ORDERS - 1] > 0 { even } else { block }
    }
}

/// One CPU's pcplists of a zone.
#[expect(clippy::too_many_arguments, reason = "one call site; all of it is what is known")]
fn pcp_of(
    machine: &Machine,
    zone: &ZoneState,
    cpu: CpuId,
    pcp: &PcpState,
    flags: &PageFlags,
    evidence: &Evidence,
    types: &[(Pfn, MigrateType)],
    used: &mut FrameSet,
) -> RecordedPcp {
    let is_here = |on: &&OnPcp| {
        on.cpu == cpu && (zone.start_pfn..zone.end_pfn).contains(&u64::from(on.pfn.0))
    };
    let mut blocks: Vec<(Pfn, u8, MigrateType)> = evidence
        .on_pcp
        .iter()
        .filter(is_here)
        .map(|on| (on.pfn, on.order, on.migratetype))
        .collect();
    let known: u64 = blocks.iter().map(|(_, order, _)| 1u64 << order).sum();
    let rest = u64::from(pcp.count).saturating_sub(known);
    let of = idle_list(evidence, cpu);
    let fillers = fillers(machine, zone, flags, of, types, rest, used);
    blocks.extend(fillers.into_iter().map(|pfn| (pfn, 0, of)));
    RecordedPcp {
        zone: zone.id,
        cpu,
        high: pcp.bounds.map(|(high_min, high_max)| TunedHigh {
            high: pcp.high,
            high_min,
            high_max,
            batch: pcp.batch,
        }),
        blocks,
        alloc_factor: evidence.alloc_factors.get(cpu.index()).copied().flatten().unwrap_or(0),
        free_count: 0,
    }
}

/// A list of single pages that is never refilled on this CPU: what lies on it may lie there all the
/// time. Movable before Unmovable before Reclaimable.
fn idle_list(evidence: &Evidence, cpu: CpuId) -> MigrateType {
    use MigrateType::{Movable, Reclaimable, Unmovable};
    [Movable, Unmovable, Reclaimable]
        .into_iter()
        .find(|of| !evidence.refilled.contains(&(cpu, 0, *of)))
        .unwrap_or(Reclaimable)
}

/// Plain pages of the zone that nothing names, of pageblocks of the type if there are enough.
fn fillers(
    machine: &Machine,
    zone: &ZoneState,
    flags: &PageFlags,
    of: MigrateType,
    types: &[(Pfn, MigrateType)],
    wanted: u64,
    used: &mut FrameSet,
) -> Vec<Pfn> {
    let mut found = Vec::new();
    let others: std::collections::BTreeMap<usize, MigrateType> =
        types.iter().map(|(pfn, of)| (pfn.pageblock(), *of)).collect();
    let type_of = |pfn: u64| {
        others.get(&Pfn(pfn as u32).pageblock()).copied().unwrap_or(MigrateType::Movable)
    };
    for any_type in [false, true] {
        for (first, pages) in managed(machine, zone) {
            for (first, pages) in flags.without_flags(first, pages) {
                for pfn in first..first + pages {
                    if found.len() as u64 == wanted {
                        return found;
                    }
                    if !used.has(pfn) && (any_type || type_of(pfn) == of) {
                        used.add(pfn);
                        found.push(Pfn(pfn as u32));
                    }
                }
            }
        }
    }
    found
}
