//! The oracle: always on, it only looks.
//!
//! **What.** ARCHITECTURE.md#the-oracle. Checkers stand beside the mechanisms and read exact
//! counters; what they find becomes a [`Finding`], with the report in the kernel's words and a
//! timeline.
//!
//! **Why apart.** A mechanism that judged itself would share its own blind spots.

pub mod conservation;
pub mod extra_victim;
pub mod finding;
mod fold;
pub mod isolation;
pub mod placement;
pub mod premature_oom;
pub mod progress;
pub mod reserves;
pub mod story;
pub mod why;

pub use finding::{Finding, FindingKind, Findings};
pub use premature_oom::RequestLog;
