//! The kernel's pcplists as a trace shows them: which block lies where, in which order.
//!
//! **What.** Doubly linked lists through frame numbers, one for each CPU, order and type. A free puts
//! a block at the head, a refill at the tail, an allocation takes the head.
//!
//! **Why.** The bulk allocator takes pages off a pcplist without a record. Since lists are stacks, a
//! page that is allocated from below another one proves that the other has left.

use allocator::gfp::MigrateType;
use allocator::ids::{CpuId, PAGEBLOCK_ORDER, Pfn};

const NIL: u32 = u32::MAX;
/// Lists of a CPU: 3 types for each of the orders 0 to 3, and 2 for huge pages.
const PER_CPU: usize = 14;

/// One list of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId(u32);

impl ListId {
    /// The list for blocks of this order and type; none if pcplists don't hold them.
    pub fn of(cpu: CpuId, order: u8, migratetype: MigrateType) -> Option<Self> {
        let of_type = match migratetype {
            MigrateType::Unmovable => 0,
            // HIGHATOMIC pages go onto the Movable list.
            MigrateType::Movable | MigrateType::HighAtomic => 1,
            MigrateType::Reclaimable => 2,
            MigrateType::Cma | MigrateType::Isolate => return None,
        };
        let within = match order {
            0..=3 => 3 * usize::from(order) + of_type,
            PAGEBLOCK_ORDER => 12 + usize::from(of_type == 1),
            _ => return None,
        };
        Some(Self((cpu.index() * PER_CPU + within) as u32))
    }

    /// Whose list it is.
    pub fn cpu(self) -> CpuId {
        CpuId((self.0 as usize / PER_CPU) as u16)
    }

    /// The type that its blocks serve.
    pub fn migratetype(self) -> MigrateType {
        match self.0 as usize % PER_CPU {
            12 => MigrateType::Unmovable,
            13 => MigrateType::Movable,
            within => MigrateType::ALL[within % 3],
        }
    }
}

/// All lists.
#[derive(Debug)]
pub struct Lists {
    head: Vec<u32>,
    tail: Vec<u32>,
    next: Vec<u32>,
    prev: Vec<u32>,
    /// The list that a block is on, + 1.
    on: Vec<u32>,
}

impl Lists {
    /// Empty lists for frames below `max_pfn`.
    pub fn new(nr_cpus: usize, max_pfn: u64) -> Self {
        // Zeroed and not touched: the host commits only what is used.
        let frames = || vec![0; max_pfn as usize];
        let ends = vec![NIL; nr_cpus * PER_CPU];
        Self { head: ends.clone(), tail: ends, next: frames(), prev: frames(), on: frames() }
    }

    /// The list that a block is on.
    pub fn of(&self, pfn: Pfn) -> Option<ListId> {
        self.on[pfn.index()].checked_sub(1).map(ListId)
    }

    /// Puts a block at the head.
    pub fn push_head(&mut self, list: ListId, pfn: Pfn) {
        let at = list.0 as usize;
        let old = self.head[at];
        self.next[pfn.index()] = old;
        self.prev[pfn.index()] = NIL;
        if old == NIL {
            self.tail[at] = pfn.0;
        } else {
            self.prev[old as usize] = pfn.0;
        }
        self.head[at] = pfn.0;
        self.on[pfn.index()] = list.0 + 1;
    }

    /// Puts a block at the tail.
    pub fn push_tail(&mut self, list: ListId, pfn: Pfn) {
        let at = list.0 as usize;
        let old = self.tail[at];
        self.prev[pfn.index()] = old;
        self.next[pfn.index()] = NIL;
        if old == NIL {
            self.head[at] = pfn.0;
        } else {
            self.next[old as usize] = pfn.0;
        }
        self.tail[at] = pfn.0;
        self.on[pfn.index()] = list.0 + 1;
    }

    /// Takes a block off its list.
    pub fn remove(&mut self, pfn: Pfn) -> Option<ListId> {
        let list = self.of(pfn)?;
        let (next, prev) = (self.next[pfn.index()], self.prev[pfn.index()]);
        match prev {
            NIL => self.head[list.0 as usize] = next,
            prev => self.next[prev as usize] = next,
        }
        match next {
            NIL => self.tail[list.0 as usize] = prev,
            next => self.prev[next as usize] = prev,
        }
        self.on[pfn.index()] = 0;
        Some(list)
    }

    /// Is the block alone on its list, or not behind another one?
    pub fn is_head(&self, pfn: Pfn) -> bool {
        self.of(pfn).is_some() && self.prev[pfn.index()] == NIL
    }

    /// The blocks of a list before `below`, from the head on; all of them if it is `None` or not on
    /// that list. At most `most`; `None` if there are more.
    pub fn above(&self, list: ListId, below: Option<Pfn>, most: usize) -> Option<Vec<Pfn>> {
        let mut found = Vec::new();
        let mut at = self.head[list.0 as usize];
        while at != NIL && below != Some(Pfn(at)) {
            if found.len() == most {
                return None;
            }
            found.push(Pfn(at));
            at = self.next[at as usize];
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_stack_that_refills_at_the_tail() {
        let list = ListId::of(CpuId(1), 0, MigrateType::Movable).unwrap();
        let mut lists = Lists::new(2, 64);
        lists.push_tail(list, Pfn(1));
        lists.push_tail(list, Pfn(2));
        lists.push_head(list, Pfn(3));
        assert!(lists.is_head(Pfn(3)) && !lists.is_head(Pfn(1)));
        assert_eq!(lists.above(list, Some(Pfn(2)), 9), Some(vec![Pfn(3), Pfn(1)]));
        assert_eq!(lists.above(list, None, 2), None);
        assert_eq!(lists.remove(Pfn(1)), Some(list));
        assert_eq!((lists.remove(Pfn(1)), lists.of(Pfn(1))), (None, None));
        assert_eq!(lists.above(list, None, 9), Some(vec![Pfn(3), Pfn(2)]));
    }

    #[test]
    fn each_order_and_type_has_a_list_of_each_cpu() {
        let mut seen = Vec::new();
        for cpu in [CpuId(0), CpuId(1)] {
            for order in [0, 1, 2, 3, 9] {
                for of in [MigrateType::Unmovable, MigrateType::Movable, MigrateType::Reclaimable] {
                    let list = ListId::of(cpu, order, of).unwrap();
                    assert_eq!(list.cpu(), cpu);
                    assert!(order == 9 || list.migratetype() == of);
                    seen.push(list.0);
                }
            }
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 28);
        assert_eq!(ListId::of(CpuId(0), 4, MigrateType::Movable), None);
    }
}
