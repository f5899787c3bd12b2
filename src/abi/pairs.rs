//! Headers as the ABI has them: their number, the sizes of names and values, then names and values, each with a NUL behind
//! it. All numbers are 32 bits, the lowest first.

/// Writes headers as pairs.
#[must_use]
pub fn write<N: AsRef<[u8]>, V: AsRef<[u8]>>(headers: &[(N, V)]) -> Vec<u8> {
    let texts = headers.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]);
    join(&texts.collect::<Vec<_>>())
}

/// Names and values in turn, in one piece of memory.
fn join(texts: &[&[u8]]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let size = texts.iter().fold(4, |size: usize, text| size.saturating_add(text.len()).saturating_add(5));
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(&number(texts.len() / 2));
    texts.iter().for_each(|text| bytes.extend_from_slice(&number(text.len())));
    for text in texts {
        bytes.extend_from_slice(text);
        bytes.push(0);
    }
    bytes
}

/// All headers, names and values, in order. `pairs` that are cut off have those that are there as a whole.
pub fn all(pairs: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    places(pairs).filter_map(|(texts, at, name_size, value_size)| {
        let (name, rest) = texts.get(at..)?.split_at_checked(name_size)?;
        Some((name, rest.get(1..)?.get(..value_size)?))
    })
}

/// The values of the headers with that name, in order. `pairs` that are cut off have those that are there as a whole.
pub fn values<'a>(pairs: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    // Most names are told apart by their length.
    let as_long = places(pairs).filter(|(_, _, name_size, _)| *name_size == name.len());
    as_long.filter_map(|(texts, at, name_size, value_size)| {
        let (found, rest) = texts.get(at..)?.split_at_checked(name_size)?;
        let value = rest.get(1..)?.get(..value_size)?;
        (found == name.as_bytes()).then_some(value)
    })
}

/// Where headers stand: all texts, then for each the place of its name, and the sizes of name and value.
fn places(pairs: &[u8]) -> impl Iterator<Item = (&[u8], usize, usize, usize)> {
    let (count, sizes) = pairs.split_first_chunk().unwrap_or((&[0; 4], &[]));
    let (sizes, texts) = sizes.split_at_checked(number(*count).saturating_mul(8)).unwrap_or_default();
    let mut at = 0_usize;
    sizes.as_chunks().0.iter().map(move |[a, b, c, d, e, f, g, h]| {
        let (name_size, value_size) = (number([*a, *b, *c, *d]), number([*e, *f, *g, *h]));
        let header = (texts, at, name_size, value_size);
        at = at.saturating_add(name_size).saturating_add(value_size).saturating_add(2);
        header
    })
}

fn number(bytes: [u8; 4]) -> usize {
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{values, write};

    fn everything(pairs: &[u8]) -> Vec<(&[u8], &[u8])> {
        super::all(pairs).collect()
    }

    fn all<'a>(pairs: &'a [u8], name: &str) -> Vec<&'a [u8]> {
        values(pairs, name).collect()
    }

    #[test]
    fn values_are_found_by_name_in_order() {
        let header = |name: &'static str, value: &str| (name, value.to_owned());
        let pairs = write(&[
            header(":path", "/a"),
            header("cookie", "a=1"),
            header("x", ""),
            header("cookie", "b=2"),
        ]);
        assert_eq!(all(&pairs, ":path"), [b"/a"]);
        assert_eq!(all(&pairs, "cookie"), [b"a=1", b"b=2"]);
        assert_eq!(all(&pairs, "x"), [b""]);
        assert_eq!(all(&pairs, "cooki"), [b""; 0]);
        assert_eq!(write(&everything(&pairs)), pairs);
    }

    #[test]
    fn bytes_that_are_no_pairs_have_no_values() {
        let whole = write(&[("a", "b".to_owned()), ("c", "d".to_owned())]);
        for end in 0..whole.len() - 1 {
            assert!(all(&whole[..end], "c").is_empty(), "{end} bytes");
            assert!(everything(&whole[..end]).len() < 2, "{end} bytes");
        }
        for sizes in [[0xff_u8; 12], [1; 12]] {
            assert!(all(&sizes, "a").is_empty());
        }
    }
}
