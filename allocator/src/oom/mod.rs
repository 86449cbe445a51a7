//! The OOM killer (stub: being written).

pub mod reaper;

use crate::gfp::Gfp;
use crate::ids::ZoneIdx;
use crate::kernel::Kernel;
use crate::page_alloc::slow::Request;
use crate::page_alloc::{AllocContext, Nodemask};
use crate::sync::Mutex;
use crate::task::Cx;
use crate::zonelist::Zonelist;

/// Global state of the OOM killer.
#[derive(Debug, Default)]
pub struct OomState {
    /// oom_lock: only trylocked by the allocator.
    pub lock: Mutex<()>,
    /// The reaper's queue.
    pub reaper: reaper::ReaperState,
}

/// `struct oom_control`.
#[derive(Debug)]
pub struct OomControl<'a> {
    /// The request that could not be served, for the oracle; None for sysrq.
    pub req: Option<Request<'a>>,
    /// Its zonelist.
    pub zonelist: Option<&'a Zonelist>,
    /// `ac->nodemask` as it is now; X5 may drop it.
    pub nodemask: Nodemask<'a>,
    /// Its flags.
    pub gfp: Gfp,
    /// Its order; -1: sysrq.
    pub order: i32,
    /// Its highest zone.
    pub highest: ZoneIdx,
}

impl<'a> OomControl<'a> {
    /// For a request in the slow path (O4).
    pub fn for_request(req: &Request<'a>, ac: &AllocContext<'a>) -> Self {
        Self {
            req: Some(*req),
            zonelist: Some(ac.zonelist.get()),
            nodemask: ac.nodemask.get(),
            gfp: req.gfp,
            order: i32::from(req.order),
            highest: ac.highest_zoneidx,
        }
    }
}

impl Kernel {
    /// Chooses and kills (X1 to X11, KERNEL-FACTS E.1). True: progress.
    pub fn out_of_memory(&self, _cx: &Cx, _oc: &mut OomControl<'_>) -> bool {
        false
    }

    /// A marked thread has gone past exit_mm (`exit_oom_victim`).
    pub fn exit_oom_victim(&self) {}

    /// A victim's memory is free.
    pub fn victim_memory_freed(&self, _mm: &crate::mm::Mm) {}
}
