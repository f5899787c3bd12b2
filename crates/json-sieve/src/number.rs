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
    // Nineteen digits fit into the mantissa; a double holds it and the power exactly: one rounding, so the nearest.
    let exact = whole.wrapping_add(decimals) <= 19 && mantissa <= 1 << 53;
    let value = match POWERS.get(decimals) {
        Some(power) if exact => {
            let value = mantissa as f64 / power;
            if negative { -value } else { value }
        }
        _ => parse(bytes.get(..at)?)?,
    };
    Some((value, at))
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
