//! Tasks and processes (`task_struct`, `signal_struct`), and the context in which code runs.
//!
//! **What.** What the allocator reads of the task that calls it: mems_allowed and its sequence
//! counter, the task mempolicy, the mm, PF_ flags, the OOM-victim mark (docs/kernel/cpusets.md#c1,
//! oom.md#e6).
//!
//! **Why two structs.** A [`Task`] is what others see of a thread; a [`Cx`] is what only the thread
//! itself uses (`current`, the CPU that it is on, its counters): no lock and no atomic needed.
//!
//! **Differs.** A thread group is a [`Process`] with its threads in a list; there is no pid
//! namespace, no credentials but a uid.

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::cpuset::Cpuset;
use crate::ids::{CpuId, ZoneId};
use crate::mempolicy::Mempolicy;
use crate::mm::Mm;
use crate::nodemask::{AtomicNodeMask, NodeMask};
use crate::oracle::RequestLog;
use crate::policy::cpuset::CpusetCx;
use crate::policy::cpuset::swap::Allowed;
use crate::race::Point;
use crate::race::timeline::EventRing;
use crate::race::window::{NR_WINDOWS, OpenWindows};
use crate::run::clock::Ktime;
use crate::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use crate::sync::lock::named;
use crate::sync::{self, Arc, Condvar, Lock, Mutex, SeqCount, Weak};

/// PF_ and TIF_ flags of a task.
pub mod pf {
    /// Is exiting (PF_EXITING).
    pub const EXITING: u32 = 1 << 0;
    /// Kernel thread (PF_KTHREAD): has no mm, is never killed.
    pub const KTHREAD: u32 = 1 << 1;
    /// May use all reserves (PF_MEMALLOC): it reclaims.
    pub const MEMALLOC: u32 = 1 << 2;
    /// Allocates without __GFP_FS (PF_MEMALLOC_NOFS).
    pub const MEMALLOC_NOFS: u32 = 1 << 3;
    /// Allocates without __GFP_IO and __GFP_FS (PF_MEMALLOC_NOIO).
    pub const MEMALLOC_NOIO: u32 = 1 << 4;
    /// Is dumping core (PF_DUMPCORE): gets no OOM kill.
    pub const DUMPCORE: u32 = 1 << 5;
    /// Workqueue worker (PF_WQ_WORKER): sleeps a tick in should_reclaim_retry.
    pub const WQ_WORKER: u32 = 1 << 6;
    /// The thread was marked by mark_oom_victim (TIF_MEMDIE).
    pub const TIF_MEMDIE: u32 = 1 << 7;
    /// Real-time scheduling class.
    pub const RT: u32 = 1 << 8;
    /// Will give back much when killed (oom_task_origin: swapoff, KSM unmerge).
    pub const OOM_ORIGIN: u32 = 1 << 9;
}

/// A thread group.
#[derive(Debug)]
pub struct Process {
    /// Thread group id.
    pub tgid: u32,
    /// Command name.
    pub comm: String,
    /// Owner, as the OOM report prints it.
    pub uid: u32,
    /// -1000 (never killed) to 1000.
    pub oom_score_adj: AtomicI32,
    /// The threads that have not been reaped by wait, leader first.
    pub threads: Mutex<Vec<Arc<Task>>>,
    /// A SIGKILL is queued to the group (SIGNAL_GROUP_EXIT).
    group_exit: AtomicBool,
    /// A signal that is not fatal is pending (for -EINTR).
    pub signal: AtomicBool,
    /// From this model time on SIGALRM is pending (`setitimer`); 0: never.
    pub alarm_ns: AtomicU64,
    /// `signal->oom_mm`: set once, never cleared; keeps mm_count.
    oom_mm: Mutex<Option<Arc<Mm>>>,
    /// Is oom_mm set? Read without the lock by every pass of S9.
    is_oom_victim: AtomicBool,
    /// When the group was killed, in model ns (0: never); for "time from kill to memory freed".
    pub killed_at_ns: AtomicU64,
}

/// What task_lock (`alloc_lock`) guards.
#[derive(Debug, Default)]
pub struct TaskLocked {
    /// The address space; None for kernel threads and after exit_mm.
    pub mm: Option<Arc<Mm>>,
    /// The task mempolicy. Only the task itself changes the pointer; cpuset code rewrites the
    /// contents in place under this lock and mems_allowed_seq.
    pub mempolicy: Option<Arc<Mempolicy>>,
    /// `cpuset=swap`: what the task may use, as one snapshot.
    pub allowed: Option<Arc<Allowed>>,
}

/// A thread.
#[derive(Debug)]
pub struct Task {
    /// Thread id.
    pub pid: u32,
    /// Its thread group.
    pub process: Arc<Process>,
    /// Nodes that it may allocate from. Written in place by cpuset code under task_lock and
    /// mems_allowed_seq; read unlocked by the task.
    pub mems_allowed: AtomicNodeMask,
    /// Odd while mems_allowed and the task policy are rewritten.
    pub mems_allowed_seq: SeqCount,
    /// `cpuset=swap`: number of the newest snapshot, 0 before the first.
    pub allowed_generation: AtomicU32,
    /// task_lock.
    pub alloc_lock: Lock<named::Task, TaskLocked>,
    /// [`pf`] flags. Others read them; only TIF_MEMDIE is set by others.
    pub flags: AtomicU32,
    /// The cpuset; changed by attach under cpuset_mutex.
    pub cpuset: Mutex<Arc<Cpuset>>,
    /// The CPU that it runs on.
    pub cpu: AtomicU32,
    /// Its last events.
    pub events: EventRing,
    /// Where it waits, for the watchdog: a [`Point`] + 1, or 0.
    pub waits_at: AtomicU32,
}

impl Process {
    /// A process without threads.
    pub fn new(tgid: u32, comm: &str, oom_score_adj: i32) -> Arc<Self> {
        Arc::new(Self {
            tgid,
            comm: comm.to_owned(),
            uid: 0,
            oom_score_adj: AtomicI32::new(oom_score_adj),
            threads: Mutex::new(Vec::new()),
            group_exit: AtomicBool::new(false),
            signal: AtomicBool::new(false),
            alarm_ns: AtomicU64::new(0),
            oom_mm: Mutex::new(None),
            is_oom_victim: AtomicBool::new(false),
            killed_at_ns: AtomicU64::new(0),
        })
    }

    /// Is a SIGKILL queued (SIGNAL_GROUP_EXIT, fatal_signal_pending)?
    pub fn is_killed(&self) -> bool {
        self.group_exit.load(Ordering::Relaxed)
    }

    /// Is any signal pending at `now`, fatal or not (signal_pending)?
    pub fn has_signal(&self, now: Ktime) -> bool {
        let alarm = self.alarm_ns.load(Ordering::Relaxed);
        self.signal.load(Ordering::Relaxed) || self.is_killed() || alarm != 0 && now.0 >= alarm
    }

    /// Sends SIGKILL to the group.
    pub fn kill(&self) {
        self.group_exit.store(true, Ordering::Relaxed);
    }

    /// Does the group have `signal->oom_mm` (tsk_is_oom_victim)?
    #[inline]
    pub fn is_oom_victim(&self) -> bool {
        self.is_oom_victim.load(Ordering::Relaxed)
    }

    /// The mm for which the group was chosen.
    pub fn oom_mm(&self) -> Option<Arc<Mm>> {
        self.oom_mm.lock().clone()
    }

    /// Sets `signal->oom_mm` unless it is set; true if this call did it.
    pub fn set_oom_mm(&self, mm: &Arc<Mm>) -> bool {
        let mut oom_mm = self.oom_mm.lock();
        if oom_mm.is_some() {
            return false;
        }
        *oom_mm = Some(Arc::clone(mm));
        self.is_oom_victim.store(true, Ordering::Relaxed);
        true
    }
}

impl Task {
    /// A thread of `process`, in `cpuset`, running on `cpu`. It is in no list yet: see
    /// [`crate::run::kernel::Kernel::add_task`].
    #[expect(clippy::too_many_arguments, reason = "one call site, each fact named")]
    pub fn new(
        pid: u32,
        process: &Arc<Process>,
        cpuset: &Arc<Cpuset>,
        mems_allowed: &NodeMask,
        nr_node_ids: usize,
        mm: Option<Arc<Mm>>,
        cpu: CpuId,
        flags: u32,
    ) -> Arc<Self> {
        Arc::new(Self {
            pid,
            process: Arc::clone(process),
            mems_allowed: AtomicNodeMask::holding(nr_node_ids, mems_allowed),
            mems_allowed_seq: SeqCount::new(),
            allowed_generation: AtomicU32::new(0),
            alloc_lock: Lock::new(TaskLocked { mm, mempolicy: None, allowed: None }),
            flags: AtomicU32::new(flags),
            cpuset: Mutex::new(Arc::clone(cpuset)),
            cpu: AtomicU32::new(u32::from(cpu.0)),
            events: EventRing::default(),
            waits_at: AtomicU32::new(0),
        })
    }

    /// Are these [`pf`] flags set?
    #[inline]
    pub fn has(&self, flags: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flags != 0
    }

    /// Sets [`pf`] flags; returns those that were set before.
    pub fn set(&self, flags: u32) -> u32 {
        self.flags.fetch_or(flags, Ordering::Relaxed)
    }

    /// Clears [`pf`] flags; returns those that were set before.
    pub fn clear(&self, flags: u32) -> u32 {
        self.flags.fetch_and(!flags, Ordering::Relaxed)
    }

    /// Is it the first thread of its group?
    pub fn is_leader(&self) -> bool {
        self.process.threads.lock().first().is_some_and(|t| std::ptr::eq(Arc::as_ptr(t), self))
    }

    /// The mm, under task_lock.
    pub fn mm(&self) -> Option<Arc<Mm>> {
        self.alloc_lock.lock().mm.clone()
    }
}

/// Counters of one context, read when it ends (no sharing while it runs).
#[derive(Debug, Default)]
pub struct CxStats {
    /// Requests that reached S1.
    pub slow_entries: Cell<u64>,
    /// Passes through S7 after the first of a request.
    pub slow_retries: Cell<u64>,
    /// Passes through S9 of an OOM victim's thread that had no right to the reserve.
    pub bare_victim_passes: Cell<u64>,
    /// Jumps to S1.
    pub restarts: Cell<u64>,
    /// Requests that failed (S22).
    pub failures: Cell<u64>,
    /// Waits for a zone lock, a pcp lock (same CPU), mmap_lock.
    pub zone_lock_waits: Cell<u64>,
    /// Waits asleep for a pcp section that another task of the same model CPU was in.
    pub pcp_section_waits: Cell<u64>,
    /// Rounds spent spinning on a sequence counter.
    pub seq_spins: Cell<u64>,
    /// Atomic requests of interrupts that failed.
    pub atomic_failures: Cell<u64>,
    /// Interrupts delivered on this context's stack.
    pub irqs: Cell<u64>,
}

/// Adds to a counter of [`CxStats`].
#[inline]
pub fn count(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get() + n);
}

/// What may be measured from inside the allocator; the harness brings it, none by default.
pub trait Observer: Send {
    /// A request was served on the fast path, from `start` (a [`sync::stamp`]) to now.
    fn alloc_fast(&self, start: u64);
    /// A request ended that had entered the slow path.
    fn alloc_slow(&self, start: u64);
    /// Something else that has a name took from `start` to now: `free`, `rebind`, `drain` ...
    fn span(&self, name: &'static str, start: u64);
    /// The context opened one of [`crate::race::window::WINDOWS`].
    fn window_opened(&self, _window: usize) {}
    /// It closed the one that it had open since `start`; `entered`: another task stepped in.
    fn window_closed(&self, _window: usize, _start: u64, _entered: bool) {}
}

/// The context that code runs in: `current`, its CPU, interrupt state, private counters.
pub struct Cx {
    /// `current`.
    pub task: Arc<Task>,
    cpu: Cell<CpuId>,
    /// Depth of interrupt handlers on this stack.
    in_interrupt: Cell<u32>,
    /// Depth of sections with interrupts off.
    irqs_off: Cell<u32>,
    /// The zone in whose pcp section this context is, for its own interrupts; set by [`PcpMark`].
    pcp_section: Cell<Option<ZoneId>>,
    /// Depth of spinlocks held (a stop-machine flag parks only at 0).
    pub atomic_depth: Cell<u32>,
    /// Depth of allocations and frees on this stack (counted for stop-machine only).
    pub allocator_depth: Cell<u32>,
    /// This context has made zonelist_update_seq odd.
    pub writes_zonelists: Cell<bool>,
    /// This context holds the console's port->lock.
    pub holds_port_lock: Cell<bool>,
    /// The task policy as the task itself sees it, without task_lock.
    pub mempolicy: RefCell<Option<Arc<Mempolicy>>>,
    /// For the variants of the axis `cpuset`.
    pub(crate) cpuset: CpusetCx,
    /// Interleave position (`il_prev`; `il_next` up to 4.12) and the rest of its weight.
    pub il_prev: Cell<u16>,
    /// Allocations left on `il_prev` under weighted interleave.
    pub il_weight: Cell<u8>,
    /// Counters.
    pub stats: CxStats,
    /// Who measures, if anybody.
    pub observer: Option<Box<dyn Observer>>,
    /// First words of the policy's nodemask and of mems as the last request under a policy saw
    /// them at D.4: told if it reaches S1.
    pub seen_at_d4: Cell<[u64; 2]>,
    /// What the oracle saw of the request in progress.
    pub request: RefCell<RequestLog>,
    /// Model time owed for bulk work, in ns, slept off in larger pieces.
    pub owed_ns: Cell<u64>,
    /// Race windows that are open.
    pub(crate) windows: Cell<OpenWindows>,
    random: Cell<u64>,
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("pid", &self.task.pid).field("cpu", &self.cpu).finish()
    }
}

/// A stretch inside a pcp section that an interrupt may meet; the end restores what was around it.
#[must_use = "the section is marked as long as this lives"]
#[derive(Debug)]
pub(crate) struct PcpMark<'c> {
    cell: &'c Cell<Option<ZoneId>>,
    outer: Option<ZoneId>,
}

impl Drop for PcpMark<'_> {
    fn drop(&mut self) {
        self.cell.set(self.outer);
    }
}

impl Cx {
    /// Tells interrupts on this stack that the context is in a zone's pcp section.
    pub(crate) fn mark_pcp_section(&self, zone: ZoneId) -> PcpMark<'_> {
        PcpMark { cell: &self.pcp_section, outer: self.pcp_section.replace(Some(zone)) }
    }

    /// The zone in whose pcp section the context is, as far as an interrupt could find it there.
    pub(crate) fn pcp_section(&self) -> Option<ZoneId> {
        self.pcp_section.get()
    }

    /// A context for `task` on its CPU.
    pub fn new(task: Arc<Task>, seed: u64) -> Self {
        let cpu = CpuId(task.cpu.load(Ordering::Relaxed) as u16);
        let mempolicy = task.alloc_lock.lock().mempolicy.clone();
        // splitmix64: seeds of neighbours give unrelated streams.
        let mixed = (seed ^ u64::from(task.pid).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
        Self {
            task,
            cpu: Cell::new(cpu),
            in_interrupt: Cell::new(0),
            irqs_off: Cell::new(0),
            pcp_section: Cell::new(None),
            atomic_depth: Cell::new(0),
            allocator_depth: Cell::new(0),
            writes_zonelists: Cell::new(false),
            holds_port_lock: Cell::new(false),
            mempolicy: RefCell::new(mempolicy),
            cpuset: CpusetCx::default(),
            il_prev: Cell::new(u16::MAX),
            il_weight: Cell::new(0),
            seen_at_d4: Cell::new([0; 2]),
            stats: CxStats::default(),
            observer: None,
            request: RefCell::new(RequestLog::default()),
            owed_ns: Cell::new(0),
            windows: Cell::new([None; NR_WINDOWS]),
            random: Cell::new(mixed),
        }
    }

    /// The thread goes on as another task, on the same CPU (its own was killed). Counters, observer
    /// and random stream stay.
    pub fn become_task(&mut self, task: Arc<Task>) {
        task.cpu.store(u32::from(self.cpu.get().0), Ordering::Relaxed);
        *self.mempolicy.borrow_mut() = task.alloc_lock.lock().mempolicy.clone();
        self.il_prev.set(u16::MAX);
        self.il_weight.set(0);
        self.cpuset = CpusetCx::default();
        self.task = task;
    }

    /// The CPU that this code runs on.
    #[inline]
    pub fn cpu(&self) -> CpuId {
        self.cpu.get()
    }

    /// Moves the task to another CPU (the caller pins the thread).
    pub fn set_cpu(&self, cpu: CpuId) {
        self.cpu.set(cpu);
        self.task.cpu.store(u32::from(cpu.0), Ordering::Relaxed);
    }

    /// Is this an interrupt handler?
    #[inline]
    pub fn in_interrupt(&self) -> bool {
        self.in_interrupt.get() > 0
    }

    /// Runs `handler` as an interrupt on this stack.
    pub fn interrupt<R>(&self, handler: impl FnOnce() -> R) -> R {
        self.in_interrupt.set(self.in_interrupt.get() + 1);
        let result = handler();
        self.in_interrupt.set(self.in_interrupt.get() - 1);
        result
    }

    /// Are interrupts off on this context?
    #[inline]
    pub fn irqs_are_off(&self) -> bool {
        self.irqs_off.get() > 0
    }

    /// Enters or leaves (by -1) a section with interrupts off.
    pub fn add_irqs_off(&self, by: i32) {
        self.irqs_off.set(self.irqs_off.get().wrapping_add_signed(by));
    }

    /// A random number (xorshift64), from the seed that the context was made with.
    #[inline]
    pub fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }

    /// Notes an event in the task's timeline. No switch point.
    #[inline]
    pub fn event(&self, point: Point, args: [u64; 3]) {
        let stamp = sync::stamp();
        self.task.events.push(stamp, point, args);
        #[cfg(feature = "explore")]
        crate::explore::step(point as u16, || {
            crate::race::timeline::Event { stamp, number: 0, point, args }.describe()
        });
    }
}

/// All processes, in creation order (the task list), and pid allocation.
#[derive(Debug, Default)]
pub struct ProcessList {
    processes: Mutex<Vec<Arc<Process>>>,
    /// Kernel threads, which are not in the task list: to end them with the kernel, and for
    /// timelines.
    kthreads: Mutex<Vec<WeakProcess>>,
    next_pid: AtomicU32,
}

impl ProcessList {
    /// The next free pid, from 1.
    pub fn next_pid(&self) -> u32 {
        self.next_pid.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many threads the processes on the list have.
    pub fn nr_threads(&self) -> usize {
        self.processes.lock().iter().map(|p| p.threads.lock().len()).sum()
    }

    /// The kernel threads that still exist.
    pub fn kthreads(&self) -> Vec<Arc<Process>> {
        self.kthreads.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// All threads, those of the kernel last.
    pub fn all_threads(&self) -> Vec<Arc<Task>> {
        let processes = self.snapshot().into_iter().chain(self.kthreads());
        processes.flat_map(|process| process.threads.lock().clone()).collect()
    }

    /// Adds a process at the end.
    pub fn add(&self, process: &Arc<Process>) {
        self.processes.lock().push(Arc::clone(process));
    }

    /// Remembers a kernel thread's process.
    pub fn add_kthread(&self, process: &Arc<Process>) {
        self.kthreads.lock().push(Arc::downgrade(process));
    }

    /// Takes a process that was waited for off the list.
    pub fn remove(&self, process: &Arc<Process>) {
        self.processes.lock().retain(|p| !Arc::ptr_eq(p, process));
    }

    /// The processes now (an RCU walk of the list).
    pub fn snapshot(&self) -> Vec<Arc<Process>> {
        self.processes.lock().clone()
    }
}

impl Drop for ProcessList {
    /// A process and its threads hold each other: without this every kernel that is dropped would
    /// leave them behind, and an exploration drops thousands a second.
    fn drop(&mut self) {
        let kthreads = self.kthreads.get_mut().drain(..).filter_map(|process| process.upgrade());
        for process in self.processes.get_mut().drain(..).chain(kthreads) {
            let threads =
                process.threads.try_lock().map(|mut threads| std::mem::take(&mut *threads));
            drop(threads);
        }
    }
}

/// A queue of waiting tasks.
#[derive(Debug, Default)]
pub struct WaitQueue {
    /// Guards nothing but the sleep itself; conditions are re-tested by the waiter.
    pub lock: Mutex<()>,
    /// Who waits.
    pub queue: Condvar,
}

impl WaitQueue {
    /// Wakes everybody.
    pub fn wake_all(&self) {
        let _guard = self.lock.lock();
        self.queue.notify_all();
    }
}

/// A weak reference to a process, as reaper queues hold it.
pub type WeakProcess = Weak<Process>;
