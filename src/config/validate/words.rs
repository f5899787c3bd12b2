//! The rules that fields share: names, texts, numbers, lists.

use std::fmt::Display;

use super::{LONGEST_NAME, LONGEST_TEXT, MOST_RULES};
use crate::config::report::{Path, Problems, Shown};
use crate::model::header;

/// A rollout's or a version's name.
pub(super) fn name(name: &str, path: &Path<'_>, problems: &mut Problems) {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() {
        problems.add(path, "missing or empty; expected a name");
    } else if name.len() > LONGEST_NAME {
        problems.add(path, format_args!("{} characters are over the limit of {LONGEST_NAME}", name.len()));
    } else if !name.bytes().all(plain) {
        problems.add(
            path,
            format_args!("{} is not a valid name; expected lower-case letters, digits and -", Shown(name)),
        );
    }
}

/// Reports that an entry of `list` has the name of an earlier one, the `first`.
pub(super) fn unique_name(
    name: &str,
    first: Option<usize>,
    list: &str,
    path: &Path<'_>,
    problems: &mut Problems,
) {
    if let Some(first) = first {
        problems.add(
            &path.field("name"),
            format_args!("{} is already the name of {list}[{first}]; expected a unique name", Shown(name)),
        );
    }
}

/// The name of a header that is read from requests.
pub(super) fn read_header(name: &str, path: &Path<'_>, problems: &mut Problems) {
    if name.eq_ignore_ascii_case("host") {
        problems.add(path, "the request's host, which Envoy keeps as :authority; expected match.authority");
    } else {
        header_name(name, path, problems);
    }
}

/// A header's name, as HTTP allows it, of a header that is not the filter's own.
pub(super) fn header_name(name: &str, path: &Path<'_>, problems: &mut Problems) {
    if name.starts_with(':') {
        problems.add(path, "a pseudo-header; expected a header (match has authority, path and methods)");
    } else if header::ALL.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        problems.add(path, "a header the filter uses itself; expected another");
    } else {
        token(name, "header", path, problems);
    }
}

/// A token of RFC 9110, 5.6.2: what names headers and cookies.
pub(super) fn token(name: &str, what: impl Display, path: &Path<'_>, problems: &mut Problems) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() {
        problems.add(path, format_args!("missing or empty; expected the name of a {what}"));
    } else if name.len() > LONGEST_NAME {
        problems.add(path, format_args!("{} characters are over the limit of {LONGEST_NAME}", name.len()));
    } else if !name.bytes().all(plain) {
        problems.add(path, format_args!("{} is not a valid name of a {what}", Shown(name)));
    }
}

/// A cluster's name: whatever can stand in the header that carries it.
pub(super) fn cluster(cluster: &str, path: &Path<'_>, problems: &mut Problems) {
    if cluster.trim() != cluster {
        problems.add(path, format_args!("{} starts or ends with a space", Shown(cluster)));
    } else {
        text(cluster, path, problems);
    }
}

/// A text that is not empty, not too long and has no control characters.
pub(super) fn text(text: &str, path: &Path<'_>, problems: &mut Problems) {
    if text.is_empty() {
        problems.add(path, "missing or empty");
    } else {
        bounded(text, path, problems);
    }
}

/// A text, possibly empty, that is not too long and has no control characters.
pub(super) fn bounded(text: &str, path: &Path<'_>, problems: &mut Problems) {
    if text.len() > LONGEST_TEXT {
        problems.add(path, format_args!("{} bytes are over the limit of {LONGEST_TEXT}", text.len()));
    } else if text.chars().any(char::is_control) {
        problems.add(path, format_args!("{} holds a control character", Shown(text)));
    }
}

/// Checks that a number lies between two others, inclusive.
pub(super) fn within(number: f64, least: f64, most: f64, path: &Path<'_>, problems: &mut Problems) {
    if !(least..=most).contains(&number) {
        problems.add(path, format_args!("{number} is out of range; expected {least} to {most}"));
    }
}

pub(super) fn at_most(count: usize, path: &Path<'_>, problems: &mut Problems) {
    if count > MOST_RULES {
        problems.add(path, format_args!("{count} entries are over the limit of {MOST_RULES}"));
    }
}

pub(super) fn exactly_one(fields: &[&str], is_one: bool, path: &Path<'_>, problems: &mut Problems) {
    // A field that could not be read was given all the same.
    if !is_one && !problems.concern(path) {
        problems.add(path, format_args!("expected exactly one of {}", fields.join(", ")));
    }
}
