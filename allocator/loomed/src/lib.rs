//! What loom reads of the model, compiled from the same files: the sequence counter, the pcp section
//! with count and high, the frame's state word.
//!
//! A package of its own, so that the model's own modules need not say what loom leaves out. Only
//! `--cfg loom` makes anything of it (`scripts/test loom`).
#![cfg(loom)]
#![expect(missing_docs, reason = "the modules are documented where they live")]

#[path = "../../src/ids.rs"]
pub mod ids;
#[path = "../../src/sync/mod.rs"]
pub mod sync;

#[path = "../../src/zone"]
pub mod zone {
    pub mod frame;
    mod frame_lists;
    pub mod migratetype;
    pub mod pcp;
}
