//! The model against real kernels: what the preset v6.1 computes of each dump in `data/machines` is
//! what that kernel printed, page for page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use allocator::ids::ZoneIdx;
use allocator::policy::{Policy, Release};
use allocator::zone::watermark::{ZoneSizes, boot_wmarks};
use harness::machine::computed::{Computed, compute, differences};
use harness::machine::{Loaded, MachineSpec, Source, load_with_kernel};

fn machines() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/machines");
    let mut dirs: Vec<PathBuf> =
        fs::read_dir(data).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    dirs.sort();
    assert_eq!(dirs.len(), 10);
    dirs
}

fn load(dir: &Path) -> Loaded {
    let source = Source::Directory(dir.to_owned());
    load_with_kernel(&MachineSpec { source, ..MachineSpec::default() }).unwrap()
}

fn v6_1(loaded: &Loaded) -> Computed {
    compute(&loaded.machine, &Policy::preset(Release::V6_1))
}

#[test]
fn every_figure_of_every_dump_is_computed_to_the_page() {
    for dir in machines() {
        let loaded = load(&dir);
        let computed = v6_1(&loaded);
        let kernel = loaded.kernel.unwrap();
        assert_eq!(differences(&computed, &kernel), [], "{}", dir.display());
        // All of it was compared: every zone but Device, and every node's fallback order.
        let zones: BTreeSet<(u32, &str)> = kernel
            .zoneinfo
            .zones
            .iter()
            .filter(|z| z.name != "Device")
            .map(|z| (z.node, z.name.as_str()))
            .collect();
        let ours: BTreeSet<(u32, &str)> =
            computed.zones.iter().map(|z| (u32::from(z.node), z.name)).collect();
        assert_eq!(ours, zones, "{}", dir.display());
        assert_eq!(kernel.fallback_order.len(), loaded.machine.nodes.len());
        assert!(kernel.min_free_kbytes.is_some());
    }
}

/// min_free_kbytes follows from what was managed when it was computed, at boot: what dmesg says was
/// freed later (initrd, init sections) was not managed then.
fn min_free_kbytes_of_boot(dir: &Path) -> (u64, u64) {
    let loaded = load(dir);
    let mut machine = loaded.machine;
    let dmesg = fs::read_to_string(dir.join("dmesg")).unwrap();
    let freed_kb: u64 = dmesg
        .lines()
        .filter(|l| l.contains("Freeing") && !l.contains("SMP alternatives"))
        .map(|l| l.rsplit(' ').next().unwrap().trim_end_matches('K').parse::<u64>().unwrap())
        .sum();
    assert!(freed_kb > 8000, "{}", dir.display());
    machine.settings.boot_min_free_kbytes = None;
    let zones = &mut machine.nodes[0].zones;
    zones.iter_mut().find(|z| z.idx == ZoneIdx::Dma32).unwrap().managed_pages -= freed_kb / 4;
    let passes = boot_wmarks(Release::V6_1, &machine.settings, &ZoneSizes::of_machine(&machine));
    (passes.last().unwrap().min_free_kbytes, loaded.kernel.unwrap().min_free_kbytes.unwrap())
}

#[test]
fn min_free_kbytes_follows_from_what_was_managed_at_boot() {
    for dir in machines() {
        let (computed, in_force) = min_free_kbytes_of_boot(&dir);
        assert_eq!(computed, in_force, "{}", dir.display());
    }
}

#[test]
fn another_release_differs_and_the_difference_is_named() {
    let dir = machines().into_iter().find(|d| d.ends_with("n2-movablecore")).unwrap();
    let loaded = load(&dir);
    let mainline = compute(&loaded.machine, &Policy::mainline());
    let named: Vec<String> =
        differences(&mainline, &loaded.kernel.unwrap()).into_iter().map(|d| d.what).collect();
    assert!(named.contains(&"node 0 zone Movable min".to_owned()), "{named:?}");
}
