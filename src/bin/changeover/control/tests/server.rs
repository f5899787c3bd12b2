//! The API on a port of its own, so that client and API are tested against each other.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use changeover::automation::receipt::{Kind, Opened, Receipt};
use changeover::config;
use changeover::config::schema::Control;
use changeover::control::api::{Api, Handled, changed};
use changeover::control::request::Request;
use changeover::control::response::Response;
use changeover::fleet::simulated::Envoy;
use changeover::fleet::store::values::{LeftOut, Life, Seen};
use changeover::fleet::store::view::View;
use changeover::fleet::{decisions, joined, recordings};
use changeover::model::Side;
use changeover::rollout::clock::Clock;
use serde_json::{Value, json};

/// Milliseconds since the epoch when rollouts begin.
const TIME: u64 = 1_764_022_500_250;

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
    /// one of stable's hundred. Where people decide, they have [decided](decide).
    fn begin(self) -> Envoy {
        let clock = Clock { length: 1_000_000_000, uptime: 100_000_000_000, time: TIME, is_shared: false };
        let rollouts = self.0.len();
        let config = config::check(&json!({"rollouts": self.0})).expect("valid rollouts");
        let mut envoy = Envoy::begin(&config, clock);
        for rollout in 0..rollouts {
            envoy.requests(rollout, Side::Candidate, 1, 6);
            envoy.requests(rollout, Side::Stable, 1, 100);
            decide(&mut envoy, rollout);
        }
        envoy.tick();
        envoy
    }
}

/// People decide 1,000 tasks about which they are blind. The model finds fraud in every fifth. Where it is less sure than 0.8, people disagree
/// with it in every eighth.
fn decide(envoy: &mut Envoy, rollout: usize) {
    let rollout = &envoy.vm.rollouts()[rollout];
    if rollout.automation().is_none() {
        return;
    }
    let (_, run) = rollout.tasks_in_force();
    // Percents, in an order in which near ones come far from each other.
    let confidences = (0..10_000).step_by(100).cycle().step_by(37);
    for (task, confidence) in (0..1_000_u64).zip(confidences) {
        let (label, other) = if task.is_multiple_of(5) { ("fraud", "water") } else { ("water", "fraud") };
        let decided = if confidence < 8_000 && task % 8 == 3 { other } else { label };
        let kind = Kind { drawn: true, ..Kind::default() };
        let receipt = Receipt { task, run, time: envoy.now.time, confidence, kind, label: label.into() };
        let opened = Opened { receipt, id: task };
        decisions::add(&mut envoy.shared, &rollout.name, &opened, decided).expect("the present attempt's");
    }
}

/// Serves the API as the module does; returns where.
pub(super) fn serve(rollouts: Rollouts, control: &Control, missing_workers: &'static [usize]) -> String {
    serve_in(None, rollouts, control, missing_workers)
}

/// The same, of an Envoy that belongs to a fleet which looks like this.
pub(super) fn serve_in(
    fleet: Option<View>,
    rollouts: Rollouts,
    control: &Control,
    missing_workers: &'static [usize],
) -> String {
    let api = Api::new(control);
    listen_in(move || {
        let mut envoy = rollouts.begin();
        fleet.iter().for_each(|fleet| joined::show(&mut envoy.shared, fleet));
        move |request| match api.handle(request, &envoy.shared, envoy.now) {
            Handled::Answer(response) => response,
            Handled::Record { rollout, answer } => {
                recordings::want(&mut envoy.shared, &rollout, envoy.now.uptime);
                answer
            }
            Handled::Page(_) => panic!("the command line asks for no page"),
            Handled::Change(change) => {
                let outcome = envoy.command(&change);
                let outcome = outcome.as_ref().map(|changed| &changed.record);
                changed(&change.rollout, outcome, missing_workers, envoy.now)
            }
        }
    })
}

/// A fleet of this name and three Envoys. The second one leads, and the last one has ended.
pub(super) fn shop(name: &str) -> View {
    let member = |life, followed, behind: u64, ahead| Seen {
        life: Life(life),
        ahead,
        followed,
        configuration: 0x5d0c_77a1_0e93_4bf2,
        version: changeover::VERSION.to_owned(),
        heard: TIME.saturating_sub(behind),
        ..Seen::default()
    };
    let leader = Life(0x5f0c_6a1b_e9e2_d374);
    let last = member(0xc31e_0be7_4d60_19aa, 117, 21_200, 2);
    View {
        life: Life(0x1b9d_52c4_88f0_a6e1),
        fleet: name.to_owned(),
        heard: TIME.saturating_add(900),
        followed: 117,
        leader: Some(leader),
        members: vec![
            member(0x1b9d_52c4_88f0_a6e1, 118, 400, -3),
            member(leader.0, 117, 150, 0),
            Seen { left_out: Some(LeftOut::Silent), ..last },
        ],
        ..View::default()
    }
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
