//! TensorFlow Serving's form: KServe v1 as recorded; the other forms as TensorFlow's documentation has them.

use super::{read, read_json};
use crate::payload::preset::Spec;
use crate::payload::protocol::{Direction, Protocol};
use crate::payload::summary::{Outcome, Summary};

fn answer(document: &str) -> Summary {
    read_json(&Spec::new(Protocol::TfServing, Direction::Output), document)
}

fn request(document: &str) -> Summary {
    read_json(&Spec::new(Protocol::TfServing, Direction::Input), document)
}

#[test]
fn rows_are_counted_and_their_elements_read() {
    let summary = read(Protocol::TfServing, "kserve-v1.request");
    let [instances] = &summary.seen.tensors[..] else { panic!("{summary:?}") };
    assert_eq!((&*instances.name, instances.batch()), (&b"instances"[..], Some(2)));
    let elements = instances.elements.as_ref().unwrap();
    assert_eq!((elements.count, elements.missing, elements.numbers.sum), (128, 0, 37.9375));
    let summary = read(Protocol::TfServing, "kserve-v1.response");
    let [predictions] = &summary.seen.tensors[..] else { panic!("{summary:?}") };
    assert_eq!((&*predictions.name, predictions.batch()), (&b"predictions"[..], Some(2)));
    assert_eq!(predictions.elements.as_ref().unwrap().numbers.sum, 1.0);
    assert_eq!((summary.is_null(), summary.is_error()), (Some(false), false));
}

#[test]
fn missing_values_and_errors_are_seen() {
    let summary = read(Protocol::TfServing, "kserve-v1-400-nan.request");
    assert_eq!(summary.seen.tensors[0].elements.as_ref().unwrap().missing, 1);
    assert_eq!(read(Protocol::TfServing, "kserve-v1-400-truncated.request").outcome, Outcome::Truncated);
    for name in ["kserve-v1-400-nan", "kserve-v1-400-truncated", "kserve-v1-500"] {
        assert!(read(Protocol::TfServing, &format!("{name}.response")).is_error(), "{name}");
    }
    assert_eq!(answer(r#"{"predictions": [[0.5, NaN], [Infinity, 1]]}"#).is_null(), Some(true));
    assert_eq!(answer(r#"{"predictions": null}"#).is_null(), Some(true));
    assert_eq!(answer(r#"{"predictions": []}"#).is_null(), Some(true));
    assert_eq!(answer("{}").is_null(), Some(true));
    assert_eq!(answer(r#"{"predictions": ["cat"]}"#).is_null(), Some(false));
}

#[test]
fn named_inputs_by_row_and_by_column_are_read() {
    let summary = request(
        r#"{"signature_name":"s","instances":[{"a":[1,2],"b":{"b64":"eA=="}},{"a":[3,4],"b":null}]}"#,
    );
    let tensor = &summary.seen.tensors[0];
    let elements = tensor.elements.as_ref().unwrap();
    assert_eq!(
        (tensor.batch(), elements.count, elements.missing, elements.numbers.sum),
        (Some(2), 6, 1, 10.0)
    );
    let summary = request(r#"{"inputs":{"a":[1,2],"b":["x","y"]}}"#);
    let elements = summary.seen.tensors[0].elements.as_ref().unwrap();
    assert_eq!((elements.rows, elements.count, elements.texts), (0, 4, 2));
    // Vertex AI puts more around it.
    let summary = answer(r#"{"predictions":[[0.1,0.9]],"deployedModelId":"1","metadata":null,"model":"m"}"#);
    assert_eq!(summary.seen.tensors[0].elements.as_ref().unwrap().count, 2);
}
