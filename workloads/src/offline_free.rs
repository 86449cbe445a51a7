//! offline-free: pages are freed while their memory block goes offline.
//!
//! **What.** Tasks allocate and free movable blocks of mixed orders: replacing one at a time, in
//! bursts that keep pcplists near high, and by the neighbour on another CPU. Meanwhile threads of
//! their own take memory blocks offline and bring them back, always such a one as tasks hold pages
//! in.
//!
//! **Why.** A page that is freed to a pcplist while its block is being isolated is neither free nor
//! in use, and the offline can wait for it for ever (docs/kernel/interleavings.md#j5).
//!
//! **Differs.** Tasks hold pages as a driver that can move them does ([`MovablePages`]), so that
//! blocks of every order can be held, migrated and pinned.

use allocator::gfp::Gfp;
use allocator::hotplug::movable_ops::{Held, MovablePages};
use allocator::hotplug::{BlockId, HotplugError, OfflineStats};
use allocator::ids::{CpuId, NodeId, Pfn, ZoneIdx};
use allocator::machine::Machine;
use allocator::oracle::FindingKind;
use allocator::page_alloc::Nodemask;
use allocator::policy::Policy;
use allocator::run::clock::Ktime;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;
use allocator::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use allocator::sync::{Arc, Mutex};

use crate::{
    Env, Info, Movable, OptionKind, OptionSpec, Options, Scene, Step, TaskBody, TaskSpec, Workload,
    WorkloadError,
};

const ALLOC: usize = 0;
const FREE: usize = 1;
const OFFLINE: usize = 2;
const ONLINE: usize = 3;
const OFFLINE_FAILED: usize = 4;
const ALLOC_DURING: usize = 5;
const FREE_DURING: usize = 6;
const ALLOC_FAILED: usize = 7;

/// Blocks that may wait for the neighbour.
const INBOX: usize = 64;
/// Mean pages of a block by [`Body::random_order`].
const MEAN_PAGES: u64 = 2;

/// The workload.
#[derive(Clone, Copy, Debug)]
pub struct OfflineFree;

impl Workload for OfflineFree {
    fn info(&self) -> &'static Info {
        &Info {
            name: "offline-free",
            about: "frees racing isolation of their block",
            axes: &["offline", "pcp"],
            primary: &["alloc.ops_per_s", "alloc.mid_ns", "free.mid_ns", "offline.mid_ns"],
            ops: &[
                "alloc",
                "free",
                "offline",
                "online",
                "offline_failed",
                "alloc_during",
                "free_during",
                "alloc_failed",
            ],
            options: &[
                OptionSpec {
                    name: "blocks",
                    value: "N",
                    kind: OptionKind::Count,
                    default: "1",
                    help: "memory blocks that are offline at once, for each offlining thread",
                },
                OptionSpec {
                    name: "offline-threads",
                    value: "N",
                    kind: OptionKind::Count,
                    default: "1",
                    help: "threads that take blocks offline, besides --threads",
                },
                OptionSpec {
                    name: "pinned-share",
                    value: "SHARE",
                    kind: OptionKind::Share,
                    default: "0.01%",
                    help: "share of the blocks that can't be moved while they are held",
                },
                OptionSpec {
                    name: "offline-timeout",
                    value: "TIME",
                    kind: OptionKind::Duration,
                    default: "2s",
                    help: "a signal ends an offline that takes longer",
                },
                OptionSpec {
                    name: "think",
                    value: "TIME",
                    kind: OptionKind::Duration,
                    default: "2ms",
                    help: "pause of a task between its bursts of work; 0: none",
                },
                OptionSpec {
                    name: "hold",
                    value: "N",
                    kind: OptionKind::Count,
                    default: "256",
                    help: "blocks of pages that a task holds",
                },
            ],
            nodes: 1,
            movable: Movable::Percent(25),
            memory_per_node: None,
        }
    }

    fn check(
        &self,
        machine: &Machine,
        _policy: &Policy,
        options: &Options,
        threads: u32,
    ) -> Result<(), WorkloadError> {
        let usage = |text: String| Err(WorkloadError::Usage(text));
        for name in ["blocks", "offline-threads", "hold", "offline-timeout"] {
            if options.number(name) == Some(0) {
                return usage(format!("--{name} 0: want at least 1"));
            }
        }
        let pinned = options.share("pinned-share");
        if !(0.0..=1.0).contains(&pinned) {
            return usage(format!("--pinned-share {pinned}: want a share from 0 to 1"));
        }
        let movable = movable_blocks(machine);
        let (blocks, offliners) = (number(options, "blocks"), number(options, "offline-threads"));
        if blocks * offliners >= movable {
            return usage(format!(
                "{offliners} threads with {blocks} blocks offline at once need more than the {movable} whole \
                 memory blocks of ZONE_MOVABLE: take fewer --blocks or more --movable"
            ));
        }
        let wanted = u64::from(threads) * number(options, "hold") * MEAN_PAGES;
        let gone = blocks * offliners * u64::from(machine.block_pages);
        let there = machine.managed_pages().saturating_sub(gone);
        if wanted > there / 2 {
            return usage(format!(
                "{threads} tasks with {} blocks each hold about {wanted} pages, half of the machine has {}: \
                 take a smaller --hold",
                number(options, "hold"),
                there / 2
            ));
        }
        Ok(())
    }

    fn configure(&self, config: &mut KernelConfig, _options: &Options) {
        config.hotplug = true;
    }

    fn scene(
        &self,
        kernel: &Arc<Kernel>,
        _cx: &Cx,
        options: &Options,
        threads: u32,
        seed: u64,
    ) -> Result<Box<dyn Scene>, WorkloadError> {
        let hold = number(options, "hold") as usize;
        let places = threads as usize * (hold + INBOX);
        let shared = Arc::new(Shared {
            pages: Arc::new(MovablePages::new(places)),
            inboxes: (0..threads).map(|_| Mutex::default()).collect(),
            going: AtomicU32::new(0),
            totals: Mutex::default(),
            handed_out: AtomicU64::new(0),
        });
        *kernel.hotplug.movable.lock() = Some(Arc::clone(&shared.pages));
        let process = kernel.new_process("offline-free", 0);
        let nr_cpus = kernel.cpus.len() as u32;
        let cpu_of = |n: u32| CpuId((n % nr_cpus) as u16);
        let mut tasks = Vec::new();
        for n in 0..threads {
            let first = n as usize * (hold + INBOX);
            let neighbour = ((n + 1) % threads) as usize;
            let body = Body {
                shared: Arc::clone(&shared),
                nid: kernel.cpu_node(cpu_of(n)),
                own: (first..first + hold).collect(),
                inbox: n as usize,
                to: neighbour,
                to_first: neighbour * (hold + INBOX) + hold,
                empty: Run::default(),
                think_ns: options.number("think").unwrap_or(0),
                pinned: (options.share("pinned-share") * f64::from(u32::MAX)) as u32,
                random: random_seed(seed, n),
            };
            let task = kernel.new_task(&process, cpu_of(n), 0);
            tasks.push(TaskSpec { task, body: Box::new(body) });
        }
        for n in 0..number(options, "offline-threads") as u32 {
            // A process of its own: the signal is for it alone.
            let process = kernel.new_process("offliner", 0);
            let body = Offliner {
                shared: Arc::clone(&shared),
                blocks: number(options, "blocks") as usize,
                timeout_ns: number(options, "offline-timeout"),
                mine: Vec::new(),
                random: random_seed(seed, threads + n),
            };
            let task = kernel.new_task(&process, cpu_of(threads + n), 0);
            tasks.push(TaskSpec { task, body: Box::new(body) });
        }
        Ok(Box::new(OfflineScene { shared, tasks }))
    }
}

fn number(options: &Options, name: &str) -> u64 {
    options.number(name).unwrap_or(1)
}

fn random_seed(seed: u64, n: u32) -> u64 {
    seed ^ (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// Whole memory blocks of ZONE_MOVABLE on all nodes.
fn movable_blocks(machine: &Machine) -> u64 {
    let block = u64::from(machine.block_pages);
    let zones = machine.nodes.iter().flat_map(|n| &n.zones).filter(|z| z.idx == ZoneIdx::Movable);
    zones
        .flat_map(allocator::machine::Zone::managed_ranges)
        .map(|(first, pages)| ((first + pages) / block).saturating_sub(first.div_ceil(block)))
        .sum()
}

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

/// What offlines came to.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    done: u64,
    signals: u64,
    busy: u64,
    tries: u64,
    drains: u64,
    drains_most: u64,
    passes: u64,
    passes_most: u64,
    migrated: u64,
    not_migrated: u64,
    strays: u64,
}

impl Totals {
    fn add(&mut self, stats: &OfflineStats, result: Result<(), HotplugError>) {
        match result {
            Ok(()) => self.done += 1,
            Err(HotplugError::Signal) => self.signals += 1,
            Err(HotplugError::Busy(_) | HotplugError::Unmovable(_)) => self.busy += 1,
            // Another thread was faster.
            Err(
                HotplugError::Holes(_) | HotplugError::SameState(_) | HotplugError::Poisoned(_),
            ) => return,
        }
        self.tries += 1;
        self.drains += u64::from(stats.drains);
        self.drains_most = self.drains_most.max(u64::from(stats.drains));
        self.passes += u64::from(stats.passes);
        self.passes_most = self.passes_most.max(u64::from(stats.passes));
        self.migrated += u64::from(stats.migrated);
        self.not_migrated += u64::from(stats.migrate_failed);
        self.strays += u64::from(stats.strays);
    }

    fn per_try(&self, what: u64) -> f64 {
        if self.tries == 0 { 0.0 } else { what as f64 / self.tries as f64 }
    }
}

/// Places that wait for a task to free them, and empty ones.
#[derive(Debug, Default)]
struct Inbox {
    filled: Vec<usize>,
    used: u64,
}

#[derive(Debug)]
struct Shared {
    pages: Arc<MovablePages>,
    /// By task.
    inboxes: Vec<Mutex<Inbox>>,
    /// Offlines under way.
    going: AtomicU32,
    totals: Mutex<Totals>,
    /// What the oracle counted, taken at the end of the round.
    handed_out: AtomicU64,
}

struct OfflineScene {
    shared: Arc<Shared>,
    tasks: Vec<TaskSpec>,
}

impl Scene for OfflineScene {
    fn tasks(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.tasks)
    }

    fn figures(&self) -> Vec<(&'static str, f64, &'static str)> {
        let totals = *self.shared.totals.lock();
        let handed_out = self.shared.handed_out.load(Ordering::Relaxed);
        vec![
            ("offlines_done", totals.done as f64, "offlines"),
            ("offlines_signalled", totals.signals as f64, "offlines"),
            ("offlines_busy", totals.busy as f64, "offlines"),
            ("offline_drains_mean", totals.per_try(totals.drains), "drains"),
            ("offline_drains_max", totals.drains_most as f64, "drains"),
            ("offline_passes_mean", totals.per_try(totals.passes), "passes"),
            ("offline_passes_max", totals.passes_most as f64, "passes"),
            ("pages_migrated", totals.migrated as f64, "pages"),
            ("migrations_failed", totals.not_migrated as f64, "tries"),
            ("strays_on_pcplists", totals.strays as f64, "tests"),
            ("isolated-handed-out", handed_out as f64, "pages"),
        ]
    }

    fn remarks(&self) -> Vec<String> {
        let done = self.shared.totals.lock().done;
        match done {
            0 => vec!["no block went offline: this round proves nothing".to_owned()],
            _ => Vec::new(),
        }
    }

    fn finish(&mut self, kernel: &Arc<Kernel>, cx: &Cx) {
        for place in 0..self.shared.pages.len() {
            if let Some(held) = self.shared.pages.take(&kernel.frames, place) {
                kernel.free_pages(cx, held.pfn, held.order);
            }
        }
        *kernel.hotplug.movable.lock() = None;
    }
}

/// A task that allocates and frees.
struct Body {
    shared: Arc<Shared>,
    nid: NodeId,
    /// Places of its own, empty or not.
    own: Vec<usize>,
    /// Its inbox.
    inbox: usize,
    /// The neighbour's inbox and the first of its places.
    to: usize,
    to_first: usize,
    /// Pause between steps: a task that has its CPU to itself all the time leaves the offline
    /// waiting for a turn most of the time.
    think_ns: u64,
    /// A block is pinned if a random u32 is below.
    pinned: u32,
    /// Places that it has emptied before it paused.
    empty: Run,
    random: u64,
}

/// Places in a row, from one of a task's own on.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    first: usize,
    blocks: usize,
}

/// Operations in a round of a step.
const STEP_OPS: usize = 32;
/// Rounds in a step.
const STEP_ROUNDS: usize = 4;

impl Body {
    /// Orders 0 (three of four), 1 to 3, rarely a whole pageblock.
    fn random_order(&mut self) -> u8 {
        let random = next(&mut self.random);
        match (random & 0xfff, random >> 12 & 3) {
            (0, _) => 9,
            (n, order @ 1..=3) if n < 0x400 => order as u8,
            _ => 0,
        }
    }

    fn during(&self) -> bool {
        self.shared.going.load(Ordering::Relaxed) > 0
    }

    fn alloc(&mut self, env: &mut Env<'_>, place: usize) {
        let order = self.random_order();
        let mut gfp = Gfp::HIGHUSER_MOVABLE | Gfp::RETRY_MAYFAIL | Gfp::NOWARN;
        if order > 3 {
            gfp |= Gfp::NORETRY;
        }
        let before = self.during();
        let start = env.recorder.now();
        let page = env.kernel.alloc_pages(env.cx, gfp, order, self.nid, Nodemask::None);
        let Some(pfn) = page else { return env.recorder.record(ALLOC_FAILED, start) };
        let op = if before || self.during() { ALLOC_DURING } else { ALLOC };
        env.recorder.record(op, start);
        let is_pinned = (next(&mut self.random) >> 32) as u32 <= self.pinned && self.pinned > 0;
        self.shared.pages.put(&env.kernel.frames, place, Held { pfn, order, is_pinned });
    }

    fn free(&self, env: &mut Env<'_>, held: Held) {
        let before = self.during();
        let start = env.recorder.now();
        env.kernel.free_pages(env.cx, held.pfn, held.order);
        let op = if before || self.during() { FREE_DURING } else { FREE };
        env.recorder.record(op, start);
    }

    fn take(&self, env: &Env<'_>, place: usize) -> Option<Held> {
        self.shared.pages.take(&env.kernel.frames, place)
    }

    fn replace(&mut self, env: &mut Env<'_>, place: usize) {
        if let Some(held) = self.take(env, place) {
            self.free(env, held);
        }
        self.alloc(env, place);
    }

    /// Frees a run of blocks in a row, then takes as many.
    fn burst(&mut self, env: &mut Env<'_>) {
        let run = self.free_run(env);
        self.fill_run(env, run);
    }

    /// Frees a run of blocks in a row; which.
    fn free_run(&mut self, env: &mut Env<'_>) -> Run {
        let len = self.own.len();
        let first = next(&mut self.random) as usize % len;
        let blocks = (STEP_OPS + next(&mut self.random) as usize % (2 * STEP_OPS)).min(len);
        for i in 0..blocks {
            if let Some(held) = self.take(env, self.own[(first + i) % len]) {
                self.free(env, held);
            }
        }
        Run { first, blocks }
    }

    /// Takes a block into each empty place of a run.
    fn fill_run(&mut self, env: &mut Env<'_>, run: Run) {
        for i in 0..run.blocks {
            let place = self.own[(run.first + i) % self.own.len()];
            if self.shared.pages.peek(place).is_none() {
                self.alloc(env, place);
            }
        }
    }

    /// Gives blocks to the neighbour, who frees them on another CPU.
    fn hand_over(&mut self, env: &mut Env<'_>) {
        for _ in 0..STEP_OPS {
            let place = self.own[next(&mut self.random) as usize % self.own.len()];
            let Some(held) = self.take(env, place) else { continue };
            let mut inbox = self.shared.inboxes[self.to].lock();
            match (!inbox.used).trailing_zeros() as usize {
                INBOX.. => {
                    drop(inbox);
                    self.free(env, held);
                }
                slot => {
                    inbox.used |= 1 << slot;
                    inbox.filled.push(slot);
                    let place = self.to_first + slot;
                    self.shared.pages.put(&env.kernel.frames, place, held);
                }
            }
        }
    }

    /// Frees what the neighbour has given.
    fn take_in(&self, env: &mut Env<'_>) {
        let filled = std::mem::take(&mut self.shared.inboxes[self.inbox].lock().filled);
        let hold = self.own.len();
        let first = self.own[0] + hold;
        for slot in filled {
            let held = self.take(env, first + slot);
            self.shared.inboxes[self.inbox].lock().used &= !(1 << slot);
            if let Some(held) = held {
                self.free(env, held);
            }
        }
    }
}

impl TaskBody for Body {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        if env.kernel.clock.is_aborted() {
            return Step::Done;
        }
        let empty = std::mem::take(&mut self.empty);
        self.fill_run(env, empty);
        for _ in 0..STEP_ROUNDS {
            self.take_in(env);
            match next(&mut self.random) >> 60 {
                0..=7 => {
                    for _ in 0..STEP_OPS {
                        let place = self.own[next(&mut self.random) as usize % self.own.len()];
                        self.replace(env, place);
                    }
                }
                8..=11 => self.burst(env),
                _ => self.hand_over(env),
            }
        }
        // What it frees last lies on the pcplist until somebody wants it.
        self.empty = self.free_run(env);
        if self.think_ns > 0 {
            env.kernel.clock.sleep(self.think_ns);
        }
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        for &place in &self.own {
            if let Some(held) = self.take(env, place) {
                env.kernel.free_pages(env.cx, held.pfn, held.order);
            }
        }
    }
}

/// A thread that takes blocks offline and brings them back.
struct Offliner {
    shared: Arc<Shared>,
    blocks: usize,
    timeout_ns: u64,
    /// What it has taken offline, oldest first.
    mine: Vec<BlockId>,
    random: u64,
}

impl Offliner {
    /// A block that a task has pages in; any, if none is found.
    fn choose(&mut self, kernel: &Kernel) -> Option<BlockId> {
        for _ in 0..64 {
            let place = next(&mut self.random) as usize % self.shared.pages.len();
            let Some(held) = self.shared.pages.peek(place) else { continue };
            if let Some(block) = self.movable_block_of(kernel, held.pfn) {
                return Some(block);
            }
        }
        let zones = kernel.populated_zones().filter(|z| z.idx() == ZoneIdx::Movable);
        let all: Vec<BlockId> = zones.flat_map(|z| kernel.blocks_of_zone(z.id)).collect();
        let at = next(&mut self.random) as usize;
        (!all.is_empty()).then(|| all[at % all.len()])
    }

    fn movable_block_of(&self, kernel: &Kernel, pfn: Pfn) -> Option<BlockId> {
        let zone = kernel.page_zone(pfn)?;
        let block = BlockId(pfn.0 / kernel.machine.block_pages);
        let whole =
            zone.idx() == ZoneIdx::Movable && kernel.blocks_of_zone(zone.id).contains(&block);
        whole.then_some(block)
    }

    fn offline(&mut self, env: &mut Env<'_>, block: BlockId) {
        let process = &env.cx.task.process;
        let Ktime(now) = env.kernel.clock.now();
        process.alarm_ns.store(now + self.timeout_ns, Ordering::Relaxed);
        self.shared.going.fetch_add(1, Ordering::Relaxed);
        let mut stats = OfflineStats::default();
        let start = env.recorder.now();
        let result = env.kernel.offline_pages_noting(env.cx, block, &mut stats);
        env.recorder.record(if result.is_ok() { OFFLINE } else { OFFLINE_FAILED }, start);
        self.shared.going.fetch_sub(1, Ordering::Relaxed);
        env.cx.task.process.alarm_ns.store(0, Ordering::Relaxed);
        self.shared.totals.lock().add(&stats, result);
        if result.is_ok() {
            self.mine.push(block);
        }
    }

    fn online_oldest(&mut self, env: &mut Env<'_>) {
        let block = self.mine.remove(0);
        let online = env.time(ONLINE, |kernel, cx| kernel.online_pages(cx, block));
        debug_assert_eq!(online, Ok(()), "block {} was ours", block.0);
    }
}

impl TaskBody for Offliner {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        if env.kernel.clock.is_aborted() {
            return Step::Done;
        }
        if self.mine.len() >= self.blocks {
            self.online_oldest(env);
        } else if let Some(block) = self.choose(env.kernel) {
            self.offline(env, block);
        }
        // The tasks get to fill what has come back before the next one goes.
        env.kernel.clock.sleep(200_000);
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        while !self.mine.is_empty() {
            self.online_oldest(env);
        }
        let findings = &env.kernel.findings;
        let handed_out = findings.nr(FindingKind::IsolatedHandedOut);
        self.shared.handed_out.store(handed_out, Ordering::Relaxed);
    }
}
