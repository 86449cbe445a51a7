//! The binary `stress`: read the command line, do what it says, leave with the right exit code.

use std::process::ExitCode;

use harness::cli::{self, Command};

fn main() -> ExitCode {
    cli::exit::report_panics_as_bugs();
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(stop) => return stop.report(),
    };
    let done = match &cli.command {
        Some(Command::List(args)) => cli::list::run(args),
        Some(Command::Machine(args)) => cli::machine::run(args),
        Some(Command::Judge(args)) => cli::judge::run(args),
        Some(Command::Explore(args)) => cli::explore::run(args),
        Some(Command::Bisect(args)) => cli::bisect::run(args),
        Some(Command::Confirm(args)) => cli::confirm::run(args),
        Some(Command::Compare(args)) => cli::compare::run(args),
        Some(Command::Merge(args)) => cli::merge::run(args),
        Some(Command::Report(args)) => cli::report::run(args),
        Some(Command::Plot(args)) => cli::plot::run(args),
        Some(Command::History(args)) => cli::history::run(args),
        Some(Command::Sweep(args)) => cli::sweep::run(args),
        Some(Command::Completions(args)) => cli::completions::run(args),
        Some(Command::Man(args)) => cli::man::run(args),
        None => cli::run::run(&cli.run),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(stop) => stop.report(),
    }
}
