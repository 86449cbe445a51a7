//! The decision: classes that hold, the main one first, and why.
//!
//! **What.** What is no allocation goes first, then figures that can't be right, then zones: none in
//! reach, one that passes the last look (at high), one that passes at min, none.
//!
//! **Why.** The order is that of a person who knows the code: marks are asked only where they decide.

use allocator::gfp::{AllocFlags, Gfp};
use allocator::look::{last_look_flags, printed, request_flags};
use allocator::policy::{Expect, Family, Number, Policy, Release};
use report::{Constraint, Kind, Report};

use super::class::Class;
use super::history::History;
use super::request::{self, Nodes, Request, node_list};
use super::zones::{self, Asked, Row};
use super::{Judged, Race, kind_word, victim};

pub(super) fn decide(source: &str, report: &Report, history: &History) -> Judged {
    let (number, release_note) = request::number(report);
    let page_kb = report.page_kb().unwrap_or(4);
    let nodes = request::nodes(report, number);
    let is_there = |name: &str| report.zones.iter().any(|z| z.name == name);
    let has_highmem =
        report.pages_highmem.is_some_and(|p| p > 0) && !is_there("DMA32") && !is_there("Movable");
    let layout = zones::layout(&report.zones, page_kb, has_highmem);
    let gfp = report.gfp.as_ref().map(|g| printed(number, g.bits, &g.names));
    let highest = gfp.map(|gfp| zones::highest(gfp, &layout));
    let order = report.order.and_then(|o| u8::try_from(o).ok()).filter(|o| *o <= 40);
    let mut own = gfp.map(|gfp| request_flags(number, gfp, order.unwrap_or(0))).unwrap_or_default();
    own -= AllocFlags::NO_WATERMARKS;
    let allowed = nodes.allowed(own.contains(AllocFlags::CPUSET));
    let asked = Asked {
        number,
        gfp: gfp.unwrap_or_default(),
        order: order.unwrap_or(0),
        highest: highest.unwrap_or(layout.len()),
        own,
        last: last_look_flags(),
        nodes: allowed,
        page_kb,
    };
    let rows = zones::rows(report, &layout, &asked);
    let request = Request {
        comm: report.comm.clone(),
        pid: report.pid,
        printed: report.gfp.as_ref().map(|g| {
            let names =
                if g.names.is_empty() { String::new() } else { format!("({})", g.names.join("|")) };
            format!("{:#x}{names}", g.bits)
        }),
        gfp: gfp.map(|gfp| request::gfp_text(report, gfp, number)),
        order: report.order,
        page_kb,
        migratetype: gfp.map(|gfp| {
            if gfp.contains(Gfp::MOVABLE) {
                "movable"
            } else if gfp.contains(Gfp::RECLAIMABLE) {
                "reclaimable"
            } else {
                "unmovable"
            }
        }),
        highest_zone: highest.and_then(|h| layout.get(h)).map(|z| (*z).to_owned()),
        zones_built: layout.iter().map(|z| (*z).to_owned()).collect(),
        constraint: report.constraint.map(request::constraint_word),
        nodemask: nodes.policy.clone(),
        mems_allowed: nodes.mems.clone(),
        cpuset: report.cpuset.clone(),
        nodemask_note: nodes.note.clone(),
    };
    let mut judged = Judged {
        source: source.to_owned(),
        line: report.line,
        time: report.time,
        kind: kind_word(report.kind),
        class: Class::Unknown,
        also: Vec::new(),
        headline: String::new(),
        why: String::new(),
        mends: Vec::new(),
        notes: Vec::new(),
        not_told: Vec::new(),
        missing: Vec::new(),
        release: report.release.as_ref().map(ToString::to_string),
        request,
        zones: rows,
        races: Vec::new(),
        victim: victim::check(report, number, page_kb),
    };
    judged.notes.extend(release_note);
    judged.notes.extend(nodes.note.clone());
    let case = Case { report, number, history, asked, nodes };
    if !case.no_allocation(&mut judged) {
        case.by_zones(&mut judged);
    }
    case.not_told(&mut judged);
    judged.headline = format!("{}: {}", judged.class.title(), judged.why);
    judged
}

pub(super) struct Case<'a> {
    pub(super) report: &'a Report,
    pub(super) number: Number,
    pub(super) history: &'a History,
    pub(super) asked: Asked,
    pub(super) nodes: Nodes,
}

impl Case<'_> {
    pub(super) fn kb(&self, pages: i64) -> i64 {
        pages.saturating_mul(self.asked.page_kb as i64)
    }

    pub(super) fn kb_of(&self, pages: u64) -> i64 {
        self.kb(i64::try_from(pages).unwrap_or(i64::MAX))
    }

    pub(super) fn is_kill(&self) -> bool {
        self.report.kind == Kind::Kill
    }

    /// Is it told that a policy or a cpuset keeps the request from some nodes?
    pub(super) fn is_bound(&self) -> bool {
        self.nodes.policy.is_some()
            || matches!(self.report.constraint, Some(Constraint::Cpuset | Constraint::MemoryPolicy))
    }

    /// What the page allocator has no part in: was it that?
    fn no_allocation(&self, judged: &mut Judged) -> bool {
        let report = self.report;
        let is_memcg = report.constraint == Some(Constraint::Memcg)
            || report.says_memcg
            || report.memcg.as_ref().is_some_and(|m| m.usage_kb.is_some())
            || report.calls("mem_cgroup_out_of_memory");
        if is_memcg && self.is_kill() {
            judged.class = Class::Memcg;
            let memcg = report.memcg.clone().unwrap_or_default();
            let path =
                memcg.path.unwrap_or_else(|| "a memory cgroup (its name is not told)".to_owned());
            let limit = match (memcg.limit_kb, memcg.usage_kb) {
                (Some(limit), Some(usage)) => {
                    format!("of {limit} kB is reached (usage {usage} kB)")
                }
                (Some(limit), None) => format!("of {limit} kB is reached"),
                (None, _) => "is reached; its size is not told".to_owned(),
            };
            judged.why = format!("the limit of {path} {limit}; zones say nothing about it");
            judged
                .mends
                .push(format!("a higher limit (memory.max) of {path}, or less memory used in it"));
            return true;
        }
        if !self.is_kill() {
            return false;
        }
        if report.order == Some(-1)
            || report.calls("moom_callback")
            || report.workqueue.as_deref().is_some_and(|w| w.contains("moom_callback"))
        {
            judged.class = Class::NotAnAllocation;
            judged.why = "killed by hand: order=-1 is sysrq-f (moom_callback); neither premature nor justified".to_owned();
            return true;
        }
        let is_kswapd = report
            .comm
            .strip_prefix("kswapd")
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        if report.calls("lru_gen_age_node") || (is_kswapd && self.number.has_multi_gen_lru()) {
            judged.class = Class::NotAnAllocation;
            judged.why = format!(
                "{} never gets to the killer for a request of its own (PF_MEMALLOC): the multi-gen LRU's min_ttl_ms \
                 (lru_gen_age_node) kills when a node's youngest generation is too young; marks don't matter",
                report.comm
            );
            judged
                .mends
                .push("a lower /sys/kernel/mm/lru_gen/min_ttl_ms (0 turns it off)".to_owned());
            return true;
        }
        let no_mask = report.gfp.as_ref().is_some_and(|g| g.bits == 0);
        if report.calls("pagefault_out_of_memory") || (no_mask && report.has_request) {
            judged.class = Class::NotAnAllocation;
            judged.why = "the page-fault handler called the killer (gfp_mask=0): a fault ended with VM_FAULT_OOM, of a \
                          memory cgroup or of a request that failed before; the marks now say nothing about it"
                .to_owned();
            judged.mends.push("5.16 and later only log it".to_owned());
            return true;
        }
        false
    }

    fn by_zones(&self, judged: &mut Judged) {
        if !self.report.has_request {
            let line = "the request line (`... invoked oom-killer: gfp_mask=..., order=...`)";
            return self.unknown(judged, line, "it decides which zones and marks count");
        }
        if judged.request.gfp.is_none() {
            return self.unknown(
                judged,
                "gfp_mask= of the request line",
                "it decides which zones count",
            );
        }
        if self.report.order.is_none() {
            return self.unknown(
                judged,
                "order= of the request line",
                "it decides which blocks count",
            );
        }
        if self.broken(judged) {
            return;
        }
        let rows: Vec<Row> = judged.zones.clone();
        let reach: Vec<&Row> = rows.iter().filter(|r| r.out_of_reach.is_none()).collect();
        if reach.is_empty() {
            return self.no_zone(judged, &rows);
        }
        let find = |pick: fn(&Row) -> Option<bool>| {
            reach
                .iter()
                .copied()
                .filter(|r| pick(r) == Some(true))
                .max_by_key(|r| r.usable - r.needed_high)
        };
        if self.asked.gfp.contains(Gfp::THISNODE)
            && several_nodes(&reach)
            && find(|r| r.at_min).is_some()
        {
            return self.unknown(
                judged,
                "the node that was asked for (__GFP_THISNODE)",
                "some nodes pass, others don't",
            );
        }
        if let Some(row) = find(|r| r.at_high) {
            return self.passes_high(judged, row);
        }
        let undecided = reach.iter().find(|r| r.at_high.is_none() && may_pass(r));
        if let Some(row) = undecided {
            let (what, why) = self.undecided(row);
            return self.unknown(judged, &what, why);
        }
        if !self.report.zones_ended {
            let last = reach.last().map_or("the zones", |r| r.zone.as_str());
            let what =
                format!("what follows {last} (the report ends at line {})", self.report.last_line);
            return self.unknown(judged, &what, "more zones may follow, and no zone so far passes");
        }
        if let Some(pages) = self.elided_free(&rows) {
            let what = format!(
                "zone lines that hold {} kB of the free memory counted in `free:`",
                self.kb(pages)
            );
            return self.unknown(
                judged,
                &what,
                "no zone that is there passes, but others are left out",
            );
        }
        if let Some(row) = find(|r| r.at_min) {
            return self.transient(judged, row, &reach);
        }
        if let Some(row) = reach.iter().find(|r| r.at_min.is_none() && r.marks_min == Some(true)) {
            let (what, why) = self.undecided(row);
            return self.unknown(judged, &what, why);
        }
        self.none_passes(judged, &reach);
    }

    fn unknown(&self, judged: &mut Judged, what: &str, why: &str) {
        judged.class = Class::Unknown;
        judged.why = format!("{what} is missing: {why}");
        judged.missing.push(what.to_owned());
    }

    fn undecided(&self, row: &Row) -> (String, &'static str) {
        if let Some(field) = row.missing.first() {
            return (
                format!("{field}: of {} (line {})", row.zone, row.line),
                "the zone's marks decide",
            );
        }
        if row.reserve.is_none() {
            return (format!("lowmem_reserve[] of {}", row.zone), "without it the zone would pass");
        }
        if row.has_block.is_none() {
            return (
                format!("the list of free blocks of {}", row.zone),
                "its marks pass, and a block of the order decides",
            );
        }
        (
            format!(
                "the size of the highatomic reserve of {}, which {} does not print,",
                row.zone, self.number
            ),
            "without it the zone would pass",
        )
    }

    /// Pages that are free in zones that the report counts but doesn't list, if they are many and
    /// in the request's reach.
    fn elided_free(&self, rows: &[Row]) -> Option<i64> {
        let constrained = self.is_bound();
        let elsewhere = self.free_elsewhere(rows)?;
        // From 6.1 on zones above the request's highest are not printed.
        let takes_all = self.asked.gfp.contains(Gfp::HIGHMEM | Gfp::MOVABLE);
        let above = self.number.since(6, 1) && !takes_all;
        let high = sum(rows.iter().map(|r| r.high)) as u64;
        let many = elsewhere > 4096 && elsewhere as u64 > high;
        let all = self.nodes.mems.is_none() || self.report.constraint == Some(Constraint::None);
        (many && !constrained && !above && all).then_some(elsewhere)
    }

    /// Free pages that the totals count outside the listed zones of allowed nodes.
    pub(super) fn free_elsewhere(&self, rows: &[Row]) -> Option<i64> {
        let total = sum([self.report.totals.get("free").copied()]);
        self.report.totals.get("free")?;
        let allowed = |r: &&Row| self.asked.nodes.as_ref().is_none_or(|n| n.contains(&r.node));
        Some((total - sum(rows.iter().filter(allowed).map(|r| r.free))).max(0))
    }

    /// Can figures not be right?
    fn broken(&self, judged: &mut Judged) -> bool {
        let mut found = Vec::new();
        for zone in &self.report.zones {
            let (managed, present) = (zone.get("managed"), zone.get("present"));
            let title = zone.title();
            if let Some(managed) = managed.filter(|kb| *kb > 1 << 53) {
                let signed = (u128::from(u64::MAX) + 1 - u128::from(managed)) as u64;
                found.push(format!(
                    "{title} managed:{managed}kB can't be right: more than present:{}kB, and as a signed number -{signed} kB",
                    present.unwrap_or(0)
                ));
            }
            let boost = zone.get("boost").unwrap_or(0);
            for mark in ["min", "low", "high"] {
                let value = zone.get(mark).unwrap_or(0).saturating_sub(boost);
                if let Some(most) = present.or(managed).filter(|kb| value > *kb && value > 4096)
                    && most > 0
                    && mark == "min"
                {
                    found.push(format!(
                        "{title} min:{value}kB is more than all of the zone ({most} kB)"
                    ));
                }
            }
            if let Some(pages) = zone.reserve.iter().find(|r| **r > 1 << 46) {
                found.push(format!(
                    "{title} lowmem_reserve[] {pages} pages is more than any machine has"
                ));
            }
        }
        if found.is_empty() {
            return false;
        }
        let negative = found.iter().any(|f| f.contains("signed number"));
        judged.class = Class::Broken;
        let cause = if negative {
            "something took managed_pages below zero (memory offline with a balloon does), and marks and protections follow from it"
        } else {
            "marks above the zone's size come of an accounting error or of a min_free_kbytes beyond all sense"
        };
        let sane: Vec<&Row> = judged
            .zones
            .iter()
            .filter(|r| {
                r.out_of_reach.is_none() || r.out_of_reach.as_deref() == Some("nothing managed")
            })
            .collect();
        let would = sane.iter().max_by_key(|r| r.free).map(|r| {
            format!(
                "; by sane marks {} with {} kB free would serve it",
                r.zone,
                self.kb_of(r.free.unwrap_or(0))
            )
        });
        judged.why = format!("{}; {cause}{}", found.join("; "), would.unwrap_or_default());
        judged.mends.push(
            "a reboot sets the figures right; the driver that gave away the pages twice is the bug"
                .to_owned(),
        );
        true
    }

    /// No zone is in reach.
    fn no_zone(&self, judged: &mut Judged, rows: &[Row]) {
        let report = self.report;
        let allowed = self.asked.nodes.clone();
        let gone: Vec<u32> = allowed
            .iter()
            .flatten()
            .copied()
            .filter(|n| report.fallback.iter().any(|(node, order)| node == n && !order.contains(n)))
            .collect();
        if rows.is_empty() && gone.is_empty() {
            return self.unknown(
                judged,
                "every zone line (`Node 0 Normal free:... min:...`)",
                "nothing can be said without marks",
            );
        }
        if !report.zones_ended && gone.is_empty() {
            let what = format!("what follows line {}", report.last_line);
            return self.unknown(judged, &what, "zones that the request may use can follow");
        }
        let list = allowed.as_deref().map(node_list);
        let highest = judged.request.highest_zone.clone().unwrap_or_default();
        let names: Vec<String> = rows
            .iter()
            .map(|r| format!("{} is {}", r.zone, r.out_of_reach.as_deref().unwrap_or("in reach")))
            .collect();
        let empty = rows.iter().any(|r| r.out_of_reach.as_deref() == Some("nothing managed"));
        if !self.is_kill() && empty {
            judged.class = Class::Justified;
            judged.why = format!(
                "the request's highest zone is {highest}, and {}: it can't be served on this machine, whatever is free elsewhere",
                names.join(", ")
            );
            judged.mends.push(
                "memory below the zone's limit (kdump: crashkernel=...,low or a range below 4 GiB), or a caller that doesn't ask for the zone"
                    .to_owned(),
            );
            return;
        }
        judged.class = Class::NoZone;
        let elsewhere = self
            .free_elsewhere(rows)
            .unwrap_or(0)
            .max(rows.iter().filter_map(|r| r.free).fold(0_u64, u64::saturating_add).min(1 << 50)
                as i64);
        let bound = match (&self.nodes.policy, report.constraint) {
            (Some(_), _) | (_, Some(Constraint::MemoryPolicy)) => "a memory policy",
            _ => "a cpuset",
        };
        let free = format!(
            "{} kB are free out of its reach, no kill can help, and the next request kills again",
            self.kb(elsewhere)
        );
        if gone.is_empty() {
            judged.why = format!(
                "bound by {bound} to node {}, the request's highest zone is {highest}, and {}: no zone is left; {free}",
                list.unwrap_or_else(|| "?".to_owned()),
                names.join(", ")
            );
            judged.mends.push(format!("give {bound} a node with {highest} memory"));
            if report.constraint != Some(Constraint::MemoryPolicy) {
                let has = self.number.has_insane_cpuset_test();
                judged.mends.push(format!(
                    "8ca1b5a49885 (5.16) lets such a request fail at once{}",
                    if has { ", and is in this release" } else { "" }
                ));
            }
        } else {
            judged.also.push(Class::Bound);
            judged.why = format!(
                "bound by {bound} to node {}, which has no memory (any more): no zone line, and its fallback order does not \
                 begin with itself, so its memory went offline under the request; {free}",
                node_list(&gone)
            );
            judged.mends.push(format!(
                "another node in {bound}; move the task before its node's memory goes offline"
            ));
            self.race(judged, &[Family::J4a]);
        }
    }

    fn passes_high(&self, judged: &mut Judged, row: &Row) {
        let (usable, needed) = (self.kb(row.usable), self.kb(row.needed_high));
        let times = if row.needed_high > 0 { row.usable / row.needed_high } else { 0 };
        let times = if times > 1 { format!(", {times} times that") } else { String::new() };
        let stands = format!(
            "{} has {usable} kB usable, more than high + reserve = {needed} kB{times}{}",
            row.zone,
            if self.asked.order > 0 { ", and a free block of the order" } else { "" },
        );
        if !self.is_kill() {
            judged.class = Class::Transient;
            judged.why = format!(
                "{stands}: the request would be served now; memory came free between its last look and the report, or it might look only once"
            );
            return;
        }
        if let Some((kill, apart)) = self.history.late(self.report) {
            judged.class = Class::LateKill;
            let when = match apart {
                Some(apart) if apart < 1.0 => format!("{:.0} ms after", apart * 1000.0),
                Some(apart) => format!("{apart:.1} s after"),
                None => "right after (no time stamps tell how soon)".to_owned(),
            };
            let size = kill.rss_kb.map_or_else(String::new, |kb| format!(" of {kb} kB"));
            judged.why = format!(
                "{stands}; but this comes {when} the kill of {} ({}){size}, whose memory came free between the last look and this report{}",
                kill.name,
                kill.pid,
                if kill.reaped { "; the reaper was done with it before" } else { "" },
            );
            self.race(judged, &[Family::J2a, Family::J2g, Family::J2gExit]);
            return;
        }
        if self.number.has_highatomic() && !self.number.prints_highatomic() {
            judged.notes.push(format!(
                "{} does not print how large the highatomic reserve of {} is: {}",
                self.number,
                row.zone,
                if row.highatomic.is_none() {
                    "even the most that it may be does not change this"
                } else {
                    "no free block of it is listed, so none is taken off"
                }
            ));
        }
        judged.class = Class::Premature;
        judged.why = format!("{stands}: the killer's last look would have served it");
        let limited = self.is_bound()
            || self.report.cpuset.as_deref().is_some_and(|c| c != "/")
            || self.nodes.mems.as_ref().is_some_and(|m| !m.contains(&0));
        if limited {
            self.race(judged, &[Family::J1aTask, Family::J1aVma]);
            if !self.number.since(4, 13) {
                judged.mends.push("4.13: the allocation looks again when its cpuset or policy changed under it (902b6281)".to_owned());
            }
        } else {
            judged.notes.push(
                "neither cpuset nor policy is told, so the known cpuset race (J1a) does not fit"
                    .to_owned(),
            );
        }
        if self.asked.order > 0 {
            judged.notes.push(format!(
                "order {}: compaction's word may have ended the retries",
                self.asked.order
            ));
        }
    }

    fn transient(&self, judged: &mut Judged, row: &Row, reach: &[&Row]) {
        judged.class = Class::Transient;
        let (usable, min, high) =
            (self.kb(row.usable), self.kb(row.needed_min), self.kb(row.needed_high));
        judged.why = format!(
            "{} stands above min + reserve ({usable} > {min} kB) but not above high + reserve ({high} kB): {}",
            row.zone,
            if self.is_kill() {
                "the killer's last look is made at high, so the kill is legitimate; a moment later the request would have passed"
            } else {
                "the request would pass now; memory came free since it failed"
            }
        );
        self.elsewhere(judged, reach);
        self.left(judged, reach);
    }

    fn race(&self, judged: &mut Judged, families: &[Family]) {
        if self.report.release.is_none() {
            judged.notes.push("without a release no known race can be looked up".to_owned());
            return;
        }
        let Some(release) = self.number.preset() else {
            judged.notes.push(format!(
                "{} is older than the releases modelled: no race can be looked up",
                self.number
            ));
            return;
        };
        let policy = Policy::preset(release);
        for family in families {
            let Some(expect) = policy.expects(*family) else { continue };
            let shows = expect == Expect::Shows;
            let variant = Release::word(release);
            let word = if shows { "shows" } else { "is excluded" };
            judged.races.push(Race {
                family: family.name().to_owned(),
                variant: variant.to_owned(),
                shows,
                text: format!(
                    "{family} ({}) {word} in {variant}: stress explore --family {family} --variant {variant}",
                    family.what()
                ),
            });
        }
    }

    fn not_told(&self, judged: &mut Judged) {
        if matches!(judged.class, Class::Memcg | Class::NotAnAllocation) {
            return;
        }
        judged
            .not_told
            .push("when the last look was made (the report is printed after it)".to_owned());
        if self.report.page_kb().is_none() && !self.report.zones.is_empty() {
            judged.not_told.push("the size of a page (no block list): 4 kB is taken".to_owned());
        }
        if self.is_bound()
            && judged.zones.iter().all(|r| r.out_of_reach.as_deref() != Some("not an allowed node"))
        {
            judged.not_told.push("zones of other nodes".to_owned());
        }
        if self.report.elided {
            judged.not_told.push("lines that were left out where dots stand".to_owned());
        }
    }
}

/// Could the zone pass, if all that is not told were in its favour?
fn may_pass(row: &Row) -> bool {
    if !row.missing.is_empty() {
        return true;
    }
    row.usable > row.needed_high && row.has_block != Some(false)
}

fn several_nodes(rows: &[&Row]) -> bool {
    rows.iter().any(|r| r.node != rows[0].node)
}

/// A sum of pages of which none is believed to be more than 2^50: nothing overflows.
pub(super) fn sum(pages: impl IntoIterator<Item = Option<u64>>) -> i64 {
    pages.into_iter().flatten().map(|p| p.min(1 << 50) as i64).sum()
}
