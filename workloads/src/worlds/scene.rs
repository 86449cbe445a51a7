//! A workload's own tasks as a world: a few threads, a few steps each, on a small machine.
//!
//! **Why.** The smallest worlds are made for the races that are known; a workload's tasks may meet
//! in ways that nobody has thought of. Too large for an exhaustive search beyond a preemption or
//! two: sample them.
//!
//! **Smaller than life**: a machine of two nodes of 8 MiB with a CPU each, and a memory block of
//! Movable where the workload needs one; no thread is held at a race point, since the scheduler
//! decides that.

use allocator::ids::ZoneIdx;
use allocator::machine::{Machine, Zone};
use allocator::policy::Policy;
use allocator::race::Point;
use allocator::run::kernel::Kernel;
use allocator::run::task::Cx;
use allocator::sync::{self, Arc};

use super::{Outcome, boot, join, small_config, small_machine, writer};
use crate::{Env, Movable, NoRecorder, Options, Scene, Step, TaskSpec, Workload, WorkloadError};

/// A workload with all that its tasks depend on.
#[derive(Debug)]
pub struct SceneWorld {
    /// The workload.
    pub workload: &'static dyn Workload,
    /// Its options.
    pub options: Options,
    /// Tasks.
    pub threads: u32,
    /// Steps of each task.
    pub steps: u32,
    /// Seed of the tasks' own choices.
    pub seed: u64,
}

impl SceneWorld {
    /// Refuses what the workload can't do on the small machine.
    ///
    /// # Errors
    /// In one line: what is wrong and how to mend it.
    pub fn check(&self, policy: &Policy) -> Result<(), WorkloadError> {
        self.workload.check(&self.machine(), policy, &self.options, self.threads)
    }

    fn machine(&self) -> Machine {
        let mut machine = small_machine(2, 2048);
        machine.block_pages = 512;
        if self.workload.info().movable != Movable::None {
            let end = machine.max_pfn();
            let zone = Zone::whole(ZoneIdx::Movable, end, 1024);
            machine.nodes[1].zones.push(zone);
        }
        machine
    }

    /// Runs it once.
    pub(super) fn run(&self, policy: Policy) -> Outcome {
        let mut config = small_config();
        config.seed = self.seed;
        self.workload.configure(&mut config, &self.options);
        config.amplify.clear();
        let kernel = boot(self.machine(), policy, config);
        let cx = writer(&kernel);
        let mut scene: Box<dyn Scene> = self
            .workload
            .scene(&kernel, &cx, &self.options, self.threads, self.seed)
            .expect("checked before the search");
        let tasks = scene.tasks().into_iter().zip(1..);
        join(tasks.map(|(spec, n)| self.start(&kernel, spec, n)).collect());
        scene.finish(&kernel, &cx);
        Outcome { kernel }
    }

    fn start(&self, kernel: &Arc<Kernel>, spec: TaskSpec, n: u64) -> sync::JoinHandle<()> {
        let (kernel, steps) = (Arc::clone(kernel), self.steps);
        let mut cx = Cx::new(spec.task, self.seed.wrapping_add(n));
        let mut body = spec.body;
        sync::spawn(&format!("task{n}"), move || {
            kernel.point(&cx, Point::TaskStart);
            let mut recorder = NoRecorder;
            let mut env = Env { kernel: &kernel, cx: &mut cx, recorder: &mut recorder };
            for _ in 0..steps {
                if body.step(&mut env) == Step::Done {
                    break;
                }
            }
            body.finish(&mut env);
        })
    }
}
