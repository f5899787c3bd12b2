//! Which alarms are raised.
//!
//! What was not seen raises nothing and clears nothing: an alarm changes only when its windows hold enough observations.

use serde::{Deserialize, Serialize};

use super::rule::{Bound, Rule};
use crate::analysis::look::settled;
use crate::analysis::ring::Ring;
use crate::analysis::tick::Tick;
use crate::config::alarm::Of;
use crate::model::{Arm, Pair, Side};

/// The alarms of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alarms {
    /// In the rules' order.
    alarms: Vec<State>,
}

/// One alarm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The rule's definition: what was seen by another one counts nowhere.
    definition: u64,
    window: Ring,
    slow_window: Ring,
    /// Since when it is raised, in milliseconds since the epoch.
    pub raised: Option<u64>,
    /// Whether what is raised was acted on.
    is_told: bool,
    /// What it has last seen.
    pub latest: Option<Reading>,
}

/// What an alarm has seen, from enough observations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The value in the window.
    pub value: f64,
    /// The same in the slow window, where the threshold must be passed in both.
    pub slow: Option<f64>,
    /// The threshold.
    pub threshold: f64,
    /// Observations of each version in the window, and those of them that are events, or longer than the threshold.
    pub samples: Pair<Arm>,
}

/// An alarm that has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct News {
    /// The rule's place.
    pub at: usize,
    /// Whether it is raised now, or over.
    pub is_raised: bool,
    /// What it has seen.
    pub reading: Reading,
}

impl Alarms {
    /// Takes over a closed tick, at a time in milliseconds since the epoch.
    pub fn close(&mut self, rules: &[Rule], tick: &Tick, time: u64) {
        self.follow(rules);
        // What came under several assignments belongs to neither version alone.
        if tick.void {
            return;
        }
        for (rule, state) in rules.iter().zip(&mut self.alarms) {
            state.close(rule, tick, time);
        }
    }

    /// Goes on by these rules. An alarm whose definition has changed begins anew.
    pub fn follow(&mut self, rules: &[Rule]) {
        let is_same = self.alarms.len() == rules.len()
            && self.alarms.iter().zip(rules).all(|(state, rule)| state.definition == rule.definition);
        if is_same {
            return;
        }
        let mut old = std::mem::take(&mut self.alarms);
        for rule in rules {
            let known = old.iter().position(|state| state.definition == rule.definition);
            let state = known.map(|at| old.swap_remove(at));
            let new = || State { definition: rule.definition, ..State::default() };
            self.alarms.push(state.unwrap_or_else(new));
        }
    }

    /// Another attempt begins: alarms about its candidate begin anew, and those about stable go on.
    pub fn begin_attempt(&mut self, rules: &[Rule]) {
        self.follow(rules);
        for (rule, state) in rules.iter().zip(&mut self.alarms).filter(|(rule, _)| rule.of != Of::Stable) {
            *state = State { definition: rule.definition, ..State::default() };
        }
    }

    /// What has changed since this was last asked.
    pub fn news(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for (at, state) in self.alarms.iter_mut().enumerate() {
            let is_raised = state.raised.is_some();
            if let Some(reading) = state.latest.filter(|_| state.is_told != is_raised) {
                state.is_told = is_raised;
                news.push(News { at, is_raised, reading });
            }
        }
        news
    }

    /// Each alarm, in the rules' order; none before the first tick.
    #[must_use]
    pub fn alarms(&self) -> &[State] {
        &self.alarms
    }

    /// Whether the alarm at this place is raised.
    #[must_use]
    pub fn is_raised(&self, at: usize) -> bool {
        self.alarms.get(at).is_some_and(|state| state.raised.is_some())
    }
}

impl State {
    fn close(&mut self, rule: &Rule, tick: &Tick, time: u64) {
        let side = |side: Side| settled(&tick.counts[side], rule.signal.0);
        let seen = Pair::new(side(Side::Candidate), side(Side::Stable));
        if seen.iter().all(|(_, tally)| tally.as_ref().is_none_or(|tally| tally.settled() == 0)) {
            return;
        }
        self.window.add(rule.window, tick.number, &seen);
        if let Some(span) = rule.slow_window {
            self.slow_window.add(span, tick.number, &seen);
        }
        let Some((reading, is_beyond)) = self.read(rule, tick.number) else { return };
        self.latest = Some(reading);
        match self.raised {
            None if is_beyond => self.raised = Some(time),
            Some(_) if rule.is_good(reading.value, reading.threshold) => self.raised = None,
            _ => {}
        }
    }

    /// What the windows hold, and whether that is beyond the threshold; `None`: too little.
    fn read(&self, rule: &Rule, tick: u64) -> Option<(Reading, bool)> {
        let seen = self.window.sum();
        let own = rule.own(&seen)?;
        let value = rule.value(&own)?;
        let past = rule.slow_window.map(|span| self.slow_window.sum_before(span, rule.window.begin(tick)));
        let past = past.and_then(|past| rule.own(&past));
        let reference = match rule.bound {
            Bound::TimesPast(_) => past.as_ref(),
            _ => seen.stable.as_ref(),
        };
        let threshold = rule.threshold(reference)?;
        let mut is_beyond = rule.is_beyond(value, threshold, &own);
        let mut slow = None;
        if let (Some(_), false) = (rule.slow_window, matches!(rule.bound, Bound::TimesPast(_))) {
            let seen = self.slow_window.sum();
            let own = rule.own(&seen)?;
            let value = rule.value(&own)?;
            is_beyond &= rule.is_beyond(value, rule.threshold(seen.stable.as_ref())?, &own);
            slow = Some(value);
        }
        let samples = rule.counted(seen, threshold);
        Some((Reading { value, slow, threshold, samples }, is_beyond))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::alarm::Alarm;
    use crate::model::Assignment;
    use crate::signal::catalog::{self, Role};
    use crate::signal::histogram;
    use crate::signal::tally::tests::{durations, ended};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// A rule about the candidate's errors with these fields.
    fn rule(fields: &Value) -> Rule {
        let mut alarm = json!({"name": "a", "signal": catalog::with_role(Role::Failed).name});
        for (field, value) in fields.as_object().unwrap() {
            alarm[field] = value.clone();
        }
        let alarm: Alarm = serde_json::from_value(alarm).unwrap();
        Rule::new(&alarm).unwrap()
    }

    /// A second in which so many of the candidate's and of stable's requests fail.
    fn tick(number: u64, candidate: (u64, u64), stable: (u64, u64)) -> Tick {
        Tick { number, counts: Pair::new(ended(candidate), ended(stable)), ..Tick::default() }
    }

    /// The seconds in which an alarm is raised and over, where these are the candidate's and stable's failures of 100 in each.
    fn changes(rule: Rule, seconds: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, bool)> {
        let (mut watch, rules, mut changes) = (Alarms::default(), [rule], Vec::new());
        for (second, (candidate, stable)) in (1..).zip(seconds) {
            watch.close(&rules, &tick(second, (candidate, 100), (stable, 100)), second);
            changes.extend(watch.news().iter().map(|news| (second, news.is_raised)));
        }
        changes
    }

    /// So many seconds with so many failures of the candidate's 100 requests; stable has one.
    fn phases<const N: usize>(phases: [(usize, u64); N]) -> Vec<(u64, u64)> {
        phases.into_iter().flat_map(|(seconds, failed)| vec![(failed, 1); seconds]).collect()
    }

    #[test]
    fn an_alarm_is_raised_once_and_over_when_its_window_is_good_again() {
        let rule = rule(&json!({"max": 0.05, "window": "30s"}));
        let found = changes(rule, phases([(60, 1), (60, 20), (60, 1)]));
        let [(raised, true), (over, false)] = found[..] else { panic!("{found:?}") };
        assert!((61..70).contains(&raised), "{raised}");
        // Its parts of five seconds leave one after the other, until at most 4 % of the window fail.
        assert!((140..151).contains(&over), "{over}");
    }

    /// Above the bound where a raised alarm is over, and below the one where it is raised.
    #[test]
    fn between_its_two_bounds_an_alarm_stays_as_it_is() {
        let rule = || rule(&json!({"max": 0.1, "window": "30s"}));
        assert_eq!(changes(rule(), phases([(600, 9)])), []);
        let found = changes(rule(), phases([(60, 30), (600, 9)]));
        assert!(matches!(found[..], [(_, true)]), "{found:?}");
    }

    #[test]
    fn an_alarm_with_a_threshold_close_to_what_is_normal_is_over_when_it_is_normal_again() {
        for (fields, bad, between, normal) in [
            (json!({"relative": {"times": 1.2}}), (40, 20), (35, 30), (20, 20)),
            (json!({"relative": {"times": 0.9}}), (10, 50), (45, 49), (50, 50)),
            (json!({"min": 0.85}), (50, 1), (87, 1), (95, 1)),
        ] {
            let mut fields = fields;
            fields["window"] = "30s".into();
            let mut seconds = vec![bad; 60];
            seconds.extend(vec![between; 120]);
            assert!(matches!(changes(rule(&fields), seconds.clone())[..], [(_, true)]), "{fields}");
            seconds.extend(vec![normal; 120]);
            let found = changes(rule(&fields), seconds);
            assert!(matches!(found[..], [(_, true), (181.., false)]), "{fields}: {found:?}");
        }
    }

    #[test]
    fn chance_raises_no_alarm() {
        let rule = rule(&json!({"max": 0.01, "window": "1m", "min_samples": 100}));
        let mut seconds = phases([(1, 2), (600, 0)]);
        assert_eq!(changes(rule.clone(), seconds.clone()), [], "two of a hundred");
        seconds[0].0 = 9;
        assert!(!changes(rule, seconds).is_empty());
    }

    #[test]
    fn too_few_observations_raise_nothing_and_clear_nothing() {
        let rules = [rule(&json!({"max": 0.05, "window": "30s", "min_samples": 1000}))];
        let mut watch = Alarms::default();
        let mut second = |number: u64, failed: u64, requests: u64| {
            watch.close(&rules, &tick(number, (failed, requests), (0, 0)), number);
            watch.news().iter().map(|news| news.is_raised).collect::<Vec<_>>()
        };
        assert!((1..60).all(|number| second(number, 10, 10).is_empty()), "300 requests in its window");
        assert_eq!(second(60, 900, 900), [true]);
        assert!((61..400).all(|number| second(number, 0, 10).is_empty()), "good, but few");
        assert_eq!(second(400, 0, 900), [false]);
    }

    #[test]
    fn seconds_without_requests_and_those_of_several_assignments_change_nothing() {
        let rules = [rule(&json!({"max": 0.05, "window": "30s"}))];
        let mut watch = Alarms::default();
        watch.close(&rules, &tick(1, (100, 200), (0, 0)), 1);
        assert!(watch.news()[0].is_raised);
        for second in 2..1_000 {
            let idle = tick(second, (0, 0), (0, 0));
            let void = Tick { void: true, assignment: Assignment(1), ..tick(second, (0, 500), (0, 0)) };
            watch.close(&rules, if second % 2 == 0 { &idle } else { &void }, second);
        }
        assert_eq!((watch.is_raised(0), watch.news()), (true, vec![]));
    }

    #[test]
    fn both_windows_must_be_beyond_the_threshold() {
        let both = json!({"max": 0.05, "window": "30s", "slow_window": "10m"});
        let short = phases([(600, 0), (30, 20), (60, 0)]);
        assert_eq!(changes(rule(&both), short.clone()), [], "1 % of ten minutes");
        assert!(!changes(rule(&json!({"max": 0.05, "window": "30s"})), short).is_empty());
        let found = changes(rule(&both), phases([(600, 0), (400, 20), (60, 0)]));
        let [(raised, true), (over, false)] = found[..] else { panic!("{found:?}") };
        assert!((745..800).contains(&raised) && (1_020..1_032).contains(&over), "{found:?}");
    }

    /// A release that is bad from its first requests on is found before an hour is over.
    #[test]
    fn a_slow_window_that_is_not_full_is_judged_by_what_it_holds() {
        let both = json!({"max": 0.05, "window": "30s", "slow_window": "1h", "min_samples": 1_000});
        assert_eq!(changes(rule(&both), phases([(60, 20)])), [(10, true)], "as soon as there are 1,000");
        assert_eq!(changes(rule(&both), phases([(120, 1), (30, 12), (60, 1)])), [], "3 % of all so far");
        let found = changes(rule(&both), phases([(120, 1), (300, 12)]));
        let [(raised, true)] = found[..] else { panic!("{found:?}") };
        assert!((200..215).contains(&raised), "surely more than 5 % of all so far: {raised}");
    }

    #[test]
    fn a_threshold_relative_to_stable_moves_with_it() {
        let relative = || rule(&json!({"relative": {"times": 3}, "window": "30s"}));
        let both = |candidate, stable| std::iter::repeat_n((candidate, stable), 300);
        assert_eq!(changes(relative(), both(30, 15)), [], "twice as often");
        assert!(matches!(changes(relative(), both(30, 3))[..], [(_, true)]));
        assert_eq!(changes(relative(), both(40, 0).take(1)), [(1, true)], "stable has none");
        let fewer = rule(&json!({"relative": {"times": 0.5}, "window": "30s"}));
        assert!(matches!(changes(fewer, both(3, 30))[..], [(_, true)]));
    }

    #[test]
    fn a_threshold_relative_to_the_past_needs_one_and_follows_it() {
        let past = json!({"relative": {"times": 3, "to": "past"}, "window": "30s", "slow_window": "10m", "of": "stable"});
        let stable = |phases: &[(usize, u64)]| -> Vec<(u64, u64)> {
            phases.iter().flat_map(|(seconds, failed)| vec![(0, *failed); *seconds]).collect()
        };
        assert_eq!(changes(rule(&past), stable(&[(30, 40)])), [], "there is no past yet");
        let found = changes(rule(&past), stable(&[(300, 2), (1_200, 20)]));
        let [(raised, true), (over, false)] = found[..] else { panic!("{found:?}") };
        assert!((301..320).contains(&raised), "{raised}");
        assert!((400..1_200).contains(&over), "the new rate has become the past: {over}");
    }

    /// Otherwise what is new would hide itself.
    #[test]
    fn the_past_is_without_the_window() {
        let past = json!({"relative": {"times": 3, "to": "past"}, "window": "3m", "slow_window": "9m"});
        let found = changes(rule(&past), phases([(400, 2), (170, 8)]));
        assert!(matches!(found[..], [(_, true)]), "{found:?}");
    }

    #[test]
    fn durations_and_all_versions_together() {
        let latency = catalog::named("latency").unwrap().signal.name;
        let rules = [rule(&json!({
            "signal": latency, "quantile": 0.5, "max": 250, "of": "rollout", "window": "30s",
        }))];
        let mut watch = Alarms::default();
        let mut second = |number: u64, milliseconds: u64| {
            let mut seen = tick(number, (0, 50), (0, 50));
            for side in Side::BOTH {
                durations(&mut seen.counts[side]).add(histogram::bucket(milliseconds * 1_000_000), 50);
            }
            watch.close(&rules, &seen, number);
            watch.news()
        };
        assert!((1..60).all(|number| second(number, 200).is_empty()));
        let news = (60..100).find_map(|number| second(number, 400).pop()).unwrap();
        assert!(news.is_raised && news.reading.value > 250.0);
        assert_eq!(news.reading.samples.candidate.units, news.reading.samples.stable.units);
    }

    #[test]
    fn another_definition_begins_anew_and_the_others_stay() {
        let one = rule(&json!({"max": 0.05, "window": "30s"}));
        let two = rule(&json!({"name": "b", "max": 0.05, "window": "30s"}));
        let mut watch = Alarms::default();
        let bad = |number| tick(number, (50, 100), (0, 0));
        watch.close(&[one.clone(), two.clone()], &bad(1), 1);
        assert_eq!(watch.news().len(), 2);
        let other = rule(&json!({"max": 0.06, "window": "30s", "min_samples": 150}));
        watch.close(&[two.clone(), other.clone()], &bad(2), 2);
        assert_eq!((watch.is_raised(0), watch.is_raised(1), watch.news()), (true, false, vec![]));
        watch.close(&[two, other], &bad(3), 3);
        assert_eq!(watch.news().len(), 1);
    }

    proptest! {
        /// Whatever comes: memory stays bounded, values are numbers, and an alarm is never raised twice in a row.
        #[test]
        fn any_ticks_keep_an_alarm_in_bounds(
            ticks in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), 0_u64..2_000), 1..200),
        ) {
            let rules = [
                rule(&json!({"max": 0.05, "window": "30s", "slow_window": "24h", "min_samples": 10})),
                rule(&json!({"name": "b", "relative": {"times": 0.5}, "window": "1h", "min_samples": 10})),
            ];
            let (mut watch, mut number, mut raised) = (Alarms::default(), 0_u64, [false; 2]);
            for (jump, failed, requests, step) in ticks {
                number = if step == 0 { jump } else { number.saturating_add(step) };
                let arm = (failed.min(requests), requests);
                watch.close(&rules, &tick(number, arm, arm), number);
                for News { at, is_raised, reading } in watch.news() {
                    prop_assert_ne!(std::mem::replace(&mut raised[at], is_raised), is_raised);
                    prop_assert!(reading.value.is_finite() && reading.threshold.is_finite());
                }
            }
            prop_assert!(postcard::to_allocvec(&watch).unwrap().len() < 4_000);
        }
    }
}
