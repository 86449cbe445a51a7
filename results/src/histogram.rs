//! Latency histograms: record, merge, encode, read percentiles.
//!
//! What: a thin layer over HdrHistogram: [`Histogram`] for one operation, [`OpHistograms`] for all
//! operations of one thread.
//! Why: percentiles can't be merged, histograms can, over threads, rounds and machines and without
//! loss. So every thread records alone, and merging comes afterwards.
//! Source: the `hdrhistogram` crate; text form is base64 of V2, deflated, as every HdrHistogram
//! tool reads it (plain V2 is read by none but this crate).
//! Differs: values above the upper bound are counted at the bound, never dropped and never an
//! error: a lost outlier is the one that mattered.
//!
//! Memory: 1 ns to 60 s takes 216 KiB at 3 digits and 33 KiB at 2; 512 threads with 8 operations
//! at 3 digits would be 864 MiB. Hence 2 digits (an error of at most 0.8 %, none below 256 ns), and
//! nothing is allocated before an operation's first sample.

mod decode;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::error::{Error, Result};
use crate::schema::{LatencyNs, Op};

/// Bounds and precision of all histograms of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Values below are counted as this; at least 1.
    pub lowest_ns: u64,
    /// Values above are counted as this; at least twice `lowest_ns`.
    pub highest_ns: u64,
    /// Significant decimal digits, 1 to 5.
    pub digits: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self { lowest_ns: 1, highest_ns: 60_000_000_000, digits: 2 }
    }
}

impl Config {
    /// Checks the bounds once, so that making a histogram can't fail later.
    ///
    /// # Errors
    /// Bounds or digits that HdrHistogram can't represent.
    pub fn new(lowest_ns: u64, highest_ns: u64, digits: u8) -> Result<Self> {
        hdrhistogram::Histogram::<u64>::new_with_bounds(lowest_ns, highest_ns, digits).map_err(|e| {
            Error::Input(format!("histogram of {lowest_ns} to {highest_ns} ns at {digits} digits: {e}; digits are 1 to 5"))
        })?;
        Ok(Self { lowest_ns, highest_ns, digits })
    }

    /// Bytes that one histogram takes once it is allocated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Histogram::new(*self).0.distinct_values() * size_of::<u64>()
    }
}

/// The latencies of one operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

impl Histogram {
    /// An empty histogram.
    ///
    /// # Panics
    /// If the bounds were not made by [`Config::new`] or `default` and don't fit.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(
            hdrhistogram::Histogram::new_with_bounds(
                config.lowest_ns,
                config.highest_ns,
                config.digits,
            )
            .unwrap_or_else(|e| panic!("{config:?}: {e}")),
        )
    }

    /// Counts one sample.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// Counts `times` equal samples.
    pub fn record_n(&mut self, ns: u64, times: u64) {
        self.0.saturating_record_n(ns, times);
    }

    /// Adds another histogram. Nothing is lost: one with wider bounds or more digits makes this
    /// one as wide and as fine first.
    pub fn merge(&mut self, other: &Self) {
        if other.0.sigfig() > self.0.sigfig()
            || other.0.high() > self.0.high()
            || other.0.low() < self.0.low()
        {
            let low = self.0.low().min(other.0.low());
            let high = self.0.high().max(other.0.high());
            let digits = self.0.sigfig().max(other.0.sigfig());
            let mut wider = Self::new(Config { lowest_ns: low, highest_ns: high, digits });
            wider.add(self);
            *self = wider;
        }
        self.add(other);
    }

    /// As [`Self::merge`], for histograms that others made.
    ///
    /// # Errors
    /// [`Error::Histogram`] if the sum would be wider or larger than any that [`Self::decode`] takes.
    pub fn merge_foreign(&mut self, other: &Self, what: &str) -> Result<()> {
        let (a, b) = (&self.0, &other.0);
        let digits = a.sigfig().max(b.sigfig());
        let buckets = decode::buckets(a.low().min(b.low()), a.high().max(b.high()), digits.into());
        if buckets > decode::MOST_BUCKETS || a.len() + b.len() > decode::MOST_SAMPLES {
            let reason = "with the others it is too wide or too large to add".to_owned();
            return Err(Error::Histogram { what: what.to_owned(), reason });
        }
        self.merge(other);
        Ok(())
    }

    /// Buckets: 8 bytes each.
    pub(crate) fn buckets(&self) -> usize {
        self.0.distinct_values()
    }

    fn add(&mut self, other: &Self) {
        // Can't fail: `merge` has made room for the other's whole range.
        self.0.add(&other.0).unwrap_or_else(|e| panic!("histogram add after widening: {e}"));
    }

    /// Samples.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Value at a quantile between 0 and 1: the upper end of its bucket.
    #[must_use]
    pub fn quantile(&self, q: f64) -> u64 {
        self.0.value_at_quantile(q)
    }

    /// The percentiles of the record; `None` without samples.
    #[must_use]
    pub fn latency(&self) -> Option<LatencyNs> {
        (!self.0.is_empty()).then(|| LatencyNs {
            count: self.0.len(),
            min: self.0.min(),
            mean: self.0.mean(),
            mid: Some(self.mid()),
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            p9999: self.quantile(0.9999),
            max: self.0.max(),
        })
    }

    /// Mean of the middle half of the samples. Clock steps even out in it, as in a mean, and tails
    /// don't reach it, as they don't a median: nor does a second mode of up to a quarter, such as each
    /// tenth fault's refill.
    #[must_use]
    pub fn mid(&self) -> f64 {
        let cut = self.0.len() as f64 / 4.0;
        let (from, to) = (cut, self.0.len() as f64 - cut);
        let (mut seen, mut sum) = (0.0, 0.0);
        for (value, count) in self.recorded() {
            let next = seen + count as f64;
            let inside = (next.min(to) - f64::max(seen, from)).max(0.0);
            let middle = self.0.median_equivalent(value) as f64;
            sum += middle * inside;
            seen = next;
        }
        if to > from { sum / (to - from) } else { 0.0 }
    }

    /// Base64 of V2, deflated: the `hdr` of the record.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        // Can't fail: the sink is memory, and counts are far below the format's 2^63.
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .unwrap_or_else(|e| panic!("encode a histogram to memory: {e}"));
        BASE64.encode(bytes)
    }

    /// Reads what [`Self::encode`] or any other HdrHistogram tool wrote.
    ///
    /// # Errors
    /// [`Error::Histogram`]; `what` names file and field in it.
    pub fn decode(text: &str, what: &str) -> Result<Self> {
        let fail = |reason: String| Error::Histogram { what: what.to_owned(), reason };
        decode::decode(text).map(Self).map_err(fail)
    }

    /// Percentile levels with value, quantile and running count, finer towards the tail: one row for
    /// each of `.hgrm`'s lines and each point of a percentile plot.
    pub fn percentile_rows(&self, ticks_per_half: u32) -> impl Iterator<Item = PercentileRow> + '_ {
        let mut seen = 0;
        self.0.iter_quantiles(ticks_per_half).map(move |step| {
            seen += step.count_since_last_iteration();
            PercentileRow {
                value_ns: step.value_iterated_to(),
                quantile: step.quantile_iterated_to(),
                count: seen,
            }
        })
    }

    /// Buckets that hold samples: value and count, in order.
    pub fn recorded(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// Standard deviation.
    #[must_use]
    pub fn stddev(&self) -> f64 {
        self.0.stdev()
    }

    /// The crate's own type, for writers of its formats.
    #[must_use]
    pub fn inner(&self) -> &hdrhistogram::Histogram<u64> {
        &self.0
    }
}

/// One level of a percentile distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PercentileRow {
    /// Value at this level.
    pub value_ns: u64,
    /// Share of samples at or below it, 0 to 1.
    pub quantile: f64,
    /// Samples at or below it.
    pub count: u64,
}

/// Samples that a percentile needs before it is worth printing: ten beyond it from p99.9 on, one
/// beyond it below.
#[must_use]
pub fn enough_samples(quantile: f64, count: u64) -> bool {
    let beyond = if quantile < 0.995 { 1.0 } else { 10.0 };
    count > 0 && count as f64 * (1.0 - quantile) >= beyond * (1.0 - 1e-9)
}

/// Name and label of an operation, as data that a workload registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpName {
    /// Name for gates and scripts: letters, digits, `_` and `-`.
    pub name: &'static str,
    /// Name for people.
    pub label: &'static str,
}

/// The operations that a workload records; the index in it is the operation's id.
pub type OpNames = Arc<[OpName]>;

/// What one thread recorded: nothing in it is shared, so recording needs no atomics.
#[derive(Debug, Clone)]
pub struct OpHistograms {
    config: Config,
    names: OpNames,
    slots: Box<[Slot]>,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    /// Allocated at the first sample.
    main: Option<Box<Histogram>>,
    /// Samples during which the host took the CPU away.
    preempted: Option<Box<Histogram>>,
    /// Long samples in `main` that may have been preempted.
    unknown: u64,
    /// Operations that were done but not timed.
    untimed: u64,
}

impl OpHistograms {
    /// Room for the names, without memory for any histogram yet.
    #[must_use]
    pub fn new(names: OpNames, config: Config) -> Self {
        let slots = names.iter().map(|_| Slot::default()).collect();
        Self { config, names, slots }
    }

    /// The operations.
    #[must_use]
    pub fn names(&self) -> &OpNames {
        &self.names
    }

    /// Counts one sample of operation `op`.
    ///
    /// # Panics
    /// If `op` is no index into the names.
    #[inline]
    pub fn record(&mut self, op: usize, ns: u64) {
        match &mut self.slots[op].main {
            Some(histogram) => histogram.record(ns),
            empty @ None => Self::first(empty, self.config, ns),
        }
    }

    /// Counts one sample during which the host is known to have descheduled the thread; it goes
    /// to a histogram of its own.
    #[cold]
    pub fn record_preempted(&mut self, op: usize, ns: u64) {
        match &mut self.slots[op].preempted {
            Some(histogram) => histogram.record(ns),
            empty @ None => Self::first(empty, self.config, ns),
        }
    }

    /// Counts one long sample of which nobody knows whether the host interfered; it stays in the
    /// main histogram.
    #[cold]
    pub fn record_unknown(&mut self, op: usize, ns: u64) {
        self.slots[op].unknown += 1;
        self.record(op, ns);
    }

    /// Counts operations that were not timed.
    #[inline]
    pub fn count_untimed(&mut self, op: usize, operations: u64) {
        self.slots[op].untimed += operations;
    }

    #[cold]
    fn first(slot: &mut Option<Box<Histogram>>, config: Config, ns: u64) {
        slot.insert(Box::new(Histogram::new(config))).record(ns);
    }

    /// Adds what another thread, round or interval recorded.
    ///
    /// # Panics
    /// If the other one records other operations.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.names, other.names, "histograms of different workloads don't merge");
        for (mine, theirs) in self.slots.iter_mut().zip(&other.slots) {
            merge_slot(&mut mine.main, theirs.main.as_deref());
            merge_slot(&mut mine.preempted, theirs.preempted.as_deref());
            mine.unknown += theirs.unknown;
            mine.untimed += theirs.untimed;
        }
    }

    /// Hands over what was recorded and starts anew, keeping nothing: for intervals.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.names.clone(), self.config))
    }

    /// An operation that is longer than the host's time slices is preempted as a rule, and what is
    /// left without these samples says nothing. Where more than one in ten was preempted they join the
    /// main histogram, counted as unknown.
    pub fn keep_frequent_preemptions(&mut self) {
        for slot in &mut self.slots {
            let len = |h: &Option<Box<Histogram>>| h.as_ref().map_or(0, |h| h.count());
            let (main, preempted) = (len(&slot.main), len(&slot.preempted));
            if preempted * 10 > main + preempted {
                merge_slot(&mut slot.main, slot.preempted.take().as_deref());
                slot.unknown += preempted;
            }
        }
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots
            .iter()
            .all(|slot| slot.main.is_none() && slot.preempted.is_none() && slot.untimed == 0)
    }

    /// Histogram of one operation, preempted samples left out; `None` before its first sample.
    #[must_use]
    pub fn get(&self, op: usize) -> Option<&Histogram> {
        self.slots[op].main.as_deref()
    }

    /// Operations done: timed, preempted and untimed ones.
    #[must_use]
    pub fn count(&self, op: usize) -> u64 {
        let slot = &self.slots[op];
        let len = |h: &Option<Box<Histogram>>| h.as_ref().map_or(0, |h| h.count());
        len(&slot.main) + len(&slot.preempted) + slot.untimed
    }

    /// The `ops` of a record, over `measured_s` seconds of wall time and `cpu_s` of CPU time.
    /// Operations that never happened are there with count 0, so that keys don't come and go.
    #[must_use]
    pub fn to_ops(
        &self,
        measured_s: f64,
        cpu_s: Option<f64>,
        with_hdr: bool,
    ) -> indexmap::IndexMap<String, Op> {
        let per =
            |count: u64, seconds: f64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let text =
            |h: &Option<Box<Histogram>>| h.as_deref().filter(|_| with_hdr).map(Histogram::encode);
        let row = |op: usize, slot: &Slot| Op {
            label: self.names[op].label.to_owned(),
            count: self.count(op),
            rate_per_s: per(self.count(op), measured_s),
            rate_per_cpu_s: cpu_s.filter(|s| *s > 0.0).map(|s| per(self.count(op), s)),
            latency_ns: slot.main.as_deref().and_then(Histogram::latency),
            hdr: text(&slot.main),
            preempted: slot.preempted.as_ref().map_or(0, |h| h.count()),
            preempted_hdr: text(&slot.preempted),
            unknown: slot.unknown,
        };
        self.slots
            .iter()
            .enumerate()
            .map(|(op, slot)| (self.names[op].name.to_owned(), row(op, slot)))
            .collect()
    }
}

fn merge_slot(mine: &mut Option<Box<Histogram>>, theirs: Option<&Histogram>) {
    match (mine, theirs) {
        (_, None) => {}
        (Some(mine), Some(theirs)) => mine.merge(theirs),
        (empty @ None, Some(theirs)) => *empty = Some(Box::new(theirs.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[u64], digits: u8) -> Histogram {
        let mut h = Histogram::new(Config { digits, ..Config::default() });
        values.iter().for_each(|&v| h.record(v));
        h
    }

    #[test]
    fn percentiles_of_a_known_set() {
        // 1 to 10,000 us, each once: the p-th percentile is p x 100 us, within 2 digits' 0.8 %.
        let h = of(&(1..=10_000).map(|us| us * 1000).collect::<Vec<_>>(), 2);
        let latency = h.latency().unwrap();
        assert_eq!(latency.count, 10_000);
        for (seen, exact) in [
            (latency.p50, 5_000_000.0),
            (latency.p90, 9_000_000.0),
            (latency.p99, 9_900_000.0),
            (latency.p999, 9_990_000.0),
            (latency.p9999, 9_999_000.0),
            (latency.max, 10_000_000.0),
        ] {
            let error = (seen as f64 / exact - 1.0).abs();
            assert!(error < 0.008, "{seen} against {exact}");
        }
        assert!((latency.mean / 5_000_500.0 - 1.0).abs() < 0.004);
    }

    #[test]
    fn the_middle_hears_neither_tails_nor_clock_steps() {
        // 176 ns by a clock that steps by 10, and a tail: the median says 180, the mean 1,000.
        let mut h = Histogram::new(Config { digits: 3, ..Config::default() });
        h.record_n(170, 400);
        h.record_n(180, 550);
        h.record_n(17_000, 50);
        let latency = h.latency().unwrap();
        assert_eq!(latency.p50, 180);
        assert!(latency.mean > 1000.0, "{}", latency.mean);
        let mid = latency.mid.unwrap();
        assert!((mid - 177.0).abs() < 1.0, "{mid}");
        assert!((of(&[5], 2).mid() - 5.0).abs() < 1e-9);
    }

    #[test]
    fn values_beyond_the_bound_are_kept_at_the_bound() {
        let h = of(&[1, 100_000_000_000], 2);
        assert_eq!(h.count(), 2);
        assert!(h.latency().unwrap().max >= 60_000_000_000);
    }

    #[test]
    fn nothing_is_allocated_before_the_first_sample() {
        let names: OpNames =
            [OpName { name: "a", label: "A" }, OpName { name: "b", label: "B" }].into();
        let mut ops = OpHistograms::new(names, Config::default());
        assert!(ops.is_empty() && ops.get(0).is_none());
        ops.record(1, 7);
        ops.record_preempted(1, 9_000_000);
        ops.record_unknown(1, 2_000_000);
        ops.count_untimed(1, 4);
        assert!(ops.get(0).is_none());
        let json = ops.to_ops(2.0, Some(4.0), true);
        let (a, b) = (&json["a"], &json["b"]);
        assert_eq!((a.count, a.latency_ns, &a.hdr), (0, None, &None));
        assert_eq!((b.count, b.preempted, b.unknown, b.rate_per_s), (7, 1, 1, 3.5));
        assert_eq!(b.rate_per_cpu_s, Some(1.75));
        assert_eq!(b.latency_ns.unwrap().count, 2);
        let taken = ops.take();
        assert!(ops.is_empty() && taken.count(1) == 7);
    }

    #[test]
    fn rare_preemptions_stay_apart_and_frequent_ones_join() {
        let check = |clean: u64, preempted: u64, apart: u64, unknown: u64| {
            let names: OpNames = [OpName { name: "a", label: "A" }].into();
            let mut ops = OpHistograms::new(names, Config::default());
            (0..clean).for_each(|_| ops.record(0, 100));
            (0..preempted).for_each(|_| ops.record_preempted(0, 5_000_000));
            ops.keep_frequent_preemptions();
            let op = &ops.to_ops(1.0, None, false)["a"];
            assert_eq!((op.preempted, op.unknown, op.count), (apart, unknown, clean + preempted));
        };
        check(90, 10, 10, 0);
        check(90, 11, 0, 11);
        check(0, 3, 0, 3);
        check(5, 0, 0, 0);
    }

    #[test]
    fn damaged_text_is_one_clear_line() {
        for text in ["not base64!", "AAAA", "", &of(&[1, 2, 3], 2).encode()[..20]] {
            let message =
                Histogram::decode(text, "new.json: ops.alloc.hdr").unwrap_err().to_string();
            assert!(
                message.starts_with("new.json: ops.alloc.hdr: histogram does not decode: "),
                "{message}"
            );
            assert!(!message.contains('\n'));
        }
    }

    #[test]
    fn tail_percentiles_need_samples() {
        assert!(!enough_samples(0.9999, 99_999) && enough_samples(0.9999, 100_000));
        assert!(!enough_samples(0.999, 9_999) && enough_samples(0.999, 10_000));
        assert!(!enough_samples(0.99, 99) && enough_samples(0.99, 100));
        assert!(enough_samples(0.5, 2) && !enough_samples(0.5, 0));
    }

    fn samples() -> impl Strategy<Value = (Vec<u64>, u8)> {
        (prop::collection::vec(1..70_000_000_000_u64, 0..200), 1..4_u8)
    }

    proptest! {
        #[test]
        fn encode_then_decode_is_the_same((values, digits) in samples()) {
            let h = of(&values, digits);
            prop_assert_eq!(Histogram::decode(&h.encode(), "test").unwrap(), h);
        }

        #[test]
        fn merge_is_associative_and_loses_no_sample(a in samples(), b in samples(), c in samples()) {
            let [a, b, c] = [a, b, c].map(|(values, digits)| of(&values, digits));
            let mut left = a.clone();
            left.merge(&b);
            left.merge(&c);
            let mut right = b.clone();
            right.merge(&c);
            let mut outer = a.clone();
            outer.merge(&right);
            prop_assert_eq!(left.count(), a.count() + b.count() + c.count());
            // Differing digits go through buckets of different width: equal within the coarsest's.
            let coarsest = [&a, &b, &c].iter().map(|h| h.inner().sigfig()).min().unwrap();
            let width = 10_f64.powi(-i32::from(coarsest)) * 2.0;
            for q in [0.0, 0.5, 0.9, 0.99, 1.0] {
                let (l, o) = (left.quantile(q) as f64, outer.quantile(q) as f64);
                prop_assert!((l - o).abs() <= l.max(o) * width, "{} {} {}", q, l, o);
            }
        }

        #[test]
        fn merge_of_equal_digits_is_exact(a in prop::collection::vec(1..1_000_000_u64, 0..200), b in prop::collection::vec(1..1_000_000_u64, 0..200)) {
            let mut merged = of(&a, 2);
            merged.merge(&of(&b, 2));
            prop_assert_eq!(merged, of(&[a, b].concat(), 2));
        }
    }
}
