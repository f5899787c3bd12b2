//! A model that takes over people's work, step by step.

use super::*;
use crate::analysis::kernel::ratio::Table;
use crate::automation::band::Band;
use crate::automation::decisions::Decisions;
use crate::automation::receipt::{Kind, Receipt};
use crate::model::Degree;
use crate::rollout::program::Until;
use crate::telemetry::breaker::Trip;

const PARTIAL: &str = r#"{"max_disagreement": 0.02}"#;

/// A rollout with people that walks these steps.
fn people(steps: &Value, partial: &Value) -> Program {
    program(&json!({
        "steps": steps,
        "automation": {
            "answer": {"label": "/label", "confidence": "/confidence"}, "partial": partial,
        },
    }))
}

fn walking() -> Program {
    people(
        &json!([
            {"set_degree": "shadow"}, {"pause": {"min_decisions": 500, "min_agreement": 0.9}},
            {"set_degree": "assist"}, {"pause": {}},
            {"set_degree": "partial"}, {"pause": {"min_coverage": 0.5}},
            {"set_degree": "full"},
        ]),
        &serde_json::from_str(PARTIAL).unwrap(),
    )
}

/// So many blind decisions more, with these disagreements, by a confident model.
fn decide(decisions: &mut Decisions, tasks: u64, disagreements: u64, answered: bool) {
    let kind = Kind { drawn: true, answered, ..Kind::default() };
    let receipt = Receipt { label: "cat".into(), confidence: 9_900, kind, ..Receipt::default() };
    for task in 0..tasks {
        decisions.count(&receipt, if task < disagreements { "dog" } else { "cat" });
    }
}

fn step(run: &mut Run, program: &Program, decisions: &Decisions, now: u64) -> Vec<Event> {
    let mut events = run.decide(program, decisions, at(now));
    events.extend(run.tick(program, &[], at(now)));
    events
}

fn messages(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.message.as_str()).collect()
}

#[test]
fn the_ladder_is_climbed_by_what_people_decide() {
    let program = walking();
    let (mut run, events) = Run::begin(&program, at(0));
    assert_eq!(
        messages(&events),
        [
            "release 1, attempt 1: green takes over from blue, beginning at degree human",
            "step 2 of 7: degree shadow for 500 decisions and 90 % agreement",
        ]
    );
    let mut decisions = Decisions::default();
    assert!(!run.has_news(&decisions));
    decide(&mut decisions, 499, 5, false);
    assert!(run.has_news(&decisions));
    step(&mut run, &program, &decisions, 1);
    assert_eq!(run.reason.sentence(), "the step waits for decisions of people: 499 of 500");
    // Agreement of 80 %, however many decisions there are; and of 91 %, which proves nothing of 90 % yet.
    for (disagreements, agreement) in [(200, "80.0 % ["), (90, "91.0 % [")] {
        let mut bad = Decisions::default();
        decide(&mut bad, 1_000, disagreements, false);
        let mut held = run.clone();
        step(&mut held, &program, &bad, 2);
        let waits = "the step waits for proof that the model agrees with people in 90 % of tasks: ";
        assert!(
            held.reason.sentence().starts_with(&format!("{waits}{agreement}")),
            "{}",
            held.reason.sentence()
        );
    }
    decide(&mut decisions, 1, 0, false);
    step(&mut run, &program, &decisions, 2);
    assert_eq!((run.degree(&program), run.phase), (Degree::Assist, Phase::Paused));
    assert_eq!((run.threshold(&program), green(&run)), (None, 0));
    run.command(&program, Command::Promote { full: false }, at(3)).unwrap();
    assert_eq!(run.degree(&program), Degree::Partial);
    // 500 decisions with 1 % disagreement prove nothing of 2 % yet.
    assert_eq!(run.threshold(&program), None);
    decide(&mut decisions, 3_000, 10, false);
    let events = step(&mut run, &program, &decisions, 4);
    assert!(events[0].message.starts_with("green answers alone from confidence "), "{}", events[0].message);
    assert_eq!((run.degree(&program), run.phase, green(&run)), (Degree::Full, Phase::Succeeded, 10_000));
    assert_eq!(events.last().unwrap().message, "green stays at degree full");
}

#[test]
fn a_model_that_disagrees_too_often_is_stepped_down_until_a_person_decides() {
    for (degree, below) in [("full", Degree::Partial), ("partial", Degree::Assist)] {
        let program = people(&json!([{"set_degree": degree}]), &serde_json::from_str(PARTIAL).unwrap());
        let (mut run, _) = Run::begin(&program, at(0));
        let mut decisions = Decisions::default();
        decide(&mut decisions, 1_000, 10, true);
        let events = step(&mut run, &program, &decisions, 1);
        assert!(events.iter().all(|event| event.action != Action::Rollback), "{events:?}");
        decide(&mut decisions, 200, 60, true);
        let events = step(&mut run, &program, &decisions, 2);
        let event = events.iter().find(|event| event.action == Action::Rollback).expect("a rollback");
        assert_eq!(
            event.message,
            format!(
                "automation is rolled back from {degree} to {}: people disagree with green in 70 of 1200 requests (5.8 %) that it had \
                 answered alone, more than the 2 % allowed",
                below.label()
            )
        );
        assert_eq!(event.evidence.as_ref().unwrap().rule, "automation.disagreement");
        assert_eq!((run.degree(&program), run.phase), (below, Phase::Paused));
        let again = step(&mut run, &program, &decisions, 3);
        assert!(again.is_empty(), "once");
        run.command(&program, Command::Degree(Degree::Shadow), at(4)).unwrap();
        assert_eq!(
            (run.attempt, run.degree(&program)),
            (2, Degree::Shadow),
            "what was decided is another attempt's"
        );
        assert!(!run.has_news(&Decisions::default()));
    }
}

/// A course with a pause before the model answers everything.
fn with_a_day_before_full() -> Program {
    people(
        &json!([
            {"set_degree": "shadow"}, {"pause": {}}, {"set_degree": "assist"}, {"pause": {}},
            {"set_degree": "partial"}, {"pause": {"duration": "24h"}}, {"set_degree": "full"},
        ]),
        &serde_json::from_str(PARTIAL).unwrap(),
    )
}

/// The same in that pause.
fn in_the_day_before_full(program: &Program) -> Run {
    let (mut run, _) = Run::begin(program, at(0));
    for now in 1..=2 {
        run.command(program, Command::Promote { full: false }, at(now)).unwrap();
    }
    assert_eq!((run.degree(program), run.phase, run.position), (Degree::Partial, Phase::Progressing, 5));
    run
}

#[test]
fn after_a_step_down_the_course_goes_on_behind_the_lower_degree() {
    let program = with_a_day_before_full();
    let mut run = in_the_day_before_full(&program);
    let mut decisions = Decisions::default();
    decide(&mut decisions, 200, 60, true);
    step(&mut run, &program, &decisions, 3);
    assert_eq!((run.degree(&program), run.phase), (Degree::Assist, Phase::Paused));
    run.command(&program, Command::Resume, at(4)).unwrap();
    assert_eq!(run.reason.sentence(), "the step waits for a promotion");
    run.command(&program, Command::Promote { full: false }, at(5)).unwrap();
    assert_eq!((run.degree(&program), run.position), (Degree::Partial, 5));
}

#[test]
fn below_a_degree_set_by_command_the_course_goes_on_behind_that_one() {
    let program = with_a_day_before_full();
    let mut run = in_the_day_before_full(&program);
    run.command(&program, Command::Degree(Degree::Full), at(3)).unwrap();
    assert_eq!(run.position, 5, "a higher degree waits as long");
    run.command(&program, Command::Degree(Degree::Assist), at(4)).unwrap();
    assert_eq!((run.position, &*run.reason.sentence()), (3, "the step waits for a promotion"));
    // No step waits at this degree: the next one would set another at once.
    let events = run.command(&program, Command::Degree(Degree::Human), at(5)).unwrap();
    assert_eq!(
        messages(&events),
        ["the degree of automation is human by command, it was assist; the run is paused"]
    );
    step(&mut run, &program, &Decisions::default(), 6);
    assert_eq!((run.degree(&program), run.phase, run.position), (Degree::Human, Phase::Paused, 0));
    run.command(&program, Command::Resume, at(7)).unwrap();
    assert_eq!((run.degree(&program), run.position), (Degree::Shadow, 1));
}

/// At `partial` the model may answer alone whatever it answered alone at `full`.
#[test]
fn a_model_that_still_disagrees_after_a_step_down_is_stepped_down_again() {
    let partial = json!({"max_disagreement": 0.02, "threshold": 0.0});
    let program = people(&json!([{"set_degree": "full"}]), &partial);
    let (mut run, _) = Run::begin(&program, at(0));
    let mut decisions = Decisions::default();
    for (now, degree) in [(1, Degree::Partial), (2, Degree::Assist)] {
        decide(&mut decisions, 200, 60, true);
        let events = step(&mut run, &program, &decisions, now);
        assert_eq!(events.iter().filter(|event| event.action == Action::Rollback).count(), 1);
        assert_eq!((run.degree(&program), run.phase), (degree, Phase::Paused));
        assert!(step(&mut run, &program, &decisions, now).is_empty(), "without further tasks");
    }
    decide(&mut decisions, 200, 60, true);
    step(&mut run, &program, &decisions, 3);
    assert_eq!(run.degree(&program), Degree::Assist, "it answers nothing alone any more");
}

#[test]
fn another_target_after_a_step_down_steps_no_further_down_by_the_same_decisions() {
    let of = |most: f64| {
        people(&json!([{"set_degree": "full"}]), &json!({"max_disagreement": most, "threshold": 0.0}))
    };
    let (before, after) = (of(0.02), of(0.03));
    let (mut run, _) = Run::begin(&before, at(0));
    let mut decisions = Decisions::default();
    decide(&mut decisions, 200, 60, true);
    step(&mut run, &before, &decisions, 1);
    assert_eq!(run.degree(&before), Degree::Partial);
    run.push(&before, &after, at(2));
    step(&mut run, &after, &decisions, 3);
    assert_eq!(run.degree(&after), Degree::Partial);
    decide(&mut decisions, 200, 60, true);
    step(&mut run, &after, &decisions, 4);
    assert_eq!(run.degree(&after), Degree::Assist, "by further ones");
}

#[test]
fn a_degree_without_steps_is_judged_anew_after_a_step_down() {
    let partial = json!({"max_disagreement": 0.02, "threshold": 0.0});
    let with_steps = people(&json!([{"set_degree": "full"}]), &partial);
    let (mut run, _) = Run::begin(&with_steps, at(0));
    let mut decisions = Decisions::default();
    decide(&mut decisions, 200, 60, true);
    step(&mut run, &with_steps, &decisions, 1);
    assert_eq!((run.degree(&with_steps), run.attempt), (Degree::Partial, 1));
    let answer = json!({"label": "/label", "confidence": "/confidence"});
    let without = program(&json!({"automation": {"degree": "full", "answer": answer, "partial": partial}}));
    run.push(&with_steps, &without, at(2));
    assert_eq!((run.degree(&without), run.held, run.attempt), (Degree::Full, None, 2));
    let mut decisions = Decisions::default();
    step(&mut run, &without, &decisions, 3);
    assert_eq!(run.degree(&without), Degree::Full, "decisions of another attempt do not count");
    decide(&mut decisions, 200, 60, true);
    step(&mut run, &without, &decisions, 4);
    assert_eq!(run.degree(&without), Degree::Partial);
}

/// Confident answers are right. Of all tasks, about so many in a hundred are confident.
#[test]
fn a_threshold_in_force_stays_while_its_coverage_moves_about_the_least() {
    let program =
        people(&json!([{"set_degree": "partial"}]), &json!({"max_disagreement": 0.02, "min_coverage": 0.5}));
    let (mut run, _) = Run::begin(&program, at(0));
    let mut decisions = Decisions::default();
    let unsure = |decisions: &mut Decisions, tasks: u64| {
        let kind = Kind { drawn: true, ..Kind::default() };
        let receipt = Receipt { label: "cat".into(), confidence: 1_000, kind, ..Receipt::default() };
        for _ in 0..tasks {
            decisions.count(&receipt, "dog");
        }
    };
    unsure(&mut decisions, 2_000);
    decide(&mut decisions, 1_990, 0, false);
    let mut said = Vec::new();
    said.extend(step(&mut run, &program, &decisions, 1));
    assert_eq!((said.len(), run.threshold(&program)), (0, None), "less than half");
    for now in 2..20 {
        if now % 2 == 0 {
            decide(&mut decisions, 20, 0, false)
        } else {
            unsure(&mut decisions, 20)
        }
        said.extend(step(&mut run, &program, &decisions, now));
    }
    assert_eq!((said.len(), run.threshold(&program)), (1, Some(1_200)), "{:?}", messages(&said));
    unsure(&mut decisions, 500);
    said.extend(step(&mut run, &program, &decisions, 20));
    assert_eq!((said.len(), run.threshold(&program)), (2, None), "{:?}", messages(&said));
}

#[test]
fn a_model_that_leaves_tasks_unanswered_is_stepped_down_from_full_alone() {
    let program = with_a_day_before_full();
    let mut run = in_the_day_before_full(&program);
    let trip = |run: &Run| {
        Command::Trip(Trip { assignment: run.assignment(&program), seen: Table::of((20, 20), (0, 0)) })
    };
    let before = trip(&run);
    assert!(run.command(&program, before.clone(), at(3)).is_err(), "people get what it does not answer");
    run.command(&program, Command::Degree(Degree::Full), at(4)).unwrap();
    assert!(run.command(&program, before, at(5)).is_err(), "of an earlier degree");
    let trip = trip(&run);
    let events = run.command(&program, trip.clone(), at(6)).unwrap();
    assert_eq!(
        messages(&events),
        [
            "automation is rolled back from full to partial: green left 20 tasks in a row unanswered on one worker"
        ]
    );
    assert_eq!(events[0].evidence.as_ref().unwrap().rule, "circuit_breaker");
    assert_eq!((run.degree(&program), run.phase, run.position), (Degree::Partial, Phase::Paused, 5));
    assert!(run.command(&program, trip, at(7)).is_err(), "another worker");
    run.command(&program, Command::Resume, at(8)).unwrap();
    assert_eq!((run.degree(&program), run.attempt), (Degree::Partial, 2));
}

#[test]
fn an_abort_and_a_pin_leave_everything_to_people() {
    let program = walking();
    let (mut run, _) = Run::begin(&program, at(0));
    run.command(&program, Command::Degree(Degree::Full), at(1)).unwrap();
    assert_eq!((run.degree(&program), green(&run)), (Degree::Full, 10_000));
    run.command(&program, Command::Abort, at(2)).unwrap();
    assert_eq!((run.degree(&program), green(&run), run.threshold(&program)), (Degree::Human, 0, None));
    let refused = run.command(&program, Command::Degree(Degree::Assist), at(3)).unwrap_err();
    assert_eq!(refused.0, "the rollout is aborted; the candidate gets no traffic until a retry");
    run.command(&program, Command::Retry, at(4)).unwrap();
    assert_eq!(run.degree(&program), Degree::Shadow);
    let pinned = Program { pin: Some("blue".into()), ..program.clone() };
    run.push(&program, &pinned, at(5));
    assert_eq!(run.degree(&pinned), Degree::Human);
}

#[test]
fn weights_and_degrees_are_set_only_where_there_are_any() {
    let (people, canary) = (walking(), steps());
    let refused = |program: &Program, command| {
        let (mut run, _) = Run::begin(program, at(0));
        run.command(program, command, at(1)).unwrap_err().0
    };
    assert_eq!(
        refused(&people, Command::Weight(of([("green", 500)]))),
        "a rollout with `automation` has no weights to set; degree sets how much the model does"
    );
    assert_eq!(
        refused(&canary, Command::Degree(Degree::Full)),
        "the rollout has no `automation`, whose degree could be set"
    );
}

#[test]
fn a_degree_that_a_configuration_could_not_set_is_refused_by_command_as_well() {
    let refused = |automation: Value, degree| {
        let program = program(&json!({"automation": automation}));
        let (mut run, _) = Run::begin(&program, at(0));
        let command = Command::Degree(degree);
        let flaw = run.flaw(&program, &command);
        let refused = run.command(&program, command, at(1)).err().map(|refused| refused.0);
        assert_eq!(refused, flaw);
        flaw
    };
    let unproven = json!({"answer": {"label": "/label"}});
    let unaudited = json!({
        "answer": {"label": "/label", "confidence": "/confidence"}, "partial": {"max_disagreement": 0.02}, "audit": 0,
    });
    assert_eq!(
        refused(unproven.clone(), Degree::Partial).unwrap(),
        "partial: automation.partial: missing; where the model answers alone, expected `max_disagreement`, or a fixed `threshold`, \
         which is not proven"
    );
    assert_eq!(
        refused(unaudited.clone(), Degree::Full).unwrap(),
        "full: automation.step_down: nothing can be stepped down without `audit` and `partial.max_disagreement`; expected both, or \
         `step_down: false`"
    );
    for automation in [unproven, unaudited.clone()] {
        assert_eq!(refused(automation, Degree::Assist), None);
    }
    let mut unwatched = unaudited;
    unwatched["step_down"] = false.into();
    assert_eq!(refused(unwatched, Degree::Full), None);
}

#[test]
fn a_push_that_audits_no_more_leaves_a_degree_that_was_set_by_command() {
    let with_audit = |audit: u8| {
        program(&json!({
            "steps": [{"set_degree": "assist"}, {"pause": {}}],
            "automation": {
                "answer": {"label": "/label", "confidence": "/confidence"}, "partial": {"max_disagreement": 0.02}, "audit": audit,
            },
        }))
    };
    let (audited, unaudited) = (with_audit(5), with_audit(0));
    let (mut run, _) = Run::begin(&audited, at(0));
    run.command(&audited, Command::Degree(Degree::Full), at(1)).unwrap();
    let events = run.push(&audited, &unaudited, at(2));
    assert!(
        events[0]
            .message
            .starts_with("the degree of automation is assist; there cannot be full: automation.step_down: ")
    );
    assert_eq!((run.degree(&unaudited), green(&run)), (Degree::Assist, 0));
}

#[test]
fn decisions_that_were_shown_the_answer_prove_nothing() {
    let program = walking();
    let (mut run, _) = Run::begin(&program, at(0));
    let decisions = Decisions { shown: Band { tasks: 100_000, disagreements: 0 }, ..Decisions::default() };
    step(&mut run, &program, &decisions, 1);
    assert_eq!(run.reason.sentence(), "the step waits for decisions of people: 0 of 500");
}

#[test]
fn another_target_is_to_be_proven_anew() {
    let program = people(&json!([{"set_degree": "partial"}]), &serde_json::from_str(PARTIAL).unwrap());
    let (mut run, _) = Run::begin(&program, at(0));
    let mut decisions = Decisions::default();
    decide(&mut decisions, 1_000, 2, false);
    step(&mut run, &program, &decisions, 1);
    assert!(run.threshold(&program).is_some());
    let stricter = people(&json!([{"set_degree": "partial"}]), &json!({"max_disagreement": 0.001}));
    let events = run.push(&program, &stricter, at(2));
    assert_eq!(messages(&events), ["the model's target has changed; its proof begins again"]);
    assert_eq!(run.threshold(&stricter), None);
    assert!(run.has_news(&decisions), "what was decided is looked at again");
    step(&mut run, &stricter, &decisions, 3);
    assert_eq!(run.threshold(&stricter), None);
}

#[test]
fn another_model_or_meaning_of_its_answer_is_to_be_proven_anew() {
    let of = |field: &str, value: Value| {
        let mut fields = json!({
            "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
            "steps": [{"set_degree": "partial"}, {"pause": {"duration": "1h"}}],
            "automation": {
                "answer": {"label": "/label", "confidence": "/confidence"}, "partial": {"max_disagreement": 0.02},
                "decision": {"match": {"path": "/decisions"}, "receipt": "/receipt", "label": "/label"},
            },
        });
        *fields.pointer_mut(field).unwrap() = value;
        program(&fields)
    };
    let before = of("/automation/answer/label", json!("/label"));
    let (mut begun, _) = Run::begin(&before, at(0));
    let mut decisions = Decisions::default();
    decide(&mut decisions, 1_000, 0, false);
    step(&mut begun, &before, &decisions, 1);
    assert!(begun.threshold(&before).is_some());
    for (field, value) in [
        ("/automation/answer/label", "/other"),
        ("/automation/answer/confidence", "/other"),
        ("/automation/decision/label", "/other"),
        ("/versions/green/cluster", "other"),
    ] {
        let (mut run, after) = (begun.clone(), of(field, value.into()));
        assert_ne!(before.attempt(1), after.attempt(1), "earlier receipts are late");
        run.push(&before, &after, at(2));
        assert_eq!(
            (run.attempt, run.degree(&after), run.threshold(&after)),
            (2, Degree::Partial, None),
            "{field}"
        );
        assert!(!run.has_news(&Decisions::default()));
    }
    let (mut run, after) = (begun.clone(), of("/automation/decision/receipt", json!("/other")));
    assert_eq!(before.attempt(1), after.attempt(1));
    run.push(&before, &after, at(2));
    assert_eq!((run.attempt, run.threshold(&after)), (1, begun.threshold(&before)));
}

#[test]
fn a_step_waits_for_proven_coverage_also_where_the_threshold_is_fixed() {
    let steps = json!([{"set_degree": "partial"}, {"pause": {"min_coverage": 0.5}}, {"set_degree": "full"}]);
    let program = people(&steps, &json!({"max_disagreement": 0.02, "threshold": 0.5}));
    let (mut run, _) = Run::begin(&program, at(0));
    let mut decisions = Decisions::default();
    decide(&mut decisions, 10, 0, false);
    step(&mut run, &program, &decisions, 1);
    assert_eq!((run.threshold(&program), run.degree(&program)), (Some(5_000), Degree::Partial));
    let waits = "the step waits until the model may answer 50 % of the tasks alone: 0.0 % so far";
    assert_eq!(run.reason.sentence(), waits);
    decide(&mut decisions, 1_000, 0, false);
    step(&mut run, &program, &decisions, 2);
    assert_eq!(run.degree(&program), Degree::Full);
}

#[test]
fn a_pushed_degree_applies_where_no_steps_decide() {
    let at_degree = |degree: &str| {
        program(&json!({
            "automation": {"degree": degree, "answer": {"label": "/label"}},
        }))
    };
    let (shadow, assist) = (at_degree("shadow"), at_degree("assist"));
    let (mut run, _) = Run::begin(&shadow, at(0));
    assert_eq!((run.degree(&shadow), run.phase), (Degree::Shadow, Phase::Steady));
    let events = run.push(&shadow, &assist, at(1));
    assert_eq!(messages(&events), ["the degree of automation is assist"]);
    assert_eq!(run.degree(&assist), Degree::Assist);
}

#[test]
fn each_step_and_each_attempt_waits_for_decisions_of_its_own() {
    let program = people(
        &json!([
            {"set_degree": "shadow"}, {"pause": {"min_decisions": 500}},
            {"set_degree": "assist"}, {"pause": {"min_decisions": 100, "min_agreement": 0.9}},
            {"set_degree": "partial"}, {"pause": {}},
        ]),
        &serde_json::from_str(PARTIAL).unwrap(),
    );
    let (mut run, _) = Run::begin(&program, at(0));
    let mut decisions = Decisions::default();
    decide(&mut decisions, 600, 0, false);
    step(&mut run, &program, &decisions, 1);
    assert_eq!(run.degree(&program), Degree::Assist);
    decide(&mut decisions, 99, 0, false);
    step(&mut run, &program, &decisions, 2);
    assert_eq!(run.reason.sentence(), "the step waits for decisions of people: 99 of 100");
    // Of 700 decisions few disagree, of those in this step many.
    decide(&mut decisions, 20, 20, false);
    step(&mut run, &program, &decisions, 3);
    assert_eq!(run.degree(&program), Degree::Assist, "{}", run.reason.sentence());
    decide(&mut decisions, 1_000, 0, false);
    step(&mut run, &program, &decisions, 4);
    assert_eq!(run.degree(&program), Degree::Partial);
    run.command(&program, Command::Abort, at(5)).unwrap();
    run.command(&program, Command::Retry, at(6)).unwrap();
    step(&mut run, &program, &Decisions::default(), 7);
    assert_eq!(run.degree(&program), Degree::Shadow);
    assert_eq!(run.reason.sentence(), "the step waits for decisions of people: 0 of 500");
}

/// A ladder of these degrees, each with a pause behind it that ends by promotion.
fn degrees(degrees: &[&str]) -> Program {
    let steps = degrees.iter().flat_map(|degree| [json!({"set_degree": degree}), json!({"pause": {}})]);
    people(&steps.collect(), &serde_json::from_str(PARTIAL).unwrap())
}

/// The same without a pause behind the last degree.
fn degrees_to_the_end(of: &[&str]) -> Program {
    let mut program = degrees(of);
    program.steps.pop();
    program
}

#[test]
fn a_ladder_that_has_ended_takes_further_steps() {
    let before = degrees_to_the_end(&["shadow", "assist"]);
    let (mut ended, _) = Run::begin(&before, at(0));
    ended.command(&before, Command::Promote { full: false }, at(1)).unwrap();
    assert_eq!((ended.degree(&before), ended.phase, ended.position), (Degree::Assist, Phase::Succeeded, 3));
    let longer = degrees(&["shadow", "assist", "partial"]);
    let mut run = ended.clone();
    let events = run.push(&before, &longer, at(2));
    assert_eq!(messages(&events)[0], "the steps have changed; continuing at degree assist from step 4 of 6");
    assert_eq!((run.degree(&longer), run.phase, run.position), (Degree::Assist, Phase::Paused, 3));
    run.command(&longer, Command::Promote { full: false }, at(3)).unwrap();
    assert_eq!(run.degree(&longer), Degree::Partial);
    // Without further ones it has ended.
    let shorter = degrees_to_the_end(&["assist"]);
    let mut run = ended;
    assert_eq!(run.push(&before, &shorter, at(2)), []);
    assert_eq!((run.phase, run.position), (Phase::Succeeded, 1));
}

#[test]
fn a_ladder_that_has_ended_is_not_climbed_again_by_other_steps() {
    let before = degrees(&["shadow", "assist"]);
    let (mut ended, _) = Run::begin(&before, at(0));
    (0..2).for_each(|_| drop(ended.command(&before, Command::Promote { full: false }, at(1)).unwrap()));
    assert_eq!((ended.degree(&before), ended.phase), (Degree::Assist, Phase::Succeeded));
    // A person has given the tasks back.
    let mut run = ended.clone();
    run.command(&before, Command::Degree(Degree::Human), at(2)).unwrap();
    let partial = degrees(&["partial"]);
    let events = run.push(&before, &partial, at(3));
    assert_eq!((run.degree(&partial), run.phase), (Degree::Human, Phase::Paused));
    assert_eq!(messages(&events)[1], "no step of the new ones waits at degree human; resume goes on");
    // No degree lies ahead, although the last one is followed by a pause.
    let mut edited = before.clone();
    edited.steps[1] = Step::Pause(Pause::Until(Until { duration: 1_000, ..Until::default() }));
    assert_eq!(ended.push(&before, &edited, at(2)), []);
    assert_eq!((ended.degree(&edited), ended.phase, ended.position), (Degree::Assist, Phase::Succeeded, 4));
}

#[test]
fn new_steps_of_which_none_waits_at_the_present_degree_do_not_raise_it() {
    let before = degrees(&["shadow", "assist"]);
    let (mut run, _) = Run::begin(&before, at(0));
    run.command(&before, Command::Promote { full: false }, at(1)).unwrap();
    let steps =
        json!([{"set_degree": "shadow"}, {"pause": {}}, {"set_degree": "assist"}, {"set_degree": "full"}]);
    let after = people(&steps, &serde_json::from_str(PARTIAL).unwrap());
    let events = run.push(&before, &after, at(2));
    assert_eq!(
        messages(&events),
        [
            "the steps have changed; paused at degree assist",
            "no step of the new ones waits at degree assist; resume goes on",
        ]
    );
    assert_eq!((run.degree(&after), run.phase), (Degree::Assist, Phase::Paused));
    // Steps that wait there lift it; a person's pause stays.
    let mut fits = run.clone();
    fits.push(&after, &before, at(3));
    assert_eq!((fits.position, fits.reason.sentence().as_ref()), (3, "the step waits for a promotion"));
    run.command(&after, Command::Resume, at(3)).unwrap();
    assert_eq!((run.degree(&after), run.phase), (Degree::Full, Phase::Succeeded));
}

#[test]
fn steps_that_change_under_a_pin_are_gone_on_with_at_the_degree_behind_it() {
    let before = degrees(&["shadow", "assist", "partial"]);
    let after = degrees(&["shadow", "assist"]);
    let pinned = |program: &Program| Program { pin: Some("blue".into()), ..program.clone() };
    let (mut run, _) = Run::begin(&before, at(0));
    run.command(&before, Command::Promote { full: false }, at(1)).unwrap();
    run.push(&before, &pinned(&before), at(2));
    let events = run.push(&pinned(&before), &pinned(&after), at(3));
    assert_eq!(messages(&events)[0], "the steps have changed; continuing at degree assist from step 4 of 4");
    run.push(&pinned(&after), &after, at(4));
    assert_eq!((run.degree(&after), run.position), (Degree::Assist, 3));
}

#[test]
fn a_ladder_is_not_promoted_past_its_degrees() {
    let program = degrees(&["shadow", "assist"]);
    let (mut run, _) = Run::begin(&program, at(0));
    let refused = run.command(&program, Command::Promote { full: true }, at(1)).unwrap_err();
    assert_eq!(
        refused.0,
        "a rollout with `automation` is not promoted in full; degree sets how much the model does"
    );
    assert_eq!((run.degree(&program), run.position), (Degree::Shadow, 1));
}
