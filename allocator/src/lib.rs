//! The model of the Linux page allocator.

pub mod gfp;
pub mod ids;
pub mod machine;
pub mod nodemask;
pub mod policy;
pub mod sync;
