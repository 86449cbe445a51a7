//! J.4: zonelists are rebuilt under their readers.

use allocator::gfp::Gfp;
use allocator::hotplug::BlockId;
use allocator::ids::{CpuId, NodeId, ZoneIdx};
use allocator::machine::Zone;
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::nodemask::NodeMask;
use allocator::page_alloc::Nodemask;
use allocator::policy::{Family, Policy};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, pf};
use allocator::sync::Arc;

use super::{
    Outcome, World, boot, join, movable_machine, small_config, small_machine, start, task_on,
};

/// The worlds of this axis.
pub const WORLDS: &[World] = &[
    World {
        family: Family::J4a,
        about: "a request keeps its zoneref while Movable in front of Normal goes away",
        shows: &["premature-oom", "premature-failure", "panic"],
        switches: 2,
        run: lost_list,
    },
    World {
        family: Family::J4b,
        about: "an interrupt allocates on the CPU that is rebuilding",
        shows: &["lockup", "deadlock", "livelock"],
        switches: 1,
        run: interrupted_writer,
    },
    World {
        family: Family::J4c,
        about: "a pty write allocates under port->lock while the rebuild prints",
        shows: &["lockup", "deadlock", "livelock"],
        switches: 2,
        run: printing_writer,
    },
    World {
        family: Family::J4d,
        about: "PREEMPT_RT: a real-time reader outranks the writer on its CPU",
        shows: &["lockup"],
        switches: 1,
        run: busy_reader,
    },
    World {
        family: Family::J4e,
        about: "a request keeps its zoneref while Movable comes in front of Normal",
        shows: &["unmovable-in-movable"],
        switches: 2,
        run: grown_list,
    },
    World {
        family: Family::J4f,
        about: "a request bound to a node keeps its zoneref while that node's Movable goes away",
        shows: &["misplaced-by-rebuild"],
        switches: 2,
        run: lost_policy,
    },
];

/// Worlds of the same families with a task more.
pub const LARGER: &[World] = &[World {
    about: "two requests keep their zonerefs while Movable in front of Normal goes away",
    run: twice_lost_list,
    ..WORLDS[0]
}];

fn config() -> KernelConfig {
    KernelConfig { hotplug: true, irq_forces_slow_path: true, lockup_passes: 20, ..small_config() }
}

fn movable_block(kernel: &Kernel) -> BlockId {
    kernel.blocks_of_zone(kernel.zone_of(NodeId(0), ZoneIdx::Movable).id)[0]
}

/// A kernel request that has just failed its fast path.
fn kernel_request(kernel: &Arc<Kernel>, cx: &Cx) {
    let page = kernel.alloc_pages_forced_slow(cx, Gfp::KERNEL, 0, NodeId(0), Nodemask::None);
    if let Some(pfn) = page {
        kernel.free_pages(cx, pfn, 0);
    }
}

fn lost_list(policy: Policy) -> Outcome {
    lists_lost(policy, 1)
}

fn twice_lost_list(policy: Policy) -> Outcome {
    lists_lost(policy, 2)
}

/// Some requests, and H.
fn lists_lost(policy: Policy, requests: usize) -> Outcome {
    let kernel = boot(movable_machine(1), policy, config());
    let block = movable_block(&kernel);
    let names = ["A", "B"].into_iter().take(requests);
    let mut tasks: Vec<_> = names
        .map(|name| start(&kernel, name, task_on(&kernel, name, 0, 0), kernel_request))
        .collect();
    tasks.push(start(&kernel, "H", task_on(&kernel, "H", 1, 0), move |kernel, cx| {
        kernel.offline_pages(cx, block).expect("an empty movable block goes offline");
    }));
    join(tasks);
    Outcome { kernel }
}

fn grown_list(policy: Policy) -> Outcome {
    let kernel = boot(movable_machine(1), policy, config());
    let block = movable_block(&kernel);
    let h = task_on(&kernel, "H", 1, 0);
    kernel.offline_pages(&h, block).expect("an empty movable block goes offline");
    let tasks = vec![
        start(&kernel, "A", task_on(&kernel, "A", 0, 0), kernel_request),
        start(&kernel, "H", h, move |kernel, cx| {
            kernel.online_pages(cx, block).expect("it was offline");
        }),
    ];
    join(tasks);
    Outcome { kernel }
}

/// The node's list is [its Movable, its Normal, the other node's Normal]; A starts at the second.
fn lost_policy(policy: Policy) -> Outcome {
    let mut machine = small_machine(2, 2048);
    machine.block_pages = 512;
    let end = machine.max_pfn();
    machine.nodes[1].zones.push(Zone::whole(ZoneIdx::Movable, end, 512));
    let kernel = boot(machine, policy, config());
    let block = kernel.blocks_of_zone(kernel.zone_of(NodeId(1), ZoneIdx::Movable).id)[0];
    let a = task_on(&kernel, "A", 1, 0);
    let bind = PolicySpec::new(Mode::Bind, NodeMask::of([NodeId(1)]));
    kernel.set_mempolicy(&a, &bind).expect("a node with memory");
    let tasks = vec![
        start(&kernel, "A", a, |kernel, cx| {
            if let Some(pfn) = kernel.alloc_pages_current(cx, Gfp::KERNEL, 0) {
                kernel.free_pages(cx, pfn, 0);
            }
        }),
        start(&kernel, "H", task_on(&kernel, "H", 0, 0), move |kernel, cx| {
            kernel.offline_pages(cx, block).expect("an empty movable block goes offline");
        }),
    ];
    join(tasks);
    Outcome { kernel }
}

fn interrupted_writer(policy: Policy) -> Outcome {
    let kernel = boot(movable_machine(1), policy, config());
    let tasks = vec![
        start(&kernel, "H", task_on(&kernel, "H", 0, 0), |kernel, cx| {
            kernel.build_all_zonelists(cx);
        }),
        // The device: when it gets to run is when the interrupt comes.
        start(&kernel, "device", task_on(&kernel, "device", 1, 0), |kernel, cx| {
            kernel.point(cx, allocator::race::Point::IrqHandler);
            kernel.raise_irq(CpuId(0));
        }),
    ];
    join(tasks);
    Outcome { kernel }
}

fn printing_writer(policy: Policy) -> Outcome {
    let config = KernelConfig { console_port: true, ..config() };
    let kernel = boot(movable_machine(1), policy, config);
    let tasks = vec![
        start(&kernel, "tty", task_on(&kernel, "tty", 0, 0), |kernel, cx| kernel.tty_write(cx)),
        start(&kernel, "H", task_on(&kernel, "H", 1, 0), |kernel, cx| {
            kernel.build_all_zonelists(cx);
        }),
    ];
    join(tasks);
    Outcome { kernel }
}

fn busy_reader(policy: Policy) -> Outcome {
    let config = KernelConfig { preempt_rt: true, lockup_passes: 4, ..config() };
    let kernel = boot(movable_machine(1), policy, config);
    // Nothing is free for the reader below its marks: it can only loop.
    let filler = task_on(&kernel, "filler", 1, pf::MEMALLOC);
    let mut held = Vec::new();
    while let Some(pfn) = kernel.alloc_pages(
        &filler,
        Gfp::HIGHUSER_MOVABLE | Gfp::MEMALLOC | Gfp::NORETRY,
        0,
        NodeId(0),
        Nodemask::None,
    ) {
        held.push(pfn);
    }
    let tasks = vec![
        start(&kernel, "H", task_on(&kernel, "H", 0, 0), |kernel, cx| {
            kernel.build_all_zonelists(cx);
        }),
        start(&kernel, "A", task_on(&kernel, "A", 0, pf::RT), |kernel, cx| {
            let gfp = Gfp::KERNEL | Gfp::NORETRY;
            let page = kernel.alloc_pages_forced_slow(cx, gfp, 0, NodeId(0), Nodemask::None);
            assert!(page.is_none(), "the machine is full");
        }),
    ];
    join(tasks);
    for pfn in held {
        kernel.free_pages(&filler, pfn, 0);
    }
    Outcome { kernel }
}
