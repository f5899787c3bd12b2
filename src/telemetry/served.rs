//! Which cluster has served a request.

use std::cell::Cell;

use super::outcome::Outcome;

/// The cluster that served a request, as far as it was looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Served {
    /// It was not looked up.
    #[default]
    Unknown,
    /// The version's.
    ByVersion,
    /// Another.
    ByAnother,
    /// None: Envoy had no cluster for it, or the route answers itself.
    ByNone,
}

impl Served {
    /// What Envoy says of a request for a version: the name of the cluster that `served` it. `known` has, of each version
    /// with stable first, what the configuration calls its cluster and what served it last (empty: nothing is known).
    ///
    /// Where routes match the configuration's names by value, as in Envoy Gateway, Envoy's clusters have names of their
    /// own. Then the only thing to be known is that two versions have two clusters.
    #[must_use]
    pub fn by(served: Option<&[u8]>, version: usize, known: &[(&str, Vec<u8>)]) -> Self {
        let Some(served) = served else { return Self::ByNone };
        if known.get(version).is_some_and(|(own, _)| own.as_bytes() == served) {
            return Self::ByVersion;
        }
        let names_are_clusters =
            known.iter().any(|(own, last)| own.as_bytes() == served || own.as_bytes() == last);
        let serves_another =
            || known.iter().enumerate().any(|(other, (_, last))| other != version && last == served);
        // Of two versions with one cluster it is stable's: requests that ignore the choice go there.
        if names_are_clusters || (version != 0 && serves_another()) {
            Self::ByAnother
        } else {
            Self::ByVersion
        }
    }

    /// Whether it is known that the version's cluster has not served it.
    #[must_use]
    pub fn is_elsewhere(self) -> bool {
        matches!(self, Self::ByAnother | Self::ByNone)
    }

    /// The outcome of a request that ended so otherwise. Without a cluster a version fails, and does not answer well; what
    /// refuses then may be one of Envoy's routes: [`OwnAnswers`].
    #[must_use]
    pub fn outcome(self, otherwise: Outcome) -> Outcome {
        match (self, otherwise) {
            (Self::ByAnother, _) | (Self::ByNone, Outcome::Ok) => Outcome::Elsewhere,
            _ => otherwise,
        }
    }
}

/// The answers that Envoy's routes gave themselves, in a row, to requests for one version in one worker: redirects, direct
/// responses, no route. Some are meant (to https, a path that is closed) and say nothing of a version; where nothing else comes,
/// the routes ignore the filter's choice.
#[derive(Debug, Default)]
pub struct OwnAnswers {
    answers: Cell<u8>,
    /// How many ticks they came in.
    ticks: Cell<u8>,
    tick: Cell<u64>,
}

impl OwnAnswers {
    /// As many in a row mean that nothing reaches the version. Of clients who follow each redirect every other request is one.
    const ENOUGH: u8 = 30;
    /// In as many ticks: a client can send any number at once, before another request has its turn.
    const LONG: u8 = 10;

    /// Another one. Returns whether nothing but such has come for long.
    pub fn add(&self, tick: u64) -> bool {
        if self.answers.get() == 0 || self.tick.get() != tick {
            self.ticks.set(self.ticks.get().saturating_add(1));
        }
        self.tick.set(tick);
        self.answers.set(self.answers.get().saturating_add(1));
        self.answers.get() >= Self::ENOUGH && self.ticks.get() >= Self::LONG
    }

    /// A cluster has served a request.
    pub fn end(&self) {
        self.answers.set(0);
        self.ticks.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_cluster_counts_for_no_version() {
        use Outcome::{Aborted, Elsewhere, Error, Ok};
        for outcome in [Ok, Error, Aborted] {
            assert_eq!(Served::ByAnother.outcome(outcome), Elsewhere);
            assert_eq!(Served::ByVersion.outcome(outcome), outcome);
            assert_eq!(Served::Unknown.outcome(outcome), outcome);
        }
        // A direct response, and a version whose cluster does not exist.
        assert_eq!(
            [Ok, Error, Aborted].map(|outcome| Served::ByNone.outcome(outcome)),
            [Elsewhere, Error, Aborted]
        );
    }

    #[test]
    fn routes_that_answer_everything_themselves_are_told_from_those_that_answer_some() {
        let answers = OwnAnswers::default();
        for _ in 0..1_000 {
            assert!((0..29).all(|tick| !answers.add(tick)));
            answers.end();
        }
        assert!((0..1_000).all(|_| !answers.add(7)), "one client, at once");
        answers.end();
        assert_eq!((0..1_000).filter(|number| answers.add(number / 5)).count(), 955);
        answers.end();
        assert!(!answers.add(1_000));
    }

    #[test]
    fn the_serving_version_follows_from_the_clusters_name() {
        const STABLE: usize = 0;
        const CANDIDATE: usize = 1;
        let by = |served: &str, version, last: [&str; 2]| {
            let known = [("blue", last[0].into()), ("green", last[1].into())];
            Served::by(Some(served.as_bytes()), version, &known)
        };
        assert_eq!(Served::by(None, CANDIDATE, &[]), Served::ByNone);
        assert_eq!(by("green", CANDIDATE, ["", ""]), Served::ByVersion);
        assert_eq!(by("blue", CANDIDATE, ["", ""]), Served::ByAnother);
        assert_eq!(by("green", STABLE, ["", ""]), Served::ByAnother);
        assert_eq!(by("other", CANDIDATE, ["blue", ""]), Served::ByAnother, "stable's name is its cluster's");
        // Names that are only what routes match.
        assert_eq!(by("rule/1", CANDIDATE, ["", ""]), Served::ByVersion);
        assert_eq!(by("rule/1", CANDIDATE, ["rule/0", "rule/1"]), Served::ByVersion);
        assert_eq!(by("rule/0", CANDIDATE, ["rule/0", "rule/1"]), Served::ByAnother);
        assert_eq!(by("rule/0", STABLE, ["rule/0", "rule/0"]), Served::ByVersion);
    }
}
