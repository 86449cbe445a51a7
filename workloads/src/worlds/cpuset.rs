//! J.1: a cpuset's mems change under a mempolicy.

use allocator::cpuset::Cpuset;
use allocator::gfp::Gfp;
use allocator::ids::{CpuId, NodeId};
use allocator::kernel::Kernel;
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::nodemask::NodeMask;
use allocator::policy::{Family, Policy};
use allocator::sync::Arc;
use allocator::task::Cx;

use super::{Outcome, World, boot, join, small_config, small_machine, start, writer};

/// The worlds of this axis.
pub const WORLDS: &[World] = &[World {
    family: Family::J1aTask,
    about: "task policy BIND {1} far from its CPU; the cpuset moves from {1} to {0}",
    shows: &["premature_oom", "premature_failure", "panic"],
    switches: 2,
    run: task_policy,
}];

fn one(node: u16) -> NodeMask {
    NodeMask::of([NodeId(node)])
}

/// A cpuset with these mems.
fn cpuset_with(kernel: &Arc<Kernel>, cx: &Cx, mems: &NodeMask) -> Arc<Cpuset> {
    let cs = kernel.cpusets.create(&kernel.cpusets.top, "A").expect("the first of its name");
    kernel.cpuset_write_mems(cx, &cs, mems).expect("nodes with memory");
    cs
}

fn task_policy(policy: Policy) -> Outcome {
    let kernel = boot(small_machine(2), policy, small_config());
    let u = writer(&kernel);
    let cs = cpuset_with(&kernel, &u, &one(1));
    let process = kernel.new_process("A", 0);
    let task = kernel.new_task(&process, CpuId(0), 0);
    kernel.cpuset_attach(&u, &cs, &[Arc::clone(&task)]).expect("a cpuset with mems takes tasks");
    let a = Cx::new(task, 1);
    kernel.set_mempolicy(&a, &PolicySpec::new(Mode::Bind, one(1))).expect("an allowed node");
    let tasks = vec![
        start(&kernel, "A", a, |kernel, cx| {
            if let Some(pfn) = kernel.alloc_pages_current(cx, Gfp::HIGHUSER_MOVABLE, 0) {
                kernel.free_pages(cx, pfn, 0);
            }
        }),
        start(&kernel, "U", u, move |kernel, cx| {
            kernel.cpuset_write_mems(cx, &cs, &one(0)).expect("a node with memory");
        }),
    ];
    join(tasks);
    Outcome { kernel }
}
