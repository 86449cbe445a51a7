//! What may stand behind a flag: durations, counts, sizes, seeds, CPU lists.
//!
//! **Why.** Each field has its habits, and mixing them up ruins a night's run: a bare duration is
//! seconds (stress-ng, fio, cyclictest), counts are decimal (`2M` operations are 2,000,000), sizes
//! of memory are binary (`64G` is what the kernel's `mem=64G` means).

use std::time::Duration;

use crate::machine::movable::Share;

/// No run is longer.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// `10s`, `1.5m`, `250ms`, `2h 30m`, or a bare number of seconds.
///
/// # Errors
/// A line that says what is wanted instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is no duration: want a number and ms, s, m, h or d, as in 10s");
    let mut total = 0.0;
    let mut rest = text.trim();
    if rest.starts_with('-') {
        return Err(format!("'{text}' is less than 0: want a time to come, as in 10s"));
    }
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let after = rest[digits..].trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit = match &after[..letters] {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            "" if rest.len() == text.trim().len() && after.is_empty() => 1.0,
            _ => return Err(bad()),
        };
        total += number * unit;
        rest = after[letters..].trim_start();
    }
    match Duration::try_from_secs_f64(total) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(format!("'{text}' is longer than 3650d, the longest that a run may take")),
    }
}

/// A duration that is longer than nothing.
///
/// # Errors
/// As [`duration`], and for zero.
pub fn duration_above_zero(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than 0".to_owned()),
        some => Ok(some),
    }
}

/// A count with decimal `k`, `M` or `G`.
///
/// # Errors
/// A line that says what is wanted instead.
pub fn count(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is no count: want a number, perhaps with k, M or G, as in 2M");
    let (number, factor) = match text.chars().last() {
        Some('k' | 'K') => (&text[..text.len() - 1], 1_000),
        Some('m' | 'M') => (&text[..text.len() - 1], 1_000_000),
        Some('g' | 'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    let number = number.replace('_', "");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(bad);
    }
    let number: f64 = number.parse().map_err(|_| bad())?;
    let total = number * factor as f64;
    if factor == 1 || !(0.0..1e18).contains(&total) {
        return Err(bad());
    }
    Ok(total.round() as u64)
}

/// A count of at least one.
///
/// # Errors
/// As [`count`], and for zero.
pub fn count_above_zero(text: &str) -> Result<u64, String> {
    match count(text)? {
        0 => Err("must be at least 1".to_owned()),
        some => Ok(some),
    }
}

/// A size in bytes; K, M, G, T are powers of 1024.
///
/// # Errors
/// A line that says what is wanted instead.
pub fn size(text: &str) -> Result<u64, String> {
    parse_size::Config::new().with_binary().parse_size(text).map_err(|e| {
        format!(
            "'{text}' is no size ({e}): want a number and K, M, G or T (powers of 1024), as in 64G"
        )
    })
}

/// A size or a percentage.
///
/// # Errors
/// A line that says what is wanted instead.
pub fn share(text: &str) -> Result<Share, String> {
    let Some(number) = text.strip_suffix('%') else {
        return Ok(Share::Bytes(size(text)?));
    };
    match number.trim().parse::<f64>() {
        Ok(p) if p > 0.0 && p <= 100.0 => Ok(Share::Percent(p)),
        _ => Err(format!("'{text}' is no percentage above 0% and up to 100%")),
    }
}

/// A seed, decimal or `0x` hexadecimal.
///
/// # Errors
/// A line that says what is wanted instead.
pub fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("'{text}' is no seed: want a number of 64 bits, as in 42 or 0x5f3a"))
}

/// How many threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One for each CPU that the process may use.
    All,
    /// This many.
    Count(u32),
    /// Each of these in turn, for the scalability curve; rising.
    List(Vec<u32>),
}

/// `all`, a number from 1 to 65536, or several: `1,2,4..64`, where `A..B` doubles from A up to B.
///
/// # Errors
/// A line that says what is wanted instead.
pub fn threads(text: &str) -> Result<Threads, String> {
    if text == "all" {
        return Ok(Threads::All);
    }
    match count(text) {
        Ok(0) => Err("0 threads do nothing: want 1 or more, or 'all'".to_owned()),
        Ok(n) if n <= 65536 => Ok(Threads::Count(n as u32)),
        Ok(n) => Err(format!("{n} threads are too many: at most 65,536")),
        Err(_) if text.contains(',') || text.contains("..") => thread_list(text),
        Err(_) => Err(format!("'{text}' is no number of threads: want 1 or more, or 'all'")),
    }
}

fn thread_list(text: &str) -> Result<Threads, String> {
    let one = |part: &str| match threads(part) {
        Ok(Threads::Count(n)) => Ok(n),
        Ok(Threads::All | Threads::List(_)) => Err(format!("'{part}' is no number of threads")),
        Err(e) => Err(e),
    };
    let mut list = Vec::new();
    for part in text.split(',') {
        match part.split_once("..") {
            None => list.push(one(part)?),
            Some((from, to)) => {
                let (from, to) = (one(from)?, one(to)?);
                if from > to {
                    return Err(format!("'{part}': want the smaller number first"));
                }
                let doubled = std::iter::successors(Some(from), |n| n.checked_mul(2));
                list.extend(doubled.take_while(|n| *n < to));
                list.push(to);
            }
        }
    }
    list.sort_unstable();
    list.dedup();
    Ok(if let [n] = list[..] { Threads::Count(n) } else { Threads::List(list) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_threads_double() {
        let list = |text| match threads(text) {
            Ok(Threads::List(list)) => list,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(list("1,2,4..64"), [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(list("3..20"), [3, 6, 12, 20]);
        assert_eq!(list("8,1"), [1, 8]);
        assert_eq!(threads("4..4"), Ok(Threads::Count(4)));
        for text in ["8..2", "0..4", "1,,2", "1,all", "1..x"] {
            assert!(threads(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("10s", Some(10_000)),
            ("10", Some(10_000)),
            ("0.5", Some(500)),
            ("1m30s", Some(90_000)),
            ("1h 1s", Some(3_601_000)),
            ("250ms", Some(250)),
            ("10x", None),
            ("10 parsecs", None),
            ("", None),
            ("-1s", None),
            ("s", None),
            ("1m30", None),
            ("1e400", None),
            ("3650d", Some(315_360_000_000)),
            ("99999999999999d", None),
        ] {
            assert_eq!(duration(text).ok().map(|d| d.as_millis()), ms, "{text}");
        }
        assert!(duration("-5").unwrap_err().starts_with("'-5' is less than 0"));
        assert!(duration("99999999999999d").unwrap_err().contains("longer than 3650d"));
        assert!(duration(&"9".repeat(400)).unwrap_err().contains("longer than 3650d"));
    }

    #[test]
    fn counts_are_decimal_and_sizes_binary() {
        for (text, n) in [
            ("2M", Some(2_000_000)),
            ("1.5k", Some(1_500)),
            ("1_000", Some(1_000)),
            ("1.5", None),
            ("-1", None),
            ("99999999999G", None),
        ] {
            assert_eq!(count(text).ok(), n, "{text}");
        }
        for (text, n) in [
            ("64G", Some(64 << 30)),
            ("64GB", Some(64 << 30)),
            ("1.5K", Some(1536)),
            ("12Q", None),
            ("-1", None),
        ] {
            assert_eq!(size(text).ok(), n, "{text}");
        }
    }

    #[test]
    fn shares_seeds_and_threads() {
        assert_eq!(share("25%"), Ok(Share::Percent(25.0)));
        assert_eq!(share("1G"), Ok(Share::Bytes(1 << 30)));
        assert!(share("0%").is_err() && share("101%").is_err() && share("x%").is_err());
        assert_eq!(seed("0x5f3a"), Ok(0x5f3a));
        assert_eq!(seed("42"), Ok(42));
        assert!(seed("0xg").is_err());
        assert_eq!(threads("all"), Ok(Threads::All));
        assert_eq!(threads("64"), Ok(Threads::Count(64)));
        assert!(threads("0").is_err() && threads("many").is_err() && threads("1G").is_err());
    }
}
