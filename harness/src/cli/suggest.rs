//! The nearest name to a mistyped one.
//!
//! **Source.** Damerau-Levenshtein distance in its restricted form (optimal string alignment):
//! insertions, deletions, substitutions and swapped neighbours cost one each.

/// The name in `known` that is nearest to `typed`, if it is near enough to be meant: at most a
/// third of the letters differ, or one of them begins with the other.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .filter_map(|name| {
            let known = name.to_lowercase();
            let steps = distance(&typed, &known);
            let begins = typed.len() >= 3 && known.starts_with(&typed)
                || known.len() >= 3 && typed.starts_with(&known);
            let near = 3 * steps <= typed.chars().count().max(name.chars().count());
            // Who types the beginning of a name means that one.
            (near || begins).then_some(((!begins, steps), name))
        })
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, name)| name)
}

/// `unknown KIND 'TYPED': did you mean 'X'?  (MORE)`, or without the question if nothing is near.
pub fn unknown<'a>(
    kind: &str,
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
    more: &str,
) -> String {
    match nearest(typed, known) {
        Some(name) => format!("unknown {kind} '{typed}': did you mean '{name}'?  ({more})"),
        None => format!("unknown {kind} '{typed}'  ({more})"),
    }
}

fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best =
                (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["cpuset01", "mbind-churn", "oom-storm", "offline-free", "page-alloc"];

    #[test]
    fn slips_of_the_finger_find_the_name() {
        for (typed, meant) in [
            ("cpuset1", Some("cpuset01")),
            ("cpuest01", Some("cpuset01")),
            ("CPUSET01", Some("cpuset01")),
            ("oom", Some("oom-storm")),
            ("ofline-free", Some("offline-free")),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, NAMES), meant, "{typed}");
        }
    }

    #[test]
    fn a_swap_of_neighbours_costs_one() {
        assert_eq!(distance("abcd", "abdc"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
