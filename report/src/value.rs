//! What a report says, as plain values.
//!
//! **Why.** One shape for all releases and all ways to paste. A field that was not there is `None` or
//! empty; whoever reads decides whether it matters.

use std::collections::BTreeMap;
use std::fmt;

/// What kind of report it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// `invoked oom-killer`: the killer was called.
    #[default]
    Kill,
    /// `page allocation failure`: a request failed, nobody was killed.
    Failure,
    /// `page allocation stalls for`: a request waits (4.10 to 4.14).
    Stall,
}

/// A release number with what a distribution adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As printed.
    pub text: String,
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

impl Version {
    /// Reads `4.18.0-348.el8.x86_64`; `None` if it does not begin with two numbers.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, minor) = (major.parse().ok()?, rest[..end].parse().ok()?);
        (2..100).contains(&major).then(|| Self { text: text.to_owned(), major, minor })
    }

    /// The distribution whose kernel is known to differ from its number: `el8` for instance.
    pub fn distribution(&self) -> Option<&str> {
        let after = self.text.split_once('-')?.1;
        let mut words = after.split(['.', '-', '_', '+']);
        let is = |w: &&str| {
            (w.starts_with("el") && w[2..].starts_with(|c: char| c.is_ascii_digit()))
                || ["generic", "default", "amd64", "arm64", "amzn1", "amzn2", "azure", "aws", "gcp"]
                    .contains(w)
                || w.starts_with("fc")
                || w.starts_with("amzn")
        };
        words.find(is)
    }
}

/// A gfp mask as printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gfp {
    /// The number.
    pub bits: u64,
    /// The names, in their order; empty before 4.6, where none were printed.
    pub names: Vec<String>,
}

/// A node mask as printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// `(null)`.
    Null,
    /// A list, ascending.
    Nodes(Vec<u32>),
}

impl Mask {
    /// Reads `(null)` or `0-1,3`; `None` for what is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches(',');
        if text.starts_with("(null)") || text == "null" {
            return Some(Self::Null);
        }
        let mut nodes = Vec::new();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
            if to < from || to > 4096 || nodes.len() > 8192 {
                return None;
            }
            nodes.extend(from..=to);
        }
        nodes.sort_unstable();
        nodes.dedup();
        (!nodes.is_empty()).then_some(Self::Nodes(nodes))
    }
}

/// `constraint=` of the summary line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// Nothing but the machine.
    None,
    /// The nodes of a cpuset.
    Cpuset,
    /// The nodes of a memory policy.
    MemoryPolicy,
    /// A memory cgroup's limit.
    Memcg,
}

/// Free blocks of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// Size of the smallest block, the page: kB.
    pub page_kb: u64,
    /// For each order: how many, and the letters of the types that have some.
    pub orders: Vec<(u64, String)>,
    /// The sum printed behind `=`, in kB.
    pub total_kb: Option<u64>,
}

/// A zone's line, its lowmem_reserve and its free blocks. kB, where not said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Line of the input, from 1.
    pub line: usize,
    /// Its node; `None` where the kernel has no NUMA and prints none.
    pub node: Option<u32>,
    /// `DMA`, `DMA32`, `Normal`, `HighMem`, `Movable`, `Device`.
    pub name: String,
    /// All `key:value` of the line.
    pub fields: BTreeMap<String, u64>,
    /// `all_unreclaimable?`
    pub all_unreclaimable: Option<bool>,
    /// lowmem_reserve by highest zone, in pages; empty if there was none.
    pub reserve: Vec<u64>,
    /// Free blocks.
    pub blocks: Option<Blocks>,
    /// Sum of `usd:` of the per-cpu lines, in pages (up to 4.1).
    pub pcp_used: Option<u64>,
}

impl Zone {
    /// A field in kB.
    pub fn get(&self, key: &str) -> Option<u64> {
        self.fields.get(key).copied()
    }

    /// `Node 1 Normal`, or `Normal`.
    pub fn title(&self) -> String {
        match self.node {
            Some(node) => format!("Node {node} {}", self.name),
            None => self.name.clone(),
        }
    }
}

/// A node's line (4.8 on), in kB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLine {
    /// The node.
    pub id: u32,
    /// All `key:value` of it.
    pub fields: BTreeMap<String, u64>,
    /// `all_unreclaimable?`
    pub all_unreclaimable: Option<bool>,
}

/// What a memory cgroup's part says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memcg {
    /// Whose limit, `/box`.
    pub path: Option<String>,
    /// `memory: usage`, kB.
    pub usage_kb: Option<u64>,
    /// `memory: ... limit`, kB.
    pub limit_kb: Option<u64>,
}

/// A row of the task table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskRow {
    /// Thread whose mm was found.
    pub pid: u32,
    /// Name.
    pub name: String,
    /// The other columns by the header's words.
    pub columns: BTreeMap<String, i64>,
}

/// The process that died.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Victim {
    /// Its pid.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// When, in the time of the log.
    pub time: Option<f64>,
    /// `total-vm`, `anon-rss`, `file-rss`, `shmem-rss`, `pgtables`: kB.
    pub fields: BTreeMap<String, u64>,
    /// The process that was chosen (`Kill process ... or sacrifice child`), if told apart.
    pub chosen: Option<(u32, String)>,
}

impl Victim {
    /// Memory that its end gives back, in kB, as far as told.
    pub fn rss_kb(&self) -> Option<u64> {
        let told: Vec<u64> = ["anon-rss", "file-rss", "shmem-rss"]
            .iter()
            .filter_map(|key| self.fields.get(*key).copied())
            .collect();
        (!told.is_empty()).then(|| told.iter().fold(0_u64, |a, b| a.saturating_add(*b)))
    }
}

/// `oom_reaper: reaped process`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Whose memory.
    pub pid: u32,
}

/// A report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Kill, failure or stall.
    pub kind: Kind,
    /// Line of the input that it begins on, from 1.
    pub line: usize,
    /// Last line that belonged to it.
    pub last_line: usize,
    /// When it began, in seconds of the log's own time.
    pub time: Option<f64>,
    /// The host in the log's prefix.
    pub host: Option<String>,
    /// Was the request line there?
    pub has_request: bool,
    /// Who asked.
    pub comm: String,
    /// Its pid, of the CPU line.
    pub pid: Option<u32>,
    /// The mask.
    pub gfp: Option<Gfp>,
    /// The order; -1: by hand.
    pub order: Option<i64>,
    /// `nodemask=` of the request line (4.6 to 4.20; failures from 4.11 on).
    pub request_nodemask: Option<Mask>,
    /// `nodemask=` of the summary line.
    pub summary_nodemask: Option<Mask>,
    /// `oom_score_adj=` (or oom_adj) of who asked.
    pub oom_score_adj: Option<i64>,
    /// The cpuset's name.
    pub cpuset: Option<String>,
    /// The asking task's mems_allowed.
    pub mems_allowed: Option<Vec<u32>>,
    /// Of the CPU line, or of `Linux version` before.
    pub release: Option<Version>,
    /// `Workqueue:`
    pub workqueue: Option<String>,
    /// Functions of the stack trace, innermost first.
    pub trace: Vec<String>,
    /// Was `Mem-Info:` there?
    pub has_mem_info: bool,
    /// Totals of the machine, in pages.
    pub totals: BTreeMap<String, u64>,
    /// Node lines.
    pub nodes: Vec<NodeLine>,
    /// Zones in their order.
    pub zones: Vec<Zone>,
    /// Did anything that follows the zone lines come (block lists, swap, tasks, the kill)?
    pub zones_ended: bool,
    /// Nodes with hugepages lines.
    pub hugepage_nodes: Vec<u32>,
    /// `Fallback order for Node N`.
    pub fallback: Vec<(u32, Vec<u32>)>,
    /// `Free swap`, kB.
    pub swap_free_kb: Option<u64>,
    /// `Total swap`, kB.
    pub swap_total_kb: Option<u64>,
    /// `pages RAM`.
    pub pages_ram: Option<u64>,
    /// `pages reserved`.
    pub pages_reserved: Option<u64>,
    /// `pages HighMem/MovableOnly`.
    pub pages_highmem: Option<u64>,
    /// `pages cma reserved`.
    pub pages_cma: Option<u64>,
    /// The memory cgroup's part.
    pub memcg: Option<Memcg>,
    /// `constraint=`.
    pub constraint: Option<Constraint>,
    /// Is it said that the limit of a memory cgroup was hit?
    pub says_memcg: bool,
    /// Words of the task table's header; empty if there was none.
    pub task_header: Vec<String>,
    /// Rows.
    pub tasks: Vec<TaskRow>,
    /// `task=`/`pid=` of the summary line: who was chosen.
    pub summary_victim: Option<(u32, String)>,
    /// Who died.
    pub victim: Option<Victim>,
    /// Did the kernel panic for it?
    pub panicked: bool,
    /// Were there lines of dots, by which posters shorten?
    pub elided: bool,
}

impl Report {
    /// Size of a page in kB by the first block list.
    pub fn page_kb(&self) -> Option<u64> {
        self.zones.iter().find_map(|z| z.blocks.as_ref()).map(|b| b.page_kb)
    }

    /// Is the function on the stack?
    pub fn calls(&self, function: &str) -> bool {
        self.trace.iter().any(|f| f == function || f.starts_with(&format!("{function}.")))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
