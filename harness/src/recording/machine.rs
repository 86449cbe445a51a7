//! The machine of a recording, and its state before and after.
//!
//! **What.** Zones and pcplists from both zoneinfo files, nodes and settings from whatever else
//! describes the host (as in captured directories), managed frames from kpageflags.
//!
//! **Differs.** A recording needs no node files. Managed pages are those
//! found in kpageflags, which may be a handful more or less than zoneinfo says.

use std::collections::BTreeMap;
use std::path::Path;

use allocator::ids::{CpuId, NodeId, PAGEBLOCK_NR_PAGES, ZoneId, ZoneIdx};
use allocator::machine::Machine;
use workloads::replay::frame_set::FrameSet;
use workloads::replay::snapshot::{PageFlags, PcpState, Snapshot, ZoneState};
use workloads::replay::trace::Extent;

use super::bad;
use super::files::{Files, bare_name};
use crate::cli::exit::Stop;
use crate::machine::zoneinfo::{PcpEntry, ZoneEntry, Zoneinfo};
use crate::machine::{Notes, capture};

/// What the files describe.
pub(super) struct Described {
    /// What the recording is called.
    pub(super) name: String,
    /// The machine, its CPUs not placed yet.
    pub(super) machine: Machine,
    /// The state at the first snapshot.
    pub(super) before: Snapshot,
    /// The state at the second.
    pub(super) after: Snapshot,
    /// The frames at the first.
    pub(super) flags: PageFlags,
    /// What to tell the user.
    pub(super) notes: Notes,
}

/// Reads what describes the machine.
pub(super) fn describe(path: &Path, files: &Files) -> Result<Described, Stop> {
    let (place, text) = files.required("zoneinfo.before")?;
    let zoneinfo: Zoneinfo = text.parse().map_err(|e| bad(&place, e))?;
    let loaded = capture::Files::of_texts(place_of(path), texts(files, text, &zoneinfo));
    let stem = bare_name(path).unwrap_or_default();
    let stem = stem.trim_end_matches(".tar").to_owned();
    let loaded = loaded.machine(&stem, None)?;
    let (mut machine, notes) = (loaded.machine, loaded.notes);
    let before = snapshot(&machine, &zoneinfo);
    let (after_place, after) = files.required("zoneinfo.after")?;
    let after: Zoneinfo = after.parse().map_err(|e| bad(&after_place, e))?;
    let after = snapshot(&machine, &after);
    let same =
        |a: &Snapshot, b: &Snapshot| a.zones.iter().map(|z| z.id).eq(b.zones.iter().map(|z| z.id));
    if !same(&before, &after) {
        return Err(bad(
            &after_place,
            "it has other zones than zoneinfo.before: of another machine",
        ));
    }
    let flags = page_flags(files)?;
    manage(&mut machine, &before, &flags);
    machine.validate().map_err(|e| bad(&place, e))?;
    let release = files.optional("osrelease")?;
    let name = match release {
        Some((_, release)) => format!("{stem} (Linux {})", release.trim()),
        None => stem,
    };
    Ok(Described { name, machine, before, after, flags, notes })
}

fn place_of(path: &Path) -> String {
    format!("--trace: {}", path.display())
}

/// The files of a captured directory. Without files of nodes, each has an equal share of the CPUs and is
/// as far from all others: requests go to the node that the recorded page is of, whatever the CPU's.
fn texts(files: &Files, zoneinfo: &str, zones: &Zoneinfo) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> =
        files.texts().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    texts.insert("zoneinfo".to_owned(), zoneinfo.to_owned());
    let mut nodes: Vec<u32> = zones.zones.iter().map(|z| z.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let mut cpus: Vec<u32> = zones.zones.iter().flat_map(|z| &z.pcp).map(|p| p.cpu).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let share = cpus.len().div_ceil(nodes.len().max(1)).max(1);
    for (index, node) in nodes.iter().enumerate() {
        let own: Vec<String> =
            cpus.iter().skip(index * share).take(share).map(u32::to_string).collect();
        texts.entry(format!("node{node}.cpulist")).or_insert_with(|| own.join(","));
        let away = |other: usize| if other == index { "10" } else { "20" };
        let distances: Vec<&str> = (0..nodes.len()).map(away).collect();
        texts.entry(format!("node{node}.distance")).or_insert_with(|| distances.join(" "));
    }
    texts
}

/// Flags of the frames, as the file says them.
fn page_flags(files: &Files) -> Result<PageFlags, Stop> {
    let (place, text) = files.required("kpageflags.before")?;
    let mut flags = PageFlags::default();
    for (line, text) in (1..).zip(text.lines()) {
        flags.add_line(text).map_err(|e| bad(&place, format!("line {line}: {e}")))?;
    }
    Ok(flags)
}

fn snapshot(machine: &Machine, zoneinfo: &Zoneinfo) -> Snapshot {
    let zone = |entry: &ZoneEntry| {
        let idx = ZoneIdx::ALL.into_iter().find(|z| z.name() == entry.name)?;
        let start_pfn = entry.start_pfn.filter(|_| entry.managed > 0)?;
        let id = ZoneId::new(NodeId(u16::try_from(entry.node).ok()?), idx);
        Some(ZoneState {
            id,
            start_pfn,
            end_pfn: start_pfn + entry.spanned,
            managed_pages: entry.managed,
            free_pages: entry.free,
            marks: [entry.min, entry.low, entry.high, entry.promo.unwrap_or(entry.high)],
            pcp: machine.cpus.iter().map(|cpu| pcp(entry, cpu.os_index)).collect(),
            blocks: None,
            free_by_type: Vec::new(),
            pageblocks: Vec::new(),
        })
    };
    let zones = zoneinfo.zones.iter().filter_map(zone).collect();
    Snapshot { zones, type_numbers: Vec::new() }
}

fn pcp(entry: &ZoneEntry, cpu: u32) -> PcpState {
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let state = |p: &PcpEntry| PcpState {
        count: small(p.count),
        high: small(p.high),
        batch: small(p.batch),
        bounds: p.high_min.zip(p.high_max).map(|(min, max)| (small(min), small(max))),
    };
    entry.pcp.iter().find(|p| p.cpu == cpu).map(state).unwrap_or_default()
}

/// Gives each zone the frames that kpageflags shows to be managed.
fn manage(machine: &mut Machine, state: &Snapshot, flags: &PageFlags) {
    for node in &mut machine.nodes {
        for zone in &mut node.zones {
            let id = ZoneId::new(node.id, zone.idx);
            let Some(state) = state.zones.iter().find(|z| z.id == id) else { continue };
            let ranges = whole_zone_blocks(flags.managed(state), state.start_pfn);
            let pages: u64 = ranges.iter().map(|r| r.1).sum();
            if pages > 0 {
                zone.present_pages = zone.present_pages.max(pages);
                zone.managed_pages = pages;
                zone.managed = ranges;
            }
        }
    }
}

/// A pageblock belongs to one zone: frames of a first block that begins before the zone stay out.
fn whole_zone_blocks(ranges: Vec<(u64, u64)>, start_pfn: u64) -> Vec<(u64, u64)> {
    let block = u64::from(PAGEBLOCK_NR_PAGES);
    // DMA begins at frame 1, and nothing lies before it.
    let first = if start_pfn < block { start_pfn } else { start_pfn.next_multiple_of(block) };
    let cut = |(from, pages): (u64, u64)| {
        let start = from.max(first);
        (from + pages).checked_sub(start).filter(|n| *n > 0).map(|n| (start, n))
    };
    ranges.into_iter().filter_map(cut).collect()
}

/// Which frames and CPUs the machine has.
pub(super) struct Frames {
    managed: FrameSet,
    cpus: BTreeMap<u32, CpuId>,
}

impl Frames {
    pub(super) fn of(machine: &Machine) -> Self {
        let mut managed = FrameSet::new(machine.max_pfn());
        for (first, pages) in
            machine.nodes.iter().flat_map(|n| &n.zones).flat_map(|z| z.managed_ranges())
        {
            (first..first + pages).for_each(|pfn| managed.add(pfn));
        }
        let cpus = (0..).zip(&machine.cpus).map(|(i, c)| (c.os_index, CpuId(i))).collect();
        Self { managed, cpus }
    }
}

impl Extent for Frames {
    fn holds(&self, pfn: u64, order: u8) -> bool {
        (0..1u64 << order).all(|frame| self.managed.has(pfn + frame))
    }

    fn cpu(&self, os_index: u16) -> Option<CpuId> {
        self.cpus.get(&u32::from(os_index)).copied()
    }
}

/// Pages that vmstat counted as allocated between the snapshots, if it was recorded.
pub(super) fn pgalloc(files: &Files) -> Result<Option<u64>, Stop> {
    let sum = |name: &str| -> Result<Option<u64>, Stop> {
        let Some((place, text)) = files.optional(name)? else { return Ok(None) };
        let mut pages = 0;
        for (line, text) in (1..).zip(text.lines()) {
            let Some((key, value)) = text.split_once(' ') else { continue };
            if key.starts_with("pgalloc_") {
                let value: u64 = value
                    .parse()
                    .map_err(|_| bad(&place, format!("line {line}: '{text}' has no number")))?;
                pages += value;
            }
        }
        Ok(Some(pages))
    };
    let (before, after) = (sum("vmstat.before")?, sum("vmstat.after")?);
    Ok(after.zip(before).map(|(after, before)| after.saturating_sub(before)))
}

/// Events that the ring buffers lost, as the recorder noted.
pub(super) fn lost_events(files: &Files) -> Result<u64, Stop> {
    let Some((_, text)) = files.optional("ringbuffer.stats")? else { return Ok(0) };
    let lost = |line: &str| {
        let (key, value) = line.split_once(':')?;
        let counts = matches!(key.trim(), "overrun" | "commit overrun" | "dropped events");
        counts.then(|| value.trim().parse::<u64>().ok())?
    };
    Ok(text.lines().filter_map(lost).sum())
}
