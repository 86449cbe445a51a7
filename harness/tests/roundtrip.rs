//! The model's own reports, printed and read back: in 10,000 random states, frozen at the last look, the
//! answer is the class that the model's state gives, by a count of the watermark line made here.

use allocator::gfp::{Gfp, MigrateType, Wmark};
use allocator::ids::{CpuId, NodeId, Pfn};
use allocator::machine::Machine;
use allocator::oom::OomControl;
use allocator::page_alloc::Nodemask;
use allocator::policy::{Policy, Release};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;
use allocator::sync::Arc;
use allocator::sync::atomic::Ordering;
use harness::judge::{Class, judge_text};

const STATES: usize = 10_000;

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct World {
    kernel: Arc<Kernel>,
    cx: Cx,
    held: Vec<(Pfn, u8)>,
}

impl World {
    fn new(release: Release) -> Self {
        let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
        let machine = Machine::uniform(2, 1, 8192);
        let kernel = Kernel::boot(machine, Policy::preset(release), config).unwrap();
        let process = kernel.new_process("asker", 0);
        let task = kernel.new_task(&process, CpuId(0), 0);
        Self { kernel, cx: Cx::new(task, 1), held: Vec::new() }
    }

    /// Takes pages, down to none with all reserves, or gives some back.
    fn step(&mut self, random: &mut Random) {
        let many = random.below(200);
        if random.below(3) == 0 {
            for _ in 0..many.min(self.held.len() as u64) {
                let at = random.below(self.held.len() as u64) as usize;
                let (pfn, order) = self.held.swap_remove(at);
                self.kernel.free_pages(&self.cx, pfn, order);
            }
            return;
        }
        for _ in 0..many {
            let order = random.below(4) as u8;
            let node = NodeId(random.below(2) as u16);
            let kind =
                if random.below(2) == 0 { Gfp::MOVABLE | Gfp::HIGHMEM } else { Gfp::empty() };
            let gfp = kind | Gfp::MEMALLOC | Gfp::NOWARN;
            match self.kernel.alloc_pages(&self.cx, gfp, order, node, Nodemask::None) {
                Some(pfn) => self.held.push((pfn, order)),
                None => return,
            }
        }
    }

    /// The class by the model's state.
    fn expected(&self, gfp: Gfp, order: u8) -> Expected {
        let mut found = Expected::FailsMin;
        for zone in self.kernel.populated_zones().filter(|z| z.idx() <= gfp.zone()) {
            let free = zone.free_pages() as i64 - ((1 << order) - 1);
            let reserved = zone.nr_reserved_highatomic.load(Ordering::Relaxed) as i64;
            let needed = |mark| (zone.wmark_pages(mark) + zone.lowmem_reserve(gfp.zone())) as i64;
            let types = [MigrateType::Unmovable, MigrateType::Movable, MigrateType::Reclaimable];
            let has_block = order == 0
                || (usize::from(order)..=10)
                    .any(|o| types.iter().any(|t| !zone.free_area[o].list(*t).is_empty()));
            let passes = |mark| free - reserved > needed(mark);
            let stands = match (passes(Wmark::High), passes(Wmark::Min), has_block) {
                (true, _, true) => Expected::PassesHigh,
                (_, true, true) => Expected::PassesMin,
                (_, true, false) => Expected::NoBlock,
                _ => Expected::FailsMin,
            };
            found = found.max(stands);
        }
        found
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Expected {
    FailsMin,
    NoBlock,
    PassesMin,
    PassesHigh,
}

#[test]
fn a_report_read_back_has_the_class_of_the_state_it_was_printed_in() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut seen = [0_usize; 4];
    for release in Release::ALL {
        let mut world = World::new(release);
        for state in 0..STATES / Release::ALL.len() {
            world.step(&mut random);
            let gfp = [Gfp::KERNEL, Gfp::HIGHUSER_MOVABLE][random.below(2) as usize];
            let order = if random.below(2) == 0 { 0 } else { random.below(4) as u8 };
            let oc = OomControl {
                gfp,
                order: i32::from(order),
                highest: gfp.zone(),
                ..OomControl::for_sysrq(world.kernel.zonelists.fallback(NodeId(0)))
            };
            let text = world.kernel.dump_header(&world.cx, &oc, None).join("\n");
            let judged = judge_text("model", &text);
            assert_eq!(judged.len(), 1, "{release} {state}: {text}");
            let expected = world.expected(gfp, order);
            let class = judged[0].class;
            let right = match expected {
                Expected::PassesHigh => class == Class::Premature,
                Expected::PassesMin => class == Class::Transient,
                Expected::NoBlock => class == Class::Fragmented,
                Expected::FailsMin => matches!(
                    class,
                    Class::Justified | Class::KeptForLower | Class::OnPcplists | Class::Highatomic
                ),
            };
            assert!(
                right,
                "{release} {state}: {expected:?}, judged {class:?}: {}\n{text}",
                judged[0].why
            );
            seen[expected as usize] += 1;
        }
    }
    assert!(seen.iter().all(|n| *n > 50), "{seen:?}: every class is met");
}
