//! `--dry-run`: the plan, the thread map and the memory needed, and nothing is run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use results::format;
use results::histogram::Config;

use crate::cli::workload_args;
use crate::machine::metadata::BYTES_PER_FRAME;
use crate::plan::{Length, Plan};

/// Turns shown at most.
const TURNS: usize = 24;

/// The plan as text.
pub fn text(plan: &Plan) -> String {
    let info = plan.workload.info();
    let mut text = format!("{:<10}{}: {}\n", "workload", info.name, info.about);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<10}{value}");
    };
    let options: Vec<String> = plan
        .options
        .iter()
        .map(|(name, value)| format!("--{name} {}", workload_args::show(value)))
        .collect();
    if !options.is_empty() {
        line("options", options.join(" "));
    }
    for variant in &plan.variants {
        let words: Vec<String> =
            variant.policy.words().iter().map(|(axis, word)| format!("{axis}={word}")).collect();
        line("variant", format!("{}: {}", variant.name, words.join(" ")));
    }
    line("rounds", rounds(plan));
    line("phases", phases(plan));
    line("machine", machine(plan));
    line("threads", threads(plan));
    line("memory", memory(plan));
    line("seed", format!("{:#x}", plan.seed));
    for note in &plan.notes {
        line("note", note.clone());
    }
    text
}

fn rounds(plan: &Plan) -> String {
    let turns = plan.turns();
    let letter = |variant: usize| {
        char::from_u32('A' as u32 + variant as u32).filter(char::is_ascii_uppercase).unwrap_or('?')
    };
    let order: String = turns.iter().take(TURNS).map(|t| letter(t.variant)).collect();
    let more = if turns.len() > TURNS { " ..." } else { "" };
    match plan.variants.len() {
        1 => plan.rounds.to_string(),
        _ => format!("{} of each variant, in the order {order}{more}", plan.rounds),
    }
}

fn phases(plan: &Plan) -> String {
    let warmup = plan.warmup.as_secs_f64();
    let measured = match plan.length {
        Length::Time(length) => format!("{} s measured", length.as_secs_f64()),
        Length::Ops(ops) => format!(
            "until {} x {} are done",
            format::thousands(ops),
            plan.workload.info().ops.first().unwrap_or(&"operation")
        ),
        Length::Whole => "until all tasks are done".to_owned(),
    };
    let total = plan.total().map_or(String::new(), |t| format!("; {} s in all", t.as_secs_f64()));
    format!("{warmup} s warm-up, {measured}{total}")
}

fn machine(plan: &Plan) -> String {
    let pages = plan.machine.managed_pages();
    format!(
        "{}: {} CPUs, {} nodes, {} ({} pages)",
        crate::plan::source_name(&plan.machine_spec.source),
        plan.machine.cpus.len(),
        plan.machine.nodes.len(),
        format::bytes(pages * 4096),
        format::thousands(pages)
    )
}

/// Tasks by model CPU round robin, and the host CPUs that these are placed on.
fn threads(plan: &Plan) -> String {
    let mut on: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    let cpus = plan.machine.cpus.len() as u32;
    for (i, cpu) in (0..).zip(&plan.machine.cpus) {
        let tasks = plan.threads / cpus + u32::from(i < plan.threads % cpus);
        let entry = on.entry(cpu.host_cpu.unwrap_or(u32::MAX)).or_default();
        entry.0 += 1;
        entry.1 += tasks;
    }
    let map: Vec<String> = on
        .iter()
        .take(8)
        .map(|(host, (models, tasks))| match models {
            1 => format!("host CPU {host}: {tasks}"),
            _ => format!("host CPU {host} ({models} model CPUs): {tasks}"),
        })
        .collect();
    let more = if on.len() > 8 { format!(" and {} more", on.len() - 8) } else { String::new() };
    format!("{} tasks; {}{more}", plan.threads, map.join(", "))
}

fn memory(plan: &Plan) -> String {
    let frames = plan.machine.managed_pages() * BYTES_PER_FRAME;
    let ops = plan.workload.info().ops.len() as u64 + 2;
    let histograms = u64::from(plan.threads) * ops * Config::default().bytes() as u64;
    format!(
        "{} of frame metadata, up to {} of histograms",
        format::bytes(frames),
        format::bytes(histograms)
    )
}
