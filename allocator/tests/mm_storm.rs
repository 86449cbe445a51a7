//! Processes of several threads that map, write, lock, unmap and die beside the reaper,
//! process_mrelease, readers of their mm and migration, in every variant of the axis `exit`.
//!
//! *Expected*: no thread hangs, every page and swap slot is back at the end, and nobody walks what is
//! freed, but in the variants that are known for it (J2-c, J2-d, J2-f). *Buggy*: the variant and the
//! finding are named; the seed is the loop's number.

use allocator::ids::{CpuId, NodeId};
use allocator::machine::Machine;
use allocator::mm::{Fault, Mm, VmFlags, Vpn};
use allocator::nodemask::NodeMask;
use allocator::oracle::FindingKind;
use allocator::policy::{Axis, ExitPolicy, Expect, Family, Policy, Release};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Process};
use allocator::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use allocator::sync::{self, Arc, JoinHandle, Mutex};

const PAGES_PER_NODE: u64 = 2048;
const THREADS: u32 = 3;

struct Storm {
    k: Arc<Kernel>,
    stop: AtomicBool,
    /// The processes that live now.
    alive: Mutex<Vec<Arc<Process>>>,
    exited: AtomicU64,
}

fn start(
    storm: &Arc<Storm>,
    name: &str,
    body: impl FnOnce(&Storm) + Send + 'static,
) -> JoinHandle<()> {
    let storm = Arc::clone(storm);
    sync::spawn(name, move || body(&storm))
}

/// What a thread of a process does until it is killed or has had enough; `own` says how much.
fn live(storm: &Storm, cx: &Cx, mm: &Arc<Mm>, calls: u32) {
    let k = &storm.k;
    let mut areas: Vec<(Vpn, u32)> = Vec::new();
    for _ in 0..calls {
        if cx.task.process.is_killed() || k.clock.is_aborted() {
            return;
        }
        let choice = cx.random() % 16;
        let pages = 1 + (cx.random() % 300) as u32;
        if choice < 7 || areas.is_empty() {
            // Small areas merge with the neighbours that other threads make.
            let Ok(start) = k.mmap(cx, mm, pages, VmFlags::empty(), None) else { return };
            areas.push((start, pages));
            for n in 0..pages {
                match k.access(cx, mm, start.plus(n), n % 5 != 0) {
                    Fault::Mapped | Fault::Present => {}
                    Fault::Killed | Fault::BusError => return,
                    fault @ (Fault::SegmentationFault | Fault::NoMemory) => panic!("{fault:?}"),
                }
            }
            continue;
        }
        let at = cx.random() as usize % areas.len();
        let (start, pages) = areas[at];
        match choice {
            7 | 8 => {
                // ENOMEM: no memory for a split, or to lock; the area stays as it is.
                let _ = k.mlock(cx, mm, start, pages.div_ceil(2));
            }
            9 => {
                let _ = k.munlock(cx, mm, start, pages);
            }
            10 | 11 => k.zap_range(cx, mm, start, pages).unwrap(),
            12 => {
                k.do_migrate_pages(cx, mm, &NodeMask::one(NodeId(0)), &NodeMask::one(NodeId(1)));
            }
            _ => {
                if k.munmap(cx, mm, start, pages).is_ok() {
                    areas.swap_remove(at);
                }
            }
        }
    }
}

/// One process from birth to wait.
fn process(storm: &Arc<Storm>, seed: u64) {
    let k = &storm.k;
    let process = k.new_process("hog", 0);
    let mm = k.mm_alloc();
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            let task = k.new_task(&process, CpuId((n % 2) as u16), 0);
            if n > 0 {
                mm.mmget();
            }
            task.alloc_lock.lock().mm = Some(Arc::clone(&mm));
            task
        })
        .collect();
    storm.alive.lock().push(Arc::clone(&process));
    let threads: Vec<_> = threads
        .into_iter()
        .map(|task| {
            let mm = Arc::clone(&mm);
            start(storm, "thread", move |storm| {
                let cx = Cx::new(task, seed);
                live(storm, &cx, &mm, 25);
                drop(mm);
                storm.k.do_exit(&cx);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    storm.alive.lock().retain(|p| !Arc::ptr_eq(p, &process));
    k.release_process(&process);
    storm.exited.fetch_add(1, Ordering::Relaxed);
}

/// Holds mm_users for moments, as readers of /proc do, and calls process_mrelease on the dying.
fn meddle(storm: &Storm) {
    let cx = storm.k.kernel_thread("meddler", CpuId(1));
    while !storm.stop.load(Ordering::Relaxed) {
        let victim = {
            let alive = storm.alive.lock();
            let at = cx.random() as usize % alive.len().max(1);
            alive.get(at).cloned()
        };
        let Some(victim) = victim else {
            sync::yield_now();
            continue;
        };
        let leader = victim.threads.lock().first().cloned();
        if let Some(mm) = leader.and_then(|t| storm.k.get_task_mm(&t)) {
            sync::yield_now();
            storm.k.mmput(&cx, mm);
        }
        if victim.is_killed() {
            let _ = storm.k.process_mrelease(&cx, &victim);
        }
        sync::yield_now();
    }
}

fn run(policy: Policy, lives: u64) -> Arc<Storm> {
    let config = KernelConfig {
        time_scale: 500.0,
        gather_pages: 16,
        swap_pages: 512,
        kswapd: false,
        ..KernelConfig::default()
    };
    let k = Kernel::boot(Machine::uniform(2, 1, PAGES_PER_NODE), policy, config).unwrap();
    let storm = Arc::new(Storm {
        k,
        stop: AtomicBool::new(false),
        alive: Mutex::default(),
        exited: AtomicU64::new(0),
    });
    let reaper = start(&storm, "oom_reaper", |storm| {
        let cx = storm.k.kernel_thread("oom_reaper", CpuId(0));
        storm.k.oom_reaper_main(&cx);
    });
    let meddler = start(&storm, "meddler", meddle);
    let processes: Vec<_> = (0..3u64)
        .map(|n| {
            let own = Arc::clone(&storm);
            sync::spawn("parent", move || {
                for life in 0..lives {
                    process(&own, n * 1000 + life);
                }
            })
        })
        .collect();
    for parent in processes {
        parent.join().unwrap();
    }
    storm.stop.store(true, Ordering::Relaxed);
    meddler.join().unwrap();
    storm.k.stop_oom_reaper();
    reaper.join().unwrap();
    storm
}

fn may_walk_what_is_freed(policy: Policy) -> bool {
    [Family::J2c, Family::J2d, Family::J2f]
        .into_iter()
        .any(|family| policy.expects(family) == Some(Expect::Shows))
}

fn assert_all_back(policy: Policy, lives: u64) {
    let storm = run(policy, lives);
    let k = &storm.k;
    let cx = k.kernel_thread("checker", CpuId(0));
    k.lru_add_drain_all(&cx);
    let census = k.census();
    assert_eq!((census.violations, census.allocated), (Vec::new(), 0), "{policy}");
    assert_eq!(k.reclaim.swap.free_pages(), k.reclaim.swap.total_pages(), "{policy}");
    assert_eq!(storm.exited.load(Ordering::Relaxed), 3 * lives);
    assert_eq!(k.oom.victims.load(Ordering::Relaxed), 0, "{policy}");
    let kills: u64 = k.cpus.iter().map(|c| c.vm.oom_kill.load(Ordering::Relaxed)).sum();
    assert!(kills > 0, "{policy}: the storm is meant to run out of memory");
    let walks = k.findings.nr(FindingKind::UseAfterFree);
    assert!(walks == 0 || may_walk_what_is_freed(policy), "{policy}: {:?}", k.findings.take());
}

#[test]
fn dying_processes_of_every_exit_variant_leave_nothing() {
    for &exit in ExitPolicy::ALL {
        assert_all_back(Policy { exit, ..Policy::mainline() }, 8);
    }
}

#[test]
fn dying_processes_of_releases_with_each_kind_of_lock_leave_nothing() {
    for release in [Release::V4_9, Release::V4_14, Release::V5_4, Release::V5_17, Release::V6_4] {
        assert_all_back(Policy::preset(release), 8);
    }
}
