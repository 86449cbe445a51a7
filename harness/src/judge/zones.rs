//! The zones of a report as the request sees them.
//!
//! **What.** Which zones the kernel was built with (that gives lowmem_reserve's columns their
//! meaning), which of them are in the request's reach, and each one's row: free, what is taken off,
//! marks and reserve, a block of the order, and how the model's own test answers.
//!
//! **Differs.** What a report doesn't print is `None` and decides nothing; a request's own zone has no
//! reserve, whatever is missing.

use allocator::gfp::{AllocFlags, Gfp, MigrateType};
use allocator::look::{Look, Order, Stand, look};
use allocator::policy::Number;
use report::{Report, Zone};
use serde::Serialize;

/// The zones that a kernel was built with, lowest first.
pub type Layout = Vec<&'static str>;

/// Layouts in the order in which they are likely.
const LAYOUTS: [&[&str]; 20] = [
    &["DMA", "DMA32", "Normal", "Movable"],
    &["DMA", "DMA32", "Normal", "Movable", "Device"],
    &["DMA", "Normal", "Movable"],
    &["DMA", "Normal", "HighMem", "Movable"],
    &["Normal", "HighMem", "Movable"],
    &["DMA", "HighMem", "Movable"],
    &["DMA32", "Normal", "Movable"],
    &["DMA32", "Normal", "Movable", "Device"],
    &["Normal", "Movable"],
    &["DMA", "Normal", "Movable", "Device"],
    &["Normal", "Movable", "Device"],
    &["DMA", "DMA32", "Normal"],
    &["DMA", "Normal", "HighMem"],
    &["DMA", "Normal"],
    &["Normal", "HighMem"],
    &["DMA", "Normal", "HighMem", "Movable", "Device"],
    &["DMA32", "Normal", "HighMem", "Movable"],
    &["DMA", "DMA32", "Normal", "HighMem", "Movable"],
    &["DMA", "DMA32", "Normal", "HighMem", "Movable", "Device"],
    &["Normal"],
];

/// The layout that fits names and reserves best. Its length is that of the reserves, where one is
/// printed.
pub fn layout(zones: &[Zone], page_kb: u64, has_highmem: bool) -> Layout {
    let length = zones.iter().map(|z| z.reserve.len()).max().filter(|n| *n > 0);
    let fits = |layout: &&[&'static str]| {
        length.is_none_or(|n| n == layout.len())
            && zones.iter().all(|z| layout.contains(&z.name.as_str()))
    };
    let best = LAYOUTS.into_iter().filter(fits).enumerate().max_by_key(|(i, layout)| {
        // HighMem that is counted but not listed: zones above the request's are left out.
        let highmem = i64::from(has_highmem && layout.contains(&"HighMem")) * 2;
        (score(layout, zones, page_kb) + highmem, std::cmp::Reverse(*i))
    });
    match best {
        Some((_, layout)) => layout.to_vec(),
        None => report::zones::ZONES
            .into_iter()
            .filter(|n| *n != "Device" && (*n != "HighMem" || zones.iter().any(|z| z.name == *n)))
            .collect(),
    }
}

/// How well the columns of lowmem_reserve go with the zones that are there.
fn score(layout: &[&str], zones: &[Zone], page_kb: u64) -> i64 {
    let mut score = 0;
    for zone in zones.iter().filter(|z| z.reserve.len() == layout.len()) {
        let Some(own) = layout.iter().position(|n| *n == zone.name) else { continue };
        if zone.reserve[..=own].iter().any(|r| *r != 0) {
            score -= 100;
        }
        for (above, name) in layout.iter().enumerate().skip(own + 1) {
            let step = zone.reserve[above].checked_sub(zone.reserve[above - 1]);
            let there = zones.iter().find(|z| z.node == zone.node && z.name == *name);
            let managed = there.and_then(|z| z.get("managed").or_else(|| z.get("present")));
            score += match (step, managed) {
                (None, _) => -100,
                (Some(0), Some(kb)) if kb / page_kb.max(1) > 256 => -2,
                (Some(0), _) => 0,
                (Some(_), None) => -1,
                (Some(step), Some(kb)) => {
                    let managed = kb / page_kb.max(1);
                    let near = |ratio: u64| managed / ratio.max(1) == step;
                    if near(256) || near(32) { 3 } else { 1 }
                }
            };
        }
    }
    score
}

/// The highest zone of a request (`gfp_zone`) in a layout.
pub fn highest(gfp: Gfp, layout: &Layout) -> usize {
    let at = |name: &str| layout.iter().position(|n| *n == name);
    let normal = at("Normal").unwrap_or_else(|| layout.len().saturating_sub(1));
    if gfp.contains(Gfp::DMA) {
        at("DMA").unwrap_or(normal)
    } else if gfp.contains(Gfp::DMA32) {
        at("DMA32").unwrap_or(normal)
    } else if gfp.contains(Gfp::HIGHMEM | Gfp::MOVABLE) {
        at("Movable").unwrap_or(normal)
    } else if gfp.contains(Gfp::HIGHMEM) {
        at("HighMem").unwrap_or(normal)
    } else {
        normal
    }
}

/// A zone as the request sees it. Pages, where not said otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `Node 1 Normal`
    pub zone: String,
    /// Its node.
    pub node: u32,
    /// Line of the input.
    pub line: usize,
    /// Why the request may not use it; `None`: it may.
    pub out_of_reach: Option<String>,
    /// Free.
    pub free: Option<u64>,
    /// Free CMA pages, taken off unless the request is movable.
    pub cma: u64,
    /// Highatomic reserve that is taken off; `None`: the release has one and does not print it.
    pub highatomic: Option<u64>,
    /// Free pages of isolated pageblocks are not counted as free; their letter is in the list.
    pub isolated: bool,
    /// Pages that count at min.
    pub usable: i64,
    /// The min mark, boost included.
    pub min: Option<u64>,
    /// The high mark, boost included.
    pub high: Option<u64>,
    /// Part of the marks that is boost, where it is printed.
    pub boost: u64,
    /// lowmem_reserve against this request; `None`: not told.
    pub reserve: Option<u64>,
    /// What usable must be more than, at min.
    pub needed_min: i64,
    /// The same at high.
    pub needed_high: i64,
    /// Managed pages.
    pub managed: Option<u64>,
    /// Pages on pcplists.
    pub pcp: u64,
    /// File pages on its LRU lists.
    pub file: Option<u64>,
    /// Is there a block of the order?
    pub has_block: Option<bool>,
    /// Does it serve the request at min, with the request's own rights?
    pub at_min: Option<bool>,
    /// Does it pass the look before the kill, at high?
    pub at_high: Option<bool>,
    /// Do the marks pass at min?
    pub marks_min: Option<bool>,
    /// Would it pass at min if something else counted: CMA.
    pub with_cma: bool,
    /// The same for the highatomic reserve.
    pub with_highatomic: bool,
    /// The same for the reserve; at high.
    pub without_reserve: bool,
    /// The same for pages on pcplists; at min.
    pub with_pcp: bool,
    /// The same for pages on pcplists; at high.
    pub with_pcp_high: bool,
    /// The same without boost; at min.
    pub without_boost: bool,
    /// Figures that are not there.
    pub missing: Vec<&'static str>,
}

/// What is asked of the rows.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The release.
    pub number: Number,
    /// The mask.
    pub gfp: Gfp,
    /// The order.
    pub order: u8,
    /// Highest zone, an index into the layout.
    pub highest: usize,
    /// Rights at min.
    pub own: AllocFlags,
    /// Rights at the last look.
    pub last: AllocFlags,
    /// Nodes that it may use; `None`: all.
    pub nodes: Option<Vec<u32>>,
    /// kB of a page.
    pub page_kb: u64,
}

/// All rows.
pub fn rows(report: &Report, layout: &Layout, asked: &Asked) -> Vec<Row> {
    report.zones.iter().map(|zone| row(zone, layout, asked)).collect()
}

fn reach(zone: &Zone, own: Option<usize>, layout: &Layout, asked: &Asked) -> Option<String> {
    let node = zone.node.unwrap_or(0);
    if asked.nodes.as_ref().is_some_and(|nodes| !nodes.contains(&node)) {
        return Some("not an allowed node".to_owned());
    }
    if own.is_some_and(|own| own > asked.highest) {
        let highest = layout.get(asked.highest).copied().unwrap_or("?");
        return Some(format!("above {highest}, the request's highest zone"));
    }
    (zone.get("managed") == Some(0)).then(|| "nothing managed".to_owned())
}

fn row(zone: &Zone, layout: &Layout, asked: &Asked) -> Row {
    let pages = |kb: u64| kb / asked.page_kb.max(1);
    let field = |key: &str| zone.get(key).map(pages);
    let own = layout.iter().position(|n| *n == zone.name);
    let out_of_reach = reach(zone, own, layout, asked);
    let (free, min, high) = (field("free"), field("min"), field("high"));
    let mut missing = Vec::new();
    // A line that was cut before `present` may have lacked what is taken off, too.
    let present = field("present");
    for (name, value) in [("free", free), ("min", min), ("high", high), ("present", present)] {
        if value.is_none() {
            missing.push(name);
        }
    }
    // A request whose highest zone is the zone itself meets no reserve.
    let reserve =
        if own == Some(asked.highest) { Some(0) } else { zone.reserve.get(asked.highest).copied() };
    let letters = |letter: char| {
        let blocks = zone.blocks.as_ref();
        blocks.is_some_and(|b| b.orders.iter().any(|(n, types)| *n > 0 && types.contains(letter)))
    };
    let highatomic = highatomic(zone, asked, letters('H'));
    let cma = field("free_cma").unwrap_or(0);
    let stand = |mark: u64| Stand {
        free: free.unwrap_or(0),
        mark,
        reserve: reserve.unwrap_or(0),
        highatomic: highatomic.unwrap_or(0),
        free_cma: cma,
    };
    let orders = zone.blocks.as_ref().map(|b| orders(&b.orders));
    let orders = orders.as_deref();
    let look = |stand: Stand, flags| look(asked.number, asked.order, &stand, flags, orders);
    let at_min = look(stand(min.unwrap_or(0)), asked.own);
    let at_high = look(stand(high.unwrap_or(0)), asked.last);
    let passes = |stand: Stand, flags| look(stand, flags).passes == Some(true);
    let boost = field("boost").unwrap_or(0);
    let min_stand = stand(min.unwrap_or(0));
    let pcp = zone.pcp_used.or_else(|| field("free_pcp")).unwrap_or(0);
    let with = |extra: u64, stand: Stand| Stand { free: stand.free.saturating_add(extra), ..stand };
    let told = |look: &Look, mark: Option<u64>| {
        let known = free.is_some() && mark.is_some();
        let whole = present.is_some();
        // With a reserve that is not told a zone can fail, but not pass.
        let passes = look.passes.filter(|p| !p || reserve.is_some());
        // A highatomic reserve of unknown size can take off one percent and a pageblock.
        let most = zone.get("managed").map_or(0, |kb| pages(kb).min(1 << 50) / 100 + 512) as i64;
        let sure = highatomic.is_some() || look.usable - most > look.needed;
        passes.filter(|p| known && (!p || (sure && whole)))
    };
    let file = match (field("active_file"), field("inactive_file")) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        _ => None,
    };
    Row {
        zone: zone.title(),
        node: zone.node.unwrap_or(0),
        line: zone.line,
        out_of_reach,
        free,
        cma,
        highatomic,
        isolated: letters('I'),
        usable: at_min.usable,
        min,
        high,
        boost,
        reserve,
        needed_min: at_min.needed,
        needed_high: at_high.needed,
        managed: field("managed").or_else(|| field("present")),
        pcp,
        file,
        has_block: at_min.has_block,
        at_min: told(&at_min, min),
        at_high: told(&at_high, high),
        marks_min: (free.is_some() && min.is_some()).then(|| at_min.marks_pass()),
        with_cma: cma > 0 && passes(Stand { free_cma: 0, ..min_stand }, asked.own),
        with_highatomic: highatomic.is_some_and(|h| h > 0)
            && passes(Stand { highatomic: 0, ..min_stand }, asked.own),
        without_reserve: reserve.is_some_and(|r| r > 0)
            && passes(Stand { reserve: 0, ..stand(high.unwrap_or(0)) }, asked.last),
        with_pcp: pcp > 0 && passes(with(pcp, min_stand), asked.own),
        with_pcp_high: pcp > 0 && passes(with(pcp, stand(high.unwrap_or(0))), asked.last),
        without_boost: boost > 0
            && passes(stand(min.unwrap_or(0).saturating_sub(boost)), asked.own),
        missing,
    }
}

/// What the highatomic reserve takes off by the release's count; `None` if that is not printed and
/// may be something.
fn highatomic(zone: &Zone, asked: &Asked, has_letter: bool) -> Option<u64> {
    if !asked.number.has_highatomic() {
        return Some(0);
    }
    let pages = |key: &str| zone.get(key).map(|kb| kb / asked.page_kb.max(1));
    if asked.number.counts_free_highatomic() {
        // Nothing reserved, nothing free of it.
        return pages("free_highatomic")
            .or_else(|| pages("reserved_highatomic").filter(|r| *r == 0));
    }
    pages("reserved_highatomic").or_else(|| {
        // A list without a free block of it: what of it may be in use is not told before 5.6.
        let none = zone.blocks.is_some() && !has_letter;
        none.then_some(0)
    })
}

fn orders(printed: &[(u64, String)]) -> Vec<Order> {
    let types = |letters: &str| {
        let bit = |letter| match letter {
            'U' => 1 << MigrateType::Unmovable.index(),
            'M' => 1 << MigrateType::Movable.index(),
            'E' => 1 << MigrateType::Reclaimable.index(),
            'H' => 1 << MigrateType::HighAtomic.index(),
            'C' => 1 << MigrateType::Cma.index(),
            _ => 0_u8,
        };
        letters.chars().map(bit).fold(0, |all, bit| all | bit)
    };
    let one = |(blocks, letters): &(u64, String)| Order {
        blocks: *blocks,
        types: (!letters.is_empty()).then(|| types(letters)),
    };
    printed.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str, managed: u64, reserve: &[u64]) -> Zone {
        let mut zone = Zone { name: name.to_owned(), reserve: reserve.to_vec(), ..Zone::default() };
        zone.fields.insert("managed".to_owned(), managed);
        zone
    }

    #[test]
    fn columns_of_reserves_tell_the_layout() {
        let check =
            |zones: &[Zone], expected: &[&str]| assert_eq!(layout(zones, 4, false), expected);
        check(
            &[
                zone("DMA32", 3_200_000, &[0, 10_100, 10_100, 10_100]),
                zone("Normal", 10_342_400, &[0; 4]),
            ],
            &["DMA32", "Normal", "Movable", "Device"],
        );
        check(
            &[zone("DMA", 663_000, &[0, 0, 3100, 3100]), zone("HighMem", 3_264_512, &[0; 4])],
            &["DMA", "Normal", "HighMem", "Movable"],
        );
        check(
            &[
                zone("DMA", 15_900, &[0, 3000, 7500, 7500]),
                zone("DMA32", 3_072_000, &[0, 0, 4500, 4500]),
                zone("Normal", 4_608_000, &[0; 4]),
            ],
            &["DMA", "DMA32", "Normal", "Movable"],
        );
        check(&[zone("Normal", 49_000, &[0, 32])], &["Normal", "Movable"]);
        let lone = [zone("DMA", 663_836, &[0, 0, 3188, 3188])];
        assert_eq!(layout(&lone, 4, true), ["DMA", "Normal", "HighMem", "Movable"]);
        check(
            &[zone("Movable", 8_388_608, &[0; 5])],
            &["DMA", "DMA32", "Normal", "Movable", "Device"],
        );
    }

    #[test]
    fn highest_zones_follow_the_layout() {
        let x86: Layout = vec!["DMA", "DMA32", "Normal", "Movable"];
        let i386: Layout = vec!["DMA", "Normal", "HighMem", "Movable"];
        assert_eq!(highest(Gfp::KERNEL, &x86), 2);
        assert_eq!(highest(Gfp::HIGHUSER, &x86), 2);
        assert_eq!(highest(Gfp::HIGHUSER, &i386), 2);
        assert_eq!(highest(Gfp::KERNEL, &i386), 1);
        assert_eq!(highest(Gfp::HIGHUSER_MOVABLE, &i386), 3);
        assert_eq!(highest(Gfp::DMA, &i386), 0);
        assert_eq!(highest(Gfp::DMA32, &i386), 1);
    }
}
