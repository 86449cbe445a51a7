//! KTAP 1, which kselftest's and KernelCI's parsers read: a test for each run, a subtest for each
//! check.
//!
//! Source: Documentation/dev-tools/ktap.rst.

use super::checks::{self, State};
use crate::format::plain;
use crate::schema::{Comparison, Run};

/// The document.
#[must_use]
pub fn document(runs: &[&Run], comparisons: &[Comparison]) -> String {
    let mut out = format!("KTAP version 1\n1..{}\n", runs.len());
    for (i, run) in runs.iter().enumerate() {
        let checks = checks::of(run, comparisons);
        out.push_str(&format!(
            "  KTAP version 1\n  # Subtest: {}\n  1..{}\n",
            name(&run.label()),
            checks.len()
        ));
        for (j, check) in checks.iter().enumerate() {
            let (word, directive) = match &check.state {
                State::Pass => ("ok", String::new()),
                State::Skip(why) => ("ok", format!(" # SKIP {}", plain(why))),
                State::Fail(evidence) => {
                    for line in evidence.lines() {
                        out.push_str(&format!("  # {}\n", plain(line)));
                    }
                    ("not ok", String::new())
                }
            };
            out.push_str(&format!("  {word} {} {}{directive}\n", j + 1, name(&check.name)));
        }
        let failed = checks.iter().any(|c| matches!(c.state, State::Fail(_)));
        let word = if failed { "not ok" } else { "ok" };
        let skip = run.cut_short().filter(|_| !failed).map(|why| format!(" # SKIP {why}"));
        let skip = skip.unwrap_or_default();
        out.push_str(&format!("{word} {} {}{skip}\n", i + 1, name(&run.label())));
    }
    out
}

/// A test's name: `#` would begin a directive.
fn name(text: &str) -> String {
    plain(text).replace('#', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    #[test]
    fn the_document() {
        let found = Sample { premature_rounds: 1, ..Sample::default() }.run();
        let mut idle = Sample { variant: "v4.13#odd\nname", ..Sample::default() }.run();
        idle.slow_path.entries = 0;
        idle.interrupted = true;
        insta::assert_snapshot!(document(&[&found, &idle], &[]));
    }
}
