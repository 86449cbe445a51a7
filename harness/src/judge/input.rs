//! Logs: files, directories, a pipe that doesn't end; plain, gz, xz or zstd.
//!
//! **What.** [`each_report`] hands out every report of an input as soon as it is complete.
//!
//! **Why.** A short text is looked at whole (the parts of a pstore are put in order, a terminal's column
//! is found); a long one is read line by line in little memory; `journalctl -kf` is answered as it goes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use report::{Item, Reader};

use super::{Judge, Judged};
use crate::recording::unpack::{Budget, plain};

/// Text up to this length is looked at whole.
const WHOLE: usize = 4 << 20;
/// A line is cut here.
const LONGEST_LINE: usize = 64 << 10;
/// A pipe that is quiet for so long has said what it had.
const QUIET: Duration = Duration::from_millis(200);
/// Chunks that are read ahead.
const AHEAD: usize = 8;
const CHUNK: usize = 256 << 10;
/// Text that is rewritten whole.
const LONGEST_TEXT: u64 = 64 << 20;

/// The logs that a path stands for: itself, or the files of a directory, by name.
///
/// # Errors
/// A directory that can't be read.
pub fn logs(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            // Links are not followed: a loop would have no end.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a log (`-`: stdin) and hands out its reports; how many there were.
///
/// # Errors
/// What can't be read or unpacked.
pub fn each_report(path: &Path, mut answer: impl FnMut(Judged)) -> io::Result<usize> {
    let name = path.display().to_string();
    let mut reports = 0;
    let mut judge = Judge::default();
    let mut take = |items: Vec<Item>| {
        for item in items {
            if let Some(judged) = judge.item(&name, item) {
                reports += 1;
                answer(judged);
            }
        }
    };
    let budget = Budget::default();
    if path == Path::new("-") {
        pump(io::stdin(), &budget, &mut take)?;
    } else {
        pump(File::open(path)?, &budget, &mut take)?;
    }
    Ok(reports)
}

/// The whole text of a log (`-`: stdin).
///
/// # Errors
/// What can't be read or unpacked, and what is too long.
pub fn whole(path: &Path) -> io::Result<String> {
    let from: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut bytes = Vec::new();
    plain(from, &Budget::default())?.take(LONGEST_TEXT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_TEXT {
        return Err(io::Error::other("it is longer than 64 MiB: cut out the reports"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads in a thread of its own, so that a pipe's silence can be heard.
fn pump(
    from: impl Read + Send + 'static,
    budget: &Budget,
    take: &mut impl FnMut(Vec<Item>),
) -> io::Result<()> {
    let (send, receive) = mpsc::sync_channel::<io::Result<Vec<u8>>>(AHEAD);
    let budget = budget.clone();
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        let mut from = match plain(from, &budget) {
            Ok(from) => from,
            Err(e) => return drop(send.send(Err(e))),
        };
        loop {
            let mut chunk = vec![0; CHUNK];
            let sent = match from.read(&mut chunk) {
                Ok(0) => return,
                Ok(n) => {
                    chunk.truncate(n);
                    send.send(Ok(chunk))
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return drop(send.send(Err(e))),
            };
            if sent.is_err() {
                return;
            }
        }
    })?;
    let mut head = Vec::new();
    let ended = loop {
        match receive.recv_timeout(QUIET) {
            Ok(chunk) => head.extend(chunk?),
            Err(RecvTimeoutError::Disconnected) => break true,
            // Nothing came yet: wait on for the first lines.
            Err(RecvTimeoutError::Timeout) if head.is_empty() => {}
            Err(RecvTimeoutError::Timeout) => break false,
        }
        if head.len() > WHOLE {
            break false;
        }
    };
    if ended {
        take(report::read(&String::from_utf8_lossy(&head)));
        return Ok(());
    }
    let mut stream = Stream::default();
    let start = &head[..head.len().min(WHOLE / 16)];
    stream.reader.learn(&String::from_utf8_lossy(start));
    take(stream.push(&head));
    drop(head);
    loop {
        match receive.recv_timeout(QUIET) {
            Ok(chunk) => take(stream.push(&chunk?)),
            Err(RecvTimeoutError::Timeout) => take(stream.quiet()),
            Err(RecvTimeoutError::Disconnected) => {
                take(stream.end());
                return Ok(());
            }
        }
    }
}

#[derive(Default)]
struct Stream {
    reader: Reader,
    /// A line that has not ended yet.
    rest: Vec<u8>,
}

impl Stream {
    fn push(&mut self, chunk: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        let mut from = 0;
        for (at, _) in chunk.iter().enumerate().filter(|(_, b)| **b == b'\n') {
            self.keep(&chunk[from..at]);
            self.line(&mut items);
            from = at + 1;
        }
        self.keep(&chunk[from..]);
        items
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST_LINE.saturating_sub(self.rest.len());
        self.rest.extend(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, items: &mut Vec<Item>) {
        let line = std::mem::take(&mut self.rest);
        items.extend(self.reader.push(&String::from_utf8_lossy(&line)));
        self.rest = line;
        self.rest.clear();
    }

    /// Nothing comes: what is complete may be answered.
    fn quiet(&mut self) -> Vec<Item> {
        if self.rest.is_empty() { self.reader.flush() } else { Vec::new() }
    }

    fn end(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        if !self.rest.is_empty() {
            self.line(&mut items);
        }
        items.extend(self.reader.end());
        items
    }
}
