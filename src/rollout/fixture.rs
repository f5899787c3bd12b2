//! Programs for tests.

use serde_json::Value;

use super::program::Program;
use crate::config::fixture;

/// The program of a rollout from blue to green, with these fields besides or instead.
pub(super) fn program(fields: &Value) -> Program {
    compiled(fixture::rollout(fields))
}

/// The same with a third version, red.
pub(super) fn with_red(fields: &Value) -> Program {
    compiled(fixture::with_red(fields))
}

/// The program of a rollout.
pub(super) fn compiled(rollout: Value) -> Program {
    Program::new(&fixture::config(&[rollout]).rollouts[0])
}
