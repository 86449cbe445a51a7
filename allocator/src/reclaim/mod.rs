//! Reclaim (stub: being written).

use crate::gfp::Gfp;
use crate::kernel::Kernel;
use crate::page_alloc::AllocContext;
use crate::task::Cx;
use crate::zone::Zone;

/// LRU lists, kswapd and swap.
#[derive(Debug)]
pub struct ReclaimState {}

impl ReclaimState {
    /// Nothing on any list.
    pub fn new(_nr_node_ids: usize, _swap_pages: u64) -> Self {
        Self {}
    }
}

impl Kernel {
    /// S4, S8 (`wake_all_kswapds`): each node once along zonelist and nodemask.
    pub fn wake_all_kswapds(&self, _cx: &Cx, _gfp: Gfp, _order: u8, _ac: &AllocContext<'_>) {}

    /// S14 (`try_to_free_pages`): pages reclaimed.
    pub fn try_to_free_pages(&self, _cx: &Cx, _gfp: Gfp, _order: u8, _ac: &AllocContext<'_>) -> u64 {
        0
    }

    /// `zone_reclaimable_pages`.
    pub fn zone_reclaimable_pages(&self, _zone: &Zone) -> u64 {
        0
    }
}
