//! Runs over time: which night a figure moved.
//!
//! What: `stress history add|rebuild|list|show|plot|check|export` and named baselines.
//! Why: files last, databases don't. The run directories are the truth; the SQLite file beside them
//! is an index that can be thrown away and rebuilt, so it is never worth repairing.
//! Source: UX of the labs: a directory a run (LKP, mmtests), a file that answers "p99 since May".
//! Differs: one lock file serialises writers, because SQLite's own locks don't cover the copying of
//! files and the exchange of a rebuilt index. Not for network file systems.

mod baseline;
mod check;
mod database;
mod export;
mod trend;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::schema::Run;
use crate::store::{self, Loaded};

pub use baseline::{Baselines, has_baseline, save_baseline};
pub use check::{CheckArgs, CheckOutcome, check};
pub use database::RunRow;
pub use export::{ExportFormat, export};
pub use trend::{Point, Series, plot, trend, trend_table};

use database::Database;

/// The index's name in the directory of runs.
pub const INDEX_FILE: &str = "history.sqlite";

/// A directory of runs with its index.
#[derive(Debug)]
pub struct History {
    dir: PathBuf,
    database: Database,
}

/// What adding gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Added {
    /// Runs that are new.
    pub added: usize,
    /// Runs that were there, in another state (a round more, for one).
    pub updated: usize,
    /// Runs that were there as they are.
    pub unchanged: usize,
    /// One line for each file that could not be taken; the others were.
    pub refused: Vec<String>,
}

impl Added {
    /// `12 added, 3 unchanged`.
    #[must_use]
    pub fn summary(&self) -> String {
        let parts = [
            (self.added, "added"),
            (self.updated, "updated"),
            (self.unchanged, "unchanged"),
            (self.refused.len(), "refused"),
        ];
        let told: Vec<String> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, w)| format!("{n} {w}")).collect();
        if told.is_empty() { "no runs".to_owned() } else { told.join(", ") }
    }

    /// Whether refusals are all there is.
    #[must_use]
    pub fn is_all_refused(&self) -> bool {
        !self.refused.is_empty() && self.added + self.updated + self.unchanged == 0
    }

    /// 2 if a file was refused.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        if self.refused.is_empty() { 0 } else { 2 }
    }
}

/// Which runs a question is about; what is not given holds for all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Workload.
    pub workload: Option<String>,
    /// Variant as written.
    pub variant: Option<String>,
    /// Host name.
    pub host: Option<String>,
    /// Started at or after this (a date, or RFC 3339 to any length).
    pub since: Option<String>,
    /// No more than the newest so many.
    pub last: Option<usize>,
}

impl History {
    /// Opens the index of a directory of runs, or makes it. A new index takes up what is there.
    ///
    /// # Errors
    /// A damaged index, a newer one, or another program's file under its name: named, and left as
    /// it is.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io(dir, "make the directory"))?;
        let file = dir.join(INDEX_FILE);
        if !file.exists() {
            let _lock = lock(dir)?;
            // Somebody else may have made it while we waited.
            if !file.exists() {
                Self::make(dir, &file)?;
            }
        }
        Ok(Self { dir: dir.to_owned(), database: Database::open(&file)? })
    }

    /// Makes an index of what is there; under the lock. It has its name only when it is whole, so
    /// that nobody opens half of one.
    fn make(dir: &Path, file: &Path) -> Result<Added> {
        let temporary = dir.join(format!(".{INDEX_FILE}.{:016x}.tmp", rand::random::<u64>()));
        let build = || -> Result<Added> {
            let mut fresh = Self { dir: dir.to_owned(), database: Database::open(&temporary)? };
            let added = fresh.index(&store::run_files(dir)?)?;
            fresh.database.close()?;
            fs::rename(&temporary, file).map_err(Error::io(file, "write"))?;
            Ok(added)
        };
        let built = build();
        if built.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        built
    }

    /// Makes the index anew from the run directories. A damaged index is kept beside it under
    /// another name.
    ///
    /// # Errors
    /// An index of a newer version, unless `force`; the system's reasons.
    pub fn rebuild(dir: &Path, force: bool) -> Result<(Self, Added)> {
        let lock = lock(dir)?;
        let file = dir.join(INDEX_FILE);
        match file.exists().then(|| Database::open(&file)) {
            Some(Err(newer @ Error::NewerHistory { .. })) if !force => return Err(newer),
            Some(Err(_)) => {
                let kept = dir.join(format!("{INDEX_FILE}.damaged-{:08x}", rand::random::<u32>()));
                fs::rename(&file, &kept).map_err(Error::io(&file, "set aside"))?;
            }
            Some(Ok(_)) | None => {}
        }
        let built = Self::make(dir, &file);
        drop(lock);
        Ok((Self::open(dir)?, built?))
    }

    /// Adds files, run directories or directories of runs. What lies elsewhere is copied in, so
    /// that the directory holds all that the index says. Adding twice does nothing.
    ///
    /// # Errors
    /// The index can't be written. Bad files are not errors: they are told in `refused`.
    pub fn add(&mut self, inputs: &[PathBuf]) -> Result<Added> {
        let _lock = lock(&self.dir)?;
        let mut files = Vec::new();
        let mut refused = Vec::new();
        for input in inputs {
            let found =
                if input.is_dir() { store::run_files(input) } else { Ok(vec![input.clone()]) };
            match found {
                Ok(found) if found.is_empty() => {
                    refused.push(Error::Empty { path: input.clone() }.to_string())
                }
                Ok(found) => {
                    for file in found {
                        match self.bring_in(&file) {
                            Ok(inside) => files.extend(inside),
                            Err(Error::Foreign { .. })
                                if input.is_dir() && !file.ends_with(store::RUN_FILE) => {}
                            Err(error) => refused.push(error.to_string()),
                        }
                    }
                }
                Err(error) => refused.push(error.to_string()),
            }
        }
        let mut added = self.index(&files)?;
        added.refused.splice(0..0, refused);
        Ok(added)
    }

    /// The file's place inside the directory; copies the run there if it lies elsewhere.
    fn bring_in(&self, file: &Path) -> Result<Vec<PathBuf>> {
        let home = fs::canonicalize(&self.dir).map_err(Error::io(&self.dir, "read"))?;
        let real = fs::canonicalize(file).map_err(Error::io(file, "read"))?;
        if real.starts_with(&home) {
            return Ok(vec![file.to_owned()]);
        }
        let mut inside = Vec::new();
        for Loaded { run, .. } in store::load_file(file)? {
            if let Some(old) =
                self.database.path_of(&run.run_id)?.map(|p| self.dir.join(p)).filter(|p| p.exists())
            {
                // The same run again, perhaps in a later state.
                store::save(&run, &old, false)?;
                inside.push(old);
                continue;
            }
            let started = crate::time::parse_rfc3339(&run.started).unwrap_or(std::time::UNIX_EPOCH);
            let dir = store::new_run_dir(&self.dir, started, &run)?;
            copy_companions(&real, &dir)?;
            let target = dir.join(store::RUN_FILE);
            store::save(&run, &target, false)?;
            inside.push(target);
        }
        Ok(inside)
    }

    /// Puts files that lie in the directory into the index, all in one transaction.
    fn index(&mut self, files: &[PathBuf]) -> Result<Added> {
        let mut added = Added::default();
        let mut runs = Vec::new();
        for file in files {
            match store::load_file(file) {
                Ok(found) => runs.extend(found),
                Err(Error::Foreign { .. }) if !file.ends_with(store::RUN_FILE) => {}
                Err(error) => added.refused.push(error.to_string()),
            }
        }
        let relative = |path: &Path| -> String {
            path.strip_prefix(&self.dir).unwrap_or(path).to_string_lossy().into_owned()
        };
        let rows: Vec<(String, Run)> =
            runs.into_iter().map(|l| (relative(&l.path), l.run)).collect();
        self.database.put(&rows, &mut added)?;
        Ok(added)
    }

    /// Runs in order of time.
    ///
    /// # Errors
    /// The index can't be read.
    pub fn list(&self, filter: &Filter) -> Result<Vec<RunRow>> {
        self.database.list(filter)
    }

    /// The one run whose id, or whose path, begins so.
    ///
    /// # Errors
    /// None or several do; its file can't be read.
    pub fn show(&self, name: &str) -> Result<Loaded> {
        let hits: Vec<RunRow> = self
            .list(&Filter::default())?
            .into_iter()
            .filter(|row| row.run_id.starts_with(name) || row.path.starts_with(name))
            .collect();
        match hits.as_slice() {
            [one] => self.load(one),
            [] => Err(Error::Input(format!(
                "history: no run '{name}'; stress history list names them"
            ))),
            several => Err(Error::Input(format!(
                "history: {} runs begin with '{name}'; give more of the name",
                several.len()
            ))),
        }
    }

    /// The record behind a row.
    ///
    /// # Errors
    /// The file is gone or damaged.
    pub fn load(&self, row: &RunRow) -> Result<Loaded> {
        let path = self.dir.join(&row.path);
        if !path.exists() {
            let mend = "stress history rebuild brings the index up to date";
            return Err(Error::Input(format!("history: {} is gone; {mend}", path.display())));
        }
        let found = store::load_file(&path)?;
        let gone = || {
            Error::Input(format!("history: {} no longer holds run {}", path.display(), row.run_id))
        };
        found.into_iter().find(|l| l.run.run_id == row.run_id).ok_or_else(gone)
    }

    /// The directory of runs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The table of `stress history list`.
#[must_use]
pub fn list_table(rows: &[RunRow]) -> String {
    let mut out = format!(
        "{:<17} {:<16} {:<24} {:>7} {:<12} {:>6} {:>8}  {}\n",
        "STARTED (UTC)", "WORKLOAD", "VARIANT", "THREADS", "HOST", "ROUNDS", "FINDINGS", "PATH"
    );
    for row in rows {
        let plain = |text: &str, width| crate::format::fit(&crate::format::plain(text), width);
        out.push_str(&format!(
            "{:<17} {:<16} {:<24} {:>7} {:<12} {:>6} {:>8}  {}{}\n",
            plain(row.started.get(..16).unwrap_or(&row.started), 17),
            plain(&row.workload, 16),
            plain(&row.variant, 24),
            row.threads,
            plain(&row.host, 12),
            row.rounds,
            row.findings,
            crate::format::plain(&row.path),
            row.cut_short.map_or(String::new(), |why| format!("  ({why})")),
        ));
    }
    out
}

/// Files that lie beside a run's record (histogram log, findings); not what lies beside a file
/// that is no run directory's.
fn copy_companions(file: &Path, to: &Path) -> Result<()> {
    if !file.ends_with(store::RUN_FILE) {
        return Ok(());
    }
    let Some(from) = file.parent() else { return Ok(()) };
    for entry in fs::read_dir(from).map_err(Error::io(from, "read"))? {
        let entry = entry.map_err(Error::io(from, "read"))?;
        let path = entry.path();
        // Not what a link points to: a directory that somebody shared must not take in our files.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if let Some(name) = path.file_name().filter(|n| *n != store::RUN_FILE && is_file) {
            fs::copy(&path, to.join(name)).map_err(Error::io(&path, "copy"))?;
        }
    }
    Ok(())
}

/// One writer at a time; released when the file is dropped, or its process dies.
fn lock(dir: &Path) -> Result<File> {
    fs::create_dir_all(dir).map_err(Error::io(dir, "make the directory"))?;
    let path = dir.join(".history.lock");
    let file = store::open_own(&path).map_err(Error::io(&path, "write"))?;
    file.lock().map_err(Error::io(&path, "lock"))?;
    Ok(file)
}

#[cfg(test)]
mod tests;
