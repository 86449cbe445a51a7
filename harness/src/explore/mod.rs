//! Exploration: every schedule of a small world, or samples; what is found is kept, told and
//! replayed.
//!
//! **What.** [`subject`] resolves what is searched, [`search`] runs it with progress and makes a
//! [`document`] of it, [`kept`] writes and reads schedules, [`timeline`] tells one in columns,
//! [`text`] is what people read; [`matrix`] and [`bisect`] are searches of many policies.
//!
//! **Which copy of the model.** The one over the scheduler: `allocator_explore` and
//! `workloads_explore`, which this binary carries beside the copies over real threads.

pub mod bisect;
pub mod document;
pub mod kept;
pub mod matrix;
pub mod search;
pub mod subject;
pub mod text;
pub mod timeline;
