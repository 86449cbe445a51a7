use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::machine::Zone as MachineZone;

/// A machine as plain figures.
#[derive(Clone, Debug)]
struct World {
    nodes: Vec<NodeId>,
    distances: Vec<Vec<u8>>,
    memory: Vec<bool>,
    cpus: Vec<bool>,
    zones: Vec<ZoneId>,
}

impl World {
    /// Every node has memory in Normal.
    fn new(distances: &[&[u8]]) -> Self {
        let nodes: Vec<NodeId> = (0..distances.len()).map(|n| NodeId(n as u16)).collect();
        Self {
            distances: distances.iter().map(|row| row.to_vec()).collect(),
            memory: vec![true; nodes.len()],
            cpus: vec![false; nodes.len()],
            zones: nodes.iter().map(|n| ZoneId::new(*n, ZoneIdx::Normal)).collect(),
            nodes,
        }
    }

    fn orders(&self, release: Release) -> Vec<Vec<u16>> {
        let orders = fallback_orders(release, self);
        orders.into_iter().map(|(_, o)| o.into_iter().map(|n| n.0).collect()).collect()
    }
}

impl ZonelistView for World {
    fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }
    fn has_memory(&self, node: NodeId) -> bool {
        self.memory[node.index()]
    }
    fn has_cpus(&self, node: NodeId) -> bool {
        self.cpus[node.index()]
    }
    fn distance(&self, from: NodeId, to: NodeId) -> u8 {
        self.distances[from.index()][to.index()]
    }
    fn zone_qualifies(&self, zone: ZoneId) -> bool {
        self.zones.contains(&zone)
    }
}

fn ring8() -> Vec<Vec<u8>> {
    (0..8).map(|i| (0..8).map(|j| if i == j { 10 } else { 20 }).collect()).collect()
}

#[test]
fn boots_orders_are_those_that_real_kernels_printed() {
    // Fallback order lines of 6.1 on a ring of four, and on eight equally far nodes.
    let ring: [&[u8]; 4] =
        [&[10, 16, 22, 16], &[16, 10, 16, 22], &[22, 16, 10, 16], &[16, 22, 16, 10]];
    let expected = [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]];
    assert_eq!(World::new(&ring).orders(Release::V6_1), expected);
    let rows = ring8();
    let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    let rotated: Vec<Vec<u16>> = (0..8).map(|l| (0..8).map(|i| (l + i) % 8).collect()).collect();
    assert_eq!(World::new(&rows).orders(Release::V6_1), rotated);
}

#[test]
fn a_node_without_memory_is_left_out_of_others_lists_only() {
    // data: three nodes, node 1 gets memory later; the kernel's lines at boot and after.
    let mut world = World::new(&[&[10, 21, 30], &[21, 10, 20], &[30, 20, 10]]);
    world.memory[1] = false;
    assert_eq!(world.orders(Release::V6_1), [vec![0, 2], vec![1, 2, 0], vec![2, 0]]);
    assert_eq!(world.orders(Release::V6_12), [vec![0, 2], vec![2, 0], vec![2, 0]]);
    world.memory[1] = true;
    world.cpus = vec![true; 3];
    assert_eq!(world.orders(Release::V6_1), [vec![0, 1, 2], vec![1, 2, 0], vec![2, 1, 0]]);
}

#[test]
fn a_rebuild_may_differ_from_boot_where_cpus_break_a_tie() {
    let mut world = World::new(&[&[10, 20, 20], &[20, 10, 20], &[20, 20, 10]]);
    assert_eq!(world.orders(Release::V6_1)[0], [0, 1, 2]);
    world.cpus = vec![true, true, false];
    assert_eq!(world.orders(Release::V6_1)[0], [0, 2, 1]);
}

#[test]
fn the_line_of_an_order_is_the_kernels() {
    let line = fallback_order_line(NodeId(1), &[NodeId(1), NodeId(2), NodeId(0)]);
    assert_eq!(line, "Fallback order for Node 1: 1 2 0 ");
}

/// find_next_best_node as it stands in docs/kernel/zonelists.md#a9: again and again over all nodes.
fn naive_orders(world: &World, release: Release) -> Vec<Vec<u16>> {
    let nr = world.nodes.len() as u64;
    let mut node_load = vec![0; world.nodes.len()];
    let mut orders = Vec::new();
    for &local in &world.nodes {
        let (mut used, mut load, mut previous) = (Vec::new(), nr, local);
        loop {
            let heads = world.has_memory(local) || release.memoryless_node_heads_its_list();
            let next = if !used.contains(&local) && heads {
                Some(local)
            } else {
                world
                    .nodes
                    .iter()
                    .filter(|n| !used.contains(*n) && **n != local && world.has_memory(**n))
                    .min_by_key(|n| {
                        let far = u64::from(world.distance(local, **n));
                        let penalty = u64::from(**n < local) + u64::from(world.has_cpus(**n));
                        let weight = release.node_distance_weight(nr);
                        ((far + penalty) * weight + node_load[n.index()], n.0)
                    })
                    .copied()
            };
            let Some(n) = next else { break };
            if world.distance(local, n) != world.distance(local, previous) {
                if release.node_load_accumulates() {
                    node_load[n.index()] += 1;
                } else {
                    node_load[n.index()] = load;
                }
            }
            used.push(n);
            previous = n;
            load -= 1;
        }
        orders.push(used.into_iter().map(|n| n.0).collect());
    }
    orders
}

fn worlds() -> impl Strategy<Value = World> {
    (1..10usize).prop_flat_map(|n| {
        let row =
            proptest::collection::vec(proptest::sample::select(vec![11, 20, 21, 30u8]), n * n);
        let bits = || proptest::collection::vec(any::<bool>(), n);
        let zones = proptest::collection::vec(any::<bool>(), n * 4);
        (row, bits(), bits(), zones).prop_map(move |(row, cpus, memory, zones)| World {
            nodes: (0..n).map(|i| NodeId(i as u16)).collect(),
            distances: (0..n)
                .map(|i| {
                    (0..n).map(|j| if i == j { 10 } else { row[i.min(j) * n + i.max(j)] }).collect()
                })
                .collect(),
            memory,
            cpus,
            zones: (0..n * 4).filter(|z| zones[*z]).map(|z| ZoneId(z as u16)).collect(),
        })
    })
}

fn all_zones(world: &World) -> Vec<ZoneId> {
    world.nodes.iter().flat_map(|n| ZoneIdx::ALL.map(|idx| ZoneId::new(*n, idx))).collect()
}

proptest! {
    #[test]
    fn one_sort_gives_what_choosing_again_and_again_does(
        world in worlds(), release in proptest::sample::select(Release::ALL.to_vec()),
    ) {
        prop_assert_eq!(world.orders(release), naive_orders(&world, release));
    }

    #[test]
    fn a_walk_meets_each_zone_once_in_order(
        first in worlds(), release in proptest::sample::select(Release::ALL.to_vec()),
        highest in proptest::sample::select(ZoneIdx::ALL.to_vec()), seed in any::<u16>(),
    ) {
        // Twice over the same array: nothing of the first build may stay visible.
        let lists = Zonelists::new(&first.nodes, &all_zones(&first));
        lists.rebuild(release, &first, |_| {});
        let mut second = first.clone();
        second.zones.retain(|z| (seed >> (z.0 % 16)) & 1 == 0);
        lists.rebuild(release, &second, |_| {});
        for (node, order) in fallback_orders(release, &second) {
            let expected: Vec<ZoneId> = order
                .iter()
                .flat_map(|n| ZoneIdx::ALL.into_iter().rev().map(|idx| ZoneId::new(*n, idx)))
                .filter(|z| second.zones.contains(z) && z.zone_idx() <= highest)
                .collect();
            let found: Vec<ZoneId> = lists.fallback(node).walk(highest, Nodes::Any).collect();
            prop_assert_eq!(&found, &expected);
            let mask = NodeMask::of(second.nodes.iter().copied().filter(|n| seed >> (n.0 % 16) & 1 == 1));
            let masked: Vec<ZoneId> =
                lists.fallback(node).walk(highest, Nodes::Fixed(&mask)).collect();
            let expected: Vec<ZoneId> =
                expected.into_iter().filter(|z| mask.test(z.node())).collect();
            prop_assert_eq!(masked, expected);
            let own: Vec<ZoneId> = lists.nofallback(node).walk(highest, Nodes::Any).collect();
            let expected: Vec<ZoneId> = ZoneIdx::ALL
                .into_iter()
                .rev()
                .map(|idx| ZoneId::new(node, idx))
                .filter(|z| second.zones.contains(z) && z.zone_idx() <= highest)
                .collect();
            prop_assert_eq!(own, expected);
        }
    }

    #[test]
    fn a_walk_ends_whatever_stands_in_the_array(
        first in worlds(), second in worlds(), stop in 0..200usize, from in 0..12usize,
    ) {
        // A rebuild that stops after any store leaves a list that every walk comes to an end of.
        let nodes = first.nodes.clone();
        let lists = Zonelists::new(&nodes, &all_zones(&first));
        lists.rebuild(Release::V5_17, &first, |_| {});
        let mut other = first.clone();
        other.zones = second.zones.into_iter().filter(|z| z.node().index() < nodes.len()).collect();
        let mut stores = 0;
        lists.rebuild(Release::V5_17, &other, |step| {
            if let RebuildStep::Store { node, .. } = step {
                stores += 1;
                if stores == stop {
                    for highest in ZoneIdx::ALL {
                        let list = lists.fallback(node);
                        let pos = list.next_zones_zonelist(from, highest, Nodes::Any);
                        assert!(list.walk(highest, Nodes::Any).count() <= all_zones(&first).len());
                        assert!(list.zone(pos).is_none() || list.idx(pos) <= highest as u32);
                    }
                }
            }
        });
    }
}

/// One node with the zones named, rebuilt with others; what a walker sees after each store of its
/// fallback list: entries as `zone/idx`, null as `-`.
fn after_each_store(release: Release, before: &[ZoneIdx], after: &[ZoneIdx]) -> Vec<String> {
    let mut world = World::new(&[&[10]]);
    let zones = |idx: &[ZoneIdx]| idx.iter().map(|i| ZoneId::new(NodeId(0), *i)).collect();
    world.zones = zones(before);
    let lists = Zonelists::new(&world.nodes, &all_zones(&world)[1..]);
    lists.rebuild(release, &world, |_| {});
    world.zones = zones(after);
    let list = lists.fallback(NodeId(0));
    let seen = RefCell::new(Vec::new());
    let look = || {
        let entry = |pos| match list.zone(pos) {
            Some(zone) => format!("{}/{}", zone.zone_idx(), list.idx(pos)),
            None => format!("-/{}", list.idx(pos)),
        };
        (0..4).map(entry).collect::<Vec<_>>().join(" ")
    };
    lists.rebuild(release, &world, |step| match step {
        RebuildStep::Store { list: ListKind::Fallback, .. } => seen.borrow_mut().push(look()),
        RebuildStep::Store { list: ListKind::Nofallback, pos: 0, field: Field::Zone, .. } => {
            seen.borrow_mut().push(look());
        }
        RebuildStep::Store { .. } | RebuildStep::Order { .. } | RebuildStep::Built { .. } => {}
    });
    seen.into_inner()
}

#[test]
fn stores_come_in_the_kernels_order_and_tear_as_its_do() {
    use ZoneIdx::{Dma32, Movable, Normal};
    // docs/kernel/zonelists.md#f1's table: Movable leaves node 0.
    let seen = after_each_store(Release::V5_10, &[Dma32, Normal, Movable], &[Dma32, Normal]);
    assert_eq!(
        seen,
        [
            "Movable/3 Normal/2 DMA32/1 -/0",
            "Normal/3 Normal/2 DMA32/1 -/0",
            "Normal/2 Normal/2 DMA32/1 -/0",
            "Normal/2 DMA32/2 DMA32/1 -/0",
            "Normal/2 DMA32/1 DMA32/1 -/0",
            "Normal/2 DMA32/1 -/1 -/0",
            "Normal/2 DMA32/1 -/0 -/0",
        ]
    );
    // Up to 4.13 the array is emptied first.
    let seen = after_each_store(Release::V4_13, &[Normal, Movable], &[Normal]);
    assert_eq!(seen[1], "-/3 Normal/2 -/0 -/0");
    assert_eq!(seen[2], "-/0 Normal/2 -/0 -/0");
    assert_eq!(seen.last().unwrap(), "Normal/2 -/0 -/0 -/0");
}

#[test]
fn a_kept_position_loses_its_zone() {
    // J4-a's core: Normal stood at entry 1, and is the only entry after the rebuild.
    let mut world = World::new(&[&[10]]);
    world.zones.push(ZoneId::new(NodeId(0), ZoneIdx::Movable));
    let lists = Zonelists::new(&world.nodes, &world.zones);
    lists.rebuild(Release::V5_17, &world, |_| {});
    let list = lists.fallback(NodeId(0));
    let preferred = list.first_zones_zonelist(ZoneIdx::Normal, Nodes::Any);
    assert_eq!(list.zone(preferred), Some(ZoneId::new(NodeId(0), ZoneIdx::Normal)));
    world.zones.pop();
    lists.rebuild(Release::V5_17, &world, |_| {});
    assert_eq!((preferred, list.zone(preferred)), (1, None));
    assert_eq!(list.first_zones_zonelist(ZoneIdx::Normal, Nodes::Any), 0);
}

#[test]
fn nothing_to_find_is_the_terminators_position() {
    let world = World::new(&[&[10, 20], &[20, 10]]);
    let lists = Zonelists::new(&world.nodes, &world.zones);
    lists.rebuild(Release::V6_19, &world, |_| {});
    let list = lists.fallback(NodeId(0));
    let none = NodeMask::EMPTY;
    let live = AtomicNodeMask::holding(2, &none);
    assert_eq!(list.first_zones_zonelist(ZoneIdx::Normal, Nodes::Fixed(&none)), 2);
    assert_eq!(list.first_zones_zonelist(ZoneIdx::Normal, Nodes::Live(&live)), 2);
    assert_eq!(list.first_zones_zonelist(ZoneIdx::Dma32, Nodes::Any), 2);
    assert!(list.is_end(2) && list.zone(2).is_none() && list.idx(2) == 0);
    live.store(&NodeMask::one(NodeId(1)));
    assert_eq!(list.first_zones_zonelist(ZoneIdx::Normal, Nodes::Live(&live)), 1);
}

#[test]
fn lists_hold_managed_zones_first_and_populated_ones_later() {
    let mut machine = Machine::uniform(1, 1, 2048);
    let mut empty = MachineZone::whole(ZoneIdx::Movable, 1 << 21, 512);
    empty.managed_pages = 0;
    machine.nodes[0].zones.push(empty);
    let zones: Vec<ZoneId> =
        [ZoneIdx::Normal, ZoneIdx::Movable].map(|i| ZoneId::new(NodeId(0), i)).to_vec();
    let count = |release| {
        let lists = Zonelists::new(&[NodeId(0)], &zones);
        lists.rebuild(release, &BootView::new(&machine, release), |_| {});
        lists.fallback(NodeId(0)).walk(ZoneIdx::Movable, Nodes::Any).count()
    };
    assert_eq!((count(Release::V5_17), count(Release::V6_1)), (1, 2));
}

#[test]
fn a_thousand_nodes_fit_in_a_laptop() {
    let machine = Machine::uniform(1024, 1, 512);
    let nodes: Vec<NodeId> = machine.nodes.iter().map(|n| n.id).collect();
    let zones: Vec<ZoneId> = nodes.iter().map(|n| ZoneId::new(*n, ZoneIdx::Normal)).collect();
    let lists = Zonelists::new(&nodes, &zones);
    assert!(lists.bytes() < 16 << 20, "{} bytes", lists.bytes());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "a zonelist has no end behind its last zone")]
fn a_list_without_its_terminator_is_caught_when_it_was_written() {
    let list = Zonelist::new(3);
    let zone = |node| Some(ZoneId::new(NodeId(node), ZoneIdx::Normal));
    for pos in 0..3u16 {
        list.store(usize::from(pos), zone(pos), &mut |_, _| {});
    }
    // A rebuild for two zones that forgets to end the list: the third is still there.
    for pos in 0..2u16 {
        list.store(usize::from(pos), zone(pos), &mut |_, _| {});
    }
    list.check(2);
}
