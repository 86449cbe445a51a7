//! Race points: the places where the five changes say that the order matters.
//!
//! **What.** Each has the step label of docs/kernel (S3, T3a, P4, Q3, Z3b, L7, ...), so that a
//! timeline and the fact sheet read side by side, and a template that tells what happened there.
//!
//! **Why.** One list serves four uses: the explorer switches tasks only here (and where a task
//! blocks), `--amplify POINT=PROBABILITY[:DELAY]` holds real threads here, timelines name their
//! events by it, and tests assert that they passed through the point that they are about.
//!
//! **Differs.** On the fast paths (D.4 to the zone test; P1 to P4) points are compiled out of the
//! default copy, see [`crate::page_alloc`].

pub mod timeline;
pub mod window;

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

macro_rules! points {
    ($($variant:ident $label:literal $name:literal $story:literal;)*) => {
        /// A race point. The discriminant is its number in schedules and events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Point { $(#[doc = concat!("`", $label, "` ", $story)] $variant,)* }

        impl Point {
            /// All points, in the order of the steps.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The step label of docs/kernel, explained in docs/kernel/labels.md.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// The name on the command line: label and what it is about.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => concat!($label, "_", $name),)* }
            }

            /// What happened, as a template over the event's arguments: `{0n}` nodes (the first
            /// 64), `{0d}` number, `{0x}` pfn, `{0z}` zone, `{0c}` constraint, `{0b}` yes or no.
            pub fn story(self) -> &'static str {
                match self { $(Self::$variant => $story,)* }
            }
        }
    };
}

points! {
    TaskStart "-" "task_start" "task starts";
    // Allocation: D.4 and the fast path.
    D4Nodemask "D4" "nodemask" "nodemask = {0n} of the policy; mems {1n}";
    B3FastZone "B3" "fast_zone" "fast path looks at {0z}";
    B3CpusetWord "B3" "mask_word" "a word of the nodemask is read";
    // The slow path.
    S1Cookies "S1" "cookies" "cookies taken: cpuset {0d}, zonelist {1d}";
    S3Preferred "S3" "preferred" "preferred zoneref = entry {0d} ({1z})";
    S4WakeKswapd "S4" "wake_kswapd" "kswapds woken";
    S5Try "S5" "first_try" "first look through the zonelist: {0b}";
    S7Retry "S7" "retry" "retry, pass {0d}";
    S9Reserve "S9" "reserve_flags" "reserve flags {0d}";
    S10Reset "S10" "reset" "nodemask dropped, preferred zoneref = entry {0d}";
    S11Try "S11" "try" "look through the zonelist: {0b}";
    S14Reclaim "S14" "reclaim" "direct reclaim freed {0d} pages";
    S15Compact "S15" "compact" "direct compaction";
    S17Retry "S17" "should_reclaim_retry" "should_reclaim_retry: {0b}, {1d} passes without progress";
    S19aCheck "S19a" "check_retry" "nodemask or cookies changed: {0b}";
    S19bMayOom "S19b" "may_oom" "on to the OOM killer";
    S19dProgress "S19d" "progress" "progress: back to S7";
    S20Nopage "S20" "nopage" "no page: nodemask or cookies changed: {0b}";
    S22Fail "S22" "fail" "allocation failed";
    C1MaskWord "C1" "mems_word" "a word of mems_allowed is compared with the nodemask";
    C1Empty "C1" "nodemask_dropped" "nodemask {0n} does not meet mems {1n}: dropped, restart";
    O1Trylock "O1" "oom_trylock" "trylock of oom_lock: {0b}";
    O2LastTry "O2" "last_try" "last look, at the high marks: {0b}";
    O5Unlock "O5" "oom_unlock" "oom_lock released";
    // The cpuset writer.
    W5Mems "W5" "configured_mems" "cpuset.mems = {0n}";
    W6Effective "W6" "effective_mems" "effective mems = {0n}";
    T1Rebound "T1" "being_rebound" "cpuset_being_rebound set";
    T3aSeqOdd "T3a" "seq_odd" "mems_allowed_seq made odd";
    T3aMemsOr "T3a" "mems_or" "mems {0n} -> {1n}, both for a moment (task {2d})";
    T3aPolicyWritten "T3a" "policy_written" "policy {0n} -> {1n} (task {2d})";
    T3aMemsWritten "T3a" "mems_written" "mems {0n} -> {1n} (task {2d})";
    T3aSeqEven "T3a" "seq_even" "mems_allowed_seq even again";
    T3cMmapLock "T3c" "mmap_lock" "mpol_rebind_mm: waits for mmap_lock of mm {2d}";
    T3cVmaRebound "T3c" "vma_rebound" "VMA policy {0n} -> {1n} (mm {2d})";
    T3cDone "T3c" "done" "mmap_lock of mm {2d} released, VMAs rebound";
    T4Done "T4" "done" "cpuset update done";
    // Free path and pcplists.
    P1Type "P1" "pageblock_type" "type of the pageblock of {0x} read: {1d}";
    P2Enter "P2" "section" "pcp section entered";
    P4Add "P4" "list_add" "{0x} put on the pcplist";
    P4Count "P4" "count" "pcp count {0d}, high {1d}";
    P5Leave "P5" "section_left" "pcp section left";
    PfTrylock "P2" "trylock_failed" "pcp trylock failed: {0x} goes to the zone";
    PrFree "P" "free_one_page" "{0x} freed to the zone, type {1d}";
    PrRefilled "P" "pcp_refilled" "pages taken off the buddy, none handed over yet";
    PrTaken "P" "pcp_taken" "{0x} taken off the pcplist";
    // Faults and address spaces.
    A1MmapLock "A1" "mmap_lock" "mmap_lock read";
    A5Alloc "A5" "fault_alloc" "page for a fault";
    A7Ptl "A7" "page_table_lock" "page-table lock";
    A9Unlock "A9" "fault_done" "mmap_lock released";
    M3MmapLock "M3" "mbind_lock" "mbind: mmap_lock write";
    M5Vma "M5" "mbind_vma" "VMA policy = {0n}";
    M6Migrate "M6" "mbind_migrate" "{0d} pages to migrate";
    // The OOM killer.
    X3WillFree "X3" "task_will_free_mem" "current is dying: marked, no kill";
    X5Constraint "X5" "constraint" "{0c}, {1d} pages in all";
    X8Select "X8" "select" "victim search";
    E4Abort "E4" "in_flight" "victim {0d} is still dying: nobody is killed";
    E4Skip "E4" "skipped" "victim {0d} has MMF_OOM_SKIP: passed over";
    V5Victim "V5" "victim" "victim {0d} chosen, {1d} points";
    V6Kill "V6" "kill" "SIGKILL to {0d}";
    V7Mark "V7" "mark" "{0d} marked as OOM victim";
    V10Sharer "V10" "sharer" "{0d} shares the mm: killed, not marked";
    V11Wake "V11" "wake_reaper" "mm queued for the reaper";
    // The reaper.
    R1Trylock "R1" "trylock" "mmap_lock read trylock: {0b}";
    R2Tests "R2" "tests" "mm_users {0d}, MMF_OOM_SKIP {1b}";
    R3Vma "R3" "vma" "reaps VMA at {0x}, {1d} pages";
    R4Unlock "R4" "unlock" "mmap_lock released, {0d} pages reaped";
    R5Pause "R5" "pause" "attempt {0d} failed, 100 ms";
    R6Unable "R6" "unable" "unable to reap";
    R7Skip "R7" "skip" "MMF_OOM_SKIP set";
    MrGrab "MR" "mrelease_grab" "process_mrelease has the mm of {0d}";
    MrLocked "MR" "mrelease_locked" "process_mrelease holds mmap_lock; nothing left to walk: {0b}";
    // Exit.
    QExitMm "Q0" "exit_mm" "mm = NULL, mm_users {0d} left";
    QSlow "Q0" "exit_aio" "exit_aio, ksm_exit";
    Q1Notifier "Q1" "notifier" "mmu_notifier_release";
    QReap "Q2" "reap_in_exit" "exiting task reaps its own mm";
    QMunlock "Q2" "munlock" "munlock of VMA at {0x}";
    QUnmap "Q3" "unmap" "unmapped {0d} pages";
    QUnmapDone "Q3" "unmap_done" "unmap_vmas done";
    QSkip "Q4" "skip" "MMF_OOM_SKIP set by exit_mmap";
    QLock "Q4" "write_lock" "mmap_lock write";
    QLocked "Q4" "write_locked" "mmap_lock held for writing";
    QUnlock "Q5" "write_unlock" "mmap_lock released";
    QPgtables "Q6" "free_pgtables" "page tables freed";
    QFinish "Q7" "finish" "VMAs freed, last batch flushed";
    UafWalk "R3" "tombstone" "walks what was freed";
    // Zonelist rebuild.
    Z1Lock "Z1" "lock" "zonelist_update_seq odd: {0b}";
    Z3Zone "Z3b" "zone_stored" "node {0d}: entry {1d}.zone stored";
    Z3Idx "Z3b" "idx_stored" "node {0d}: entry {1d}.idx stored";
    Z3Terminator "Z3b" "terminator" "node {0d}: terminator at {1d}";
    Z3dPrintk "Z3d" "printk" "prints the fallback order";
    Z5Unlock "Z5" "unlock" "zonelist_update_seq even";
    F2Begin "F2" "iter_begin" "zonelist_iter_begin: {0d}";
    F2Spin "F2" "iter_spin" "spins on an odd zonelist_update_seq";
    IrqHandler "I" "handler" "interrupt: GFP_ATOMIC request";
    IrqDone "I" "handler_done" "interrupt done: {0b}";
    TtyLock "D" "port_lock" "port->lock taken";
    TtyWait "D" "port_wait" "console waits for port->lock";
    // Isolation and offline.
    D1Mutex "D1" "pcp_mutex" "pcp_batch_high_lock taken";
    D2Disable "D2" "pcp_disable" "pcp high 0, batch 1 on CPU {0d}";
    D3Count "D3" "count_read" "pcp count of CPU {0d} read: {1d}";
    D3Drain "D3" "drain" "pcplist of CPU {0d} drained: {1d} pages";
    D4Enable "D4" "pcp_enable" "pcp high and batch back";
    I1Lock "I1" "zone_lock" "isolation of the pageblock at {0x}";
    I3Unmovable "I3" "unmovable" "unmovable page {0x}";
    I4Type "I4" "isolated" "pageblock at {0x}: type ISOLATE";
    I6Unlock "I6" "unlock" "{0d} free pages moved to the ISOLATE list";
    I7Drain "I7" "drain" "drain after isolation";
    L5aSignal "L5a" "signal" "signal pending";
    L5bDrain "L5b" "drain" "lru and pcp drains";
    L5cMigrate "L5c" "migrate" "page {0x} migrated";
    L7Test "L7" "test_isolated" "test_pages_isolated: {0b}, pfn {1x}";
    L8Again "L8" "again" "not isolated yet: again, pass {0d}";
    L9Taken "L9" "taken" "range taken off the free lists";
    L11PcpEnable "L11" "pcp_enable" "pcplists enabled";
    L12Accounts "L12" "accounts" "managed and present reduced by {0d}";
    LUndo "L" "undo" "offline undone";
    G6Online "G6" "online" "{0d} pages onlined";
    // kswapd and throttling.
    K1Sleep "K1" "sleep" "kswapd of node {0d} sleeps";
    K2Balance "K2" "balance" "kswapd of node {0d} reclaimed {1d}";
    ThrottleWait "S14" "throttle" "throttled on the pfmemalloc queue";
    DrainMutex "DR" "drain_mutex" "pcpu_drain_mutex: {0b}";
}

impl Point {
    /// The point with this name or, if only one has it, this label.
    pub fn from_name(name: &str) -> Option<Self> {
        let by_name = Self::ALL.iter().copied().find(|p| p.name().eq_ignore_ascii_case(name));
        by_name.or_else(|| {
            let mut with_label =
                Self::ALL.iter().copied().filter(|p| p.label().eq_ignore_ascii_case(name));
            let first = with_label.next()?;
            with_label.next().is_none().then_some(first)
        })
    }

    /// The point with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// One amplification: hold threads at a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amplify {
    /// Where.
    pub point: Point,
    /// In how many of a million passes.
    pub per_million: u32,
    /// For how long; 0: the CPU is yielded.
    pub delay_ns: u64,
}

/// The amplifications in force, as a table that a pass reads with one Relaxed load.
#[derive(Debug)]
pub struct AmplifyTable {
    any: AtomicBool,
    per_million: Box<[AtomicU32]>,
    delay_ns: Box<[AtomicU64]>,
}

impl AmplifyTable {
    /// A table of these amplifications.
    pub fn new(amplify: &[Amplify]) -> Self {
        let table = Self {
            any: AtomicBool::new(!amplify.is_empty()),
            per_million: Point::ALL.iter().map(|_| AtomicU32::new(0)).collect(),
            delay_ns: Point::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        };
        for a in amplify {
            table.per_million[a.point as usize].store(a.per_million, Ordering::Relaxed);
            table.delay_ns[a.point as usize].store(a.delay_ns, Ordering::Relaxed);
        }
        table
    }

    /// Is anything amplified?
    #[inline]
    pub fn is_any(&self) -> bool {
        // Relaxed: set once, before the threads start.
        self.any.load(Ordering::Relaxed)
    }

    /// How long to stay at `point`, if at all; `random` is uniform over u32.
    pub fn delay(&self, point: Point, random: u32) -> Option<u64> {
        let per_million = self.per_million[point as usize].load(Ordering::Relaxed);
        if per_million == 0 || random % 1_000_000 >= per_million {
            return None;
        }
        Some(self.delay_ns[point as usize].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_found_by_its_name() {
        for &p in Point::ALL {
            assert_eq!(Point::from_name(p.name()), Some(p), "{}", p.name());
            assert_eq!(Point::from_number(p as u16), Some(p));
        }
        assert_eq!(Point::from_name("S17"), Some(Point::S17Retry));
        assert_eq!(Point::from_name("T3a"), None, "several points have this label");
    }
}
