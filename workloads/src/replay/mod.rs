//! replay: what a real kernel did, done again by the model.
//!
//! **What.** A recording (`scripts/record-trace`) holds the page allocator's tracepoints and the
//! kernel's state before and after. The model starts from that state and is fed the same events on
//! the same CPUs: by request (it picks the pages) or by pfn (the trace dictates them), in the recorded
//! order or each CPU as fast as it goes.
//!
//! **Why.** A model that refills, drains and splits like a real kernel under a real load can be
//! believed about what it says of a policy that no kernel has yet. Each figure stands beside the
//! kernel's ([`fidelity`]).
//!
//! **Read in this order.** [`record`] (a line), [`trace`] (all of them), [`snapshot`] (the proc files),
//! [`evidence`] and [`start`] (the state to start from), [`digest`] (what is fed), [`feed`] (feeding).
//!
//! **Differs.** Address spaces, cpusets and policies of the recorded tasks are unknown: requests are
//! `alloc_pages` on the node that the page came from. Free page reporting and memory cgroups leave no
//! record.

pub mod digest;
pub mod event;
pub mod evidence;
pub mod feed;
pub mod fidelity;
pub mod frame_set;
pub mod kernel_figures;
pub mod lists;
pub mod record;
pub mod recording;
mod run;
pub mod snapshot;
pub mod start;
pub mod tally;
pub mod trace;

use allocator::machine::Machine;
use allocator::policy::Policy;
use allocator::run::kernel::Kernel;
use allocator::run::task::Cx;
use allocator::sync::Arc;

use crate::{Info, Movable, OptionKind, OptionSpec, Options, Scene, Workload, WorkloadError};
use feed::By;
use recording::Recording;
use run::{InOrder, ReplayScene};

/// The workload without a recording, as it is listed.
pub static REPLAY: Replay = Replay { recording: None };

/// The workload.
#[derive(Debug)]
pub struct Replay {
    recording: Option<Arc<Recording>>,
}

impl Replay {
    /// The workload with a recording to replay.
    pub fn of(recording: Recording) -> Self {
        Self { recording: Some(Arc::new(recording)) }
    }
}

fn by(options: &Options) -> By {
    if options.text("by") == "pfn" { By::Pfn } else { By::Request }
}

fn in_order(options: &Options) -> InOrder {
    if options.text("order") == "cpu" { InOrder::OfEachCpu } else { InOrder::Strict }
}

impl Workload for Replay {
    fn info(&self) -> &'static Info {
        &Info {
            name: "replay",
            about: "allocation trace of a real kernel, the model beside it",
            axes: &["pcp"],
            primary: &["event.ops_per_s"],
            ops: &["alloc", "free", "event"],
            options: &[
                OptionSpec {
                    name: "trace",
                    value: "DIR|FILE",
                    kind: OptionKind::Text,
                    default: "",
                    help: "the recording: a folder, or the file that scripts/record-trace wrote",
                },
                OptionSpec {
                    name: "by",
                    value: "WHAT",
                    kind: OptionKind::Choice(&["request", "pfn"]),
                    default: "request",
                    help: "what is fed: requests, so that the model picks the pages, or frame numbers",
                },
                OptionSpec {
                    name: "tolerant",
                    value: "",
                    kind: OptionKind::Flag,
                    default: "",
                    help: "count records that contradict others instead of refusing the trace",
                },
                OptionSpec {
                    name: "order",
                    value: "ORDER",
                    kind: OptionKind::Choice(&["strict", "cpu"]),
                    default: "strict",
                    help: "the recorded order of all events, or that of each CPU as fast as it goes",
                },
            ],
            nodes: 1,
            movable: Movable::None,
            memory_per_node: None,
        }
    }

    fn recording_option(&self) -> Option<&'static str> {
        Some("trace")
    }

    fn fixed_threads(&self, machine: &Machine, options: &Options) -> Option<u32> {
        Some(match in_order(options) {
            InOrder::Strict => 1,
            InOrder::OfEachCpu => machine.cpus.len() as u32,
        })
    }

    fn check(
        &self,
        _machine: &Machine,
        _policy: &Policy,
        options: &Options,
        _threads: u32,
    ) -> Result<(), WorkloadError> {
        if (by(options), in_order(options)) == (By::Pfn, InOrder::OfEachCpu) {
            return Err(WorkloadError::Usage(
                "--by pfn --order cpu: which block leaves is dictated for the recorded order only; \
                 leave out --order cpu, or use --by request"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn scene(
        &self,
        kernel: &Arc<Kernel>,
        _cx: &Cx,
        options: &Options,
        _threads: u32,
        seed: u64,
    ) -> Result<Box<dyn Scene>, WorkloadError> {
        let Some(recording) = &self.recording else {
            return Err(WorkloadError::Usage("replay needs --trace DIR|FILE".to_owned()));
        };
        Ok(Box::new(ReplayScene::new(recording, kernel, by(options), in_order(options), seed)))
    }
}
