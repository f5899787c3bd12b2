//! Upstreams: HTTP servers in the test's process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// What an upstream answers.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// This status; the body is the upstream's name.
    Status(u16),
    /// 200 with this body and these headers.
    Body(Bytes, Vec<(&'static str, &'static str)>),
    /// What a function makes of the request and its number, from 1.
    Made(Make),
    /// 302 with these headers.
    Redirect(Vec<(&'static str, &'static str)>),
    /// So, but not before the gate is opened ([`Upstream::open_gate`]).
    Gated(Box<Behaviour>),
    /// So, after this time.
    After(Duration, Box<Behaviour>),
    /// Every nth request so, the others 200.
    OneIn(u64, Box<Behaviour>),
    /// The status that the request asks for by `x-status`; requests that ask for none so.
    AsAsked(Box<Behaviour>),
    /// 200 and the first bytes of the body; the rest never comes.
    Stall,
    /// The headers of a stream of this content type, before the request's body has come; the first byte never comes.
    SilentStream(&'static str),
    /// What was sent, as it comes, in its encoding.
    Echo,
    /// gRPC: one message, then this status in the trailers; without messages in the headers.
    Grpc { status: &'static str, messages: usize },
    /// gRPC: one message, then status 0 and this in the trailers.
    GrpcWithTrailer(&'static str, &'static str),
    /// gRPC: this message behind its length, then status 0 in the trailers.
    GrpcMessage(Bytes),
    /// gRPC: one message; the status never comes.
    GrpcStall,
    /// Accepts an upgrade and sends back what comes.
    Upgrade,
    /// Accepts an upgrade and says nothing, whatever comes.
    UpgradeInSilence,
    /// Accepts an upgrade and hangs up.
    UpgradeAndClose,
    /// Accepts an upgrade, sends a WebSocket's Close frame with "internal error" and hangs up.
    UpgradeAndFail,
    /// Accepts an upgrade, says `hello` and hangs up.
    UpgradeAndGreet,
}

impl Behaviour {
    /// 200, but not before the gate is opened.
    pub(crate) fn gate() -> Self {
        Self::Status(200).gated()
    }

    /// The same, but not before the gate is opened.
    pub(crate) fn gated(self) -> Self {
        Self::Gated(Box::new(self))
    }

    /// The same, after this time.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self::After(time, Box::new(self))
    }

    /// Whether a function makes the answer, which sees the requests.
    fn is_made(&self) -> bool {
        match self {
            Self::Made(_) => true,
            Self::Gated(then) | Self::After(_, then) => then.is_made(),
            _ => false,
        }
    }
}

type MakesAnswer = dyn Fn(u64, &Seen) -> Made + Send + Sync;

/// Makes answers.
#[derive(Clone)]
pub(crate) struct Make(Arc<MakesAnswer>);

impl Make {
    pub(crate) fn by(make: impl Fn(u64, &Seen) -> Made + Send + Sync + 'static) -> Behaviour {
        Behaviour::Made(Self(Arc::new(make)))
    }
}

impl std::fmt::Debug for Make {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Make")
    }
}

/// An answer that was made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    /// 200 unless given.
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The body, each piece by itself.
    pub(crate) pieces: Vec<Bytes>,
}

impl Made {
    /// 200 with this JSON.
    pub(crate) fn json(body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status: None, headers, pieces: vec![body.into()] }
    }

    /// 200 with these server-sent events.
    pub(crate) fn events(events: impl IntoIterator<Item = String>) -> Self {
        let headers = vec![("content-type", "text/event-stream".to_owned())];
        let pieces = events.into_iter().map(|event| format!("data: {event}\n\n").into()).collect();
        Self { status: None, headers, pieces }
    }
}

/// A request as an upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

struct State {
    name: &'static str,
    count: AtomicU64,
    seen: Mutex<Vec<Seen>>,
    behaviour: Mutex<Behaviour>,
    gate: watch::Sender<bool>,
}

/// An HTTP server that speaks 1.1 and 2. Every answer names it in `x-upstream`.
pub(crate) struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

/// How many requests are remembered in full.
const REMEMBERED: usize = 1_000;

impl Upstream {
    /// Starts a server that answers 200.
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::start_with(name, Behaviour::Status(200)).await
    }

    /// Starts a server.
    pub(crate) async fn start_with(name: &'static str, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            name,
            count: AtomicU64::new(0),
            seen: Mutex::default(),
            behaviour: Mutex::new(behaviour),
            gate: watch::channel(false).0,
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, server }
    }

    /// What its answers say that it is.
    pub(crate) fn name(&self) -> &'static str {
        self.state.name
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests it has received.
    pub(crate) fn count(&self) -> u64 {
        self.state.count.load(Ordering::SeqCst)
    }

    /// Counts from 0 again.
    pub(crate) fn reset_count(&self) {
        self.reset_to(0);
    }

    /// Counts from there again.
    pub(crate) fn reset_to(&self, count: u64) {
        self.state.count.store(count, Ordering::SeqCst);
    }

    /// The first requests since the last call, in full.
    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.seen.lock().expect("no panic"))
    }

    /// Waits until so many requests have come in full, and takes them. [`Self::count`] rises with their heads.
    pub(crate) async fn wait_for_seen(&self, count: usize) -> Vec<Seen> {
        let mut all = Vec::new();
        super::wait_for("requests in full", async || {
            all.append(&mut self.take_seen());
            (all.len() >= count).then_some(())
        })
        .await;
        all
    }

    /// Changes what it answers.
    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().expect("no panic") = behaviour;
    }

    /// Lets answers through that wait at the gate, and all later ones.
    pub(crate) fn open_gate(&self) {
        self.state.gate.send_replace(true);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves until it is dropped, with all connections.
async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let count = state.count.fetch_add(1, Ordering::SeqCst) + 1;
    let mut behaviour = state.behaviour.lock().expect("no panic").clone();
    if let Behaviour::AsAsked(otherwise) = behaviour {
        let asked = request.headers().get("x-status").and_then(|status| status.to_str().ok()?.parse().ok());
        behaviour = asked.map_or(*otherwise, Behaviour::Status);
    }
    if let Behaviour::OneIn(every, then) = behaviour {
        behaviour = if count.is_multiple_of(every) { *then } else { Behaviour::Status(200) };
    }
    let mut response = respond(&state, behaviour, (count, request)).await;
    response.headers_mut().insert("x-upstream", HeaderValue::from_static(state.name));
    Ok(response)
}

async fn respond(
    state: &Arc<State>,
    behaviour: Behaviour,
    (count, request): (u64, Request<Incoming>),
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let remember = |body: Bytes| {
        let mut seen = state.seen.lock().expect("no panic");
        if seen.len() < REMEMBERED {
            let (method, target) = (parts.method.to_string(), parts.uri.to_string());
            seen.push(Seen { method, target, headers: parts.headers.clone(), body });
        }
    };
    match &behaviour {
        Behaviour::Echo => {
            remember(Bytes::new());
            let mut answer = Response::new(body.boxed_unsync());
            let encoding = parts.headers.get("content-encoding").cloned();
            answer.headers_mut().extend(encoding.map(|encoding| (hyper::header::CONTENT_ENCODING, encoding)));
            return answer;
        }
        Behaviour::SilentStream(content_type) => {
            remember(Bytes::new());
            let silence = stream::once(async move {
                let _unread = body;
                std::future::pending().await
            });
            let mut answer = Response::new(StreamBody::new(silence).boxed_unsync());
            answer.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
            return answer;
        }
        Behaviour::Upgrade
        | Behaviour::UpgradeInSilence
        | Behaviour::UpgradeAndClose
        | Behaviour::UpgradeAndFail
        | Behaviour::UpgradeAndGreet => {
            remember(Bytes::new());
            let upgrade = hyper::upgrade::on(Request::from_parts(parts, body));
            tokio::spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                if let Behaviour::UpgradeAndClose = behaviour {
                    return;
                }
                let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
                let said: &[u8] = match behaviour {
                    Behaviour::UpgradeAndFail => &[0x88, 2, 0x03, 0xf3],
                    Behaviour::UpgradeAndGreet => b"hello",
                    _ => b"",
                };
                if !said.is_empty() {
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut write, said).await;
                    return;
                }
                if matches!(behaviour, Behaviour::UpgradeInSilence) {
                    let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
                } else {
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                }
            });
            let mut response = Response::new(full(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
            response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
            return response;
        }
        _ => {}
    }
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if !behaviour.is_made() {
        remember(body.clone());
    }
    let behaviour = wait(state, behaviour).await;
    match behaviour {
        Behaviour::Made(make) => {
            let (method, target) = (parts.method.to_string(), parts.uri.to_string());
            made(make.0(count, &Seen { method, target, headers: parts.headers, body }))
        }
        Behaviour::Status(status) => {
            let mut response = Response::new(full(state.name));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            response
        }
        Behaviour::Body(body, headers) => {
            let mut response = Response::new(full(body));
            for (name, value) in headers {
                response.headers_mut().append(name, HeaderValue::from_static(value));
            }
            response
        }
        Behaviour::Redirect(headers) => {
            let mut response = Response::new(full(state.name));
            *response.status_mut() = StatusCode::FOUND;
            for (name, value) in headers {
                response.headers_mut().append(name, HeaderValue::from_static(value));
            }
            response
        }
        Behaviour::Stall => {
            let first = stream::once(async { Ok(Frame::data(Bytes::from_static(b"the first bytes"))) });
            Response::new(StreamBody::new(first.chain(stream::pending())).boxed_unsync())
        }
        Behaviour::Grpc { status, messages } => grpc(status, vec![GRPC_MESSAGE; messages], None),
        Behaviour::GrpcWithTrailer(name, value) => grpc("0", vec![GRPC_MESSAGE], Some((name, value))),
        Behaviour::GrpcMessage(message) => grpc("0", vec![message], None),
        Behaviour::GrpcStall => {
            let first = stream::once(async { Ok(Frame::data(GRPC_MESSAGE)) });
            of_grpc(Response::new(StreamBody::new(first.chain(stream::pending())).boxed_unsync()))
        }
        Behaviour::Echo
        | Behaviour::SilentStream(_)
        | Behaviour::Gated(_)
        | Behaviour::After(..)
        | Behaviour::Upgrade
        | Behaviour::UpgradeInSilence
        | Behaviour::UpgradeAndClose
        | Behaviour::UpgradeAndFail
        | Behaviour::UpgradeAndGreet
        | Behaviour::OneIn(..)
        | Behaviour::AsAsked(..) => {
            panic!("answered above")
        }
    }
}

/// Waits as long as a behaviour does, and returns what it does then.
async fn wait(state: &State, mut behaviour: Behaviour) -> Behaviour {
    loop {
        behaviour = match behaviour {
            Behaviour::Gated(then) => {
                let _ = state.gate.subscribe().wait_for(|open| *open).await;
                *then
            }
            Behaviour::After(time, then) => {
                tokio::time::sleep(time).await;
                *then
            }
            now => return now,
        };
    }
}

fn made(made: Made) -> Response<Body> {
    let Made { status, headers, pieces } = made;
    // One piece at a time goes to the connection, as a server writes what comes out of a model.
    let pieces = stream::iter(pieces).then(async |piece| {
        tokio::task::yield_now().await;
        Ok(Frame::data(piece))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status.unwrap_or(200)).expect("a status");
    for (name, value) in headers {
        response.headers_mut().append(name, value.parse().expect("a value"));
    }
    response
}

/// Five bytes, uncompressed, behind their length.
const GRPC_MESSAGE: Bytes = Bytes::from_static(b"\0\0\0\0\x05hello");

fn grpc(
    status: &'static str,
    messages: Vec<Bytes>,
    trailer: Option<(&'static str, &'static str)>,
) -> Response<Body> {
    let status = HeaderValue::from_static(status);
    of_grpc(if messages.is_empty() {
        let mut response = Response::new(full(""));
        response.headers_mut().insert("grpc-status", status);
        response
    } else {
        let mut trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), status)]);
        trailers.extend(trailer.map(|(name, value)| {
            (name.parse::<HeaderName>().expect("a name"), HeaderValue::from_static(value))
        }));
        let frames = messages.into_iter().map(Frame::data).chain([Frame::trailers(trailers)]).map(Ok);
        Response::new(StreamBody::new(stream::iter(frames.collect::<Vec<_>>())).boxed_unsync())
    })
}

fn of_grpc(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Two upstreams, `blue` (the stable version's) and `green`.
pub(crate) async fn blue_and_green() -> (Upstream, Upstream) {
    (Upstream::start("blue").await, Upstream::start("green").await)
}
