//! cpusets (stub: being written).

use crate::gfp::Gfp;
use crate::kernel::Kernel;
use crate::nodemask::NodeMask;
use crate::sync::Arc;
use crate::task::Cx;
use crate::zone::Zone;

/// A cpuset.
#[derive(Debug)]
pub struct Cpuset {
    /// Its path, `/` for the root.
    pub name: String,
}

/// All cpusets.
#[derive(Debug)]
pub struct CpusetTree {
    /// The root.
    pub top: Arc<Cpuset>,
}

impl CpusetTree {
    /// The root alone.
    pub fn new(_nr_node_ids: usize, _nodes: &NodeMask) -> Self {
        Self { top: Arc::new(Cpuset { name: "/".to_owned() }) }
    }
}

impl Kernel {
    /// More than the root cpuset exists (`cpusets_enabled`).
    #[inline]
    pub fn cpusets_enabled(&self) -> bool {
        false
    }

    /// May the request take from this zone (`cpuset_zone_allowed`, KERNEL-FACTS C.5)?
    pub fn cpuset_zone_allowed(&self, _cx: &Cx, _zone: &Zone, _gfp: Gfp) -> bool {
        true
    }

    /// S1 (`read_mems_allowed_begin`): 0 while cpusets are not enabled; spins while odd.
    pub fn read_mems_allowed_begin(&self, _cx: &Cx) -> u32 {
        0
    }

    /// C2 (`read_mems_allowed_retry`).
    pub fn read_mems_allowed_retry(&self, _cx: &Cx, _cookie: u32) -> bool {
        false
    }
}
