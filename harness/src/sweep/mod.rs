//! A night's work: a matrix of runs, cell by cell, on one machine or spread over many.
//!
//! **What.** A matrix file becomes a plan, a list of cells ([`matrix`], [`plan`]); a cell is one
//! command line of `stress` with all variants that are to be compared, since these must take turns
//! on one machine. Cells are run one by one, what is done is not done again ([`cells`]); then the
//! runs join the history, are judged by the gates, and a report is made ([`finish`]). [`night`] is
//! all of it in one directory for each night.
//!
//! **Why.** Labs have schedulers: each reserves a machine, runs one command, keeps a directory and
//! looks at the exit code. So there is no server and no agent, only commands that can be cut off at
//! any moment and called again.

pub mod cells;
pub mod finish;
pub mod matrix;
pub mod night;
pub mod plan;
