//! How much more often an event happens on the candidate: ln L(r), the logarithm of how much likelier a tick's counts
//! are when the candidate has the event r times as often as stable, compared with the worst case of a candidate that
//! makes no difference.

use crate::model::{Arm, Pair, real};

/// The events and units of both sides in one tick.
pub type Table = Pair<Arm>;

impl Table {
    /// A tick in which `candidate` and `stable` are (events, units).
    #[must_use]
    pub fn of(candidate: (u64, u64), stable: (u64, u64)) -> Self {
        let arm = |(events, units)| Arm { events, units };
        Self::new(arm(candidate), arm(stable))
    }

    /// Whether there is nothing to compare: one side had no units, or none of them had the event.
    fn has_nothing_to_compare(&self) -> bool {
        self.candidate.units == 0
            || self.stable.units == 0
            || (self.candidate.events == 0 && self.stable.events == 0)
    }

    /// The candidate's share of the tick's units.
    fn share(&self) -> f64 {
        let candidate = real(self.candidate.units);
        candidate / (candidate + real(self.stable.units))
    }

    fn events(&self) -> f64 {
        real(self.candidate.events) + real(self.stable.events)
    }
}

/// "The candidate has the event more often than stable", at `ratio` r > 1.
///
/// Given how many units each version had and how many events there were in all, the candidate's number
/// of events is hypergeometric unless the versions differ. By Hoeffding (1963, theorem 4) its moment
/// generating function is at most that of a binomial that draws events, non-events, or either version's
/// units independently; the fewest draws give the tightest of the four bounds.
#[must_use]
pub fn more_often(table: &Table, ratio: f64) -> f64 {
    if table.has_nothing_to_compare() {
        return 0.0;
    }
    let events = table.events();
    let (candidate, stable) = (real(table.candidate.units), real(table.stable.units));
    let others = candidate + stable - events;
    let share = table.share();
    let rate = events / (candidate + stable);
    let fewest = events.min(candidate).min(stable).min(others);
    let bound = if fewest == events {
        events * (share * (ratio - 1.0)).ln_1p()
    } else if fewest == candidate {
        candidate * (rate * (ratio - 1.0)).ln_1p()
    } else if fewest == others {
        candidate * ratio.ln() + others * (share * (ratio.recip() - 1.0)).ln_1p()
    } else {
        events * ratio.ln() + stable * (rate * (ratio.recip() - 1.0)).ln_1p()
    };
    real(table.candidate.events) * ratio.ln() - bound
}

/// "The candidate has the event more than `margin` times as often as stable", at `ratio` r > `margin`; with
/// r < `margin` "… less than `margin` times as often".
///
/// With A = (h m + 1 − h)/(h r + 1 − h), h the candidate's share and p its rate at the margin's boundary,
/// 1 + z ≤ e^z gives `E[L] ≤ exp(N p [h (r A − m) + (1 − h)(A − 1)]) = 1`. Requests of one tick must be
/// independent of each other.
#[must_use]
pub fn beyond_margin(table: &Table, ratio: f64, margin: f64) -> f64 {
    if table.has_nothing_to_compare() {
        return 0.0;
    }
    let share = table.share();
    real(table.candidate.events) * (ratio / margin).ln()
        + table.events() * ((share * (margin - 1.0)).ln_1p() - (share * (ratio - 1.0)).ln_1p())
}

/// "The event's rate is beyond `bound`", at the `suspected` rate: the likelihood ratio of the two, of one
/// version alone. Both rates lie strictly between 0 and 1.
#[must_use]
pub fn beyond_bound(arm: &Arm, suspected: f64, bound: f64) -> f64 {
    let events = real(arm.events);
    let others = real(arm.units.saturating_sub(arm.events));
    let mut ln = 0.0;
    if events > 0.0 {
        ln += events * (suspected / bound).ln();
    }
    if others > 0.0 {
        ln += others * ((-suspected).ln_1p() - (-bound).ln_1p());
    }
    ln
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::evidence::RATIOS;
    use proptest::prelude::*;

    fn table() -> impl Strategy<Value = Table> {
        let arm = || (0..200_u64).prop_flat_map(|units| (0..=units, Just(units)));
        (arm(), arm()).prop_map(|(candidate, stable)| Table::of(candidate, stable))
    }

    /// The probability of each number of events of the candidate, given the margins.
    fn hypergeometric(table: &Table) -> Vec<(u64, f64)> {
        let ln_choose = |n: u64, k: u64| (1..=k).map(|i| (real(n - k + i) / real(i)).ln()).sum::<f64>();
        let (nc, ns) = (table.candidate.units, table.stable.units);
        let x = table.candidate.events + table.stable.events;
        let all = ln_choose(nc + ns, x);
        (x.saturating_sub(ns)..=x.min(nc))
            .map(|xc| (xc, (ln_choose(nc, xc) + ln_choose(ns, x - xc) - all).exp()))
            .collect()
    }

    proptest! {
        /// The property that everything rests on: on average nothing is won against a healthy candidate.
        #[test]
        fn a_healthy_candidate_gains_nothing(table in table(), ratio in prop::sample::select(&RATIOS[..])) {
            let x = table.candidate.events + table.stable.events;
            let expectation: f64 = hypergeometric(&table)
                .into_iter()
                .map(|(xc, p)| {
                    let (nc, ns) = (table.candidate.units, table.stable.units);
                    p * more_often(&Table::of((xc, nc), (x - xc, ns)), ratio).exp()
                })
                .sum();
            prop_assert!(expectation <= 1.0 + 1e-9, "{expectation}");
        }

        /// What judging open ticks in their worst case relies on.
        #[test]
        fn it_rises_with_the_candidates_events_and_falls_with_stables(table in table(), ratio in prop::sample::select(&RATIOS[..])) {
            let here = more_often(&table, ratio);
            let mut more = table;
            more.candidate.events += 1;
            if more.candidate.events <= more.candidate.units {
                prop_assert!(more_often(&more, ratio) >= here - 1e-9);
            }
            let mut more = table;
            more.stable.events += 1;
            if more.stable.events <= more.stable.units {
                prop_assert!(more_often(&more, ratio) <= here + 1e-9);
            }
        }

        /// The same for units that may join late: one of the candidate without the event, one of stable with it.
        #[test]
        fn it_falls_when_the_worst_joins(table in table(), ratio in prop::sample::select(&RATIOS[..])) {
            let here = more_often(&table, ratio);
            let mut joined = table;
            joined.candidate.units += 1;
            prop_assert!(more_often(&joined, ratio) <= here + 1e-9, "{table:?}");
            let mut joined = table;
            joined.stable.count(true);
            prop_assert!(more_often(&joined, ratio) <= here + 1e-9, "{table:?}");
        }

        #[test]
        fn no_counts_give_anything_but_a_number(candidate: (u64, u64), stable: (u64, u64), ratio in 1.01..1e4_f64) {
            let table = Table::of(candidate, stable);
            prop_assert!(!beyond_margin(&table, ratio, 1.5).is_nan());
            prop_assert!(!crate::analysis::kernel::split::split(candidate.0, stable.1, 0.05, ratio, 1.02).is_nan());
        }
    }
}
