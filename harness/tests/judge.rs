//! `stress judge` on kept reports: the class that each one's RIGHT.txt names, whole and mangled; the
//! episodes of a real kernel; the command line.

use assert_cmd::Command;
use harness::judge::{Class, Judged, judge_text};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../report/tests/data");

/// Sample, classes of its reports, words that the answer must hold.
const SAMPLES: [(&str, &[Class], &[&str]); 15] = [
    (
        "01-premature-cpuset-4.9",
        &[Class::Premature],
        &[
            "Node 1 Normal has 4000000 kB usable",
            "133 times",
            "whether a policy binds",
            "J1a-task",
            "--variant v4.9",
        ],
    ),
    (
        "02-justified-6.1",
        &[Class::Justified],
        &[
            "50000 <= 50400 kB",
            "49900 <= 50000 kB",
            "30 file pages",
            "93 % anonymous",
            "used up",
            "8192 kB",
            "41808",
        ],
    ),
    (
        "03-transient-3.10",
        &[Class::Transient],
        &["Node 1 Normal", "34000 > 30200", "45300", "GFP_HIGHUSER_MOVABLE|__GFP_ZERO", "used up"],
    ),
    (
        "04-mempolicy-4.18",
        &[Class::Bound],
        &[
            "only node 3",
            "memory policy",
            "35000 <= 35100",
            "5165000 kB are free on other nodes",
            "does not list",
            "preferred instead of bind",
        ],
    ),
    (
        "05-no-zone-allowed-5.8",
        &[Class::NoZone],
        &["highest zone is Normal", "Node 2 Movable", "8ca1b5a49885", "with Normal memory"],
    ),
    (
        "06-fragmentation-order3-4.7",
        &[Class::Fragmented],
        &[
            "15000",
            "30100",
            "no block of 32 kB",
            "Node 0 Normal: marks pass",
            "300000 file pages, 700000",
            "4.9 mended",
            "4000000 kB",
        ],
    ),
    (
        "07-cma-only-32bit",
        &[Class::CmaOnly],
        &[
            "6000 <= 10000",
            "513000 kB of its 519000 kB free are CMA",
            "7000 kB",
            "above Normal",
            "524288 kB",
        ],
    ),
    (
        "08-highatomic-6.1",
        &[Class::Highatomic],
        &["8192 kB taken off", "whole highatomic reserve", "6.8", "600 kB", "on pcplists"],
    ),
    ("09-kswapd-trigger-6.12", &[Class::NotAnAllocation], &["min_ttl_ms", "PF_MEMALLOC"]),
    ("10-memcg", &[Class::Memcg], &["/box", "81920 kB"]),
    ("11-sysrq", &[Class::NotAnAllocation], &["by hand", "sysrq-f"]),
    ("12-node-gone-6.10", &[Class::NoZone], &["node 2", "memory policy", "offline", "6760000 kB"]),
    (
        "13-broken-marks",
        &[Class::Broken],
        &[
            "18446744073709479096kB",
            "signed",
            "min:99395541895224kB",
            "balloon",
            "Node 0 DMA32 with 2600000 kB",
        ],
    ),
    (
        "14-warn-alloc-dma",
        &[Class::Justified],
        &["highest zone is DMA", "nothing managed", "can't be served"],
    ),
    (
        "15-late-second-kill",
        &[Class::Justified, Class::LateKill],
        &["hog (1701)", "6000000 kB", "came free between", "ms after"],
    ),
];

fn sample(name: &str) -> String {
    std::fs::read_to_string(format!("{DATA}/samples/{name}/report.txt")).unwrap()
}

fn classes(judged: &[Judged]) -> Vec<Class> {
    judged.iter().map(|j| j.class).collect()
}

fn whole_text(judged: &[Judged]) -> String {
    let texts: String = judged.iter().map(|j| harness::judge::text::text(j, false)).collect();
    // Paragraphs are wrapped for the screen.
    texts.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_sample_is_answered_as_it_is_right() {
    for (name, expected, words) in SAMPLES {
        let judged = judge_text(name, &sample(name));
        let text = whole_text(&judged);
        assert_eq!(classes(&judged), expected, "{name}\n{text}");
        for word in words {
            assert!(text.contains(word), "{name} does not say '{word}':\n{text}");
        }
    }
}

/// Breaks lines at blanks and behind hyphens, and too long words anywhere, as mailers do.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut open = String::new();
        for word in line.split_inclusive(' ') {
            let mut parts = vec![word.to_owned()];
            if let Some(at) = word.find('-').filter(|at| {
                let letters = |s: Option<char>| s.is_some_and(char::is_alphabetic);
                letters(word[..*at].chars().last()) && letters(word[at + 1..].chars().next())
            }) {
                parts = vec![word[..=at].to_owned(), word[at + 1..].to_owned()];
            }
            for mut part in parts {
                if !open.is_empty() && open.len() + part.trim_end().len() > width {
                    if part.trim_end().len() > width {
                        let room = width - open.len();
                        open.push_str(&part[..room]);
                        part = part[room..].to_owned();
                    }
                    lines.push(std::mem::take(&mut open).trim_end().to_owned());
                }
                while part.trim_end().len() > width {
                    lines.push(part[..width].to_owned());
                    part = part[width..].to_owned();
                }
                open.push_str(&part);
            }
        }
        lines.push(open.trim_end().to_owned());
    }
    lines.join("\n") + "\n"
}

fn each_line(text: &str, change: impl Fn(&str) -> String) -> String {
    text.lines().map(|l| change(l) + "\n").collect()
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// Ways in which a report that is whole reaches a reader.
fn manglings(text: &str) -> Vec<(&'static str, String)> {
    let bare = |line: &str| {
        let line = line.split_once("kernel: ").map_or(line, |(_, rest)| rest);
        match line.strip_prefix('[').and_then(|l| l.split_once("] ")) {
            Some((time, rest)) if time.contains('.') => rest.to_owned(),
            _ => line.to_owned(),
        }
    };
    let folded = each_line(text, |line| {
        let bytes: Vec<&[u8]> = line.as_bytes().chunks(60).collect();
        bytes.iter().map(|b| String::from_utf8_lossy(b)).collect::<Vec<_>>().join("\n")
    });
    let journal =
        |line: &str| format!("{{\"_HOSTNAME\":\"h\",\"MESSAGE\":{}}}", json_string(&bare(line)));
    let printable = each_line(&text.replace('=', "=3D"), |line| {
        let cuts: Vec<usize> = (1..line.len() / 70 + 1).map(|i| i * 70).collect();
        let mut parts = Vec::new();
        let mut from = 0;
        for at in cuts {
            // Not inside of =3D.
            let at = if line[..at].ends_with('=') {
                at + 2
            } else if line[..at].ends_with("=3") {
                at + 1
            } else {
                at
            };
            parts.push(line[from..at].to_owned() + "=");
            from = at;
        }
        parts.push(line[from..].to_owned());
        parts.join("\n")
    });
    vec![
        ("wrapped at 60", wrapped(text, 60)),
        ("wrapped at 72 and quoted", each_line(&wrapped(text, 72), |l| format!("> {l}"))),
        ("folded at 60", folded),
        ("quoted", each_line(text, |l| format!("> > {l}"))),
        ("syslog", each_line(text, |l| format!("Dec  1 11:15:48 lab07 kernel: {l}"))),
        ("CRLF", text.replace('\n', "\r\n")),
        ("quoted-printable", printable),
        ("JSON of a journal", each_line(text, journal)),
        (
            "levels and callers",
            each_line(text, |l| match l.strip_prefix('[') {
                Some(rest) => format!("<4>[{}", rest.replacen("] ", "][ T123] ", 1)),
                None => l.to_owned(),
            }),
        ),
    ]
}

#[test]
fn what_carries_a_report_changes_no_answer() {
    for (name, expected, _) in SAMPLES {
        let text = sample(name);
        for (how, mangled) in manglings(&text) {
            let judged = judge_text(how, &mangled);
            assert_eq!(
                classes(&judged),
                expected,
                "{name} {how}:\n{mangled}\n{}",
                whole_text(&judged)
            );
        }
    }
}

#[test]
fn a_report_without_names_has_the_same_answer() {
    for (name, expected, _) in SAMPLES {
        let found = report::anonymous::anonymized(&sample(name));
        let judged = judge_text(name, &found);
        assert_eq!(classes(&judged), expected, "{name}:\n{found}\n{}", whole_text(&judged));
        for word in ["jobs", "hog", "victim (", "/box"] {
            assert!(!found.contains(word), "{name} {word}:\n{found}");
        }
    }
}

#[test]
fn two_logs_in_one_are_answered_apart() {
    for (i, (name, expected, _)) in SAMPLES.iter().enumerate() {
        let (other, others, _) = SAMPLES[(i + 1) % SAMPLES.len()];
        let judged = judge_text("both", &(sample(name) + &sample(other)));
        let both: Vec<Class> = expected.iter().chain(others).copied().collect();
        assert_eq!(classes(&judged), both, "{name} and {other}:\n{}", whole_text(&judged));
    }
}

#[test]
fn a_report_that_is_cut_says_what_is_missing_or_the_same() {
    for (name, expected, _) in SAMPLES {
        let text = sample(name);
        let mut unknown = 0;
        for part in 1..20 {
            let judged = judge_text("cut", &text[..text.len() * part / 20]);
            for j in &judged {
                if j.class == Class::Unknown {
                    unknown += 1;
                    assert!(!j.missing.is_empty(), "{name} {part}/20");
                }
                let same = expected.contains(&j.class) || j.class == Class::Unknown;
                // A cut list of zones can't take back what one zone of it proves.
                assert!(same, "{name} {part}/20: {:?}: {}", j.class, j.headline);
            }
        }
        assert!(unknown < 20, "{name}");
    }
}

#[test]
fn a_real_kernels_episodes_are_justified_with_their_victims() {
    let check = |name: &str, class: Class, constraint: &str, pid: u32| {
        let text = std::fs::read_to_string(format!("{DATA}/guest/{name}.txt")).unwrap();
        let judged = judge_text(name, &text);
        assert_eq!(classes(&judged), [class], "{}", whole_text(&judged));
        assert_eq!(judged[0].request.constraint, Some(constraint));
        let victim = judged[0].victim.as_ref().unwrap();
        assert_eq!((victim.pid, victim.agrees), (Some(pid), Some(true)), "{}", victim.text);
    };
    check("none", Class::Justified, "none", 182);
    check("cpuset", Class::Bound, "cpuset", 190);
    check("memory-policy", Class::Bound, "memory-policy", 181);
    check("memcg", Class::Memcg, "memcg", 185);
}

fn stress() -> Command {
    Command::cargo_bin("stress").unwrap()
}

#[test]
fn exit_codes_and_documents() {
    let run = |args: &[&str], code: i32, out: &str| {
        let mut command = stress();
        command.current_dir(format!("{DATA}/samples")).arg("judge").args(args);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(out), "{args:?}: {text}");
    };
    run(&["01-premature-cpuset-4.9/report.txt"], 1, "PREMATURE");
    run(&["05-no-zone-allowed-5.8/report.txt", "--format", "json"], 1, "\"class\": \"no-zone\"");
    run(&["10-memcg/report.txt"], 0, "memory cgroup");
    run(&["01-premature-cpuset-4.9/RIGHT.txt"], 2, "no report in it");
    run(&["no-such-file"], 2, "no-such-file");
    run(&["02-justified-6.1/report.txt", "--explain"], 0, "12500 <= 12600: fails at min");
    run(&["15-late-second-kill/report.txt", "--summary"], 0, "late-kill");
    run(&[".", "--summary"], 1, "16 reports in 31 logs");
    run(&["02-justified-6.1/report.txt", "--mail"], 0, "> ");
    run(
        &["10-memcg/report.txt", "--anonymize"],
        0,
        "oom_memcg=/group1,task_memcg=/group1,task=task1,pid=1001",
    );
}

#[test]
fn stdin_and_compressed_logs_are_read() {
    use std::io::Write as _;
    let text = sample("02-justified-6.1");
    let mut command = stress();
    command.arg("judge").write_stdin(text.clone()).assert().code(0);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dmesg.gz");
    let mut gz = flate2::write::GzEncoder::new(
        std::fs::File::create(&path).unwrap(),
        flate2::Compression::fast(),
    );
    gz.write_all(text.as_bytes()).unwrap();
    gz.finish().unwrap();
    stress().arg("judge").arg(&path).assert().code(0);
    let half = &text[..text.len() / 3];
    stress().arg("judge").write_stdin(half).assert().code(6);
}
