//! Zones as the model sets them up at boot, beside the pure formulas; and what is between the two
//! passes of a recomputation.

use allocator::ids::{CpuId, MAX_NR_ZONES, NodeId, ZoneId, ZoneIdx};
use allocator::machine::{Cpu, Machine, Node, Settings, Zone};
use allocator::policy::{Policy, Release};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::sync::atomic::Ordering::Relaxed;
use allocator::zone::Wmark;
use allocator::zone::pcp_sizes::{PcpSizes, compute};
use allocator::zonelist::Nodes;

/// Three nodes as servers have them: the low zones on node 0, a node without CPUs, a node without
/// memory; 64 MiB altogether.
fn machine() -> Machine {
    let node = |id, distances: [u8; 3], zones| Node {
        id: NodeId(id),
        distances: distances.to_vec(),
        zones,
    };
    let low = vec![
        Zone { managed_pages: 900, ..Zone::whole(ZoneIdx::Dma, 0, 1024) },
        Zone::whole(ZoneIdx::Dma32, 1024, 5 * 1024),
        Zone::whole(ZoneIdx::Normal, 1 << 20, 2048),
    ];
    let far = vec![
        Zone::whole(ZoneIdx::Normal, (1 << 20) + 2048, 4096),
        Zone::whole(ZoneIdx::Movable, (1 << 20) + 6144, 4096),
    ];
    let cpu = |i, node| Cpu { node: NodeId(node), os_index: i, host_cpu: None };
    Machine {
        name: "three".to_owned(),
        nodes: vec![
            node(0, [10, 21, 30], low),
            node(1, [21, 10, 20], far),
            node(2, [30, 20, 10], Vec::new()),
        ],
        cpus: vec![cpu(0, 0), cpu(1, 0), cpu(2, 2)],
        block_pages: 512,
        settings: Settings { thp: false, ..Settings::default() },
    }
}

fn boot(policy: Policy, settings: Settings, config: KernelConfig) -> allocator::sync::Arc<Kernel> {
    Kernel::boot(Machine { settings, ..machine() }, policy, config).unwrap()
}

#[test]
fn every_zone_has_what_the_formulas_say_in_every_release() {
    for release in Release::ALL {
        for settings in [
            machine().settings,
            Settings { thp: true, ..machine().settings },
            Settings { user_min_free_kbytes: Some(3000), ..machine().settings },
        ] {
            let policy = Policy::preset(release);
            let k = boot(policy, settings, KernelConfig::default());
            let computed = compute(&k.machine, &policy);
            assert_eq!(computed.len(), 3 * MAX_NR_ZONES);
            for c in computed {
                let zone = k.zone_of(c.sizes.node, c.sizes.idx);
                let what = format!("{release}: node {} {}", c.sizes.node, c.sizes.idx);
                let marks = [Wmark::Min, Wmark::Low, Wmark::High].map(|m| zone.wmark_pages(m));
                assert_eq!(marks, [c.marks.min, c.marks.low, c.marks.high], "{what}");
                assert_eq!(zone.promo_wmark(), c.marks.promo, "{what}");
                let reserve = ZoneIdx::ALL.map(|idx| zone.lowmem_reserve(idx));
                assert_eq!(reserve, c.protection[..4], "{what}");
                assert_eq!(zone.stat_threshold.load(Relaxed), c.stat_threshold as i32, "{what}");
                assert_eq!(zone.percpu_drift_mark.load(Relaxed), c.percpu_drift_mark, "{what}");
                if c.sizes.present > 0 {
                    assert_ne!(c.pcp, PcpSizes::DISABLED);
                    let set = &zone.pageset;
                    let found = [&set.batch, &set.high_min, &set.high_max].map(|n| n.load(Relaxed));
                    assert_eq!(found, [c.pcp.batch, c.pcp.high_min, c.pcp.high_max], "{what}");
                }
            }
        }
    }
}

#[test]
fn a_forced_batch_reaches_high_too() {
    let config = KernelConfig { pcp_batch: Some(2), ..KernelConfig::default() };
    let k = boot(Policy::preset(Release::V5_4), machine().settings, config);
    let set = &k.zone_of(NodeId(1), ZoneIdx::Normal).pageset;
    assert_eq!((set.batch.load(Relaxed), set.high_min.load(Relaxed)), (2, 12));
}

#[test]
fn between_the_passes_the_marks_are_those_of_the_first() {
    let settings = Settings { thp: true, ..machine().settings };
    let k = boot(Policy::preset(Release::V6_1), settings, KernelConfig::default());
    let zone = k.zone_of(NodeId(1), ZoneIdx::Normal);
    let before = zone.wmark_pages(Wmark::Min);
    let mut seen = Vec::new();
    k.init_per_zone_wmark_min(|| seen.push(zone.wmark_pages(Wmark::Min)));
    assert_eq!(seen.len(), 1);
    assert!(seen[0] < before, "{} is lower than {before}", seen[0]);
    // The high marks in force are in the sum, so it takes a second time to settle.
    let once = zone.wmark_pages(Wmark::Min);
    k.init_per_zone_wmark_min(|| {});
    assert_eq!(zone.wmark_pages(Wmark::Min), once);
    assert_eq!(k.pcp_batch_high_lock.try_lock().map(|_| ()), Some(()));
}

#[test]
fn boots_zonelists_and_policy_zone_are_those_of_the_machine() {
    let k = boot(Policy::mainline(), machine().settings, KernelConfig::default());
    let list = |node| -> Vec<ZoneId> {
        k.zonelists.fallback(NodeId(node)).walk(ZoneIdx::Movable, Nodes::Any).collect()
    };
    let zone = |node, idx| ZoneId::new(NodeId(node), idx);
    use ZoneIdx::{Dma, Dma32, Movable, Normal};
    let near = [zone(0, Normal), zone(0, Dma32), zone(0, Dma)];
    let far = [zone(1, Movable), zone(1, Normal)];
    assert_eq!(list(0), [&near[..], &far].concat());
    assert_eq!(list(1), [&far[..], &near].concat());
    assert_eq!(list(2), [&far[..], &near].concat(), "a node without memory has a list");
    let own = k.zonelists.nofallback(NodeId(2)).walk(Movable, Nodes::Any).count();
    assert_eq!(own, 0);
    assert_eq!(k.policy_zone.load(Relaxed), Normal.index());
    assert!(!k.grouping_disabled.load(Relaxed));
    assert_eq!(k.cpu_node(CpuId(2)), NodeId(2));
}

#[test]
fn types_are_not_kept_apart_on_a_machine_of_five_pageblocks() {
    let boot = |pages| {
        let machine = Machine::uniform(1, 1, pages);
        Kernel::boot(machine, Policy::mainline(), KernelConfig::default()).unwrap()
    };
    assert!(boot(5 * 512).grouping_disabled.load(Relaxed));
    assert!(!boot(6 * 512).grouping_disabled.load(Relaxed));
}
