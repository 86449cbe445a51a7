//! What may not differ between two sides, and what may but should be said.

use std::path::Path;

use super::stats::{self, FEWEST_PAIRS};
use crate::error::Error;
use crate::find_time;
use crate::schema::{Comparison, Difference, Round, Run};

/// Everything that makes two runs incomparable, by path in the record.
#[must_use]
pub fn differences(base: &Run, new: &Run) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut check = |key: &str, b: String, n: String| {
        if b != n {
            found.push(Difference { key: key.to_owned(), base: b, new: n });
        }
    };
    check("workload", base.workload.clone(), new.workload.clone());
    for key in
        base.options.keys().chain(new.options.keys().filter(|k| !base.options.contains_key(*k)))
    {
        let of = |run: &Run| run.options.get(key).cloned().unwrap_or_else(|| "none".to_owned());
        check(&format!("options.{key}"), of(base), of(new));
    }
    check("threads", base.threads.to_string(), new.threads.to_string());
    check("clock.time_scale", base.clock.time_scale.to_string(), new.clock.time_scale.to_string());
    check("machine.cpus", base.machine.cpus.to_string(), new.machine.cpus.to_string());
    check(
        "machine.nodes",
        base.machine.nodes.len().to_string(),
        new.machine.nodes.len().to_string(),
    );
    let memory = |run: &Run| {
        let one =
            |n: &crate::schema::MachineNode| format!("node {} {} pages", n.id, n.managed_pages);
        run.machine.nodes.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let same_shape = base.machine.cpus == new.machine.cpus
        && base.machine.nodes.len() == new.machine.nodes.len();
    if same_shape && base.machine.fingerprint() != new.machine.fingerprint() {
        check("machine.nodes", memory(base), memory(new));
    }
    if base.variant.name == new.variant.name {
        // `mainline` moves on to the next release; then it is another policy by the same name.
        check("variant.release", base.variant.release.clone(), new.variant.release.clone());
    }
    if base.variant.release == new.variant.release {
        check("machine.zones", base.machine.zones_in_brief(), new.machine.zones_in_brief());
    }
    found.extend(crate::host::differences(&base.host, &new.host));
    found
}

/// The refusal, with the keys named.
pub(super) fn refusal(base: &Path, new: &Path, differing: &[Difference]) -> Error {
    let keys: Vec<String> =
        differing.iter().map(|d| format!("{} ({}, {})", d.key, d.base, d.new)).collect();
    let keys = match keys.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    };
    Error::Input(format!(
        "compare: {} and {} differ in {keys}; --force compares anyway and says so",
        base.display(),
        new.display()
    ))
}

/// What differs and may, and what a reader should know before he believes the table.
pub(super) fn notes(base: &[&Run], new: &[&Run], comparison: &Comparison) -> Vec<String> {
    let (b, n) = (base[0], new[0]);
    let mut notes = Vec::new();
    for d in &comparison.forced {
        notes.push(format!("compared by force: {} differs ({}, {})", d.key, d.base, d.new));
    }
    let mut changed = |what: &str, old: String, new: String| {
        if old != new {
            notes.push(format!("{what}: {old} against {new}"));
        }
    };
    changed("kernel", b.host.kernel.clone(), n.host.kernel.clone());
    let build = |run: &Run| {
        format!("{} {}", run.tool.version, run.tool.git.as_deref().unwrap_or("outside git"))
    };
    changed("tool", build(b), build(n));
    changed("build profile", profile(b), profile(n));
    let seconds = |runs: &[&Run]| {
        stats::median(&whole(runs).map(|r| r.measured_s).collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let (long, short) = (seconds(base), seconds(new));
    if (long / short - 1.0).abs() > 0.1 {
        notes.push(format!(
            "rounds of {long:.2} s against {short:.2} s: a longer round has a longer max"
        ));
    }
    if base.iter().any(|run| new.iter().any(|other| other.run_id == run.run_id)) {
        notes.push("both sides hold the same run".to_owned());
    } else if !comparison.interleaved {
        notes.push(
            "the sides were not interleaved: what the machine did in between counts as change"
                .to_owned(),
        );
    }
    for (side, runs) in [(&comparison.base.label, base), (&comparison.new.label, new)] {
        for run in runs.iter().filter(|run| run.interrupted) {
            let (whole, planned) = (run.whole_rounds().count(), run.planned_rounds);
            notes.push(format!(
                "{side} was interrupted after {whole} of {planned} rounds: no gate is judged"
            ));
        }
    }
    let longer = comparison.base.rounds.max(comparison.new.rounds);
    if longer > comparison.pairs {
        notes.push(format!(
            "{} rounds have no partner and are left out of the tests",
            longer - comparison.pairs
        ));
    }
    notes.extend(power(comparison));
    notes.extend(outliers(comparison));
    notes.extend(time_to_find(base, new, comparison));
    notes
}

fn profile(run: &Run) -> String {
    run.tool.profile.clone().unwrap_or_else(|| "unknown".to_owned())
}

fn whole<'a>(runs: &'a [&'a Run]) -> impl Iterator<Item = &'a Round> {
    runs.iter().flat_map(|run| run.whole_rounds())
}

/// Says when no difference could be significant whatever it is.
fn power(comparison: &Comparison) -> Option<String> {
    let pairs = comparison.pairs as usize;
    if pairs < FEWEST_PAIRS {
        let plural = if pairs == 1 { "pair" } else { "pairs" };
        return Some(format!(
            "too few rounds for a verdict: {pairs} {plural}, {FEWEST_PAIRS} needed"
        ));
    }
    let family = comparison.metrics.iter().filter(|row| row.p_holm.is_some()).count();
    let smallest = 2.0 / f64::powi(2.0, pairs.min(30) as i32);
    (smallest * family as f64 >= 0.05).then(|| {
        let needed = rounds_for(family);
        format!("{pairs} pairs can't make one of {family} figures significant after Holm; {needed} rounds can, or a gate on fewer")
    })
}

/// The fewest rounds that can make one of so many figures significant after Holm: the smallest p of
/// an exact sign-flip test of n pairs is 2 / 2^n.
#[must_use]
pub fn rounds_for(figures: usize) -> u32 {
    let needed = (figures as f64 * 40.0).log2().floor() as u32 + 1;
    needed.max(FEWEST_PAIRS as u32)
}

/// Rounds that lie far off the others: something else ran on the machine meanwhile. By the first
/// rate: further from the median than five times the median deviation, and than a tenth of it.
fn outliers(comparison: &Comparison) -> Option<String> {
    let row = comparison.metrics.iter().find(|row| row.name.ends_with(".ops_per_s"))?;
    let of = |samples: &[f64]| -> usize {
        let Some(median) = stats::median(samples) else { return 0 };
        let off: Vec<f64> = samples.iter().map(|s| (s - median).abs()).collect();
        let Some(usual) = stats::median(&off) else { return 0 };
        off.iter().filter(|d| **d > 5.0 * usual && **d > median / 10.0).count()
    };
    let (base, new) = (of(&row.base.samples), of(&row.new.samples));
    (base + new > 0).then(|| {
        let (b, n) = (&comparison.base.label, &comparison.new.label);
        format!(
            "outliers: {base} of the rounds of {b}, {new} of {n} are far off the median of {}; something else ran: see stress machine --check",
            row.name
        )
    })
}

/// Median time to the first finding, rounds without one counted as longer than the round.
fn time_to_find(base: &[&Run], new: &[&Run], comparison: &Comparison) -> Option<String> {
    let side = |runs: &[&Run]| find_time::of_all(runs.iter().copied());
    let (b, n) = (side(base)?, side(new)?);
    (b.found > 0 || n.found > 0).then(|| {
        format!(
            "median time to the first finding: {} {}, {} {}",
            comparison.base.label,
            b.median(),
            comparison.new.label,
            n.median()
        )
    })
}
