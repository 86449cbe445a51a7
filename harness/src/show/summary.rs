//! What a run ends with on stdout: one variant's summary, or several side by side.

use std::fmt::Write as _;
use std::path::Path;

use indexmap::IndexMap;
use results::compare::{self, Style};
use results::find_time;
use results::format::{fit, plain};
use results::schema::{Comparison, Run};
use results::text;

/// Findings named under a comparison, of each variant.
const NAMED: usize = 3;

/// The text for people.
pub fn text(
    runs: &[Run],
    comparisons: &[Comparison],
    file: Option<&Path>,
    percentiles: &[f64],
) -> String {
    let text = match runs {
        [run] => text::summary_with(run, file, percentiles),
        _ => side_by_side(runs, comparisons, file),
    };
    text + &text::fidelity_below(&runs.iter().collect::<Vec<_>>())
}

/// The table, then what was found in which variant.
fn side_by_side(runs: &[Run], comparisons: &[Comparison], file: Option<&Path>) -> String {
    let all: Vec<&Run> = runs.iter().collect();
    let mut text = String::new();
    if let Some(run) = runs.iter().find(|r| r.interrupted) {
        let whole: usize = runs.iter().map(|r| r.whole_rounds().count()).sum();
        let planned = run.planned_rounds as usize * runs.len();
        let _ = writeln!(text, "INTERRUPTED after {whole} of {planned} rounds");
    }
    text += &compare::show(comparisons, Style::Robot, &all);
    text.push('\n');
    for run in runs {
        text += &verdict(run);
    }
    if let Some(file) = file {
        let _ = writeln!(text, "\nkept    {}", file.display());
    }
    text
}

/// A variant's verdict, and the first of its findings.
fn verdict(run: &Run) -> String {
    let name = &run.variant.name;
    let premature = run.oom.premature.definite;
    let counted = run.findings_by_weight();
    let mut text = if counted.is_empty() {
        format!("{name:<10}  ok     nothing found\n        {}\n", text::worth(run))
    } else {
        let kinds = kinds(run);
        let time = find_time::of(run).map_or(String::new(), |t| format!("; found {}", t.text()));
        format!("{name:<10}  FOUND  {kinds}{time}\n")
    };
    if premature > 0 && counted.is_empty() {
        let _ = writeln!(text, "            {premature} premature OOMs, allowed");
    }
    for finding in counted.iter().take(NAMED) {
        let line = format!(
            "              {}  t={:.6}s  {}",
            finding.number, finding.time_s, finding.title
        );
        let _ = writeln!(text, "{}", fit(&plain(&line), 80));
    }
    text
}

/// `12 premature OOMs, 1 lockup`.
fn kinds(run: &Run) -> String {
    let oom = &run.oom;
    let mut parts = Vec::new();
    let mut part = |n: u64, word: &str| {
        if n > 0 {
            parts.push(format!("{n} {word}{}", if n == 1 { "" } else { "s" }));
        }
    };
    part(oom.premature.definite, "premature OOM");
    part(oom.premature_failures, "premature failure");
    part(oom.extra_victims, "extra victim");
    let judged_as_oom = ["premature-oom", "premature-failure", "extra-victim"];
    let mut others: IndexMap<&str, u64> = IndexMap::new();
    for finding in run.findings.iter().filter(|f| f.counts) {
        *others.entry(&finding.kind).or_default() += 1;
    }
    for (kind, n) in others.into_iter().filter(|(kind, _)| !judged_as_oom.contains(kind)) {
        part(n, kind);
    }
    parts.join(", ")
}
