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
