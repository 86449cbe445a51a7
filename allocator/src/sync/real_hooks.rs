//! What is done at locks of the real world: times for whoever watches a thread, and in debug builds
//! who holds what.
//!
//! **What.** Each thread has a list of what it holds. Entries are made while lock times are wanted
//! ([`set_watched`]) and in debug builds always, where a thread that waits for a lock of its own is
//! told so instead of hanging.
//!
//! **Whose wait it was.** A holder from whom the host took the CPU says so before it unlocks, in a
//! counter that its lock's address picks; a waiter compares the counter around its wait.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::stamp;
use crate::sync::lock::{Hold, LockName, LockWatch, Role, Site, Waited};

/// Are lock times wanted? For all threads of the process.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Holds during which the host took the CPU away, by hash of the lock's address.
static PREEMPTED: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];

fn preempted_holds(address: usize) -> &'static AtomicU32 {
    // Locks lie at multiples of 8 and more; Fibonacci hashing spreads them.
    let hash = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    &PREEMPTED[hash as usize]
}

thread_local! {
    static HELD: RefCell<Vec<Hold>> = const { RefCell::new(Vec::new()) };
    static WATCH: RefCell<Option<Box<dyn LockWatch>>> = const { RefCell::new(None) };
    static ROLE: Cell<Role> = const { Cell::new(Role::Other) };
}

/// Are lock times wanted?
#[inline]
pub fn is_watched() -> bool {
    // Relaxed: holds that begin or end at the switch are left out.
    WATCHED.load(Ordering::Relaxed)
}

/// Wants lock times from now on, or no longer: of all threads that have called
/// [`watch_this_thread`].
pub fn set_watched(wanted: bool) {
    WATCHED.store(wanted, Ordering::Relaxed);
}

/// Who takes the calling thread's lock times; returns who did.
pub fn watch_this_thread(watch: Option<Box<dyn LockWatch>>) -> Option<Box<dyn LockWatch>> {
    WATCH.replace(watch)
}

/// What the calling thread does.
#[inline]
pub fn role() -> Role {
    ROLE.get()
}

/// Sets it; returns what it was.
#[inline]
pub(in crate::sync) fn set_role(role: Role) -> Option<Role> {
    Some(ROLE.replace(role))
}

/// So many pages were moved under the innermost lock that the thread holds.
#[inline]
pub fn add_pages(pages: u64) {
    if is_watched() {
        HELD.with_borrow_mut(|held| {
            if let Some(hold) = held.last_mut() {
                hold.pages += pages;
            }
        });
    }
}

/// What the calling thread holds, the innermost last; nothing in a release build that nobody watches.
pub fn held() -> Vec<Site> {
    HELD.with_borrow(|held| held.iter().map(|hold| hold.site).collect())
}

/// Is anything to be done at a lock?
#[inline]
pub(in crate::sync) fn looks() -> bool {
    cfg!(debug_assertions) || is_watched()
}

/// A lock is wanted, come what may.
#[track_caller]
pub(in crate::sync) fn wants(site: Site) {
    let own = HELD.try_with(|held| {
        let held = held.borrow();
        let own = held.iter().find(|hold| hold.site.address == site.address);
        own.is_some_and(|hold| !(hold.site.is_shared && site.is_shared))
    });
    assert!(!own.unwrap_or(false), "waits for ever for its own {}", site.name.kernel());
}

/// The lock was taken.
pub(in crate::sync) fn acquired(site: Site) {
    let since = if is_watched() { stamp() } else { 0 };
    let _ = HELD.try_with(|held| {
        held.borrow_mut().push(Hold {
            site,
            role: ROLE.get(),
            since,
            pages: 0,
            was_preempted: false,
        });
    });
}

/// A trylock found it taken.
pub(in crate::sync) fn refused(_site: Site) {}

/// A wait that has begun.
pub(in crate::sync) struct Waits {
    site: Site,
    since: u64,
    preempted_holds: u32,
}

/// Somebody has it.
pub(in crate::sync) fn waits(site: Site) -> Waits {
    let since = if is_watched() { stamp() } else { 0 };
    let preempted_holds = preempted_holds(site.address).load(Ordering::Relaxed);
    Waits { site, since, preempted_holds }
}

/// The wait is over.
pub(in crate::sync) fn waited(waits: Waits) {
    let Waits { site, since, preempted_holds: before } = waits;
    if since == 0 {
        return;
    }
    let holder_was_preempted = preempted_holds(site.address).load(Ordering::Relaxed) != before;
    let waited = Waited { site, role: ROLE.get(), since, holder_was_preempted };
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            watch.waited(&waited);
        }
    });
}

/// The lock is about to be given back.
pub(in crate::sync) fn releasing(site: Site) -> Option<Hold> {
    let hold = HELD.try_with(|held| {
        let mut held = held.borrow_mut();
        let at = held.iter().rposition(|hold| hold.site == site)?;
        Some(held.remove(at))
    });
    let mut hold = hold.ok().flatten().filter(|hold| hold.since != 0)?;
    hold.was_preempted = WATCH
        .with_borrow(|watch| watch.as_ref().is_some_and(|watch| watch.was_preempted(hold.since)));
    if hold.was_preempted {
        preempted_holds(site.address).fetch_add(1, Ordering::Relaxed);
    }
    Some(hold)
}

/// It was given back.
pub(in crate::sync) fn released(hold: Option<Hold>) {
    let Some(hold) = hold else { return };
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            watch.held(&hold);
        }
    });
}

/// A pcp section of a release build, where sections are not looked at by themselves: entered while
/// this lives. Dropped after the section's guard.
#[derive(Debug)]
pub struct SectionHold(Option<Hold>);

impl SectionHold {
    /// The section of `pcp` was entered just now.
    #[inline]
    pub fn entered<T>(pcp: &T) -> Self {
        let is_wanted = !cfg!(debug_assertions) && is_watched();
        Self(is_wanted.then(|| {
            let address = std::ptr::from_ref(pcp).addr();
            let site = Site { address, name: LockName::Pcp, is_shared: false };
            Hold { site, role: ROLE.get(), since: stamp(), pages: 0, was_preempted: false }
        }))
    }
}

impl Drop for SectionHold {
    #[inline]
    fn drop(&mut self) {
        released(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use crate::sync::lock::{As, named};
    use crate::sync::{Lock, RwSem};

    use super::*;

    /// What a thread did: holds, pages under them, waits.
    #[derive(Default)]
    struct Seen {
        holds: AtomicU64,
        pages: AtomicU64,
        waits: AtomicU64,
        waits_for_preempted: AtomicU64,
    }

    struct Counter(Arc<Seen>, bool);

    impl LockWatch for Counter {
        fn was_preempted(&self, since: u64) -> bool {
            assert_ne!(since, 0);
            self.1
        }
        fn held(&mut self, hold: &Hold) {
            assert_eq!((hold.site.name, hold.role), (LockName::Zone, Role::Free));
            self.0.holds.fetch_add(1, Ordering::Relaxed);
            self.0.pages.fetch_add(hold.pages, Ordering::Relaxed);
        }
        fn waited(&mut self, waited: &Waited) {
            assert_eq!(waited.site.name, LockName::Zone);
            self.0.waits.fetch_add(1, Ordering::Relaxed);
            let preempted = u64::from(waited.holder_was_preempted);
            self.0.waits_for_preempted.fetch_add(preempted, Ordering::Relaxed);
        }
    }

    // One test: the switch is the process's.
    #[test]
    fn holds_pages_and_waits_are_told_with_their_role_and_only_while_watched() {
        let lock = Arc::new(Lock::<named::Zone, u32>::new(0));
        let seen = Arc::new(Seen::default());
        let watch = |preempted| -> Option<Box<dyn LockWatch>> {
            Some(Box::new(Counter(Arc::clone(&seen), preempted)))
        };
        watch_this_thread(watch(true));
        drop(lock.lock());
        assert_eq!(seen.holds.load(Ordering::Relaxed), 0, "nobody asked");
        // A hold over the switch has no beginning.
        let guard = lock.lock();
        set_watched(true);
        drop(guard);
        assert_eq!(seen.holds.load(Ordering::Relaxed), 0);
        let _role = As::role(Role::Free);
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let mut rounds = 0;
        // Until the waiter came while the lock was held, and not after.
        while of(&seen.waits) == 0 {
            let guard = lock.lock();
            add_pages(3);
            add_pages(4);
            assert!(lock.try_lock().is_none());
            let begun = Arc::new(AtomicBool::new(false));
            let waiter = {
                let (lock, watch) = (Arc::clone(&lock), Counter(Arc::clone(&seen), false));
                let begun = Arc::clone(&begun);
                std::thread::spawn(move || {
                    watch_this_thread(Some(Box::new(watch)));
                    let _role = As::role(Role::Free);
                    begun.store(true, Ordering::Relaxed);
                    *lock.lock() += 1;
                    assert_eq!(super::held(), []);
                })
            };
            while !begun.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            std::thread::yield_now();
            drop(guard);
            waiter.join().unwrap();
            rounds += 1;
        }
        set_watched(false);
        assert_eq!((of(&seen.holds), of(&seen.pages)), (2 * rounds, 7 * rounds));
        assert_eq!((of(&seen.waits), of(&seen.waits_for_preempted)), (1, 1));
        watch_this_thread(None);
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "waits for ever for its own mmap_lock")]
    fn a_thread_that_waits_for_itself_is_told_so() {
        let lock = RwSem::<named::Mmap, ()>::new(());
        let _reader = lock.read();
        drop(lock.write());
    }

    #[cfg(debug_assertions)]
    #[test]
    fn what_is_held_is_known_and_a_downgrade_is_a_hold_of_its_own() {
        let (outer, inner) = (RwSem::<named::Mmap, ()>::new(()), Lock::<named::Ptl, ()>::new(()));
        let names = || held().iter().map(|s| (s.name, s.is_shared)).collect::<Vec<_>>();
        let writer = outer.write();
        let _inner = inner.lock();
        assert_eq!(names(), [(LockName::Mmap, false), (LockName::Ptl, false)]);
        let reader = lock_api::RwLockWriteGuard::downgrade(writer);
        assert_eq!(names(), [(LockName::Ptl, false), (LockName::Mmap, true)]);
        drop(reader);
        assert_eq!(names(), [(LockName::Ptl, false)]);
    }
}
