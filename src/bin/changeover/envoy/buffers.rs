//! What Envoy buffers of a connection, beside the bodies that a rollout has it hold.

use std::collections::BTreeMap;

use changeover::config::schema::{Config, Rollout};

use super::{Findings, Node, protocol, routes};

const FIELD: &str = "per_connection_buffer_limit_bytes";
/// What Envoy buffers where nothing is said.
const DEFAULT: u64 = 1_024 * 1_024;

/// How much of an HTTP/2 request its client may send ahead, and Envoy buffers.
const WINDOW: &str = "initial_stream_window_size";

/// The bytes that Envoy buffers of a connection of a listener, or to a cluster; `None`: without a limit.
fn limit(place: &Node<'_>) -> Option<u64> {
    Some(place.number(FIELD).unwrap_or(DEFAULT)).filter(|limit| *limit > 0)
}

/// Checks what requests come by, and the clusters that copies go to.
pub(crate) fn check(
    config: &Config,
    manager: &Node<'_>,
    listeners: &[&Node<'_>],
    clusters: &BTreeMap<&str, Node<'_>>,
    findings: &mut Findings,
) {
    for rollout in &config.rollouts {
        for listener in listeners {
            tasks(rollout, listener, limit(listener), ("a connection", FIELD, "HTTP/1"), findings);
        }
        if let Some(options) = manager.field("http2_protocol_options") {
            tasks(rollout, &options, options.number(WINDOW), ("a request", WINDOW, "HTTP/2"), findings);
        }
        let Some(mirror) = rollout.mirror.as_ref().filter(|_| routes::is_copied_by_envoy(rollout)) else {
            continue;
        };
        let shadow =
            rollout.versions.get(&mirror.to).and_then(|shadow| clusters.get(shadow.cluster.as_str()));
        if let Some(shadow) = shadow.filter(|shadow| protocol::shares_connections(shadow)) {
            findings.warning(
                shadow,
                format_args!(
                    "copies of rollout {:?} share connections here, and one that the shadow does not read holds up the clients of all: expected \
                     `{}: 1` in its http2_protocol_options, or HTTP/1.1",
                    rollout.name,
                    protocol::STREAMS
                ),
            );
        }
        for place in listeners.iter().copied().chain(shadow) {
            if let Some(limit) = limit(place).filter(|limit| mirror.max_body.bytes() > *limit) {
                findings.warning(
                    place,
                    format_args!(
                        "it buffers {limit} bytes of a connection ({FIELD}), and rollout {:?} copies bodies of up to {} (mirror.max_body): a \
                         shadow that is slow to read would hold clients up; expected a max_body well below",
                        rollout.name, mirror.max_body
                    ),
                );
            }
        }
    }
}

/// A task that is held is buffered as a whole. `limit`: the bytes that Envoy buffers at `place` of a connection or a request, by
/// which field, where clients speak which protocol.
fn tasks(
    rollout: &Rollout,
    place: &Node<'_>,
    limit: Option<u64>,
    (of, field, protocol): (&str, &str, &str),
    findings: &mut Findings,
) {
    let Some(automation) = &rollout.automation else { return };
    let most = automation.ask.max_body;
    if let Some(limit) = limit.filter(|limit| most.bytes() >= *limit) {
        findings.warning(
            place,
            format_args!(
                "it buffers {limit} bytes of {of} ({field}), and rollout {:?} holds tasks of up to {most} (automation.ask.max_body): over {protocol} \
                 Envoy would answer 413 to tasks that people could decide; expected a max_body well below",
                rollout.name
            ),
        );
    }
}
