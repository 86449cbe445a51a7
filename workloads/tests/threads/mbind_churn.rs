//! mbind-churn on real threads: every page comes back, nothing lands where its policy forbids it, and
//! every call that it is about happens.

use crate::run::{assert_every_page_is_back, run, steps};
use allocator::machine::Machine;
use allocator::oracle::FindingKind;
use allocator::policy::{Policy, presets};
use workloads::{OptionValue, Options};

fn options(sharing: u64, migrate: bool) -> Options {
    let mut options = Options::default();
    options.set("sharing", OptionValue::Number(sharing));
    options.set("area", OptionValue::Number(256));
    options.set("bind-share", OptionValue::Share(0.25));
    options.set("memory-migrate", OptionValue::Flag(migrate));
    options
}

fn machine() -> Machine {
    Machine::uniform(2, 1, 16384)
}

#[test]
fn every_page_comes_back_and_no_page_is_misplaced() {
    for policy in presets().chain([Policy::parse("mainline,cpuset=swap").unwrap()]) {
        for (sharing, migrate) in [(1, false), (4, true)] {
            let options = options(sharing, migrate);
            let ran = run("mbind-churn", machine(), policy, &options, 5, steps(400));
            assert_every_page_is_back(&ran, &policy.to_string());
            assert_eq!(ran.kernel.findings.nr(FindingKind::MisplacedPage), 0, "{policy}");
        }
    }
}

#[test]
fn mainline_kills_nobody_and_all_calls_are_made() {
    let options = options(2, false);
    let ran = run("mbind-churn", machine(), Policy::mainline(), &options, 5, steps(3_000));
    assert_eq!(ran.kernel.findings.nr_findings(true), 0);
    assert_eq!(ran.figure("tasks_killed"), 0.0);
    for made in ["mems_writes", "vmas_mean", "mbind_eio", "mbind_einval"] {
        assert!(ran.figure(made) > 0.0, "{made}: {:?}", ran.figures);
    }
    assert!(ran.figure("vmas_most") > 10.0, "areas split: {:?}", ran.figures);
    assert_eq!(ran.figure("mbind_eperm"), 0.0, "nobody asks for MOVE_ALL");
}

#[test]
fn options_that_dont_fit_are_refused() {
    let workload = workloads::find("mbind-churn").unwrap();
    let refused = |options: &Options, threads, words: &str| {
        let error = workload.check(&machine(), &Policy::mainline(), options, threads).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(&options(4, false), 1, "--threads 2 or more");
    refused(&options(0, false), 4, "--sharing 0");
    refused(&options(1, false), 64, "take a smaller --area");
}
