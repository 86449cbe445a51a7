//! Which frees in interrupts met a pcp section that was taken.
//!
//! **Source.** free_frozen_pages: where the section's trylock fails, the block goes to the free lists.

use super::super::record::Context;
use super::super::trace::{Kind, Packed};

/// Frees in interrupts that came while the task on the CPU was inside a pcp section, where the
/// section's trylock fails: after a refill took its blocks (Z) and before the request was served (A),
/// or between two pages of a batch that is freed (B, D).
pub(super) fn inside_sections(records: &[Packed], nr_cpus: usize) -> Vec<bool> {
    let mut inside = vec![false; records.len()];
    let mut last: Vec<Option<(Kind, u32)>> = vec![None; nr_cpus];
    let mut pending: Vec<Vec<usize>> = vec![Vec::new(); nr_cpus];
    for (index, record) in records.iter().enumerate() {
        let cpu = usize::from(record.cpu);
        if matches!(record.kind, Kind::Marker | Kind::Untraced) {
            continue;
        }
        if record.context != Context::Task {
            if record.kind == Kind::Free {
                pending[cpu].push(index);
            }
            continue;
        }
        let open = last[cpu].is_some_and(|(kind, pid)| {
            pid == record.pid
                && match kind {
                    Kind::TakeForPcp => matches!(record.kind, Kind::TakeForPcp | Kind::Alloc),
                    Kind::FreeBatched | Kind::Drain => {
                        matches!(record.kind, Kind::FreeBatched | Kind::Drain)
                    }
                    Kind::Alloc
                    | Kind::AllocFailed
                    | Kind::Free
                    | Kind::TakeDirect
                    | Kind::Claim
                    | Kind::Steal
                    | Kind::Untraced
                    | Kind::Marker => false,
                }
        });
        for free in pending[cpu].drain(..) {
            inside[free] = open;
        }
        last[cpu] = Some((record.kind, record.pid));
    }
    inside
}
