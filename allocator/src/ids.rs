//! Numbers that must not be mixed up: frames, nodes, CPUs, orders, zones.

use std::fmt;

/// log2 of the page size: pages are 4 KiB.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// Largest order of a buddy block (`MAX_PAGE_ORDER`; `MAX_ORDER - 1` before 6.4).
pub const MAX_PAGE_ORDER: u8 = 10;
/// Number of orders.
pub const NR_PAGE_ORDERS: usize = MAX_PAGE_ORDER as usize + 1;
/// Order of a pageblock on x86-64.
pub const PAGEBLOCK_ORDER: u8 = 9;
/// Pages in a pageblock.
pub const PAGEBLOCK_NR_PAGES: u32 = 1 << PAGEBLOCK_ORDER;
/// Largest number of NUMA nodes that a machine may have (`MAX_NUMNODES`).
pub const MAX_NUMNODES: usize = 1024;
/// Orders above this are costly (`PAGE_ALLOC_COSTLY_ORDER`).
pub const PAGE_ALLOC_COSTLY_ORDER: u8 = 3;

/// A page frame number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(pub u32);

impl Pfn {
    /// The frame as an index into the frame table.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The pageblock that holds the frame, as an index.
    #[inline]
    pub fn pageblock(self) -> usize {
        (self.0 >> PAGEBLOCK_ORDER) as usize
    }

    /// The frame `pages` further up.
    #[inline]
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "pointer arithmetic, as on raw pointers")]
    pub fn add(self, pages: u32) -> Self {
        Self(self.0 + pages)
    }

    /// The first frame of the buddy of the block of `order` that starts here.
    #[inline]
    #[must_use]
    pub fn buddy(self, order: u8) -> Self {
        Self(self.0 ^ (1 << order))
    }
}

impl fmt::LowerHex for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// A NUMA node's id, as the kernel numbers it. Ids may be sparse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

impl NodeId {
    /// The id as an index (tables are sized by the highest id, `nr_node_ids`).
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A model CPU, counted from 0 without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u16);

impl CpuId {
    /// The id as an index.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A zone's index in its node (`enum zone_type`). ZONE_DEVICE exists only as the fifth number of
/// `protection:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ZoneIdx {
    /// Below 16 MiB.
    Dma = 0,
    /// Below 4 GiB.
    Dma32 = 1,
    /// All the rest that any request may use.
    Normal = 2,
    /// Only for movable pages.
    Movable = 3,
}

/// Zones that can hold memory (ZONE_DEVICE never does here).
pub const MAX_NR_ZONES: usize = 4;

impl ZoneIdx {
    /// All zones from the lowest.
    pub const ALL: [Self; MAX_NR_ZONES] = [Self::Dma, Self::Dma32, Self::Normal, Self::Movable];

    /// The zone as an index.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The zone with this index, if there is one.
    #[inline]
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// The name as /proc/zoneinfo prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::Movable => "Movable",
        }
    }
}

impl fmt::Display for ZoneIdx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A zone of the machine: `node * MAX_NR_ZONES + zone index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneId(pub u16);

impl ZoneId {
    /// The zone `idx` of `node`.
    #[inline]
    pub fn new(node: NodeId, idx: ZoneIdx) -> Self {
        Self(node.0 * MAX_NR_ZONES as u16 + idx as u16)
    }

    /// As an index into the machine's zones.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The node that the zone belongs to.
    #[inline]
    pub fn node(self) -> NodeId {
        NodeId(self.0 / MAX_NR_ZONES as u16)
    }

    /// The zone's index in its node.
    #[inline]
    pub fn zone_idx(self) -> ZoneIdx {
        match self.0 % MAX_NR_ZONES as u16 {
            0 => ZoneIdx::Dma,
            1 => ZoneIdx::Dma32,
            2 => ZoneIdx::Normal,
            _ => ZoneIdx::Movable,
        }
    }
}
