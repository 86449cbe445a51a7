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

/// How the program is called, in three lines.
fn synopsis(name: &str) -> String {
    let name = name.replace('-', "\\-");
    format!(
        ".SH SYNOPSIS\n\\fB{name}\\fR [\\fIOPTIONS\\fR] [\\fIWORKLOAD\\fR]...\n.br\n\
         \\fB{name}\\fR \\fIWORKLOAD\\fR \\fB\\-\\-help\\fR\n.br\n\
         \\fB{name}\\fR \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]...\n"
    )
}

/// The page with another synopsis.
fn with_synopsis(page: &str, synopsis: &str) -> String {
    let Some((before, rest)) = page.split_once(".SH SYNOPSIS\n") else { return page.to_owned() };
    let after = rest.find(".SH ").map_or("", |at| &rest[at..]);
    format!("{before}{synopsis}{after}")
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
        // clap's synopsis of a hundred flags tells nobody how the program is called.
        let root = dir.join(format!("{}.1", args.name));
        let page = std::fs::read_to_string(&root).map_err(fails)?;
        let page = with_synopsis(&page, &synopsis(&args.name));
        std::fs::write(&root, page).map_err(fails)?;
        return Ok(Exit::Ok);
    }
    command.build();
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    page.extend_from_slice(synopsis(&args.name).as_bytes());
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    man.render_extra_section(&mut page)?;
    man.render_version_section(&mut page)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_synopsis_is_three_lines_and_nothing_else_is_lost() {
        let page = ".TH x\n.SH SYNOPSIS\n\\fBx\\fR [a] [b]\n.SH DESCRIPTION\nit\n";
        let new = with_synopsis(page, &synopsis("stress"));
        assert!(new.starts_with(".TH x\n.SH SYNOPSIS\n\\fBstress\\fR [\\fIOPTIONS"), "{new}");
        assert!(new.ends_with(".SH DESCRIPTION\nit\n") && !new.contains("[a]"), "{new}");
    }
}
