//! The `Mem-Info` block of a report (`show_mem`).
//!
//! **What.** Totals, one line per node and zone, lowmem_reserve, free blocks by order with the types
//! that have some, page cache, swap, RAM; with the fields that each release prints.
//!
//! **Why.** An engineer reads `free` against `min` in this block first; the same block in the same
//! words can be compared with a real machine's (tests do).
//!
//! **Source.** mm/page_alloc.c, mm/show_mem.c: show_free_areas; lib/show_mem.c: show_mem. 6.1's form
//! is checked against reports of a real kernel, 4.9's against four posted ones; when fields came and
//! went in other releases is from memory.
//!
//! **Differs.** What the model does not have is 0: slab, writeback, bounce, kernel stacks, CMA.
//! Pages of page tables are allocated, but not counted by node.

use std::fmt::Write as _;

use crate::gfp::MigrateType;
use crate::ids::{MAX_NR_ZONES, NR_PAGE_ORDERS, NodeId, PAGE_SHIFT, ZoneIdx};
use crate::nodemask::NodeMask;
use crate::policy::Release;
use crate::reclaim::lru::{Lru, zone_lru_pages};
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;
use crate::zone::{Wmark, Zone};

/// Which fields a release prints.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// unstable: (up to 5.7).
    unstable: bool,
    /// pages_scanned by node (up to 4.11).
    pages_scanned: bool,
    /// slab by zone (up to 4.12).
    slab_by_zone: bool,
    /// Zones are chosen by the asking task's mems_allowed, whatever the nodemask (up to 4.10), and
    /// the lines of all nodes are printed.
    by_mems_allowed: bool,
    /// hugepages of all nodes (up to 5.19).
    hugepages_of_all: bool,
    /// kernel_stack by node (5.9), by zone before.
    kernel_stack_by_node: bool,
    /// pagetables by node (5.11), by zone before.
    pagetables_by_node: bool,
    /// sec_pagetables (6.1).
    sec_pagetables: bool,
    /// kernel_misc_reclaimable (5.16).
    kernel_misc_reclaimable: bool,
    /// boost (5.12).
    boost: bool,
    /// reserved_highatomic (5.6).
    reserved_highatomic: bool,
    /// free_highatomic, zspages, Balloon (6.16 to 6.18).
    newest: bool,
    /// `Swap cache stats:` instead of nothing (up to 5.19).
    swap_cache_stats: bool,
    /// Zones above the request's highest are left out (6.1).
    only_usable_zones: bool,
}

impl Form {
    fn of(release: Release) -> Self {
        Self {
            unstable: release < Release::V5_10,
            pages_scanned: release <= Release::V4_11,
            slab_by_zone: release <= Release::V4_11,
            by_mems_allowed: release < Release::V4_11,
            hugepages_of_all: release < Release::V6_1,
            kernel_stack_by_node: release >= Release::V5_10,
            pagetables_by_node: release >= Release::V5_12,
            sec_pagetables: release >= Release::V6_1,
            kernel_misc_reclaimable: release >= Release::V5_17,
            boost: release >= Release::V5_12,
            reserved_highatomic: release >= Release::V5_10,
            newest: release >= Release::V6_18,
            swap_cache_stats: release < Release::V6_1,
            only_usable_zones: release >= Release::V6_1,
        }
    }
}

/// Pages in kB (`K`).
fn kb(pages: u64) -> u64 {
    pages << (PAGE_SHIFT - 10)
}

/// Letters of the types in the list of free blocks, in the order in which they are printed.
const TYPE_LETTERS: [(MigrateType, char); 6] = [
    (MigrateType::Unmovable, 'U'),
    (MigrateType::Movable, 'M'),
    (MigrateType::Reclaimable, 'E'),
    (MigrateType::HighAtomic, 'H'),
    (MigrateType::Cma, 'C'),
    (MigrateType::Isolate, 'I'),
];

impl Kernel {
    /// The block, for the nodes of `nodes` (None: current's mems_allowed) and a request whose
    /// highest zone is `highest`.
    pub fn mem_info(&self, cx: &Cx, nodes: Option<&NodeMask>, highest: ZoneIdx) -> Vec<String> {
        let form = Form::of(self.policy.release);
        let nodes = nodes.filter(|_| !form.by_mems_allowed);
        let shown = nodes.copied().unwrap_or_else(|| cx.task.mems_allowed.load());
        let highest = if form.only_usable_zones { highest } else { ZoneIdx::Movable };
        let shows = |node: NodeId| shown.test(node);
        let zones = || self.populated_zones().filter(|z| shows(z.node()) && z.idx() <= highest);
        let mut lines = vec!["Mem-Info:".to_owned()];
        self.total_lines(&form, zones().map(free_pcp).sum(), &mut lines);
        for node in self.machine.nodes.iter().map(|n| n.id) {
            let is_all = form.by_mems_allowed && self.populated_zones().any(|z| z.node() == node);
            if is_all || zones().any(|z| z.node() == node) {
                lines.push(self.node_line(&form, node));
            }
        }
        for zone in zones() {
            lines.push(zone_line(&form, cx, zone));
            lines.push(self.lowmem_reserve_line(zone));
        }
        for zone in zones() {
            lines.push(free_blocks_line(zone));
        }
        let has_hugepages = |n: &NodeId| form.hugepages_of_all || shows(*n);
        for node in self.n_memory.load().iter().filter(has_hugepages) {
            for size_kb in [1_048_576, 2048] {
                lines.push(format!(
                    "Node {node} hugepages_total=0 hugepages_free=0 hugepages_surp=0 \
                     hugepages_size={size_kb}kB"
                ));
            }
        }
        self.last_lines(&form, &mut lines);
        lines
    }

    fn total_lines(&self, form: &Form, free_pcp: u64, lines: &mut Vec<String>) {
        let all = |lru| -> u64 { self.populated_zones().map(|z| zone_lru_pages(z, lru)).sum() };
        let isolated = |file: usize| -> i64 {
            self.populated_zones().map(|z| z.nr_isolated[file].load(Ordering::Relaxed)).sum()
        };
        let free: u64 = self.populated_zones().map(Zone::free_pages).sum();
        lines.push(format!(
            "active_anon:{} inactive_anon:{} isolated_anon:{}",
            all(Lru::ActiveAnon),
            all(Lru::InactiveAnon),
            isolated(0)
        ));
        lines.push(format!(
            " active_file:{} inactive_file:{} isolated_file:{}",
            all(Lru::ActiveFile),
            all(Lru::InactiveFile),
            isolated(1)
        ));
        let unstable = if form.unstable { " unstable:0" } else { "" };
        lines.push(format!(" unevictable:{} dirty:0 writeback:0{unstable}", all(Lru::Unevictable)));
        lines.push(" slab_reclaimable:0 slab_unreclaimable:0".to_owned());
        if form.sec_pagetables {
            lines.push(" mapped:0 shmem:0 pagetables:0".to_owned());
            lines.push(" sec_pagetables:0 bounce:0".to_owned());
        } else {
            lines.push(" mapped:0 shmem:0 pagetables:0 bounce:0".to_owned());
        }
        if form.kernel_misc_reclaimable {
            lines.push(" kernel_misc_reclaimable:0".to_owned());
        }
        lines.push(format!(" free:{free} free_pcp:{free_pcp} free_cma:0"));
    }

    fn node_line(&self, form: &Form, node: NodeId) -> String {
        let on = |lru| kb(self.node_lru_pages(node, lru));
        let isolated = |file: usize| {
            let pages: i64 =
                self.zones_of(node).map(|z| z.nr_isolated[file].load(Ordering::Relaxed)).sum();
            kb(u64::try_from(pages).unwrap_or(0))
        };
        let mut line = format!(
            "Node {node} active_anon:{}kB inactive_anon:{}kB active_file:{}kB inactive_file:{}kB \
             unevictable:{}kB isolated(anon):{}kB isolated(file):{}kB mapped:0kB dirty:0kB \
             writeback:0kB shmem:0kB shmem_thp: 0kB shmem_pmdmapped: 0kB anon_thp: 0kB \
             writeback_tmp:0kB",
            on(Lru::ActiveAnon),
            on(Lru::InactiveAnon),
            on(Lru::ActiveFile),
            on(Lru::InactiveFile),
            on(Lru::Unevictable),
            isolated(0),
            isolated(1),
        );
        for (printed, field) in [
            (form.unstable, " unstable:0kB"),
            (form.pages_scanned, " pages_scanned:0"),
            (form.kernel_stack_by_node, " kernel_stack:0kB"),
            (form.pagetables_by_node, " pagetables:0kB"),
            (form.sec_pagetables, " sec_pagetables:0kB"),
        ] {
            if printed {
                line.push_str(field);
            }
        }
        let kswapd = &self.reclaim.nodes[node.index()].kswapd;
        let hopeless = if kswapd.is_hopeless() { "yes" } else { "no" };
        let _ = write!(line, " all_unreclaimable? {hopeless}");
        if form.newest {
            line.push_str(" Balloon:0kB");
        }
        line
    }

    /// One number for each zone, and one for ZONE_DEVICE where it is configured.
    fn lowmem_reserve_line(&self, zone: &Zone) -> String {
        let mut line = "lowmem_reserve[]:".to_owned();
        for idx in ZoneIdx::ALL {
            let _ = write!(line, " {}", zone.lowmem_reserve(idx));
        }
        if self.machine.settings.zone_device {
            // It never has pages, so it adds nothing to the zone before it.
            let _ = write!(line, " {}", zone.lowmem_reserve(ZoneIdx::ALL[MAX_NR_ZONES - 1]));
        }
        line
    }

    fn last_lines(&self, form: &Form, lines: &mut Vec<String>) {
        let cached: u64 = self.machine.nodes.iter().map(|n| self.nr_file_pages(n.id)).sum();
        let swap = &self.reclaim.swap;
        let present: u64 = self.populated_zones().map(Zone::present_pages).sum();
        let managed: u64 = self.populated_zones().map(Zone::managed_pages).sum();
        let highmem: u64 = self
            .populated_zones()
            .filter(|z| self.policy.release.movable_is_highmem() && z.idx() == ZoneIdx::Movable)
            .map(Zone::present_pages)
            .sum();
        lines.push(format!("{cached} total pagecache pages"));
        lines.push("0 pages in swap cache".to_owned());
        if form.swap_cache_stats {
            lines.push("Swap cache stats: add 0, delete 0, find 0/0".to_owned());
        }
        lines.push(format!("Free swap  = {}kB", kb(swap.free_pages())));
        lines.push(format!("Total swap = {}kB", kb(swap.total_pages())));
        lines.push(format!("{present} pages RAM"));
        lines.push(format!("{highmem} pages HighMem/MovableOnly"));
        lines.push(format!("{} pages reserved", present - managed));
        lines.push("0 pages hwpoisoned".to_owned());
    }
}

fn free_pcp(zone: &Zone) -> u64 {
    zone.pcp.iter().map(|pcp| u64::from(pcp.count())).sum()
}

fn zone_line(form: &Form, cx: &Cx, zone: &Zone) -> String {
    let on = |lru| kb(zone_lru_pages(zone, lru));
    let reserved = zone.nr_reserved_highatomic.load(Ordering::Relaxed);
    let free_highatomic = zone.nr_free_highatomic.load(Ordering::Relaxed);
    let local = zone.pcp.get(cx.cpu().index()).map_or(0, |pcp| u64::from(pcp.count()));
    let mut line = format!("Node {} {} free:{}kB", zone.node(), zone.idx(), kb(zone.free_pages()));
    if form.boost {
        let _ = write!(line, " boost:{}kB", kb(zone.watermark_boost()));
    }
    let _ = write!(
        line,
        " min:{}kB low:{}kB high:{}kB",
        kb(zone.wmark_pages(Wmark::Min)),
        kb(zone.wmark_pages(Wmark::Low)),
        kb(zone.wmark_pages(Wmark::High)),
    );
    if form.reserved_highatomic {
        let _ = write!(line, " reserved_highatomic:{}KB", kb(reserved));
    }
    if form.newest {
        let free = u64::try_from(free_highatomic).unwrap_or(0);
        let _ = write!(line, " free_highatomic:{}KB", kb(free));
    }
    let _ = write!(
        line,
        " active_anon:{}kB inactive_anon:{}kB active_file:{}kB inactive_file:{}kB \
         unevictable:{}kB writepending:0kB",
        on(Lru::ActiveAnon),
        on(Lru::InactiveAnon),
        on(Lru::ActiveFile),
        on(Lru::InactiveFile),
        on(Lru::Unevictable),
    );
    if form.newest {
        line.push_str(" zspages:0kB");
    }
    let _ = write!(
        line,
        " present:{}kB managed:{}kB mlocked:{}kB",
        kb(zone.present_pages()),
        kb(zone.managed_pages()),
        on(Lru::Unevictable),
    );
    if form.slab_by_zone {
        line.push_str(" slab_reclaimable:0kB slab_unreclaimable:0kB");
    }
    if !form.kernel_stack_by_node {
        line.push_str(" kernel_stack:0kB");
    }
    if !form.pagetables_by_node {
        line.push_str(" pagetables:0kB");
    }
    let _ = write!(
        line,
        " bounce:0kB free_pcp:{}kB local_pcp:{}kB free_cma:0kB",
        kb(free_pcp(zone)),
        kb(local),
    );
    line
}

/// Free blocks by order, with the types that have some; unlocked, so that the sum may differ from
/// `free:`.
fn free_blocks_line(zone: &Zone) -> String {
    let mut line = format!("Node {} {}:", zone.node(), zone.idx());
    let mut total = 0;
    for order in 0..NR_PAGE_ORDERS {
        let area = &zone.free_area[order];
        let blocks = u64::from(area.nr_free());
        total += blocks << order;
        let _ = write!(line, " {blocks}*{}kB", kb(1 << order));
        let types: String = TYPE_LETTERS
            .iter()
            .filter(|(migratetype, _)| !area.list(*migratetype).is_empty())
            .map(|(_, letter)| letter)
            .collect();
        if blocks > 0 && !types.is_empty() {
            let _ = write!(line, " ({types})");
        }
    }
    let _ = write!(line, " = {}kB", kb(total));
    line
}
