//! Where a machine comes from, and what is done to it before it is modelled.
//!
//! **What.** A [`MachineSpec`] names a source (this host, a JSON file, a captured directory, an
//! hwloc string or XML file, zoneinfo or `numactl -H` as they are posted) and what to change (`--memory`, then `--fake-numa`, then `--movable`,
//! in this order); [`load`] gives the allocator's plain [`Machine`] with each model CPU placed on a
//! host CPU that the process may use.
//!
//! **Why.** Whatever the source, bad input is refused here, before anything starts, by one line
//! that names the file, the node and the zone.

pub mod affinity;
mod assemble;
pub mod capture;
pub mod computed;
pub mod fake_numa;
pub mod file;
pub mod host;
mod isolated;
pub mod lists;
pub mod memory;
pub mod metadata;
pub mod movable;
pub mod posted;
pub mod ranges;
pub mod synthetic;
pub mod topology;
pub mod zoneinfo;

use std::path::{Path, PathBuf};

use allocator::machine::{Machine, MachineError};

use lists::IdList;
use movable::Share;
use zoneinfo::Zoneinfo;

/// What machine is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineSpec {
    /// Where it comes from.
    pub source: Source,
    /// Split it until it has this many nodes with memory.
    pub fake_numa: Option<u32>,
    /// Make the top of each node Movable.
    pub movable: Option<Share>,
    /// Scale it to this much memory.
    pub memory_bytes: Option<u64>,
    /// Host CPUs to run on; `None`: all that the process may use.
    pub cpus: Option<IdList>,
    /// Host nodes to run on; `None`: all.
    pub nodes: Option<IdList>,
}

/// Where a machine comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The host that we run on.
    #[default]
    Host,
    /// A JSON description, the text of /proc/zoneinfo or that of `numactl -H`.
    File(PathBuf),
    /// A captured host.
    Directory(PathBuf),
    /// An hwloc synthetic string.
    Synthetic(String),
    /// A file written by `lstopo host.xml`.
    Xml(PathBuf),
}

impl Source {
    /// Reads `host`, `synthetic:STRING` or the path of a directory, a `.xml` or a JSON file.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "host" {
            return Ok(Self::Host);
        }
        if let Some(string) = text.strip_prefix("synthetic:") {
            return Ok(Self::Synthetic(string.trim().trim_matches('"').to_owned()));
        }
        let path = PathBuf::from(text);
        if path.is_dir() {
            Ok(Self::Directory(path))
        } else if !path.exists() {
            Err(format!(
                "'{text}' is neither host nor synthetic:... nor a file or directory that exists"
            ))
        } else if path.extension().is_some_and(|e| e == "xml") {
            Ok(Self::Xml(path))
        } else {
            Ok(Self::File(path))
        }
    }

    /// What the machine is called in messages.
    fn place(&self) -> String {
        match self {
            Self::Host => "this host".to_owned(),
            Self::File(path) | Self::Directory(path) | Self::Xml(path) => {
                path.display().to_string()
            }
            Self::Synthetic(string) => format!("synthetic:{string}"),
        }
    }
}

/// What the user should know about the machine that was made, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes(pub Vec<String>);

impl Notes {
    fn add(&mut self, note: impl Into<String>) {
        self.0.push(note.into());
    }
}

/// Why there is no machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineInputError {
    /// The input can't be read or does not describe a machine.
    #[error("{place}: {what}")]
    Input {
        /// File, directory or string.
        place: String,
        /// What is wrong, with the line, node or zone.
        what: String,
    },
    /// It describes one that can't be modelled.
    #[error("{place}: {error}")]
    Machine {
        /// File, directory or string.
        place: String,
        /// What is wrong.
        error: MachineError,
    },
    /// A flag that does not suit the machine.
    #[error("{flag}: {what}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        what: String,
    },
    /// This host can't run it.
    #[error("{0}")]
    Host(String),
}

impl MachineInputError {
    fn input(place: &Path, what: impl Into<String>) -> Self {
        Self::Input { place: place.display().to_string(), what: what.into() }
    }

    fn flag(flag: &'static str, what: impl Into<String>) -> Self {
        Self::Flag { flag, what: what.into() }
    }
}

/// What the kernel of the machine said itself: the oracle for what the model computes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelSaid {
    /// Its release, `6.1.176` for instance.
    pub release: Option<String>,
    /// Its /proc/zoneinfo.
    pub zoneinfo: Zoneinfo,
    /// vm.min_free_kbytes in force (by itself, by khugepaged or by hand).
    pub min_free_kbytes: Option<u64>,
    /// `Fallback order for Node N:` of its log.
    pub fallback_order: Vec<(u32, Vec<u32>)>,
}

/// A machine and all that is known about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The machine, valid, with every CPU placed.
    pub machine: Machine,
    /// What to tell the user.
    pub notes: Notes,
    /// What its kernel said, if it has one and nothing was changed since.
    pub kernel: Option<KernelSaid>,
}

/// The machine asked for, with what the user should know about it.
///
/// # Errors
/// If the input is bad, names a machine that can't be modelled, or one that this host has no room
/// for.
pub fn load(spec: &MachineSpec) -> Result<(Machine, Notes), MachineInputError> {
    load_with_kernel(spec).map(|l| (l.machine, l.notes))
}

/// As [`load`], with what the machine's own kernel said.
///
/// # Errors
/// As [`load`].
pub fn load_with_kernel(spec: &MachineSpec) -> Result<Loaded, MachineInputError> {
    let mut loaded = read(&spec.source)?;
    let place = spec.source.place();
    let invalid = |error| MachineInputError::Machine { place: place.clone(), error };
    loaded.machine.validate().map_err(invalid)?;
    if let Some(kernel) = &loaded.kernel {
        computed::keep_min_free_kbytes(&mut loaded.machine, kernel, &mut loaded.notes);
    }
    let changed = spec.memory_bytes.is_some() || spec.fake_numa.is_some() || spec.movable.is_some();
    if let Some(bytes) = spec.memory_bytes {
        memory::scale(&mut loaded.machine, bytes)?;
    }
    if let Some(nodes) = spec.fake_numa {
        fake_numa::split(&mut loaded.machine, nodes, &mut loaded.notes)?;
    }
    if let Some(share) = spec.movable {
        movable::make(&mut loaded.machine, share, &mut loaded.notes)?;
    }
    if changed {
        loaded.kernel = None;
        loaded.machine.validate().map_err(invalid)?;
    }
    affinity::place(&mut loaded.machine, spec, &mut loaded.notes)?;
    Ok(loaded)
}

fn read(source: &Source) -> Result<Loaded, MachineInputError> {
    match source {
        Source::Host => host::read(),
        Source::File(path) => file::read(path),
        Source::Directory(path) => capture::read(path),
        Source::Synthetic(string) => synthetic::read(string),
        Source::Xml(path) => synthetic::read_xml(path),
    }
}

/// The longest description that is read; zoneinfo of a host with 2,048 CPUs and 16 nodes takes half.
const MOST_BYTES: u64 = 16 << 20;

fn read_to_string(path: &Path) -> Result<String, MachineInputError> {
    results::input::read_to_string(path, MOST_BYTES)
        .map_err(|e| MachineInputError::input(path, e.to_string()))
}
