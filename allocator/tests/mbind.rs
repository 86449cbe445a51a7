//! mbind: what it refuses, how it splits and merges areas, what moves, and how it fails half-way.

use allocator::cpuset::{Cpuset, CpusetFlag};
use allocator::ids::{CpuId, NodeId, PAGE_SIZE};
use allocator::machine::Machine;
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::mm::map::MAX_MAP_COUNT;
use allocator::mm::mbind::MbindFlags;
use allocator::mm::{Fault, Mm, VmFlags, Vma, Vpn};
use allocator::nodemask::NodeMask;
use allocator::policy::{CpusetPolicy, Policy, presets};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Process, Task};
use allocator::sync::{self, Arc};
use allocator::zone::frame::flag;

fn mask(list: &str) -> NodeMask {
    NodeMask::parse(list).unwrap()
}

fn bind(list: &str) -> PolicySpec {
    PolicySpec::new(Mode::Bind, mask(list))
}

fn policies() -> impl Iterator<Item = Policy> {
    presets().chain([Policy { cpuset: CpusetPolicy::Swap, ..Policy::mainline() }])
}

fn boot(policy: Policy) -> Arc<Kernel> {
    let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
    Kernel::boot(Machine::uniform(4, 1, 8192), policy, config).unwrap()
}

fn thread(k: &Kernel, process: &Arc<Process>, cs: &Arc<Cpuset>, mm: &Arc<Mm>) -> Cx {
    let (mems, mm) = (cs.effective_mems(), Some(Arc::clone(mm)));
    let pid = k.tasks.next_pid();
    let task = Task::new(pid, process, cs, &mems, k.nr_node_ids(), mm, CpuId(0), 0);
    k.add_task(&task);
    Cx::new(task, u64::from(pid))
}

/// A kernel and a process with 10 pages mapped.
struct World {
    k: Arc<Kernel>,
    cx: Cx,
    mm: Arc<Mm>,
    start: Vpn,
}

fn world(policy: Policy) -> World {
    let k = boot(policy);
    let mm = k.mm_alloc();
    let top = Arc::clone(&k.cpusets.top);
    let cx = thread(&k, &k.new_process("task", 0), &top, &mm);
    let start = k.mmap(&cx, &mm, 10, VmFlags::empty(), None).unwrap();
    World { k, cx, mm, start }
}

impl World {
    fn mbind(&self, pages: (u32, u32), spec: PolicySpec, flags: MbindFlags) -> Result<(), &str> {
        let addr = self.start.addr() + u64::from(pages.0) * PAGE_SIZE;
        let len = u64::from(pages.1) * PAGE_SIZE;
        self.k.mbind(&self.cx, &self.mm, addr, len, &spec, flags).map_err(|e| e.errno())
    }

    fn touch(&self, pages: std::ops::Range<u32>) {
        for n in pages {
            let fault = self.k.access(&self.cx, &self.mm, self.start.plus(n), true);
            assert!(matches!(fault, Fault::Mapped | Fault::Present), "{fault:?}");
        }
        self.k.lru_add_drain_all(&self.cx);
    }

    fn nodes(&self, pages: std::ops::Range<u32>) -> Vec<u16> {
        let node = |n| {
            let pfn = self.mm.page_table.entry(self.start.plus(n)).pfn().unwrap();
            self.k.page_node(pfn).unwrap().0
        };
        pages.map(node).collect()
    }

    /// Pages and policy nodes of each area.
    fn areas(&self) -> Vec<(u32, Option<String>)> {
        let nodes = |vma: &Arc<Vma>| vma.policy().map(|p| p.nodes.load().to_string());
        self.mm.mmap_read_lock().iter().map(|vma| (vma.pages(), nodes(vma))).collect()
    }

    fn end(self) {
        self.k.do_exit(&self.cx);
        self.k.release_process(&self.cx.task.process);
        self.k.lru_add_drain_all(&self.cx);
        let census = self.k.census();
        assert_eq!(census.violations, Vec::<String>::new());
        assert_eq!(census.allocated, 0);
    }
}

const NONE: MbindFlags = MbindFlags::empty();

fn area(pages: u32, nodes: &str) -> (u32, Option<String>) {
    (pages, (!nodes.is_empty()).then(|| nodes.to_owned()))
}

#[test]
fn bad_calls_are_refused_in_the_kernels_order() {
    let w = world(Policy::mainline());
    let addr = w.start.addr();
    let mbind = |cx: &Cx, addr, len, spec: &PolicySpec, flags| {
        w.k.mbind(cx, &w.mm, addr, len, spec, flags).map_err(|e| e.errno())
    };
    let user = {
        let mut process = Process::new(77, "user", 0);
        Arc::get_mut(&mut process).unwrap().uid = 1000;
        thread(&w.k, &process, &w.k.cpusets.top, &w.k.mm_alloc())
    };
    assert_eq!(mbind(&user, 1, 1, &bind(""), MbindFlags::MOVE_ALL), Err("EPERM"));
    assert_eq!(mbind(&w.cx, addr + 1, PAGE_SIZE, &bind("0"), NONE), Err("EINVAL"));
    assert_eq!(mbind(&w.cx, addr, u64::MAX - 5000, &bind("0"), NONE), Err("EINVAL"));
    assert_eq!(mbind(&w.cx, addr, 0, &bind(""), NONE), Ok(()), "an empty range needs no nodes");
    assert_eq!(mbind(&w.cx, addr, PAGE_SIZE, &bind(""), NONE), Err("EINVAL"));
    assert_eq!(mbind(&w.cx, addr, PAGE_SIZE, &bind("4-7"), NONE), Err("EINVAL"), "no such node");
    assert_eq!(mbind(&w.cx, addr, 11 * PAGE_SIZE, &bind("0"), NONE), Err("EFAULT"));
    assert_eq!(w.areas(), [area(10, "")], "what was refused has changed nothing");
    assert_eq!(mbind(&w.cx, addr, 1, &bind("0"), NONE), Ok(()), "rounded up to a page");
    assert_eq!(w.areas(), [area(1, "0"), area(9, "")]);
    let all = PolicySpec::default_policy();
    assert_eq!(mbind(&w.cx, addr, 11 * PAGE_SIZE, &all, NONE), Ok(()), "holes don't matter");
    assert_eq!(w.areas(), [area(10, "")]);
    w.end();
}

#[test]
fn areas_split_at_the_ends_and_merge_when_equal() {
    for policy in policies() {
        let w = world(policy);
        assert_eq!(w.mbind((3, 4), bind("1"), NONE), Ok(()));
        assert_eq!(w.areas(), [area(3, ""), area(4, "1"), area(3, "")], "{policy}");
        assert_eq!(w.mbind((0, 5), bind("1"), NONE), Ok(()));
        assert_eq!(w.areas(), [area(7, "1"), area(3, "")]);
        assert_eq!(w.mbind((5, 5), bind("0-1"), NONE), Ok(()));
        assert_eq!(w.areas(), [area(5, "1"), area(5, "0-1")]);
        // Each area has an object of its own: rebinding rewrites it in place.
        let objects: Vec<_> = w.mm.mmap_read_lock().iter().map(|v| v.policy().unwrap()).collect();
        assert!(!Arc::ptr_eq(&objects[0], &objects[1]));
        assert_eq!(w.mbind((0, 10), PolicySpec::default_policy(), NONE), Ok(()));
        assert_eq!(w.areas(), [area(10, "")]);
        w.end();
    }
}

#[test]
fn faults_and_migrations_go_where_the_area_says() {
    for policy in policies() {
        let w = world(policy);
        assert_eq!(w.mbind((2, 2), bind("2"), NONE), Ok(()));
        w.touch(0..6);
        assert_eq!(w.nodes(0..6), [0, 0, 2, 2, 0, 0], "{policy}");
        assert_eq!(w.mbind((0, 6), bind("3"), MbindFlags::STRICT), Err("EIO"));
        assert_eq!(w.areas(), [area(2, ""), area(2, "2"), area(6, "")], "nothing was done");
        assert_eq!(w.mbind((0, 6), bind("2"), NONE), Ok(()));
        assert_eq!(w.nodes(0..6), [0, 0, 2, 2, 0, 0], "without MOVE pages stay");
        assert_eq!(w.mbind((0, 6), bind("2"), MbindFlags::MOVE | MbindFlags::STRICT), Ok(()));
        assert_eq!(w.nodes(0..6), [2; 6], "{policy}");
        let turns = PolicySpec::new(Mode::Interleave, mask("0-1"));
        assert_eq!(w.mbind((0, 6), turns, MbindFlags::MOVE), Ok(()));
        let mut nodes = w.nodes(0..6);
        assert!(nodes.windows(2).all(|pair| pair[0] != pair[1]), "{nodes:?}");
        nodes.sort_unstable();
        assert_eq!(nodes, [0, 0, 0, 1, 1, 1]);
        w.end();
    }
}

#[test]
fn a_page_that_can_not_move_is_an_error_only_if_strict_and_the_policy_stays() {
    let w = world(Policy::mainline());
    w.touch(0..3);
    let pinned = w.mm.page_table.entry(w.start.plus(1)).pfn().unwrap();
    w.k.frames.get(pinned).set_flags(flag::PINNED);
    assert_eq!(w.mbind((0, 3), bind("1"), MbindFlags::MOVE), Ok(()));
    assert_eq!(w.nodes(0..3), [1, 0, 1]);
    let strict = MbindFlags::MOVE | MbindFlags::STRICT;
    assert_eq!(w.mbind((0, 3), bind("2"), strict), Err("EIO"));
    assert_eq!(w.nodes(0..3), [2, 0, 2]);
    assert_eq!(w.areas()[0], area(3, "2"));
    w.k.frames.get(pinned).clear_flags(flag::PINNED);
    w.end();
}

#[test]
fn a_split_that_fails_leaves_the_areas_before_it_with_the_new_policy() {
    let w = world(Policy::mainline());
    assert_eq!(w.mbind((0, 5), bind("1"), NONE), Ok(()));
    {
        let mut tree = w.mm.mmap_write_lock();
        for n in 0..(MAX_MAP_COUNT - 3) as u32 {
            let range = (Vpn(16 + 2 * n), Vpn(17 + 2 * n));
            tree.insert(Arc::new(Vma::new(range, VmFlags::empty(), None, None)));
        }
        assert_eq!(tree.len(), MAX_MAP_COUNT - 1);
    }
    // Room for one more area: the split in the first fits, the one in the second does not.
    assert_eq!(w.mbind((2, 6), bind("2"), NONE), Err("ENOMEM"));
    let areas = w.areas();
    assert_eq!(areas[areas.len() - 3..], [area(2, "1"), area(3, "2"), area(5, "")]);
    w.k.munmap(&w.cx, &w.mm, Vpn(16), 200_000).unwrap();
    assert_eq!(w.mbind((2, 6), bind("2"), NONE), Ok(()));
    assert_eq!(w.areas(), [area(2, "1"), area(6, "2"), area(2, "")]);
    w.end();
}

#[test]
fn areas_and_pages_follow_the_cpuset() {
    for policy in policies() {
        let w = world(policy);
        let cs = w.k.cpusets.create(&w.k.cpusets.top, "a").unwrap();
        let writer = thread(&w.k, &w.k.new_process("writer", 0), &w.k.cpusets.top, &w.k.mm_alloc());
        w.k.cpuset_write_mems(&writer, &cs, &mask("0-1")).unwrap();
        w.k.cpuset_write_flag(&cs, CpusetFlag::MemoryMigrate, true).unwrap();
        w.k.cpuset_attach(&writer, &cs, &[Arc::clone(&w.cx.task)]).unwrap();
        assert_eq!(w.mbind((0, 5), bind("0"), NONE), Ok(()));
        assert_eq!(w.mbind((5, 5), bind("1"), NONE), Ok(()));
        w.touch(0..10);
        assert_eq!(w.nodes(4..6), [0, 1]);
        w.k.cpuset_write_mems(&writer, &cs, &mask("2-3")).unwrap();
        assert_eq!(w.areas(), [area(5, "2"), area(5, "3")], "{policy}");
        assert_eq!(w.nodes(0..10), [2, 2, 2, 2, 2, 3, 3, 3, 3, 3], "{policy}");
        w.k.do_exit(&writer);
        w.end();
    }
}

/// Faults, mbind, cpuset writes with migration and munmap at once, on real threads.
#[test]
fn churn_loses_no_page() {
    for policy in ["v4.11", "v4.13", "v6.4", "mainline", "mainline,cpuset=swap"] {
        let k = boot(Policy::parse(policy).unwrap());
        let top = Arc::clone(&k.cpusets.top);
        let writer = thread(&k, &k.new_process("writer", -1000), &top, &k.mm_alloc());
        let cs = k.cpusets.create(&top, "a").unwrap();
        k.cpuset_write_mems(&writer, &cs, &mask("0-1")).unwrap();
        k.cpuset_write_flag(&cs, CpusetFlag::MemoryMigrate, true).unwrap();
        let (process, mm) = (k.new_process("churn", 0), k.mm_alloc());
        mm.mmget();
        let start = {
            let cx = thread(&k, &process, &cs, &mm);
            k.mmap(&cx, &mm, 64, VmFlags::empty(), None).unwrap()
        };
        let work = |number: u64| {
            let (k, mm) = (Arc::clone(&k), Arc::clone(&mm));
            mm.mmget();
            let cx = thread(&k, &process, &cs, &mm);
            sync::spawn("churn", move || {
                for round in 0..60 {
                    let at = (cx.random() % 48) as u32;
                    let addr = start.plus(at).addr();
                    let node = NodeId((cx.random() % 4) as u16);
                    let spec = PolicySpec::new(Mode::Bind, NodeMask::one(node));
                    let flags = MbindFlags::from_bits_truncate(cx.random() as u32 & 3);
                    if round % 3 == number % 3 {
                        let _ = k.mbind(&cx, &mm, addr, 16 * PAGE_SIZE, &spec, flags);
                    } else {
                        for n in 0..16 {
                            let _ = k.access(&cx, &mm, start.plus(at + n), true);
                        }
                    }
                    if round % 20 == 19 {
                        k.zap_range(&cx, &mm, start, 64).unwrap();
                    }
                }
                k.do_exit(&cx);
            })
        };
        let churners: Vec<_> = (0..3).map(work).collect();
        for round in 0..40 {
            let mems = if round % 2 == 0 { "2-3" } else { "0-1" };
            k.cpuset_write_mems(&writer, &cs, &mask(mems)).unwrap();
        }
        churners.into_iter().for_each(|thread| thread.join().unwrap());
        let left = process.threads.lock().clone();
        for task in left {
            if task.mm().is_some() {
                k.do_exit(&Cx::new(task, 9));
            }
        }
        k.mmput(&writer, mm);
        k.do_exit(&writer);
        k.lru_add_drain_all(&writer);
        let census = k.census();
        assert_eq!(census.violations, Vec::<String>::new(), "{policy}");
        assert_eq!(census.allocated, 0, "{policy}");
    }
}
