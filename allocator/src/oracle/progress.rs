//! Progress: a request that can never end is a lockup.
//!
//! **What.** ARCHITECTURE.md#the-oracle. A lockup is certain, not slow: a request that has passed
//! S7 very often although the tests of the newest kernels would send it back to S1 (J1-b); a victim
//! whose mm is hidden and for whom no zone passes (J3-c); a reader on PREEMPT_RT that restarts for
//! ever because it outranks the writer on its own CPU (J4-d). Restarts while an updater moves
//! (J1-c) are progress.
//!
//! A lockup raises the abort flag, which frees everybody; conservation is checked as ever.

use crate::oracle::FindingKind;
use crate::page_alloc::AllocContext;
use crate::page_alloc::retry::RetryState;
use crate::page_alloc::slow::Request;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, pf};
use crate::sync::atomic::Ordering;

impl Kernel {
    fn lockup(&self, cx: &Cx, title: &str, why: &str) {
        if !self.clock.is_aborted() {
            self.find(cx, FindingKind::Lockup, title, &[why.to_owned()]);
            self.clock.abort();
        }
    }

    /// At S7: has this request been here too often for nothing?
    pub fn note_passes(
        &self,
        cx: &Cx,
        req: &Request<'_>,
        ac: &AllocContext<'_>,
        state: &mut RetryState,
    ) {
        if u64::from(state.passes) <= self.config.lockup_passes {
            return;
        }
        self.note_endless(cx, req, ac, state);
    }

    #[cold]
    fn note_endless(
        &self,
        cx: &Cx,
        req: &Request<'_>,
        ac: &AllocContext<'_>,
        state: &mut RetryState,
    ) {
        let mems = cx.task.mems_allowed.load();
        let lost = req.nodemask.load().is_some_and(|nodes| !nodes.intersects(&mems));
        let moved = cx.task.mems_allowed_seq.read_retry(state.cookies.cpuset);
        let rebuilt = self.zonelist_update_seq.read_retry(state.cookies.zonelist);
        if self.cpusets_enabled() && (lost || moved) || rebuilt {
            let why = format!(
                "The request has passed S7 {} times. Its nodes or the zonelists changed since S1, so \
                 the tests that newer kernels make at S7 would send it back there; here it retries from \
                 a stale position (preferred zoneref = entry {}).",
                state.passes,
                ac.preferred_zoneref.get()
            );
            return self.lockup(cx, "endless retry in the slow path", &why);
        }
        let hidden = cx.task.process.oom_mm().is_some_and(|mm| mm.is_oom_skipped());
        // Most of its passes may be of the time before it was killed: it has as many more now, in
        // which its right as a victim lets it out if there is one.
        if hidden {
            state.hidden_passes += 1;
        }
        if state.hidden_passes > self.config.lockup_passes {
            let why = "An OOM victim whose mm is hidden by MMF_OOM_SKIP retries for ever: no zone passes \
                       its mark, and nobody else is freed for it.";
            self.lockup(cx, "OOM victim loops in the slow path", why);
        }
    }

    /// At a jump to S1.
    pub fn note_restarts(&self, cx: &Cx, restarts: u64) {
        if restarts > self.config.lockup_passes {
            self.note_busy_reader(cx);
        }
    }

    #[cold]
    fn note_busy_reader(&self, cx: &Cx) {
        let writer = self.zonelist_writer_cpu.load(Ordering::Relaxed);
        let outranks = self.config.preempt_rt
            && self.policy.zonelist.readers_only_look()
            && writer == u32::from(cx.cpu().0) + 1
            && cx.task.has(pf::RT);
        if outranks {
            let why = "A real-time request restarts for ever: zonelist_update_seq is odd, and its writer \
                       was preempted on this CPU by the request's own task.";
            self.lockup(cx, "busy reader starves the zonelist writer", why);
        }
    }
}
