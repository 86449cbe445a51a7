//! The report of an OOM kill (`dump_header`, `dump_tasks`, the summary line), in each release's
//! form.
//!
//! **What.** docs/kernel/oom.md#e6's log formats. The lines are built as text first; who prints
//! them charges the console.
//!
//! **Source.** mm/oom_kill.c; include/linux/oom.h.
//!
//! **Differs.** No stack trace. For no nodemask `(null)` is printed, up to 4.10 mems_allowed.

use crate::nodemask::NodeMask;
use crate::oom::OomControl;
use crate::oom::usage::MmUsage;
use crate::policy::release::{OomHeader, OomTaskTable};
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Process, Task};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;

/// A node list as `%*pbl` prints it: `(null)` for no mask.
pub fn nodemask_text(nodes: Option<&NodeMask>) -> String {
    nodes.map_or_else(|| "(null)".to_owned(), NodeMask::to_string)
}

impl Kernel {
    /// The whole report: header, Mem-Info, tasks and, from 5.0 on and with a victim, the summary.
    pub fn dump_header(
        &self,
        cx: &Cx,
        oc: &OomControl<'_>,
        victim: Option<&Arc<Process>>,
    ) -> Vec<String> {
        let nodes = oc.nodemask.load();
        let mut lines = self.invoked_lines(cx, oc, nodes.as_ref());
        lines.push(format!(
            "CPU: {} PID: {} Comm: {} Not tainted {}",
            cx.cpu(),
            cx.task.pid,
            cx.task.process.comm,
            self.policy.release.version(),
        ));
        lines.push(format!("Hardware name: model of {}", self.machine.name));
        lines.extend(self.mem_info(cx, nodes.as_ref(), oc.highest));
        self.dump_tasks(cx, oc, &mut lines);
        if let (Some(victim), OomHeader::Summary) = (victim, self.policy.release.oom_header()) {
            lines.push(self.summary_line(cx, oc, nodes.as_ref(), victim));
        }
        lines
    }

    fn invoked_lines(&self, cx: &Cx, oc: &OomControl<'_>, nodes: Option<&NodeMask>) -> Vec<String> {
        let comm = &cx.task.process.comm;
        let gfp = oc.gfp.display(self.policy.release);
        let order = oc.order;
        let adj = cx.task.process.oom_score_adj.load(Ordering::Relaxed);
        let nodemask = nodemask_text(nodes);
        let invoked = format!("{comm} invoked oom-killer: gfp_mask={gfp}");
        let rest = format!("order={order}, oom_score_adj={adj}");
        let cpuset = cpuset_name(&cx.task);
        let mems = cx.task.mems_allowed.load();
        let cpuset_line = format!("{comm} cpuset={cpuset} mems_allowed={mems}");
        match self.policy.release.oom_header() {
            OomHeader::NodemaskOrMems => {
                let nodemask = nodes.map_or_else(|| mems.to_string(), NodeMask::to_string);
                vec![format!("{invoked}, nodemask={nodemask}, {rest}"), cpuset_line]
            }
            OomHeader::NodemaskTwoBlanks => {
                vec![format!("{invoked}, nodemask={nodemask},  {rest}"), cpuset_line]
            }
            OomHeader::NodemaskOneBlank => {
                vec![format!("{invoked}, nodemask={nodemask}, {rest}"), cpuset_line]
            }
            OomHeader::Summary => vec![format!("{invoked}, {rest}")],
        }
    }

    /// Eligible processes that still have an mm.
    fn dump_tasks(&self, cx: &Cx, oc: &OomControl<'_>, lines: &mut Vec<String>) {
        let table = self.policy.release.oom_task_table();
        lines.extend(table_head(table).iter().map(|&line| line.to_owned()));
        for process in self.tasks.snapshot() {
            if self.is_oom_unkillable(&process) || !self.is_oom_eligible(cx, &process, oc) {
                continue;
            }
            if let Some((task, mm)) = process.find_task_mm() {
                lines.push(table_row(table, &task, &MmUsage::of(&mm)));
            }
        }
    }

    fn summary_line(
        &self,
        cx: &Cx,
        oc: &OomControl<'_>,
        nodes: Option<&NodeMask>,
        victim: &Process,
    ) -> String {
        format!(
            "oom-kill:constraint={},nodemask={},cpuset={},mems_allowed={},global_oom,\
             task_memcg=/,task={},pid={},uid={}",
            oc.constraint.name(),
            nodemask_text(nodes),
            cpuset_name(&cx.task),
            cx.task.mems_allowed.load(),
            victim.comm,
            victim.tgid,
            victim.uid,
        )
    }
}

/// The cgroup's own name, as `cpuset=` prints it: `/` for the root.
fn cpuset_name(task: &Task) -> String {
    let path = task.cpuset.lock().name.clone();
    match path.rsplit('/').next() {
        Some("") | None => "/".to_owned(),
        Some(name) => name.to_owned(),
    }
}

fn table_head(table: OomTaskTable) -> &'static [&'static str] {
    match table {
        OomTaskTable::NrPtes => {
            &["[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name"]
        }
        OomTaskTable::PgtablesBytes => {
            &["[ pid ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"]
        }
        OomTaskTable::TasksState => &[
            "Tasks state (memory values in pages):",
            "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
        ],
        OomTaskTable::RssSplit => &[
            "Tasks state (memory values in pages):",
            "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes \
             swapents oom_score_adj name",
        ],
    }
}

fn table_row(table: OomTaskTable, task: &Task, u: &MmUsage) -> String {
    let (pid, process) = (task.pid, &task.process);
    let (uid, tgid, comm) = (process.uid, process.tgid, &process.comm);
    let adj = process.oom_score_adj.load(Ordering::Relaxed);
    let ids = format!("{uid:>5} {tgid:>5} {:>8} {:>8}", u.total_vm, u.rss());
    let tail = format!("{:>8}         {adj:>5} {comm}", u.swapents);
    let tables = u.pgtables_bytes;
    match table {
        OomTaskTable::NrPtes => {
            // One PMD page at least; the rest are page tables.
            let pages = tables / crate::ids::PAGE_SIZE;
            let pmds = pages.min(1 + pages / 513);
            format!("[{pid:>5}] {ids} {:>7} {pmds:>7} {tail}", pages - pmds)
        }
        OomTaskTable::PgtablesBytes => format!("[{pid:>5}] {ids} {tables:>8} {tail}"),
        OomTaskTable::TasksState => format!("[{pid:>7}] {ids} {tables:>8} {tail}"),
        OomTaskTable::RssSplit => format!(
            "[{pid:>7}] {ids} {:>8} {:>8} {:>9} {tables:>8} {tail}",
            u.anon, u.file, u.shmem
        ),
    }
}
