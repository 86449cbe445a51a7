//! `--baseline` and `--save-baseline` of a run: the new runs against a name kept in the history.
//!
//! **Why.** A gate that moves its own base along normalises a slow loss, so a name is moved only
//! by a run that passed.

use std::path::{Path, PathBuf};

use results::compare::Style;
use results::history::{self, CheckArgs, History};
use results::schema::Run;
use results::store;

use super::args::VerdictArgs;
use super::exit::Stop;
use crate::show::say;

/// What the baseline said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// The comparison, for people; empty without one.
    pub text: String,
    /// 0, 5 past a gate, 6 if something could not be judged.
    pub gate: i32,
}

/// Takes the runs into the history, compares them with the baseline and moves it, as the flags say.
///
/// # Errors
/// The history or the runs can't be read or written; a name that can't be one.
pub fn judge(args: &VerdictArgs, runs: &[Run], file: &Path) -> Result<Judged, Stop> {
    if args.baseline.is_none() && args.save_baseline.is_none() {
        return Ok(Judged::default());
    }
    if runs.iter().any(|run| run.interrupted) {
        say(format_args!("stress: note: interrupted, so no baseline is judged or moved"));
        return Ok(Judged::default());
    }
    let dir = PathBuf::from(store::RUNS_DIR);
    let mut history = History::open(&dir)?;
    if let Some(line) = history.add(&[file.to_owned()])?.refused.pop() {
        return Err(Stop::usage(line));
    }
    let mut judged = Judged::default();
    if let Some(name) = &args.baseline {
        let outcome = history::check(
            &history,
            &CheckArgs {
                inputs: vec![file.to_owned()],
                baseline: Some(name.clone()),
                last: None,
                except: Vec::new(),
                fail_on: args.fail_on.clone(),
                lenient: args.lenient,
                style: Style::Robot,
            },
        )?;
        outcome.warnings.iter().for_each(|w| say(format_args!("stress: {w}")));
        judged = Judged { text: outcome.text, gate: outcome.exit };
    }
    if let Some(name) = &args.save_baseline {
        let found = runs.iter().any(|run| run.findings.iter().any(|f| f.counts));
        if judged.gate == 0 && !found {
            history::save_baseline(&dir, name, &runs.iter().collect::<Vec<_>>())?;
            say(format_args!("stress: baseline '{name}' is this run now"));
        } else {
            say(format_args!("stress: note: baseline '{name}' stays: this run did not pass"));
        }
    }
    Ok(judged)
}
