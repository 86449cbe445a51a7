//! Model CPUs: what belongs to a CPU and not to a zone or task.
//!
//! **What.** The CPU's node, its interrupt section, event counters without a pcp section to live
//! in, pending interrupts, and work queued to run *on* this CPU (drains up to 5.19).
//!
//! **Differs.** "Interrupts off" is the CPU's section lock (ARCHITECTURE.md#the-execution-model):
//! an interrupt is delivered on the stack of the task that is on the CPU, and only if the lock can
//! be taken.

use crate::ids::{CpuId, MAX_NR_ZONES, NodeId};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use crate::sync::lock::named;
use crate::sync::{Arc, Condvar, Lock, Mutex};

/// Event counters by their /proc/vmstat names; each CPU writes its own.
#[derive(Debug, Default)]
pub struct VmEvents {
    /// pgalloc_dma, _dma32, _normal, _movable: what came past the pcplists.
    pub pgalloc: [AtomicU64; MAX_NR_ZONES],
    /// pgfree: what went past the pcplists.
    pub pgfree: AtomicU64,
    /// numa_hit.
    pub numa_hit: AtomicU64,
    /// numa_miss.
    pub numa_miss: AtomicU64,
    /// numa_local.
    pub numa_local: AtomicU64,
    /// numa_other.
    pub numa_other: AtomicU64,
    /// numa_interleave.
    pub numa_interleave: AtomicU64,
    /// allocstall_dma, _dma32, _normal, _movable.
    pub allocstall: [AtomicU64; MAX_NR_ZONES],
    /// pgscan_direct.
    pub pgscan_direct: AtomicU64,
    /// pgsteal_direct.
    pub pgsteal_direct: AtomicU64,
    /// pgscan_kswapd.
    pub pgscan_kswapd: AtomicU64,
    /// pgsteal_kswapd.
    pub pgsteal_kswapd: AtomicU64,
    /// pgscan_direct_throttle.
    pub pgscan_direct_throttle: AtomicU64,
    /// pageoutrun.
    pub pageoutrun: AtomicU64,
    /// pswpin.
    pub pswpin: AtomicU64,
    /// pswpout.
    pub pswpout: AtomicU64,
    /// pgfault.
    pub pgfault: AtomicU64,
    /// pgmigrate_success.
    pub pgmigrate_success: AtomicU64,
    /// pgmigrate_fail.
    pub pgmigrate_fail: AtomicU64,
    /// oom_kill.
    pub oom_kill: AtomicU64,
    /// compact_stall.
    pub compact_stall: AtomicU64,
    /// compact_fail.
    pub compact_fail: AtomicU64,
    /// compact_success.
    pub compact_success: AtomicU64,
    /// drain_all_pages calls (no kernel name).
    pub drain_all: AtomicU64,
    /// Blocks taken from another type's lists (mm_page_alloc_extfrag events).
    pub extfrag: AtomicU64,
    /// Pageblocks claimed by that.
    pub extfrag_claimed: AtomicU64,
}

/// Work for a CPU's thread.
pub type Work = Box<dyn FnOnce(&crate::run::kernel::Kernel, &crate::run::task::Cx) + Send>;

/// A piece of work that somebody may wait for (`flush_work`).
#[derive(Debug, Default)]
pub struct Completion {
    done: Mutex<u32>,
    wake: Condvar,
}

impl Completion {
    /// One more piece is done.
    pub fn complete(&self) {
        *self.done.lock() += 1;
        self.wake.notify_all();
    }

    /// Waits until `pieces` are done, or `give_up` says so (asked every 10 ms).
    pub fn wait(&self, pieces: u32, give_up: impl Fn() -> bool) {
        let mut done = self.done.lock();
        while *done < pieces && !give_up() {
            let deadline = crate::sync::monotonic_ns() + 10_000_000;
            self.wake.wait_until(&mut done, deadline);
        }
    }
}

/// The CPU's queue of work and the bell of its thread.
#[derive(Default)]
pub struct WorkQueue {
    queue: Mutex<Vec<(Work, Arc<Completion>)>>,
    bell: Condvar,
}

impl std::fmt::Debug for WorkQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkQueue").field("queued", &self.queue.lock().len()).finish()
    }
}

impl WorkQueue {
    /// Queues work and wakes the CPU's thread.
    pub fn queue(&self, work: Work, done: &Arc<Completion>) {
        self.queue.lock().push((work, Arc::clone(done)));
        self.bell.notify_all();
    }

    /// Takes everything that is queued.
    pub fn take(&self) -> Vec<(Work, Arc<Completion>)> {
        std::mem::take(&mut *self.queue.lock())
    }

    /// Sleeps until work is queued or [`WorkQueue::ring`] is called.
    pub fn wait(&self, stop: impl Fn() -> bool) {
        let mut queue = self.queue.lock();
        while queue.is_empty() && !stop() {
            self.bell.wait(&mut queue);
        }
    }

    /// Wakes the thread without work, to look at its stop condition.
    pub fn ring(&self) {
        let _queue = self.queue.lock();
        self.bell.notify_all();
    }
}

/// A model CPU.
#[derive(Debug)]
#[repr(align(128))]
pub struct Cpu {
    /// Its number.
    pub id: CpuId,
    /// Its node.
    pub node: NodeId,
    /// Is it online?
    pub online: AtomicBool,
    /// "Interrupts off": held by code outside pcp sections that runs with interrupts off, and by
    /// the handler of an interrupt.
    pub irq_section: Lock<named::Irq, ()>,
    /// Interrupts that are due.
    pub pending_irqs: AtomicU32,
    /// Work to run on this CPU.
    pub work: WorkQueue,
    /// Does the CPU have a thread that runs its work? Without one, queued work is run by whoever
    /// waits for it (small tests).
    pub has_thread: AtomicBool,
    /// Event counters.
    pub vm: VmEvents,
}

impl Cpu {
    /// An online CPU.
    pub fn new(id: CpuId, node: NodeId) -> Self {
        Self {
            id,
            node,
            online: AtomicBool::new(true),
            irq_section: Lock::new(()),
            pending_irqs: AtomicU32::new(0),
            work: WorkQueue::default(),
            has_thread: AtomicBool::new(false),
            vm: VmEvents::default(),
        }
    }
}
