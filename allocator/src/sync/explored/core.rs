//! The state of one execution: tasks, what they wait for, the virtual clock, choices and verdicts.
//!
//! **What.** [`point`] and [`block_on`] are the only two places where tasks change. Both gather
//! who could run, ask the [`Strategy`], and switch stacks if the answer is somebody else.
//!
//! **Rules.** Main is a candidate only if no other task is. The clock jumps to the next deadline
//! only if nobody can run, main included. If there is no deadline either: with a spinner the
//! execution is a livelock, else a deadlock; both are findings, and the execution is torn down by
//! unwinding its tasks one after the other.
//!
//! **Differs.** Objects are known by address, but the address never decides an order: waiters are
//! searched in task order, and condition variables keep the order of arrival.

use std::cell::RefCell;

use super::choice::{Candidate, Choice, RunEnd, Strategy, TaskIndex};
use crate::explore::{Event, EventKind, MODEL_PANIC};
use crate::sync::lock::{Role, Site};

mod turn;
mod wake;

pub(crate) use turn::{block_on, point, without_unwinding};

/// Main: builds, spawns, joins, checks.
pub(crate) const MAIN: TaskIndex = 0;

/// Thrown through a task's stack to end it when an execution is given up.
pub(crate) struct TearDown;

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// A lock, by its address.
    Lock(usize),
    /// The readers inside a lock, by the lock's address.
    Readers(usize),
    /// A notification of a condition variable, by its address.
    Condvar(usize),
    /// The end of a task.
    Task(TaskIndex),
    /// A word that has to change, by its address.
    Spin(usize),
    /// Nothing: others may run first.
    Yield,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Waiting {
        on: On,
        deadline_ns: Option<u64>,
        /// Order of arrival, for condition variables.
        arrival: u64,
    },
    Ended,
}

#[derive(Debug)]
struct Task {
    name: String,
    state: State,
    points: u32,
    blocks: u32,
    label: u16,
    /// Its last wait ended by the clock.
    timed_out: bool,
    /// It was woken to try this lock again, and has not run since.
    retries: Option<usize>,
    /// Its stack is being unwound. (`std::thread::panicking` speaks of the whole OS thread.)
    unwinding: bool,
    /// It must not be unwound just now.
    shielded: bool,
    /// Kernel locks that it holds, the innermost last.
    held: Vec<Site>,
    /// What it does.
    role: Role,
}

/// Limits of one execution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Points, blocks and spins before the execution is cut.
    pub(crate) max_steps: u64,
    /// Virtual time after which an execution in which only timers run is a finding.
    pub(crate) max_clock_ns: u64,
    /// Offer the next timer at the price of a preemption while others can run.
    pub(crate) early_expiry: bool,
}

/// One execution, and the scheduler that lives from one execution to the next.
pub(crate) struct Core {
    strategy: Box<dyn Strategy>,
    limits: Limits,
    tasks: Vec<Task>,
    running: TaskIndex,
    clock_ns: u64,
    steps: u64,
    points: u64,
    arrivals: u64,
    preemptions: u32,
    switches: u32,
    hash: u64,
    tearing_down: bool,
    /// How often all spinners were told that nobody else can run.
    hopeless: u32,
    cut: bool,
    active: bool,
    choices: Vec<Choice>,
    findings: Vec<(&'static str, String)>,
    outcomes: Vec<String>,
    /// Only kept when a schedule is replayed to be told.
    trace: Option<Vec<Event>>,
    candidates: Vec<Candidate>,
}

thread_local! {
    static CORE: RefCell<Option<Box<Core>>> = const { RefCell::new(None) };
}

/// The execution of this OS thread, if there is one.
#[inline]
pub(crate) fn with<R>(what: impl FnOnce(&mut Core) -> R) -> Option<R> {
    CORE.with_borrow_mut(|core| core.as_mut().filter(|core| core.active).map(|core| what(core)))
}

/// Puts a core in place, or takes it away.
pub(crate) fn install(core: Option<Box<Core>>) -> Option<Box<Core>> {
    CORE.replace(core)
}

/// The core of this OS thread, between executions too.
pub(crate) fn with_installed<R>(what: impl FnOnce(&mut Core) -> R) -> R {
    CORE.with_borrow_mut(|core| what(core.as_mut().expect("no exploration on this OS thread")))
}

impl Core {
    pub(crate) fn new(strategy: Box<dyn Strategy>, limits: Limits, traced: bool) -> Box<Self> {
        Box::new(Self {
            strategy,
            limits,
            tasks: Vec::new(),
            running: MAIN,
            clock_ns: 0,
            steps: 0,
            points: 0,
            arrivals: 0,
            preemptions: 0,
            switches: 0,
            hash: 0,
            tearing_down: false,
            hopeless: 0,
            cut: false,
            active: false,
            choices: Vec::new(),
            findings: Vec::new(),
            outcomes: Vec::new(),
            trace: traced.then(Vec::new),
            candidates: Vec::new(),
        })
    }

    /// Starts an execution; false if the scheduler has none to make.
    pub(crate) fn begin(&mut self) -> bool {
        if !self.strategy.begin() {
            return false;
        }
        self.tasks.clear();
        self.choices.clear();
        self.findings.clear();
        self.outcomes.clear();
        if let Some(trace) = &mut self.trace {
            trace.clear();
        }
        (self.running, self.clock_ns, self.steps, self.points, self.arrivals) = (MAIN, 0, 0, 0, 0);
        (self.preemptions, self.switches, self.hash, self.hopeless) = (0, 0, 0, 0);
        (self.tearing_down, self.cut, self.active) = (false, false, true);
        self.add_task("main");
        true
    }

    /// Ends the execution, if one is active, and tells the scheduler.
    pub(crate) fn end(&mut self) {
        if !self.active {
            return;
        }
        self.active = false;
        self.strategy.end(&RunEnd {
            findings: &self.findings,
            outcomes: &self.outcomes,
            choices: &self.choices,
            preemptions: self.preemptions,
            switches: self.switches,
            points: self.points,
            tasks: self.tasks.len(),
            hash: self.hash,
            cut: self.cut,
        });
    }

    pub(crate) fn into_trace(self) -> (Vec<Event>, Vec<String>) {
        let names = self.tasks.into_iter().map(|task| task.name).collect();
        (self.trace.unwrap_or_default(), names)
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn clock_ns(&self) -> u64 {
        self.clock_ns
    }

    pub(crate) fn running(&self) -> TaskIndex {
        self.running
    }

    pub(crate) fn tearing_down(&self) -> bool {
        self.tearing_down
    }

    pub(crate) fn has_ended(&self, task: TaskIndex) -> bool {
        self.tasks[task].state == State::Ended
    }

    /// What the running task holds and what it does.
    pub(crate) fn locks_mut(&mut self) -> (&mut Vec<Site>, &mut Role) {
        let task = &mut self.tasks[self.running];
        (&mut task.held, &mut task.role)
    }

    pub(crate) fn traced(&self) -> bool {
        self.trace.is_some()
    }

    pub(crate) fn add_task(&mut self, name: &str) -> TaskIndex {
        let task = self.tasks.len();
        self.tasks.push(Task {
            name: name.to_owned(),
            state: State::Ready,
            points: 0,
            blocks: 0,
            label: 0,
            timed_out: false,
            retries: None,
            unwinding: false,
            shielded: false,
            held: Vec::new(),
            role: Role::Other,
        });
        self.strategy.spawned(task);
        task
    }

    /// Notes a finding of the running task; one of each kind a run.
    pub(crate) fn report(&mut self, kind: &'static str, text: String) {
        if self.tearing_down || self.findings.iter().any(|(known, _)| *known == kind) {
            return;
        }
        self.note(EventKind::Report { kind, text: text.clone() });
        self.findings.push((kind, text));
    }

    pub(crate) fn outcome(&mut self, label: &str) {
        if !self.tearing_down && !self.outcomes.iter().any(|known| known == label) {
            self.outcomes.push(label.to_owned());
        }
    }

    /// Adds to the trace, if one is kept.
    pub(crate) fn note(&mut self, kind: EventKind) {
        let (task, clock_ns) = (self.running, self.clock_ns);
        if let Some(trace) = &mut self.trace {
            trace.push(Event { task, clock_ns, kind });
        }
    }

    /// Marks the running task as being unwound; false if it must not be, or is already.
    pub(crate) fn start_unwinding(&mut self) -> bool {
        let task = &mut self.tasks[self.running];
        !task.shielded && !std::mem::replace(&mut task.unwinding, true)
    }

    /// Keeps the running task from being unwound, or no longer; returns what was.
    fn shield(&mut self, shielded: bool) -> bool {
        std::mem::replace(&mut self.tasks[self.running].shielded, shielded)
    }

    /// A task panicked: a finding, and the end of the execution.
    pub(crate) fn panicked(&mut self, message: String) {
        self.report(MODEL_PANIC, message);
        self.tear_down();
    }

    /// The running task has ended. Its stack goes on to its end, then [`Core::after_end`] chooses.
    pub(crate) fn end_task(&mut self) {
        let me = self.running;
        self.tasks[me].state = State::Ended;
        // So that what another task does next has a later stamp.
        self.steps += 1;
        self.note(EventKind::Ended);
        self.wake_if(|on| on == On::Task(me));
    }

    /// Gives the execution up: every task is unwound at its next look.
    fn tear_down(&mut self) {
        if self.tearing_down {
            return;
        }
        self.tearing_down = true;
        for task in &mut self.tasks {
            if task.state != State::Ended {
                task.state = State::Ready;
            }
        }
    }
}
