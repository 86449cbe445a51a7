//! Numbers as the tables print them.

/// As the robot does: whole from 100 up, else two decimals; scientific where digits run out.
pub(super) fn value(number: Option<f64>) -> String {
    match number {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(n) if n.abs() >= 1e12 => format!("{n:.3e}"),
        Some(n) if n.abs() >= 100.0 => format!("{n:.0}"),
        Some(n) if n.abs() >= 0.01 => format!("{n:.2}"),
        Some(n) => format!("{n:.2e}"),
    }
}

/// `+7.2%`, `0.0%`, `-`.
pub(super) fn change(percent: Option<f64>) -> String {
    percent.map_or("-".to_owned(), signed)
}

/// With sign, one decimal; what rounds to nothing has no sign.
pub(super) fn signed(percent: f64) -> String {
    if percent.abs() < 0.05 {
        "0.0%".to_owned()
    } else if percent.abs() >= 1000.0 {
        format!("{percent:+.0}%")
    } else {
        format!("{percent:+.1}%")
    }
}

/// A rate as people say it: `2.5 per million`.
#[must_use]
pub fn rate(share: f64) -> String {
    let (factor, word) = match share {
        s if s >= 0.01 => (100.0, "%"),
        s if s >= 1e-4 => (1e3, " per thousand"),
        s if s >= 1e-7 => (1e6, " per million"),
        _ => (1e9, " per billion"),
    };
    let n = share * factor;
    // Up to two decimals, without those that say nothing.
    let text = format!("{n:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{word}")
}

/// Cuts a label that is too long, at the front, where paths and variants are alike.
pub(super) fn fit(label: &str, width: usize) -> String {
    let length = label.chars().count();
    if length <= width {
        return label.to_owned();
    }
    let tail: String = label.chars().skip(length + 2 - width).collect();
    format!("..{tail}")
}
