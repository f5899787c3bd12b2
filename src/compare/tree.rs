//! Documents as trees, which take many times their length in memory.

use serde_json::Value;

/// Elements of an answer, at most: a document holds 24 to 48 bytes of each.
pub(super) const MOST_ELEMENTS: usize = 1 << 20;

/// Elements that a byte counts as, at most.
const MOST_OF_A_BYTE: usize = 16;

/// Reads a document, if there is room for its elements.
pub(super) fn read(json: &[u8], room: &mut usize) -> Option<Value> {
    *room = room.checked_sub(elements(json))?;
    parse(json)
}

/// The same of a document that has all the room. In a short one elements need not be counted.
pub(super) fn read_alone(json: &[u8]) -> Option<Value> {
    let is_short = json.len() < MOST_ELEMENTS / MOST_OF_A_BYTE;
    if is_short || elements(json) <= MOST_ELEMENTS { parse(json) } else { None }
}

#[inline(never)] // one copy in the module
fn parse(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).ok()
}

/// How many elements a document has, at most. An object takes as much as 16 of an array, and each of its fields as much
/// as four.
pub(super) fn elements(json: &[u8]) -> usize {
    let (mut elements, mut is_text, mut is_escaped) = (1_usize, false, false);
    for byte in json {
        let own = match byte {
            // No text goes on behind it; what is no JSON may have any number of quotes.
            b'\n' | b'\r' => {
                (is_text, is_escaped) = (false, false);
                0
            }
            _ if is_escaped => {
                is_escaped = false;
                0
            }
            b'"' => {
                is_text = !is_text;
                0
            }
            b'\\' => {
                is_escaped = is_text;
                0
            }
            _ if is_text => 0,
            b'{' => MOST_OF_A_BYTE,
            b':' => 3,
            b'[' | b',' => 1,
            _ => 0,
        };
        elements = elements.saturating_add(own);
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_counted_outside_of_texts() {
        for (json, expected) in [
            ("1", 1),
            (r#""[{,:,:\"[[""#, 1),
            (r#""\\",[]"#, 3),
            ("[1,2,3]", 4),
            (r#"{"a":1,"b":2}"#, 1 + 16 + 3 + 1 + 3),
            ("\"[\n[", 2),
        ] {
            assert_eq!(elements(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn no_short_document_has_too_many_elements() {
        let longest = MOST_ELEMENTS / MOST_OF_A_BYTE - 1;
        let most = (0..=u8::MAX).map(|byte| elements(&vec![byte; longest])).max();
        assert_eq!(most, Some(elements(&vec![b'{'; longest])));
        assert!(most < Some(MOST_ELEMENTS));
        let deep = |brackets: usize| "[".repeat(brackets) + &"]".repeat(brackets);
        for short in [&b"[1, {\"a\": null}]"[..], b"[1", b"", deep(129).as_bytes()] {
            assert_eq!(read_alone(short), read(short, &mut { MOST_ELEMENTS }));
        }
    }

    #[test]
    fn a_document_without_room_is_not_read() {
        let mut room = 9;
        assert!(read(b"[1,2,3]", &mut room).is_some());
        assert_eq!(room, 5);
        assert!(read(b"[1,2,3,4,5]", &mut room).is_none());
        assert!(read(b"[1", &mut room).is_none(), "it is no JSON");
    }
}
