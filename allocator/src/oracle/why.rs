//! Why a kill was premature: the zones of the whole machine beside what the request may use.
//!
//! **Why apart from the report.** The kernel's own report shows only the zones that the request was
//! confined to; the one that could have served it is just what it leaves out.

use crate::ids::ZoneId;
use crate::oracle::FindingKind;
use crate::run::kernel::Kernel;
use crate::zone::{Wmark, Zone};

impl Kernel {
    /// All zones with free pages and marks, the one that could have served marked, and a sentence.
    pub(crate) fn why_premature(&self, kind: FindingKind, usable: Option<ZoneId>) -> Vec<String> {
        let mut lines = vec!["Zones of the machine at the kill:".to_owned()];
        lines.extend(self.populated_zones().map(|zone| zone_line(zone, usable)));
        let reason = if kind == FindingKind::PrematureOom {
            "Premature: at every look since the last retry began, a zone that\nthe request may use \
             was above its high mark."
        } else if kind == FindingKind::Drift {
            "Drift: such a zone was above its high mark by the exact count at\nevery look, but the \
             counter that the kernel reads lagged behind."
        } else {
            "Transient: at the kill, and not before, a zone that the request may\nuse was above its \
             min mark."
        };
        lines.extend(reason.lines().map(str::to_owned));
        lines
    }
}

fn zone_line(zone: &Zone, usable: Option<ZoneId>) -> String {
    let kb = |pages: u64| pages << 2;
    let mark = if usable == Some(zone.id) { "   <== may be used" } else { "" };
    format!(
        "Node {} {} free:{}kB min:{}kB low:{}kB high:{}kB{mark}",
        zone.node(),
        zone.idx(),
        kb(zone.free_pages_exact()),
        kb(zone.wmark_pages(Wmark::Min)),
        kb(zone.wmark_pages(Wmark::Low)),
        kb(zone.wmark_pages(Wmark::High)),
    )
}
