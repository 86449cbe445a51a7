//! `stress report`: saved runs as a page, a mail, or what CI systems and dashboards read.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use results::report::{self, Format as Made};

use super::exit::{Exit, Stop, print};
use crate::show::say;

/// `stress report`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ReportCommand {
    /// Files, run directories or directories of runs
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    /// Where the document goes [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What to make of the runs
    #[arg(long, value_enum, default_value_t = Format::Html)]
    pub format: Format,
    /// The same as --format mail
    #[arg(long, conflicts_with_all = ["format", "hgrm"])]
    pub mail: bool,
    /// Percentiles of an operation as the web plotters of HdrHistogram read them
    #[arg(long, value_name = "OP", conflicts_with = "format")]
    pub hgrm: Option<String>,
    /// A directory of runs whose history is shown
    #[arg(long, value_name = "DIR", requires = "trend")]
    pub history: Option<PathBuf>,
    /// A figure whose history is shown
    #[arg(long, value_name = "FIGURE", requires = "history")]
    pub trend: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  stress report stress-runs/2026-11-21T0526-cpuset01-v4.11-lab07 -o report.html
  stress report night/ --format junit -o junit.xml
  stress report run.json --hgrm fault > fault.hgrm";

/// What a report can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A self-contained page.
    Html,
    /// 72 columns for a mailing list.
    Mail,
    /// The summary that a run prints.
    Text,
    /// For kselftest and KernelCI.
    Ktap,
    /// For other CI systems.
    Junit,
    /// For dashboards.
    Openmetrics,
    /// For spreadsheets: every figure of every round.
    Csv,
}

/// Makes the document.
///
/// # Errors
/// Files that can't be read or written.
pub fn run(args: &ReportCommand) -> Result<Exit, Stop> {
    let format = match (&args.hgrm, args.mail, args.format) {
        (Some(op), _, _) => Made::Hgrm(op.clone()),
        (None, true, _) | (None, false, Format::Mail) => Made::Mail,
        (None, false, Format::Html) => Made::Html,
        (None, false, Format::Text) => Made::Text,
        (None, false, Format::Ktap) => Made::Ktap,
        (None, false, Format::Junit) => Made::Junit,
        (None, false, Format::Openmetrics) => Made::OpenMetrics,
        (None, false, Format::Csv) => Made::Csv,
    };
    let outcome = report::run(&report::Args {
        inputs: args.inputs.clone(),
        output: args.output.clone(),
        format,
        history: args.history.clone().map(|dir| (dir, args.trend.clone())),
        judged: Vec::new(),
    })?;
    outcome.warnings.iter().for_each(|w| say(format_args!("stress: {w}")));
    match &args.output {
        None => print(&outcome.text)?,
        Some(file) => say(format_args!("stress: kept in {}", file.display())),
    }
    Ok(Exit::Ok)
}
