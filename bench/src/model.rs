//! The model as a subject of the loops.

use std::sync::Arc;

use allocator::gfp::Gfp;
use allocator::ids::{CpuId, NodeId, Pfn};
use allocator::machine::Machine;
use allocator::page_alloc::Nodemask;
use allocator::policy::Policy;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;

use crate::pairs::{Shape, Subject};

/// Mainline on one node.
pub(crate) struct Model(Arc<Kernel>);

/// A kernel of the mainline policy, without kswapd.
pub(crate) fn boot(machine: Machine) -> Arc<Kernel> {
    let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
    Kernel::boot(machine, Policy::mainline(), config).expect("a machine of our own boots")
}

impl Subject for Model {
    type Context = Cx;

    fn new(shape: Shape) -> Self {
        // Room for the marks and the pcplists besides what the loop takes.
        let pages = shape.frames + (64 << 10);
        Self(boot(Machine::uniform(1, shape.cpus as u16, pages)))
    }

    fn context(&self, cpu: usize) -> Cx {
        self.0.kernel_thread("bench", CpuId(cpu as u16))
    }

    #[inline(always)]
    fn alloc(&self, cx: &Cx, order: u8) -> Option<u64> {
        let page =
            self.0.alloc_pages(cx, Gfp::HIGHUSER_MOVABLE, order, NodeId(0), Nodemask::None)?;
        Some(u64::from(page.0))
    }

    #[inline(always)]
    fn free(&self, cx: &Cx, frame: u64, order: u8) {
        self.0.free_pages(cx, Pfn(frame as u32), order);
    }
}
