//! A loop for instruction counts: `hit_path WHAT TIMES`, as `scripts/test instructions` runs it under
//! callgrind, which counts inside `measured` only: start-up, and the clock's calibration at the first
//! event, take as many instructions as they please.

use std::hint::black_box;
use std::process::ExitCode;

use allocator::gfp::Gfp;
use allocator::ids::{CpuId, NodeId, Pfn};
use allocator::machine::Machine;
use allocator::mm::{Fault, VmFlags};
use allocator::page_alloc::Nodemask;
use allocator::policy::Policy;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;
use allocator::sync::Arc;

const WARM_UP: u32 = 1000;
/// Pages of a bulk: several refills and drains of a pcplist.
const BULK: usize = 2048;

/// One operation, and what it is called.
type Operation = (&'static str, fn(&Arc<Kernel>, &Cx));

const OPERATIONS: [Operation; 4] = [
    ("pair-order0", |kernel, cx| pair(kernel, cx, 0)),
    ("pair-order9", |kernel, cx| pair(kernel, cx, 9)),
    ("bulk-2048", bulk),
    ("fault", fault),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let times = args.next().and_then(|n| n.parse::<u32>().ok());
    let operation = OPERATIONS.iter().find(|(name, _)| *name == what);
    let (Some((_, operation)), Some(times)) = (operation, times) else {
        let names: Vec<&str> = OPERATIONS.iter().map(|(name, _)| *name).collect();
        eprintln!("hit_path: want one of {} and a number", names.join(", "));
        return ExitCode::from(2);
    };
    let machine = Machine::uniform(1, 1, 1 << 15);
    let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
    let kernel = Kernel::boot(machine, Policy::mainline(), config).expect("the machine boots");
    let (task, _mm) = kernel.new_user_process("hit_path", 0, CpuId(0));
    let cx = Cx::new(task, 7);
    for _ in 0..WARM_UP {
        operation(&kernel, &cx);
    }
    measured(*operation, &kernel, &cx, times);
    ExitCode::SUCCESS
}

/// What is counted; found by this name.
#[inline(never)]
fn measured(operation: fn(&Arc<Kernel>, &Cx), kernel: &Arc<Kernel>, cx: &Cx, times: u32) {
    for _ in 0..times {
        operation(kernel, cx);
    }
}

fn take(kernel: &Kernel, cx: &Cx, order: u8) -> Pfn {
    kernel
        .alloc_pages(cx, Gfp::HIGHUSER_MOVABLE, order, NodeId(0), Nodemask::None)
        .expect("nearly all memory is free")
}

fn pair(kernel: &Arc<Kernel>, cx: &Cx, order: u8) {
    let page = take(kernel, cx, order);
    kernel.free_pages(cx, black_box(page), order);
}

fn bulk(kernel: &Arc<Kernel>, cx: &Cx) {
    let mut pages = [Pfn(0); BULK];
    pages.fill_with(|| take(kernel, cx, 0));
    for page in black_box(pages) {
        kernel.free_pages(cx, page, 0);
    }
}

/// Maps a page, writes to it and unmaps it.
fn fault(kernel: &Arc<Kernel>, cx: &Cx) {
    let mm = cx.task.alloc_lock.lock().mm.clone().expect("it has an address space");
    let page = kernel.mmap(cx, &mm, 1, VmFlags::empty(), None).expect("a page is mapped");
    let fault = kernel.access(cx, &mm, page, true);
    assert!(fault == Fault::Mapped, "{fault:?}");
    kernel.munmap(cx, &mm, page, 1).expect("it is unmapped");
}
