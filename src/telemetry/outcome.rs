//! How a request ended, from Envoy's state at its end.
//!
//! The status does not decide: an answer cut off in its middle and an answer whose client hung up both have
//! status 200, and Envoy itself answers 503 for upstreams that do not. Envoy's response flags come first.

use super::class::Class;
use super::failures::Failures;
use crate::signal::catalog;

/// How a request ended, as far as the version that served it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The version answered: a 4xx is an answer too.
    Ok,
    /// The version failed: 5xx, no answer, an answer cut off.
    Error,
    /// The client left before an answer began, its own deadline passed, or the version closed a tunnel before it sent anything.
    /// The client may have been the cause, or the version may hang.
    Unanswered,
    /// Envoy or another filter refused the request, or its client left in the middle of the answer: nothing is known
    /// about the version.
    Aborted,
    /// Another cluster than the version's has served the request, or none.
    Elsewhere,
}

impl Outcome {
    /// All outcomes, in the order of their [`Outcome::index`].
    pub const ALL: [Outcome; 5] =
        [Outcome::Ok, Outcome::Error, Outcome::Unanswered, Outcome::Aborted, Outcome::Elsewhere];

    /// How a request ended that the version has answered, well or not.
    #[must_use]
    pub fn answered(failed: bool) -> Self {
        if failed { Self::Error } else { Self::Ok }
    }

    /// The value of the label `outcome`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::Unanswered => catalog::UNANSWERED.name,
            Outcome::Aborted => "aborted",
            Outcome::Elsewhere => "elsewhere",
        }
    }

    /// The position in [`Outcome::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What a request's end shows of the version that served it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// How it ended.
    pub outcome: Outcome,
    /// The version answered that the client is wrong.
    pub client_error: bool,
    /// The client left in the middle of the answer, or a tunnel in which it alone had said something. It may have had enough, or
    /// have seen which version it was; or the version hangs.
    pub broken_off: bool,
}

impl From<Outcome> for Shown {
    /// Without a client error.
    fn from(outcome: Outcome) -> Self {
        Self { outcome, client_error: false, broken_off: false }
    }
}

/// Envoy's response flags (`response.flags`; `CoreResponseFlag` in Envoy's `stream_info.h` gives the bits).
mod flag {
    pub(super) const NO_HEALTHY_UPSTREAM: u64 = 1 << 1;
    pub(super) const UPSTREAM_REQUEST_TIMEOUT: u64 = 1 << 2;
    pub(super) const LOCAL_RESET: u64 = 1 << 3;
    pub(super) const UPSTREAM_REMOTE_RESET: u64 = 1 << 4;
    pub(super) const UPSTREAM_CONNECTION_FAILURE: u64 = 1 << 5;
    pub(super) const UPSTREAM_CONNECTION_TERMINATION: u64 = 1 << 6;
    pub(super) const UPSTREAM_OVERFLOW: u64 = 1 << 7;
    pub(super) const DELAY_INJECTED: u64 = 1 << 9;
    pub(super) const DOWNSTREAM_CONNECTION_TERMINATION: u64 = 1 << 14;
    pub(super) const UPSTREAM_RETRY_LIMIT_EXCEEDED: u64 = 1 << 15;
    pub(super) const STREAM_IDLE_TIMEOUT: u64 = 1 << 16;
    pub(super) const UPSTREAM_MAX_STREAM_DURATION_REACHED: u64 = 1 << 19;
    pub(super) const DURATION_TIMEOUT: u64 = 1 << 22;
    pub(super) const UPSTREAM_PROTOCOL_ERROR: u64 = 1 << 23;
    pub(super) const NO_CLUSTER_FOUND: u64 = 1 << 24;
    pub(super) const DNS_RESOLUTION_FAILED: u64 = 1 << 26;
    pub(super) const DOWNSTREAM_REMOTE_RESET: u64 = 1 << 28;
}

const UPSTREAM_FAILED: u64 = flag::NO_HEALTHY_UPSTREAM
    | flag::UPSTREAM_REQUEST_TIMEOUT
    | flag::LOCAL_RESET
    | flag::UPSTREAM_REMOTE_RESET
    | flag::UPSTREAM_CONNECTION_FAILURE
    | flag::UPSTREAM_CONNECTION_TERMINATION
    | flag::UPSTREAM_OVERFLOW
    | flag::UPSTREAM_MAX_STREAM_DURATION_REACHED
    | flag::UPSTREAM_PROTOCOL_ERROR
    | flag::NO_CLUSTER_FOUND
    | flag::DNS_RESOLUTION_FAILED;

/// A filter held the request back, or retries were used up (of a 409, it may be): the answer says how it went.
const SAYS_NOTHING: u64 = flag::DELAY_INJECTED | flag::UPSTREAM_RETRY_LIMIT_EXCEEDED;

/// The client left.
const LEFT: u64 = flag::DOWNSTREAM_CONNECTION_TERMINATION | flag::DOWNSTREAM_REMOTE_RESET;

/// The stream took too long as a whole: the version's failure, unless it was the client who sent too slowly.
const TOO_LONG: u64 = flag::STREAM_IDLE_TIMEOUT | flag::DURATION_TIMEOUT;

const REQUEST_TIMEOUT: u64 = 408;

/// The status of gRPC of a call that took longer than its client waits.
const DEADLINE_EXCEEDED: u64 = 4;

/// What the client has is still right.
pub const NOT_MODIFIED: u64 = 304;

/// What is known when a request ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    /// `response.code`; `None` or 0 when there was none.
    pub status: Option<u64>,
    /// `response.flags`; 0 when nothing went wrong.
    pub flags: u64,
    /// The status of gRPC, of answers of gRPC only: they have it, or say by their content type that they should.
    pub grpc_status: Option<u64>,
    /// The deadline that came with the request (`grpc-timeout`) has passed. Looked up only where the end
    /// [may be late](End::may_be_late).
    pub is_over: bool,
    /// The request asked for a tunnel (an upgrade or CONNECT): hanging up is how it ends well.
    pub tunnel: bool,
    /// Behind the headers of the answer bytes have come.
    pub sent: bool,
    /// The answer has ended, and not only stopped.
    pub ended: bool,
    /// The client has sent something behind the headers of the request.
    pub asked: bool,
    /// The request asked for another protocol (`upgrade`). Looked up only where the answer began before the request had ended.
    pub upgrade: bool,
    /// The request has a condition that a 304 answers. Looked up only where the status is 304.
    pub conditional: bool,
}

/// The nanoseconds of a `grpc-timeout`: up to eight digits and a unit (gRPC over HTTP/2).
#[must_use]
pub fn grpc_timeout(text: &[u8]) -> Option<u64> {
    let (unit, digits) = text.split_last()?;
    let unit: u64 = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?.checked_mul(unit)
}

/// Whether a deadline has passed for a request that took so long, in nanoseconds. A server starts its own clock, and counts in
/// units that may be coarse: it may be early by a twentieth and a millisecond.
#[must_use]
pub fn is_over(deadline: u64, took: u64) -> bool {
    deadline <= took.saturating_add(took / 20).saturating_add(1_000_000)
}

impl End {
    /// Whether it may have ended because a deadline passed that came with the request. A server of gRPC knows it as well, and a
    /// good one answers nothing else then; so does Envoy where a route has it (`grpc_timeout_header_max`).
    #[must_use]
    pub fn may_be_late(&self) -> bool {
        self.grpc_status == Some(DEADLINE_EXCEEDED)
    }

    /// How the request ended, if these answers are failures; `from_upstream` is asked when flags and status
    /// leave open whether the version, Envoy or another filter gave such an answer.
    pub fn outcome(&self, failures: &Failures, from_upstream: impl FnOnce() -> bool) -> Outcome {
        let has = |flags: u64| self.flags & flags != 0;
        let class = Class::of(self.status);
        // HTTP has no such status, so it is not an answer.
        let failure = class == Class::Other || self.status.is_some_and(|status| failures.has_status(status));
        if self.tunnel && matches!(self.status, Some(101 | 200..=299)) {
            // Once open, hanging up and idling are how a tunnel ends, on either side.
            let closed = flag::UPSTREAM_CONNECTION_TERMINATION;
            return if has(UPSTREAM_FAILED & !closed) {
                Outcome::Error
            } else if !self.sent && !has(LEFT) && (self.ended || has(closed)) {
                Outcome::Unanswered
            } else {
                Outcome::Ok
            };
        }
        if has(UPSTREAM_FAILED) {
            return Outcome::Error;
        }
        if has(TOO_LONG) {
            return if self.status == Some(REQUEST_TIMEOUT) { Outcome::Aborted } else { Outcome::Error };
        }
        if has(!SAYS_NOTHING & !LEFT) {
            // Refusals have flags: rate limit, authorization, fault injection, overload.
            return Outcome::Aborted;
        }
        if class == Class::None {
            return Outcome::Unanswered;
        }
        if has(LEFT) {
            // Headers alone answer nothing: a server of streams sends them before it knows that it will.
            return if self.sent || self.ended { Outcome::Aborted } else { Outcome::Unanswered };
        }
        let is_late = self.is_over && self.may_be_late();
        if is_late && failures.has_grpc(DEADLINE_EXCEEDED) {
            return Outcome::Unanswered;
        }
        let grpc_failure = self.grpc_status.filter(|status| *status != 0);
        // A filter's denial has no flag, but a status (docs/metrics.md).
        let may_be_denied =
            grpc_failure.is_some() || failure || !matches!(class, Class::Informational | Class::Success);
        if may_be_denied && !from_upstream() {
            return Outcome::Aborted;
        }
        Outcome::answered(match grpc_failure {
            Some(status) => failures.has_grpc(status),
            None => failure,
        })
    }

    /// What the end shows when it is this outcome.
    #[must_use]
    pub fn shown(&self, outcome: Outcome) -> Shown {
        let refused = match self.grpc_status {
            Some(status) => status != 0,
            None => match Class::of(self.status) {
                Class::Redirection => self.status != Some(NOT_MODIFIED) || !self.conditional,
                // The version takes the request for one of HTTP.
                Class::Success => self.upgrade,
                class => class == Class::ClientError,
            },
        };
        let left = self.flags & LEFT != 0;
        let is_cut = outcome == Outcome::Aborted && self.status.is_some() && !self.ended;
        let is_silent = self.tunnel && outcome == Outcome::Ok && !self.sent && self.asked;
        let broken_off = left && (is_cut || is_silent);
        Shown { outcome, client_error: refused && outcome == Outcome::Ok, broken_off }
    }
}

/// Whether the response code's details say that the version answered; of an answer that Envoy follows as an internal
/// redirect they say so, too.
#[must_use]
pub fn is_by_upstream(details: &[u8]) -> bool {
    details == b"via_upstream" || is_followed_by_envoy(details)
}

/// Whether Envoy's response flags say that it answered because the version's upstream failed.
#[must_use]
pub fn is_upstream_failure(flags: u64) -> bool {
    flags & UPSTREAM_FAILED != 0
}

/// Whether the response code's details say that Envoy's routes answered themselves: by a redirect, by a direct response, or
/// because there is none for the request.
#[must_use]
pub fn is_by_routes(details: &[u8]) -> bool {
    matches!(details, b"direct_response" | b"route_not_found")
}

/// Whether the response code's details say that Envoy follows the redirect itself.
#[must_use]
fn is_followed_by_envoy(details: &[u8]) -> bool {
    details == b"internal_redirect"
}

/// Whether the first bytes of a WebSocket's server are a Close frame that reports its failure (RFC 6455, 5.5.1 and 7.4.1, and
/// the registry of statuses). One without a status, or with that of a normal end, may answer the client's own; others are about
/// what the client has sent.
#[must_use]
pub fn is_failing_close(bytes: &[u8]) -> bool {
    const CLOSE: u8 = 8;
    match bytes {
        [first, length, high, low, ..] => {
            let status = u16::from_be_bytes([*high, *low]);
            first & 0x0f == CLOSE && length & 0x7f >= 2 && (1_011..=1_014).contains(&status)
        }
        _ => false,
    }
}

/// Whether an answer that has passed the filter to its last byte needs no further look at how its request ended:
/// it is [`Outcome::Ok`]. Most requests end so, and Envoy's flags are expensive to read.
///
/// A small answer has left Envoy by then. A larger one may still wait for a client whose HTTP/2 window is full,
/// and who may leave. What Envoy answers itself with a 2xx it answers well, gRPC excepted: its failures have
/// status 200, in headers or trailers, so what counts here is an answer that ended with a body.
#[must_use]
pub fn is_plainly_ok(status: Option<u64>, body_bytes: u64) -> bool {
    /// The least that an HTTP/2 client lets Envoy send at once, unless it asks for less (RFC 9113, 6.9.2).
    const WINDOW: u64 = 65_535;
    Class::of(status) == Class::Success && (1..=WINDOW).contains(&body_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::release::ErrorWhen;

    fn end(status: u64, flags: u64) -> End {
        End { status: (status != 0).then_some(status), flags, ..End::default() }
    }

    /// Seen on a live Envoy, row by row.
    #[test]
    fn an_outcome_follows_from_flags_and_status_as_seen_on_envoy() {
        use Outcome::{Aborted, Error, Ok, Unanswered};
        let rows = [
            ("upstream 200", end(200, 0), true, Ok),
            ("upstream 404", end(404, 0), true, Ok),
            ("upstream 302", end(302, 0), true, Ok),
            ("RBAC behind the filter", end(403, 0), false, Aborted),
            ("JWT behind the filter", end(401, 0), false, Aborted),
            ("a redirect of the route's", end(301, 0), false, Aborted),
            ("upstream 503", end(503, 0), true, Error),
            ("local 503 without flags", end(503, 0), false, Aborted),
            ("reset before headers", end(503, 64), false, Error),
            ("connection refused", end(503, 32), false, Error),
            ("timeout before headers", end(504, 4), false, Error),
            ("timeout in the body", end(200, 4), false, Error),
            ("upstream dies in the body", end(200, 8_388_608), false, Error),
            ("unknown cluster", end(503, 16_777_216), false, Error),
            ("client leaves before headers", end(0, 16_384), false, Unanswered),
            ("client leaves behind the headers", end(200, 16_384), false, Unanswered),
            ("client leaves in the body", End { sent: true, ..end(200, 16_384) }, false, Aborted),
            ("HTTP/2 client resets", End { sent: true, ..end(200, 268_435_456) }, false, Aborted),
            ("HTTP/2 client resets before headers", end(0, 268_435_456), false, Unanswered),
            ("denied by a filter", end(403, 0), false, Aborted),
            ("redirected by a filter", end(302, 0), false, Aborted),
            ("rate limited before there is a status", end(0, 1 << 11), false, Aborted),
            ("no healthy upstream", end(503, 2), false, Error),
            ("garbage instead of HTTP", end(502, 8_388_608), false, Error),
            ("circuit breaker of the cluster", end(503, 128), false, Error),
            ("per-try timeout", end(504, 4 + 32_768), false, Error),
            ("stream idle timeout", end(504, 65_536), false, Error),
            ("client sends too slowly", end(408, 65_536), false, Aborted),
            ("upstream 503 after retries", end(503, 32_768), true, Error),
            ("upstream 409 after retries", end(409, 32_768), true, Ok),
            ("connection refused after retries", end(503, 32 + 32_768), false, Error),
            ("rate limited", end(429, 1 << 11), false, Aborted),
            ("fault injected", end(503, 1 << 10), false, Aborted),
            ("delayed by a filter, upstream 404", end(404, 1 << 9), true, Ok),
            ("delayed by a filter, upstream 503", end(503, 1 << 9), true, Error),
            ("delayed by a filter, the client leaves", end(0, (1 << 9) + 16_384), false, Unanswered),
            ("bad request line", end(400, 262_144), false, Aborted),
            ("timeout, then the client leaves", end(200, 4 + 16_384), false, Error),
        ];
        for (what, end, from_upstream, expected) in rows {
            assert_eq!(end.outcome(&Failures::default(), || from_upstream), expected, "{what}");
        }
    }

    #[test]
    fn tunnels_end_by_hanging_up() {
        let tunnel = |status, flags| {
            End { tunnel: true, sent: true, ..end(status, flags) }.outcome(&Failures::default(), || true)
        };
        assert_eq!(tunnel(101, 16_384), Outcome::Ok);
        assert_eq!(tunnel(200, 16_384), Outcome::Ok);
        assert_eq!(tunnel(101, 64), Outcome::Ok, "the other side hung up");
        assert_eq!(tunnel(101, 65_536), Outcome::Ok, "idle for long");
        assert_eq!(tunnel(101, 16), Outcome::Error, "the other side reset it");
        assert_eq!(tunnel(503, 0), Outcome::Error);
    }

    #[test]
    fn a_tunnel_that_the_version_closes_before_it_sent_anything_is_unanswered() {
        let silent = |status, flags, ended| {
            End { tunnel: true, ended, ..end(status, flags) }.outcome(&Failures::default(), || true)
        };
        assert_eq!(silent(101, 64, false), Outcome::Unanswered, "its connection was closed");
        assert_eq!(silent(200, 64, false), Outcome::Unanswered);
        assert_eq!(silent(101, 0, true), Outcome::Unanswered, "its stream has ended");
        assert_eq!(silent(101, 16_384, false), Outcome::Ok, "the client left, and had said nothing");
        assert_eq!(silent(101, 16_384 | 64, true), Outcome::Ok, "the client left first");
        assert_eq!(silent(101, 65_536, false), Outcome::Ok, "nothing was said on either side");
        assert_eq!(silent(101, 16, true), Outcome::Error, "it was reset");
    }

    #[test]
    fn a_tunnel_in_which_only_the_client_has_said_something_is_broken_off_when_the_client_leaves() {
        let left = |sent, asked| {
            let end = End { tunnel: true, sent, asked, ..end(101, 16_384) };
            let shown = end.shown(end.outcome(&Failures::default(), || true));
            (shown.outcome, shown.broken_off)
        };
        assert_eq!(left(false, true), (Outcome::Ok, true));
        assert_eq!(left(true, true), (Outcome::Ok, false), "it was answered");
        assert_eq!(left(false, false), (Outcome::Ok, false), "nothing was asked");
    }

    #[test]
    fn an_answer_that_its_client_leaves_in_the_middle_is_broken_off() {
        let broken_off = |end: End| end.shown(end.outcome(&Failures::default(), || true)).broken_off;
        let middle = End { sent: true, ..end(200, 16_384) };
        assert!(broken_off(middle));
        assert!(!broken_off(End { ended: true, ..middle }), "it had passed as a whole");
        assert!(!broken_off(End { flags: 0, ..middle }) && !broken_off(end(0, 16_384)));
        assert!(!broken_off(end(403, 1 << 12)), "denied");
    }

    #[test]
    fn a_client_that_leaves_after_headers_alone_has_had_no_answer() {
        let left =
            |sent, ended| End { sent, ended, ..end(200, 1 << 14) }.outcome(&Failures::default(), || true);
        assert_eq!(left(false, false), Outcome::Unanswered);
        assert_eq!(left(true, false), Outcome::Aborted, "in the middle");
        assert_eq!(left(false, true), Outcome::Aborted, "nothing more was to come");
    }

    #[test]
    fn grpc_fails_inside_a_200() {
        let grpc =
            |status| End { grpc_status: Some(status), ..end(200, 0) }.outcome(&Failures::default(), || true);
        assert_eq!(grpc(0), Outcome::Ok);
        assert_eq!(grpc(5), Outcome::Ok, "NOT_FOUND is an answer");
        let local = End { grpc_status: Some(14), ..end(200, 0) }.outcome(&Failures::default(), || false);
        assert_eq!(local, Outcome::Aborted, "Envoy or another filter has answered");
        for failure in [2, 4, 13, 14, 15] {
            assert_eq!(grpc(failure), Outcome::Error);
        }
        let denial = End { grpc_status: Some(7), ..end(200, 0) };
        assert_eq!(denial.outcome(&Failures::default(), || false), Outcome::Aborted, "by a filter");
    }

    #[test]
    fn a_deadline_of_the_clients_own_that_passes_is_no_error() {
        const EXCEEDED: End = End {
            status: Some(200),
            flags: 0,
            grpc_status: Some(4),
            is_over: true,
            tunnel: false,
            sent: true,
            ended: true,
            asked: true,
            upgrade: false,
            conditional: false,
        };
        let of = |end: End| end.outcome(&Failures::default(), || true);
        assert_eq!(of(EXCEEDED), Outcome::Unanswered);
        assert_eq!(of(End { is_over: false, ..EXCEEDED }), Outcome::Error, "the server's own");
        assert_eq!(of(End { grpc_status: Some(14), ..EXCEEDED }), Outcome::Error);
        assert_eq!(of(End { grpc_status: Some(0), ..EXCEEDED }), Outcome::Ok);
        assert_eq!(EXCEEDED.outcome(&Failures::default(), || false), Outcome::Unanswered, "Envoy's");
        assert_eq!(of(End { flags: 1 << 2, ..EXCEEDED }), Outcome::Error, "the route's timeout");
        let spared = ErrorWhen { status: vec![], grpc_status: vec![13.into()] };
        assert_eq!(EXCEEDED.outcome(&Failures::new(&spared), || true), Outcome::Ok, "no failure here");
    }

    #[test]
    fn a_deadline_of_a_call_is_read_and_compared_with_the_time_it_took() {
        let texts: [(&[u8], _); 9] = [
            (b"1H", Some(3_600_000_000_000)),
            (b"2M", Some(120_000_000_000)),
            (b"30S", Some(30_000_000_000)),
            (b"250m", Some(250_000_000)),
            (b"7u", Some(7_000)),
            (b"9n", Some(9)),
            (b"1", None),
            (b"-1S", None),
            (b"99999999999999999999H", None),
        ];
        for (text, nanoseconds) in texts {
            assert_eq!(grpc_timeout(text), nanoseconds, "{}", text.escape_ascii());
        }
        assert!(is_over(1_000_000_000, 960_000_000) && !is_over(1_000_000_000, 900_000_000));
        assert!(is_over(1_000_000, 0) && !is_over(u64::MAX, 1));
    }

    #[test]
    fn an_answer_that_refuses_or_sends_elsewhere_is_shown() {
        let shown = |end: End| end.shown(end.outcome(&Failures::default(), || true)).client_error;
        for status in [300, 301, 307, 401, 403, 404, 429] {
            assert!(shown(end(status, 0)), "{status}");
        }
        let grpc = |status| End { grpc_status: Some(status), ..end(200, 0) };
        assert!(shown(grpc(5)) && shown(grpc(12)) && !shown(grpc(0)));
        assert!(!shown(grpc(14)) && !shown(end(503, 0)), "an error");
        assert!(!shown(end(404, 1 << 11)) && !shown(end(200, 0)));
        assert!(
            shown(end(304, 0)) && !shown(End { conditional: true, ..end(304, 0) }),
            "what the client has is still right"
        );
        assert!(shown(End { upgrade: true, ..end(200, 0) }), "no tunnel");
    }

    #[test]
    fn which_answers_are_failures_can_be_chosen() {
        let when = ErrorWhen { status: vec!["500".into(), "4xx".into()], grpc_status: vec![5.into()] };
        let failures = Failures::new(&when);
        let of = |end: End, from_upstream| end.outcome(&failures, || from_upstream);
        assert_eq!(of(end(500, 0), true), Outcome::Error);
        assert_eq!(of(end(503, 0), true), Outcome::Ok, "an answer like any other");
        assert_eq!(of(end(503, 0), false), Outcome::Aborted, "Envoy's own");
        assert_eq!((of(end(404, 0), true), of(end(404, 0), false)), (Outcome::Error, Outcome::Aborted));
        assert_eq!(of(end(200, 0), false), Outcome::Ok);
        assert_eq!(of(end(503, 64), false), Outcome::Error, "a reset always is one");
        let grpc = |status| of(End { grpc_status: Some(status), ..end(200, 0) }, true);
        assert_eq!((grpc(5), grpc(13), grpc(u64::MAX)), (Outcome::Error, Outcome::Ok, Outcome::Ok));
    }

    #[test]
    fn a_websocket_whose_server_closes_it_with_a_failure_has_said_nothing() {
        let close = |status: u16| [&[0x88, 2][..], &status.to_be_bytes()].concat();
        for status in [1_011, 1_012, 1_014] {
            assert!(is_failing_close(&close(status)), "{status}");
        }
        for status in [1_000, 1_001, 1_002, 1_008, 1_009, 3_000, 4_000] {
            assert!(!is_failing_close(&close(status)), "{status}");
        }
        for said in [&[][..], &[0x88, 0], &[0x88, 1, 3], &[0x81, 2, 0x03, 0xf3], &[0x88, 0, 0x03, 0xf3]] {
            assert!(!is_failing_close(said), "{said:?}");
        }
    }

    #[test]
    fn small_good_answers_need_no_further_look() {
        assert!(is_plainly_ok(Some(200), 65_535));
        assert!(is_plainly_ok(Some(206), 1));
        assert!(!is_plainly_ok(Some(200), 65_536), "its client may have left");
        assert!(!is_plainly_ok(Some(200), 0), "its headers may have a status of gRPC");
        for status in [None, Some(101), Some(302), Some(429), Some(503)] {
            assert!(!is_plainly_ok(status, 1), "Envoy may have refused");
        }
    }

    #[test]
    fn outcomes_stand_where_their_indices_say() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), at);
        }
    }

    #[test]
    fn statuses_that_http_does_not_have_are_failures() {
        for status in [1, 99, 600, 777, 999, 1_000, u64::MAX] {
            let of = |from_upstream| end(status, 0).outcome(&Failures::default(), || from_upstream);
            assert_eq!((of(true), of(false)), (Outcome::Error, Outcome::Aborted), "{status}");
        }
    }
}
