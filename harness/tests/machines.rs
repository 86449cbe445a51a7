//! Machines that are not at hand: hwloc XML of odd hosts, captured directories, and what becomes of
//! a captured host that is read again.

use std::path::{Path, PathBuf};

use allocator::ids::ZoneIdx;
use allocator::machine::Machine;
use harness::machine::movable::Share;
use harness::machine::{MachineSpec, Source, load, load_with_kernel};
use proptest::prelude::*;

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

fn xml(name: &str) -> Machine {
    let source = Source::Xml(data("hwloc").join(name));
    load(&MachineSpec { source, ..MachineSpec::default() }).unwrap().0
}

fn dump(name: &str) -> MachineSpec {
    let source = Source::Directory(data("machines").join(name));
    MachineSpec { source, ..MachineSpec::default() }
}

fn cpus(machine: &Machine) -> Vec<(u16, Vec<u32>)> {
    let of = |node: u16| machine.cpus.iter().filter(move |c| c.node.0 == node).map(|c| c.os_index);
    machine.nodes.iter().map(|n| (n.id.0, of(n.id.0).collect())).collect()
}

#[test]
fn many_cpus_sparse_nodes_and_offline_cpus_keep_their_numbers() {
    let m = xml("sparse.xml");
    let cpus = cpus(&m);
    let online = |range: std::ops::Range<u32>| range.filter(|c| ![5, 49].contains(c)).collect();
    assert_eq!(cpus[0], (0, online(0..50)));
    assert_eq!(cpus[1], (2, online(50..98)));
    assert_eq!(cpus[2], (8, Vec::new()), "node 8 has memory and no CPUs");
    assert_eq!(m.cpus.len(), 96);
    let distances: Vec<&[u8]> = m.nodes.iter().map(|n| n.distances.as_slice()).collect();
    assert_eq!(distances, [[10, 21, 31], [21, 10, 28], [31, 28, 10]]);
    let pages: Vec<u64> =
        m.nodes.iter().map(|n| n.zones.iter().map(|z| z.managed_pages).sum()).collect();
    assert_eq!(pages, [(8 << 18) - 1, 8 << 18, 16 << 18]);
    assert!(m.cpus.iter().all(|c| c.host_cpu.is_some()));
}

#[test]
fn an_expander_that_claims_the_sockets_cpus_gets_none() {
    let m = xml("expander.xml");
    assert_eq!(cpus(&m), [(0, vec![0, 1, 2, 3]), (1, vec![])]);
    assert_eq!(m.nodes[1].distances, [20, 10], "hwloc names no distances");
}

#[test]
fn a_dump_is_read_as_it_stands() {
    let loaded = load_with_kernel(&dump("n3-cpuonly")).unwrap();
    let m = loaded.machine;
    assert_eq!(cpus(&m), [(0, vec![0, 1]), (1, vec![2]), (2, vec![3])]);
    assert!(m.nodes[1].zones.is_empty(), "node 1 has a CPU and no memory");
    assert_eq!(m.nodes[0].distances, [10, 21, 30]);
    let zones: Vec<_> = m.nodes[0].zones.iter().map(|z| (z.idx, z.managed_pages)).collect();
    assert_eq!(zones, [(ZoneIdx::Dma, 3840), (ZoneIdx::Dma32, 242_466)]);
    assert!(m.settings.thp && m.settings.zone_device);
    assert_eq!(m.settings.user_min_free_kbytes, None);
    let kernel = loaded.kernel.unwrap();
    assert_eq!(kernel.release.as_deref(), Some("6.1.176"));
    assert_eq!(kernel.min_free_kbytes, Some(67584));
    assert_eq!(kernel.fallback_order, [(0, vec![0, 2]), (1, vec![1, 2, 0]), (2, vec![2, 0])]);
    let never = load(&dump("n1-1g-nothp")).unwrap().0;
    assert!(!never.settings.thp);
}

#[test]
fn flags_change_a_dump() {
    let mut spec = dump("n2-1g-4cpu");
    let before = load(&spec).unwrap().0;
    spec.fake_numa = Some(4);
    spec.movable = Some(Share::Percent(25.0));
    spec.memory_bytes = Some(4 << 30);
    let loaded = load_with_kernel(&spec).unwrap();
    let after = loaded.machine;
    assert_eq!((before.nodes.len(), after.nodes.len()), (2, 4));
    assert!(after.managed_pages().abs_diff(4 << 18) < 4096);
    assert!(after.nodes.iter().all(|n| n.zones.iter().any(|z| z.idx == ZoneIdx::Movable)));
    assert_eq!(after.nodes[0].distances, [10, 20, 21, 21]);
    assert!(loaded.kernel.is_none(), "its kernel never saw this machine");
}

#[test]
fn a_directory_with_a_hole_says_which_file() {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(data("machines/n2-1g-4cpu")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let spec =
        MachineSpec { source: Source::Directory(dir.path().to_owned()), ..MachineSpec::default() };
    assert!(load(&spec).is_ok());
    let check = |file: &str, text: Option<&str>, message: &str| {
        let path = dir.path().join(file);
        let before = std::fs::read(&path).unwrap();
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let error = load(&spec).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        std::fs::write(&path, before).unwrap();
    };
    check("node1.distance", None, "/node1.distance: is missing: node 1 needs it");
    check("node1.distance", Some("21"), "node 1 has 1 distances, the machine has 2 nodes");
    check("node1.distance", Some("21 x"), "/node1.distance: invalid digit");
    check("node0.cpulist", Some("0-"), "/node0.cpulist: '0-' is no part of a list");
    check("zoneinfo", None, "/zoneinfo: is missing");
    check("zoneinfo", Some("Node 0, zone DMA\nmin x"), "/zoneinfo: line 2: 'min x' wants a number");
    check("min_free_kbytes", Some("many"), "/min_free_kbytes: 'many' is no number");
    check("machine.json", Some("{"), "/machine.json: EOF while parsing");
}

#[test]
fn a_value_on_the_kernels_command_line_was_set_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["zoneinfo", "node0.distance", "node0.cpulist"] {
        std::fs::copy(data("machines/n1-512m-1cpu").join(file), dir.path().join(file)).unwrap();
    }
    std::fs::write(dir.path().join("cmdline"), "quiet sysctl.vm.min_free_kbytes=8192\n").unwrap();
    let spec =
        MachineSpec { source: Source::Directory(dir.path().to_owned()), ..MachineSpec::default() };
    assert_eq!(load(&spec).unwrap().0.settings.user_min_free_kbytes, Some(8192));
}

#[test]
fn a_process_with_one_cpu_runs_on_that_one() {
    use harness::machine::affinity;
    // The mask is the thread's own: another thread's stays as it is.
    std::thread::spawn(|| {
        let last = affinity::allowed_cpus().unwrap().iter().next_back().unwrap();
        affinity::pin(last).unwrap();
        let (machine, notes) = load(&dump("n2-1g-4cpu")).unwrap();
        assert!(machine.cpus.iter().all(|c| c.host_cpu == Some(last)));
        assert!(notes.0.contains(&format!("4 model CPUs share 1 host CPU ({last})")), "{notes:?}");
        let host = load(&MachineSpec::default()).unwrap().0;
        assert!(host.cpus.iter().all(|c| c.host_cpu == Some(last)));
    })
    .join()
    .unwrap();
}

#[test]
fn zones_whose_spans_overlap_keep_their_sizes() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["zoneinfo", "node0.distance", "node0.cpulist", "node1.distance", "node1.cpulist"] {
        std::fs::copy(data("machines/n2-1g-4cpu").join(file), dir.path().join(file)).unwrap();
    }
    let text = std::fs::read_to_string(dir.path().join("zoneinfo")).unwrap();
    let text = text.replace("start_pfn:           262144", "start_pfn:           200000");
    std::fs::write(dir.path().join("zoneinfo"), text).unwrap();
    let spec =
        MachineSpec { source: Source::Directory(dir.path().to_owned()), ..MachineSpec::default() };
    let (machine, notes) = load(&spec).unwrap();
    let before = load(&dump("n2-1g-4cpu")).unwrap().0;
    assert_eq!(machine.managed_pages(), before.managed_pages());
    assert!(
        notes.0.iter().any(|n| n.contains("node 1 zone DMA32: its span overlaps")),
        "{notes:?}"
    );
}

proptest! {
    /// A dump with any line replaced is read or refused; it never panics.
    #[test]
    fn a_damaged_zoneinfo_is_refused_or_read(line in 0..300usize, with in "[ -~]{0,40}") {
        let text = std::fs::read_to_string(data("machines/n2-movablecore/zoneinfo")).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        let at = line % lines.len();
        lines[at] = &with;
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(data("machines/n2-movablecore")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        std::fs::write(dir.path().join("zoneinfo"), lines.join("\n")).unwrap();
        let source = Source::Directory(dir.path().to_owned());
        if let Ok((machine, _)) = load(&MachineSpec { source, ..MachineSpec::default() }) {
            prop_assert_eq!(machine.validate(), Ok(()));
        }
    }
}

#[test]
fn a_captured_host_is_the_host_again() {
    use harness::machine::{capture::Files, host};
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("captured");
    let files = Files::of_host().unwrap();
    files.write(&place, &host::layout().unwrap(), "captured").unwrap();
    let spec = MachineSpec { source: Source::Directory(place.clone()), ..MachineSpec::default() };
    let again = load(&spec).unwrap().0;
    // The host's memory may move meanwhile: compare with what was captured.
    let host = files.machine("host", Some(host::layout().unwrap())).unwrap().machine;
    assert_eq!(again.name, "captured");
    assert_eq!(again.nodes, host.nodes);
    assert_eq!(again.settings, host.settings);
    let cpus = |m: &Machine| m.cpus.iter().map(|c| (c.node, c.os_index)).collect::<Vec<_>>();
    assert_eq!(cpus(&again), cpus(&host));
    let twice = files.write(&place, &host::layout().unwrap(), "captured").unwrap_err();
    assert!(twice.to_string().contains("is not empty"));
}
