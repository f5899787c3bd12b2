//! `--watch` where there is nothing to draw over: lines, for a program, a file, or a log.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc::Receiver;

use changeover::control::view::{Event, Rollout};

use super::look::{Last, Look, Seen, Subject, steady_parts};
use super::picture::now;
use super::show;
use super::terminal::Reader;
use super::text::write;

/// Writes what is new at each of them, behind its name where it has one, until the watching or the reader ends.
pub(super) fn lines(
    all: &mut [Last],
    looks: &Receiver<Look>,
    out: &mut impl Write,
    problems: &mut impl Write,
    json: bool,
    new: impl Fn() -> New,
) {
    let mut news: Vec<New> = all.iter().map(|_| new()).collect();
    while let Ok(Some((at, look))) = looks.recv() {
        let (Some(last), Some(new)) = (all.get_mut(at), news.get_mut(at)) else { continue };
        if let Some(remark) = last.remark(&look) {
            let _ = writeln!(problems, "{remark}");
        }
        let mut text = look.as_ref().map(|seen| new.lines(seen)).unwrap_or_default();
        last.note(look);
        if let Some(name) = &last.name {
            text = under(name, &text, json);
        }
        // A reader that has gone away wants no more.
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            break;
        }
    }
}

/// Lines with the endpoint that they are about.
pub(super) fn under(endpoint: &str, text: &str, json: bool) -> String {
    let one = |line: &str| match json {
        true => format!("{{\"endpoint\":{},\"answer\":{line}}}\n", serde_json::json!(endpoint)),
        false => format!("{endpoint}  {line}\n"),
    };
    text.lines().map(one).collect()
}

/// Says what is new at an endpoint.
pub(super) enum New {
    Changes(Changes),
    Events(Box<News>),
}

impl New {
    pub(super) fn of(subject: &Subject, json: bool, reader: Reader) -> Self {
        match subject {
            Subject::Events(_) => Self::Events(Box::new(News::new(json, reader))),
            Subject::All | Subject::Rollout(_) => Self::Changes(Changes::new(json)),
        }
    }

    fn lines(&mut self, seen: &Seen) -> String {
        match self {
            Self::Changes(changes) => changes.lines(seen),
            Self::Events(news) => news.lines(seen),
        }
    }
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
