//! A document into typed values, finding everything that is wrong at once.
//!
//! serde stops at the first error and does not say where it was. This deserializer keeps the path it is
//! at, and [`read`] leaves out what was found wrong and reads again until nothing new is found. It also
//! undoes what Envoy's YAML loader does to values: a fraction arrives as a string, a bare `no` as a boolean.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde_json::{Map, Value, map};

use super::report::{Path, Problems, Shown};

/// Reads `value`, which stands at `path`, into a `T` whose fields all have defaults. What cannot be read is
/// left at its default and added to `problems`.
pub(super) fn read<T: de::DeserializeOwned + Default>(
    value: &Value,
    path: &Path<'_>,
    problems: &mut Problems,
) -> T {
    let mut wrong = BTreeSet::new();
    loop {
        let error = match T::deserialize(Node { value, path, wrong: &wrong }) {
            Ok(read) => return read,
            Err(error) => error,
        };
        let Told { path: at, message } = *error.0;
        let at = at.unwrap_or_else(|| path.to_string());
        problems.add_at(at.clone(), message);
        // Something wrong that cannot be left out, the value itself for one, is wrong again the next time.
        if problems.is_full() || !wrong.insert(at) {
            return T::default();
        }
    }
}

/// Reads a struct of the configuration into its default, field by field: `fields!(Cookie: name, ttl)`, or `of as "from"` where
/// the configuration has another name. `Deserialize` as serde derives it has an `Option` for each field until all are read, and
/// a way to drop each of them: of all structs together, tens of kilobytes of code more than this.
macro_rules! fields {
    ($of:ident: $($field:ident $(as $name:literal)?),+) => {
        const _: () = {
            /// Fields by their places among the names.
            #[allow(non_camel_case_types)]
            enum At {
                $($field),+
            }

            const NAMES: &[&str] = &[$($crate::config::de::name_of!($field $($name)?)),+];

            struct Fields;

            impl<'de> serde::de::Visitor<'de> for Fields {
                type Value = $of;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a map")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$of, A::Error> {
                    let mut read = $of::default();
                    // Each field is listed.
                    let $of { $($field: _),+ } = &read;
                    while let Some(place) = map.next_key_seed($crate::config::de::Among(NAMES))? {
                        match place {
                            $(place if place == At::$field as usize => read.$field = map.next_value()?,)+
                            _ => {}
                        }
                    }
                    Ok(read)
                }
            }

            impl<'de> serde::Deserialize<'de> for $of {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    deserializer.deserialize_struct(stringify!($of), NAMES, Fields)
                }
            }
        };
    };
}
pub(super) use fields;

/// The name that a field has in the configuration.
macro_rules! name_of {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}
pub(super) use name_of;

/// Reads the place of a name among these.
#[derive(Clone, Copy)]
pub(super) struct Among(pub(super) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Among {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Among {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<usize, E> {
        let place = self.0.iter().position(|known| *known == name);
        place.ok_or_else(|| E::unknown_field(name, self.0))
    }
}

/// What is wrong. Behind a pointer: every field of every type passes one on, which makes the difference of
/// tens of kilobytes of code.
#[derive(Debug)]
pub(super) struct Error(Box<Told>);

/// What was found and what would be right, and where as soon as that is known.
#[derive(Debug)]
struct Told {
    path: Option<String>,
    message: String,
}

impl Error {
    /// The error of something inside `path`: the innermost known place wins.
    #[inline(never)]
    fn at(mut self, path: &Path<'_>) -> Self {
        self.0.path.get_or_insert_with(|| path.to_string());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(Box::new(Told { path: None, message: message.to_string() }))
    }

    // Every field of every type has its own call of these: they stand in the module once.

    #[inline(never)]
    fn duplicate_field(field: &'static str) -> Self {
        Self::custom(format_args!("`{field}` is there twice"))
    }

    #[inline(never)]
    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("found {}, expected {expected}", Found(found)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    #[inline(never)]
    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("found {}, expected one of: {}", Shown(found), expected.join(", ")))
    }

    #[inline(never)]
    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("unknown field; known here: {}", expected.join(", ")))
    }
}

/// A value in words.
struct Found<'a>(de::Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            de::Unexpected::Bool(bit) => write!(f, "the boolean {bit}"),
            de::Unexpected::Unsigned(number) => write!(f, "the number {number}"),
            de::Unexpected::Signed(number) => write!(f, "the number {number}"),
            de::Unexpected::Float(number) => write!(f, "the number {number}"),
            de::Unexpected::Str(text) => write!(f, "the string {}", Shown(text)),
            de::Unexpected::Unit => f.write_str("nothing (null)"),
            de::Unexpected::Seq => f.write_str("a list"),
            de::Unexpected::Map => f.write_str("a map"),
            ref other => write!(f, "{other}"),
        }
    }
}

fn unexpected(value: &Value) -> de::Unexpected<'_> {
    match value {
        Value::Null => de::Unexpected::Unit,
        Value::Bool(bit) => de::Unexpected::Bool(*bit),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => de::Unexpected::Signed(whole),
            (None, Some(double)) => de::Unexpected::Float(double),
            (None, None) => de::Unexpected::Other("a number out of range"),
        },
        Value::String(text) => de::Unexpected::Str(text),
        Value::Array(_) => de::Unexpected::Seq,
        Value::Object(_) => de::Unexpected::Map,
    }
}

/// A value, where it stands, and which places are to be left out.
#[derive(Clone, Copy)]
struct Node<'a> {
    value: &'a Value,
    path: &'a Path<'a>,
    wrong: &'a BTreeSet<String>,
}

impl Node<'_> {
    /// Whether the value at `path` is to be left out. Paths are printed only once something is wrong.
    fn leaves_out(&self, path: &Path<'_>) -> bool {
        !self.wrong.is_empty() && self.wrong.contains(&path.to_string())
    }

    // What follows is the same for all types, and stands in the module once.

    #[inline(never)]
    fn invalid(&self, expected: &str) -> Error {
        de::Error::invalid_type(unexpected(self.value), &expected)
    }

    #[inline(never)]
    fn not_among(&self, what: &str, names: &[&str]) -> Error {
        self.invalid(&format!("{what}{}", names.join(", ")))
    }

    /// A number, or a text that is one: Envoy's YAML loader makes texts of fractions.
    #[inline(never)]
    fn number(&self) -> Result<f64, Error> {
        let number = match self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        };
        number.ok_or_else(|| self.invalid("a number"))
    }

    /// A text, or a whole number in a text's place (`release: 20261124`). Not a boolean, which is never meant.
    #[inline(never)]
    fn text(&self) -> Result<Cow<'_, str>, Error> {
        Err(self.invalid(match self.value {
            Value::String(text) => return Ok(Cow::Borrowed(text)),
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                return Ok(Cow::Owned(number.to_string()));
            }
            Value::Number(_) => "a string: put it in quotes",
            Value::Bool(_) => "a string: put it in quotes (YAML reads yes, no, on, off, y, n as booleans)",
            _ => "a string",
        }))
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(bit) => visitor.visit_bool(*bit),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => visitor.visit_i64(whole),
                (None, Some(double)) => visitor.visit_f64(double),
                (None, None) => Err(self.invalid("a number")),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.number()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(&self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Bool(bit) => visitor.visit_bool(*bit),
            _ => Err(self.invalid("true or false, without quotes")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // A field that stands there without a value is a mistake, such as one whose fields are commented out.
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Array(values) => {
                visitor.visit_seq(Elements { node: self, values: values.iter().enumerate() })
            }
            _ => Err(self.invalid("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(map) => visitor.visit_map(Entries::new(self, map)),
            _ => Err(self.invalid("a map of names to values")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(map) => visitor.visit_map(Entries::new(self, map)),
            _ => Err(self.not_among("a map with the fields ", fields)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(self.not_among("one of: ", variants)),
        }
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u32 u64 f32 char bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct identifier ignored_any
    }
}

/// The elements of a list that are not left out.
struct Elements<'a> {
    node: Node<'a>,
    values: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'de> de::SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((index, value)) = self.next() else { return Ok(None) };
        let path = self.node.path.index(index);
        let element = Node { value, path: &path, ..self.node };
        seed.deserialize(element).map(Some).map_err(|error| error.at(&path))
    }
}

impl<'a> Elements<'a> {
    #[inline(never)]
    fn next(&mut self) -> Option<(usize, &'a Value)> {
        let node = self.node;
        self.values.find(|(index, _)| !node.leaves_out(&node.path.index(*index)))
    }
}

/// The entries of a map that are not left out.
struct Entries<'a> {
    node: Node<'a>,
    entries: map::Iter<'a>,
    current: Option<(&'a str, &'a Value)>,
}

impl<'a> Entries<'a> {
    fn new(node: Node<'a>, map: &'a Map<String, Value>) -> Self {
        Self { node, entries: map.iter(), current: None }
    }

    /// The key of the next entry, and where it stands.
    #[inline(never)]
    fn next(&mut self) -> Option<(&'a str, Path<'a>)> {
        let node = self.node;
        let (key, value) = self.entries.find(|(key, _)| !node.leaves_out(&node.path.field(key)))?;
        let key = key.as_str();
        self.current = Some((key, value));
        Some((key, node.path.field(key)))
    }

    /// The value that stands behind that key.
    #[inline(never)]
    fn value(&mut self) -> Result<(&'a Value, Path<'a>), Error> {
        let (key, value) =
            self.current.take().ok_or_else(|| de::Error::custom("a value was asked for before its key"))?;
        Ok((value, self.node.path.field(key)))
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((key, path)) = self.next() else { return Ok(None) };
        let key: de::value::StrDeserializer<'_, Error> = key.into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.at(&path))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (value, path) = self.value()?;
        seed.deserialize(Node { value, path: &path, ..self.node }).map_err(|error| error.at(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Default, PartialEq)]
    struct Sample {
        name: String,
        share: f64,
        flag: bool,
        mode: Option<Mode>,
        items: Vec<Inner>,
    }

    fields!(Sample: name, share, flag, mode, items as "list");

    #[derive(Debug, PartialEq)]
    struct Inner {
        text: String,
        count: u8,
    }

    fields!(Inner: text, count);

    impl Default for Inner {
        fn default() -> Self {
            Self { text: String::new(), count: 7 }
        }
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        Stable,
        Random,
    }

    fn sample(value: &Value) -> (Sample, Vec<String>) {
        let mut problems = Problems::default();
        let sample = read(value, &Path::Root, &mut problems);
        (sample, problems.lines().collect())
    }

    #[test]
    fn values_that_envoy_retyped_are_restored() {
        let (read, problems) = sample(
            &json!({"name": 20261124, "share": "1.19", "flag": true, "mode": "random", "list": [{"text": "no"}]}),
        );
        assert_eq!(problems, [""; 0]);
        let items = vec![Inner { text: "no".into(), count: 7 }];
        assert_eq!(
            read,
            Sample { name: "20261124".into(), share: 1.19, flag: true, mode: Some(Mode::Random), items }
        );
    }

    #[test]
    fn everything_wrong_is_found_at_once() {
        let (read, problems) = sample(&json!({
            "name": false, "share": "much", "flag": "true", "mode": "sometimes", "extra": 1,
            "list": [{"text": "kept"}, {"txt": 1}, 7, {"text": 1.5}],
        }));
        let expected = [
            "extra: unknown field; known here: name, share, flag, mode, list",
            "flag: found the string \"true\", expected true or false, without quotes",
            "list[1].txt: unknown field; known here: text, count",
            "list[2]: found the number 7, expected a map with the fields text, count",
            "list[3].text: found the number 1.5, expected a string: put it in quotes",
            "mode: found \"sometimes\", expected one of: stable, random",
            "name: found the boolean false, expected a string: put it in quotes (YAML reads yes, no, on, off, y, n as booleans)",
            "share: found the string \"much\", expected a number",
        ];
        assert_eq!(problems, expected);
        assert_eq!(read.items.len(), 3, "what is right is read all the same");
    }

    #[test]
    fn a_value_of_the_wrong_kind_ends_the_reading() {
        let (read, problems) = sample(&json!([1]));
        assert_eq!(problems, ["found a list, expected a map with the fields name, share, flag, mode, list"]);
        assert_eq!(read, Sample::default());
    }

    #[test]
    fn infinite_and_overflowing_numbers_are_no_numbers() {
        for text in ["inf", "NaN", "1e999", "", "0x10"] {
            assert_eq!(sample(&json!({"share": text})).1.len(), 1, "{text}");
        }
    }
}
