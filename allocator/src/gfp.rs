//! gfp flags, and what they become: highest zone, migratetype, alloc flags.
//!
//! **What.** The bits a request carries (`gfp_t`), their names and values by release, and the pure
//! functions that the fast and the slow path derive from them.
//!
//! **Why.** A report is only comparable with a kernel's if it prints that kernel's bits; and who
//! may dig how deep into a zone is decided by these few lines.
//!
//! **Source.** include/linux/gfp_types.h, include/trace/events/mmflags.h, mm/internal.h,
//! mm/page_alloc.c (gfp_to_alloc_flags, __gfp_pfmemalloc_flags); docs/kernel/requests.md#b1, #b2,
//! oom.md#e9.
//!
//! **Differs.** One set of bits (6.12's) is used inside for every release; the release's own values
//! appear in print only ([`Gfp::bits_in`]). 64 bit without highmem: __GFP_HIGHMEM alone means
//! Normal.

use std::fmt;

use bitflags::bitflags;

use crate::ids::ZoneIdx;
use crate::policy::{Policy, Release, ReservesPolicy};
pub use crate::zone::migratetype::{MIGRATE_PCPTYPES, MIGRATE_TYPES, MigrateType};

bitflags! {
    /// What a caller asks for and allows (`gfp_t`), with 6.12's bits.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Gfp: u32 {
        /// __GFP_DMA: from DMA.
        const DMA = 0x1;
        /// __GFP_HIGHMEM: high memory will do.
        const HIGHMEM = 0x2;
        /// __GFP_DMA32: from DMA32 or below.
        const DMA32 = 0x4;
        /// __GFP_MOVABLE: the page can be moved.
        const MOVABLE = 0x8;
        /// __GFP_RECLAIMABLE: a shrinker can free it.
        const RECLAIMABLE = 0x10;
        /// __GFP_HIGH: may use part of the reserve.
        const HIGH = 0x20;
        /// __GFP_IO: reclaim may start I/O.
        const IO = 0x40;
        /// __GFP_FS: reclaim may call into filesystems.
        const FS = 0x80;
        /// __GFP_ZERO: zeroed.
        const ZERO = 0x100;
        /// __GFP_ATOMIC: can't sleep and is urgent. Up to 6.2; later releases never carry it.
        const ATOMIC = 0x200;
        /// __GFP_DIRECT_RECLAIM: the caller may reclaim, and so sleep.
        const DIRECT_RECLAIM = 0x400;
        /// __GFP_KSWAPD_RECLAIM: kswapd may be woken.
        const KSWAPD_RECLAIM = 0x800;
        /// __GFP_WRITE: will be dirtied soon.
        const WRITE = 0x1000;
        /// __GFP_NOWARN: no failure report.
        const NOWARN = 0x2000;
        /// __GFP_RETRY_MAYFAIL (__GFP_REPEAT up to 4.12): tries hard, kills nobody.
        const RETRY_MAYFAIL = 0x4000;
        /// __GFP_NOFAIL: never fails.
        const NOFAIL = 0x8000;
        /// __GFP_NORETRY: one round, no kill.
        const NORETRY = 0x10000;
        /// __GFP_MEMALLOC: all reserves.
        const MEMALLOC = 0x20000;
        /// __GFP_COMP: a compound page.
        const COMP = 0x40000;
        /// __GFP_NOMEMALLOC: no reserves whatever else says.
        const NOMEMALLOC = 0x80000;
        /// __GFP_HARDWALL: only the task's own cpuset.
        const HARDWALL = 0x100000;
        /// __GFP_THISNODE: only the node asked for, no policy.
        const THISNODE = 0x200000;
        /// __GFP_ACCOUNT: charged to the memory cgroup.
        const ACCOUNT = 0x400000;
        /// __GFP_NOLOCKDEP, __GFP_ZEROTAGS and what else a caller passes: kept, without a meaning.
        const _ = !0;
    }
}

impl Gfp {
    /// __GFP_RECLAIM: both kinds of reclaim.
    pub const RECLAIM: Self = Self::DIRECT_RECLAIM.union(Self::KSWAPD_RECLAIM);
    /// GFP_NOIO.
    pub const NOIO: Self = Self::RECLAIM;
    /// GFP_NOFS.
    pub const NOFS: Self = Self::RECLAIM.union(Self::IO);
    /// GFP_KERNEL (0xcc0).
    pub const KERNEL: Self = Self::RECLAIM.union(Self::IO).union(Self::FS);
    /// GFP_KERNEL_ACCOUNT.
    pub const KERNEL_ACCOUNT: Self = Self::KERNEL.union(Self::ACCOUNT);
    /// GFP_USER.
    pub const USER: Self = Self::KERNEL.union(Self::HARDWALL);
    /// GFP_HIGHUSER.
    pub const HIGHUSER: Self = Self::USER.union(Self::HIGHMEM);
    /// GFP_HIGHUSER_MOVABLE: pages of user memory.
    pub const HIGHUSER_MOVABLE: Self = Self::HIGHUSER.union(Self::MOVABLE);
    /// GFP_TRANSHUGE_LIGHT.
    pub const TRANSHUGE_LIGHT: Self = Self::HIGHUSER_MOVABLE
        .union(Self::COMP)
        .union(Self::NOMEMALLOC)
        .union(Self::NOWARN)
        .difference(Self::RECLAIM);
    /// GFP_TRANSHUGE.
    pub const TRANSHUGE: Self = Self::TRANSHUGE_LIGHT.union(Self::DIRECT_RECLAIM);

    /// GFP_ATOMIC as that release defines it.
    pub fn atomic(release: Release) -> Self {
        let urgent = Self::HIGH | Self::KSWAPD_RECLAIM;
        if release.has_gfp_atomic() { urgent | Self::ATOMIC } else { urgent }
    }

    /// GFP_NOWAIT as that release defines it.
    pub fn nowait(release: Release) -> Self {
        if release.nowait_has_nowarn() {
            Self::KSWAPD_RECLAIM | Self::NOWARN
        } else {
            Self::KSWAPD_RECLAIM
        }
    }

    /// Highest zone that the request may use (`gfp_zone`).
    #[inline]
    pub fn zone(self) -> ZoneIdx {
        if self.contains(Self::DMA) {
            ZoneIdx::Dma
        } else if self.contains(Self::DMA32) {
            ZoneIdx::Dma32
        } else if self.contains(Self::HIGHMEM | Self::MOVABLE) {
            ZoneIdx::Movable
        } else {
            ZoneIdx::Normal
        }
    }

    /// Type of page it wants (`gfp_migratetype`); everything Unmovable when grouping is off.
    #[inline]
    pub fn migratetype(self, page_group_by_mobility: bool) -> MigrateType {
        if !page_group_by_mobility {
            MigrateType::Unmovable
        } else if self.contains(Self::MOVABLE) {
            MigrateType::Movable
        } else if self.contains(Self::RECLAIMABLE) {
            MigrateType::Reclaimable
        } else {
            MigrateType::Unmovable
        }
    }

    /// Is it what __GFP_ATOMIC marks where there is such a bit: urgent, and can't sleep?
    #[inline]
    pub fn is_atomic(self, release: Release) -> bool {
        if release.has_gfp_atomic() {
            self.contains(Self::ATOMIC)
        } else {
            self.contains(Self::HIGH) && !self.contains(Self::DIRECT_RECLAIM)
        }
    }

    /// May the caller reclaim, and so sleep (`gfpflags_allow_blocking`)?
    #[inline]
    pub fn may_reclaim(self) -> bool {
        self.contains(Self::DIRECT_RECLAIM)
    }
}

bitflags! {
    /// How one pass of get_page_from_freelist goes about (docs/kernel/requests.md#b2). The two
    /// lowest bits choose the watermark.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AllocFlags: u32 {
        /// ALLOC_WMARK_LOW: against the low mark (none of the two: min).
        const WMARK_LOW = 0x01;
        /// ALLOC_WMARK_HIGH: against the high mark.
        const WMARK_HIGH = 0x02;
        /// ALLOC_NO_WATERMARKS: no check at all.
        const NO_WATERMARKS = 0x04;
        /// ALLOC_OOM: an OOM victim's share of the reserve.
        const OOM = 0x08;
        /// ALLOC_HARDER up to 6.2, ALLOC_NON_BLOCK from 6.3 on.
        const HARDER = 0x10;
        /// ALLOC_HIGH up to 6.2, ALLOC_MIN_RESERVE from 6.3 on.
        const HIGH = 0x20;
        /// ALLOC_CPUSET: test each zone against the cpuset.
        const CPUSET = 0x40;
        /// ALLOC_CMA: CMA pageblocks will do.
        const CMA = 0x80;
        /// ALLOC_NOFRAGMENT: no mixing of migratetypes in a pageblock.
        const NOFRAGMENT = 0x100;
        /// ALLOC_HIGHATOMIC (6.3): may use the highatomic reserve.
        const HIGHATOMIC = 0x200;
        /// ALLOC_KSWAPD (5.0): kswapd may be woken.
        const KSWAPD = 0x800;
    }
}

impl AllocFlags {
    /// ALLOC_WMARK_MIN: no bit.
    pub const WMARK_MIN: Self = Self::empty();
    /// ALLOC_NON_BLOCK, the name from 6.3 on.
    pub const NON_BLOCK: Self = Self::HARDER;
    /// ALLOC_MIN_RESERVE, the name from 6.3 on.
    pub const MIN_RESERVE: Self = Self::HIGH;
    /// ALLOC_RESERVES (6.3): any right to go below the mark.
    pub const RESERVES: Self =
        Self::HARDER.union(Self::HIGH).union(Self::HIGHATOMIC).union(Self::OOM);

    /// Which mark a pass is checked against.
    #[inline]
    pub fn wmark(self) -> Wmark {
        if self.contains(Self::WMARK_HIGH) {
            Wmark::High
        } else if self.contains(Self::WMARK_LOW) {
            Wmark::Low
        } else {
            Wmark::Min
        }
    }
}

/// A zone's marks (`enum zone_watermarks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wmark {
    /// Below it only reserves.
    Min,
    /// Below it kswapd is woken.
    Low,
    /// kswapd sleeps above it.
    High,
}

/// ALLOC_CMA for movable requests (`gfp_to_alloc_flags_cma`).
#[inline]
pub fn gfp_to_alloc_flags_cma(gfp: Gfp, flags: AllocFlags) -> AllocFlags {
    if gfp.contains(Gfp::MOVABLE) { flags | AllocFlags::CMA } else { flags }
}

/// The slow path's flags without reserve rights (docs/kernel/requests.md#b2). `is_rt`: a real-time
/// (6.12: or deadline) task. Which rights follow goes with the `reserves` axis: `fractions` is
/// 6.3's way.
///
/// Before 6.3 the atomic requests are those with __GFP_ATOMIC; on a release without that bit they
/// are those with __GFP_HIGH that can't reclaim.
pub fn gfp_to_alloc_flags(
    policy: &Policy,
    gfp: Gfp,
    order: u8,
    is_rt: bool,
    in_interrupt: bool,
) -> AllocFlags {
    let mut flags = AllocFlags::WMARK_MIN | AllocFlags::CPUSET;
    if gfp.contains(Gfp::HIGH) {
        flags |= AllocFlags::HIGH;
    }
    if policy.release.has_alloc_kswapd() && gfp.contains(Gfp::KSWAPD_RECLAIM) {
        flags |= AllocFlags::KSWAPD;
    }
    let rt_in_task_context = is_rt && !in_interrupt;
    if !policy.reserves.has_fractions() {
        if gfp.is_atomic(policy.release) {
            if !gfp.contains(Gfp::NOMEMALLOC) {
                flags |= AllocFlags::HARDER;
            }
            flags -= AllocFlags::CPUSET;
        } else if rt_in_task_context {
            flags |= AllocFlags::HARDER;
        }
    } else if !gfp.contains(Gfp::DIRECT_RECLAIM) {
        if !gfp.contains(Gfp::NOMEMALLOC) {
            flags |= AllocFlags::NON_BLOCK;
            if order > 0 && flags.contains(AllocFlags::MIN_RESERVE) {
                flags |= AllocFlags::HIGHATOMIC;
            }
        }
        if flags.contains(AllocFlags::MIN_RESERVE) {
            flags -= AllocFlags::CPUSET;
        }
    } else if rt_in_task_context {
        flags |= AllocFlags::MIN_RESERVE;
    }
    gfp_to_alloc_flags_cma(gfp, flags)
}

/// What gives a requester rights to the reserve (docs/kernel/oom.md#e9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReserveRights {
    /// PF_MEMALLOC of the current task.
    pub pf_memalloc: bool,
    /// Hard interrupt context: the interrupted task's rights don't count.
    pub in_interrupt: bool,
    /// Serving a softirq on the task's own stack.
    pub in_softirq: bool,
    /// TIF_MEMDIE of this thread.
    pub tif_memdie: bool,
    /// The thread group is an OOM victim (signal->oom_mm is set).
    pub group_victim: bool,
}

/// Rights to the reserve by the `reserves` axis (`__gfp_pfmemalloc_flags`, step S9): empty,
/// NO_WATERMARKS or OOM. How they join the other flags is [`apply_reserve_flags`].
#[inline]
pub fn pfmemalloc_flags(policy: ReservesPolicy, gfp: Gfp, who: ReserveRights) -> AllocFlags {
    if gfp.contains(Gfp::NOMEMALLOC) {
        return AllocFlags::empty();
    }
    if gfp.contains(Gfp::MEMALLOC) || (who.in_softirq && who.pf_memalloc) {
        return AllocFlags::NO_WATERMARKS;
    }
    if who.in_interrupt || who.in_softirq {
        return AllocFlags::empty();
    }
    if who.pf_memalloc {
        return AllocFlags::NO_WATERMARKS;
    }
    policy.victim_right(who.group_victim, who.tif_memdie)
}

/// Step S9: reserve rights replace the other flags, or join them (`half-or`). No rights: unchanged.
#[inline]
pub fn apply_reserve_flags(
    policy: &Policy,
    gfp: Gfp,
    flags: AllocFlags,
    rights: AllocFlags,
) -> AllocFlags {
    if rights.is_empty() {
        return flags;
    }
    if policy.reserves.adds_rights() {
        return flags | rights;
    }
    let replaced = if policy.release.reserve_flags_keep_cma() {
        gfp_to_alloc_flags_cma(gfp, rights)
    } else {
        rights
    };
    if policy.release.reserve_flags_keep_kswapd() {
        replaced | (flags & AllocFlags::KSWAPD)
    } else {
        replaced
    }
}

/// A mask as `%#x(%pGg)` prints it in a release: `0xcc0(GFP_KERNEL)`.
#[derive(Clone, Copy, Debug)]
pub struct GfpDisplay {
    gfp: Gfp,
    release: Release,
}

impl Gfp {
    /// The mask as that release prints it, bits and names.
    pub fn display(self, release: Release) -> GfpDisplay {
        GfpDisplay { gfp: self, release }
    }

    /// The mask in that release's own bit values.
    pub fn bits_in(self, release: Release) -> u32 {
        GfpLayout::of(release).bits(self)
    }
}

impl fmt::Display for GfpDisplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}(", self.gfp.bits_in(self.release))?;
        let mut left = self.gfp;
        let mut bar = "";
        for &(name, mask) in NAMES {
            let mask = mask.of(self.release);
            if !left.is_empty() && !mask.is_empty() && left.contains(mask) {
                let name = if mask == Gfp::RETRY_MAYFAIL {
                    self.release.retry_mayfail_name()
                } else {
                    name
                };
                write!(f, "{bar}{name}")?;
                bar = "|";
                left -= mask;
            }
        }
        write!(f, ")")
    }
}

/// A named set, or one that differs by release.
#[derive(Clone, Copy)]
pub(crate) enum Named {
    Set(Gfp),
    Atomic,
    Nowait,
}

impl Named {
    pub(crate) fn of(self, release: Release) -> Gfp {
        match self {
            Self::Set(gfp) => gfp,
            Self::Atomic => Gfp::atomic(release),
            Self::Nowait => Gfp::nowait(release),
        }
    }
}

/// Names in the order in which the kernel tries them (mmflags.h).
pub(crate) const NAMES: &[(&str, Named)] = &[
    ("GFP_TRANSHUGE", Named::Set(Gfp::TRANSHUGE)),
    ("GFP_TRANSHUGE_LIGHT", Named::Set(Gfp::TRANSHUGE_LIGHT)),
    ("GFP_HIGHUSER_MOVABLE", Named::Set(Gfp::HIGHUSER_MOVABLE)),
    ("GFP_HIGHUSER", Named::Set(Gfp::HIGHUSER)),
    ("GFP_USER", Named::Set(Gfp::USER)),
    ("GFP_KERNEL_ACCOUNT", Named::Set(Gfp::KERNEL_ACCOUNT)),
    ("GFP_KERNEL", Named::Set(Gfp::KERNEL)),
    ("GFP_NOFS", Named::Set(Gfp::NOFS)),
    ("GFP_ATOMIC", Named::Atomic),
    ("GFP_NOIO", Named::Set(Gfp::NOIO)),
    ("GFP_NOWAIT", Named::Nowait),
    ("GFP_DMA", Named::Set(Gfp::DMA)),
    ("__GFP_HIGHMEM", Named::Set(Gfp::HIGHMEM)),
    ("GFP_DMA32", Named::Set(Gfp::DMA32)),
    ("__GFP_HIGH", Named::Set(Gfp::HIGH)),
    ("__GFP_ATOMIC", Named::Set(Gfp::ATOMIC)),
    ("__GFP_IO", Named::Set(Gfp::IO)),
    ("__GFP_FS", Named::Set(Gfp::FS)),
    ("__GFP_NOWARN", Named::Set(Gfp::NOWARN)),
    ("__GFP_RETRY_MAYFAIL", Named::Set(Gfp::RETRY_MAYFAIL)),
    ("__GFP_NOFAIL", Named::Set(Gfp::NOFAIL)),
    ("__GFP_NORETRY", Named::Set(Gfp::NORETRY)),
    ("__GFP_COMP", Named::Set(Gfp::COMP)),
    ("__GFP_ZERO", Named::Set(Gfp::ZERO)),
    ("__GFP_NOMEMALLOC", Named::Set(Gfp::NOMEMALLOC)),
    ("__GFP_MEMALLOC", Named::Set(Gfp::MEMALLOC)),
    ("__GFP_HARDWALL", Named::Set(Gfp::HARDWALL)),
    ("__GFP_THISNODE", Named::Set(Gfp::THISNODE)),
    ("__GFP_RECLAIMABLE", Named::Set(Gfp::RECLAIMABLE)),
    ("__GFP_MOVABLE", Named::Set(Gfp::MOVABLE)),
    ("__GFP_ACCOUNT", Named::Set(Gfp::ACCOUNT)),
    ("__GFP_WRITE", Named::Set(Gfp::WRITE)),
    ("__GFP_RECLAIM", Named::Set(Gfp::RECLAIM)),
    ("__GFP_DIRECT_RECLAIM", Named::Set(Gfp::DIRECT_RECLAIM)),
    ("__GFP_KSWAPD_RECLAIM", Named::Set(Gfp::KSWAPD_RECLAIM)),
];

/// Values of the bits in print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GfpLayout {
    /// 4.4 to 4.9.
    V4_4,
    /// 4.10 to 4.17, where the gap that __GFP_OTHER_NODE had left was closed.
    V4_10,
    /// 4.18 to 5.1, where the gap that kmemcheck had left was closed.
    V4_18,
    /// 5.2 and later: the bits used inside.
    V5_2,
}

impl GfpLayout {
    /// The one of a release.
    pub fn of(release: Release) -> Self {
        if release >= Release::V5_4 {
            Self::V5_2
        } else if release >= Release::V4_18 {
            Self::V4_18
        } else if release >= Release::V4_11 {
            Self::V4_10
        } else {
            Self::V4_4
        }
    }

    fn bits(self, gfp: Gfp) -> u32 {
        let old = match self {
            Self::V5_2 => return gfp.bits(),
            Self::V4_4 => 0,
            Self::V4_10 => 1,
            Self::V4_18 => 2,
        };
        OLD_BITS.iter().filter(|(flag, _)| gfp.contains(*flag)).map(|(_, bits)| bits[old]).sum()
    }
}

/// Flag, value in 4.4 to 4.9, in 4.10 to 4.17, in 4.18 to 5.1.
const OLD_BITS: &[(Gfp, [u32; 3])] = &[
    (Gfp::DMA, [0x1, 0x1, 0x1]),
    (Gfp::HIGHMEM, [0x2, 0x2, 0x2]),
    (Gfp::DMA32, [0x4, 0x4, 0x4]),
    (Gfp::MOVABLE, [0x8, 0x8, 0x8]),
    (Gfp::RECLAIMABLE, [0x10, 0x10, 0x10]),
    (Gfp::HIGH, [0x20, 0x20, 0x20]),
    (Gfp::IO, [0x40, 0x40, 0x40]),
    (Gfp::FS, [0x80, 0x80, 0x80]),
    (Gfp::NOWARN, [0x200, 0x200, 0x200]),
    (Gfp::RETRY_MAYFAIL, [0x400, 0x400, 0x400]),
    (Gfp::NOFAIL, [0x800, 0x800, 0x800]),
    (Gfp::NORETRY, [0x1000, 0x1000, 0x1000]),
    (Gfp::MEMALLOC, [0x2000, 0x2000, 0x2000]),
    (Gfp::COMP, [0x4000, 0x4000, 0x4000]),
    (Gfp::ZERO, [0x8000, 0x8000, 0x8000]),
    (Gfp::NOMEMALLOC, [0x10000, 0x10000, 0x10000]),
    (Gfp::HARDWALL, [0x20000, 0x20000, 0x20000]),
    (Gfp::THISNODE, [0x40000, 0x40000, 0x40000]),
    (Gfp::ATOMIC, [0x80000, 0x80000, 0x80000]),
    (Gfp::ACCOUNT, [0x100000, 0x100000, 0x100000]),
    (Gfp::DIRECT_RECLAIM, [0x400000, 0x400000, 0x200000]),
    (Gfp::WRITE, [0x1000000, 0x800000, 0x100]),
    (Gfp::KSWAPD_RECLAIM, [0x2000000, 0x1000000, 0x400000]),
];

#[cfg(test)]
#[path = "gfp_tests.rs"]
mod tests;
