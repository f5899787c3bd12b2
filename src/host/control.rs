//! The control listener's streams: each is one request to the API.

use std::rc::Rc;

use super::calls::{self, Body, Headers};
use super::memory::Bytes;
use super::shared::{Kv, clock};
use super::vm::Vm;
use crate::abi::Action;
use crate::control::api::{Api, Handled, changed};
use crate::control::request::{MOST_BODY, Request};
use crate::fleet::recordings;
use crate::rollout::change::Change;

/// One request to the API.
pub(super) struct ControlStream {
    id: u32,
    vm: &'static Vm,
    api: Rc<Api>,
    request: Request,
    answered: bool,
}

impl ControlStream {
    pub(super) fn new(id: u32, vm: &'static Vm, api: Rc<Api>) -> Self {
        Self { id, vm, api, request: Request::default(), answered: false }
    }

    /// The request is there as a whole, or more of it than is read.
    fn answer(&mut self) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        match self.api.handle(&self.request, &Kv, clock()) {
            Handled::Answer(response) => calls::respond(&response),
            Handled::Record { rollout, answer } => {
                recordings::want(&mut Kv, &rollout, clock().uptime);
                calls::respond(&answer);
            }
            Handled::Page(page) => calls::respond_with(200, &page.headers, &page.body),
            Handled::Change(change) => self.change(&change),
        }
    }

    fn answer_with_body(&mut self) {
        let body = calls::body(Body::Request, 0, MOST_BODY.saturating_add(1));
        self.request.body = body.map(Bytes::into_vec).unwrap_or_default();
        self.answer();
    }

    fn change(&self, change: &Change) {
        match self.vm.command(self.id, change) {
            Err(not_changed) => {
                calls::respond(&changed(&change.rollout, Err(&not_changed), &[], clock()));
            }
            Ok(changed) => self.vm.await_followers(self.id, &change.rollout, changed),
        }
    }

    pub(super) fn on_request_headers(&mut self, end_of_stream: bool) -> Action {
        let header = |name| Some(calls::header(Headers::Request, name)?.into_vec());
        self.request = Request {
            method: header(":method").unwrap_or_default(),
            path: header(":path").unwrap_or_default(),
            authority: header(":authority").unwrap_or_default(),
            origin: header("origin"),
            content_type: header("content-type"),
            content_encoding: header("content-encoding"),
            authorization: header("authorization"),
            accept_encoding: header("accept-encoding"),
            if_match: header("if-match"),
            body: Vec::new(),
        };
        if end_of_stream {
            self.answer();
        }
        // The route behind this filter answers 503, so nothing may reach it. That the body comes nevertheless is
        // what `allow_on_headers_stop_iteration` is for (Envoy 1.35 and newer).
        Action::Pause
    }

    pub(super) fn on_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if end_of_stream || size > MOST_BODY {
            self.answer_with_body();
        }
        Action::Pause
    }

    pub(super) fn on_request_trailers(&mut self) -> Action {
        self.answer_with_body();
        Action::Pause
    }

    pub(super) fn on_log(self) {
        self.vm.forget(self.id);
    }
}
