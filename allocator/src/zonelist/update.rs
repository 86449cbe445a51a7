//! zonelist_update_seq: rebuilding zonelists, and how walkers notice.
//!
//! **What.** `build_all_zonelists` (Z1 to Z6), `zonelist_iter_begin`, `check_retry_zonelist`, by
//! the axis `zonelist` (docs/kernel/zonelists.md).
//!
//! **Why a walker must notice.** The arrays are rewritten in place under readers that keep a
//! position; one that is not told takes a shortened list for an empty machine (J4-a). One that
//! waits for the writer can wait for a writer that it interrupted (J4-b), or that waits for it
//! (J4-c).
//!
//! **Source.** mm/page_alloc.c: __build_all_zonelists, zonelist_iter_begin, check_retry_zonelist.
//!
//! **Differs.** See [`crate::zonelist`] for the arrays and the order of stores, and
//! [`crate::run::stop_machine`] for what stopping all CPUs is here.

use crate::oracle::FindingKind;
use crate::policy::zonelist::Around;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Task, count};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role};
use crate::zonelist::{Field, RebuildStep, fallback_order_line};

impl Kernel {
    /// Rebuilds all zonelists at run time, by the variant.
    pub fn build_all_zonelists(&self, cx: &Cx) {
        let _role = As::role(Role::Writer);
        let start = cx.observer.as_ref().map(|_| crate::sync::stamp());
        let around = self.policy.zonelist.around(self.config.preempt_rt);
        if around.sleeps_with_irqs_off {
            let why = "write_seqlock sleeps on PREEMPT_RT and was called with interrupts off.";
            self.find(
                cx,
                FindingKind::InvalidContext,
                "sleeping lock taken with interrupts off",
                &[why.to_owned()],
            );
        }
        // Interrupts first: a handler on this CPU that waits for the stop to end would keep them.
        let irqs = around.irqs_off.then(|| self.irqs_off(cx));
        let stopped = around.stops_machine.then(|| self.stop_all_cpus(cx));
        {
            let _writer = self.zonelist_update_lock.lock();
            if around.seq {
                self.zonelist_update_seq.write_begin();
                cx.writes_zonelists.set(true);
            }
            self.zonelist_writer_cpu.store(u32::from(cx.cpu().0) + 1, Ordering::Relaxed);
            self.zonelist_writer_pid.store(cx.task.pid, Ordering::Relaxed);
            self.point_event(cx, Point::Z1Lock, [u64::from(around.seq), 0, 0]);
            let mut deferred = Vec::new();
            self.rebuild_steps(cx, around, &mut deferred);
            self.zonelist_writer_cpu.store(0, Ordering::Relaxed);
            if around.seq {
                cx.writes_zonelists.set(false);
                self.zonelist_update_seq.write_end();
            }
            self.point(cx, Point::Z5Unlock);
            for line in deferred {
                self.log(&line);
            }
        }
        drop(stopped);
        drop(irqs);
        self.zonelists_built();
        if let (Some(observer), Some(start)) = (&cx.observer, start) {
            observer.span("zonelist_rebuild", start);
        }
        let grouping = if self.grouping_disabled.load(Ordering::Relaxed) { "off" } else { "on" };
        self.printk(
            cx,
            &format!(
                "Built {} zonelists, mobility grouping {grouping}.  Total pages: {}",
                self.machine.nodes.len(),
                self.vm_total_pages()
            ),
        );
        self.irq_point(cx);
    }

    fn rebuild_steps(&self, cx: &Cx, around: Around, deferred: &mut Vec<String>) {
        let view = self.zonelist_view();
        let prints = self.policy.release.prints_fallback_order();
        self.zonelists.rebuild(self.policy.release, &view, |step| match step {
            RebuildStep::Order { .. } => self.irq_point(cx),
            RebuildStep::Store { node, pos, field, .. } => {
                let point = match field {
                    Field::Zone => Point::Z3Zone,
                    Field::Idx => Point::Z3Idx,
                };
                self.point_event(cx, point, [u64::from(node.0), pos as u64, 0]);
                self.irq_point(cx);
            }
            RebuildStep::Built { node, order } => {
                if !prints {
                    return;
                }
                let line = fallback_order_line(node, order);
                self.point(cx, Point::Z3dPrintk);
                if around.defers_printk {
                    deferred.push(line);
                } else {
                    self.printk(cx, &line);
                }
                self.irq_point(cx);
            }
        });
    }

    /// Waits for a rebuild that is inside; the cookie.
    pub(crate) fn zonelist_seq_begin(&self, cx: &Cx) -> u32 {
        if self.zonelist_update_seq.raw() & 1 == 1 {
            cx.event(Point::F2Spin, [0; 3]);
        }
        self.zonelist_update_seq.read_begin(|rounds| {
            count(&cx.stats.seq_spins, 1);
            // A wait that can't end is certain, not a matter of patience; the rounds only keep
            // the check off the common path.
            if rounds % 64 == 0 {
                self.detect_seq_lockup(cx);
            }
            !self.clock.is_aborted()
        })
    }

    /// Does the spinning reader wait for itself?
    #[cold]
    fn detect_seq_lockup(&self, cx: &Cx) {
        let why = if cx.in_interrupt() && cx.writes_zonelists.get() {
            "The interrupt handler spins in zonelist_iter_begin: zonelist_update_seq is odd, and the \
             writer is the code that the interrupt interrupted. It can't run again."
        } else if cx.holds_port_lock.get() && self.console.writer_waits_for_port() {
            "The task holds port->lock and spins in zonelist_iter_begin: zonelist_update_seq is odd, \
             and its writer prints to the console, which waits for port->lock."
        } else {
            return;
        };
        if !self.clock.is_aborted() {
            let title = "lockup on zonelist_update_seq";
            self.find_with(cx, FindingKind::Lockup, title, || self.lockup_report(cx, why));
            self.clock.abort();
        }
    }

    /// Why, and the stacks of both sides, innermost call last.
    fn lockup_report(&self, cx: &Cx, why: &str) -> Vec<String> {
        let task = |t: &Task| format!("{} {} on CPU {}", t.process.comm, t.pid, cx.cpu().0);
        let caller = if cx.in_interrupt() { "irq handler" } else { "tty_write" };
        let reader = format!(
            "reader: {}: {caller} > alloc_pages(GFP_ATOMIC) > S1 > zonelist_iter_begin, spinning",
            task(&cx.task)
        );
        let pid = self.zonelist_writer_pid.load(Ordering::Relaxed);
        let writer = self.tasks.all_threads().into_iter().find(|t| t.pid == pid);
        let writer = writer.unwrap_or_else(|| Arc::clone(&cx.task));
        let cpu = self.zonelist_writer_cpu.load(Ordering::Relaxed).saturating_sub(1);
        let at =
            writer.events.events().into_iter().rev().find(|e| e.point.label().starts_with('Z'));
        let at =
            at.map_or_else(String::new, |e| format!(" > {} {}", e.point.label(), e.describe()));
        let writer = format!(
            "writer: {} {} on CPU {cpu}: build_all_zonelists{at}",
            writer.process.comm, writer.pid
        );
        vec![why.to_owned(), reader, writer]
    }
}
