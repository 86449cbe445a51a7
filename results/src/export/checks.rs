//! A run as a list of checks that passed, failed or could not be made: what KTAP and JUnit show.

use crate::schema::{Comparison, GateOutcome, Run};

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It held.
    Pass,
    /// It did not; the evidence, line by line.
    Fail(String),
    /// It could not be made; why.
    Skip(String),
}

/// One check of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Stable name.
    pub name: String,
    /// How it ended.
    pub state: State,
}

/// Kinds of finding that every run looks for.
const KINDS: [&str; 6] =
    ["premature-oom", "premature-failure", "extra-victim", "use-after-free", "lockup", "panic"];

/// The checks of one run, and the gates of the comparisons that it is the new side of.
#[must_use]
pub fn of(run: &Run, comparisons: &[Comparison]) -> Vec<Check> {
    let mut checks = vec![Check { name: "complete".to_owned(), state: complete(run) }];
    checks.extend(
        KINDS.iter().map(|kind| Check { name: format!("no-{kind}"), state: no_finding(run, kind) }),
    );
    let mut others: Vec<&str> = run
        .findings
        .iter()
        .filter(|f| f.counts)
        .map(|f| f.kind.as_str())
        .filter(|k| !KINDS.contains(k))
        .collect();
    others.sort_unstable();
    others.dedup();
    checks.extend(
        others
            .iter()
            .map(|kind| Check { name: format!("no-{kind}"), state: no_finding(run, kind) }),
    );
    checks.push(Check { name: "invariants".to_owned(), state: invariants(run) });
    for comparison in comparisons.iter().filter(|c| c.new.run_ids.contains(&run.run_id)) {
        checks.extend(gates(comparison));
    }
    checks
}

fn complete(run: &Run) -> State {
    let whole = run.whole_rounds().count();
    if let Some(why) = run.cut_short() {
        State::Skip(format!("{why} after {whole} of {} rounds", run.planned_rounds))
    } else if run.measured_nothing() {
        State::Skip("nothing was measured".to_owned())
    } else {
        State::Pass
    }
}

fn no_finding(run: &Run, kind: &str) -> State {
    let found: Vec<_> = run.findings.iter().filter(|f| f.kind == kind && f.counts).collect();
    if found.is_empty() && (run.measured_nothing() || run.whole_rounds().next().is_none()) {
        return State::Skip("nothing was measured".to_owned());
    }
    if found.is_empty() {
        let about_oom = kind.starts_with("premature");
        return if about_oom && run.slow_path.entries == 0 {
            State::Skip("no allocation took the slow path".to_owned())
        } else {
            State::Pass
        };
    }
    let tell = |f: &&crate::schema::Finding| {
        let replay = f.replay.as_ref().map_or(String::new(), |r| format!("\nreplay: {r}"));
        format!("{}\n{}{replay}", f.title, f.report)
    };
    State::Fail(found.iter().map(tell).collect::<Vec<_>>().join("\n\n"))
}

fn invariants(run: &Run) -> State {
    let violated: Vec<String> =
        run.invariants.violated.iter().map(|v| format!("{}: {}", v.name, v.detail)).collect();
    match (run.invariants.checked, violated.is_empty()) {
        (0, true) => State::Skip("nothing was checked".to_owned()),
        (_, true) => State::Pass,
        (_, false) => State::Fail(violated.join("\n")),
    }
}

fn gates(c: &Comparison) -> impl Iterator<Item = Check> + '_ {
    c.metrics.iter().filter_map(move |row| {
        let (gate, verdict) = (row.gate.as_ref()?, row.verdict?);
        let change = row.change_percent.map_or("-".to_owned(), |p| format!("{p:+.1}%"));
        let range = row
            .interval_percent
            .map_or(String::new(), |i| format!(" [{:+.1}%, {:+.1}%]", i.low, i.high));
        let told = format!("{} {change}{range} against {}", row.name, c.base.label);
        let state = match verdict.outcome() {
            GateOutcome::Held => State::Pass,
            GateOutcome::Failed => State::Fail(told),
            GateOutcome::Suspect => State::Skip(format!("suspect: {told}; more rounds needed")),
            GateOutcome::NotJudged(why) => State::Skip(format!("not judged: {why}: {told}")),
        };
        Some(Check { name: format!("gate {gate} {}", row.name), state })
    })
}
