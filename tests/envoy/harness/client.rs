//! Clients: one connection each, no retries, nothing hidden.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::DEADLINE;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, complete.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Which upstream answered; Envoy itself names none.
    pub(crate) fn upstream(&self) -> &str {
        self.header("x-upstream").unwrap_or("none")
    }
}

/// gzip of some bytes.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let deflated = miniz_oxide::deflate::compress_to_vec(bytes, 6);
    // Checksum and length are not verified.
    [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &deflated, &[0; 8]].concat()
}

/// A request: method, path, headers (any bytes HTTP allows) and body. `:authority` sets the host.
pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body.into()));
    *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
    *request.uri_mut() = path.parse().expect("a path");
    request.headers_mut().insert("host", HeaderValue::from_static("models.example.com"));
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value).expect("a value");
        match *name {
            ":authority" => drop(request.headers_mut().insert("host", value)),
            name => drop(
                request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value),
            ),
        }
    }
    request
}

/// A connection that stays open.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Connects for HTTP/1.1.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = connect(address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection.with_upgrades());
        Ok(Self::Http1(sender))
    }

    /// Connects for HTTP/2 without TLS.
    pub(crate) async fn open_http2(address: SocketAddr) -> io::Result<Self> {
        let stream = connect(address).await?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self::Http2(sender))
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> io::Result<Answer> {
        tokio::time::timeout(PATIENCE, self.exchange(request)).await.map_err(io::Error::other)?
    }

    async fn exchange(&mut self, mut request: Request<Full<Bytes>>) -> io::Result<Answer> {
        let answer = match self {
            Self::Http1(sender) => {
                sender.ready().await.map_err(io::Error::other)?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                // HTTP/2 takes the host from the URI.
                let host = request.headers_mut().remove("host").expect("a host");
                let host = host.to_str().expect("text");
                *request.uri_mut() = format!("http://{host}{}", request.uri()).parse().expect("a URI");
                sender.send_request(request).await
            }
        };
        let (parts, body) = answer.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes(), trailers })
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream =
        tokio::time::timeout(DEADLINE, TcpStream::connect(address)).await.map_err(io::Error::other)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One GET on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    Connection::open(address).await?.send(request("GET", path, &[], "")).await
}

/// One GET over TLS, whatever the certificate; the answer's head and body as text. By Python, which every user
/// of `make test` has: no TLS library only for this.
pub(crate) async fn https_get(address: SocketAddr, path: &str) -> String {
    let script = "import http.client,ssl,sys\n\
        c=http.client.HTTPSConnection(sys.argv[1],timeout=60,context=ssl._create_unverified_context())\n\
        c.request('GET',sys.argv[2]); r=c.getresponse(); print(r.status,r.headers,r.read().decode())";
    let output =
        tokio::process::Command::new("python3").args(["-c", script, &address.to_string(), path]).output();
    let output = tokio::time::timeout(DEADLINE, output).await.expect("in time").expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
