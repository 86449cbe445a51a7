//! The model of the Linux page allocator.
//!
//! # The tour, in the order in which an allocation meets the parts
//!
//! A thread runs in a [`run::task::Cx`]: `current`, its CPU, its private counters. It asks
//! [`run::kernel::Kernel::alloc_pages`] for a block of 2^order pages with [`gfp`] flags, a preferred node
//! and a nodemask that [`mempolicy`] points it to (a pointer into the live policy, as in the kernel).
//! [`page_alloc`]'s fast path walks a [`zonelist`] from the preferred zoneref on; a zone passes if
//! its [`cpuset`] allows it and its [`zone::watermark`] holds, and then gives a block from this CPU's
//! [`zone::pcp`] list, which refills from the [`zone::buddy`] under zone->lock. If no zone passes, the slow path
//! ([`page_alloc::slow`], steps S1 to S22) wakes kswapd and reclaims ([`reclaim`]), and in the end
//! asks the OOM killer ([`oom`]) for a victim, whose address space ([`mm`]) the reaper empties.
//! Frees go back by [`page_alloc::free`]; [`zone::drain`] empties pcplists. [`hotplug`] takes memory blocks
//! away and brings them back, and has zonelists rebuilt ([`zonelist::update`]).
//!
//! [`policy`] is data that all may read: a release and one variant on each axis. [`oracle`] only
//! looks. [`race`] names the places where the order matters, [`race::timeline`] remembers them,
//! [`sync`] is the one door to threads, locks and time, so that the same source runs on OS threads
//! and under the explorer (`explore`, in the other package).
//!
//! # Lock order
//!
//! Outer to inner; in brackets where each is taken. Two locks of one line are never nested.
//!
//! ```text
//! mem_hotplug_lock                     [hotplug: offline_pages, online_pages]
//!   cpuset_mutex                       [cpuset: write_mems, attach, hotplug following]
//!     mmap_lock                        [mm: faults (read); mmap, munmap, mbind, T3c (write)]
//!       VMA lock (alone from 6.4 on)   [mm: faults (read); split, munmap, mlock, T3c of 6.5 (write)]
//!         page_table_lock              [mm: which tables there are: A2, free_pgtables]
//!         page-table lock              [mm: faults, unmap, reaper, swap-out, migration]
//!           LRU batch, lru_lock        [mm: A8, mlock]
//!     pcp_batch_high_lock              [hotplug: zone_pcp_disable .. enable; zone_pcp_update]
//!       pcpu_drain_mutex               [drain: drain_all_pages]
//!   oom_lock (allocator: trylock only) [page_alloc::reserve: may_oom; reaper up to 4.17,
//!                                       which then only trylocks mmap_lock]
//!     task list, thread lists          [oom: select_bad_process]
//!       task_lock (alloc_lock)         [oom: kill; cpuset: T3a; task: exit_mm]
//!         irq section of the CPU       [cpuset: T3a; zonelist rebuild of 6.4+]
//!           write side of mems_allowed_seq
//!         callback_lock                [cpuset: masks; node_allowed]
//!   zonelist_update_lock               [zonelist_update: rebuild]
//!     write side of zonelist_update_seq
//!   lru_lock                           [reclaim, LRU batches]
//!   pcp section                        [page_alloc: allocation, free; drain (remote from 6.0)]
//!     zone->lock                       [buddy; watermarks; isolation]
//! ```
//!
//! An allocation may happen under everything down to task_lock, so all of these stand above the pcp
//! section. The allocator never waits for oom_lock.
//!
//! # What is modelled differently
//!
//! Each module says so under "Differs". In short: frames are metadata only; there is no compaction
//! but the merging of freed blocks, no memcg, no CMA, no dirty limits, no shrinkers; pcp sections
//! are locks in which tasks of one model CPU can meet; interrupts run on the stack of the task that
//! is on the CPU, at given points.

pub mod cpuset;
#[cfg(feature = "explore")]
pub mod explore;
pub mod gfp;
pub mod hotplug;
pub mod ids;
pub mod look;
pub mod machine;
pub mod mempolicy;
pub mod mm;
pub mod nodemask;
pub mod oom;
pub mod oracle;
pub mod page_alloc;
#[cfg(all(test, debug_assertions, not(feature = "explore")))]
mod planted_tests;
pub mod policy;
pub mod race;
pub mod reclaim;
pub mod replay;
pub mod run;
pub mod sync;
pub mod zone;
pub mod zonelist;
