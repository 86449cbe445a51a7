use super::*;
use crate::schema::Op;

fn sample(id: &str) -> Run {
    let mut run = Run {
        schema: VERSION,
        run_id: id.to_owned(),
        workload: "cpuset01".to_owned(),
        ..Run::default()
    };
    run.variant.name = "v4.11,exit=mm-users".to_owned();
    run.host.name = "lab/07".to_owned();
    run.ops.insert("alloc".to_owned(), Op { count: 5, ..Op::default() });
    run
}

#[test]
fn what_is_saved_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/run.json");
    save(&sample("one"), &path, false).unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!(loaded, [Loaded { path: path.clone(), run: sample("one") }]);
    let set = RunSet { schema: 1, runs: vec![sample("a"), sample("b")], comparison: None };
    let both = dir.path().join("both.json");
    save_set(&set, &both, false).unwrap();
    assert_eq!(load(&both).unwrap().into_iter().map(|l| l.run).collect::<Vec<_>>(), set.runs);
}

#[test]
fn another_run_is_only_replaced_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.json");
    save(&sample("one"), &path, false).unwrap();
    let mut later = sample("one");
    later.interrupted = true;
    save(&later, &path, false).unwrap();
    let message = save(&sample("two"), &path, false).unwrap_err().to_string();
    assert_eq!(message, format!("{} exists from another run; --force replaces it", path.display()));
    assert_eq!(load(&path).unwrap()[0].run, later);
    save(&sample("two"), &path, true).unwrap();
    assert_eq!(load(&path).unwrap()[0].run.run_id, "two");
    fs::write(&path, "a shopping list").unwrap();
    assert!(matches!(save(&sample("two"), &path, false), Err(Error::Exists { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn devices_are_written_and_stay_devices() {
    save(&sample("one"), Path::new("/dev/null"), false).unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let full = save(&sample("one"), Path::new("/dev/full"), false).unwrap_err();
    assert_eq!(full.exit_code(), 3);
    let message = full.to_string();
    assert!(
        message.starts_with("/dev/full: cannot write: ") && message.contains("make room"),
        "{message}"
    );
}

#[test]
fn racing_writers_leave_one_whole_file_and_all_but_one_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.json");
    let wins: usize = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|i| {
                let path = &path;
                scope.spawn(move || {
                    usize::from(save(&sample(&format!("run{i}")), path, false).is_ok())
                })
            })
            .collect();
        writers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert_eq!(wins, 1);
    assert_eq!(load(&path).unwrap().len(), 1);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn run_directories_never_collide() {
    let dir = tempfile::tempdir().unwrap();
    let at = crate::time::parse_rfc3339("2026-11-21T05:26:07Z").unwrap();
    let names: Vec<String> = (0..3)
        .map(|_| {
            new_run_dir(dir.path(), at, &sample("x"))
                .unwrap()
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let first = "2026-11-21T0526-cpuset01-v4.11,exit=mm-users-lab-07";
    assert_eq!(names, [first.to_owned(), format!("{first}-2"), format!("{first}-3")]);
    assert_eq!(for_file_name("../../etc"), "etc");
    assert_eq!(for_file_name(".."), "unnamed");
}

#[test]
fn a_directory_of_runs_is_read_in_order_and_other_json_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for (name, id) in
        [("b/run.json", "2"), ("a/run.json", "1"), ("c/deep/run.json", "3"), ("z.json", "4")]
    {
        save(&sample(id), &dir.path().join(name), false).unwrap();
    }
    fs::write(dir.path().join("a/finding-1.json"), "{}").unwrap();
    fs::write(dir.path().join("plan.json"), "[1, 2]").unwrap();
    std::os::unix::fs::symlink("..", dir.path().join("c/up")).unwrap();
    let ids: Vec<String> = load(dir.path()).unwrap().into_iter().map(|l| l.run.run_id).collect();
    assert_eq!(ids, ["1", "2", "3", "4"]);
}

#[test]
fn an_empty_directory_and_a_missing_file_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    assert_eq!(
        load(dir.path()).unwrap_err().to_string(),
        format!(
            "{at}: no run.json in it or below; give a run directory, a directory of runs, or a file"
        )
    );
    let missing = load(&dir.path().join("none.json")).unwrap_err();
    assert_eq!(missing.exit_code(), 2);
    assert!(
        missing.to_string().starts_with(&format!("{at}/none.json: cannot read: ")),
        "{missing}"
    );
}

#[test]
fn bad_documents_are_one_line_with_place_and_remedy() {
    let whole = to_json(&sample("one"));
    let cut = whole.find("\"rate_per_s\"").unwrap() + 4;
    let p = Path::new("new.json");
    let check = |text: &str, want: &str| {
        let error = parse(text.as_bytes(), p).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.contains(want) && !message.contains('\n'), "{message}\nwant {want}");
        assert!(message.starts_with("new.json: "), "{message}");
    };
    check(
        &whole[..cut],
        &format!("truncated at byte {} (inside ops.alloc)", crate::error::thousands(cut as u64)),
    );
    check("", "truncated at byte 0 (at the top)");
    check(
        &whole.replace("\"schema\": 1", "\"schema\": 2"),
        "schema 2 is newer than this build's 1",
    );
    check(&whole.replace("\"schema\": 1,", ""), "it has no key schema");
    check(&whole.replace("\"count\": 5", "\"count\": oops"), "not JSON: expected value at byte ");
    check(&whole.replace("\"count\": 5", "\"count\": \"five\""), "inside ops.alloc.count");
    check(&whole.replace("\"seed\": 0,", ""), "missing field `seed`");
    check("[1, 2", "truncated at byte 5 (inside [1])");
    check("{\"schema\": \"one\"}", "its schema is no number");
    check("hello", "not JSON");
    check("9", "invalid type: integer `9`, expected an object");
    check("{\"schema\": 1, \"runs\": [{\"schema\": 3}]}", "inside runs[0]");
}

#[test]
fn no_prefix_of_a_record_is_taken_for_a_whole_one() {
    let whole = to_json(&sample("one"));
    for cut in 0..whole.trim_end().len() {
        let error = parse(&whole.as_bytes()[..cut], Path::new("x")).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{cut}: {error}");
    }
}

#[test]
fn a_damaged_histogram_is_found_when_the_record_is_read() {
    let whole = crate::sample::Sample { rounds: 1, ..Default::default() }.run();
    let p = Path::new("night/run.json");
    assert_eq!(parse(to_json(&whole).as_bytes(), p).unwrap(), std::slice::from_ref(&whole));
    let check = |change: fn(&mut Op), want: &str| {
        let mut run = whole.clone();
        change(&mut run.ops["fault"]);
        for text in [
            to_json(&run),
            to_json(&RunSet { schema: 1, runs: vec![whole.clone(), run], comparison: None }),
        ] {
            let error = parse(text.as_bytes(), p).unwrap_err();
            let message = error.to_string();
            assert_eq!(error.exit_code(), 2, "{message}");
            let head = "night/run.json: ops.fault.";
            assert!(message.starts_with(head) && message.contains(want), "{message}");
            assert!(message.contains(" of v4.11: histogram does not decode: "), "{message}");
        }
    };
    let cut = |op: &mut Op| {
        let hdr = op.hdr.as_mut().unwrap();
        hdr.truncate(hdr.len() / 8 * 4);
    };
    check(cut, "hdr of");
    check(|op| op.hdr = Some("not base64!".to_owned()), "hdr of");
    check(|op| op.preempted_hdr = Some("AAAA".to_owned()), "preempted_hdr of");
    check(|op| op.latency_ns.as_mut().unwrap().count += 1, "it holds 2000 samples");
    check(|op| op.latency_ns = None, "latency_ns.count says 0");
}

#[test]
fn names_that_act_on_a_terminal_are_read_as_what_can_be_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.json");
    let mut hostile = sample("one");
    hostile.variant.name = "v4.11\x1b]0;owned\x07".to_owned();
    hostile.host.name = "lab\n07\u{202e}".to_owned();
    hostile.ops.insert("fa\x1b[2Jult".to_owned(), Op::default());
    save(&hostile, &path, false).unwrap();
    let run = load(&path).unwrap().remove(0).run;
    assert_eq!(run.variant.name, "v4.11\\x1b]0;owned\\x07");
    assert_eq!(run.host.name, "lab\\n07\\u{202e}");
    assert!(run.ops.contains_key("fa\\x1b[2Jult"));
}

#[test]
fn more_values_than_any_record_are_refused_before_they_are_made() {
    let path = Path::new("run.json");
    let mut text = b"{\"schema\": 1, \"runs\": [".to_vec();
    text.extend(b"{},".repeat(1 << 19));
    let message = parse(&text, path).unwrap_err().to_string();
    assert!(message.contains("more values than any run record"), "{message}");
}

#[test]
fn links_are_replaced_and_what_they_point_to_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let [victim, link] = ["victim", "run.json"].map(|name| dir.path().join(name));
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    assert!(matches!(save(&sample("one"), &link, false), Err(Error::Exists { .. })));
    let refused = open_own(&link).unwrap_err().to_string();
    assert!(refused.contains("symbolic link"), "{refused}");
    save(&sample("one"), &link, true).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    // A link to nothing makes nothing.
    let nowhere = dir.path().join("nowhere");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&nowhere, &link).unwrap();
    assert!(matches!(save(&sample("one"), &link, false), Err(Error::Exists { .. })));
    assert!(open_own(&link).is_err() && !nowhere.exists());
}
