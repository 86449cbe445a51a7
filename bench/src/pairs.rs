//! Allocations and frees: one loop for the model, the floors and the peer.
//!
//! **What.** `pair` allocates and frees at once, with half of the memory in use; `bulk` fills half of
//! the memory and frees it last in, first out; `churn` replaces one of the held frames, chosen at
//! random, by a new one.

use std::hint::black_box;
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::floors::{BuddyCrate, MutexVec, atomic_add, lock, two_tsc_reads};
use crate::model::Model;
use crate::{Figure, Measure, sys};

/// What rows of the model begin with.
const MODEL: &str = "model";

/// The machine that a subject has to model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// 4 KiB frames.
    pub frames: u64,
    /// CPUs; a thread is on CPU thread % cpus.
    pub cpus: usize,
    /// The only order that is asked for.
    pub order: u8,
}

/// The allocator under test.
pub(crate) trait Subject: Sync + Sized + 'static {
    /// What a thread passes with each request.
    type Context;
    /// An allocator with all of its memory free.
    fn new(shape: Shape) -> Self;
    /// A thread's context on a CPU, made on that thread.
    fn context(&self, cpu: usize) -> Self::Context;
    /// First frame of 2^order free ones; None: there are none.
    fn alloc(&self, cx: &Self::Context, order: u8) -> Option<u64>;
    /// Gives back what `alloc` returned for the same order.
    fn free(&self, cx: &Self::Context, frame: u64, order: u8);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Pair,
    Bulk,
    Churn,
}

const KINDS: [(Kind, &str); 3] =
    [(Kind::Pair, "pair"), (Kind::Bulk, "bulk"), (Kind::Churn, "churn")];

/// All rows of this file.
pub(crate) fn measures(ms: u32) -> Vec<Measure> {
    let limit = Duration::from_millis(u64::from(ms));
    let mut all = vec![
        floor("floor: lock, unlock", limit, lock()),
        floor("floor: atomic add", limit, atomic_add()),
        floor("floor: two TSC reads", limit, two_tsc_reads()),
    ];
    for order in [0, 9] {
        for (kind, what) in KINDS {
            for threads in threads_of(kind) {
                let case = Case { kind, what, threads, order, limit };
                all.push(case.measure::<Model>(MODEL));
                if threads <= 2 {
                    all.push(case.measure::<MutexVec>("floor: Mutex<Vec>"));
                    all.push(case.measure::<BuddyCrate>("peer: buddy_system"));
                }
            }
        }
    }
    all
}

fn threads_of(kind: Kind) -> Vec<usize> {
    match kind {
        Kind::Pair => vec![1, 2, 4, 16, 64],
        Kind::Bulk | Kind::Churn => vec![1, 2],
    }
}

/// A closure's CPU time per call, on the first CPU.
fn floor(name: &'static str, limit: Duration, body: impl Fn() + Send + Sync + 'static) -> Measure {
    let body = std::sync::Arc::new(body);
    Measure::new(name, move || {
        let body = std::sync::Arc::clone(&body);
        let ns = on_thread(move || {
            let (start, cpu, mut n) = (Instant::now(), sys::thread_ns(), 0u64);
            while start.elapsed() < limit {
                for _ in 0..1024 {
                    body();
                }
                n += 1024;
            }
            (sys::thread_ns() - cpu) as f64 / n as f64
        });
        vec![Figure { name: name.to_owned(), unit: "ns", value: ns }]
    })
}

/// Runs on a thread of its own, pinned to the first CPU.
pub(crate) fn on_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::pin(0);
            body()
        });
        thread.join().expect("a bench thread failed")
    })
}

#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    what: &'static str,
    threads: usize,
    order: u8,
    limit: Duration,
}

/// Operations and CPU time of one thread, or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    ops: u64,
    cpu_ns: u64,
    /// From the first timed operation to the last.
    span: Option<(Instant, Instant)>,
}

impl Part {
    fn timed(&mut self, body: impl FnOnce() -> u64) {
        let (began, start) = (Instant::now(), sys::thread_ns());
        let ops = body();
        let cpu_ns = sys::thread_ns() - start;
        *self = self.and(Self { ops, cpu_ns, span: Some((began, Instant::now())) });
    }

    /// Both together.
    fn and(self, other: Self) -> Self {
        let span = match (self.span, other.span) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        Self { ops: self.ops + other.ops, cpu_ns: self.cpu_ns + other.cpu_ns, span }
    }

    /// Operations in a microsecond of wall time.
    fn per_us(&self) -> f64 {
        self.span.map_or(0.0, |(from, to)| self.ops as f64 / (to - from).as_secs_f64() / 1e6)
    }
}

/// Where the threads of a case meet.
struct Meeting {
    barrier: Barrier,
    /// When all stop, set by the first to begin: an end of its own for each would leave one CPU idle
    /// while the last to begin goes on.
    end: OnceLock<Instant>,
}

impl Case {
    fn measure<S: Subject>(self, subject: &'static str) -> Measure {
        let name = self.name(subject, self.what);
        Measure::new(name, move || self.figures::<S>(subject))
    }

    fn name(&self, subject: &str, what: &str) -> String {
        let plural = if self.threads == 1 { "" } else { "s" };
        format!("{subject}  {what}, order {}, {} thread{plural}", self.order, self.threads)
    }

    fn figures<S: Subject>(&self, subject: &str) -> Vec<Figure> {
        let (first, second) = self.run::<S>();
        let figure = |what: &str, part: Part| Figure {
            name: self.name(subject, what),
            unit: "ns",
            value: part.cpu_ns as f64 / part.ops as f64,
        };
        match self.kind {
            Kind::Pair if subject == MODEL && [2, 64].contains(&self.threads) => {
                let name = format!("{}: throughput", self.name(subject, "pair"));
                let throughput = Figure { name, unit: "per us", value: first.per_us() };
                vec![figure("pair", first), throughput]
            }
            Kind::Pair => vec![figure("pair", first)],
            Kind::Bulk => vec![figure("bulk alloc", first), figure("bulk free", second)],
            Kind::Churn => vec![figure("churn", first)],
        }
    }

    fn run<S: Subject>(&self) -> (Part, Part) {
        let frames: u64 = if self.order == 0 { 1 << 19 } else { 1 << 22 };
        let shape = Shape { frames, cpus: self.threads.min(sys::cpus()), order: self.order };
        let subject = S::new(shape);
        let each = ((frames / 2 / self.threads as u64) >> self.order) as usize;
        let meeting = Meeting { barrier: Barrier::new(self.threads), end: OnceLock::new() };
        let parts: Vec<(Part, Part)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|n| {
                    let (subject, meeting) = (&subject, &meeting);
                    scope.spawn(move || {
                        sys::pin(n);
                        let cx = subject.context(n % shape.cpus);
                        self.thread(subject, &cx, each, meeting, n as u64)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("a bench thread failed")).collect()
        });
        parts
            .into_iter()
            .fold((Part::default(), Part::default()), |(a, b), (c, d)| (a.and(c), b.and(d)))
    }

    fn thread<S: Subject>(
        &self,
        subject: &S,
        cx: &S::Context,
        each: usize,
        Meeting { barrier, end }: &Meeting,
        seed: u64,
    ) -> (Part, Part) {
        let order = self.order;
        let mut held: Vec<u64> = Vec::with_capacity(each);
        let (mut first, mut second) = (Part::default(), Part::default());
        let fill = |held: &mut Vec<u64>| {
            let filled = each - held.len();
            while held.len() < each {
                held.push(subject.alloc(cx, order).expect("half of the memory is free"));
            }
            filled as u64
        };
        let empty = |held: &mut Vec<u64>| {
            let n = held.len();
            while let Some(frame) = held.pop() {
                subject.free(cx, frame, order);
            }
            n as u64
        };
        fill(&mut held);
        barrier.wait();
        match self.kind {
            Kind::Pair => first.timed(|| {
                self.until(end, 1024, || {
                    let frame = subject.alloc(cx, order).expect("half of the memory is free");
                    subject.free(cx, black_box(frame), order);
                })
            }),
            Kind::Bulk => {
                // The first filling has committed the metadata.
                empty(&mut held);
                let rounds = (1_000_000 / (each * self.threads)).clamp(2, 24);
                for _ in 0..rounds {
                    barrier.wait();
                    first.timed(|| fill(&mut held));
                    barrier.wait();
                    second.timed(|| empty(&mut held));
                }
            }
            Kind::Churn => {
                let mut rng = SmallRng::seed_from_u64(seed);
                held.shuffle(&mut rng);
                first.timed(|| {
                    self.until(end, 256, || {
                        let slot = &mut held[rng.random_range(0..each)];
                        subject.free(cx, *slot, order);
                        *slot = subject.alloc(cx, order).expect("one was just freed");
                    })
                });
            }
        }
        barrier.wait();
        empty(&mut held);
        (first, second)
    }

    /// Calls `body` until the common end, looking at the clock every `batch` calls.
    #[inline(always)]
    fn until(&self, end: &OnceLock<Instant>, batch: u64, mut body: impl FnMut()) -> u64 {
        // Threads beyond the CPUs take turns: more time for all.
        let limit = self.limit * (self.threads.div_ceil(sys::cpus()) as u32).min(4);
        let (end, mut n) = (*end.get_or_init(|| Instant::now() + limit), 0);
        while Instant::now() < end {
            for _ in 0..batch {
                body();
            }
            n += batch;
        }
        n
    }
}
