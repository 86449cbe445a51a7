//! `stress confirm`: where the steps of the model are in a real kernel.

use std::path::PathBuf;

use clap::Args;
use results::store;

use super::args::TextOrJson;
use super::exit::{Exit, Stop, print};
use crate::confirm::kernel::Kernel;
use crate::confirm::points::{self, Finder};

/// `stress confirm`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ConfirmCommand {
    /// List where the labels of race points are in this kernel, and how surely
    #[arg(long, required = true)]
    pub points: bool,
    /// A folder with one vmlinux with symbols and BTF (a debug package unpacked, or a build tree)
    #[arg(long, value_name = "DIR")]
    pub kernel: Option<PathBuf>,
    /// The vmlinux itself
    #[arg(long, value_name = "FILE", conflicts_with = "kernel")]
    pub vmlinux: Option<PathBuf>,
    /// Instead, print what rules can name in a function: its calls and inlined copies
    #[arg(long, value_name = "FUNCTION", requires = "points")]
    pub calls: Option<String>,
    /// What stdout carries
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
}

const EXAMPLES: &str = "\
Examples:
  stress confirm --points --kernel kernels/6.1
  stress confirm --points --vmlinux build/vmlinux --calls get_page_from_freelist

Only x86-64 kernels. Exit codes: 0 done; 2 usage or bad input; 3 a vmlinux that can't be used.";

/// Does what was asked for.
///
/// # Errors
/// Bad input, or a kernel that can't be used.
pub fn run(args: &ConfirmCommand) -> Result<Exit, Stop> {
    let kernel = Kernel::open(args.kernel.as_deref(), args.vmlinux.as_deref())?;
    if let Some(function) = &args.calls {
        let told = Finder::new(&kernel.vmlinux).told(function).map_err(Stop::usage)?;
        print(&told)?;
        return Ok(Exit::Ok);
    }
    let list = points::list(&kernel);
    match args.format {
        TextOrJson::Json => print(&(store::to_json(&list) + "\n"))?,
        TextOrJson::Text => print(&list.text())?,
    }
    Ok(Exit::Ok)
}
