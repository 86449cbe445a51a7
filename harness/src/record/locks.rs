//! Lock times of `--locks`: how long each kernel lock of the model was held and waited for, by what
//! its holder was doing.
//!
//! **What.** `LockRecorder` belongs to one thread and hears of each hold and wait
//! ([`allocator::sync::lock`]); when the thread lets go of it, it adds what it heard to the round's
//! [`LockBox`]. In the record each is an operation of its own, `zone_lock_hold_free` or
//! `ptl_wait_reaper`, so that comparisons, history and reports know it; pages per hold are figures.
//!
//! **Why apart.** Waits whose holder the host had preempted would drown all others: no kernel's
//! waiter waits for that under a spinlock. They are filed as preempted samples are.
//!
//! **Differs.** A hold's time includes two looks at the clock, some 20 ns. A pcp section is seen by its
//! holder only, not as one that the host preempted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use allocator::sync::lock::{Hold, LockName, LockWatch, Role, Waited};
use allocator::sync::{lock, stamp};
use results::histogram::OpName;

use super::clock::Ticks;
use super::preemption::{Switches, Verdict};
use super::recorder::{Spans, file, span_of};

/// Names of one lock and one role.
#[derive(Debug)]
struct Names {
    hold: OpName,
    wait: OpName,
    pages: &'static str,
}

/// The names of a lock's times. Made once: a name lives as long as the process.
fn names(lock: LockName, role: Role) -> &'static Names {
    static NAMES: OnceLock<Vec<Names>> = OnceLock::new();
    let all = NAMES.get_or_init(|| {
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let pairs = LockName::ALL.iter().flat_map(|l| Role::ALL.iter().map(move |r| (l, r)));
        let of = |(l, r): (&LockName, &Role)| Names {
            hold: OpName {
                name: leak(format!("{}_hold_{}", l.word(), r.word())),
                label: leak(format!("{} held ({})", l.kernel(), r.word())),
            },
            wait: OpName {
                name: leak(format!("{}_wait_{}", l.word(), r.word())),
                label: leak(format!("{} wait ({})", l.kernel(), r.word())),
            },
            pages: leak(format!("{}_pages_per_hold_{}", l.word(), r.word())),
        };
        pairs.map(of).collect()
    });
    &all[lock as usize * Role::ALL.len() + role as usize]
}

/// What threads heard of their locks.
#[derive(Clone, Debug, Default)]
pub struct LockTimes {
    /// Holds and waits, by name.
    pub spans: Spans,
    /// Holds under which pages were moved, and pages.
    pages: BTreeMap<&'static str, (u64, u64)>,
}

impl LockTimes {
    fn merge(&mut self, other: &Self) {
        for (name, ops) in &other.spans {
            span_of(&mut self.spans, name, || ops.names()[0].clone()).merge(ops);
        }
        for (name, (holds, pages)) in &other.pages {
            let mine = self.pages.entry(name).or_default();
            mine.0 += holds;
            mine.1 += pages;
        }
    }

    /// Mean pages of the holds that moved any.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, f64, &'static str)> + '_ {
        self.pages
            .iter()
            .map(|(name, (holds, pages))| (*name, *pages as f64 / (*holds).max(1) as f64, "pages"))
    }
}

/// Where the threads of a round leave what they heard.
#[derive(Clone, Debug, Default)]
pub struct LockBox(Arc<Mutex<LockTimes>>);

impl LockBox {
    /// The calling thread's locks are heard from now on, while they are watched
    /// ([`lock::set_watched`]), until the result is dropped.
    pub fn hear(&self) -> Hearing {
        let ticks = Ticks::default();
        let switches = Switches::new(&ticks);
        let recorder =
            LockRecorder { ticks, switches, times: LockTimes::default(), outbox: self.clone() };
        lock::watch_this_thread(Some(Box::new(recorder)));
        Hearing
    }

    /// What was left so far.
    pub fn take(&self) -> LockTimes {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The calling thread's locks are heard while this lives.
#[derive(Debug)]
pub struct Hearing;

impl Drop for Hearing {
    fn drop(&mut self) {
        lock::watch_this_thread(None);
    }
}

/// One thread's.
#[derive(Debug)]
struct LockRecorder {
    ticks: Ticks,
    switches: Switches,
    times: LockTimes,
    outbox: LockBox,
}

impl LockRecorder {
    fn file(&mut self, op: &'static OpName, since: u64, is_preempted: bool) {
        let now = stamp();
        let verdict = match (is_preempted, self.switches.judge(since, now)) {
            (true, _) => Verdict::Preempted,
            (false, verdict) => verdict,
        };
        let ns = self.ticks.ns(since, now);
        file(span_of(&mut self.times.spans, op.name, || op.clone()), 0, ns, verdict);
        if self.switches.is_stale(now) {
            self.switches.refresh(now);
        }
    }
}

impl LockWatch for LockRecorder {
    fn was_preempted(&self, since: u64) -> bool {
        self.switches.judge(since, stamp()) == Verdict::Preempted
    }

    fn held(&mut self, hold: &Hold) {
        let names = names(hold.site.name, hold.role);
        self.file(&names.hold, hold.since, hold.was_preempted);
        if hold.pages > 0 {
            let (holds, pages) = self.times.pages.entry(names.pages).or_default();
            *holds += 1;
            *pages += hold.pages;
        }
    }

    fn waited(&mut self, waited: &Waited) {
        let names = names(waited.site.name, waited.role);
        self.file(&names.wait, waited.since, waited.holder_was_preempted);
    }
}

impl Drop for LockRecorder {
    fn drop(&mut self) {
        self.outbox.0.lock().unwrap_or_else(PoisonError::into_inner).merge(&self.times);
    }
}

#[cfg(test)]
mod tests {
    use allocator::sync::Lock;
    use allocator::sync::lock::{As, add_pages, named};

    use super::*;

    #[test]
    fn holds_of_all_threads_come_together_by_lock_and_role() {
        let outbox = LockBox::default();
        lock::set_watched(true);
        let threads = [Role::Free, Role::Free, Role::Exit].map(|role| {
            let outbox = outbox.clone();
            std::thread::spawn(move || {
                let _hears = outbox.hear();
                let _role = As::role(role);
                let zone = Lock::<named::Zone, ()>::new(());
                for pages in [2, 4] {
                    let _guard = zone.lock();
                    add_pages(pages);
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        lock::set_watched(false);
        let times = outbox.take();
        let counts: Vec<_> = times.spans.iter().map(|(name, ops)| (*name, ops.count(0))).collect();
        assert_eq!(counts, [("zone_lock_hold_exit", 2), ("zone_lock_hold_free", 4)]);
        let figures: Vec<_> = times.figures().collect();
        let expected = [
            ("zone_lock_pages_per_hold_exit", 3.0, "pages"),
            ("zone_lock_pages_per_hold_free", 3.0, "pages"),
        ];
        assert_eq!(figures, expected);
        assert_eq!(times.spans[1].1.names()[0].label, "zone->lock held (free)");
    }

    #[test]
    fn each_pair_of_lock_and_role_has_a_name_of_its_own() {
        let mut all: Vec<&str> = LockName::ALL
            .iter()
            .flat_map(|l| Role::ALL.iter().map(|r| names(*l, *r)))
            .flat_map(|n| [n.hold.name, n.wait.name, n.pages])
            .collect();
        let before = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), before);
    }
}
