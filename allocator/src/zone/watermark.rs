//! Watermarks: how they are computed, and the test against them.
//!
//! **What.** min_free_kbytes, a zone's min, low, high and promo marks, lowmem_reserve, per-CPU
//! counter thresholds (docs/kernel/watermarks.md#a8), all as pure functions over plain figures; and
//! [`zone_watermark_ok`] with its shortcut [`zone_watermark_fast`].
//!
//! **Why.** The same functions serve the model at boot and at hotplug and the list that users
//! compare with their /proc/zoneinfo; dumps of real kernels check them to the page.
//!
//! **Source.** mm/page_alloc.c: init_per_zone_wmark_min, __setup_per_zone_wmarks,
//! setup_per_zone_lowmem_reserve, __zone_watermark_ok, zone_watermark_fast; mm/khugepaged.c:
//! set_recommended_min_free_kbytes; mm/vmstat.c: calculate_normal_threshold.
//!
//! **Differs.** No highmem zone, no CMA of its own (`free_cma` is there for who models it).
//! Whether the 6.3 arithmetic applies goes with the `reserves` axis, not with the release, so that
//! `fractions` and `half` mean the same on every release.

use crate::gfp::{AllocFlags, MigrateType, Wmark};
use crate::ids::{MAX_NR_ZONES, MAX_PAGE_ORDER, NodeId, PAGE_SHIFT, PAGEBLOCK_NR_PAGES, ZoneIdx};
use crate::machine::{Machine, Settings};
use crate::policy::{Number, Policy, Release};

/// Numbers in `protection:`: one per zone, and one for ZONE_DEVICE.
pub const NR_PROTECTION: usize = MAX_NR_ZONES + 1;

/// What the formulas read of a zone. Every zone of every node takes part, empty ones too, nodes
/// and zones ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneSizes {
    /// Its node.
    pub node: NodeId,
    /// Which zone.
    pub idx: ZoneIdx,
    /// Pages that the buddy allocator was given.
    pub managed: u64,
    /// Pages that exist.
    pub present: u64,
    /// Pages from first to last.
    pub spanned: u64,
}

impl ZoneSizes {
    /// All zones of a machine, four for each node.
    pub fn of_machine(machine: &Machine) -> Vec<Self> {
        machine
            .nodes
            .iter()
            .flat_map(|node| {
                ZoneIdx::ALL.into_iter().map(|idx| {
                    let zone = node.zones.iter().find(|z| z.idx == idx);
                    Self {
                        node: node.id,
                        idx,
                        managed: zone.map_or(0, |z| z.managed_pages),
                        present: zone.map_or(0, |z| z.present_pages),
                        spanned: zone.map_or(0, |z| z.spanned_pages),
                    }
                })
            })
            .collect()
    }

    /// Are its marks those of high memory?
    fn is_highmem(&self, release: Release) -> bool {
        release.movable_is_highmem() && self.idx == ZoneIdx::Movable
    }

    /// May a GFP_USER request use it?
    fn is_buffer(&self) -> bool {
        self.idx <= ZoneIdx::Normal
    }
}

/// A zone's marks in pages, without boost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Below it only reserves.
    pub min: u64,
    /// Below it kswapd is woken.
    pub low: u64,
    /// kswapd sleeps above it.
    pub high: u64,
    /// Memory tiering's mark; printed from 5.18 on.
    pub promo: u64,
}

impl Marks {
    /// The mark chosen, without boost.
    #[inline]
    pub fn get(&self, wmark: Wmark) -> u64 {
        match wmark {
            Wmark::Min => self.min,
            Wmark::Low => self.low,
            Wmark::High => self.high,
        }
    }
}

/// Pages that GFP_USER requests may use above the high marks in force
/// (`nr_free_buffer_pages`): zones with the high mark that each has at the moment.
pub fn nr_free_buffer_pages(zones: impl IntoIterator<Item = (ZoneSizes, u64)>) -> u64 {
    zones
        .into_iter()
        .filter(|(zone, _)| zone.is_buffer())
        .map(|(zone, high)| zone.managed.saturating_sub(high))
        .sum()
}

/// min_free_kbytes by the square root (`calculate_min_free_kbytes`), before khugepaged's raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinFree {
    /// The value computed is in force.
    Computed(u64),
    /// A user's value stays; the kernel logs `min_free_kbytes is not updated to {computed} because
    /// user defined value {kept} is preferred`.
    UserPreferred {
        /// What would have been set.
        computed: u64,
        /// What stays.
        kept: u64,
    },
}

impl MinFree {
    /// min_free_kbytes in force.
    pub fn kbytes(self) -> u64 {
        match self {
            Self::Computed(kbytes) | Self::UserPreferred { computed: _, kept: kbytes } => kbytes,
        }
    }
}

/// min_free_kbytes as boot and every on- and offline compute it. `in_force` is its value before,
/// `user` the one that was written by hand, if one was.
pub fn calculate_min_free_kbytes(
    release: Release,
    free_buffer_pages: u64,
    user: Option<u64>,
    in_force: u64,
) -> MinFree {
    let lowmem_kbytes = free_buffer_pages << (PAGE_SHIFT - 10);
    let computed = (lowmem_kbytes * 16).isqrt();
    if user.is_none_or(|user| computed > user) {
        MinFree::Computed(computed.clamp(128, release.min_free_kbytes_max()))
    } else {
        MinFree::UserPreferred { computed, kept: in_force }
    }
}

/// What khugepaged wants min_free_kbytes to be at least (`set_recommended_min_free_kbytes`).
pub fn khugepaged_min_free_kbytes(
    release: Release,
    zones: &[ZoneSizes],
    free_buffer_pages: u64,
) -> u64 {
    let counts = |z: &&ZoneSizes| {
        z.present != 0 && (z.is_buffer() || !release.khugepaged_counts_below_movable())
    };
    let nr_zones = zones.iter().filter(counts).count() as u64;
    // Two pageblocks of each zone, and two for each pair of the three migratetypes with pcplists.
    let blocks = nr_zones * 2 + nr_zones * 9;
    let pages = (blocks * u64::from(PAGEBLOCK_NR_PAGES)).min(free_buffer_pages / 20);
    pages << (PAGE_SHIFT - 10)
}

/// All zones' marks from min_free_kbytes (`setup_per_zone_wmarks`), in the order of `zones`.
pub fn setup_per_zone_wmarks(
    release: Release,
    watermark_scale_factor: u32,
    zones: &[ZoneSizes],
    min_free_kbytes: u64,
) -> Vec<Marks> {
    let pages_min = min_free_kbytes >> (PAGE_SHIFT - 10);
    let lowmem: u64 = zones.iter().filter(|z| !z.is_highmem(release)).map(|z| z.managed).sum();
    zones
        .iter()
        .map(|zone| {
            let share = (u128::from(pages_min) * u128::from(zone.managed))
                .checked_div(u128::from(lowmem))
                .unwrap_or(0) as u64;
            let scaled = u128::from(zone.managed) * u128::from(watermark_scale_factor) / 10_000;
            let distance = (share >> 2).max(scaled as u64);
            let min =
                if zone.is_highmem(release) { (zone.managed / 1024).clamp(32, 128) } else { share };
            Marks { min, low: min + distance, high: min + 2 * distance, promo: min + 3 * distance }
        })
        .collect()
}

/// A zone's lowmem_reserve by highest zone of the request (`protection:` in /proc/zoneinfo).
///
/// `managed` are the managed pages of all zones of the zone's node, by index.
pub fn lowmem_reserve(
    release: Release,
    ratios: &[u32; MAX_NR_ZONES],
    managed: &[u64; MAX_NR_ZONES],
    zone: ZoneIdx,
) -> [u64; NR_PROTECTION] {
    let mut reserve = [0; NR_PROTECTION];
    let ratio = match ratios[zone.index()] {
        0 if !release.lowmem_ratio_may_be_zero() => 1,
        ratio => u64::from(ratio),
    };
    let unmanaged = managed[zone.index()] == 0 && release.empty_zone_has_no_protection();
    if ratio == 0 || unmanaged {
        return reserve;
    }
    let mut above = 0;
    for (highest, reserve) in reserve.iter_mut().enumerate().skip(zone.index() + 1) {
        above += managed.get(highest).copied().unwrap_or(0);
        *reserve = above / ratio;
    }
    reserve
}

/// Pages of a zone that user space can't count on (`calculate_totalreserve_pages`).
pub fn totalreserve(managed: u64, reserve: &[u64; NR_PROTECTION], high: u64) -> u64 {
    (reserve.iter().copied().max().unwrap_or(0) + high).min(managed)
}

/// How far a CPU's own counter may be off before it is folded (`calculate_normal_threshold`).
pub fn stat_threshold(managed: u64, online_cpus: u32) -> u32 {
    // In units of 128 MiB.
    let mem = managed >> (27 - PAGE_SHIFT);
    (2 * fls(u64::from(online_cpus)) * (1 + fls(mem))).min(125)
}

/// The threshold while kswapd is awake (`calculate_pressure_threshold`).
pub fn pressure_threshold(marks: &Marks, online_cpus: u32) -> u32 {
    let share = (marks.low - marks.min) / u64::from(online_cpus.max(1));
    share.clamp(1, 125) as u32
}

/// Free pages below which the per-CPU counters must be summed up to be sure; 0: never
/// (`percpu_drift_mark`).
pub fn percpu_drift_mark(marks: &Marks, threshold: u32, online_cpus: u32) -> u64 {
    let drift = u64::from(threshold) * u64::from(online_cpus);
    if drift > marks.low - marks.min { marks.high + drift } else { 0 }
}

/// Position of the highest bit set, counted from 1; 0 for 0.
fn fls(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// One step of a recomputation: min_free_kbytes, and the marks that follow from it, by zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WmarkPass {
    /// min_free_kbytes now.
    pub min_free_kbytes: u64,
    /// The line that the kernel logs in this pass, if one.
    pub log: Option<String>,
    /// Marks in the order of the zones given.
    pub marks: Vec<Marks>,
}

/// What boot and every on- and offline compute (`init_per_zone_wmark_min`): one pass, or a second
/// one in which khugepaged raises min_free_kbytes again. Between them the marks are those of the
/// first pass, for all to see.
///
/// `high_in_force` are the zones' high marks without boost before it (0 at boot), `in_force`
/// min_free_kbytes before it. `boot`: khugepaged starts after it in every release.
pub fn init_per_zone_wmark_min(
    release: Release,
    settings: &Settings,
    zones: &[ZoneSizes],
    high_in_force: &[u64],
    in_force: u64,
    boot: bool,
) -> Vec<WmarkPass> {
    let buffer =
        |high: &[u64]| nr_free_buffer_pages(zones.iter().copied().zip(high.iter().copied()));
    let setup = |min_free_kbytes, log| WmarkPass {
        min_free_kbytes,
        log,
        marks: setup_per_zone_wmarks(
            release,
            settings.watermark_scale_factor,
            zones,
            min_free_kbytes,
        ),
    };
    let user = settings.user_min_free_kbytes;
    let min_free = calculate_min_free_kbytes(release, buffer(high_in_force), user, in_force);
    let log = match min_free {
        MinFree::Computed(_) => None,
        MinFree::UserPreferred { computed, kept: _ } => user.map(|user| {
            format!(
                "min_free_kbytes is not updated to {computed} because user defined value {user} \
                 is preferred"
            )
        }),
    };
    let first = setup(min_free.kbytes(), log);
    let mut passes = vec![first];
    if settings.thp && (boot || release.khugepaged_raises_after_hotplug()) {
        let high: Vec<u64> = passes[0].marks.iter().map(|m| m.high).collect();
        let wanted = khugepaged_min_free_kbytes(release, zones, buffer(&high));
        let now = passes[0].min_free_kbytes;
        let log = (wanted > now && user.is_some()).then(|| {
            format!(
                "raising min_free_kbytes from {now} to {wanted} to help transparent hugepage \
                 allocations"
            )
        });
        passes.push(setup(wanted.max(now), log));
    }
    passes
}

/// Pages that a machine needs for THP to be offered at all (512 MiB).
const THP_LEAST_PAGES: u64 = 1 << 17;

/// The passes at boot. A user's value is taken as written last, after khugepaged started; so is a
/// value that the machine's own kernel computed when less was managed.
pub fn boot_wmarks(release: Release, settings: &Settings, zones: &[ZoneSizes]) -> Vec<WmarkPass> {
    let unset = Settings { user_min_free_kbytes: None, ..*settings };
    let mut passes =
        init_per_zone_wmark_min(release, &unset, zones, &vec![0; zones.len()], 0, true);
    let setup = |min_free_kbytes| WmarkPass {
        min_free_kbytes,
        log: None,
        marks: setup_per_zone_wmarks(
            release,
            settings.watermark_scale_factor,
            zones,
            min_free_kbytes,
        ),
    };
    let managed: u64 = zones.iter().map(|z| z.managed).sum();
    if !settings.thp && release.khugepaged_recalculates_when_off() && managed >= THP_LEAST_PAGES {
        let high = passes[0].marks.iter().map(|m| m.high);
        let buffer = nr_free_buffer_pages(zones.iter().copied().zip(high));
        let in_force = passes[0].min_free_kbytes;
        passes.push(setup(calculate_min_free_kbytes(release, buffer, None, in_force).kbytes()));
    }
    passes.extend(settings.user_min_free_kbytes.or(settings.boot_min_free_kbytes).map(setup));
    passes
}

/// The parts of the watermark test that differ by policy, resolved once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatermarkRules {
    /// Rights as fractions (6.3), or HIGH and HARDER.
    fractions: bool,
    /// Rights that spare a request the highatomic reserve, and let it pass any list.
    rights: AllocFlags,
    /// Order 0 at the min mark looks once more without the boost (5.8).
    looks_without_boost: bool,
    /// The shortcut leaves out the highatomic reserve too (5.9).
    fast_leaves_highatomic: bool,
    /// Only the free part of the highatomic reserve is out of reach (6.10).
    counts_free_highatomic: bool,
}

/// What the test reads of a zone. Pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneLevel {
    /// NR_FREE_PAGES as the caller reads it.
    pub free: i64,
    /// The mark, boost included.
    pub mark: u64,
    /// lowmem_reserve for the request's highest zone.
    pub reserve: u64,
    /// The highatomic reserve: all of it, or its free part, as
    /// [`WatermarkRules::counts_free_highatomic`] says.
    pub highatomic: u64,
    /// Free pages of CMA pageblocks.
    pub free_cma: u64,
}

/// Which free lists of an order satisfy a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// Any block of the order, whatever its type (`nr_free`).
    Any,
    /// One of these types: bit i is [`MigrateType`] i.
    Types(u8),
}

impl Lists {
    /// Does a block of this type do?
    pub fn holds(self, mt: MigrateType) -> bool {
        match self {
            Self::Any => true,
            Self::Types(types) => types >> mt.index() & 1 != 0,
        }
    }
}

impl WatermarkRules {
    /// The rules of a policy.
    pub fn of(policy: &Policy) -> Self {
        let fractions = policy.reserves.has_fractions();
        Self {
            fractions,
            rights: if fractions {
                AllocFlags::RESERVES
            } else {
                AllocFlags::HARDER.union(AllocFlags::OOM)
            },
            looks_without_boost: policy.release.watermark_fast_ignores_boost(),
            fast_leaves_highatomic: policy.release.watermark_fast_leaves_highatomic(),
            counts_free_highatomic: policy.release.counts_free_highatomic(),
        }
    }

    /// The rules of a release by number, as shipped.
    pub fn by_number(number: Number) -> Self {
        let fractions = number.has_fractions();
        let oom = if number.has_alloc_oom() { AllocFlags::OOM } else { AllocFlags::empty() };
        Self {
            fractions,
            rights: if fractions { AllocFlags::RESERVES } else { AllocFlags::HARDER.union(oom) },
            looks_without_boost: number.looks_without_boost(),
            fast_leaves_highatomic: number.fast_leaves_highatomic(),
            counts_free_highatomic: number.counts_free_highatomic(),
        }
    }

    /// Both sides of the test: pages that count for the request, and what they must be more than.
    pub fn sides(&self, order: u8, zone: &ZoneLevel, flags: AllocFlags) -> (i64, i64) {
        let mut free = zone.free - ((1 << order.min(40)) - 1);
        let min = self.lowered(zone.mark as i64, flags);
        if !flags.intersects(self.rights) {
            free -= zone.highatomic as i64;
        }
        if !flags.contains(AllocFlags::CMA) {
            free -= zone.free_cma as i64;
        }
        (free, min + zone.reserve as i64)
    }

    /// Is [`ZoneLevel::highatomic`] the free part of the reserve (`nr_free_highatomic`), or all of
    /// it (`nr_reserved_highatomic`)?
    #[inline]
    pub fn counts_free_highatomic(&self) -> bool {
        self.counts_free_highatomic
    }

    /// The mark that these rights leave.
    #[inline]
    fn lowered(&self, mark: i64, flags: AllocFlags) -> i64 {
        let mut min = mark;
        if self.fractions {
            if flags.contains(AllocFlags::MIN_RESERVE) {
                min -= min / 2;
                if flags.contains(AllocFlags::NON_BLOCK) {
                    min -= min / 4;
                }
            }
            if flags.contains(AllocFlags::OOM) {
                min -= min / 2;
            }
        } else {
            if flags.contains(AllocFlags::HIGH) {
                min -= min / 2;
            }
            if flags.contains(AllocFlags::OOM) {
                min -= min / 2;
            } else if flags.contains(AllocFlags::HARDER) {
                min -= min / 4;
            }
        }
        min
    }

    /// Free lists that satisfy these flags.
    pub fn lists(&self, flags: AllocFlags) -> Lists {
        if !self.fractions && flags.intersects(self.rights) {
            return Lists::Any;
        }
        let mut types = 0b111;
        if flags.contains(AllocFlags::CMA) {
            types |= 1 << MigrateType::Cma.index();
        }
        if self.fractions && flags.intersects(AllocFlags::HIGHATOMIC | AllocFlags::OOM) {
            types |= 1 << MigrateType::HighAtomic.index();
        }
        Lists::Types(types)
    }
}

/// Does the zone hold enough for a request (`__zone_watermark_ok`)? `has_block` tells whether an
/// order has a free block on one of the lists; it is asked from `order` upward.
#[inline]
pub fn zone_watermark_ok(
    rules: &WatermarkRules,
    order: u8,
    zone: &ZoneLevel,
    flags: AllocFlags,
    mut has_block: impl FnMut(u8, Lists) -> bool,
) -> bool {
    let mut free = zone.free - ((1 << order) - 1);
    let min = rules.lowered(zone.mark as i64, flags);
    if !flags.intersects(rules.rights) {
        free -= zone.highatomic as i64;
    }
    if !flags.contains(AllocFlags::CMA) {
        free -= zone.free_cma as i64;
    }
    if free <= min + zone.reserve as i64 {
        return false;
    }
    if order == 0 {
        return true;
    }
    let lists = rules.lists(flags);
    (order..=MAX_PAGE_ORDER).any(|o| has_block(o, lists))
}

/// The allocation path's test (`zone_watermark_fast`): a few compares if order 0 passes without any
/// right. `boost` is part of `zone.mark`.
#[inline(always)]
pub fn zone_watermark_fast(
    rules: &WatermarkRules,
    order: u8,
    zone: ZoneLevel,
    flags: AllocFlags,
    boost: u64,
    has_block: impl FnMut(u8, Lists) -> bool,
) -> bool {
    if order == 0 {
        let mut usable = zone.free;
        if rules.fast_leaves_highatomic && !flags.intersects(rules.rights) {
            usable -= zone.highatomic as i64;
        }
        if !flags.contains(AllocFlags::CMA) {
            usable -= zone.free_cma as i64;
        }
        if usable > (zone.mark + zone.reserve) as i64 {
            return true;
        }
    }
    zone_watermark_slow(rules, order, zone, flags, boost, has_block)
}

#[cold]
#[inline(never)]
fn zone_watermark_slow(
    rules: &WatermarkRules,
    order: u8,
    zone: ZoneLevel,
    flags: AllocFlags,
    boost: u64,
    mut has_block: impl FnMut(u8, Lists) -> bool,
) -> bool {
    if zone_watermark_ok(rules, order, &zone, flags, &mut has_block) {
        return true;
    }
    let unboosted = rules.looks_without_boost
        && order == 0
        && boost != 0
        && flags.contains(AllocFlags::HIGH)
        && flags.wmark() == Wmark::Min;
    unboosted && {
        let zone = ZoneLevel { mark: zone.mark - boost, ..zone };
        zone_watermark_ok(rules, order, &zone, flags, has_block)
    }
}

#[cfg(test)]
#[path = "watermark_tests.rs"]
mod tests;
