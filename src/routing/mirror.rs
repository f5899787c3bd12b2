//! Which requests are copied to a shadow: a version whose answers reach no client.

use super::passed_on::is_passed_on;
use super::request::{Facts, Request};
use crate::analysis::rules::fingerprint;
use crate::compare::Answer;
use crate::compare::settings::Settings;
use crate::config::schema::{self, MirrorMode};
use crate::model::Share;
use crate::telemetry::mirror_result::MirrorResult;

/// Headers in which clients, and proxies in front of this one, send credentials. No copy has them unless it is configured.
pub const CREDENTIALS: [&str; 14] = [
    "cookie",
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "x-access-token",
    "x-amz-security-token",
    "x-forwarded-client-cert",
    "x-goog-iap-jwt-assertion",
    "cf-access-jwt-assertion",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "x-functions-key",
];

/// A rollout's mirror, compiled.
pub(super) struct Mirror {
    /// The shadow's position in the rollout's versions.
    to: usize,
    /// Of the requests that stable answers.
    share: Share,
    methods: Vec<Vec<u8>>,
    /// Bytes of a body that is copied, at most.
    max_body: u64,
    /// How answers are compared, if they are.
    comparison: Option<Comparison>,
}

/// How the filter copies requests and compares answers.
#[derive(Debug)]
pub struct Comparison {
    /// How two answers are compared.
    pub settings: Settings,
    /// Bytes of a body that is held, at most: a request's, stable's answer's, the shadow's.
    pub max_body: usize,
    /// Requests that a worker may have sent to the shadow at once.
    pub max_in_flight: usize,
    /// Bytes that a worker may hold.
    pub max_bytes: usize,
    /// Milliseconds that the shadow is waited for.
    pub timeout: u32,
    /// Headers that copies get, with names in lower case.
    pub set_headers: Vec<(String, String)>,
    /// Headers that copies do not get, in lower case, beside credentials.
    removed_headers: Vec<Vec<u8>>,
    /// Whether copies keep credentials.
    pub forwards_credentials: bool,
    /// Whether stable gets a copy as well.
    pub has_baseline: bool,
    /// Identifies how answers are compared and what of them is kept: pairs that were compared otherwise are not added up with them.
    pub definition: u64,
}

impl Comparison {
    fn new(config: &schema::Mirror) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let headers = config.set_headers.iter();
        let removed = config.remove_headers.iter();
        Self {
            settings: config.compare.clone().unwrap_or_default().settings(),
            max_body: size(config.max_body.bytes()),
            max_in_flight: config.max_in_flight.map_or(64, |most| size(most.get())),
            max_bytes: size(config.max_bytes().bytes()),
            timeout: config.timeout.map_or(5_000, |time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX)),
            set_headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect(),
            removed_headers: removed.map(|name| name.to_ascii_lowercase().into_bytes()).collect(),
            forwards_credentials: config.forward_credentials,
            has_baseline: config.has_baseline(),
            definition: fingerprint(&config.compare),
        }
    }

    /// Undoes the compression of an answer's messages, in gRPC, so that `max_body` bounds what both servers have answered.
    ///
    /// # Errors
    /// It stays as it is: it would be too large, or cannot be read.
    pub fn inflate(&self, answer: &mut Answer) -> Result<(), MirrorResult> {
        match answer.inflate(self.max_body) {
            Ok(true) => Ok(()),
            Ok(false) => Err(MirrorResult::SkippedTooLarge),
            Err(_) => Err(MirrorResult::SkippedEncoding),
        }
    }

    /// Whether a copy has the header of a request, by its name in lower case and its value. Not what no copy has, what
    /// is set in its place or removed, or credentials.
    #[must_use]
    pub fn keeps(&self, name: &[u8], value: &[u8]) -> bool {
        let is_set = self.set_headers.iter().any(|(set, _)| set.as_bytes() == name);
        let is_removed = self.removed_headers.iter().any(|removed| removed == name);
        let is_secret =
            !self.forwards_credentials && CREDENTIALS.iter().any(|known| known.as_bytes() == name);
        is_passed_on(name, value) && !is_set && !is_removed && !is_secret
    }
}

/// A request that was drawn for the shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The shadow's position in the rollout's versions.
    pub to: usize,
    /// Whether it gets the request.
    pub result: MirrorResult,
}

impl Mirror {
    /// The headers that are asked for.
    pub(super) const HEADERS: [&str; 2] = [":method", "upgrade"];

    pub(super) fn new(config: &schema::Mirror, to: usize) -> Self {
        Self {
            to,
            share: config.percent.0,
            max_body: config.max_body.bytes(),
            comparison: (config.mode == MirrorMode::Compare).then(|| Comparison::new(config)),
            methods: config.methods.iter().map(|method| method.clone().into_bytes()).collect(),
        }
    }

    /// The share that is configured.
    pub(super) fn share(&self) -> Share {
        self.share
    }

    /// How answers are compared, if they are.
    pub(super) fn comparison(&self) -> Option<&Comparison> {
        self.comparison.as_ref()
    }

    /// What becomes of a request that was drawn. One that is to be compared is sent once stable has answered, if nothing
    /// prevents that.
    pub(super) fn decide<R: Request>(&self, facts: &Facts<'_, R>) -> Mirrored {
        let result = if facts.method() == b"CONNECT" || facts.request().header("upgrade").is_some() {
            MirrorResult::SkippedUpgrade
        } else if self.methods.iter().any(|method| method == facts.method()) {
            self.decide_by_length(facts)
        } else {
            MirrorResult::SkippedMethod
        };
        Mirrored { to: self.to, result }
    }

    /// Envoy reads a request from its client only as fast as the shadow takes the copy, so a body is copied only if it
    /// finds room in Envoy's buffers as a whole.
    fn decide_by_length<R: Request>(&self, facts: &Facts<'_, R>) -> MirrorResult {
        let copied = if self.comparison.is_some() { MirrorResult::Sent } else { MirrorResult::Asked };
        if !facts.request().has_body() {
            return copied;
        }
        let length = facts.request().header("content-length");
        let length = length.and_then(|length| std::str::from_utf8(&length).ok()?.parse::<u64>().ok());
        match length {
            // The filter sees how long it is.
            None if self.comparison.is_some() => copied,
            None => MirrorResult::SkippedUnknownLength,
            Some(length) if length > self.max_body => MirrorResult::SkippedTooLarge,
            Some(_) => copied,
        }
    }
}
