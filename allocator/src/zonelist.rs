//! Zonelists (stub: node order and rebuild are being written).

use crate::ids::{NodeId, ZoneId};
use crate::machine::Machine;
use crate::sync::atomic::{AtomicU32, Ordering};

#[derive(Debug, Default)]
struct ZoneRef {
    zone: AtomicU32,
    idx: AtomicU32,
}

/// One zonelist.
#[derive(Debug)]
pub struct Zonelist {
    entries: Box<[ZoneRef]>,
}

impl Zonelist {
    /// The zone at a position; None: null.
    #[inline]
    pub fn zone(&self, position: usize) -> Option<ZoneId> {
        self.entries[position].zone.load(Ordering::Relaxed).checked_sub(1).map(|z| ZoneId(z as u16))
    }

    /// The zone index at a position.
    #[inline]
    pub fn idx(&self, position: usize) -> u32 {
        self.entries[position].idx.load(Ordering::Relaxed)
    }

    /// Is it the array's last entry?
    #[inline]
    pub fn is_end(&self, position: usize) -> bool {
        position + 1 >= self.entries.len()
    }

    fn of(zones: &[ZoneId], len: usize) -> Self {
        let entries: Box<[ZoneRef]> = (0..len).map(|_| ZoneRef::default()).collect();
        for (entry, id) in entries.iter().zip(zones) {
            entry.zone.store(u32::from(id.0) + 1, Ordering::Relaxed);
            entry.idx.store(id.zone_idx() as u32, Ordering::Relaxed);
        }
        Self { entries }
    }
}

/// All zonelists.
#[derive(Debug)]
pub struct Zonelists {
    lists: Vec<Option<(Zonelist, Zonelist)>>,
}

impl Zonelists {
    /// By distance.
    pub fn new(nr_node_ids: usize, machine: &Machine) -> Self {
        let mut lists: Vec<Option<(Zonelist, Zonelist)>> = (0..nr_node_ids).map(|_| None).collect();
        let total: usize = machine.nodes.iter().map(|n| n.zones.len()).sum();
        for node in &machine.nodes {
            let mut order: Vec<&crate::machine::Node> = machine.nodes.iter().collect();
            order.sort_by_key(|n| (machine.distance(node.id, n.id), n.id));
            let zones = |n: &crate::machine::Node| -> Vec<ZoneId> {
                n.zones.iter().rev().map(|z| ZoneId::new(n.id, z.idx)).collect()
            };
            let all: Vec<ZoneId> = order.iter().flat_map(|n| zones(n)).collect();
            lists[node.id.index()] =
                Some((Zonelist::of(&all, total + 1), Zonelist::of(&zones(node), total + 1)));
        }
        Self { lists }
    }

    /// ZONELIST_FALLBACK of a node.
    pub fn fallback(&self, nid: NodeId) -> &Zonelist {
        &self.lists[nid.index()].as_ref().expect("an online node has zonelists").0
    }

    /// ZONELIST_NOFALLBACK of a node.
    pub fn nofallback(&self, nid: NodeId) -> &Zonelist {
        &self.lists[nid.index()].as_ref().expect("an online node has zonelists").1
    }
}
