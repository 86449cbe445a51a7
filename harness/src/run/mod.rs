//! Runs a plan: rounds of variants, each with phases, threads, and a watchdog over them.
//!
//! **What.** [`rounds::run`] goes through the plan's turns; [`phases::round`] boots a model, lets
//! the tasks warm up, measures, stops and takes stock; [`threads`] are the OS threads;
//! [`watchdog`] turns a hang into a finding; [`signals`] turns Ctrl-C into a partial result.
//!
//! **Why a model per round.** A round is the sample of a comparison: it must not inherit the
//! fragmentation or the victims of the one before.

pub mod control;
pub mod phases;
pub mod rounds;
pub mod signals;
pub mod threads;
pub mod watchdog;

#[cfg(test)]
mod tests;
