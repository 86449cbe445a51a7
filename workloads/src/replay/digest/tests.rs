use super::super::event::NO_SLOT;
use super::super::trace::tests::{HEAD, read};
use super::*;

fn digested(body: &str) -> Result<Digest, String> {
    let text = format!("{HEAD}{body}0 0t 9 M SNAP1 begin\n");
    let trace = read(&text).unwrap();
    let state = Snapshot::default();
    let evidence = Evidence::of(&trace, &state, 0x1_0000, 2);
    digest(&trace, &state, &evidence, 0x1_0000, 2, false).map_err(|e| e.to_string())
}

/// What is fed, as `op pfn` words.
fn fed(body: &str) -> Vec<String> {
    let digest = digested(body).unwrap();
    digest.events.iter().map(|e| format!("{:?} {:x}", e.op, e.pfn)).collect()
}

#[test]
fn a_free_names_its_allocation_whatever_the_frame() {
    let digest = digested(
        "0 0t 1 A 10 0 1 8\n0 1t 1 F 10 0\n0 1t 1 A 10 0 1 8\n0 1t 1 F 10 0\n0 0t 1 F 20 0\n",
    );
    let slots: Vec<u32> = digest.unwrap().events.iter().map(|e| e.slot).collect();
    assert_eq!(slots, [0, 0, 1, 1, NO_SLOT]);
}

#[test]
fn a_page_freed_from_a_pcplist_was_taken_by_the_bulk_allocator() {
    let words = fed("0 0t 1 Z 10 0 1 1\n0 0t 1 F 10 0\n");
    assert_eq!(words, ["Take 10", "Bulk 10", "Free 10"]);
}

#[test]
fn a_page_above_an_allocated_one_has_left_before_it() {
    let words = fed("0 0t 1 Z 10 0 0 1\n0 0t 1 Z 11 0 0 1\n0 0t 1 A 11 0 0 8\n");
    assert_eq!(words, ["Take 10", "Take 11", "Bulk 10", "Alloc 11"]);
}

#[test]
fn what_was_guessed_too_early_is_taken_back() {
    let body = "0 0t 1 Z 10 0 0 1\n0 0t 1 Z 11 0 0 1\n0 0t 1 A 11 0 0 8\n0 0t 1 A 10 0 0 8\n";
    assert_eq!(fed(body), ["Take 10", "Take 11", "Nop 10", "Alloc 11", "Alloc 10"]);
}

#[test]
fn a_page_of_a_batch_enters_its_list_at_its_b() {
    // The softirq's page lies below those of the batch that it interrupted.
    let body = "0 0t 1 A 10 0 1 8\n0 0t 1 A 11 0 1 8\n0 0t 1 F 10 0\n0 0s 1 F 11 0\n0 0t 1 B 10\n0 0t 1 A 10 0 1 8\n";
    let words = fed(body);
    assert_eq!(words[4], "Alloc 10", "{words:?}");
}

#[test]
fn a_page_that_leaves_the_free_lists_undrained_went_straight_there() {
    let body = "0 0t 1 A 10 0 1 8\n0 0s 1 F 10 0\n0 0t 1 Z 10 0 1 1\n";
    assert_eq!(fed(body), ["Alloc 10", "FreeStraight 10", "Take 10"]);
}

#[test]
fn a_block_may_be_freed_in_parts() {
    let digest = digested("0 0t 1 A 10 2 1 8\n0 0t 1 F 12 0\n0 0t 1 F 10 1\n").unwrap();
    let words: Vec<_> = digest.events.iter().map(|e| (e.op, e.pfn, e.order)).collect();
    let expected =
        [(Op::Alloc, 0x10, 2), (Op::Split, 0x10, 2), (Op::FreePart, 2, 0), (Op::FreePart, 0, 1)];
    assert_eq!(words, expected);
}

#[test]
fn records_that_can_not_be_are_refused_with_their_line() {
    for (body, reason) in [
        ("0 0t 1 A 10 0 1 8\n0 0t 1 A 10 0 1 8\n", "line 5: A of pfn 10, which is allocated"),
        ("0 0t 1 A 10 0 1 8\n0 0t 1 D 10 0 1\n", "line 5: D of pfn 10, which is allocated"),
        ("0 0t 1 A 10 0 1 8\n0 0t 1 Z 10 0 1 1\n", "line 5: Z of pfn 10, which is allocated"),
        (
            "0 0t 1 F 10 0\n0 1t 1 A 10 0 1 8\n",
            "line 5: A of pfn 10, which lies on another CPU's pcplist",
        ),
    ] {
        let error = digested(body).unwrap_err();
        assert!(error.starts_with(reason), "{error}");
    }
}

#[test]
fn each_cpus_vmstat_worker_runs_every_second() {
    let digest = digested("2000000000 0t 1 F 10 0\n500000000 1t 1 F 11 0\n").unwrap();
    let decays: Vec<u16> =
        digest.events.iter().filter(|e| e.op == Op::Decay).map(|e| e.cpu.0).collect();
    // None was seen to drain: half a second after the start, on both CPUs.
    assert_eq!(decays, [0, 0, 1, 1, 0, 1]);
}

#[test]
fn figures_count_batches_as_runs_on_one_cpu() {
    let body = "0 0t 1 Z 10 0 1 1\n0 1t 2 Z 20 0 1 1\n0 0t 1 Z 11 0 1 1\n0 0t 1 A 10 0 1 8\n0 1t 2 A 20 0 1 8\n0 0t 1 F 10 0\n0 0t 1 D 11 0 1\n";
    let figures = digested(body).unwrap().figures;
    assert_eq!(figures.refills.into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    assert_eq!(figures.drains.into_iter().collect::<Vec<_>>(), [(1, 1)]);
    assert_eq!((figures.taken_0, figures.allocs[0], figures.frees[0]), (3, 2, 1));
    assert_eq!((figures.matched, figures.served_by_pcp), (1, 2));
}

#[test]
fn a_free_inside_a_section_that_an_interrupt_broke_into_goes_straight() {
    // Between the refill and the request that it serves; then outside of any section.
    let body = "0 0t 1 A 10 0 1 8\n0 0t 1 A 11 0 1 8\n0 0t 1 Z 20 0 1 1\n0 0s 1 F 10 0\n0 0t 1 A 20 0 1 8\n0 0s 1 F 11 0\n0 0t 1 A 30 0 1 8\n";
    let words = fed(body);
    assert_eq!(words[3..=5], ["FreeStraight 10", "Alloc 20", "Free 11"]);
}

#[test]
fn a_free_that_only_seemed_to_go_straight_is_taken_back() {
    let body = "0 0t 1 A 10 0 1 8\n0 0t 1 Z 20 0 1 1\n0 0s 1 F 10 0\n0 0t 1 A 20 0 1 8\n0 0t 1 A 10 0 1 8\n";
    assert_eq!(fed(body)[2], "Free 10");
    let body =
        "0 0t 1 A 10 0 1 8\n0 0t 1 Z 20 0 1 1\n0 0s 1 F 10 0\n0 0t 1 A 20 0 1 8\n0 0t 1 F 10 0\n";
    assert_eq!(fed(body)[2..], ["Free 10", "Alloc 20", "Bulk 10", "Free 10"]);
}

#[test]
fn what_an_untraced_task_freed_is_fed_when_the_frame_is_heard_of_again() {
    // Allocated again, drained, taken off the free lists, and freed in a larger block.
    let body = "0 0t 1 A 10 0 1 8\n0 0t 2 U 75 9\n0 0t 1 A 10 0 1 8\n";
    assert_eq!(fed(body), ["Alloc 10", "Free 10", "Alloc 10"]);
    let body = "0 0t 1 A 10 0 1 8\n0 1t 2 U 75 9\n0 0t 1 F 20 0\n0 0t 1 D 10 0 1\n";
    assert_eq!(fed(body), ["Alloc 10", "Free 20", "Free 10", "Drain 10"]);
    let body = "0 0t 1 A 10 1 1 8\n0 1t 2 U 75 9\n0 0t 1 Z 11 0 1 1\n";
    assert_eq!(fed(body), ["Alloc 10", "FreeStraight 10", "Take 11"]);
    let body = "0 0t 1 A 10 1 1 8\n0 0t 1 F 10 0\n0 1t 2 U 75 9\n0 0t 1 Z 11 0 1 1\n";
    assert_eq!(fed(body), ["Alloc 10", "Split 10", "FreePart 0", "FreePart 1", "Take 11"]);
    let digest = digested(body).unwrap();
    assert_eq!((digest.puzzles.untraced_frees, digest.puzzles.contradictions), (1, 0));
}

#[test]
fn what_an_untraced_task_took_shows_when_another_one_gets_or_frees_it() {
    let body = "0 0t 1 A 10 0 1 8\n0 0t 1 F 10 0\n0 0t 1 D 10 0 1\n0 0t 2 U 75 9\n";
    let then = |record: &str| fed(&format!("{body}{record}\n"))[3..].to_vec();
    assert_eq!(then("0 0t 1 A 10 0 1 8"), ["Take 10", "Alloc 10"]);
    assert_eq!(then("0 0t 1 F 10 0"), ["Take 10", "Bulk 10", "Free 10"]);
    let body = "0 0t 1 A 10 0 1 8\n0 0t 1 F 10 0\n0 0t 2 U 75 9\n0 1t 1 A 10 0 1 8\n";
    assert_eq!(fed(body), ["Alloc 10", "Free 10", "Bulk 10", "Free 10", "Alloc 10"]);
}

#[test]
fn an_untraced_task_explains_nothing_before_or_elsewhere() {
    for body in [
        "0 0t 2 U 75 9\n0 0t 1 A 10 0 1 8\n0 0t 1 A 10 0 1 8\n",
        "0 0t 1 A 10 0 1 8\n0 1t 2 U 75 9\n0 0t 1 A 10 0 1 8\n",
    ] {
        let error = digested(body).unwrap_err();
        assert!(error.starts_with("line 6: A of pfn 10, which is allocated"), "{error}");
    }
}
