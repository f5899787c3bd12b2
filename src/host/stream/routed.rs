//! A request that belongs to a rollout, while it and its answer pass.

use std::cell::Cell;
use std::rc::Rc;

use crate::host::asking::HeldTask;
use crate::host::bodies::Bodies;
use crate::host::calls::{self, Headers};
use crate::host::decisions::Deciding;
use crate::host::loaded::Loaded;
use crate::host::metrics::Series;
use crate::host::shadow::Copied;
use crate::host::shared::tick_at;
use crate::host::vm::Vm;
use crate::model::Draw;
use crate::receipt::answer::Receipt;
use crate::routing::plan;
use crate::telemetry::latency::Times;
use crate::telemetry::ledger::{Ledger, Ticket};
use crate::telemetry::load_report;
use crate::telemetry::outcome;
use crate::telemetry::served::Served;
use crate::telemetry::streamed::Streamed;

/// A request that belongs to a rollout.
pub(super) struct Routed {
    pub(super) loaded: Rc<Loaded>,
    pub(super) rollout: usize,
    pub(super) version: usize,
    /// When its headers came, in nanoseconds.
    pub(super) begun: u64,
    /// When it had come as a whole: from then on the version is waited for. An answer may come before.
    pub(super) asked: Option<u64>,
    /// Its answer's headers came before it had come as a whole.
    pub(super) is_early: bool,
    /// When its answer had passed as a whole. Its client may take longer.
    pub(super) answered: Option<u64>,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    /// The response had trailers, or nothing but headers: where gRPC puts its status.
    pub(super) may_be_grpc: bool,
    /// The response has passed as a whole, and ended with its body.
    pub(super) body_ended: bool,
    /// How the answer streams, as far as it was looked at: that of a request that is judged.
    pub(super) stream_kind: Option<Streamed>,
    /// The first thing that came through a tunnel was that it has failed.
    pub(super) is_closed_at_once: bool,
    pub(super) served: Served,
    /// The judge counts who has served it.
    pub(super) is_sampled: bool,
    /// Set if the bodies are read.
    pub(super) bodies: Option<Box<Bodies>>,
    /// Its answer has begun.
    pub(super) is_answering: bool,
    /// It was ended because its version was taken back.
    pub(super) is_drained: Cell<bool>,
    /// Set if the request is copied, to be sent to a shadow.
    pub(super) copy: Option<Box<Copied>>,
    /// Set if the model server is asked for its load.
    pub(super) load: Option<LoadAsked>,
    pub(super) set_cookie: Option<String>,
    /// Set if its answer carries a receipt.
    pub(super) receipt: Option<Box<Receipt>>,
    /// Set while the model is asked about it.
    pub(super) held: Option<Box<HeldTask>>,
    /// Set if people's answer is a decision.
    pub(super) deciding: Option<Box<Deciding>>,
    /// The model's answer is handed back: no upstream serves it.
    pub(super) is_handed_back: bool,
    /// Set if the request is evidence about the candidate or stable.
    pub(super) judged: Option<Judged>,
}

/// Who has asked a model server for its load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LoadAsked {
    /// The client, which gets the report as well.
    ByClient,
    /// The filter.
    ByFilter,
}

/// A request that is counted for the judge.
pub(super) struct Judged {
    pub(super) draw: Draw,
    /// Once it is asked.
    pub(super) ticket: Option<Ticket>,
}

impl Routed {
    /// The request has come as a whole.
    pub(super) fn end_request(&mut self, now: u64) {
        self.ask(now);
        if self.stream_kind == Some(Streamed::TwoWay) && self.response_bytes == 0 && self.answered.is_none() {
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
    pub(super) fn ask(&mut self, now: u64) -> u64 {
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
    pub(super) fn await_stream(&mut self, now: u64) {
        if let Some(Judged { ticket: Some(ticket), .. }) = &self.judged
            && let Some(tracked) = self.loaded.tracked(self.rollout)
            && tracked.ledger.borrow_mut().await_stream(ticket, tick_at(now))
        {
            self.stream_kind = Some(Streamed::Grpc);
        }
    }

    pub(super) fn is_judged_grpc(&self) -> bool {
        matches!(self.stream_kind, Some(Streamed::Grpc | Streamed::TwoWay))
    }

    /// The answer, which does not stream, has begun.
    pub(super) fn begin_answer(&self) {
        if let (Some(Judged { ticket: Some(ticket), .. }), Some(tracked)) =
            (&self.judged, self.loaded.tracked(self.rollout))
        {
            tracked.ledger.borrow_mut().answer(ticket);
        }
    }

    /// The answer, which is a stream, has begun.
    pub(super) fn begin_stream(&self) {
        self.note_time(calls::uptime(), Ledger::begin_stream);
    }

    /// The answer has passed as a whole: the version's time is over, although the client may read for long.
    pub(super) fn pass_answer(&mut self) {
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
    pub(super) fn note_time(&self, now: u64, count: impl FnOnce(&mut Ledger, &Ticket, u64)) {
        if let (Some(Judged { ticket: Some(ticket), .. }), Some(asked), Some(tracked)) =
            (&self.judged, self.asked, self.loaded.tracked(self.rollout))
        {
            count(&mut tracked.ledger.borrow_mut(), ticket, self.latency(asked, now));
        }
    }

    /// Nanoseconds that the version took.
    pub(super) fn latency(&self, asked: u64, answered: u64) -> u64 {
        let times = Times { begun: self.begun, asked, is_early: self.is_early, answered };
        times.latency(|| calls::property_u64("upstream\0cx_pool_ready_duration"))
    }

    /// Whether it went to the model like any request.
    pub(super) fn is_models_task(&self) -> bool {
        let rollout = self.loaded.plan.rollouts().get(self.rollout);
        let automation = rollout.and_then(plan::Rollout::automation);
        automation.is_some_and(|automation| automation.model == self.version) && !self.is_handed_back
    }

    /// People have answered a task as far as they do: that is their decision.
    pub(super) fn end_deciding(&mut self, vm: &Vm) {
        if let Some(deciding) = self.deciding.take() {
            vm.tasks.decisions.answered(*deciding, &vm.inflaters);
        }
    }

    /// Whether the answer is the version's, or Envoy's because its upstream failed. Other filters' answers, and those of Envoy's
    /// routes, name no version.
    pub(super) fn is_by_version(&self) -> bool {
        let is_answer = || {
            calls::property("response\0code_details").is_some_and(|details| outcome::is_by_upstream(&details))
        };
        let is_failure = || calls::property_u64("response\0flags").is_some_and(outcome::is_upstream_failure);
        self.is_handed_back || (!self.served.is_elsewhere() && (is_answer() || is_failure()))
    }

    /// Looks whether the version that was decided for serves the request: each one whose client is told the version, of
    /// others a sample.
    pub(super) fn look_who_serves(&mut self, vm: &Vm, tick: u64) {
        let (loaded, rollout) = (&self.loaded, self.rollout);
        let series = loaded.series(rollout, self.version).filter(|_| !self.is_handed_back);
        let (Some(series), Some(settings)) = (series, loaded.plan.rollouts().get(rollout)) else { return };
        let draw = |most| vm.draw(|rng| rng.u32(..most));
        // Where clients are told each answer's version, they must not decide how often the judge looks.
        self.is_sampled = series.looks.is_due(tick, draw);
        if !settings.tells_client && !self.is_sampled {
            return;
        }
        let cluster = calls::property("xds\0cluster_name");
        let own = settings.versions.get(self.version).map(|version| version.cluster.as_bytes());
        if own.is_some() && own == cluster.as_deref() {
            self.served = Served::ByVersion;
            return series.note_served(self.served, cluster);
        }
        let last = |version| loaded.series(rollout, version).map(Series::served_by).unwrap_or_default();
        let versions = settings.versions.iter().enumerate();
        let known: Vec<_> = versions.map(|(at, version)| (version.cluster.as_str(), last(at))).collect();
        self.served = Served::by(cluster.as_deref(), self.version, &known);
        series.note_served(self.served, cluster);
    }

    /// Shows what the model server reports of its load, if it was asked and does. A client that has not asked does not get
    /// it.
    pub(super) fn show_load(&self, headers: Headers) {
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
}

/// How the answer streams whose headers have come.
pub(super) fn streams() -> Option<Streamed> {
    let content_type = calls::header(Headers::Response, "content-type");
    let is_switching =
        || calls::header(Headers::Response, ":status").is_some_and(|status| *status == *b"101");
    Streamed::of(content_type.as_deref(), is_switching)
}
