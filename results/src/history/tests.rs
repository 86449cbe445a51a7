use super::*;
use crate::sample::Sample;
use rusqlite::Connection;
use std::path::Path;

fn night(number: u32, slowdown: f64) -> Run {
    let mut run = Sample { seed: u64::from(number), slowdown, ..Sample::default() }.run();
    run.started = format!("2026-11-{number:02}T02:00:00Z");
    run.run_id = format!("night{number:02}");
    run.session = run.run_id.clone();
    run
}

fn keep(dir: &Path, run: &Run) {
    store::save(run, &dir.join(&run.run_id).join("run.json"), false).unwrap();
}

fn ids(history: &History) -> Vec<String> {
    history.list(&Filter::default()).unwrap().into_iter().map(|r| r.run_id).collect()
}

#[test]
fn adding_twice_does_nothing_and_a_later_state_updates() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::open(dir.path()).unwrap();
    keep(dir.path(), &night(1, 1.0));
    keep(dir.path(), &night(2, 1.0));
    let inputs = [dir.path().to_owned()];
    assert_eq!(history.add(&inputs).unwrap().summary(), "2 added");
    assert_eq!(history.add(&inputs).unwrap().summary(), "2 unchanged");
    let mut later = night(2, 1.0);
    later.notes.push("more".into());
    keep(dir.path(), &later);
    assert_eq!(history.add(&inputs).unwrap().summary(), "1 updated, 1 unchanged");
    assert_eq!(ids(&history), ["night01", "night02"]);
    assert_eq!(history.show("night02").unwrap().run, later);
}

#[test]
fn runs_from_elsewhere_are_copied_in_with_what_lies_beside_them() {
    let (home, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    keep(away.path(), &night(3, 1.0));
    std::fs::write(away.path().join("night03/run.hlog"), "#").unwrap();
    let mut history = History::open(home.path()).unwrap();
    for want in ["1 added", "1 unchanged"] {
        assert_eq!(history.add(&[away.path().to_owned()]).unwrap().summary(), want);
    }
    drop(away);
    let row = &history.list(&Filter::default()).unwrap()[0];
    assert_eq!(row.path, "2026-11-03T0200-cpuset01-v4.11-lab07/run.json");
    assert!(home.path().join("2026-11-03T0200-cpuset01-v4.11-lab07/run.hlog").exists());
    assert_eq!(history.load(row).unwrap().run, night(3, 1.0));
}

#[test]
fn a_lost_index_is_rebuilt_from_the_runs() {
    let dir = tempfile::tempdir().unwrap();
    (1..=3).for_each(|n| keep(dir.path(), &night(n, 1.0)));
    let before = ids(&History::open(dir.path()).unwrap());
    assert_eq!(before.len(), 3, "a new index takes up what is there");
    std::fs::remove_file(dir.path().join(INDEX_FILE)).unwrap();
    let (history, added) = History::rebuild(dir.path(), false).unwrap();
    assert_eq!((ids(&history), added.added), (before, 3));
    // A run that is gone leaves the index at the next rebuild.
    std::fs::remove_dir_all(dir.path().join("night02")).unwrap();
    assert!(
        history
            .show("night02")
            .unwrap_err()
            .to_string()
            .contains("is gone; stress history rebuild")
    );
    let (history, _) = History::rebuild(dir.path(), false).unwrap();
    assert_eq!(ids(&history), ["night01", "night03"]);
}

#[test]
fn damaged_newer_and_foreign_databases_are_named_and_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    (1..=9).for_each(|n| keep(dir.path(), &night(n, 1.0)));
    let file = dir.path().join(INDEX_FILE);
    drop(History::open(dir.path()).unwrap());
    let whole = std::fs::read(&file).unwrap();
    let newer = || {
        let c = Connection::open(&file).unwrap();
        c.pragma_update(None, "user_version", 7).unwrap();
    };
    let foreign = || {
        std::fs::remove_file(&file).unwrap();
        Connection::open(&file).unwrap().execute_batch("CREATE TABLE shopping (item)").unwrap();
    };
    let cut = || std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let scribbled = || {
        let mut bytes = whole.clone();
        bytes[4096..8192].fill(0xa5);
        std::fs::write(&file, bytes).unwrap();
    };
    let text =
        || std::fs::write(&file, "not a database at all, but long enough to be looked at").unwrap();
    let cases: [(&dyn Fn(), &str); 5] = [
        (&newer, "index version 7 is newer than this build's 1"),
        (&foreign, "a database of another program"),
        (&cut, "damaged index"),
        (&scribbled, "damaged index"),
        (&text, "damaged index"),
    ];
    for (damage, want) in cases {
        std::fs::write(&file, &whole).unwrap();
        damage();
        let before = std::fs::read(&file).unwrap();
        let error = History::open(dir.path()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with(&file.display().to_string()) && message.contains(want),
            "{message}"
        );
        assert!(message.contains("left as it is") && !message.contains('\n'), "{message}");
        assert_eq!(error.exit_code(), 2);
        assert!(std::fs::read(&file).unwrap() == before, "{want}: the file was touched");
    }
    std::fs::write(&file, &whole).unwrap();
    newer();
    assert!(matches!(History::rebuild(dir.path(), false), Err(Error::NewerHistory { .. })));
    cut();
    let (history, added) = History::rebuild(dir.path(), false).unwrap();
    assert_eq!((ids(&history).len(), added.added), (9, 9));
    let kept = std::fs::read_dir(dir.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".damaged-"));
    assert_eq!(kept.count(), 1, "the damaged file is kept");
}

#[test]
fn concurrent_adds_lose_nothing() {
    let (home, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    (1..=12).for_each(|n| keep(away.path(), &night(n, 1.0)));
    std::thread::scope(|scope| {
        for n in 1..=12_u32 {
            let (home, away) = (home.path(), away.path());
            // Each run is added by two threads, with a history of their own as two processes have.
            for _ in 0..2 {
                scope.spawn(move || {
                    let mut history = History::open(home).unwrap();
                    let added = history.add(&[away.join(format!("night{n:02}"))]).unwrap();
                    assert_eq!(added.refused, [] as [String; 0]);
                });
            }
        }
    });
    let history = History::open(home.path()).unwrap();
    assert_eq!(ids(&history).len(), 12);
    let directories = std::fs::read_dir(home.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().is_dir())
        .count();
    assert_eq!(directories, 12, "no run was copied twice");
}

#[test]
fn bad_files_are_refused_one_line_each_and_the_others_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path(), &night(1, 1.0));
    let whole = std::fs::read_to_string(dir.path().join("night01/run.json")).unwrap();
    for (name, text) in [
        ("cut", &whole[..whole.len() / 2]),
        ("new", &whole.replacen("\"schema\": 1", "\"schema\": 9", 1)),
    ] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("run.json"), text).unwrap();
    }
    std::fs::write(dir.path().join("plan.json"), "{}").unwrap();
    let mut history = History::open(dir.path()).unwrap();
    let added = history.add(&[dir.path().to_owned()]).unwrap();
    assert_eq!(added.refused.len(), 2, "{:?}", added.refused);
    assert!(added.refused[0].contains("cut/run.json: truncated at byte"), "{:?}", added.refused);
    assert!(added.refused[1].contains("new/run.json: schema 9 is newer"), "{:?}", added.refused);
    assert_eq!((added.unchanged, added.exit_code()), (1, 2));
}

#[test]
fn filters_choose_runs() {
    let dir = tempfile::tempdir().unwrap();
    (1..=5).for_each(|n| keep(dir.path(), &night(n, 1.0)));
    let history = History::open(dir.path()).unwrap();
    let count = |filter: Filter| history.list(&filter).unwrap().len();
    assert_eq!(count(Filter { since: Some("2026-11-03".into()), ..Filter::default() }), 3);
    assert_eq!(count(Filter { workload: Some("oom-storm".into()), ..Filter::default() }), 0);
    let last = history.list(&Filter { last: Some(2), ..Filter::default() }).unwrap();
    assert_eq!(last.iter().map(|r| r.run_id.as_str()).collect::<Vec<_>>(), ["night04", "night05"]);
    assert!(list_table(&last).contains("2026-11-05T02:00"), "{}", list_table(&last));
}

#[test]
fn the_trend_shows_the_night_on_which_a_figure_moved() {
    let dir = tempfile::tempdir().unwrap();
    (1..=8).for_each(|n| keep(dir.path(), &night(n, if n >= 6 { 1.3 } else { 1.0 })));
    let history = History::open(dir.path()).unwrap();
    let series = trend(&history, "fault.p50", &Filter::default()).unwrap();
    assert_eq!((series.len(), series[0].points.len()), (1, 8));
    let change = |n: usize| series[0].points[n].value / series[0].points[n - 1].value;
    assert!(
        change(5) > 1.25 && (1..8).filter(|n| *n != 5).all(|n| (0.95..1.05).contains(&change(n)))
    );
    let table = trend_table("fault.p50", &series);
    let moved = table.lines().find(|l| l.contains("2026-11-06")).unwrap();
    assert!(moved.contains("+3") || moved.contains("+2"), "{table}");
    assert!(plot("fault.p50", &series, 72, 16).lines().count() > 10);
    let message = trend(&history, "alloc.p50", &Filter::default()).unwrap_err().to_string();
    assert!(
        message.contains("no figure 'alloc.p50'") && message.contains("figures of: fault"),
        "{message}"
    );
}

fn checked(history: &History, change: impl FnOnce(&mut CheckArgs)) -> CheckOutcome {
    let mut args = CheckArgs { fail_on: vec!["fault.p50>5%".into()], ..CheckArgs::default() };
    change(&mut args);
    check(history, &args).unwrap()
}

#[test]
fn the_second_night_passes_and_a_slow_third_fails_by_name() {
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path(), &night(1, 1.0));
    let mut history = History::open(dir.path()).unwrap();
    let first = checked(&history, |_| {});
    assert_eq!(first.exit, 6, "no baseline is no success");
    assert!(
        first.warnings[0].contains("no earlier equal night for cpuset01 v4.11 on lab07"),
        "{:?}",
        first.warnings
    );
    assert!(first.warnings[0].contains("--lenient"));
    assert_eq!(checked(&history, |args| args.lenient = true).exit, 0);
    keep(dir.path(), &night(2, 1.0));
    history.add(&[dir.path().to_owned()]).unwrap();
    assert_eq!(checked(&history, |_| {}).exit, 0);
    keep(dir.path(), &night(3, 1.2));
    history.add(&[dir.path().to_owned()]).unwrap();
    let third = checked(&history, |_| {});
    assert_eq!(third.exit, 5, "{}", third.text);
    let failed = third.text.lines().find(|l| l.contains("FAIL")).unwrap();
    assert!(
        failed.contains("fault.p50_ns") && failed.contains("FAIL fault.p50>5%"),
        "{}",
        third.text
    );
    assert!(third.text.contains("last 2 nights"), "{}", third.text);
}

#[test]
fn nights_that_differ_among_themselves_make_a_failure_suspect() {
    let dir = tempfile::tempdir().unwrap();
    for (n, slowdown) in [(1, 1.0), (2, 1.3), (3, 0.9), (4, 1.25), (5, 1.05), (6, 1.4)] {
        keep(dir.path(), &night(n, slowdown));
    }
    let mut history = History::open(dir.path()).unwrap();
    let outcome = checked(&history, |_| {});
    assert_eq!(
        (outcome.exit, outcome.comparisons[0].verdict),
        (6, crate::schema::Verdict::Suspect),
        "{}",
        outcome.text
    );
    assert!(outcome.text.contains("nights differ by as much as this one does"), "{}", outcome.text);
    keep(dir.path(), &night(7, 4.0));
    history.add(&[dir.path().to_owned()]).unwrap();
    assert_eq!(checked(&history, |_| {}).exit, 5);
}

#[test]
fn named_baselines_survive_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    (1..=3).for_each(|n| keep(dir.path(), &night(n, if n == 1 { 1.0 } else { 1.2 })));
    let history = History::open(dir.path()).unwrap();
    let main = |args: &mut CheckArgs| args.baseline = Some("main".into());
    let missing = checked(&history, main);
    assert_eq!(missing.exit, 6);
    assert_eq!(
        missing.warnings,
        [
            "no baseline 'main' for cpuset01 v4.11 on lab07; make it with --save-baseline main, or allow a first night with --lenient"
        ]
    );
    save_baseline(dir.path(), "main", &[&night(1, 1.0)]).unwrap();
    let (history, _) = History::rebuild(dir.path(), false).unwrap();
    let outcome = checked(&history, main);
    assert_eq!((outcome.exit, outcome.comparisons[0].base.label.as_str()), (5, "main"));
    // Against last night the same run is well.
    assert_eq!(checked(&history, |args| args.last = Some(1)).exit, 0);
    for bad in ["", "../x", ".hidden", "a b"] {
        assert!(
            save_baseline(dir.path(), bad, &[]).unwrap_err().to_string().starts_with("baseline '")
        );
    }
    let mut interrupted = night(2, 1.0);
    interrupted.interrupted = true;
    assert!(
        save_baseline(dir.path(), "main", &[&interrupted])
            .unwrap_err()
            .to_string()
            .contains("was interrupted")
    );
}

#[test]
fn the_export_has_a_row_for_each_night_and_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    (1..=4).for_each(|n| keep(dir.path(), &night(n, 1.0)));
    let mut odd = night(5, 1.0);
    odd.variant.name = "v4.11,exit=mm-users".into();
    keep(dir.path(), &odd);
    let history = History::open(dir.path()).unwrap();
    let out = dir.path().join("out");
    let files = export(&history, &Filter::default(), ExportFormat::Csv, &out).unwrap();
    let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "cpuset01-v4.11-64t-lab07.csv",
            "cpuset01-v4.11-exit=mm-users-64t-lab07.csv",
            "otava.yaml"
        ]
    );
    let csv = std::fs::read_to_string(&files[0]).unwrap();
    assert_eq!(csv.lines().count(), 5);
    assert!(
        csv.lines()
            .nth(1)
            .unwrap()
            .starts_with("2026-11-01 02:00:00+00:00,night01,6.12.9,0.3.0 0123abc,"),
        "{csv}"
    );
    let yaml = std::fs::read_to_string(&files[2]).unwrap();
    assert!(
        yaml.contains(
            "      fault_p99_ns:\n        column: \"fault.p99_ns\"\n        direction: -1\n"
        ),
        "{yaml}"
    );
    assert!(yaml.contains("column: \"fault.ops_per_s\"\n        direction: 1\n"), "{yaml}");
    let files = export(&history, &Filter::default(), ExportFormat::Json, &out).unwrap();
    let smaller: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&files[0]).unwrap()).unwrap();
    assert_eq!(smaller[0]["unit"], "ns");
}
