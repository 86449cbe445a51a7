//! Race windows, measured: how often each opens, how long it stays open, and how often another task
//! does meanwhile what the race needs.
//!
//! **What.** A window is opened by one race point and closed by another on the same context; a third,
//! anywhere, steps into it. What a request learned at S1 may be old by its next test; between the
//! first store of a cpuset update and its last policies and mems disagree; an address space that
//! goes away hides from the OOM killer only at Q4; a zonelist is in pieces from Z1 to Z5; from the
//! first isolated pageblock to L9 a page that is freed to a pcplist makes the last test fail.
//!
//! **Why.** It tells how likely a race is in the field, and gives `--amplify` its scale.
//!
//! **Differs.** What lies in the fast paths' instrumented copy only can't be passed: of a free
//! against isolation the failed test is seen (L8), not the free. A window that is opened again before
//! it was closed, by a request that got its page, has no length.

use crossbeam::utils::CachePadded;

use crate::race::Point;
use crate::run::task::Cx;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Stamp, stamp};

/// A window, by its points.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Where it opens; it is known by this name.
    pub opens: Point,
    /// Where it closes, whichever comes first.
    pub closes: &'static [Point],
    /// What another task must not do meanwhile, or the first sign that it did.
    pub enters: Point,
    /// Passing `opens` again means the same window, not another: an offline isolates pageblock by
    /// pageblock.
    pub stays: bool,
}

/// How many windows there are.
pub const NR_WINDOWS: usize = 5;

/// All windows.
pub const WINDOWS: [Window; NR_WINDOWS] = [
    window(Point::S1Cookies, &[Point::S19aCheck], Point::W5Mems),
    window(Point::W5Mems, &[Point::T4Done], Point::S1Cookies),
    window(Point::QExitMm, &[Point::QSkip], Point::R1Trylock),
    window(Point::Z1Lock, &[Point::Z5Unlock], Point::S1Cookies),
    Window {
        stays: true,
        ..window(Point::I6Unlock, &[Point::L9Taken, Point::LUndo], Point::L8Again)
    },
];

const fn window(opens: Point, closes: &'static [Point], enters: Point) -> Window {
    Window { opens, closes, enters, stays: false }
}

/// Does a window begin or end there, or does somebody step into one?
const WATCHED: [bool; Point::ALL.len()] = {
    let mut watched = [false; Point::ALL.len()];
    let mut i = 0;
    while i < NR_WINDOWS {
        watched[WINDOWS[i].opens as usize] = true;
        let mut c = 0;
        while c < WINDOWS[i].closes.len() {
            watched[WINDOWS[i].closes[c] as usize] = true;
            c += 1;
        }
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
            if window.closes.contains(&point)
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
                && !(window.stays && open[index].is_some())
                && let Some(observer) = &cx.observer
            {
                observer.window_opened(index);
                let intruders = counter.load(Ordering::Relaxed);
                open[index] = Some(Open { since: stamp(), intruders });
            }
        }
        cx.windows.set(open);
    }
    /// A context gives up what it had begun: a window that this point opened has no length.
    pub(crate) fn give_up(&self, cx: &Cx, opens: Point) {
        let mut open = cx.windows.get();
        for (slot, window) in open.iter_mut().zip(&WINDOWS) {
            if window.opens == opens {
                *slot = None;
            }
        }
        cx.windows.set(open);
    }
}
