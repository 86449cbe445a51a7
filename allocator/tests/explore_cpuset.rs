//! The cpuset races (docs/kernel/interleavings.md#j1) in the model itself, on the smallest worlds,
//! every schedule within the bound: each variant of the axes `cpuset` and `rebind` shows what it is
//! expected to show, and excludes the rest.
#![cfg(feature = "explore")]
extern crate allocator_explore as allocator;

use std::ops::ControlFlow;

use allocator::cpuset::Cpuset;
use allocator::explore::{self, Config, Report, Scheduler};
use allocator::gfp::Gfp;
use allocator::ids::{CpuId, NodeId};
use allocator::machine::Machine;
use allocator::mempolicy::{Mempolicy, Mode, PolicySpec};
use allocator::mm::{Mm, VmFlags, Vma, Vpn};
use allocator::nodemask::NodeMask;
use allocator::page_alloc::Nodemask;
use allocator::policy::{Axis, CpusetPolicy, Expect, Family, Policy, RebindPolicy, presets};
use allocator::race::Point;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Task};
use allocator::sync::{self, Arc};

fn mask(list: &str) -> NodeMask {
    NodeMask::parse(list).unwrap()
}

/// Where the policy of the request stands.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Of {
    Vma,
    Task,
}

/// One request of a task on node 0 that is bound to `from`, in a cpuset of `from`, and one write of
/// `to`. Both nodes are nearly empty.
#[derive(Clone, Copy, Debug)]
struct World {
    policy: Policy,
    of: Of,
    from: &'static str,
    to: &'static str,
    /// Is node 0 full?
    full: bool,
}

fn task(k: &Kernel, comm: &str, cs: &Arc<Cpuset>, mm: Option<Arc<Mm>>) -> Arc<Task> {
    let process = k.new_process(comm, 0);
    let mems = cs.effective_mems();
    let task = Task::new(process.tgid, &process, cs, &mems, k.nr_node_ids(), mm, CpuId(0), 0);
    k.add_task(&task);
    task
}

impl World {
    fn run(self) {
        let config =
            KernelConfig { kswapd: false, max_reclaim_retries: 1, ..KernelConfig::default() };
        let k = Kernel::boot(Machine::uniform(2, 1, 1024), self.policy, config).unwrap();
        let top = Arc::clone(&k.cpusets.top);
        let writer = task(&k, "writer", &top, None);
        let cs = k.cpusets.create(&top, "a").unwrap();
        k.cpuset_write_mems(&Cx::new(Arc::clone(&writer), 1), &cs, &mask(self.from)).unwrap();
        let mm = k.mm_alloc();
        let faulting = task(&k, "faulting", &cs, Some(Arc::clone(&mm)));
        let bind = PolicySpec::new(Mode::Bind, mask(self.from));
        {
            let cx = Cx::new(Arc::clone(&faulting), 2);
            match self.of {
                Of::Vma => {
                    let policy = k.mpol_new(&cx, &bind).unwrap();
                    let range = (Vpn(16), Vpn(32));
                    let vma = Vma::new(range, VmFlags::empty(), None, policy);
                    mm.mmap_write_lock().insert(Arc::new(vma));
                }
                Of::Task => k.set_mempolicy(&cx, &bind).unwrap(),
            }
        }
        if self.full {
            let cx = Cx::new(Arc::clone(&writer), 5);
            let gfp = (Gfp::HIGHUSER_MOVABLE - Gfp::DIRECT_RECLAIM) | Gfp::THISNODE;
            while k.alloc_pages(&cx, gfp, 0, NodeId(0), Nodemask::None).is_some() {}
        }
        let requester = {
            let (k, task) = (Arc::clone(&k), Arc::clone(&faulting));
            sync::spawn("A", move || fault(&k, &task, &mm, self.full))
        };
        let updater = {
            let (k, task, cs) = (Arc::clone(&k), writer, cs);
            sync::spawn("U", move || {
                k.cpuset_write_mems(&Cx::new(task, 4), &cs, &mask(self.to)).unwrap();
            })
        };
        requester.join().unwrap();
        updater.join().unwrap();
        assert_eq!(faulting.mems_allowed.load(), mask(self.to));
    }
}

/// A1 to A9, as far as they matter: a page under mmap_lock.
fn fault(k: &Kernel, task: &Arc<Task>, mm: &Mm, full: bool) {
    let cx = Cx::new(Arc::clone(task), 3);
    let vmas = mm.mmap_read_lock();
    let policy: Option<Arc<Mempolicy>> = vmas.iter().find_map(|vma| vma.policy());
    let page = k.alloc_pages_vma(&cx, Gfp::HIGHUSER_MOVABLE, 0, policy.as_deref(), 0);
    let events = task.events.events();
    let times = |point| events.iter().filter(|e| e.point == point).count();
    if times(Point::O2LastTry) > 0 {
        explore::outcome("on to the OOM killer");
        // Both nodes have free pages all the time: whoever comes here would kill for nothing.
        if !full {
            explore::report("premature-oom", "both nodes are free".to_owned());
        }
    } else if events.iter().any(|e| e.point == Point::S19aCheck && e.args[0] == 1) {
        explore::outcome("started again");
    }
    if let Some(page) = page {
        k.free_pages(&cx, page, 0);
    }
}

fn search(world: World, preemptions: u32) -> Report {
    let config = Config { scheduler: Scheduler::Bounded { preemptions }, ..Config::default() };
    explore::run(&config, |_| ControlFlow::Continue(()), move || world.run())
}

/// The search must be exhaustive and find what the policy is expected to show, and nothing else.
fn assert_as_expected(world: World, family: Family, preemptions: u32) {
    let World { policy, .. } = world;
    let report = search(world, preemptions);
    assert!(report.complete, "{policy}: {:?}", report.gaps);
    let shows = policy.expects(family) == Some(Expect::Shows);
    let finds: Vec<_> = report.finds.iter().map(|f| (f.kind, f.preemptions)).collect();
    // One preemption: of A by U. U is switched away from where it waits for mmap_lock, or ends.
    let expected = if shows { vec![("premature-oom", 1)] } else { vec![] };
    assert_eq!(finds, expected, "{policy}");
    assert_eq!(shows, report.outcomes.contains_key("on to the OOM killer"));
}

/// Each variant of `cpuset` with each of `rebind`, explored to K = 2, and each preset, to 1.
fn policies() -> impl Iterator<Item = (Policy, u32)> {
    let combined = CpusetPolicy::ALL.iter().flat_map(|&cpuset| {
        let with = move |&rebind| (Policy { cpuset, rebind, ..Policy::mainline() }, 2);
        RebindPolicy::ALL.iter().map(with)
    });
    combined.chain(presets().map(|policy| (policy, 1)))
}

#[test]
fn j1a_with_a_vma_policy_shows_until_the_intersection_is_looked_at() {
    for (policy, preemptions) in policies() {
        let world = World { policy, of: Of::Vma, from: "0", to: "1", full: false };
        assert_as_expected(world, Family::J1aVma, preemptions);
    }
}

#[test]
fn j1a_with_a_task_policy_shows_only_where_nothing_is_rechecked() {
    for (policy, preemptions) in policies() {
        // From the far node to the near one: the preferred zoneref stays at the far one.
        let world = World { policy, of: Of::Task, from: "1", to: "0", full: false };
        assert_as_expected(world, Family::J1aTask, preemptions);
    }
}

#[test]
fn a_request_on_a_full_node_starts_again_when_its_snapshot_is_old() {
    let policy = Policy { cpuset: CpusetPolicy::Swap, ..Policy::mainline() };
    for of in [Of::Vma, Of::Task] {
        let report = search(World { policy, of, from: "0", to: "1", full: true }, 1);
        assert!(report.complete, "{:?}", report.gaps);
        assert!(report.finds.is_empty(), "{:?}", report.finds);
        let runs = |label: &str| report.outcomes.get(label).copied().unwrap_or(0);
        // Without the update, or when it comes after S19a (J1-d), the kill is right.
        assert!(runs("started again") > 0 && runs("on to the OOM killer") > 0, "{of:?}");
    }
}
