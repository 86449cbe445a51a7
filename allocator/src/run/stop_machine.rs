//! stop_machine: nobody allocates or frees while zonelists are rebuilt (up to 4.13).
//!
//! **What.** A flag that every context tests at entry and end of an allocation or free and at its
//! race points; who meets it parks there, keeping its zoneref. That is the hole of this variant: a
//! walker that was preempted or asleep goes on with a position in the old array (J4-a).
//!
//! **Differs.** The kernel runs a stopper thread on each CPU with interrupts off. Here a context
//! counts as stopped when it is parked, asleep or outside the allocator. Only the variant
//! `stop-machine` pays for the count.

use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Condvar, Mutex};

/// Who is inside, and whether everybody has to stop.
#[derive(Debug, Default)]
pub struct StopMachine {
    /// Stoppers that want everybody stopped. Read unlocked at each test.
    stopping: AtomicU32,
    /// Contexts inside an allocation or free and not parked.
    inside: Mutex<u32>,
    changed: Condvar,
}

/// Everybody is stopped while this lives.
#[derive(Debug)]
pub struct Stopped<'k>(&'k StopMachine);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let _inside = self.0.inside.lock();
        self.0.stopping.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_all();
    }
}

impl Kernel {
    /// Stops everybody else.
    pub fn stop_all_cpus(&self, cx: &Cx) -> Stopped<'_> {
        let stop = &self.stop_machine;
        // The stopper itself may be inside an allocation no more: hotplug never is.
        debug_assert_eq!(cx.allocator_depth.get(), 0, "stop_machine from inside the allocator");
        let mut inside = stop.inside.lock();
        stop.stopping.fetch_add(1, Ordering::Relaxed);
        while *inside > 0 && !self.clock.is_aborted() {
            let deadline = crate::sync::monotonic_ns() + 10_000_000;
            stop.changed.wait_until(&mut inside, deadline);
        }
        drop(inside);
        Stopped(stop)
    }

    /// Entry of an allocation or free.
    #[inline]
    pub fn allocator_enter(&self, cx: &Cx) {
        if self.counts_inside {
            self.allocator_enter_counted(cx);
        }
    }

    #[cold]
    fn allocator_enter_counted(&self, cx: &Cx) {
        let depth = cx.allocator_depth.get();
        cx.allocator_depth.set(depth + 1);
        if depth == 0 {
            self.join(cx);
        }
    }

    /// End of an allocation or free.
    #[inline]
    pub fn allocator_leave(&self, cx: &Cx) {
        if self.counts_inside {
            let depth = cx.allocator_depth.get() - 1;
            cx.allocator_depth.set(depth);
            if depth == 0 {
                self.part();
            }
        }
    }

    fn join(&self, _cx: &Cx) {
        let stop = &self.stop_machine;
        let mut inside = stop.inside.lock();
        while stop.stopping.load(Ordering::Relaxed) > 0 && !self.clock.is_aborted() {
            stop.changed.wait(&mut inside);
        }
        *inside += 1;
    }

    fn part(&self) {
        let mut inside = self.stop_machine.inside.lock();
        *inside -= 1;
        self.stop_machine.changed.notify_all();
    }

    /// At a race point: parks if everybody has to stop and the context holds no spinlock and no
    /// pcp section.
    #[inline]
    pub fn stop_machine_point(&self, cx: &Cx) {
        if self.counts_inside && self.stop_machine.stopping.load(Ordering::Relaxed) > 0 {
            self.park_for_stop_machine(cx);
        }
    }

    #[cold]
    fn park_for_stop_machine(&self, cx: &Cx) {
        let atomic = cx.pcp_section().is_some() || cx.atomic_depth.get() != 0;
        if cx.allocator_depth.get() > 0 && !atomic && !cx.irqs_are_off() {
            self.part();
            self.join(cx);
        }
    }

    /// Sleeps inside the allocator: a sleeper counts as stopped, and parks once it is awake.
    pub fn sleep_ticks_in_allocator(&self, cx: &Cx, ticks: u64) {
        let counted = self.counts_inside && cx.allocator_depth.get() > 0;
        if counted {
            self.part();
        }
        self.clock.sleep_ticks(ticks);
        if counted {
            self.join(cx);
        }
    }
}
