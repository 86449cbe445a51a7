//! The steady workload on real threads: every pattern ends with every page accounted for.

use allocator::ids::CpuId;
use allocator::kernel::{Kernel, KernelConfig};
use allocator::machine::Machine;
use allocator::policy::{Policy, presets};
use allocator::sync::{self, Arc};
use allocator::task::Cx;
use workloads::{Env, NoRecorder, OptionValue, Options, Step};

fn run(policy: Policy, pattern: &str, threads: u32, steps: u32) {
    let mut options = Options::default();
    options.set("pattern", OptionValue::Text(pattern.to_owned()));
    options.set("order", OptionValue::Number(0));
    options.set("batch", OptionValue::Number(300));
    options.set("fill", OptionValue::Share(0.3));
    let workload = workloads::find("page-alloc").unwrap();
    let machine = Machine::uniform(2, 2, 32768);
    workload.check(&machine, &policy, &options, threads).unwrap();
    let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
    let kernel = Kernel::boot(machine, policy, config).unwrap();
    let before = kernel.census();
    assert_eq!(before.violations, Vec::<String>::new());
    let cx = kernel.kernel_thread("harness", CpuId(0));
    let mut scene = workload.scene(&kernel, &cx, &options, threads, 7).unwrap();
    let handles: Vec<_> = scene
        .tasks()
        .into_iter()
        .map(|mut spec| {
            let kernel = Arc::clone(&kernel);
            sync::spawn("task", move || {
                let mut cx = Cx::new(spec.task, 7);
                let mut recorder = NoRecorder;
                let mut env = Env { kernel: &kernel, cx: &mut cx, recorder: &mut recorder };
                for _ in 0..steps {
                    if spec.body.step(&mut env) == Step::Done {
                        break;
                    }
                }
                spec.body.finish(&mut env);
            })
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
    scene.finish(&kernel, &cx);
    let after = kernel.census();
    assert_eq!(after.violations, Vec::<String>::new(), "{policy} {pattern}");
    assert_eq!((after.allocated, after.frames), (0, before.frames), "{policy} {pattern}");
    assert_eq!(kernel.findings.nr_findings(true), 0);
}

#[test]
fn every_pattern_gives_every_page_back() {
    for pattern in ["repeat", "bulk", "rand-free", "churn", "mixed", "producer-consumer"] {
        run(Policy::mainline(), pattern, 6, 30);
    }
}

#[test]
fn every_release_gives_every_page_back() {
    for policy in presets() {
        run(policy, "mixed", 5, 20);
    }
}
