//! `--watch`: looks once a second. On a terminal the picture of a status is drawn over.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use changeover::control::time::rfc3339;
use changeover::control::view::{Event, Journal, Rollout, Step, Watch};

use super::client::{Client, Failure};
use super::lines::{Changes, News, lines};
use super::screen::Screen;
use super::terminal::{self, Reader};
use super::text::{Line, Tone};
use super::{pages, read, show, with_known_names};

/// From one look to the next one.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// In which a change of the terminal's size is noticed.
pub(super) const SOON: Duration = Duration::from_millis(100);
/// More of them would add length and no information.
const MOST_EVENTS: usize = 8;

/// What was seen at one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) rollouts: Vec<Rollout>,
    /// Of the one rollout that is watched, newest first.
    pub(super) events: Vec<Event>,
}

/// What ends the waiting for the next look.
pub(super) enum Message {
    Looked(Result<Seen, Failure>),
    /// The watching is to end.
    End,
}

/// What is watched.
pub(super) enum Subject {
    All,
    Rollout(String),
    Events(String),
}

impl Subject {
    /// The name of the one rollout that is watched.
    pub(super) fn rollout(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Rollout(name) | Self::Events(name) => Some(name.clone()),
        }
    }
}

/// Watches until it is interrupted; returns the last state.
///
/// # Errors
/// The first look failed, or the last one has.
pub(super) fn run(
    client: Client,
    subject: Subject,
    json: bool,
    reader: Reader,
) -> Result<Vec<Rollout>, Failure> {
    let mut eyes = Eyes::new(client, subject.rollout());
    let first = eyes.look()?;
    let (sender, messages) = mpsc::channel();
    let interrupted = sender.clone();
    // Without a handler Ctrl-C still ends it, if less gracefully.
    let _ = ctrlc::set_handler(move || drop(interrupted.send(Message::End)));
    // Beside the drawing, so that an Envoy that hangs holds up neither a new size nor Ctrl-C.
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(INTERVAL);
            if sender.send(Message::Looked(eyes.look())).is_err() {
                break;
            }
        }
    });
    let (out, problems) = (&mut io::stdout(), &mut io::stderr());
    match subject {
        Subject::Events(_) => {
            let mut news = News::new(json, reader);
            lines(first, &messages, out, problems, |seen| news.lines(seen))
        }
        _ if json || !reader.redraws => {
            let mut changes = Changes::new(json);
            lines(first, &messages, out, problems, |seen| changes.lines(seen))
        }
        Subject::All => pictures(false, first, &messages, Screen::new(out, reader.tones), terminal::size),
        Subject::Rollout(_) => {
            pictures(true, first, &messages, Screen::new(out, reader.tones), terminal::size)
        }
    }
}

/// Looks at rollouts.
pub(super) struct Eyes {
    client: Client,
    /// `None`: all of them.
    rollout: Option<String>,
    last: Seen,
    /// At the last look.
    changed: bool,
}

impl Eyes {
    pub(super) fn new(client: Client, rollout: Option<String>) -> Self {
        Self { client, rollout, last: Seen::default(), changed: false }
    }

    pub(super) fn look(&mut self) -> Result<Seen, Failure> {
        let Some(name) = &self.rollout else {
            return Ok(Seen { rollouts: pages(&self.client)?.0, events: Vec::new() });
        };
        let answer = self.client.get(&format!("/v1/rollouts/{name}"));
        let answer = answer.map_err(|failure| with_known_names(&self.client, name, failure))?;
        let rollouts = vec![read(&answer)?];
        // Whatever happens raises the revision; a restarted Envoy begins anew.
        let changed = steady_parts(&rollouts) != steady_parts(&self.last.rollouts);
        // What has changed is in force before it is in the journal: the next look asks again.
        if changed || self.changed {
            let journal: Journal = read(&self.client.get(&format!("/v1/rollouts/{name}/events"))?)?;
            self.last.events = journal.events;
        }
        self.changed = changed;
        self.last.rollouts = rollouts;
        Ok(self.last.clone())
    }
}

/// Rollouts without what moves with every second.
pub(super) fn steady_parts(rollouts: &[Rollout]) -> Vec<Rollout> {
    let steady = |rollout: &Rollout| Rollout {
        observed_share: BTreeMap::new(),
        evidence: Vec::new(),
        watch: rollout.watch.map(|watch| Watch { waited_ms: 0, ..watch }),
        step: Step { waited_ms: 0, requests: 0, ..rollout.step },
        ..rollout.clone()
    };
    rollouts.iter().map(steady).collect()
}

/// Draws one picture over the other.
pub(super) fn pictures(
    one: bool,
    first: Seen,
    messages: &Receiver<Message>,
    mut screen: Screen<impl Write>,
    size: impl Fn() -> (usize, usize),
) -> Result<Vec<Rollout>, Failure> {
    let mut seen = first;
    let mut seen_at = Instant::now();
    let mut lost: Option<Failure> = None;
    let mut drawn = None;
    loop {
        let by_now = size();
        if drawn != Some(by_now) {
            let lost = lost.as_ref().map(|failure| (failure, seen_at.elapsed()));
            let picture = picture(one, &seen, lost, &now(), by_now);
            if screen.draw(&picture, by_now).is_err() {
                break;
            }
            drawn = Some(by_now);
        }
        match messages.recv_timeout(SOON) {
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) | Ok(Message::End) => break,
            Ok(Message::Looked(Ok(now))) => {
                seen = now;
                seen_at = Instant::now();
                lost = None;
            }
            Ok(Message::Looked(Err(failure))) => lost = Some(failure),
        }
        drawn = None;
    }
    // A terminal that is gone needs nothing put in order.
    let _ = screen.leave();
    lost.map_or(Ok(seen.rollouts), Err)
}

/// The picture of what was seen, in a terminal of this size.
pub(super) fn picture(
    one: bool,
    seen: &Seen,
    lost: Option<(&Failure, Duration)>,
    now: &str,
    size: (usize, usize),
) -> Vec<Line> {
    let (width, height) = size;
    let mut lines = match (one, seen.rollouts.as_slice()) {
        (true, [rollout]) => show::rollout(rollout, Some(width)),
        (_, rollouts) => show::rollouts(rollouts, Some(width)),
    };
    let foot = match lost {
        None => vec![Line::new(Tone::Faint, &format!("{now}, refreshed once a second, Ctrl-C to quit"))],
        Some((failure, since)) => {
            let text = failure.to_string();
            let what = text.lines().next().unwrap_or_default();
            let since = format!("✗ no answer for {} s, retrying: ", since.as_secs());
            vec![Line::new(Tone::Bad, &since).and(Tone::Plain, what)]
        }
    };
    let left = room(&foot, height).saturating_sub(lines.len()).saturating_sub(2);
    if left > 0 && !seen.events.is_empty() {
        lines.push(Line::default());
        lines.push(Line::new(Tone::Faint, "LAST EVENTS"));
        lines.extend(show::last_events(&seen.events, left.min(MOST_EVENTS)));
    }
    fitted(lines, foot, size)
}

/// The lines and the foot, as far as the terminal has room for them.
pub(super) fn fitted(mut lines: Vec<Line>, foot: Vec<Line>, (width, height): (usize, usize)) -> Vec<Line> {
    let room = room(&foot, height);
    if lines.len() > room {
        let shown = room.saturating_sub(1);
        let more = lines.len().saturating_sub(shown);
        lines.truncate(shown);
        lines.push(Line::new(Tone::Faint, &format!("… {more} more lines: enlarge the window")));
    }
    lines.push(Line::default());
    lines.extend(foot);
    lines.into_iter().map(|line| line.cut(width)).collect()
}

/// Lines above the foot: the cursor's line, and an empty one before the foot, take theirs.
fn room(foot: &[Line], height: usize) -> usize {
    height.saturating_sub(2).saturating_sub(foot.len())
}

/// The date and time to the second.
pub(super) fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let text = rfc3339(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let (date, time) = (text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default());
    format!("{date} {time}Z")
}
