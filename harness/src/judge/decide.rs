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

/// A zone that is kept counts as the reason only if it holds this share of what is in reach.
const KEPT_SHARE: i64 = 50;
/// File pages of a tenth of the memory in reach, and 32 MiB, are plenty.
const PLENTY_SHARE: u64 = 10;
const PLENTY_KB: u64 = 32 << 10;

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

struct Case<'a> {
    report: &'a Report,
    number: Number,
    history: &'a History,
    asked: Asked,
    nodes: Nodes,
}

impl Case<'_> {
    fn kb(&self, pages: i64) -> i64 {
        pages.saturating_mul(self.asked.page_kb as i64)
    }

    fn kb_of(&self, pages: u64) -> i64 {
        self.kb(i64::try_from(pages).unwrap_or(i64::MAX))
    }

    fn is_kill(&self) -> bool {
        self.report.kind == Kind::Kill
    }

    /// Is it told that a policy or a cpuset keeps the request from some nodes?
    fn is_bound(&self) -> bool {
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
    fn free_elsewhere(&self, rows: &[Row]) -> Option<i64> {
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
        if self.number.has_highatomic() && row.highatomic.is_none() {
            judged.notes.push(format!("how large the highatomic reserve of {} is, is not printed; even the most it may be does not change this", row.zone));
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

    /// No zone in reach passes at min: what is behind it?
    fn none_passes(&self, judged: &mut Judged, reach: &[&Row]) {
        let total: i64 =
            reach.iter().filter_map(|r| r.managed).map(|m| m.min(1 << 50) as i64).sum();
        let fails: Vec<String> = reach.iter().map(|r| self.fails(r)).collect();
        let mut classes = Vec::new();
        let blocked = |r: &&&Row| r.marks_min == Some(true) && r.at_min == Some(false);
        if self.asked.order > 0 && reach.iter().any(|r| blocked(&r)) {
            classes.push(Class::Fragmented);
        }
        if reach.iter().any(|r| r.with_cma) {
            classes.push(Class::CmaOnly);
        }
        if reach.iter().any(|r| r.with_highatomic) {
            classes.push(Class::Highatomic);
        }
        // Pcplists hold pages at every kill; they are the reason only if they hold more than is free.
        let on_lists = |r: &&&Row| {
            r.with_pcp_high && !r.with_cma && !r.with_highatomic && r.pcp as i64 > r.usable
        };
        if reach.iter().any(|r| on_lists(&r)) {
            classes.push(Class::OnPcplists);
        }
        let kept = reach.iter().filter(|r| r.without_reserve);
        let kept: i64 =
            kept.map(|r| (r.usable - r.high.unwrap_or(0).min(1 << 50) as i64).min(1 << 50)).sum();
        if kept > total / KEPT_SHARE && classes.is_empty() {
            classes.push(Class::KeptForLower);
        }
        let left = self.left(judged, reach);
        let bound = self.elsewhere(judged, reach);
        if left && classes.is_empty() && self.is_kill() {
            classes.push(Class::GaveUpEarly);
        }
        if bound {
            classes.push(Class::Bound);
        }
        if classes.is_empty() {
            classes.push(Class::Justified);
        }
        if kept > 0 && !classes.contains(&Class::KeptForLower) {
            classes.push(Class::KeptForLower);
        }
        if left && !classes.contains(&Class::GaveUpEarly) {
            classes.push(Class::GaveUpEarly);
        }
        if reach.iter().any(|r| r.with_pcp) && !classes.contains(&Class::OnPcplists) {
            classes.push(Class::OnPcplists);
        }
        judged.class = classes[0];
        judged.also = classes[1..].to_vec();
        judged.why = format!("{}{}", self.cause(judged.class, reach), fails.join("; "));
        self.mends(judged, reach);
        for row in reach.iter().filter(|r| r.without_boost) {
            judged.notes.push(format!(
                "{} kB of {}'s marks are boost (fragmentation): without it this request would have passed at min ({} > {} kB)",
                self.kb_of(row.boost),
                row.zone,
                self.kb(row.usable),
                self.kb(row.needed_min - row.boost.min(1 << 50) as i64),
            ));
        }
        if self.number.has_boost() && !self.number.prints_boost() {
            self.hidden_boost(judged);
        }
        self.set_aside(judged, reach);
    }

    /// What stands apart of the free pages: pcplists, the CMA area.
    fn set_aside(&self, judged: &mut Judged, reach: &[&Row]) {
        for row in
            reach.iter().filter(|r| r.pcp > 0 && r.pcp.saturating_mul(4) > r.min.unwrap_or(0))
        {
            judged.notes.push(format!(
                "{} kB of {} are on pcplists, undrained",
                self.kb_of(row.pcp),
                row.zone
            ));
        }
        if let Some(pages) =
            self.report.pages_cma.filter(|p| *p > 0 && judged.class == Class::CmaOnly)
        {
            let managed = sum(reach.iter().map(|r| r.managed)) as u64;
            judged.notes.push(format!(
                "the memory in reach, {} kB, holds a CMA area of {} kB",
                self.kb_of(managed),
                self.kb_of(pages)
            ));
        }
    }

    /// 5.0 to 5.11 hide a boost in min, low and high: all three are too large by the same.
    fn hidden_boost(&self, judged: &mut Judged) {
        for zone in &self.report.zones {
            let (Some(min), Some(low), Some(high)) =
                (zone.get("min"), zone.get("low"), zone.get("high"))
            else {
                continue;
            };
            let step = high.saturating_sub(low);
            // Without boost low - min is at least a quarter of min.
            if low.checked_sub(min) == Some(step)
                && step > 0
                && min > step.saturating_mul(4).saturating_add(16 * self.asked.page_kb)
            {
                judged.notes.push(format!(
                    "{}: min is {} kB more than its distance to low goes with: a boost, which {} does not print apart",
                    zone.title(),
                    min - 4 * step,
                    self.number
                ));
            }
        }
    }

    fn fails(&self, row: &Row) -> String {
        let (usable, needed) = (self.kb(row.usable), self.kb(row.needed_min));
        if row.marks_min == Some(true) {
            let block = self.asked.page_kb << self.asked.order;
            return format!(
                "{}: marks pass ({usable} > {needed} kB), no block of {block} kB or more that the request may take",
                row.zone
            );
        }
        let mut parts = format!(
            "{}: {usable} <= {needed} kB (min {}",
            row.zone,
            self.kb_of(row.min.unwrap_or(0))
        );
        if let Some(reserve) = row.reserve.filter(|r| *r > 0) {
            parts += &format!(" + lowmem_reserve {}", self.kb_of(reserve));
        }
        parts.push(')');
        if row.cma > 0 && row.usable < row.free.unwrap_or(0) as i64 {
            parts += &format!(
                ", {} kB of its {} kB free are CMA",
                self.kb_of(row.cma),
                self.kb_of(row.free.unwrap_or(0))
            );
        }
        if let Some(reserve) = row.highatomic.filter(|h| *h > 0) {
            parts += &format!(", {} kB taken off as highatomic reserve", self.kb_of(reserve));
        }
        parts
    }

    fn cause(&self, class: Class, reach: &[&Row]) -> String {
        let order = self.asked.order;
        match class {
            Class::Fragmented => format!(
                "order {order} ({} kB, {}) finds no block: ",
                self.asked.page_kb << order,
                if self.asked.gfp.contains(Gfp::MOVABLE) {
                    "movable"
                } else {
                    "unmovable or reclaimable"
                },
            ),
            Class::CmaOnly => "what is free is CMA, which this request may not take: ".to_owned(),
            Class::Highatomic => format!(
                "the memory is there, but {}; it should have been given back before the kill{}: ",
                if self.number.counts_free_highatomic() {
                    "free in the highatomic reserve"
                } else {
                    "the test takes off the whole highatomic reserve, free or used (up to 6.11)"
                },
                if self.number.unreserves_at_every_no() {
                    ""
                } else {
                    " (6.8 does so at every \"no\" of the retry test)"
                }
            ),
            Class::OnPcplists => {
                "what is missing is on pcplists, which were not drained: ".to_owned()
            }
            Class::KeptForLower => {
                "lowmem_reserve keeps what is free for requests that can use nothing else: "
                    .to_owned()
            }
            Class::GaveUpEarly => {
                "all zones fail min, though plenty was left to reclaim: ".to_owned()
            }
            Class::Bound => {
                let nodes = self.asked.nodes.as_deref().map(node_list).unwrap_or_default();
                let by = if self.nodes.policy.is_some()
                    || self.report.constraint == Some(Constraint::MemoryPolicy)
                {
                    "a memory policy"
                } else {
                    "the cpuset"
                };
                let missing = if reach.is_empty() { "" } else { ": " };
                format!(
                    "only node {nodes} may be used (by {by}), memory is free elsewhere{missing}"
                )
            }
            Class::Premature
            | Class::Justified
            | Class::Transient
            | Class::NoZone
            | Class::LateKill
            | Class::Memcg
            | Class::NotAnAllocation
            | Class::Broken
            | Class::Unknown => "no zone that the request may use is above min: ".to_owned(),
        }
    }

    fn mends(&self, judged: &mut Judged, reach: &[&Row]) {
        for class in std::iter::once(judged.class).chain(judged.also.clone()) {
            let text = match class {
                Class::Fragmented => {
                    if self.asked.order <= 3 && !self.number.since(4, 9) && self.number.since(4, 7)
                    {
                        "4.7 and 4.8 gave up on compaction's word; 4.9 mended it"
                    } else {
                        "a larger vm.min_free_kbytes, vm.extfrag_threshold, compact_memory; or a caller that takes order 0 (kvmalloc)"
                    }
                }
                Class::CmaOnly => {
                    "a smaller CMA area (cma=), or one that is not in the zone that the kernel lives from"
                }
                Class::Highatomic => {
                    "6.8 gives the reserve back before it gives up; c928807f6f6b (6.12) takes off only its free part"
                }
                Class::OnPcplists => "smaller pcplists (vm.percpu_pagelist_high_fraction)",
                Class::KeptForLower if class == judged.class => {
                    "a larger divisor in vm.lowmem_reserve_ratio lets the request deeper into the lower zones"
                }
                Class::GaveUpEarly if class == judged.class => {
                    "look why reclaim made no progress: dirty or locked pages, a slow or full device, swap"
                }
                Class::Bound => {
                    if self.nodes.policy.is_some()
                        || self.report.constraint == Some(Constraint::MemoryPolicy)
                    {
                        "the policy (preferred instead of bind, or more nodes), not memory"
                    } else {
                        "more nodes in the cpuset, not memory"
                    }
                }
                Class::Justified if class == judged.class => {
                    "more memory or swap, or fewer or smaller tasks"
                }
                Class::KeptForLower
                | Class::GaveUpEarly
                | Class::Justified
                | Class::Premature
                | Class::Transient
                | Class::NoZone
                | Class::LateKill
                | Class::Memcg
                | Class::NotAnAllocation
                | Class::Broken
                | Class::Unknown => continue,
            };
            judged.mends.push(text.to_owned());
        }
        if reach.iter().any(|r| r.without_boost) {
            judged.mends.push("vm.watermark_boost_factor=0 turns the boost off".to_owned());
        }
    }

    /// What was left to reclaim; is it plenty?
    fn left(&self, judged: &mut Judged, reach: &[&Row]) -> bool {
        let page = self.asked.page_kb.max(1);
        let totals = |key: &str| self.report.totals.get(key).copied();
        let by_zone: Option<Vec<u64>> = reach.iter().map(|r| r.file).collect();
        let whole = match (totals("active_file"), totals("inactive_file")) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            _ => None,
        };
        let zoned = by_zone.map(|pages| pages.iter().fold(0_u64, |a, b| a.saturating_add(*b)));
        let is_unbound = !self.is_bound();
        let has_more = reach.len() < judged.zones.len();
        // Shortened zone lines print 0; where all zones are in reach the machine's totals tell.
        let file = match (zoned, whole) {
            (Some(0), Some(whole)) if is_unbound && !has_more => whole,
            (Some(zoned), Some(whole)) => zoned.min(whole),
            (Some(pages), None) | (None, Some(pages)) => pages,
            (None, None) => {
                judged.not_told.push("what was left to reclaim".to_owned());
                return false;
            }
        };
        let slab = totals("slab_reclaimable");
        let managed = sum(reach.iter().map(|r| r.managed)) as u64;

        let all = file.saturating_add(slab.filter(|_| is_unbound).unwrap_or(0));
        let swap = match (self.report.swap_free_kb, self.report.swap_total_kb) {
            (_, Some(0)) => ", no swap".to_owned(),
            (Some(0), Some(total)) => format!(", swap of {total} kB used up"),
            (Some(free), Some(total)) => format!(", {free} of {total} kB of swap free"),
            _ => String::new(),
        };
        let slab =
            slab.map_or_else(String::new, |s| format!(", {s} of reclaimable slab (whole machine)"));
        let percent = all.saturating_mul(100).checked_div(managed).unwrap_or(0);
        let anon = match (totals("active_anon"), totals("inactive_anon")) {
            (Some(a), Some(b)) if managed > 0 && is_unbound => {
                let share = a.saturating_add(b).saturating_mul(100) / managed;
                format!(", {share} % anonymous")
            }
            _ => String::new(),
        };
        judged.notes.push(format!(
            "left to reclaim: {file} file pages{slab}, {} kB or {percent} % of the memory in reach{anon}{swap}",
            self.kb_of(all)
        ));
        all.saturating_mul(PLENTY_SHARE) > managed && all.saturating_mul(page) > PLENTY_KB
    }

    /// Is memory free on nodes that cpuset or policy exclude?
    fn elsewhere(&self, judged: &mut Judged, reach: &[&Row]) -> bool {
        if self.asked.nodes.is_none() {
            return false;
        }
        let rows = &judged.zones;
        let listed: i64 = rows
            .iter()
            .filter(|r| {
                r.out_of_reach.as_deref() == Some("not an allowed node") && r.at_high == Some(true)
            })
            .map(|r| r.usable.min(1 << 50))
            .sum();
        let counted = self.free_elsewhere(rows).unwrap_or(0);
        let high = sum(reach.iter().map(|r| r.high));
        let pages = listed.max(counted);
        if listed == 0 && counted <= high {
            return false;
        }
        judged.notes.push(format!(
            "{} kB are free on other nodes{}",
            self.kb(pages),
            if listed == 0 { ", which the report does not list zone by zone" } else { "" }
        ));
        true
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
fn sum(pages: impl IntoIterator<Item = Option<u64>>) -> i64 {
    pages.into_iter().flatten().map(|p| p.min(1 << 50) as i64).sum()
}
