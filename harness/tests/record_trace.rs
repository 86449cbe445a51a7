//! `scripts/record-trace` against a tracefs made of plain files: what it writes is replayed, and the
//! tracing state is put back whatever happens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const EVENTS: [&str; 7] = [
    "kmem/mm_page_alloc",
    "kmem/mm_page_free",
    "kmem/mm_page_free_batched",
    "kmem/mm_page_pcpu_drain",
    "kmem/mm_page_alloc_zone_locked",
    "kmem/mm_page_alloc_extfrag",
    "sched/sched_switch",
];

const ZONEINFO: &str = "\
Node 0, zone   Normal
  pages free     3072
        min      32
        low      40
        high     48
        spanned  4096
        present  4096
        managed  4096
        protection: (0, 0, 0, 0)
  pagesets
    cpu: 0
              count:    1
              high:     252
              batch:    63
              high_min: 252
              high_max: 512
  start_pfn:           0
";

/// As the kernel prints its ring buffers, with a command name that has a newline and looks like what
/// stands behind names, and a task of
/// which it records nothing: it freed the page that is allocated again.
const TRACE: &str = "\
# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
            bash-100     [000] ...1. 12936.999998: tracing_mark_write: SNAP0 begin
            bash-100     [000] ...1. 12936.999999: tracing_mark_write: SNAP0 kpageflags
            bash-100     [000] ...1. 12937.000001: tracing_mark_write: SNAP0 end
  my [3] \nd-1 [0-4242   [000] ..... 12937.000005: mm_page_alloc: page=00000000494558a2 pfn=0x3ff order=0 migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP
  my [3] \nd-1 [0-4242   [000] d..2. 12937.000006: sched_switch: prev_comm=my [3] \nd-1 [0 prev_pid=4242 prev_prio=120 prev_state=Z ==> next_comm=no\ntraced next_pid=75 next_prio=120
              sh-300     [000] ..... 12937.000007: mm_page_alloc: page=00000000494558a2 pfn=0x3ff order=0 migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP
              sh-300     [000] ..s1. 12937.000008: mm_page_free: page=00000000494558a2 pfn=0x3ff order=0
              sh-300     [000] d..2. 12937.000008: sched_switch: prev_comm=sh prev_pid=300 prev_prio=120 prev_state=S ==> next_comm=bash next_pid=100 next_prio=120
            bash-100     [000] ...1. 12937.000009: tracing_mark_write: SNAP1 begin
            bash-100     [000] ...1. 12937.000010: tracing_mark_write: SNAP1 kpageflags
            bash-100     [000] ...1. 12937.000011: tracing_mark_write: SNAP1 end
";

struct Fake {
    dir: tempfile::TempDir,
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Fake {
    /// A tracefs whose instances come out of a template, and the proc files of a small machine.
    fn new(lost: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for event in EVENTS {
            fs::create_dir_all(at(&format!("template/events/{event}"))).unwrap();
        }
        for path in ["template/options", "template/per_cpu/cpu0", "tracefs/instances", "bin"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in ["proc/sys/kernel", "proc/sys/vm", "nodes/node0"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(at("template/trace"), TRACE).unwrap();
        fs::write(at("template/trace_marker"), "").unwrap();
        let stats = format!("entries: 8\noverrun: {lost}\ncommit overrun: 0\ndropped events: 0\n");
        fs::write(at("template/per_cpu/cpu0/stats"), stats).unwrap();
        fs::write(at("proc/zoneinfo"), ZONEINFO).unwrap();
        fs::write(at("proc/buddyinfo"), "Node 0, zone   Normal 0 0 0 0 0 0 0 0 0 0 3\n").unwrap();
        fs::write(at("proc/pagetypeinfo"), "Page block order: 9\n").unwrap();
        fs::write(at("proc/vmstat"), "pgalloc_normal 7\n").unwrap();
        fs::write(at("proc/meminfo"), "MemAvailable:    1048576 kB\n").unwrap();
        fs::write(at("proc/sys/kernel/osrelease"), "6.99-test\n").unwrap();
        let words = |n: usize, flags: u64| flags.to_ne_bytes().repeat(n);
        let flags = [words(1000, 0x68), words(24, 0), words(3072, 0x400)].concat();
        fs::write(at("proc/kpageflags"), flags).unwrap();
        fs::write(at("nodes/node0/cpulist"), "0\n").unwrap();
        fs::write(at("nodes/node0/distance"), "10\n").unwrap();
        // tracefs fills a new instance by itself, and rmdir takes a full one away.
        executable(
            &at("bin/mkdir"),
            "#!/bin/sh\ncase $1 in */instances/*) exec cp -r \"$TEMPLATE\" \"$1\" ;; *) exec /bin/mkdir \"$@\" ;; esac\n",
        );
        executable(
            &at("bin/rmdir"),
            "#!/bin/sh\nls \"$1\" >/dev/null && cat \"$1/tracing_on\" >\"$LAST_STATE\" && exec rm -r \"$1\"\n",
        );
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn record(&self, args: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/record-trace");
        let path = std::env::var("PATH").unwrap();
        Command::new("bash")
            .arg(script)
            .args(args)
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("TEMPLATE", self.path("template"))
            .env("LAST_STATE", self.path("last-state"))
            .env("STRESS_RECORD_TRACEFS", self.path("tracefs"))
            .env("STRESS_RECORD_PROC", self.path("proc"))
            .env("STRESS_RECORD_NODES", self.path("nodes"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn has_no_instance(&self) -> bool {
        fs::read_dir(self.path("tracefs/instances")).unwrap().next().is_none()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_was_recorded_is_replayed() {
    let fake = Fake::new(0);
    let output = fake.record(&["-o", "out.tar.xz", "--", "sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    assert!(said(&output).contains("out.tar.xz: 10 records, no event lost"), "{}", said(&output));
    assert!(fake.has_no_instance());
    assert_eq!(fs::read_to_string(fake.path("last-state")).unwrap(), "0\n", "tracing is off");
    let replay = Command::new(env!("CARGO_BIN_EXE_stress"))
        .args(["--workload", "replay", "--format", "json", "--trace", "out.tar.xz"])
        .current_dir(fake.dir.path())
        .output()
        .unwrap();
    assert_eq!(replay.status.code(), Some(0), "{}", said(&replay));
    let run = &results::store::parse(&replay.stdout, "stdout".as_ref()).unwrap()[0];
    let fidelity = run.fidelity.as_ref().unwrap();
    assert!(fidelity.source.contains("out (Linux 6.99-test)"), "{}", fidelity.source);
    let kernel = |figure: &str| {
        fidelity.rows.iter().find(|r| r.figure == figure).and_then(|r| r.kernel).unwrap()
    };
    assert_eq!((kernel("allocations (A)"), kernel("frees (F)")), (2.0, 1.0));
    assert_eq!(kernel("records in softirqs, %"), 33.3333);
    assert_eq!(kernel("lifetime p50, ms"), 0.001);
    let untraced = "tasks that the kernel does not trace ran 1 times, 0.0 ms in all, the first (thread 75) \
        before line 5: fed as it shows later: 1 blocks that they freed, 0 pages that they took";
    assert!(run.notes.iter().any(|n| n == untraced), "{:?}", run.notes);
}

#[test]
fn lost_events_are_said_and_counted() {
    let fake = Fake::new(12);
    let output = fake.record(&["-o", "out.tar.xz", "--", "true"]);
    assert!(said(&output).contains("12 EVENTS LOST"), "{}", said(&output));
}

#[test]
fn full_buffers_end_it_with_advice() {
    let fake = Fake::new(0);
    // What a marker meets when nothing can be written any more.
    let fill = "for i in \"$STRESS_RECORD_TRACEFS\"/instances/*; do rm \"$i/trace_marker\" && mkdir -p \"$i/trace_marker\"; done";
    let output = fake.record(&["-o", "out.tar.xz", "--", "sh", "-c", fill]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("the ring buffers are full"), "{}", said(&output));
    assert!(fake.has_no_instance() && !fake.path("out.tar.xz").exists());
}

#[test]
fn an_interrupt_puts_everything_back() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let fake = Fake::new(0);
        let kill = format!("kill -{signal} $PPID");
        let output = fake.record(&["-o", "out.tar.xz", "--", "sh", "-c", &kill]);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(fake.has_no_instance() && !fake.path("out.tar.xz").exists());
        assert_eq!(fs::read_to_string(fake.path("last-state")).unwrap(), "0\n");
    }
}

#[test]
fn mistakes_are_told_before_anything_is_touched() {
    let fake = Fake::new(0);
    fs::write(fake.path("taken"), "").unwrap();
    for (args, words) in [
        (&[][..], "scripts/record-trace [-o FILE]"),
        (&["-o", "taken", "--", "true"], "taken exists"),
        (&["-b", "many", "--", "true"], "-b many: want a number of MiB"),
    ] {
        let output = fake.record(args);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
        assert!(fake.has_no_instance());
    }
    fs::remove_dir_all(fake.path("template/events/kmem/mm_page_pcpu_drain")).unwrap();
    let output = fake.record(&["-o", "out.tar.xz", "--", "true"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("no event kmem:mm_page_pcpu_drain"), "{}", said(&output));
    assert!(fake.has_no_instance());
}
