//! A round of a replay: the tasks that feed the model.
//!
//! **What.** In strict order one task feeds all events, with a context on each of the recorded CPUs.
//! In the order of each CPU there is one task for each, pinned; a free waits for its allocation on
//! another CPU, and for nothing else.
//!
//! **Why one task when strict.** A turn handed from thread to thread a million times measures the
//! host's wake-ups.

use allocator::ids::CpuId;
use allocator::run::kernel::Kernel;
use allocator::run::task::{Cx, Process};
use allocator::sync::{Arc, yield_now};

use super::event::Event;
use super::feed::{By, Feed, Shared, op};
use super::fidelity;
use super::recording::Recording;
use super::tally::Tally;
use crate::{Env, Fidelity, Scene, Step, TaskBody, TaskSpec};

/// In which order events are fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InOrder {
    /// As recorded.
    Strict,
    /// Each CPU in its own.
    OfEachCpu,
}

/// Events in a step.
const STEP_EVENTS: usize = 512;
/// Looks at a slot before the CPU is given away.
const SPINS: usize = 200;

/// A round.
pub(super) struct ReplayScene {
    shared: Arc<Shared>,
    by: By,
    in_order: InOrder,
    tasks: Vec<TaskSpec>,
    refused: usize,
}

impl ReplayScene {
    pub(super) fn new(
        recording: &Arc<Recording>,
        kernel: &Arc<Kernel>,
        by: By,
        in_order: InOrder,
        seed: u64,
    ) -> Self {
        let refused = kernel.restore(&recording.start.state).len();
        let shared = Arc::new(Shared::new(recording, kernel));
        let process = kernel.new_process("replay", 0);
        let mut this = Self { shared, by, in_order, tasks: Vec::new(), refused };
        let cpus = (0..kernel.cpus.len()).map(|cpu| CpuId(cpu as u16));
        match in_order {
            InOrder::Strict => {
                let contexts =
                    cpus.map(|cpu| Cx::new(kernel.new_task(&process, cpu, 0), seed)).collect();
                let events = Events::All(Arc::clone(recording));
                this.task(kernel, &process, CpuId(0), events, recording.digest.window, contexts);
            }
            InOrder::OfEachCpu => {
                for cpu in cpus {
                    let digest = &recording.digest;
                    let is_own = |event: &&Event| event.cpu == cpu;
                    let window = digest.events[..digest.window].iter().filter(is_own).count();
                    let own = digest.events.iter().filter(is_own).copied().collect();
                    this.task(kernel, &process, cpu, Events::Own(own), window, Vec::new());
                }
            }
        }
        this
    }

    fn task(
        &mut self,
        kernel: &Kernel,
        process: &Arc<Process>,
        cpu: CpuId,
        events: Events,
        window: usize,
        contexts: Vec<Cx>,
    ) {
        let feed = Feed {
            shared: Arc::clone(&self.shared),
            by: self.by,
            in_window: false,
            tally: Tally::default(),
        };
        let body = Body { feed, events, at: 0, window, contexts };
        let task = kernel.new_task(process, cpu, 0);
        self.tasks.push(TaskSpec { task, body: Box::new(body) });
    }
}

impl Scene for ReplayScene {
    fn tasks(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.tasks)
    }

    fn figures(&self) -> Vec<(&'static str, f64, &'static str)> {
        let tally = self.shared.tally.lock();
        vec![
            ("replayed_events", tally.events as f64, ""),
            ("left_out_events", tally.left_out as f64, ""),
            ("failed_requests", tally.failed as f64, ""),
        ]
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = self.shared.recording.notes.clone();
        let left_out = self.shared.tally.lock().left_out;
        for (count, what) in [
            (self.refused as u64, "blocks of the start state overlap others: left out"),
            (left_out, "events could not be done: their block was never there"),
        ] {
            if count > 0 {
                remarks.push(format!("{count} {what}"));
            }
        }
        remarks
    }

    fn fidelity(&self, kernel: &Kernel) -> Option<Fidelity> {
        let tally = self.shared.tally.lock();
        let is_strict = self.in_order == InOrder::Strict;
        Some(fidelity::of(&self.shared, kernel, &tally, self.by, is_strict))
    }

    fn finish(&mut self, kernel: &Arc<Kernel>, cx: &Cx) {
        kernel.free_all(cx);
    }
}

/// Which events a task feeds.
enum Events {
    All(Arc<Recording>),
    Own(Vec<Event>),
}

struct Body {
    feed: Feed,
    events: Events,
    at: usize,
    /// Index of the first event of the window.
    window: usize,
    /// By CPU; none: the task's own is used.
    contexts: Vec<Cx>,
}

impl Body {
    fn begin_window(&mut self, kernel: &Kernel, own: &Cx) {
        self.feed.in_window = true;
        let drained = |cx: &Cx| self.feed.shared.drained_blocks(kernel, cx.cpu());
        self.feed.tally.drained_before = if self.contexts.is_empty() {
            drained(own)
        } else {
            self.contexts.iter().map(drained).sum()
        };
        if !self.contexts.is_empty() {
            self.feed.tally.fallbacks_before = Shared::fallbacks(kernel).0;
        }
    }
}

impl TaskBody for Body {
    fn step(&mut self, env: &mut Env<'_>) -> Step {
        let mut done = 0;
        let mut spins = 0;
        while done < STEP_EVENTS {
            if self.at == self.window && !self.feed.in_window {
                self.begin_window(env.kernel, env.cx);
            }
            let events = match &self.events {
                Events::All(recording) => &recording.digest.events[..],
                Events::Own(events) => &events[..],
            };
            let Some(event) = events.get(self.at).copied() else {
                env.recorder.count(op::EVENT, done as u64);
                return Step::Done;
            };
            let cx = self.contexts.get(event.cpu.index()).unwrap_or(env.cx);
            if self.feed.event(env.kernel, cx, env.recorder, &event) {
                self.at += 1;
                done += 1;
                spins = 0;
            } else if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                yield_now();
                break;
            }
        }
        env.recorder.count(op::EVENT, done as u64);
        Step::Continue
    }

    fn finish(&mut self, _env: &mut Env<'_>) {
        self.feed.shared.tally.lock().merge(&self.feed.tally);
    }
}
