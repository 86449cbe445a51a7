//! `--memory SIZE`: scales a machine.
//!
//! **What.** Every node keeps its share. Scaled down, each zone shrinks in proportion, from the
//! top, so that the same zones fall back to each other. Scaled up, memory is laid out anew, node
//! after node, since ZONE_DMA and ZONE_DMA32 can't grow past their addresses: what does not fit
//! becomes Normal, and lower zones are the first nodes' only.
//!
//! **Why.** A 1 TiB machine on a laptop, or a small one on a server. (The kernel's own `mem=` cuts
//! off the top, and with it whole nodes.)

use allocator::ids::ZoneIdx;
use allocator::machine::{MAX_PFN, Machine, Node, Zone};

use super::MachineInputError;
use super::ranges::{self, CUT_PAGES};

const FLAG: &str = "--memory";

/// Scales the machine to `bytes` of managed memory.
///
/// # Errors
/// If a node would get less than 4 MiB, or the frames don't fit the frame table.
pub fn scale(machine: &mut Machine, bytes: u64) -> Result<(), MachineInputError> {
    let total = machine.managed_pages();
    let wanted = bytes / 4096;
    let nodes = machine.nodes.iter().filter(|n| !n.zones.is_empty()).count() as u64;
    let least = machine.nodes.iter().map(managed).filter(|&p| p > 0).min().unwrap_or(0);
    if share(least, wanted, total) < CUT_PAGES {
        return Err(MachineInputError::flag(
            FLAG,
            format!(
                "{} MiB is too little: the smallest node, of {nodes}, needs 4 MiB",
                bytes >> 20
            ),
        ));
    }
    if wanted >= MAX_PFN / 2 {
        return Err(MachineInputError::flag(FLAG, "more than 8 TiB can't be modelled"));
    }
    if wanted <= total {
        for zone in machine.nodes.iter_mut().flat_map(|n| &mut n.zones) {
            shrink(zone, share(zone.managed_pages, wanted, total));
        }
        for node in &mut machine.nodes {
            node.zones.retain(|z| z.managed_pages > 0);
        }
    } else {
        grow(machine, wanted, total);
    }
    Ok(())
}

fn managed(node: &Node) -> u64 {
    node.zones.iter().map(|z| z.managed_pages).sum()
}

fn share(pages: u64, wanted: u64, total: u64) -> u64 {
    (u128::from(pages) * u128::from(wanted) / u128::from(total)) as u64
}

/// Keeps the lowest `pages` managed frames; large zones end at a buddy block.
fn shrink(zone: &mut Zone, pages: u64) {
    if pages >= zone.managed_pages {
        return;
    }
    let ranges = zone.managed_ranges();
    let align = if pages >= 16 * CUT_PAGES { CUT_PAGES } else { 1 };
    let pfn = ranges::pfn_after(&ranges, pages, align);
    match ranges::zone(zone.idx, ranges::cut_at(&ranges, pfn).0) {
        Some(smaller) => *zone = smaller,
        None => *zone = Zone::whole(zone.idx, zone.start_pfn, 0),
    }
}

/// Lays all memory out anew, node after node; Movable keeps its share at the top of each.
fn grow(machine: &mut Machine, wanted: u64, total: u64) {
    let align = u64::from(machine.block_pages).max(CUT_PAGES);
    let grown = |node: &Node| share(managed(node), wanted, total).next_multiple_of(CUT_PAGES);
    let sizes: Vec<u64> = machine.nodes.iter().map(grown).collect();
    for (node, mut zones) in machine.nodes.iter_mut().zip(ranges::lay_out(&sizes)) {
        let movable = share(zone_pages(node, ZoneIdx::Movable), wanted, total) / align * align;
        if movable > 0
            && let Some(top) = zones.pop()
        {
            let managed = top.managed_ranges();
            let keep = top.managed_pages.saturating_sub(movable);
            let (below, above) =
                ranges::cut_at(&managed, ranges::pfn_after(&managed, keep, CUT_PAGES));
            zones.extend(ranges::zone(top.idx, below));
            zones.extend(ranges::zone(ZoneIdx::Movable, above));
        }
        node.zones = zones;
    }
}

fn zone_pages(node: &Node, idx: ZoneIdx) -> u64 {
    node.zones.iter().filter(|z| z.idx == idx).map(|z| z.managed_pages).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 18;

    fn two_nodes() -> Machine {
        let mut m = Machine::uniform(2, 1, 2048);
        for (node, zones) in m.nodes.iter_mut().zip(ranges::lay_out(&[2 * GIB, 4 * GIB])) {
            node.zones = zones;
        }
        m
    }

    fn check(bytes: u64) -> Machine {
        let mut m = two_nodes();
        scale(&mut m, bytes).unwrap();
        m.validate().unwrap();
        let off = m.managed_pages().abs_diff(bytes / 4096);
        assert!(off <= 4 * CUT_PAGES, "{off} pages off");
        let third = bytes / 4096 / 3;
        assert!(managed(&m.nodes[0]).abs_diff(third) <= 4 * CUT_PAGES);
        m
    }

    #[test]
    fn down_keeps_zones_and_shares() {
        let m = check(1 << 30);
        let kinds: Vec<ZoneIdx> = m.nodes.iter().flat_map(|n| &n.zones).map(|z| z.idx).collect();
        let before = two_nodes();
        let same: Vec<ZoneIdx> =
            before.nodes.iter().flat_map(|n| &n.zones).map(|z| z.idx).collect();
        assert_eq!(kinds, same);
    }

    #[test]
    fn up_to_a_tebibyte_grows_normal() {
        let m = check(1 << 40);
        let kinds: Vec<Vec<ZoneIdx>> =
            m.nodes.iter().map(|n| n.zones.iter().map(|z| z.idx).collect()).collect();
        assert_eq!(kinds[0], [ZoneIdx::Dma, ZoneIdx::Dma32, ZoneIdx::Normal]);
        assert_eq!(kinds[1], [ZoneIdx::Normal]);
    }

    #[test]
    fn up_keeps_the_share_of_movable() {
        let mut m = two_nodes();
        let half = super::super::movable::Share::Percent(50.0);
        super::super::movable::make(&mut m, half, &mut super::super::Notes::default()).unwrap();
        scale(&mut m, 64 << 30).unwrap();
        m.validate().unwrap();
        for node in &m.nodes {
            assert!((zone_pages(node, ZoneIdx::Movable) * 2).abs_diff(managed(node)) < GIB / 2);
        }
    }

    #[test]
    fn no_memory_for_a_node_is_refused() {
        let fails = |bytes| scale(&mut two_nodes(), bytes).unwrap_err().to_string();
        assert!(fails(10 << 20).contains("10 MiB is too little"));
        assert!(fails(1 << 50).contains("more than 8 TiB"));
    }
}
