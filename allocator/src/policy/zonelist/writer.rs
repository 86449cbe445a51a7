//! What keeps readers out of a rebuild, by the variants of the axis `zonelist`.
//!
//! **What.** What stands around the stores of build_all_zonelists (docs/kernel/zonelists.md#f1; Z1,
//! Z5).
//!
//! **Why.** Where interrupts stay on, or printing waits for a lock, the writer can be kept from
//! ending what its readers wait for.
//!
//! **Source.** mm/page_alloc.c: build_all_zonelists, __build_all_zonelists.
//!
//! **Differs.** What stopping all CPUs is here: [`crate::run::stop_machine`].

use super::ZonelistPolicy;

/// What stands around the stores of a rebuild.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    /// All CPUs are stopped meanwhile.
    pub(crate) stops_machine: bool,
    /// The sequence is odd meanwhile.
    pub(crate) seq: bool,
    /// Interrupts are off on this CPU.
    pub(crate) irqs_off: bool,
    /// Printing is put off until the end.
    pub(crate) defers_printk: bool,
    /// The lock sleeps (PREEMPT_RT) and is taken with interrupts off: a bug of its own.
    pub(crate) sleeps_with_irqs_off: bool,
}

impl ZonelistPolicy {
    /// What stands around the stores. On PREEMPT_RT the lock sleeps, and irqsave leaves interrupts
    /// on.
    pub(crate) fn around(self, preempt_rt: bool) -> Around {
        let none = Around {
            stops_machine: false,
            seq: false,
            irqs_off: false,
            defers_printk: false,
            sleeps_with_irqs_off: false,
        };
        match self {
            Self::StopMachine => Around { stops_machine: true, irqs_off: true, ..none },
            Self::Unprotected => none,
            Self::Seqlock => Around { seq: true, ..none },
            Self::SeqlockDeferredPrintk => Around {
                seq: true,
                irqs_off: true,
                defers_printk: true,
                sleeps_with_irqs_off: preempt_rt,
                ..none
            },
            Self::SeqlockIrqsave => {
                Around { seq: true, irqs_off: !preempt_rt, defers_printk: true, ..none }
            }
            Self::Lockless => Around { seq: true, irqs_off: !preempt_rt, ..none },
        }
    }
}
