//! mmap, munmap, mlock, madvise: the calls that change which areas there are.
//!
//! **What.** Each takes mmap_lock for writing, splits what it must, changes, merges what has become
//! equal. munmap lets readers in again before it unmaps (4.20+).
//!
//! **Why they allocate.** Area structures come from a slab, with mmap_lock held for writing: a thread
//! of an OOM victim that waits for memory there keeps the reaper out (J2-h, J3-a).
//!
//! **Source.** mm/mmap.c: do_mmap, do_munmap (do_vmi_align_munmap), unmap_region; mm/mlock.c:
//! apply_vma_lock_flags, populate_vma_page_range; mm/madvise.c: madvise_dontneed_single_vma.
//!
//! **Differs.** No overcommit accounting and no limits but the number of areas. The slab's pages
//! belong to one mm.

use crate::mm::address_space::{MmapReadGuard, MmapWriteGuard};
use crate::mm::fault::Fault;
use crate::mm::vma::VMAS_PER_SLAB_PAGE;
use crate::mm::{Mapping, Mm, VmFlags, Vma, VmaTree, Vpn};
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role};

/// First page above what mmap gives out.
pub const MMAP_BASE: Vpn = Vpn(0xff00_0000);
/// Most areas of an address space (vm.max_map_count).
pub const MAX_MAP_COUNT: usize = 65_530;

/// Why a call on an address space failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// -ENOMEM: no address space, no memory, too many areas, or a hole in a range to be locked.
    #[error("out of memory (ENOMEM)")]
    OutOfMemory,
    /// -EINVAL: an empty range, or one that wraps around.
    #[error("the range is empty or wraps around (EINVAL)")]
    Invalid,
    /// -EFAULT: a hole in the range.
    #[error("the range has a hole (EFAULT)")]
    Hole,
    /// The caller was killed meanwhile (-EINTR).
    #[error("killed (EINTR)")]
    Killed,
}

impl Kernel {
    /// Maps `pages` pages of anonymous memory, or of `mapping` from page `pgoff` on, at the top of
    /// the highest gap that fits; returns the first page.
    ///
    /// # Errors
    /// [`MapError::Invalid`], [`MapError::OutOfMemory`].
    pub fn mmap(
        &self,
        cx: &Cx,
        mm: &Mm,
        pages: u32,
        flags: VmFlags,
        mapping: Option<(Arc<Mapping>, u32)>,
    ) -> Result<Vpn, MapError> {
        if pages == 0 {
            return Err(MapError::Invalid);
        }
        let mut tree = mm.mmap_write_lock();
        let start = tree.find_gap(pages, MMAP_BASE).ok_or(MapError::OutOfMemory)?;
        self.mmap_region(cx, mm, &mut tree, start, pages, flags, mapping)?;
        Ok(start)
    }

    /// As [`Kernel::mmap`], at `start`; what is mapped there is unmapped first (MAP_FIXED).
    ///
    /// # Errors
    /// [`MapError::Invalid`], [`MapError::OutOfMemory`].
    pub fn mmap_fixed(
        &self,
        cx: &Cx,
        mm: &Mm,
        start: Vpn,
        pages: u32,
        flags: VmFlags,
        mapping: Option<(Arc<Mapping>, u32)>,
    ) -> Result<(), MapError> {
        let end = range_end(start, pages)?;
        let mut tree = mm.mmap_write_lock();
        let removed = self.detach_range(cx, mm, &mut tree, start, end)?;
        if !removed.is_empty() {
            self.unmap_region(cx, mm, &tree, &removed);
        }
        self.mmap_region(cx, mm, &mut tree, start, pages, flags, mapping)
    }

    #[expect(clippy::too_many_arguments, reason = "mmap has that many")]
    fn mmap_region(
        &self,
        cx: &Cx,
        mm: &Mm,
        tree: &mut VmaTree,
        start: Vpn,
        pages: u32,
        flags: VmFlags,
        mapping: Option<(Arc<Mapping>, u32)>,
    ) -> Result<(), MapError> {
        let _role = As::role(Role::Writer);
        self.reserve_vmas(cx, mm, tree, 1)?;
        let end = start.plus(pages);
        tree.insert(Arc::new(Vma::new((start, end), flags, mapping, None)));
        tree.merge(start, end);
        mm.total_vm.fetch_add(u64::from(pages), Ordering::Relaxed);
        if flags.contains(VmFlags::LOCKED) {
            mm.locked_vm.fetch_add(u64::from(pages), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes sure that the slab has room for `more` areas. The caller holds mmap_lock for writing.
    pub(crate) fn reserve_vmas(
        &self,
        cx: &Cx,
        mm: &Mm,
        tree: &VmaTree,
        more: usize,
    ) -> Result<(), MapError> {
        if tree.len() + more > MAX_MAP_COUNT {
            return Err(MapError::OutOfMemory);
        }
        while mm.nr_slab_pages() * VMAS_PER_SLAB_PAGE < tree.len() + more {
            let page = self.alloc_kernel_page(cx).ok_or(MapError::OutOfMemory)?;
            mm.add_slab_page(page);
        }
        Ok(())
    }

    /// Splits the area that holds `at` there (`split_vma`), unless it begins there.
    ///
    /// # Errors
    /// [`MapError::OutOfMemory`].
    pub fn split_vma(&self, cx: &Cx, mm: &Mm, tree: &mut VmaTree, at: Vpn) -> Result<(), MapError> {
        let Some(vma) = tree.splits_at(at) else { return Ok(()) };
        let policy = vma.policy();
        self.reserve_vmas(cx, mm, tree, 1)?;
        let copy = policy.map(|policy| self.mpol_dup(cx, &policy));
        tree.split(at, copy);
        Ok(())
    }

    /// Unmaps `pages` pages from `start` on.
    ///
    /// # Errors
    /// [`MapError::Invalid`]; [`MapError::OutOfMemory`] if a split fails, with nothing unmapped.
    pub fn munmap(&self, cx: &Cx, mm: &Mm, start: Vpn, pages: u32) -> Result<(), MapError> {
        let _role = As::role(Role::Writer);
        let end = range_end(start, pages)?;
        let mut tree = mm.mmap_write_lock();
        let removed = self.detach_range(cx, mm, &mut tree, start, end)?;
        if removed.is_empty() {
            return Ok(());
        }
        if self.policy.release.munmap_downgrades_lock() {
            let tree: MmapReadGuard<'_> = MmapWriteGuard::downgrade(tree);
            self.unmap_region(cx, mm, &tree, &removed);
        } else {
            self.unmap_region(cx, mm, &tree, &removed);
        }
        Ok(())
    }

    /// Takes the areas of a range off the tree, splitting those that reach over its ends.
    fn detach_range(
        &self,
        cx: &Cx,
        mm: &Mm,
        tree: &mut VmaTree,
        start: Vpn,
        end: Vpn,
    ) -> Result<Vec<Arc<Vma>>, MapError> {
        self.split_vma(cx, mm, tree, start)?;
        self.split_vma(cx, mm, tree, end)?;
        let starts: Vec<Vpn> = tree.overlapping(start, end).map(|vma| vma.start()).collect();
        let removed: Vec<Arc<Vma>> = starts.iter().filter_map(|&s| tree.remove(s)).collect();
        for vma in &removed {
            mm.total_vm.fetch_sub(u64::from(vma.pages()), Ordering::Relaxed);
            if vma.has(VmFlags::LOCKED) {
                mm.locked_vm.fetch_sub(u64::from(vma.pages()), Ordering::Relaxed);
            }
        }
        Ok(removed)
    }

    /// Unmaps detached areas and frees the page tables that none of their neighbours needs.
    fn unmap_region(&self, cx: &Cx, mm: &Mm, tree: &VmaTree, removed: &[Arc<Vma>]) {
        let mut gather = self.tlb_gather();
        for vma in removed {
            self.unmap_page_range(cx, mm, vma, (vma.start(), vma.end()), &mut gather);
        }
        let (Some(first), Some(last)) = (removed.first(), removed.last()) else { return };
        let (start, end) = (first.start(), last.end());
        removed.iter().for_each(|vma| self.check_unmapped(mm, (vma.start(), vma.end())));
        let floor = tree.before(start).map_or(Vpn(0), |vma| vma.end());
        let ceiling = tree.from(end).map_or(Vpn(u32::MAX), |vma| vma.start());
        let mut tables = Vec::new();
        self.free_pgtables(mm, (start, end), (floor, ceiling), None, &mut tables);
        self.tlb_finish(cx, gather);
        for page in tables {
            self.free_pages(cx, page, 0);
        }
    }

    /// Drops the pages of a range but keeps its areas (`madvise(MADV_DONTNEED)`), under mmap_lock
    /// for reading. Mlocked areas are left alone.
    ///
    /// # Errors
    /// [`MapError::Invalid`].
    pub fn zap_range(&self, cx: &Cx, mm: &Mm, start: Vpn, pages: u32) -> Result<(), MapError> {
        let end = range_end(start, pages)?;
        let tree = mm.mmap_read_lock();
        let mut gather = self.tlb_gather();
        for vma in tree.overlapping(start, end) {
            if !vma.has(VmFlags::LOCKED) {
                self.unmap_page_range(cx, mm, vma, (start, end), &mut gather);
            }
        }
        self.tlb_finish(cx, gather);
        Ok(())
    }

    /// Locks a range into memory and faults it in.
    ///
    /// # Errors
    /// [`MapError::OutOfMemory`] also for holes; [`MapError::Killed`].
    pub fn mlock(&self, cx: &Cx, mm: &Arc<Mm>, start: Vpn, pages: u32) -> Result<(), MapError> {
        let end = range_end(start, pages)?;
        self.change_locked(cx, mm, start, end, true)?;
        let mut at = start;
        while at < end {
            match self.access(cx, mm, at, true) {
                Fault::Mapped | Fault::Present => at = at.plus(1),
                Fault::Killed => return Err(MapError::Killed),
                Fault::NoMemory | Fault::SegmentationFault | Fault::BusError => {
                    return Err(MapError::OutOfMemory);
                }
            }
        }
        Ok(())
    }

    /// Ends the lock of a range; its pages may be reclaimed again.
    ///
    /// # Errors
    /// [`MapError::OutOfMemory`] also for holes.
    pub fn munlock(&self, cx: &Cx, mm: &Mm, start: Vpn, pages: u32) -> Result<(), MapError> {
        self.change_locked(cx, mm, start, range_end(start, pages)?, false)
    }

    fn change_locked(
        &self,
        cx: &Cx,
        mm: &Mm,
        start: Vpn,
        end: Vpn,
        lock: bool,
    ) -> Result<(), MapError> {
        let _role = As::role(Role::Writer);
        let mut tree = mm.mmap_write_lock();
        if has_hole(&tree, start, end) {
            return Err(MapError::OutOfMemory);
        }
        self.split_vma(cx, mm, &mut tree, start)?;
        self.split_vma(cx, mm, &mut tree, end)?;
        for vma in tree.overlapping(start, end) {
            if vma.has(VmFlags::LOCKED) == lock {
                continue;
            }
            let pages = u64::from(vma.pages());
            {
                // vma_start_write: no fault is between its look at the flags and its page.
                let _locked = vma.lock.write();
                let mut flags = vma.flags();
                flags.set(VmFlags::LOCKED, lock);
                vma.set_flags(flags);
            }
            if lock {
                mm.locked_vm.fetch_add(pages, Ordering::Relaxed);
            } else {
                mm.locked_vm.fetch_sub(pages, Ordering::Relaxed);
            }
            self.mark_present_pages(cx, mm, vma, lock);
        }
        tree.merge(start, end);
        Ok(())
    }

    /// Moves the pages that an area has now to the unevictable list, or back.
    pub(crate) fn mark_present_pages(&self, cx: &Cx, mm: &Mm, vma: &Vma, lock: bool) {
        self.walk_present(mm, (vma.start(), vma.end()), |_, entry| {
            if let Some(pfn) = entry.pfn() {
                if lock {
                    self.mlock_page(cx, pfn);
                } else {
                    self.munlock_page(cx, pfn);
                }
            }
            true
        });
    }
}

/// Is there an unmapped page in the range?
pub(crate) fn has_hole(tree: &VmaTree, start: Vpn, end: Vpn) -> bool {
    let mut at = start;
    for vma in tree.overlapping(start, end) {
        if vma.start() > at {
            return true;
        }
        at = vma.end();
    }
    at < end
}

/// The end of a range of pages.
pub(crate) fn range_end(start: Vpn, pages: u32) -> Result<Vpn, MapError> {
    match start.0.checked_add(pages) {
        Some(end) if pages > 0 => Ok(Vpn(end)),
        Some(_) | None => Err(MapError::Invalid),
    }
}
