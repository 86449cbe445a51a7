//! Whose turn it is: race points, waits, the clock, and the end of an execution that can't go on.

use std::fmt::Write as _;

use super::{Core, MAIN, On, State, Task, TearDown, with};
use crate::explore::{DEADLOCK, EventKind, LIVELOCK, STALL};
use crate::sync::world::carrier;
use crate::sync::world::choice::{At, Candidate, Choice, Decision, TaskIndex};

/// How often spinners may look again when nobody else can run, before it is a livelock: once to see
/// who waits for whom and say so in the model's own words, once more to see that the run is over.
const LAST_LOOKS: u32 = 2;

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
    /// Chooses who runs after a task that has ended; none if the execution can't go on at all.
    pub(crate) fn after_end(&mut self) -> TaskIndex {
        self.choose_blocked(false);
        self.running
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
                STALL,
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
        self.report(if any_spins { LIVELOCK } else { DEADLOCK }, text);
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
