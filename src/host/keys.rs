//! The keys of receipts, from the environment of the VM.

use std::cell::OnceCell;

use super::calls;
use crate::config::schema::{Config, Rollout};
use crate::receipt::seal::{Keys, NONCE};

/// The environment's variables with the keys.
const KEYS: [&str; 2] = ["CHANGEOVER_RECEIPT_KEY", "CHANGEOVER_RECEIPT_KEY_OLD"];

/// The keys of one VM, once they are needed.
#[derive(Default)]
pub(super) struct ReceiptKeys(OnceCell<Result<Option<Keys>, String>>);

impl ReceiptKeys {
    /// Whether the keys that a configuration needs are there.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    pub(super) fn check(&self, config: &Config) -> Result<(), String> {
        let needs = |rollout: &Rollout| rollout.needs_receipt_key();
        let needed = config.rollouts.iter().enumerate().find_map(|(at, of)| Some((at, needs(of)?)));
        let Some((at, field)) = needed else { return Ok(()) };
        let remedy = format!(
            "expected 32 bytes in base64 in the environment variable {}; set it in `vm_config.environment_variables`, best by \
             `host_env_keys`",
            KEYS[0]
        );
        match self.read() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(format!("rollouts[{at}].{field}: no key for receipts; {remedy}")),
            Err(message) => Err(format!("rollouts[{at}].{field}: {message}")),
        }
    }

    /// The keys, if they are there.
    pub(super) fn get(&self) -> Option<&Keys> {
        self.read().as_ref().ok()?.as_ref()
    }

    fn read(&self) -> &Result<Option<Keys>, String> {
        self.0.get_or_init(|| {
            let variables = calls::environment();
            let [current, old] = KEYS.map(|name| {
                variables.iter().find_map(|variable| {
                    let value = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                    str::from_utf8(value).ok().filter(|value| !value.is_empty())
                })
            });
            let Some(current) = current else { return Ok(None) };
            Keys::new(current, None).map_err(|why| format!("the key in {} {why}", KEYS[0]))?;
            Keys::new(current, old).map(Some).map_err(|why| format!("the key in {} {why}", KEYS[1]))
        })
    }
}

/// A nonce for a receipt.
pub(super) fn nonce() -> [u8; NONCE] {
    calls::random()
}
