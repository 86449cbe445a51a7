//! The one escaping of names and texts that come from elsewhere, before they are printed.
//!
//! What: [`text`] for reports of several lines, [`name`] for what is one line, [`terminal`] for whole
//! outputs, which may hold this program's own colours.
//! Why: a record, a trace or a file name that holds ESC, BEL or a right-to-left override could move the
//! cursor, set the title, hide a finding or forge a line.
//! Differs: what is escaped stays to be seen: `\x1b`, `\u{202e}`, `\n`.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character does something to a terminal or to the order of those beside it.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let acts = |c: char| acts(c) && !keep(c);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !acts(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a String can't fail.
            c if u32::from(c) < 0x100 => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    Cow::Owned(out)
}

/// A text of one or more lines: newlines and tabs stay.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

/// A name: one line, without tabs.
#[must_use]
pub fn name(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// A whole output, in which the sequences that colour text (`ESC [ digits m`) stay.
#[must_use]
pub fn terminal(whole: &str) -> Cow<'_, str> {
    if !whole.contains('\x1b') {
        return text(whole);
    }
    let mut out = String::with_capacity(whole.len());
    let mut parts = whole.split('\x1b');
    out.push_str(&text(parts.next().unwrap_or_default()));
    for part in parts {
        let codes = part.find(|c: char| !c.is_ascii_digit() && !matches!(c, '[' | ';'));
        let is_colour =
            part.starts_with('[') && codes.is_some_and(|at| part[at..].starts_with('m'));
        out.push_str(if is_colour { "\x1b" } else { "\\x1b" });
        out.push_str(&text(part));
    }
    Cow::Owned(out)
}

/// A JSON document in which nothing acts: what serde_json leaves as it is (DEL, C1, overrides) becomes
/// `\u` escapes, which read back as the same.
#[must_use]
pub fn json(document: String) -> String {
    let acts = |c: char| c != '\n' && acts(c);
    if !document.contains(acts) {
        return document;
    }
    let escaped =
        |c: char| if acts(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    document.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_instead() {
        assert_eq!(name("v6.12, \u{fc}ber"), "v6.12, \u{fc}ber");
        assert_eq!(name("a\x1b[2Jb\x07\nc\td\r"), "a\\x1b[2Jb\\x07\\nc\\td\\r");
        assert_eq!(name("\u{9b}31m\u{202e}x\u{7f}\0"), "\\x9b31m\\u{202e}x\\x7f\\x00");
        assert_eq!(text("one\n\ttwo\x08"), "one\n\ttwo\\x08");
    }

    #[test]
    fn json_reads_back_as_it_was() {
        let odd = "\u{9b}2J \u{202e}\u{7f}\x1b[m \n";
        let document = json(serde_json::to_string(odd).unwrap());
        assert!(document.is_ascii() && !document.contains(|c: char| c.is_control()), "{document}");
        assert_eq!(serde_json::from_str::<String>(&document).unwrap(), odd);
    }

    #[test]
    fn only_colours_of_ours_reach_the_terminal() {
        assert_eq!(terminal("\x1b[1;31mbad\x1b[0m\n"), "\x1b[1;31mbad\x1b[0m\n");
        assert_eq!(terminal("\x1b]0;title\x07\x1b[2J\x1b[3"), "\\x1b]0;title\\x07\\x1b[2J\\x1b[3");
        assert_eq!(terminal("\u{9b}2J plain\x07"), "\\x9b2J plain\\x07");
    }
}
