//! Gates: how much worse a figure may get before a night fails.

use std::str::FromStr;

use super::figures::OP_FIGURES;
use super::stats::{self, FEWEST_PAIRS};
use crate::error::{Error, Result};
use crate::schema::{Interval, MetricRow, Verdict};

/// A limit on one figure of one operation or of all: `fault.p99>5%`, `max>2ms`,
/// `fault.ops_per_s<-5%`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// As it was typed.
    text: String,
    /// Operation; all without one.
    op: Option<String>,
    /// Figure by its full name.
    figure: String,
    above: bool,
    limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    /// Change in percent.
    Percent(f64),
    /// The new side's own value, in the figure's unit.
    Value(f64),
}

impl FromStr for Gate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| Error::Input(format!("--fail-on '{text}': {why}"));
        let at = text.find(['>', '<']).ok_or_else(|| {
            bad("no > or <; write for example 'fault.p99>5%' or 'max>2ms'".to_owned())
        })?;
        let (name, rest) = (text[..at].trim(), text[at + 1..].trim());
        let above = &text[at..=at] == ">";
        let (op, figure) = split_name(name);
        let known = OP_FIGURES.iter().find(|f| f.name == figure);
        let wants_time = figure.ends_with("_ns");
        let limit = limit(rest, wants_time).ok_or_else(|| {
            bad(format!("'{rest}' is no limit; write a percentage (5%), a time (2ms) or a number"))
        })?;
        if let Some(known) = known
            && (known.better == "higher") == above
        {
            let mirrored = if above {
                format!("<-{}", rest.trim_start_matches('-'))
            } else {
                format!(">{}", rest.trim_start_matches('-'))
            };
            return Err(bad(format!(
                "{figure} is better when {}: write '{name}{mirrored}'",
                known.better
            )));
        }
        Ok(Self { text: text.to_owned(), op, figure, above, limit })
    }
}

/// Operation and full name of the figure; what is no figure of operations is a name by itself.
fn split_name(name: &str) -> (Option<String>, String) {
    const ALIASES: [(&str, &str); 12] = [
        ("rate", "ops_per_s"),
        ("mean", "mean_ns"),
        ("mid", "mid_ns"),
        ("p50", "p50_ns"),
        ("median", "p50_ns"),
        ("p90", "p90_ns"),
        ("p99", "p99_ns"),
        ("p99.9", "p999_ns"),
        ("p999", "p999_ns"),
        ("p99.99", "p9999_ns"),
        ("p9999", "p9999_ns"),
        ("max", "max_ns"),
    ];
    let full = OP_FIGURES.iter().map(|f| (f.name, f.name));
    for (alias, figure) in ALIASES.into_iter().chain(full) {
        if name == alias {
            return (None, figure.to_owned());
        }
        if let Some(op) = name
            .strip_suffix(alias)
            .and_then(|rest| rest.strip_suffix('.'))
            .filter(|op| !op.is_empty())
        {
            return (Some(op.to_owned()), figure.to_owned());
        }
    }
    (None, name.to_owned())
}

/// The full name behind an alias: `fault.p99` is `fault.p99_ns`.
#[must_use]
pub fn full_name(name: &str) -> String {
    match split_name(name) {
        (Some(op), figure) => format!("{op}.{figure}"),
        (None, figure) => figure,
    }
}

fn limit(text: &str, wants_time: bool) -> Option<Limit> {
    let finite = |number: &str| number.trim().parse::<f64>().ok().filter(|n| n.is_finite());
    if let Some(number) = text.strip_suffix('%') {
        return finite(number).map(Limit::Percent);
    }
    let units: &[(&str, f64)] = if wants_time {
        &[("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)]
    } else {
        &[("k", 1e3), ("M", 1e6), ("G", 1e9)]
    };
    let with_unit = units
        .iter()
        .find_map(|(unit, factor)| finite(text.strip_suffix(unit)?).map(|n| n * factor));
    // A bare number has no unit to be wrong about, unless it is a time.
    with_unit.or_else(|| finite(text).filter(|_| !wants_time)).map(Limit::Value)
}

impl Gate {
    /// Whether the gate is on the figure of this name.
    #[must_use]
    pub fn names(&self, metric: &str) -> bool {
        match metric.rsplit_once('.') {
            Some((op, figure)) if OP_FIGURES.iter().any(|f| f.name == figure) => {
                figure == self.figure && self.op.as_ref().is_none_or(|mine| mine == op)
            }
            _ => metric == self.figure,
        }
    }

    /// The operation that it is about, if it names one.
    #[must_use]
    pub fn op(&self) -> Option<&str> {
        self.op.as_deref()
    }

    /// As it was typed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a change in percent is past the limit; an absolute limit looks at no change, so it is
    /// past all of them.
    pub(crate) fn past_percent(&self, change: f64) -> bool {
        match self.limit {
            Limit::Percent(limit) => self.past(change, limit),
            Limit::Value(_) => true,
        }
    }

    fn past(&self, value: f64, limit: f64) -> bool {
        if self.above { value > limit } else { value < limit }
    }

    /// Writes gate and verdict into the rows that it is on. Where two gates are on one figure, the
    /// worse verdict stays. `step_ns`: by what the clock that took the times moves.
    ///
    /// # Errors
    /// It is on no row.
    pub(super) fn judge(
        &self,
        rows: &mut [MetricRow],
        interrupted: bool,
        step_ns: f64,
        seed: u64,
    ) -> Result<()> {
        let mut found = false;
        for row in rows.iter_mut().filter(|row| self.names(&row.name)) {
            found = true;
            let verdict = match interrupted {
                true => Verdict::Interrupted,
                false => self.verdict(row, step_ns, seed),
            };
            if row.verdict.is_none_or(|old| severity(old) < severity(verdict)) {
                row.gate = Some(self.text.clone());
                row.verdict = Some(verdict);
            }
        }
        if found {
            return Ok(());
        }
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let have = if names.is_empty() {
            "none: no whole pair of rounds".to_owned()
        } else {
            names.join(" ")
        };
        Err(Error::Input(format!(
            "--fail-on '{}': no such figure on both sides, or too few samples a round for it; there are: {have}",
            self.text
        )))
    }

    fn verdict(&self, row: &MetricRow, step_ns: f64, seed: u64) -> Verdict {
        let (point, interval, limit) = match self.limit {
            Limit::Percent(limit) => (row.change_percent, row.interval_percent, limit),
            Limit::Value(limit) => {
                let logs: Vec<f64> =
                    row.new.samples.iter().filter(|s| **s > 0.0).map(|s| s.ln()).collect();
                let interval = stats::bootstrap(&[&logs], seed)
                    .map(|i| Interval { low: i[0].low.exp(), high: i[0].high.exp() });
                (stats::mean(&logs).map(f64::exp), interval, limit)
            }
        };
        let (Some(point), Some(interval)) = (point, interval) else {
            return Verdict::TooFewRounds;
        };
        debug_assert!(
            row.new.samples.len() >= FEWEST_PAIRS,
            "an interval needs {FEWEST_PAIRS} samples"
        );
        let wholly = |i: Interval| self.past(i.low, limit) && self.past(i.high, limit);
        let touches = |i: Interval| self.past(i.low, limit) || self.past(i.high, limit);
        let widened = self.widened(row, interval, step_ns / 2.0);
        if wholly(widened) {
            Verdict::Fail
        } else if wholly(interval) || touches(widened) && !touches(interval) {
            // Only the clock's step stands between the interval and a verdict.
            Verdict::BelowClock
        } else if self.past(point, limit) {
            Verdict::Suspect
        } else {
            Verdict::Ok
        }
    }

    /// The interval, widened by what each side's figure may be off: `half` a step of the clock.
    /// Means are of many readings, in which steps even out.
    fn widened(&self, row: &MetricRow, interval: Interval, half: f64) -> Interval {
        let evens_out = row.name.ends_with(".mid_ns") || row.name.ends_with(".mean_ns");
        if half <= 0.0 || !row.name.ends_with("_ns") || evens_out {
            return interval;
        }
        let (Some(base), Some(new)) = (row.base.mean, row.new.mean) else { return interval };
        match self.limit {
            Limit::Value(_) => Interval { low: interval.low - half, high: interval.high + half },
            Limit::Percent(_) => {
                let ratio = |percent: f64, new_off: f64, base_off: f64| {
                    let (new, base) = ((new + new_off) / new, (base + base_off) / base);
                    let ratio = (1.0 + percent / 100.0) * new.max(0.0) / base.max(0.0);
                    (ratio - 1.0) * 100.0
                };
                Interval {
                    low: ratio(interval.low, -half, half),
                    high: ratio(interval.high, half, -half),
                }
            }
        }
    }
}

fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => 0,
        Verdict::Suspect => 1,
        Verdict::BelowClock => 2,
        Verdict::TooFewRounds => 3,
        Verdict::Fail => 4,
        Verdict::Interrupted => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::MetricSide;

    fn parse(text: &str) -> Result<Gate> {
        text.parse()
    }

    #[test]
    fn gates_are_read_as_people_write_them() {
        for (text, op, figure, above, limit) in [
            ("fault.p99>5%", Some("fault"), "p99_ns", true, Limit::Percent(5.0)),
            ("p99.9 > 10 %", None, "p999_ns", true, Limit::Percent(10.0)),
            ("max>2ms", None, "max_ns", true, Limit::Value(2e6)),
            ("alloc.max_ns>1.5s", Some("alloc"), "max_ns", true, Limit::Value(1.5e9)),
            ("mems_update.p99.99>3us", Some("mems_update"), "p9999_ns", true, Limit::Value(3e3)),
            ("fault.rate<-5%", Some("fault"), "ops_per_s", false, Limit::Percent(-5.0)),
            ("fault.ops_per_s<3.5M", Some("fault"), "ops_per_s", false, Limit::Value(3.5e6)),
            (
                "slow_path.per_1000_updates>12",
                None,
                "slow_path.per_1000_updates",
                true,
                Limit::Value(12.0),
            ),
        ] {
            let gate = parse(text).unwrap();
            assert_eq!(
                (gate.op.as_deref(), gate.figure.as_str(), gate.above, gate.limit),
                (op, figure, above, limit)
            );
        }
    }

    #[test]
    fn gates_that_mean_nothing_are_refused_with_a_better_one() {
        for (text, want) in [
            ("p99", "no > or <"),
            ("p99>5", "'5' is no limit"),
            ("p99>lots%", "'lots%' is no limit"),
            ("p99>nan%", "is no limit"),
            ("max>2 parsecs", "is no limit"),
            ("fault.rate>5%", "ops_per_s is better when higher: write 'fault.rate<-5%'"),
            ("p99<-5%", "p99_ns is better when lower: write 'p99>5%'"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("--fail-on '{text}': ")) && message.contains(want),
                "{message}"
            );
        }
    }

    fn row(change: f64, interval: Option<(f64, f64)>) -> MetricRow {
        MetricRow {
            name: "fault.p99_ns".into(),
            better: Some("lower".into()),
            base: MetricSide::default(),
            new: MetricSide {
                samples: vec![1900.0, 2100.0, 2050.0, 1950.0, 2000.0, 2000.0],
                ..MetricSide::default()
            },
            change_percent: Some(change),
            interval_percent: interval.map(|(low, high)| Interval { low, high }),
            p: None,
            p_holm: None,
            significant: false,
            below_clock: false,
            gate: None,
            verdict: None,
        }
    }

    fn judged(gate: &str, mut row: MetricRow) -> Verdict {
        parse(gate).unwrap().judge(std::slice::from_mut(&mut row), false, 0.0, 1).unwrap();
        assert_eq!(row.gate.as_deref(), Some(gate));
        row.verdict.unwrap()
    }

    #[test]
    fn only_a_whole_interval_past_the_limit_fails() {
        assert_eq!(judged("p99>5%", row(7.2, Some((5.4, 9.1)))), Verdict::Fail);
        assert_eq!(judged("p99>5%", row(7.2, Some((4.9, 9.1)))), Verdict::Suspect);
        assert_eq!(judged("p99>5%", row(4.9, Some((3.0, 9.1)))), Verdict::Ok);
        assert_eq!(judged("p99>5%", row(7.2, None)), Verdict::TooFewRounds);
    }

    /// A figure of `base` ns by a clock that moves by 10 ns.
    fn by_steps(gate: &str, base: f64, change: f64, interval: (f64, f64)) -> Verdict {
        let mut row = row(change, Some(interval));
        row.base.mean = Some(base);
        row.new.mean = Some(base * (1.0 + change / 100.0));
        parse(gate).unwrap().verdict(&row, 10.0, 1)
    }

    #[test]
    fn a_clock_of_known_step_hides_small_changes_and_no_large_ones() {
        // A doubled operation of two steps is at least 35 ns where it was at most 25.
        assert_eq!(by_steps("p50>5%", 20.0, 100.0, (95.0, 105.0)), Verdict::Fail);
        assert_eq!(by_steps("p50>5%", 20.0, 72.3, (60.0, 90.0)), Verdict::Fail);
        // One step more of two steps may be nothing at all.
        assert_eq!(by_steps("p50>5%", 20.0, 50.0, (45.0, 55.0)), Verdict::BelowClock);
        // No change seen is none known either.
        assert_eq!(by_steps("p50>5%", 20.0, 0.0, (0.0, 0.0)), Verdict::BelowClock);
        assert_eq!(by_steps("p50>5%", 20_000.0, 0.0, (-0.1, 0.1)), Verdict::Ok);
        // Rounds that disagree are suspect by themselves.
        assert_eq!(by_steps("p50>5%", 20_000.0, 7.0, (3.0, 11.0)), Verdict::Suspect);
        // Steps even out in a mean.
        let mut mid = row(7.2, Some((5.4, 9.1)));
        mid.name = "fault.mid_ns".into();
        (mid.base.mean, mid.new.mean) = (Some(20.0), Some(21.4));
        assert_eq!(parse("mid>5%").unwrap().verdict(&mid, 10.0, 1), Verdict::Fail);
        // A limit of the side's own: 2 us by a clock of 200 ns.
        let mut own = row(0.0, None);
        own.new.samples = vec![1990.0, 2010.0, 2005.0, 1995.0, 2000.0, 2000.0];
        (own.base.mean, own.new.mean) = (Some(2000.0), Some(2000.0));
        assert_eq!(parse("p99>1.95us").unwrap().verdict(&own, 200.0, 1), Verdict::BelowClock);
    }

    #[test]
    fn absolute_limits_look_at_the_new_side_alone() {
        assert_eq!(judged("p99>1us", row(-50.0, None)), Verdict::Fail);
        assert_eq!(judged("p99>1.99us", row(-50.0, None)), Verdict::Suspect);
        assert_eq!(judged("p99>3us", row(50.0, None)), Verdict::Ok);
    }

    #[test]
    fn a_gate_on_nothing_names_what_there_is() {
        let message = parse("alloc.p99>5%")
            .unwrap()
            .judge(&mut [row(1.0, None)], false, 0.0, 1)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("no such figure") && message.contains("there are: fault.p99_ns"),
            "{message}"
        );
    }

    #[test]
    fn of_two_gates_the_worse_verdict_stays() {
        let mut rows = [row(7.2, Some((5.4, 9.1)))];
        for gate in ["p99>5%", "p99>20%"] {
            parse(gate).unwrap().judge(&mut rows, false, 0.0, 1).unwrap();
        }
        assert_eq!(
            (rows[0].gate.as_deref(), rows[0].verdict),
            (Some("p99>5%"), Some(Verdict::Fail))
        );
    }
}
