//! HdrHistogram's percentile text (.hgrm), which the web plotters read.
//!
//! Source: the layout of the Java implementation's `outputPercentileDistribution`; a test compares
//! with what the Python package `hdrhistogram` 0.10 writes.

use crate::histogram::Histogram;

/// The text, values divided by `ns_per_unit` (1000 gives microseconds).
#[must_use]
pub fn document(histogram: &Histogram, ns_per_unit: f64) -> String {
    let mut out = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for row in histogram.percentile_rows(5) {
        let value = row.value_ns as f64 / ns_per_unit;
        out.push_str(&format!("{value:>12.3} {:.12} {:>10}", row.quantile, row.count));
        if row.quantile < 1.0 {
            out.push_str(&format!(" {:>14.2}", 1.0 / (1.0 - row.quantile)));
        }
        out.push('\n');
    }
    let latency = histogram.latency().unwrap_or_default();
    let inner = histogram.inner();
    out.push_str(&format!(
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]\n",
        latency.mean / ns_per_unit,
        histogram.stddev() / ns_per_unit
    ));
    out.push_str(&format!(
        "#[Max     = {:>12.3}, Total count    = {:>12}]\n",
        latency.max as f64 / ns_per_unit,
        latency.count
    ));
    // The number of cells of the finest bucket: twice ten to the digits, as a power of two.
    let sub_buckets = (2 * 10_u64.pow(u32::from(inner.sigfig()))).next_power_of_two();
    out.push_str(&format!(
        "#[Buckets = {:>12}, SubBuckets     = {sub_buckets:>12}]\n",
        inner.buckets()
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Config;

    #[test]
    fn equals_what_another_implementation_writes() {
        let mut h = Histogram::new(Config { lowest_ns: 1, highest_ns: 60_000_000_000, digits: 2 });
        for i in 1..=1000_u64 {
            h.record(i * i);
        }
        // Its values have two decimals and its deviation is not scaled; the rest is the same.
        let want = include_str!("../../tests/reference/squares.hgrm");
        let text = document(&h, 1000.0);
        let (seen, want) = (rows(&text), rows(want));
        // It repeats levels that no further sample has reached; ours does not.
        assert!(seen.len() > 40 && seen.len() <= want.len());
        for row in &seen {
            let same = want.iter().find(|w| w[2] == row[2]).unwrap_or_else(|| panic!("no {row:?}"));
            let (value, expected) =
                (row[0].parse::<f64>().unwrap(), same[0].parse::<f64>().unwrap());
            assert!((value - expected).abs() <= 0.0051, "{row:?} {same:?}");
        }
        assert_eq!(seen.last().unwrap()[1..], want.last().unwrap()[1..]);
        for foot in [
            "#[Mean    =      333.86",
            "#[Max     =     1003.520, Total count    =         1000]",
            "#[Buckets =           29, SubBuckets     =          256]",
        ] {
            assert!(text.contains(foot), "{text}");
        }
    }

    /// The fields of the lines that are no header and no comment.
    fn rows(text: &str) -> Vec<Vec<&str>> {
        let lines = text.lines().filter(|l| !l.starts_with('#') && !l.contains("Percentile"));
        lines
            .map(|l| l.split_whitespace().collect())
            .filter(|l: &Vec<&str>| !l.is_empty())
            .collect()
    }
}
