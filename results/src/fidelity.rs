//! The model beside a real kernel, as a table: a pure function of records.
//!
//! **What.** One line a figure: the kernel's value, each variant's, the band, how well the figure is
//! defined, and whether a value lies outside. Below it, why a row may do so.
//!
//! **Marks.** `E` exact from the trace, `S` follows from start state that was recorded, `U` from start
//! state that nobody recorded, `P` changed by the act of tracing.

use crate::format::{fit, plain, wrap};
use crate::schema::{Fidelity, FidelityRow};

impl FidelityRow {
    /// Is the model within the band? None if there is none, or nothing to compare.
    #[must_use]
    pub fn is_within(&self) -> Option<bool> {
        let (kernel, model, tolerance) = (self.kernel?, self.model?, self.tolerance?);
        // A band around 0 is 0; what was computed differently may differ in the last digit.
        Some((model - kernel).abs() <= kernel.abs() * (tolerance + 1e-9))
    }
}

const FIGURE: usize = 44;
const VALUE: usize = 10;

/// The table of one replay, or of several variants that replayed the same.
#[must_use]
pub fn table(runs: &[(&str, &Fidelity)]) -> String {
    let Some((_, first)) = runs.first() else { return String::new() };
    let mut text = format!("fidelity  {}\n", plain(&first.source));
    let mut line = format!("{:<FIGURE$}{:>VALUE$}", "figure", "kernel");
    for (label, _) in runs {
        let label = if runs.len() == 1 { "model" } else { label };
        line += &format!("{:>VALUE$}", fit(&plain(label), VALUE - 1));
    }
    text += &format!("{line}{:>7}  {:<4}\n", "band", "def");
    let mut outside = Vec::new();
    for row in &first.rows {
        let mut line = format!(
            "{:<FIGURE$}{:>VALUE$}",
            fit(&plain(&row.figure), FIGURE - 1),
            value(row.kernel)
        );
        let mut is_outside = false;
        for (_, fidelity) in runs {
            let theirs = fidelity.rows.iter().find(|r| r.figure == row.figure);
            line += &format!("{:>VALUE$}", value(theirs.and_then(|r| r.model)));
            is_outside |= theirs.and_then(FidelityRow::is_within) == Some(false);
        }
        let band = row.tolerance.map_or("-".to_owned(), |t| match t {
            0.0 => "exact".to_owned(),
            t if t < 0.01 => format!("{}%", (t * 1e5).round() / 1e3),
            t => format!("{:.0}%", t * 100.0),
        });
        line += &format!("{band:>7}  {:<4}", row.defined.as_deref().unwrap_or("-"));
        if is_outside {
            line += " OUT";
            outside.push(row);
        }
        text += &format!("{}\n", line.trim_end());
    }
    if outside.is_empty() {
        text += "every figure that has a band lies within it\n";
    }
    for row in outside {
        let reason = row.reason.as_deref().unwrap_or("no reason is known");
        text += &wrap(&format!("OUT  {}: {}", plain(&row.figure), plain(reason)), "     ", 80);
    }
    text
}

fn value(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v.fract() == 0.0 && v.abs() < 1e9 => format!("{v:.0}"),
        Some(v) if v.abs() >= 1000.0 => format!("{v:.0}"),
        Some(v) if v.abs() >= 10.0 => format!("{v:.2}"),
        Some(v) => format!("{v:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(figure: &str, kernel: f64, model: f64, tolerance: Option<f64>) -> FidelityRow {
        FidelityRow {
            figure: figure.to_owned(),
            kernel: Some(kernel),
            model: Some(model),
            tolerance,
            defined: Some("S".to_owned()),
            reason: Some("hangs on what no file has".to_owned()),
        }
    }

    fn fidelity(rows: Vec<FidelityRow>) -> Fidelity {
        Fidelity { source: "compile (Linux 6.18)".to_owned(), rows }
    }

    #[test]
    fn a_band_is_relative_to_the_kernel() {
        assert_eq!(row("", 100.0, 109.0, Some(0.1)).is_within(), Some(true));
        assert_eq!(row("", 100.0, 89.0, Some(0.1)).is_within(), Some(false));
        assert_eq!(row("", 0.0, 0.0, Some(0.0)).is_within(), Some(true));
        assert_eq!(row("", 0.0, 1.0, Some(0.1)).is_within(), Some(false));
        assert_eq!(row("", 1.0, 2.0, None).is_within(), None);
    }

    #[test]
    fn a_row_outside_its_band_says_why() {
        let one = fidelity(vec![
            row("free pages", 232_558.0, 231_120.0, Some(0.05)),
            row("drained per F", 0.1874, 0.25, Some(0.1)),
            row("records", 1.0, 1.0, Some(0.0)),
        ]);
        insta::assert_snapshot!(table(&[("mainline", &one)]));
    }

    #[test]
    fn variants_stand_side_by_side() {
        let new = fidelity(vec![row("refills", 475.0, 482.0, None)]);
        let old = fidelity(vec![row("refills", 475.0, 2720.0, None)]);
        let text = table(&[("mainline", &new), ("v5.10", &old)]);
        assert!(text.contains("mainline     v5.10") && text.contains("482      2720"), "{text}");
        assert!(text.ends_with("every figure that has a band lies within it\n"));
    }
}
