//! Pageblocks: 512 frames that share a migratetype, and the zone that they belong to.
//!
//! **What.** `get_pageblock_migratetype`, `set_pageblock_migratetype`. The type changes only under
//! zone->lock, and is read without any lock by the free path (P1, docs/kernel/pcplists.md#a7): that
//! read is race 5.
//!
//! **Differs.** The zone of a frame stands here and not in the frame's flags, so that one load
//! gives both.

use crate::gfp::MigrateType;
use crate::ids::{PAGEBLOCK_NR_PAGES, Pfn, ZoneId};
use crate::sync::atomic::{AtomicU32, Ordering};

const TYPE_MASK: u32 = 0x7;
const ZONE_SHIFT: u32 = 16;

/// Type and zone of every pageblock.
#[derive(Debug)]
pub struct PageblockTable {
    /// Bits 0-2: migratetype; bits 16-31: zone id + 1, 0 for a hole.
    blocks: Box<[AtomicU32]>,
}

/// What a pageblock was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pageblock(u32);

impl Pageblock {
    /// The type.
    #[inline]
    pub fn migratetype(self) -> MigrateType {
        MigrateType::from_bits(self.0)
    }

    /// The zone, unless it is a hole.
    #[inline]
    pub fn zone(self) -> Option<ZoneId> {
        (self.0 >> ZONE_SHIFT).checked_sub(1).map(|z| ZoneId(z as u16))
    }
}

impl PageblockTable {
    /// A table of holes for frames below `max_pfn`.
    pub fn new(max_pfn: u64) -> Self {
        let blocks = max_pfn.div_ceil(u64::from(PAGEBLOCK_NR_PAGES)) as usize;
        Self { blocks: bytemuck::allocation::zeroed_slice_box(blocks) }
    }

    /// The pageblock of a frame.
    #[inline]
    pub fn of(&self, pfn: Pfn) -> Pageblock {
        // Relaxed: this is the unlocked read of P1; under zone->lock the lock orders it.
        self.blocks
            .get(pfn.pageblock())
            .map_or(Pageblock(0), |b| Pageblock(b.load(Ordering::Relaxed)))
    }

    /// The zone of a frame, unless it lies in a hole.
    #[inline]
    pub fn zone(&self, pfn: Pfn) -> Option<ZoneId> {
        self.of(pfn).zone()
    }

    /// Changes the type. The caller holds the zone's lock.
    #[inline]
    pub fn set_migratetype(&self, pfn: Pfn, migratetype: MigrateType) {
        let block = &self.blocks[pfn.pageblock()];
        let zone = block.load(Ordering::Relaxed) & !TYPE_MASK;
        block.store(zone | migratetype as u32, Ordering::Relaxed);
    }

    /// Gives the pageblock to a zone, as Movable (all memory starts so,
    /// docs/kernel/zones-and-buddy.md#a4).
    pub fn init(&self, pfn: Pfn, zone: ZoneId, migratetype: MigrateType) {
        let word = (u32::from(zone.0) + 1) << ZONE_SHIFT | migratetype as u32;
        self.blocks[pfn.pageblock()].store(word, Ordering::Relaxed);
    }

    /// Makes it a hole again (a block left the zone's span).
    pub fn clear(&self, pfn: Pfn) {
        self.blocks[pfn.pageblock()].store(0, Ordering::Relaxed);
    }
}
