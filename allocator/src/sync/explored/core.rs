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
use std::fmt::Write as _;

use super::carrier;
use super::choice::{At, Candidate, Choice, Decision, RunEnd, Strategy, TaskIndex};
use crate::explore::{Event, EventKind};

/// Main: builds, spawns, joins, checks.
pub(crate) const MAIN: TaskIndex = 0;

/// How often spinners may look again when nobody else can run, before it is a livelock: once to see
/// who waits for whom and say so in the model's own words, once more to see that the run is over.
const LAST_LOOKS: u32 = 2;

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

/// What the task that asked has to do.
enum Go {
    On,
    Switch,
    Unwind,
}

/// A race point of the running task.
pub(crate) fn point(label: u16) {
    match with(|core| core.arrive(label)) {
        None => return,
        Some(Go::On) => {}
        Some(Go::Switch) => carrier::switch(),
        Some(Go::Unwind) => return unwind(),
    }
    if with(|core| core.depart(label)) == Some(true) {
        unwind();
    }
}

/// Waits until the object is touched, or the virtual clock has come to `deadline_ns`; true if it was
/// the clock, or if nobody is left who could end a spin. May return early, as any wait.
pub(crate) fn block_on(on: On, deadline_ns: Option<u64>) -> bool {
    match with(|core| core.wait(on, deadline_ns)) {
        None => {
            assert!(on == On::Yield, "a task waits for ever outside of an exploration ({on:?})");
            return false;
        }
        Some(Go::On) => {}
        Some(Go::Switch) => carrier::switch(),
        Some(Go::Unwind) => unwind(),
    }
    let (unwinds, timed_out) = with(|core| core.woken()).unwrap_or((false, false));
    if unwinds {
        unwind();
    }
    timed_out
}

/// Ends the running task, because the execution is given up. In a destructor of a task that is
/// being unwound already this does nothing: the wait counts as over, and the caller looks again.
fn unwind() {
    if with(Core::start_unwinding) == Some(true) {
        std::panic::resume_unwind(Box::new(TearDown));
    }
}

/// Runs `what`, whose waits return instead of unwinding when the execution is given up, then
/// unwinds if it is due.
pub(crate) fn without_unwinding<R>(what: impl FnOnce() -> R) -> R {
    let before = with(|core| core.shield(true));
    let result = what();
    if let Some(before) = before
        && with(|core| core.shield(before) && !before && core.tearing_down()) == Some(true)
    {
        unwind();
    }
    result
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
        self.report("panic", message);
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

    /// Chooses who runs after a task that has ended; none if the execution can't go on at all.
    pub(crate) fn after_end(&mut self) -> TaskIndex {
        self.choose_blocked(false);
        self.running
    }

    /// Makes whoever spins on the object ready.
    pub(crate) fn touched(&mut self, object: usize) {
        self.wake_if(|on| on == On::Spin(object));
    }

    /// The last reader has left a lock.
    pub(crate) fn readers_left(&mut self, lock: usize) {
        self.wake_if(|on| on == On::Readers(lock));
    }

    /// A lock is free: whoever waits for it may try again.
    pub(crate) fn unlocked(&mut self, lock: usize) {
        for task in &mut self.tasks {
            if let State::Waiting { on: On::Lock(on), .. } = task.state
                && on == lock
            {
                task.state = State::Ready;
                task.retries = Some(lock);
            }
        }
    }

    /// A lock was taken: who was woken to try it and has not run yet would only wait again, so it is
    /// no candidate until the next unlock.
    pub(crate) fn locked(&mut self, lock: usize) {
        if self.tearing_down {
            return;
        }
        for (index, task) in self.tasks.iter_mut().enumerate() {
            if task.retries == Some(lock) && index != self.running {
                task.retries = None;
                task.state = State::Waiting { on: On::Lock(lock), deadline_ns: None, arrival: 0 };
            }
        }
    }

    /// Wakes the waiter of a condition variable that came first.
    pub(crate) fn notify_one(&mut self, condvar: usize) {
        let first = self
            .tasks
            .iter_mut()
            .filter_map(|task| match task.state {
                State::Waiting { on, arrival, .. } if on == On::Condvar(condvar) => {
                    Some((arrival, task))
                }
                State::Waiting { .. } | State::Ready | State::Ended => None,
            })
            .min_by_key(|(arrival, _)| *arrival);
        if let Some((_, task)) = first {
            task.state = State::Ready;
        }
    }

    /// Wakes all waiters of a condition variable.
    pub(crate) fn notify_all(&mut self, condvar: usize) {
        self.wake_if(|on| on == On::Condvar(condvar));
    }

    fn wake_if(&mut self, hits: impl Fn(On) -> bool) {
        for task in &mut self.tasks {
            if let State::Waiting { on, .. } = task.state
                && hits(on)
            {
                task.state = State::Ready;
            }
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        if self.steps >= self.limits.max_steps && !self.tearing_down {
            self.cut = true;
            self.tear_down();
        }
    }

    fn arrive(&mut self, label: u16) -> Go {
        if self.tearing_down {
            return Go::Unwind;
        }
        let me = self.running;
        if me == MAIN {
            return Go::On;
        }
        self.step();
        if self.tearing_down {
            return Go::Unwind;
        }
        self.points += 1;
        self.note(EventKind::Point { label });
        let task = &mut self.tasks[me];
        task.points += 1;
        task.label = label;
        let ordinal = task.points;
        if ordinal == 1 {
            // A free choice has just made it run, and it has touched nothing shared yet.
            return Go::On;
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        candidates.push(Candidate { task: me, cost: 0, early: false });
        candidates.extend(self.ready_workers(Some(me)).map(|task| Candidate {
            task,
            cost: 1,
            early: false,
        }));
        self.add_early_expiry(&mut candidates);
        let chosen = self.ask(At::Point, me, ordinal, label, &candidates);
        self.candidates = candidates;
        if chosen == me {
            return Go::On;
        }
        self.preemptions += 1;
        self.switches += 1;
        self.note(EventKind::Preempted { to: chosen });
        self.go_to(chosen);
        Go::Switch
    }

    /// Behind a point: the segment that it names happens now. True if the execution is given up.
    fn depart(&mut self, label: u16) -> bool {
        if self.tearing_down {
            return true;
        }
        if self.running != MAIN {
            self.mix((self.running as u64) << 16 | u64::from(label));
        }
        false
    }

    fn wait(&mut self, on: On, deadline_ns: Option<u64>) -> Go {
        let me = self.running;
        self.step();
        if self.tearing_down {
            if !self.tasks[me].unwinding && !self.tasks[me].shielded {
                return Go::Unwind;
            }
            // A destructor waits, or a sleeper for its lock. Who holds the lock, or has to end, is going to be unwound; nobody
            // is going to notify.
            if matches!(on, On::Condvar(_) | On::Yield | On::Spin(_)) {
                return Go::On;
            }
        }
        let expired = deadline_ns.is_some_and(|deadline| deadline <= self.clock_ns);
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.tasks[me].timed_out = expired;
        self.tasks[me].state = if expired || on == On::Yield {
            State::Ready
        } else {
            State::Waiting { on, deadline_ns, arrival }
        };
        if me != MAIN {
            // What a wait is for has an address, so only that there was one enters the hash.
            self.mix((self.running as u64) << 16 | 0xffff_0000_0000);
        }
        self.note(match on {
            On::Spin(_) => EventKind::Spins,
            On::Lock(_) | On::Readers(_) | On::Condvar(_) | On::Task(_) | On::Yield => {
                EventKind::Waits
            }
        });
        self.choose_blocked(on == On::Yield);
        if self.running == me { Go::On } else { Go::Switch }
    }

    /// The running task is back from a wait: is the execution given up, and was it the clock?
    fn woken(&mut self) -> (bool, bool) {
        let unwinds = self.tearing_down;
        let task = &mut self.tasks[self.running];
        task.retries = None;
        (unwinds, std::mem::take(&mut task.timed_out))
    }

    /// Chooses who runs now that the running task can't go on.
    fn choose_blocked(&mut self, yields: bool) {
        let me = self.running;
        self.tasks[me].blocks += 1;
        let (ordinal, label) = (self.tasks[me].blocks, self.tasks[me].label);
        let chosen = loop {
            if self.tearing_down {
                break self.next_to_unwind();
            }
            let mut candidates = std::mem::take(&mut self.candidates);
            candidates.clear();
            // A task that only yields comes last: the default has to let the others on, and the
            // clock if there is nobody else.
            let yields = (yields && me != MAIN).then_some(me);
            candidates.extend(self.ready_workers(yields).map(|task| Candidate {
                task,
                cost: 0,
                early: false,
            }));
            candidates.extend(yields.map(|task| Candidate { task, cost: 0, early: false }));
            let alone = candidates.len() == 1 && yields.is_some();
            let chosen = if candidates.is_empty() || (alone && self.expire_next()) {
                None
            } else {
                self.add_early_expiry(&mut candidates);
                Some(self.ask(At::Block, me, ordinal, label, &candidates))
            };
            self.candidates = candidates;
            if let Some(chosen) = chosen {
                break chosen;
            }
            if alone {
                continue;
            }
            if self.tasks[MAIN].state == State::Ready {
                break MAIN;
            }
            if !self.expire_next() {
                self.nobody_can_run();
            }
        };
        if chosen != me {
            self.switches += u32::from(chosen != MAIN && me != MAIN);
            self.go_to(chosen);
        }
    }

    fn go_to(&mut self, chosen: TaskIndex) {
        if let State::Waiting { deadline_ns: Some(deadline), .. } = self.tasks[chosen].state
            && !self.tearing_down
        {
            // Chosen as an early expiry.
            self.advance_to(deadline);
            self.tasks[chosen].state = State::Ready;
            self.tasks[chosen].timed_out = true;
        }
        self.running = chosen;
    }

    fn ready_workers(&self, but: Option<TaskIndex>) -> impl Iterator<Item = TaskIndex> {
        self.tasks
            .iter()
            .enumerate()
            .skip(1)
            .filter(move |(index, task)| task.state == State::Ready && Some(*index) != but)
            .map(|(index, _)| index)
    }

    fn next_deadline(&self) -> Option<(u64, TaskIndex)> {
        self.tasks
            .iter()
            .enumerate()
            .filter_map(|(index, task)| match task.state {
                State::Waiting { deadline_ns: Some(deadline), .. } => Some((deadline, index)),
                State::Waiting { .. } | State::Ready | State::Ended => None,
            })
            .min()
    }

    fn add_early_expiry(&self, candidates: &mut Vec<Candidate>) {
        if self.limits.early_expiry
            && let Some((_, task)) = self.next_deadline()
            && task != MAIN
        {
            candidates.push(Candidate { task, cost: 1, early: true });
        }
    }

    fn ask(
        &mut self,
        at: At,
        task: TaskIndex,
        ordinal: u32,
        label: u16,
        candidates: &[Candidate],
    ) -> TaskIndex {
        if candidates.len() == 1 {
            return candidates[0].task;
        }
        let used = self.preemptions;
        let decision = Decision { at, task, ordinal, label, candidates, used };
        let index = self.strategy.choose(&decision);
        let chosen = candidates[index];
        if index != 0 {
            self.choices.push(Choice { at, task, ordinal, label, to: chosen.task });
        }
        if at == At::Block {
            self.preemptions += chosen.cost;
        }
        chosen.task
    }

    fn advance_to(&mut self, deadline: u64) {
        if deadline > self.clock_ns {
            self.clock_ns = deadline;
            self.note(EventKind::Clock);
        }
    }

    /// Lets the clock jump to the next deadline; false if there is none.
    fn expire_next(&mut self) -> bool {
        let Some((deadline, _)) = self.next_deadline() else { return false };
        if deadline > self.limits.max_clock_ns {
            self.report(
                "stall",
                format!(
                    "nothing but timers runs, up to {} s of model time: {}",
                    deadline / 1_000_000_000,
                    self.who_waits()
                ),
            );
            self.tear_down();
            return true;
        }
        self.advance_to(deadline);
        for task in &mut self.tasks {
            if let State::Waiting { deadline_ns: Some(at), .. } = task.state
                && at <= deadline
            {
                task.state = State::Ready;
                task.timed_out = true;
            }
        }
        true
    }

    fn nobody_can_run(&mut self) {
        let spins = |task: &Task| matches!(task.state, State::Waiting { on: On::Spin(_), .. });
        let any_spins = self.tasks.iter().any(spins);
        if any_spins && self.hopeless < LAST_LOOKS {
            self.hopeless += 1;
            for task in self.tasks.iter_mut().filter(|task| spins(task)) {
                task.state = State::Ready;
                task.timed_out = true;
            }
            return;
        }
        let text = self.who_waits();
        self.report(if any_spins { "livelock" } else { "deadlock" }, text);
        self.tear_down();
    }

    fn who_waits(&self) -> String {
        let mut text = String::new();
        for task in &self.tasks {
            if let State::Waiting { on, .. } = task.state {
                let what = match on {
                    On::Lock(_) => "waits for a lock".to_owned(),
                    On::Readers(_) => "waits for readers to leave a lock".to_owned(),
                    On::Condvar(_) => "sleeps until notified".to_owned(),
                    On::Task(other) => format!("waits for the end of {}", self.tasks[other].name),
                    On::Spin(_) => "spins".to_owned(),
                    On::Yield => "yields".to_owned(),
                };
                let separator = if text.is_empty() { "" } else { "; " };
                let _ = write!(text, "{separator}{} {what}", task.name);
            }
        }
        text
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

    /// While tearing down: the highest task first, so that main, which owns the world, goes last.
    fn next_to_unwind(&self) -> TaskIndex {
        let ready = self.tasks.iter().rposition(|task| task.state == State::Ready);
        ready.unwrap_or_else(|| {
            carrier::give_up(
                "an execution can't be torn down: destructors of its tasks wait for each other",
            )
        })
    }

    fn mix(&mut self, value: u64) {
        let mut x = (self.hash ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.hash = x ^ (x >> 31);
    }
}
