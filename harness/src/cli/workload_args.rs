//! The workloads' own options as flags: built from what each workload declares.
//!
//! **Why.** A new workload is one file: its options appear in help, man page and completions by
//! themselves, and an option of another workload is refused by name.

use clap::{Arg, ArgAction, ArgMatches, Command};
use workloads::{Info, OptionKind, OptionSpec, OptionValue, Options};

use super::exit::Stop;
use super::{suggest, values};

/// An option as it was typed: name and value; no value for a flag.
pub type Given = (&'static str, Option<String>);

/// Options by name, each with the workloads that have it.
fn declared() -> Vec<(&'static OptionSpec, Vec<&'static Info>)> {
    let mut all: Vec<(&OptionSpec, Vec<&Info>)> = Vec::new();
    for workload in workloads::all() {
        let info = workload.info();
        for option in info.options {
            match all.iter_mut().find(|(o, _)| o.name == option.name) {
                Some((_, users)) => users.push(info),
                None => all.push((option, vec![info])),
            }
        }
    }
    all
}

/// What an option does, its words and default.
fn help(option: &OptionSpec) -> String {
    let mut help = option.help.to_owned();
    if let OptionKind::Choice(words) = option.kind {
        help += &format!(" ({})", words.join(", "));
    }
    if !option.default.is_empty() {
        help += &format!(" [default: {}]", option.default);
    }
    help
}

/// The help of an option that means something else in each of several workloads, or the same.
fn help_of_all(option: &OptionSpec, users: &[&Info]) -> String {
    let of = |info: &&Info| {
        let own = info.options.iter().find(|o| o.name == option.name)?;
        Some((info.name, help(own)))
    };
    let all: Vec<(&str, String)> = users.iter().filter_map(of).collect();
    if all.iter().all(|(_, text)| *text == all[0].1) {
        return help(option);
    }
    all.iter().map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>().join("; ")
}

/// Adds a flag for each option of each workload.
#[must_use]
pub fn add(mut command: Command) -> Command {
    for (option, users) in declared() {
        let names: Vec<&str> = users.iter().map(|i| i.name).collect();
        let mut arg = Arg::new(option.name)
            .long(option.name)
            .help(help_of_all(option, &users))
            .help_heading(format!("Options of {}", names.join(", ")));
        arg = if option.kind == OptionKind::Flag {
            arg.action(ArgAction::SetTrue)
        } else {
            arg.action(ArgAction::Set).value_name(option.value)
        };
        command = command.arg(arg);
    }
    command
}

/// The workload options that were typed.
pub fn given(matches: &ArgMatches) -> Vec<Given> {
    let typed =
        |name: &str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
    declared()
        .into_iter()
        .filter(|(option, _)| typed(option.name))
        .map(|(option, _)| {
            let value = if option.kind == OptionKind::Flag {
                None
            } else {
                matches.get_one::<String>(option.name).cloned()
            };
            (option.name, value)
        })
        .collect()
}

/// The options of one workload: what was typed over its defaults.
///
/// # Errors
/// An option that it does not have, or a value that is none; exit code 2.
pub fn options(info: &Info, given: &[Given]) -> Result<Options, Stop> {
    for (name, _) in given {
        if !info.options.iter().any(|o| o.name == *name) {
            let users: Vec<&str> = declared()
                .into_iter()
                .filter(|(o, _)| o.name == *name)
                .flat_map(|(_, users)| users.into_iter().map(|i| i.name))
                .collect();
            return Err(Stop::usage(format!(
                "--{name} is an option of {}, not of {}  (stress --help)",
                users.join(" and "),
                info.name
            )));
        }
    }
    let mut options = Options::default();
    for option in info.options {
        let typed = given.iter().find(|(name, _)| *name == option.name);
        let value = match (option.kind, typed) {
            (OptionKind::Flag, typed) => Some(OptionValue::Flag(typed.is_some())),
            (_, Some((_, Some(text)))) => Some(value(option, text).map_err(Stop::usage)?),
            (_, Some((_, None)) | None) if option.default.is_empty() => None,
            (_, Some((_, None)) | None) => {
                Some(value(option, option.default).map_err(Stop::usage)?)
            }
        };
        if let Some(value) = value {
            options.set(option.name, value);
        }
    }
    Ok(options)
}

fn value(option: &OptionSpec, text: &str) -> Result<OptionValue, String> {
    let parsed = match option.kind {
        OptionKind::Choice(words) => return choice(option, words, text),
        OptionKind::Count => values::count(text).map(OptionValue::Number),
        OptionKind::Duration => values::duration(text)
            .map(|d| OptionValue::Number(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))),
        OptionKind::Size => values::size(text).map(OptionValue::Number),
        OptionKind::Share => share(text).map(OptionValue::Share),
        OptionKind::Text => Ok(OptionValue::Text(text.to_owned())),
        OptionKind::Flag => Ok(OptionValue::Flag(true)),
    };
    parsed.map_err(|e| format!("--{}: {e}", option.name))
}

fn choice(option: &OptionSpec, words: &[&str], text: &str) -> Result<OptionValue, String> {
    if words.contains(&text) {
        return Ok(OptionValue::Text(text.to_owned()));
    }
    let more = format!("one of {}", words.join(", "));
    Err(suggest::unknown(&format!("--{}", option.name), text, words.iter().copied(), &more))
}

fn share(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(x) if (0.0..=1.0).contains(&(x * factor)) => Ok(x * factor),
        _ => Err(format!("'{text}' is no share from 0 to 1, such as 0.5 or 50%")),
    }
}

/// An option's value as text, for the record.
pub fn show(value: &OptionValue) -> String {
    match value {
        OptionValue::Text(text) => text.clone(),
        OptionValue::Number(number) => number.to_string(),
        OptionValue::Share(share) => share.to_string(),
        OptionValue::Flag(on) => on.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: Info = Info {
        name: "test",
        about: "",
        axes: &[],
        primary: &[],
        ops: &[],
        options: &[
            OptionSpec {
                name: "pattern",
                value: "P",
                kind: OptionKind::Choice(&["repeat", "bulk"]),
                default: "repeat",
                help: "",
            },
            OptionSpec {
                name: "fill",
                value: "S",
                kind: OptionKind::Share,
                default: "0",
                help: "",
            },
            OptionSpec {
                name: "pause",
                value: "T",
                kind: OptionKind::Duration,
                default: "",
                help: "",
            },
            OptionSpec { name: "lazy", value: "", kind: OptionKind::Flag, default: "", help: "" },
        ],
        nodes: 1,
        movable: workloads::Movable::None,
        memory_per_node: None,
    };

    #[test]
    fn what_was_typed_stands_over_defaults() {
        let given = [("fill", Some("25%".to_owned())), ("lazy", None)];
        let options = options(&INFO, &given).unwrap();
        assert_eq!(options.text("pattern"), "repeat");
        assert_eq!(options.share("fill"), 0.25);
        assert!(options.flag("lazy") && options.number("pause").is_none());
        let given = [("pause", Some("5ms".to_owned()))];
        assert_eq!(super::options(&INFO, &given).unwrap().number("pause"), Some(5_000_000));
    }

    #[test]
    fn mistakes_name_the_flag_and_what_is_wanted() {
        let refused = |name: &'static str, value: &str, words: &str| {
            let stop = options(&INFO, &[(name, Some(value.to_owned()))]).unwrap_err();
            assert!(stop.message.contains(words), "{}", stop.message);
        };
        refused("pattern", "repaet", "did you mean 'repeat'?");
        refused("fill", "150%", "--fill: '150%' is no share");
        refused("pause", "10x", "--pause: '10x' is no duration");
        refused("batch", "1", "--batch is an option of page-alloc, not of test");
        refused("order", "1", "--order is an option of page-alloc and replay, not of test");
    }

    #[test]
    fn one_name_means_one_kind_and_every_default_is_valid() {
        for (option, users) in declared() {
            for info in &users {
                let same = info.options.iter().find(|o| o.name == option.name).unwrap();
                let flags = (same.kind == OptionKind::Flag, option.kind == OptionKind::Flag);
                assert_eq!(flags.0, flags.1, "--{} of {}", option.name, info.name);
                assert!(options(info, &[]).is_ok(), "{}", info.name);
            }
        }
    }
}
