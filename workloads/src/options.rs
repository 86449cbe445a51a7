//! A workload's own options, declared as data: the harness makes clap arguments and help from
//! them, the explorer and tests fill them by hand.

use std::collections::BTreeMap;

/// What an option holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number (k, M, G are decimal).
    Count,
    /// A duration (`10s`, `5ms`; a bare number is seconds), kept in ns.
    Duration,
    /// A size in bytes (binary units).
    Size,
    /// A share from 0 to 1, or with % sign.
    Share,
    /// Free text (node lists and the like).
    Text,
    /// Present or not.
    Flag,
}

/// An option of a workload.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Name without dashes: `policy`, `mems-sets`.
    pub name: &'static str,
    /// What its value is called in help: `SETS`.
    pub value: &'static str,
    /// What it holds.
    pub kind: OptionKind,
    /// Default as the user would write it; "" for none.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// An option's value.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionValue {
    /// A word or text.
    Text(String),
    /// A number: count, ns, bytes.
    Number(u64),
    /// A share.
    Share(f64),
    /// A flag.
    Flag(bool),
}

/// Options of one workload by name, defaults included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options(BTreeMap<&'static str, OptionValue>);

/// Why a workload can't run so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// Bad options, or options that don't fit the machine: exit 2.
    #[error("{0}")]
    Usage(String),
    /// This machine can't run it: exit 3.
    #[error("{0}")]
    CantRun(String),
}

impl Options {
    /// Sets an option.
    pub fn set(&mut self, name: &'static str, value: OptionValue) {
        self.0.insert(name, value);
    }

    /// A word or text; "" if not set.
    pub fn text(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(OptionValue::Text(text)) => text,
            Some(OptionValue::Number(_) | OptionValue::Share(_) | OptionValue::Flag(_)) | None => {
                ""
            }
        }
    }

    /// A number, if set.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name) {
            Some(OptionValue::Number(n)) => Some(*n),
            Some(OptionValue::Text(_) | OptionValue::Share(_) | OptionValue::Flag(_)) | None => {
                None
            }
        }
    }

    /// A share; 0 if not set.
    pub fn share(&self, name: &str) -> f64 {
        match self.0.get(name) {
            Some(OptionValue::Share(s)) => *s,
            Some(OptionValue::Text(_) | OptionValue::Number(_) | OptionValue::Flag(_)) | None => {
                0.0
            }
        }
    }

    /// Is a flag set?
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name) == Some(&OptionValue::Flag(true))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &OptionValue)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}
