use super::*;
use crate::zone::watermark::{WatermarkRules, ZoneLevel, zone_watermark_ok};

fn policy(spec: &str) -> Policy {
    Policy::parse(spec).unwrap()
}

#[test]
fn masks_print_with_each_releases_bits_and_names() {
    fn check(release: Release, gfp: Gfp, expected: &str) {
        assert_eq!(gfp.display(release).to_string(), expected);
    }
    let fault = Gfp::HIGHUSER_MOVABLE;
    check(Release::V4_9, fault | Gfp::ZERO, "0x24280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO)");
    check(Release::V4_9, Gfp::KERNEL | Gfp::COMP, "0x24040c0(GFP_KERNEL|__GFP_COMP)");
    check(Release::V4_13, fault, "0x14200ca(GFP_HIGHUSER_MOVABLE)");
    check(Release::V4_13, fault | Gfp::ZERO, "0x14280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO)");
    check(Release::V4_13, Gfp::KERNEL, "0x14000c0(GFP_KERNEL)");
    check(Release::V4_18, fault, "0x6200ca(GFP_HIGHUSER_MOVABLE)");
    check(Release::V5_4, fault, "0x100cca(GFP_HIGHUSER_MOVABLE)");
    check(Release::V6_1, fault | Gfp::COMP, "0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP)");
    check(Release::V6_1, Gfp::KERNEL, "0xcc0(GFP_KERNEL)");
    check(
        Release::V6_1,
        Gfp::KERNEL | Gfp::COMP | Gfp::ACCOUNT,
        "0x440cc0(GFP_KERNEL_ACCOUNT|__GFP_COMP)",
    );
    check(Release::V6_1, Gfp::atomic(Release::V6_1), "0xa20(GFP_ATOMIC)");
    check(Release::V6_4, Gfp::atomic(Release::V6_4), "0x820(GFP_ATOMIC)");
    check(Release::V6_4, Gfp::nowait(Release::V6_4), "0x800(GFP_NOWAIT)");
    check(Release::V4_11, Gfp::KERNEL | Gfp::RETRY_MAYFAIL, "0x14004c0(GFP_KERNEL|__GFP_REPEAT)");
    check(Release::V5_10, Gfp::HIGH | Gfp::MOVABLE, "0x28(__GFP_HIGH|__GFP_MOVABLE)");
    check(Release::V6_12, Gfp::empty(), "0x0()");
}

#[test]
fn every_flag_has_a_bit_of_its_own_in_every_release() {
    for release in Release::ALL {
        let mut seen = 0u32;
        for (name, flag) in Gfp::all().iter_names() {
            let bits = flag.bits_in(release);
            assert_eq!(bits.count_ones(), 1, "{release} {name}");
            assert_eq!(seen & bits, 0, "{release} {name}");
            seen |= bits;
        }
    }
}

#[test]
fn the_zone_bits_choose_the_highest_zone() {
    fn check(gfp: Gfp, expected: ZoneIdx) {
        assert_eq!(gfp.zone(), expected);
    }
    check(Gfp::KERNEL, ZoneIdx::Normal);
    check(Gfp::KERNEL | Gfp::MOVABLE, ZoneIdx::Normal);
    check(Gfp::HIGHUSER, ZoneIdx::Normal);
    check(Gfp::HIGHUSER_MOVABLE, ZoneIdx::Movable);
    check(Gfp::KERNEL | Gfp::DMA32, ZoneIdx::Dma32);
    check(Gfp::KERNEL | Gfp::DMA, ZoneIdx::Dma);
}

#[test]
fn types_follow_the_mask_unless_grouping_is_off() {
    assert_eq!(Gfp::KERNEL.migratetype(true), MigrateType::Unmovable);
    assert_eq!(Gfp::HIGHUSER_MOVABLE.migratetype(true), MigrateType::Movable);
    assert_eq!((Gfp::KERNEL | Gfp::RECLAIMABLE).migratetype(true), MigrateType::Reclaimable);
    assert_eq!(Gfp::HIGHUSER_MOVABLE.migratetype(false), MigrateType::Unmovable);
}

/// Who asks, in the rows of docs/kernel/watermarks.md#a8's last table.
#[derive(Clone, Copy, Default)]
struct Asker {
    is_rt: bool,
    rights: ReserveRights,
}

/// The lowest number of free pages at which an order-0 request succeeds, less one, by
/// the flags that S2 and S9 give it; min is 800 and nothing is reserved.
fn floor(policy: &Policy, gfp: Gfp, asker: Asker) -> i64 {
    let flags = gfp_to_alloc_flags(policy, gfp, 0, asker.is_rt, false);
    let rights = pfmemalloc_flags(policy.reserves, gfp, asker.rights);
    let flags = apply_reserve_flags(policy, gfp, flags, rights);
    if flags.contains(AllocFlags::NO_WATERMARKS) {
        return 0;
    }
    let rules = WatermarkRules::of(policy);
    (0..)
        .find(|free| {
            let zone = ZoneLevel { free: *free, mark: 800, ..ZoneLevel::default() };
            zone_watermark_ok(&rules, 0, &zone, flags, |_, _| true)
        })
        .unwrap()
        - 1
}

#[test]
fn every_request_digs_as_deep_as_its_release_lets_it() {
    let victim = ReserveRights { group_victim: true, tif_memdie: true, ..Default::default() };
    let sibling = ReserveRights { group_victim: true, ..Default::default() };
    let reclaimer = ReserveRights { pf_memalloc: true, ..Default::default() };
    let plain = Asker::default();
    let as_ = |rights| Asker { rights, ..plain };
    let real_time = Asker { is_rt: true, ..plain };
    type Row = (&'static str, fn(Release) -> Gfp, Asker, [i64; 3]);
    // 4.13, 5.10 (ALLOC_OOM) and 6.4 (fractions), M = 800.
    let rows: [Row; 13] = [
        ("GFP_KERNEL", |_| Gfp::KERNEL, plain, [800, 800, 800]),
        ("__GFP_HIGH, may sleep", |_| Gfp::KERNEL | Gfp::HIGH, plain, [400, 400, 400]),
        ("GFP_NOWAIT", Gfp::nowait, plain, [800, 800, 800]),
        ("GFP_ATOMIC", Gfp::atomic, plain, [300, 300, 300]),
        ("real-time", |_| Gfp::KERNEL, real_time, [600, 600, 400]),
        ("GFP_ATOMIC, no memalloc", |r| Gfp::atomic(r) | Gfp::NOMEMALLOC, plain, [400, 400, 400]),
        ("victim", |_| Gfp::KERNEL, as_(victim), [0, 400, 400]),
        ("victim's other thread", |_| Gfp::KERNEL, as_(sibling), [800, 400, 400]),
        ("victim, __GFP_HIGH", |_| Gfp::KERNEL | Gfp::HIGH, as_(victim), [0, 400, 400]),
        ("victim, GFP_ATOMIC", Gfp::atomic, as_(victim), [0, 400, 400]),
        ("victim, no memalloc", |_| Gfp::KERNEL | Gfp::NOMEMALLOC, as_(victim), [800, 800, 800]),
        ("PF_MEMALLOC", |_| Gfp::KERNEL, as_(reclaimer), [0, 0, 0]),
        ("__GFP_MEMALLOC", |_| Gfp::KERNEL | Gfp::MEMALLOC, plain, [0, 0, 0]),
    ];
    for (who, gfp, asker, expected) in rows {
        let found = ["v4.13", "v5.10", "v6.4"].map(|spec| {
            let policy = policy(spec);
            floor(&policy, gfp(policy.release), asker)
        });
        assert_eq!(found, expected, "{who}");
    }
}

#[test]
fn the_reserves_axis_means_the_same_on_every_release() {
    let victim = ReserveRights { group_victim: true, tif_memdie: true, ..Default::default() };
    let sibling = ReserveRights { group_victim: true, ..Default::default() };
    // Floors of a victim's GFP_KERNEL and GFP_ATOMIC requests and of its other thread's.
    let rows = [
        ("none", [800, 300, 800]),
        ("full-thread", [0, 0, 800]),
        ("full-group", [0, 0, 0]),
        ("half", [400, 400, 400]),
        // The review's |=: HIGH takes half, OOM half of the rest.
        ("half-or", [400, 200, 400]),
        ("fractions", [400, 400, 400]),
    ];
    for release in ["v4.9", "v4.14", "v6.1", "v6.6", "mainline"] {
        for (word, expected) in rows {
            let policy = policy(&format!("{release},reserves={word}"));
            let atomic = Gfp::atomic(policy.release);
            let as_ = |rights| Asker { rights, ..Asker::default() };
            let found = [
                floor(&policy, Gfp::KERNEL, as_(victim)),
                floor(&policy, atomic, as_(victim)),
                floor(&policy, Gfp::KERNEL, as_(sibling)),
            ];
            assert_eq!(found, expected, "{policy}");
        }
    }
}

#[test]
fn only_atomic_requests_escape_the_cpuset() {
    fn check(spec: &str, gfp: fn(Release) -> Gfp, confined: bool) {
        let policy = policy(spec);
        let flags = gfp_to_alloc_flags(&policy, gfp(policy.release), 0, false, false);
        assert_eq!(flags.contains(AllocFlags::CPUSET), confined, "{spec}");
    }
    for spec in ["v4.9", "v5.10", "v6.1", "v6.4", "mainline"] {
        check(spec, Gfp::nowait, true);
        check(spec, |_| Gfp::KERNEL | Gfp::HIGH, true);
        check(spec, Gfp::atomic, false);
    }
}

#[test]
fn an_atomic_request_of_higher_order_may_use_the_highatomic_reserve() {
    for spec in ["v4.13", "v6.1", "v6.4", "mainline"] {
        let policy = policy(spec);
        let gfp = Gfp::atomic(policy.release);
        let has = |gfp, order| {
            gfp_to_alloc_flags(&policy, gfp, order, false, false)
                .contains(policy.reserves.highatomic_flag())
        };
        assert!(has(gfp, 1), "{spec}");
        assert!(!has(Gfp::KERNEL, 1), "{spec}");
    }
}

#[test]
fn nobody_has_rights_in_an_interrupt_but_those_of_its_mask() {
    let rights = ReserveRights {
        in_interrupt: true,
        group_victim: true,
        tif_memdie: true,
        pf_memalloc: true,
        in_softirq: false,
    };
    for axis in [ReservesPolicy::FullThread, ReservesPolicy::FullGroup, ReservesPolicy::Half] {
        assert_eq!(pfmemalloc_flags(axis, Gfp::KERNEL, rights), AllocFlags::empty());
        let mask = Gfp::KERNEL | Gfp::MEMALLOC;
        assert_eq!(pfmemalloc_flags(axis, mask, rights), AllocFlags::NO_WATERMARKS);
        let softirq = ReserveRights { in_interrupt: false, in_softirq: true, ..rights };
        assert_eq!(pfmemalloc_flags(axis, Gfp::KERNEL, softirq), AllocFlags::NO_WATERMARKS);
    }
}

#[test]
fn rights_replace_the_cpuset_flag_except_when_they_are_added() {
    let victim = ReserveRights { group_victim: true, ..Default::default() };
    let flags_of = |spec: &str, gfp| {
        let policy = policy(spec);
        let flags = gfp_to_alloc_flags(&policy, gfp, 0, false, false);
        let rights = pfmemalloc_flags(policy.reserves, gfp, victim);
        apply_reserve_flags(&policy, gfp, flags, rights)
    };
    assert_eq!(flags_of("v4.14", Gfp::HIGHUSER_MOVABLE), AllocFlags::OOM);
    let newer = AllocFlags::OOM | AllocFlags::CMA | AllocFlags::KSWAPD;
    assert_eq!(flags_of("v6.4", Gfp::HIGHUSER_MOVABLE), newer);
    let added = flags_of("v6.4,reserves=half-or", Gfp::KERNEL);
    assert!(added.contains(AllocFlags::OOM | AllocFlags::CPUSET));
}
