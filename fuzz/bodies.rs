// What is done with an input: shared by the mutation driver (harness/tests/mutations.rs, stable Rust) and
// by cargo-fuzz (fuzz_targets). Each body goes the way that a user's file goes, and may not panic; what
// it gives for the screen may hold nothing that acts on a terminal.

use std::path::{Path, PathBuf};

use harness::cli::args::When;
use harness::machine::{MachineSpec, Source};
use results::compare::Style;
use results::report::Format;

/// A parser's name, the name of the file that it reads, and what is done with it.
pub(crate) type Target = (&'static str, &'static str, fn(&Path) -> bool);

/// All parsers of what others may have made.
pub(crate) const TARGETS: [Target; 10] = [
    ("record", "run.json", record),
    ("histogram", "text", histogram),
    ("hlog", "run.hlog", hlog),
    ("recording", "recording.tar", recording),
    ("zoneinfo", "zoneinfo", zoneinfo),
    ("machine", "machine.json", machine),
    ("topology", "topology.xml", topology),
    ("matrix", "matrix.toml", matrix),
    ("schedule", "schedule.txt", schedule),
    ("judge", "dmesg", judge),
];

/// Runs a target on bytes: were they taken? `dir`: where its file goes.
pub(crate) fn run(target: &Target, dir: &Path, bytes: &[u8]) -> bool {
    let path = dir.join(target.1);
    std::fs::write(&path, bytes).unwrap();
    (target.2)(&path)
}

fn shown(text: &str) {
    assert_eq!(results::escape::text(text), text, "acts on a terminal");
}

fn record(path: &Path) -> bool {
    let Ok(loaded) = results::store::load_file(path) else { return false };
    let inputs = || vec![path.to_owned()];
    for format in [
        Format::Html,
        Format::Mail,
        Format::Text,
        Format::Ktap,
        Format::Junit,
        Format::OpenMetrics,
        Format::Csv,
        Format::Hgrm("fault".to_owned()),
    ] {
        let args = results::report::Args { inputs: inputs(), format, ..Default::default() };
        if let Ok(outcome) = results::report::run(&args) {
            shown(&outcome.text);
        }
    }
    for style in [Style::Robot, Style::Mmtests, Style::Markdown, Style::Mail] {
        let args = results::compare::Args {
            base: path.to_owned(),
            new: inputs(),
            fail_on: vec!["p99>5%".to_owned()],
            style,
            force: true,
            all_figures: true,
            seed: None,
        };
        if let Ok(outcome) = results::compare::run(&args) {
            shown(&results::escape::terminal(&outcome.text));
        }
    }
    // The same under another name is another run.
    let mut other = loaded.clone();
    other.iter_mut().for_each(|one| one.run.run_id.push('x'));
    let _ = results::merge::merge([loaded, other].concat(), &mut Vec::new());
    true
}

fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

fn histogram(path: &Path) -> bool {
    use results::histogram::Histogram;
    let Ok(mut one) = Histogram::decode(text_of(path).trim(), "text") else { return false };
    let _ = (one.latency(), one.mid(), one.stddev(), one.recorded().count());
    let _ = results::export::hgrm::document(&one, 1000.0);
    let other = one.clone();
    if one.merge_foreign(&other, "text").is_ok() {
        assert_eq!(Histogram::decode(&one.encode(), "again").unwrap(), one);
    }
    true
}

fn hlog(path: &Path) -> bool {
    results::export::hlog::read(path).is_ok()
}

fn recording(path: &Path) -> bool {
    let _ = harness::recording::load(path, true, When::Never);
    harness::recording::load(path, false, When::Never).is_ok()
}

fn machine_of(source: Source) -> bool {
    match harness::machine::load(&MachineSpec { source, ..MachineSpec::default() }) {
        Ok((machine, _)) => machine.validate().is_ok() || panic!("invalid, and taken"),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn zoneinfo(path: &Path) -> bool {
    // A captured directory of one node: the bytes are its zoneinfo.
    let dir = path.with_extension("captured");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::copy(path, dir.join("zoneinfo")).unwrap();
    std::fs::write(dir.join("node0.cpulist"), "0-3\n").unwrap();
    std::fs::write(dir.join("node0.distance"), "10\n").unwrap();
    machine_of(Source::Directory(dir))
}

fn machine(path: &Path) -> bool {
    machine_of(Source::File(path.to_owned()))
}

fn topology(path: &Path) -> bool {
    machine_of(Source::Xml(path.to_owned()))
}

fn matrix(path: &Path) -> bool {
    let Ok(plan) = harness::sweep::matrix::plan(path) else { return false };
    let file: PathBuf = path.with_extension("json");
    plan.save(&file, true).unwrap();
    assert_eq!(harness::sweep::plan::Plan::read(&file).unwrap(), plan);
    true
}

fn schedule(path: &Path) -> bool {
    harness::explore::kept::Kept::load(path).is_ok()
}

fn judge(path: &Path) -> bool {
    let mut reports = 0;
    let read = harness::judge::input::each_report(path, |judged| {
        reports += 1;
        for text in [
            harness::judge::text::text(&judged, true),
            harness::judge::text::mail(&judged),
            harness::judge::document(std::slice::from_ref(&judged)),
        ] {
            shown(&results::escape::terminal(&text));
        }
    });
    read.is_ok() && reports > 0
}
