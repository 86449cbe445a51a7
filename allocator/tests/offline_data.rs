//! Memory offline and online, step by step, as a real kernel showed it.
//!
//! **Expected**: after each step present, managed and spanned pages, first frames, watermarks,
//! protection, pcp sizes, isolated pageblocks, node masks and the lines about zonelists are those of
//! tests/data/offline.txt and offline-state.txt. Unlike the formulas' own test, every size here comes
//! out of offline_pages and online_pages.

use allocator::gfp::Gfp;
use allocator::hotplug::movable_ops::{Held, MovablePages};
use allocator::hotplug::{BlockId, HotplugError};
use allocator::ids::{CpuId, NodeId, PAGEBLOCK_NR_PAGES, Pfn, ZoneIdx};
use allocator::machine::{Cpu, Machine, Node, Settings, Zone};
use allocator::mempolicy::{Mode, ModeFlags, PolicySpec};
use allocator::mm::{Fault, Mm, VmFlags, Vpn};
use allocator::nodemask::NodeMask;
use allocator::page_alloc::Nodemask;
use allocator::policy::{Policy, Release};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Task};
use allocator::sync::atomic::Ordering::Relaxed;
use allocator::sync::{self, Arc};
use allocator::zone::Wmark;
use allocator::zone::frame::FrameKind;

const BLOCK: u32 = 32_768;

/// A zone's line of offline.txt, with its first frame and isolated pageblocks.
#[derive(Clone, Debug, Default)]
struct ZoneDump {
    node: u16,
    zone: String,
    /// spanned, present, managed, min, low, high, pcp high, pcp batch
    numbers: [u64; 8],
    protection: Vec<u64>,
    start: u64,
    isolated: u64,
}

#[derive(Clone, Debug, Default)]
struct Step {
    name: String,
    min_free_kbytes: u64,
    zones: Vec<ZoneDump>,
    has_memory: String,
    has_normal_memory: String,
    log: Vec<String>,
}

fn section<'a>(text: &'a str, machine: &str) -> &'a str {
    let text = text.split(&format!("machine {machine}\n")).nth(1).expect("the machine's section");
    text.split("machine ").next().unwrap_or(text)
}

fn steps(machine: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in section(include_str!("data/offline.txt"), machine).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<u64>().unwrap();
        if words[0] == "step" {
            let (name, min_free_kbytes) = (words[1].to_owned(), number(2));
            steps.push(Step { name, min_free_kbytes, ..Step::default() });
            continue;
        }
        steps.last_mut().unwrap().zones.push(ZoneDump {
            node: number(0) as u16,
            zone: words[1].to_owned(),
            numbers: std::array::from_fn(|i| number(i + 2)),
            protection: words[10].split(',').map(|n| n.parse().unwrap()).collect(),
            ..ZoneDump::default()
        });
    }
    add_states(&mut steps, machine);
    steps
}

fn add_states(steps: &mut [Step], machine: &str) {
    let mut at = usize::MAX;
    for line in section(include_str!("data/offline-state.txt"), machine).lines() {
        let (word, rest) = line.split_once(' ').unwrap();
        if word == "step" {
            at = steps.iter().position(|s| s.name == rest).unwrap();
            continue;
        }
        let step = &mut steps[at];
        match word {
            "has_memory" => step.has_memory = rest.to_owned(),
            "has_normal_memory" => step.has_normal_memory = rest.to_owned(),
            "log" => step.log.push(rest.to_owned()),
            "start" | "isolate" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let (node, number) = (words[0].parse().unwrap(), words[2].parse().unwrap());
                let zone = step.zones.iter_mut().find(|z| z.node == node && z.zone == words[1]);
                let zone = zone.expect("a zone of the step");
                *if word == "start" { &mut zone.start } else { &mut zone.isolated } = number;
            }
            other => panic!("unknown word {other}"),
        }
    }
}

/// The machine of a first step.
fn machine(step: &Step, cpus: &[u16], distances: &[&[u8]]) -> Machine {
    let zones = |node: u16| -> Vec<Zone> {
        let populated = step.zones.iter().filter(|z| z.node == node && z.numbers[1] > 0);
        populated
            .map(|z| Zone {
                idx: ZoneIdx::ALL.into_iter().find(|idx| idx.name() == z.zone).unwrap(),
                start_pfn: z.start,
                spanned_pages: z.numbers[0],
                present_pages: z.numbers[1],
                managed_pages: z.numbers[2],
                managed: Vec::new(),
            })
            .collect()
    };
    let node = |id: usize| Node {
        id: NodeId(id as u16),
        distances: distances[id].to_vec(),
        zones: zones(id as u16),
    };
    let cpu =
        |(i, &node): (usize, &u16)| Cpu { node: NodeId(node), os_index: i as u32, host_cpu: None };
    Machine {
        name: "dumped".to_owned(),
        nodes: (0..distances.len()).map(node).collect(),
        cpus: cpus.iter().enumerate().map(cpu).collect(),
        block_pages: BLOCK,
        settings: Settings { zone_device: true, ..Settings::default() },
    }
}

fn boot(machine: Machine) -> (Arc<Kernel>, Cx) {
    let config = KernelConfig { kswapd: false, hotplug: true, ..KernelConfig::default() };
    let kernel = Kernel::boot(machine, Policy::preset(Release::V6_1), config).unwrap();
    let cx = kernel.kernel_thread("offline", CpuId(0));
    (kernel, cx)
}

/// Everything that a step's dump says, against the model.
fn check(k: &Kernel, step: &Step, logged: &[String]) {
    assert_eq!(k.min_free_kbytes.load(Relaxed), step.min_free_kbytes, "{}", step.name);
    assert_eq!(k.n_memory.load().to_string(), step.has_memory, "{}", step.name);
    let below_movable = k.populated_zones().filter(|z| z.idx() < ZoneIdx::Movable);
    let normal = NodeMask::of(below_movable.map(allocator::zone::Zone::node));
    assert_eq!(normal.to_string(), step.has_normal_memory, "{}", step.name);
    assert_eq!(logged, step.log, "{}", step.name);
    for dump in &step.zones {
        let idx = ZoneIdx::ALL.into_iter().find(|idx| idx.name() == dump.zone).unwrap();
        check_zone(k, dump, idx, &step.name);
    }
}

fn check_zone(k: &Kernel, dump: &ZoneDump, idx: ZoneIdx, step: &str) {
    let zone = k.zone_of(NodeId(dump.node), idx);
    let what = format!("{step}: node {} zone {}", dump.node, dump.zone);
    let sizes = [zone.spanned_pages(), zone.present_pages(), zone.managed_pages()];
    assert_eq!(sizes, dump.numbers[..3], "{what}: spanned, present, managed");
    let marks = [Wmark::Min, Wmark::Low, Wmark::High].map(|mark| zone.wmark_pages(mark));
    assert_eq!(marks, dump.numbers[3..6], "{what}: min, low, high");
    if dump.numbers[1] > 0 {
        assert_eq!(u64::from(zone.start_pfn().0), dump.start, "{what}: start_pfn");
        let reserve = ZoneIdx::ALL.map(|idx| zone.lowmem_reserve(idx));
        assert_eq!(reserve, dump.protection[..4], "{what}: protection");
        for pcp in &zone.pcp {
            let sizes = [&pcp.high, &pcp.batch].map(|n| u64::from(n.load(Relaxed)));
            assert_eq!(sizes, dump.numbers[6..], "{what}: pcp high, batch");
        }
    } else {
        assert_eq!(zone.start_pfn(), Pfn(0), "{what}");
    }
    let isolated = u64::from(zone.nr_isolate_pageblock.load(Relaxed));
    assert_eq!(isolated, dump.isolated, "{what}: isolated pageblocks");
    // Isolated free pages are on free lists and not in nr_free_pages.
    let free = zone.managed_pages() - isolated * u64::from(PAGEBLOCK_NR_PAGES);
    assert!(zone.free_pages_exact() <= free, "{what}");
}

/// The lines about zonelists that were logged since `from`, without the blank that the kernel leaves
/// behind a fallback order.
fn logged(k: &Kernel, from: usize) -> Vec<String> {
    k.dmesg()[from..].iter().map(|line| line.trim_end().to_owned()).collect()
}

fn named<'a>(steps: &'a [Step], name: &str) -> &'a Step {
    steps.iter().find(|s| s.name == name).unwrap()
}

const MOVABLE_FIRST: u32 = 0x10_0000 / BLOCK;

/// Takes all blocks of a Movable zone away, or brings them back.
fn all_blocks(k: &Kernel, cx: &Cx, away: bool) {
    for block in MOVABLE_FIRST..MOVABLE_FIRST + 4 {
        if away {
            k.offline_pages(cx, BlockId(block)).unwrap();
        } else {
            k.online_pages(cx, BlockId(block)).unwrap();
        }
    }
}

#[test]
fn one_block_goes_and_comes_as_the_kernel_showed() {
    let steps = steps("one-block");
    let machine = machine(&steps[0], &[0, 1], &[&[10, 21], &[21, 10]]);
    let (k, cx) = boot(machine);
    let block = BlockId(0x10_8000 / BLOCK);
    check(&k, named(&steps, "before"), &[]);
    let from = k.dmesg().len();
    k.offline_pages(&cx, block).unwrap();
    check(&k, named(&steps, "offline"), &logged(&k, from));
    k.online_pages(&cx, block).unwrap();
    check(&k, named(&steps, "online"), &logged(&k, from));
    check_during(&k, &cx, block, &steps);
    let from = k.dmesg().len();
    all_blocks(&k, &cx, true);
    check(&k, named(&steps, "empty"), &logged(&k, from));
    let from = k.dmesg().len();
    all_blocks(&k, &cx, false);
    check(&k, named(&steps, "full"), &logged(&k, from));
    assert_eq!(k.census().violations, Vec::<String>::new());
}

/// A pinned page keeps the offline going; a signal ends it and everything is as before.
fn check_during(k: &Arc<Kernel>, cx: &Cx, block: BlockId, steps: &[Step]) {
    let pages = Arc::new(MovablePages::new(1));
    *k.hotplug.movable.lock() = Some(Arc::clone(&pages));
    let pfn = page_in(k, cx, block);
    pages.put(&k.frames, 0, Held { pfn, order: 10, is_pinned: true });
    let zone = k.page_zone(pfn).unwrap();
    let process = k.new_process("offl", 0);
    let offliner = Cx::new(k.new_task(&process, CpuId(1), 0), 1);
    let handle = {
        let k = Arc::clone(k);
        sync::spawn("offl", move || k.offline_pages(&offliner, block))
    };
    let patience = sync::monotonic_ns() + 60_000_000_000;
    while zone.nr_isolate_pageblock.load(Relaxed) < BLOCK / PAGEBLOCK_NR_PAGES {
        assert!(sync::monotonic_ns() < patience, "the offline never isolated its block");
        sync::yield_now();
    }
    check(k, named(steps, "during"), &[]);
    assert!(zone.pcp.iter().all(|pcp| pcp.count() == 0));
    assert_eq!(zone.free_pages_exact(), zone.managed_pages() - u64::from(BLOCK));
    assert!(k.pcp_batch_high_lock.try_lock().is_none(), "sysctls wait until it ends");
    process.signal.store(true, Relaxed);
    assert_eq!(handle.join().unwrap(), Err(HotplugError::Signal));
    check(k, named(steps, "online"), &[]);
    let held = pages.take(&k.frames, 0).unwrap();
    k.free_pages(cx, held.pfn, held.order);
    *k.hotplug.movable.lock() = None;
}

/// A block of order 10 inside a memory block.
fn page_in(k: &Kernel, cx: &Cx, block: BlockId) -> Pfn {
    let (first, pages) = k.block_range(block);
    let node = k.page_node(first).unwrap();
    let mut others = Vec::new();
    let found = loop {
        let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::THISNODE;
        let pfn = k.alloc_pages(cx, gfp, 10, node, Nodemask::None).expect("the zone is free");
        if (first.0..first.0 + pages).contains(&pfn.0) {
            break pfn;
        }
        others.push(pfn);
    };
    for pfn in others {
        k.free_pages(cx, pfn, 10);
    }
    found
}

/// Three nodes of which the second has Movable memory only.
fn whole_node() -> (Vec<Step>, Arc<Kernel>, Cx) {
    let steps = steps("whole-node");
    let distances: [&[u8]; 3] = [&[10, 21, 30], &[21, 10, 20], &[30, 20, 10]];
    let (k, cx) = boot(machine(&steps[0], &[0, 0, 1, 2], &distances));
    (steps, k, cx)
}

#[test]
fn a_whole_node_goes_and_comes_as_the_kernel_showed() {
    let (steps, k, cx) = whole_node();
    check(&k, named(&steps, "before"), &[]);
    let from = k.dmesg().len();
    all_blocks(&k, &cx, true);
    check(&k, named(&steps, "offline"), &logged(&k, from));
    let from = k.dmesg().len();
    all_blocks(&k, &cx, false);
    check(&k, named(&steps, "online"), &logged(&k, from));
    assert_eq!(k.census().violations, Vec::<String>::new());
}

struct Owner {
    cx: Cx,
    mm: Arc<Mm>,
    page: Vpn,
}

impl Owner {
    fn node(&self, k: &Kernel) -> NodeId {
        let mut node = None;
        k.walk_present(&self.mm, (self.page, self.page.plus(1)), |_, entry| {
            if let allocator::mm::page_table::Pte::Anon(pfn) = entry {
                node = k.page_node(pfn);
            }
            true
        });
        node.expect("the page is mapped")
    }

    fn policy_nodes(&self) -> String {
        let policy = self.cx.task.alloc_lock.lock().mempolicy.clone();
        policy.map_or_else(String::new, |p| p.nodes.load().to_string())
    }

    fn mems(&self) -> String {
        self.cx.task.mems_allowed.load().to_string()
    }
}

/// A task on node 1's CPU with a policy of its own and a page.
fn owner(k: &Kernel, spec: Option<PolicySpec>) -> Owner {
    let mm = k.mm_alloc();
    let process = k.new_process("hold", 0);
    let nodes = k.n_memory.load();
    let top = Arc::clone(&k.cpusets.top);
    let user = Some(Arc::clone(&mm));
    let task = Task::new(process.tgid, &process, &top, &nodes, 3, user, CpuId(2), 0);
    k.add_task(&task);
    let cx = Cx::new(task, 1);
    if let Some(spec) = spec {
        k.set_mempolicy(&cx, &spec).unwrap();
    }
    let page = k.mmap(&cx, &mm, 1, VmFlags::empty(), None).unwrap();
    assert_eq!(k.access(&cx, &mm, page, true), Fault::Mapped);
    Owner { cx, mm, page }
}

/// README of the dumps, "Policies across a whole-node offline".
#[test]
fn policies_and_cpusets_follow_a_node_as_the_kernel_showed() {
    let (_, k, cx) = whole_node();
    let one = NodeMask::of([NodeId(1)]);
    let bind = PolicySpec::new(Mode::Bind, one);
    let fixed = bind.with(ModeFlags::STATIC_NODES);
    let two = NodeMask::of([NodeId(0), NodeId(1)]);
    let interleave = PolicySpec::new(Mode::Interleave, two);
    let preferred = PolicySpec::new(Mode::Preferred, one);
    let owners: Vec<Owner> = [Some(bind), Some(fixed), Some(interleave), Some(preferred), None]
        .into_iter()
        .map(|spec| owner(&k, spec))
        .collect();
    let t = k.cpusets.create(&k.cpusets.top, "t").unwrap();
    k.cpuset_write_mems(&cx, &t, &one).unwrap();
    k.cpuset_attach(&cx, &t, &[Arc::clone(&owners[4].cx.task)]).unwrap();
    assert_eq!(owners[4].mems(), "1");
    assert_eq!(owners.iter().map(|o| o.node(&k).0).collect::<Vec<_>>()[..2], [1, 1]);
    k.lru_add_drain_all(&cx);

    all_blocks(&k, &cx, true);
    assert!(
        owners.iter().all(|o| o.mems() == "0,2"),
        "tasks of the empty cpuset live in its parent"
    );
    let nodes: Vec<String> = owners.iter().map(Owner::policy_nodes).collect();
    assert_eq!(nodes, ["2", "0,2", "0,2", "1", ""]);
    // Whatever the policy says: the nearest node.
    for owner in owners.iter().filter(|o| o.mm.rss_pages() > 0) {
        assert_ne!(owner.node(&k), NodeId(1));
    }
    assert_eq!(owners[0].node(&k), NodeId(2), "20 is nearer than 21");
    assert_eq!(t.mems_allowed(), NodeMask::EMPTY);
    assert!(t.threads().is_empty());
    let refused = k.set_mempolicy(&owners[0].cx, &bind);
    assert_eq!(refused.map_err(|e| e.errno()), Err("EINVAL"));

    all_blocks(&k, &cx, false);
    assert!(owners.iter().all(|o| o.mems() == "0-2"));
    let nodes: Vec<String> = owners.iter().map(Owner::policy_nodes).collect();
    assert_eq!([&nodes[0], &nodes[1], &nodes[3]], ["1", "1", "1"]);
    assert_eq!(owners[0].node(&k), NodeId(2), "pages stay where they are");
    assert_eq!(t.mems_allowed(), NodeMask::EMPTY, "v1 forgets what was configured");
    for owner in &owners {
        k.do_exit(&owner.cx);
        k.release_process(&owner.cx.task.process);
    }
    k.lru_add_drain_all(&cx);
    let census = k.census();
    assert_eq!((census.violations, census.allocated), (Vec::new(), 0));
    assert_eq!(k.frames.get(Pfn(0x10_0000)).state().kind(), FrameKind::Buddy);
}
