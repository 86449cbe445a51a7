//! `stress sweep`: a matrix of runs, on one machine or spread over many.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use results::store;

use super::exit::{Exit, Stop, print};
use crate::show::say;
use crate::sweep::cells::Sweep;
use crate::sweep::night::{self, NightArgs};
use crate::sweep::plan::{PLAN_FILE, Plan};
use crate::sweep::{finish, matrix};

/// `stress sweep`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SweepCommand {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

const EXAMPLES: &str = "\
Examples:
  stress sweep night scripts/night.toml -o nights
  stress sweep plan night.toml -o sweep/plan.json
  stress sweep run sweep --index \"$SLURM_ARRAY_TASK_ID\" --strict-host
  stress sweep finish sweep --history stress-runs --fail-on 'fault.p99>25%'

A matrix is TOML: keys are flags, a list makes a cell of each of its values, variants stay
together in one cell. A cell that is done is not run again.";

/// What can be done with a sweep.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Turn a matrix file into a plan: a list of cells, one a line
    Plan {
        /// The matrix
        matrix: PathBuf,
        /// Where the plan goes [default: stdout]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace another plan
        #[arg(long)]
        force: bool,
    },
    /// Run the cells of a plan that are not done, or one of them
    Run {
        /// The plan, or the directory that it lies in
        plan: PathBuf,
        /// Only this cell, counted from 0
        #[arg(long, value_name = "N")]
        index: Option<usize>,
        /// Directory of the results [default: the plan's]
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Notes about the host's state are errors: exit 3
        #[arg(long)]
        strict_host: bool,
    },
    /// Take the results into the history, judge them by the gates, write the report
    Finish {
        /// The plan, or the directory that it lies in
        plan: PathBuf,
        /// Directory of the results [default: the plan's]
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Directory of runs whose history they join
        #[arg(long, value_name = "DIR", default_value = store::RUNS_DIR)]
        history: PathBuf,
        /// Gate, instead of the matrix's own
        #[arg(long, value_name = "GATE")]
        fail_on: Vec<String>,
        /// A named baseline instead of the last nights
        #[arg(long, value_name = "NAME")]
        baseline: Option<String>,
        /// What can't be judged, as a first night, is no error: exit 0 instead of 6
        #[arg(long, alias = "baseline-lenient")]
        lenient: bool,
        /// Let a name stand for these runs if they pass
        #[arg(long, value_name = "NAME")]
        save_baseline: Option<String>,
    },
    /// All of it, in a directory for each night; goes on where it was cut off
    Night {
        /// The matrix
        matrix: PathBuf,
        /// Where the nights and their history are
        #[arg(short, long, value_name = "DIR", default_value = "nights")]
        output: PathBuf,
        /// Notes about the host's state are errors: exit 3
        #[arg(long)]
        strict_host: bool,
        /// What can't be judged, as a first night, is no error: exit 0 instead of 6
        #[arg(long, alias = "baseline-lenient")]
        lenient: bool,
        /// Let a name stand for this night's runs if they pass
        #[arg(long, value_name = "NAME")]
        save_baseline: Option<String>,
        /// Slow an operation down on purpose in every cell, to see the gate fail: fault=10%
        #[arg(long, value_name = "OP=PERCENT", value_parser = super::slow_down::parse)]
        slow_down: Vec<super::slow_down::SlowDown>,
    },
}

/// Does what was asked for.
///
/// # Errors
/// A bad matrix or plan; results that can't be written.
pub fn run(args: &SweepCommand) -> Result<Exit, Stop> {
    match &args.action {
        Action::Plan { matrix, output, force } => plan(matrix, output.as_deref(), *force),
        Action::Run { plan, index, output, strict_host } => {
            let sweep = sweep(plan, output.as_deref(), *strict_host)?;
            index.map_or_else(|| sweep.run_all(), |index| sweep.run_one(index))
        }
        Action::Finish { plan, output, history, fail_on, baseline, lenient, save_baseline } => {
            let sweep = sweep(plan, output.as_deref(), false)?;
            let mut judging = sweep.plan.night.clone();
            if !fail_on.is_empty() {
                judging.fail_on.clone_from(fail_on);
            }
            if baseline.is_some() {
                judging.baseline.clone_from(baseline);
                judging.last = None;
            }
            judging.lenient |= lenient;
            finish::finish(&sweep, history, &judging, save_baseline.as_deref())
        }
        Action::Night { matrix, output, strict_host, lenient, save_baseline, slow_down } => {
            night::run(&NightArgs {
                matrix: matrix.clone(),
                nights: output.clone(),
                lenient: *lenient,
                save_baseline: save_baseline.clone(),
                extra: extra(*strict_host),
                slow_down: slow_down.clone(),
            })
        }
    }
}

fn plan(matrix: &Path, output: Option<&Path>, force: bool) -> Result<Exit, Stop> {
    let plan = matrix::plan(matrix)?;
    let Some(file) = output else {
        print(&plan.text())?;
        return Ok(Exit::Ok);
    };
    plan.save(file, force)?;
    let (cells, last) = (plan.cells.len(), plan.cells.len() - 1);
    say(format_args!("stress: {}: {cells} cells, 0 to {last}", file.display()));
    Ok(Exit::Ok)
}

fn sweep(plan: &Path, output: Option<&Path>, strict_host: bool) -> Result<Sweep, Stop> {
    let file = if plan.is_dir() { plan.join(PLAN_FILE) } else { plan.to_owned() };
    let of_plan = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(Sweep {
        dir: output.unwrap_or(of_plan).to_owned(),
        plan: Plan::read(&file)?,
        extra: extra(strict_host),
        slow_down: Vec::new(),
    })
}

fn extra(strict_host: bool) -> Vec<String> {
    if strict_host { vec!["--strict-host".to_owned()] } else { Vec::new() }
}
