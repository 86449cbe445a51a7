//! Help where it is looked for: `stress help`, `stress help compare`, `stress oom-storm --help`, and a
//! `-h` that fits a screen.

use std::ffi::{OsStr, OsString};

use clap::{Command, CommandFactory as _};

use super::args::Cli;
use super::exit::{Exit, Stop};
use super::list;

/// What `-h` shows; `--help` shows all.
const BRIEF: [&str; 11] = [
    "name", "threads", "duration", "rounds", "variant", "fail_on", "output", "format", "dry_run",
    "help", "version",
];

/// Hides what `-h` has no room for.
pub(super) fn brief(command: Command) -> Command {
    command.mut_args(|arg| {
        let is_hidden = !BRIEF.contains(&arg.get_id().as_str());
        arg.hide_short_help(is_hidden)
    })
}

fn is_command(word: &OsStr) -> bool {
    Cli::command().get_subcommands().any(|sub| word == sub.get_name())
}

fn workload(word: &OsStr) -> Option<&'static workloads::Info> {
    workloads::all().iter().map(|w| w.info()).find(|info| word == info.name)
}

/// The command line with `help WORDS` as the flag that means the same.
///
/// # Errors
/// The help of a workload, with exit code 0.
pub(super) fn rewritten(args: Vec<OsString>) -> Result<Vec<OsString>, Stop> {
    let words = args.get(1..).unwrap_or_default();
    let asks = |word: &OsString| word == "--help" || word == "-h";
    let topic = match words {
        [help] if help == "help" => return Ok(vec![args[0].clone(), "--help".into()]),
        [help, topic, ..] if help == "help" => Some(topic),
        [flag, name, rest @ ..] if flag == "--workload" && rest.iter().any(asks) => Some(name),
        [first, rest @ ..] if rest.iter().any(asks) => Some(first),
        _ => None,
    };
    let Some(topic) = topic else { return Ok(args) };
    if let Some(info) = workload(topic) {
        let text = format!("{}\nFlags of every run: stress --help\n", list::workload(info));
        return Err(Stop { exit: Exit::Ok, message: text });
    }
    if words[0] != "help" {
        return Ok(args);
    }
    if topic == "run" {
        return Ok(vec![args[0].clone(), "--help".into()]);
    }
    if !is_command(topic) {
        return Err(Stop::usage(format!(
            "help: '{}' is neither a command nor a workload  (stress --help, stress list workloads)",
            topic.display()
        )));
    }
    let path = words[1..].iter().cloned();
    Ok(std::iter::once(args[0].clone()).chain(path).chain(["--help".into()]).collect())
}

/// One line for a command that wants another: which, out of its help.
pub(super) fn wants_command(help: &str) -> String {
    let of =
        help.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or("stress <COMMAND>");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> = listed
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    format!("{of}: want a command: {}  (--help)", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(args: &[&str]) -> Stop {
        let args = ["stress"].iter().chain(args).map(OsString::from);
        crate::cli::parse(args).expect_err("help or a mistake")
    }

    #[test]
    fn help_is_found_wherever_it_is_looked_for() {
        for args in [&["help"][..], &["help", "run"], &["--help"]] {
            let stop = help(args);
            assert!(stop.exit == Exit::Ok && stop.message.contains("--percentiles"), "{args:?}");
        }
        assert!(help(&["help", "compare"]).message.contains("stress compare"));
        assert!(help(&["help", "history", "add"]).message.contains("Usage: stress history add"));
        for args in [
            &["oom-storm", "--help"][..],
            &["help", "oom-storm"],
            &["--workload", "oom-storm", "-h"],
        ] {
            let stop = help(args);
            assert!(stop.exit == Exit::Ok && stop.message.contains("--victim-threads"), "{args:?}");
            assert!(!stop.message.contains("--mems-sets"), "options of others");
        }
        let stop = help(&["help", "nonsense"]);
        assert!(stop.exit == Exit::Usage && stop.message.contains("neither"), "{}", stop.message);
    }

    #[test]
    fn the_short_help_fits_a_screen_and_names_the_long_one() {
        let stop = help(&["-h"]);
        assert!(stop.message.lines().count() < 60, "{}", stop.message.lines().count());
        for word in ["--variant", "--help", "stress WORKLOAD --help"] {
            assert!(stop.message.contains(word), "{word}");
        }
    }

    #[test]
    fn a_command_without_its_command_says_what_it_wants() {
        for command in ["history", "sweep"] {
            let stop = help(&[command]);
            assert_eq!((stop.exit, stop.message.lines().count()), (Exit::Usage, 1));
            assert!(stop.message.contains("want a command: "), "{}", stop.message);
        }
        assert!(
            help(&["history"]).message.contains(", add")
                || help(&["history"]).message.contains(" add,")
        );
    }
}
