//! JSON pointers (RFC 6901) in which `*` stands for every element or field.

use std::fmt;

use serde_json::Value;

/// Parts of a pointer, at most.
const MOST_PARTS: usize = 32;

/// Where something stands in a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A field by its name, or an element by its position.
    Named(String),
    /// Every element or field.
    Every,
}

impl Pointer {
    /// Reads a pointer; an empty one is the document.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence about it.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err("is not a JSON pointer; expected it to begin with `/`".to_owned());
        };
        let parts: Vec<Part> = rest
            .split('/')
            .map(Part::new)
            .collect::<Option<_>>()
            .ok_or_else(|| "has a `~` that is neither `~0` (a tilde) nor `~1` (a slash)".to_owned())?;
        if parts.len() > MOST_PARTS {
            return Err(format!("has {} parts; expected at most {MOST_PARTS}", parts.len()));
        }
        Ok(Self { parts })
    }

    /// How many parts it has.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.parts.len()
    }

    /// Whether it can stand for several places.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.parts.contains(&Part::Every)
    }

    /// What stands there. A pattern finds nothing.
    #[must_use]
    pub fn get<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.parts.iter().try_fold(document, |value, part| match (part, value) {
            (Part::Named(name), Value::Object(fields)) => fields.get(name),
            (Part::Named(name), Value::Array(elements)) => elements.get(name.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Calls with everything that stands there.
    pub(super) fn each(&self, document: &mut Value, call: &mut dyn FnMut(&mut Value)) {
        walk(&self.parts, document, call);
    }

    /// Removes a field; an element, whose position others depend on, becomes null.
    pub(super) fn remove(&self, document: &mut Value) {
        let Some((last, parents)) = self.parts.split_last() else {
            *document = Value::Null;
            return;
        };
        walk(parents, document, &mut |parent| match (last, parent) {
            (Part::Named(name), Value::Object(fields)) => {
                fields.remove(name);
            }
            (Part::Every, Value::Object(fields)) => fields.clear(),
            (Part::Named(name), Value::Array(elements)) => {
                let element = name.parse::<usize>().ok().and_then(|at| elements.get_mut(at));
                element.into_iter().for_each(|element| *element = Value::Null);
            }
            (Part::Every, Value::Array(elements)) => elements.fill(Value::Null),
            _ => {}
        });
    }

    /// Whether a place as reports name it, where `*` stands for any element, is this one or may be inside.
    #[must_use]
    pub(super) fn covers(&self, place: &str) -> bool {
        let mut place = place.split('/').skip(1);
        self.parts.iter().all(|part| match (part, place.next()) {
            (_, None) => false,
            (Part::Every, Some(_)) | (_, Some("*")) => true,
            (Part::Named(name), Some(given)) => escaped(name) == given,
        })
    }
}

/// As reports name a place.
impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Named(name) => write!(f, "/{}", escaped(name)),
            Part::Every => f.write_str("/*"),
        })
    }
}

impl Part {
    fn new(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Every);
        }
        let mut name = String::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            name.push(match char {
                '~' => match chars.next()? {
                    '0' => '~',
                    '1' => '/',
                    _ => return None,
                },
                char => char,
            });
        }
        Some(Self::Named(name))
    }
}

fn walk(parts: &[Part], value: &mut Value, call: &mut dyn FnMut(&mut Value)) {
    let Some((part, rest)) = parts.split_first() else { return call(value) };
    match (part, value) {
        (Part::Named(name), Value::Object(fields)) => {
            fields.get_mut(name).into_iter().for_each(|value| walk(rest, value, call));
        }
        (Part::Named(name), Value::Array(elements)) => {
            let element = name.parse::<usize>().ok().and_then(|at| elements.get_mut(at));
            element.into_iter().for_each(|value| walk(rest, value, call));
        }
        (Part::Every, Value::Object(fields)) => fields.values_mut().for_each(|value| walk(rest, value, call)),
        (Part::Every, Value::Array(elements)) => {
            elements.iter_mut().for_each(|value| walk(rest, value, call))
        }
        _ => {}
    }
}

/// A field's name as a part of a place: escaped, and without what would end a metric's label.
pub(super) fn escaped(name: &str) -> String {
    let mut part = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '~' => part.push_str("~0"),
            '/' => part.push_str("~1"),
            ';' => part.push('_'),
            char if char.is_control() => part.push('_'),
            char => part.push(char),
        }
    }
    part
}
