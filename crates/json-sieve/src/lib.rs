//! An incremental JSON reader that extracts a few values of a document and skips the rest at speed.
//!
//! It is made for a proxy that looks at bodies while they pass: bytes come in pieces of any size, none is kept, and a
//! body may be anything. A [`Plan`] says what is wanted, as JSON pointers. A [`Reader`] takes the pieces of a document
//! and gives [`Event`]s to a [`Sink`], in the order in which values stand in the document.
//!
//! ```
//! use json_sieve::{Event, Plan, Reader, Want};
//!
//! let plan = Plan::new([("/outputs/*/name", Want::Value), ("/outputs/*/data", Want::Elements)])?;
//! let mut reader = Reader::new();
//! let (mut name, mut mean) = (Vec::new(), None);
//! let mut sink = |slot, event: Event<'_>| match (slot, event) {
//!     (0, Event::Text(text)) => name = text.head.to_vec(),
//!     (1, Event::Elements(elements)) => mean = elements.numbers.mean(),
//!     _ => {}
//! };
//! for piece in [r#"{"outputs":[{"na"#, r#"me":"score","data":[[0.2"#, r#"5],[0.75]]}]}"#] {
//!     reader.read(&plan, piece.as_bytes(), &mut sink)?;
//! }
//! reader.finish(&plan, &mut sink)?;
//! assert_eq!((name.as_slice(), mean), (&b"score"[..], Some(0.5)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is wanted
//!
//! * Pointers are those of RFC 6901. `*` stands for every element of an array, not for the members of an object.
//! * [`Want::Value`] gives a scalar as one event, and an array or object as [`Event::Open`] and [`Event::Close`] around
//!   the events of what is wanted inside.
//! * [`Want::Elements`] gives statistics of all scalars at a place and below it, flat or nested, in one event at its
//!   end: how many, how many are missing, numbers with sum, minimum and maximum, characters of texts, the first scalar.
//!   [`Plan::max_elements`] scalars are read, then [`Elements::cut`] is set and of the rest only what other pointers want
//!   is read.
//! * One place may have several wants. A place with `*` and an index has both.
//!
//! # What is read and what is skipped
//!
//! A part is *read* when it is wanted or on the way to something that is: the members of an object are read by name as
//! long as a pointer leads through the object, and each value that is not wanted is skipped. An array is skipped from
//! the last wanted index on. Statistics read everything inside them until they are cut.
//!
//! In a part that is read, everything is validated as RFC 8259 has it: brackets, commas, colons, literals, the form of
//! numbers, escapes, control characters in text. These are accepted all the same, for servers and clients do:
//!
//! * bare `NaN`, `Infinity`, `Inf`, with or without a minus: [`Event::Null`], since they hold no value. So are numbers
//!   beyond the range of a double;
//! * a byte order mark at the beginning;
//! * bytes in text that are not UTF-8: characters are counted by their leading bytes, bytes are handed on as they are;
//! * lone surrogates in escapes: one character each, U+FFFD;
//! * duplicate names: each occurrence gives its events. Who wants the last one takes the last.
//!
//! In a part that is skipped, only quotes, backslashes and brackets matter: where a string ends and how deep brackets
//! are. Nothing else is validated there: not the kinds of brackets, not commas, literals, numbers, escapes or control
//! characters. So a document that is broken in a skipped part can be accepted, or its break be noticed later than it
//! stands. A document that is valid is always accepted, and what is found in it is what a whole parser finds.
//!
//! Behind the document only white space is allowed. For documents that follow each other, call [`Reader::finish`] in
//! between; the reader can be used again.
//!
//! # Numbers and texts
//!
//! A number is the double nearest to what is written, as the standard library parses it; sums add up in the order of
//! the document, so that they are the same in every run. Integers beyond 2⁵³ lose digits.
//!
//! Texts are unescaped. Length in characters counts Unicode scalar values. The first [`HELD`] bytes are held and handed
//! on; longer texts are only counted. The cut may fall inside a character.
//!
//! # The same result however the input is split
//!
//! Pieces may end anywhere: inside a character, an escape, a number, a literal, a byte order mark. Events and the final
//! result do not depend on it. [`Reader::offset`] behind an error may differ, since a number that is cut is taken in
//! before it is judged.
//!
//! # Bounds
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | depth of what is read | [`MAX_DEPTH`] | [`Stop::TooDeep`] |
//! | depth of what is skipped | none: it is a counter | |
//! | number or literal that is read | [`MAX_TOKEN`] bytes | [`Stop::TooLong`] |
//! | name of a member | [`MAX_NAME`] bytes | it matches no pointer |
//! | text | [`HELD`] bytes are held | the rest is counted |
//! | pointers, names in one | [`MAX_POINTERS`], [`MAX_SEGMENTS`] | [`PlanError`] |
//! | length of the document | none: the caller stops when it has enough | |
//!
//! A reader takes about 250 bytes, and up to 1.2 KB on the heap while a document needs it: 12 bytes for each level, the
//! held text, a number that is cut. Work is linear in the bytes, with one exception that the plan bounds: a member's
//! name is compared with each name that the plan has at that place.
//!
//! After [`Stop`] the reader reads no further byte of the document. What was found before has been handed on.
//!
//! # Speed
//!
//! Skipping looks at eight or sixteen bytes at once and costs 0.1 ns per byte of text, 0.2 of numbers, 0.6 of small objects;
//! text that is read 0.3; a number of a tensor 18 ns, with 17 digits 23 (native, x86-64, documents that are all different, on a
//! machine that others used too). Sinks are called through a vtable, so that a program holds
//! this code once; numbers of a tensor make no call. There is no unsafe code.

#![forbid(unsafe_code)]

mod event;
mod number;
mod plan;
mod reader;
mod scan;
mod text;

pub use event::{Container, Elements, Event, Null, Numbers, Scalar, Sink, Text};
pub use plan::{MAX_NAME, MAX_POINTERS, MAX_SEGMENTS, Plan, PlanError, Slot, Want};
pub use reader::{Reader, Stop};
pub use scan::line_end;

/// How deep a part that is read may nest.
pub const MAX_DEPTH: usize = 64;
/// How long a number or literal that is read may be, in bytes.
pub const MAX_TOKEN: usize = 128;
/// How many bytes of a text are held.
pub const HELD: usize = 256;

// What is held of a name must be longer than any name in a plan.
const _: () = assert!(HELD > MAX_NAME);
