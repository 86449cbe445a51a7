use proptest::prelude::*;

use super::*;
use crate::zone::pcp_sizes::{OnlineCpus, PcpSizes, compute, compute_from_marks};

fn policy(spec: &str) -> Policy {
    Policy::parse(spec).unwrap()
}

fn zone(node: u16, idx: ZoneIdx, managed: u64) -> ZoneSizes {
    ZoneSizes { node: NodeId(node), idx, managed, present: managed, spanned: managed }
}

#[test]
fn a_6_18_host_is_met_page_for_page() {
    // The host of docs/kernel/checked.md: 2 CPUs, khugepaged's 67584 kB in force.
    let mut machine = Machine::uniform(1, 2, 3840);
    machine.nodes[0].zones =
        [(ZoneIdx::Dma, 3840), (ZoneIdx::Dma32, 772_915), (ZoneIdx::Normal, 786_432)]
            .map(|(idx, pages)| crate::machine::Zone::whole(idx, idx as u64 * 2_000_000, pages))
            .to_vec();
    machine.settings.thp = true;
    let zones = ZoneSizes::of_machine(&machine);
    let passes = boot_wmarks(Release::V6_12, &machine.settings, &zones);
    assert_eq!(passes.last().unwrap().min_free_kbytes, 67_584);
    let computed = compute(&machine, &policy("v6.12"));
    let marks = |min, low, high, promo| Marks { min, low, high, promo };
    let found: Vec<_> = computed.iter().map(|z| (z.marks, z.protection)).collect();
    assert_eq!(
        found,
        [
            (marks(41, 51, 61, 71), [0, 3019, 6091, 6091, 6091]),
            (marks(8354, 10442, 12530, 14618), [0, 0, 3072, 3072, 3072]),
            (marks(8500, 10625, 12750, 14875), [0; 5]),
            (marks(32, 32, 32, 32), [0; 5]),
        ]
    );
    let pcp = |batch, high_min, high_max| PcpSizes { batch, high_min, high_max };
    let found: Vec<_> = computed.iter().map(|z| z.pcp).collect();
    let expected =
        [pcp(1, 25, 240), pcp(63, 5221, 48_307), pcp(63, 5312, 49_152), PcpSizes::DISABLED];
    assert_eq!(found, expected);
    // Before, an empty Movable zone has no marks.
    assert_eq!(compute(&machine, &policy("v6.1"))[3].marks, Marks::default());
}

/// A zone's line in tests/data/offline.txt.
struct DumpedZone {
    sizes: ZoneSizes,
    marks: [u64; 3],
    pcp_high: u32,
    pcp_batch: u32,
    protection: Vec<u64>,
}

struct Step {
    name: String,
    min_free_kbytes: u64,
    zones: Vec<DumpedZone>,
}

fn dumped(machine: &str) -> Vec<Step> {
    let text = include_str!("../../tests/data/offline.txt");
    let text = text.split(&format!("machine {machine}\n")).nth(1).unwrap();
    let text = text.split("machine ").next().unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<u64>().unwrap();
        if words[0] == "step" {
            let (name, min_free_kbytes) = (words[1].to_owned(), number(2));
            steps.push(Step { name, min_free_kbytes, zones: Vec::new() });
            continue;
        }
        let idx = ZoneIdx::ALL.into_iter().find(|z| z.name() == words[1]).unwrap();
        let node = NodeId(number(0) as u16);
        let (spanned, present, managed) = (number(2), number(3), number(4));
        steps.last_mut().unwrap().zones.push(DumpedZone {
            sizes: ZoneSizes { node, idx, managed, present, spanned },
            marks: [number(5), number(6), number(7)],
            pcp_high: number(8) as u32,
            pcp_batch: number(9) as u32,
            protection: words[10].split(',').map(|n| n.parse().unwrap()).collect(),
        });
    }
    steps
}

/// Each step is computed from what was in force before it, as the kernel does, and compared with
/// what the kernel then showed.
fn check_hotplug(machine: &str, cpus: &Machine) {
    let policy = policy("v6.1");
    let settings = Settings { zone_device: true, ..Settings::default() };
    let mut in_force: Option<(Vec<u64>, u64)> = None;
    for step in dumped(machine) {
        let sizes: Vec<ZoneSizes> = step.zones.iter().map(|z| z.sizes).collect();
        let passes = match &in_force {
            None => boot_wmarks(policy.release, &settings, &sizes),
            Some((high, min_free)) => {
                init_per_zone_wmark_min(policy.release, &settings, &sizes, high, *min_free, false)
            }
        };
        assert_eq!(passes.len(), 2);
        assert!(passes[0].min_free_kbytes * 10 < passes[1].min_free_kbytes, "twelve times lower");
        let last = passes.last().unwrap();
        let what = format!("{machine}, {}", step.name);
        assert_eq!(last.min_free_kbytes, step.min_free_kbytes, "{what}");
        let cpus = OnlineCpus::of_machine(cpus);
        let computed = compute_from_marks(&policy, &settings, &sizes, &last.marks, &cpus, None);
        for (zone, dumped) in computed.iter().zip(&step.zones) {
            let what = format!("{what}: node {} {}", zone.sizes.node, zone.sizes.idx);
            assert_eq!([zone.marks.min, zone.marks.low, zone.marks.high], dumped.marks, "{what}");
            assert_eq!(zone.protection[..], dumped.protection, "{what}");
            // An offline that hasn't ended has its zone's lists disabled; an empty zone has none.
            if dumped.pcp_high != 0 {
                assert_eq!(zone.pcp.high_min, dumped.pcp_high, "{what}");
                assert_eq!(zone.pcp.batch, dumped.pcp_batch, "{what}");
            } else {
                assert!(zone.sizes.present == 0 || step.name == "during", "{what}");
            }
        }
        in_force = Some((last.marks.iter().map(|m| m.high).collect(), last.min_free_kbytes));
    }
}

#[test]
fn one_block_off_and_on_again_is_met_page_for_page() {
    check_hotplug("one-block", &Machine::uniform(2, 1, 1));
}

#[test]
fn a_node_off_and_on_again_is_met_page_for_page() {
    let mut machine = Machine::uniform(3, 1, 1);
    machine.cpus.push(machine.cpus[0]);
    check_hotplug("whole-node", &machine);
}

#[test]
fn a_users_min_free_kbytes_stays_until_more_is_needed() {
    let zones = [zone(0, ZoneIdx::Normal, 1 << 20)];
    let settings =
        Settings { thp: false, user_min_free_kbytes: Some(20_000), ..Settings::default() };
    let boot = boot_wmarks(Release::V6_1, &settings, &zones);
    assert_eq!(boot.last().unwrap().min_free_kbytes, 20_000);
    let again = init_per_zone_wmark_min(Release::V6_1, &settings, &zones, &[0], 20_000, false);
    assert_eq!(again[0].min_free_kbytes, 20_000);
    assert_eq!(
        again[0].log.as_deref(),
        Some(
            "min_free_kbytes is not updated to 8192 because user defined value 20000 is preferred"
        )
    );
    let low = Settings { user_min_free_kbytes: Some(1000), ..settings };
    let raised = init_per_zone_wmark_min(Release::V6_1, &low, &zones, &[0], 1000, false);
    assert_eq!((raised[0].min_free_kbytes, &raised[0].log), (8192, &None));
    // khugepaged asks nobody.
    let thp = Settings { thp: true, ..settings };
    let passes = init_per_zone_wmark_min(Release::V6_1, &thp, &zones, &[0], 20_000, false);
    assert_eq!(passes[1].min_free_kbytes, 22_528);
    assert!(passes[1].log.as_deref().unwrap().starts_with("raising min_free_kbytes from 20000"));
    // Before 5.10 it came only once, at boot.
    assert_eq!(init_per_zone_wmark_min(Release::V5_4, &thp, &zones, &[0], 0, false).len(), 1);
    assert_eq!(init_per_zone_wmark_min(Release::V5_4, &thp, &zones, &[0], 0, true).len(), 2);
}

#[test]
fn the_square_root_has_a_floor_and_a_ceiling() {
    fn check(release: Release, pages: u64, kbytes: u64) {
        let found = calculate_min_free_kbytes(release, pages, None, 0);
        assert_eq!(found, MinFree::Computed(kbytes), "{release} {pages}");
    }
    check(Release::V6_1, 100, 128);
    check(Release::V6_1, 4 << 18, 8192);
    check(Release::V6_1, 1 << 28, 131_072);
    check(Release::V4_14, 1 << 28, 65_536);
    check(Release::V6_1, 1 << 34, 262_144);
}

#[test]
fn khugepaged_counts_movable_zones_in_old_releases_only() {
    let zones = [zone(0, ZoneIdx::Normal, 4 << 18), zone(0, ZoneIdx::Movable, 4 << 18)];
    assert_eq!(khugepaged_min_free_kbytes(Release::V6_1, &zones, 4 << 18), 22_528);
    assert_eq!(khugepaged_min_free_kbytes(Release::V4_14, &zones, 4 << 18), 45_056);
    assert_eq!(khugepaged_min_free_kbytes(Release::V6_1, &zones, 20_000), 4_000, "at most 5%");
}

#[test]
fn an_unmanaged_zone_has_protection_in_old_releases_only() {
    let managed = [0, 1000, 64_000, 0];
    let ratios = Settings::default().lowmem_reserve_ratio;
    let dma = |release| lowmem_reserve(release, &ratios, &managed, ZoneIdx::Dma);
    assert_eq!(dma(Release::V6_1), [0; 5]);
    assert_eq!(dma(Release::V4_13), [0, 3, 253, 253, 253]);
    // A ratio of 0 switches it off; in 4.x it counts as 1.
    let none = [0; MAX_NR_ZONES];
    let dma32 = |release| lowmem_reserve(release, &none, &managed, ZoneIdx::Dma32);
    assert_eq!(dma32(Release::V6_1), [0; 5]);
    assert_eq!(dma32(Release::V4_13), [0, 0, 64_000, 64_000, 64_000]);
}

#[test]
fn counters_may_be_off_by_a_threshold_for_each_cpu() {
    // 16 CPUs, 4 GiB: 2 * 5 * (1 + 6).
    assert_eq!(stat_threshold(1 << 20, 16), 70);
    assert_eq!(stat_threshold(1 << 28, 1024), 125);
    assert_eq!(stat_threshold(100, 1), 2);
    let marks = Marks { min: 1000, low: 1250, high: 1500, promo: 1750 };
    assert_eq!(percpu_drift_mark(&marks, 70, 16), 1500 + 1120);
    assert_eq!(percpu_drift_mark(&marks, 10, 16), 0, "no more than low - min: never");
    assert_eq!(pressure_threshold(&marks, 16), 15);
    assert_eq!(pressure_threshold(&marks, 1024), 1);
    assert_eq!(pressure_threshold(&marks, 1), 125);
}

#[test]
fn totalreserve_is_the_largest_protection_and_high() {
    assert_eq!(totalreserve(5000, &[0, 10, 700, 700, 0], 300), 1000);
    assert_eq!(totalreserve(900, &[0, 10, 700, 700, 0], 300), 900);
}

#[test]
fn boost_is_looked_past_once_by_requests_with_a_share() {
    let level = ZoneLevel { free: 60, mark: 100 + 1000, ..ZoneLevel::default() };
    let fast = |spec: &str, flags, order| {
        zone_watermark_fast(
            &WatermarkRules::of(&policy(spec)),
            order,
            level,
            flags,
            1000,
            |_, _| true,
        )
    };
    assert!(fast("v6.1", AllocFlags::HIGH, 0), "60 > 100 - 50");
    assert!(!fast("v6.1", AllocFlags::empty(), 0), "no share");
    assert!(!fast("v6.1", AllocFlags::HIGH | AllocFlags::WMARK_LOW, 0), "not at the min mark");
    assert!(!fast("v6.1", AllocFlags::HIGH, 1), "order 0 only");
    assert!(!fast("v5.4", AllocFlags::HIGH, 0), "not before 5.8");
}

#[test]
fn a_block_must_be_on_a_list_that_fits() {
    fn check(spec: &str, flags: AllocFlags, expected: Lists) {
        let rules = WatermarkRules::of(&policy(spec));
        let level = ZoneLevel { free: 1000, ..ZoneLevel::default() };
        let mut asked = Vec::new();
        let ok = zone_watermark_ok(&rules, 2, &level, flags, |order, lists| {
            asked.push((order, lists));
            order == 4
        });
        assert!(ok);
        assert_eq!(asked, [(2, expected), (3, expected), (4, expected)], "{spec}");
    }
    let (normal, cma, highatomic) = (Lists::Types(0b111), 0b1_0000, 0b1000);
    check("v4.13", AllocFlags::empty(), normal);
    check("v4.13", AllocFlags::HIGH, normal);
    check("v4.13", AllocFlags::HARDER, Lists::Any);
    check("v6.1", AllocFlags::OOM, Lists::Any);
    check("v6.4", AllocFlags::NON_BLOCK, normal);
    check("v6.4", AllocFlags::OOM, Lists::Types(0b111 | highatomic));
    check("v6.4", AllocFlags::HIGHATOMIC | AllocFlags::CMA, Lists::Types(0b111 | highatomic | cma));
}

fn flags() -> impl Strategy<Value = AllocFlags> {
    any::<u32>().prop_map(AllocFlags::from_bits_truncate)
}

fn levels() -> impl Strategy<Value = ZoneLevel> {
    (0..4000i64, 0..1000u64, 0..500u64, 0..600u64, 0..300u64).prop_map(
        |(free, mark, reserve, highatomic, free_cma)| ZoneLevel {
            free,
            mark,
            reserve,
            highatomic,
            free_cma,
        },
    )
}

proptest! {
    #[test]
    fn the_shortcut_passes_what_the_full_test_passes(
        release in proptest::sample::select(Release::ALL.to_vec()),
        flags in flags(), level in levels(), order in 0..11u8, has in any::<bool>(),
    ) {
        let rules = WatermarkRules::of(&Policy::preset(release));
        let full = zone_watermark_ok(&rules, order, &level, flags, |_, _| has);
        let fast = zone_watermark_fast(&rules, order, level, flags, 0, |_, _| has);
        prop_assert!(fast || !full);
        // Up to 5.8 the shortcut forgets the highatomic reserve; later they agree.
        if release >= Release::V5_10 || order > 0 || level.highatomic == 0 {
            prop_assert_eq!(fast, full);
        }
    }

    #[test]
    fn more_free_pages_and_more_rights_never_fail_what_passed(
        release in proptest::sample::select(Release::ALL.to_vec()),
        flags in flags(), level in levels(), order in 0..11u8, more in 0..500i64,
        right in proptest::sample::select(vec![AllocFlags::HIGH, AllocFlags::OOM, AllocFlags::CMA]),
    ) {
        let rules = WatermarkRules::of(&Policy::preset(release));
        let ok = |level: &ZoneLevel, flags| zone_watermark_ok(&rules, order, level, flags, |_, _| true);
        if ok(&level, flags) {
            let richer = ZoneLevel { free: level.free + more, ..level };
            prop_assert!(ok(&richer, flags));
            prop_assert!(ok(&level, flags | right));
        }
    }

    #[test]
    fn marks_are_in_order_and_sum_up(
        managed in proptest::collection::vec(0..5_000_000u64, 1..8),
        kbytes in 128..262_144u64, scale in 1..3000u32,
        release in proptest::sample::select(Release::ALL.to_vec()),
    ) {
        let zones: Vec<_> = managed
            .iter()
            .enumerate()
            .map(|(i, m)| zone(i as u16, ZoneIdx::Normal, *m))
            .collect();
        let marks = setup_per_zone_wmarks(release, scale, &zones, kbytes);
        for (mark, zone) in marks.iter().zip(&zones) {
            prop_assert!(mark.min <= mark.low && mark.low <= mark.high && mark.high <= mark.promo);
            prop_assert_eq!(mark.high - mark.low, mark.low - mark.min);
            prop_assert!(zone.managed > 0 || *mark == Marks::default());
        }
        // Shares are rounded down, by less than a page each.
        let sum: u64 = marks.iter().map(|m| m.min).sum();
        let wanted = if managed.iter().sum::<u64>() == 0 { 0 } else { kbytes / 4 };
        prop_assert!(sum <= wanted && wanted - sum <= zones.len() as u64);
    }
}
