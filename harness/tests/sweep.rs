//! Sweeps and nights of the binary: plan, cells, resume, history, gates, report, last line.
//!
//! The workload is page-alloc on a small synthetic machine with the shortest rounds that a gate can
//! judge; the figures are not looked at but where they were slowed down by far more than any noise.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MATRIX: &str = r#"
machine = "synthetic:numa:1(memory=256MiB) pu:2"
rounds = 6
ops = "100k"
warmup = "10ms"
threads = 2

[night]
fail-on = ["alloc.mean>400%"]

[[run]]
workload = "page-alloc"
seed = [1, 2]
"#;

fn stress(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stress"));
    command.current_dir(dir).args(args).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code, stdout, stderr.
fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = stress(dir, args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn place(matrix: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("night.toml"), matrix).unwrap();
    dir
}

/// Directories of nights, oldest first.
fn nights(dir: &Path) -> Vec<PathBuf> {
    let mut nights: Vec<PathBuf> = std::fs::read_dir(dir.join("nights"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("plan.json").exists())
        .collect();
    nights
        .sort_by_key(|path| std::fs::metadata(path.join("plan.json")).unwrap().modified().unwrap());
    nights
}

#[test]
fn nights_gate_against_the_nights_before() {
    let dir = place(MATRIX);
    let (code, stdout, stderr) = run(dir.path(), &["sweep", "night", "night.toml"]);
    assert_eq!(code, Some(6), "a first night has no baseline: {stdout}{stderr}");
    assert!(stderr.contains("--lenient"), "{stderr}");
    assert!(stdout.lines().last().unwrap().starts_with("NOT JUDGED: 2 cells, 2 runs"), "{stdout}");

    let (code, stdout, stderr) = run(dir.path(), &["sweep", "night", "night.toml"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.lines().last().unwrap().starts_with("ok: 2 cells, 2 runs: 2 gates held"));

    let slow = ["sweep", "night", "night.toml", "--slow-down", "alloc=2900%"];
    let (code, stdout, stderr) = run(dir.path(), &slow);
    assert_eq!(code, Some(5), "{stdout}{stderr}");
    let last = stdout.lines().last().unwrap();
    assert!(last.starts_with("FAIL: ") && last.contains("past alloc.mean>400%"), "{last}");
    assert!(last.contains("alloc.mean_ns +"), "{last}");

    let nights = nights(dir.path());
    assert_eq!(nights.len(), 3);
    let read = |file: &str| std::fs::read_to_string(nights[2].join(file)).unwrap();
    assert!(read("report.html").contains("alloc.mean_ns"));
    assert!(read("junit.xml").contains("<failure"));
    assert!(read("results.ktap").contains("not ok"));
    assert!(read("metrics.prom").ends_with("# EOF\n"));
    let night: serde_json::Value = serde_json::from_str(&read("night.json")).unwrap();
    assert_eq!((&night["verdict"], &night["exit"]), (&"FAIL".into(), &5.into()));
    // A run lies there once, and the history knows all of them.
    let (code, listed, _) = run(dir.path(), &["history", "--dir", "nights", "list"]);
    assert_eq!((code, listed.lines().count()), (Some(0), 1 + 6), "{listed}");
    let record = results::store::load(&nights[2]).unwrap();
    assert!(record[0].run.notes.iter().any(|n| n.contains("--slow-down alloc=2900%")));
}

#[test]
fn an_interrupted_night_goes_on_where_it_was() {
    let dir = place(&MATRIX.replace("seed = [1, 2]", "seed = [1, 2, 3, 4, 5]"));
    let child = stress(dir.path(), &["sweep", "night", "night.toml", "--baseline-lenient"]).spawn();
    let mut child = child.unwrap();
    let second = || nights(dir.path()).pop().map(|n| n.join("cells/001-page-alloc-2"));
    let until = Instant::now() + Duration::from_secs(60);
    while !dir.path().join("nights").exists() || !second().is_some_and(|d| d.exists()) {
        assert!(Instant::now() < until, "the second cell never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: 1. kill(2) touches no memory of ours; 2. the child was not waited for yet.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!nights(dir.path())[0].join("night.json").exists());

    let (code, stdout, stderr) =
        run(dir.path(), &["sweep", "night", "night.toml", "--baseline-lenient"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stderr.contains("goes on where it was cut off"), "{stderr}");
    assert!(stderr.contains("000-page-alloc-1: done before, ok"), "{stderr}");
    assert_eq!(nights(dir.path()).len(), 1);
    let runs = results::store::load(&nights(dir.path())[0]).unwrap();
    assert!(runs.len() == 5 && runs.iter().all(|l| !l.run.interrupted));
}

#[test]
fn cells_of_a_job_array_keep_their_own_exit_codes() {
    let matrix = MATRIX
        .replace("seed = [1, 2]", "seed = 1\n[[run]]\nworkload = \"page-alloc\"\ncpus = \"9999\"");
    let dir = place(&matrix);
    let (code, _, stderr) = run(dir.path(), &["sweep", "plan", "night.toml", "-o", "s/plan.json"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("2 cells, 0 to 1"), "{stderr}");
    let one = |index: &str| run(dir.path(), &["sweep", "run", "s", "--index", index]);
    assert_eq!(one("0").0, Some(0));
    let (code, _, stderr) = one("1");
    assert!(code == Some(2) || code == Some(3), "{code:?} {stderr}");
    let (again, _, stderr) = one("0");
    assert_eq!(again, Some(0));
    assert!(stderr.contains("done before"), "{stderr}");
    let (out, _, stderr) = one("2");
    assert_eq!(out, Some(2));
    assert!(stderr.contains("cells 0 to 1") && stderr.lines().count() == 1, "{stderr}");

    let finish = ["sweep", "finish", "s", "--history", "h", "--baseline-lenient"];
    let (ended, stdout, stderr) = run(dir.path(), &finish);
    assert_eq!(ended, code, "{stdout}{stderr}");
    assert!(stdout.contains("000-page-alloc") && stdout.contains("NOT "), "{stdout}");
    assert!(stderr.contains("001-page-alloc"), "{stderr}");
    // What was good is kept, the failing cell takes nothing with it.
    assert_eq!(results::store::load(&dir.path().join("h")).unwrap().len(), 1);
}

#[test]
fn two_nights_at_once_and_bad_gates_are_refused() {
    let dir = place(&MATRIX.replace("alloc.mean>400%", "faultt.mean>100%"));
    let (code, _, stderr) =
        run(dir.path(), &["sweep", "night", "night.toml", "--baseline-lenient"]);
    assert_eq!(code, Some(2));
    assert!(stderr.lines().last().unwrap().contains("gate 'faultt.mean>100%'"), "{stderr}");

    let lock = std::fs::File::create(dir.path().join("nights/.night.lock")).unwrap();
    lock.lock().unwrap();
    let (code, _, stderr) = run(dir.path(), &["sweep", "night", "night.toml"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("another night is at work") && stderr.lines().count() == 1, "{stderr}");
}
