//! Zonelists: for each node, all zones in the order in which an allocation tries them.
//!
//! **What.** [`Zonelist`] is one array of zonerefs that is rewritten in place, store by store;
//! [`first_zones_zonelist`](Zonelist::first_zones_zonelist) and its next walk it by position.
//! [`NodeOrders`] computes fallback orders, [`Zonelists::rebuild`] writes all lists
//! (docs/kernel/zonelists.md#a9, #f1).
//!
//! **Why.** No copy is made and no pointer swapped: a position that was kept across a rebuild may
//! denote another zone, or the end. That is the race of the `zonelist` axis, so positions are plain
//! indices into an array whose entries change under them.
//!
//! **Source.** mm/page_alloc.c: build_zonelists, find_next_best_node, build_zonerefs_node,
//! __build_all_zonelists; include/linux/mmzone.h: for_each_zone_zonelist_nodemask.
//!
//! **Differs.** The arrays are as long as zones can ever be populated, not MAX_NUMNODES times
//! MAX_NR_ZONES; the last entry is always null, as there. Up to 4.13 only "node order" is modelled.
//! What is around a rebuild (Z1 to Z5: locks, the sequence, printing) is [`update`]'s.

pub mod update;

use crate::ids::{NodeId, ZoneId, ZoneIdx};
use crate::machine::Machine;
use crate::nodemask::{AtomicNodeMask, NodeMask};
use crate::policy::Release;
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// An entry: a zone and its index, stored one after the other.
#[derive(Debug, Default)]
struct ZoneRef {
    /// 0: null, else the zone's id + 1.
    zone: AtomicU32,
    /// The zone's index, kept beside it so that a walk needn't touch the zone; 0 for null.
    idx: AtomicU32,
}

/// Which nodes a walk may use: `ac->nodemask`.
#[derive(Clone, Copy, Debug)]
pub enum Nodes<'a> {
    /// No mask.
    Any,
    /// A mask that others may be rewriting.
    Live(&'a AtomicNodeMask),
    /// A mask that nobody changes.
    Fixed(&'a NodeMask),
}

impl Nodes<'_> {
    /// May the node be used, as the mask is now?
    #[inline]
    pub fn allow(&self, node: NodeId) -> bool {
        match self {
            Self::Any => true,
            Self::Live(mask) => mask.test(node),
            Self::Fixed(mask) => mask.test(node),
        }
    }
}

/// A list of zones, the preferred one first, ended by a null zone.
#[derive(Debug)]
pub struct Zonelist {
    refs: Box<[ZoneRef]>,
}

/// A part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The zone pointer; stored first.
    Zone,
    /// The zone index.
    Idx,
}

impl Zonelist {
    /// An empty list with room for `zones` zones.
    pub fn new(zones: usize) -> Self {
        Self { refs: (0..=zones).map(|_| ZoneRef::default()).collect() }
    }

    /// The zone at a position now; none at the end of the list.
    #[inline]
    pub fn zone(&self, pos: usize) -> Option<ZoneId> {
        // Relaxed, here and below: the kernel's walkers read by plain loads.
        let zone = self.refs.get(pos)?.zone.load(Relaxed);
        zone.checked_sub(1).map(|id| ZoneId(id as u16))
    }

    /// Is it the array's last entry, which is always null?
    #[inline]
    pub fn is_end(&self, pos: usize) -> bool {
        pos + 1 >= self.refs.len()
    }

    /// The index stored at a position now; 0 at the end.
    #[inline]
    pub fn idx(&self, pos: usize) -> u32 {
        self.refs.get(pos).map_or(0, |r| r.idx.load(Relaxed))
    }

    /// The first position at or after `pos` whose index is at most `highest` and whose node is
    /// allowed; or the end of the list, whose zone is null (`next_zones_zonelist`).
    ///
    /// A walk is `pos = first`, then `next(pos + 1)` while [`zone`](Self::zone) isn't null. The
    /// position that a walk starts from isn't tested again.
    #[inline]
    pub fn next_zones_zonelist(&self, mut pos: usize, highest: ZoneIdx, nodes: Nodes<'_>) -> usize {
        let highest = highest as u32;
        while let Some(entry) = self.refs.get(pos) {
            if entry.idx.load(Relaxed) <= highest {
                match entry.zone.load(Relaxed).checked_sub(1) {
                    None => return pos,
                    Some(id) if nodes.allow(ZoneId(id as u16).node()) => return pos,
                    Some(_) => {}
                }
            }
            pos += 1;
        }
        pos
    }

    /// The first position that a request may use (`first_zones_zonelist`).
    #[inline]
    pub fn first_zones_zonelist(&self, highest: ZoneIdx, nodes: Nodes<'_>) -> usize {
        self.next_zones_zonelist(0, highest, nodes)
    }

    /// Walks all zones that a request may use, as the list is now (`for_each_zone_zonelist`).
    pub fn walk<'a>(
        &'a self,
        highest: ZoneIdx,
        nodes: Nodes<'a>,
    ) -> impl Iterator<Item = ZoneId> + 'a {
        let mut pos = self.first_zones_zonelist(highest, nodes);
        std::iter::from_fn(move || {
            let zone = self.zone(pos)?;
            pos = self.next_zones_zonelist(pos + 1, highest, nodes);
            Some(zone)
        })
    }

    /// The list ends at `end`, where its writer has put the null zone, and names no zone twice;
    /// only with debug assertions, and under what its writer holds.
    #[cfg_attr(debug_assertions, track_caller)]
    fn check(&self, end: usize) {
        if !cfg!(debug_assertions) {
            return;
        }
        let zones: Vec<ZoneId> = (0..).map_while(|pos| self.zone(pos)).collect();
        assert_eq!(zones.len(), end, "a zonelist has no end behind its last zone");
        let end = self.idx(zones.len());
        assert_eq!(end, 0, "a zonelist's end has index {end}, which short walks step over");
        for (pos, zone) in zones.iter().enumerate() {
            assert_eq!(self.idx(pos), zone.zone_idx() as u32, "zone and index of an entry differ");
            assert!(!zones[..pos].contains(zone), "a zonelist names {zone:?} twice");
        }
    }

    /// Stores an entry, or the terminator, in the kernel's order: zone, then index. `hook` is
    /// called before each store.
    fn store(&self, pos: usize, zone: Option<ZoneId>, hook: &mut impl FnMut(usize, Field)) {
        // A list that has no room left ends where its array does.
        debug_assert!(zone.is_none() || pos + 1 < self.refs.len(), "zonelist too short");
        let Some(entry) = self.refs.get(pos) else { return };
        hook(pos, Field::Zone);
        entry.zone.store(zone.map_or(0, |z| u32::from(z.0) + 1), Relaxed);
        hook(pos, Field::Idx);
        entry.idx.store(zone.map_or(0, |z| z.zone_idx() as u32), Relaxed);
    }
}

/// Both lists of a node.
#[derive(Debug)]
pub struct NodeZonelists {
    /// ZONELIST_FALLBACK: all nodes.
    pub fallback: Zonelist,
    /// ZONELIST_NOFALLBACK: its own zones only, for __GFP_THISNODE.
    pub nofallback: Zonelist,
}

/// Which of a node's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// ZONELIST_FALLBACK.
    Fallback,
    /// ZONELIST_NOFALLBACK.
    Nofallback,
}

/// What a rebuild is about to do; the caller puts race points and prints here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildStep<'a> {
    /// Z3a: the order of nodes was chosen for this node.
    Order {
        /// Whose lists come next.
        node: NodeId,
        /// The nodes in fallback order.
        order: &'a [NodeId],
    },
    /// Z3b, Z3c: before the store of one word.
    Store {
        /// Whose list.
        node: NodeId,
        /// Which one.
        list: ListKind,
        /// Which entry.
        pos: usize,
        /// Which part of it.
        field: Field,
    },
    /// Z3d: both lists are written; 5.16 and later print the order here, inside the lock.
    Built {
        /// Whose lists.
        node: NodeId,
        /// The nodes in fallback order.
        order: &'a [NodeId],
    },
}

/// What zonelists are built from.
pub trait ZonelistView {
    /// Nodes whose lists are built, ascending. Online ones up to 5.17, possible ones later: here the
    /// same, since no node comes that was not there at boot.
    fn nodes(&self) -> &[NodeId];
    /// Is the node in N_MEMORY?
    fn has_memory(&self, node: NodeId) -> bool;
    /// Has it CPUs that are known by now? At boot none is.
    fn has_cpus(&self, node: NodeId) -> bool;
    /// Distance between two nodes.
    fn distance(&self, from: NodeId, to: NodeId) -> u8;
    /// Does the zone belong into lists: present pages from 5.18 on, managed ones before
    /// ([`Release::zonelists_hold_populated`])?
    fn zone_qualifies(&self, zone: ZoneId) -> bool;
}

/// Fallback orders of one rebuild: the nodes' loads are kept from list to list.
#[derive(Debug)]
pub struct NodeOrders {
    release: Release,
    node_load: Vec<u64>,
}

impl NodeOrders {
    /// Loads at 0 (Z2).
    pub fn new(release: Release, nr_node_ids: usize) -> Self {
        Self { release, node_load: vec![0; nr_node_ids] }
    }

    /// Z3a: nodes in the order in which `local` falls back on them. Must be called for each node
    /// in ascending order, as the loads that it leaves are the next one's.
    pub fn order(&mut self, view: &impl ZonelistView, local: NodeId) -> Vec<NodeId> {
        let release = self.release;
        let nr_online = view.nodes().len() as u64;
        let weight = release.node_distance_weight(nr_online);
        // Loads change only for nodes already chosen, so that one sort is as good as choosing the
        // best node again and again.
        let mut rest: Vec<(u64, NodeId)> = view
            .nodes()
            .iter()
            .filter(|n| **n != local && view.has_memory(**n))
            .map(|&n| {
                let distance = u64::from(view.distance(local, n));
                let penalty = u64::from(n < local) + u64::from(view.has_cpus(n));
                ((distance + penalty) * weight + self.node_load[n.index()], n)
            })
            .collect();
        rest.sort_unstable();
        let mut order = Vec::with_capacity(rest.len() + 1);
        if view.has_memory(local) || release.memoryless_node_heads_its_list() {
            order.push(local);
        }
        order.extend(rest.into_iter().map(|(_, n)| n));
        let mut previous = local;
        for (load, &n) in (1..=nr_online).rev().zip(&order) {
            if view.distance(local, n) != view.distance(local, previous) {
                if release.node_load_accumulates() {
                    self.node_load[n.index()] += 1;
                } else {
                    self.node_load[n.index()] = load;
                }
            }
            previous = n;
        }
        order
    }
}

/// Fallback orders of all nodes, as one rebuild would give them.
pub fn fallback_orders(release: Release, view: &impl ZonelistView) -> Vec<(NodeId, Vec<NodeId>)> {
    let nr_node_ids = view.nodes().last().map_or(0, |n| n.index() + 1);
    let mut orders = NodeOrders::new(release, nr_node_ids);
    view.nodes().iter().map(|&node| (node, orders.order(view, node))).collect()
}

/// The line that the kernel prints for a node's order: `Fallback order for Node 0: 0 1 `.
pub fn fallback_order_line(node: NodeId, order: &[NodeId]) -> String {
    let mut line = format!("Fallback order for Node {node}: ");
    for n in order {
        line.push_str(&format!("{n} "));
    }
    line
}

/// All nodes' lists.
#[derive(Debug)]
pub struct Zonelists {
    /// By node id; nodes that don't exist have none.
    nodes: Box<[Option<NodeZonelists>]>,
    /// Beginnings and ends of rebuilds so far: odd inside one.
    version: AtomicU32,
}

impl Zonelists {
    /// Empty lists for `nodes`, with room for `zones`: all zones that can ever be populated.
    pub fn new(nodes: &[NodeId], zones: &[ZoneId]) -> Self {
        let nr_node_ids = nodes.last().map_or(0, |n| n.index() + 1);
        let mut lists: Vec<Option<NodeZonelists>> = (0..nr_node_ids).map(|_| None).collect();
        for &node in nodes {
            lists[node.index()] = Some(NodeZonelists {
                fallback: Zonelist::new(zones.len()),
                nofallback: Zonelist::new(zones.iter().filter(|z| z.node() == node).count()),
            });
        }
        Self { nodes: lists.into(), version: AtomicU32::new(0) }
    }

    /// Changes before the first store of a rebuild, to an odd number, and after the last one.
    #[inline]
    pub fn version(&self) -> u32 {
        self.version.load(Relaxed)
    }

    /// A copy of each node's fallback list with the zones of some nodes only, as the lists are now.
    pub fn restricted_to(&self, nodes: &NodeMask) -> Box<[Option<Zonelist>]> {
        let copy = |lists: &NodeZonelists| {
            let zones: Vec<ZoneId> =
                lists.fallback.walk(ZoneIdx::Movable, Nodes::Fixed(nodes)).collect();
            let copy = Zonelist::new(zones.len());
            for (pos, zone) in zones.into_iter().enumerate() {
                copy.store(pos, Some(zone), &mut |_, _| {});
            }
            copy
        };
        self.nodes.iter().map(|lists| lists.as_ref().map(copy)).collect()
    }

    /// Both lists of a node.
    ///
    /// # Panics
    /// If the machine has no such node.
    #[inline]
    pub fn of(&self, node: NodeId) -> &NodeZonelists {
        match self.nodes.get(node.index()) {
            Some(Some(lists)) => lists,
            Some(None) | None => panic!("node {node} has no zonelists"),
        }
    }

    /// ZONELIST_FALLBACK of a node.
    #[inline]
    pub fn fallback(&self, node: NodeId) -> &Zonelist {
        &self.of(node).fallback
    }

    /// ZONELIST_NOFALLBACK of a node.
    #[inline]
    pub fn nofallback(&self, node: NodeId) -> &Zonelist {
        &self.of(node).nofallback
    }

    /// Writes all lists (Z2, Z3); `step` is called before each step. The caller holds what its
    /// release holds around a rebuild.
    pub fn rebuild(
        &self,
        release: Release,
        view: &impl ZonelistView,
        mut step: impl FnMut(RebuildStep<'_>),
    ) {
        self.version.fetch_add(1, Relaxed);
        let mut orders = NodeOrders::new(release, self.nodes.len());
        for &node in view.nodes() {
            let order = orders.order(view, node);
            step(RebuildStep::Order { node, order: &order });
            self.build_node(release, view, node, &order, &mut step);
            step(RebuildStep::Built { node, order: &order });
        }
        self.version.fetch_add(1, Relaxed);
    }

    fn build_node(
        &self,
        release: Release,
        view: &impl ZonelistView,
        node: NodeId,
        order: &[NodeId],
        step: &mut impl FnMut(RebuildStep<'_>),
    ) {
        let NodeZonelists { fallback, nofallback } = self.of(node);
        let old = release.zonelist_is_cleared_first();
        if old {
            fallback.store(0, None, &mut hook(node, ListKind::Fallback, step));
            nofallback.store(0, None, &mut hook(node, ListKind::Nofallback, step));
        }
        let mut hook_fallback = hook(node, ListKind::Fallback, step);
        let mut pos = 0;
        for &n in order {
            pos = build_zonerefs_node(fallback, view, n, pos, &mut hook_fallback);
            if old {
                fallback.store(pos, None, &mut hook_fallback);
            }
        }
        if !old {
            fallback.store(pos, None, &mut hook_fallback);
        }
        drop(hook_fallback);
        fallback.check(pos);
        let mut hook_nofallback = hook(node, ListKind::Nofallback, step);
        let pos = build_zonerefs_node(nofallback, view, node, 0, &mut hook_nofallback);
        nofallback.store(pos, None, &mut hook_nofallback);
        nofallback.check(pos);
    }

    /// Bytes that the lists take.
    pub fn bytes(&self) -> usize {
        let lists = self.nodes.iter().flatten();
        lists
            .map(|l| (l.fallback.refs.len() + l.nofallback.refs.len()) * size_of::<ZoneRef>())
            .sum()
    }
}

fn hook<'s>(
    node: NodeId,
    list: ListKind,
    step: &'s mut impl FnMut(RebuildStep<'_>),
) -> impl FnMut(usize, Field) + 's {
    move |pos, field| step(RebuildStep::Store { node, list, pos, field })
}

/// Appends a node's zones from the highest index down; returns the next position.
fn build_zonerefs_node(
    list: &Zonelist,
    view: &impl ZonelistView,
    node: NodeId,
    mut pos: usize,
    hook: &mut impl FnMut(usize, Field),
) -> usize {
    for idx in ZoneIdx::ALL.into_iter().rev() {
        let zone = ZoneId::new(node, idx);
        if view.zone_qualifies(zone) {
            list.store(pos, Some(zone), hook);
            pos += 1;
        }
    }
    pos
}

/// A machine as it stands at boot: no CPU is known yet, a node has memory if a zone is present.
#[derive(Debug)]
pub struct BootView<'a> {
    machine: &'a Machine,
    release: Release,
    nodes: Vec<NodeId>,
    distances: Distances,
}

impl<'a> BootView<'a> {
    /// The machine at boot.
    pub fn new(machine: &'a Machine, release: Release) -> Self {
        let nodes = machine.nodes.iter().map(|n| n.id).collect();
        Self { machine, release, nodes, distances: Distances::of(machine) }
    }
}

impl ZonelistView for BootView<'_> {
    fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    fn has_memory(&self, node: NodeId) -> bool {
        self.machine.node(node).is_some_and(|n| n.zones.iter().any(|z| z.present_pages > 0))
    }

    fn has_cpus(&self, _: NodeId) -> bool {
        false
    }

    fn distance(&self, from: NodeId, to: NodeId) -> u8 {
        self.distances.get(from, to)
    }

    fn zone_qualifies(&self, zone: ZoneId) -> bool {
        let node = self.machine.node(zone.node());
        node.and_then(|n| n.zones.iter().find(|z| z.idx == zone.zone_idx())).is_some_and(|z| {
            if self.release.zonelists_hold_populated() {
                z.present_pages > 0
            } else {
                z.managed_pages > 0
            }
        })
    }
}

/// Distances by node id, without a search.
#[derive(Clone, Debug)]
pub struct Distances {
    nr_node_ids: usize,
    table: Box<[u8]>,
}

impl Distances {
    /// A machine's distances.
    pub fn of(machine: &Machine) -> Self {
        let nr_node_ids = machine.nr_node_ids();
        let mut table = vec![0; nr_node_ids * nr_node_ids];
        for from in &machine.nodes {
            for (to, distance) in machine.nodes.iter().zip(&from.distances) {
                table[from.id.index() * nr_node_ids + to.id.index()] = *distance;
            }
        }
        Self { nr_node_ids, table: table.into() }
    }

    /// Distance between two nodes that exist.
    #[inline]
    pub fn get(&self, from: NodeId, to: NodeId) -> u8 {
        self.table[from.index() * self.nr_node_ids + to.index()]
    }
}

#[cfg(test)]
mod tests;
