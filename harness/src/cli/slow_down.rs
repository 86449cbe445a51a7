//! `--slow-down [VARIANT:]OP=PERCENT`: makes an operation slower on purpose.
//!
//! **Why.** A gate that never fired is not known to work. This lets anybody see theirs fail, and
//! measures what it finds; the record says that it was done.

use std::fmt;

use super::suggest;

/// What is slowed down.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowDown {
    /// Variant as counted on the command line, from 1; all of them without.
    pub variant: Option<usize>,
    /// The operation.
    pub op: String,
    /// By how much of its own time.
    pub percent: f64,
}

impl fmt::Display for SlowDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variant) = self.variant {
            write!(f, "{variant}:")?;
        }
        write!(f, "{}={}%", self.op, self.percent)
    }
}

/// `fault=10%` or `2:fault=10%`.
///
/// # Errors
/// A line that says what is wanted instead.
pub fn parse(text: &str) -> Result<SlowDown, String> {
    let bad = || format!("'{text}': want OP=PERCENT or VARIANT:OP=PERCENT, as in 2:fault=10%");
    let (what, percent) = text.split_once('=').ok_or_else(bad)?;
    let (variant, op) = match what.split_once(':') {
        Some((number, op)) => (Some(number.parse().map_err(|_| bad())?), op),
        None => (None, what),
    };
    let percent: f64 = percent.strip_suffix('%').and_then(|p| p.parse().ok()).ok_or_else(bad)?;
    if op.is_empty() || variant == Some(0) || !(percent > 0.0 && percent <= 10_000.0) {
        return Err(bad());
    }
    Ok(SlowDown { variant, op: op.to_owned(), percent })
}

/// Parts by which each of the operations is slowed down, for one variant.
pub fn shares(all: &[SlowDown], variant: usize, ops: &[&str]) -> Vec<f64> {
    let applies = |s: &&SlowDown| s.variant.is_none_or(|v| v == variant + 1);
    let share = |op: &&str| {
        all.iter().filter(applies).filter(|s| s.op == *op).map(|s| s.percent / 100.0).sum()
    };
    let shares: Vec<f64> = ops.iter().map(share).collect();
    if shares.iter().all(|s| *s == 0.0) { Vec::new() } else { shares }
}

/// Refuses what names no operation or no variant.
///
/// # Errors
/// With the nearest name.
pub fn check(all: &[SlowDown], variants: usize, ops: &[&str]) -> Result<(), String> {
    for one in all {
        if !ops.contains(&one.op.as_str()) {
            let known = ops.iter().copied();
            return Err(suggest::unknown("operation", &one.op, known, "--slow-down"));
        }
        if one.variant.is_some_and(|v| v > variants) {
            return Err(format!("--slow-down {one}: there are {variants} variants, from 1"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_refuses_nonsense() {
        for text in ["fault=10%", "2:fault=0.5%"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for text in ["fault", "fault=10", "fault=-1%", "0:fault=1%", "=1%", "x:fault=1%"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_is_for_one_operation_of_one_variant() {
        let all = [parse("2:fault=10%").unwrap()];
        let ops = ["unmap", "fault"];
        assert_eq!(shares(&all, 0, &ops), Vec::<f64>::new());
        assert_eq!(shares(&all, 1, &ops), [0.0, 0.1]);
        assert!(check(&all, 2, &ops).is_ok());
        assert!(check(&all, 1, &ops).unwrap_err().contains("1 variants"));
        assert!(check(&all, 2, &["faults"]).unwrap_err().contains("did you mean 'faults'?"));
    }
}
