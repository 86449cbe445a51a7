//! The steady workload on real threads: every pattern ends with every page accounted for.

use crate::run::{assert_every_page_is_back, run, steps};
use allocator::machine::Machine;
use allocator::policy::{Policy, presets};
use workloads::{OptionValue, Options};

fn run_pattern(policy: Policy, pattern: &str, threads: u32, nr_steps: u32) {
    let mut options = Options::default();
    options.set("pattern", OptionValue::Text(pattern.to_owned()));
    options.set("order", OptionValue::Number(0));
    options.set("batch", OptionValue::Number(300));
    options.set("fill", OptionValue::Share(0.3));
    let machine = Machine::uniform(2, 2, 32768);
    let ran = run("page-alloc", machine, policy, &options, threads, steps(nr_steps));
    assert_every_page_is_back(&ran, &format!("{policy} {pattern}"));
    assert_eq!(ran.kernel.findings.nr_findings(true), 0);
}

#[test]
fn every_pattern_gives_every_page_back() {
    for pattern in ["repeat", "bulk", "rand-free", "churn", "mixed", "producer-consumer"] {
        run_pattern(Policy::mainline(), pattern, 6, 30);
    }
}

#[test]
fn every_release_gives_every_page_back() {
    for policy in presets() {
        run_pattern(policy, "mixed", 5, 20);
    }
}
