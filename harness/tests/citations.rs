//! The repository can be read alone: whatever a source or a document cites is there.
//!
//! Sources cite `docs/kernel/slow-path.md#s7`, or a label (S7, T3a, J1-a) or section (A.6) by name;
//! `docs/kernel/labels.md` says where each is explained.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use allocator::policy::Family;
use allocator::race::Point;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below `dir` with one of the extensions, as (path from the root, text).
fn files(folders: &[&str], extensions: &[&str]) -> Vec<(PathBuf, String)> {
    fn walk(path: &Path, found: &mut Vec<PathBuf>) {
        if path.is_file() {
            found.push(path.to_owned());
        } else if !path.ends_with("target") {
            let entries = fs::read_dir(path).into_iter().flatten();
            entries.for_each(|e| walk(&e.unwrap().path(), found));
        }
    }
    let root = root();
    let mut found = Vec::new();
    folders.iter().for_each(|f| walk(&root.join(f), &mut found));
    found.retain(|p| p.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)));
    found.sort();
    assert!(!found.is_empty(), "nothing below {}", root.display());
    let relative = |p: &PathBuf| p.strip_prefix(&root).unwrap().to_owned();
    found.iter().map(|p| (relative(p), fs::read_to_string(p).unwrap())).collect()
}

/// The anchors that a page has: those set by hand, and those of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let ids = line.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(ids.map(str::to_owned));
        if let Some(heading) = line.strip_prefix('#') {
            let words = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            found.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

fn pages() -> BTreeMap<PathBuf, BTreeSet<String>> {
    let all = files(&["docs", "README.md", "ARCHITECTURE.md", "CHANGELOG.md"], &["md"]);
    all.into_iter().map(|(path, text)| (path, anchors(&text))).collect()
}

/// `a/b/../c` as `a/c`.
fn plain(path: &Path) -> PathBuf {
    let mut parts: Vec<&std::ffi::OsStr> = Vec::new();
    for part in path.components().map(|c| c.as_os_str()) {
        if part == ".." {
            parts.pop();
        } else if part != "." {
            parts.push(part);
        }
    }
    parts.into_iter().collect()
}

/// What is wrong with a link to `target` from a page of `folder`; none if it leads somewhere.
fn broken(
    pages: &BTreeMap<PathBuf, BTreeSet<String>>,
    page: &Path,
    target: &str,
) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => page.to_owned(),
        file => plain(&page.parent().unwrap_or(Path::new("")).join(file)),
    };
    let Some(anchors) = pages.get(&path) else {
        let exists = anchor.is_empty() && root().join(&path).exists();
        return (!exists).then(|| format!("{}: no page {}", page.display(), path.display()));
    };
    (!anchor.is_empty() && !anchors.contains(anchor))
        .then(|| format!("{}: no #{anchor} in {}", page.display(), path.display()))
}

/// The targets of a page's Markdown links, code left out.
fn links(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        found.extend(targets.map(|t| t.split_whitespace().next().unwrap_or("").to_owned()));
    }
    found
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let pages = pages();
    let mut wrong = Vec::new();
    for (path, text) in files(&["docs", "README.md", "ARCHITECTURE.md", "CHANGELOG.md"], &["md"]) {
        wrong.extend(links(&text).iter().filter_map(|t| broken(&pages, &path, t)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The citations in a source: `docs/kernel/x.md#y`, and what follows of the same kind (`, #z`).
fn citations(text: &str) -> Vec<String> {
    let word = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_alphanumeric() || "-_./#".contains(*c)).collect()
    };
    let mut found = Vec::new();
    for start in ["docs/", "ARCHITECTURE.md"] {
        for (at, _) in text.match_indices(start) {
            let cited = word(&text[at..]);
            let cited = cited.trim_end_matches(['.', '-', '/']);
            if cited.contains(".md") {
                found.push(cited.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_citation_in_a_source_resolves() {
    let pages = pages();
    let mut wrong = Vec::new();
    let folders = ["allocator", "workloads", "results", "harness/src", "bench", "scripts"];
    for (path, text) in files(&folders, &["rs", "md", "sh", "toml"]) {
        for cited in citations(&text) {
            if let Some(why) = broken(&pages, Path::new("README.md"), &cited) {
                wrong.push(format!("{}: {why}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The labels that docs/kernel/labels.md explains.
fn labels() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/kernel/labels.md")).unwrap();
    let mut found: BTreeSet<String> = BTreeSet::new();
    for rest in text.split('[').skip(1) {
        found.extend(rest.split_once(']').map(|(label, _)| label.to_owned()));
    }
    let own = text.split("Labels of race points").nth(1).expect("its last section");
    for row in own.lines().filter(|l| l.starts_with("| ")) {
        found.extend(row.split('|').nth(1).map(|label| label.trim().to_owned()));
    }
    found
}

#[test]
fn every_race_point_has_a_label_that_is_explained() {
    let labels = labels();
    let missing: BTreeSet<&str> =
        Point::ALL.iter().map(|p| p.label()).filter(|l| !labels.contains(*l)).collect();
    assert!(missing.is_empty(), "docs/kernel/labels.md does not explain {missing:?}");
}

/// `J1a-vma` is a world of schedule J1-a.
#[test]
fn every_family_is_a_schedule_that_is_told() {
    let labels = labels();
    for family in Family::ALL {
        let name = family.to_string();
        let schedule: String =
            name.chars().take(2).chain(['-']).chain(name.chars().skip(2).take(1)).collect();
        assert!(
            labels.contains(&schedule),
            "{name}: docs/kernel/interleavings.md has no {schedule}"
        );
    }
}

/// Sections named without a file: `(A.6)` in a comment.
fn bare_sections(line: &str) -> Vec<&str> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    for at in 0..bytes.len().saturating_sub(2) {
        let is_start = at == 0 || b" (,".contains(&bytes[at - 1]);
        let is_section = (b'A'..=b'J').contains(&bytes[at])
            && bytes[at + 1] == b'.'
            && bytes[at + 2].is_ascii_digit();
        let ends = bytes.get(at + 3).is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'.')
            || bytes.get(at + 3) == Some(&b'.') && bytes.get(at + 4).is_none_or(|b| *b == b' ');
        if is_start && is_section && ends {
            found.push(&line[at..at + 3]);
        }
    }
    found
}

#[test]
fn every_section_named_in_a_comment_exists() {
    let labels = labels();
    let mut wrong = Vec::new();
    for (path, text) in files(&["allocator", "workloads", "harness/src"], &["rs"]) {
        for line in text.lines() {
            let Some((_, comment)) = line.split_once("//") else { continue };
            let unknown = bare_sections(comment).into_iter().filter(|s| !labels.contains(*s));
            wrong.extend(unknown.map(|s| format!("{}: {s} in {comment}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "docs/kernel has no such section:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_cites_what_the_repository_does_not_have() {
    let gone =
        [concat!("KERNEL", "-FACTS"), concat!("DESIGN", " section"), concat!("DESIGN", ".md")];
    let all = files(
        &[
            "allocator",
            "workloads",
            "results",
            "harness",
            "bench",
            "scripts",
            "docs",
            "README.md",
            "ARCHITECTURE.md",
        ],
        &["rs", "md", "toml", "sh"],
    );
    let mut wrong = Vec::new();
    for (path, text) in all {
        let cited = gone.iter().filter(|g| text.contains(**g));
        wrong.extend(cited.map(|g| format!("{}: {g}", path.display())));
    }
    assert!(wrong.is_empty(), "cite docs/kernel or ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn the_rules_see_an_offence() {
    let pages = pages();
    let page = Path::new("docs/kernel/README.md");
    assert_eq!(broken(&pages, page, "slow-path.md#s7"), None);
    assert!(broken(&pages, page, "slow-path.md#s99").is_some());
    assert!(broken(&pages, page, "no-such-page.md").is_some());
    assert_eq!(links("see [a](b.md#c), `[d](e)`\n```\n[f](g)\n```"), ["b.md#c"]);
    assert_eq!(citations("(docs/kernel/oom.md#e7, #e8)."), ["docs/kernel/oom.md#e7"]);
    assert_eq!(bare_sections(" the cookies (C.2), E.8: and 1.2 A.10 B.3."), ["C.2", "E.8", "B.3"]);
}
