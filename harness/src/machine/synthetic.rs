//! Machines out of hwloc descriptions: synthetic strings and XML files.
//!
//! **What.** `synthetic:pack:2 [numa(memory=16GB)] core:8 pu:2` or what `lstopo host.xml` wrote on
//! another host: nodes, their memory and CPUs, and distances, 10 and 20 where there are none.
//!
//! **Why.** hwloc's strings are what engineers know for describing topologies.
//!
//! **Differs.** Such a description says nothing of zones, so memory is laid out from address 0 up as
//! on an x86-64 machine without holes.

use std::path::Path;

use allocator::ids::{MAX_NUMNODES, NodeId};
use allocator::machine::{Cpu, DEFAULT_BLOCK_PAGES, Machine, MachineError, Node, Settings};
use hwlocality::Topology;

use super::isolated;
use super::ranges;
use super::topology::Layout;
use super::{Loaded, MachineInputError, Notes};

/// The machine of a synthetic string.
///
/// # Errors
/// If hwloc does not take the string.
pub fn read(string: &str) -> Result<Loaded, MachineInputError> {
    let place = format!("synthetic:{string}");
    let refuse = |what: String| MachineInputError::Input {
        place: place.clone(),
        what: format!("{what}; want something like: pack:2 [numa(memory=16GB)] core:8 pu:2"),
    };
    let leaves = leaves(string);
    if leaves > u64::from(u16::MAX) {
        return Err(refuse(format!(
            "{leaves} CPUs are more than the {} that can be modelled",
            u16::MAX
        )));
    }
    let layout = isolated::layout(|| {
        let builder = Topology::builder().from_synthetic(string).map_err(|e| e.to_string())?;
        Ok(Layout::of(&builder.build().map_err(|e| e.to_string())?))
    });
    machine(&place, &layout.map_err(refuse)?)
}

/// The machine of an hwloc XML file.
///
/// # Errors
/// If it can't be read or hwloc does not take it.
pub fn read_xml(path: &Path) -> Result<Loaded, MachineInputError> {
    let text = super::read_to_string(path)?;
    let refuse = |what: String| MachineInputError::input(path, what);
    let layout = isolated::layout(|| {
        let builder = Topology::builder().from_xml(&text).map_err(|e| e.to_string())?;
        let topology = builder.build().map_err(|e| format!("no hwloc XML: {e}"))?;
        Ok(Layout::of(&topology))
    });
    machine(&path.display().to_string(), &layout.map_err(refuse)?)
}

/// CPUs that a synthetic string describes: the product of its arities, attributes left out.
fn leaves(string: &str) -> u64 {
    let (mut depth, mut outside) = (0_u32, String::new());
    for c in string.chars() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 => outside.push(c),
            _ => {}
        }
    }
    let arity = |word: &str| word.rsplit(':').next().and_then(|n| n.parse::<u64>().ok());
    outside.split_whitespace().filter_map(arity).fold(1, u64::saturating_mul)
}

fn machine(place: &str, layout: &Layout) -> Result<Loaded, MachineInputError> {
    from_layout(place, layout).map(|machine| Loaded {
        machine,
        notes: Notes::default(),
        kernel: None,
    })
}

/// A machine without zones told: memory is laid out by the nodes' sizes.
pub(super) fn from_layout(place: &str, layout: &Layout) -> Result<Machine, MachineInputError> {
    let bad = |what: String| MachineInputError::Input { place: place.to_owned(), what };
    let pages: Vec<u64> = layout.nodes.iter().map(|n| n.memory_bytes / 4096).collect();
    let zones = ranges::lay_out(&pages);
    let mut nodes = Vec::with_capacity(layout.nodes.len());
    let mut cpus = Vec::new();
    for (i, (node, zones)) in layout.nodes.iter().zip(zones).enumerate() {
        let id = node_id(node.id)
            .map_err(|error| MachineInputError::Machine { place: place.to_owned(), error })?;
        let distances = (0..layout.nodes.len()).map(|j| layout.distance(i, j));
        nodes.push(Node {
            id,
            distances: distances.collect::<Result<_, _>>().map_err(bad)?,
            zones,
        });
        cpus.extend(node.cpus.iter().map(|os_index| Cpu { node: id, os_index, host_cpu: None }));
    }
    cpus.sort_by_key(|c| c.os_index);
    Ok(Machine {
        name: place.to_owned(),
        nodes,
        cpus,
        block_pages: DEFAULT_BLOCK_PAGES,
        settings: Settings { thp: true, zone_device: true, ..Settings::default() },
    })
}

/// A node's id, if it is one that can be modelled.
pub(super) fn node_id(id: u32) -> Result<NodeId, MachineError> {
    match u16::try_from(id) {
        Ok(small) if usize::from(small) < MAX_NUMNODES => Ok(NodeId(small)),
        _ => Err(MachineError::TooManyNodes(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synthetic_string_is_a_machine() {
        let m = read("pack:2 [numa(memory=16GB)] core:8 pu:2").unwrap().machine;
        assert_eq!(m.validate(), Ok(()));
        assert_eq!((m.nodes.len(), m.cpus.len()), (2, 32));
        assert_eq!(m.nodes[1].distances, [20, 10]);
        let bytes = m.managed_pages() * 4096 + 4096;
        assert!([32 << 30, 32_000_000_000 / 4096 * 4096].contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_million_cpus_are_refused_before_they_are_made() {
        for string in ["pack:1000 core:1000 pu:1", "numa:99999999999 core:99999999999 pu:9"] {
            let message = read(string).unwrap_err().to_string();
            assert!(message.contains("CPUs are more than the 65535"), "{message}");
        }
        assert_eq!(leaves("pack:2 [numa(memory=16GB)] core:8 pu:2"), 32);
        for string in ["numa:1(memory=99999999999999999999) pu:1", "[[[[", "pu:0", "pu:-1", ""] {
            assert!(
                read(string).map(|l| l.machine.validate()).is_ok_and(|v| v.is_err())
                    || read(string).is_err(),
                "{string}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        let message = read("pack:two").unwrap_err().to_string();
        assert!(message.starts_with("synthetic:pack:two: "), "{message}");
        assert!(message.contains("want something like"), "{message}");
    }
}
