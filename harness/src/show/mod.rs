//! What the user sees: progress while it runs, the summary when it is over, findings as mail.

pub mod color;
pub mod dry_run;
pub mod finding;
pub mod live;
pub mod log;
pub mod progress;
pub mod say;
pub mod summary;

pub use say::say;
