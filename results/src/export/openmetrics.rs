//! OpenMetrics text, for dashboards that scrape a file.
//!
//! Source: the OpenMetrics 1.0 specification: families are not interleaved, counters end in
//! `_total`, base units are seconds and ratios, `# EOF` closes.

use crate::schema::{LatencyNs, Run};

struct Family {
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    help: &'static str,
    samples: fn(&Run, &str) -> Vec<String>,
}

const FAMILIES: [Family; 8] = [
    Family {
        name: "stress_run",
        kind: "info",
        unit: "",
        help: "The run behind the other samples.",
        samples: |run, labels| {
            let more = [
                ("run_id", &run.run_id),
                ("version", &run.tool.version),
                ("kernel", &run.host.kernel),
            ];
            let more: Vec<String> =
                more.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
            vec![format!("stress_run_info{{{labels},{}}} 1", more.join(","))]
        },
    },
    Family {
        name: "stress_operations",
        kind: "counter",
        unit: "",
        help: "Operations done in the measured time.",
        samples: |run, labels| {
            run.ops
                .iter()
                .map(|(op, o)| {
                    format!("stress_operations_total{{{labels},op=\"{}\"}} {}", escape(op), o.count)
                })
                .collect()
        },
    },
    Family {
        name: "stress_operations_per_second",
        kind: "gauge",
        unit: "",
        help: "Operations per second of measured time.",
        samples: |run, labels| {
            let row = |(op, o): (&String, &crate::schema::Op)| {
                format!(
                    "stress_operations_per_second{{{labels},op=\"{}\"}} {}",
                    escape(op),
                    o.rate_per_s
                )
            };
            run.ops.iter().map(row).collect()
        },
    },
    Family {
        name: "stress_latency_seconds",
        kind: "summary",
        unit: "seconds",
        help: "Latency of operations.",
        samples: |run, labels| {
            let ops = run.ops.iter().filter_map(|(op, o)| Some((op, o.latency_ns?)));
            ops.flat_map(|(op, latency)| {
                summary(&format!("{labels},op=\"{}\"", escape(op)), &latency)
            })
            .collect()
        },
    },
    Family {
        name: "stress_latency_max_seconds",
        kind: "gauge",
        unit: "seconds",
        help: "Longest operation.",
        samples: |run, labels| {
            let ops = run.ops.iter().filter_map(|(op, o)| Some((op, o.latency_ns?)));
            let row = |(op, l): (&String, LatencyNs)| {
                format!(
                    "stress_latency_max_seconds{{{labels},op=\"{}\"}} {}",
                    escape(op),
                    seconds(l.max)
                )
            };
            ops.map(row).collect()
        },
    },
    Family {
        name: "stress_oom",
        kind: "counter",
        unit: "",
        help: "OOM events by kind.",
        samples: |run, labels| {
            let oom = &run.oom;
            let kinds = [
                ("kill", oom.kills),
                ("premature_definite", oom.premature.definite),
                ("premature_transient", oom.premature.transient),
                ("premature_failure", oom.premature_failures),
                ("extra_victim", oom.extra_victims),
            ];
            kinds
                .iter()
                .map(|(kind, n)| format!("stress_oom_total{{{labels},kind=\"{kind}\"}} {n}"))
                .collect()
        },
    },
    Family {
        name: "stress_findings",
        kind: "gauge",
        unit: "",
        help: "Findings that count.",
        samples: |run, labels| {
            vec![format!(
                "stress_findings{{{labels}}} {}",
                run.findings.iter().filter(|f| f.counts).count()
            )]
        },
    },
    Family {
        name: "stress_slow_path_entries",
        kind: "counter",
        unit: "",
        help: "Allocations that took the slow path.",
        samples: |run, labels| {
            vec![format!("stress_slow_path_entries_total{{{labels}}} {}", run.slow_path.entries)]
        },
    },
];

/// The document.
#[must_use]
pub fn document(runs: &[&Run]) -> String {
    let mut out = String::new();
    for family in &FAMILIES {
        out.push_str(&format!("# TYPE {} {}\n", family.name, family.kind));
        if !family.unit.is_empty() {
            out.push_str(&format!("# UNIT {} {}\n", family.name, family.unit));
        }
        out.push_str(&format!("# HELP {} {}\n", family.name, family.help));
        for run in runs {
            for sample in (family.samples)(run, &labels(run)) {
                out.push_str(&sample);
                out.push('\n');
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

fn labels(run: &Run) -> String {
    format!(
        "workload=\"{}\",variant=\"{}\",threads=\"{}\",host=\"{}\"",
        escape(&run.workload),
        escape(&run.variant.name),
        run.threads,
        escape(&run.host.name)
    )
}

fn summary(labels: &str, l: &LatencyNs) -> Vec<String> {
    let quantiles =
        [("0.5", l.p50), ("0.9", l.p90), ("0.99", l.p99), ("0.999", l.p999), ("0.9999", l.p9999)];
    let mut rows: Vec<String> = quantiles
        .iter()
        .map(|(q, ns)| {
            format!("stress_latency_seconds{{{labels},quantile=\"{q}\"}} {}", seconds(*ns))
        })
        .collect();
    rows.push(format!("stress_latency_seconds_count{{{labels}}} {}", l.count));
    rows.push(format!("stress_latency_seconds_sum{{{labels}}} {}", l.mean * l.count as f64 / 1e9));
    rows
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    #[test]
    fn the_document() {
        let odd = Sample { variant: "a\"b\\c\nd", ..Sample::default() }.run();
        let text = document(&[&Sample { premature_rounds: 1, ..Sample::default() }.run(), &odd]);
        assert!(text.ends_with("# EOF\n"));
        assert!(text.contains(r#"variant="a\"b\\c\nd""#));
        insta::assert_snapshot!(text);
    }
}
