//! `stress bisect OLD NEW`: which change, and so which commit, cures a finding.

use clap::Args;
use results::schema::Tool;
use results::store;
use serde::Serialize;

use super::args::{TextOrJson, When};
use super::exit::{Exit, Stop, print};
use crate::explore::bisect::{self, Bisected};
use crate::explore::document::VERSION;
use crate::explore::search::Watcher;
use crate::explore::subject;
use crate::record::document::tool;
use crate::run::signals::Signals;
use crate::show::live::Live;

/// `stress bisect`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  stress bisect v4.11 v4.13 --workload cpuset01")]
pub struct BisectCommand {
    /// The policy that shows a finding
    #[arg(value_name = "OLD")]
    pub old: String,
    /// The policy that does not
    #[arg(value_name = "NEW")]
    pub new: String,
    /// Bisect the families of this workload's axes
    #[arg(long, value_name = "NAME", conflicts_with = "family")]
    pub workload: Option<String>,
    /// Bisect these families
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',')]
    pub family: Vec<String>,
    /// OS threads to search with [default: all allowed CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// What stdout carries
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
    /// Live progress on stderr
    #[arg(long, alias = "eta", value_enum, default_value_t = When::Auto)]
    pub progress: When,
}

/// What stdout carries with `--format json`.
#[derive(Clone, Debug, Serialize)]
struct Document {
    schema: u32,
    tool: Tool,
    old: String,
    new: String,
    families: Vec<Bisected>,
    interrupted: bool,
}

/// Bisects each family.
///
/// # Errors
/// Bad input; or no family that the old policy shows and the new one excludes (exit 2).
pub fn run(args: &BisectCommand) -> Result<Exit, Stop> {
    let (old, new) = (subject::policy(&args.old)?, subject::policy(&args.new)?);
    let subjects = match &args.workload {
        Some(name) => subject::workload(name)?,
        None if args.family.is_empty() => {
            return Err(Stop::usage(
                "nothing to bisect: name --workload or --family, as in stress bisect v4.11 v4.13 \
                 --workload cpuset01",
            ));
        }
        None => args.family.iter().map(|f| subject::family(f)).collect::<Result<_, _>>()?,
    };
    let signals = Signals::catch().map_err(|e| Stop::cannot_run(format!("signals: {e}")))?;
    let watcher = Watcher::new(Live::new(args.progress, None, false), signals);
    let mut families = Vec::new();
    for subject in &subjects {
        let workers = super::explore::workers(args.workers);
        families.push(bisect::run(subject, old, new, workers, &watcher));
        if watcher.interrupted().is_some() {
            break;
        }
    }
    watcher.end();
    match args.format {
        TextOrJson::Json => {
            let document = Document {
                schema: VERSION,
                tool: tool(),
                old: old.to_string(),
                new: new.to_string(),
                interrupted: watcher.interrupted().is_some(),
                families: families.clone(),
            };
            print(&(store::to_json(&document) + "\n"))?;
        }
        TextOrJson::Text => {
            let texts: Vec<String> = families.iter().map(bisect::text).collect();
            print(&texts.join("\n"))?;
        }
    }
    if let Some(exit) = watcher.interrupted() {
        return Ok(exit);
    }
    if families.iter().all(|f| f.cure.is_empty()) {
        return Err(Stop::usage(format!(
            "nothing to bisect: no family is shown by {old} and excluded by {new}"
        )));
    }
    Ok(Exit::Ok)
}
