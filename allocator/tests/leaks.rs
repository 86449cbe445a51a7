//! A kernel that is dropped leaves nothing behind: an exploration drops thousands a second.

use allocator::ids::CpuId;
use allocator::machine::Machine;
use allocator::policy::Policy;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::sync::Arc;

#[test]
fn a_dropped_kernel_leaves_no_task_no_process_and_no_cpuset_behind() {
    let kernel =
        Kernel::boot(Machine::uniform(2, 1, 1024), Policy::mainline(), KernelConfig::default());
    let kernel = kernel.unwrap();
    let process = kernel.new_process("user", 0);
    let task = kernel.new_task(&process, CpuId(0), 0);
    let thread = kernel.kernel_thread("kthread", CpuId(0)).task;
    let cpuset = kernel.cpusets.create(&kernel.cpusets.top, "a").unwrap();
    let tasks = [Arc::downgrade(&task), Arc::downgrade(&thread)];
    let processes = [Arc::downgrade(&process), Arc::downgrade(&thread.process)];
    let (model, group) = (Arc::downgrade(&kernel), Arc::downgrade(&cpuset));
    drop((task, thread, process, cpuset, kernel));
    assert!(model.upgrade().is_none() && group.upgrade().is_none());
    assert!(tasks.iter().all(|task| task.upgrade().is_none()));
    assert!(processes.iter().all(|process| process.upgrade().is_none()));
}
