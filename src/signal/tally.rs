//! Observations of one side in one tick, added up.

use serde::{Deserialize, Serialize};

use super::catalog::{self, Among, Kind, Role, Settles, Signal, SignalId};
use super::histogram::{self, Histogram};
use super::observed::Observed;
use super::sample::Sample;
use super::sums::Sums;
use crate::model::Arm;

/// The observations of one signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tally {
    /// Requests with the event, among those that have settled.
    Event(Arm),
    /// How long requests took, as far as that is known. One that the client left took as long as it stayed. Of a signal that
    /// is observed by buckets: those.
    Duration(Box<Histogram>),
    /// Values.
    Mean(Sums),
}

impl Tally {
    /// No observation yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Event => Self::Event(Arm::default()),
            Kind::Duration => Self::Duration(Box::default()),
            Kind::Mean(_) => Self::Mean(Sums::default()),
        }
    }

    /// Adds an observation. One of another kind is ignored.
    pub fn add(&mut self, observed: Observed) {
        match (self, observed) {
            (Self::Event(arm), Observed::Event(has_event)) => arm.count(has_event),
            (Self::Duration(durations), Observed::Duration(nanoseconds)) => {
                durations.add(histogram::bucket(nanoseconds), 1);
            }
            (Self::Mean(sums), Observed::Mean(value)) => sums.add(value),
            (Self::Duration(buckets), Observed::Bucket(bucket)) => buckets.add(bucket.into(), 1),
            _ => {}
        }
    }

    /// Requests that have settled.
    #[must_use]
    pub fn settled(&self) -> u64 {
        match self {
            Self::Event(arm) => arm.units,
            Self::Duration(durations) => durations.total(),
            Self::Mean(sums) => sums.count,
        }
    }

    /// Adds observations. Those of another kind are ignored.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Event(arm), Self::Event(other)) => *arm = arm.plus(*other),
            (Self::Duration(durations), Self::Duration(other)) => durations.merge(other),
            (Self::Mean(sums), Self::Mean(other)) => *sums = sums.plus(*other),
            _ => {}
        }
    }
}

/// What one version did with the requests that arrived in one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that arrived.
    pub requests: u64,
    /// Of those: not ended yet.
    pub open: u64,
    /// Of those that are open: without an answer that has begun.
    pub unanswered: u64,
    /// Of those that have ended: with neither an answer nor an error of the version. They say nothing for it.
    pub silent: u64,
    /// Of those that have ended: left by their client in the middle of the answer. The client may have had enough, or have seen which
    /// version it was; or the version hangs.
    pub left: u64,
    /// Of a sample of the requests, which has the first ones of each worker: how many were served by another cluster than
    /// their version's.
    pub elsewhere: Arm,
    /// By signal. A signal that is missing was not observed: nothing follows from that.
    pub tallies: Vec<(SignalId, Tally)>,
    /// Their users, where users are judged.
    pub users: Option<Box<Users>>,
}

impl Counts {
    /// Nothing yet, of these signals.
    #[must_use]
    pub fn of(signals: &[SignalId]) -> Self {
        let rows = signals.iter().filter_map(|id| Some((*id, catalog::by_id(*id)?)));
        let kind = |id: SignalId, signal: &Signal| if id.is_spread() { Kind::Duration } else { signal.kind };
        let tallies = rows.map(|(id, signal)| (id, Tally::new(kind(id, signal)))).collect();
        Self { tallies, ..Self::default() }
    }

    /// The tally of a signal; `None` when it was not observed.
    #[must_use]
    pub fn tally(&self, signal: SignalId) -> Option<&Tally> {
        self.tallies.iter().find(|(known, _)| *known == signal).map(|(_, tally)| tally)
    }

    /// The same, to be changed.
    pub fn tally_mut(&mut self, signal: SignalId) -> Option<&mut Tally> {
        self.tallies.iter_mut().find(|(known, _)| *known == signal).map(|(_, tally)| tally)
    }

    /// Requests whose observation may still come.
    #[must_use]
    pub fn pending(&self, signal: &Signal, tally: &Tally) -> u64 {
        match (signal.among, signal.settles) {
            (Among::Every, _) => match signal.kind {
                Kind::Duration => self.requests.saturating_sub(tally.settled()),
                Kind::Event | Kind::Mean(_) => self.open,
            },
            (Among::Answered, Settles::AtHeaders) => self.unanswered,
            (Among::Answered | Among::ReadRequests | Among::ReadAnswers, _) => self.open,
            (Among::Pairs | Among::Events, _) => 0,
        }
    }

    /// How many requests had a yes/no signal's event; 0 when it was not observed.
    #[must_use]
    pub fn events(&self, signal: &Signal) -> u64 {
        match self.tally(signal.id) {
            Some(Tally::Event(arm)) => arm.events,
            _ => 0,
        }
    }

    /// Pairs that were compared, and those of them that differ.
    #[must_use]
    pub fn pairs(&self) -> Arm {
        match self.tally(catalog::with_role(Role::Differs).id) {
            Some(Tally::Event(pairs)) => *pairs,
            _ => Arm::default(),
        }
    }

    /// Whether something has happened that does not belong to a request.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.tallies.iter().any(|(id, tally)| tally.settled() > 0 && catalog::is_of_events(*id))
    }

    /// The version's answers and errors among `units`, which are some of its requests.
    #[must_use]
    pub fn without_silent(&self, units: Arm) -> Arm {
        Arm { units: units.units.saturating_sub(self.silent).max(units.events), ..units }
    }

    /// Whether no user with an event had to be left out.
    #[must_use]
    pub fn has_all_users(&self) -> bool {
        self.users.as_ref().is_none_or(|users| {
            users.waiting.level() == 0 && users.signals.iter().all(|(_, sample)| sample.level() == 0)
        })
    }

    /// Adds what another worker counted. A signal that one of the two did not observe is not observed of both.
    pub fn merge(&mut self, other: &Self) {
        if self.requests == 0 && self.tallies.is_empty() {
            self.tallies = other.tallies.iter().map(|(signal, tally)| (*signal, tally.clone())).collect();
        } else if other.requests > 0 || !other.tallies.is_empty() {
            self.tallies.retain_mut(|(signal, tally)| match other.tally(*signal) {
                Some(other) => {
                    tally.merge(other);
                    true
                }
                None => false,
            });
        }
        self.requests = self.requests.saturating_add(other.requests);
        self.open = self.open.saturating_add(other.open);
        self.unanswered = self.unanswered.saturating_add(other.unanswered);
        self.silent = self.silent.saturating_add(other.silent);
        self.left = self.left.saturating_add(other.left);
        self.elsewhere = self.elsewhere.plus(other.elsewhere);
        if let Some(others) = &other.users {
            self.users.get_or_insert_default().merge(others);
        }
    }
}

/// What is known of one side's users in one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Users that came, with what became of their first request in the tick: a [`First`].
    pub seen: Sample,
    /// Users whose request is open when the tick is over: [`First::Unanswered`], [`First::Answered`], or [`First::Failed`]
    /// where there is no answer although the latency is known.
    pub waiting: Sample,
    /// By signal: users with an observation that counts. Of an event: those that had it. Of a duration: those beyond
    /// the edge that [`Watch`] asks for, with the bucket of the longest.
    ///
    /// [`Watch`]: super::sample::Watch
    pub signals: Vec<(SignalId, Sample)>,
    /// By signal that [`Watch`] asks for: users with an observation, and their first one, an [`Observed::number`].
    ///
    /// [`Watch`]: super::sample::Watch
    pub firsts: Vec<(SignalId, Sample)>,
}

/// What became of a user's first request, as the number that a [`Sample`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum First {
    /// It was answered well.
    Well = 0,
    /// Its answer has begun.
    Answered = 1,
    /// There is no answer yet.
    Unanswered = 2,
    /// It failed.
    Failed = 3,
    /// Its client left before an answer.
    GivenUp = 4,
    /// It has ended without a word of the version: refused on the way, or left in the middle of the answer.
    Void = 5,
}

impl Users {
    /// Users to whom something has happened that does not belong to a request.
    pub fn with_events(&self) -> impl Iterator<Item = &Sample> {
        self.signals.iter().filter(|(id, _)| catalog::is_of_events(*id)).map(|(_, sample)| sample)
    }

    /// The sample of a signal.
    #[must_use]
    pub fn sample(&self, signal: SignalId) -> Option<&Sample> {
        of(&self.signals, signal)
    }

    /// The same, to be changed; begun if there is none.
    pub fn sample_mut(&mut self, signal: SignalId) -> Option<&mut Sample> {
        of_mut(&mut self.signals, signal)
    }

    /// The first observations of a signal, by user.
    #[must_use]
    pub fn firsts_of(&self, signal: SignalId) -> Option<&Sample> {
        of(&self.firsts, signal)
    }

    /// The same, to be changed; begun if there is none.
    pub fn firsts_mut(&mut self, signal: SignalId) -> Option<&mut Sample> {
        of_mut(&mut self.firsts, signal)
    }

    /// How many entries its samples have.
    #[must_use]
    pub fn entries(&self) -> usize {
        let named = self.signals.iter().chain(&self.firsts).map(|(_, sample)| sample);
        [&self.seen, &self.waiting].into_iter().chain(named).map(Sample::users).sum()
    }

    /// Leaves every second user out of each sample, and gives back their memory.
    pub fn halve(&mut self) {
        let named = self.signals.iter_mut().chain(&mut self.firsts).map(|(_, sample)| sample);
        for sample in [&mut self.seen, &mut self.waiting].into_iter().chain(named) {
            sample.halve();
            sample.shrink();
        }
    }

    /// Adds what another worker counted.
    pub fn merge(&mut self, other: &Self) {
        // Which of a user's requests to two workers was the first is unknown. The order of workers, which decides, has
        // nothing to do with the outcome.
        self.seen.join_all(&other.seen);
        self.waiting.merge(&other.waiting);
        for (signal, sample) in &other.signals {
            self.sample_mut(*signal).into_iter().for_each(|mine| mine.merge(sample));
        }
        for (signal, sample) in &other.firsts {
            self.firsts_mut(*signal).into_iter().for_each(|mine| mine.join_all(sample));
        }
    }
}

fn of(samples: &[(SignalId, Sample)], signal: SignalId) -> Option<&Sample> {
    samples.iter().find(|(known, _)| *known == signal).map(|(_, sample)| sample)
}

fn of_mut(samples: &mut Vec<(SignalId, Sample)>, signal: SignalId) -> Option<&mut Sample> {
    if of(samples, signal).is_none() {
        samples.push((signal, Sample::default()));
    }
    samples.iter_mut().find(|(known, _)| *known == signal).map(|(_, sample)| sample)
}

impl First {
    /// What a number stands for.
    #[must_use]
    pub fn of(number: u8) -> Self {
        match number {
            0 => Self::Well,
            1 => Self::Answered,
            2 => Self::Unanswered,
            3 => Self::Failed,
            4 => Self::GivenUp,
            _ => Self::Void,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::signal::catalog::{ERROR_RATE, LATENCY};

    /// A side's requests, all ended, of which so many failed.
    pub(crate) fn ended((failed, requests): (u64, u64)) -> Counts {
        let mut counts = Counts { requests, ..Counts::of(&catalog::ids(catalog::DEFAULT)) };
        *errors(&mut counts) = Arm { events: failed, units: requests };
        counts
    }

    /// The tally of an event.
    pub(crate) fn events(counts: &mut Counts, signal: SignalId) -> &mut Arm {
        match counts.tally_mut(signal) {
            Some(Tally::Event(arm)) => arm,
            other => panic!("{other:?}"),
        }
    }

    /// The tally of errors.
    pub(crate) fn errors(counts: &mut Counts) -> &mut Arm {
        events(counts, ERROR_RATE.id)
    }

    /// A side's requests, all answered, of which so many were refused.
    pub(crate) fn refusing((refused, requests): (u64, u64)) -> Counts {
        let mut counts = ended((0, requests));
        *events(&mut counts, catalog::CLIENT_ERROR_RATE.id) = Arm { events: refused, units: requests };
        counts
    }

    /// The tally of latencies.
    pub(crate) fn durations(counts: &mut Counts) -> &mut Histogram {
        match counts.tally_mut(LATENCY.id) {
            Some(Tally::Duration(durations)) => durations,
            other => panic!("{other:?}"),
        }
    }

    /// So many of the requests have not ended yet.
    pub(crate) fn open(counts: &mut Counts, open: u64, unanswered: u64) {
        counts.open = open;
        counts.unanswered = unanswered;
        let ended = counts.requests.saturating_sub(open);
        errors(counts).units = ended;
    }

    #[test]
    fn a_signal_that_one_worker_does_not_observe_is_not_observed() {
        let mut counts = Counts::default();
        counts.merge(&ended((1, 5)));
        counts.merge(&ended((2, 5)));
        assert_eq!((counts.requests, *errors(&mut counts)), (10, Arm { events: 3, units: 10 }));
        let without = Counts { requests: 5, ..Counts::of(&[LATENCY.id]) };
        counts.merge(&without);
        assert_eq!((counts.requests, counts.tally(ERROR_RATE.id)), (15, None));
        assert!(counts.tally(LATENCY.id).is_some());
        counts.merge(&ended((0, 5)));
        assert_eq!(counts.tally(ERROR_RATE.id), None, "nor does it come back");
    }
}
