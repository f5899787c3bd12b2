//! What the reading of one message and the comparing of two answers hold in memory, in the worst case that their bounds
//! allow. A program of its own, since it counts what is allocated. Native pointers are twice as long as in the sandbox, so
//! that less is held there.

#![allow(unsafe_code)] // an allocator cannot be written without
#![allow(clippy::expect_used, clippy::arithmetic_side_effects, missing_docs)] // a test may fail

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;

use changeover::compare::settings::Settings;
use changeover::compare::{Answer, compare};
use changeover::payload::encoding::Inflaters;
use changeover::payload::fields::Wanted;
use changeover::payload::head::{Encoding, Framing, Head};
use changeover::payload::preset::{Preset, Spec};
use changeover::payload::protocol::{Direction, Protocol};
use changeover::payload::reading::Reading;

/// Counts the bytes that a thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all of it is the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size()));
        MOST.set(MOST.get().max(HELD.get()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that are held between two pieces of a body, behind its longest beginning.
fn held(spec: &Spec, head: &Head, body: &[u8]) -> usize {
    let preset = Rc::new(Preset::new(spec).expect("a preset"));
    let inflaters = Inflaters::new(1);
    let before = HELD.get();
    let mut reading = Box::new(Reading::new(&preset, head, &inflaters));
    let mut most = 0;
    for piece in body.chunks(1_000) {
        reading.read(piece);
        assert!(reading.wants_bytes(), "it is still being read");
        most = most.max(HELD.get().wrapping_sub(before));
    }
    most
}

const BOUND: usize = 16 * 1024;

/// Twenty tensors with long names, shapes of many dimensions, and long texts.
fn tensors(direction: &str) -> Vec<u8> {
    let tensor = |at: usize| {
        let (name, text) = ("n".repeat(200), "t".repeat(500));
        let shape = vec!["1"; 20].join(",");
        format!(r#"{{"name":"{name}{at}","datatype":"BYTES","shape":[{shape}],"data":["{text}","{text}"]}}"#)
    };
    let all: Vec<String> = (0..20).map(tensor).collect();
    // It ends inside of a text, an escape and deep brackets.
    format!(r#"{{"{direction}":[{},{{"data":{}"{}\u00"#, all.join(","), "[".repeat(50), "t".repeat(500))
        .into_bytes()
}

#[test]
fn a_message_is_read_in_less_than_16_kilobytes() {
    let json = Head::default();
    for (direction, name) in [(Direction::Input, "inputs"), (Direction::Output, "outputs")] {
        let spec = Spec::new(Protocol::OpenInference, direction);
        let found = held(&spec, &json, &tensors(name));
        println!("tensors: {found} bytes");
        assert!(found < BOUND, "{name}: {found}");
    }

    let mut events = String::new();
    for index in 0..40 {
        let text = "word ".repeat(100);
        let _ = write!(
            events,
            "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{text}\\u00e4\"}}}}]}}\n\n"
        );
    }
    let head = Head { framing: Framing::Events, ..json };
    let found = held(&Spec::new(Protocol::OpenAi, Direction::Output), &head, events.as_bytes());
    println!("a stream of events: {found} bytes");
    assert!(found < BOUND, "{found}");

    let pointers = (0..16).map(|at| format!("/field-{at}/*"));
    let wanted = pointers.clone().map(|pointer| Wanted { pointer, categories: Vec::new() }).collect();
    let members: Vec<String> =
        (0..16).map(|at| format!("\"field-{at}\":[\"{}\",1]", "v".repeat(500))).collect();
    let spec = Spec { fields: wanted, ..Spec::new(Protocol::Json, Direction::Input) };
    let found = held(&spec, &json, format!("{{{},", members.join(",")).as_bytes());
    println!("16 fields: {found} bytes");
    assert!(found < BOUND, "{found}");
}

#[test]
fn a_compressed_message_takes_its_window_more() {
    let body = miniz_oxide::deflate::compress_to_vec_zlib(&tensors("outputs"), 6);
    let head = Head { encoding: Encoding::Deflate, ..Head::default() };
    let found = held(&Spec::new(Protocol::OpenInference, Direction::Output), &head, &body);
    println!("compressed: {found} bytes");
    assert!((32 << 10..64 << 10).contains(&found), "{found}");
}

/// Bytes that are held at once while an answer is compared with itself.
fn compared(content_type: &str, body: Vec<u8>) -> usize {
    let answer =
        Answer { status: 200, content_type: content_type.as_bytes().to_vec(), body, ..Answer::default() };
    let before = HELD.get();
    MOST.set(before);
    assert!(compare(&Settings::default(), &answer, &answer).agrees);
    MOST.get() - before
}

#[test]
fn two_answers_are_compared_in_less_than_128_megabytes() {
    for element in ["0,", "{},", "[],", "[0],", r#"{"a":0},"#, r#""a","#, r#"{"a":[{"b":{}}]},"#] {
        // As many as are compared one by one, and many more.
        for length in [1 << 20, 2 << 20, 6 << 20] {
            let body = format!("[{}0]", element.repeat(length / element.len()));
            let found = compared("application/json", body.into_bytes());
            println!("{element} {length}: {found} bytes");
            assert!(found < 128 << 20, "{element} {length}: {found}");
        }
    }
    for event in ["data:x\n\n", "data:{}\n\n", "data:{\"a\":0}\n\n", "data\n\n"] {
        let found = compared("text/event-stream", event.repeat((6 << 20) / event.len()).into_bytes());
        println!("{event:?}: {found} bytes");
        assert!(found < 128 << 20, "{event:?}: {found}");
    }
}
