//! `stress completions SHELL`.

use allocator::policy;
use clap::Command;
use clap::builder::PossibleValuesParser;

use super::args::CompletionsCommand;
use super::exit::{Exit, Stop, print};

/// Prints the completions script of a shell.
///
/// # Errors
/// If stdout can't be written.
pub fn run(args: &CompletionsCommand) -> Result<Exit, Stop> {
    let mut script = Vec::new();
    let mut command = with_values(super::command());
    clap_complete::generate(args.shell, &mut command, &args.name, &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

/// The values that can be listed, for the shell only: what is parsed takes more (`v4.11,exit=mm-users`).
fn with_values(command: Command) -> Command {
    let workloads: Vec<&str> = workloads::all().iter().map(|w| w.info().name).collect();
    let presets: Vec<&str> = policy::presets().map(|p| p.release.word()).collect();
    let choices = |name: &str| {
        let options = workloads::all().iter().flat_map(|w| w.info().options);
        let words = |o: &workloads::OptionSpec| {
            if let workloads::OptionKind::Choice(words) = o.kind {
                Some(words.to_vec())
            } else {
                None
            }
        };
        options.filter(|o| o.name == name).find_map(words)
    };
    let names: Vec<String> = command.get_subcommands().map(|s| s.get_name().to_owned()).collect();
    let filled = |command: Command| {
        command.mut_args(|arg| match arg.get_id().as_str() {
            "variant" => arg.value_parser(PossibleValuesParser::new(presets.clone())),
            "workload" | "name" => arg.value_parser(PossibleValuesParser::new(workloads.clone())),
            other => match choices(other) {
                Some(words) => arg.value_parser(PossibleValuesParser::new(words)),
                None => arg,
            },
        })
    };
    let mut command = filled(command);
    for name in names {
        command = command.mut_subcommand(name, filled);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_workloads_and_choices_are_completed() {
        let mut script = Vec::new();
        let mut command = with_values(crate::cli::command());
        clap_complete::generate(clap_complete::Shell::Bash, &mut command, "stress", &mut script);
        let script = String::from_utf8(script).unwrap();
        for (flag, value) in
            [("--variant)", "v4.11"), ("--workload)", "oom-storm"), ("--policy)", "vma")]
        {
            let at = script.find(flag).unwrap_or_else(|| panic!("{flag}"));
            let words = script[at..].split("return 0").next().unwrap();
            assert!(words.contains(value), "{flag}: {words}");
        }
    }
}
