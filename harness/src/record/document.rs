//! What was run becomes the record.
//!
//! **What.** [`runs`] makes one [`Run`] for each variant of a plan out of the rounds so far: a pure
//! function, so that it can be made after each round and tested without running anything.
//!
//! **Differs.** Figures are of whole rounds. If there is none, because the only one was cut short,
//! they are of that one, and the record says that it was.

use std::time::SystemTime;

use allocator::oracle::FindingKind;
use allocator::policy::AxisName;
use indexmap::IndexMap;
use results::schema::{
    EndedBy, Fidelity, FidelityRow, Figure, Finding, FindingRef, Host, Invariants, Machine,
    MachineNode, Oom, Phases, Premature, Round, Run, SlowPath, Tool, VERSION, Variant, Violation,
};

use super::clock::Cost;
use super::findings::{self, Setting};
use super::recorder::Recorded;
use super::stock::{self, Stock};
use crate::cli::exit::Exit;
use crate::cli::workload_args;
use crate::machine::lists::IdList;
use crate::plan::{self, Plan};
use crate::run::phases::{End, RoundLeft};
use crate::run::rounds::Session;
use crate::run::threads::Stats;

/// Operations that count as updates, for "per 1,000 updates": the first that the workload has.
const UPDATES: &[&str] = &["mems_write", "mems_update", "rebuild", "offline"];

/// What the record says besides what was run.
#[derive(Clone, Debug)]
pub struct Heading {
    /// Name of the session; the first variant's record has it too.
    pub session: String,
    /// When it began.
    pub started: SystemTime,
    /// The whole command line.
    pub command_line: Vec<String>,
    /// The machine that ran it.
    pub host: Host,
    /// What taking latencies costs.
    pub clock: Cost,
    /// Leave with 0 in spite of findings?
    pub allow_findings: bool,
}

/// One record for each variant.
pub fn runs(plan: &Plan, session: &Session, heading: &Heading) -> Vec<Run> {
    (0..plan.variants.len()).map(|v| run(plan, session, heading, v)).collect()
}

fn run(plan: &Plan, session: &Session, heading: &Heading, variant: usize) -> Run {
    let rounds: Vec<&RoundLeft> =
        session.rounds.iter().filter(|r| r.turn.variant == variant).collect();
    let whole: Vec<&RoundLeft> = rounds.iter().copied().filter(|r| r.end.is_complete()).collect();
    let figures_of = if whole.is_empty() { &rounds } else { &whole };
    let sum = |of: fn(&RoundLeft) -> f64| figures_of.iter().map(|r| of(r)).sum::<f64>();
    let phases = Phases { warmup_s: sum(|r| r.warmup_s), measured_s: sum(|r| r.measured_s) };
    let mut recorded = Recorded::new(plan.workload.info());
    figures_of.iter().for_each(|r| recorded.merge(&r.recorded));
    let ops = recorded.document(phases.measured_s, Some(sum(|r| r.usage.cpu_s)), true);
    let stats = figures_of.iter().fold(Stats::default(), |all, r| all.plus(r.stats));
    let found = found(plan, &rounds, heading, variant);
    let counted = counted(plan, &rounds);
    let mut notes = notes(plan, &rounds);
    let measured = whole.is_empty() || ops.values().any(|op| op.count > 0);
    if !measured {
        notes.push(
            "nothing was measured: no operation ended in any round: use a longer --duration"
                .to_owned(),
        );
    }
    let name = &plan.variants[variant].name;
    let mut host = heading.host.clone();
    host.involuntary_switches = Some(rounds.iter().map(|r| r.usage.involuntary_switches).sum());
    Run {
        schema: VERSION,
        run_id: run_id(plan, heading, variant),
        session: heading.session.clone(),
        tool: tool(),
        command_line: heading.command_line.clone(),
        started: results::time::rfc3339(heading.started),
        host,
        machine: machine(plan, rounds.last().map(|r| &r.stock)),
        workload: plan.workload.info().name.to_owned(),
        options: plan
            .options
            .iter()
            .map(|(name, value)| (name.to_owned(), workload_args::show(value)))
            .collect(),
        variant: Variant {
            name: name.clone(),
            release: plan.variants[variant].policy.release.word().to_owned(),
            axes: plan.variants[variant]
                .policy
                .words()
                .into_iter()
                .map(|(axis, word)| (axis.word().to_owned(), word.to_owned()))
                .collect(),
        },
        threads: plan.threads,
        seed: plan.seed,
        phases,
        clock: heading.clock.document(plan.config.time_scale),
        slow_path: slow_path(&stats, &ops),
        ops,
        oom: oom(&rounds, &found),
        reserves: rounds
            .iter()
            .map(|r| r.stock.reserves.clone())
            .reduce(|a, b| stock::merge_reserves(&a, &b))
            .unwrap_or_default(),
        vmstat: rounds.last().map(|r| r.stock.vmstat.clone()).unwrap_or_default(),
        figures: figures(plan, figures_of, &stats),
        windows: recorded.windows.document(&plan.config.amplify),
        fidelity: whole.iter().rev().find_map(|r| r.fidelity.as_ref()).map(fidelity),
        invariants: invariants(&rounds, &found),
        rounds: rounds.iter().map(|r| round(plan, r, &found)).collect(),
        findings: found.into_iter().map(|(_, f)| f).collect(),
        planned_rounds: plan.rounds,
        primary: plan.workload.info().primary.iter().map(|&name| name.to_owned()).collect(),
        interrupted: session.is_cut,
        ended_by: ended_by(session),
        notes,
        exit: i32::from(
            exit(session.signal, counted > 0 && !heading.allow_findings, measured).code(),
        ),
        merged_from: Vec::new(),
    }
}

/// What cut the session short.
fn ended_by(session: &Session) -> Option<EndedBy> {
    session.is_cut.then(|| {
        let last = session.rounds.last();
        if session.signal.is_some() {
            EndedBy::Signal
        } else if last.is_some_and(|round| round.end == End::Finding) {
            EndedBy::Finding
        } else {
            EndedBy::Wedged
        }
    })
}

fn fidelity(of: &workloads::Fidelity) -> Fidelity {
    let row = |row: &workloads::FidelityRow| FidelityRow {
        figure: row.figure.clone(),
        kernel: row.kernel,
        model: row.model,
        tolerance: row.tolerance,
        defined: Some(row.defined.to_owned()),
        reason: row.reason.clone(),
    };
    Fidelity { source: of.source.clone(), rows: of.rows.iter().map(row).collect() }
}

/// The exit code without a comparison's gates.
pub fn exit(signal: Option<Exit>, has_findings: bool, measured: bool) -> Exit {
    match signal {
        Some(signal) => signal,
        None if has_findings => Exit::Findings,
        None if !measured => Exit::NotJudged,
        None => Exit::Ok,
    }
}

/// The plan's notes, then what the workload says about its rounds, each once.
fn notes(plan: &Plan, rounds: &[&RoundLeft]) -> Vec<String> {
    let mut notes = plan.notes.clone();
    for remark in rounds.iter().flat_map(|r| &r.remarks) {
        if !notes.contains(remark) {
            notes.push(remark.clone());
        }
    }
    notes
}

fn run_id(plan: &Plan, heading: &Heading, variant: usize) -> String {
    if plan.variants.len() == 1 {
        heading.session.clone()
    } else {
        format!("{}-{}", heading.session, variant + 1)
    }
}

/// What this binary is.
pub fn tool() -> Tool {
    Tool {
        name: "stress".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        git: option_env!("STRESS_GIT").filter(|g| !g.is_empty()).map(str::to_owned),
        compiler: option_env!("STRESS_RUSTC").filter(|v| !v.is_empty()).map(str::to_owned),
        profile: option_env!("STRESS_PROFILE").filter(|p| !p.is_empty()).map(str::to_owned),
    }
}

/// The modelled machine.
pub fn machine(plan: &Plan, stock: Option<&Stock>) -> Machine {
    let machine = &plan.machine;
    let nodes = machine.nodes.iter().map(|node| {
        let cpus: IdList =
            (0..).zip(&machine.cpus).filter(|(_, c)| c.node == node.id).map(|(i, _)| i).collect();
        MachineNode {
            id: u32::from(node.id.0),
            cpus: cpus.to_string(),
            managed_pages: node.zones.iter().map(|z| z.managed_pages).sum(),
            distances: node.distances.iter().map(|d| u32::from(*d)).collect(),
        }
    });
    Machine {
        source: source(plan),
        cpus: machine.cpus.len() as u32,
        nodes: nodes.collect(),
        zones: stock.map(|s| s.zones.clone()).unwrap_or_default(),
    }
}

fn source(plan: &Plan) -> String {
    let spec = &plan.machine_spec;
    let mut text = plan::source_name(&spec.source);
    if let Some(bytes) = spec.memory_bytes {
        text += &format!(" --memory {}M", bytes >> 20);
    }
    if let Some(nodes) = spec.fake_numa {
        text += &format!(" --fake-numa {nodes}");
    }
    match spec.movable {
        Some(crate::machine::movable::Share::Bytes(b)) => {
            text += &format!(" --movable {}M", b >> 20)
        }
        Some(crate::machine::movable::Share::LastBlock) => text += " with a Movable block",
        Some(crate::machine::movable::Share::Percent(p)) => text += &format!(" --movable {p}%"),
        None => {}
    }
    text
}

/// The findings that were kept, each with the index of its round among the variant's.
fn found(
    plan: &Plan,
    rounds: &[&RoundLeft],
    heading: &Heading,
    variant: usize,
) -> Vec<(FindingKind, Finding)> {
    let replay = results::text::command(&again(plan, heading, variant));
    let all = (0..).zip(rounds).flat_map(|(i, r)| r.findings.iter().map(move |f| (i, f)));
    all.zip(1..)
        .map(|((round, (time_s, finding)), number)| {
            let setting = Setting {
                number,
                round,
                time_s: *time_s,
                strict: plan.strict,
                variant: &plan.variants[variant].spec,
                seed: plan.seed,
                replay: &replay,
            };
            (finding.kind, findings::document(finding, &setting))
        })
        .collect()
}

/// The command line that runs one variant again with the same seed.
fn again(plan: &Plan, heading: &Heading, variant: usize) -> Vec<String> {
    let mut words = vec!["stress".to_owned()];
    let mut skip_value = false;
    for word in heading.command_line.iter().skip(1) {
        if std::mem::take(&mut skip_value) {
            continue;
        }
        let flag = word.split('=').next().unwrap_or(word);
        if ["--seed", "--variant", "-o", "--output", "--json", "--format"].contains(&flag) {
            skip_value = !word.contains('=');
            continue;
        }
        words.push(word.clone());
    }
    words.push("--variant".to_owned());
    words.push(plan.variants[variant].spec.clone());
    words.push("--seed".to_owned());
    words.push(format!("{:#x}", plan.seed));
    words
}

/// Findings that count, kept or not.
fn counted(plan: &Plan, rounds: &[&RoundLeft]) -> u64 {
    let is_real_time = plan.config.time_scale == 1.0;
    rounds
        .iter()
        .flat_map(|r| &r.stock.counts)
        .filter(|(kind, _)| findings::counts(*kind, plan.strict, is_real_time))
        .map(|(_, n)| n)
        .sum()
}

fn slow_path(stats: &Stats, ops: &IndexMap<String, results::schema::Op>) -> SlowPath {
    let updates = UPDATES.iter().find_map(|name| ops.get(*name)).map_or(0, |op| op.count);
    SlowPath {
        entries: stats.slow_entries,
        retries: stats.slow_retries,
        per_1000_updates: (updates > 0).then(|| stats.slow_entries as f64 * 1e3 / updates as f64),
    }
}

/// The OOM killer over some rounds, with the findings about it.
fn oom(rounds: &[&RoundLeft], found: &[(FindingKind, Finding)]) -> Oom {
    let sum = |kind: FindingKind| rounds.iter().map(|r| r.stock.nr(kind)).sum::<u64>();
    Oom {
        kills: rounds.iter().map(|r| r.stock.kills).sum(),
        episodes: rounds.iter().map(|r| r.stock.episodes).sum(),
        premature: Premature {
            definite: sum(FindingKind::PrematureOom),
            transient: sum(FindingKind::TransientOom),
        },
        premature_failures: sum(FindingKind::PrematureFailure),
        extra_victims: sum(FindingKind::ExtraVictim),
        late_kills: sum(FindingKind::LateKill),
        unreapable: sum(FindingKind::Unreapable),
        left_by_reaper: sum(FindingKind::LeftByReaper),
        drift: sum(FindingKind::Drift),
        findings: briefs(found),
    }
}

fn briefs(found: &[(FindingKind, Finding)]) -> Vec<FindingRef> {
    found.iter().filter(|(kind, _)| findings::is_about_oom(*kind)).map(|(_, f)| f.brief()).collect()
}

fn figures(plan: &Plan, rounds: &[&RoundLeft], stats: &Stats) -> IndexMap<String, Figure> {
    let figure = |value: f64, unit: &str, better: Option<&str>| Figure {
        value: Some(value),
        unit: unit.to_owned(),
        better: better.map(str::to_owned),
    };
    let mut all = IndexMap::new();
    for round in rounds {
        for (name, value, unit) in &round.figures {
            let sum: &mut Figure =
                all.entry((*name).to_owned()).or_insert_with(|| figure(0.0, unit, None));
            sum.value = sum.value.map(|v| v + value);
        }
    }
    if plan.workload.info().axes.contains(&AxisName::Reserves.word()) {
        for (name, value, unit, better) in reserve_figures(rounds) {
            all.insert(name, figure(value, unit, Some(better)));
        }
        let passes = stats.bare_victim_passes as f64;
        all.insert("bare_victim_passes".to_owned(), figure(passes, "passes", Some("lower")));
    }
    let mut freed: Vec<u64> =
        rounds.iter().flat_map(|r| r.stock.kill_to_free_ns.iter().copied()).collect();
    if plan.workload.info().ops.contains(&"kill_to_free") {
        // It has a histogram of its own.
        freed.clear();
    }
    freed.sort_unstable();
    if let (Some(median), Some(max)) = (freed.get(freed.len() / 2), freed.last()) {
        all.insert("kill_to_free_p50".to_owned(), figure(*median as f64, "ns", Some("lower")));
        all.insert("kill_to_free_max".to_owned(), figure(*max as f64, "ns", Some("lower")));
    }
    for (name, count) in [
        ("restarts", stats.restarts),
        ("failures", stats.failures),
        ("zone_lock_waits", stats.zone_lock_waits),
        ("pcp_section_waits", stats.pcp_section_waits),
        ("seq_spins", stats.seq_spins),
        ("irqs", stats.irqs),
    ] {
        all.entry(name.to_owned()).or_insert_with(|| figure(count as f64, "", Some("lower")));
    }
    all
}

/// How deep each class of requester went in each zone, in percent of the zone's min (the lowest of all
/// rounds), and how often it failed.
fn reserve_figures(rounds: &[&RoundLeft]) -> Vec<(String, f64, &'static str, &'static str)> {
    let mut figures = Vec::new();
    let all = rounds.iter().map(|r| r.stock.reserves.clone());
    let Some(reserves) = all.reduce(|a, b| stock::merge_reserves(&a, &b)) else { return figures };
    for (class, of) in &reserves.by_class {
        // Who was never served below min left it whole.
        let lowest = of.lowest_share_of_min.unwrap_or(1.0) * 100.0;
        figures.push((format!("lowest.{class}"), lowest, "% of min", "higher"));
        for low in &of.zones {
            if let Some(share) = low.lowest_share_of_min {
                let name = format!("lowest.{class}.{}{}", low.zone, low.node);
                figures.push((name, share * 100.0, "% of min", "higher"));
            }
        }
        figures.push((format!("failed.{class}"), of.failed as f64, "requests", "lower"));
    }
    figures
}

fn invariants(rounds: &[&RoundLeft], found: &[(FindingKind, Finding)]) -> Invariants {
    let number = found
        .iter()
        .find(|(kind, _)| *kind == FindingKind::Conservation)
        .map(|(_, finding)| finding.number);
    let violated = rounds.iter().flat_map(|r| &r.census.violations).map(|detail| Violation {
        name: "conservation".to_owned(),
        detail: detail.clone(),
        finding: number,
    });
    Invariants {
        checked: rounds.iter().map(|r| r.census.frames).sum(),
        violated: violated.take(20).collect(),
    }
}

fn round(plan: &Plan, left: &RoundLeft, found: &[(FindingKind, Finding)]) -> Round {
    let of_round: Vec<(FindingKind, Finding)> =
        found.iter().filter(|(_, f)| f.round == Some(left.turn.round)).cloned().collect();
    let ops = left.recorded.document(left.measured_s, Some(left.usage.cpu_s), false);
    Round {
        order: left.order,
        start_s: left.start_s,
        measured_s: left.measured_s,
        cpu_s: Some(left.usage.cpu_s),
        complete: left.end.is_complete(),
        slow_path: slow_path(&left.stats, &ops),
        ops,
        oom: oom(&[left], &of_round),
        figures: figures(plan, &[left], &left.stats),
        first_finding_s: left.first_finding_s,
    }
}

/// Why a run ended before its time, for the user; `None` if it didn't.
pub fn why_cut(session: &Session) -> Option<&'static str> {
    let last = session.rounds.last()?;
    match last.end {
        End::Signal(_) => Some("a signal"),
        End::Finding => Some("--stop-on-finding"),
        End::Panic | End::Lockup if session.is_cut => Some("threads that never ended"),
        End::Planned | End::AllDone | End::Panic | End::Lockup => None,
    }
}
