//! The plan file: the cells of a matrix, one a line.
//!
//! **Why.** The plan is what machines share: a job array runs the cell of its own index, and all of
//! them read the same file, whatever becomes of the matrix meanwhile.

use std::path::Path;

use results::store;
use serde::{Deserialize, Serialize};

use crate::cli::exit::Stop;

/// Version of the plan file.
pub const VERSION: u32 = 1;

/// The plan's name in a sweep's directory.
pub const PLAN_FILE: &str = "plan.json";

/// What a matrix comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this file; 1.
    pub plan: u32,
    /// Version of the tool that made it.
    pub tool: String,
    /// The matrix that it was made from.
    pub matrix: String,
    /// How the whole is judged.
    pub night: Judging,
    /// The cells; `index` is the place in this list.
    pub cells: Vec<Cell>,
}

/// How a sweep is judged when all of it is done: the table `[night]` of a matrix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Judging {
    /// Gates on each run against the history; one that a cell has no figure for passes it by.
    pub fail_on: Vec<String>,
    /// A named baseline instead of the last nights.
    pub baseline: Option<String>,
    /// How many equal nights make the baseline; 10 unless given.
    pub last: Option<usize>,
    /// What can't be judged, as a first night, is no error.
    #[serde(alias = "baseline-lenient")]
    pub lenient: bool,
    /// Figures whose history the report shows; by itself those of the gates.
    pub trend: Vec<String>,
}

/// One command line, and where its result goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Place in the plan, from 0.
    pub index: usize,
    /// Name of its directory: index and what tells it apart.
    pub name: String,
    /// Workload that it runs.
    pub workload: String,
    /// Flags of `stress`.
    pub args: Vec<String>,
}

impl Plan {
    /// Reads a plan file, or that of a sweep's directory.
    ///
    /// # Errors
    /// It can't be read, is no plan, or one of a newer version.
    pub fn read(path: &Path) -> Result<Self, Stop> {
        let file = if path.is_dir() { path.join(PLAN_FILE) } else { path.to_owned() };
        let place = file.display();
        let text = results::input::read_to_string(&file, 64 << 20)
            .map_err(|e| Stop::usage(format!("{place}: {e}; make it with stress sweep plan")))?;
        let no_plan = |e: serde_json::Error| {
            Stop::usage(format!("{place}: no plan: {e}; make it with stress sweep plan"))
        };
        let head: serde_json::Value = serde_json::from_str(&text).map_err(no_plan)?;
        match head["plan"].as_u64() {
            Some(found) if found > u64::from(VERSION) => Err(Stop::usage(format!(
                "{place}: plan version {found} is newer than this build's {VERSION}: take the stress that made it"
            ))),
            Some(_) => {
                let plan: Self = serde_json::from_value(head).map_err(no_plan)?;
                match plan.cells.iter().find(|cell| !is_dir_name(&cell.name)) {
                    Some(cell) => Err(Stop::usage(format!(
                        "{place}: cell {}: '{}' is no name of a directory: letters, digits and .,=_+-; \
                         make the plan with stress sweep plan",
                        cell.index, cell.name
                    ))),
                    None => Ok(plan),
                }
            }
            None => Err(Stop::usage(format!("{place}: no plan; make it with stress sweep plan"))),
        }
    }

    /// The file's text: a line for each cell.
    pub fn text(&self) -> String {
        let cells: Vec<String> = self.cells.iter().map(line).collect();
        format!(
            "{{\n\"plan\": {},\n\"tool\": {},\n\"matrix\": {},\n\"night\": {},\n\"cells\": [\n{}\n]\n}}\n",
            self.plan,
            line(&self.tool),
            line(&self.matrix),
            line(&self.night),
            cells.join(",\n")
        )
    }

    /// Keeps it. The same plan may be there already.
    ///
    /// # Errors
    /// Another plan is there, unless `force`; it can't be written.
    pub fn save(&self, file: &Path, force: bool) -> Result<(), Stop> {
        if file.exists() && !force && !Self::read(file).is_ok_and(|old| old.is_same_work(self)) {
            return Err(Stop::usage(format!(
                "{} is another plan: take another place, or --force",
                file.display()
            )));
        }
        Ok(store::write_atomic(file, self.text().as_bytes())?)
    }

    /// Does the other one mean the same runs?
    pub fn is_same_work(&self, other: &Self) -> bool {
        self.cells == other.cells
    }
}

/// Whether a cell's results stay in the sweep's directory: a plan may come from elsewhere.
fn is_dir_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".,=_+-".contains(c);
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(fits)
}

/// One line of JSON.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| panic!("plan to JSON: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let cell = |index| Cell {
            index,
            name: format!("{index:03}-x"),
            workload: "page-alloc".to_owned(),
            args: vec!["--workload=page-alloc".to_owned(), "--seed=\"7\"".to_owned()],
        };
        let night = Judging { fail_on: vec!["p99>5%".to_owned()], ..Judging::default() };
        let (tool, matrix) = ("0.1.0".to_owned(), "night.toml".to_owned());
        Plan { plan: VERSION, tool, matrix, night, cells: vec![cell(0), cell(1)] }
    }

    #[test]
    fn a_plan_reads_back_and_has_a_line_for_each_cell() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(PLAN_FILE);
        plan().save(&file, false).unwrap();
        assert_eq!(Plan::read(dir.path()).unwrap(), plan());
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().filter(|l| l.starts_with("{\"index\"")).count(), 2, "{text}");
    }

    #[test]
    fn another_plan_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(PLAN_FILE);
        plan().save(&file, false).unwrap();
        plan().save(&file, false).unwrap();
        let other = Plan { cells: Vec::new(), ..plan() };
        assert!(other.save(&file, false).unwrap_err().message.contains("another plan"));
        assert_eq!(Plan::read(&file).unwrap(), plan());
        other.save(&file, true).unwrap();
        assert_eq!(Plan::read(&file).unwrap().cells, []);
    }

    #[test]
    fn what_is_no_plan_is_said_in_one_line() {
        let check = |text: &str, words: &str| {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join(PLAN_FILE);
            std::fs::write(&file, text).unwrap();
            let message = Plan::read(&file).unwrap_err().message;
            assert!(message.contains(words) && message.lines().count() == 1, "{message}");
        };
        check("", "no plan");
        check("[1]", "no plan");
        check("{\"plan\": 2}", "newer");
        check("{\"plan\": 1, \"cells\": 3}", "no plan");
        for name in ["../../esc", "a/b", "..", "", ".hidden", "/tmp/x", "a\u{1b}b"] {
            let mut plan = plan();
            plan.cells[1].name = name.to_owned();
            check(&plan.text(), "is no name of a directory");
        }
    }
}
