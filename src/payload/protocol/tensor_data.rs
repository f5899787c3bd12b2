//! Tensors in binary, as the Open Inference protocol has them behind JSON and in gRPC: little-endian; each element of
//! `BYTES` begins with its length in four bytes.

use json_sieve::{Event, HELD, Null, Text};

use super::Limits;
use crate::payload::summary::{Datatype, Field, Tensor};

/// Reads the data of one tensor.
#[derive(Debug)]
pub(super) struct TensorData {
    /// The tensor's place among all.
    at: usize,
    datatype: Datatype,
    /// Bytes still to come.
    left: u64,
    /// The bytes of an element, or of a length, that were cut; of a text up to what is held.
    cut: Vec<u8>,
    /// Inside a text: bytes still to come, and what has come.
    text: Option<InText>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug, Default)]
struct InText {
    left: u64,
    bytes: u64,
    characters: u64,
}

impl TensorData {
    pub(super) fn new(at: usize, datatype: Datatype, bytes: u64, limits: &Limits) -> TensorData {
        TensorData { at, datatype, left: bytes, cut: Vec::new(), text: None, limits: limits.clone() }
    }

    /// Takes what is its own of the bytes; true when the tensor is complete.
    pub(super) fn read(&mut self, bytes: &mut &[u8], tensor: &mut Tensor, fields: &mut [Field]) -> bool {
        let own = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (mut own, rest) = bytes.split_at_checked(own).unwrap_or_default();
        *bytes = rest;
        self.left = self.left.saturating_sub(own.len() as u64);
        let elements = tensor.elements.get_or_insert_default();
        if self.datatype == Datatype::Unknown {
            elements.cut |= !own.is_empty();
        }
        let mut add =
            |tensor: &mut Tensor, event: Event<'_>| add((self.at, tensor), event, fields, &self.limits);
        let size = match self.datatype {
            Datatype::Unknown => return self.left == 0,
            Datatype::Bool => 1,
            Datatype::Unsigned(size) | Datatype::Signed(size) | Datatype::Float(size) => usize::from(size),
            Datatype::Bfloat => 2,
            Datatype::Bytes => 4,
        };
        while !own.is_empty() {
            if is_cut(tensor, &self.limits) {
                break;
            }
            if let Some(text) = &mut self.text {
                let length = usize::try_from(text.left).unwrap_or(usize::MAX).min(own.len());
                let (part, rest) = own.split_at_checked(length).unwrap_or_default();
                own = rest;
                text.take(part, &mut self.cut);
                if text.left == 0 {
                    let event = Text { head: &self.cut, bytes: text.bytes, characters: text.characters };
                    add(tensor, Event::Text(event));
                    self.cut.clear();
                    self.text = None;
                }
                continue;
            }
            let needed = size.saturating_sub(self.cut.len()).min(own.len());
            let (part, rest) = own.split_at_checked(needed).unwrap_or_default();
            own = rest;
            self.cut.extend_from_slice(part);
            if self.cut.len() < size {
                break;
            }
            match (self.datatype, unsigned(&self.cut)) {
                (Datatype::Bytes, 0) => {
                    add(tensor, Event::Text(Text { head: &[], bytes: 0, characters: 0 }));
                }
                (Datatype::Bytes, left) => self.text = Some(InText { left, ..InText::default() }),
                (datatype, bits) => add(tensor, element(datatype, bits)),
            }
            self.cut.clear();
        }
        if let Some(elements) = &mut tensor.elements {
            elements.rows = tensor.shape.first().copied().unwrap_or(elements.count);
        }
        self.left == 0
    }
}

/// Whether a tensor has as many elements as are read, and the one that comes is beyond.
pub(super) fn is_cut(tensor: &mut Tensor, limits: &Limits) -> bool {
    let elements = tensor.elements.get_or_insert_default();
    elements.cut |= elements.count >= limits.max_elements;
    elements.cut
}

/// Adds an element to a tensor, whose place among all is given, and to the fields of which it is the value.
pub(super) fn add(
    (at, tensor): (usize, &mut Tensor),
    event: Event<'_>,
    fields: &mut [Field],
    limits: &Limits,
) {
    let elements = tensor.elements.get_or_insert_default();
    for picked in
        limits.picked.iter().filter(|picked| (picked.tensor, picked.element) == (at, elements.count))
    {
        if let Some(field) = fields.get_mut(picked.field) {
            field.elements.add(event, &limits.missing);
        }
    }
    elements.add(event, &limits.missing);
}

impl InText {
    fn take(&mut self, part: &[u8], held: &mut Vec<u8>) {
        let room = HELD.saturating_sub(held.len()).min(part.len());
        held.extend_from_slice(part.get(..room).unwrap_or_default());
        self.left = self.left.saturating_sub(part.len() as u64);
        self.bytes = self.bytes.saturating_add(part.len() as u64);
        let begin = part.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        self.characters = self.characters.saturating_add(begin as u64);
    }
}

/// Up to eight bytes, little-endian.
pub(crate) fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// An element as what JSON would have in its place.
pub(super) fn element(datatype: Datatype, bits: u64) -> Event<'static> {
    if datatype == Datatype::Bool {
        return Event::Bool(bits != 0);
    }
    match real(datatype, bits) {
        value if value.is_finite() => Event::Number(value),
        value if value.is_nan() => Event::Null(Null::NotANumber),
        _ => Event::Null(Null::Infinite),
    }
}

/// An element as a number.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // the size says how many bits are used
#[allow(clippy::cast_precision_loss)] // of integers beyond 2^53, as in JSON
pub(crate) fn real(datatype: Datatype, bits: u64) -> f64 {
    match datatype {
        Datatype::Signed(1) => f64::from(bits as u8 as i8),
        Datatype::Signed(2) => f64::from(bits as u16 as i16),
        Datatype::Signed(4) => f64::from(bits as u32 as i32),
        Datatype::Signed(_) => bits as i64 as f64,
        Datatype::Float(2) => half(bits as u16),
        Datatype::Float(4) => f64::from(f32::from_bits(bits as u32)),
        Datatype::Float(_) => f64::from_bits(bits),
        Datatype::Bfloat => f64::from(f32::from_bits((bits as u32) << 16)),
        Datatype::Bool | Datatype::Unsigned(_) | Datatype::Bytes | Datatype::Unknown => bits as f64,
    }
}

/// A half-precision float: 1 bit of sign, 5 of exponent, 10 of fraction.
fn half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff);
    let magnitude = match bits >> 10 & 0x1f {
        0 => fraction / 16_777_216.0,
        31 if bits & 0x3ff == 0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + fraction / 1024.0) * 2_f64.powi(i32::from(exponent).saturating_sub(15)),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn read(datatype: Datatype, data: &[u8], step: usize, max: u64) -> Tensor {
        let mut tensor = Tensor { datatype, ..Tensor::default() };
        let missing = Rc::from([Box::from(&b"unknown"[..])]);
        let limits = Limits { max_elements: max, missing, picked: Rc::default() };
        let mut reader = TensorData::new(0, datatype, data.len() as u64, &limits);
        let mut complete = false;
        for mut chunk in data.chunks(step) {
            complete = reader.read(&mut chunk, &mut tensor, &mut []);
            assert!(chunk.is_empty());
        }
        assert!(complete);
        tensor
    }

    #[test]
    fn every_datatype_is_read_in_pieces_of_any_size() {
        let halves = [0x3c00_u16, 0xc000, 0x3555, 0x0001, 0x7bff].map(u16::to_le_bytes).concat();
        let cases: [(Datatype, Vec<u8>, f64); 11] = [
            (Datatype::Unsigned(1), vec![1, 255], 256.0),
            (Datatype::Unsigned(2), vec![1, 1, 0, 0], 257.0),
            (Datatype::Unsigned(4), vec![0, 0, 0, 128], 2_147_483_648.0),
            (Datatype::Unsigned(8), vec![0, 0, 0, 0, 1, 0, 0, 0], 4_294_967_296.0),
            (Datatype::Signed(1), vec![255, 3], 2.0),
            (Datatype::Signed(2), vec![255, 255, 3, 0], 2.0),
            (Datatype::Signed(4), (-7_i32).to_le_bytes().to_vec(), -7.0),
            (Datatype::Signed(8), (-7_i64).to_le_bytes().to_vec(), -7.0),
            (Datatype::Float(8), [0.25_f64, -0.5].map(f64::to_le_bytes).concat(), -0.25),
            (Datatype::Bfloat, vec![0x80, 0x3f, 0x00, 0xc0], -1.0),
            (Datatype::Float(2), halves, 1.0 - 2.0 + 0.333_251_953_125 + 2_f64.powi(-24) + 65504.0),
        ];
        for (datatype, data, sum) in cases {
            for step in 1..=data.len() {
                let elements = read(datatype, &data, step, 100).elements.unwrap();
                assert_eq!((elements.numbers.sum, elements.missing), (sum, 0), "{datatype:?} by {step}");
            }
        }
        let odd = [f32::NAN, f32::INFINITY, 1.0].map(f32::to_le_bytes).concat();
        let elements = read(Datatype::Float(4), &odd, 3, 100).elements.unwrap();
        assert_eq!((elements.count, elements.missing, elements.numbers.sum), (3, 2, 1.0));
        let elements = read(Datatype::Float(2), &[0, 0x7c, 1, 0x7c], 1, 100).elements.unwrap();
        assert_eq!((elements.count, elements.missing), (2, 2));
        assert_eq!(read(Datatype::Bool, &[0, 1, 1], 2, 100).elements.unwrap().bools, 3);
    }

    #[test]
    fn texts_are_counted_and_the_first_is_held() {
        let data = [
            &[5, 0, 0, 0][..],
            "größ".as_bytes(),
            &[0; 4],
            &[7, 0, 0, 0],
            b"unknown",
            &[44, 1, 0, 0],
            &[b'x'; 300],
        ]
        .concat();
        let data = [&[6_u8][..], &data[1..]].concat();
        for step in 1..=data.len() {
            let elements = read(Datatype::Bytes, &data, step, 100).elements.unwrap();
            assert_eq!((elements.texts, elements.missing, elements.characters), (4, 2, 4 + 7 + 300));
            assert_eq!(elements.first, Some(json_sieve::Scalar::Text("größ".as_bytes().into())));
        }
    }

    #[test]
    fn after_so_many_elements_the_rest_is_skipped() {
        let data = [1_u16; 100].map(u16::to_le_bytes).concat();
        for step in [1, 3, 200] {
            let elements = read(Datatype::Unsigned(2), &data, step, 10).elements.unwrap();
            assert_eq!((elements.count, elements.numbers.sum, elements.cut), (10, 10.0, true));
        }
    }
}
