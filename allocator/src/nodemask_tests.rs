use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn mask(list: &str) -> NodeMask {
    NodeMask::parse(list).unwrap()
}

fn of(nodes: &BTreeSet<u16>) -> NodeMask {
    NodeMask::of(nodes.iter().map(|n| NodeId(*n)))
}

fn nodes() -> impl Strategy<Value = BTreeSet<u16>> {
    // Crowded at word boundaries, sparse elsewhere.
    let node = prop_oneof![0..8u16, 60..70u16, 120..130u16, 0..1024u16, Just(1023u16)];
    proptest::collection::btree_set(node, 0..12)
}

#[test]
fn lists_read_and_print_as_the_kernels_do() {
    fn check(text: &str, printed: &str) {
        assert_eq!(mask(text).to_string(), printed);
    }
    check("", "");
    check("0", "0");
    check(" 0-1, 4 ", "0-1,4");
    check("3,1,2,0", "0-3");
    check("63-64,1023", "63-64,1023");
    check("0-1023", "0-1023");
}

#[test]
fn bad_lists_say_what_is_wrong() {
    fn check(text: &str, message: &str) {
        assert_eq!(NodeMask::parse(text).unwrap_err().to_string(), message);
    }
    check("0,x", "`x` is no node: write a list such as 0-1,4");
    check("+1", "`+1` is no node: write a list such as 0-1,4");
    check("0,,1", "`` is no node: write a list such as 0-1,4");
    check("-1", "`-1` is no node: write a list such as 0-1,4");
    check("3-1", "the range 3-1 runs backwards");
    check("0-1024", "node 1024 is past the last node that can be modelled (1023)");
    check("99999999999", "`99999999999` is no node: write a list such as 0-1,4");
}

#[test]
fn remap_moves_by_position() {
    fn check(nodes: &str, old: &str, new: &str, expected: &str) {
        assert_eq!(
            mask(nodes).remap(&mask(old), &mask(new)),
            mask(expected),
            "{nodes}: {old} to {new}"
        );
    }
    // docs/kernel/mempolicies.md#d5.
    check("0-1", "0-1", "0", "0");
    check("0", "0", "1", "1");
    check("0", "0", "0-1", "0");
    check("2", "0-3", "4-7", "6");
    check("6", "6", "0-3", "0");
    // Onto a real kernel's outcomes across a node's way off and on.
    check("1", "0-2", "0,2", "2");
    check("2", "0,2", "0-2", "1");
    check("3", "0-3", "0-2", "0");
    // Outside the old set nothing moves, and with an empty new one neither.
    check("9", "0-3", "4-7", "9");
    check("1-2", "0-3", "", "1-2");
}

#[test]
fn relative_nodes_fold_and_land() {
    fn check(user: &str, new: &str, expected: &str) {
        let new = mask(new);
        assert_eq!(mask(user).fold(new.weight()).onto(&new), mask(expected));
    }
    check("1-3", "4-7", "5-7");
    check("1-3", "1-7", "2-4");
    check("1-3", "1,5,6", "1,5,6");
    assert!(mask("1-3").fold(0).is_empty());
    assert_eq!(mask("0,5").onto(&mask("4-7")), mask("4"), "no fifth bit to land on");
}

#[test]
fn a_live_mask_has_two_words_at_least() {
    assert_eq!(AtomicNodeMask::new(1).nr_words(), 2);
    assert_eq!(AtomicNodeMask::new(128).nr_words(), 2);
    assert_eq!(AtomicNodeMask::new(129).nr_words(), 3);
    assert_eq!(AtomicNodeMask::new(1024).nr_words(), 16);
}

#[test]
fn a_reader_between_two_stores_sees_a_mix() {
    let live = AtomicNodeMask::holding(128, &mask("0"));
    let seen = Cell::new(NodeMask::EMPTY);
    live.store_with(&mask("64"), |word| {
        if word == 1 {
            seen.set(live.load());
        }
    });
    assert_eq!(seen.get(), NodeMask::EMPTY, "neither the old set nor the new one");
    assert_eq!(live.load(), mask("64"));
    // As cpuset_change_task_nodemask writes: first both, then the new one.
    live.or_with(&mask("0"), |word| {
        if word == 0 {
            seen.set(live.load());
        }
    });
    assert_eq!((seen.get(), live.load()), (mask("64"), mask("0,64")));
}

#[test]
fn a_meeting_is_looked_for_word_by_word_and_no_further() {
    let live = AtomicNodeMask::holding(128, &mask("0,64"));
    let mut words = Vec::new();
    assert!(live.intersects_with(&mask("0"), |w| words.push(w)));
    assert!(live.intersects_with(&mask("64"), |w| words.push(w)));
    assert!(!live.intersects_with(&mask("1"), |w| words.push(w)));
    assert_eq!(words, [0, 0, 1, 0, 1]);
    // J1-e: a meeting in word 0 that is gone, and one in word 1 that was not there yet.
    let policy = AtomicNodeMask::holding(128, &mask("0,64"));
    let mems = AtomicNodeMask::holding(128, &mask("64"));
    let torn = policy.intersects_with(&mems, |word| {
        if word == 1 {
            mems.store(&mask("0"));
        }
    });
    assert!(!torn, "it meets both the old and the new set, and is found empty");
}

proptest! {
    #[test]
    fn a_mask_is_a_set(a in nodes(), b in nodes()) {
        let (ma, mb) = (of(&a), of(&b));
        let ids = |m: &NodeMask| m.iter().map(|n| n.0).collect::<BTreeSet<_>>();
        prop_assert_eq!(&ids(&ma), &a);
        prop_assert_eq!(ma.weight(), a.len());
        prop_assert_eq!(ma.first().map(|n| n.0), a.first().copied());
        prop_assert_eq!(ids(&ma.and(&mb)), &a & &b);
        prop_assert_eq!(ids(&ma.or(&mb)), &a | &b);
        prop_assert_eq!(ids(&ma.andnot(&mb)), &a - &b);
        prop_assert_eq!(ma.intersects(&mb), !a.is_disjoint(&b));
        prop_assert_eq!(ma.is_subset(&mb), a.is_subset(&b));
        for n in 0..1024 {
            prop_assert_eq!(ma.test(NodeId(n)), a.contains(&n));
            let after = ma.next_after(NodeId(n)).map(|n| n.0);
            prop_assert_eq!(after, a.range(n + 1..).next().copied());
        }
        for (i, n) in a.iter().enumerate() {
            prop_assert_eq!(ma.nth(i), Some(NodeId(*n)));
        }
    }

    #[test]
    fn what_is_printed_reads_back(a in nodes()) {
        prop_assert_eq!(NodeMask::parse(&of(&a).to_string()), Ok(of(&a)));
    }

    #[test]
    fn a_live_mask_answers_as_its_value_does(a in nodes(), b in nodes(), n in 0..1024u16) {
        let live = AtomicNodeMask::holding(1024, &of(&a));
        prop_assert_eq!(live.load(), of(&a));
        prop_assert_eq!(live.test(NodeId(n)), a.contains(&n));
        prop_assert_eq!(live.first(), of(&a).first());
        prop_assert_eq!(live.next(NodeId(n)), of(&a).next_after(NodeId(n)));
        prop_assert_eq!(live.weight(), a.len());
        prop_assert_eq!(live.intersects(&of(&b)), of(&a).intersects(&of(&b)));
        live.or_with(&of(&b), |_| {});
        prop_assert_eq!(live.load(), of(&a).or(&of(&b)));
    }

    #[test]
    fn remap_keeps_numbers_and_positions(old in nodes(), new in nodes(), pick in 0..12usize) {
        prop_assume!(!old.is_empty() && !new.is_empty());
        let (old, new) = (of(&old), of(&new));
        let position = pick % old.weight();
        let node = old.nth(position).unwrap();
        let to = NodeMask::remap_node(node, &old, &new);
        prop_assert_eq!(Some(to), new.nth(position % new.weight()));
        // The whole old set covers min(old, new) nodes of the new one.
        let all = old.remap(&old, &new);
        prop_assert!(all.is_subset(&new));
        prop_assert_eq!(all.weight(), old.weight().min(new.weight()));
        prop_assert_eq!(old.remap(&old, &old), old);
    }

    #[test]
    fn fold_then_onto_lands_in_the_set(user in nodes(), new in nodes()) {
        let (user, new) = (of(&user), of(&new));
        let folded = user.fold(new.weight());
        prop_assert!(folded.iter().all(|n| n.index() < new.weight()));
        let landed = folded.onto(&new);
        prop_assert!(landed.is_subset(&new));
        prop_assert_eq!(landed.weight(), folded.weight());
    }
}
