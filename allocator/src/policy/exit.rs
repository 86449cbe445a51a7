//! Axis `exit`: how exit_mmap and the OOM reaper keep out of each other's way.
//!
//! **What.** The order of unmapping, MMF_OOM_SKIP and mmap_lock in exit_mmap, with the reaper that
//! belongs to it (docs/kernel/oom.md#e7, #e8; steps Q, R).
//!
//! **Why.** A victim that is hidden before its memory is free costs an extra victim; one whose VMAs
//! are freed under the reaper is a use after free.
//!
//! **Source.** mm/mmap.c: exit_mmap; mm/oom_kill.c: oom_reap_task.
//!
//! **Differs.** `lock-after-unmap` is the RFC as posted, `lock-before-unmap` the reviewer's
//! placement; neither was merged.

mod order;

use super::Expect::{Counted, Excluded, Residual, Shows};
use super::Family::{J2a, J2b, J2c, J2d, J2e, J2f, J2g, J2gExit, J2h};
use super::axis::{VariantInfo, axis};
use super::{Expect, Family, Release};

/// How exit_mmap and the OOM reaper meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitPolicy {
    /// The reaper needs mm_users; without it gives up and hides the mm. Frozen at 4.13.
    MmUsers,
    /// The RFC: mmap_lock for write after the unmap, around page tables and VMAs.
    LockAfterUnmap,
    /// The reviewer's: mmap_lock for write around the whole teardown.
    LockBeforeUnmap,
    /// SKIP after the unmap, then the lock is taken and released at once if the current task is a
    /// victim. 212925802454, 4.14.
    LockCycle,
    /// The exiting task reaps itself first, then SKIP and the lock cycle. 27ae357fa82b; frozen at
    /// 4.19.
    ReapInExit,
    /// The same with mmap_lock held for write around the teardown. 64591e8605d6; frozen at 5.17.0.
    WriteLocked,
    /// Unmap under mmap_lock for read, SKIP, the rest under it for write. bf3980c85212; frozen at
    /// 6.12.
    SharedRead,
}

axis!(
    ExitPolicy,
    Exit,
    exit,
    [MmUsers, LockAfterUnmap, LockBeforeUnmap, LockCycle, ReapInExit, WriteLocked, SharedRead]
);

impl ExitPolicy {
    fn describe(self) -> VariantInfo {
        match self {
            Self::MmUsers => VariantInfo {
                word: "mm-users",
                summary: "the reaper gives up on a dying mm and hides it",
                commit: Some("aac453635549"),
                releases: "4.6 to 4.13",
                expect: const {
                    &cells(
                        [Shows, Excluded, Excluded, Excluded, Excluded, Excluded],
                        [Excluded, Residual],
                    )
                },
            },
            Self::LockAfterUnmap => VariantInfo {
                word: "lock-after-unmap",
                summary: "mmap_lock for write from after the unmap on (the posted RFC)",
                commit: None,
                releases: "",
                expect: const {
                    &cells(
                        [Excluded, Counted, Excluded, Shows, Excluded, Excluded],
                        [Excluded, Residual],
                    )
                },
            },
            Self::LockBeforeUnmap => VariantInfo {
                word: "lock-before-unmap",
                summary: "mmap_lock for write around the whole teardown (the review's)",
                commit: None,
                releases: "",
                expect: const {
                    &cells(
                        [Excluded, Shows, Excluded, Excluded, Excluded, Excluded],
                        [Excluded, Counted],
                    )
                },
            },
            Self::LockCycle => VariantInfo {
                word: "lock-cycle",
                summary: "SKIP after the unmap, then mmap_lock taken and dropped by victims",
                commit: Some("212925802454"),
                releases: "4.14 to 4.16",
                expect: const {
                    &cells(
                        [Excluded, Excluded, Shows, Shows, Excluded, Excluded],
                        [Excluded, Residual],
                    )
                },
            },
            Self::ReapInExit => VariantInfo {
                word: "reap-in-exit",
                summary: "the victim reaps itself first, sets SKIP, then tears down",
                commit: Some("27ae357fa82b"),
                releases: "4.17 to 5.15",
                expect: const {
                    &cells(
                        [Excluded, Excluded, Excluded, Excluded, Shows, Excluded],
                        [Residual, Residual],
                    )
                },
            },
            Self::WriteLocked => VariantInfo {
                word: "write-locked",
                summary: "the same, with mmap_lock for write around the teardown",
                commit: Some("64591e8605d6"),
                releases: "5.17 to 6.0",
                expect: const {
                    &cells(
                        [Excluded, Excluded, Excluded, Excluded, Shows, Shows],
                        [Residual, Residual],
                    )
                },
            },
            Self::SharedRead => VariantInfo {
                word: "shared-read",
                summary: "unmaps under mmap_lock for read, then SKIP, then the write lock",
                commit: Some("bf3980c85212"),
                releases: "from 6.1 on",
                expect: const {
                    &cells(
                        [Excluded, Excluded, Excluded, Excluded, Excluded, Excluded],
                        [Residual, Residual],
                    )
                },
            },
        }
    }

    fn choice(release: Release) -> Self {
        if release >= Release::V6_1 {
            Self::SharedRead
        } else if release >= Release::V5_17 {
            Self::WriteLocked
        } else if release >= Release::V4_18 {
            Self::ReapInExit
        } else if release >= Release::V4_14 {
            Self::LockCycle
        } else {
            Self::MmUsers
        }
    }
}

/// J2-g (`g`: the reaper's part, the victim's part) and J2-h are left by the maintainers or by
/// design, and no findings. The reaper's part is excluded as long as it holds oom_lock (up to
/// 4.18). Where exit_mmap hides nothing itself (`lock-*`) it takes R7 at the right moment; under
/// `lock-before-unmap` that is the end of ten tries, which must fall together with the end of the
/// teardown: counted.
const fn cells(a_to_f: [Expect; 6], g: [Expect; 2]) -> [(Family, Expect); 9] {
    [
        (J2a, a_to_f[0]),
        (J2b, a_to_f[1]),
        (J2c, a_to_f[2]),
        (J2d, a_to_f[3]),
        (J2e, a_to_f[4]),
        (J2f, a_to_f[5]),
        (J2g, g[0]),
        (J2gExit, g[1]),
        (J2h, Residual),
    ]
}
