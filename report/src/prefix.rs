//! What others put before a kernel message: quote marks, levels, time stamps, hosts, callers.
//!
//! **What.** dmesg plain, `-T`, `-x`, ISO and relative times, `<4>` levels, `[ T123]` callers; syslog
//! and journalctl with old and ISO times. Each is taken off as often as it stands there.

/// A line without its prefixes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stripped<'a> {
    /// What is left, leading blanks kept.
    pub text: &'a str,
    /// Was there any prefix (a quote mark is none)?
    pub had: bool,
    /// Was a kernel's own time stamp among them?
    pub stamped: bool,
    /// Seconds: since boot where the kernel says, else since 1970 or the year's first day.
    pub time: Option<f64>,
    /// The host of a syslog line.
    pub host: Option<&'a str>,
}

/// Takes off quote marks: `> `, `>> `, `> > `.
pub fn unquoted(mut line: &str) -> &str {
    loop {
        let rest = line.trim_start_matches(' ');
        match rest.strip_prefix('>') {
            Some(rest) => line = rest.strip_prefix(' ').unwrap_or(rest),
            None => return line,
        }
    }
}

/// Takes off all prefixes.
pub fn strip(line: &str) -> Stripped<'_> {
    let mut found = Stripped { text: line, ..Stripped::default() };
    let mut rest = line.trim_start();
    let mut kernel_time = false;
    loop {
        let before = rest;
        if let Some((after, time)) = seconds(rest) {
            (rest, kernel_time) = (after, kernel_time || time.is_some());
            found.time = time.or(found.time);
            found.stamped = true;
        } else if let Some((after, time)) = calendar(rest) {
            rest = after;
            if !kernel_time {
                found.time = Some(time);
            }
            if let Some((after, host)) = host_and_kernel(rest) {
                (rest, found.host) = (after, Some(host));
            }
        } else if let Some(after) = level(rest).or_else(|| caller(rest)).or_else(|| facility(rest))
        {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("kernel: ").or_else(|| numbered(rest)) {
            rest = after;
        } else if let Some(after) = rest.strip_prefix(": ").filter(|_| found.had) {
            rest = after;
        } else if found.had
            && let Some((after, host)) = host_and_kernel(rest)
        {
            (rest, found.host) = (after, Some(host));
        }
        if rest.len() == before.len() {
            return found;
        }
        found.had = true;
        // One blank ends a prefix; more belong to the message.
        found.text = rest;
        rest = rest.trim_start();
    }
}

/// `12. <4>[` of a page that numbers lines.
fn numbered(text: &str) -> Option<&str> {
    let (digits, rest) = text.split_once(". ")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let rest = rest.trim_start();
    (is_number && rest.starts_with(['<', '['])).then_some(rest)
}

fn after_blank(text: &str) -> &str {
    text.strip_prefix(' ').unwrap_or(text)
}

/// `[  100.000001] `, `[  +0.000001] `, `[<    0.000001>] `.
fn seconds(text: &str) -> Option<(&str, Option<f64>)> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    let inside = inside.trim().trim_start_matches('<').trim_end_matches('>').trim();
    let number = inside.strip_prefix('+').unwrap_or(inside);
    let is_number = number.contains('.')
        && number.len() < 32
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !is_number {
        return None;
    }
    let time = (number.len() == inside.len()).then(|| number.parse().ok()).flatten();
    Some((after_blank(rest), time))
}

/// `<4>`
fn level(text: &str) -> Option<&str> {
    let (inside, rest) = text.strip_prefix('<')?.split_once('>')?;
    let digits = !inside.is_empty() && inside.len() <= 3;
    (digits && inside.bytes().all(|b| b.is_ascii_digit())).then_some(rest)
}

/// `[ T123] `, `[    C1] `
fn caller(text: &str) -> Option<&str> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    let digits = inside.trim().strip_prefix(['T', 'C'])?;
    let are = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    are.then(|| after_blank(rest))
}

/// `kern  :warn  : ` of dmesg -x.
fn facility(text: &str) -> Option<&str> {
    let (facility, rest) = text.split_once(':')?;
    let facility = facility.trim_end();
    if !["kern", "user", "daemon", "syslog"].contains(&facility) {
        return None;
    }
    let (level, rest) = rest.split_once(':')?;
    let levels = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
    levels.contains(&level.trim()).then(|| after_blank(rest))
}

/// `host kernel: ` or `host kernel[0]: `
fn host_and_kernel(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = text.split_once(' ')?;
    let rest = rest.trim_start().strip_prefix("kernel")?;
    let rest = match rest.strip_prefix('[') {
        Some(pid) => pid.split_once(']')?.1,
        None => rest,
    };
    let rest = rest.strip_prefix(':')?;
    (!host.is_empty() && host.len() < 256).then(|| (after_blank(rest), host))
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Days from the first of January of year 0 (proleptic), good enough for differences.
fn days(year: i64, month: usize, day: i64) -> i64 {
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    365 * y + y.div_euclid(4) - y.div_euclid(100)
        + y.div_euclid(400)
        + (153 * m as i64 + 2) / 5
        + day
}

/// `HH:MM:SS` with a fraction; what follows.
fn clock(text: &str) -> Option<(f64, &str)> {
    let two = |at: usize| -> Option<f64> {
        let part = text.get(at..at + 2)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    let colon = |at: usize| (text.as_bytes().get(at) == Some(&b':')).then_some(());
    let (hours, minutes, seconds) =
        (two(0)?, colon(2).and_then(|()| two(3))?, colon(5).and_then(|()| two(6))?);
    let mut rest = &text[8..];
    let mut time = hours * 3600.0 + minutes * 60.0 + seconds;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
        let digits = &fraction[..end.min(9)];
        time += digits.parse::<f64>().unwrap_or(0.0) / 10_f64.powi(digits.len() as i32);
        rest = &fraction[end..];
    }
    Some((time, rest))
}

/// A date and time, and what follows behind a blank.
fn calendar(text: &str) -> Option<(&str, f64)> {
    let (bracketed, text) = match text.strip_prefix('[') {
        Some(inside) => (true, inside),
        None => (false, text),
    };
    let (time, rest) = iso(text).or_else(|| month_first(text))?;
    let rest = if bracketed { rest.trim_start().strip_prefix(']')? } else { rest };
    (rest.is_empty() || rest.starts_with(' ')).then(|| (after_blank(rest), time))
}

/// `2026-12-01T11:15:48,123456+00:00`
fn iso(text: &str) -> Option<(f64, &str)> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    let bytes = text.as_bytes();
    if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !matches!(bytes.get(10), Some(b'T' | b' ')) || !(1..=12).contains(&month) {
        return None;
    }
    let (time, rest) = clock(text.get(11..)?)?;
    let zone = rest.find([' ', ']']).unwrap_or(rest.len());
    let is_zone = rest[..zone].bytes().all(|b| b.is_ascii_digit() || b"+-:Z".contains(&b));
    if !is_zone {
        return None;
    }
    Some((days(year, month as usize, day) as f64 * 86_400.0 + time, &rest[zone..]))
}

/// `Dec  1 11:15:48`, `Tue Dec  1 11:15:48 2026`
fn month_first(text: &str) -> Option<(f64, &str)> {
    let week = ["Mon ", "Tue ", "Wed ", "Thu ", "Fri ", "Sat ", "Sun "];
    let named = week.iter().find_map(|day| text.strip_prefix(day));
    let text = named.unwrap_or(text);
    let month = MONTHS.iter().position(|m| text.starts_with(m))? + 1;
    let rest = text[3..].strip_prefix(' ')?.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let day: i64 = rest[..end].parse().ok().filter(|d| (1..=31).contains(d))?;
    let (time, mut rest) = clock(rest[end..].strip_prefix(' ')?)?;
    let mut year = 2000;
    if let Some(told) = rest.strip_prefix(' ').and_then(|r| r.get(..4))
        && told.bytes().all(|b| b.is_ascii_digit())
        && let Ok(number) = told.parse()
    {
        (year, rest) = (number, &rest[5..]);
    }
    Some((days(year, month, day) as f64 * 86_400.0 + time, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_prefix_comes_off() {
        let check = |line: &str, time: Option<f64>| {
            let found = strip(line);
            assert_eq!((found.text, found.had), ("Mem-Info:", true), "{line}");
            if time.is_some() {
                assert_eq!(found.time, time, "{line}");
            }
        };
        check("[  100.000001] Mem-Info:", Some(100.000_001));
        check("<4>[  100.5] Mem-Info:", Some(100.5));
        check("[  100.5][ T123] Mem-Info:", Some(100.5));
        check("[  100.5] [    C1] Mem-Info:", Some(100.5));
        check("Jan  1 00:00:00 host kernel: [  200.5] Mem-Info:", Some(200.5));
        check("Jan 01 00:00:00 host kernel: Mem-Info:", None);
        check("2026-12-01T11:15:48.123456+00:00 host kernel: [ 1.5] Mem-Info:", Some(1.5));
        check("2026-12-01T11:15:48,123456+00:00 Mem-Info:", None);
        check("[Tue Dec  1 11:15:48 2026] Mem-Info:", None);
        check("kern  :warn  : [  1.5] Mem-Info:", Some(1.5));
        check("[  +0.000001] Mem-Info:", None);
        check("kernel: Mem-Info:", None);
        check("Dec 27 09:19:05 2013 kernel: : [277622.5] Mem-Info:", Some(277_622.5));
        check("  1. <4>[12345.5] Mem-Info:", Some(12_345.5));
        check("[ 1.500000] host kernel: Mem-Info:", Some(1.5));
    }

    #[test]
    fn what_is_no_prefix_stays() {
        for line in ["[  123]     0   123 hog", "Node 0 Normal: 1*4kB", "Mar wrote:", "[ pid ] uid"]
        {
            assert_eq!(strip(line), Stripped { text: line, ..Stripped::default() });
        }
        assert_eq!(unquoted("> > [1.0] x"), "[1.0] x");
        assert_eq!(unquoted(">>  x"), " x");
    }

    #[test]
    fn times_of_a_day_can_be_subtracted() {
        let time = |line: &str| strip(line).time.unwrap();
        let day = time("2026-03-01T00:00:01 x") - time("2026-02-28T23:59:59 x");
        assert!((day - 2.0).abs() < 1e-6);
    }
}
