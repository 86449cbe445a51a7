//! Named baselines: `--save-baseline main`, `--baseline main`.
//!
//! What: a name stands for one run of each cell; a file `.baselines/NAME.json` beside the runs holds
//! it, so that a rebuilt index loses no name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::database::cell;
use crate::error::{Error, Result};
use crate::schema::Run;
use crate::store;

/// The content of a baseline's file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baselines {
    /// Version of this file; 1.
    pub baselines: u32,
    /// Run id by cell.
    pub runs: BTreeMap<String, String>,
}

fn file(dir: &Path, name: &str) -> Result<PathBuf> {
    let fits = !name.is_empty() && name.len() <= 64 && !name.starts_with('.');
    if !fits || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Err(Error::Input(format!(
            "baseline '{}': a name has letters, digits, '-', '_' and '.', up to 64",
            crate::format::plain(name)
        )));
    }
    Ok(dir.join(".baselines").join(format!("{name}.json")))
}

/// Is there a baseline of this name, of any cell?
///
/// # Errors
/// A name that can't be a file's.
pub fn has_baseline(dir: &Path, name: &str) -> Result<bool> {
    Ok(file(dir, name)?.is_file())
}

/// Lets `name` stand for these runs, each for its cell; what the name stood for in other cells stays.
///
/// # Errors
/// A name that can't be a file's, an interrupted run, a damaged file.
pub fn save_baseline(dir: &Path, name: &str, runs: &[&Run]) -> Result<()> {
    let path = file(dir, name)?;
    if let Some(run) = runs.iter().find(|run| run.interrupted) {
        return Err(Error::Input(format!(
            "baseline '{name}': run {} was interrupted; run it again",
            run.run_id
        )));
    }
    let _lock = super::lock(dir)?;
    let mut baselines = read(&path)?.unwrap_or_default();
    baselines.baselines = 1;
    baselines.runs.extend(runs.iter().map(|run| (cell(run), run.run_id.clone())));
    store::write_atomic(&path, store::to_json(&baselines).as_bytes())
}

/// The run that a name stands for in a run's cell.
pub(super) fn baseline_of(dir: &Path, name: &str, run: &Run) -> Result<Option<String>> {
    Ok(read(&file(dir, name)?)?.and_then(|b| b.runs.get(&cell(run)).cloned()))
}

fn read(path: &Path) -> Result<Option<Baselines>> {
    let text = match crate::input::read(path, 16 << 20) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, "read")(e)),
    };
    let damaged = |reason: String| {
        Error::Input(format!("{}: {reason}; save the baseline anew", path.display()))
    };
    let baselines: Baselines =
        serde_json::from_slice(&text).map_err(|e| damaged(format!("no baseline file: {e}")))?;
    if baselines.baselines > 1 {
        return Err(Error::Newer { path: path.to_owned(), found: u64::from(baselines.baselines) });
    }
    Ok(Some(baselines))
}
