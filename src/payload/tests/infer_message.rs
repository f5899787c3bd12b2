//! Open Inference over gRPC: MLServer, Triton and their clients; and messages of every form that protobuf allows.

use json_sieve::Scalar;
use proptest::prelude::*;

use super::{Message, preset, read_chunks, read_message};
use crate::payload::fields::Wanted;
use crate::payload::head::{Framing, Head, infers};
use crate::payload::preset::Spec;
use crate::payload::protocol::{Direction, Protocol};
use crate::payload::summary::{Datatype, MAX_TENSORS, Outcome, Summary, Tensor};

const CALL: Head = Head {
    framing: Framing::Grpc,
    infers: true,
    encoding: crate::payload::head::Encoding::Identity,
    json_length: None,
};

fn spec(direction: Direction) -> Spec {
    Spec::new(Protocol::OpenInference, direction)
}

/// A message behind its flag and length.
fn framed(message: &[u8]) -> Message {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Message { head: CALL, body: [&[0][..], &length, message].concat() }
}

fn recorded(name: &str) -> Message {
    let path = format!("{}/tests/fixtures/payload/{name}.pb", env!("CARGO_MANIFEST_DIR"));
    framed(&std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")))
}

fn of(message: &[u8]) -> Summary {
    read_message(&spec(Direction::Output), &framed(message))
}

/// A field that has a length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A tensor of an answer, with these contents.
fn tensor(name: &str, datatype: &str, shape: &[u64], contents: &[u8]) -> Vec<u8> {
    let shape: Vec<u8> = shape.iter().flat_map(|dimension| varint(*dimension)).collect();
    let all =
        [field(1, name.as_bytes()), field(2, datatype.as_bytes()), field(3, &shape), field(5, contents)];
    field(5, &all.concat())
}

/// Name, shape, elements, missing ones, and the sum of the numbers.
fn figures(tensor: &Tensor) -> (&str, &[u64], u64, u64, f64) {
    let elements = tensor.elements.as_ref().unwrap();
    let name = std::str::from_utf8(&tensor.name).unwrap();
    (name, &tensor.shape, elements.count, elements.missing, elements.numbers.sum)
}

#[test]
fn recorded_messages_are_read_in_both_forms() {
    for form in ["contents", "raw"] {
        let request =
            read_message(&spec(Direction::Input), &recorded(&format!("mlserver-grpc-{form}.request")));
        assert_eq!(request.outcome, Outcome::Read);
        let [pixels] = &request.seen.tensors[..] else { panic!("{request:?}") };
        assert_eq!(figures(pixels), ("predict", &[2, 64][..], 128, 0, 37.9375), "{form}");
        assert_eq!((pixels.batch(), pixels.datatype), (Some(2), Datatype::Float(8)));
        let numbers = pixels.elements.as_ref().unwrap().numbers;
        assert_eq!((numbers.min, numbers.max), (0.0, 1.0));
        let answer =
            read_message(&spec(Direction::Output), &recorded(&format!("mlserver-grpc-{form}.response")));
        let [labels] = &answer.seen.tensors[..] else { panic!("{answer:?}") };
        assert_eq!(figures(labels), ("predict", &[2, 1][..], 2, 0, 1.0), "{form}");
        assert_eq!((answer.is_null(), answer.is_error()), (Some(false), false));
        assert_eq!(answer.seen.grpc.unwrap().messages, 1);
    }
    let answer = read_message(&spec(Direction::Output), &recorded("triton-grpc-raw.response"));
    let [label, proba, name] = &answer.seen.tensors[..] else { panic!("{answer:?}") };
    assert_eq!(figures(label), ("label", &[2, 1][..], 2, 0, 6.0));
    assert_eq!(figures(proba), ("proba", &[2, 10][..], 20, 0, 2.000_000_026_378_984_3));
    let texts = name.elements.as_ref().unwrap();
    assert_eq!((texts.texts, texts.characters, texts.rows), (2, 14, 2));
    assert_eq!(texts.first, Some(Scalar::Text(b"digit-3"[..].into())));
}

#[test]
fn pointers_into_tensors_find_the_elements_of_messages() {
    let fields = ["/outputs/0/data/0", "/outputs/1/data/*", "/outputs/9/data/0"];
    let wanted = |pointer: &&str| Wanted { pointer: (*pointer).to_owned(), categories: Vec::new() };
    let spec = Spec { fields: fields.iter().map(wanted).collect(), ..spec(Direction::Output) };
    let seen = read_message(&spec, &recorded("triton-grpc-raw.response")).seen;
    assert_eq!(seen.fields[0].elements.first, Some(Scalar::Number(3.0)));
    assert_eq!((seen.fields[1].elements.count, seen.fields[1].elements.missing), (20, 0));
    assert_eq!((seen.fields[2].elements.count, seen.fields[2].elements.missing), (1, 1));
}

#[test]
fn every_kind_of_contents_is_read_packed_or_not() {
    let minus = varint(-3_i64 as u64);
    let floats = [0.5_f32, f32::NAN].map(f32::to_le_bytes).concat();
    let doubles = [0.5_f64, f64::INFINITY].map(f64::to_le_bytes).concat();
    let cases: [(&str, Vec<u8>, u64, u64, f64); 10] = [
        ("bools", field(1, &[1, 0, 1]), 3, 0, 0.0),
        ("int32", field(2, &[minus.as_slice(), &[5]].concat()), 2, 0, 2.0),
        ("int64, one by one", [&[0x18][..], &minus, &[0x18, 1]].concat(), 2, 0, -2.0),
        ("uint32", field(4, &varint(300)), 1, 0, 300.0),
        ("uint64", field(5, &varint(1 << 40)), 1, 0, 1_099_511_627_776.0),
        ("floats", field(6, &floats), 2, 1, 0.5),
        ("floats, one by one", [&[0x35][..], &floats[..4], &[0x35], &floats[4..]].concat(), 2, 1, 0.5),
        ("doubles", field(7, &doubles), 2, 1, 0.5),
        ("doubles, one by one", [&[0x39][..], &doubles[..8]].concat(), 1, 0, 0.5),
        ("texts", [field(8, b"cat"), field(8, b""), field(8, b"NaN")].concat(), 3, 2, 0.0),
    ];
    for (what, contents, count, missing, sum) in cases {
        let summary = of(&tensor("x", "?", &[7, 2], &contents));
        assert_eq!(summary.outcome, Outcome::Read, "{what}");
        assert_eq!(figures(&summary.seen.tensors[0]), ("x", &[7, 2][..], count, missing, sum), "{what}");
        assert_eq!(summary.is_null(), Some(missing > 0), "{what}");
    }
}

#[test]
fn a_pointer_finds_any_element_of_contents() {
    let wanted = Wanted { pointer: "/outputs/1/data/2".to_owned(), categories: Vec::new() };
    let spec = Spec { fields: vec![wanted], ..spec(Direction::Output) };
    let halves = |numbers: [f32; 3]| numbers.map(f32::to_le_bytes).concat();
    let cases = [
        (field(3, &[7, 8, 9]), Scalar::Number(9.0)),
        (field(6, &halves([0.5, 0.25, 0.125])), Scalar::Number(0.125)),
        ([field(8, b"a"), field(8, b"b"), field(8, b"cat")].concat(), Scalar::Text(b"cat"[..].into())),
        ([field(8, b"a"), field(8, b"b"), field(8, b"")].concat(), Scalar::Text(Box::default())),
    ];
    for (contents, expected) in cases {
        let other = tensor("x", "?", &[3], &field(3, &[1, 2, 3]));
        let message = framed(&[other, tensor("y", "?", &[3], &contents)].concat());
        let elements = read_message(&spec, &message).seen.fields[0].elements.clone();
        assert_eq!((elements.count, elements.first), (1, Some(expected)));
    }
}

#[test]
fn an_answer_without_elements_is_null() {
    assert_eq!(of(b"").is_null(), Some(true));
    assert_eq!(of(&tensor("x", "FP32", &[0], b"")).is_null(), Some(true));
    let pointers = ["/outputs/0/data/0", "/outputs/0/data/*"];
    for message in [field(5, b""), tensor("x", "", &[1], b""), tensor("x", "?", &[1], b"")] {
        for message in [message.clone(), [message, field(6, b"")].concat()] {
            assert_eq!(of(&message).is_null(), Some(true), "{message:x?}");
            for pointer in pointers {
                let wanted = Wanted { pointer: pointer.to_owned(), categories: Vec::new() };
                let spec = Spec { fields: vec![wanted], ..spec(Direction::Output) };
                assert_eq!(read_message(&spec, &framed(&message)).is_null(), Some(true), "{pointer}");
            }
        }
    }
    let raw = |bytes: &[u8]| of(&[tensor("x", "FP32", &[1], b""), field(6, bytes)].concat());
    assert_eq!(raw(b"").is_null(), Some(true));
    assert_eq!(raw(&1_f32.to_le_bytes()).is_null(), Some(false));
    assert_eq!(raw(&f32::NAN.to_le_bytes()).is_null(), Some(true));
}

/// Whether what stands at each pointer is missing in an answer, how many values stand there, and the first.
fn values_at(pointers: &[&str], message: &[u8]) -> Vec<(u64, u64, Option<Scalar>)> {
    let wanted = |pointer: &&str| Wanted { pointer: (*pointer).to_owned(), categories: Vec::new() };
    let spec = Spec { fields: pointers.iter().map(wanted).collect(), ..spec(Direction::Output) };
    let summary = read_message(&spec, &framed(message));
    assert_eq!(summary.outcome, Outcome::Read);
    let fields = summary.seen.fields.into_iter().map(|field| field.elements);
    fields.map(|elements| (elements.count, elements.missing, elements.first)).collect()
}

#[test]
fn a_pointer_finds_nothing_in_a_tensor_without_elements_whatever_its_shape_says() {
    let announced = tensor("x", "FP32", &[1], b"");
    let raw = [announced.as_slice(), &field(6, b"")].concat();
    for message in [announced, raw] {
        let found = values_at(&["/outputs/0/data/0"], &message);
        assert_eq!(found, [(1, 1, Some(Scalar::Null))]);
        let wanted = Wanted { pointer: "/outputs/0/data/*".to_owned(), categories: Vec::new() };
        let spec = Spec { fields: vec![wanted], ..spec(Direction::Output) };
        assert_eq!(read_message(&spec, &framed(&message)).is_null(), Some(true));
    }
}

#[test]
fn a_pointer_to_a_tensor_beyond_those_that_are_kept_is_not_missing() {
    let pointers = ["/outputs/15/data/0", "/outputs/16/data/0", "/outputs/17/data/0", "/outputs/20/data/0"];
    let contents: Vec<u8> = (0..20).flat_map(|at| tensor("x", "INT64", &[1], &field(3, &[at]))).collect();
    let number = |number| (1, 0, Some(Scalar::Number(number)));
    let absent = (1, 1, None);
    assert_eq!(values_at(&pointers, &contents), [number(15.0), number(16.0), number(17.0), absent.clone()]);
    let announced: Vec<u8> = (0..20).flat_map(|_| tensor("x", "UINT8", &[1], b"")).collect();
    let raw: Vec<u8> = (0..20).flat_map(|at| field(6, &[at])).collect();
    let unread = (0, 0, None);
    assert_eq!(
        values_at(&pointers, &[announced, raw].concat()),
        [number(15.0), unread.clone(), unread, absent]
    );
}

#[test]
fn unknown_fields_are_skipped_and_wrong_messages_are_malformed() {
    let unknown = [&[0x51][..], &[0; 8], &[0x55], &[0; 4], &[0x50, 0x80, 1], &field(11, b"abc")].concat();
    let known = tensor("x", "INT64", &[1], &[unknown.clone(), field(3, &[4])].concat());
    let summary = of(&[unknown, known].concat());
    assert_eq!(figures(&summary.seen.tensors[0]), ("x", &[1][..], 1, 0, 4.0));
    let wrong: [&[u8]; 9] = [
        &[0x00, 0],                      // no field has the number 0
        &[0x2b],                         // a group begins
        &[0x08],                         // no value
        &[0x2a, 5, 0],                   // longer than the message
        &[0x2a, 4, 0x0a, 9, b'x', b'y'], // longer than the tensor
        &[0x2a, 3, 0x1a, 1, 0x80],       // a dimension that does not end
        &[0x32, 0],                      // raw contents of no tensor
        &[0x50, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
        &[0x2a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
    ];
    for message in wrong {
        assert_eq!(of(message).outcome, Outcome::Malformed, "{message:x?}");
    }
}

#[test]
fn tensors_and_elements_beyond_the_bounds_are_skipped() {
    let many: Vec<u8> = (0..20).flat_map(|_| tensor("x", "UINT8", &[1], b"")).collect();
    let raw: Vec<u8> = (0..20).flat_map(|at| field(6, &[at])).collect();
    let seen = of(&[many, raw].concat()).seen;
    assert_eq!((seen.tensors.len(), seen.tensors_dropped), (MAX_TENSORS, 4));
    assert_eq!(figures(&seen.tensors[15]).4, 15.0);
    let spec = Spec { max_elements: 3, ..spec(Direction::Output) };
    let integers = field(3, &[1; 100]);
    let one_by_one = [0x18, 1].repeat(100);
    let texts = field(8, b"a").repeat(100);
    let name = field(1, b"behind");
    for contents in [integers, one_by_one, texts] {
        let seen = read_message(&spec, &framed(&tensor("x", "INT64", &[100], &contents))).seen;
        let elements = seen.tensors[0].elements.as_ref().unwrap();
        assert_eq!((elements.count, elements.cut, seen.tensors[0].len()), (3, true, 100));
    }
    let behind = field(5, &[field(5, &field(3, &[1; 100])), name].concat());
    assert_eq!(*read_message(&spec, &framed(&behind)).seen.tensors[0].name, *b"behind");
}

#[test]
fn only_the_call_that_infers_is_read() {
    assert!(infers(b"/inference.GRPCInferenceService/ModelInfer"));
    assert!(!infers(b"/inference.GRPCInferenceService/ModelMetadata"));
    let mut message = framed(&tensor("x", "INT64", &[1], &field(3, &[4])));
    message.head.infers = false;
    let summary = read_message(&spec(Direction::Output), &message);
    assert_eq!((summary.outcome, summary.is_null()), (Outcome::SkippedType, None));
    assert_eq!(summary.seen.grpc.unwrap().bytes, message.body.len() as u64 - 5);
    message.head.infers = true;
    let chat = read_message(&Spec::new(Protocol::OpenAi, Direction::Output), &message);
    assert_eq!(chat.outcome, Outcome::SkippedType);
}

/// What one tensor holds, in either form.
fn numbers() -> impl Strategy<Value = (Vec<f64>, bool)> {
    let number = prop_oneof![8 => -1e6..1e6, 1 => Just(f64::NAN), 1 => Just(f64::NEG_INFINITY)];
    (proptest::collection::vec(number, 0..20), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn tensors_of_any_length_are_read_to_their_figures(tensors in proptest::collection::vec(numbers(), 0..5)) {
        // A message is raw or not as a whole.
        let is_raw = tensors.first().is_some_and(|(_, is_raw)| *is_raw);
        let bytes = |numbers: &[f64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let (mut message, mut raw) = (field(1, b"model"), Vec::new());
        for (numbers, _) in &tensors {
            let contents = if is_raw { Vec::new() } else { field(7, &bytes(numbers)) };
            message.extend(tensor("x", "FP64", &[numbers.len() as u64], &contents));
            raw.extend(field(6, &bytes(numbers)));
        }
        message.extend(if is_raw { raw } else { Vec::new() });
        let summary = of(&message);
        prop_assert_eq!(summary.outcome, Outcome::Read);
        prop_assert_eq!(summary.seen.tensors.len(), tensors.len());
        for (tensor, (numbers, _)) in summary.seen.tensors.iter().zip(&tensors) {
            let finite: Vec<f64> = numbers.iter().copied().filter(|number| number.is_finite()).collect();
            let elements = tensor.elements.as_ref().unwrap();
            prop_assert_eq!(elements.count, numbers.len() as u64);
            prop_assert_eq!(elements.missing, (numbers.len() - finite.len()) as u64);
            prop_assert_eq!(elements.numbers.sum, finite.iter().sum::<f64>() + 0.0);
            prop_assert_eq!(elements.numbers.max, finite.iter().copied().reduce(f64::max).unwrap_or(0.0));
        }
    }

    #[test]
    fn mutated_messages_are_read_without_a_panic_however_they_are_split(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        step in 1..40_usize,
    ) {
        for name in ["mlserver-grpc-contents.response", "triton-grpc-raw.response"] {
            let mut message = recorded(name);
            for (at, byte) in &changes {
                let at = at.index(message.body.len());
                message.body[at] = *byte;
            }
            let preset = preset(&spec(Direction::Output));
            // A sum may be no number, which does not equal itself.
            let read = |step| format!("{:?}", read_chunks(&preset, &CALL, message.body.chunks(step)));
            prop_assert_eq!(read(step), read(message.body.len()));
        }
    }
}
