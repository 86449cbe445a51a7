//! Files that somebody else may have made, opened and read within bounds.
//!
//! What: [`open`] for files that are streamed, [`read`] and [`read_to_string`] for those that are taken
//! whole.
//! Why: records and recordings are passed between people and machines. A FIFO would hang a comparison
//! and `/dev/zero` fill the memory, so what is no file is refused by its kind and what is too long by
//! its budget, before it is read.
//! Differs: an unnamed pipe (`<(zcat run.json.gz)`, `/dev/stdin`) is read like a file, within the budget.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// `O_NONBLOCK`: opening a FIFO that nobody writes to must not wait.
const NONBLOCK: i32 = libc::O_NONBLOCK;

fn refused(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Opens a file to read. Links are followed.
///
/// # Errors
/// The system's reason, or that it is a FIFO, a device or a socket.
pub fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(file);
    }
    if kind.is_fifo() {
        let of = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if of.to_string_lossy().starts_with("pipe:") {
            // Opened again without the flag: a reader of a pipe waits for its writer.
            return File::open(path);
        }
        return Err(refused("it is a FIFO; give a file, or a pipe by <(...) or /dev/stdin"));
    }
    let what = if kind.is_socket() { "a socket" } else { "a device" };
    Err(refused(format!("it is {what}; give a file")))
}

/// Reads a file whole.
///
/// # Errors
/// As [`open`], and for a file of more than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let len = file.metadata()?.len();
    let too_long = || {
        let (most, unit) = if most >= 1 << 20 { (most >> 20, "MiB") } else { (most >> 10, "KiB") };
        refused(format!("it is longer than {most} {unit}, and no file of its kind is"))
    };
    if len > most {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(len as usize + 1);
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_long()) } else { Ok(bytes) }
}

/// Reads a text whole.
///
/// # Errors
/// As [`read`], and for what is not UTF-8.
pub fn read_to_string(path: &Path, most: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, most)?);
    text.map_err(|e| {
        let byte = e.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is no text (UTF-8) at byte {byte}"))
    })
}

/// Reads one line, newline included, of at most `most` bytes; an empty one at the end.
///
/// # Errors
/// The system's reason, and for a longer line.
pub fn line(from: &mut dyn BufRead, most: u64, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    from.take(most + 1).read_until(b'\n', into)?;
    if into.len() as u64 > most { Err(refused("the line is longer than any")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_by_its_kind_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let name = std::ffi::CString::new(fifo.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: a NUL-terminated path, which mkfifo only reads.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let message = |path: &Path| read(path, 1 << 20).unwrap_err().to_string();
        assert!(message(&fifo).starts_with("it is a FIFO"), "{}", message(&fifo));
        assert!(message(Path::new("/dev/zero")).starts_with("it is a device"));
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert!(read(&dir.path().join("socket"), 1).is_err());
    }

    #[test]
    fn a_file_may_be_as_long_as_its_budget() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [b'x'; 2048]).unwrap();
        assert_eq!(read(&path, 2048).unwrap().len(), 2048);
        let message = read(&path, 2047).unwrap_err().to_string();
        assert!(message.starts_with("it is longer than 1 KiB"), "{message}");
        std::fs::write(&path, b"ab\xff").unwrap();
        let message = read_to_string(&path, 9).unwrap_err().to_string();
        assert!(message.ends_with("at byte 2"), "{message}");
    }

    #[test]
    fn lines_have_a_length() {
        let mut from: &[u8] = b"one\ntwelve bytes\n";
        let mut text = Vec::new();
        line(&mut from, 5, &mut text).unwrap();
        assert_eq!(text, b"one\n");
        assert!(line(&mut from, 5, &mut text).is_err());
        assert!(line(&mut &b""[..], 5, &mut text).is_ok() && text.is_empty());
    }

    #[test]
    fn an_unnamed_pipe_is_read_whole() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"through a pipe").unwrap();
        drop(writer);
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        assert_eq!(read(Path::new(&path), 100).unwrap(), b"through a pipe");
    }
}
