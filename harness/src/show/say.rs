//! Lines on stderr.
//!
//! **Why.** A stderr that is closed or full must end no run, and a name in a warning (a file's, a
//! record's, a cell's) must not reach the terminal with what acts on it.

use std::fmt::Display;
use std::io::Write as _;

/// Writes one line, or a few, to stderr, escaped. That it can't be written is nobody's to hear.
pub fn say(line: impl Display) {
    let line = line.to_string();
    let _ = writeln!(std::io::stderr(), "{}", results::escape::terminal(&line));
}
