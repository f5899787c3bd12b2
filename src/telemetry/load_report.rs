//! A model server's report on its own load: ORCA, in a header of its answers.
//!
//! Source: `xds/data/orca/v3/orca_load_report.proto`, and the header forms that Envoy's own parser takes
//! (`source/common/orca/orca_parser.cc`): `endpoint-load-metrics-bin`, or `endpoint-load-metrics` that begins with
//! `TEXT `, `JSON ` or `BIN `.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::Value;

use crate::model::wire::{Malformed, Payload, each_field};

/// Asks servers for a report. vLLM takes any case, Triton lower case only.
pub const ASK: (&str, &str) = ("endpoint-load-metrics-format", "text");
/// The headers in which it comes, the one that counts first.
pub const HEADERS: [&str; 2] = ["endpoint-load-metrics-bin", "endpoint-load-metrics"];
/// The most metrics of one version that are shown.
pub const MOST: usize = 16;
/// The longest name of a metric, in bytes.
const LONGEST_NAME: usize = 64;

/// Fields of the message that are plain numbers: by their number there, their name in text, and in JSON.
const FIELDS: [(u64, &str, &str); 5] = [
    (1, "cpu_utilization", "cpuUtilization"),
    (2, "mem_utilization", "memUtilization"),
    (6, "rps_fractional", "rpsFractional"),
    (7, "eps", "eps"),
    (9, "application_utilization", "applicationUtilization"),
];
/// Fields that are maps.
const MAPS: [(u64, &str, &str); 2] =
    [(5, "utilization", "utilization"), (8, "named_metrics", "namedMetrics")];

/// Calls `show` with the name and value of each metric in a header's value. Returns whether it could be read: what was
/// shown before an error counts. A number that is negative or not finite is left out.
pub fn read(header: &str, value: &[u8], mut show: impl FnMut(&str, f64)) -> bool {
    let mut show = |name: &str, value: f64| {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b';';
        if value.is_finite() && value >= 0.0 && name.len() <= LONGEST_NAME && name.bytes().all(is_plain) {
            show(name, value);
        }
    };
    let Ok(text) = std::str::from_utf8(value) else { return false };
    if header == HEADERS[0] {
        return binary(text, &mut show);
    }
    match text.split_once(' ') {
        Some(("TEXT", pairs)) => self::text(pairs, &mut show),
        Some(("JSON", json)) => self::json(json, &mut show),
        Some(("BIN", report)) => binary(report, &mut show),
        _ => false,
    }
}

fn text(pairs: &str, show: &mut impl FnMut(&str, f64)) -> bool {
    pairs.split(',').all(|pair| {
        let Some((name, value)) = pair.split_once(['=', ':']) else { return false };
        let (name, Ok(value)) = (name.trim(), value.trim().parse()) else { return false };
        let is_number = FIELDS.iter().any(|(_, known, _)| *known == name);
        let is_in_map =
            name.split_once('.').is_some_and(|(map, _)| MAPS.iter().any(|(_, known, _)| *known == map));
        if is_number || is_in_map {
            show(name, value);
        }
        true
    })
}

fn json(json: &str, show: &mut impl FnMut(&str, f64)) -> bool {
    let Ok(Value::Object(report)) = serde_json::from_slice(json.as_bytes()) else { return false };
    let get = |name: &str, camel: &str| report.get(name).or_else(|| report.get(camel));
    for (_, name, camel) in FIELDS {
        get(name, camel).and_then(Value::as_f64).into_iter().for_each(|value| show(name, value));
    }
    for (_, map, camel) in MAPS {
        for (name, value) in get(map, camel).and_then(Value::as_object).into_iter().flatten() {
            value.as_f64().into_iter().for_each(|value| show(&format!("{map}.{name}"), value));
        }
    }
    true
}

fn binary(report: &str, show: &mut impl FnMut(&str, f64)) -> bool {
    let Ok(message) = STANDARD_NO_PAD.decode(report.trim().trim_end_matches('=')) else { return false };
    let read = each_field(&message, |number, payload| {
        match payload {
            Payload::Fixed64(bits) => {
                let field = FIELDS.iter().find(|(known, _, _)| *known == number);
                field.into_iter().for_each(|(_, name, _)| show(name, f64::from_le_bytes(bits)));
            }
            Payload::Bytes(entry) => {
                let Some((_, map, _)) = MAPS.iter().find(|(known, _, _)| *known == number) else {
                    return Ok(());
                };
                let (mut name, mut value) = (String::new(), 0.0);
                each_field(entry, |number, payload| {
                    match (number, payload) {
                        (1, Payload::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
                        (2, Payload::Fixed64(bits)) => value = f64::from_le_bytes(bits),
                        _ => {}
                    }
                    Ok::<_, Malformed>(())
                })?;
                show(&format!("{map}.{name}"), value);
            }
            Payload::Varint(_) | Payload::Fixed32(_) => {}
        }
        Ok::<_, Malformed>(())
    });
    read.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn of(header: &str, value: &str) -> (bool, Vec<(String, f64)>) {
        let mut shown = Vec::new();
        let is_read = read(header, value.as_bytes(), |name, value| shown.push((name.to_owned(), value)));
        (is_read, shown)
    }

    fn named(pairs: &[(&str, f64)]) -> Vec<(String, f64)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    /// As vLLM and Triton send them, and in each of Envoy's forms.
    #[test]
    fn reports_are_read_in_every_form() {
        let two = named(&[
            ("named_metrics.num_requests_waiting", 0.0),
            ("named_metrics.kv_cache_usage_perc", 0.25),
        ]);
        let text = "TEXT named_metrics.num_requests_waiting=0.0, named_metrics.kv_cache_usage_perc=0.25";
        assert_eq!(of(HEADERS[1], text), (true, two));
        let json =
            r#"JSON {"named_metrics": {"a": 1.5}, "cpuUtilization": 0.5, "mem_utilization": 1, "other": 3}"#;
        let three = named(&[("cpu_utilization", 0.5), ("mem_utilization", 1.0), ("named_metrics.a", 1.5)]);
        assert_eq!(of(HEADERS[1], json), (true, three.clone()));
        let double = |value: f64| value.to_le_bytes();
        let mut message = vec![0x09];
        message.extend(double(0.5));
        message.push(0x11);
        message.extend(double(1.0));
        message.extend([0x18, 7]); // rps, which is no more
        message.extend([0x42, 12, 0x0a, 1, b'a', 0x11]);
        message.extend(double(1.5));
        let encoded = STANDARD.encode(&message);
        assert_eq!(of(HEADERS[0], &encoded), (true, three.clone()));
        assert_eq!(of(HEADERS[1], &format!("BIN {encoded}")), (true, three));
        let colons = of(HEADERS[1], "TEXT cpu_utilization:0.7,unknown:1,eps:2");
        assert_eq!(colons, (true, named(&[("cpu_utilization", 0.7), ("eps", 2.0)])));
    }

    #[test]
    fn a_malformed_report_shows_nothing() {
        for value in [
            "",
            "TEXT",
            "TEXT a",
            "TEXT cpu_utilization=x",
            "JSON",
            "JSON []",
            "JSON {",
            "BIN !",
            "BIN CQ",
            "YAML a: 1",
        ] {
            let (is_read, shown) = of(HEADERS[1], value);
            assert!(!is_read && shown.is_empty(), "{value}: {shown:?}");
        }
        let odd =
            "TEXT cpu_utilization=NaN,mem_utilization=inf,eps=-1,named_metrics.a;b=1,named_metrics.c d=1";
        assert_eq!(of(HEADERS[1], odd), (true, vec![]));
        assert!(!read(HEADERS[1], b"TEXT \xff", |_, _| {}));
    }
}
