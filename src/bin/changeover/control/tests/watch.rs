//! `--watch`, on what a real Envoy's API answered (`rollback.json`: 30 % of a candidate's requests began to fail).

use std::sync::mpsc;

use changeover::control::view::{Evidence, Journal, Rollout, Watch};
use changeover::rollout::phase::Phase;

use super::super::client::{Client, Failure};
use super::super::lines::{New, News, lines};
use super::super::look::{Eyes, Last, Look, Seen, Subject};
use super::super::picture::{picture, pictures};
use super::super::screen::Screen;
use super::super::terminal::Reader;
use super::super::text::{Line, write};
use super::super::watch::{run, status};
use super::answer;
use super::many::NOWHERE;
use super::server::listen;

const SIZE: (usize, usize) = (80, 30);
const NOW: &str = "2026-11-25 01:18:50Z";

fn rollback() -> Seen {
    #[derive(serde::Deserialize)]
    struct Recorded {
        rollout: Rollout,
        events: Vec<changeover::control::view::Event>,
    }
    let recorded: Recorded = serde_json::from_str(include_str!("rollback.json")).expect("the API's answers");
    Seen { rollouts: vec![recorded.rollout], events: recorded.events }
}

fn gone() -> Failure {
    Failure::Unreachable("http://127.0.0.1:9911: Connection refused\nIs Envoy running there?".into())
}

/// Of the only endpoint.
fn last(seen: Seen, failure: Option<Failure>) -> Last {
    let mut last = Last::default();
    last.note(Ok(seen));
    Last { failure, ..last }
}

fn the_one() -> Subject {
    Subject::Rollout("recommender".into())
}

#[test]
fn the_picture_in_the_readme_is_what_is_drawn() {
    let drawn = write(&picture(&[last(rollback(), None)], &the_one(), NOW, SIZE), false);
    let readme = include_str!("../../../../../README.md");
    let block = format!("```\n$ changeover status recommender --watch\n{drawn}```\n");
    assert!(readme.contains(&block), "expected in README.md:\n{block}");
}

#[test]
fn pictures_fit_in_every_terminal() {
    let mut all = rollback();
    all.rollouts.extend(all.rollouts.clone());
    for (width, height) in [(120, 40), (80, 24), (60, 12), (40, 10), (20, 5), (9, 3), (1, 1)] {
        for (subject, seen) in [(the_one(), rollback()), (Subject::All, all.clone())] {
            for lost in [None, Some(gone())] {
                let lines = picture(&[last(seen.clone(), lost)], &subject, NOW, (width, height));
                assert!(lines.iter().all(|line| line.width() <= width), "{width}: {lines:?}");
                assert!(lines.len() < height.max(4), "{height}: {}", lines.len());
            }
        }
    }
}

#[test]
fn a_table_leaves_out_what_does_not_fit() {
    let mut all = rollback();
    all.rollouts[0].reason = "aborted by command after the team had looked at it for a day".into();
    let all = [last(all, None)];
    let text = |width| write(&picture(&all, &Subject::All, NOW, (width, 30)), false);
    let wide = "\
ROLLOUT      PHASE   STEP    WEIGHTS   OBSERVED                 EVIDENCE      RELEASE       REASON
recommender  failed  4 of 6  blue 100  blue 75.38, green 24.62  2.85 of 2.00  2026-11-24.1  aborted by command after the team
                                                                                            had looked at it for a day
";
    assert!(text(128).starts_with(wide), "{}", text(128));
    let narrow = "\
ROLLOUT      PHASE   STEP    WEIGHTS   EVIDENCE      RELEASE
recommender  failed  4 of 6  blue 100  2.85 of 2.00  2026-11-24.1
    aborted by command after the team had looked at it for a day
";
    assert!(text(80).starts_with(narrow), "{}", text(80));
}

#[test]
fn lines_that_do_not_fit_are_counted() {
    let text = |height| write(&picture(&[last(rollback(), None)], &the_one(), NOW, (80, height)), false);
    assert!(text(30).contains("LAST EVENTS") && text(30).contains("rolling out gr…"), "{}", text(30));
    assert!(text(24).contains("LAST EVENTS") && !text(24).contains("rolling out"), "{}", text(24));
    assert!(!text(21).contains("LAST EVENTS") && text(21).contains("\nall "), "{}", text(21));
    assert!(text(12).contains("\n… 10 more lines: enlarge the window\n\n2026"), "{}", text(12));
}

/// These looks, after a first one.
fn looks(first: Seen, looks: Vec<Result<Seen, Failure>>) -> mpsc::Receiver<Look> {
    let (sender, receiver) = mpsc::channel();
    let looks = [Ok(first)].into_iter().chain(looks).map(|look| Some((0, look)));
    looks.chain([None]).for_each(|look| sender.send(look).expect("a receiver"));
    receiver
}

/// What the terminal shows at the end, and the exit status.
fn watched(then: Vec<Result<Seen, Failure>>) -> (String, Result<u8, Failure>) {
    let mut all = vec![Last::default()];
    let mut out = Vec::new();
    let screen = Screen::new(&mut out, true);
    pictures(&mut all, &the_one(), &looks(rollback(), then), screen, || SIZE);
    let mut terminal = vt100::Parser::new(30, 80, 0);
    terminal.process(&out);
    assert!(!terminal.screen().hide_cursor(), "the cursor is back");
    (terminal.screen().contents(), status(all, &the_one()))
}

#[test]
fn the_only_endpoint_is_watched_if_it_answers_the_first_look() {
    let client = Client::new(NOWHERE, None).expect("a URL");
    let result = run(vec![client], &Subject::All, false, Reader::default());
    assert!(matches!(result, Err(Failure::Unreachable(_))), "{result:?}");
}

#[test]
fn an_endpoint_that_goes_away_is_told_in_place() {
    let (screen, result) = watched(vec![Err(gone()), Err(gone())]);
    assert!(screen.starts_with("rollout   recommender\n"), "what was seen last is still there: {screen}");
    let line = "✗ no answer for 0 s, retrying: http://127.0.0.1:9911: Connection refused";
    assert!(screen.contains(line) && screen.matches('✗').count() == 3, "{screen}");
    assert_eq!(result, Err(gone()));

    let mut again = rollback();
    again.rollouts[0].phase = Phase::Progressing;
    let (screen, result) = watched(vec![Err(gone()), Ok(again)]);
    assert!(screen.contains("\nphase     progressing\n") && !screen.contains("trying"), "{screen}");
    assert_eq!(result, Ok(0));
}

/// Lines for a program, its messages on standard error, and the exit status.
fn listed(
    json: bool,
    first: Seen,
    then: Vec<Result<Seen, Failure>>,
) -> (Vec<String>, String, Result<u8, Failure>) {
    let mut all = vec![Last::default()];
    let (mut out, mut problems) = (Vec::new(), Vec::new());
    let new = || New::of(&the_one(), json, Reader::default());
    lines(&mut all, &looks(first, then), &mut out, &mut problems, json, new);
    let result = status(all, &the_one());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(out).lines().map(str::to_owned).collect(), text(problems), result)
}

#[test]
fn each_change_is_a_line() {
    let seen = rollback();
    let mut warmer = seen.clone();
    warmer.rollouts[0].step.waited_ms += 1_000;
    warmer.rollouts[0].evidence.push(Evidence {
        metric: "x".into(),
        log10_e: None,
        threshold: None,
        within_ms: None,
        tests: Vec::new(),
    });
    let mut retried = seen.clone();
    retried.rollouts[0].attempt = 2;
    retried.rollouts[0].phase = Phase::Progressing;
    retried.rollouts[0].reason.clear();
    let none = Seen::default();
    let then = || Vec::from([&warmer, &retried, &retried, &none].map(|seen| Ok(seen.clone())));

    let (lines, problems, result) = listed(false, seen.clone(), then());
    let lines: Vec<&str> = lines.iter().map(|line| &line["2026-11-25 01:18:50Z  ".len()..]).collect();
    assert!(lines[0].starts_with("recommender  failed  step 4 of 6  blue 100  at 25 % green is worse"));
    assert_eq!(lines[1..], ["recommender  progressing  step 4 of 6  blue 100", "recommender  is gone"]);
    assert_eq!((problems.as_str(), result), ("", Ok(0)));

    let (lines, _, _) = listed(true, seen, then());
    let read: Vec<Rollout> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(read.iter().map(|rollout| rollout.attempt).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_program_is_told_once_that_the_endpoint_is_gone() {
    let (lines, problems, result) = listed(false, rollback(), vec![Err(gone()), Err(gone())]);
    assert_eq!(lines.len(), 1);
    assert_eq!(problems, format!("{}\nstill trying\n", gone()));
    assert_eq!(result, Err(gone()));
    let back = vec![Err(gone()), Ok(rollback())];
    let (lines, problems, result) = listed(false, rollback(), back);
    assert_eq!((lines.len(), problems.lines().last()), (1, Some("it answers again")));
    assert_eq!(result, Ok(1), "its rollout has failed");
}

#[test]
fn events_are_told_once_and_in_their_order() {
    let all = rollback();
    let mut earlier = all.clone();
    earlier.events.drain(..2);
    let mut news = News::new(false, Reader::default());
    let told = |text: String| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with(' '))
            .map(|line| line[30..38].trim().to_owned())
            .collect()
    };
    assert_eq!(told(news.lines(&earlier)), ["start", "step"]);
    assert_eq!(news.lines(&earlier), "");
    assert_eq!(told(news.lines(&all)), ["step", "rollback"]);
    // Another Envoy, without the first one's events.
    let mut other = earlier.clone();
    other.events.iter_mut().for_each(|event| event.time = "2026-11-26T00:00:00.000Z".into());
    assert_eq!(told(news.lines(&other)), ["start", "step"]);

    let json = News::new(true, Reader::default()).lines(&all);
    let read: Vec<changeover::control::view::Event> =
        json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(read.iter().rev().cloned().collect::<Vec<_>>(), all.events);
}

#[test]
fn tones_change_nothing_that_is_said() {
    let lines = picture(&[last(rollback(), None)], &the_one(), NOW, SIZE);
    let plain = |line: &Line| anstream::adapter::strip_str(&line.write(true)).to_string();
    assert!(lines.iter().any(|line| line.write(true) != line.write(false)));
    for line in &lines {
        assert_eq!(plain(line).trim_end(), line.write(false));
    }
}

#[test]
fn an_event_that_is_told_after_the_change_is_not_missed() {
    let Seen { rollouts, events } = rollback();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let endpoint = listen(move |request| {
        if !request.path.ends_with(b"/events") {
            return answer(200, &serde_json::to_string(&rollouts[0]).expect("JSON"));
        }
        // At first the journal lacks the newest one.
        let asked = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        assert!(asked < 2, "nothing has changed");
        let events = if asked == 0 { events[1..].to_vec() } else { events.clone() };
        answer(200, &serde_json::to_string(&Journal { events }).expect("JSON"))
    });
    let client = Client::new(&endpoint, None).expect("an endpoint");
    let mut eyes = Eyes::new(client, Some("recommender".into()));
    let counts = [(); 4].map(|()| eyes.look().expect("an answer").events.len());
    let all = rollback().events.len();
    assert_eq!(counts, [all - 1, all, all, all]);
}

#[test]
fn the_watch_after_a_flip_is_drawn_and_moves_no_line() {
    let mut seen = rollback();
    seen.rollouts[0].watch = Some(Watch { waited_ms: 150_000, duration_ms: 600_000 });
    let text = write(&picture(&[last(seen.clone(), None)], &the_one(), NOW, SIZE), false);
    assert!(text.contains("\nwatch     2m30s of 10m  █████░░░░░░░░░░░░░░░\n"), "{text}");
    let mut later = seen.clone();
    later.rollouts[0].watch = Some(Watch { waited_ms: 151_000, duration_ms: 600_000 });
    let (told, ..) = listed(true, seen, vec![Ok(later)]);
    assert_eq!(told.len(), 1, "{told:?}");
}
