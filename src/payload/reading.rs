//! One message, from its headers to its summary.

use std::rc::Rc;

use json_sieve::{Event, Reader, Slot, Stop};

use super::encoding::{Decoder, Inflaters, Unreadable};
use super::fields::State;
use super::framing::{Events, Grpc, Part, Piece};
use super::head::{Framing, Head};
use super::preset::Preset;
use super::protocol::Reads;
use super::protocol::infer_message::InferMessage;
use super::summary::{Outcome, Seen, Stream, Summary};

/// How much of a piece is worth fetching from Envoy at once, in bytes. A chunk can be as large as the connection's buffer,
/// 1 MiB by default, and the memory of a module never shrinks.
pub const SLICE: usize = 64 * 1024;

/// How many bytes of a compressed stream are read for each one of it, beside those that are read anyway. Streams of tokens
/// are compressed to a tenth.
const INFLATED: u64 = 32;

/// The reading of one message. Holds no byte of the body.
pub struct Reading {
    decoder: Option<Decoder>,
    body: Body,
    /// What ended the reading before the body's end.
    ended: Option<Outcome>,
    bytes: u64,
    bytes_read: u64,
    max_body: u64,
    /// How many more bytes are read for each one that has come.
    beyond: u64,
}

/// A body, decoded.
struct Body {
    framing: Frames,
    documents: Documents,
}

#[derive(Debug)]
enum Frames {
    /// One document, and what stands behind it.
    Json {
        json_left: Option<u64>,
        ended: bool,
    },
    Events(Events, Malformed),
    Grpc(Grpc, Content),
}

/// The content of a message of gRPC.
#[derive(Debug)]
enum Content {
    Known(Box<InferMessage>),
    /// Why it is not read, or no further. Messages are still counted.
    Unread(Outcome),
}

/// The event that is being read is no JSON.
type Malformed = bool;

/// Documents, one after the other.
struct Documents {
    preset: Rc<Preset>,
    reader: Reader,
    reads: Box<dyn Reads>,
    fields: State,
    seen: Seen,
}

impl Reading {
    /// Begins with a message's headers. Most messages that cannot be read are known here.
    #[must_use]
    pub fn new(preset: &Rc<Preset>, head: &Head, inflaters: &Inflaters) -> Reading {
        let (fields, seen_fields) = preset.fields.begin();
        let mut seen = Seen { fields: seen_fields, other_kind: preset.has_only_fields(), ..Seen::default() };
        let (framing, mut ended) = match head.framing {
            Framing::Json | Framing::Other => {
                // Without JSON it is the data of one tensor, which nothing describes.
                let json_left = head.json_length.filter(|length| preset.has_binary_data() && *length > 0);
                let other =
                    head.framing == Framing::Other || head.json_length.is_some() && json_left.is_none();
                (Frames::Json { json_left, ended: false }, other.then_some(Outcome::SkippedType))
            }
            Framing::Events => {
                let is_other = !preset.has_streams();
                seen.stream = Some(Stream { done: is_other, ..Stream::default() });
                seen.other_kind = is_other;
                (Frames::Events(Events::default(), false), None)
            }
            Framing::Grpc => {
                let message = preset.reads_message().filter(|_| head.infers).map(Box::new);
                let content = message.map_or(Content::Unread(Outcome::SkippedType), Content::Known);
                (Frames::Grpc(Grpc::default(), content), None)
            }
        };
        let decoder = Decoder::new(head.encoding, inflaters).filter(|_| ended.is_none());
        if decoder.is_none() {
            ended = ended.or(Some(Outcome::SkippedEncoding));
        }
        if ended.is_some() {
            seen.stream = None;
        }
        // Its reading holds no more, however long it is.
        let beyond = if preset.has_long_streams() && seen.stream.is_some() { INFLATED } else { 0 };
        let documents = Documents {
            preset: Rc::clone(preset),
            reader: Reader::new(),
            reads: preset.reads(),
            fields,
            seen,
        };
        Reading {
            decoder,
            body: Body { framing, documents },
            ended,
            bytes: 0,
            bytes_read: 0,
            max_body: preset.max_body,
            beyond,
        }
    }

    /// Whether the content of further bytes matters. If not, [`Reading::skip`] takes their number alone.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        self.ended.is_none()
    }

    /// The next bytes of the body, which may be of any number.
    pub fn read(&mut self, bytes: &[u8]) {
        // HTTP/1.1 ends with an empty piece.
        if bytes.is_empty() {
            return;
        }
        self.skip(bytes.len() as u64);
        let (Some(decoder), None) = (&mut self.decoder, self.ended) else { return };
        let (body, bytes_read) = (&mut self.body, &mut self.bytes_read);
        let most = self.max_body.saturating_add(self.beyond.saturating_mul(self.bytes));
        let mut ended = None;
        let decoded = decoder.decode(bytes, &mut |bytes| {
            let room = most.saturating_sub(*bytes_read);
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (own, beyond) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            let read = body.read(own);
            let length = *read.as_ref().unwrap_or(&own.len());
            *bytes_read = bytes_read.saturating_add(length as u64);
            ended = read.err();
            if ended.is_none() && (length < own.len() || !beyond.is_empty()) {
                ended = Some(Outcome::TooLarge);
            }
            ended.is_none()
        });
        self.ended = ended.or(decoded.err().map(outcome_of));
        if self.ended.is_some() {
            // Makes room for another stream's.
            self.decoder = None;
        }
    }

    /// No more of the body comes, although the message may have long to go.
    pub fn end(&mut self) {
        self.decoder.iter_mut().for_each(Decoder::end);
    }

    /// So many bytes of the body that need not be read.
    pub fn skip(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// How many events so far carried text, reasoning, a refusal or a tool call: the first one is the time to the first
    /// token. 0 where the answer is not an event stream.
    #[must_use]
    pub fn token_events(&self) -> u64 {
        self.body.documents.seen.stream.map_or(0, |stream| stream.token_events)
    }

    /// The message ends here, by its end, its trailers, or a reset: a body that is not complete is truncated.
    #[must_use]
    pub fn finish(mut self) -> Summary {
        let outcome = match self.ended {
            Some(ended) => ended,
            None if self.bytes == 0 => Outcome::Empty,
            None => {
                let complete = self.decoder.as_ref().is_none_or(Decoder::is_complete);
                match self.body.finish() {
                    // A document that is complete is, whatever is missing behind it.
                    Outcome::Read if complete || matches!(self.body.framing, Frames::Json { .. }) => {
                        Outcome::Read
                    }
                    Outcome::Read | Outcome::Empty if !complete => Outcome::Truncated,
                    outcome => outcome,
                }
            }
        };
        let mut seen = self.body.documents.into_seen(outcome);
        if let Frames::Grpc(grpc, _) = self.body.framing {
            seen.grpc = Some(grpc);
        }
        Summary { outcome, bytes: self.bytes, bytes_read: self.bytes_read, seen }
    }
}

fn outcome_of(unreadable: Unreadable) -> Outcome {
    match unreadable {
        Unreadable::Memory => Outcome::SkippedMemory,
        Unreadable::Malformed => Outcome::Malformed,
    }
}

fn outcome(stop: Stop) -> Outcome {
    match stop {
        Stop::Malformed => Outcome::Malformed,
        Stop::TooDeep | Stop::TooLong => Outcome::TooComplex,
        Stop::Truncated => Outcome::Truncated,
        Stop::Empty => Outcome::Empty,
    }
}

impl Body {
    /// Reads the next bytes. Returns how many: fewer, where an event is too long.
    fn read(&mut self, mut bytes: &[u8]) -> Result<usize, Outcome> {
        let (documents, all) = (&mut self.documents, bytes.len());
        match &mut self.framing {
            Frames::Json { json_left, ended } => {
                if let Some(left) = json_left {
                    let own = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let (json, behind) = bytes.split_at_checked(own).unwrap_or((bytes, &[]));
                    *left = left.saturating_sub(json.len() as u64);
                    documents.read(json).map_err(outcome)?;
                    if *left > 0 {
                        return Ok(all);
                    }
                    if !std::mem::replace(ended, true) {
                        // The length was wrong, wherever the body itself ends.
                        documents.end().map_err(|_| Outcome::Malformed)?;
                    }
                    documents.reads.data(behind, &mut documents.seen);
                    bytes = &[];
                }
                documents.read(bytes).map_err(outcome)?;
            }
            Frames::Events(events, malformed) => {
                let most = documents.preset.max_body;
                return Ok(events.read(bytes, most, &mut |piece| documents.piece(piece, malformed)));
            }
            Frames::Grpc(grpc, content) => {
                let is_grpc = grpc.read(bytes, &mut |part| {
                    let Content::Known(message) = content else { return };
                    let unread = match part {
                        Part::Begins { is_compressed: true, .. } => Some(Outcome::SkippedEncoding),
                        Part::Begins { length, .. } => {
                            message.begin(length);
                            None
                        }
                        Part::Bytes(bytes) => {
                            message.read(bytes, &mut documents.seen).err().map(|_| Outcome::Malformed)
                        }
                    };
                    if let Some(outcome) = unread {
                        *content = Content::Unread(outcome);
                    }
                });
                if !is_grpc {
                    return Err(Outcome::Malformed);
                }
            }
        }
        Ok(all)
    }

    fn finish(&mut self) -> Outcome {
        let documents = &mut self.documents;
        match &mut self.framing {
            Frames::Json { ended: true, .. } => match documents.reads.ends(&mut documents.seen) {
                true => Outcome::Read,
                false => Outcome::Truncated,
            },
            Frames::Json { .. } => documents.end().map_or_else(outcome, |()| Outcome::Read),
            Frames::Events(events, malformed) => {
                let mut truncated = false;
                events.finish(&mut |piece| {
                    truncated |= piece == Piece::End && !*malformed && !documents.reader.is_complete();
                    documents.piece(piece, malformed);
                });
                match documents.seen.stream.map_or(0, |stream| stream.malformed) {
                    0 => Outcome::Read,
                    1 if truncated => Outcome::Truncated,
                    _ => Outcome::Malformed,
                }
            }
            Frames::Grpc(_, Content::Unread(outcome)) => *outcome,
            Frames::Grpc(grpc, _) if grpc.is_complete() => Outcome::Read,
            Frames::Grpc(..) => Outcome::Truncated,
        }
    }
}

impl Documents {
    fn read(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let Documents { preset, reader, reads, fields, seen } = self;
        reader.read(&preset.plan, bytes, &mut sink(preset, reads.as_mut(), fields, seen))
    }

    /// A document ends.
    fn end(&mut self) -> Result<(), Stop> {
        let Documents { preset, reader, reads, fields, seen } = self;
        let end = reader.finish(&preset.plan, &mut sink(preset, reads.as_mut(), fields, seen));
        reads.document_ends(seen);
        end
    }

    fn piece(&mut self, piece: Piece<'_>, malformed: &mut Malformed) {
        match piece {
            Piece::Data(bytes) => *malformed = *malformed || self.read(bytes).is_err(),
            Piece::End => {
                let bad = self.end().is_err();
                *malformed = false;
                if let Some(stream) = &mut self.seen.stream {
                    stream.events = stream.events.saturating_add(1);
                    stream.malformed = stream.malformed.saturating_add(u64::from(bad));
                }
            }
            Piece::Done => {
                if let Some(stream) = &mut self.seen.stream {
                    stream.done = true;
                }
            }
        }
    }

    fn into_seen(mut self, outcome: Outcome) -> Seen {
        // Of a body that was not read to its end, nothing is missing for sure.
        if outcome == Outcome::Read {
            self.preset.fields.finish(&self.fields, &mut self.seen);
        }
        self.seen
    }
}

/// Gives what stands at a slot of the protocol to the protocol, and what stands behind those to the fields.
fn sink<'a>(
    preset: &'a Preset,
    reads: &'a mut dyn Reads,
    fields: &'a mut State,
    seen: &'a mut Seen,
) -> impl FnMut(Slot, Event<'_>) + 'a {
    |slot, event| match slot.checked_sub(preset.own) {
        None => reads.event(slot, event, seen),
        Some(slot) => preset.fields.event(fields, &mut seen.fields, slot, event, &preset.limits.missing),
    }
}
