//! `stress merge`: several runs become one record.

use std::path::PathBuf;

use clap::Args;
use results::format::plural;
use results::merge;

use super::exit::{Exit, Stop, print};
use crate::show::say;

/// `stress merge`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct MergeCommand {
    /// Files, run directories or directories of runs
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    /// Where the record goes [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace another run at that place
    #[arg(long)]
    pub force: bool,
}

const EXAMPLES: &str = "\
Examples:
  stress merge seed1/ seed2/ seed3/ -o merged.json
  stress merge lab07/stress-runs lab08/stress-runs | jq '.runs[].ops.fault.latency_ns'";

/// Merges; the document goes to stdout unless a file is named.
///
/// # Errors
/// Files that can't be read, written or merged.
pub fn run(args: &MergeCommand) -> Result<Exit, Stop> {
    let outcome = merge::run(&merge::Args {
        inputs: args.inputs.clone(),
        output: args.output.clone(),
        force: args.force,
    })?;
    outcome.warnings.iter().for_each(|w| say(format_args!("stress: {w}")));
    match &args.output {
        None => print(&outcome.text)?,
        Some(file) => {
            for run in &outcome.runs {
                let rounds = plural(run.rounds.len(), "round");
                let runs = plural(run.merged_from.len().max(1), "run");
                say(format_args!("stress: {}: {rounds} of {runs}", run.label()));
            }
            say(format_args!("stress: kept in {}", file.display()));
        }
    }
    Ok(Exit::Ok)
}
