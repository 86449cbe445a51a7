//! `--fake-numa N`: splits nodes until the machine has N nodes with memory.
//!
//! **What.** Each node is split into equal shares of its managed pages in pfn order; Movable is
//! shared out by itself, so that every part has some. CPUs are shared out in order. Distances
//! between parts of different nodes are those of the nodes.
//!
//! **Why.** cpusets and mempolicies need two nodes, and many hosts have one.
//!
//! **Source.** `numa=fake=` (mm/numa_emulation.c).
//!
//! **Differs.** The kernel splits spans, holes included; here spans that are not managed are left
//! out, since a fake node without a free page would be of no use. Parts of one node are 20 apart, as
//! the kernel has it on machines without a SLIT; with one it would say 10. A CPU belongs to one
//! part only. Nodes are numbered anew.

use allocator::ids::{NodeId, ZoneIdx};
use allocator::machine::{Machine, Node, Zone};

use super::ranges::{self, CUT_PAGES, Ranges};
use super::{MachineInputError, Notes};

const FLAG: &str = "--fake-numa";

/// Splits nodes until `wanted` have memory.
///
/// # Errors
/// If there are more already, or too little memory for so many.
pub fn split(
    machine: &mut Machine,
    wanted: u32,
    notes: &mut Notes,
) -> Result<(), MachineInputError> {
    let with_memory = machine.nodes.iter().filter(|n| managed(n) > 0).count() as u32;
    if wanted < with_memory {
        return Err(MachineInputError::flag(
            FLAG,
            format!(
                "{wanted} is fewer than {} has with memory already ({with_memory})",
                machine.name
            ),
        ));
    }
    let most = machine.managed_pages() / (2 * CUT_PAGES);
    let limit = most.min(allocator::ids::MAX_NUMNODES as u64);
    if u64::from(wanted) > limit {
        return Err(MachineInputError::flag(
            FLAG,
            format!("{wanted} nodes are too many: at most {limit} (8 MiB each, 1,024 in all)"),
        ));
    }
    let parts = shares(machine, wanted);
    let mut nodes = Vec::new();
    let mut origin = Vec::new();
    for (from, &count) in parts.iter().enumerate() {
        let node = &machine.nodes[from];
        for zones in split_zones(&node.zones, u64::from(count)) {
            nodes.push(zones);
            origin.push(from);
        }
    }
    let distance = |a: usize, b: usize| match (a == b, origin[a] == origin[b]) {
        (true, _) => 10,
        (false, true) => 20,
        (false, false) => machine.nodes[origin[a]].distances[origin[b]],
    };
    let new_nodes: Vec<Node> = nodes
        .into_iter()
        .enumerate()
        .map(|(i, zones)| Node {
            id: NodeId(i as u16),
            distances: (0..origin.len()).map(|j| distance(i, j)).collect(),
            zones,
        })
        .collect();
    share_out_cpus(machine, &parts);
    machine.nodes = new_nodes;
    if let Some(empty) =
        machine.nodes.iter().find(|n| n.zones.is_empty() && parts[origin[n.id.index()]] > 1)
    {
        return Err(MachineInputError::flag(
            FLAG,
            format!("node {} would have no memory", empty.id),
        ));
    }
    if wanted > with_memory {
        notes.add(format!("{wanted} nodes by --fake-numa out of {with_memory}"));
    }
    Ok(())
}

/// Into how many parts each node goes: one more at a time to the node whose parts are largest.
fn shares(machine: &Machine, wanted: u32) -> Vec<u32> {
    let mut parts = vec![1; machine.nodes.len()];
    let with_memory = machine.nodes.iter().filter(|n| managed(n) > 0).count() as u32;
    for _ in with_memory..wanted {
        let largest = (0..parts.len())
            .max_by_key(|&i| (managed(&machine.nodes[i]) / u64::from(parts[i]), usize::MAX - i));
        if let Some(i) = largest {
            parts[i] += 1;
        }
    }
    parts
}

fn managed(node: &Node) -> u64 {
    node.zones.iter().map(|z| z.managed_pages).sum()
}

fn split_zones(zones: &[Zone], parts: u64) -> Vec<Vec<Zone>> {
    if parts == 1 {
        return vec![zones.to_vec()];
    }
    let mut lower = Ranges::new();
    let mut movable = Ranges::new();
    for zone in zones {
        match zone.idx {
            ZoneIdx::Movable => movable.extend(zone.managed_ranges()),
            ZoneIdx::Dma | ZoneIdx::Dma32 | ZoneIdx::Normal => lower.extend(zone.managed_ranges()),
        }
    }
    lower.sort_unstable();
    let border = |ranges: &[(u64, u64)], i: u64| match i {
        0 => 0,
        i if i == parts => u64::MAX,
        i => ranges::pfn_after(ranges, ranges::pages(ranges) * i / parts, CUT_PAGES),
    };
    let within = |of: &[(u64, u64)], by: &[(u64, u64)], i: u64| {
        let (below, _) = ranges::cut_at(of, border(by, i + 1));
        ranges::cut_at(&below, border(by, i)).1
    };
    (0..parts)
        .map(|i| {
            zones
                .iter()
                .filter_map(|zone| {
                    let by = if zone.idx == ZoneIdx::Movable { &movable } else { &lower };
                    ranges::zone(zone.idx, within(&zone.managed_ranges(), by, i))
                })
                .collect()
        })
        .collect()
}

/// CPU number i of a node's k goes to part i * parts / k.
fn share_out_cpus(machine: &mut Machine, parts: &[u32]) {
    let mut first = 0;
    let mut moves = Vec::with_capacity(machine.cpus.len());
    for (node, &count) in machine.nodes.iter().zip(parts) {
        let cpus: Vec<_> = machine.cpus_of(node.id).collect();
        for (i, cpu) in cpus.iter().enumerate() {
            moves.push((*cpu, NodeId(first + (i * count as usize / cpus.len()) as u16)));
        }
        first += count as u16;
    }
    for (cpu, node) in moves {
        machine.cpus[cpu.index()].node = node;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gib(n: u64) -> u64 {
        n << 18
    }

    fn host(node_pages: &[u64], cpus: u16) -> Machine {
        let mut m = Machine::uniform(node_pages.len() as u16, cpus, 2048);
        for (node, zones) in m.nodes.iter_mut().zip(ranges::lay_out(node_pages)) {
            node.zones = zones;
        }
        m
    }

    #[test]
    fn two_equal_nodes_out_of_one() {
        let mut m = host(&[gib(8)], 4);
        split(&mut m, 2, &mut Notes::default()).unwrap();
        m.validate().unwrap();
        assert_eq!(m.nodes.len(), 2);
        assert_eq!(managed(&m.nodes[0]), gib(4) - 1);
        assert_eq!(managed(&m.nodes[1]), gib(4));
        assert_eq!(m.nodes[0].distances, [10, 20]);
        let nodes: Vec<u16> = m.cpus.iter().map(|c| c.node.0).collect();
        assert_eq!(nodes, [0, 0, 1, 1]);
    }

    #[test]
    fn a_hole_belongs_to_nobody() {
        let mut m = host(&[gib(1)], 1);
        m.nodes[0].zones = vec![Zone {
            idx: ZoneIdx::Normal,
            start_pfn: gib(4),
            spanned_pages: gib(21),
            present_pages: gib(21),
            managed_pages: gib(1),
            managed: Vec::new(),
        }];
        split(&mut m, 4, &mut Notes::default()).unwrap();
        m.validate().unwrap();
        for node in &m.nodes {
            assert_eq!((managed(node), node.zones[0].spanned_pages), (gib(1) / 4, gib(1) / 4));
        }
    }

    #[test]
    fn larger_nodes_are_split_first_and_movable_is_shared() {
        let mut m = host(&[gib(2), gib(1)], 2);
        super::super::movable::make(
            &mut m,
            super::super::movable::Share::Percent(50.0),
            &mut Notes::default(),
        )
        .unwrap();
        m.nodes[0].distances = vec![10, 31];
        split(&mut m, 3, &mut Notes::default()).unwrap();
        m.validate().unwrap();
        let movable = |n: &Node| {
            n.zones.iter().any(|z| z.idx == ZoneIdx::Movable && z.managed_pages == gib(1) / 2)
        };
        assert!(m.nodes.iter().all(movable), "{:?}", m.nodes);
        assert_eq!(m.nodes[0].distances, [10, 20, 31]);
    }

    #[test]
    fn too_few_and_too_many_are_refused() {
        let mut m = host(&[gib(1), gib(1)], 1);
        let fails =
            |m: &mut Machine, n| split(m, n, &mut Notes::default()).unwrap_err().to_string();
        assert!(fails(&mut m, 1).contains("already (2)"));
        assert!(fails(&mut m, 2000).contains("at most 255"));
    }
}
