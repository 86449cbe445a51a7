//! A run: `stress --workload NAME ...`.

use super::args::RunArgs;
use super::exit::{Exit, Stop};

/// Runs what was asked for.
///
/// # Errors
/// Bad input, or a machine that can't run it.
pub fn run(args: &RunArgs) -> Result<Exit, Stop> {
    if args.workload.is_empty() && args.name.is_empty() {
        return Err(Stop::usage(
            "no workload: name one, as in stress --workload cpuset01 --threads 64  (stress list workloads)",
        ));
    }
    Err(Stop::cannot_run("running workloads is not in this build yet"))
}
