//! The API on a port of its own, so that client and API are tested against each other.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use changeover::config;
use changeover::config::schema::Control;
use changeover::control::api::{Api, Handled, changed};
use changeover::control::request::Request;
use changeover::control::response::Response;
use changeover::fleet::recordings;
use changeover::fleet::simulated::Envoy;
use changeover::model::Side;
use changeover::rollout::record::Clock;
use serde_json::{Value, json};

/// Rollouts of an Envoy.
#[derive(Default)]
pub(super) struct Rollouts(Vec<Value>);

impl Rollouts {
    /// Adds a rollout with these fields besides.
    pub(super) fn with(mut self, name: &str, fields: &Value) -> Self {
        let mut rollout = json!({
            "name": name, "release": "2026-11-24.1", "stable": "blue", "candidate": "green",
            "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
            "match": {"path": format!("/{name}")},
        });
        for (field, value) in fields.as_object().expect("fields") {
            rollout[field] = value.clone();
        }
        self.0.push(rollout);
        self
    }

    /// They have begun, and each that is judged has had a tick in which one of the candidate's six requests fails, and
    /// one of stable's hundred.
    fn begin(self) -> Envoy {
        let clock = Clock {
            length: 1_000_000_000,
            uptime: 100_000_000_000,
            time: 1_764_022_500_250,
            is_shared: false,
        };
        let rollouts = self.0.len();
        let config = config::check(&json!({"rollouts": self.0})).expect("valid rollouts");
        let mut envoy = Envoy::begin(&config, clock);
        for rollout in 0..rollouts {
            envoy.requests(rollout, Side::Candidate, 1, 6);
            envoy.requests(rollout, Side::Stable, 1, 100);
        }
        envoy.tick();
        envoy
    }
}

/// Serves the API as the module does; returns where.
pub(super) fn serve(rollouts: Rollouts, control: &Control, missing_workers: &'static [usize]) -> String {
    let api = Api::new(control);
    listen_in(move || {
        let mut envoy = rollouts.begin();
        move |request| match api.handle(request, &envoy.shared, envoy.now.now()) {
            Handled::Answer(response) => response,
            Handled::Record { rollout, answer } => {
                recordings::want(&mut envoy.shared, &rollout, envoy.now.uptime);
                answer
            }
            Handled::Page(_) => panic!("the command line asks for no page"),
            Handled::Change(change) => {
                let outcome = envoy.command(&change);
                let outcome = outcome.as_ref().map(|changed| &changed.record);
                changed(&change.rollout, outcome, missing_workers, envoy.now.now())
            }
        }
    })
}

/// Answers every request with what `answer` says, until the tests end.
pub(crate) fn listen(answer: impl Fn(&Request) -> Response + Send + 'static) -> String {
    listen_in(move || answer)
}

/// The same, with what answers made in its thread.
fn listen_in<F: FnMut(&Request) -> Response>(make: impl FnOnce() -> F + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut answer = make();
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
