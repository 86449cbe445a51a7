//! Arithmetic on ranges of managed frames: splitting zones, and laying out memory anew.
//!
//! **Why.** `--fake-numa`, `--movable` and `--memory` move frames between zones. They count only
//! managed frames, so spans that no buddy allocator ever sees are left out, and they cut at
//! multiples of the largest buddy block, so that no block straddles two zones.
//!
//! **Differs.** After a cut, present equals managed: /proc/zoneinfo doesn't say where the frames
//! are that exist and aren't managed.

use allocator::ids::{MAX_PAGE_ORDER, ZoneIdx};
use allocator::machine::Zone;

/// Pages in a largest buddy block: zones are cut at multiples of it.
pub const CUT_PAGES: u64 = 1 << MAX_PAGE_ORDER;
/// First frame behind ZONE_DMA (16 MiB).
pub const DMA_END: u64 = 1 << 12;
/// First frame behind ZONE_DMA32 (4 GiB).
pub const DMA32_END: u64 = 1 << 20;

/// Ascending ranges of (first frame, pages).
pub type Ranges = Vec<(u64, u64)>;

/// Pages in all ranges.
pub fn pages(ranges: &[(u64, u64)]) -> u64 {
    ranges.iter().map(|r| r.1).sum()
}

/// A zone of exactly these managed frames; none if there are none.
pub fn zone(idx: ZoneIdx, ranges: Ranges) -> Option<Zone> {
    let (first, _) = *ranges.first()?;
    let (last, length) = *ranges.last()?;
    let managed_pages = pages(&ranges);
    Some(Zone {
        idx,
        start_pfn: first,
        spanned_pages: last + length - first,
        present_pages: managed_pages,
        managed_pages,
        managed: if ranges.len() > 1 { ranges } else { Vec::new() },
    })
}

/// The ranges below and from `pfn` on.
pub fn cut_at(ranges: &[(u64, u64)], pfn: u64) -> (Ranges, Ranges) {
    let mut below = Ranges::new();
    let mut above = Ranges::new();
    for &(first, length) in ranges {
        let low = pfn.saturating_sub(first).min(length);
        if low > 0 {
            below.push((first, low));
        }
        if low < length {
            above.push((first + low, length - low));
        }
    }
    (below, above)
}

/// The frame that has `wanted` managed pages below it, moved to the nearest multiple of `align`.
pub fn pfn_after(ranges: &[(u64, u64)], wanted: u64, align: u64) -> u64 {
    let mut left = wanted;
    let mut at = ranges.first().map_or(0, |r| r.0);
    for &(first, length) in ranges {
        at = first + left.min(length);
        if left <= length {
            break;
        }
        left -= length;
    }
    (at + align / 2) / align * align
}

/// Lays memory out as an x86-64 machine without holes would have it: node after node from frame 1
/// up, DMA below 16 MiB, DMA32 below 4 GiB, Normal above. Sizes are in pages.
pub fn lay_out(node_pages: &[u64]) -> Vec<Vec<Zone>> {
    let borders = [
        (1, DMA_END, ZoneIdx::Dma),
        (DMA_END, DMA32_END, ZoneIdx::Dma32),
        (DMA32_END, u64::MAX, ZoneIdx::Normal),
    ];
    let mut next = 0;
    let mut nodes = Vec::with_capacity(node_pages.len());
    for &pages in node_pages {
        let (from, to) = (next, next + pages);
        next = to;
        let zones = borders.iter().filter_map(|&(low, high, idx)| {
            let (start, end) = (from.max(low), to.min(high));
            (start < end).then(|| Zone::whole(idx, start, end - start))
        });
        nodes.push(zones.collect());
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory_is_laid_out_over_the_address_borders() {
        let nodes = lay_out(&[DMA32_END / 2, 0, DMA32_END]);
        let shape: Vec<Vec<(ZoneIdx, u64, u64)>> = nodes
            .iter()
            .map(|n| n.iter().map(|z| (z.idx, z.start_pfn, z.managed_pages)).collect())
            .collect();
        let half = DMA32_END / 2;
        assert_eq!(shape[0], [(ZoneIdx::Dma, 1, 4095), (ZoneIdx::Dma32, 4096, half - 4096)]);
        assert!(shape[1].is_empty());
        assert_eq!(shape[2], [(ZoneIdx::Dma32, half, half), (ZoneIdx::Normal, DMA32_END, half)]);
    }

    proptest! {
        #[test]
        fn a_cut_loses_no_frame(
            gaps in proptest::collection::vec((0..5000u64, 1..5000u64), 1..8),
            share in 0.0..=1.0f64,
        ) {
            let mut ranges = Ranges::new();
            let mut at = 0;
            for (gap, length) in gaps {
                ranges.push((at + gap, length));
                at += gap + length + 1;
            }
            let total = pages(&ranges);
            let wanted = (total as f64 * share) as u64;
            let pfn = pfn_after(&ranges, wanted, 1);
            let (below, above) = cut_at(&ranges, pfn);
            prop_assert_eq!(pages(&below), wanted);
            prop_assert_eq!(pages(&below) + pages(&above), total);
            prop_assert!(below.last().is_none_or(|r| r.0 + r.1 <= pfn));
            prop_assert!(above.first().is_none_or(|r| r.0 >= pfn));
            prop_assert_eq!(pfn_after(&ranges, wanted, 64) % 64, 0);
        }
    }
}
