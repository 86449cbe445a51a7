//! Memory hotplug: memory blocks go offline and come back.
//!
//! **What.** docs/kernel/hotplug.md. [`isolate`] keeps pageblocks from being allocated from,
//! [`pcp_disable`] keeps pages off the pcplists meanwhile, [`offline`] is the loop of
//! offline_pages, [`online`] the way back.
//!
//! **Why.** Change 5: a page that is freed to a pcplist while its block is being isolated is
//! neither free nor in use, and the offline waits for it for ever.
//!
//! **Source.** mm/memory_hotplug.c, mm/page_isolation.c.
//!
//! **Differs.** Blocks are what the machine says (128 MiB unless it says otherwise); a block must
//! lie in one zone and be wholly managed. There is no memmap on memory, no vmemmap to free.

pub mod hwpoison;
pub mod isolate;
pub mod migrate;
pub mod movable_ops;
pub mod offline;
pub mod online;
pub mod pcp_disable;

use crate::ids::{Pfn, ZoneId};
use crate::run::kernel::Kernel;
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::sync::{Arc, Mutex};

/// A memory block by its number: first pfn / pages in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

/// A block that is offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfflineBlock {
    /// Which.
    pub block: BlockId,
    /// The zone that it was in.
    pub zone: ZoneId,
}

/// Why a block did not go offline or come back, with the kernel's errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HotplugError {
    /// Not a block of this machine, or one with a hole, or over two zones: -EINVAL.
    #[error("EINVAL: block {0} has holes or lies in more than one zone")]
    Holes(u32),
    /// It is in that state already: -EINVAL.
    #[error("EINVAL: block {0} is in that state already")]
    SameState(u32),
    /// A page that can't move: -EBUSY.
    #[error("EBUSY: failure to isolate range (unmovable page {0:#x})")]
    Unmovable(u32),
    /// The final check failed and the release does not try again: -EBUSY.
    #[error("EBUSY: page {0:#x} was not isolated")]
    Busy(u32),
    /// A page of the block is poisoned: it does not come back, -EHWPOISON.
    #[error("EHWPOISON: page {0:#x} of the block is poisoned")]
    Poisoned(u32),
    /// A signal was pending: -EINTR, everything undone.
    #[error("EINTR: signal backoff")]
    Signal,
}

impl HotplugError {
    /// The errno's name.
    pub fn errno(self) -> &'static str {
        match self {
            Self::Holes(_) | Self::SameState(_) => "EINVAL",
            Self::Unmovable(_) | Self::Busy(_) => "EBUSY",
            Self::Poisoned(_) => "EHWPOISON",
            Self::Signal => "EINTR",
        }
    }
}

/// What one offline did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfflineStats {
    /// Passes of the loop L5 to L8.
    pub passes: u32,
    /// Drains of pcplists.
    pub drains: u32,
    /// Pages migrated away.
    pub migrated: u32,
    /// Migrations that failed and were tried again.
    pub migrate_failed: u32,
    /// Times that a page on a pcplist failed test_pages_isolated with all sections closed.
    pub strays: u32,
}

/// State of memory hotplug.
#[derive(Debug, Default)]
pub struct HotplugState {
    /// Blocks that are offline. Guarded by mem_hotplug_lock besides.
    pub offline: Mutex<Vec<OfflineBlock>>,
    /// Isolations in progress, for the oracle: which pcp sections were open at I1.
    pub isolations: Mutex<Vec<isolate::Isolation>>,
    /// Pages that their drivers can move.
    pub movable: Mutex<Option<Arc<movable_ops::MovablePages>>>,
    /// Pages of isolated pageblocks handed out that were in transit at I1 (J5-f, counted).
    pub in_transit: AtomicU64,
    /// Pages found on pcplists after their block was isolated.
    pub strays: AtomicU64,
    /// A signal reaches the offliner after so many passes; 0: never (`--offline-timeout` counts
    /// time instead; explored worlds count passes).
    pub signal_after_passes: AtomicU32,
}

impl Kernel {
    /// First frame and size of a block.
    pub fn block_range(&self, block: BlockId) -> (Pfn, u32) {
        let pages = self.machine.block_pages;
        (Pfn(block.0 * pages), pages)
    }

    /// The blocks of a zone that can go offline: wholly inside one managed range, and online.
    pub fn blocks_of_zone(&self, zone: ZoneId) -> Vec<BlockId> {
        let pages = self.machine.block_pages;
        let offline = self.hotplug.offline.lock();
        let ranges = self.managed_ranges.lock();
        let mut blocks = Vec::new();
        for range in ranges.iter().filter(|r| r.zone == zone) {
            let mut block = range.first.0.div_ceil(pages);
            while (block + 1) * pages <= range.first.0 + range.pages {
                if !offline.iter().any(|o| o.block.0 == block) {
                    blocks.push(BlockId(block));
                }
                block += 1;
            }
        }
        blocks
    }
}
