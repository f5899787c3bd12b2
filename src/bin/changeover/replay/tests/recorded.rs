//! What the filter records, and what the replay makes of it.

// Tests compute with small numbers of their own.
#![allow(clippy::arithmetic_side_effects)]

use changeover::control::api::{Api, Handled};
use changeover::control::request::Request;
use changeover::fleet::simulated::Envoy;
use changeover::fleet::{self, recordings};
use changeover::model::{Side, UserHash};
use changeover::rollout::change::Change;
use changeover::rollout::clock::Clock;
use changeover::rollout::command::Command;
use changeover::rollout::event::Origin;
use changeover::telemetry::outcome::Outcome;
use fastrand::Rng;

use super::*;

const STEPS: &str = "\
rollouts:
- name: a
  release: '1'
  versions: {blue: {cluster: b}, green: {cluster: g}, red: {cluster: r}}
  stable: blue
  candidate: green
  steps: [{set_weight: 20}, {pause: {duration: 15s}}, {pause: {duration: 5s}}, {set_weight: 50}, {pause: {}}]
  analysis:
    deadline: 3s
    on_failure: alarm
    metrics: [{name: error_rate, max: 0.5}, {name: latency, quantiles: [0.5]}, {name: unanswered}]
";

/// An Envoy whose rollout is recorded while requests come.
struct Recorded {
    envoy: Envoy,
    rng: Rng,
    lines: Vec<String>,
    users: bool,
    open: Vec<(u32, changeover::fleet::simulated::Request, u64, Outcome)>,
}

impl Recorded {
    fn new(config: &str, users: bool, seed: u64) -> Self {
        let configs = source::configurations("f", config, &mut Findings::default());
        let now = Clock {
            length: 1_000_000_000,
            uptime: 100_000_000_000,
            time: 1_764_022_500_250,
            is_shared: false,
        };
        let envoy = Envoy::begin(&configs[0], now);
        let mut recorded =
            Self { envoy, rng: Rng::with_seed(seed), lines: Vec::new(), users, open: Vec::new() };
        recorded.look();
        recorded
    }

    /// Asks for the ticks that are new, as `changeover record` does.
    fn look(&mut self) {
        let last = self.lines.last().map_or(0, |line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["tick"].as_u64().unwrap()
        });
        let request = Request {
            method: b"GET".into(),
            path: format!("/v1/rollouts/a/ticks?after={last}").into(),
            authority: b"127.0.0.1:9911".into(),
            ..Request::default()
        };
        let handled = Api::default().handle(&request, &self.envoy.shared, self.envoy.now);
        let Handled::Record { rollout, answer } = handled else { panic!("{handled:?}") };
        recordings::want(&mut self.envoy.shared, &rollout, self.envoy.now.uptime);
        self.lines.extend(answer.body.lines().map(ToOwned::to_owned));
    }

    fn command(&mut self, command: Command) {
        let change = Change { rollout: "a".into(), command, if_match: None, origin: Origin::default() };
        self.envoy.command(&change).expect("it fits");
    }

    /// A second of requests, of which some last longer.
    fn second(&mut self, failing: f64) {
        let share = self.share();
        for _ in 0..self.rng.usize(10..60) {
            let user = self.users.then(|| UserHash(siphash(self.rng.u64(..400))));
            let is_candidate =
                user.map_or_else(|| self.rng.f64(), |user| user.0 as f64 / u64::MAX as f64) < share;
            let side = if is_candidate { Side::Candidate } else { Side::Stable };
            let rate = if is_candidate { failing } else { 0.02 };
            let draw = self.rng.f64();
            let outcome = match self.rng.u32(..40) {
                0 => Outcome::Aborted,
                1 => Outcome::Unanswered,
                _ => Outcome::answered(draw < rate),
            };
            let Some(request) = self.envoy.vm.arrive(0, side, user, self.envoy.now) else { continue };
            let lasts = self.rng.u64(5_000_000..40_000_000);
            if self.rng.u32(..10) == 0 {
                self.open.push((self.rng.u32(1..6), request, lasts + 2_000_000_000, outcome));
            } else {
                request.end(lasts, outcome);
            }
        }
        for (left, request, lasts, outcome) in std::mem::take(&mut self.open) {
            match left {
                0 => request.end(lasts, outcome),
                _ => self.open.push((left - 1, request, lasts, outcome)),
            }
        }
        self.envoy.tick();
        if self.rng.u32(..3) == 0 {
            self.look();
        }
    }

    fn share(&self) -> f64 {
        let record = fleet::record(&self.envoy.shared, "a").unwrap();
        let in_force = record.run.in_force();
        in_force.get("green").map_or(0.0, |share| share.fraction())
    }

    fn judge(&self) -> Judge {
        fleet::record(&self.envoy.shared, "a").unwrap().run.judge
    }
}

fn siphash(user: u64) -> u64 {
    siphasher::sip::SipHasher24::new().hash(&user.to_le_bytes())
}

/// Replays what was recorded, up to the tick that was closed last: the judge must have found the same, to the last bit.
fn is_reproduced(config: &str, users: bool, seed: u64) {
    let mut recorded = Recorded::new(config, users, seed);
    let mut replay = replay(config);
    let (mut replayed, mut compared, mut found) = (0, 0, 0.0_f64);
    for second in 0..60 {
        match second {
            20 => recorded.command(Command::Abort),
            24 => recorded.command(Command::Retry),
            _ => {}
        }
        recorded.second(if second < 40 { 0.02 } else { 0.6 });
        recorded.look();
        let new = recorded.lines[replayed..].join("\n");
        replayed = recorded.lines.len();
        answers(&mut replay, &new);
        // What a step or an attempt forgets when it begins the replay forgets with its first tick.
        let has_begun = recorded.judge().step_from() != replay.judge.step_from();
        if !new.is_empty() && !has_begun && second != 20 && second != 24 {
            assert_eq!(replay.judge.reading(), recorded.judge().reading(), "seed {seed}, second {second}");
            compared += 1;
            found = found.max(replay.judge.reading().all);
        }
    }
    assert!(compared > 20 && found > 100.0, "{compared} {found}");
}

#[test]
fn a_replay_of_a_recording_finds_what_the_judge_of_requests_has_found() {
    (0..5).for_each(|seed| is_reproduced(STEPS, false, seed));
}

#[test]
fn a_replay_of_a_recording_finds_what_the_judge_of_users_has_found() {
    let config = STEPS.replace("  steps", "  session_affinity: {header: x-user-id}\n  steps");
    (0..5).for_each(|seed| is_reproduced(&config, true, seed));
}

/// Ticks of the attempt before close after it, and show nothing.
#[test]
fn a_recording_that_begins_with_an_attempt_has_all_metrics() {
    let mut recorded = Recorded::new(STEPS, false, 1);
    (0..10).for_each(|_| recorded.second(0.02));
    recorded.command(Command::Abort);
    recorded.command(Command::Retry);
    recorded.look();
    let from = recorded.lines.len();
    (0..10).for_each(|_| recorded.second(0.02));
    recorded.look();
    let lines = &recorded.lines[from..];
    assert!(lines[0].contains("\"void\":true"), "{}", lines[0]);
    let mut replay = replay(STEPS);
    let (found, _) = answers(&mut replay, &lines.join("\n"));
    assert!(found.contains("\"metric\":\"unanswered\""), "{found}");
    assert_eq!(replay.judge.reading(), recorded.judge().reading());
}

/// The judge has begun anew, and so does the replay: ticks may have lower numbers then.
#[test]
fn another_run_is_replayed_from_its_beginning() {
    let mut recorded = Recorded::new(STEPS, false, 1);
    (0..30).for_each(|_| recorded.second(0.8));
    recorded.look();
    let (first, due) = answers(&mut replay(STEPS), &recorded.lines.join("\n"));
    assert!(due && first.contains("rollback"));
    let mut again = Recorded::new(&STEPS.replace("'1'", "'2'"), false, 2);
    (0..10).for_each(|_| again.second(0.02));
    again.look();
    let alone = answers(&mut replay(STEPS), &again.lines.join("\n")).0;
    recorded.lines.append(&mut again.lines);
    let both = answers(&mut replay(STEPS), &recorded.lines.join("\n")).0;
    assert_eq!(both, first + &alone);
}

#[test]
fn a_replay_shows_when_an_alarm_would_have_been_raised_and_over() {
    let alarm = "  alarms: [{name: errors, signal: error_rate, max: 0.2, window: 30s, min_samples: 20}]\n";
    for affinity in ["", "  session_affinity: {header: x-user-id}\n"] {
        let config = STEPS.replace("  analysis", &format!("{affinity}{alarm}  analysis"));
        let mut recorded = Recorded::new(&config, !affinity.is_empty(), 3);
        for second in 0..120 {
            recorded.second(if (60..80).contains(&second) { 0.9 } else { 0.02 });
            recorded.look();
        }
        let (found, _) = answers(&mut replay(&config), &recorded.lines.join("\n"));
        let alarms: Vec<&str> = found.lines().filter(|line| line.contains("\"alarm\"")).collect();
        let [raised, over] = alarms[..] else { panic!("{alarms:?}") };
        assert!(
            raised.contains("\"raised\":true,\"action\":\"notify\"") && over.contains("\"raised\":false")
        );
        let record = fleet::record(&recorded.envoy.shared, "a").unwrap();
        assert!(!record.run.alarms.is_raised(0), "as the filter has found");
        let events = fleet::journal::of(&recorded.envoy.shared, "a");
        let messages: Vec<&str> = events
            .iter()
            .filter(|event| event.message.starts_with("alarm errors"))
            .map(|event| event.message.as_str())
            .collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
    }
}
