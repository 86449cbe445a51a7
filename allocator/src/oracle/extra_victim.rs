//! Extra victims: a kill while an earlier victim's memory is hidden and not yet free.
//!
//! **What.** At V6, before the kill: each earlier victim that is eligible for this OOM and hidden
//! by MMF_OOM_SKIP. Its mapped pages (those in its mmu_gather are not counted any more) and who set
//! the flag decide (docs/kernel/oom.md#e8, interleavings.md#j2; ARCHITECTURE.md#the-oracle):
//!
//! | mapped pages | MMF_OOM_SKIP was set by | class |
//! |---|---|---|
//! | some | its own exit path, or a reaper that had not walked its VMAs because mm_users was 0 or exit_mmap's own lock kept it out | `extra-victim` (J2-a, J2-b, J2-e) |
//! | some | a reaper that another writer of mmap_lock had kept out | `unreapable` (J2-h) |
//! | some | a reaper that had walked, and passed over what its release does not reap | `left-by-reaper` |
//! | none | anybody, after this request's last look for a page | `late-kill` (J2-g) |
//!
//! **Why the last row has a time.** A victim that was gone before the last look has nothing to do
//! with this kill: the look would have found its pages.

use crate::mm::Mm;
use crate::mm::address_space::{SkipBy, mmf};
use crate::oom::OomControl;
use crate::oracle::FindingKind;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, Process};
use crate::sync::{Arc, Stamp};

/// What an earlier victim says about a kill now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Its mapped pages.
    pub mapped_pages: u64,
    /// Who hid it.
    pub by: SkipBy,
    /// When.
    pub at: Stamp,
}

/// The class of a kill in view of one earlier victim; `last_look`: when the request's last look for
/// a page had failed.
pub fn classify(hidden: Hidden, last_look: Stamp) -> Option<FindingKind> {
    if hidden.mapped_pages == 0 {
        return (hidden.at > last_look).then_some(FindingKind::LateKill);
    }
    match hidden.by {
        SkipBy::ExitBeforeUnmap
        | SkipBy::ExitAfterUnmap
        | SkipBy::ReaperNoUsers
        | SkipBy::ReaperKeptOutByExit => Some(FindingKind::ExtraVictim),
        SkipBy::ReaperKeptOutByWriter => Some(FindingKind::Unreapable),
        SkipBy::ReaperWalked => Some(FindingKind::LeftByReaper),
        SkipBy::Nobody | SkipBy::SharedWithInit => None,
    }
}

/// The graver of two classes: the one that is told.
fn rank(kind: FindingKind) -> u8 {
    if kind == FindingKind::ExtraVictim {
        3
    } else if kind == FindingKind::Unreapable {
        2
    } else {
        u8::from(kind == FindingKind::LeftByReaper)
    }
}

impl Kernel {
    /// V6: judges a kill by the victims before it. `victim` is the one about to be killed.
    pub fn judge_extra_victim(
        &self,
        cx: &Cx,
        oc: &OomControl<'_>,
        victim: &Arc<Process>,
        message: &str,
    ) -> Option<FindingKind> {
        let mut worst: Option<(FindingKind, Arc<Process>, Arc<Mm>)> = None;
        for earlier in self.tasks.snapshot() {
            if Arc::ptr_eq(&earlier, victim) {
                continue;
            }
            let Some(mm) = earlier.oom_mm().filter(|mm| mm.has(mmf::OOM_SKIP)) else { continue };
            if !self.is_oom_eligible(cx, &earlier, oc) {
                continue;
            }
            let hidden =
                Hidden { mapped_pages: mm.rss_pages(), by: mm.skip_by(), at: mm.skipped_at() };
            let Some(kind) = classify(hidden, oc.since) else { continue };
            if worst.as_ref().is_none_or(|(was, ..)| rank(kind) > rank(*was)) {
                worst = Some((kind, earlier, mm));
            }
        }
        let (kind, earlier, mm) = worst?;
        let title = format!(
            "{} ({}) killed while {} ({}) was hidden with {} pages mapped",
            victim.comm,
            victim.tgid,
            earlier.comm,
            earlier.tgid,
            mm.rss_pages()
        );
        self.find_with(cx, kind, &title, || {
            let mut report = self.dump_header(cx, oc, Some(victim));
            report.push(self.kill_summary(message, victim));
            report.push(self.why_extra(kind, &earlier, &mm));
            report
        });
        Some(kind)
    }

    fn why_extra(&self, kind: FindingKind, earlier: &Process, mm: &Mm) -> String {
        let killed_ns = earlier.killed_at_ns.load(crate::sync::atomic::Ordering::Relaxed);
        let age_ms = self.clock.now().0.saturating_sub(killed_ns) / crate::run::clock::NS_PER_MS;
        let what = if kind == FindingKind::LateKill {
            "its memory was free already"
        } else {
            "its memory was on its way back"
        };
        format!(
            "Extra: {} ({}), killed {age_ms} ms before, still had {}kB mapped; MMF_OOM_SKIP was set \
             by {}: {what}.",
            earlier.comm,
            earlier.tgid,
            mm.rss_pages() << 2,
            mm.skip_by().describe(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the module, and docs/kernel/interleavings.md#j2's rows.
    #[test]
    fn each_cause_has_its_class() {
        for (by, class) in [
            (SkipBy::ReaperNoUsers, Some(FindingKind::ExtraVictim)),
            (SkipBy::ReaperKeptOutByExit, Some(FindingKind::ExtraVictim)),
            (SkipBy::ExitBeforeUnmap, Some(FindingKind::ExtraVictim)),
            (SkipBy::ExitAfterUnmap, Some(FindingKind::ExtraVictim)),
            (SkipBy::ReaperKeptOutByWriter, Some(FindingKind::Unreapable)),
            (SkipBy::ReaperWalked, Some(FindingKind::LeftByReaper)),
            (SkipBy::SharedWithInit, None),
        ] {
            let hidden = |mapped_pages, at| Hidden { mapped_pages, by, at };
            assert_eq!(classify(hidden(1, 5), 10), class, "{by:?}");
            assert_eq!(classify(hidden(0, 5), 10), None, "gone before the last look");
            assert_eq!(classify(hidden(0, 15), 10), Some(FindingKind::LateKill));
        }
    }
}
