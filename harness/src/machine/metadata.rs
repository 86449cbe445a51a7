//! The frame table: room for it on this host, and its parts on the nodes that use them.
//!
//! **Why.** On a NUMA host a model node's CPUs should find its frames' metadata nearby, as the
//! kernel keeps struct page on the node that it describes.

use std::path::Path;

use allocator::ids::NodeId;
use allocator::machine::Machine;
use hwlocality::memory::binding::{MemoryBindingFlags, MemoryBindingPolicy};
use hwlocality::memory::nodeset::NodeSet;

use super::lists::IdList;
use super::{MachineInputError, Notes, affinity, host};

/// Most bytes of metadata for a frame.
pub const BYTES_PER_FRAME: u64 = 16;

/// Refuses a machine whose frame table this host has no memory for.
///
/// # Errors
/// With both figures.
pub fn check_room(machine: &Machine) -> Result<(), MachineInputError> {
    let needed = machine.managed_pages() * BYTES_PER_FRAME;
    if let Some(left) = address_space_left().filter(|left| *left < needed) {
        return Err(MachineInputError::flag(
            "--memory",
            format!(
                "the frames of {} GiB need {} MiB of metadata, ulimit -v leaves {} MiB: ask for less, or raise it",
                machine.managed_pages() >> 18,
                needed >> 20,
                left >> 20
            ),
        ));
    }
    let Some(available) = available_bytes() else {
        return Ok(());
    };
    if needed <= available {
        return Ok(());
    }
    Err(MachineInputError::flag(
        "--memory",
        format!(
            "the frames of {} GiB need {} MiB of metadata, this host has {} MiB available: ask for less",
            machine.managed_pages() >> 18,
            needed >> 20,
            available >> 20
        ),
    ))
}

/// What `ulimit -v` leaves of the address space; `None` without one.
pub fn address_space_left() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit that outlives the call.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    let used = super::read_to_string(Path::new("/proc/self/statm")).ok()?;
    let pages: u64 = used.split(' ').next()?.parse().ok()?;
    (told == 0 && limit.rlim_cur != libc::RLIM_INFINITY)
        .then(|| limit.rlim_cur.saturating_sub(pages * 4096))
}

fn available_bytes() -> Option<u64> {
    let meminfo = super::read_to_string(Path::new("/proc/meminfo")).ok()?;
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb << 10)
}

/// Binds slices of metadata (frames, pageblocks), each to the host node that runs the CPUs of its
/// model node. Pages that were touched before are moved where the kernel can.
///
/// On a host with one node there is nothing to do. A kernel that refuses costs speed only, so it
/// becomes a note.
pub fn bind_ranges<'a, T: 'a>(
    machine: &Machine,
    ranges: impl IntoIterator<Item = (NodeId, &'a [T])>,
    notes: &mut Notes,
) {
    let Ok(layout) = host::layout() else { return };
    let allowed = affinity::allowed_nodes().unwrap_or_default();
    if layout.nodes.len() < 2 || allowed.len() < 2 {
        return;
    }
    for (node, slice) in ranges {
        let cpus = affinity::host_cpus_of(machine, node);
        let near = |n: &&super::topology::LayoutNode| {
            allowed.contains(n.id) && n.cpus.iter().any(|c| cpus.contains(c))
        };
        let near: IdList = layout.nodes.iter().filter(near).map(|n| n.id).collect();
        if near.is_empty() {
            continue;
        }
        if let Err(e) = bind(slice, &near) {
            notes.add(format!("metadata of node {node} is not bound to host nodes {near}: {e}"));
            return;
        }
    }
}

fn bind<T>(slice: &[T], nodes: &IdList) -> Result<(), String> {
    let mut set = NodeSet::new();
    for node in nodes.iter() {
        set.set(node as usize);
    }
    let topology = host::topology().map_err(|e| e.to_string())?;
    let bind = |flags| topology.bind_memory_area(slice, &set, MemoryBindingPolicy::Bind, flags);
    // A kernel that can't migrate pages refuses the flag: then only new pages go there.
    bind(MemoryBindingFlags::MIGRATE)
        .or_else(|_| bind(MemoryBindingFlags::empty()))
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_table_larger_than_the_host_is_refused() {
        let mut machine = Machine::uniform(1, 1, 2048);
        assert_eq!(check_room(&machine), Ok(()));
        machine.nodes[0].zones[0] =
            allocator::machine::Zone::whole(allocator::ids::ZoneIdx::Normal, 1 << 20, 1 << 50);
        let message = check_room(&machine).unwrap_err().to_string();
        assert!(message.contains("MiB of metadata, this host has"), "{message}");
    }

    #[test]
    fn memory_of_this_host_can_be_bound() {
        let Ok(nodes) = affinity::allowed_nodes() else { return };
        let supported = host::topology().unwrap();
        let can = supported.feature_support().memory_binding().is_some_and(|s| s.set_area());
        if can {
            let pages = vec![0_u8; 1 << 20];
            assert_eq!(bind(&pages, &nodes), Ok(()));
        }
    }
}
