//! The reader against serde_json, against itself in pieces, and on the categories of JSONTestSuite.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
#![allow(clippy::arithmetic_side_effects)]

use json_sieve::{Container, Elements, Event, Null, Plan, Reader, Scalar, Slot, Stop, Want};
use proptest::prelude::*;
use serde_json::{Value, json};

/// An event that is kept.
#[derive(Clone, Debug, PartialEq)]
enum Found {
    Null(Null),
    Bool(bool),
    Number(f64),
    Text(Vec<u8>, u64, u64),
    Open(Container),
    Close(bool),
    Elements(Elements),
}

fn keep(event: Event<'_>) -> Found {
    match event {
        Event::Null(null) => Found::Null(null),
        Event::Bool(value) => Found::Bool(value),
        Event::Number(value) => Found::Number(value),
        Event::Text(text) => Found::Text(text.head.to_vec(), text.bytes, text.characters),
        Event::Open(kind) => Found::Open(kind),
        Event::Close { empty } => Found::Close(empty),
        Event::Elements(elements) => Found::Elements(elements.clone()),
    }
}

type Outcome = (Vec<(Slot, Found)>, Result<(), Stop>);

fn read<'a>(plan: &Plan, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut found = Vec::new();
    let mut sink = |slot: Slot, event: Event<'_>| found.push((slot, keep(event)));
    let mut reader = Reader::new();
    for chunk in chunks {
        let _ = reader.read(plan, chunk, &mut sink);
    }
    let end = reader.finish(plan, &mut sink);
    (found, end)
}

fn values(pointers: &[&str]) -> Plan {
    Plan::new(pointers.iter().map(|pointer| (*pointer, Want::Value))).unwrap()
}

/// The outcome, after every split in two and every byte by itself gave the same.
fn read_split(plan: &Plan, document: &[u8]) -> Outcome {
    let whole = read(plan, [document]);
    for at in 0..=document.len() {
        assert_eq!(read(plan, [&document[..at], &document[at..]]), whole, "split at {at}");
    }
    assert_eq!(read(plan, document.chunks(1)), whole, "byte by byte");
    whole
}

fn found(pointers: &[&str], document: &str) -> Vec<(Slot, Found)> {
    let (found, end) = read_split(&values(pointers), document.as_bytes());
    assert_eq!(end, Ok(()), "{document}");
    found
}

fn text(text: &str) -> Found {
    Found::Text(text.as_bytes().to_vec(), text.len() as u64, text.chars().count() as u64)
}

/// What the reader must find, from a parsed document.
fn oracle(
    value: &Value,
    path: &mut Vec<Result<usize, String>>,
    pointers: &[(String, Want)],
    out: &mut Vec<(Slot, Found)>,
    inside: bool,
) {
    let here: Vec<(Slot, Want)> = pointers
        .iter()
        .enumerate()
        .filter(|(_, (pointer, _))| matches(pointer, path))
        .map(|(slot, (_, want))| (slot as Slot, *want))
        .collect();
    let tell = |out: &mut Vec<(Slot, Found)>, found: Found| {
        out.extend(
            here.iter().filter(|(_, want)| *want == Want::Value).map(|(slot, _)| (*slot, found.clone())),
        );
    };
    let gathers = here.iter().find(|(_, want)| *want == Want::Elements).filter(|_| !inside);
    let stats = |out: &mut Vec<(Slot, Found)>| {
        if let Some((slot, _)) = gathers {
            let mut elements = Elements::default();
            gather(value, &mut elements);
            elements.rows = match value {
                Value::Array(values) => values.len() as u64,
                Value::Object(members) => u64::from(!members.is_empty()),
                _ => 0,
            };
            out.push((*slot, Found::Elements(elements)));
        }
    };
    match value {
        Value::Array(values) => {
            tell(out, Found::Open(Container::Array));
            for (index, value) in values.iter().enumerate() {
                path.push(Ok(index));
                oracle(value, path, pointers, out, inside || gathers.is_some());
                path.pop();
            }
            stats(out);
            tell(out, Found::Close(values.is_empty()));
        }
        Value::Object(members) => {
            tell(out, Found::Open(Container::Object));
            for (name, value) in members {
                path.push(Err(name.clone()));
                oracle(value, path, pointers, out, inside || gathers.is_some());
                path.pop();
            }
            stats(out);
            tell(out, Found::Close(members.is_empty()));
        }
        scalar => {
            stats(out);
            tell(
                out,
                match scalar {
                    Value::Null => Found::Null(Null::Null),
                    Value::Bool(value) => Found::Bool(*value),
                    Value::Number(number) => Found::Number(number.as_f64().unwrap()),
                    Value::String(string) => {
                        let held = string.len().min(json_sieve::HELD);
                        Found::Text(
                            string.as_bytes()[..held].to_vec(),
                            string.len() as u64,
                            string.chars().count() as u64,
                        )
                    }
                    Value::Array(_) | Value::Object(_) => return,
                },
            );
        }
    }
}

fn gather(value: &Value, elements: &mut Elements) {
    let scalar = match value {
        Value::Array(values) => return values.iter().for_each(|value| gather(value, elements)),
        Value::Object(members) => return members.values().for_each(|value| gather(value, elements)),
        Value::Null => {
            elements.missing += 1;
            Scalar::Null
        }
        Value::Bool(value) => {
            elements.bools += 1;
            Scalar::Bool(*value)
        }
        Value::Number(number) => {
            let value = number.as_f64().unwrap();
            elements.numbers.add(value);
            Scalar::Number(value)
        }
        Value::String(string) => {
            elements.texts += 1;
            elements.characters += string.chars().count() as u64;
            elements.missing += u64::from(string.is_empty());
            Scalar::Text(string.as_bytes()[..string.len().min(json_sieve::HELD)].into())
        }
    };
    elements.count += 1;
    elements.first.get_or_insert(scalar);
}

fn matches(pointer: &str, path: &[Result<usize, String>]) -> bool {
    let names: Vec<&str> = pointer.split('/').skip(1).collect();
    names.len() == path.len()
        && names.iter().zip(path).all(|(name, step)| match step {
            Ok(index) => *name == "*" || *name == index.to_string(),
            Err(member) => name.replace("~1", "/").replace("~0", "~") == *member && *name != "*",
        })
}

const NAMES: [&str; 8] = ["a", "b", "data", "0", "1", "", "ä/~", "ein etwas längerer Name"];

fn documents() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(|number| json!(number)),
        (-100_i64..100).prop_map(|number| json!(number)),
        any::<f64>().prop_filter_map("finite", |number| number.is_finite().then(|| json!(number))),
        any::<f32>().prop_filter_map("finite", |number| number.is_finite().then(|| json!(number))),
        (-1.0..1.0).prop_map(|number: f64| json!(number)),
    ];
    let string = prop_oneof![".{0,20}", "[a-z\"\\\\\n\u{1}\u{1f600}é]{0,20}", ".{200,300}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number,
        string.prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 120, 10, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..10).prop_map(Value::Array),
            proptest::collection::vec((proptest::sample::select(NAMES.to_vec()), inner), 0..6).prop_map(
                |members| {
                    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                }
            ),
        ]
    })
}

fn pointers() -> impl Strategy<Value = Vec<(String, Want)>> {
    let name = proptest::sample::select(vec!["a", "b", "data", "0", "1", "", "ä~1~0", "*", "*", "*"]);
    let pointer = proptest::collection::vec(name, 0..4)
        .prop_map(|names| names.iter().map(|name| format!("/{name}")).collect::<String>());
    let want = prop_oneof![3 => Just(Want::Value), 1 => Just(Want::Elements)];
    proptest::collection::vec((pointer, want), 0..8)
}

/// Writes a document with white space and escapes that serde_json itself would not write.
fn write(value: &Value, odd: bool) -> String {
    let text = if odd { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap();
    if !odd {
        return text;
    }
    let mut units = [0; 2];
    text.chars()
        .map(|character| match character {
            character if character.is_ascii() => character.to_string(),
            character => {
                character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")).collect()
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_valid_document_reads_as_serde_json_reads_it(
        document in documents(), pointers in pointers(), odd in any::<bool>(), step in 1_usize..40,
    ) {
        let Ok(plan) = Plan::new(pointers.iter().map(|(pointer, want)| (pointer.as_str(), *want))) else {
            return Ok(());
        };
        let mut expected = Vec::new();
        oracle(&document, &mut Vec::new(), &pointers, &mut expected, false);
        let text = write(&document, odd);
        let read = read(&plan, text.as_bytes().chunks(step));
        prop_assert_eq!(read, (expected, Ok(())), "{} with {:?}", text, pointers);
    }

    #[test]
    fn any_bytes_read_the_same_however_they_are_split(
        document in documents(), pointers in pointers(), odd in any::<bool>(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0_u8..3), 0..4),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        most in 1_u64..20,
    ) {
        let Ok(plan) = Plan::new(pointers.iter().map(|(pointer, want)| (pointer.as_str(), *want))) else {
            return Ok(());
        };
        let plan = plan.max_elements(most).missing(["a", "NaN"]);
        let mut bytes = write(&document, odd).into_bytes();
        for (place, byte, how) in damage {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                _ => bytes.insert(at, b"\"\\[]{},:0-.eNaI "[usize::from(byte) % 15]),
            }
        }
        let whole = read(&plan, [&bytes[..]]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain(std::iter::once(bytes.len()));
        let chunks: Vec<&[u8]> = starts.zip(ends).map(|(from, to)| &bytes[from..to]).collect();
        prop_assert_eq!(&read(&plan, chunks), &whole);
        prop_assert_eq!(&read(&plan, bytes.chunks(1)), &whole);
    }

    #[test]
    fn the_bound_of_elements_does_not_change_what_other_pointers_find(
        document in documents(), pointers in pointers(), odd in any::<bool>(), most in 1_u64..20,
    ) {
        let plan = || Plan::new(pointers.iter().map(|(pointer, want)| (pointer.as_str(), *want)));
        let (Ok(whole), Ok(bounded)) = (plan(), plan()) else { return Ok(()) };
        let text = write(&document, odd);
        let values = |plan: &Plan| {
            let (mut found, end) = read(plan, [text.as_bytes()]);
            found.retain(|(_, found)| !matches!(found, Found::Elements(_)));
            (found, end)
        };
        prop_assert_eq!(values(&bounded.max_elements(most)), values(&whole), "{} with {:?}", text, pointers);
    }

    /// Of a document that is read as a whole, the reader accepts what serde_json accepts.
    #[test]
    fn a_value_that_is_read_is_validated(document in documents(), place in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let plan = Plan::new([("", Want::Elements)]).unwrap();
        let mut bytes = serde_json::to_vec(&document).unwrap();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        let accepted = read(&plan, [&bytes[..]]).1.is_ok();
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(_) => prop_assert!(accepted, "{}", String::from_utf8_lossy(&bytes)),
            // Differences that are documented: UTF-8 is not checked, surrogates may be alone, infinite is null.
            Err(error) => {
                let why = error.to_string();
                let known = ["unicode", "surrogate", "hex escape", "number out of range"];
                let known = known.iter().any(|known| why.contains(known)) || std::str::from_utf8(&bytes).is_err();
                prop_assert!(!accepted || known, "{why}: {}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}

#[test]
fn a_pointer_finds_scalars_and_containers() {
    let document = r#"{"a":{"b":[1,"x",null,true,{}]},"c":[]}"#;
    assert_eq!(
        found(&["/a/b/0", "/a/b/*", "/c"], document),
        [
            (0, Found::Number(1.0)),
            (1, Found::Number(1.0)),
            (1, text("x")),
            (1, Found::Null(Null::Null)),
            (1, Found::Bool(true)),
            (1, Found::Open(Container::Object)),
            (1, Found::Close(true)),
            (2, Found::Open(Container::Array)),
            (2, Found::Close(true)),
        ]
    );
}

#[test]
fn bare_nan_and_infinity_are_nulls_and_not_errors() {
    assert_eq!(
        found(&["/*"], "[NaN,Infinity,-Infinity,1e999]"),
        [
            (0, Found::Null(Null::NotANumber)),
            (0, Found::Null(Null::Infinite)),
            (0, Found::Null(Null::Infinite)),
            (0, Found::Null(Null::Infinite)),
        ]
    );
    let plan = Plan::new([("", Want::Elements)]).unwrap().missing(["unknown", "NaN"]);
    let (found, end) = read_split(&plan, br#"[[1,NaN],[null,"NaN"],["","unknown"],[Infinity,2.5]]"#);
    assert_eq!(end, Ok(()));
    let [(0, Found::Elements(elements))] = &found[..] else { panic!("{found:?}") };
    assert_eq!((elements.rows, elements.count, elements.missing, elements.texts), (4, 8, 6, 3));
    assert_eq!((elements.numbers.sum, elements.numbers.min, elements.numbers.max), (3.5, 1.0, 2.5));
}

#[test]
fn of_a_long_tensor_only_so_many_elements_are_read() {
    let plan = Plan::new([("/data", Want::Elements), ("/after", Want::Value)]).unwrap().max_elements(5);
    for document in [
        r#"{"data":[1,2,3,4,5,6,7,"]"],"after":1}"#,
        r#"{"data":[[1,2],[3,4],[5,6,["\"]"]],[]],"after":1}"#,
        r#"{"data":[{"a":1,"b":2},{"a":3,"b":[4,5,6]},{}],"after":1}"#,
    ] {
        let (found, end) = read_split(&plan, document.as_bytes());
        assert_eq!(end, Ok(()));
        let [(0, Found::Elements(elements)), (1, Found::Number(1.0))] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((elements.count, elements.numbers.sum, elements.cut), (5, 15.0, true), "{document}");
        assert_eq!(elements.first, Some(Scalar::Number(1.0)));
    }
    let (found, _) = read_split(&plan, br#"{"data":[1,2,3,4,5]}"#);
    let [(0, Found::Elements(elements))] = &found[..] else { panic!("{found:?}") };
    assert_eq!((elements.count, elements.rows, elements.cut), (5, 5, false));
}

#[test]
fn a_pointer_into_a_long_tensor_finds_what_stands_behind_the_bound() {
    let wants = [("/data", Want::Elements), ("/data/6", Want::Value), ("/data/*/b", Want::Value)];
    let plan = Plan::new(wants).unwrap().max_elements(2);
    for (document, expected) in [
        ("{\"data\":[0,1,2,3,4,5,6,7]}", vec![(1, Found::Number(6.0))]),
        (
            "{\"data\":[{\"a\":[0,1,2,[3]],\"b\":4,\"c\":5},{\"b\":\"x\"},[6,7]]}",
            vec![(2, Found::Number(4.0)), (2, text("x"))],
        ),
    ] {
        let (mut found, end) = read_split(&plan, document.as_bytes());
        let Some((0, Found::Elements(elements))) = found.pop() else { panic!("{found:?}") };
        assert_eq!((elements.count, elements.numbers.sum, elements.cut), (2, 1.0, true), "{document}");
        assert_eq!((found, end), (expected, Ok(())), "{document}");
    }
}

#[test]
fn every_occurrence_of_a_duplicate_name_is_found() {
    assert_eq!(found(&["/a"], r#"{"a":1,"b":0,"a":2}"#), [(0, Found::Number(1.0)), (0, Found::Number(2.0))]);
}

#[test]
fn names_compare_unescaped() {
    assert_eq!(found(&["/a/~0"], r#"{"\u0061":{"\u007E":1},"\\u0061":2}"#), [(0, Found::Number(1.0))]);
    let long = "n".repeat(json_sieve::MAX_NAME);
    let document = format!(r#"{{"{long}{long}{long}":1,"{long}":2,"{long}x":3}}"#);
    assert_eq!(found(&[&format!("/{long}")], &document), [(0, Found::Number(2.0))]);
}

#[test]
fn text_counts_characters_and_holds_a_beginning() {
    let cases = [
        (r#""""#, ""),
        (r#""größe 😀""#, "größe 😀"),
        (r#""\ud83d\ude00\"\\\/\b\f\n\r\t""#, "😀\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ude00x""#, "\u{fffd}x"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
    ];
    for (document, expected) in cases {
        assert_eq!(found(&[""], document), [(0, text(expected))], "{document}");
    }
    let long = "é".repeat(200);
    let [(0, Found::Text(head, bytes, characters))] = &found(&[""], &format!("\"{long}\""))[..] else {
        panic!()
    };
    assert_eq!((head.as_slice(), *bytes, *characters), (&long.as_bytes()[..256], 400, 200));
}

#[test]
fn broken_utf8_in_text_is_counted_by_its_leading_bytes() {
    let (found, end) = read_split(&values(&[""]), b"\"a\xff\xc3\xa9\x80\"");
    assert_eq!(end, Ok(()));
    assert_eq!(found, [(0, Found::Text(b"a\xff\xc3\xa9\x80".to_vec(), 5, 3))]);
}

/// The categories of JSONTestSuite (`n_`): each is refused where the part is read.
#[test]
fn malformed_documents_are_refused() {
    let plan = Plan::new([("", Want::Elements)]).unwrap();
    let cases: &[&[u8]] = &[
        b"[1,]",
        b"[,1]",
        b"[1,,2]",
        b"[1 2]",
        b"[1:2]",
        b"[\"a\" 1]",
        b"[",
        b"]",
        b"[1",
        b"[1}",
        b"{]",
        b"{\"a\":1]",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\" 1}",
        b"{a:1}",
        b"{'a':1}",
        b"{\"a\":1,}",
        b"{,}",
        b"{1:1}",
        b"{\"a\":1 \"b\":2}",
        b"[-]",
        b"[+1]",
        b"[01]",
        b"[-01]",
        b"[1.]",
        b"[.5]",
        b"[-.5]",
        b"[1e]",
        b"[1e+]",
        b"[1.e1]",
        b"[0x1]",
        b"[1a]",
        b"[--1]",
        b"[1_000]",
        b"[1.2.3]",
        b"[1e1.5]",
        b"[nul]",
        b"[nulll]",
        b"[True]",
        b"[tru e]",
        b"[nan]",
        b"[\xff]",
        b"[*]",
        b"[\"\\x\"]",
        b"[\"\\u12g4\"]",
        b"[\"\\u1\"]",
        b"[\"\x01\"]",
        b"[\"\n\"]",
        b"[\"\\",
        b"[\"\\u",
        b"[\"",
        b"1 2",
        b"[]]",
        b"{}[]",
        b"[] x",
        b"\"a\" \"b\"",
        b"<html>",
        b"\xef\xbb[]",
        b"\xfe\xff\x00[",
        b"\x00",
        b"// c\n1",
        b"[1] // c",
        b"{\"a\":1/**/}",
        b"\x0c[]",
        b"[\x0b1]",
    ];
    for case in cases {
        let (_, end) = read_split(&plan, case);
        assert!(
            matches!(end, Err(Stop::Malformed | Stop::Truncated)),
            "{}: {end:?}",
            String::from_utf8_lossy(case)
        );
    }
}

/// The category `y_`, and of `i_` what the documentation says is accepted.
#[test]
fn valid_and_tolerated_documents_are_accepted() {
    let plan = Plan::new([("", Want::Elements)]).unwrap();
    let cases: &[&[u8]] = &[
        b"[]",
        b"{}",
        b" [ ] ",
        b"\t{\r\n}",
        b"null",
        b"0",
        b"-0",
        b"-0.0",
        b"1",
        b" 1 ",
        b"\"\"",
        b"[1e5]",
        b"[1E-5]",
        b"[0e+1]",
        b"[-1.5e+10]",
        b"[123456789012345678901234567890]",
        b"[1e-999]",
        b"[\"\\u0000\"]",
        b"[\"\x7f\"]",
        b"{\"\":0}",
        b"{\"a\":1,\"a\":1}",
        b"\xef\xbb\xbf[1]",
        b"[\"\\ud800\"]",
        b"[\"\xed\xa0\x80\"]",
        b"[\"\xff\"]",
        b"[\"\xc0\xaf\"]",
        b"[0.4e0066999999999999999999999999999999999999999999999999999999999999999999999999999]",
    ];
    for case in cases {
        assert_eq!(read_split(&plan, case).1, Ok(()), "{}", String::from_utf8_lossy(case));
    }
}

#[test]
fn an_empty_input_is_not_a_truncated_document() {
    for (document, stop) in [
        ("", Stop::Empty),
        ("  \n", Stop::Empty),
        ("\u{feff}", Stop::Empty),
        ("[", Stop::Truncated),
        ("{\"a", Stop::Truncated),
    ] {
        assert_eq!(read_split(&values(&[""]), document.as_bytes()).1, Err(stop), "{document:?}");
    }
}

#[test]
fn limits_stop_the_reader_with_a_reason() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let elements = Plan::new([("", Want::Elements)]).unwrap();
    assert_eq!(read(&elements, [deep(64).as_bytes()]).1, Ok(()));
    assert_eq!(read(&elements, [deep(65).as_bytes()]).1, Err(Stop::TooDeep));
    // What is skipped may be of any depth, and costs nothing to hold.
    let skipped = format!("{{\"x\":{},\"a\":1}}", deep(100_000));
    assert_eq!(read(&values(&["/a"]), [skipped.as_bytes()]), (vec![(0, Found::Number(1.0))], Ok(())));
    let digits = format!("[{}]", "1".repeat(128));
    assert_eq!(read_split(&elements, digits.as_bytes()).1, Ok(()));
    for long in [
        format!("[{}]", "1".repeat(129)),
        format!("[0.{}]", "1".repeat(129)),
        format!("[{}]", "n".repeat(129)),
    ] {
        assert_eq!(read_split(&elements, long.as_bytes()).1, Err(Stop::TooLong));
    }
    assert_eq!(
        read(&values(&["/a"]), [format!("{{\"x\":{},\"a\":1}}", "1".repeat(1000)).as_bytes()]).1,
        Ok(())
    );
}

#[test]
fn a_stopped_reader_stays_stopped_until_the_document_ends() {
    let plan = values(&["/a"]);
    let mut reader = Reader::new();
    let mut found = Vec::new();
    let mut sink = |_: Slot, event: Event<'_>| found.push(keep(event));
    assert_eq!(reader.read(&plan, b"{\"a\":1,]", &mut sink), Err(Stop::Malformed));
    assert_eq!(reader.offset(), 7);
    assert_eq!(reader.read(&plan, b"\"a\":2}", &mut sink), Err(Stop::Malformed));
    assert_eq!(reader.finish(&plan, &mut sink), Err(Stop::Malformed));
    assert_eq!(reader.read(&plan, b"{\"a\":3}", &mut sink), Ok(()));
    assert!(reader.is_complete());
    assert_eq!(reader.finish(&plan, &mut sink), Ok(()));
    assert_eq!(found, [Found::Number(1.0), Found::Number(3.0)]);
}

#[test]
fn a_value_that_is_skipped_is_not_validated() {
    for document in [
        r#"{"x":[1 2,,tru"],}",}],"a":1}"#,
        r#"{"x":{]],"a":1}"#,
        "{\"x\":\"\\q\n\",\"a\":1}",
        r#"{"x":12x,"a":1}"#,
    ] {
        let (found, _) = read_split(&values(&["/a"]), document.as_bytes());
        assert!(found.len() <= 1, "{document}");
    }
    assert_eq!(found(&["/a"], "{\"x\":\"\\q\n\",\"a\":1}"), [(0, Found::Number(1.0))]);
    assert_eq!(found(&["/a"], r#"{"x":[1 2,,"]"],"a":1}"#), [(0, Found::Number(1.0))]);
}
