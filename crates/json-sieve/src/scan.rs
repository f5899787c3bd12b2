//! Finding the next byte that matters, eight bytes at a time.
//!
//! A word of eight bytes is tested with plain integer arithmetic, which is fast on wasm32 without SIMD and needs no
//! unsafe code. The lowest bit set in each mask is exact; bits above it may be wrong, so only the lowest is used.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// A mask whose lowest set bit is the high bit of the first byte that is zero.
#[inline(always)]
fn zero(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    zero(word ^ ONES.wrapping_mul(byte as u64))
}

/// Bytes below `0x20`: control characters, which text must not hold unescaped.
#[inline(always)]
fn control(word: u64) -> u64 {
    word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word & HIGHS
}

#[inline(always)]
fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// How many of the bytes begin a character, when they are UTF-8.
#[inline(always)]
fn begins(word: u64) -> u64 {
    let continuations = (word >> 7) & !(word >> 6) & ONES;
    8_u64.wrapping_sub(continuations.count_ones() as u64)
}

#[inline(always)]
fn first(mask: u64) -> usize {
    (mask.trailing_zeros() / 8) as usize
}

/// The position of the first quote, bracket or brace; the length when there is none.
#[inline]
pub(crate) fn structure(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut at = 0_usize;
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*head);
        // `[` and `{`, `]` and `}` differ by this bit; no other byte becomes one of the two.
        let folded = word | ONES.wrapping_mul(0x20);
        let mask = equal(word, b'"') | equal(folded, b'{') | equal(folded, b'}');
        if mask != 0 {
            return at.wrapping_add(first(mask));
        }
        rest = tail;
        at = at.wrapping_add(8);
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'[' | b']' | b'{' | b'}'));
    at.wrapping_add(found.unwrap_or(rest.len()))
}

/// The position of the first quote or backslash; the length when there is none.
#[inline]
pub(crate) fn quote(bytes: &[u8]) -> usize {
    either::<b'"', b'\\'>(bytes)
}

/// The position of the first carriage return or line feed; the length when there is none. For streams of events, whose
/// documents stand in lines.
#[must_use]
pub fn line_end(bytes: &[u8]) -> usize {
    either::<b'\r', b'\n'>(bytes)
}

/// The position of the first of two bytes; the length when there is none.
#[inline(always)]
fn either<const ONE: u8, const OTHER: u8>(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut at = 0_usize;
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*head);
        let mask = equal(word, ONE) | equal(word, OTHER);
        if mask != 0 {
            return at.wrapping_add(first(mask));
        }
        rest = tail;
        at = at.wrapping_add(8);
    }
    let found = rest.iter().position(|byte| *byte == ONE || *byte == OTHER);
    at.wrapping_add(found.unwrap_or(rest.len()))
}

/// The position of the first quote, backslash or control character (the length when there is none), and how many
/// characters begin before it.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> (usize, u64) {
    let mut rest = bytes;
    let mut at = 0_usize;
    let mut characters = 0_u64;
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*head);
        if equal(word, b'"') | equal(word, b'\\') | control(word) != 0 {
            break;
        }
        characters = characters.wrapping_add(begins(word));
        rest = tail;
        at = at.wrapping_add(8);
    }
    for byte in rest {
        if matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            break;
        }
        characters = characters.wrapping_add(!is_continuation(*byte) as u64);
        at = at.wrapping_add(1);
    }
    (at, characters)
}

/// Where quotes, backslashes and brackets stand in a word: the high bits of their bytes, each exact.
struct Marks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
}

#[inline(always)]
fn marks(bytes: [u8; 8]) -> Marks {
    let word = u64::from_le_bytes(bytes);
    let (low, ascii) = (word & !HIGHS, !word & HIGHS);
    // Of seven bits only zero leaves the high bit.
    let equal = |low: u64, byte: u8| HIGHS.wrapping_sub(low ^ ONES.wrapping_mul(byte as u64)) & ascii;
    let folded = low | ONES.wrapping_mul(0x20);
    Marks {
        quotes: equal(low, b'"'),
        backslashes: equal(low, b'\\'),
        opens: equal(folded, b'{'),
        closes: equal(folded, b'}'),
    }
}

impl Marks {
    #[inline(always)]
    fn any(&self) -> u64 {
        self.quotes | self.backslashes | self.opens | self.closes
    }
}

/// After so many pieces of 16 bytes in which nothing stands that matters, a text or numbers are expected, which
/// [`structure`] and [`quote`] skip faster.
const QUIET: u32 = 3;

/// Skips what is not read, as far as brackets stay open and no backslash comes: from `depth` open brackets, in a string
/// or not. Returns how many bytes: a multiple of 16.
///
/// Few branches depend on where quotes and brackets stand, which no branch predictor learns.
#[inline]
pub(crate) fn nested(bytes: &[u8], depth: &mut u64, in_text: &mut bool) -> usize {
    let mut at = 0_usize;
    let mut rest = bytes;
    // 1 in every byte where a string goes on.
    let mut before = if *in_text { ONES } else { 0 };
    let mut open = *depth;
    let mut quiet = 0_u32;
    while let Some((&[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p], tail)) = rest.split_first_chunk::<16>()
    {
        let (first, second) = (marks([a, b, c, d, e, f, g, h]), marks([i, j, k, l, m, n, o, p]));
        if first.any() | second.any() != 0 {
            let (inside, outside) = strings(first.quotes, before);
            let (inside, outside_too) = strings(second.quotes, (inside >> 56).wrapping_mul(ONES));
            let both = |one: u64, other: u64| {
                let shifted = (one & outside) >> 1;
                (shifted | other & outside_too).count_ones() as u64
            };
            let opens = both(first.opens, second.opens);
            let closes = both(first.closes, second.closes);
            if first.backslashes | second.backslashes != 0 || closes >= open {
                break;
            }
            open = open.wrapping_add(opens).wrapping_sub(closes);
            before = (inside >> 56).wrapping_mul(ONES);
            quiet = 0;
        } else {
            quiet = quiet.wrapping_add(1);
        }
        rest = tail;
        at = at.wrapping_add(16);
        if quiet == QUIET {
            break;
        }
    }
    (*depth, *in_text) = (open, before != 0);
    at
}

/// Which bytes of a word are in a string (1 in each), and which are not (the high bit), when strings go on from before.
#[inline(always)]
fn strings(quotes: u64, before: u64) -> (u64, u64) {
    // Where an odd number of quotes stands up to the byte.
    let inside = ((quotes >> 7).wrapping_mul(ONES) ^ before) & ONES;
    (inside, (inside ^ ONES) << 7)
}

/// Whether a byte ends a number or a literal.
#[inline(always)]
pub(crate) fn delimits(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t' | b':' | b'"' | b'[' | b'{')
}

#[inline(always)]
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes among which those that matter are frequent.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            3 => any::<u8>(),
            1 => proptest::sample::select(b"\"\\[]{}\r\n\x00\x1f\x20\x7f\x80\xc3\xff\x5a\x7a\x02\x22".to_vec()),
            8 => proptest::sample::select(b"0123456789,. eE-".to_vec()),
        ];
        proptest::collection::vec(byte, 0..64)
    }

    proptest! {
        #[test]
        fn words_find_what_bytes_find(bytes in bytes()) {
            let position = |wanted: &dyn Fn(&u8) -> bool| bytes.iter().position(wanted).unwrap_or(bytes.len());
            prop_assert_eq!(structure(&bytes), position(&|byte| b"\"[]{}".contains(byte)));
            prop_assert_eq!(quote(&bytes), position(&|byte| b"\"\\".contains(byte)));
            prop_assert_eq!(line_end(&bytes), position(&|byte| b"\r\n".contains(byte)));
            let (length, characters) = text(&bytes);
            prop_assert_eq!(length, position(&|byte| *byte < 0x20 || b"\"\\".contains(byte)));
            let begin = bytes[..length].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
            prop_assert_eq!(characters, begin as u64);
        }

        #[test]
        fn pieces_skip_what_bytes_skip(
            bytes in proptest::collection::vec(
                prop_oneof![
                    3 => proptest::sample::select(b"\"[]{}".to_vec()),
                    1 => any::<u8>(),
                    12 => proptest::sample::select(b"abc 0123\xc3\xa4".to_vec()),
                ],
                0..200,
            ),
            depth in 1..6_u64,
            in_text: bool,
        ) {
            let (mut open, mut inside) = (depth, in_text);
            let skipped = nested(&bytes, &mut open, &mut inside);
            prop_assert_eq!(skipped % 16, 0);
            let (mut expected, mut quoted) = (depth, in_text);
            for byte in &bytes[..skipped] {
                match byte {
                    b'"' => quoted = !quoted,
                    b'[' | b'{' if !quoted => expected = expected.wrapping_add(1),
                    b']' | b'}' if !quoted => expected = expected.wrapping_sub(1),
                    b'\\' => prop_assert!(false, "a backslash was skipped"),
                    _ => {}
                }
                prop_assert!(expected > 0, "the end was skipped");
            }
            prop_assert_eq!((open, inside), (expected, quoted));
        }
    }
}
