//! The run record: what a run leaves behind, and everything that is made of it afterwards.
//!
//! Data flows one way: the harness fills a [`schema::Run`] with the help of [`histogram`] and
//! [`host`], [`store`] puts it on disk whole or not at all, and every other module is a pure
//! function of records.
//!
//! This crate depends on no other crate of the workspace: the allocator's types carry no serde,
//! the harness converts.

pub mod compare;
pub mod error;
pub mod escape;
pub mod export;
pub mod fidelity;
pub mod find_time;
pub mod format;
pub mod histogram;
pub mod history;
pub mod host;
pub mod input;
pub mod merge;
pub mod report;
pub mod schema;
pub mod store;
pub mod text;
pub mod time;

pub use error::Error;

#[cfg(test)]
mod sample;
