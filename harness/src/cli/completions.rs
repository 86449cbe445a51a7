//! `stress completions SHELL`.

use super::args::CompletionsCommand;
use super::exit::{Exit, Stop, print};

/// Prints the completions script of a shell.
///
/// # Errors
/// If stdout can't be written.
pub fn run(args: &CompletionsCommand) -> Result<Exit, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), &args.name, &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
