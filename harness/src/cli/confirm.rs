//! `stress confirm`: a finding of the model, tried on a real kernel; or where its steps are there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use results::store;

use super::args::TextOrJson;
use super::exit::{Exit, Stop, print};
use super::values;
use crate::confirm::attempt::{self, Effort, Wanted};
use crate::confirm::guest;
use crate::confirm::kernel::Kernel;
use crate::confirm::machine;
use crate::confirm::points::{self, Finder};
use crate::explore::kept::Kept;
use crate::run::signals::Signals;
use crate::show::say;

/// `stress confirm`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ConfirmCommand {
    /// A schedule kept by `stress explore`, or a family: the first schedule that the explorer finds under the kernel's preset
    #[arg(
        value_name = "FINDING.schedule|FAMILY",
        required_unless_present = "points",
        conflicts_with = "points"
    )]
    pub what: Option<String>,
    /// List where the labels of race points are in this kernel, and how surely
    #[arg(long)]
    pub points: bool,
    /// A folder with one vmlinux with symbols and BTF, and one vmlinuz or bzImage (packages unpacked, or a build tree)
    #[arg(long, value_name = "DIR")]
    pub kernel: Option<PathBuf>,
    /// The vmlinux itself
    #[arg(long, value_name = "FILE", conflicts_with = "kernel")]
    pub vmlinux: Option<PathBuf>,
    /// The image itself
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "points"], requires = "vmlinux")]
    pub image: Option<PathBuf>,
    /// Instead, print what rules can name in a function: its calls and inlined copies
    #[arg(long, value_name = "FUNCTION", requires = "points")]
    pub calls: Option<String>,
    /// Rounds with the race, each behind a control; all in one boot
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// For all of it
    #[arg(long, value_name = "TIME", default_value = "4m", value_parser = values::duration_above_zero)]
    pub timeout: Duration,
    /// The guest's program, built by scripts/confirm-guest [default: compiled each time by cc]
    #[arg(long, value_name = "FILE")]
    pub guest: Option<PathBuf>,
    /// Directory for the verdict (confirm.json) and what the guest printed (console.txt)
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// What stdout carries
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
    /// No progress on stderr
    #[arg(short, long)]
    pub quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  stress confirm J4f --kernel kernels/6.1
  stress confirm stress-runs/.../finding-1.schedule --kernel kernels/6.1 --rounds 10
  stress confirm --points --kernel kernels/6.1
  stress confirm --points --vmlinux build/vmlinux --calls get_page_from_freelist

Only x86-64 kernels, in a QEMU guest without acceleration; nothing of the kernel is changed.
Exit codes: 0 confirmed; 1 refuted: all points were reached and the outcome did not show; 2 usage or
bad input; 3 not possible here: no QEMU, no symbols; 6 not reached: a point, or a control that is well.";

/// Does what was asked for.
///
/// # Errors
/// Bad input, or a kernel or a machine that can't be used.
pub fn run(args: &ConfirmCommand) -> Result<Exit, Stop> {
    if args.points {
        return points(args);
    }
    let signals = Signals::catch().map_err(|e| Stop::cannot_run(format!("signals: {e}")))?;
    machine::installed()?;
    let program = args.guest.as_deref().map(guest::read).transpose()?;
    let start = Instant::now();
    let tell = |text: &str| {
        if !args.quiet {
            say(format_args!("{:6.1} s  {text}", start.elapsed().as_secs_f64()));
        }
    };
    let what = args.what.as_deref().unwrap_or_default();
    let file = Path::new(what);
    let kept = (file.is_file() || what.contains(['/', '.'])).then(|| Kept::load(file));
    let kept = kept.transpose().map_err(|s| renamed(s, what))?;
    // What is wrong with the schedule is said before a kernel is read.
    let of_schedule = kept.as_ref().map(attempt::of_schedule).transpose();
    let of_schedule = of_schedule.map_err(|s| in_file(s, what))?;
    let kernel = Kernel::open(args.kernel.as_deref(), args.vmlinux.as_deref())?;
    let image = kernel.image(args.kernel.as_deref(), args.image.as_deref())?;
    let wanted = match of_schedule {
        Some(wanted) => wanted,
        None => attempt::of_family(what, &kernel)?,
    };
    note(&wanted, kept.as_ref(), &kernel);
    tell(&format!("{} on {}", wanted.family, kernel.version));
    let mut watch = |text: Option<&str>| {
        if let Some(text) = text {
            tell(text);
        }
        signals.interrupted().is_none()
    };
    let effort = Effort { rounds: usize::from(args.rounds), timeout: args.timeout, guest: program };
    let (verdict, console) = match attempt::attempt(&wanted, &kernel, &image, effort, &mut watch) {
        Err(stop) if stop.exit == Exit::Interrupted => {
            let exit = signals.interrupted().unwrap_or(Exit::Interrupted);
            return Err(Stop { exit, ..stop });
        }
        other => other?,
    };
    if let Some(dir) = &args.output {
        std::fs::create_dir_all(dir)
            .map_err(|e| Stop::usage(format!("-o {}: {e}", dir.display())))?;
        store::write_atomic(&dir.join("confirm.json"), store::to_json(&verdict).as_bytes())?;
        store::write_atomic(&dir.join("console.txt"), console.as_bytes())?;
    }
    match args.format {
        TextOrJson::Json => print(&(store::to_json(&verdict) + "\n"))?,
        TextOrJson::Text => print(&verdict.text())?,
    }
    Ok(verdict.word.exit())
}

/// What the reader has to know of a schedule that is tried although it is not the kernel's own.
fn note(wanted: &Wanted, kept: Option<&Kept>, kernel: &Kernel) {
    if !wanted.shows {
        say(format_args!(
            "stress: note: the model shows no {} under this schedule: expect 'refuted'",
            wanted.family
        ));
    }
    let own = kernel.release.word();
    if let Some(kept) = kept.filter(|k| k.variant.split(',').next() != Some(own)) {
        say(format_args!(
            "stress: note: the schedule was found under {}; this kernel's preset is {own}",
            kept.variant
        ));
    }
}

fn in_file(stop: Stop, file: &str) -> Stop {
    Stop { message: format!("{file}: {}", stop.message), ..stop }
}

/// A schedule's reader speaks of the explorer's flag.
fn renamed(stop: Stop, file: &str) -> Stop {
    let message = stop.message.trim_start_matches("--replay ").to_owned();
    Stop {
        message: if message.contains(file) { message } else { format!("{file}: {message}") },
        ..stop
    }
}

/// `--points`.
fn points(args: &ConfirmCommand) -> Result<Exit, Stop> {
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
