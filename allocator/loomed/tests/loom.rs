//! Every order that the memory model allows, for the few places where it decides: the sequence
//! counter, the pcp section with count and high, the frame's state word.
//!
//! Runs with `RUSTFLAGS="--cfg loom" cargo test --test loom --target-dir target/loom`
//! (`scripts/test loom`); empty otherwise.
#![cfg(loom)]
extern crate allocator_loom as allocator;

use std::sync::atomic::{AtomicU32 as Tally, Ordering::Relaxed as Outside};

use allocator::ids::Pfn;
use allocator::sync::SeqCount;
use allocator::sync::atomic::{AtomicU32, Ordering, fence};
use allocator::sync::awaited::{Awaited, Park};
use allocator::zone::frame::{FrameKind, FrameState, FrameTable};
use allocator::zone::migratetype::MigrateType;
use allocator::zone::pcp::{Pcp, PcpRules};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// Two words that only count as one: what a sequence counter guards.
struct Pair {
    first: AtomicU32,
    second: AtomicU32,
}

impl Pair {
    fn new() -> Self {
        Self { first: AtomicU32::new(0), second: AtomicU32::new(0) }
    }

    fn write(&self, value: u32) {
        self.first.store(value, Ordering::Relaxed);
        self.second.store(value, Ordering::Relaxed);
    }

    fn read(&self) -> (u32, u32) {
        (self.first.load(Ordering::Relaxed), self.second.load(Ordering::Relaxed))
    }
}

#[test]
fn a_reader_with_a_good_cookie_has_seen_one_state() {
    loom::model(|| {
        let shared = Arc::new((SeqCount::new(), Pair::new()));
        let writer = Arc::clone(&shared);
        let writes = thread::spawn(move || {
            for value in 1..=2 {
                writer.0.write_begin();
                writer.1.write(value);
                writer.0.write_end();
            }
        });
        let cookie = shared.0.read_begin(|_| true);
        let (first, second) = shared.1.read();
        if !shared.0.read_retry(cookie) {
            assert_eq!(first, second, "torn, and the cookie did not notice");
            assert_eq!(cookie, 2 * first, "the data of another round");
        }
        writes.join().unwrap();
        assert_eq!((shared.0.raw(), shared.1.read()), (4, (2, 2)));
    });
}

/// The protocol without the reader's fence or the writer's: loom has to notice.
fn broken(reader_fence: bool, writer_fence: bool) {
    loom::model(move || {
        let shared = Arc::new((AtomicU32::new(0), Pair::new()));
        let writer = Arc::clone(&shared);
        let writes = thread::spawn(move || {
            writer.0.store(1, Ordering::Relaxed);
            if writer_fence {
                fence(Ordering::Release);
            }
            writer.1.write(1);
            writer.0.store(2, Ordering::Release);
        });
        let cookie = shared.0.load(Ordering::Acquire);
        let (first, second) = shared.1.read();
        if reader_fence {
            fence(Ordering::Acquire);
        }
        if cookie & 1 == 0 && shared.0.load(Ordering::Relaxed) == cookie {
            assert_eq!(first, second, "torn, and the cookie did not notice");
        }
        writes.join().unwrap();
    });
}

#[test]
fn both_fences_make_the_protocol_hold() {
    broken(true, true);
}

#[test]
#[should_panic = "torn"]
fn without_the_readers_fence_a_torn_read_passes() {
    broken(false, true);
}

#[test]
#[should_panic = "torn"]
fn without_the_writers_fence_a_torn_read_passes() {
    broken(true, false);
}

/// Sections by order 0 lists and a fixed high, as v5.12 has them.
const RULES: PcpRules = PcpRules {
    long_bursts: false,
    multi_order: false,
    thp_lists: 0,
    trylock: false,
    auto_tune: false,
    free_high: false,
    bulk_under_lock: false,
    frees_in_batches: false,
    always_rereads: false,
    miss_tries_buddy: false,
    ordered_update: false,
};

struct Cpu {
    pcp: Pcp,
    frames: FrameTable,
}

impl Cpu {
    fn new() -> Self {
        let cpu = Self { pcp: Pcp::new(), frames: FrameTable::new(2).unwrap() };
        cpu.pcp.update(&RULES, 8, 8, 4);
        cpu
    }

    /// P2 to P5: a free puts its page on the list, then compares count with high.
    fn free(&self) {
        let section = self.pcp.enter();
        section.list(0).push_head(&self.frames, Pfn(1));
        self.pcp.add_count(1);
        let high = self.pcp.high_for_free(&section, &RULES, false, false, false);
        if self.pcp.count() >= high {
            let popped = section.list(0).pop_head(&self.frames);
            assert_eq!(popped.map(|(pfn, _)| pfn), Some(Pfn(1)));
            self.pcp.add_count(-1);
        }
    }

    /// D3: drains unless the count reads 0.
    fn drain(&self, force: bool) {
        if force || self.pcp.count() != 0 {
            let section = self.pcp.enter();
            while section.list(0).pop_head(&self.frames).is_some() {
                self.pcp.add_count(-1);
            }
        }
    }
}

/// How often a page stays on the list of a disabled pcp after the drain.
fn strays(force: bool) -> u32 {
    let strays = std::sync::Arc::new(Tally::new(0));
    let counted = std::sync::Arc::clone(&strays);
    loom::model(move || {
        let cpu = Arc::new(Cpu::new());
        let freer = Arc::clone(&cpu);
        let frees = thread::spawn(move || freer.free());
        // D2, D3.
        cpu.pcp.update(&RULES, 0, 0, 1);
        cpu.drain(force);
        frees.join().unwrap();
        let left = u32::from(!cpu.pcp.enter().list(0).is_empty());
        assert_eq!(cpu.pcp.count(), left, "count and list disagree");
        counted.fetch_add(left, Outside);
    });
    strays.load(Outside)
}

/// docs/kernel/interleavings.md#j5-c: the store of count and the load of high pass each other in
/// the store buffers against the store of high and the load of count. In no order of whole steps
/// does it happen.
#[test]
fn an_unforced_drain_misses_a_page_and_a_forced_one_never() {
    assert!(strays(false) > 0, "J5-c does not show");
    assert_eq!(strays(true), 0);
}

/// A reference taken by a scanner (get_page_unless_zero) against the owner's last put: exactly one
/// of them frees, after all that was done to the page by either.
#[test]
fn exactly_one_put_frees_and_sees_what_the_other_did() {
    loom::model(|| {
        let shared = Arc::new((FrameTable::new(1).unwrap(), UnsafeCell::new(0), AtomicU32::new(0)));
        shared.0.get(Pfn(0)).set_state(FrameState::allocated(0));
        let put = |shared: &(FrameTable, UnsafeCell<u32>, AtomicU32)| {
            if shared.0.get(Pfn(0)).put_testzero() {
                // SAFETY: who freed the page is alone with it; loom checks.
                shared.1.with_mut(|page| unsafe { *page += 1 });
                shared.2.fetch_add(1, Ordering::Relaxed);
                shared.0.get(Pfn(0)).set_state(FrameState::free(0, MigrateType::Movable));
            }
        };
        let scanner = Arc::clone(&shared);
        let scans = thread::spawn(move || {
            if scanner.0.get(Pfn(0)).get_unless_zero() {
                // SAFETY: only read while the reference is held; loom checks.
                scanner.1.with(|page| assert_eq!(unsafe { *page }, 0, "freed under a reference"));
                put(&scanner);
            }
        });
        put(&shared);
        scans.join().unwrap();
        assert_eq!(shared.2.load(Ordering::Relaxed), 1);
        assert_eq!(shared.0.get(Pfn(0)).state().kind(), FrameKind::Buddy);
    });
}

/// A queue of sleepers that loom knows, on a host that runs no barrier on other CPUs.
struct Queue {
    /// Sleepers, and those among them that were woken and haven't left yet.
    counts: loom::sync::Mutex<(u32, u32)>,
    woken: loom::sync::Condvar,
    /// What the host says of its barrier; it has none in any case.
    claims_barrier: bool,
    /// Sleeps that ended by themselves.
    timed: Tally,
}

/// Timed sleeps in an execution, behind which it is not followed.
const MOST_TIMED: u32 = 3;

impl Queue {
    fn new(claims_barrier: bool) -> Self {
        let counts = loom::sync::Mutex::new((0, 0));
        Self { counts, woken: loom::sync::Condvar::new(), claims_barrier, timed: Tally::new(0) }
    }
}

impl Park for Queue {
    const SPINS: u32 = 0;

    fn park(&self, still_waits: impl FnOnce() -> bool, timed: bool) {
        let mut counts = self.counts.lock().unwrap();
        if !still_waits() {
            return;
        }
        counts.0 += 1;
        if timed {
            // The time is over whenever somebody else has run.
            if self.timed.fetch_add(1, Outside) >= MOST_TIMED {
                loom::skip_branch();
            }
            drop(counts);
            thread::yield_now();
            counts = self.counts.lock().unwrap();
            if counts.1 > 0 {
                counts.1 -= 1;
            } else {
                counts.0 -= 1;
            }
            return;
        }
        while counts.1 == 0 {
            counts = self.woken.wait(counts).unwrap();
        }
        counts.1 -= 1;
    }

    fn unpark_one(&self, leaves_others: impl FnOnce(bool)) {
        let mut counts = self.counts.lock().unwrap();
        if counts.0 > 0 {
            counts.0 -= 1;
            counts.1 += 1;
            self.woken.notify_one();
        }
        leaves_others(counts.0 > 0);
    }

    fn barrier_on_all_cpus(&self) -> bool {
        false
    }

    fn has_barrier(&self) -> bool {
        self.claims_barrier
    }
}

/// Three threads enter a section once each, by all schedules of two preemptions and
/// [`MOST_TIMED`] sleeps that end by themselves: one more is one more look, as the last.
fn three_enter(claims_barrier: bool) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.max_branches = 20_000;
    model.check(move || {
        let shared = (Awaited::new(), Queue::new(claims_barrier), UnsafeCell::new(0));
        // Leaked: dropping it while loom reports a deadlock would be a second panic.
        let shared: &'static (Awaited, Queue, UnsafeCell<u32>) = Box::leak(Box::new(shared));
        let enter = || {
            if !shared.0.enter() {
                shared.0.enter_slow(&shared.1);
            }
            // SAFETY: only one is inside; loom checks.
            shared.2.with_mut(|n| unsafe { *n += 1 });
            shared.0.leave(&shared.1);
        };
        let others = [thread::spawn(enter), thread::spawn(enter)];
        enter();
        others.into_iter().for_each(|t| t.join().unwrap());
        // SAFETY: nobody else is left.
        shared.2.with(|n| assert_eq!(unsafe { *n }, 3));
    });
}

#[test]
fn a_section_without_membarrier_lets_everybody_in() {
    three_enter(false);
}

/// Only the first waiter timed, as it once was: the others sleep behind an unlock that didn't see
/// them.
#[test]
#[should_panic = "deadlock"]
fn a_second_waiter_that_sleeps_untimed_sleeps_for_ever() {
    three_enter(true);
}
