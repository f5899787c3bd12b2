//! What a task carries: the model's answer, sealed.

use serde::{Deserialize, Serialize};

use crate::receipt::seal::{self, Keys, NONCE};

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

impl Receipt {
    /// Seals it. `nonce`: random, another one each time. `None`: its label is too long.
    #[must_use]
    pub fn seal(&self, keys: &Keys, rollout: &str, nonce: &[u8; NONCE]) -> Option<String> {
        if self.label.len() > LONGEST_LABEL {
            return None;
        }
        keys.seal((seal::Kind::Task, rollout), nonce, |bytes| {
            postcard::to_slice(self, bytes).ok()?;
            Some(())
        })
    }

    /// Opens a receipt of a rollout's task; `None`: it is none, or was changed.
    #[must_use]
    pub fn open(keys: &Keys, rollout: &str, text: &[u8]) -> Option<Opened> {
        let (plain, id) = keys.open((seal::Kind::Task, rollout), text)?;
        let (receipt, _) = postcard::take_from_bytes(&plain).ok()?;
        Some(Opened { receipt, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::seal::tests::{ONE, OTHER, keys};

    fn receipt(label: &str) -> Receipt {
        let kind = Kind { drawn: true, double: true, ..Kind::default() };
        let (task, run, time) = (u64::MAX, u64::MAX, u64::MAX);
        Receipt { task, run, time, confidence: 9_731, kind, label: label.into() }
    }

    #[test]
    fn a_receipt_opens_with_its_key_and_rollout_only() {
        let sealed = receipt("fraud").seal(&keys(ONE, None), "claims", &[7; NONCE]).unwrap();
        let opened = Receipt::open(&keys(ONE, None), "claims", sealed.as_bytes()).unwrap();
        assert_eq!(opened, Opened { receipt: receipt("fraud"), id: 0x0707_0707_0707_0707 });
        assert_eq!(
            Receipt::open(&keys(OTHER, Some(ONE)), "claims", sealed.as_bytes()),
            Some(opened),
            "while keys change"
        );
        assert_eq!(Receipt::open(&keys(OTHER, None), "claims", sealed.as_bytes()), None);
        assert_eq!(Receipt::open(&keys(ONE, None), "other", sealed.as_bytes()), None);
    }

    /// It may come back for weeks, to another version of this software.
    #[test]
    fn the_form_of_a_receipt_does_not_change() {
        let sealed = "AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBxlApCehljtrg5uK2L_Yht9nPDkwlR48wMTCmujVKQsG5cP1VSL1AW6qKqNxXbqMjSWbXECEwgKWww7rTrPBr_d8pq2Zf0t5jkAGuiCKWtH9Hp2kKEXHgTvLV_pdHXh177Ij-RXveECju4kr2E88nT8sQSwgXnlyNgAnl2j3Fk5cOc2CR2HEpukoThgxuJNDIQ";
        let written = receipt("fraud").seal(&keys(ONE, None), "claims", &[7; NONCE]);
        assert_eq!(written.as_deref(), Some(sealed), "receipts that were handed out would not open");
    }

    #[test]
    fn a_receipt_that_was_changed_in_any_byte_is_none() {
        let keys = keys(ONE, None);
        let sealed = receipt("fraud").seal(&keys, "claims", &[7; NONCE]).unwrap().into_bytes();
        for at in 0..sealed.len() {
            for other in [b'A', b'B', b'-', b'=', 0, 0xff] {
                let mut changed = sealed.clone();
                if std::mem::replace(&mut changed[at], other) != other {
                    assert_eq!(Receipt::open(&keys, "claims", &changed), None, "byte {at}: {other}");
                }
            }
        }
        assert_eq!(Receipt::open(&keys, "claims", &sealed[..sealed.len() - 1]), None);
        assert_eq!(Receipt::open(&keys, "claims", b""), None);
    }

    #[test]
    fn receipts_have_one_length_and_show_nothing_of_the_label() {
        let keys = keys(ONE, None);
        let longest = "x".repeat(LONGEST_LABEL);
        for label in ["", "no", "fraud", &longest] {
            let sealed = receipt(label).seal(&keys, "claims", &[7; NONCE]).unwrap();
            assert_eq!(sealed.len(), seal::Kind::Task.characters());
            assert_eq!(Receipt::open(&keys, "claims", sealed.as_bytes()).unwrap().receipt.label, label);
        }
        assert_eq!(receipt(&"x".repeat(65)).seal(&keys, "claims", &[7; NONCE]), None);
    }
}
