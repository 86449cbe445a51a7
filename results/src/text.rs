//! The summary on the screen: a pure function of the record that fits 80 x 24.

use std::path::Path;

use crate::compare::stats;
use crate::fidelity;
use crate::find_time;
use crate::format::{self, count, fit, ns, plain, plural, rate, thousands};
use crate::histogram::{Histogram, enough_samples};
use crate::schema::{EndedBy, Fidelity, Host, Op, Run};

const WIDTH: usize = 80;
const HEIGHT: usize = 24;

/// Percentiles of the table unless others are asked for.
pub const PERCENTILES: [f64; 4] = [50.0, 99.0, 99.9, 99.99];

/// What the user sees at the end of a run of one variant; `file` is where the record is kept.
#[must_use]
pub fn summary(run: &Run, file: Option<&Path>) -> String {
    summary_with(run, file, &PERCENTILES)
}

/// As [`summary`], with other percentiles (0 to 100). More than four make it wider than 80 columns.
#[must_use]
pub fn summary_with(run: &Run, file: Option<&Path>, percentiles: &[f64]) -> String {
    let mut head = Vec::new();
    if run.interrupted {
        head.push(cut_short(run));
    }
    let first = first_line(run);
    let seed = format!("seed {:#x}", run.seed);
    if first.chars().count() + 2 + seed.chars().count() <= WIDTH {
        head.push(format!("{first}  {seed}"));
    } else {
        head.push(first);
        head.push(seed.replacen(' ', "   ", 1));
    }
    head.push(format!("host   {}", host_line(&run.host)));
    head.extend(notes(&run.notes));
    head.push(String::new());
    let mut tail = Vec::new();
    if let Some(cost) = run.clock.read_ns {
        let record = run.clock.record_ns.map_or(String::new(), |r| format!(", a sample {r:.0} ns"));
        tail.push(format!("  a clock reading costs {cost:.0} ns{record}: less means nothing"));
    }
    tail.push(String::new());
    tail.extend(verdicts(run));
    tail.push(String::new());
    tail.push(last_line(run, file));
    // Findings come first; operations get what is left of the screen.
    let room = HEIGHT.saturating_sub(head.len() + tail.len() + 1);
    let found = findings(run, (room / 2).max(3));
    let ops = operations(run, room.saturating_sub(found.len()).max(2), percentiles);
    let lines = head.into_iter().chain(found).chain(ops).chain(tail);
    let width = WIDTH + 9 * percentiles.len().saturating_sub(PERCENTILES.len());
    lines.map(|line| fit(&plain(&line), width).trim_end().to_owned() + "\n").collect()
}

/// The table of the model beside a real kernel, with an empty line before it; nothing if no run has
/// one.
#[must_use]
pub fn fidelity_below(runs: &[&Run]) -> String {
    let with: Vec<(&str, &Fidelity)> = runs
        .iter()
        .filter_map(|run| Some((run.variant.name.as_str(), run.fidelity.as_ref()?)))
        .collect();
    if with.is_empty() { String::new() } else { format!("\n{}", fidelity::table(&with)) }
}

fn first_line(run: &Run) -> String {
    let warmup = if run.phases.warmup_s > 0.0 {
        format!(" (+{} s warm-up)", short(run.phases.warmup_s))
    } else {
        String::new()
    };
    format!(
        "{} {}  {}  {}  {} thread{}  {:.1} s{warmup}",
        run.tool.name,
        run.tool.version,
        run.workload,
        run.variant.name,
        run.threads,
        if run.threads == 1 { "" } else { "s" },
        run.phases.measured_s,
    )
}

/// Notes, as many to a line as fit; at most two lines.
fn notes(notes: &[String]) -> Vec<String> {
    let room = WIDTH - "note   ".len();
    pack(notes, room, 2).iter().map(|line| format!("note   {}", fit(line, room))).collect()
}

/// What the workload counted, as far as it fits into two lines.
fn figures(run: &Run) -> Vec<String> {
    let known = run.figures.iter().filter_map(|(name, figure)| Some((name, figure.value?)));
    let told = known.filter(|(_, value)| *value != 0.0);
    let told: Vec<String> = told.map(|(name, value)| format!("{name} {}", count(value))).collect();
    let room = WIDTH - "figures ".len();
    let heads = ["figures", ""];
    let lines = heads.iter().zip(pack(&told, room, heads.len()));
    lines.map(|(head, line)| format!("{head:<8}{}", fit(&line, room))).collect()
}

/// Texts in so many lines of `room` columns, and how many more there are.
fn pack(texts: &[String], room: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (index, note) in texts.iter().enumerate() {
        let full = lines.len() == most;
        match lines.last_mut() {
            Some(line) if line.chars().count() + 2 + note.chars().count() <= room => {
                *line = format!("{line}; {note}");
            }
            Some(line) if full => {
                let more = format!("; {} more in the record", texts.len() - index);
                *line = fit(line, room - more.len()) + &more;
                break;
            }
            Some(_) | None => lines.push(note.clone()),
        }
    }
    lines
}

fn short(seconds: f64) -> String {
    let whole = seconds.round();
    if (seconds - whole).abs() < 0.05 { format!("{whole:.0}") } else { format!("{seconds:.1}") }
}

/// The host in one line: kernel, CPUs, nodes, memory, governor.
#[must_use]
pub fn host_line(host: &Host) -> String {
    let sockets = host.sockets.filter(|n| *n > 1).map_or(String::new(), |n| format!("{n} x "));
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
    let counting = run.findings_by_weight();
    let seen = run.seen_by_kind();
    if counting.is_empty() && seen.is_empty() {
        return Vec::new();
    }
    let room = room - usize::from(!seen.is_empty());
    let total = counting.len();
    let shown = if total < room { total } else { room.saturating_sub(2).max(1) };
    let mut lines: Vec<String> = counting
        .into_iter()
        .take(shown)
        .map(|f| format!("FOUND  {}  t={:.6}s  {}", f.number, f.time_s, f.title))
        .collect();
    if shown < total {
        lines.push(format!("       and {} more in the record", total - shown));
    }
    if !seen.is_empty() {
        let kinds: Vec<String> = seen.iter().map(|(kind, n)| format!("{kind} ({n})")).collect();
        lines.push(format!("seen   {}: told in the record, no findings", kinds.join(", ")));
    }
    lines.push(String::new());
    lines
}

fn operations(run: &Run, room: usize, percentiles: &[f64]) -> Vec<String> {
    let row = |name: &str, cells: Vec<String>| {
        let mut line = format!("{name:<17}{:>7}{:>11}", cells[0], cells[1]);
        cells[2..].iter().for_each(|cell| line.push_str(&format!("{cell:>9}")));
        line
    };
    let mut titles = vec!["count".to_owned(), "rate/s".to_owned()];
    titles.extend(percentiles.iter().map(|p| format!("p{p}")));
    titles.push("max".to_owned());
    let mut lines = vec![row("operation", titles)];
    let done: Vec<&Op> = run.ops.values().filter(|op| op.count > 0).collect();
    let rows = room.saturating_sub(1);
    let shown = if done.len() <= rows { done.len() } else { rows.saturating_sub(1) };
    for op in &done[..shown] {
        lines.push(row(&fit(&op.label, 17), cells(op, percentiles)));
    }
    if shown < done.len() {
        lines.push(format!("and {} more operations in the record", done.len() - shown));
    }
    if done.is_empty() {
        lines.push("nothing was done in the measured time".to_owned());
    }
    lines
}

fn cells(op: &Op, percentiles: &[f64]) -> Vec<String> {
    let samples = op.latency_ns.map_or(0, |l| l.count);
    let mut cells = vec![count(op.count as f64), count(op.rate_per_s)];
    for percentile in percentiles {
        let quantile = percentile / 100.0;
        let value = enough_samples(quantile, samples).then(|| value(op, *percentile)).flatten();
        cells.push(value.map_or("-".to_owned(), |v| ns(v as f64)));
    }
    cells.push(op.latency_ns.map_or("-".to_owned(), |l| ns(l.max as f64)));
    cells
}

/// A percentile, read from the record or, if it isn't there, from the histogram.
fn value(op: &Op, percentile: f64) -> Option<u64> {
    let latency = op.latency_ns?;
    let known = [
        (50.0, latency.p50),
        (90.0, latency.p90),
        (99.0, latency.p99),
        (99.9, latency.p999),
        (99.99, latency.p9999),
    ];
    if let Some((_, value)) = known.iter().find(|(p, _)| *p == percentile) {
        return Some(*value);
    }
    let histogram = Histogram::decode(op.hdr.as_ref()?, "hdr").ok()?;
    Some(histogram.quantile(percentile / 100.0))
}

/// Why a run ended before its time: a signal, or a finding (a lockup, or --stop-on-finding).
fn cut_short(run: &Run) -> String {
    let whole = run.whole_rounds().count();
    let planned = run.planned_rounds;
    if run.ended_by == Some(EndedBy::Finding) || (run.ended_by.is_none() && run.exit == 1) {
        let since_start = run.phases.warmup_s + run.phases.measured_s;
        return format!("ENDED by a finding, {since_start:.2} s after the load began");
    }
    format!("INTERRUPTED after {whole} of {planned} rounds ({:.1} s)", run.phases.measured_s)
}

/// Kills and the oracle's verdict on them.
pub(crate) fn kills(run: &Run) -> String {
    let premature = &run.oom.premature;
    let kills = run.oom.kills;
    // All kills of one request are one episode, and judged once.
    let episodes = run.oom.episodes;
    let justified = episodes.saturating_sub(premature.definite + premature.transient);
    let chains = match episodes {
        1 if kills > 1 => " in 1 episode".to_owned(),
        n if n < kills => format!(" in {} episodes", thousands(n)),
        _ => String::new(),
    };
    let s = if kills == 1 { "" } else { "s" };
    let mut parts = vec![
        format!("{} kill{s}{chains}: {} justified", thousands(kills), thousands(justified)),
        format!("{} premature", thousands(premature.definite)),
    ];
    let more = [
        (premature.transient, "transient"),
        (run.oom.premature_failures, "premature failures"),
        (run.oom.extra_victims, "extra victims"),
        (run.oom.late_kills, "late"),
        (run.oom.unreapable, "out of the reaper's reach"),
    ];
    let told = more.iter().filter(|(n, word)| *n > 0 || *word == "extra victims");
    parts.extend(told.map(|(n, word)| format!("{} {word}", thousands(*n))));
    parts.join(", ")
}

/// What no premature OOM in so many tries is worth.
#[must_use]
pub fn worth(run: &Run) -> String {
    if let Some(text) = worth_of_offlines(run) {
        return text;
    }
    let entries = run.slow_path.entries;
    match (entries, stats::bound_of_none(entries)) {
        (0, _) | (_, None) => {
            "no allocation took the slow path: this run says nothing about OOM".to_owned()
        }
        (1, _) => "1 allocation took the slow path: too few to say anything about OOM".to_owned(),
        (2..10, _) => {
            format!("{entries} allocations took the slow path: too few to say anything about OOM")
        }
        (_, Some(bound)) => format!(
            "0 premature in {} slow-path allocations: under {} (95%)",
            count(entries as f64),
            rate(bound)
        ),
    }
}

/// The same of a run whose subject is memory offline.
fn worth_of_offlines(run: &Run) -> Option<String> {
    let offlines = run.figures.get("offlines_done").and_then(|f| f.value)? as u64;
    let bound = stats::bound_of_none(offlines)?;
    let (done, rate) = (count(offlines as f64), rate(bound));
    Some(format!("0 findings in {done} offlines: under {rate} (95%)"))
}

fn verdicts(run: &Run) -> Vec<String> {
    let told = format::wrap(&kills(run), "", WIDTH - 8);
    let heads = ["oom"].into_iter().chain(std::iter::repeat(""));
    let mut lines: Vec<String> =
        heads.zip(told.lines()).map(|(head, line)| format!("{head:<8}{line}")).collect();
    lines.push(pages(run));
    lines.extend(figures(run));
    lines.extend(windows(run));
    if let Some(time) = find_time::of(run).filter(|t| t.found > 0) {
        lines.push(format!("find    {}", time.text()));
    }
    if run.oom.premature.definite == 0 && run.findings.iter().all(|f| !f.counts) {
        lines.push(format!("clean   {}", worth(run)));
    }
    lines
}

/// How wide the race windows were and how often somebody stepped in, in one line.
fn windows(run: &Run) -> Option<String> {
    let tell = |(name, window): (&String, &crate::schema::Window)| {
        let label = name.split('_').next().unwrap_or(name);
        let long = window.p50_ns.map_or(String::new(), |p50| format!("{} ", ns(p50 as f64)));
        format!("{label} {long}{} of {}", count(window.entered as f64), count(window.passes as f64))
    };
    let told: Vec<String> = run.windows.iter().map(tell).collect();
    (!told.is_empty()).then(|| format!("windows {}  (entered of opened)", told.join("; ")))
}

fn pages(run: &Run) -> String {
    let zones = run.machine.zones.iter();
    let managed = zones.fold(0_u64, |sum, zone| sum.saturating_add(zone.managed));
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
    fn other_percentiles_come_from_the_histogram() {
        let run = Sample::default().run();
        let text = summary_with(&run, None, &[10.0, 50.0, 75.0]);
        let title = text.lines().find(|l| l.starts_with("operation")).unwrap();
        assert!(title.ends_with("      p10      p50      p75      max"), "{title}");
        let row = text.lines().find(|l| l.starts_with("page fault")).unwrap();
        assert!(!row.contains('-') && row.contains("343ns"), "{row}");
    }

    #[test]
    fn a_long_seed_is_never_cut() {
        let run = Run { seed: u64::MAX, ..Sample::default().run() };
        assert!(summary(&run, None).contains("\nseed   0xffffffffffffffff\n"));
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
    fn a_run_that_a_finding_ended_says_when() {
        let mut run = Sample { premature_rounds: 1, ..Sample::default() }.run();
        (run.interrupted, run.exit) = (true, 1);
        (run.phases.warmup_s, run.phases.measured_s) = (1.0, 0.25);
        let text = summary(&run, None);
        assert!(text.starts_with("ENDED by a finding, 1.25 s after the load began\n"), "{text}");
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
