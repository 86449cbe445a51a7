//! `stress report --mail`: a text for a mailing list, 72 columns.

use indexmap::IndexMap;

use crate::compare::{self, Style};
use crate::format::{count, ns, plain, plural};
use crate::histogram::enough_samples;
use crate::schema::{Comparison, Finding, Run};
use crate::text;

/// Findings that are told in full.
const MOST_FINDINGS: usize = 3;

/// Host, figures of each run, comparisons, the first findings, and the commands.
pub(super) fn document(runs: &[&Run], comparisons: &[Comparison]) -> String {
    let mut out = String::new();
    for run in runs {
        out.push_str(&figures(run));
        out.push('\n');
    }
    out.push_str(&compare::show(comparisons, Style::Mail, runs));
    for run in runs {
        out.push_str(&text::fidelity_below(&[run]));
    }
    let all: Vec<(&Run, &Finding)> =
        runs.iter().flat_map(|run| run.findings.iter().map(move |f| (*run, f))).collect();
    let (found, seen): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, f)| f.counts);
    for (run, finding) in found.iter().take(MOST_FINDINGS) {
        let title =
            format!("Finding {} of {}: {}", finding.number, run.variant.name, finding.title);
        out.push('\n');
        out.push_str(&compare::wrap(&plain(&title), "  "));
        for line in finding.report.lines() {
            out.push_str(&format!("{}\n", plain(line)));
        }
        if let Some(why) = &finding.why {
            out.push_str(&compare::wrap(&format!("Why: {}", plain(why)), "     "));
        }
        if let Some(replay) = &finding.replay {
            out.push_str(&compare::wrap(&format!("Replay: $ {}", plain(replay)), "        "));
        }
    }
    if found.len() > MOST_FINDINGS {
        out.push_str(&format!("\nand {} more findings.\n", found.len() - MOST_FINDINGS));
    }
    let mut kinds: IndexMap<(&str, &str), usize> = IndexMap::new();
    for (run, finding) in &seen {
        *kinds.entry((&run.variant.name, &finding.kind)).or_default() += 1;
    }
    for ((variant, kind), times) in kinds {
        let text = format!("Seen under {variant}, but no finding: {kind}, kept {times} times");
        out.push('\n');
        out.push_str(&compare::wrap(&plain(&text), "  "));
    }
    out
}

fn figures(run: &Run) -> String {
    let mut out = compare::wrap(
        &format!(
            "{}, {}, {:.1} s in {}, seed {:#x}",
            run.label(),
            plural(run.threads as usize, "thread"),
            run.phases.measured_s,
            plural(run.whole_rounds().count(), "round"),
            run.seed
        ),
        "  ",
    );
    out.push_str(&format!(
        "  {:<20}{:>9}{:>10}{:>9}{:>9}{:>9}\n",
        "", "rate/s", "p50", "p99", "p99.9", "max"
    ));
    for (name, op) in run.ops.iter().filter(|(_, op)| op.count > 0) {
        let tail = |q: f64, of: fn(&crate::schema::LatencyNs) -> u64| {
            op.latency_ns
                .filter(|l| enough_samples(q, l.count))
                .map_or("-".to_owned(), |l| ns(of(&l) as f64))
        };
        out.push_str(&format!(
            "  {:<20}{:>9}{:>10}{:>9}{:>9}{:>9}\n",
            crate::format::fit(name, 20),
            count(op.rate_per_s),
            tail(0.5, |l| l.p50),
            tail(0.99, |l| l.p99),
            tail(0.999, |l| l.p999),
            tail(0.0, |l| l.max)
        ));
    }
    out.push_str(&compare::wrap(&format!("  {}", text::kills(run)), "    "));
    if run.oom.premature.definite == 0 {
        out.push_str(&compare::wrap(&format!("  {}", text::worth(run)), "    "));
    }
    out
}
