//! `stress man`: the man pages, from the same tree as `--help`.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, Stop, print};

/// `stress man`.
#[derive(Args, Clone, Debug)]
pub struct ManCommand {
    /// Write a page for the program and each subcommand into a directory instead of stdout
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// What the program is called where it is installed
    #[arg(long, value_name = "NAME", default_value = "stress")]
    pub name: String,
}

/// Prints the man page of `stress` and, after it, one section for each subcommand, as roff; or
/// writes them as pages of their own.
///
/// # Errors
/// If stdout or the directory can't be written.
pub fn run(args: &ManCommand) -> Result<Exit, Stop> {
    let mut command = super::command().name(args.name.clone());
    if let Some(dir) = &args.output {
        let fails = |e: std::io::Error| Stop::cannot_run(format!("{}: {e}", dir.display()));
        std::fs::create_dir_all(dir).map_err(fails)?;
        clap_mangen::generate_to(command, dir).map_err(fails)?;
        return Ok(Exit::Ok);
    }
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
