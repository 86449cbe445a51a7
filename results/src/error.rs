//! The one error type of the crate: each message is one line that says what is wrong, where, and
//! how to mend it.

use std::path::{Path, PathBuf};

/// Why a record could not be read, written, compared or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {doing}: {source}{}", path.display(), mend_io(source))]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What was being done (`read`, `write` ...).
        doing: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file stops in the middle.
    #[error("{}: truncated at byte {} ({inside}): the run or the copy was cut off; copy it again, or run again", path.display(), thousands(*byte))]
    Truncated {
        /// File.
        path: PathBuf,
        /// Its length.
        byte: u64,
        /// Where in the document it stops (`inside ops.alloc`).
        inside: String,
    },
    /// The file is no JSON.
    #[error("{}: not JSON: {reason} at byte {} ({inside}); want a run.json that stress wrote", path.display(), thousands(*byte))]
    NotJson {
        /// File.
        path: PathBuf,
        /// Offset of the first byte that does not fit.
        byte: u64,
        /// Where in the document that is.
        inside: String,
        /// The parser's reason.
        reason: String,
    },
    /// The file is JSON, but no run record.
    #[error("{}: not a run record: {reason}; want a run.json that stress wrote", path.display())]
    Foreign {
        /// File.
        path: PathBuf,
        /// The key that is missing or wrong.
        reason: String,
    },
    /// The file was written by a later version.
    #[error("{}: schema {found} is newer than this build's {}: read it with the stress that wrote it, or a later one", path.display(), crate::schema::VERSION)]
    Newer {
        /// File.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
    /// A histogram does not decode.
    #[error(
        "{what}: histogram does not decode: {reason}; the file was changed after it was written: take the original"
    )]
    Histogram {
        /// File and field, as far as known.
        what: String,
        /// Reason.
        reason: String,
    },
    /// A directory without runs.
    #[error("{}: no run.json in it or below; give a run directory, a directory of runs, or a file", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// Writing would replace the result of another run.
    #[error("{} exists from another run; --force replaces it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The history's index is damaged.
    #[error("{}: damaged index ({reason}); it was left as it is: stress history rebuild makes it anew from the runs", path.display())]
    DamagedHistory {
        /// The database.
        path: PathBuf,
        /// SQLite's reason.
        reason: String,
    },
    /// The history's index was written by a later version.
    #[error("{}: index version {found} is newer than this build's {known}; it was left as it is: use the newer stress, or history rebuild --force", path.display())]
    NewerHistory {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that this build writes.
        known: i64,
    },
    /// A database of another program.
    #[error("{}: a database of another program; it was left as it is: move it away", path.display())]
    ForeignHistory {
        /// The database.
        path: PathBuf,
    },
    /// Bad input of another kind: the message is complete.
    #[error("{0}")]
    Input(String),
}

/// Everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The exit code that fits: 3 if this machine can't (disk full, read-only ...), else 2.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        use std::io::ErrorKind::{
            PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        };
        match self {
            Self::Io { source, .. }
                if matches!(
                    source.kind(),
                    StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied
                ) =>
            {
                3
            }
            Self::Io { .. }
            | Self::Truncated { .. }
            | Self::NotJson { .. }
            | Self::Foreign { .. }
            | Self::Newer { .. }
            | Self::Histogram { .. }
            | Self::Empty { .. }
            | Self::Exists { .. }
            | Self::DamagedHistory { .. }
            | Self::NewerHistory { .. }
            | Self::ForeignHistory { .. }
            | Self::Input(_) => 2,
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, doing, source }
    }
}

fn mend_io(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{
        NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let kind = source.kind();
    if matches!(kind, StorageFull | QuotaExceeded) {
        "; make room or choose another place with -o"
    } else if matches!(kind, PermissionDenied | ReadOnlyFilesystem) {
        "; choose a place you may use"
    } else if kind == NotFound {
        "; check the name"
    } else {
        ""
    }
}

/// 18442 -> `18,442`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
