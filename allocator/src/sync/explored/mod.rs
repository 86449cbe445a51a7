//! The explorer's side of the door: tasks are coroutines on one OS thread, and a [`Strategy`]
//! chooses who runs.
//!
//! **What.** The same names as the real world's side (`../real.rs`), for one execution of a world
//! under [`crate::explore`]. [`core`] holds who runs, who waits for what, the virtual clock and the
//! choices; [`locks`] the locks and the condition variable; [`carrier`] what shuttle does for us:
//! stacks to switch between, nothing else.
//!
//! **Why.** shuttle's own locks and atomics ask its scheduler at every operation, and its read-write
//! lock and its notion of time differ from the kernel's. Ours ask only where it matters: at a named
//! race point ([`switch_point`]), and where a task can't go on (it blocks, spins or ends).
//!
//! **Rules for the world.** The first task (`main`) builds the world, spawns, joins and checks; it
//! runs only when no other task can, and is never switched away from at a point. A task touches
//! nothing shared before its first point. Between a look at a word that makes a task spin and its
//! call of [`relax`] lies no point. What a task spins for is named by the one who ends the wait, with
//! [`touched`].
//!
//! **Differs.** Sequentially consistent, since all tasks share one OS thread: what store buffers do
//! is loom's job. The clock stands still while anybody can run.

mod carrier;
mod choice;
mod core;
pub(in crate::sync) mod hooks;
mod locks;
mod pool;
mod spawn;

/// What [`crate::explore`] drives executions with.
pub(crate) mod engine {
    pub(crate) use super::carrier::{drive, on_os_threads};
    pub(crate) use super::choice::{Decision, RunEnd, Strategy};
    pub(crate) use super::core::{Core, Limits, with};
    pub(crate) use super::pool::WorkPool;
}

pub use choice::{At, Choice};
pub use locks::{Condvar, RawMutex, RawMutex as RawSection, RawRwLock};
pub use spawn::{JoinHandle, spawn};

use self::core::{On, block_on, with};
use super::ObjId;

/// A reading of the step counter: how many points, blocks and spins this execution has made.
pub type Stamp = u64;

/// Steps of this execution so far; 0 outside of one.
#[inline]
pub fn stamp() -> Stamp {
    with(|core| core.steps()).unwrap_or(0)
}

/// Nanoseconds of the virtual clock; 0 outside of an execution.
pub fn monotonic_ns() -> u64 {
    with(|core| core.clock_ns()).unwrap_or(0)
}

/// One round of a spin on `obj`: the task is no option until another one has [`touched`] it. True:
/// nobody can run who could, and the next round without hope is a livelock.
pub fn relax(obj: ObjId, _rounds: u32) -> bool {
    block_on(On::Spin(obj.0), None)
}

/// Says that `obj` was written: who spins on it may look again.
pub fn touched(obj: ObjId) {
    with(|core| core.touched(obj.0));
}

/// A race point: the scheduler may let another task run here, and the segment of code behind it
/// happens when this returns.
pub fn switch_point(label: u16) {
    self::core::point(label);
}

/// Lets any other task run. Costs no preemption.
pub fn yield_now() {
    block_on(On::Yield, None);
}
