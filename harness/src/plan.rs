//! What will be done, as data: variants, rounds and their order, phases, seed, machine.
//!
//! **What.** [`Plan::new`] turns what was typed into what will happen and refuses what can't,
//! before anything starts. `--dry-run` prints it.
//!
//! **Why.** Rounds of several variants are interleaved A B B A, so that what the host does
//! meanwhile, and its drift, hit all variants alike.

use std::path::Path;
use std::time::Duration;

use allocator::machine::Machine;
use allocator::policy::Policy;
use allocator::race::Point;
use allocator::run::kernel::KernelConfig;
use workloads::replay::Replay;
use workloads::{Info, Movable, Options, Workload, WorkloadError};

use crate::cli::amplify;
use crate::cli::args::{ModelArgs, RunArgs};
use crate::cli::exit::Stop;
use crate::cli::slow_down::{self, SlowDown};
use crate::cli::values::Threads;
use crate::cli::workload_args;
use crate::machine::movable::Share;
use crate::machine::{self, MachineSpec, Notes, Source, affinity, metadata};
use crate::recording;

use crate::run::phases::Patience;
use crate::run::watchdog::Limits;

/// Warm-up of a round unless `--warmup` says otherwise.
const WARMUP: Duration = Duration::from_secs(1);

/// How long the measured phase of a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So long.
    Time(Duration),
    /// Until so many of the workload's first operation are done.
    Ops(u64),
    /// Until all tasks have nothing more to do.
    Whole,
}

/// A policy to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// As the user wrote it; with `(A)` or `(B)` behind it where it stands twice.
    pub name: String,
    /// As the user wrote it.
    pub spec: String,
    /// What it means.
    pub policy: Policy,
}

/// One round of one variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Index of the variant.
    pub variant: usize,
    /// Round of that variant, from 0.
    pub round: u32,
}

/// What will be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the tasks do.
    pub workload: &'static dyn Workload,
    /// The workload's own options, defaults included.
    pub options: Options,
    /// Policies; the first is the base.
    pub variants: Vec<Variant>,
    /// Rounds of each variant.
    pub rounds: u32,
    /// Measured phase of each round.
    pub length: Length,
    /// Warm-up of each round.
    pub warmup: Duration,
    /// Task threads.
    pub threads: u32,
    /// Seed of all choices.
    pub seed: u64,
    /// The machine, with each CPU placed on a host CPU.
    pub machine: Machine,
    /// What the machine is made from.
    pub machine_spec: MachineSpec,
    /// The kernel around the allocator; its seed is each round's own.
    pub config: KernelConfig,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
    /// Do transient verdicts count?
    pub strict: bool,
    /// End at the first finding?
    pub stop_on_finding: bool,
    /// Interrupts per second on each CPU.
    pub irq_rate: Option<u64>,
    /// Interval of the interval log, if one is wanted.
    pub interval: Option<Duration>,
    /// Are all threads' events wanted?
    pub wants_timeline: bool,
    /// Limits of the watchdog instead of its own.
    pub lockup: Option<Limits>,
    /// How long threads may take to end.
    pub patience: Patience,
    /// What is slowed down on purpose.
    pub slow_down: Vec<SlowDown>,
    /// Are lock times wanted?
    pub locks: bool,
}

impl From<WorkloadError> for Stop {
    fn from(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Usage(what) => Self::usage(what),
            WorkloadError::CantRun(what) => Self::cannot_run(what),
        }
    }
}

impl Plan {
    /// The plan for one workload.
    ///
    /// # Errors
    /// Bad input, or a machine that can't run it.
    pub fn new(workload: &'static dyn Workload, args: &RunArgs) -> Result<Self, Stop> {
        let info = workload.info();
        let options = workload_args::options(info, &args.workload_options)?;
        let variants = variants(&args.variant)?;
        let comparing = variants.len() > 1;
        let (rounds, duration) = defaults(info.name, comparing);
        let replayed = replayed(workload, args, &options)?;
        let replays = replayed.is_some();
        let length = match (args.ops, args.duration) {
            (Some(ops), _) => Length::Ops(ops),
            (None, None) if replays => Length::Whole,
            (None, given) => Length::Time(given.unwrap_or(duration)),
        };
        slow_down::check(&args.verdict.slow_down, variants.len(), info.ops).map_err(Stop::usage)?;
        let mut notes: Vec<String> = Vec::new();
        if args.model.locks {
            notes.push(
                "--locks: fast paths run in their copy with race points, and every lock looks at the \
                 clock: compare latencies with runs that have it, too"
                    .to_owned(),
            );
        }
        notes.extend(args.verdict.slow_down.iter().map(|s| format!("--slow-down {s}, on purpose")));
        let (workload, machine, machine_spec) = match replayed {
            Some(Replayed { workload, machine, spec, notes: own }) => {
                notes.extend(own.0);
                (workload, machine, spec)
            }
            None => {
                let nodes = workload.nodes(&options);
                let spec = fitted(args.machine.spec(), info, nodes, &mut notes)?;
                let (machine, machine_notes) = machine::load(&spec)?;
                notes.extend(machine_notes.0);
                (workload, machine, spec)
            }
        };
        metadata::check_room(&machine)?;
        let threads = match (&args.threads, workload.fixed_threads(&machine, &options)) {
            (Some(Threads::List(list)), _) => {
                return Err(Stop::usage(format!("{list:?} threads: a plan has one number")));
            }
            (Some(Threads::Count(n)), Some(fixed)) if *n != fixed => {
                return Err(Stop::usage(format!(
                    "--threads {n}: {} runs with {fixed} here: leave it out",
                    info.name
                )));
            }
            (_, Some(fixed)) => fixed,
            (Some(Threads::Count(n)), None) => *n,
            (Some(Threads::All) | None, None) => {
                let cpus = allowed_cpus(&machine_spec)?;
                let fits = |threads: u32| {
                    let mut policies = variants.iter().map(|v| &v.policy);
                    policies.all(|p| workload.check(&machine, p, &options, threads).is_ok())
                };
                // A workload of two roles runs on one CPU too (taskset -c 1): the two take turns.
                if cpus < 2 && !fits(cpus) && fits(2) { 2 } else { cpus }
            }
        };
        for variant in &variants {
            workload.check(&machine, &variant.policy, &options, threads)?;
        }
        let mut config = config(&args.model)?;
        workload.configure(&mut config, &options);
        // All variants of a comparison run the same copy of the fast paths.
        config.instrumented |= !config.amplify.is_empty() || args.model.locks;
        config.instrumented |= variants.iter().any(|v| config.counts_inside(&v.policy));
        Ok(Self {
            workload,
            options,
            rounds: args.rounds.unwrap_or(rounds),
            length,
            warmup: args.warmup.unwrap_or(if replays { Duration::ZERO } else { WARMUP }),
            threads,
            seed: args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
            config,
            variants,
            machine,
            machine_spec,
            notes,
            strict: args.verdict.strict,
            stop_on_finding: args.verdict.stop_on_finding,
            irq_rate: args.model.irq_rate.or(workload.irq_rate()),
            interval: args.output.hlog.is_some().then_some(args.output.interval),
            wants_timeline: args.output.timeline.is_some(),
            lockup: None,
            patience: Patience::default(),
            slow_down: args.verdict.slow_down.clone(),
            locks: args.model.locks,
        })
    }

    /// Why this comparison can't tell anything, and the rounds that would; none if it can. `gates` are
    /// asked for.
    pub fn too_few_rounds(&self, gates: usize) -> Option<String> {
        if self.variants.len() < 2 {
            return None;
        }
        let figures = if gates > 0 { 1 } else { self.workload.info().primary.len().max(1) };
        let needed = results::compare::rounds_for(figures);
        let cant = match gates {
            0 => format!("make one of {figures} figures significant"),
            _ => "judge a gate".to_owned(),
        };
        (self.rounds < needed)
            .then(|| format!("{} rounds can't {cant}: use --rounds {needed} or more", self.rounds))
    }

    /// All turns in the order in which they are run.
    pub fn turns(&self) -> Vec<Turn> {
        turns(self.variants.len(), self.rounds)
    }

    /// The seed of a round: the same for all variants, so that rounds pair up.
    pub fn round_seed(&self, round: u32) -> u64 {
        // splitmix64's increment: neighbours give unrelated streams.
        self.seed.wrapping_add(u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// How long all of it takes, if that is known before.
    pub fn total(&self) -> Option<Duration> {
        match self.length {
            Length::Time(measured) => Some((self.warmup + measured) * self.turn_count()),
            Length::Ops(_) | Length::Whole => None,
        }
    }

    /// Number of turns.
    pub fn turn_count(&self) -> u32 {
        self.rounds * self.variants.len() as u32
    }

    /// Host CPUs that the model's CPUs are placed on.
    pub fn host_cpus(&self) -> machine::lists::IdList {
        self.machine.cpus.iter().filter_map(|c| c.host_cpu).collect()
    }
}

/// Forwards, backwards, forwards: A B B A A B ...
pub fn turns(variants: usize, rounds: u32) -> Vec<Turn> {
    let mut all = Vec::new();
    for round in 0..rounds {
        let forwards = 0..variants;
        let mut turn = |variant| all.push(Turn { variant, round });
        if round % 2 == 0 {
            forwards.for_each(&mut turn);
        } else {
            forwards.rev().for_each(&mut turn);
        }
    }
    all
}

/// Rounds and measured time of each unless the user says otherwise.
pub fn defaults(workload: &str, comparing: bool) -> (u32, Duration) {
    match workload {
        _ if !comparing => (1, Duration::from_secs(10)),
        // One round is the same as the next.
        "replay" => (1, Duration::from_secs(2)),
        // Their operations take seconds. Eight rounds are the fewest that can tell a difference in
        // one of four figures.
        "oom-storm" | "offline-free" => (8, Duration::from_secs(8)),
        _ => (10, Duration::from_secs(2)),
    }
}

/// A workload with its recording, and the machine that comes with it.
struct Replayed {
    workload: &'static dyn Workload,
    machine: Machine,
    spec: MachineSpec,
    notes: Notes,
}

/// Reads the recording of a workload that replays one.
fn replayed(
    workload: &'static dyn Workload,
    args: &RunArgs,
    options: &Options,
) -> Result<Option<Replayed>, Stop> {
    let Some(option) = workload.recording_option() else { return Ok(None) };
    let name = workload.info().name;
    let path = options.text(option);
    if path.is_empty() {
        return Err(Stop::usage(format!(
            "{name} needs --{option} DIR|FILE: a recording by scripts/record-trace"
        )));
    }
    let spec = args.machine.spec();
    let changed = spec.memory_bytes.is_some() || spec.fake_numa.is_some() || spec.movable.is_some();
    if changed || spec.source != Source::Host {
        return Err(Stop::usage(format!(
            "{name} runs on the machine of its recording: leave out --machine, --memory, --fake-numa \
             and --movable"
        )));
    }
    if args.warmup.is_some_and(|w| !w.is_zero()) {
        return Err(Stop::usage(format!("{name} begins where the recording does: no --warmup")));
    }
    let loaded = recording::load(Path::new(path), options.flag("tolerant"), args.output.progress)?;
    let spec = MachineSpec { source: Source::Directory(path.into()), ..spec };
    let (mut machine, mut notes) = (loaded.recording.machine.clone(), loaded.notes);
    affinity::place(&mut machine, &spec, &mut notes)?;
    // Plans hold their workload for good; a process makes few of them.
    let workload: &'static dyn Workload = Box::leak(Box::new(Replay::of(loaded.recording)));
    Ok(Some(Replayed { workload, machine, spec, notes }))
}

fn variants(specs: &[String]) -> Result<Vec<Variant>, Stop> {
    let mainline = ["mainline".to_owned()];
    let specs = if specs.is_empty() { &mainline } else { specs };
    let mut variants: Vec<Variant> = Vec::new();
    for spec in specs {
        let before = specs.iter().take(variants.len()).filter(|s| *s == spec).count();
        let name = match specs.iter().filter(|s| *s == spec).count() {
            1 => spec.clone(),
            // The same policy against itself shows what a difference is worth here.
            2 => format!("{spec} ({})", if before == 0 { "A" } else { "B" }),
            n => {
                return Err(Stop::usage(format!(
                    "--variant '{spec}' stands {n} times: twice compares it with itself, --rounds gives more of each"
                )));
            }
        };
        variants.push(Variant { name, spec: spec.clone(), policy: crate::cli::policy(spec)? });
    }
    Ok(variants)
}

fn allowed_cpus(spec: &MachineSpec) -> Result<u32, Stop> {
    let cpus = match &spec.cpus {
        Some(cpus) => cpus.clone(),
        None => affinity::allowed_cpus()?,
    };
    Ok(cpus.len().max(1) as u32)
}

/// Adds what the workload needs and the machine lacks; what the user chose stays.
fn fitted(
    mut spec: MachineSpec,
    info: &Info,
    needed: u32,
    notes: &mut Vec<String>,
) -> Result<MachineSpec, Stop> {
    let wants_cap = info.memory_per_node.is_some() && spec.memory_bytes.is_none();
    let wants_nodes = needed > 1 && spec.fake_numa.is_none();
    let wants_movable = info.movable != Movable::None && spec.movable.is_none();
    if !(wants_cap || wants_nodes || wants_movable) {
        return Ok(spec);
    }
    let (machine, _) = machine::load(&spec)?;
    let with_memory = machine.nodes.iter().filter(|n| pages(n) > 0).count() as u32;
    let mut nodes = with_memory;
    if wants_nodes && with_memory < needed {
        spec.fake_numa = Some(needed);
        nodes = needed;
        notes.push(format!("{} needs {nodes} nodes: made by --fake-numa {nodes}", info.name));
    }
    if let Some(most) = info.memory_per_node.filter(|_| wants_cap) {
        let cap = most * u64::from(nodes);
        if machine.managed_pages() * 4096 > cap {
            spec.memory_bytes = Some(cap);
            notes.push(format!("{} models {} MiB a node at most: --memory", info.name, most >> 20));
        }
    }
    if wants_movable && !has_movable(&machine) {
        spec.movable = Some(match info.movable {
            Movable::Percent(percent) => Share::Percent(f64::from(percent)),
            Movable::OneBlock | Movable::None => Share::LastBlock,
        });
        notes.push(format!("{} needs ZONE_MOVABLE: made by --movable", info.name));
    }
    Ok(spec)
}

fn pages(node: &allocator::machine::Node) -> u64 {
    node.zones.iter().map(|z| z.managed_pages).sum()
}

fn has_movable(machine: &Machine) -> bool {
    let movable = |z: &allocator::machine::Zone| {
        z.idx == allocator::ids::ZoneIdx::Movable && z.managed_pages > 0
    };
    machine.nodes.iter().any(|n| n.zones.iter().any(movable))
}

/// The kernel around the allocator, without a seed.
fn config(args: &ModelArgs) -> Result<KernelConfig, Stop> {
    if args.touch {
        return Err(Stop::usage("--touch is not in this build yet: frames are metadata only"));
    }
    let defaults = KernelConfig::default();
    let amplify = amplify::parse_all(&args.amplify)?;
    Ok(KernelConfig {
        hz: args.hz,
        time_scale: args.time_scale,
        swap_pages: args.swap.unwrap_or(0) / 4096,
        amplify,
        unmap_ns_per_page: args.unmap_ns_per_page.unwrap_or(defaults.unmap_ns_per_page),
        console_ns_per_char: args.console_ns_per_char.unwrap_or(defaults.console_ns_per_char),
        ..defaults
    })
}

/// The machine's source as the user names it.
pub fn source_name(source: &Source) -> String {
    match source {
        Source::Host => "host".to_owned(),
        Source::File(path) | Source::Directory(path) | Source::Xml(path) => {
            path.display().to_string()
        }
        Source::Synthetic(string) => format!("synthetic:{string}"),
    }
}

/// Points by name, for messages.
pub fn point_names() -> impl Iterator<Item = &'static str> {
    Point::ALL.iter().map(|p| p.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn check(variants: usize, rounds: u32, expected: &str) {
        let letters: String =
            turns(variants, rounds).iter().map(|t| (b'A' + t.variant as u8) as char).collect();
        assert_eq!(letters, expected);
    }

    #[test]
    fn variants_take_turns_forwards_and_backwards() {
        check(1, 3, "AAA");
        check(2, 4, "ABBAABBA");
        check(3, 2, "ABCCBA");
        let rounds: Vec<u32> = turns(2, 3).iter().map(|t| t.round).collect();
        assert_eq!(rounds, [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn a_comparison_is_made_of_more_and_shorter_rounds() {
        assert_eq!(defaults("cpuset01", false), (1, Duration::from_secs(10)));
        assert_eq!(defaults("cpuset01", true), (10, Duration::from_secs(2)));
        assert_eq!(defaults("oom-storm", true), (8, Duration::from_secs(8)));
        for workload in workloads::all() {
            let info = workload.info();
            let (rounds, _) = defaults(info.name, true);
            let needed = results::compare::rounds_for(info.primary.len());
            assert!(rounds >= needed || info.name == "replay", "{}: {needed} rounds", info.name);
            for figure in info.primary {
                let (op, _) = figure.split_once('.').unwrap();
                assert!(info.ops.contains(&op), "{}: no operation {op}", info.name);
            }
        }
    }

    fn plan(args: &[&str]) -> Result<Plan, Stop> {
        plan_of("page-alloc", "synthetic:numa:1(memory=256MiB) pu:2", args)
    }

    fn plan_of(workload: &str, machine: &str, args: &[&str]) -> Result<Plan, Stop> {
        let args =
            ["stress", workload, "--machine", machine].into_iter().chain(args.iter().copied());
        let cli = crate::cli::Cli::try_parse_from(args).unwrap();
        Plan::new(workloads::find(workload).unwrap(), &cli.run)
    }

    /// stop-machine alone needs the copy with race points; what it is compared with runs it, too.
    #[test]
    fn a_comparison_with_stop_machine_is_of_like_with_like() {
        let machine = "synthetic:numa:2(memory=4GiB) pu:1";
        let offline = |args: &[&str]| plan_of("offline-free", machine, args).unwrap().config;
        assert!(!offline(&["--variant", "mainline"]).instrumented);
        assert!(
            offline(&["--variant", "mainline", "--variant", "mainline,zonelist=stop-machine"])
                .instrumented
        );
        assert!(
            !plan(&["--variant", "mainline,zonelist=stop-machine"]).unwrap().config.instrumented
        );
    }

    #[test]
    fn what_was_typed_wins_over_defaults() {
        let plan = plan(&["--rounds", "3", "--duration", "5s", "--warmup", "0", "--seed", "7"]);
        let plan = plan.unwrap();
        assert_eq!((plan.rounds, plan.seed), (3, 7));
        assert_eq!(plan.length, Length::Time(Duration::from_secs(5)));
        assert_eq!(plan.total(), Some(Duration::from_secs(15)));
        assert_eq!(plan.variants[0].name, "mainline");
        assert_ne!(plan.round_seed(0), plan.round_seed(1));
    }

    #[test]
    fn a_policy_against_itself_is_told_apart() {
        let plan = plan(&["--variant", "v4.11", "--variant", "v4.11"]).unwrap();
        let names: Vec<&str> = plan.variants.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["v4.11 (A)", "v4.11 (B)"]);
        assert!(plan.variants.iter().all(|v| v.spec == "v4.11"));
    }

    #[test]
    fn too_few_rounds_are_told_before_the_load() {
        let of = |rounds: &str, gates: usize| {
            let two = ["--variant", "v4.11", "--variant", "v4.13", "--rounds", rounds];
            plan(&two).unwrap().too_few_rounds(gates)
        };
        assert!(of("5", 1).unwrap().contains("--rounds 6"));
        assert_eq!(of("6", 1), None);
        let stars = of("6", 0).unwrap();
        assert!(stars.contains("one of 4 figures") && stars.contains("--rounds 8"), "{stars}");
        assert_eq!(of("8", 0), None);
        assert_eq!(plan(&[]).unwrap().too_few_rounds(0), None, "nothing is compared");
    }

    #[test]
    fn operations_replace_time() {
        let plan = plan(&["--ops", "2k", "--variant", "v4.11", "--variant", "v4.13"]).unwrap();
        assert_eq!((plan.length, plan.total()), (Length::Ops(2000), None));
        assert_eq!((plan.rounds, plan.turn_count()), (10, 20));
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_the_start() {
        let refused = |args: &[&str]| plan(args).unwrap_err().message;
        let thrice = ["--variant", "v4.11"].repeat(3);
        assert!(refused(&thrice).contains("stands 3 times"));
        assert!(refused(&["--variant", "v4.99"]).contains("v4.9"));
        assert!(refused(&["--amplify", "S17=2"]).contains("--amplify"));
        assert!(refused(&["--threads", "64k"]).contains("take a smaller --batch"));
    }
}
