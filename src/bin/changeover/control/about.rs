//! Questions and commands about one rollout.

use super::client::{Client, Failure};
use super::{pages, with_names};

/// One rollout of one Envoy, by its name.
pub(super) struct About<'a> {
    pub(super) client: &'a Client,
    pub(super) rollout: &'a str,
}

impl About<'_> {
    /// Asks for what the API has of it: with an empty `rest` the rollout itself, otherwise what is below it, such as `/events`.
    pub(super) fn get(&self, rest: &str) -> Result<String, Failure> {
        self.ask(rest).map_err(|failure| self.with_known_names(failure))
    }

    /// The same; a refusal names no other rollouts.
    pub(super) fn ask(&self, rest: &str) -> Result<String, Failure> {
        self.client.get(&format!("/v1/rollouts/{}{rest}", self.rollout))
    }

    /// Commands it.
    pub(super) fn post(&self, verb: &str, body: &str) -> Result<String, Failure> {
        let answer = self.client.post(&format!("/v1/rollouts/{}/{verb}", self.rollout), body);
        answer.map_err(|failure| self.with_known_names(failure))
    }

    /// Where its name is refused, adds those that there are.
    fn with_known_names(&self, failure: Failure) -> Failure {
        let Failure::Refused(why) = failure else { return failure };
        match pages(self.client) {
            Ok((rollouts, _)) => with_names(&rollouts, self.rollout, why),
            Err(_) => Failure::Refused(why),
        }
    }
}
