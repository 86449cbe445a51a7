//! Schedules as files: what was searched, and the few choices that lead to the finding.
//!
//! **Why text.** It is short enough to read, to mail and to edit. A key or a choice that can't be
//! read is named with its line; choices that no longer fit the sources are reported by the replay.

use std::fmt::Write as _;
use std::path::Path;

use allocator_explore::explore::Schedule;
use allocator_explore::policy::Policy;
use allocator_explore::race::Point;
use workloads_explore::worlds::search::Subject;

use super::subject::{self, SceneSpec};
use crate::cli::exit::Stop;

/// What is searched, as it stands in a file.
#[derive(Clone, Debug)]
pub enum Searched {
    /// A family's smallest world.
    Family(String),
    /// A workload's own tasks.
    Scene(SceneSpec),
}

impl Searched {
    /// What it names.
    ///
    /// # Errors
    /// As [`subject::family`] and [`subject::scene`].
    pub fn subject(&self, policy: &Policy) -> Result<Subject, Stop> {
        match self {
            Self::Family(name) => subject::family(name),
            Self::Scene(spec) => subject::scene(spec, policy),
        }
    }
}

/// A schedule with all that its replay needs.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Version of the tool that found it.
    pub version: String,
    /// What was searched.
    pub searched: Searched,
    /// The variant's spec.
    pub variant: String,
    /// The kind of its finding.
    pub kind: String,
    /// The order of the points, hashed.
    pub hash: u64,
    /// Could timers expire early?
    pub early_expiry: bool,
    /// The choices.
    pub schedule: Schedule,
}

/// A point by its name in schedules.
fn label(name: &str) -> Option<u16> {
    Point::from_name(name).map(|p| p as u16)
}

/// A point's name by its number.
pub fn point_name(label: u16) -> String {
    Point::from_number(label).map_or_else(|| label.to_string(), |p| p.name().to_owned())
}

impl Kept {
    /// The file's text.
    pub fn to_text(&self, told: &str) -> String {
        let mut text = format!(
            "# {told}\n# Again: stress explore --replay FILE\n# Where no choice is named, a task \
             goes on; where it can't, the first that can.\nversion {}\n",
            self.version
        );
        match &self.searched {
            Searched::Family(name) => {
                let _ = writeln!(text, "family {name}");
            }
            Searched::Scene(spec) => {
                let SceneSpec { workload, threads, steps, seed, options } = spec;
                let _ = writeln!(text, "workload {workload}\nthreads {threads}\nsteps {steps}");
                let _ = writeln!(text, "seed {seed:#x}");
                for option in options {
                    let _ = writeln!(text, "set {option}");
                }
            }
        }
        let Self { variant, kind, hash, early_expiry, .. } = self;
        let _ = writeln!(text, "variant {variant}\nkind {kind}\nhash {hash:#018x}");
        if *early_expiry {
            text += "early-expiry\n";
        }
        text + &self.schedule.to_text(point_name)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, or a line of it; exit code 2.
    pub fn load(path: &Path) -> Result<Self, Stop> {
        let text = results::input::read_to_string(path, 4 << 20)
            .map_err(|e| Stop::usage(format!("--replay {}: {e}", path.display())))?;
        Self::from_text(&text).map_err(|e| Stop::usage(format!("--replay {}: {e}", path.display())))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let mut kept = Self {
            version: String::new(),
            searched: Searched::Family(String::new()),
            variant: String::new(),
            kind: String::new(),
            hash: 0,
            early_expiry: false,
            schedule: Schedule::default(),
        };
        let mut family = None;
        let mut scene = SceneSpec {
            workload: String::new(),
            threads: 2,
            steps: 1,
            seed: 0,
            options: Vec::new(),
        };
        // Lines that are none of ours stay where they are, so that errors name the right line.
        let mut choices = String::new();
        for (line, number) in text.lines().zip(1..) {
            let (key, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            let value = value.trim();
            let bad = || format!("line {number}: '{value}' is no {key}");
            match key {
                "version" => value.clone_into(&mut kept.version),
                "family" => family = Some(value.to_owned()),
                "workload" => value.clone_into(&mut scene.workload),
                "threads" => scene.threads = value.parse().map_err(|_| bad())?,
                "steps" => scene.steps = value.parse().map_err(|_| bad())?,
                "seed" => scene.seed = hex(value).ok_or_else(bad)?,
                "set" => scene.options.push(value.to_owned()),
                "variant" => value.clone_into(&mut kept.variant),
                // Schedules of before have underscores.
                "kind" => kept.kind = value.replace('_', "-"),
                "hash" => kept.hash = hex(value).ok_or_else(bad)?,
                "early-expiry" => kept.early_expiry = true,
                _ => choices += line,
            }
            choices.push('\n');
        }
        kept.schedule = Schedule::from_text(&choices, label).map_err(|e| e.to_string())?;
        kept.searched = match family {
            Some(family) => Searched::Family(family),
            None if scene.workload.is_empty() => {
                return Err("names no family and no workload: is it a schedule?".to_owned());
            }
            None => Searched::Scene(scene),
        };
        if kept.variant.is_empty() {
            return Err("names no variant".to_owned());
        }
        Ok(kept)
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# found\nversion 0.1.0\nfamily J1a-vma\nvariant v4.11\nkind premature_oom\n\
                        hash 0x00000000000000ff\npoint 1 7 S1_cookies -> 2\n";

    #[test]
    fn a_schedule_reads_back() {
        let kept = Kept::from_text(TEXT).unwrap();
        assert_eq!((kept.hash, kept.schedule.choices.len()), (255, 1));
        let again = Kept::from_text(&kept.to_text("found")).unwrap();
        assert_eq!(again.schedule, kept.schedule);
        assert_eq!((again.variant, again.kind, again.hash), (kept.variant, kept.kind, kept.hash));
        let scene = TEXT.replace("family J1a-vma", "workload cpuset01\nsteps 3\nset policy=vma");
        let again = Kept::from_text(&Kept::from_text(&scene).unwrap().to_text("")).unwrap();
        let Searched::Scene(spec) = again.searched else { panic!("a scene") };
        assert_eq!((spec.steps, spec.options), (3, vec!["policy=vma".to_owned()]));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let check = |from: &str, to: &str, words: &str| {
            let error = Kept::from_text(&TEXT.replace(from, to)).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        check("S1_cookies", "S99", "line 7: no point 'S99'");
        check("hash 0x", "hash x", "line 6: 'x");
        check("point 1", "pint 1", "line 7: 'pint' is neither point nor block");
        check("family J1a-vma\n", "", "no family and no workload");
        check("variant v4.11\n", "", "names no variant");
    }
}
