//! Race windows, measured: how often each opens, how long it stays open, and how often another task
//! does meanwhile what the race needs.
//!
//! **What.** A window is opened by one race point and closed by another on the same context; a third,
//! anywhere, steps into it. What a request learned at S1 may be old by its next test; between the
//! first store of a cpuset update and its last policies and mems disagree; an address space that
//! goes away hides from the OOM killer only at Q4; a zonelist is in pieces from Z1 to Z5.
//!
//! **Why.** It tells how likely a race is in the field, and gives `--amplify` its scale.
//!
//! **Differs.** Windows that lie in the fast paths' instrumented copy only (frees against isolation)
//! are not measured: what is not there can't be passed. One that is opened again before it was
//! closed, by a request that got its page, has no length.

use crossbeam::utils::CachePadded;

use crate::race::Point;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Stamp, stamp};
use crate::task::Cx;

/// A window, by its points.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Where it opens; it is known by this name.
    pub opens: Point,
    /// Where it closes.
    pub closes: Point,
    /// What another task must not do meanwhile.
    pub enters: Point,
}

/// How many windows there are.
pub const NR_WINDOWS: usize = 4;

/// All windows.
pub const WINDOWS: [Window; NR_WINDOWS] = [
    Window { opens: Point::S1Cookies, closes: Point::S19aCheck, enters: Point::W5Mems },
    Window { opens: Point::W5Mems, closes: Point::T4Done, enters: Point::S1Cookies },
    Window { opens: Point::QExitMm, closes: Point::QSkip, enters: Point::R1Trylock },
    Window { opens: Point::Z1Lock, closes: Point::Z5Unlock, enters: Point::S1Cookies },
];

/// Does a window begin or end there, or does somebody step into one?
const WATCHED: [bool; Point::ALL.len()] = {
    let mut watched = [false; Point::ALL.len()];
    let mut i = 0;
    while i < NR_WINDOWS {
        watched[WINDOWS[i].opens as usize] = true;
        watched[WINDOWS[i].closes as usize] = true;
        watched[WINDOWS[i].enters as usize] = true;
        i += 1;
    }
    watched
};

/// Is the point part of a window? For a constant point the compiler knows.
#[inline(always)]
pub const fn is_watched(point: Point) -> bool {
    WATCHED[point as usize]
}

/// How often each window's third point was passed, by anybody.
#[derive(Debug, Default)]
pub struct Intruders([CachePadded<AtomicU64>; NR_WINDOWS]);

/// A window that a context has open: since when, and how many intruders there had been.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    since: Stamp,
    intruders: u64,
}

/// The windows that a context has open.
pub type OpenWindows = [Option<Open>; NR_WINDOWS];

impl Intruders {
    /// A context passes a watched point.
    pub(crate) fn pass(&self, cx: &Cx, point: Point) {
        let mut open = cx.windows.get();
        for (index, window) in WINDOWS.iter().enumerate() {
            // Relaxed: a count; who steps in while it is read is at the window's edge either way.
            let counter = &self.0[index];
            if point == window.closes
                && let Some(Open { since, intruders }) = open[index].take()
                && let Some(observer) = &cx.observer
            {
                let entered = counter.load(Ordering::Relaxed) > intruders;
                observer.window_closed(index, since, entered);
            }
            if point == window.enters {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            if point == window.opens
                && let Some(observer) = &cx.observer
            {
                observer.window_opened(index);
                let intruders = counter.load(Ordering::Relaxed);
                open[index] = Some(Open { since: stamp(), intruders });
            }
        }
        cx.windows.set(open);
    }
}
