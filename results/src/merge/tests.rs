use super::*;
use crate::sample::Sample;
use proptest::prelude::*;

fn loaded(seed: u64, premature_rounds: u32) -> Loaded {
    let run = Sample { seed, rounds: 3, premature_rounds, ..Sample::default() }.run();
    Loaded { path: format!("{seed}.json").into(), run }
}

fn merged(parts: Vec<Loaded>) -> Run {
    let mut runs = merge(parts, &mut Vec::new()).unwrap();
    assert_eq!(runs.len(), 1);
    runs.remove(0)
}

fn again(run: Run) -> Loaded {
    Loaded { path: "merged.json".into(), run }
}

#[test]
fn counts_add_and_histograms_lose_nothing() {
    let parts = vec![loaded(1, 0), loaded(2, 2), loaded(3, 1)];
    let run = merged(parts.clone());
    let sum = |of: fn(&Run) -> u64| parts.iter().map(|l| of(&l.run)).sum::<u64>();
    assert_eq!(run.ops["fault"].count, sum(|r| r.ops["fault"].count));
    assert_eq!(run.oom.premature.definite, sum(|r| r.oom.premature.definite));
    assert_eq!(run.rounds.len(), 9);
    assert_eq!(run.merged_from.len(), 3);
    assert_eq!(run.exit, 1);
    // The histogram is the one that a single recorder would have got.
    let mut whole = Histogram::decode(parts[0].run.ops["fault"].hdr.as_ref().unwrap(), "").unwrap();
    for part in &parts[1..] {
        whole.merge(&Histogram::decode(part.run.ops["fault"].hdr.as_ref().unwrap(), "").unwrap());
    }
    assert_eq!(Histogram::decode(run.ops["fault"].hdr.as_ref().unwrap(), "").unwrap(), whole);
    assert_eq!(run.ops["fault"].latency_ns, whole.latency());
    let rate = parts.iter().map(|l| l.run.ops["fault"].rate_per_s).sum::<f64>() / 3.0;
    assert!(
        (run.ops["fault"].rate_per_s / rate - 1.0).abs() < 1e-9,
        "equal lengths: the mean of the rates"
    );
}

#[test]
fn findings_are_renumbered_and_keep_their_rounds() {
    let run = merged(vec![loaded(1, 2), loaded(2, 1)]);
    let numbers: Vec<(u32, Option<u32>)> =
        run.findings.iter().map(|f| (f.number, f.round)).collect();
    assert_eq!(numbers, [(1, Some(0)), (2, Some(1)), (3, Some(3))]);
    let refs: Vec<u32> = run.oom.findings.iter().map(|f| f.number).collect();
    assert_eq!(refs, [1, 2, 3]);
}

#[test]
fn a_run_counts_once_and_hidden_copies_are_refused() {
    let mut warnings = Vec::new();
    let runs = merge(vec![loaded(1, 0), loaded(2, 0), loaded(1, 0)], &mut warnings).unwrap();
    assert_eq!(runs[0].rounds.len(), 6);
    assert!(warnings[0].contains("1.json") && warnings[0].contains("counted once"), "{warnings:?}");
    let both = again(runs[0].clone());
    let error = merge(vec![loaded(2, 0), both], &mut Vec::new()).unwrap_err().to_string();
    assert!(
        error.starts_with("merge: merged.json: holds run ")
            && error.ends_with("give each run once"),
        "{error}"
    );
}

#[test]
fn variants_stay_apart_and_hosts_are_named() {
    let mut other_host = loaded(2, 0);
    other_host.run.host.name = "lab08".into();
    let variant = Loaded {
        path: "v.json".into(),
        run: Sample { variant: "v4.13", ..Sample::default() }.run(),
    };
    let runs = merge(vec![loaded(1, 0), variant, other_host], &mut Vec::new()).unwrap();
    let labels: Vec<String> = runs.iter().map(Run::label).collect();
    assert_eq!(labels, ["cpuset01/v4.11", "cpuset01/v4.13"]);
    assert!(
        runs[0].notes.contains(&"merged from 2 runs on lab07, lab08".to_owned()),
        "{:?}",
        runs[0].notes
    );
}

#[test]
fn a_record_without_histograms_is_refused() {
    let mut poor = loaded(2, 0);
    poor.run.ops["fault"].hdr = None;
    let error = merge(vec![loaded(1, 0), poor], &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(
        error,
        "2.json: ops.fault.hdr is null, and percentiles don't merge; give the run's own file"
    );
    let mut damaged = loaded(2, 0);
    damaged.run.ops["fault"].hdr = Some("AAAA".into());
    let error = merge(vec![loaded(1, 0), damaged], &mut Vec::new()).unwrap_err().to_string();
    assert!(error.starts_with("2.json: ops.fault.hdr: histogram does not decode: "), "{error}");
}

#[test]
fn the_command_writes_what_it_prints() {
    let dir = tempfile::tempdir().unwrap();
    for seed in [1, 2] {
        store::save(&loaded(seed, 0).run, &dir.path().join(format!("in/{seed}/run.json")), false)
            .unwrap();
    }
    let output = dir.path().join("all.json");
    let args =
        Args { inputs: vec![dir.path().join("in")], output: Some(output.clone()), force: false };
    let outcome = run(&args).unwrap();
    assert_eq!(std::fs::read_to_string(&output).unwrap(), outcome.text);
    assert_eq!(store::load(&output).unwrap()[0].run, outcome.runs[0]);
    // The same merge again is the same run, so nothing is in the way.
    run(&args).unwrap();
    assert!(run(&Args::default()).unwrap_err().to_string().contains("no runs"));
}

#[test]
fn counts_of_2_to_the_62_are_no_panic() {
    let parts = [1, 2, 3].map(|seed| {
        let mut one = loaded(seed, 0);
        one.run.slow_path.entries = 1 << 63;
        one.run.oom.kills = u64::MAX;
        one.run.planned_rounds = u32::MAX;
        one.run.vmstat.insert("pgfault".to_owned(), i64::MAX);
        one.run.ops.values_mut().for_each(|op| op.unknown = 1 << 63);
        one
    });
    let run = merged(parts.to_vec());
    assert_eq!((run.slow_path.entries, run.oom.kills), (u64::MAX, u64::MAX));
    assert_eq!(run.vmstat["pgfault"], i64::MAX);
    // Of histograms the sum would be wrong, so these are refused by name.
    let full = parts.map(|mut one| {
        let mut full = Histogram::new(crate::histogram::Config::default());
        full.record_n(100, 1 << 52);
        one.run.ops["fault"].hdr = Some(full.encode());
        one
    });
    let message = merge(full.to_vec(), &mut Vec::new()).unwrap_err().to_string();
    assert!(message.contains("ops.fault.hdr") && message.contains("too large to add"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn merge_does_not_depend_on_order_or_grouping(seeds in prop::collection::hash_set(0..50_u64, 3), premature in 0..3_u32) {
        let parts: Vec<Loaded> = seeds.into_iter().map(|seed| loaded(seed, premature)).collect();
        let at_once = merged(parts.clone());
        let mut reversed = parts.clone();
        reversed.reverse();
        prop_assert_eq!(&merged(reversed), &at_once);
        let [a, b, c] = <[Loaded; 3]>::try_from(parts).unwrap();
        let stepwise = merged(vec![again(merged(vec![a, b])), c]);
        prop_assert_eq!(&stepwise.merged_from, &at_once.merged_from);
        prop_assert_eq!(&stepwise.run_id, &at_once.run_id);
        prop_assert_eq!(stepwise.rounds.len(), at_once.rounds.len());
        prop_assert_eq!(&stepwise.oom.kills, &at_once.oom.kills);
        for (name, op) in &at_once.ops {
            let other = &stepwise.ops[name];
            prop_assert_eq!(&op.hdr, &other.hdr);
            prop_assert_eq!(op.count, other.count);
            prop_assert!((op.rate_per_s / other.rate_per_s - 1.0).abs() < 1e-9);
            prop_assert!((op.rate_per_cpu_s.unwrap() / other.rate_per_cpu_s.unwrap() - 1.0).abs() < 1e-9);
        }
    }
}
