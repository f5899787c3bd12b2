//! Protocol Buffers' wire format: messages are sequences of numbered fields.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. A handful of small messages does not justify a protobuf
//! library in the module.

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end inside a field.
    Truncated,
    /// A tag or a varint that the format does not have.
    Wire,
}

/// What a field carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// An integer, a truth value or an enum.
    Varint(u64),
    /// 64 bits, little-endian: a double.
    Fixed64([u8; 8]),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// 32 bits, little-endian.
    Fixed32([u8; 4]),
}

/// Visits the fields of a message in their order, each with its number.
///
/// # Errors
/// The bytes are no message, or `visit` says so.
pub fn each_field<'a, E: From<Malformed>>(
    mut bytes: &'a [u8],
    mut visit: impl FnMut(u64, Payload<'a>) -> Result<(), E>,
) -> Result<(), E> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let payload = match tag & 7 {
            0 => Payload::Varint(varint(&mut bytes)?),
            1 => Payload::Fixed64(fixed(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| Malformed::Truncated)?;
                let (head, rest) = bytes.split_at_checked(length).ok_or(Malformed::Truncated)?;
                bytes = rest;
                Payload::Bytes(head)
            }
            5 => Payload::Fixed32(fixed(&mut bytes)?),
            _ => return Err(Malformed::Wire.into()),
        };
        match tag >> 3 {
            0 => return Err(Malformed::Wire.into()), // field numbers start at 1
            number => visit(number, payload)?,
        }
    }
    Ok(())
}

/// Takes a varint off the front.
///
/// # Errors
/// It does not end, or is longer than 64 bits.
pub fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed::Truncated)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed::Wire)
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
    *bytes = rest;
    Ok(*head)
}
