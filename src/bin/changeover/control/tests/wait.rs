use super::*;
use std::time::Duration;

use crate::control::wait::{Ending, Wanted, duration, run};

/// A rollout that is in each of these phases for one look, and in the last one from then on.
fn in_phases(phases: &'static [&'static str]) -> Client {
    let rollout = text(&open(), &["status", "steps", "--json"]);
    let looks = AtomicUsize::new(0);
    let endpoint = listen(move |_| {
        let look = looks.fetch_add(1, Ordering::Relaxed);
        let phase = phases.get(look).or(phases.last()).expect("a phase");
        let phase = format!("\"phase\":\"{phase}\"");
        let body = rollout.trim_end().replace("\"phase\":\"progressing\"", &phase);
        Response { status: 200, headers: Vec::new(), body }
    });
    Client::new(&endpoint, None).expect("a client")
}

fn ending(phases: &'static [&'static str], wanted: Wanted, timeout: Duration) -> u8 {
    run(&in_phases(phases), ("steps", None), wanted, timeout).expect("answers").0.exit_status()
}

#[test]
fn each_ending_has_an_exit_status() {
    let long = Duration::from_secs(3600);
    let rows: [(&'static [&'static str], Wanted, u8); 8] = [
        (&["progressing", "succeeded"], Wanted::Succeeded, 0),
        (&["paused", "failed"], Wanted::Succeeded, 1),
        (&["aborted"], Wanted::Succeeded, 1),
        (&["progressing", "paused"], Wanted::Paused, 0),
        (&["succeeded"], Wanted::Paused, 1),
        (&["failed"], Wanted::Failed, 0),
        (&["aborted"], Wanted::Failed, 0),
        (&["succeeded"], Wanted::Failed, 1),
    ];
    for (phases, wanted, expected) in rows {
        assert_eq!(ending(phases, wanted, long), expected, "{phases:?}");
    }
    assert_eq!(ending(&["progressing"], Wanted::Succeeded, Duration::ZERO), 3);
}

#[test]
fn the_end_of_another_release_is_not_the_end_of_the_one_that_is_waited_for() {
    let after = |release: &str| {
        let client = in_phases(&["succeeded", "succeeded"]);
        run(&client, ("steps", Some(release)), Wanted::Succeeded, Duration::from_millis(30))
            .expect("answers")
            .0
    };
    let shown: changeover::control::view::Rollout =
        serde_json::from_str(&text(&open(), &["status", "steps", "--json"])).expect("a rollout");
    assert_eq!(after(&shown.release), Ending::There);
    assert_eq!(after("another"), Ending::TimedOut);
}

#[test]
fn an_unknown_name_ends_the_waiting_only_where_others_are_known() {
    let long = Duration::from_secs(3600);
    let known = Client::new(&open(), None).expect("a client");
    let failure = run(&known, ("other", None), Wanted::Paused, long).expect_err("no such rollout");
    assert_eq!(failure.exit_status(), 4);
    let none = serve(Rollouts::default(), &Control::default(), &[]);
    let none = Client::new(&none, None).expect("a client");
    assert_eq!(run(&none, ("other", None), Wanted::Paused, Duration::ZERO), Ok((Ending::TimedOut, None)));
    let nowhere = Client::new("http://127.0.0.1:1", None).expect("a client");
    assert_eq!(
        run(&nowhere, ("other", None), Wanted::Paused, long).expect_err("no such Envoy").exit_status(),
        2
    );
}

#[test]
fn durations_are_written_as_in_the_configuration() {
    assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
    assert!(duration("2 hours").is_err());
}
