//! CSV in long form: one row for each figure of each round, and of the whole run.

use crate::compare::op_figures;
use crate::schema::{Op, Run};

/// The header and all rows; `round` counts from 1, as on the screen, and is empty in the rows of a whole run.
#[must_use]
pub fn document(runs: &[&Run]) -> String {
    let mut out = "started,run_id,host,workload,variant,threads,round,figure,value\n".to_owned();
    for run in runs {
        let head = [&run.started, &run.run_id, &run.host.name, &run.workload, &run.variant.name]
            .map(|w| field(w))
            .join(",");
        let mut row = |round: &str, figure: &str, value: f64| {
            out.push_str(&format!("{head},{},{round},{},{value}\n", run.threads, field(figure)));
        };
        for (name, op) in &run.ops {
            figures(op, |figure, value| row("", &format!("{name}.{figure}"), value));
        }
        row("", "oom.kills", run.oom.kills as f64);
        row("", "oom.premature.definite", run.oom.premature.definite as f64);
        row("", "slow_path.entries", run.slow_path.entries as f64);
        for (i, round) in run.rounds.iter().enumerate().filter(|(_, r)| r.complete) {
            for (name, op) in &round.ops {
                figures(op, |figure, value| {
                    row(&(i + 1).to_string(), &format!("{name}.{figure}"), value)
                });
            }
        }
    }
    out
}

fn figures(op: &Op, mut row: impl FnMut(&str, f64)) {
    row("count", op.count as f64);
    for (name, value) in op_figures(op) {
        row(name, value);
    }
}

/// A field as RFC 4180 has it. A leading `=`, `+`, `-` or `@` would be run by spreadsheets, so such
/// a text begins with a quote mark, as they expect.
pub(crate) fn field(text: &str) -> String {
    let text =
        if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    #[test]
    fn every_round_has_its_figures() {
        let run = Sample { variant: "v4.11,exit=mm-users", rounds: 2, ..Sample::default() }.run();
        let text = document(&[&run]);
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[1].contains(",\"v4.11,exit=mm-users\",64,,fault.count,"), "{}", rows[1]);
        let p99 = run.rounds[1].ops["fault"].latency_ns.unwrap().p99;
        assert!(rows.iter().any(|row| row.ends_with(&format!(",2,fault.p99_ns,{p99}"))), "{text}");
        assert!(!text.contains("p9999_ns"), "too few samples for it");
        assert_eq!(field("=1+1"), "'=1+1");
        assert_eq!(field("a\"b"), "\"a\"\"b\"");
    }
}
