//! No zone passes: what is behind it, what was left, and what would mend it.
//!
//! **Why.** "All zones fail min" is where the questions begin: was it order, CMA, a reserve, another
//! node's memory, or reclaim that gave up?

use allocator::gfp::Gfp;
use report::Constraint;

use super::Judged;
use super::class::Class;
use super::decide::{Case, sum};
use super::request::node_list;
use super::zones::Row;

/// A zone that is kept counts as the reason only if it holds this share of what is in reach.
const KEPT_SHARE: i64 = 50;
/// File pages of a tenth of the memory in reach, and 32 MiB, are plenty.
const PLENTY_SHARE: u64 = 10;
const PLENTY_KB: u64 = 32 << 10;

impl Case<'_> {
    /// No zone in reach passes at min: what is behind it?
    pub(super) fn none_passes(&self, judged: &mut Judged, reach: &[&Row]) {
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
    pub(super) fn left(&self, judged: &mut Judged, reach: &[&Row]) -> bool {
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
            (Some(a), Some(b)) if managed > 0 && is_unbound && !has_more => {
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
    pub(super) fn elsewhere(&self, judged: &mut Judged, reach: &[&Row]) -> bool {
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
}
