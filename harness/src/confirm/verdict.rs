//! What a session came to: a word, and the evidence for it.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::recipe::Recipe;
use super::session::{Pause, Round};
use crate::cli::exit::Exit;

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// The kernel did what the model said, and the control came out well.
    Confirmed,
    /// All points were reached, in every round, and the outcome did not show in any.
    Refuted,
    /// A point was not reached, a fact is missing, or the control did not come out well.
    NotReached,
}

impl Word {
    /// The exit code that goes with it.
    pub fn exit(self) -> Exit {
        match self {
            Self::Confirmed => Exit::Ok,
            Self::Refuted => Exit::Findings,
            Self::NotReached => Exit::NotJudged,
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Confirmed => "CONFIRMED",
            Self::Refuted => "REFUTED",
            Self::NotReached => "NOT REACHED",
        }
    }
}

/// A verdict with its evidence.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The word.
    pub word: Word,
    /// The family.
    pub family: String,
    /// The kernel's version.
    pub version: String,
    /// Rounds with the race, and how many of them showed it.
    pub rounds: usize,
    /// How many showed it.
    pub shown: usize,
    /// Rounds without the race, and how many of them came out well.
    pub controls: usize,
    /// How many came out well.
    pub well: usize,
    /// Why it was not reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is known of the first round with the race, in lines.
    pub evidence: Vec<String>,
    /// The whole attempt.
    pub seconds: f64,
}

/// Judges the rounds of a session; `why` is the reason if it ended early.
pub fn judge(
    family: &str,
    version: &str,
    recipe: &Recipe,
    rounds: &[Round],
    why: Option<String>,
    elapsed: Duration,
) -> Verdict {
    let (fact, race) = &recipe.race;
    let well = recipe.well.1;
    let of = |control: bool| rounds.iter().filter(move |r| r.control == control);
    let with = |control: bool, value: i64| {
        of(control).filter(|r| r.facts.get(fact) == Some(&value)).count()
    };
    let (races, controls) = (of(false).count(), of(true).count());
    let (shown, not_shown, good) = (with(false, *race), with(false, well), with(true, well));
    let odd = rounds.iter().find(|r| ![Some(race), Some(&well)].contains(&r.facts.get(fact)));
    let why = why.or_else(|| match odd {
        Some(round) => Some(match round.facts.get(fact) {
            Some(value) => format!("{fact} is {value}, neither {race} nor {well}"),
            None => format!("the guest told no {fact}"),
        }),
        None if races == 0 || controls == 0 => Some("no round came to its end".to_owned()),
        None if good < controls => Some(format!(
            "the control came out as the race should ({fact} {race}) in {} of {controls}: it proves \
             nothing",
            controls - good
        )),
        None => None,
    });
    let word = match why {
        Some(_) => Word::NotReached,
        None if shown > 0 => Word::Confirmed,
        None => {
            debug_assert_eq!(not_shown, races);
            Word::Refuted
        }
    };
    let mut evidence = Vec::new();
    for (control, name) in [(true, "control"), (false, "race")] {
        let Some(round) = of(control).next() else { continue };
        evidence.extend(round.pauses.iter().flat_map(|p| pause(name, p)));
        evidence.extend(round.said.iter().map(|s| format!("{name}: {s}")));
        evidence.extend(round.facts.iter().map(|(n, v)| format!("{name}: {n} = {v}")));
    }
    Verdict {
        word,
        family: family.to_owned(),
        version: version.to_owned(),
        rounds: races,
        shown,
        controls,
        well: good,
        why,
        evidence,
        seconds: elapsed.as_secs_f64(),
    }
}

fn pause(round: &str, pause: &Pause) -> Vec<String> {
    let Pause { task, point, how, before, after, away } = pause;
    let mut lines = vec![format!(
        "{round}: {task} paused at {} for {:.2} s, {how}",
        point.name(),
        away.as_secs_f64()
    )];
    lines.extend(before.iter().map(|l| format!("{round}:   came with {l}")));
    lines.extend(after.iter().map(|l| format!("{round}:   went on with {l}")));
    lines
}

impl Verdict {
    /// As text.
    pub fn text(&self) -> String {
        let Self { family, version, rounds, shown, controls, well, seconds, .. } = self;
        let mut text = format!(
            "{}  {family} on {version}: the race showed in {shown} of {rounds} rounds, the control came out \
             well in {well} of {controls}  ({seconds:.0} s)\n",
            self.word.shown()
        );
        if let Some(why) = &self.why {
            let _ = writeln!(text, "  because {why}");
        }
        for line in &self.evidence {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(control: bool, node: Option<i64>) -> Round {
        let facts = node.map(|n| ("page_node".to_owned(), n)).into_iter().collect();
        Round { control, facts, ..Round::default() }
    }

    fn judged(rounds: &[Round], why: Option<&str>) -> Verdict {
        let recipe = super::super::recipe::find("J4f").unwrap();
        let why = why.map(str::to_owned);
        judge("J4f", "6.1.176", &recipe, rounds, why, Duration::from_secs(31))
    }

    #[test]
    fn words_follow_from_what_the_guest_found() {
        let check = |rounds: &[Round], why: Option<&str>, word: Word, text: &str| {
            let verdict = judged(rounds, why);
            assert_eq!(verdict.word, word, "{}", verdict.text());
            assert!(verdict.text().contains(text), "{}", verdict.text());
        };
        let good = round(true, Some(1));
        let (race, well) = (round(false, Some(0)), round(false, Some(1)));
        check(&[good.clone(), race.clone()], None, Word::Confirmed, "showed in 1 of 1 rounds");
        check(&[good.clone(), well.clone()], None, Word::Refuted, "REFUTED  J4f on 6.1.176");
        check(&[good.clone(), race.clone(), well], None, Word::Confirmed, "in 1 of 2 rounds");
        check(&[good.clone(), race.clone()], Some("H slept"), Word::NotReached, "because H slept");
        check(&[round(true, Some(0)), race.clone()], None, Word::NotReached, "proves nothing");
        check(std::slice::from_ref(&race), None, Word::NotReached, "no round came to its end");
        check(&[good.clone(), round(false, None)], None, Word::NotReached, "told no page_node");
        check(&[good, round(false, Some(-2))], None, Word::NotReached, "is -2, neither 0 nor 1");
    }

    #[test]
    fn exit_codes_tell_the_words_apart() {
        let codes = [Word::Confirmed, Word::Refuted, Word::NotReached].map(|w| w.exit().code());
        assert_eq!(codes, [0, 1, 6]);
    }
}
