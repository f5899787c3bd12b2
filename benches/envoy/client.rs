//! Clients that send documents, each one after the other on a connection of its own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::harness::{Envoy, request};

/// A client that sends one document after the other.
pub(crate) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    /// The document that it begins with, and how many it has sent.
    first: usize,
    sent: usize,
}

/// How long one request took.
pub(crate) struct Took {
    /// Until the first byte of the answer's body.
    pub(crate) first_byte: Duration,
    /// Until the last one.
    pub(crate) whole: Duration,
}

impl Client {
    /// `first`: the document that it begins with.
    pub(crate) async fn connect(envoy: &Envoy, first: usize) -> Self {
        let stream = TcpStream::connect(envoy.address()).await.expect("a connection");
        stream.set_nodelay(true).expect("a connection");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self { sender, first, sent: 0 }
    }

    /// How many documents it has sent.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// Sends for so long.
    pub(crate) async fn send_for(&mut self, duration: Duration, path: &str, asked: &[Bytes]) -> Vec<Took> {
        let end = Instant::now() + duration;
        let mut all = Vec::new();
        while Instant::now() < end {
            let body = asked[(self.first + self.sent) % asked.len()].clone();
            self.sent += 1;
            let begun = Instant::now();
            self.sender.ready().await.expect("an open connection");
            let request = request("POST", path, &[("content-type", b"application/json")], body);
            let answer = self.sender.send_request(request).await.expect("an answer");
            assert_eq!(answer.status(), 200);
            let mut body = answer.into_body();
            let mut first = None;
            while let Some(frame) = body.frame().await {
                frame.expect("a whole body");
                first.get_or_insert_with(|| begun.elapsed());
            }
            all.push(Took { first_byte: first.expect("a body"), whole: begun.elapsed() });
        }
        all
    }
}
