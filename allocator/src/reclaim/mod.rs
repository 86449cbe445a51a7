//! Reclaim: LRU lists, page cache, swap, direct reclaim and kswapd.
//!
//! **What.** Per node: five LRU lists under one lru_lock, a kswapd, a queue of throttled
//! reclaimers. Per CPU: the batch of pages on their way to the LRU. Read in the order in which a
//! page meets it: [`lru`], [`page_cache`], [`scan`] (shrink_node), [`swap`], [`direct`] (S14),
//! [`kswapd`] (docs/kernel/slow-path.md#b6, #b7, environment.md#h1, #h2).
//!
//! **Differs.** No referenced bits, no writeback: file pages are clean, so a scanned page is freed
//! unless somebody else holds it. No memory cgroups, no shrinkers. Balance between file and
//! anonymous pages is vm.swappiness alone.

pub mod direct;
pub mod kswapd;
pub mod lru;
pub mod page_cache;
pub mod scan;
pub mod swap;

use crate::policy::Release;
use crate::reclaim::kswapd::KswapdState;
use crate::reclaim::lru::{LruBatch, NodeLru};
use crate::reclaim::swap::SwapArea;
use crate::run::task::WaitQueue;
use crate::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64};

/// What a node has for reclaim (`pg_data_t`).
#[derive(Debug, Default)]
pub struct NodeReclaim {
    /// Its lists.
    pub lru: NodeLru,
    /// Its kswapd.
    pub kswapd: KswapdState,
    /// Direct reclaimers throttled until kswapd has made room (`pfmemalloc_wait`).
    pub pfmemalloc_wait: WaitQueue,
    /// How many wait there.
    pub nr_throttled: AtomicU32,
    /// Pages of the page cache on this node (NR_FILE_PAGES).
    pub nr_file_pages: AtomicU64,
}

/// LRU lists, kswapd and swap.
#[derive(Debug)]
pub struct ReclaimState {
    /// By node id.
    pub nodes: Box<[NodeReclaim]>,
    /// By CPU: pages that wait to go onto the LRU.
    pub(crate) batches: Box<[LruBatch]>,
    /// Pages that a batch holds before it is flushed.
    pub(crate) batch_pages: usize,
    /// Above 0: no batches (`lru_cache_disable`).
    pub(crate) lru_disabled: AtomicI32,
    /// New anonymous pages start on the inactive list (5.9+).
    pub(crate) anon_starts_inactive: bool,
    /// Swap space.
    pub swap: SwapArea,
    /// kswapds are to end.
    pub(crate) stop: AtomicBool,
}

impl ReclaimState {
    /// Nothing on any list.
    pub fn new(release: Release, nr_node_ids: usize, nr_cpus: usize, swap_pages: u64) -> Self {
        let batch_pages = release.lru_batch_pages();
        Self {
            nodes: (0..nr_node_ids).map(|_| NodeReclaim::default()).collect(),
            batches: (0..nr_cpus).map(|_| LruBatch::new(batch_pages)).collect(),
            batch_pages,
            lru_disabled: AtomicI32::new(0),
            anon_starts_inactive: release.new_anon_is_inactive(),
            swap: SwapArea::new(swap_pages),
            stop: AtomicBool::new(false),
        }
    }
}
