//! Areas against a naive model: one entry per page.
//!
//! After every call the pages have the attributes that a page-by-page application of the call gives
//! them, and the areas are as few as those attributes allow (neighbours that are equal have merged).

use std::collections::BTreeMap;

use allocator::ids::{CpuId, NodeId};
use allocator::machine::Machine;
use allocator::mempolicy::{Mode, PolicySpec};
use allocator::mm::{Fault, Mm, VmFlags, Vpn};
use allocator::nodemask::NodeMask;
use allocator::policy::{Policy, Release};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;
use allocator::sync::Arc;
use proptest::prelude::*;

/// Pages that calls name: enough for several page tables' worth of borders.
const SPACE: u32 = 60;
/// Page 0 of the space, just below a page table's border.
const BASE: Vpn = Vpn(512 * 7 - 30);

#[derive(Clone, Debug)]
enum Call {
    Map { start: u32, pages: u32 },
    Unmap { start: u32, pages: u32 },
    Lock { start: u32, pages: u32, lock: bool },
    Bind { start: u32, pages: u32, node: Option<u16> },
    Touch { page: u32 },
    Zap { start: u32, pages: u32 },
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let range = || (0..SPACE, 1..SPACE / 2);
    let call = prop_oneof![
        3 => range().prop_map(|(start, pages)| Call::Map { start, pages }),
        2 => range().prop_map(|(start, pages)| Call::Unmap { start, pages }),
        2 => (range(), any::<bool>())
            .prop_map(|((start, pages), lock)| Call::Lock { start, pages, lock }),
        3 => (range(), prop::option::of(0..2u16))
            .prop_map(|((start, pages), node)| Call::Bind { start, pages, node }),
        4 => (0..2 * SPACE).prop_map(|page| Call::Touch { page }),
        1 => range().prop_map(|(start, pages)| Call::Zap { start, pages }),
    ];
    prop::collection::vec(call, 1..40)
}

/// What a page is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Page {
    locked: bool,
    node: Option<u16>,
    present: bool,
}

type Naive = BTreeMap<u32, Page>;

/// The fewest areas: runs of equal neighbours.
fn nr_areas(naive: &Naive) -> usize {
    let key = |p: &Page| (p.locked, p.node);
    naive
        .iter()
        .filter(|(page, p)| {
            let before = page.checked_sub(1).and_then(|n| naive.get(&n));
            before.is_none_or(|b| key(b) != key(p))
        })
        .count()
}

struct World {
    k: Arc<Kernel>,
    cx: Cx,
    mm: Arc<Mm>,
    naive: Naive,
}

impl World {
    fn new(release: Release) -> Self {
        let config = KernelConfig { kswapd: false, gather_pages: 5, ..KernelConfig::default() };
        let k =
            Kernel::boot(Machine::uniform(2, 1, 2048), Policy::preset(release), config).unwrap();
        let process = k.new_process("areas", 0);
        let task = k.new_task(&process, CpuId(0), 0);
        let mm = k.mm_alloc();
        task.alloc_lock.lock().mm = Some(Arc::clone(&mm));
        Self { cx: Cx::new(task, 1), k, mm, naive: Naive::new() }
    }

    fn pages_of(&mut self, start: u32, pages: u32) -> impl Iterator<Item = (&u32, &mut Page)> {
        self.naive.range_mut(start..start + pages)
    }

    fn apply(&mut self, call: &Call) {
        let (k, cx, mm) = (Arc::clone(&self.k), &self.cx, Arc::clone(&self.mm));
        match *call {
            Call::Map { start, pages } => {
                k.mmap_fixed(cx, &mm, BASE.plus(start), pages, VmFlags::empty(), None).unwrap();
                for page in start..start + pages {
                    self.naive.insert(page, Page::default());
                }
            }
            Call::Unmap { start, pages } => {
                k.munmap(cx, &mm, BASE.plus(start), pages).unwrap();
                self.naive.retain(|page, _| !(start..start + pages).contains(page));
            }
            Call::Lock { start, pages, lock } => {
                let whole = (start..start + pages).all(|p| self.naive.contains_key(&p));
                let start_vpn = BASE.plus(start);
                let done = if lock {
                    k.mlock(cx, &mm, start_vpn, pages).is_ok()
                } else {
                    k.munlock(cx, &mm, start_vpn, pages).is_ok()
                };
                assert_eq!(done, whole, "holes are refused");
                if done {
                    for (_, page) in self.pages_of(start, pages) {
                        page.locked = lock;
                        page.present |= lock;
                    }
                }
            }
            Call::Bind { start, pages, node } => {
                let spec = |n| PolicySpec::new(Mode::Bind, NodeMask::of([NodeId(n)]));
                let end = BASE.plus(start + pages);
                let mut tree = mm.mmap_write_lock();
                k.split_vma(cx, &mm, &mut tree, BASE.plus(start)).unwrap();
                k.split_vma(cx, &mm, &mut tree, end).unwrap();
                for vma in tree.overlapping(BASE.plus(start), end) {
                    // Each area gets an object of its own, as mbind's duplicates are.
                    vma.lock.write().policy = node.and_then(|n| k.mpol_new(cx, &spec(n)).unwrap());
                }
                tree.merge(BASE.plus(start), end);
                drop(tree);
                for (_, page) in self.pages_of(start, pages) {
                    page.node = node;
                }
            }
            Call::Touch { page } => {
                let fault = k.access(cx, &mm, BASE.plus(page), true);
                let expected = match self.naive.get_mut(&page) {
                    None => Fault::SegmentationFault,
                    Some(p) if p.present => Fault::Present,
                    Some(p) => {
                        p.present = true;
                        Fault::Mapped
                    }
                };
                assert_eq!(fault, expected);
            }
            Call::Zap { start, pages } => {
                k.zap_range(cx, &mm, BASE.plus(start), pages).unwrap();
                for (_, page) in self.pages_of(start, pages) {
                    page.present &= page.locked;
                }
            }
        }
    }

    fn check(&self) {
        let tree = self.mm.mmap_read_lock();
        let mut seen = Naive::new();
        for vma in tree.iter() {
            let node = vma.policy().and_then(|p| p.nodes.first()).map(|n| n.0);
            for vpn in vma.start().0..vma.end().0 {
                let present = self.mm.page_table.entry(Vpn(vpn)).pfn().is_some();
                let page = Page { locked: vma.has(VmFlags::LOCKED), node, present };
                assert_eq!(seen.insert(vpn - BASE.0, page), None, "areas overlap");
            }
        }
        assert_eq!(seen, self.naive);
        assert_eq!(tree.len(), nr_areas(&self.naive));
        let count = |f: fn(&Page) -> bool| self.naive.values().filter(|p| f(p)).count() as u64;
        assert_eq!(self.mm.rss_pages(), count(|p| p.present));
        assert_eq!(
            (self.mm.total_vm(), self.mm.locked_vm()),
            (count(|_| true), count(|p| p.locked))
        );
        // Every table is needed by an area in its range, and every present page has one.
        let tables: std::collections::BTreeSet<u32> =
            self.naive.keys().map(|page| (page + BASE.0) / 512).collect();
        assert!(self.mm.page_table.nr_ptes() <= tables.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn areas_are_what_a_page_by_page_model_says(
        calls in calls(),
        release in prop::sample::select(vec![Release::V4_14, Release::V6_4, Release::V6_19]),
    ) {
        let mut world = World::new(release);
        for call in &calls {
            world.apply(call);
            world.check();
        }
        world.k.do_exit(&world.cx);
        world.k.lru_add_drain_all(&world.cx);
        let census = world.k.census();
        prop_assert_eq!((census.violations, census.allocated), (Vec::new(), 0));
    }
}
