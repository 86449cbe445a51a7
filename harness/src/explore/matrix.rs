//! The matrix: every family against every variant of its axis, expected against found.

use std::fmt::Write as _;

use allocator_explore::policy::Policy;
use results::format::{thousands, wrap};
use serde::Serialize;
use workloads_explore::worlds::matrix::{self, Cell};
use workloads_explore::worlds::search::{Effort, Judged, judge};

use super::search::Watcher;
use crate::cli::exit::Stop;

/// A cell, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The family.
    pub family: String,
    /// `axis=variant`.
    pub choice: String,
    /// The policy's spec.
    pub variant: String,
    /// What the variant states.
    pub expected: String,
    /// What was found, in some words.
    pub found: String,
    /// Fewest preemptions of a find; null without.
    pub preemptions: Option<u32>,
    /// Schedules executed, samples included.
    pub executed: u64,
    /// Was the bounded search exhaustive?
    pub complete: bool,
    /// Why it differs; null if it is as expected.
    pub differs: Option<String>,
}

/// A damage planted for once: the cells of one choice are tried with another policy.
#[derive(Clone, Debug)]
pub struct Planted {
    choice: String,
    policy: Policy,
}

impl Planted {
    /// Reads `cpuset=intersection-recheck:v4.13,cpuset=cookie-recheck`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, Stop> {
        let bad = || Stop::usage(format!("--plant '{text}': want AXIS=VARIANT:SPEC"));
        let (choice, spec) = text.split_once(':').ok_or_else(bad)?;
        let known = matrix::cells().iter().any(|c| choice_of(c) == choice);
        if !known {
            return Err(Stop::usage(format!(
                "--plant '{text}': no cell is about {choice}  (stress list variants)"
            )));
        }
        Ok(Self { choice: choice.to_owned(), policy: super::subject::policy(spec)? })
    }
}

fn choice_of(cell: &Cell) -> String {
    format!("{}={}", cell.axis, cell.variant)
}

/// The matrix, searched.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Cells that could be searched.
    pub rows: Vec<Row>,
    /// Families without a world, with what they are.
    pub without_world: Vec<String>,
}

/// Searches all cells, or those of some families; `show` gets each when it is done. Ends early when a signal came.
pub fn run(
    effort: &Effort,
    families: &[String],
    planted: &[Planted],
    watcher: &Watcher,
    mut show: impl FnMut(&Row) -> Result<(), Stop>,
) -> Result<Matrix, Stop> {
    let mut all = Matrix { rows: Vec::new(), without_world: Vec::new() };
    let wanted = |c: &Cell| families.is_empty() || families.iter().any(|f| f == c.family.name());
    for cell in matrix::cells().into_iter().filter(wanted) {
        let Some(world) = cell.world else {
            let name = format!("{} ({})", cell.family, cell.family.what());
            if !all.without_world.contains(&name) {
                all.without_world.push(name);
            }
            continue;
        };
        let choice = choice_of(&cell);
        let policy = planted.iter().find(|p| p.choice == choice).map_or(cell.policy, |p| p.policy);
        watcher.begin(format!("{} {policy}", cell.family));
        let judged = judge(Cell { policy, ..cell }, world, effort, watcher.watch());
        if watcher.interrupted().is_some() {
            break;
        }
        let row = row(&judged);
        show(&row)?;
        all.rows.push(row);
    }
    Ok(all)
}

fn row(judged: &Judged) -> Row {
    let cell = &judged.cell;
    Row {
        family: cell.family.name().to_owned(),
        choice: choice_of(cell),
        variant: cell.policy.to_string(),
        expected: cell.expect.to_string(),
        found: judged.told(),
        preemptions: judged.found().map(|f| f.preemptions),
        executed: judged.executed(),
        complete: judged.report.complete,
        differs: judged.wrong(),
    }
}

/// The line above the rows.
pub fn heading() -> String {
    format!("{:<9}{:<32} {:<9} FOUND\n", "FAMILY", "VARIANT", "EXPECTED")
}

/// A row as a line, and what to do about one that differs.
pub fn line(row: &Row) -> String {
    let Row { family, choice, expected, found, .. } = row;
    let mut text = format!("{family:<9}{choice:<32} {expected:<9} {found}\n");
    if let Some(differs) = &row.differs {
        let more = format!("DIFFERS: {differs}");
        text += &wrap(&format!("         {more}"), "           ", 80);
        let _ =
            writeln!(text, "         stress explore --family {family} --variant {}", row.variant);
    }
    text
}

/// What it all came to.
pub fn summary(matrix: &Matrix, effort: &Effort, seconds: f64, interrupted: bool) -> String {
    let Matrix { rows, without_world } = matrix;
    let executed: u64 = rows.iter().map(|r| r.executed).sum();
    let wrong = rows.iter().filter(|r| r.differs.is_some()).count();
    let mut text = String::new();
    if !without_world.is_empty() {
        let names = format!("not searched, no world: {}", without_world.join(", "));
        text += &wrap(&names, "  ", 80);
    }
    let Effort { extra_preemptions: extra, samples, larger, .. } = effort;
    text += &wrap(
        &format!(
            "bound: each family's switches, at least 2{}; {} samples on top of what is excluded; \
             {} worlds: MAX_RECLAIM_RETRIES 2 of 16, batches of a few pages.",
            if *extra > 0 { format!(", and {extra} more") } else { String::new() },
            thousands(*samples),
            if *larger { "larger" } else { "small" }
        ),
        "",
        80,
    );
    let cells = rows.len();
    let verdict = match wrong {
        0 => format!("{cells} cells as expected"),
        n => format!("{} of {cells} cells as expected, {n} not", cells - n),
    };
    let verdict = match interrupted {
        true => format!("INTERRUPTED: the other cells were not searched; {verdict}"),
        false => verdict,
    };
    let _ = writeln!(text, "{verdict}; {} schedules in {seconds:.1} s", thousands(executed));
    text
}
