//! Bytes on a socket: what no HTTP library would send.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{DEADLINE, Envoy};

/// What a broken upstream does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raw {
    /// Closes the connection instead of an answer.
    CloseBeforeHeaders,
    /// Promises a body and closes in its middle.
    CloseInBody,
    /// Sends something that is no HTTP.
    Garbage,
    /// Says nothing.
    Silent,
    /// Accepts, and leaves whatever comes where it is.
    NeverReads,
    /// The same over HTTP/2, with windows for 16 MiB of each request: a client may send all of it.
    NeverReadsHttp2,
    /// Sends back whatever comes (the far end of a CONNECT tunnel).
    Echo,
}

/// An upstream that is no proper HTTP server.
pub(crate) struct RawUpstream {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl RawUpstream {
    pub(crate) async fn start(behaviour: Raw) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<AtomicU64>::default();
        let server = tokio::spawn({
            let asked = Arc::clone(&asked);
            async move {
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    tokio::spawn(misbehave(stream, behaviour, Arc::clone(&asked)));
                }
            }
        });
        Self { address, asked, server }
    }

    /// Connections on which something has come: each has one request, for none is answered well.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn misbehave(mut stream: TcpStream, behaviour: Raw, asked: Arc<AtomicU64>) {
    if let Raw::Echo = behaviour {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        return;
    }
    if let Raw::NeverReads = behaviour {
        if stream.peek(&mut [0]).await.is_ok_and(|bytes| bytes > 0) {
            asked.fetch_add(1, Ordering::SeqCst);
        }
        tokio::time::sleep(10 * DEADLINE).await;
        return;
    }
    if let Raw::NeverReadsHttp2 = behaviour {
        let mut preface = [0; 24];
        if stream.read_exact(&mut preface).await.is_ok() && stream.write_all(&wide_windows()).await.is_ok() {
            asked.fetch_add(1, Ordering::SeqCst);
        }
        tokio::time::sleep(10 * DEADLINE).await;
        return;
    }
    let mut request = [0; 4096];
    if stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
        asked.fetch_add(1, Ordering::SeqCst);
    }
    let _ = match behaviour {
        Raw::CloseInBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nthe beginning").await
        }
        Raw::Garbage => stream.write_all(b"\x00\xff\x13garbage\r\n\r\n").await,
        Raw::CloseBeforeHeaders | Raw::Echo | Raw::NeverReads | Raw::NeverReadsHttp2 => Ok(()),
        Raw::Silent => {
            tokio::time::sleep(2 * DEADLINE).await;
            Ok(())
        }
    };
    let _ = stream.shutdown().await;
}

/// A server's first frames of HTTP/2 (RFC 9113): SETTINGS with a window of 16 MiB for each stream, the acknowledgement of the
/// client's, and WINDOW_UPDATE for the largest window of the connection.
fn wide_windows() -> Vec<u8> {
    let settings = [&4_u16.to_be_bytes()[..], &(16_u32 << 20).to_be_bytes()].concat();
    let largest = (i32::MAX as u32) - 65_535;
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 0], payload].concat()
    };
    [frame(4, 0, &settings), frame(4, 1, &[]), frame(8, 0, &largest.to_be_bytes())].concat()
}

/// Sends bytes, and returns what comes back until the other side closes or is silent for a while after
/// something came.
pub(crate) async fn raw_exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let closes = bytes.windows(17).any(|bytes| bytes == b"connection: close");
    let (mut read, mut write) = stream.split();
    let write = async {
        // A server that refuses early closes before everything is written.
        let _ = write.write_all(bytes).await;
        std::future::pending().await
    };
    let read = async {
        let mut answer = Vec::new();
        let mut patience = DEADLINE;
        let mut chunk = [0; 16_384];
        while let Ok(Ok(read)) = tokio::time::timeout(patience, read.read(&mut chunk)).await {
            if read == 0 {
                break;
            }
            answer.extend_from_slice(&chunk[..read]);
            if !closes {
                patience = Duration::from_millis(200);
            }
        }
        answer
    };
    tokio::select! { answer = read => answer, answer = write => answer }
}

/// Opens a connection and sends a request's head.
pub(crate) async fn open_raw(envoy: &Envoy, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(envoy.address()).await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
}

/// Reads until `end` has come.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    let mut chunk = [0; 1_024];
    while !String::from_utf8_lossy(&read).contains(end) {
        let n = tokio::time::timeout(DEADLINE, stream.read(&mut chunk))
            .await
            .expect("in time")
            .expect("readable");
        assert!(n > 0, "closed before {end:?}: {:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// A connection's way to an upstream that keeps the bytes which pass to it.
pub(crate) struct Tap {
    address: SocketAddr,
    passed: Arc<Mutex<Vec<u8>>>,
    server: JoinHandle<()>,
}

impl Tap {
    /// Starts one in front of an upstream.
    pub(crate) async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let passed = Arc::<Mutex<Vec<u8>>>::default();
        let server = tokio::spawn({
            let passed = Arc::clone(&passed);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(tap(stream, upstream, Arc::clone(&passed)));
                }
            }
        });
        Self { address, passed, server }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has passed since the last call.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.passed.lock().expect("no panic"))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn tap(mut client: TcpStream, upstream: SocketAddr, passed: Arc<Mutex<Vec<u8>>>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let there = async {
        let mut chunk = [0; 16_384];
        while let Ok(read @ 1..) = from_client.read(&mut chunk).await {
            // Kept before it arrives: what an upstream has got is there to be looked at.
            passed.lock().expect("no panic").extend_from_slice(&chunk[..read]);
            if to_server.write_all(&chunk[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}
