//! What is expected of a variant: schedules (families) and whether they show.
//!
//! **What.** One [`Family`] for each schedule of docs/kernel/interleavings.md that a matrix can
//! tell apart, and the verdicts that the variants state about them.
//!
//! **Why.** The expectation is data beside the variant, so that the list that users read and the
//! matrix that tests check can't drift apart.
//!
//! **Source.** docs/kernel/interleavings.md.
//!
//! **Differs.** J1-a is two families, by whose policy it is. J3-b is two, by the number of victims;
//! J2-g two, by who frees the memory.

use std::fmt;

/// A schedule of docs/kernel/interleavings.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Premature OOM under a VMA's policy.
    J1aVma,
    /// Premature OOM under a task's policy.
    J1aTask,
    /// Endless retry from a stale preferred zoneref (all memory used, swap on).
    J1b,
    /// Restart storm of a request that can't reclaim.
    J1c,
    /// Window between the last test and the kill.
    J1d,
    /// Torn read of a mask of several words.
    J1e,
    /// Extra victim: the reaper gives up on a dying mm and hides it.
    J2a,
    /// Extra victim: exit's own lock keeps the reaper out.
    J2b,
    /// Use after free: last mmput by a task that is no victim.
    J2c,
    /// Munlock beside the reaper.
    J2d,
    /// Extra victim: hidden before its mlocked memory is freed.
    J2e,
    /// Use after free: process_mrelease of a mm that was torn down.
    J2f,
    /// Late look: the reaper has freed all memory by the time of the kill.
    J2g,
    /// Late look: the victim itself has.
    J2gExit,
    /// A queued mmap_lock writer keeps the reaper out.
    J2h,
    /// A thread of the victim starves.
    J3a,
    /// The reserve is used up by one victim.
    J3b,
    /// The reserve is used up by two victims or more.
    J3bMany,
    /// A victim loops for ever.
    J3c,
    /// A victim's right replaces a better one.
    J3d,
    /// A victim leaves its cpuset.
    J3e,
    /// OOM from a zoneref that a rebuild moved.
    J4a,
    /// Deadlock with an interrupt on the writer's CPU.
    J4b,
    /// Deadlock with a printk inside the rebuild.
    J4c,
    /// A busy reader keeps the writer from running (PREEMPT_RT).
    J4d,
    /// Unmovable page from Movable after an online.
    J4e,
    /// Page of a node that the policy excludes, after an offline.
    /// docs/kernel/interleavings.md#j4-f: the explorer found it.
    J4f,
    /// Page stranded on a pcplist.
    J5a,
    /// Isolated page in use again.
    J5b,
    /// The drain misses a CPU.
    J5c,
    /// New and old high and batch mixed.
    J5d,
    /// Section entered by trylock.
    J5e,
    /// Unmovable page in transit at isolation.
    J5f,
    /// Page in an LRU batch.
    J5g,
    /// Waiters for pcp_batch_high_lock.
    J5h,
}

impl Family {
    /// All families in order.
    pub const ALL: [Self; 35] = [
        Self::J1aVma,
        Self::J1aTask,
        Self::J1b,
        Self::J1c,
        Self::J1d,
        Self::J1e,
        Self::J2a,
        Self::J2b,
        Self::J2c,
        Self::J2d,
        Self::J2e,
        Self::J2f,
        Self::J2g,
        Self::J2gExit,
        Self::J2h,
        Self::J3a,
        Self::J3b,
        Self::J3bMany,
        Self::J3c,
        Self::J3d,
        Self::J3e,
        Self::J4a,
        Self::J4b,
        Self::J4c,
        Self::J4d,
        Self::J4e,
        Self::J4f,
        Self::J5a,
        Self::J5b,
        Self::J5c,
        Self::J5d,
        Self::J5e,
        Self::J5f,
        Self::J5g,
        Self::J5h,
    ];

    /// Its name and what happens in it.
    fn info(self) -> (&'static str, &'static str) {
        match self {
            Self::J1aVma => ("J1a-vma", "premature OOM under a VMA policy"),
            Self::J1aTask => ("J1a-task", "premature OOM under a task policy"),
            Self::J1b => ("J1b", "endless retry from a stale preferred zoneref"),
            Self::J1c => ("J1c", "restart storm of a request that can't reclaim"),
            Self::J1d => ("J1d", "window between the last test and the kill"),
            Self::J1e => ("J1e", "torn read of a mask of several words"),
            Self::J2a => ("J2a", "extra victim: reaper hides a dying mm"),
            Self::J2b => ("J2b", "extra victim: exit's lock keeps the reaper out"),
            Self::J2c => ("J2c", "use after free: last mmput by a non-victim"),
            Self::J2d => ("J2d", "munlock walks pages that the reaper frees"),
            Self::J2e => ("J2e", "extra victim: hidden before mlocked memory is freed"),
            Self::J2f => ("J2f", "use after free: process_mrelease after teardown"),
            Self::J2g => ("J2g", "late kill: the reaper has freed the memory already"),
            Self::J2gExit => ("J2g-exit", "late kill: the victim has freed the memory already"),
            Self::J2h => ("J2h", "a queued mmap_lock writer keeps the reaper out"),
            Self::J3a => ("J3a", "a thread of the victim starves"),
            Self::J3b => ("J3b", "reserve used up by one victim"),
            Self::J3bMany => ("J3b-many", "reserve used up by two victims or more"),
            Self::J3c => ("J3c", "a victim loops for ever"),
            Self::J3d => ("J3d", "a victim's right replaces a better one"),
            Self::J3e => ("J3e", "a victim leaves its cpuset"),
            Self::J4a => ("J4a", "OOM from a zoneref that a rebuild moved"),
            Self::J4b => ("J4b", "deadlock: interrupt on the rebuilding CPU"),
            Self::J4c => ("J4c", "deadlock: printk inside the rebuild"),
            Self::J4d => ("J4d", "busy reader keeps the rebuild from running (RT)"),
            Self::J4e => ("J4e", "unmovable page from Movable after an online"),
            Self::J4f => ("J4f", "page of an excluded node after an offline"),
            Self::J5a => ("J5a", "page stranded on a pcplist"),
            Self::J5b => ("J5b", "isolated page in use again"),
            Self::J5c => ("J5c", "the drain misses a CPU"),
            Self::J5d => ("J5d", "old high with new batch"),
            Self::J5e => ("J5e", "pcp section entered by trylock"),
            Self::J5f => ("J5f", "unmovable page in transit at isolation"),
            Self::J5g => ("J5g", "page in an LRU batch"),
            Self::J5h => ("J5h", "waiters behind an offline's pcp lock"),
        }
    }

    /// Its name: `J1a-vma`.
    pub fn name(self) -> &'static str {
        self.info().0
    }

    /// What happens in it, in some words.
    pub fn what(self) -> &'static str {
        self.info().1
    }

    /// The family with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a variant says about a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expect {
    /// Happens; a search must find it.
    Shows,
    /// Can't happen; a search must not find it.
    Excluded,
    /// Happens, is known and left by the kernel; a search must find it.
    Residual,
    /// Happens late or is repaired: counted.
    Late,
    /// Counted; no variant differs.
    Counted,
}

impl Expect {
    /// The word that lists print.
    pub fn word(self) -> &'static str {
        match self {
            Self::Shows => "shows",
            Self::Excluded => "excluded",
            Self::Residual => "residual",
            Self::Late => "late",
            Self::Counted => "counted",
        }
    }

    /// The sign in tables: `!` shows, `–` excluded, `~` late or repaired.
    pub fn sign(self) -> char {
        match self {
            Self::Shows | Self::Residual => '!',
            Self::Excluded => '–',
            Self::Late => '~',
            Self::Counted => '#',
        }
    }

    /// Must a search find it?
    pub fn must_be_found(self) -> bool {
        match self {
            Self::Shows | Self::Residual => true,
            Self::Excluded | Self::Late | Self::Counted => false,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
