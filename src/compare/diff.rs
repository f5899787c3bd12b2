//! Two documents → the places where they differ.

use std::mem::discriminant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::number::Apart;
use super::pointer::{Pointer, escaped};
use super::settings::Settings;

/// Places of a pair that are told apart.
pub const MOST_PLACES: usize = 64;
/// Bytes of a place's name.
const LONGEST_PLACE: usize = 128;
/// Bytes of a value that is kept.
pub const LONGEST_VALUE: usize = 256;

/// How two answers differ at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The classes of the statuses, or the statuses of gRPC.
    Status,
    /// The content types.
    ContentType,
    /// One has no body.
    Empty,
    /// What is not JSON, byte by byte; or only one is JSON.
    Body,
    /// The shadow's answer is longer than what is held of it.
    TooLarge,
    /// Two values of the same type.
    Value,
    /// The types of two values.
    Type,
    /// A field that only stable's answer has.
    Missing,
    /// A field that only the shadow's answer has.
    Extra,
    /// The lengths of two arrays.
    Length,
    /// Null on one side; a value, or no field, on the other.
    Null,
}

impl Kind {
    /// All kinds; totals store a kind as its place in this list.
    pub const ALL: [Self; 11] = [
        Self::Status,
        Self::ContentType,
        Self::Empty,
        Self::Body,
        Self::TooLarge,
        Self::Value,
        Self::Type,
        Self::Missing,
        Self::Extra,
        Self::Length,
        Self::Null,
    ];

    /// The kind's name, in metrics and the API.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::ContentType => "content_type",
            Self::Empty => "empty",
            Self::Body => "body",
            Self::TooLarge => "too_large",
            Self::Value => "value",
            Self::Type => "type",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Length => "length",
            Self::Null => "null",
        }
    }
}

/// A place where two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A JSON pointer with `*` for every element of an array; empty for the whole answer.
    pub path: String,
    /// How they differ there.
    pub kind: Kind,
    /// At how many elements.
    pub count: u64,
    /// Both values of the first of them, if they are kept.
    pub values: Option<(String, String)>,
}

impl Place {
    fn new(path: &str, kind: Kind, values: Option<(String, String)>) -> Self {
        let short = |value: String| cut(&value, LONGEST_VALUE).to_owned();
        let values = values.map(|(one, other)| (short(one), short(other)));
        Self { path: path.to_owned(), kind, count: 1, values }
    }

    /// Of two values that differ, with both of them unless `redact` names them.
    pub(super) fn of(redact: &[Pointer], path: &str, (one, other): (Option<&Value>, Option<&Value>)) -> Self {
        let kind = match (one, other) {
            (Some(Value::Null), _) | (_, Some(Value::Null)) => Kind::Null,
            (Some(_), None) => Kind::Missing,
            (None, _) => Kind::Extra,
            (Some(one), Some(other)) if discriminant(one) != discriminant(other) => Kind::Type,
            _ => Kind::Value,
        };
        let values = shown(redact, path, || (text(one), text(other)));
        Self::new(cut(path, LONGEST_PLACE), kind, Some(values))
    }
}

/// The places where two answers differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The first [`MOST_PLACES`] of them.
    pub places: Vec<Place>,
    /// Differences at further places.
    pub overflow: u64,
    /// How far apart numbers are.
    pub apart: Apart,
    keeps_values: bool,
    /// The place that was found last: the next difference is often there as well.
    last: usize,
}

impl Found {
    /// Nothing yet. `keeps_values`: both values of each place's first difference.
    #[must_use]
    pub fn new(keeps_values: bool) -> Self {
        Self { keeps_values, ..Self::default() }
    }

    /// Whether the two are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.overflow == 0
    }

    /// Notes a difference.
    pub fn add(&mut self, path: &str, kind: Kind, values: impl FnOnce() -> (String, String)) {
        let path = cut(path, LONGEST_PLACE);
        let is_it = |place: &Place| place.kind == kind && place.path == path;
        let known = match self.places.get(self.last) {
            Some(last) if is_it(last) => Some(self.last),
            _ => self.places.iter().position(is_it),
        };
        if let Some((at, place)) = known.and_then(|at| Some((at, self.places.get_mut(at)?))) {
            self.last = at;
            place.count = place.count.saturating_add(1);
        } else if self.places.len() < MOST_PLACES {
            self.last = self.places.len();
            self.places.push(Place::new(path, kind, self.keeps_values.then(values)));
        } else {
            self.overflow = self.overflow.saturating_add(1);
        }
    }
}

/// The beginning of a text, of so many bytes at most.
#[must_use]
pub fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

/// Compares documents. As deep as the reader allows: 128 levels.
pub(super) struct Diff<'a> {
    settings: &'a Settings,
    found: &'a mut Found,
    path: String,
}

impl<'a> Diff<'a> {
    pub(super) fn new(settings: &'a Settings, found: &'a mut Found) -> Self {
        Self { settings, found, path: String::new() }
    }

    pub(super) fn values(&mut self, one: &Value, other: &Value) {
        match (one, other) {
            (Value::Null, Value::Null) => {}
            (Value::Null, _) | (_, Value::Null) => self.differ(Kind::Null, Some(one), Some(other)),
            (Value::Number(a), Value::Number(b)) => self.numbers(a, b),
            (Value::Bool(a), Value::Bool(b)) if a == b => {}
            (Value::String(a), Value::String(b)) if a == b => {}
            (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => {
                self.differ(Kind::Value, Some(one), Some(other));
            }
            (Value::Array(a), Value::Array(b)) => {
                if a.len() != b.len() {
                    self.differ(Kind::Length, Some(one), Some(other));
                }
                let length = self.path.len();
                self.path.push_str("/*");
                a.iter().zip(b).for_each(|(one, other)| self.values(one, other));
                self.path.truncate(length);
            }
            (Value::Object(a), Value::Object(b)) => self.objects(a, b),
            _ => self.differ(Kind::Type, Some(one), Some(other)),
        }
    }

    fn numbers(&mut self, a: &Number, b: &Number) {
        let (is_same, relative) = self.settings.tolerance.compare(a, b);
        self.found.apart.count(is_same, relative);
        if !is_same {
            let redact = &self.settings.redact;
            let path = self.path.as_str();
            self.found.add(path, Kind::Value, || shown(redact, path, || (a.to_string(), b.to_string())));
        }
    }

    fn objects(&mut self, a: &Map<String, Value>, b: &Map<String, Value>) {
        let only = |value: &Value, kind| if value.is_null() { Kind::Null } else { kind };
        for (name, one) in a {
            let length = self.enter(name);
            match b.get(name) {
                Some(other) => self.values(one, other),
                None => self.differ(only(one, Kind::Missing), Some(one), None),
            }
            self.path.truncate(length);
        }
        for (name, other) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
            let length = self.enter(name);
            self.differ(only(other, Kind::Extra), None, Some(other));
            self.path.truncate(length);
        }
    }

    /// Goes into a field. Returns the length of the path without it.
    fn enter(&mut self, name: &str) -> usize {
        let length = self.path.len();
        // What is cut off later need not be written; it could be as long as the document, again and again.
        if length <= LONGEST_PLACE {
            self.path.push('/');
            self.path.push_str(&escaped(cut(name, LONGEST_PLACE)));
        }
        length
    }

    fn differ(&mut self, kind: Kind, one: Option<&Value>, other: Option<&Value>) {
        let redact = &self.settings.redact;
        let path = self.path.as_str();
        self.found.add(path, kind, || shown(redact, path, || (text(one), text(other))));
    }
}

/// Both values, unless they are not to be shown.
fn shown(redact: &[Pointer], path: &str, values: impl FnOnce() -> (String, String)) -> (String, String) {
    if path.len() > LONGEST_PLACE || redact.iter().any(|pointer| pointer.covers(path)) {
        return ("(redacted)".to_owned(), "(redacted)".to_owned());
    }
    values()
}

/// A value as a sample shows it. Not what is in arrays and objects: it may be redacted in a place of its own.
fn text(value: Option<&Value>) -> String {
    match value {
        None => "(absent)".to_owned(),
        Some(Value::Array(elements)) => format!("[{} elements]", elements.len()),
        Some(Value::Object(fields)) => format!("{{{} fields}}", fields.len()),
        Some(Value::String(text)) => Value::String(cut(text, LONGEST_VALUE).to_owned()).to_string(),
        Some(value) => value.to_string(),
    }
}
