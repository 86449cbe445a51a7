//! The buddy against a naive reference, and its rules one by one.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::gfp::Wmark;
use crate::ids::{NodeId, ZoneId, ZoneIdx};

const BASE: u32 = 4096;
const CPU: CpuId = CpuId(0);

/// A zone of `blocks` pageblocks, all free and Movable.
struct World {
    frames: FrameTable,
    pageblocks: PageblockTable,
    /// Boxed: lists with blocks on them never move.
    zone: Box<Zone>,
    pages: u32,
    rules: BuddyRules,
}

impl World {
    fn new(blocks: u32, rules: BuddyRules) -> Self {
        let pages = blocks * PAGEBLOCK_NR_PAGES;
        let max = u64::from(BASE + pages);
        let zone = Box::new(Zone::new(ZoneId::new(NodeId(0), ZoneIdx::Normal), 1));
        let world = Self {
            frames: FrameTable::new(max).unwrap(),
            pageblocks: PageblockTable::new(max),
            zone,
            pages,
            rules: BuddyRules { boost_factor: 0, ..rules },
        };
        world.zone.set_sizes(u64::from(pages), u64::from(pages));
        for b in 0..blocks {
            let pfn = Pfn(BASE + b * PAGEBLOCK_NR_PAGES);
            world.pageblocks.init(pfn, world.zone.id, MigrateType::Movable);
        }
        for b in 0..blocks {
            world.free(Pfn(BASE + b * PAGEBLOCK_NR_PAGES), PAGEBLOCK_ORDER);
        }
        world
    }

    fn buddy(&self) -> Buddy<'_> {
        Buddy {
            frames: &self.frames,
            pageblocks: &self.pageblocks,
            zone: &self.zone,
            rules: self.rules,
        }
    }

    fn free(&self, pfn: Pfn, order: u8) {
        let mut l = self.zone.lock.lock(|| {});
        let migratetype = self.pageblocks.of(pfn).migratetype();
        self.buddy().free_one_page(&mut l, CPU, pfn, order, migratetype, FreeTo::Head);
    }

    fn alloc(&self, order: u8, migratetype: MigrateType) -> Option<Pfn> {
        let mut l = self.zone.lock.lock(|| {});
        let mut fallback = Fallback::default();
        let (pfn, from) = self.buddy().rmqueue(&mut l, order, migratetype, false, &mut fallback)?;
        self.buddy().account(&mut l, CPU, -(1 << order), from);
        self.frames.get(pfn).set_state(FrameState::allocated(order));
        Some(pfn)
    }

    /// Free frames as the lists hold them; panics on an overlap or a wrong count.
    fn free_frames(&self) -> BTreeSet<u32> {
        let mut all = BTreeSet::new();
        for (order, area) in self.zone.free_area.iter().enumerate() {
            let mut blocks = 0;
            for t in MigrateType::ALL {
                for pfn in area.list(t).iter(&self.frames) {
                    assert_eq!(pfn.0 % (1 << order), 0, "misaligned block");
                    for f in pfn.0..pfn.0 + (1 << order) {
                        assert!(all.insert(f), "frame {f:#x} is free twice");
                    }
                    blocks += 1;
                }
            }
            assert_eq!(blocks, area.nr_free());
        }
        assert_eq!(all.len() as u64, self.zone.free_pages_exact());
        all
    }

    /// Lists as (order, type, blocks in order), for comparing two worlds.
    fn lists(&self) -> Vec<(usize, MigrateType, Vec<u32>)> {
        let mut lists = Vec::new();
        for (order, area) in self.zone.free_area.iter().enumerate() {
            for t in MigrateType::ALL {
                let blocks: Vec<u32> = area.list(t).iter(&self.frames).map(|p| p.0).collect();
                if !blocks.is_empty() {
                    lists.push((order, t, blocks));
                }
            }
        }
        lists
    }
}

#[derive(Clone, Debug)]
enum Op {
    Alloc(u8, MigrateType),
    Free(usize),
}

fn op() -> impl Strategy<Value = Op> {
    use MigrateType::{Movable, Reclaimable, Unmovable};
    let types = prop_oneof![Just(Unmovable), Just(Movable), Just(Reclaimable)];
    let orders = prop_oneof![6 => Just(0u8), 3 => 1..4u8, 1 => 4..=10u8];
    prop_oneof![
        3 => (orders, types).prop_map(|(o, t)| Op::Alloc(o, t)),
        2 => any::<usize>().prop_map(Op::Free),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_frame_is_lost_or_handed_out_twice(
        ops in prop::collection::vec(op(), 1..300),
        newest in any::<bool>(),
        finds_smallest in any::<bool>(),
    ) {
        let rules = if newest {
            BuddyRules::NEWEST
        } else {
            BuddyRules { merges_by_type: false, claims_then_steals: false, finds_smallest,
                ..BuddyRules::NEWEST }
        };
        let world = World::new(8, rules);
        let mut held: Vec<(Pfn, u8)> = Vec::new();
        for op in ops {
            match op {
                Op::Alloc(order, t) => {
                    let expected = world.zone.free_pages_exact() >= 1 << order;
                    match world.alloc(order, t) {
                        Some(pfn) => {
                            prop_assert!(expected);
                            held.push((pfn, order));
                        }
                        None => prop_assert!(order > 0 || !expected, "order 0 must find a frame"),
                    }
                }
                Op::Free(i) if !held.is_empty() => {
                    let (pfn, order) = held.swap_remove(i % held.len());
                    world.free(pfn, order);
                }
                Op::Free(_) => {}
            }
        }
        // The reference: every frame is free or held, and no two blocks overlap.
        let mut all = world.free_frames();
        for (pfn, order) in &held {
            for f in pfn.0..pfn.0 + (1 << order) {
                prop_assert!(all.insert(f), "frame {:#x} is held and free", f);
            }
        }
        prop_assert_eq!(all.len(), world.pages as usize);
        for (pfn, order) in held {
            world.free(pfn, order);
        }
        prop_assert_eq!(world.free_frames().len(), world.pages as usize);
    }

    #[test]
    fn a_bulk_takes_what_single_requests_would(
        before in prop::collection::vec((0..4u8, any::<bool>()), 0..60),
        order in 0..4u8,
        count in 1..2100u32,
    ) {
        let worlds = [World::new(6, BuddyRules::NEWEST), World::new(6, BuddyRules::NEWEST)];
        for world in &worlds {
            let held: Vec<_> =
                before.iter().map(|(o, keep)| (world.alloc(*o, MigrateType::Movable), *o, *keep))
                    .collect();
            for (pfn, o, keep) in held {
                if let (Some(pfn), false) = (pfn, keep) {
                    world.free(pfn, o);
                }
            }
        }
        let list = FrameList::default();
        let got = {
            let mut l = worlds[0].zone.lock.lock(|| {});
            worlds[0].buddy().rmqueue_bulk(&mut l, CPU, order, count, &list,
                MigrateType::Movable, false, &mut Fallback::default())
        };
        let bulk: Vec<u32> = list.iter(&worlds[0].frames).map(|p| p.0).collect();
        let single: Vec<u32> = (0..count)
            .map_while(|_| worlds[1].alloc(order, MigrateType::Movable).map(|p| p.0))
            .collect();
        prop_assert_eq!(got as usize, single.len());
        prop_assert_eq!(bulk, single);
        prop_assert_eq!(worlds[0].lists(), worlds[1].lists());
        prop_assert_eq!(worlds[0].zone.free_pages_exact(), worlds[1].zone.free_pages_exact());
    }

    #[test]
    fn a_run_merges_as_its_blocks_would_one_by_one(
        first in 0..1500u32,
        blocks in 1..700u32,
        order in 0..4u8,
        descends in any::<bool>(),
        others in prop::collection::vec(0..2048u32, 0..400),
        types in prop::collection::vec(0..6u32, 4),
        merges_by_type in any::<bool>(),
    ) {
        // Stale types up to 6.8: a run may go to another type's lists than its pageblocks'.
        let rules =
            BuddyRules { merges_by_type, claims_then_steals: false, ..BuddyRules::NEWEST };
        let worlds = [World::new(4, rules), World::new(4, rules)];
        let first = first >> order << order;
        let blocks = blocks.min((2048 - first) >> order);
        let span = first..first + (blocks << order);
        let migratetype = MigrateType::from_bits(types[0]);
        for world in &worlds {
            while world.alloc(10, MigrateType::Movable).is_some() {}
            for (b, t) in types.iter().enumerate() {
                let pfn = Pfn(BASE + b as u32 * PAGEBLOCK_NR_PAGES);
                world.pageblocks.set_migratetype(pfn, MigrateType::from_bits(*t));
            }
            let mut free: BTreeSet<u32> = others.iter().copied().collect();
            free.retain(|page| !span.contains(page));
            free.iter().for_each(|page| world.free(Pfn(BASE + page), 0));
        }
        let starts = span.clone().step_by(1 << order).map(|page| Pfn(BASE + page));
        let starts: Vec<Pfn> = if descends { starts.rev().collect() } else { starts.collect() };
        {
            let mut l = worlds[0].zone.lock.lock(|| {});
            let mut runs = starts.iter();
            let start = Run::new(*runs.next().unwrap(), order, migratetype);
            let run = runs.try_fold(start, |run, pfn| run.and(*pfn, migratetype)).unwrap();
            prop_assert_eq!((run.first.0, run.blocks), (BASE + first, blocks));
            worlds[0].buddy().merge_run(&mut l, run);
        }
        for pfn in starts {
            let mut l = worlds[1].zone.lock.lock(|| {});
            worlds[1].buddy().merge(&mut l, pfn, order, migratetype, FreeTo::Head);
        }
        prop_assert_eq!(worlds[0].lists(), worlds[1].lists());
        for page in 0..2048 {
            let states = worlds.each_ref().map(|w| w.frames.get(Pfn(BASE + page)).state());
            let blocks = worlds.each_ref().map(|w| w.pageblocks.of(Pfn(BASE + page)));
            // What an allocated block covers keeps what it was before: nothing looks at it.
            if !span.contains(&page) || states.iter().any(|s| s.kind() != FrameKind::None) {
                prop_assert_eq!(states[0], states[1], "frame {:#x}", page);
            }
            prop_assert_eq!(blocks[0], blocks[1]);
        }
    }
}

#[test]
fn a_run_goes_one_way_and_keeps_its_type() {
    use MigrateType::{Movable, Unmovable};
    let run = Run::new(Pfn(8), 1, Movable);
    let down = run.and(Pfn(6), Movable).unwrap();
    let up = run.and(Pfn(10), Movable).unwrap();
    assert_eq!((down.first, down.blocks, down.descends), (Pfn(6), 2, true));
    assert_eq!((up.first, up.blocks, up.descends), (Pfn(8), 2, false));
    assert_eq!((down.and(Pfn(10), Movable), up.and(Pfn(6), Movable)), (None, None));
    assert_eq!((run.and(Pfn(7), Movable), run.and(Pfn(9), Movable)), (None, None));
    assert_eq!(run.and(Pfn(10), Unmovable), None);
}

#[test]
fn one_block_taken_page_by_page_comes_in_ascending_order() {
    let world = World::new(2, BuddyRules::NEWEST);
    assert_eq!(world.zone.free_area[10].nr_free(), 1, "two free pageblocks merge");
    let pfns: Vec<u32> =
        (0..1024).map(|_| world.alloc(0, MigrateType::Movable).unwrap().0).collect();
    assert_eq!(pfns, (BASE..BASE + 1024).collect::<Vec<_>>());
}

#[test]
fn blocks_of_other_types_keep_apart_by_the_newer_rule_only() {
    for (merges_by_type, order) in [(true, 9), (false, 10)] {
        let rules = BuddyRules { merges_by_type, ..BuddyRules::NEWEST };
        let world = World::new(2, rules);
        let pfn = world.alloc(10, MigrateType::Movable).unwrap();
        world.pageblocks.set_migratetype(pfn.add(512), MigrateType::HighAtomic);
        world.free(pfn, 9);
        world.free(pfn.add(512), 9);
        assert_eq!(world.zone.free_area[order].nr_free(), if order == 9 { 2 } else { 1 });
    }
}

#[test]
fn an_isolated_pageblock_never_merges_with_its_neighbour() {
    for merges_by_type in [true, false] {
        let world = World::new(2, BuddyRules { merges_by_type, ..BuddyRules::NEWEST });
        let pfn = world.alloc(10, MigrateType::Movable).unwrap();
        world.zone.nr_isolate_pageblock.store(1, Ordering::Relaxed);
        world.pageblocks.set_migratetype(pfn.add(512), MigrateType::Isolate);
        world.free(pfn, 9);
        world.free(pfn.add(512), 9);
        assert_eq!(world.zone.free_area[9].nr_free(), 2);
        assert_eq!(world.zone.free_pages_exact(), 512, "isolated pages are not free");
    }
}

#[test]
fn an_unmovable_request_claims_a_whole_free_pageblock() {
    let world = World::new(4, BuddyRules::NEWEST);
    let pfn = world.alloc(0, MigrateType::Unmovable).unwrap();
    assert_eq!(world.pageblocks.of(pfn).migratetype(), MigrateType::Unmovable);
    // The largest block was taken: both its pageblocks changed hands.
    let unmovable = (0..4).filter(|b| {
        let pfn = Pfn(BASE + b * PAGEBLOCK_NR_PAGES);
        world.pageblocks.of(pfn).migratetype() == MigrateType::Unmovable
    });
    assert_eq!(unmovable.count(), 2);
}

#[test]
fn a_fallback_below_pageblock_size_boosts_the_watermark() {
    let mut world = World::new(4, BuddyRules::NEWEST);
    world.rules.boost_factor = 15000;
    world.rules.claims_then_steals = false;
    {
        let l = world.zone.lock.lock(|| {});
        world.zone.set_watermarks(&l, [10, 20, 400, 0]);
    }
    // Break the Movable blocks up so that no free block of order 9 is left.
    let held: Vec<Pfn> = (0..4).map(|_| world.alloc(9, MigrateType::Movable).unwrap()).collect();
    for pfn in held {
        for piece in (0..512).step_by(2) {
            world.free(pfn.add(piece), 0);
        }
    }
    assert!(world.alloc(0, MigrateType::Unmovable).is_some());
    assert_eq!(world.zone.watermark_boost(), 512);
    assert_eq!(world.zone.wmark_pages(Wmark::Min), 10 + 512);
}

#[test]
fn a_block_whose_parent_is_about_to_merge_goes_to_the_tail() {
    let world = World::new(1, BuddyRules::NEWEST);
    let pages: Vec<Pfn> = (0..16).map(|_| world.alloc(0, MigrateType::Movable).unwrap()).collect();
    // 2-3 free as order 1 above 0; 8: alone with allocated neighbours.
    world.free(pages[8], 0);
    world.free(pages[2], 0);
    world.free(pages[3], 0);
    world.free(pages[0], 0);
    let order0: Vec<u32> = world.zone.free_area[0]
        .list(MigrateType::Movable)
        .iter(&world.frames)
        .map(|p| p.0)
        .collect();
    assert_eq!(order0, [pages[8].0, pages[0].0], "0 waits at the tail to merge with 1 and 2-3");
}

/// A zone whose lists are about to be told wrong.
#[cfg(debug_assertions)]
fn planted() -> World {
    World::new(2, BuddyRules::NEWEST)
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "nr_free and the blocks on the free lists differ")]
fn an_nr_free_off_by_one_is_caught_by_the_next_block() {
    let world = planted();
    world.zone.free_area[0].add_nr_free(1);
    let _page = world.alloc(0, MigrateType::Movable);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "goes onto a second list")]
fn a_block_on_two_lists_is_caught_when_it_goes_onto_the_second() {
    let world = planted();
    let free = world.zone.free_area[usize::from(PAGEBLOCK_ORDER + 1)].list(MigrateType::Movable);
    let block = free.head().unwrap();
    world.buddy().put_back(block, 0, MigrateType::Movable, FreeTo::Head);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is taken off a list that it is not on")]
fn a_block_is_taken_off_no_list_but_its_own() {
    let world = planted();
    let page = world.alloc(0, MigrateType::Movable).unwrap();
    world.free(page, 0);
    let other = FrameList::default();
    let free = world.zone.free_area[usize::from(PAGEBLOCK_ORDER + 1)].list(MigrateType::Movable);
    other.remove(&world.frames, free.head().unwrap());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is on another type's list")]
fn a_block_on_another_type_s_list_is_caught_when_it_is_put_there() {
    let world = planted();
    let page = world.alloc(0, MigrateType::Movable).unwrap();
    let mut l = world.zone.lock.lock(|| {});
    world.buddy().free_one_page(&mut l, CPU, page, 0, MigrateType::Unmovable, FreeTo::Head);
}
