//! The clock that takes the latencies: what it is, its step, and what taking a sample costs.
//!
//! **What.** [`Ticks`] turns the TSC readings of [`allocator::sync::stamp`] into nanoseconds;
//! [`measure`] finds step and costs before a run, for the record.
//!
//! **Why.** A difference smaller than the cost of seeing it means nothing, so the cost stands in the
//! record and in the summary.
//!
//! **Differs.** Readings are unserialised: a few instructions may move across one, which shifts a
//! sample by less than the cost that is reported.

use std::hint::black_box;

use allocator::sync::{Stamp, stamp};
use results::histogram::{Config, OpHistograms, OpName};
use results::schema;

/// Readings in one try: some microseconds, so that few tries meet a preemption.
const READINGS: u32 = 500;
/// Tries, of which the median counts.
const TRIES: usize = 101;

/// Turns readings of the clock into nanoseconds.
#[derive(Clone, Debug)]
pub struct Ticks(quanta::Clock);

impl Default for Ticks {
    fn default() -> Self {
        Self(quanta::Clock::new())
    }
}

impl Ticks {
    /// Nanoseconds between two readings.
    #[inline]
    pub fn ns(&self, start: Stamp, end: Stamp) -> u64 {
        self.0.delta_as_nanos(start, end)
    }

    /// Readings in so many nanoseconds, at least 1.
    pub fn in_ns(&self, ns: u64) -> u64 {
        const PROBE: u64 = 1 << 32;
        let probe_ns = self.ns(0, PROBE).max(1);
        (u128::from(ns) * u128::from(PROBE) / u128::from(probe_ns)).max(1) as u64
    }
}

/// What taking latencies costs on this host, now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Does the time come from the TSC (or from the system's monotonic clock)?
    pub is_tsc: bool,
    /// Smallest step seen between two readings that differ.
    pub step_ns: f64,
    /// One reading.
    pub read_ns: f64,
    /// One sample: two readings, the look at the host's interference, one histogram record.
    pub record_ns: f64,
}

impl Cost {
    /// As it stands in the record.
    pub fn document(&self, time_scale: f64) -> schema::Clock {
        schema::Clock {
            source: if self.is_tsc { "tsc" } else { "monotonic" }.to_owned(),
            step_ns: Some(self.step_ns),
            read_ns: Some(self.read_ns),
            record_ns: Some(self.record_ns),
            time_scale,
        }
    }
}

/// Measures the clock: medians of several tries, so that a preemption does not count.
pub fn measure() -> Cost {
    let ticks = Ticks::default();
    // Both clocks count nanoseconds where there is no TSC to count anything finer.
    let is_tsc = ticks.ns(0, 1 << 32) != 1 << 32;
    Cost {
        is_tsc,
        step_ns: step(&ticks),
        read_ns: median_of(TRIES, || read(&ticks)),
        record_ns: record(&ticks),
    }
}

fn median_of(tries: usize, mut one: impl FnMut() -> f64) -> f64 {
    let mut costs: Vec<f64> = (0..tries).map(|_| one()).collect();
    costs.sort_by(f64::total_cmp);
    costs[tries / 2]
}

fn step(ticks: &Ticks) -> f64 {
    const SCALE: u64 = 1 << 20;
    let mut smallest = u64::MAX;
    let mut last = stamp();
    for _ in 0..READINGS * 10 {
        let now = stamp();
        if now > last {
            smallest = smallest.min(now - last);
        }
        last = now;
    }
    // Scaled, since a step may be less than a nanosecond.
    ticks.ns(0, smallest.saturating_mul(SCALE)) as f64 / SCALE as f64
}

fn read(ticks: &Ticks) -> f64 {
    let start = stamp();
    for _ in 0..READINGS {
        black_box(stamp());
    }
    ticks.ns(start, stamp()) as f64 / f64::from(READINGS)
}

fn record(ticks: &Ticks) -> f64 {
    use workloads::Recorder as _;
    let names = [OpName { name: "probe", label: "probe" }].into();
    let ops = OpHistograms::new(names, Config::default());
    let mut recorder = super::recorder::ThreadRecorder::new(ops, ticks, Vec::new());
    let warm = recorder.now();
    recorder.record(0, warm);
    median_of(TRIES, || {
        let start = stamp();
        for _ in 0..READINGS {
            let from = recorder.now();
            recorder.record(0, black_box(from));
        }
        ticks.ns(start, stamp()) as f64 / f64::from(READINGS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_nanoseconds_convert_both_ways() {
        let ticks = Ticks::default();
        let ms = ticks.in_ns(1_000_000);
        let back = ticks.ns(0, ms);
        assert!((990_000..=1_010_000).contains(&back), "{back}");
    }

    #[test]
    fn a_sample_costs_more_than_two_readings_and_both_are_found() {
        let cost = measure();
        assert!(cost.step_ns > 0.0 && cost.read_ns > 0.0, "{cost:?}");
        assert!(cost.record_ns > cost.read_ns, "{cost:?}");
        assert!(cost.record_ns < 100_000.0, "{cost:?}");
        assert_eq!(cost.document(2.0).time_scale, 2.0);
    }
}
