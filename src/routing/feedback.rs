//! Events: later requests that say what a user did.

use serde_json::Value;

use super::matcher::Matcher;
use super::receipt::{AnswerReceipts, ReceiptPlace};
use super::request::{Facts, Request};
use crate::compare::pointer::Pointer;
use crate::config::feedback as config;
use crate::config::schema::{Config, Match};
use crate::model::Draw;
use crate::receipt::answer;
use crate::signal::catalog::{self, SignalId};

/// A rule of `feedback`, compiled.
#[derive(Debug)]
pub struct Rule {
    /// Its name: a label of its metric.
    pub name: String,
    /// What its events are counted as for the judge.
    pub signal: SignalId,
    /// How its events find their version.
    pub join: Join,
    body: Vec<(Pointer, String)>,
    /// A number, and below what it is bad.
    value: Option<(Pointer, f64)>,
}

/// How an event finds the version that it is about.
#[derive(Debug)]
pub enum Join {
    /// By its user.
    User,
    /// By the receipt of an answer.
    Receipt {
        /// Where it has the receipt.
        place: ReceiptPlace,
        /// Tells what has come back for this rule from what has for others.
        salt: u64,
    },
}

impl Rule {
    /// `answers`: the receipts of the rollout's answers.
    pub(super) fn new(config: &config::Feedback, answers: Option<&AnswerReceipts>) -> Self {
        let condition = |(place, value): (&String, &String)| Some((Pointer::new(place).ok()?, value.clone()));
        let place = || match (&config.receipt, answers) {
            (Some(place), _) => ReceiptPlace::new(place),
            (None, answers) => Some(ReceiptPlace::Header(answers?.header.clone())),
        };
        let place = place().filter(|_| config.join == Some(config::Join::Receipt));
        let value = config.value.as_ref().and_then(|place| Pointer::new(place).ok());
        Self {
            name: config.name.clone(),
            signal: catalog::event(&config.name),
            join: place.map_or(Join::User, |place| Join::Receipt { place, salt: answer::hash(&config.name) }),
            body: config.matches.body.iter().filter_map(condition).collect(),
            value: value.zip(config.bad_below),
        }
    }

    /// Whether it has to be read what an event's body says.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        let joins_by_body = matches!(self.join, Join::Receipt { place: ReceiptPlace::Body(_), .. });
        !self.body.is_empty() || self.value.is_some() || joins_by_body
    }

    /// Whether a request that meets the other conditions is an event, by its body.
    #[must_use]
    pub fn is_met(&self, body: &Value) -> bool {
        self.body.iter().all(|(place, wanted)| place.get(body).is_some_and(|found| is(found, wanted)))
    }

    /// Whether an event counts, by the number in its body; `None`: it has none.
    #[must_use]
    pub fn is_bad(&self, body: Option<&Value>) -> Option<bool> {
        let Some((place, bad_below)) = &self.value else { return Some(true) };
        Some(place.get(body?)?.as_f64()? < *bad_below)
    }
}

/// Whether a value in a body is what is written in a configuration.
fn is(found: &Value, wanted: &str) -> bool {
    match found {
        Value::String(text) => text == wanted,
        Value::Number(number) => number.as_f64().is_some_and(|number| wanted.parse() == Ok(number)),
        Value::Bool(bit) => wanted == if *bit { "true" } else { "false" },
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The position of the version that the user has, or that gave the answer.
    pub version: usize,
    /// Set if the event is evidence about the candidate or stable.
    pub evidence: Option<Draw>,
}

/// A rollout whose requests, after one of another rollout, are that one's events.
pub(super) struct Switch {
    /// Its position.
    pub(super) to: usize,
    /// The position of the other one.
    pub(super) from: usize,
    /// What its requests are counted as, for the other one.
    pub(super) signal: SignalId,
}

impl Switch {
    /// All of them.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        let rollouts = config.rollouts.iter().enumerate();
        let rules =
            rollouts.flat_map(|(from, rollout)| rollout.feedback.iter().map(move |rule| (from, rule)));
        let switch = |(from, rule): (usize, &config::Feedback)| {
            let Some(config::After::Rollout(after)) = &rule.after else { return None };
            let to = config.rollouts.iter().position(|rollout| rollout.name == after.rollout)?;
            Some(Self { to, from, signal: catalog::elsewhere(&rule.name) })
        };
        rules.filter_map(switch).collect()
    }
}

/// Which requests are events, of all rollouts.
pub(super) struct Events {
    matcher: Matcher,
    /// The rollout and the rule, by the position of its conditions.
    rules: Vec<(usize, usize)>,
}

impl Events {
    /// `None`: no rollout has any.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let of = |(rollout, config): (usize, &'_ crate::config::schema::Rollout)| {
            let rules = config.feedback.iter().enumerate().filter(|(_, rule)| rule.after.is_none());
            rules.map(|(rule, _)| (rollout, rule)).collect::<Vec<_>>()
        };
        let rules: Vec<_> = config.rollouts.iter().enumerate().flat_map(of).collect();
        let matches: Vec<&Match> = config
            .rollouts
            .iter()
            .flat_map(|rollout| &rollout.feedback)
            .filter(|rule| rule.after.is_none())
            .map(|rule| &rule.matches)
            .collect();
        (!rules.is_empty()).then(|| Self { matcher: Matcher::of(&matches), rules })
    }

    /// The headers that may be asked for.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        self.matcher.headers()
    }

    /// The rollouts and rules whose event a request may be, but for its body.
    pub(super) fn find<R: Request>(&self, facts: &Facts<'_, R>) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        self.matcher.each(facts, |at| found.extend(self.rules.get(at).copied()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_is_compared_with_what_is_written_whatever_its_type() {
        let body = [("/action_name", "click"), ("/n", "1"), ("/ok", "true")];
        let body = body.map(|(place, value)| (place.to_owned(), value.to_owned())).into();
        let matches = Match { body, ..Match::default() };
        let rule = Rule::new(&config::Feedback { name: "click".into(), matches, ..Default::default() }, None);
        assert!(rule.reads_body());
        assert!(rule.is_met(&json!({"action_name": "click", "n": 1, "ok": true, "more": {}})));
        assert!(rule.is_met(&json!({"action_name": "click", "n": 1.0, "ok": "true"})));
        for other in [
            json!({"action_name": "hover", "n": 1, "ok": true}),
            json!({"action_name": "click", "n": 2, "ok": true}),
            json!({"action_name": "click", "n": 1, "ok": false}),
            json!({"action_name": ["click"], "n": 1, "ok": true}),
            json!({"n": 1, "ok": true}),
            json!([]),
            json!(null),
        ] {
            assert!(!rule.is_met(&other), "{other}");
        }
        let plain = Rule::new(&config::Feedback::default(), None);
        assert!(!plain.reads_body() && plain.is_met(&Value::Null));
        assert_eq!(plain.is_bad(None), Some(true));
    }

    #[test]
    fn a_value_is_bad_below_its_number_and_nothing_else_is_a_value() {
        let value = Some("/attributes/gen_ai.evaluation.score.value".into());
        let config = config::Feedback { value, bad_below: Some(0.5), ..Default::default() };
        let rule = Rule::new(&config, None);
        assert!(rule.reads_body());
        let of = |value: Value| {
            rule.is_bad(Some(&json!({"attributes": {"gen_ai.evaluation.score.value": value}})))
        };
        for (value, expected) in [
            (json!(0.49), Some(true)),
            (json!(-3), Some(true)),
            (json!(0.5), Some(false)),
            (json!(1), Some(false)),
            (json!("0.1"), None),
            (json!(true), None),
            (json!(null), None),
            (json!([0]), None),
        ] {
            assert_eq!(of(value.clone()), expected, "{value}");
        }
        assert_eq!(rule.is_bad(Some(&json!({}))), None);
        assert_eq!(rule.is_bad(None), None);
    }
}
