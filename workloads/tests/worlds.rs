//! Every small world under every variant of its axis, against what the variant states.
//!
//! *Expected*: a variant that shows or keeps a race is found with no more preemptions than
//! docs/kernel/interleavings.md#j7 counts switches; one that excludes it is searched to the end of
//! the same bound. *Buggy*: the cell is printed with what was found instead.
#![cfg(feature = "explore")]
extern crate workloads_explore as workloads;

use std::ops::ControlFlow;

use allocator::explore::{Config, Scheduler};
use allocator::policy::{AxisName, Expect, Family, Policy};
use workloads::worlds;
use workloads::worlds::matrix::{Cell, cells};
use workloads::worlds::search::{Effort, Judged, Subject, judge, run};

const EFFORT: Effort = Effort {
    extra_preemptions: 0,
    samples: 0,
    seed: 0,
    max_schedules: 200_000,
    workers: 2,
    larger: false,
};

fn search(cell: &Cell) -> Option<Judged> {
    cell.world.map(|world| judge(*cell, world, &EFFORT, |_| ControlFlow::Continue(())))
}

fn check(axis: AxisName) {
    let mut wrong = Vec::new();
    let mut tried = 0;
    for judged in cells().iter().filter(|c| c.axis == axis).filter_map(search) {
        tried += 1;
        eprintln!("{judged}");
        wrong.extend(judged.wrong().map(|_| judged.to_string()));
    }
    assert!(tried > 0, "no world for axis {axis}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn cpuset_variants_show_what_they_state() {
    check(AxisName::Cpuset);
}

#[test]
fn exit_variants_show_what_they_state() {
    check(AxisName::Exit);
}

#[test]
fn reserves_variants_show_what_they_state() {
    check(AxisName::Reserves);
}

#[test]
fn zonelist_variants_show_what_they_state() {
    check(AxisName::Zonelist);
}

#[test]
fn offline_variants_show_what_they_state() {
    check(AxisName::Offline);
}

/// 10,000 random schedules from one seed: they show the premature OOM under a VMA's policy with
/// `cookie-recheck`, and none with `intersection-recheck`.
#[test]
fn samples_of_one_seed_find_the_premature_oom_and_not_its_cure() {
    let world = worlds::find(Family::J1aVma).expect("cpuset01's world");
    let config = Config {
        scheduler: Scheduler::Random,
        max_schedules: 10_000,
        seed: 7,
        workers: 2,
        shrink: false,
        ..Config::default()
    };
    let found = |spec: &str| {
        let policy = Policy::parse(spec).expect(spec);
        let report = run(&Subject::World(world), policy, &config, |_| ControlFlow::Continue(()));
        assert_eq!(report.executed, 10_000, "{spec}");
        report.finds.iter().any(|find| find.kind == "premature-oom")
    };
    assert!(found("v4.11"));
    assert!(!found("v4.13"));
    assert!(!found("mainline"));
}

/// *Buggy*: a fix that does nothing passes for a fix.
#[test]
fn a_variant_that_acts_as_the_one_before_it_differs() {
    let cell = |variant: &str, policy: &str| {
        let cells = cells();
        let cell = cells.iter().find(|c| c.variant == variant && c.world.is_some());
        Cell { policy: Policy::parse(policy).expect(policy), ..*cell.expect(variant) }
    };
    for (variant, acts_as, says) in [
        ("intersection-recheck", "v4.13,cpuset=cookie-recheck", "found premature-oom"),
        ("cookie-recheck", "v4.11,cpuset=swap", "not found in"),
    ] {
        let judged = search(&cell(variant, acts_as)).expect("a world");
        let wrong = judged.wrong().expect("it differs");
        assert!(wrong.starts_with(says), "{variant} as {acts_as}: {wrong}");
    }
}

/// What is expected and can't be searched here is known by name.
#[test]
fn every_family_that_must_or_must_not_show_has_a_world() {
    let without: Vec<String> = cells()
        .iter()
        .filter(|c| c.world.is_none() && matches!(c.expect, Expect::Shows | Expect::Excluded))
        .map(|c| format!("{} {}={}", c.family, c.axis, c.variant))
        .collect();
    // Store buffers are loom's business.
    assert_eq!(without, ["J5c offline=pcp-disable"]);
}
