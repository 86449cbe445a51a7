//! mbind: a policy for a range of an address space.
//!
//! **What.** Steps M1 to M6 (docs/kernel/mempolicies.md#d6): checks, the search for misplaced
//! pages, the change of each area's policy with its splits and merges, migration.
//!
//! **Why it may fail half-way.** Areas get the policy one after the other; if memory for a split
//! runs out, those before keep the new policy and those behind the old one.
//!
//! **Source.** mm/mempolicy.c: do_mbind, queue_pages_range, mbind_range, migrate_pages by policy.
//!
//! **Differs.** The copy of the policy for each area can't fail, the area that a split needs can.
//! Only anonymous pages move; those of files count as shared, as if others mapped them too.

use bitflags::bitflags;

use crate::ids::{PAGE_SHIFT, Pfn};
use crate::mempolicy::{Mempolicy, MempolicyError, Mode, PolicySpec, mpol_equal};
use crate::mm::migrate::Migrated;
use crate::mm::page_table::Pte;
use crate::mm::{MapError, Mm, VmFlags, VmaTree, Vpn};
use crate::nodemask::NodeMask;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::Arc;
use crate::sync::lock::{As, Role};

bitflags! {
    /// `MPOL_MF_*`, by the ABI's bits.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MbindFlags: u32 {
        /// MPOL_MF_STRICT: fail with -EIO if a page is (or stays) where it must not be.
        const STRICT = 1;
        /// MPOL_MF_MOVE: move misplaced pages that only this process maps.
        const MOVE = 2;
        /// MPOL_MF_MOVE_ALL: move all misplaced pages.
        const MOVE_ALL = 4;
    }
}

/// Why an mbind failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MbindError {
    /// Moving pages that others map needs CAP_SYS_NICE.
    #[error("moving pages of others is not permitted (EPERM)")]
    NotPermitted,
    /// The start is not page-aligned, or the range wraps around.
    #[error("the range is unaligned or wraps around (EINVAL)")]
    BadRange,
    /// The policy can't be.
    #[error("{0} (EINVAL)")]
    Policy(#[from] MempolicyError),
    /// A hole in the range.
    #[error("the range has a hole (EFAULT)")]
    Hole,
    /// STRICT: a page is on a wrong node, or stayed there.
    #[error("a page is on a node that the policy excludes (EIO)")]
    Misplaced,
    /// No memory or too many areas for a split: areas before it have the new policy already.
    #[error("out of memory (ENOMEM)")]
    OutOfMemory,
}

impl MbindError {
    /// The error number's name.
    pub fn errno(self) -> &'static str {
        match self {
            Self::NotPermitted => "EPERM",
            Self::BadRange | Self::Policy(_) => "EINVAL",
            Self::Hole => "EFAULT",
            Self::Misplaced => "EIO",
            Self::OutOfMemory => "ENOMEM",
        }
    }
}

/// Misplaced pages of a range.
#[derive(Debug, Default)]
struct Misplaced {
    /// Isolated, with the page that they are mapped at.
    isolated: Vec<(Pfn, Vpn)>,
    /// Could not be isolated.
    failed: u64,
}

impl Kernel {
    /// Gives `len` bytes from `addr` on a policy.
    ///
    /// # Errors
    /// [`MbindError`]. With [`MbindError::OutOfMemory`] a part of the range may have the new policy,
    /// with [`MbindError::Misplaced`] after a migration all of it has.
    pub fn mbind(
        &self,
        cx: &Cx,
        mm: &Arc<Mm>,
        addr: u64,
        len: u64,
        spec: &PolicySpec,
        mut flags: MbindFlags,
    ) -> Result<(), MbindError> {
        let _role = As::role(Role::Writer);
        // M1
        if flags.contains(MbindFlags::MOVE_ALL) && cx.task.process.uid != 0 {
            return Err(MbindError::NotPermitted);
        }
        if spec.mode == Mode::Default {
            flags -= MbindFlags::STRICT;
        }
        let Some((start, end)) = page_range(addr, len) else { return Err(MbindError::BadRange) };
        if start == end {
            return Ok(());
        }
        // M2
        spec.check(self.policy.release)?;
        let moves = flags.intersects(MbindFlags::MOVE | MbindFlags::MOVE_ALL);
        if moves {
            self.disable_lru_batches(cx);
        }
        let result = self.mbind_locked(cx, mm, (start, end), spec, flags);
        if moves && self.policy.release.offline_disables_lru_cache() {
            self.lru_cache_enable();
        }
        result
    }

    /// Pages must not hide in batches; before 5.14 later ones may.
    fn disable_lru_batches(&self, cx: &Cx) {
        if self.policy.release.offline_disables_lru_cache() {
            self.lru_cache_disable(cx);
        } else {
            self.lru_add_drain_all(cx);
        }
    }

    /// M3 to M6.
    fn mbind_locked(
        &self,
        cx: &Cx,
        mm: &Arc<Mm>,
        range: (Vpn, Vpn),
        spec: &PolicySpec,
        flags: MbindFlags,
    ) -> Result<(), MbindError> {
        // M3
        let mut tree = mm.mmap_write_lock();
        self.point(cx, Point::M3MmapLock);
        let new = {
            let _task_lock = cx.task.alloc_lock.lock();
            self.mpol_new(cx, spec)?
        };
        // M4
        let misplaced = self.queue_pages_range(cx, mm, &tree, range, spec, flags)?;
        // M5
        let done = self.mbind_range(cx, mm, &mut tree, range, new.as_ref());
        tree.merge(range.0, range.1);
        if let Err(error) = done {
            drop(tree);
            self.put_back(cx, &misplaced);
            return Err(error);
        }
        // M6
        let failed = if self.policy.release.mbind_migrates_locked() {
            let failed = self.migrate_misplaced(cx, new.as_deref(), &misplaced);
            drop(tree);
            failed
        } else {
            drop(tree);
            self.migrate_misplaced(cx, new.as_deref(), &misplaced)
        };
        if failed > 0 && flags.contains(MbindFlags::STRICT) {
            return Err(MbindError::Misplaced);
        }
        Ok(())
    }

    /// M4 (`queue_pages_range`): looks for holes and for pages outside the nodes that the caller
    /// named, and isolates those that are to move.
    fn queue_pages_range(
        &self,
        cx: &Cx,
        mm: &Mm,
        tree: &VmaTree,
        (start, end): (Vpn, Vpn),
        spec: &PolicySpec,
        flags: MbindFlags,
    ) -> Result<Misplaced, MbindError> {
        let holes_allowed = spec.mode == Mode::Default;
        let mut misplaced = Misplaced::default();
        let mut at = start;
        let mut seen = false;
        for vma in tree.overlapping(start, end) {
            let hole = vma.start() > at && !holes_allowed;
            let looked = if hole {
                Err(MbindError::Hole)
            } else if flags.is_empty() || vma.has(VmFlags::HUGETLB) {
                Ok(())
            } else {
                let part = (vma.start().max(start), vma.end().min(end));
                self.queue_pages(cx, mm, part, &spec.nodes, flags, &mut misplaced)
            };
            if let Err(error) = looked {
                self.put_back(cx, &misplaced);
                return Err(error);
            }
            at = vma.end();
            seen = true;
        }
        if !seen || at < end && !holes_allowed {
            self.put_back(cx, &misplaced);
            return Err(MbindError::Hole);
        }
        Ok(misplaced)
    }

    fn queue_pages(
        &self,
        cx: &Cx,
        mm: &Mm,
        part: (Vpn, Vpn),
        nodes: &NodeMask,
        flags: MbindFlags,
        misplaced: &mut Misplaced,
    ) -> Result<(), MbindError> {
        let moves = flags.intersects(MbindFlags::MOVE | MbindFlags::MOVE_ALL);
        let mut result = Ok(());
        self.walk_present(mm, part, |vpn, entry| {
            let Some(pfn) = entry.pfn() else { return true };
            if self.page_node(pfn).is_none_or(|node| nodes.test(node)) {
                return true;
            }
            if !moves {
                result = Err(MbindError::Misplaced);
                return false;
            }
            let is_own = matches!(entry, Pte::Anon(_));
            if is_own && self.isolate_lru_page(cx, pfn) {
                misplaced.isolated.push((pfn, vpn));
            } else {
                misplaced.failed += 1;
            }
            true
        });
        result
    }

    fn put_back(&self, cx: &Cx, misplaced: &Misplaced) {
        for (pfn, _) in &misplaced.isolated {
            self.putback_lru_page(cx, *pfn);
        }
    }

    /// M5 (`mbind_range`): the policy of one area after the other; the first error ends it.
    fn mbind_range(
        &self,
        cx: &Cx,
        mm: &Mm,
        tree: &mut VmaTree,
        (start, end): (Vpn, Vpn),
        new: Option<&Arc<Mempolicy>>,
    ) -> Result<(), MbindError> {
        let parts: Vec<(Vpn, Vpn)> = tree
            .overlapping(start, end)
            .filter(|vma| !mpol_equal(vma.policy().as_deref(), new.map(Arc::as_ref)))
            .map(|vma| (vma.start().max(start), vma.end().min(end)))
            .collect();
        for (from, to) in parts {
            for at in [from, to] {
                self.split_vma(cx, mm, tree, at).map_err(|error| match error {
                    MapError::OutOfMemory
                    | MapError::Invalid
                    | MapError::Hole
                    | MapError::Killed => MbindError::OutOfMemory,
                })?;
            }
            let Some(vma) = tree.find(from) else { continue };
            let copy = new.map(|policy| self.mpol_dup(cx, policy));
            let nodes = copy.as_ref().map_or(0, |policy| policy.nodes.load().low_word());
            vma.lock.write().policy = copy;
            self.point_event(cx, Point::M5Vma, [nodes, 0, 0]);
        }
        Ok(())
    }

    /// M6: moves what was isolated to where the policy wants it; returns what could not be moved.
    fn migrate_misplaced(&self, cx: &Cx, policy: Option<&Mempolicy>, misplaced: &Misplaced) -> u64 {
        if misplaced.isolated.is_empty() {
            return misplaced.failed;
        }
        self.point_event(cx, Point::M6Migrate, [misplaced.isolated.len() as u64, 0, 0]);
        let gfp = crate::gfp::Gfp::HIGHUSER_MOVABLE;
        let stayed = misplaced.isolated.iter().filter(|(pfn, vpn)| {
            let moved = self.migrate_isolated(cx, *pfn, |_| {
                self.alloc_pages_vma(cx, gfp, 0, policy, u64::from(vpn.0))
            });
            !matches!(moved, Migrated::To(_))
        });
        misplaced.failed + stayed.count() as u64
    }
}

/// The pages of a range; None if it is unaligned or wraps around.
fn page_range(addr: u64, len: u64) -> Option<(Vpn, Vpn)> {
    let page = 1u64 << PAGE_SHIFT;
    if !addr.is_multiple_of(page) {
        return None;
    }
    let end = addr.checked_add(len.checked_next_multiple_of(page)?)?;
    let vpn = |addr: u64| u32::try_from(addr >> PAGE_SHIFT).ok().map(Vpn);
    Some((vpn(addr)?, vpn(end)?))
}
