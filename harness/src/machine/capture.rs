//! Captured hosts: a directory with the files that describe a machine, written by
//! `stress machine --capture DIR` on any host and read by `--machine DIR` on any other.
//!
//! **What.** `zoneinfo` and, for each node N, `nodeN.cpulist` and `nodeN.distance` must be there;
//! what else is missing has the kernel's defaults: `watermark_scale_factor`, `lowmem_reserve_ratio`,
//! `watermark_boost_factor`, `percpu_pagelist_high_fraction` (`percpu_pagelist_fraction` before
//! 5.14), `min_free_kbytes`, `thp` (.../transparent_hugepage/enabled), `block_size_bytes`,
//! `memory_blocks` (list of online ones), `cmdline`, `dmesg` (for its fallback orders) and
//! `machine.json` (name, kernel, and `settings` if some were made by hand).
//!
//! **Why.** A bug that shows on one NUMA box is then looked into on a laptop, on its very zones.
//!
//! **Differs.** `min_free_kbytes` is what was in force, and a file can't say who set it. It counts as
//! set by hand only if `cmdline` has `sysctl.vm.min_free_kbytes=` or machine.json's settings say so;
//! else the model computes it, and the file is what it is compared with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::file::Document;
use super::lists::IdList;
use super::topology::{Layout, LayoutNode};
use super::{Loaded, MachineInputError};

/// Where sysfs describes nodes.
pub const SYSFS_NODES: &str = "/sys/devices/system/node";
const SYSFS_MEMORY: &str = "/sys/devices/system/memory";

/// Files that are copied as they are, with where a host has them.
const COPIED: [(&str, &str); 14] = [
    ("zoneinfo", "/proc/zoneinfo"),
    ("buddyinfo", "/proc/buddyinfo"),
    ("pagetypeinfo", "/proc/pagetypeinfo"),
    ("meminfo", "/proc/meminfo"),
    ("cmdline", "/proc/cmdline"),
    ("osrelease", "/proc/sys/kernel/osrelease"),
    ("min_free_kbytes", "/proc/sys/vm/min_free_kbytes"),
    ("watermark_scale_factor", "/proc/sys/vm/watermark_scale_factor"),
    ("watermark_boost_factor", "/proc/sys/vm/watermark_boost_factor"),
    ("lowmem_reserve_ratio", "/proc/sys/vm/lowmem_reserve_ratio"),
    ("percpu_pagelist_high_fraction", "/proc/sys/vm/percpu_pagelist_high_fraction"),
    ("percpu_pagelist_fraction", "/proc/sys/vm/percpu_pagelist_fraction"),
    ("thp", "/sys/kernel/mm/transparent_hugepage/enabled"),
    ("block_size_bytes", "/sys/devices/system/memory/block_size_bytes"),
];

/// The files of a machine, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub(super) place: String,
    pub(super) text: BTreeMap<String, String>,
}

/// The machine captured in a directory.
///
/// # Errors
/// If a file is missing or bad, with its name.
pub fn read(dir: &Path) -> Result<Loaded, MachineInputError> {
    let name =
        dir.file_name().map_or_else(|| "captured".to_owned(), |n| n.to_string_lossy().into());
    Files::of_dir(dir)?.machine(&name, None)
}

impl Files {
    /// Files that were read elsewhere, by the names that a captured directory gives them.
    pub fn of_texts(place: String, text: BTreeMap<String, String>) -> Self {
        Self { place, text }
    }

    /// This host's.
    ///
    /// # Errors
    /// If /proc/zoneinfo can't be read; what else can't be is left out.
    pub fn of_host() -> Result<Self, MachineInputError> {
        let zoneinfo = super::read_to_string(Path::new("/proc/zoneinfo"))?;
        let mut text: BTreeMap<String, String> = COPIED
            .iter()
            .filter_map(|&(name, path)| Some((name.to_owned(), fs::read_to_string(path).ok()?)))
            .collect();
        text.insert("zoneinfo".to_owned(), zoneinfo);
        for id in numbered(Path::new(SYSFS_NODES), "node") {
            for file in ["distance", "cpulist"] {
                if let Ok(t) = fs::read_to_string(format!("{SYSFS_NODES}/node{id}/{file}")) {
                    text.insert(format!("node{id}.{file}"), t);
                }
            }
        }
        if let Some(blocks) = online_blocks(Path::new(SYSFS_MEMORY)) {
            text.insert("memory_blocks".to_owned(), format!("{blocks}\n"));
        }
        Ok(Self { place: "this host".to_owned(), text })
    }

    /// Those of a captured directory.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn of_dir(dir: &Path) -> Result<Self, MachineInputError> {
        let unreadable = |e: std::io::Error| MachineInputError::input(dir, e.to_string());
        let mut text = BTreeMap::new();
        let mut total = 0;
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                let bytes = results::input::read(&path, super::MOST_BYTES)
                    .map_err(|e| MachineInputError::input(&path, e.to_string()))?;
                total += bytes.len() as u64;
                if total > 4 * super::MOST_BYTES {
                    return Err(MachineInputError::input(dir, "it holds more than any capture"));
                }
                text.insert(name.to_string_lossy().into(), String::from_utf8_lossy(&bytes).into());
            }
        }
        Ok(Self { place: dir.display().to_string(), text })
    }

    /// Writes them into a new or empty directory, with a machine.json.
    ///
    /// # Errors
    /// If the directory has files already or can't be written.
    pub fn write(&self, dir: &Path, layout: &Layout, name: &str) -> Result<(), MachineInputError> {
        let failed = |path: &Path, e: std::io::Error| MachineInputError::input(path, e.to_string());
        fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
        if fs::read_dir(dir).map_err(|e| failed(dir, e))?.next().is_some() {
            return Err(MachineInputError::input(dir, "is not empty: name a new directory"));
        }
        let kernel = self.text.get("osrelease").map(|r| format!("Linux {}", r.trim()));
        let document = Document::of_layout(name, kernel, layout);
        let json = serde_json::to_string_pretty(&document).unwrap_or_default() + "\n";
        let all = self.text.iter().map(|(n, t)| (n.as_str(), t.as_str()));
        for (name, text) in all.chain([("machine.json", json.as_str())]) {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|e| failed(&path, e))?;
        }
        Ok(())
    }

    pub(super) fn error(&self, file: &str, what: impl std::fmt::Display) -> MachineInputError {
        let place = format!("{}/{file}", self.place.trim_end_matches('/'));
        MachineInputError::Input { place, what: what.to_string() }
    }
}

/// Ids of the entries `PREFIXn` of a directory, ascending.
fn numbered(dir: &Path, prefix: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let id = |e: std::io::Result<fs::DirEntry>| {
        e.ok()?.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()
    };
    let mut ids: Vec<u32> = entries.filter_map(id).collect();
    ids.sort_unstable();
    ids
}

fn online_blocks(dir: &Path) -> Option<IdList> {
    let online = |id: &u32| {
        fs::read_to_string(dir.join(format!("memory{id}/online"))).is_ok_and(|t| t.trim() == "1")
    };
    let blocks: IdList = numbered(dir, "memory").into_iter().filter(online).collect();
    (!blocks.is_empty()).then_some(blocks)
}

/// Mends what hwloc can't say: nodes that it does not know, nodes without CPUs, distances.
pub fn mend_from_sysfs(layout: &mut Layout, dir: &Path) {
    let ids = numbered(dir, "node");
    let read = |id: u32, file: &str| fs::read_to_string(dir.join(format!("node{id}/{file}"))).ok();
    for &id in &ids {
        let Some(cpus) = read(id, "cpulist").and_then(|t| t.parse::<IdList>().ok()) else {
            continue;
        };
        match layout.nodes.iter_mut().find(|n| n.id == id) {
            Some(node) => node.cpus = cpus,
            None => {
                layout.nodes.push(LayoutNode { id, cpus, memory_bytes: 0 });
                layout.distances = None;
            }
        }
    }
    layout.nodes.sort_by_key(|n| n.id);
    let same = layout.nodes.iter().map(|n| n.id).eq(ids.iter().copied());
    if layout.distances.is_none() && same {
        let row = |id: u32| -> Option<Vec<u64>> {
            let row = read(id, "distance")?;
            let row: Vec<u64> =
                row.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
            (row.len() == ids.len()).then_some(row)
        };
        layout.distances = ids.iter().map(|&id| row(id)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysfs(nodes: &[(u32, &str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (id, cpus, distances) in nodes {
            let node = dir.path().join(format!("node{id}"));
            fs::create_dir(&node).unwrap();
            fs::write(node.join("cpulist"), cpus).unwrap();
            fs::write(node.join("distance"), distances).unwrap();
        }
        fs::create_dir(dir.path().join("power")).unwrap();
        dir
    }

    fn layout(cpus: &[(u32, &str)], distances: Option<Vec<Vec<u64>>>) -> Layout {
        let node = |&(id, cpus): &(u32, &str)| LayoutNode {
            id,
            cpus: cpus.parse().unwrap(),
            memory_bytes: 1 << 30,
        };
        Layout { nodes: cpus.iter().map(node).collect(), distances }
    }

    #[test]
    fn sysfs_knows_nodes_without_cpus_and_distances() {
        let dir = sysfs(&[(0, "0-3\n", "10 17\n"), (4, "\n", "17 10\n")]);
        let mut found = layout(&[(0, "0-3"), (4, "0-3")], None);
        mend_from_sysfs(&mut found, dir.path());
        assert_eq!(found, layout(&[(0, "0-3"), (4, "")], Some(vec![vec![10, 17], vec![17, 10]])));
    }

    #[test]
    fn a_node_that_hwloc_lacks_is_added_and_distances_are_read_anew() {
        let dir = sysfs(&[(0, "0", "10 20"), (1, "1", "20 10")]);
        let mut found = layout(&[(1, "0-1")], Some(vec![vec![10]]));
        mend_from_sysfs(&mut found, dir.path());
        assert_eq!(found.distances, Some(vec![vec![10, 20], vec![20, 10]]));
        let cpus: Vec<(u32, String)> =
            found.nodes.iter().map(|n| (n.id, n.cpus.to_string())).collect();
        assert_eq!(cpus, [(0, "0".to_owned()), (1, "1".to_owned())]);
    }

    #[test]
    fn without_sysfs_hwlocs_word_stands() {
        let dir = tempfile::tempdir().unwrap();
        let mut found = layout(&[(0, "0-1")], None);
        mend_from_sysfs(&mut found, dir.path());
        assert_eq!(found, layout(&[(0, "0-1")], None));
    }
}
