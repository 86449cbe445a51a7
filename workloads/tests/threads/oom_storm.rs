//! Storms on real threads, by every variant of `exit` and `reserves`: whatever was killed, reaped or
//! failed on the way, each page is accounted for afterwards and every thread came back.

use allocator::machine::Machine;
use allocator::oracle::FindingKind;
use allocator::oracle::reserves::ReserveClass;
use allocator::policy::{Axis, ExitPolicy, PcpPolicy, Policy, ReservesPolicy, presets};
use allocator::run::kernel::Kernel;
use allocator::sync::atomic::Ordering;
use allocator::zone::Wmark;
use workloads::{Env, OptionValue, Options, Step, TaskSpec};

use crate::run::{Ran, assert_every_page_is_back, run_scaled};

/// A reader, lmkd, writeback, init and the sampler.
const BESIDE: usize = 5;

/// 64 MiB a node, two CPUs each.
fn machine(nodes: u16) -> Machine {
    Machine::uniform(nodes, 2, 16 * 1024)
}

fn options(constraint: &str) -> Options {
    let mut options = Options::default();
    options.set("constraint", OptionValue::Text(constraint.to_owned()));
    options.set("victim-threads", OptionValue::Text("1-4".to_owned()));
    options.set("syscall-share", OptionValue::Share(0.5));
    options.set("mlocked-share", OptionValue::Share(0.2));
    options.set("exit-share", OptionValue::Share(0.2));
    options.set("mm-readers", OptionValue::Number(1));
    options.set("mrelease", OptionValue::Flag(true));
    options.set("bystanders", OptionValue::Number(8));
    options
}

fn kills(kernel: &Kernel) -> u64 {
    kernel.cpus.iter().map(|cpu| cpu.vm.oom_kill.load(Ordering::Relaxed)).sum()
}

/// A storm of so many kills, or until it is aborted; the kernel's own waits run 20 times as fast.
fn storm(machine: Machine, policy: Policy, options: &Options, wanted: u64) -> Ran {
    let until_killed = move |_, spec: &mut TaskSpec, env: &mut Env<'_>| {
        while kills(env.kernel) < wanted && spec.body.step(env) != Step::Done {}
    };
    let ran = run_scaled("oom-storm", machine, policy, options, 8, 20.0, until_killed);
    assert_every_page_is_back(&ran, &policy.to_string());
    let kernel = &ran.kernel;
    assert_eq!(kernel.oom.victims.load(Ordering::Relaxed), 0, "{policy}: a marked thread is left");
    assert_eq!(kernel.tasks.nr_threads(), BESIDE, "{policy}: the storm's threads are gone");
    ran
}

fn found(ran: &Ran, kind: FindingKind) -> u64 {
    ran.kernel.findings.nr(kind)
}

fn all_variants() -> impl Iterator<Item = Policy> {
    let exits = ExitPolicy::ALL.iter().map(|exit| Policy { exit: *exit, ..Policy::mainline() });
    let reserves = ReservesPolicy::ALL
        .iter()
        .map(|reserves| Policy { reserves: *reserves, ..Policy::mainline() });
    exits.chain(reserves).chain(presets())
}

#[test]
fn every_variant_keeps_every_page_and_loses_no_thread() {
    for (policy, constraint) in all_variants().zip(["none", "cpuset", "mempolicy"].iter().cycle()) {
        let ran = storm(machine(2), policy, &options(constraint), 12);
        assert!(ran.figure("processes_killed") + ran.figure("bystanders_killed") > 0.0, "{policy}");
        assert_eq!(found(&ran, FindingKind::Reserve), 0, "{policy}");
    }
}

/// *Expected*: victims of `half` stop at half of min, give or take what the kernel's own unlocked check
/// allows; `full-group` goes below a quarter. Processes of many threads in long calls dig deepest.
#[test]
fn victims_dig_as_deep_as_they_may() {
    let mut options = options("none");
    options.set("victim-threads", OptionValue::Text("4".to_owned()));
    options.set("syscall-share", OptionValue::Share(1.0));
    options.set("syscall-size", OptionValue::Number(16 << 20));
    let machine = Machine::uniform(1, 2, 64 * 1024);
    let share = |reserves, kills| {
        let policy = Policy { reserves, pcp: PcpPolicy::Order0, ..Policy::mainline() };
        let ran = storm(machine.clone(), policy, &options, kills);
        let zone = ran.kernel.populated_zones().next().unwrap();
        let min = zone.wmark_unboosted(Wmark::Min);
        let slack = ran.kernel.reserve_slack(zone, 0);
        assert!(slack < min / 8, "the slack of {slack} pages would hide what is looked for");
        assert_eq!(found(&ran, FindingKind::Reserve), 0);
        let depth = ran.kernel.reserve_oracle.depth(zone, ReserveClass::Victim);
        (depth.map_or(min, |d| d.free_pages), min, slack)
    };
    let (free, min, slack) = share(ReservesPolicy::Half, 40);
    assert!(free + slack >= min / 2, "{free} of {min}");
    // How deep they get hangs on who is in a call when: the storm goes on until it has shown.
    let deepest =
        (0..20).map(|_| share(ReservesPolicy::FullGroup, 10)).find(|(f, m, _)| f * 4 < *m);
    assert!(deepest.is_some(), "full-group never went below a quarter of min");
}

#[test]
fn what_can_not_work_is_refused_with_the_way_out() {
    let workload = workloads::find("oom-storm").unwrap();
    let refuse = |nodes, constraint, name, value, threads| {
        let mut options = options(constraint);
        options.set(name, value);
        let error = workload.check(&machine(nodes), &Policy::mainline(), &options, threads);
        error.unwrap_err().to_string()
    };
    let number = OptionValue::Number;
    let one = refuse(1, "cpuset", "bystanders", number(0), 8);
    assert!(one.contains("--fake-numa 2"), "{one}");
    assert!(refuse(1, "none", "bystanders", number(0), 1).contains("--threads 2"));
    assert!(refuse(1, "none", "victim-size", number(1 << 40), 8).contains("64 MiB"));
    assert!(refuse(1, "none", "syscall-size", number(1 << 30), 8).contains("a quarter"));
    let share = OptionValue::Share(1.5);
    assert!(refuse(1, "none", "mlocked-share", share, 8).contains("from 0 to 1"));
    for text in ["0", "8-2", "x", ""] {
        let text = OptionValue::Text(text.to_owned());
        assert!(refuse(1, "none", "victim-threads", text, 8).contains("1-64"));
    }
}
