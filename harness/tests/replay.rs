//! Replay of recordings: the beginning of one of a real kernel (`data/traces/README.md`), and ones made
//! by hand that are cut off, edited or foreign.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use results::schema::{FidelityRow, Run};

fn stress(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stress"));
    command.current_dir(dir).args(["--workload", "replay", "--seed", "1"]).args(args);
    command.stdin(Stdio::null()).output().unwrap()
}

fn replayed(trace: &Path, args: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let common = ["--format", "json", "--trace", trace.to_str().unwrap()];
    let output = stress(dir.path(), &[&common[..], args].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let runs = results::store::parse(&output.stdout, "stdout".as_ref()).unwrap();
    runs.into_iter().next().unwrap()
}

fn row<'a>(run: &'a Run, figure: &str) -> &'a FidelityRow {
    let rows = &run.fidelity.as_ref().expect("a replay that ran to its end has a table").rows;
    rows.iter().find(|r| r.figure == figure).unwrap_or_else(|| panic!("no row {figure}"))
}

fn outside(run: &Run) -> Vec<&FidelityRow> {
    run.fidelity.iter().flat_map(|f| &f.rows).filter(|r| r.is_within() == Some(false)).collect()
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces/churn-head")
}

#[test]
fn by_request_the_model_refills_and_drains_like_the_kernel_that_was_recorded() {
    let run = replayed(&recorded(), &[]);
    assert!(outside(&run).is_empty(), "{:#?}", outside(&run));
    for figure in ["allocations (A)", "order-0 pages refilled per order-0 A"] {
        let row = row(&run, figure);
        assert!(row.kernel.unwrap() > 0.0 && row.is_within() == Some(true), "{row:?}");
    }
    assert_eq!(run.figures["failed_requests"].value, Some(0.0));
    assert_eq!(run.figures["left_out_events"].value, Some(0.0));
    assert!(run.invariants.violated.is_empty() && run.invariants.checked > 0);
}

#[test]
fn by_pfn_every_block_that_the_kernel_took_is_free_in_the_model() {
    let run = replayed(&recorded(), &["--by", "pfn"]);
    let taken = row(&run, "taken blocks (Z) free in the model, %");
    assert!(taken.model.unwrap() > 99.9, "{taken:?}");
    assert!(row(&run, "blocks drained (D)").is_within().unwrap());
    let free = row(&run, "Normal: free pages at the end");
    assert!((free.model.unwrap() / free.kernel.unwrap() - 1.0).abs() < 0.001, "{free:?}");
}

#[test]
fn each_cpu_on_a_thread_of_its_own_feeds_the_same_events() {
    let strict = replayed(&recorded(), &[]);
    let free = replayed(&recorded(), &["--order", "cpu"]);
    assert_eq!((strict.threads, free.threads as usize), (1, free.machine.cpus as usize));
    let events = |run: &Run| run.figures["replayed_events"].value;
    assert_eq!(events(&strict), events(&free));
    assert_eq!(row(&free, "allocations (A)").is_within(), Some(true));
    assert!(free.invariants.violated.is_empty());
}

#[test]
fn another_policy_stands_beside_the_recorded_kernels() {
    let dir = tempfile::tempdir().unwrap();
    let trace = recorded();
    let args = ["--trace", trace.to_str().unwrap(), "--variant", "mainline", "--variant", "v5.10"];
    let output = stress(dir.path(), &args);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let refills = text.lines().find(|l| l.starts_with("order-0 refill, mean size")).unwrap();
    let mean: Vec<f64> = refills.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // kernel, mainline, v5.10: a fixed batch is 63 pages.
    assert_eq!((mean.len(), mean[2]), (3, 63.0), "{refills}");
    assert!(mean[1] > 63.0, "{refills}");
}

// A recording by hand: one zone of 4096 frames from 0x100000 on, the first 1008 in use, 16 on
// pcplists or plain, the rest free.

fn zoneinfo(free: u32, counts: [u32; 2]) -> String {
    let mut text = format!(
        "Node 0, zone   Normal\n  pages free     {free}\n        boost    0\n        min      32\n        \
         low      40\n        high     48\n        promo    56\n        spanned  4096\n        present  4096\n        \
         managed  4096\n        protection: (0, 0, 0, 0)\n  pagesets\n"
    );
    for (cpu, count) in counts.iter().enumerate() {
        text += &format!(
            "    cpu: {cpu}\n              count:    {count}\n              high:     252\n              \
             batch:    63\n              high_min: 252\n              high_max: 512\n"
        );
    }
    text + "  start_pfn:           1048576\n"
}

const HEAD: &str = "0 0t 9 M SNAP0 begin\n1 0t 9 M SNAP0 kpageflags\n1 0t 9 M SNAP0 end\n";
const TAIL: &str = "1 0t 9 M SNAP1 begin\n1 0t 9 M SNAP1 end\n";

/// One page from CPU 0's list and back, a block of order 4 freed, and a refill on CPU 1.
fn body() -> String {
    let mut body =
        "10 0t 1 A 1003ff 0 1 140dca\n10 0t 1 F 1003ff 0\n10 0t 1 F 100000 4\n".to_owned();
    for page in 0..63 {
        body += &format!("1 1t 2 Z {:x} 0 1 1\n", 0x10_0400 + page);
    }
    body + "1 1t 2 A 100400 0 1 140dca\n"
}

fn recording(trace: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("zoneinfo.before", &zoneinfo(3072, [2, 0]));
    write("zoneinfo.after", &zoneinfo(3072 + 16 - 63, [2, 62]));
    write("kpageflags.before", "100000 1008 68\n100400 3072 400\n");
    write("trace.txt", trace);
    dir
}

#[test]
fn both_ways_end_where_the_kernel_did() {
    let dir = recording(&format!("{HEAD}{}{TAIL}", body()));
    for by in ["request", "pfn"] {
        let run = replayed(dir.path(), &["--by", by]);
        assert!(outside(&run).is_empty(), "{by}: {:#?}", outside(&run));
        let row = |name: &str| row(&run, name).model.unwrap();
        assert_eq!(row("Normal: free pages at the end"), 3025.0, "{by}");
        assert_eq!(row("Normal: CPU 0's pcp count at the end"), 2.0, "{by}");
        assert_eq!(row("Normal: CPU 1's pcp count at the end"), 62.0, "{by}");
    }
}

#[test]
fn a_trace_that_is_none_is_refused_with_line_and_reason() {
    let check = |trace: &str, reason: &str| {
        let dir = recording(trace);
        let output = stress(dir.path(), &["--trace", "."]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.lines().last().unwrap().ends_with(reason), "{stderr}\nwant: {reason}");
        assert!(stderr.contains("trace.txt: line"), "{stderr}");
    };
    let whole = format!("{HEAD}{}{TAIL}", body());
    let cut = &whole[..whole.len() / 2 + 3];
    let line = cut.lines().count();
    check(cut, &format!("line {line}: it is cut off: no end of line"));
    check(
        &format!("{HEAD}{}", body()),
        "line 70: it is cut off: it ends without the marker 'SNAP1 begin'",
    );
    check(
        &whole.replace("F 1003ff 0", "F 1003fg 0"),
        "line 5: '1003fg' is no frame number in hexadecimal",
    );
    // One digit changed: the page is allocated twice.
    check(
        &whole.replace("F 1003ff 0\n", "A 1003ff 0 1 140dca\n"),
        "line 5: A of pfn 1003ff, which is allocated: a record is missing, or this one is not as recorded (--tolerant counts such)",
    );
    check("# comment\nhello world\n", "line 2: 'hello' is no time");
    check(&whole.replace("1t", "7t"), "line 7: CPU 7 is not in the recording's zoneinfo");
}

#[test]
fn a_recording_that_lacks_a_record_is_replayed_if_it_is_asked_for() {
    let twice = body().replace("F 1003ff 0\n", "A 1003ff 0 1 140dca\n");
    let dir = recording(&format!("{HEAD}{twice}{TAIL}"));
    let run = replayed(dir.path(), &["--tolerant"]);
    let note = "1 records that contradict others";
    assert!(run.notes.iter().any(|n| n == note), "{:?}", run.notes);
}

#[test]
fn frames_outside_the_machine_are_counted_and_named() {
    let extra = "1 0t 1 F 200000 0\n1 0t 1 A 5 0 1 140dca\n";
    let dir = recording(&format!("{HEAD}{extra}{}{TAIL}", body()));
    let run = replayed(dir.path(), &[]);
    let note = "2 records of frames outside the machine left out (F 1, A 1), the first on line 4: pfn 200000";
    assert!(run.notes.iter().any(|n| n == note), "{:?}", run.notes);
}

#[test]
fn what_makes_no_sense_with_a_recording_is_refused() {
    let dir = recording(&format!("{HEAD}{TAIL}"));
    for (args, words) in [
        (&[][..], "replay needs --trace DIR|FILE"),
        (&["--trace", "nowhere"], "nowhere: No such file"),
        (&["--trace", ".", "--memory", "1G"], "runs on the machine of its recording"),
        (
            &["--trace", ".", "--by", "pfn", "--order", "cpu"],
            "is dictated for the recorded order only",
        ),
        (&["--trace", ".", "--threads", "7"], "replay runs with 1 here"),
        (&["--trace", ".", "--warmup", "1s"], "begins where the recording does"),
    ] {
        let output = stress(dir.path(), args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
    }
    fs::remove_file(dir.path().join("zoneinfo.after")).unwrap();
    let output = stress(dir.path(), &["--trace", "."]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("zoneinfo.after: it is missing: not a recording"), "{stderr}");
}
