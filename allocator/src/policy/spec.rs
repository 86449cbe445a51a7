//! Specs: `v4.11`, `mainline,exit=mm-users`.
//!
//! **What.** The first word is a preset and sets the release and every axis; the rest overrides
//! axes. Printing gives the shortest spec that reads back as the same policy.
//!
//! **Why.** A spec is what users type, what records keep and what a replay needs; so reading and
//! printing are inverse, and an error says where it is and what was meant.
//!
//! **Source.** Ours.
//!
//! **Differs.** Nothing to compare with.

use std::fmt;

use super::{
    Axis, AxisName, CpusetPolicy, ExitPolicy, OfflinePolicy, PcpPolicy, Policy, RebindPolicy,
    Release, ReservesPolicy, ZonelistPolicy,
};

/// Why a spec could not be read. `column` counts characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing there.
    #[error("empty variant: name a preset such as mainline or v4.11")]
    Empty,
    /// The first word is no preset.
    #[error("column {column}: no preset `{word}`{}", did_you_mean(.nearest, .all))]
    Preset {
        /// Where it stands.
        column: usize,
        /// What stands there.
        word: String,
        /// The nearest preset.
        nearest: Option<&'static str>,
        /// All presets.
        all: Vec<&'static str>,
    },
    /// A release between presets, or outside them.
    #[error("column {column}: no preset for `{word}`: the nearest {}", nearest_are(.older, .newer))]
    Release {
        /// Where it stands.
        column: usize,
        /// What stands there.
        word: String,
        /// The newest preset before it.
        older: Option<&'static str>,
        /// The oldest preset after it.
        newer: Option<&'static str>,
    },
    /// An override stands first.
    #[error("column {column}: `{word}` comes before any preset: write mainline,{word}")]
    NoPreset {
        /// Where it stands.
        column: usize,
        /// What stands there.
        word: String,
    },
    /// An override without `=`.
    #[error("column {column}: `{word}` is no override: write AXIS=VARIANT, such as exit=mm-users")]
    NoEquals {
        /// Where it stands.
        column: usize,
        /// What stands there.
        word: String,
    },
    /// No such axis.
    #[error("column {column}: no axis `{word}`{}", did_you_mean(.nearest, .all))]
    Axis {
        /// Where it stands.
        column: usize,
        /// What stands there.
        word: String,
        /// The nearest axis.
        nearest: Option<&'static str>,
        /// All axes.
        all: Vec<&'static str>,
    },
    /// The axis has no such variant.
    #[error("column {column}: axis {axis} has no variant `{word}`{}", did_you_mean(.nearest, .all))]
    Variant {
        /// Where it stands.
        column: usize,
        /// The axis.
        axis: AxisName,
        /// What stands there.
        word: String,
        /// The nearest variant.
        nearest: Option<&'static str>,
        /// All variants of the axis.
        all: Vec<&'static str>,
    },
    /// An axis is set twice.
    #[error("column {column}: {axis} is set twice")]
    Twice {
        /// Where it stands for the second time.
        column: usize,
        /// The axis.
        axis: AxisName,
    },
}

fn nearest_are(older: &Option<&'static str>, newer: &Option<&'static str>) -> String {
    match (older, newer) {
        (Some(older), Some(newer)) => format!("are {older} and {newer}"),
        (Some(one), None) | (None, Some(one)) => format!("is {one}"),
        (None, None) => "is mainline".to_owned(),
    }
}

fn did_you_mean(nearest: &Option<&'static str>, all: &[&'static str]) -> String {
    match nearest {
        Some(word) => format!(": did you mean {word}?"),
        None => format!(": choose from {}", all.join(", ")),
    }
}

impl Policy {
    /// Reads a spec.
    ///
    /// # Errors
    /// The first word that is wrong, its column, and the nearest right one.
    pub fn parse(spec: &str) -> Result<Self, SpecError> {
        if spec.trim().is_empty() {
            return Err(SpecError::Empty);
        }
        let mut words = words(spec);
        let (column, word) = words.next().unwrap_or((1, ""));
        let release = Release::from_word(word).ok_or_else(|| no_preset(column, word.to_owned()))?;
        let mut policy = Self::preset(release);
        let mut seen = Vec::new();
        for (column, word) in words {
            policy.apply(column, word, &mut seen)?;
        }
        Ok(policy)
    }

    fn apply(
        &mut self,
        column: usize,
        word: &str,
        seen: &mut Vec<AxisName>,
    ) -> Result<(), SpecError> {
        let Some((name, value)) = word.split_once('=') else {
            return Err(SpecError::NoEquals { column, word: word.to_owned() });
        };
        let at = column + name.chars().count() + 1;
        let at = at + value.chars().take_while(|c| c.is_whitespace()).count();
        let (name, value) = (name.trim(), value.trim());
        let Some(axis) = AxisName::ALL.into_iter().find(|a| a.word() == name) else {
            let all: Vec<_> = AxisName::ALL.map(AxisName::word).to_vec();
            let nearest = nearest(name, &all);
            return Err(SpecError::Axis { column, word: name.to_owned(), nearest, all });
        };
        if seen.contains(&axis) {
            return Err(SpecError::Twice { column, axis });
        }
        seen.push(axis);
        match axis {
            AxisName::Cpuset => put::<CpusetPolicy>(self, at, value),
            AxisName::Rebind => put::<RebindPolicy>(self, at, value),
            AxisName::Exit => put::<ExitPolicy>(self, at, value),
            AxisName::Reserves => put::<ReservesPolicy>(self, at, value),
            AxisName::Zonelist => put::<ZonelistPolicy>(self, at, value),
            AxisName::Offline => put::<OfflinePolicy>(self, at, value),
            AxisName::Pcp => put::<PcpPolicy>(self, at, value),
        }
    }
}

/// What is wrong with a first word that is no preset.
fn no_preset(column: usize, word: String) -> SpecError {
    if word.contains('=') {
        return SpecError::NoPreset { column, word };
    }
    let mut all: Vec<_> = Release::ALL.map(Release::word).to_vec();
    all.push(Release::MAINLINE);
    let Some(version) = version(&word) else {
        return SpecError::Preset { column, nearest: nearest(&word, &all), word, all };
    };
    // Presets by version.
    let of = |release: &Release| version_number(release.version());
    let exact = Release::ALL.iter().find(|r| of(r) == Some(version)).map(|r| r.word());
    if exact.is_some() {
        return SpecError::Preset { column, word, nearest: exact, all };
    }
    let older = Release::ALL.iter().rev().find(|r| of(r) < Some(version)).map(|r| r.word());
    let newer = Release::ALL.iter().find(|r| of(r) > Some(version)).map(|r| r.word());
    SpecError::Release { column, word, older, newer }
}

/// The version that a word such as `v5.11` or `5.11` names.
fn version(word: &str) -> Option<(u32, u32)> {
    version_number(word.strip_prefix(['v', 'V']).unwrap_or(word))
}

fn version_number(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The words between commas with their columns, blanks around them left out.
fn words(spec: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut column = 1;
    spec.split(',').map(move |word| {
        let at = column + word.chars().take_while(|c| c.is_whitespace()).count();
        column += word.chars().count() + 1;
        (at, word.trim())
    })
}

fn put<A: Axis>(policy: &mut Policy, column: usize, word: &str) -> Result<(), SpecError> {
    if let Some(variant) = A::from_word(word) {
        variant.put(policy);
        return Ok(());
    }
    let all: Vec<_> = A::ALL.iter().map(|v| v.info().word).collect();
    let nearest = nearest(word, &all);
    Err(SpecError::Variant { column, axis: A::NAME, word: word.to_owned(), nearest, all })
}

/// The word with the fewest edits away, if they are few enough to be a slip.
fn nearest(word: &str, all: &[&'static str]) -> Option<&'static str> {
    let word = word.to_lowercase();
    let (edits, best) = all.iter().map(|w| (edits(&word, w), *w)).min_by_key(|(e, _)| *e)?;
    (edits <= (best.chars().count() / 3).max(1)).then_some(best)
}

/// Edits (insert, delete, replace, swap neighbours) from `a` to `b`.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

impl std::str::FromStr for Policy {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Self, Self::Err> {
        Self::parse(spec)
    }
}

/// The shortest spec: the release, and the axes that differ from its preset.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut spec = self.release.word().to_owned();
        let preset = Self::preset(self.release);
        for ((axis, word), (_, preset)) in self.words().into_iter().zip(preset.words()) {
            if word != preset {
                spec.push_str(&format!(",{axis}={word}"));
            }
        }
        f.pad(&spec)
    }
}
