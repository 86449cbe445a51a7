//! Address spaces: areas, faults, munmap, mlock, swap, files, migration.
//!
//! Worlds of small nodes; every test ends with a census in which each frame is in exactly one place
//! and nothing is left allocated.

use allocator::ids::{CpuId, NodeId};
use allocator::machine::Machine;
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::mm::address_space::Rss;
use allocator::mm::migrate::Migrated;
use allocator::mm::page_table::Pte;
use allocator::mm::{Fault, MapError, Mm, VmFlags, Vpn, mmf};
use allocator::nodemask::NodeMask;
use allocator::policy::{Policy, Release};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::{Cx, Task};
use allocator::sync::atomic::Ordering;
use allocator::sync::{self, Arc};
use allocator::zone::frame::flag;

const PAGES: u64 = 4096;

fn boot_with(release: Release, nodes: u16, config: KernelConfig) -> Arc<Kernel> {
    let config = KernelConfig { kswapd: false, ..config };
    Kernel::boot(Machine::uniform(nodes, 1, PAGES), Policy::preset(release), config).unwrap()
}

fn boot(release: Release, nodes: u16) -> Arc<Kernel> {
    boot_with(release, nodes, KernelConfig::default())
}

/// A process with one thread and an address space of its own.
fn process(k: &Kernel, comm: &str) -> (Cx, Arc<Mm>) {
    let mm = k.mm_alloc();
    (thread_of(k, comm, &mm), mm)
}

fn thread_of(k: &Kernel, comm: &str, mm: &Arc<Mm>) -> Cx {
    let process = k.new_process(comm, 0);
    let nodes = k.n_memory.load();
    let top = Arc::clone(&k.cpusets.top);
    let mm = Some(Arc::clone(mm));
    let task = Task::new(process.tgid, &process, &top, &nodes, k.nr_node_ids(), mm, CpuId(0), 0);
    k.add_task(&task);
    Cx::new(task, 1)
}

fn write_all(k: &Kernel, cx: &Cx, mm: &Arc<Mm>, start: Vpn, pages: u32) {
    for n in 0..pages {
        assert_eq!(k.access(cx, mm, start.plus(n), true), Fault::Mapped);
    }
}

/// Ends the process and counts: every frame is back.
fn exit_and_count(k: &Kernel, cx: &Cx, mm: &Mm) {
    k.do_exit(cx);
    k.release_process(&cx.task.process);
    k.lru_add_drain_all(cx);
    assert_eq!(mm.rss_pages() + mm.rss(Rss::Swap), 0);
    assert_eq!((mm.pgtables_bytes(), mm.users()), (0, 0));
    assert_empty(k);
}

fn assert_empty(k: &Kernel) {
    let census = k.census();
    assert_eq!(census.violations, Vec::<String>::new());
    assert_eq!(census.allocated, 0);
    assert_eq!(k.reclaim.swap.free_pages(), k.reclaim.swap.total_pages());
}

const RELEASES: [Release; 5] =
    [Release::V4_9, Release::V4_18, Release::V5_15, Release::V6_4, Release::V6_19];

#[test]
fn a_process_maps_writes_unmaps_and_leaves_nothing() {
    for release in RELEASES {
        let k = boot(release, 1);
        let (cx, mm) = process(&k, "hog");
        let start = k.mmap(&cx, &mm, 10, VmFlags::empty(), None).unwrap();
        write_all(&k, &cx, &mm, start, 10);
        assert_eq!((mm.rss(Rss::Anon), mm.total_vm()), (10, 10));
        assert_eq!(mm.pgtables_bytes(), 2 * 4096);
        assert_eq!(k.access(&cx, &mm, start, true), Fault::Present);
        assert_eq!(k.access(&cx, &mm, start.plus(10), true), Fault::SegmentationFault);
        k.munmap(&cx, &mm, start, 10).unwrap();
        assert_eq!((mm.rss_pages(), mm.pgtables_bytes()), (0, 0), "{release}");
        assert_eq!(k.access(&cx, &mm, start, true), Fault::SegmentationFault);
        exit_and_count(&k, &cx, &mm);
    }
}

#[test]
fn exit_gives_back_what_was_never_unmapped() {
    for release in Release::ALL {
        let k = boot_with(release, 1, KernelConfig { gather_pages: 7, ..KernelConfig::default() });
        let (cx, mm) = process(&k, "hog");
        for pages in [1, 600, 3] {
            let start = k.mmap(&cx, &mm, pages, VmFlags::STACK, None).unwrap();
            write_all(&k, &cx, &mm, start, pages);
        }
        assert_eq!(mm.rss(Rss::Anon), 604);
        exit_and_count(&k, &cx, &mm);
    }
}

#[test]
fn a_read_maps_the_zero_page_and_a_write_replaces_it() {
    let k = boot(Release::V6_19, 1);
    let (cx, mm) = process(&k, "reader");
    let start = k.mmap(&cx, &mm, 2, VmFlags::empty(), None).unwrap();
    assert_eq!(k.access(&cx, &mm, start, false), Fault::Mapped);
    assert_eq!((mm.page_table.entry(start), mm.rss_pages()), (Pte::Zero, 0));
    assert_eq!(k.access(&cx, &mm, start, false), Fault::Present);
    assert_eq!(k.access(&cx, &mm, start, true), Fault::Mapped);
    assert!(matches!(mm.page_table.entry(start), Pte::Anon(_)));
    exit_and_count(&k, &cx, &mm);
}

#[test]
fn part_of_an_area_is_unmapped_by_splitting_it() {
    for release in RELEASES {
        let k = boot(release, 1);
        let (cx, mm) = process(&k, "hog");
        let start = k.mmap(&cx, &mm, 30, VmFlags::empty(), None).unwrap();
        write_all(&k, &cx, &mm, start, 30);
        k.munmap(&cx, &mm, start.plus(10), 10).unwrap();
        let areas: Vec<(u32, u32)> =
            mm.mmap_read_lock().iter().map(|v| (v.start().0 - start.0, v.pages())).collect();
        assert_eq!(areas, [(0, 10), (20, 10)]);
        assert_eq!(mm.rss(Rss::Anon), 20);
        assert_ne!(mm.page_table.nr_ptes(), 0, "the neighbours still need the table");
        assert_eq!(k.access(&cx, &mm, start.plus(25), true), Fault::Present);
        assert_eq!(k.access(&cx, &mm, start.plus(15), true), Fault::SegmentationFault);
        // The hole is the highest gap that fits, and what is mapped there merges with both.
        assert_eq!(k.mmap_fixed(&cx, &mm, start.plus(10), 10, VmFlags::empty(), None), Ok(()));
        assert_eq!(mm.mmap_read_lock().len(), 1);
        exit_and_count(&k, &cx, &mm);
    }
}

#[test]
fn a_vma_policy_decides_the_node() {
    let k = boot(Release::V6_19, 2);
    let (cx, mm) = process(&k, "bound");
    let start = k.mmap(&cx, &mm, 4, VmFlags::empty(), None).unwrap();
    let bind = PolicySpec::new(Mode::Bind, NodeMask::of([NodeId(1)]));
    {
        let mut tree = mm.mmap_write_lock();
        k.split_vma(&cx, &mm, &mut tree, start.plus(2)).unwrap();
        let upper = Arc::clone(tree.find(start.plus(2)).unwrap());
        upper.lock.write().policy = k.mpol_new(&cx, &bind).unwrap();
        tree.merge(start, start.plus(4));
        assert_eq!(tree.len(), 2, "areas with different policies stay apart");
    }
    write_all(&k, &cx, &mm, start, 4);
    let node = |n: u32| mm.page_table.entry(start.plus(n)).pfn().and_then(|p| k.page_node(p));
    assert_eq!([node(0), node(2)], [Some(NodeId(0)), Some(NodeId(1))]);
    exit_and_count(&k, &cx, &mm);
}

#[test]
fn an_unstable_mm_gets_no_fresh_pages() {
    let k = boot(Release::V6_19, 1);
    let (cx, mm) = process(&k, "victim");
    let start = k.mmap(&cx, &mm, 4, VmFlags::empty(), None).unwrap();
    write_all(&k, &cx, &mm, start, 1);
    mm.set(mmf::UNSTABLE);
    assert_eq!(k.access(&cx, &mm, start, true), Fault::Present);
    assert_eq!(k.access(&cx, &mm, start.plus(1), true), Fault::BusError);
    assert_eq!(k.access(&cx, &mm, start.plus(2), false), Fault::BusError);
    exit_and_count(&k, &cx, &mm);
}

#[test]
fn a_killed_task_faults_no_more() {
    let k = boot(Release::V6_19, 1);
    let (cx, mm) = process(&k, "victim");
    let start = k.mmap(&cx, &mm, 1, VmFlags::empty(), None).unwrap();
    cx.task.process.kill();
    assert_eq!(k.access(&cx, &mm, start, true), Fault::Killed);
    exit_and_count(&k, &cx, &mm);
}

#[test]
fn mlocked_pages_are_unevictable_until_munlock() {
    for release in RELEASES {
        let k = boot(release, 1);
        let (cx, mm) = process(&k, "locker");
        let start = k.mmap(&cx, &mm, 8, VmFlags::empty(), None).unwrap();
        write_all(&k, &cx, &mm, start, 2);
        k.mlock(&cx, &mm, start, 4).unwrap();
        assert_eq!((mm.rss(Rss::Anon), mm.locked_vm()), (4, 4));
        let is_locked = |n| {
            let pfn = mm.page_table.entry(start.plus(n)).pfn().unwrap();
            k.frame_state(pfn).has(flag::MLOCKED)
        };
        assert!((0..4).all(is_locked), "{release}: present pages and new ones");
        k.lru_add_drain_all(&cx);
        assert_eq!(k.node_lru_pages(NodeId(0), allocator::reclaim::lru::Lru::Unevictable), 4);
        assert_eq!(k.mlock(&cx, &mm, start, 9), Err(MapError::OutOfMemory), "a hole");
        k.munlock(&cx, &mm, start, 2).unwrap();
        assert_eq!((is_locked(0), is_locked(2)), (false, true));
        assert_eq!(mm.mmap_read_lock().len(), 3);
        exit_and_count(&k, &cx, &mm);
    }
}

#[test]
fn swapped_pages_come_back_by_a_fault_and_slots_are_freed() {
    let config = KernelConfig { swap_pages: 4096, ..KernelConfig::default() };
    let k = boot_with(Release::V5_10, 1, config);
    let (cx, mm) = process(&k, "swapper");
    let pages = PAGES as u32 + 200;
    let start = k.mmap(&cx, &mm, pages, VmFlags::empty(), None).unwrap();
    write_all(&k, &cx, &mm, start, pages);
    let swapped = mm.rss(Rss::Swap);
    assert!(swapped >= 200, "more pages than memory: {swapped} in swap");
    assert_eq!(mm.rss(Rss::Anon) + swapped, u64::from(pages));
    assert_eq!(k.reclaim.swap.total_pages() - k.reclaim.swap.free_pages(), swapped);
    let out = (0..pages).find(|n| matches!(mm.page_table.entry(start.plus(*n)), Pte::Swap(_)));
    let out = start.plus(out.unwrap());
    assert_eq!(k.access(&cx, &mm, out, false), Fault::Mapped);
    assert!(matches!(mm.page_table.entry(out), Pte::Anon(_)));
    exit_and_count(&k, &cx, &mm);
}

#[test]
fn a_shared_file_is_read_once_and_outlives_its_mappers() {
    for shmem in [false, true] {
        let k = boot(Release::V6_19, 1);
        let file = k.new_mapping(shmem);
        let (cx, mm) = process(&k, "first");
        let (cx2, mm2) = process(&k, "second");
        let map = |cx, mm: &Mm| {
            k.mmap(cx, mm, 4, VmFlags::SHARED, Some((Arc::clone(&file), 10))).unwrap()
        };
        let (a, b) = (map(&cx, &mm), map(&cx2, &mm2));
        write_all(&k, &cx, &mm, a, 4);
        write_all(&k, &cx2, &mm2, b.plus(1), 1);
        let kind = if shmem { Rss::Shmem } else { Rss::File };
        assert_eq!((mm.rss(kind), mm2.rss(kind), file.nr_pages()), (4, 1, 4));
        assert_eq!(mm.page_table.entry(a.plus(1)), mm2.page_table.entry(b.plus(1)));
        k.do_exit(&cx);
        k.do_exit(&cx2);
        assert_eq!(file.nr_pages(), 4);
        k.lru_add_drain_all(&cx);
        assert_eq!(k.census().allocated, 4, "the cache keeps them");
        k.truncate_mapping(&cx, &file);
        assert_empty(&k);
    }
}

#[test]
fn a_private_file_mapping_copies_on_write_and_reclaim_drops_the_files_page() {
    let k = boot(Release::V6_19, 1);
    let file = k.new_mapping(false);
    let (cx, mm) = process(&k, "copier");
    let start = k.mmap(&cx, &mm, 2, VmFlags::empty(), Some((Arc::clone(&file), 0))).unwrap();
    assert_eq!(k.access(&cx, &mm, start, false), Fault::Mapped);
    assert_eq!((mm.rss(Rss::File), mm.rss(Rss::Anon)), (1, 0));
    assert_eq!(k.access(&cx, &mm, start, true), Fault::Mapped);
    assert_eq!(k.access(&cx, &mm, start.plus(1), true), Fault::Mapped);
    assert_eq!((mm.rss(Rss::File), mm.rss(Rss::Anon)), (0, 2));
    assert_eq!(file.nr_pages(), 2);
    assert_eq!(k.drop_caches(&cx), 2, "nobody maps the file's pages any more");
    assert_eq!(file.nr_pages(), 0);
    exit_and_count(&k, &cx, &mm);
}

#[test]
fn mapped_pages_of_a_file_stay_in_the_cache() {
    let k = boot(Release::V6_19, 1);
    let file = k.new_mapping(false);
    let (cx, mm) = process(&k, "mapper");
    let start = k.mmap(&cx, &mm, 2, VmFlags::SHARED, Some((Arc::clone(&file), 0))).unwrap();
    write_all(&k, &cx, &mm, start, 2);
    assert_eq!((k.drop_caches(&cx), file.nr_pages()), (0, 2));
    k.do_exit(&cx);
    k.truncate_mapping(&cx, &file);
    k.lru_add_drain_all(&cx);
    assert_empty(&k);
}

#[test]
fn a_page_moves_to_another_node_and_stays_mapped() {
    let k = boot(Release::V6_19, 2);
    let (cx, mm) = process(&k, "mover");
    let start = k.mmap(&cx, &mm, 3, VmFlags::empty(), None).unwrap();
    write_all(&k, &cx, &mm, start, 3);
    let pfn = mm.page_table.entry(start).pfn().unwrap();
    let gfp = allocator::gfp::Gfp::HIGHUSER_MOVABLE;
    let to = |_| k.alloc_migration_target(&cx, NodeId(1), None, gfp);
    assert_eq!(k.migrate_page(&cx, pfn, to), Migrated::NotOnLru, "it waits in a batch");
    k.lru_add_drain_all(&cx);
    let Migrated::To(new) = k.migrate_page(&cx, pfn, to) else { panic!("did not move") };
    assert_eq!(mm.page_table.entry(start), Pte::Anon(new));
    assert_eq!(k.page_node(new), Some(NodeId(1)));
    // A page that somebody else holds stays.
    let held = mm.page_table.entry(start.plus(1)).pfn().unwrap();
    assert!(k.frames.get(held).get_unless_zero());
    assert_eq!(k.migrate_page(&cx, held, to), Migrated::Busy);
    k.put_page(&cx, held);
    assert_eq!(k.migrate_page(&cx, held, |_| None), Migrated::NoMemory);
    assert_eq!(mm.page_table.entry(start.plus(1)), Pte::Anon(held));
    exit_and_count(&k, &cx, &mm);
}

#[test]
fn a_cpusets_pages_follow_it_to_the_node_at_the_same_place() {
    let k = boot(Release::V6_19, 4);
    let (cx, mm) = process(&k, "mover");
    let start = k.mmap(&cx, &mm, 700, VmFlags::empty(), None).unwrap();
    let nodes = NodeMask::of([NodeId(0), NodeId(1)]);
    k.set_mempolicy(&cx, &PolicySpec::new(Mode::Interleave, nodes)).unwrap();
    write_all(&k, &cx, &mm, start, 700);
    let count = |node| {
        let mut found = 0;
        k.walk_present(&mm, (start, start.plus(700)), |_, entry| {
            found += u32::from(entry.pfn().and_then(|p| k.page_node(p)) == Some(NodeId(node)));
            true
        });
        found
    };
    assert_eq!([count(0), count(1)], [350, 350]);
    let to = NodeMask::of([NodeId(2), NodeId(3)]);
    assert_eq!(k.do_migrate_pages(&cx, &mm, &nodes, &to), 0);
    assert_eq!([0, 1, 2, 3].map(count), [0, 0, 350, 350]);
    assert_eq!(k.cpus[0].vm.pgmigrate_success.load(Ordering::Relaxed), 700);
    exit_and_count(&k, &cx, &mm);
}

#[test]
fn ten_thousand_cycles_on_two_threads_leave_nothing() {
    for release in [Release::V4_14, Release::V6_19] {
        let k = boot(release, 2);
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let k = Arc::clone(&k);
                sync::spawn("cycler", move || {
                    for cycle in 0..2_500u32 {
                        let (cx, mm) = process(&k, "cycler");
                        let pages = 1 + (cycle * 7 + n) % 13;
                        let start = k.mmap(&cx, &mm, pages, VmFlags::empty(), None).unwrap();
                        write_all(&k, &cx, &mm, start, pages);
                        if cycle % 2 == 0 {
                            k.munmap(&cx, &mm, start, pages).unwrap();
                        }
                        k.do_exit(&cx);
                        k.release_process(&cx.task.process);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let (cx, mm) = process(&k, "counter");
        exit_and_count(&k, &cx, &mm);
        assert!(k.mm.rmap.bytes() < 1 << 16, "numbers of tables are used again");
    }
}
