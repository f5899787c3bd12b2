//! What a test sees of a tick: the one place where a tally becomes what a kernel takes.

use serde::{Deserialize, Serialize};

use super::edges::Edges;
use super::evidence::{self, RATIOS};
use super::kernel::mean::{self, LAMBDAS, Moments, Tolerated};
use super::kernel::ratio::Table;
use super::test::{Against, Direction, Measure, Test};
use super::tick::{Tick, View};
use crate::model::{Arm, Pair, Side};
use crate::signal::catalog::{self, Among, Kind, Overdue, Scale, Signal};
use crate::signal::sums::Sums;
use crate::signal::tally::{Counts, Tally};

/// What a test sees of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Look {
    /// Events among units.
    Events(Table),
    /// Values.
    Means(Pair<Sums>),
}

/// No event among no units.
impl Default for Look {
    fn default() -> Self {
        Self::Events(Table::default())
    }
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
    /// What `test` sees of a tick. `edges`: where a quantile stands; without them nothing is beyond it.
    #[must_use]
    pub fn at(tick: &Tick, test: &Test, edges: Option<Edges>, view: View) -> Certainty {
        let tally = |side: Side| tick.counts[side].tally(test.signal);
        let (Some(signal), Some(candidate), Some(stable)) =
            (catalog::by_id(test.signal), tally(Side::Candidate), tally(Side::Stable))
        else {
            return Certainty::Certain(Self::default()); // what was not observed shows nothing
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
            return Certainty::Certain(Self::Means(sums));
        }
        // The worst case is another one where less of the candidate's counts against it.
        if view != View::Closed && test.is_of_less() {
            return Certainty::Open;
        }
        let arm = |side| arm(signal, (&tick.counts[side], tallies[side]), (side, edges), view);
        let table = Pair::new(arm(Side::Candidate), arm(Side::Stable));
        // A bound is on answers. Between versions all requests are compared: who waits for an answer depends on it.
        let is_of_answers = test.is_bound() && test.signal == catalog::ERROR_RATE.id;
        Certainty::Certain(Self::Events(if is_of_answers { tick.answers_of(table) } else { table }))
    }

    /// How many requests, users or values it is of.
    #[must_use]
    pub fn units(&self) -> Pair<u64> {
        match self {
            Self::Events(table) => table.map(|arm| arm.units),
            Self::Means(sums) => sums.map(|sums| sums.count),
        }
    }

    /// Both together; of different kinds the newer one.
    #[must_use]
    pub fn plus(self, newer: Self) -> Self {
        match (self, newer) {
            (Self::Events(old), Self::Events(new)) => {
                Self::Events(Pair::new(old.candidate.plus(new.candidate), old.stable.plus(new.stable)))
            }
            (Self::Means(old), Self::Means(new)) => {
                Self::Means(Pair::new(old.candidate.plus(new.candidate), old.stable.plus(new.stable)))
            }
            (_, newer) => newer,
        }
    }

    /// What it shows about each suspicion of `test`: logarithms of likelihood ratios. `past`: the values of earlier
    /// ticks.
    #[must_use]
    pub fn ln_likelihoods(&self, test: &Test, past: Pair<Sums>) -> [f64; RATIOS.len()] {
        match (self, test.against) {
            (Self::Events(table), Against::Bound { max }) => evidence::over_bound(&table.candidate, max),
            // McNemar's test, at every moment: of pairs with one difference, each is the candidate's with one half.
            (Self::Events(Table { candidate: Arm { events, units }, .. }), Against::Copy { tolerate }) => {
                evidence::first_events(*events, *units, 0.5, tolerate)
            }
            (Self::Events(table), Against::Stable { tolerate, direction, .. }) => {
                // The edges of a quantile have the tolerance in them.
                let tolerate = if test.quantile().is_some() { 1.0 } else { tolerate };
                match direction {
                    Direction::Up => evidence::comparison(table, tolerate),
                    Direction::Down => {
                        evidence::comparison(&Pair::new(table.stable, table.candidate), tolerate)
                    }
                }
            }
            (Self::Means(sums), Against::Stable { tolerate, direction, .. }) => {
                let expected = past.map(|sums| Moments::from(sums).expected());
                let tick = sums.map(Moments::from);
                let tolerated = match test.measure {
                    Measure::Mean { logarithmic: true } => Tolerated::Difference(Scale::difference(tolerate)),
                    _ => Tolerated::Times(tolerate),
                };
                LAMBDAS.map(|lambda| mean::differs(tick, expected, lambda, tolerated, direction))
            }
            (Self::Means(_), Against::Bound { .. } | Against::Copy { .. }) => [0.0; RATIOS.len()],
        }
    }
}

/// The events of one side and the units that could have them.
fn arm(
    signal: &Signal,
    (counts, tally): (&Counts, &Tally),
    (side, edges): (Side, Option<Edges>),
    view: View,
) -> Arm {
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
            Overdue::LeftOut => return settled,
        },
        // The worst case for an accusation.
        View::Open { age } => match side {
            Side::Stable => pending,
            // What has taken longer than its edge already is beyond it.
            Side::Candidate => match edges {
                Some(edges) if age > edges.candidate && signal.among == Among::Every => pending,
                _ => 0,
            },
        },
    };
    Arm {
        events: if can_have_it { settled.events.saturating_add(late) } else { 0 },
        units: settled.units.saturating_add(pending),
    }
}
