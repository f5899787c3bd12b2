//! `changeover record`: writes the ticks that a rollout's judge closes, as `changeover replay` reads them.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use changeover::rollout::recording::{self, InRun};

use super::about::About;
use super::client::{Client, Failure};
use super::look::{INTERVAL, SOON};
use super::unreadable;

/// Shorter than ticks are kept: after a silence of this length some may be missing.
const KEPT: Duration = Duration::from_secs(60);
const PAUSE: Duration = if cfg!(test) { Duration::from_millis(10) } else { INTERVAL };

/// A recording on its way.
struct Recording<'a> {
    about: About<'a>,
    /// The tick that was written last.
    after: u64,
    run: Option<InRun>,
    written: u64,
    /// When the API has last answered.
    heard: Instant,
    is_silent: bool,
}

/// Records for so long, until Ctrl-C, or until `out` is closed. Says on `problems` what a recording cannot show.
///
/// # Errors
/// The first question was not answered.
pub(super) fn run(
    client: &Client,
    rollout: &str,
    duration: Duration,
    out: &mut impl Write,
    problems: &mut impl Write,
) -> Result<(), Failure> {
    let is_over = Arc::new(AtomicBool::new(false));
    let interrupted = Arc::clone(&is_over);
    // Without a handler Ctrl-C still ends it, if less gracefully.
    let _ = ctrlc::set_handler(move || interrupted.store(true, Ordering::Relaxed));
    let begun = Instant::now();
    let is_over = || is_over.load(Ordering::Relaxed) || begun.elapsed() >= duration;
    follow(client, rollout, &is_over, out, problems)
}

fn follow(
    client: &Client,
    rollout: &str,
    is_over: &dyn Fn() -> bool,
    out: &mut impl Write,
    problems: &mut impl Write,
) -> Result<(), Failure> {
    let heard = Instant::now();
    let mut recording = Recording {
        about: About { client, rollout },
        after: 0,
        run: None,
        written: 0,
        heard,
        is_silent: false,
    };
    recording.first(out, problems)?;
    while !is_over() {
        std::thread::sleep(PAUSE.min(SOON));
        if recording.heard.elapsed() >= PAUSE && !recording.look(out, problems) {
            break;
        }
    }
    let _ = writeln!(problems, "{rollout}: {} ticks were recorded", recording.written);
    Ok(())
}

impl Recording<'_> {
    /// What is asked for each time.
    fn ticks(&self) -> String {
        format!("/ticks?after={}", self.after)
    }

    fn first(&mut self, out: &mut impl Write, problems: &mut impl Write) -> Result<(), Failure> {
        let answer = self.about.get(&self.ticks())?;
        self.write(&answer, out, problems)?;
        Ok(())
    }

    /// Asks once more. Returns whether to go on.
    fn look(&mut self, out: &mut impl Write, problems: &mut impl Write) -> bool {
        match self.about.ask(&self.ticks()) {
            Ok(answer) => {
                let silence = self.heard.elapsed();
                if std::mem::take(&mut self.is_silent) {
                    let seconds = silence.as_secs();
                    let missing = if silence >= KEPT { "; ticks are missing" } else { "" };
                    let _ = writeln!(
                        problems,
                        "{}: it answers again after {seconds} s{missing}",
                        self.about.rollout
                    );
                }
                self.heard = Instant::now();
                match self.write(&answer, out, problems) {
                    Ok(goes_on) => goes_on,
                    Err(failure) => {
                        let _ = writeln!(problems, "{}: {failure}", self.about.rollout);
                        false
                    }
                }
            }
            Err(failure) => {
                if !std::mem::replace(&mut self.is_silent, true) {
                    let why = failure.to_string();
                    let why = why.lines().next().unwrap_or_default();
                    let _ = writeln!(
                        problems,
                        "{}: {why}; the recording goes on when it answers again",
                        self.about.rollout
                    );
                }
                std::thread::sleep(PAUSE);
                true
            }
        }
    }

    /// Writes lines as they came. Returns whether the output is still open.
    fn write(
        &mut self,
        answer: &str,
        out: &mut impl Write,
        problems: &mut impl Write,
    ) -> Result<bool, Failure> {
        for line in answer.lines() {
            let read = recording::read(line).map_err(unreadable)?;
            let is_another = |run: &InRun| read.run.as_ref().is_some_and(|new| new.id != run.id);
            if self.run.as_ref().is_some_and(is_another) {
                let _ = writeln!(
                    problems,
                    "{}: the judge has begun anew at tick {} (another release, or Envoy has started again), and so does a replay",
                    self.about.rollout, read.tick
                );
            }
            (self.after, self.run) = (read.tick, read.run);
            if writeln!(out, "{line}").is_err() {
                return Ok(false);
            }
            self.written = self.written.saturating_add(1);
        }
        Ok(out.flush().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use changeover::control::response::Response;

    use super::super::tests::server::listen;
    use super::*;

    fn tick(number: u64, run: &str) -> String {
        format!(
            r#"{{"tick":{number},"run":{{"id":"{run}","attempt":1,"step":1,"closed_in":2}},"weights":{{}},"versions":{{}}}}"#
        ) + "\n"
    }

    fn answer(status: u16, body: String) -> Response {
        Response { status, headers: Vec::new(), body }
    }

    /// What is recorded, and what is said about it, where the API answers with this one after the other.
    fn recorded(answers: Vec<Response>) -> (Result<(), Failure>, String, String) {
        let (next, count) = (AtomicUsize::new(0), answers.len());
        let asked = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&asked);
        let endpoint = listen(move |request| {
            told.fetch_add(1, Ordering::Relaxed);
            assert!(request.path.starts_with(b"/v1/rollouts"), "{request:?}");
            let nth = next.fetch_add(1, Ordering::Relaxed);
            answers.get(nth).cloned().unwrap_or_else(|| answer(200, String::new()))
        });
        let client = Client::new(&endpoint, None).expect("a client");
        let (mut out, mut problems) = (Vec::new(), Vec::new());
        // Ends when all answers were asked for.
        let done = run_until(&client, || asked.load(Ordering::Relaxed) > count, &mut out, &mut problems);
        (done, String::from_utf8(out).expect("text"), String::from_utf8(problems).expect("text"))
    }

    fn run_until(
        client: &Client,
        is_over: impl Fn() -> bool,
        out: &mut Vec<u8>,
        problems: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        follow(client, "r", &is_over, out, problems)
    }

    #[test]
    fn ticks_are_written_as_they_come() {
        let answers =
            [tick(1, "a") + &tick(2, "a"), String::new(), tick(3, "a")].map(|body| answer(200, body));
        let (done, out, problems) = recorded(answers.into());
        assert_eq!((done, out), (Ok(()), tick(1, "a") + &tick(2, "a") + &tick(3, "a")));
        assert_eq!(problems, "r: 3 ticks were recorded\n");
    }

    #[test]
    fn an_envoy_that_is_away_is_asked_again_and_what_is_missing_is_said_once() {
        let answers = [
            answer(200, tick(1, "a")),
            answer(503, String::new()),
            answer(503, String::new()),
            answer(200, tick(9, "b")),
        ];
        let (done, out, problems) = recorded(answers.into());
        assert_eq!((done, out), (Ok(()), tick(1, "a") + &tick(9, "b")));
        let lines: Vec<&str> = problems.lines().collect();
        assert!(lines[0].ends_with("; the recording goes on when it answers again"), "{problems}");
        assert_eq!(lines[1], "r: it answers again after 0 s");
        assert!(lines[2].starts_with("r: the judge has begun anew at tick 9"), "{problems}");
        assert_eq!(lines.len(), 4, "{problems}");
    }

    #[test]
    fn a_rollout_that_is_not_there_is_refused_at_once() {
        let problem =
            r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"nothing is judged"}"#;
        let (done, out, _) =
            recorded(vec![answer(409, problem.into()), answer(200, r#"{"rollouts":[],"next":null}"#.into())]);
        assert!(matches!(done, Err(Failure::NotYet(_) | Failure::Refused(_))), "{done:?}");
        assert_eq!(out, "");
    }
}
