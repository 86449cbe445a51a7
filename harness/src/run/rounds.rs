//! All rounds of a plan, in the order of its turns.

use std::time::Instant;

use super::phases::{self, End, RoundLeft, Show, Surroundings};
use super::signals::Signals;
use crate::cli::exit::{Exit, Stop};
use crate::plan::Plan;
use crate::show::log;
use allocator::oracle::FindingKind;

/// What a run leaves.
#[derive(Debug, Default)]
pub struct Session {
    /// The rounds, in the order in which they were run.
    pub rounds: Vec<RoundLeft>,
    /// The signal that ended it, if one did.
    pub signal: Option<Exit>,
    /// Did it end before its time, by whatever cause?
    pub is_cut: bool,
    /// When the first round began.
    pub began: Option<Instant>,
}

impl Session {
    /// Findings that count so far.
    pub fn found(&self, strict: bool) -> u64 {
        let of_kind = |(kind, n): &(FindingKind, u64)| if kind.is_finding(strict) { *n } else { 0 };
        self.rounds.iter().flat_map(|r| r.stock.counts.iter().map(of_kind)).sum()
    }
}

/// Runs all turns; `after` is called with all rounds so far after each of them, so that a kill
/// leaves what was measured.
///
/// # Errors
/// If a round can't start.
pub fn run(
    plan: &Plan,
    signals: &Signals,
    show: &mut dyn Show,
    after: impl FnMut(&Session) -> Result<(), Stop>,
) -> Result<Session, Stop> {
    let mut session = Session { began: Some(Instant::now()), ..Session::default() };
    go_on(plan, &mut session, signals, show, after)?;
    Ok(session)
}

/// Runs the turns of a plan that a session has not had: those of a plan with more rounds, as a rule.
///
/// # Errors
/// As [`run`].
pub fn go_on(
    plan: &Plan,
    session: &mut Session,
    signals: &Signals,
    show: &mut dyn Show,
    mut after: impl FnMut(&Session) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let began = *session.began.get_or_insert_with(Instant::now);
    for (order, turn) in plan.turns().into_iter().enumerate().skip(session.rounds.len()) {
        let found_before = session.found(plan.strict);
        let mut around = Surroundings { session: began, signals, show: &mut *show, found_before };
        let name = &plan.variants[turn.variant].name;
        log::step(|| format!("round {} of {name}", turn.round + 1));
        let left = phases::round(plan, turn, order as u32, &mut around)?;
        log::detail(|| {
            let (seed, end) = (plan.round_seed(turn.round), left.end);
            let (s, switches) = (left.measured_s, left.usage.involuntary_switches);
            format!("  seed {seed:#x}, {s:.3} s measured, {switches} switches, ended: {end:?}")
        });
        let (end, is_wedged) = (left.end, left.is_wedged);
        session.rounds.push(left);
        if let End::Signal(exit) = end {
            session.signal = Some(exit);
        }
        let last = order as u32 + 1 == plan.turn_count();
        session.is_cut = end.ends_run() || (is_wedged && !last);
        after(session)?;
        if session.is_cut {
            break;
        }
    }
    Ok(())
}
