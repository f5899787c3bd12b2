//! A large configuration, read rollout by rollout: what is read at once keeps requests waiting.

use std::vec::IntoIter;

use serde_json::Value;

use super::check;
use super::protobuf::{decode_value, split_struct};
use super::report::{Path, Problems};
use super::schema::{Config, Rollout};
use super::validate::{MOST_ROLLOUTS, validate_rollout};

/// Rollouts that are read at once in less time than a piece may take.
const FEW: usize = 64;

/// The rollouts of a configuration that have not been read yet.
#[derive(Default)]
pub struct Unread {
    rollouts: IntoIter<Form>,
    /// The position of the next one.
    next: usize,
}

/// A rollout as it was handed over.
enum Form {
    /// A serialized `google.protobuf.Value`.
    Message(Vec<u8>),
    /// Part of a document.
    Value(Value),
}

/// Reads a configuration; one rollout after the other if it has many and the plugin has one `in_use` here, for Envoy has tried this
/// one before then, in a VM that had none and has read all of it.
///
/// # Errors
/// Everything that is wrong with what is read at once.
pub fn load(bytes: &[u8], in_use: bool) -> Result<(Config, Unread), Problems> {
    let in_pieces = if in_use { begin(bytes) } else { None };
    in_pieces.map_or_else(|| Ok((super::load(bytes)?, Unread::default())), Ok)
}

/// Reads and checks a configuration but for its rollouts. `None`: it has few, or something is wrong, which [`load`](super::load)
/// says.
#[must_use]
pub fn begin(bytes: &[u8]) -> Option<(Config, Unread)> {
    const LIST: &str = "rollouts";
    let (mut rest, rollouts): (Value, Vec<Form>) = match serde_json::from_slice::<Value>(bytes) {
        Ok(mut document) => {
            let Value::Array(rollouts) = document.as_object_mut()?.remove(LIST)? else { return None };
            (document, rollouts.into_iter().map(Form::Value).collect())
        }
        Err(_) => {
            let (rest, rollouts) = split_struct(bytes, LIST).ok()?;
            (rest, rollouts.into_iter().map(|message| Form::Message(message.to_vec())).collect())
        }
    };
    if !(FEW..=MOST_ROLLOUTS).contains(&rollouts.len()) {
        return None;
    }
    rest.as_object_mut()?.insert(LIST.to_owned(), Value::Array(Vec::new()));
    let config = check(&rest).ok().filter(|config| config.control.is_none())?;
    Some((config, Unread { rollouts: rollouts.into_iter(), next: 0 }))
}

impl Iterator for Unread {
    type Item = Result<Rollout, Problems>;

    /// Reads the next rollout and checks it, but for what it has to do with others.
    fn next(&mut self) -> Option<Self::Item> {
        let form = self.rollouts.next()?;
        let (rollouts, at) = (Path::Root.field("rollouts"), self.next);
        self.next = at.saturating_add(1);
        let (path, mut problems) = (rollouts.index(at), Problems::default());
        let value = match form {
            Form::Value(value) => value,
            Form::Message(message) => decode_value(&message).unwrap_or_default(),
        };
        let rollout = Rollout::read(&value, &path, &mut problems);
        validate_rollout(&rollout, &path, &mut problems);
        Some(if problems.is_empty() { Ok(rollout) } else { Err(problems) })
    }
}
