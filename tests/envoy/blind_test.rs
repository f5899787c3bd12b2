//! Reviewers who are to stay blind: nothing that their queue receives says what the model said, in whatever encoding it is
//! looked for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use serde_json::json;

use crate::harness::tasks::*;
use crate::harness::*;

/// What the model says. No task has any of it.
const LABEL: &str = "Quittengelée, süß";
const CONFIDENCE: &str = "0.918273";
const NOTE: &str = "Marzipanrinde";
const HEADER: &str = "Lebkuchenherz";
/// Enough of each to be found, in lower case.
const NEEDLES: [&str; 6] = ["quitteng", "gelée", "0.9182", "91.82", "marzipan", "lebkuche"];
/// Shorter than that, receipts and ids have it by chance: but not each of them.
const SHORT: &str = "9182";

/// What bytes have to be for one to read something in them.
struct Reading {
    name: &'static str,
    /// All that they say, read so.
    read: fn(&[u8]) -> Vec<u8>,
    /// A text, written so.
    write: fn(&str) -> Vec<u8>,
}

const READINGS: [Reading; 9] = [
    Reading { name: "plain", read: <[u8]>::to_vec, write: |text| text.into() },
    Reading {
        name: "reversed",
        read: |bytes| bytes.iter().rev().copied().collect(),
        write: |text| text.bytes().rev().collect(),
    },
    Reading {
        name: "UTF-16",
        read: |bytes| {
            let characters = |from: usize, order: fn([u8; 2]) -> u16| {
                let pairs = bytes[from.min(bytes.len())..].chunks_exact(2);
                let units: Vec<u16> = pairs.map(|pair| order([pair[0], pair[1]])).collect();
                String::from_utf16_lossy(&units)
            };
            let all = [0, 1].map(|from| {
                characters(from, u16::from_le_bytes) + "\n" + &characters(from, u16::from_be_bytes)
            });
            all.concat().into_bytes()
        },
        write: |text| text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    },
    Reading {
        name: "percent-encoded",
        read: |bytes| percent_decode(bytes).collect(),
        write: |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().into_bytes(),
    },
    Reading { name: "JSON-escaped", read: unescaped, write: escaped },
    Reading {
        name: "base64",
        read: |bytes| {
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
            runs(bytes, is_part, 4, |run| {
                let standard = |byte: &u8| match byte {
                    b'-' => b'+',
                    b'_' => b'/',
                    other => *other,
                };
                STANDARD.decode(run.iter().map(standard).collect::<Vec<_>>()).ok()
            })
        },
        write: |text| STANDARD.encode(text).into_bytes(),
    },
    Reading {
        name: "base64 for URLs, in the middle of others",
        read: <[u8]>::to_vec,
        write: |text| URL_SAFE_NO_PAD.encode(format!("ab{text}??>>")).into_bytes(),
    },
    Reading {
        name: "hexadecimal",
        read: |bytes| {
            runs(bytes, u8::is_ascii_hexdigit, 2, |run| {
                let digit = |byte: u8| (byte as char).to_digit(16);
                let byte = |pair: &[u8]| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8);
                run.chunks_exact(2).map(byte).collect()
            })
        },
        write: |text| text.bytes().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect(),
    },
    Reading {
        name: "compressed",
        read: inflated,
        write: |text| miniz_oxide::deflate::compress_to_vec_zlib(text.as_bytes(), 6),
    },
];

/// What all runs of such bytes say, from each place of the first `alignment` on.
fn runs(
    bytes: &[u8],
    is_part: impl Fn(&u8) -> bool,
    alignment: usize,
    decode: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let mut all = Vec::new();
    for run in bytes.split(|byte| !is_part(byte)).filter(|run| run.len() >= 6) {
        for from in 0..alignment {
            let whole = (run.len() - from) / alignment * alignment;
            all.extend(decode(&run[from..from + whole]).unwrap_or_default());
            all.push(b'\n');
        }
    }
    all
}

/// What stands compressed at any place: with the frame of gzip or zlib around it, or without.
fn inflated(bytes: &[u8]) -> Vec<u8> {
    /// Bytes that say all of the model's answer, compressed and not.
    const ENOUGH: (usize, usize) = (256, 512);
    let mut all = Vec::new();
    for from in 0..bytes.len() {
        let some = &bytes[from..bytes.len().min(from + ENOUGH.0)];
        let said = miniz_oxide::inflate::decompress_to_vec_with_limit(some, ENOUGH.1);
        let said = said.unwrap_or_else(|broken| broken.output);
        if said.len() >= 5 {
            all.extend(said);
            all.push(b'\n');
        }
    }
    all
}

fn escaped(text: &str) -> Vec<u8> {
    let escape = |character: char| {
        if character.is_ascii() { character.to_string() } else { format!("\\u{:04x}", u32::from(character)) }
    };
    text.chars().map(escape).collect::<String>().into_bytes()
}

fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split("\\u");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let character = part.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match character.and_then(char::from_u32) {
            Some(character) => said += &format!("{character}{}", &part[4..]),
            None => said += part,
        }
    }
    said.into_bytes()
}

/// What of the model's answer can be read in bytes, by one or two encodings on top of each other, and how.
fn found(bytes: &[u8], tasks: usize) -> Vec<String> {
    let mut found = Vec::new();
    for outer in &READINGS {
        let once = (outer.read)(bytes);
        for inner in &READINGS {
            // What is compressed twice says nothing in between, at thousands of places.
            if outer.name == "compressed" && inner.name == "compressed" {
                continue;
            }
            let said = String::from_utf8_lossy(&(inner.read)(&once)).to_lowercase();
            let how = format!("{}, {}", outer.name, inner.name);
            found.extend(
                NEEDLES
                    .iter()
                    .filter(|needle| said.contains(**needle))
                    .map(|needle| format!("{how}: {needle}")),
            );
            if said.matches(SHORT).count() >= tasks {
                found.push(format!("{how}: {SHORT}"));
            }
        }
    }
    found
}

#[test]
fn the_models_answer_is_found_in_each_encoding_and_in_two_on_top_of_each_other() {
    for outer in &READINGS {
        for inner in &READINGS {
            // Compressed bytes are no text that one could write once more.
            let Ok(text) = String::from_utf8((inner.write)(LABEL)) else { continue };
            let mut bytes = b"POST /tasks HTTP/1.1\r\nx-hidden: ".to_vec();
            bytes.extend((outer.write)(&text));
            bytes.extend(b"\r\n\r\n{\"n\":7}");
            assert!(!found(&bytes, 1).is_empty(), "{}, {}", outer.name, inner.name);
        }
    }
    assert_eq!(
        found(b"POST /tasks HTTP/1.1\r\nx-receipt: AQcHBwcHBwcHBwcHBwcH\r\n\r\n{\"n\":7}", 1),
        [""; 0]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reviewers_receive_nothing_of_the_models_answer_in_shadow_and_in_blind_tasks() {
    const TASKS: u64 = 4;
    let (queue, ai) = blue_and_green().await;
    ai.set(Make::by(|_, _| {
        let body =
            format!("{{\"label\": {}, \"confidence\": {CONFIDENCE}, \"note\": \"{NOTE}\"}}", json!(LABEL));
        let mut made = Made::json(body);
        made.headers.push(("x-model", HEADER.to_owned()));
        made
    }));
    queue.set(Make::by(|_, _| Made::json(json!({"label": "another"}).to_string())));
    let tap = Tap::before(queue.address()).await;
    let sure = format!("partial: {{threshold: 0.5}}, step_down: false, {DECISIONS}");
    let unsure = sure.replace("0.5", "0.95");
    for (automation, each) in [
        ("shadow, double: 100".to_owned(), 2),
        (format!("shadow, double: 100, {DECISIONS}"), 2),
        (format!("assist, blind: 100, double: 100, {DECISIONS}"), 2),
        (format!("partial, blind: 100, audit: 0, {unsure}"), 1),
        (format!("partial, blind: 0, audit: 100, {unsure}"), 1),
        (format!("partial, audit: 100, double: 100, {sure}"), 2),
        (format!("full, audit: 100, {sure}"), 1),
        // The search does find what is to be seen.
        (format!("assist, blind: 0, {DECISIONS}"), 0),
    ] {
        queue.reset_count();
        tap.take();
        let config = people(&format!("degree: {automation}"), "");
        let setup = Setup::shipped(config).clusters(&[("blue", tap.address()), ("green", ai.address())]);
        let envoy = setup.with_people().start().await;
        Load::to(envoy.address()).connections(2).each(task).send(TASKS).await.assert_all_ok();
        let requests = TASKS * each.max(1);
        wait_for("all that people get", async || (queue.count() == requests).then_some(())).await;
        let received = tap.take();
        let text = String::from_utf8_lossy(&received);
        assert_eq!(text.matches("POST /tasks HTTP/1.1").count() as u64, requests, "{automation}");
        let receipts = if automation.contains(DECISIONS) { requests } else { 0 };
        assert_eq!(text.matches(RECEIPT).count() as u64, receipts, "{automation}");
        let found = found(&received, TASKS as usize);
        assert_eq!(found.is_empty(), each > 0, "{automation}: {found:?} in {text}");
    }
}
