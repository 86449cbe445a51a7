//! A schedule as the few choices that differ from the default, and its replay.
//!
//! **Why not every step.** A list of choices survives changes of the code that add no points, is
//! short enough to read, and can be shrunk. Each choice carries the label of its point: one that no
//! longer fits is reported and not made.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;

use super::{At, Choice, Config, Event};
use crate::sync::engine::{Core, Decision, RunEnd, Strategy, drive};

/// A schedule: all choices that differ from the default, in the order in which they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Schedule {
    /// The choices.
    pub choices: Vec<Choice>,
}

/// Why a schedule's text can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}; want: (point|block) TASK ORDINAL LABEL -> TASK")]
pub struct ScheduleError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl Schedule {
    /// One line a choice, labels by name.
    pub fn to_text(&self, name: impl Fn(u16) -> String) -> String {
        let mut text = String::new();
        for choice in &self.choices {
            let at = match choice.at {
                At::Point => "point",
                At::Block => "block",
            };
            let Choice { task, ordinal, label, to, .. } = *choice;
            let _ = writeln!(text, "{at} {task} {ordinal} {} -> {to}", name(label));
        }
        text
    }

    /// Reads what [`Schedule::to_text`] writes; empty lines and lines that begin with `#` are
    /// skipped.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn from_text(
        text: &str,
        label: impl Fn(&str) -> Option<u16>,
    ) -> Result<Self, ScheduleError> {
        let mut choices = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = |what: String| ScheduleError { line: index + 1, what };
            let words: Vec<&str> = line.split_whitespace().collect();
            let [at, task, ordinal, point, "->", to] = words[..] else {
                return Err(error(format!("'{line}'")));
            };
            let number = |word: &str| {
                word.parse::<u32>().map_err(|_| error(format!("'{word}' is no number")))
            };
            choices.push(Choice {
                at: match at {
                    "point" => At::Point,
                    "block" => At::Block,
                    other => return Err(error(format!("'{other}' is neither point nor block"))),
                },
                task: number(task)? as usize,
                ordinal: number(ordinal)?,
                label: label(point).ok_or_else(|| error(format!("no point '{point}'")))?,
                to: number(to)? as usize,
            });
        }
        Ok(Self { choices })
    }
}

/// What one replayed schedule did.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Findings: kind and text.
    pub findings: Vec<(&'static str, String)>,
    /// Outcome labels.
    pub outcomes: Vec<String>,
    /// Preemptions made.
    pub preemptions: u32,
    /// Switches from one worker task to another, preemptions included.
    pub switches: u32,
    /// The order of the points, hashed: equal for equal executions.
    pub hash: u64,
    /// What happened.
    pub trace: Vec<Event>,
    /// Names of the tasks; 0 is main.
    pub tasks: Vec<String>,
    /// The choices that were made, which is the schedule itself if all of it fitted.
    pub made: Schedule,
    /// Choices that did not fit and why: the source has changed since the schedule was kept.
    pub misfits: Vec<(Choice, String)>,
}

impl Replay {
    /// Stands where none was made yet.
    pub(super) fn nothing() -> Self {
        Self {
            findings: Vec::new(),
            outcomes: Vec::new(),
            preemptions: 0,
            switches: 0,
            hash: 0,
            trace: Vec::new(),
            tasks: Vec::new(),
            made: Schedule::default(),
            misfits: Vec::new(),
        }
    }
}

/// Executes one schedule and tells what happened. Of `config` only the limits count.
pub fn replay(
    config: &Config,
    schedule: &Schedule,
    world: impl Fn() + Send + Sync + 'static,
) -> Replay {
    let result = Rc::new(RefCell::new(None));
    let strategy = Replayer {
        choices: schedule.choices.clone(),
        used: vec![false; schedule.choices.len()],
        misfits: Vec::new(),
        ran: false,
        result: Rc::clone(&result),
    };
    let core = drive(Core::new(Box::new(strategy), config.limits(), true), world);
    let (trace, tasks) = core.into_trace();
    let replay = result.take();
    Replay { trace, tasks, ..replay.expect("the replayed execution has ended") }
}

struct Replayer {
    choices: Vec<Choice>,
    used: Vec<bool>,
    misfits: Vec<(Choice, String)>,
    ran: bool,
    result: Rc<RefCell<Option<Replay>>>,
}

impl Strategy for Replayer {
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.ran, true)
    }

    fn choose(&mut self, decision: &Decision<'_>) -> usize {
        let here = |choice: &Choice| {
            (choice.at, choice.task, choice.ordinal)
                == (decision.at, decision.task, decision.ordinal)
        };
        let Some(found) = self.choices.iter().position(here) else { return 0 };
        let choice = self.choices[found];
        self.used[found] = true;
        if choice.label != decision.label {
            let why = format!("the point is another one now (label {})", decision.label);
            self.misfits.push((choice, why));
            return 0;
        }
        let index = decision.candidates.iter().position(|other| other.task == choice.to);
        index.unwrap_or_else(|| {
            self.misfits.push((choice, format!("task {} can't run there", choice.to)));
            0
        })
    }

    fn end(&mut self, run: &RunEnd<'_>) {
        let unused = self.choices.iter().zip(&self.used).filter(|(_, used)| !**used);
        let mut misfits = std::mem::take(&mut self.misfits);
        misfits.extend(unused.map(|(choice, _)| (*choice, "never reached".to_owned())));
        self.result.replace(Some(Replay {
            findings: run.findings.to_vec(),
            outcomes: run.outcomes.to_vec(),
            preemptions: run.preemptions,
            switches: run.switches,
            hash: run.hash,
            trace: Vec::new(),
            tasks: Vec::new(),
            made: Schedule { choices: run.choices.to_vec() },
            misfits,
        }));
    }
}
