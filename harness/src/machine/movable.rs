//! `--movable SIZE|PERCENT`: makes the top of each node ZONE_MOVABLE.
//!
//! **What.** As the kernel does for `movablecore=`, the highest frames of a node change their zone,
//! whichever of Normal and DMA32 they were in; ZONE_DMA is never touched.
//!
//! **Why.** Offlining needs zones whose pages can be moved away.
//!
//! **Differs.** The kernel spreads a size evenly and starts Movable at a multiple of the largest
//! buddy block; here a size is spread in proportion to the nodes' memory, and Movable starts at a
//! multiple of the memory block wherever that leaves at least half of what was asked for, so that
//! whole blocks can go offline.

use allocator::ids::ZoneIdx;
use allocator::machine::{Machine, Node, Zone};

use super::ranges::{self, CUT_PAGES};
use super::{MachineInputError, Notes};

/// How much becomes Movable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    /// Bytes of the whole machine.
    Bytes(u64),
    /// Percent of each node.
    Percent(f64),
    /// The topmost whole memory block of the last node; frames above it are left out.
    LastBlock,
}

const FLAG: &str = "--movable";

/// Makes the top of each node with memory Movable; nodes that have as much already stay as they
/// are.
///
/// # Errors
/// If more is asked for than there is outside ZONE_DMA, or less than a buddy block.
pub fn make(
    machine: &mut Machine,
    share: Share,
    notes: &mut Notes,
) -> Result<(), MachineInputError> {
    if share == Share::LastBlock {
        return make_last_block(machine, notes);
    }
    let total = machine.managed_pages();
    let block_pages = u64::from(machine.block_pages);
    let floors: Vec<u64> = (0..machine.nodes.len()).map(|i| floor(&machine.nodes, i)).collect();
    let mut done = 0;
    for (node, floor) in machine.nodes.iter_mut().zip(floors) {
        let has: u64 = node.zones.iter().map(|z| z.managed_pages).sum();
        let wanted = match share {
            Share::Bytes(bytes) => {
                (u128::from(bytes / 4096) * u128::from(has) / u128::from(total)) as u64
            }
            Share::Percent(percent) => (has as f64 * percent / 100.0) as u64,
            Share::LastBlock => 0,
        };
        done += make_in(node, wanted, block_pages, floor)?;
    }
    if done == 0 {
        return Err(MachineInputError::flag(FLAG, "less than 4 MiB on every node: ask for more"));
    }
    notes.add(format!("ZONE_MOVABLE holds {} MiB", done / 256));
    Ok(())
}

/// Turns the topmost block of the last node with memory, if that is managed as a whole, Movable.
fn make_last_block(machine: &mut Machine, notes: &mut Notes) -> Result<(), MachineInputError> {
    let block_pages = u64::from(machine.block_pages);
    let last = machine.nodes.iter().rposition(|n| n.zones.iter().any(|z| z.managed_pages > 0));
    let Some(index) = last else { return Ok(()) };
    let floor = floor(&machine.nodes, index);
    let node = &mut machine.nodes[index];
    let mut high = Vec::new();
    for zone in node.zones.iter().filter(|z| z.idx != ZoneIdx::Dma) {
        high.extend(zone.managed_ranges());
    }
    high.sort_unstable();
    let end = high.last().map_or(0, |(first, pages)| first + pages);
    let whole = |first: &u64| {
        let above = ranges::cut_at(&high, *first).1;
        ranges::pages(&ranges::cut_at(&above, first + block_pages).0) == block_pages
    };
    let blocks = (floor.div_ceil(block_pages)..end / block_pages).rev();
    let Some(first) = blocks.map(|b| b * block_pages).find(whole) else {
        let (id, mib) = (node.id, block_pages / 256);
        let what =
            format!("node {id} has no whole memory block of {mib} MiB: give it more --memory");
        return Err(MachineInputError::flag(FLAG, what));
    };
    let above = ranges::cut_at(&high, first).1;
    let (block, rest) = ranges::cut_at(&above, first + block_pages);
    let mut zones = Vec::new();
    for zone in node.zones.drain(..).filter(|z| z.idx != ZoneIdx::Movable) {
        zones.extend(ranges::zone(zone.idx, ranges::cut_at(&zone.managed_ranges(), first).0));
    }
    zones.extend(ranges::zone(ZoneIdx::Movable, block));
    node.zones = zones;
    let left_out = match ranges::pages(&rest) / 256 {
        0 => String::new(),
        mib => format!("; the {mib} MiB above it are left out"),
    };
    notes.add(format!("one block of node {} is Movable{left_out}", node.id));
    Ok(())
}

/// First frame behind all zones of other nodes that lie below this node's top: Movable must not
/// span them.
fn floor(nodes: &[Node], of: usize) -> u64 {
    let top = nodes[of].zones.iter().map(Zone::end_pfn).max().unwrap_or(0);
    let others = nodes.iter().enumerate().filter(|(i, _)| *i != of).flat_map(|(_, n)| &n.zones);
    others.map(Zone::end_pfn).filter(|&end| end <= top).max().unwrap_or(0)
}

/// As [`make`] for one node; gives the Movable pages that the node has afterwards.
fn make_in(
    node: &mut Node,
    wanted: u64,
    block_pages: u64,
    floor: u64,
) -> Result<u64, MachineInputError> {
    let has: u64 = zone_pages(node, ZoneIdx::Movable);
    if wanted <= has || wanted < CUT_PAGES {
        return Ok(has);
    }
    let mut high = Vec::new();
    for zone in node.zones.iter().filter(|z| z.idx != ZoneIdx::Dma) {
        high.extend(zone.managed_ranges());
    }
    high.sort_unstable();
    let high = ranges::cut_at(&high, floor).1;
    let available = ranges::pages(&high);
    if wanted > available {
        return Err(MachineInputError::flag(
            FLAG,
            format!(
                "node {} has {} MiB above ZONE_DMA and other nodes, not the {} MiB wanted",
                node.id,
                available / 256,
                wanted / 256
            ),
        ));
    }
    let first = |align| {
        let pfn = ranges::pfn_after(&high, available - wanted, align);
        let pages = ranges::pages(&ranges::cut_at(&high, pfn).1);
        (pages * 2 >= wanted && pages >= has).then_some(pfn)
    };
    let pfn = first(block_pages).or_else(|| first(CUT_PAGES)).unwrap_or(high[0].0);
    let mut movable = Vec::new();
    let mut zones = Vec::new();
    for zone in node.zones.drain(..) {
        let managed = zone.managed_ranges();
        let (below, above) = ranges::cut_at(&managed, pfn);
        if zone.idx == ZoneIdx::Dma || above.is_empty() {
            zones.push(zone);
            continue;
        }
        movable.extend(above);
        if zone.idx == ZoneIdx::Movable {
            movable.extend(below);
        } else {
            zones.extend(ranges::zone(zone.idx, below));
        }
    }
    movable.sort_unstable();
    zones.extend(ranges::zone(ZoneIdx::Movable, movable));
    node.zones = zones;
    Ok(zone_pages(node, ZoneIdx::Movable))
}

fn zone_pages(node: &Node, idx: ZoneIdx) -> u64 {
    node.zones.iter().filter(|z| z.idx == idx).map(|z| z.managed_pages).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(machine: &Machine) -> Vec<Vec<(ZoneIdx, u64, u64)>> {
        let zones =
            |n: &Node| n.zones.iter().map(|z| (z.idx, z.start_pfn, z.managed_pages)).collect();
        machine.nodes.iter().map(zones).collect()
    }

    fn check(node_pages: u64, share: Share, expected: &[(ZoneIdx, u64, u64)]) {
        let mut m = Machine::uniform(1, 1, node_pages);
        m.nodes[0].zones = ranges::lay_out(&[node_pages]).remove(0);
        make(&mut m, share, &mut Notes::default()).unwrap();
        m.validate().unwrap();
        assert_eq!(shape(&m)[0], expected);
    }

    #[test]
    fn the_last_whole_block_of_the_last_node() {
        use ZoneIdx::{Movable, Normal};
        let mut m = Machine::uniform(2, 1, 4 * 32768 + 512);
        make(&mut m, Share::LastBlock, &mut Notes::default()).unwrap();
        m.validate().unwrap();
        assert_eq!(shape(&m)[0].len(), 1, "the first node stays");
        let [(Normal, start, below), (Movable, first, pages)] = shape(&m)[1][..] else {
            panic!("{:?}", shape(&m)[1]);
        };
        assert_eq!((first % 32768, pages), (0, 32768));
        assert_eq!(start + below, first);

        let mut small = Machine::uniform(2, 1, 8192);
        let e = make(&mut small, Share::LastBlock, &mut Notes::default()).unwrap_err();
        assert!(e.to_string().contains("no whole memory block of 128 MiB"), "{e}");
    }

    #[test]
    fn whole_memory_blocks_at_the_top_of_the_node() {
        use ZoneIdx::{Dma, Dma32, Movable, Normal};
        let gib = 1 << 18;
        check(
            8 * gib,
            Share::Percent(25.0),
            &[
                (Dma, 1, 4095),
                (Dma32, 4096, 4 * gib - 4096),
                (Normal, 4 * gib, 2 * gib),
                (Movable, 6 * gib, 2 * gib),
            ],
        );
        check(
            5 * gib,
            Share::Bytes(2 << 30),
            &[(Dma, 1, 4095), (Dma32, 4096, 3 * gib - 4096), (Movable, 3 * gib, 2 * gib)],
        );
        // Less than half a memory block: cut at a buddy block instead.
        check(
            gib,
            Share::Bytes(40 << 20),
            &[(Dma, 1, 4095), (Dma32, 4096, gib - 10240 - 4096), (Movable, gib - 10240, 10240)],
        );
    }

    #[test]
    fn a_node_that_lies_between_is_not_spanned() {
        let gib = 1 << 18;
        let mut m = Machine::uniform(2, 1, 2048);
        let zone = |idx, gibs: u64, at: u64| Zone::whole(idx, at * gib, gibs * gib);
        m.nodes[0].zones = vec![zone(ZoneIdx::Dma32, 1, 1), zone(ZoneIdx::Normal, 1, 4)];
        m.nodes[1].zones = vec![zone(ZoneIdx::Dma32, 2, 2)];
        let mut notes = Notes::default();
        assert!(make(&mut m.clone(), Share::Percent(75.0), &mut notes).is_err());
        make(&mut m, Share::Percent(50.0), &mut notes).unwrap();
        m.validate().unwrap();
        assert_eq!(shape(&m)[0][1], (ZoneIdx::Movable, 4 * gib, gib));
    }

    #[test]
    fn too_much_and_too_little_are_refused() {
        let mut m = Machine::uniform(1, 1, 2048);
        m.nodes[0].zones = ranges::lay_out(&[8192]).remove(0);
        let mut make = |share| make(&mut m, share, &mut Notes::default()).unwrap_err().to_string();
        assert_eq!(
            make(Share::Percent(90.0)),
            "--movable: node 0 has 16 MiB above ZONE_DMA and other nodes, not the 28 MiB wanted"
        );
        assert_eq!(
            make(Share::Bytes(4096)),
            "--movable: less than 4 MiB on every node: ask for more"
        );
    }
}
