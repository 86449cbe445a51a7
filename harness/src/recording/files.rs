//! The files of a recording: in a folder, or in the one file that `scripts/record-trace` writes.
//!
//! **What.** A folder holds them plain or compressed by xz, gzip or zstd (`trace.txt.xz`); the one file
//! is a tar archive, compressed or not, with the trace behind the files that describe it.
//!
//! **Why.** The trace is streamed from either, so that its text is never whole in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bad;
use super::unpack::{Budget, plain};
use crate::cli::exit::Stop;

const TRACE: &str = "trace.txt";
/// What their names end with.
const ENDINGS: [&str; 3] = [".xz", ".gz", ".zst"];
/// What the names of the other files begin with; what else lies about is not read.
const WANTED: [&str; 13] = [
    "zoneinfo.",
    "buddyinfo.",
    "pagetypeinfo.",
    "vmstat.",
    "kpageflags.before",
    "node",
    "ringbuffer.stats",
    "osrelease",
    "min_free_kbytes",
    "watermark_",
    "lowmem_reserve_ratio",
    "percpu_pagelist_",
    "thp",
];
/// No file but the trace is larger, compressed or not.
const LARGEST: u64 = 1 << 30;

/// The files but the trace, by their names without `.xz` and the like.
#[derive(Debug, Default)]
pub(super) struct Files {
    place: String,
    all: BTreeMap<String, Vec<u8>>,
}

impl Files {
    fn text(&self, name: &str) -> Result<Option<&str>, Stop> {
        let Some(bytes) = self.all.get(name) else { return Ok(None) };
        let text = str::from_utf8(bytes);
        text.map(Some).map_err(|_| bad(&self.place_of(name), "it is no text"))
    }

    /// What a file is called in messages.
    pub(super) fn place_of(&self, name: &str) -> String {
        format!("{}/{name}", self.place.trim_end_matches('/'))
    }

    /// A file that must be there, with what it is called in messages.
    pub(super) fn required(&self, name: &str) -> Result<(String, &str), Stop> {
        let missing = || bad(&self.place_of(name), "it is missing: not a recording");
        Ok((self.place_of(name), self.text(name)?.ok_or_else(missing)?))
    }

    /// A file that may be there.
    pub(super) fn optional(&self, name: &str) -> Result<Option<(String, &str)>, Stop> {
        Ok(self.text(name)?.map(|text| (self.place_of(name), text)))
    }

    /// Names and texts of all that are texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().filter_map(|(n, t)| Some((n.as_str(), str::from_utf8(t).ok()?)))
    }
}

/// Counts what is read through it.
struct Counting<R> {
    from: R,
    read: Arc<AtomicU64>,
}

impl<R: io::Read> io::Read for Counting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(into)?;
        // Relaxed: for the progress line only.
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The trace's text, and how far it has been read.
pub(super) struct TraceText<'a> {
    /// What it is called in messages.
    pub(super) place: String,
    /// The text.
    pub(super) from: Box<dyn io::Read + 'a>,
    /// Bytes of the file on disk.
    pub(super) size: u64,
    read: Arc<AtomicU64>,
}

impl TraceText<'_> {
    /// A function that says how many bytes of the file on disk have been read.
    pub(super) fn counter(&self) -> impl Fn() -> u64 + use<> {
        let read = Arc::clone(&self.read);
        move || read.load(Ordering::Relaxed)
    }
}

fn whole<'a>(from: impl io::Read + 'a, budget: &Budget) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut from = io::Read::take(plain(from, budget)?, LARGEST + 1);
    io::Read::read_to_end(&mut from, &mut bytes)?;
    let too_long = || io::Error::other("it is longer than 1 GiB, and no such file of a host is");
    if bytes.len() as u64 > LARGEST { Err(too_long()) } else { Ok(bytes) }
}

/// The name of a file without folders and `.xz` or the like.
pub(super) fn bare_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    Some(ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name).to_owned())
}

fn is_wanted(name: &str) -> bool {
    WANTED.iter().any(|wanted| name.starts_with(wanted))
}

/// Opens a recording and gives its files and its trace to `then`.
///
/// # Errors
/// If it is none, or can't be read.
pub(super) fn with<T>(
    path: &Path,
    then: impl FnOnce(&Files, TraceText<'_>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    if path.is_dir() { folder(path, then) } else { archive(path, then) }
}

fn counted(path: &Path) -> io::Result<(Counting<File>, Arc<AtomicU64>, u64)> {
    let from = results::input::open(path)?;
    let size = from.metadata()?.len();
    let read = Arc::new(AtomicU64::new(0));
    Ok((Counting { from, read: Arc::clone(&read) }, read, size))
}

fn folder<T>(
    dir: &Path,
    then: impl FnOnce(&Files, TraceText<'_>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let mut files = Files { place: dir.display().to_string(), all: BTreeMap::new() };
    let mut trace = None;
    let budget = Budget::default();
    for entry in std::fs::read_dir(dir).map_err(|e| bad(&files.place, e))? {
        let path = entry.map_err(|e| bad(&files.place, e))?.path();
        let Some(name) = bare_name(&path).filter(|_| path.is_file()) else { continue };
        if name == TRACE {
            trace = Some(path);
        } else if is_wanted(&name) {
            let bytes = results::input::open(&path).and_then(|from| whole(from, &budget));
            let bytes = bytes.map_err(|e| bad(&path.display().to_string(), e))?;
            files.all.insert(name, bytes);
        }
    }
    let missing =
        || bad(&files.place_of(TRACE), "it is missing (plain, .xz, .gz or .zst): not a recording");
    let path = trace.ok_or_else(missing)?;
    let place = path.display().to_string();
    let (from, read, size) = counted(&path).map_err(|e| bad(&place, e))?;
    let from = plain(from, &budget).map_err(|e| bad(&place, e))?;
    then(&files, TraceText { place, from, size, read })
}

fn archive<T>(
    path: &Path,
    then: impl FnOnce(&Files, TraceText<'_>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let mut files = Files { place: path.display().to_string(), all: BTreeMap::new() };
    let fail = |e: io::Error| bad(&path.display().to_string(), e);
    let (from, read, size) = counted(path).map_err(fail)?;
    let budget = Budget::default();
    let mut archive = tar::Archive::new(plain(from, &budget).map_err(fail)?);
    for entry in archive.entries().map_err(fail)? {
        let entry = entry.map_err(|e| {
            fail(io::Error::other(format!("{e}: neither a folder nor a recording")))
        })?;
        let name = entry.path().ok().and_then(|path| bare_name(&path));
        let Some(name) = name.filter(|_| entry.header().entry_type().is_file()) else { continue };
        if name == TRACE {
            let from = plain(entry, &budget).map_err(fail)?;
            return then(&files, TraceText { place: files.place_of(TRACE), from, size, read });
        }
        if is_wanted(&name) {
            let bytes = whole(entry, &budget).map_err(|e| bad(&files.place_of(&name), e))?;
            files.all.insert(name, bytes);
        }
    }
    Err(bad(&files.place_of(TRACE), "it is missing: not a recording, or cut off before it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn read(path: &Path) -> Result<(Vec<String>, String), String> {
        with(path, |files, mut trace| {
            let mut text = String::new();
            trace.from.read_to_string(&mut text).map_err(|e| bad(&trace.place, e))?;
            Ok((files.texts().map(|(name, _)| name.to_owned()).collect(), text))
        })
        .map_err(|stop| stop.message)
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        liblzma::bufread::XzEncoder::new(bytes, 6).read_to_end(&mut packed).unwrap();
        packed
    }

    fn archive_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append_data(&mut header, name, *bytes).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn folders_and_archives_give_the_same_files() {
        let dir = tempfile::tempdir().unwrap();
        let rec = dir.path().join("rec");
        std::fs::create_dir(&rec).unwrap();
        std::fs::write(rec.join("zoneinfo.before"), "zones").unwrap();
        std::fs::write(rec.join("kpageflags.before.xz"), xz(b"flags")).unwrap();
        std::fs::write(rec.join("trace.txt.xz"), xz(b"trace\n")).unwrap();
        let expected = (
            vec!["kpageflags.before".to_owned(), "zoneinfo.before".to_owned()],
            "trace\n".to_owned(),
        );
        assert_eq!(read(&rec).unwrap(), expected);
        let tar = archive_of(&[
            ("rec/zoneinfo.before", b"zones"),
            ("rec/kpageflags.before", b"flags"),
            ("rec/trace.txt", b"trace\n"),
        ]);
        let gz = {
            let mut packed = Vec::new();
            let from = flate2::bufread::GzEncoder::new(&tar[..], flate2::Compression::fast());
            io::Read::take(from, LARGEST).read_to_end(&mut packed).unwrap();
            packed
        };
        let zst = ruzstd::encoding::compress_to_vec(
            &tar[..],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        for (name, bytes) in
            [("a.tar", tar.clone()), ("a.tar.xz", xz(&tar)), ("a.tgz", gz), ("a.tar.zst", zst)]
        {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_recording_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8], words: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let message = read(&path).unwrap_err();
            assert!(message.contains(name) && message.contains(words), "{message}");
        };
        let tar = archive_of(&[("zoneinfo.before", b"zones")]);
        refused("no-trace.tar", &tar, "trace.txt: it is missing");
        refused("foreign.bin", &[7; 2000], "neither a folder nor a recording");
        let packed = xz(&tar);
        refused("cut.tar.xz", &packed[..packed.len() / 2], "cut.tar.xz");
        let message = read(&dir.path().join("nowhere")).unwrap_err();
        assert!(message.contains("nowhere: No such file"), "{message}");
        let message = read(dir.path()).unwrap_err();
        assert!(message.contains("trace.txt: it is missing"), "{message}");
    }
}
