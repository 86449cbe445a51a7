//! The harness behind the binary `stress`: command line, machine, run, record, report.
//!
//! Data flows one way, **plan → machine → run → record → report**, and the modules bear those
//! names. The binary itself (`main.rs`) only chooses which of them to call; that they live in a
//! library lets the tests in `tests/` hold them against dumps of real kernels.

pub mod cli;
pub mod confirm;
pub mod explore;
pub mod judge;
pub mod machine;
pub mod plan;
pub mod record;
pub mod recording;
pub mod run;
pub mod show;
pub mod sweep;
