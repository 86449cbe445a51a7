//! Recordings of real kernels, for `--trace`: from a folder or a file to what the workload replays.
//!
//! **What.** [`load`] reads the proc files of both snapshots, builds the machine from them, and streams
//! the trace; a line on stderr says how far it is.
//!
//! **Why here.** The workload knows no files and no machines; it gets plain data.
//!
//! **Differs.** Marks and pcp sizes are the recorded ones, not computed.

mod files;
mod machine;
pub(crate) mod unpack;

use std::fmt::Display;
use std::io::{BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget};
use results::format;
use workloads::replay::recording::{Input, Recording};
use workloads::replay::trace::Trace;

use crate::cli::args::When;
use crate::cli::exit::Stop;
use crate::machine::Notes;
use crate::show::say;
use files::{Files, TraceText};
use machine::Frames;

/// A recording that was read.
#[derive(Debug)]
pub struct Loaded {
    /// The recording.
    pub recording: Recording,
    /// What to tell the user about its machine.
    pub notes: Notes,
}

/// A mistake in a file of a recording.
fn bad(place: &str, what: impl Display) -> Stop {
    Stop::usage(format!("--trace: {place}: {what}"))
}

/// Reads a recording. `is_tolerant`: records that contradict others are counted, not refused.
///
/// # Errors
/// Exit 2 with the file, the line and the reason.
pub fn load(path: &Path, is_tolerant: bool, progress: When) -> Result<Loaded, Stop> {
    files::with(path, |files, trace| read(path, is_tolerant, progress, files, trace))
}

fn read(
    path: &Path,
    is_tolerant: bool,
    progress: When,
    files: &Files,
    trace: TraceText<'_>,
) -> Result<Loaded, Stop> {
    let mut show = Reading::new(path, progress);
    let machine::Described { name, machine, mut before, mut after, flags, notes } =
        machine::describe(path, files)?;
    for (state, which) in [(&mut before, "before"), (&mut after, "after")] {
        if let Some((place, text)) = files.optional(&format!("buddyinfo.{which}"))? {
            state.add_buddyinfo(text).map_err(|e| bad(&place, e))?;
        }
        if let Some((place, text)) = files.optional(&format!("pagetypeinfo.{which}"))? {
            state.add_pagetypeinfo(text).map_err(|e| bad(&place, e))?;
        }
    }
    let frames = Frames::of(&machine);
    let (place, size, bytes) = (trace.place.clone(), trace.size, trace.counter());
    let mut from = BufReader::with_capacity(1 << 16, trace.from);
    let trace = Trace::read(&mut from, &frames, &mut |line| show.at(line, bytes(), size));
    let trace = trace.map_err(|e| bad(&place, e))?;
    show.end(trace.lines);
    let input = Input {
        name,
        machine,
        before,
        flags,
        after,
        pgalloc: machine::pgalloc(files)?,
        lost_events: machine::lost_events(files)?,
        is_tolerant,
    };
    let recording = Recording::new(input, trace).map_err(|e| bad(&place, e))?;
    show.notes(&recording.notes);
    Ok(Loaded { recording, notes })
}

/// Plain lines come this often.
const INTERVAL: Duration = Duration::from_secs(10);

/// The line that says how far the reading is.
struct Reading {
    path: PathBuf,
    bar: Option<ProgressBar>,
    lines: bool,
    began: Instant,
    last: Instant,
}

impl Reading {
    fn new(path: &Path, progress: When) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let shown = match progress {
            When::Never => false,
            When::Auto | When::Always => true,
        };
        let bar = (shown && is_terminal)
            .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5)));
        if let Some(bar) = &bar
            && let Ok(style) = indicatif::ProgressStyle::with_template("{msg}")
        {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self { path: path.to_owned(), bar, lines: shown && !is_terminal, began: now, last: now }
    }

    fn at(&mut self, line: u64, bytes: u64, size: u64) {
        let text = || {
            let percent = (bytes * 100).checked_div(size).unwrap_or(100).min(100);
            let lines = format::count(line as f64);
            format!(" reading {}  {percent}%  {lines} records", self.path.display())
        };
        if let Some(bar) = &self.bar {
            bar.set_message(results::escape::name(&text()).into_owned());
        } else if self.lines && self.last.elapsed() >= INTERVAL {
            say(format_args!("{}", text()));
            self.last = Instant::now();
        }
    }

    /// What the trace lacks is told at once: a figure that looks odd later may hang on it.
    fn notes(&self, notes: &[String]) {
        if self.bar.is_some() || self.lines {
            notes.iter().for_each(|note| say(format_args!(" note: {note}")));
        }
    }

    fn end(&self, lines: u64) {
        let seconds = self.began.elapsed().as_secs_f64();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        } else if self.lines {
            let lines = format::thousands(lines);
            say(format_args!(" read {}: {lines} records in {seconds:.1} s", self.path.display()));
        }
    }
}
