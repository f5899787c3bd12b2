//! What fuzzing holds true of any bytes: no panic, the same result however they are split, bounded results, and for the
//! reader agreement with serde_json on valid documents.

use std::rc::Rc;

use changeover::compare::diff::{Kind, LONGEST_VALUE, MOST_PLACES};
use changeover::compare::pointer::Pointer;
use changeover::compare::settings::Settings;
use changeover::compare::totals::Totals;
use changeover::compare::{Answer, Compared, compare};
use changeover::payload::encoding::Inflaters;
use changeover::payload::fields::Wanted;
use changeover::payload::head::{Encoding, Framing, Head};
use changeover::payload::preset::{Preset, Spec};
use changeover::payload::protocol::{Direction, Protocol};
use changeover::payload::reading::Reading;
use changeover::payload::summary::{MAX_CHOICES, MAX_DIMENSIONS, MAX_NAME, MAX_TENSORS, Outcome, Summary};
use json_sieve::{Event, Plan, Reader, Slot, Stop, Want};

/// One byte that says where to split, then a document.
pub fn reader(input: &[u8]) {
    let Some((&step, document)) = input.split_first() else { return };
    let plans = [
        Plan::new([("", Want::Elements)]).unwrap(),
        Plan::new([
            ("/outputs/*", Want::Value),
            ("/outputs/*/name", Want::Value),
            ("/outputs/*/data", Want::Elements),
            ("/outputs/0/data/1", Want::Value),
            ("/a/*/b", Want::Value),
            ("/a", Want::Value),
        ])
        .unwrap()
        .max_elements(5)
        .missing(["NaN"]),
    ];
    for plan in &plans {
        let whole = read(plan, std::iter::once(document));
        assert_eq!(read(plan, document.chunks(usize::from(step) + 1)), whole);
        if serde_json::from_slice::<serde_json::Value>(document).is_ok() {
            assert!(matches!(whole.1, Ok(()) | Err(Stop::TooDeep | Stop::TooLong)), "{whole:?}");
        }
    }
}

fn read<'a>(plan: &Plan, chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Result<(), Stop>) {
    let mut found = Vec::new();
    let mut sink = |slot: Slot, event: Event<'_>| found.push(format!("{slot} {event:?}"));
    let mut reader = Reader::new();
    for chunk in chunks {
        let _ = reader.read(plan, chunk, &mut sink);
    }
    let end = reader.finish(plan, &mut sink);
    (found, end)
}

/// Two bytes that say which kind of message it is and where to split, then its body.
pub fn message(protocol: Protocol, input: &[u8]) {
    let [kind, step, body @ ..] = input else { return };
    let direction = if kind & 1 == 0 { Direction::Output } else { Direction::Input };
    let fields = ["/outputs/0/data/0", "/a/*/b", "/predictions/*", "/user/age"];
    let wanted = |pointer: &str| Wanted { pointer: pointer.to_owned(), categories: vec!["1".to_owned()] };
    let spec = Spec {
        fields: fields.into_iter().map(wanted).collect(),
        max_body: 1 << 16,
        max_elements: 20,
        ..Spec::new(protocol, direction)
    };
    let preset = Rc::new(Preset::new(&spec).unwrap());
    let head = Head {
        encoding: [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Identity][usize::from(kind >> 1 & 3)],
        framing: [Framing::Json, Framing::Events, Framing::Grpc, Framing::Json][usize::from(kind >> 3 & 3)],
        infers: true,
        json_length: (kind >> 5 & 1 == 1).then_some(u64::from(*step) * 4),
    };
    let whole = summary(&preset, &head, std::iter::once(body));
    assert_eq!(summary(&preset, &head, body.chunks(usize::from(*step) + 1)), whole);
    let seen = &whole.seen;
    assert!(seen.tensors.len() <= MAX_TENSORS && seen.choices.len() <= MAX_CHOICES);
    assert!(seen.tensors.iter().all(|tensor| tensor.name.len() <= MAX_NAME && tensor.shape.len() <= MAX_DIMENSIONS));
    let _ = (whole.is_null(), whole.is_error(), whole.is_cut());
    seen.tensors.iter().for_each(|tensor| _ = (tensor.len(), tensor.batch()));
}

fn summary<'a>(preset: &Rc<Preset>, head: &Head, chunks: impl Iterator<Item = &'a [u8]>) -> Text {
    let mut reading = Reading::new(preset, head, &Inflaters::new(1));
    chunks.for_each(|chunk| reading.read(chunk));
    let mut summary = reading.finish();
    // The chunk counts as a whole in which it turned out.
    if matches!(summary.outcome, Outcome::Malformed | Outcome::TooComplex) {
        summary.bytes_read = 0;
    }
    Text { text: format!("{summary:?}"), summary }
}

/// A summary that compares by its text, in which a sum that is no number equals itself.
#[derive(Debug)]
struct Text {
    text: String,
    summary: Summary,
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.text == other.text
    }
}

impl std::ops::Deref for Text {
    type Target = Summary;

    fn deref(&self) -> &Summary {
        &self.summary
    }
}

/// Two bytes that say how to compare and where to split, then two answers.
pub fn pair(input: &[u8]) {
    let [how, split, both @ ..] = input else { return };
    let pointers = |from: &[&str]| from.iter().map(|text| Pointer::new(text).unwrap()).collect::<Vec<_>>();
    let settings = Settings {
        ignore: pointers(if how & 1 == 0 { &[] } else { &["/id", "/a/*", "/*/b/0"] }),
        unordered: pointers(if how & 2 == 0 { &[] } else { &["", "/a", "/*/*"] }),
        label: (how & 4 != 0).then(|| Pointer::new("/outputs/0/data/0").unwrap()),
        samples: usize::from(how & 8 != 0),
        redact: pointers(&["/a"]),
        ..Settings::default()
    };
    let content_type: &[u8] = match how >> 4 & 3 {
        0 => b"application/json",
        1 => b"text/event-stream",
        2 => b"application/octet-stream",
        _ => b"application/grpc",
    };
    let answer = |body: &[u8]| Answer {
        status: 200,
        content_type: content_type.to_vec(),
        json_length: Some(u64::from(*split)),
        infers: true,
        body: body.to_vec(),
    };
    let (one, other) = both.split_at(both.len() * usize::from(*split) / 255);
    let (one, other) = (answer(one), answer(other));
    for same in [&one, &other] {
        let compared = compare(&settings, same, same);
        assert!(compared.agrees && compared.found.is_empty(), "{compared:?}");
    }
    let (there, back) = (compare(&settings, &one, &other), compare(&settings, &other, &one));
    assert_eq!((there.agrees, there.found.overflow), (back.agrees, back.found.overflow));
    assert_eq!(there.found.apart, back.found.apart);
    if there.found.overflow == 0 {
        let kinds = |compared: &Compared, reversed: bool| {
            let places = compared.found.places.iter();
            let kind = |kind: Kind| if reversed { kind.reversed() } else { kind };
            let mut kinds: Vec<_> = places.map(|place| (place.path.clone(), kind(place.kind), place.count)).collect();
            kinds.sort();
            kinds
        };
        assert_eq!(kinds(&there, false), kinds(&back, true));
    }
    for place in &there.found.places {
        assert!(place.path.len() <= 128);
        assert!(place.values.iter().all(|(one, other)| one.len() <= LONGEST_VALUE && other.len() <= LONGEST_VALUE));
    }
    let mut totals = Totals::default();
    totals.count(Some(&there));
    assert!(totals.places.len() <= MOST_PLACES);
}
