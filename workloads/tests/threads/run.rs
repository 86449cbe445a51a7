//! Runs a scene's tasks on threads of their own, without the harness.

use allocator::ids::CpuId;
use allocator::machine::Machine;
use allocator::policy::Policy;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;
use allocator::sync::{self, Arc};
use workloads::{Env, NoRecorder, Options, Step, TaskSpec};

const SEED: u64 = 7;

/// A run that has ended: every task has finished, and so has the scene.
pub(crate) struct Ran {
    pub(crate) kernel: Arc<Kernel>,
    /// Frames in use before the scene was made.
    pub(crate) frames_before: u64,
    pub(crate) figures: Vec<(&'static str, f64, &'static str)>,
    pub(crate) remarks: Vec<String>,
}

impl Ran {
    pub(crate) fn figure(&self, name: &str) -> f64 {
        self.figures.iter().find(|f| f.0 == name).unwrap_or_else(|| panic!("no {name}")).1
    }
}

/// What a task's thread does with it: steps until it is done or `n` of them were made.
pub(crate) fn steps(n: u32) -> impl Fn(usize, &mut TaskSpec, &mut Env<'_>) + Clone {
    move |_, spec, env| {
        for _ in 0..n {
            if spec.body.step(env) == Step::Done {
                break;
            }
        }
    }
}

/// Boots a kernel, lets `drive` have each task of the scene (by its place in it) on a thread of its
/// own, and ends the scene.
pub(crate) fn run(
    workload: &str,
    machine: Machine,
    policy: Policy,
    options: &Options,
    threads: u32,
    drive: impl Fn(usize, &mut TaskSpec, &mut Env<'_>) + Clone + Send + 'static,
) -> Ran {
    run_scaled(workload, machine, policy, options, threads, 1.0, drive)
}

/// As [`run`], with the kernel's own waits shorter, and with an oom_reaper.
pub(crate) fn run_scaled(
    workload: &str,
    machine: Machine,
    policy: Policy,
    options: &Options,
    threads: u32,
    time_scale: f64,
    drive: impl Fn(usize, &mut TaskSpec, &mut Env<'_>) + Clone + Send + 'static,
) -> Ran {
    let workload = workloads::find(workload).unwrap();
    workload.check(&machine, &policy, options, threads).unwrap();
    let mut config = KernelConfig { kswapd: false, time_scale, ..KernelConfig::default() };
    workload.configure(&mut config, options);
    let kernel = Kernel::boot(machine, policy, config).unwrap();
    let before = kernel.census();
    assert_eq!(before.violations, Vec::<String>::new());
    let cx = kernel.kernel_thread("harness", CpuId(0));
    let reaper = {
        let kernel = Arc::clone(&kernel);
        sync::spawn("oom_reaper", move || {
            kernel.oom_reaper_main(&kernel.kernel_thread("oom_reaper", CpuId(0)));
        })
    };
    let mut scene = workload.scene(&kernel, &cx, options, threads, SEED).unwrap();
    let handles: Vec<_> = scene
        .tasks()
        .into_iter()
        .enumerate()
        .map(|(n, mut spec)| {
            let (kernel, drive) = (Arc::clone(&kernel), drive.clone());
            sync::spawn("task", move || {
                let mut cx = Cx::new(Arc::clone(&spec.task), SEED);
                let mut recorder = NoRecorder;
                let mut env = Env { kernel: &kernel, cx: &mut cx, recorder: &mut recorder };
                drive(n, &mut spec, &mut env);
                spec.body.finish(&mut env);
            })
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
    let (figures, remarks) = (scene.figures(), scene.remarks());
    scene.finish(&kernel, &cx);
    kernel.stop_oom_reaper();
    reaper.join().unwrap();
    kernel.lru_add_drain_all(&cx);
    Ran { kernel, frames_before: before.frames, figures, remarks }
}

/// Nothing is allocated, offline or in two places any more.
pub(crate) fn assert_every_page_is_back(ran: &Ran, what: &str) {
    let after = ran.kernel.census();
    assert_eq!(after.violations, Vec::<String>::new(), "{what}");
    let found = (after.allocated, after.offline, after.frames);
    assert_eq!(found, (0, 0, ran.frames_before), "{what}");
}
