//! J.3: how deep OOM victims may dig, and who gets nothing.
//!
//! **Tasks** bear J.3's letters: t1, t2 are threads of victims, Z is a reclaimer (PF_MEMALLOC), R the reaper,
//! W the process that would be the next victim.
//!
//! **Smaller than life**: a min mark of some dozen pages, which are taken in blocks of 8, so that the
//! tree of schedules stays small; a tick of 250 ms, so that a second is few of them.

use allocator::gfp::Gfp;
use allocator::ids::{CpuId, MAX_PAGE_ORDER, Pfn};
use allocator::machine::Machine;
use allocator::mm::SkipBy;
use allocator::nodemask::NodeMask;
use allocator::page_alloc::Nodemask;
use allocator::policy::{Family, Policy};
use allocator::run::clock::NS_PER_MS;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, pf};
use allocator::sync::Arc;
use allocator::zone::{Wmark, Zone};

use super::exit::{FILL, NODE, Proc, config, exit, reap, reaper, wants_memory};
use super::{Outcome, World, boot, join, small_machine, start};

/// The worlds of this axis.
pub const WORLDS: &[World] = &[
    World {
        family: Family::J3a,
        about: "a thread that holds mmap_lock waits for memory while the killer is always busy",
        shows: &["unreapable"],
        switches: 0,
        run: starving_thread,
    },
    World {
        family: Family::J3b,
        about: "two threads of one victim allocate in the kernel, and reclaim needs a page",
        shows: &["reserve-empty"],
        switches: 0,
        run: |policy| depletion(policy, 1),
    },
    World {
        family: Family::J3bMany,
        about: "the same with two victims",
        shows: &["reserve-empty"],
        switches: 0,
        run: |policy| depletion(policy, 2),
    },
    World {
        family: Family::J3c,
        about: "a victim that is hidden finds nothing, and nobody else gives memory back",
        shows: &["lockup"],
        switches: 0,
        run: looping_victim,
    },
    World {
        family: Family::J3d,
        about: "a victim asks atomically while pages come back",
        shows: &["victim-denied"],
        switches: 1,
        run: replaced_right,
    },
    World {
        family: Family::J3e,
        about: "a victim of a full cpuset while another node is free",
        shows: &["cpuset-escape"],
        switches: 0,
        run: escape,
    },
];

/// Nodes whose marks no fallback raises.
fn machine(nodes: u16, pages: u64) -> Machine {
    let mut machine = small_machine(nodes, pages);
    machine.settings.watermark_boost_factor = 0;
    machine
}

fn zone(kernel: &Kernel) -> &Zone {
    kernel.populated_zones().next().expect("the node has memory")
}

/// Takes all that goes without reclaim: leaves min.
fn fill(kernel: &Kernel, cx: &Cx) {
    kernel.lru_add_drain_all(cx);
    for order in (0..=MAX_PAGE_ORDER).rev() {
        while kernel.alloc_pages(cx, FILL, order, NODE, Nodemask::None).is_some() {}
    }
}

/// Takes pages of the reserve until so many are free.
fn fill_to(kernel: &Kernel, cx: &Cx, pages: u64) {
    while zone(kernel).free_pages_exact() > pages {
        let page = kernel.alloc_pages(cx, FILL | Gfp::MEMALLOC, 0, NODE, Nodemask::None);
        assert!(page.is_some(), "all reserves may be used");
    }
}

/// What K does: kills `victim`, the largest process.
fn kill(kernel: &Kernel, cx: &Cx, victim: &Proc) {
    wants_memory(kernel, cx);
    assert!(victim.process().is_oom_victim(), "it is the largest");
    // The delay that some reapers give a victim.
    kernel.clock.sleep(2_000 * NS_PER_MS);
}

/// Another thread of a process.
fn thread(kernel: &Kernel, of: &Proc) -> Cx {
    let task = kernel.new_task(&of.process(), CpuId(0), 0);
    of.mm.mmget();
    task.alloc_lock.lock().mm = Some(Arc::clone(&of.mm));
    Cx::new(task, 1)
}

fn give_back(kernel: &Kernel, cx: &Cx, pages: &[Pfn], order: u8) {
    for pfn in pages {
        kernel.free_pages(cx, *pfn, order);
    }
}

/// t2 is in mmap, t1 on its way out. Others who are out of memory hold oom_lock whenever t2 comes,
/// as they do when each K sleeps a tick; the reaper comes between.
fn starving_thread(policy: Policy) -> Outcome {
    const TICK: u64 = 250 * NS_PER_MS;
    const AROUND: u64 = 20 * NS_PER_MS;
    let config = KernelConfig { hz: 4, lockup_passes: 60, ..config() };
    let kernel = boot(machine(1, 2048), policy, config);
    let p = Proc::new(&kernel, "P", 0, 4);
    let t2 = thread(&kernel, &p);
    let _w = Proc::new(&kernel, "W", 0, 1);
    let k = Proc::new(&kernel, "K", -1000, 0).cx;
    fill(&kernel, &k);
    kill(&kernel, &k, &p);
    let r = reaper(&kernel);
    let others = kernel.kernel_thread("K", CpuId(0));
    let mm = Arc::clone(&p.mm);
    let tasks = vec![
        start(&kernel, "K", others, |kernel, _cx| {
            let began = kernel.clock.now().0;
            let sleep_until = |at: u64| {
                let now = kernel.clock.now().0 - began;
                kernel.clock.sleep(at.saturating_sub(now));
            };
            // From just before each tick to just after it.
            for tick in 0..5 {
                sleep_until((tick * TICK).saturating_sub(AROUND));
                let _busy = kernel.oom.lock.lock();
                sleep_until(tick * TICK + AROUND);
            }
        }),
        start(&kernel, "t2", t2, move |kernel, cx| {
            {
                let _areas = mm.mmap_write_lock();
                let page = kernel.alloc_pages(cx, Gfp::KERNEL, 0, NODE, Nodemask::None);
                give_back(kernel, cx, page.as_slice(), 0);
            }
            kernel.do_exit(cx);
        }),
        start(&kernel, "t1", p.cx, exit),
        start(&kernel, "R", r, reap),
    ];
    join(tasks);
    Outcome { kernel }
}

/// Each thread's call takes half of what is free at min; one that can't have it does without.
fn depletion(policy: Policy, victims: usize) -> Outcome {
    // Above what pcplists hold: no refill takes more than was asked for.
    const ORDER: u8 = 4;
    let kernel = boot(machine(1, 2048), policy, config());
    let first = Proc::new(&kernel, "P", 0, 4);
    let second = (victims == 2).then(|| Proc::new(&kernel, "Q", 0, 2));
    let k = Proc::new(&kernel, "K", -1000, 0).cx;
    // What is free at min is an even number of such blocks, and nothing else.
    let share = (zone(&kernel).wmark_pages(Wmark::Min) >> ORDER).div_ceil(2) as usize;
    let take = |_| kernel.alloc_pages(&k, FILL, ORDER, NODE, Nodemask::None);
    let blocks: Vec<Pfn> = (0..2 * share).map_while(take).collect();
    fill(&kernel, &k);
    // To the last page, those on the pcplists too.
    while kernel.alloc_pages(&k, FILL | Gfp::MEMALLOC, 0, NODE, Nodemask::None).is_some() {}
    give_back(&kernel, &k, &blocks, ORDER);
    kill(&kernel, &k, &first);
    let t2 = match second {
        None => thread(&kernel, &first),
        Some(second) => {
            // The reaper has given the first one up.
            first.mm.set_oom_skip(SkipBy::ReaperKeptOutByWriter);
            kill(&kernel, &k, &second);
            second.cx
        }
    };
    let call = move |kernel: &Arc<Kernel>, cx: &Cx| {
        // No reclaim: such a request never comes to S19b, where a dying thread would be marked.
        let gfp = FILL;
        let blocks =
            (0..share).map_while(|_| kernel.alloc_pages(cx, gfp, ORDER, NODE, Nodemask::None));
        let _held: Vec<Pfn> = blocks.collect();
    };
    let z = Cx::new(kernel.kernel_thread("Z", CpuId(0)).task, 1);
    z.task.set(pf::MEMALLOC);
    let tasks = vec![
        start(&kernel, "t1", first.cx, call),
        start(&kernel, "t2", t2, call),
        start(&kernel, "Z", z, |kernel, cx| {
            let _page = kernel.alloc_pages(cx, Gfp::KERNEL | Gfp::NOWARN, 0, NODE, Nodemask::None);
        }),
    ];
    join(tasks);
    Outcome { kernel }
}

/// V's mm is hidden by the reaper, W is the next victim and never gets to run.
fn looping_victim(policy: Policy) -> Outcome {
    let kernel = boot(machine(1, 2048), policy, KernelConfig { lockup_passes: 40, ..config() });
    let v = Proc::new(&kernel, "V", 0, 2);
    let _w = Proc::new(&kernel, "W", 0, 1);
    let k = Proc::new(&kernel, "K", -1000, 0).cx;
    requests_below_min(kernel, &k, v, Gfp::KERNEL)
}

/// Kills `v`, which then asks for a page while the reaper works and a quarter of min is free.
fn requests_below_min(kernel: Arc<Kernel>, k: &Cx, v: Proc, gfp: Gfp) -> Outcome {
    fill(&kernel, k);
    kill(&kernel, k, &v);
    let r = reaper(&kernel);
    fill_to(&kernel, k, zone(&kernel).wmark_pages(Wmark::Min) / 4);
    let tasks = vec![
        start(&kernel, "V", v.cx, move |kernel, cx| {
            let page = kernel.alloc_pages(cx, gfp, 0, NODE, Nodemask::None);
            give_back(kernel, cx, page.as_slice(), 0);
            kernel.do_exit(cx);
        }),
        start(&kernel, "R", r, reap),
    ];
    join(tasks);
    Outcome { kernel }
}

/// Free is at what an atomic request may reach, and then rises to below half of min.
fn replaced_right(policy: Policy) -> Outcome {
    const ORDER: u8 = 4;
    let kernel = boot(machine(1, 8192), policy, config());
    let v = Proc::new(&kernel, "V", 0, 4);
    let k = Proc::new(&kernel, "K", -1000, 0).cx;
    let back = kernel.alloc_pages(&k, FILL, ORDER, NODE, Nodemask::None);
    let back = back.expect("the node is empty");
    fill(&kernel, &k);
    kill(&kernel, &k, &v);
    let min = zone(&kernel).wmark_pages(Wmark::Min);
    fill_to(&kernel, &k, min * 3 / 8 - 2);
    assert!(
        min * 3 / 8 + (1 << ORDER) < min / 2,
        "what comes back is not enough for the victim's right"
    );
    let f = kernel.kernel_thread("F", CpuId(0));
    let tasks = vec![
        start(&kernel, "V", v.cx, |kernel, cx| {
            let gfp = Gfp::atomic(kernel.policy.release) | Gfp::NOWARN;
            let page = kernel.alloc_pages(cx, gfp, 0, NODE, Nodemask::None);
            give_back(kernel, cx, page.as_slice(), 0);
        }),
        start(&kernel, "F", f, move |kernel, cx| kernel.free_pages(cx, back, ORDER)),
    ];
    join(tasks);
    Outcome { kernel }
}

/// V is confined to node 0, which is full.
fn escape(policy: Policy) -> Outcome {
    let config = KernelConfig { lockup_passes: 40, ..config() };
    let kernel = boot(machine(2, 2048), policy, config);
    let v = Proc::new(&kernel, "V", 0, 4);
    let _w = Proc::new(&kernel, "W", 0, 1);
    let k = Proc::new(&kernel, "K", -1000, 0).cx;
    let cpuset = kernel.cpusets.create(&kernel.cpusets.top, "A").expect("a new name");
    kernel.cpuset_write_mems(&k, &cpuset, &NodeMask::of([NODE])).expect("it has memory");
    for cx in [&v.cx, &k] {
        let attached = kernel.cpuset_attach(cx, &cpuset, &[Arc::clone(&cx.task)]);
        assert_eq!(attached, Ok(()));
    }
    requests_below_min(kernel, &k, v, Gfp::USER)
}
