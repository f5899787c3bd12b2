//! What a test sees of a tick: the one place where counts become what a kernel takes, of requests and of users.

use super::edges::Edges;
use super::evidence::{self, RATIOS};
use super::kernel::mean::{self, LAMBDAS, Moments, Tolerated};
use super::kernel::ratio::Table;
use super::test::{Against, Direction, Measure, Test};
use super::tick::{Tick, View};
use super::totals::Totals;
use super::users::{First, Firsts};
use crate::model::{Arm, Pair, Side};
use crate::signal::catalog::{self, Among, BoundOn, Kind, Overdue, Scale, Signal, SignalId};
use crate::signal::histogram;
use crate::signal::sums::Sums;
use crate::signal::tally::{Counts, Tally};

pub(super) mod users;

/// What a test sees of a tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// What its kernel takes.
    numbers: Numbers,
    /// What people read of it.
    pub seen: Totals,
    /// Whether there was something to compare.
    pub is_comparable: bool,
}

/// What a kernel takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Numbers {
    /// Events among units.
    Events(Table),
    /// Values.
    Means(Pair<Sums>),
    /// Users that had the event for the first time, or answers that had it, each with the probability `odds` of the version that has more if the
    /// candidate is worse.
    FirstEvents { events: Pair<u64>, odds: f64 },
}

/// How certain a look is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Certainty {
    /// The evidence that follows is final, or can only grow until the tick closes.
    Certain(Look),
    /// What is still pending may change it either way.
    Open,
}

impl Look {
    /// What `test` sees of a tick's requests. `edges`: where a quantile stands; without them nothing is beyond it.
    #[must_use]
    pub fn of_requests(tick: &Tick, test: &Test, edges: Option<Edges>, view: View) -> Certainty {
        let tally = |side: Side| tick.counts[side].tally(test.signal);
        let (Some(signal), Some(candidate), Some(stable)) =
            (catalog::by_id(test.signal), tally(Side::Candidate), tally(Side::Stable))
        else {
            return Certainty::Certain(Self::of(test, Totals::default())); // what was not observed shows nothing
        };
        let tallies = Pair::new(candidate, stable);
        if matches!(signal.kind, Kind::Mean(_)) {
            let is_pending = |side: Side| tick.counts[side].pending(signal, tallies[side]) > 0;
            if view != View::Closed && Side::BOTH.into_iter().any(is_pending) {
                return Certainty::Open;
            }
            let sums = tallies.map(|tally| match tally {
                Tally::Mean(sums) => *sums,
                Tally::Event(_) | Tally::Duration(_) => Sums::default(),
            });
            return Certainty::Certain(Self::of(test, Totals::Means(sums)));
        }
        // The worst case is another one where less of the candidate's counts against it. Of events that come apart from
        // requests more may come.
        if view != View::Closed && (test.is_of_less() || test.is_of_events()) {
            return Certainty::Open;
        }
        if test.is_of_events() {
            return Certainty::Certain(Self::of_events(tick, test, tallies));
        }
        let arm = |side| arm(signal, (&tick.counts[side], tallies[side]), (side, edges), view);
        let (candidate, stable) = (arm(Side::Candidate), arm(Side::Stable));
        // Between versions all requests are compared: how many have an answer depends on the version.
        let is_of_answers = test.is_bound() && signal.bound == BoundOn::Answers;
        let of = |table: Table| Totals::Events(if is_of_answers { tick.answers_of(table) } else { table });
        let judged = Self::of(test, of(Pair::new(candidate.judged, stable.judged)));
        Certainty::Certain(Self { seen: of(Pair::new(candidate.seen, stable.seen)), ..judged })
    }

    /// What `test` sees of a tick's users, of whom this happened to `first`, and these came for the first time
    /// (`firsts`). `odds`: the probability that a first event is of the version that has more if the candidate is worse.
    /// `tick`: whose users they are.
    #[must_use]
    pub fn of_users(tick: &Tick, test: &Test, first: &First, firsts: &Firsts, odds: f64) -> Self {
        if test.is_of_first_observations() {
            return Self::of(test, first.observed);
        }
        let all = firsts.all_requests();
        // A bound is on the first requests of a step.
        let (numbers, events) = if test.is_bound() {
            (Numbers::Events(firsts.requests), all.map(|arm| arm.events))
        } else {
            (Numbers::FirstEvents { events: first.events, odds }, first.events)
        };
        let arm = |side: Side| Arm { events: events[side], units: all[side].units };
        let seen = Totals::Events(Pair::new(arm(Side::Candidate), arm(Side::Stable)));
        let is_comparable = match test.is_of_events() {
            true => first.events.total() > 0,
            false => tick.counts.candidate.requests > 0,
        };
        Self { numbers, seen, is_comparable }
    }

    /// What `test` sees of events that say which answer they are about: whether there is one does not depend on what was drawn
    /// for the answer, unless the version makes a difference.
    fn of_events(tick: &Tick, test: &Test, tallies: Pair<&Tally>) -> Self {
        let events = tallies.map(|tally| match tally {
            Tally::Event(arm) => arm.events,
            Tally::Duration(_) | Tally::Mean(_) => 0,
        });
        let share = tick.share.unwrap_or_default();
        let odds = match test.has_more() {
            Side::Candidate => share,
            Side::Stable => 1.0 - share,
        };
        // Of answers in earlier ticks as well.
        let arm =
            |side: Side| Arm { events: events[side], units: tick.counts[side].requests.max(events[side]) };
        Self {
            numbers: Numbers::FirstEvents { events, odds },
            seen: Totals::Events(Pair::new(arm(Side::Candidate), arm(Side::Stable))),
            is_comparable: events.total() > 0,
        }
    }

    /// People read what is judged.
    fn of(test: &Test, seen: Totals) -> Self {
        let numbers = match seen {
            Totals::Events(table) => Numbers::Events(table),
            Totals::Means(sums) => Numbers::Means(sums),
        };
        let units = seen.units();
        let is_comparable = units.candidate > 0 && (test.is_bound() || units.stable > 0);
        Self { numbers, seen, is_comparable }
    }

    /// The events of both sides, as they are judged; `None`: it is of something else.
    #[must_use]
    pub fn table(&self) -> Option<Table> {
        match self.numbers {
            Numbers::Events(table) => Some(table),
            Numbers::Means(_) | Numbers::FirstEvents { .. } => None,
        }
    }

    /// What it shows about each suspicion of `test`: logarithms of likelihood ratios. `past`: the values of earlier
    /// ticks.
    #[must_use]
    pub fn ln_likelihoods(&self, test: &Test, past: Pair<Sums>) -> [f64; RATIOS.len()] {
        let (tolerate, direction) = match (test.against, self.numbers) {
            (Against::Bound { max }, Numbers::Events(table)) => {
                return evidence::over_bound(&table.candidate, max);
            }
            // McNemar's test, at every moment: of pairs with one difference, each is the candidate's with one half.
            (Against::Copy { tolerate }, Numbers::Events(Pair { candidate: Arm { events, units }, .. })) => {
                return evidence::first_events(events, units, 0.5, tolerate);
            }
            (Against::Bound { .. } | Against::Copy { .. }, _) => return [0.0; RATIOS.len()],
            // The edges of a quantile have the tolerance in them.
            (Against::Stable { direction, .. }, _) if test.quantile().is_some() => (1.0, direction),
            (Against::Stable { tolerate, direction, .. }, _) => (tolerate, direction),
        };
        match (self.numbers, direction) {
            (Numbers::Events(table), Direction::Up) => evidence::comparison(&table, tolerate),
            (Numbers::Events(Pair { candidate, stable }), Direction::Down) => {
                evidence::comparison(&Pair::new(stable, candidate), tolerate)
            }
            (Numbers::FirstEvents { events, odds }, Direction::Up) => {
                evidence::first_events(events.candidate, events.total(), odds, tolerate)
            }
            (Numbers::FirstEvents { events, odds }, Direction::Down) => {
                evidence::first_events(events.stable, events.total(), odds, tolerate)
            }
            (Numbers::Means(sums), direction) => {
                let expected = past.map(|sums| Moments::from(sums).expected());
                let tick = sums.map(Moments::from);
                let tolerated = match test.measure {
                    Measure::Mean { logarithmic: true } => Tolerated::Difference(Scale::difference(tolerate)),
                    _ => Tolerated::Times(tolerate),
                };
                LAMBDAS.map(|lambda| mean::differs(tick, expected, lambda, tolerated, direction))
            }
        }
    }
}

/// What a closed tick shows of a signal on one side alone; `None`: it was not observed. What had not settled by the deadline
/// counts as it does for the judge.
#[must_use]
pub fn settled(counts: &Counts, signal: SignalId) -> Option<Tally> {
    let (signal, tally) = (catalog::by_id(signal)?, counts.tally(signal)?);
    Some(match tally {
        Tally::Event(_) => {
            let arm = arm(signal, (counts, tally), (Side::Stable, None), View::Closed).judged;
            let is_of_answers = signal.bound == BoundOn::Answers;
            Tally::Event(if is_of_answers { counts.without_silent(arm) } else { arm })
        }
        Tally::Duration(durations) if signal.overdue == Overdue::Event => {
            let mut durations = durations.clone();
            durations.add(histogram::EDGES, counts.pending(signal, tally));
            Tally::Duration(durations)
        }
        Tally::Duration(_) | Tally::Mean(_) => tally.clone(),
    })
}

/// A side's events among its units.
struct Counted {
    /// With what is assumed of requests that have not settled.
    judged: Arm,
    /// Without.
    seen: Arm,
}

/// The events of one side and the units that could have them.
fn arm(
    signal: &Signal,
    (counts, tally): (&Counts, &Tally),
    (side, edges): (Side, Option<Edges>),
    view: View,
) -> Counted {
    let pending = counts.pending(signal, tally);
    let settled = match (tally, edges) {
        (Tally::Event(arm), _) => *arm,
        (Tally::Duration(durations), Some(edges)) => {
            Arm { events: durations.beyond(edges[side]), units: durations.total() }
        }
        (Tally::Duration(durations), None) => Arm { events: 0, units: durations.total() },
        (Tally::Mean(sums), _) => Arm { events: 0, units: sums.count },
    };
    // Without an edge no duration is beyond it, and none will be.
    let can_have_it = !matches!((tally, edges), (Tally::Duration(_), None));
    let late = match view {
        View::Closed => match signal.overdue {
            Overdue::Event => pending,
            Overdue::EventUnlessAnswered => counts.unanswered,
            Overdue::NoEvent => 0,
            Overdue::LeftOut => return Counted { judged: settled, seen: settled },
        },
        // The worst case for a finding.
        View::Open { age } => match side {
            Side::Stable => pending,
            // What has taken longer than its edge already is beyond it.
            Side::Candidate => match edges {
                Some(edges) if age > edges.candidate && signal.among == Among::Every => pending,
                _ => 0,
            },
        },
    };
    let late = if can_have_it { late } else { 0 };
    let with = |late: u64, pending: u64| Arm {
        events: settled.events.saturating_add(late),
        units: settled.units.saturating_add(pending),
    };
    let judged = with(late, pending);
    let seen = match (view, side) {
        (View::Closed, _) => judged,
        (View::Open { .. }, Side::Candidate) => with(late, late),
        (View::Open { .. }, Side::Stable) => settled,
    };
    Counted { judged, seen }
}

#[cfg(test)]
mod tests;
