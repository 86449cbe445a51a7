//! Folds the rounds of a loop, so that a story of sixteen equal passes is told in a few lines.
//!
//! **What.** Where a cycle of steps repeats, alike but for numbers, its first round stays, and one
//! line says how many rounds like it follow.
//!
//! **Why.** S7 to S17 go round up to sixteen times before a kill; what matters happened before.

/// Steps of the longest cycle that is looked for.
const LONGEST_CYCLE: usize = 8;
/// Rounds from which on a cycle is folded.
const FEWEST_ROUNDS: usize = 4;

/// One stretch of a folded sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    /// These steps, one by one.
    Steps(usize, usize),
    /// From a step on, so many rounds of so many steps each, alike.
    Rounds { from: usize, rounds: usize, steps: usize },
}

/// The stretches of a sequence of steps, in order. Steps are alike if their keys are equal.
pub(super) fn fold<K: PartialEq>(keys: &[K]) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut plain = 0;
    let mut at = 0;
    while at < keys.len() {
        match (1..=LONGEST_CYCLE).find_map(|steps| rounds_at(keys, at, steps)) {
            Some((steps, rounds)) => {
                let from = at + steps;
                stretches.push(Stretch::Steps(plain, from));
                stretches.push(Stretch::Rounds { from, rounds: rounds - 1, steps });
                at += rounds * steps;
                plain = at;
            }
            None => at += 1,
        }
    }
    stretches.push(Stretch::Steps(plain, keys.len()));
    stretches
}

fn rounds_at<K: PartialEq>(keys: &[K], at: usize, steps: usize) -> Option<(usize, usize)> {
    let cycle = keys.get(at..at + steps)?;
    let rounds = keys[at..].chunks_exact(steps).take_while(|round| *round == cycle).count();
    (rounds >= FEWEST_ROUNDS).then_some((steps, rounds))
}

/// A line without its numbers: what rounds are compared by.
pub(super) fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(steps: &str) -> Vec<Stretch> {
        fold(&steps.chars().collect::<Vec<_>>())
    }

    #[test]
    fn the_first_round_stays() {
        assert_eq!(
            folded("xabcabcabcabcaby"),
            [
                Stretch::Steps(0, 4),
                Stretch::Rounds { from: 4, rounds: 3, steps: 3 },
                Stretch::Steps(13, 16),
            ]
        );
    }

    #[test]
    fn what_does_not_repeat_often_stays_whole() {
        assert_eq!(folded("abcabcabcd"), [Stretch::Steps(0, 10)]);
        assert_eq!(folded(""), [Stretch::Steps(0, 0)]);
    }

    #[test]
    fn every_step_is_in_one_stretch() {
        for steps in ["aaaaaaa", "ababababcdcdcdcdcd", "xyzaaaaabababababab"] {
            let mut next = 0;
            for stretch in folded(steps) {
                match stretch {
                    Stretch::Steps(from, to) => {
                        assert_eq!(from, next, "{steps}");
                        next = to;
                    }
                    Stretch::Rounds { from, rounds, steps: length } => {
                        assert_eq!(from, next, "{steps}");
                        next = from + rounds * length;
                    }
                }
            }
            assert_eq!(next, steps.len(), "{steps}");
        }
    }

    #[test]
    fn passes_are_alike_but_for_their_numbers() {
        assert_eq!(without_numbers("retry, pass 8"), without_numbers("retry, pass 16"));
        assert_ne!(without_numbers("look: yes"), without_numbers("look: no"));
    }
}
