//! Answers whose tensors are binary (Open Inference) → the document that the same answer would be in JSON.
//!
//! Numbers that JSON does not have stand in it as the texts `NaN`, `inf` and `-inf`; bytes that are no text as hexadecimal
//! digits. Sources: the binary tensor data extension of the Open Inference Protocol, and its `open_inference_grpc.proto`.

use serde_json::{Map, Number, Value};

use super::tree::{self, MOST_ELEMENTS};
use crate::model::wire::{self, Payload, each_field};
use crate::payload::protocol::{real, unsigned};
use crate::payload::summary::Datatype;

/// The answer is not of this form, or has more than [`MOST_ELEMENTS`].
#[derive(Debug)]
struct Unread;

impl From<wire::Malformed> for Unread {
    fn from(_: wire::Malformed) -> Self {
        Self
    }
}

/// Reads JSON of so many bytes and the tensors behind it, each of `parameters.binary_data_size` bytes. `None`: it is not that.
pub(super) fn behind_json(body: &[u8], json_length: u64) -> Option<Value> {
    let (json, mut data) = body.split_at_checked(usize::try_from(json_length).ok()?)?;
    let mut room = MOST_ELEMENTS;
    let mut document = tree::read(json, &mut room)?;
    for output in document.get_mut("outputs")?.as_array_mut()? {
        let output = output.as_object_mut()?;
        let Some(Value::Object(parameters)) = output.get_mut("parameters") else { continue };
        let Some(size) = parameters.remove("binary_data_size") else { continue };
        if parameters.is_empty() {
            output.remove("parameters");
        }
        let (own, rest) = data.split_at_checked(usize::try_from(size.as_u64()?).ok()?)?;
        data = rest;
        let datatype = Datatype::named(output.get("datatype")?.as_str()?.as_bytes());
        let elements = elements(datatype, own, &mut room).ok()?;
        output.insert("data".to_owned(), elements.into());
    }
    data.is_empty().then_some(document)
}

/// Reads one gRPC message, which is a `ModelInferResponse`. `None`: it is not that.
pub(super) fn infer_response(body: &[u8]) -> Option<Value> {
    let (&[compressed, a, b, c, d], message) = body.split_first_chunk::<5>()?;
    let is_one = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()? == message.len();
    (compressed == 0 && is_one).then(|| response(message).ok()).flatten()
}

fn response(message: &[u8]) -> Result<Value, Unread> {
    let (mut document, mut parameters) = (Map::new(), Map::new());
    let (mut outputs, mut raw) = (Vec::new(), Vec::new());
    let mut room = MOST_ELEMENTS;
    each_field(message, |number, payload| match (number, payload) {
        (1, Payload::Bytes(name)) => insert(&mut document, "model_name", text(name)),
        (2, Payload::Bytes(version)) => insert(&mut document, "model_version", text(version)),
        (3, Payload::Bytes(id)) => insert(&mut document, "id", text(id)),
        (4, Payload::Bytes(entry)) => parameter(entry, &mut parameters),
        (5, Payload::Bytes(output)) => {
            outputs.push(tensor(output, &mut room)?);
            Ok(())
        }
        (6, Payload::Bytes(data)) => {
            raw.push(data);
            Ok(())
        }
        _ => Err(Unread),
    })?;
    if !raw.is_empty() && raw.len() != outputs.len() {
        return Err(Unread);
    }
    for ((output, datatype), data) in outputs.iter_mut().zip(raw) {
        output.insert("data".to_owned(), elements(*datatype, data, &mut room)?.into());
    }
    if !parameters.is_empty() {
        document.insert("parameters".to_owned(), parameters.into());
    }
    let outputs: Vec<Value> = outputs.into_iter().map(|(output, _)| output.into()).collect();
    document.insert("outputs".to_owned(), outputs.into());
    Ok(document.into())
}

/// An `InferOutputTensor`.
fn tensor(message: &[u8], room: &mut usize) -> Result<(Map<String, Value>, Datatype), Unread> {
    let (mut output, mut parameters) = (Map::new(), Map::new());
    let (mut shape, mut data) = (Vec::new(), Vec::new());
    let mut datatype = Datatype::Unknown;
    each_field(message, |number, payload| match (number, payload) {
        (1, Payload::Bytes(name)) => insert(&mut output, "name", text(name)),
        (2, Payload::Bytes(name)) => {
            datatype = Datatype::named(name);
            insert(&mut output, "datatype", text(name))
        }
        (3, payload) => integers(payload, |dimension| push(&mut shape, dimension.into(), room)),
        (4, Payload::Bytes(entry)) => parameter(entry, &mut parameters),
        (5, Payload::Bytes(message)) => contents(message, &mut data, room),
        _ => Err(Unread),
    })?;
    output.insert("shape".to_owned(), shape.into());
    if !data.is_empty() {
        output.insert("data".to_owned(), data.into());
    }
    if !parameters.is_empty() {
        output.insert("parameters".to_owned(), parameters.into());
    }
    Ok((output, datatype))
}

/// An `InferTensorContents`.
fn contents(message: &[u8], data: &mut Vec<Value>, room: &mut usize) -> Result<(), Unread> {
    each_field(message, |number, payload| match (number, payload) {
        (1, payload) => integers(payload, |bit| push(data, (bit != 0).into(), room)),
        (2 | 3, payload) => integers(payload, |bits| push(data, bits.cast_signed().into(), room)),
        (4 | 5, payload) => integers(payload, |bits| push(data, bits.into(), room)),
        (6, Payload::Fixed32(bytes)) => push(data, element(Datatype::Float(4), &bytes), room),
        (6, Payload::Bytes(packed)) => extend(data, Datatype::Float(4), packed, room),
        (7, Payload::Fixed64(bytes)) => push(data, element(Datatype::Float(8), &bytes), room),
        (7, Payload::Bytes(packed)) => extend(data, Datatype::Float(8), packed, room),
        (8, Payload::Bytes(bytes)) => push(data, text(bytes), room),
        _ => Err(Unread),
    })
}

/// Integers, one or packed.
fn integers(payload: Payload<'_>, mut take: impl FnMut(u64) -> Result<(), Unread>) -> Result<(), Unread> {
    match payload {
        Payload::Varint(one) => take(one),
        Payload::Bytes(mut packed) => {
            while !packed.is_empty() {
                take(wire::varint(&mut packed)?)?;
            }
            Ok(())
        }
        Payload::Fixed32(_) | Payload::Fixed64(_) => Err(Unread),
    }
}

/// An entry of a map of `InferParameter`s.
fn parameter(entry: &[u8], parameters: &mut Map<String, Value>) -> Result<(), Unread> {
    let (mut name, mut value) = (Value::String(String::new()), Value::Null);
    each_field(entry, |number, payload| {
        match (number, payload) {
            (1, Payload::Bytes(bytes)) => name = text(bytes),
            (2, Payload::Bytes(message)) => each_field(message, |number, payload| {
                value = match (number, payload) {
                    (1, Payload::Varint(bit)) => (bit != 0).into(),
                    (2, Payload::Varint(bits)) => bits.cast_signed().into(),
                    (3, Payload::Bytes(bytes)) => text(bytes),
                    (4, Payload::Fixed64(bytes)) => element(Datatype::Float(8), &bytes),
                    (5, Payload::Varint(bits)) => bits.into(),
                    _ => return Err(Unread),
                };
                Ok(())
            })?,
            _ => return Err(Unread),
        }
        Ok(())
    })?;
    let Value::String(name) = name else { return Err(Unread) };
    insert(parameters, &name, value)
}

/// The elements of a tensor's bytes.
fn elements(datatype: Datatype, bytes: &[u8], room: &mut usize) -> Result<Vec<Value>, Unread> {
    let mut all = Vec::new();
    extend(&mut all, datatype, bytes, room)?;
    Ok(all)
}

fn extend(
    all: &mut Vec<Value>,
    datatype: Datatype,
    mut bytes: &[u8],
    room: &mut usize,
) -> Result<(), Unread> {
    let size = match datatype {
        Datatype::Bool => 1,
        Datatype::Unsigned(size) | Datatype::Signed(size) | Datatype::Float(size) => usize::from(size),
        Datatype::Bfloat => 2,
        Datatype::Bytes => {
            while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
                let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Unread)?;
                let (own, rest) = rest.split_at_checked(length).ok_or(Unread)?;
                bytes = rest;
                push(all, text(own), room)?;
            }
            return if bytes.is_empty() { Ok(()) } else { Err(Unread) };
        }
        Datatype::Unknown => return Err(Unread),
    };
    let (chunks, rest) = (bytes.chunks_exact(size), bytes.len().checked_rem(size));
    if rest != Some(0) {
        return Err(Unread);
    }
    for bytes in chunks {
        push(all, element(datatype, bytes), room)?;
    }
    Ok(())
}

/// An element of up to eight bytes, little-endian.
fn element(datatype: Datatype, bytes: &[u8]) -> Value {
    let bits = unsigned(bytes);
    match datatype {
        Datatype::Bool => (bits != 0).into(),
        Datatype::Unsigned(_) => bits.into(),
        Datatype::Signed(8) => bits.cast_signed().into(),
        #[allow(clippy::cast_possible_truncation)] // an integer of up to four bytes
        Datatype::Signed(_) => (real(datatype, bits) as i64).into(),
        datatype => {
            let real = real(datatype, bits);
            Number::from_f64(real).map_or_else(|| real.to_string().into(), Value::Number)
        }
    }
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
}

fn push(all: &mut Vec<Value>, value: Value, room: &mut usize) -> Result<(), Unread> {
    *room = room.checked_sub(1).ok_or(Unread)?;
    all.push(value);
    Ok(())
}

fn insert(fields: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), Unread> {
    fields.insert(name.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::compare::diff::Kind;
    use crate::compare::settings::Settings;
    use crate::compare::{Answer, compare};
    use crate::payload::tests::recorded;

    /// An answer that a server gave.
    fn answer(name: &str) -> Answer {
        let message = recorded(name);
        let content_type: &[u8] = if message.head.json_length.is_some() {
            b"application/octet-stream"
        } else {
            b"application/json"
        };
        Answer {
            status: 200,
            content_type: content_type.to_vec(),
            json_length: message.head.json_length,
            body: message.body,
            ..Answer::default()
        }
    }

    /// A gRPC message that a server sent.
    fn message(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/fixtures/payload/{name}.pb", env!("CARGO_MANIFEST_DIR"));
        framed(&std::fs::read(path).unwrap())
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
    }

    #[test]
    fn binary_tensors_are_what_the_same_server_says_in_json() {
        let (mut binary, json) = (answer("triton-binary.response"), answer("triton-json.response"));
        let document = behind_json(&binary.body, binary.json_length.unwrap()).unwrap();
        assert_eq!(
            document["outputs"][0],
            json!({"name": "label", "datatype": "INT64", "shape": [2, 1], "data": [3, 3]})
        );
        // Only how they are written differs.
        binary.content_type.clone_from(&json.content_type);
        binary.body = document.to_string().into_bytes();
        let compared = compare(&Settings::default(), &binary, &json);
        assert!(compared.agrees, "{compared:?}");
        assert_eq!(compared.found.apart.all(), 22 + 4, "the elements, and the dimensions of two shapes");
    }

    #[test]
    fn elements_that_differ_are_counted_one_by_one() {
        let one = answer("triton-binary.response");
        let mut other = one.clone();
        // The last element of `proba`, and the label of the second image.
        let (label, last) = (240 + 8, one.body.len() - 2);
        other.body[label] = 7;
        other.body[last] ^= 0x40;
        let compared = compare(&Settings::default(), &one, &other);
        let places: Vec<_> = compared
            .found
            .places
            .iter()
            .map(|place| (place.path.as_str(), place.kind, place.count))
            .collect();
        assert_eq!(places, [("/outputs/*/data/*", Kind::Value, 2)]);
        let settings = Settings {
            label: crate::compare::pointer::Pointer::new("/outputs/0/data/1").ok(),
            ..Settings::default()
        };
        let labels = compare(&settings, &one, &other).labels.unwrap();
        assert_eq!(labels.names, ("3".to_owned(), "7".to_owned()));
        let shorter = Answer { body: one.body[..one.body.len() - 1].to_vec(), ..one.clone() };
        let compared = compare(&Settings::default(), &one, &shorter);
        assert_eq!(compared.found.places[0].kind, Kind::Body, "it is cut");
    }

    #[test]
    fn answers_over_grpc_are_read_in_both_forms() {
        let contents = infer_response(&message("mlserver-grpc-contents.response")).unwrap();
        assert_eq!(
            contents,
            json!({
                "model_name": "digits", "model_version": "v1.0.0", "id": "g-1",
                "outputs": [{
                    "name": "predict", "datatype": "INT64", "shape": [2, 1], "data": [0, 1],
                    "parameters": {"content_type": "np"},
                }],
            })
        );
        let raw = infer_response(&message("triton-grpc-raw.response")).unwrap();
        let outputs = raw["outputs"].as_array().unwrap();
        let lengths: Vec<usize> =
            outputs.iter().map(|output| output["data"].as_array().unwrap().len()).collect();
        assert_eq!(lengths, [2, 20, 2]);
        assert_eq!(outputs[2]["data"], json!(["digit-3", "digit-3"]));
        let answer = |body: Vec<u8>| Answer {
            status: 200,
            content_type: b"application/grpc".to_vec(),
            infers: true,
            body,
            ..Answer::default()
        };
        let (one, mut other) = (message("triton-grpc-raw.response"), message("triton-grpc-raw.response"));
        *other.last_mut().unwrap() = b'9';
        let compared = compare(&Settings::default(), &answer(one.clone()), &answer(other.clone()));
        assert_eq!(compared.found.places[0].path, "/outputs/*/data/*");
        let unknown = |body| Answer { infers: false, ..answer(body) };
        assert_eq!(
            compare(&Settings::default(), &unknown(one), &unknown(other)).found.places[0].kind,
            Kind::Body
        );
    }

    #[test]
    fn numbers_that_json_does_not_have_are_told_apart() {
        let of = |values: &[f32]| {
            let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            elements(Datatype::Float(4), &data, &mut 9).unwrap()
        };
        assert_eq!(
            of(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5]),
            [json!("NaN"), json!("inf"), json!("-inf"), json!(0.5)]
        );
        let whole = elements(Datatype::Unsigned(8), &u64::MAX.to_le_bytes(), &mut 9).unwrap();
        assert_eq!(whole, [json!(u64::MAX)], "exactly");
        assert_eq!(elements(Datatype::Signed(2), &[0xff, 0xff], &mut 9).unwrap(), [json!(-1)]);
        assert_eq!(elements(Datatype::Bytes, &[2, 0, 0, 0, 0xff, 1], &mut 9).unwrap(), [json!("ff01")]);
    }

    #[test]
    fn more_elements_than_there_is_room_for_are_not_read() {
        assert_eq!(elements(Datatype::Unsigned(1), &[1; 4], &mut 4).unwrap().len(), 4);
        assert!(elements(Datatype::Unsigned(1), &[1; 5], &mut 4).is_err());
        assert!(elements(Datatype::Unsigned(4), &[1; 5], &mut 4).is_err(), "no whole number of them");
        let many = |count: usize| {
            let json = json!({"outputs": [{"datatype": "UINT8", "parameters": {"binary_data_size": count}}]})
                .to_string();
            behind_json(&[json.as_bytes(), &vec![0; count]].concat(), json.len() as u64)
        };
        assert!(many(MOST_ELEMENTS - 100).is_some() && many(MOST_ELEMENTS).is_none());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json_length in 0..300_u64) {
            let _ = behind_json(&bytes, json_length);
            let _ = infer_response(&bytes);
            let _ = response(&bytes);
        }

        #[test]
        fn a_damaged_answer_does_not_panic(at in 0..400_usize, byte: u8) {
            let mut body = message("triton-grpc-raw.response");
            if let Some(slot) = body.get_mut(at) {
                *slot = byte;
            }
            let _ = infer_response(&body);
            let mut binary = answer("triton-binary.response");
            if let Some(slot) = binary.body.get_mut(at) {
                *slot = byte;
            }
            let _ = behind_json(&binary.body, 240);
        }
    }
}
