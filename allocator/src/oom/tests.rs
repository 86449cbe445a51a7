//! The steps X and V one by one, and a canary for each oracle that looks at a kill.

use crate::gfp::{AllocFlags, Gfp};
use crate::ids::{CpuId, NodeId, ZoneIdx};
use crate::machine::Machine;
use crate::mm::Mm;
use crate::mm::address_space::{Rss, SkipBy, mmf};
use crate::nodemask::NodeMask;
use crate::oom::constraint::Constraint;
use crate::oom::{Chosen, OomControl};
use crate::oracle::reserves::ReserveClass;
use crate::oracle::{FindingKind, RequestLog};
use crate::page_alloc::Nodemask;
use crate::page_alloc::slow::Request;
use crate::policy::{Policy, Release};
use crate::race::Point;
use crate::run::kernel::{Kernel, KernelConfig};
use crate::run::task::{Cx, Process, pf};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::zone::Wmark;

fn boot(release: Release) -> Arc<Kernel> {
    let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
    Kernel::boot(Machine::uniform(2, 1, 4096), Policy::preset(release), config).unwrap()
}

/// A process of one thread with so many anonymous pages.
fn process(k: &Kernel, comm: &str, pages: i64, adj: i32) -> Cx {
    let process = k.new_process(comm, adj);
    let task = k.new_task(&process, CpuId(0), 0);
    task.alloc_lock.lock().mm = Some(stand_in(k, pages));
    Cx::new(task, 1)
}

/// An address space that counts pages without having them.
fn stand_in(k: &Kernel, pages: i64) -> Arc<Mm> {
    let mm = k.mm_alloc();
    mm.add_rss(Rss::Anon, pages);
    mm
}

fn mm(cx: &Cx) -> Arc<Mm> {
    cx.task.mm().unwrap()
}

/// An OOM that nobody's request stands behind.
fn control<'k>(k: &'k Kernel, gfp: Gfp) -> OomControl<'k> {
    OomControl {
        gfp,
        order: 0,
        highest: gfp.zone(),
        ..OomControl::for_sysrq(k.zonelists.fallback(NodeId(0)))
    }
}

fn victim_of(oc: &OomControl<'_>) -> Option<Arc<Process>> {
    match &oc.chosen {
        Chosen::Victim(process, _) => Some(Arc::clone(process)),
        Chosen::None | Chosen::Abort => None,
    }
}

fn has_passed(cx: &Cx, point: Point) -> bool {
    cx.task.events.events().iter().any(|e| e.point == point)
}

#[test]
fn the_worst_process_is_killed_marked_and_counted() {
    for release in Release::ALL {
        let k = boot(release);
        let cx = process(&k, "asker", 10, 0);
        let small = process(&k, "small", 100, 0);
        let large = process(&k, "large", 200, 0);
        let spared = process(&k, "spared", 900, -1000);
        let mut oc = control(&k, Gfp::KERNEL);
        assert!(k.out_of_memory(&cx, &mut oc));
        assert!(Arc::ptr_eq(&victim_of(&oc).unwrap(), &large.task.process), "{release}");
        assert!(large.task.process.is_killed() && large.task.process.is_oom_victim());
        assert!(large.task.has(pf::TIF_MEMDIE));
        assert!(!small.task.process.is_killed() && !spared.task.process.is_killed());
        assert_eq!(k.oom.victims.load(Ordering::Relaxed), 1);
        assert_eq!(k.cpus[0].vm.oom_kill.load(Ordering::Relaxed), 1);
        for point in [Point::X5Constraint, Point::X8Select, Point::V6Kill, Point::V7Mark] {
            assert!(has_passed(&cx, point), "{release}: {}", point.name());
        }
    }
}

#[test]
fn of_two_equals_the_first_dies_up_to_5_2_and_then_the_later() {
    for release in Release::ALL {
        let k = boot(release);
        let cx = process(&k, "asker", 10, 0);
        let first = process(&k, "first", 100, 0);
        let second = process(&k, "second", 100, 0);
        assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
        let dead = if release >= Release::V5_4 { &second } else { &first };
        assert!(dead.task.process.is_killed(), "{release}");
        assert_ne!(first.task.process.is_killed(), second.task.process.is_killed());
    }
}

#[test]
fn a_victim_in_flight_stops_the_search_until_it_is_hidden() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let small = process(&k, "small", 100, 0);
    let large = process(&k, "large", 200, 0);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    assert!(large.task.process.is_killed());
    // E.4 step 2: the abort counts as progress.
    let mut oc = control(&k, Gfp::KERNEL);
    assert!(k.out_of_memory(&cx, &mut oc));
    assert!(matches!(oc.chosen, Chosen::Abort) && !small.task.process.is_killed());
    assert!(has_passed(&cx, Point::E4Abort));
    mm(&large).set_oom_skip(SkipBy::ReaperWalked);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    assert!(small.task.process.is_killed());
    assert!(has_passed(&cx, Point::E4Skip));
}

#[test]
fn a_victim_on_disjoint_nodes_does_not_stop_the_search() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let other = process(&k, "other", 100, 0);
    let far = process(&k, "far", 200, 0);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    assert!(far.task.process.is_killed());
    far.task.mems_allowed.store(&NodeMask::one(NodeId(1)));
    cx.task.mems_allowed.store(&NodeMask::one(NodeId(0)));
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    assert!(other.task.process.is_killed());
}

#[test]
fn a_dying_task_is_marked_and_nobody_is_killed() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let other = process(&k, "other", 100, 0);
    cx.task.process.kill();
    // X3 stands before X4: even without __GFP_FS.
    let mut oc = control(&k, Gfp::NOFS);
    assert!(k.out_of_memory(&cx, &mut oc));
    assert!(cx.task.process.is_oom_victim() && cx.task.has(pf::TIF_MEMDIE));
    assert!(!other.task.process.is_killed());
    assert_eq!(k.oom.stats.silent_marks.load(Ordering::Relaxed), 1);
    assert_eq!(k.cpus[0].vm.oom_kill.load(Ordering::Relaxed), 0);
    // Hidden, it gets no way out any more: the next victim goes.
    mm(&cx).set_oom_skip(SkipBy::ReaperWalked);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    assert!(other.task.process.is_killed());
}

#[test]
fn a_chosen_task_that_dies_anyway_is_marked_silently() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let other = process(&k, "other", 100, 0);
    other.task.process.kill();
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    assert!(other.task.process.is_oom_victim());
    assert_eq!(k.cpus[0].vm.oom_kill.load(Ordering::Relaxed), 0);
    assert!(k.dmesg().iter().all(|line| !line.contains("Killed")));
}

#[test]
fn a_request_without_fs_kills_nobody_and_is_told_of_progress() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let mut oc = control(&k, Gfp::NOFS);
    assert!(k.out_of_memory(&cx, &mut oc));
    assert!(matches!(oc.chosen, Chosen::None) && !has_passed(&cx, Point::X5Constraint));
}

#[test]
fn sharers_die_unmarked_and_init_keeps_the_mm_from_the_reaper() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let victim = process(&k, "victim", 200, 0);
    let sharer = process(&k, "sharer", 1, -1000);
    sharer.task.alloc_lock.lock().mm = Some(mm(&victim));
    let init = process(&k, "init", 1, 0);
    init.task.alloc_lock.lock().mm = Some(mm(&victim));
    k.oom.init_tgid.store(init.task.process.tgid, Ordering::Relaxed);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    assert!(sharer.task.process.is_killed() && !sharer.task.process.is_oom_victim());
    assert!(!init.task.process.is_killed());
    assert_eq!(mm(&victim).skip_by(), SkipBy::SharedWithInit);
    assert!(!has_passed(&cx, Point::V11Wake));
    assert!(k.dmesg().iter().any(|line| line.contains("has mm pinned by")));
}

#[test]
fn without_anybody_to_kill_the_machine_panics_and_the_run_ends() {
    for (release, message) in [
        (Release::V4_13, "Out of memory and no killable processes..."),
        (Release::V6_19, "System is deadlocked on memory"),
    ] {
        let k = boot(release);
        let cx = process(&k, "asker", 10, -1000);
        assert!(!k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
        assert_eq!(k.findings.nr(FindingKind::Panic), 1);
        assert!(k.clock.is_aborted());
        let finding = k.findings.take().pop().unwrap();
        assert!(finding.report.last().unwrap().ends_with(message), "{:?}", finding.report);
    }
}

#[test]
fn a_disabled_killer_does_nothing_and_waits_for_its_victims() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let victim = process(&k, "victim", 100, 0);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    assert!(!k.oom_killer_disable(1), "the victim still has its mm");
    victim.task.clear(pf::TIF_MEMDIE);
    k.exit_oom_victim();
    assert!(k.oom_killer_disable(1));
    assert!(!k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    k.oom_killer_enable();
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
}

#[test]
fn the_time_from_kill_to_free_is_recorded_once() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let victim = process(&k, "victim", 100, 0);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    k.victim_memory_freed(&mm(&cx));
    k.victim_memory_freed(&mm(&victim));
    k.victim_memory_freed(&mm(&victim));
    assert_eq!(k.oom.stats.take_kill_to_free_ns().len(), 1);
}

#[test]
fn the_first_lines_have_each_release_s_form() {
    for (release, expected) in [
        (
            Release::V4_9,
            "asker invoked oom-killer: gfp_mask=0x24000c0(GFP_KERNEL), nodemask=0-1, order=0, \
             oom_score_adj=5",
        ),
        (
            Release::V4_13,
            "asker invoked oom-killer: gfp_mask=0x14000c0(GFP_KERNEL), nodemask=(null),  order=0, \
             oom_score_adj=5",
        ),
        (
            Release::V4_18,
            "asker invoked oom-killer: gfp_mask=0x6000c0(GFP_KERNEL), nodemask=(null), order=0, \
             oom_score_adj=5",
        ),
        (
            Release::V6_19,
            "asker invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=5",
        ),
    ] {
        let k = boot(release);
        let cx = process(&k, "asker", 10, 5);
        let lines = k.dump_header(&cx, &control(&k, Gfp::KERNEL), None);
        assert_eq!(lines[0], expected);
        if release < Release::V5_4 {
            assert_eq!(lines[1], "asker cpuset=/ mems_allowed=0-1");
        }
    }
}

#[test]
fn a_release_up_to_5_0_tells_the_kill_in_two_lines() {
    let k = boot(Release::V4_14);
    let cx = process(&k, "asker", 10, 0);
    let victim = process(&k, "victim", 4000, 0);
    mm(&victim).add_rss(Rss::File, 96);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    let tgid = victim.task.process.tgid;
    // Root's 3 % off 4096, in thousandths of 8192 pages.
    let log = k.dmesg();
    let score = (4096 - 122) * 1000 / 8192;
    let kill =
        format!("Out of memory: Kill process {tgid} (victim) score {score} or sacrifice child");
    assert!(log.contains(&kill), "{log:?}");
    let killed = format!(
        "Killed process {tgid} (victim) total-vm:0kB, anon-rss:16000kB, file-rss:384kB, \
         shmem-rss:0kB"
    );
    assert!(log.contains(&killed), "{log:?}");
}

/// The request of a canary, and an OOM in its name.
fn request() -> Request<'static> {
    Request { gfp: Gfp::KERNEL, order: 0, preferred_nid: NodeId(0), nodemask: Nodemask::None }
}

/// *Expected*: a kill while both nodes are free is a definite premature OOM, with report and story.
#[test]
fn a_kill_with_free_zones_is_found() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let _victim = process(&k, "victim", 100, 0);
    let req = request();
    cx.request.replace(RequestLog::new(&req, ZoneIdx::Normal));
    for kills in 1..=2 {
        let mut oc = OomControl { req: Some(req), ..control(&k, Gfp::KERNEL) };
        assert!(k.out_of_memory(&cx, &mut oc));
        assert_eq!(k.oom.stats.premature_kills.load(Ordering::Relaxed), kills);
        mm(&_victim).set_oom_skip(SkipBy::ReaperWalked);
    }
    // Two kills of one request are one episode, and one finding.
    assert_eq!(k.oom.stats.episodes.load(Ordering::Relaxed), 1);
    assert_eq!(k.findings.nr(FindingKind::PrematureOom), 1);
    let findings = k.findings.take();
    let finding = findings.iter().find(|f| f.kind == FindingKind::PrematureOom).unwrap();
    let report = finding.report.join("\n");
    for part in
        ["invoked oom-killer", "Mem-Info:", "Killed process", "<== may be used", "Premature:"]
    {
        assert!(report.contains(part), "no {part:?} in\n{report}");
    }
    assert!(finding.timeline.iter().any(|e| e.label == "X5" && e.pid == cx.task.pid));
}

/// *Expected*: the second kill is told as what the first victim's state makes it.
#[test]
fn a_kill_beside_a_hidden_victim_is_found_and_classed() {
    for (by, mapped, kind) in [
        (SkipBy::ReaperNoUsers, 200, FindingKind::ExtraVictim),
        (SkipBy::ExitBeforeUnmap, 200, FindingKind::ExtraVictim),
        (SkipBy::ReaperKeptOutByExit, 200, FindingKind::ExtraVictim),
        (SkipBy::ReaperKeptOutByWriter, 200, FindingKind::Unreapable),
        (SkipBy::ReaperWalked, 200, FindingKind::LeftByReaper),
        (SkipBy::ExitAfterUnmap, 0, FindingKind::LateKill),
    ] {
        let k = boot(Release::V6_19);
        let cx = process(&k, "asker", 10, 0);
        let first = process(&k, "first", 200, 0);
        let second = process(&k, "second", 100, 0);
        assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
        mm(&first).add_rss(Rss::Anon, mapped - 200);
        let mut oc = control(&k, Gfp::KERNEL);
        mm(&first).set_oom_skip(by);
        assert!(k.out_of_memory(&cx, &mut oc));
        assert!(second.task.process.is_killed());
        for other in FindingKind::ALL {
            assert_eq!(k.findings.nr(other), u64::from(other == kind), "{by:?}: {}", other.word());
        }
        let finding = k.findings.take().pop().unwrap();
        assert!(finding.report.last().unwrap().contains("MMF_OOM_SKIP was set by"));
    }
}

/// *Expected*: a victim that was gone before the last look is no reproach.
#[test]
fn a_kill_after_the_first_victim_s_end_is_no_extra_one() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let first = process(&k, "first", 200, 0);
    let second = process(&k, "second", 100, 0);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    mm(&first).add_rss(Rss::Anon, -200);
    mm(&first).set_oom_skip(SkipBy::ExitAfterUnmap);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    assert!(second.task.process.is_killed());
    assert_eq!(FindingKind::ALL.map(|kind| k.findings.nr(kind)), [0; FindingKind::ALL.len()]);
}

/// *Expected*: pages taken without a right to them are found, those taken with it are not.
#[test]
fn an_allocation_below_its_share_is_found() {
    let k = boot(Release::V6_1);
    let cx = process(&k, "asker", 10, 0);
    let zone = k.populated_zones().next().unwrap();
    let min = zone.wmark_unboosted(Wmark::Min);
    assert!(k.reserve_slack(zone, 0) < min / 2, "the slack would hide the damage");
    // Reclaim empties the zone rightly; its depth is told by class.
    cx.task.set(pf::MEMALLOC);
    let take = || k.alloc_pages(&cx, Gfp::KERNEL | Gfp::THISNODE, 0, zone.node(), Nodemask::None);
    let mut pages = Vec::new();
    while zone.free_pages_exact() > 0 {
        pages.push(take().unwrap());
    }
    assert_eq!(k.findings.nr(FindingKind::Reserve), 0);
    let depth = k.reserve_oracle.depth(zone, ReserveClass::Memalloc).unwrap();
    assert_eq!((depth.free_pages, depth.share_of_min), (0, 0));
    assert_eq!(k.reserve_oracle.depth(zone, ReserveClass::Other), None);
    // The canary: the zone recovers, and somebody without rights is served at its bottom.
    cx.task.clear(pf::MEMALLOC);
    let bottom: Vec<_> = pages.drain(..pages.len() / 2).collect();
    bottom.iter().for_each(|pfn| k.free_pages(&cx, *pfn, 0));
    k.drain_all_pages(&cx, None);
    k.note_reserve(&cx, zone, Gfp::KERNEL, AllocFlags::CPUSET, 0);
    cx.task.set(pf::MEMALLOC);
    while zone.free_pages_exact() > 0 {
        take().unwrap();
    }
    k.drain_all_pages(&cx, None);
    assert_eq!(k.findings.nr(FindingKind::Reserve), 0);
    k.reserve_oracle.forget(zone);
    cx.task.clear(pf::MEMALLOC);
    {
        let _hotplug = k.mem_hotplug_lock.lock();
        k.note_reserve(&cx, zone, Gfp::KERNEL, AllocFlags::CPUSET, 0);
        assert_eq!(k.findings.nr(FindingKind::Reserve), 0, "hotplug moves the marks");
    }
    k.reserve_oracle.forget(zone);
    k.note_reserve(&cx, zone, Gfp::KERNEL, AllocFlags::CPUSET, 0);
    assert_eq!(k.findings.nr(FindingKind::Reserve), 1);
    let finding = k.findings.take().pop().unwrap();
    assert!(finding.report[0].contains("class other"), "{:?}", finding.report);
}

#[test]
fn a_thisnode_request_is_constrained_by_nothing() {
    let k = boot(Release::V6_19);
    let cx = process(&k, "asker", 10, 0);
    let nodes = NodeMask::one(NodeId(1));
    let oc = |gfp| OomControl { nodemask: Nodemask::Fixed(&nodes), ..control(&k, gfp) };
    let all = k.totalram_pages.load(Ordering::Relaxed);
    let thisnode = k.constrained_alloc(&cx, &oc(Gfp::KERNEL | Gfp::THISNODE));
    assert_eq!(thisnode, (Constraint::None, all));
    let policy = k.constrained_alloc(&cx, &oc(Gfp::KERNEL));
    assert_eq!(policy, (Constraint::MemoryPolicy, 4096));
}

#[test]
fn a_kill_marks_the_mm_for_the_releases_that_ask_it() {
    let k = boot(Release::V5_15);
    let cx = process(&k, "asker", 10, 0);
    let victim = process(&k, "victim", 100, 0);
    assert!(k.out_of_memory(&cx, &mut control(&k, Gfp::KERNEL)));
    assert!(mm(&victim).has(mmf::OOM_VICTIM) && !mm(&cx).has(mmf::OOM_VICTIM));
}
