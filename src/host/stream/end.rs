//! The end of a request that belongs to a rollout: how it ended, and where that is counted.

use std::cell::OnceCell;

use super::routed::{Judged, Routed};
use crate::automation::task::Unanswered;
use crate::host::asking::Asker;
use crate::host::calls::{self, Headers};
use crate::host::memory::Bytes;
use crate::host::metrics::{Facts, Series};
use crate::host::shared::tick_at;
use crate::host::vm::Vm;
use crate::payload::exchange::Exchange;
use crate::payload::head::is_grpc;
use crate::telemetry::breaker;
use crate::telemetry::class::Class;
use crate::telemetry::outcome::{self, End, NOT_MODIFIED, Outcome, is_plainly_ok};
use crate::telemetry::reader::Reader;
use crate::telemetry::served::Served;

/// How a request has ended. Times are in nanoseconds.
struct Ended {
    end: End,
    outcome: Outcome,
    asked: u64,
    answered: u64,
    now: u64,
}

/// What Envoy says of how an answer came about, once it is asked for.
#[derive(Default)]
struct Details(OnceCell<Option<Bytes>>);

impl Details {
    fn get(&self) -> Option<&[u8]> {
        self.0.get_or_init(|| calls::property("response\0code_details")).as_deref()
    }

    fn is_by_upstream(&self) -> bool {
        self.get().is_some_and(outcome::is_by_upstream)
    }
}

/// What was read of the bodies, and by what.
type Read<'a> = Option<(&'a Exchange, &'a Reader)>;

impl Routed {
    /// All is known, and it comes exactly once. Calls may be about another context afterwards.
    pub(super) fn end(mut self, vm: &Vm, id: Asker) {
        if let Some(held) = self.held.take() {
            vm.tasks.leave(&held);
        }
        if let Some(deciding) = &mut self.deciding {
            deciding.fail();
            self.end_deciding(vm);
        }
        let details = Details::default();
        let ended = self.ended(&details);
        let copy = self.copy.take().map(|copy| {
            // Filters behind this one, redirects and direct responses leave no flag.
            let is_answered =
                self.answered.is_some() && !self.served.is_elsewhere() && details.is_by_upstream();
            (copy, is_answered)
        });
        let is_good = ended.outcome == Outcome::Ok;
        let exchange = self.bodies.take().map(|bodies| bodies.finish((ended.asked, ended.answered), is_good));
        let judged = self.judged.take();
        let read = exchange.as_ref().zip(self.loaded.reader(self.rollout));
        if let Some(judged) = judged {
            self.judge(vm, judged, &ended, read);
        }
        if let Some(series) = self.loaded.series(self.rollout, self.version) {
            self.count_unanswered(vm, &ended, series);
            self.show(&ended, series, read);
        }
        if let Some((copy, is_answered)) = copy {
            // What its own root has sent would be dropped with it after a push.
            let newest = vm.notices.newest().filter(|root| *root != id.root && calls::set_context(*root));
            vm.shadows.end(*copy, newest.unwrap_or(id.root), is_answered, ended.end.grpc_status);
        }
    }

    fn ended(&mut self, details: &Details) -> Ended {
        let now = calls::uptime();
        let end = self.ended_plainly().unwrap_or_else(|| self.how_it_ended(now));
        let answered = self.answered.unwrap_or(now);
        let asked = match self.asked {
            Some(asked) => asked,
            // The client has left before it had asked.
            None => {
                self.ask(now);
                self.begun
            }
        };
        let rollout = self.loaded.plan.rollouts().get(self.rollout);
        let outcome = rollout
            .map_or(Outcome::Aborted, |rollout| end.outcome(&rollout.failures, || details.is_by_upstream()));
        // What is ended here is not the version's doing.
        let outcome = if self.is_drained.get() { Outcome::Aborted } else { outcome };
        let outcome = match self.served.outcome(outcome) {
            Outcome::Aborted if self.nothing_is_served(details, now) => Outcome::Elsewhere,
            outcome => outcome,
        };
        Ended { end, outcome, asked, answered, now }
    }

    /// Whether one of Envoy's routes has answered this request, and for long all that were for the version.
    fn nothing_is_served(&self, details: &Details, now: u64) -> bool {
        self.served == Served::ByNone
            && details.get().is_some_and(outcome::is_by_routes)
            && self
                .loaded
                .series(self.rollout, self.version)
                .is_some_and(|series| series.own_answers.add(tick_at(now)))
    }

    /// Counts it for the judge and the circuit breaker.
    fn judge(&self, vm: &Vm, judged: Judged, ended: &Ended, read: Read<'_>) {
        let Ended { ref end, outcome, asked, answered, now } = *ended;
        let (Judged { ticket: Some(ticket), draw }, Some(tracked), Some(rollout)) =
            (judged, self.loaded.tracked(self.rollout), self.loaded.plan.rollouts().get(self.rollout))
        else {
            return;
        };
        if let Some((exchange, reader)) = read {
            let mut ledger = tracked.ledger.borrow_mut();
            for (signal, observed) in reader.observations(exchange) {
                ledger.observe(&ticket, signal, observed);
            }
        }
        // Where the answer has passed as a whole its latency is counted already.
        let latency = match self.answered {
            Some(_) => answered.saturating_sub(asked),
            None => self.latency(asked, answered),
        };
        if self.is_sampled {
            tracked.ledger.borrow_mut().find_served(&ticket, outcome == Outcome::Elsewhere);
        }
        tracked.end(ticket, latency, end.shown(outcome));
        let limit = rollout.program.analysis.as_ref().and_then(|analysis| analysis.breaker);
        let failed = matches!(outcome, Outcome::Error | Outcome::Unanswered);
        let counts = (failed || outcome == Outcome::Ok) && tracked.is_in_force(&draw);
        if let Some(limit) = limit.filter(|_| counts) {
            let request = breaker::Ended { draw, failed, begun: asked, ended: now };
            let trip = tracked.breaker.borrow_mut().end(limit, &request, || rollout.in_force());
            if trip.is_some_and(|trip| vm.trip(&rollout.name, trip)) {
                tracked.breaker.borrow_mut().rest(rollout.in_force().assignment);
            }
        }
    }

    /// Counts, of a task that went to the model, whether the model has answered it.
    fn count_unanswered(&self, vm: &Vm, ended: &Ended, series: &Series) {
        let is_error = ended.outcome == Outcome::Error;
        // A caller who leaves says nothing about the model.
        if !(is_error || ended.outcome == Outcome::Ok) || !self.is_models_task() {
            return;
        }
        let Some(rollout) = self.loaded.plan.rollouts().get(self.rollout) else { return };
        let unanswered = series.unanswered.get().end(rollout.assignment(), is_error);
        let trip = rollout.unanswered(unanswered.tasks());
        let is_acted_on = trip.is_some_and(|trip| vm.trip(&rollout.name, trip));
        series.unanswered.set(if is_acted_on { Unanswered::default() } else { unanswered });
    }

    /// Shows it in its version's metrics.
    fn show(&self, ended: &Ended, series: &Series, read: Read<'_>) {
        let nanoseconds = ended.now.saturating_sub(self.begun);
        series.count(&Facts {
            class: Class::of(ended.end.status),
            outcome: ended.outcome,
            milliseconds: nanoseconds.saturating_add(500_000) / 1_000_000,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
        });
        if let Some((exchange, reader)) = read {
            series.show_figures(exchange, reader);
        }
    }

    /// The end of a request that was answered so that nothing is left to ask. The status comes from a header: the
    /// first property that a request reads costs Envoy as much as three headers.
    fn ended_plainly(&self) -> Option<End> {
        // An answer of gRPC ends with its status; without one it has failed.
        let status = if self.body_ended && !self.is_judged_grpc() && !self.is_early {
            calls::status(Headers::Response)
        } else {
            None
        };
        is_plainly_ok(status, self.response_bytes).then_some(End { status, ..End::default() })
    }

    /// Envoy's data about the end of the request. Each property costs a copy: those that few requests need
    /// are asked for last.
    fn how_it_ended(&self, now: u64) -> End {
        let sent = self.response_bytes > 0 && !self.is_closed_at_once;
        let mut end = End {
            status: calls::property_u64("response\0code"),
            flags: calls::property_u64("response\0flags").unwrap_or(0),
            sent,
            ended: self.answered.is_some(),
            asked: self.request_bytes > 0,
            ..End::default()
        };
        if self.may_be_grpc || self.is_judged_grpc() || self.response_bytes == 0 {
            end.grpc_status = grpc_status();
        }
        if end.may_be_late() {
            let deadline =
                calls::header(Headers::Request, "grpc-timeout").and_then(|text| outcome::grpc_timeout(&text));
            let took = now.saturating_sub(self.begun);
            end.is_over = deadline.is_some_and(|deadline| outcome::is_over(deadline, took));
        }
        let has = |name| calls::header(Headers::Request, name).is_some();
        // A request for an upgrade does not end before it is answered.
        end.upgrade = self.is_early && has("upgrade");
        end.conditional =
            end.status == Some(NOT_MODIFIED) && (has("if-none-match") || has("if-modified-since"));
        let asked_to_connect =
            || calls::property("request\0method").is_some_and(|method| *method == *b"CONNECT");
        end.tunnel = end.status == Some(101) || ((end.flags != 0 || !sent) && asked_to_connect());
        end
    }
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
