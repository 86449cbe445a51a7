//! Types of pageblocks, free lists and pcplists (`enum migratetype`, include/linux/mmzone.h).

/// Type of a pageblock and of free lists (`enum migratetype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MigrateType {
    /// Pages that stay where they are.
    Unmovable = 0,
    /// Pages whose contents can move.
    Movable = 1,
    /// Pages that a shrinker can free.
    Reclaimable = 2,
    /// Reserved for atomic requests of higher orders.
    HighAtomic = 3,
    /// Contiguous memory allocator's.
    Cma = 4,
    /// Nothing may be allocated from here.
    Isolate = 5,
}

/// Number of migratetypes.
pub const MIGRATE_TYPES: usize = 6;
/// Number of migratetypes that have pcp lists (`MIGRATE_PCPTYPES`).
pub const MIGRATE_PCPTYPES: usize = 3;

impl MigrateType {
    /// All types by number.
    pub const ALL: [Self; MIGRATE_TYPES] = [
        Self::Unmovable,
        Self::Movable,
        Self::Reclaimable,
        Self::HighAtomic,
        Self::Cma,
        Self::Isolate,
    ];

    /// The type that the three lowest bits of a word name.
    #[inline]
    pub fn from_bits(word: u32) -> Self {
        const BITS: [MigrateType; 8] = [
            MigrateType::Unmovable,
            MigrateType::Movable,
            MigrateType::Reclaimable,
            MigrateType::HighAtomic,
            MigrateType::Cma,
            MigrateType::Isolate,
            MigrateType::Isolate,
            MigrateType::Isolate,
        ];
        BITS[(word & 7) as usize]
    }

    /// The type as an index.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The type with this number.
    #[inline]
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// The name as /proc/pagetypeinfo prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
            Self::HighAtomic => "HighAtomic",
            Self::Cma => "CMA",
            Self::Isolate => "Isolate",
        }
    }
}
