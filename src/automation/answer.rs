//! What an answer of the model says, and what a decision says.

use serde_json::Value;

use crate::compare::label::{any_label_of, label_of};
use crate::compare::pointer::Pointer;
use crate::model::Share;

/// Where an answer of the model has what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places {
    /// Its label: a text, a number, a boolean, or a list of which the first counts.
    pub label: Pointer,
    /// Its confidence from 0 to 1: a number, or a list of which the largest counts; `None`: it has none.
    pub confidence: Option<Pointer>,
}

/// What the model would decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggestion {
    /// Its label.
    pub label: String,
    /// Its confidence in hundredths of a percent; 0 for one without.
    pub confidence: u16,
}

impl Suggestion {
    /// Reads an answer of the model. `None`: it is no JSON, or has no label or no confidence where they should be.
    #[must_use]
    pub fn read(body: &[u8], places: &Places) -> Option<Self> {
        let document = document(body)?;
        let label = label_of(places.label.get(&document))?;
        let confidence = match &places.confidence {
            Some(place) => confidence(place.get(&document)?)?,
            None => 0,
        };
        Some(Self { label, confidence })
    }

    /// As a header shows it: the label, percent-encoded where a header could not hold it, and the confidence if the model has
    /// one: `cat; confidence=0.93`.
    #[must_use]
    pub fn header(&self, has_confidence: bool) -> String {
        // What ends a value, or begins an encoded character.
        const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b';').add(b'%').add(b'"');
        let label = percent_encoding::utf8_percent_encode(&self.label, PLAIN);
        if has_confidence {
            format!(
                "{label}; confidence={}",
                f64::from(self.confidence) / f64::from(Share::ALL.basis_points())
            )
        } else {
            label.to_string()
        }
    }
}

/// A body as JSON; `None`: it is none.
#[must_use]
pub fn document(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// What a person has decided; `None`: it cannot be read. A text that is longer than the model's labels is none of them.
#[must_use]
pub fn decided(document: &Value, label: &Pointer) -> Option<String> {
    any_label_of(label.get(document))
}

/// A confidence in hundredths of a percent. It is rounded down: what is above a threshold is at least that confident.
fn confidence(value: &Value) -> Option<u16> {
    let value = match value {
        Value::Array(all) => {
            all.iter().map(Value::as_f64).try_fold(f64::NEG_INFINITY, |most, next| Some(most.max(next?)))?
        }
        one => one.as_f64()?,
    };
    // Half a billionth: what a double cannot express is no less.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the range is checked
    (0.0..=1.0).contains(&value).then(|| ((value + 5e-10) * f64::from(Share::ALL.basis_points())) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(label: &str, confidence: Option<&str>) -> Places {
        let pointer = |text| Pointer::new(text).unwrap();
        Places { label: pointer(label), confidence: confidence.map(pointer) }
    }

    #[test]
    fn an_answer_has_a_label_and_a_confidence() {
        let places = places("/outputs/0/data/0", Some("/outputs/1/data"));
        let read = |body: &str| Suggestion::read(body.as_bytes(), &places);
        let seven = Suggestion { label: "7".into(), confidence: 9_300 };
        for body in [
            r#"{"outputs":[{"data":[7]},{"data":[0.02,0.93,0.05]}]}"#,
            r#"{"outputs":[{"data":[7.0]},{"data":0.93}]}"#,
            r#"{"outputs":[{"data":["7"]},{"data":[9.3e-1]}]}"#,
        ] {
            assert_eq!(read(body).as_ref(), Some(&seven), "{body}");
        }
        for body in [
            "",
            "{",
            "[]",
            r#"{"outputs":[{"data":[null]},{"data":[0.9]}]}"#,
            r#"{"outputs":[{"data":[{}]},{"data":[0.9]}]}"#,
            r#"{"outputs":[{"data":[7]}]}"#,
            r#"{"outputs":[{"data":[7]},{"data":[1.01]}]}"#,
            r#"{"outputs":[{"data":[7]},{"data":[-0.1]}]}"#,
            r#"{"outputs":[{"data":[7]},{"data":["0.9"]}]}"#,
        ] {
            assert_eq!(read(body), None, "{body}");
        }
        let longest = format!(r#"{{"outputs":[{{"data":["{}"]}},{{"data":[1]}}]}}"#, "x".repeat(64));
        assert_eq!(read(&longest).map(|read| (read.label.len(), read.confidence)), Some((64, 10_000)));
        assert_eq!(read(&longest.replace("xxx", "xxxx")), None, "a label too long to be told from others");
    }

    #[test]
    fn confidences_are_rounded_down_but_not_by_what_a_double_cannot_express() {
        for (text, hundredths) in [("0.29", 2_900), ("0.57", 5_700), ("0.89999", 8_999), ("0.9", 9_000)] {
            assert_eq!(confidence(&serde_json::from_str(text).unwrap()), Some(hundredths));
        }
    }

    #[test]
    fn a_suggestion_is_a_header_whatever_the_label_is() {
        let header = |label: &str| Suggestion { label: label.into(), confidence: 9_300 }.header(true);
        assert_eq!(header("cat"), "cat; confidence=0.93");
        assert_eq!(header("a b"), "a b; confidence=0.93");
        assert_eq!(header("größe; 50 %\r\n"), "gr%C3%B6%C3%9Fe%3B 50 %25%0D%0A; confidence=0.93");
        assert_eq!(Suggestion { label: "7".into(), confidence: 0 }.header(false), "7");
    }

    #[test]
    fn decisions_are_read_where_they_are_said_to_be() {
        let label = Pointer::new("/annotation/label").unwrap();
        let decided = |body: &[u8]| decided(&document(body)?, &label);
        assert_eq!(decided(br#"{"annotation":{"label":"dog"}}"#).as_deref(), Some("dog"));
        assert_eq!(decided(br#"{"annotation":{}}"#), None);
    }

    #[test]
    fn a_decision_longer_than_any_label_of_the_model_equals_the_same_text_alone() {
        let label = Pointer::new("/label").unwrap();
        let decided = |text: &str| decided(&serde_json::json!({"label": text}), &label).unwrap();
        let text = "é".repeat(40);
        for cut in [&text[..64], &text[..62], ""] {
            assert_ne!(decided(&text), decided(cut));
        }
        assert_ne!(decided(&text), decided(&format!("{text}!")));
        assert_eq!(decided(&text), decided(&text.clone()));
        assert!(decided(&text).len() > 64 && decided(&"x".repeat(100_000)).len() < 90);
        // Not what the model says, however it is written.
        assert_eq!(label_of(Some(&decided(&text).into())), None);
    }
}
