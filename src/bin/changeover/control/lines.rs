//! `--watch` where there is nothing to draw over: lines, for a program, a file, or a log.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc::Receiver;

use changeover::control::view::{Event, Rollout};

use super::client::Failure;
use super::show;
use super::terminal::Reader;
use super::text::write;
use super::watch::{Message, Seen, now, steady_parts};

/// Writes what is new at each look, until the watching or the reader ends.
///
/// # Errors
/// The last look has failed.
pub(super) fn lines(
    first: Seen,
    messages: &Receiver<Message>,
    out: &mut impl Write,
    problems: &mut impl Write,
    mut new: impl FnMut(&Seen) -> String,
) -> Result<Vec<Rollout>, Failure> {
    let mut seen = first;
    let mut lost: Option<Failure> = None;
    loop {
        // A reader that has gone away wants no more.
        if out.write_all(new(&seen).as_bytes()).and_then(|()| out.flush()).is_err() {
            break;
        }
        match messages.recv() {
            Err(_) | Ok(Message::End) => break,
            Ok(Message::Looked(Ok(now))) => {
                seen = now;
                if lost.take().is_some() {
                    let _ = writeln!(problems, "it answers again");
                }
            }
            Ok(Message::Looked(Err(failure))) => {
                if lost.as_ref() != Some(&failure) {
                    let _ = writeln!(problems, "{failure}\nstill trying");
                }
                lost = Some(failure);
            }
        }
    }
    lost.map_or(Ok(seen.rollouts), Err)
}

/// A line for each rollout that is not as it was.
pub(super) struct Changes {
    json: bool,
    known: BTreeMap<String, Rollout>,
}

impl Changes {
    pub(super) fn new(json: bool) -> Self {
        Self { json, known: BTreeMap::new() }
    }

    pub(super) fn lines(&mut self, seen: &Seen) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        let mut known = BTreeMap::new();
        for (rollout, steady) in seen.rollouts.iter().zip(steady_parts(&seen.rollouts)) {
            let before = self.known.remove(&rollout.name);
            if before.as_ref() != Some(&steady) {
                line(if self.json {
                    serde_json::to_string(rollout).unwrap_or_default()
                } else {
                    format!("{}  {}", now(), show::in_a_line(rollout))
                });
            }
            known.insert(rollout.name.clone(), steady);
        }
        if !self.json {
            self.known.keys().for_each(|name| line(format!("{}  {name}  is gone", now())));
        }
        self.known = known;
        text
    }
}

/// The events that were not there before, the oldest one first.
pub(super) struct News {
    json: bool,
    reader: Reader,
    newest: Option<Event>,
}

impl News {
    pub(super) fn new(json: bool, reader: Reader) -> Self {
        Self { json, reader, newest: None }
    }

    pub(super) fn lines(&mut self, seen: &Seen) -> String {
        // Of an Envoy that was restarted all are new.
        let new = seen.events.iter().take_while(|event| Some(*event) != self.newest.as_ref());
        let new: Vec<Event> = new.cloned().collect();
        self.newest = seen.events.first().cloned();
        let one = |event: Event| {
            if self.json {
                serde_json::to_string(&event).unwrap_or_default() + "\n"
            } else {
                write(&show::events(&[event], self.reader.width), self.reader.tones)
            }
        };
        new.into_iter().rev().map(one).collect()
    }
}
