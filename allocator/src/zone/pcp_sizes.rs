//! Sizes of pcplists: batch, high, high_min, high_max.
//!
//! **What.** The formulas of docs/kernel/pcplists.md#a6, by release and by the `pcp` axis; and
//! [`compute`], every figure that /proc/zoneinfo shows of a machine.
//!
//! **Why.** How much can sit on pcplists is what a drain has to find and what a refill can take
//! past a watermark; dumps of real kernels check the figures to the page.
//!
//! **Source.** mm/page_alloc.c: zone_batchsize, zone_highsize, zone_set_pageset_high_and_batch.
//!
//! **Differs.** Nothing.

use crate::ids::{CpuId, MAX_NR_ZONES, NodeId, PAGE_SHIFT};
use crate::machine::{Machine, Settings};
use crate::policy::release::PcpBatch;
use crate::policy::{PcpPolicy, Policy, Release};
use crate::zone::watermark::{
    Marks, NR_PROTECTION, ZoneSizes, boot_wmarks, lowmem_reserve, percpu_drift_mark,
    stat_threshold, totalreserve,
};

/// Sizes of every CPU's list set of a zone, in pages. Equal `high_min` and `high_max` are `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcpSizes {
    /// Pages moved at once.
    pub batch: u32,
    /// Pages from which on a free gives back; with `auto-tune` where it starts.
    pub high_min: u32,
    /// Up to where `auto-tune` raises high.
    pub high_max: u32,
}

impl PcpSizes {
    /// At boot, of an empty zone, and while disabled: nothing stays on a list.
    pub const DISABLED: Self = Self { batch: 1, high_min: 0, high_max: 0 };
}

/// A zone's batch without a fraction set (`zone_batchsize`).
pub fn batch(release: Release, managed: u64) -> u32 {
    let pow2 = |b: u64| {
        let b = b + b / 2;
        (1 << b.ilog2()) - 1
    };
    let at_most = |bytes: u64| (managed >> 10).min(bytes >> PAGE_SHIFT) / 4;
    let batch = match release.pcp_batch() {
        PcpBatch::Kib512 => pow2(at_most(512 << 10).max(1)),
        PcpBatch::Mib1 => pow2(at_most(1 << 20).max(1)),
        PcpBatch::Quarter => match (managed >> 12).min((256 << 10) >> PAGE_SHIFT) {
            0 | 1 => 1,
            b => pow2(b),
        },
    };
    batch.max(1) as u32
}

/// What a zone's list sizes are computed from.
#[derive(Clone, Copy, Debug)]
pub struct PcpInputs {
    /// The release, for batch.
    pub release: Release,
    /// The axis, for high.
    pub pcp: PcpPolicy,
    /// vm.percpu_pagelist_high_fraction; 0: by itself.
    pub fraction: u32,
    /// A batch to use instead of the formula's (small worlds).
    pub batch: Option<u32>,
    /// Managed pages.
    pub managed: u64,
    /// Its low mark.
    pub low: u64,
    /// CPUs of its node.
    pub node_cpus: u32,
    /// CPUs of the machine.
    pub online_cpus: u32,
}

/// A zone's list sizes.
pub fn pcp_sizes(inputs: &PcpInputs) -> PcpSizes {
    let &PcpInputs { release, pcp, managed, low, node_cpus, online_cpus, .. } = inputs;
    let batch = inputs.batch.unwrap_or_else(|| batch(release, managed));
    let fraction = u64::from(inputs.fraction);
    let cpus = u64::from(if node_cpus == 0 { online_cpus } else { node_cpus }.max(1));
    let share = |pages: u64| (pages / cpus).max(4 * u64::from(batch)) as u32;
    if !pcp.has_multi_order() {
        return match managed.checked_div(fraction) {
            None => PcpSizes { batch, high_min: 6 * batch, high_max: 6 * batch },
            Some(high) => {
                // At most PAGE_SHIFT * 8 at once.
                let batch = (high / 4).clamp(1, u64::from(PAGE_SHIFT) * 8) as u32;
                PcpSizes { batch, high_min: high as u32, high_max: high as u32 }
            }
        };
    }
    let high_min = share(managed.checked_div(fraction).unwrap_or(low));
    let is_tuned = pcp.has_auto_tune() && fraction == 0;
    let high_max = if is_tuned { share(managed / 8) } else { high_min };
    PcpSizes { batch, high_min, high_max }
}

/// Everything that /proc/zoneinfo says of a zone's sizes and marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneComputed {
    /// The zone and its pages.
    pub sizes: ZoneSizes,
    /// Its marks.
    pub marks: Marks,
    /// lowmem_reserve by highest zone; the fifth only with ZONE_DEVICE.
    pub protection: [u64; NR_PROTECTION],
    /// What it adds to totalreserve_pages.
    pub totalreserve: u64,
    /// How far a CPU's counter may be off.
    pub stat_threshold: u32,
    /// Below this many free pages the exact sum is needed; 0: never.
    pub percpu_drift_mark: u64,
    /// Its list sizes.
    pub pcp: PcpSizes,
}

/// CPUs online, by node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlineCpus {
    by_node: Vec<u32>,
    all: u32,
}

impl OnlineCpus {
    /// All CPUs of a machine.
    pub fn of_machine(machine: &Machine) -> Self {
        let mut cpus = Self { by_node: vec![0; machine.nr_node_ids()], all: 0 };
        for cpu in &machine.cpus {
            cpus.by_node[cpu.node.index()] += 1;
            cpus.all += 1;
        }
        cpus
    }

    /// CPUs of a machine that `is_online` names.
    pub fn of(machine: &Machine, is_online: impl Fn(CpuId) -> bool) -> Self {
        let mut cpus = Self { by_node: vec![0; machine.nr_node_ids()], all: 0 };
        for (i, cpu) in machine.cpus.iter().enumerate() {
            if is_online(CpuId(i as u16)) {
                cpus.by_node[cpu.node.index()] += 1;
                cpus.all += 1;
            }
        }
        cpus
    }

    /// Online CPUs of a node.
    pub fn of_node(&self, node: NodeId) -> u32 {
        self.by_node.get(node.index()).copied().unwrap_or(0)
    }

    /// All online CPUs.
    pub fn all(&self) -> u32 {
        self.all
    }
}

/// All that follows from marks that are set: protections, thresholds and pcp sizes, by zone.
/// `batch`: instead of the formula's.
pub fn compute_from_marks(
    policy: &Policy,
    settings: &Settings,
    zones: &[ZoneSizes],
    marks: &[Marks],
    cpus: &OnlineCpus,
    batch: Option<u32>,
) -> Vec<ZoneComputed> {
    let release = policy.release;
    zones
        .iter()
        .zip(marks)
        .map(|(sizes, marks)| {
            let mut managed = [0; MAX_NR_ZONES];
            for zone in zones.iter().filter(|z| z.node == sizes.node) {
                managed[zone.idx.index()] = zone.managed;
            }
            let protection =
                lowmem_reserve(release, &settings.lowmem_reserve_ratio, &managed, sizes.idx);
            let threshold = stat_threshold(sizes.managed, cpus.all());
            ZoneComputed {
                sizes: *sizes,
                marks: *marks,
                protection,
                totalreserve: totalreserve(sizes.managed, &protection, marks.high),
                stat_threshold: threshold,
                percpu_drift_mark: percpu_drift_mark(marks, threshold, cpus.all()),
                pcp: if sizes.present == 0 {
                    PcpSizes::DISABLED
                } else {
                    pcp_sizes(&PcpInputs {
                        release,
                        pcp: policy.pcp,
                        fraction: settings.percpu_pagelist_high_fraction,
                        batch,
                        managed: sizes.managed,
                        low: marks.low,
                        node_cpus: cpus.of_node(sizes.node),
                        online_cpus: cpus.all(),
                    })
                },
            }
        })
        .collect()
}

/// Every figure of a machine as it stands after boot, four zones for each node.
pub fn compute(machine: &Machine, policy: &Policy) -> Vec<ZoneComputed> {
    let zones = ZoneSizes::of_machine(machine);
    let passes = boot_wmarks(policy.release, &machine.settings, &zones);
    let marks = passes.last().map_or(Vec::new(), |pass| pass.marks.clone());
    let cpus = OnlineCpus::of_machine(machine);
    compute_from_marks(policy, &machine.settings, &zones, &marks, &cpus, None)
}

#[cfg(test)]
#[path = "pcp_sizes_tests.rs"]
mod tests;
