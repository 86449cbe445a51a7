//! What the proc files of a recording say: the kernel's state before and after.
//!
//! **What.** [`Snapshot`] holds the zones' free pages, marks and pcplists (/proc/zoneinfo, which the
//! harness reads), free blocks by order (/proc/buddyinfo), pageblock types in sum
//! (/proc/pagetypeinfo), and each frame's flags ([`PageFlags`], /proc/kpageflags).
//!
//! **Why.** The model starts from the state before; the state after is what it is held against.
//!
//! **Differs.** Which frames a zone manages is in no file: they are those that have flags and are
//! neither reserved nor missing, and of those without flags as many of the lowest as managed pages
//! are left (a frame that was never initialised has none either).

use allocator::gfp::MigrateType;
use allocator::ids::{CpuId, MAX_PAGE_ORDER, NR_PAGE_ORDERS, PAGEBLOCK_NR_PAGES, ZoneId};

use super::evidence::Evidence;
use super::frame_set::FrameSet;
use super::record::TraceError;

/// Flags of /proc/kpageflags that are looked at.
mod kpf {
    /// On an LRU list (KPF_LRU).
    pub(super) const LRU: u64 = 1 << 5;
    /// A slab (KPF_SLAB).
    pub(super) const SLAB: u64 = 1 << 7;
    /// A page table (KPF_PGTABLE).
    pub(super) const PGTABLE: u64 = 1 << 26;
    /// Head of or inside a free block (KPF_BUDDY).
    pub(super) const BUDDY: u64 = 1 << 10;
    /// No page at all (KPF_NOPAGE).
    pub(super) const NOPAGE: u64 = 1 << 20;
    /// Never given to the allocator (KPF_RESERVED).
    pub(super) const RESERVED: u64 = 1 << 32;
}

/// One CPU's pcplists of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PcpState {
    /// Pages on them.
    pub count: u32,
    /// The limit.
    pub high: u32,
    /// Pages moved at once.
    pub batch: u32,
    /// Least and largest limit, if it tunes itself (6.7 on).
    pub bounds: Option<(u32, u32)>,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneState {
    /// Which zone.
    pub id: ZoneId,
    /// First frame.
    pub start_pfn: u64,
    /// First frame behind it.
    pub end_pfn: u64,
    /// Pages given to the allocator.
    pub managed_pages: u64,
    /// NR_FREE_PAGES.
    pub free_pages: u64,
    /// min, low, high and promo marks.
    pub marks: [u64; 4],
    /// pcplists by model CPU.
    pub pcp: Vec<PcpState>,
    /// Free blocks by order, if buddyinfo was recorded.
    pub blocks: Option<[u64; NR_PAGE_ORDERS]>,
    /// Free blocks by type and order, if pagetypeinfo was recorded.
    pub free_by_type: Vec<(MigrateType, [u64; NR_PAGE_ORDERS])>,
    /// Pageblocks by type, if pagetypeinfo was recorded.
    pub pageblocks: Vec<(MigrateType, u64)>,
}

/// The state of all zones with memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The zones.
    pub zones: Vec<ZoneState>,
    /// The kernel's numbers of migratetypes, if pagetypeinfo was recorded.
    pub type_numbers: Vec<MigrateType>,
}

impl Snapshot {
    /// The pcplists of a CPU in all zones together.
    pub fn pcp_count(&self, cpu: CpuId) -> u64 {
        self.zones.iter().filter_map(|z| z.pcp.get(cpu.index())).map(|p| u64::from(p.count)).sum()
    }

    /// The type that a number stands for: as pagetypeinfo lists them, else without CMA.
    pub fn migratetype(&self, number: u8) -> Option<MigrateType> {
        use MigrateType::{HighAtomic, Isolate, Movable, Reclaimable, Unmovable};
        const PLAIN: [MigrateType; 5] = [Unmovable, Movable, Reclaimable, HighAtomic, Isolate];
        let types: &[MigrateType] =
            if self.type_numbers.is_empty() { &PLAIN } else { &self.type_numbers };
        types.get(usize::from(number)).copied()
    }

    fn zone_mut(&mut self, node: &str, name: &str) -> Option<&mut ZoneState> {
        let node: u16 = node.parse().ok()?;
        let is_it = |z: &&mut ZoneState| z.id.node().0 == node && z.id.zone_idx().name() == name;
        self.zones.iter_mut().find(is_it)
    }

    /// Adds what /proc/buddyinfo says.
    ///
    /// # Errors
    /// A line that is none of its.
    pub fn add_buddyinfo(&mut self, text: &str) -> Result<(), TraceError> {
        for (line, raw) in (1..).zip(text.lines()) {
            let fail = |what: &str| TraceError { line, what: format!("'{raw}' {what}") };
            let (node, name, rest) =
                heading(raw).ok_or_else(|| fail("is not of the form 'Node N, zone NAME ...'"))?;
            let blocks = counts(rest).ok_or_else(|| fail("wants 11 numbers of free blocks"))?;
            if let Some(zone) = self.zone_mut(node, name) {
                zone.blocks = Some(blocks);
            }
        }
        Ok(())
    }

    /// Adds what /proc/pagetypeinfo says.
    ///
    /// # Errors
    /// A line that is none of its.
    pub fn add_pagetypeinfo(&mut self, text: &str) -> Result<(), TraceError> {
        let mut types: Vec<Option<MigrateType>> = Vec::new();
        for (line, raw) in (1..).zip(text.lines()) {
            let fail = |what: &str| TraceError { line, what: format!("'{raw}' {what}") };
            if let Some(names) = raw.strip_prefix("Number of blocks type") {
                types = names.split_whitespace().map(by_name).collect();
                self.type_numbers = types.iter().map_while(|t| *t).collect();
            }
            let Some((node, name, rest)) = heading(raw) else { continue };
            if let Some(typed) = rest.trim_start().strip_prefix("type") {
                let (of, numbers) =
                    typed.trim_start().split_once(' ').ok_or_else(|| fail("has no numbers"))?;
                let blocks = counts(numbers).ok_or_else(|| fail("wants 11 numbers"))?;
                if let (Some(of), Some(zone)) = (by_name(of), self.zone_mut(node, name)) {
                    zone.free_by_type.push((of, blocks));
                }
            } else if !types.is_empty() {
                let numbers: Option<Vec<u64>> =
                    rest.split_whitespace().map(|n| n.parse().ok()).collect();
                let numbers = numbers
                    .filter(|n| n.len() == types.len())
                    .ok_or_else(|| fail("wants a number of pageblocks for each type"))?;
                if let Some(zone) = self.zone_mut(node, name) {
                    let named = types.iter().zip(numbers);
                    zone.pageblocks = named.filter_map(|(t, n)| Some(((*t)?, n))).collect();
                }
            }
        }
        Ok(())
    }
}

fn by_name(name: &str) -> Option<MigrateType> {
    MigrateType::ALL.into_iter().find(|t| t.name() == name)
}

/// `Node 0, zone   Normal, type ...` -> node, zone, rest.
fn heading(line: &str) -> Option<(&str, &str, &str)> {
    let (node, rest) = line.strip_prefix("Node")?.split_once(',')?;
    let rest = rest.trim_start().strip_prefix("zone")?.trim_start();
    let end = rest.find([' ', ',']).unwrap_or(rest.len());
    Some((node.trim(), &rest[..end], rest[end..].trim_start_matches(',')))
}

fn counts(text: &str) -> Option<[u64; NR_PAGE_ORDERS]> {
    let numbers: Option<Vec<u64>> = text.split_whitespace().map(|n| n.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// What pages of a pageblock are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Pages of users, which can be moved.
    pub movable: u32,
    /// Slabs and page tables.
    pub kernel: u32,
}

/// Runs of equal flags, those without any left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageFlags {
    /// First frame, frames, flags; ascending.
    runs: Vec<(u64, u64, u64)>,
}

impl PageFlags {
    /// Reads one line `FIRST PAGES FLAGS`; those that begin with `#` say nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add_line(&mut self, line: &str) -> Result<(), String> {
        if line.starts_with('#') {
            return Ok(());
        }
        let fields: Vec<&str> = line.split(' ').collect();
        let [first, pages, flags] = fields[..] else {
            return Err(format!("'{line}' is not of the form 'FIRST PAGES FLAGS'"));
        };
        let number = |text: &str, radix| u64::from_str_radix(text, radix).ok();
        let (Some(first), Some(pages), Some(flags)) =
            (number(first, 16), number(pages, 10), number(flags, 16))
        else {
            return Err(format!("'{line}' is not of the form 'FIRST PAGES FLAGS'"));
        };
        let after = self.runs.last().map_or(0, |(f, n, _)| f + n);
        if first < after || pages == 0 || first.checked_add(pages).is_none_or(|e| e >> 40 != 0) {
            return Err(format!("'{line}' does not lie behind the run before it"));
        }
        self.runs.push((first, pages, flags));
        Ok(())
    }

    /// Parts of the runs that lie in [from, to), with the gaps as runs without flags.
    fn within(&self, from: u64, to: u64) -> Vec<(u64, u64, u64)> {
        let mut parts = Vec::new();
        let mut at = from;
        let first = self.runs.partition_point(|(f, n, _)| f + n <= from);
        for &(first, pages, flags) in &self.runs[first..] {
            let (start, end) = (first.max(from), (first + pages).min(to));
            if start >= to {
                break;
            }
            if start > at {
                parts.push((at, start - at, 0));
            }
            parts.push((start, end - start, flags));
            at = end;
        }
        if at < to {
            parts.push((at, to - at, 0));
        }
        parts
    }

    /// The frames that a zone manages, as ranges (first, pages).
    pub fn managed(&self, zone: &ZoneState) -> Vec<(u64, u64)> {
        let parts = self.within(zone.start_pfn, zone.end_pfn);
        let is_page = |flags: u64| flags & (kpf::NOPAGE | kpf::RESERVED) == 0;
        let with: u64 =
            parts.iter().filter(|(_, _, f)| *f != 0 && is_page(*f)).map(|(_, n, _)| n).sum();
        let mut without = zone.managed_pages.saturating_sub(with);
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (first, pages, flags) in parts {
            let pages = match flags {
                0 => {
                    let taken = pages.min(without);
                    without -= taken;
                    taken
                }
                flags if is_page(flags) => pages,
                _ => 0,
            };
            match ranges.last_mut() {
                _ if pages == 0 => {}
                Some((start, n)) if *start + *n == first => *n += pages,
                Some(_) | None => ranges.push((first, pages)),
            }
        }
        ranges
    }

    /// The free blocks of a zone before the flags were read: runs of free frames, cut into the largest
    /// aligned blocks. What was touched meanwhile is as the evidence says.
    pub fn free_blocks(&self, zone: &ZoneState, evidence: &Evidence) -> Vec<(u64, u8)> {
        let (from, to) = (zone.start_pfn, zone.end_pfn);
        let mut free = FrameSet::new(to);
        let add = |free: &mut FrameSet, (first, pages): (u64, u64)| {
            (first..first + pages).for_each(|pfn| free.add(pfn));
        };
        for (first, pages, flags) in self.within(from, to) {
            if flags & kpf::BUDDY != 0 {
                add(&mut free, (first, pages));
            }
        }
        for (first, pages) in evidence.was_used.ranges(from, to) {
            (first..first + pages).for_each(|pfn| free.remove(pfn));
        }
        evidence.was_free.ranges(from, to).into_iter().for_each(|range| add(&mut free, range));
        let mut blocks = Vec::new();
        for (mut at, pages) in free.ranges(from, to) {
            let end = at + pages;
            while at < end {
                let fits = |order: &u8| at % (1 << order) == 0 && at + (1 << order) <= end;
                let order = (0..=MAX_PAGE_ORDER).rev().find(fits).unwrap_or(0);
                blocks.push((at, order));
                at += 1 << order;
            }
        }
        blocks
    }

    /// What the pages of a pageblock, by its number, are used for.
    pub fn usage(&self, block: u64) -> Usage {
        let first = block * u64::from(PAGEBLOCK_NR_PAGES);
        let mut usage = Usage::default();
        for (_, pages, flags) in self.within(first, first + u64::from(PAGEBLOCK_NR_PAGES)) {
            if flags & kpf::LRU != 0 {
                usage.movable += pages as u32;
            } else if flags & (kpf::SLAB | kpf::PGTABLE) != 0 {
                usage.kernel += pages as u32;
            }
        }
        usage
    }

    /// Frames of a range that have no flags: on pcplists, or plain pages of the kernel.
    pub fn without_flags(&self, first: u64, pages: u64) -> Vec<(u64, u64)> {
        let parts = self.within(first, first + pages);
        parts.into_iter().filter(|(_, _, f)| *f == 0).map(|(at, n, _)| (at, n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocator::ids::{NodeId, ZoneIdx};

    fn zone(start_pfn: u64, end_pfn: u64, managed_pages: u64) -> ZoneState {
        ZoneState {
            id: ZoneId::new(NodeId(0), ZoneIdx::Normal),
            start_pfn,
            end_pfn,
            managed_pages,
            free_pages: 0,
            marks: [0; 4],
            pcp: vec![PcpState { count: 7, ..PcpState::default() }],
            blocks: None,
            free_by_type: Vec::new(),
            pageblocks: Vec::new(),
        }
    }

    fn flags(lines: &[&str]) -> PageFlags {
        let mut flags = PageFlags::default();
        lines.iter().for_each(|line| flags.add_line(line).unwrap());
        flags
    }

    #[test]
    fn free_runs_are_cut_into_the_largest_aligned_blocks() {
        // Frames 3 to 12 are free, in two runs with other flags between none of them.
        let flags = flags(&["# head", "3 2 400", "5 8 402", "e 1 400"]);
        let mut evidence = Evidence {
            was_free: FrameSet::new(64),
            was_used: FrameSet::new(64),
            ..Evidence::default()
        };
        let blocks = flags.free_blocks(&zone(0, 64, 64), &evidence);
        assert_eq!(blocks, [(3, 0), (4, 2), (8, 2), (12, 0), (14, 0)]);
        assert_eq!(flags.free_blocks(&zone(0, 6, 6), &evidence), [(3, 0), (4, 1)]);
        // Frame 13 was taken before its turn came, and 4 was freed.
        evidence.was_free.add(13);
        evidence.was_used.add(4);
        let blocks = flags.free_blocks(&zone(0, 64, 64), &evidence);
        assert_eq!(blocks, [(3, 0), (5, 0), (6, 1), (8, 2), (12, 1), (14, 0)]);
    }

    #[test]
    fn managed_frames_have_flags_or_are_the_lowest_without() {
        // 0-1 reserved, 2-3 plain, 4-5 used, 6-7 no page, 8-31 plain of which four are managed.
        let flags = flags(&["0 2 100000000", "4 2 68", "6 2 100000"]);
        assert_eq!(flags.managed(&zone(0, 32, 8)), [(2, 4), (8, 4)]);
        assert_eq!(flags.managed(&zone(0, 32, 2)), [(4, 2)]);
        assert_eq!(flags.without_flags(0, 10), [(2, 2), (8, 2)]);
    }

    #[test]
    fn kpageflags_that_are_none_are_refused() {
        let mut flags = flags(&["10 4 400"]);
        let refused = |flags: &mut PageFlags, line: &str| flags.add_line(line).unwrap_err();
        assert_eq!(refused(&mut flags, "12 1 0"), "'12 1 0' does not lie behind the run before it");
        assert_eq!(refused(&mut flags, "20 1"), "'20 1' is not of the form 'FIRST PAGES FLAGS'");
        assert_eq!(
            refused(&mut flags, "20 x 0"),
            "'20 x 0' is not of the form 'FIRST PAGES FLAGS'"
        );
    }

    #[test]
    fn buddyinfo_and_pagetypeinfo_give_blocks_by_order_and_type() {
        let mut state = Snapshot { zones: vec![zone(0, 64, 64)], type_numbers: Vec::new() };
        state.add_buddyinfo("Node 0, zone   Normal  1 2 3 4 5 6 7 8 9 10 11 \n").unwrap();
        assert_eq!(state.zones[0].blocks.unwrap()[10], 11);
        let text = "Page block order: 9\n\n\
            Free pages count per migrate type at order       0      1 \n\
            Node    0, zone   Normal, type      Movable 1 0 0 0 0 0 0 0 0 0 7 \n\n\
            Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic      Isolate \n\
            Node 0, zone   Normal          445         1018           73            0            0 \n";
        state.add_pagetypeinfo(text).unwrap();
        let zone = &state.zones[0];
        assert_eq!(zone.free_by_type, [(MigrateType::Movable, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7])]);
        assert_eq!(zone.pageblocks[1], (MigrateType::Movable, 1018));
        assert_eq!(state.migratetype(4), Some(MigrateType::Isolate));
        assert_eq!(state.pcp_count(CpuId(0)), 7);
        let error = state.add_buddyinfo("Node 0, zone Normal 1 2\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1: 'Node 0, zone Normal 1 2' wants 11 numbers of free blocks"
        );
    }
}
