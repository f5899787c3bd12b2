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

mod fleet;

#[allow(dead_code)] // what else it has for calls of Envoy
#[path = "../../src/host/memory.rs"]
mod envoys;

/// Counts the bytes that a thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
    /// All that was allocated, whether it is still held or not.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all of it is the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size()));
        MOST.set(MOST.get().max(HELD.get()));
        ALLOCATED.set(ALLOCATED.get().wrapping_add(layout.size()));
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

/// As many pointers as a configuration may have for requests (16 fields, 16 with categories, a length) and for answers (value
/// and confidence), each to a long text; then twenty tensors.
#[test]
fn both_messages_of_a_stream_with_all_pointers_are_read_in_36_kilobytes() {
    let inflaters = Inflaters::new(1);
    let messages = [(Direction::Input, "inputs", 33), (Direction::Output, "outputs", 2)];
    let messages = messages.map(|(direction, name, pointers)| {
        let wanted = |at| Wanted { pointer: format!("/field-{at}/*"), categories: vec!["x".to_owned()] };
        let fields = (0..pointers).map(wanted).collect();
        let spec = Spec { fields, ..Spec::new(Protocol::OpenInference, direction) };
        let member = |at| format!("\"field-{at}\":[\"{}\",1],", "v".repeat(500));
        let members: String = (0..pointers).map(member).collect();
        let body = [b"{", members.as_bytes(), &tensors(name)[1..]].concat();
        (Rc::new(Preset::new(&spec).expect("a preset")), body)
    });
    let before = HELD.get();
    let readings = messages.each_ref().map(|(preset, body)| {
        let mut reading = Box::new(Reading::new(preset, &Head::default(), &inflaters));
        body.chunks(1_000).for_each(|piece| reading.read(piece));
        assert!(reading.wants_bytes(), "it is still being read");
        reading
    });
    let found = HELD.get().wrapping_sub(before);
    println!("both messages, 35 fields: {found} bytes");
    assert!((16 << 10..=36 << 10).contains(&found), "{found}");
    drop(readings);
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

#[test]
fn all_messages_of_an_answer_are_inflated_in_the_memory_of_one() {
    let message = miniz_oxide::deflate::compress_to_vec_zlib(b"text", 1);
    let length = u32::try_from(message.len()).expect("it is short").to_be_bytes();
    let body = [&[1][..], &length, &message].concat().repeat(10_000);
    let (content_type, message_encoding) = (b"application/grpc".to_vec(), Encoding::Deflate);
    let mut answer = Answer { content_type, message_encoding, body, ..Answer::default() };
    let before = ALLOCATED.get();
    assert_eq!(answer.inflate(256 << 10), Ok(true));
    assert_eq!(answer.body.len(), 10_000 * 9);
    let allocated = ALLOCATED.get() - before;
    println!("10,000 messages: {allocated} bytes");
    assert!(allocated < 512 << 10, "{allocated}");
}

#[test]
fn short_bytes_of_envoy_are_kept_in_short_memory() {
    let returned = |bytes: &[u8], asked: usize| {
        let address = envoys::proxy_on_memory_allocate(asked);
        // SAFETY: so many bytes were asked for there, and nothing else refers to them.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address, bytes.len()) };
        envoys::written(address, bytes.len()).expect("it was asked for")
    };
    let kept = |bytes: &[u8], asked| returned(bytes, asked).into_vec();
    drop(returned(&[1; 16 << 10], 16 << 10));
    let content_type = kept(b"text/event-stream", 17);
    assert_eq!(content_type, b"text/event-stream");
    assert!(content_type.capacity() < 64, "{}", content_type.capacity());
    let body = kept(&[2; 12 << 10], 12 << 10);
    assert_eq!((body.len(), body.capacity()), (12 << 10, 16 << 10), "not copied");
}
