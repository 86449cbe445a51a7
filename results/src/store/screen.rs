//! A document's text looked over before it is parsed and, where need be, before it is believed.
//!
//! What: [`weigh`] says how much memory the values may take, [`escaped`] is the text with all that acts
//! on a terminal made visible.
//! Why: 60 MB of `{},{},` become gigabytes of records; and once a record is read, its names go to the
//! screen, mail, CSV, HTML and errors, so they are escaped here, in one place, and not in each of these.
//! Differs: works on the text, so that a clean record (all that this program writes) pays one scan.

use std::borrow::Cow;

use crate::escape;

/// The longest document that is read. Ten thousand rounds take half of it.
pub(super) const MOST_BYTES: u64 = 64 << 20;
/// The heaviest; a value is 1, an object 8.
pub(super) const MOST_WEIGHT: u64 = 4 << 20;
/// Texts of these keys have lines; all others are names.
const LINES: [&str; 6] = ["report", "text", "why", "detail", "reason", "schedule"];

/// What the values of a document weigh.
pub(super) fn weigh(json: &[u8]) -> u64 {
    let (mut weight, mut inside, mut at) = (0, false, 0);
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => inside = !inside,
            b'\\' if inside => at += 1,
            b'{' if !inside => weight += 8,
            b',' | b'[' if !inside => weight += 1,
            _ => {}
        }
        at += 1;
    }
    weight
}

/// Whether a string might hold what acts on a terminal, or a name a newline: rarely more than that.
fn is_suspect(json: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'\\' => {
                at += 1;
                if matches!(json.get(at), Some(b'u' | b'b' | b'f' | b'r' | b'n' | b't')) {
                    return true;
                }
            }
            // DEL, C1, and the beginnings of the marks that `escape` knows.
            0x7f | 0xc2 | 0xd8 | 0xe2 | 0xef => return true,
            _ => {}
        }
        at += 1;
    }
    false
}

/// The text with its strings escaped. What is no JSON comes back in pieces that are none either.
pub(super) fn escaped(json: &str) -> Cow<'_, str> {
    if !is_suspect(json.as_bytes()) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    let mut key = String::new();
    let mut rest = json;
    while let Some(open) = rest.find('"') {
        out.push_str(&rest[..open]);
        let literal = string_at(&rest[open..]);
        rest = &rest[open + literal.len()..];
        let Ok(value) = serde_json::from_str::<String>(literal) else {
            out.push_str(literal);
            continue;
        };
        let is_key = rest.trim_start().starts_with(':');
        let has_lines = !is_key && LINES.contains(&key.as_str());
        let clean = if has_lines { escape::text(&value) } else { escape::name(&value) };
        match clean {
            Cow::Borrowed(_) => out.push_str(literal),
            Cow::Owned(clean) => out.push_str(&serde_json::Value::from(clean).to_string()),
        }
        if is_key {
            key = value;
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The string literal that the text begins with, quotes included; all of it if it has no end.
fn string_at(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return &text[..=at],
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_acts_on_a_terminal_and_texts_keep_their_lines() {
        let json =
            r#"{"a\u001b[2J": "x\u0007\ny", "report": "one\ntwo\u001b", "n": 1.5, "k": "\\\"q"}"#;
        assert_eq!(
            escaped(json),
            r#"{"a\\x1b[2J": "x\\x07\\ny", "report": "one\ntwo\\x1b", "n": 1.5, "k": "\\\"q"}"#
        );
        let clean = "{\"report\": \"a b\", \"c\": \"\u{fc}\"}";
        assert!(matches!(escaped(clean), Cow::Borrowed(_)));
        let dashes = "{\"notes\": [\"1\u{2013}2\"]}";
        assert_eq!(escaped(dashes), dashes);
        for cut in 0..json.len() {
            let _ = escaped(&json[..cut]);
        }
    }

    #[test]
    fn objects_weigh_more_than_numbers_and_strings_nothing() {
        assert_eq!(weigh(br#"{"a": [1, 2], "b,{[\"": {}}"#), 8 + 1 + 1 + 1 + 8);
    }
}
