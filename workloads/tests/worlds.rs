//! Every small world under every variant of its axis, against what the variant states.
//!
//! *Expected*: a variant that shows or keeps a race is found with no more preemptions than
//! KERNEL-FACTS J.7 counts switches; one that excludes it is searched to the end of the same bound.
//! *Buggy*: the cell is printed with the command that explores it.
#![cfg(feature = "explore")]
extern crate workloads_explore as workloads;

use std::ops::ControlFlow;

use allocator::explore::{self, Config, Report, Scheduler};
use allocator::policy::{AxisName, Expect, Policy};
use workloads::worlds::World;
use workloads::worlds::matrix::{Cell, cells};

fn search(world: &'static World, policy: Policy, scheduler: Scheduler, stops: bool) -> Report {
    let config = Config {
        scheduler,
        max_schedules: 200_000,
        workers: 2,
        stop_at_find: stops,
        ..Config::default()
    };
    explore::run(
        &config,
        |_| ControlFlow::Continue(()),
        move || {
            let outcome = (world.run)(policy);
            for finding in outcome.findings() {
                let kind = finding.kind.word();
                if world.shows.contains(&kind) || NEVER.contains(&kind) {
                    explore::report(kind, finding.title);
                }
            }
        },
    )
}

/// What no world may show unless that is what it is about. Other kinds are the same variant's other
/// families (a stray page in J5-f's world, say).
const NEVER: &[&str] = &[
    "conservation",
    "use_after_free",
    "reserve",
    "panic",
    "model_panic",
    "deadlock",
    "livelock",
    "stall",
];

/// What is wrong with a cell, if anything.
fn verdict(cell: &Cell, world: &'static World) -> Result<String, String> {
    let bound = world.switches.max(2);
    // A race that is there needs its first find only; one that is not needs the whole tree.
    let stops = matches!(cell.expect, Expect::Shows | Expect::Residual);
    let report = search(world, cell.policy, Scheduler::Bounded { preemptions: bound }, stops);
    let found = report.finds.iter().find(|f| world.shows.contains(&f.kind));
    let stray =
        report.finds.iter().find(|f| NEVER.contains(&f.kind) && !world.shows.contains(&f.kind));
    let name = format!("{} {}={}", cell.family, cell.axis, cell.variant);
    if let Some(stray) = stray {
        return Err(format!("{name}: found {} besides: {}", stray.kind, stray.text));
    }
    match (cell.expect, found) {
        (Expect::Shows | Expect::Residual, Some(f)) if f.preemptions <= world.switches => {
            Ok(format!("{name}: found with {} preemptions", f.preemptions))
        }
        (Expect::Shows | Expect::Residual, Some(f)) => {
            Err(format!("{name}: needs {} preemptions, J.7 says {}", f.preemptions, world.switches))
        }
        (Expect::Shows | Expect::Residual, None) => {
            Err(format!("{name}: not found in {} schedules", report.executed))
        }
        (Expect::Excluded, Some(f)) => Err(format!("{name}: found {}: {}", f.kind, f.text)),
        (Expect::Excluded, None) if report.complete => {
            Ok(format!("{name}: excluded by {} schedules, K = {bound}", report.schedules))
        }
        (Expect::Excluded, None) => Err(format!("{name}: not exhaustive: {:?}", report.gaps)),
        (Expect::Late | Expect::Counted, Some(f)) => {
            Ok(format!("{name}: counted: {} with {} preemptions", f.kind, f.preemptions))
        }
        (Expect::Late | Expect::Counted, None) => {
            Ok(format!("{name}: counted: none in {} schedules", report.schedules))
        }
    }
}

fn check(axis: AxisName) {
    let mut wrong = Vec::new();
    let mut tried = 0;
    for cell in cells().iter().filter(|c| c.axis == axis) {
        let Some(world) = cell.world else { continue };
        tried += 1;
        match verdict(cell, world) {
            Ok(line) => eprintln!("{line}"),
            Err(line) => wrong.push(line),
        }
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
fn zonelist_variants_show_what_they_state() {
    check(AxisName::Zonelist);
}

#[test]
fn offline_variants_show_what_they_state() {
    check(AxisName::Offline);
}
