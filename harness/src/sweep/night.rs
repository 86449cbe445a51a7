//! One night: plan, run, finish, in a directory of its own.
//!
//! **What.** `NIGHTS/2026-11-21T0130/` holds the plan, the cells and the report; `NIGHTS` itself is
//! the history's directory, so that each run lies there once. A night that was cut off is taken up
//! again if it is of the same plan and not too old; one that is finished stays as it is.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use results::store;

use super::cells::{Sweep, hold};
use super::finish::{self, NIGHT_FILE};
use super::plan::{PLAN_FILE, Plan};
use super::{cells, matrix};
use crate::cli::exit::{Exit, Stop};
use crate::cli::slow_down::SlowDown;
use crate::show::say;

/// A night that was cut off longer ago than this is not taken up: the next one is due, and half a
/// night on another day's machine is no night.
const STALE: Duration = Duration::from_secs(20 * 3600);

/// What `stress sweep night` was asked for.
#[derive(Clone, Debug)]
pub struct NightArgs {
    /// The matrix.
    pub matrix: PathBuf,
    /// Where all nights are.
    pub nights: PathBuf,
    /// A first night without baseline is well.
    pub lenient: bool,
    /// Let a name stand for this night's runs if it passes.
    pub save_baseline: Option<String>,
    /// Flags added to each cell's own.
    pub extra: Vec<String>,
    /// What is slowed down on purpose.
    pub slow_down: Vec<SlowDown>,
}

/// Runs tonight's matrix, or the rest of it.
///
/// # Errors
/// Another night is at work here; a bad matrix; what can't be written.
pub fn run(args: &NightArgs) -> Result<Exit, Stop> {
    let mut plan = matrix::plan(&args.matrix)?;
    plan.night.lenient |= args.lenient;
    let _lock = hold(&args.nights.join(".night.lock"), "another night is at work here")?;
    let dir = match unfinished(&args.nights, &plan)? {
        Some(dir) => {
            say(format_args!("stress: {}: goes on where it was cut off", dir.display()));
            dir
        }
        None => new_dir(&args.nights, SystemTime::now())?,
    };
    plan.save(&dir.join(PLAN_FILE), true)?;
    let judging = plan.night.clone();
    let sweep = Sweep { dir, plan, extra: args.extra.clone(), slow_down: args.slow_down.clone() };
    let exit = sweep.run_all()?;
    if exit.signal().is_some() {
        say(format_args!(
            "stress: interrupted: the same command goes on with {}",
            sweep.dir.display()
        ));
        return Ok(exit);
    }
    let judged = finish::finish(&sweep, &args.nights, &judging, args.save_baseline.as_deref())?;
    Ok(cells::worst(&[exit, judged]))
}

/// The newest night, if it was cut off, is of the same plan and young enough.
fn unfinished(nights: &Path, plan: &Plan) -> Result<Option<PathBuf>, Stop> {
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(nights).into_iter().flatten().flatten() {
        if entry.path().join(PLAN_FILE).exists() {
            dirs.push(entry.path());
        }
    }
    let Some(newest) = dirs.into_iter().max() else { return Ok(None) };
    if newest.join(NIGHT_FILE).exists() {
        return Ok(None);
    }
    let modified = std::fs::metadata(newest.join(PLAN_FILE)).and_then(|m| m.modified());
    let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    let why = if age.is_some_and(|age| age > STALE) {
        "is too old to go on with"
    } else if !Plan::read(&newest)?.is_same_work(plan) {
        "is of another matrix"
    } else {
        return Ok(Some(newest));
    };
    say(format_args!("stress: note: {} was cut off and {why}: left as it is", newest.display()));
    Ok(None)
}

/// `NIGHTS/2026-11-21T0130`, or the same with `-2` behind it.
fn new_dir(nights: &Path, at: SystemTime) -> Result<PathBuf, Stop> {
    Ok(store::new_numbered_dir(nights, &results::time::for_names(at))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::plan::Cell;

    #[test]
    fn a_night_that_was_cut_off_is_taken_up_again() {
        let nights = tempfile::tempdir().unwrap();
        let cell = Cell { name: "000-x".to_owned(), ..Cell::default() };
        let plan = Plan { plan: 1, cells: vec![cell], ..Plan::default() };
        assert_eq!(unfinished(nights.path(), &plan).unwrap(), None);
        let first = new_dir(nights.path(), SystemTime::UNIX_EPOCH).unwrap();
        let second = new_dir(nights.path(), SystemTime::UNIX_EPOCH).unwrap();
        assert!(second.ends_with("1970-01-01T0000-2"), "{}", second.display());
        std::fs::remove_dir(&second).unwrap();
        plan.save(&first.join(PLAN_FILE), false).unwrap();
        assert_eq!(unfinished(nights.path(), &plan).unwrap(), Some(first.clone()));
        let other = Plan { cells: Vec::new(), ..plan.clone() };
        assert_eq!(unfinished(nights.path(), &other).unwrap(), None);
        std::fs::write(first.join(NIGHT_FILE), "{}").unwrap();
        assert_eq!(unfinished(nights.path(), &plan).unwrap(), None);
    }

    #[test]
    fn an_old_night_is_left_as_it_is() {
        let nights = tempfile::tempdir().unwrap();
        let plan = Plan { plan: 1, ..Plan::default() };
        let dir = new_dir(nights.path(), SystemTime::UNIX_EPOCH).unwrap();
        plan.save(&dir.join(PLAN_FILE), false).unwrap();
        let file = std::fs::File::open(dir.join(PLAN_FILE)).unwrap();
        file.set_modified(SystemTime::now() - STALE - Duration::from_secs(60)).unwrap();
        assert_eq!(unfinished(nights.path(), &plan).unwrap(), None);
    }
}
