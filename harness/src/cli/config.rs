//! `--config FILE.toml`: flags from a file.
//!
//! **What.** A key is a flag's name without dashes; `true` stands for a flag without value, a list
//! for a flag that is repeated. Each `[[run]]` table is a run of its own, with the keys above it as
//! its defaults.
//!
//! **Why.** A nightly job is a file under version control, not a line in a script; the same names
//! mean that there is nothing new to learn. What is typed wins. A user's own defaults stand in
//! `~/.config/stress/config.toml`, under whatever else is given.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use toml::{Table, Value};

use super::exit::Stop;
use super::suggest;

/// Flags that exclude each other: typing one drops the other from the file.
const EXCLUSIVE: &[(&str, &str)] = &[("duration", "ops"), ("quiet", "verbose")];
/// Flags that make no sense in a file.
const TYPED_ONLY: &[&str] = &["config", "help", "version"];

/// Command lines, one for each run of the file: its flags, without those that were typed.
///
/// # Errors
/// A file that can't be read or is no TOML, an unknown key, a value that is none.
pub fn command_lines(
    path: &Path,
    typed: &ArgMatches,
    command: &clap::Command,
) -> Result<Vec<Vec<OsString>>, Stop> {
    let place = path.display();
    runs(path, read(path)?)?
        .iter()
        .map(|run| words(run, typed, command).map_err(|e| Stop::usage(format!("{place}: {e}"))))
        .collect()
}

/// The file of a user's own defaults, if there is one: what `STRESS_CONFIG` names (empty: none), or
/// `stress/config.toml` where configurations are.
pub fn defaults_file() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("STRESS_CONFIG") {
        return (!named.is_empty()).then(|| PathBuf::from(named));
    }
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || set("HOME").map(|home| home.join(".config"));
    let file = set("XDG_CONFIG_HOME").or_else(home)?.join("stress/config.toml");
    file.exists().then_some(file)
}

/// The flags of the defaults file, without those that were typed or stand in a job file.
///
/// # Errors
/// As [`command_lines`], and for `[[run]]` tables.
pub fn default_flags(
    path: &Path,
    typed: &ArgMatches,
    command: &clap::Command,
) -> Result<Vec<OsString>, Stop> {
    let at = |e: String| Stop::usage(format!("{}: {e}", path.display()));
    let table = read(path)?;
    if table.contains_key("run") {
        return Err(at("[[run]] belongs into a file for --config: these are defaults".to_owned()));
    }
    words(&table, typed, command).map_err(at)
}

/// A TOML file.
///
/// # Errors
/// It can't be read, or is no TOML: with the line.
pub fn read(path: &Path) -> Result<Table, Stop> {
    let place = path.display();
    let text = results::input::read_to_string(path, 1 << 20)
        .map_err(|e| Stop::usage(format!("{place}: {e}")))?;
    text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |s| text[..s.start].lines().count().max(1));
        Stop::usage(format!("{place}:{line}: {}", e.message()))
    })
}

/// The `[[run]]` tables of a file, each with the keys above them as its defaults; without any, the
/// keys are one run.
///
/// # Errors
/// `run` is something else.
pub fn runs(path: &Path, mut table: Table) -> Result<Vec<Table>, Stop> {
    let runs = match table.remove("run") {
        None => vec![Table::new()],
        Some(runs) => tables(runs)
            .ok_or_else(|| Stop::usage(format!("{}: run: want [[run]] tables", path.display())))?,
    };
    let with_defaults = |run: Table| {
        let mut all = table.clone();
        all.extend(run);
        all
    };
    Ok(runs.into_iter().map(with_defaults).collect())
}

fn tables(runs: Value) -> Option<Vec<Table>> {
    let one = |run: Value| Table::try_from(run).ok();
    match runs {
        Value::Array(runs) => runs.into_iter().map(one).collect(),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => None,
    }
}

/// The flags that the keys of a table are, without those that were typed.
///
/// # Errors
/// An unknown key, a value that is none.
pub fn words(
    table: &Table,
    typed: &ArgMatches,
    command: &clap::Command,
) -> Result<Vec<OsString>, String> {
    let mut words = Vec::new();
    for (key, value) in table {
        let id = id_of(key, command)?;
        if is_typed(&id, typed) {
            continue;
        }
        values(key, value, &mut words)?;
    }
    Ok(words)
}

/// The flag that a key names, as clap knows it.
///
/// # Errors
/// None has this name.
pub fn id_of(key: &str, command: &clap::Command) -> Result<String, String> {
    let flags = || command.get_arguments().filter(|a| a.get_long().is_some());
    let found = flags().find(|a| {
        a.get_long() == Some(key) || a.get_all_aliases().is_some_and(|all| all.contains(&key))
    });
    match found {
        Some(arg) if !TYPED_ONLY.contains(&arg.get_id().as_str()) => {
            Ok(arg.get_id().as_str().to_owned())
        }
        Some(_) => Err(format!("{key} can't stand in a file")),
        None => {
            let names = flags().filter(|a| !a.is_hide_set()).filter_map(|a| a.get_long());
            Err(suggest::unknown("key", key, names, "keys are flags without dashes"))
        }
    }
}

fn is_typed(id: &str, typed: &ArgMatches) -> bool {
    let on_line = |id: &str| {
        typed.try_contains_id(id).is_ok()
            && typed.value_source(id) == Some(ValueSource::CommandLine)
    };
    let excluded =
        EXCLUSIVE.iter().any(|(a, b)| (id == *a && on_line(b)) || (id == *b && on_line(a)));
    // The workload may be given by name alone.
    on_line(id) || excluded || (id == "workload" && on_line("name"))
}

fn values(key: &str, value: &Value, words: &mut Vec<OsString>) -> Result<(), String> {
    let text = match value {
        Value::Boolean(true) => {
            words.push(format!("--{key}").into());
            return Ok(());
        }
        Value::Boolean(false) => return Ok(()),
        Value::Array(all) => {
            return all.iter().try_for_each(|value| values(key, value, words));
        }
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Datetime(_) | Value::Table(_) => {
            return Err(format!("{key}: want text, a number, true, false or a list of these"));
        }
    };
    words.push(format!("--{key}={text}").into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, typed: &[&str], expected: Result<&[&[&str]], &str>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        std::fs::write(&path, file).unwrap();
        let command = crate::cli::command();
        let typed = ["stress"].iter().chain(typed);
        let matches = command.clone().try_get_matches_from(typed).unwrap();
        match (command_lines(&path, &matches, &command), expected) {
            (Ok(lines), Ok(expected)) => assert_eq!(lines, expected, "{file}"),
            (Err(stop), Err(words)) => {
                assert!(stop.message.contains(words), "{}", stop.message);
                assert_eq!(stop.message.lines().count(), 1, "{}", stop.message);
            }
            (got, expected) => panic!("{file}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn keys_become_flags() {
        check(
            "threads = 8\nstrict = true\ntouch = false\n",
            &[],
            Ok(&[&["--strict", "--threads=8"]]),
        );
        let two: &[&str] = &["--variant=v4.11", "--variant=v4.13"];
        check("variant = [\"v4.11\", \"v4.13\"]", &[], Ok(&[two]));
        check("time-scale = 2.5", &[], Ok(&[&["--time-scale=2.5"]]));
    }

    #[test]
    fn what_is_typed_wins() {
        check("threads = 8\nduration = \"1s\"", &["--threads", "2"], Ok(&[&["--duration=1s"]]));
        check("duration = \"1s\"", &["--ops", "5"], Ok(&[&[]]));
        check("workload = \"cpuset01\"", &["page-alloc"], Ok(&[&[]]));
        check("timeout = 5", &["--duration", "2s"], Ok(&[&[]]));
    }

    #[test]
    fn each_run_has_the_keys_above_it() {
        let file = "threads = 8\n[[run]]\nseed = 1\n[[run]]\nthreads = 2\n";
        check(file, &[], Ok(&[&["--seed=1", "--threads=8"], &["--threads=2"]]));
    }

    #[test]
    fn mistakes_name_the_file_and_the_key() {
        check("theads = 8", &[], Err("did you mean 'threads'?"));
        check("threads = ", &[], Err("x.toml:1: "));
        check("config = \"y\"", &[], Err("can't stand in a file"));
        check("seed = 2020-01-01", &[], Err("seed: want text"));
        check("run = 3", &[], Err("want [[run]]"));
    }
}
