//! The SQLite file: one row for each run, its figures and its findings.
//!
//! Differs: the file is checked before it is believed (SQLite at all, ours, not newer, not damaged),
//! read-only, so that a file which is not ours stays as it was.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior, params,
};

use super::{Added, Filter};
use crate::compare::op_figures;
use crate::error::{Error, Result};
use crate::schema::Run;

/// Version of the tables; a change means: rebuild.
const VERSION: i64 = 1;

/// "mmst": tells our files from other programs'.
const APPLICATION: i64 = 0x6d6d_7374;

const TABLES: &str = "
CREATE TABLE run (
  run_id TEXT PRIMARY KEY, started TEXT NOT NULL, host TEXT NOT NULL, fingerprint TEXT NOT NULL,
  machine TEXT NOT NULL, workload TEXT NOT NULL, variant TEXT NOT NULL, threads INTEGER NOT NULL,
  seed TEXT NOT NULL, schema INTEGER NOT NULL, tool TEXT NOT NULL, git TEXT, kernel TEXT NOT NULL,
  cell TEXT NOT NULL, rounds INTEGER NOT NULL, findings INTEGER NOT NULL,
  interrupted INTEGER NOT NULL, exit INTEGER NOT NULL, path TEXT NOT NULL, content TEXT NOT NULL
) STRICT;
CREATE INDEX run_by_cell ON run (cell, started);
CREATE TABLE metric (
  run_id TEXT NOT NULL REFERENCES run ON DELETE CASCADE, name TEXT NOT NULL,
  value REAL NOT NULL, samples TEXT NOT NULL, PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE finding (
  run_id TEXT NOT NULL REFERENCES run ON DELETE CASCADE, number INTEGER NOT NULL, kind TEXT NOT NULL,
  title TEXT NOT NULL, PRIMARY KEY (run_id, number)
) STRICT, WITHOUT ROWID;
";

/// One run in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub run_id: String,
    /// Start, RFC 3339.
    pub started: String,
    /// Host name.
    pub host: String,
    /// Kernel of the host.
    pub kernel: String,
    /// Tool version, and commit if known.
    pub tool: String,
    /// Workload.
    pub workload: String,
    /// Variant.
    pub variant: String,
    /// Tasks.
    pub threads: u32,
    /// Runs with the same cell are comparable and stand for the same thing on another night.
    pub cell: String,
    /// Whole rounds.
    pub rounds: u32,
    /// Findings that count.
    pub findings: u32,
    /// Whether something ended it before its time.
    pub interrupted: bool,
    /// What did, in words.
    pub cut_short: Option<&'static str>,
    /// Its file, below the directory of runs.
    pub path: String,
}

/// What makes two nights equal: host, modelled machine, workload with options, threads, variant,
/// schema.
pub(super) fn cell(run: &Run) -> String {
    crate::host::hash(&format!(
        "{} {} {} {:?} {} {} {} {} {}",
        crate::host::fingerprint(&run.host),
        run.machine.fingerprint(),
        run.workload,
        run.options,
        run.threads,
        run.clock.time_scale,
        run.variant.name,
        run.variant.release,
        run.schema
    ))
}

#[derive(Debug)]
pub(super) struct Database {
    file: PathBuf,
    connection: Connection,
}

impl Database {
    /// Opens the file, or makes it if it is not there.
    pub(super) fn open(file: &Path) -> Result<Self> {
        let fails = |e| explain(file, &e);
        if file.exists() {
            look_first(file)?;
        }
        let connection = Connection::open(file).map_err(fails)?;
        connection.busy_timeout(Duration::from_secs(60)).map_err(fails)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(fails)?;
        let mut this = Self { file: file.to_owned(), connection };
        this.make_tables()?;
        Ok(this)
    }

    /// Two processes may both find no file: the transaction lets one of them make the tables.
    fn make_tables(&mut self) -> Result<()> {
        let file = self.file.clone();
        let fails = |e| explain(&file, &e);
        let version =
            |c: &Connection| c.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        if version(&self.connection).map_err(fails)? == VERSION {
            return Ok(());
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(fails)?;
        if version(&transaction).map_err(fails)? == 0 {
            transaction.execute_batch(TABLES).map_err(fails)?;
            transaction.pragma_update(None, "application_id", APPLICATION).map_err(fails)?;
            transaction.pragma_update(None, "user_version", VERSION).map_err(fails)?;
        }
        transaction.commit().map_err(fails)
    }

    pub(super) fn close(self) -> Result<()> {
        let file = self.file;
        self.connection.close().map_err(|(_, e)| explain(&file, &e))
    }

    fn fails(&self) -> impl Fn(rusqlite::Error) -> Error + use<> {
        let file = self.file.clone();
        move |e| explain(&file, &e)
    }

    /// Adds or updates runs, all or none.
    pub(super) fn put(&mut self, runs: &[(String, Run)], added: &mut Added) -> Result<()> {
        let fails = self.fails();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&fails)?;
        for (path, run) in runs {
            let content = crate::host::hash(&crate::store::to_json(run));
            let old: Option<(String, String)> = transaction
                .query_row("SELECT content, path FROM run WHERE run_id = ?1", [&run.run_id], |r| {
                    Ok((r.get(0)?, r.get(1)?))
                })
                .optional()
                .map_err(&fails)?;
            match old {
                Some((old, _)) if old == content => {
                    added.unchanged += 1;
                    continue;
                }
                Some(_) => {
                    transaction
                        .execute("DELETE FROM run WHERE run_id = ?1", [&run.run_id])
                        .map_err(&fails)?;
                    added.updated += 1;
                }
                None => added.added += 1,
            }
            insert(&transaction, path, run, &content).map_err(&fails)?;
        }
        transaction.commit().map_err(&fails)
    }

    pub(super) fn path_of(&self, run_id: &str) -> Result<Option<String>> {
        self.connection
            .query_row("SELECT path FROM run WHERE run_id = ?1", [run_id], |row| row.get(0))
            .optional()
            .map_err(self.fails())
    }

    pub(super) fn list(&self, filter: &Filter) -> Result<Vec<RunRow>> {
        let sql = "SELECT run_id, started, host, kernel, tool, git, workload, variant, threads, cell, rounds, findings,
                interrupted, path FROM run
            WHERE (?1 IS NULL OR workload = ?1) AND (?2 IS NULL OR variant = ?2) AND (?3 IS NULL OR host = ?3)
                AND (?4 IS NULL OR started >= ?4)
            ORDER BY started DESC, run_id DESC LIMIT ?5";
        let last = filter.last.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
        let fails = self.fails();
        let mut statement = self.connection.prepare(sql).map_err(&fails)?;
        let values = params![filter.workload, filter.variant, filter.host, filter.since, last];
        let rows = statement.query_map(values, row).map_err(&fails)?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<RunRow>>>().map_err(&fails)?;
        rows.reverse();
        Ok(rows)
    }

    /// Value of a figure in each run that has it, by run id.
    pub(super) fn metric(&self, name: &str) -> Result<Vec<(String, f64, Vec<f64>)>> {
        let fails = self.fails();
        let sql = "SELECT run_id, value, samples FROM metric WHERE name = ?1";
        let mut statement = self.connection.prepare(sql).map_err(&fails)?;
        let read =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?));
        let rows = statement.query_map([name], read).map_err(&fails)?;
        let rows: Vec<(String, f64, String)> =
            rows.collect::<rusqlite::Result<_>>().map_err(&fails)?;
        Ok(rows
            .into_iter()
            .map(|(id, v, s)| (id, v, serde_json::from_str(&s).unwrap_or_default()))
            .collect())
    }

    /// Names of all figures.
    pub(super) fn metrics(&self) -> Result<Vec<String>> {
        let fails = self.fails();
        let mut statement = self
            .connection
            .prepare("SELECT DISTINCT name FROM metric ORDER BY name")
            .map_err(&fails)?;
        let rows = statement.query_map([], |row| row.get(0)).map_err(&fails)?;
        rows.collect::<rusqlite::Result<_>>().map_err(&fails)
    }
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<RunRow> {
    let (version, git): (String, Option<String>) = (row.get("tool")?, row.get("git")?);
    let ended: i64 = row.get("interrupted")?;
    Ok(RunRow {
        run_id: row.get("run_id")?,
        started: row.get("started")?,
        host: row.get("host")?,
        kernel: row.get("kernel")?,
        tool: git.map_or(version.clone(), |git| format!("{version} {git}")),
        workload: row.get("workload")?,
        variant: row.get("variant")?,
        threads: row.get("threads")?,
        cell: row.get("cell")?,
        rounds: row.get("rounds")?,
        findings: row.get("findings")?,
        interrupted: ended != 0,
        cut_short: ENDINGS.get(ended as usize).copied().flatten(),
        path: row.get("path")?,
    })
}

/// What stands in the column `interrupted`: earlier versions knew 0 and 1.
const ENDINGS: [Option<&str>; 4] =
    [None, Some("interrupted"), Some("ended by a finding"), Some("ended by threads that hang")];

fn insert(connection: &Connection, path: &str, run: &Run, content: &str) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO run VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        params![
            run.run_id,
            run.started,
            run.host.name,
            crate::host::fingerprint(&run.host),
            run.machine.fingerprint(),
            run.workload,
            run.variant.name,
            run.threads,
            run.seed.to_string(),
            run.schema,
            run.tool.version,
            run.tool.git,
            run.host.kernel,
            cell(run),
            run.whole_rounds().count() as i64,
            run.findings.iter().filter(|f| f.counts).count() as i64,
            ENDINGS.iter().position(|word| *word == run.cut_short()).unwrap_or(1) as i64,
            run.exit,
            path,
            content,
        ],
    )?;
    let mut metric = connection.prepare_cached("INSERT INTO metric VALUES (?1, ?2, ?3, ?4)")?;
    for (name, value, samples) in metrics(run) {
        metric.execute(params![
            run.run_id,
            name,
            value,
            serde_json::to_string(&samples).unwrap_or_default()
        ])?;
    }
    let mut finding =
        connection.prepare_cached("INSERT OR IGNORE INTO finding VALUES (?1, ?2, ?3, ?4)")?;
    for f in &run.findings {
        finding.execute(params![run.run_id, f.number, f.kind, f.title])?;
    }
    Ok(())
}

/// Figures with their value over the run (the mean over its rounds) and the rounds' samples.
fn metrics(run: &Run) -> Vec<(String, f64, Vec<f64>)> {
    let mut found: indexmap::IndexMap<String, Vec<f64>> = indexmap::IndexMap::new();
    for round in run.whole_rounds() {
        for (op, o) in round.ops.iter().filter(|(_, o)| o.count > 0) {
            for (figure, value) in op_figures(o) {
                found.entry(format!("{op}.{figure}")).or_default().push(value);
            }
        }
        for (name, figure) in &round.figures {
            found.entry(name.clone()).or_default().extend(figure.value);
        }
        found
            .entry("slow_path.per_1000_updates".to_owned())
            .or_default()
            .extend(round.slow_path.per_1000_updates);
        found
            .entry("oom.premature.definite".to_owned())
            .or_default()
            .push(round.oom.premature.definite as f64);
        found
            .entry("oom.extra_victims".to_owned())
            .or_default()
            .push(round.oom.extra_victims as f64);
    }
    let mean = |(name, samples): (String, Vec<f64>)| {
        let value = crate::compare::stats::mean(&samples).filter(|v| v.is_finite())?;
        Some((name, value, samples))
    };
    found.into_iter().filter_map(mean).collect()
}

/// Refuses what is not a whole index of ours, without writing to it.
fn look_first(file: &Path) -> Result<()> {
    let fails = |e| explain(file, &e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(fails)?;
    connection.busy_timeout(Duration::from_secs(60)).map_err(fails)?;
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let version = pragma("user_version").map_err(fails)?;
    let application = pragma("application_id").map_err(fails)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(fails)?;
    if application != APPLICATION && tables > 0 {
        return Err(Error::ForeignHistory { path: file.to_owned() });
    }
    if version > VERSION {
        return Err(Error::NewerHistory { path: file.to_owned(), found: version, known: VERSION });
    }
    // A full check reads the whole file: worth it until it takes long.
    if std::fs::metadata(file).is_ok_and(|m| m.len() < 64 << 20) {
        let state: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fails)?;
        if state != "ok" {
            return Err(Error::DamagedHistory {
                path: file.to_owned(),
                reason: crate::format::plain(&state),
            });
        }
    }
    Ok(())
}

fn explain(file: &Path, error: &rusqlite::Error) -> Error {
    let path = file.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Error::DamagedHistory { path, reason: crate::format::plain(&error.to_string()) }
        }
        Some(ErrorCode::DiskFull) => Error::Io {
            path,
            doing: "write",
            source: std::io::Error::new(std::io::ErrorKind::StorageFull, "the disk is full"),
        },
        _ => Error::Input(format!(
            "{}: {}",
            path.display(),
            crate::format::plain(&error.to_string())
        )),
    }
}
