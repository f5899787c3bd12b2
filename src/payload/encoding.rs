//! Compressed bodies: gzip and deflate, inflated as they pass.
//!
//! Checksums are not verified: the client does that, and what is wrong here changes a figure, not an answer.

use std::cell::Cell;
use std::rc::Rc;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_IGNORE_ADLER32, TINFL_FLAG_PARSE_ZLIB_HEADER,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::head::Encoding;

/// How far back deflate may refer.
const WINDOW: usize = 32 * 1024;

/// Compressed bodies of a worker that are read at once while they pass: about 43 KB each.
const PASSING: u32 = 64;

/// Places of a worker for bodies that are being inflated.
///
/// A body takes its place with its first compressed byte and keeps it to its end, however long that takes. So those that pass
/// leave places to others.
#[derive(Clone, Debug)]
pub struct Inflaters {
    free: Rc<Cell<u32>>,
    /// So many are left to others.
    left: u32,
}

impl Default for Inflaters {
    /// Those for bodies that are held as a whole. They are inflated one after the other: one place is theirs.
    fn default() -> Self {
        Self::new(PASSING.saturating_add(1))
    }
}

impl Inflaters {
    /// So many places.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { free: Rc::new(Cell::new(most)), left: 0 }
    }

    /// Those for answers that pass.
    #[must_use]
    pub fn for_answers(&self) -> Self {
        Self { left: 1, ..self.clone() }
    }

    /// Those for requests that pass: clients, who may hold them for long, leave half of the places to answers.
    #[must_use]
    pub fn for_requests(&self) -> Self {
        Self { left: PASSING.div_ceil(2).saturating_add(1), ..self.clone() }
    }

    fn take(&self) -> Option<Taken> {
        self.free.set(self.free.get().checked_sub(1).filter(|free| *free >= self.left)?);
        Some(Taken(Rc::clone(&self.free)))
    }
}

/// A place among the inflaters, until it is dropped.
#[derive(Debug)]
struct Taken(Rc<Cell<u32>>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_add(1));
    }
}

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// No place among the inflaters.
    Memory,
    /// The bytes are not of the encoding.
    Malformed,
}

/// Undoes a content encoding.
#[derive(Debug)]
pub struct Decoder {
    /// The one of its first byte.
    first: Stage,
    stage: Stage,
    inflaters: Inflaters,
    /// From the first compressed byte on.
    inflater: Option<Box<Inflater>>,
}

struct Inflater {
    state: DecompressorOxide,
    window: [u8; WINDOW],
    at: usize,
    _taken: Taken,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Where in a compressed body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Plain,
    /// Behind so many bytes of a gzip member's fixed header, with its flags.
    Fixed(u8, u8),
    /// The length of the extra field: so many of its two bytes, and their value.
    ExtraLength(u8, u16, u8),
    Extra(u16, u8),
    Name(u8),
    Comment(u8),
    HeaderChecksum(u8),
    /// The first byte of what may be zlib or raw deflate.
    Zlib,
    Deflate {
        zlib: bool,
        gzip: bool,
    },
    /// So many bytes of checksum and length.
    Trailer(u8),
    /// Behind the end of a zlib or deflate stream.
    Ended,
}

const FLAG_CHECKSUM: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;

impl Decoder {
    /// A decoder for a body of this encoding; `None` for an encoding that is not read.
    #[must_use]
    pub fn new(encoding: Encoding, inflaters: &Inflaters) -> Option<Self> {
        let first = match encoding {
            Encoding::Identity => Stage::Plain,
            Encoding::Gzip => Stage::Fixed(0, 0),
            Encoding::Deflate => Stage::Zlib,
            Encoding::Other => return None,
        };
        Some(Self { first, stage: first, inflaters: inflaters.clone(), inflater: None })
    }

    /// Another body of the same encoding begins.
    pub fn restart(&mut self) {
        self.stage = self.first;
        self.inflater.iter_mut().for_each(|inflater| inflater.restart());
    }

    /// Decodes a piece. `take` gets the output in pieces of up to 32 KB, and returns false when it wants no more.
    ///
    /// # Errors
    /// Bytes that are not of the encoding, or no place to inflate them.
    pub fn decode(
        &mut self,
        mut bytes: &[u8],
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), Unreadable> {
        if self.stage == Stage::Plain {
            take(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            if let Stage::Deflate { zlib, gzip } = self.stage {
                let inflater = match &mut self.inflater {
                    Some(inflater) => inflater,
                    none => none.insert(Inflater::new(&self.inflaters).ok_or(Unreadable::Memory)?),
                };
                let (status, more) = inflater.inflate(&mut bytes, zlib, take)?;
                if !more {
                    return Ok(());
                }
                if status == TINFLStatus::Done {
                    self.stage = if gzip { Stage::Trailer(0) } else { Stage::Ended };
                }
                continue;
            }
            let Some((&byte, rest)) = bytes.split_first() else { break };
            if self.stage == Stage::Zlib {
                // Compression method 8 with a window of up to 32 KB; as the first byte of raw deflate that would be a
                // stored block of a reserved form or a longer way to write it, which no compressor does.
                self.stage = Stage::Deflate { zlib: byte & 0x0f == 8 && byte >> 4 <= 7, gzip: false };
                continue;
            }
            bytes = rest;
            self.stage = header(self.stage, byte).ok_or(Unreadable::Malformed)?;
            if let (Stage::Deflate { .. }, Some(inflater)) = (self.stage, &mut self.inflater) {
                // Of the member before.
                inflater.restart();
            }
        }
        Ok(())
    }

    /// No more of the body comes: its place is free.
    pub fn end(&mut self) {
        self.inflater = None;
    }

    /// Whether the body may end here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Plain | Stage::Ended | Stage::Trailer(8))
    }
}

impl Inflater {
    fn new(inflaters: &Inflaters) -> Option<Box<Self>> {
        let taken = inflaters.take()?;
        Some(Box::new(Self { state: DecompressorOxide::new(), window: [0; WINDOW], at: 0, _taken: taken }))
    }

    /// Another stream begins.
    fn restart(&mut self) {
        self.state.init();
        self.at = 0;
    }

    /// Inflates until the input or the stream ends; false when the taker wants no more.
    fn inflate(
        &mut self,
        bytes: &mut &[u8],
        zlib: bool,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(TINFLStatus, bool), Unreadable> {
        let zlib = if zlib { TINFL_FLAG_PARSE_ZLIB_HEADER } else { 0 };
        let flags = TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_IGNORE_ADLER32 | zlib;
        loop {
            let (status, read, written) =
                decompress(&mut self.state, bytes, &mut self.window, self.at, flags);
            *bytes = bytes.get(read..).unwrap_or_default();
            let end = self.at.saturating_add(written);
            let output = self.window.get(self.at..end).unwrap_or_default();
            if !output.is_empty() && !take(output) {
                return Ok((status, false));
            }
            self.at = if end >= WINDOW { 0 } else { end };
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::Done | TINFLStatus::NeedsMoreInput => return Ok((status, true)),
                _ => return Err(Unreadable::Malformed),
            }
        }
    }
}

/// The stage behind a byte of a gzip header or trailer; `None` where it is not gzip.
fn header(stage: Stage, byte: u8) -> Option<Stage> {
    Some(match stage {
        Stage::Fixed(at, flags) => match (at, byte) {
            (0, 0x1f) | (1, 0x8b) | (2, 8) | (4..=8, _) => Stage::Fixed(at.saturating_add(1), flags),
            (3, flags) if flags & 0xe0 == 0 => Stage::Fixed(4, flags),
            (9, _) => after_fixed(flags, FLAG_EXTRA),
            _ => return None,
        },
        Stage::ExtraLength(0, _, flags) => Stage::ExtraLength(1, u16::from(byte), flags),
        Stage::ExtraLength(_, low, flags) => match u16::from(byte) << 8 | low {
            0 => after_fixed(flags, FLAG_NAME),
            length => Stage::Extra(length, flags),
        },
        Stage::Extra(1, flags) => after_fixed(flags, FLAG_NAME),
        Stage::Extra(left, flags) => Stage::Extra(left.saturating_sub(1), flags),
        Stage::Name(flags) if byte == 0 => after_fixed(flags, FLAG_COMMENT),
        Stage::Comment(flags) if byte == 0 => after_fixed(flags, FLAG_CHECKSUM),
        Stage::HeaderChecksum(0) => Stage::HeaderChecksum(1),
        Stage::HeaderChecksum(_) => Stage::Deflate { zlib: false, gzip: true },
        // Another member may follow.
        Stage::Trailer(8) if byte == 0x1f => Stage::Fixed(1, 0),
        Stage::Trailer(8) => return None,
        Stage::Trailer(at) => Stage::Trailer(at.saturating_add(1)),
        Stage::Ended => return None,
        stage => stage,
    })
}

/// The optional parts of a gzip header, from the one with this flag on, in their order.
fn after_fixed(flags: u8, from: u8) -> Stage {
    let order = [FLAG_EXTRA, FLAG_NAME, FLAG_COMMENT, FLAG_CHECKSUM];
    let mut left = order.into_iter().skip_while(|flag| *flag != from).filter(|flag| flags & flag != 0);
    match left.next() {
        Some(FLAG_EXTRA) => Stage::ExtraLength(0, 0, flags),
        Some(FLAG_NAME) => Stage::Name(flags),
        Some(FLAG_COMMENT) => Stage::Comment(flags),
        Some(_) => Stage::HeaderChecksum(0),
        None => Stage::Deflate { zlib: false, gzip: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};

    fn gzip(flags: u8, optional: &[u8], text: &[u8]) -> Vec<u8> {
        [&[0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 255], optional, &compress_to_vec(text, 6), &[9; 8]].concat()
    }

    fn decode(
        encoding: Encoding,
        chunks: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<(Vec<u8>, bool), Unreadable> {
        let mut decoder = Decoder::new(encoding, &Inflaters::new(1)).unwrap();
        let mut out = Vec::new();
        for chunk in chunks {
            decoder.decode(chunk, &mut |bytes| {
                out.extend_from_slice(bytes);
                true
            })?;
        }
        Ok((out, decoder.is_complete()))
    }

    fn text() -> Vec<u8> {
        (0..20_000_u32).flat_map(|number| format!("{},", number * number % 977).into_bytes()).collect()
    }

    #[test]
    fn every_form_is_inflated_in_pieces_of_any_size() {
        let text = text();
        let extra = [&[3, 0, 1, 2, 3][..], b"name\0", b"comment\0", &[7, 7]].concat();
        let members = [gzip(0, &[], &text[..1000]), gzip(8, b"n\0", &text[1000..])].concat();
        for (encoding, encoded) in [
            (Encoding::Identity, text.clone()),
            (Encoding::Gzip, gzip(0, &[], &text)),
            (Encoding::Gzip, gzip(30, &extra, &text)),
            (Encoding::Gzip, gzip(4, &[0, 0], &text)),
            (Encoding::Gzip, members),
            (Encoding::Deflate, compress_to_vec_zlib(&text, 6)),
            (Encoding::Deflate, compress_to_vec(&text, 6)),
        ] {
            for step in [1, 2, 7, 1000, usize::MAX] {
                let (out, complete) = decode(encoding, &mut encoded.chunks(step.min(encoded.len()))).unwrap();
                assert!(out == text && complete, "{encoding:?} by {step}");
            }
            for end in [0, 5, encoded.len() / 2].into_iter().filter(|_| encoding != Encoding::Identity) {
                let (out, complete) = decode(encoding, &mut std::iter::once(&encoded[..end])).unwrap();
                assert!(text.starts_with(&out) && !complete, "{encoding:?} until {end}");
            }
        }
    }

    #[test]
    fn bytes_of_another_encoding_are_malformed() {
        let broken = [&gzip(0, &[], b"x")[..10], &[0xff; 20]].concat();
        let behind = [gzip(0, &[], b"x"), b"{}".to_vec()].concat();
        for bytes in [&b"{\"plain\": 1}"[..], &[0x1f, 0x8b, 9], &[0x1f, 0x8b, 8, 0xff], &broken, &behind] {
            let decoded = decode(Encoding::Gzip, &mut std::iter::once(bytes));
            assert_eq!(decoded, Err(Unreadable::Malformed), "{bytes:?}");
        }
        let behind = [compress_to_vec_zlib(b"x", 6), b"{}".to_vec()].concat();
        assert_eq!(decode(Encoding::Deflate, &mut std::iter::once(&behind[..])), Err(Unreadable::Malformed));
    }

    #[test]
    fn inflating_ends_where_no_more_is_wanted() {
        let bomb = gzip(0, &[], &vec![b' '; 50_000_000]);
        let mut decoder = Decoder::new(Encoding::Gzip, &Inflaters::new(1)).unwrap();
        let mut taken = 0;
        let mut take = |bytes: &[u8]| {
            taken += bytes.len();
            taken < 100_000
        };
        decoder.decode(&bomb, &mut take).unwrap();
        assert!((100_000..200_000).contains(&taken), "{taken}");
    }

    /// A body that has had so many bytes.
    fn begun(bytes: usize, inflaters: &Inflaters) -> (Decoder, Result<(), Unreadable>) {
        let mut decoder = Decoder::new(Encoding::Gzip, inflaters).unwrap();
        let decoded = decoder.decode(&gzip(0, &[], b"text")[..bytes], &mut |_| true);
        (decoder, decoded)
    }

    #[test]
    fn only_so_many_inflate_at_once() {
        let inflaters = Inflaters::new(2);
        let (mut first, _second) = (begun(11, &inflaters).0, begun(11, &inflaters).0);
        assert_eq!(begun(11, &inflaters).1, Err(Unreadable::Memory));
        assert!(Decoder::new(Encoding::Identity, &inflaters).unwrap().decode(b"x", &mut |_| true).is_ok());
        first.end();
        let (third, decoded) = begun(11, &inflaters);
        assert_eq!((decoded, begun(11, &inflaters).1), (Ok(()), Err(Unreadable::Memory)));
        drop(third);
        assert_eq!(begun(11, &inflaters).1, Ok(()));
        assert!(Decoder::new(Encoding::Other, &inflaters).is_none());
    }

    #[test]
    fn a_body_takes_no_place_before_its_first_compressed_byte() {
        let inflaters = Inflaters::new(1);
        let waiting: Vec<_> = (0..1000).map(|at| begun(at % 11, &inflaters)).collect();
        assert!(waiting.iter().all(|(_, decoded)| decoded.is_ok()));
        assert_eq!(begun(11, &inflaters).1, Ok(()));
    }

    #[test]
    fn requests_leave_half_of_the_places_to_answers_and_both_leave_one_to_bodies_held_as_a_whole() {
        let whole = Inflaters::default();
        let take = |inflaters: Inflaters| {
            (0..1000).map(|_| begun(11, &inflaters)).take_while(|(_, decoded)| decoded.is_ok()).collect()
        };
        let requests: Vec<_> = take(whole.for_requests());
        let answers: Vec<_> = take(whole.for_answers());
        assert_eq!((requests.len(), answers.len()), (32, 32));
        let (held, decoded) = begun(11, &whole);
        assert_eq!((decoded, begun(11, &whole).1), (Ok(()), Err(Unreadable::Memory)));
        drop((requests, held));
        assert_eq!(take(whole.for_answers()).len(), 32);
    }
}
