//! Numbers as people read them: three digits and a unit.

pub use crate::compare::rate;
pub use crate::error::thousands;

/// `212ns`, `4.1us`, `38us`, `1.9ms`, `12s`.
#[must_use]
pub fn ns(ns: f64) -> String {
    scaled(ns, &[("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)])
}

/// `17`, `48.2k`, `3.91M`: decimal, as counts are.
#[must_use]
pub fn count(number: f64) -> String {
    if number.abs() < 1000.0 && number.fract() == 0.0 {
        return format!("{number:.0}");
    }
    scaled(number, &[("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)])
}

/// `1 round`, `12 rounds`.
#[must_use]
pub fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

/// `251 GiB`: binary, as memory is.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| bytes >= 1 << shift);
    unit.map_or(format!("{bytes} B"), |(shift, name)| {
        format!("{:.0} {name}", bytes as f64 / f64::powi(2.0, *shift))
    })
}

/// Two or three digits and the greatest unit that leaves one before the point.
fn scaled(number: f64, units: &[(&str, f64)]) -> String {
    // 999.6 us would print as 1000us: such a number belongs to the next unit.
    let unit = units.iter().rev().find(|(_, factor)| number.abs() >= factor * 0.9995);
    let (name, factor) = unit.or(units.first()).copied().unwrap_or(("", 1.0));
    let n = number / factor;
    if factor == 1.0 && n.fract() == 0.0 || n.abs() >= 99.95 {
        format!("{n:.0}{name}")
    } else if n.abs() >= 9.995 {
        format!("{n:.1}{name}")
    } else {
        format!("{n:.2}{name}")
    }
}

/// The text, cut at `width` columns with two dots where it goes on.
#[must_use]
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let head: String = text.chars().take(width.saturating_sub(2)).collect();
    format!("{}..", head.trim_end())
}

/// Breaks at spaces so that no line is longer than `width` columns, unless a word is; further lines
/// begin with `indent`, the first with the spaces that the text begins with.
#[must_use]
pub fn wrap(text: &str, indent: &str, width: usize) -> String {
    let mut out = String::new();
    let mut line: String = text.chars().take_while(|c| *c == ' ').collect();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            out.push_str(&line);
            out.push('\n');
            line = indent.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(&line);
    out.push('\n');
    out
}

/// [`crate::escape::name`], owned.
#[must_use]
pub fn plain(text: &str) -> String {
    crate::escape::name(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        for (value, want) in [
            (0.0, "0ns"),
            (7.0, "7ns"),
            (212.0, "212ns"),
            (999.0, "999ns"),
            (4102.0, "4.10us"),
            (38_210.0, "38.2us"),
            (999_600.0, "1.00ms"),
            (1_900_000.0, "1.90ms"),
            (410_000.0, "410us"),
            (12_000_000_000.0, "12.0s"),
        ] {
            assert_eq!(ns(value), want);
        }
        for (value, want) in [
            (0.0, "0"),
            (17.0, "17"),
            (48_213.0, "48.2k"),
            (3_912_034.0, "3.91M"),
            (39.1e6, "39.1M"),
            (0.5, "0.50"),
        ] {
            assert_eq!(count(value), want);
        }
        assert_eq!(bytes(251 << 30), "251 GiB");
        assert_eq!(bytes(100), "100 B");
        assert_eq!(thousands(66_060_288), "66,060,288");
        assert_eq!(thousands(999), "999");
    }

    #[test]
    fn rates_are_said_in_the_unit_that_fits() {
        for (value, want) in [
            (2.5e-6, "2.5 per million"),
            (0.3, "30%"),
            (0.003, "3 per thousand"),
            (3e-9, "3 per billion"),
            (1.0, "100%"),
        ] {
            assert_eq!(rate(value), want);
        }
    }

    #[test]
    fn text_is_broken_at_spaces_only() {
        assert_eq!(
            wrap("  a bb ccc dddddddd e", "    ", 8),
            "  a bb\n    ccc\n    dddddddd\n    e\n"
        );
        assert_eq!(wrap("", "  ", 8), "\n");
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\x1b[2Jb\\n");
        assert_eq!(fit("abcdef", 4), "ab..");
    }
}
