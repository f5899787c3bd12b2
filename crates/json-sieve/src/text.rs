//! Text that is read: its length, and a bounded beginning of it.

use crate::{HELD, scan};

/// A string that is being read, behind its opening quote.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The beginning, unescaped.
    pub(crate) held: Vec<u8>,
    pub(crate) bytes: u64,
    pub(crate) characters: u64,
    escape: Escape,
    /// The first half of a surrogate pair, whose second half may follow.
    high: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    /// Behind `\u`: digits read, and their value.
    Hex(u8, u16),
}

/// How far a string was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// It goes on in the next chunk.
    More,
    /// It ended; its beginning is this part of the chunk.
    Whole(&'a [u8], u64),
    /// It ended; its beginning is held.
    Held,
    /// An escape that JSON does not have, or a control character.
    Malformed,
}

impl Reading {
    pub(crate) fn begin(&mut self) {
        self.held.clear();
        (self.bytes, self.characters, self.escape, self.high) = (0, 0, Escape::None, None);
    }

    /// Reads on until the closing quote, and moves `bytes` behind what was read.
    #[inline]
    pub(crate) fn read<'a>(&mut self, bytes: &mut &'a [u8]) -> Read<'a> {
        loop {
            if self.escape != Escape::None {
                let Some((&byte, rest)) = bytes.split_first() else { return Read::More };
                if !self.escaped(byte) {
                    return Read::Malformed;
                }
                *bytes = rest;
                continue;
            }
            let (length, characters) = scan::text(bytes);
            let (run, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
            match rest.split_first() {
                Some((b'"', rest)) if self.bytes == 0 && self.high.is_none() => {
                    *bytes = rest;
                    return Read::Whole(run, characters);
                }
                Some((byte, rest)) => {
                    self.run(run, characters);
                    match byte {
                        b'"' => {
                            self.lone();
                            *bytes = rest;
                            return Read::Held;
                        }
                        b'\\' => self.escape = Escape::Begun,
                        _ => return Read::Malformed,
                    }
                    *bytes = rest;
                }
                None => {
                    self.run(run, characters);
                    *bytes = &[];
                    return Read::More;
                }
            }
        }
    }

    fn run(&mut self, run: &[u8], characters: u64) {
        if run.is_empty() {
            return;
        }
        self.lone();
        self.hold(run);
        self.characters = self.characters.wrapping_add(characters);
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = HELD.saturating_sub(self.held.len()).min(bytes.len());
        self.held.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.bytes = self.bytes.wrapping_add(bytes.len() as u64);
    }

    fn push(&mut self, character: char) {
        self.hold(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.characters = self.characters.wrapping_add(1);
    }

    /// Nothing that completes the first half of a pair followed it.
    fn lone(&mut self) {
        if self.high.take().is_some() {
            self.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// One byte of an escape; false when JSON does not have it.
    fn escaped(&mut self, byte: u8) -> bool {
        match self.escape {
            Escape::Hex(digits, value) => {
                let Some(digit) = char::from(byte).to_digit(16) else { return false };
                let value = value << 4 | digit as u16;
                if digits == 3 {
                    self.escape = Escape::None;
                    self.unit(value);
                } else {
                    self.escape = Escape::Hex(digits.wrapping_add(1), value);
                }
            }
            _ => {
                self.escape = Escape::None;
                let plain = match byte {
                    b'u' => {
                        self.escape = Escape::Hex(0, 0);
                        return true;
                    }
                    b'"' | b'\\' | b'/' => byte,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return false,
                };
                self.lone();
                self.push(char::from(plain));
            }
        }
        true
    }

    /// A UTF-16 code unit.
    fn unit(&mut self, unit: u16) {
        if let Some(high) = self.high
            && let Some(Ok(character)) = char::decode_utf16([high, unit]).next()
        {
            self.high = None;
            self.push(character);
            return;
        }
        self.lone();
        match unit {
            0xd800..=0xdbff => self.high = Some(unit),
            _ => self.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }
}
