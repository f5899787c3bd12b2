//! Clients: each sends a request on its open connection as soon as it has the answer to the last one, so that
//! Envoy, on a CPU of its own, is what limits them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::http::{Messages, header};

/// Enough that Envoy always has work, few enough that answers do not wait long in its queues.
const CONNECTIONS: usize = 16;
/// Users who send requests, in turn.
pub(crate) const USERS: usize = 10_000;

/// The clients of one Envoy.
pub(crate) struct Load {
    clients: Vec<Client>,
    users: Arc<Users>,
}

/// The users whose requests the clients send.
struct Users {
    next: AtomicUsize,
    /// The first letter of the version that each has seen; 0: none yet.
    seen: Vec<AtomicU8>,
}

impl Load {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut clients = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            clients.push(Client::connect(address).await);
        }
        let seen = (0..USERS).map(|_| AtomicU8::new(0)).collect();
        Self { clients, users: Arc::new(Users { next: AtomicUsize::new(0), seen }) }
    }

    /// Sends requests for so long; how long each took. Every answer is a 200 of an upstream, and every user
    /// keeps their version, or this panics: what measures errors is void.
    pub(crate) async fn send_for(&mut self, duration: Duration) -> Vec<Duration> {
        let end = Instant::now() + duration;
        let running: Vec<_> = self
            .clients
            .drain(..)
            .map(|client| tokio::spawn(send_until(end, client, Arc::clone(&self.users))))
            .collect();
        let mut latencies = Vec::new();
        for client in running {
            let (client, its) = client.await.expect("good answers");
            self.clients.push(client);
            latencies.extend(its);
        }
        latencies
    }

    /// How many users have seen the version whose name begins so.
    pub(crate) fn users_of(&self, version: u8) -> usize {
        self.users.seen.iter().filter(|seen| seen.load(Ordering::Relaxed) == version).count()
    }
}

async fn send_until(end: Instant, mut client: Client, users: Arc<Users>) -> (Client, Vec<Duration>) {
    let mut latencies = Vec::new();
    let mut begun = Instant::now();
    while begun < end {
        let user = users.next.fetch_add(1, Ordering::Relaxed) % USERS;
        let version = client.ask(user).await;
        let before = users.seen[user].swap(version, Ordering::Relaxed);
        assert!(before == 0 || before == version, "user {user} has changed the version");
        let answered = Instant::now();
        latencies.push(answered - begun);
        begun = answered;
    }
    (client, latencies)
}

/// A client with one connection.
pub(crate) struct Client {
    write: OwnedWriteHalf,
    answers: Messages,
    /// The request; only its user changes.
    request: Vec<u8>,
    user_at: usize,
}

const NOBODY: &str = "00000000";

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a connection");
        let (read, write) = stream.into_split();
        let body = r#"{"inputs":[{"name":"x","shape":[1,8],"datatype":"FP32","data":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]}]}"#;
        let request = format!(
            "POST /v2/models/m0500/infer HTTP/1.1\r\nhost: models.example.com\r\nuser-agent: bench\r\n\
             accept: */*\r\ncontent-type: application/json\r\nx-user-id: {NOBODY}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let user_at = request.find(NOBODY).expect("the user");
        Self { write, answers: Messages::of(read), request: request.into_bytes(), user_at }
    }

    /// Sends a user's request and returns the first letter of the version that answered.
    pub(crate) async fn ask(&mut self, user: usize) -> u8 {
        let mut rest = user;
        for digit in self.request[self.user_at..][..NOBODY.len()].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
        self.write.write_all(&self.request).await.expect("an open connection");
        let answer = self.answers.next().await.expect("an answer").expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(answer));
        *header(answer, "x-upstream").and_then(<[u8]>::first).expect("the upstream's name")
    }
}
