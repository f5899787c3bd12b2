//! Runs that time alone moves on: the leader leaves the others alone.

use super::*;
use crate::rollout::ready::{Answer, Said};

/// What people can see of a run.
fn seen(run: &Run) -> (Phase, String, usize, Shares, u32) {
    (run.phase, run.reason.sentence().into_owned(), run.position, run.in_force().clone(), run.attempt)
}

#[test]
fn a_pause_is_due_at_its_end_and_not_before() {
    let program = program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {"duration": "3s"}}, {"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}], "no_data": "proceed"},
    }));
    let (mut run, _) = Run::begin(&program, at(0));
    run.tick(&program, &[], at(1));
    assert_eq!(run.reason.sentence(), "the step waits for its duration to pass");
    assert_eq!([at(1), at(2), at(3)].map(|now| run.is_due(&program, now)), [false, false, true]);
    run.tick(&program, &[], at(3));
    assert_eq!((green(&run), run.phase), (5_000, Phase::Paused));
    assert!(!run.is_due(&program, at(100_000)), "a person has to promote it");
}

proptest! {
    /// A second without counts changes a run that is due, and no other one. Time is counted from time to time.
    #[test]
    fn a_run_is_due_exactly_when_time_changes_it(
        seconds in prop::collection::vec((0..12_u64, 0..3_u64, 0..5_u64), 1..80),
        promote_when in any::<bool>(),
        deadline in prop::option::of(5..40_u64),
    ) {
        let mut analysis = json!({"metrics": [{"name": "error_rate"}, {"name": "latency"}]});
        if promote_when {
            analysis["promote_when"] = json!({});
        }
        if let Some(deadline) = deadline {
            analysis["progress_deadline"] = json!(format!("{deadline}s"));
        }
        let program = program(&json!({
            "steps": [
                {"ready": {"path": "/ready", "timeout": "30s", "successes": 2}},
                {"set_weight": 5}, {"pause": {"duration": "4s"}},
                {"set_weight": 50}, {"pause": {"duration": "3s", "min_requests": 20}}, {"set_weight": 60}, {"pause": {}},
            ],
            "analysis": analysis,
        }));
        let (mut run, _) = Run::begin(&program, at(0));
        for (now, (requests, failed, what)) in (1..).zip(seconds) {
            let counts = Pair::new(ended((failed.min(requests), requests)), ended((0, 2 * requests)));
            let share = run.candidate_share(&program);
            let status = if what == 0 { 503 } else { 200 };
            if let Some((_, asked)) = run.ask(&program, at(now)) {
                run.hear(&program, Answer { asked, said: Said::Status(status) });
            }
            if what > 2 {
                run.close(&program, &Tick { number: now, share, counts, ..Tick::default() }, at(now));
                run.tick(&program, &[], at(now));
                continue;
            }
            let (before, is_due) = (run.clone(), run.is_due(&program, at(now)));
            let mut moved = run.clone();
            let events = moved.tick(&program, &[], at(now));
            let is_counted = before.elapsed(at(now)) >= COUNTED;
            let changes = !events.is_empty() || seen(&moved) != seen(&before);
            prop_assert_eq!(is_due && !is_counted, changes && !is_counted, "{:?}", seen(&before));
            prop_assert!(is_due || !is_counted || before.phase != Phase::Progressing);
            if is_due {
                run = moved;
            }
        }
    }
}
