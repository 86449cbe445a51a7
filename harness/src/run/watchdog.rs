//! A hang is a result: notices that tasks make no more steps, and says where each of them is.
//!
//! **What.** All tasks without a step for [`ALL_STALLED`], or one for [`ONE_STALLED`], is a lockup.
//! The round's clock is aborted, which ends every loop that could go on for ever; what each task
//! did last becomes the finding.
//!
//! **Why two limits.** A step is bounded, and so are the kernel's own waits; but one task among
//! hundreds on two CPUs may wait for its turn much longer than all of them together.
//!
//! **Differs.** Time in which this thread itself did not run (a stopped process, a host asleep) does
//! not count.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use allocator::run::task::Task;
use allocator::sync::{Arc, stamp};

use super::control::{Control, lock};
use crate::record::clock::Ticks;

/// No task at all made a step for so long.
pub const ALL_STALLED: Duration = Duration::from_secs(5);
/// One task made no step for so long while others did.
pub const ONE_STALLED: Duration = Duration::from_secs(20);
/// A longer pause between two looks means that we did not run ourselves.
const WE_SLEPT: Duration = Duration::from_millis(1500);

/// Limits of a round.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For all tasks together.
    pub all: Duration,
    /// For one of them.
    pub one: Duration,
}

impl Limits {
    /// Stretched by a model clock that runs slower than the host's, and by crowds: tasks of one
    /// CPU take turns.
    pub fn of(time_scale: f64, tasks: usize, cpus: usize) -> Self {
        let slow = (1.0 / time_scale).max(1.0);
        let crowd = (tasks as f64 / cpus.max(1) as f64 / 64.0).max(1.0);
        Self { all: ALL_STALLED.mul_f64(slow), one: ONE_STALLED.mul_f64(slow * crowd) }
    }
}

/// Watches one round.
#[derive(Debug)]
pub struct Watchdog {
    limits: Limits,
    last_look: Instant,
    /// Steps of each thread at the last look, and since when they are the same.
    seen: Vec<(u64, Instant)>,
}

impl Watchdog {
    /// From now on.
    pub fn new(limits: Limits, threads: usize, now: Instant) -> Self {
        Self { limits, last_look: now, seen: vec![(0, now); threads] }
    }

    /// Looks at the steps. Some: indices of the threads that are stuck.
    pub fn look(&mut self, control: &Control, now: Instant) -> Option<Vec<usize>> {
        let slept = now.duration_since(self.last_look) > WE_SLEPT;
        self.last_look = now;
        let mut waits = Vec::new();
        for (i, (slot, (steps, since))) in control.slots.iter().zip(&mut self.seen).enumerate() {
            let made = slot.steps.load(Ordering::Relaxed);
            if slept || made != *steps {
                (*steps, *since) = (made, now);
            }
            if slot.done.load(Ordering::Relaxed) == 0 {
                waits.push((i, now.duration_since(*since)));
            }
        }
        let all = waits.iter().map(|(_, w)| *w).min().is_some_and(|w| w >= self.limits.all);
        if all {
            return Some(waits.into_iter().map(|(i, _)| i).collect());
        }
        let stuck: Vec<usize> =
            waits.into_iter().filter(|(_, w)| *w >= self.limits.one).map(|(i, _)| i).collect();
        (!stuck.is_empty()).then_some(stuck)
    }
}

/// Where the stuck tasks are, a line for each.
pub fn story(control: &Control, stuck: &[usize]) -> Vec<String> {
    let ticks = Ticks::default();
    let now = stamp();
    let of = |i: &usize| {
        let task = Arc::clone(&lock(&control.slots[*i].task));
        where_is(&task, &ticks, now)
    };
    let mut lines: Vec<String> = stuck.iter().take(16).map(of).collect();
    if stuck.len() > 16 {
        lines.push(format!("and {} more", stuck.len() - 16));
    }
    lines
}

fn where_is(task: &Task, ticks: &Ticks, now: u64) -> String {
    let waits = task.waits_at.load(Ordering::Relaxed).checked_sub(1);
    let waits = waits.and_then(|n| allocator::race::Point::from_number(n as u16));
    let name = format!("{} {}", task.process.comm, task.pid);
    if let Some(point) = waits {
        return format!("{name} waits at {} {}", point.label(), point.name());
    }
    match task.events.events().last() {
        Some(event) => {
            let ago = results::format::ns(ticks.ns(event.stamp, now) as f64);
            format!("{name} was last at {} {} ({ago} ago)", event.point.label(), event.describe())
        }
        None => format!("{name} never entered a slow path"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocator::ids::CpuId;
    use allocator::machine::Machine;
    use allocator::policy::Policy;
    use allocator::run::kernel::{Kernel, KernelConfig};

    fn control(tasks: u32) -> Control {
        let machine = Machine::uniform(1, 1, 2048);
        let kernel = Kernel::boot(machine, Policy::mainline(), KernelConfig::default()).unwrap();
        let process = kernel.new_process("hog", 0);
        Control::new((0..tasks).map(|_| kernel.new_task(&process, CpuId(0), 0)), None)
    }

    const LIMITS: Limits = Limits { all: Duration::from_secs(5), one: Duration::from_secs(20) };

    /// Looks once a second; `steps(second)` says which threads make a step.
    fn check(seconds: u64, steps: impl Fn(u64) -> [bool; 2], expected: Option<(u64, &[usize])>) {
        let control = control(2);
        let start = Instant::now();
        let mut dog = Watchdog::new(LIMITS, 2, start);
        for second in 1..=seconds {
            for (slot, step) in control.slots.iter().zip(steps(second)) {
                slot.steps.fetch_add(u64::from(step), Ordering::Relaxed);
            }
            if let Some(stuck) = dog.look(&control, start + Duration::from_secs(second)) {
                assert_eq!(expected, Some((second, stuck.as_slice())));
                return;
            }
        }
        assert_eq!(expected, None);
    }

    #[test]
    fn tasks_that_make_steps_are_left_alone() {
        check(100, |_| [true, true], None);
        check(100, |s| [s % 4 == 0, s % 3 == 0], None);
    }

    #[test]
    fn all_stuck_is_found_soon_and_one_stuck_later() {
        check(100, |s| [s < 10, s < 10], Some((14, &[0, 1])));
        check(100, |s| [true, s < 10], Some((29, &[1])));
    }

    #[test]
    fn a_stopped_process_is_no_lockup() {
        let control = control(2);
        let start = Instant::now();
        let mut dog = Watchdog::new(LIMITS, 2, start);
        assert_eq!(dog.look(&control, start + Duration::from_secs(3600)), None);
        assert_eq!(dog.look(&control, start + Duration::from_secs(3601)), None);
    }

    #[test]
    fn finished_tasks_are_not_waited_for() {
        let control = control(2);
        let start = Instant::now();
        let mut dog = Watchdog::new(LIMITS, 2, start);
        control.slots[0].done.store(1, Ordering::Relaxed);
        control.slots[1].done.store(1, Ordering::Relaxed);
        for second in 1..60 {
            assert_eq!(dog.look(&control, start + Duration::from_secs(second)), None);
        }
    }

    #[test]
    fn a_stuck_task_says_where_it_was_last() {
        let control = control(1);
        let task = Arc::clone(&lock(&control.slots[0].task));
        assert!(story(&control, &[0])[0].contains("never entered a slow path"));
        task.events.push(stamp(), allocator::race::Point::S7Retry, [3, 0, 0]);
        let line = &story(&control, &[0])[0];
        assert!(line.contains("was last at S7 retry, pass 3"), "{line}");
    }
}
