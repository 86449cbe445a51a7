//! The address space (`struct mm_struct`): its locks, its counts, its flags.
//!
//! **What.** mm_users keeps the contents alive (tasks, and whoever looks at them for a moment), the
//! last mmput tears them down; mm_count keeps the structure alive (here: the [`Arc`]), so that the
//! reaper and a victim's `signal->oom_mm` may look at what is left (docs/kernel/oom.md#e6 to #e8).
//!
//! | field | written under | read |
//! |---|---|---|
//! | areas | mmap_lock for writing (and the area's own lock, 6.4+) | mmap_lock for reading |
//! | page-table entries | the page-table lock of their table | the same |
//! | counters, flags | atomics | anywhere |
//!
//! **Differs.** A waiting writer stops new readers, trylocks included, as in the kernel. Besides
//! the kernel's fields an mm keeps what the oracle asks later: who hid it, and what kept a reaper
//! out.

use std::ops::{Deref, DerefMut};

use crate::ids::Pfn;
use crate::mm::page_table::PageTable;
use crate::mm::vma::{VmaIndex, VmaTree};
use crate::run::kernel::Kernel;
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::lock::named;
use crate::sync::{self, Arc, Mutex, RwSem, RwSemReadGuard, RwSemWriteGuard, Stamp};

/// `mm->flags`.
pub mod mmf {
    /// The OOM killer passes the mm over: freed, or given up (MMF_OOM_SKIP).
    pub const OOM_SKIP: u32 = 1 << 0;
    /// Pages may be gone: faults that would map fresh ones get SIGBUS (MMF_UNSTABLE).
    pub const UNSTABLE: u32 = 1 << 1;
    /// An OOM victim's mm (MMF_OOM_VICTIM, 4.15 to 6.0).
    pub const OOM_VICTIM: u32 = 1 << 2;
    /// Is or was in the reaper's queue (MMF_OOM_REAP_QUEUED, 5.0+).
    pub const OOM_REAP_QUEUED: u32 = 1 << 3;
}

/// Kinds of pages that are counted apart (`MM_FILEPAGES` and its kin).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rss {
    /// Pages of files.
    File = 0,
    /// Anonymous pages.
    Anon = 1,
    /// Entries that name a swap slot: not resident.
    Swap = 2,
    /// Pages of shared memory.
    Shmem = 3,
}

/// Who set MMF_OOM_SKIP first, and what had been done by then: the oracle's question at the next
/// kill (ARCHITECTURE.md#the-oracle, "Extra victim").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SkipBy {
    /// Nobody yet.
    Nobody = 0,
    /// The exit path, before it had unmapped what its own reaping passes over.
    ExitBeforeUnmap = 1,
    /// The exit path, after the unmap.
    ExitAfterUnmap = 2,
    /// A reaper that had walked the areas.
    ReaperWalked = 3,
    /// A reaper that found mm_users 0 and did nothing (up to 4.13).
    ReaperNoUsers = 4,
    /// A reaper that exit_mmap's own write lock had kept out.
    ReaperKeptOutByExit = 5,
    /// A reaper that a writer outside exit_mmap, holding or waiting, had kept out.
    ReaperKeptOutByWriter = 6,
    /// The killer: init shares the mm (V10).
    SharedWithInit = 7,
}

impl SkipBy {
    const ALL: [Self; 8] = [
        Self::Nobody,
        Self::ExitBeforeUnmap,
        Self::ExitAfterUnmap,
        Self::ReaperWalked,
        Self::ReaperNoUsers,
        Self::ReaperKeptOutByExit,
        Self::ReaperKeptOutByWriter,
        Self::SharedWithInit,
    ];

    /// In words, for reports.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::ExitBeforeUnmap => "exit_mmap, before its unmap",
            Self::ExitAfterUnmap => "exit_mmap, after its unmap",
            Self::ReaperWalked => "the reaper, after its walk",
            Self::ReaperNoUsers => "the reaper, which found mm_users 0 and did not walk",
            Self::ReaperKeptOutByExit => "the reaper, kept out by exit_mmap's lock",
            Self::ReaperKeptOutByWriter => "the reaper, kept out by a writer of mmap_lock",
            Self::SharedWithInit => "the killer, because init shares the mm",
        }
    }
}

/// An address space.
#[derive(Debug)]
pub struct Mm {
    /// Its number, from 1.
    pub id: u32,
    mmap_lock: RwSem<named::Mmap, VmaTree>,
    /// For lookups without mmap_lock (6.4+).
    pub(crate) vma_index: Option<Arc<VmaIndex>>,
    /// Its page tables.
    pub page_table: PageTable,
    /// Pages of the slab that the area structures live in; changed under mmap_lock for writing.
    slab: Mutex<Vec<Pfn>>,
    mm_users: AtomicU32,
    flags: AtomicU32,
    rss: [AtomicI64; 4],
    /// Pages of all areas (`total_vm`).
    pub(crate) total_vm: AtomicU64,
    /// Pages of mlocked areas (`locked_vm`).
    pub(crate) locked_vm: AtomicU64,

    /// Writers of mmap_lock outside exit_mmap that hold it or wait for it.
    writers: AtomicU32,
    /// exit_mmap holds mmap_lock for writing or waits for it.
    exit_writes: AtomicBool,
    /// The areas are gone (`mm->mmap` NULL, the tree destroyed): a walk that begins now finds none.
    pub(crate) areas_gone: AtomicBool,
    /// Generation of the tombstones: 0 while nothing was torn down.
    pub(crate) generation: AtomicU32,
    skip_by: AtomicU8,
    /// When SKIP was set first, as a [`sync::stamp`].
    skipped_at: AtomicU64,
    /// Pages that a reaper's walk passed over by the rules of its release.
    pub left_by_reaper: AtomicU64,
    /// Reaper attempts that failed because exit_mmap held the lock or waited for it.
    pub kept_out_by_exit: AtomicU32,
    /// Reaper attempts that failed because of another writer.
    pub kept_out_by_writer: AtomicU32,
    /// When exit_mmap had freed everything, in model ns; 0: not yet.
    pub freed_at_ns: AtomicU64,
}

impl Kernel {
    /// A new, empty address space with one user, the caller (`mm_alloc`).
    pub fn mm_alloc(&self) -> Arc<Mm> {
        let index = self.policy.release.has_vma_locks().then(Arc::<VmaIndex>::default);
        Arc::new(Mm {
            id: self.mm.take_id(),
            mmap_lock: RwSem::new(VmaTree::new(index.clone())),
            vma_index: index,
            page_table: PageTable::default(),
            slab: Mutex::default(),
            mm_users: AtomicU32::new(1),
            flags: AtomicU32::new(0),
            rss: Default::default(),
            total_vm: AtomicU64::new(0),
            locked_vm: AtomicU64::new(0),
            writers: AtomicU32::new(0),
            exit_writes: AtomicBool::new(false),
            areas_gone: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            skip_by: AtomicU8::new(SkipBy::Nobody as u8),
            skipped_at: AtomicU64::new(0),
            left_by_reaper: AtomicU64::new(0),
            kept_out_by_exit: AtomicU32::new(0),
            kept_out_by_writer: AtomicU32::new(0),
            freed_at_ns: AtomicU64::new(0),
        })
    }
}

impl Mm {
    /// One user more; the caller has one already (a new thread, CLONE_VM).
    pub fn mmget(&self) {
        self.mm_users.fetch_add(1, Ordering::Relaxed);
    }

    /// One user more unless there is none any more (`mmget_not_zero`).
    #[must_use]
    pub fn mmget_not_zero(&self) -> bool {
        self.mm_users
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |users| {
                (users > 0).then_some(users + 1)
            })
            .is_ok()
    }

    /// Drops a user; true if it was the last, and the caller has to tear the contents down.
    pub(crate) fn drop_user(&self) -> bool {
        // AcqRel: what the other users did to the mm is visible to the one that tears it down.
        let before = self.mm_users.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "mm {} has no user to drop", self.id);
        before == 1
    }

    /// mm_users.
    pub fn users(&self) -> u32 {
        self.mm_users.load(Ordering::Relaxed)
    }

    /// One more holder of the structure (`mmgrab`). Dropping the result is mmdrop.
    #[must_use]
    pub fn mmgrab(self: &Arc<Self>) -> Arc<Self> {
        Arc::clone(self)
    }

    /// Are these [`mmf`] flags all set?
    #[inline]
    pub fn has(&self, flags: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flags == flags
    }

    /// Sets [`mmf`] flags; returns those that were set before. MMF_OOM_SKIP is set by
    /// [`Mm::set_oom_skip`].
    pub fn set(&self, flags: u32) -> u32 {
        self.flags.fetch_or(flags, Ordering::Relaxed)
    }

    /// Sets MMF_OOM_SKIP and remembers who was first.
    pub fn set_oom_skip(&self, by: SkipBy) {
        let (nobody, relaxed) = (SkipBy::Nobody as u8, Ordering::Relaxed);
        if self.skip_by.compare_exchange(nobody, by as u8, relaxed, relaxed).is_ok() {
            self.skipped_at.store(sync::stamp(), Ordering::Relaxed);
        }
        self.set(mmf::OOM_SKIP);
    }

    /// Is MMF_OOM_SKIP set?
    pub fn is_oom_skipped(&self) -> bool {
        self.has(mmf::OOM_SKIP)
    }

    /// Who set MMF_OOM_SKIP first.
    pub fn skip_by(&self) -> SkipBy {
        SkipBy::ALL[usize::from(self.skip_by.load(Ordering::Relaxed))]
    }

    /// When MMF_OOM_SKIP was set; 0: it isn't.
    pub fn skipped_at(&self) -> Stamp {
        self.skipped_at.load(Ordering::Relaxed)
    }

    /// Pages of all areas.
    pub fn total_vm(&self) -> u64 {
        self.total_vm.load(Ordering::Relaxed)
    }

    /// Pages of mlocked areas.
    pub fn locked_vm(&self) -> u64 {
        self.locked_vm.load(Ordering::Relaxed)
    }

    /// Pages of one kind.
    pub fn rss(&self, kind: Rss) -> u64 {
        u64::try_from(self.rss[kind as usize].load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Resident pages: mapped, without those in a gather batch.
    pub fn rss_pages(&self) -> u64 {
        self.rss(Rss::Anon) + self.rss(Rss::File) + self.rss(Rss::Shmem)
    }

    pub(crate) fn add_rss(&self, kind: Rss, pages: i64) {
        self.rss[kind as usize].fetch_add(pages, Ordering::Relaxed);
    }

    /// Memory of its page tables in bytes (`pgtables_bytes`).
    pub fn pgtables_bytes(&self) -> u64 {
        (self.page_table.nr_ptes() + self.page_table.nr_pmds()) * crate::ids::PAGE_SIZE
    }

    pub(crate) fn nr_slab_pages(&self) -> usize {
        self.slab.lock().len()
    }

    pub(crate) fn add_slab_page(&self, page: Pfn) {
        self.slab.lock().push(page);
    }

    pub(crate) fn take_slab(&self) -> Vec<Pfn> {
        std::mem::take(&mut *self.slab.lock())
    }

    /// Takes mmap_lock for reading: waits behind a writer that holds it or waits for it.
    pub fn mmap_read_lock(&self) -> MmapReadGuard<'_> {
        self.mmap_lock.read()
    }

    /// Takes mmap_lock for reading unless a writer holds it or waits for it.
    pub fn mmap_read_trylock(&self) -> Option<MmapReadGuard<'_>> {
        self.mmap_lock.try_read()
    }

    /// Takes mmap_lock for writing.
    pub fn mmap_write_lock(&self) -> MmapWriteGuard<'_> {
        self.writers.fetch_add(1, Ordering::Relaxed);
        MmapWriteGuard { mm: self, tree: Some(self.mmap_lock.write()), is_exit: false }
    }

    /// As [`Mm::mmap_write_lock`], for exit_mmap, which the oracle tells from other writers.
    pub(crate) fn mmap_write_lock_in_exit(&self) -> MmapWriteGuard<'_> {
        self.exit_writes.store(true, Ordering::Relaxed);
        MmapWriteGuard { mm: self, tree: Some(self.mmap_lock.write()), is_exit: true }
    }

    /// Does exit_mmap hold mmap_lock for writing, or wait for it?
    pub(crate) fn is_exit_writing(&self) -> bool {
        self.exit_writes.load(Ordering::Relaxed)
    }

    /// Writers outside exit_mmap that hold mmap_lock or wait for it.
    pub fn nr_writers(&self) -> u32 {
        self.writers.load(Ordering::Relaxed)
    }
}

/// mmap_lock held for reading.
pub type MmapReadGuard<'a> = RwSemReadGuard<'a, named::Mmap, VmaTree>;

/// mmap_lock held for writing.
#[derive(Debug)]
pub struct MmapWriteGuard<'a> {
    mm: &'a Mm,
    /// None only while the guard is dropped or given up.
    tree: Option<RwSemWriteGuard<'a, named::Mmap, VmaTree>>,
    is_exit: bool,
}

impl<'a> MmapWriteGuard<'a> {
    /// Lets readers in and stays one (`mmap_write_downgrade`).
    pub fn downgrade(mut self) -> MmapReadGuard<'a> {
        RwSemWriteGuard::downgrade(self.tree.take().expect("the guard is not dropped yet"))
    }
}

impl Deref for MmapWriteGuard<'_> {
    type Target = VmaTree;

    fn deref(&self) -> &VmaTree {
        self.tree.as_ref().expect("the guard is not dropped yet")
    }
}

impl DerefMut for MmapWriteGuard<'_> {
    fn deref_mut(&mut self) -> &mut VmaTree {
        self.tree.as_mut().expect("the guard is not dropped yet")
    }
}

impl Drop for MmapWriteGuard<'_> {
    fn drop(&mut self) {
        // Unlocked first: a reaper that failed must find its reason still counted.
        drop(self.tree.take());
        if self.is_exit {
            self.mm.exit_writes.store(false, Ordering::Relaxed);
        } else {
            self.mm.writers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
