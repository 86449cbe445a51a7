//! The model as a whole: all that is global in the kernel, and how it comes up.
//!
//! **What.** [`Kernel`] owns zones, CPUs, frames, zonelists, cpusets, tasks, the OOM state and the
//! oracle. Mechanisms are `impl Kernel` blocks in the modules named after them; code runs in a
//! [`Cx`], which is `current`.
//!
//! **Boot** follows the kernel's order: zones get their spans, zonelists are built, memory goes to
//! the buddy, then watermarks, reserves and pcp sizes are set from what is managed.

use std::fmt;

use crate::cpuset::CpusetTree;
use crate::gfp::{AllocFlags, Gfp, MigrateType};
use crate::hotplug::HotplugState;
use crate::ids::{
    CpuId, MAX_NR_ZONES, MAX_PAGE_ORDER, NodeId, PAGEBLOCK_NR_PAGES, Pfn, ZoneId, ZoneIdx,
};
use crate::machine::{Machine, MachineError};
use crate::mempolicy::InterleaveWeights;
use crate::mm::Mm;
use crate::mm::MmState;
use crate::nodemask::{AtomicNodeMask, NodeMask};
use crate::oom::OomState;
use crate::oracle::Findings;
use crate::oracle::reserves::ReserveOracle;
use crate::policy::release::{
    FastPathCpuset, MergeRule, PcpBulk, ReserveReset, StealRule, VictimExit,
};
use crate::policy::{Policy, Release};
use crate::race::window::{self, Intruders};
use crate::race::{Amplify, AmplifyTable, Point};
use crate::reclaim::ReclaimState;
use crate::run::clock::Clock;
use crate::run::cpu::Cpu;
use crate::run::irq::Console;
use crate::run::stop_machine::StopMachine;
use crate::run::task::{Cx, Process, ProcessList, Task};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::lock::named;
use crate::sync::{Arc, Lock, Mutex, SeqCount};
use crate::zone::Zone;
use crate::zone::buddy::{Buddy, BuddyRules, FreeTo};
use crate::zone::frame::{FrameTable, FrameTableError};
use crate::zone::pageblock::PageblockTable;
use crate::zone::pcp::PcpRules;
use crate::zone::watermark::WatermarkRules;
use crate::zonelist::{Zonelist, Zonelists};

/// What can be chosen besides machine and policy.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// Ticks a second.
    pub hz: u32,
    /// Model time per host time.
    pub time_scale: f64,
    /// Pages of swap.
    pub swap_pages: u64,
    /// MAX_RECLAIM_RETRIES: 16; fewer in explored worlds, and the output says so.
    pub max_reclaim_retries: u32,
    /// Passes of S7 after which a request that S7's tests would restart counts as a lockup.
    pub lockup_passes: u64,
    /// Threads held at race points.
    pub amplify: Vec<Amplify>,
    /// Run the copy of the fast paths that has race points (always under exploration).
    pub instrumented: bool,
    /// Model ns that unmapping a page costs (bulk work charges the clock).
    pub unmap_ns_per_page: u64,
    /// Model ns that a character on the console costs.
    pub console_ns_per_char: u64,
    /// Pages that an mmu_gather batch holds before it is flushed.
    pub gather_pages: u32,
    /// pcp batch to use instead of the formula's (small worlds).
    pub pcp_batch: Option<u32>,
    /// PREEMPT_RT: spinlocks sleep, interrupts are threads.
    pub preempt_rt: bool,
    /// Will memory go off and on? (Contexts are counted for stop-machine then.)
    pub hotplug: bool,
    /// Interrupts' requests go straight to the slow path.
    pub irq_forces_slow_path: bool,
    /// Interrupts ask for pages of their CPU's node only, as slab does for its per-node lists.
    pub irq_this_node: bool,
    /// Printing takes port->lock of the serial port.
    pub console_port: bool,
    /// Does kswapd exist? Without it, reclaim is direct only (small worlds).
    pub kswapd: bool,
    /// Seed of all random choices inside the model.
    pub seed: u64,
}

impl KernelConfig {
    /// Are contexts inside the allocator counted, for the stop-machine that a rebuild of this policy
    /// is? That takes the copy of the fast paths that has race points: a comparison sets
    /// [`KernelConfig::instrumented`] for all its variants when one of them counts.
    pub fn counts_inside(&self, policy: &Policy) -> bool {
        self.hotplug && policy.zonelist.around(false).stops_machine
    }
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            hz: 250,
            time_scale: 1.0,
            swap_pages: 0,
            max_reclaim_retries: 16,
            lockup_passes: 10_000,
            amplify: Vec::new(),
            instrumented: cfg!(feature = "explore"),
            unmap_ns_per_page: 0,
            console_ns_per_char: 0,
            gather_pages: 20 * 510,
            pcp_batch: None,
            preempt_rt: false,
            hotplug: false,
            irq_forces_slow_path: false,
            irq_this_node: false,
            console_port: false,
            kswapd: true,
            seed: 1,
        }
    }
}

/// Why the model can't come up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// The machine is none.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The host has no memory for its metadata.
    #[error(transparent)]
    Frames(#[from] FrameTableError),
}

/// Release-dependent facts of the hot paths, resolved once.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Alloc flags that give HIGHATOMIC blocks before all others, for order > 0.
    pub highatomic_flags: AllocFlags,
    /// Alloc flags that give HIGHATOMIC blocks when all else failed.
    pub highatomic_last_flags: AllocFlags,
    /// What the fast path does about cpusets.
    pub fast_path_cpuset: FastPathCpuset,
    /// ALLOC_KSWAPD exists (5.0+).
    pub has_alloc_kswapd: bool,
    /// ALLOC_NOFRAGMENT exists (5.0+).
    pub nofragment: bool,
    /// ZONE_BELOW_HIGH is kept (6.7+).
    pub below_high: bool,
    /// S10 drops the nodemask (4.19+) instead of taking the local zonelist.
    pub s10_drops_nodemask: bool,
    /// S17 asks the cpuset (6.8..6.12+).
    pub s17_asks_cpuset: bool,
    /// S17 gives the highatomic reserve back on every "no" (6.8+).
    pub s17_unreserves: bool,
    /// When victims leave the slow path.
    pub victim_exit: VictimExit,
    /// S21's flags.
    pub nofail_flags: AllocFlags,
    /// The watermark check's columns.
    pub watermark: WatermarkRules,
}

/// A range of frames that the buddy was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagedRange {
    /// Its zone.
    pub zone: ZoneId,
    /// First frame.
    pub first: Pfn,
    /// Number of frames.
    pub pages: u32,
}

/// The model.
pub struct Kernel {
    /// The machine modelled.
    pub machine: Machine,
    /// The policy on each axis.
    pub policy: Policy,
    /// Settings of the run.
    pub config: KernelConfig,
    /// Resolved facts.
    pub rules: Rules,
    /// Resolved facts of the pcplists.
    pub pcp_rules: PcpRules,
    buddy_rules: BuddyRules,
    /// Run the fast paths with race points?
    pub instrumented: bool,
    /// Neither race points nor snapshots of allowed nodes (`swap`): a request just runs.
    pub(crate) plain_requests: bool,
    amplify: AmplifyTable,
    /// Who stepped into which race window.
    intruders: Intruders,

    /// The frame table.
    pub frames: FrameTable,
    /// The pageblock table.
    pub pageblocks: PageblockTable,
    /// Zones by [`ZoneId`]; unpopulated ones included.
    pub zones: Box<[Zone]>,
    /// Model CPUs.
    pub cpus: Box<[Cpu]>,
    /// What the buddy was given. Changed under mem_hotplug_lock.
    pub managed_ranges: Mutex<Vec<ManagedRange>>,
    /// Nodes with memory (N_MEMORY).
    pub n_memory: AtomicNodeMask,
    /// Online nodes.
    pub nodes_online: NodeMask,

    /// Zonelists of all nodes, rewritten in place.
    pub zonelists: Zonelists,
    /// zonelist_update_seq.
    pub zonelist_update_seq: SeqCount,
    /// The seqlock's own spinlock.
    pub zonelist_update_lock: Lock<named::ZonelistUpdate, ()>,
    /// CPU + 1 of the task inside a rebuild, 0: nobody.
    pub zonelist_writer_cpu: AtomicU32,
    /// Thread id of that task, for reports.
    pub zonelist_writer_pid: AtomicU32,
    /// Highest zone that policies apply to (`policy_zone`).
    pub policy_zone: AtomicUsize,
    /// `page_group_by_mobility_disabled`.
    pub grouping_disabled: AtomicBool,

    /// min_free_kbytes in force.
    pub min_free_kbytes: AtomicU64,
    /// Pages managed in all zones (`totalram_pages`).
    pub totalram_pages: AtomicU64,
    /// mem_hotplug_lock for write: one offline or online at a time.
    pub mem_hotplug_lock: Lock<named::MemHotplug, ()>,
    /// pcp_batch_high_lock.
    pub pcp_batch_high_lock: Lock<named::PcpBatchHigh, ()>,
    /// pcpu_drain_mutex.
    pub pcpu_drain_mutex: Lock<named::PcpuDrain, ()>,

    /// All cpusets.
    pub cpusets: CpusetTree,
    /// Weights for weighted interleaving.
    pub interleave_weights: InterleaveWeights,
    /// The task list.
    pub tasks: ProcessList,
    /// The OOM killer and its reaper.
    pub oom: OomState,
    /// What all address spaces share.
    pub mm: MmState,
    /// LRU lists, kswapd, swap.
    pub reclaim: ReclaimState,
    /// Model time and the abort flag.
    pub clock: Clock,
    /// What the oracle found.
    pub findings: Findings,
    /// Who is inside the allocator (zonelist=stop-machine).
    pub stop_machine: StopMachine,
    /// Are contexts inside the allocator counted?
    pub counts_inside: bool,
    /// The console and the log.
    pub console: Console,
    /// Blocks that are offline.
    pub hotplug: HotplugState,
    /// How deep zones have been.
    pub reserve_oracle: ReserveOracle,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel")
            .field("machine", &self.machine.name)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Kernel {
    /// Boots a machine.
    ///
    /// # Errors
    /// A bad machine, or no memory for its metadata.
    pub fn boot(
        machine: Machine,
        policy: Policy,
        config: KernelConfig,
    ) -> Result<Arc<Self>, BootError> {
        machine.validate()?;
        let nr_node_ids = machine.nr_node_ids();
        let max_pfn = machine.max_pfn();
        let frames = FrameTable::new(max_pfn)?;
        let nodes_online = NodeMask::of(machine.nodes.iter().map(|n| n.id));
        let with_memory = machine.nodes.iter().filter(|n| has_memory(n)).map(|n| n.id);
        let with_memory = NodeMask::of(with_memory);
        let n_memory = AtomicNodeMask::holding(nr_node_ids, &with_memory);
        let nr_cpus = machine.cpus.len();
        let zones: Box<[Zone]> = (0..nr_node_ids * MAX_NR_ZONES)
            .map(|i| {
                let id = ZoneId(i as u16);
                let can_have_memory = machine.node(id.node()).is_some_and(|n| {
                    n.zones.iter().any(|z| z.idx == id.zone_idx() && z.spanned_pages > 0)
                });
                let mut zone = Zone::new(id, if can_have_memory { nr_cpus } else { 0 });
                for (pcp, cpu) in zone.pcp.iter_mut().zip(&machine.cpus) {
                    pcp.is_local = cpu.node == id.node();
                }
                zone
            })
            .collect();
        let cpus = machine
            .cpus
            .iter()
            .enumerate()
            .map(|(i, c)| Cpu::new(CpuId(i as u16), c.node))
            .collect();
        let release = policy.release;
        let counts_inside = config.counts_inside(&policy);
        let instrumented = config.instrumented || !config.amplify.is_empty() || counts_inside;
        let kernel = Self {
            rules: Rules::of(&policy),
            pcp_rules: pcp_rules(&policy),
            buddy_rules: buddy_rules(release, machine.settings.watermark_boost_factor),
            instrumented,
            plain_requests: !instrumented && !policy.cpuset.swaps(),
            amplify: AmplifyTable::new(&config.amplify),
            intruders: Intruders::default(),
            frames,
            pageblocks: PageblockTable::new(max_pfn),
            zones,
            cpus,
            managed_ranges: Mutex::new(Vec::new()),
            n_memory,
            nodes_online,
            zonelists: zonelists_of(&machine),
            zonelist_update_seq: SeqCount::new(),
            zonelist_update_lock: Lock::new(()),
            zonelist_writer_cpu: AtomicU32::new(0),
            zonelist_writer_pid: AtomicU32::new(0),
            policy_zone: AtomicUsize::new(0),
            grouping_disabled: AtomicBool::new(false),
            min_free_kbytes: AtomicU64::new(0),
            totalram_pages: AtomicU64::new(0),
            mem_hotplug_lock: Lock::new(()),
            pcp_batch_high_lock: Lock::new(()),
            pcpu_drain_mutex: Lock::new(()),
            cpusets: CpusetTree::new(nr_node_ids, &with_memory),
            interleave_weights: InterleaveWeights::new(nr_node_ids),
            tasks: ProcessList::default(),
            oom: OomState::default(),
            mm: MmState::new(nr_cpus),
            reclaim: ReclaimState::new(release, nr_node_ids, nr_cpus, config.swap_pages),
            clock: Clock::new(config.hz, config.time_scale),
            findings: Findings::default(),
            stop_machine: StopMachine::default(),
            counts_inside,
            console: Console::default(),
            hotplug: HotplugState::default(),
            reserve_oracle: ReserveOracle::new(nr_node_ids * MAX_NR_ZONES),
            machine,
            policy,
            config,
        };
        kernel.boot_memory();
        Ok(Arc::new(kernel))
    }

    fn boot_memory(&self) {
        let mut given = 0;
        for node in &self.machine.nodes {
            for z in &node.zones {
                let zone = self.zone_of(node.id, z.idx);
                zone.set_span(Pfn(z.start_pfn as u32), z.spanned_pages);
                zone.set_sizes(z.present_pages, z.managed_pages);
                for (first, pages) in z.managed_ranges() {
                    self.give_range(zone, first, pages);
                    given += pages;
                }
            }
        }
        self.totalram_pages.store(given, Ordering::Relaxed);
        self.build_all_zonelists_boot();
        self.boot_wmarks();
        for zone in self.populated_zones() {
            let mut locked = zone.lock.lock(|| {});
            zone.fold_free_pages(&mut locked);
        }
    }

    /// Hands a range of frames to a zone's buddy (memblock_free_all): pageblocks become its own,
    /// Movable, and blocks go in as large as they fit.
    fn give_range(&self, zone: &Zone, first: u64, pages: u64) {
        let end = first + pages;
        let block = u64::from(PAGEBLOCK_NR_PAGES);
        let mut at = first / block * block;
        while at < end {
            let pfn = Pfn(at as u32);
            if self.pageblocks.zone(pfn).is_none() {
                self.pageblocks.init(pfn, zone.id, MigrateType::Movable);
            }
            at += block;
        }
        // A pageblock belongs to one zone: frames of a neighbour's are left out.
        let mut at = first;
        let buddy = self.buddy(zone);
        let mut locked = zone.lock.lock(|| {});
        let mut ranges = self.managed_ranges.lock();
        let mut run: Option<ManagedRange> = None;
        while at < end {
            let order = (at.trailing_zeros() as u8).min(MAX_PAGE_ORDER);
            let order = (0..=order).rev().find(|o| at + (1 << o) <= end).unwrap_or(0);
            let pfn = Pfn(at as u32);
            if self.pageblocks.zone(pfn) == Some(zone.id) {
                buddy.free_one_page(
                    &mut locked,
                    CpuId(0),
                    pfn,
                    order,
                    MigrateType::Movable,
                    FreeTo::Tail,
                );
                let open = run.get_or_insert(ManagedRange { zone: zone.id, first: pfn, pages: 0 });
                open.pages += 1 << order;
            } else if let Some(done) = run.take() {
                ranges.push(done);
            }
            at += 1 << order;
        }
        ranges.extend(run);
    }

    /// The buddy of a zone.
    #[inline]
    pub fn buddy<'a>(&'a self, zone: &'a Zone) -> Buddy<'a> {
        let grouping_disabled = self.grouping_disabled.load(Ordering::Relaxed);
        Buddy {
            frames: &self.frames,
            pageblocks: &self.pageblocks,
            zone,
            rules: BuddyRules { grouping_disabled, ..self.buddy_rules },
        }
    }

    /// A zone of a node.
    #[inline]
    pub fn zone_of(&self, node: NodeId, idx: ZoneIdx) -> &Zone {
        &self.zones[ZoneId::new(node, idx).index()]
    }

    /// The zone that a frame belongs to.
    pub fn page_zone(&self, pfn: Pfn) -> Option<&Zone> {
        self.pageblocks.zone(pfn).map(|id| &self.zones[id.index()])
    }

    /// The node of a frame.
    pub fn page_node(&self, pfn: Pfn) -> Option<NodeId> {
        self.pageblocks.zone(pfn).map(ZoneId::node)
    }

    /// Zones with present pages.
    pub fn populated_zones(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter().filter(|z| z.is_populated())
    }

    /// A node's zones, unpopulated ones included.
    pub fn zones_of_node(&self, node: NodeId) -> impl Iterator<Item = &Zone> {
        ZoneIdx::ALL.into_iter().map(move |idx| self.zone_of(node, idx))
    }

    /// The node of a CPU.
    #[inline]
    pub fn cpu_node(&self, cpu: CpuId) -> NodeId {
        self.cpus[cpu.index()].node
    }

    /// Number of online nodes.
    #[inline]
    pub fn nr_online_nodes(&self) -> usize {
        self.machine.nodes.len()
    }

    /// Highest node id + 1.
    pub fn nr_node_ids(&self) -> usize {
        self.machine.nr_node_ids()
    }

    /// The zonelist for requests that prefer a node (`node_zonelist`).
    #[inline]
    pub fn node_zonelist(&self, nid: NodeId, gfp: Gfp) -> &Zonelist {
        if gfp.contains(Gfp::THISNODE) {
            self.zonelists.nofallback(nid)
        } else {
            self.zonelists.fallback(nid)
        }
    }

    /// A race point: the explorer may switch here, `--amplify` may hold the thread here. No event.
    #[inline]
    pub fn point(&self, cx: &Cx, point: Point) {
        crate::sync::switch_point(point as u16);
        self.stop_machine_point(cx);
        if window::is_watched(point) {
            self.intruders.pass(cx, point);
        }
        if self.amplify.is_any() {
            self.amplified(cx, point);
        }
    }

    /// A context gives up what had opened a window, so that the next time is another.
    pub(crate) fn window_given_up(&self, cx: &Cx, opens: Point) {
        self.intruders.give_up(cx, opens);
    }

    /// A race point that is also an event in the task's timeline.
    #[inline]
    pub fn point_event(&self, cx: &Cx, point: Point, args: [u64; 3]) {
        cx.event(point, args);
        self.point(cx, point);
    }

    #[cold]
    fn amplified(&self, cx: &Cx, point: Point) {
        // What is held looks preempted; a handler can't be.
        if cx.in_interrupt() {
            return;
        }
        match self.amplify.delay(point, cx.random() as u32) {
            Some(0) => crate::sync::yield_now(),
            Some(ns) => self.clock.sleep(ns),
            None => {}
        }
    }

    /// Charges `ns` of model time for bulk work; slept off in pieces.
    pub fn charge(&self, cx: &Cx, ns: u64) {
        const PIECE_NS: u64 = 1_000_000;
        let owed = cx.owed_ns.get() + ns;
        if owed >= PIECE_NS {
            self.clock.sleep(owed);
            cx.owed_ns.set(0);
        } else {
            cx.owed_ns.set(owed);
        }
    }

    /// Creates a process without threads and adds it to the task list.
    pub fn new_process(&self, comm: &str, oom_score_adj: i32) -> Arc<Process> {
        let process = Process::new(self.tasks.next_pid(), comm, oom_score_adj);
        self.tasks.add(&process);
        process
    }

    /// Creates a process with one thread on `cpu` and an address space of its own, as after execve.
    pub fn new_user_process(
        &self,
        comm: &str,
        oom_score_adj: i32,
        cpu: CpuId,
    ) -> (Arc<Task>, Arc<Mm>) {
        let task = self.new_task(&self.new_process(comm, oom_score_adj), cpu, 0);
        let mm = self.mm_alloc();
        task.alloc_lock.lock().mm = Some(Arc::clone(&mm));
        (task, mm)
    }

    /// Makes a thread of `process` in the root cpuset, without an mm, on `cpu`, and adds it to the
    /// process.
    pub fn new_task(&self, process: &Arc<Process>, cpu: CpuId, flags: u32) -> Arc<Task> {
        let first = process.threads.lock().is_empty();
        let pid = if first { process.tgid } else { self.tasks.next_pid() };
        let mems = self.n_memory.load();
        let top = Arc::clone(&self.cpusets.top);
        let task = Task::new(pid, process, &top, &mems, self.nr_node_ids(), None, cpu, flags);
        self.add_task(&task);
        task
    }

    /// A kernel thread on `cpu`, with a context to run in. Not in the task list.
    pub fn kernel_thread(&self, comm: &str, cpu: CpuId) -> Cx {
        let process = Process::new(self.tasks.next_pid(), comm, 0);
        self.tasks.add_kthread(&process);
        let task = self.new_task(&process, cpu, crate::run::task::pf::KTHREAD);
        Cx::new(task, self.config.seed)
    }

    /// Adds a thread to its process and its cpuset.
    pub fn add_task(&self, task: &Arc<Task>) {
        self.cpuset_fork(task);
        task.process.threads.lock().push(Arc::clone(task));
    }
}

/// Empty zonelists with room for every zone that can have memory.
fn zonelists_of(machine: &Machine) -> Zonelists {
    let nodes: Vec<NodeId> = machine.nodes.iter().map(|n| n.id).collect();
    let zones: Vec<ZoneId> = machine
        .nodes
        .iter()
        .flat_map(|n| n.zones.iter().map(|z| ZoneId::new(n.id, z.idx)))
        .collect();
    Zonelists::new(&nodes, &zones)
}

fn has_memory(node: &crate::machine::Node) -> bool {
    node.zones.iter().any(|z| z.present_pages > 0)
}

impl Rules {
    /// The facts of a policy.
    pub fn of(policy: &Policy) -> Self {
        let release = policy.release;
        let mut last = AllocFlags::empty();
        if release.oom_takes_highatomic() {
            last |= AllocFlags::OOM;
        }
        if release.non_block_takes_highatomic() {
            last |= AllocFlags::NON_BLOCK;
        }
        Self {
            highatomic_flags: policy.reserves.highatomic_flag(),
            highatomic_last_flags: last,
            fast_path_cpuset: release.fast_path_cpuset(),
            has_alloc_kswapd: release.has_alloc_kswapd(),
            nofragment: release.has_nofragment(),
            below_high: release.has_below_high(),
            s10_drops_nodemask: release.reserve_reset() == ReserveReset::DropNodemask,
            s17_asks_cpuset: release.reclaim_retry_tests_cpuset(),
            s17_unreserves: release.unreserves_at_every_no(),
            victim_exit: release.victim_exit(),
            nofail_flags: policy.reserves.nofail_flag(),
            watermark: WatermarkRules::of(policy),
        }
    }
}

fn pcp_rules(policy: &Policy) -> PcpRules {
    let release = policy.release;
    PcpRules {
        multi_order: policy.pcp.has_multi_order(),
        thp_lists: release.pcp_thp_lists() as u8,
        trylock: policy.pcp.has_trylock(),
        auto_tune: policy.pcp.has_auto_tune(),
        free_high: release.has_pcp_free_high(),
        long_bursts: release.pcp_bursts_are_long(),
        bulk_under_lock: release.pcp_bulk() == PcpBulk::FromListFreed,
        frees_in_batches: release.pcp_frees_in_batches(),
        always_rereads: release.free_always_rereads_type(),
        miss_tries_buddy: release.pcp_miss_tries_buddy(),
        ordered_update: release.pageset_update_is_ordered(),
    }
}

fn buddy_rules(release: Release, boost_factor: u32) -> BuddyRules {
    let steal = release.steal_rule();
    BuddyRules {
        merges_by_type: release.merge_rule() == MergeRule::MergeableTypes,
        claims_then_steals: steal == StealRule::ClaimThenSteal,
        finds_smallest: steal != StealRule::Classic,
        boost_factor: if release.has_watermark_boost() { boost_factor } else { 0 },
        grouping_disabled: false,
    }
}
