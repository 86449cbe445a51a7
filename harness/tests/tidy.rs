//! House rules that no lint knows: who may depend on whom, who may reach threads and clocks, how
//! long files may grow.
//!
//! Each rule names what to do instead. Length is a ratchet: a file over the limit stands in the list
//! with its length, and may only shrink.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust files below some folders of the repository, as (path from the root, text).
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for path in entries.filter_map(|e| Some(e.ok()?.path())) {
            if path.is_dir() && !path.ends_with("target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    for folder in folders {
        walk(&root.join(folder), &mut found);
    }
    found.sort();
    assert!(!found.is_empty(), "no sources below {}", root.display());
    let relative = |p: &Path| p.strip_prefix(&root).unwrap().display().to_string();
    found.iter().map(|p| (relative(p), fs::read_to_string(p).unwrap())).collect()
}

/// The text without its `#[cfg(test)]` module at the end and without line comments.
fn code(text: &str) -> String {
    // A module of a file of its own (`mod tests;`) may stand anywhere.
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let line = |l: &str| l.split_once("//").map_or(l, |(code, _)| code).to_owned();
    text[..end].lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Lines of `text` that hold one of the words, as `path:line: word`.
fn hits(path: &str, text: &str, words: &[&str]) -> Vec<String> {
    let lines = text.lines().enumerate();
    let hit = |(i, line): (usize, &str)| {
        words.iter().find(|w| line.contains(**w)).map(|w| format!("{path}:{}: {w}", i + 1))
    };
    lines.filter_map(hit).collect()
}

/// The explorer itself stands outside the schedules that it makes.
fn is_explorer(path: &str) -> bool {
    path.starts_with("allocator/src/explore") || path.starts_with("allocator/src/sync/explored")
}

#[test]
fn threads_locks_and_clocks_are_reached_through_sync_only() {
    const DOORS: &[&str] = &[
        "std::sync",
        "std::thread",
        "Instant::now",
        "SystemTime",
        "thread_local!",
        "parking_lot::",
        "core::sync",
        "crossbeam::channel",
        "crossbeam::deque",
        "crossbeam::epoch",
        "crossbeam::queue",
        "crossbeam::scope",
        "crossbeam::sync",
        "crossbeam::thread",
        "quanta::",
        "shuttle::",
    ];
    let found: Vec<String> = sources(&["allocator/src", "workloads/src"])
        .iter()
        .filter(|(path, _)| !path.starts_with("allocator/src/sync"))
        .flat_map(|(path, text)| hits(path, &code(text), DOORS))
        .collect();
    assert!(found.is_empty(), "use allocator::sync instead:\n{}", found.join("\n"));
}

#[test]
fn nothing_under_the_explorer_hashes_at_random() {
    let found: Vec<String> = sources(&["allocator/src", "workloads/src"])
        .iter()
        .filter(|(path, _)| !is_explorer(path))
        .flat_map(|(path, text)| hits(path, &code(text), &["HashMap", "HashSet", "RandomState"]))
        .collect();
    assert!(
        found.is_empty(),
        "a schedule must replay: use BTreeMap or a Vec:\n{}",
        found.join("\n")
    );
}

#[test]
fn the_allocator_knows_no_files_terminals_or_formats() {
    let words = ["std::fs", "std::io", "std::env", "std::process", "println!", "serde"];
    let found: Vec<String> = sources(&["allocator/src"])
        .iter()
        .filter(|(path, _)| !is_explorer(path))
        .flat_map(|(path, text)| hits(path, &code(text), &words))
        .collect();
    assert!(found.is_empty(), "that is the harness's business:\n{}", found.join("\n"));
}

/// Direct dependencies of each of our packages, build and test ones left out.
fn dependencies() -> Vec<(String, Vec<String>)> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |v: &serde_json::Value| v["name"].as_str().unwrap().to_owned();
    packages
        .iter()
        .map(|p| {
            let all = p["dependencies"].as_array().unwrap().iter();
            (name(p), all.filter(|d| d["kind"].is_null()).map(name).collect())
        })
        .collect()
}

#[test]
fn arrows_between_packages_go_down_only() {
    let dependencies = dependencies();
    let check = |package: &str, allowed: &[&str], forbidden: &[&str]| {
        let (_, found) = dependencies.iter().find(|(n, _)| n == package).expect(package);
        for dependency in found {
            let ours = dependency.starts_with("mm-stress");
            assert!(!ours || allowed.contains(&dependency.as_str()), "{package} -> {dependency}");
            assert!(!forbidden.contains(&dependency.as_str()), "{package} -> {dependency}");
        }
    };
    check("mm-stress-allocator", &[], &["serde", "serde_json", "clap", "libc", "hwlocality"]);
    check("mm-stress-allocator-explore", &[], &["serde", "serde_json", "clap", "hwlocality"]);
    check("mm-stress-workloads", &["mm-stress-allocator"], &["clap", "hwlocality"]);
    check("mm-stress-workloads-explore", &["mm-stress-allocator-explore"], &["clap", "hwlocality"]);
    check("mm-stress-results", &[], &["hwlocality", "parking_lot"]);
    check("mm-stress-report", &[], &["serde", "clap", "libc"]);
}

#[test]
fn the_model_and_its_explored_twin_have_the_same_dependencies() {
    let dependencies = dependencies();
    let of = |package: &str| {
        let (_, found) = dependencies.iter().find(|(n, _)| n == package).expect(package);
        let only_one_world =
            ["loom", "shuttle", "libc", "parking_lot", "quanta", "crossbeam", "lock_api", "rustix"];
        let mut found: Vec<String> = found
            .iter()
            .filter(|d| !only_one_world.iter().any(|o| d.starts_with(o)))
            .map(|d| d.trim_end_matches("-explore").to_owned())
            .collect();
        found.sort();
        found
    };
    for package in ["mm-stress-allocator", "mm-stress-workloads"] {
        assert_eq!(of(package), of(&format!("{package}-explore")), "{package}");
    }
}

#[test]
fn every_file_opens_with_its_story() {
    let folders = ["allocator/src", "workloads/src", "results/src", "report/src", "harness/src"];
    let untold: Vec<String> = sources(&folders)
        .iter()
        .filter(|(path, text)| !path.ends_with("tests.rs") && !text.starts_with("//!"))
        .map(|(path, _)| path.clone())
        .collect();
    assert!(
        untold.is_empty(),
        "open with `//!`: what, why, source, differs:\n{}",
        untold.join("\n")
    );
}

/// `CpusetPolicy::Swap`, but neither `CpusetPolicy::ALL` nor `CpusetPolicy::of_release`.
fn names_a_variant(line: &str) -> bool {
    let axes = ["Cpuset", "Rebind", "Exit", "Reserves", "Zonelist", "Offline", "Pcp"];
    let is_variant = |rest: &str| {
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        word.starts_with(char::is_uppercase) && word.contains(char::is_lowercase)
    };
    axes.iter().any(|axis| {
        let path = format!("{axis}Policy::");
        line.match_indices(&path).any(|(at, _)| is_variant(&line[at + path.len()..]))
    })
}

/// A new variant is to touch one folder.
#[test]
fn variants_are_named_in_the_policy_folder_only() {
    let mut wrong = Vec::new();
    for (path, text) in
        sources(&["allocator/src", "workloads/src", "results/src", "report/src", "harness/src"])
    {
        if path.ends_with("tests.rs") || path.starts_with("allocator/src/policy/") {
            continue;
        }
        let code = code(&text);
        let lines = code.lines().enumerate().filter(|(_, line)| names_a_variant(line));
        wrong.extend(lines.map(|(i, line)| format!("{path}:{}: {}", i + 1, line.trim())));
    }
    assert!(
        wrong.is_empty(),
        "ask the policy for a fact, or move the step to allocator/src/policy:\n{}",
        wrong.join("\n")
    );
}

/// A way between rooms that must not be: who, what may not stand there, and what to do instead.
struct Closed {
    from: fn(&str) -> bool,
    words: &'static [&'static str],
    instead: &'static str,
}

/// Whose files lie directly in the folder.
fn lies_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| !rest.trim_start_matches('/').contains('/'))
}

const CLOSED: [Closed; 4] = [
    Closed {
        from: |path| {
            path.starts_with("allocator/src/page_alloc/") && !path.ends_with("/reserve.rs")
        },
        words: &["crate::oom", ".out_of_memory("],
        instead: "only page_alloc/reserve.rs goes to the OOM killer",
    },
    Closed {
        from: |path| lies_in(path, "allocator/src/policy"),
        words: &[
            "crate::page_alloc",
            "crate::mm",
            "crate::oom",
            "crate::hotplug",
            "crate::reclaim",
            "crate::run",
            "crate::zonelist",
        ],
        instead: "policy/*.rs is data; steps of a variant lie in a folder of their axis",
    },
    Closed {
        from: |path| {
            path.starts_with("allocator/src/oracle/") || path.starts_with("allocator/src/race/")
        },
        words: &[
            ".set_state(",
            ".set_migratetype(",
            ".alloc_pages(",
            "self.free_pages(",
            ".push_head(",
            ".push_tail(",
            ".set_watermarks(",
            ".set_oom_skip(",
        ],
        instead: "oracle and race only look",
    },
    Closed {
        from: |path| {
            path.starts_with("allocator/src/") && !path.starts_with("allocator/src/replay/")
        },
        words: &["crate::replay"],
        instead: "no mechanism knows that it is replayed",
    },
];

#[test]
fn rooms_are_left_by_their_doors_only() {
    let mut wrong = Vec::new();
    for (path, text) in sources(&["allocator/src"]) {
        for closed in CLOSED.iter().filter(|c| (c.from)(&path) && !path.ends_with("tests.rs")) {
            let found = hits(&path, &code(&text), closed.words);
            wrong.extend(found.into_iter().map(|hit| format!("{hit}: {}", closed.instead)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!((CLOSED[0].from)("allocator/src/page_alloc/slow.rs"), "the rule sees nobody");
    assert!((CLOSED[1].from)("allocator/src/policy/release.rs"), "the rule sees nobody");
    assert!(!(CLOSED[1].from)("allocator/src/policy/cpuset/swap.rs"), "steps may go further");
}

/// A fact of a release that no mechanism asks for is a claim that the model doesn't keep.
#[test]
fn every_fact_of_a_release_is_obeyed() {
    let all = sources(&["allocator/src", "workloads/src", "harness/src"]);
    let is_facts = |path: &str| path.ends_with("policy/release.rs");
    let (facts, others): (Vec<_>, Vec<_>) = all.iter().partition(|(path, _)| is_facts(path));
    let others: Vec<String> = others
        .into_iter()
        .filter(|(path, _)| !path.ends_with("tests.rs"))
        .map(|(_, text)| code(text))
        .collect();
    let facts = code(&facts[0].1);
    let names: Vec<&str> = facts
        .split("pub fn ")
        .skip(1)
        .filter_map(|rest| rest.split_once("(self").map(|(name, _)| name))
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    assert!(names.len() > 60, "the facts were not found: {}", names.len());
    let is_asked = |name: &str| {
        let call = format!(".{name}(");
        facts.contains(&call) || others.iter().any(|text| text.contains(&call))
    };
    let unasked: Vec<&str> = names.into_iter().filter(|name| !is_asked(name)).collect();
    assert!(unasked.is_empty(), "obey or delete these facts of policy/release.rs: {unasked:?}");
}

#[test]
fn files_stay_readable() {
    const LIMIT: usize = 750;
    /// Longer files, and what they may have at most. Lower a figure when a file shrinks.
    const LONGER: &[(&str, usize)] = &[("allocator/src/policy/release.rs", 778)];
    let mut wrong = Vec::new();
    for (path, text) in sources(&["allocator", "workloads", "results", "report", "harness"]) {
        let lines = text.lines().count();
        let listed = LONGER.iter().find(|(p, _)| *p == path).map(|(_, most)| *most);
        if lines > listed.unwrap_or(LIMIT) {
            wrong.push(format!("{path}: {lines} lines, at most {}", listed.unwrap_or(LIMIT)));
        }
        if listed.is_some() && lines <= LIMIT {
            wrong.push(format!("{path}: {lines} lines, no longer needs its place in the list"));
        }
    }
    assert!(wrong.is_empty(), "split by idea:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
    ];
    let folders = ["allocator", "workloads", "results", "report", "harness"];
    let found: Vec<String> =
        sources(&folders).iter().flat_map(|(path, text)| hits(path, text, &marks)).collect();
    assert!(found.is_empty(), "finish it or leave it out:\n{}", found.join("\n"));
}

#[test]
fn the_rules_see_an_offence() {
    let text = "//! std::sync in prose\nuse std::sync::Mutex;\n#[cfg(test)]\nmod tests { use std::thread; }";
    assert_eq!(hits("x.rs", &code(text), &["std::sync", "std::thread"]), ["x.rs:2: std::sync"]);
    assert!(sources(&["allocator/src"]).iter().any(|(path, _)| path == "allocator/src/lib.rs"));
    assert!(names_a_variant("if self.policy.cpuset == CpusetPolicy::Swap {"));
    assert!(!names_a_variant("CpusetPolicy::ALL, ExitPolicy::of_release(r), PcpPolicy::NAME"));
}
