//! Messages to reports.
//!
//! **What.** A [`Reader`] takes lines as they come and gives a report when it is complete: at the line
//! that says who died, or when the next one begins. Lines of others in between are passed over.
//!
//! **Why.** `journalctl -kf` on a pipe has no end, and a log has many reports.

use crate::lines::{Assembler, Message, has_request};
use crate::tasks;
use crate::value::{Constraint, Gfp, Kind, Mask, Memcg, NodeLine, Reaped, Report, Version, Zone};
use crate::zones::{self, Line};

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A report.
    Report(Box<Report>),
    /// The reaper is done with a victim.
    Reaped(Reaped),
}

/// Functions of a stack trace that are kept.
const MOST_FRAMES: usize = 64;
/// Zones, nodes and tasks that are kept of a report.
const MOST_ROWS: usize = 1 << 15;
/// Zones that are kept: more nodes than any machine has.
const MOST_ZONES: usize = 1 << 10;

/// Reads a log.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    assembler: Assembler,
    open: Option<Report>,
    /// The release that `Linux version` told.
    release: Option<Version>,
    /// The zone whose per-cpu lines are coming.
    per_cpu: Option<(Option<u32>, String, u64)>,
    /// Such sums, for zones that come later.
    pcp_used: Vec<(Option<u32>, String, u64)>,
    fallback: Vec<(u32, Vec<u32>)>,
}

impl Reader {
    /// Looks at a text, or its beginning, for what can't be seen line by line.
    pub fn learn(&mut self, text: &str) {
        self.assembler.learn(text);
    }

    /// Takes a line.
    pub fn push(&mut self, line: &str) -> Vec<Item> {
        let mut items = Vec::new();
        for message in self.assembler.push(line) {
            self.message(&message, &mut items);
        }
        items
    }

    /// Is the last line read possibly the end of a report that is not given yet? Then it is
    /// [`Reader::flush`] that gives it.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Gives what was kept back, as if a new message had begun.
    pub fn flush(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        if let Some(message) = self.assembler.end() {
            self.message(&message, &mut items);
        }
        items
    }

    /// The end of the log.
    pub fn end(&mut self) -> Vec<Item> {
        let mut items = self.flush();
        self.close(&mut items);
        items
    }

    fn close(&mut self, items: &mut Vec<Item>) {
        self.per_cpu = None;
        self.pcp_used.clear();
        if let Some(report) = self.open.take() {
            items.push(Item::Report(Box::new(report)));
        }
    }

    /// The report that is open, or a new one that lacks its beginning.
    fn report(&mut self, message: &Message) -> &mut Report {
        let release = &self.release;
        let report = self.open.get_or_insert_with(|| Report {
            line: message.line,
            time: message.time,
            host: message.host.clone(),
            release: release.clone(),
            ..Report::default()
        });
        report.last_line = message.last_line;
        report
    }

    fn message(&mut self, message: &Message, items: &mut Vec<Item>) {
        let text = message.text.trim();
        if has_request(text) {
            self.request(message, items);
        } else if let Some(line) = zones::line(text) {
            self.zone_line(&line, message);
        } else if !self.memory_line(text, message) && !self.context_line(text, message) {
            self.kill_line(text, message, items);
        }
    }

    fn request(&mut self, message: &Message, items: &mut Vec<Item>) {
        let text = &message.text;
        let marks = [
            (" invoked oom-killer:", Kind::Kill),
            (": page allocation failure", Kind::Failure),
            (": page allocation stalls for", Kind::Stall),
        ];
        let Some((at, mark, kind)) =
            marks.iter().find_map(|(mark, kind)| Some((text.find(mark)?, *mark, *kind)))
        else {
            return;
        };
        let head = &text[..at];
        // Without time stamps a line before may hang on to it: the name is the last word then.
        // `CPU 0/KVM` is a name, too: names have 15 letters at most.
        let begins = head.len() > 15 && crate::lines::begins(head);
        let comm = if begins { head.rsplit(' ').next().unwrap_or(head) } else { head };
        if begins {
            let before =
                Message { text: head[..head.len() - comm.len()].to_owned(), ..message.clone() };
            self.message(&before, items);
        }
        self.close(items);
        let rest = &text[at + mark.len()..];
        let fallback = std::mem::take(&mut self.fallback);
        let comm = comm.trim().to_owned();
        let report = self.report(message);
        report.fallback = fallback;
        (report.kind, report.has_request, report.comm) = (kind, true, comm);
        report.gfp = after(rest, "gfp_mask=").or_else(|| after(rest, "mode:")).and_then(Gfp::parse);
        report.order = after(rest, "order=").or_else(|| after(rest, "order:")).and_then(integer);
        report.oom_score_adj =
            after(rest, "oom_score_adj=").or_else(|| after(rest, "oom_adj=")).and_then(integer);
        report.request_nodemask = after(rest, "nodemask=").and_then(mask);
        cpuset(rest, report);
    }

    fn zone_line(&mut self, line: &Line<'_>, message: &Message) {
        match *line {
            Line::PerCpu(node, name) => {
                self.report(message);
                self.end_per_cpu();
                self.per_cpu = Some((node, name.to_owned(), 0));
            }
            Line::Hugepages(node) => {
                let report = self.report(message);
                report.zones_ended = true;
                if !report.hugepage_nodes.contains(&node) && report.hugepage_nodes.len() < MOST_ROWS
                {
                    report.hugepage_nodes.push(node);
                }
            }
            Line::Node(id, rest) => {
                let (fields, all_unreclaimable) = zones::fields(rest);
                let report = self.report(message);
                if report.nodes.len() < MOST_ROWS {
                    report.nodes.push(NodeLine { id, fields, all_unreclaimable });
                }
            }
            Line::Zone(node, name, rest) => {
                self.end_per_cpu();
                let (fields, all_unreclaimable) = zones::fields(rest);
                let used = self.pcp_used.iter().find(|(n, z, _)| *n == node && z == name);
                let pcp_used = used.map(|(_, _, pages)| *pages);
                let line = message.line;
                let report = self.report(message);
                let name = name.to_owned();
                let zone = Zone {
                    line,
                    node,
                    name,
                    fields,
                    all_unreclaimable,
                    pcp_used,
                    ..Zone::default()
                };
                if report.zones.len() < MOST_ZONES {
                    report.zones.push(zone);
                }
            }
            Line::Blocks(node, name, rest) => {
                let blocks = zones::blocks(rest);
                let report = self.report(message);
                report.zones_ended = true;
                report.elided |= rest.contains("...");
                if let Some(zone) = zones::find(&mut report.zones, node, name) {
                    zone.blocks = blocks;
                } else if let Some(blocks) = blocks
                    && report.zones.len() < MOST_ZONES
                {
                    let zone = Zone {
                        line: message.line,
                        node,
                        name: name.to_owned(),
                        blocks: Some(blocks),
                        ..Zone::default()
                    };
                    report.zones.push(zone);
                }
            }
        }
    }

    fn end_per_cpu(&mut self) {
        if let Some(done) = self.per_cpu.take()
            && self.pcp_used.len() < MOST_ROWS
        {
            self.pcp_used.push(done);
        }
    }

    /// Totals, reserves, swap, RAM, memory cgroup: was it such a line?
    fn memory_line(&mut self, text: &str, message: &Message) -> bool {
        if let Some(rest) = after_word(text, "lowmem_reserve[]:") {
            let reserve = zones::reserve(rest);
            if let Some(zone) = self.report(message).zones.last_mut()
                && zone.reserve.is_empty()
            {
                zone.reserve = reserve;
            }
            return true;
        }
        if let Some(rest) =
            text.strip_prefix("Mem-Info:").or_else(|| text.strip_prefix("Mem-info:"))
        {
            let report = self.report(message);
            report.has_mem_info = true;
            totals(rest, report);
            return true;
        }
        if self.open.is_some() && is_totals(text) {
            totals(text, self.report(message));
            return true;
        }
        if self.per_cpu.is_some() && text.starts_with("CPU") && text.contains("usd:") {
            if let Some((_, _, used)) = self.per_cpu.as_mut() {
                *used = used.saturating_add(
                    after(text, "usd:")
                        .and_then(integer)
                        .and_then(|n| u64::try_from(n).ok())
                        .unwrap_or(0),
                );
            }
            return true;
        }
        if self.open.is_none() {
            return false;
        }
        if let Some(usage) = text.strip_prefix("memory: usage") {
            let memcg = self.report(message).memcg.get_or_insert_with(Memcg::default);
            memcg.usage_kb = usage.split_whitespace().next().and_then(zones::number);
            memcg.limit_kb = after(usage, "limit ")
                .and_then(|l| l.split_whitespace().next())
                .and_then(zones::number);
            return true;
        }
        if let Some(rest) = text.strip_prefix("Memory cgroup stats for ") {
            let path = rest.split(": ").next().unwrap_or(rest).trim_end_matches(':').to_owned();
            let memcg = self.report(message).memcg.get_or_insert_with(Memcg::default);
            memcg.path.get_or_insert(path);
            return true;
        }
        if let Some(rest) = text.strip_prefix("Task in ")
            && let Some((_, limit)) = rest.split_once("limit of ")
        {
            let memcg = self.report(message).memcg.get_or_insert_with(Memcg::default);
            memcg.path = limit.split_whitespace().next().map(str::to_owned);
            return true;
        }
        self.last_line(text, message)
    }

    fn last_line(&mut self, text: &str, message: &Message) -> bool {
        let Some(report) = self.open.as_mut() else { return false };
        let swap = |rest: &str| {
            zones::number(rest.trim_start().strip_prefix('=')?.split_whitespace().next()?)
        };
        if let Some(rest) = text.strip_prefix("Free swap") {
            report.swap_free_kb = swap(rest);
        } else if let Some(rest) = text.strip_prefix("Total swap") {
            report.swap_total_kb = swap(rest);
        } else if text.starts_with(|c: char| c.is_ascii_digit()) {
            let (digits, rest) = text.split_once(' ').unwrap_or((text, ""));
            let Some(pages) = zones::number(digits) else { return false };
            match rest {
                "pages RAM" => report.pages_ram = Some(pages),
                "pages reserved" => report.pages_reserved = Some(pages),
                "pages HighMem/MovableOnly" | "pages HighMem" => report.pages_highmem = Some(pages),
                "pages cma reserved" => report.pages_cma = Some(pages),
                _ if rest.starts_with("total pagecache") || rest.starts_with("pages ") => {}
                _ => return false,
            }
        } else if text == "..." || text == "[...]" || text == "<snip>" || text == "[snip]" {
            report.elided = true;
            return true;
        } else {
            return false;
        }
        report.zones_ended = true;
        report.last_line = message.last_line;
        true
    }

    /// CPU line, cpuset line, stack, fallback orders: was it such a line?
    fn context_line(&mut self, text: &str, message: &Message) -> bool {
        if let Some(rest) = text.strip_prefix("Linux version ") {
            self.release = rest.split_whitespace().next().and_then(Version::parse);
            return true;
        }
        if let Some(rest) = text.strip_prefix("Fallback order for Node ") {
            if let Some((node, order)) = rest.split_once(':')
                && let Ok(node) = node.trim().parse()
            {
                let order = order.split_whitespace().map_while(|n| n.parse().ok()).collect();
                match self.open.as_mut() {
                    Some(report) => report.fallback.push((node, order)),
                    None if self.fallback.len() < MOST_ROWS => self.fallback.push((node, order)),
                    None => {}
                }
            }
            return true;
        }
        let Some(report) = self.open.as_mut() else { return false };
        let is_cpu = text.starts_with("CPU:") || text.starts_with("Pid:");
        if is_cpu && (text.contains("omm:") || text.contains("ainted")) {
            let pid = after(text, "PID: ").or_else(|| after(text, "Pid: "));
            report.pid = pid.and_then(integer).and_then(|n| u32::try_from(n).ok()).or(report.pid);
            report.release = release(text).or(report.release.take());
        } else if text.contains(" cpuset=")
            && text.contains("mems_allowed=")
            && !text.starts_with("oom-kill:")
        {
            cpuset(text, report);
        } else if let Some(rest) = text.strip_prefix("Workqueue:") {
            report.workqueue = Some(rest.trim().to_owned());
        } else if text.contains("+0x") {
            let functions = text.split_whitespace().filter_map(|w| w.split_once("+0x"));
            for (function, _) in functions {
                if report.trace.len() < MOST_FRAMES && !function.is_empty() {
                    report.trace.push(function.trim_start_matches(']').to_owned());
                }
            }
        } else {
            return false;
        }
        report.last_line = message.last_line;
        true
    }

    fn kill_line(&mut self, text: &str, message: &Message, items: &mut Vec<Item>) {
        if let Some(rest) = after_word(text, "oom_reaper: reaped process ") {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            if let Ok(pid) = digits.parse() {
                items.push(Item::Reaped(Reaped { pid }));
            }
            return;
        }
        if let Some(report) = self.open.as_mut() {
            if let Some(header) = tasks::header(text) {
                (report.task_header, report.zones_ended) = (header, true);
                return;
            }
            if text.starts_with('[')
                && let Some(row) = tasks::row(text, &report.task_header)
            {
                if report.tasks.len() < MOST_ROWS {
                    report.tasks.push(row);
                }
                return;
            }
            if text.starts_with("Kernel panic") {
                report.panicked = true;
                self.close(items);
                return;
            }
        }
        if let Some(rest) = text.strip_prefix("oom-kill:") {
            summary(rest, self.report(message));
            return;
        }
        let is_memcg = text.starts_with("Memory cgroup out of memory");
        let is_global = text.starts_with("Out of memory") && !text.contains("no killable");
        if let Some(at) = text.find("Killed process") {
            if self.open.is_none() && !is_memcg && !is_global {
                // Another process of a group or of the same mm; its report is out already.
                return;
            }
            let report = self.report(message);
            (report.zones_ended, report.says_memcg) = (true, report.says_memcg || is_memcg);
            if let Some(mut victim) = tasks::victim(&text[at + "Killed process".len()..]) {
                victim.time = message.time;
                victim.chosen = report.victim.take().and_then(|v| v.chosen);
                report.victim = Some(victim);
            }
            self.close(items);
        } else if (is_memcg || is_global)
            && let Some(at) = text.find("Kill process").or_else(|| text.find("kill process"))
        {
            let chosen = tasks::chosen(&text[at + "Kill process".len()..]);
            let report = self.report(message);
            (report.zones_ended, report.says_memcg) = (true, report.says_memcg || is_memcg);
            if let Some((pid, name)) = chosen.clone() {
                report.victim = Some(crate::value::Victim {
                    pid,
                    name,
                    chosen,
                    time: message.time,
                    ..Default::default()
                });
            }
        }
    }
}

/// What follows the first `key`.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.find(key).map(|at| &text[at + key.len()..])
}

/// What follows `word` at the text's beginning.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.strip_prefix(word)
}

fn integer(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with('-'));
    let end = text[sign..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |e| e + sign);
    text[..end].parse().ok()
}

/// A mask up to the next `key=` or the line's end.
fn mask(text: &str) -> Option<Mask> {
    let end = text.find(|c: char| c.is_ascii_alphabetic() && c != 'n' && c != 'u' && c != 'l');
    let until = end.unwrap_or(text.len());
    let list = text[..until].split(' ').next().unwrap_or_default();
    Mask::parse(list)
}

/// `cpuset=/ mems_allowed=0-3` or `cpuset=/,mems_allowed=0-3`.
fn cpuset(text: &str, report: &mut Report) {
    if let Some(name) = after(text, "cpuset=") {
        let end = name
            .find(" mems_allowed")
            .or_else(|| name.find(",mems_allowed"))
            .or_else(|| name.find([' ', ',']));
        report.cpuset = Some(name[..end.unwrap_or(name.len())].to_owned());
    }
    if let Some(Mask::Nodes(nodes)) = after(text, "mems_allowed=").and_then(mask) {
        report.mems_allowed = Some(nodes);
    }
}

/// A line of `key:pages` and nothing else: each line of the totals has a time stamp of its own.
pub(crate) fn is_totals(text: &str) -> bool {
    let is_pair = |word: &str| {
        word.split_once(':').is_some_and(|(key, value)| {
            let is_key = key.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
            let is_number = value.bytes().all(|b| b.is_ascii_digit());
            !key.is_empty() && is_key && !value.is_empty() && is_number
        })
    };
    let mut words = text.split_whitespace();
    words.next().is_some_and(is_pair) && words.next().is_none_or(is_pair)
}

fn totals(text: &str, report: &mut Report) {
    for (key, value) in zones::fields(text).0 {
        report.totals.entry(key.to_ascii_lowercase()).or_insert(value);
    }
}

/// `constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,...,task=hog,pid=1,uid=0`
fn summary(text: &str, report: &mut Report) {
    report.zones_ended = true;
    report.constraint = after(text, "constraint=CONSTRAINT_").and_then(|word| {
        let kinds = [
            ("NONE", Constraint::None),
            ("CPUSET", Constraint::Cpuset),
            ("MEMORY_POLICY", Constraint::MemoryPolicy),
            ("MEMCG", Constraint::Memcg),
        ];
        kinds.iter().find(|(name, _)| word.starts_with(name)).map(|(_, kind)| *kind)
    });
    report.summary_nodemask = after(text, "nodemask=").and_then(mask);
    cpuset(text, report);
    if let Some(path) = after(text, "oom_memcg=") {
        let path = path.split(",task_memcg=").next().unwrap_or(path).to_owned();
        report.memcg.get_or_insert_with(Memcg::default).path.get_or_insert(path);
    }
    if let Some(task) = after(text, ",task=")
        && let Some((name, rest)) = task.rsplit_once(",pid=")
        && let Some(pid) = integer(rest).and_then(|pid| u32::try_from(pid).ok())
    {
        report.summary_victim = Some((pid, name.to_owned()));
    }
}

/// The release of a CPU line: what stands before `#1`.
fn release(text: &str) -> Option<Version> {
    let tainted = text.find("ainted").unwrap_or(0);
    let words: Vec<&str> = text[tainted..].split_whitespace().collect();
    let number = |w: &&str| w.starts_with('#') && w[1..].starts_with(|c: char| c.is_ascii_digit());
    let before = words.iter().position(number).and_then(|at| at.checked_sub(1));
    before
        .and_then(|at| Version::parse(words[at]))
        .or_else(|| words.iter().find_map(|w| Version::parse(w)))
}
