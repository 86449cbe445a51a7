//! From what happened to the record: the clock, what each thread records, and the document.

pub mod clock;
pub mod document;
pub mod findings;
pub mod hlog;
pub mod locks;
pub mod preemption;
pub mod recorder;
pub mod stock;
pub mod trace;
pub mod windows;
