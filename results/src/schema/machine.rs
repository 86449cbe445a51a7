//! The machine that was modelled, as far as a reader of results needs it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The modelled machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Where it came from: `host`, a file, a directory, `synthetic:...`, and what was changed.
    pub source: String,
    /// Model CPUs.
    pub cpus: u32,
    /// Nodes in order of id.
    pub nodes: Vec<MachineNode>,
    /// Zones, node by node, in the kernel's order.
    pub zones: Vec<MachineZone>,
}

/// A node of the modelled machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineNode {
    /// Kernel's node id.
    pub id: u32,
    /// Its CPUs in the kernel's list syntax.
    pub cpus: String,
    /// Pages that the buddy manages.
    pub managed_pages: u64,
    /// Distances to all nodes, in order of id.
    pub distances: Vec<u32>,
}

/// A zone of the modelled machine; all sizes in 4 KiB pages, under the names of /proc/zoneinfo.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineZone {
    /// Its node.
    pub node: u32,
    /// Kernel's name (`DMA`, `DMA32`, `Normal`, `Movable`).
    pub name: String,
    /// First to last pfn, holes included.
    pub spanned: u64,
    /// Without holes.
    pub present: u64,
    /// Managed by the buddy.
    pub managed: u64,
    /// The min watermark.
    pub min: u64,
    /// The low watermark.
    pub low: u64,
    /// The high watermark.
    pub high: u64,
}

impl Machine {
    /// A hash of what makes two modelled machines the same one: CPUs, nodes, distances and, roughly,
    /// memory. `source` is left out, since a captured directory equals its host; zones are, since
    /// their borders and marks follow from the release, and two variants may stand for two.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = format!("cpus {}\n", self.cpus);
        for node in &self.nodes {
            let pages = crate::host::rounded(node.managed_pages);
            text.push_str(&format!(
                "node {} {} {pages} {:?}\n",
                node.id, node.cpus, node.distances
            ));
        }
        crate::host::hash(&text)
    }

    /// The zones and, roughly, their sizes: equal for two runs of one release on one machine.
    #[must_use]
    pub fn zones_in_brief(&self) -> String {
        let one = |z: &MachineZone| {
            format!("{}:{} {} pages", z.node, z.name, crate::host::rounded(z.managed))
        };
        self.zones.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}
