//! Moving pages out of a block that goes offline (`do_migrate_range`).
//!
//! **What.** Each page in use moves to another node with memory, the nearest that has room,
//! whatever its owner's policy says (docs/kernel/hotplug.md#g3, checked.md). A request for the new
//! page never kills.
//!
//! **Source.** mm/memory_hotplug.c: do_migrate_range, new_node_page.

use crate::gfp::Gfp;
use crate::ids::{NodeId, Pfn};
use crate::mm::migrate::Migrated;
use crate::nodemask::NodeMask;
use crate::page_alloc::Nodemask;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::zone::frame::{FrameState, flag};

impl Kernel {
    /// Moves one page; false: it stays, and the offline tries again.
    pub(crate) fn offline_migrate_page(&self, cx: &Cx, pfn: Pfn, state: FrameState) -> bool {
        let Some(node) = self.page_node(pfn) else { return false };
        if state.has(flag::MOVABLE_OPS) {
            return self.migrate_driver_page(cx, pfn, state.order(), node);
        }
        let moved = self.migrate_page(cx, pfn, |_| self.offline_target(cx, node, state.order()));
        match moved {
            Migrated::To(_) => true,
            Migrated::NotOnLru | Migrated::Busy | Migrated::NoMemory => false,
        }
    }

    /// The new frame: by the zonelist of the page's own node, within all other nodes with memory;
    /// within that node if it is the only one.
    fn offline_target(&self, cx: &Cx, node: NodeId, order: u8) -> Option<Pfn> {
        let all = self.n_memory.load();
        let mut others: NodeMask = all;
        others.clear(node);
        let nodes = if others.is_empty() { &all } else { &others };
        // With HIGHMEM: what was in ZONE_MOVABLE may go to ZONE_MOVABLE elsewhere.
        let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::RETRY_MAYFAIL | Gfp::NOWARN;
        self.alloc_pages(cx, gfp, order, node, Nodemask::Fixed(nodes))
    }

    fn migrate_driver_page(&self, cx: &Cx, old: Pfn, order: u8, node: NodeId) -> bool {
        let Some(pages) = self.hotplug.movable.lock().clone() else { return false };
        let Some(new) = self.offline_target(cx, node, order) else { return false };
        let moved = pages.replace(&self.frames, old, new);
        self.free_pages(cx, if moved { old } else { new }, order);
        moved
    }
}
