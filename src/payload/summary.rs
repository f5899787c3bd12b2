//! What was seen of one message.

use json_sieve::Elements;

use super::framing::Grpc;

/// The most tensors of a message that are kept.
pub const MAX_TENSORS: usize = 16;
/// The most choices of an answer that are kept.
pub const MAX_CHOICES: usize = 16;
/// The longest name that is kept, in bytes.
pub const MAX_NAME: usize = 64;
/// The most dimensions of a shape that are kept.
pub const MAX_DIMENSIONS: usize = 8;

/// How far a body was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// To its end.
    #[default]
    Read,
    /// It had no bytes.
    Empty,
    /// It ended, or was cut, inside a document, an event, a message or a compressed stream.
    Truncated,
    /// It, or an event of it, is longer than `max_body`, uncompressed; what stands before was read.
    TooLarge,
    /// It is not what its headers say; what stands before was read.
    Malformed,
    /// It exceeds a bound of the reader, such as depth; what stands before was read.
    TooComplex,
    /// A content encoding that is not read.
    SkippedEncoding,
    /// A content type that is not read.
    SkippedType,
    /// Too many compressed bodies were being read.
    SkippedMemory,
}

impl Outcome {
    /// All there are.
    pub const ALL: [Outcome; 9] = [
        Outcome::Read,
        Outcome::Empty,
        Outcome::Truncated,
        Outcome::TooLarge,
        Outcome::Malformed,
        Outcome::TooComplex,
        Outcome::SkippedEncoding,
        Outcome::SkippedType,
        Outcome::SkippedMemory,
    ];

    /// Its value of the label `result`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Read => "read",
            Outcome::Empty => "empty",
            Outcome::Truncated => "truncated",
            Outcome::TooLarge => "too_large",
            Outcome::Malformed => "malformed",
            Outcome::TooComplex => "too_complex",
            Outcome::SkippedEncoding => "skipped_encoding",
            Outcome::SkippedType => "skipped_type",
            Outcome::SkippedMemory => "skipped_memory",
        }
    }
}

/// What was seen of one message. Its size is bounded by the constants of this module and by the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// How far it was read.
    pub outcome: Outcome,
    /// Bytes of the body as they were sent.
    pub bytes: u64,
    /// Bytes that were read, uncompressed. The piece in which a body turned out to be malformed or too
    /// complex counts as a whole.
    pub bytes_read: u64,
    /// What they hold.
    pub seen: Seen,
}

/// What a body holds, as far as the protocol says so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// An error object: `error`, or what else the protocol has.
    pub error: bool,
    /// Tensors: of Open Inference by name; of TensorFlow Serving the instances or predictions. At most [`MAX_TENSORS`].
    pub tensors: Vec<Tensor>,
    /// Further tensors.
    pub tensors_dropped: u64,
    /// The prompt of an OpenAI request.
    pub prompt: Option<Prompt>,
    /// Choices of an OpenAI answer, by index. At most [`MAX_CHOICES`].
    pub choices: Vec<Choice>,
    /// Tokens as the server counted them.
    pub usage: Usage,
    /// The protocol does not say where an answer of this kind has its value.
    pub other_kind: bool,
    /// An answer in server-sent events.
    pub stream: Option<Stream>,
    /// gRPC messages.
    pub grpc: Option<Grpc>,
    /// The configured pointers, in their order.
    pub fields: Vec<Field>,
}

impl Seen {
    /// The place of the next tensor among all.
    pub(crate) fn place(&self) -> usize {
        self.tensors.len().saturating_add(usize::try_from(self.tensors_dropped).unwrap_or(usize::MAX))
    }

    /// Keeps a tensor; false when there are enough.
    pub(crate) fn keep(&mut self, tensor: Tensor) -> bool {
        let has_room = self.tensors.len() < MAX_TENSORS;
        match has_room {
            true => self.tensors.push(tensor),
            false => self.tensors_dropped = self.tensors_dropped.saturating_add(1),
        }
        has_room
    }
}

/// A tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// Its name, up to [`MAX_NAME`] bytes.
    pub name: Box<[u8]>,
    /// Its datatype as the protocol names it.
    pub datatype: Datatype,
    /// Its shape as it was announced; empty when it was not. At most [`MAX_DIMENSIONS`].
    pub shape: Vec<u64>,
    /// Its elements, as far as they were read. `None` when it has none at all.
    pub elements: Option<Elements>,
    /// They stood outside of JSON: behind it, or in a message of gRPC.
    pub binary: bool,
}

impl Tensor {
    /// The batch size: the first dimension; without a shape the rows of its data.
    #[must_use]
    pub fn batch(&self) -> Option<u64> {
        let rows = || self.elements.as_ref().filter(|elements| !elements.cut).map(|elements| elements.rows);
        self.shape.first().copied().or_else(rows)
    }

    /// How many elements it has: by its shape; without one those that were read.
    #[must_use]
    pub fn len(&self) -> u64 {
        match (&self.elements, self.shape.is_empty()) {
            (elements, true) => elements.as_ref().map_or(0, |elements| elements.count),
            (_, false) => self.shape.iter().fold(1, |product, dimension| product.saturating_mul(*dimension)),
        }
    }

    /// Whether it has no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has elements and none was looked at: those of another datatype in binary data.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.binary && self.elements.as_ref().is_some_and(|elements| elements.count == 0 && elements.cut)
    }

    /// Whether an element is missing, or all are.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        !self.is_unread()
            && self.elements.as_ref().is_none_or(|elements| elements.missing > 0 || elements.count == 0)
    }
}

/// The datatype of a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Datatype {
    /// 8 bits, 0 or 1.
    Bool,
    /// Unsigned, of so many bytes.
    Unsigned(u8),
    /// Signed, of so many bytes.
    Signed(u8),
    /// IEEE 754, of so many bytes.
    Float(u8),
    /// The upper half of a 32-bit float.
    Bfloat,
    /// Bytes of any length.
    Bytes,
    /// Not said, or not known.
    #[default]
    Unknown,
}

impl Datatype {
    /// By its name in the Open Inference protocol.
    #[must_use]
    pub fn named(name: &[u8]) -> Datatype {
        match name {
            b"BOOL" => Datatype::Bool,
            b"UINT8" => Datatype::Unsigned(1),
            b"UINT16" => Datatype::Unsigned(2),
            b"UINT32" => Datatype::Unsigned(4),
            b"UINT64" => Datatype::Unsigned(8),
            b"INT8" => Datatype::Signed(1),
            b"INT16" => Datatype::Signed(2),
            b"INT32" => Datatype::Signed(4),
            b"INT64" => Datatype::Signed(8),
            b"FP16" => Datatype::Float(2),
            b"FP32" => Datatype::Float(4),
            b"FP64" => Datatype::Float(8),
            b"BF16" => Datatype::Bfloat,
            b"BYTES" => Datatype::Bytes,
            _ => Datatype::Unknown,
        }
    }
}

/// The prompt of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Messages, or texts of a batch.
    pub messages: u64,
    /// Characters of all texts.
    pub characters: u64,
    /// Tokens, when the client sent tokens in place of text.
    pub tokens: u64,
    /// Parts that are no text: images, sound, files.
    pub attachments: u64,
    /// Tools that are offered.
    pub tools: u64,
    /// The client asks for a stream.
    pub stream: bool,
}

/// One of the alternatives of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Its `index`.
    pub index: u64,
    /// Characters of its text.
    pub characters: u64,
    /// Characters of its reasoning, as far as that is shown.
    pub reasoning: u64,
    /// Calls of tools.
    pub tool_calls: u64,
    /// The model refused to answer, or a filter removed the answer.
    pub refused: bool,
    /// It has a part that is no text, such as sound.
    pub attachment: bool,
    /// Why it ended.
    pub finish: Option<Finish>,
}

impl Choice {
    /// Whether it says nothing: no text, no call, no refusal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.characters == 0 && self.tool_calls == 0 && !self.refused && !self.attachment
    }
}

/// Why a choice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// The limit of tokens was reached.
    Length,
    /// It calls a tool.
    ToolCalls,
    /// A filter removed content.
    ContentFilter,
    /// An error.
    Error,
    /// Another reason.
    Other,
}

impl Finish {
    /// Its value of the label `result`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Error => "error",
            Self::Other => "other",
        }
    }
}

/// Tokens as the server counted them. In a stream the last count is the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub input: Option<u64>,
    /// Of the answer, reasoning included.
    pub output: Option<u64>,
    /// Of the prompt's, those from a cache.
    pub cached: Option<u64>,
    /// Of the answer's, those of reasoning.
    pub reasoning: Option<u64>,
}

/// A stream of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Events that are documents.
    pub events: u64,
    /// Of them, events that carry text, reasoning, a refusal or a tool call. An event can carry several tokens.
    pub token_events: u64,
    /// Of them, events that are no JSON.
    pub malformed: u64,
    /// `[DONE]` came, or the protocol has no sign of an end.
    pub done: bool,
}

/// What stood at a configured pointer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Field {
    /// Scalars that stood there, and places that had none: those count as missing.
    pub elements: Elements,
    /// Texts and numbers that are none of the configured categories.
    pub unseen: u64,
    /// Not all of it was looked at: what is not among the elements may stand there.
    pub is_unread: bool,
}

impl Field {
    /// Whether a value is missing, or there is none.
    fn is_missing(&self) -> bool {
        self.elements.missing > 0 || self.elements.count == 0 && !self.is_unread
    }
}

impl Summary {
    /// Whether something is said about the content at all.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.outcome == Outcome::Read
    }

    /// An answer that is an error although its status is not: an error object, a choice that ended with one, or a stream
    /// of OpenAI that ended without any sign of an end. A stream that the client left has none either: do not ask then.
    #[must_use]
    pub fn is_error(&self) -> bool {
        let seen = &self.seen;
        let failed = seen.choices.iter().any(|choice| choice.finish == Some(Finish::Error));
        let ended = matches!(self.outcome, Outcome::Read | Outcome::Truncated | Outcome::Empty);
        let open = seen.choices.is_empty() || seen.choices.iter().any(|choice| choice.finish.is_none());
        seen.error || failed || ended && seen.stream.is_some_and(|stream| !stream.done && open)
    }

    /// An answer that holds no value: something is missing in a configured field; without fields, or in a
    /// stream, a choice says nothing; an element of a tensor is missing; or there is neither. `None` when it is an error, of
    /// another kind, or was not read.
    #[must_use]
    pub fn is_null(&self) -> Option<bool> {
        let seen = &self.seen;
        if !self.is_read() || self.is_error() {
            return None;
        }
        // Events hold pieces of what a pointer of OpenAI's protocol names.
        let asks_choices = seen.stream.is_some() && !seen.choices.is_empty();
        let (is_missing, is_unread) = if !seen.fields.is_empty() && !asks_choices {
            (seen.fields.iter().any(Field::is_missing), seen.fields.iter().any(|field| field.is_unread))
        } else if !seen.choices.is_empty() {
            (seen.choices.iter().any(Choice::is_empty), false)
        } else if !seen.tensors.is_empty() {
            (seen.tensors.iter().any(Tensor::is_missing), seen.tensors.iter().any(Tensor::is_unread))
        } else {
            (!seen.other_kind, seen.other_kind)
        };
        (is_missing || !is_unread).then_some(is_missing)
    }

    /// Whether a choice ended at the limit of tokens; `None` without choices.
    #[must_use]
    pub fn is_cut(&self) -> Option<bool> {
        let choices = &self.seen.choices;
        (!choices.is_empty()).then(|| choices.iter().any(|choice| choice.finish == Some(Finish::Length)))
    }

    /// Whether the model, or a filter of the server, refused in a choice; `None` without choices.
    #[must_use]
    pub fn is_refused(&self) -> Option<bool> {
        let choices = &self.seen.choices;
        (!choices.is_empty()).then(|| choices.iter().any(|choice| choice.refused))
    }

    /// Calls of tools in all choices.
    #[must_use]
    pub fn tool_calls(&self) -> u64 {
        self.seen.choices.iter().fold(0, |calls, choice| calls.saturating_add(choice.tool_calls))
    }
}
