//! exit_mmap and the reaper of each variant of the axis `exit`.
//!
//! **What.** One function for each variant over the steps of [`Teardown`] (docs/kernel/oom.md#e8;
//! labels Q1 to Q8), and the reaper that belongs to it (E.7; R1 to R7).
//!
//! **Why.** The reaper may be walking the same areas. What keeps the two apart, and when
//! MMF_OOM_SKIP hides the mm from the next victim search, is change 2.
//!
//! **Source.** mm/mmap.c: exit_mmap; mm/oom_kill.c: oom_reap_task, by release.
//!
//! **Differs.** Nothing beyond [`crate::mm::exit`].

use super::ExitPolicy;
use crate::mm::address_space::{SkipBy, mmf};
use crate::mm::exit::Teardown;
use crate::oom::reaper::{DELAY_NS, Mrelease, ReaperRules};
use crate::race::Point;

impl ExitPolicy {
    /// exit_mmap.
    pub(crate) fn tear_down(self, end: Teardown<'_>) {
        match self {
            Self::MmUsers => mm_users(end),
            Self::LockAfterUnmap => lock_after_unmap(end),
            Self::LockBeforeUnmap => lock_before_unmap(end),
            Self::LockCycle => lock_cycle(end),
            Self::ReapInExit => reap_in_exit(end),
            Self::WriteLocked => write_locked(end),
            Self::SharedRead => shared_read(end),
        }
    }

    /// The reaper that goes with it.
    pub fn reaper_rules(self) -> ReaperRules {
        let v4_13 = ReaperRules {
            delay_ns: 0,
            once_per_mm: false,
            holds_oom_lock: true,
            needs_users: true,
            tests_skip: false,
            reaps_mlocked: false,
            skip_silences: false,
            mrelease: Mrelease::None,
        };
        match self {
            Self::MmUsers => v4_13,
            Self::LockAfterUnmap | Self::LockBeforeUnmap => {
                ReaperRules { needs_users: false, ..v4_13 }
            }
            Self::LockCycle => ReaperRules { needs_users: false, tests_skip: true, ..v4_13 },
            Self::ReapInExit => ReaperRules {
                needs_users: false,
                tests_skip: true,
                holds_oom_lock: false,
                skip_silences: true,
                mrelease: Mrelease::HoldsUsers,
                ..v4_13
            },
            Self::WriteLocked => ReaperRules {
                once_per_mm: true,
                mrelease: Mrelease::HoldsCount,
                ..Self::ReapInExit.reaper_rules()
            },
            Self::SharedRead => ReaperRules {
                delay_ns: DELAY_NS,
                reaps_mlocked: true,
                ..Self::WriteLocked.reaper_rules()
            },
        }
    }
}

/// Up to 4.13: no lock at all; `__mmput` sets SKIP behind it.
fn mm_users(mut end: Teardown<'_>) {
    end.notifier_release();
    end.munlock();
    end.unmap();
    end.free_pgtables();
    end.finish();
    end.skip(SkipBy::ExitAfterUnmap);
}

/// The posted RFC.
fn lock_after_unmap(mut end: Teardown<'_>) {
    end.notifier_release();
    end.munlock();
    end.unmap();
    let _lock = end.write_lock();
    end.free_pgtables();
    end.finish();
    end.forget_areas();
    end.unlocks();
}

/// The reviewer's placement.
fn lock_before_unmap(mut end: Teardown<'_>) {
    end.notifier_release();
    let _lock = end.write_lock();
    end.munlock();
    end.unmap();
    end.free_pgtables();
    end.finish();
    end.forget_areas();
    end.unlocks();
}

/// 212925802454 (4.14): the lock cycle waits for a reaper that is inside; later ones see SKIP. But
/// only if current is a victim itself.
fn lock_cycle(mut end: Teardown<'_>) {
    end.notifier_release();
    end.munlock();
    end.unmap();
    end.skip(SkipBy::ExitAfterUnmap);
    if end.cx.task.process.is_oom_victim() {
        drop(end.write_lock());
        end.unlocks();
    }
    end.free_pgtables();
    end.finish();
}

/// 27ae357fa82b (frozen at 4.19).
fn reap_in_exit(mut end: Teardown<'_>) {
    end.notifier_release();
    if end.mm.has(mmf::OOM_VICTIM) {
        end.reap_itself();
        end.skip(SkipBy::ExitBeforeUnmap);
        drop(end.write_lock());
        end.unlocks();
    }
    end.munlock();
    end.unmap();
    end.free_pgtables();
    end.finish();
}

/// 64591e8605d6 (frozen at 5.17.0, which leaves `mm->mmap` set).
fn write_locked(mut end: Teardown<'_>) {
    end.notifier_release();
    if end.mm.has(mmf::OOM_VICTIM) {
        end.reap_itself();
        end.skip(SkipBy::ExitBeforeUnmap);
    }
    let _lock = end.write_lock();
    end.munlock();
    end.unmap();
    end.free_pgtables();
    end.finish();
    end.unlocks();
}

/// bf3980c85212 (frozen at 6.12).
fn shared_read(mut end: Teardown<'_>) {
    end.notifier_release();
    {
        end.k.point(end.cx, Point::QLock);
        let _areas = end.mm.mmap_read_lock();
        end.unmap();
    }
    end.skip(SkipBy::ExitAfterUnmap);
    let _lock = end.write_lock();
    end.free_pgtables();
    end.finish();
    end.forget_areas();
    end.unlocks();
}
