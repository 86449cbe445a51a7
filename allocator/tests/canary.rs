//! Every oracle has a canary: a test that plants the damage and expects the alarm.

use allocator::gfp::{Gfp, MigrateType};
use allocator::hotplug::isolate::Isolation;
use allocator::ids::{CpuId, NodeId, Pfn, ZoneIdx};
use allocator::machine::Machine;
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::nodemask::NodeMask;
use allocator::oracle::placement::Placement;
use allocator::oracle::{FindingKind, RequestLog};
use allocator::page_alloc::Nodemask;
use allocator::page_alloc::slow::Request;
use allocator::policy::Policy;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, pf};
use allocator::sync::Arc;
use allocator::sync::atomic::Ordering;
use allocator::zone::frame::FrameState;

fn boot() -> (Arc<Kernel>, Cx) {
    let config = KernelConfig { kswapd: false, lockup_passes: 5, ..KernelConfig::default() };
    let kernel = Kernel::boot(Machine::uniform(1, 1, 4096), Policy::mainline(), config).unwrap();
    let cx = kernel.kernel_thread("canary", CpuId(0));
    (kernel, cx)
}

fn request(nodemask: Nodemask<'_>) -> Request<'_> {
    Request { gfp: Gfp::HIGHUSER_MOVABLE, order: 0, preferred_nid: NodeId(0), nodemask }
}

/// Takes every page that a request without rights may have, and then all of the reserve.
fn fill(kernel: &Kernel, cx: &Cx) -> Vec<Pfn> {
    let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::MEMALLOC | Gfp::NORETRY;
    let mut held = Vec::new();
    while let Some(pfn) = kernel.alloc_pages(cx, gfp, 0, NodeId(0), Nodemask::None) {
        held.push(pfn);
    }
    held
}

#[test]
fn a_lost_frame_is_missed() {
    let (kernel, cx) = boot();
    let pfn = kernel.alloc_pages(&cx, Gfp::KERNEL, 0, NodeId(0), Nodemask::None).unwrap();
    assert_eq!(kernel.census().violations, Vec::<String>::new());
    kernel.frames.get(pfn).set_state(FrameState(0));
    let violations = kernel.census().violations;
    assert!(violations[0].contains("is in no place"), "{violations:?}");
}

#[test]
fn a_count_that_differs_from_its_recount_is_named() {
    let (kernel, cx) = boot();
    let pfn = kernel.alloc_pages(&cx, Gfp::KERNEL, 0, NodeId(0), Nodemask::None).unwrap();
    kernel.free_pages(&cx, pfn, 0);
    let zone = kernel.zone_of(NodeId(0), ZoneIdx::Normal);
    zone.pcp[0].count.fetch_add(1, Ordering::Relaxed);
    let violations = kernel.census().violations;
    assert!(violations.iter().any(|v| v.contains("pcp count of CPU 0")), "{violations:?}");
}

#[test]
fn a_kill_with_free_memory_is_premature_and_one_without_is_not() {
    let (kernel, cx) = boot();
    let req = request(Nodemask::None);
    *cx.request.borrow_mut() = RequestLog::new(&req, ZoneIdx::Movable);
    assert_eq!(kernel.judge_kill(&cx, &req), Some(FindingKind::PrematureOom));
    let held = fill(&kernel, &cx);
    *cx.request.borrow_mut() = RequestLog::new(&req, ZoneIdx::Movable);
    assert_eq!(kernel.judge_kill(&cx, &req), None);
    // Memory that came back only after the last look began: not definite.
    *cx.request.borrow_mut() = RequestLog::new(&req, ZoneIdx::Movable);
    kernel.look(&cx, &req);
    for pfn in held {
        kernel.free_pages(&cx, pfn, 0);
    }
    kernel.drain_all_pages(&cx, None);
    assert_eq!(kernel.judge_kill(&cx, &req), Some(FindingKind::TransientOom));
}

#[test]
fn a_retry_without_end_is_a_lockup_once_its_zonelists_have_moved() {
    let (kernel, cx) = boot();
    let held = fill(&kernel, &cx);
    // A request that may never fail, on a full machine, while a rebuild has gone by.
    kernel.zonelist_update_seq.write_begin();
    kernel.zonelist_update_seq.write_end();
    assert_eq!(kernel.findings.nr(FindingKind::Lockup), 0);
    let mut state = allocator::page_alloc::retry::RetryState {
        passes: 6,
        ..allocator::page_alloc::retry::RetryState::new(allocator::page_alloc::retry::Cookies {
            cpuset: 0,
            zonelist: 0,
        })
    };
    let zonelist = kernel.node_zonelist(NodeId(0), Gfp::KERNEL);
    let ac = allocator::page_alloc::AllocContext {
        zonelist: std::cell::Cell::new(zonelist),
        nodemask: std::cell::Cell::new(Nodemask::None),
        preferred_zoneref: std::cell::Cell::new(0),
        migratetype: MigrateType::Unmovable,
        highest_zoneidx: ZoneIdx::Normal,
    };
    kernel.note_passes(&cx, &request(Nodemask::None), &ac, &mut state);
    assert_eq!(kernel.findings.nr(FindingKind::Lockup), 1);
    assert!(kernel.clock.is_aborted(), "a lockup frees everybody");
    drop(held);
}

#[test]
fn a_page_of_an_isolated_pageblock_is_not_handed_out_unseen() {
    let (kernel, cx) = boot();
    let gfp = Gfp::HIGHUSER_MOVABLE;
    let pfn = kernel.alloc_pages(&cx, gfp, 0, NodeId(0), Nodemask::None).unwrap();
    kernel.free_pages(&cx, pfn, 0);
    // As if the pageblock had been isolated without a drain: the page is still on the pcplist.
    let zone = kernel.zone_of(NodeId(0), ZoneIdx::Normal);
    kernel.pageblocks.set_migratetype(pfn, MigrateType::Isolate);
    zone.nr_isolate_pageblock.fetch_add(1, Ordering::Relaxed);
    let first = Pfn(pfn.0 & !511);
    let isolation = Isolation { first, pages: 512, open_sections: vec![None] };
    kernel.hotplug.isolations.lock().push(isolation);
    let again = kernel.alloc_pages(&cx, gfp, 0, NodeId(0), Nodemask::None).unwrap();
    assert_eq!(again, pfn);
    assert_eq!(kernel.findings.nr(FindingKind::IsolatedHandedOut), 1);
}

#[test]
fn a_failure_with_free_memory_is_premature() {
    let (kernel, cx) = boot();
    let task = &cx.task;
    assert!(task.has(pf::KTHREAD));
    let req = request(Nodemask::None);
    *cx.request.borrow_mut() = RequestLog::new(&req, ZoneIdx::Movable);
    kernel.look(&cx, &req);
    let zonelist = kernel.node_zonelist(NodeId(0), Gfp::KERNEL);
    let ac = allocator::page_alloc::AllocContext {
        zonelist: std::cell::Cell::new(zonelist),
        nodemask: std::cell::Cell::new(Nodemask::None),
        preferred_zoneref: std::cell::Cell::new(0),
        migratetype: MigrateType::Movable,
        highest_zoneidx: ZoneIdx::Movable,
    };
    kernel.request_failed(&cx, &req, &ac);
    assert_eq!(kernel.findings.nr(FindingKind::PrematureFailure), 1);
    let kept = kernel.findings.take();
    assert_eq!(kept[0].kind, FindingKind::PrematureFailure);
}

#[test]
fn a_page_of_a_node_that_the_policy_excludes_is_misplaced_unless_the_cpuset_explains_it() {
    let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
    let kernel = Kernel::boot(Machine::uniform(2, 1, 4096), Policy::mainline(), config).unwrap();
    let cx = kernel.kernel_thread("canary", CpuId(0));
    let task = kernel.new_task(&kernel.new_process("bound", 0), CpuId(0), 0);
    let cs = kernel.cpusets.create(&kernel.cpusets.top, "a").unwrap();
    let one = |node| NodeMask::of([NodeId(node)]);
    kernel.cpuset_write_mems(&cx, &cs, &NodeMask::of([NodeId(0), NodeId(1)])).unwrap();
    kernel.cpuset_attach(&cx, &cs, &[Arc::clone(&task)]).unwrap();
    let bound = Cx::new(task, 1);
    let gfp = Gfp::HIGHUSER_MOVABLE;
    let policy = kernel.mpol_new(&bound, &PolicySpec::new(Mode::Bind, one(0))).unwrap().unwrap();
    let pfn = kernel.alloc_pages(&bound, gfp, 0, NodeId(1), Nodemask::None).unwrap();
    let judge = |cookie| {
        let before = Placement { cookie, zonelists: kernel.zonelists.version() };
        kernel.judge_placement(&bound, gfp, &policy, before, pfn)
    };
    let cookie = bound.task.mems_allowed_seq.raw();
    assert_eq!(judge(cookie), Some(FindingKind::MisplacedPage));
    assert_eq!(kernel.findings.nr(FindingKind::MisplacedPage), 1);
    assert_eq!(judge(cookie.wrapping_sub(2)), None, "mems changed since");
    let before = Placement { cookie, zonelists: kernel.zonelists.version() };
    kernel.build_all_zonelists(&cx);
    let by_rebuild = kernel.judge_placement(&bound, gfp, &policy, before, pfn);
    assert_eq!(by_rebuild, Some(FindingKind::MisplacedByRebuild));
    kernel.cpuset_write_mems(&cx, &cs, &one(1)).unwrap();
    assert_eq!(judge(bound.task.mems_allowed_seq.raw()), None, "policy and mems don't meet");
}
