//! `--watch`: looks once a second, at each endpoint by itself. On a terminal the picture of a status is drawn over.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::client::{Client, Failure};
use super::lines::{New, lines};
use super::look::{Eyes, INTERVAL, Last, Subject};
use super::picture::pictures;
use super::screen::Screen;
use super::show;
use super::terminal::{self, Reader};

/// Watches all of them until it is interrupted. The exit status is that of the last looks.
///
/// # Errors
/// The first look at the only one failed, or none of them has answered at the end.
pub(super) fn run(
    clients: Vec<Client>,
    subject: &Subject,
    json: bool,
    reader: Reader,
) -> Result<u8, Failure> {
    let mut all = Last::of_each(&clients);
    let mut eyes: Vec<Eyes> =
        clients.into_iter().map(|client| Eyes::new(client, subject.rollout())).collect();
    let (sender, looks) = mpsc::channel();
    let mut pause = Duration::ZERO;
    if let [only] = eyes.as_mut_slice() {
        let _ = sender.send(Some((0, Ok(only.look()?))));
        pause = INTERVAL;
    }
    let interrupted = sender.clone();
    // Without a handler Ctrl-C still ends it, if less gracefully.
    let _ = ctrlc::set_handler(move || drop(interrupted.send(None)));
    for (at, mut eyes) in eyes.into_iter().enumerate() {
        let sender = sender.clone();
        // Beside the drawing, so that an Envoy that hangs holds up neither a new size nor Ctrl-C.
        thread::spawn(move || {
            thread::sleep(pause);
            while sender.send(Some((at, eyes.look()))).is_ok() {
                thread::sleep(INTERVAL);
            }
        });
    }
    let (mut out, mut problems) = (io::stdout(), io::stderr());
    if reader.redraws && !json && !matches!(subject, Subject::Events(_)) {
        pictures(&mut all, subject, &looks, Screen::new(out, reader.tones), terminal::size);
    } else {
        lines(&mut all, &looks, &mut out, &mut problems, json, || New::of(subject, json, reader));
    }
    status(all, subject)
}

/// The exit status that follows from the last look at each. Events are news, whatever they are about.
pub(super) fn status(all: Vec<Last>, subject: &Subject) -> Result<u8, Failure> {
    let failures = all.iter().filter(|last| last.seen_at.is_none() || last.failure.is_some()).count();
    let is_of_events = matches!(subject, Subject::Events(_));
    let bad = !is_of_events && all.iter().flat_map(|last| &last.seen.rollouts).any(show::is_bad);
    if failures < all.len() {
        return Ok((failures > 0 || bad).into());
    }
    let worst = all.into_iter().filter_map(|last| last.failure).min_by_key(Failure::exit_status);
    Err(worst.unwrap_or_else(|| Failure::Unreachable("no endpoint has answered yet".into())))
}
