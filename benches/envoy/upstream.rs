//! The model servers behind Envoy: they answer at once, over connections that stay open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::http::Messages;

/// One model server, counting what it answers.
pub(crate) struct Upstream {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    answered: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Upstream {
    /// Starts a server. It names itself in each answer.
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let answered = Arc::<AtomicUsize>::default();
        let body = format!(
            r#"{{"model_name":"m0500","model_version":"{name}","outputs":[{{"name":"y","shape":[1],"datatype":"INT64","data":[7]}}]}}"#
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-upstream: {name}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer: Arc<[u8]> = answer.into_bytes().into();
        let server = tokio::spawn({
            let answered = Arc::clone(&answered);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&answered)));
                }
            }
        });
        Self { name, address, answered, server }
    }

    /// How many requests it has answered.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(stream: TcpStream, answer: Arc<[u8]>, answered: Arc<AtomicUsize>) {
    stream.set_nodelay(true).expect("an open connection");
    let (read, mut write) = stream.into_split();
    let mut requests = Messages::of(read);
    // Envoy hangs up when it ends.
    while let Ok(Some(_)) = requests.next().await {
        answered.fetch_add(1, Ordering::Relaxed);
        if write.write_all(&answer).await.is_err() {
            break;
        }
    }
}
