//! Release numbers: what a report of any release from 2.6.32 on is judged by.
//!
//! **What.** The facts of the watermark test, of gfp masks and of badness by the number of the
//! release that they came with, also between and before the presets.
//!
//! **Why.** A preset stands for all releases up to the next one; a report is of one release, and a
//! fact that came in 5.8 decides differently in 5.6 and 5.9.
//!
//! **Source.** The commits that docs/kernel/watermarks.md and docs/kernel/releases.md name; (mem) there
//! is (mem) here. Before 4.9: mm/page_alloc.c of 2.6.32, 3.10 and 4.4 (mem).
//!
//! **Differs.** Backports of stable and distribution kernels are not known.

use std::fmt;

use super::Release;

/// A release by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number {
    /// First number.
    pub major: u32,
    /// Second number; of 2.6 the third is not kept apart.
    pub minor: u32,
}

impl Number {
    /// `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Is it `major.minor` or newer?
    pub fn since(self, major: u32, minor: u32) -> bool {
        self >= Self { major, minor }
    }

    /// The newest preset that is not newer; none before 4.9.
    pub fn preset(self) -> Option<Release> {
        let number = |release: Release| {
            let (major, minor) = release.version().split_once('.')?;
            Some(Self::new(major.parse().ok()?, minor.parse().ok()?))
        };
        let known = Release::ALL.into_iter().filter_map(|r| Some((number(r)?, r)));
        known.filter(|(n, _)| *n <= self).max_by_key(|(n, _)| *n).map(|(_, r)| r)
    }

    /// Are rights to the reserve fractions of it (6.3)?
    pub fn has_fractions(self) -> bool {
        self.since(6, 3)
    }

    /// Is there a highatomic reserve, and does the test look for a block of a type (4.4)? Before,
    /// it takes the blocks of each smaller order off, and halves the mark for it.
    pub fn has_highatomic(self) -> bool {
        self.since(4, 4)
    }

    /// May OOM victims go below the mark by ALLOC_OOM (4.14)?
    pub fn has_alloc_oom(self) -> bool {
        self.since(4, 14)
    }

    /// Does the order-0 test look once more without the boost (5.8 (mem))?
    pub fn looks_without_boost(self) -> bool {
        self.since(5, 8)
    }

    /// Does the order-0 shortcut leave out the highatomic reserve (5.9 (mem))?
    pub fn fast_leaves_highatomic(self) -> bool {
        self.since(5, 9)
    }

    /// Is only the free part of the highatomic reserve out of reach (c928807f6f6b, 6.12)?
    pub fn counts_free_highatomic(self) -> bool {
        self.since(6, 12)
    }

    /// Is the highatomic reserve given back at every "no" of the retry test (6.8)?
    pub fn unreserves_at_every_no(self) -> bool {
        self.since(6, 8)
    }

    /// Is there a boost of the marks (5.0)?
    pub fn has_boost(self) -> bool {
        self.since(5, 0)
    }

    /// Do reports print it, or is it hidden in min, low and high (5.12)?
    pub fn prints_boost(self) -> bool {
        self.since(5, 12)
    }

    /// Do reports print the highatomic reserve (5.6)?
    pub fn prints_highatomic(self) -> bool {
        self.since(5, 6)
    }

    /// Does a request fail at once that its cpuset leaves no zone (8ca1b5a49885, 5.16)?
    pub fn has_insane_cpuset_test(self) -> bool {
        self.since(5, 16)
    }

    /// Is a missing nodemask printed as mems_allowed (4.9, 4.10)?
    pub fn prints_mems_for_no_nodemask(self) -> bool {
        self.since(4, 9) && !self.since(4, 11)
    }

    /// Does the page-fault handler kill (up to 5.15)?
    pub fn page_fault_kills(self) -> bool {
        !self.since(5, 16)
    }

    /// Is there the multi-gen LRU (6.1)?
    pub fn has_multi_gen_lru(self) -> bool {
        self.since(6, 1)
    }

    /// Has root 3 % off (up to 4.16)?
    pub fn badness_favours_root(self) -> bool {
        !self.since(4, 17)
    }

    /// Is badness rss, swap and page tables (2.6.36)? Before, it was total_vm.
    pub fn badness_is_rss(self) -> bool {
        self.since(3, 0)
    }

    /// May a child be killed in its parent's place (up to 5.0)?
    pub fn sacrifices_child(self) -> bool {
        !self.since(5, 1)
    }

    /// Does the later of two equally bad processes win (5.3)?
    pub fn tie_goes_to_later(self) -> bool {
        self.since(5, 3)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_agree_with_the_numbers() {
        for release in Release::ALL {
            let (major, minor) = release.version().split_once('.').unwrap();
            let number = Number::new(major.parse().unwrap(), minor.parse().unwrap());
            assert_eq!(number.preset(), Some(release));
            let pairs = [
                (number.has_boost(), release.has_watermark_boost()),
                (number.counts_free_highatomic(), release.counts_free_highatomic()),
                (number.unreserves_at_every_no(), release.unreserves_at_every_no()),
                (number.looks_without_boost(), release.watermark_fast_ignores_boost()),
                (number.fast_leaves_highatomic(), release.watermark_fast_leaves_highatomic()),
                (number.has_insane_cpuset_test(), release.has_insane_cpuset_test()),
                (number.page_fault_kills(), release.page_fault_oom_kills()),
                (number.tie_goes_to_later(), release.oom_tie_goes_to_later()),
                (number.has_fractions(), !release.has_gfp_atomic()),
            ];
            for (i, (by_number, by_preset)) in pairs.into_iter().enumerate() {
                assert_eq!(by_number, by_preset, "{release}: pair {i}");
            }
        }
        assert_eq!(Number::new(4, 8).preset(), None);
        assert_eq!(Number::new(5, 16).preset(), Some(Release::V5_15));
    }
}
