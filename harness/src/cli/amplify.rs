//! `--amplify POINT=PROBABILITY[:DELAY]`: holds threads at a race point.

use allocator::race::{Amplify, Point};

use super::exit::Stop;
use super::{suggest, values};

/// All of them.
///
/// # Errors
/// With the nearest name; exit code 2.
pub fn parse_all(texts: &[String]) -> Result<Vec<Amplify>, Stop> {
    texts
        .iter()
        .map(|text| parse(text).map_err(|e| Stop::usage(format!("--amplify '{text}': {e}"))))
        .collect()
}

fn parse(text: &str) -> Result<Amplify, String> {
    let (name, rest) = text
        .split_once('=')
        .ok_or("want POINT=PROBABILITY, perhaps with :DELAY, as in T3a_mems_written=0.01:50us")?;
    let point = point(name.trim())?;
    let (share, delay) = match rest.split_once(':') {
        Some((share, delay)) => (share, values::duration(delay)?),
        None => (rest, std::time::Duration::ZERO),
    };
    let per_million = per_million(share.trim())?;
    let delay_ns = u64::try_from(delay.as_nanos()).map_err(|_| "the delay is too long")?;
    Ok(Amplify { point, per_million, delay_ns })
}

fn point(name: &str) -> Result<Point, String> {
    if let Some(point) = Point::from_name(name) {
        return Ok(point);
    }
    let of_label: Vec<&str> = Point::ALL
        .iter()
        .filter(|p| p.label().eq_ignore_ascii_case(name))
        .map(|p| p.name())
        .collect();
    if of_label.is_empty() {
        let names = Point::ALL.iter().map(|p| p.name());
        // Distances are taken in lower case.
        let lower: Vec<String> = names.clone().map(str::to_lowercase).collect();
        let near = suggest::nearest(name, lower.iter().map(String::as_str));
        let near = near.and_then(|n| names.into_iter().find(|p| p.eq_ignore_ascii_case(n)));
        let meant = near.map_or(String::new(), |n| format!(": did you mean '{n}'?"));
        return Err(format!("unknown point '{name}'{meant}  (stress list points)"));
    }
    Err(format!("{name} names several points: {}", of_label.join(", ")))
}

fn per_million(text: &str) -> Result<u32, String> {
    let (number, factor) = match text.strip_suffix('%') {
        Some(number) => (number, 1e4),
        None => (text, 1e6),
    };
    match number.trim().parse::<f64>() {
        Ok(p) if p > 0.0 && p * factor <= 1e6 => Ok(((p * factor).round() as u32).max(1)),
        _ => Err(format!("'{text}' is no probability above 0 and up to 1, such as 0.01 or 1%")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_and_delays() {
        let check = |text: &str, per_million: u32, delay_ns: u64| {
            let amplify = parse(text).unwrap();
            assert_eq!(amplify.point, Point::T3aMemsWritten, "{text}");
            assert_eq!((amplify.per_million, amplify.delay_ns), (per_million, delay_ns), "{text}");
        };
        check("T3a_mems_written=0.01:50us", 10_000, 50_000);
        check("t3a_mems_written=1%", 10_000, 0);
        check("T3a_mems_written=1:2", 1_000_000, 2_000_000_000);
    }

    #[test]
    fn slips_are_named_with_the_nearest_point() {
        let refused = |text: &str, words: &str| {
            let message = parse(text).unwrap_err();
            assert!(message.contains(words), "{message}");
        };
        refused("T3a_mems_writen=0.1", "did you mean 'T3a_mems_written'?");
        refused("T3a=0.1", "T3a_mems_written");
        refused("S17", "want POINT=PROBABILITY");
        refused("S17=0", "no probability");
        refused("S17=2", "no probability");
        refused("S17=0.5:10x", "no duration");
    }
}
