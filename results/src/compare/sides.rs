//! Which runs face each other: files, directories, or the variants of one session.

use indexmap::IndexMap;

use crate::error::{Error, Result};
use crate::schema::{Round, Run};
use crate::store::Loaded;

/// Two sides to compare: runs of one cell each (same workload, options, threads, machine, host).
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The base's runs, oldest first; at least one.
    pub base: Vec<Loaded>,
    /// The other's; at least one.
    pub new: Vec<Loaded>,
}

/// All that must agree, as one text: runs of one cell add up.
fn cell(run: &Run) -> String {
    format!(
        "{} {:?} {} {} {} {}",
        run.workload,
        run.options,
        run.threads,
        run.clock.time_scale,
        run.machine.fingerprint(),
        crate::host::fingerprint(&run.host)
    )
}

type Cells = IndexMap<(String, String), Vec<Loaded>>;

fn by_cell(mut runs: Vec<Loaded>) -> Cells {
    runs.sort_by(|a, b| (&a.run.started, &a.path).cmp(&(&b.run.started, &b.path)));
    let mut cells = Cells::new();
    let mut seen = std::collections::HashSet::new();
    for loaded in runs {
        // A copy of a run is the same rounds again, not more evidence.
        if seen.insert(loaded.run.run_id.clone()) {
            cells
                .entry((cell(&loaded.run), loaded.run.variant.name.clone()))
                .or_default()
                .push(loaded);
        }
    }
    cells
}

/// Pairs the cells of two inputs: one cell on each side faces the other whatever it is (and is
/// then checked); of several, those of equal settings and variant, or of equal settings with one
/// variant on each side. What finds no partner becomes a warning.
///
/// # Errors
/// No pair at all.
pub fn pair_up(
    base: Vec<Loaded>,
    new: Vec<Loaded>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Pair>> {
    let (mut base, new) = (by_cell(base), by_cell(new));
    if base.len() == 1 && new.len() == 1 {
        let only = |cells: Cells| cells.into_values().next().unwrap_or_default();
        return Ok(vec![Pair { base: only(base), new: only(new) }]);
    }
    let variants_of = |cells: &Cells, cell: &str| cells.keys().filter(|(c, _)| c == cell).count();
    let mut pairs = Vec::new();
    let lonely: Vec<bool> =
        new.keys().map(|(c, _)| variants_of(&new, c) == 1 && variants_of(&base, c) == 1).collect();
    for ((key, runs), lonely) in new.into_iter().zip(lonely) {
        let partner = if base.contains_key(&key) {
            Some(key.clone())
        } else {
            base.keys().find(|(c, _)| lonely && *c == key.0).cloned()
        };
        match partner.and_then(|partner| base.shift_remove(&partner)) {
            Some(base) => pairs.push(Pair { base, new: runs }),
            None => warnings
                .push(format!("compare: {}: nothing equal to it in the base", describe(&runs))),
        }
    }
    warnings.extend(
        base.values().map(|runs| {
            format!("compare: {}: nothing equal to it in the new runs", describe(runs))
        }),
    );
    if pairs.is_empty() {
        let reason = warnings.first().cloned().unwrap_or_else(|| "compare: no runs".to_owned());
        return Err(Error::Input(format!(
            "{reason}; nothing to compare: want the same workload, options, threads, machine and host on both sides"
        )));
    }
    Ok(pairs)
}

/// Pairs the variants of each session: the first of its command line against each other one.
///
/// # Errors
/// No session has two variants.
pub fn variants_of_sessions(runs: Vec<Loaded>) -> Result<Vec<Pair>> {
    let mut sessions: IndexMap<String, Vec<Loaded>> = IndexMap::new();
    let mut seen = std::collections::HashSet::new();
    for loaded in runs {
        if seen.insert(loaded.run.run_id.clone()) {
            sessions.entry(loaded.run.session.clone()).or_default().push(loaded);
        }
    }
    let mut pairs = Vec::new();
    for (_, mut variants) in sessions {
        variants.sort_by_key(|l| l.run.rounds.first().map_or(u32::MAX, |round| round.order));
        let mut others = variants.split_off(1);
        let base = variants;
        pairs.extend(others.drain(..).map(|new| Pair { base: base.clone(), new: vec![new] }));
    }
    if pairs.is_empty() {
        return Err(Error::Input(
            "compare: one variant only: name a second file, or run with two --variant".to_owned(),
        ));
    }
    Ok(pairs)
}

fn describe(runs: &[Loaded]) -> String {
    let Some(first) = runs.first() else { return "no run".to_owned() };
    format!("{} ({}, {} threads)", first.path.display(), first.run.label(), first.run.threads)
}

/// Column heads: what tells the sides apart, shortest first.
pub(super) fn labels(pair: &Pair) -> (String, String) {
    let (base, new) = (&pair.base[0], &pair.new[0]);
    let candidates: [fn(&Loaded) -> String; 4] = [
        |l| l.run.variant.name.clone(),
        |l| l.run.host.name.clone(),
        |l| l.run.started.trim_end_matches('Z').to_owned(),
        |l| l.path.display().to_string(),
    ];
    for label in candidates {
        if label(base) != label(new) {
            return (label(base), label(new));
        }
    }
    ("base".to_owned(), "new".to_owned())
}

/// Whether the rounds of both took turns.
pub(super) fn interleaved(base: &Run, new: &Run) -> bool {
    base.session == new.session && base.run_id != new.run_id
}

/// Rounds that face each other: by position, both whole. Position counts rounds that gave no sample
/// too, so that one that a finding ended early takes only its own partner with it.
pub(super) fn round_pairs<'a>(base: &[&'a Run], new: &[&'a Run]) -> Vec<(&'a Round, &'a Round)> {
    let all =
        |runs: &[&'a Run]| -> Vec<&'a Round> { runs.iter().flat_map(|run| &run.rounds).collect() };
    all(base).into_iter().zip(all(new)).filter(|(b, n)| b.complete && n.complete).collect()
}
