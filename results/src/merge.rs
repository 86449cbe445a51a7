//! Several runs of one thing become one record, without loss.
//!
//! What: [`run`] is `stress merge`: runs of equal workload, options, threads, modelled machine and
//! variant add up; those of different variants stay apart.
//! Why: a sweep spreads one night over many machines and seeds; percentiles can't be averaged, but
//! histograms add, rounds line up, and counts are counts.
//! Differs: a run is counted once however often it is given. What can't be merged without loss (a
//! record that has lost its histograms) is refused, and a median of a window is dropped to null.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::error::{Error, Result};
use crate::histogram::Histogram;
use crate::schema::{Figure, Op, Round, Run, RunSet, VERSION, Window, ZoneLow};
use crate::store::{self, Loaded};

/// What `stress merge` was asked for.
#[derive(Debug, Clone, Default)]
pub struct Args {
    /// Files, run directories, directories of runs.
    pub inputs: Vec<PathBuf>,
    /// Where the record goes; `None` returns it only.
    pub output: Option<PathBuf>,
    /// Replace another run's file.
    pub force: bool,
}

/// What a merge gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// One record for each variant (and workload, machine ...).
    pub runs: Vec<Run>,
    /// The document, for stdout if no output was named.
    pub text: String,
    /// Lines for stderr.
    pub warnings: Vec<String>,
}

/// `stress merge`.
///
/// # Errors
/// Files that can't be read or written, runs that share rounds, histograms that are missing.
pub fn run(args: &Args) -> Result<Outcome> {
    let mut loaded = Vec::new();
    for input in &args.inputs {
        loaded.extend(store::load(input)?);
    }
    let mut warnings = Vec::new();
    let runs = merge(loaded, &mut warnings)?;
    let set = |runs: &[Run]| RunSet { schema: VERSION, runs: runs.to_vec(), comparison: None };
    let text = match runs.as_slice() {
        [one] => store::to_json(one),
        several => store::to_json(&set(several)),
    };
    if let Some(path) = &args.output {
        match runs.as_slice() {
            [one] => store::save(one, path, args.force)?,
            several => store::save_set(&set(several), path, args.force)?,
        }
    }
    Ok(Outcome { runs, text, warnings })
}

/// Merges what belongs together; in order of first appearance.
///
/// # Errors
/// As [`run`].
pub fn merge(loaded: Vec<Loaded>, warnings: &mut Vec<String>) -> Result<Vec<Run>> {
    let mut groups: IndexMap<String, Vec<Loaded>> = IndexMap::new();
    let mut seen: HashSet<String> = HashSet::new();
    for one in loaded {
        if seen.contains(&one.run.run_id) {
            warnings.push(format!(
                "merge: {}: run {} is there already, counted once",
                one.path.display(),
                one.run.run_id
            ));
            continue;
        }
        if let Some(shared) = one.run.merged_from.iter().find(|id| seen.contains(*id)) {
            return Err(Error::Input(format!(
                "merge: {}: holds run {shared}, which another input holds too; give each run once",
                one.path.display()
            )));
        }
        seen.insert(one.run.run_id.clone());
        seen.extend(one.run.merged_from.iter().cloned());
        groups.entry(group(&one.run)).or_default().push(one);
    }
    if groups.is_empty() {
        return Err(Error::Input("merge: no runs; name files or directories of runs".to_owned()));
    }
    groups.into_values().map(merge_group).collect()
}

/// All that must agree for runs to add up. The host may differ: the record then names all of them.
fn group(run: &Run) -> String {
    format!(
        "{} {:?} {} {} {} {}",
        run.workload,
        run.options,
        run.threads,
        run.clock.time_scale,
        run.machine.fingerprint(),
        run.variant.name
    )
}

fn merge_group(mut loaded: Vec<Loaded>) -> Result<Run> {
    loaded.sort_by(|a, b| (&a.run.started, &a.run.run_id).cmp(&(&b.run.started, &b.run.run_id)));
    let Some((first, others)) = loaded.split_first() else {
        return Err(Error::Input("merge: no runs".to_owned()));
    };
    if others.is_empty() {
        return Ok(first.run.clone());
    }
    let mut merged = first.run.clone();
    merged.ops = merge_ops(&loaded)?;
    merged.merged_from = loaded.iter().flat_map(|l| sources(&l.run)).collect();
    merged.merged_from.sort();
    merged.run_id = format!("merged-{}", crate::host::hash(&merged.merged_from.join(" ")));
    if others.iter().any(|l| l.run.session != merged.session) {
        merged.session.clone_from(&merged.run_id);
    }
    for Loaded { run, .. } in others {
        add(&mut merged, run);
    }
    let hosts: HashSet<&str> = loaded.iter().map(|l| l.run.host.name.as_str()).collect();
    if hosts.len() > 1 {
        let mut hosts: Vec<&str> = hosts.into_iter().collect();
        hosts.sort_unstable();
        merged.notes.push(format!(
            "merged from {} runs on {}",
            merged.merged_from.len(),
            hosts.join(", ")
        ));
    }
    Ok(merged)
}

fn sources(run: &Run) -> Vec<String> {
    if run.merged_from.is_empty() { vec![run.run_id.clone()] } else { run.merged_from.clone() }
}

fn merge_ops(loaded: &[Loaded]) -> Result<IndexMap<String, Op>> {
    let mut names: Vec<&String> = Vec::new();
    for name in loaded.iter().flat_map(|l| l.run.ops.keys()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let measured_s: f64 = loaded.iter().map(|l| l.run.phases.measured_s).sum();
    let merge = |name: &String| -> Result<(String, Op)> {
        let parts: Vec<(&Path, &Op)> =
            loaded.iter().filter_map(|l| Some((l.path.as_path(), l.run.ops.get(name)?))).collect();
        let mut op = Op { label: parts[0].1.label.clone(), ..Op::default() };
        let sum = |of: fn(&Op) -> u64| parts.iter().fold(0, |sum, (_, p)| add_to(sum, of(p)));
        op.count = sum(|p| p.count);
        op.preempted = sum(|p| p.preempted);
        op.unknown = sum(|p| p.unknown);
        op.rate_per_s = if measured_s > 0.0 { op.count as f64 / measured_s } else { 0.0 };
        op.rate_per_cpu_s = cpu_rate(&parts, op.count);
        let main = histograms(&parts, name, "hdr", |p| (p.hdr.as_deref(), p.latency_ns.is_some()))?;
        let preempted =
            histograms(&parts, name, "preempted_hdr", |p| (p.preempted_hdr.as_deref(), false))?;
        op.latency_ns = main.as_ref().and_then(Histogram::latency);
        op.hdr = main.as_ref().map(Histogram::encode);
        op.preempted_hdr = preempted.as_ref().map(Histogram::encode);
        Ok((name.clone(), op))
    };
    names.into_iter().map(merge).collect()
}

/// Total count over total CPU time, if every part knows its own.
fn cpu_rate(parts: &[(&Path, &Op)], count: u64) -> Option<f64> {
    let mut cpu_s = 0.0;
    for (_, part) in parts.iter().filter(|(_, p)| p.count > 0) {
        cpu_s += part.count as f64 / part.rate_per_cpu_s.filter(|rate| *rate > 0.0)?;
    }
    (cpu_s > 0.0).then(|| count as f64 / cpu_s)
}

/// The sum of one histogram over all parts; refused if a part has lost one that it must have had.
fn histograms(
    parts: &[(&Path, &Op)],
    name: &str,
    key: &str,
    text: fn(&Op) -> (Option<&str>, bool),
) -> Result<Option<Histogram>> {
    let mut sum: Option<Histogram> = None;
    for (path, part) in parts {
        let what = format!("{}: ops.{name}.{key}", path.display());
        match text(part) {
            (Some(text), _) => {
                let one = Histogram::decode(text, &what)?;
                match &mut sum {
                    Some(sum) => sum.merge_foreign(&one, &what)?,
                    None => sum = Some(one),
                }
            }
            (None, true) => {
                return Err(Error::Input(format!(
                    "{what} is null, and percentiles don't merge; give the run's own file"
                )));
            }
            (None, false) => {}
        }
    }
    Ok(sum)
}

/// Everything but operations and names.
fn add(merged: &mut Run, run: &Run) {
    merged.phases.warmup_s += run.phases.warmup_s;
    merged.phases.measured_s += run.phases.measured_s;
    merged.planned_rounds = merged.planned_rounds.saturating_add(run.planned_rounds);
    merged.interrupted |= run.interrupted;
    merged.ended_by = merged.ended_by.or(run.ended_by);
    merged.exit = worse_exit(merged.exit, run.exit);
    add_slow_path_and_oom(merged, run);
    add_reserves(merged, run);
    for (name, value) in &run.vmstat {
        let sum = merged.vmstat.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*value);
    }
    add_figures(&mut merged.figures, run);
    for (name, window) in &run.windows {
        match merged.windows.get_mut(name) {
            Some(mine) => add_window(mine, window),
            None => drop(merged.windows.insert(name.clone(), window.clone())),
        }
    }
    if merged.fidelity != run.fidelity {
        merged.fidelity = None;
    }
    let first_finding = merged.findings.len() as u32;
    let first_round = merged.rounds.len() as u32;
    merged.invariants.checked = add_to(merged.invariants.checked, run.invariants.checked);
    merged.invariants.violated.extend(run.invariants.violated.iter().cloned().map(|mut v| {
        v.finding = v.finding.map(|n| n.saturating_add(first_finding));
        v
    }));
    merged.findings.extend(run.findings.iter().cloned().map(|mut f| {
        f.number = f.number.saturating_add(first_finding);
        f.round = f.round.map(|r| r.saturating_add(first_round));
        f
    }));
    merged.oom.findings.extend(run.oom.findings.iter().cloned().map(|mut f| {
        f.number = f.number.saturating_add(first_finding);
        f
    }));
    merged.rounds.extend(run.rounds.iter().cloned().map(|mut round: Round| {
        let numbers = round.oom.findings.iter_mut().map(|f| &mut f.number);
        numbers.for_each(|n| *n = n.saturating_add(first_finding));
        round
    }));
    for note in &run.notes {
        if !merged.notes.contains(note) {
            merged.notes.push(note.clone());
        }
    }
}

/// Counts come from files: a sum beyond all counts stays there and is no panic.
fn add_to(a: u64, b: u64) -> u64 {
    a.saturating_add(b)
}

/// A finding wins over a regression, anything over 0.
fn worse_exit(a: i32, b: i32) -> i32 {
    let rank = |code: i32| [0, 5, 130, 143, 3, 2, 1].iter().position(|c| *c == code).unwrap_or(7);
    if rank(a) >= rank(b) { a } else { b }
}

fn add_slow_path_and_oom(merged: &mut Run, run: &Run) {
    let (mine, theirs) = (&mut merged.slow_path, &run.slow_path);
    // Updates follow from entries and their ratio.
    let updates = |s: &crate::schema::SlowPath| {
        s.per_1000_updates.filter(|r| *r > 0.0).map(|ratio| s.entries as f64 * 1000.0 / ratio)
    };
    let both = updates(mine).zip(updates(theirs)).map(|(a, b)| a + b);
    mine.entries = add_to(mine.entries, theirs.entries);
    mine.retries = add_to(mine.retries, theirs.retries);
    mine.per_1000_updates = both.map(|updates| mine.entries as f64 * 1000.0 / updates);
    let (mine, theirs) = (&mut merged.oom, &run.oom);
    for (a, b) in [
        (&mut mine.kills, theirs.kills),
        (&mut mine.episodes, theirs.episodes),
        (&mut mine.premature.definite, theirs.premature.definite),
        (&mut mine.premature.transient, theirs.premature.transient),
        (&mut mine.premature_failures, theirs.premature_failures),
        (&mut mine.extra_victims, theirs.extra_victims),
        (&mut mine.late_kills, theirs.late_kills),
        (&mut mine.unreapable, theirs.unreapable),
        (&mut mine.left_by_reaper, theirs.left_by_reaper),
        (&mut mine.drift, theirs.drift),
    ] {
        *a = add_to(*a, b);
    }
}

fn add_reserves(merged: &mut Run, run: &Run) {
    let (mine, theirs) = (&mut merged.reserves, &run.reserves);
    mine.lowest_free_pages = lower(mine.lowest_free_pages, theirs.lowest_free_pages);
    mine.lowest_share_of_min = lower(mine.lowest_share_of_min, theirs.lowest_share_of_min);
    add_zones(&mut mine.zones, &theirs.zones);
    for (class, other) in &theirs.by_class {
        let class = mine.by_class.entry(class.clone()).or_default();
        class.below_min = add_to(class.below_min, other.below_min);
        class.failed = add_to(class.failed, other.failed);
        class.lowest_free_pages = lower(class.lowest_free_pages, other.lowest_free_pages);
        class.lowest_share_of_min = lower(class.lowest_share_of_min, other.lowest_share_of_min);
        add_zones(&mut class.zones, &other.zones);
    }
}

fn lower<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b < a { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn add_zones(mine: &mut Vec<ZoneLow>, theirs: &[ZoneLow]) {
    for zone in theirs {
        match mine.iter_mut().find(|z| (z.node, &z.zone) == (zone.node, &zone.zone)) {
            Some(z) => {
                z.lowest_free_pages = z.lowest_free_pages.min(zone.lowest_free_pages);
                z.lowest_share_of_min = lower(z.lowest_share_of_min, zone.lowest_share_of_min);
            }
            None => mine.push(zone.clone()),
        }
    }
}

/// Counts (figures without unit) add up; of others only the rounds stay, since nobody knows how they
/// add.
fn add_figures(mine: &mut IndexMap<String, Figure>, run: &Run) {
    for (name, figure) in &run.figures {
        match mine.get_mut(name) {
            Some(sum) if sum.unit.is_empty() => {
                sum.value = sum.value.zip(figure.value).map(|(a, b)| a + b);
            }
            Some(sum) if sum.value != figure.value => sum.value = None,
            Some(_) => {}
            None => drop(mine.insert(name.clone(), figure.clone())),
        }
    }
}

fn add_window(mine: &mut Window, other: &Window) {
    mine.passes = add_to(mine.passes, other.passes);
    mine.entered = add_to(mine.entered, other.entered);
    mine.max_ns = mine.max_ns.max(other.max_ns);
    if mine.p50_ns != other.p50_ns {
        mine.p50_ns = None;
    }
    if mine.amplified != other.amplified {
        mine.amplified = None;
    }
}

#[cfg(test)]
mod tests;
