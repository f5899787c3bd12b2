//! etcd's `KV.Txn` in protobuf's wire format: the few messages that a fleet needs, and the name of the cluster as Envoy
//! wants it.
//!
//! Sources: `etcdserverpb/rpc.proto` and `mvccpb/kv.proto` of etcd 3.4 to 3.6, `envoy/config/core/v3/grpc_service.proto`.

use super::call::{Answer, Call, Engine, Failure, Item, Range};
use crate::model::wire::{Malformed, Payload, each_field};

/// `Compare.result`: equal.
const EQUAL: u64 = 0;
/// `Compare.target`: the revision of the last write.
const MOD: u64 = 2;

/// The message `GrpcService` that names a cluster. Never a bare name: some names are valid messages that abort Envoy.
#[must_use]
pub fn service(cluster: &str) -> Vec<u8> {
    let mut envoy_grpc = Vec::new();
    bytes(&mut envoy_grpc, 1, cluster.as_bytes());
    let mut service = Vec::new();
    bytes(&mut service, 1, &envoy_grpc);
    service
}

/// etcd: reads and writes alike are transactions.
pub struct Etcd;

impl Engine for Etcd {
    const SERVICE: &'static str = "etcdserverpb.KV";
    const METHOD: &'static str = "Txn";

    fn encode(call: &Call) -> Vec<u8> {
        encode(call)
    }

    fn decode(call: &Call, message: &[u8]) -> Answer {
        answer(call, message).unwrap_or(Answer::Failed(Failure::Garbled))
    }

    fn failure(status: u32, has_timed_out: bool) -> Failure {
        match status {
            // Envoy says 14 where nothing has come in time.
            _ if has_timed_out => Failure::Timeout,
            4 => Failure::Timeout,
            8 => Failure::Full,
            7 | 16 => Failure::Denied,
            14 => Failure::Unreachable,
            _ => Failure::Other,
        }
    }
}

/// `TxnRequest`.
fn encode(call: &Call) -> Vec<u8> {
    let mut request = Vec::new();
    for (key, revision) in &call.when {
        let mut compare = Vec::new();
        varint(&mut compare, 1, EQUAL);
        varint(&mut compare, 2, MOD);
        bytes(&mut compare, 3, key.as_bytes());
        varint(&mut compare, 6, *revision);
        bytes(&mut request, 1, &compare);
    }
    for (key, value) in &call.put {
        let mut put = Vec::new();
        bytes(&mut put, 1, key.as_bytes());
        bytes(&mut put, 2, value);
        operation(&mut request, 2, &put);
    }
    for key in &call.delete {
        let mut delete = Vec::new();
        bytes(&mut delete, 1, key.as_bytes());
        operation(&mut request, 3, &delete);
    }
    call.read.iter().for_each(|range| operation(&mut request, 1, &read(range)));
    request
}

/// `RequestOp` among those that are done when all comparisons hold.
fn operation(request: &mut Vec<u8>, number: u64, of: &[u8]) {
    let mut operation = Vec::new();
    bytes(&mut operation, number, of);
    bytes(request, 2, &operation);
}

/// `RangeRequest`.
fn read(range: &Range) -> Vec<u8> {
    let mut request = Vec::new();
    bytes(&mut request, 1, range.key.as_bytes());
    if range.is_prefix {
        let mut end = range.key.clone().into_bytes();
        if let Some(last) = end.last_mut() {
            *last = last.saturating_add(1); // keys are text: it is not the greatest byte
        }
        bytes(&mut request, 2, &end);
    }
    if range.newer_than > 0 {
        varint(&mut request, 10, range.newer_than.saturating_add(1));
    }
    request
}

/// `TxnResponse`.
fn answer(call: &Call, message: &[u8]) -> Result<Answer, Malformed> {
    let (mut revision, mut succeeded, mut items) = (None, false, Vec::new());
    each_field(message, |number, payload| {
        match (number, payload) {
            (1, Payload::Bytes(header)) => each_field(header, |number, payload| {
                if let (3, Payload::Varint(of)) = (number, payload) {
                    revision = Some(of);
                }
                Ok(())
            })?,
            (2, Payload::Varint(bit)) => succeeded = bit != 0,
            (3, Payload::Bytes(operation)) => each_field(operation, |number, payload| {
                if let (1, Payload::Bytes(range)) = (number, payload) {
                    items.push(found(range)?);
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    // Without a header it is not etcd's.
    let revision = revision.ok_or(Malformed::Truncated)?;
    match succeeded {
        true if items.len() == call.read.len() => Ok(Answer::Done { revision, items }),
        true => Err(Malformed::Truncated),
        false => Ok(Answer::Refused),
    }
}

/// `RangeResponse`.
fn found(message: &[u8]) -> Result<Vec<Item>, Malformed> {
    let mut items = Vec::new();
    each_field(message, |number, payload| {
        if let (2, Payload::Bytes(pair)) = (number, payload) {
            let mut item = Item { key: String::new(), value: Vec::new(), revision: 0 };
            each_field(pair, |number, payload| {
                match (number, payload) {
                    (1, Payload::Bytes(key)) => item.key = String::from_utf8_lossy(key).into_owned(),
                    (3, Payload::Varint(revision)) => item.revision = revision,
                    (5, Payload::Bytes(value)) => item.value = value.to_vec(),
                    _ => {}
                }
                Ok(())
            })?;
            items.push(item);
        }
        Ok(())
    })?;
    Ok(items)
}

fn bytes(out: &mut Vec<u8>, number: u64, of: &[u8]) {
    number_of(out, number << 3 | 2);
    number_of(out, of.len() as u64);
    out.extend_from_slice(of);
}

fn varint(out: &mut Vec<u8>, number: u64, value: u64) {
    number_of(out, number << 3);
    number_of(out, value);
}

#[allow(clippy::cast_possible_truncation)] // seven bits
fn number_of(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call() -> Call {
        Call {
            when: vec![("a".into(), 300)],
            put: vec![("b".into(), b"v".to_vec())],
            delete: vec!["c".into()],
            read: vec![Range { key: "d/".into(), is_prefix: true, newer_than: 7 }],
        }
    }

    #[test]
    fn a_call_is_what_protoc_writes() {
        // echo 'compare {result: EQUAL target: MOD key: "a" mod_revision: 300} success {request_put {key: "b" value: "v"}}
        //   success {request_delete_range {key: "c"}} success {request_range {key: "d/" range_end: "d0" min_mod_revision: 8}}'
        //   | protoc --encode=etcdserverpb.TxnRequest rpc.proto, with the two defaults written out
        let expected = [
            &[0x0a, 10, 0x08, 0, 0x10, 2, 0x1a, 1, b'a', 0x30, 0xac, 0x02][..],
            &[0x12, 8, 0x12, 6, 0x0a, 1, b'b', 0x12, 1, b'v'],
            &[0x12, 5, 0x1a, 3, 0x0a, 1, b'c'],
            &[0x12, 12, 0x0a, 10, 0x0a, 2, b'd', b'/', 0x12, 2, b'd', b'0', 0x50, 8],
        ]
        .concat();
        assert_eq!(encode(&call()), expected);
        assert_eq!(service("etcd1"), [&[0x0a, 7, 0x0a, 5][..], b"etcd1"].concat());
    }

    #[test]
    fn an_answer_is_read() {
        let pair = [&[0x0a, 1, b'k', 0x10, 1, 0x18, 0xac, 0x02, 0x20, 1, 0x2a, 2][..], b"xy"].concat();
        let range = [&[0x0a, 0, 0x12, pair.len() as u8][..], &pair].concat();
        let operation = [&[0x0a, range.len() as u8][..], &range].concat();
        let message =
            [&[0x0a, 3, 0x18, 0xad, 0x02, 0x10, 1, 0x1a, operation.len() as u8][..], &operation].concat();
        let item = Item { key: "k".into(), value: b"xy".to_vec(), revision: 300 };
        assert_eq!(Etcd::decode(&call(), &message), Answer::Done { revision: 301, items: vec![vec![item]] });
        assert_eq!(Etcd::decode(&call(), &[0x0a, 2, 0x18, 5]), Answer::Refused);
        assert_eq!(Etcd::decode(&call(), b"what else"), Answer::Failed(Failure::Garbled));
        assert_eq!(Etcd::decode(&call(), &[]), Answer::Failed(Failure::Garbled));
        assert_eq!(
            Etcd::decode(&call(), &message[..7]),
            Answer::Failed(Failure::Garbled),
            "a range is missing"
        );
    }

    #[test]
    fn a_status_says_what_is_wrong() {
        let failures = [4, 7, 8, 14, 16, 2].map(|status| Etcd::failure(status, false));
        let expected = [
            Failure::Timeout,
            Failure::Denied,
            Failure::Full,
            Failure::Unreachable,
            Failure::Denied,
            Failure::Other,
        ];
        assert_eq!(failures, expected);
        assert_eq!(Etcd::failure(14, true), Failure::Timeout);
    }

    proptest! {
        #[test]
        fn hostile_answers_never_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Etcd::decode(&call(), &message);
        }
    }
}
