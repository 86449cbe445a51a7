//! What a thread records: its own operations, the allocator's paths inside them, named spans.
//!
//! **What.** [`ThreadRecorder`] is the workload's [`Recorder`]; [`PathObserver`] is the allocator's
//! [`Observer`]. Both belong to one thread and share nothing with others, so a sample costs two
//! clock readings and one histogram record. [`Recorded`] is what they leave, and merges.
//!
//! **Why two.** The allocator times its paths within an operation of the workload, while that one
//! is still open.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use allocator::run::task::Observer;
use allocator::sync::{Stamp, stamp};
use indexmap::IndexMap;
use results::histogram::{Config, Histogram, OpHistograms, OpName, OpNames};
use results::schema::Op;
use workloads::{Info, Recorder};

use super::clock::Ticks;
use super::preemption::{Switches, Verdict};
use super::windows::WindowLog;

const ALLOC_FAST: usize = 0;
const ALLOC_SLOW: usize = 1;

/// Names of operations and spans for people; others are shown as they are called.
const LABELS: &[(&str, &str)] = &[
    ("alloc", "alloc"),
    ("alloc_fast", "alloc fast path"),
    ("alloc_slow", "alloc slow path"),
    ("alloc_failed", "alloc failed"),
    ("atomic_alloc", "GFP_ATOMIC alloc"),
    ("fault", "page fault"),
    ("kill_to_free", "kill to free"),
    ("memalloc", "PF_MEMALLOC alloc"),
    ("memalloc_failed", "PF_MEMALLOC fail"),
    ("mems_update", "cpuset.mems write"),
    ("mems_write", "cpuset.mems write"),
    ("slow_entry", "slow path entry"),
    ("syscall", "long system call"),
    ("syscall_failed", "system call ENOMEM"),
];

/// An operation's name with its label.
pub fn op_name(name: &'static str) -> OpName {
    let label = LABELS.iter().find(|(n, _)| *n == name).map_or(name, |(_, label)| label);
    OpName { name, label }
}

/// The operations of a workload.
pub fn op_names(info: &Info) -> OpNames {
    info.ops.iter().map(|name| op_name(name)).collect()
}

fn path_names() -> OpNames {
    [op_name("alloc_fast"), op_name("alloc_slow")].into()
}

/// Puts a sample where it belongs.
#[inline]
pub(super) fn file(ops: &mut OpHistograms, op: usize, ns: u64, verdict: Verdict) {
    match verdict {
        Verdict::Clean => ops.record(op, ns),
        Verdict::Preempted => ops.record_preempted(op, ns),
        Verdict::Unknown => ops.record_unknown(op, ns),
    }
}

/// Records the operations of one thread.
#[derive(Debug)]
pub struct ThreadRecorder {
    ops: OpHistograms,
    ticks: Ticks,
    switches: Arc<Switches>,
    /// Share of its own time by which each operation is slowed down on purpose; empty as a rule.
    slow: Vec<f64>,
}

impl ThreadRecorder {
    /// A recorder for the calling thread; `slow` as [`crate::cli::slow_down::shares`] gives it.
    pub fn new(ops: OpHistograms, ticks: &Ticks, slow: Vec<f64>) -> Self {
        let switches = Arc::new(Switches::new(ticks));
        if !slow.is_empty() {
            // Now, before anybody measures.
            let _ = Burn::calibrated();
        }
        Self { ops, ticks: ticks.clone(), switches, slow }
    }

    /// Works for a share of the sample, so that it takes longer in truth and not on paper only. The
    /// second look at the clock is part of it. Time that the host took is nothing to add to.
    #[cold]
    fn slow_down(&self, start: Stamp, end: Stamp, share: f64) -> Stamp {
        let ns = self.ticks.ns(start, end) as f64;
        if ns > 1e6 {
            return end;
        }
        let Burn { per_ns, fixed_ns } = Burn::calibrated();
        burn(((ns * share - fixed_ns) * per_ns).round().max(0.0) as u64);
        stamp()
    }

    /// The thread's count of involuntary switches.
    pub fn switches(&self) -> &Arc<Switches> {
        &self.switches
    }

    /// Hands over what was recorded and starts anew.
    #[must_use]
    pub fn take(&mut self) -> OpHistograms {
        self.ops.take()
    }

    /// What was recorded since the last [`ThreadRecorder::take`].
    pub fn ops(&self) -> &OpHistograms {
        &self.ops
    }
}

/// Some cycles of work.
fn burn(times: u64) {
    let mut x = times;
    for _ in 0..times {
        x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// What [`burn`] costs: a clock that steps by ten nanoseconds could not tell a tenth of a fault.
#[derive(Clone, Copy, Debug)]
struct Burn {
    /// Cycles of it that make a nanosecond.
    per_ns: f64,
    /// Nanoseconds of a slow-down that burns nothing.
    fixed_ns: f64,
}

impl Burn {
    /// The fastest of some tries, since the host can only make it slower.
    fn calibrated() -> Self {
        const TIMES: u64 = 2_000;
        static BURN: OnceLock<Burn> = OnceLock::new();
        *BURN.get_or_init(|| {
            let ticks = Ticks::default();
            let fastest = |what: &dyn Fn()| {
                let tries = (0..50).map(|_| {
                    let start = stamp();
                    what();
                    ticks.ns(start, stamp()).max(1)
                });
                tries.min().unwrap_or(1) as f64
            };
            let per_ns = TIMES as f64 / fastest(&|| burn(TIMES));
            let start = stamp();
            let idle = || {
                for _ in 0..TIMES {
                    let ns = ticks.ns(start, stamp()) as f64;
                    burn(std::hint::black_box((ns * 0.0 * per_ns).round().max(0.0) as u64));
                }
            };
            Self { per_ns, fixed_ns: fastest(&idle) / TIMES as f64 }
        })
    }
}

impl Recorder for ThreadRecorder {
    #[inline]
    fn now(&self) -> Stamp {
        let now = stamp();
        if self.switches.is_stale(now) {
            self.switches.refresh(now);
            return stamp();
        }
        now
    }

    #[inline]
    fn record(&mut self, op: usize, start: Stamp) {
        let mut now = stamp();
        if let Some(share) = self.slow.get(op).copied().filter(|share| *share > 0.0) {
            now = self.slow_down(start, now, share);
        }
        let verdict = self.switches.judge(start, now);
        file(&mut self.ops, op, self.ticks.ns(start, now), verdict);
    }

    fn record_ns(&mut self, op: usize, ns: u64) {
        self.ops.record(op, ns);
    }

    fn count(&mut self, op: usize, operations: u64) {
        self.ops.count_untimed(op, operations);
    }
}

/// Named spans, each with a histogram of its own, in order of name.
pub type Spans = Vec<(&'static str, OpHistograms)>;

/// What was seen inside the allocator.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Its fast and slow path.
    pub alloc: OpHistograms,
    /// Named spans.
    pub spans: Spans,
    /// Race windows.
    pub windows: WindowLog,
}

/// Where an observer leaves what it saw when it is dropped.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Mutex<Option<Paths>>>);

impl Outbox {
    /// What was left, if the observer is gone.
    pub fn take(&self) -> Option<Paths> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Sees what happens inside the allocator on one thread.
#[derive(Debug)]
pub struct PathObserver {
    ticks: Ticks,
    switches: Arc<Switches>,
    alloc: RefCell<OpHistograms>,
    spans: RefCell<Spans>,
    windows: RefCell<WindowLog>,
    outbox: Outbox,
}

impl PathObserver {
    /// For the thread of a recorder.
    pub fn new(ticks: &Ticks, switches: &Arc<Switches>, outbox: &Outbox) -> Self {
        Self {
            ticks: ticks.clone(),
            switches: Arc::clone(switches),
            alloc: RefCell::new(OpHistograms::new(path_names(), Config::default())),
            spans: RefCell::default(),
            windows: RefCell::default(),
            outbox: outbox.clone(),
        }
    }

    #[inline]
    fn sample(&self, start: Stamp) -> (u64, Verdict) {
        let now = stamp();
        let verdict = self.switches.judge(start, now);
        if self.switches.is_stale(now) {
            self.switches.refresh(now);
        }
        (self.ticks.ns(start, now), verdict)
    }
}

impl Drop for PathObserver {
    fn drop(&mut self) {
        let left = Paths {
            alloc: self.alloc.get_mut().take(),
            spans: std::mem::take(self.spans.get_mut()),
            windows: std::mem::take(self.windows.get_mut()),
        };
        *self.outbox.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
    }
}

impl Observer for PathObserver {
    #[inline]
    fn alloc_fast(&self, start: Stamp) {
        let (ns, verdict) = self.sample(start);
        file(&mut self.alloc.borrow_mut(), ALLOC_FAST, ns, verdict);
    }

    fn alloc_slow(&self, start: Stamp) {
        let (ns, verdict) = self.sample(start);
        file(&mut self.alloc.borrow_mut(), ALLOC_SLOW, ns, verdict);
    }

    fn span(&self, name: &'static str, start: Stamp) {
        let (ns, verdict) = self.sample(start);
        file(span_of(&mut self.spans.borrow_mut(), name, || op_name(name)), 0, ns, verdict);
    }

    fn window_opened(&self, window: usize) {
        self.windows.borrow_mut().opened(window);
    }

    fn window_closed(&self, window: usize, start: Stamp, entered: bool) {
        let (ns, verdict) = self.sample(start);
        // A window that the host stretched says nothing about the kernel's.
        let ns = (verdict != Verdict::Preempted).then_some(ns);
        self.windows.borrow_mut().closed(window, ns, entered);
    }
}

/// The histogram of a span; `op` names it if it is new.
pub(super) fn span_of<'a>(
    spans: &'a mut Spans,
    name: &'static str,
    op: impl FnOnce() -> OpName,
) -> &'a mut OpHistograms {
    let at = match spans.binary_search_by_key(&name, |(n, _)| n) {
        Ok(at) => at,
        Err(at) => {
            let ops = OpHistograms::new([op()].into(), Config::default());
            spans.insert(at, (name, ops));
            at
        }
    };
    &mut spans[at].1
}

/// What threads recorded in a phase, merged.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The workload's operations.
    pub ops: OpHistograms,
    /// The allocator's paths, if they were observed.
    pub alloc: Option<OpHistograms>,
    /// Named spans.
    pub spans: Spans,
    /// Race windows.
    pub windows: WindowLog,
}

impl Recorded {
    /// Nothing yet.
    pub fn new(info: &Info) -> Self {
        let alloc =
            observes_paths(info).then(|| OpHistograms::new(path_names(), Config::default()));
        Self {
            ops: OpHistograms::new(op_names(info), Config::default()),
            alloc,
            spans: Spans::new(),
            windows: WindowLog::default(),
        }
    }

    /// Adds what one thread left.
    pub fn add_thread(&mut self, ops: &OpHistograms, paths: Option<Paths>) {
        self.ops.merge(ops);
        if let Some(Paths { alloc, spans, windows }) = paths {
            self.windows.merge(&windows);
            if let Some(mine) = &mut self.alloc {
                mine.merge(&alloc);
            }
            self.add_spans(&spans);
        }
    }

    /// Adds another round.
    pub fn merge(&mut self, other: &Self) {
        self.ops.merge(&other.ops);
        if let (Some(mine), Some(theirs)) = (&mut self.alloc, &other.alloc) {
            mine.merge(theirs);
        }
        self.add_spans(&other.spans);
        self.windows.merge(&other.windows);
    }

    /// Adds named spans.
    pub fn add_spans(&mut self, spans: &Spans) {
        for (name, ops) in spans {
            span_of(&mut self.spans, name, || ops.names()[0].clone()).merge(ops);
        }
    }

    /// See [`OpHistograms::keep_frequent_preemptions`]: once, at the end of a round.
    pub fn keep_frequent_preemptions(&mut self) {
        let spans = self.spans.iter_mut().map(|(_, ops)| ops);
        for ops in std::iter::once(&mut self.ops).chain(&mut self.alloc).chain(spans) {
            ops.keep_frequent_preemptions();
        }
    }

    /// Histogram of the workload's first operation, which stands for its progress.
    pub fn primary(&self) -> Option<&Histogram> {
        self.ops.get(0)
    }

    /// The `ops` of a record: the workload's, then the paths, then spans.
    pub fn document(
        &self,
        measured_s: f64,
        cpu_s: Option<f64>,
        with_hdr: bool,
    ) -> IndexMap<String, Op> {
        let mut all = self.ops.to_ops(measured_s, cpu_s, with_hdr);
        let more = self.alloc.iter().chain(self.spans.iter().map(|(_, ops)| ops));
        for ops in more {
            for (name, op) in ops.to_ops(measured_s, cpu_s, with_hdr) {
                // A workload that times the same thing itself knows better.
                all.entry(name).or_insert(op);
            }
        }
        all
    }
}

/// A workload whose operation is the allocation itself does not have it timed twice.
pub fn observes_paths(info: &Info) -> bool {
    !info.ops.contains(&"alloc")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> ThreadRecorder {
        let names = [op_name("fault"), op_name("unmap")].into();
        slowed(Vec::new(), names)
    }

    fn slowed(slow: Vec<f64>, names: OpNames) -> ThreadRecorder {
        let ops = OpHistograms::new(names, Config::default());
        ThreadRecorder::new(ops, &Ticks::default(), slow)
    }

    #[test]
    fn what_is_slowed_down_takes_longer_by_its_share() {
        let mut recorder = slowed(vec![0.0, 1.0], [op_name("fault"), op_name("unmap")].into());
        let ticks = Ticks::default();
        let takes_longer = (0..2000).filter(|_| {
            let start = recorder.now();
            while ticks.ns(start, stamp()) < 500 {}
            let honest = ticks.ns(start, stamp());
            recorder.record(1, start);
            ticks.ns(start, stamp()) as f64 > honest as f64 * 1.5
        });
        // Not all: a sample that the host interrupted is not slowed down by its whole length.
        let nr = takes_longer.count();
        assert!(nr > 1000, "{nr} of 2000");
    }

    #[test]
    fn a_phase_begins_with_empty_histograms() {
        let mut recorder = recorder();
        let start = recorder.now();
        recorder.record(0, start);
        recorder.count(1, 3);
        let warmup = recorder.take();
        assert_eq!((warmup.count(0), warmup.count(1)), (1, 3));
        assert!(recorder.ops().is_empty());
    }

    #[test]
    fn paths_and_spans_join_the_operations() {
        let mut recorder = recorder();
        let outbox = Outbox::default();
        let observer = PathObserver::new(&Ticks::default(), recorder.switches(), &outbox);
        observer.alloc_fast(stamp());
        observer.alloc_slow(stamp());
        observer.span("rebind", stamp());
        observer.span("drain", stamp());
        observer.span("rebind", stamp());
        observer.window_opened(1);
        observer.window_closed(1, stamp(), true);
        recorder.record(0, stamp());
        let info = Info {
            name: "test",
            about: "",
            axes: &[],
            primary: &[],
            ops: &["fault", "unmap"],
            options: &[],
            nodes: 1,
            movable: workloads::Movable::None,
            memory_per_node: None,
        };
        let mut all = Recorded::new(&info);
        assert!(outbox.take().is_none(), "it still looks");
        drop(observer);
        all.add_thread(recorder.ops(), outbox.take());
        let again = all.clone();
        all.merge(&again);
        let document = all.document(1.0, None, false);
        let counts: Vec<(&str, u64)> =
            document.iter().map(|(name, op)| (name.as_str(), op.count)).collect();
        let expected = [
            ("fault", 2),
            ("unmap", 0),
            ("alloc_fast", 2),
            ("alloc_slow", 2),
            ("drain", 2),
            ("rebind", 4),
        ];
        assert_eq!(counts, expected);
        assert_eq!(document["fault"].label, "page fault");
        let windows = all.windows.document(&[]);
        assert_eq!(
            (windows["W5_configured_mems"].passes, windows["W5_configured_mems"].entered),
            (2, 2)
        );
        assert!(outbox.take().is_none());
    }
}
