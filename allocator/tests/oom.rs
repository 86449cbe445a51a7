//! OOM storms on real threads: hogs that eat more memory than there is, die and start anew.
//!
//! The clock runs fast (the reaper's 2 s pass in 10 ms). Whatever the release: no thread hangs, and
//! at the end each frame is back.

use allocator::gfp::Gfp;
use allocator::ids::{CpuId, NodeId};
use allocator::machine::Machine;
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::mm::{Fault, VmFlags};
use allocator::nodemask::NodeMask;
use allocator::oracle::FindingKind;
use allocator::oracle::reserves::ReserveClass;
use allocator::page_alloc::Nodemask;
use allocator::policy::{Policy, Release};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Process};
use allocator::sync::atomic::{AtomicU64, Ordering};
use allocator::sync::{self, Arc};

const PAGES_PER_NODE: u64 = 8192;

fn boot(spec: &str, config: KernelConfig) -> Arc<Kernel> {
    let config = KernelConfig { time_scale: 200.0, ..config };
    let machine = Machine::uniform(2, 1, PAGES_PER_NODE);
    Kernel::boot(machine, Policy::parse(spec).unwrap(), config).unwrap()
}

/// A process with an address space, running on `cpu`.
fn hog(k: &Kernel, cpu: u16) -> Cx {
    let process = k.new_process("hog", 0);
    let task = k.new_task(&process, CpuId(cpu), 0);
    task.alloc_lock.lock().mm = Some(k.mm_alloc());
    Cx::new(task, u64::from(process.tgid))
}

/// Ends a process as its parent sees it.
fn end(k: &Kernel, cx: &Cx) {
    k.do_exit(cx);
    k.release_process(&cx.task.process);
}

/// Touches `pages` pages or dies; false: killed.
fn eat(k: &Kernel, cx: &Cx, pages: u32) -> bool {
    let mm = cx.task.mm().unwrap();
    let Ok(start) = k.mmap(cx, &mm, pages, VmFlags::empty(), None) else { return false };
    for n in 0..pages {
        match k.access(cx, &mm, start.plus(n), true) {
            Fault::Mapped | Fault::Present => {}
            // SIGBUS: the reaper was here before the task saw its SIGKILL.
            Fault::Killed | Fault::BusError => return false,
            fault @ (Fault::SegmentationFault | Fault::NoMemory) => panic!("{fault:?}"),
        }
    }
    true
}

struct Storm {
    kills: u64,
    kernel: Arc<Kernel>,
}

/// `hogs` threads, each with `lives` processes one after the other that want half the machine.
fn storm(k: &Arc<Kernel>, hogs: u16, lives: u32, bind: Option<NodeId>) -> Storm {
    let reaper = {
        let k = Arc::clone(k);
        sync::spawn("oom_reaper", move || {
            let cx = k.kernel_thread("oom_reaper", CpuId(0));
            k.oom_reaper_main(&cx);
        })
    };
    let kswapds: Vec<_> = (0..2)
        .filter(|_| k.config.kswapd)
        .map(|n| {
            let k = Arc::clone(k);
            sync::spawn("kswapd", move || {
                let cx = k.kernel_thread("kswapd", CpuId(n));
                k.kswapd_main(&cx, NodeId(n));
            })
        })
        .collect();
    let lived = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..hogs)
        .map(|n| {
            let (k, lived) = (Arc::clone(k), Arc::clone(&lived));
            sync::spawn("hog", move || {
                for _ in 0..lives {
                    let cx = hog(&k, n % 2);
                    if let Some(node) = bind {
                        let spec = PolicySpec::new(Mode::Bind, NodeMask::one(node));
                        k.set_mempolicy(&cx, &spec).unwrap();
                    }
                    eat(&k, &cx, PAGES_PER_NODE as u32);
                    end(&k, &cx);
                    lived.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    k.stop_oom_reaper();
    reaper.join().unwrap();
    k.stop_kswapds();
    for kswapd in kswapds {
        kswapd.join().unwrap();
    }
    assert_eq!(lived.load(Ordering::Relaxed), u64::from(hogs) * u64::from(lives));
    let kills = k.cpus.iter().map(|c| c.vm.oom_kill.load(Ordering::Relaxed)).sum();
    Storm { kills, kernel: Arc::clone(k) }
}

impl Storm {
    fn assert_all_back(&self, what: &str) {
        let k = &self.kernel;
        let cx = k.kernel_thread("checker", CpuId(0));
        k.lru_add_drain_all(&cx);
        let census = k.census();
        assert_eq!(census.violations, Vec::<String>::new(), "{what}");
        assert_eq!(census.allocated, 0, "{what}");
        assert_eq!(k.oom.victims.load(Ordering::Relaxed), 0, "{what}");
        assert!(k.tasks.snapshot().is_empty());
    }

    fn findings(&self) -> Vec<(&'static str, u64)> {
        let nr = |kind: FindingKind| self.kernel.findings.nr(kind);
        let found = FindingKind::ALL.into_iter().filter(|kind| nr(*kind) > 0);
        found.map(|kind| (kind.word(), nr(kind))).collect()
    }
}

#[test]
fn a_storm_on_any_release_ends_with_every_page_back() {
    for release in Release::ALL {
        // Hogs that happen to run one after the other fit; a larger crowd does not.
        let storm = (1..=8)
            .map(|crowd| {
                let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
                storm(&boot(release.word(), config), 4 * crowd, 2, None)
            })
            .find(|storm| storm.kills > 0);
        let storm = storm.unwrap_or_else(|| panic!("{release}: nobody was ever killed"));
        let k = &storm.kernel;
        storm.assert_all_back(release.word());
        assert_eq!(k.findings.nr(FindingKind::PrematureOom), 0, "{release}");
        assert_eq!(k.findings.nr(FindingKind::Conservation), 0, "{release}");
    }
}

#[test]
fn mainline_s_storms_have_no_findings() {
    let k = boot("mainline", KernelConfig::default());
    let storm = storm(&k, 6, 4, None);
    storm.assert_all_back("mainline");
    assert_eq!(k.findings.nr_findings(false), 0, "{:?}", storm.findings());
    let freed = k.oom.stats.take_kill_to_free_ns();
    assert!(!freed.is_empty() && freed.len() as u64 <= storm.kills);
}

/// Swap for half the machine: reclaim works for a while, then the killer does.
#[test]
fn a_storm_with_kswapd_and_swap_ends_with_every_page_and_slot_back() {
    for spec in ["v4.13", "v5.15", "mainline"] {
        // On a busy host the killer may be faster than kswapd once.
        let swapped = (0..20).any(|_| storm_with_swap(spec));
        assert!(swapped, "{spec}: nothing was swapped out by kswapd");
    }
}

/// True: kswapd swapped something out.
fn storm_with_swap(spec: &str) -> bool {
    let config = KernelConfig { swap_pages: PAGES_PER_NODE, ..KernelConfig::default() };
    let k = boot(spec, config);
    storm(&k, 4, 2, None).assert_all_back(spec);
    assert_eq!(k.reclaim.swap.free_pages(), PAGES_PER_NODE, "{spec}");
    assert_eq!(k.findings.nr(FindingKind::PrematureOom), 0, "{spec}");
    let count = |of: fn(&allocator::run::cpu::VmEvents) -> &AtomicU64| -> u64 {
        k.cpus.iter().map(|cpu| of(&cpu.vm).load(Ordering::Relaxed)).sum()
    };
    count(|vm| &vm.pswpout) > 0 && count(|vm| &vm.pgsteal_kswapd) > 0
}

/// The kills of a bound storm are for a memory policy, and leave tasks bound elsewhere alone.
#[test]
fn a_bound_storm_kills_only_where_memory_is_short() {
    let k = boot("mainline", KernelConfig::default());
    let bystander = hog(&k, 0);
    let node = NodeId(1);
    let spec = PolicySpec::new(Mode::Bind, NodeMask::one(NodeId(0)));
    k.set_mempolicy(&bystander, &spec).unwrap();
    assert!(eat(&k, &bystander, PAGES_PER_NODE as u32 / 2), "the largest of all");
    let storm = storm(&k, 4, 3, Some(node));
    assert!(storm.kills > 0);
    assert!(!bystander.task.process.is_killed());
    let summaries: Vec<String> =
        k.dmesg().into_iter().filter(|line| line.starts_with("oom-kill:")).collect();
    assert!(!summaries.is_empty());
    for line in summaries {
        assert!(line.contains("CONSTRAINT_MEMORY_POLICY,nodemask=1,"), "{line}");
    }
    end(&k, &bystander);
    storm.assert_all_back("bound");
}

/// docs/kernel/oom.md#e9, watermarks.md#a8: with `full-group` victims empty the zone; with `half`
/// they leave half.
///
/// A killed group of many threads that all go on allocating in the kernel; nothing is freed.
#[test]
fn victims_dig_as_deep_as_the_axis_lets_them() {
    for (reserves, lowest, highest) in
        [("full-group", 0, 0), ("half", 450, 550), ("fractions", 450, 550), ("none", 950, 1050)]
    {
        let config = KernelConfig { pcp_batch: Some(1), ..KernelConfig::default() };
        let k = boot(&format!("v6.1,reserves={reserves}"), config);
        let zone = k.populated_zones().next().unwrap();
        let victim = hog(&k, 0);
        let process = Arc::clone(&victim.task.process);
        let mut pages = Vec::new();
        let gfp = Gfp::KERNEL | Gfp::THISNODE | Gfp::NORETRY;
        let take = || k.alloc_pages(&victim, gfp, 0, zone.node(), Nodemask::None);
        while let Some(pfn) = take() {
            pages.push(pfn);
        }
        mark_victim(&process, &victim);
        while let Some(pfn) = take() {
            pages.push(pfn);
        }
        let min = zone.wmark_unboosted(allocator::zone::Wmark::Min);
        let share = zone.free_pages_exact() * 1000 / min;
        assert!((lowest..=highest).contains(&share), "{reserves}: {share}");
        if reserves != "none" {
            let depth = k.reserve_oracle.depth(zone, ReserveClass::Victim).unwrap();
            assert_eq!(depth.free_pages, zone.free_pages_exact(), "{reserves}");
        }
        assert_eq!(k.findings.nr(FindingKind::Reserve), 0);
        pages.drain(..).for_each(|pfn| k.free_pages(&victim, pfn, 0));
        end(&k, &victim);
    }
}

fn mark_victim(process: &Process, cx: &Cx) {
    process.kill();
    process.set_oom_mm(&cx.task.mm().unwrap());
}
