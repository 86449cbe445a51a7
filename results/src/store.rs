//! Results on disk: written whole or not at all, read with errors that say where.
//!
//! What: [`save`], [`write_atomic`], [`new_run_dir`]; [`load`] for a file, a run directory or a
//! directory of runs.
//! Why: a night's work must survive a kill, a full disk and a second night at the same time, and a
//! reader must be told which byte of which file is wrong.
//! Differs: atomic means a temporary name in the same directory, fsync, then rename (or link, when
//! nothing may be replaced), so that a reader finds the old file or the new one.

mod locate;
mod screen;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{Error, Result};
use crate::escape;
use crate::histogram::Histogram;
use crate::input;
use crate::schema::{Run, RunSet, VERSION};

/// Where runs are kept unless `-o` says otherwise.
pub const RUNS_DIR: &str = "stress-runs";

/// The record's file name inside a run directory.
pub const RUN_FILE: &str = "run.json";

/// Where the interval log of a record lies: beside it; `run.hlog` for a record alone in its file,
/// `run-2.hlog` for the second of several variants.
#[must_use]
pub fn hlog_path(file: &Path, index: usize, variants: usize) -> PathBuf {
    if variants == 1 {
        return file.with_extension("hlog");
    }
    let stem = file.file_stem().unwrap_or(OsStr::new("run")).to_string_lossy();
    file.with_file_name(format!("{stem}-{}.hlog", index + 1))
}

/// The histograms of a record may have this many buckets together: 128 MiB one after the other.
const MOST_BUCKETS: usize = 1 << 24;

/// A record and the file that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// The record.
    pub run: Run,
}

/// A new name for a run: sorts by time, never given twice.
#[must_use]
pub fn new_run_id(started: SystemTime) -> String {
    let second = crate::time::rfc3339(started).replace(['-', ':'], "").replace('Z', "");
    format!("{second}-{:016x}", rand::random::<u64>())
}

/// Makes `BASE/<time>-<workload>-<variant>-<host>/` and returns it. A second run of the same
/// minute gets `-2` behind the name, whichever process asks first.
///
/// # Errors
/// The directory can't be made.
pub fn new_run_dir(base: &Path, started: SystemTime, run: &Run) -> Result<PathBuf> {
    fs::create_dir_all(base).map_err(Error::io(base, "make the directory"))?;
    let words = [&run.workload, &run.variant.name, &run.host.name].map(|word| for_file_name(word));
    new_numbered_dir(base, &format!("{}-{}", crate::time::for_names(started), words.join("-")))
}

/// Makes `BASE/<name>/`, or the same with `-2`, `-3`, ... behind the name if somebody was first.
///
/// # Errors
/// The directory can't be made.
pub fn new_numbered_dir(base: &Path, name: &str) -> Result<PathBuf> {
    for copy in 1_u32.. {
        let dir = base.join(if copy == 1 { name.to_owned() } else { format!("{name}-{copy}") });
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(&dir, "make the directory")(e)),
        }
    }
    unreachable!("2^32 directories of one name")
}

/// Anything that is no letter, digit, dot, comma, `=`, `_` or `+` becomes `-`; no more than 60 bytes.
fn for_file_name(word: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || ".,=_+".contains(c) { c } else { '-' };
    let name: String = word.chars().take(60).map(keep).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// Writes one record to `path`. The file may exist if it holds the same run (a later state of
/// it); another run's is only replaced with `force`.
///
/// # Errors
/// [`Error::Exists`], or the system's reason; the old file is then still whole.
pub fn save(run: &Run, path: &Path, force: bool) -> Result<()> {
    save_json(&to_json(run), std::slice::from_ref(&run.run_id), path, force)
}

/// Writes several variants of a run to one file, as [`save`] does.
///
/// # Errors
/// As [`save`].
pub fn save_set(set: &RunSet, path: &Path, force: bool) -> Result<()> {
    let ids: Vec<String> = set.runs.iter().map(|run| run.run_id.clone()).collect();
    save_json(&to_json(set), &ids, path, force)
}

/// The document as it is written: indented JSON with a newline at the end.
///
/// # Panics
/// Never: records hold nothing that JSON can't.
#[must_use]
pub fn to_json(document: &impl serde::Serialize) -> String {
    let mut text =
        serde_json::to_string_pretty(document).unwrap_or_else(|e| panic!("record to JSON: {e}"));
    text.push('\n');
    escape::json(text)
}

fn save_json(text: &str, ids: &[String], path: &Path, force: bool) -> Result<()> {
    if force {
        return write_atomic(path, text.as_bytes());
    }
    if create_atomic(path, text.as_bytes())? {
        return Ok(());
    }
    let same = load_file(path).is_ok_and(|old| old.iter().map(|l| &l.run.run_id).eq(ids));
    if same {
        write_atomic(path, text.as_bytes())
    } else {
        Err(Error::Exists { path: path.to_owned() })
    }
}

/// Writes a file so that a reader finds the old content or the new one, never half of it.
/// Devices and pipes (`/dev/null`, `/dev/stdout`) are written as they are.
///
/// # Errors
/// The system's reason; the old file is then still whole and no temporary file is left.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<()> {
    let target = target(path);
    if is_special(&target) {
        return write_special(&target, content);
    }
    let temporary = Temporary::write(&target, content)?;
    fs::rename(&temporary.path, &target).map_err(Error::io(path, "write"))?;
    temporary.sync_dir();
    Ok(())
}

/// Could a file be written there? Tried with an empty one beside it, which is removed again;
/// directories on the way are made.
///
/// # Errors
/// The system's reason.
pub fn check_place(path: &Path) -> Result<()> {
    let target = target(path);
    if is_special(&target) {
        return fs::OpenOptions::new()
            .write(true)
            .open(&target)
            .map(drop)
            .map_err(Error::io(path, "write"));
    }
    Temporary::write(&target, b"").map(drop)
}

/// As [`write_atomic`], but only if nothing is there: `false` if something is.
fn create_atomic(path: &Path, content: &[u8]) -> Result<bool> {
    let target = target(path);
    if is_special(&target) {
        return write_special(&target, content).map(|()| true);
    }
    if target.exists() {
        return Ok(false);
    }
    let temporary = Temporary::write(&target, content)?;
    // A link, unlike rename, fails if somebody else was faster.
    match fs::hard_link(&temporary.path, &target) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        // File systems without hard links: the small window is theirs.
        Err(_) => fs::rename(&temporary.path, &target).map_err(Error::io(path, "write"))?,
    }
    temporary.sync_dir();
    Ok(true)
}

/// Is it the name of an open descriptor, such as `/dev/stdout`?
fn is_descriptor(path: &Path) -> bool {
    let names = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd"];
    names.iter().any(|name| path.starts_with(name))
}

/// What is written for a path. A link is replaced itself: what it points to may be another's file, and
/// whoever can write to a shared directory can lay a link there.
fn target(path: &Path) -> PathBuf {
    let followed = is_descriptor(path).then(|| fs::canonicalize(path).ok()).flatten();
    followed.unwrap_or_else(|| path.to_owned())
}

fn is_special(path: &Path) -> bool {
    let of = if is_descriptor(path) { fs::metadata(path) } else { fs::symlink_metadata(path) };
    of.is_ok_and(|m| !m.is_file() && !m.is_dir() && !m.is_symlink())
}

/// Opens a file of our own to read and write, or makes it; its content stays. A link is refused.
///
/// # Errors
/// The system's reason, or that it is a link or no file.
pub fn open_own(path: &Path) -> std::io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let refused = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidInput, what);
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| match e.raw_os_error() {
            Some(libc::ELOOP) => refused("it is a symbolic link, which is not followed: remove it"),
            _ => e,
        })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused("it is no file: remove it")) }
}

fn write_special(path: &Path, content: &[u8]) -> Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).open(path).map_err(Error::io(path, "write"))?;
    file.write_all(content).map_err(Error::io(path, "write"))
}

/// A file beside the target under a name of its own, removed when dropped.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn write(target: &Path, content: &[u8]) -> Result<Self> {
        if target.is_dir() {
            let reason = std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a directory");
            return Err(Error::io(target, "write")(reason));
        }
        let dir = parent(target);
        fs::create_dir_all(dir).map_err(Error::io(dir, "make the directory"))?;
        let name = target.file_name().unwrap_or(OsStr::new("result")).to_string_lossy();
        let path = dir.join(format!(".{name}.{:016x}.tmp", rand::random::<u64>()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(Error::io(target, "write"))?;
        let this = Self { path };
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(Error::io(target, "write"))?;
        Ok(this)
    }

    /// Makes the new name last through a power cut, where the file system offers it.
    fn sync_dir(&self) {
        if let Ok(dir) = fs::File::open(parent(&self.path)) {
            let _ = dir.sync_all();
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Reads a file, a run directory, or a directory of runs (at any depth); in order of path.
///
/// # Errors
/// The first file that is no whole run record of a known schema; a directory without any.
pub fn load(path: &Path) -> Result<Vec<Loaded>> {
    let is_dir = fs::metadata(path).map_err(Error::io(path, "read"))?.is_dir();
    if !is_dir {
        return load_file(path);
    }
    let files = run_files(path)?;
    // Parsing is most of the work over many files, so all CPUs take a share; the order stays.
    let workers =
        std::thread::available_parallelism().map_or(1, |n| n.get()).min(files.len().max(1));
    let share = files.len().div_ceil(workers).max(1);
    let read = |files: &[PathBuf]| files.iter().map(|f| load_file(f)).collect::<Vec<_>>();
    let loaded: Vec<Result<Vec<Loaded>>> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            files.chunks(share).map(|files| scope.spawn(move || read(files))).collect();
        let join = |w: std::thread::ScopedJoinHandle<'_, _>| {
            w.join().unwrap_or_else(|p| std::panic::resume_unwind(p))
        };
        workers.into_iter().flat_map(join).collect()
    });
    let mut runs = Vec::new();
    for (file, loaded) in files.iter().zip(loaded) {
        match loaded {
            // Other JSON may lie about (plans, machine files): only run.json has to be a record.
            Err(Error::Foreign { .. }) if file.file_name() != Some(OsStr::new(RUN_FILE)) => {}
            other => runs.extend(other?),
        }
    }
    if runs.is_empty() { Err(Error::Empty { path: path.to_owned() }) } else { Ok(runs) }
}

/// Files below a directory that may be records: `run.json` alone where there is one, else every
/// `*.json` and what the subdirectories hold.
///
/// # Errors
/// A directory can't be read.
pub fn run_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let own = dir.join(RUN_FILE);
    if own.exists() {
        return Ok(vec![own]);
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir, "read"))? {
        let entry = entry.map_err(Error::io(dir, "read"))?;
        let kind = entry.file_type().map_err(Error::io(&entry.path(), "read"))?;
        entries.push((entry.path(), kind));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let mut files = Vec::new();
    for (path, kind) in entries {
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        // `kind` does not follow links, so a link to a directory above makes no endless walk.
        if kind.is_dir() {
            files.extend(run_files(&path)?);
        } else if path.extension() == Some(OsStr::new("json")) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Reads one file: a record, or several with their comparison.
///
/// # Errors
/// As [`load`].
pub fn load_file(path: &Path) -> Result<Vec<Loaded>> {
    let text = input::read(path, screen::MOST_BYTES).map_err(Error::io(path, "read"))?;
    let runs = parse(&text, path)?;
    Ok(runs.into_iter().map(|run| Loaded { path: path.to_owned(), run }).collect())
}

/// What every version of the document has.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Head {
    schema: Option<serde_json::Value>,
    runs: Option<IgnoredAny>,
}

/// Takes a document apart and looks into each histogram; `path` is for messages.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &[u8], path: &Path) -> Result<Vec<Run>> {
    if screen::weigh(text) > screen::MOST_WEIGHT {
        let reason = "it holds more values than any run record".to_owned();
        return Err(Error::Foreign { path: path.to_owned(), reason });
    }
    // What is not UTF-8 is not JSON: the parser says where.
    let clean = str::from_utf8(text).map(screen::escaped);
    let runs = match parse_at_once(clean.as_ref().map_or(text, |clean| clean.as_bytes())) {
        Some(runs) => runs,
        None => parse_with_care(text, path)?,
    };
    runs.iter().try_for_each(|run| check_histograms(run, path))?;
    Ok(runs)
}

/// What this build wrote, in one pass. `None` for all else, also for what only looks odd.
fn parse_at_once(text: &[u8]) -> Option<Vec<Run>> {
    // In what we write, `runs` is the second key.
    let head = text.get(..64).unwrap_or(text);
    let runs = if head.windows(6).any(|key| key == b"\"runs\"") {
        serde_json::from_slice::<RunSet>(text).ok()?.runs
    } else {
        vec![serde_json::from_slice(text).ok()?]
    };
    runs.iter().all(|run: &Run| (1..=VERSION).contains(&run.schema)).then_some(runs)
}

/// A histogram that was damaged must not be found by the first question that happens to need it.
fn check_histograms(run: &Run, path: &Path) -> Result<()> {
    let mut buckets = 0;
    let mut within = |histogram: Histogram, what: String| {
        buckets += histogram.buckets();
        if buckets > MOST_BUCKETS {
            let reason = "the record's histograms together have more buckets than any".to_owned();
            return Err(Error::Histogram { what, reason });
        }
        Ok(histogram)
    };
    for (name, op) in &run.ops {
        let what =
            |key: &str| format!("{}: ops.{name}.{key} of {}", path.display(), run.variant.name);
        if let Some(text) = &op.preempted_hdr {
            within(Histogram::decode(text, &what("preempted_hdr"))?, what("preempted_hdr"))?;
        }
        let Some(text) = &op.hdr else { continue };
        let found = within(Histogram::decode(text, &what("hdr"))?, what("hdr"))?.count();
        let told = op.latency_ns.map_or(0, |latency| latency.count);
        if found != told {
            let reason = format!("it holds {found} samples, and latency_ns.count says {told}");
            return Err(Error::Histogram { what: what("hdr"), reason });
        }
    }
    Ok(())
}

/// Any document, for what is wrong with it.
fn parse_with_care(text: &[u8], path: &Path) -> Result<Vec<Run>> {
    let head: Head = serde_json::from_slice(text).map_err(|e| explain(&e, text, path))?;
    let foreign =
        |reason: &str| Error::Foreign { path: path.to_owned(), reason: reason.to_owned() };
    let schema = head.schema.ok_or_else(|| foreign("it has no key schema"))?;
    let schema = schema.as_u64().ok_or_else(|| foreign("its schema is no number"))?;
    if schema > u64::from(VERSION) {
        return Err(Error::Newer { path: path.to_owned(), found: schema });
    }
    if schema == 0 {
        return Err(foreign("schema 0 was never given"));
    }
    if head.runs.is_some() {
        let set: RunSet = serde_json::from_slice(text).map_err(|e| explain(&e, text, path))?;
        for run in &set.runs {
            if run.schema > VERSION {
                return Err(Error::Newer { path: path.to_owned(), found: u64::from(run.schema) });
            }
        }
        Ok(set.runs)
    } else {
        serde_json::from_slice(text).map(|run| vec![run]).map_err(|e| explain(&e, text, path))
    }
}

/// A parser's error with the byte and the place in the document.
fn explain(error: &serde_json::Error, text: &[u8], path: &Path) -> Error {
    use serde_json::error::Category;
    let path = path.to_owned();
    let byte = locate::offset(text, error.line(), error.column());
    // serde_json ends its message with the line and column, which one-line documents make useless.
    let message = error.to_string();
    let reason = message.split(" at line ").next().unwrap_or(&message).to_owned();
    // A number that is cut behind its point is no syntax error, though the parser says so.
    let cut_number = reason == "invalid number" && byte + 1 >= text.len();
    match error.classify() {
        category if category == Category::Eof || cut_number => Error::Truncated {
            path,
            byte: text.len() as u64,
            inside: locate::inside(text, text.len()),
        },
        Category::Syntax | Category::Io | Category::Eof => {
            Error::NotJson { path, byte: byte as u64, inside: locate::inside(text, byte), reason }
        }
        Category::Data => {
            let reason = format!(
                "{reason} ({} at byte {})",
                locate::inside(text, byte),
                crate::error::thousands(byte as u64)
            );
            Error::Foreign { path, reason }
        }
    }
}

#[cfg(test)]
mod tests;
