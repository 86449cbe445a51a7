//! Exit codes, and how a command stops: one line on stderr that says what, where and how to mend
//! it.
//!
//! **Why.** Wrappers (kselftest, LTP, Slurm, nightly scripts) look at nothing but the exit code,
//! so each means one thing. 4 and 124 stay unused, since kselftest and `timeout` give them a
//! meaning of their own.

use std::io::{self, Write};
use std::process::ExitCode;

use results::escape;

use crate::show::say;

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ran, nothing was found, all gates held.
    Ok,
    /// A finding: premature OOM, broken invariant, lockup. Wins over [`Exit::Regression`].
    Findings,
    /// Bad command line or bad input.
    Usage,
    /// This machine can't run it.
    CannotRun,
    /// A figure past its gate.
    Regression,
    /// Nothing is known to be wrong, but something that was asked for was not judged, proven or
    /// reached. Behind [`Exit::Findings`] and [`Exit::Regression`].
    NotJudged,
    /// SIGINT: the partial result was written.
    Interrupted,
    /// SIGTERM: the partial result was written.
    Terminated,
    /// SIGHUP: the partial result was written.
    HungUp,
    /// SIGQUIT: the partial result was written.
    Quit,
}

impl Exit {
    /// The signal that ended the run, if one did.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Interrupted | Self::Terminated | Self::HungUp | Self::Quit => {
                Some(i32::from(self.code()) - 128)
            }
            Self::Ok
            | Self::Findings
            | Self::Usage
            | Self::CannotRun
            | Self::Regression
            | Self::NotJudged => None,
        }
    }

    /// How a run ends that this signal ended; none for signals that are not caught.
    pub fn of_signal(signal: i32) -> Option<Self> {
        let ends = [Self::Interrupted, Self::Terminated, Self::HungUp, Self::Quit];
        ends.into_iter().find(|exit| exit.signal() == Some(signal))
    }

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Findings => 1,
            Self::Usage => 2,
            Self::CannotRun => 3,
            Self::Regression => 5,
            Self::NotJudged => 6,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::HungUp => 129,
            Self::Quit => 131,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command stopped before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The exit code that goes with it.
    pub exit: Exit,
    /// One line without the leading `stress:`; for [`Exit::Ok`] (help, version) the text asked for.
    pub message: String,
}

impl Stop {
    /// Bad command line or input: exit 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// This machine can't do it: exit 3.
    pub fn cannot_run(message: impl Into<String>) -> Self {
        Self { exit: Exit::CannotRun, message: message.into() }
    }

    /// Prints the message where it belongs and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if self.exit == Exit::Ok {
            if print(&self.message).is_err() {
                return Exit::CannotRun.into();
            }
        } else {
            say(format_args!("stress: {}", self.message));
        }
        self.exit.into()
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::cannot_run(format!("stdout: {error}"))
    }
}

/// Writes a document to stdout. A reader that went away (`stress list | head -1`) is no error.
///
/// # Errors
/// Any other failure to write, a full disk for instance.
pub fn print(text: &str) -> io::Result<()> {
    let text = escape::terminal(text);
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Makes a panic say that it is a bug, and what to send, instead of a bare backtrace.
pub fn report_panics_as_bugs() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        say(format_args!(
            "stress: this is a bug in stress {}, please report it with the command line and what follows",
            env!("CARGO_PKG_VERSION")
        ));
        before(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_and_124_stay_unused() {
        let all = [
            Exit::Ok,
            Exit::Findings,
            Exit::Usage,
            Exit::CannotRun,
            Exit::Regression,
            Exit::NotJudged,
            Exit::Interrupted,
            Exit::Terminated,
            Exit::HungUp,
            Exit::Quit,
        ];
        let codes: Vec<u8> = all.iter().map(|e| e.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 5, 6, 130, 143, 129, 131]);
    }
}
