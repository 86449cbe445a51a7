//! Whole messages out of lines as they were pasted.
//!
//! **What.** Takes off carriage returns, colours, quote marks and prefixes; undoes quoted-printable,
//! HTML entities, JSON of journalctl and dmesg, `#012`; joins what a mailer or a terminal wrapped.
//!
//! **Why.** Every reading after this can look at one message at a time.
//!
//! A line continues the one before it if it has no prefix and doesn't begin as any line of a report
//! does. Mailers break at blanks (and behind hyphens), terminals at a column, in the middle of words:
//! then all full lines are equally long, which [`fold_width`] looks for.

use std::borrow::Cow;

use crate::prefix::{self, strip, unquoted};

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Its text.
    pub text: String,
    /// Seconds, if a prefix told.
    pub time: Option<f64>,
    /// Host, if a prefix told.
    pub host: Option<String>,
    /// First line of the input, from 1.
    pub line: usize,
    /// Last line of the input.
    pub last_line: usize,
}

/// Longest message that is kept.
const MOST_BYTES: usize = 64 << 10;

/// A message of a line of JSON: text, time, host.
type Entry = (String, Option<f64>, Option<String>);

/// Joins lines to messages.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    open: Option<Message>,
    number: usize,
    fold: Option<usize>,
    /// Length of the raw line before.
    before: usize,
    /// Had the last message a kernel's time stamp? Then a line of the same log that has a syslog's
    /// prefix only was torn off.
    stamped: bool,
    quoted_printable: bool,
    /// Does the line before go on without a blank (quoted-printable's `=`)?
    soft_break: bool,
    /// `"time":` of dmesg -J, for the message that follows.
    json_time: Option<f64>,
}

impl Assembler {
    /// Looks at a text, or its beginning, for what can't be seen line by line: the column at which all
    /// lines are cut, and quoted-printable.
    pub fn learn(&mut self, text: &str) {
        self.fold = fold_width(text);
        let soft = |line: &&str| line.trim_end_matches('\r').ends_with('=');
        self.quoted_printable = text.contains("=3D") && text.lines().filter(soft).count() > 1;
    }

    /// Takes a line; gives what is complete by now.
    pub fn push(&mut self, raw: &str) -> Vec<Message> {
        self.number += 1;
        let raw = raw.trim_end_matches(['\r', '\n']);
        let length = raw.chars().count();
        let full = self.fold.is_some_and(|width| self.before == width);
        self.before = length;
        let line = without_escapes(raw);
        let line = unquoted(&line);
        let line = self.decoded(line);
        let soft =
            std::mem::replace(&mut self.soft_break, self.quoted_printable && line.ends_with('='));
        let line = if self.soft_break { line[..line.len() - 1].to_owned() } else { line };
        let mut done = Vec::new();
        if let Some(messages) = self.json(&line) {
            for (text, time, host) in messages {
                for part in text.split('\n') {
                    let stripped = strip(part);
                    let time = stripped.time.or(time);
                    let starts = stripped.had || begins(stripped.text);
                    self.take(stripped.text, starts, false, time, host.as_deref(), &mut done);
                }
            }
            return done;
        }
        for (i, part) in line.split("#012").enumerate() {
            // A full line may have been whole: a prefix begins the next one.
            if ((full && !strip(part).had) || soft) && i == 0 {
                self.take(part, false, true, None, None, &mut done);
                continue;
            }
            let stripped = strip(part);
            let starts = self.starts(&stripped);
            let (time, host) = (stripped.time.filter(|_| starts), stripped.host);
            self.take(stripped.text, starts, false, time, host, &mut done);
        }
        done
    }

    /// What is left at the end.
    pub fn end(&mut self) -> Option<Message> {
        self.open.take()
    }

    /// Does a message begin with the line?
    fn starts(&mut self, line: &prefix::Stripped<'_>) -> bool {
        if begins(line.text) {
            self.stamped = line.stamped;
            return true;
        }
        if line.had && (line.stamped || !self.stamped) {
            self.stamped = line.stamped;
            return true;
        }
        false
    }

    fn decoded(&mut self, line: &str) -> String {
        self.quoted_printable |= line.contains("=3D");
        let mut text = if self.quoted_printable { hex_decoded(line) } else { line.to_owned() };
        if text.contains('&') {
            for (entity, plain) in
                [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&nbsp;", " "), ("&amp;", "&")]
            {
                text = text.replace(entity, plain);
            }
        }
        if text.contains("#011") {
            text = text.replace("#011", " ");
        }
        text
    }

    fn take(
        &mut self,
        text: &str,
        starts: bool,
        without_blank: bool,
        time: Option<f64>,
        host: Option<&str>,
        done: &mut Vec<Message>,
    ) {
        let forced = self.open.as_ref().is_some_and(|open| is_bare_node(&open.text));
        let number = self.number;
        if let Some(open) = self.open.as_mut()
            && !text.trim().is_empty()
            && (!starts || (forced && time.is_none()))
            && open.text.len() + text.len() < MOST_BYTES
        {
            if without_blank {
                open.text.push_str(text);
            } else {
                if !continues_without_blank(&open.text) {
                    open.text.push(' ');
                }
                open.text.push_str(text.trim());
            }
            open.last_line = number;
            return;
        }
        if text.trim().is_empty() && !starts {
            done.extend(self.open.take());
            return;
        }
        let time = time.or_else(|| {
            // A message without a time stamp of its own came with the one before.
            self.open.as_ref().and_then(|open| open.time)
        });
        let host = host
            .map(str::to_owned)
            .or_else(|| self.open.as_ref().and_then(|open| open.host.clone()));
        done.extend(self.open.take());
        self.open = Some(Message {
            text: text.trim_start().to_owned(),
            time,
            host,
            line: number,
            last_line: number,
        });
    }

    /// The messages of a line of JSON; `None` if it is none.
    fn json(&mut self, line: &str) -> Option<Vec<Entry>> {
        let trimmed = line.trim_start();
        if trimmed.starts_with('{')
            && let Some(text) = json_value(trimmed, "MESSAGE")
        {
            let micros = |key| json_value(trimmed, key)?.parse::<f64>().ok();
            let time = micros("_SOURCE_MONOTONIC_TIMESTAMP")
                .or_else(|| micros("__MONOTONIC_TIMESTAMP"))
                .or_else(|| micros("__REALTIME_TIMESTAMP"));
            return Some(vec![(text, time.map(|t| t / 1e6), json_value(trimmed, "_HOSTNAME"))]);
        }
        let is_frame = !trimmed.is_empty() && trimmed.chars().all(|c| "{}[], ".contains(c));
        if is_frame || ["\"pri\"", "\"dmesg\""].iter().any(|k| trimmed.starts_with(k)) {
            return Some(Vec::new());
        }
        let is_dmesg = ['{', '"', '}', '[', ']'].iter().any(|c| trimmed.starts_with(*c));
        if !is_dmesg || !(trimmed.contains("\"msg\"") || trimmed.contains("\"time\"")) {
            return None;
        }
        let mut messages = Vec::new();
        for object in trimmed.split("},") {
            if let Some(time) = json_value(object, "time") {
                self.json_time = time.trim().parse().ok();
            }
            if let Some(text) = json_value(object, "msg") {
                messages.push((text, self.json_time, None));
            }
        }
        Some(messages)
    }
}

/// A `Node 0` that was torn from its zone.
fn is_bare_node(text: &str) -> bool {
    let number = text.trim().strip_prefix("Node ");
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Was a word torn that has no blanks, or is there a hyphen at which mailers break?
fn continues_without_blank(open: &str) -> bool {
    let word = open.rsplit(' ').next().unwrap_or_default();
    let hyphen = word.len() > 1 && word.ends_with('-');
    let names = word.contains("0x") && word.contains('(') && !word.contains(')');
    hyphen || names || word.starts_with("oom-kill:constraint")
}

/// Does a report have a line that begins so?
pub fn begins(text: &str) -> bool {
    const STARTS: [&str; 38] = [
        "Mem-Info:",
        "Mem-info:",
        "lowmem_reserve[",
        "Pid: ",
        "Hardware name",
        "Call Trace",
        "Out of memory",
        "Killed process",
        "Memory cgroup ",
        "memory: usage",
        "memory+swap:",
        "kmem: usage",
        "swap: usage",
        "Task in ",
        "Tasks state",
        "oom-kill:",
        "oom_reaper:",
        "Free swap",
        "Total swap",
        "Swap cache stats",
        "Fallback order for",
        "Built ",
        "Workqueue:",
        "RIP:",
        "RIP ",
        "Code:",
        "RSP:",
        "</TASK>",
        "<TASK>",
        "Linux version",
        "Kernel panic",
        "SLUB:",
        "warn_alloc",
        "Memory limit",
        "OOM killer",
        "Unreclaimable slab",
        "Modules linked",
        "protection[",
    ];
    let text = text.trim_start();
    if STARTS.iter().any(|s| text.starts_with(s)) || has_request(text) || is_frame(text) {
        return true;
    }
    let digits = |t: &str| t.len() - t.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if let Some(rest) = text.strip_prefix("Node ") {
        return digits(rest) > 0;
    }
    if let Some(rest) = text.strip_prefix("CPU") {
        let rest = rest.trim_start();
        let rest = rest.strip_prefix(':').unwrap_or(rest).trim_start();
        return digits(rest) > 0;
    }
    if let Some(rest) = text.strip_prefix('[') {
        let inside = rest.split(']').next().unwrap_or_default().trim();
        return inside == "pid" || (!inside.is_empty() && digits(inside) == inside.len());
    }
    if let Some(rest) = text.strip_prefix("active_anon:") {
        let n = digits(rest);
        return n > 0 && !rest[n..].starts_with("kB");
    }
    let n = digits(text);
    if n > 0 {
        return text[n..].starts_with(" pages ") || text[n..].starts_with(" total pagecache");
    }
    crate::zones::ZONES.iter().any(|zone| {
        text.strip_prefix(zone).is_some_and(|rest| {
            rest.starts_with(" free:") || rest.starts_with(" per-cpu:") || rest.starts_with(": ")
        })
    })
}

/// Is it, or holds it, the line of a request?
pub fn has_request(text: &str) -> bool {
    // A mail's subject may quote the line.
    if ["Subject:", "Re:", "RE:"].iter().any(|s| text.trim_start().starts_with(s)) {
        return false;
    }
    text.contains(" invoked oom-killer:")
        || text.contains(": page allocation failure")
        || text.contains(": page allocation stalls for")
}

/// A line of a stack trace: `? function+0x12/0x34`, `[<ffffffff>] function+0x12/0x34`.
fn is_frame(text: &str) -> bool {
    text.contains("+0x") && text.contains("/0x") && !text.contains("free:")
}

/// Without what colours a terminal.
fn without_escapes(line: &str) -> Cow<'_, str> {
    if !line.contains('\u{1b}') {
        return Cow::Borrowed(line);
    }
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            plain.push(c);
        } else if chars.next() == Some('[') {
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        }
    }
    Cow::Owned(plain)
}

/// `=3D` and the like undone.
fn hex_decoded(line: &str) -> String {
    let bytes = line.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'=').then(|| line.get(at + 1..at + 3)).flatten();
        let value = code
            .filter(|c| c.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|c| u8::from_str_radix(c, 16).ok());
        match value {
            Some(value) => {
                plain.push(value);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The value of a key in a line of JSON: a string unescaped, bytes as text, a number as it stands.
fn json_value(line: &str, key: &str) -> Option<String> {
    let quoted = format!("\"{key}\"");
    let at = line.find(&quoted)? + quoted.len();
    let rest = line[at..].trim_start().strip_prefix(':')?.trim_start();
    if let Some(list) = rest.strip_prefix('[') {
        let bytes = list.split(']').next()?.split(',').map(|n| n.trim().parse::<u8>().ok());
        return Some(String::from_utf8_lossy(&bytes.collect::<Option<Vec<u8>>>()?).into_owned());
    }
    let Some(text) = rest.strip_prefix('"') else {
        let end = rest.find([',', '}', ' ']).unwrap_or(rest.len());
        return Some(rest[..end].to_owned());
    };
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(value),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => {}
                'u' => {
                    let code: String = chars.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&code, 16).ok()?;
                    value.push(char::from_u32(code).unwrap_or('?'));
                }
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    // Cut: what is there counts.
    Some(value)
}

/// The column at which a terminal cut all lines, if it looks so: the longest lines are many, and
/// nearly none is a little shorter, as they are where a mailer broke at blanks.
pub fn fold_width(text: &str) -> Option<usize> {
    let mut lengths = std::collections::BTreeMap::<usize, usize>::new();
    for line in text.lines().take(4000) {
        *lengths.entry(line.trim_end_matches('\r').chars().count()).or_default() += 1;
    }
    let (&width, &many) = lengths.last_key_value()?;
    // What follows a full line is its rest, seldom a line of its own.
    let mut before = 0;
    let mut fresh = 0;
    for line in text.lines().take(4000) {
        let stripped = strip(unquoted(line));
        fresh += usize::from(before == width && (stripped.had || begins(stripped.text)));
        before = line.trim_end_matches('\r').chars().count();
    }
    if fresh * 4 > many {
        return None;
    }
    let near: usize = lengths.range(width.saturating_sub(12)..width).map(|(_, n)| n).sum();
    ((32..=400).contains(&width) && many >= 3 && many >= 2 * near).then_some(width)
}

/// The text with the parts of a pstore in their order: `Panic#1 Part3` is older than `Part2`.
pub fn ordered(text: &str) -> Cow<'_, str> {
    let header = |line: &str| -> Option<u64> {
        let words: Vec<&str> = prefix::unquoted(line).split_whitespace().take(3).collect();
        let kinds = ["Panic#", "Oops#", "Emergency#", "Shutdown#"];
        let [what, part, ..] = words[..] else { return None };
        kinds.iter().any(|k| what.starts_with(k)).then(|| part.strip_prefix("Part"))??.parse().ok()
    };
    if !text.contains(" Part") || text.lines().filter(|l| header(l).is_some()).count() < 2 {
        return Cow::Borrowed(text);
    }
    let mut parts: Vec<(u64, Vec<&str>)> = vec![(u64::MAX, Vec::new())];
    for line in text.lines() {
        match header(line) {
            Some(number) => parts.push((number, Vec::new())),
            None => {
                if let Some((_, lines)) = parts.last_mut() {
                    lines.push(line);
                }
            }
        }
    }
    parts.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let lines: Vec<&str> = parts.into_iter().flat_map(|(_, lines)| lines).collect();
    Cow::Owned(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let mut assembler = Assembler::default();
        assembler.learn(text);
        let mut found: Vec<Message> = text.lines().flat_map(|l| assembler.push(l)).collect();
        found.extend(assembler.end());
        found.into_iter().map(|m| m.text).collect()
    }

    #[test]
    fn wrapped_lines_are_joined() {
        let whole = "task invoked oom-killer: gfp_mask=0x6200ca(GFP_HIGHUSER_MOVABLE), order=0";
        for text in [
            "[ 1.0] task invoked oom-\nkiller: gfp_mask=0x6200ca(GFP_HIGH\nUSER_MOVABLE),\norder=0\n",
            "> [ 1.0] task invoked oom-killer:\n> gfp_mask=0x6200ca(GFP_HIGHUSER_MOVABLE),\n> order=0",
            "[ 1.0] task invoked oom-killer: gfp_mask=3D0x6200ca(GFP_HIGHUSER=\n_MOVABLE), order=3D0",
            "{\"MESSAGE\":\"task invoked oom-killer: gfp_mask=0x6200ca(GFP_HIGHUSER_MOVABLE), order=0\"}",
        ] {
            assert_eq!(messages(text), [whole], "{text}");
        }
        let zone = messages("lowmem_reserve[]:\n0 0 0 0\nNode 0\nNormal free:3kB\nmin:4kB");
        assert_eq!(zone, ["lowmem_reserve[]: 0 0 0 0", "Node 0 Normal free:3kB min:4kB"]);
    }

    #[test]
    fn lines_cut_at_a_column_are_joined_without_blanks() {
        let line = "[  100.000005] Node 1 Normal free:4000000kB min:20000kB low:25000kB high:30000kB present:83886";
        let folded: Vec<String> =
            line.as_bytes().chunks(20).map(|c| String::from_utf8_lossy(c).into_owned()).collect();
        assert!(fold_width(&folded.join("\n")).is_none(), "shorter than any terminal");
        let chunks = |width| {
            let parts =
                line.as_bytes().chunks(width).map(|c| String::from_utf8_lossy(c).into_owned());
            parts.collect::<Vec<_>>().join("\n")
        };
        let text = format!("{0}\n{0}\n{0}\n", chunks(32));
        let whole = &line["[  100.000005] ".len()..];
        assert_eq!(messages(&text), [whole, whole, whole]);
    }

    #[test]
    fn parts_of_a_pstore_come_in_their_order() {
        let text = "Panic#1 Part1\nnewest\nPanic#1 Part2\nolder\nPanic#1 Part3\noldest";
        assert_eq!(ordered(text), "oldest\nolder\nnewest");
    }

    #[test]
    fn dmesg_json_is_read() {
        let text = "{\n \"dmesg\": [\n {\n \"pri\": 4,\n \"time\":   1.500000,\n \"msg\": \"Mem-Info:\"\n },{";
        let mut assembler = Assembler::default();
        let mut found: Vec<Message> = text.lines().flat_map(|l| assembler.push(l)).collect();
        found.extend(assembler.end());
        let found: Vec<_> = found.iter().filter(|m| m.text == "Mem-Info:").collect();
        assert_eq!((found.len(), found[0].time), (1, Some(1.5)));
    }
}
