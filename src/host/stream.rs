//! The stream context: follows one request. [`request`] is what Envoy shows of it, [`routed`] what is kept of one that belongs to
//! a rollout, [`end`] what follows from its end.

mod end;
mod request;
mod routed;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::asking::{Asker, HeldTask};
use super::bodies::Bodies;
use super::calls::{self, Headers};
use super::decisions::Decision;
use super::feedback::{Event, Feedback};
use super::loaded::{Loaded, Slot};
use super::people;
use super::place::Place;
use super::shared::tick_at;
use super::tasks::Released;
use super::vm::Vm;
use crate::abi::Action;
use crate::automation::task::{Reason, Route};
use crate::model::header;
use crate::routing::affinity::is_shared;
use crate::routing::plan::{self, Task};
#[cfg(feature = "test-build")]
use crate::signal::catalog;
#[cfg(feature = "test-build")]
use crate::signal::observed::Observed;
use crate::telemetry::outcome;
use crate::telemetry::served::Served;
use crate::telemetry::streamed::{self, Streamed};

use request::{CurrentRequest, all_values, is_sent};
use routed::{Judged, LoadAsked, Routed, streams};

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

impl Stream {
    pub(super) fn new(id: Asker, vm: &'static Vm, slot: Rc<Slot>) -> Self {
        Self { vm, id, slot, routed: None, decision: None, event: None }
    }

    /// Decides where the request goes and sets the header for Envoy's routes. `None`: it is not followed.
    /// `is_decision`: whether it decides a task.
    fn route(&self, loaded: &Rc<Loaded>, request: &CurrentRequest, is_decision: bool) -> Option<Routed> {
        let drawn = self.vm.draw(|rng| loaded.plan.route(request, is_decision, rng));
        let settings = drawn.as_ref().and_then(|(rollout, _)| loaded.plan.rollouts().get(*rollout));
        let load = request.mark(settings, drawn.as_ref().map(|(_, decision)| decision));
        let (rollout, decision) = drawn?;
        settings?.versions.get(decision.version)?;
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
            let compares = settings.is_some_and(|settings| settings.comparison().is_some());
            if compares && is_sent(&mirrored) {
                // Of what the filter has changed since, a copy has that it asks for the load.
                let is_changed = load == Some(LoadAsked::ByFilter);
                let anew = if is_changed { calls::headers(Headers::Request) } else { None };
                let shown = anew.as_ref().or_else(|| request.all()).map(|shown| &**shown);
                copy = self.vm.shadows.copy(loaded, (rollout, mirrored.to), decision.evidence, shown);
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
            stream_kind: None,
            is_early: false,
            is_closed_at_once: false,
            served: Served::Unknown,
            is_sampled: false,
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
    ) -> Option<Box<HeldTask>> {
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
    fn keep_holding(&mut self, receive: impl FnOnce(&mut HeldTask) -> Result<(), Reason>) -> Action {
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
        if let Some(decision) = self.decision.take() {
            self.vm.tasks.decisions.decide(*decision, &self.vm.inflaters);
        }
    }

    /// What says what a user did has come as a whole.
    fn end_event(&mut self) {
        if let Some(event) = &mut self.event {
            event.end();
        }
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
        self.keep_holding(HeldTask::end)
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
        routed.is_early = routed.asked.is_none();
        let asked = routed.ask(calls::uptime());
        if let Some(Judged { ticket: Some(ticket), .. }) = &routed.judged
            && let Some(tracked) = routed.loaded.tracked(routed.rollout)
        {
            let mut ledger = tracked.ledger.borrow_mut();
            routed.stream_kind = if end_of_stream { None } else { streams() };
            if routed.is_early && routed.stream_kind == Some(Streamed::Grpc) {
                routed.stream_kind = Some(Streamed::TwoWay);
            }
            if streamed::headers_begin(routed.stream_kind, routed.is_early, !end_of_stream) {
                ledger.answer(ticket);
            }
            #[cfg(feature = "test-build")]
            {
                let has_event = calls::header(Headers::Response, "x-test-event").is_some();
                ledger.observe(ticket, catalog::TEST_EVENT.id, Observed::Event(has_event));
            }
        }
        if routed.stream_kind.is_some_and(Streamed::begins_with_headers) {
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
        let told = rollout.filter(|rollout| rollout.tells_client && routed.is_by_version());
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
            if size > 0 && routed.response_bytes == 0 {
                match routed.stream_kind {
                    Some(kind) => {
                        routed.is_closed_at_once = kind == Streamed::Tunnel
                            && calls::body(calls::Body::Response, 0, 4)
                                .is_some_and(|bytes| outcome::is_failing_close(&bytes));
                        routed.begin_stream();
                    }
                    None if end_of_stream => {} // it passes as a whole
                    None => routed.begin_answer(),
                }
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
        if let Some(event) = self.event {
            self.vm.feedback.count(*event, &self.vm.inflaters);
        }
        if let Some(routed) = self.routed {
            routed.end(self.vm, self.id);
        }
    }
}
