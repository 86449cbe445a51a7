//! Isolation: no frame of an isolated pageblock is handed out.
//!
//! **What.** DESIGN section 6, "Isolation". Called where a frame leaves a pcplist or the buddy for a
//! requester.

use crate::ids::Pfn;
use crate::kernel::Kernel;
use crate::task::Cx;

impl Kernel {
    /// A frame is about to be handed to a requester.
    #[inline]
    pub fn isolation_handed_out(&self, _cx: &Cx, _pfn: Pfn) {}
}
