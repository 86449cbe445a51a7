//! How long it takes to find something: the median over rounds.
//!
//! What: each round that found gives a time, each that did not is longer than it lasted (censored).
//! Why: findings are rates too; "how long must I run this" is what a reader wants to know, and what
//! tells amplification, another variant or more threads apart.
//! Differs: no survival curve; the median needs only to know whether half of the rounds found.

use crate::schema::Run;

/// Time to find over the rounds of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FindTime {
    /// Rounds that found something that counts.
    pub found: usize,
    /// Rounds that say anything: whole ones, and those that a finding ended.
    pub rounds: usize,
    /// Median in seconds from the round's start; the longest round's length if fewer than half found.
    pub median_s: f64,
    /// Whether the median is only known to be longer than that.
    pub censored: bool,
}

/// The time to find; `None` if no round says anything.
#[must_use]
pub fn of(run: &Run) -> Option<FindTime> {
    of_all(std::iter::once(run))
}

/// As [`of`], over the rounds of several runs.
pub fn of_all<'a>(runs: impl Iterator<Item = &'a Run>) -> Option<FindTime> {
    let (mut found, mut lengths) = (Vec::new(), Vec::new());
    for run in runs {
        let warmup_s = run.phases.warmup_s / run.rounds.len().max(1) as f64;
        found.extend(run.rounds.iter().filter_map(|r| r.first_finding_s));
        let quiet = run.whole_rounds().filter(|r| r.first_finding_s.is_none());
        lengths.extend(quiet.map(|r| warmup_s + r.measured_s));
    }
    let rounds = found.len() + lengths.len();
    if rounds == 0 {
        return None;
    }
    found.sort_by(f64::total_cmp);
    let middle = (rounds - 1) / 2;
    let (median_s, censored) = match found.get(middle) {
        // An even number of rounds has two in the middle.
        Some(time) if rounds % 2 == 1 => (*time, false),
        Some(time) => found.get(middle + 1).map_or((*time, true), |b| ((time + b) / 2.0, false)),
        None => (lengths.into_iter().fold(0.0, f64::max), true),
    };
    Some(FindTime { found: found.len(), rounds, median_s, censored })
}

impl FindTime {
    /// `0.93 s`, or `>2.00 s` if fewer than half of the rounds found.
    #[must_use]
    pub fn median(&self) -> String {
        format!("{}{:.2} s", if self.censored { ">" } else { "" }, self.median_s)
    }

    /// `in 7 of 10 rounds, median 932ms`; `median >2.00 s` if fewer than half found.
    #[must_use]
    pub fn text(&self) -> String {
        let rounds = if self.rounds == 1 { "round" } else { "rounds" };
        format!("in {} of {} {rounds}, median {}", self.found, self.rounds, self.median())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Round;

    fn check(times: &[Option<f64>], expected: &str) {
        let round = |t: &Option<f64>| Round {
            complete: t.is_none(),
            measured_s: 2.0,
            first_finding_s: *t,
            ..Round::default()
        };
        let rounds = times.iter().map(round).collect();
        let text = of(&Run { rounds, ..Run::default() }).unwrap().text();
        assert_eq!(text, expected);
    }

    #[test]
    fn rounds_that_found_nothing_count_as_longer() {
        check(&[Some(0.5)], "in 1 of 1 round, median 0.50 s");
        check(&[Some(3.0), Some(1.0), None], "in 2 of 3 rounds, median 3.00 s");
        check(&[Some(0.2), None, None], "in 1 of 3 rounds, median >2.00 s");
        check(&[Some(0.2), Some(0.4)], "in 2 of 2 rounds, median 0.30 s");
        check(&[Some(0.2), None], "in 1 of 2 rounds, median >0.20 s");
        check(&[None], "in 0 of 1 round, median >2.00 s");
        assert_eq!(of(&Run::default()), None);
    }
}
