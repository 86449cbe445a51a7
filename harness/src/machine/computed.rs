//! What the model computes of a machine, in the words of /proc/zoneinfo, and where the machine's own
//! kernel says otherwise.
//!
//! **Why.** The model's watermarks, protections, pcp sizes and fallback order are claims; every host
//! and every dump can check them.

use allocator::ids::NodeId;
use allocator::machine::Machine;
use allocator::policy::{PcpPolicy, Policy, Release};
use allocator::zone::pcp_sizes::{self, ZoneComputed};
use allocator::zone::watermark::{self, ZoneSizes};
use allocator::zonelist::{BootView, fallback_orders};
use serde::Serialize;

use super::zoneinfo::ZoneEntry;
use super::{KernelSaid, Notes};

/// What the model computes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Computed {
    /// vm.min_free_kbytes.
    pub min_free_kbytes: u64,
    /// All zones of all nodes, those without memory too, in the kernel's order.
    pub zones: Vec<Zone>,
    /// Which nodes an allocation falls back to, for each node.
    pub fallback_order: Vec<FallbackOrder>,
}

/// A zone; sizes in pages.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Zone {
    /// Its node.
    pub node: u16,
    /// `DMA`, `DMA32`, `Normal`, `Movable`.
    pub name: &'static str,
    /// From first to last frame, holes included.
    pub spanned: u64,
    /// Frames that exist.
    pub present: u64,
    /// Frames of the buddy allocator.
    pub managed: u64,
    /// The min mark.
    pub min: u64,
    /// The low mark.
    pub low: u64,
    /// The high mark.
    pub high: u64,
    /// lowmem_reserve by the request's highest zone.
    pub protection: Vec<u64>,
    /// The pcplists' sizes.
    pub pcp: Pcp,
}

/// Sizes of a zone's pcplists, the same on every CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pcp {
    /// Limit; what it starts from where it tunes itself.
    pub high: u64,
    /// Least limit; null before 6.7.
    pub high_min: Option<u64>,
    /// Largest limit; null before 6.7.
    pub high_max: Option<u64>,
    /// Batch.
    pub batch: u64,
}

/// A node's fallback order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FallbackOrder {
    /// The node.
    pub node: u16,
    /// The nodes tried, in order.
    pub order: Vec<u16>,
}

/// A figure on which the model and the machine's kernel differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which: `node 0 zone DMA32 min`.
    pub what: String,
    /// What the model computes.
    pub model: String,
    /// What the kernel says.
    pub kernel: String,
}

/// All that a policy's release makes of a machine.
pub fn compute(machine: &Machine, policy: &Policy) -> Computed {
    let zones = pcp_sizes::compute(machine, policy);
    let protections = if machine.settings.zone_device { 5 } else { 4 };
    Computed {
        min_free_kbytes: min_free_kbytes(machine, policy.release),
        zones: zones.iter().map(|z| zone(z, policy.pcp, protections)).collect(),
        fallback_order: fallback_orders(policy.release, &BootView::new(machine, policy.release))
            .into_iter()
            .map(|(node, order)| FallbackOrder {
                node: node.0,
                order: order.into_iter().map(|n: NodeId| n.0).collect(),
            })
            .collect(),
    }
}

fn min_free_kbytes(machine: &Machine, release: Release) -> u64 {
    let zones = ZoneSizes::of_machine(machine);
    let passes = watermark::boot_wmarks(release, &machine.settings, &zones);
    passes.last().map_or(0, |pass| pass.min_free_kbytes)
}

fn zone(zone: &ZoneComputed, axis: PcpPolicy, protections: usize) -> Zone {
    let (high_min, high_max) = if axis.has_auto_tune() {
        (Some(zone.pcp.high_min.into()), Some(zone.pcp.high_max.into()))
    } else {
        (None, None)
    };
    Zone {
        node: zone.sizes.node.0,
        name: zone.sizes.idx.name(),
        spanned: zone.sizes.spanned,
        present: zone.sizes.present,
        managed: zone.sizes.managed,
        min: zone.marks.min,
        low: zone.marks.low,
        high: zone.marks.high,
        protection: zone.protection[..protections].to_vec(),
        pcp: Pcp {
            high: zone.pcp.high_min.into(),
            high_min,
            high_max,
            batch: zone.pcp.batch.into(),
        },
    }
}

/// The newest release modelled that is not newer than a kernel (`6.1.176-generic`).
pub fn release_of_kernel(kernel: &str) -> Option<Release> {
    let wanted = version(kernel)?;
    let known = Release::ALL.into_iter().filter_map(|r| Some((version(r.version())?, r)));
    known.filter(|(version, _)| *version <= wanted).max_by_key(|(version, _)| *version).map(|k| k.1)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Keeps the min_free_kbytes that the machine's kernel has, if its release computes another from the
/// zones as they are now: it computed it at boot, when less memory was managed, or somebody wrote it.
pub(super) fn keep_min_free_kbytes(machine: &mut Machine, kernel: &KernelSaid, notes: &mut Notes) {
    let told = kernel.release.as_deref().and_then(release_of_kernel);
    let Some(in_force) = kernel.min_free_kbytes else {
        return keep_sum_of_min(machine, kernel, told.unwrap_or(Release::NEWEST), notes);
    };
    let Some(release) = told else { return };
    let computed = min_free_kbytes(machine, release);
    if computed != in_force {
        machine.settings.boot_min_free_kbytes = Some(in_force);
        notes.add(format!(
            "min_free_kbytes {in_force} is kept; {release} computes {computed} from the zones as they are now"
        ));
    }
}

/// Takes min_free_kbytes from the sum of the zones' min where nobody says it: marks are its shares.
///
/// Each share is rounded down, so the model's own value stays if it is as near as that.
fn keep_sum_of_min(
    machine: &mut Machine,
    kernel: &KernelSaid,
    release: Release,
    notes: &mut Notes,
) {
    let is_share = |z: &&ZoneEntry| {
        z.managed > 0 && !["Movable", "HighMem", "Device"].contains(&z.name.as_str())
    };
    let shares: Vec<&ZoneEntry> = kernel.zoneinfo.zones.iter().filter(is_share).collect();
    let unboosted = |z: &&ZoneEntry| {
        z.min.saturating_sub(z.boost.or_else(|| hidden_boost(kernel, z)).unwrap_or(0))
    };
    let in_force = shares.iter().map(unboosted).sum::<u64>() * 4;
    let computed = min_free_kbytes(machine, release);
    let rounding = 4 * shares.len() as u64;
    if in_force == 0 || in_force.abs_diff(computed) <= rounding {
        return;
    }
    machine.settings.boot_min_free_kbytes = Some(in_force);
    notes.add(format!(
        "min_free_kbytes {in_force} is taken from the sum of the zones' min; {} would compute {computed}",
        release.word()
    ));
}

/// Is the kernel one that has a boost in its marks and prints none (5.0 to 5.13)?
fn hides_boost(kernel: &KernelSaid) -> bool {
    kernel.release.as_deref().and_then(version).is_some_and(|v| ((5, 0)..(5, 14)).contains(&v))
}

/// A boost that such a kernel hides in a zone's marks. All three have it, so their distance is still a
/// quarter of the min without it, rounded down: the boost is known but for two pages.
fn hidden_boost(kernel: &KernelSaid, zone: &ZoneEntry) -> Option<u64> {
    let step = zone.low.checked_sub(zone.min).filter(|step| *step > 0)?;
    let same = zone.high.saturating_sub(zone.low) == step;
    let boost = zone.min.checked_sub(step * 4 + 1).filter(|boost| *boost > 3)?;
    (same && zone.boost.is_none() && hides_boost(kernel)).then_some(boost)
}

/// Finds boosts that the kernel hides in its marks. They become the entries' own, and a line for each is
/// given.
pub fn find_hidden_boosts(kernel: &mut KernelSaid) -> Vec<String> {
    let boosts: Vec<Option<u64>> =
        kernel.zoneinfo.zones.iter().map(|z| hidden_boost(kernel, z)).collect();
    let mut lines = Vec::new();
    for (zone, boost) in kernel.zoneinfo.zones.iter_mut().zip(boosts) {
        if let Some(boost) = boost {
            zone.boost = Some(boost);
            lines.push(format!(
                "node {} zone {}: its marks are boosted by {boost} pages, give or take two, which its kernel does not \
                 print apart: they are not compared",
                zone.node, zone.name
            ));
        }
    }
    lines
}

/// Every figure on which they differ, in the order of the zones. Free pages and what the kernel tunes
/// while it runs are left out, and so is a boost of the watermarks.
pub fn differences(computed: &Computed, kernel: &KernelSaid) -> Vec<Difference> {
    let mut found = Differences::default();
    if let Some(kbytes) = kernel.min_free_kbytes {
        found.compare("min_free_kbytes", computed.min_free_kbytes, kbytes);
    }
    for zone in &computed.zones {
        let same = |e: &&ZoneEntry| e.node == u32::from(zone.node) && e.name == zone.name;
        if let Some(entry) = kernel.zoneinfo.zones.iter().find(same) {
            found.compare_zone(zone, entry, hides_boost(kernel));
        }
    }
    for (node, order) in &kernel.fallback_order {
        let ours = computed.fallback_order.iter().find(|f| u32::from(f.node) == *node);
        let ours = ours.map_or_else(Vec::new, |f| f.order.iter().map(|&n| u32::from(n)).collect());
        let text = |order: &[u32]| order.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        found.compare(&format!("node {node} fallback order"), text(&ours), text(order));
    }
    found.0
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn compare<T: PartialEq + ToString>(&mut self, what: &str, model: T, kernel: T) {
        if model != kernel {
            let (model, kernel) = (model.to_string(), kernel.to_string());
            self.0.push(Difference { what: what.to_owned(), model, kernel });
        }
    }

    fn compare_zone(&mut self, zone: &Zone, entry: &ZoneEntry, hides_boost: bool) {
        let boost = entry.boost.unwrap_or(0);
        let name = format!("node {} zone {}", zone.node, zone.name);
        let mut compare = |what: &str, model: u64, kernel: u64| {
            self.compare(&format!("{name} {what}"), model, kernel);
        };
        compare("spanned", zone.spanned, entry.spanned);
        compare("present", zone.present, entry.present);
        compare("managed", zone.managed, entry.managed);
        // A boost that is not printed is not known to the page.
        if boost == 0 || !hides_boost {
            compare("min", zone.min, entry.min.saturating_sub(boost));
            compare("low", zone.low, entry.low.saturating_sub(boost));
            compare("high", zone.high, entry.high.saturating_sub(boost));
        }
        if let Some(pcp) = entry.pcp.first() {
            compare("pcp batch", zone.pcp.batch, pcp.batch);
            match (pcp.high_min, pcp.high_max) {
                (Some(min), Some(max)) => {
                    compare("pcp high_min", zone.pcp.high, min);
                    compare("pcp high_max", zone.pcp.high_max.unwrap_or(zone.pcp.high), max);
                }
                _ => compare("pcp high", zone.pcp.high, pcp.high),
            }
        }
        let text = |p: &[u64]| p.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        self.compare(
            &format!("{name} protection"),
            text(&zone.protection),
            text(&entry.protection),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_belongs_to_the_release_before_it() {
        for (kernel, release) in [
            ("6.1.176", Some("v6.1")),
            ("6.18.44-fc-v657", Some("v6.18")),
            ("6.19.0-rc1", Some("v6.19")),
            ("7.2", Some("v6.19")),
            ("4.4.0-210-generic", None),
            ("unknown", None),
        ] {
            assert_eq!(release_of_kernel(kernel).map(Release::word), release, "{kernel}");
        }
    }
}
