//! Rebinding as a table: the examples of docs/kernel/mempolicies.md#d5, each variant, and what
//! holds for all.

use proptest::prelude::*;

use super::rebind::{Bound, RebindRules, rebound, relative};
use super::*;
use crate::policy::RebindPolicy;

const NODES: usize = 130;

fn mask(list: &str) -> NodeMask {
    NodeMask::parse(list).unwrap()
}

fn rules(rebind: RebindPolicy) -> RebindRules {
    RebindRules { rebind, moves_preferred: rebind != RebindPolicy::OneStep }
}

const ALL: [RebindPolicy; 3] =
    [RebindPolicy::TwoStep, RebindPolicy::OneStepRemapBase, RebindPolicy::OneStep];

/// A policy without flags, made when the cpuset was `base`.
fn policy(mode: Mode, nodes: &str, base: &str) -> Mempolicy {
    Mempolicy::from_parts(mode, ModeFlags::empty(), &mask(nodes), &mask(base), NODES)
}

/// A policy with flags, as the user wrote it, in a cpuset of `mems`.
fn flagged(mode: Mode, flags: ModeFlags, user: &str, mems: &str) -> Mempolicy {
    let spec = PolicySpec::new(mode, mask(user)).with(flags);
    let every = (0..NODES).map(|n| NodeId(n as u16)).collect();
    Mempolicy::create(&spec, mode, &mask(mems), &every, NODES).unwrap()
}

/// Rebinds as a task's policy is, and checks what is there between the steps.
fn rebind(policy: &Mempolicy, new: &str, how: RebindPolicy) -> NodeMask {
    let old = policy.nodes.load();
    let new = mask(new);
    match how {
        RebindPolicy::TwoStep => {
            if let Some(bound) = policy.rebind_step1(&new, rules(how), |_| {}) {
                let between = policy.nodes.load();
                assert!(policy.mode == Mode::Preferred || between == old.or(&bound.nodes));
                policy.rebind_step2(&bound, |_| {});
            }
        }
        RebindPolicy::OneStepRemapBase | RebindPolicy::OneStep => {
            policy.rebind_once(&new, rules(how), |_| {});
        }
    }
    policy.nodes.load()
}

#[test]
fn a_policy_once_shrunk_never_grows_back() {
    for how in ALL {
        let p = policy(Mode::Bind, "0-1", "0-1");
        assert_eq!(rebind(&p, "0", how), mask("0"));
        assert_eq!(rebind(&p, "1", how), mask("1"));
        assert_eq!(rebind(&p, "0-3", how).weight(), 1, "{how:?}");
    }
}

#[test]
fn static_nodes_come_back() {
    for how in ALL {
        let p = flagged(Mode::Interleave, ModeFlags::STATIC_NODES, "1,3,5", "0-7");
        assert_eq!(rebind(&p, "0-3", how), mask("1,3"));
        assert_eq!(rebind(&p, "5", how), mask("5"));
        // None of them is allowed: any node will do, until one is.
        assert_eq!(rebind(&p, "6-7", how), mask("6-7"));
        assert_eq!(rebind(&p, "0-7", how), mask("1,3,5"));
    }
}

#[test]
fn relative_nodes_are_counted_in_the_cpuset() {
    for how in ALL {
        let p = flagged(Mode::Bind, ModeFlags::RELATIVE_NODES, "1-3", "0-3");
        assert_eq!(p.nodes.load(), mask("1-3"));
        assert_eq!(rebind(&p, "4-7", how), mask("5-7"));
        assert_eq!(rebind(&p, "1-7", how), mask("2-4"));
        // Three nodes for positions 1, 2 and 3: the third folds over to the first.
        assert_eq!(rebind(&p, "1,5,6", how), mask("1,5,6"));
    }
}

#[test]
fn the_remap_base_bug_loses_positions() {
    let cells = [
        (RebindPolicy::TwoStep, "2"),
        (RebindPolicy::OneStepRemapBase, "0"),
        (RebindPolicy::OneStep, "2"),
    ];
    for (how, back) in cells {
        let p = policy(Mode::Bind, "2", "0-3");
        assert_eq!(rebind(&p, "4-7", how), mask("6"));
        assert_eq!(rebind(&p, "0-3", how), mask(back), "{how:?}");
    }
}

#[test]
fn an_update_to_the_base_itself_does_nothing() {
    for how in ALL {
        let p = policy(Mode::Bind, "1", "0-1");
        let bound = p.bound();
        assert_eq!(rebound(p.mode, p.flags, &bound, &mask("0-1"), rules(how)), None);
    }
}

#[test]
fn the_preferred_node_moves_only_up_to_5_13() {
    let p = policy(Mode::Preferred, "1", "0-3");
    assert_eq!(rebind(&p, "4-7", RebindPolicy::OneStepRemapBase), mask("5"));
    let p = policy(Mode::Preferred, "1", "0-3");
    assert_eq!(rebind(&p, "4-7", RebindPolicy::OneStep), mask("1"));
    assert_eq!(p.user_or_base.load(), mask("4-7"));
}

#[test]
fn a_static_preferred_node_outside_acts_as_local_until_it_is_back() {
    let how = RebindPolicy::OneStepRemapBase;
    let p = flagged(Mode::Preferred, ModeFlags::STATIC_NODES, "1", "0-3");
    assert_eq!(rebind(&p, "2-3", how), NodeMask::EMPTY);
    assert_eq!(rebind(&p, "0-1", how), mask("1"));
    let p = flagged(Mode::Preferred, ModeFlags::RELATIVE_NODES, "1", "0-3");
    assert_eq!(rebind(&p, "4-7", how), mask("5"));
}

#[test]
fn words_are_stored_one_by_one() {
    let p = policy(Mode::Bind, "0,64", "0,64");
    let mut seen = Vec::new();
    let new = mask("1,65");
    p.rebind_once(&new, rules(RebindPolicy::OneStep), |i| seen.push((i, p.nodes.load())));
    let expected: Vec<_> =
        [(0, "0,64"), (1, "1,64"), (2, "1,65")].map(|(i, list)| (i, mask(list))).to_vec();
    assert_eq!(seen, expected);
}

#[test]
fn specs_are_checked_as_the_kernel_checks_them() {
    let check = |mode, list: &str, flags, release| {
        PolicySpec::new(mode, mask(list)).with(flags).check(release)
    };
    let none = ModeFlags::empty();
    let (old, new) = (Release::V4_13, Release::V6_19);
    assert_eq!(check(Mode::Preferred, "", none, new), Ok(Mode::Local));
    assert_eq!(check(Mode::Bind, "1", ModeFlags::STATIC_NODES, old), Ok(Mode::Bind));
    let refused = [
        check(Mode::Default, "1", none, new),
        check(Mode::Local, "1", none, new),
        check(Mode::Local, "", ModeFlags::STATIC_NODES, new),
        check(Mode::Preferred, "", ModeFlags::RELATIVE_NODES, new),
        check(Mode::Bind, "", none, new),
        check(Mode::Bind, "1", ModeFlags::all(), new),
        check(Mode::PreferredMany, "1", none, old),
        check(Mode::WeightedInterleave, "1", none, Release::V6_6),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().errno(), "EINVAL");
    }
}

#[test]
fn only_nodes_with_memory_in_the_cpuset_are_taken() {
    let make = |mode, user: &str| {
        let spec = PolicySpec::new(mode, mask(user));
        Mempolicy::create(&spec, mode, &mask("0-3"), &mask("0,2-7"), NODES).map(|p| p.nodes.load())
    };
    assert_eq!(make(Mode::Bind, "1-4"), Ok(mask("2-3")));
    assert_eq!(make(Mode::Preferred, "1-4"), Ok(mask("2")));
    assert_eq!(make(Mode::Bind, "1,4"), Err(MempolicyError::NoAllowedNode));
}

#[test]
fn equality_is_that_of_vma_merging() {
    let a = policy(Mode::Bind, "0-1", "0-3");
    // The base of the next remap is not compared, the user's nodes are.
    assert!(mpol_equal(Some(&a), Some(&policy(Mode::Bind, "0-1", "0-7"))));
    assert!(!mpol_equal(Some(&a), Some(&policy(Mode::Interleave, "0-1", "0-3"))));
    assert!(!mpol_equal(Some(&a), Some(&policy(Mode::Bind, "0", "0-3"))));
    assert!(!mpol_equal(Some(&a), None));
    assert!(mpol_equal(None, None));
    let wide = flagged(Mode::Bind, ModeFlags::STATIC_NODES, "0-5", "0-3");
    let narrow = flagged(Mode::Bind, ModeFlags::STATIC_NODES, "0-3", "0-3");
    assert_eq!(wide.nodes.load(), narrow.nodes.load());
    assert!(!mpol_equal(Some(&wide), Some(&narrow)));
    let homed = policy(Mode::Bind, "0-1", "0-3");
    homed.set_home_node(Some(NodeId(1)));
    assert!(!mpol_equal(Some(&a), Some(&homed)));
}

fn any_mask() -> impl Strategy<Value = NodeMask> {
    prop::collection::vec(0..NODES as u16, 1..12)
        .prop_map(|nodes| nodes.into_iter().map(NodeId).collect())
}

fn any_flags() -> impl Strategy<Value = ModeFlags> {
    prop::sample::select(vec![
        ModeFlags::empty(),
        ModeFlags::STATIC_NODES,
        ModeFlags::RELATIVE_NODES,
    ])
}

proptest! {
    /// After any chain of rebinds a BIND has nodes, all of them in the last mask; and the two ways
    /// in two steps and in one end at the same.
    #[test]
    fn a_rebound_policy_lies_in_the_cpuset(
        user in any_mask(),
        first in any_mask(),
        chain in prop::collection::vec(any_mask(), 1..6),
        flags in any_flags(),
    ) {
        let spec = PolicySpec::new(Mode::Bind, user).with(flags);
        let every: NodeMask = (0..NODES).map(|n| NodeId(n as u16)).collect();
        for how in ALL {
            let Ok(p) = Mempolicy::create(&spec, Mode::Bind, &first, &every, NODES) else {
                prop_assert!(!flags.contains(ModeFlags::RELATIVE_NODES));
                continue;
            };
            let once = p.duplicate(NODES);
            let mut last = first;
            for new in &chain {
                let nodes = rebind(&p, &new.to_string(), how);
                once.rebind_once(new, rules(how), |_| {});
                prop_assert!(!nodes.is_empty());
                // The remap-base bug lets nodes outside its base stay where they are.
                let may_stray = how == RebindPolicy::OneStepRemapBase && flags.is_empty();
                prop_assert!(may_stray || nodes.is_subset(new), "{how:?} {nodes} {new}");
                prop_assert_eq!(once.bound(), p.bound());
                last = *new;
            }
            if flags.contains(ModeFlags::STATIC_NODES) && user.intersects(&last) {
                prop_assert_eq!(p.nodes.load(), user.and(&last));
            }
            if flags.contains(ModeFlags::RELATIVE_NODES) {
                prop_assert_eq!(p.nodes.load(), relative(&user, &last));
            }
        }
    }

    /// Remapping keeps the number of nodes as far as there is room.
    #[test]
    fn a_remap_keeps_the_weight_where_there_is_room(base in any_mask(), new in any_mask()) {
        let bound = Bound { nodes: base, user_or_base: base };
        let how = rules(RebindPolicy::OneStep);
        let nodes = rebound(Mode::Bind, ModeFlags::empty(), &bound, &new, how)
            .map_or(base, |bound| bound.nodes);
        prop_assert_eq!(nodes.weight(), base.weight().min(new.weight()));
    }
}
