//! J.2: the reaper and exit_mmap share a dying address space.
//!
//! **Tasks** bear J.2's letters: V the victim's last thread, R the reaper, K an allocator that would
//! kill again, X a helper that holds mm_users or calls process_mrelease.
//!
//! **One family a world.** Several families end in an extra victim; a world keeps only those whose
//! MMF_OOM_SKIP was set in the way that its family is about, the others are another world's.
//!
//! **Smaller than life**: victims of a few pages, a batch of one page where the teardown has to be
//! met half-way, fast paths without race points (the steps P are J.5's subject).

use allocator::gfp::Gfp;
use allocator::ids::{CpuId, MAX_PAGE_ORDER, NodeId};
use allocator::mm::{Fault, Mm, SkipBy, VmFlags};
use allocator::oracle::FindingKind;
use allocator::page_alloc::Nodemask;
use allocator::policy::{Family, Policy};
use allocator::run::clock::NS_PER_MS;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Process};
use allocator::sync::Arc;

use super::{Outcome, World, boot, join, small_config, small_machine, start};

/// The worlds of this axis.
pub const WORLDS: &[World] = &[
    World {
        family: Family::J2a,
        about: "the reaper comes between the last mmput and the teardown",
        shows: &["extra-victim"],
        // J.7 counts three; the reaper's end and the killer's are no preemptions.
        switches: 1,
        run: reaper_after_mmput,
    },
    World {
        family: Family::J2b,
        about: "the teardown takes longer than the reaper's ten tries",
        shows: &["extra-victim"],
        switches: 0,
        run: slow_teardown,
    },
    World {
        family: Family::J2c,
        about: "the last mmput comes from a task that is no victim",
        shows: &["use-after-free"],
        switches: 2,
        run: foreign_mmput,
    },
    World {
        family: Family::J2d,
        about: "the reaper walks what munlock is working on",
        shows: &["use-after-free"],
        switches: 2,
        run: munlock,
    },
    World {
        family: Family::J2e,
        about: "most of the victim is mlocked, and it reaps itself first",
        shows: &["extra-victim"],
        switches: 1,
        run: mlocked_victim,
    },
    World {
        family: Family::J2f,
        about: "process_mrelease of a process that dies without the OOM killer",
        shows: &["use-after-free"],
        switches: 1,
        run: mrelease,
    },
    World {
        family: Family::J2g,
        about: "the reaper frees the victim's memory between the last look and the victim search",
        shows: &["late-kill"],
        switches: 2,
        run: late_look_reaper,
    },
    World {
        family: Family::J2gExit,
        about: "the victim frees its memory between the last look and the victim search",
        shows: &["late-kill"],
        switches: 3,
        run: late_look_exit,
    },
    World {
        family: Family::J2h,
        about: "a thread of the victim holds mmap_lock for writing",
        shows: &["unreapable"],
        switches: 0,
        run: writer_inside,
    },
];

/// A node with one CPU.
pub(super) const NODE: NodeId = NodeId(0);

pub(super) fn config() -> KernelConfig {
    KernelConfig { instrumented: false, ..small_config() }
}

/// A process of one thread with an address space of its own, and `pages` written pages in it.
pub(super) struct Proc {
    pub(super) cx: Cx,
    pub(super) mm: Arc<Mm>,
}

impl Proc {
    pub(super) fn new(kernel: &Kernel, comm: &str, adj: i32, pages: u32) -> Self {
        let (task, mm) = kernel.new_user_process(comm, adj, CpuId(0));
        let own = Self { cx: Cx::new(task, 1), mm };
        own.map(kernel, pages, VmFlags::STACK);
        own
    }

    fn map(&self, kernel: &Kernel, pages: u32, flags: VmFlags) {
        if pages == 0 {
            return;
        }
        let start = kernel.mmap(&self.cx, &self.mm, pages, flags, None).expect("room for an area");
        for n in 0..pages {
            let fault = kernel.access(&self.cx, &self.mm, start.plus(n), true);
            assert_eq!(fault, Fault::Mapped, "the world has memory while it is set up");
        }
    }

    pub(super) fn process(&self) -> Arc<Process> {
        Arc::clone(&self.cx.task.process)
    }
}

/// A full node, a victim V that the OOM killer has just chosen, K who would choose the next one, and
/// W who would be it.
struct Storm {
    kernel: Arc<Kernel>,
    v: Proc,
    k: Cx,
}

impl Storm {
    /// V has `pages` plain pages and `locked` mlocked ones.
    fn new(policy: Policy, config: KernelConfig, pages: u32, locked: u32) -> Self {
        let kernel = boot(small_machine(1, 2048), policy, config);
        let v = Proc::new(&kernel, "V", 0, pages);
        v.map(&kernel, locked, VmFlags::LOCKED);
        let w = Proc::new(&kernel, "W", 0, 1);
        let k = Proc::new(&kernel, "K", -1000, 0).cx;
        kernel.lru_add_drain_all(&k);
        for order in (0..=MAX_PAGE_ORDER).rev() {
            while kernel.alloc_pages(&k, FILL, order, NODE, Nodemask::None).is_some() {}
        }
        wants_memory(&kernel, &k);
        assert!(v.process().is_killed() && !w.process().is_killed(), "V is the largest");
        // The delay that some reapers give a victim is over when the tasks start.
        kernel.clock.sleep(2_000 * NS_PER_MS);
        Self { kernel, v, k }
    }

    /// What the families are told apart by: keeps extra victims only if SKIP was set like this.
    fn keep_those_of(kernel: &Kernel, mm: &Mm, by: SkipBy) {
        for finding in kernel.findings.take() {
            if finding.kind != FindingKind::ExtraVictim || mm.skip_by() == by {
                kernel.findings.keep(finding);
            }
        }
    }
}

/// Takes pages without reclaim and without a word.
pub(super) const FILL: Gfp = Gfp::KERNEL.difference(Gfp::RECLAIM).union(Gfp::NOWARN);

/// A request at S19b: who is killed now, if anybody?
pub(super) fn wants_memory(kernel: &Kernel, cx: &Cx) {
    let (page, _) = kernel.oom_step(cx, Gfp::HIGHUSER_MOVABLE, NODE, Nodemask::None);
    if let Some(pfn) = page {
        kernel.free_pages(cx, pfn, 0);
    }
}

pub(super) fn reaper(kernel: &Kernel) -> Cx {
    kernel.kernel_thread("oom_reaper", CpuId(0))
}

pub(super) fn reap(kernel: &Arc<Kernel>, cx: &Cx) {
    kernel.run_oom_reaper(cx);
}

pub(super) fn exit(kernel: &Arc<Kernel>, cx: &Cx) {
    kernel.do_exit(cx);
}

fn reaper_after_mmput(policy: Policy) -> Outcome {
    let Storm { kernel, v, k } = Storm::new(policy, config(), 2, 0);
    let r = reaper(&kernel);
    let mm = v.mm;
    let tasks = vec![
        start(&kernel, "V", v.cx, exit),
        start(&kernel, "R", r, reap),
        start(&kernel, "K", k, |kernel, cx| wants_memory(kernel, cx)),
    ];
    join(tasks);
    Storm::keep_those_of(&kernel, &mm, SkipBy::ReaperNoUsers);
    Outcome { kernel }
}

/// A second to unmap a page, and a batch of one page.
fn slow_teardown(policy: Policy) -> Outcome {
    let slow = KernelConfig { gather_pages: 1, ..config() };
    let slow = KernelConfig { unmap_ns_per_page: 1_000 * NS_PER_MS, ..slow };
    let Storm { kernel, v, k } = Storm::new(policy, slow, 3, 0);
    let r = reaper(&kernel);
    let mm = v.mm;
    let tasks = vec![
        start(&kernel, "V", v.cx, exit),
        start(&kernel, "R", r, reap),
        start(&kernel, "K", k, |kernel, cx| {
            // When the reaper has given up, if it has to.
            kernel.clock.sleep(1_500 * NS_PER_MS);
            wants_memory(kernel, cx);
        }),
    ];
    join(tasks);
    Storm::keep_those_of(&kernel, &mm, SkipBy::ReaperKeptOutByExit);
    Outcome { kernel }
}

/// V is done with its mm, X drops the last reference while R walks.
fn foreign_mmput(policy: Policy) -> Outcome {
    let Storm { kernel, v, .. } = Storm::new(policy, config(), 2, 0);
    let r = reaper(&kernel);
    let x = kernel.kernel_thread("X", CpuId(0));
    assert!(v.mm.mmget_not_zero(), "V has not exited yet");
    kernel.do_exit(&v.cx);
    let mm = v.mm;
    let tasks = vec![
        start(&kernel, "X", x, move |kernel, cx| kernel.mmput(cx, mm)),
        start(&kernel, "R", r, reap),
    ];
    join(tasks);
    Outcome { kernel }
}

fn munlock(policy: Policy) -> Outcome {
    let Storm { kernel, v, .. } = Storm::new(policy, config(), 1, 2);
    let r = reaper(&kernel);
    let tasks = vec![start(&kernel, "V", v.cx, exit), start(&kernel, "R", r, reap)];
    join(tasks);
    Outcome { kernel }
}

fn mlocked_victim(policy: Policy) -> Outcome {
    let Storm { kernel, v, k } = Storm::new(policy, config(), 1, 3);
    let mm = v.mm;
    let tasks = vec![
        start(&kernel, "V", v.cx, exit),
        start(&kernel, "K", k, |kernel, cx| wants_memory(kernel, cx)),
    ];
    join(tasks);
    Storm::keep_those_of(&kernel, &mm, SkipBy::ExitBeforeUnmap);
    Outcome { kernel }
}

/// Pages of a victim whose memory the last look would find if it were free: more than a pcplist keeps and
/// lies between the min and the high mark.
const PAGES_SEEN: u32 = 256;

fn late_look_reaper(policy: Policy) -> Outcome {
    let Storm { kernel, v, k } = Storm::new(policy, config(), PAGES_SEEN, 0);
    let r = reaper(&kernel);
    let tasks = vec![
        start(&kernel, "R", r, reap),
        start(&kernel, "K", k, |kernel, cx| wants_memory(kernel, cx)),
    ];
    join(tasks);
    kernel.do_exit(&v.cx);
    Outcome { kernel }
}

/// The reaper may come, too late to find anything: where exit_mmap itself hides nothing it is R7
/// that does.
fn late_look_exit(policy: Policy) -> Outcome {
    let one_batch = KernelConfig { gather_pages: 2 * PAGES_SEEN, ..config() };
    let Storm { kernel, v, k } = Storm::new(policy, one_batch, PAGES_SEEN, 0);
    let r = reaper(&kernel);
    let tasks = vec![
        start(&kernel, "V", v.cx, exit),
        start(&kernel, "R", r, reap),
        start(&kernel, "K", k, |kernel, cx| wants_memory(kernel, cx)),
    ];
    join(tasks);
    Outcome { kernel }
}

/// The thread waits for memory there, say: it comes only when another victim has died.
fn writer_inside(policy: Policy) -> Outcome {
    let Storm { kernel, v, k } = Storm::new(policy, config(), 2, 0);
    let r = reaper(&kernel);
    let mm = Arc::clone(&v.mm);
    let tasks = vec![
        start(&kernel, "V", v.cx, move |kernel, cx| {
            {
                let _areas = mm.mmap_write_lock();
                kernel.clock.sleep(3_000 * NS_PER_MS);
            }
            kernel.do_exit(cx);
        }),
        start(&kernel, "R", r, reap),
        start(&kernel, "K", k, |kernel, cx| {
            kernel.clock.sleep(1_500 * NS_PER_MS);
            wants_memory(kernel, cx);
        }),
    ];
    join(tasks);
    Outcome { kernel }
}

fn mrelease(policy: Policy) -> Outcome {
    let kernel = boot(small_machine(1, 2048), policy, config());
    let v = Proc::new(&kernel, "V", 0, 2);
    let x = kernel.kernel_thread("X", CpuId(0));
    v.process().kill();
    let process = v.process();
    let tasks = vec![
        start(&kernel, "V", v.cx, exit),
        start(&kernel, "X", x, move |kernel, cx| {
            // A release without the call, or a process that is gone, is an answer too.
            let _ = kernel.process_mrelease(cx, &process);
        }),
    ];
    join(tasks);
    Outcome { kernel }
}
