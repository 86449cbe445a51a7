//! Nodes, CPUs and distances out of an hwloc topology: this host's, an XML file's, or a synthetic
//! string's.
//!
//! **Differs.** hwloc gives a node without CPUs the CPUs that are nearest to it; the kernel gives
//! it none. A CPU that several nodes claim belongs to the one that claims fewest CPUs, and of equals
//! to the one with the lowest number, which is where the kernel has it. hwloc leaves offline CPUs
//! out.

use std::collections::BTreeMap;

use hwlocality::Topology;
use hwlocality::object::TopologyObject;
use hwlocality::object::attributes::ObjectAttributes;
use hwlocality::object::distance::DistancesKind;
use hwlocality::object::types::ObjectType;

use super::lists::IdList;

/// Distance of a node to itself.
pub const LOCAL_DISTANCE: u8 = 10;
/// Distance of another node on a machine that does not tell.
pub const REMOTE_DISTANCE: u8 = 20;

/// The nodes of a machine, ascending by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Nodes.
    pub nodes: Vec<LayoutNode>,
    /// A row for each node, if the machine tells.
    pub distances: Option<Vec<Vec<u64>>>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutNode {
    /// Its number.
    pub id: u32,
    /// Its CPUs, online ones only.
    pub cpus: IdList,
    /// Its memory.
    pub memory_bytes: u64,
}

impl Layout {
    /// Reads a topology.
    pub fn of(topology: &Topology) -> Self {
        let mut objects: Vec<&TopologyObject> = topology
            .objects_with_type(ObjectType::NUMANode)
            .filter(|o| o.os_index().is_some())
            .collect();
        objects.sort_by_key(|o| o.os_index());
        let online: IdList = cpus_of_set(topology.cpuset().iter_set().map(usize::from));
        let claims: Vec<(u32, IdList)> = objects
            .iter()
            .map(|o| {
                let set = o.cpuset().map(|set| cpus_of_set(set.iter_set().map(usize::from)));
                let cpus = set.unwrap_or_default().iter().filter(|&c| online.contains(c)).collect();
                (os_index(o), cpus)
            })
            .collect();
        let mut cpus = settle(&claims);
        let nodes = objects
            .iter()
            .map(|o| LayoutNode {
                id: os_index(o),
                cpus: cpus.remove(&os_index(o)).unwrap_or_default(),
                memory_bytes: match o.attributes() {
                    Some(ObjectAttributes::NUMANode(a)) => a.local_memory().map_or(0, |m| m.get()),
                    _ => 0,
                },
            })
            .collect();
        Self { nodes, distances: distances(topology, &objects) }
    }

    /// Distance between two nodes by position; 10 and 20 if the machine does not tell.
    ///
    /// # Errors
    /// A distance that the kernel refuses: below 10, above 255, or a node not 10 from itself.
    pub fn distance(&self, from: usize, to: usize) -> Result<u8, String> {
        let Some(distances) = &self.distances else {
            return Ok(if from == to { LOCAL_DISTANCE } else { REMOTE_DISTANCE });
        };
        let (a, b) = (self.nodes[from].id, self.nodes[to].id);
        check_distance(a, b, distances[from][to])
    }
}

/// A distance as the kernel takes it.
///
/// # Errors
/// Below 10, above 255, or a node that is not 10 from itself.
pub fn check_distance(from: u32, to: u32, distance: u64) -> Result<u8, String> {
    match u8::try_from(distance) {
        Ok(d) if from == to && d != LOCAL_DISTANCE => {
            Err(format!("node {from} is {d} from itself: must be {LOCAL_DISTANCE}"))
        }
        Ok(d) if d >= LOCAL_DISTANCE => Ok(d),
        _ => Err(format!("distance {distance} of node {from} to node {to}: must be 10 to 255")),
    }
}

fn os_index(object: &TopologyObject) -> u32 {
    object.os_index().and_then(|i| u32::try_from(i).ok()).unwrap_or(u32::MAX)
}

fn cpus_of_set(ids: impl Iterator<Item = usize>) -> IdList {
    ids.filter_map(|i| u32::try_from(i).ok()).collect()
}

/// Which CPUs each node really has, out of the CPUs that each claims.
fn settle(claims: &[(u32, IdList)]) -> BTreeMap<u32, IdList> {
    let mut owner: BTreeMap<u32, (usize, u32)> = BTreeMap::new();
    for (node, cpus) in claims {
        for cpu in cpus.iter() {
            let claim = (cpus.len(), *node);
            let best = owner.entry(cpu).or_insert(claim);
            *best = claim.min(*best);
        }
    }
    let owned = |node: u32| owner.iter().filter(move |(_, o)| o.1 == node).map(|(&cpu, _)| cpu);
    claims.iter().map(|(node, _)| (*node, owned(*node).collect())).collect()
}

fn distances(topology: &Topology, nodes: &[&TopologyObject]) -> Option<Vec<Vec<u64>>> {
    let all = topology.distances(Some(DistancesKind::MEANS_LATENCY)).ok()?;
    all.iter().find_map(|matrix| {
        let rows = nodes.iter().map(|from| {
            let from = matrix.object_idx(from)?;
            nodes
                .iter()
                .map(|to| {
                    let to = matrix.object_idx(to)?;
                    matrix.distances().get(from * matrix.num_objects() + to).copied()
                })
                .collect::<Option<Vec<u64>>>()
        });
        rows.collect::<Option<Vec<_>>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> IdList {
        text.parse().unwrap()
    }

    #[test]
    fn a_node_without_cpus_claims_its_neighbours_in_vain() {
        let claims = [(0, list("0-3")), (1, list("4-7")), (2, list("0-7")), (5, list("4-7"))];
        let settled: Vec<String> = settle(&claims).values().map(ToString::to_string).collect();
        assert_eq!(settled, ["0-3", "4-7", "", ""]);
    }

    #[test]
    fn distances_are_what_a_slit_may_hold() {
        assert_eq!(check_distance(0, 0, 10), Ok(10));
        assert_eq!(check_distance(0, 1, 254), Ok(254));
        assert!(check_distance(0, 1, 9).is_err());
        assert!(check_distance(0, 1, 256).is_err());
        assert!(check_distance(1, 1, 20).is_err());
    }
}
