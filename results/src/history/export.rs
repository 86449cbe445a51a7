//! The history for other tools: CSV with a ready configuration for Apache Otava, JSON for hosted
//! dashboards.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use indexmap::{IndexMap, IndexSet};

use super::{Filter, History, RunRow};
use crate::compare::op_figure_directions;
use crate::error::Result;
use crate::export::csv::field;
use crate::store;

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// A CSV file for each cell and `otava.yaml`.
    Csv,
    /// `smaller.json` and `bigger.json` in the shape of `customSmallerIsBetter`: the newest night.
    Json,
}

/// Writes the export into a directory; returns the files.
///
/// # Errors
/// The index can't be read, the files can't be written.
pub fn export(
    history: &History,
    filter: &Filter,
    format: ExportFormat,
    dir: &Path,
) -> Result<Vec<PathBuf>> {
    let rows: Vec<RunRow> =
        history.list(filter)?.into_iter().filter(|r| !r.interrupted && r.rounds > 0).collect();
    let names = history.database.metrics()?;
    let mut values: IndexMap<String, IndexMap<String, f64>> = IndexMap::new();
    for name in &names {
        for (run, value, _) in history.database.metric(name)? {
            values.entry(run).or_default().insert(name.clone(), value);
        }
    }
    let mut cells: IndexMap<&str, Vec<&RunRow>> = IndexMap::new();
    for row in &rows {
        cells.entry(&row.cell).or_default().push(row);
    }
    match format {
        ExportFormat::Csv => csv(&cells, &values, dir),
        ExportFormat::Json => json(&cells, &values, dir),
    }
}

type Values = IndexMap<String, IndexMap<String, f64>>;

fn csv(cells: &IndexMap<&str, Vec<&RunRow>>, values: &Values, dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut yaml = "# For Apache Otava: otava analyze NAME --config-file otava.yaml, from this directory.\ntests:\n".to_owned();
    let mut taken = IndexSet::new();
    for rows in cells.values() {
        let name = unique(&test_name(rows[0]), &mut taken);
        let columns: IndexSet<&String> =
            rows.iter().filter_map(|r| values.get(&r.run_id)).flat_map(IndexMap::keys).collect();
        let mut text = "time,run_id,kernel,tool".to_owned();
        columns.iter().for_each(|c| {
            let _ = write!(text, ",{}", field(c));
        });
        text.push('\n');
        for row in rows {
            // Otava reads a time with an offset.
            let time = row.started.replace('Z', "+00:00").replace('T', " ");
            let _ = write!(
                text,
                "{time},{},{},{}",
                field(&row.run_id),
                field(&row.kernel),
                field(&row.tool)
            );
            for column in &columns {
                let value = values.get(&row.run_id).and_then(|v| v.get(*column));
                let _ = write!(text, ",{}", value.map_or(String::new(), f64::to_string));
            }
            text.push('\n');
        }
        let path = dir.join(format!("{name}.csv"));
        store::write_atomic(&path, text.as_bytes())?;
        yaml.push_str(&otava_test(&name, &columns));
        files.push(path);
    }
    let path = dir.join("otava.yaml");
    store::write_atomic(&path, yaml.as_bytes())?;
    files.push(path);
    Ok(files)
}

/// Names are made of letters, digits, `.`, `_`, `=` and `-`, so YAML needs no more than quotes.
fn test_name(row: &RunRow) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._=-".contains(c) { c } else { '-' };
    format!("{}-{}-{}t-{}", row.workload, row.variant, row.threads, row.host)
        .chars()
        .map(keep)
        .collect()
}

fn unique(name: &str, taken: &mut IndexSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut copy = 1;
    while !taken.insert(candidate.clone()) {
        copy += 1;
        candidate = format!("{name}-{copy}");
    }
    candidate
}

fn otava_test(name: &str, columns: &IndexSet<&String>) -> String {
    let mut out = format!(
        "  \"{name}\":\n    type: csv\n    file: \"{name}.csv\"\n    time_column: time\n    attributes: [run_id, kernel, tool]\n    csv_options:\n      delimiter: ','\n      quote_char: '\"'\n    metrics:\n"
    );
    for column in columns {
        let metric: String =
            column.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let direction = if better_is_higher(column) { 1 } else { -1 };
        let column = column.replace(['"', '\\'], "_");
        let _ = writeln!(
            out,
            "      {metric}:\n        column: \"{column}\"\n        direction: {direction}\n        scale: 1"
        );
    }
    out
}

fn better_is_higher(metric: &str) -> bool {
    let figure = metric.rsplit_once('.').map_or(metric, |(_, f)| f);
    op_figure_directions().any(|(name, better)| name == figure && better == "higher")
}

fn json(cells: &IndexMap<&str, Vec<&RunRow>>, values: &Values, dir: &Path) -> Result<Vec<PathBuf>> {
    let (mut smaller, mut bigger) = (Vec::new(), Vec::new());
    for rows in cells.values() {
        let Some(newest) = rows.last() else { continue };
        for (metric, value) in values.get(&newest.run_id).into_iter().flatten() {
            let unit = match metric.rsplit_once('_').map(|(_, unit)| unit) {
                Some("ns") => "ns",
                Some("s") => "1/s",
                _ => "",
            };
            let entry = serde_json::json!({
                "name": format!("{} {metric}", test_name(newest)),
                "unit": unit,
                "value": value,
                "extra": format!("run {} kernel {} tool {}", newest.run_id, newest.kernel, newest.tool),
            });
            if better_is_higher(metric) { bigger.push(entry) } else { smaller.push(entry) }
        }
    }
    let mut files = Vec::new();
    for (name, entries) in [("smaller.json", smaller), ("bigger.json", bigger)] {
        let path = dir.join(name);
        store::write_atomic(&path, store::to_json(&entries).as_bytes())?;
        files.push(path);
    }
    Ok(files)
}
