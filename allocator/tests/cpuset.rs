//! cpusets and task policies on small machines, one thread at a time: what each write does to
//! tasks, policies and sequence counts, and what a request may then take.

use allocator::cpuset::{Cpuset, CpusetError, CpusetFlag};
use allocator::gfp::Gfp;
use allocator::ids::{CpuId, NodeId, Pfn, ZoneIdx};
use allocator::machine::Machine;
use allocator::mempolicy::{Mempolicy, Mode, ModeFlags, PolicySpec};
use allocator::mm::{Mm, VmFlags, Vma, Vpn};
use allocator::nodemask::NodeMask;
use allocator::page_alloc::Nodemask;
use allocator::policy::{CpusetPolicy, Policy, RebindPolicy, Release, presets};
use allocator::race::Point;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Task, pf};
use allocator::sync::{self, Arc};

const NODES: u16 = 4;

fn mask(list: &str) -> NodeMask {
    NodeMask::parse(list).unwrap()
}

fn boot(policy: Policy) -> Arc<Kernel> {
    let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
    Kernel::boot(Machine::uniform(NODES, 1, 4096), policy, config).unwrap()
}

fn context(k: &Kernel, comm: &str, cs: &Arc<Cpuset>, mm: Option<Arc<Mm>>) -> Cx {
    let process = k.new_process(comm, 0);
    let mems = cs.effective_mems();
    let task = Task::new(process.tgid, &process, cs, &mems, k.nr_node_ids(), mm, CpuId(0), 0);
    k.add_task(&task);
    Cx::new(task, 1)
}

/// A kernel with a cpuset of all nodes, its writer and a task in it.
struct World {
    k: Arc<Kernel>,
    cs: Arc<Cpuset>,
    writer: Cx,
    cx: Cx,
}

fn world(policy: Policy) -> World {
    let k = boot(policy);
    let top = Arc::clone(&k.cpusets.top);
    let writer = context(&k, "writer", &top, None);
    let cs = k.cpusets.create(&top, "a").unwrap();
    k.cpuset_write_mems(&writer, &cs, &mask("0-3")).unwrap();
    let cx = context(&k, "task", &cs, None);
    World { k, cs, writer, cx }
}

impl World {
    fn write(&self, list: &str) {
        self.k.cpuset_write_mems(&self.writer, &self.cs, &mask(list)).unwrap();
    }

    fn set_policy(&self, spec: PolicySpec) {
        self.k.set_mempolicy(&self.cx, &spec).unwrap();
    }

    fn policy_nodes(&self) -> NodeMask {
        self.cx.task.alloc_lock.lock().mempolicy.as_ref().unwrap().nodes.load()
    }

    fn seq(&self) -> u32 {
        self.cx.task.mems_allowed_seq.raw()
    }

    /// The node of a page that a request of the task gets; the page goes back.
    fn node_got(&self, gfp: Gfp) -> Option<u16> {
        let page = self.k.alloc_pages_current(&self.cx, gfp, 0)?;
        Some(self.give_back(page))
    }

    fn give_back(&self, page: Pfn) -> u16 {
        let node = self.k.page_node(page).unwrap();
        self.k.free_pages(&self.cx, page, 0);
        node.0
    }
}

fn bind(list: &str) -> PolicySpec {
    PolicySpec::new(Mode::Bind, mask(list))
}

fn swap() -> Policy {
    Policy { cpuset: CpusetPolicy::Swap, ..Policy::mainline() }
}

fn policies() -> impl Iterator<Item = Policy> {
    presets().chain([swap()])
}

#[test]
fn a_write_reaches_the_task_its_policy_and_its_requests_in_every_release() {
    for policy in policies() {
        let w = world(policy);
        w.set_policy(bind("1"));
        assert_eq!(w.node_got(Gfp::HIGHUSER_MOVABLE), Some(1), "{policy}");
        w.write("2-3");
        assert_eq!(w.cx.task.mems_allowed.load(), mask("2-3"));
        assert_eq!(w.policy_nodes(), mask("3"), "{policy}");
        assert_eq!(w.node_got(Gfp::HIGHUSER_MOVABLE), Some(3));
        w.set_policy(PolicySpec::default_policy());
        assert_eq!(w.node_got(Gfp::HIGHUSER_MOVABLE), Some(2));
    }
}

#[test]
fn equal_mems_move_nothing() {
    let w = world(Policy::mainline());
    let seq = w.seq();
    w.write("0-3");
    assert_eq!(w.seq(), seq);
    w.write("0-2");
    assert_eq!(w.seq(), seq + 2);
}

#[test]
fn two_step_moves_the_count_only_with_a_policy_or_without_a_common_node() {
    let w = world(Policy { rebind: RebindPolicy::TwoStep, ..Policy::mainline() });
    let cookie = w.k.read_mems_allowed_begin(&w.cx);
    w.write("0");
    assert!(!w.k.read_mems_allowed_retry(&w.cx, cookie), "{{0-3}} meets {{0}}: nobody can notice");
    w.write("1");
    assert!(w.k.read_mems_allowed_retry(&w.cx, cookie));
    w.set_policy(bind("1"));
    let cookie = w.k.read_mems_allowed_begin(&w.cx);
    w.write("0-1");
    assert!(w.k.read_mems_allowed_retry(&w.cx, cookie), "a policy is rewritten");
}

#[test]
fn one_step_always_moves_the_count() {
    for rebind in [RebindPolicy::OneStepRemapBase, RebindPolicy::OneStep] {
        let w = world(Policy { rebind, ..Policy::mainline() });
        let cookie = w.k.read_mems_allowed_begin(&w.cx);
        w.write("0");
        assert!(w.k.read_mems_allowed_retry(&w.cx, cookie));
    }
}

#[test]
fn cookies_are_dead_while_only_the_root_exists() {
    let k = boot(Policy::mainline());
    let top = Arc::clone(&k.cpusets.top);
    let cx = context(&k, "task", &top, None);
    assert!(!k.cpusets_enabled());
    k.cpuset_change_task_nodemask(&cx, &cx.task, &mask("1")).unwrap();
    assert_eq!(k.read_mems_allowed_begin(&cx), 0);
    assert!(!k.read_mems_allowed_retry(&cx, 0));
    let cs = k.cpusets.create(&top, "a").unwrap();
    assert!(k.cpusets_enabled());
    assert_eq!(k.read_mems_allowed_begin(&cx), 2);
    k.cpusets.remove(&cs).unwrap();
    assert!(!k.cpusets_enabled());
}

#[test]
fn writes_are_refused_by_v1s_rules() {
    let w = world(Policy::mainline());
    let (k, cx, a) = (&w.k, &w.writer, &w.cs);
    let top = Arc::clone(&k.cpusets.top);
    let errno = |cs: &Arc<Cpuset>, list: &str| {
        k.cpuset_write_mems(cx, cs, &mask(list)).map_err(|e| e.errno())
    };
    assert_eq!(errno(&top, "0"), Err("EACCES"));
    assert_eq!(errno(a, "0-4"), Err("EINVAL"));
    assert_eq!(errno(a, ""), Err("ENOSPC"), "it has a task");
    let child = k.cpusets.create(a, "child").unwrap();
    assert_eq!(child.name, "/a/child");
    assert_eq!(errno(&child, "1-2"), Ok(()));
    assert_eq!(errno(a, "0-1"), Err("EBUSY"), "the child has node 2");
    assert_eq!(errno(a, "1-2"), Ok(()));
    assert_eq!(errno(&child, "1,3"), Err("EACCES"));
    let b = k.cpusets.create(&top, "b").unwrap();
    assert_eq!(errno(&b, "3"), Ok(()));
    k.cpuset_write_flag(&b, CpusetFlag::MemExclusive, true).unwrap();
    assert_eq!(errno(a, "1-3"), Err("EINVAL"), "node 3 is exclusive to a sibling");
    assert_eq!(
        k.cpuset_attach(cx, &k.cpusets.create(&top, "c").unwrap(), &[Arc::clone(&cx.task)]),
        Err(CpusetError::NoNodes("/c".to_owned()))
    );
    assert!(k.cpusets.remove(a).is_err());
    assert_eq!(a.mems_allowed(), mask("1-2"), "what was refused has changed nothing");
}

#[test]
fn v2_falls_back_to_the_parent_where_v1_refuses() {
    let k = boot(Policy::mainline());
    k.cpusets.use_v2();
    let top = Arc::clone(&k.cpusets.top);
    let cx = context(&k, "writer", &top, None);
    let a = k.cpusets.create(&top, "a").unwrap();
    assert_eq!(a.effective_mems(), mask("0-3"));
    let child = k.cpusets.create(&a, "child").unwrap();
    k.cpuset_write_mems(&cx, &child, &mask("2-3")).unwrap();
    let task = context(&k, "task", &child, None);
    k.cpuset_write_mems(&cx, &a, &mask("1-2")).unwrap();
    assert_eq!(task.task.mems_allowed.load(), mask("2"));
    k.cpuset_write_mems(&cx, &a, &mask("0-1")).unwrap();
    assert_eq!(child.effective_mems(), mask("0-1"));
    assert_eq!(task.task.mems_allowed.load(), mask("0-1"));
    k.cpuset_write_mems(&cx, &a, &mask("0-3")).unwrap();
    assert_eq!(task.task.mems_allowed.load(), mask("2-3"), "what was configured is not forgotten");
}

#[test]
fn a_write_reaches_each_thread_below_but_no_subtree_that_stays_equal() {
    let w = world(Policy::mainline());
    let child = w.k.cpusets.create(&w.cs, "child").unwrap();
    w.k.cpuset_write_mems(&w.writer, &child, &mask("1")).unwrap();
    let below = context(&w.k, "below", &child, None);
    let seq = below.task.mems_allowed_seq.raw();
    w.write("0-1");
    assert_eq!(below.task.mems_allowed_seq.raw(), seq);
    assert_eq!(w.cx.task.mems_allowed.load(), mask("0-1"));
    let twin = Task::new(99, &w.cx.task.process, &w.cs, &mask("0-1"), 4, None, CpuId(0), 0);
    w.k.add_task(&twin);
    w.write("1-2");
    assert_eq!(twin.mems_allowed.load(), mask("1-2"));
    w.k.cpuset_exit(&twin);
    w.write("1-3");
    assert_eq!(twin.mems_allowed.load(), mask("1-2"), "it has left");
}

#[test]
fn user_requests_stay_inside_and_kernel_requests_escape_to_the_hardwall() {
    let w = world(Policy::mainline());
    let k = &w.k;
    let child = k.cpusets.create(&w.cs, "child").unwrap();
    k.cpuset_write_mems(&w.writer, &w.cs, &mask("0-2")).unwrap();
    k.cpuset_write_mems(&w.writer, &child, &mask("0")).unwrap();
    let cx = context(k, "below", &child, None);
    let allowed = |node, gfp| k.cpuset_node_allowed(&cx, NodeId(node), gfp);
    assert!(allowed(0, Gfp::USER));
    assert!(!allowed(1, Gfp::USER));
    assert!(allowed(3, Gfp::KERNEL), "no wall below the root");
    k.cpuset_write_flag(&w.cs, CpusetFlag::MemHardwall, true).unwrap();
    assert!(allowed(2, Gfp::KERNEL));
    assert!(!allowed(3, Gfp::KERNEL));
    k.cpuset_write_flag(&child, CpusetFlag::MemExclusive, true).unwrap_err();
    k.cpuset_write_flag(&child, CpusetFlag::MemHardwall, true).unwrap();
    assert!(!allowed(1, Gfp::KERNEL));
    assert!(cx.interrupt(|| allowed(1, Gfp::USER)));
    cx.task.set(pf::EXITING);
    assert!(allowed(1, Gfp::KERNEL));
    assert!(!allowed(1, Gfp::USER));
}

#[test]
fn victims_leave_the_cpuset_as_a_thread_or_as_a_group() {
    for (release, as_thread, as_group) in
        [(Release::V4_13, true, false), (Release::V4_14, false, true)]
    {
        let w = world(Policy::preset(release));
        w.write("0");
        let allowed = || w.k.cpuset_node_allowed(&w.cx, NodeId(1), Gfp::USER);
        assert!(!allowed());
        w.cx.task.set(pf::TIF_MEMDIE);
        assert_eq!(allowed(), as_thread, "{release}");
        w.cx.task.clear(pf::TIF_MEMDIE);
        w.cx.task.process.set_oom_mm(&w.k.mm_alloc());
        assert_eq!(allowed(), as_group, "{release}");
    }
}

#[test]
fn attach_brings_the_task_and_its_policy_along() {
    for policy in policies() {
        let w = world(policy);
        w.set_policy(bind("0-1"));
        let b = w.k.cpusets.create(&w.k.cpusets.top, "b").unwrap();
        w.k.cpuset_write_mems(&w.writer, &b, &mask("2-3")).unwrap();
        w.k.cpuset_attach(&w.writer, &b, &[Arc::clone(&w.cx.task)]).unwrap();
        assert_eq!(w.cx.task.mems_allowed.load(), mask("2-3"));
        assert_eq!(w.policy_nodes(), mask("2-3"));
        w.k.cpuset_write_mems(&w.writer, &w.cs, &mask("0")).unwrap();
        assert_eq!(w.cx.task.mems_allowed.load(), mask("2-3"), "it left the old one's list");
    }
}

#[test]
fn interleaving_takes_turns_and_resumes_behind_the_last_node() {
    for policy in policies() {
        let w = world(policy);
        w.set_policy(PolicySpec::new(Mode::Interleave, mask("0,1,3")));
        let turns: Vec<_> = (0..5).map(|_| w.node_got(Gfp::KERNEL).unwrap()).collect();
        assert_eq!(turns, [0, 1, 3, 0, 1], "{policy}");
    }
}

#[test]
fn up_to_4_12_a_rebind_moves_the_writers_turn() {
    for (release, next) in [(Release::V4_11, 2), (Release::V4_13, 1)] {
        let w = world(Policy::preset(release));
        // The writer is at node 1 when the task's policy becomes {2}.
        w.k.set_mempolicy(&w.writer, &PolicySpec::new(Mode::Interleave, mask("0-3"))).unwrap();
        let turn = |cx| {
            let page = w.k.alloc_pages_current(cx, Gfp::KERNEL, 0).unwrap();
            w.give_back(page)
        };
        assert_eq!(turn(&w.writer), 0);
        w.set_policy(PolicySpec::new(Mode::Interleave, mask("0")));
        w.write("2");
        assert_eq!(turn(&w.writer), next, "{release}");
    }
}

#[test]
fn weights_are_turns_in_a_row_and_shares_of_a_vma() {
    let w = world(Policy::mainline());
    w.k.interleave_weights.set(NodeId(0), 2);
    w.k.interleave_weights.set(NodeId(2), 3);
    w.set_policy(PolicySpec::new(Mode::WeightedInterleave, mask("0-2")));
    let turns: Vec<_> = (0..8).map(|_| w.node_got(Gfp::KERNEL).unwrap()).collect();
    assert_eq!(turns, [0, 0, 1, 2, 2, 2, 0, 0]);
    let at = |index| {
        let page = w.k.alloc_pages_vma(&w.cx, Gfp::HIGHUSER_MOVABLE, 0, None, index).unwrap();
        w.give_back(page)
    };
    assert_eq!((0..8).map(at).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 2, 0, 0]);
}

#[test]
fn a_vmas_own_policy_wins_over_the_tasks() {
    for policy in policies() {
        let w = world(policy);
        w.set_policy(bind("1"));
        let vma = w.k.mpol_new(&w.cx, &bind("3")).unwrap().unwrap();
        let got = |own| {
            let page = w.k.alloc_pages_vma(&w.cx, Gfp::HIGHUSER_MOVABLE, 0, own, 0).unwrap();
            w.give_back(page)
        };
        assert_eq!((got(Some(&*vma)), got(None)), (3, 1), "{policy}");
    }
}

#[test]
fn bind_is_void_where_it_does_not_meet_the_cpuset() {
    let w = world(Policy::mainline());
    let vma = w.k.mpol_new(&w.cx, &bind("0")).unwrap().unwrap();
    // The task's mems have moved, the VMA's policy has not been reached yet.
    w.write("1");
    let (_, nodes) = w.k.policy_node_and_mask(&w.cx, Gfp::HIGHUSER_MOVABLE, &vma, NodeId(0));
    assert!(matches!(nodes, Nodemask::None));
    let page = w.k.alloc_pages_vma(&w.cx, Gfp::HIGHUSER_MOVABLE, 0, Some(&*vma), 0).unwrap();
    assert_eq!(w.give_back(page), 1);
}

#[test]
fn preferred_many_prefers_and_does_not_insist() {
    let w = world(Policy::mainline());
    w.set_policy(PolicySpec::new(Mode::PreferredMany, mask("2-3")));
    assert_eq!(w.node_got(Gfp::HIGHUSER_MOVABLE), Some(2));
    let mut held = Vec::new();
    while let Some(page) = w.k.alloc_pages_current(&w.cx, Gfp::HIGHUSER_MOVABLE | Gfp::NORETRY, 0) {
        held.push(page);
    }
    let on = |node| held.iter().filter(|p| w.k.page_node(**p) == Some(NodeId(node))).count();
    assert!(on(0) > 3000 && on(3) > 3000, "{} {}", on(0), on(3));
    for page in held {
        w.k.free_pages(&w.cx, page, 0);
    }
}

/// Runs `look` while a write of `list` waits at T3c for the mmap_lock of the task's address space,
/// which has one VMA with a BIND to node 0; returns the VMA's nodes in the end.
fn during_t3c(
    policy: Policy,
    list: &str,
    look: impl FnOnce(&World, &Cx, &Arc<Mempolicy>),
) -> NodeMask {
    let w = world(policy);
    let mm = w.k.mm_alloc();
    let cx = context(&w.k, "faulting", &w.cs, Some(Arc::clone(&mm)));
    let vma_policy = w.k.mpol_new(&cx, &bind("0")).unwrap().unwrap();
    let range = (Vpn(16), Vpn(32));
    let vma = Vma::new(range, VmFlags::empty(), None, Some(Arc::clone(&vma_policy)));
    mm.mmap_write_lock().insert(Arc::new(vma));
    let fault = mm.mmap_read_lock();
    let (k, cs, mems) = (Arc::clone(&w.k), Arc::clone(&w.cs), mask(list));
    let task = Arc::clone(&w.writer.task);
    let writer = sync::spawn("writer", move || {
        k.cpuset_write_mems(&Cx::new(task, 3), &cs, &mems).unwrap();
    });
    while cx.task.mems_allowed.load() != mems || cx.task.mems_allowed_seq.raw() & 1 == 1 {
        sync::yield_now();
    }
    look(&w, &cx, &vma_policy);
    drop(fault);
    writer.join().unwrap();
    assert!(!w.k.is_current_cpuset_being_rebound(&cx));
    let vmas = mm.mmap_read_lock();
    vmas.find(Vpn(16)).unwrap().policy().unwrap().nodes.load()
}

#[test]
fn a_copy_made_during_a_rebind_is_rebound_at_once() {
    for policy in policies() {
        let nodes = during_t3c(policy, "2", |w, cx, vma_policy| {
            assert!(w.k.is_current_cpuset_being_rebound(cx));
            assert_eq!(w.k.mpol_dup(cx, vma_policy).nodes.load(), mask("2"), "{policy}");
            // Another cpuset's tasks copy as ever.
            assert_eq!(w.k.mpol_dup(&w.writer, vma_policy).nodes.load(), mask("0"));
        });
        assert_eq!(nodes, mask("2"), "{policy}");
    }
}

#[test]
fn a_fault_in_progress_keeps_its_vmas_old_nodes_while_its_mems_are_new() {
    for policy in policies() {
        let nodes = during_t3c(policy, "1", |w, cx, vma_policy| {
            assert_eq!(vma_policy.nodes.load(), mask("0"));
            assert_eq!(w.cs.effective_mems(), mask("1"));
            // No node is in both: the policy is void, and a nodemask taken earlier is stale.
            assert!(!w.k.cpuset_nodemask_valid_mems_allowed(cx, &vma_policy.nodes.load()));
        });
        assert_eq!(nodes, mask("1"), "{policy}");
    }
}

#[test]
fn hotplug_shrinks_v1_for_good_and_v2_for_a_while() {
    for v2 in [false, true] {
        let k = boot(Policy::mainline());
        if v2 {
            k.cpusets.use_v2();
        }
        let top = Arc::clone(&k.cpusets.top);
        let writer = context(&k, "writer", &top, None);
        let cs = k.cpusets.create(&top, "a").unwrap();
        k.cpuset_write_mems(&writer, &cs, &mask("2-3")).unwrap();
        let lone = k.cpusets.create(&top, "lone").unwrap();
        k.cpuset_write_mems(&writer, &lone, &mask("3")).unwrap();
        let cx = context(&k, "task", &cs, None);
        let moved = context(&k, "moved", &lone, None);
        let static_nodes = bind("3").with(ModeFlags::STATIC_NODES);
        k.set_mempolicy(&cx, &static_nodes).unwrap();

        k.n_memory.store(&mask("0-2"));
        k.cpuset_track_online_nodes(&writer);
        assert_eq!(writer.task.mems_allowed.load(), mask("0-2"));
        assert_eq!(cx.task.mems_allowed.load(), mask("2"));
        assert_eq!(moved.task.mems_allowed.load(), mask("0-2"));
        let in_lone = Arc::ptr_eq(&moved.task.cpuset.lock(), &lone);
        assert_eq!(in_lone, v2, "v1 moves its tasks to the parent");

        k.n_memory.store(&mask("0-3"));
        k.cpuset_track_online_nodes(&writer);
        let (back, lone_back) = if v2 { ("2-3", "3") } else { ("2", "0-3") };
        assert_eq!(cx.task.mems_allowed.load(), mask(back));
        assert_eq!(moved.task.mems_allowed.load(), mask(lone_back));
        let nodes = cx.mempolicy.borrow().as_ref().unwrap().nodes.load();
        assert_eq!(nodes, mask(if v2 { "3" } else { "2" }));
    }
}

#[test]
fn policies_across_a_nodes_way_off_and_on() {
    // As observed on 6.1: BIND {3} of 0-3 becomes {0} and stays; {1} of 0-2 becomes {2}, comes back.
    let k = boot(Policy::preset(Release::V6_1));
    k.cpusets.use_v2();
    let top = Arc::clone(&k.cpusets.top);
    let cx = context(&k, "task", &top, None);
    k.set_mempolicy(&cx, &bind("3")).unwrap();
    let nodes = || cx.mempolicy.borrow().as_ref().unwrap().nodes.load();
    k.n_memory.store(&mask("0-2"));
    k.cpuset_track_online_nodes(&cx);
    assert_eq!(nodes(), mask("0"));
    k.n_memory.store(&mask("0-3"));
    k.cpuset_track_online_nodes(&cx);
    assert_eq!(nodes(), mask("0"));
}

#[test]
fn the_updates_steps_are_told_in_order() {
    for rebind in [RebindPolicy::TwoStep, RebindPolicy::OneStep] {
        let w = world(Policy { rebind, ..Policy::mainline() });
        w.set_policy(bind("0"));
        let from = w.writer.task.events.len();
        w.write("1");
        let points: Vec<_> = w
            .writer
            .task
            .events
            .events()
            .into_iter()
            .filter(|e| e.number >= from)
            .map(|e| e.point)
            .collect();
        let mut expected = vec![Point::W5Mems, Point::W6Effective, Point::T3aMemsOr];
        let writes = if rebind == RebindPolicy::TwoStep { 2 } else { 1 };
        expected.extend(std::iter::repeat_n(Point::T3aPolicyWritten, writes));
        expected.extend([Point::T3aMemsWritten, Point::T4Done]);
        assert_eq!(points, expected);
    }
}

#[test]
fn old_wrappers_look_at_their_cookie_only_after_a_failure() {
    // A request that fails although nothing changed is not repeated.
    for cpuset in [CpusetPolicy::NoRecheck, CpusetPolicy::CookieRecheck] {
        let w = world(Policy { cpuset, ..Policy::preset(Release::V4_11) });
        w.write("0");
        let mut held = Vec::new();
        let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::NORETRY;
        while let Some(page) = w.k.alloc_pages_current(&w.cx, gfp, 0) {
            held.push(page);
        }
        assert_eq!(w.cx.stats.failures.get(), 1);
        assert!(held.iter().all(|p| w.k.page_node(*p) == Some(NodeId(0))));
        for page in held {
            w.k.free_pages(&w.cx, page, 0);
        }
    }
}

#[test]
fn a_cpuset_of_movable_memory_fails_lower_requests_at_once_since_5_16() {
    for (release, at_once) in [(Release::V5_15, false), (Release::V5_17, true)] {
        let mut machine = Machine::uniform(2, 1, 4096);
        machine.nodes[1].zones[0].idx = ZoneIdx::Movable;
        let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
        let k = Kernel::boot(machine, Policy::preset(release), config).unwrap();
        let top = Arc::clone(&k.cpusets.top);
        let writer = context(&k, "writer", &top, None);
        let cs = k.cpusets.create(&top, "movable").unwrap();
        k.cpuset_write_mems(&writer, &cs, &mask("1")).unwrap();
        assert_eq!(k.cpusets_insane_config(), at_once);
        let cx = context(&k, "task", &cs, None);
        let movable = k.alloc_pages_current(&cx, Gfp::HIGHUSER_MOVABLE, 0).unwrap();
        k.free_pages(&cx, movable, 0);
        assert_eq!(k.alloc_pages_current(&cx, Gfp::USER | Gfp::NORETRY, 0), None);
        let retried = cx.task.events.events().iter().any(|e| e.point == Point::S7Retry);
        assert_eq!(retried, !at_once, "{release}");
    }
}

#[test]
fn swapped_masks_never_change_under_their_holder() {
    let w = world(swap());
    w.set_policy(bind("1"));
    let held = w.cx.task.alloc_lock.lock().mempolicy.clone().unwrap();
    let first = w.cx.task.alloc_lock.lock().allowed.clone().unwrap();
    w.write("2-3");
    let second = w.cx.task.alloc_lock.lock().allowed.clone().unwrap();
    assert_eq!((held.nodes.load(), first.mems.load()), (mask("1"), mask("0-3")));
    assert_eq!(second.mems.load(), mask("2-3"));
    assert_eq!(second.mempolicy.as_ref().unwrap().nodes.load(), mask("3"));
    assert_eq!(w.node_got(Gfp::HIGHUSER_MOVABLE), Some(3));
    // Only these two hands hold the old pair now.
    drop(first);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_swap_that_runs_out_of_memory_reaches_some_and_can_be_repeated() {
    let w = world(swap());
    let tasks: Vec<Cx> = (0..3).map(|_| context(&w.k, "task", &w.cs, None)).collect();
    for cx in &tasks {
        w.k.set_mempolicy(cx, &bind("1")).unwrap();
    }
    // The world's own task needs one copy, the others two each: one gets through.
    w.k.fail_policy_copies_after(Some(4));
    let error = w.k.cpuset_write_mems(&w.writer, &w.cs, &mask("2-3")).unwrap_err();
    assert_eq!(error.errno(), "ENOMEM");
    let state = |cx: &Cx| {
        let nodes = cx.task.alloc_lock.lock().mempolicy.as_ref().map(|p| p.nodes.load());
        (cx.task.mems_allowed.load(), nodes)
    };
    let (old, new) = ((mask("0-3"), Some(mask("1"))), (mask("2-3"), Some(mask("3"))));
    assert_eq!(tasks.iter().map(state).collect::<Vec<_>>(), [new, old, old]);
    assert_eq!((w.cs.mems_allowed(), w.cs.effective_mems()), (mask("0-3"), mask("0-3")));
    w.k.fail_policy_copies_after(None);
    w.write("2-3");
    assert_eq!(tasks.iter().map(state).collect::<Vec<_>>(), [new, new, new]);
}

/// The zones that a snapshot's list names, by node.
fn listed(cx: &Cx, preferred: u16) -> Vec<u16> {
    let allowed = cx.task.alloc_lock.lock().allowed.clone().unwrap();
    let list = allowed.lists.zones(NodeId(preferred));
    list.into_iter().map(|zone| zone.node().0).collect()
}

#[test]
fn a_snapshots_lists_hold_the_allowed_zones_in_fallback_order() {
    let w = world(swap());
    let own = context(&w.k, "task", &w.cs, None);
    w.write("1-3");
    for cx in [&w.cx, &own] {
        assert_eq!(listed(cx, 2)[0], 2, "the preferred node first");
        let (mut near, mut far) = (listed(cx, 2), listed(cx, 0));
        near.sort_unstable();
        far.sort_unstable();
        assert_eq!((near, far), (vec![1, 2, 3], vec![1, 2, 3]), "node 0 is not allowed");
    }
    let lists = |cx: &Cx| cx.task.alloc_lock.lock().allowed.clone().unwrap().lists.clone();
    assert!(Arc::ptr_eq(&lists(&w.cx), &lists(&own)), "one cpuset, one copy");
    w.write("0");
    assert_eq!(listed(&own, 3), [0]);
    assert_eq!(w.node_got(Gfp::HIGHUSER_MOVABLE), Some(0));
}

/// *Buggy*: after a hotplug, requests go on with zones that are gone, or miss new ones.
#[test]
fn a_rebuild_makes_a_snapshots_lists_anew() {
    let w = world(swap());
    w.write("0-1");
    assert_eq!(w.node_got(Gfp::HIGHUSER_MOVABLE), Some(0));
    let before = w.cx.task.alloc_lock.lock().allowed.clone().unwrap();
    w.k.build_all_zonelists(&w.writer);
    assert!(w.node_got(Gfp::HIGHUSER_MOVABLE).is_some());
    let after = w.cx.task.alloc_lock.lock().allowed.clone().unwrap();
    assert!(!Arc::ptr_eq(&before.lists, &after.lists));
    assert!(after.generation > before.generation);
    assert_eq!(listed(&w.cx, 0), [0, 1]);
}
