//! `stress machine`.
use super::args::MachineCommand;
use super::exit::{Exit, Stop};
/// x
///
/// # Errors
/// y
pub fn run(_: &MachineCommand) -> Result<Exit, Stop> {
    Ok(Exit::Ok)
}
