use proptest::prelude::*;

use super::*;

/// What each release shipped, axis by axis, written down a second time.
const PRESETS: &str = "
v4.9 no-recheck two-step mm-users full-thread stop-machine busy-at-once order0
v4.11 cookie-recheck two-step mm-users full-thread stop-machine busy-at-once order0
v4.13 intersection-recheck one-step-remap-base mm-users full-thread stop-machine busy-at-once order0
v4.14 intersection-recheck one-step-remap-base lock-cycle half unprotected busy-at-once order0
v4.18 intersection-recheck one-step-remap-base reap-in-exit half unprotected drain-each-pass order0
v5.4 intersection-recheck one-step reap-in-exit half unprotected drain-once order0
v5.10 intersection-recheck one-step reap-in-exit half unprotected drain-retry order0
v5.12 intersection-recheck one-step reap-in-exit half unprotected pcp-disable order0
v5.15 intersection-recheck one-step reap-in-exit half unprotected pcp-disable multi-order
v5.17 intersection-recheck one-step write-locked half unprotected pcp-disable multi-order
v6.1 intersection-recheck one-step shared-read half seqlock pcp-disable multi-order-trylock
v6.4 intersection-recheck one-step shared-read fractions seqlock-deferred-printk pcp-disable multi-order-trylock
v6.6 intersection-recheck one-step shared-read fractions seqlock-irqsave pcp-disable multi-order-trylock
v6.12 intersection-recheck one-step shared-read fractions seqlock-irqsave pcp-disable auto-tune
v6.18 recheck-each-retry one-step shared-read fractions seqlock-irqsave pcp-disable auto-tune
v6.19 recheck-each-retry one-step shared-read fractions seqlock-irqsave pcp-disable auto-tune
";

#[test]
fn every_preset_is_what_its_release_shipped() {
    let table: Vec<&str> = PRESETS.trim().lines().collect();
    assert_eq!(table.len(), presets().count());
    for (row, policy) in table.into_iter().zip(presets()) {
        let words: Vec<&str> = row.split(' ').collect();
        assert_eq!(policy.release.word(), words[0]);
        assert_eq!(policy.words().map(|(_, word)| word), words[1..], "{}", words[0]);
    }
}

/// What the axes state, in their own order: `!` shows, `-` excluded, `~` late, `r` residual,
/// `c` counted, `.` nothing stated.
const EXPECTED: &str = "
cpuset J1a-vma !!---
cpuset J1a-task !----
cpuset J1b !!!--
cpuset J1c ccccc
cpuset J1d ccccc
cpuset J1e cccc.
exit J2a !------
exit J2b -c!----
exit J2c ---!---
exit J2d -!-!---
exit J2e ----!!-
exit J2f -----!-
exit J2g ----rrr
exit J2g-exit rrcrrrr
exit J2h rrrrrrr
reserves J3a !!----
reserves J3b --!---
reserves J3b-many -!!---
reserves J3c !-----
reserves J3d ---!-!
reserves J3e cccccc
zonelist J4a !!----
zonelist J4b --!---
zonelist J4c --!---
zonelist J4d -----!
zonelist J4e rrrrrr
zonelist J4f rrrrrr
offline J5a !~!~-
offline J5b !!!!-
offline J5c ...~-
offline J5d .....
offline J5e .....
offline J5f rrrrr
offline J5g ~~~~~
offline J5h ccccc
";

#[test]
fn every_expectation_stands_in_the_tables() {
    let mut families: Vec<&str> = Vec::new();
    for row in EXPECTED.trim().lines() {
        let [axis, family, cells] = row.split(' ').collect::<Vec<_>>()[..] else { panic!("{row}") };
        families.push(family);
        let described = describe().into_iter().find(|a| a.axis.word() == axis).unwrap();
        let found: String = described
            .variants
            .iter()
            .map(|v| match v.expect.iter().find(|(f, _)| f.name() == family) {
                None => '.',
                Some((_, Expect::Shows)) => '!',
                Some((_, Expect::Excluded)) => '-',
                Some((_, Expect::Late)) => '~',
                Some((_, Expect::Residual)) => 'r',
                Some((_, Expect::Counted)) => 'c',
            })
            .collect();
        assert_eq!(found, cells, "{axis} {family}");
    }
    assert_eq!(families, Family::ALL.map(Family::name), "every family has its row");
}

#[test]
fn a_family_belongs_to_one_axis() {
    for policy in presets() {
        for family in Family::ALL {
            let axes = policy
                .infos()
                .into_iter()
                .filter(|(_, info)| info.expect.iter().filter(|(f, _)| *f == family).count() > 0);
            assert!(axes.count() <= 1, "{family}");
        }
    }
    assert_eq!(Policy::mainline().expects(Family::J1b), Some(Expect::Excluded));
    assert_eq!(Policy::preset(Release::V4_11).expects(Family::J1aVma), Some(Expect::Shows));
}

#[test]
fn words_are_one_word_in_three_spellings() {
    fn kebab(camel: &str) -> String {
        let mut out = String::new();
        for c in camel.chars() {
            if c.is_uppercase() && !out.is_empty() {
                out.push('-');
            }
            out.extend(c.to_lowercase());
        }
        out
    }
    fn check<A: Axis>() {
        for variant in A::ALL {
            let word = variant.info().word;
            assert_eq!(kebab(&format!("{variant:?}")), word);
            assert_eq!(A::from_word(word), Some(*variant));
            assert!(!variant.info().summary.is_empty());
        }
    }
    check::<CpusetPolicy>();
    check::<RebindPolicy>();
    check::<ExitPolicy>();
    check::<ReservesPolicy>();
    check::<ZonelistPolicy>();
    check::<OfflinePolicy>();
    check::<PcpPolicy>();
}

#[test]
fn a_variant_that_no_release_shipped_is_no_presets_choice() {
    for axis in describe() {
        for variant in axis.variants {
            let chosen = presets().any(|p| p.word(axis.axis) == variant.word);
            assert_eq!(chosen, !variant.is_extra(), "{} {}", axis.axis, variant.word);
        }
    }
}

#[test]
fn a_spec_names_a_release_and_what_differs() {
    let p = Policy::parse("mainline,exit=mm-users").unwrap();
    assert_eq!((p.release, p.exit), (Release::V6_19, ExitPolicy::MmUsers));
    assert_eq!(p.to_string(), "v6.19,exit=mm-users");
    assert_eq!(Policy::parse("mainline"), Policy::parse("v6.19"));
    let same = Policy::parse(" v6.12 , cpuset = intersection-recheck ").unwrap();
    assert_eq!(same.to_string(), "v6.12", "what the preset says anyway is left out");
}

const RCU: &str = "column 1: no preset `rcu`: choose from v4.9, v4.11, v4.13, v4.14, v4.18, v5.4, \
                   v5.10, v5.12, v5.15, v5.17, v6.1, v6.4, v6.6, v6.12, v6.18, v6.19, mainline";

#[test]
fn a_bad_spec_says_where_and_what_was_meant() {
    fn check(spec: &str, message: &str) {
        assert_eq!(Policy::parse(spec).unwrap_err().to_string(), message, "{spec}");
    }
    check("", "empty variant: name a preset such as mainline or v4.11");
    check("mainlien", "column 1: no preset `mainlien`: did you mean mainline?");
    check("rcu", RCU);
    check("v5.11", "column 1: no preset for `v5.11`: the nearest are v5.10 and v5.12");
    check("v7.0", "column 1: no preset for `v7.0`: the nearest is v6.19");
    check("v4.8", "column 1: no preset for `v4.8`: the nearest is v4.9");
    check("4.11", "column 1: no preset `4.11`: did you mean v4.11?");
    check("6.19", "column 1: no preset `6.19`: did you mean v6.19?");
    check(
        "exit=mm-users",
        "column 1: `exit=mm-users` comes before any preset: write mainline,exit=mm-users",
    );
    check("v4.11,exti=mm-users", "column 7: no axis `exti`: did you mean exit?");
    check(
        "v4.11,exit=mm-user",
        "column 12: axis exit has no variant `mm-user`: did you mean mm-users?",
    );
    check(
        "v4.11, zonelist = rcu",
        "column 19: axis zonelist has no variant `rcu`: choose from stop-machine, unprotected, \
         seqlock, seqlock-deferred-printk, seqlock-irqsave, lockless",
    );
    check(
        "v4.11,swap",
        "column 7: `swap` is no override: write AXIS=VARIANT, such as exit=mm-users",
    );
    check("v4.11,pcp=order0,pcp=order0", "column 18: pcp is set twice");
    check("v4.11,", "column 7: `` is no override: write AXIS=VARIANT, such as exit=mm-users");
}

fn policies() -> impl Strategy<Value = Policy> {
    fn pick<A: Axis>() -> impl Strategy<Value = A> {
        proptest::sample::select(A::ALL)
    }
    let release = proptest::sample::select(Release::ALL.to_vec());
    let axes = (pick(), pick(), pick(), pick(), pick(), pick(), pick());
    (release, axes).prop_map(
        |(release, (cpuset, rebind, exit, reserves, zonelist, offline, pcp))| Policy {
            release,
            cpuset,
            rebind,
            exit,
            reserves,
            zonelist,
            offline,
            pcp,
        },
    )
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same_policy(policy in policies()) {
        prop_assert_eq!(Policy::parse(&policy.to_string()), Ok(policy));
    }

    #[test]
    fn no_spec_makes_the_reader_panic(spec in "\\PC{0,40}") {
        if let Err(error) = Policy::parse(&spec) {
            prop_assert!(!error.to_string().contains('\n') || spec.contains('\n'));
        }
    }
}

#[test]
fn releases_are_in_order_and_have_words() {
    assert!(Release::ALL.is_sorted());
    for release in Release::ALL {
        assert_eq!(Release::from_word(release.word()), Some(release));
        assert_eq!(Release::ALL.iter().filter(|r| r.version() == release.version()).count(), 1);
    }
}
