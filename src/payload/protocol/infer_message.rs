//! Open Inference over gRPC: the messages `ModelInferRequest` and `ModelInferResponse`, read as they pass.
//!
//! A tensor has `name`, `datatype` and `shape`, and either typed `contents` inside it or its bytes behind all tensors, in
//! their order, as `raw_input_contents` or `raw_output_contents`. The raw form is that of binary tensors behind JSON.
//! Source: `open_inference_grpc.proto` of the Open Inference Protocol, which has the numbers of the fields.

use super::tensor_data::{TensorData, add, element, is_cut};
use super::{Direction, Limits};
use crate::payload::summary::{Datatype, MAX_DIMENSIONS, MAX_NAME, Seen, Tensor};

/// The bytes are no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads one message, in pieces of any size.
#[derive(Debug)]
pub(crate) struct InferMessage {
    /// The field of raw contents.
    raw: u64,
    /// Which tensor the next raw contents are of.
    next_raw: u64,
    /// Bytes of the message so far.
    at: u64,
    /// What the next byte is in, outermost first, and where that ends: up to four.
    parts: Vec<(Part, u64)>,
    step: Step,
    /// The bits so far of an integer, and how many.
    varint: (u64, u32),
    tensor: Tensor,
    limits: Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Message,
    Tensor,
    Contents,
    /// Packed dimensions.
    Shape,
    /// Packed elements, of a field of the contents.
    Integers(u64),
}

/// What the next byte belongs to.
#[derive(Debug)]
enum Step {
    Tag,
    /// The length of a field.
    Length(u64),
    /// The value of a field, or the next of packed integers.
    Value(u64),
    Skip(u64),
    /// A name or datatype: its field, bytes to come, and its beginning.
    Text(u64, u64, Vec<u8>),
    /// Elements, of a tensor among those that are kept or of the one that is being read.
    Data(Option<usize>, Box<TensorData>),
}

// Fields of the message, of a tensor, and of its contents.
const TENSORS: u64 = 5;
const RAW_OUTPUT: u64 = 6;
const RAW_INPUT: u64 = 7;

const NAME: u64 = 1;
const DATATYPE: u64 = 2;
const SHAPE: u64 = 3;
const CONTENTS: u64 = 5;

const BOOLS: u64 = 1;
const INT64S: u64 = 3;
const UINT64S: u64 = 5;
const FP32S: u64 = 6;
const FP64S: u64 = 7;
const TEXTS: u64 = 8;

impl InferMessage {
    pub(crate) fn new(direction: Direction, limits: &Limits) -> InferMessage {
        InferMessage {
            raw: match direction {
                Direction::Input => RAW_INPUT,
                Direction::Output => RAW_OUTPUT,
            },
            next_raw: 0,
            at: 0,
            parts: Vec::new(),
            step: Step::Tag,
            varint: (0, 0),
            tensor: Tensor::default(),
            limits: limits.clone(),
        }
    }

    /// The message begins, of so many bytes.
    pub(crate) fn begin(&mut self, length: u64) {
        self.parts.push((Part::Message, length));
    }

    /// Takes the next bytes of the message. With its last ones it must be complete.
    pub(crate) fn read(&mut self, mut bytes: &[u8], seen: &mut Seen) -> Result<(), Malformed> {
        loop {
            self.leave(seen);
            let before = bytes.len();
            let is_complete = match &mut self.step {
                Step::Tag | Step::Length(_) | Step::Value(_) => {
                    let Some((byte, rest)) = bytes.split_first() else {
                        let has_ended = self.parts.first().is_some_and(|(_, end)| *end == self.at);
                        return if has_ended { Err(Malformed) } else { Ok(()) };
                    };
                    if self.parts.last().is_none_or(|(_, end)| *end == self.at) {
                        return Err(Malformed);
                    }
                    (bytes, self.at) = (rest, self.at.saturating_add(1));
                    if let Some(value) = self.varint(*byte)? {
                        self.integer(value, seen)?;
                    }
                    continue;
                }
                Step::Skip(left) => {
                    part(&mut bytes, left);
                    *left == 0
                }
                Step::Text(field, left, held) => {
                    let part = part(&mut bytes, left);
                    let room = MAX_NAME.saturating_sub(held.len()).min(part.len());
                    held.extend_from_slice(part.get(..room).unwrap_or_default());
                    match *field {
                        NAME => self.tensor.name = held.as_slice().into(),
                        _ => self.tensor.datatype = Datatype::named(held),
                    }
                    *left == 0
                }
                Step::Data(None, data) => data.read(&mut bytes, &mut self.tensor, &mut seen.fields),
                Step::Data(Some(at), data) => {
                    let Seen { tensors, fields, .. } = &mut *seen;
                    tensors.get_mut(*at).is_none_or(|tensor| data.read(&mut bytes, tensor, fields))
                }
            };
            self.at = self.at.saturating_add(before.saturating_sub(bytes.len()) as u64);
            if !is_complete {
                return Ok(());
            }
            self.step = Step::Tag;
        }
    }

    /// Leaves the parts that end here.
    fn leave(&mut self, seen: &mut Seen) {
        if !matches!(self.step, Step::Tag) || self.varint.1 > 0 {
            return;
        }
        while let Some((part, _)) = self.parts.pop_if(|(_, end)| *end == self.at) {
            if part == Part::Tensor {
                let mut tensor = std::mem::take(&mut self.tensor);
                if let Some(elements) = &mut tensor.elements {
                    elements.rows = tensor.shape.first().copied().unwrap_or(elements.count);
                }
                seen.keep(tensor);
            }
        }
        // Between packed integers are no tags.
        if let Some((Part::Shape | Part::Integers(_), _)) = self.parts.last() {
            self.step = Step::Value(0);
        }
    }

    /// Takes a byte of an integer; the integer when it was its last.
    fn varint(&mut self, byte: u8) -> Result<Option<u64>, Malformed> {
        let (bits, shift) = self.varint;
        let bits = bits | u64::from(byte & 0x7f).checked_shl(shift).ok_or(Malformed)?;
        if byte < 0x80 {
            self.varint = (0, 0);
            return Ok(Some(bits));
        }
        self.varint = (bits, shift.saturating_add(7));
        Ok(None)
    }

    /// A tag, a length, or a value.
    fn integer(&mut self, value: u64, seen: &mut Seen) -> Result<(), Malformed> {
        let (part, end) = self.parts.last().copied().ok_or(Malformed)?;
        match (std::mem::replace(&mut self.step, Step::Tag), part) {
            (Step::Tag, _) => match (value >> 3, value & 7) {
                (0, _) => return Err(Malformed),
                (field, 0) => self.step = Step::Value(field),
                (field, 2) => self.step = Step::Length(field),
                (FP64S, 1) if part == Part::Contents => self.field(part, FP64S, 8, seen)?,
                (FP32S, 5) if part == Part::Contents => self.field(part, FP32S, 4, seen)?,
                (_, 1) => self.field(part, 0, 8, seen)?,
                (_, 5) => self.field(part, 0, 4, seen)?,
                _ => return Err(Malformed),
            },
            (Step::Length(field), _) => self.field(part, field, value, seen)?,
            (_, Part::Shape) | (Step::Value(SHAPE), Part::Tensor)
                if self.tensor.shape.len() < MAX_DIMENSIONS =>
            {
                self.tensor.shape.push(value);
            }
            (_, Part::Integers(field)) => {
                let has_room = self.element(field, value, seen);
                if !has_room {
                    self.step = Step::Skip(end.saturating_sub(self.at));
                }
            }
            (Step::Value(field @ BOOLS..=UINT64S), Part::Contents) => _ = self.element(field, value, seen),
            _ => {}
        }
        Ok(())
    }

    /// Adds an element that stands as an integer; false when there were enough.
    fn element(&mut self, field: u64, value: u64, seen: &mut Seen) -> bool {
        if is_cut(&mut self.tensor, &self.limits) {
            return false;
        }
        let datatype = match field {
            BOOLS => Datatype::Bool,
            ..=INT64S => Datatype::Signed(8),
            _ => Datatype::Unsigned(8),
        };
        let at = seen.place();
        add((at, &mut self.tensor), element(datatype, value), &mut seen.fields, &self.limits);
        true
    }

    /// A field of so many bytes begins.
    fn field(&mut self, part: Part, field: u64, length: u64, seen: &mut Seen) -> Result<(), Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        if self.parts.last().is_none_or(|(_, last)| end > *last) {
            return Err(Malformed);
        }
        let inner = match (part, field) {
            (Part::Message, TENSORS) => {
                self.tensor = Tensor { binary: true, ..Tensor::default() };
                Part::Tensor
            }
            (Part::Tensor, CONTENTS) => Part::Contents,
            (Part::Tensor, SHAPE) => Part::Shape,
            (Part::Contents, BOOLS..=UINT64S) => Part::Integers(field),
            _ => {
                self.step = self.leaf(part, field, length, seen)?;
                return Ok(());
            }
        };
        self.parts.push((inner, end));
        Ok(())
    }

    /// A field that has no fields.
    fn leaf(&mut self, part: Part, field: u64, length: u64, seen: &mut Seen) -> Result<Step, Malformed> {
        let data = |at, datatype, length| Box::new(TensorData::new(at, datatype, length, &self.limits));
        let own = seen.place();
        Ok(match (part, field) {
            (Part::Tensor, NAME | DATATYPE) => Step::Text(field, length, Vec::new()),
            (Part::Contents, FP32S) => Step::Data(None, data(own, Datatype::Float(4), length)),
            (Part::Contents, FP64S) => Step::Data(None, data(own, Datatype::Float(8), length)),
            (Part::Contents, TEXTS) => {
                // In raw contents a text stands behind its length, which fits: no message of gRPC is longer.
                let prefix = u32::try_from(length).map_err(|_| Malformed)?.to_le_bytes();
                let mut data = data(own, Datatype::Bytes, length.saturating_add(prefix.len() as u64));
                data.read(&mut prefix.as_slice(), &mut self.tensor, &mut seen.fields);
                Step::Data(None, data)
            }
            (Part::Message, field) if field == self.raw => {
                let at = self.next_raw;
                self.next_raw = at.saturating_add(1);
                match usize::try_from(at).ok().and_then(|at| Some((at, seen.tensors.get(at)?))) {
                    Some((at, tensor)) => Step::Data(Some(at), data(at, tensor.datatype, length)),
                    None if at < seen.place() as u64 => Step::Skip(length),
                    None => return Err(Malformed),
                }
            }
            _ => Step::Skip(length),
        })
    }
}

/// Takes what is left of a field off the front of the bytes.
fn part<'a>(bytes: &mut &'a [u8], left: &mut u64) -> &'a [u8] {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    let (part, rest) = bytes.split_at_checked(length).unwrap_or_default();
    *bytes = rest;
    *left = left.saturating_sub(part.len() as u64);
    part
}
