//! The machine that is modelled, as plain data: nodes, distances, CPUs, zone spans, settings.
//!
//! **What.** All that the kernel learns from firmware and boot options before it builds zones
//! (docs/kernel/zones-and-buddy.md#a1, watermarks.md#a8, zonelists.md#a9), and nothing that it
//! computes from it.
//!
//! **Why.** A machine can come from this host, from a file, from a captured directory or from an
//! hwloc string; all become this one value, and bad ones are refused here, once.
//!
//! **Source.** /proc/zoneinfo's fields; mm/mm_init.c for what spanned, present and managed mean.
//!
//! **Differs.** Which frames of a zone are managed is not in /proc/zoneinfo: unless `managed` says
//! otherwise they are the topmost ones of its span.

use crate::ids::{CpuId, MAX_NR_ZONES, MAX_NUMNODES, NodeId, ZoneIdx};

/// Pages in a memory block of 128 MiB, the unit of memory hotplug on small x86-64 machines.
pub const DEFAULT_BLOCK_PAGES: u32 = 32768;
/// First frame number that the frame table can't hold (16 TiB of physical addresses).
pub const MAX_PFN: u64 = 1 << 32;

/// A machine to model.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// What it is called in results: `host`, a file's name, ...
    pub name: String,
    /// Nodes in ascending id order; ids may be sparse.
    pub nodes: Vec<Node>,
    /// CPUs; the index is the model's [`CpuId`].
    pub cpus: Vec<Cpu>,
    /// Pages in a memory block.
    pub block_pages: u32,
    /// Settings in force.
    pub settings: Settings,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Distances to all nodes, in the order of [`Machine::nodes`] (10 = local).
    pub distances: Vec<u8>,
    /// Its zones with memory, by ascending index; none on a node without memory.
    pub zones: Vec<Zone>,
}

/// A zone's span and contents.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Which zone.
    pub idx: ZoneIdx,
    /// First frame (`start_pfn`, zone_start_pfn).
    pub start_pfn: u64,
    /// Frames from first to last, holes included.
    pub spanned_pages: u64,
    /// Frames that exist.
    pub present_pages: u64,
    /// Frames that the buddy allocator was given.
    pub managed_pages: u64,
    /// The managed frames as ranges of [first, first + pages), ascending; empty: the topmost
    /// `managed_pages` of the span.
    pub managed: Vec<(u64, u64)>,
}

/// A CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The node that it belongs to.
    pub node: NodeId,
    /// The CPU's number on the machine described (may be sparse).
    pub os_index: u32,
    /// The host CPU that its thread is pinned to, if any was assigned.
    pub host_cpu: Option<u32>,
}

/// Tunables that formulas read (docs/kernel/pcplists.md#a6, watermarks.md#a8).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// vm.watermark_scale_factor, 1 to 3000 ten-thousandths.
    pub watermark_scale_factor: u32,
    /// vm.min_free_kbytes if somebody has set it by hand.
    pub user_min_free_kbytes: Option<u64>,
    /// vm.min_free_kbytes that the machine's kernel computed at boot, if that is known to differ
    /// from what its zones give now (less was managed then). Hotplug computes it anew.
    pub boot_min_free_kbytes: Option<u64>,
    /// vm.lowmem_reserve_ratio by zone.
    pub lowmem_reserve_ratio: [u32; MAX_NR_ZONES],
    /// vm.percpu_pagelist_high_fraction (percpu_pagelist_fraction before 5.14); 0: by itself.
    pub percpu_pagelist_high_fraction: u32,
    /// vm.watermark_boost_factor.
    pub watermark_boost_factor: u32,
    /// Are transparent huge pages on (khugepaged raises min_free_kbytes then)?
    pub thp: bool,
    /// Is ZONE_DEVICE configured (a fifth number in `protection:`)?
    pub zone_device: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            watermark_scale_factor: 10,
            user_min_free_kbytes: None,
            boot_min_free_kbytes: None,
            lowmem_reserve_ratio: [256, 256, 32, 0],
            percpu_pagelist_high_fraction: 0,
            watermark_boost_factor: 15000,
            thp: true,
            zone_device: false,
        }
    }
}

/// Why a machine can't be modelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// No nodes at all.
    #[error("the machine has no nodes")]
    NoNodes,
    /// Too many nodes, or an id too high.
    #[error("node {0} is past the last node that can be modelled ({max})", max = MAX_NUMNODES - 1)]
    TooManyNodes(u32),
    /// The same id twice, or not ascending.
    #[error("node {0} stands twice or out of order: nodes must have ascending ids")]
    NodeOrder(u16),
    /// Distances missing.
    #[error("node {node} has {found} distances, the machine has {nodes} nodes")]
    Distances {
        /// The node.
        node: u16,
        /// How many distances it has.
        found: usize,
        /// How many it needs.
        nodes: usize,
    },
    /// No CPU on any node.
    #[error("the machine has no CPUs: at least one node needs one")]
    NoCpus,
    /// More CPUs than can be modelled.
    #[error("{0} CPUs are more than the {max} that can be modelled", max = u16::MAX)]
    TooManyCpus(usize),
    /// A CPU's node does not exist.
    #[error("CPU {cpu} belongs to node {node}, which the machine does not have")]
    CpuNode {
        /// The CPU's number.
        cpu: u32,
        /// The node named.
        node: u16,
    },
    /// No memory on any node.
    #[error("the machine has no memory")]
    NoMemory,
    /// present > spanned and the like.
    #[error("node {node} zone {zone}: {what}")]
    Zone {
        /// The node.
        node: u16,
        /// The zone.
        zone: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Two zones hold the same frame.
    #[error("node {a_node} zone {a_zone} and node {b_node} zone {b_zone} overlap at pfn {pfn:#x}")]
    Overlap {
        /// First zone's node.
        a_node: u16,
        /// First zone.
        a_zone: &'static str,
        /// Second zone's node.
        b_node: u16,
        /// Second zone.
        b_zone: &'static str,
        /// A frame that both hold.
        pfn: u64,
    },
}

impl Zone {
    /// A zone without holes or reserved frames.
    pub fn whole(idx: ZoneIdx, start_pfn: u64, pages: u64) -> Self {
        Self {
            idx,
            start_pfn,
            spanned_pages: pages,
            present_pages: pages,
            managed_pages: pages,
            managed: Vec::new(),
        }
    }

    /// First frame behind the span.
    pub fn end_pfn(&self) -> u64 {
        self.start_pfn + self.spanned_pages
    }

    /// The managed frames as ranges (first, pages).
    pub fn managed_ranges(&self) -> Vec<(u64, u64)> {
        if self.managed.is_empty() && self.managed_pages > 0 {
            vec![(self.end_pfn() - self.managed_pages, self.managed_pages)]
        } else {
            self.managed.clone()
        }
    }
}

impl Machine {
    /// Highest node id + 1 (`nr_node_ids`).
    pub fn nr_node_ids(&self) -> usize {
        self.nodes.last().map_or(0, |n| n.id.index() + 1)
    }

    /// The node with this id.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.binary_search_by_key(&id, |n| n.id).ok().map(|i| &self.nodes[i])
    }

    /// Distance between two nodes that exist.
    pub fn distance(&self, from: NodeId, to: NodeId) -> u8 {
        let to = self.nodes.iter().position(|n| n.id == to).unwrap_or(0);
        self.node(from).and_then(|n| n.distances.get(to)).copied().unwrap_or(10)
    }

    /// CPUs of a node.
    pub fn cpus_of(&self, node: NodeId) -> impl Iterator<Item = CpuId> + '_ {
        self.cpus
            .iter()
            .enumerate()
            .filter(move |(_, c)| c.node == node)
            .map(|(i, _)| CpuId(i as u16))
    }

    /// First frame behind all zones.
    pub fn max_pfn(&self) -> u64 {
        self.nodes.iter().flat_map(|n| &n.zones).map(Zone::end_pfn).max().unwrap_or(0)
    }

    /// Managed pages of all zones.
    pub fn managed_pages(&self) -> u64 {
        self.nodes.iter().flat_map(|n| &n.zones).map(|z| z.managed_pages).sum()
    }

    /// A machine of equal nodes: `cpus_per_node` CPUs and one zone Normal of `pages_per_node` each,
    /// frames from 4 GiB on, distances 10 and 20. For tests and small explored worlds.
    pub fn uniform(nodes: u16, cpus_per_node: u16, pages_per_node: u64) -> Self {
        let base = 1 << 20;
        let nodes: Vec<Node> = (0..nodes)
            .map(|n| Node {
                id: NodeId(n),
                distances: (0..nodes).map(|m| if m == n { 10 } else { 20 }).collect(),
                zones: vec![Zone::whole(
                    ZoneIdx::Normal,
                    base + u64::from(n) * pages_per_node,
                    pages_per_node,
                )],
            })
            .collect();
        let cpus = nodes
            .iter()
            .flat_map(|n| std::iter::repeat_n(n.id, usize::from(cpus_per_node)))
            .enumerate()
            .map(|(i, node)| Cpu { node, os_index: i as u32, host_cpu: None })
            .collect();
        Self {
            name: "uniform".to_owned(),
            nodes,
            cpus,
            block_pages: DEFAULT_BLOCK_PAGES,
            settings: Settings { thp: false, ..Settings::default() },
        }
    }

    /// Refuses what can't be modelled.
    ///
    /// # Errors
    /// The first thing that is wrong, with the node and zone.
    pub fn validate(&self) -> Result<(), MachineError> {
        if self.nodes.is_empty() {
            return Err(MachineError::NoNodes);
        }
        for pair in self.nodes.windows(2) {
            if pair[0].id >= pair[1].id {
                return Err(MachineError::NodeOrder(pair[1].id.0));
            }
        }
        for node in &self.nodes {
            if node.id.index() >= MAX_NUMNODES {
                return Err(MachineError::TooManyNodes(u32::from(node.id.0)));
            }
            if node.distances.len() != self.nodes.len() {
                return Err(MachineError::Distances {
                    node: node.id.0,
                    found: node.distances.len(),
                    nodes: self.nodes.len(),
                });
            }
            node.validate_zones()?;
        }
        self.validate_cpus()?;
        if self.managed_pages() == 0 {
            return Err(MachineError::NoMemory);
        }
        self.validate_overlap()
    }

    fn validate_cpus(&self) -> Result<(), MachineError> {
        if self.cpus.is_empty() {
            return Err(MachineError::NoCpus);
        }
        if self.cpus.len() > usize::from(u16::MAX) {
            return Err(MachineError::TooManyCpus(self.cpus.len()));
        }
        match self.cpus.iter().find(|c| self.node(c.node).is_none()) {
            Some(cpu) => Err(MachineError::CpuNode { cpu: cpu.os_index, node: cpu.node.0 }),
            None => Ok(()),
        }
    }

    /// Zones of different nodes may interleave in pfn order only as wholes, as the frame table
    /// keeps the zone of a frame by range.
    fn validate_overlap(&self) -> Result<(), MachineError> {
        let mut spans: Vec<(u64, u64, NodeId, ZoneIdx)> = self
            .nodes
            .iter()
            .flat_map(|n| n.zones.iter().map(|z| (z.start_pfn, z.end_pfn(), n.id, z.idx)))
            .filter(|s| s.0 < s.1)
            .collect();
        spans.sort_unstable();
        for pair in spans.windows(2) {
            if pair[1].0 < pair[0].1 {
                return Err(MachineError::Overlap {
                    a_node: pair[0].2.0,
                    a_zone: pair[0].3.name(),
                    b_node: pair[1].2.0,
                    b_zone: pair[1].3.name(),
                    pfn: pair[1].0,
                });
            }
        }
        Ok(())
    }
}

impl Node {
    fn validate_zones(&self) -> Result<(), MachineError> {
        let err = |z: &Zone, what: String| {
            Err(MachineError::Zone { node: self.id.0, zone: z.idx.name(), what })
        };
        for pair in self.zones.windows(2) {
            if pair[0].idx >= pair[1].idx {
                return err(&pair[1], "stands twice or out of order".to_owned());
            }
        }
        for z in &self.zones {
            if z.present_pages > z.spanned_pages {
                return err(
                    z,
                    format!("present {} > spanned {}", z.present_pages, z.spanned_pages),
                );
            }
            if z.managed_pages > z.present_pages {
                return err(
                    z,
                    format!("managed {} > present {}", z.managed_pages, z.present_pages),
                );
            }
            if z.start_pfn.checked_add(z.spanned_pages).is_none_or(|end| end >= MAX_PFN) {
                return err(z, format!("reaches past pfn {MAX_PFN:#x}"));
            }
            let ranges = z.managed_ranges();
            if ranges.iter().map(|r| r.1).sum::<u64>() != z.managed_pages {
                return err(z, "the managed ranges don't sum up to managed_pages".to_owned());
            }
            let ordered = ranges.windows(2).all(|p| p[0].0 + p[0].1 <= p[1].0);
            let inside = ranges.iter().all(|r| r.0 >= z.start_pfn && r.0 + r.1 <= z.end_pfn());
            if !ordered || !inside {
                return err(z, "the managed ranges overlap or leave the span".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_machine_is_valid() {
        let m = Machine::uniform(2, 1, 2048);
        assert_eq!(m.validate(), Ok(()));
        assert_eq!(m.distance(NodeId(0), NodeId(1)), 20);
        assert_eq!(m.managed_pages(), 4096);
    }

    #[test]
    fn bad_machines_are_named_and_refused() {
        let mut m = Machine::uniform(2, 1, 2048);
        m.nodes[1].distances.pop();
        assert!(matches!(m.validate(), Err(MachineError::Distances { node: 1, .. })));
        let mut m = Machine::uniform(2, 0, 2048);
        assert_eq!(m.validate(), Err(MachineError::NoCpus));
        m = Machine::uniform(2, 1, 2048);
        m.nodes[1].zones[0].start_pfn -= 1;
        assert!(matches!(m.validate(), Err(MachineError::Overlap { .. })));
        m = Machine::uniform(2, 1, 2048);
        m.nodes[1].id = NodeId(1024);
        assert!(matches!(m.validate(), Err(MachineError::TooManyNodes(1024))));
        m = Machine::uniform(1, 1, 2048);
        m.nodes[0].zones[0].managed_pages = 4096;
        assert!(matches!(m.validate(), Err(MachineError::Zone { .. })));
    }
}
