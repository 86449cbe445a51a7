//! zonelist-rebuild: zonelists are rewritten while tasks and interrupts allocate by them.
//!
//! **What.** The last node has a Movable zone of a block or a few in front of a Normal one. A
//! thread takes Movable offline and brings it back, in a cycle; each time all zonelists are
//! rebuilt. Tasks bound to the node by policy or cpuset ask for kernel pages; interrupts ask
//! atomically.
//!
//! **Why a filler.** The slow path is entered below the low mark only, and a kill or failure is
//! certainly premature only if Normal was above its high mark all along: the filler swings it from
//! one to the other. Nothing that is allowed stands behind Normal, so that a list that lost it is
//! empty (docs/kernel/interleavings.md#j4).
//!
//! On the host a request is rarely preempted just there, so some are held where a rebuild has to
//! meet them (`--hold-share`).
//!
//! **Differs.** What a driver's interrupt handler allocates for its node it asks for with
//! __GFP_THISNODE, as slab does; `--irq-path slow` sends it to S1 whatever is free.

use allocator::gfp::Gfp;
use allocator::hotplug::{BlockId, HotplugError};
use allocator::ids::{CpuId, NodeId, Pfn, ZoneId, ZoneIdx};
use allocator::machine::{Machine, Node};
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::nodemask::NodeMask;
use allocator::oracle::FindingKind;
use allocator::page_alloc::Nodemask;
use allocator::policy::Policy;
use allocator::race::{Amplify, Point};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, CxStats, pf};
use allocator::sync::{Arc, Mutex};
use allocator::zone::{Wmark, Zone};

use crate::{
    Env, Info, Movable, OptionKind, OptionSpec, Options, Scene, Step, TaskBody, TaskSpec, Workload,
    WorkloadError,
};

const REQUEST: usize = 0;
const REQUEST_FAILED: usize = 1;
const OFFLINE: usize = 2;
const ONLINE: usize = 3;
const FILLER_SWING: usize = 4;

/// Requests in a step.
const STEP_OPS: usize = 16;
/// How long a request is held between taking its position and walking from it.
const HOLD_NS: u64 = 300_000;
/// Blocks that a task holds at most.
const HOLD: usize = 64;

/// The workload.
#[derive(Clone, Copy, Debug)]
pub struct ZonelistRebuild;

impl Workload for ZonelistRebuild {
    fn info(&self) -> &'static Info {
        &Info {
            name: "zonelist-rebuild",
            about: "hotplug rebuilds under atomic allocations",
            axes: &["zonelist"],
            primary: &["request.ops_per_s", "request.mid_ns", "request.p99_ns"],
            ops: &["request", "request_failed", "offline", "online", "filler_swing"],
            options: &[
                OptionSpec {
                    name: "irq-path",
                    value: "PATH",
                    kind: OptionKind::Choice(&["slow", "fast"]),
                    default: "slow",
                    help: "where interrupts' requests begin: in the slow path, or as all others do",
                },
                OptionSpec {
                    name: "preempt-rt",
                    value: "",
                    kind: OptionKind::Flag,
                    default: "",
                    help: "as on PREEMPT_RT: zonelist_update_seq's lock sleeps, interrupts stay on",
                },
                OptionSpec {
                    name: "tty",
                    value: "",
                    kind: OptionKind::Flag,
                    default: "",
                    help: "rebuilds print to a serial port, and a task writes to it, allocating under port->lock",
                },
                OptionSpec {
                    name: "hold-share",
                    value: "SHARE",
                    kind: OptionKind::Share,
                    default: "0.2%",
                    help: "share of slow-path requests held 300 us at S3, so that rebuilds meet them; 0: none",
                },
                OptionSpec {
                    name: "pause",
                    value: "TIME",
                    kind: OptionKind::Duration,
                    default: "1ms",
                    help: "between one rebuild and the next",
                },
            ],
            nodes: 2,
            movable: Movable::OneBlock,
            memory_per_node: Some(1 << 30),
        }
    }

    fn check(
        &self,
        machine: &Machine,
        _policy: &Policy,
        _options: &Options,
        threads: u32,
    ) -> Result<(), WorkloadError> {
        let Some(node) = bound_node(machine) else {
            return Err(WorkloadError::Usage(
                "no node but the first has only Normal and a Movable zone of whole memory blocks: \
                 take --fake-numa 2 and --movable, or more --memory"
                    .to_owned(),
            ));
        };
        let normal = node.zones.iter().find(|z| z.idx == ZoneIdx::Normal);
        let normal = normal.map_or(0, |z| z.managed_pages);
        let wanted = u64::from(threads) * HOLD as u64;
        if wanted * 4 > normal {
            return Err(WorkloadError::Usage(format!(
                "{threads} tasks hold up to {wanted} pages, node {} has {normal} in Normal: take fewer \
                 --threads or more --memory",
                node.id
            )));
        }
        Ok(())
    }

    fn configure(&self, config: &mut KernelConfig, options: &Options) {
        config.hotplug = true;
        config.irq_forces_slow_path = options.text("irq-path") != "fast";
        config.irq_this_node = true;
        config.preempt_rt = options.flag("preempt-rt");
        config.console_port = options.flag("tty");
        let per_million = (options.share("hold-share") * 1e6) as u32;
        let is_asked_for = config.amplify.iter().any(|a| a.point == Point::S3Preferred);
        if per_million > 0 && !is_asked_for {
            config.amplify.push(Amplify {
                point: Point::S3Preferred,
                per_million,
                delay_ns: HOLD_NS,
            });
        }
    }

    fn scene(
        &self,
        kernel: &Arc<Kernel>,
        cx: &Cx,
        options: &Options,
        threads: u32,
        seed: u64,
    ) -> Result<Box<dyn Scene>, WorkloadError> {
        let node = bound_node(&kernel.machine)
            .map(|n| n.id)
            .ok_or_else(|| WorkloadError::Usage("no node to rebuild".to_owned()))?;
        let shared = Arc::new(Shared { totals: Mutex::default() });
        let mut tasks = Tasks { kernel, shared: &shared, specs: Vec::new(), next_cpu: 0 };
        tasks.add("hotplug", 0, |shared| {
            Box::new(Rebuilder {
                shared,
                node,
                pause_ns: options.number("pause").unwrap_or(1_000_000),
                offline: Vec::new(),
            })
        });
        tasks.add("filler", pf::MEMALLOC, |shared| {
            drop(shared);
            Box::new(Filler { node, held: Vec::new() })
        });
        if options.flag("tty") {
            tasks.add("tty", 0, |shared| Box::new(TtyWriter { shared }));
        }
        let cpuset = kernel.cpusets.create(&kernel.cpusets.top, "rebuild").ok();
        if let Some(cpuset) = &cpuset {
            let mems = NodeMask::of([node]);
            kernel.cpuset_write_mems(cx, cpuset, &mems).map_err(|e| {
                WorkloadError::Usage(format!("cpuset.mems {node} was refused: {}", e.errno()))
            })?;
        }
        for n in 0..threads {
            let random = seed ^ (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let in_cpuset = n % 2 == 1;
            tasks.add("rebuild", 0, |shared| {
                Box::new(Body { shared, node, in_cpuset, random, held: Vec::new(), bound: false })
            });
            if let (true, Some(cpuset), Some(spec)) = (in_cpuset, &cpuset, tasks.specs.last()) {
                let attached = kernel.cpuset_attach(cx, cpuset, &[Arc::clone(&spec.task)]);
                debug_assert!(attached.is_ok());
            }
        }
        let tasks = tasks.specs;
        Ok(Box::new(RebuildScene { shared, tasks }))
    }
}

/// The last node that has CPUs' memory in Normal and whole blocks of Movable, and nothing below.
fn bound_node(machine: &Machine) -> Option<&Node> {
    let block = u64::from(machine.block_pages);
    let has = |node: &Node, idx, least| {
        node.zones.iter().any(|z| z.idx == idx && z.managed_pages >= least)
    };
    let fits = |node: &&Node| {
        has(node, ZoneIdx::Normal, 1)
            && has(node, ZoneIdx::Movable, block)
            && !has(node, ZoneIdx::Dma32, 1)
            && !has(node, ZoneIdx::Dma, 1)
            && node.zones.iter().filter(|z| z.idx == ZoneIdx::Movable).all(|z| {
                z.managed_ranges()
                    .iter()
                    .all(|(first, pages)| first % block == 0 && pages % block == 0)
            })
    };
    machine.nodes.iter().skip(1).rev().find(fits)
}

struct Tasks<'a> {
    kernel: &'a Arc<Kernel>,
    shared: &'a Arc<Shared>,
    specs: Vec<TaskSpec>,
    next_cpu: u32,
}

impl Tasks<'_> {
    fn add(&mut self, name: &str, flags: u32, body: impl FnOnce(Arc<Shared>) -> Box<dyn TaskBody>) {
        let cpu = CpuId((self.next_cpu % self.kernel.cpus.len() as u32) as u16);
        self.next_cpu += 1;
        let process = self.kernel.new_process(name, 0);
        let task = self.kernel.new_task(&process, cpu, flags);
        self.specs.push(TaskSpec { task, body: body(Arc::clone(self.shared)) });
    }
}

/// What contexts counted, added up as they end.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    rebuilds: u64,
    slow_entries: u64,
    retries: u64,
    restarts: u64,
    spins: u64,
    irqs: u64,
    atomic_failures: u64,
    failures: u64,
    spurious: u64,
    interrupted_offlines: u64,
}

#[derive(Debug)]
struct Shared {
    totals: Mutex<Totals>,
}

impl Shared {
    fn add(&self, stats: &CxStats) {
        let mut totals = self.totals.lock();
        totals.slow_entries += stats.slow_entries.get();
        totals.retries += stats.slow_retries.get();
        totals.restarts += stats.restarts.get();
        totals.spins += stats.seq_spins.get();
        totals.irqs += stats.irqs.get();
        totals.atomic_failures += stats.atomic_failures.get();
        totals.failures += stats.failures.get();
    }
}

struct RebuildScene {
    shared: Arc<Shared>,
    tasks: Vec<TaskSpec>,
}

impl Scene for RebuildScene {
    fn tasks(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.tasks)
    }

    fn figures(&self) -> Vec<(&'static str, f64, &'static str)> {
        let t = *self.shared.totals.lock();
        let per_rebuild = |n: u64| if t.rebuilds == 0 { 0.0 } else { n as f64 / t.rebuilds as f64 };
        vec![
            ("rebuilds", t.rebuilds as f64, "rebuilds"),
            ("slow_entries_per_rebuild", per_rebuild(t.slow_entries), "requests"),
            ("retries_per_rebuild", per_rebuild(t.retries), "passes"),
            ("restarts_per_rebuild", per_rebuild(t.restarts), "restarts"),
            ("spins_per_rebuild", per_rebuild(t.spins), "rounds"),
            ("irqs_handled", t.irqs as f64, "interrupts"),
            ("atomic_failures", t.atomic_failures as f64, "requests"),
            ("request_failures", t.failures as f64, "requests"),
            ("spurious_failures", t.spurious as f64, "requests"),
            ("interrupted_offlines", t.interrupted_offlines as f64, "offlines"),
        ]
    }

    fn remarks(&self) -> Vec<String> {
        let totals = *self.shared.totals.lock();
        let nothing = |what: &str| vec![format!("{what}: this round proves nothing")];
        if totals.rebuilds == 0 {
            return nothing("no zonelist was rebuilt");
        }
        if totals.slow_entries == 0 {
            return nothing("no request entered the slow path");
        }
        Vec::new()
    }

    fn finish(&mut self, _kernel: &Arc<Kernel>, _cx: &Cx) {}
}

/// A task that asks for kernel pages.
struct Body {
    shared: Arc<Shared>,
    node: NodeId,
    /// Bound by its cpuset; by its policy otherwise.
    in_cpuset: bool,
    bound: bool,
    random: u64,
    held: Vec<Pfn>,
}

impl Body {
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn bind(&mut self, env: &mut Env<'_>) {
        if !self.in_cpuset {
            let policy = PolicySpec::new(Mode::Bind, NodeMask::of([self.node]));
            let set = env.kernel.set_mempolicy(env.cx, &policy);
            debug_assert!(set.is_ok(), "{set:?}");
        }
        self.bound = true;
    }

    /// Half of the requests may fail, as those of drivers with a way out do.
    fn request(&mut self, env: &mut Env<'_>) {
        let mut gfp = if self.in_cpuset { Gfp::USER } else { Gfp::KERNEL };
        gfp |= Gfp::NOWARN;
        if self.random() & 1 == 0 {
            gfp |= Gfp::NORETRY;
        } else {
            gfp |= Gfp::RETRY_MAYFAIL;
        }
        let start = env.recorder.now();
        let page = env.kernel.alloc_pages_current(env.cx, gfp, 0);
        let op = if page.is_some() { REQUEST } else { REQUEST_FAILED };
        env.recorder.record(op, start);
        self.held.extend(page);
    }

    fn free_one(&mut self, env: &mut Env<'_>) {
        if !self.held.is_empty() {
            let at = self.random() as usize % self.held.len();
            env.kernel.free_pages(env.cx, self.held.swap_remove(at), 0);
        }
    }
}

impl TaskBody for Body {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        if env.kernel.clock.is_aborted() {
            return Step::Done;
        }
        if !self.bound {
            self.bind(env);
        }
        for _ in 0..STEP_OPS {
            env.kernel.irq_point(env.cx);
            if self.held.len() < HOLD && self.random() & 1 == 0 {
                self.request(env);
            } else {
                self.free_one(env);
            }
        }
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        for pfn in self.held.drain(..) {
            env.kernel.free_pages(env.cx, pfn, 0);
        }
        self.shared.add(&env.cx.stats);
    }
}

/// Takes the node's Movable zone away and brings it back.
struct Rebuilder {
    shared: Arc<Shared>,
    node: NodeId,
    pause_ns: u64,
    offline: Vec<BlockId>,
}

impl Rebuilder {
    fn movable(&self) -> ZoneId {
        ZoneId::new(self.node, ZoneIdx::Movable)
    }

    fn take_all(&mut self, env: &mut Env<'_>) {
        for block in env.kernel.blocks_of_zone(self.movable()) {
            let start = env.recorder.now();
            match env.kernel.offline_pages(env.cx, block) {
                Ok(_) => {
                    env.recorder.record(OFFLINE, start);
                    self.offline.push(block);
                }
                Err(
                    HotplugError::Signal
                    | HotplugError::Busy(_)
                    | HotplugError::Unmovable(_)
                    | HotplugError::Holes(_)
                    | HotplugError::SameState(_)
                    | HotplugError::Poisoned(_),
                ) => {
                    self.shared.totals.lock().interrupted_offlines += 1;
                    break;
                }
            }
        }
    }

    fn bring_back(&mut self, env: &mut Env<'_>) {
        for block in self.offline.drain(..) {
            let online = env.time(ONLINE, |kernel, cx| kernel.online_pages(cx, block));
            debug_assert_eq!(online, Ok(()), "block {} was ours", block.0);
        }
    }
}

impl TaskBody for Rebuilder {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        if env.kernel.clock.is_aborted() {
            return Step::Done;
        }
        env.kernel.irq_point(env.cx);
        if self.offline.is_empty() {
            self.take_all(env);
        } else {
            self.bring_back(env);
        }
        self.shared.totals.lock().rebuilds += 1;
        env.kernel.clock.sleep(self.pause_ns);
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        self.bring_back(env);
        let mut totals = self.shared.totals.lock();
        totals.spurious = env.kernel.findings.nr(FindingKind::SpuriousFailure);
        drop(totals);
        self.shared.add(&env.cx.stats);
    }
}

/// Swings Normal of the node between below its low and above its high mark.
struct Filler {
    node: NodeId,
    held: Vec<(Pfn, u8)>,
}

impl Filler {
    fn free(zone: &Zone) -> u64 {
        zone.free_pages_exact()
    }

    /// Takes pages until a little less than the low mark is free.
    fn fill(&mut self, env: &Env<'_>, zone: &Zone) {
        let (min, low) = (zone.wmark_pages(Wmark::Min), zone.wmark_pages(Wmark::Low));
        let target = low - (low - min) / 4;
        // Nothing of the reserve is wanted, but the pages between the marks: MEMALLOC, and stops.
        let gfp = Gfp::KERNEL | Gfp::THISNODE | Gfp::NORETRY | Gfp::NOWARN;
        let mut order = 10u8;
        while Self::free(zone) > target && !env.kernel.clock.is_aborted() {
            let room = Self::free(zone) - target;
            while order > 0 && 1u64 << order > room {
                order -= 1;
            }
            match env.kernel.alloc_pages(env.cx, gfp, order, self.node, Nodemask::None) {
                Some(pfn) => self.held.push((pfn, order)),
                None if order > 0 => order -= 1,
                None => break,
            }
        }
    }

    /// Gives pages back until clearly more than the high mark is free.
    fn ebb(&mut self, env: &Env<'_>, zone: &Zone) {
        let high = zone.wmark_pages(Wmark::High);
        let target = high + high / 4 + 512;
        while Self::free(zone) < target {
            let Some((pfn, order)) = self.held.pop() else { break };
            env.kernel.free_pages(env.cx, pfn, order);
        }
    }
}

impl TaskBody for Filler {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        if env.kernel.clock.is_aborted() {
            return Step::Done;
        }
        let kernel = Arc::clone(env.kernel);
        let zone = kernel.zone_of(self.node, ZoneIdx::Normal);
        let start = env.recorder.now();
        self.fill(env, zone);
        kernel.irq_point(env.cx);
        // Below the mark for a moment: requests come into the slow path.
        kernel.clock.sleep(50_000);
        self.ebb(env, zone);
        env.recorder.record(FILLER_SWING, start);
        kernel.clock.sleep(500_000);
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        for (pfn, order) in self.held.drain(..) {
            env.kernel.free_pages(env.cx, pfn, order);
        }
    }
}

/// Writes to the serial port.
struct TtyWriter {
    shared: Arc<Shared>,
}

impl TaskBody for TtyWriter {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        if env.kernel.clock.is_aborted() {
            return Step::Done;
        }
        env.kernel.tty_write(env.cx);
        env.kernel.clock.sleep(100_000);
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        self.shared.add(&env.cx.stats);
    }
}
