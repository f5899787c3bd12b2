//! Answers of the control listener that wait for the workers.

use std::rc::Rc;

use super::calls;
use crate::control::api::Api;
use crate::control::response::Response;
use crate::rollout::record::Record;

/// Nanoseconds after which a change is answered although a worker has not confirmed it.
pub(super) const PATIENCE: u64 = 1_000_000_000;

/// Answers the request of the context that calls are about.
pub(super) fn respond(response: &Response) {
    let headers: Vec<(&str, &str)> =
        response.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    calls::respond(response.status.into(), &headers, &response.body);
}

/// A change that has been made and waits for the workers to take it.
pub(super) struct Pending {
    /// The stream that is to be answered.
    pub(super) stream: u32,
    /// The version of the heads that everybody must follow.
    pub(super) version: u64,
    /// By the clock that all VMs share: then it is answered all the same.
    pub(super) deadline: u64,
    pub(super) api: Rc<Api>,
    pub(super) rollout: String,
    pub(super) record: Box<Record>,
}
