//! `stress judge`: was this kill right?

use std::path::PathBuf;

use clap::Args;

use super::args::TextOrJson;
use super::exit::{Exit, Stop, print};
use crate::judge::{Class, Judged, document, input, text};
use crate::show::say;

/// `stress judge`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct JudgeCommand {
    /// Logs with OOM or allocation-failure reports, directories of such, or `-` for stdin
    #[arg(default_value = "-", value_name = "FILE|DIR|-")]
    pub inputs: Vec<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
    /// Walk the watermark arithmetic of each zone line by line
    #[arg(long, conflicts_with_all = ["mail", "summary"])]
    pub explain: bool,
    /// As a reply for a mailing list
    #[arg(long, conflicts_with = "summary")]
    pub mail: bool,
    /// Print the reports with names, pids, users, cgroups and hosts replaced, for posting; judges nothing
    #[arg(long, conflicts_with_all = ["explain", "mail", "summary", "format"])]
    pub anonymize: bool,
    /// Count the classes only
    #[arg(long)]
    pub summary: bool,
}

const EXAMPLES: &str = "\
Takes what is pasted: dmesg, journalctl, syslog, pstore, mails with quotes and wrapped lines; gz, xz, zst.

Examples:
  stress judge dmesg.txt
  journalctl -k | stress judge
  stress judge --summary logs/

Exit codes: 1 a kill was premature or had no zone that it could help; 6 a report can't be judged;
2 nothing to judge; 0 every other class.";

/// Judges.
///
/// # Errors
/// Files that can't be read; no report in any of them.
pub fn run(args: &JudgeCommand) -> Result<Exit, Stop> {
    if args.anonymize {
        return anonymize(args);
    }
    let mut all: Vec<Judged> = Vec::new();
    let mut classes: Vec<(Class, &'static str)> = Vec::new();
    let (mut files, mut without) = (0, 0);
    let mut failed = None;
    for given in &args.inputs {
        let unreadable =
            |e: std::io::Error| Stop::usage(format!("judge: {}: {e}", given.display()));
        for log in input::logs(given).map_err(unreadable)? {
            files += 1;
            let found = input::each_report(&log, |judged| {
                classes.push((judged.class, judged.kind));
                if args.format == TextOrJson::Json {
                    all.push(judged);
                } else if !args.summary {
                    let text = if args.mail {
                        text::mail(&judged)
                    } else {
                        text::text(&judged, args.explain)
                    };
                    let gap = if classes.len() > 1 { "\n" } else { "" };
                    failed = failed.take().or(print(&format!("{gap}{text}")).err());
                }
            });
            match found {
                Ok(0) => without += 1,
                Ok(_) => {}
                // One odd file of a directory ends nothing.
                Err(e) if given.is_dir() => say(format_args!("stress: {}: {e}", log.display())),
                Err(e) => return Err(unreadable(e)),
            }
            if let Some(e) = failed.take() {
                return Err(e.into());
            }
        }
    }
    if classes.is_empty() {
        let names: Vec<String> = args.inputs.iter().map(|i| i.display().to_string()).collect();
        return Err(Stop::usage(format!(
            "judge: {}: no report in it: want lines such as 'NAME invoked oom-killer: gfp_mask=...' or \
             'page allocation failure' and the Mem-Info that follows them",
            names.join(", ")
        )));
    }
    if args.format == TextOrJson::Json {
        print(&document(&all))?;
    } else if args.summary {
        print(&text::summary(&classes, files, without))?;
    }
    Ok(exit(&classes))
}

fn anonymize(args: &JudgeCommand) -> Result<Exit, Stop> {
    let mut text = String::new();
    for given in &args.inputs {
        let unreadable =
            |e: std::io::Error| Stop::usage(format!("judge: {}: {e}", given.display()));
        for log in input::logs(given).map_err(unreadable)? {
            text += &report::anonymous::anonymized(&input::whole(&log).map_err(unreadable)?);
        }
    }
    if text.is_empty() {
        return Err(Stop::usage("judge --anonymize: no report in it: nothing is printed"));
    }
    print(&text)?;
    Ok(Exit::Ok)
}

fn exit(classes: &[(Class, &'static str)]) -> Exit {
    let wrong = |(class, kind): &(Class, &'static str)| {
        *kind == "kill" && matches!(class, Class::Premature | Class::NoZone)
    };
    if classes.iter().any(wrong) {
        Exit::Findings
    } else if classes.iter().any(|(class, _)| *class == Class::Unknown) {
        Exit::NotJudged
    } else {
        Exit::Ok
    }
}
