//! The explorer itself: counts, verdicts, replay.
#![cfg(feature = "explore")]
extern crate allocator_explore as allocator;

use std::ops::ControlFlow;
use std::sync::Arc;

use allocator::explore::{self, Config, Progress, Report, Scheduler};
use allocator::sync::{self, Mutex};

fn bounded(preemptions: u32) -> Config {
    Config { scheduler: Scheduler::Bounded { preemptions }, ..Config::default() }
}

fn go(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn run(config: &Config, world: impl Fn() + Send + Sync + Clone + 'static) -> Report {
    explore::run(config, go, world)
}

/// Tasks that only pass points.
fn walkers(tasks: usize, points: u16) -> impl Fn() + Send + Sync + Clone + 'static {
    move || {
        let walk = move || (1..=points).for_each(sync::switch_point);
        let handles: Vec<_> = (0..tasks).map(|i| sync::spawn(&format!("w{i}"), walk)).collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    }
}

/// Schedules of tasks that don't block, counted without an enumerator: from a state, by what has
/// run, who runs, and what is left of the budget.
fn count(left: &mut Vec<u32>, running: usize, budget: u32) -> u64 {
    left[running] -= 1;
    let others = (0..left.len()).filter(|&task| task != running && left[task] > 0);
    let others: Vec<usize> = others.collect();
    let mut sum = 0;
    if left[running] > 0 {
        sum += count(left, running, budget);
        if budget > 0 {
            sum += others.iter().map(|&task| count(left, task, budget - 1)).sum::<u64>();
        }
    } else if others.is_empty() {
        sum = 1;
    } else {
        sum += others.iter().map(|&task| count(left, task, budget)).sum::<u64>();
    }
    left[running] += 1;
    sum
}

#[test]
fn the_enumerator_makes_as_many_schedules_as_an_independent_count() {
    for (tasks, points, expected) in [(2, 3, [2, 6, 14, 18]), (3, 3, [6, 42, 192, 552])] {
        let report = run(&bounded(3), walkers(tasks, points));
        assert!(report.complete, "{:?}", report.gaps);
        let made: Vec<u64> = report.bounds.iter().map(|bound| bound.schedules).collect();
        let counted: Vec<u64> = (0..4)
            .map(|k| (0..tasks).map(|t| count(&mut vec![points.into(); tasks], t, k)).sum())
            .collect();
        assert_eq!(counted, expected);
        assert_eq!(made, expected);
        assert_eq!(report.coverage.distinct, expected[3], "each schedule is another order");
    }
}

#[test]
fn a_lock_order_inversion_is_found_at_one_preemption_and_the_search_goes_on() {
    let world = || {
        let locks = Arc::new((Mutex::new(0), Mutex::new(0)));
        let other = Arc::clone(&locks);
        let ab = sync::spawn("ab", move || {
            sync::switch_point(1);
            let a = locks.0.lock();
            sync::switch_point(2);
            let b = locks.1.lock();
            *a + *b
        });
        let ba = sync::spawn("ba", move || {
            sync::switch_point(1);
            let b = other.1.lock();
            sync::switch_point(2);
            let a = other.0.lock();
            *a + *b
        });
        ab.join().unwrap();
        ba.join().unwrap();
    };
    let report = run(&bounded(2), world);
    assert!(report.complete, "{:?}", report.gaps);
    let find = report.find("deadlock").expect("the deadlock");
    assert_eq!(find.preemptions, 1);
    assert_eq!(find.text, "main waits for the end of ab; ab waits for a lock; ba waits for a lock");
    assert_eq!(report.bounds[0].violating, 0);
    assert!(report.bounds[2].schedules > report.bounds[2].violating);
}

#[test]
fn a_static_that_outlives_executions_is_noticed() {
    static RUNS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let world = || {
        let run = RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let points = if run % 3 == 2 { 2 } else { 4 };
        let walk = move || (1..=points).for_each(sync::switch_point);
        let tasks = [sync::spawn("a", walk), sync::spawn("b", walk)];
        tasks.into_iter().for_each(|task| task.join().unwrap());
    };
    let report = run(&bounded(2), world);
    assert!(!report.complete);
    assert!(report.coverage.diverged > 0);
    assert!(report.gaps[0].contains("diverged"), "{:?}", report.gaps);
}

#[test]
fn a_search_in_which_the_bound_never_bites_is_exhaustive_without_it() {
    let report = run(&bounded(20), walkers(2, 3));
    assert!(report.complete && report.unbounded);
    // Interleavings of 3 and 3 steps; no bound beyond the first that allows all of them is tried.
    assert_eq!(report.schedules, 20);
    assert!(report.bounds.len() < 8, "{:?}", report.bounds);
    assert!(!run(&bounded(2), walkers(2, 3)).unbounded);
}

#[test]
fn main_is_never_switched_away_from_and_comes_last() {
    let report = run(&bounded(3), || {
        (1..9).for_each(sync::switch_point);
        let tasks = [1, 2].map(|_| sync::spawn("w", || (1..=3).for_each(sync::switch_point)));
        (1..9).for_each(sync::switch_point);
        tasks.into_iter().for_each(|task| task.join().unwrap());
        (1..9).for_each(sync::switch_point);
    });
    let made: Vec<u64> = report.bounds.iter().map(|bound| bound.schedules).collect();
    assert_eq!(made, [2, 6, 14, 18]);
}

#[test]
fn tasks_that_tasks_spawn_are_explored_too() {
    let report = run(&bounded(2), || {
        let parent = sync::spawn("parent", || {
            sync::switch_point(1);
            let child = sync::spawn("child", || (1..=3).for_each(sync::switch_point));
            (2..=3).for_each(sync::switch_point);
            child.join().unwrap();
        });
        parent.join().unwrap();
    });
    assert!(report.complete, "{:?}", report.gaps);
    assert_eq!(report.coverage.tasks, 2);
    assert!(report.bounds[1].schedules > report.bounds[0].schedules);
}
