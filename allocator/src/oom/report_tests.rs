//! The model's OOM reports against those of a real 6.1 (tests/data/oom, see its README).
//!
//! Each episode is set up from what the report itself tells: the machine from /proc/zoneinfo, the
//! tasks from its table. Then the model chooses, kills and reports. Lines must be the same ones in
//! the same order; what is a function of machine and tasks must be equal, what depends on the state
//! of the guest's memory must have the same form.

use crate::gfp::Gfp;
use crate::ids::{CpuId, NodeId, PAGE_SIZE, ZoneIdx};
use crate::machine::{self, Machine};
use crate::mempolicy::{Mode, PolicySpec};
use crate::mm::address_space::Rss;
use crate::nodemask::NodeMask;
use crate::oom::constraint::Constraint;
use crate::oom::{Chosen, OomControl};
use crate::page_alloc::Nodemask;
use crate::policy::{Policy, Release};
use crate::run::kernel::{Kernel, KernelConfig};
use crate::run::task::{Cx, Process};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;

/// A zone of a /proc/zoneinfo dump that has pages.
struct DumpedZone {
    node: u16,
    zone: machine::Zone,
    min: u64,
    /// Managed pages when the marks were computed, while the kernel came up.
    managed_at_boot: u64,
}

fn number(line: &str) -> u64 {
    line.split_whitespace().last().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn parse_zoneinfo(text: &str) -> Vec<DumpedZone> {
    let mut zones: Vec<DumpedZone> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Node ") {
            let (node, name) = rest.split_once(", zone").unwrap();
            let idx = ZoneIdx::ALL.into_iter().find(|z| z.name() == name.trim());
            let idx = idx.unwrap_or(ZoneIdx::Movable);
            zones.push(DumpedZone {
                node: node.parse().unwrap(),
                zone: machine::Zone::whole(idx, 0, 0),
                min: 0,
                managed_at_boot: 0,
            });
            continue;
        }
        let last = zones.last_mut().unwrap();
        let zone = &mut last.zone;
        match line.split_whitespace().next() {
            Some("min") => last.min = number(line),
            Some("spanned") => zone.spanned_pages = number(line),
            Some("present") => zone.present_pages = number(line),
            Some("managed") => zone.managed_pages = number(line),
            Some("start_pfn:") => zone.start_pfn = number(line),
            Some(_) | None => {}
        }
    }
    zones.retain(|z| z.zone.present_pages > 0);
    infer_boot(&mut zones);
    zones
}

/// The initrd and init's pages are given to the buddy after the marks were computed, which
/// zoneinfo does not tell. min is proportional to managed, and node 2 holds none of them: so one
/// number is inferred for each zone, and low, high and protection have to follow from it.
fn infer_boot(zones: &mut [DumpedZone]) {
    let whole = zones.iter().find(|z| z.node == 2).unwrap();
    let (min, managed) = (whole.min, whole.zone.managed_pages);
    for zone in zones {
        let inferred = managed * (2 * zone.min + 1) / (2 * min + 1);
        let now = zone.zone.managed_pages;
        // Within the rounding of min nothing was added.
        zone.managed_at_boot = if inferred.abs_diff(now) <= 20 { now } else { inferred };
    }
}

/// The guest as it was when the marks were computed: four nodes in a ring, two CPUs each.
fn guest(zoneinfo: &str) -> Machine {
    let mut machine = Machine::uniform(4, 2, 2048);
    machine.name = "n4-512m-ring".to_owned();
    machine.settings.thp = true;
    machine.settings.zone_device = true;
    let zones = parse_zoneinfo(zoneinfo);
    for (n, node) in machine.nodes.iter_mut().enumerate() {
        node.distances = (0..4).map(|m| [10, 16, 22, 16][(4 + m - n) % 4]).collect();
        let own = zones.iter().filter(|z| usize::from(z.node) == n);
        node.zones = own
            .map(|z| machine::Zone { managed_pages: z.managed_at_boot, ..z.zone.clone() })
            .collect();
    }
    machine
}

/// A row of the report's task table.
struct Row {
    pid: u32,
    total_vm: u64,
    rss: u64,
    pgtables_bytes: u64,
    adj: i32,
}

/// A report as the guest printed it, without time stamps and without the stack.
struct Report {
    lines: Vec<String>,
    rows: Vec<Row>,
    pid: u32,
    cpu: u16,
}

fn parse_report(text: &str) -> Report {
    let mut lines = Vec::new();
    let mut in_stack = false;
    for line in text.lines() {
        let line = line.split_once("] ").unwrap().1;
        in_stack |= line == "Call Trace:";
        if !in_stack {
            lines.push(line.to_owned());
        }
        in_stack &= line != " </TASK>";
    }
    let rows: Vec<Row> = lines
        .iter()
        .filter(|line| line.starts_with("[ ") && !line.contains("pid"))
        .map(|line| {
            let f: Vec<&str> = line.split(['[', ']', ' ']).collect();
            let f: Vec<i64> = f.iter().filter_map(|w| w.parse().ok()).collect();
            Row {
                pid: f[0] as u32,
                total_vm: f[3] as u64,
                rss: f[4] as u64,
                pgtables_bytes: f[5] as u64,
                adj: f[7] as i32,
            }
        })
        .collect();
    let cpu_line: Vec<&str> = lines[1].split_whitespace().collect();
    let (cpu, pid) = (cpu_line[1].parse().unwrap(), cpu_line[3].parse().unwrap());
    Report { lines, rows, pid, cpu }
}

struct World {
    kernel: Arc<Kernel>,
    report: Report,
}

impl World {
    fn new(zoneinfo: &str, report: &str) -> Self {
        let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
        let policy = Policy::preset(Release::V6_1);
        let kernel = Kernel::boot(guest(zoneinfo), policy, config).unwrap();
        let world = Self { kernel, report: parse_report(report) };
        world.free_init_pages(zoneinfo);
        world
    }

    /// What comes to the buddy after the marks: managed grows, the marks stay.
    fn free_init_pages(&self, zoneinfo: &str) {
        for z in parse_zoneinfo(zoneinfo) {
            let zone = self.kernel.zone_of(NodeId(z.node), z.zone.idx);
            let more = z.zone.managed_pages - z.managed_at_boot;
            zone.set_sizes(z.zone.present_pages, z.zone.managed_pages);
            self.kernel.totalram_pages.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// A process as a row of the table shows it.
    fn add(&self, row: &Row, cpu: u16) -> Cx {
        let process = Process::new(row.pid, "hog", row.adj);
        self.kernel.tasks.add(&process);
        let task = self.kernel.new_task(&process, CpuId(cpu), 0);
        // The killed one's line splits its rss: one page of the program, 241 of shared memory.
        let (file, shmem) = if row.pid == self.report.pid { (1, 241) } else { (0, 0) };
        let mm = self.kernel.mm_alloc();
        mm.add_rss(Rss::Anon, (row.rss - file - shmem) as i64);
        mm.page_table.pretend_nr_ptes(row.pgtables_bytes / PAGE_SIZE);
        mm.total_vm.store(row.total_vm, Ordering::Relaxed);
        mm.add_rss(Rss::File, file as i64);
        mm.add_rss(Rss::Shmem, shmem as i64);
        task.alloc_lock.lock().mm = Some(mm);
        Cx::new(task, 1)
    }

    fn add_bound(&self, row: &Row, cpu: u16, nodes: &str) -> Cx {
        let cx = self.add(row, cpu);
        let nodes = NodeMask::parse(nodes).unwrap();
        self.kernel.set_mempolicy(&cx, &PolicySpec::new(Mode::Bind, nodes)).unwrap();
        cx
    }

    fn asker(&self) -> &Row {
        self.report.rows.iter().find(|row| row.pid == self.report.pid).unwrap()
    }

    /// Runs the OOM killer for the asker; returns the lines that it printed.
    fn out_of_memory(&self, cx: &Cx, nodemask: Nodemask<'_>) -> (Vec<String>, u64, i64) {
        let k = &self.kernel;
        let node = k.cpu_node(cx.cpu());
        let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::COMP | Gfp::ZERO;
        let mut oc = OomControl {
            nodemask,
            gfp,
            order: 0,
            highest: ZoneIdx::Movable,
            ..OomControl::for_sysrq(k.zonelists.fallback(node))
        };
        assert!(k.out_of_memory(cx, &mut oc));
        let Chosen::Victim(victim, points) = &oc.chosen else { panic!("{:?}", oc.chosen) };
        assert_eq!(victim.tgid, self.report.pid);
        assert!(victim.is_killed() && victim.is_oom_victim());
        (k.dmesg(), oc.totalpages, *points)
    }

    /// The kernel's log of the kill must be the guest's.
    fn assert_reported(&self, printed: &[String]) {
        let start = printed.iter().position(|line| line.contains("invoked oom-killer")).unwrap();
        let printed = &printed[start..];
        let expected = &self.report.lines;
        for (ours, theirs) in printed.iter().zip(expected) {
            assert_eq!(form(ours), form(theirs), "\nmodel: {ours}\nguest: {theirs}");
        }
        assert_eq!(printed.len(), expected.len());
    }

    fn points(&self, pid: u32, totalpages: u64) -> Option<i64> {
        let processes = self.kernel.tasks.snapshot();
        let process = processes.iter().find(|p| p.tgid == pid).unwrap();
        self.kernel.oom_badness(process, totalpages)
    }
}

/// Fields whose numbers follow from machine and tasks; in other places of a `Mem-Info` block only
/// the form counts.
const EXACT_FIELDS: [&str; 10] = [
    "boost:",
    "min:",
    "low:",
    "high:",
    "reserved_highatomic:",
    "present:",
    "managed:",
    "writepending:",
    "bounce:",
    "free_cma:",
];

/// A line with `#` for each number that depends on the guest's state.
fn form(line: &str) -> String {
    if line.starts_with("CPU:") {
        return "CPU: # PID: # Comm: hog ...".to_owned();
    }
    if line.starts_with("Hardware name:") {
        return "Hardware name: ...".to_owned();
    }
    let is_state = ["active_anon:", "active_file:", "unevictable:", "slab_", "mapped:", "free:"]
        .iter()
        .any(|field| line.contains(field))
        || line.contains("*4kB")
        || line.ends_with("total pagecache pages");
    if !is_state {
        return line.to_owned();
    }
    let mut words = Vec::new();
    for word in line.split(' ') {
        // Types of free blocks, and kswapd's state.
        if word.starts_with('(') || word == "yes" || word == "no" {
            continue;
        }
        let is_name = words.len() < 3 && words.first().is_some_and(|w| w == "Node");
        if is_name || EXACT_FIELDS.iter().any(|field| word.starts_with(field)) {
            words.push(word.to_owned());
        } else if let Some((count, size)) = word.split_once('*') {
            assert!(count.parse::<u64>().is_ok());
            words.push(format!("#*{size}"));
        } else {
            let (field, value) = word.split_once(':').unwrap_or(("", word));
            let value: String =
                value.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
            let mut short = value.clone();
            while short.contains("##") {
                short = short.replace("##", "#");
            }
            words.push(format!("{field}:{short}"));
        }
    }
    words.join(" ")
}

#[test]
fn a_global_oom_is_reported_as_the_guest_did() {
    let world = World::new(
        include_str!("../../tests/data/oom/none.zoneinfo-before"),
        include_str!("../../tests/data/oom/none.txt"),
    );
    for row in world.report.rows.iter().filter(|row| row.pid != world.report.pid) {
        world.add(row, 0);
    }
    let cx = world.add(world.asker(), world.report.cpu);
    let (printed, totalpages, points) = world.out_of_memory(&cx, Nodemask::None);
    // RAM without what is reserved: 524158 - 24961.
    assert_eq!((totalpages, points), (499_197, 368_369 + 2_994_176 / 4096));
    // The one with oom_score_adj 300 counts 7877 + 25 + 300 * 499.
    assert_eq!(world.points(162, totalpages), Some(157_602));
    world.assert_reported(&printed);
}

#[test]
fn a_cpuset_s_oom_is_reported_as_the_guest_did() {
    let world = World::new(
        include_str!("../../tests/data/oom/cpuset.zoneinfo-before"),
        include_str!("../../tests/data/oom/cpuset.txt"),
    );
    for row in world.report.rows.iter().filter(|row| row.pid != world.report.pid) {
        world.add(row, 0);
    }
    let k = &world.kernel;
    let cs = k.cpusets.create(&k.cpusets.top, "a").unwrap();
    let cx = world.add(world.asker(), world.report.cpu);
    k.cpuset_write_mems(&cx, &cs, &NodeMask::one(NodeId(1))).unwrap();
    k.cpuset_attach(&cx, &cs, &[Arc::clone(&cx.task)]).unwrap();
    let (printed, totalpages, points) = world.out_of_memory(&cx, Nodemask::None);
    assert_eq!((totalpages, points), (131_072, 84_899 + 720_896 / 4096));
    world.assert_reported(&printed);
}

#[test]
fn a_memory_policy_s_oom_is_reported_as_the_guest_did() {
    let world = World::new(
        include_str!("../../tests/data/oom/memory-policy.zoneinfo-before"),
        include_str!("../../tests/data/oom/memory-policy.txt"),
    );
    // The 60 and 50 MiB tasks are bound elsewhere: they are on the machine, but not in the report.
    let absent = |pid| Row { pid, total_vm: 15705, rss: 15599, pgtables_bytes: 159_744, adj: 0 };
    world.add_bound(&absent(159), 0, "0");
    for row in world.report.rows.iter().filter(|row| row.pid != world.report.pid) {
        world.add(row, 0);
    }
    world.add_bound(&absent(163), 0, "2-3");
    let cx = world.add_bound(world.asker(), world.report.cpu, "1");
    let nodes = NodeMask::one(NodeId(1));
    let (printed, totalpages, points) = world.out_of_memory(&cx, Nodemask::Fixed(&nodes));
    assert_eq!((totalpages, points), (131_072, 59_291 + 520_192 / 4096));
    assert_eq!(world.points(162, totalpages), Some(47_202));
    world.assert_reported(&printed);
}

#[test]
fn totalpages_is_what_each_constraint_counts() {
    let zoneinfo = include_str!("../../tests/data/oom/none.zoneinfo-before");
    let world = World::new(zoneinfo, include_str!("../../tests/data/oom/none.txt"));
    let cx = world.add(world.asker(), 0);
    let nodes = |list: &str| NodeMask::parse(list).unwrap();
    let check = |release, list: &str, expected| {
        let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
        let k = Kernel::boot(guest(zoneinfo), Policy::preset(release), config).unwrap();
        let mask = nodes(list);
        let oc = OomControl {
            nodemask: Nodemask::Fixed(&mask),
            gfp: Gfp::HIGHUSER_MOVABLE,
            highest: ZoneIdx::Movable,
            ..OomControl::for_sysrq(k.zonelists.fallback(NodeId(0)))
        };
        assert_eq!(k.constrained_alloc(&cx, &oc), expected, "{release} {list}");
    };
    // Node 0: DMA and DMA32, 4095 + 126976 spanned from pfn 1, 3998 + 126976 present.
    check(Release::V5_4, "0", (Constraint::MemoryPolicy, 131_071));
    check(Release::V5_10, "0", (Constraint::MemoryPolicy, 130_974));
    check(Release::V6_1, "1-2", (Constraint::MemoryPolicy, 262_144));
    // All nodes with memory: no constraint.
    let at_boot = parse_zoneinfo(zoneinfo).iter().map(|z| z.managed_at_boot).sum();
    check(Release::V6_1, "0-3", (Constraint::None, at_boot));
}
