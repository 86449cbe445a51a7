//! mbind-churn on real threads: every page comes back, nothing lands where its policy forbids it, and
//! every call that it is about happens.

use allocator::ids::CpuId;
use allocator::kernel::{Kernel, KernelConfig};
use allocator::machine::Machine;
use allocator::oracle::FindingKind;
use allocator::policy::{Policy, presets};
use allocator::sync::{self, Arc};
use allocator::task::Cx;
use workloads::{Env, NoRecorder, OptionValue, Options, Step};

fn options(sharing: u64, migrate: bool) -> Options {
    let mut options = Options::default();
    options.set("sharing", OptionValue::Number(sharing));
    options.set("area", OptionValue::Number(256));
    options.set("bind-share", OptionValue::Share(0.25));
    options.set("memory-migrate", OptionValue::Flag(migrate));
    options
}

/// Runs some threads for some steps; the kernel at the end, and the figures.
fn run(policy: Policy, options: &Options, steps: u32) -> (Arc<Kernel>, Vec<(&'static str, f64)>) {
    let workload = workloads::find("mbind-churn").unwrap();
    let machine = Machine::uniform(2, 1, 16384);
    workload.check(&machine, &policy, options, 5).unwrap();
    let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
    let kernel = Kernel::boot(machine, policy, config).unwrap();
    let cx = kernel.kernel_thread("harness", CpuId(0));
    let mut scene = workload.scene(&kernel, &cx, options, 5, 7).unwrap();
    let start = |(mut spec, n): (workloads::TaskSpec, u64)| {
        let kernel = Arc::clone(&kernel);
        sync::spawn("task", move || {
            let mut cx = Cx::new(spec.task, 7 + n);
            let mut recorder = NoRecorder;
            let mut env = Env { kernel: &kernel, cx: &mut cx, recorder: &mut recorder };
            for _ in 0..steps {
                if spec.body.step(&mut env) == Step::Done {
                    break;
                }
            }
            spec.body.finish(&mut env);
        })
    };
    let tasks: Vec<_> = scene.tasks().into_iter().zip(0..).map(start).collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    let figures = scene.figures().into_iter().map(|(name, value, _)| (name, value)).collect();
    scene.finish(&kernel, &cx);
    kernel.lru_add_drain_all(&cx);
    (kernel, figures)
}

#[test]
fn every_page_comes_back_and_no_page_is_misplaced() {
    for policy in presets().chain([Policy::parse("mainline,cpuset=swap").unwrap()]) {
        for (sharing, migrate) in [(1, false), (4, true)] {
            let (kernel, _) = run(policy, &options(sharing, migrate), 400);
            assert_eq!(kernel.census().violations, Vec::<String>::new(), "{policy}");
            assert_eq!(kernel.findings.nr(FindingKind::MisplacedPage), 0, "{policy}");
        }
    }
}

#[test]
fn mainline_kills_nobody_and_all_calls_are_made() {
    let (kernel, figures) = run(Policy::mainline(), &options(2, false), 3_000);
    assert_eq!(kernel.findings.nr_findings(true), 0);
    let figure = |name: &str| figures.iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(figure("tasks_killed"), 0.0);
    for made in ["mems_writes", "vmas_mean", "mbind_eio", "mbind_einval"] {
        assert!(figure(made) > 0.0, "{made}: {figures:?}");
    }
    assert!(figure("vmas_most") > 10.0, "areas split: {figures:?}");
    assert_eq!(figure("mbind_eperm"), 0.0, "nobody asks for MOVE_ALL");
}

#[test]
fn options_that_dont_fit_are_refused() {
    let workload = workloads::find("mbind-churn").unwrap();
    let machine = Machine::uniform(2, 1, 16384);
    let refused = |options: &Options, threads, words: &str| {
        let error = workload.check(&machine, &Policy::mainline(), options, threads).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(&options(4, false), 1, "--threads 2 or more");
    refused(&options(0, false), 4, "--sharing 0");
    refused(&options(1, false), 64, "take a smaller --area");
}
