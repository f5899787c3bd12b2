//! Reads the bodies of a request and its answer while they pass.

use super::calls::{self, Body, Headers};
use crate::payload::encoding::Inflaters;
use crate::payload::exchange::Exchange;
use crate::payload::head::{self, Framing, Head};
use crate::payload::reading::{Reading, SLICE};
use crate::routing::request::Request;
use crate::telemetry::reader::Reader;

/// Headers that say how a body is to be read.
const HEADERS: [&str; 3] = ["content-type", "content-encoding", "inference-header-content-length"];

/// What has been read of a request and its answer.
pub(super) struct Bodies {
    input: Reading,
    /// Of an answer with a good status, once its headers have come.
    output: Option<Reading>,
    /// The request calls Open Inference's `ModelInfer`.
    infers: bool,
    /// The request asks for an answer that can be read, as far as is known.
    is_due: bool,
    /// When the first event of the answer that carries text came, in nanoseconds.
    first_token: Option<u64>,
}

impl Bodies {
    /// Begins with the request's headers. `None` for a tunnel, whose bytes are no body, and for a request that asks for no
    /// inference.
    pub(super) fn begin(reader: &Reader, request: &impl Request, inflaters: &Inflaters) -> Option<Box<Self>> {
        let method = request.header(":method").unwrap_or_default();
        let is_tunnel = *method == *b"CONNECT" || request.header("upgrade").is_some();
        if is_tunnel || !reader.reads_bodiless && !request.has_body() {
            return None;
        }
        let [content_type, encoding, json_length] = HEADERS.map(|name| request.header(name));
        let mut head = Head::new(content_type.as_deref(), encoding.as_deref(), json_length.as_deref());
        head.infers =
            head.framing == Framing::Grpc && request.header(":path").is_some_and(|path| head::infers(&path));
        let input = Reading::new(&reader.input, &head, &inflaters.for_requests());
        let is_due = [&b"POST"[..], b"GET", b"PUT", b"PATCH"].contains(&&*method);
        Some(Box::new(Self { input, output: None, infers: head.infers, is_due, first_token: None }))
    }

    /// The next bytes of the request.
    pub(super) fn read_request(&mut self, size: usize) {
        read(&mut self.input, Body::Request, size);
    }

    /// The request has come as a whole.
    pub(super) fn end_request(&mut self) {
        self.input.end();
    }

    /// The answer's headers have come.
    pub(super) fn answer(&mut self, reader: &Reader, inflaters: &Inflaters) {
        let status = calls::status(Headers::Response).unwrap_or_default();
        if !(200..300).contains(&status) {
            return;
        }
        let [content_type, encoding, json_length] =
            HEADERS.map(|name| calls::header(Headers::Response, name));
        let head = Head::new(content_type.as_deref(), encoding.as_deref(), json_length.as_deref());
        let head = Head { infers: self.infers, ..head };
        // Those have no content, or a part that the client has asked for.
        self.is_due &= !(204..=206).contains(&status);
        if head.framing == Framing::Other {
            let accept = calls::header(Headers::Request, "accept");
            self.is_due &= head::accepts_json(accept.as_deref());
        }
        self.output = Some(Reading::new(&reader.output, &head, &inflaters.for_answers()));
    }

    /// The next bytes of the answer.
    pub(super) fn read_answer(&mut self, size: usize) {
        let Some(output) = &mut self.output else { return };
        read(output, Body::Response, size);
        if self.first_token.is_none() && output.token_events() > 0 {
            self.first_token = Some(calls::uptime());
        }
    }

    /// The answer has come as a whole.
    pub(super) fn end_answer(&mut self) {
        self.output.iter_mut().for_each(Reading::end);
    }

    /// All has been read. The request had come as a whole when it was `asked`, the answer when it was `answered`;
    /// `is_good`: it is the version's, and nothing of it is missing because the client left.
    pub(super) fn finish(self, (asked, answered): (u64, u64), is_good: bool) -> Exchange {
        let first_token = self.first_token.filter(|_| is_good);
        Exchange {
            input: Some(self.input.finish()),
            output: self.output.filter(|_| is_good).map(Reading::finish),
            is_due: self.is_due,
            first_token: first_token.map(|first| first.saturating_sub(asked)),
            generated: first_token.map_or(0, |first| answered.saturating_sub(first)),
        }
    }
}

/// Reads what Envoy has of a body, in slices.
fn read(reading: &mut Reading, body: Body, size: usize) {
    let mut at = 0;
    while at < size {
        if !reading.wants_bytes() {
            return reading.skip(size.saturating_sub(at) as u64);
        }
        let Some(slice) =
            calls::body(body, at, SLICE.min(size.saturating_sub(at))).filter(|slice| !slice.is_empty())
        else {
            return reading.skip(size.saturating_sub(at) as u64);
        };
        reading.read(&slice);
        at = at.saturating_add(slice.len());
    }
}
