//! How many pages go back to the buddy in one pcp section: all of them, or a batch (6.19).

use allocator::gfp::Gfp;
use allocator::ids::{CpuId, NodeId, Pfn};
use allocator::machine::Machine;
use allocator::page_alloc::Nodemask;
use allocator::policy::{Policy, Release};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Task};
use allocator::sync::Arc;
use allocator::sync::atomic::Ordering;

/// Large enough that high tunes itself far above a batch.
const PAGES: u64 = 1 << 16;
/// More than the lists may hold: an eighth of the zone.
const BLOCKS: usize = 12_000;

fn boot(release: Release) -> (Arc<Kernel>, Cx) {
    let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
    let k = Kernel::boot(Machine::uniform(1, 1, PAGES), Policy::preset(release), config).unwrap();
    let process = k.new_process("freer", 0);
    let (nodes, top) = (k.n_memory.load(), Arc::clone(&k.cpusets.top));
    let task = Task::new(process.tgid, &process, &top, &nodes, k.nr_node_ids(), None, CpuId(0), 0);
    k.add_task(&task);
    (k, Cx::new(task, 1))
}

/// Pages on the lists, bulk frees, pages that they freed, batch.
fn lists(k: &Kernel) -> [u64; 4] {
    let pcp = &k.populated_zones().next().unwrap().pcp[0];
    let events = pcp.enter().events;
    let batch = pcp.batch.load(Ordering::Relaxed);
    [u64::from(pcp.count()), events.drains, events.drain_pages, u64::from(batch)]
}

fn alloc_and_free(k: &Kernel, cx: &Cx) {
    let pages: Vec<Pfn> = (0..BLOCKS)
        .map(|_| k.alloc_pages(cx, Gfp::KERNEL, 0, NodeId(0), Nodemask::None).unwrap())
        .collect();
    for pfn in pages {
        k.free_pages(cx, pfn, 0);
    }
}

#[test]
fn frees_beyond_high_give_back_as_much_but_in_batches_from_6_19_on() {
    let [whole, batched] = [Release::V6_12, Release::V6_19].map(|release| {
        let (k, cx) = boot(release);
        alloc_and_free(&k, &cx);
        assert_eq!(k.census().violations, Vec::<String>::new());
        lists(&k)
    });
    let [count, drains, pages, batch] = whole;
    assert!(pages > drains * batch, "{pages} pages in {drains} sections of at most {batch}");
    let [count_now, drains_now, pages_now, batch_now] = batched;
    assert!(drains_now > drains && pages_now <= drains_now * batch_now, "{batched:?}");
    assert_eq!((count_now, pages_now, batch_now), (count, pages, batch));
}

#[test]
fn the_idle_decay_lets_go_between_batches_from_6_19_on() {
    let [whole, batched] = [Release::V6_12, Release::V6_19].map(|release| {
        let (k, cx) = boot(release);
        alloc_and_free(&k, &cx);
        let zone = k.populated_zones().next().unwrap();
        // As after a burst that has ended: count at high, and high at most an eighth above it soon.
        let pcp = &zone.pcp[0];
        pcp.high_min.store(0, Ordering::Relaxed);
        pcp.high.store(pcp.count(), Ordering::Relaxed);
        let [_, before, _, batch] = lists(&k);
        let freed = u64::from(k.decay_pcp_high(&cx, zone));
        assert!(freed > batch, "{release}: {freed} pages tell nothing");
        (freed, lists(&k)[1] - before, freed.div_ceil(batch))
    });
    assert_eq!(whole.1, 1, "{whole:?}");
    assert_eq!((batched.0, batched.1), (whole.0, batched.2));
}
