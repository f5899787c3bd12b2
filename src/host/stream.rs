//! The stream context: follows one request.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::asking::{Asker, Held};
use super::bodies::Bodies;
use super::calls::{self, Headers};
use super::decisions::{Deciding, Decision};
use super::feedback::{Event, Feedback};
use super::loaded::Loaded;
use super::memory::Bytes;
use super::metrics::{Facts, Series};
use super::people;
use super::place::Place;
use super::shadow::Copied;
use super::shared::tick_at;
use super::tasks::Released;
use super::vm::{Slot, Vm};
use crate::abi::{Action, pairs};
use crate::automation::task::{Reason, Route, Unanswered};
use crate::model::{Draw, header};
use crate::payload::head::is_grpc;
use crate::receipt::answer::Receipt;
use crate::routing::affinity::is_shared;
use crate::routing::mirror::Mirrored;
use crate::routing::plan::{self, Task};
use crate::routing::request::Request;
#[cfg(feature = "test-build")]
use crate::signal::catalog;
#[cfg(feature = "test-build")]
use crate::signal::observed::Observed;
use crate::telemetry::breaker::Ended;
use crate::telemetry::latency::Times;
use crate::telemetry::ledger::{Ledger, Ticket};
use crate::telemetry::load_report;
use crate::telemetry::outcome::{self, Class, End, MirrorResult, Outcome, Served, Shown, is_plainly_ok};

/// The filter state `wasm.changeover`: what access logs say of a request.
const LOG_ENTRY: &str = "changeover";

/// One request, from its headers to its end.
pub(super) struct Stream {
    vm: &'static Vm,
    /// Its own number, and its root's.
    id: Asker,
    slot: Rc<Slot>,
    routed: Option<Routed>,
    /// Set if the request is a decision about a task.
    decision: Option<Box<Decision>>,
    /// Set if the request says what a user did.
    event: Option<Box<Event>>,
}

/// A request that belongs to a rollout.
struct Routed {
    loaded: Rc<Loaded>,
    rollout: usize,
    version: usize,
    /// When its headers came, in nanoseconds.
    begun: u64,
    /// When it had come as a whole: from then on the version is waited for. An answer may come before.
    asked: Option<u64>,
    /// When its answer had passed as a whole. Its client may take longer.
    answered: Option<u64>,
    request_bytes: u64,
    response_bytes: u64,
    /// The response had trailers, or nothing but headers: where gRPC puts its status.
    may_be_grpc: bool,
    /// The response has passed as a whole, and ended with its body.
    body_ended: bool,
    /// How the answer streams, as far as it was looked at: that of a request that is judged.
    streams: Option<Streamed>,
    /// The first thing that came through a tunnel was that it has failed.
    is_closed_at_once: bool,
    served: Served,
    /// Set if the bodies are read.
    bodies: Option<Box<Bodies>>,
    /// Its answer has begun.
    is_answering: bool,
    /// It was ended because its version was taken back.
    is_drained: Cell<bool>,
    /// Set if the request is copied, to be sent to a shadow.
    copy: Option<Box<Copied>>,
    /// Set if the model server is asked for its load.
    load: Option<LoadAsked>,
    set_cookie: Option<String>,
    /// Set if its answer carries a receipt.
    receipt: Option<Box<Receipt>>,
    /// Set while the model is asked about it.
    held: Option<Box<Held>>,
    /// Set if people's answer is a decision.
    deciding: Option<Box<Deciding>>,
    /// The model's answer is handed back: no upstream serves it.
    is_handed_back: bool,
    /// Set if the request is evidence about the candidate or stable.
    judged: Option<Judged>,
}

/// Who has asked a model server for its load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LoadAsked {
    /// The client, which gets the report as well.
    ByClient,
    /// The filter.
    ByFilter,
}

/// A request that is counted for the judge.
struct Judged {
    draw: Draw,
    /// Once it is asked.
    ticket: Option<Ticket>,
}

/// The request whose headers Envoy is showing.
struct CurrentRequest {
    has_body: bool,
    reads_all_headers: bool,
    /// All headers, once they are read; `None` within: they have to be read one by one.
    headers: OnceCell<Option<Bytes>>,
}

impl Request for CurrentRequest {
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if self.reads_all_headers
            && let Some(all) = self.headers.get_or_init(|| calls::headers(Headers::Request))
        {
            return pairs::values(all, name).next().map(Cow::Borrowed);
        }
        calls::header(Headers::Request, name).map(|value| Cow::Owned(value.into_vec()))
    }

    fn headers(&self, name: &str) -> Vec<Vec<u8>> {
        match self.headers.get() {
            Some(Some(all)) => pairs::values(all, name).map(<[u8]>::to_vec).collect(),
            _ => all_values(Headers::Request, name),
        }
    }

    fn has_body(&self) -> bool {
        self.has_body
    }

    fn source_address(&self) -> Option<Cow<'_, [u8]>> {
        calls::property("source\0address").map(|address| Cow::Owned(address.into_vec()))
    }
}

impl CurrentRequest {
    /// Sets a header of the filter's own, or removes what a client has left, or this request's earlier pass before an
    /// internal redirect. What is not there is not removed: any change has Envoy choose the route again.
    fn put(&self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => calls::set_header(Headers::Request, name, value),
            None if self.header(name).is_some() => calls::remove_header(Headers::Request, name),
            None => {}
        }
    }

    /// Asks the model server for its load, unless the client does.
    fn ask_for_load(&self) -> LoadAsked {
        let (name, form) = load_report::ASK;
        if self.header(name).is_some() {
            return LoadAsked::ByClient;
        }
        calls::set_header(Headers::Request, name, form);
        LoadAsked::ByFilter
    }
}

impl Stream {
    pub(super) fn new(id: Asker, vm: &'static Vm, slot: Rc<Slot>) -> Self {
        Self { vm, id, slot, routed: None, decision: None, event: None }
    }

    /// Decides where the request goes and sets the header for Envoy's routes. `None`: it is not followed.
    /// `is_decision`: whether it decides a task.
    fn route(&self, loaded: &Rc<Loaded>, request: &CurrentRequest, is_decision: bool) -> Option<Routed> {
        let drawn = self.vm.draw(|rng| loaded.plan.route(request, is_decision, rng));
        let settings = drawn.as_ref().and_then(|(rollout, _)| loaded.plan.rollouts().get(*rollout));
        let version_at = |at: usize| settings.and_then(|settings| settings.versions.get(at));
        let version = drawn.as_ref().and_then(|(_, decision)| version_at(decision.version));
        request.put(header::CLUSTER, version.map(|version| version.cluster.as_str()));
        let load = settings.filter(|settings| settings.asks_for_load).map(|_| request.ask_for_load());
        let told = version.filter(|_| settings.is_some_and(|settings| settings.tells_upstream));
        request.put(header::VERSION, told.map(|version| version.name.as_str()));
        let mirrored = drawn.as_ref().and_then(|(_, decision)| decision.mirror.as_ref());
        let is_sent =
            |mirrored: &&Mirrored| matches!(mirrored.result, MirrorResult::Asked | MirrorResult::Sent);
        let compares = settings.is_some_and(|settings| settings.comparison().is_some());
        let copied_by_envoy = mirrored.filter(is_sent).filter(|_| !compares);
        let shadow = copied_by_envoy.and_then(|mirrored| version_at(mirrored.to));
        request.put(header::MIRROR, shadow.map(|shadow| shadow.cluster.as_str()));
        let (rollout, decision) = drawn?;
        version?;
        if let Some(entry) = settings.and_then(|settings| settings.log_entry(decision.version, decision.by)) {
            calls::set_property(LOG_ENTRY, &entry);
        }
        if decision.is_copy {
            return None;
        }
        if !loaded.plan.trusts_shadow_header {
            request.put(header::SHADOW, None);
        }
        let mut copy = None;
        if let Some(mirrored) = decision.mirror {
            if compares && is_sent(&&mirrored) {
                copy = self.vm.shadows.copy(loaded, (rollout, mirrored.to), decision.evidence);
            } else if let Some(shadow) = loaded.series(rollout, mirrored.to) {
                shadow.count_mirrored(mirrored.result);
            }
        }
        let set_cookie = decision.cookie.map(|(cookie, id)| {
            let secure =
                calls::header(Headers::Request, ":scheme").is_some_and(|scheme| *scheme == *b"https");
            cookie.set(&id, secure)
        });
        let reader = settings.and_then(plan::Rollout::reader).filter(|_| decision.is_read);
        let bodies = reader.and_then(|reader| Bodies::begin(reader, request, &self.vm.inflaters));
        let receipt = settings.and_then(|settings| settings.receipt(decision.version, decision.evidence));
        let held = decision.task.and_then(|task| self.begin_task(loaded, rollout, task, request));
        if let Some((draw, tracked)) = decision.evidence.as_ref().zip(loaded.tracked(rollout)) {
            tracked.follow(draw.assignment);
        }
        let judged = decision.evidence.map(|draw| Judged { draw, ticket: None });
        self.vm.serve();
        loaded.show_weights(rollout);
        Some(Routed {
            rollout,
            version: decision.version,
            loaded: Rc::clone(loaded),
            begun: calls::uptime(),
            asked: None,
            answered: None,
            judged,
            request_bytes: 0,
            response_bytes: 0,
            may_be_grpc: false,
            body_ended: false,
            streams: None,
            is_closed_at_once: false,
            served: Served::Unknown,
            bodies,
            is_answering: false,
            is_drained: Cell::new(false),
            copy,
            load,
            set_cookie,
            receipt: receipt.map(Box::new),
            held,
            deciding: None,
            is_handed_back: false,
        })
    }

    /// Holds a task, if the model is to be asked about it.
    fn begin_task(
        &self,
        loaded: &Rc<Loaded>,
        rollout: usize,
        task: Task,
        request: &CurrentRequest,
    ) -> Option<Box<Held>> {
        let automation = loaded.plan.rollouts().get(rollout)?.automation()?;
        people::strip(automation);
        let place = Place::new(loaded, rollout);
        let reason = if task.in_force.asks(task.drawn) {
            match self.vm.tasks.asking.hold(self.id, place.clone(), (task, request.has_body)) {
                Ok(held) => return Some(held),
                Err(reason) => reason,
            }
        } else {
            Reason::Degree
        };
        self.vm.tasks.pass(&place, &task, reason);
        None
    }

    /// A task is held as long as this goes well; otherwise it goes on to people.
    fn keep_holding(&mut self, receive: impl FnOnce(&mut Held) -> Result<(), Reason>) -> Action {
        let Some(routed) = &mut self.routed else { return Action::Continue };
        let Some(mut held) = routed.held.take() else { return Action::Continue };
        match receive(&mut held) {
            Ok(()) => {
                routed.held = Some(held);
                Action::Pause
            }
            Err(reason) => {
                self.vm.tasks.let_go(*held, reason);
                Action::Continue
            }
        }
    }

    /// The model has answered a task, with a body of so many bytes; or it has not.
    pub(super) fn on_http_call_response(&mut self, body: Option<usize>) {
        let Some(routed) = &mut self.routed else { return };
        let Some(held) = routed.held.take() else { return };
        let model = routed.loaded.plan.rollouts().get(routed.rollout).and_then(plan::Rollout::automation);
        let model = model.map_or(routed.version, |automation| automation.model);
        let newest = self.slot.loaded();
        let released = self.vm.tasks.answered(*held, body, newest.as_ref(), &self.vm.inflaters);
        let Some(Released { route, deciding }) = released else { return };
        routed.deciding = deciding;
        if route != Route::Human {
            (routed.version, routed.is_handed_back) = (model, true);
        }
    }

    /// Closes the stream if its answer still goes on after its time. Returns whether Envoy ends it after this callback.
    pub(super) fn drain(&self, number: u32, now: u64) -> bool {
        let going_on = self.routed.as_ref().filter(|routed| routed.is_answering);
        let Some(routed) = going_on.filter(|routed| {
            let series = routed.loaded.series(routed.rollout, routed.version);
            series.is_some_and(|series| series.ends_at.get() <= now)
        }) else {
            return false;
        };
        routed.is_drained.set(calls::set_context(number));
        if routed.is_drained.get() {
            calls::close();
        }
        routed.is_drained.get()
    }

    pub(super) fn on_request_headers(&mut self, end_of_stream: bool) -> Action {
        #[cfg(feature = "test-build")]
        if calls::header(Headers::Request, "x-test-trap").is_some() {
            core::arch::wasm32::unreachable();
        }
        let loaded = self.slot.loaded();
        let request = CurrentRequest {
            has_body: !end_of_stream,
            reads_all_headers: loaded.as_ref().is_some_and(|loaded| loaded.plan.reads_several_headers),
            headers: OnceCell::new(),
        };
        self.decision = loaded
            .as_ref()
            .and_then(|loaded| self.vm.tasks.decisions.begin(loaded, &loaded.plan.decides(&request)));
        let is_decision = self.decision.is_some();
        self.event = loaded.as_ref().and_then(|loaded| self.vm.feedback.begin(loaded, &request));
        self.routed = loaded.and_then(|loaded| self.route(&loaded, &request, is_decision));
        if let Some(routed) = &self.routed {
            Feedback::switch(&routed.loaded, routed.rollout, &request);
        }
        if let Some(routed) = self.routed.as_mut().filter(|_| end_of_stream) {
            routed.end_request(routed.begun);
        }
        if end_of_stream {
            self.end_decision();
            self.end_event();
        }
        self.keep_holding(|held| held.receive(0, end_of_stream))
    }

    /// A decision has come as a whole.
    fn end_decision(&mut self) {
        let decision = self.decision.take();
        decision
            .into_iter()
            .for_each(|decision| self.vm.tasks.decisions.decide(*decision, &self.vm.inflaters));
    }

    /// What says what a user did has come as a whole.
    fn end_event(&mut self) {
        self.event.iter_mut().for_each(|event| event.end());
    }

    pub(super) fn on_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        // Of what is held all that has come is shown, again and again.
        let is_held = self.routed.as_ref().is_some_and(|routed| routed.held.is_some());
        if let Some(event) = &mut self.event {
            event.read(size, is_held);
        }
        if let Some(decision) = &mut self.decision {
            decision.read(size, is_held);
        }
        if let Some(routed) = &mut self.routed {
            // What is held is there as a whole.
            let before = if routed.held.is_some() { 0 } else { routed.request_bytes };
            routed.request_bytes = before.saturating_add(size as u64);
            if let Some(bodies) = &mut routed.bodies {
                bodies.read_request(size);
            }
            if let Some(copy) = &mut routed.copy {
                copy.read_request(size);
            }
        }
        if end_of_stream {
            self.end_request();
        }
        self.keep_holding(|held| held.receive(size, end_of_stream))
    }

    pub(super) fn on_request_trailers(&mut self) -> Action {
        self.end_request();
        self.keep_holding(Held::end)
    }

    /// The request has come as a whole.
    fn end_request(&mut self) {
        self.end_decision();
        self.end_event();
        if let Some(routed) = &mut self.routed {
            routed.end_request(calls::uptime());
        }
    }

    pub(super) fn on_response_headers(&mut self, end_of_stream: bool) {
        let Some(routed) = &mut self.routed else {
            calls::remove_header(Headers::Response, header::VERSION);
            return;
        };
        routed.may_be_grpc = end_of_stream;
        routed.is_answering = true;
        let was_asked = routed.asked.is_some();
        let asked = routed.ask(calls::uptime());
        if let Some(Judged { ticket: Some(ticket), .. }) = &routed.judged
            && let Some(tracked) = routed.loaded.tracked(routed.rollout)
        {
            let mut ledger = tracked.ledger.borrow_mut();
            routed.streams = if end_of_stream { None } else { streams() };
            if !was_asked && routed.streams == Some(Streamed::Grpc) {
                routed.streams = Some(Streamed::TwoWay);
            }
            ledger.show_headers(ticket, routed.streams.is_some_and(Streamed::begins_with_a_byte));
            #[cfg(feature = "test-build")]
            {
                let has_event = calls::header(Headers::Response, "x-test-event").is_some();
                ledger.observe(ticket, catalog::TEST_EVENT.id, Observed::Event(has_event));
            }
        }
        if routed.streams.is_some_and(|streams| !streams.begins_with_a_byte()) {
            routed.begin_stream();
        }
        if let Some(deciding) = &mut routed.deciding {
            deciding.answer();
        }
        if end_of_stream {
            routed.pass_answer();
            routed.end_deciding(self.vm);
        }
        if let Some(cookie) = routed.set_cookie.take()
            && !is_shared(&all_values(Headers::Response, "cache-control"))
        {
            calls::add_header(Headers::Response, "set-cookie", &cookie);
        }
        if let Some(bodies) = &mut routed.bodies
            && let Some(reader) = routed.loaded.reader(routed.rollout)
        {
            bodies.answer(reader, &self.vm.inflaters);
        }
        if let Some(copy) = &mut routed.copy {
            copy.answer(&self.vm.inflaters);
        }
        routed.look_who_serves(self.vm, tick_at(asked));
        routed.show_load(Headers::Response);
        let rollout = routed.loaded.plan.rollouts().get(routed.rollout);
        let told = rollout.filter(|rollout| rollout.tells_client && !routed.served.is_elsewhere());
        match told.and_then(|rollout| rollout.versions.get(routed.version)) {
            Some(version) => calls::set_header(Headers::Response, header::VERSION, &version.name),
            // What an upstream says of versions is not the filter's.
            None => calls::remove_header(Headers::Response, header::VERSION),
        }
        if let Some(rollout) = rollout.filter(|rollout| rollout.receipts.is_some()) {
            let receipt = routed.receipt.as_deref().filter(|_| !routed.served.is_elsewhere());
            self.vm.feedback.hand_out(rollout, receipt);
        }
    }

    pub(super) fn on_response_body(&mut self, size: usize, end_of_stream: bool) {
        if let Some(routed) = &mut self.routed {
            routed.body_ended = end_of_stream;
            if size > 0 && routed.response_bytes == 0 && routed.streams.is_some() {
                routed.is_closed_at_once = routed.streams == Some(Streamed::Tunnel)
                    && calls::body(calls::Body::Response, 0, 4)
                        .is_some_and(|bytes| outcome::is_failing_close(&bytes));
                routed.begin_stream();
            }
            routed.response_bytes = routed.response_bytes.saturating_add(size as u64);
            if let Some(bodies) = &mut routed.bodies {
                bodies.read_answer(size);
            }
            if let Some(copy) = &mut routed.copy {
                copy.read_answer(size);
            }
            if let Some(deciding) = &mut routed.deciding {
                deciding.read(size);
            }
            if end_of_stream {
                routed.pass_answer();
                routed.end_deciding(self.vm);
            }
        }
    }

    pub(super) fn on_response_trailers(&mut self) {
        if let Some(routed) = &mut self.routed {
            routed.may_be_grpc = true;
            routed.pass_answer();
            routed.end_deciding(self.vm);
            routed.show_load(Headers::ResponseTrailers);
        }
    }

    /// All is known here, and it comes exactly once. Also for streams whose headers never came: those were
    /// not routed.
    pub(super) fn on_log(self) {
        self.event.into_iter().for_each(|event| self.vm.feedback.count(*event, &self.vm.inflaters));
        let Some(mut routed) = self.routed else { return };
        routed.held.take().into_iter().for_each(|held| self.vm.tasks.leave(&held));
        if let Some(deciding) = &mut routed.deciding {
            deciding.fail();
            routed.end_deciding(self.vm);
        }
        let may_be_grpc = routed.may_be_grpc || routed.is_grpc() || routed.response_bytes == 0;
        let sent = routed.response_bytes > 0 && !routed.is_closed_at_once;
        let ended = routed.answered.is_some();
        let end = routed.ended_plainly().unwrap_or_else(|| how_it_ended(may_be_grpc, sent, ended));
        let now = calls::uptime();
        let answered = routed.answered.unwrap_or(now);
        let asked = match routed.asked {
            Some(asked) => asked,
            // The client has left before it had asked.
            None => {
                routed.ask(now);
                routed.begun
            }
        };
        let is_followed = Cell::new(false);
        let from_upstream = || {
            let Some(details) = calls::property("response\0code_details") else { return false };
            is_followed.set(outcome::is_followed_by_envoy(&details));
            outcome::is_by_upstream(&details)
        };
        let rollout = routed.loaded.plan.rollouts().get(routed.rollout);
        let outcome =
            rollout.map_or(Outcome::Aborted, |rollout| end.outcome(&rollout.failures, from_upstream));
        // What is ended here is not the version's doing.
        let outcome = if routed.is_drained.get() { Outcome::Aborted } else { outcome };
        let outcome = routed.served.outcome(outcome);
        if let Some(copy) = routed.copy.take() {
            // Filters behind this one, redirects and direct responses leave no flag.
            let is_answered = ended && !routed.served.is_elsewhere() && from_upstream();
            self.vm.shadows.end(*copy, is_answered, end.grpc_status);
        }
        let failed = matches!(outcome, Outcome::Error | Outcome::Unanswered);
        let is_models_task = routed.is_models_task();
        let nanoseconds = now.saturating_sub(routed.begun);
        let read =
            routed.bodies.take().map(|bodies| bodies.finish((asked, answered), outcome == Outcome::Ok));
        let read = read.as_ref().zip(routed.loaded.reader(routed.rollout));
        if let (Some(Judged { ticket: Some(ticket), draw }), Some(tracked), Some(rollout)) =
            (routed.judged, routed.loaded.tracked(routed.rollout), rollout)
        {
            if let Some((exchange, reader)) = read {
                let mut ledger = tracked.ledger.borrow_mut();
                for (signal, observed) in reader.observations(exchange) {
                    ledger.observe(&ticket, signal, observed);
                }
            }
            // Where the answer has passed as a whole its latency is counted already.
            let latency = match routed.answered {
                Some(_) => answered.saturating_sub(asked),
                None => latency(Times { begun: routed.begun, asked, answered }),
            };
            if routed.served != Served::Unknown {
                tracked.ledger.borrow_mut().find_served(&ticket, outcome == Outcome::Elsewhere);
            }
            // No client has seen a redirect that Envoy follows.
            let shown = end.shown(outcome);
            let client_error = shown.client_error && !is_followed.get();
            tracked.end(ticket, latency, Shown { client_error, ..shown });
            let limit = rollout.program.analysis.as_ref().and_then(|analysis| analysis.breaker);
            let counts = (failed || outcome == Outcome::Ok) && tracked.is_in_force(&draw);
            if let Some(limit) = limit.filter(|_| counts) {
                let request = Ended { draw, failed, begun: asked, ended: now };
                let trip = tracked.breaker.borrow_mut().end(limit, &request, || rollout.in_force());
                if trip.is_some_and(|trip| self.vm.trip(&rollout.name, trip)) {
                    tracked.breaker.borrow_mut().rest(rollout.in_force().assignment);
                }
            }
        }
        let Some(series) = routed.loaded.series(routed.rollout, routed.version) else { return };
        // A caller who leaves says nothing about the model.
        let is_error = outcome == Outcome::Error;
        if let Some(rollout) = rollout.filter(|_| is_models_task && (is_error || outcome == Outcome::Ok)) {
            let unanswered = series.unanswered.get().end(rollout.assignment(), is_error);
            let trip = rollout.unanswered(unanswered.tasks());
            let is_acted_on = trip.is_some_and(|trip| self.vm.trip(&rollout.name, trip));
            series.unanswered.set(if is_acted_on { Unanswered::default() } else { unanswered });
        }
        series.count(&Facts {
            class: Class::of(end.status),
            outcome,
            milliseconds: nanoseconds.saturating_add(500_000) / 1_000_000,
            request_bytes: routed.request_bytes,
            response_bytes: routed.response_bytes,
        });
        if let Some((exchange, reader)) = read {
            series.show_figures(exchange, reader);
        }
    }
}

impl Routed {
    /// The request has come as a whole.
    fn end_request(&mut self, now: u64) {
        self.ask(now);
        if self.streams == Some(Streamed::TwoWay) && self.response_bytes == 0 && self.answered.is_none() {
            self.await_stream(now);
        }
        if let Some(bodies) = &mut self.bodies {
            bodies.end_request();
        }
        if let Some(copy) = &mut self.copy {
            copy.end_request();
        }
    }

    /// Nothing of the request is missing: the version's time begins, unless it has. Returns when it did.
    fn ask(&mut self, now: u64) -> u64 {
        if let Some(asked) = self.asked {
            return asked;
        }
        self.asked = Some(now);
        if let Some(Judged { draw, ticket }) = &mut self.judged
            && let Some(tracked) = self.loaded.tracked(self.rollout)
        {
            *ticket = tracked.arrive(tick_at(now), *draw);
        }
        now
    }

    /// The client of a call has sent all it had to, and nothing but headers has come: the version is asked now.
    fn await_stream(&mut self, now: u64) {
        if let Some(Judged { ticket: Some(ticket), .. }) = &self.judged
            && let Some(tracked) = self.loaded.tracked(self.rollout)
            && tracked.ledger.borrow_mut().await_stream(ticket, tick_at(now))
        {
            self.streams = Some(Streamed::Grpc);
        }
    }

    fn is_grpc(&self) -> bool {
        matches!(self.streams, Some(Streamed::Grpc | Streamed::TwoWay))
    }

    /// The answer, which is a stream, has begun.
    fn begin_stream(&self) {
        self.note_time(calls::uptime(), Ledger::begin_stream);
    }

    /// The answer has passed as a whole: the version's time is over, although the client may read for long.
    fn pass_answer(&mut self) {
        let now = calls::uptime();
        self.answered = Some(now);
        if let Some(bodies) = &mut self.bodies {
            bodies.end_answer();
        }
        if let Some(copy) = &mut self.copy {
            copy.end_answer();
        }
        self.note_time(now, Ledger::pass_answer);
    }

    /// Counts for the judge how long the version took until `now`.
    fn note_time(&self, now: u64, count: impl FnOnce(&mut Ledger, &Ticket, u64)) {
        if let (Some(Judged { ticket: Some(ticket), .. }), Some(asked), Some(tracked)) =
            (&self.judged, self.asked, self.loaded.tracked(self.rollout))
        {
            let times = Times { begun: self.begun, asked, answered: now };
            count(&mut tracked.ledger.borrow_mut(), ticket, latency(times));
        }
    }

    /// Whether it went to the model like any request.
    fn is_models_task(&self) -> bool {
        let rollout = self.loaded.plan.rollouts().get(self.rollout);
        let automation = rollout.and_then(plan::Rollout::automation);
        automation.is_some_and(|automation| automation.model == self.version) && !self.is_handed_back
    }

    /// People have answered a task as far as they do: that is their decision.
    fn end_deciding(&mut self, vm: &Vm) {
        let deciding = self.deciding.take();
        deciding.into_iter().for_each(|deciding| vm.tasks.decisions.answered(*deciding, &vm.inflaters));
    }

    /// Looks, of a sample of requests, whether the version that was decided for serves them.
    fn look_who_serves(&mut self, vm: &Vm, tick: u64) {
        let (loaded, rollout) = (&self.loaded, self.rollout);
        let series = loaded.series(rollout, self.version).filter(|_| !self.is_handed_back);
        let draw = |most| vm.draw(|rng| rng.u32(..most));
        let series = series.filter(|series| series.looks.is_due(tick, draw));
        let (Some(series), Some(settings)) = (series, loaded.plan.rollouts().get(rollout)) else { return };
        let last = |version| loaded.series(rollout, version).map(Series::served_by).unwrap_or_default();
        let versions = settings.versions.iter().enumerate();
        let known: Vec<_> = versions.map(|(at, version)| (version.cluster.as_str(), last(at))).collect();
        let cluster = calls::property("xds\0cluster_name");
        self.served = Served::by(cluster.as_deref(), self.version, &known);
        series.note_served(self.served, cluster);
    }

    /// Shows what the model server reports of its load, if it was asked and does. A client that has not asked does not get
    /// it.
    fn show_load(&self, headers: Headers) {
        let Some(asked) = self.load else { return };
        let Some(series) = self.loaded.series(self.rollout, self.version) else { return };
        let mut is_shown = self.served.is_elsewhere();
        for name in load_report::HEADERS {
            let Some(report) = calls::header(headers, name) else { continue };
            if !std::mem::replace(&mut is_shown, true) {
                load_report::read(name, &report, |metric, value| series.show_load(metric, value));
            }
            if asked == LoadAsked::ByFilter {
                calls::remove_header(headers, name);
            }
        }
    }

    /// The end of a request that was answered so that nothing is left to ask. The status comes from a header: the
    /// first property that a request reads costs Envoy as much as three headers.
    fn ended_plainly(&self) -> Option<End> {
        // An answer of gRPC ends with its status; without one it has failed.
        let status = if self.body_ended && !self.is_grpc() { calls::status(Headers::Response) } else { None };
        is_plainly_ok(status, self.response_bytes).then_some(End { status, ..End::default() })
    }
}

/// Envoy's data about the end of the request. Each property costs a copy: those that few requests need
/// are asked for last.
fn how_it_ended(may_be_grpc: bool, sent: bool, ended: bool) -> End {
    let mut end = End {
        status: calls::property_u64("response\0code"),
        flags: calls::property_u64("response\0flags").unwrap_or(0),
        sent,
        ended,
        ..End::default()
    };
    if may_be_grpc {
        end.grpc_status = grpc_status();
    }
    let asked_to_connect = || calls::property("request\0method").is_some_and(|method| *method == *b"CONNECT");
    end.tunnel = end.status == Some(101) || ((end.flags != 0 || !sent) && asked_to_connect());
    end
}

/// The status of an answer of gRPC. What the client says that it asked for does not make it one.
fn grpc_status() -> Option<u64> {
    let told = calls::header(Headers::ResponseTrailers, "grpc-status");
    let told = told.or_else(|| calls::header(Headers::Response, "grpc-status"));
    let is_answer = || {
        calls::header(Headers::Response, "content-type").is_some_and(|content_type| is_grpc(&content_type))
    };
    // Envoy's property is there for every answer; it covers a missing or unreadable status.
    if told.is_some() || is_answer() { calls::property_u64("response\0grpc_status") } else { None }
}

/// All values of a header that may come in several lines, in their order.
fn all_values(map: Headers, name: &str) -> Vec<Vec<u8>> {
    let all = calls::headers(map);
    all.iter().flat_map(|all| pairs::values(all, name)).map(<[u8]>::to_vec).collect()
}

/// Nanoseconds that the version took.
fn latency(times: Times) -> u64 {
    times.latency(|| calls::property_u64("upstream\0cx_pool_ready_duration"))
}

/// A kind of answer that streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streamed {
    Grpc,
    /// A call of gRPC whose client is still sending: it is not known which side speaks next.
    TwoWay,
    /// Server-sent events.
    Events,
    /// An upgrade.
    Tunnel,
}

impl Streamed {
    /// Whether its headers are no answer yet. Those of a tunnel are: it is not known which side speaks first.
    fn begins_with_a_byte(self) -> bool {
        !matches!(self, Self::Tunnel | Self::TwoWay)
    }
}

/// Whether the answer whose headers have come is a stream.
fn streams() -> Option<Streamed> {
    match calls::header(Headers::Response, "content-type") {
        Some(content_type) if is_grpc(&content_type) => Some(Streamed::Grpc),
        Some(content_type) => content_type.starts_with(b"text/event-stream").then_some(Streamed::Events),
        None => {
            let status = calls::header(Headers::Response, ":status");
            status.is_some_and(|status| *status == *b"101").then_some(Streamed::Tunnel)
        }
    }
}
