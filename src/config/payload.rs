//! What is read of requests and answers.

use std::collections::BTreeMap;
use std::fmt;

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::de::fields;
use super::units::{Count, Percent, Size};
use crate::model::Share;
use crate::payload::exchange::Places;
use crate::payload::fields::Wanted;
use crate::payload::preset::Spec;
use crate::payload::protocol::{Direction, Protocol};

/// Reads the bodies of requests and answers while they pass: figures about them, and signals for `analysis`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["protocol"])))]
pub struct Payload {
    /// Where things stand in a body.
    pub protocol: Option<Protocol>,
    /// The share of requests whose bodies are read, in percent. With session affinity: of users.
    // In place of the default as the configuration's hash sees it, in hundredths.
    #[cfg_attr(not(target_arch = "wasm32"), schemars(extend("default" = 100)))]
    pub sample: Percent,
    /// How much of a body is read, uncompressed; of an answer in events, how much of each event. The rest counts as size
    /// only.
    pub max_body: Size,
    /// What is wanted of requests.
    pub input: Input,
    /// What is wanted of answers.
    pub output: Output,
}

fields!(Payload: protocol, sample, max_body, input, output);

impl Default for Payload {
    fn default() -> Self {
        Self {
            protocol: None,
            sample: Percent(Share::ALL),
            max_body: Size::kib(1_024),
            input: Input::default(),
            output: Output::default(),
        }
    }
}

/// What is wanted of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Input {
    /// JSON pointers to fields that may be missing; `*` for every element of an array.
    pub fields: Vec<String>,
    /// A JSON pointer to what the length is of: characters of a text, or with `*` the number of elements. Absent:
    /// characters of the prompt, or elements of all tensors.
    pub length: Option<String>,
    /// The categories that are known, by JSON pointer: texts, or numbers as text.
    pub categories: BTreeMap<String, Vec<String>>,
}

fields!(Input: fields, length, categories);

/// What is wanted of answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Output {
    /// A JSON pointer to the answer's value: a number, label or text. Absent: the first element of the first tensor.
    pub value: Option<String>,
    /// The least and the most that a value is expected to be: `[0, 1]` unless given.
    pub range: Option<[f64; 2]>,
    /// The value is a label, and answers are counted by it: how many labels, the first ones seen, or which ones. All
    /// others count as one.
    pub labels: Option<Labels>,
    /// A JSON pointer to the answer's confidence, a number from 0 to 1.
    pub confidence: Option<String>,
    /// Texts that count as missing, besides the empty one and `NaN`.
    pub null_values: Vec<String>,
}

fields!(Output: value, range, labels, confidence, null_values);

/// Which labels are counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum Labels {
    /// So many, the first ones seen.
    First(Count),
    /// These.
    These(Vec<String>),
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Given;
        impl<'de> Visitor<'de> for Given {
            type Value = Labels;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of labels, or a list of them")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Labels, E> {
                Count::deserialize(de::value::U64Deserializer::new(number)).map(Labels::First)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Labels, E> {
                Count::deserialize(de::value::I64Deserializer::new(number)).map(Labels::First)
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Labels, E> {
                Count::deserialize(de::value::F64Deserializer::new(number)).map(Labels::First)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Labels, E> {
                match text.parse() {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Labels, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Labels::These)
            }
        }
        deserializer.deserialize_any(Given)
    }
}

impl Payload {
    /// What is wanted of requests, of a protocol that is given.
    #[must_use]
    pub fn of_requests(&self, protocol: Protocol) -> Spec {
        let Input { fields, length, categories } = &self.input;
        let plain = fields.iter().chain(length).map(|pointer| Wanted {
            pointer: pointer.clone(),
            categories: categories.get(pointer).cloned().unwrap_or_default(),
        });
        let categorical = categories
            .iter()
            .map(|(pointer, categories)| Wanted { pointer: pointer.clone(), categories: categories.clone() });
        self.spec(protocol, Direction::Input, plain.chain(categorical))
    }

    /// What is wanted of answers.
    #[must_use]
    pub fn of_answers(&self, protocol: Protocol) -> Spec {
        let pointers = self.output.value.iter().chain(&self.output.confidence);
        let wanted = pointers.map(|pointer| Wanted { pointer: pointer.clone(), categories: Vec::new() });
        self.spec(protocol, Direction::Output, wanted)
    }

    fn spec(&self, protocol: Protocol, direction: Direction, wanted: impl Iterator<Item = Wanted>) -> Spec {
        let mut fields: Vec<Wanted> = Vec::new();
        for wanted in wanted {
            if !fields.iter().any(|known| known.pointer == wanted.pointer) {
                fields.push(wanted);
            }
        }
        Spec {
            fields,
            null_values: self.output.null_values.clone(),
            max_body: self.max_body.bytes(),
            ..Spec::new(protocol, direction)
        }
    }

    /// Where the configured values stand among the fields of both.
    #[must_use]
    pub fn places(&self, protocol: Protocol) -> Places {
        let (requests, answers) = (self.of_requests(protocol), self.of_answers(protocol));
        let at = |spec: &Spec, pointer: &str| spec.fields.iter().position(|field| field.pointer == pointer);
        let in_requests = |pointer: &String| Some((pointer.clone(), at(&requests, pointer)?));
        let in_answers = |pointer: &Option<String>| at(&answers, pointer.as_deref()?);
        let [least, most] = self.output.range.unwrap_or([0.0, 1.0]);
        Places {
            length: self.input.length.as_deref().and_then(|pointer| at(&requests, pointer)),
            fields: self.input.fields.iter().filter_map(in_requests).collect(),
            categories: self.input.categories.keys().filter_map(in_requests).collect(),
            value: in_answers(&self.output.value),
            confidence: in_answers(&self.output.confidence),
            range: (least, most),
        }
    }
}

#[cfg(test)]
mod tests;
