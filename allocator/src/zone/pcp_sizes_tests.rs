use super::*;

fn sizes(spec: &str, fraction: u32, managed: u64, low: u64, cpus: (u32, u32)) -> [u32; 3] {
    let policy = Policy::parse(spec).unwrap();
    let s = pcp_sizes(&PcpInputs {
        release: policy.release,
        pcp: policy.pcp,
        fraction,
        batch: None,
        managed,
        low,
        node_cpus: cpus.0,
        online_cpus: cpus.1,
    });
    [s.batch, s.high_min, s.high_max]
}

#[test]
fn batch_grows_with_the_zone_up_to_its_releases_limit() {
    fn check(release: Release, managed: u64, expected: u32) {
        assert_eq!(batch(release, managed), expected, "{release} {managed}");
    }
    // DMA, 512 MiB less what boot took, 1 GiB and more, on dumps of 6.1.
    check(Release::V6_1, 3840, 1);
    check(Release::V6_1, 131_072, 31);
    check(Release::V6_1, 225_398, 63);
    check(Release::V6_1, 1 << 30, 63);
    check(Release::V4_18, 1 << 30, 31);
    check(Release::V4_9, 65_536, 15);
    check(Release::V6_19, 3840, 1);
    check(Release::V6_19, 8192, 1);
    check(Release::V6_19, 1 << 17, 31);
    check(Release::V6_19, 1 << 30, 63);
    for release in Release::ALL {
        check(release, 0, 1);
    }
}

#[test]
fn high_follows_the_axis() {
    fn check(spec: &str, fraction: u32, cpus: (u32, u32), expected: [u32; 3]) {
        assert_eq!(sizes(spec, fraction, 786_432, 10_625, cpus), expected, "{spec} {fraction}");
    }
    check("v5.4", 0, (2, 2), [63, 378, 378]);
    check("v5.4", 8, (2, 2), [96, 98_304, 98_304]);
    check("v5.4", 786_432, (2, 2), [1, 1, 1]);
    check("v6.1", 0, (2, 2), [63, 5312, 5312]);
    check("v6.1", 0, (1, 2), [63, 10_625, 10_625]);
    check("v6.1", 0, (0, 2), [63, 5312, 5312]);
    check("v6.1", 0, (512, 1024), [63, 252, 252]);
    check("v6.1", 8, (2, 2), [63, 49_152, 49_152]);
    check("v6.12", 0, (2, 2), [63, 5312, 49_152]);
    check("v6.12", 8, (2, 2), [63, 49_152, 49_152]);
    check("v5.4,pcp=auto-tune", 0, (2, 2), [63, 5312, 49_152]);
}

#[test]
fn a_node_without_cpus_shares_all() {
    let mut machine = Machine::uniform(2, 2, 1 << 18);
    for cpu in &mut machine.cpus {
        cpu.node = NodeId(0);
    }
    let cpus = OnlineCpus::of_machine(&machine);
    assert_eq!((cpus.of_node(NodeId(0)), cpus.of_node(NodeId(1)), cpus.all()), (4, 0, 4));
    let computed = compute(&machine, &Policy::parse("v6.1").unwrap());
    let high = |node: usize| computed[node * 4 + 2].pcp.high_min;
    assert_eq!(high(0), high(1));
    let online = OnlineCpus::of(&machine, |cpu| cpu.0 != 3);
    assert_eq!((online.of_node(NodeId(0)), online.all()), (3, 3));
}

#[test]
fn only_zones_with_memory_have_lists() {
    let computed = compute(&Machine::uniform(1, 1, 4096), &Policy::mainline());
    let lists: Vec<bool> = computed.iter().map(|z| z.pcp != PcpSizes::DISABLED).collect();
    assert_eq!(lists, [false, false, true, false]);
}
