//! Compressed messages of gRPC → the same without compression.

use crate::payload::encoding::{Decoder, Inflaters, Unreadable};
use crate::payload::head::Encoding;

/// The same messages, each without compression. `None`: they have more than `most` bytes.
pub(super) fn inflated(
    mut body: &[u8],
    encoding: Encoding,
    most: usize,
) -> Result<Option<Vec<u8>>, Unreadable> {
    let mut decoder = Decoder::new(encoding, &Inflaters::default());
    let mut plain = Vec::new();
    while let Some((&[flag, a, b, c, d], rest)) = body.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let (message, rest) = rest.split_at_checked(length).ok_or(Unreadable::Malformed)?;
        body = rest;
        plain.extend_from_slice(&[0; 5]);
        let begin = plain.len();
        let mut fits = begin <= most;
        let mut take = |bytes: &[u8]| {
            fits = plain.len().saturating_add(bytes.len()) <= most;
            if fits {
                plain.extend_from_slice(bytes);
            }
            fits
        };
        let mut is_complete = true;
        if flag == 0 {
            take(message);
        } else if !message.is_empty() {
            let decoder = decoder.as_mut().ok_or(Unreadable::Malformed)?;
            decoder.restart();
            decoder.decode(message, &mut take)?;
            is_complete = decoder.is_complete();
        }
        if !fits {
            return Ok(None);
        }
        let length = u32::try_from(plain.len().saturating_sub(begin)).ok().filter(|_| is_complete);
        let length = length.ok_or(Unreadable::Malformed)?.to_be_bytes();
        if let Some(place) = plain.get_mut(begin.saturating_sub(length.len())..begin) {
            place.copy_from_slice(&length);
        }
    }
    if body.is_empty() { Ok(Some(plain)) } else { Err(Unreadable::Malformed) }
}
