//! Whole runs of the binary: documents on stdout, messages on stderr, exit codes, signals, files.
//!
//! The workload is page-alloc on a small synthetic machine, since it runs anywhere and fast; what
//! is held here is the harness.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use results::schema::Run;

const MACHINE: &str = "synthetic:numa:1(memory=256MiB) pu:2";

fn stress(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stress"));
    command.current_dir(dir).args(["--workload", "page-alloc", "--machine", MACHINE]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    stress(dir, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code, stdout, stderr.
fn parts(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn one(json: &str) -> Run {
    let runs = results::store::parse(json.as_bytes(), "stdout".as_ref()).unwrap();
    let [run] = runs.as_slice() else { panic!("{} runs", runs.len()) };
    run.clone()
}

/// Ends by operations: on a busy host a short time may pass before any thread makes its first.
const QUICK: [&str; 4] = ["--warmup", "20ms", "--ops", "500k"];

#[test]
fn a_run_fits_the_screen_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let args = [&QUICK[..], &["--threads", "4", "--seed", "0x5f3a"]].concat();
    let (code, stdout, stderr) = parts(&run(dir.path(), &args));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.lines().count() <= 24, "{stdout}");
    assert!(stdout.lines().all(|l| l.chars().count() <= 80), "{stdout}");
    for words in ["page-alloc  mainline  4 threads", "0x5f3a", "every one accounted for", "p99.99"]
    {
        assert!(stdout.contains(words), "{words}:\n{stdout}");
    }
    let last = stdout.lines().last().unwrap();
    let file = last.strip_prefix("ok      ").unwrap();
    let kept = results::store::load(&dir.path().join(file)).unwrap();
    assert_eq!((kept[0].run.seed, kept[0].run.threads), (0x5f3a, 4));
    assert!(kept[0].run.host.load_after.is_some());
    let clock = &kept[0].run.clock;
    assert!(clock.read_ns.is_some_and(|ns| ns > 0.0) && clock.record_ns > clock.read_ns);
}

#[test]
fn json_is_alone_on_stdout_and_its_histogram_decodes() {
    use base64::Engine as _;
    use hdrhistogram::serialization::Deserializer;
    let dir = tempfile::tempdir().unwrap();
    let args = ["--warmup", "50ms", "--duration", "500ms", "--format", "json"];
    let args = [&args[..], &["--status-interval", "100ms"]].concat();
    let (code, stdout, stderr) = parts(&run(dir.path(), &args));
    assert_eq!(code, Some(0), "{stderr}");
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["schema"], 1);
    assert!(stderr.contains("alloc/s") || stderr.contains("FOUND 0"), "{stderr}");
    let alloc = &document["ops"]["alloc"];
    let bytes = base64::engine::general_purpose::STANDARD.decode(alloc["hdr"].as_str().unwrap());
    let bytes = bytes.unwrap();
    let histogram: hdrhistogram::Histogram<u64> =
        Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
    let timed = alloc["count"].as_u64().unwrap() - alloc["preempted"].as_u64().unwrap();
    assert_eq!(histogram.len(), timed);
    assert_eq!(histogram.value_at_quantile(0.99), alloc["latency_ns"]["p99"]);
}

#[test]
fn variants_stand_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--variant", "v5.15", "--variant", "mainline", "--rounds", "2", "--seed", "3"];
    let args = [&QUICK[..], &args].concat();
    let (code, stdout, stderr) = parts(&run(dir.path(), &args));
    assert_eq!(code, Some(0), "{stderr}");
    for words in ["v5.15", "mainline", "interleaved ABBA", "alloc.p99_ns", "nothing found"] {
        assert!(stdout.contains(words), "{words}:\n{stdout}");
    }
    let out = dir.path().join("both.json");
    let json = [&args[..], &["--format", "json", "-o", out.to_str().unwrap()]].concat();
    let (code, stdout, _) = parts(&run(dir.path(), &json));
    assert_eq!(code, Some(0));
    let runs = results::store::parse(stdout.as_bytes(), "stdout".as_ref()).unwrap();
    let names: Vec<&str> = runs.iter().map(|r| r.variant.name.as_str()).collect();
    assert_eq!(names, ["v5.15", "mainline"]);
    assert_eq!(results::store::load(&out).unwrap().len(), 2);
}

#[test]
fn another_runs_file_is_not_replaced_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let args = [&QUICK[..], &["-o", "kept.json", "-q"]].concat();
    assert_eq!(parts(&run(dir.path(), &args)).0, Some(0));
    let before = std::fs::read(dir.path().join("kept.json")).unwrap();
    let (code, stdout, stderr) = parts(&run(dir.path(), &args));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("kept.json") && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(std::fs::read(dir.path().join("kept.json")).unwrap(), before);
    let forced = [&args[..], &["--force"]].concat();
    assert_eq!(parts(&run(dir.path(), &forced)).0, Some(0));
    assert_ne!(std::fs::read(dir.path().join("kept.json")).unwrap(), before);
}

#[test]
fn mistakes_are_one_line_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let check = |args: &[&str], words: &str| {
        let (code, stdout, stderr) = parts(&run(dir.path(), args));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
    };
    check(&["--threads", "0"], "0 threads do nothing");
    check(&["--duration", "10x"], "no duration");
    check(&["--variant", "v4.12x"], "v4.1");
    check(&["--pattern", "bulc"], "did you mean 'bulk'?");
    check(&["--amplify", "S17_should_retri=1"], "--amplify");
    check(&["--fail-on", "p99>5%"], "second --variant");
    check(&["--batch", "9M"], "smaller --batch");
    check(&["--memory", "900T"], "--memory");
    assert!(!dir.path().join("stress-runs").exists());
}

#[test]
fn a_dry_run_shows_the_plan_and_runs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--variant", "v4.11", "--variant", "v4.13", "--rounds", "2", "-n", "--seed", "7"];
    let (code, stdout, _) = parts(&run(dir.path(), &args));
    assert_eq!(code, Some(0));
    for words in ["in the order ABBA", "12 s in all", "seed      0x7", "of frame metadata"] {
        assert!(stdout.contains(words), "{words}:\n{stdout}");
    }
    assert!(!dir.path().join("stress-runs").exists());
}

/// A run that only a signal ends.
const ENDLESS: [&str; 6] = ["--warmup", "0", "--duration", "1h", "--threads", "2"];

/// Its lines on stderr up to the first that holds `words`.
fn read_until(lines: &mut Lines<BufReader<ChildStderr>>, words: &str) -> Vec<String> {
    let mut seen = Vec::new();
    while !seen.last().is_some_and(|line: &String| line.contains(words)) {
        let line = lines.next().unwrap_or_else(|| panic!("it ended without '{words}': {seen:?}"));
        seen.push(line.unwrap());
    }
    seen
}

fn stderr_of(child: &mut Child) -> Lines<BufReader<ChildStderr>> {
    BufReader::new(child.stderr.take().unwrap()).lines()
}

fn send(child: &Child, signal: i32) {
    // SAFETY: 1. kill(2) touches no memory of ours; 2. the child was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}

/// Waits until the child has a handler of its own for a signal.
fn wait_for_handler(child: &Child, signal: i32) {
    let file = format!("/proc/{}/status", child.id());
    loop {
        let status = std::fs::read_to_string(&file).unwrap();
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).unwrap().trim();
        if u64::from_str_radix(caught, 16).unwrap() >> (signal - 1) & 1 == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_interrupted_run_leaves_a_whole_and_marked_record() {
    for (signal, expected) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let dir = tempfile::tempdir().unwrap();
        let args = ["--format", "json", "-o", "partial.json", "--rounds", "3"];
        let args = [&ENDLESS[..], &["--status-interval", "50ms"], &args].concat();
        let mut child = stress(dir.path(), &args).spawn().unwrap();
        // A line with a rate: something has been measured.
        let mut lines = stderr_of(&mut child);
        let seen = read_until(&mut lines, "alloc/s");
        send(&child, signal);
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        let (code, stdout, _) = parts(&child.wait_with_output().unwrap());
        assert_eq!(code, Some(expected), "{seen:?}{rest:?}");
        let run = one(&stdout);
        assert!(run.interrupted && run.exit == expected);
        assert_eq!((run.planned_rounds, run.rounds.len()), (3, 1));
        assert!(!run.rounds[0].complete && run.ops["alloc"].count > 0);
        let kept = results::store::load(&dir.path().join("partial.json")).unwrap();
        assert!(kept[0].run.interrupted);
    }
}

#[test]
fn a_status_line_comes_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = stress(dir.path(), &ENDLESS).spawn().unwrap();
    wait_for_handler(&child, libc::SIGUSR1);
    send(&child, libc::SIGUSR1);
    let mut lines = stderr_of(&mut child);
    let line = read_until(&mut lines, "s/3600.0s  ").pop().unwrap();
    assert!(line.ends_with("FOUND 0"), "{line}");
    send(&child, libc::SIGINT);
    lines.for_each(|line| drop(line.unwrap()));
    let (code, stdout, _) = parts(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(130));
    assert!(stdout.starts_with("INTERRUPTED after 0 of 1 rounds"), "{stdout}");
}

#[test]
fn interval_logs_add_up_to_the_run() {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let dir = tempfile::tempdir().unwrap();
    let args =
        ["--warmup", "50ms", "--duration", "1s", "--hlog", "run.hlog", "--interval", "200ms"];
    let args = [&args[..], &["--format", "json", "--timeline", "all.json"]].concat();
    let (code, stdout, stderr) = parts(&run(dir.path(), &args));
    assert_eq!(code, Some(0), "{stderr}");
    let log = std::fs::read(dir.path().join("run.hlog")).unwrap();
    let mut intervals = 0;
    let mut samples = 0;
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        if interval.tag().map(|t| t.as_str()) == Some("alloc") {
            use base64::Engine as _;
            let text = interval.encoded_histogram();
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
            let histogram: hdrhistogram::Histogram<u64> =
                hdrhistogram::serialization::Deserializer::new()
                    .deserialize(&mut bytes.as_slice())
                    .unwrap();
            samples += histogram.len();
            intervals += 1;
        }
    }
    assert!((2..=6).contains(&intervals), "{intervals}");
    let alloc = &one(&stdout).ops["alloc"];
    assert_eq!(samples, alloc.latency_ns.unwrap().count);
    let trace = std::fs::read_to_string(dir.path().join("all.json")).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&trace).unwrap();
    assert!(trace["traceEvents"].is_array());
}

#[test]
fn flags_may_stand_in_a_file_and_those_typed_win() {
    let dir = tempfile::tempdir().unwrap();
    let config = "threads = 3\nduration = \"1h\"\nwarmup = \"50ms\"\nseed = \"0x11\"\n\
                  variant = [\"v5.15\", \"v6.1\"]\npattern = \"bulk\"\nquiet = true\n";
    std::fs::write(dir.path().join("night.toml"), config).unwrap();
    let typed = ["--config", "night.toml", "--duration", "1s", "--variant", "v4.9"];
    let args = [&typed[..], &["--format", "json"]].concat();
    let (code, stdout, stderr) = parts(&run(dir.path(), &args));
    assert_eq!(code, Some(0), "{stderr}");
    let run_of = one(&stdout);
    assert_eq!((run_of.threads, run_of.seed), (3, 0x11));
    assert_eq!(run_of.variant.name, "v4.9");
    assert_eq!(run_of.options["pattern"], "bulk");

    std::fs::write(dir.path().join("bad.toml"), "theads = 3\n").unwrap();
    let (code, _, stderr) = parts(&run(dir.path(), &["--config", "bad.toml"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("bad.toml") && stderr.contains("'threads'"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn repeats_in_a_file_are_run_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let config = "warmup = 0\nops = \"100k\"\n[[run]]\nthreads = 1\n[[run]]\nthreads = 2\n";
    std::fs::write(dir.path().join("two.toml"), config).unwrap();
    let args = ["--config", "two.toml", "--format", "json"];
    let (code, stdout, stderr) = parts(&run(dir.path(), &args));
    assert_eq!(code, Some(0), "{stderr}");
    let runs = results::store::parse(stdout.as_bytes(), "stdout".as_ref()).unwrap();
    let threads: Vec<u32> = runs.iter().map(|r| r.threads).collect();
    assert_eq!(threads, [1, 2]);
}

#[test]
fn kselftest_reads_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stdout, _) = parts(&run(dir.path(), &[&QUICK[..], &["--format", "ktap"]].concat()));
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("KTAP version 1\n1..1\n  KTAP version 1\n"), "{stdout}");
    assert!(stdout.contains("\n  ok 1 complete\n"), "{stdout}");
    assert!(stdout.contains(" no-lockup\n"), "{stdout}");
    assert!(stdout.ends_with("\nok 1 page-alloc/mainline\n"), "{stdout}");
}

#[test]
fn the_users_own_defaults_stand_under_all_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    let with = |text: &str, args: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let mut command = stress(dir.path(), &[&["--dry-run"], args].concat());
        parts(&command.env("STRESS_CONFIG", &file).output().unwrap())
    };
    let (code, stdout, _) = with("threads = 3\nrounds = 7\nvariant = \"v4.11\"", &[]);
    assert!(
        code == Some(0) && stdout.contains("  3 tasks") && stdout.contains("v4.11"),
        "{stdout}"
    );
    let (_, stdout, _) = with("threads = 3\nvariant = \"v4.11\"", &["--threads", "5"]);
    assert!(stdout.contains("  5 tasks") && stdout.contains("v4.11"), "{stdout}");
    std::fs::write(dir.path().join("job.toml"), "variant = \"v6.1\"").unwrap();
    let (_, stdout, _) = with("threads = 3\nvariant = \"v4.11\"", &["--config", "job.toml"]);
    assert!(stdout.contains("  3 tasks") && stdout.contains("v6.1"), "{stdout}");
    assert!(!stdout.contains("v4.11"), "{stdout}");
    for bad in ["theads = 3", "[[run]]\nthreads = 2", "threads = 0"] {
        let (code, _, stderr) = with(bad, &[]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("mine.toml") && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn colours_are_for_terminals_and_v_tells_the_steps() {
    let dir = tempfile::tempdir().unwrap();
    let (_, plain, quiet) = parts(&run(dir.path(), &QUICK));
    assert!(!plain.contains('\x1b') && !quiet.contains("round 1 of"), "{plain}{quiet}");
    let loud = [&QUICK[..], &["--color", "always", "-vv"]].concat();
    let (_, painted, steps) = parts(&run(dir.path(), &loud));
    assert!(painted.contains("\x1b[32mok\x1b[0m "), "{painted}");
    assert!(steps.contains("round 1 of mainline") && steps.contains("kept in "), "{steps}");
}

#[test]
fn several_numbers_of_threads_make_a_curve() {
    let dir = tempfile::tempdir().unwrap();
    let args = [&QUICK[..], &["--threads", "1,2..4", "-o", "out.json"]].concat();
    let (code, _, stderr) = parts(&run(dir.path(), &args));
    assert_eq!(code, Some(2), "three runs don't share a file: {stderr}");
    let args = [&QUICK[..], &["--threads", "1,2..4"]].concat();
    let (code, stdout, stderr) = parts(&run(dir.path(), &args));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("<- knee") && stdout.contains("speed-up"), "{stdout}");
    let output = Command::new(env!("CARGO_BIN_EXE_stress"))
        .current_dir(dir.path())
        .args(["plot", "--curve", "stress-runs"])
        .output();
    let (code, again, stderr) = parts(&output.unwrap());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.ends_with(&again) && again.lines().count() == 6, "{again}");
}

#[test]
fn a_baseline_is_made_held_and_missed() {
    let dir = tempfile::tempdir().unwrap();
    let with = |more: &[&str]| {
        let args = [&["--warmup", "10ms", "--duration", "60ms", "--rounds", "6"], more].concat();
        parts(&run(dir.path(), &args))
    };
    let gate = ["--baseline", "main", "--fail-on", "alloc.p50>400%"];
    let (code, _, stderr) = with(&gate);
    // Before the load: a night that can't be judged is not run.
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.starts_with("stress: no baseline 'main'"), "{stderr}");
    let lenient = [&gate[..], &["--baseline-lenient", "--save-baseline", "main"]].concat();
    let (code, _, stderr) = with(&lenient);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("baseline 'main' is this run now"), "{stderr}");
    let (code, stdout, stderr) = with(&gate);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("alloc.p50_ns") && stdout.contains("held alloc.p50>400%"), "{stdout}");
    // Nothing is faster than 1 ns: a gate that no run can hold.
    let (code, stdout, stderr) =
        with(&["--baseline", "main", "--fail-on", "alloc.p50>1ns", "--save-baseline", "main"]);
    assert_eq!(code, Some(5), "{stdout}{stderr}");
    assert!(stdout.contains("FAIL alloc.p50>1ns"), "{stdout}");
    assert!(stderr.contains("baseline 'main' stays"), "{stderr}");
}
