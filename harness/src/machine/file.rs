//! Machine files: a machine described in JSON.
//!
//! **What.** [`FORMAT`] says what stands in one; `stress machine --help` prints it.
//!
//! **Why.** To describe machines that nobody has, and to vary one thing of a machine that somebody
//! has.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use allocator::ids::{NodeId, ZoneIdx};
use allocator::machine::{
    Cpu, DEFAULT_BLOCK_PAGES, MAX_PFN, Machine, MachineError, Node, Settings, Zone,
};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::capture::Files;
use super::lists::IdList;
use super::synthetic::{from_layout, node_id};
use super::topology::{Layout, check_distance};
use super::{Loaded, MachineInputError, Notes};
use super::{posted, ranges};

/// The format, for `--help`.
pub const FORMAT: &str = concat!(
    "Machine files (--machine FILE.json), version 1:\n\n",
    include_str!("example.json"),
    "
A node has either `memory` (or `mib`), laid out from address 0 up, or `zones`; all nodes the
same way. `distances` may stand at each node as its row instead; only a machine with one node
may leave them out. In a zone, `present` is `spanned` and `managed` is `present` unless given,
and `managed_ranges` may name the managed frames as [first, pages] pairs. Settings are those of
vm sysctls: watermark_scale_factor, user_min_free_kbytes, lowmem_reserve_ratio,
percpu_pagelist_high_fraction, watermark_boost_factor, thp, zone_device. `kernel` and `append`
say where it was taken and change nothing.

What people post will do too: the text of /proc/zoneinfo (of a machine with one node), or that of
`numactl -H`. Captured directories (--machine DIR) have zoneinfo and, for each node N, nodeN.cpulist
and nodeN.distance, or one file numactl with `numactl -H`; --capture writes them with all else that is known. hwloc's strings
(--machine synthetic:...) and files of `lstopo host.xml` are laid out from address 0 up."
);

/// The version that is written.
pub const VERSION: u32 = 1;

/// A machine file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of the format; absent means 1.
    #[serde(default = "version")]
    pub version: u32,
    /// What the machine is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The kernel that it was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Its command line's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<String>,
    nodes: Vec<NodeEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distances: Option<Vec<Vec<u64>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settings: Option<SettingsEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block_mib: Option<u32>,
}

fn version() -> u32 {
    VERSION
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NodeEntry {
    id: u32,
    cpus: Cpus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mib: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distances: Option<Vec<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zones: Option<Vec<ZoneInFile>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ZoneInFile {
    name: String,
    start_pfn: u64,
    spanned: u64,
    present: Option<u64>,
    managed: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    managed_ranges: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct SettingsEntry {
    watermark_scale_factor: Option<u32>,
    user_min_free_kbytes: Option<u64>,
    lowmem_reserve_ratio: Option<[u32; 4]>,
    percpu_pagelist_high_fraction: Option<u32>,
    watermark_boost_factor: Option<u32>,
    thp: Option<bool>,
    zone_device: Option<bool>,
}

/// `[0, 1]` or `"0-1"`.
#[derive(Clone, Debug)]
struct Cpus(IdList);

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Cpus;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("CPUs as \"0-3,8\" or [0, 1]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Cpus, E> {
                text.parse().map(Cpus).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cpus, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = seq.next_element::<u32>()? {
                    ids.push(id);
                }
                Ok(Cpus(ids.into_iter().collect()))
            }
        }
        d.deserialize_any(Either)
    }
}

/// The machine of a file.
///
/// # Errors
/// With the line and column, or the node and zone.
pub fn read(path: &Path) -> Result<Loaded, MachineInputError> {
    let text = super::read_to_string(path)?;
    let bad = |what: String| MachineInputError::input(path, what);
    let name = path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into());
    if posted::is_zoneinfo(&text) {
        let files = BTreeMap::from([("zoneinfo".to_owned(), text)]);
        return Files::of_texts(path.display().to_string(), files).machine(&name, None);
    }
    if posted::is_numactl(&text) {
        let layout = posted::numactl(&text).map_err(bad)?;
        let mut machine = from_layout(&path.display().to_string(), &layout)?;
        machine.name = name;
        let mut notes = Notes::default();
        notes.add("numactl tells no zones: memory is laid out from address 0 up");
        return Ok(Loaded { machine, notes, kernel: None });
    }
    let document = Document::parse(&text).map_err(bad)?;
    let mut machine = document.machine().map_err(bad)?;
    if machine.name.is_empty() {
        machine.name = name;
    }
    Ok(Loaded { machine, notes: Notes::default(), kernel: None })
}

impl Document {
    /// Reads the JSON.
    ///
    /// # Errors
    /// With the line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if document.version != VERSION {
            return Err(format!(
                "version {} is not known, this build reads version {VERSION}",
                document.version
            ));
        }
        Ok(document)
    }

    /// The document of a captured host.
    pub fn of_layout(name: &str, kernel: Option<String>, layout: &Layout) -> Self {
        let nodes = layout.nodes.iter().map(|n| NodeEntry {
            id: n.id,
            cpus: Cpus(n.cpus.clone()),
            mib: Some(n.memory_bytes >> 20),
            memory: None,
            distances: None,
            zones: None,
        });
        Self {
            version: VERSION,
            name: Some(name.to_owned()),
            kernel,
            append: None,
            nodes: nodes.collect(),
            distances: layout.distances.clone(),
            settings: None,
            block_mib: None,
        }
    }

    /// Overrides settings by those that the file names.
    pub fn settings_over(&self, settings: &mut Settings) {
        let Some(s) = &self.settings else { return };
        let over = |to: &mut u32, from: Option<u32>| *to = from.unwrap_or(*to);
        over(&mut settings.watermark_scale_factor, s.watermark_scale_factor);
        over(&mut settings.percpu_pagelist_high_fraction, s.percpu_pagelist_high_fraction);
        over(&mut settings.watermark_boost_factor, s.watermark_boost_factor);
        settings.user_min_free_kbytes = s.user_min_free_kbytes.or(settings.user_min_free_kbytes);
        settings.lowmem_reserve_ratio =
            s.lowmem_reserve_ratio.unwrap_or(settings.lowmem_reserve_ratio);
        settings.thp = s.thp.unwrap_or(settings.thp);
        settings.zone_device = s.zone_device.unwrap_or(settings.zone_device);
    }

    /// The machine described; its name is empty if the file has none.
    ///
    /// # Errors
    /// With the node and zone. [`Machine::validate`] finds the rest.
    pub fn machine(&self) -> Result<Machine, String> {
        let by_zones = self.nodes.iter().filter(|n| n.zones.is_some()).count();
        let sized = |n: &NodeEntry| n.mib.is_some() || n.memory.is_some();
        if by_zones > 0
            && let Some(node) = self.nodes.iter().find(|n| sized(n))
        {
            return Err(format!(
                "node {}: has 'memory' or 'mib' where the machine has 'zones': all nodes one way or the other",
                node.id
            ));
        }
        let laid_out = if by_zones > 0 {
            self.nodes.iter().map(NodeEntry::zones).collect::<Result<Vec<_>, _>>()?
        } else {
            let pages: Result<Vec<u64>, String> = self.nodes.iter().map(NodeEntry::pages).collect();
            ranges::lay_out(&pages?)
        };
        if let Some(pair) = self.nodes.windows(2).find(|p| p[0].id >= p[1].id) {
            return Err(format!(
                "node {} stands twice or out of order: nodes must have ascending ids",
                pair[1].id
            ));
        }
        let mut nodes = Vec::new();
        let mut cpus: Vec<Cpu> = Vec::new();
        let mut owner: BTreeMap<u32, NodeId> = BTreeMap::new();
        for (i, (entry, zones)) in self.nodes.iter().zip(laid_out).enumerate() {
            let id = node_id(entry.id).map_err(|e: MachineError| e.to_string())?;
            nodes.push(Node { id, distances: self.distances_of(i, entry)?, zones });
            for os_index in entry.cpus.0.iter() {
                if let Some(other) = owner.insert(os_index, id) {
                    return Err(format!("CPU {os_index} is on node {other} and on node {id}"));
                }
                cpus.push(Cpu { node: id, os_index, host_cpu: None });
            }
        }
        cpus.sort_by_key(|c| c.os_index);
        let mut settings = Settings { zone_device: true, ..Settings::default() };
        self.settings_over(&mut settings);
        check_settings(&settings)?;
        Ok(Machine {
            name: self.name.clone().unwrap_or_default(),
            nodes,
            cpus,
            block_pages: self.block_pages()?,
            settings,
        })
    }

    fn block_pages(&self) -> Result<u32, String> {
        match self.block_mib {
            None => Ok(DEFAULT_BLOCK_PAGES),
            Some(mib) if mib.is_power_of_two() && (4..=65536).contains(&mib) => Ok(mib * 256),
            Some(mib) => Err(format!("block_mib {mib}: must be a power of two from 4 to 65536")),
        }
    }

    fn distances_of(&self, i: usize, entry: &NodeEntry) -> Result<Vec<u8>, String> {
        let row = match (&entry.distances, &self.distances) {
            (Some(row), _) => row,
            (None, Some(rows)) => rows
                .get(i)
                .ok_or_else(|| format!("node {}: has no row in 'distances'", entry.id))?,
            (None, None) if self.nodes.len() == 1 => return Ok(vec![10]),
            (None, None) => {
                return Err(format!(
                    "node {}: has no 'distances': give a row for each node, as in [[10, 20], [20, 10]]",
                    entry.id
                ));
            }
        };
        let to = |j: usize| self.nodes.get(j).map_or(u32::MAX, |n| n.id);
        row.iter().enumerate().map(|(j, &d)| check_distance(entry.id, to(j), d)).collect()
    }
}

impl NodeEntry {
    fn pages(&self) -> Result<u64, String> {
        let bytes = match (&self.mib, &self.memory) {
            (Some(_), Some(_)) => {
                return Err(format!("node {}: has both 'mib' and 'memory'", self.id));
            }
            (Some(mib), None) => mib.checked_mul(1 << 20),
            (None, Some(text)) => Some(
                crate::cli::values::size(text)
                    .map_err(|e| format!("node {}: memory {e}", self.id))?,
            ),
            (None, None) => {
                return Err(format!(
                    "node {}: has neither 'memory' nor 'zones' (0 is allowed)",
                    self.id
                ));
            }
        };
        match bytes {
            Some(bytes) if bytes < 1 << 44 => Ok(bytes / 4096),
            _ => Err(format!("node {}: more than 16 TiB can't be modelled", self.id)),
        }
    }

    fn zones(&self) -> Result<Vec<Zone>, String> {
        let zones = self.zones.iter().flatten();
        let zones =
            zones.map(|z| z.zone().map_err(|e| format!("node {} zone {}: {e}", self.id, z.name)));
        let mut zones = zones.collect::<Result<Vec<_>, _>>()?;
        zones.retain(|z| z.present_pages > 0);
        Ok(zones)
    }
}

impl ZoneInFile {
    fn zone(&self) -> Result<Zone, String> {
        let known = ZoneIdx::ALL.iter().find(|z| z.name() == self.name);
        let idx = *known.ok_or("no such zone: DMA, DMA32, Normal, Movable")?;
        let ranges = self.managed_ranges.iter().flat_map(|r| [r.0, r.1]);
        if ranges.chain([self.start_pfn, self.spanned]).any(|figure| figure >= MAX_PFN) {
            return Err(format!("reaches past pfn {MAX_PFN:#x}"));
        }
        let present = self.present.unwrap_or(self.spanned);
        Ok(Zone {
            idx,
            start_pfn: self.start_pfn,
            spanned_pages: self.spanned,
            present_pages: present,
            managed_pages: self.managed.unwrap_or(present),
            managed: self.managed_ranges.clone(),
        })
    }
}

fn check_settings(s: &Settings) -> Result<(), String> {
    if !(1..=3000).contains(&s.watermark_scale_factor) {
        return Err(format!(
            "settings: watermark_scale_factor {}: must be 1 to 3000",
            s.watermark_scale_factor
        ));
    }
    if (1..8).contains(&s.percpu_pagelist_high_fraction) {
        return Err(format!(
            "settings: percpu_pagelist_high_fraction {}: must be 0 or at least 8",
            s.percpu_pagelist_high_fraction
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_in_the_help_is_a_machine() {
        let m = Document::parse(include_str!("example.json")).unwrap().machine().unwrap();
        assert_eq!(m.validate(), Ok(()));
        assert_eq!((m.nodes.len(), m.cpus.len()), (3, 10));
        assert_eq!(m.settings.watermark_scale_factor, 50);
    }

    const TWO: &str = r#"{ "name": "two", "nodes": [
        { "id": 0, "cpus": "0-1", "memory": "1G" },
        { "id": 4, "cpus": [2, 3], "mib": 512 } ],
        "distances": [ [10, 21], [21, 10] ] }"#;

    #[test]
    fn a_description_is_a_machine() {
        let m = Document::parse(TWO).unwrap().machine().unwrap();
        assert_eq!(m.validate(), Ok(()));
        assert_eq!(m.nodes.iter().map(|n| n.id.0).collect::<Vec<_>>(), [0, 4]);
        assert_eq!(m.cpus.len(), 4);
        assert_eq!(m.managed_pages(), (1536 << 8) - 1);
    }

    fn check(from: &str, to: &str, message: &str) {
        let text = TWO.replacen(from, to, 1);
        assert_ne!(text, TWO, "'{from}' is not in the text");
        let error = Document::parse(&text).and_then(|d| {
            let machine = d.machine()?;
            machine.validate().map_err(|e| e.to_string())
        });
        let error = error.expect_err(message);
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn bad_files_are_refused_by_name_and_place() {
        check(", [21, 10] ]", "]", "node 4: has no row in 'distances'");
        check(
            "\"distances\": [ [10, 21], [21, 10] ]",
            "\"block_mib\": 128",
            "node 0: has no 'distances'",
        );
        check("[21, 10]", "[21]", "node 4 has 1 distances, the machine has 2 nodes");
        check("[10, 21]", "[10, 9]", "distance 9 of node 0 to node 4: must be 10 to 255");
        check("[10, 21]", "[11, 21]", "node 0 is 11 from itself");
        check("\"id\": 4", "\"id\": 1024", "node 1024 is past the last node");
        check("\"id\": 4", "\"id\": 70000", "node 70000 is past the last node");
        check("\"id\": 4", "\"id\": 0", "node 0 stands twice");
        check("\"1G\"", "\"1Q\"", "node 0: memory '1Q' is no size");
        check("\"cpus\": [2, 3]", "\"cpus\": \"1-2\"", "CPU 1 is on node 0 and on node 4");
        check("\"cpus\": [2, 3]", "\"cpus\": 2", "CPUs as \"0-3,8\" or [0, 1] at line 3");
        check("\"mib\"", "\"mb\"", "unknown field `mb`");
        check("\"name\"", "\"version\": 2, \"name\"", "version 2 is not known");
        check("\"memory\": \"1G\"", "\"zones\": []", "node 4: has 'memory' or 'mib' where");
    }

    #[test]
    fn zones_are_named_in_what_is_wrong_with_them() {
        let zones = |zones: &str| {
            let text =
                format!(r#"{{ "nodes": [ {{ "id": 3, "cpus": "0", "zones": [{zones}] }} ] }}"#);
            let machine = Document::parse(&text).and_then(|d| d.machine());
            machine.and_then(|m| m.validate().map_err(|e| e.to_string()))
        };
        let normal = r#"{ "name": "Normal", "start_pfn": 1048576, "spanned": 4096 }"#;
        assert_eq!(zones(normal), Ok(()));
        let check = |text: &str, message: &str| assert_eq!(zones(text), Err(message.to_owned()));
        check("", "the machine has no memory");
        check(
            r#"{ "name": "High", "start_pfn": 0, "spanned": 1 }"#,
            "node 3 zone High: no such zone: DMA, DMA32, Normal, Movable",
        );
        check(
            r#"{ "name": "Normal", "start_pfn": 0, "spanned": 1, "present": 2 }"#,
            "node 3 zone Normal: present 2 > spanned 1",
        );
        check(
            &format!(r#"{normal}, {{ "name": "Movable", "start_pfn": 1052671, "spanned": 10 }}"#),
            "node 3 zone Normal and node 3 zone Movable overlap at pfn 0x100fff",
        );
    }
}
