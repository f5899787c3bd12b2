//! How receipts are sealed.
//!
//! A receipt is `form · nonce · ciphertext · tag` in base64 for URLs. It is sealed by XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha-03) with a random nonce of 192 bits; what it is and the rollout's name are authenticated as well, so
//! a receipt of one rollout is none of another with the same key.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};

/// The form of receipts that are written.
const FORM: u8 = 1;
/// Bytes of a nonce.
pub const NONCE: usize = 24;
/// Bytes of a tag.
const TAG: usize = 16;
/// Bytes of a key.
const KEY: usize = 32;

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What is known of a task that people decide.
    Task,
    /// What is known of an answer.
    Answer,
}

impl Kind {
    /// Bytes of what is sealed, padded: all receipts of a kind are equally long, so that they show nothing.
    #[must_use]
    pub const fn sealed(self) -> usize {
        match self {
            Self::Task => 128,
            Self::Answer => 52,
        }
    }

    /// Characters of a receipt.
    #[must_use]
    pub const fn characters(self) -> usize {
        self.sealed().saturating_add(1 + NONCE + TAG).saturating_mul(4).div_ceil(3)
    }

    /// What a receipt is bound to besides its key.
    fn bound(self, rollout: &str) -> Vec<u8> {
        let kind: &[u8] = match self {
            Self::Task => b"changeover receipt\0",
            Self::Answer => b"changeover answer\0",
        };
        [kind, rollout.as_bytes()].concat()
    }
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

    /// Seals what `write` writes into as many bytes as the kind has. `nonce`: random, another one each time. `None`: nothing was
    /// written.
    #[must_use]
    pub fn seal(
        &self,
        (kind, rollout): (Kind, &str),
        nonce: &[u8; NONCE],
        write: impl FnOnce(&mut [u8]) -> Option<()>,
    ) -> Option<String> {
        let mut bytes = vec![FORM];
        bytes.extend_from_slice(nonce);
        let begins = bytes.len();
        bytes.resize(begins.saturating_add(kind.sealed()), 0);
        let sealed = bytes.get_mut(begins..)?;
        write(sealed)?;
        let bound = kind.bound(rollout);
        let tag = self.current.encrypt_inout_detached(&XNonce::from(*nonce), &bound, sealed.into()).ok()?;
        bytes.extend_from_slice(&tag);
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Opens a receipt of a rollout: what was sealed, and the number of this receipt. `None`: it is none, or was changed.
    #[must_use]
    pub fn open(&self, (kind, rollout): (Kind, &str), text: &[u8]) -> Option<(Vec<u8>, u64)> {
        let text = text.trim_ascii();
        if text.len() != kind.characters() {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (form, rest) = bytes.split_first()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE>()?;
        let (sealed, tag) = rest.split_last_chunk::<TAG>()?;
        if *form != FORM {
            return None;
        }
        let id = u64::from_le_bytes(*nonce.first_chunk()?);
        let bound = kind.bound(rollout);
        [Some(&self.current), self.old.as_ref()].into_iter().flatten().find_map(|cipher| {
            let mut plain = sealed.to_vec();
            let (nonce, tag) = (XNonce::from(*nonce), Tag::from(*tag));
            cipher.decrypt_inout_detached(&nonce, &bound, plain.as_mut_slice().into(), &tag).ok()?;
            Some((plain, id))
        })
    }
}

fn cipher(key: &str) -> Result<XChaCha20Poly1305, String> {
    let key =
        STANDARD.decode(key.trim()).map_err(|_| "is not base64; expected 32 bytes in base64".to_owned())?;
    let length = key.len();
    let key =
        <[u8; KEY]>::try_from(key).map_err(|_| format!("has {length} bytes; expected {KEY} in base64"))?;
    Ok(XChaCha20Poly1305::new(&Key::from(key)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    pub(crate) const OTHER: &str = "/////////////////////////////////////////w8=";

    pub(crate) fn keys(current: &str, old: Option<&str>) -> Keys {
        Keys::new(current, old).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_key_has_32_bytes_in_base64_and_no_message_shows_it() {
        for wrong in ["", "secret", "c2VjcmV0", &ONE[1..]] {
            let Err(message) = Keys::new(wrong, None) else { panic!("{wrong} is taken for a key") };
            assert!(message.contains("32") && (wrong.is_empty() || !message.contains(wrong)), "{message}");
        }
        assert!(Keys::new(ONE, Some("short")).is_err());
    }

    #[test]
    fn a_receipt_of_one_kind_is_none_of_another() {
        let keys = keys(ONE, None);
        let sealed = keys.seal((Kind::Answer, "claims"), &[7; NONCE], |_| Some(())).unwrap();
        assert_eq!(sealed.len(), Kind::Answer.characters());
        assert!(keys.open((Kind::Answer, "claims"), sealed.as_bytes()).is_some());
        assert_eq!(keys.open((Kind::Task, "claims"), sealed.as_bytes()), None);
    }
}
