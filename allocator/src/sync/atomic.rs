//! Atomics: std's in the real and the explorer's world, loom's under `cfg(loom)`.
//!
//! Nearly all uses are Relaxed, because the kernel's are plain loads and stores (READ_ONCE,
//! WRITE_ONCE): the model wants the same races. Where an order is needed the site names its
//! partner.

#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(not(loom))]
pub use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
