//! This host as a machine.
//!
//! **What.** Nodes, CPUs and distances through hwloc, zones from /proc/zoneinfo, settings from
//! /proc/sys/vm and sysfs.
//!
//! **Differs.** Where hwloc has no nodes or distances (no sysfs for it, a container), sysfs or the
//! plain 10 and 20 stand in. The host's memory map says more than zoneinfo: managed frames are
//! taken to be the topmost ones that are in online memory blocks.

use std::path::Path;
use std::sync::OnceLock;

use hwlocality::Topology;
use hwlocality::topology::builder::BuildFlags;

use super::capture;
use super::topology::Layout;
use super::{Loaded, MachineInputError};

/// The host's topology, read once; CPUs that the process may not use are in it.
///
/// # Errors
/// If hwloc can't read it.
pub fn topology() -> Result<&'static Topology, MachineInputError> {
    static TOPOLOGY: OnceLock<Result<Topology, String>> = OnceLock::new();
    let read = || {
        let builder = Topology::builder();
        let builder =
            builder.with_flags(BuildFlags::INCLUDE_DISALLOWED).map_err(|e| e.to_string())?;
        builder.build().map_err(|e| e.to_string())
    };
    match TOPOLOGY.get_or_init(read) {
        Ok(topology) => Ok(topology),
        Err(e) => {
            Err(MachineInputError::Host(format!("hwloc can't read this host's topology: {e}")))
        }
    }
}

/// The host's nodes: hwloc's, mended from sysfs where that knows better (nodes without CPUs,
/// distances).
///
/// # Errors
/// If hwloc can't read it.
pub fn layout() -> Result<Layout, MachineInputError> {
    let topology = topology()?;
    let mut layout = Layout::of(topology);
    if topology.is_this_system() {
        capture::mend_from_sysfs(&mut layout, Path::new(capture::SYSFS_NODES));
    }
    Ok(layout)
}

/// The host as a machine.
///
/// # Errors
/// If /proc/zoneinfo can't be read or describes what can't be modelled.
pub fn read() -> Result<Loaded, MachineInputError> {
    let layout = layout()?;
    let files = capture::Files::of_host()?;
    let mut loaded = files.machine("host", Some(layout))?;
    loaded.machine.name = "host".to_owned();
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_a_valid_machine() {
        let loaded = read().unwrap();
        assert_eq!(loaded.machine.validate(), Ok(()));
        let kernel = loaded.kernel.unwrap();
        let managed: u64 = kernel.zoneinfo.zones.iter().map(|z| z.managed).sum();
        assert_eq!(loaded.machine.managed_pages(), managed);
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
        let online: super::super::lists::IdList = online.parse().unwrap();
        assert_eq!(loaded.machine.cpus.len(), online.len());
    }
}
