//! What the model's own counters say at the end of a round.

use allocator::oracle::conservation::Census;
use allocator::oracle::finding::TimelineEvent;
use allocator::oracle::reserves::ReserveClass;
use allocator::oracle::{Finding, FindingKind};
use allocator::run::clock::Ktime;
use allocator::run::cpu::VmEvents;
use allocator::run::kernel::Kernel;
use allocator::run::task::{Cx, Task};
use allocator::sync::Arc;
use allocator::sync::atomic::{AtomicU64, Ordering};
use allocator::zone::Wmark;
use indexmap::IndexMap;
use results::schema::{ByClass, MachineZone, Reserves, ZoneLow};

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
    /// Requests that killed at least once.
    pub episodes: u64,
    /// From kill to memory freed, in model ns.
    pub kill_to_free_ns: Vec<u64>,
    /// How deep the reserves were dug.
    pub reserves: Reserves,
}

impl Stock {
    /// Reads them. Nobody should be allocating any more.
    pub fn take(kernel: &Kernel) -> Self {
        Self {
            kills: kills(kernel),
            counts: FindingKind::ALL.map(|kind| (kind, kernel.findings.nr(kind))).to_vec(),
            vmstat: vmstat(kernel),
            zones: kernel.populated_zones().map(zone).collect(),
            episodes: kernel.oom.stats.episodes.load(Ordering::Relaxed),
            kill_to_free_ns: kernel.oom.stats.take_kill_to_free_ns(),
            reserves: reserves(kernel),
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

/// What the reserves oracle remembers, by class and zone.
fn reserves(kernel: &Kernel) -> Reserves {
    let by_class = ReserveClass::ALL
        .map(|class| {
            let zones = kernel.populated_zones().filter_map(|zone| low(kernel, zone, class));
            let zones: Vec<ZoneLow> = zones.collect();
            let class_of = ByClass {
                lowest_free_pages: zones.iter().map(|z| z.lowest_free_pages).min(),
                lowest_share_of_min: lowest_share(&zones),
                zones,
                below_min: kernel.reserve_oracle.below_min(class),
                failed: kernel.reserve_oracle.failed(class),
            };
            (class.word().to_owned(), class_of)
        })
        .into_iter()
        .collect();
    with_totals(by_class)
}

fn low(kernel: &Kernel, zone: &allocator::zone::Zone, class: ReserveClass) -> Option<ZoneLow> {
    let depth = kernel.reserve_oracle.depth(zone, class)?;
    Some(ZoneLow {
        node: u32::from(zone.node().0),
        zone: zone.idx().to_string(),
        lowest_free_pages: depth.free_pages,
        lowest_share_of_min: Some(depth.share_of_min as f64 / 1000.0),
    })
}

fn lowest_share(zones: &[ZoneLow]) -> Option<f64> {
    zones.iter().filter_map(|z| z.lowest_share_of_min).reduce(f64::min)
}

/// The lowest over all classes by zone; `lowest_share_of_min` is of victims' requests.
fn with_totals(by_class: IndexMap<String, ByClass>) -> Reserves {
    let mut zones: Vec<ZoneLow> = Vec::new();
    for low in by_class.values().flat_map(|c| &c.zones) {
        match zones.iter_mut().find(|z| (z.node, &z.zone) == (low.node, &low.zone)) {
            Some(zone) if zone.lowest_free_pages <= low.lowest_free_pages => {}
            Some(zone) => *zone = low.clone(),
            None => zones.push(low.clone()),
        }
    }
    let victims = by_class.get(ReserveClass::Victim.word());
    Reserves {
        lowest_free_pages: zones.iter().map(|z| z.lowest_free_pages).min(),
        lowest_share_of_min: victims.and_then(|c| c.lowest_share_of_min),
        zones,
        by_class,
    }
}

/// The lower of two rounds' reserves, zone by zone.
pub fn merge_reserves(a: &Reserves, b: &Reserves) -> Reserves {
    let mut by_class = a.by_class.clone();
    for (word, theirs) in &b.by_class {
        let mine = by_class.entry(word.clone()).or_default();
        mine.below_min += theirs.below_min;
        mine.failed += theirs.failed;
        for low in &theirs.zones {
            match mine.zones.iter_mut().find(|z| (z.node, &z.zone) == (low.node, &low.zone)) {
                Some(zone) if zone.lowest_free_pages <= low.lowest_free_pages => {}
                Some(zone) => *zone = low.clone(),
                None => mine.zones.push(low.clone()),
            }
        }
        mine.lowest_free_pages = mine.zones.iter().map(|z| z.lowest_free_pages).min();
        mine.lowest_share_of_min = lowest_share(&mine.zones);
    }
    with_totals(by_class)
}

/// Picks a counter.
type Counter<'a> = dyn Fn(&VmEvents) -> &AtomicU64 + 'a;

/// Counters by their /proc/vmstat names, summed over CPUs.
fn vmstat(kernel: &Kernel) -> IndexMap<String, i64> {
    let sum = |of: &Counter<'_>| {
        kernel.cpus.iter().map(|c| of(&c.vm).load(Ordering::Relaxed)).sum::<u64>() as i64
    };
    let zones = ["dma", "dma32", "normal", "movable"];
    let mut all = IndexMap::new();
    let free: u64 = kernel.populated_zones().map(allocator::zone::Zone::free_pages_exact).sum();
    all.insert("nr_free_pages".to_owned(), free as i64);
    for (i, name) in zones.iter().enumerate() {
        all.insert(format!("allocstall_{name}"), sum(&|vm| &vm.allocstall[i]));
    }
    let events: [(&str, &Counter<'_>); 17] = [
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

/// Counts each frame; what does not fit becomes a finding. The page cache and the batches of the LRU
/// lists are given back first, since no task does.
pub fn census(kernel: &Kernel, cx: &Cx) -> Census {
    kernel.drop_caches(cx);
    kernel.lru_add_drain_all(cx);
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

/// The last events of all threads, oldest first.
pub fn events_of_all(kernel: &Kernel) -> Vec<TimelineEvent> {
    let mut all: Vec<TimelineEvent> =
        kernel.tasks.all_threads().iter().flat_map(|task| events_of(task)).collect();
    all.sort_by_key(|e| e.stamp);
    all
}

fn events_of(task: &Task) -> Vec<TimelineEvent> {
    task.events.events().iter().map(|event| TimelineEvent::of(task, event)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn low(node: u32, pages: u64, share: f64) -> ZoneLow {
        ZoneLow {
            node,
            zone: "Normal".to_owned(),
            lowest_free_pages: pages,
            lowest_share_of_min: Some(share),
        }
    }

    fn of(class: &str, zones: Vec<ZoneLow>) -> Reserves {
        let by = ByClass { zones, ..ByClass::default() };
        merge_reserves(
            &Reserves::default(),
            &Reserves { by_class: [(class.to_owned(), by)].into(), ..Reserves::default() },
        )
    }

    #[test]
    fn the_lower_zone_of_two_rounds_stays() {
        let a = of("victim", vec![low(0, 50, 0.5), low(1, 80, 0.8)]);
        let b = of("victim", vec![low(0, 70, 0.7), low(1, 30, 0.3)]);
        let both = merge_reserves(&a, &b);
        assert_eq!(both.lowest_free_pages, Some(30));
        assert_eq!(both.lowest_share_of_min, Some(0.3));
        let pages: Vec<u64> = both.zones.iter().map(|z| z.lowest_free_pages).collect();
        assert_eq!(pages, [50, 30]);
    }

    #[test]
    fn only_victims_make_the_share_of_the_summary() {
        let both = merge_reserves(&of("other", vec![low(0, 5, 0.05)]), &of("victim", vec![]));
        assert_eq!((both.lowest_free_pages, both.lowest_share_of_min), (Some(5), None));
        assert_eq!(both.by_class["other"].lowest_share_of_min, Some(0.05));
    }
}
