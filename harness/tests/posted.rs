//! Machines out of what people post (`tests/data/posted`): each case does what its RIGHT.txt says.

use assert_cmd::Command;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/posted");

fn machine(path: &str, variant: &str) -> (Option<i32>, String) {
    let output = Command::cargo_bin("stress")
        .unwrap()
        .args(["machine", "--machine", &format!("{DATA}/{path}"), "--variant", variant])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn is_made(path: &str, variant: &str, says: &[&str]) {
    let (code, text) = machine(path, variant);
    assert_eq!(code, Some(0), "{path}: {text}");
    for word in says {
        assert!(text.contains(word), "{path} does not say '{word}': {text}");
    }
}

fn is_refused(path: &str, says: &[&str]) {
    let (code, text) = machine(path, "v6.1");
    assert_eq!((code, text.lines().count()), (Some(2), 1), "{path}: {text}");
    for word in says {
        assert!(text.contains(word), "{path} does not say '{word}': {text}");
    }
}

#[test]
fn zoneinfo_alone_is_a_machine_of_one_node() {
    is_made("only", "v6.1", &["CPUs 0-1", "distances 10", "pagesets"]);
    is_made("only/zoneinfo", "v6.1", &["CPUs 0-1", "996 MiB"]);
}

#[test]
fn quote_marks_come_off() {
    is_made("quoted", "v6.1", &["CPUs 0-1", "996 MiB"]);
    is_made("quoted/zoneinfo", "v6.1", &["996 MiB"]);
}

#[test]
fn zoneinfo_of_several_nodes_says_what_to_add() {
    let dir = tempfile::tempdir().unwrap();
    let one = std::fs::read_to_string(format!("{DATA}/only/zoneinfo")).unwrap();
    let two = one.replace("Node 0", "Node 1").replace("1048576", "4194304");
    std::fs::write(dir.path().join("zoneinfo"), one + &two).unwrap();
    let run = || {
        let mut command = Command::cargo_bin("stress").unwrap();
        command.args(["machine", "--machine"]).arg(dir.path()).assert()
    };
    let refused = run().code(2).get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&refused).contains("numactl -H"));
    let numactl = "available: 2 nodes (0-1)\nnode 0 cpus: 0\nnode 0 size: 1 MB\nnode 1 cpus: 1\n\
                   node 1 size: 1 MB\nnode distances:\nnode 0 1\n 0: 10 21\n 1: 21 10\n";
    std::fs::write(dir.path().join("numactl"), numactl).unwrap();
    let made = run().code(0).get_output().stdout.clone();
    assert!(String::from_utf8_lossy(&made).contains("distances 21 10"));
}

#[test]
fn numactl_is_a_machine() {
    is_made(
        "numactl-H/numactl",
        "v6.1",
        &[
            "3 nodes, 8 CPUs",
            "CPUs 0,2,4,6",
            "CPUs none",
            "distances 30 30 10",
            "laid out from address 0",
        ],
    );
}

#[test]
fn what_is_not_whole_or_not_modelled_is_refused_by_name() {
    is_refused("elided", &["node 0 zone DMA is incomplete", "'spanned'", "'...'"]);
    is_refused(
        "managed-underflow",
        &["-18130", "the kernel's own accounting is broken", "line 25"],
    );
    is_refused("highmem", &["line 18", "zone HighMem", "stress judge"]);
    is_refused("64k-pages", &["64 KiB", "ranges of dmesg"]);
}

#[test]
fn pages_that_are_not_4_kib_are_told_by_any_of_three_files() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["zoneinfo", "node0.cpulist", "node0.distance"] {
        std::fs::copy(format!("{DATA}/64k-pages/{file}"), dir.path().join(file)).unwrap();
    }
    let run = || {
        let mut command = Command::cargo_bin("stress").unwrap();
        let output = command.args(["machine", "--machine"]).arg(dir.path()).output().unwrap();
        let text = output.stdout.iter().chain(&output.stderr).copied().collect();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = run();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("no x86 machine"), "{text}");
    std::fs::write(dir.path().join("meminfo"), "MemTotal:        4173952 kB\n").unwrap();
    assert!(run().1.contains("64 KiB by MemTotal"));
    std::fs::write(dir.path().join("pagesize"), "16384\n").unwrap();
    assert!(run().1.contains("16 KiB by the file pagesize"));
}

#[test]
fn zoneinfo_before_3_9_has_no_managed() {
    is_made("no-managed", "v4.9", &["before 3.9", "992 MiB"]);
}

#[test]
fn min_free_kbytes_is_the_sum_of_min_where_nobody_says_it() {
    is_made("sysctl-min-free", "v6.1", &["min_free_kbytes 393216 is taken from the sum"]);
    let (_, text) = machine("sysctl-min-free", "v6.1");
    let rows = |who: &str| -> Vec<String> {
        let marks =
            |l: &str| l.split_whitespace().rev().skip(3).take(3).collect::<Vec<_>>().join(" ");
        text.lines().filter(|l| l.contains(who)).map(marks).take(2).collect()
    };
    assert_eq!(rows(" model "), rows(" kernel "), "{text}");
}

#[test]
fn a_boost_that_is_not_printed_is_seen() {
    let (code, text) = machine("boosted-min", "v5.4");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("boosted by 13313 pages"), "{text}");
    let listed =
        text.lines().filter(|l| l.contains("zone DMA32 m") || l.contains("zone DMA32 low"));
    assert_eq!(listed.filter(|l| !l.contains("managed")).count(), 0, "{text}");
}
