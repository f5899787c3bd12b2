//! Open Inference: MLServer, Triton, KServe and their clients. Expected figures are Python's, from the same bytes.

use json_sieve::Scalar;

use super::{read, read_json, read_message, recorded};
use crate::payload::preset::Spec;
use crate::payload::protocol::{Direction, Protocol};
use crate::payload::summary::{Datatype, MAX_TENSORS, Outcome, Summary, Tensor};

fn of(name: &str) -> Summary {
    read(Protocol::OpenInference, name)
}

/// A tensor's name, shape, elements, missing ones, and the sum of its numbers.
type Figures<'a> = (&'a str, &'a [u64], u64, u64, f64);

fn figures(tensor: &Tensor) -> Figures<'_> {
    let elements = tensor.elements.as_ref().unwrap();
    let name = std::str::from_utf8(&tensor.name).unwrap();
    (name, &tensor.shape, elements.count, elements.missing, elements.numbers.sum)
}

fn all(summary: &Summary) -> Vec<Figures<'_>> {
    summary.seen.tensors.iter().map(figures).collect()
}

#[test]
fn tensors_of_every_server_and_client_are_read() {
    let cases: [(&str, &[Figures<'_>]); 12] = [
        ("kserve-v2.request", &[("x", &[2, 64], 128, 0, 37.9375)]),
        ("kserve-v2.response", &[("output-0", &[2], 2, 0, 1.0)]),
        ("mlserver-rest.request", &[("predict", &[1, 64], 64, 0, 18.375)]),
        ("mlserver-rest.response", &[("predict", &[1, 1], 1, 0, 0.0)]),
        ("mlserver-numpy-codec-gzip.request", &[("input-1", &[2, 64], 128, 0, 37.9375)]),
        ("mlserver-pandas-codec.request", &[("age", &[3, 1], 3, 1, 64.0), ("n", &[3, 1], 3, 0, 6.0)]),
        ("mlserver-request-strings-and-null.request", &[("x", &[3], 3, 1, 0.0), ("age", &[3], 3, 1, 64.0)]),
        ("mlserver-request-base64.request", &[("x", &[2], 2, 0, 0.0)]),
        ("triton-json.request", &[("x", &[2, 64], 128, 0, 37.9375)]),
        ("triton-json-deflate.request", &[("x", &[2, 64], 128, 0, 37.9375)]),
        (
            "triton-json.response",
            &[("label", &[2, 1], 2, 0, 6.0), ("proba", &[2, 10], 20, 0, 2.000_000_026_378_984_3)],
        ),
        (
            "triton-json-deflate.response",
            &[("label", &[2, 1], 2, 0, 6.0), ("proba", &[2, 10], 20, 0, 2.000_000_026_378_984_3)],
        ),
    ];
    for (name, expected) in cases {
        let summary = of(name);
        assert_eq!(summary.outcome, Outcome::Read, "{name}");
        assert_eq!(all(&summary), expected, "{name}");
        assert!(!summary.is_error(), "{name}");
    }
}

#[test]
fn compressed_answers_are_read() {
    for name in ["mlserver-numpy-codec-gzip.response", "mlserver-proba-gzip.response"] {
        let summary = of(name);
        assert_eq!(summary.outcome, Outcome::Read, "{name}");
        assert!(summary.bytes_read > summary.bytes, "{name}");
        let [label, proba] = &summary.seen.tensors[..] else { panic!("{summary:?}") };
        assert_eq!(figures(label), ("predict", &[2, 1][..], 2, 0, 1.0));
        let numbers = proba.elements.as_ref().unwrap().numbers;
        assert!((numbers.sum - 2.0).abs() < 1e-12);
        assert_eq!(
            (numbers.count, numbers.min, numbers.max),
            (20, 8.144058247333873e-07, 0.994_954_149_688_385_8)
        );
        assert_eq!(summary.is_null(), Some(false));
    }
}

#[test]
fn missing_values_are_null_nan_and_empty_texts() {
    let score: Figures<'_> = ("score", &[3, 1], 3, 2, 0.25);
    for name in [
        "mlserver-answer-nan-as-null.response",
        "mlserver-pandas-codec.response",
        "mlserver-request-strings-and-null.response",
    ] {
        let summary = of(name);
        assert_eq!(all(&summary), [score, ("label", &[3, 1], 3, 1, 0.0)], "{name}");
        assert_eq!(summary.is_null(), Some(true));
    }
    let label: Figures<'_> = ("label", &[1, 1], 1, 0, 0.0);
    let nan: Figures<'_> = ("proba", &[1, 10], 10, 10, 0.0);
    let summary = of("triton-answer-bare-nan.response");
    assert_eq!((all(&summary), summary.outcome), (vec![label, nan], Outcome::Read));
    assert_eq!(summary.is_null(), Some(true));
    let summary = of("triton-answer-bare-nan-gzip.response");
    assert_eq!(all(&summary), [label, nan, ("name", &[1, 1][..], 1, 0, 0.0)]);
    assert_eq!(all(&of("mlserver-request-bare-nan-422.request")), [("predict", &[1, 64][..], 64, 1, 0.0)]);
    assert_eq!(all(&of("triton-request-null-500.request")), [("x", &[1, 64][..], 64, 1, 0.0)]);
}

#[test]
fn a_sentinel_of_the_configuration_is_missing() {
    let spec = Spec {
        null_values: vec!["unknown".to_owned()],
        ..Spec::new(Protocol::OpenInference, Direction::Output)
    };
    let summary = read_message(&spec, &recorded("mlserver-answer-nan-as-null.response"));
    assert_eq!(figures(&summary.seen.tensors[1]), ("label", &[3, 1][..], 3, 2, 0.0));
}

#[test]
fn binary_tensors_behind_the_json_are_read() {
    let summary = of("triton-binary.request");
    assert_eq!(all(&summary), [("x", &[2, 64][..], 128, 0, 37.9375)]);
    let summary = of("triton-binary-gzip.request");
    let tensor = &summary.seen.tensors[0];
    assert_eq!((tensor.batch(), tensor.len(), tensor.binary), (Some(40), 2560, true));
    let elements = tensor.elements.as_ref().unwrap();
    assert_eq!((elements.count, elements.cut), (1024, true));

    let summary = of("triton-default-binary-strings.response");
    assert_eq!(summary.outcome, Outcome::Read);
    let [label, proba, name] = &summary.seen.tensors[..] else { panic!("{summary:?}") };
    assert_eq!(figures(label), ("label", &[2, 1][..], 2, 0, 6.0));
    assert_eq!(label.elements.as_ref().unwrap().first, Some(Scalar::Number(3.0)));
    let numbers = proba.elements.as_ref().unwrap().numbers;
    assert_eq!(numbers.count, 20);
    assert!((numbers.sum - 2.0).abs() < 1e-6, "{numbers:?}");
    let texts = name.elements.as_ref().unwrap();
    assert_eq!((name.datatype, texts.texts, texts.characters), (Datatype::Bytes, 2, 14));
    assert_eq!(texts.first, Some(Scalar::Text(b"digit-3"[..].into())));

    let summary = of("triton-binary-gzip.response");
    assert_eq!(summary.outcome, Outcome::Read);
    assert_eq!(summary.seen.tensors.iter().map(Tensor::len).collect::<Vec<_>>(), [40, 400]);
    assert_eq!(summary.seen.tensors[1].elements.as_ref().unwrap().count, 400);
    // JSON answers a binary request.
    assert_eq!(all(&of("triton-binary-in-json-out.response"))[0], ("label", &[2, 1][..], 2, 0, 6.0));
    assert_eq!(
        of("mlserver-tritonclient-binary-gzip-422.request").seen.tensors[0].elements.as_ref().unwrap().count,
        128
    );
}

#[test]
fn binary_tensors_that_are_cut_are_truncated() {
    for name in ["triton-binary.response", "triton-default-binary-strings.response"] {
        let mut message = recorded(name);
        message.body.pop();
        let summary = read_message(&Spec::new(Protocol::OpenInference, Direction::Output), &message);
        assert_eq!(summary.outcome, Outcome::Truncated);
        message.body.truncate(200);
        let summary = read_message(&Spec::new(Protocol::OpenInference, Direction::Output), &message);
        assert_eq!((summary.outcome, summary.is_null()), (Outcome::Truncated, None));
    }
}

#[test]
fn error_objects_are_errors_and_null_members_are_not() {
    for name in [
        "mlserver-400-error-object.response",
        "mlserver-422-detail.response",
        "mlserver-request-bare-nan-422.response",
        "triton-400.response",
        "triton-500-broken-json.response",
    ] {
        let summary = of(name);
        assert!(summary.is_error() && summary.outcome == Outcome::Read, "{name}: {summary:?}");
        assert_eq!(summary.is_null(), None);
    }
    assert_eq!(of("mlserver-500-plain-text.response").outcome, Outcome::SkippedType);
    assert_eq!(of("triton-404-text-plain-json.response").outcome, Outcome::SkippedType);
    assert_eq!(of("triton-500-broken-json.request").outcome, Outcome::Truncated);
    // `"model_version": null`
    assert_eq!(of("kserve-v2.response").is_null(), Some(false));
}

#[test]
fn a_binary_tensor_without_a_byte_is_null_whatever_its_datatype() {
    for datatype in ["", r#""datatype":"FP8","#, r#""datatype":"FP32","#] {
        let document = format!(
            r#"{{"outputs":[{{"name":"x",{datatype}"shape":[0],"parameters":{{"binary_data_size":0}}}}]}}"#
        );
        let summary = read_json(&Spec::new(Protocol::OpenInference, Direction::Output), &document);
        assert_eq!((summary.outcome, summary.is_null()), (Outcome::Read, Some(true)), "{document}");
    }
}

#[test]
fn the_number_of_tensors_kept_is_bounded() {
    let tensors: Vec<String> = (0..20).map(|at| format!(r#"{{"name":"t{at}","data":[{at}]}}"#)).collect();
    let document = format!(r#"{{"outputs":[{}]}}"#, tensors.join(","));
    let seen = read_json(&Spec::new(Protocol::OpenInference, Direction::Output), &document).seen;
    assert_eq!((seen.tensors.len(), seen.tensors_dropped), (MAX_TENSORS, 4));
    let summary = read_json(&Spec::new(Protocol::OpenInference, Direction::Output), r#"{"outputs":[]}"#);
    assert_eq!(summary.is_null(), Some(true));
}
