//! The request whose headers Envoy is showing.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::routed::LoadAsked;
use crate::abi::pairs;
use crate::host::calls::{self, Headers};
use crate::host::memory::Bytes;
use crate::model::header;
use crate::routing::mirror::Mirrored;
use crate::routing::plan::{Decision, Rollout};
use crate::routing::request::Request;
use crate::telemetry::load_report;
use crate::telemetry::mirror_result::MirrorResult;

/// The request whose headers Envoy is showing.
pub(super) struct CurrentRequest {
    pub(super) has_body: bool,
    pub(super) reads_all_headers: bool,
    /// All headers, once they are read; `None` within: they have to be read one by one.
    pub(super) headers: OnceCell<Option<Bytes>>,
}

impl Request for CurrentRequest {
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if self.reads_all_headers
            && let Some(all) = self.all()
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
    /// All headers as they were when they were first read, if Envoy hands over that many at once.
    pub(super) fn all(&self) -> Option<&Bytes> {
        self.headers.get_or_init(|| calls::headers(Headers::Request)).as_ref()
    }

    /// Sets what Envoy's routes and upstreams read of a decision. Returns who asks the model server for its load.
    pub(super) fn mark(
        &self,
        rollout: Option<&Rollout>,
        decision: Option<&Decision<'_>>,
    ) -> Option<LoadAsked> {
        let version_at = |at: usize| rollout.and_then(|rollout| rollout.versions.get(at));
        let version = decision.and_then(|decision| version_at(decision.version));
        self.put(header::CLUSTER, version.map(|version| version.cluster.as_str()));
        let load = rollout.filter(|rollout| rollout.asks_for_load).map(|_| self.ask_for_load());
        let told = version.filter(|_| rollout.is_some_and(|rollout| rollout.tells_upstream));
        self.put(header::VERSION, told.map(|version| version.name.as_str()));
        let mirrored = decision.and_then(|decision| decision.mirror.as_ref());
        let compares = rollout.is_some_and(|rollout| rollout.comparison().is_some());
        let copied_by_envoy = mirrored.filter(|mirrored| is_sent(mirrored) && !compares);
        let shadow = copied_by_envoy.and_then(|mirrored| version_at(mirrored.to));
        self.put(header::MIRROR, shadow.map(|shadow| shadow.cluster.as_str()));
        load
    }

    /// Sets a header of the filter's own, or removes what a client has left, or this request's earlier pass before an
    /// internal redirect. What is not there is not removed: any change has Envoy choose the route again.
    pub(super) fn put(&self, name: &str, value: Option<&str>) {
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

/// Whether the shadow gets a copy.
pub(super) fn is_sent(mirrored: &Mirrored) -> bool {
    matches!(mirrored.result, MirrorResult::Asked | MirrorResult::Sent)
}

/// All values of a header that may come in several lines, in their order.
pub(super) fn all_values(map: Headers, name: &str) -> Vec<Vec<u8>> {
    let all = calls::headers(map);
    all.iter().flat_map(|all| pairs::values(all, name)).map(<[u8]>::to_vec).collect()
}
