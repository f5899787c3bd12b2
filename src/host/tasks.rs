//! Tasks that people or a model decide: asks the model before a task goes on, hands tasks to people as well, and counts what
//! they decide.
//!
//! A task is held back by its stream while the model is asked ([`Held`]). All callouts belong to roots, also those that streams
//! make: so a root gets the answer and hands it to the stream. What people get besides, once its caller has the answer, is sent
//! by a root, for the stream is gone by then.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::answer::{Whole, add, decoded, encoding};
use super::calls::{self, Body, Headers, Metric};
use super::defined::Defined;
use super::handoff::Handoff;
use super::keys::{ReceiptKeys, nonce};
use super::loaded::Loaded;
use super::memory::Bytes;
use super::shared::Kv;
use crate::abi::pairs;
use crate::automation::answer::{Suggestion, decided, document};
use crate::automation::receipt::{Kind, Opened, Receipt};
use crate::automation::task::{Fate, InForce, Reason, Route};
use crate::fleet::{decisions, receipts};
use crate::model::header;
use crate::payload::encoding::Inflaters;
use crate::payload::head::Encoding;
use crate::receipt::is_late;
use crate::receipt::seen::Taken;
use crate::routing::automation::{Automation, DecisionPlaces};
use crate::routing::passed_on::{is_handed_back, is_passed_on};
use crate::routing::plan::{self, Rollout, Task};
use crate::telemetry::series;
use crate::telemetry::tasks::{About, Verdict};

/// Milliseconds that people's side has to take a task that is decided later.
const TAKES: u32 = 30_000;
/// Milliseconds that people have to decide a task that is decided in the same request.
const DECIDES: u32 = 3_600_000;
/// Bytes of a decision that are read.
const MOST_DECISION: usize = 1 << 20;
/// The status by which Envoy says that a callout's time is over.
const TIMED_OUT: u64 = 504;
/// Milliseconds behind the timeout after which the model's answer is not waited for any more: Envoy ends callouts by itself.
const GRACE: u64 = 2_000;
/// What one VM has to do with tasks.
pub(super) struct Tasks {
    keys: Rc<ReceiptKeys>,
    /// Tasks that are held.
    held: Rc<Cell<usize>>,
    /// About which the model is asked.
    asked: Rc<RefCell<HashMap<u32, Asked>>>,
    /// To be handed to people besides, oldest first.
    waiting: Handoff<Copied>,
    /// Handed to people, by the number that Envoy gave the callout.
    open: RefCell<HashMap<u32, Open>>,
    metrics: Defined<About>,
}

/// A task about which the model is asked, by the number that Envoy gave the callout.
#[derive(Clone, Copy)]
struct Asked {
    /// The stream that holds it, and its root, whose callout it is.
    by: Asker,
    /// When it is no longer waited for, in nanoseconds.
    until: u64,
}

/// The stream that holds a task, and its root.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub(super) stream: u32,
    pub(super) root: u32,
}

/// The rollout of a task, as one configuration has it.
#[derive(Clone)]
pub(super) struct Place {
    loaded: Rc<Loaded>,
    rollout: usize,
}

impl Place {
    pub(super) fn new(loaded: &Rc<Loaded>, rollout: usize) -> Self {
        Self { loaded: Rc::clone(loaded), rollout }
    }

    fn rollout(&self) -> Option<&Rollout> {
        self.loaded.plan.rollouts().get(self.rollout)
    }

    fn automation(&self) -> Option<&Automation> {
        self.rollout()?.automation()
    }

    fn cluster(&self, version: usize) -> Option<&str> {
        Some(&self.rollout()?.versions.get(version)?.cluster)
    }

    /// The most that is held of a body.
    fn max_body(&self) -> usize {
        self.automation().map_or(0, |automation| automation.max_body)
    }
}

/// A task that is held until the model has answered.
pub(super) struct Held {
    place: Place,
    task: Task,
    /// The request's headers as copies have them, written for the ABI.
    headers: Vec<u8>,
    body: Vec<u8>,
    state: State,
    by: Asker,
    room: Room,
}

/// How far a held task is.
enum State {
    /// The request is still coming; so many bytes have.
    Comes(usize),
    /// The model is asked, since then.
    Asked(u64),
}

/// Room for one task, as long as it is held.
struct Room {
    held: Rc<Cell<usize>>,
    asked: Rc<RefCell<HashMap<u32, Asked>>>,
    token: Option<u32>,
}

impl Room {
    fn take(tasks: &Tasks, most: usize) -> Option<Self> {
        if tasks.held.get() >= most {
            return None;
        }
        tasks.held.set(tasks.held.get().saturating_add(1));
        Some(Self { held: Rc::clone(&tasks.held), asked: Rc::clone(&tasks.asked), token: None })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.held.set(self.held.get().saturating_sub(1));
        if let Some(token) = self.token {
            self.asked.borrow_mut().remove(&token);
        }
    }
}

/// What a task that goes to people carries.
#[derive(Clone)]
struct Handed {
    suggestion: Suggestion,
    kind: Kind,
    /// Identifies the task.
    task: u64,
    /// When it was handed over, in milliseconds since the epoch.
    time: u64,
    /// Identifies the attempt.
    run: u64,
}

impl Handed {
    fn receipt(&self) -> Receipt {
        let Suggestion { label, confidence } = self.suggestion.clone();
        Receipt { task: self.task, run: self.run, time: self.time, confidence, kind: self.kind, label }
    }
}

/// A task that people get besides.
struct Copied {
    place: Place,
    headers: Vec<u8>,
    body: Vec<u8>,
    handed: Handed,
}

/// A task that was handed to people by a callout.
struct Open {
    place: Place,
    handed: Handed,
    /// The root whose callout it is.
    root: u32,
}

/// A task whose decision is the answer to the same request.
pub(super) struct Deciding {
    place: Place,
    handed: Handed,
    encoding: Encoding,
    body: Vec<u8>,
    /// Whether the answer can be a decision, as far as it is known.
    is_good: bool,
}

/// A request that is a decision.
pub(super) struct Decision {
    place: Place,
    /// The receipt, where a header has it.
    receipt: Option<Vec<u8>>,
    body: Whole,
}

/// How a held task goes on.
pub(super) struct Released {
    /// Who decides it.
    pub(super) route: Route,
    /// Set if people's answer is their decision.
    pub(super) deciding: Option<Box<Deciding>>,
}

impl Tasks {
    pub(super) fn new(keys: Rc<ReceiptKeys>) -> Self {
        Self {
            keys,
            held: Rc::default(),
            asked: Rc::default(),
            waiting: Handoff::new("tasks"),
            open: RefCell::default(),
            metrics: Defined::default(),
        }
    }

    fn metric(&self, rollout: &Rollout, kind: Metric, about: About) -> Option<u32> {
        self.metrics.id(rollout, kind, about, About::name)
    }

    fn count(&self, place: &Place, about: About) {
        let id = place.rollout().and_then(|rollout| self.metric(rollout, Metric::Counter, about));
        id.into_iter().for_each(calls::increment);
    }

    /// Counts a task that is not held.
    pub(super) fn pass(&self, place: &Place, task: &Task, reason: Reason) {
        let route = if task.in_force.is_models(task.drawn) { Route::Model } else { Route::Human };
        self.count(place, About::Task(route, reason));
    }

    /// Begins to hold a task while its headers are there.
    ///
    /// # Errors
    /// Why it goes on at once.
    pub(super) fn hold(
        &self,
        by: Asker,
        place: Place,
        (task, has_body): (Task, bool),
    ) -> Result<Box<Held>, Reason> {
        let automation = place.automation().ok_or(Reason::Refused)?;
        let is_tunnel = calls::header(Headers::Request, "upgrade").is_some()
            || calls::header(Headers::Request, ":method").is_some_and(|method| *method == *b"CONNECT");
        if is_tunnel {
            return Err(Reason::Refused);
        }
        let length = || {
            let length = calls::header(Headers::Request, "content-length")?;
            str::from_utf8(&length).ok()?.parse::<usize>().ok()
        };
        if has_body && length().is_some_and(|length| length > automation.max_body) {
            return Err(Reason::TooLarge);
        }
        let room = Room::take(self, automation.max_in_flight).ok_or(Reason::Busy)?;
        let headers = copied_headers(automation).ok_or(Reason::Refused)?;
        let state = State::Comes(0);
        Ok(Box::new(Held { place, task, headers, body: Vec::new(), state, by, room }))
    }

    /// The stream that asked the model by this callout.
    pub(super) fn asker(&self, token: u32) -> Option<Asker> {
        self.asked.borrow().get(&token).map(|asked| asked.by)
    }

    /// The callouts that get no answer: those of a root that goes, and those that Envoy should have ended already.
    pub(super) fn lost(&self, root: Option<u32>) -> Vec<u32> {
        let asked = self.asked.borrow();
        if asked.is_empty() {
            return Vec::new();
        }
        let now = calls::uptime();
        let is_lost = |asked: &Asked| asked.until < now || root == Some(asked.by.root);
        asked.iter().filter(|(_, asked)| is_lost(asked)).map(|(token, _)| *token).collect()
    }

    /// The model's answer to a held task has come, with a body of so many bytes; or none comes. Calls are about the root whose
    /// callout it is, before and afterwards. `None`: the stream is gone.
    pub(super) fn answered(
        &self,
        held: Held,
        body: Option<usize>,
        inflaters: &Inflaters,
    ) -> Option<Released> {
        let answer = body.ok_or(Reason::NoAnswer).and_then(|size| Answer::read(&held, size, inflaters));
        let answer = answer.map_err(|reason| held.late(reason));
        let Asker { stream, root } = held.by;
        if !calls::set_context(stream) {
            return None;
        }
        let released = self.release(held, answer);
        calls::set_context(root);
        Some(released)
    }

    /// A held task goes on: to people, or back to its caller with the model's answer.
    fn release(&self, held: Held, answer: Result<Answer, Reason>) -> Released {
        let (now, run) = held.place.rollout().map_or((InForce::default(), 0), Rollout::tasks_in_force);
        // A rollback while the model was asked counts at once; what was drawn was drawn for the degree at that time.
        let in_force =
            InForce { degree: held.task.in_force.degree.min(now.degree), threshold: now.threshold };
        let suggestion = answer.as_ref().map(|answer| &answer.suggestion).map_err(|reason| *reason);
        let Fate { route, reason, kind } = in_force.decide(held.task.drawn, suggestion);
        self.count(&held.place, About::Task(route, reason));
        let suggestion = answer.as_ref().map(|answer| answer.suggestion.clone()).unwrap_or_default();
        let handed = kind.map(|kind| Handed {
            suggestion,
            kind,
            task: calls::entropy(),
            time: calls::now() / 1_000_000,
            run,
        });
        let Held { place, headers, body, .. } = held;
        let mut deciding = None;
        if route == Route::Human {
            if let Some(handed) = &handed {
                self.write_headers(&place, handed);
                let answers = place.automation().is_some_and(|automation| automation.decision.is_none());
                deciding = answers.then(|| Box::new(Deciding::new(place.clone(), handed.clone())));
            }
            calls::resume();
        } else if let Ok(answer) = &answer {
            answer.hand_back();
        }
        if let Some(handed) = handed {
            let is_twice = handed.kind.double && !handed.kind.shown;
            if is_twice {
                let second = Handed { kind: Kind { second: true, ..handed.kind }, ..handed.clone() };
                let (headers, body) = (headers.clone(), body.clone());
                self.wait(Copied { place: place.clone(), headers, body, handed: second });
            }
            if route == Route::Audit {
                self.wait(Copied { place, headers, body, handed });
            }
        }
        Released { route, deciding }
    }

    /// A held task does not wait any longer.
    pub(super) fn let_go(&self, held: Held, reason: Reason) {
        self.count(&held.place, About::Task(Route::Human, reason));
    }

    /// Sets what a task carries to people.
    fn write_headers(&self, place: &Place, handed: &Handed) {
        let Some(automation) = place.automation() else { return };
        if handed.kind.shown {
            let suggestion = handed.suggestion.header(automation.places.confidence.is_some());
            calls::set_header(Headers::Request, &automation.suggestion, &suggestion);
        }
        if let Some(receipt) = self.seal(place, handed) {
            calls::set_header(Headers::Request, &automation.receipt, &receipt);
        }
    }

    /// The receipt of a task, where decisions come later.
    fn seal(&self, place: &Place, handed: &Handed) -> Option<String> {
        place.automation()?.decision.as_ref()?;
        handed.receipt().seal(self.keys.get()?, &place.rollout()?.name, &nonce())
    }

    /// Leaves a task to a root, which hands it to people.
    fn wait(&self, copied: Copied) {
        let most = copied.place.automation().map_or(0, |automation| automation.max_in_flight);
        if self.waiting.len() >= most {
            return drop_one();
        }
        self.waiting.leave(copied);
    }

    /// Whether it is this queue that wakes a root; it is emptied.
    pub(super) fn is_woken_by(&self, queue: u32) -> bool {
        self.waiting.is_woken_by(queue)
    }

    /// Hands over what waits, from a callback of `root`, while there is `time`.
    pub(super) fn send(&self, root: u32, time: &dyn Fn() -> bool) {
        self.waiting.take_all(time, |copied| self.send_one(root, copied));
    }

    fn send_one(&self, root: u32, Copied { place, headers, body, handed }: Copied) {
        let Some((automation, cluster)) = place.automation().zip(place.cluster(plan::STABLE)) else { return };
        let receipt = self.seal(&place, &handed);
        let mut headers: Vec<(&[u8], &[u8])> = pairs::all(&headers).collect();
        if let Some(receipt) = &receipt {
            headers.push((automation.receipt.as_bytes(), receipt.as_bytes()));
        }
        let timeout = if automation.decision.is_some() { TAKES } else { DECIDES };
        let Some(token) = calls::http_call(cluster, &pairs::write(&headers), &body, timeout) else {
            return drop_one();
        };
        self.open.borrow_mut().insert(token, Open { place, handed, root });
    }

    /// The answer to a callout has come, with a body of so many bytes; or none comes. Returns whether it was about a task.
    pub(super) fn handed_over(&self, token: u32, body: Option<usize>, inflaters: &Inflaters) -> bool {
        let Some(Open { place, handed, .. }) = self.open.borrow_mut().remove(&token) else { return false };
        let status = body.and_then(|_| calls::status(Headers::CalloutResponse)).unwrap_or_default();
        let Some(size) = body.filter(|_| (200..300).contains(&status)) else {
            drop_one();
            return true;
        };
        if place.automation().is_some_and(|automation| automation.decision.is_none()) {
            let encoding = encoding(Headers::CalloutResponse);
            let body = calls::body(Body::Callout, 0, size.min(place.max_body())).map(Bytes::into_vec);
            let deciding =
                Deciding { encoding, body: body.unwrap_or_default(), ..Deciding::new(place, handed) };
            self.decided(deciding, inflaters);
        }
        true
    }

    /// A root goes: Envoy drops its callouts.
    pub(super) fn leave(&self, root: u32) {
        self.open.borrow_mut().retain(|_, open| {
            let stays = open.root != root;
            if !stays {
                drop_one();
            }
            stays
        });
    }

    /// People have answered a task in its own request: that is their decision.
    pub(super) fn decided(&self, deciding: Deciding, inflaters: &Inflaters) {
        let Deciding { place, handed, encoding, body, is_good } = deciding;
        let (Some(rollout), Some(automation)) = (place.rollout(), place.automation()) else { return };
        let shown = handed.kind.shown;
        if !is_good {
            return self.count(&place, About::Decision(Verdict::Unreadable, shown));
        }
        let body = decoded(body, encoding, automation.max_body, inflaters);
        let document = body.and_then(|body| document(&body));
        let Some(label) = document.and_then(|document| decided(&document, &automation.places.label)) else {
            return self.count(&place, About::Decision(Verdict::Unreadable, shown));
        };
        if handed.run != rollout.tasks_in_force().1 {
            return self.count(&place, About::Decision(Verdict::Late, shown));
        }
        let opened = Opened { receipt: handed.receipt(), id: handed.task };
        self.add(&place, &opened, &label);
    }

    /// Counts a decision that counts.
    fn add(&self, place: &Place, opened: &Opened, label: &str) {
        let Some(rollout) = place.rollout() else { return };
        let counts = decisions::add(&mut Kv, &rollout.name, opened, label);
        let Kind { shown, second, .. } = opened.receipt.kind;
        let verdict = match (second, counts.agrees) {
            (true, _) => Verdict::Second,
            (false, true) => Verdict::Agree,
            (false, false) => Verdict::Disagree,
        };
        self.count(place, About::Decision(verdict, shown));
        if !shown && !second {
            let (human, model) = counts.labels;
            self.count(place, About::Labels(model, human));
        }
        let seconds = (calls::now() / 1_000_000).saturating_sub(opened.receipt.time) / 1_000;
        let id = self.metric(rollout, Metric::Histogram, About::Seconds);
        id.into_iter().for_each(|id| calls::record(id, seconds));
    }

    /// Begins to read a decision while its headers are there.
    pub(super) fn begin_decision(&self, place: Place) -> Option<Box<Decision>> {
        let places = place.automation()?.decision.as_ref()?;
        let receipt = places.receipt.header().and_then(|name| calls::header(Headers::Request, name));
        let receipt = receipt.map(Bytes::into_vec);
        Some(Box::new(Decision { place, receipt, body: Whole::begin(Headers::Request) }))
    }

    /// A decision has come as a whole.
    pub(super) fn decide(&self, decision: Decision, inflaters: &Inflaters) {
        let Decision { place, receipt, body } = decision;
        let (Some(rollout), Some(automation)) = (place.rollout(), place.automation()) else { return };
        let Some(places) = &automation.decision else { return };
        let count = |verdict, shown| self.count(&place, About::Decision(verdict, shown));
        let read = body.finish(MOST_DECISION, inflaters);
        let Some((receipt, label)) = read.and_then(|body| read_decision(&body, receipt.as_deref(), places))
        else {
            return count(Verdict::Unreadable, false);
        };
        let Some(keys) = self.keys.get() else { return };
        let Some(opened) = Receipt::open(keys, &rollout.name, &receipt) else {
            return count(Verdict::Forged, false);
        };
        let (shown, time) = (opened.receipt.kind.shown, opened.receipt.time);
        let (_, run) = rollout.tasks_in_force();
        if is_late(time, automation.ttl, calls::now() / 1_000_000) || opened.receipt.run != run {
            return count(Verdict::Late, shown);
        }
        match receipts::take(&mut Kv, &rollout.name, opened.id, time) {
            Taken::New => self.add(&place, &opened, &label),
            Taken::Repeated => count(Verdict::Repeated, shown),
            Taken::Late => count(Verdict::Late, shown),
        }
    }
}

/// The receipt and the label of a decision. `receipt`: the header that has it, where one does.
fn read_decision(body: &[u8], receipt: Option<&[u8]>, places: &DecisionPlaces) -> Option<(Vec<u8>, String)> {
    let document = document(body)?;
    let receipt = places.receipt.find(receipt, Some(&document))?.to_vec();
    Some((receipt, decided(&document, &places.label)?))
}

/// A task that people should have got besides, and do not.
fn drop_one() {
    let metric = calls::define_metric(Metric::Counter, &series::dropped("tasks_for_people"));
    metric.into_iter().for_each(calls::increment);
}

/// The headers of the request that Envoy is showing, as the model gets them and people who get it besides.
fn copied_headers(automation: &Automation) -> Option<Vec<u8>> {
    let own = [automation.receipt.as_bytes(), automation.suggestion.as_bytes()];
    let all = calls::headers(Headers::Request)?;
    let is_kept = |(name, value): &(&[u8], &[u8])| is_passed_on(name, value) && !own.contains(name);
    Some(pairs::write(&pairs::all(&all).filter(is_kept).collect::<Vec<_>>()))
}

/// Removes what only the filter may say of a task, from the request that Envoy is showing.
pub(super) fn strip(automation: &Automation) {
    for name in [&automation.receipt, &automation.suggestion] {
        if calls::header(Headers::Request, name).is_some() {
            calls::remove_header(Headers::Request, name);
        }
    }
}

impl Held {
    /// So many bytes of the request are there; `is_whole`: all of it. Returns whether it still waits.
    ///
    /// # Errors
    /// Why it waits no longer.
    pub(super) fn receive(&mut self, size: usize, is_whole: bool) -> Result<(), Reason> {
        if let State::Comes(bytes) = &mut self.state {
            *bytes = size;
            if size > self.place.max_body() {
                return Err(Reason::TooLarge);
            }
            if is_whole {
                return self.ask();
            }
        }
        Ok(())
    }

    /// The request has come as a whole, and ends with trailers.
    ///
    /// # Errors
    /// Why it waits no longer.
    pub(super) fn end(&mut self) -> Result<(), Reason> {
        if matches!(self.state, State::Comes(_)) { self.ask() } else { Ok(()) }
    }

    /// Asks the model.
    fn ask(&mut self) -> Result<(), Reason> {
        if let State::Comes(size @ 1..) = self.state {
            let body = calls::body(Body::Request, 0, size).filter(|body| body.len() == size);
            self.body = body.ok_or(Reason::Refused)?.into_vec();
        }
        let automation = self.place.automation().ok_or(Reason::Refused)?;
        let version = self.place.rollout().filter(|rollout| rollout.tells_upstream);
        let version = version.and_then(|rollout| rollout.versions.get(automation.model));
        let mut headers: Vec<(&[u8], &[u8])> = pairs::all(&self.headers).collect();
        headers.extend(version.map(|version| (header::VERSION.as_bytes(), version.name.as_bytes())));
        let cluster = self.place.cluster(automation.model).ok_or(Reason::Refused)?;
        let token = calls::http_call(cluster, &pairs::write(&headers), &self.body, automation.timeout);
        let (token, now) = (token.ok_or(Reason::Refused)?, calls::uptime());
        let lasts = u64::from(automation.timeout).saturating_add(GRACE).saturating_mul(1_000_000);
        let asked = Asked { by: self.by, until: now.saturating_add(lasts) };
        self.room.asked.borrow_mut().insert(token, asked);
        self.room.token = Some(token);
        self.state = State::Asked(now);
        Ok(())
    }

    /// No answer is a late one once the model's time is about over, by a clock that is not Envoy's timer's.
    fn late(&self, reason: Reason) -> Reason {
        let State::Asked(since) = self.state else { return reason };
        let waited = calls::uptime().saturating_sub(since) / 1_000_000;
        let timeout = self.place.automation().map_or(0, |automation| automation.timeout);
        let is_over = waited.saturating_mul(10) >= u64::from(timeout).saturating_mul(9);
        if reason == Reason::NoAnswer && is_over { Reason::Late } else { reason }
    }
}

/// An answer of the model.
struct Answer {
    suggestion: Suggestion,
    status: u32,
    headers: Vec<u8>,
    body: Vec<u8>,
}

impl Answer {
    /// Reads the answer that Envoy is showing.
    fn read(held: &Held, size: usize, inflaters: &Inflaters) -> Result<Self, Reason> {
        let automation = held.place.automation().ok_or(Reason::Refused)?;
        let status = calls::status(Headers::CalloutResponse).ok_or(Reason::NoAnswer)?;
        let is_servers =
            || calls::header(Headers::CalloutResponse, "x-envoy-upstream-service-time").is_some();
        if status == TIMED_OUT && !is_servers() {
            return Err(Reason::Late);
        }
        let status = u32::try_from(status).ok().filter(|status| (200..300).contains(status));
        let status = status.ok_or(Reason::NoAnswer)?;
        if size > automation.max_body {
            return Err(Reason::TooLarge);
        }
        let encoding = encoding(Headers::CalloutResponse);
        let headers = calls::headers(Headers::CalloutResponse).ok_or(Reason::Unreadable)?.into_vec();
        let body = calls::body(Body::Callout, 0, size).map(Bytes::into_vec).unwrap_or_default();
        let plain =
            decoded(body.clone(), encoding, automation.max_body, inflaters).ok_or(Reason::TooLarge)?;
        let suggestion = Suggestion::read(&plain, &automation.places).ok_or(Reason::Unreadable)?;
        Ok(Self { suggestion, status, headers, body })
    }

    /// Answers the task's caller with it.
    fn hand_back(&self) {
        let kept = pairs::all(&self.headers).filter(|(name, _)| is_handed_back(name));
        calls::reply(self.status, &pairs::write(&kept.collect::<Vec<_>>()), &self.body);
    }
}

impl Deciding {
    fn new(place: Place, handed: Handed) -> Self {
        Self { place, handed, encoding: Encoding::Identity, body: Vec::new(), is_good: true }
    }

    /// The headers of people's answer have come.
    pub(super) fn answer(&mut self) {
        self.encoding = encoding(Headers::Response);
        self.is_good = calls::status(Headers::Response).is_some_and(|status| (200..300).contains(&status));
    }

    /// The next bytes of people's answer.
    pub(super) fn read(&mut self, size: usize) {
        self.is_good &= add(&mut self.body, Body::Response, size, self.place.max_body());
    }

    /// The answer does not come as a whole.
    pub(super) fn fail(&mut self) {
        self.is_good = false;
    }
}

impl Decision {
    /// The next bytes of the decision; `anew`: they begin with its first one.
    pub(super) fn read(&mut self, size: usize, anew: bool) {
        self.body.read(Body::Request, (size, anew), MOST_DECISION);
    }
}
