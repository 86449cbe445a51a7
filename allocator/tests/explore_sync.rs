//! Locks, wait queues, spins and time of the explorer's world, over all schedules within a bound.
#![cfg(feature = "explore")]
extern crate allocator_explore as allocator;

use std::ops::ControlFlow;
use std::sync::Arc;

use allocator::explore::{self, Config, Report, Scheduler};
use allocator::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use allocator::sync::{self, Condvar, Mutex, ObjId, RwLock, SpinRounds};

/// Searches all schedules with up to three preemptions.
fn search(world: impl Fn() + Send + Sync + Clone + 'static) -> Report {
    let config = Config { scheduler: Scheduler::Bounded { preemptions: 3 }, ..Config::default() };
    explore::run(&config, |_| ControlFlow::Continue(()), world)
}

/// As [`search`], for a world in which nothing must be found.
fn all_well(world: impl Fn() + Send + Sync + Clone + 'static) -> Report {
    let report = search(world);
    let kinds: Vec<_> = report.finds.iter().map(|find| (find.kind, &find.text)).collect();
    assert!(report.finds.is_empty(), "{kinds:?}");
    assert!(report.complete, "{:?}", report.gaps);
    report
}

fn point() {
    sync::switch_point(1);
}

#[test]
fn a_mutex_excludes_in_every_schedule() {
    let report = all_well(|| {
        let shared = Arc::new((Mutex::new(()), AtomicU32::new(0)));
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let shared = Arc::clone(&shared);
                sync::spawn("task", move || {
                    point();
                    point();
                    let _guard = shared.0.lock();
                    let inside = shared.1.load(Relaxed);
                    point();
                    shared.1.store(inside + 1, Relaxed);
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(shared.1.load(Relaxed), 3);
    });
    assert!(report.bounds[1].schedules > report.bounds[0].schedules);
}

#[test]
fn without_the_mutex_an_update_is_lost_at_one_preemption() {
    let report = search(|| {
        let count = Arc::new(AtomicU32::new(0));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let count = Arc::clone(&count);
                sync::spawn("task", move || {
                    point();
                    let seen = count.load(Relaxed);
                    point();
                    count.store(seen + 1, Relaxed);
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        if count.load(Relaxed) != 2 {
            explore::report("lost-update", "an update is lost".to_owned());
        }
    });
    assert_eq!(report.find("lost-update").expect("the race").preemptions, 1);
}

#[test]
fn a_waiting_writer_stops_new_readers_and_try_read() {
    let report = all_well(|| {
        let lock = Arc::new(RwLock::new(0));
        // A writer has come and waits for a reader to leave.
        let waits = Arc::new(AtomicBool::new(false));
        let reader = {
            let (lock, waits) = (Arc::clone(&lock), Arc::clone(&waits));
            sync::spawn("reader", move || {
                point();
                let before = lock.read();
                point();
                point();
                if waits.load(Relaxed) {
                    assert!(lock.try_read().is_none(), "try_read passed a waiting writer");
                    explore::outcome("try_read stopped");
                }
                drop(before);
            })
        };
        let writer = {
            let (lock, waits) = (Arc::clone(&lock), Arc::clone(&waits));
            sync::spawn("writer", move || {
                point();
                waits.store(true, Relaxed);
                *lock.write() += 1;
                waits.store(false, Relaxed);
                point();
            })
        };
        let late = {
            let (lock, waits) = (Arc::clone(&lock), Arc::clone(&waits));
            sync::spawn("late", move || {
                point();
                point();
                let waited = waits.load(Relaxed);
                let value = *lock.read();
                assert!(!waited || value == 1, "a new reader passed a waiting writer");
                if waited {
                    explore::outcome("reader stopped");
                }
            })
        };
        [reader, writer, late].into_iter().for_each(|task| task.join().unwrap());
    });
    assert!(report.outcomes["try_read stopped"] > 0 && report.outcomes["reader stopped"] > 0);
}

#[test]
fn a_downgraded_writer_lets_readers_in_and_no_writer() {
    let report = all_well(|| {
        let lock = Arc::new(RwLock::new(0));
        let first = Arc::clone(&lock);
        let downgrader = sync::spawn("downgrader", move || {
            point();
            let mut write = first.write();
            *write = 1;
            let read = allocator::sync::RwLockWriteGuard::downgrade(write);
            point();
            point();
            assert_eq!(*read, 1, "a writer came in between");
        });
        let second = Arc::clone(&lock);
        let writer = sync::spawn("writer", move || {
            point();
            *second.write() = 2;
        });
        let reader = sync::spawn("reader", move || {
            point();
            explore::outcome(if lock.try_read().is_some() { "read" } else { "stopped" });
        });
        [downgrader, writer, reader].into_iter().for_each(|task| task.join().unwrap());
    });
    assert!(report.outcomes.len() == 2, "{:?}", report.outcomes);
}

/// A queue of one place: `wait_first` waits before it looks, which loses wakeups.
fn handover(wait_first: bool) -> impl Fn() + Send + Sync + Clone + 'static {
    move || {
        let queue = Arc::new((Mutex::new(false), Condvar::new()));
        let taker = Arc::clone(&queue);
        let takes = sync::spawn("taker", move || {
            point();
            let mut full = taker.0.lock();
            if wait_first {
                taker.1.wait(&mut full);
            }
            while !*full {
                taker.1.wait(&mut full);
            }
        });
        let gives = sync::spawn("giver", move || {
            point();
            *queue.0.lock() = true;
            point();
            queue.1.notify_one();
        });
        takes.join().unwrap();
        gives.join().unwrap();
    }
}

#[test]
fn no_wakeup_is_lost_by_who_looks_before_it_waits() {
    all_well(handover(false));
    let report = search(handover(true));
    let find = report.find("deadlock").expect("the lost wakeup");
    assert_eq!(find.preemptions, 0);
    assert!(find.text.contains("taker sleeps until notified"), "{}", find.text);
}

#[test]
fn notify_one_wakes_in_order_of_arrival_and_notify_all_everybody() {
    all_well(|| {
        let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let tasks: Vec<_> = (0..2)
            .map(|number| {
                let queue = Arc::clone(&queue);
                sync::spawn("waiter", move || {
                    point();
                    let mut log = queue.0.lock();
                    log.push(number);
                    queue.1.wait(&mut log);
                    log.push(number + 10);
                })
            })
            .collect();
        let waker = {
            let queue = Arc::clone(&queue);
            sync::spawn("waker", move || {
                // Both sleep before the clock can move.
                let mut log = queue.0.lock();
                let other = Condvar::new();
                assert!(other.wait_until(&mut log, 5));
                queue.1.notify_one();
                assert!(other.wait_until(&mut log, 6));
                assert_eq!(log[2], log[0] + 10, "who came first is woken first");
                queue.1.notify_all();
            })
        };
        tasks.into_iter().for_each(|task| task.join().unwrap());
        waker.join().unwrap();
        assert_eq!(queue.0.lock().len(), 4);
    });
}

fn sleep_until(deadline_ns: u64) {
    let (place, timer) = (Mutex::new(()), Condvar::new());
    let mut guard = place.lock();
    while !timer.wait_until(&mut guard, deadline_ns) {}
}

#[test]
fn the_clock_jumps_in_order_and_only_if_nobody_can_run() {
    let world = || {
        let log = Arc::new(Mutex::new(Vec::new()));
        let sleeper = |deadline: u64| {
            let log = Arc::clone(&log);
            sync::spawn("sleeper", move || {
                sleep_until(deadline);
                assert_eq!(sync::monotonic_ns(), deadline);
                log.lock().push(deadline);
            })
        };
        let sleepers = [sleeper(3_000), sleeper(1_000), sleeper(2_000)];
        let worker = sync::spawn("worker", || {
            (0..3).for_each(|_| point());
            assert_eq!(sync::monotonic_ns(), 0, "the clock moved although a task could run");
        });
        sleepers.into_iter().for_each(|task| task.join().unwrap());
        worker.join().unwrap();
        assert_eq!(*log.lock(), [1_000, 2_000, 3_000]);
    };
    all_well(world);
}

#[test]
fn an_early_timer_costs_a_preemption() {
    let world = || {
        let sleeper = sync::spawn("sleeper", || sleep_until(1_000));
        let worker = sync::spawn("worker", || {
            point();
            point();
            if sync::monotonic_ns() > 0 {
                explore::report("late", "the timer came before the work was done".to_owned());
            }
        });
        sleeper.join().unwrap();
        worker.join().unwrap();
    };
    assert!(search(world).finds.is_empty());
    let scheduler = Scheduler::Bounded { preemptions: 1 };
    let config = Config { scheduler, early_expiry: true, ..Config::default() };
    let report = explore::run(&config, |_| ControlFlow::Continue(()), world);
    assert_eq!(report.find("late").expect("the early timer").preemptions, 1);
}

#[test]
fn timers_that_only_run_for_each_other_are_a_stall() {
    let report = search(|| {
        let task = sync::spawn("ticker", || {
            loop {
                sleep_until(sync::monotonic_ns() + 100_000_000_000);
            }
        });
        let _ = task.join();
    });
    assert!(report.find("stall").is_some());
}

/// Two readers spin until a writer is through.
fn spinners(writer_ends: bool) -> impl Fn() + Send + Sync + Clone + 'static {
    move || {
        let busy = Arc::new(AtomicBool::new(true));
        let spins = || {
            let busy = Arc::clone(&busy);
            sync::spawn("spinner", move || {
                point();
                let mut spin = SpinRounds::default();
                while busy.load(Relaxed) {
                    spin.wait(ObjId::of(&*busy));
                }
                point();
            })
        };
        let spinners = [spins(), spins()];
        let writer = sync::spawn("writer", move || {
            (0..3).for_each(|_| point());
            if writer_ends {
                busy.store(false, Relaxed);
                sync::touched(ObjId::of(&*busy));
            }
            point();
        });
        spinners.into_iter().for_each(|task| task.join().unwrap());
        writer.join().unwrap();
    }
}

#[test]
fn spinners_are_no_livelock_while_the_writer_can_run() {
    let report = all_well(spinners(true));
    assert!(report.schedules < 5_000, "spinners ping-pong: {}", report.schedules);
}

#[test]
fn spinners_that_nobody_frees_are_a_livelock() {
    let report = search(spinners(false));
    assert!(report.complete, "{:?}", report.gaps);
    let find = report.find("livelock").expect("the livelock");
    assert_eq!(find.runs, report.schedules);
    assert!(find.text.contains("spinner spins; spinner spins"), "{}", find.text);
}

#[test]
fn a_spinner_that_learns_that_its_wait_is_hopeless_can_end_it_itself() {
    let report = all_well(|| {
        let (odd, over) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        // Only one of the two can tell why; the other one sees that the run is over.
        let spins = |knows: bool| {
            let (odd, over) = (Arc::clone(&odd), Arc::clone(&over));
            sync::spawn("spinner", move || {
                point();
                let mut spin = SpinRounds::default();
                while odd.load(Relaxed) && !over.load(Relaxed) {
                    let rounds = spin.wait(ObjId::of(&*odd));
                    assert_eq!(rounds, SpinRounds::HOPELESS);
                    if knows {
                        over.store(true, Relaxed);
                    }
                }
            })
        };
        let spinners = [spins(false), spins(true)];
        spinners.into_iter().for_each(|task| task.join().unwrap());
    });
    assert!(report.schedules > 1);
}

#[test]
fn a_panic_is_a_finding_and_the_search_goes_on() {
    let report = search(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&flag);
        let held = Arc::new(Mutex::new(()));
        let other = Arc::clone(&held);
        let looks = sync::spawn("looks", move || {
            point();
            let _guard = held.lock();
            point();
            assert!(!seen.load(Relaxed), "the flag is up");
        });
        let sets = sync::spawn("sets", move || {
            point();
            flag.store(true, Relaxed);
            point();
            drop(other.lock());
        });
        looks.join().unwrap();
        sets.join().unwrap();
    });
    let find = report.find(explore::MODEL_PANIC).expect("the panic");
    assert!(find.text.contains("the flag is up"), "{}", find.text);
    assert!(find.text.contains("explore_sync.rs"), "{}", find.text);
    assert_eq!(find.preemptions, 0);
    assert!(find.runs < report.schedules);
    assert!(report.complete, "{:?}", report.gaps);
    // Main's unwrap of the join is no finding of its own.
    assert_eq!(report.finds.len(), 1);
}

#[test]
fn an_endless_execution_is_cut_and_the_search_not_complete() {
    let config = Config { max_steps: 200, ..Config::default() };
    let report = explore::run(
        &config,
        |_| ControlFlow::Continue(()),
        || {
            sync::spawn("endless", || {
                loop {
                    point();
                }
            })
            .join()
            .unwrap();
        },
    );
    assert!(!report.complete);
    assert_eq!(report.gaps, ["1 schedules were cut after 200 steps"]);
}

#[test]
fn tasks_that_die_with_an_execution_drop_what_they_hold() {
    struct Counts(Arc<AtomicU32>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let dropped = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&dropped);
    let report = search(move || {
        let lock = Arc::new((Mutex::new(()), Condvar::new()));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let held = (Counts(Arc::clone(&counter)), Arc::clone(&lock));
                sync::spawn("sleeper", move || {
                    let mut guard = held.1.0.lock();
                    held.1.1.wait(&mut guard);
                })
            })
            .collect();
        let holds = Counts(Arc::clone(&counter));
        tasks.into_iter().for_each(|task| task.join().unwrap());
        drop(holds);
    });
    assert!(report.find("deadlock").is_some());
    let executions = u32::try_from(report.executed).unwrap() + 1;
    assert_eq!(dropped.load(Relaxed), 3 * executions, "one replay included");
}
