//! How an answer comes, and when it has begun.

use crate::payload::head::is_grpc;

/// A kind of answer that streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streamed {
    /// A call of gRPC.
    Grpc,
    /// A call of gRPC whose client is still sending: it is not known which side speaks next.
    TwoWay,
    /// Server-sent events.
    Events,
    /// An upgrade.
    Tunnel,
}

impl Streamed {
    /// The kind of an answer whose headers have come, and behind them more is to; `None`: it does not stream. `is_switching`:
    /// whether its status switches protocols, which is asked where there is no content type.
    #[must_use]
    pub fn of(content_type: Option<&[u8]>, is_switching: impl FnOnce() -> bool) -> Option<Self> {
        match content_type {
            Some(content_type) if is_grpc(content_type) => Some(Self::Grpc),
            Some(content_type) => content_type.starts_with(b"text/event-stream").then_some(Self::Events),
            None => is_switching().then_some(Self::Tunnel),
        }
    }

    /// Whether its headers begin it, for it is not known which side speaks first.
    #[must_use]
    pub fn begins_with_headers(self) -> bool {
        matches!(self, Self::Tunnel | Self::TwoWay)
    }
}

/// Whether headers begin an answer of this kind. A server may send them before it has anything to say, so what follows
/// (`goes_on`) begins it where something does. `is_early`: the client is still sending, which an upgrade's or a tunnel's never
/// ends.
#[must_use]
pub fn headers_begin(kind: Option<Streamed>, is_early: bool, goes_on: bool) -> bool {
    is_early || !goes_on || kind.is_some_and(Streamed::begins_with_headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_begin_no_answer_with_a_body() {
        for kind in [None, Some(Streamed::Grpc), Some(Streamed::Events)] {
            assert!(headers_begin(kind, false, false) && !headers_begin(kind, false, true), "{kind:?}");
        }
        for kind in [Streamed::Tunnel, Streamed::TwoWay] {
            assert!(headers_begin(Some(kind), false, true), "{kind:?}");
        }
    }

    #[test]
    fn headers_that_come_while_the_client_sends_begin_an_answer() {
        for kind in [None, Some(Streamed::Grpc), Some(Streamed::Events)] {
            assert!(headers_begin(kind, true, true), "an upload, CONNECT, or an upgrade with a content type");
        }
    }

    #[test]
    fn the_headers_of_a_streamed_answer_say_how_it_streams() {
        let of = |content_type: &str| Streamed::of(Some(content_type.as_bytes()), || panic!("it has a type"));
        assert_eq!(of("application/grpc+proto"), Some(Streamed::Grpc));
        assert_eq!(of("text/event-stream; charset=utf-8"), Some(Streamed::Events));
        assert_eq!((of("application/x-ndjson"), of("application/json")), (None, None));
        assert_eq!(
            (Streamed::of(None, || true), Streamed::of(None, || false)),
            (Some(Streamed::Tunnel), None)
        );
    }
}
