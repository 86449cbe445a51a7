//! What README and docs show is what this build prints.
//!
//! A shown output is a `console` block whose first line is the command, with a comment before it:
//!
//! - `<!-- exact -->`: run here, compared to the byte. For what is the same on every machine: stories,
//!   cells, counts, replayed schedules.
//! - `<!-- measured on 2026-12-01, verify build, 2 CPUs -->`: times and rates. Run here for a moment
//!   (rounds of 1 s); numbers are masked, the form is compared. The date is that of the last
//!   `scripts/docs`.
//! - `<!-- measured on ..., by scripts/bench -->`: made by another command; not run here.
//!
//! A line `...` stands for any number of lines, a line that ends in ` \` goes on. After a wanted change:
//! `scripts/docs`, then read the diff. Figures outside of such blocks go stale unseen, so units that
//! only a measurement has are refused there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// README and docs, without the description of the kernel, whose figures are the kernel's.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let mut pages: Vec<PathBuf> =
        docs.filter(|p| p.extension().is_some_and(|e| e == "md")).collect();
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Exact,
    Measured,
    /// Made by another command than `stress`, or one that takes minutes.
    Elsewhere,
}

/// A shown output: lines `first..end` of a page are what the command printed.
#[derive(Debug)]
struct Block {
    kind: Kind,
    /// The line of the comment.
    comment: usize,
    command: String,
    first: usize,
    end: usize,
}

fn kind_of(line: &str) -> Option<Kind> {
    let comment = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    match comment {
        "exact" => Some(Kind::Exact),
        _ if !comment.starts_with("measured on ") => None,
        _ if comment.contains(", by ") => Some(Kind::Elsewhere),
        _ => Some(Kind::Measured),
    }
}

/// The blocks of a page; an error names a `console` block that nothing vouches for.
fn blocks(lines: &[String]) -> Result<Vec<Block>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at] != "```console" {
            at += 1;
            continue;
        }
        let open = at;
        let before = open.checked_sub(1).and_then(|above| kind_of(&lines[above]));
        let kind = before.ok_or(format!("{}: say `exact` or `measured on`", open + 1))?;
        let end = (open + 1..lines.len()).find(|&i| lines[i] == "```");
        let end = end.ok_or(format!("{}: the block has no end", open + 1))?;
        let mut first = open + 1;
        let mut command = lines[first].strip_prefix("$ ").unwrap_or_default().to_owned();
        while let Some(whole) = command.strip_suffix('\\') {
            first += 1;
            command = format!("{} {}", whole.trim_end(), lines[first].trim());
        }
        found.push(Block { kind, comment: open - 1, command, first: first + 1, end });
        at = end + 1;
    }
    Ok(found)
}

/// The arguments as a shell would give them, as far as documents need it.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in command.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            (' ', None) => words.push(String::new()),
            (c, _) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Runs a block's command in a directory of its own; what it printed, both streams.
fn run(command: &str, moment: bool) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut words = words(command).into_iter();
    let program = words.next().unwrap_or_default();
    assert!(program.ends_with("stress"), "{command}: only stress is run here");
    let mut args: Vec<String> = words.collect();
    if moment {
        let long = args.iter().position(|a| a == "--duration").map(|i| i + 1);
        match long {
            Some(value) => args[value] = "1s".to_owned(),
            None => args.extend(["--duration".to_owned(), "1s".to_owned()]),
        }
        args.extend(["--warmup".to_owned(), "0".to_owned()]);
    }
    let built = env!("CARGO_BIN_EXE_stress").to_owned();
    let output = Command::new(std::env::var("STRESS_DOCS_BINARY").unwrap_or(built))
        .args(&args)
        .current_dir(&dir)
        .env("XDG_CONFIG_HOME", dir.path())
        .env("COLUMNS", "80")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap().lines().map(|l| l.trim_end().to_owned()).collect()
}

/// Lines that say what this machine or this run is, by their first word.
const OF_THE_RUN: [&str; 5] = ["stress", "host", "figures", "windows", "clean"];

/// A line without its numbers, and of what is of the run only the first word.
fn masked(line: &str) -> String {
    let first = line.split_whitespace().next().unwrap_or_default();
    if OF_THE_RUN.contains(&first) {
        return first.to_owned();
    }
    let is_figure = |word: &str| word.contains(|c: char| c.is_ascii_digit()) || word == "-";
    let words = line.split_whitespace().map(|w| if is_figure(w) { "#" } else { w });
    let mut out: Vec<&str> = words.collect();
    out.dedup_by(|a, b| *a == "#" && *b == "#");
    out.join(" ")
}

/// The shown lines as this output has them; an error names the first that it doesn't have.
fn refreshed(
    shown: &[String],
    printed: &[String],
    same: fn(&str) -> String,
) -> Result<Vec<String>, String> {
    let (mut out, mut at, mut skips) = (Vec::new(), 0, false);
    for line in shown {
        if line.trim() == "..." {
            skips = true;
            out.push(line.clone());
            continue;
        }
        let rest = &printed[at.min(printed.len())..];
        let here = if skips {
            rest.iter().position(|p| same(p) == same(line))
        } else {
            rest.first().filter(|p| same(p) == same(line)).map(|_| 0)
        };
        let here = here.ok_or_else(|| {
            let next = rest.first().map_or("the end", String::as_str);
            format!("shown:   {line}\n  printed: {next}")
        })?;
        out.push(rest[here].clone());
        at += here + 1;
        skips = false;
    }
    if !skips && at < printed.len() {
        return Err(format!("shown:   the end\n  printed: {}", printed[at]));
    }
    Ok(out)
}

fn read(page: &Path) -> Vec<String> {
    fs::read_to_string(page).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn outputs_are_those_of_this_build() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in pages() {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        let lines = read(&page);
        let blocks = match blocks(&lines) {
            Ok(blocks) => blocks,
            Err(why) => {
                wrong.push(format!("{name}:{why}"));
                continue;
            }
        };
        for block in blocks.iter().filter(|b| b.kind != Kind::Elsewhere) {
            let measured = block.kind == Kind::Measured;
            // What a machine lacks for a workload is noted: on another one there is less to note.
            // The seed stands on the first line where there is room for it.
            let is_note = |line: &String| {
                measured && ["note ", "seed "].iter().any(|word| line.starts_with(word))
            };
            let mut printed = run(&block.command, measured);
            printed.retain(|line| !is_note(line));
            let mut shown = lines[block.first..block.end].to_vec();
            shown.retain(|line| !is_note(line));
            let same: fn(&str) -> String = if measured { masked } else { str::to_owned };
            checked += 1;
            if let Err(why) = refreshed(&shown, &printed, same) {
                wrong.push(format!("{name}:{}: $ {}\n  {why}", block.first + 1, block.command));
            }
        }
    }
    assert!(checked > 0, "no document shows an output");
    assert!(wrong.is_empty(), "run scripts/docs and read its diff:\n{}", wrong.join("\n"));
}

/// `scripts/docs`: each block anew, its date with it. What doesn't fit any more is named.
#[test]
#[ignore = "writes README and docs: scripts/docs"]
fn write() {
    let only = std::env::var("STRESS_DOCS").unwrap_or_default();
    let today = std::env::var("STRESS_DOCS_STAMP").expect("scripts/docs sets it");
    let mut wrong = Vec::new();
    for page in pages().iter().filter(|p| p.to_string_lossy().contains(&only)) {
        let mut lines = read(page);
        for block in blocks(&lines).unwrap().iter().rev() {
            if block.kind == Kind::Elsewhere {
                continue;
            }
            let measured = block.kind == Kind::Measured;
            let printed = run(&block.command, false);
            let shown = &lines[block.first..block.end];
            let whole = !shown.iter().any(|l| l.trim() == "...");
            let new = match refreshed(shown, &printed, masked) {
                Ok(new) => new,
                Err(_) if whole => printed,
                Err(why) => {
                    wrong.push(format!("{}:{}\n  {why}", page.display(), block.first + 1));
                    continue;
                }
            };
            if measured {
                lines[block.comment] = format!("<!-- measured on {today} -->");
            }
            lines.splice(block.first..block.end, new);
        }
        fs::write(page, lines.join("\n") + "\n").unwrap();
    }
    assert!(wrong.is_empty(), "shorten or correct these by hand:\n{}", wrong.join("\n"));
}

/// Units that only a measurement or a count of this build gives.
const MEASURED_UNITS: [&str; 7] =
    ["ns", "us", "ms", "schedules", "schedules/s", "cells", "instructions"];

/// Lines of a page with a measured figure that no output and no date vouches for.
fn stale_figures(lines: &[String]) -> Vec<(usize, String)> {
    let (mut fenced, mut vouched, mut found) = (false, false, Vec::new());
    for (number, line) in lines.iter().enumerate() {
        fenced ^= line.starts_with("```");
        if line.is_empty() {
            vouched = false;
        }
        vouched |= line.starts_with("<!-- measured on ");
        if fenced || vouched {
            continue;
        }
        // What stands in code is a command, not a claim.
        let prose: Vec<&str> = line.split('`').step_by(2).collect();
        let prose = prose.join("`");
        let words: Vec<&str> = prose.split([' ', '/', '(', ')', '|']).collect();
        let is_number = |word: &str| {
            word.ends_with(|c: char| c.is_ascii_digit())
                && word.starts_with(|c: char| c.is_ascii_digit())
        };
        let unit =
            |word: &str| MEASURED_UNITS.contains(&word.trim_end_matches([',', '.', ';', ':']));
        if words.windows(2).any(|pair| is_number(pair[0]) && unit(pair[1])) {
            found.push((number + 1, line.clone()));
        }
    }
    found
}

#[test]
fn figures_say_when_they_were_measured() {
    let mut wrong = Vec::new();
    for page in pages() {
        for (number, line) in stale_figures(&read(&page)) {
            wrong.push(format!("{}:{number}: {line}", page.display()));
        }
    }
    let how = "show the output, or put `<!-- measured on DATE, BUILD, by COMMAND -->` above";
    assert!(wrong.is_empty(), "{how}:\n{}", wrong.join("\n"));
}

#[test]
fn the_check_sees_what_is_stale() {
    let stale = |text: &str| {
        !stale_figures(&text.lines().map(str::to_owned).collect::<Vec<_>>()).is_empty()
    };
    assert!(stale("in all 122 cells, 200,000 schedules.") && stale("a pair takes 23 ns"));
    assert!(!stale("for `--duration 30 ms`") && !stale("4 CPUs, 2 s"));
    assert!(!stale("<!-- measured on 2026-12-01, by x -->\na pair takes 23 ns"));

    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let printed = lines("seed 0x1f\nfault 12 34\nclean 0 findings");
    let ok = |shown: &str, same| refreshed(&lines(shown), &printed, same).is_ok();
    assert!(ok("seed 0x1f\nfault 12 34\nclean 0 findings", str::to_owned));
    assert!(ok("...\nfault 12 34\n...", str::to_owned));
    assert!(!ok("...\nfault 12 35\n...", str::to_owned));
    assert!(ok("...\nfault 99 1.2us\n...", masked));
    assert!(!ok("...\nunmap 99 1.2us\n...", masked));
    assert!(!ok("seed 0x1f\nfault 12 34", str::to_owned), "the end is missing");
    assert!(!ok("clean 0 findings\n...\nfault 12 34", masked), "the order is wrong");
    assert!(blocks(&lines("```console\n$ stress\n```")).is_err(), "nothing vouches for it");
    assert_eq!(words("stress --x 'a b' \\"), ["stress", "--x", "a b", "\\"]);
}
