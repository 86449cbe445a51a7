//! The command line: what may be typed (`args`, `values`), what each subcommand does (one file
//! each), how it ends (`exit`).

pub mod amplify;
pub mod args;
pub mod baseline;
pub mod bisect;
pub mod compare;
pub mod completions;
pub mod config;
pub mod confirm;
pub mod exit;
pub mod explore;
mod help;
pub mod history;
pub mod judge;
pub mod list;
pub mod machine;
pub mod man;
pub mod merge;
pub mod plot;
pub mod report;
pub mod run;
pub mod slow_down;
pub mod suggest;
pub mod sweep;
pub mod values;
pub mod workload_args;

use std::ffi::OsString;
use std::path::Path;

use crate::show::say;
use allocator::policy::Policy;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

pub use args::{Cli, Command};
use exit::{Exit, Stop};

/// Parses a command line.
///
/// # Errors
/// A mistake, as one line with exit code 2; or help and version, which stop with exit code 0.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Stop> {
    let args = help::rewritten(args.into_iter().collect())?;
    let (mut cli, matches) = parse_line(args.clone())?;
    let defaults = config::defaults_file().filter(|_| cli.command.is_none());
    if cli.run.output.config.is_some() || defaults.is_some() {
        let lines = match &cli.run.output.config {
            Some(path) => config::command_lines(path, &matches, &command())?,
            None => vec![Vec::new()],
        };
        let mut runs = Vec::new();
        for flags in lines {
            let mut line = args.clone();
            line.splice(1..1, flags);
            let file = cli.run.output.config.as_deref();
            let (mut with_file, matches) =
                parse_line(line.clone()).map_err(|e| in_file(file, e))?;
            if let Some(path) = &defaults {
                line.splice(1..1, config::default_flags(path, &matches, &command())?);
                (with_file, _) = parse_line(line).map_err(|e| in_file(Some(path), e))?;
            }
            runs.push(with_file.run);
        }
        // The first run carries those that follow it.
        let mut runs = runs.into_iter();
        cli.run = runs.next().unwrap_or(cli.run);
        cli.run.more = runs.collect();
    }
    if let Some(value) = &cli.run.t {
        return Err(Stop::usage(t_hint(value)));
    }
    if cli.run.metrics {
        say(format_args!("stress: note: --metrics is always on here, the flag changes nothing"));
    }
    Ok(cli)
}

/// A mistake in a file's flags, with the file's name.
fn in_file(path: Option<&Path>, stop: Stop) -> Stop {
    match path {
        Some(path) => Stop { message: format!("{}: {}", path.display(), stop.message), ..stop },
        None => stop,
    }
}

fn parse_line(args: Vec<OsString>) -> Result<(Cli, clap::ArgMatches), Stop> {
    let matches = command().try_get_matches_from(args).map_err(|e| stop(&e))?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|e| stop(&e))?;
    cli.run.workload_options = workload_args::given(&matches);
    Ok((cli, matches))
}

/// All flags, those that workloads declare included.
pub fn command() -> clap::Command {
    help::brief(workload_args::add(Cli::command()))
}

/// The policy of a `--variant`.
///
/// # Errors
/// With the column and the nearest name; exit code 2.
pub fn policy(spec: &str) -> Result<Policy, Stop> {
    Policy::parse(spec)
        .map_err(|e| Stop::usage(format!("--variant '{spec}': {e}  (stress list variants)")))
}

fn t_hint(value: &str) -> String {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (time, threads) = match number {
        "" => ("60s".to_owned(), "64".to_owned()),
        n if n == value => (format!("{n}s"), n.to_owned()),
        n => (value.to_owned(), n.to_owned()),
    };
    format!(
        "-t is not used here: --duration {time} (stress-ng's -t) or --threads {threads} (cyclictest's -t)"
    )
}

/// One line out of clap's several.
fn stop(error: &clap::Error) -> Stop {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Stop { exit: Exit::Ok, message: error.to_string() };
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Stop::usage(help::wants_command(&error.to_string()));
    }
    let text = error.to_string();
    let first: Vec<&str> = text.lines().take_while(|l| !l.is_empty()).map(str::trim).collect();
    let first = first.join(" ");
    let mut line = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
    for kind in
        [ContextKind::SuggestedArg, ContextKind::SuggestedValue, ContextKind::SuggestedSubcommand]
    {
        match error.get(kind) {
            Some(ContextValue::String(name)) => line += &format!(": did you mean '{name}'?"),
            Some(ContextValue::Strings(names)) if !names.is_empty() => {
                line += &format!(": did you mean '{}'?", names.join("' or '"));
            }
            _ => {}
        }
    }
    line += "  (stress --help)";
    Stop::usage(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], exit: Exit, message: &str) {
        let args = ["stress"].iter().chain(args).map(OsString::from);
        let stop = parse(args).expect_err("refused");
        assert_eq!(stop.exit, exit, "{}", stop.message);
        assert!(stop.message.contains(message), "{}", stop.message);
        if exit == Exit::Usage {
            assert_eq!(stop.message.lines().count(), 1, "{}", stop.message);
        }
    }

    #[test]
    fn mistakes_are_one_line_with_a_way_out() {
        check(&["--thread", "4"], Exit::Usage, "did you mean '--threads'?");
        check(&["--threads", "0"], Exit::Usage, "0 threads do nothing");
        check(&["--duration", "10x"], Exit::Usage, "want a number and ms, s, m, h or d");
        check(&["--duration", "0"], Exit::Usage, "must be longer than 0");
        check(&["-t", "60"], Exit::Usage, "--duration 60s (stress-ng's -t) or --threads 60");
        check(&["-t", "5m"], Exit::Usage, "--duration 5m (stress-ng's -t) or --threads 5");
        check(&["-t"], Exit::Usage, "--duration 60s (stress-ng's -t) or --threads 64");
        check(&["--memory", "12Q"], Exit::Usage, "powers of 1024");
        check(&["--format", "jsn"], Exit::Usage, "did you mean 'json'?");
        check(&["machine", "--varant", "v6.1"], Exit::Usage, "did you mean '--variant'?");
        check(&["--help"], Exit::Ok, "--workload");
        check(&["--version"], Exit::Ok, env!("CARGO_PKG_VERSION"));
    }
}
