//! page-alloc: steady allocation and freeing of page blocks, the speed baseline.
//!
//! **What.** The patterns of page-allocator papers and of mmtests, so that users can hold the model
//! beside them: LLFree's repeat, bulk and rand; the non-blocking buddy's linux-scalability,
//! thread-test, constant-occupancy and cached-allocation; producer and consumer on different CPUs.
//!
//! **Why.** A slow model would hide the latencies that it is meant to compare.
//!
//! **Differs.** Tasks have no address space: requests are `alloc_pages(GFP_HIGHUSER_MOVABLE)`.

use allocator::gfp::Gfp;
use allocator::ids::{CpuId, MAX_PAGE_ORDER, NodeId, Pfn};
use allocator::machine::Machine;
use allocator::page_alloc::Nodemask;
use allocator::policy::Policy;
use allocator::run::kernel::Kernel;
use allocator::run::task::Cx;
use allocator::sync::{Arc, Mutex};

use crate::{
    Env, Info, Movable, OptionKind, OptionSpec, Options, Scene, Step, TaskBody, TaskSpec, Workload,
    WorkloadError,
};

const ALLOC: usize = 0;
const FREE: usize = 1;
const FAILED: usize = 2;

/// Patterns by their command-line words; aliases behind the first word mean the same.
const PATTERNS: &[&str] = &[
    "repeat",
    "bulk",
    "rand-free",
    "churn",
    "mixed",
    "producer-consumer",
    "linux-scalability",
    "thread-test",
    "constant-occupancy",
    "cached-allocation",
];

/// The workload.
#[derive(Clone, Copy, Debug)]
pub struct PageAlloc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    /// Free what was just allocated.
    Repeat,
    /// Fill a batch, then empty it, last in first out.
    Bulk,
    /// Fill a batch, then free it in random order.
    RandFree,
    /// Hold a batch and replace one block at random.
    Churn,
    /// As churn, with orders 0 to 9.
    Mixed,
    /// One task allocates, its neighbour frees.
    ProducerConsumer,
}

impl Pattern {
    fn from_word(word: &str) -> Self {
        match word {
            "bulk" | "thread-test" => Self::Bulk,
            "rand-free" => Self::RandFree,
            "churn" | "constant-occupancy" => Self::Churn,
            "mixed" => Self::Mixed,
            "producer-consumer" => Self::ProducerConsumer,
            // repeat, linux-scalability, cached-allocation
            _ => Self::Repeat,
        }
    }
}

impl Workload for PageAlloc {
    fn info(&self) -> &'static Info {
        &Info {
            name: "page-alloc",
            about: "steady alloc and free of page blocks: the speed baseline",
            axes: &["pcp"],
            primary: &["alloc.ops_per_s", "alloc.mid_ns", "alloc.p99_ns", "free.mid_ns"],
            ops: &["alloc", "free", "alloc_failed"],
            options: &[
                OptionSpec {
                    name: "pattern",
                    value: "PATTERN",
                    kind: OptionKind::Choice(PATTERNS),
                    default: "repeat",
                    help: "in which order blocks are taken and given back",
                },
                OptionSpec {
                    name: "order",
                    value: "N",
                    kind: OptionKind::Count,
                    default: "0",
                    help: "order of the blocks, 0 to 10",
                },
                OptionSpec {
                    name: "batch",
                    value: "N",
                    kind: OptionKind::Count,
                    default: "512",
                    help: "blocks that a task holds in bulk, rand-free, churn and mixed",
                },
                OptionSpec {
                    name: "fill",
                    value: "SHARE",
                    kind: OptionKind::Share,
                    default: "0",
                    help: "share of memory that is in use before the start (0.5 or 50%)",
                },
            ],
            nodes: 1,
            movable: Movable::None,
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
        let order = options.number("order").unwrap_or(0);
        if order > u64::from(MAX_PAGE_ORDER) {
            return Err(WorkloadError::Usage(format!(
                "--order {order}: blocks have orders 0 to {MAX_PAGE_ORDER}"
            )));
        }
        let fill = options.share("fill");
        if !(0.0..1.0).contains(&fill) {
            return Err(WorkloadError::Usage(format!(
                "--fill {fill}: want a share from 0 to below 1, such as 0.5 or 50%"
            )));
        }
        let batch = options.number("batch").unwrap_or(0);
        if batch == 0 {
            return Err(WorkloadError::Usage(
                "--batch 0: a task holds at least 1 block".to_owned(),
            ));
        }
        let wanted = (u64::from(threads) * batch) << order;
        let free = machine.managed_pages() as f64 * (1.0 - fill);
        if wanted as f64 > free * 0.9 {
            return Err(WorkloadError::Usage(format!(
                "{threads} tasks with {batch} blocks of order {order} need {wanted} pages, \
                 the machine has {free:.0} free: take a smaller --batch or --fill"
            )));
        }
        Ok(())
    }

    fn scene(
        &self,
        kernel: &Arc<Kernel>,
        cx: &Cx,
        options: &Options,
        threads: u32,
        seed: u64,
    ) -> Result<Box<dyn Scene>, WorkloadError> {
        let mut scene = PageAllocScene {
            filler: Vec::new(),
            tasks: Vec::new(),
            channels: (0..threads).map(|_| Arc::default()).collect(),
        };
        scene.fill(kernel, cx, options.share("fill"));
        let pattern = Pattern::from_word(options.text("pattern"));
        let process = kernel.new_process("page-alloc", 0);
        let nr_cpus = kernel.cpus.len() as u32;
        for n in 0..threads {
            let cpu = CpuId((n % nr_cpus) as u16);
            let body = Body {
                pattern,
                order: options.number("order").unwrap_or(0) as u8,
                batch: options.number("batch").unwrap_or(1) as usize,
                nid: kernel.cpu_node(cpu),
                held: Vec::new(),
                random: seed ^ (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
                out: Arc::clone(&scene.channels[n as usize]),
                inbox: Arc::clone(&scene.channels[((n + threads - 1) % threads) as usize]),
            };
            scene
                .tasks
                .push(TaskSpec { task: kernel.new_task(&process, cpu, 0), body: Box::new(body) });
        }
        Ok(Box::new(scene))
    }
}

/// Blocks on their way from a producer to its consumer.
type Channel = Arc<Mutex<Vec<(Pfn, u8)>>>;

struct PageAllocScene {
    filler: Vec<(Pfn, u8)>,
    tasks: Vec<TaskSpec>,
    channels: Vec<Channel>,
}

impl PageAllocScene {
    /// Takes a share of every node's memory, in the largest blocks.
    fn fill(&mut self, kernel: &Arc<Kernel>, cx: &Cx, share: f64) {
        for node in &kernel.machine.nodes {
            let managed: u64 = node.zones.iter().map(|z| z.managed_pages).sum();
            let mut left = (managed as f64 * share) as u64;
            let mut order = MAX_PAGE_ORDER;
            while left > 0 {
                while order > 0 && 1u64 << order > left {
                    order -= 1;
                }
                let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::THISNODE | Gfp::NORETRY;
                match kernel.alloc_pages(cx, gfp, order, node.id, Nodemask::None) {
                    Some(pfn) => {
                        self.filler.push((pfn, order));
                        left = left.saturating_sub(1 << order);
                    }
                    None if order > 0 => order -= 1,
                    None => break,
                }
            }
        }
    }
}

impl Scene for PageAllocScene {
    fn tasks(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.tasks)
    }

    fn finish(&mut self, kernel: &Arc<Kernel>, cx: &Cx) {
        for (pfn, order) in self.filler.drain(..) {
            kernel.free_pages(cx, pfn, order);
        }
        for channel in &self.channels {
            for (pfn, order) in channel.lock().drain(..) {
                kernel.free_pages(cx, pfn, order);
            }
        }
    }
}

struct Body {
    pattern: Pattern,
    order: u8,
    batch: usize,
    nid: NodeId,
    held: Vec<(Pfn, u8)>,
    random: u64,
    out: Channel,
    inbox: Channel,
}

/// Operations in a step of the patterns that have no batch of their own.
const STEP_OPS: usize = 64;
/// Blocks that may wait for a consumer.
const CHANNEL_BLOCKS: usize = 1024;

impl Body {
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn alloc(&self, env: &mut Env<'_>, order: u8) -> Option<(Pfn, u8)> {
        let nid = self.nid;
        let start = env.recorder.now();
        let gfp = Gfp::HIGHUSER_MOVABLE;
        match env.kernel.alloc_pages(env.cx, gfp, order, nid, Nodemask::None) {
            Some(pfn) => {
                env.recorder.record(ALLOC, start);
                Some((pfn, order))
            }
            None => {
                env.recorder.record(FAILED, start);
                None
            }
        }
    }

    fn free(env: &mut Env<'_>, (pfn, order): (Pfn, u8)) {
        env.time(FREE, |kernel, cx| kernel.free_pages(cx, pfn, order));
    }

    fn fill_batch(&mut self, env: &mut Env<'_>) {
        while self.held.len() < self.batch {
            match self.alloc(env, self.order) {
                Some(block) => self.held.push(block),
                None => break,
            }
        }
    }

    fn replace_one(&mut self, env: &mut Env<'_>, order: u8) {
        if !self.held.is_empty() {
            let at = self.random() as usize % self.held.len();
            Self::free(env, self.held.swap_remove(at));
        }
        if let Some(block) = self.alloc(env, order) {
            self.held.push(block);
        }
    }

    /// An order from 0 to 9, each half as likely as the one below it.
    fn random_order(&mut self) -> u8 {
        (self.random().trailing_ones() as u8).min(9)
    }
}

impl TaskBody for Body {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        match self.pattern {
            Pattern::Repeat => {
                for _ in 0..STEP_OPS {
                    if let Some(block) = self.alloc(env, self.order) {
                        Self::free(env, block);
                    }
                }
            }
            Pattern::Bulk => {
                self.fill_batch(env);
                while let Some(block) = self.held.pop() {
                    Self::free(env, block);
                }
            }
            Pattern::RandFree => {
                self.fill_batch(env);
                while !self.held.is_empty() {
                    let at = self.random() as usize % self.held.len();
                    Self::free(env, self.held.swap_remove(at));
                }
            }
            Pattern::Churn => {
                self.fill_batch(env);
                for _ in 0..STEP_OPS {
                    self.replace_one(env, self.order);
                }
            }
            Pattern::Mixed => {
                self.fill_batch(env);
                for _ in 0..STEP_OPS {
                    let order = self.random_order();
                    self.replace_one(env, order);
                }
            }
            Pattern::ProducerConsumer => {
                let waiting: Vec<_> = std::mem::take(&mut *self.inbox.lock());
                for block in waiting {
                    Self::free(env, block);
                }
                if self.out.lock().len() < CHANNEL_BLOCKS {
                    for _ in 0..STEP_OPS {
                        if let Some(block) = self.alloc(env, self.order) {
                            self.held.push(block);
                        }
                    }
                    self.out.lock().append(&mut self.held);
                } else {
                    allocator::sync::yield_now();
                }
            }
        }
        Step::Continue
    }

    fn finish(&mut self, env: &mut Env<'_>) {
        for (pfn, order) in self.held.drain(..) {
            env.kernel.free_pages(env.cx, pfn, order);
        }
    }
}
