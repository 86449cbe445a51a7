//! What the variants of the axis `cpuset` do in a request, at each step at which they may act.
//!
//! **What.** The hooks of the axis: around a request's policy (D.4), at S1, S3, S7, S19a and S20,
//! with the test C1 to C3 itself (docs/kernel/slow-path.md#b5, cpusets.md#c6).
//!
//! **Why here.** The slow path calls them at its steps and knows no variant; a new one is written
//! in this folder only.
//!
//! **Source.** mm/page_alloc.c: check_retry_cpuset, and the cookie in the slow path;
//! mm/mempolicy.c: alloc_pages_vma up to 4.12.

use super::CpusetPolicy;
use super::swap::mems_of;
use crate::ids::Pfn;
use crate::page_alloc::retry::Cookies;
use crate::page_alloc::slow::Request;
use crate::page_alloc::{AllocContext, Nodemask};
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;

impl Kernel {
    /// Around a request, before its policy is looked at (D.4). Releases up to 4.12 take a cookie
    /// here, and look at it only after the request has failed, which is after the kill.
    #[inline]
    pub(crate) fn around_policy(
        &self,
        cx: &Cx,
        mut request: impl FnMut() -> Option<Pfn>,
    ) -> Option<Pfn> {
        match self.policy.cpuset {
            CpusetPolicy::NoRecheck | CpusetPolicy::CookieRecheck => {}
            CpusetPolicy::IntersectionRecheck
            | CpusetPolicy::RecheckEachRetry
            | CpusetPolicy::Swap => return request(),
        }
        loop {
            let cookie = self.read_mems_allowed_begin(cx);
            let page = request();
            if page.is_some()
                || !self.read_mems_allowed_retry(cx, cookie)
                || self.clock.is_aborted()
            {
                return page;
            }
        }
    }

    /// S1: the cookie that the tests below compare.
    #[inline]
    pub(crate) fn cpuset_cookie(&self, cx: &Cx) -> u32 {
        self.read_mems_allowed_begin(cx)
    }

    /// S3: does the slow path look for a first zone of its own? Else it goes on from the fast
    /// path's.
    #[inline]
    pub(crate) fn takes_new_position(&self) -> bool {
        self.policy.cpuset != CpusetPolicy::NoRecheck
    }

    /// S7. True: back to S1.
    pub(crate) fn recheck_at_retry(
        &self,
        cx: &Cx,
        req: &Request<'_>,
        ac: &AllocContext<'_>,
        cookies: &Cookies,
    ) -> bool {
        match self.policy.cpuset {
            CpusetPolicy::RecheckEachRetry => self.check_retry(cx, req, ac, cookies),
            CpusetPolicy::NoRecheck
            | CpusetPolicy::CookieRecheck
            | CpusetPolicy::IntersectionRecheck
            | CpusetPolicy::Swap => false,
        }
    }

    /// S19a, before the OOM killer, and S20, before failing. True: back to S1.
    pub(crate) fn recheck_before_end(
        &self,
        cx: &Cx,
        req: &Request<'_>,
        ac: &AllocContext<'_>,
        cookies: &Cookies,
    ) -> bool {
        match self.policy.cpuset {
            CpusetPolicy::NoRecheck => false,
            CpusetPolicy::CookieRecheck
            | CpusetPolicy::IntersectionRecheck
            | CpusetPolicy::RecheckEachRetry
            | CpusetPolicy::Swap => self.check_retry(cx, req, ac, cookies),
        }
    }

    /// `check_retry_cpuset` or, in older variants, the bare cookie test (C1 to C3). True: back to
    /// S1.
    pub(crate) fn check_retry_cpuset(&self, cx: &Cx, ac: &AllocContext<'_>, cookie: u32) -> bool {
        match self.policy.cpuset {
            CpusetPolicy::NoRecheck | CpusetPolicy::CookieRecheck => {
                // C2
                self.read_mems_allowed_retry(cx, cookie)
            }
            CpusetPolicy::IntersectionRecheck | CpusetPolicy::RecheckEachRetry => {
                self.nodemask_dropped(cx, ac) || self.read_mems_allowed_retry(cx, cookie)
            }
            CpusetPolicy::Swap => {
                let stale = !cx.in_interrupt() && self.newer_allowed_exists(cx);
                cx.cpuset.is_stale.set(stale);
                stale || self.nodemask_dropped(cx, ac)
            }
        }
    }

    /// C1: a nodemask that does not meet mems_allowed is dropped: the cpuset wins and the policy is
    /// ignored for this request.
    fn nodemask_dropped(&self, cx: &Cx, ac: &AllocContext<'_>) -> bool {
        if !self.cpusets_enabled() || self.nodemask_meets_mems(cx, ac.nodemask.get()) {
            return false;
        }
        let nodes = ac.nodemask.get().load().unwrap_or_default();
        let mems = cx.task.mems_allowed.load();
        ac.nodemask.set(Nodemask::None);
        self.point_event(cx, Point::C1Empty, [nodes.low_word(), mems.low_word(), 0]);
        true
    }

    /// Does the mask meet mems_allowed? Both are read word by word, unlocked (J1-e's torn read).
    fn nodemask_meets_mems(&self, cx: &Cx, nodemask: Nodemask<'_>) -> bool {
        let at_word = |_| self.point(cx, Point::C1MaskWord);
        let allowed = self.request_allowed(cx);
        let mems = mems_of(allowed.as_deref(), cx);
        match nodemask {
            Nodemask::None => true,
            Nodemask::Live(mask) => mems.intersects_with(mask, at_word),
            Nodemask::Fixed(mask) => mems.intersects_with(mask, at_word),
        }
    }
}
