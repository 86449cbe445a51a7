//! What the model's own counters say at the end of a round.

use allocator::clock::Ktime;
use allocator::kernel::Kernel;
use allocator::oracle::conservation::Census;
use allocator::oracle::finding::TimelineEvent;
use allocator::oracle::{Finding, FindingKind};
use allocator::sync::Arc;
use allocator::sync::atomic::{AtomicU64, Ordering};
use allocator::task::{Cx, Task};
use allocator::zone::Wmark;
use indexmap::IndexMap;
use results::schema::MachineZone;

/// Counters and zones of a model.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    /// Victims killed.
    pub kills: u64,
    /// Findings and counted events by kind.
    pub counts: Vec<(FindingKind, u64)>,
    /// Counters under the kernel's names.
    pub vmstat: IndexMap<String, i64>,
    /// Zones with their watermarks.
    pub zones: Vec<MachineZone>,
}

impl Stock {
    /// Reads them. Nobody should be allocating any more.
    pub fn take(kernel: &Kernel) -> Self {
        Self {
            kills: kills(kernel),
            counts: FindingKind::ALL.map(|kind| (kind, kernel.findings.nr(kind))).to_vec(),
            vmstat: vmstat(kernel),
            zones: kernel.populated_zones().map(zone).collect(),
        }
    }

    /// How many of a kind.
    pub fn nr(&self, kind: FindingKind) -> u64 {
        self.counts.iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| *n)
    }
}

/// Victims killed so far.
pub fn kills(kernel: &Kernel) -> u64 {
    kernel.cpus.iter().map(|c| c.vm.oom_kill.load(Ordering::Relaxed)).sum()
}

fn zone(zone: &allocator::zone::Zone) -> MachineZone {
    MachineZone {
        node: u32::from(zone.node().0),
        name: zone.idx().to_string(),
        spanned: zone.spanned_pages(),
        present: zone.present_pages(),
        managed: zone.managed_pages(),
        min: zone.wmark_unboosted(Wmark::Min),
        low: zone.wmark_unboosted(Wmark::Low),
        high: zone.wmark_unboosted(Wmark::High),
    }
}

/// Counters by their /proc/vmstat names, summed over CPUs.
fn vmstat(kernel: &Kernel) -> IndexMap<String, i64> {
    let sum = |of: &dyn Fn(&allocator::cpu::VmEvents) -> &AtomicU64| {
        kernel.cpus.iter().map(|c| of(&c.vm).load(Ordering::Relaxed)).sum::<u64>() as i64
    };
    let zones = ["dma", "dma32", "normal", "movable"];
    let mut all = IndexMap::new();
    let free: u64 = kernel.populated_zones().map(allocator::zone::Zone::free_pages_exact).sum();
    all.insert("nr_free_pages".to_owned(), free as i64);
    for (i, name) in zones.iter().enumerate() {
        all.insert(format!("allocstall_{name}"), sum(&|vm| &vm.allocstall[i]));
    }
    let events: [(&str, &dyn Fn(&allocator::cpu::VmEvents) -> &AtomicU64); 17] = [
        ("pgfault", &|vm| &vm.pgfault),
        ("pgscan_direct", &|vm| &vm.pgscan_direct),
        ("pgsteal_direct", &|vm| &vm.pgsteal_direct),
        ("pgscan_kswapd", &|vm| &vm.pgscan_kswapd),
        ("pgsteal_kswapd", &|vm| &vm.pgsteal_kswapd),
        ("pgscan_direct_throttle", &|vm| &vm.pgscan_direct_throttle),
        ("pageoutrun", &|vm| &vm.pageoutrun),
        ("pswpin", &|vm| &vm.pswpin),
        ("pswpout", &|vm| &vm.pswpout),
        ("pgmigrate_success", &|vm| &vm.pgmigrate_success),
        ("pgmigrate_fail", &|vm| &vm.pgmigrate_fail),
        ("oom_kill", &|vm| &vm.oom_kill),
        ("compact_stall", &|vm| &vm.compact_stall),
        ("compact_fail", &|vm| &vm.compact_fail),
        ("compact_success", &|vm| &vm.compact_success),
        ("drain_all_pages", &|vm| &vm.drain_all),
        ("mm_page_alloc_extfrag", &|vm| &vm.extfrag),
    ];
    for (name, of) in events {
        all.insert(name.to_owned(), sum(of));
    }
    all
}

/// Counts each frame; what does not fit becomes a finding.
pub fn census(kernel: &Kernel, cx: &Cx) -> Census {
    let mut census = kernel.census();
    if census.allocated > 0 {
        let pages = census.allocated;
        census.violations.push(format!("{pages} pages are still allocated, nobody owns them"));
    }
    if let Some(first) = census.violations.first() {
        let title = format!("conservation: {first}");
        kernel.find(cx, FindingKind::Conservation, &title, &census.violations);
    }
    census
}

/// Counts a finding that is made here, and keeps it with the last events of some tasks.
pub fn keep(
    kernel: &Kernel,
    kind: FindingKind,
    title: String,
    report: Vec<String>,
    tasks: impl Iterator<Item = Arc<Task>>,
) {
    if !kernel.findings.count(kind) {
        return;
    }
    let mut timeline: Vec<TimelineEvent> = Vec::new();
    let mut pid = 0;
    for task in tasks {
        pid = if pid == 0 { task.pid } else { pid };
        timeline.extend(events_of(&task));
    }
    timeline.sort_by_key(|e| e.stamp);
    let at: Ktime = kernel.clock.now();
    let scaled = !kernel.clock.is_real_time();
    kernel.findings.keep(Finding { kind, at, pid, title, report, timeline, scaled });
}

fn events_of(task: &Task) -> Vec<TimelineEvent> {
    let cpu = task.cpu.load(Ordering::Relaxed) as u16;
    let event = |e: &allocator::timeline::Event| TimelineEvent {
        stamp: e.stamp,
        pid: task.pid,
        comm: task.process.comm.clone(),
        cpu,
        label: e.point.label(),
        point: e.point.name(),
        text: e.describe(),
    };
    task.events.events().iter().map(event).collect()
}
