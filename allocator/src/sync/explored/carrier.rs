//! What shuttle does for us: stacks, and switching between them.
//!
//! **What.** One shuttle runner per OS thread runs execution after execution. Its scheduler
//! ([`Door`]) has no choice to make: it is told who runs by [`super::core`]. To shuttle a waiting
//! task of ours is a runnable one that is never picked.
//!
//! **Why so little.** shuttle 0.9.9 calls its scheduler at each of its own operations, panics at a
//! deadlock, and leaks the stacks of executions that stop early. Here its scheduler is only called
//! for real switches, verdicts are data, and every stack is unwound.
//!
//! **Panics.** Those of a task are findings: the hook keeps them silent and notes where they were.

use std::any::Any;
use std::cell::RefCell;
use std::panic;
use std::sync::Once;

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use super::core::{Core, install, with, with_installed};
use super::spawn::run_task;

/// Bytes of a task's stack; only what is touched takes memory.
const STACK_SIZE: usize = 512 << 10;

thread_local! {
    /// Message and place of the last panic of a task on this OS thread.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lets the task run that the core has chosen; returns when this one is chosen again.
pub(super) fn switch() {
    shuttle::thread::yield_now();
}

/// Gives the task that the core has just added a stack.
pub(super) fn start(body: impl FnOnce() + Send + 'static) {
    // To shuttle a dropped handle is still an attached task.
    drop(shuttle::thread::spawn(body));
}

/// Ends the process: an execution is in a state that nothing can mend.
pub(super) fn give_up(why: &str) -> ! {
    eprintln!("stress: explorer: {why}");
    std::process::abort();
}

/// Runs executions of `world` until the core's scheduler has no more.
pub(crate) fn drive(core: Box<Core>, world: impl Fn() + Send + Sync + 'static) -> Box<Core> {
    prepare();
    let before = install(Some(core));
    assert!(before.is_none(), "an exploration inside of an exploration");
    Runner::new(Door, config()).run(move || {
        run_task(&world);
        with(Core::end_task);
    });
    install(None).expect("the core that was installed above")
}

/// Runs `body` on `count` OS threads at once, and returns their results in order.
pub(crate) fn on_os_threads<T: Send>(count: usize, body: impl Fn(usize) -> T + Sync) -> Vec<T> {
    if count == 1 {
        return vec![body(0)];
    }
    std::thread::scope(|scope| {
        let body = &body;
        let threads: Vec<_> = (0..count).map(|i| scope.spawn(move || body(i))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload)))
            .collect()
    })
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_SIZE;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::None;
    config.silence_warnings = true;
    config
}

/// Text of a panic's payload, with the place where it was if the hook saw it.
pub(super) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let noted = LAST_PANIC.take();
    if !noted.is_empty() {
        return noted;
    }
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// What has to be done once in a process.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        keep_the_heap();
        keep_task_panics_silent();
    });
}

/// Each execution builds a world and drops it. glibc would give the memory back to the host every
/// time and have it zeroed for the next: a third of the time of a small world, measured.
fn keep_the_heap() {
    #[cfg(target_env = "gnu")]
    {
        const KEPT: libc::c_int = 1 << 30;
        /// The most that glibc takes.
        const MAPPED: libc::c_int = 32 << 20;
        // SAFETY: mallopt takes two numbers, may be called at any time, and ignores what it can't use.
        unsafe {
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        }
    }
}

fn keep_task_panics_silent() {
    let original = panic::take_hook();
    // shuttle wraps the hook at its first run, to print: let it, and drop its wrapper.
    panic::set_hook(Box::new(|_| {}));
    Runner::new(OneRun(false), config()).run(|| {});
    drop(panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        if with(Core::start_unwinding).is_none() {
            return original(info);
        }
        LAST_PANIC.set(info.to_string());
    }));
}

/// shuttle's scheduler: does what the core says.
struct Door;

impl Scheduler for Door {
    fn new_execution(&mut self) -> Option<Schedule> {
        with_installed(|core| {
            core.end();
            core.begin().then(|| Schedule::new(0))
        })
    }

    fn next_task(&mut self, live: &[&Task], _: Option<TaskId>, _: bool) -> Option<TaskId> {
        with(|core| {
            let running = core.running();
            // A task of ours that has ended goes on until shuttle has seen its end.
            let gone = core.has_ended(running)
                && !live.iter().any(|task| usize::from(task.id()) == running);
            TaskId::from(if gone { core.after_end() } else { running })
        })
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}

/// The scheduler of the run that only lets shuttle install its hook.
struct OneRun(bool);

impl Scheduler for OneRun {
    fn new_execution(&mut self) -> Option<Schedule> {
        (!std::mem::replace(&mut self.0, true)).then(|| Schedule::new(0))
    }

    fn next_task(&mut self, live: &[&Task], _: Option<TaskId>, _: bool) -> Option<TaskId> {
        live.first().map(|task| task.id())
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}
