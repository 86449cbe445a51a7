//! The vmstat workers, which let the limits of pcplists sink.

use allocator::ids::CpuId;

use super::super::event::{Event, NO_SLOT, Op};
use super::Digesting;

/// A worker's period.
const VMSTAT_NS: u64 = 1_000_000_000;

/// When each CPU's vmstat worker runs first. One phase holds for all: they are rounded to whole
/// seconds of the tick. Where none was seen, half a second after the start.
pub(super) fn vmstat_clocks(seen: &[Option<u64>], start_ns: u64) -> Vec<u64> {
    let any = seen.iter().flatten().next().copied();
    let first = |seen: &Option<u64>| match seen.or(any) {
        Some(at) => {
            let phase = at % VMSTAT_NS;
            let base = start_ns / VMSTAT_NS * VMSTAT_NS + phase;
            if base < start_ns { base + VMSTAT_NS } else { base }
        }
        None => start_ns + VMSTAT_NS / 2,
    };
    seen.iter().map(first).collect()
}

impl Digesting<'_> {
    pub(super) fn decay_until(&mut self, now_ns: u64) {
        for cpu in 0..self.next_vmstat_ns.len() {
            while self.next_vmstat_ns[cpu] <= now_ns {
                self.next_vmstat_ns[cpu] += VMSTAT_NS;
                let cpu = CpuId(cpu as u16);
                self.push(Event {
                    pfn: 0,
                    slot: NO_SLOT,
                    cpu,
                    op: Op::Decay,
                    order: 0,
                    tag: 0,
                    in_interrupt: false,
                });
            }
        }
    }
}
