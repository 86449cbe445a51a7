//! cpuset01 on real threads: no premature OOM in mainline, and every page comes back.

use allocator::ids::{CpuId, Pfn};
use allocator::kernel::{Kernel, KernelConfig};
use allocator::machine::Machine;
use allocator::policy::Policy;
use allocator::sync::{self, Arc};
use allocator::task::Cx;
use workloads::{Env, NoRecorder, OptionValue, Options, Step};

fn run(policy: Policy, binding: &str, threads: u32, steps: u32) -> Arc<Kernel> {
    let mut options = Options::default();
    options.set("policy", OptionValue::Text(binding.to_owned()));
    let workload = workloads::find("cpuset01").unwrap();
    let machine = Machine::uniform(2, 1, 16384);
    workload.check(&machine, &policy, &options, threads).unwrap();
    let config = KernelConfig { kswapd: false, ..KernelConfig::default() };
    let kernel = Kernel::boot(machine, policy, config).unwrap();
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
    kernel.lru_add_drain_all(&cx);
    kernel
}

/// Frames that are still allocated, with their state words.
fn leaked(kernel: &Kernel) -> Vec<String> {
    let mut leaked = Vec::new();
    for range in kernel.managed_ranges.lock().iter() {
        for pfn in range.first.0..range.first.0 + range.pages {
            let state = kernel.frame_state(Pfn(pfn));
            if state.kind() == allocator::frame::FrameKind::Allocated {
                leaked.push(format!("{pfn:#x}: {:#x} refs {}", state.0, state.refs()));
            }
        }
    }
    leaked
}

#[test]
fn every_page_comes_back() {
    for binding in ["task", "vma", "none"] {
        let kernel = run(Policy::mainline(), binding, 5, 2000);
        assert_eq!(kernel.census().violations, Vec::<String>::new(), "{binding}");
        assert_eq!(leaked(&kernel), Vec::<String>::new(), "{binding}");
        assert_eq!(kernel.findings.nr_findings(true), 0, "{binding}");
    }
}
