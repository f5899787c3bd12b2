//! `--watch` with several endpoints: all are asked at the same time, and each is shown by itself.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use changeover::control::view::Rollout;

use super::client::{Client, Failure};
use super::lines::{Changes, News};
use super::screen::Screen;
use super::show;
use super::terminal::{self, Reader};
use super::text::{self, Line, Tone};
use super::watch::{Eyes, INTERVAL, SOON, Seen, Subject, fitted, now};

/// What came of one look, and at which endpoint; `None`: the watching is to end.
type Look = Option<(usize, Result<Seen, Failure>)>;

/// Watches all of them until it is interrupted. The exit status is that of the last looks.
///
/// # Errors
/// None of them has answered by then.
pub(super) fn run(
    clients: Vec<Client>,
    subject: &Subject,
    json: bool,
    reader: Reader,
) -> Result<u8, Failure> {
    let endpoints = names(&clients);
    let (sender, looks) = mpsc::channel();
    let interrupted = sender.clone();
    // Without a handler Ctrl-C still ends it, if less gracefully.
    let _ = ctrlc::set_handler(move || drop(interrupted.send(None)));
    for (at, client) in clients.into_iter().enumerate() {
        let (sender, mut eyes) = (sender.clone(), Eyes::new(client, subject.rollout()));
        thread::spawn(move || {
            while sender.send(Some((at, eyes.look()))).is_ok() {
                thread::sleep(INTERVAL);
            }
        });
    }
    let (mut out, mut problems) = (io::stdout(), io::stderr());
    let watched = if reader.redraws && !json && !matches!(subject, Subject::Events(_)) {
        pictures(&endpoints, &looks, Screen::new(out, reader.tones), terminal::size)
    } else {
        let new = || match subject {
            Subject::Events(_) => New::Events(Box::new(News::new(json, reader))),
            _ => New::Changes(Changes::new(json)),
        };
        lines(&endpoints, &looks, &mut out, &mut problems, json, new)
    };
    status(watched, subject)
}

/// What the endpoints are called in lines and in the picture.
pub(super) fn names(clients: &[Client]) -> Vec<String> {
    clients.iter().map(|client| text::harmless(client.endpoint())).collect()
}

/// The exit status that follows from the last look at each. Events are news, whatever they are about.
pub(super) fn status(watched: Watched, subject: &Subject) -> Result<u8, Failure> {
    let failures = watched.iter().filter(|last| !last.is_heard || last.failure.is_some()).count();
    let is_of_events = matches!(subject, Subject::Events(_));
    let bad = !is_of_events && watched.iter().flat_map(|last| &last.rollouts).any(show::is_bad);
    if failures < watched.len() {
        return Ok((failures > 0 || bad).into());
    }
    let worst = watched.into_iter().filter_map(|last| last.failure).min_by_key(Failure::exit_status);
    Err(worst.unwrap_or_else(|| Failure::Unreachable("no endpoint has answered yet".into())))
}

/// What is known of one endpoint.
#[derive(Default)]
pub(super) struct Last {
    rollouts: Vec<Rollout>,
    /// It has answered at least once.
    is_heard: bool,
    /// Why there is nothing newer.
    failure: Option<Failure>,
}

impl Last {
    fn heard(seen: Seen) -> Self {
        Self { rollouts: seen.rollouts, is_heard: true, failure: None }
    }
}

/// What is known of each endpoint.
type Watched = Vec<Last>;

/// Says what is new at an endpoint.
pub(super) enum New {
    Changes(Changes),
    Events(Box<News>),
}

/// Writes what is new at each, behind the endpoint's name, until the watching or the reader ends.
pub(super) fn lines(
    endpoints: &[String],
    looks: &Receiver<Look>,
    out: &mut impl Write,
    problems: &mut impl Write,
    json: bool,
    new: impl Fn() -> New,
) -> Watched {
    let mut known: Vec<(Last, New)> = endpoints.iter().map(|_| (Last::default(), new())).collect();
    while let Ok(Some((at, look))) = looks.recv() {
        let (Some(endpoint), Some((last, new))) = (endpoints.get(at), known.get_mut(at)) else { continue };
        match look {
            Ok(seen) => {
                let text = match new {
                    New::Changes(changes) => changes.lines(&seen),
                    New::Events(news) => news.lines(&seen),
                };
                if last.failure.is_some() && last.is_heard {
                    let _ = writeln!(problems, "{endpoint}: answers again");
                }
                *last = Last::heard(seen);
                if out.write_all(under(endpoint, &text, json).as_bytes()).and_then(|()| out.flush()).is_err()
                {
                    break;
                }
            }
            Err(failure) => {
                if last.failure.as_ref() != Some(&failure) {
                    let _ = writeln!(problems, "{endpoint}: {}; still trying", what(endpoint, &failure));
                }
                last.failure = Some(failure);
            }
        }
    }
    known.into_iter().map(|(last, _)| last).collect()
}

/// Lines with the endpoint that they are about.
pub(super) fn under(endpoint: &str, text: &str, json: bool) -> String {
    let one = |line: &str| match json {
        true => format!("{{\"endpoint\":{},\"answer\":{line}}}\n", serde_json::json!(endpoint)),
        false => format!("{endpoint}  {line}\n"),
    };
    text.lines().map(one).collect()
}

/// The first line of why an endpoint has not answered, without its name.
pub(super) fn what(endpoint: &str, failure: &Failure) -> String {
    let message = failure.to_string();
    let what = message.lines().next().unwrap_or_default();
    what.strip_prefix(endpoint).and_then(|what| what.strip_prefix(": ")).unwrap_or(what).to_owned()
}

/// Draws one picture of all over the other.
pub(super) fn pictures(
    endpoints: &[String],
    looks: &Receiver<Look>,
    mut screen: Screen<impl Write>,
    size: impl Fn() -> (usize, usize),
) -> Watched {
    let mut all: Watched = endpoints.iter().map(|_| Last::default()).collect();
    let mut drawn = None;
    let mut ends = false;
    loop {
        match looks.recv_timeout(if drawn.is_some() { SOON } else { Duration::ZERO }) {
            Ok(Some((at, look))) => {
                match (all.get_mut(at), look) {
                    (Some(last), Ok(seen)) => *last = Last::heard(seen),
                    (Some(last), Err(failure)) => last.failure = Some(failure),
                    (None, _) => {}
                }
                drawn = None;
                continue;
            }
            Ok(None) | Err(RecvTimeoutError::Disconnected) => ends = true,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let by_now = size();
        if drawn != Some(by_now) {
            if screen.draw(&picture(endpoints, &all, &now(), by_now), by_now).is_err() {
                break;
            }
            drawn = Some(by_now);
        }
        if ends {
            break;
        }
    }
    // A terminal that is gone needs nothing put in order.
    let _ = screen.leave();
    all
}

/// The picture of what was seen, in a terminal of this size.
fn picture(endpoints: &[String], all: &[Last], now: &str, (width, height): (usize, usize)) -> Vec<Line> {
    let each = || endpoints.iter().zip(all);
    let found: Vec<(&str, &Rollout)> = each()
        .flat_map(|(endpoint, last)| last.rollouts.iter().map(move |found| (endpoint.as_str(), found)))
        .collect();
    let silent = each().filter_map(|(endpoint, last)| {
        let Some(failure) = &last.failure else {
            let is_awaited = !last.is_heard;
            return is_awaited.then(|| Line::new(Tone::Faint, &format!("no answer yet: {endpoint}")));
        };
        let what = what(endpoint, failure);
        Some(Line::new(Tone::Bad, "✗ no answer, retrying: ").and(Tone::Plain, &format!("{endpoint}: {what}")))
    });
    let mut foot: Vec<Line> = silent.collect();
    foot.push(Line::new(Tone::Faint, &format!("{now}, refreshed once a second, Ctrl-C to quit")));
    fitted(show::side_by_side(&found, Some(width)), foot, (width, height))
}
