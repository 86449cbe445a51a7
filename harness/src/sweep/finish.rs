//! The end of a sweep: its runs join the history, are judged by the gates, and a report is made.
//!
//! **What.** For each cell that is done: into the history, then each of its runs against the last
//! equal nights or a named baseline, by those gates that it has a figure for. `report.html`,
//! `junit.xml`, `results.ktap`, `metrics.prom` and `night.json` are left in the directory.
//!
//! **Why.** Cron mails what is printed and looks at the exit code: one line at the end says all.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use indexmap::IndexSet;
use results::compare::{self, Gate, Style};
use results::history::{self, CheckArgs, History};
use results::report;
use results::schema::{Comparison, GateOutcome, MetricRow, Run, Verdict};
use results::store::{self, Loaded};
use serde::Serialize;

use super::cells::{self, Ended, Sweep};
use super::plan::{Cell, Judging};
use crate::cli::args::When;
use crate::cli::exit::{Exit, Stop, print};
use crate::show::color;
use crate::show::say;

/// The result's name in a sweep's directory; it is there when the sweep is finished.
pub const NIGHT_FILE: &str = "night.json";
const REPORT_FILE: &str = "report.html";
/// Histories that the report draws at most.
const MOST_TRENDS: usize = 12;

/// What came of a sweep.
#[derive(Clone, Debug, Serialize)]
pub struct Night {
    /// Version of this file; 1.
    pub night: u32,
    /// `ok`, or the worst that happened.
    pub verdict: &'static str,
    /// Exit code that goes with it.
    pub exit: u8,
    /// The last line that was printed.
    pub line: String,
    /// Each cell.
    pub cells: Vec<CellResult>,
    /// What could not be judged, one line each.
    pub warnings: Vec<String>,
}

/// One cell of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CellResult {
    /// Name.
    pub name: String,
    /// How it ended; null if it was not run.
    pub ended: Option<Ended>,
    /// Runs in it.
    pub runs: Vec<String>,
    /// Gates that looked at it.
    pub gates: usize,
    /// What is past its gate, one line each.
    pub failed: Vec<String>,
    /// What may be, one line each: more rounds are needed.
    pub suspect: Vec<String>,
    /// What could not be judged, and why, one line each.
    pub not_judged: Vec<String>,
}

/// The judge of a sweep, and what it found so far.
struct Judge<'a> {
    sweep: &'a Sweep,
    history: History,
    judging: &'a Judging,
    gates: Vec<Gate>,
    /// Runs of the cells that are done, by id.
    tonight: Vec<String>,
    /// Gates that some cell has a figure for.
    used: IndexSet<usize>,
    /// Figures that some gate is on.
    figures: IndexSet<String>,
    cells: Vec<CellResult>,
    comparisons: Vec<Comparison>,
    warnings: Vec<String>,
    exits: Vec<Exit>,
}

/// Finishes a sweep.
///
/// # Errors
/// The history or a run can't be read or written; a gate fits no cell at all.
pub fn finish(
    sweep: &Sweep,
    history_dir: &Path,
    judging: &Judging,
    save_baseline: Option<&str>,
) -> Result<Exit, Stop> {
    let mut judge = Judge::new(sweep, history_dir, judging)?;
    for cell in &sweep.plan.cells {
        judge.cell(cell)?;
    }
    judge.refuse_idle_gates()?;
    let exit = cells::worst(&judge.exits);
    if let Some(name) = save_baseline {
        judge.keep_baseline(name, exit)?;
    }
    judge.write_documents()?;
    let line = judge.last_line(exit);
    judge.warnings.iter().for_each(|w| say(format_args!("stress: {w}")));
    print(&color::paint(&format!("{}{line}\n", judge.table()), When::Auto))?;
    let night = Night {
        night: 1,
        verdict: word(exit),
        exit: exit.code(),
        line,
        cells: judge.cells,
        warnings: judge.warnings,
    };
    store::write_atomic(&sweep.dir.join(NIGHT_FILE), store::to_json(&night).as_bytes())?;
    Ok(exit)
}

impl<'a> Judge<'a> {
    fn new(sweep: &'a Sweep, history_dir: &Path, judging: &'a Judging) -> Result<Self, Stop> {
        let gates = judging.fail_on.iter().map(|text| text.parse());
        let mut tonight = Vec::new();
        for cell in &sweep.plan.cells {
            if sweep.ended(cell)?.is_some_and(|ended| ended.is_done()) {
                let loaded = store::load(&sweep.cell_dir(cell))?;
                tonight.extend(loaded.into_iter().map(|l| l.run.run_id));
            }
        }
        Ok(Self {
            tonight,
            sweep,
            history: History::open(history_dir)?,
            judging,
            gates: gates.collect::<results::error::Result<_>>()?,
            used: IndexSet::new(),
            figures: IndexSet::new(),
            cells: Vec::new(),
            comparisons: Vec::new(),
            warnings: Vec::new(),
            exits: Vec::new(),
        })
    }

    /// Takes a cell into the history and holds its runs against the gates.
    fn cell(&mut self, cell: &Cell) -> Result<(), Stop> {
        let ended = self.sweep.ended(cell)?;
        self.exits.push(ended.as_ref().map_or(Exit::CannotRun, cells::exit_of));
        let mut result = CellResult { name: cell.name.clone(), ended, ..CellResult::default() };
        if result.ended.as_ref().is_some_and(Ended::is_done) {
            self.gate(&self.sweep.cell_dir(cell), &mut result)?;
        } else {
            let state = result.ended.as_ref().map_or("not run".to_owned(), Ended::word);
            self.warnings.push(format!("{}: {state}; stress sweep run goes on with it", cell.name));
        }
        self.cells.push(result);
        Ok(())
    }

    fn gate(&mut self, dir: &Path, result: &mut CellResult) -> Result<(), Stop> {
        let loaded = store::load(dir)?;
        result.runs = loaded.iter().map(|l| l.run.run_id.clone()).collect();
        let inputs = vec![dir.to_owned()];
        if let Some(line) = self.history.add(&inputs)?.refused.pop() {
            return Err(Stop::usage(line));
        }
        let names: IndexSet<String> = loaded.iter().flat_map(|l| figures(&l.run)).collect();
        let mut fail_on = Vec::new();
        for (index, gate) in self.gates.iter().enumerate() {
            let on: Vec<&String> = names.iter().filter(|name| gate.names(name)).collect();
            if !on.is_empty() {
                self.used.insert(index);
                fail_on.push(gate.text().to_owned());
                self.figures.extend(on.into_iter().cloned());
            }
        }
        result.gates = fail_on.len();
        if fail_on.is_empty() {
            return Ok(());
        }
        let outcome = history::check(
            &self.history,
            &CheckArgs {
                inputs,
                baseline: self.judging.baseline.clone(),
                last: self.judging.last,
                except: self.tonight.clone(),
                fail_on,
                lenient: self.judging.lenient,
                style: Style::Robot,
            },
        )?;
        for comparison in &outcome.comparisons {
            for row in &comparison.metrics {
                let told = tell(row, comparison);
                match row.verdict.map(Verdict::outcome) {
                    Some(GateOutcome::Failed) => result.failed.push(told),
                    Some(GateOutcome::Suspect) => result.suspect.push(told),
                    Some(GateOutcome::NotJudged(why)) => {
                        result.not_judged.push(format!("{why}: {told}"));
                    }
                    Some(GateOutcome::Held) | None => {}
                }
            }
        }
        if outcome.comparisons.len() < loaded.len() {
            result.not_judged.extend(outcome.warnings.iter().cloned());
        }
        self.exits.push(match outcome.exit {
            0 => Exit::Ok,
            5 => Exit::Regression,
            6 => Exit::NotJudged,
            _ => Exit::Usage,
        });
        self.comparisons.extend(outcome.comparisons);
        self.warnings.extend(outcome.warnings.into_iter().map(|w| format!("{}: {w}", result.name)));
        Ok(())
    }

    /// A gate that no cell has a figure for is a slip of the pen, and would never fail.
    fn refuse_idle_gates(&self) -> Result<(), Stop> {
        let has_runs = self.cells.iter().any(|c| !c.runs.is_empty());
        let idle = (0..self.gates.len()).find(|index| !self.used.contains(index));
        match idle.filter(|_| has_runs) {
            Some(index) => Err(Stop::usage(format!(
                "gate '{}': no run of the sweep has such a figure: mend it in the matrix",
                self.gates[index].text()
            ))),
            None => Ok(()),
        }
    }

    /// Moves a named baseline here, if all is well.
    fn keep_baseline(&self, name: &str, exit: Exit) -> Result<(), Stop> {
        let is_first = self.comparisons.is_empty() && exit == Exit::NotJudged;
        if exit != Exit::Ok && !is_first {
            say(format_args!("stress: note: baseline '{name}' stays: this sweep did not pass"));
            return Ok(());
        }
        let loaded = self.load()?;
        let runs: Vec<&Run> = loaded.iter().map(|l| &l.run).collect();
        history::save_baseline(self.history.dir(), name, &runs)?;
        say(format_args!("stress: baseline '{name}': {} runs", runs.len()));
        Ok(())
    }

    fn done(&self) -> Vec<PathBuf> {
        let cells = self.sweep.plan.cells.iter().zip(&self.cells);
        let with_runs = cells.filter(|(_, result)| !result.runs.is_empty());
        with_runs.map(|(cell, _)| self.sweep.cell_dir(cell)).collect()
    }

    fn load(&self) -> Result<Vec<Loaded>, Stop> {
        let mut all = Vec::new();
        for dir in self.done() {
            all.extend(store::load(&dir)?);
        }
        Ok(all)
    }

    fn write_documents(&mut self) -> Result<(), Stop> {
        let inputs = self.done();
        if inputs.is_empty() {
            return Ok(());
        }
        let trends: Vec<String> = if self.judging.trend.is_empty() {
            self.figures.iter().take(MOST_TRENDS).cloned().collect()
        } else {
            self.judging.trend.clone()
        };
        let documents = [
            (REPORT_FILE, report::Format::Html),
            ("junit.xml", report::Format::Junit),
            ("results.ktap", report::Format::Ktap),
            ("metrics.prom", report::Format::OpenMetrics),
        ];
        for (name, format) in documents {
            let history =
                (!trends.is_empty()).then(|| (self.history.dir().to_owned(), trends.clone()));
            let outcome = report::run(&report::Args {
                inputs: inputs.clone(),
                output: Some(self.sweep.dir.join(name)),
                format,
                history,
                judged: self.comparisons.clone(),
            })?;
            for warning in outcome.warnings {
                if !self.warnings.contains(&warning) {
                    self.warnings.push(warning);
                }
            }
        }
        Ok(())
    }

    /// What cron mails, but for the last line.
    fn table(&self) -> String {
        let mut text = String::new();
        for cell in &self.cells {
            let word = cell.ended.as_ref().map_or("not run".to_owned(), Ended::word);
            let (name, runs, gates) = (&cell.name, cell.runs.len(), cell.gates);
            let _ = writeln!(text, "{name:<40} {runs:>2} runs {gates:>2} gates  {word}");
            let lines = [
                ("FAIL", &cell.failed),
                ("suspect", &cell.suspect),
                ("not judged", &cell.not_judged),
            ];
            for (head, lines) in lines {
                for line in lines {
                    let _ = writeln!(text, "  {head:<10} {line}");
                }
            }
        }
        text
    }

    /// The line that says all: the worst that happened, where, and the report.
    fn last_line(&self, exit: Exit) -> String {
        let of = |f: fn(&CellResult) -> usize| self.cells.iter().map(f).sum::<usize>();
        let (runs, gates) = (of(|c| c.runs.len()), of(|c| c.gates));
        let what = match exit {
            Exit::Ok => match self.told(|c| &c.not_judged).len() {
                0 => format!("{gates} gates held"),
                n => format!("{n} not judged, allowed by --lenient"),
            },
            Exit::NotJudged => first_of(self.told(|c| &c.suspect))
                .map(|s| format!("suspect, more rounds: {s}"))
                .or_else(|| first_of(self.told(|c| &c.not_judged)))
                .unwrap_or_else(|| format!("nothing was measured: {}", self.that_ended(exit))),
            Exit::Findings => format!("findings in {}", self.that_ended(exit)),
            Exit::Regression => first_of(self.told(|c| &c.failed))
                .unwrap_or_else(|| format!("past a gate of its own: {}", self.that_ended(exit))),
            Exit::Usage => match self.that_ended(exit) {
                none if none.is_empty() => first_of(self.warnings.clone()).unwrap_or_default(),
                refused => format!("refused: {refused}"),
            },
            Exit::CannotRun | Exit::Interrupted | Exit::Terminated | Exit::HungUp | Exit::Quit => {
                let state =
                    |c: &CellResult| c.ended.as_ref().map_or("not run".to_owned(), Ended::word);
                let left = self.cells.iter().filter(|c| c.runs.is_empty());
                first_of(left.map(|c| format!("{}: {}", c.name, state(c))).collect())
                    .unwrap_or_default()
            }
        };
        let report = self.sweep.dir.join(REPORT_FILE);
        let cells = self.cells.len();
        format!("{}: {cells} cells, {runs} runs: {what}  {}", word(exit), report.display())
    }

    /// Lines of all cells, each with the name of its cell.
    fn told(&self, lines: fn(&CellResult) -> &Vec<String>) -> Vec<String> {
        let of = |c: &CellResult| -> Vec<String> {
            lines(c).iter().map(|line| format!("{}: {line}", c.name)).collect()
        };
        self.cells.iter().flat_map(of).collect()
    }

    /// Names of the cells that ended so.
    fn that_ended(&self, exit: Exit) -> String {
        let is = |c: &&CellResult| c.ended.as_ref().is_some_and(|e| cells::exit_of(e) == exit);
        self.cells.iter().filter(is).map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The first of some lines, and how many more there are.
fn first_of(lines: Vec<String>) -> Option<String> {
    let more = lines.len().checked_sub(1)?;
    let first = lines.into_iter().next()?;
    Some(if more > 0 { format!("{first}, and {more} more") } else { first })
}

/// Names of the figures that gates can be on.
fn figures(run: &Run) -> impl Iterator<Item = String> + '_ {
    let of_op = |(op, o): (&String, &results::schema::Op)| {
        compare::op_figures(o).map(|(name, _)| format!("{op}.{name}")).collect::<Vec<_>>()
    };
    run.ops.iter().filter(|(_, op)| op.count > 0).flat_map(of_op).chain(run.figures.keys().cloned())
}

/// `mainline fault.p50_ns +10.4% [+9.8%, +11.2%] past fault.p50>5%, against the last 7 nights`.
fn tell(row: &MetricRow, comparison: &Comparison) -> String {
    let change = row.change_percent.map_or(String::new(), |p| format!(" {p:+.1}%"));
    let range = row
        .interval_percent
        .map_or(String::new(), |i| format!(" [{:+.1}%, {:+.1}%]", i.low, i.high));
    let gate = row.gate.as_deref().unwrap_or_default();
    let (variant, base) = (&comparison.new.variant, &comparison.base.label);
    format!("{variant} {}{change}{range} past {gate}, against {base}", row.name)
}

fn word(exit: Exit) -> &'static str {
    match exit {
        Exit::Ok => "ok",
        Exit::Findings => "FOUND",
        Exit::Regression => "FAIL",
        Exit::NotJudged => "NOT JUDGED",
        Exit::Usage => "REFUSED",
        Exit::CannotRun => "NOT DONE",
        Exit::Interrupted | Exit::Terminated | Exit::HungUp | Exit::Quit => "INTERRUPTED",
    }
}
