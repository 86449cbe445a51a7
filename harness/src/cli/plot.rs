//! `stress plot`: latency percentiles in the terminal.

use std::path::PathBuf;

use clap::Args;
use results::report::plot;
use results::store;

use super::exit::{Exit, Stop, print};

/// `stress plot`.
#[derive(Args, Clone, Debug)]
pub struct PlotCommand {
    /// Files, run directories or directories of runs
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
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
    let ops = if args.op.is_empty() { plot::operations(&runs) } else { args.op.clone() };
    if ops.is_empty() {
        return Err(Stop::usage("plot: no latencies were recorded in these runs"));
    }
    for op in ops {
        print(&plot::percentiles(&runs, &op, args.width, args.height)?)?;
    }
    Ok(Exit::Ok)
}
