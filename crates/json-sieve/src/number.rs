//! Numbers and literals.

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// A token between two delimiters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token {
    Number(f64),
    Bool(bool),
    Null,
    NotANumber,
    Infinite,
}

/// Reads a plain number without exponent that is followed by another byte: nearly all there are. Returns its length.
/// Everything else, wrong or only unusual, is left to [`token`].
#[inline(always)]
pub(crate) fn plain(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let start = negative as usize;
    let mut at = start;
    let mut mantissa = 0_u64;
    let mut digit = digit_at(bytes, at)?;
    let leading_zero = digit == 0;
    loop {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(digit as u64);
        at = at.wrapping_add(1);
        match digit_at(bytes, at) {
            Some(next) => digit = next,
            None => break,
        }
    }
    let whole = at.wrapping_sub(start);
    if leading_zero && whole > 1 {
        return None;
    }
    let mut decimals = 0;
    if bytes.get(at) == Some(&b'.') {
        let point = at;
        at = at.wrapping_add(1);
        while let Some(eight) = bytes.get(at..).and_then(eight_digits) {
            mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(eight);
            at = at.wrapping_add(8);
        }
        while let Some(digit) = digit_at(bytes, at) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(digit as u64);
            at = at.wrapping_add(1);
        }
        decimals = at.wrapping_sub(point).wrapping_sub(1);
        if decimals == 0 {
            return None;
        }
    }
    if at > crate::MAX_TOKEN || !crate::scan::delimits(*bytes.get(at)?) {
        return None;
    }
    // Nineteen digits fit into the mantissa.
    let is_whole = whole.wrapping_sub(leading_zero as usize).wrapping_add(decimals) <= 19;
    let value = match POWERS.get(decimals) {
        // A double holds both exactly: one rounding, so the nearest.
        Some(power) if is_whole && mantissa <= 1 << 53 => Some(mantissa as f64 / power),
        _ if is_whole => quotient(mantissa, decimals),
        _ => None,
    };
    let value = match value {
        Some(value) => {
            if negative {
                -value
            } else {
                value
            }
        }
        None => parse(bytes.get(..at)?)?,
    };
    Some((value, at))
}

/// 2^(63 + b) / 5^n, rounded down, where b is the number of bits of 5^n: 64 bits. None for n = 0, which needs none.
#[allow(clippy::indexing_slicing)] // the compiler computes it
const RECIPROCALS: [u64; 23] = {
    let mut all = [0; 23];
    let mut power = 1_u64;
    let mut n = 1;
    while n < all.len() {
        power = power.wrapping_mul(5);
        all[n] = ((1_u128 << (127 - power.leading_zeros())) / power as u128) as u64;
        n += 1;
    }
    all
};

/// The double nearest to `mantissa` / 10^`decimals`; `None` where 64 bits of the quotient do not tell.
///
/// The product with a reciprocal that was rounded down is too small by less than 2^64, so its upper half by at most one.
/// Only where that one decides which of two doubles is nearer, or could, more bits are needed.
#[inline(never)]
fn quotient(mantissa: u64, decimals: usize) -> Option<f64> {
    if decimals == 0 {
        return Some(mantissa as f64);
    }
    let reciprocal = *RECIPROCALS.get(decimals)?;
    let zeros = mantissa.leading_zeros();
    let upper = upper_half(mantissa.checked_shl(zeros)?, reciprocal);
    let below = 11_u32.wrapping_sub(upper.leading_zeros());
    let half = 1_u64 << below.wrapping_sub(1);
    let rest = upper & half.wrapping_mul(2).wrapping_sub(1);
    if rest == half || rest == half.wrapping_sub(1) {
        return None;
    }
    let fraction = (upper >> below).wrapping_add((rest > half) as u64);
    // 5^n has 1 + floor(n log2(5)) bits.
    let bits = 1_u32.wrapping_add((decimals as u32).wrapping_mul(2_378) >> 10);
    // The exponent, biased as a double has it: from 900 to 1,100.
    let exponent =
        1_024_u32.wrapping_add(below).wrapping_sub(zeros).wrapping_sub(decimals as u32).wrapping_sub(bits);
    Some(fraction as f64 * f64::from_bits((exponent as u64) << 52))
}

/// The upper 64 of the 128 bits of a product.
#[inline(always)]
fn upper_half(one: u64, other: u64) -> u64 {
    const LOW: u64 = 0xffff_ffff;
    let (one_high, one_low, other_high, other_low) = (one >> 32, one & LOW, other >> 32, other & LOW);
    let middle = one_high.wrapping_mul(other_low).wrapping_add(one_low.wrapping_mul(other_low) >> 32);
    let middle_too = one_low.wrapping_mul(other_high).wrapping_add(middle & LOW);
    one_high.wrapping_mul(other_high).wrapping_add(middle >> 32).wrapping_add(middle_too >> 32)
}

/// The number that the first eight bytes are, when all are digits.
#[inline(always)]
fn eight_digits(bytes: &[u8]) -> Option<u64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(*bytes.first_chunk()?);
    // A digit is 0x30 to 0x39: its upper half is 3, also with six more.
    let upper = ONES.wrapping_mul(0xf0);
    if (word & upper) | (word.wrapping_add(ONES.wrapping_mul(6)) & upper) >> 4 != ONES.wrapping_mul(0x33) {
        return None;
    }
    // Neighbours are joined: digits to pairs, pairs to fours, fours to eight. The first digit is the lowest byte.
    let digits = word & ONES.wrapping_mul(0x0f);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff)
}

#[inline(always)]
fn digit_at(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = bytes.get(at)?.wrapping_sub(b'0');
    if digit < 10 { Some(digit) } else { None }
}

/// Reads a whole token; `None` where it is neither number nor literal.
pub(crate) fn token(bytes: &[u8]) -> Option<Token> {
    Some(match bytes {
        b"null" => Token::Null,
        b"true" => Token::Bool(true),
        b"false" => Token::Bool(false),
        b"NaN" | b"-NaN" => Token::NotANumber,
        b"Infinity" | b"-Infinity" | b"Inf" | b"-Inf" => Token::Infinite,
        _ if is_number(bytes) => match parse(bytes)? {
            value if value.is_finite() => Token::Number(value),
            _ => Token::Infinite,
        },
        _ => return None,
    })
}

/// The nearest double, as the standard library finds it.
fn parse(bytes: &[u8]) -> Option<f64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Whether a token has the form of a number in RFC 8259, §6.
fn is_number(bytes: &[u8]) -> bool {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let whole = digits(rest);
    let (number, mut rest) = rest.split_at_checked(whole).unwrap_or_default();
    if whole == 0 || whole > 1 && number.first() == Some(&b'0') {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let decimals = digits(fraction);
        rest = fraction.get(decimals..).unwrap_or_default();
        if decimals == 0 {
            return false;
        }
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent =
            exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nearest(mantissa: u64, decimals: usize) -> f64 {
        format!("{mantissa}e-{decimals}").parse().unwrap()
    }

    #[test]
    fn quotients_that_lie_between_two_doubles_are_not_guessed() {
        // Odd numbers of 54 bits are as far from one double as from the next.
        for middle in [(1_u64 << 53) + 1, (1 << 54) - 1, 0x002a_aaaa_aaaa_aaab, 0x0035_5555_5555_5555] {
            for (decimals, power) in [(1, 10_u64), (2, 100), (3, 1_000)] {
                for mantissa in [middle * power - 1, middle * power, middle * power + 1] {
                    let found = quotient(mantissa, decimals);
                    let expected = nearest(mantissa, decimals);
                    assert!(found.is_none_or(|found| found == expected), "{mantissa}e-{decimals}: {found:?}");
                }
                assert_eq!(quotient(middle * power, decimals), None, "{middle}");
            }
        }
    }

    #[test]
    fn eight_digits_are_digits_alone() {
        assert_eq!(eight_digits(b"12345678"), Some(12_345_678));
        assert_eq!(eight_digits(b"000000019"), Some(1));
        assert_eq!(eight_digits(b"1234567"), None);
        for at in 0..8 {
            for byte in (0..=255).filter(|byte: &u8| !byte.is_ascii_digit()) {
                let mut bytes = *b"90909090";
                bytes[at] = byte;
                assert_eq!(eight_digits(&bytes), None, "{byte} at {at}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

        #[test]
        fn a_quotient_is_the_nearest_double(mantissa in 1..=u64::MAX, zeros in 0..64_u32, decimals in 0..23_usize) {
            let mantissa = (mantissa >> zeros).max(1);
            if let Some(found) = quotient(mantissa, decimals) {
                prop_assert_eq!(found, nearest(mantissa, decimals), "{}e-{}", mantissa, decimals);
            }
        }

        #[test]
        fn a_plain_number_is_what_the_standard_library_reads(text in "-?(0|[1-9][0-9]{0,20})([.](0{0,5})[0-9]{1,24})?") {
            let found = plain(format!("{text},").as_bytes());
            prop_assert_eq!(found, Some((text.parse().unwrap(), text.len())));
        }
    }
}
