//! The summary on the screen: a pure function of the record that fits 80 x 24.

use std::path::Path;

use crate::compare::stats;
use crate::format::{self, count, fit, ns, plain, rate, thousands};
use crate::histogram::enough_samples;
use crate::schema::{Host, Op, Run};

const WIDTH: usize = 80;
const HEIGHT: usize = 24;

/// What the user sees at the end of a run of one variant; `file` is where the record is kept.
#[must_use]
pub fn summary(run: &Run, file: Option<&Path>) -> String {
    let mut head = Vec::new();
    if run.interrupted {
        let whole = run.whole_rounds().count();
        head.push(format!(
            "INTERRUPTED after {whole} of {} rounds ({:.1} s)",
            run.planned_rounds, run.phases.measured_s
        ));
    }
    head.push(first_line(run));
    head.push(format!("host   {}", host_line(&run.host)));
    if !run.notes.is_empty() {
        head.push(format!("note   {}", run.notes.join("; ")));
    }
    head.push(String::new());
    let mut tail = Vec::new();
    if let Some(cost) = run.clock.read_ns {
        tail.push(format!(
            "  reading the clock costs {cost:.0} ns a call; smaller differences mean nothing"
        ));
    }
    tail.push(String::new());
    tail.extend(verdicts(run));
    tail.push(String::new());
    tail.push(last_line(run, file));
    // Findings come first; operations get what is left of the screen.
    let room = HEIGHT.saturating_sub(head.len() + tail.len() + 1);
    let found = findings(run, (room / 2).max(3));
    let ops = operations(run, room.saturating_sub(found.len()).max(2));
    let lines = head.into_iter().chain(found).chain(ops).chain(tail);
    lines.map(|line| fit(&plain(&line), WIDTH).trim_end().to_owned() + "\n").collect()
}

fn first_line(run: &Run) -> String {
    let warmup = if run.phases.warmup_s > 0.0 {
        format!(" (+{} s warm-up)", short(run.phases.warmup_s))
    } else {
        String::new()
    };
    format!(
        "{} {}  {}  {}  {} threads  {:.1} s{warmup}  seed {:#x}",
        run.tool.name,
        run.tool.version,
        run.workload,
        run.variant.name,
        run.threads,
        run.phases.measured_s,
        run.seed
    )
}

fn short(seconds: f64) -> String {
    if seconds.fract() == 0.0 { format!("{seconds:.0}") } else { format!("{seconds:.1}") }
}

/// The host in one line: kernel, CPUs, nodes, memory, governor.
#[must_use]
pub fn host_line(host: &Host) -> String {
    let sockets = host.sockets.filter(|n| *n > 1).map_or(String::new(), |n| format!("{n} x "));
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let mut parts = vec![
        format!("Linux {}", host.kernel),
        format!("{sockets}{}", host.cpu),
        plural(host.cpus as usize, "CPU"),
        plural(host.nodes.len(), "node"),
        format::bytes(host.memory_bytes),
    ];
    parts.extend(host.governor.clone());
    parts.extend(host.hypervisor.as_ref().map(|h| format!("virtual ({h})")));
    parts.join(", ")
}

/// A command line that a shell reads back as it was.
#[must_use]
pub fn command(arguments: &[String]) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    let quote = |word: &String| {
        if !word.is_empty() && word.chars().all(safe) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn findings(run: &Run, room: usize) -> Vec<String> {
    let total = run.findings.len();
    if total == 0 {
        return Vec::new();
    }
    let shown = if total < room { total } else { room.saturating_sub(2).max(1) };
    let mut lines: Vec<String> = run
        .findings
        .iter()
        .take(shown)
        .map(|f| {
            let (first, aside) =
                if f.counts { ("FOUND", "") } else { ("seen ", "  (does not count)") };
            format!("{first}  {}  t={:.6}s  {}{aside}", f.number, f.time_s, f.title)
        })
        .collect();
    if shown < total {
        lines.push(format!("       and {} more in the record", total - shown));
    }
    lines.push(String::new());
    lines
}

fn operations(run: &Run, room: usize) -> Vec<String> {
    let row = |name: &str, cells: [String; 7]| {
        let [count, rate, p50, p99, p999, p9999, max] = cells;
        format!("{name:<17}{count:>7}{rate:>11}{p50:>9}{p99:>9}{p999:>9}{p9999:>9}{max:>9}")
    };
    let titles = ["count", "rate/s", "p50", "p99", "p99.9", "p99.99", "max"];
    let mut lines = vec![row("operation", titles.map(str::to_owned))];
    let done: Vec<&Op> = run.ops.values().filter(|op| op.count > 0).collect();
    let rows = room.saturating_sub(1);
    let shown = if done.len() <= rows { done.len() } else { rows.saturating_sub(1) };
    for op in &done[..shown] {
        lines.push(row(&fit(&op.label, 17), cells(op)));
    }
    if shown < done.len() {
        lines.push(format!("and {} more operations in the record", done.len() - shown));
    }
    if done.is_empty() {
        lines.push("nothing was done in the measured time".to_owned());
    }
    lines
}

fn cells(op: &Op) -> [String; 7] {
    let latency = |quantile: f64, value: fn(&crate::schema::LatencyNs) -> u64| {
        let known = op.latency_ns.filter(|l| enough_samples(quantile, l.count));
        known.map_or("-".to_owned(), |l| ns(value(&l) as f64))
    };
    [
        count(op.count as f64),
        count(op.rate_per_s),
        latency(0.5, |l| l.p50),
        latency(0.99, |l| l.p99),
        latency(0.999, |l| l.p999),
        latency(0.9999, |l| l.p9999),
        latency(0.0, |l| l.max),
    ]
}

fn verdicts(run: &Run) -> Vec<String> {
    let premature = &run.oom.premature;
    let kills = run.oom.kills;
    let justified = kills.saturating_sub(premature.definite + premature.transient);
    let transient = if premature.transient > 0 {
        format!(" and {} transient", premature.transient)
    } else {
        String::new()
    };
    let failures = if run.oom.premature_failures > 0 {
        format!("  failures {}", run.oom.premature_failures)
    } else {
        String::new()
    };
    let mut lines = vec![format!(
        "oom     {} kills: {} justified, {} premature{transient}     extra victims {}{failures}",
        thousands(kills),
        thousands(justified),
        thousands(premature.definite),
        thousands(run.oom.extra_victims)
    )];
    lines.push(pages(run));
    let entries = run.slow_path.entries;
    if premature.definite == 0 && run.findings.iter().all(|f| !f.counts) {
        lines.push(match stats::bound_of_none(entries) {
            Some(bound) => format!(
                "clean   0 premature in {} slow-path allocations: under {} (95%)",
                count(entries as f64),
                rate(bound)
            ),
            None => "clean   no allocation took the slow path: this run says nothing about OOM"
                .to_owned(),
        });
    }
    lines
}

fn pages(run: &Run) -> String {
    let managed: u64 = run.machine.zones.iter().map(|zone| zone.managed).sum();
    let violated = run.invariants.violated.len();
    let state = match (run.invariants.checked, violated) {
        (0, 0) => "not checked".to_owned(),
        (_, 0) => "every one accounted for".to_owned(),
        (_, 1) => format!("1 INVARIANT VIOLATED ({})", run.invariants.violated[0].name),
        (_, n) => format!("{n} INVARIANTS VIOLATED"),
    };
    let reserves = run
        .reserves
        .lowest_share_of_min
        .map_or(String::new(), |share| format!("   reserves: lowest {:.0}% of min", share * 100.0));
    format!("pages   {}, {state}{reserves}", thousands(managed))
}

fn last_line(run: &Run, file: Option<&Path>) -> String {
    let counted = run.findings.iter().filter(|f| f.counts).count();
    let word = match counted {
        _ if run.interrupted && counted == 0 => "partial".to_owned(),
        0 => "ok     ".to_owned(),
        1 => "1 FINDING".to_owned(),
        n => format!("{n} FINDINGS"),
    };
    format!("{word} {}", file.map_or(String::new(), |path| path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use crate::schema::{Finding, Op};

    #[test]
    fn a_clean_run() {
        let text = summary(&Sample::default().run(), Some(Path::new("stress-runs/x/run.json")));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_run_with_findings() {
        let run = Sample { premature_rounds: 3, ..Sample::default() }.run();
        insta::assert_snapshot!(summary(&run, None));
    }

    #[test]
    fn an_interrupted_run_says_so_first() {
        let mut run = Sample::default().run();
        run.interrupted = true;
        run.rounds.truncate(3);
        run.phases.measured_s = 4.6;
        let text = summary(&run, None);
        assert!(text.starts_with("INTERRUPTED after 3 of 10 rounds (4.6 s)\n"), "{text}");
    }

    #[test]
    fn every_summary_fits_80_by_24() {
        let mut run = Sample { premature_rounds: 10, ..Sample::default() }.run();
        run.interrupted = true;
        run.variant.name =
            "v4.11,cpuset=cookie-recheck,exit=mm-users,reserves=full-group,pcp=order0".into();
        run.notes = vec!["turbo is on".into(); 9];
        let op = Op { label: "a rather long operation name".into(), ..run.ops["fault"].clone() };
        for findings in [0, 1, 3, 40] {
            for ops in [0, 2, 7, 30] {
                run.findings =
                    vec![
                        Finding { title: "x".repeat(100), counts: true, ..Finding::default() };
                        findings
                    ];
                run.ops = (0..ops).map(|i| (format!("op{i}"), op.clone())).collect();
                let text = summary(&run, Some(Path::new("stress-runs/a-long-name/run.json")));
                assert!(text.lines().count() <= HEIGHT, "{findings} {ops}\n{text}");
                assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
                assert!(findings == 0 || text.contains("FOUND"), "{text}");
                assert!(ops == 0 || text.contains("a rather long"), "{text}");
            }
        }
    }

    #[test]
    fn commands_are_read_back_by_a_shell() {
        let words = ["stress", "--fail-on", "p99>5%", "it's", ""].map(str::to_owned);
        assert_eq!(command(&words), r"stress --fail-on 'p99>5%' 'it'\''s' ''");
    }
}
