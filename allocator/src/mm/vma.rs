//! Areas of an address space (`struct vm_area_struct`), their order, split and merge.
//!
//! **What.** An area has a range, flags, a file or none, and a policy of its own or none. Areas
//! that touch and are equal in all of that merge; mbind, munmap and mlock split them
//! (docs/kernel/mempolicies.md#d6, M5; C.7: each part gets a policy object of its own, since
//! rebinding rewrites it in place).
//!
//! **Why areas are shared objects.** From 6.4 on a fault finds its area without mmap_lock and holds
//! only the area's own lock; whoever splits, merges, unmaps or rebinds it takes that lock too. And
//! a freed area stays as a tombstone, so that a late walker is caught instead of crashing.
//!
//! **Source.** mm/mmap.c: __split_vma, vma_merge; include/linux/mm.h: vma_start_read; mm/memory.c:
//! lock_vma_under_rcu.

use std::collections::BTreeMap;

use bitflags::bitflags;

use crate::mempolicy::Mempolicy;
use crate::mm::Vpn;
use crate::mm::mapping::Mapping;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::lock::named;
use crate::sync::{Arc, RwLock, RwSem};

bitflags! {
    /// `vm_flags`, as far as the model looks at them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct VmFlags: u32 {
        /// Pages stay in memory (VM_LOCKED).
        const LOCKED = 1 << 0;
        /// Writes go to the file or the other processes (VM_SHARED).
        const SHARED = 1 << 1;
        /// The stack (VM_GROWSDOWN): merges with nothing else.
        const STACK = 1 << 2;
        /// Pages that reaping passes over in every release (VM_HUGETLB).
        const HUGETLB = 1 << 3;
    }
}

/// What an area's own lock guards besides its range and flags.
#[derive(Debug, Default)]
pub struct VmaLocked {
    /// Its policy; None: the task's counts.
    pub policy: Option<Arc<Mempolicy>>,
}

/// An area.
#[derive(Debug)]
pub struct Vma {
    start: AtomicU32,
    end: AtomicU32,
    flags: AtomicU32,
    /// Page of the file (or of the policy's turns) minus the vpn, modulo 2^32.
    offset: u32,
    mapping: Option<Arc<Mapping>>,
    /// The per-area lock (6.4+). In older releases mmap_lock excludes all that would contend here.
    pub lock: RwSem<named::Vma, VmaLocked>,
    /// A page was faulted in once (`anon_vma` is there): faults may do without mmap_lock.
    has_anon_vma: AtomicBool,
    /// Off the tree: a fault that found it without mmap_lock starts again.
    detached: AtomicBool,
    /// Generation in which it was freed; 0: alive.
    freed: AtomicU32,
}

impl Vma {
    /// An area that is in no tree yet.
    pub fn new(
        range: (Vpn, Vpn),
        flags: VmFlags,
        mapping: Option<(Arc<Mapping>, u32)>,
        policy: Option<Arc<Mempolicy>>,
    ) -> Self {
        let (mapping, offset) = match mapping {
            // vm_pgoff of anonymous memory is its address: neighbours continue each other.
            None => (None, 0),
            Some((mapping, pgoff)) => (Some(mapping), pgoff.wrapping_sub(range.0.0)),
        };
        Self {
            start: AtomicU32::new(range.0.0),
            end: AtomicU32::new(range.1.0),
            flags: AtomicU32::new(flags.bits()),
            offset,
            mapping,
            lock: RwSem::new(VmaLocked { policy }),
            has_anon_vma: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            freed: AtomicU32::new(0),
        }
    }

    /// First page.
    pub fn start(&self) -> Vpn {
        Vpn(self.start.load(Ordering::Relaxed))
    }

    /// First page behind it.
    pub fn end(&self) -> Vpn {
        Vpn(self.end.load(Ordering::Relaxed))
    }

    /// Pages.
    pub fn pages(&self) -> u32 {
        self.end().0 - self.start().0
    }

    /// Its flags now.
    pub fn flags(&self) -> VmFlags {
        VmFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Are all of these flags set?
    pub fn has(&self, flags: VmFlags) -> bool {
        self.flags().contains(flags)
    }

    /// Is it without a file?
    pub fn is_anonymous(&self) -> bool {
        self.mapping.is_none()
    }

    /// What it maps, if it is a file or shared memory.
    pub fn mapping(&self) -> Option<&Arc<Mapping>> {
        self.mapping.as_ref()
    }

    /// Page of the file at a page of the area; for anonymous memory the page's own number, which
    /// interleaving counts by.
    #[inline]
    pub fn index_of(&self, vpn: Vpn) -> u32 {
        vpn.0.wrapping_add(self.offset)
    }

    /// Its policy, as whoever holds mmap_lock may ask.
    pub fn policy(&self) -> Option<Arc<Mempolicy>> {
        self.lock.read().policy.clone()
    }

    /// Was it freed (and in which generation)? Then it is a tombstone.
    pub fn freed(&self) -> Option<u32> {
        let generation = self.freed.load(Ordering::Relaxed);
        (generation != 0).then_some(generation)
    }

    pub(crate) fn bury(&self, generation: u32) {
        self.freed.store(generation, Ordering::Relaxed);
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    pub(crate) fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_anon_vma(&self) -> bool {
        self.has_anon_vma.load(Ordering::Relaxed)
    }

    pub(crate) fn set_anon_vma(&self) {
        self.has_anon_vma.store(true, Ordering::Relaxed);
    }

    /// Changes flags; the caller holds mmap_lock for writing, or is exit_mmap.
    pub(crate) fn set_flags(&self, flags: VmFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// Cuts the area at `at` and returns the upper part, which has a policy object of its own.
    fn split_off(&self, at: Vpn, policy: Option<Arc<Mempolicy>>) -> Self {
        // vma_start_write: a fault that holds only the area's lock must be over.
        let _locked = self.lock.write();
        let upper = Self {
            start: AtomicU32::new(at.0),
            end: AtomicU32::new(self.end().0),
            flags: AtomicU32::new(self.flags().bits()),
            offset: self.offset,
            mapping: self.mapping.clone(),
            lock: RwSem::new(VmaLocked { policy }),
            has_anon_vma: AtomicBool::new(self.has_anon_vma()),
            detached: AtomicBool::new(false),
            freed: AtomicU32::new(0),
        };
        self.end.store(at.0, Ordering::Relaxed);
        upper
    }

    /// May `upper`, which begins where this one ends, become part of it?
    fn is_mergeable_with(&self, upper: &Self) -> bool {
        let same_file = match (&self.mapping, &upper.mapping) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) && self.offset == upper.offset,
            (None, Some(_)) | (Some(_), None) => false,
        };
        let flags = self.flags();
        self.end() == upper.start()
            && flags == upper.flags()
            && !flags.contains(VmFlags::STACK)
            && same_file
            && policies_equal(&self.lock.read(), &upper.lock.read())
    }
}

fn policies_equal(a: &VmaLocked, b: &VmaLocked) -> bool {
    crate::mempolicy::mpol_equal(a.policy.as_deref(), b.policy.as_deref())
}

/// Areas by their first page, for lookups without mmap_lock: what the maple tree is to an RCU
/// reader (6.4+).
#[derive(Debug, Default)]
pub struct VmaIndex(RwLock<BTreeMap<u32, Arc<Vma>>>);

impl VmaIndex {
    /// The area that held a page a moment ago.
    pub(crate) fn find(&self, vpn: Vpn) -> Option<Arc<Vma>> {
        let areas = self.0.read();
        let (_, vma) = areas.range(..=vpn.0).next_back()?;
        (vpn < vma.end()).then(|| Arc::clone(vma))
    }
}

/// Areas that one page of the slab holds.
pub const VMAS_PER_SLAB_PAGE: usize = 20;

/// The areas of an address space in the order of their addresses. Guarded by mmap_lock.
#[derive(Debug)]
pub struct VmaTree {
    vmas: BTreeMap<u32, Arc<Vma>>,
    index: Option<Arc<VmaIndex>>,
}

impl VmaTree {
    pub(crate) fn new(index: Option<Arc<VmaIndex>>) -> Self {
        Self { vmas: BTreeMap::new(), index }
    }

    /// Areas from the lowest.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Vma>> {
        self.vmas.values()
    }

    /// Number of areas (`map_count`).
    pub fn len(&self) -> usize {
        self.vmas.len()
    }

    /// Is nothing mapped?
    pub fn is_empty(&self) -> bool {
        self.vmas.is_empty()
    }

    /// The area that holds a page.
    #[inline]
    pub fn find(&self, vpn: Vpn) -> Option<&Arc<Vma>> {
        let (_, vma) = self.vmas.range(..=vpn.0).next_back()?;
        (vpn < vma.end()).then_some(vma)
    }

    /// The areas that overlap `start..end`, from the lowest.
    pub fn overlapping(&self, start: Vpn, end: Vpn) -> impl Iterator<Item = &Arc<Vma>> {
        let from = self.find(start).map_or(start, |vma| vma.start());
        self.vmas.range(from.0..end.0.max(from.0)).map(|(_, vma)| vma)
    }

    /// The last area that ends at or below a page.
    pub(crate) fn before(&self, vpn: Vpn) -> Option<&Arc<Vma>> {
        self.vmas.range(..vpn.0).next_back().map(|(_, vma)| vma)
    }

    /// The first area at or above a page.
    pub(crate) fn from(&self, vpn: Vpn) -> Option<&Arc<Vma>> {
        self.vmas.range(vpn.0..).next().map(|(_, vma)| vma)
    }

    /// Puts an area in.
    pub fn insert(&mut self, vma: Arc<Vma>) {
        debug_assert!(self.overlapping(vma.start(), vma.end()).next().is_none());
        if let Some(index) = &self.index {
            index.0.write().insert(vma.start().0, Arc::clone(&vma));
        }
        self.vmas.insert(vma.start().0, vma);
    }

    /// Takes an area out; faults that have it in hand notice once they have its lock.
    pub fn remove(&mut self, start: Vpn) -> Option<Arc<Vma>> {
        let vma = self.vmas.remove(&start.0)?;
        if let Some(index) = &self.index {
            index.0.write().remove(&start.0);
        }
        // vma_start_write, vma_mark_detached.
        let _locked = vma.lock.write();
        vma.detach();
        drop(_locked);
        Some(vma)
    }

    /// Splits the area that holds `at` there, unless it begins there already. `policy` is the copy
    /// for the upper part.
    pub fn split(&mut self, at: Vpn, policy: Option<Arc<Mempolicy>>) {
        let Some(vma) = self.find(at).filter(|vma| vma.start() != at) else { return };
        let upper = Arc::new(vma.split_off(at, policy));
        self.insert(upper);
    }

    /// Would [`VmaTree::split`] split here? The area that it would.
    pub fn splits_at(&self, at: Vpn) -> Option<&Arc<Vma>> {
        self.find(at).filter(|vma| vma.start() != at)
    }

    /// Merges what has become equal at the borders within `start..=end`.
    pub fn merge(&mut self, start: Vpn, end: Vpn) {
        let mut lower = self.before(start).or_else(|| self.from(start)).cloned();
        while let Some(vma) = lower {
            let Some(upper) = self.from(vma.end()).cloned() else { return };
            if vma.end() > end {
                return;
            }
            lower = if vma.is_mergeable_with(&upper) {
                self.absorb(&vma, &upper);
                Some(vma)
            } else {
                Some(upper)
            };
        }
    }

    fn absorb(&mut self, lower: &Arc<Vma>, upper: &Arc<Vma>) {
        self.remove(upper.start());
        let _locked = lower.lock.write();
        if upper.has_anon_vma() {
            lower.set_anon_vma();
        }
        lower.end.store(upper.end().0, Ordering::Relaxed);
    }

    /// The lowest page of the highest gap of `pages` pages below `top` (`unmapped_area_topdown`).
    pub fn find_gap(&self, pages: u32, top: Vpn) -> Option<Vpn> {
        let mut ceiling = top;
        for vma in self.vmas.values().rev() {
            if vma.end() <= ceiling && ceiling.0 - vma.end().0 >= pages {
                return Some(Vpn(ceiling.0 - pages));
            }
            ceiling = ceiling.min(vma.start());
        }
        // Page 0 stays unmapped.
        (ceiling.0 > pages).then(|| Vpn(ceiling.0 - pages))
    }
}
