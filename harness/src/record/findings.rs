//! Findings of the oracle as they stand in the record.

use allocator::oracle::finding::TimelineEvent;
use allocator::oracle::{Finding, FindingKind};
use indexmap::IndexMap;
use results::schema::{self, Class};

use super::clock::Ticks;

/// What the finding is set in.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// Its number in the run, from 1.
    pub number: u32,
    /// Index of its round among the record's rounds.
    pub round: u32,
    /// Seconds since that round's measured phase began.
    pub time_s: f64,
    /// Do transient verdicts count?
    pub strict: bool,
    /// The variant's name.
    pub variant: &'a str,
    /// Seed of the run.
    pub seed: u64,
    /// Command line that does it again.
    pub replay: &'a str,
}

/// Kinds whose word in the record is not their own.
const WORDS: &[(FindingKind, &str)] =
    &[(FindingKind::Reserve, "reserves"), (FindingKind::IsolatedHandedOut, "isolation")];

/// Kinds that are about the OOM killer.
const ABOUT_OOM: &[FindingKind] = &[
    FindingKind::PrematureOom,
    FindingKind::TransientOom,
    FindingKind::Drift,
    FindingKind::PrematureFailure,
    FindingKind::ExtraVictim,
    FindingKind::Unreapable,
    FindingKind::LeftByReaper,
    FindingKind::LateKill,
    FindingKind::Panic,
];

/// The word of a kind in the record.
pub fn kind_word(kind: FindingKind) -> String {
    let own = WORDS.iter().find(|(k, _)| *k == kind).map(|(_, word)| (*word).to_owned());
    own.unwrap_or_else(|| kind.word().to_owned())
}

/// Does a kind count for the exit code? A verdict that hangs on the reaper's tries does not when
/// model time is scaled.
pub fn counts(kind: FindingKind, strict: bool, is_real_time: bool) -> bool {
    kind.is_finding(strict) && (is_real_time || kind != FindingKind::ExtraVictim)
}

/// Is it about the OOM killer?
pub fn is_about_oom(kind: FindingKind) -> bool {
    ABOUT_OOM.contains(&kind)
}

/// Only premature OOMs have grades.
fn class(kind: FindingKind) -> Option<Class> {
    let grades = [
        (FindingKind::PrematureOom, Class::Definite),
        (FindingKind::TransientOom, Class::Transient),
    ];
    grades.into_iter().find(|(k, _)| *k == kind).map(|(_, class)| class)
}

/// Names the task in a timeline: `comm/pid`.
fn task_name(comm: &str, pid: u32) -> String {
    format!("{comm}/{pid}")
}

/// The finding as it stands in the record.
pub fn document(finding: &Finding, setting: &Setting<'_>) -> schema::Finding {
    let task = finding.timeline.iter().find(|e| e.pid == finding.pid);
    schema::Finding {
        number: setting.number,
        kind: kind_word(finding.kind),
        class: class(finding.kind),
        counts: counts(finding.kind, setting.strict, !finding.scaled),
        title: title(finding, setting.variant),
        round: Some(setting.round),
        time_s: setting.time_s,
        task: (finding.pid != 0)
            .then(|| task.map_or_else(|| finding.pid.to_string(), |e| task_name(&e.comm, e.pid))),
        report: finding.report.join("\n"),
        evidence: IndexMap::new(),
        events: events(&finding.timeline),
        why: None,
        excluded_by: None,
        replay: (!setting.replay.is_empty()).then(|| setting.replay.to_owned()),
        smaller: None,
    }
}

fn title(finding: &Finding, variant: &str) -> String {
    let grade = match class(finding.kind) {
        Some(Class::Definite) => " (definite)",
        Some(Class::Transient) => " (transient)",
        None => "",
    };
    let kind = kind_word(finding.kind).replace('-', " ").replace("oom", "OOM");
    let kind = if kind == "transient OOM" { "premature OOM".to_owned() } else { kind };
    let what = finding.title.strip_prefix(&format!("{kind}: ")).unwrap_or(&finding.title);
    format!("{kind}{grade}  {variant}  {what}")
}

/// A timeline as it stands in the record.
pub fn events(timeline: &[TimelineEvent]) -> Vec<schema::TimelineEvent> {
    let ticks = Ticks::default();
    let first = timeline.first().map_or(0, |e| e.stamp);
    timeline
        .iter()
        .zip(1..)
        .map(|(event, step)| schema::TimelineEvent {
            step,
            time_ns: Some(ticks.ns(first, event.stamp)),
            task: task_name(&event.comm, event.pid),
            cpu: Some(u32::from(event.cpu)),
            label: Some(event.label.to_owned()),
            text: event.text.clone(),
            reason: event.reason,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocator::run::clock::Ktime;

    fn finding(kind: FindingKind) -> Finding {
        let event = |stamp, pid, text: &str| TimelineEvent {
            stamp,
            pid,
            comm: "hog".to_owned(),
            cpu: 1,
            label: "S7",
            point: "S7_retry",
            text: text.to_owned(),
            reason: false,
        };
        Finding {
            kind,
            at: Ktime(0),
            pid: 17,
            title: "node 0 could have served hog/17".to_owned(),
            report: vec!["hog invoked oom-killer".to_owned(), "Node 0 Normal free:1".to_owned()],
            timeline: vec![event(100, 17, "retry, pass 1"), event(200, 18, "mems {0} -> {1}")],
            scaled: false,
        }
    }

    const SETTING: Setting<'_> = Setting {
        number: 3,
        round: 1,
        time_s: 0.5,
        strict: false,
        variant: "v4.11",
        seed: 7,
        replay: "stress cpuset01 --seed 0x7",
    };

    #[test]
    fn a_finding_keeps_its_evidence() {
        let found = document(&finding(FindingKind::PrematureOom), &SETTING);
        assert_eq!((found.number, found.round, found.time_s), (3, Some(1), 0.5));
        assert_eq!(found.kind, "premature-oom");
        assert_eq!(found.class, Some(Class::Definite));
        assert!(found.counts);
        assert_eq!(found.title, "premature OOM (definite)  v4.11  node 0 could have served hog/17");
        assert_eq!(found.task.as_deref(), Some("hog/17"));
        assert_eq!(found.report, "hog invoked oom-killer\nNode 0 Normal free:1");
        assert_eq!(found.events.len(), 2);
        assert_eq!(found.events[0].time_ns, Some(0));
        assert_eq!(found.events[1].task, "hog/18");
        assert!(found.replay.is_some());
    }

    #[test]
    fn transient_verdicts_count_only_when_strict_and_scaled_ones_not_at_all() {
        let transient = finding(FindingKind::TransientOom);
        assert!(!document(&transient, &SETTING).counts);
        assert!(document(&transient, &Setting { strict: true, ..SETTING }).counts);
        assert!(counts(FindingKind::ExtraVictim, false, true));
        assert!(!counts(FindingKind::ExtraVictim, false, false));
        assert!(counts(FindingKind::PrematureOom, false, false));
    }

    #[test]
    fn every_kind_has_a_word_in_the_records_spelling() {
        for kind in FindingKind::ALL {
            let word = kind_word(kind);
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{word}");
        }
    }
}
