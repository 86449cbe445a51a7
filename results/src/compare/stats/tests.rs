//! Expected figures are scipy 1.17.1's; `tests/reference/stats.py` prints them.

use proptest::prelude::*;

use super::*;

const A: [f64; 10] = [0.01, -0.02, 0.035, 0.041, -0.003, 0.027, 0.05, 0.012, -0.008, 0.019];
const B: [f64; 6] = [0.10, 0.09, 0.11, 0.12, 0.08, 0.101];
const C: [f64; 7] = [0.02, -0.02, 0.02, -0.02, 0.0, 0.01, 0.03];
const D: [f64; 12] =
    [0.004, 0.011, -0.002, 0.02, 0.007, 0.013, -0.006, 0.009, 0.015, 0.001, 0.008, 0.012];
const E: [f64; 20] = [
    0.0204, 0.0346, 0.0199, -0.0291, 0.0372, 0.0234, -0.0061, 0.0274, 0.0209, 0.0188, 0.0109,
    0.0264, -0.0121, 0.0051, -0.0045, 0.028, 0.0112, 0.0012, -0.0135, 0.0023,
];

#[track_caller]
fn near(seen: f64, want: f64, relative: f64) {
    assert!((seen - want).abs() <= want.abs() * relative + 1e-15, "{seen} instead of {want}");
}

#[test]
fn sign_flip_equals_scipys_permutation_test() {
    for (differences, p) in
        [(&A[..], 0.0546875), (&B[..], 0.03125), (&C[..], 0.5625), (&D[..], 0.0068359375)]
    {
        assert_eq!(sign_flip(differences, 1), Some(p));
    }
    // All 2^20 patterns give 0.01311; 10,000 random ones have a standard error of 0.0011.
    let p = sign_flip(&E, 1).unwrap();
    assert!((p - 0.013_111).abs() < 4.0 * 0.0011, "{p}");
    assert_eq!(sign_flip(&E, 1), Some(p), "a seed gives one figure");
    assert_eq!(sign_flip(&[], 1), None);
}

#[test]
fn fewer_than_six_pairs_cannot_reach_five_percent() {
    assert_eq!(sign_flip(&[1.0; 5], 1), Some(0.0625));
    assert_eq!(sign_flip(&[1.0; 6], 1), Some(0.03125));
    assert_eq!(sign_flip(&[1.0; 8], 1), Some(0.0078125));
}

#[test]
fn bootstrap_interval_equals_scipys_at_the_widened_level() {
    // scipy's with 2,000,000 draws; ours has 10,000: 4 standard errors of a quantile that far
    // out are about 0.03 of the interval's width.
    for (differences, low, high) in [
        (&A[..], 0.000_300_0, 0.032),
        (&B[..], 0.085_166_67, 0.115),
        (&D[..], 0.002_833_33, 0.012_25),
    ] {
        let seen = bootstrap(&[differences], 7).unwrap()[0];
        let slack = (high - low) * 0.06;
        assert!(
            (seen.low - low).abs() < slack && (seen.high - high).abs() < slack,
            "{seen:?} {low} {high}"
        );
    }
    assert_eq!(bootstrap(&[&B[..5]], 7), None);
    assert_eq!(bootstrap(&[], 7), None);
}

#[test]
fn many_pairs_tell_the_same_as_their_draws() {
    // A skewed column, like the log ratios of a tail latency: 299 rows are drawn, 300 are not.
    let mut random = SplitMix64::new(5);
    let skewed = |random: &mut SplitMix64| {
        let unit = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - unit).ln() - 0.93
    };
    let many: Vec<f64> = (0..MANY_PAIRS).map(|_| skewed(&mut random)).collect();
    let drawn = bootstrap(&[&many[1..]], 7).unwrap()[0];
    let known = bootstrap(&[&many], 7).unwrap()[0];
    let width = drawn.high - drawn.low;
    // Four standard errors of a drawn quantile, and what the left-out row moves.
    let (low, high) = ((known.low - drawn.low) / width, (known.high - drawn.high) / width);
    assert!(low.abs() < 0.06 && high.abs() < 0.06, "{drawn:?} {known:?}");
    let (drawn, known) = (sign_flip(&many[1..], 7).unwrap(), sign_flip(&many, 7).unwrap());
    assert!((0.01..0.9).contains(&drawn) && (drawn - known).abs() < 0.05, "{drawn} {known}");
    assert_eq!(sign_flip(&[0.0; MANY_PAIRS], 1), Some(1.0));
    let sure = sign_flip(&[0.5; 5000], 1).unwrap();
    assert!(sure > 0.0 && sure < 1e-100, "{sure}");
}

#[test]
fn interval_levels_equal_scipys() {
    for (n, level) in [
        (10, 0.008_550_639_024_406_366),
        (6, 0.002_431_803_174_611_566_7),
        (12, 0.010_756_614_916_552_488),
    ] {
        near(widened_tail(n), level, 1e-9);
    }
}

#[test]
fn holm_steps_down_and_never_decreases() {
    // By hand: 0.03 x 4, then 0.04 x 3 and 0.06 x 2 and 0.08 x 1, each at least the one before.
    for (seen, want) in holm(&[0.04, 0.03, 0.06, 0.08]).into_iter().zip([0.12; 4]) {
        near(seen, want, 1e-12);
    }
    for (seen, want) in holm(&[0.01, 0.6, 0.02]).into_iter().zip([0.03, 0.6, 0.04]) {
        near(seen, want, 1e-12);
    }
    assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    assert_eq!(holm(&[]), [] as [f64; 0]);
}

#[test]
fn clopper_pearson_equals_scipys_exact_interval() {
    for (events, attempts, low, high) in [
        (0, 10, 0.0, 0.30849710781876294),
        (7, 10, 0.3475471499399921, 0.9332604888222655),
        (10, 10, 0.6915028921812371, 1.0),
        (1, 1000, 2.5317487491674634e-05, 0.0055589242798499),
        (3, 48, 0.013079244409552646, 0.1719599307905705),
        (12, 1_200_000, 5.167156276603999e-06, 1.74679223055428e-05),
    ] {
        let seen = clopper_pearson(events, attempts).unwrap();
        near(seen.low, low, 1e-7);
        near(seen.high, high, 1e-7);
    }
    assert_eq!(clopper_pearson(0, 0), None);
}

#[test]
fn none_in_many_is_bounded_by_three_over_many() {
    assert_eq!(bound_of_none(1_200_000), Some(2.5e-6));
    assert_eq!(bound_of_none(2), Some(1.0));
    assert_eq!(bound_of_none(0), None);
}

#[test]
fn distributions_equal_scipys() {
    for (a, b, x, want) in [
        (2.5, 0.5, 0.3, 0.018927124071945658),
        (1.0, 9.0, 0.1, 0.6125795110000001),
        (50.0, 60.0, 0.45, 0.4642352914306031),
        (13.0, 1_199_988.0, 1.2e-5, 0.679746020921383),
    ] {
        near(beta_cdf(a, b, x), want, 1e-8);
    }
    for (df, want) in
        [(5.0, 2.5705818356363146), (9.0, 2.262157162798205), (29.0, 2.045229642132703)]
    {
        near(student_quantile(df), want, 1e-9);
    }
    for (x, want) in [
        (-3.0, 0.0013498980316300933),
        (-2.384, 0.008562801185272587),
        (-1.0, 0.15865525393145707),
        (0.0, 0.5),
        (0.5, 0.6914624612740131),
    ] {
        near(normal_cdf(x), want, 1e-10);
    }
}

#[test]
fn means_and_spread() {
    assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
    assert_eq!(harmonic_mean(&[1.0, 2.0, 4.0]), Some(3.0 / 1.75));
    assert_eq!(harmonic_mean(&[1.0, 0.0]), None);
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    near(stddev_percent(&[90.0, 100.0, 110.0]).unwrap(), 10.0, 1e-12);
    assert_eq!(stddev_percent(&[1.0]), None);
}

proptest! {
    #[test]
    fn sign_flip_is_symmetric_and_does_not_see_scale(d in prop::collection::vec(-1.0..1.0_f64, 1..12), scale in 0.01..100.0_f64) {
        let mirrored: Vec<f64> = d.iter().rev().map(|x| -x * scale).collect();
        prop_assert_eq!(sign_flip(&d, 1), sign_flip(&mirrored, 1));
        let p = sign_flip(&d, 1).unwrap();
        // The observed pattern and its mirror image are always among the extreme ones.
        prop_assert!(p >= 2.0 / f64::powi(2.0, d.len() as i32) && p <= 1.0);
    }

    #[test]
    fn clopper_pearson_holds_the_observed_rate(n in 1..5000_u64, share in 0.0..=1.0_f64) {
        let k = (n as f64 * share) as u64;
        let i = clopper_pearson(k, n).unwrap();
        let rate = k as f64 / n as f64;
        prop_assert!(0.0 <= i.low && i.low <= rate && rate <= i.high && i.high <= 1.0, "{:?} {}", i, rate);
    }

    #[test]
    fn holm_keeps_the_order_and_only_raises(ps in prop::collection::vec(0.0..1.0_f64, 0..20)) {
        let adjusted = holm(&ps);
        for (i, (a, p)) in adjusted.iter().zip(&ps).enumerate() {
            prop_assert!(a >= p && *a <= 1.0);
            for (j, q) in ps.iter().enumerate() {
                prop_assert!(p >= q || adjusted[i] <= adjusted[j]);
            }
        }
    }
}
