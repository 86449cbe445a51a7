//! Parts of the model beyond the allocator's two calls: faults, mems updates, drains, offline, and
//! the explorer.

use std::ops::ControlFlow;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use allocator::hotplug::BlockId;
use allocator::ids::{CpuId, NodeId, ZoneIdx};
use allocator::machine::{Machine, Zone};
use allocator::mm::{Fault, VmFlags, Vpn};
use allocator::nodemask::NodeMask;
use allocator::run::kernel::Kernel;
use allocator::run::task::Cx;
use allocator_explore::explore::{Config, Scheduler};
use allocator_explore::policy::{Family, Policy as ExploredPolicy};
use workloads_explore::worlds::{self, search};

use crate::model::boot;
use crate::pairs::on_thread;
use crate::{Figure, Measure, sys};

const PAGES: u64 = 1 << 18;

/// All rows of this file.
pub(crate) fn measures(ms: u32) -> Vec<Measure> {
    let limit = Duration::from_millis(u64::from(ms));
    let mut all: Vec<Measure> = [1, 64].map(|n| fault_measure(n, limit)).into();
    all.push(one("model  cpuset.mems write, 64 tasks", "ns", move || {
        on_thread(|| mems_write(limit))
    }));
    all.push(one("model  drain_all_pages, lists of 2 CPUs full", "ns", move || on_thread(drain)));
    all.push(one("model  offline a free block of 128 MiB", "us", || on_thread(offline) / 1e3));
    all.push(one("explorer  cpuset01's smallest world", "schedules/s", explore));
    all
}

fn one(name: &'static str, unit: &'static str, run: impl Fn() -> f64 + 'static) -> Measure {
    Measure::new(name, move || vec![Figure { name: name.to_owned(), unit, value: run() }])
}

/// CPU time of what `body` does, in ns.
fn timed(body: impl FnOnce()) -> u64 {
    let start = sys::thread_ns();
    body();
    sys::thread_ns() - start
}

fn fault_measure(threads: usize, limit: Duration) -> Measure {
    let plural = if threads == 1 { "" } else { "s" };
    let name = format!("model  page fault, {threads} thread{plural}");
    Measure::new(name.clone(), move || {
        let cpus = threads.min(sys::cpus());
        let kernel = boot(Machine::uniform(1, cpus as u16, PAGES));
        let barrier = Barrier::new(threads);
        let parts: Vec<(u64, u64)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|n| {
                    let (kernel, barrier) = (&kernel, &barrier);
                    scope.spawn(move || {
                        sys::pin(n);
                        barrier.wait();
                        faults(kernel, CpuId((n % cpus) as u16), limit)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("a bench thread failed")).collect()
        });
        let (faults, ns) = parts.iter().fold((0, 0), |(f, n), (g, m)| (f + g, n + m));
        vec![Figure { name: name.clone(), unit: "ns", value: ns as f64 / faults as f64 }]
    })
}

/// Faults and their CPU time; mapping and unmapping are left out.
fn faults(kernel: &Arc<Kernel>, cpu: CpuId, limit: Duration) -> (u64, u64) {
    const AREA: u32 = 512;
    let (task, mm) = kernel.new_user_process("bench", 0, cpu);
    let cx = Cx::new(task, 7);
    let (start, mut faults, mut ns) = (Instant::now(), 0, 0);
    while start.elapsed() < limit {
        let area = kernel.mmap(&cx, &mm, AREA, VmFlags::empty(), None).expect("an area is mapped");
        ns += timed(|| {
            for page in 0..AREA {
                let fault = kernel.access(&cx, &mm, Vpn(area.0 + page), true);
                assert!(fault == Fault::Mapped, "{fault:?}");
            }
        });
        faults += u64::from(AREA);
        kernel.munmap(&cx, &mm, area, AREA).expect("the area is unmapped");
    }
    (faults, ns)
}

/// CPU time of a write of cpuset.mems that changes the nodes of 64 tasks with an area each, in ns.
fn mems_write(limit: Duration) -> f64 {
    let kernel = boot(Machine::uniform(2, 1, PAGES));
    let cx = kernel.kernel_thread("bench", CpuId(0));
    let cs = kernel.cpusets.create(&kernel.cpusets.top, "bench").expect("a first cpuset");
    let nodes = [NodeMask::of([NodeId(0)]), NodeMask::of([NodeId(1)])];
    kernel.cpuset_write_mems(&cx, &cs, &nodes[0]).expect("node 0 has memory");
    let tasks: Vec<_> = (0..64).map(|_| kernel.new_user_process("bench", 0, CpuId(0))).collect();
    for (task, mm) in &tasks {
        kernel.cpuset_attach(&cx, &cs, &[Arc::clone(task)]).expect("the cpuset has mems");
        kernel.mmap(&cx, mm, 16, VmFlags::empty(), None).expect("an area is mapped");
    }
    let (start, mut writes, mut ns) = (Instant::now(), 0, 0);
    while start.elapsed() < limit {
        ns += timed(|| {
            for mems in [&nodes[1], &nodes[0]] {
                kernel.cpuset_write_mems(&cx, &cs, mems).expect("both nodes have memory");
            }
        });
        writes += 2;
    }
    ns as f64 / writes as f64
}

/// CPU time of a drain of both CPUs' lists with a few hundred pages on each, in ns.
fn drain() -> f64 {
    use allocator::gfp::Gfp;
    use allocator::page_alloc::Nodemask;
    let kernel = boot(Machine::uniform(1, 2, PAGES));
    let cxs = [0, 1].map(|cpu| kernel.kernel_thread("bench", CpuId(cpu)));
    let mut ns = 0;
    const DRAINS: u64 = 200;
    for _ in 0..DRAINS {
        for cx in &cxs {
            let pages: Vec<_> = (0..256)
                .filter_map(|_| {
                    kernel.alloc_pages(cx, Gfp::HIGHUSER_MOVABLE, 0, NodeId(0), Nodemask::None)
                })
                .collect();
            pages.into_iter().for_each(|pfn| kernel.free_pages(cx, pfn, 0));
        }
        ns += timed(|| kernel.drain_all_pages(&cxs[0], None));
    }
    ns as f64 / DRAINS as f64
}

/// CPU time of taking a free memory block offline, in ns.
fn offline() -> f64 {
    let mut machine = Machine::uniform(1, 2, PAGES);
    let (first, block) = (machine.max_pfn(), u64::from(machine.block_pages));
    let first = first.next_multiple_of(block);
    machine.nodes[0].zones.push(Zone::whole(ZoneIdx::Movable, first, 4 * block));
    let kernel = boot(machine);
    let cx = kernel.kernel_thread("bench", CpuId(0));
    let id = BlockId((first / block) as u32);
    let mut ns = 0;
    const CYCLES: u64 = 5;
    for _ in 0..CYCLES {
        ns += timed(|| {
            kernel.offline_pages(&cx, id).expect("a free movable block goes offline");
        });
        kernel.online_pages(&cx, id).expect("it comes back");
    }
    ns as f64 / CYCLES as f64
}

/// Schedules a second of an exhaustive search with up to two preemptions, on one core.
fn explore() -> f64 {
    let world = worlds::find(Family::J1aVma).expect("cpuset01's world is built");
    let config = Config { scheduler: Scheduler::Bounded { preemptions: 2 }, ..Config::default() };
    let policy = ExploredPolicy::parse("v4.13").expect("a preset parses");
    let start = Instant::now();
    let subject = search::Subject::World(world);
    let report = search::run(&subject, policy, &config, |_| ControlFlow::Continue(()));
    report.executed as f64 / start.elapsed().as_secs_f64()
}
