//! Colours: the words that a reader looks for, on a terminal.
//!
//! **What.** Finished text is painted line by line, so that what makes it knows of no colours, and
//! what is piped or kept is plain. `NO_COLOR` (any value but none) is honoured.

use std::io::IsTerminal as _;

use crate::cli::args::When;

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

/// Words that are painted where a line begins with them.
const AT_START: &[(&str, &str)] = &[
    ("FOUND", RED),
    ("FAIL", RED),
    ("NOT JUDGED", RED),
    ("NOT DONE", RED),
    ("INTERRUPTED", YELLOW),
    ("partial ", YELLOW),
    ("clean ", GREEN),
    ("ok ", GREEN),
    ("ok:", GREEN),
];
/// Words that are painted wherever they stand alone.
const ANYWHERE: &[(&str, &str)] =
    &[(" FAIL ", RED), ("  FOUND ", RED), (" suspect ", YELLOW), (" FINDING", RED)];

/// Are colours wanted on stdout?
pub fn is_wanted(when: When) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
            !refused && !dumb && std::io::stdout().is_terminal()
        }
    }
}

/// The text, painted if colours are wanted.
pub fn paint(text: &str, when: When) -> String {
    if is_wanted(when) { text.split_inclusive('\n').map(line).collect() } else { text.to_owned() }
}

fn line(line: &str) -> String {
    let painted = |word: &str, color: &str| {
        let (before, after) = line.split_once(word)?;
        // Blanks stay outside, so that nothing is underlined or inverted by a terminal's theme.
        let inner = word.trim();
        let (left, right) = word.split_once(inner)?;
        Some(format!("{before}{left}{color}{inner}{RESET}{right}{after}"))
    };
    let starts = AT_START.iter().find(|(word, _)| line.starts_with(word));
    let holds = || ANYWHERE.iter().find(|(word, _)| line.contains(word));
    starts.or_else(holds).and_then(|(word, color)| painted(word, color)).unwrap_or(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_painted_and_the_rest_stays() {
        let check = |text: &str, expected: &str| assert_eq!(paint(text, When::Always), expected);
        check("ok      x/run.json\n", "\x1b[32mok\x1b[0m      x/run.json\n");
        check("a\nFOUND  1\nb", "a\n\x1b[1;31mFOUND\x1b[0m  1\nb");
        check(
            "  +7.2%  fault.p99_ns  * FAIL p99>5%\n",
            "  +7.2%  fault.p99_ns  * \x1b[1;31mFAIL\x1b[0m p99>5%\n",
        );
        check("okay is no verdict\n", "okay is no verdict\n");
    }

    #[test]
    fn what_is_piped_is_plain() {
        // Tests have no terminal on stdout, or NO_COLOR decides.
        assert_eq!(paint("ok  x", When::Never), "ok  x");
    }
}
