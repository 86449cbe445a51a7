//! The matrix file: workloads x threads x machines x whatever else, as TOML.
//!
//! **What.** Keys are flags of `stress`, as in `--config`; each `[[run]]` table has the keys above
//! it as its defaults. A list makes a cell of each of its values, and several lists one of each
//! combination; only what may be repeated on a command line (`variant`, `amplify`, `fail-on`) stays
//! together in one cell. The table `[night]` says how the whole is judged.

use std::path::Path;

use toml::{Table, Value};

use super::plan::{Cell, Judging, Plan, VERSION};
use crate::cli::{self, args::RunArgs, config, exit::Stop, values::Threads};

/// Flags that the sweep itself has to choose.
const OURS: &[&str] = &[
    "output",
    "force",
    "format",
    "dry_run",
    "quiet",
    "verbose",
    "baseline",
    "save_baseline",
    "lenient",
];

/// Cells of a plan; lists multiply, and a slip of the pen makes millions.
const MOST_CELLS: usize = 10_000;

/// The plan of a matrix file.
///
/// # Errors
/// The file can't be read, names a flag or a value that does not exist, or makes no cell.
pub fn plan(path: &Path) -> Result<Plan, Stop> {
    let place = path.display();
    let at = |e: String| Stop::usage(format!("{place}: {e}"));
    let mut table = config::read(path)?;
    let night = judging(table.remove("night")).map_err(at)?;
    let command = cli::command();
    let nothing =
        command.clone().try_get_matches_from(["stress"]).map_err(|e| at(e.to_string()))?;
    let mut cells = Vec::new();
    for run in config::runs(path, table)? {
        let lists = lists(&run, &command).map_err(at)?;
        let more = lists.iter().fold(1_usize, |n, (_, values)| n.saturating_mul(values.len()));
        if more.saturating_add(cells.len()) > MOST_CELLS {
            return Err(at(format!("it makes more than {MOST_CELLS} cells: shorten its lists")));
        }
        for choice in choices(&lists) {
            let mut one = run.clone();
            one.extend(choice.iter().map(|(key, value)| ((*key).to_owned(), (*value).clone())));
            let args = config::words(&one, &nothing, &command).map_err(at)?;
            let args: Vec<String> =
                args.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            let parsed = check(&args).map_err(|stop| at(stop.message))?;
            let index = cells.len();
            let name = name(index, &parsed, &choice);
            let workload = parsed.workload.into_iter().chain(parsed.name).collect();
            cells.push(Cell { index, name, workload, args });
        }
    }
    if cells.is_empty() {
        return Err(at("no cell: a list is empty".to_owned()));
    }
    let tool = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Plan { plan: VERSION, tool, matrix: place.to_string(), night, cells })
}

fn judging(table: Option<Value>) -> Result<Judging, String> {
    let Some(table) = table else { return Ok(Judging::default()) };
    let judging: Judging = table.try_into().map_err(|e: toml::de::Error| {
        format!("night: {}", e.message().lines().next().unwrap_or_default())
    })?;
    for gate in &judging.fail_on {
        gate.parse::<results::compare::Gate>().map_err(|e| e.to_string())?;
    }
    if judging.baseline.is_some() && judging.last.is_some() {
        return Err("night: baseline and last exclude each other".to_owned());
    }
    Ok(judging)
}

/// The keys whose lists multiply, in the order of the file.
fn lists<'a>(
    run: &'a Table,
    command: &clap::Command,
) -> Result<Vec<(&'a str, &'a [Value])>, String> {
    let mut lists = Vec::new();
    for (key, value) in run {
        let id = config::id_of(key, command)?;
        if OURS.contains(&id.as_str()) {
            return Err(format!("{key} can't stand in a matrix: the sweep chooses it"));
        }
        let repeats = command
            .get_arguments()
            .find(|a| a.get_id().as_str() == id)
            .is_some_and(|a| matches!(a.get_action(), clap::ArgAction::Append));
        if let Value::Array(values) = value
            && (!repeats || id == "workload")
        {
            lists.push((key.as_str(), values.as_slice()));
        }
    }
    Ok(lists)
}

/// One value of each list: all combinations, the last list running fastest.
fn choices<'a>(lists: &[(&'a str, &'a [Value])]) -> Vec<Vec<(&'a str, &'a Value)>> {
    lists.iter().fold(vec![Vec::new()], |before, (key, values)| {
        let with = |choice: &Vec<(&'a str, &'a Value)>| {
            let choice = choice.clone();
            values.iter().map(move |value| [choice.clone(), vec![(*key, value)]].concat())
        };
        before.iter().flat_map(with).collect()
    })
}

/// The cell's flags as `stress` itself reads them.
fn check(args: &[String]) -> Result<RunArgs, Stop> {
    let line = std::iter::once("stress".to_owned()).chain(args.iter().cloned());
    let run = cli::parse(line.map(Into::into))?.run;
    let names = if run.workload.is_empty() { &run.name } else { &run.workload };
    if names.len() != 1 {
        return Err(Stop::usage("workload: want one, or a list with one for each cell"));
    }
    if matches!(run.threads, Some(Threads::List(_))) {
        return Err(Stop::usage("threads: want a list, as in [1, 2, 4], with one for each cell"));
    }
    cli::run::chosen(&run)?;
    for variant in &run.variant {
        cli::policy(variant)?;
    }
    Ok(run)
}

/// `003-cpuset01-16-v4.13`: the index, the workload, and what the lists chose.
fn name(index: usize, run: &RunArgs, choice: &[(&str, &Value)]) -> String {
    let mut words: Vec<String> = run.workload.iter().chain(&run.name).cloned().collect();
    for (key, value) in choice.iter().filter(|(key, _)| *key != "workload") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        words.push(if *key == "threads" { format!("{value}t") } else { value });
    }
    let keep = |c: char| if c.is_ascii_alphanumeric() || ".,=_+".contains(c) { c } else { '-' };
    let name: String = words.join("-").chars().map(keep).take(60).collect();
    format!("{index:03}-{}", name.trim_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Plan, Stop> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("night.toml");
        std::fs::write(&path, text).unwrap();
        plan(&path)
    }

    #[test]
    fn lists_multiply_and_variants_stay_together() {
        let plan = of("rounds = 6\n[night]\nfail-on = [\"p99>5%\"]\n\
             [[run]]\nworkload = [\"page-alloc\", \"cpuset01\"]\nthreads = [2, 4]\n\
             variant = [\"v4.13\", \"mainline\"]\n[[run]]\nworkload = \"cpuset01\"\nseed = 7\n");
        let plan = plan.unwrap();
        let names: Vec<&str> = plan.cells.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "000-page-alloc-2t",
                "001-cpuset01-2t",
                "002-page-alloc-4t",
                "003-cpuset01-4t",
                "004-cpuset01"
            ]
        );
        let first = &plan.cells[0].args;
        for word in ["--variant=v4.13", "--variant=mainline", "--rounds=6", "--threads=2"] {
            assert!(first.iter().any(|w| w == word), "{word}: {first:?}");
        }
        assert_eq!(plan.cells[4].args, ["--rounds=6", "--seed=7", "--workload=cpuset01"]);
        assert_eq!(plan.night.fail_on, ["p99>5%"]);
    }

    #[test]
    fn mistakes_name_the_file_and_the_key() {
        let check = |text: &str, words: &str| {
            let message = of(text).unwrap_err().message;
            assert!(message.contains("night.toml"), "{message}");
            assert!(message.contains(words) && message.lines().count() == 1, "{message}");
        };
        check("theads = 2", "did you mean 'threads'?");
        check("workload = []", "no cell");
        check("workload = \"cpuset1\"", "did you mean 'cpuset01'?");
        check("workload = \"cpuset01\"\nvariant = \"v9\"", "v9");
        check("workload = \"cpuset01\"\nduration = \"10 parsecs\"", "10 parsecs");
        check("output = \"x\"", "the sweep chooses it");
        check("workload = \"cpuset01\"\nthreads = \"1,2\"", "want a list");
        check("[night]\nfail-om = []", "fail-om");
        check("[night]\nfail-on = [\"p99\"]", "p99");
        check("workload = ", "night.toml:1:");
    }
}
