//! Reading the host's facts, each on its own, so that one that is missing costs one null.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::schema::{Host, HostNode, Load, Mitigation, Pressure};

const CPU: &str = "/sys/devices/system/cpu";

/// All facts of this host as they are now.
#[must_use]
pub fn read() -> Host {
    let cpuinfo = line("/proc/cpuinfo", false).unwrap_or_default();
    let (sockets, cores) = sockets_and_cores();
    let mut host = Host {
        name: word("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".to_owned()),
        kernel: word("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
        kernel_version: word("/proc/sys/kernel/version"),
        kernel_command_line: word("/proc/cmdline"),
        cpu: cpu_model(&cpuinfo),
        microcode: field(&cpuinfo, "microcode"),
        cpus: online_cpus(),
        sockets,
        cores,
        smt: word(&format!("{CPU}/smt/active")).map(|active| active == "1"),
        memory_bytes: meminfo("/proc/meminfo", "MemTotal:").unwrap_or(0),
        nodes: nodes(),
        governor: of_all_cpus("cpufreq/scaling_governor"),
        driver: of_all_cpus("cpufreq/scaling_driver"),
        turbo: turbo(),
        epp: of_all_cpus("cpufreq/energy_performance_preference"),
        thp: word("/sys/kernel/mm/transparent_hugepage/enabled").map(|text| chosen(&text)),
        numa_balancing: word("/proc/sys/kernel/numa_balancing"),
        isolated_cpus: word(&format!("{CPU}/isolated")),
        nohz_full_cpus: word(&format!("{CPU}/nohz_full"))
            .map(|t| if t == "(null)" { String::new() } else { t }),
        clocksource: word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        hypervisor: hypervisor(&cpuinfo),
        mitigations: mitigations(),
        allowed_cpus: status("Cpus_allowed_list:"),
        allowed_nodes: status("Mems_allowed_list:"),
        load: load(),
        ..Host::default()
    };
    host.fingerprint = super::fingerprint(&host);
    host
}

/// How busy the host is now.
#[must_use]
pub fn load() -> Load {
    let avg1 = word("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok());
    let pressure = ["cpu", "memory", "io"].iter().filter_map(|resource| {
        let text = fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
        pressure_line(resource, text.lines().next()?)
    });
    Load { avg1, pressure: pressure.collect() }
}

fn pressure_line(resource: &str, line: &str) -> Option<Pressure> {
    let value =
        |key: &str| line.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    Some(Pressure {
        resource: resource.to_owned(),
        some_avg10: value("avg10")?.parse().ok()?,
        some_total_us: value("total")?.parse().ok()?,
    })
}

fn line(path: &str, first: bool) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(if first { text.lines().next().unwrap_or("").to_owned() } else { text })
}

fn word(path: &str) -> Option<String> {
    line(path, true).map(|text| text.trim().to_owned())
}

/// `key : value` of /proc/cpuinfo, the first one.
fn field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

/// x86 has a model name; arm64 has numbers, s390 and powerpc other words.
fn cpu_model(cpuinfo: &str) -> String {
    let named = ["model name", "cpu model", "cpu", "Processor", "vendor_id"]
        .iter()
        .find_map(|key| field(cpuinfo, key));
    let numbered = || {
        let (by, part) = (field(cpuinfo, "CPU implementer")?, field(cpuinfo, "CPU part")?);
        Some(format!("CPU implementer {by} part {part}"))
    };
    named.or_else(numbered).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn online_cpus() -> u32 {
    word(&format!("{CPU}/online"))
        .and_then(|list| super::list_len(&list))
        .or_else(|| std::thread::available_parallelism().ok().map(|n| n.get() as u32))
        .unwrap_or(0)
}

fn sockets_and_cores() -> (Option<u32>, Option<u32>) {
    let (mut sockets, mut cores) = (BTreeSet::new(), BTreeSet::new());
    for cpu in numbered(CPU, "cpu") {
        let at = |name: &str| word(&format!("{CPU}/cpu{cpu}/topology/{name}"));
        if let (Some(package), Some(core)) = (at("physical_package_id"), at("core_id")) {
            cores.insert((package.clone(), core));
            sockets.insert(package);
        }
    }
    let count = |n: usize| (n > 0).then_some(n as u32);
    (count(sockets.len()), count(cores.len()))
}

/// The numbers behind `prefix` among the entries of a directory, in order.
fn numbered(dir: &str, prefix: &str) -> Vec<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<u32> = entries
        .filter_map(|e| e.file_name().to_str()?.strip_prefix(prefix)?.parse().ok())
        .collect();
    found.sort_unstable();
    found
}

/// One word of every CPU, joined by commas if they differ.
fn of_all_cpus(file: &str) -> Option<String> {
    let words: BTreeSet<String> = numbered(CPU, "cpu")
        .iter()
        .filter_map(|cpu| word(&format!("{CPU}/cpu{cpu}/{file}")))
        .collect();
    (!words.is_empty()).then(|| words.into_iter().collect::<Vec<_>>().join(","))
}

fn turbo() -> Option<bool> {
    let no_turbo = word(&format!("{CPU}/intel_pstate/no_turbo")).map(|off| off == "0");
    no_turbo.or_else(|| word(&format!("{CPU}/cpufreq/boost")).map(|on| on == "1"))
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> String {
    text.split_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
        .unwrap_or(text)
        .to_owned()
}

/// `MemTotal:  123 kB` in bytes; a node's meminfo has `Node 0` before the key.
fn meminfo(path: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.split_whitespace().any(|w| w == key))?;
    let mut words = line.split_whitespace().skip_while(|w| *w != key).skip(1);
    words.next()?.parse::<u64>().ok().map(|kb| kb << 10)
}

fn nodes() -> Vec<HostNode> {
    let dir = "/sys/devices/system/node";
    let node = |id: u32| {
        let at = |name: &str| format!("{dir}/node{id}/{name}");
        HostNode {
            id,
            cpus: word(&at("cpulist")).unwrap_or_default(),
            memory_bytes: meminfo(&at("meminfo"), "MemTotal:"),
            free_bytes: meminfo(&at("meminfo"), "MemFree:"),
            distances: word(&at("distance"))
                .map(|text| text.split_whitespace().filter_map(|w| w.parse().ok()).collect())
                .unwrap_or_default(),
        }
    };
    let found: Vec<HostNode> = numbered(dir, "node").into_iter().map(node).collect();
    if !found.is_empty() {
        return found;
    }
    // A kernel without NUMA: all memory is node 0.
    vec![HostNode {
        id: 0,
        cpus: word(&format!("{CPU}/online")).unwrap_or_default(),
        memory_bytes: meminfo("/proc/meminfo", "MemTotal:"),
        free_bytes: meminfo("/proc/meminfo", "MemFree:"),
        distances: vec![10],
    }]
}

fn hypervisor(cpuinfo: &str) -> Option<String> {
    let guest = word("/sys/hypervisor/type").filter(|t| !t.is_empty());
    let flagged =
        field(cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|f| f == "hypervisor"));
    let product =
        ["product_name", "sys_vendor"].iter().find_map(|f| word(&format!("/sys/class/dmi/id/{f}")));
    guest.or_else(|| {
        flagged.then(|| product.filter(|p| !p.is_empty()).unwrap_or_else(|| "unnamed".to_owned()))
    })
}

fn mitigations() -> Vec<Mitigation> {
    let dir = Path::new(CPU).join("vulnerabilities");
    let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
    let one = |entry: fs::DirEntry| {
        let state = fs::read_to_string(entry.path()).ok()?.trim().to_owned();
        Some(Mitigation { name: entry.file_name().to_string_lossy().into_owned(), state })
    };
    let mut found: Vec<Mitigation> =
        entries.filter_map(one).filter(|m| m.state != "Not affected").collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn status(key: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_taken_apart() {
        let line = "some avg10=6.33 avg60=2.24 avg300=0.78 total=7722430";
        let seen = pressure_line("cpu", line).unwrap();
        assert_eq!((seen.some_avg10, seen.some_total_us), (6.33, 7_722_430));
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("2"), "2");
        assert_eq!(cpu_model("processor : 0\nmodel name\t: AMD EPYC\n"), "AMD EPYC");
        assert_eq!(
            cpu_model("CPU implementer\t: 0x41\nCPU part\t: 0xd40\n"),
            "CPU implementer 0x41 part 0xd40"
        );
    }
}
