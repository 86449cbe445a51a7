//! From the files of a captured host to a machine: nodes, zones, settings.
//!
//! **What.** Sizes come from `zoneinfo`, nodes from the node files (or a layout that is known better),
//! settings from what vm sysctls said, and from machine.json where somebody wrote some by hand.
//!
//! **Differs.** Which frames of a zone are managed is not in zoneinfo: the topmost ones in online
//! memory blocks, or of the span if the blocks are not known. Zones whose spans overlap are parted.

use std::collections::BTreeMap;

use allocator::ids::ZoneIdx;
use allocator::machine::{Cpu, DEFAULT_BLOCK_PAGES, Machine, Node, Settings, Zone};

use super::capture::Files;
use super::file::Document;
use super::lists::IdList;
use super::posted;
use super::ranges::{self, Ranges};
use super::synthetic::node_id;
use super::topology::{Layout, LayoutNode, check_distance};
use super::zoneinfo::{ZoneEntry, Zoneinfo};
use super::{KernelSaid, Loaded, MachineInputError, Notes};

impl Files {
    /// The machine that they describe; `layout` instead of the node files if it is known better.
    ///
    /// # Errors
    /// If a file is missing or bad, with its name and line.
    pub fn machine(&self, name: &str, layout: Option<Layout>) -> Result<Loaded, MachineInputError> {
        let document = match self.text.get("machine.json") {
            Some(json) => Some(Document::parse(json).map_err(|e| self.error("machine.json", e))?),
            None => None,
        };
        let zoneinfo =
            self.text.get("zoneinfo").ok_or_else(|| self.error("zoneinfo", "is missing"))?;
        let zoneinfo: Zoneinfo = zoneinfo.parse().map_err(|e| self.error("zoneinfo", e))?;
        let mut notes = Notes::default();
        self.check_page_size(&zoneinfo, &mut notes)?;
        let layout = match layout {
            Some(layout) => layout,
            None => self.layout(&zoneinfo, &mut notes)?,
        };
        if zoneinfo.managed_is_present {
            notes.add(
                "zoneinfo has no 'managed' lines (before 3.9): managed is taken to be present",
            );
        }
        let mut settings = self.settings(zoneinfo.has_zone_device())?;
        let mut machine_name = name.to_owned();
        let mut release = self.text.get("osrelease").map(|r| r.trim().to_owned());
        if let Some(document) = &document {
            document.settings_over(&mut settings);
            machine_name = document.name.clone().unwrap_or(machine_name);
            release = release.or_else(|| document.kernel.as_deref().and_then(release_of));
        }
        let mut machine = Machine {
            name: machine_name,
            nodes: self.nodes(&layout)?,
            cpus: cpus(&layout),
            block_pages: self.block_pages()?,
            settings,
        };
        self.fill_zones(&mut machine, &zoneinfo, &mut notes)?;
        part_overlaps(&mut machine, &mut notes);
        let kernel = KernelSaid {
            release,
            min_free_kbytes: self.number("min_free_kbytes")?,
            fallback_order: fallback_order(self.text.get("dmesg").map_or("", String::as_str)),
            zoneinfo,
        };
        Ok(Loaded { machine, notes, kernel: Some(kernel) })
    }

    /// Refuses pages that are not 4 KiB, by whatever tells their size.
    fn check_page_size(
        &self,
        zoneinfo: &Zoneinfo,
        notes: &mut Notes,
    ) -> Result<(), MachineInputError> {
        match posted::page_kib(&self.text, zoneinfo) {
            Some((4, _)) => Ok(()),
            Some((kib, who)) => Err(self.error(
                "zoneinfo",
                format!(
                    "its pages have {kib} KiB by {who}, the model's have 4: describe the machine by its sizes instead \
                     (a JSON file, or `numactl -H`); `stress judge` reads reports of such machines"
                ),
            )),
            None => {
                let dma_end = |z: &ZoneEntry| z.start_pfn.unwrap_or(0).saturating_add(z.spanned);
                if zoneinfo.zones.iter().any(|z| z.name == "DMA" && dma_end(z) > ranges::DMA_END) {
                    notes.add(
                        "zone DMA ends above 16 MiB, so it is no x86 machine, and nothing tells the size of its pages: \
                         4 KiB are taken (a file pagesize with the bytes of one settles it)",
                    );
                }
                Ok(())
            }
        }
    }

    /// Nodes by their `cpulist` and `distance` files; else by `numactl`; else zoneinfo's one node.
    fn layout(&self, zoneinfo: &Zoneinfo, notes: &mut Notes) -> Result<Layout, MachineInputError> {
        let is_listed = self.text.keys().any(|name| {
            name.starts_with("node") && (name.ends_with(".cpulist") || name.ends_with(".distance"))
        });
        if let (false, Some(text)) = (is_listed, self.text.get("numactl")) {
            let layout = posted::numactl(text).map_err(|e| self.error("numactl", e))?;
            notes.add("nodes, CPUs and distances are numactl's");
            return Ok(layout);
        }
        if !is_listed {
            let layout =
                posted::layout_of_zoneinfo(zoneinfo).map_err(|e| self.error("zoneinfo", e))?;
            notes.add("CPUs are those of zoneinfo's pagesets, the one node's distance is 10");
            return Ok(layout);
        }
        let mut ids: Vec<u32> = zoneinfo.zones.iter().map(|z| z.node).collect();
        let listed = self.text.keys().filter_map(|name| {
            let (id, file) = name.strip_prefix("node")?.split_once('.')?;
            matches!(file, "cpulist" | "distance").then(|| id.parse::<u32>().ok())?
        });
        ids.extend(listed);
        ids.sort_unstable();
        ids.dedup();
        let mut nodes = Vec::new();
        let mut distances = Vec::new();
        for id in ids {
            let file = |kind: &str| {
                let name = format!("node{id}.{kind}");
                let text = self.text.get(&name).map(|t| t.trim().to_owned());
                text.ok_or_else(|| self.error(&name, format!("is missing: node {id} needs it")))
            };
            let cpus = file("cpulist")?
                .parse()
                .map_err(|e: String| self.error(&format!("node{id}.cpulist"), e))?;
            nodes.push(LayoutNode { id, cpus, memory_bytes: 0 });
            let row = file("distance")?;
            let row: Result<Vec<u64>, _> = row.split_whitespace().map(str::parse).collect();
            distances.push(row.map_err(|e| self.error(&format!("node{id}.distance"), e))?);
        }
        Ok(Layout { nodes, distances: Some(distances) })
    }

    fn nodes(&self, layout: &Layout) -> Result<Vec<Node>, MachineInputError> {
        let count = layout.nodes.len();
        let node = |(i, n): (usize, &LayoutNode)| {
            let file = format!("node{}.distance", n.id);
            let id = node_id(n.id).map_err(|e| self.error("zoneinfo", e))?;
            let distances = match &layout.distances {
                Some(rows) => {
                    let to = |j: usize| layout.nodes.get(j).map_or(n.id, |m| m.id);
                    let row = rows[i].iter().enumerate();
                    row.map(|(j, &d)| check_distance(n.id, if i == j { n.id } else { to(j) }, d))
                        .collect::<Result<_, _>>()
                }
                None => (0..count).map(|j| layout.distance(i, j)).collect(),
            };
            let distances = distances.map_err(|e| self.error(&file, e))?;
            Ok(Node { id, distances, zones: Vec::new() })
        };
        layout.nodes.iter().enumerate().map(node).collect()
    }

    fn number<T: std::str::FromStr>(&self, file: &str) -> Result<Option<T>, MachineInputError> {
        let Some(text) = self.text.get(file) else { return Ok(None) };
        let bad = || self.error(file, format!("'{}' is no number", text.trim()));
        text.trim().parse().map(Some).map_err(|_| bad())
    }

    fn settings(&self, zone_device: bool) -> Result<Settings, MachineInputError> {
        let mut s = Settings { zone_device, ..Settings::default() };
        s.watermark_scale_factor =
            self.number("watermark_scale_factor")?.unwrap_or(s.watermark_scale_factor);
        s.watermark_boost_factor =
            self.number("watermark_boost_factor")?.unwrap_or(s.watermark_boost_factor);
        let fraction = match self.number("percpu_pagelist_high_fraction")? {
            None => self.number("percpu_pagelist_fraction")?,
            some => some,
        };
        s.percpu_pagelist_high_fraction = fraction.unwrap_or(0);
        if let Some(text) = self.text.get("lowmem_reserve_ratio") {
            let mut ratios = text.split_whitespace();
            s.lowmem_reserve_ratio = [0; 4];
            for (ratio, text) in s.lowmem_reserve_ratio.iter_mut().zip(&mut ratios) {
                let bad = || self.error("lowmem_reserve_ratio", format!("'{text}' is no number"));
                *ratio = text.parse().map_err(|_| bad())?;
            }
        }
        s.thp = self.text.get("thp").is_none_or(|t| !t.contains("[never]"));
        let by_cmdline = self.text.get("cmdline").and_then(|line| {
            let set = line.split_whitespace().rev();
            set.filter_map(|w| w.strip_prefix("sysctl.vm.min_free_kbytes=")).next()?.parse().ok()
        });
        s.user_min_free_kbytes = by_cmdline;
        Ok(s)
    }

    fn block_pages(&self) -> Result<u32, MachineInputError> {
        let Some(text) = self.text.get("block_size_bytes") else { return Ok(DEFAULT_BLOCK_PAGES) };
        match u64::from_str_radix(text.trim(), 16) {
            Ok(bytes) if bytes.is_power_of_two() && (1 << 22..1 << 40).contains(&bytes) => {
                Ok((bytes / 4096) as u32)
            }
            _ => Err(self.error("block_size_bytes", "is no hexadecimal size of a memory block")),
        }
    }

    fn fill_zones(
        &self,
        machine: &mut Machine,
        zoneinfo: &Zoneinfo,
        notes: &mut Notes,
    ) -> Result<(), MachineInputError> {
        let online = match self.text.get("memory_blocks") {
            Some(text) => {
                let list: IdList =
                    text.parse().map_err(|e: String| self.error("memory_blocks", e))?;
                Some(block_ranges(&list, u64::from(machine.block_pages)))
            }
            None => None,
        };
        for entry in zoneinfo.zones.iter().filter(|z| z.present > 0) {
            let at = |what: String| self.error("zoneinfo", format!("line {}: {what}", entry.line));
            let Some(&idx) = ZoneIdx::ALL.iter().find(|z| z.name() == entry.name) else {
                if entry.name == "Device" {
                    notes.add(format!("node {}: ZONE_DEVICE is left out", entry.node));
                    continue;
                }
                return Err(at(format!(
                    "node {} has a zone {}, want a 64-bit machine: the model has no HighMem; `stress judge` takes \
                     reports of such machines, and a JSON file can describe one with its memory in Normal",
                    entry.node, entry.name
                )));
            };
            let node = machine.nodes.iter_mut().find(|n| u32::from(n.id.0) == entry.node);
            let node = node.ok_or_else(|| at(format!("node {} is in no node list", entry.node)))?;
            node.zones.push(zone(idx, entry, online.as_deref()));
        }
        Ok(())
    }
}

fn zone(idx: ZoneIdx, entry: &ZoneEntry, online: Option<&[(u64, u64)]>) -> Zone {
    let mut zone = Zone {
        idx,
        start_pfn: entry.start_pfn.unwrap_or(0),
        spanned_pages: entry.spanned,
        present_pages: entry.present,
        managed_pages: entry.managed,
        managed: Vec::new(),
    };
    if let Some(online) = online {
        let (below, _) = ranges::cut_at(online, zone.start_pfn.saturating_add(entry.spanned));
        let (_, within) = ranges::cut_at(&below, zone.start_pfn);
        if let Some(rest) = ranges::pages(&within).checked_sub(entry.managed) {
            let managed = ranges::cut_at(&within, ranges::pfn_after(&within, rest, 1)).1;
            if ranges::pages(&managed) == entry.managed {
                zone.managed = managed;
            }
        }
    }
    zone
}

fn block_ranges(blocks: &IdList, block_pages: u64) -> Ranges {
    let mut ranges = Ranges::new();
    for block in blocks.iter() {
        let first = u64::from(block) * block_pages;
        match ranges.last_mut() {
            Some((start, pages)) if *start + *pages == first => *pages += block_pages,
            _ => ranges.push((first, block_pages)),
        }
    }
    ranges
}

/// Spans may overlap on real machines (nodes that interleave); zoneinfo does not tell whose a frame
/// is then. The sizes are what matters, so such a zone is moved behind all others.
fn part_overlaps(machine: &mut Machine, notes: &mut Notes) {
    let align = u64::from(machine.block_pages);
    let mut end = machine.max_pfn().next_multiple_of(align);
    let mut taken: Vec<(u64, u64)> = Vec::new();
    for node in &mut machine.nodes {
        for zone in &mut node.zones {
            let (from, to) = (zone.start_pfn, zone.end_pfn());
            if taken.iter().any(|&(f, t)| from < t && f < to) {
                notes.add(format!(
                    "node {} zone {}: its span overlaps another zone's, so it is modelled at pfn {end:#x}",
                    node.id, zone.idx
                ));
                zone.start_pfn = end;
                zone.managed.clear();
                end = zone.end_pfn().next_multiple_of(align);
            }
            taken.push((zone.start_pfn, zone.end_pfn()));
        }
    }
}

fn cpus(layout: &Layout) -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> = Vec::new();
    for node in &layout.nodes {
        if let Ok(id) = node_id(node.id) {
            cpus.extend(node.cpus.iter().map(|os_index| Cpu {
                node: id,
                os_index,
                host_cpu: None,
            }));
        }
    }
    cpus.sort_by_key(|c| c.os_index);
    cpus
}

/// `Linux 6.1.176 (...)` -> `6.1.176`
fn release_of(kernel: &str) -> Option<String> {
    kernel
        .split_whitespace()
        .find(|w| w.starts_with(|c: char| c.is_ascii_digit()) && w.contains('.'))
        .map(ToOwned::to_owned)
}

/// `Fallback order for Node 0: 0 1 3 2`; of several reports of a node the last counts.
fn fallback_order(dmesg: &str) -> Vec<(u32, Vec<u32>)> {
    let mut orders = BTreeMap::new();
    for line in dmesg.lines() {
        let Some((_, rest)) = line.split_once("Fallback order for Node ") else { continue };
        let Some((node, order)) = rest.split_once(':') else { continue };
        let order: Result<Vec<u32>, _> = order.split_whitespace().map(str::parse).collect();
        if let (Ok(node), Ok(order)) = (node.trim().parse::<u32>(), order) {
            orders.insert(node, order);
        }
    }
    orders.into_iter().collect()
}
