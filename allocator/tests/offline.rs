//! Memory offline: what a block's way off and on changes, and pages freed while it goes.

use allocator::gfp::Gfp;
use allocator::hotplug::hwpoison::SoftOfflineError;
use allocator::hotplug::{BlockId, HotplugError};
use allocator::ids::{CpuId, NodeId, Pfn, ZoneIdx};
use allocator::machine::{Machine, Zone};
use allocator::page_alloc::Nodemask;
use allocator::policy::{Policy, presets};
use allocator::race::Point;
use allocator::race::window::WINDOWS;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Observer};
use allocator::sync::atomic::Ordering;
use allocator::sync::{self, Arc};
use allocator::zone::frame::FrameKind;

const BLOCK: u32 = 4096;

/// Two nodes: Normal of 4 blocks each, and Movable of 2 blocks on node 1.
fn machine() -> Machine {
    let mut machine = Machine::uniform(2, 1, u64::from(4 * BLOCK));
    machine.block_pages = BLOCK;
    let end = machine.max_pfn();
    machine.nodes[1].zones.push(Zone::whole(ZoneIdx::Movable, end, u64::from(2 * BLOCK)));
    machine
}

fn boot(policy: Policy) -> (Arc<Kernel>, Cx) {
    let config = KernelConfig { kswapd: false, hotplug: true, ..KernelConfig::default() };
    let kernel = Kernel::boot(machine(), policy, config).unwrap();
    let cx = kernel.kernel_thread("offline", CpuId(0));
    (kernel, cx)
}

fn movable_blocks(kernel: &Kernel) -> Vec<BlockId> {
    kernel.blocks_of_zone(kernel.zone_of(NodeId(1), ZoneIdx::Movable).id)
}

#[test]
fn a_block_goes_and_comes_back_in_every_release() {
    for policy in presets() {
        let (kernel, cx) = boot(policy);
        let zone = kernel.zone_of(NodeId(1), ZoneIdx::Movable);
        let before = (zone.managed_pages(), zone.free_pages_exact(), zone.spanned_pages());
        let blocks = movable_blocks(&kernel);
        assert_eq!(blocks.len(), 2, "{policy}");
        kernel.offline_pages(&cx, blocks[1]).unwrap();
        assert_eq!(zone.managed_pages(), u64::from(BLOCK));
        assert_eq!(zone.nr_isolate_pageblock.load(Ordering::Relaxed), 0);
        let census = kernel.census();
        assert_eq!((census.violations.len(), census.offline), (0, u64::from(BLOCK)), "{policy}");
        assert_eq!(kernel.offline_pages(&cx, blocks[1]), Err(HotplugError::SameState(blocks[1].0)));
        kernel.online_pages(&cx, blocks[1]).unwrap();
        let after = (zone.managed_pages(), zone.free_pages_exact(), zone.spanned_pages());
        assert_eq!(after, before, "{policy}");
        let census = kernel.census();
        assert_eq!((census.violations, census.offline), (Vec::new(), 0), "{policy}");
    }
}

#[test]
fn an_emptied_zone_leaves_the_zonelists_and_comes_back() {
    for policy in presets() {
        let (kernel, cx) = boot(policy);
        let zone = kernel.zone_of(NodeId(1), ZoneIdx::Movable);
        let in_list = |kernel: &Kernel| {
            let list = kernel.zonelists.fallback(NodeId(1));
            list.walk(ZoneIdx::Movable, allocator::zonelist::Nodes::Any).any(|z| z == zone.id)
        };
        assert!(in_list(&kernel));
        let blocks = movable_blocks(&kernel);
        for block in &blocks {
            kernel.offline_pages(&cx, *block).unwrap();
        }
        assert!(!in_list(&kernel), "{policy}");
        // docs/kernel/checked.md: an empty Movable zone's marks read 0 in 6.1 and 32 in 6.18.
        let clamped = policy.release.movable_is_highmem();
        let low = zone.wmark_pages(allocator::zone::Wmark::Low);
        assert_eq!((zone.present_pages(), low), (0, if clamped { 32 } else { 0 }), "{policy}");
        for block in &blocks {
            kernel.online_pages(&cx, *block).unwrap();
        }
        assert!(in_list(&kernel), "{policy}");
        assert_eq!(kernel.census().violations, Vec::<String>::new());
    }
}

#[test]
fn an_unmovable_page_is_named_and_everything_undone() {
    let (kernel, cx) = boot(Policy::mainline());
    let normal = kernel.zone_of(NodeId(1), ZoneIdx::Normal);
    let pfn = kernel.alloc_pages(&cx, Gfp::KERNEL, 0, NodeId(1), Nodemask::None).unwrap();
    let block = BlockId(pfn.0 / BLOCK);
    let free = normal.free_pages_exact();
    assert_eq!(kernel.offline_pages(&cx, block), Err(HotplugError::Unmovable(pfn.0)));
    // What lay on pcplists was drained; nothing else changed.
    assert!(normal.free_pages_exact() >= free);
    assert_eq!(normal.nr_isolate_pageblock.load(Ordering::Relaxed), 0);
    kernel.free_pages(&cx, pfn, 0);
    kernel.offline_pages(&cx, block).unwrap();
    assert_eq!(kernel.census().violations, Vec::<String>::new());
}

#[test]
fn a_signal_ends_an_offline_that_can_not_end() {
    for policy in presets() {
        let (kernel, cx) = boot(policy);
        // An allocated page that is on no LRU list: in Movable nothing can move it.
        let gfp = Gfp::HIGHUSER_MOVABLE;
        let pfn = kernel.alloc_pages(&cx, gfp, 0, NodeId(1), Nodemask::None).unwrap();
        let block = BlockId(pfn.0 / BLOCK);
        cx.task.process.signal.store(true, Ordering::Relaxed);
        let result = kernel.offline_pages(&cx, block);
        let expected = match policy.release.movable_zone_isolates_all() {
            true => Err(HotplugError::Signal),
            false => Err(HotplugError::Unmovable(pfn.0)),
        };
        assert_eq!(result, expected, "{policy}");
        kernel.free_pages(&cx, pfn, 0);
        assert_eq!(kernel.census().violations, Vec::<String>::new());
    }
}

/// Writes down how the window of isolation opened and closed.
struct Windows(std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>);

impl Observer for Windows {
    fn alloc_fast(&self, _start: u64) {}
    fn alloc_slow(&self, _start: u64) {}
    fn span(&self, _name: &'static str, _start: u64) {}
    fn window_opened(&self, window: usize) {
        if WINDOWS[window].opens == Point::I6Unlock {
            self.0.lock().unwrap().push("opened");
        }
    }
    fn window_closed(&self, window: usize, _start: u64, entered: bool) {
        if WINDOWS[window].opens == Point::I6Unlock {
            self.0.lock().unwrap().push(if entered { "entered" } else { "closed" });
        }
    }
}

#[test]
fn the_window_of_isolation_is_one_for_each_offline() {
    let (kernel, mut cx) = boot(Policy::mainline());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    cx.observer = Some(Box::new(Windows(seen.clone())));
    let told = || std::mem::take(&mut *seen.lock().unwrap());
    let blocks = movable_blocks(&kernel);
    // Eight pageblocks, one window.
    kernel.offline_pages(&cx, blocks[1]).unwrap();
    assert_eq!(told(), ["opened", "closed"]);
    kernel.online_pages(&cx, blocks[1]).unwrap();
    // A page that nothing can move: the last test fails, pass after pass, until a signal.
    let gfp = Gfp::HIGHUSER_MOVABLE;
    let pfn = kernel.alloc_pages(&cx, gfp, 0, NodeId(1), Nodemask::None).unwrap();
    kernel.hotplug.signal_after_passes.store(2, Ordering::Relaxed);
    assert_eq!(kernel.offline_pages(&cx, BlockId(pfn.0 / BLOCK)), Err(HotplugError::Signal));
    assert_eq!(told(), ["opened", "entered"]);
    kernel.free_pages(&cx, pfn, 0);
    kernel.hotplug.signal_after_passes.store(0, Ordering::Relaxed);
    // An isolation that fails leaves no window open for the next one to inherit.
    let pfn = kernel.alloc_pages(&cx, Gfp::KERNEL, 0, NodeId(1), Nodemask::None).unwrap();
    let block = BlockId(pfn.0 / BLOCK);
    assert_eq!(kernel.offline_pages(&cx, block), Err(HotplugError::Unmovable(pfn.0)));
    let opened_then = told();
    assert!(opened_then.iter().all(|what| *what == "opened"), "{opened_then:?}");
    kernel.free_pages(&cx, pfn, 0);
    kernel.offline_pages(&cx, block).unwrap();
    assert_eq!(told(), ["opened", "closed"]);
}

#[test]
fn page_cache_moves_to_another_node() {
    for policy in presets() {
        let (kernel, cx) = boot(policy);
        let mut pages = Vec::new();
        while pages.len() < 300 {
            let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::THISNODE;
            pages.push(kernel.page_cache_add(&cx, gfp, NodeId(1), Nodemask::None).unwrap());
        }
        kernel.lru_add_drain_all(&cx);
        let movable = kernel.zone_of(NodeId(1), ZoneIdx::Movable);
        let in_movable =
            |pfn: &&Pfn| kernel.page_zone(**pfn).is_some_and(|zone| zone.id == movable.id);
        let moving = pages.iter().filter(in_movable).count() as u64;
        assert!(moving > 0, "{policy}: Movable comes first");
        for block in movable_blocks(&kernel) {
            kernel.offline_pages(&cx, block).unwrap();
        }
        let files = [NodeId(0), NodeId(1)].map(|node| kernel.nr_file_pages(node));
        assert_eq!(files, [moving, 300 - moving], "{policy}: the nearest other node took them");
        kernel.lru_add_drain_all(&cx);
        assert_eq!(kernel.drop_caches(&cx), 300);
        let census = kernel.census();
        assert_eq!((census.violations, census.allocated), (Vec::new(), 0), "{policy}");
    }
}

/// Node 1 of a machine where it has Movable memory only.
#[test]
fn kswapd_stops_with_the_last_memory_of_its_node() {
    let mut machine = machine();
    machine.nodes[1].zones.remove(0);
    let config = KernelConfig { hotplug: true, ..KernelConfig::default() };
    let kernel = Kernel::boot(machine, Policy::mainline(), config).unwrap();
    let cx = kernel.kernel_thread("offline", CpuId(0));
    let kswapd = {
        let kernel = Arc::clone(&kernel);
        sync::spawn("kswapd1", move || {
            let cx = kernel.kernel_thread("kswapd1", CpuId(1));
            kernel.kswapd_main(&cx, NodeId(1));
        })
    };
    let state = &kernel.reclaim.nodes[1].kswapd;
    while !state.is_running() {
        sync::yield_now();
    }
    let blocks = movable_blocks(&kernel);
    kernel.offline_pages(&cx, blocks[0]).unwrap();
    assert!(state.is_running(), "a block is left");
    kernel.offline_pages(&cx, blocks[1]).unwrap();
    assert!(!state.is_running() && !kernel.n_memory.load().test(NodeId(1)));
    kernel.online_pages(&cx, blocks[0]).unwrap();
    assert!(state.is_running());
    kernel.stop_kswapds();
    kswapd.join().unwrap();
}

#[test]
fn a_free_page_on_a_pcplist_can_be_poisoned() {
    for policy in presets() {
        let (kernel, cx) = boot(policy);
        let gfp = Gfp::HIGHUSER_MOVABLE;
        let pfn = kernel.alloc_pages(&cx, gfp, 0, NodeId(1), Nodemask::None).unwrap();
        kernel.free_pages(&cx, pfn, 0);
        let zone = kernel.page_zone(pfn).unwrap();
        let free = zone.free_pages_exact() + u64::from(zone.pcp[0].count());
        kernel.soft_offline_page(&cx, pfn).unwrap();
        assert_eq!(kernel.frames.get(pfn).state().kind(), FrameKind::Taken, "{policy}");
        let left = zone.free_pages_exact() + u64::from(zone.pcp[0].count());
        assert_eq!(left, free - 1, "{policy}: the rest of its block stays free");
        assert_eq!(kernel.soft_offline_page(&cx, pfn), Ok(()), "once is enough");
        let census = kernel.census();
        assert_eq!((census.violations, census.taken), (Vec::new(), 1), "{policy}");
    }
}

#[test]
fn a_page_in_use_is_moved_before_it_is_poisoned() {
    let (kernel, cx) = boot(Policy::mainline());
    let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::THISNODE;
    let pfn = kernel.page_cache_add(&cx, gfp, NodeId(1), Nodemask::None).unwrap();
    kernel.lru_add_drain_all(&cx);
    kernel.soft_offline_page(&cx, pfn).unwrap();
    assert_eq!(kernel.frames.get(pfn).state().kind(), FrameKind::Taken);
    kernel.lru_add_drain_all(&cx);
    assert_eq!(kernel.drop_caches(&cx), 1, "its contents live on elsewhere");
    let slab = kernel.alloc_pages(&cx, Gfp::KERNEL, 0, NodeId(1), Nodemask::None).unwrap();
    let busy = kernel.soft_offline_page(&cx, slab);
    assert_eq!(busy, Err(SoftOfflineError::Busy(slab.0)));
    kernel.free_pages(&cx, slab, 0);
    // Its block goes offline without it, and stays there.
    let block = BlockId(pfn.0 / BLOCK);
    kernel.offline_pages(&cx, block).unwrap();
    assert_eq!(kernel.online_pages(&cx, block), Err(HotplugError::Poisoned(pfn.0)));
    assert_eq!(kernel.census().violations, Vec::<String>::new());
}
