//! The locks that stand for a kernel lock: each has a name, and one place hears of all that happens
//! to them.
//!
//! **What.** [`Classed`] is a raw lock with a [`LockName`] in its type, so that a lock costs no byte
//! for it and none can be made without. What stands for no kernel lock (lists of findings, queues
//! that a condition variable guards) stays a plain `Mutex`.
//!
//! **The one place.** Every acquisition, contended wait, refused trylock and release goes through
//! four functions of `hooks` (`real_hooks.rs`; `explored/hooks.rs` under the explorer): there lock
//! times are taken, ownership is known, and whoever wants to charge model time or to check the order
//! of locks does it there.
//!
//! | hook | when | may |
//! |---|---|---|
//! | `wants` | before a lock that may wait, free or not | see that the caller has it already |
//! | `waits`, `waited` | around the wait, if somebody has it | take the time, charge it |
//! | `acquired` | inside, first thing | remember the owner |
//! | `refused` | a trylock found it taken | count |
//! | `releasing`, `released` | inside, last thing; outside, first thing | take the time held |
//!
//! **Costs.** Nobody looking: one test of a flag to enter and one to leave, and none at all for pcp
//! sections, which are a tenth of a hit: those are looked at in the copy of the paths that has race
//! points ([`crate::page_alloc`]), and in debug builds and under the explorer always.
//!
//! **Differs.** A kernel's spinlock is held with preemption off; what that changes is said where it
//! is shown, see [`Waited::holder_was_preempted`].

use std::marker::PhantomData;

use super::world::hooks;

macro_rules! locks {
    ($($variant:ident $word:literal $kernel:literal $guards:literal;)*) => {
        /// A kernel lock that the model has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum LockName { $(#[doc = concat!("`", $kernel, "`: ", $guards, ".")] $variant,)* }

        impl LockName {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in records.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What the kernel calls it.
            pub fn kernel(self) -> &'static str {
                match self { $(Self::$variant => $kernel,)* }
            }

            /// What it guards.
            pub fn guards(self) -> &'static str {
                match self { $(Self::$variant => $guards,)* }
            }
        }

        /// The names as types, for [`Lock`](super::Lock) and [`RwSem`](super::RwSem).
        pub mod named {
            use super::{LockName, Named};
            $(
                #[doc = concat!("`", $kernel, "`")]
                #[derive(Debug)]
                pub struct $variant;
                impl Named for $variant { const NAME: LockName = LockName::$variant; }
            )*
        }
    };
}

locks! {
    MemHotplug "mem_hotplug_lock" "mem_hotplug_lock" "which memory there is";
    Cpuset "cpuset_mutex" "cpuset_mutex" "the tree of cpusets";
    Callback "callback_lock" "callback_lock" "masks of cpusets";
    Mmap "mmap_lock" "mmap_lock" "the areas of an address space";
    Vma "vma_lock" "vm_lock" "one area";
    PageTable "page_table_lock" "page_table_lock" "which page tables there are";
    Ptl "ptl" "ptl" "the entries of a page table";
    PcpBatchHigh "pcp_batch_high_lock" "pcp_batch_high_lock" "sizes of pcplists";
    PcpuDrain "pcpu_drain_mutex" "pcpu_drain_mutex" "one drain at a time";
    Oom "oom_lock" "oom_lock" "one OOM kill at a time";
    Task "alloc_lock" "task_lock" "mm, policy and mems of a task";
    Irq "irq_section" "interrupts off" "what interrupts of a CPU must not see";
    ZonelistUpdate "zonelist_update_lock" "zonelist_update_seq's lock" "rebuilds of zonelists";
    Port "port_lock" "port->lock" "the console's serial port";
    LruBatch "lru_batch" "lru_pvecs' local lock" "pages on their way to the LRU";
    Lru "lru_lock" "lru_lock" "the LRU lists of a node";
    Pcp "pcp" "pcp->lock" "the pcplists of a CPU and zone";
    Zone "zone_lock" "zone->lock" "free lists, counts and marks of a zone";
}

/// A [`LockName`] as a type.
pub trait Named: 'static {
    /// Which.
    const NAME: LockName;
}

/// What its holder is doing, for lock times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Nothing of the others.
    #[default]
    Other,
    /// Allocates, outside of the others.
    Alloc,
    /// Frees, outside of the others.
    Free,
    /// Handles a page fault.
    Fault,
    /// Tears an address space down.
    Exit,
    /// Is the OOM reaper.
    Reaper,
    /// Calls process_mrelease.
    Mrelease,
    /// Drains pcplists.
    Drain,
    /// Is kswapd.
    Kswapd,
    /// Changes masks, policies, areas or memory.
    Writer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Other,
        Self::Alloc,
        Self::Free,
        Self::Fault,
        Self::Exit,
        Self::Reaper,
        Self::Mrelease,
        Self::Drain,
        Self::Kswapd,
        Self::Writer,
    ];

    /// The word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Alloc => "alloc",
            Self::Free => "free",
            Self::Fault => "fault",
            Self::Exit => "exit",
            Self::Reaper => "reaper",
            Self::Mrelease => "mrelease",
            Self::Drain => "drain",
            Self::Kswapd => "kswapd",
            Self::Writer => "writer",
        }
    }
}

/// A lock, and how it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Where it lives: tells it from others of its name.
    pub address: usize,
    /// Its name.
    pub name: LockName,
    /// For reading.
    pub is_shared: bool,
}

/// A hold that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Which lock.
    pub site: Site,
    /// What the holder was doing when it took it.
    pub role: Role,
    /// When it was taken, as a [`super::stamp`]; 0 if nobody looked then.
    pub since: u64,
    /// Pages that were moved under it, as told by [`add_pages`].
    pub pages: u64,
    /// The host took the holder's CPU away.
    pub was_preempted: bool,
}

/// A wait that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Which lock.
    pub site: Site,
    /// What the waiter was doing.
    pub role: Role,
    /// When it began, as a [`super::stamp`].
    pub since: u64,
    /// The host took the holder's CPU away meanwhile, or that of one with a lock of the same hash: no
    /// kernel's waiter waits for that under a spinlock.
    pub holder_was_preempted: bool,
}

/// Who takes a thread's lock times; the harness brings it.
pub trait LockWatch {
    /// A lock is about to be given back: did the host take the CPU away since `since`?
    fn was_preempted(&self, since: u64) -> bool;
    /// It was given back.
    fn held(&mut self, hold: &Hold);
    /// It was waited for.
    fn waited(&mut self, waited: &Waited);
}

pub use hooks::{SectionHold, add_pages, held, role};
#[cfg(not(feature = "explore"))]
pub use hooks::{is_watched, set_watched, watch_this_thread};

/// Sets what the running task does, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct As {
    before: Option<Role>,
}

impl As {
    /// From now on the running task does this.
    #[inline]
    pub fn role(role: Role) -> Self {
        Self { before: hooks::set_role(role) }
    }

    /// The same, unless it does something that has a name already.
    #[inline]
    pub fn role_if_none(role: Role) -> Self {
        if hooks::role() == Role::Other { Self::role(role) } else { Self { before: None } }
    }
}

impl Drop for As {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.before {
            hooks::set_role(before);
        }
    }
}

/// A raw lock with a name.
#[derive(Debug)]
pub struct Classed<R, N> {
    raw: R,
    name: PhantomData<fn() -> N>,
}

impl<R, N: Named> Classed<R, N> {
    /// Whether entering and leaving is looked at in this build: pcp sections, a tenth of a hit, only
    /// where speed is no aim.
    const LOOKS: bool =
        cfg!(any(feature = "explore", debug_assertions)) || !matches!(N::NAME, LockName::Pcp);

    #[inline]
    fn site(&self, is_shared: bool) -> Site {
        Site { address: std::ptr::from_ref(self).addr(), name: N::NAME, is_shared }
    }

    #[inline]
    fn acquired(&self, is_shared: bool) {
        if Self::LOOKS && hooks::looks() {
            hooks::acquired(self.site(is_shared));
        }
    }

    #[inline]
    fn wants(&self, is_shared: bool) {
        if cfg!(any(feature = "explore", debug_assertions)) {
            hooks::wants(self.site(is_shared));
        }
    }

    #[cold]
    fn refused(&self, is_shared: bool) {
        hooks::refused(self.site(is_shared));
    }

    #[cold]
    fn wait<G>(&self, is_shared: bool, lock: impl FnOnce() -> G) -> G {
        let waits = hooks::waits(self.site(is_shared));
        let guard = lock();
        hooks::waited(waits);
        guard
    }

    #[inline]
    fn release(&self, is_shared: bool, unlock: impl FnOnce()) {
        if Self::LOOKS && hooks::looks() {
            let hold = hooks::releasing(self.site(is_shared));
            unlock();
            hooks::released(hold);
        } else {
            unlock();
        }
    }
}

// SAFETY: every call goes on to a lock that keeps the trait's promises; what is done around it touches
// nothing of the lock's.
unsafe impl<R: lock_api::RawMutex, N: Named> lock_api::RawMutex for Classed<R, N> {
    const INIT: Self = Self { raw: R::INIT, name: PhantomData };

    type Guard = R::Guard;

    #[inline]
    fn lock(&self) -> R::Guard {
        self.wants(false);
        let guard = match self.raw.try_lock() {
            Some(guard) => guard,
            None => self.wait(false, || self.raw.lock()),
        };
        self.acquired(false);
        guard
    }

    #[inline]
    fn try_lock(&self) -> Option<R::Guard> {
        let guard = self.raw.try_lock();
        match guard {
            Some(_) => self.acquired(false),
            None => self.refused(false),
        }
        guard
    }

    #[inline]
    unsafe fn unlock(&self, guard: R::Guard) {
        // SAFETY: the caller's guard, which `raw` made.
        self.release(false, || unsafe { self.raw.unlock(guard) });
    }

    fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }
}

// SAFETY: as above.
unsafe impl<R: lock_api::RawRwLock, N: Named> lock_api::RawRwLock for Classed<R, N> {
    const INIT: Self = Self { raw: R::INIT, name: PhantomData };

    type SharedGuard = R::SharedGuard;
    type ExclusiveGuard = R::ExclusiveGuard;

    #[inline]
    fn lock_shared(&self) -> R::SharedGuard {
        self.wants(true);
        let guard = match self.raw.try_lock_shared() {
            Some(guard) => guard,
            None => self.wait(true, || self.raw.lock_shared()),
        };
        self.acquired(true);
        guard
    }

    #[inline]
    fn try_lock_shared(&self) -> Option<R::SharedGuard> {
        let guard = self.raw.try_lock_shared();
        match guard {
            Some(_) => self.acquired(true),
            None => self.refused(true),
        }
        guard
    }

    #[inline]
    unsafe fn unlock_shared(&self, guard: R::SharedGuard) {
        // SAFETY: the caller's guard, which `raw` made.
        self.release(true, || unsafe { self.raw.unlock_shared(guard) });
    }

    #[inline]
    fn lock_exclusive(&self) -> R::ExclusiveGuard {
        self.wants(false);
        let guard = match self.raw.try_lock_exclusive() {
            Some(guard) => guard,
            None => self.wait(false, || self.raw.lock_exclusive()),
        };
        self.acquired(false);
        guard
    }

    #[inline]
    fn try_lock_exclusive(&self) -> Option<R::ExclusiveGuard> {
        let guard = self.raw.try_lock_exclusive();
        match guard {
            Some(_) => self.acquired(false),
            None => self.refused(false),
        }
        guard
    }

    #[inline]
    unsafe fn unlock_exclusive(&self, guard: R::ExclusiveGuard) {
        // SAFETY: the caller's guard, which `raw` made.
        self.release(false, || unsafe { self.raw.unlock_exclusive(guard) });
    }

    fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    fn is_locked_exclusive(&self) -> bool {
        self.raw.is_locked_exclusive()
    }
}

// SAFETY: as above.
unsafe impl<R: lock_api::RawRwLockDowngrade, N: Named> lock_api::RawRwLockDowngrade
    for Classed<R, N>
{
    unsafe fn downgrade(&self, guard: R::ExclusiveGuard) -> R::SharedGuard {
        let mut shared = None;
        // SAFETY: the caller's guard, which `raw` made.
        self.release(false, || shared = Some(unsafe { self.raw.downgrade(guard) }));
        self.acquired(true);
        shared.expect("the closure ran")
    }
}
