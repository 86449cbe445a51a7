//! Rounds of a workload that exists for tests only: what happens to what its tasks do.

use std::time::Duration;

use allocator::gfp::Gfp;
use allocator::ids::{CpuId, NodeId};
use allocator::machine::Machine;
use allocator::oracle::FindingKind;
use allocator::page_alloc::Nodemask;
use allocator::policy::Policy;
use allocator::run::kernel::Kernel;
use allocator::run::task::Cx;
use allocator::sync::Arc;
use clap::Parser;
use results::schema::Run;
use results::text::PERCENTILES;
use workloads::{
    Env, Info, Movable, Options, Scene, Step, TaskBody, TaskSpec, Workload, WorkloadError,
};

use super::phases::{End, Show, Status};
use super::rounds::{self, Session};
use super::signals::Signals;
use crate::cli::exit::{Exit, Stop};
use crate::plan::Plan;
use crate::record::clock::Cost;
use crate::record::document::{self, Heading};

/// What the tasks of a test do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Take a page and give it back.
    Work,
    /// Three steps each, then no more.
    Three,
    /// Take a page and forget it.
    Leak,
    /// The second task waits until the round is aborted.
    Hang,
    /// The second task never comes back.
    Wedge,
    /// Report a finding at the fifth step.
    Find,
    /// As `Find`, and no more after the tenth step.
    FindAndEnd,
    /// As `Find`, but "no killable processes".
    Die,
}

#[derive(Clone, Copy, Debug)]
struct Test(What);

const INFO: Info = Info {
    name: "test",
    about: "for tests",
    axes: &[],
    primary: &[],
    ops: &["fault", "unmap"],
    options: &[],
    nodes: 1,
    movable: Movable::None,
    memory_per_node: None,
};

impl Workload for Test {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn check(
        &self,
        _machine: &Machine,
        _policy: &Policy,
        _options: &Options,
        _threads: u32,
    ) -> Result<(), WorkloadError> {
        Ok(())
    }

    fn scene(
        &self,
        kernel: &Arc<Kernel>,
        _cx: &Cx,
        _options: &Options,
        threads: u32,
        _seed: u64,
    ) -> Result<Box<dyn Scene>, WorkloadError> {
        let process = kernel.new_process("test", 0);
        let cpus = kernel.cpus.len() as u32;
        let task = |n: u32| TaskSpec {
            task: kernel.new_task(&process, CpuId((n % cpus) as u16), 0),
            body: Box::new(Body { what: self.0, number: n, steps: 0 }),
        };
        Ok(Box::new(TestScene((0..threads).map(task).collect())))
    }
}

struct TestScene(Vec<TaskSpec>);

impl Scene for TestScene {
    fn tasks(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.0)
    }

    fn figures(&self) -> Vec<(&'static str, f64, &'static str)> {
        vec![("scenes", 1.0, "")]
    }

    fn finish(&mut self, _kernel: &Arc<Kernel>, _cx: &Cx) {}
}

struct Body {
    what: What,
    number: u32,
    steps: u32,
}

impl TaskBody for Body {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        self.steps += 1;
        let second = self.number == 1;
        match self.what {
            What::Hang if second => {
                while !env.kernel.clock.is_aborted() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            What::Wedge if second => loop {
                std::thread::park();
            },
            What::Find | What::FindAndEnd if self.steps == 5 => {
                let kind = FindingKind::PrematureOom;
                env.kernel.find(env.cx, kind, "test finds one", &["a line".to_owned()]);
            }
            What::Die if self.steps == 5 => {
                env.kernel.find(env.cx, FindingKind::Panic, "no killable processes", &[]);
            }
            What::Work
            | What::Three
            | What::Leak
            | What::Hang
            | What::Wedge
            | What::Find
            | What::FindAndEnd
            | What::Die => {}
        }
        let start = env.recorder.now();
        let gfp = Gfp::HIGHUSER_MOVABLE;
        let page = env.kernel.alloc_pages(env.cx, gfp, 0, NodeId(0), Nodemask::None);
        env.recorder.record(0, start);
        if let Some(pfn) = page
            && self.what != What::Leak
        {
            env.kernel.free_pages(env.cx, pfn, 0);
        }
        let is_through = self.what == What::Three && self.steps == 3
            || matches!(self.what, What::Leak | What::FindAndEnd) && self.steps == 10;
        if is_through { Step::Done } else { Step::Continue }
    }

    fn finish(&mut self, _env: &mut Env<'_>) {}
}

/// When a pretended signal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// While it warms up.
    WarmUp,
    /// Once something has been measured.
    Measured,
}

/// Sends a pretended signal when its time has come.
struct Silent {
    signals: Signals,
    cut: Option<(At, i32)>,
}

impl Show for Silent {
    fn status(&mut self, status: &Status<'_>) {
        let measured = status.primary.is_some_and(|(histogram, _)| histogram.count() > 0);
        match self.cut {
            Some((At::Measured, signal)) if measured => self.signals.pretend(signal),
            Some((At::WarmUp, signal)) if status.warms_up => self.signals.pretend(signal),
            Some(_) | None => {}
        }
    }

    fn wants_figures(&self) -> bool {
        true
    }

    fn ask_line(&mut self) {}
}

fn plan(what: What, args: &[&str]) -> Plan {
    let base =
        ["stress", "test", "--machine", "synthetic:numa:1(memory=64MiB) pu:2", "--seed", "7"];
    let quick = ["--warmup", "20ms", "--threads", "3"];
    let args = base.iter().chain(&quick).chain(args);
    let cli = crate::cli::Cli::try_parse_from(args).unwrap();
    let workload: &'static dyn Workload = Box::leak(Box::new(Test(what)));
    Plan::new(workload, &cli.run).unwrap()
}

fn run_with(plan: &Plan, cut: Option<(At, i32)>) -> Session {
    let signals = Signals::default();
    let mut show = Silent { signals: signals.clone(), cut };
    let mut saved = 0;
    let session = rounds::run(plan, &signals, &mut show, |_| {
        saved += 1;
        Ok::<(), Stop>(())
    });
    let session = session.unwrap();
    assert_eq!(saved, session.rounds.len(), "the record is kept after each round");
    session
}

fn heading(allow_findings: bool) -> Heading {
    Heading {
        session: "20261121T052607-0000000000000007".to_owned(),
        started: std::time::UNIX_EPOCH,
        command_line: ["stress", "test", "--variant=v4.11", "--seed", "9"]
            .map(str::to_owned)
            .to_vec(),
        host: results::schema::Host::default(),
        clock: Cost { is_tsc: true, step_ns: 0.5, read_ns: 12.0, record_ns: 40.0 },
        allow_findings,
    }
}

fn runs(plan: &Plan, session: &Session) -> Vec<Run> {
    let runs = document::runs(plan, session, &heading(false));
    for run in &runs {
        let text = results::store::to_json(run);
        let back = results::store::parse(text.as_bytes(), "test".as_ref()).unwrap();
        assert_eq!(back, std::slice::from_ref(run), "every record is read back as it was");
    }
    runs
}

#[test]
fn a_round_measures_what_its_tasks_do_and_counts_each_page() {
    let plan = plan(What::Work, &["--ops", "5k"]);
    let session = run_with(&plan, None);
    assert!(!session.is_cut && session.signal.is_none());
    let left = &session.rounds[0];
    assert_eq!(left.end, End::Planned);
    assert_eq!(left.census.violations, [] as [String; 0]);
    assert_eq!(left.census.allocated, 0);
    let run = &runs(&plan, &session)[0];
    assert!(run.ops["fault"].count >= 5_000, "{:?}", run.ops["fault"]);
    assert_eq!(run.ops["fault"].count, run.ops["alloc_fast"].count);
    assert_eq!((run.ops["unmap"].count, run.ops["alloc_slow"].count), (0, 0));
    assert!(run.phases.measured_s > 0.0 && run.phases.warmup_s >= 0.02, "{:?}", run.phases);
    assert_eq!(run.exit, 0);
    assert_eq!(run.figures["scenes"].value, Some(1.0));
    assert!(run.invariants.checked > 10_000 && run.invariants.violated.is_empty());
    assert_eq!(run.machine.cpus, 2);
    assert!(run.machine.zones.iter().all(|z| z.min < z.low && z.low < z.high));
    let hdr = run.ops["fault"].hdr.as_ref().unwrap();
    let histogram = results::histogram::Histogram::decode(hdr, "fault").unwrap();
    assert_eq!(histogram.count() + run.ops["fault"].preempted, run.ops["fault"].count);
    assert!(run.rounds[0].ops["fault"].hdr.is_none());
}

#[test]
fn variants_are_interleaved_with_the_same_seeds() {
    let args = ["--ops", "1k", "--rounds", "2", "--variant", "v4.11", "--variant", "v4.13"];
    let plan = plan(What::Work, &args);
    let session = run_with(&plan, None);
    let runs = runs(&plan, &session);
    let orders = |run: &Run| run.rounds.iter().map(|r| r.order).collect::<Vec<_>>();
    assert_eq!((orders(&runs[0]), orders(&runs[1])), (vec![0, 3], vec![1, 2]));
    assert_eq!(runs[0].session, runs[1].session);
    assert_ne!(runs[0].run_id, runs[1].run_id);
    assert_eq!(runs[0].variant.axes["cpuset"], "cookie-recheck");
    assert_eq!(runs[1].variant.axes["cpuset"], "intersection-recheck");
    let options = results::compare::Options { seed: 1, ..Default::default() };
    let comparison = results::compare::compare_runs(&[&runs[0]], &[&runs[1]], &options).unwrap();
    assert!(comparison.interleaved);
    assert_eq!(comparison.pairs, 2);
    let text = crate::show::summary::text(&runs, &[comparison], None, &PERCENTILES);
    assert!(text.contains("v4.11") && text.contains("v4.13") && text.contains("fault"), "{text}");
}

#[test]
fn time_ends_a_round_and_so_do_tasks_that_are_through() {
    let plan_time = plan(What::Work, &["--duration", "50ms"]);
    let session = run_with(&plan_time, None);
    assert_eq!(session.rounds[0].end, End::Planned);
    assert_eq!(runs(&plan_time, &session)[0].phases.measured_s, 0.05);

    let plan = plan(What::Three, &["--duration", "1h", "--warmup", "0"]);
    let session = run_with(&plan, None);
    assert_eq!(session.rounds[0].end, End::AllDone);
    assert!(session.rounds[0].end.is_complete());
    assert_eq!(runs(&plan, &session)[0].ops["fault"].count, 9);
}

#[test]
fn a_suspect_gate_asks_for_more_rounds_and_they_go_on_where_the_others_ended() {
    let args = ["--ops", "1k", "--rounds", "6", "--variant", "v4.11", "--variant", "v4.13"];
    let mut plan = plan(What::Work, &[&args[..], &["--fail-on", "fault.mean>5%"]].concat());
    let mut session = run_with(&plan, None);
    let mut runs = runs(&plan, &session);
    let gates = ["fault.mean>5%".parse().unwrap()];
    let mut suspect = |new: [f64; 2]| {
        for (side, means) in [(0, [100.0, 100.0]), (1, new)] {
            for (round, mean) in runs[side].rounds.iter_mut().zip(means.into_iter().cycle()) {
                round.ops["fault"].latency_ns.as_mut().unwrap().mean = mean;
            }
        }
        crate::cli::run::suspect(&runs, &gates, &plan).unwrap()
    };
    assert_eq!(suspect([90.0, 130.0]).as_deref(), Some("fault.mean>5% (fault.mean_ns)"));
    assert_eq!(suspect([130.0, 130.0]), None, "it fails, and more rounds would not change it");
    assert_eq!(suspect([101.0, 103.0]), None, "it holds");

    plan.rounds += 2;
    let signals = Signals::default();
    let mut show = Silent { signals: signals.clone(), cut: None };
    rounds::go_on(&plan, &mut session, &signals, &mut show, |_| Ok(())).unwrap();
    let turns: Vec<(usize, u32, u32)> =
        session.rounds.iter().map(|r| (r.turn.variant, r.turn.round, r.order)).collect();
    assert_eq!(turns[12..], [(0, 6, 12), (1, 6, 13), (1, 7, 14), (0, 7, 15)]);
    let starts: Vec<f64> = session.rounds.iter().map(|r| r.start_s).collect();
    assert!(starts.is_sorted(), "one session: {starts:?}");
}

#[test]
fn a_signal_leaves_a_partial_record_that_says_so() {
    let mut plan = plan(What::Work, &["--duration", "1h", "--rounds", "3"]);
    plan.interval = Some(Duration::from_millis(1));
    let session = run_with(&plan, Some((At::Measured, 2)));
    assert_eq!(session.signal, Some(Exit::Interrupted));
    assert_eq!(session.rounds.len(), 1);
    let run = &runs(&plan, &session)[0];
    assert!(run.interrupted && !run.rounds[0].complete);
    assert_eq!((run.exit, run.planned_rounds), (130, 3));
    assert!(run.ops["fault"].count > 0, "what was measured is there");
    let text = crate::show::summary::text(std::slice::from_ref(run), &[], None, &PERCENTILES);
    assert!(text.starts_with("INTERRUPTED after 0 of 3 rounds"), "{text}");

    let session = run_with(&plan, Some((At::WarmUp, 15)));
    let run = &runs(&plan, &session)[0];
    assert_eq!((session.signal, run.exit), (Some(Exit::Terminated), 143));
    assert_eq!(run.phases.measured_s, 0.0, "it never came to measuring");
}

#[test]
fn a_lost_page_is_a_finding() {
    let plan = plan(What::Leak, &["--duration", "1h", "--warmup", "0"]);
    let session = run_with(&plan, None);
    assert_eq!(session.rounds[0].census.allocated, 30);
    let run = &runs(&plan, &session)[0];
    assert_eq!((run.exit, run.findings[0].kind.as_str()), (1, "conservation"));
    assert_eq!(run.invariants.violated[0].name, "conservation");
    assert_eq!(run.invariants.violated[0].finding, Some(1));
    let text = crate::show::summary::text(std::slice::from_ref(run), &[], None, &PERCENTILES);
    assert!(text.contains("INVARIANT VIOLATED"), "{text}");
}

#[test]
fn findings_decide_the_exit_code_unless_they_are_allowed() {
    let plan_all = plan(What::FindAndEnd, &["--duration", "1h", "--warmup", "0"]);
    let session = run_with(&plan_all, None);
    let run = &runs(&plan_all, &session)[0];
    assert_eq!((run.exit, run.oom.premature.definite), (1, 3));
    assert_eq!(run.findings[0].kind, "premature-oom");
    assert!(run.rounds[0].first_finding_s.is_some_and(|s| s < 10.0));
    assert_eq!(run.rounds[0].oom.findings.len(), 3);
    let again = run.findings[0].replay.as_deref().unwrap();
    assert_eq!(again, "stress test --variant mainline --seed 0x7");
    assert_eq!(document::runs(&plan_all, &session, &heading(true))[0].exit, 0);
    let mail = crate::show::finding::text(run, &run.findings[0]);
    assert!(mail.starts_with("FINDING 1  premature OOM (definite)") && mail.contains("a line"));

    let plan = plan(What::Find, &["--duration", "1h", "--stop-on-finding", "--rounds", "5"]);
    let session = run_with(&plan, None);
    assert_eq!((session.rounds.len(), session.rounds[0].end), (1, End::Finding));
    let run = &runs(&plan, &session)[0];
    assert!(run.interrupted && run.exit == 1);
}

#[test]
fn no_killable_processes_ends_the_round_and_not_the_run() {
    let plan = plan(What::Die, &["--duration", "1h", "--rounds", "2"]);
    let session = run_with(&plan, None);
    let ends: Vec<End> = session.rounds.iter().map(|r| r.end).collect();
    assert_eq!(ends, [End::Panic, End::Panic]);
    let run = &runs(&plan, &session)[0];
    assert!(!run.interrupted && run.exit == 1);
    assert_eq!(run.whole_rounds().count(), 0, "such a round is no sample");
}

#[test]
fn a_hang_is_a_finding_and_the_round_ends() {
    let mut plan = plan(What::Hang, &["--duration", "1h", "--warmup", "0"]);
    plan.lockup = Some(super::watchdog::Limits {
        all: Duration::from_millis(600),
        one: Duration::from_millis(600),
    });
    let session = run_with(&plan, None);
    assert_eq!(session.rounds[0].end, End::Lockup);
    assert!(!session.rounds[0].is_wedged);
    assert_eq!(session.rounds[0].census.violations, [] as [String; 0]);
    let run = &runs(&plan, &session)[0];
    assert_eq!(run.findings[0].kind, "lockup");
    assert!(run.findings[0].title.contains("1 of 3 tasks"), "{}", run.findings[0].title);
    assert!(run.findings[0].report.contains("never entered a slow path"));
}

#[test]
fn a_thread_that_never_ends_is_given_up() {
    let mut plan = plan(What::Wedge, &["--duration", "1h", "--warmup", "0", "--rounds", "3"]);
    let quick = Duration::from_millis(600);
    plan.lockup = Some(super::watchdog::Limits { all: quick, one: quick });
    plan.patience = super::phases::Patience { finish: quick, give_up: quick };
    let session = run_with(&plan, None);
    assert!(session.is_cut && session.rounds[0].is_wedged);
    assert_eq!(session.rounds.len(), 1);
    let run = &runs(&plan, &session)[0];
    assert!(run.interrupted && run.exit == 1);
    assert_eq!(run.invariants.checked, 0, "nobody could count");
}
