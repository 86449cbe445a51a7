//! `stress judge`: was this kill right?
//!
//! **What.** Takes a [`report::Report`] and answers with a [`Class`], by the watermark code that the
//! model allocates with ([`allocator::look`]) and the facts of the report's own release.
//!
//! **Why.** "There was memory free, why was it killed?" is asked under each report. The kernel's own
//! rules answer it; what a report does not tell is named instead of guessed.
//!
//! **Differs.** The report's marks decide. When the last look was made, and what other nodes had, is
//! not in a report.

pub mod class;
mod decide;
pub mod explain;
mod history;
pub mod input;
mod request;
mod shortage;
pub mod text;
pub mod victim;
pub mod zones;

use report::{Item, Kind, Report};
use serde::Serialize;

pub use class::Class;
pub use request::Request;

use history::History;
use zones::Row;

/// Version of the JSON document.
pub const SCHEMA: &str = "mm-stress-judge/1";

/// The answer to a report.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// File, or `-`.
    pub source: String,
    /// Line that the report begins on.
    pub line: usize,
    /// Its time in the log.
    pub time: Option<f64>,
    /// `kill`, `failure` or `stall`.
    pub kind: &'static str,
    /// The main class.
    pub class: Class,
    /// What else holds.
    pub also: Vec<Class>,
    /// The answer in one line.
    pub headline: String,
    /// Why, in a sentence.
    pub why: String,
    /// What would mend it.
    pub mends: Vec<String>,
    /// What else is worth a line.
    pub notes: Vec<String>,
    /// What a report of this kind does not tell.
    pub not_told: Vec<String>,
    /// What is missing of this one, and decides.
    pub missing: Vec<String>,
    /// The release as printed.
    pub release: Option<String>,
    /// The request.
    pub request: Request,
    /// The zones.
    pub zones: Vec<Row>,
    /// A known race of the release.
    pub races: Vec<Race>,
    /// The victim against the table of tasks.
    pub victim: Option<victim::Check>,
}

/// A race of the model that may be behind it.
#[derive(Clone, Debug, Serialize)]
pub struct Race {
    /// `J1a-task`
    pub family: String,
    /// `v4.9`
    pub variant: String,
    /// Does it show in that release (a search finds it), or is it excluded there?
    pub shows: bool,
    /// In words, with the command.
    pub text: String,
}

impl Judged {
    /// Was somebody killed, or to be killed?
    pub fn is_kill(&self) -> bool {
        self.kind == "kill"
    }
}

/// Judges the reports of one log, in their order.
#[derive(Debug, Default)]
pub struct Judge {
    history: History,
}

impl Judge {
    /// The answer to what was found; `None` for what is no report.
    pub fn item(&mut self, source: &str, item: Item) -> Option<Judged> {
        match item {
            Item::Reaped(reaped) => {
                self.history.reaped(reaped.pid);
                None
            }
            Item::Report(report) => Some(self.report(source, &report)),
        }
    }

    fn report(&mut self, source: &str, report: &Report) -> Judged {
        let judged = decide::decide(source, report, &self.history);
        self.history.add(report);
        judged
    }
}

/// Judges a whole text.
pub fn judge_text(source: &str, text: &str) -> Vec<Judged> {
    let mut judge = Judge::default();
    report::read(text).into_iter().filter_map(|item| judge.item(source, item)).collect()
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Kill => "kill",
        Kind::Failure => "failure",
        Kind::Stall => "stall",
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    reports: &'a [Judged],
}

/// The JSON document of all answers.
pub fn document(reports: &[Judged]) -> String {
    serde_json::to_string_pretty(&Document { schema: SCHEMA, reports }).unwrap_or_default() + "\n"
}
