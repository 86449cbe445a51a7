//! `stress explore` and `stress bisect` as users call them.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

fn stress(dir: &Path, args: &[&str], exit: i32) -> String {
    let mut command = Command::cargo_bin("stress").expect("the binary is built");
    let output = command.current_dir(dir).args(args).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "stress {}: {stderr}", args.join(" "));
    String::from_utf8(output.stdout).expect("text")
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// *Expected*: J1-a is found with one preemption, told in at most 40 lines of 72 columns with the
/// steps that matter, and its file does it again, the same to the byte.
#[test]
fn cpuset01_of_v4_11_is_found_told_and_replayed() {
    let dir = temporary();
    let explore = ["explore", "--workload", "cpuset01", "--variant", "v4.11", "-o", "found"];
    let text = stress(dir.path(), &explore, 1);
    assert!(text.contains("FOUND   premature-oom: 1 preemption"), "{text}");
    assert!(text.contains("excluded: by all"), "J1a-task: {text}");
    assert!(text.contains("Excluded by cpuset=intersection-recheck (902b62810a57)"), "{text}");
    let story = fs::read_to_string(dir.path().join("found/finding-1.txt")).expect("a story");
    assert!(text.contains(&story), "the first story is told");
    assert!(story.lines().count() <= 40, "{story}");
    assert!(story.lines().all(|l| l.chars().count() <= 72 || l.starts_with("Replay")), "{story}");
    for step in ["D4 nodemask = {0}", "T3a mems {0", "S19a", "FOUND premature-oom", "<=="] {
        assert!(story.contains(step), "{step} in\n{story}");
    }
    let replay = ["explore", "--replay", "found/finding-1.schedule"];
    let first = stress(dir.path(), &replay, 1);
    assert!(first.contains("again, in the same order of points"), "{first}");
    assert_eq!(stress(dir.path(), &replay, 1), first);
    let trace = fs::read(dir.path().join("found/finding-1.trace.json")).expect("a trace");
    let trace: Value = serde_json::from_slice(&trace).expect("JSON");
    assert!(trace["traceEvents"].as_array().is_some_and(|events| events.len() > 20));
}

#[test]
fn what_is_excluded_leaves_with_0_and_says_by_how_much() {
    let dir = temporary();
    let args = ["explore", "--family", "J1a-vma", "--variant", "v4.13", "--format", "json"];
    let document: Value = serde_json::from_str(&stress(dir.path(), &args, 0)).expect("JSON");
    let search = &document["searches"][0];
    assert_eq!((&search["verdict"], &search["complete"]), (&"excluded".into(), &true.into()));
    assert_eq!(search["bounds"].as_array().map(Vec::len), Some(3), "K = 0, 1, 2");
    assert!(search["schedules"].as_u64() > Some(100));
    assert!(!dir.path().join("stress-runs").exists(), "nothing to keep");
    let few = [&args[..5], &["--schedules", "20"]].concat();
    let text = stress(dir.path(), &few, 0);
    assert!(text.contains("NOT exhaustive"), "a cut search is no proof: {text}");
    let samples = [&args[..5], &["--scheduler", "pct", "--schedules", "200"]].concat();
    let text = stress(dir.path(), &samples, 0);
    assert!(text.contains("not found in 200 samples") && text.contains("(95 %)"), "{text}");
}

/// *Buggy*: a schedule that no longer fits passes for "not found".
#[test]
fn a_schedule_that_does_not_fit_is_named() {
    let dir = temporary();
    let args = ["explore", "--family", "J1a-vma", "--variant", "v4.11", "-o", ".", "-q"];
    stress(dir.path(), &args, 1);
    let file = dir.path().join("finding-1.schedule");
    let kept = fs::read_to_string(&file).expect("a schedule");
    let replay = ["explore", "--replay", "finding-1.schedule"];
    fs::write(&file, kept.replace("variant v4.11", "variant v4.13")).expect("written");
    let text = stress(dir.path(), &replay, 0);
    assert!(text.contains("does not show any more"), "the fix cures the schedule: {text}");
    fs::write(&file, kept.replace("point 1 ", "point 1 99")).expect("written");
    stress(dir.path(), &replay, 2);
    fs::write(&file, "nonsense\n").expect("written");
    stress(dir.path(), &replay, 2);
}

#[test]
fn a_workloads_own_tasks_are_explored_and_replayed_too() {
    let dir = temporary();
    let own = ["explore", "--workload", "cpuset01", "--variant", "v4.11", "--threads", "2"];
    let args = [&own[..], &["--steps", "1", "--set", "policy=vma", "--preemptions", "1"]].concat();
    let text = stress(dir.path(), &[&args[..], &["-o", "."]].concat(), 1);
    assert!(text.contains("FOUND   premature-oom: 1 preemption"), "{text}");
    let text = stress(dir.path(), &["explore", "--replay", "finding-1.schedule"], 1);
    assert!(text.contains("in the same order of points"), "{text}");
}

/// *Expected*: the rows of a family as stated; with a bug planted in one of its variants, exit 1.
#[test]
fn the_matrix_differs_when_a_bug_is_planted() {
    let dir = temporary();
    let args = ["explore", "--all", "--family", "J1a-vma,J2c", "--schedules", "100"];
    let text = stress(dir.path(), &args, 0);
    assert!(text.contains("12 cells as expected"), "{text}");
    let plant = "cpuset=intersection-recheck:v4.13,cpuset=cookie-recheck";
    let text = stress(dir.path(), &[&args[..], &["--plant", plant]].concat(), 1);
    assert!(text.contains("DIFFERS: found premature-oom"), "{text}");
    assert!(text.contains("11 of 12 cells as expected, 1 not"), "{text}");
}

#[test]
fn bisect_names_the_commit() {
    let dir = temporary();
    let text = stress(dir.path(), &["bisect", "v4.11", "v5.4", "--workload", "cpuset01"], 0);
    let cured = "cured by cpuset=intersection-recheck (902b62810a57, 4.13 to 6.14)";
    assert!(text.contains(cured), "{text}");
    let args = ["bisect", "v4.9", "mainline", "--family", "J1a-task", "--format", "json"];
    let document: Value = serde_json::from_str(&stress(dir.path(), &args, 0)).expect("JSON");
    // Of several changes between, the first that cures.
    assert_eq!(document["families"][0]["cure"][0]["commit"], "e47483bca2cc");
    stress(dir.path(), &["bisect", "v4.13", "v4.11", "--family", "J1a-vma"], 2);
}
