//! Bodies of several messages: server-sent events and gRPC.

/// What a stream of events consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes of an event's data.
    Data(&'a [u8]),
    /// The event ends.
    End,
    /// The event `[DONE]`, by which OpenAI's protocol ends a stream.
    Done,
}

const DONE: &[u8] = b"[DONE]";
const DATA: &[u8] = b"data";
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Divides `text/event-stream` into events, as the HTML standard has it. Only `data` matters; other fields and comments
/// are skipped.
#[derive(Debug, Default)]
pub struct Events {
    line: Line,
    /// The last byte was a carriage return: a line feed behind it belongs to it.
    returned: bool,
    /// So many bytes of the event are those of `[DONE]`, and nothing else came.
    done: usize,
    /// The event has data.
    begun: bool,
    /// Data was handed on.
    told: bool,
    /// Bytes since the last event ended.
    length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// In the byte order mark before the first line; so many bytes of it have come.
    Mark(usize),
    /// In a field's name; so many bytes are those of `data`.
    Name(usize),
    /// Behind the colon: a space there is left out.
    Space,
    Data,
    Skipped,
}

impl Default for Line {
    fn default() -> Line {
        Line::Mark(0)
    }
}

impl Events {
    /// Divides the next bytes. Returns how many: fewer, where an event is longer than `most`.
    pub fn read(&mut self, mut bytes: &[u8], most: u64, take: &mut dyn FnMut(Piece<'_>)) -> usize {
        let all = bytes.len();
        // What is left where the event begins, as far as it is known here.
        let mut begin = all;
        while let Some((&byte, rest)) = bytes.split_first() {
            let length = self.length.saturating_add(begin.saturating_sub(bytes.len()) as u64);
            let room = usize::try_from(most.saturating_sub(length)).unwrap_or(usize::MAX);
            if room == 0 {
                break;
            }
            let returned = std::mem::take(&mut self.returned);
            if byte == b'\n' && returned {
                bytes = rest;
                continue;
            }
            if matches!(byte, b'\r' | b'\n') {
                self.returned = byte == b'\r';
                bytes = rest;
                if self.line_ends(take) {
                    (self.length, begin) = (0, bytes.len());
                }
                continue;
            }
            match self.line {
                Line::Mark(matched) if MARK.get(matched) == Some(&byte) => {
                    bytes = rest;
                    self.line = Line::Mark(matched.saturating_add(1));
                }
                // A part of a mark is the beginning of another name.
                Line::Mark(1 | 2) => self.line = Line::Skipped,
                Line::Mark(_) => self.line = Line::Name(0),
                Line::Name(matched) => {
                    bytes = rest;
                    self.line = match byte {
                        b':' if matched == DATA.len() => self.data_begins(take),
                        byte if DATA.get(matched) == Some(&byte) => Line::Name(matched.saturating_add(1)),
                        _ => Line::Skipped,
                    };
                }
                Line::Space => {
                    self.line = Line::Data;
                    if byte == b' ' {
                        bytes = rest;
                    }
                }
                Line::Data | Line::Skipped => {
                    let length = json_sieve::line_end(bytes.get(..room).unwrap_or(bytes));
                    let (run, rest) = bytes.split_at_checked(length).unwrap_or_default();
                    bytes = rest;
                    if self.line == Line::Data {
                        self.data(run, take);
                    }
                }
            }
        }
        self.length = self.length.saturating_add(begin.saturating_sub(bytes.len()) as u64);
        all.saturating_sub(bytes.len())
    }

    /// The stream ends. An event without its empty line counts; whether its document is complete is for its reader to say.
    pub fn finish(&mut self, take: &mut dyn FnMut(Piece<'_>)) {
        self.event_ends(take);
        *self = Events::default();
    }

    /// Several lines of data are one text with line feeds.
    fn data_begins(&mut self, take: &mut dyn FnMut(Piece<'_>)) -> Line {
        if std::mem::replace(&mut self.begun, true) {
            self.data(b"\n", take);
        }
        Line::Space
    }

    fn data(&mut self, mut run: &[u8], take: &mut dyn FnMut(Piece<'_>)) {
        while !self.told {
            let Some((byte, rest)) = run.split_first() else { return };
            if DONE.get(self.done) == Some(byte) {
                self.done = self.done.saturating_add(1);
                run = rest;
            } else {
                self.told = true;
                take(Piece::Data(DONE.get(..self.done).unwrap_or_default()));
            }
        }
        if !run.is_empty() {
            take(Piece::Data(run));
        }
    }

    /// Whether the event ends with the line.
    fn line_ends(&mut self, take: &mut dyn FnMut(Piece<'_>)) -> bool {
        // An empty line ends the event; a field without a colon has no value.
        let ends = std::mem::replace(&mut self.line, Line::Name(0)) == Line::Name(0);
        if ends {
            self.event_ends(take);
        }
        ends
    }

    fn event_ends(&mut self, take: &mut dyn FnMut(Piece<'_>)) {
        if self.told {
            take(Piece::End);
        } else if self.done == DONE.len() {
            take(Piece::Done);
        } else if self.begun && self.done > 0 {
            take(Piece::Data(DONE.get(..self.done).unwrap_or_default()));
            take(Piece::End);
        }
        (self.done, self.begun, self.told) = (0, false, false);
    }
}

/// What a message of gRPC consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// It begins.
    Begins {
        /// How many bytes it has.
        length: u64,
        /// They are compressed.
        is_compressed: bool,
    },
    /// Its next bytes.
    Bytes(&'a [u8]),
}

/// Messages of gRPC: five bytes of flag and length, then the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grpc {
    /// Messages that were begun.
    pub messages: u64,
    /// Bytes of all, as they were announced.
    pub bytes: u64,
    /// Bytes of the longest.
    pub longest: u64,
    /// Messages that are compressed.
    pub compressed: u64,
    /// So many bytes of a prefix, and the length they say.
    prefix: (u8, u32),
    /// Bytes of the message that are still to come.
    left: u64,
}

impl Grpc {
    /// Counts the messages in the next bytes, and hands on those of the first one. False when they are not gRPC: a flag
    /// that is neither 0 nor 1.
    pub fn read(&mut self, mut bytes: &[u8], first: &mut dyn FnMut(Part<'_>)) -> bool {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (part, rest) = bytes.split_at_checked(skipped).unwrap_or_default();
                (bytes, self.left) = (rest, self.left.saturating_sub(skipped as u64));
                if self.messages == 1 {
                    first(Part::Bytes(part));
                }
                continue;
            }
            let Some((&byte, rest)) = bytes.split_first() else { break };
            bytes = rest;
            match self.prefix {
                (0, _) if byte > 1 => return false,
                (0, _) => {
                    self.compressed = self.compressed.saturating_add(u64::from(byte));
                    self.prefix = (1, 0);
                }
                (4, high) => {
                    self.left = u64::from(high << 8 | u32::from(byte));
                    self.messages = self.messages.saturating_add(1);
                    self.bytes = self.bytes.saturating_add(self.left);
                    self.longest = self.longest.max(self.left);
                    self.prefix = (0, 0);
                    if self.messages == 1 {
                        first(Part::Begins { length: self.left, is_compressed: self.compressed > 0 });
                    }
                }
                (at, high) => self.prefix = (at.saturating_add(1), high << 8 | u32::from(byte)),
            }
        }
        true
    }

    /// Whether the body may end here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.left == 0 && self.prefix.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
        let mut found = vec![String::new()];
        let mut events = Events::default();
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Data(bytes) => found.last_mut().unwrap().push_str(std::str::from_utf8(bytes).unwrap()),
            Piece::End => found.push(String::new()),
            Piece::Done => {
                assert_eq!(found.last().unwrap(), "");
                found.insert(found.len() - 1, "DONE".to_owned());
            }
        };
        for chunk in chunks {
            assert_eq!(events.read(chunk, u64::MAX, &mut take), chunk.len());
        }
        events.finish(&mut take);
        assert_eq!(found.pop(), Some(String::new()));
        found
    }

    #[test]
    fn a_stream_is_divided_into_events_however_it_is_split() {
        let cases: [(&str, &[&str]); 16] = [
            ("data: {\"a\":1}\n\ndata: [DONE]\n\n", &["{\"a\":1}", "DONE"]),
            ("data:{}\r\n\r\ndata:  x\r\r", &["{}", " x"]),
            (": comment\nevent: e\nid: 1\ndata: a\nretry: 5\n\n", &["a"]),
            ("data: a\ndata: b\ndata\ndata:\n\n", &["a\nb\n"]),
            ("data: [DONE] \n\n", &["[DONE] "]),
            ("data: [DO\n\ndata: [1]\n\n", &["[DO", "[1]"]),
            ("data: [DONE]\ndata: x\n\n", &["[DONE]\nx"]),
            ("datax: a\n\ndat: b\n\ndata\n\ndata:\n\n\n\n", &[]),
            ("data: a", &["a"]),
            ("data: [DONE]", &["DONE"]),
            ("\n\n\r\n", &[]),
            ("data: [DONE]\r\n\r\ndata: a\r\n\r\n", &["DONE", "a"]),
            // One byte order mark at the beginning is none of the stream.
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]),
            ("\u{feff}\n\ndata: a\n\n", &["a"]),
            ("\u{feff}\u{feff}data: a\n\ndata: b\n\n", &["b"]),
            ("\u{feff}", &[]),
        ];
        for (stream, expected) in cases {
            for at in 0..=stream.len() {
                let (head, tail) = stream.as_bytes().split_at(at);
                assert_eq!(events([head, tail].into_iter()), expected, "{stream:?} at {at}");
            }
            assert_eq!(events(stream.as_bytes().chunks(1)), expected, "{stream:?} byte by byte");
        }
    }

    #[test]
    fn an_event_beyond_the_bound_is_read_up_to_it_however_it_is_split() {
        let stream = b"data: abc\n\n: 12\n\ndata: abcdef\n\ndata: x\n\n";
        for step in 1..stream.len() {
            let (mut events, mut found, mut read) = (Events::default(), Vec::new(), 0);
            for chunk in stream.chunks(step) {
                let taken = events.read(chunk, 11, &mut |piece| {
                    if let Piece::Data(bytes) = piece {
                        found.extend_from_slice(bytes);
                    }
                });
                read += taken;
                if taken < chunk.len() {
                    break;
                }
            }
            assert_eq!((found.as_slice(), read), (&b"abcabcde"[..], 11 + 6 + 11), "by {step}");
        }
    }

    #[test]
    fn grpc_messages_are_counted_however_they_are_split() {
        let body = [&[0, 0, 0, 0, 3][..], b"abc", &[1, 0, 0, 1, 0], &[7; 256], &[0, 0, 0, 0, 0]].concat();
        let ignore = &mut |_: Part<'_>| {};
        for step in 1..body.len() {
            let (mut grpc, mut first, mut begun) = (Grpc::default(), Vec::new(), 0);
            let take = &mut |part: Part<'_>| match part {
                Part::Begins { length, is_compressed } => begun += u64::from(!is_compressed) * length,
                Part::Bytes(bytes) => first.extend_from_slice(bytes),
            };
            assert!(body.chunks(step).all(|chunk| grpc.read(chunk, take)));
            assert_eq!((begun, first.as_slice()), (3, &b"abc"[..]));
            assert_eq!((grpc.messages, grpc.bytes, grpc.longest, grpc.compressed), (3, 259, 256, 1));
            assert!(grpc.is_complete());
        }
        let mut grpc = Grpc::default();
        assert!(grpc.read(&body[..7], ignore) && !grpc.is_complete());
        assert!(!Grpc::default().read(b"{}", ignore));
        assert!(Grpc::default().read(&[0, 255, 255, 255, 255, 1], ignore));
    }
}
