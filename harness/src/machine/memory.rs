//! `--memory SIZE`: scales a machine.
//!
//! **What.** Every node keeps its share. Scaled down, each zone shrinks in proportion, from the
//! top. Scaled up, DMA and DMA32 stay (addresses end there) and Normal and Movable grow; a node that
//! has only low zones gets a Normal.
//!
//! **Why.** A 1 TiB machine on a laptop, or a small one on a server, with the same zones, so that
//! the same fallbacks happen. (The kernel's own `mem=` cuts off the top, and with it whole nodes.)

use allocator::ids::ZoneIdx;
use allocator::machine::{MAX_PFN, Machine, Node, Zone};

use super::MachineInputError;
use super::ranges::{self, CUT_PAGES, DMA32_END};

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
                "{} MiB are too little for {nodes} nodes: the smallest needs 4 MiB",
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

/// Lays Normal and Movable out anew from 4 GiB up, node after node.
fn grow(machine: &mut Machine, wanted: u64, total: u64) {
    let align = u64::from(machine.block_pages).max(CUT_PAGES);
    let low_end =
        machine.nodes.iter().flat_map(|n| &n.zones).filter(|z| is_low(z)).map(Zone::end_pfn);
    let mut next = low_end.max().unwrap_or(0).max(DMA32_END).next_multiple_of(align);
    for node in &mut machine.nodes {
        let before = managed(node);
        if before == 0 {
            continue;
        }
        let movable = share(zone_pages(node, ZoneIdx::Movable), wanted, total);
        node.zones.retain(is_low);
        let low = managed(node);
        let high = share(before, wanted, total).saturating_sub(low);
        let normal = high.saturating_sub(movable) / CUT_PAGES * CUT_PAGES;
        let movable = (high - normal) / CUT_PAGES * CUT_PAGES;
        for (idx, pages) in [(ZoneIdx::Normal, normal), (ZoneIdx::Movable, movable)] {
            if pages > 0 {
                node.zones.push(Zone::whole(idx, next, pages));
                next += pages;
            }
        }
        next = next.next_multiple_of(align);
    }
}

fn is_low(zone: &Zone) -> bool {
    matches!(zone.idx, ZoneIdx::Dma | ZoneIdx::Dma32)
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
        assert_eq!(m.nodes[0].zones.last().unwrap().idx, ZoneIdx::Normal);
        assert_eq!(zone_pages(&m.nodes[0], ZoneIdx::Dma32), 2 * GIB - 4096);
    }

    #[test]
    fn no_memory_for_a_node_is_refused() {
        let fails = |bytes| scale(&mut two_nodes(), bytes).unwrap_err().to_string();
        assert!(fails(10 << 20).contains("10 MiB are too little for 2 nodes"));
        assert!(fails(1 << 50).contains("more than 8 TiB"));
    }
}
