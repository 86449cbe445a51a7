//! What a thread records: its own operations, the allocator's paths inside them, named spans.
//!
//! **What.** [`ThreadRecorder`] is the workload's [`Recorder`]; [`PathObserver`] is the allocator's
//! [`Observer`]. Both belong to one thread and share nothing with others, so a sample costs two
//! clock readings and one histogram record. [`Recorded`] is what they leave, and merges.
//!
//! **Why two.** The allocator times its paths within an operation of the workload, while that one
//! is still open.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use allocator::sync::{Stamp, stamp};
use allocator::task::Observer;
use indexmap::IndexMap;
use results::histogram::{Config, Histogram, OpHistograms, OpName, OpNames};
use results::schema::Op;
use workloads::{Info, Recorder};

use super::clock::Ticks;
use super::preemption::{Switches, Verdict};

const ALLOC_FAST: usize = 0;
const ALLOC_SLOW: usize = 1;

/// Names of operations and spans for people; others are shown as they are called.
const LABELS: &[(&str, &str)] = &[
    ("alloc", "alloc"),
    ("alloc_fast", "alloc fast path"),
    ("alloc_slow", "alloc slow path"),
    ("alloc_failed", "alloc failed"),
    ("fault", "page fault"),
    ("mems_update", "cpuset.mems write"),
    ("mems_write", "cpuset.mems write"),
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
fn file(ops: &mut OpHistograms, op: usize, ns: u64, verdict: Verdict) {
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
}

impl ThreadRecorder {
    /// A recorder for the calling thread.
    pub fn new(ops: OpHistograms, ticks: &Ticks) -> Self {
        Self { ops, ticks: ticks.clone(), switches: Arc::new(Switches::new(ticks)) }
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
        let now = stamp();
        let verdict = self.switches.judge(start, now);
        file(&mut self.ops, op, self.ticks.ns(start, now), verdict);
    }

    fn count(&mut self, op: usize, operations: u64) {
        self.ops.count_untimed(op, operations);
    }
}

/// Named spans, each with a histogram of its own, in order of name.
pub type Spans = Vec<(&'static str, OpHistograms)>;

/// Where an observer leaves what it saw when it is dropped.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Mutex<Option<(OpHistograms, Spans)>>>);

impl Outbox {
    /// What was left, if the observer is gone.
    pub fn take(&self) -> Option<(OpHistograms, Spans)> {
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
        let left = (self.alloc.get_mut().take(), std::mem::take(self.spans.get_mut()));
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
        file(span_of(&mut self.spans.borrow_mut(), name), 0, ns, verdict);
    }
}

fn span_of<'a>(spans: &'a mut Spans, name: &'static str) -> &'a mut OpHistograms {
    let at = match spans.binary_search_by_key(&name, |(n, _)| n) {
        Ok(at) => at,
        Err(at) => {
            let ops = OpHistograms::new([op_name(name)].into(), Config::default());
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
        }
    }

    /// Adds what one thread left.
    pub fn add_thread(&mut self, ops: &OpHistograms, paths: Option<(OpHistograms, Spans)>) {
        self.ops.merge(ops);
        if let Some((alloc, spans)) = paths {
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
    }

    fn add_spans(&mut self, spans: &Spans) {
        for (name, ops) in spans {
            span_of(&mut self.spans, name).merge(ops);
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
        ThreadRecorder::new(OpHistograms::new(names, Config::default()), &Ticks::default())
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
        recorder.record(0, stamp());
        let info = Info {
            name: "test",
            about: "",
            axes: &[],
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
        assert!(outbox.take().is_none());
    }
}
