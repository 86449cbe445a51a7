//! The room of replays: a kernel that starts from a recorded state and is told what to take.
//!
//! **Rooms.** [`restore`] puts frames, lists and counts where a recording says they were,
//! [`dictate`] takes and frees the very blocks of a recorded event.
//!
//! **Locks.** As the mechanisms that they go around: zone->lock, the section of a pcp.
//! **Callers.** The workload `replay` alone; no mechanism knows that it is replayed.

pub mod dictate;
pub mod restore;
