//! What a task carries: the model's answer, sealed.
//!
//! A receipt is `version · nonce · ciphertext` in base64 for URLs, always of one length, so that it shows nothing of the label.
//! It is sealed by XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with a random nonce of 192 bits; the rollout's name is
//! authenticated as well, so a receipt of one rollout is none of another with the same key.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};

/// The form of receipts that are written.
const FORM: u8 = 1;
/// Bytes of a nonce.
pub const NONCE: usize = 24;
/// Bytes of a tag.
const TAG: usize = 16;
/// Bytes of what is sealed, padded: more than the longest receipt needs.
const SEALED: usize = 128;
/// Bytes of a receipt before it is written as text.
const LENGTH: usize = 1 + NONCE + SEALED + TAG;
/// Characters of a receipt.
pub const CHARACTERS: usize = LENGTH.saturating_mul(4).div_ceil(3);
/// Bytes of a key.
const KEY: usize = 32;
/// Bytes of a label.
pub const LONGEST_LABEL: usize = 64;

/// What is known of a task when it is handed to people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Identifies the task. Two people who decide the same one have receipts of their own.
    pub task: u64,
    /// The hash of release, candidate and attempt.
    pub run: u64,
    /// When it was sealed, in milliseconds since the epoch.
    pub time: u64,
    /// The model's confidence in hundredths of a percent.
    pub confidence: u16,
    /// How the task was handed over.
    pub kind: Kind,
    /// The model's label.
    pub label: String,
}

/// How a task was handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // independent of each other
pub struct Kind {
    /// The suggestion could be read.
    pub shown: bool,
    /// The task was drawn without regard to the model's confidence.
    pub drawn: bool,
    /// The caller has the model's answer already.
    pub answered: bool,
    /// Two people decide it.
    pub double: bool,
    /// It is the second of two.
    pub second: bool,
}

/// A receipt that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub receipt: Receipt,
    /// Identifies this receipt: another one of the same task has another number.
    pub id: u64,
}

/// The keys of receipts: what is sealed with the first one, and opened with either.
#[derive(Clone)]
pub struct Keys {
    current: XChaCha20Poly1305,
    old: Option<XChaCha20Poly1305>,
}

impl Keys {
    /// Reads the keys from their form in the environment: 32 bytes each, in base64.
    ///
    /// # Errors
    /// What is wrong with one, as a sentence that does not show it.
    pub fn new(current: &str, old: Option<&str>) -> Result<Self, String> {
        Ok(Self { current: cipher(current)?, old: old.map(cipher).transpose()? })
    }

    /// Seals a receipt. `nonce`: random, another one each time. `None`: its label is too long.
    #[must_use]
    pub fn seal(&self, rollout: &str, nonce: &[u8; NONCE], receipt: &Receipt) -> Option<String> {
        if receipt.label.len() > LONGEST_LABEL {
            return None;
        }
        let mut bytes = [0_u8; LENGTH];
        let (form, rest) = bytes.split_first_mut()?;
        let (own_nonce, rest) = rest.split_at_mut_checked(NONCE)?;
        let (sealed, own_tag) = rest.split_at_mut_checked(SEALED)?;
        *form = FORM;
        own_nonce.copy_from_slice(nonce);
        postcard::to_slice(receipt, sealed).ok()?;
        let tag = self
            .current
            .encrypt_inout_detached(&XNonce::from(*nonce), &bound(rollout), sealed.into())
            .ok()?;
        own_tag.copy_from_slice(&tag);
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Opens a receipt of a rollout; `None`: it is none, or was changed.
    #[must_use]
    pub fn open(&self, rollout: &str, text: &[u8]) -> Option<Opened> {
        let text = text.trim_ascii();
        if text.len() != CHARACTERS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (form, rest) = bytes.split_first()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE>()?;
        let (sealed, tag) = rest.split_at_checked(SEALED)?;
        let tag = <[u8; TAG]>::try_from(tag).ok()?;
        if *form != FORM {
            return None;
        }
        let id = u64::from_le_bytes(*nonce.first_chunk()?);
        let bound = bound(rollout);
        [Some(&self.current), self.old.as_ref()].into_iter().flatten().find_map(|cipher| {
            let mut plain = sealed.to_vec();
            let (nonce, tag) = (XNonce::from(*nonce), Tag::from(tag));
            cipher.decrypt_inout_detached(&nonce, &bound, plain.as_mut_slice().into(), &tag).ok()?;
            let (receipt, _) = postcard::take_from_bytes(&plain).ok()?;
            Some(Opened { receipt, id })
        })
    }
}

/// What a receipt is bound to besides its key.
fn bound(rollout: &str) -> Vec<u8> {
    [b"changeover receipt\0".as_slice(), rollout.as_bytes()].concat()
}

fn cipher(key: &str) -> Result<XChaCha20Poly1305, String> {
    let key =
        STANDARD.decode(key.trim()).map_err(|_| "is no base64; expected 32 bytes in base64".to_owned())?;
    let length = key.len();
    let key =
        <[u8; KEY]>::try_from(key).map_err(|_| format!("has {length} bytes; expected {KEY} in base64"))?;
    Ok(XChaCha20Poly1305::new(&Key::from(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const OTHER: &str = "/////////////////////////////////////////w8=";

    fn keys(current: &str, old: Option<&str>) -> Keys {
        Keys::new(current, old).unwrap_or_else(|error| panic!("{error}"))
    }

    fn receipt(label: &str) -> Receipt {
        let kind = Kind { drawn: true, double: true, ..Kind::default() };
        let (task, run, time) = (u64::MAX, u64::MAX, u64::MAX);
        Receipt { task, run, time, confidence: 9_731, kind, label: label.into() }
    }

    #[test]
    fn a_receipt_opens_with_its_key_and_rollout_only() {
        let sealed = keys(ONE, None).seal("claims", &[7; NONCE], &receipt("fraud")).unwrap();
        let opened = keys(ONE, None).open("claims", sealed.as_bytes()).unwrap();
        assert_eq!(opened, Opened { receipt: receipt("fraud"), id: 0x0707_0707_0707_0707 });
        assert_eq!(
            keys(OTHER, Some(ONE)).open("claims", sealed.as_bytes()),
            Some(opened),
            "while keys change"
        );
        assert_eq!(keys(OTHER, None).open("claims", sealed.as_bytes()), None);
        assert_eq!(keys(ONE, None).open("other", sealed.as_bytes()), None);
    }

    #[test]
    fn a_receipt_that_was_changed_in_any_byte_is_none() {
        let keys = keys(ONE, None);
        let sealed = keys.seal("claims", &[7; NONCE], &receipt("fraud")).unwrap().into_bytes();
        for at in 0..sealed.len() {
            for other in [b'A', b'B', b'-', b'=', 0, 0xff] {
                let mut changed = sealed.clone();
                if std::mem::replace(&mut changed[at], other) != other {
                    assert_eq!(keys.open("claims", &changed), None, "byte {at}: {other}");
                }
            }
        }
        assert_eq!(keys.open("claims", &sealed[..sealed.len() - 1]), None);
        assert_eq!(keys.open("claims", b""), None);
    }

    #[test]
    fn receipts_have_one_length_and_show_nothing_of_the_label() {
        let keys = keys(ONE, None);
        let longest = "x".repeat(LONGEST_LABEL);
        for label in ["", "no", "fraud", &longest] {
            let sealed = keys.seal("claims", &[7; NONCE], &receipt(label)).unwrap();
            assert_eq!(sealed.len(), CHARACTERS);
            assert_eq!(keys.open("claims", sealed.as_bytes()).unwrap().receipt.label, label);
        }
        assert_eq!(keys.seal("claims", &[7; NONCE], &receipt(&"x".repeat(65))), None);
    }

    #[test]
    fn a_key_has_32_bytes_in_base64_and_no_message_shows_it() {
        for wrong in ["", "secret", "c2VjcmV0", &ONE[1..]] {
            let Err(message) = Keys::new(wrong, None) else { panic!("{wrong} is taken for a key") };
            assert!(message.contains("32") && (wrong.is_empty() || !message.contains(wrong)), "{message}");
        }
        assert!(Keys::new(ONE, Some("short")).is_err());
    }
}
