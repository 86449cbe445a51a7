//! Running cells: one after the other, or the one that a job array names.
//!
//! **What.** Each cell has a directory of its own with `run.json`, the summary, and `cell.json`,
//! which says how it ended. A cell that is done is not run again, so a sweep that was cut off goes
//! on where it was.
//!
//! **Why.** Each cell is a process of its own: one that dies takes no other's result with it. It is
//! also a process group of its own, so that Ctrl-C reaches it once, through us.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use results::store;
use serde::{Deserialize, Serialize};

use super::plan::{Cell, Plan};
use crate::cli::exit::{Exit, Stop};
use crate::cli::slow_down::SlowDown;
use crate::run::signals::Signals;
use crate::show::say;

/// Cells' directories lie in it.
const CELLS_DIR: &str = "cells";
/// How a cell ended, in its directory.
const CELL_FILE: &str = "cell.json";
/// What it printed.
const SUMMARY_FILE: &str = "summary.txt";
/// A running cell is looked at this often.
const LOOK: Duration = Duration::from_millis(50);

/// How a cell ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Version of this file; 1.
    pub cell: u32,
    /// Name of the cell.
    pub name: String,
    /// The flags that it ran with.
    pub args: Vec<String>,
    /// Exit code; null if a signal killed it.
    pub exit: Option<i32>,
    /// When it began, RFC 3339.
    pub started: String,
    /// Wall time in seconds.
    pub seconds: f64,
}

impl Ended {
    /// Did it run to its end, whatever it found?
    pub fn is_done(&self) -> bool {
        matches!(self.exit, Some(0 | 1 | 5 | 6))
    }

    /// Was it interrupted, and is to be run again?
    pub fn is_partial(&self) -> bool {
        matches!(self.exit, Some(129 | 130 | 131 | 143))
    }

    /// In a word or two.
    pub fn word(&self) -> String {
        match self.exit {
            Some(0) => "ok".to_owned(),
            Some(1) => "FOUND".to_owned(),
            Some(5) => "past a gate".to_owned(),
            Some(6) => "not judged".to_owned(),
            Some(129 | 130 | 131 | 143) => "interrupted".to_owned(),
            Some(2) => "refused (exit 2)".to_owned(),
            Some(3) => "can't run here (exit 3)".to_owned(),
            Some(code) => format!("failed (exit {code})"),
            None => "killed".to_owned(),
        }
    }
}

/// A sweep's directory.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The directory.
    pub dir: PathBuf,
    /// What is done in it.
    pub plan: Plan,
    /// Flags added to each cell's own.
    pub extra: Vec<String>,
    /// What is slowed down on purpose, in the cells that have such an operation.
    pub slow_down: Vec<SlowDown>,
}

impl Sweep {
    /// The cell's directory.
    pub fn cell_dir(&self, cell: &Cell) -> PathBuf {
        self.dir.join(CELLS_DIR).join(&cell.name)
    }

    /// How the cell ended, if it did.
    ///
    /// # Errors
    /// Its file is damaged, or of another plan.
    pub fn ended(&self, cell: &Cell) -> Result<Option<Ended>, Stop> {
        let file = self.cell_dir(cell).join(CELL_FILE);
        let text = match results::input::read(&file, 1 << 20) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Stop::cannot_run(format!("{}: {e}", file.display()))),
        };
        let place = file.display();
        let ended: Ended = serde_json::from_slice(&text).map_err(|e| {
            Stop::usage(format!("{place}: damaged ({e}): remove the directory to run it again"))
        })?;
        if ended.args != cell.args {
            return Err(Stop::usage(format!(
                "{place}: was run with other flags than the plan's: take another directory"
            )));
        }
        Ok(Some(ended))
    }

    /// Runs every cell that is not done; the exit code is the worst of all.
    ///
    /// # Errors
    /// Another sweep works here; a result can't be kept.
    pub fn run_all(&self) -> Result<Exit, Stop> {
        let _lock = hold(&self.dir.join(".sweep.lock"), "another sweep works in this directory")?;
        let signals = catch()?;
        let total = self.plan.cells.len();
        let mut exits = Vec::new();
        for cell in &self.plan.cells {
            let place = format!("[{}/{total}] {}", cell.index + 1, cell.name);
            if let Some(ended) = self.ended(cell)?.filter(Ended::is_done) {
                say(format_args!("stress: {place}: done before, {}", ended.word()));
                exits.push(exit_of(&ended));
                continue;
            }
            say(format_args!("stress: {place}"));
            let ended = self.run_cell(cell, &signals)?;
            say(format_args!("stress: {place}: {} after {:.0} s", ended.word(), ended.seconds));
            exits.push(exit_of(&ended));
            if signals.interrupted().is_some() || ended.is_partial() {
                break;
            }
        }
        Ok(signals.interrupted().unwrap_or_else(|| worst(&exits)))
    }

    /// Runs one cell, unless it is done; its own exit code.
    ///
    /// # Errors
    /// No such cell; it runs already; a result can't be kept.
    pub fn run_one(&self, index: usize) -> Result<Exit, Stop> {
        let cell = self.plan.cells.get(index).ok_or_else(|| {
            let last = self.plan.cells.len().saturating_sub(1);
            Stop::usage(format!("--index {index}: the plan has cells 0 to {last}"))
        })?;
        let _lock =
            hold(&self.cell_dir(cell).join(".cell.lock"), "another process runs this cell")?;
        if let Some(ended) = self.ended(cell)?.filter(Ended::is_done) {
            say(format_args!("stress: {}: done before, {}", cell.name, ended.word()));
            return Ok(exit_of(&ended));
        }
        let ended = self.run_cell(cell, &catch()?)?;
        say(format_args!("stress: {}: {} after {:.0} s", cell.name, ended.word(), ended.seconds));
        Ok(exit_of(&ended))
    }

    fn run_cell(&self, cell: &Cell, signals: &Signals) -> Result<Ended, Stop> {
        let dir = self.cell_dir(cell);
        std::fs::create_dir_all(&dir)
            .map_err(|e| Stop::cannot_run(format!("{}: {e}", dir.display())))?;
        let started = SystemTime::now();
        let begun = Instant::now();
        let exit = self.spawn(cell, &dir).and_then(|child| wait(child, signals))?;
        let ended = Ended {
            cell: 1,
            name: cell.name.clone(),
            args: cell.args.clone(),
            exit,
            started: results::time::rfc3339(started),
            seconds: begun.elapsed().as_secs_f64(),
        };
        store::write_atomic(&dir.join(CELL_FILE), store::to_json(&ended).as_bytes())?;
        Ok(ended)
    }

    fn spawn(&self, cell: &Cell, dir: &Path) -> Result<Child, Stop> {
        let fails = |what: &Path| {
            let what = what.display().to_string();
            move |e: std::io::Error| Stop::cannot_run(format!("{what}: {e}"))
        };
        let this = std::env::current_exe().map_err(fails("stress".as_ref()))?;
        let summary = dir.join(SUMMARY_FILE);
        let out = store::open_own(&summary).map_err(fails(&summary))?;
        out.set_len(0).map_err(fails(&summary))?;
        let mut command = Command::new(&this);
        command.args(&cell.args).args(&self.extra);
        let ops = workloads::find(&cell.workload).map_or(&[][..], |w| w.info().ops);
        let slow = self.slow_down.iter().filter(|s| ops.contains(&s.op.as_str()));
        command.args(slow.map(|s| format!("--slow-down={s}")));
        // The matrix is all that there is: no user's own defaults.
        command.env("STRESS_CONFIG", "");
        // What an interrupted try left there may go.
        command.arg("--force").arg("-o").arg(format!("{}/", dir.display()));
        command.stdin(Stdio::null()).stdout(out).process_group(0);
        command.spawn().map_err(fails(&this))
    }
}

/// Waits for a cell and hands signals on to it.
fn wait(mut child: Child, signals: &Signals) -> Result<Option<i32>, Stop> {
    let mut told = false;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.code()),
            Ok(None) => std::thread::sleep(LOOK),
            Err(e) => return Err(Stop::cannot_run(format!("waiting for a cell: {e}"))),
        }
        if let Some(exit) = signals.interrupted().filter(|_| !told) {
            told = true;
            let signal = exit.signal().unwrap_or(libc::SIGINT);
            // SAFETY: 1. kill(2) touches no memory of ours; 2. the child was not waited for yet, so
            // its id is still its own.
            unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        }
    }
}

fn catch() -> Result<Signals, Stop> {
    Signals::catch().map_err(|e| Stop::cannot_run(format!("signals: {e}")))
}

/// The exit code that a cell's end means for the whole.
pub fn exit_of(ended: &Ended) -> Exit {
    match ended.exit {
        Some(0) => Exit::Ok,
        Some(1) => Exit::Findings,
        Some(2) => Exit::Usage,
        Some(5) => Exit::Regression,
        Some(6) => Exit::NotJudged,
        Some(code) => Exit::of_signal(code - 128).unwrap_or(Exit::CannotRun),
        None => Exit::CannotRun,
    }
}

/// The one that says most: an interruption, then findings, then a regression, then what could not
/// be done.
pub fn worst(exits: &[Exit]) -> Exit {
    let order = [
        Exit::Terminated,
        Exit::HungUp,
        Exit::Quit,
        Exit::Interrupted,
        Exit::Findings,
        Exit::Regression,
        Exit::Usage,
        Exit::CannotRun,
        Exit::NotJudged,
    ];
    order.into_iter().find(|exit| exits.contains(exit)).unwrap_or(Exit::Ok)
}

/// A lock that lasts as long as the file, and dies with its process.
///
/// # Errors
/// Somebody else has it: `what`, with its process.
pub fn hold(path: &Path, what: &str) -> Result<File, Stop> {
    use std::io::{Read as _, Write as _};
    let place = path.display();
    let fails = |e: std::io::Error| Stop::cannot_run(format!("{place}: {e}"));
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(fails)?;
    }
    let mut file = store::open_own(path).map_err(fails)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(fails)?;
            write!(file, "{}", std::process::id()).map_err(fails)?;
            Ok(file)
        }
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = std::io::Read::take(&mut file, 20).read_to_string(&mut pid);
            let pid = if pid.is_empty() { "unknown".to_owned() } else { pid };
            Err(Stop::cannot_run(format!("{place}: {what} (process {pid}): wait for it to end")))
        }
        Err(std::fs::TryLockError::Error(e)) => Err(fails(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_exit_wins() {
        let check = |exits: &[Exit], expected| assert_eq!(worst(exits), expected, "{exits:?}");
        check(&[], Exit::Ok);
        check(&[Exit::Ok, Exit::Regression, Exit::Findings], Exit::Findings);
        check(&[Exit::CannotRun, Exit::Usage, Exit::Regression], Exit::Regression);
        check(&[Exit::Ok, Exit::NotJudged], Exit::NotJudged);
        check(&[Exit::NotJudged, Exit::Regression], Exit::Regression);
        check(&[Exit::Findings, Exit::Interrupted], Exit::Interrupted);
    }

    #[test]
    fn only_one_holds_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/x.lock");
        let first = hold(&path, "busy").unwrap();
        let second = hold(&path, "busy").unwrap_err();
        assert_eq!(second.exit, Exit::CannotRun);
        assert!(second.message.contains(&format!("busy (process {})", std::process::id())));
        drop(first);
        hold(&path, "busy").unwrap();
    }

    #[test]
    fn a_cell_of_other_flags_is_not_taken_for_done() {
        let place = tempfile::tempdir().unwrap();
        let cell =
            Cell { name: "000-x".to_owned(), args: vec!["--seed=1".to_owned()], ..Cell::default() };
        let (dir, plan) = (place.path().to_owned(), Plan::default());
        let sweep = Sweep { dir, plan, extra: Vec::new(), slow_down: Vec::new() };
        assert_eq!(sweep.ended(&cell).unwrap(), None);
        let ended = Ended { exit: Some(0), args: cell.args.clone(), ..Ended::default() };
        let file = sweep.cell_dir(&cell).join(CELL_FILE);
        store::write_atomic(&file, store::to_json(&ended).as_bytes()).unwrap();
        assert!(sweep.ended(&cell).unwrap().unwrap().is_done());
        let other = Cell { args: vec!["--seed=2".to_owned()], ..cell };
        assert!(sweep.ended(&other).unwrap_err().message.contains("other flags"));
        std::fs::write(file, "{").unwrap();
        assert!(sweep.ended(&other).unwrap_err().message.contains("damaged"));
    }
}
