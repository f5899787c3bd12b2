//! From the bytes Envoy hands over to a configuration that is known to be valid.
//!
//! [`document`] undoes Envoy's forms, [`de`] and [`schema`] give the fields types, [`validate`] checks what
//! types cannot say. Nothing here looks at a clock, a random number or anything else that differs between
//! workers: a configuration is accepted or refused by all of them alike.

#![forbid(unsafe_code)]

pub mod affinity;
pub mod alarm;
pub mod automation;
pub mod blue_green;
pub mod compare;
pub mod condition;
mod containment;
pub mod control;
mod de;
pub mod document;
pub mod drift;
pub mod feedback;
#[cfg(test)]
pub(crate) mod fixture;
pub mod mirror;
pub mod notify;
pub mod one_of;
pub mod payload;
pub mod pieces;
pub mod protobuf;
pub mod receipt;
pub mod release;
pub mod report;
pub mod schema;
pub mod store;
pub mod units;
pub mod validate;

use std::hash::Hasher;

use serde::Serialize;
use serde_json::Value;
use siphasher::sip::SipHasher24;

use report::{Path, Problems};
use schema::Config;

/// Reads and checks a plugin configuration in any of Envoy's forms.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(bytes: &[u8]) -> Result<Config, Problems> {
    match document::read(bytes) {
        Ok(document) => check(&document),
        Err(message) => {
            let mut problems = Problems::default();
            problems.add(&Path::Root, message);
            Err(problems)
        }
    }
}

/// Checks a configuration that is already a document.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(document: &Value) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let config = Config::read(document, &mut problems);
    validate::validate(&config, &mut problems);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// 48 bits that distinguish configurations: what `changeover_config_hash` shows and `changeover check` prints.
///
/// They depend on what the configuration says, not on how it is written: neither on the order of its keys,
/// nor on the form in which Envoy delivers it, nor on `5` or `"5.0"`. 48 bits are exact in a double.
#[must_use]
pub fn hash(config: &Config) -> u64 {
    let mut hashing = Hashing::default();
    config.rollouts.iter().for_each(|rollout| hashing.add(rollout));
    hashing.finish(config)
}

/// The [hash] of a configuration whose rollouts are added one at a time: of the text that `serde_json` would write.
#[derive(Default)]
pub struct Hashing {
    hasher: SipHasher24,
    has_begun: bool,
    /// What is hashed next; kept for its memory.
    text: Vec<u8>,
}

impl Hashing {
    const BEGIN: &[u8] = br#"{"rollouts":["#;
    const BITS: u64 = (1 << 48) - 1;

    /// Adds the next rollout.
    pub fn add(&mut self, rollout: &schema::Rollout) {
        let before = if std::mem::replace(&mut self.has_begun, true) { b"," } else { Self::BEGIN };
        self.write(before, rollout);
    }

    /// The hash, once all rollouts are added.
    #[must_use]
    pub fn finish(mut self, config: &Config) -> u64 {
        if !self.has_begun {
            self.hasher.write(Self::BEGIN);
        }
        self.hasher.write(b"]");
        if let Some(control) = &config.control {
            self.write(br#","control":"#, control);
        }
        if let Some(store) = &config.store {
            self.write(br#","store":"#, store);
        }
        if !config.notify.is_empty() {
            self.write(br#","notify":"#, &config.notify);
        }
        self.hasher.write(b"}");
        self.hasher.finish() & Self::BITS
    }

    fn write(&mut self, before: &[u8], value: &impl Serialize) {
        self.hasher.write(before);
        self.text.clear();
        // Structs of maps with text keys always serialize.
        let _ = serde_json::to_writer(&mut self.text, value);
        self.hasher.write(&self.text);
    }
}

#[cfg(test)]
mod tests;
