//! The pair one by one: median and tail, and how coarse the clock is that tells.
//!
//! **What.** Each pair between two reads of the TSC, as a run records its samples, beside the same with
//! nothing in between. The step is the greatest common divisor of the differences between reads: a
//! difference of medians below some steps means nothing.
//!
//! **Whose tail.** A pair during which this host ran somebody else says nothing of the model: blocks of
//! pairs in which the thread lost its CPU are left out. What a hypervisor takes can't be told from
//! within; `empty` shows it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::model::Model;
use crate::pairs::{Shape, Subject, on_thread};
use crate::{Figure, Measure, sys};

/// Pairs between two looks at whether the thread lost its CPU.
const BLOCK: usize = 4096;

/// All rows of this file.
pub(crate) fn measures(ms: u32) -> Vec<Measure> {
    let limit = Duration::from_millis(u64::from(ms));
    let step = Measure::new("floor: step of the TSC", || {
        let name = "floor: step of the TSC".to_owned();
        vec![Figure { name, unit: "ns", value: on_thread(step_ns) }]
    });
    let empty = Measure::new("floor: empty, recorded", move || {
        on_thread(|| percentiles("floor: empty, recorded", limit, || {}))
    });
    let pair = Measure::new("model  pair, order 0, recorded", move || {
        let model = Model::new(Shape { frames: 1 << 18, cpus: 1, order: 0 });
        on_thread(|| {
            let cx = model.context(0);
            percentiles("model  pair, order 0, recorded", limit, || {
                let frame = model.alloc(&cx, 0).expect("nearly all memory is free");
                model.free(&cx, black_box(frame), 0);
            })
        })
    });
    vec![step, empty, pair]
}

/// Median and p99.9 of `body`, TSC reads included.
fn percentiles(name: &str, limit: Duration, mut body: impl FnMut()) -> Vec<Figure> {
    let clock = quanta::Clock::new();
    let empty = || Histogram::<u64>::new_with_bounds(1, 1 << 32, 3).expect("bounds of a histogram");
    let (mut all, start) = (empty(), Instant::now());
    while start.elapsed() < limit || all.is_empty() {
        let (mut block, switches) = (empty(), sys::involuntary_switches());
        for _ in 0..BLOCK {
            let before = clock.raw();
            body();
            block.saturating_record(clock.delta_as_nanos(before, clock.raw()));
        }
        if sys::involuntary_switches() == switches {
            all.add(&block).expect("both have the same bounds");
        }
    }
    let figure = |what: &str, quantile| {
        let value = all.value_at_quantile(quantile) as f64;
        Figure { name: format!("{name}: {what}"), unit: "ns", value }
    };
    vec![figure("median", 0.5), figure("p99.9", 0.999)]
}

/// The TSC's step in ns.
fn step_ns() -> f64 {
    let clock = quanta::Clock::new();
    let mut reads: Vec<u64> = (0..20_000).map(|_| clock.raw()).collect();
    reads.dedup();
    let ticks = common_divisor(reads.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
    clock.delta_as_nanos(0, ticks * 1000) as f64 / 1000.0
}

fn common_divisor(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, |mut a, mut b| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_all_differences_have_in_common() {
        assert_eq!(common_divisor([52, 78, 26, 130].into_iter()), 26);
        assert_eq!(common_divisor([30, 7].into_iter()), 1);
        assert_eq!(common_divisor([].into_iter()), 0);
    }
}
