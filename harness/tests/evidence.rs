//! Evidence is never lost: signals, closed and full descriptors, places that go away meanwhile, names
//! that are no UTF-8; and what can't end well is refused before the load.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const MACHINE: &str = "synthetic:numa:1(memory=256MiB) pu:2";
const ENDLESS: [&str; 4] = ["--warmup", "0", "--duration", "1h"];

/// `stress` under a shell that redirects as `redirect` says.
fn stress(dir: &Path, redirect: &str, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .current_dir(dir)
        .args(["-c", &format!("exec \"$0\" \"$@\" {redirect}"), env!("CARGO_BIN_EXE_stress")])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn load(dir: &Path, redirect: &str, args: &[&str]) -> Command {
    let run = ["--workload", "page-alloc", "--threads", "2", "--machine", MACHINE];
    stress(dir, redirect, &[&run[..], args].concat())
}

fn send(child: &Child, signal: i32) {
    // SAFETY: 1. kill(2) touches no memory of ours; 2. the child was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}

/// Waits until the child catches a signal: its set-up is over then.
fn wait_for_handler(child: &Child, signal: i32) {
    let file = format!("/proc/{}/status", child.id());
    loop {
        let status = std::fs::read_to_string(&file).unwrap();
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).map_or("0", str::trim);
        if u64::from_str_radix(caught, 16).unwrap() >> (signal - 1) & 1 == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_signal_leaves_a_record_whatever_is_closed_or_full() {
    let redirects = [
        "",
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>/dev/full",
    ];
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        for redirect in redirects {
            let dir = tempfile::tempdir().unwrap();
            let args = [&ENDLESS[..], &["-o", "kept/"]].concat();
            let child = load(dir.path(), redirect, &args).spawn().unwrap();
            wait_for_handler(&child, libc::SIGXFSZ);
            send(&child, signal);
            let output = child.wait_with_output().unwrap();
            let about = format!("signal {signal}, {redirect}: {}", stderr(&output));
            // A stdout that is full is told, too.
            let expected = if redirect.starts_with(">/dev/full") { 3 } else { 128 + signal };
            assert_eq!(output.status.code(), Some(expected), "{about}");
            let kept = results::store::load(&dir.path().join("kept")).expect(&about);
            let run = &kept[0].run;
            assert!(run.interrupted && run.exit == 128 + signal, "{about}");
            assert_eq!(run.cut_short(), Some("interrupted"), "{about}");
        }
    }
}

#[test]
fn a_hang_up_that_was_ignored_stays_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.current_dir(dir.path()).args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_stress"));
    command.args(["--workload", "page-alloc", "--machine", MACHINE]).args(ENDLESS);
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_handler(&child, libc::SIGXFSZ);
    send(&child, libc::SIGHUP);
    send(&child, libc::SIGINT);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
}

#[test]
fn a_record_whose_place_is_gone_is_kept_in_another() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    let args = [&ENDLESS[..], &["-o", "kept/run.json"]].concat();
    let child = load(dir.path(), "", &args).spawn().unwrap();
    wait_for_handler(&child, libc::SIGXFSZ);
    // A file where the directory was: it can't be made again.
    std::fs::remove_dir_all(&kept).unwrap();
    std::fs::write(&kept, "").unwrap();
    send(&child, libc::SIGINT);
    let output = child.wait_with_output().unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    let place =
        told.lines().find_map(|l| l.strip_prefix("stress: the record is kept in ")).expect(&told);
    let place = place.strip_suffix(" instead").unwrap();
    assert!(results::store::load(&dir.path().join(place)).unwrap()[0].run.interrupted);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("every one accounted for"), "the summary is shown: {shown}");
}

#[test]
fn a_directory_that_is_gone_leaves_the_record_to_tmp() {
    let dir = tempfile::tempdir().unwrap();
    let (work, other) = (dir.path().join("work"), dir.path().join("other"));
    std::fs::create_dir(&work).unwrap();
    std::fs::create_dir(&other).unwrap();
    let mut command = load(&work, "", &ENDLESS);
    let child = command.env("TMPDIR", &other).spawn().unwrap();
    wait_for_handler(&child, libc::SIGXFSZ);
    std::fs::remove_dir_all(&work).unwrap();
    send(&child, libc::SIGTERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let kept = results::store::load(&other);
    assert!(kept.is_ok_and(|kept| kept.len() == 1), "{}", stderr(&output));
}

#[test]
fn what_can_not_end_well_is_refused_before_the_load() {
    let two = ["--variant", "v6.12", "--variant", "mainline"];
    let gate = |text| [&two[..], &["--fail-on", text]].concat();
    let cases: [(Vec<&str>, &str); 5] = [
        (vec!["-o", "/proc/x"], "/proc/x"),
        (vec!["-o", "/proc/x/"], "/proc/x"),
        (vec!["--timeline", "/proc/x.json"], "/proc/x.json"),
        (gate("nosuch.p50>5%"), "nosuch"),
        (vec!["--baseline", "nosuch", "--fail-on", "alloc.p50>5%"], "nosuch"),
    ];
    for (args, names) in cases {
        let dir = tempfile::tempdir().unwrap();
        // Would it run, it would not end.
        let output = load(dir.path(), "", &[&ENDLESS[..], &args].concat()).output().unwrap();
        let told = stderr(&output);
        assert!(matches!(output.status.code(), Some(2 | 3)), "{args:?}: {told}");
        assert!(told.lines().count() == 1 && told.contains(names), "{args:?}: {told}");
    }
}

#[test]
fn names_need_not_be_utf_8() {
    let dir = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"a\xffb.json");
    let short = ["--warmup", "0", "--ops", "1k", "-o"];
    let output = load(dir.path(), "", &short).arg(name).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 6)), "{}", stderr(&output));
    assert_eq!(results::store::load(&dir.path().join(name)).unwrap().len(), 1);
    for command in ["compare", "report", "merge", "plot"] {
        let output = stress(dir.path(), "", &[command]).arg(name).arg(name).output().unwrap();
        assert_ne!(output.status.code(), Some(101), "{command}: {}", stderr(&output));
    }
}

#[test]
fn an_interrupted_matrix_says_so_in_its_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let child =
        stress(dir.path(), "", &["explore", "--all", "--progress", "never"]).spawn().unwrap();
    wait_for_handler(&child, libc::SIGXFSZ);
    send(&child, libc::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.lines().last().unwrap().starts_with("INTERRUPTED"), "{shown}");
}
