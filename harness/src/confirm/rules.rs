//! Where the labels of race points are in a kernel: one line a rule, no addresses, no source text.
//!
//! **How to read.** A label may have several rules; the first that fits a kernel gives its place.
//! Each names the functions to look in (the names that releases gave it; the first that exists) and
//! a place in it. A point of the model stands where a task may be interrupted: behind the step that
//! it tells of, or before the one that it announces; the place says which by its word.
//!
//! **How to add one.** `stress confirm --points --kernel DIR --calls FUNCTION` prints what there is
//! to name: calls in the order of their addresses, and inlined copies.

use allocator_explore::race::Point;

/// A place in a function. Calls and copies are counted from 0 in the order of their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its first instruction.
    Entry,
    /// Before the n-th call.
    Before(&'static str, usize),
    /// Behind the n-th call.
    After(&'static str, usize),
    /// Before the n-th call that comes from an inlined function's copy; from no copy at all if that
    /// name is empty.
    BeforeIn(&'static str, &'static str, usize),
    /// Behind it.
    AfterIn(&'static str, &'static str, usize),
    /// At the first instruction of the n-th inlined copy.
    Inline(&'static str, usize),
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// For this point.
    pub point: Point,
    /// In the first of these functions that exists.
    pub within: &'static [&'static str],
    /// There.
    pub place: Place,
}

use Place::{After, AfterIn, Before, BeforeIn, Entry, Inline};
use Point as P;

/// The fast path, by release: 6.14, 6.10, 5.13, older.
pub const ALLOC: &[&str] = &[
    "__alloc_frozen_pages_noprof",
    "__alloc_pages_noprof",
    "__alloc_pages",
    "__alloc_pages_nodemask",
];
const SLOW: &[&str] = &["__alloc_pages_slowpath"];
const GPFL: &[&str] = &["get_page_from_freelist"];
const MAY_OOM: &[&str] = &["__alloc_pages_may_oom", "__alloc_pages_slowpath"];
const BY_POLICY: &[&str] =
    &["alloc_pages_mpol", "alloc_pages_mpol_noprof", "alloc_pages", "alloc_pages_current"];
const FAULT: &[&str] =
    &["do_anonymous_page", "handle_pte_fault", "__handle_mm_fault", "handle_mm_fault"];
const DO_FAULT: &[&str] = &["do_user_addr_fault", "exc_page_fault"];
const TASK_MEMS: &[&str] =
    &["cpuset_change_task_nodemask", "cpuset_update_tasks_nodemask", "update_tasks_nodemask"];
const ALL_TASKS: &[&str] = &["cpuset_update_tasks_nodemask", "update_tasks_nodemask"];
const WRITE: &[&str] = &["cpuset_write_resmask"];
const UPDATE: &[&str] = &["update_nodemask", "cpuset_write_resmask"];
const FREE: &[&str] = &["free_frozen_pages", "__free_frozen_pages", "free_unref_page"];
const COMMIT: &[&str] = &["free_frozen_page_commit", "free_unref_page_commit", "free_unref_page"];
const OFFLINE: &[&str] = &["offline_pages"];
const ISOLATE: &[&str] =
    &["set_migratetype_isolate", "isolate_single_pageblock", "start_isolate_page_range"];
const EXIT: &[&str] = &["exit_mmap"];
const EXIT_MM: &[&str] = &["exit_mm", "do_exit"];
const MMPUT: &[&str] = &["__mmput", "mmput"];
const OOM: &[&str] = &["out_of_memory"];
const KILL: &[&str] = &["__oom_kill_process"];
const MARK: &[&str] = &["mark_oom_victim"];
const REAP: &[&str] = &["oom_reap_task_mm", "oom_reap_task", "oom_reaper"];
const REAPER: &[&str] = &["oom_reap_task", "oom_reaper"];
const REAP_MM: &[&str] = &["__oom_reap_task_mm"];
const EVALUATE: &[&str] = &["oom_evaluate_task"];
const LISTS: &[&str] = &["__build_all_zonelists"];
const BUILD: &[&str] = &["build_zonelists", "__build_all_zonelists"];
const REFS: &[&str] = &["build_zonerefs_node", "build_zonelists", "__build_all_zonelists"];
const RMQUEUE: &[&str] = &["rmqueue_pcplist", "rmqueue", "get_page_from_freelist"];
const BULK: &[&str] =
    &["__rmqueue_pcplist", "rmqueue_bulk", "rmqueue_pcplist", "get_page_from_freelist"];
const DRAIN: &[&str] = &["__drain_all_pages", "drain_all_pages"];
const DRAIN_CPU: &[&str] = &["drain_pages_zone", "drain_pages"];
const REBIND: &[&str] = &["mpol_rebind_mm"];
const MRELEASE: &[&str] =
    &["__do_sys_process_mrelease", "__se_sys_process_mrelease", "__x64_sys_process_mrelease"];
const MBIND: &[&str] = &["do_mbind"];
const THROTTLE: &[&str] = &["throttle_direct_reclaim", "try_to_free_pages"];

const fn at(point: Point, within: &'static [&'static str], place: Place) -> Rule {
    Rule { point, within, place }
}

/// Points that are the model's own, and why no kernel has them.
pub const NO_PLACE: &[(Point, &str)] = &[
    (P::TaskStart, "a task of the world starts: the recipe does that"),
    (P::IrqHandler, "the model's own interrupt: any handler that allocates"),
    (P::IrqDone, "the model's own interrupt: any handler that allocates"),
    (P::UafWalk, "an event of the model's poison, no step"),
    (P::TtyLock, "the model's own console"),
    (P::TtyWait, "the model's own console"),
];

/// All rules.
pub const RULES: &[Rule] = &[
    at(P::D4Nodemask, BY_POLICY, BeforeIn("", "__alloc_frozen_pages_noprof", 0)),
    at(P::D4Nodemask, BY_POLICY, Before("__alloc_frozen_pages_noprof", 0)),
    at(P::D4Nodemask, BY_POLICY, BeforeIn("", "__alloc_pages_noprof", 0)),
    at(P::D4Nodemask, BY_POLICY, Before("__alloc_pages_noprof", 0)),
    at(P::D4Nodemask, BY_POLICY, BeforeIn("", "__alloc_pages", 0)),
    at(P::D4Nodemask, BY_POLICY, Before("__alloc_pages", 0)),
    at(P::D4Nodemask, BY_POLICY, BeforeIn("", "__alloc_pages_nodemask", 0)),
    at(P::D4Nodemask, BY_POLICY, Before("__alloc_pages_nodemask", 0)),
    // The kernel reads a mask of one word at once: behind the model's last word comes the walk.
    at(P::B3CpusetWord, ALLOC, Before("get_page_from_freelist", 0)),
    // The walk has taken the zone out of its entry.
    at(P::B3FastZone, GPFL, Inline("zone_watermark_fast", 0)),
    at(P::S1Cookies, SLOW, Inline("gfp_to_alloc_flags", 0)),
    at(P::S1Cookies, SLOW, Inline("first_zones_zonelist", 0)),
    at(P::S1Cookies, SLOW, Before("__next_zones_zonelist", 0)),
    at(P::F2Begin, SLOW, Inline("zonelist_iter_begin", 0)),
    at(P::F2Spin, SLOW, Inline("read_seqbegin", 0)),
    at(P::F2Spin, SLOW, Inline("zonelist_iter_begin", 0)),
    at(P::S3Preferred, SLOW, Before("wake_all_kswapds", 0)),
    at(P::S3Preferred, SLOW, Inline("wake_all_kswapds", 0)),
    at(P::S4WakeKswapd, SLOW, Before("wake_all_kswapds", 0)),
    at(P::S4WakeKswapd, SLOW, Inline("wake_all_kswapds", 0)),
    at(P::S5Try, SLOW, AfterIn("", "get_page_from_freelist", 0)),
    at(P::S7Retry, SLOW, Before("wake_all_kswapds", 1)),
    at(P::S7Retry, SLOW, Inline("wake_all_kswapds", 1)),
    at(P::S9Reserve, SLOW, Inline("__gfp_pfmemalloc_flags", 0)),
    at(P::S9Reserve, SLOW, Before("__gfp_pfmemalloc_flags", 0)),
    at(P::S10Reset, SLOW, BeforeIn("", "get_page_from_freelist", 1)),
    at(P::S11Try, SLOW, AfterIn("", "get_page_from_freelist", 1)),
    at(P::S14Reclaim, SLOW, After("try_to_free_pages", 0)),
    at(P::S14Reclaim, SLOW, After("__perform_reclaim", 0)),
    at(P::S14Reclaim, SLOW, After("__alloc_pages_direct_reclaim", 0)),
    at(P::ThrottleWait, THROTTLE, Before("schedule", 0)),
    at(P::ThrottleWait, THROTTLE, Before("schedule_timeout", 0)),
    at(P::S15Compact, SLOW, Before("__alloc_pages_direct_compact", 1)),
    at(P::S15Compact, SLOW, Before("try_to_compact_pages", 1)),
    at(P::S15Compact, SLOW, Inline("__alloc_pages_direct_compact", 1)),
    at(P::S15Compact, SLOW, Before("__alloc_pages_direct_compact", 0)),
    at(P::S17Retry, SLOW, After("should_reclaim_retry", 0)),
    at(P::S17Retry, SLOW, Inline("should_reclaim_retry", 0)),
    at(P::S19aCheck, SLOW, Before("__alloc_pages_may_oom", 0)),
    at(P::S19aCheck, SLOW, Inline("__alloc_pages_may_oom", 0)),
    at(P::S19bMayOom, SLOW, Before("__alloc_pages_may_oom", 0)),
    at(P::S19bMayOom, SLOW, Inline("__alloc_pages_may_oom", 0)),
    at(P::S19dProgress, SLOW, Inline("tsk_is_oom_victim", 0)),
    at(P::S20Nopage, SLOW, Inline("check_retry_cpuset", 1)),
    at(P::S20Nopage, SLOW, Before("warn_alloc", 0)),
    at(P::S22Fail, SLOW, Before("warn_alloc", 0)),
    at(P::C1MaskWord, SLOW, Inline("cpuset_nodemask_valid_mems_allowed", 0)),
    at(P::C1MaskWord, SLOW, Before("cpuset_nodemask_valid_mems_allowed", 0)),
    at(P::C1Empty, SLOW, After("cpuset_nodemask_valid_mems_allowed", 0)),
    at(P::C1Empty, SLOW, Inline("check_retry_cpuset", 0)),
    at(P::O1Trylock, MAY_OOM, After("mutex_trylock", 0)),
    at(P::O2LastTry, MAY_OOM, AfterIn("__alloc_pages_may_oom", "get_page_from_freelist", 0)),
    at(P::O2LastTry, MAY_OOM, After("get_page_from_freelist", 0)),
    at(P::O5Unlock, MAY_OOM, Before("mutex_unlock", 0)),
    // cpuset
    at(P::W5Mems, UPDATE, Before("spin_unlock_irq", 0)),
    at(P::W5Mems, UPDATE, Before("_raw_spin_unlock_irq", 0)),
    at(P::W5Mems, UPDATE, After("_raw_spin_lock_irq", 0)),
    at(P::W5Mems, WRITE, After("_raw_spin_lock_irq", 0)),
    at(
        P::W6Effective,
        &["update_nodemasks_hier", "update_nodemask", "cpuset_write_resmask"],
        Before("cpuset_update_tasks_nodemask", 0),
    ),
    at(
        P::W6Effective,
        &["update_nodemasks_hier", "update_nodemask", "cpuset_write_resmask"],
        Before("update_tasks_nodemask", 0),
    ),
    at(P::T1Rebound, ALL_TASKS, Entry),
    at(P::T3aSeqOdd, TASK_MEMS, Inline("write_seqcount_begin", 0)),
    at(P::T3aSeqOdd, TASK_MEMS, Inline("do_write_seqcount_begin", 0)),
    at(P::T3aSeqOdd, TASK_MEMS, Inline("do_write_seqcount_begin_nested", 0)),
    at(P::T3aMemsOr, TASK_MEMS, Before("mpol_rebind_task", 0)),
    at(P::T3aPolicyWritten, TASK_MEMS, After("mpol_rebind_task", 0)),
    at(P::T3aMemsWritten, TASK_MEMS, Inline("write_seqcount_end", 0)),
    at(P::T3aMemsWritten, TASK_MEMS, Inline("do_write_seqcount_end", 0)),
    at(P::T3aSeqEven, TASK_MEMS, Inline("task_unlock", 0)),
    at(P::T3aSeqEven, TASK_MEMS, Before("_raw_spin_unlock", 0)),
    at(P::T3cMmapLock, REBIND, Before("down_write", 0)),
    at(P::T3cVmaRebound, REBIND, After("mpol_rebind_policy", 0)),
    at(P::T3cVmaRebound, REBIND, Inline("mpol_rebind_policy", 0)),
    at(P::T3cDone, REBIND, After("up_write", 0)),
    at(P::T3cDone, ALL_TASKS, After("mpol_rebind_mm", 0)),
    at(P::T4Done, ALL_TASKS, After("css_task_iter_end", 0)),
    // freeing and pcplists
    at(P::P1Type, FREE, After("get_pfnblock_flags_mask", 0)),
    at(P::P1Type, FREE, After("get_pfnblock_migratetype", 0)),
    at(P::P1Type, &["free_unref_page_prepare"], After("get_pfnblock_flags_mask", 0)),
    at(P::P1Type, FREE, Inline("set_pcppage_migratetype", 0)),
    at(P::P1Type, FREE, Inline("arch_local_irq_save", 0)),
    at(P::P2Enter, FREE, Inline("free_unref_page_commit", 0)),
    at(P::P2Enter, FREE, Before("_raw_spin_trylock", 0)),
    at(P::P2Enter, FREE, Before("free_unref_page_commit", 0)),
    at(P::P2Enter, FREE, Before("free_frozen_page_commit", 0)),
    at(P::PfTrylock, FREE, Before("free_one_page", 0)),
    at(P::P4Add, COMMIT, Inline("list_add", 0)),
    at(P::P4Add, COMMIT, Inline("__list_add", 0)),
    at(P::P4Count, COMMIT, Before("free_pcppages_bulk", 0)),
    at(P::P5Leave, FREE, Before("_raw_spin_unlock", 0)),
    at(P::P5Leave, FREE, After("free_unref_page_commit", 0)),
    at(P::P5Leave, FREE, After("free_pcppages_bulk", 0)),
    at(P::PrFree, FREE, Before("free_one_page", 0)),
    at(P::PrFree, &["free_one_page"], Entry),
    at(P::PrRefilled, BULK, After("rmqueue_bulk", 0)),
    at(P::PrRefilled, BULK, Inline("rmqueue_bulk", 0)),
    at(P::PrTaken, RMQUEUE, Before("_raw_spin_unlock", 0)),
    at(P::PrTaken, RMQUEUE, After("__rmqueue_pcplist", 0)),
    at(P::PrTaken, GPFL, After("rmqueue", 0)),
    at(P::PrTaken, GPFL, Inline("zone_statistics", 0)),
    at(P::PrTaken, &["rmqueue"], Inline("zone_statistics", 0)),
    // faults
    at(P::A1MmapLock, DO_FAULT, Before("down_read_trylock", 0)),
    at(P::A1MmapLock, DO_FAULT, Inline("mmap_read_trylock", 0)),
    at(P::A1MmapLock, &["lock_mm_and_find_vma"], Before("down_read_trylock", 0)),
    at(P::A1MmapLock, &["lock_mm_and_find_vma"], Inline("mmap_read_trylock", 0)),
    at(P::A5Alloc, FAULT, Before("alloc_zeroed_user_highpage_movable", 0)),
    at(P::A5Alloc, FAULT, Before("vma_alloc_folio_noprof", 0)),
    at(P::A5Alloc, FAULT, Before("vma_alloc_folio", 0)),
    at(P::A5Alloc, FAULT, Before("alloc_pages_vma", 0)),
    at(P::A5Alloc, FAULT, Inline("alloc_anon_folio", 0)),
    at(P::A7Ptl, FAULT, Before("_raw_spin_lock", 0)),
    at(P::A7Ptl, FAULT, Before("__pte_offset_map_lock", 0)),
    at(P::A7Ptl, FAULT, Before("pte_offset_map_lock", 0)),
    at(P::A9Unlock, DO_FAULT, Before("up_read", 0)),
    at(P::M3MmapLock, MBIND, Before("down_write_killable", 0)),
    at(P::M3MmapLock, MBIND, Before("down_write", 0)),
    at(P::M5Vma, MBIND, Inline("mbind_range", 0)),
    at(P::M5Vma, MBIND, After("mbind_range", 0)),
    at(P::M5Vma, MBIND, After("vma_replace_policy", 0)),
    at(P::M6Migrate, MBIND, Before("migrate_pages", 0)),
    // the OOM killer
    at(P::X3WillFree, OOM, After("mark_oom_victim", 0)),
    at(P::X5Constraint, OOM, Inline("check_panic_on_oom", 0)),
    at(P::X5Constraint, OOM, Before("oom_badness", 0)),
    at(P::X5Constraint, OOM, Before("select_bad_process", 0)),
    at(P::X8Select, OOM, Before("select_bad_process", 0)),
    at(P::X8Select, OOM, Inline("select_bad_process", 0)),
    at(P::E4Abort, EVALUATE, Before("__put_task_struct", 0)),
    at(P::E4Abort, EVALUATE, Inline("put_task_struct", 0)),
    at(P::E4Skip, EVALUATE, Inline("tsk_is_oom_victim", 0)),
    at(P::E4Skip, EVALUATE, Entry),
    at(P::V5Victim, OOM, Before("oom_kill_process", 0)),
    at(P::V6Kill, KILL, After("do_send_sig_info", 0)),
    at(P::V7Mark, KILL, After("mark_oom_victim", 0)),
    at(P::V7Mark, MARK, Entry),
    at(P::V10Sharer, KILL, After("do_send_sig_info", 1)),
    at(P::V11Wake, KILL, After("wake_oom_reaper", 0)),
    at(P::V11Wake, KILL, After("queue_oom_reaper", 0)),
    at(P::V11Wake, KILL, Before("__mmdrop", 0)),
    // the reaper
    at(P::R1Trylock, REAP, After("down_read_trylock", 0)),
    at(P::R1Trylock, REAP, Inline("mmap_read_trylock", 0)),
    at(P::R2Tests, REAP, Before("__oom_reap_task_mm", 0)),
    at(P::R3Vma, REAP_MM, After("unmap_page_range", 0)),
    at(P::R4Unlock, REAP, After("up_read", 0)),
    at(P::R5Pause, REAPER, Before("schedule_timeout_idle", 0)),
    at(P::R6Unable, REAPER, Before("sched_show_task", 0)),
    at(P::R7Skip, REAPER, Inline("set_bit", 0)),
    at(P::R7Skip, REAPER, Before("put_task_struct", 0)),
    at(P::R7Skip, REAPER, Inline("put_task_struct", 0)),
    at(P::R7Skip, REAPER, Before("sched_show_task", 0)),
    at(P::MrGrab, MRELEASE, After("find_lock_task_mm", 0)),
    at(P::MrLocked, MRELEASE, After("down_read_killable", 0)),
    // exit
    at(P::QExitMm, EXIT_MM, Before("mmput", 0)),
    at(P::QSlow, MMPUT, Before("exit_aio", 0)),
    at(P::QSlow, MMPUT, Inline("ksm_exit", 0)),
    at(P::Q1Notifier, EXIT, Inline("mmu_notifier_release", 0)),
    at(P::Q1Notifier, EXIT, Before("__mmu_notifier_release", 0)),
    at(P::QReap, EXIT, After("__oom_reap_task_mm", 0)),
    at(P::QMunlock, EXIT, Before("munlock_vma_pages_all", 0)),
    at(P::QMunlock, EXIT, Before("munlock_vma_pages_range", 0)),
    at(P::QUnmap, EXIT, Before("unmap_vmas", 0)),
    at(P::QUnmapDone, EXIT, After("unmap_vmas", 0)),
    at(P::QLock, EXIT, Before("down_write", 0)),
    at(P::QLock, EXIT, Inline("mmap_write_lock", 0)),
    at(P::QLocked, EXIT, After("down_write", 0)),
    at(P::QSkip, EXIT, AfterIn("", "up_read", 0)),
    at(P::QSkip, EXIT, After("up_read", 0)),
    at(P::QSkip, EXIT, Inline("set_bit", 0)),
    at(P::QUnlock, EXIT, After("up_write", 0)),
    at(P::QPgtables, EXIT, After("free_pgtables", 0)),
    at(P::QFinish, EXIT, After("tlb_finish_mmu", 0)),
    // zonelists
    at(P::Z1Lock, LISTS, After("_raw_spin_lock_irqsave", 0)),
    at(P::Z1Lock, LISTS, After("_raw_spin_lock", 0)),
    at(P::Z1Lock, LISTS, Inline("write_seqlock_irqsave", 0)),
    at(P::Z1Lock, LISTS, Inline("write_seqlock", 0)),
    at(P::Z3Zone, REFS, Inline("zoneref_set_zone", 0)),
    at(P::Z3Idx, REFS, Inline("zoneref_set_zone", 0)),
    at(P::Z3Terminator, REFS, Inline("build_thisnode_zonelists", 0)),
    at(P::Z3Terminator, BUILD, Inline("build_thisnode_zonelists", 0)),
    at(P::Z3dPrintk, BUILD, Before("_printk", 0)),
    at(P::Z3dPrintk, BUILD, Before("printk", 0)),
    at(P::Z5Unlock, LISTS, Before("_raw_spin_unlock_irqrestore", 0)),
    at(P::Z5Unlock, LISTS, Before("_raw_spin_unlock", 0)),
    at(P::Z5Unlock, LISTS, Inline("spin_unlock", 0)),
    // isolation and offline
    at(P::DrainMutex, DRAIN, Before("mutex_trylock", 0)),
    at(P::D1Mutex, &["zone_pcp_disable"], Before("mutex_lock", 0)),
    at(P::D2Disable, &["zone_pcp_disable"], Before("__drain_all_pages", 0)),
    at(P::D3Count, DRAIN, Inline("cpumask_set_cpu", 0)),
    at(P::D3Count, DRAIN, Inline("cpumask_clear_cpu", 0)),
    at(P::D3Drain, DRAIN_CPU, After("free_pcppages_bulk", 0)),
    at(P::D4Enable, &["zone_pcp_enable"], Entry),
    at(P::I1Lock, ISOLATE, After("_raw_spin_lock_irqsave", 0)),
    at(P::I3Unmovable, ISOLATE, After("has_unmovable_pages", 0)),
    at(P::I3Unmovable, ISOLATE, Inline("has_unmovable_pages", 0)),
    at(P::I4Type, ISOLATE, After("set_pageblock_migratetype", 0)),
    at(P::I4Type, ISOLATE, Before("move_freepages_block", 0)),
    at(P::I4Type, ISOLATE, Before("move_freepages_block_isolate", 0)),
    at(P::I6Unlock, ISOLATE, After("_raw_spin_unlock_irqrestore", 0)),
    at(P::I7Drain, OFFLINE, Before("drain_all_pages", 0)),
    at(P::L5aSignal, OFFLINE, Inline("signal_pending", 0)),
    at(P::L5bDrain, OFFLINE, Before("lru_add_drain_all", 0)),
    at(P::L5bDrain, OFFLINE, Before("lru_cache_disable", 0)),
    at(P::L5cMigrate, &["do_migrate_range", "offline_pages"], Before("migrate_pages", 0)),
    at(P::L7Test, OFFLINE, Before("test_pages_isolated", 0)),
    at(P::L8Again, OFFLINE, After("test_pages_isolated", 0)),
    at(P::L9Taken, OFFLINE, Before("__offline_isolated_pages", 0)),
    at(P::L11PcpEnable, OFFLINE, Before("zone_pcp_enable", 0)),
    at(P::L12Accounts, OFFLINE, After("adjust_managed_page_count", 0)),
    at(P::L12Accounts, OFFLINE, After("adjust_present_page_count", 0)),
    at(P::LUndo, OFFLINE, Before("undo_isolate_page_range", 0)),
    at(P::G6Online, &["online_pages"], After("adjust_present_page_count", 0)),
    at(P::G6Online, &["online_pages"], After("walk_system_ram_range", 0)),
    at(P::G6Online, &["online_pages"], After("online_pages_range", 0)),
    at(P::G6Online, &["online_pages"], Inline("online_pages_range", 0)),
    at(P::K1Sleep, &["kswapd"], Before("schedule", 0)),
    at(P::K1Sleep, &["kswapd"], Inline("kswapd_try_to_sleep", 0)),
    at(P::K1Sleep, &["kswapd_try_to_sleep"], Before("schedule", 0)),
    at(P::K2Balance, &["kswapd"], After("balance_pgdat", 0)),
];
