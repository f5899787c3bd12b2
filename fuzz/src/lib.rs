//! What fuzzing holds true of any bytes: no panic, the same result however they are split, bounded results, and for the
//! reader agreement with serde_json on valid documents.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use changeover::automation::answer::{Places, Suggestion, decided, document};
use changeover::automation::decisions::Decisions;
use changeover::automation::receipt as task;
use changeover::compare::diff::{self, LONGEST_VALUE, MOST_PLACES};
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
use changeover::receipt::answer;
use changeover::receipt::seal::{Keys, Kind, NONCE};
use changeover::receipt::seen::{Seen, Taken};
use json_sieve::{Event, Plan, Reader, Slot, Stop, Want};
use percent_encoding::percent_decode_str;

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
    seen.tensors.iter().for_each(|tensor| _ = tensor.len());
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
    let answer = |body: &[u8]| {
        let mut answer = Answer {
            status: 200,
            grpc_status: None,
            content_type: content_type.to_vec(),
            json_length: Some(u64::from(*split)),
            infers: true,
            message_encoding: [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Other][usize::from(how >> 6)],
            body: body.to_vec(),
        };
        let most = 1 << 16;
        assert!(answer.inflate(most) != Ok(true) || answer.body.len() <= most.max(body.len()));
        answer
    };
    // 128 is the middle, where the seeds of tools/fuzz-seeds.py have it.
    let (one, other) = both.split_at(both.len() * usize::from(*split) / 256);
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
            // What is missing in one is extra in the other.
            let kind = |kind: diff::Kind| match kind {
                diff::Kind::Missing if reversed => diff::Kind::Extra,
                diff::Kind::Extra if reversed => diff::Kind::Missing,
                kind => kind,
            };
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

/// A byte that says what comes back, a byte that says where it is changed, then the bytes of a receipt: as they come, or sealed with
/// the key, or one after the other as numbers and times.
pub fn receipt(input: &[u8]) {
    let [what, place, bytes @ ..] = input else { return };
    let keys = Keys::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", None).unwrap();
    let kind = if what & 1 == 0 { Kind::Task } else { Kind::Answer };
    match what >> 1 & 3 {
        0 => {
            assert_eq!(task::Receipt::open(&keys, "claims", bytes), None, "without the key no receipt is made");
            assert_eq!(answer::Receipt::open(&keys, "claims", bytes), None, "without the key no receipt is made");
        }
        1 => {
            let sealed = |nonce: u8| {
                let write = |room: &mut [u8]| Some(room.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from));
                keys.seal((kind, "claims"), &[nonce; NONCE], write).unwrap()
            };
            let text = sealed(*what);
            assert_eq!(text.len(), kind.characters());
            opens(&keys, kind, text.as_bytes());
            let mut changed = text.clone().into_bytes();
            let at = usize::from(*place) % changed.len();
            changed[at] ^= 1 + (what >> 3);
            assert_eq!(keys.open((kind, "claims"), &changed), None, "changed in byte {at}");
            assert_eq!(keys.open((kind, "claim"), text.as_bytes()), None, "of another rollout");
            let other = if kind == Kind::Task { Kind::Answer } else { Kind::Task };
            assert_eq!(keys.open((other, "claims"), text.as_bytes()), None, "of another kind");
        }
        2 => {
            let (mut seen, mut counted) = (Seen::default(), BTreeSet::new());
            for [id, time, later] in bytes.as_chunks::<3>().0 {
                // A number has one time: it is sealed once.
                let (id, time) = (u64::from(*id) << 8 | u64::from(*later), u64::from(*time & 7));
                let id = id << 3 | time;
                if seen.take(id, time) == Taken::New {
                    assert!(counted.insert(id), "{id} has counted twice");
                }
            }
        }
        _ => {
            let (mut seen, mut met) = (Seen::default(), BTreeMap::<u64, u64>::new());
            for [task, decided] in bytes.as_chunks::<2>().0 {
                let task = u64::from(*task);
                let other = seen.decide(task, 1 + (task & 7), u64::from(*decided));
                let before = met.entry(task).or_default();
                *before += 1;
                assert_eq!(other.is_some(), *before == 2, "two decisions meet, and no third one");
            }
        }
    }
}

/// What opens is what was sealed: sealed again it opens as the same.
fn opens(keys: &Keys, kind: Kind, text: &[u8]) {
    let nonce = [3; NONCE];
    match kind {
        Kind::Task => {
            let Some(opened) = task::Receipt::open(keys, "claims", text) else { return };
            let again = opened.receipt.seal(keys, "claims", &nonce);
            assert_eq!(again.is_some(), opened.receipt.label.len() <= task::LONGEST_LABEL);
            let Some(again) = again else { return };
            let again = task::Receipt::open(keys, "claims", again.as_bytes()).expect("a receipt");
            assert_eq!(again.receipt, opened.receipt);
        }
        Kind::Answer => {
            let Some((receipt, _)) = answer::Receipt::open(keys, "claims", text) else { return };
            let again = receipt.seal(keys, "claims", &nonce).expect("it fits");
            assert_eq!(answer::Receipt::open(keys, "claims", again.as_bytes()).expect("a receipt").0, receipt);
        }
    }
}

/// A byte that says where a body has what, then the body of a decision, or of the model's answer.
pub fn decision(input: &[u8]) {
    let Some((&how, body)) = input.split_first() else { return };
    let pointer = |text: &str| Pointer::new(text).unwrap();
    let label = pointer(["/label", "", "/a/0", "/annotation/label"][usize::from(how & 3)]);
    let confidence = pointer(["/confidence", "/b"][usize::from(how >> 2 & 1)]);
    let places = Places { label: label.clone(), confidence: (how & 8 != 0).then_some(confidence) };
    let read = Suggestion::read(body, &places);
    let document = document(body);
    let decided = document.as_ref().and_then(|document| decided(document, &label));
    if let Some(Suggestion { label, confidence }) = &read {
        assert_eq!(decided.as_ref(), Some(label), "people and model are read alike");
        assert!(*confidence <= 10_000);
    }
    let Some(decided) = decided else { return };
    assert!(!decided.contains(|char: char| char == ';' || char.is_control()), "{decided:?} ends a metric's label");
    // A longer text of people's is cut, with a hash of all of it.
    let longest = task::LONGEST_LABEL + '…'.len_utf8() + 16;
    assert!(!decided.is_empty() && decided.len() <= longest, "{decided:?}");
    if decided.len() > task::LONGEST_LABEL {
        assert_eq!(read, None, "no label of the model is as long");
        return;
    }
    let suggestion = read.unwrap_or_else(|| Suggestion { label: decided.clone(), confidence: 1 });
    let header = suggestion.header(how & 8 != 0);
    assert!(header.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{header:?} is no header");
    let shown = header.split(';').next().unwrap_or_default();
    assert_eq!(percent_decode_str(shown).decode_utf8().unwrap(), suggestion.label);
    let shown = Suggestion { label: decided.clone(), ..suggestion.clone() };
    let keys = Keys::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", None).unwrap();
    let kind = task::Kind { drawn: true, shown: how & 16 != 0, ..task::Kind::default() };
    let receipt = task::Receipt { label: shown.label, confidence: shown.confidence, kind, ..task::Receipt::default() };
    let sealed = receipt.seal(&keys, "claims", &[how; NONCE]).expect("a label that fits");
    assert_eq!(task::Receipt::open(&keys, "claims", sealed.as_bytes()).expect("a receipt").receipt, receipt);
    let mut counted = Decisions::default();
    assert!(counted.count(&receipt, &decided), "a label agrees with itself");
    for other in 0..40_u8 {
        let agrees = counted.count(&receipt, &format!("{decided}{}", other % 20));
        assert!(!agrees, "{decided:?}");
    }
    let all = if kind.shown { counted.shown } else { counted.blind };
    assert_eq!((all.tasks, all.disagreements), (41, 40));
    let cells: u64 = counted.confusion.cells().map(|(_, _, tasks)| tasks).sum();
    assert_eq!(cells, if kind.shown { 0 } else { 41 });
    assert!(counted.confusion.by_shadow().count() <= 17);
}
