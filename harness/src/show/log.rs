//! `-v`: what the harness does and when, one line each on stderr.
//!
//! **Differs.** No levels by name and no filters: `-v` tells the steps of a run, `-vv` also what is
//! in them. Nothing of the allocator is logged: its timelines tell more and cost less.

use crate::show::say;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

static LEVEL: AtomicU8 = AtomicU8::new(0);

/// How much is told from now on.
pub fn set(level: u8) {
    let _ = begun();
    LEVEL.store(level, Ordering::Relaxed);
}

fn begun() -> Instant {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    *BEGUN.get_or_init(Instant::now)
}

/// Tells a step, at `-v`.
pub fn step(what: impl FnOnce() -> String) {
    tell(1, what);
}

/// Tells a detail, at `-vv`.
pub fn detail(what: impl FnOnce() -> String) {
    tell(2, what);
}

fn tell(level: u8, what: impl FnOnce() -> String) {
    if LEVEL.load(Ordering::Relaxed) >= level {
        say(format_args!("stress: {:8.3}s  {}", begun().elapsed().as_secs_f64(), what()));
    }
}
