//! Every flag, once: help, man page, completions and parsing come from here.
//!
//! What was typed is kept as it was typed; what will be done is decided in `plan`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::values::{self, Threads};
use super::workload_args;
use crate::machine::lists::IdList;
use crate::machine::movable::Share;
use crate::machine::{MachineSpec, Source};

/// A stress harness for the policies of the Linux page allocator.
///
/// It runs a faithful model of zones, buddy lists, pcplists, zonelists, cpusets, mempolicies,
/// reclaim and the OOM killer on real threads, checks it all the time, and compares policies.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "stress",
    version,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    disable_help_subcommand = true,
    after_help = EXAMPLES,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do instead of a run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}

const EXAMPLES: &str = "\
Examples:
  stress --workload cpuset01 --threads 64
  stress --workload cpuset01 --policy vma --variant v4.11 --variant v4.13
  stress page-alloc --threads 1,2,4..64
  stress machine --variant v6.1
  stress explore --workload cpuset01 --variant v4.11

All flags: stress --help; a workload's own: stress WORKLOAD --help

Exit codes: 0 all well; 1 findings; 2 usage or bad input; 3 this machine can't run it;
5 a regression past its gate; 6 nothing wrong is known, but something was not judged,
proven or reached; 129, 130, 131, 143 interrupted, the partial result is written.";

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List the names that other flags take, with what stands behind them.
    List(ListCommand),
    /// Show a machine as the model sees it: nodes, CPUs, zones, watermarks, fallback order.
    Machine(MachineCommand),
    /// Was this kill right? Judge the OOM and allocation-failure reports of a log.
    Judge(super::judge::JudgeCommand),
    /// Search the schedules of small worlds: find races, replay them, prove them excluded.
    Explore(Box<super::explore::ExploreCommand>),
    /// Find the change, and so the commit, that cures what an old policy shows.
    Bisect(super::bisect::BisectCommand),
    /// Try a finding of the model on a real kernel, or find its steps there.
    Confirm(super::confirm::ConfirmCommand),
    /// Compare saved runs: what changed, how sure that is, whether it passes a gate.
    Compare(super::compare::CompareCommand),
    /// Merge runs of several seeds, nights or machines into one record, without loss.
    Merge(super::merge::MergeCommand),
    /// Make a page, a mail or a CI document of saved runs.
    Report(super::report::ReportCommand),
    /// Plot latency percentiles of saved runs in the terminal.
    Plot(super::plot::PlotCommand),
    /// Runs over time: trends, baselines, the nightly gate.
    History(super::history::HistoryCommand),
    /// A matrix of runs: plan it, run its cells, judge them; or all of it, night by night.
    Sweep(super::sweep::SweepCommand),
    /// Print the completions for a shell.
    Completions(CompletionsCommand),
    /// Print the man page (roff), or write the pages of all subcommands.
    Man(super::man::ManCommand),
}

/// What machine to model and which host CPUs to use.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// The machine: `host`, a JSON file, a captured directory, or `synthetic:` and an hwloc string
    #[arg(long, value_name = "host|FILE|DIR|synthetic:S", default_value = "host", value_parser = machine_source)]
    pub machine: Source,
    /// Split the machine's nodes until there are N, of equal shares of memory
    #[arg(long, value_name = "N")]
    pub fake_numa: Option<u32>,
    /// Make the top part of each node ZONE_MOVABLE
    #[arg(long, value_name = "SIZE|PERCENT", value_parser = values::share)]
    pub movable: Option<Share>,
    /// Scale the machine to this much memory; K, M, G, T are powers of 1024
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub memory: Option<u64>,
    /// Host CPUs to run on, as in the kernel's lists: 0-15,32
    #[arg(long, alias = "taskset", value_name = "LIST")]
    pub cpus: Option<IdList>,
    /// Host nodes to run on and to take memory from: 0-1
    #[arg(long, alias = "mbind", value_name = "LIST")]
    pub nodes: Option<IdList>,
}

fn machine_source(text: &str) -> Result<Source, String> {
    Source::parse(text)
}

impl MachineArgs {
    /// The machine asked for.
    pub fn spec(&self) -> MachineSpec {
        MachineSpec {
            source: self.machine.clone(),
            fake_numa: self.fake_numa,
            movable: self.movable,
            memory_bytes: self.memory,
            cpus: self.cpus.clone(),
            nodes: self.nodes.clone(),
        }
    }
}

/// A run.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Workload to run, or several: see `stress list workloads`
    #[arg(
        long = "workload",
        value_name = "NAME[,NAME]",
        value_delimiter = ',',
        conflicts_with = "name"
    )]
    pub workload: Vec<String>,
    /// The same as --workload NAME
    #[arg(value_name = "NAME", value_delimiter = ',')]
    pub name: Vec<String>,
    /// Task threads: a number, `all` for one per allowed CPU (the default), or several for a
    /// scalability curve, as in 1,2,4..64, where A..B doubles
    #[arg(long, value_name = "N|all|LIST", value_parser = values::threads)]
    pub threads: Option<Threads>,
    /// How long each round of each variant is measured; a bare number is seconds [default: 10s; 2s when comparing]
    #[arg(long, allow_negative_numbers = true, aliases = ["timeout", "runtime"], value_name = "TIME", value_parser = values::duration_above_zero, conflicts_with = "ops")]
    pub duration: Option<Duration>,
    /// Measure this many operations per round instead; k, M, G are decimal
    #[arg(long, value_name = "N", value_parser = values::count_above_zero)]
    pub ops: Option<u64>,
    /// Run this long before measuring; reported, never in the figures [default: 1s]
    #[arg(long, allow_negative_numbers = true, alias = "ramp-time", value_name = "TIME", value_parser = values::duration)]
    pub warmup: Option<Duration>,
    /// Rounds per variant [default: 1; 10 when comparing]
    #[arg(short, long, alias = "runs", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rounds: Option<u32>,
    /// Policy: a release and its axes, as in `v4.11` or `mainline,exit=mm-users`; repeat it to
    /// compare, the first is the base [default: mainline]
    #[arg(long, value_name = "SPEC")]
    pub variant: Vec<String>,
    /// Seed of all choices, decimal or 0x hex [default: random, printed]
    #[arg(long, value_name = "N", value_parser = values::seed)]
    pub seed: Option<u64>,
    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// The kernel around the allocator.
    #[command(flatten)]
    pub model: ModelArgs,
    /// What counts, and what becomes of it.
    #[command(flatten)]
    pub verdict: VerdictArgs,
    /// Where results go.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Runs that follow this one: `[[run]]` tables of `--config`.
    #[arg(skip)]
    pub more: Vec<RunArgs>,
    /// Options of workloads, as typed.
    #[arg(skip)]
    pub workload_options: Vec<workload_args::Given>,
    #[arg(short = 't', hide = true, num_args = 0..=1, value_name = "N", default_missing_value = "")]
    pub(super) t: Option<String>,
    #[arg(long, hide = true)]
    pub(super) metrics: bool,
}

/// The kernel around the allocator.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Swap space [default: none, anonymous pages can't be reclaimed]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub swap: Option<u64>,
    /// Interrupts per second on each CPU
    #[arg(long, value_name = "HZ", value_parser = values::count)]
    pub irq_rate: Option<u64>,
    /// Ticks per second of the modelled kernel
    #[arg(long, value_name = "N", default_value = "250", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub hz: u32,
    /// Run the kernel's own waits X times faster
    #[arg(long, value_name = "X", default_value = "1", value_parser = time_scale)]
    pub time_scale: f64,
    /// Model time that unmapping one page takes
    #[arg(long, value_name = "NS", value_parser = values::count)]
    pub unmap_ns_per_page: Option<u64>,
    /// Model time that printing one character of an OOM report takes
    #[arg(long, value_name = "NS", value_parser = values::count)]
    pub console_ns_per_char: Option<u64>,
    /// Measure how long each kernel lock is held and waited for, by what its holder does
    #[arg(long)]
    pub locks: bool,
    /// Hold threads at a race point with probability P for DELAY: see `stress list points`
    #[arg(long, value_name = "POINT=P[:DELAY]")]
    pub amplify: Vec<String>,
    /// Back the frames with real memory and write each page
    #[arg(long)]
    pub touch: bool,
}

/// What counts, and what becomes of it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Verdict")]
pub struct VerdictArgs {
    /// Stop at the first finding and print how long it took
    #[arg(long, alias = "abort")]
    pub stop_on_finding: bool,
    /// Transient premature OOMs are findings too
    #[arg(long)]
    pub strict: bool,
    /// Leave with 0 in spite of findings
    #[arg(long)]
    pub allow_findings: bool,
    /// Notes about the host's state (governor, load, ...) are errors: exit 3
    #[arg(long)]
    pub strict_host: bool,
    /// Gate: fail if a metric crosses its limit, as in 'p99>5%' or 'max>2ms'; needs a base
    #[arg(long, value_name = "GATE")]
    pub fail_on: Vec<String>,
    /// Further rounds of each variant if a gate is suspect: past its limit, but not for sure
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub more_rounds: u32,
    /// Compare with this named baseline
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// Keep this run under a name
    #[arg(long, value_name = "NAME")]
    pub save_baseline: Option<String>,
    /// What can't be judged, as a baseline that does not exist yet, is no error: exit 0 instead of 6
    #[arg(long, alias = "baseline-lenient")]
    pub lenient: bool,
    /// Slow an operation down on purpose, to see whether a gate finds it: fault=10%, or
    /// 2:fault=10% for the second variant
    #[arg(long, value_name = "[VARIANT:]OP=PERCENT", value_parser = super::slow_down::parse)]
    pub slow_down: Vec<super::slow_down::SlowDown>,
}

/// Where results go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Where to keep the run [default: a directory under stress-runs/]
    #[arg(short, long, alias = "json", value_name = "FILE|DIR")]
    pub output: Option<PathBuf>,
    /// Replace another run at that place
    #[arg(long)]
    pub force: bool,
    /// What stdout carries
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write every thread's events to a file
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
    /// Write an HdrHistogram interval log
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// Interval of --hlog
    #[arg(long, allow_negative_numbers = true, value_name = "TIME", default_value = "1s", value_parser = values::duration_above_zero)]
    pub interval: Duration,
    /// Percentiles to show; max is always shown
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "50,99,99.9,99.99", value_parser = percentile)]
    pub percentiles: Vec<f64>,
    /// Live progress on stderr
    #[arg(long, alias = "eta", value_enum, default_value_t = When::Auto)]
    pub progress: When,
    /// Plain status lines this often; 10s by itself when stderr is no terminal
    #[arg(long, allow_negative_numbers = true, alias = "status", value_name = "TIME", value_parser = values::duration_above_zero)]
    pub status_interval: Option<Duration>,
    /// Print the plan, the thread map and the memory needed, and run nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Read flags from a file; flags on the command line win
    #[arg(long, alias = "job", value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Only the verdict
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More: repeat for still more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Colours
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub color: When,
}

fn time_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if (0.001..=1000.0).contains(&x) => Ok(x),
        _ => Err(format!("'{text}' is no factor from 0.001 to 1000")),
    }
}

fn percentile(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(p) if p > 0.0 && p <= 100.0 => Ok(p),
        _ => Err(format!("'{text}' is no percentile above 0 and up to 100")),
    }
}

/// Text, JSON, or KTAP for kselftest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One document.
    Json,
    /// For kselftest's runner.
    Ktap,
}

/// When to do something that suits terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `stress list`.
#[derive(Args, Clone, Debug)]
pub struct ListCommand {
    /// Which list [default: all]
    #[arg(value_enum)]
    pub what: Option<Listed>,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listed {
    /// What can be run, and each one's own options.
    Workloads,
    /// The race points that threads can be held at.
    Points,
    /// The axes of a policy, the variants of each, and what is expected of them.
    Variants,
    /// The releases, with their variant on each axis.
    Presets,
}

/// `stress machine`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = crate::machine::file::FORMAT)]
pub struct MachineCommand {
    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// The release whose formulas are used
    #[arg(long, value_name = "SPEC", default_value = "mainline")]
    pub variant: String,
    /// Write this host's zoneinfo, topology and settings into a directory for --machine DIR
    #[arg(long, value_name = "DIR")]
    pub capture: Option<PathBuf>,
    /// Also print what makes measurements on this host noisy, and the command that mends each
    #[arg(long)]
    pub check: bool,
    /// What stdout carries
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
}

/// Text or JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TextOrJson {
    /// For people.
    Text,
    /// One document.
    Json,
}

/// `stress completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsCommand {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
    /// What the program is called where it is installed
    #[arg(long, value_name = "NAME", default_value = "stress")]
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
        crate::cli::command().debug_assert();
    }

    #[test]
    fn the_shortest_run_and_its_twin() {
        let long = Cli::try_parse_from(["stress", "--workload", "cpuset01", "--threads", "64"]);
        let long = long.unwrap();
        assert_eq!(long.run.workload, ["cpuset01"]);
        assert_eq!(long.run.threads, Some(Threads::Count(64)));
        assert!(long.command.is_none());
        let short = Cli::try_parse_from(["stress", "cpuset01", "--taskset", "0-1"]).unwrap();
        assert_eq!(short.run.name, ["cpuset01"]);
        assert!(short.run.machine.cpus.is_some());
    }
}
