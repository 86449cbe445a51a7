//! One look at a zone by figures alone: the watermark test without a kernel around it.
//!
//! **What.** [`look`] says how a zone stands against a mark for a request: what is usable, what is
//! needed, is there a block. [`request_flags`] and [`last_look_flags`] are the rights that it is
//! made with, [`printed`] the mask that a report prints.
//!
//! **Why.** A report of a kernel is judged by the very test that the model allocates with
//! ([`zone_watermark_ok`]), with the facts of the report's release.
//!
//! **Source.** mm/page_alloc.c: __zone_watermark_ok, __alloc_pages_may_oom, gfp_to_alloc_flags;
//! include/linux/gfp.h and include/trace/events/mmflags.h for masks.
//!
//! **Differs.** The high orders of large pages are looked at as one.

use crate::gfp::{AllocFlags, Gfp, MigrateType, NAMES, gfp_to_alloc_flags_cma};
use crate::ids::MAX_PAGE_ORDER;
use crate::policy::{Number, Release};
use crate::zone::watermark::{Lists, WatermarkRules, ZoneLevel, zone_watermark_ok};

/// Larger figures are broken; sums of what is below don't overflow.
const MOST: u64 = 1 << 60;

/// What is known of a zone. Pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// Free pages.
    pub free: u64,
    /// The mark, boost included.
    pub mark: u64,
    /// lowmem_reserve for the request's highest zone.
    pub reserve: u64,
    /// What the highatomic reserve takes off, by the release's count.
    pub highatomic: u64,
    /// Free pages of CMA pageblocks.
    pub free_cma: u64,
}

/// Free blocks of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// How many.
    pub blocks: u64,
    /// Types that have some: bit i is [`MigrateType`] i; `None`: not printed.
    pub types: Option<u8>,
}

/// How a zone stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Pages that count for the request; negative if what is taken off is more than is free.
    pub usable: i64,
    /// It must have more than this: the mark that its rights leave, and the reserve.
    pub needed: i64,
    /// Is there a block of the order or above that it may take? `None`: not told.
    pub has_block: Option<bool>,
    /// Does the zone serve it? `None`: the marks pass and blocks are not told.
    pub passes: Option<bool>,
}

impl Look {
    /// Do the marks alone let it pass?
    pub fn marks_pass(&self) -> bool {
        self.usable > self.needed
    }
}

/// Looks at a zone. `orders`: its free blocks by order, if told; order 0 needs none.
pub fn look(
    number: Number,
    order: u8,
    stand: &Stand,
    flags: AllocFlags,
    orders: Option<&[Order]>,
) -> Look {
    let rules = WatermarkRules::by_number(number);
    let level = ZoneLevel {
        free: stand.free.min(MOST) as i64,
        mark: stand.mark.min(MOST),
        reserve: stand.reserve.min(MOST),
        highatomic: stand.highatomic.min(MOST),
        free_cma: stand.free_cma.min(MOST),
    };
    let (usable, needed) = rules.sides(order, &level, flags);
    let told = |from: u8, lists: Lists| {
        let orders = orders?;
        let fits = |o: &Order| match o.types {
            _ if o.blocks == 0 => false,
            None => true,
            Some(types) => MigrateType::ALL
                .into_iter()
                .any(|mt| types >> mt.index() & 1 != 0 && lists.holds(mt)),
        };
        let above = orders.get(usize::from(from)..).unwrap_or_default();
        // The model's test ends at its own largest order; what is larger counts there.
        let last = if from >= MAX_PAGE_ORDER { above } else { &above[..above.len().min(1)] };
        Some(last.iter().any(fits))
    };
    if order == 0 {
        let passes = zone_watermark_ok(&rules, 0, &level, flags, |_, _| true);
        return Look { usable, needed, has_block: Some(true), passes: Some(passes) };
    }
    let lists = rules.lists(flags);
    let has_block = told(order, lists)
        .map(|_| (order..=MAX_PAGE_ORDER.max(order)).any(|o| told(o, lists) == Some(true)));
    let passes = if !number.has_highatomic() {
        halving(order, usable, needed, stand.reserve.min(MOST) as i64, orders)
    } else if usable <= needed {
        Some(false)
    } else if order > MAX_PAGE_ORDER {
        has_block
    } else {
        has_block.map(|_| {
            zone_watermark_ok(&rules, order, &level, flags, |o, l| told(o, l) == Some(true))
        })
    };
    Look { usable, needed, has_block, passes }
}

/// The test of orders up to 4.3: blocks of each smaller order are taken off, the mark is halved
/// each time.
fn halving(
    order: u8,
    usable: i64,
    needed: i64,
    reserve: i64,
    orders: Option<&[Order]>,
) -> Option<bool> {
    if usable <= needed {
        return Some(false);
    }
    let orders = orders?;
    let (mut free, mut min) = (usable, needed - reserve);
    for o in 0..order {
        let blocks = orders.get(usize::from(o)).map_or(0, |o| o.blocks);
        free -= (blocks.min(MOST >> 16) << o) as i64;
        min >>= 1;
        if free <= min {
            return Some(false);
        }
    }
    Some(true)
}

/// Rights of the look before a kill: high mark, the cpuset, nothing else (not even CMA).
pub fn last_look_flags() -> AllocFlags {
    AllocFlags::WMARK_HIGH | AllocFlags::CPUSET
}

/// Rights of a request in the slow path, at min. Real-time tasks and interrupts are not told by a
/// report.
pub fn request_flags(number: Number, gfp: Gfp, order: u8) -> AllocFlags {
    let mut flags = AllocFlags::WMARK_MIN | AllocFlags::CPUSET;
    let reserves = !gfp.contains(Gfp::NOMEMALLOC);
    if gfp.contains(Gfp::HIGH) {
        flags |= AllocFlags::HIGH;
    }
    if number.has_fractions() {
        if !gfp.contains(Gfp::DIRECT_RECLAIM) {
            if reserves {
                flags |= AllocFlags::NON_BLOCK;
                if order > 0 && flags.contains(AllocFlags::MIN_RESERVE) {
                    flags |= AllocFlags::HIGHATOMIC;
                }
            }
            if flags.contains(AllocFlags::MIN_RESERVE) {
                flags -= AllocFlags::CPUSET;
            }
        }
    } else if gfp.contains(Gfp::ATOMIC) {
        if reserves {
            flags |= AllocFlags::HARDER;
        }
        flags -= AllocFlags::CPUSET;
    }
    if gfp.contains(Gfp::MEMALLOC) && reserves {
        flags |= AllocFlags::NO_WATERMARKS;
    }
    gfp_to_alloc_flags_cma(gfp, flags)
}

/// A mask as a report prints it: by its names where there are some (4.6 on), else by the bits of the
/// release. Names without a meaning here are passed over.
pub fn printed(number: Number, bits: u64, names: &[String]) -> Gfp {
    if !names.is_empty() {
        return names.iter().map(|name| named(number, name)).fold(Gfp::empty(), Gfp::union);
    }
    let bits = bits as u32;
    let has = |bit: u32| bits & bit != 0;
    let mut gfp: Gfp = OLD
        .iter()
        .filter(|(bit, _)| has(*bit))
        .fold(Gfp::empty(), |all, (_, flag)| all.union(*flag));
    if number.has_highatomic() {
        for (bit, flag) in [
            (0x10, Gfp::RECLAIMABLE),
            (0x8_0000, Gfp::ATOMIC),
            (0x40_0000, Gfp::DIRECT_RECLAIM),
            (0x200_0000, Gfp::KSWAPD_RECLAIM),
        ] {
            if has(bit) {
                gfp |= flag;
            }
        }
    } else {
        // __GFP_WAIT is both; a request without it is atomic.
        if has(0x10) {
            gfp |= Gfp::RECLAIM;
        } else if !has(0x40_0000) {
            gfp |= Gfp::ATOMIC | Gfp::KSWAPD_RECLAIM;
        }
        if has(0x8_0000) {
            gfp |= Gfp::RECLAIMABLE;
        }
    }
    gfp
}

/// Bits up to 4.5 that kept their places.
const OLD: &[(u32, Gfp)] = &[
    (0x1, Gfp::DMA),
    (0x2, Gfp::HIGHMEM),
    (0x4, Gfp::DMA32),
    (0x8, Gfp::MOVABLE),
    (0x20, Gfp::HIGH),
    (0x40, Gfp::IO),
    (0x80, Gfp::FS),
    (0x200, Gfp::NOWARN),
    (0x400, Gfp::RETRY_MAYFAIL),
    (0x800, Gfp::NOFAIL),
    (0x1000, Gfp::NORETRY),
    (0x2000, Gfp::MEMALLOC),
    (0x4000, Gfp::COMP),
    (0x8000, Gfp::ZERO),
    (0x1_0000, Gfp::NOMEMALLOC),
    (0x2_0000, Gfp::HARDWALL),
    (0x4_0000, Gfp::THISNODE),
];

fn named(number: Number, name: &str) -> Gfp {
    // Is the name of a release that the presets don't reach the same set? Only __GFP_ATOMIC's place
    // in GFP_ATOMIC differs.
    let release = number.preset().unwrap_or(Release::V4_9);
    match name {
        "GFP_TEMPORARY" => Gfp::KERNEL | Gfp::RECLAIMABLE,
        "__GFP_WAIT" => Gfp::RECLAIM,
        "__GFP_REPEAT" => Gfp::RETRY_MAYFAIL,
        "__GFP_DMA" => Gfp::DMA,
        "__GFP_DMA32" => Gfp::DMA32,
        "GFP_HIGHUSER_MOVABLE_NOACCOUNT" => Gfp::HIGHUSER_MOVABLE,
        _ => {
            NAMES.iter().find(|(n, _)| *n == name).map_or(Gfp::empty(), |(_, set)| set.of(release))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V6_1: Number = Number::new(6, 1);

    #[test]
    fn masks_of_all_times_mean_the_same() {
        let names = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        let zeroed = Gfp::HIGHUSER_MOVABLE | Gfp::ZERO;
        assert_eq!(printed(Number::new(3, 10), 0x280da, &[]), zeroed);
        assert_eq!(printed(Number::new(4, 5), 0x242_80ca, &[]), zeroed);
        let text = names("GFP_HIGHUSER_MOVABLE|__GFP_ZERO");
        assert_eq!(printed(Number::new(4, 9), 0x242_80ca, &text), zeroed);
        assert_eq!(printed(V6_1, 0xcc0, &names("GFP_KERNEL")), Gfp::KERNEL);
        assert_eq!(printed(Number::new(2, 6), 0x20, &[]), Gfp::atomic(Release::V4_9));
        let odd = names("GFP_KERNEL|__GFP_NOTRACK");
        assert_eq!(printed(V6_1, 0, &odd), Gfp::KERNEL);
    }

    #[test]
    fn rights_lower_the_mark_as_in_each_release() {
        let stand = Stand { free: 400, mark: 800, ..Stand::default() };
        let needed =
            |number, gfp| look(number, 0, &stand, request_flags(number, gfp, 0), None).needed;
        assert_eq!(needed(V6_1, Gfp::KERNEL), 800);
        assert_eq!(needed(V6_1, Gfp::atomic(Release::V6_1)), 300);
        assert_eq!(needed(Number::new(6, 6), Gfp::atomic(Release::V6_6)), 300);
        assert_eq!(look(V6_1, 0, &stand, last_look_flags(), None).needed, 800);
    }

    #[test]
    fn an_order_wants_a_block_of_its_types() {
        let mut orders = vec![Order::default(); 11];
        orders[0] = Order { blocks: 1000, types: Some(1) };
        orders[3] = Order { blocks: 2, types: Some(1 << MigrateType::HighAtomic.index()) };
        let stand = Stand { free: 1016, mark: 100, ..Stand::default() };
        let seen = |orders: Option<&[Order]>| {
            let found = look(V6_1, 3, &stand, last_look_flags(), orders);
            (found.marks_pass(), found.has_block, found.passes)
        };
        assert_eq!(seen(Some(&orders)), (true, Some(false), Some(false)));
        assert_eq!(seen(None), (true, None, None));
        orders[5] = Order { blocks: 1, types: Some(2) };
        assert_eq!(seen(Some(&orders)), (true, Some(true), Some(true)));
        // Up to 4.3 small blocks don't count at all.
        let old = look(Number::new(3, 10), 3, &stand, last_look_flags(), Some(&orders));
        assert_eq!((old.marks_pass(), old.passes), (true, Some(false)));
    }

    #[test]
    fn orders_above_the_models_largest_are_seen() {
        let mut orders = vec![Order::default(); 14];
        orders[13] = Order { blocks: 1, types: None };
        let stand = Stand { free: 10_000, mark: 100, ..Stand::default() };
        for order in [9, 10, 12, 13] {
            let found = look(V6_1, order, &stand, last_look_flags(), Some(&orders));
            assert_eq!(found.has_block, Some(true), "{order}");
            assert_eq!(found.passes, Some(found.marks_pass()), "{order}");
        }
    }

    #[test]
    fn broken_figures_overflow_nothing() {
        let stand = Stand {
            free: u64::MAX,
            mark: u64::MAX,
            reserve: u64::MAX,
            highatomic: u64::MAX,
            free_cma: u64::MAX,
        };
        let found = look(V6_1, 10, &stand, last_look_flags(), None);
        assert_eq!(found.passes, Some(false));
    }
}
