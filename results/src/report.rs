//! Pictures of records: a page for browsers, plots for terminals, a text for mailing lists; and the
//! one door to all documents that are made of saved runs.

pub mod curve;
mod html;
mod lanes;
mod mail;
pub mod plot;
mod svg;

use std::path::PathBuf;

use indexmap::IndexSet;

use crate::compare;
use crate::error::{Error, Result};
use crate::export;
use crate::history::{Filter, History, trend};
use crate::schema::{Comparison, Run};
use crate::store::{self, Loaded};
use crate::text;

/// What is made of the runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Format {
    /// One self-contained page.
    #[default]
    Html,
    /// 72 columns of plain text.
    Mail,
    /// The summary of each run.
    Text,
    /// KTAP 1.
    Ktap,
    /// JUnit XML.
    Junit,
    /// OpenMetrics text.
    OpenMetrics,
    /// CSV in long form.
    Csv,
    /// HdrHistogram's percentile text of one operation, in microseconds, all runs merged.
    Hgrm(String),
}

/// What `stress report` was asked for.
#[derive(Debug, Clone, Default)]
pub struct Args {
    /// Files, run directories, directories of runs.
    pub inputs: Vec<PathBuf>,
    /// Where it goes; `None` returns it only.
    pub output: Option<PathBuf>,
    /// What it is.
    pub format: Format,
    /// Directory with a history, and the figures whose trend the page shows.
    pub history: Option<(PathBuf, Vec<String>)>,
    /// Comparisons that were made elsewhere, shown with those among the runs.
    pub judged: Vec<Comparison>,
}

/// What a report gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The document.
    pub text: String,
    /// Lines for stderr.
    pub warnings: Vec<String>,
}

/// `stress report`.
///
/// # Errors
/// Files that can't be read or written, histograms that don't decode.
pub fn run(args: &Args) -> Result<Outcome> {
    let mut loaded = Vec::new();
    let mut seen = IndexSet::new();
    for input in &args.inputs {
        loaded
            .extend(store::load(input)?.into_iter().filter(|l| seen.insert(l.run.run_id.clone())));
    }
    if loaded.is_empty() {
        return Err(Error::Input("report: no runs; name files or directories of runs".to_owned()));
    }
    let mut warnings = Vec::new();
    let runs: Vec<&Run> = loaded.iter().map(|l| &l.run).collect();
    let text = match &args.format {
        Format::Html => {
            let mut trends = Vec::new();
            if let Some((dir, figures)) = &args.history {
                let history = History::open(dir)?;
                for figure in figures {
                    trends.push((figure.clone(), trend(&history, figure, &Filter::default())?));
                }
            }
            let compared = compared(args, &loaded, &mut warnings);
            html::page(&loaded, &compared, &trends, &mut warnings)?
        }
        Format::Mail => mail::document(&runs, &compared(args, &loaded, &mut warnings)),
        Format::Text => loaded
            .iter()
            .map(|l| text::summary(&l.run, Some(&l.path)) + &text::fidelity_below(&[&l.run]))
            .collect::<Vec<_>>()
            .join("\n"),
        Format::Ktap => export::ktap::document(&runs, &compared(args, &loaded, &mut warnings)),
        Format::Junit => export::junit::document(&runs, &compared(args, &loaded, &mut warnings)),
        Format::OpenMetrics => export::openmetrics::document(&runs),
        Format::Csv => export::csv::document(&runs),
        Format::Hgrm(op) => hgrm(&runs, op)?,
    };
    if let Some(output) = &args.output {
        store::write_atomic(output, text.as_bytes())?;
    }
    Ok(Outcome { text, warnings })
}

/// What was judged elsewhere, then the variants of each session against the first.
fn compared(args: &Args, loaded: &[Loaded], warnings: &mut Vec<String>) -> Vec<Comparison> {
    args.judged.iter().cloned().chain(comparisons(loaded, warnings)).collect()
}

/// The variants of each session against the first.
fn comparisons(loaded: &[Loaded], warnings: &mut Vec<String>) -> Vec<Comparison> {
    let Ok(pairs) = compare::variants_of_sessions(loaded.to_vec()) else {
        return Vec::new();
    };
    let options = compare::Options { seed: 1, ..compare::Options::default() };
    let compared =
        pairs.iter().map(|p| compare::compare_runs(&[&p.base[0].run], &[&p.new[0].run], &options));
    compared.filter_map(|c| c.map_err(|e| warnings.push(e.to_string())).ok()).collect()
}

fn hgrm(runs: &[&Run], op: &str) -> Result<String> {
    let mut sum: Option<crate::histogram::Histogram> = None;
    for run in runs {
        if let Some(one) = plot::histogram_of(run, op)? {
            match &mut sum {
                Some(sum) => sum.merge_foreign(&one, &run.run_id)?,
                None => sum = Some(one),
            }
        }
    }
    let known = || plot::operations(runs).join(" ");
    let sum = sum.ok_or_else(|| {
        Error::Input(format!("report: no latencies of '{op}'; operations: {}", known()))
    })?;
    Ok(export::hgrm::document(&sum, 1000.0))
}
