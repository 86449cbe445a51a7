//! `stress compare`: saved runs against each other.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use results::compare;

use super::args::When;
use super::exit::{Exit, Stop, print};
use crate::show::color;
use crate::show::say;

/// `stress compare`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CompareCommand {
    /// Base: a file, a run directory or a directory of runs; alone, its variants are compared
    pub base: PathBuf,
    /// What is compared with it; several stand in one table with --format mmtests
    pub new: Vec<PathBuf>,
    /// Gate: exit 5 if the whole interval of a figure lies past its limit
    #[arg(long, value_name = "GATE")]
    pub fail_on: Vec<String>,
    /// A gate that can't be judged is no error: exit 0 instead of 6
    #[arg(long)]
    pub lenient: bool,
    /// Layout
    #[arg(long = "format", visible_alias = "style", value_enum, default_value_t = Style::Robot)]
    pub style: Style,
    /// Compare what is not comparable, and say so
    #[arg(long)]
    pub force: bool,
    /// All figures: mean, p90, p99.99 and rates over CPU time too
    #[arg(long)]
    pub all: bool,
    /// Seed of the resampling
    #[arg(long, value_name = "N", value_parser = super::values::seed)]
    pub seed: Option<u64>,
}

const EXAMPLES: &str = "\
Examples:
  stress compare stress-runs/monday stress-runs/tuesday
  stress compare stress-runs/2026-11-21T0526-cpuset01-v4.11-lab07
  stress compare old.json new.json --fail-on 'fault.mid>5%' --fail-on 'max>2ms'
  stress compare v5.15/ v6.1/ v6.12/ mainline/ --format mmtests";

/// How a comparison is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// The kernel test robot's table.
    Robot,
    /// mmtests' table: a minus is always worse.
    Mmtests,
    /// For pages and issues.
    #[value(alias = "md")]
    Markdown,
    /// For programs.
    Json,
    /// 72 columns for a mailing list.
    Mail,
}

impl From<Style> for compare::Style {
    fn from(style: Style) -> Self {
        match style {
            Style::Robot => Self::Robot,
            Style::Mmtests => Self::Mmtests,
            Style::Markdown => Self::Markdown,
            Style::Json => Self::Json,
            Style::Mail => Self::Mail,
        }
    }
}

/// Compares and prints.
///
/// # Errors
/// Files that can't be read or compared, gates that name nothing.
pub fn run(args: &CompareCommand) -> Result<Exit, Stop> {
    let outcome = compare::run(&compare::Args {
        base: args.base.clone(),
        new: args.new.clone(),
        fail_on: args.fail_on.clone(),
        style: args.style.into(),
        force: args.force,
        all_figures: args.all,
        seed: args.seed,
    })?;
    print(&color::paint(&outcome.text, When::Auto))?;
    outcome.warnings.iter().for_each(|w| say(format_args!("stress: {w}")));
    let exit = exit(outcome.exit);
    Ok(if exit == Exit::NotJudged && args.lenient { Exit::Ok } else { exit })
}

/// The exit code of a gate.
pub(super) fn exit(code: i32) -> Exit {
    match code {
        0 => Exit::Ok,
        5 => Exit::Regression,
        6 => Exit::NotJudged,
        _ => Exit::Usage,
    }
}
