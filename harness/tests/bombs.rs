//! Files and arguments made to hang, crash or fill a reader: each is refused in a line, within a second
//! of CPU time and 256 MiB.

use std::io::{Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;

/// Runs `stress` under the limits. A bomb that is held by neither dies by SIGXCPU or SIGABRT.
fn stress(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stress"));
    command.args(args).current_dir(dir).env("STRESS_CONFIG", "").stdin(std::process::Stdio::null());
    let limit = |which, most| {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: reads an rlimit that outlives the call.
        unsafe { libc::setrlimit(which, &raw const limit) };
    };
    // SAFETY: between fork and exec only setrlimit is called, which may be.
    unsafe {
        command.pre_exec(move || {
            limit(libc::RLIMIT_CPU, 1);
            limit(libc::RLIMIT_AS, 256 << 20);
            limit(libc::RLIMIT_CORE, 0);
            Ok(())
        })
    };
    command.output().unwrap()
}

fn refused(dir: &Path, args: &[&str], words: &str) {
    let output = stress(dir, args);
    let said = String::from_utf8_lossy(&output.stderr);
    let told =
        format!("{args:?}: {:?} signal {:?}: {said}", output.status.code(), output.status.signal());
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(said.contains(words), "{told}");
    assert!(said.lines().count() <= 3 && said.len() < 2000, "{told}");
}

/// A real record's text.
fn record(dir: &Path) -> String {
    let args = [
        "page-alloc",
        "--threads=1",
        "--rounds=1",
        "--duration=20ms",
        "--warmup=0",
        "--memory=64M",
        "-o",
        "real.json",
        "--force",
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_stress"))
        .args(args)
        .current_dir(dir)
        .env("STRESS_CONFIG", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(dir.join("real.json")).unwrap()
}

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn histogram(payload_len: u32, digits: u32, highest: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0x1c84_9313_u32, payload_len, 0, digits] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(1_u64.to_be_bytes());
    bytes.extend(highest.to_be_bytes());
    bytes.extend(1.0_f64.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn zlib(plain: impl std::io::Read) -> Vec<u8> {
    let mut bytes = 0x1c84_9314_u32.to_be_bytes().to_vec();
    let mut packed = Vec::new();
    let level = flate2::Compression::best();
    flate2::read::ZlibEncoder::new(plain, level).read_to_end(&mut packed).unwrap();
    bytes.extend((packed.len() as u32).to_be_bytes());
    bytes.extend(packed);
    bytes
}

/// The record with another histogram in its first operation that has one.
fn with_hdr(record: &str, bytes: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let at = record.find("\"hdr\": \"").unwrap() + 8;
    let end = at + record[at..].find('"').unwrap();
    format!("{}{text}{}", &record[..at], &record[end..])
}

#[test]
fn records() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let real = record(dir);
    let histograms = [
        ("length.json", histogram(u32::MAX, 2, 60_000_000_000, &[]), "histogram does not decode"),
        ("range.json", histogram(0, 5, u64::MAX / 2, &[]), "histogram does not decode"),
        ("zlib.json", zlib(std::io::repeat(0).take(1 << 28)), "more than 8 MiB"),
        ("count.json", histogram(9, 2, 60_000_000_000, &[0x80; 9]), "no run takes as many"),
    ];
    for (name, bytes, words) in histograms {
        write(dir, name, with_hdr(&real, &bytes));
        refused(dir, &["compare", "real.json", name], words);
        refused(dir, &["merge", "real.json", name, "-o", "out.json"], words);
    }
    let mut ops: serde_json::Value = serde_json::from_str(&real).unwrap();
    let wide = base64::engine::general_purpose::STANDARD.encode(histogram(0, 5, 1 << 44, &[]));
    let mut op = ops["ops"].as_object().unwrap().values().next().unwrap().clone();
    (op["hdr"], op["latency_ns"]) = (wide.into(), serde_json::Value::Null);
    for i in 0..200 {
        ops["ops"][format!("op{i}")] = op.clone();
    }
    write(dir, "ops.json", ops.to_string());
    refused(dir, &["compare", "real.json", "ops.json"], "more buckets than any");
    write(dir, "objects.json", format!("{{\"schema\":1,\"runs\":[{}", "{},".repeat(20 << 20)));
    refused(dir, &["compare", "real.json", "objects.json"], "more values than any");
    write(dir, "deep.json", "[".repeat(1 << 20));
    refused(dir, &["compare", "real.json", "deep.json"], "deep.json");
    let long = std::fs::File::create(dir.join("long.json")).unwrap();
    long.set_len(1 << 40).unwrap();
    refused(dir, &["compare", "real.json", "long.json"], "longer than 64 MiB");
    write(dir, "runs/run.json", &real);
    write(dir, "runs/run.hlog", "x".repeat(9 << 20));
    let report = stress(dir, &["report", "runs", "-o", "report.html"]);
    let said = String::from_utf8_lossy(&report.stderr);
    assert!(report.status.success() && said.contains("the line is longer than any"), "{said}");
}

#[test]
fn counts_at_their_end() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut real: serde_json::Value = serde_json::from_str(&record(dir)).unwrap();
    enlarge(&mut real);
    for name in ["a.json", "b.json", "c.json"] {
        real["run_id"] = name.into();
        write(dir, name, real.to_string());
    }
    let commands: [&[&str]; 6] = [
        &["merge", "a.json", "b.json", "c.json", "-o", "merged.json"],
        &["compare", "a.json", "b.json"],
        &["compare", "a.json", "b.json", "--format", "json"],
        &["report", "a.json", "-o", "a.html"],
        &["report", "a.json", "--mail"],
        &["plot", "a.json"],
    ];
    for args in commands {
        let output = stress(dir, args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1 | 2 | 5 | 6)), "{args:?}: {said}");
        assert!(!said.contains("this is a bug"), "{args:?}: {said}");
    }
}

/// Every count that nothing else in the record is held against becomes 2^62.
fn enlarge(value: &mut serde_json::Value) {
    const KEPT: [&str; 12] = [
        "schema",
        "threads",
        "number",
        "order",
        "planned_rounds",
        "round",
        "exit",
        "cpu",
        "count",
        "cpus",
        "node",
        "step",
    ];
    if let Some(entries) = value.as_object_mut() {
        for (key, value) in entries.iter_mut().filter(|(key, _)| *key != "latency_ns") {
            if value.is_u64() && !KEPT.contains(&key.as_str()) {
                *value = (1_u64 << 62).into();
            } else {
                enlarge(value);
            }
        }
    } else if let Some(all) = value.as_array_mut() {
        all.iter_mut().for_each(enlarge);
    }
}

#[test]
fn what_is_no_file_hangs_no_reader() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let made = Command::new("mkfifo").arg(dir.join("fifo")).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("/dev/zero", dir.join("zero.xml")).unwrap();
    std::os::unix::fs::symlink("fifo", dir.join("fifo.xml")).unwrap();
    for (name, kind) in [("fifo", "a FIFO"), ("/dev/zero", "a device")] {
        refused(dir, &["compare", name, name], kind);
        refused(dir, &["merge", name, "-o", "out.json"], kind);
        refused(dir, &["report", name, "-o", "out.html"], kind);
        refused(dir, &["plot", name], kind);
        refused(dir, &["sweep", "run", name, "--index", "0"], kind);
        refused(dir, &["explore", "--replay", name], kind);
        refused(dir, &["replay", "--trace", name], kind);
        refused(dir, &["page-alloc", "--config", name], kind);
    }
    for name in ["zero.xml", "fifo.xml"] {
        refused(dir, &["machine", "--machine", name], "give a file");
    }
}

#[test]
fn traces() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let zeros = || std::io::repeat(b'0').take(128 << 20);
    let (mut gz, mut xz, mut zst) = (Vec::new(), Vec::new(), Vec::new());
    flate2::read::GzEncoder::new(zeros(), flate2::Compression::fast())
        .read_to_end(&mut gz)
        .unwrap();
    liblzma::read::XzEncoder::new(zeros(), 0).read_to_end(&mut xz).unwrap();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress(zeros(), &mut zst, level);
    for (name, packed) in [("gz", gz), ("xz", xz), ("zst", zst)] {
        write(dir, &format!("bomb.{name}"), &packed);
        refused(dir, &["replay", "--trace", &format!("bomb.{name}")], &format!("bomb.{name}"));
        write(dir, &format!("{name}/trace.txt"), "");
        write(dir, &format!("{name}/zoneinfo.before.{name}"), &packed);
        refused(dir, &["replay", "--trace", name], "unpacks to more than 200 times");
    }
}

#[test]
fn machines() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let sparse = include_str!("data/hwloc/sparse.xml");
    let nested = "<object type=\"Group\" cpuset=\"0x1\">".repeat(200_000);
    let entities: String = (1..12).fold("<!ENTITY e0 \"lol\">".to_owned(), |all, i| {
        format!("{all}<!ENTITY e{i} \"{}\">", format!("&e{};", i - 1).repeat(10))
    });
    for (name, text) in [
        ("nested.xml", format!("<?xml version=\"1.0\"?><topology version=\"2.0\">{nested}")),
        (
            "laugh.xml",
            format!("<?xml version=\"1.0\"?><!DOCTYPE t [{entities}]><topology>&e11;</topology>"),
        ),
        ("cut.xml", sparse[..sparse.len() / 2].to_owned()),
        ("empty.xml", String::new()),
        ("sets.xml", sparse.replace("cpuset=\"0x", "cpuset=\"0xffffffff,,,,0x")),
    ] {
        write(dir, name, text);
        let output = stress(dir, &["machine", "--machine", name]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(0 | 2 | 3)),
            "{name}: {:?} {said}",
            output.status
        );
    }
    refused(
        dir,
        &["machine", "--machine", "synthetic:pack:1000 core:1000 pu:1"],
        "CPUs are more than",
    );
    write(dir, "machine.json", "[".repeat(1 << 22));
    refused(dir, &["machine", "--machine", "machine.json"], "machine.json");
}

#[test]
fn arguments_and_plans() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    refused(dir, &["page-alloc", "--time-scale", "1e-20"], "--time-scale");
    refused(dir, &["page-alloc", "--duration", "99999999999999d"], "longer than 3650d");
    refused(dir, &["page-alloc", "--duration", "-5"], "less than 0");
    let list: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    let lists =
        ["seed", "threads", "rounds", "ops"].map(|key| format!("{key} = [{}]", list.join(",")));
    write(
        dir,
        "matrix.toml",
        format!("[[run]]\nworkload = \"page-alloc\"\n{}\n", lists.join("\n")),
    );
    refused(dir, &["sweep", "plan", "matrix.toml"], "cells");
    let mut file = std::fs::File::create(dir.join("schedule.txt")).unwrap();
    file.write_all(&[b'9'; 5 << 20]).unwrap();
    refused(dir, &["explore", "--replay", "schedule.txt"], "longer than 4 MiB");
    // A directory to be shared: names in messages do nothing to a terminal.
    let name = "a\x1b]0;owned\x07b.json";
    write(dir, name, "{}");
    let output = stress(dir, &["compare", name, name]);
    assert!(!output.stderr.contains(&0x1b) && !output.stderr.contains(&7));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a\\x1b]0;owned\\x07b.json"));
}
