//! `stress list`: the names that other flags take, and what stands behind them.

use std::fmt::Write as _;

use allocator::policy::{self, AxisDescription, AxisName, Expect, Policy, Release, VariantInfo};
use allocator::race::Point;

use super::args::{ListCommand, Listed};
use super::exit::{Exit, Stop, print};

const WIDTH: usize = 80;

/// Prints what was asked for; all lists if nothing was.
///
/// # Errors
/// If stdout can't be written.
pub fn run(args: &ListCommand) -> Result<Exit, Stop> {
    let lists: &[Listed] = match &args.what {
        Some(what) => std::slice::from_ref(what),
        None => &[Listed::Workloads, Listed::Presets, Listed::Variants, Listed::Points],
    };
    let texts: Vec<String> = lists.iter().map(|l| list(*l)).collect();
    print(&texts.join("\n"))?;
    Ok(Exit::Ok)
}

fn list(what: Listed) -> String {
    match what {
        Listed::Workloads => workloads(),
        Listed::Points => points(),
        Listed::Variants => variants(&policy::describe()),
        Listed::Presets => presets(),
    }
}

/// Each workload on a line.
fn workloads() -> String {
    let mut text = String::new();
    for workload in workloads::all() {
        let info = workload.info();
        let line = format!("{:<18}{}", info.name, info.about);
        let _ = writeln!(text, "{}", results::format::fit(&line, WIDTH));
    }
    text + "\nOptions, axes and nodes of one: stress WORKLOAD --help\n"
}

/// A workload with what it does and the axes that it tells apart, its options under it.
pub(super) fn workload(info: &workloads::Info) -> String {
    let axes = if info.axes.is_empty() { "no axis".to_owned() } else { info.axes.join(" ") };
    let nodes = if info.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", info.nodes) };
    let mut text = format!("{:<18}{axes}; {nodes}\n", info.name);
    text += &wrapped(info.about, 2);
    for option in info.options {
        let default = match option.default {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        let head = format!("--{} {}", option.name, option.value);
        let _ = writeln!(text, "  {}", head.trim_end());
        text += &wrapped(&format!("{}{default}", option.help), 6);
    }
    text + "\nNodes and Movable memory that a machine lacks are made, and the run says so.\n"
}

/// The race points, in the order of the kernel's steps.
fn points() -> String {
    let mut text = String::from(
        "Hold threads at a point: --amplify T3a_mems_written=0.01:1ms (probability, delay)\n\n",
    );
    for point in Point::ALL {
        let mut story = point.story().to_owned();
        let words = [
            ('n', "nodes"),
            ('d', "N"),
            ('x', "pfn"),
            ('z', "zone"),
            ('c', "constraint"),
            ('b', "yes/no"),
        ];
        for (kind, word) in words {
            for argument in 0..4 {
                story = story.replace(&format!("{{{argument}{kind}}}"), word);
            }
        }
        let _ = writeln!(text, "  {:<28}{story}", point.name());
    }
    text
}

/// Axis after axis, each variant with its releases, commit, what it does and what it shows.
fn variants(axes: &[AxisDescription]) -> String {
    let mut text = String::from(
        "A variant is a preset and overrides: --variant v4.11,exit=lock-cycle\n\
         Schedules are shown (!), excluded (-), shown late or repaired (~), counted (#).\n",
    );
    for axis in axes {
        let _ = writeln!(text, "\n{}: {}", axis.axis, axis.axis.what());
        for variant in &axis.variants {
            text += &describe(variant);
        }
    }
    text
}

fn describe(variant: &VariantInfo) -> String {
    let shipped = if variant.is_extra() { "never shipped" } else { variant.releases };
    let commit = variant.commit.map_or_else(String::new, |c| format!(", {c}"));
    let mut text = format!("  {:<24}{shipped}{commit}\n", variant.word);
    text += &wrapped(variant.summary, 6);
    let expected: Vec<String> =
        variant.expect.iter().map(|(f, e)| format!("{}{}", sign(*e), f.name())).collect();
    if !expected.is_empty() {
        text += &wrapped(&expected.join(" "), 6);
    }
    text
}

fn sign(expect: Expect) -> char {
    match expect {
        Expect::Excluded => '-',
        Expect::Shows | Expect::Residual | Expect::Late | Expect::Counted => expect.sign(),
    }
}

fn wrapped(words: &str, indent: usize) -> String {
    let mut text = String::new();
    let mut column = WIDTH;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if column + 1 + length > WIDTH {
            let _ = write!(text, "{}{:indent$}{word}", if text.is_empty() { "" } else { "\n" }, "");
            column = indent + length;
        } else {
            let _ = write!(text, " {word}");
            column += 1 + length;
        }
    }
    text + "\n"
}

/// One line for each release: the first with all its choices, the others with what they changed.
fn presets() -> String {
    let mut text = format!(
        "Each preset is what that release shipped; shown is what changed since the last.\n\
         {} = {}, read on {}; what was read where: docs/kernel.\n\n",
        Release::MAINLINE,
        Release::NEWEST,
        Release::READ_ON
    );
    let mut before: Option<Policy> = None;
    for preset in policy::presets() {
        let changed =
            |(axis, word): &(AxisName, &str)| before.is_none_or(|b| b.word(*axis) != *word);
        let words = preset.words().into_iter().filter(changed);
        let words: Vec<String> = words.map(|(axis, word)| format!("{axis}={word}")).collect();
        let words = if words.is_empty() { "no axis".to_owned() } else { words.join(" ") };
        let words = wrapped(&words, 10);
        let _ = write!(text, "{:<10}{}", preset.release.word(), words.trim_start());
        before = Some(preset);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_and_preset_is_listed() {
        let variants = list(Listed::Variants);
        for axis in policy::describe() {
            for variant in axis.variants {
                assert!(variants.contains(&format!("\n  {} ", variant.word)), "{}", variant.word);
            }
        }
        assert!(variants.lines().all(|l| l.chars().count() <= WIDTH));
        assert!(list(Listed::Presets).contains("mainline = v6.19, read on 20"));
        let presets = list(Listed::Presets);
        for preset in policy::presets() {
            assert!(presets.contains(&format!("\n{} ", preset.release.word())), "{presets}");
        }
    }

    #[test]
    fn every_workload_and_point_is_listed() {
        let text = list(Listed::Workloads);
        assert_eq!(text.lines().count(), workloads::all().len() + 2, "{text}");
        for workload in workloads::all() {
            let name = workload.info().name;
            assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{text}");
        }
        let text = list(Listed::Points);
        for point in Point::ALL {
            assert!(text.contains(&format!("\n  {} ", point.name())), "{}", point.name());
        }
        assert!(!text.contains('{'), "no template is left:\n{text}");
    }

    #[test]
    fn text_is_wrapped_at_words() {
        let long = "word ".repeat(30);
        let text = wrapped(&long, 4);
        assert!(text.lines().all(|l| l.len() <= WIDTH && l.starts_with("    word")));
        assert_eq!(text.split_whitespace().count(), 30);
    }
}
