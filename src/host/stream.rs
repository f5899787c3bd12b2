//! The stream context: follows one request.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::calls::{self, Headers};
use super::metrics::{Facts, Series};
use super::vm::{Loaded, Slot, Vm};
use crate::fleet::member::TICK;
use crate::model::Draw;
use crate::routing::request::Request;
use crate::signal::catalog;
use crate::signal::observed::Observed;
use crate::telemetry::breaker::Ended;
use crate::telemetry::ledger::Ticket;
use crate::telemetry::outcome::{Class, End, MirrorResult, Outcome, is_plainly_ok};
use crate::telemetry::tracked::Tracked;

/// The header by which Envoy's routes learn of the chosen cluster.
const CLUSTER: &str = "x-changeover-cluster";
/// The header by which Envoy's mirror policy learns of the shadow's cluster.
const MIRROR: &str = "x-changeover-mirror";
/// The header that tells the version.
const VERSION: &str = "x-changeover-version";

/// One request, from its headers to its end.
pub(super) struct Stream {
    vm: Rc<Vm>,
    slot: Rc<Slot>,
    routed: Option<Routed>,
}

/// A request that belongs to a rollout.
struct Routed {
    loaded: Rc<Loaded>,
    rollout: usize,
    version: usize,
    series: Rc<Series>,
    /// When its headers came, in nanoseconds.
    begun: u64,
    request_bytes: u64,
    response_bytes: u64,
    /// The response had trailers, or nothing but headers: where gRPC puts its status.
    may_be_grpc: bool,
    /// The response has passed as a whole, and ended with its body.
    body_ended: bool,
    set_cookie: Option<String>,
    /// Set when the request tells something about the candidate or stable.
    judged: Option<Judged>,
}

/// A request that is counted for the judge.
struct Judged {
    tracked: Rc<Tracked>,
    ticket: Ticket,
    draw: Draw,
}

/// The request whose headers Envoy is showing.
struct CurrentRequest;

impl Request for CurrentRequest {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        calls::header(Headers::Request, name)
    }

    fn source_address(&self) -> Option<Vec<u8>> {
        calls::property("source\0address")
    }
}

impl Stream {
    pub(super) fn new(vm: Rc<Vm>, slot: Rc<Slot>) -> Self {
        Self { vm, slot, routed: None }
    }

    /// Decides where the request goes and tells Envoy's routes. `None`: no rollout is about it.
    fn route(&self) -> Option<Routed> {
        let loaded = self.slot.loaded()?;
        let (rollout, decision) = self.vm.draw(|rng| loaded.plan.route(&CurrentRequest, rng))?;
        let settings = loaded.plan.rollouts().get(rollout)?;
        let version = settings.versions.get(decision.version)?;
        // Written for stable too: whatever a client sent there is gone.
        calls::set_header(Headers::Request, CLUSTER, &version.cluster);
        if settings.tells_upstream {
            calls::set_header(Headers::Request, VERSION, &version.name);
        }
        if let Some(mirrored) = decision.mirror {
            if let (MirrorResult::Sent, Some(shadow)) = (mirrored.result, settings.versions.get(mirrored.to))
            {
                calls::set_header(Headers::Request, MIRROR, &shadow.cluster);
            }
            if let Some(shadow) = loaded.series(rollout, mirrored.to) {
                shadow.count_mirrored(mirrored.result);
            }
        }
        let set_cookie = decision.cookie.map(|(cookie, id)| {
            let secure = calls::header(Headers::Request, ":scheme").is_some_and(|scheme| scheme == b"https");
            cookie.set(&id, secure)
        });
        let begun = calls::uptime();
        let judged = decision.evidence.and_then(|draw| {
            let tracked = loaded.tracked(rollout)?;
            let ticket = tracked.ledger.borrow_mut().arrive(begun / TICK, draw);
            Some(Judged { tracked, ticket, draw })
        });
        self.vm.serve();
        Some(Routed {
            rollout,
            version: decision.version,
            series: loaded.series(rollout, decision.version)?,
            loaded,
            begun,
            judged,
            request_bytes: 0,
            response_bytes: 0,
            may_be_grpc: false,
            body_ended: false,
            set_cookie,
        })
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        #[cfg(feature = "test-build")]
        if CurrentRequest.header("x-test-trap").is_some() {
            core::arch::wasm32::unreachable();
        }
        self.routed = self.route();
        if self.routed.is_none() && CurrentRequest.header(CLUSTER).is_some() {
            calls::remove_header(Headers::Request, CLUSTER);
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, _: bool) -> Action {
        if let Some(routed) = &mut self.routed {
            routed.request_bytes = routed.request_bytes.saturating_add(size as u64);
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let Some(routed) = &mut self.routed else { return Action::Continue };
        routed.may_be_grpc = end_of_stream;
        if let Some(Judged { tracked, ticket, .. }) = &routed.judged {
            let mut ledger = tracked.ledger.borrow_mut();
            ledger.answer(ticket);
            if !end_of_stream && streams() {
                let duration = Observed::Duration(nanoseconds_since(routed.begun));
                ledger.observe(ticket, &catalog::LATENCY, duration);
            }
            #[cfg(feature = "test-build")]
            {
                let has_event = calls::header(Headers::Response, "x-test-event").is_some();
                ledger.observe(ticket, &catalog::TEST_EVENT, Observed::Event(has_event));
            }
        }
        if let Some(cookie) = routed.set_cookie.take() {
            calls::add_header(Headers::Response, "set-cookie", &cookie);
        }
        let rollout = routed.loaded.plan.rollouts().get(routed.rollout);
        if let Some(rollout) = rollout.filter(|rollout| rollout.tells_client)
            && let Some(version) = rollout.versions.get(routed.version)
        {
            calls::set_header(Headers::Response, VERSION, &version.name);
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if let Some(routed) = &mut self.routed {
            routed.body_ended = end_of_stream;
            routed.response_bytes = routed.response_bytes.saturating_add(size as u64);
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if let Some(routed) = &mut self.routed {
            routed.may_be_grpc = true;
        }
        Action::Continue
    }

    /// All is known here, and it comes exactly once. Also for streams whose headers never came: those were
    /// not routed.
    fn on_log(&mut self) {
        let Some(routed) = self.routed.take() else { return };
        let end = routed.ended_plainly().unwrap_or_else(|| how_it_ended(routed.may_be_grpc));
        let from_upstream =
            || calls::property("response\0code_details").is_some_and(|details| details == b"via_upstream");
        let rollout = routed.loaded.plan.rollouts().get(routed.rollout);
        let outcome =
            rollout.map_or(Outcome::Aborted, |rollout| end.outcome(&rollout.failures, from_upstream));
        let nanoseconds = nanoseconds_since(routed.begun);
        if let (Some(Judged { tracked, ticket, draw }), Some(rollout)) = (routed.judged, rollout) {
            let failed = matches!(outcome, Outcome::Error | Outcome::Unanswered);
            tracked.end(ticket, nanoseconds, end.shown(outcome));
            let limit = rollout.program.analysis.as_ref().and_then(|analysis| analysis.breaker);
            if let Some(limit) = limit.filter(|_| outcome != Outcome::Aborted) {
                let ended = routed.begun.saturating_add(nanoseconds);
                let request = Ended { draw, failed, begun: routed.begun, ended };
                let trip = tracked.breaker.borrow_mut().end(limit, &request, || rollout.in_force());
                if trip.is_some_and(|trip| self.vm.trip(&rollout.name, trip)) {
                    tracked.breaker.borrow_mut().rest();
                }
            }
        }
        routed.series.count(&Facts {
            class: Class::of(end.status),
            outcome,
            milliseconds: nanoseconds.saturating_add(500_000) / 1_000_000,
            request_bytes: routed.request_bytes,
            response_bytes: routed.response_bytes,
        });
    }
}

impl Routed {
    /// The end of a request that was answered so that nothing is left to ask. The status comes from a header: the
    /// first property that a request reads costs Envoy as much as three headers.
    fn ended_plainly(&self) -> Option<End> {
        let status = if self.body_ended { calls::status() } else { None };
        is_plainly_ok(status, self.response_bytes).then_some(End { status, ..End::default() })
    }
}

/// What Envoy knows about the end of the request. Each property costs a copy: those that few requests need
/// are asked for last.
fn how_it_ended(may_be_grpc: bool) -> End {
    let mut end = End {
        status: calls::property_u64("response\0code"),
        flags: calls::property_u64("response\0flags").unwrap_or(0),
        ..End::default()
    };
    if may_be_grpc {
        let content_type = calls::property("request\0headers\0content-type");
        if content_type.is_some_and(|content_type| is_grpc(&content_type)) {
            end.grpc_status = calls::property_u64("response\0grpc_status");
        }
    }
    let asked_to_connect = || calls::property("request\0method").is_some_and(|method| method == b"CONNECT");
    end.tunnel = end.status == Some(101) || (end.flags != 0 && asked_to_connect());
    end
}

fn nanoseconds_since(begun: u64) -> u64 {
    calls::uptime().saturating_sub(begun)
}

/// Whether the answer whose headers have come goes on for as long as it likes: its time is to its headers.
fn streams() -> bool {
    match calls::header(Headers::Response, "content-type") {
        Some(content_type) => is_grpc(&content_type) || content_type.starts_with(b"text/event-stream"),
        None => calls::header(Headers::Response, ":status").is_some_and(|status| status == b"101"),
    }
}

/// `application/grpc`, also with a format (`+proto`) or parameters; not grpc-web, whose status is in the body.
fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}
