//! Memory goes offline and comes back under load on real threads, by every variant: each page is
//! accounted for afterwards, whatever failed, was signalled or undone on the way.

use crate::run::{Ran, assert_every_page_is_back};
use allocator::ids::ZoneIdx;
use allocator::machine::{Machine, Zone};
use allocator::oracle::FindingKind;
use allocator::policy::{Axis, OfflinePolicy, Policy, presets};
use allocator::sync::Arc;
use allocator::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use workloads::{Env, OptionValue, Options, Step, TaskSpec};

const BLOCK: u64 = 1024;

/// Two nodes of two CPUs; 8 small memory blocks of each are Movable.
fn machine() -> Machine {
    let mut machine = Machine::uniform(2, 2, 8 * BLOCK);
    machine.block_pages = BLOCK as u32;
    let mut end = machine.max_pfn();
    for node in &mut machine.nodes {
        node.zones.push(Zone::whole(ZoneIdx::Movable, end, 8 * BLOCK));
        end += 8 * BLOCK;
    }
    machine
}

fn options(pinned: f64, timeout_us: u64) -> Options {
    let mut options = Options::default();
    options.set("blocks", OptionValue::Number(2));
    options.set("offline-threads", OptionValue::Number(2));
    options.set("hold", OptionValue::Number(16));
    options.set("pinned-share", OptionValue::Share(pinned));
    options.set("offline-timeout", OptionValue::Number(timeout_us * 1000));
    options
}

/// Workers go on until both offliners have made their steps.
fn run(policy: Policy, options: &Options, offline_steps: u64) -> Ran {
    const WORKERS: u32 = 2;
    const OFFLINERS: u64 = 2;
    let over = Arc::new(AtomicBool::new(false));
    let busy = Arc::new(AtomicU64::new(OFFLINERS));
    let drive = move |n: usize, spec: &mut TaskSpec, env: &mut Env<'_>| {
        let mut steps = 0;
        while !over.load(Ordering::Relaxed) && spec.body.step(env) != Step::Done {
            steps += 1;
            if n >= WORKERS as usize && steps == offline_steps {
                if busy.fetch_sub(1, Ordering::Relaxed) == 1 {
                    over.store(true, Ordering::Relaxed);
                }
                break;
            }
        }
    };
    let ran = crate::run::run("offline-free", machine(), policy, options, WORKERS, drive);
    assert_every_page_is_back(&ran, &policy.to_string());
    for zone in ran.kernel.populated_zones() {
        assert_eq!(zone.nr_isolate_pageblock.load(Ordering::Relaxed), 0, "{policy}");
    }
    ran
}

fn nr(ran: &Ran, kind: FindingKind) -> u64 {
    ran.kernel.findings.nr(kind)
}

/// *Expected*: after more than a thousand cycles altogether, failed and signalled ones among them,
/// each page is where it was, and `pcp-disable` drained once for each.
#[test]
fn every_variant_keeps_every_page_through_many_cycles() {
    let mut cycles = 0.0;
    let mut failed = 0.0;
    for variant in OfflinePolicy::ALL {
        let policy = Policy { offline: *variant, ..Policy::mainline() };
        let ran = run(policy, &options(0.002, 30_000), 330);
        cycles += ran.figure("offlines_done");
        failed += ran.figure("offlines_signalled") + ran.figure("offlines_busy");
        assert!(ran.figure("offlines_done") > 0.0, "{policy}: nothing went offline");
        if *variant == OfflinePolicy::PcpDisable {
            assert_eq!(ran.figure("offline_drains_max"), 1.0);
            assert_eq!(ran.figure("offline_drains_mean"), 1.0);
            assert_eq!(ran.figure("strays_on_pcplists"), 0.0);
            assert_eq!(nr(&ran, FindingKind::StrayPage) + nr(&ran, FindingKind::SpuriousEbusy), 0);
            assert_eq!(nr(&ran, FindingKind::IsolatedHandedOut), 0);
        }
    }
    assert!(cycles > 1_000.0, "{cycles} cycles");
    assert!(failed > 0.0, "no offline failed: nothing was undone");
}

#[test]
fn every_release_keeps_every_page() {
    for policy in presets() {
        let ran = run(policy, &options(0.0, 50_000), 12);
        let tries = ran.figure("offlines_done") + ran.figure("offlines_busy");
        assert!(tries > 0.0, "{policy}");
    }
}

#[test]
fn a_pinned_page_is_tried_again_until_the_signal() {
    // All pages are pinned: no offline of a block in use can end but by the signal.
    let ran = run(Policy::mainline(), &options(1.0, 10_000), 8);
    assert!(ran.figure("offlines_signalled") > 0.0);
    assert!(ran.figure("migrations_failed") > 0.0);
    assert_eq!(ran.figure("offlines_busy"), 0.0, "a pinned page is no error");
}

#[test]
fn what_can_not_work_is_refused_with_the_way_out() {
    let workload = workloads::find("offline-free").unwrap();
    let refuse = |machine: &Machine, name: &'static str, value| {
        let mut options = options(0.0, 1000);
        options.set(name, value);
        workload.check(machine, &Policy::mainline(), &options, 64).unwrap_err().to_string()
    };
    let too_many = refuse(&machine(), "blocks", OptionValue::Number(8));
    assert!(too_many.contains("more than the 16 whole memory blocks"), "{too_many}");
    let none = refuse(&Machine::uniform(1, 1, 4096), "blocks", OptionValue::Number(1));
    assert!(none.contains("more --movable"), "{none}");
    assert!(refuse(&machine(), "hold", OptionValue::Number(4000)).contains("smaller --hold"));
    assert!(refuse(&machine(), "offline-threads", OptionValue::Number(0)).contains("at least 1"));
    assert!(refuse(&machine(), "pinned-share", OptionValue::Share(1.5)).contains("from 0 to 1"));
}
