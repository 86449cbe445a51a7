//! `stress history`: runs over time, named baselines, the nightly gate.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use results::history::{self, CheckArgs, ExportFormat, Filter, History};
use results::{store, text};

use super::args::When;
use super::compare::{Style, exit};
use super::exit::{Exit, Stop, print};
use crate::show::color;
use crate::show::say;

/// `stress history`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct HistoryCommand {
    /// Directory of runs; the index in it is made and kept by itself
    #[arg(long, value_name = "DIR", default_value = store::RUNS_DIR, global = true)]
    pub dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

const EXAMPLES: &str = "\
Examples:
  stress history add night/ --save-baseline main
  stress history check --fail-on 'fault.mid>5%' --last 10
  stress history plot fault.mid --workload cpuset01 --since 2026-11-01
  stress history export -o otava/                     # CSV and otava.yaml for change points";

/// What can be done with a history.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Take up runs; what lies elsewhere is copied in; twice is as good as once
    Add {
        /// Files, run directories or directories of runs [default: what is in DIR]
        inputs: Vec<PathBuf>,
        /// Let a name stand for these runs, for --baseline
        #[arg(long, value_name = "NAME")]
        save_baseline: Option<String>,
    },
    /// Make the index anew from the run directories
    Rebuild {
        /// Also in place of an index of a newer version
        #[arg(long)]
        force: bool,
    },
    /// List runs
    List(Chosen),
    /// Show one run, or one figure over nights
    Show {
        /// A run, by the beginning of its id or path
        #[arg(required_unless_present = "figure", conflicts_with = "figure")]
        run: Option<String>,
        /// A figure, as in gates: fault.p99
        #[arg(long)]
        figure: Option<String>,
        /// Which runs.
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Plot one figure over nights
    Plot {
        /// A figure, as in gates: fault.p99
        figure: String,
        /// Which runs.
        #[command(flatten)]
        chosen: Chosen,
        /// Columns
        #[arg(long, value_name = "N", default_value_t = 80)]
        width: usize,
        /// Lines
        #[arg(long, value_name = "N", default_value_t = 20)]
        height: usize,
    },
    /// Judge new runs by gates against a baseline or the last equal nights
    Check {
        /// New runs [default: the newest of each kind]
        inputs: Vec<PathBuf>,
        /// Gate, as in 'fault.p99>5%'
        #[arg(long, value_name = "GATE", required = true)]
        fail_on: Vec<String>,
        /// A named baseline instead of the last nights
        #[arg(long, value_name = "NAME", conflicts_with = "last")]
        baseline: Option<String>,
        /// How many equal nights make the baseline [default: 10]
        #[arg(long, value_name = "N")]
        last: Option<usize>,
        /// What can't be judged, as a first night, is no error: exit 0 instead of 6
        #[arg(long, alias = "baseline-lenient")]
        lenient: bool,
        /// Layout
        #[arg(long, value_enum, default_value_t = Style::Robot)]
        style: Style,
    },
    /// Write the history for other tools
    Export {
        /// CSV with a configuration for Apache Otava, or JSON of the newest night
        #[arg(long, value_enum, default_value_t = Exported::Csv)]
        format: Exported,
        /// Directory for the files
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
        /// Which runs.
        #[command(flatten)]
        chosen: Chosen,
    },
}

/// Which runs a question is about.
#[derive(Args, Clone, Debug, Default)]
pub struct Chosen {
    /// Only this workload
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// Only this variant
    #[arg(long, value_name = "SPEC")]
    pub variant: Option<String>,
    /// Only this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Only from this day on: 2026-11-21
    #[arg(long, value_name = "DATE")]
    pub since: Option<String>,
    /// Only the newest N
    #[arg(long, value_name = "N")]
    pub newest: Option<usize>,
}

/// What a history can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Exported {
    /// A file for each kind of run, and otava.yaml.
    Csv,
    /// smaller.json and bigger.json, as hosted dashboards read them.
    Json,
}

impl Chosen {
    fn filter(&self) -> Filter {
        Filter {
            workload: self.workload.clone(),
            variant: self.variant.clone(),
            host: self.host.clone(),
            since: self.since.clone(),
            last: self.newest,
        }
    }
}

/// Does what was asked for.
///
/// # Errors
/// A damaged or newer index, files that can't be read, gates that name nothing.
pub fn run(args: &HistoryCommand) -> Result<Exit, Stop> {
    if let Action::Rebuild { force } = args.action {
        let (_, added) = History::rebuild(&args.dir, force)?;
        return Ok(told(&added));
    }
    let mut history = History::open(&args.dir)?;
    match &args.action {
        Action::Rebuild { .. } => Ok(Exit::Ok),
        Action::Add { inputs, save_baseline } => {
            add(&mut history, &args.dir, inputs, save_baseline.as_deref())
        }
        Action::List(chosen) => {
            print(&history::list_table(&history.list(&chosen.filter())?))?;
            Ok(Exit::Ok)
        }
        Action::Show { run, figure, chosen } => {
            show(&history, run.as_deref(), figure.as_deref(), chosen)
        }
        Action::Plot { figure, chosen, width, height } => {
            let series = history::trend(&history, figure, &chosen.filter())?;
            print(&history::plot(figure, &series, *width, *height))?;
            Ok(Exit::Ok)
        }
        Action::Check { inputs, fail_on, baseline, last, lenient, style } => {
            let outcome = history::check(
                &history,
                &CheckArgs {
                    inputs: inputs.clone(),
                    baseline: baseline.clone(),
                    last: *last,
                    except: Vec::new(),
                    fail_on: fail_on.clone(),
                    lenient: *lenient,
                    style: (*style).into(),
                },
            )?;
            print(&color::paint(&outcome.text, When::Auto))?;
            outcome.warnings.iter().for_each(|w| say(format_args!("stress: {w}")));
            Ok(exit(outcome.exit))
        }
        Action::Export { format, output, chosen } => {
            let format = match format {
                Exported::Csv => ExportFormat::Csv,
                Exported::Json => ExportFormat::Json,
            };
            for file in history::export(&history, &chosen.filter(), format, output)? {
                say(format_args!("stress: wrote {}", file.display()));
            }
            Ok(Exit::Ok)
        }
    }
}

fn told(added: &history::Added) -> Exit {
    added.refused.iter().for_each(|line| say(format_args!("stress: {line}")));
    // Of inputs that were all refused the lines above say enough.
    if !added.is_all_refused() {
        say(format_args!("stress: history: {}", added.summary()));
    }
    exit(added.exit_code())
}

fn add(
    history: &mut History,
    dir: &Path,
    inputs: &[PathBuf],
    baseline: Option<&str>,
) -> Result<Exit, Stop> {
    let all = [dir.to_owned()];
    let inputs = if inputs.is_empty() { &all[..] } else { inputs };
    let added = history.add(inputs)?;
    if let Some(name) = baseline {
        let mut loaded = Vec::new();
        for input in inputs {
            loaded.extend(store::load(input)?);
        }
        let runs: Vec<_> = loaded.iter().map(|l| &l.run).collect();
        history::save_baseline(dir, name, &runs)?;
        say(format_args!("stress: baseline '{name}': {} runs", runs.len()));
    }
    Ok(told(&added))
}

fn show(
    history: &History,
    run: Option<&str>,
    figure: Option<&str>,
    chosen: &Chosen,
) -> Result<Exit, Stop> {
    let text = match (run, figure) {
        (_, Some(figure)) => {
            let series = history::trend(history, figure, &chosen.filter())?;
            history::trend_table(figure, &series)
        }
        (Some(run), None) => {
            let loaded = history.show(run)?;
            text::summary(&loaded.run, Some(&loaded.path))
        }
        (None, None) => return Err(Stop::usage("history show: name a run, or --figure")),
    };
    print(&text)?;
    Ok(Exit::Ok)
}
