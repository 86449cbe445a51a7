//! The model of the Linux page allocator.

pub mod ids;
pub mod machine;
pub mod sync;
