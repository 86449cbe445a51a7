//! J.1: a cpuset's mems change under a mempolicy.

use allocator::cpuset::Cpuset;
use allocator::gfp::Gfp;
use allocator::ids::{CpuId, NodeId, PAGE_SIZE};
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::mm::mbind::MbindFlags;
use allocator::mm::{Mm, VmFlags};
use allocator::nodemask::NodeMask;
use allocator::page_alloc::Nodemask;
use allocator::policy::{Family, Policy};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;
use allocator::sync::Arc;

use super::{Outcome, World, boot, join, small_config, small_machine, start, writer};

/// The worlds of this axis.
pub const WORLDS: &[World] = &[
    World {
        family: Family::J1aVma,
        about: "a fault on a VMA bound to {0}; the cpuset moves from {0} to {1}",
        shows: &["premature-oom", "premature-failure"],
        switches: 2,
        run: vma_policy,
    },
    World {
        family: Family::J1aTask,
        about: "task policy BIND {1} far from its CPU; the cpuset moves from {1} to {0}",
        shows: &["premature-oom", "premature-failure", "panic"],
        switches: 2,
        run: task_policy,
    },
    World {
        family: Family::J1b,
        about: "all memory used, swap on; the cpuset moves to the node before the kept zoneref",
        shows: &["lockup"],
        switches: 2,
        run: stale_zoneref,
    },
];

/// Worlds of the same families with a task more.
pub const LARGER: &[World] = &[
    World {
        about: "two faults on VMAs bound to {0}; the cpuset moves from {0} to {1}",
        run: two_vma_policies,
        ..WORLDS[0]
    },
    World {
        about: "two tasks with policy BIND {1} far from their CPU; the cpuset moves to {0}",
        run: two_task_policies,
        ..WORLDS[1]
    },
];

fn one(node: u16) -> NodeMask {
    NodeMask::of([NodeId(node)])
}

/// A cpuset with these mems.
fn cpuset_with(kernel: &Arc<Kernel>, cx: &Cx, mems: &NodeMask) -> Arc<Cpuset> {
    let cs = kernel.cpusets.create(&kernel.cpusets.top, "A").expect("the first of its name");
    kernel.cpuset_write_mems(cx, &cs, mems).expect("nodes with memory");
    cs
}

/// A process with one thread on CPU 0 and an address space, in the cpuset.
fn process_in(kernel: &Kernel, name: &str, writer: &Cx, cs: &Arc<Cpuset>) -> (Cx, Arc<Mm>) {
    let (task, mm) = kernel.new_user_process(name, 0, CpuId(0));
    kernel.cpuset_attach(writer, cs, &[Arc::clone(&task)]).expect("a cpuset with mems takes tasks");
    (Cx::new(task, 1), mm)
}

fn vma_policy(policy: Policy) -> Outcome {
    faults(policy, 1)
}

fn two_vma_policies(policy: Policy) -> Outcome {
    faults(policy, 2)
}

/// Some processes that each fault on a page of their own, and U.
fn faults(policy: Policy, processes: usize) -> Outcome {
    let kernel = boot(small_machine(2, 2048), policy, small_config());
    let u = writer(&kernel);
    let cs = cpuset_with(&kernel, &u, &one(0));
    let mut tasks = Vec::new();
    for name in ["A", "B"].into_iter().take(processes) {
        let (a, mm) = process_in(&kernel, name, &u, &cs);
        let start_vpn = kernel.mmap(&a, &mm, 1, VmFlags::empty(), None).expect("an empty mm");
        let bind = PolicySpec::new(Mode::Bind, one(0));
        kernel
            .mbind(&a, &mm, start_vpn.addr(), PAGE_SIZE, &bind, MbindFlags::empty())
            .expect("an allowed node");
        tasks.push((name, a, mm, start_vpn));
    }
    let faults = tasks.into_iter().map(|(name, a, mm, start_vpn)| {
        start(&kernel, name, a, move |kernel, cx| {
            // What the fault came to is the oracle's to judge: a kill ends it.
            let _fault = kernel.access(cx, &mm, start_vpn, true);
            drop(mm);
            kernel.do_exit(cx);
        })
    });
    let mut tasks: Vec<_> = faults.collect();
    tasks.push(start(&kernel, "U", u, move |kernel, cx| {
        kernel.cpuset_write_mems(cx, &cs, &one(1)).expect("a node with memory");
    }));
    join(tasks);
    Outcome { kernel }
}

/// Takes all of a node as page cache, which reclaim can give back for a while.
fn fill_with_cache(kernel: &Kernel, cx: &Cx, node: NodeId) {
    let gfp = (Gfp::HIGHUSER_MOVABLE | Gfp::THISNODE) - Gfp::RECLAIM;
    while kernel.page_cache_add(cx, gfp, node, Nodemask::None).is_some() {}
    kernel.lru_add_drain(cx);
}

fn stale_zoneref(policy: Policy) -> Outcome {
    let config = KernelConfig { lockup_passes: 6, swap_pages: 64, ..small_config() };
    let kernel = boot(small_machine(2, 1024), policy, config);
    let u = writer(&kernel);
    let cs = cpuset_with(&kernel, &u, &one(1));
    fill_with_cache(&kernel, &u, NodeId(0));
    fill_with_cache(&kernel, &u, NodeId(1));
    let (a, mm) = process_in(&kernel, "A", &u, &cs);
    kernel.set_mempolicy(&a, &PolicySpec::new(Mode::Bind, one(1))).expect("an allowed node");
    let tasks = vec![
        start(&kernel, "A", a, move |kernel, cx| {
            let page = kernel.alloc_pages_current(cx, Gfp::HIGHUSER_MOVABLE, 0);
            if let Some(pfn) = page {
                kernel.free_pages(cx, pfn, 0);
            }
            drop(mm);
            kernel.do_exit(cx);
        }),
        start(&kernel, "U", u, move |kernel, cx| {
            kernel.cpuset_write_mems(cx, &cs, &one(0)).expect("a node with memory");
        }),
    ];
    join(tasks);
    Outcome { kernel }
}

fn task_policy(policy: Policy) -> Outcome {
    requests(policy, 1)
}

fn two_task_policies(policy: Policy) -> Outcome {
    requests(policy, 2)
}

/// Some tasks that each ask for a page under their own policy, and U.
fn requests(policy: Policy, tasks: usize) -> Outcome {
    let kernel = boot(small_machine(2, 2048), policy, small_config());
    let u = writer(&kernel);
    let cs = cpuset_with(&kernel, &u, &one(1));
    let mut bound = Vec::new();
    for name in ["A", "B"].into_iter().take(tasks) {
        let process = kernel.new_process(name, 0);
        let task = kernel.new_task(&process, CpuId(0), 0);
        kernel
            .cpuset_attach(&u, &cs, &[Arc::clone(&task)])
            .expect("a cpuset with mems takes tasks");
        let a = Cx::new(task, 1);
        kernel.set_mempolicy(&a, &PolicySpec::new(Mode::Bind, one(1))).expect("an allowed node");
        bound.push((name, a));
    }
    let requests = bound.into_iter().map(|(name, a)| {
        start(&kernel, name, a, |kernel, cx| {
            if let Some(pfn) = kernel.alloc_pages_current(cx, Gfp::HIGHUSER_MOVABLE, 0) {
                kernel.free_pages(cx, pfn, 0);
            }
        })
    });
    let mut tasks: Vec<_> = requests.collect();
    tasks.push(start(&kernel, "U", u, move |kernel, cx| {
        kernel.cpuset_write_mems(cx, &cs, &one(0)).expect("a node with memory");
    }));
    join(tasks);
    Outcome { kernel }
}
