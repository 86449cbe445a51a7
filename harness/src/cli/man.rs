//! `stress man`: the man page, from the same tree as `--help`.

use super::exit::{Exit, Stop, print};

/// Prints the man page of `stress` and, after it, one section for each subcommand, as roff.
///
/// # Errors
/// If stdout can't be written.
pub fn run() -> Result<Exit, Stop> {
    let mut command = super::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands() {
        let man = clap_mangen::Man::new(sub.clone());
        page.extend_from_slice(
            format!(".SH \"STRESS {}\"\n", sub.get_name().to_uppercase()).as_bytes(),
        );
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Ok)
}
