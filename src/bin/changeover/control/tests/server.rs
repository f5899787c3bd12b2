//! The API on a port of its own, so that client and API are tested against each other.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use changeover::analysis::tick::Tick;
use changeover::config;
use changeover::config::schema::Control;
use changeover::control::api::{Api, Handled, Store};
use changeover::control::request::Request;
use changeover::control::response::Response;
use changeover::model::{Arm, Pair};
use changeover::rollout::event::Event;
use changeover::rollout::program::Program;
use changeover::rollout::record::{Clock, Record};
use changeover::signal::catalog::ERROR_RATE;
use changeover::signal::tally::{Counts, Tally};
use serde_json::{Value, json};

/// Rollouts in memory.
#[derive(Default)]
pub(super) struct Rollouts(BTreeMap<String, (Record, Vec<Event>)>);

impl Store for Rollouts {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
    fn record(&self, name: &str) -> Option<Record> {
        self.0.get(name).map(|(record, _)| record.clone())
    }
    fn journal(&self, name: &str) -> Vec<Event> {
        self.0.get(name).map(|(_, events)| events.clone()).unwrap_or_default()
    }
}

impl Rollouts {
    /// Adds a rollout with these fields besides.
    pub(super) fn with(mut self, name: &str, fields: &Value) -> Self {
        let mut rollout = json!({
            "name": name, "release": "2026-11-24.1", "stable": "blue", "candidate": "green",
            "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
        });
        for (field, value) in fields.as_object().expect("fields") {
            rollout[field] = value.clone();
        }
        let config = config::check(&json!({"rollouts": [rollout]})).expect("a valid rollout");
        let (mut record, events) = Record::begin(Program::new(&config.rollouts[0]), clock());
        // A tick in which one of the candidate's six requests fails, and one of stable's hundred.
        let counts = |events, units| Counts {
            requests: units,
            tallies: vec![(ERROR_RATE.id, Tally::Event(Arm { events, units }))],
            ..Counts::default()
        };
        let counts = Pair::new(counts(1, 6), counts(1, 100));
        let tick = Tick { number: 1_000_000, share: Some(0.05), counts, ..Tick::default() };
        record.run.close(&record.program, &tick, clock().now());
        // As soon as the leader has looked at it, it says what it waits for.
        record.run.tick(&record.program, &[], clock().now());
        self.0.insert(name.into(), (record, events));
        self
    }
}

fn clock() -> Clock {
    Clock { length: 1_000_000_000, uptime: 100_000_000_000, time: 1_764_022_500_250 }
}

/// Serves the API as the module does; returns where.
pub(super) fn serve(rollouts: Rollouts, control: &Control, missing_workers: &'static [usize]) -> String {
    let api = Api::new(control);
    let rollouts = Arc::new(Mutex::new(rollouts));
    listen(move |request| {
        let mut rollouts = rollouts.lock().expect("no other test");
        match api.handle(request, &*rollouts) {
            Handled::Answer(response) => response,
            Handled::Change(change) => {
                let (record, journal) = rollouts.0.get_mut(&change.rollout).expect("it was there");
                let outcome = change.apply(record, clock()).map(|events| journal.extend(events));
                let record = record.clone();
                api.changed(&change.rollout, outcome.as_ref().map(|()| &record), missing_workers)
            }
        }
    })
}

/// Answers every request with what `answer` says, until the tests end.
pub(super) fn listen(answer: impl Fn(&Request) -> Response + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let response = answer(&read(&stream));
            write(&stream, &response);
        }
    });
    format!("http://{address}")
}

fn read(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    };
    let first = line();
    let mut words = first.split(' ');
    let mut word = || words.next().unwrap_or_default().as_bytes().to_vec();
    let mut request = Request { method: word(), path: word(), ..Request::default() };
    let mut length = 0;
    loop {
        let line = line();
        let Some((name, value)) = line.split_once(": ") else { break };
        let value = value.as_bytes().to_vec();
        match name.to_ascii_lowercase().as_str() {
            "host" => request.authority = value,
            "origin" => request.origin = Some(value),
            "content-type" => request.content_type = Some(value),
            "authorization" => request.authorization = Some(value),
            "if-match" => request.if_match = Some(value),
            "content-length" => length = String::from_utf8_lossy(&value).parse().expect("a length"),
            _ => {}
        }
    }
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).expect("the body");
    request
}

fn write(mut stream: &TcpStream, response: &Response) {
    let mut text = format!("HTTP/1.1 {} Status\r\nconnection: close\r\n", response.status);
    for (name, value) in &response.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{}", response.body.len(), response.body));
    // A client that has gone away needs no answer.
    let _ = stream.write_all(text.as_bytes());
}
