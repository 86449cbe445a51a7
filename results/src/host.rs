//! What the host is and how busy it is, read from /proc and /sys.
//!
//! What: [`fn@read`] fills the record's `host`; [`notes`] says what may spoil figures;
//! [`fingerprint`] and [`differences`] say whether two hosts' figures may be compared.
//! Why: a figure without its machine is worth nothing, and two figures of unlike machines must
//! not be compared unnoticed.
//! Differs: reads only. What a kernel or a container doesn't show stays null.

mod read;

pub use read::{load, read};

use crate::schema::{Difference, Host};

/// 64 bits of FNV-1a as hex: names settings, protects nothing.
pub(crate) fn hash(text: &str) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// The settings that must agree, by their path in the record. The kernel release and the tool are
/// not among them: a history must outlive updates.
#[must_use]
pub fn comparable_settings(host: &Host) -> Vec<(&'static str, String)> {
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let flag = |value: Option<bool>| {
        value.map_or("unknown", |on| if on { "on" } else { "off" }).to_owned()
    };
    vec![
        ("host.cpu", host.cpu.clone()),
        ("host.cpus", host.cpus.to_string()),
        ("host.nodes", host.nodes.len().to_string()),
        ("host.memory_bytes", format!("{} MiB", rounded(host.memory_bytes >> 20))),
        ("host.governor", word(&host.governor)),
        ("host.turbo", flag(host.turbo)),
        ("host.smt", flag(host.smt)),
        ("host.thp", word(&host.thp)),
    ]
}

/// Another kernel leaves some pages more or less of the same memory: a size rounded to 1/16 of the
/// power of two below it.
pub(crate) fn rounded(size: u64) -> u64 {
    let step = size.checked_ilog2().map_or(1, |log| (1_u64 << log) / 16).max(1);
    size.saturating_add(step / 2) / step * step
}

/// Hash of [`comparable_settings`]: equal for hosts whose figures may be compared.
#[must_use]
pub fn fingerprint(host: &Host) -> String {
    let lines: Vec<String> = comparable_settings(host)
        .into_iter()
        .map(|(key, value)| format!("{key} {value}\n"))
        .collect();
    hash(&lines.concat())
}

/// The settings that differ between two hosts.
#[must_use]
pub fn differences(base: &Host, new: &Host) -> Vec<Difference> {
    comparable_settings(base)
        .into_iter()
        .zip(comparable_settings(new))
        .filter(|(b, n)| b.1 != n.1)
        .map(|((key, base), (_, new))| Difference { key: key.to_owned(), base, new })
        .collect()
}

/// A remark on the host and the command that mends it, if one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What may spoil figures.
    pub text: String,
    /// How to mend it; `None` if only another machine does.
    pub mend: Option<String>,
}

/// What may spoil the figures of a run with so many task threads.
#[must_use]
pub fn notes(host: &Host, threads: Option<u32>) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note =
        |text: String, mend: Option<&str>| notes.push(Note { text, mend: mend.map(str::to_owned) });
    if let Some(governor) = host.governor.as_deref().filter(|g| *g != "performance") {
        note(format!("governor is {governor}"), Some("cpupower frequency-set -g performance"));
    }
    if host.turbo == Some(true) {
        let intel = host.driver.as_deref().is_some_and(|d| d.starts_with("intel"));
        let mend = if intel {
            "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo"
        } else {
            "echo 0 > /sys/devices/system/cpu/cpufreq/boost"
        };
        note("turbo is on".to_owned(), Some(mend));
    }
    if let Some(hypervisor) = &host.hypervisor {
        note(format!("a virtual machine ({hypervisor}): its host interferes unseen"), None);
    }
    if let Some(source) = host.clocksource.as_deref().filter(|s| *s != "tsc") {
        let path = "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource";
        note(format!("clocksource is {source}, not tsc"), Some(path));
    }
    let allowed = host.allowed_cpus.as_deref().and_then(list_len).unwrap_or(host.cpus);
    if let Some(threads) = threads.filter(|t| *t > allowed && allowed > 0) {
        note(format!("{threads} threads share {allowed} CPUs"), None);
    }
    if let Some(load) = host.load.avg1.filter(|load| *load > 0.5) {
        note(
            format!("the machine was busy at the start (load {load:.1})"),
            Some("wait, or stop what runs beside"),
        );
    }
    for node in &host.nodes {
        if let (Some(free), Some(all)) = (node.free_bytes, node.memory_bytes)
            && all > 0
            && free < all / 20
        {
            note(
                format!("node {} has {} MiB free", node.id, free >> 20),
                Some("sync; echo 1 > /proc/sys/vm/drop_caches"),
            );
        }
    }
    notes
}

/// CPUs in the kernel's list syntax (`0-3,8`).
fn list_len(list: &str) -> Option<u32> {
    if list.trim().is_empty() {
        return Some(0);
    }
    list.trim().split(',').try_fold(0, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        Some(sum + last.checked_sub(first)? + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Host {
        Host {
            cpu: "Xeon 6430".to_owned(),
            cpus: 64,
            memory_bytes: 251 << 30,
            governor: Some("performance".to_owned()),
            allowed_cpus: Some("0-63".to_owned()),
            ..Host::default()
        }
    }

    #[test]
    fn fingerprint_ignores_kernel_and_name_and_small_memory_changes() {
        let other = Host {
            name: "x".to_owned(),
            kernel: "6.13".to_owned(),
            memory_bytes: (251 << 30) + (64 << 20),
            ..lab()
        };
        assert_eq!(fingerprint(&lab()), fingerprint(&other));
    }

    #[test]
    fn every_comparable_setting_changes_the_fingerprint_and_is_named() {
        let changed = [
            ("host.cpu", Host { cpu: "Xeon 6431".to_owned(), ..lab() }),
            ("host.cpus", Host { cpus: 32, ..lab() }),
            ("host.nodes", Host { nodes: vec![crate::schema::HostNode::default()], ..lab() }),
            ("host.memory_bytes", Host { memory_bytes: 128 << 30, ..lab() }),
            ("host.governor", Host { governor: None, ..lab() }),
            ("host.turbo", Host { turbo: Some(true), ..lab() }),
            ("host.smt", Host { smt: Some(false), ..lab() }),
            ("host.thp", Host { thp: Some("never".to_owned()), ..lab() }),
        ];
        for (key, host) in changed {
            assert_ne!(fingerprint(&host), fingerprint(&lab()), "{key}");
            let found: Vec<String> =
                differences(&lab(), &host).into_iter().map(|d| d.key).collect();
            assert_eq!(found, [key]);
        }
    }

    #[test]
    fn notes_name_what_spoils_figures() {
        assert_eq!(notes(&lab(), Some(64)), []);
        let busy = Host {
            governor: Some("powersave".to_owned()),
            turbo: Some(true),
            hypervisor: Some("KVM".to_owned()),
            clocksource: Some("hpet".to_owned()),
            load: crate::schema::Load { avg1: Some(2.9), ..Default::default() },
            ..lab()
        };
        let text: Vec<String> = notes(&busy, Some(65)).into_iter().map(|n| n.text).collect();
        assert_eq!(text.len(), 6, "{text:?}");
        assert!(text[5].contains("load 2.9") && text[4] == "65 threads share 64 CPUs");
    }

    #[test]
    fn kernel_lists_are_counted() {
        for (list, want) in
            [("", Some(0)), ("0", Some(1)), ("0-3,8,10-11", Some(7)), ("3-1", None), ("a", None)]
        {
            assert_eq!(list_len(list), want, "{list}");
        }
    }

    #[test]
    fn this_host_has_the_facts_that_every_linux_shows() {
        let host = read();
        assert!(!host.kernel.is_empty() && !host.name.is_empty());
        assert!(host.cpus > 0 && host.memory_bytes > 0);
        assert_eq!(host.fingerprint, fingerprint(&host));
        assert!(host.load.avg1.is_some());
    }
}
