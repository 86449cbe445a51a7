//! HdrHistogram's percentile text (.hgrm), which the web plotters read.
//!
//! Source: the layout of the Java implementation's `outputPercentileDistribution`.

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
    fn every_row_is_true_of_the_samples() {
        let samples: Vec<u64> = (1..=1000).map(|i| i * i).collect();
        let mut h = Histogram::new(Config { lowest_ns: 1, highest_ns: 60_000_000_000, digits: 2 });
        samples.iter().for_each(|&s| h.record(s));
        let text = document(&h, 1000.0);
        let rows = rows(&text);
        assert_eq!(
            rows[..3].iter().map(|r| r[1]).collect::<Vec<_>>(),
            ["0.000000000000", "0.100000000000", "0.200000000000"]
        );
        assert_eq!(rows.last().unwrap(), &["1003.519", "1.000000000000", "1000"]);
        for row in &rows {
            let (value, quantile): (f64, f64) = (row[0].parse().unwrap(), row[1].parse().unwrap());
            let below = samples.iter().filter(|&&s| s as f64 <= value * 1000.0 + 0.5).count();
            assert_eq!(row[2].parse::<usize>().unwrap(), below, "{row:?}");
            assert!(below as f64 / 1000.0 >= quantile, "{row:?}");
        }
        for foot in [
            "#[Mean    =      333.8",
            "#[Max     =     1003.519, Total count    =         1000]",
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
