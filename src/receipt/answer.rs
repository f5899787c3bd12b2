//! What an answer carries to its client.

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::seal::{Keys, Kind, NONCE};
use crate::model::UserHash;

/// What is known of an answer when it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The hash of release, candidate and attempt.
    pub run: u64,
    /// When it was sealed, in milliseconds since the epoch.
    pub time: u64,
    /// The [`hash`] of the version that answered: its position may change.
    pub version: u64,
    /// Set if its request was evidence about the candidate or stable.
    pub drawn: Option<Drawn>,
}

/// How an answer's version was drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// What was in force: a hash of the assignment and of the key that names users.
    pub under: u64,
    /// The user, where users are judged.
    pub user: Option<UserHash>,
}

/// Stands for a name in receipts.
#[must_use]
pub fn hash(name: &str) -> u64 {
    SipHasher24::new().hash(name.as_bytes())
}

impl Receipt {
    /// Seals it. `nonce`: random, another one each time.
    #[must_use]
    pub fn seal(&self, keys: &Keys, rollout: &str, nonce: &[u8; NONCE]) -> Option<String> {
        keys.seal((Kind::Answer, rollout), nonce, |bytes| {
            postcard::to_slice(self, bytes).ok()?;
            Some(())
        })
    }

    /// Opens a receipt of a rollout's answer, with its number; `None`: it is none, or was changed.
    #[must_use]
    pub fn open(keys: &Keys, rollout: &str, text: &[u8]) -> Option<(Self, u64)> {
        let (plain, id) = keys.open((Kind::Answer, rollout), text)?;
        let (receipt, _) = postcard::take_from_bytes(&plain).ok()?;
        Some((receipt, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::seal::tests::{ONE, OTHER, keys};

    /// It may come back for weeks, to another version of this software.
    #[test]
    fn the_form_of_a_receipt_does_not_change() {
        let drawn = Some(Drawn { under: 1 << 40, user: Some(UserHash(1 << 50)) });
        let receipt = Receipt { run: 1 << 60, time: 1_764_022_500_250, version: hash("blue"), drawn };
        let written = receipt.seal(&keys(ONE, None), "search", &[7; NONCE]);
        let sealed = "AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHB2Y_21je6UQUbACCm_-MSokjITyc3Whqxzo85ZeqqAhq5EJ11KJw55zJX8dxXbqMjSWbXECNbPM3RpP0YTm7SMU7S2cl";
        assert_eq!(written.as_deref(), Some(sealed), "receipts that were handed out would not open");
    }

    #[test]
    fn a_receipt_opens_with_its_key_and_rollout_only_and_unchanged() {
        // The longest one.
        let drawn = Some(Drawn { under: u64::MAX, user: Some(UserHash(u64::MAX)) });
        let receipt = Receipt { run: u64::MAX, time: u64::MAX, version: u64::MAX, drawn };
        let one = keys(ONE, None);
        let sealed = receipt.seal(&one, "search", &[7; NONCE]).unwrap();
        assert_eq!(sealed.len(), Receipt::default().seal(&one, "search", &[7; NONCE]).unwrap().len());
        let opened = Receipt::open(&one, "search", sealed.as_bytes()).unwrap();
        assert_eq!(opened, (receipt, 0x0707_0707_0707_0707));
        assert_eq!(Receipt::open(&keys(OTHER, Some(ONE)), "search", sealed.as_bytes()), Some(opened));
        assert_eq!(Receipt::open(&keys(OTHER, None), "search", sealed.as_bytes()), None);
        assert_eq!(Receipt::open(&one, "other", sealed.as_bytes()), None);
        for at in 0..sealed.len() {
            for other in [b'A', b'B', b'-', b'=', 0, 0xff] {
                let mut changed = sealed.clone().into_bytes();
                if std::mem::replace(&mut changed[at], other) != other {
                    assert_eq!(Receipt::open(&one, "search", &changed), None, "byte {at}: {other}");
                }
            }
        }
        assert_eq!(Receipt::open(&one, "search", &sealed.as_bytes()[1..]), None);
    }
}
