//! Who should have died: badness by the report's own table of tasks.
//!
//! **Source.** mm/oom_kill.c, oom_badness and constrained_alloc, by release (docs/kernel/oom.md#e5).

use allocator::policy::Number;
use report::{Constraint, Report, TaskRow};
use serde::Serialize;

/// What the table says about the victim.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Who died.
    pub pid: Option<u32>,
    /// Its name.
    pub name: Option<String>,
    /// Its badness, in pages.
    pub points: Option<i64>,
    /// Who has the highest badness of the table.
    pub highest: Option<(u32, String, i64)>,
    /// Is that who died? `None`: not checked.
    pub agrees: Option<bool>,
    /// In words.
    pub text: String,
}

/// Checks the victim; `None` if the report names none.
pub fn check(report: &Report, number: Number, page_kb: u64) -> Option<Check> {
    let died = report.victim.as_ref().map(|v| (v.pid, v.name.clone()));
    let chosen = report.victim.as_ref().and_then(|v| v.chosen.clone());
    let (pid, name) =
        chosen.clone().or_else(|| report.summary_victim.clone()).or_else(|| died.clone())?;
    let mut found = Check {
        pid: Some(pid),
        name: Some(name.clone()),
        points: None,
        highest: None,
        agrees: None,
        text: String::new(),
    };
    let unchecked = |why: &str| format!("{name} ({pid}) died; not checked: {why}");
    if report.tasks.is_empty() {
        found.text = unchecked("the report has no table of tasks");
        return Some(found);
    }
    if !number.badness_is_rss() {
        found.text = unchecked("badness of 2.6 goes by more than the table shows");
        return Some(found);
    }
    let any_adj = report.tasks.iter().any(|t| column(t, "oom_score_adj") != 0);
    let Some(total) = total_pages(report, page_kb).or((!any_adj).then_some(0)) else {
        found.text = unchecked("oom_score_adj counts by the machine's pages, which are not told");
        return Some(found);
    };
    let points = |task: &TaskRow| badness(task, number, total, page_kb);
    let mut highest: Option<(&TaskRow, i64)> = None;
    for task in &report.tasks {
        let Some(points) = points(task) else { continue };
        let wins = highest.is_none_or(|(_, most)| {
            points > most || (points == most && number.tie_goes_to_later())
        });
        if wins {
            highest = Some((task, points));
        }
    }
    let row = report
        .tasks
        .iter()
        .find(|t| t.pid == pid || t.columns.get("tgid") == Some(&i64::from(pid)));
    let Some((worst, most)) = highest else {
        found.text = unchecked("no task of the table may be killed");
        return Some(found);
    };
    found.highest = Some((worst.pid, worst.name.clone(), most));
    let Some(row) = row else {
        found.text = unchecked("it is not in the table, so rows are missing");
        return Some(found);
    };
    found.points = points(row);
    let same = row.pid == worst.pid || found.points == Some(most);
    found.agrees = Some(same);
    found.text = if same {
        let of = report.tasks.len();
        format!("{name} ({pid}) has the highest badness of the {of} tasks listed: {most} pages")
    } else {
        let own = found.points.map_or_else(|| "none".to_owned(), |p| format!("{p} pages"));
        let asked = report.pid == Some(pid);
        let perhaps = if asked {
            "; it asked itself: vm.oom_kill_allocating_task would explain it"
        } else {
            "; a table with rows left out, or a task that was dying already, would explain it"
        };
        format!(
            "{name} ({pid}) died with badness {own}; by the table it should have been {} ({}) with {most} pages{perhaps}",
            worst.name, worst.pid
        )
    };
    if let (Some((child, child_name)), Some((parent, _))) = (&died, &chosen)
        && child != parent
    {
        found.text += &format!("; its child {child_name} ({child}) died in its place (up to 5.0)");
    }
    Some(found)
}

fn column(task: &TaskRow, name: &str) -> i64 {
    task.columns.get(name).copied().unwrap_or(0)
}

/// Pages that oom_score_adj is a share of.
fn total_pages(report: &Report, page_kb: u64) -> Option<i64> {
    let swap = report.swap_total_kb? / page_kb.max(1);
    let pages = match report.constraint {
        Some(Constraint::Memcg) => report.memcg.as_ref()?.limit_kb? / page_kb.max(1),
        Some(Constraint::Cpuset | Constraint::MemoryPolicy) => {
            let present: Option<Vec<u64>> = report.zones.iter().map(|z| z.get("present")).collect();
            let kb = present?.iter().fold(0_u64, |a, b| a.saturating_add(*b));
            (kb / page_kb.max(1)).saturating_add(swap)
        }
        Some(Constraint::None) | None => {
            report.pages_ram?.checked_sub(report.pages_reserved?)?.saturating_add(swap)
        }
    };
    i64::try_from(pages).ok()
}

/// Badness of a row; `None` for a task that may not be killed.
fn badness(task: &TaskRow, number: Number, total: i64, page_kb: u64) -> Option<i64> {
    let adj = column(task, "oom_score_adj");
    if adj == -1000 {
        return None;
    }
    let tables = match task.columns.get("pgtables_bytes") {
        Some(bytes) => bytes / (page_kb.max(1) as i64 * 1024),
        None => column(task, "nr_ptes").saturating_add(column(task, "nr_pmds")),
    };
    let mut points =
        column(task, "rss").saturating_add(column(task, "swapents")).saturating_add(tables);
    if number.badness_favours_root() && column(task, "uid") == 0 {
        points -= points / 100 * 3;
    }
    Some(points.saturating_add(adj.saturating_mul(total / 1000)))
}
