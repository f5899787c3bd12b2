//! What happened to users in a tick, each event of each user only the first time.

use crate::analysis::edges::Edges;
use crate::analysis::test::Test;
use crate::analysis::tick::{Tick, View};
use crate::analysis::totals::Totals;
use crate::analysis::users::First;
use crate::model::{Arm, Pair, Side, UserHash};
use crate::signal::catalog::{self, Kind, Overdue};
use crate::signal::observed;
use crate::signal::sums::Sums;
use crate::signal::tally::{self, Counts, Users};

/// What has happened to users in a tick for the first time, as `test` sees it. `is_new`: notes a user to whom it has
/// happened; whether it was for the first time.
pub(in crate::analysis) fn first_of(
    tick: &Tick,
    test: &Test,
    edges: Option<Edges>,
    view: View,
    mut is_new: impl FnMut(UserHash) -> bool,
) -> First {
    if test.is_of_first_observations() {
        return First { observed: first_observations(tick, test, is_new), ..First::default() };
    }
    let mut first = First::default();
    let level = level(test, tick);
    for side in Side::BOTH {
        let Some(users) = &tick.counts[side].users else { continue };
        each_with_event(test, users, level, (side, edges, view), |user, counts| {
            if is_new(user) {
                first.spent.count(side);
                if counts {
                    first.events.count(side);
                }
            }
        });
    }
    first
}

/// The observations of users of whom these are the first.
fn first_observations(tick: &Tick, test: &Test, mut is_new: impl FnMut(UserHash) -> bool) -> Totals {
    let (mut sums, mut arms) = (Pair::<Sums>::default(), Pair::<Arm>::default());
    let samples = tick.counts.as_ref().map(|counts| counts.users.as_ref()?.firsts_of(test.signal));
    let levels = samples.iter().filter_map(|(_, sample)| Some(sample.as_ref()?.level()));
    let level = levels.max().unwrap_or_default();
    for (side, sample) in samples.iter() {
        for (user, number) in sample.iter().flat_map(|sample| sample.after(level)) {
            if is_new(user) {
                sums[side].add(observed::value_of(number));
                arms[side].count(number > 0);
            }
        }
    }
    if test.is_bound() { Totals::Events(arms) } else { Totals::Means(sums) }
}

/// How often the users were halved that both versions' workers report.
fn level(test: &Test, tick: &Tick) -> u8 {
    let level = |counts: &Counts| {
        let Some(users) = &counts.users else { return 0 };
        let listed = users.sample(test.signal).map_or(0, |sample| sample.level());
        listed.max(users.waiting.level())
    };
    level(&tick.counts.candidate).max(level(&tick.counts.stable))
}

/// Visits the users of a side that have had a test's event, some of them twice, each with whether it counts.
///
/// Where a longer duration is tolerated, fewer of the candidate's count as slow. But every user beyond stable's edge has
/// had the event, whichever version they have: otherwise stable's users would soon all have had it, and those that then
/// have it for the first time would be the candidate's, although it is no slower.
fn each_with_event(
    test: &Test,
    users: &Users,
    level: u8,
    (side, edges, view): (Side, Option<Edges>, View),
    mut visit: impl FnMut(UserHash, bool),
) {
    let Some(signal) = catalog::by_id(test.signal).filter(|_| !test.is_bound()) else { return };
    let listed = users.sample(test.signal);
    let listed = || listed.into_iter().flat_map(|sample| sample.after(level));
    match (signal.kind, edges) {
        (Kind::Event, _) => {
            listed().for_each(|(user, _)| visit(user, true));
            let is_late = |(_, first): &(UserHash, u8)| match signal.overdue {
                Overdue::Event => true,
                Overdue::EventUnlessAnswered => *first >= tally::First::Unanswered as u8,
                Overdue::NoEvent | Overdue::LeftOut => false,
            };
            if view == View::Closed {
                users.waiting.after(level).filter(is_late).for_each(|(user, _)| visit(user, true));
            }
        }
        (Kind::Duration, Some(edges)) => {
            let edge = edges[side];
            let is_untimed =
                |first: u8| first != tally::First::Failed as u8 && signal.overdue != Overdue::LeftOut;
            let waiting = || users.waiting.after(level).filter(|(_, first)| is_untimed(*first));
            let beyond = |edge: usize| listed().filter(move |(_, bucket)| usize::from(*bucket) > edge);
            beyond(edge).for_each(|(user, _)| visit(user, true));
            // Who waits is beyond every edge below the request's age; no edge is beyond the deadline. Whether the
            // candidate's waiting users will be beyond stable's edge alone is not known yet.
            let late = match view {
                View::Closed => true,
                View::Open { age } => age > edge,
            };
            if view == View::Closed || side == Side::Candidate {
                waiting().for_each(|(user, _)| visit(user, late));
            }
            beyond(edges.stable).for_each(|(user, _)| visit(user, false));
        }
        (Kind::Duration | Kind::Mean(_), _) => {}
    }
}

/// Stable's requests that may still turn out to have a test's event.
pub(in crate::analysis) fn pending_on_stable(test: &Test, tick: &Tick) -> u64 {
    let stable = &tick.counts.stable;
    let signal = catalog::by_id(test.signal);
    let pending = signal.and_then(|signal| Some(stable.pending(signal, stable.tally(signal.id)?)));
    pending.unwrap_or(stable.open) // not observed: anything may come of what is open
}
