//! Soft offline of one page: its contents move away and the frame is never used again.
//!
//! **What.** `soft_offline_page`, `__page_handle_poison`, `take_page_off_buddy`. The second user of
//! disabled pcplists after memory offline: the page that was just freed has to be in the buddy, and
//! stay there, until it is taken off.
//!
//! **Why.** A frame on a pcplist is on no free list: it can't be taken, and the next request gets it.
//!
//! **Source.** mm/memory-failure.c, mm/page_alloc.c.
//!
//! **Differs.** Single pages only: blocks of higher orders are busy instead of split. Releases that do
//! not disable pcplists drain them, which is what they do about an offline.

use crate::gfp::Gfp;
use crate::ids::Pfn;
use crate::mm::migrate::Migrated;
use crate::page_alloc::Nodemask;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, count};
use crate::zone::Zone;
use crate::zone::frame::{FrameKind, FrameState, flag};

/// Why a page stays in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoftOfflineError {
    /// Not a page of the buddy's: -ENXIO.
    #[error("ENXIO: {0:#x} is no page of memory that is online")]
    NoPage(u32),
    /// In use by somebody who can't let go of it, or taken again meanwhile: -EBUSY.
    #[error("EBUSY: page {0:#x} could not be taken")]
    Busy(u32),
}

impl Kernel {
    /// Takes one page out of use. A page that is poisoned already is no error.
    ///
    /// # Errors
    /// The page is as it was.
    pub fn soft_offline_page(&self, cx: &Cx, pfn: Pfn) -> Result<(), SoftOfflineError> {
        if pfn.index() >= self.frames.len() {
            return Err(SoftOfflineError::NoPage(pfn.0));
        }
        let Some(zone) = self.page_zone(pfn) else {
            return Err(SoftOfflineError::NoPage(pfn.0));
        };
        let state = self.frames.get(pfn).state();
        match state.kind() {
            FrameKind::Taken => return Ok(()),
            FrameKind::Offline => return Err(SoftOfflineError::NoPage(pfn.0)),
            FrameKind::Allocated if !self.move_away(cx, pfn, state) => {
                return Err(SoftOfflineError::Busy(pfn.0));
            }
            FrameKind::Allocated | FrameKind::None | FrameKind::Buddy | FrameKind::Pcp => {}
        }
        self.page_handle_poison(cx, zone, pfn)
    }

    /// Moves the contents to any other frame; the old one is free afterwards.
    fn move_away(&self, cx: &Cx, pfn: Pfn, state: FrameState) -> bool {
        let Some(node) = self.page_node(pfn) else { return false };
        let gfp = Gfp::HIGHUSER_MOVABLE | Gfp::RETRY_MAYFAIL | Gfp::NOWARN;
        let target = || self.alloc_pages(cx, gfp, 0, node, Nodemask::None);
        if state.order() > 0 {
            return false;
        }
        if !state.has(flag::MOVABLE_OPS) {
            return matches!(self.migrate_page(cx, pfn, |_| target()), Migrated::To(_));
        }
        let Some(pages) = self.hotplug.movable.lock().clone() else { return false };
        let Some(new) = target() else { return false };
        let moved = pages.replace(&self.frames, pfn, new);
        self.free_pages(cx, if moved { pfn } else { new }, 0);
        moved
    }

    fn page_handle_poison(&self, cx: &Cx, zone: &Zone, pfn: Pfn) -> Result<(), SoftOfflineError> {
        let disabled = self.policy.offline.disables_pcp().then(|| self.zone_pcp_disable(cx, zone));
        if disabled.is_none() {
            self.drain_all_pages(cx, Some(zone.id));
        }
        let taken = self.take_page_off_buddy(cx, zone, pfn);
        if let Some(disabled) = disabled {
            self.zone_pcp_enable(cx, zone, disabled);
        }
        if taken { Ok(()) } else { Err(SoftOfflineError::Busy(pfn.0)) }
    }

    /// Takes one frame out of the free block that it is in; the rest stays free.
    fn take_page_off_buddy(&self, cx: &Cx, zone: &Zone, pfn: Pfn) -> bool {
        let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
        let buddy = self.buddy(zone);
        let Some((on, _)) = buddy.take_block(&mut locked, pfn, 0) else { return false };
        let poisoned = FrameState(FrameState::new(FrameKind::Taken, 0).0 | flag::HWPOISON);
        self.frames.get(pfn).set_state(poisoned);
        buddy.account(&mut locked, cx.cpu(), -1, on);
        true
    }
}
