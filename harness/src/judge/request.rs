//! The request of a report: the mask in words, the highest zone, the nodes.

use allocator::gfp::Gfp;
use allocator::policy::Number;
use report::{Constraint, Mask, Report};
use serde::Serialize;

/// What was asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Request {
    /// Who asked.
    pub comm: String,
    /// Its pid.
    pub pid: Option<u32>,
    /// The mask as printed: `0xcc0(GFP_KERNEL)`.
    pub printed: Option<String>,
    /// Its meaning by that release's bits.
    pub gfp: Option<String>,
    /// The order.
    pub order: Option<i64>,
    /// kB of a page.
    pub page_kb: u64,
    /// `movable`, `unmovable`, `reclaimable`.
    pub migratetype: Option<&'static str>,
    /// Highest zone.
    pub highest_zone: Option<String>,
    /// Zones that the kernel was built with.
    pub zones_built: Vec<String>,
    /// constraint of the summary line.
    pub constraint: Option<&'static str>,
    /// Nodes of the policy, if one is told.
    pub nodemask: Option<Vec<u32>>,
    /// Nodes of the cpuset.
    pub mems_allowed: Option<Vec<u32>>,
    /// The cpuset's name.
    pub cpuset: Option<String>,
    /// What the printed nodemask does not tell.
    pub nodemask_note: Option<String>,
}

/// The release's number, and how it is known if the report doesn't name it.
pub(super) fn number(report: &Report) -> (Number, Option<String>) {
    if let Some(release) = &report.release {
        let number = Number::new(release.major, release.minor);
        let note = release.distribution().map(|distribution| {
            format!("{release} is judged as {number}, its base: what {distribution} changed is not known here")
        });
        return (number, note);
    }
    let field = |key: &str| report.zones.iter().any(|z| z.get(key).is_some());
    let names = report.gfp.as_ref().is_some_and(|g| !g.names.is_empty());
    let least = if field("free_highatomic") {
        Number::new(6, 12)
    } else if field("boost") {
        Number::new(5, 12)
    } else if field("reserved_highatomic") {
        Number::new(5, 6)
    } else if report.constraint.is_some() {
        Number::new(5, 0)
    } else if names {
        Number::new(4, 6)
    } else if field("managed") {
        Number::new(3, 10)
    } else {
        Number::new(2, 6)
    };
    (
        least,
        Some(format!(
            "the release is not told; the form is that of {least} or newer, judged as {least}"
        )),
    )
}

/// Nodes that the request may use: `None` for all.
pub(super) struct Nodes {
    pub(super) policy: Option<Vec<u32>>,
    pub(super) mems: Option<Vec<u32>>,
    pub(super) note: Option<String>,
}

pub(super) fn nodes(report: &Report, number: Number) -> Nodes {
    let list = |mask: &Option<Mask>| match mask {
        Some(Mask::Nodes(nodes)) => Some(nodes.clone()),
        Some(Mask::Null) | None => None,
    };
    let mut found = Nodes {
        policy: list(&report.summary_nodemask),
        mems: report.mems_allowed.clone(),
        note: None,
    };
    let printed = list(&report.request_nodemask);
    if printed.is_some() && number.prints_mems_for_no_nodemask() && printed == found.mems {
        found.note = Some(format!(
            "{number} prints mems_allowed where there is no nodemask: whether a policy binds the request is not told"
        ));
    } else if found.policy.is_none() {
        found.policy = printed;
    }
    found
}

impl Nodes {
    /// Both together.
    pub(super) fn allowed(&self, tests_cpuset: bool) -> Option<Vec<u32>> {
        let mems = self.mems.as_ref().filter(|_| tests_cpuset);
        match (&self.policy, mems) {
            (Some(policy), Some(mems)) => {
                Some(policy.iter().copied().filter(|n| mems.contains(n)).collect())
            }
            (Some(nodes), None) => Some(nodes.clone()),
            (None, Some(nodes)) => Some(nodes.clone()),
            (None, None) => None,
        }
    }
}

/// A list as the kernel prints it.
pub(super) fn node_list(nodes: &[u32]) -> String {
    nodes.iter().copied().collect::<crate::machine::lists::IdList>().to_string()
}

pub(super) fn constraint_word(constraint: Constraint) -> &'static str {
    match constraint {
        Constraint::None => "none",
        Constraint::Cpuset => "cpuset",
        Constraint::MemoryPolicy => "memory-policy",
        Constraint::Memcg => "memcg",
    }
}

/// The names of a mask, in the newest release's words; a number before 4.6 gets its names so.
pub(super) fn gfp_text(report: &Report, gfp: Gfp, number: Number) -> String {
    let names = report.gfp.as_ref().map(|g| g.names.join("|")).unwrap_or_default();
    if !names.is_empty() {
        return names;
    }
    let release = number.preset().unwrap_or(allocator::policy::Release::V4_9);
    let text = gfp.display(release).to_string();
    let inside = text.split_once('(').map_or(text.as_str(), |(_, names)| names);
    inside.trim_end_matches(')').to_owned()
}
