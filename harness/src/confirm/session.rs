//! A session with a guest: its tasks are brought to the points of an order, one part after the
//! other, in so many rounds.
//!
//! **How a task is paused.** A breakpoint at the point; at a hit by the task meant, under the
//! recipe's condition, the task *parks* if sleeping is legal there (interrupts on, no preemption
//! count, no RCU section): its registers are kept, and it calls `schedule_timeout_idle` for ever on
//! its own stack, below what the ABI lets a function use, with a return address in padding. It goes
//! on when another task calls `wake_up_process` for it, made to do so in the same way, and its
//! registers are put back at the breakpoint in the padding. Where sleeping is not legal its virtual
//! CPU *stands still* and the others run, which fails if they need that CPU.
//!
//! **Why not poll in the parked task.** Under load that is a livelock on a slow guest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use allocator_explore::race::Point;

use super::layout::Layout;
use super::recipe::{Part, Recipe};
use super::remote::{Broken, Registers, Remote};
use super::show::show;

/// What the guest tells, as in guest/init.c.
const BEGIN: u64 = 0xa1;
const DONE: u64 = 0xa2;
const FACT: u64 = 0xa3;
const SAY: u64 = 0xa4;
const ROUND: u64 = 0xa5;
const END: u64 = 0xa6;

/// What `turn` says at the end of a round.
const ANOTHER: u64 = 1;
const NO_MORE: u64 = 99;

/// For ever, as the kernel's timers have it.
const FOR_EVER: u64 = i64::MAX as u64;

/// A pause that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The task's name.
    pub task: String,
    /// The point.
    pub point: Point,
    /// How: parked, its CPU stood still and why, or only stopped (a control: it went on at once).
    pub how: String,
    /// State when it came.
    pub before: Vec<String>,
    /// State when it went on.
    pub after: Vec<String>,
    /// How long it was away.
    pub away: Duration,
}

/// A round that came to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Without the race?
    pub control: bool,
    /// Its pauses.
    pub pauses: Vec<Pause>,
    /// What the guest found, by name.
    pub facts: BTreeMap<String, i64>,
    /// What it said.
    pub said: Vec<String>,
    /// Hits of a point by others, or under other conditions.
    pub wrong_hits: u64,
}

/// Why a session ended before its last round did.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A point was not reached, and why.
    #[error("{0}")]
    NotReached(String),
    /// The caller was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The guest's stub, or the guest.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// An order to be followed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Without the race?
    pub control: bool,
    /// Who runs until where.
    pub order: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Has not begun.
    Absent,
    /// Waits for its turn.
    Waits,
    Runs,
    Paused,
    Done,
}

#[derive(Clone, Debug)]
struct Task {
    number: usize,
    name: String,
    /// Its task_struct.
    address: u64,
    state: State,
}

/// What follows when a call of ours comes back.
#[derive(Clone, Debug)]
enum Then {
    /// The task was parked: it goes on.
    GoOn,
    /// It has woken another one: nothing.
    Nothing,
    /// It has woken another one and is parked in turn.
    Park,
}

#[derive(Debug)]
struct Call {
    task: u64,
    /// The stack pointer when it is back.
    stack: u64,
    kept: Registers,
    then: Then,
}

/// The session.
pub struct Session<'a> {
    remote: Remote,
    layout: &'a Layout,
    recipe: &'a Recipe,
    /// Addresses of points.
    points: &'a BTreeMap<Point, u64>,
    plans: Vec<Plan>,
    tasks: Vec<Task>,
    /// The part of the order that runs; none between rounds and before all tasks have begun.
    part: Option<usize>,
    armed: Option<u64>,
    /// Armed is the point before which the part's own does not count.
    first: Option<Point>,
    calls: Vec<Call>,
    frozen: Option<String>,
    paused_at: Option<Instant>,
    shared: u64,
    round: Option<Round>,
    rounds: Vec<Round>,
    ended: bool,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}

/// Virtual CPUs of every guest.
const CPUS: u32 = 2;

impl<'a> Session<'a> {
    /// A session over a connected stub; the guest stands still.
    pub fn new(
        remote: Remote,
        layout: &'a Layout,
        recipe: &'a Recipe,
        points: &'a BTreeMap<Point, u64>,
        plans: Vec<Plan>,
    ) -> Self {
        Self {
            remote,
            layout,
            recipe,
            points,
            plans,
            tasks: Vec::new(),
            part: None,
            armed: None,
            first: None,
            calls: Vec::new(),
            frozen: None,
            paused_at: None,
            shared: 0,
            round: None,
            rounds: Vec::new(),
            ended: false,
        }
    }

    /// Runs until the last plan was followed. `watch` hears what happens and says whether to go on.
    ///
    /// # Errors
    /// A point that was not reached, an interruption, or a guest that ended. Rounds that were
    /// finished are in [`Session::rounds`].
    pub fn run(
        &mut self,
        until: Instant,
        watch: &mut dyn FnMut(Option<&str>) -> bool,
    ) -> Result<(), Failure> {
        self.remote.break_at(self.layout.syscall)?;
        self.remote.go(None, CPUS)?;
        while !self.ended {
            if !watch(None) {
                return Err(Failure::Interrupted);
            }
            if Instant::now() > until {
                return Err(Failure::NotReached(format!("time is over: {}", self.place())));
            }
            if !self.remote.stopped(Duration::from_millis(100))? {
                continue;
            }
            self.stop(watch)?;
            let frozen = self.frozen.clone();
            self.remote.go(frozen.as_deref(), CPUS)?;
        }
        Ok(())
    }

    /// The rounds that came to their end.
    pub fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// Where the session is, for whoever waits.
    fn place(&self) -> String {
        let (Some(plan), Some(_)) = (self.plans.get(self.rounds.len()), &self.round) else {
            return "the guest has not come up".to_owned();
        };
        let Some(part) = self.part.and_then(|p| plan.order.get(p)) else {
            let absent: Vec<&str> = self
                .tasks
                .iter()
                .filter(|t| t.state == State::Absent)
                .map(|t| t.name.as_str())
                .collect();
            return format!("tasks that have not begun: {}", absent.join(" "));
        };
        let name = self.name(part.task);
        match part.until {
            Some(point) => format!("{name} has not come to {}", point.name()),
            None => format!("{name} has not ended its part"),
        }
    }

    fn name(&self, number: usize) -> String {
        let own = self.tasks.iter().find(|t| t.number == number);
        own.map_or_else(|| format!("task {number}"), |t| t.name.clone())
    }

    fn current(&mut self, registers: &Registers) -> Result<u64, Broken> {
        self.remote.u64(registers.gs_base.wrapping_add(self.layout.current))
    }

    /// A virtual CPU has stopped.
    fn stop(&mut self, watch: &mut dyn FnMut(Option<&str>) -> bool) -> Result<(), Failure> {
        let registers = self.remote.registers()?;
        let rip = registers.rip();
        if rip == self.layout.syscall {
            return self.told(&registers, watch);
        }
        if !self.remote.breaks_at(rip) {
            return Ok(());
        }
        let current = self.current(&registers)?;
        if rip == self.layout.landing {
            let own = |c: &Call| c.stack == registers.rsp() && c.task == current;
            return match self.calls.iter().position(own) {
                Some(index) => self.landed(index),
                None => Ok(self.remote.step(rip)?),
            };
        }
        if self.armed == Some(rip) && self.is_meant(&registers, current) {
            let Some(Part { until: Some(point), .. }) =
                self.running().filter(|_| self.first.is_some())
            else {
                return self.pause(&registers);
            };
            // The request meant: from here on the part's own point counts.
            self.remote.step(rip)?;
            self.remote.unbreak(rip)?;
            self.first = None;
            return self.arm_at(point);
        }
        if let Some(round) = &mut self.round {
            round.wrong_hits += 1;
        }
        Ok(self.remote.step(rip)?)
    }

    fn running(&self) -> Option<Part> {
        self.plans.get(self.rounds.len())?.order.get(self.part?).copied()
    }

    /// Is it the task and the request that the part is about?
    fn is_meant(&self, registers: &Registers, current: u64) -> bool {
        let Some(Part { task, until: Some(point) }) = self.running() else { return false };
        let point = self.first.unwrap_or(point);
        let own = self.tasks.iter().any(|t| t.number == task && t.address == current);
        own && self.recipe.when.iter().filter(|(p, _)| *p == point).all(|(_, condition)| {
            registers
                .get(&condition.register)
                .is_some_and(|v| v & condition.mask == condition.value)
        })
    }

    /// What the guest tells by its system call.
    fn told(
        &mut self,
        registers: &Registers,
        watch: &mut dyn FnMut(Option<&str>) -> bool,
    ) -> Result<(), Failure> {
        let frame = registers.get("rdi").unwrap_or_default();
        let [di, si, dx] = self.layout.arguments;
        let what = self.remote.u64(frame + di)?;
        let (text, number) = (self.remote.u64(frame + si)?, self.remote.u64(frame + dx)?);
        match what {
            FACT | SAY => {
                let text = self.remote.text(text, 511)?;
                if let Some(round) = &mut self.round {
                    if what == SAY {
                        round.said.push(text.clone());
                    } else if let Some((name, value)) = text.split_once(' ')
                        && let Ok(value) = value.trim().parse()
                    {
                        round.facts.insert(name.to_owned(), value);
                    }
                }
                watch(Some(&text));
            }
            ROUND => {
                self.shared = text;
                if let Some(round) = self.round.take() {
                    self.rounds.push(round);
                }
                let plan = self.plans.get(self.rounds.len()).cloned();
                self.tasks = self
                    .recipe
                    .tasks
                    .iter()
                    .map(|(number, name)| Task {
                        number: *number,
                        name: name.clone(),
                        address: 0,
                        state: State::Absent,
                    })
                    .collect();
                self.part = None;
                if let Some(plan) = &plan {
                    let word = if plan.control { "control" } else { "race" };
                    watch(Some(&format!("round {}: {word}", self.rounds.len() + 1)));
                    self.round = Some(Round { control: plan.control, ..Round::default() });
                }
                self.turn(if plan.is_some() { ANOTHER } else { NO_MORE })?;
            }
            BEGIN => {
                let current = self.current(registers)?;
                for task in self.tasks.iter_mut().filter(|t| t.number as u64 == number) {
                    (task.address, task.state) = (current, State::Waits);
                }
                self.remote.step(registers.rip())?;
                if self.part.is_none() && self.tasks.iter().all(|t| t.state == State::Waits) {
                    self.begin(0)?;
                }
                return Ok(());
            }
            DONE => {
                for task in self.tasks.iter_mut().filter(|t| t.number as u64 == number) {
                    task.state = State::Done;
                }
                self.remote.step(registers.rip())?;
                return self.done(number);
            }
            END => self.ended = true,
            _ => {}
        }
        Ok(self.remote.step(registers.rip())?)
    }

    /// A task has done its part.
    fn done(&mut self, number: u64) -> Result<(), Failure> {
        let Some(part) = self.running().filter(|p| p.task as u64 == number) else { return Ok(()) };
        if let Some(point) = part.until {
            let name = self.name(part.task);
            let hits = self.round.as_ref().map_or(0, |r| r.wrong_hits);
            return Err(Failure::NotReached(format!(
                "{name} ended its part without coming to {} ({hits} hits by others or for other requests)",
                point.name()
            )));
        }
        self.begin(self.part.map_or(0, |p| p + 1))
    }

    fn turn(&mut self, task: u64) -> Result<(), Broken> {
        self.remote.write(self.shared, &task.to_le_bytes())
    }

    /// Begins a part of the order, in the context of whoever is stopped.
    fn begin(&mut self, index: usize) -> Result<(), Failure> {
        self.part = Some(index);
        let Some(part) = self.running() else { return Ok(()) };
        self.arm(part)?;
        let Some(task) = self.tasks.iter_mut().find(|t| t.number == part.task) else {
            return Ok(());
        };
        match task.state {
            State::Waits => {
                task.state = State::Runs;
                self.turn(part.task as u64)?;
            }
            State::Paused if self.frozen.is_some() => self.thaw(),
            State::Paused => {
                let address = task.address;
                let registers = self.remote.registers()?;
                self.call(registers, self.layout.wake, address, Then::Nothing)?;
            }
            // It ran to its end before; its next part is empty.
            State::Done => return self.begin(index + 1),
            State::Runs | State::Absent => {}
        }
        Ok(())
    }

    fn arm(&mut self, part: Part) -> Result<(), Failure> {
        let Some(point) = part.until else { return Ok(()) };
        self.first = self.recipe.via.iter().find(|(of, _)| *of == point).map(|(_, first)| *first);
        self.arm_at(self.first.unwrap_or(point))
    }

    fn arm_at(&mut self, point: Point) -> Result<(), Failure> {
        let address = self.points.get(&point).ok_or_else(|| {
            Failure::NotReached(format!("{} has no place in this kernel", point.name()))
        })?;
        self.armed = Some(*address);
        Ok(self.remote.break_at(*address)?)
    }

    /// The task meant is at its point.
    fn pause(&mut self, registers: &Registers) -> Result<(), Failure> {
        let Some(Part { task, until: Some(point) }) = self.running() else { return Ok(()) };
        let why_not = self.why_not_sleep(registers)?;
        let before = self.shown(registers, point)?;
        self.remote.unbreak(registers.rip())?;
        self.armed = None;
        let name = self.name(task);
        let next = self.part.map_or(0, |p| p + 1);
        let order = self.plans.get(self.rounds.len()).map(|p| p.order.clone()).unwrap_or_default();
        let stays = order.get(next).is_some_and(|p| p.task == task);
        if let Some(round) = &mut self.round {
            let away = Duration::ZERO;
            let how = match &why_not {
                _ if stays => "only stopped".to_owned(),
                None => "parked".to_owned(),
                Some(why) => format!("its CPU stood still ({why})"),
            };
            round.pauses.push(Pause { task: name, point, how, before, after: Vec::new(), away });
        }
        self.paused_at = Some(Instant::now());
        for own in self.tasks.iter_mut().filter(|t| t.number == task) {
            own.state = State::Paused;
        }
        let Some(next_part) = order.get(next).copied() else { return Ok(()) };
        self.part = Some(next);
        self.arm(next_part)?;
        let to = self.tasks.iter().position(|t| t.number == next_part.task);
        let state = to.map(|t| self.tasks[t].state.clone());
        if stays {
            // The control: it goes on at once.
            let registers = registers.clone();
            return self.go_on(&registers);
        }
        match (state, why_not) {
            (Some(State::Waits), why_not) => {
                if let Some(to) = to {
                    self.tasks[to].state = State::Runs;
                }
                self.turn(next_part.task as u64)?;
                match why_not {
                    None => self.call(registers.clone(), self.layout.wait, FOR_EVER, Then::GoOn)?,
                    Some(_) => self.frozen = Some(self.remote.thread().to_owned()),
                }
            }
            (Some(State::Paused), None) => {
                let address = to.map_or(0, |t| self.tasks[t].address);
                self.call(registers.clone(), self.layout.wake, address, Then::Park)?;
            }
            (_, why_not) => {
                return Err(Failure::NotReached(format!(
                    "{} can't be brought to go on from {} ({})",
                    self.name(next_part.task),
                    point.name(),
                    why_not.unwrap_or_else(|| "it has ended".to_owned())
                )));
            }
        }
        Ok(())
    }

    /// Why the task that is stopped may not sleep.
    fn why_not_sleep(&mut self, registers: &Registers) -> Result<Option<String>, Broken> {
        let mut reasons = Vec::new();
        if registers.general[17] >> 9 & 1 == 0 {
            reasons.push("interrupts are off".to_owned());
        }
        let count = self.remote.u32(registers.gs_base.wrapping_add(self.layout.preempt_count))?;
        if count & 0x7fff_ffff != 0 {
            reasons.push(format!("preempt_count {:#x}", count & 0x7fff_ffff));
        }
        if let Some(rcu) = self.layout.rcu {
            let current = self.current(registers)?;
            if self.remote.u32(current + rcu)? != 0 {
                reasons.push("in an RCU section".to_owned());
            }
        }
        Ok((!reasons.is_empty()).then(|| reasons.join(", ")))
    }

    fn shown(&mut self, registers: &Registers, point: Point) -> Result<Vec<String>, Broken> {
        let recipe = self.recipe;
        let own = recipe.show.iter().filter(|(p, _)| *p == point);
        own.map(|(_, what)| show(&mut self.remote, self.layout, registers, what)).collect()
    }

    /// Makes the task that is stopped call a function of the kernel.
    fn call(
        &mut self,
        kept: Registers,
        function: u64,
        argument: u64,
        then: Then,
    ) -> Result<(), Broken> {
        let task = self.current(&kept)?;
        let stack = (kept.rsp().wrapping_sub(256) & !15).wrapping_sub(8);
        self.remote.write(stack, &self.layout.landing.to_le_bytes())?;
        let mut registers = kept.clone();
        // rdi, rsp, rip
        (registers.general[5], registers.general[7], registers.general[16]) =
            (argument, stack, function);
        self.remote.set_registers(&registers)?;
        self.remote.break_at(self.layout.landing)?;
        self.calls.push(Call { task, stack: stack + 8, kept, then });
        Ok(())
    }

    /// A call of ours is back.
    fn landed(&mut self, index: usize) -> Result<(), Failure> {
        let Call { kept, then, task, .. } = self.calls.swap_remove(index);
        self.remote.unbreak(self.layout.landing)?;
        match then {
            Then::Park => Ok(self.call(kept, self.layout.wait, FOR_EVER, Then::GoOn)?),
            Then::Nothing => Ok(self.remote.set_registers(&kept)?),
            Then::GoOn => {
                self.remote.set_registers(&kept)?;
                for own in self.tasks.iter_mut().filter(|t| t.address == task) {
                    own.state = State::Runs;
                }
                // gs may be another CPU's by now; the prints need only what the task points to.
                self.go_on(&kept)
            }
        }
    }

    /// The task whose registers these are goes on from its pause.
    fn go_on(&mut self, registers: &Registers) -> Result<(), Failure> {
        let rip = registers.rip();
        let at = |p: &Point| self.points.get(p) == Some(&rip);
        let open = |p: &Pause| p.after.is_empty() && at(&p.point);
        let index = self.round.as_ref().and_then(|r| r.pauses.iter().rposition(open));
        let point = index.and_then(|i| self.round.as_ref().map(|r| r.pauses[i].point));
        if let (Some(index), Some(point)) = (index, point) {
            let after = self.shown(registers, point)?;
            let away = self.paused_at.map(|t| t.elapsed()).unwrap_or_default();
            if let Some(pause) = self.round.as_mut().and_then(|r| r.pauses.get_mut(index)) {
                (pause.after, pause.away) = (after, away);
            }
        }
        for own in &mut self.tasks {
            if own.state == State::Paused && self.part.is_some() {
                let running = self.plans[self.rounds.len()].order.get(self.part.unwrap_or(0));
                if running.is_some_and(|p| p.task == own.number) {
                    own.state = State::Runs;
                }
            }
        }
        if self.remote.breaks_at(rip) {
            self.remote.step(rip)?;
        }
        Ok(())
    }

    /// The virtual CPU that stood still runs again.
    fn thaw(&mut self) {
        self.frozen = None;
        let away = self.paused_at.map(|t| t.elapsed()).unwrap_or_default();
        if let Some(pause) = self.round.as_mut().and_then(|r| r.pauses.last_mut()) {
            pause.away = away;
        }
        let running = self.running();
        for own in &mut self.tasks {
            if running.is_some_and(|p| p.task == own.number) {
                own.state = State::Runs;
            }
        }
    }
}
