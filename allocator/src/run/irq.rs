//! Interrupts, and the console with its port lock.
//!
//! **What.** An interrupt that is due on a CPU runs on the stack of the task that is on that CPU,
//! at its next irq point with interrupts on. Its handler makes one GFP_ATOMIC request. The console
//! is a serial port whose driver takes port->lock for each line (docs/kernel/zonelists.md#f3).
//!
//! **Why so.** The deadlocks of change 4 are about who is underneath whom on one CPU: the reader
//! spins on a sequence that the code under it made odd.
//!
//! **Differs.** "Interrupts off" is the CPU's section lock (ARCHITECTURE.md#the-execution-model):
//! two tasks of one model CPU may both run, so code with interrupts off holds the lock, and an
//! interrupt is delivered only if it can be taken.

use crate::gfp::Gfp;
use crate::ids::Pfn;
use crate::page_alloc::Nodemask;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, count};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::lock::named;
use crate::sync::{Lock, LockGuard, Mutex};

/// The console.
#[derive(Debug, Default)]
pub struct Console {
    /// port->lock of the serial port, which a pty write holds, too.
    port_lock: Lock<named::Port, ()>,
    /// A zonelist writer prints and waits for port->lock.
    writer_waits: AtomicBool,
    /// The last lines, for reports and tests.
    lines: Mutex<Vec<String>>,
}

/// Lines that the log keeps.
const LOG_LINES: usize = 256;

impl Console {
    /// Does a zonelist writer wait for port->lock?
    pub fn writer_waits_for_port(&self) -> bool {
        self.writer_waits.load(Ordering::Relaxed)
    }
}

/// Interrupts are off on the context's CPU while this lives.
#[derive(Debug)]
pub struct IrqsOff<'k> {
    cx: &'k Cx,
    _section: Option<LockGuard<'k, named::Irq, ()>>,
}

impl Drop for IrqsOff<'_> {
    fn drop(&mut self) {
        self.cx.add_irqs_off(-1);
    }
}

impl Kernel {
    /// Switches interrupts off on this CPU (nests).
    pub fn irqs_off<'k>(&'k self, cx: &'k Cx) -> IrqsOff<'k> {
        let section = (!cx.irqs_are_off()).then(|| self.cpus[cx.cpu().index()].irq_section.lock());
        cx.add_irqs_off(1);
        IrqsOff { cx, _section: section }
    }

    /// An interrupt is due on a CPU.
    pub fn raise_irq(&self, cpu: crate::ids::CpuId) {
        self.cpus[cpu.index()].pending_irqs.fetch_add(1, Ordering::Relaxed);
    }

    /// An irq point: delivers what is due, if interrupts are on.
    #[inline]
    pub fn irq_point(&self, cx: &Cx) {
        if self.cpus[cx.cpu().index()].pending_irqs.load(Ordering::Relaxed) > 0 {
            self.deliver_irqs(cx);
        }
    }

    #[cold]
    fn deliver_irqs(&self, cx: &Cx) {
        if cx.irqs_are_off() || cx.in_interrupt() {
            return;
        }
        let cpu = &self.cpus[cx.cpu().index()];
        let Some(section) = cpu.irq_section.try_lock() else { return };
        let due = cpu.pending_irqs.swap(0, Ordering::Relaxed);
        cx.add_irqs_off(1);
        for _ in 0..due {
            if self.clock.is_aborted() {
                break;
            }
            count(&cx.stats.irqs, 1);
            self.point(cx, Point::IrqHandler);
            let page = cx.interrupt(|| self.atomic_request(cx));
            cx.event(Point::IrqDone, [u64::from(page.is_some()), 0, 0]);
            if let Some(pfn) = page {
                cx.interrupt(|| self.free_pages(cx, pfn, 0));
            }
        }
        cx.add_irqs_off(-1);
        drop(section);
    }

    /// A handler's request: order 0, GFP_ATOMIC, forced into the slow path if the run says so.
    fn atomic_request(&self, cx: &Cx) -> Option<Pfn> {
        let start = cx.observer.as_ref().map(|_| crate::sync::stamp());
        let mut gfp = Gfp::atomic(self.policy.release) | Gfp::NOWARN;
        if self.config.irq_this_node {
            gfp |= Gfp::THISNODE;
        }
        let page = self.alloc_pages_for_irq(cx, gfp);
        if let (Some(observer), Some(start)) = (&cx.observer, start) {
            observer.span("atomic_alloc", start);
        }
        if page.is_none() {
            count(&cx.stats.atomic_failures, 1);
        }
        page
    }

    fn alloc_pages_for_irq(&self, cx: &Cx, gfp: Gfp) -> Option<Pfn> {
        let nid = self.cpu_node(cx.cpu());
        if self.config.irq_forces_slow_path {
            self.alloc_pages_forced_slow(cx, gfp, 0, nid, Nodemask::None)
        } else {
            self.alloc_pages(cx, gfp, 0, nid, Nodemask::None)
        }
    }

    /// printk to the console, synchronously: the serial driver takes port->lock for the line, and
    /// each character takes its time.
    pub fn printk(&self, cx: &Cx, line: &str) {
        self.log(line);
        if self.config.console_ns_per_char == 0 && !self.config.console_port {
            return;
        }
        self.point(cx, Point::TtyWait);
        let writer = cx.writes_zonelists.get();
        if writer {
            self.console.writer_waits.store(true, Ordering::Relaxed);
        }
        let port = self.lock_port();
        if writer {
            self.console.writer_waits.store(false, Ordering::Relaxed);
        }
        self.charge(cx, self.config.console_ns_per_char * line.len() as u64);
        drop(port);
    }

    /// Takes port->lock, unless the run is aborted meanwhile.
    fn lock_port(&self) -> Option<LockGuard<'_, named::Port, ()>> {
        if cfg!(feature = "explore") {
            return Some(self.console.port_lock.lock());
        }
        let mut spin = crate::sync::SpinRounds::default();
        loop {
            if let Some(guard) = self.console.port_lock.try_lock() {
                return Some(guard);
            }
            if self.clock.is_aborted() {
                return None;
            }
            spin.wait(crate::sync::ObjId::of(&self.console.port_lock));
        }
    }

    /// A pty write: takes port->lock with interrupts off and allocates its buffer atomically
    /// under it (D-printk's other half).
    pub fn tty_write(&self, cx: &Cx) {
        let irqs = self.irqs_off(cx);
        let port = self.lock_port();
        cx.holds_port_lock.set(port.is_some());
        self.point(cx, Point::TtyLock);
        let page = self.alloc_pages_for_irq(cx, Gfp::atomic(self.policy.release) | Gfp::NOWARN);
        if let Some(pfn) = page {
            self.free_pages(cx, pfn, 0);
        }
        cx.holds_port_lock.set(false);
        drop(port);
        drop(irqs);
    }

    /// Adds a line to the log without any console.
    pub fn log(&self, line: &str) {
        let mut lines = self.console.lines.lock();
        if lines.len() == LOG_LINES {
            lines.remove(0);
        }
        lines.push(line.to_owned());
    }

    /// The last lines of the log.
    pub fn dmesg(&self) -> Vec<String> {
        self.console.lines.lock().clone()
    }
}
