//! Machines out of what people post: zoneinfo alone, zoneinfo quoted in a mail, `numactl -H`.
//!
//! **What.** [`numactl`] reads nodes, CPUs, sizes and distances of `numactl -H`; [`layout_of_zoneinfo`]
//! takes a machine of one node from zoneinfo's pagesets; [`page_kib`] finds what says that pages are
//! not 4 KiB.
//!
//! **Why.** A bug report has one of these, and no captured directory.

use std::collections::BTreeMap;

use super::lists::IdList;
use super::topology::{LOCAL_DISTANCE, Layout, LayoutNode};
use super::zoneinfo::Zoneinfo;

/// Does the text look like the output of `numactl -H`?
pub fn is_numactl(text: &str) -> bool {
    text.lines().any(|line| {
        let line = unquoted(line).trim();
        line.starts_with("available: ") && line.contains(" nodes")
    })
}

/// Does the text look like /proc/zoneinfo, quoted or not?
pub fn is_zoneinfo(text: &str) -> bool {
    let first = text.lines().map(|l| unquoted(l).trim()).find(|l| !l.is_empty());
    first.is_some_and(|line| line.starts_with("Node ") && line.contains(", zone"))
}

/// A line without the quote marks of a mail.
pub fn unquoted(mut line: &str) -> &str {
    while let Some(rest) = line.trim_start().strip_prefix('>') {
        line = rest.strip_prefix(' ').unwrap_or(rest);
    }
    line
}

/// Nodes, CPUs, sizes and distances of `numactl -H`.
///
/// # Errors
/// With the line that can't be read, or the part that is missing.
pub fn numactl(text: &str) -> Result<Layout, String> {
    let mut nodes: BTreeMap<u32, LayoutNode> = BTreeMap::new();
    let mut distances: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut columns: Vec<u32> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = unquoted(line).trim();
        let bad = || format!("line {}: '{line}' is not of `numactl -H`", i + 1);
        if let Some(rest) = line.strip_prefix("node ").filter(|r| !r.starts_with("distances")) {
            let words: Vec<&str> = rest.split_whitespace().collect();
            match words[..] {
                [id, "cpus:", ..] => {
                    let id = id.parse().map_err(|_| bad())?;
                    let cpus: Result<IdList, _> =
                        words[2..].iter().map(|c| c.parse::<u32>()).collect();
                    let cpus = cpus.map_err(|_| bad())?;
                    node(&mut nodes, id).cpus = cpus;
                }
                [id, "size:", size, "MB"] => {
                    let id = id.parse().map_err(|_| bad())?;
                    let size: u64 = size.parse().map_err(|_| bad())?;
                    node(&mut nodes, id).memory_bytes =
                        size.checked_mul(1 << 20).filter(|b| *b < 1 << 50).ok_or_else(bad)?;
                }
                [_, "free:", ..] => {}
                _ => {
                    columns = words
                        .iter()
                        .map(|w| w.parse())
                        .collect::<Result<_, _>>()
                        .map_err(|_| bad())?;
                }
            }
        } else if let Some((id, row)) = line.split_once(':')
            && let Ok(id) = id.trim().parse::<u32>()
        {
            let row: Result<Vec<u64>, _> = row.split_whitespace().map(str::parse).collect();
            distances.insert(id, row.map_err(|_| bad())?);
        }
    }
    if nodes.is_empty() {
        return Err("no 'node N cpus:' line in it".to_owned());
    }
    if let Some(node) = nodes.values().find(|n| n.memory_bytes == 0 && n.cpus.is_empty()) {
        return Err(format!("node {} has neither CPUs nor a size", node.id));
    }
    let ids: Vec<u32> = nodes.keys().copied().collect();
    if nodes.len() > 1 && (columns != ids || distances.len() != ids.len()) {
        return Err("want 'node distances:' with a row and a column for each node".to_owned());
    }
    let rows: Vec<Vec<u64>> = ids.iter().filter_map(|id| distances.remove(id)).collect();
    if let Some(row) = rows.iter().position(|row| row.len() != ids.len()) {
        return Err(format!("node {}: want {} distances", ids[row], ids.len()));
    }
    let distances = (rows.len() == ids.len()).then_some(rows);
    Ok(Layout { nodes: nodes.into_values().collect(), distances })
}

fn node(nodes: &mut BTreeMap<u32, LayoutNode>, id: u32) -> &mut LayoutNode {
    nodes.entry(id).or_insert_with(|| LayoutNode { id, cpus: IdList::default(), memory_bytes: 0 })
}

/// The layout of a machine that only zoneinfo tells of: one node, its CPUs by the pagesets.
///
/// # Errors
/// For several nodes, whose CPUs zoneinfo doesn't tell apart: what to add.
pub fn layout_of_zoneinfo(zoneinfo: &Zoneinfo) -> Result<Layout, String> {
    let mut ids: Vec<u32> = zoneinfo.zones.iter().map(|z| z.node).collect();
    ids.sort_unstable();
    ids.dedup();
    let cpus: IdList =
        zoneinfo.zones.iter().flat_map(|z| z.pcp.iter().map(|pcp| pcp.cpu)).collect();
    match ids[..] {
        [] => Err("no zone in it".to_owned()),
        [id] if !cpus.is_empty() => Ok(Layout {
            nodes: vec![LayoutNode { id, cpus, memory_bytes: 0 }],
            distances: Some(vec![vec![u64::from(LOCAL_DISTANCE)]]),
        }),
        [id] => Err(format!(
            "node {id} has no pagesets, so its CPUs are not known: add node{id}.cpulist (as in 0-3)"
        )),
        _ => Err(format!(
            "it has {} nodes and does not tell whose a CPU is: put it into a directory as 'zoneinfo', with the output \
             of `numactl -H` as 'numactl', or with nodeN.cpulist and nodeN.distance (of \
             /sys/devices/system/node/nodeN) for each node N",
            ids.len()
        )),
    }
}

/// KiB of a page by what a captured directory holds, if it says that they are not 4: the file `pagesize`
/// (bytes, as `getconf PAGESIZE` prints them), meminfo's MemTotal, or the ranges of dmesg; and who says.
pub fn page_kib(
    files: &BTreeMap<String, String>,
    zoneinfo: &Zoneinfo,
) -> Option<(u64, &'static str)> {
    if let Some(text) = files.get("pagesize") {
        let bytes: u64 = text.trim().parse().ok()?;
        return (bytes >= 1024).then_some((bytes >> 10, "the file pagesize"));
    }
    let sum = |pages: fn(&super::zoneinfo::ZoneEntry) -> u64| -> u64 {
        zoneinfo.zones.iter().map(pages).sum()
    };
    // A power of two that is near: MemTotal and managed are never quite the same.
    let near = |kib: u64, pages: u64| {
        let sizes = [4_u64, 8, 16, 32, 64, 128, 256];
        sizes.into_iter().find(|size| {
            let all = pages.saturating_mul(*size);
            all > kib / 4 * 3 && all / 4 * 3 < kib
        })
    };
    let total = files.get("meminfo").and_then(|text| {
        let line = text.lines().find_map(|l| l.trim().strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    if let Some(size) = total.and_then(|kib| near(kib, sum(|z| z.managed))) {
        return Some((size, "MemTotal of meminfo"));
    }
    let dmesg = files.get("dmesg")?;
    let mut bytes: u64 = 0;
    for line in dmesg.lines() {
        let Some((before, range)) = line.split_once("[mem 0x") else { continue };
        if !before.contains("node ") {
            continue;
        }
        let (from, to) = range.split_once(']')?.0.split_once("-0x")?;
        let from = u64::from_str_radix(from, 16).ok()?;
        let to = u64::from_str_radix(to, 16).ok()?;
        bytes = bytes.saturating_add(to.saturating_sub(from).saturating_add(1));
    }
    near(bytes >> 10, sum(|z| z.present)).map(|size| (size, "the ranges of dmesg"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numactl_holds_a_machine() {
        let text = "available: 2 nodes (0-1)\nnode 0 cpus: 0 2\nnode 0 size: 3927 MB\nnode 0 free: 1 MB\n\
                    node 1 cpus:\nnode 1 size: 2048 MB\nnode distances:\nnode   0   1\n  0:  10  30\n  1:  30  10\n";
        for text in [text.to_owned(), text.lines().map(|l| format!("> {l}\n")).collect()] {
            assert!(is_numactl(&text) && !is_zoneinfo(&text));
            let layout = numactl(&text).unwrap();
            let nodes: Vec<_> = layout
                .nodes
                .iter()
                .map(|n| (n.id, n.cpus.to_string(), n.memory_bytes >> 20))
                .collect();
            assert_eq!(nodes, [(0, "0,2".to_owned(), 3927), (1, String::new(), 2048)]);
            assert_eq!(layout.distances, Some(vec![vec![10, 30], vec![30, 10]]));
        }
        let check = |text: &str, message: &str| {
            let found = numactl(text).unwrap_err();
            assert!(found.contains(message), "{found}");
        };
        check("available: 1 nodes (0)", "no 'node N cpus:'");
        check("node 0 cpus: x", "line 1");
        check("node 0 cpus: 0\nnode 1 cpus: 1", "node distances");
    }
}
