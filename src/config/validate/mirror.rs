//! What a mirror must obey beyond its types.

use super::condition::methods;
use super::words::{at_most, bounded, header_name, within};
use super::{LARGEST_BODY, LONGEST_TEXT};
use crate::compare::pointer::Pointer;
use crate::config::compare::Compare;
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::{Mirror, MirrorMode, Rollout};
use crate::config::units::Size;

/// Requests that a worker may have sent to the shadow at once.
const MOST_IN_FLIGHT: u64 = 1_024;
/// What a worker may hold of requests and answers.
const MOST_BYTES: Size = Size::kib(256 * 1_024);
/// Headers that say how a message is transferred.
const FRAMING: [&str; 5] = ["connection", "content-length", "host", "transfer-encoding", "upgrade"];
/// Pairs that differ and are kept, each with up to 640 bytes.
const MOST_SAMPLES: u64 = 50;
/// Milliseconds that the shadow is waited for.
const TIMEOUTS: std::ops::RangeInclusive<u64> = 10..=300_000;

pub(super) fn mirror(mirror: &Mirror, path: &Path<'_>, problems: &mut Problems) {
    methods(&mirror.methods, &path.field("methods"), problems);
    if mirror.max_body > LARGEST_BODY {
        let message = format!("{} is over the limit of {LARGEST_BODY}", mirror.max_body);
        problems.add(&path.field("max_body"), message);
    }
    if mirror.to.is_empty() {
        problems.add(&path.field("to"), "missing; expected the name of a version");
    }
    match mirror.mode {
        MirrorMode::FireAndForget => only_copies(mirror, path, problems),
        MirrorMode::Compare => compares(mirror, path, problems),
    }
}

/// What only a filter that compares can do.
fn only_copies(mirror: &Mirror, path: &Path<'_>, problems: &mut Problems) {
    let given = [
        ("max_in_flight", mirror.max_in_flight.is_some()),
        ("max_bytes", mirror.max_bytes.is_some()),
        ("timeout", mirror.timeout.is_some()),
        ("set_headers", !mirror.set_headers.is_empty()),
        ("remove_headers", !mirror.remove_headers.is_empty()),
        ("forward_credentials", mirror.forward_credentials),
        ("compare", mirror.compare.is_some()),
    ];
    for (field, _) in given.into_iter().filter(|(_, given)| *given) {
        problems.add(&path.field(field), "needs `mode: compare`; in fire_and_forget it is Envoy that copies");
    }
}

fn compares(mirror: &Mirror, path: &Path<'_>, problems: &mut Problems) {
    let max_bytes = mirror.max_bytes();
    if mirror.max_bytes.is_some() && (max_bytes == Size::kib(0) || max_bytes > MOST_BYTES) {
        problems.add(
            &path.field("max_bytes"),
            format_args!("{max_bytes} is out of range; expected 1B to {MOST_BYTES}"),
        );
    } else if mirror.max_body > max_bytes {
        let found = mirror.max_body;
        problems.add(&path.field("max_body"), format_args!("{found} is over max_bytes ({max_bytes})"));
    }
    if mirror.max_in_flight.is_some_and(|most| !(1..=MOST_IN_FLIGHT).contains(&most.get())) {
        problems.add(&path.field("max_in_flight"), format_args!("expected 1 to {MOST_IN_FLIGHT}"));
    }
    if mirror.timeout.is_some_and(|timeout| !TIMEOUTS.contains(&timeout.as_millis())) {
        problems.add(&path.field("timeout"), "expected a duration from 10ms to 5m");
    }
    set_headers(mirror, &path.field("set_headers"), problems);
    remove_headers(mirror, &path.field("remove_headers"), problems);
    if let Some(compare) = &mirror.compare {
        self::compare(compare, &path.field("compare"), problems);
    }
}

fn set_headers(mirror: &Mirror, headers: &Path<'_>, problems: &mut Problems) {
    at_most(mirror.set_headers.len(), headers, problems);
    for (name, value) in &mirror.set_headers {
        let path = headers.field(name);
        copied_header(name, &path, problems);
        bounded(value, &path, problems);
    }
}

fn remove_headers(mirror: &Mirror, headers: &Path<'_>, problems: &mut Problems) {
    at_most(mirror.remove_headers.len(), headers, problems);
    for (index, name) in mirror.remove_headers.iter().enumerate() {
        let path = headers.index(index);
        copied_header(name, &path, problems);
        if mirror.set_headers.keys().any(|set| set.eq_ignore_ascii_case(name)) {
            problems
                .add(&path, format_args!("{} is in set_headers; expected it in one of the two", Shown(name)));
        }
    }
}

/// A header of the copy that a configuration may name.
fn copied_header(name: &str, path: &Path<'_>, problems: &mut Problems) {
    header_name(name, path, problems);
    if FRAMING.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        problems.add(path, "Envoy's own to set; expected another header");
    }
}

fn compare(compare: &Compare, path: &Path<'_>, problems: &mut Problems) {
    let lists = [("ignore", &compare.ignore), ("unordered", &compare.unordered), ("redact", &compare.redact)];
    for (field, pointers) in lists {
        let path = path.field(field);
        at_most(pointers.len(), &path, problems);
        for (index, text) in pointers.iter().enumerate() {
            pointer(text, &path.index(index), problems);
        }
    }
    if compare.samples.is_some_and(|most| most.get() > MOST_SAMPLES) {
        problems.add(&path.field("samples"), format_args!("expected at most {MOST_SAMPLES}"));
    }
    if let Some(label) = &compare.label {
        let path = path.field("label");
        if pointer(label, &path, problems).is_some_and(|pointer| pointer.is_pattern()) {
            problems.add(
                &path,
                format_args!("{} matches several places; expected one without `*`", Shown(label)),
            );
        }
    }
    let tolerance = path.field("tolerance");
    if let Some(relative) = compare.tolerance.relative {
        within(relative, 0.0, 1.0, &tolerance.field("relative"), problems);
    }
    within(compare.tolerance.absolute, 0.0, 1e300, &tolerance.field("absolute"), problems);
}

pub(super) fn pointer(text: &str, path: &Path<'_>, problems: &mut Problems) -> Option<Pointer> {
    if text.len() > LONGEST_TEXT {
        problems.add(path, format_args!("{} bytes; expected at most {LONGEST_TEXT}", text.len()));
        return None;
    }
    match Pointer::new(text) {
        Ok(pointer) => Some(pointer),
        Err(message) => {
            problems.add(path, format_args!("{} {message}", Shown(text)));
            None
        }
    }
}

/// Whether answers of the candidate, as a shadow, are compared with stable's.
pub(super) fn compares_candidate(rollout: &Rollout) -> Result<(), &'static str> {
    match &rollout.mirror {
        Some(mirror) if mirror.mode != MirrorMode::Compare => {
            Err("the mirror compares nothing; expected `mode: compare`")
        }
        None => Err("no answers are compared; expected `mirror` with `mode: compare`"),
        // Without a candidate the release is finished, and its steps rest.
        Some(mirror) if rollout.candidate.as_ref().is_some_and(|candidate| *candidate != mirror.to) => {
            Err("another version than the candidate is the shadow; expected the candidate in `mirror.to`")
        }
        Some(_) => Ok(()),
    }
}
