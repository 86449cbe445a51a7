//! Releases, and every release-dependent fact that is no axis.
//!
//! **What.** One small method for each fact of docs/kernel that changed between the
//! releases modelled and that no axis decides. The order is that of docs/kernel.
//!
//! **Why.** A mechanism asks for the fact by name, so that what a release does stands in one file
//! and a preset can be checked against its sources.
//!
//! **Source.** The trees and commits that docs/kernel/README.md names; facts marked (mem) there are
//! marked so here.
//!
//! **Differs.** A preset stands for what was tagged: where a fact is known to come from a stable
//! backport only, the release it was merged in decides.

/// A kernel release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// Linux 4.9.
    V4_9,
    /// Linux 4.11.
    V4_11,
    /// Linux 4.13.
    V4_13,
    /// Linux 4.14.
    V4_14,
    /// Linux 4.18.
    V4_18,
    /// Linux 5.4.
    V5_4,
    /// Linux 5.10.
    V5_10,
    /// Linux 5.12.
    V5_12,
    /// Linux 5.15.
    V5_15,
    /// Linux 5.17.
    V5_17,
    /// Linux 6.1.
    V6_1,
    /// Linux 6.4.
    V6_4,
    /// Linux 6.6.
    V6_6,
    /// Linux 6.12.
    V6_12,
    /// Linux 6.18.
    V6_18,
    /// Linux 6.19, the newest: `mainline`.
    V6_19,
}

use Release::{
    V4_11, V4_13, V4_14, V4_18, V5_4, V5_10, V5_12, V5_15, V5_17, V6_1, V6_4, V6_6, V6_12, V6_18,
    V6_19,
};

impl Release {
    /// All releases, the oldest first.
    pub const ALL: [Self; 16] = [
        Self::V4_9,
        V4_11,
        V4_13,
        V4_14,
        V4_18,
        V5_4,
        V5_10,
        V5_12,
        V5_15,
        V5_17,
        V6_1,
        V6_4,
        V6_6,
        V6_12,
        V6_18,
        V6_19,
    ];

    /// The word for the newest release, whichever that is.
    pub const MAINLINE: &'static str = "mainline";

    /// The newest release.
    pub const NEWEST: Self = V6_19;

    /// When the newest one's facts were last held against its source.
    pub const READ_ON: &'static str = "2026-12-01";

    /// The word in specs and records.
    pub fn word(self) -> &'static str {
        match self {
            Self::V4_9 => "v4.9",
            V4_11 => "v4.11",
            V4_13 => "v4.13",
            V4_14 => "v4.14",
            V4_18 => "v4.18",
            V5_4 => "v5.4",
            V5_10 => "v5.10",
            V5_12 => "v5.12",
            V5_15 => "v5.15",
            V5_17 => "v5.17",
            V6_1 => "v6.1",
            V6_4 => "v6.4",
            V6_6 => "v6.6",
            V6_12 => "v6.12",
            V6_18 => "v6.18",
            V6_19 => "v6.19",
        }
    }

    /// The release with this word, or the newest for `mainline`.
    pub fn from_word(word: &str) -> Option<Self> {
        if word == Self::MAINLINE {
            return Some(Self::NEWEST);
        }
        Self::ALL.into_iter().find(|r| r.word() == word)
    }

    /// The version that the preset stands for, in numbers.
    pub fn version(self) -> &'static str {
        &self.word()[1..]
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// When blocks of different pageblock types merge (docs/kernel/zones-and-buddy.md#a3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeRule {
    /// Only a zone with isolated pageblocks keeps them apart, and only from others. Up to 5.17.
    KeepIsolatedApart,
    /// Unmovable, Movable and Reclaimable merge; nothing else does. 5.18.
    MergeableTypes,
}

/// How blocks of another type are taken (docs/kernel/zones-and-buddy.md#a4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StealRule {
    /// Up to 4.12: without the search for the smallest block.
    Classic,
    /// 4.13 to 6.8: Movable requests that may not claim take the smallest fallback block.
    ClassicFindSmallest,
    /// From 6.10: claim if at least half fits, else steal one block and leave the type.
    ClaimThenSteal,
}

/// How many pages a zone's highatomic reserve may have (docs/kernel/zones-and-buddy.md#a5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HighatomicLimit {
    /// managed / 100 + one pageblock. Up to 6.6.
    PercentPlusBlock,
    /// None below one pageblock in the percent, else the percent rounded up to pageblocks.
    PercentOrNone,
}

/// How free_pcppages_bulk goes over the lists (docs/kernel/pcplists.md#a6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcpBulk {
    /// Round robin with a growing share, collected outside zone->lock. Up to 5.17.
    RoundRobinBatchFree,
    /// From the list just freed to, under zone->lock throughout. 5.18.
    FromListFreed,
}

/// Where a zone's pcp batch comes from (docs/kernel/pcplists.md#a6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcpBatch {
    /// managed >> 10, at most 128 pages, a quarter. Up to 4.18 (mem).
    Kib512,
    /// managed >> 10, at most 256 pages, a quarter. 4.19 to 6.18.
    Mib1,
    /// managed >> 12, at most 64. 6.19.
    Quarter,
}

/// What S10 resets for requests without ALLOC_CPUSET or with reserve rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveReset {
    /// The zonelist of the CPU's node; the nodemask stays. Up to 4.18.
    ZonelistOfCpu,
    /// The nodemask is dropped. 4.19.
    DropNodemask,
}

/// When a victim leaves the slow path (S19c; in 4.9 S13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VictimExit {
    /// Before reclaim: TIF_MEMDIE and not __GFP_NOFAIL. Up to 4.10.
    BeforeReclaim,
    /// TIF_MEMDIE. 4.11.
    Memdie,
    /// TIF_MEMDIE, and the pass ran without watermarks or with __GFP_NOMEMALLOC. 4.12, 4.13.
    MemdieNoWatermarks,
    /// A victim whose flags equal ALLOC_OOM, or __GFP_NOMEMALLOC. 4.14 to 5.7.
    FlagsEqualOom,
    /// A victim whose flags hold ALLOC_OOM, or __GFP_NOMEMALLOC. 5.8.
    FlagsHoldOom,
}

/// What the fast path does about cpusets (docs/kernel/requests.md#b3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastPathCpuset {
    /// ALLOC_CPUSET always, and the live mems_allowed as nodemask if there is none. Up to 4.10.
    FlagAlways,
    /// Either the live mems_allowed as nodemask, or ALLOC_CPUSET. 4.11.
    MaskOrFlag,
    /// The same, but interrupts get ALLOC_CPUSET and no mask. 5.10 at the latest.
    MaskInTaskContext,
}

/// Which threads make a process eligible for an OOM with a nodemask (docs/kernel/oom.md#e3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomDomain {
    /// BIND and INTERLEAVE are compared. Up to 5.13.
    BindAndInterleave,
    /// Only BIND is. 5.14.
    Bind,
}

/// What oom_badness sums up (docs/kernel/oom.md#e5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Badness {
    /// Page tables by number, root's 3 % off, floor 1. Up to 4.14.
    RootBonus,
    /// Page tables by bytes, floor 1. 4.17 to 5.8.
    Floor1,
    /// May be negative. 5.9.
    Signed,
}

/// The `invoked oom-killer` line (docs/kernel/oom.md#e6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomHeader {
    /// With nodemask, which is mems_allowed where there is none, one blank before order. Up to 4.10.
    NodemaskOrMems,
    /// With nodemask, two blanks before order. 4.11 to 4.14.
    NodemaskTwoBlanks,
    /// With nodemask, one blank. 4.17 to 4.19.
    NodemaskOneBlank,
    /// Without; a summary line follows the report. 5.0.
    Summary,
}

/// The table of tasks in an OOM report (docs/kernel/oom.md#e6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomTaskTable {
    /// nr_ptes and nr_pmds. Up to 4.14.
    NrPtes,
    /// pgtables_bytes. 4.17.
    PgtablesBytes,
    /// With a heading line. 4.19 to 6.6.
    TasksState,
    /// With rss split. 6.12 at the latest.
    RssSplit,
}

/// The lines about the victim (docs/kernel/oom.md#e6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomKillLine {
    /// `Kill process ... or sacrifice child`, then `Killed process ...`. Up to 5.0.
    KillAndKilled,
    /// One line with UID, pgtables and oom_score_adj.
    Killed,
}

impl Release {
    // A.3 to A.5: buddy, stealing, highatomic

    /// When blocks of different types merge.
    pub fn merge_rule(self) -> MergeRule {
        if self >= V6_1 { MergeRule::MergeableTypes } else { MergeRule::KeepIsolatedApart }
    }

    /// How blocks of another type are taken.
    pub fn steal_rule(self) -> StealRule {
        if self >= V6_12 {
            StealRule::ClaimThenSteal
        } else if self >= V4_13 {
            StealRule::ClassicFindSmallest
        } else {
            StealRule::Classic
        }
    }

    /// Does a fallback steal boost the zone's marks (5.0)?
    pub fn has_watermark_boost(self) -> bool {
        self >= V5_4
    }

    /// Is there ALLOC_NOFRAGMENT (5.0)?
    pub fn has_nofragment(self) -> bool {
        self >= V5_4
    }

    /// How large the highatomic reserve may get.
    pub fn highatomic_limit(self) -> HighatomicLimit {
        if self >= V6_12 {
            HighatomicLimit::PercentOrNone
        } else {
            HighatomicLimit::PercentPlusBlock
        }
    }

    /// May OOM victims take highatomic pages after all else failed (6.3)?
    pub fn oom_takes_highatomic(self) -> bool {
        self >= V6_4
    }

    /// May ALLOC_NON_BLOCK requests take highatomic pages after all else failed?
    pub fn non_block_takes_highatomic(self) -> bool {
        self >= V6_12
    }

    /// Is the highatomic reserve given back at every "no" of should_reclaim_retry (6.8), or only
    /// when the retries are used up?
    pub fn unreserves_at_every_no(self) -> bool {
        self >= V6_12
    }

    /// Does the watermark test subtract only the free part of the highatomic reserve? c928807f6f6b,
    /// posted in October 2024: 6.12, with stable back-ports.
    pub fn counts_free_highatomic(self) -> bool {
        self >= V6_12
    }

    // A.6, A.7: pcplists and the free path, as far as the `pcp` axis leaves open

    /// Where batch comes from.
    pub fn pcp_batch(self) -> PcpBatch {
        if self >= V6_19 {
            PcpBatch::Quarter
        } else if self >= V5_4 {
            PcpBatch::Mib1
        } else {
            PcpBatch::Kib512
        }
    }

    /// Does a free of orders 1 to 3 after others free the whole list ("free_high", 5.19)?
    pub fn has_pcp_free_high(self) -> bool {
        self >= V6_1
    }

    /// How long is a burst of such frees where high tunes itself: batch + high_min / 2 pages
    /// (6.16), or batch?
    pub fn pcp_bursts_are_long(self) -> bool {
        self >= V6_18
    }

    /// How bulk frees go over the lists.
    pub fn pcp_bulk(self) -> PcpBulk {
        if self >= V6_1 { PcpBulk::FromListFreed } else { PcpBulk::RoundRobinBatchFree }
    }

    /// Does an empty refill try the buddy under zone->lock before the zone is given up (6.0)?
    pub fn pcp_miss_tries_buddy(self) -> bool {
        self >= V6_1
    }

    /// Number of lists for THP: 0 without, 1 (5.13 on), 2 by movability.
    pub fn pcp_thp_lists(self) -> usize {
        if self >= V6_12 {
            2
        } else if self >= V5_15 {
            1
        } else {
            0
        }
    }

    /// Are a new batch and high published in an order that readers can rely on (up to 5.10)?
    pub fn pageset_update_is_ordered(self) -> bool {
        self <= V5_10
    }

    /// Do the idle decay and a free beyond high let go of pcp->lock between batches (fc4b909c368f,
    /// 91e691296646, 6.19), or give all back in one hold?
    pub fn pcp_frees_in_batches(self) -> bool {
        self >= V6_19
    }

    /// Is the pageblock's type read again under zone->lock on every free (6.10), or only if the
    /// zone has isolated pageblocks or the type read before is Isolate?
    pub fn free_always_rereads_type(self) -> bool {
        self >= V6_12
    }

    // A.8, A.9: watermarks, zonelists

    /// Largest min_free_kbytes that is computed.
    pub fn min_free_kbytes_max(self) -> u64 {
        if self >= V5_10 { 262_144 } else { 65_536 }
    }

    /// Does khugepaged count only zones below Movable for its raise (4.17 (mem))?
    pub fn khugepaged_counts_below_movable(self) -> bool {
        self >= V4_18
    }

    /// Is min_free_kbytes computed once more at boot, with marks in force, where THP is `never`?
    /// bd3400ea173f, 5.16 (mem); a 6.1 without THP shows it.
    pub fn khugepaged_recalculates_when_off(self) -> bool {
        self >= V5_17
    }

    /// Does khugepaged raise min_free_kbytes again after each on- and offline (5.10)?
    pub fn khugepaged_raises_after_hotplug(self) -> bool {
        self >= V5_10
    }

    /// Has Movable marks of its own, as high memory has (after 6.5)?
    pub fn movable_is_highmem(self) -> bool {
        self >= V6_12
    }

    /// Has lowmem_reserve_ratio an entry for Movable, and may entries be 0 (5.0 at the latest)?
    pub fn lowmem_ratio_may_be_zero(self) -> bool {
        self >= V5_4
    }

    /// Is a zone without managed pages without protection too (5.13 (mem))? Only print differs.
    pub fn empty_zone_has_no_protection(self) -> bool {
        self >= V5_15
    }

    /// Does the order-0 shortcut leave out the highatomic reserve (5.9 (mem))?
    pub fn watermark_fast_leaves_highatomic(self) -> bool {
        self >= V5_10
    }

    /// Does the order-0 check look once more without the boost (5.8 (mem))?
    pub fn watermark_fast_ignores_boost(self) -> bool {
        self >= V5_10
    }

    /// Do zonelists hold zones with present pages (5.18), or only managed ones?
    pub fn zonelists_hold_populated(self) -> bool {
        self >= V6_1
    }

    /// Does a node without memory still head its own list (up to 6.1)?
    pub fn memoryless_node_heads_its_list(self) -> bool {
        self < V6_12
    }

    /// Does a node that was chosen before carry the sum of its loads (5.16), or the last one?
    pub fn node_load_accumulates(self) -> bool {
        self >= V5_17
    }

    /// Weight of distance and penalties against node_load, for `nr_online` nodes.
    pub fn node_distance_weight(self, nr_online: u64) -> u64 {
        let max_numnodes = crate::ids::MAX_NUMNODES as u64;
        if self >= V6_1 { max_numnodes } else { nr_online * max_numnodes }
    }

    /// Is an array of zonerefs emptied before it grows (up to 4.13, with all CPUs stopped)?
    pub fn zonelist_is_cleared_first(self) -> bool {
        self <= V4_13
    }

    /// Is `Fallback order for Node` printed inside the lock (5.16)?
    pub fn prints_fallback_order(self) -> bool {
        self >= V5_17
    }

    // B: allocation

    /// Is there __GFP_ATOMIC (up to 6.2)?
    pub fn has_gfp_atomic(self) -> bool {
        self < V6_4
    }

    /// Has GFP_NOWAIT __GFP_NOWARN (6.12 at the latest)?
    pub fn nowait_has_nowarn(self) -> bool {
        self >= V6_12
    }

    /// What __GFP_RETRY_MAYFAIL is called.
    pub fn retry_mayfail_name(self) -> &'static str {
        if self >= V4_13 { "__GFP_RETRY_MAYFAIL" } else { "__GFP_REPEAT" }
    }

    /// Is there ALLOC_KSWAPD (5.0)?
    pub fn has_alloc_kswapd(self) -> bool {
        self >= V5_4
    }

    /// Do reserve flags keep ALLOC_CMA of movable requests?
    pub fn reserve_flags_keep_cma(self) -> bool {
        self >= V5_10
    }

    /// Do reserve flags keep ALLOC_KSWAPD?
    pub fn reserve_flags_keep_kswapd(self) -> bool {
        self >= V6_1
    }

    /// What the fast path does about cpusets.
    pub fn fast_path_cpuset(self) -> FastPathCpuset {
        if self >= V5_10 {
            FastPathCpuset::MaskInTaskContext
        } else if self >= V4_11 {
            FastPathCpuset::MaskOrFlag
        } else {
            FastPathCpuset::FlagAlways
        }
    }

    /// Are zones that fail their high mark remembered (ZONE_BELOW_HIGH, 6.7)?
    pub fn has_below_high(self) -> bool {
        self >= V6_12
    }

    /// Is there the test for cpusets with movable nodes only (S3b, 5.16)?
    pub fn has_insane_cpuset_test(self) -> bool {
        self >= V5_17
    }

    /// What S10 resets.
    pub fn reserve_reset(self) -> ReserveReset {
        if self >= V5_4 { ReserveReset::DropNodemask } else { ReserveReset::ZonelistOfCpu }
    }

    /// Does should_reclaim_retry skip zones outside the cpuset (S17)?
    pub fn reclaim_retry_tests_cpuset(self) -> bool {
        self >= V6_12
    }

    /// Does the throttle of direct reclaim also count a zone that has neither anything to reclaim
    /// nor a free page? 4bd22a7ae574, 6.18, as it was posted; the merged form wasn't read (mem).
    ///
    /// It took back that zone_reclaimable_pages says "free" where nothing is reclaimable, as 6.13
    /// to 6.17 do (and stable trees from 6.1 for a while): no release modelled here has that.
    pub fn throttle_counts_exhausted(self) -> bool {
        self >= V6_18
    }

    /// When a victim leaves the slow path.
    pub fn victim_exit(self) -> VictimExit {
        if self >= V5_10 {
            VictimExit::FlagsHoldOom
        } else if self >= V4_14 {
            VictimExit::FlagsEqualOom
        } else if self >= V4_13 {
            VictimExit::MemdieNoWatermarks
        } else if self >= V4_11 {
            VictimExit::Memdie
        } else {
            VictimExit::BeforeReclaim
        }
    }

    // C, D: cpusets and policies, as far as the axes leave open

    /// Do VMA policies follow the cpuset's effective mems (after 6.8), or its configured ones?
    pub fn vma_rebind_uses_effective_mems(self) -> bool {
        self >= V6_12
    }

    /// Does mpol_rebind_mm take each VMA's lock for writing (6.5)?
    pub fn rebind_locks_vmas(self) -> bool {
        self >= V6_6
    }

    /// Do faults run under a VMA's lock alone (6.4)?
    pub fn has_vma_locks(self) -> bool {
        self >= V6_4
    }

    /// Does the hotplug notifier update cpusets itself (6.10), or queue work?
    pub fn hotplug_updates_cpusets_at_once(self) -> bool {
        self >= V6_12
    }

    /// Does an OOM victim's whole group pass the cpuset test (4.14), or the marked thread?
    pub fn victim_group_passes_cpuset(self) -> bool {
        self >= V4_14
    }

    /// Does a rebind move the node of PREFERRED (up to 5.13)?
    pub fn rebind_moves_preferred(self) -> bool {
        self < V5_15
    }

    /// Does interleaving keep the next node (il_next, up to 4.12), or the last one (il_prev)?
    pub fn interleave_keeps_next(self) -> bool {
        self < V4_13
    }

    /// Does interleaving by VMA count on a private copy of the mask?
    pub fn vma_interleave_copies_mask(self) -> bool {
        self >= V5_17
    }

    /// Does interleaving by task notice a rebind in between?
    pub fn task_interleave_retries(self) -> bool {
        self >= V6_12
    }

    /// Is there MPOL_PREFERRED_MANY (5.15)?
    pub fn has_preferred_many(self) -> bool {
        self >= V5_15
    }

    /// Is there MPOL_WEIGHTED_INTERLEAVE (6.9)?
    pub fn has_weighted_interleave(self) -> bool {
        self >= V6_12
    }

    /// Does mbind migrate under mmap_lock for writing (up to 6.6 (mem))?
    pub fn mbind_migrates_locked(self) -> bool {
        self <= V6_6
    }

    // E: OOM, as far as `exit` and `reserves` leave open

    /// Does the page-fault handler's out_of_memory kill (up to 5.15)?
    pub fn page_fault_oom_kills(self) -> bool {
        self <= V5_15
    }

    /// Does out_of_memory sleep a tick with oom_lock held after a kill (up to 4.18)?
    pub fn oom_sleeps_after_kill(self) -> bool {
        self <= V4_18
    }

    /// Is no victim found reported before the panic (4.19), with the newer words?
    pub fn no_victim_is_reported(self) -> bool {
        self >= V5_4
    }

    /// Do totalpages of a constrained OOM count present pages (5.7), or spanned ones?
    pub fn oom_counts_present_pages(self) -> bool {
        self >= V5_10
    }

    /// Whose task policy makes it ineligible.
    pub fn oom_domain(self) -> OomDomain {
        if self >= V5_15 { OomDomain::Bind } else { OomDomain::BindAndInterleave }
    }

    /// Does the later of two equally bad processes win (5.3)?
    pub fn oom_tie_goes_to_later(self) -> bool {
        self >= V5_4
    }

    /// What badness sums up.
    pub fn badness(self) -> Badness {
        if self >= V5_10 {
            Badness::Signed
        } else if self >= V4_18 {
            Badness::Floor1
        } else {
            Badness::RootBonus
        }
    }

    /// The first line of a report.
    pub fn oom_header(self) -> OomHeader {
        if self >= V5_4 {
            OomHeader::Summary
        } else if self >= V4_18 {
            OomHeader::NodemaskOneBlank
        } else if self >= V4_11 {
            OomHeader::NodemaskTwoBlanks
        } else {
            OomHeader::NodemaskOrMems
        }
    }

    /// The table of tasks.
    pub fn oom_task_table(self) -> OomTaskTable {
        if self >= V6_12 {
            OomTaskTable::RssSplit
        } else if self >= V5_4 {
            OomTaskTable::TasksState
        } else if self >= V4_18 {
            OomTaskTable::PgtablesBytes
        } else {
            OomTaskTable::NrPtes
        }
    }

    /// The lines about the victim.
    pub fn oom_kill_line(self) -> OomKillLine {
        if self >= V5_4 { OomKillLine::Killed } else { OomKillLine::KillAndKilled }
    }

    /// Is a victim that lost its mm meanwhile reported (5.10)?
    pub fn reports_exiting_victim(self) -> bool {
        self >= V5_10
    }

    /// Does the reaper walk the areas from the last to the first (5e1953dc71af, 6.18)?
    pub fn reaps_in_reverse(self) -> bool {
        self >= V6_18
    }

    // G: hotplug, as far as `offline` leaves open

    /// Does everything in Movable pass as movable at isolation (5.0)?
    pub fn movable_zone_isolates_all(self) -> bool {
        self >= V5_4
    }

    /// Are the first and last pageblock isolated before those between (6.0)?
    pub fn isolates_ends_first(self) -> bool {
        self >= V6_1
    }

    /// Are LRU batches off during an offline (5.13), instead of drained in each pass?
    pub fn offline_disables_lru_cache(self) -> bool {
        self >= V5_15
    }

    /// Pages that one pass of do_migrate_range takes at most (up to 4.19).
    pub fn migrate_range_limit(self) -> Option<u32> {
        (self <= V4_18).then_some(256)
    }

    /// Does the recomputation of watermarks also set pcp sizes (5.14)?
    pub fn watermarks_set_pcp_sizes(self) -> bool {
        self >= V5_15
    }

    /// Does a node leave N_MEMORY before the zonelists are rebuilt (after 6.12)?
    pub fn node_leaves_before_rebuild(self) -> bool {
        self >= V6_18
    }

    /// Does the zone's span shrink when its first or last block goes offline (5.5)?
    pub fn offline_shrinks_span(self) -> bool {
        self >= V5_10
    }

    /// Are pageblocks isolated until an online has ended, pages put at the tail (5.10)?
    pub fn online_isolates_first(self) -> bool {
        self >= V5_10
    }

    // mm: areas

    /// Does munmap unmap and free with mmap_lock held for reading (4.20)?
    pub fn munmap_downgrades_lock(self) -> bool {
        self >= V5_4
    }

    /// Does a fault under an area's own lock leave all but anonymous memory to mmap_lock (6.4)?
    pub fn vma_lock_faults_are_anonymous(self) -> bool {
        self == V6_4
    }

    // H: kswapd, LRU

    /// Does kswapd's wake-up test the cpuset with HARDWALL (4.13), or with the request's mask?
    pub fn kswapd_tests_hardwall(self) -> bool {
        self <= V4_14
    }

    /// Do new anonymous pages go to the inactive list (5.9)?
    pub fn new_anon_is_inactive(self) -> bool {
        self >= V5_10
    }

    /// Pages in a per-CPU LRU batch.
    pub fn lru_batch_pages(self) -> usize {
        if self >= V6_12 {
            31
        } else if self >= V4_18 {
            15
        } else {
            14
        }
    }
}
