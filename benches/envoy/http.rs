//! As much of HTTP/1.1 as load and upstream need to stay cheap beside Envoy: messages with a content-length,
//! one after the other on a connection.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// Larger than any message here.
const ROOM: usize = 8 << 10;

/// Reads messages from a connection.
pub(crate) struct Messages {
    stream: OwnedReadHalf,
    buffer: Box<[u8; ROOM]>,
}

impl Messages {
    pub(crate) fn of(stream: OwnedReadHalf) -> Self {
        Self { stream, buffer: Box::new([0; ROOM]) }
    }

    /// The next message, head and body; `None` when the other side has hung up. What is behind it is lost: who
    /// sends here waits for the answer before the next message.
    pub(crate) async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return if filled == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            filled += read;
            if let Some(size) = size(&self.buffer[..filled])
                && size <= filled
            {
                return Ok(Some(&self.buffer[..size]));
            }
        }
    }
}

/// The size of the message that begins here, if its head is complete.
fn size(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let body = header(&bytes[..head], "content-length").map_or(0, |length| {
        std::str::from_utf8(length).ok().and_then(|length| length.parse().ok()).expect("a length")
    });
    Some(head + body)
}

/// The value of a header whose name is in lower case, as Envoy writes them.
pub(crate) fn header<'a>(message: &'a [u8], name: &str) -> Option<&'a [u8]> {
    message
        .split(|byte| *byte == b'\n')
        .take_while(|line| line.len() > 1)
        .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b": "))
        .map(<[u8]>::trim_ascii_end)
}
