//! JUnit XML: a suite for each run, a case for each check.

use super::checks::{self, State};
use crate::schema::{Comparison, Run};

/// The document.
#[must_use]
pub fn document(runs: &[&Run], comparisons: &[Comparison]) -> String {
    let mut suites = String::new();
    let (mut tests, mut failures, mut skips) = (0, 0, 0);
    for run in runs {
        let checks = checks::of(run, comparisons);
        let failed = checks.iter().filter(|c| matches!(c.state, State::Fail(_))).count();
        let skipped = checks.iter().filter(|c| matches!(c.state, State::Skip(_))).count();
        suites.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"{skipped}\" time=\"{:.3}\" timestamp=\"{}\" hostname=\"{}\">\n",
            escape(&run.label()),
            checks.len(),
            run.phases.warmup_s + run.phases.measured_s,
            escape(run.started.trim_end_matches('Z')),
            escape(&run.host.name),
        ));
        for check in &checks {
            let open = format!(
                "    <testcase classname=\"{}\" name=\"{}\"",
                escape(&run.label()),
                escape(&check.name)
            );
            suites.push_str(&match &check.state {
                State::Pass => format!("{open}/>\n"),
                State::Skip(why) => {
                    format!("{open}><skipped message=\"{}\"/></testcase>\n", escape(why))
                }
                State::Fail(evidence) => format!(
                    "{open}><failure message=\"{}\">{}</failure></testcase>\n",
                    escape(evidence.lines().next().unwrap_or("")),
                    escape(evidence)
                ),
            });
        }
        suites.push_str("  </testsuite>\n");
        tests += checks.len();
        failures += failed;
        skips += skipped;
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"stress\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skips}\">\n{suites}</testsuites>\n"
    )
}

/// Text inside elements and attributes; what XML 1.0 can't hold is left out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    #[test]
    fn the_document() {
        let mut run =
            Sample { premature_rounds: 1, variant: "v4.11<&\"\u{1b}", ..Sample::default() }.run();
        run.findings[0].title = "a <b> & \"c\"".into();
        insta::assert_snapshot!(document(&[&run], &[]));
    }
}
