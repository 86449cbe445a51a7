//! Moving pages to other frames (`migrate_pages`): for mbind, cpusets and memory offline.
//!
//! **What.** A page is isolated from the LRU, a new one is allocated, the page-table entry (or the
//! file's index) is changed under its lock, and the old frame is freed. Pages that somebody else
//! holds fail (docs/kernel/mempolicies.md#d6 M6, G.3 L5c).
//!
//! **Source.** mm/migrate.c: unmap_and_move (migrate_pages_batch), move_to_new_folio;
//! mm/mempolicy.c: do_migrate_pages, migrate_to_node.
//!
//! **Differs.** No migration entries: an anonymous page has one entry, which is switched in one
//! step under the page-table lock, so nobody meets it half-way. Mapped pages of files stay.

use crate::gfp::Gfp;
use crate::ids::{NodeId, Pfn};
use crate::mm::mapping::MAPPING_SLOT;
use crate::mm::page_table::Pte;
use crate::mm::{Mm, VmFlags, Vpn};
use crate::nodemask::NodeMask;
use crate::page_alloc::Nodemask;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;
use crate::zone::frame::flag;

/// What became of a page that was to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// It is in this frame now.
    To(Pfn),
    /// It is on no LRU list: free, in a batch, or of the kernel.
    NotOnLru,
    /// Somebody else holds it (-EAGAIN); it is back on its list.
    Busy,
    /// There is no memory to move it to (-ENOMEM); it is back on its list.
    NoMemory,
}

/// References of a page that only its mapping (or cache) and one isolation hold.
const OWNER_AND_ISOLATION: u32 = 2;

impl Kernel {
    /// Isolates and moves one page to a frame that `alloc` gives.
    pub fn migrate_page(
        &self,
        cx: &Cx,
        pfn: Pfn,
        alloc: impl FnOnce(Pfn) -> Option<Pfn>,
    ) -> Migrated {
        if !self.isolate_lru_page(cx, pfn) {
            return Migrated::NotOnLru;
        }
        self.migrate_isolated(cx, pfn, alloc)
    }

    /// Moves a page that is isolated already; afterwards it no longer is.
    pub fn migrate_isolated(
        &self,
        cx: &Cx,
        pfn: Pfn,
        alloc: impl FnOnce(Pfn) -> Option<Pfn>,
    ) -> Migrated {
        let vm = &self.cpus[cx.cpu().index()].vm;
        let old = self.frames.get(pfn);
        let state = old.state();
        // Freed meanwhile: only the isolation holds it, and giving that up frees the frame.
        if state.refs() == 1 {
            self.clear_isolated(pfn);
            self.put_page(cx, pfn);
            vm.pgmigrate_success.fetch_add(1, Ordering::Relaxed);
            return Migrated::To(pfn);
        }
        let failed = if state.has(flag::PINNED) {
            Migrated::Busy
        } else {
            match alloc(pfn) {
                None => Migrated::NoMemory,
                Some(new) if self.move_to(pfn, new) => {
                    self.clear_isolated(pfn);
                    // Its own reference, then the isolation's.
                    self.put_page(cx, pfn);
                    self.put_page(cx, pfn);
                    self.lru_add_migrated(cx, new, state.has(flag::ANON));
                    self.put_page(cx, new);
                    vm.pgmigrate_success.fetch_add(1, Ordering::Relaxed);
                    return Migrated::To(new);
                }
                Some(new) => {
                    self.free_pages(cx, new, 0);
                    Migrated::Busy
                }
            }
        };
        self.putback_lru_page(cx, pfn);
        vm.pgmigrate_fail.fetch_add(1, Ordering::Relaxed);
        failed
    }

    fn lru_add_migrated(&self, cx: &Cx, new: Pfn, anon: bool) {
        if anon {
            self.lru_add_anon(cx, new);
        } else {
            self.lru_add_file(cx, new);
        }
    }

    /// Switches the owner of `old` over to `new`, which gets a second reference for the caller:
    /// from now on others may unmap it.
    fn move_to(&self, old: Pfn, new: Pfn) -> bool {
        let got = self.frames.get(new).get_unless_zero();
        debug_assert!(got, "a new page has a reference");
        let moved = self.switch_owner(old, new);
        if !moved {
            let last = self.frames.get(new).put_testzero();
            debug_assert!(!last, "the page's own reference is still there");
        }
        moved
    }

    fn switch_owner(&self, old: Pfn, new: Pfn) -> bool {
        let from = self.frames.get(old);
        let to = self.frames.get(new);
        let slot = from.rmap.load(Ordering::Relaxed);
        if slot & MAPPING_SLOT != 0 {
            return self.replace_in_mapping(old, new);
        }
        if slot == 0 && !from.state().has(flag::ANON) {
            return self.replace_in_page_cache(old, new);
        }
        let Some((table, idx)) = self.mm.rmap.find(slot) else { return false };
        let mut entries = table.ptl.lock();
        if entries[idx] != Pte::Anon(old) || from.state().refs() != OWNER_AND_ISOLATION {
            return false;
        }
        to.set_flags(from.state().0 & flag::MLOCKED);
        to.rmap.store(slot, Ordering::Relaxed);
        from.rmap.store(0, Ordering::Relaxed);
        entries[idx] = Pte::Anon(new);
        true
    }

    /// A frame for a page that moves to `nid` (and, with a mask, not beyond its nodes).
    pub fn alloc_migration_target(
        &self,
        cx: &Cx,
        nid: NodeId,
        nodemask: Option<&NodeMask>,
        gfp: Gfp,
    ) -> Option<Pfn> {
        let nodes = nodemask.map_or(Nodemask::None, Nodemask::Fixed);
        self.alloc_pages(cx, gfp, 0, nid, nodes)
    }

    /// Moves an address space's pages from the nodes of `from` to those of `to`, each to the node
    /// at the same place in the order (`do_migrate_pages`). Returns the pages that could not move.
    pub fn do_migrate_pages(&self, cx: &Cx, mm: &Mm, from: &NodeMask, to: &NodeMask) -> u64 {
        self.lru_add_drain_all(cx);
        let mut failed = 0;
        let mut at = Vpn(0);
        // In rounds, so that mmap_lock is not held while pages move.
        loop {
            let mut isolated: Vec<(Pfn, NodeId)> = Vec::new();
            let done = {
                let tree = mm.mmap_read_lock();
                self.isolate_misplaced(cx, mm, &tree, &mut at, from, to, &mut isolated)
            };
            for (pfn, target) in isolated {
                let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::THISNODE;
                let moved = self.migrate_isolated(cx, pfn, |_| {
                    self.alloc_migration_target(cx, target, None, gfp)
                });
                failed += u64::from(!matches!(moved, Migrated::To(_)));
            }
            if done || self.clock.is_aborted() {
                return failed;
            }
        }
    }

    /// Isolates up to a round's worth of pages from `at` on that have to move; true at the end.
    #[expect(clippy::too_many_arguments, reason = "a loop body with a name")]
    fn isolate_misplaced(
        &self,
        cx: &Cx,
        mm: &Mm,
        tree: &crate::mm::VmaTree,
        at: &mut Vpn,
        from: &NodeMask,
        to: &NodeMask,
        isolated: &mut Vec<(Pfn, NodeId)>,
    ) -> bool {
        const ROUND: usize = 512;
        for vma in tree.overlapping(*at, Vpn(u32::MAX)) {
            if vma.has(VmFlags::HUGETLB) {
                continue;
            }
            let mut full = false;
            self.walk_present(mm, (vma.start().max(*at), vma.end()), |vpn, entry| {
                *at = vpn;
                full = isolated.len() >= ROUND;
                if full {
                    return false;
                }
                let Pte::Anon(pfn) = entry else { return true };
                let target = self.page_node(pfn).and_then(|node| target_node(node, from, to));
                if let Some(target) = target
                    && self.isolate_lru_page(cx, pfn)
                {
                    isolated.push((pfn, target));
                }
                true
            });
            if full {
                return false;
            }
        }
        true
    }
}

/// Where a page on `node` goes: the node of `to` at the place that `node` has in `from`; None if it
/// is not to move.
fn target_node(node: NodeId, from: &NodeMask, to: &NodeMask) -> Option<NodeId> {
    if !from.test(node) || to.is_empty() {
        return None;
    }
    // As many nodes on both sides: pages that are allowed where they are stay only if their place
    // says so; else what is already inside the new nodes stays.
    if from.weight() != to.weight() && to.test(node) {
        return None;
    }
    let position = from.iter().position(|n| n == node)?;
    let target = to.nth(position % to.weight())?;
    (target != node).then_some(target)
}
