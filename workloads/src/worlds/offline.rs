//! J.5: pages are freed while their block is isolated.

use allocator::gfp::Gfp;
use allocator::hotplug::{BlockId, HotplugError};
use allocator::ids::{NodeId, Pfn, ZoneIdx};
use allocator::page_alloc::Nodemask;
use allocator::policy::{Family, Policy};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;
use allocator::sync::Arc;
use allocator::sync::atomic::Ordering;

use super::{Outcome, World, boot, join, movable_machine, small_config, start, task_on};

/// The worlds of this axis.
pub const WORLDS: &[World] = &[
    World {
        family: Family::J5a,
        about: "a page is freed while its block goes offline",
        shows: &["stray-page", "spurious-ebusy"],
        switches: 3,
        run: freed,
    },
    World {
        family: Family::J5b,
        about: "a page is freed and taken again while its block goes offline",
        shows: &["isolated-handed-out"],
        switches: 3,
        run: freed_and_taken,
    },
    World {
        family: Family::J5f,
        about: "an unmovable request takes a page just before its block is isolated",
        shows: &["in-transit"],
        switches: 2,
        run: taken,
    },
];

/// Worlds of the same families with a task more.
pub const LARGER: &[World] = &[World {
    about: "two pages are freed by two tasks while their block goes offline",
    run: two_freed,
    ..WORLDS[0]
}];

/// Boots with pcplists that keep a few pages.
fn world(policy: Policy) -> (Arc<Kernel>, Cx, Cx) {
    let config = KernelConfig { hotplug: true, pcp_batch: Some(4), ..small_config() };
    // While one block is isolated the other keeps the zone above its marks, so that pcplists are still
    // reached.
    let kernel = boot(movable_machine(2), policy, config);
    let f = task_on(&kernel, "F", 0, 0);
    let o = task_on(&kernel, "O", 1, 0);
    (kernel, f, o)
}

/// A page of the movable block in use, that nothing else is on the pcplists with.
fn movable_page(kernel: &Kernel, cx: &Cx) -> Pfn {
    let page = kernel
        .alloc_pages(cx, Gfp::HIGHUSER_MOVABLE, 0, NodeId(0), Nodemask::None)
        .expect("the block is free");
    kernel.drain_all_pages(cx, None);
    page
}

/// O's part: an offline that a signal may end, since a page of the block is in use for a while.
fn offline(kernel: &Kernel, cx: &Cx, block: BlockId) {
    match kernel.offline_pages(cx, block) {
        Ok(_) | Err(HotplugError::Signal | HotplugError::Busy(_) | HotplugError::Unmovable(_)) => {}
        Err(
            error @ (HotplugError::Holes(_)
            | HotplugError::SameState(_)
            | HotplugError::Poisoned(_)),
        ) => {
            panic!("offline of a whole online block: {error}")
        }
    }
}

fn freed(policy: Policy) -> Outcome {
    let (kernel, f, o) = world(policy);
    let page = movable_page(&kernel, &f);
    let block = BlockId(page.0 / kernel.machine.block_pages);
    let tasks = vec![
        start(&kernel, "F", f, move |kernel, cx| kernel.free_pages(cx, page, 0)),
        start(&kernel, "O", o, move |kernel, cx| give_up_after(kernel, cx, block)),
    ];
    join(tasks);
    Outcome { kernel }
}

/// Two pages, freed by two tasks.
fn two_freed(policy: Policy) -> Outcome {
    let (kernel, f, o) = world(policy);
    let (page, other) = (movable_page(&kernel, &f), movable_page(&kernel, &f));
    let block = BlockId(page.0 / kernel.machine.block_pages);
    let g = task_on(&kernel, "G", 0, 0);
    let tasks = vec![
        start(&kernel, "F", f, move |kernel, cx| kernel.free_pages(cx, page, 0)),
        start(&kernel, "G", g, move |kernel, cx| kernel.free_pages(cx, other, 0)),
        start(&kernel, "O", o, move |kernel, cx| give_up_after(kernel, cx, block)),
    ];
    join(tasks);
    Outcome { kernel }
}

fn freed_and_taken(policy: Policy) -> Outcome {
    let (kernel, f, o) = world(policy);
    let page = movable_page(&kernel, &f);
    let block = BlockId(page.0 / kernel.machine.block_pages);
    let tasks = vec![
        start(&kernel, "F", f, move |kernel, cx| {
            kernel.free_pages(cx, page, 0);
            let again = kernel.alloc_pages(cx, Gfp::HIGHUSER_MOVABLE, 0, NodeId(0), Nodemask::None);
            if let Some(pfn) = again {
                kernel.free_pages(cx, pfn, 0);
            }
        }),
        start(&kernel, "O", o, move |kernel, cx| give_up_after(kernel, cx, block)),
    ];
    join(tasks);
    Outcome { kernel }
}

/// An offline that is given up by a signal after some failed passes.
fn give_up_after(kernel: &Kernel, cx: &Cx, block: BlockId) {
    kernel.hotplug.signal_after_passes.store(4, Ordering::Relaxed);
    offline(kernel, cx, block);
}

fn taken(policy: Policy) -> Outcome {
    let (kernel, f, o) = world(policy);
    let normal = kernel.zone_of(NodeId(0), ZoneIdx::Normal).id;
    let block = kernel.blocks_of_zone(normal)[0];
    let tasks = vec![
        start(&kernel, "F", f, |kernel, cx| {
            let page = kernel.alloc_pages(cx, Gfp::KERNEL, 0, NodeId(0), Nodemask::None);
            if let Some(pfn) = page {
                kernel.free_pages(cx, pfn, 0);
            }
        }),
        start(&kernel, "O", o, move |kernel, cx| give_up_after(kernel, cx, block)),
    ];
    join(tasks);
    Outcome { kernel }
}
