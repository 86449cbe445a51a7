//! Which host CPUs we may use, which model CPU runs on which of them, and pinning threads there.
//!
//! **What.** The process's affinity mask (which is always within its cgroup's cpuset), narrowed by
//! `--cpus` and `--nodes`, is never left. On the host's own machine each CPU runs on itself if that is
//! allowed; all others go round robin, node by node where the host has nodes enough.
//!
//! **Source.** `Cpus_allowed_list` of /proc/thread-self/status: the mask in force, of any size.

use std::path::Path;

use allocator::ids::NodeId;
use allocator::machine::Machine;
use hwlocality::Topology;
use hwlocality::cpu::binding::CpuBindingFlags;
use hwlocality::cpu::cpuset::CpuSet;

use super::lists::IdList;
use super::topology::Layout;
use super::{MachineInputError, MachineSpec, Notes, Source, host};

/// The CPUs that the calling thread may run on.
///
/// # Errors
/// If /proc does not tell.
pub fn allowed_cpus() -> Result<IdList, MachineInputError> {
    status_list("Cpus_allowed_list:")
}

/// The nodes that the calling thread may take memory from.
///
/// # Errors
/// If /proc does not tell.
pub fn allowed_nodes() -> Result<IdList, MachineInputError> {
    status_list("Mems_allowed_list:")
}

fn status_list(key: &str) -> Result<IdList, MachineInputError> {
    let path = Path::new("/proc/thread-self/status");
    let status = super::read_to_string(path)?;
    let line = status.lines().find_map(|l| l.strip_prefix(key));
    let list = line.ok_or_else(|| MachineInputError::input(path, format!("no {key}")))?;
    list.parse().map_err(|e: String| MachineInputError::input(path, e))
}

/// Gives each CPU of the machine its host CPU.
///
/// # Errors
/// If `--cpus` or `--nodes` name what this process may not use or this host has not.
pub fn place(
    machine: &mut Machine,
    spec: &MachineSpec,
    notes: &mut Notes,
) -> Result<(), MachineInputError> {
    let layout = host::layout()?;
    let mut allowed = allowed_cpus()?;
    if let Some(cpus) = &spec.cpus {
        if let Some(cpu) = cpus.iter().find(|&c| !allowed.contains(c)) {
            return Err(MachineInputError::Host(format!(
                "cannot run on CPU {cpu}: this process may use CPUs {allowed}"
            )));
        }
        allowed = cpus.clone();
    }
    if let Some(nodes) = &spec.nodes {
        allowed = cpus_of_nodes(&layout, nodes, &allowed)?;
    }
    if allowed.is_empty() {
        return Err(MachineInputError::Host("no CPU is left to run on".to_owned()));
    }
    assign(machine, &layout, &allowed, spec.source == Source::Host);
    if machine.cpus.len() > allowed.len() {
        let plural = if allowed.len() == 1 { "" } else { "s" };
        let (cpus, hosts) = (machine.cpus.len(), allowed.len());
        notes.add(format!("{cpus} model CPUs share {hosts} host CPU{plural} ({allowed})"));
    }
    Ok(())
}

fn cpus_of_nodes(
    layout: &Layout,
    nodes: &IdList,
    allowed: &IdList,
) -> Result<IdList, MachineInputError> {
    let has: IdList = layout.nodes.iter().map(|n| n.id).collect();
    if let Some(node) = nodes.iter().find(|&n| !has.contains(n)) {
        let named = if has.len() == 1 { "node" } else { "nodes" };
        return Err(MachineInputError::Host(format!(
            "cannot bind to node {node}: this host has {named} {has}"
        )));
    }
    let chosen = layout.nodes.iter().filter(|n| nodes.contains(n.id));
    let cpus: IdList =
        chosen.flat_map(|n| n.cpus.iter()).filter(|&c| allowed.contains(c)).collect();
    if cpus.is_empty() {
        return Err(MachineInputError::Host(format!(
            "cannot run on nodes {nodes}: this process may use none of their CPUs"
        )));
    }
    Ok(cpus)
}

/// The rule of the module's head, with everything given.
fn assign(machine: &mut Machine, layout: &Layout, allowed: &IdList, is_host: bool) {
    let all: Vec<u32> = allowed.iter().collect();
    let groups: Vec<Vec<u32>> = layout
        .nodes
        .iter()
        .map(|n| n.cpus.iter().filter(|&c| allowed.contains(c)).collect::<Vec<_>>())
        .filter(|g| !g.is_empty())
        .collect();
    let nodes_with_cpus: Vec<NodeId> = machine
        .nodes
        .iter()
        .map(|n| n.id)
        .filter(|&n| machine.cpus_of(n).next().is_some())
        .collect();
    let by_node = !groups.is_empty() && nodes_with_cpus.len() >= groups.len();
    let mut next = vec![0; groups.len().max(1)];
    for cpu in &mut machine.cpus {
        if is_host && allowed.contains(cpu.os_index) {
            cpu.host_cpu = Some(cpu.os_index);
            continue;
        }
        let position = nodes_with_cpus.iter().position(|&n| n == cpu.node).unwrap_or(0);
        let (turn, group) = if by_node {
            let g = position % groups.len();
            (&mut next[g], &groups[g])
        } else {
            (&mut next[0], &all)
        };
        cpu.host_cpu = Some(group[*turn % group.len()]);
        *turn += 1;
    }
}

/// Pins the calling thread to one host CPU.
///
/// # Errors
/// If the kernel refuses, with the CPU.
pub fn pin(host_cpu: u32) -> Result<(), MachineInputError> {
    let id = host_cpu as usize;
    // core_affinity's mask, as libc's, ends at CPU 1023.
    let done = if id < libc::CPU_SETSIZE as usize {
        core_affinity::set_for_current(core_affinity::CoreId { id })
    } else {
        bind_current(&IdList::from_iter([host_cpu]))
    };
    if done {
        Ok(())
    } else {
        Err(MachineInputError::Host(format!("cannot pin a thread to CPU {host_cpu}")))
    }
}

/// Pins the calling thread to several host CPUs, a node's for instance.
///
/// # Errors
/// If the kernel refuses, with the CPUs.
pub fn pin_to_any(host_cpus: &IdList) -> Result<(), MachineInputError> {
    if bind_current(host_cpus) {
        Ok(())
    } else {
        Err(MachineInputError::Host(format!("cannot pin a thread to CPUs {host_cpus}")))
    }
}

fn bind_current(cpus: &IdList) -> bool {
    let mut set = CpuSet::new();
    for cpu in cpus.iter() {
        set.set(cpu as usize);
    }
    host::topology().is_ok_and(|t: &Topology| t.bind_cpu(&set, CpuBindingFlags::THREAD).is_ok())
}

/// The host CPUs that a node's threads may run on: those of its CPUs, or all that the machine uses
/// if it has none.
pub fn host_cpus_of(machine: &Machine, node: NodeId) -> IdList {
    let all = || machine.cpus.iter();
    let own: IdList = all().filter(|c| c.node == node).filter_map(|c| c.host_cpu).collect();
    if own.is_empty() { all().filter_map(|c| c.host_cpu).collect() } else { own }
}

#[cfg(test)]
mod tests {
    use super::super::topology::LayoutNode;
    use super::*;

    fn layout(cpus: &[&str]) -> Layout {
        let node = |(i, c): (usize, &&str)| LayoutNode {
            id: i as u32,
            cpus: c.parse().unwrap(),
            memory_bytes: 1 << 30,
        };
        Layout { nodes: cpus.iter().enumerate().map(node).collect(), distances: None }
    }

    fn check(nodes: u16, cpus: u16, host: &[&str], allowed: &str, is_host: bool, expected: &[u32]) {
        let mut machine = Machine::uniform(nodes, cpus, 2048);
        assign(&mut machine, &layout(host), &allowed.parse().unwrap(), is_host);
        let got: Vec<u32> = machine.cpus.iter().filter_map(|c| c.host_cpu).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn cpus_stay_within_the_allowed_ones() {
        check(1, 4, &["0-3"], "0-3", true, &[0, 1, 2, 3]);
        // CPUs 2 and 3 are forbidden: their threads run on the others.
        check(1, 4, &["0-3"], "0-1", true, &[0, 1, 0, 1]);
        check(1, 4, &["0-3"], "2", true, &[2, 2, 2, 2]);
    }

    #[test]
    fn described_machines_keep_to_the_hosts_nodes() {
        check(2, 2, &["0-3", "4-7"], "0-7", false, &[0, 1, 4, 5]);
        check(4, 2, &["0-1", "2-3"], "0-3", false, &[0, 1, 2, 3, 0, 1, 2, 3]);
        // One model node on two host nodes: all CPUs serve.
        check(1, 4, &["0-1", "2-3"], "0-3", false, &[0, 1, 2, 3]);
        check(2, 2, &["0-1"], "0-1", false, &[0, 1, 0, 1]);
    }

    #[test]
    fn nodes_that_the_host_has_not_are_named() {
        let host = layout(&["0-1", "2-3"]);
        let fails = |nodes: &str, allowed: &str| {
            cpus_of_nodes(&host, &nodes.parse().unwrap(), &allowed.parse().unwrap())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(fails("3", "0-3"), "cannot bind to node 3: this host has nodes 0-1");
        assert!(fails("1", "0-1").contains("none of their CPUs"));
    }

    #[test]
    fn a_pinned_thread_runs_where_it_should() {
        std::thread::spawn(|| {
            let allowed = allowed_cpus().unwrap();
            let last = allowed.iter().next_back().unwrap();
            pin(last).unwrap();
            assert_eq!(allowed_cpus().unwrap(), IdList::from_iter([last]));
            pin_to_any(&allowed).unwrap();
            assert_eq!(allowed_cpus().unwrap(), allowed);
        })
        .join()
        .unwrap();
    }
}
