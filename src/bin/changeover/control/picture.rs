//! The picture of `--watch` on a terminal.

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use changeover::control::time::rfc3339;
use changeover::control::view::Rollout;

use super::look::{Last, Look, SOON, Subject};
use super::screen::Screen;
use super::show;
use super::text::{Line, Tone};

/// More of them would add length and no information.
const MOST_EVENTS: usize = 8;

/// Draws one picture over the other, until the watching or the terminal ends.
pub(super) fn pictures(
    all: &mut [Last],
    subject: &Subject,
    looks: &Receiver<Look>,
    mut screen: Screen<impl Write>,
    size: impl Fn() -> (usize, usize),
) {
    let mut drawn = None;
    let mut ends = false;
    while !ends {
        // One picture shows every look that has arrived so far.
        match looks.recv_timeout(if drawn.is_some() { SOON } else { Duration::ZERO }) {
            Ok(Some((at, look))) => {
                if let Some(last) = all.get_mut(at) {
                    last.note(look);
                }
                drawn = None;
                continue;
            }
            Ok(None) | Err(RecvTimeoutError::Disconnected) => ends = true,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let by_now = size();
        if drawn != Some(by_now) {
            if screen.draw(&picture(all, subject, &now(), by_now), by_now).is_err() {
                break;
            }
            drawn = Some(by_now);
        }
    }
    // A terminal that is gone needs nothing put in order.
    let _ = screen.leave();
}

/// The picture of what was seen, in a terminal of this size.
pub(super) fn picture(all: &[Last], subject: &Subject, now: &str, size: (usize, usize)) -> Vec<Line> {
    let refreshed = Line::new(Tone::Faint, &format!("{now}, refreshed once a second, Ctrl-C to quit"));
    match all {
        [only] => alone(only, subject, refreshed, size),
        all => abreast(all, refreshed, size),
    }
}

fn alone(only: &Last, subject: &Subject, refreshed: Line, size: (usize, usize)) -> Vec<Line> {
    let (width, height) = size;
    let seen = &only.seen;
    let mut lines = match (subject, seen.rollouts.as_slice()) {
        (Subject::Rollout(_), [rollout]) => show::rollout(rollout, Some(width)),
        (_, rollouts) => show::rollouts(rollouts, Some(width)),
    };
    let lost = only.failure.as_ref().map(|failure| {
        let since = only.seen_at.as_ref().map(Instant::elapsed).unwrap_or_default().as_secs();
        let since = format!("✗ no answer for {since} s, retrying: ");
        Line::new(Tone::Bad, &since).and(Tone::Plain, &failure.first_line())
    });
    let foot = vec![lost.unwrap_or(refreshed)];
    let left = room(&foot, height).saturating_sub(lines.len()).saturating_sub(2);
    if left > 0 && !seen.events.is_empty() {
        lines.push(Line::default());
        lines.push(Line::new(Tone::Faint, "LAST EVENTS"));
        lines.extend(show::last_events(&seen.events, left.min(MOST_EVENTS)));
    }
    fitted(lines, foot, size)
}

fn abreast(all: &[Last], refreshed: Line, size: (usize, usize)) -> Vec<Line> {
    let named = || all.iter().map(|last| (last.name.as_deref().unwrap_or_default(), last));
    let found: Vec<(&str, &Rollout)> = named()
        .flat_map(|(name, last)| last.seen.rollouts.iter().map(move |rollout| (name, rollout)))
        .collect();
    let silent = named().filter_map(|(name, last)| match &last.failure {
        Some(failure) => {
            let what = format!("{name}: {}", failure.without(name));
            Some(Line::new(Tone::Bad, "✗ no answer, retrying: ").and(Tone::Plain, &what))
        }
        None if last.seen_at.is_none() => Some(Line::new(Tone::Faint, &format!("no answer yet: {name}"))),
        None => None,
    });
    let foot = silent.chain([refreshed]).collect();
    fitted(show::side_by_side(&found, Some(size.0)), foot, size)
}

/// The lines and the foot, as far as the terminal has room for them.
fn fitted(mut lines: Vec<Line>, foot: Vec<Line>, (width, height): (usize, usize)) -> Vec<Line> {
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
