//! Which change cures a finding: from an old to a new policy one axis at a time, then in
//! combination.
//!
//! **What.** The old policy must show the family, the new one must exclude it. Each axis on which
//! they differ, and the release's other facts as one more, is put into the old policy alone; if none
//! cures, pairs, then triples. On the axis that cures, the variants between the old and the new one
//! are tried in the order of their age: the first that cures is the change, and it knows its commit.
//!
//! **Cured** means excluded: the whole tree of the bound was searched.

use std::fmt::Write as _;

use allocator_explore::explore::{Config, Scheduler};
use allocator_explore::policy::{AxisName, Policy, VariantInfo, describe};
use results::format::thousands;
use serde::Serialize;
use workloads_explore::worlds::matrix;
use workloads_explore::worlds::search::{self as engine, Subject};

use super::search::{Verdict, Watcher};

/// Schedules for each bound at most.
const MAX_SCHEDULES: u64 = 1_000_000;

/// A part in which two policies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Axis(AxisName),
    /// The release's facts that are no axis.
    Release,
}

impl Part {
    fn put(self, old: Policy, new: &Policy) -> Policy {
        match self {
            Self::Axis(axis) => old.with_axis_of(axis, new),
            Self::Release => Policy { release: new.release, ..old },
        }
    }

    fn name(self, new: &Policy) -> String {
        match self {
            Self::Axis(axis) => format!("{axis}={}", new.word(axis)),
            Self::Release => format!("other facts of {}", new.release.word()),
        }
    }
}

/// One policy that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// What was put into the old policy; empty for the old and the new themselves.
    pub change: Vec<String>,
    /// The policy's spec.
    pub variant: String,
    /// `found`, `excluded`, `not-exhaustive`.
    pub verdict: &'static str,
    /// Fewest preemptions of a find; null without.
    pub preemptions: Option<u32>,
    /// Schedules of the last bound.
    pub schedules: u64,
}

/// A change that cures.
#[derive(Clone, Debug, Serialize)]
pub struct Cure {
    /// `axis=variant`, or the release's other facts.
    pub change: String,
    /// What the variant does.
    pub summary: Option<String>,
    /// Its commit.
    pub commit: Option<String>,
    /// Releases that shipped it.
    pub releases: Option<String>,
}

/// What a bisection of one family came to.
#[derive(Clone, Debug, Serialize)]
pub struct Bisected {
    /// The family.
    pub family: String,
    /// What happens in its world.
    pub about: String,
    /// Everything tried, in order.
    pub tried: Vec<Tried>,
    /// All changes that are needed together; empty: none was found.
    pub cure: Vec<Cure>,
    /// Why there is no cure to look for; null if there is.
    pub nothing_to_do: Option<String>,
}

/// Looks for the change that cures.
pub fn run(
    subject: &Subject,
    old: Policy,
    new: Policy,
    workers: usize,
    watcher: &Watcher,
) -> Bisected {
    let mut search = Bisection { subject, workers, watcher, tried: Vec::new() };
    let mut bisected = Bisected {
        family: subject.name().to_owned(),
        about: subject.about().to_owned(),
        tried: Vec::new(),
        cure: Vec::new(),
        nothing_to_do: None,
    };
    let (before, after) = (search.cures(Vec::new(), old), search.cures(Vec::new(), new));
    if before {
        bisected.nothing_to_do = Some(format!("{old} does not show it"));
    } else if !after {
        bisected.nothing_to_do = Some(format!("{new} does not exclude it"));
    } else {
        let needed = search.smallest_cure(old, new);
        let alone = needed.len() == 1;
        bisected.cure = needed
            .into_iter()
            .map(|part| match part {
                Part::Axis(axis) if alone => search.first_that_cures(axis, old, new),
                Part::Axis(axis) => cure_of(axis, new.word(axis)),
                Part::Release => {
                    Cure { change: part.name(&new), summary: None, commit: None, releases: None }
                }
            })
            .collect();
    }
    bisected.tried = search.tried;
    bisected
}

struct Bisection<'a> {
    subject: &'a Subject,
    workers: usize,
    watcher: &'a Watcher,
    tried: Vec<Tried>,
}

impl Bisection<'_> {
    /// Is the family excluded under this policy?
    fn cures(&mut self, change: Vec<String>, policy: Policy) -> bool {
        let config = Config {
            scheduler: Scheduler::Bounded { preemptions: self.subject.bound() },
            max_schedules: MAX_SCHEDULES,
            workers: self.workers,
            stop_at_find: true,
            ..Config::default()
        };
        self.watcher.begin(format!("{} {policy}", self.subject.name()));
        let report = engine::run(self.subject, policy, &config, self.watcher.watch());
        let verdict = Verdict::of(&report);
        self.tried.push(Tried {
            change,
            variant: policy.to_string(),
            verdict: verdict.word(),
            preemptions: report.finds.iter().map(|f| f.preemptions).min(),
            schedules: report.schedules,
        });
        verdict == Verdict::Excluded
    }

    /// The fewest parts that cure together, those tried first that come first in a spec.
    fn smallest_cure(&mut self, old: Policy, new: Policy) -> Vec<Part> {
        let mut parts: Vec<Part> = old.differing_axes(&new).into_iter().map(Part::Axis).collect();
        if old.release != new.release {
            parts.push(Part::Release);
        }
        for size in 1..=parts.len() {
            for chosen in combinations(&parts, size) {
                if self.watcher.interrupted().is_some() {
                    return Vec::new();
                }
                let policy = chosen.iter().fold(old, |policy, part| part.put(policy, &new));
                let names = chosen.iter().map(|part| part.name(&new)).collect();
                // With all of them it is the new policy itself, which is known to cure.
                if size == parts.len() || self.cures(names, policy) {
                    return chosen;
                }
            }
        }
        Vec::new()
    }

    /// The oldest variant after the old policy's that cures alone; the new one's if none before.
    fn first_that_cures(&mut self, axis: AxisName, old: Policy, new: Policy) -> Cure {
        let variants = variants(axis);
        let place = |word: &str| variants.iter().position(|v| v.word == word).unwrap_or(0);
        let (from, to) = (place(old.word(axis)), place(new.word(axis)));
        for variant in variants.iter().take(to).skip(from + 1).filter(|v| !v.is_extra()) {
            let with = old.with_axis_of(axis, &matrix::policy_with(axis, variant.word));
            if self.cures(vec![format!("{axis}={}", variant.word)], with) {
                return cure_of(axis, variant.word);
            }
        }
        cure_of(axis, new.word(axis))
    }
}

fn variants(axis: AxisName) -> Vec<VariantInfo> {
    describe().into_iter().find(|a| a.axis == axis).map_or(Vec::new(), |a| a.variants)
}

fn cure_of(axis: AxisName, word: &str) -> Cure {
    let info = variants(axis).into_iter().find(|v| v.word == word);
    let shipped = |v: &VariantInfo| if v.is_extra() { "never shipped" } else { v.releases };
    Cure {
        change: format!("{axis}={word}"),
        summary: info.map(|v| v.summary.to_owned()),
        commit: info.and_then(|v| v.commit).map(str::to_owned),
        releases: info.as_ref().map(|v| shipped(v).to_owned()),
    }
}

/// All choices of `size` out of `parts`, in order.
fn combinations<T: Copy>(parts: &[T], size: usize) -> Vec<Vec<T>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, first) in parts.iter().enumerate() {
        for rest in combinations(&parts[index + 1..], size - 1) {
            all.push([vec![*first], rest].concat());
        }
    }
    all
}

/// As people read it.
pub fn text(bisected: &Bisected) -> String {
    let Bisected { family, about, tried, cure, nothing_to_do } = bisected;
    let mut text = format!("{family}  {about}\n");
    for (index, one) in tried.iter().enumerate() {
        let name = match (one.change.as_slice(), index) {
            ([], _) => one.variant.clone(),
            (change, _) => format!("  + {}", change.join(" + ")),
        };
        let found = match one.preemptions {
            Some(n) => format!("found, {n} preemption{}", if n == 1 { "" } else { "s" }),
            None if one.verdict == "excluded" => {
                format!("excluded by all {} schedules", thousands(one.schedules))
            }
            None => format!("{}, {} schedules", one.verdict, thousands(one.schedules)),
        };
        let _ = writeln!(text, "  {name:<44} {found}");
    }
    if let Some(why) = nothing_to_do {
        let _ = writeln!(text, "  nothing to look for: {why}");
    }
    if !cure.is_empty() {
        let names = cure.iter().map(|c| {
            let commit = c.commit.as_ref().map_or("no commit".to_owned(), Clone::clone);
            let releases = c.releases.as_ref().map_or(String::new(), |r| format!(", {r}"));
            format!("{} ({commit}{releases})", c.change)
        });
        let _ = writeln!(text, "  cured by {}", names.collect::<Vec<_>>().join(" together with "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_each_made_once_in_order() {
        assert_eq!(combinations(&[1, 2, 3], 2), [[1, 2], [1, 3], [2, 3]]);
        assert_eq!(combinations(&[1, 2, 3], 3).len(), 1);
        assert_eq!(combinations::<u8>(&[], 0), [Vec::<u8>::new()]);
    }
}
