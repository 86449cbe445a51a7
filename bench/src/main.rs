//! `scripts/bench`: the speed of the model as one table.
//!
//! **What.** Each row is a figure of the model, of a floor that any such allocator pays, or of a peer,
//! all measured in one run with one loop. Rounds are interleaved: every row is measured once before
//! any is measured again, so that a busy moment of the host spoils a round and not a row.
//!
//! **Why CPU time.** On a shared host wall time says how busy the host was. A row in ns is CPU time
//! of all threads over operations.

mod floors;
mod model;
mod pairs;
mod parts;
mod start;
mod sys;
mod table;
mod tail;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Measures the model's speed and prints it beside floors and a peer of the same run.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Args {
    /// Rounds; each row's figure is their median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only rows whose name has this in it.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Milliseconds that a row is measured in each round, where it is not a fixed amount of work.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    ms: u32,
    /// Also write all samples here as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A figure of one round.
struct Figure {
    name: String,
    unit: &'static str,
    value: f64,
}

/// Something that is measured once in each round, and gives one or more figures.
struct Measure {
    /// What `--only` looks at.
    name: String,
    run: Box<dyn Fn() -> Vec<Figure>>,
}

impl Measure {
    fn new(name: impl Into<String>, run: impl Fn() -> Vec<Figure> + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    sys::take_tables_from_the_kernel();
    let wanted = |m: &Measure| args.only.is_empty() || args.only.iter().any(|o| m.name.contains(o));
    let mut measures = pairs::measures(args.ms);
    measures.extend(tail::measures(args.ms));
    measures.extend(parts::measures(args.ms));
    measures.extend(start::measures());
    measures.retain(wanted);
    if measures.is_empty() {
        eprintln!(
            "bench: no row has {:?} in its name: run it without --only to see all",
            args.only
        );
        return ExitCode::from(2);
    }
    let mut rows = table::Rows::default();
    for round in 0..args.rounds {
        for measure in &measures {
            eprint!("\r\x1b[Kround {}/{}  {}", round + 1, args.rounds, measure.name);
            for figure in (measure.run)() {
                rows.add(figure);
            }
        }
    }
    eprint!("\r\x1b[K");
    rows.print(args.rounds);
    if let Some(path) = &args.json
        && let Err(error) = std::fs::write(path, rows.json())
    {
        eprintln!("bench: {}: {error}", path.display());
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}
