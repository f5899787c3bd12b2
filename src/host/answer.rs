//! Answers to callouts, and others that are held as a whole.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use super::calls::{self, Body, Headers};
use super::memory::Bytes;
use super::quota::Claim;
use crate::abi::pairs;
use crate::compare::Answer;
use crate::payload::encoding::{Decoder, Inflaters};
use crate::payload::head::{Encoding, Framing, Head, is_grpc};

/// How the body of a message is encoded whose headers Envoy is showing.
pub(super) fn encoding(map: Headers) -> Encoding {
    Head::new(None, calls::header(map, "content-encoding").as_deref(), None).encoding
}

/// The headers of a message that Envoy is showing, all read in one call if Envoy hands over that many at once.
pub(super) struct Message {
    map: Headers,
    all: Option<Bytes>,
}

impl Message {
    pub(super) fn shown(map: Headers) -> Self {
        Self { map, all: calls::headers(map) }
    }

    /// The first value of a header; its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match &self.all {
            Some(all) => pairs::values(all, name).next().map(Cow::Borrowed),
            None => calls::header(self.map, name).map(|value| Cow::Owned(value.into_vec())),
        }
    }

    /// A header that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        calls::parsed(&self.header(name)?)
    }

    /// An answer that is to be compared, without its body, and its encoding. `infers`: its request calls `ModelInfer`.
    pub(super) fn answer(&self, infers: bool) -> (Answer, Encoding) {
        let content_type = self.header("content-type").map(Cow::into_owned).unwrap_or_default();
        let head = Head::new(Some(&content_type), self.header("content-encoding").as_deref(), None);
        // Others than JSON may have it in front.
        let is_other = head.framing == Framing::Other;
        let json_length = is_other.then(|| self.header("inference-header-content-length")).flatten();
        let json_length = Head::new(None, None, json_length.as_deref()).json_length;
        let message_encoding = is_grpc(&content_type).then(|| self.header("grpc-encoding")).flatten();
        let message_encoding = Head::new(None, message_encoding.as_deref(), None).encoding;
        let status = self.number(":status").unwrap_or_default();
        let answer =
            Answer { status, content_type, json_length, infers, message_encoding, ..Answer::default() };
        (answer, head.encoding)
    }
}

/// A body without its encoding; as it is, if that cannot be undone. `None`: it is too large.
pub(super) fn decoded(
    body: Vec<u8>,
    encoding: Encoding,
    most: usize,
    inflaters: &Inflaters,
) -> Option<Vec<u8>> {
    if encoding == Encoding::Identity {
        return (body.len() <= most).then_some(body);
    }
    let Some(mut decoder) = Decoder::new(encoding, inflaters) else { return Some(body) };
    let (mut plain, mut fits) = (Vec::new(), true);
    let result = decoder.decode(&body, &mut |bytes| {
        fits = plain.len().saturating_add(bytes.len()) <= most;
        if fits {
            plain.extend_from_slice(bytes);
        }
        fits
    });
    match result {
        _ if !fits => None,
        Ok(()) if decoder.is_complete() || body.is_empty() => Some(plain),
        _ => Some(body),
    }
}

/// A body that passes and is read as a whole, unless it is too large. The default has nothing.
#[derive(Default)]
pub(super) struct Whole {
    encoding: Encoding,
    bytes: Vec<u8>,
    fits: bool,
}

impl Whole {
    /// Begins with the headers of the message that Envoy is showing.
    pub(super) fn begin(map: Headers) -> Self {
        Self { encoding: encoding(map), bytes: Vec::new(), fits: true }
    }

    /// How much of it is held.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next bytes, if it then has `most` at most; `anew`: they begin with its first one.
    pub(super) fn read(&mut self, body: Body, (size, anew): (usize, bool), most: usize) {
        if anew {
            self.bytes.clear();
        }
        self.fits = self.fits && add(&mut self.bytes, body, size, most);
    }

    /// All of it without its encoding; `None`: it is larger than `most`.
    pub(super) fn finish(self, most: usize, inflaters: &Inflaters) -> Option<Vec<u8>> {
        decoded(self.bytes, self.encoding, most, inflaters).filter(|_| self.fits)
    }
}

/// Bytes that a worker may hold of events, and as many of decisions: both are read as a whole.
const MOST_HELD: usize = 16 << 20;

/// A request's body that is read as a whole, within what may be held.
pub(super) struct HeldBody {
    body: Whole,
    held: Claim,
    /// Bytes that it may have.
    most: usize,
}

impl HeldBody {
    /// Begins with the headers of the request that Envoy is showing.
    pub(super) fn begin(all: &Rc<Cell<usize>>, most: usize) -> Self {
        Self { body: Whole::begin(Headers::Request), held: Claim::new(all), most }
    }

    /// The next bytes, if there is room for them; `anew`: they begin with its first one.
    pub(super) fn read(&mut self, size: usize, anew: bool) {
        let room = MOST_HELD.saturating_sub(self.held.others());
        self.body.read(Body::Request, (size, anew), self.most.min(room));
        self.held.set(self.body.len());
    }

    /// All of it without its encoding; `None`: there was no room for it.
    pub(super) fn finish(self, inflaters: &Inflaters) -> Option<Vec<u8>> {
        self.body.finish(self.most, inflaters)
    }
}

/// Adds the next bytes of a body, if it then has `most` at most.
pub(super) fn add(held: &mut Vec<u8>, body: Body, size: usize, most: usize) -> bool {
    // Envoy shows no piece where a body ends without one.
    if size == 0 {
        return true;
    }
    let fits = held.len().saturating_add(size) <= most;
    match calls::body(body, 0, size).filter(|piece| fits && piece.len() == size) {
        Some(piece) => {
            held.extend_from_slice(&piece);
            true
        }
        None => {
            held.clear();
            false
        }
    }
}
