//! The rows as a table: medians, spread, and how many times the floor.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::Figure;

/// The row that pairs are compared with: the floor with the same words after its name.
const FLOOR: &str = "floor: Mutex<Vec>";
const MODEL: &str = "model";

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    unit: &'static str,
    samples: Vec<f64>,
}

impl Row {
    /// Least, median and greatest sample.
    fn spread(&self) -> (f64, f64, f64) {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
    }
}

/// All rows, in the order in which they were first measured.
#[derive(Debug, Default)]
pub(crate) struct Rows(Vec<Row>);

impl Rows {
    pub(crate) fn add(&mut self, figure: Figure) {
        match self.0.iter_mut().find(|row| row.name == figure.name) {
            Some(row) => row.samples.push(figure.value),
            None => {
                let Figure { name, unit, value } = figure;
                self.0.push(Row { name, unit, samples: vec![value] });
            }
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("rows are plain data") + "\n"
    }

    /// The median of the floor for a row of the model, if it was measured.
    fn floor_of(&self, row: &Row) -> Option<f64> {
        let what = row.name.strip_prefix(MODEL)?;
        let floor = self.0.iter().find(|r| r.name.strip_prefix(FLOOR) == Some(what))?;
        Some(floor.spread().1)
    }

    #[expect(clippy::print_stdout, reason = "the table is what the command is for")]
    pub(crate) fn print(&self, rounds: u32) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(vec!["what", "median", "unit", "least..greatest", "x Mutex<Vec>"]);
        for row in &self.0 {
            let (least, median, greatest) = row.spread();
            let ratio = self.floor_of(row).map_or(String::new(), |f| format!("{:.2}", median / f));
            table.add_row(vec![
                row.name.clone(),
                number(median),
                row.unit.to_owned(),
                format!("{}..{}", number(least), number(greatest)),
                ratio,
            ]);
        }
        for column in [1, 3, 4] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}");
        println!(
            "ns are CPU time of all threads per operation; medians of {rounds} interleaved rounds"
        );
    }
}

fn number(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_row_stands_beside_its_floor() {
        let mut rows = Rows::default();
        for (name, value) in [("floor: Mutex<Vec>  pair", 10.0), ("model  pair", 30.0)] {
            for off in [-1.0, 0.0, 5.0] {
                rows.add(Figure { name: name.to_owned(), unit: "ns", value: value + off });
            }
        }
        assert_eq!(rows.0[1].spread(), (29.0, 30.0, 35.0));
        assert_eq!(rows.floor_of(&rows.0[1]), Some(10.0));
        assert_eq!(rows.floor_of(&rows.0[0]), None);
    }
}
