//! Planted bugs: each wrong state is caught by the step that makes it or by the next that meets it,
//! long before the census at a round's end. Those of free lists stand in buddy's tests, that of
//! zonelists in theirs.

use crate::gfp::Gfp;
use crate::hotplug::BlockId;
use crate::ids::{CpuId, NodeId, Pfn, ZoneIdx};
use crate::machine::Machine;
use crate::mm::{Mm, VmFlags};
use crate::nodemask::NodeMask;
use crate::page_alloc::Nodemask;
use crate::policy::Policy;
use crate::run::kernel::{Kernel, KernelConfig};
use crate::run::task::Cx;
use crate::sync::Arc;

fn boot() -> (Arc<Kernel>, Cx) {
    let mut machine = Machine::uniform(2, 1, 4 * 4096);
    machine.block_pages = 4096;
    let config = KernelConfig { kswapd: false, hotplug: true, ..KernelConfig::default() };
    let kernel = Kernel::boot(machine, Policy::mainline(), config).unwrap();
    let process = kernel.new_process("planted", 0);
    let task = kernel.new_task(&process, CpuId(0), 0);
    (kernel, Cx::new(task, 1))
}

fn page(k: &Kernel, cx: &Cx) -> Pfn {
    k.alloc_pages(cx, Gfp::KERNEL, 0, NodeId(0), Nodemask::None).unwrap()
}

/// An address space with a page that is mapped, and where.
fn mapped(k: &Kernel, cx: &Cx) -> (Arc<Mm>, crate::mm::Vpn) {
    let mm = k.mm_alloc();
    cx.task.alloc_lock.lock().mm = Some(Arc::clone(&mm));
    let at = k.mmap(cx, &mm, 1, VmFlags::empty(), None).unwrap();
    assert_eq!(k.access(cx, &mm, at, true), crate::mm::Fault::Mapped);
    (mm, at)
}

#[test]
#[should_panic(expected = "is freed and not in use")]
fn a_page_freed_twice_is_caught_by_the_second_free() {
    let (k, cx) = boot();
    let page = page(&k, &cx);
    k.free_unref_page(&cx, page, 0);
    k.free_unref_page(&cx, page, 0);
}

#[test]
#[should_panic(expected = "is freed with 2 references")]
fn a_page_that_somebody_refers_to_is_caught_when_it_is_freed() {
    let (k, cx) = boot();
    let page = page(&k, &cx);
    assert!(k.frames.get(page).get_unless_zero());
    k.free_unref_page(&cx, page, 0);
}

#[test]
#[should_panic(expected = "is freed with another order")]
fn a_part_of_a_block_is_caught_when_it_is_freed() {
    let (k, cx) = boot();
    let block = k.alloc_pages(&cx, Gfp::KERNEL, 3, NodeId(0), Nodemask::None).unwrap();
    k.free_unref_page(&cx, block, 2);
}

#[test]
#[should_panic(expected = "the count of a pcp and the pages on its lists differ")]
fn a_stale_pcp_count_is_caught_when_the_section_is_left() {
    let (k, cx) = boot();
    let page = page(&k, &cx);
    let zone = k.page_zone(page).unwrap();
    zone.pcp[0].add_count(1);
    k.free_pages(&cx, page, 0);
}

#[test]
#[should_panic(expected = "managed pages of all zones, and totalram")]
fn managed_pages_that_are_off_are_caught_by_the_offline() {
    let (k, cx) = boot();
    let zone = k.zone_of(NodeId(1), ZoneIdx::Normal);
    let block: BlockId = k.blocks_of_zone(zone.id)[1];
    let _in_use = k.alloc_pages(&cx, Gfp::KERNEL, 1, NodeId(1), Nodemask::None);
    zone.set_sizes(zone.present_pages(), zone.managed_pages() - 1);
    let _failed = k.offline_pages(&cx, block);
}

#[test]
#[should_panic(expected = "is still mapped after its unmap")]
fn an_area_that_goes_and_leaves_its_pages_is_caught_by_its_munmap() {
    let (k, cx) = boot();
    let (mm, at) = mapped(&k, &cx);
    let vma = mm.mmap_write_lock().remove(at).unwrap();
    k.check_unmapped(&mm, (vma.start(), vma.end()));
}

#[test]
#[should_panic(expected = "a task is left without a node")]
fn a_task_without_nodes_is_caught_when_its_mask_is_written() {
    let (k, cx) = boot();
    let none = NodeMask::default();
    let _failed = k.cpuset_change_task_nodemask(&cx, &cx.task, &none);
}
