//! Where in a JSON document a byte lies, in the words of its keys: for error messages.

/// Byte offset of serde_json's line and column (both from 1; column counts bytes).
pub(super) fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let start = match line.checked_sub(2) {
        None => 0,
        Some(nth) => text
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
            .nth(nth)
            .map_or(text.len(), |(i, _)| i + 1),
    };
    (start + column.saturating_sub(1)).min(text.len())
}

/// `inside ops.alloc`, `inside rounds[3].oom`, `at the top` for the innermost open keys.
pub(super) fn inside(text: &[u8], byte: usize) -> String {
    let path = open_keys(&text[..byte.min(text.len())]);
    if path.is_empty() { "at the top".to_owned() } else { format!("inside {path}") }
}

enum Open {
    Object(Option<String>),
    Array(usize),
}

/// The path of the containers and the key that are open where the text stops.
fn open_keys(text: &[u8]) -> String {
    let mut stack: Vec<Open> = Vec::new();
    let mut want_key = false;
    let mut i = 0;
    while i < text.len() {
        match text[i] {
            b'"' => {
                let (string, end) = string(text, i + 1);
                if want_key && let Some(Open::Object(key)) = stack.last_mut() {
                    // A key that is cut off in the middle says less than its parent does.
                    *key = end.map(|_| string);
                }
                want_key = false;
                i = end.unwrap_or(text.len());
                continue;
            }
            b'{' => {
                stack.push(Open::Object(None));
                want_key = true;
            }
            b'[' => stack.push(Open::Array(0)),
            b'}' | b']' => {
                stack.pop();
                want_key = false;
            }
            b',' => match stack.last_mut() {
                Some(Open::Object(_)) => want_key = true,
                Some(Open::Array(n)) => *n += 1,
                None => {}
            },
            _ => {}
        }
        i += 1;
    }
    let mut path = String::new();
    for open in stack {
        match open {
            Open::Object(Some(key)) if path.is_empty() => path.push_str(&key),
            Open::Object(Some(key)) => path.push_str(&format!(".{key}")),
            Open::Object(None) => {}
            Open::Array(n) => path.push_str(&format!("[{n}]")),
        }
    }
    path.chars().filter(|c| !c.is_control()).take(120).collect()
}

/// The string that starts at `i`, and the offset behind its closing quote if it has one.
fn string(text: &[u8], mut i: usize) -> (String, Option<usize>) {
    let start = i;
    while i < text.len() {
        match text[i] {
            b'"' => return (String::from_utf8_lossy(&text[start..i]).into_owned(), Some(i + 1)),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
    (String::new(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_keys_are_named() {
        for (text, want) in [
            ("", "at the top"),
            (r#"{"ops":{"alloc":{"count":1,"rate"#, "inside ops.alloc"),
            (r#"{"ops":{"alloc":{"count":1,"rate":2"#, "inside ops.alloc.rate"),
            (r#"{"a":1,"rounds":[{"x":1},{"x":[1,2],"oom":{"#, "inside rounds[1].oom"),
            (r#"{"a\"b":"c,d{","e":[[1"#, "inside e[0][0]"),
            (r#"{"a":"b\"#, "inside a"),
        ] {
            assert_eq!(inside(text.as_bytes(), text.len()), want, "{text}");
        }
    }

    #[test]
    fn offsets_count_from_line_and_column() {
        let text = b"{\n  \"a\": x\n}";
        assert_eq!(text[offset(text, 2, 8)], b'x');
        assert_eq!(offset(text, 1, 1), 0);
        assert_eq!(offset(text, 9, 9), text.len());
    }
}
