//! `stress plot`: latency percentiles in the terminal.

use std::path::PathBuf;

use clap::Args;
use results::report::{curve, plot};
use results::store;

use super::exit::{Exit, Stop, print};

/// `stress plot`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PlotCommand {
    /// Files, run directories or directories of runs
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    /// The scalability curve instead: rates by number of threads
    #[arg(long, conflicts_with = "op")]
    pub curve: bool,
    /// Operation [default: every one that has latencies]
    #[arg(long, value_name = "OP")]
    pub op: Vec<String>,
    /// Columns
    #[arg(long, value_name = "N", default_value_t = 80)]
    pub width: usize,
    /// Lines of each plot
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub height: usize,
}

const EXAMPLES: &str = "\
Examples:
  stress plot stress-runs/2026-11-21T0526-cpuset01-v4.11-lab07 --op fault
  stress plot --curve stress-runs";

/// Draws.
///
/// # Errors
/// Files that can't be read, operations that nobody did.
pub fn run(args: &PlotCommand) -> Result<Exit, Stop> {
    let mut loaded = Vec::new();
    for input in &args.inputs {
        loaded.extend(store::load(input)?);
    }
    let runs: Vec<_> = loaded.iter().map(|l| &l.run).collect();
    if args.curve {
        let text = curve::text(&runs);
        if text.is_empty() {
            return Err(Stop::usage(
                "plot --curve: want runs of several numbers of threads, as of --threads 1,2,4..64",
            ));
        }
        print(&text)?;
        return Ok(Exit::Ok);
    }
    let ops = if args.op.is_empty() { plot::operations(&runs) } else { args.op.clone() };
    if ops.is_empty() {
        return Err(Stop::usage("plot: no latencies were recorded in these runs"));
    }
    for op in ops {
        print(&plot::percentiles(&runs, &op, args.width, args.height)?)?;
    }
    Ok(Exit::Ok)
}
